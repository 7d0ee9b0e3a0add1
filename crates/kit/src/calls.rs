//! Calls of the activation centre's REST API with the vendor's token.
//!
//! One blocking exchange at a time, bounded in time and size. What the answers mean to a person
//! is decided in [`crate::commands`].

use std::path::Path;
use std::time::Duration;

use licence_core::activation_request::ActivationCall;
use licence_core::centre_request::AnswerFile;
use licence_core::protocol::ErrorBody;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::Agent;
use ureq::http::{Response, Uri};
use zeroize::Zeroizing;

use crate::files::{self, FileError};
use crate::order::{OrderAnswer, OrderCall, OrderList};
use crate::text::Language;
use crate::vendor::{BlanksAnswer, BlanksCall};

/// Whole exchange, connecting included: the centre answers within milliseconds, and a person
/// waits at the keyboard.
const EXCHANGE: Duration = Duration::from_secs(30);

/// Connecting: a host that is down is noticed sooner than a slow answer.
const CONNECT: Duration = Duration::from_secs(10);

/// Largest answer that is read; a page of the list of orders stays below 8 MB.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Most characters of a centre's text that are repeated.
const TEXT_CHARS_MAX: usize = 1000;

/// Largest token file: a token has one line of some 50 characters.
const TOKEN_BYTES_MAX: usize = 4096;

/// A centre and the right to give it orders.
pub struct Centre {
    agent: Agent,
    url: String,
    token: Zeroizing<String>,
    language: Language,
}

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The answer is not what a centre sends.
    #[error("{url} does not answer like an activation centre: {what}")]
    Answer {
        /// Who answered.
        url: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// The centre said no.
    #[error("the centre refused with status {status}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The centre's own words, with the exception class in brackets.
        message: String,
    },
    /// The token file holds no token.
    #[error("the token file does not hold one line of printable characters")]
    Token,
    /// The token file cannot be read.
    #[error("token file")]
    TokenFile(#[source] FileError),
    /// No connection, or it broke or took too long.
    #[error("{url}: {source}")]
    Transport {
        /// Who was called.
        url: String,
        /// What happened.
        #[source]
        source: Box<ureq::Error>,
    },
    /// Not an address.
    #[error("{0:?} is not an http:// or https:// address")]
    Url(String),
    /// Plain HTTP to another machine would show a token or code to everybody on the way.
    #[error(
        "the token or code would travel in the clear to {0}; use https:// or the loopback address"
    )]
    Unprotected(String),
}

impl Centre {
    /// The centre at `url`, with the token in `token_file`.
    ///
    /// # Errors
    ///
    /// When the address is no address, is plain HTTP to another machine, or the token is missing.
    pub fn new(url: &str, token_file: &Path, language: Language) -> Result<Self, CallError> {
        let url = check_url(url)?;
        let bytes =
            Zeroizing::new(files::read(token_file, TOKEN_BYTES_MAX).map_err(CallError::TokenFile)?);
        let token = std::str::from_utf8(&bytes).map_err(|_| CallError::Token)?.trim_ascii();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(CallError::Token);
        }
        Ok(Self { agent: agent(), url, token: Zeroizing::new(token.to_owned()), language })
    }

    /// `POST /api/orders`.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub fn add_order(&self, order: &OrderCall) -> Result<OrderAnswer, CallError> {
        self.post("/api/orders", order)
    }

    /// All orders, page by page (`GET /api/orders`).
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub fn orders(&self) -> Result<OrderList, CallError> {
        let mut all: OrderList = self.get(&format!("{}/api/orders", self.url))?;
        while let Some(before) = all.next.take() {
            let url = format!("{}/api/orders?before={before}", self.url);
            let page: OrderList = self.get(&url)?;
            // Numbers fall from page to page, or a confused centre would keep us here for ever.
            all.next = page.next.filter(|next| *next < before);
            all.orders.extend(page.orders);
        }
        Ok(all)
    }

    /// `GET` of a path of the centre's API, such as `/api/stats`.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub fn fetch<A: DeserializeOwned>(&self, path: &str) -> Result<A, CallError> {
        self.get(&format!("{}{path}", self.url))
    }

    fn get<A: DeserializeOwned>(&self, url: &str) -> Result<A, CallError> {
        let result = self
            .agent
            .get(url)
            .header("Authorization", self.bearer().as_str())
            .header("Accept-Language", self.language.tag())
            .call();
        read(url.to_owned(), result)
    }

    /// `POST /api/orders/{OrderID}/revoke`: no code of the order may be activated any more.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub fn revoke_order(&self, order_id: i64) -> Result<serde_json::Value, CallError> {
        self.post(&format!("/api/orders/{order_id}/revoke"), &serde_json::Map::new())
    }

    /// `POST /api/blanks`: the centre may bind licences to these tokens.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub fn register_blanks(&self, blanks: &BlanksCall) -> Result<BlanksAnswer, CallError> {
        self.post("/api/blanks", blanks)
    }

    /// `POST` to a path of the centre's API.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub fn post<B: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<A, CallError> {
        let url = format!("{}{path}", self.url);
        let result = self
            .agent
            .post(&url)
            .header("Authorization", self.bearer().as_str())
            .header("Accept-Language", self.language.tag())
            .send_json(body);
        read(url, result)
    }

    fn bearer(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("Bearer {}", self.token.as_str()))
    }
}

fn agent() -> Agent {
    Agent::config_builder()
        .timeout_global(Some(EXCHANGE))
        .timeout_connect(Some(CONNECT))
        .http_status_as_error(false)
        // A token or code must not follow a redirect to somebody else.
        .max_redirects(0)
        .build()
        .new_agent()
}

/// `POST /api/requests`: what the centre at `url` says to the request of a server.
///
/// # Errors
///
/// See [`CallError`].
pub fn answer_request(
    url: &str,
    request: String,
    language: Language,
) -> Result<AnswerFile, CallError> {
    let url = format!("{}/api/requests", check_url(url)?);
    let result = agent()
        .post(&url)
        .header("Accept-Language", language.tag())
        .send_json(&ActivationCall { request });
    read(url, result)
}

/// `POST /api/short`: what the centre at `url` says to a request that was read out.
///
/// # Errors
///
/// See [`CallError`].
pub fn answer_short(url: &str, request: String, language: Language) -> Result<String, CallError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Reply {
        answer: String,
    }
    let url = format!("{}/api/short", check_url(url)?);
    let result = agent()
        .post(&url)
        .header("Accept-Language", language.tag())
        .send_json(&ActivationCall { request });
    read(url, result).map(|reply: Reply| reply.answer)
}

/// The address without a slash at its end.
fn check_url(url: &str) -> Result<String, CallError> {
    let parsed: Uri = url.parse().map_err(|_| CallError::Url(url.to_owned()))?;
    let host = parsed.host().unwrap_or_default();
    match parsed.scheme_str() {
        Some("https") if !host.is_empty() => {}
        Some("http") if matches!(host, "localhost" | "127.0.0.1" | "[::1]") => {}
        Some("http") if !host.is_empty() => {
            return Err(CallError::Unprotected(host.to_owned()));
        }
        _ => return Err(CallError::Url(url.to_owned())),
    }
    Ok(url.trim_end_matches('/').to_owned())
}

fn read<A: DeserializeOwned>(
    url: String,
    result: Result<Response<ureq::Body>, ureq::Error>,
) -> Result<A, CallError> {
    let mut response = match result {
        Ok(response) => response,
        Err(source) => return Err(CallError::Transport { url, source: Box::new(source) }),
    };
    let status = response.status();
    let bytes = match response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec() {
        Ok(bytes) => bytes,
        Err(source) => return Err(CallError::Transport { url, source: Box::new(source) }),
    };
    if status.is_success() {
        return serde_json::from_slice(&bytes)
            .map_err(|error| CallError::Answer { url, what: shown(&error.to_string()) });
    }
    match serde_json::from_slice::<ErrorBody>(&bytes) {
        Ok(body) => {
            let message = shown(&body.message);
            Err(CallError::Refused { status: status.as_u16(), message })
        }
        Err(_) => Err(CallError::Answer { url, what: format!("status {status}") }),
    }
}

/// A centre's text as a terminal may show it: in one line, not longer than anybody reads.
fn shown(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(TEXT_CHARS_MAX).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_centre_do_not_move_the_cursor() {
        assert_eq!(shown("ключ\u{1b}[2J\r\nготов\u{9b}"), "ключ [2J  готов ");
        assert_eq!(shown(&"я".repeat(TEXT_CHARS_MAX + 1)).chars().count(), TEXT_CHARS_MAX);
    }

    #[test]
    fn token_travels_in_the_clear_only_within_the_machine() {
        for good in ["https://centre.example/", "http://127.0.0.1:9100", "http://localhost:1"] {
            assert_eq!(check_url(good).unwrap(), good.trim_end_matches('/'), "{good}");
        }
        assert!(matches!(check_url("http://centre.example"), Err(CallError::Unprotected(_))));
        for bad in ["", "centre.example", "ftp://centre.example", "https://"] {
            assert!(matches!(check_url(bad), Err(CallError::Url(_))), "{bad}");
        }
    }

    #[test]
    fn token_file_holds_one_printable_word() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for (text, good) in [("abc\n", true), ("\n", false), ("a b", false), ("a\nb", false)] {
            std::fs::write(&path, text).unwrap();
            let result = Centre::new("http://localhost:1", &path, Language::English);
            assert_eq!(result.is_ok(), good, "{text:?}");
        }
    }
}
