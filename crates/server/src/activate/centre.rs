//! One call to an activation centre, bounded in time and size, and the centre's refusal as ours.
//!
//! What is asked and what an answer means stand elsewhere.

use std::io::Read;
use std::time::Duration;

use hyper::StatusCode;
use licence_core::activation_request::ActivationCall;
use licence_core::language::Language;
use licence_core::protocol::ErrorBody;
use licence_core::time::Utc;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::api::VERSION;
use crate::api::errors::ApiError;
use crate::clock::Stopwatch;
use crate::config::Config;

/// How long a connection to the centre may take to come about.
const CONNECT_SECS_MAX: u64 = 5;

/// How long the whole round to the centre may take: a person waits for it in a browser.
pub(super) const ROUND_SECS_MAX: u64 = 30;

/// Largest answer of a centre, in bytes, online and as a file: 200 licences of some 2 KiB each and
/// the descriptors of their series.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Longest text of a centre that is passed on, in characters.
const TEXT_CHARS_MAX: usize = 1000;

/// The time of one round, over all its calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    since: Stopwatch,
    bound: Duration,
}

impl Round {
    pub(super) fn start() -> Self {
        Self::within(Duration::from_secs(ROUND_SECS_MAX))
    }

    /// A round that may take this long.
    fn within(bound: Duration) -> Self {
        Self { since: Stopwatch::start(), bound }
    }

    /// What is left of it.
    fn left(self) -> Duration {
        let gone = Duration::try_from_secs_f64(self.since.seconds()).unwrap_or_default();
        self.bound.saturating_sub(gone)
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Failed {
    /// What to tell whoever asked.
    pub(super) error: Box<ApiError>,
    /// Whether the centre has surely not done what it was asked: the request has not reached it, or
    /// it has refused.
    pub(super) is_undone: bool,
}

impl From<Failed> for ApiError {
    fn from(failed: Failed) -> Self {
        *failed.error
    }
}

/// The proxy that a setting names: an HTTP proxy by its address, with a name and a password in it or
/// without. Nothing for what is none.
pub(crate) fn proxy_of(text: &str) -> Option<ureq::Proxy> {
    let lower = text.to_ascii_lowercase();
    let is_http = lower.starts_with("http://") || lower.starts_with("https://");
    if !is_http { None } else { ureq::Proxy::new(text).ok() }
}

/// What carries a call, by the settings, and ends it with the round.
fn agent(config: &Config, round: Round) -> ureq::Agent {
    let proxy = match &config.licence_center_proxy {
        Some(proxy) => proxy_of(proxy),
        None if config.licence_center_use_proxy => ureq::Proxy::try_from_env(),
        None => None,
    };
    let left = round.left();
    ureq::Agent::config_builder()
        .timeout_connect(Some(left.min(Duration::from_secs(CONNECT_SECS_MAX))))
        .timeout_global(Some(left))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_idle_connections(0)
        .proxy(proxy)
        .user_agent(format!("licenceserver/{VERSION}"))
        .build()
        .new_agent()
}

/// Whether the centre answers at all, before something is put at stake on its answer. Blocks until
/// the end of the round at most.
pub(super) fn reach(config: &Config, round: Round, centre: &str) -> Result<(), ApiError> {
    let address = format!("{}/health", centre.trim_end_matches('/'));
    let answer =
        agent(config, round).get(&address).call().map_err(|error| unavailable(centre, &error))?;
    let status = answer.status();
    if status.is_server_error() {
        return Err(unavailable(centre, &status));
    }
    Ok(())
}

/// One call to the centre, at this path below its address. Blocks until the end of the round at most.
pub(super) fn ask<A: DeserializeOwned>(
    config: &Config,
    round: Round,
    centre: &str,
    path: &str,
    request: String,
    language: Language,
) -> Result<A, Failed> {
    ask_dated(config, round, centre, path, request, language).map(|(answer, _)| answer)
}

/// The same, with the moment at which the centre says that it has answered.
pub(super) fn ask_dated<A: DeserializeOwned>(
    config: &Config,
    round: Round,
    centre: &str,
    path: &str,
    request: String,
    language: Language,
) -> Result<(A, Option<Utc>), Failed> {
    let address = format!("{}{path}", centre.trim_end_matches('/'));
    if round.left().is_zero() {
        let error = unavailable(centre, &"there was no time left to ask it");
        return Err(Failed { error: Box::new(error), is_undone: true });
    }
    let result = agent(config, round)
        .post(&address)
        .header("Accept-Language", language.pick("ru", "en"))
        .send_json(&ActivationCall { request });
    let mut response = result.map_err(|error| Failed {
        is_undone: has_not_left(&error),
        error: Box::new(unavailable(centre, &error)),
    })?;
    let status = response.status();
    let date = response.headers().get("date").and_then(|value| http_date(value.to_str().ok()?));
    let mut body = Vec::new();
    let unknown = |error| Failed { error: Box::new(error), is_undone: false };
    response
        .body_mut()
        .as_reader()
        .take(ANSWER_BYTES_MAX as u64)
        .read_to_end(&mut body)
        .map_err(|error| unknown(unavailable(centre, &error)))?;
    if status == StatusCode::OK || status == StatusCode::CREATED {
        let answer =
            serde_json::from_slice(&body).map_err(|error| unknown(unusable(centre, &error)))?;
        return Ok((answer, date));
    }
    let error = match serde_json::from_slice::<ErrorBody>(&body) {
        Ok(refusal) => passed_on(status, &refusal),
        Err(error) => {
            log::warn!("{address} answered {status}");
            unusable(centre, &error)
        }
    };
    // What a centre or a proxy before it says of its own trouble leaves open what was done.
    Err(Failed { error: Box::new(error), is_undone: status.is_client_error() })
}

/// A moment as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) fn http_date(text: &str) -> Option<Utc> {
    OffsetDateTime::parse(text, &Rfc2822).ok().map(Utc::from)
}

/// Whether nothing of a call can have reached the other side.
#[expect(clippy::wildcard_enum_match_arm, reason = "of all other failures it is not known")]
pub(crate) fn has_not_left(error: &ureq::Error) -> bool {
    use std::io::ErrorKind;
    match error {
        ureq::Error::BadUri(_)
        | ureq::Error::ConnectProxyFailed(_)
        | ureq::Error::ConnectionFailed
        | ureq::Error::HostNotFound
        | ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => true,
        ureq::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::ConnectionRefused
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
        ),
        _ => false,
    }
}

/// The centre's refusal as ours: its class and text, with a status that the manual knows.
fn passed_on(status: StatusCode, refusal: &ErrorBody) -> ApiError {
    let status = match status.as_u16() {
        // Our own caller is authorised: the centre's 401 must not make a browser ask again.
        401 | 403 => StatusCode::FORBIDDEN,
        404 => StatusCode::NOT_FOUND,
        400..=499 => StatusCode::BAD_REQUEST,
        501 => StatusCode::NOT_IMPLEMENTED,
        503 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let is_class = refusal.exception.len() <= 64
        && refusal.exception.starts_with('E')
        && refusal.exception.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    let class =
        if is_class { refusal.exception.clone() } else { "ELicenceCentreRefused".to_owned() };
    let prefix = format!("({})", refusal.exception);
    let text = refusal.message.strip_prefix(&prefix).unwrap_or(&refusal.message).trim();
    let text = passable(text);
    ApiError::new(status, class, text.clone(), text)
}

/// A centre's text as it may be shown: not longer than a person reads, in one line, without what
/// moves the cursor of a terminal.
fn passable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(TEXT_CHARS_MAX).map(shown).collect()
}

fn unavailable(centre: &str, error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "ELicenceCentreUnavailable",
        format!("The activation centre {centre} cannot be reached: {error}."),
        format!("Центр лицензирования {centre} недоступен: {error}."),
    )
}

pub(super) fn unusable(centre: &str, error: &dyn std::fmt::Display) -> ApiError {
    // What stood in the wrong place is repeated by the error.
    let error = passable(&error.to_string());
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "ELicenceCentreUnavailable",
        format!("The activation centre {centre} gave an answer that cannot be used: {error}."),
        format!("Ответ центра лицензирования {centre} не удалось разобрать: {error}."),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::IniSource;

    fn refusal(exception: &str, message: &str) -> ErrorBody {
        ErrorBody {
            code: 409,
            text: "Conflict".into(),
            message: message.into(),
            exception: exception.into(),
        }
    }

    #[test]
    fn refusal_of_the_centre_is_passed_on_with_a_status_of_the_manual() {
        for (status, expected) in [
            (400, 400),
            (401, 403),
            (403, 403),
            (404, 404),
            (405, 400),
            (409, 400),
            (422, 400),
            (500, 500),
            (501, 501),
            (502, 500),
            (503, 503),
            (302, 500),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let error = passed_on(status, &refusal("ECodeUsed", "(ECodeUsed) The code was used"));
            assert_eq!(error.status.as_u16(), expected, "{status}");
            assert_eq!((&*error.class, &*error.english), ("ECodeUsed", "The code was used"));
        }
    }

    #[test]
    fn date_of_an_answer_is_read_as_http_writes_it() {
        for (text, wanted) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some("1994-11-06T08:49:37Z")),
            ("Sun Nov  6 08:49:37 1994", None),
            ("tomorrow", None),
            ("", None),
        ] {
            assert_eq!(http_date(text), wanted.map(|at| at.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn strange_class_of_a_centre_is_replaced_and_a_long_text_cut() {
        let error =
            passed_on(StatusCode::CONFLICT, &refusal("<script>\r\nX", &"long ".repeat(10_000)));
        assert_eq!(error.class, "ELicenceCentreRefused");
        assert!(error.english.len() <= TEXT_CHARS_MAX);
        let error =
            passed_on(StatusCode::CONFLICT, &refusal("ECodeUsed", "a\u{1b}[2J\r\nb\u{9b}c"));
        assert_eq!(error.russian, "a [2J  b c");
    }

    /// A centre that takes a call, sends `head`, and then one `byte` after the other for as long as
    /// anybody listens, or nothing more.
    fn slow(head: &'static str, byte: Option<u8>) -> String {
        use std::io::Write;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let centre = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (_never, pause) = std::sync::mpsc::channel::<()>();
            let mut said = stream.write_all(head.as_bytes());
            while said.is_ok() {
                let _timed_out = pause.recv_timeout(Duration::from_millis(20));
                said = match byte {
                    Some(byte) => stream.write_all(&[byte]),
                    // Ends when the other side has closed.
                    None => stream
                        .read_to_end(&mut Vec::new())
                        .and_then(|_| Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof))),
                };
            }
        });
        centre
    }

    #[test]
    fn centre_that_never_comes_to_an_end_is_left_at_the_end_of_the_round() {
        let source = IniSource::parse(Path::new("x"), Vec::new()).unwrap();
        let config = Config::from_source(&source).unwrap();
        for (name, head, byte) in [
            ("silent", "", None),
            ("a head without an end", "HTTP/1.1 200 OK\r\nX: ", Some(b'a')),
            ("half a body", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", None),
            ("a body byte by byte", "HTTP/1.1 200 OK\r\n\r\n", Some(b'[')),
            ("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Some(b'0')),
        ] {
            let (centre, round) = (slow(head, byte), Round::within(Duration::from_millis(300)));
            let asked: Result<serde_json::Value, _> =
                ask(&config, round, &centre, "/api/x", "x".into(), Language::English);
            let failed = asked.unwrap_err();
            assert_eq!(failed.error.class, "ELicenceCentreUnavailable", "{name}");
            assert!(!failed.is_undone, "{name}: nobody knows what it has done");
        }
    }

    #[test]
    fn centre_that_is_not_there_is_unavailable() {
        let closed = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        let centre = format!("http://{closed}");
        let source = IniSource::parse(Path::new("x"), Vec::new()).unwrap();
        let (config, round) = (Config::from_source(&source).unwrap(), Round::start());
        let answer =
            ask::<serde_json::Value>(&config, round, &centre, "/x", "x".into(), Language::English);
        let Failed { error, is_undone } = answer.unwrap_err();
        assert_eq!((error.status.as_u16(), &*error.class), (500, "ELicenceCentreUnavailable"));
        assert!(is_undone, "nothing has left");
        assert!(reach(&config, round, &centre).is_err());
    }
}
