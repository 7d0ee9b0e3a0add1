//! The page that the QR code of a licence server without internet leads to: what the request asks,
//! and the answer as a file or on the screen.
//!
//! What a request says is shown before its signature is looked at; what it brings is decided in
//! `requests`.

use askama::Template;
use hyper::StatusCode;
use licence_core::centre_request::{AnswerFile, RequestKind};
use serde::Deserialize;

use super::frame::{Frame, add_wait};
use super::qr::{self, Picture};
use super::{Call, Page};
use crate::refusal::Refusal;

/// Longest request that is shown: the head of an HTTP request takes no more.
const REQUEST_BYTES_MAX: usize = 12 * 1024;

/// What requests say of themselves, whatever they ask.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    #[serde(rename = "ActivationCode")]
    code: Option<String>,
    #[serde(rename = "ComputerID")]
    computer_id: Option<String>,
    #[serde(rename = "ServerVersion")]
    server_version: Option<String>,
    #[serde(rename = "KeyNo")]
    key_no: Option<u32>,
    #[serde(rename = "KeyID")]
    key_id: Option<String>,
}

#[derive(Template)]
#[template(path = "road.html")]
struct Shown {
    frame: Frame,
    /// The request as it came; empty where none did.
    request: String,
    kind: Option<&'static str>,
    /// What it says of itself, name and value.
    facts: Vec<(&'static str, String)>,
    /// The answer as text.
    answer: Option<String>,
    picture: Option<Picture>,
}

/// `GET /r?request=…`.
pub(super) fn show(call: &Call<'_>) -> Result<Page, Refusal> {
    let request: String =
        call.query.raw("request").unwrap_or_default().split_whitespace().collect();
    page(call, StatusCode::OK, request, None, None)
}

fn page(
    call: &Call<'_>,
    status: StatusCode,
    request: String,
    answer: Option<String>,
    error: Option<String>,
) -> Result<Page, Refusal> {
    let mut frame = Frame::bare(call);
    frame.error = error;
    let found = if request.len() <= REQUEST_BYTES_MAX { RequestKind::of(&request) } else { None };
    if found.is_none() && frame.error.is_none() {
        let text = call.pick(
            "This is not a request of a licence server. Read the QR code once more, or paste the \
             text of the request.",
            "Это не запрос сервера лицензирования. Считайте QR-код ещё раз или вставьте текст \
             запроса.",
        );
        frame.error = Some(text.to_owned());
    }
    let page = Shown {
        frame,
        kind: found.map(|kind| kind_text(call, kind)),
        facts: if found.is_some() { facts(call, &request) } else { Vec::new() },
        request,
        picture: answer.as_deref().and_then(qr::picture),
        answer,
    };
    page.frame.answer(status, &page)
}

fn kind_text(call: &Call<'_>, kind: RequestKind) -> &'static str {
    match kind {
        RequestKind::Activation => call.pick("Install a key", "Установить ключ"),
        RequestKind::Demo => {
            call.pick("Install a demonstration key", "Установить демонстрационный ключ")
        }
        RequestKind::Return => {
            call.pick("Give a key back for a reserve code", "Вернуть ключ и получить резервный код")
        }
        RequestKind::Spare => call.pick("Draw a spare code", "Получить запасной код"),
        RequestKind::Update => {
            call.pick("Update the licences of a server", "Обновить лицензии сервера")
        }
    }
}

/// The claims of a request, unproved: whoever asks shall recognise their server.
fn facts(call: &Call<'_>, request: &str) -> Vec<(&'static str, String)> {
    use licence_core::activation_request::REQUEST_TYP;
    use licence_core::centre_request::{DEMO_TYP, LICENCES_TYP, RETURN_TYP, SPARE_TYP};
    let said = [REQUEST_TYP, DEMO_TYP, LICENCES_TYP, RETURN_TYP, SPARE_TYP]
        .into_iter()
        .find_map(|typ| licence_core::jws::peek::<Said>(typ, request.trim_ascii()).ok())
        .unwrap_or_default();
    // A code of a stranger's request is shown by its last group: the page may lie open.
    let code = said.code.and_then(|code| code.parse().ok()).map(crate::store::masked);
    [
        (call.pick("Code", "Код"), code),
        (call.pick("Key", "Ключ"), said.key_no.map(|no| no.to_string())),
        (call.pick("Series", "Серия"), said.key_id),
        (call.pick("Computer", "Компьютер"), said.computer_id),
        (call.pick("Version of the server", "Версия сервера"), said.server_version),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

/// `POST /r`: the answer on the screen. The same request at `/requests` brings it as a file.
pub(super) async fn answer(call: &Call<'_>) -> Result<Page, Refusal> {
    let request: String = call.form.raw("request").unwrap_or_default().split_whitespace().collect();
    match call.centre.any_request(&request, Some(call.from)).await {
        Ok(done) => {
            let file = AnswerFile { answer: done.answer };
            let text = serde_json::to_string(&file).map_err(|error| {
                log::error!("an answer cannot be written as JSON: {error}");
                Refusal::Internal
            })?;
            page(call, StatusCode::OK, request, Some(text), None)
        }
        Err(refusal) => {
            let (code, _) = refusal.status();
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST);
            let mut answer = page(call, status, request, None, Some(refusal.text(call.language)))?;
            add_wait(&mut answer, &refusal);
            Ok(answer)
        }
    }
}
