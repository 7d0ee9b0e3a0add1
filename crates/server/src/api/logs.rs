//! REST: the end of the server's own log.
//!
//! What is logged, and that no secret is, is decided where it is logged.

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use licence_core::causes::with_causes;

use crate::api::errors::ApiError;
use crate::api::params::Params;
use crate::api::{Answer, Call};
use crate::logfile;

/// Lines when none are asked for.
const LINES: usize = 200;

/// Most digits of a number of lines: the answer is bounded in bytes anyway.
const LINES_DIGITS_MAX: usize = 6;

/// Answers `GET /api/log?Lines=200&Level=warn`.
pub(crate) async fn answer(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, body)?;
    let lines = match params.digits("Lines", LINES_DIGITS_MAX)? {
        Some(digits) => digits.parse().unwrap_or(LINES),
        None => LINES,
    };
    let level = match params.text("Level")? {
        None => log::LevelFilter::Trace,
        Some(name) => name.parse().map_err(|_| {
            ApiError::bad_request(
                "Level must be error, warn, info, debug or trace.",
                "Параметр Level должен быть error, warn, info, debug или trace.",
            )
        })?,
    };
    let folder = call.app.paths.logs();
    let read = tokio::task::spawn_blocking(move || logfile::tail_at(&folder, lines, level));
    let text = match read.await {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => {
            log::warn!("the log cannot be read: {error}");
            let english = format!("The log cannot be read: {error}.");
            let russian = format!("Не удалось прочитать лог: {error}.");
            let class = "ELogRead";
            return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, class, english, russian));
        }
        Err(error) => {
            log::error!("reading the log broke down: {}", with_causes(&error));
            return Err(ApiError::internal());
        }
    };
    let mut answer = Response::new(text.into());
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(answer)
}
