//! The language that somebody has chosen for the console.
//!
//! It is kept in a cookie of theirs, wins over what their browser says, and means nothing else.

use hyper::header::{HeaderMap, HeaderValue, LOCATION, SET_COOKIE};
use hyper::{Response, StatusCode};
use licence_core::language::Language;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::access::credentials::cookie;
use crate::api::errors::ApiError;
use crate::api::params::Params;
use crate::api::{Answer, Call};
use crate::language;

/// Cookie of the chosen language.
const COOKIE: &str = "licence_language";

/// How long a browser keeps the choice, in seconds: a year.
const KEPT_SECS: u32 = 365 * 24 * 3600;

/// Longest address that somebody is sent back to, in bytes: an address of ours is shorter, and
/// the head of a request takes 16 KiB.
const NEXT_BYTES_MAX: usize = 4096;

/// What must not stand in a `Location` as it is; everything outside ASCII is encoded anyway.
const UNSAFE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`');

/// The language that the browser was told to ask for, if it was.
pub(crate) fn chosen_language(headers: &HeaderMap) -> Option<Language> {
    cookie(headers, COOKIE).and_then(language::named)
}

/// `GET /language?to=ru&next=/keys`: keeps the choice and goes back.
///
/// # Errors
///
/// 400 for another language.
pub(crate) fn language_switch(call: &Call<'_>) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, b"")?;
    let to = params.text("to")?.and_then(language::named).ok_or_else(|| {
        ApiError::bad_request("to: expected ru or en.", "to: ожидается ru или en.")
    })?;
    let secure = if call.peer.is_tls { "; Secure" } else { "" };
    let name = to.pick("ru", "en");
    let cookie = format!("{COOKIE}={name}; Path=/; Max-Age={KEPT_SECS}; SameSite=Lax{secure}");
    let mut answer = see_other(params.text("next")?.unwrap_or("/"));
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        answer.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(answer)
}

/// 303 to an address of this server; to the first page when `next` is anything else.
pub(crate) fn see_other(next: &str) -> Answer {
    let mut answer = Response::new(Vec::new().into());
    *answer.status_mut() = StatusCode::SEE_OTHER;
    let location = HeaderValue::from_str(&local(next)).unwrap_or(HeaderValue::from_static("/"));
    answer.headers_mut().insert(LOCATION, location);
    answer
}

/// An address of this server as a `Location` takes it. Whatever a browser could take for another
/// host (`//host`, `/\host`, a scheme) becomes the first page.
pub(crate) fn local(next: &str) -> String {
    let is_foreign = |text: &str| {
        !text.starts_with('/')
            || text.starts_with("//")
            || text.contains('\\')
            || text.chars().any(char::is_control)
            || text.len() > NEXT_BYTES_MAX
    };
    if is_foreign(next) { "/".to_owned() } else { utf8_percent_encode(next, UNSAFE).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_host() {
        for (next, expected) in [
            ("/keys?q=1&menu=false", "/keys?q=1&menu=false"),
            ("/sessions?q=Ж x", "/sessions?q=%D0%96%20x"),
            ("/sessions?q=%D0%96", "/sessions?q=%D0%96"),
            ("", "/"),
            ("keys", "/"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/\t/evil.example", "/"),
            ("https://evil.example", "/"),
            ("javascript:alert(1)", "/"),
            ("/a\r\nSet-Cookie: x=1", "/"),
        ] {
            assert_eq!(local(next), expected, "{next}");
        }
        assert_eq!(local(&format!("/{}", "a".repeat(NEXT_BYTES_MAX))), "/");
    }
}
