//! What a request says about who sends it: the header `Authorization` and cookies, taken apart.
//!
//! Reads only; whether any of it is true is decided by [`super::auth`].

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, COOKIE};

/// Longest `Authorization` value that is looked at, in bytes: a name, a password and their base64.
const CREDENTIALS_BYTES_MAX: usize = 2048;

/// Longest `Cookie` line that is looked at, in bytes: other programs of the same computer share
/// it, because cookies do not know ports.
const COOKIES_BYTES_MAX: usize = 8 * 1024;

/// What `Authorization` says. Its `Debug` form shows no secret.
#[derive(Eq, PartialEq)]
pub(super) enum Presented {
    /// User name and password (RFC 7617).
    Basic {
        /// The name; one that is not UTF-8 is nobody's.
        user: String,
        /// The password.
        password: Vec<u8>,
    },
    /// A token (RFC 6750).
    Bearer(String),
    /// The header is there and is none of these.
    Unreadable,
    /// No header.
    Nothing,
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(***)",
            Self::Bearer(_) => "Bearer(***)",
            Self::Unreadable => "Unreadable",
            Self::Nothing => "Nothing",
        })
    }
}

/// What a request presents.
pub(super) fn presented(headers: &HeaderMap) -> Presented {
    let Some(value) = headers.get(AUTHORIZATION) else { return Presented::Nothing };
    if value.len() > CREDENTIALS_BYTES_MAX {
        return Presented::Unreadable;
    }
    let value = value.as_bytes();
    basic(value).or_else(|| bearer(value)).unwrap_or(Presented::Unreadable)
}

/// Reads `Basic dXNlcjpwYXNzd29yZA==`.
fn basic(value: &[u8]) -> Option<Presented> {
    let encoded = after_scheme(value, b"Basic ")?;
    let pair = STANDARD.decode(encoded).ok()?;
    let colon = pair.iter().position(|b| *b == b':')?;
    let user = String::from_utf8(pair[..colon].to_vec()).ok()?;
    Some(Presented::Basic { user, password: pair[colon + 1..].to_vec() })
}

/// Reads `Bearer lic_…`.
fn bearer(value: &[u8]) -> Option<Presented> {
    let token = std::str::from_utf8(after_scheme(value, b"Bearer ")?).ok()?;
    (!token.is_empty()).then(|| Presented::Bearer(token.to_owned()))
}

fn after_scheme<'a>(value: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (own, rest) = value.split_at_checked(scheme.len())?;
    own.eq_ignore_ascii_case(scheme).then(|| rest.trim_ascii())
}

/// The value of a cookie; of several with this name the first, which is the one with the longest
/// path.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter(|line| line.len() <= COOKIES_BYTES_MAX)
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(own, _)| *own == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn check(value: &str, expected: Presented) {
        let headers =
            HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())]);
        assert!(presented(&headers) == expected, "{value}");
    }

    fn pair(user: &str, password: &str) -> Presented {
        Presented::Basic { user: user.to_owned(), password: password.into() }
    }

    #[test]
    fn names_passwords_and_tokens_are_read_and_nothing_else() {
        let basic = |text: &[u8]| format!("Basic {}", STANDARD.encode(text));
        check(&basic(b"root:a:b"), pair("root", "a:b"));
        check(&basic(b"root:a").replace("Basic", "basic"), pair("root", "a"));
        check(&basic("пётр:ж".as_bytes()), pair("пётр", "ж"));
        check(&basic(b":"), pair("", ""));
        check("Bearer lic_x", Presented::Bearer("lic_x".to_owned()));
        check("bearer  lic_x ", Presented::Bearer("lic_x".to_owned()));
        for value in ["Basic", "Basic !!!", "Bearer ", "Digest x", "", "Basic\u{9}x"] {
            check(value, Presented::Unreadable);
        }
        check(&basic(b"root"), Presented::Unreadable);
        check(&basic(b"\xff:x"), Presented::Unreadable);
        check(&format!("Bearer {}", "A".repeat(4000)), Presented::Unreadable);
        assert!(presented(&HeaderMap::new()) == Presented::Nothing);
        assert_eq!(format!("{:?}", pair("root", "hunter2")), "Basic(***)");
    }

    #[test]
    fn cookie_is_found_among_those_of_others() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "a=1; licence_session=x=y;b".parse().unwrap());
        headers.append(COOKIE, "c=3".parse().unwrap());
        for (name, expected) in
            [("a", Some("1")), ("licence_session", Some("x=y")), ("b", None), ("c", Some("3"))]
        {
            assert_eq!(cookie(&headers, name), expected, "{name}");
        }
    }
}
