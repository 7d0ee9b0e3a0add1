//! Whether a change was meant by the person at the browser, and not by a stranger's page.
//!
//! Two checks: what the browser says of the page that asks (`check_sender`), for every change;
//! and a secret in each form of the console (`check_form`). A page of a stranger can send a
//! form here with the visitor's cookies, but can neither read our pages nor set our cookies.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::HeaderMap;
use hyper::StatusCode;
use hyper::header::{HOST, HeaderValue, ORIGIN};
use subtle::ConstantTimeEq;

use crate::access::Via;
use crate::access::credentials::cookie;
use crate::api::Call;
use crate::api::errors::ApiError;
use crate::api::form::Form;
use crate::random;

/// Cookie whose value a form must repeat when there is no login to keep a secret.
const COOKIE: &str = "licence_csrf";

/// Random bytes of such a value: more than anyone can guess.
const SECRET_BYTES: usize = 32;

/// What a form of the console carries as its hidden field `csrf`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FormToken {
    /// The value of the field.
    pub value: String,
    /// Cookie that the answer with the form must set, if any.
    pub set_cookie: Option<HeaderValue>,
}

/// The token of the forms of one page. Ask once for a page: without a login each call may make
/// another value, and the cookie holds one.
pub(crate) fn form_token(call: &Call<'_>) -> FormToken {
    if let Via::Login { csrf } = &call.actor.via {
        return FormToken { value: csrf.clone(), set_cookie: None };
    }
    if let Some(value) = form_cookie(call.headers) {
        return FormToken { value: value.to_owned(), set_cookie: None };
    }
    let Ok(value) = secret() else {
        // A form without a token is refused, which is all that can be done without randomness.
        log::error!("no random bytes for a form");
        return FormToken::default();
    };
    let secure = if call.peer.is_tls { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict{secure}");
    FormToken { set_cookie: HeaderValue::from_str(&cookie).ok(), value }
}

/// Whether a form was made by this server for whoever sends it.
///
/// # Errors
///
/// 403 `ECrossSite`.
pub(crate) fn check_form(call: &Call<'_>, form: &Form) -> Result<(), ApiError> {
    let expected = match &call.actor.via {
        // No browser adds these by itself.
        Via::Node | Via::Server | Via::Token => return Ok(()),
        Via::Login { csrf } => Some(csrf.as_str()),
        Via::Basic | Via::Component | Via::Nothing => form_cookie(call.headers),
    };
    let sent = form.raw("csrf").unwrap_or_default();
    let is_ours = expected.is_some_and(|expected| {
        !expected.is_empty() && bool::from(expected.as_bytes().ct_eq(sent.as_bytes()))
    });
    if is_ours {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        "ECrossSite",
        "The form is out of date or was not made by this server; open the page again.",
        "Форма устарела или создана не этим сервером; откройте страницу заново.",
    ))
}

/// A fresh secret, as text that fits into a cookie and a field.
pub(crate) fn secret() -> Result<String, random::RandomError> {
    let mut bytes = [0; SECRET_BYTES];
    random::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn form_cookie(headers: &HeaderMap) -> Option<&str> {
    // A value of another length is none of ours.
    let chars = SECRET_BYTES.div_ceil(3) * 4 - 1;
    cookie(headers, COOKIE).filter(|value| value.len() == chars)
}

/// Whether a change comes from a page of this server, or from no page at all.
///
/// # Errors
///
/// 403 `ECrossSite`.
pub(super) fn check_sender(headers: &HeaderMap) -> Result<(), ApiError> {
    match sender(headers) {
        Sender::Nobody | Sender::Own => Ok(()),
        Sender::Stranger => Err(cross_site()),
    }
}

/// As [`check_sender`], for whoever is known by a cookie alone: there a page must have been named.
///
/// # Errors
///
/// 403 `ECrossSite`.
pub(super) fn check_sender_strictly(headers: &HeaderMap) -> Result<(), ApiError> {
    match sender(headers) {
        Sender::Own => Ok(()),
        Sender::Nobody | Sender::Stranger => Err(cross_site()),
    }
}

fn cross_site() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "ECrossSite",
        "The request comes from a page of another site.",
        "Запрос отправлен со страницы другого сайта.",
    )
}

/// Whose page asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sender {
    /// No page: a program.
    Nobody,
    /// Ours.
    Own,
    /// Somebody else's, or it cannot be told.
    Stranger,
}

fn sender(headers: &HeaderMap) -> Sender {
    // Browsers send it over HTTPS and to localhost (Fetch Metadata); a page cannot forge it.
    if let Some(site) = headers.get("sec-fetch-site") {
        let is_own = matches!(site.as_bytes(), b"same-origin" | b"none");
        return if is_own { Sender::Own } else { Sender::Stranger };
    }
    let Some(origin) = headers.get(ORIGIN) else { return Sender::Nobody };
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or("");
    let own = origin.to_str().ok().and_then(|origin| {
        let (scheme, authority) = origin.split_once("://")?;
        let port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return None,
        };
        let plain = |text: &str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
        (!host.is_empty() && plain(authority) == plain(host)).then_some(())
    });
    own.map_or(Sender::Stranger, |()| Sender::Own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[(&'static str, &str)], expected: Sender) {
        let headers = lines
            .iter()
            .map(|(name, value)| {
                (hyper::header::HeaderName::from_static(name), value.parse().unwrap())
            })
            .collect();
        assert_eq!(sender(&headers), expected, "{lines:?}");
        assert_eq!(check_sender(&headers).is_ok(), expected != Sender::Stranger, "{lines:?}");
        assert_eq!(check_sender_strictly(&headers).is_ok(), expected == Sender::Own, "{lines:?}");
    }

    #[test]
    fn page_that_asks_is_told_from_a_stranger_s() {
        let host = ("host", "lic:9099");
        check(&[host], Sender::Nobody);
        check(&[host, ("origin", "http://lic:9099")], Sender::Own);
        check(&[host, ("origin", "https://LIC:9099")], Sender::Own);
        check(&[("host", "lic"), ("origin", "http://lic:80")], Sender::Own);
        check(&[("host", "lic:443"), ("origin", "https://lic")], Sender::Own);
        check(&[("host", "lic:443"), ("origin", "http://lic")], Sender::Stranger);
        check(&[host, ("origin", "http://lic")], Sender::Stranger);
        check(&[host, ("origin", "http://lic:9099.evil.example")], Sender::Stranger);
        check(&[host, ("origin", "http://evil.example")], Sender::Stranger);
        check(&[host, ("origin", "null")], Sender::Stranger);
        check(&[host, ("origin", "file://lic:9099")], Sender::Stranger);
        check(&[("origin", "http://")], Sender::Stranger);
        check(&[host, ("sec-fetch-site", "same-origin")], Sender::Own);
        check(&[host, ("sec-fetch-site", "none")], Sender::Own);
        check(&[host, ("sec-fetch-site", "cross-site")], Sender::Stranger);
        check(&[host, ("sec-fetch-site", "same-site")], Sender::Stranger);
        let both = [host, ("sec-fetch-site", "cross-site"), ("origin", "http://lic:9099")];
        check(&both, Sender::Stranger);
    }
}
