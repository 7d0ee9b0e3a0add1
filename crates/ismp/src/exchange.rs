//! What is sent to the service to sign in, and what its answers mean.
//!
//! Paths below a base address, bodies and texts; addresses, sockets and time-outs are the caller's.
//! The forms are those of True API 3 and of СУЗ's API 3.0, as `docs/ismp.md` says.

use std::time::Duration;

use licence_core::time::Utc;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::directory::FormatWish;
use crate::key::StoreKey;
use crate::kind::TokenKind;
use crate::record::TokenFormat;
use crate::refresh::ID_CHARS_MAX;
use crate::secret::SessionKey;
use crate::validity::Said;

/// Path of the challenge.
pub const CHALLENGE_PATH: &str = "/auth/key";

/// Path of the exchange, for СУЗ with the connection id behind it.
pub const SIGN_IN_PATH: &str = "/auth/simpleSignIn";

/// Path of the exchange for cash desks, below their own base address.
pub const RETAIL_PATH: &str = "/auth/permissive-access";

/// Longest text to be signed, in characters: the service sends some 30.
pub const DATA_CHARS_MAX: usize = 1024;

/// Longest text of the service that is passed on, in characters.
pub const ERROR_CHARS_MAX: usize = 1000;

/// Longest signature, in bytes of base64: with a chain of certificates some 10 KiB.
pub const SIGNATURE_BYTES_MAX: usize = 256 * 1024;

/// Which of a contour's two addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Base {
    /// True API.
    TrueApi,
    /// The delivery network for cash desks.
    Retail,
}

/// What is to be signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Challenge {
    /// `Идентификатор`: the service's `uuid`.
    pub id: String,
    /// `Данные`: the text that is signed, as it is.
    pub data: String,
}

/// Whether a challenge is asked for at all: a united token may be had for the signed ИНН.
pub fn needs_challenge(kind: TokenKind, wish: FormatWish) -> bool {
    !(kind == TokenKind::Ismp && wish == FormatWish::UuidByInn)
}

/// Whether a united token is asked for.
pub fn is_united(kind: TokenKind, wish: FormatWish) -> bool {
    kind == TokenKind::Ismp && matches!(wish, FormatWish::Uuid | FormatWish::UuidByInn)
}

/// An answer that cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// Not JSON, or not of the form.
    #[error("not the JSON that was expected")]
    Form,
    /// A success that brings no key.
    #[error("no session key in it")]
    NoToken,
    /// A value that goes nowhere: too long, or with characters that cannot be.
    #[error("a value in it cannot be used")]
    Value,
}

/// Reads the answer to [`CHALLENGE_PATH`].
///
/// # Errors
///
/// For anything but an id and a text of sensible length.
pub fn challenge(body: &[u8]) -> Result<Challenge, AnswerError> {
    #[derive(Deserialize)]
    struct Raw {
        uuid: String,
        data: String,
    }
    let Raw { uuid, data } = serde_json::from_slice(body).map_err(|_| AnswerError::Form)?;
    let id_fits = !uuid.is_empty()
        && uuid.len() <= ID_CHARS_MAX
        && uuid.bytes().all(|b| b.is_ascii_graphic());
    let chars = data.chars().count();
    let data_fits = chars > 0 && chars <= DATA_CHARS_MAX && !data.chars().any(char::is_control);
    if id_fits && data_fits { Ok(Challenge { id: uuid, data }) } else { Err(AnswerError::Value) }
}

/// A call of the service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// Below which address.
    pub base: Base,
    /// Path, percent-encoded where needed.
    pub path: String,
    /// JSON. Holds a signature, which is a sign-in until it is spent: never to be logged.
    pub body: String,
}

/// The exchange of a signature. `id` is the challenge's, `signature` base64 without line breaks.
pub fn sign_in(key: &StoreKey, wish: FormatWish, id: &str, signature: &str) -> Call {
    let mut body = Map::new();
    let is_united = is_united(key.kind, wish);
    let by_challenge = needs_challenge(key.kind, wish);
    if key.kind != TokenKind::IsmpRetail && by_challenge {
        body.insert("uuid".into(), id.into());
    }
    body.insert("data".into(), signature.into());
    if is_united {
        body.insert("unitedToken".into(), true.into());
    } else {
        body.insert("inn".into(), key.organization.as_str().into());
    }
    let (base, path) = match key.kind {
        TokenKind::Ismp => (Base::TrueApi, SIGN_IN_PATH.to_owned()),
        TokenKind::Suz => {
            let object = key.production_object.as_ref().map_or("", |object| object.as_str());
            (Base::TrueApi, format!("{SIGN_IN_PATH}/{}", encoded(object)))
        }
        TokenKind::IsmpRetail => (Base::Retail, RETAIL_PATH.to_owned()),
    };
    Call { base, path, body: Value::Object(body).to_string() }
}

/// A segment of a path (RFC 3986, section 2.1).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A key as the service gave it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signed {
    /// The key.
    pub token: SessionKey,
    /// Its form.
    pub format: TokenFormat,
    /// What was said of its end.
    pub said: Said,
}

/// Reads the answer to a sign-in that succeeded. Whatever form was asked for, any is taken.
///
/// # Errors
///
/// For an answer without a key.
pub fn signed(kind: TokenKind, body: &[u8]) -> Result<Signed, AnswerError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Raw {
        token: Option<String>,
        uuid_token: Option<String>,
        expire_date: Option<String>,
        #[serde(rename = "access_token")]
        access_token: Option<String>,
        #[serde(rename = "expires_in")]
        expires_in: Option<Value>,
    }
    let raw: Raw = serde_json::from_slice(body).map_err(|_| AnswerError::Form)?;
    let filled = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let (token, format) =
        match (filled(raw.token), filled(raw.uuid_token), filled(raw.access_token)) {
            (_, _, Some(token)) if kind == TokenKind::IsmpRetail => (token, TokenFormat::Jwt),
            (_, Some(token), _) => (token, TokenFormat::Uuid),
            (Some(token), None, _) => {
                let is_jwt = kind != TokenKind::Suz && token.split('.').count() == 3;
                (token, if is_jwt { TokenFormat::Jwt } else { TokenFormat::Uuid })
            }
            (None, None, Some(token)) => (token, TokenFormat::Jwt),
            (None, None, None) => return Err(AnswerError::NoToken),
        };
    let token = SessionKey::new(&token).map_err(|_| AnswerError::Value)?;
    let seconds = raw.expires_in.and_then(|value| match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    });
    let said = Said {
        // `yyyy-MM-ddTHH:mm:ss.SSSZ`; an offset without a colon is none of RFC 3339.
        expire_date: raw.expire_date.and_then(|text| moment(&text)),
        expires_in: seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
    };
    Ok(Signed { token, format, said })
}

/// A moment with `Z`, or with an offset with or without a colon.
fn moment(text: &str) -> Option<Utc> {
    let text = text.trim();
    text.parse().ok().or_else(|| {
        let at = text.len().checked_sub(2)?;
        let (head, minutes) = (text.get(..at)?, text.get(at..)?);
        format!("{head}:{minutes}").parse().ok()
    })
}

/// A refusal of the service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// What it says, in one line and not longer than a person reads; empty when it says nothing.
    pub text: String,
    /// The challenge was used, or the service does not know it: signing again helps.
    pub is_unknown_challenge: bool,
}

/// Reads the body of a refusal, whatever it is.
pub fn refusal(body: &[u8]) -> Refusal {
    let text = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(object)) => from_object(&object),
        Ok(Value::String(text)) => text,
        Ok(_) | Err(_) => plain(body),
    };
    let text = passable(&text);
    let is_unknown_challenge = text.contains("UUID не найден");
    Refusal { text, is_unknown_challenge }
}

fn from_object(object: &Map<String, Value>) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut add = |text: Option<String>| {
        if let Some(text) = text.filter(|text| !text.trim().is_empty() && !parts.contains(text)) {
            parts.push(text);
        }
    };
    for name in
        ["error_message", "errorMessage", "description", "message", "error_description", "error"]
    {
        add(object.get(name).and_then(Value::as_str).map(str::to_owned));
    }
    for error in object.get("globalErrors").and_then(Value::as_array).into_iter().flatten() {
        let named = |name| error.get(name).map(scalar);
        add(match error {
            Value::String(text) => Some(text.clone()),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => match (named("error"), named("errorCode")) {
                (Some(text), Some(code)) => Some(format!("{text} ({code})")),
                (text, code) => text.or(code),
            },
        });
    }
    for error in object.get("fieldErrors").and_then(Value::as_array).into_iter().flatten() {
        let named = |name| error.get(name).map(scalar).unwrap_or_default();
        add(Some(format!("{}: {}", named("fieldName"), named("fieldError"))));
    }
    let text = parts.join("; ");
    // A number in one recording, a text in others.
    match object.get("code").map(scalar).filter(|code| !code.is_empty()) {
        Some(code) if text.is_empty() => code,
        Some(code) => format!("{text} ({code})"),
        None => text,
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
    }
}

/// A page of a proxy is no message for a person.
fn plain(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    if text.trim_start().starts_with('<') { String::new() } else { text.into_owned() }
}

/// One line, bounded, without what moves the cursor of a terminal.
fn passable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = text.chars().take(ERROR_CHARS_MAX).map(shown).collect();
    text.trim().to_owned()
}

/// A signature as callers send it: base64, with line breaks, PEM's armour (RFC 7468) or without.
/// Nothing for what is no base64, or too long.
pub fn plain_signature(text: &str) -> Option<String> {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    if text.len() > SIGNATURE_BYTES_MAX {
        return None;
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("-----"));
    let joined: String = lines.flat_map(str::chars).filter(|c| !c.is_whitespace()).collect();
    let is_base64 = !joined.is_empty() && STANDARD.decode(&joined).is_ok();
    is_base64.then_some(joined)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(kind: TokenKind) -> StoreKey {
        StoreKey {
            contour: Default::default(),
            kind,
            organization: "7707083893".parse().unwrap(),
            production_object: (kind == TokenKind::Suz).then(|| "a/b?c".parse().unwrap()),
        }
    }

    #[test]
    fn each_kind_signs_in_with_its_own_path_and_fields() {
        for (kind, wish, base, path, body) in [
            (
                TokenKind::Ismp,
                FormatWish::Auto,
                Base::TrueApi,
                "/auth/simpleSignIn",
                json!({"uuid": "U", "data": "S", "inn": "7707083893"}),
            ),
            (
                TokenKind::Ismp,
                FormatWish::Uuid,
                Base::TrueApi,
                "/auth/simpleSignIn",
                json!({"uuid": "U", "data": "S", "unitedToken": true}),
            ),
            (
                TokenKind::Ismp,
                FormatWish::UuidByInn,
                Base::TrueApi,
                "/auth/simpleSignIn",
                json!({"data": "S", "unitedToken": true}),
            ),
            // The form of a key of ИС МП says nothing of the others.
            (
                TokenKind::Suz,
                FormatWish::Uuid,
                Base::TrueApi,
                "/auth/simpleSignIn/a%2Fb%3Fc",
                json!({"uuid": "U", "data": "S", "inn": "7707083893"}),
            ),
            (
                TokenKind::IsmpRetail,
                FormatWish::UuidByInn,
                Base::Retail,
                "/auth/permissive-access",
                json!({"data": "S", "inn": "7707083893"}),
            ),
        ] {
            let call = sign_in(&key(kind), wish, "U", "S");
            assert_eq!((call.base, call.path.as_str()), (base, path), "{kind} {wish:?}");
            assert_eq!(serde_json::from_str::<Value>(&call.body).unwrap(), body, "{kind} {wish:?}");
        }
    }

    #[test]
    fn key_is_found_in_whichever_field_the_service_uses() {
        for (kind, body, token, format, secs) in [
            (TokenKind::Ismp, json!({"token": "a.b.c"}), "a.b.c", TokenFormat::Jwt, None),
            (
                TokenKind::Ismp,
                json!({"uuidToken": "u-1", "expireDate": "2026-11-22T20:00:00.000Z"}),
                "u-1",
                TokenFormat::Uuid,
                None,
            ),
            (
                TokenKind::Ismp,
                json!({"token": "", "uuidToken": "u-1"}),
                "u-1",
                TokenFormat::Uuid,
                None,
            ),
            (TokenKind::Suz, json!({"token": "u-2"}), "u-2", TokenFormat::Uuid, None),
            (
                TokenKind::IsmpRetail,
                json!({"access_token": "r", "id_token": "i", "expires_in": 3600, "token_type": "bearer"}),
                "r",
                TokenFormat::Jwt,
                Some(3600),
            ),
            (
                TokenKind::IsmpRetail,
                json!({"access_token": "r", "expires_in": "60"}),
                "r",
                TokenFormat::Jwt,
                Some(60),
            ),
        ] {
            let found = signed(kind, body.to_string().as_bytes()).unwrap();
            assert_eq!((found.token.reveal(), found.format), (token, format), "{body}");
            assert_eq!(found.said.expires_in.map(|life| life.as_secs()), secs, "{body}");
        }
        let dated = signed(
            TokenKind::Ismp,
            br#"{"uuidToken":"u","expireDate":"2026-11-22T23:00:00.000+0300"}"#,
        )
        .unwrap();
        assert_eq!(dated.said.expire_date.unwrap().to_string(), "2026-11-22T20:00:00.000Z");
    }

    #[test]
    fn success_without_a_key_is_an_error() {
        for (body, wanted) in [
            ("{}", AnswerError::NoToken),
            (r#"{"token":" "}"#, AnswerError::NoToken),
            (r#"{"token":"a b"}"#, AnswerError::Value),
            (r#"{"token":7}"#, AnswerError::Form),
            ("<html>", AnswerError::Form),
            ("", AnswerError::Form),
        ] {
            assert_eq!(signed(TokenKind::Ismp, body.as_bytes()), Err(wanted), "{body}");
        }
    }

    #[test]
    fn challenge_is_an_id_and_a_text_of_sensible_length() {
        let good = challenge(br#"{"uuid":"b5e1","data":"WLYDSM","more":1}"#).unwrap();
        assert_eq!((good.id.as_str(), good.data.as_str()), ("b5e1", "WLYDSM"));
        for (body, wanted) in [
            (json!({"uuid": "", "data": "X"}), AnswerError::Value),
            (json!({"uuid": "a b", "data": "X"}), AnswerError::Value),
            (json!({"uuid": "a", "data": ""}), AnswerError::Value),
            (json!({"uuid": "a", "data": "a\nb"}), AnswerError::Value),
            (json!({"uuid": "a", "data": "x".repeat(DATA_CHARS_MAX + 1)}), AnswerError::Value),
            (json!({"uuid": "a"}), AnswerError::Form),
            (json!([]), AnswerError::Form),
        ] {
            assert_eq!(challenge(body.to_string().as_bytes()), Err(wanted), "{body}");
        }
    }

    #[test]
    fn refusals_are_read_in_every_form_and_never_repeated_at_length() {
        for (body, wanted) in [
            (json!({"code": 400, "error_message": "Ошибка при проверке подписи", "description": ""}).to_string(), "Ошибка при проверке подписи (400)"),
            (json!({"code": "403", "error_message": "нет доступа", "description": "нет доступа"}).to_string(), "нет доступа (403)"),
            (json!({"globalErrors": ["раз", {"error": "два", "errorCode": 17}]}).to_string(), "раз; два (17)"),
            (json!({"fieldErrors": [{"fieldName": "inn", "fieldError": "пусто"}]}).to_string(), "inn: пусто"),
            (json!({"code": 500}).to_string(), "500"),
            ("<html>502</html>".into(), ""),
            ("gateway\r\ntime-out".into(), "gateway  time-out"),
            (String::new(), ""),
        ] {
            assert_eq!(refusal(body.as_bytes()).text, wanted, "{body}");
        }
        let long = json!({"description": "\u{1b}[2Jя".repeat(2000)}).to_string();
        let said = refusal(long.as_bytes()).text;
        assert!(said.chars().count() <= ERROR_CHARS_MAX && !said.contains('\u{1b}'));
        assert!(
            refusal(
                r#"{"error_message":"UUID не найден в хранилище ключей. UUID = 1"}"#.as_bytes()
            )
            .is_unknown_challenge
        );
    }

    #[test]
    fn signature_loses_line_breaks_and_armour() {
        for (text, wanted) in [
            ("AAEC", Some("AAEC")),
            (" AA\r\nEC\n", Some("AAEC")),
            ("-----BEGIN CMS-----\nAAEC\n-----END CMS-----\n", Some("AAEC")),
            ("", None),
            ("-----BEGIN CMS-----", None),
            ("подпись", None),
        ] {
            assert_eq!(plain_signature(text).as_deref(), wanted, "{text:?}");
        }
        assert_eq!(plain_signature(&"A".repeat(SIGNATURE_BYTES_MAX + 4)), None);
    }
}
