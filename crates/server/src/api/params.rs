//! Parameters of a request: a JSON object in the body, or `?Name=Value` pairs in the address.
//!
//! The body wins over the address. Unknown names are left alone, because callers send along what
//! other versions know. Wrong JSON, wrong UTF-8 and wrong types are refused by name.

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::api::errors::ApiError;

/// Largest body that is read, in bytes. The longest message is a heartbeat with 5000 session ids
/// of 35 bytes each, some 180 KiB; the most rules with texts of ordinary length are shorter.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// Largest body of any message but a heartbeat or rules, in bytes: a session or connection with the longest
/// texts and a lease token stays below.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// How long a body may take. The largest one takes 20 s at 100 kbit/s.
pub const BODY_SECS_MAX: u64 = 20;

/// Most pairs read from an address: the API knows fewer than ten names.
const QUERY_PAIRS_MAX: usize = 64;

/// Reads a whole body within `bytes_max` and [`BODY_SECS_MAX`].
///
/// # Errors
///
/// 413 when it is larger, 408 when it is slower, 400 when it breaks off.
pub async fn read_body<B>(body: B, bytes_max: usize) -> Result<Bytes, ApiError>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // A length that is announced and too large is refused before anything is read.
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(ApiError::too_large(bytes_max));
    }
    let whole = Limited::new(body, bytes_max).collect();
    let bound = std::time::Duration::from_secs(BODY_SECS_MAX);
    match tokio::time::timeout(bound, whole).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(ApiError::too_large(bytes_max))
        }
        Ok(Err(_)) => Err(ApiError::bad_request(
            "The request body broke off.",
            "Тело запроса получено не полностью.",
        )
        .closing()),
        Err(_) => Err(ApiError::timeout()),
    }
}

/// Reads a JSON message of a known type. Unknown fields are left alone.
///
/// # Errors
///
/// 400 that says where the JSON breaks, or which field is wrong.
pub fn message<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(text(body)?.as_bytes()).map_err(|error| wrong_json(&error))
}

/// Parameters of one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params(Map<String, Value>);

impl Params {
    /// Reads the parameters of the address and of the body; the body wins.
    ///
    /// # Errors
    ///
    /// 400 when the body is not a JSON object in UTF-8, or the address is not UTF-8.
    pub fn read(query: Option<&str>, body: &[u8]) -> Result<Self, ApiError> {
        let mut values = Map::new();
        for pair in query.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
            if values.len() == QUERY_PAIRS_MAX {
                return Err(ApiError::bad_request(
                    format!("The address has more than {QUERY_PAIRS_MAX} parameters."),
                    format!("В адресе больше {QUERY_PAIRS_MAX} параметров."),
                ));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            values.insert(decode(name)?, Value::String(decode(value)?));
        }
        let body = text(body)?;
        if !body.trim().is_empty() {
            match serde_json::from_str(body) {
                Ok(Value::Object(members)) => values.extend(members),
                Ok(_) => {
                    return Err(ApiError::bad_request(
                        "The request body must be a JSON object.",
                        "Тело запроса должно быть объектом JSON.",
                    ));
                }
                Err(error) => return Err(wrong_json(&error)),
            }
        }
        Ok(Self(values))
    }

    /// All of them.
    pub(crate) fn into_values(self) -> Map<String, Value> {
        self.0
    }

    /// A text; nothing when it is absent, `null` or empty.
    ///
    /// # Errors
    ///
    /// 400 when it is of another type.
    pub fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.trim()).filter(|text| !text.is_empty())),
            Some(_) => Err(wrong_type(name, "a string", "строкой")),
        }
    }

    /// Digits, sent as a number or as a text (a text keeps leading zeros); nothing when absent,
    /// `null` or empty.
    ///
    /// # Errors
    ///
    /// 400 when it is anything else, or has more than `digits_max` digits.
    pub fn digits(&self, name: &str, digits_max: usize) -> Result<Option<String>, ApiError> {
        let digits = match self.0.get(name) {
            Some(Value::Number(number)) => number.to_string(),
            _ => match self.text(name) {
                Ok(Some(text)) => text.to_owned(),
                Ok(None) => return Ok(None),
                Err(_) => {
                    return Err(wrong_type(name, "a number or a string", "числом или строкой"));
                }
            },
        };
        if digits.len() > digits_max || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ApiError::bad_request(
                format!("{name} must be at most {digits_max} digits."),
                format!("Параметр {name} должен содержать не более {digits_max} цифр."),
            ));
        }
        Ok(Some(digits))
    }

    /// A yes or no: a JSON boolean, 0 or 1, or one of these as a text; no when absent.
    ///
    /// # Errors
    ///
    /// 400 when it is anything else.
    pub fn flag(&self, name: &str) -> Result<bool, ApiError> {
        let value = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(false),
            Some(Value::Bool(flag)) => return Ok(*flag),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::String(text)) => text.trim().to_ascii_lowercase(),
            Some(Value::Array(_) | Value::Object(_)) => String::from("?"),
        };
        match value.as_str() {
            "1" | "true" => Ok(true),
            "" | "0" | "false" => Ok(false),
            _ => Err(wrong_type(name, "true or false", "true или false")),
        }
    }
}

fn decode(text: &str) -> Result<String, ApiError> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().map(|text| text.into_owned()).map_err(|_| not_utf8())
}

pub(crate) fn text(body: &[u8]) -> Result<&str, ApiError> {
    let text = std::str::from_utf8(body).map_err(|_| not_utf8())?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn not_utf8() -> ApiError {
    ApiError::bad_request("The request is not UTF-8.", "Запрос не в кодировке UTF-8.")
}

fn wrong_json(error: &serde_json::Error) -> ApiError {
    ApiError::bad_request(
        format!("The request body is not the expected JSON: {error}."),
        format!("Тело запроса не является ожидаемым JSON: {error}."),
    )
}

fn wrong_type(name: &str, english: &str, russian: &str) -> ApiError {
    ApiError::bad_request(
        format!("{name} must be {english}."),
        format!("Параметр {name} должен быть {russian}."),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(query: &str, body: &str) -> Params {
        Params::read(Some(query), body.as_bytes()).unwrap()
    }

    #[test]
    fn parameters_come_from_the_address_or_the_body_and_the_body_wins() {
        let params = read("ITN=1&Name=%D0%96+x", r#"{"ITN": 1234567890, "Other": [1]}"#);
        assert_eq!(params.digits("ITN", 12).unwrap().as_deref(), Some("1234567890"));
        assert_eq!(params.text("Name").unwrap(), Some("Ж x"));
        assert_eq!(read("", "").text("Name").unwrap(), None);
        assert_eq!(read("Name=", "\u{feff}{}").text("Name").unwrap(), None);
    }

    #[test]
    fn digits_may_be_a_number_or_a_text_that_keeps_its_zeros() {
        for (json, expected) in [
            (r#"{"ITN":1234567890}"#, Some("1234567890")),
            (r#"{"ITN":"0012345678"}"#, Some("0012345678")),
            (r#"{"ITN":null}"#, None),
            (r#"{"ITN":""}"#, None),
            ("{}", None),
        ] {
            assert_eq!(read("", json).digits("ITN", 12).unwrap().as_deref(), expected, "{json}");
        }
        for json in [
            r#"{"ITN":1.5}"#,
            r#"{"ITN":-1}"#,
            r#"{"ITN":true}"#,
            r#"{"ITN":[1]}"#,
            r#"{"ITN":"12a"}"#,
            r#"{"ITN":1234567890123}"#,
        ] {
            let error = read("", json).digits("ITN", 12).unwrap_err();
            assert_eq!(error.status, 400, "{json}");
            assert!(error.english.contains("ITN"), "{json}");
        }
    }

    #[test]
    fn flag_is_read_in_the_usual_spellings() {
        for (json, expected) in [
            ("{}", Some(false)),
            (r#"{"A":true}"#, Some(true)),
            (r#"{"A":1}"#, Some(true)),
            (r#"{"A":"True"}"#, Some(true)),
            (r#"{"A":"0"}"#, Some(false)),
            (r#"{"A":2}"#, None),
            (r#"{"A":[]}"#, None),
        ] {
            assert_eq!(read("", json).flag("A").ok(), expected, "{json}");
        }
    }

    #[test]
    fn body_that_is_no_json_object_is_a_bad_request() {
        for body in [&b"{"[..], b"[]", b"1", b"nonsense", b"\xff\xfe{}", b"{\"a\":\"\xd0\"}"] {
            assert_eq!(Params::read(None, body).unwrap_err().status, 400, "{body:?}");
        }
        assert_eq!(Params::read(Some("a=%FF"), b"").unwrap_err().status, 400);
        let many = "a=1&".repeat(3) + &(0..80).map(|i| format!("p{i}=1&")).collect::<String>();
        assert_eq!(Params::read(Some(&many), b"").unwrap_err().status, 400);
    }

    /// A body whose sender fell silent.
    struct Silent;

    impl Body for Silent {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
            std::task::Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn body_that_does_not_come_is_given_up() {
        let error = read_body(Silent, BODY_BYTES_MAX).await.unwrap_err();
        assert_eq!((error.status.as_u16(), error.closes), (408, true));
    }

    #[tokio::test]
    async fn body_of_the_largest_size_is_read_and_one_byte_more_is_not() {
        for (bytes, fits) in [(BODY_BYTES_MAX, true), (BODY_BYTES_MAX + 1, false)] {
            let body = http_body_util::Full::<Bytes>::from(vec![b' '; bytes]);
            let read = read_body(body, BODY_BYTES_MAX).await;
            assert_eq!(read.map_err(|error| error.status.as_u16()).is_ok(), fits, "{bytes}");
        }
    }

    #[test]
    fn deeply_nested_body_is_refused_and_does_not_exhaust_the_stack() {
        let body = "[".repeat(100_000);
        assert_eq!(Params::read(None, body.as_bytes()).unwrap_err().status, 400);
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body: Vec<u8>, query in ".{0,60}") {
            if let Err(error) = Params::read(Some(&query), &body) {
                prop_assert_eq!(error.status, 400);
            }
        }
    }
}
