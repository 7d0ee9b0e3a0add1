//! Values of the functions of the session keys of ИС МП, read from parameters of 1C.
//!
//! Forms and their refusals only: which value means what is decided in [`crate::session_keys`]. Dates
//! of 1C have no zone and count as UTC.

use licence_client::ClientError;
use licence_core::time::Utc;
use licence_ismp::SessionKey;
use serde_json::Value as Json;

use crate::component::{self, text};
use crate::key_request::{Named, missing, params, russian_name};
use crate::value::Value;

/// Members of `ПараметрыАвторизации`.
const AUTHORIZATION: [&str; 4] = ["Data", "Id", "INN", "UnitedToken"];

/// Reads JSON out of a parameter.
pub(crate) fn json_of(value: &Value, name: &str) -> Result<Json, ClientError> {
    serde_json::from_str(text(value, name)?).map_err(|why| {
        params(
            format!("{name}: это не JSON, строка {}, позиция {}", why.line(), why.column()),
            format!("{name}: not JSON, line {}, column {}", why.line(), why.column()),
        )
    })
}

pub(crate) fn array_of(value: &Value, name: &str) -> Result<Json, ClientError> {
    let read = json_of(value, name)?;
    if read.is_array() {
        return Ok(read);
    }
    Err(params(format!("{name}: ожидается массив JSON"), format!("{name}: expected a JSON array")))
}

/// `СрокДействия`: a date of 1C, which counts as UTC, or a text; nothing for the server's default.
pub(crate) fn deadline(value: &Value) -> Result<Option<Utc>, ClientError> {
    match value {
        Value::Empty => Ok(None),
        Value::Date(date) => Ok(Some(*date).filter(|date| *date > year_two())),
        Value::Text(text) => moment(text, "СрокДействия"),
        Value::Blob(_) | Value::Bool(_) | Value::Number(_) | Value::Other(_) => {
            Err(component::params("СрокДействия"))
        }
    }
}

/// A moment as text, with an offset or in UTC; nothing for an empty text and for 1C's empty date.
pub(crate) fn moment(text: &str, name: &str) -> Result<Option<Utc>, ClientError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let read = text.parse::<Utc>().or_else(|_| format!("{text}Z").parse::<Utc>());
    let read = read.map_err(|_| {
        let russian = russian_name(name);
        params(
            format!("Неверное значение {russian}, ожидается дата ГГГГ-ММ-ДДTчч:мм:сс[Z] в UTC"),
            format!("{name} has a wrong value, expected YYYY-MM-DDThh:mm:ss[Z] in UTC"),
        )
    })?;
    Ok(Some(read).filter(|moment| *moment > year_two()))
}

/// 1C's empty date is the first moment of the year 1; the zone of a session may move it by hours.
fn year_two() -> Utc {
    const FIRST_OF_YEAR_2: i64 = -62_104_060_800_000;
    Utc::from_unix_millis(FIRST_OF_YEAR_2)
}

/// `КлючСессии`; nothing for an empty one.
pub(crate) fn session_key(mut named: Named) -> Result<Option<SessionKey>, ClientError> {
    let wrong = || component::params("КлючСессии");
    match named.take("SessionKey") {
        None => Ok(None),
        Some(Json::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Json::String(text)) => SessionKey::new(&text).map(Some).map_err(|_| wrong()),
        Some(Json::Array(_) | Json::Bool(_) | Json::Null | Json::Number(_) | Json::Object(_)) => {
            Err(wrong())
        }
    }
}

/// `ПараметрыАвторизации`, as the server gave them.
pub(crate) fn authorization(value: Json) -> Result<Json, ClientError> {
    let mut named = Named::of(value, ["ПараметрыАвторизации", "AuthorizationParameters"])?;
    let kept =
        AUTHORIZATION.iter().filter_map(|name| Some(((*name).to_owned(), named.take(name)?)));
    Ok(Json::Object(kept.collect()))
}

/// The signature in base64: `СвойстваПодписи.Подпись`, or `СвойстваПодписи` itself where it is a
/// text.
pub(crate) fn signature(value: Json) -> Result<String, ClientError> {
    let signature = match value {
        Json::String(text) => Some(Json::String(text)),
        other @ (Json::Array(_)
        | Json::Bool(_)
        | Json::Null
        | Json::Number(_)
        | Json::Object(_)) => {
            Named::of(other, ["СвойстваПодписи", "SignatureProperties"])?.take("Signature")
        }
    };
    match signature {
        Some(Json::String(text)) if !text.trim().is_empty() => Ok(text),
        Some(Json::Array(_) | Json::Bool(_) | Json::Number(_) | Json::Object(_)) => {
            Err(component::params("Подпись"))
        }
        Some(Json::String(_) | Json::Null) | None => Err(missing("Подпись", "Signature")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text_of(value: &str) -> Value {
        Value::Text(value.to_owned())
    }

    #[test]
    fn deadline_is_a_date_or_a_text_in_utc_and_the_empty_date_is_none() {
        for (value, expected) in [
            (Value::Empty, Some(None)),
            (text_of(""), Some(None)),
            (text_of("0001-01-01T00:00:00"), Some(None)),
            (text_of("0001-01-01T00:00:00Z"), Some(None)),
            (text_of("2026-11-22T12:00:00"), Some(Some("2026-11-22T12:00:00Z"))),
            (text_of(" 2026-11-22T15:00:00+03:00 "), Some(Some("2026-11-22T12:00:00Z"))),
            (
                Value::Date("2026-11-22T12:00:00Z".parse().unwrap()),
                Some(Some("2026-11-22T12:00:00Z")),
            ),
            (Value::Date("0001-01-01T00:00:00Z".parse().unwrap()), Some(None)),
            (text_of("завтра"), None),
            (Value::Number(1.0), None),
            (Value::Bool(false), None),
        ] {
            let read = deadline(&value).ok();
            let expected = expected.map(|moment| moment.map(|text| text.parse().unwrap()));
            assert_eq!(read, expected, "{value:?}");
        }
    }

    #[test]
    fn signature_is_a_member_or_the_text_itself() {
        for (value, expected) in [
            (json!("QUJD"), Some("QUJD")),
            (json!({"Подпись": "QU\r\nJD", "ТипПодписи": "x"}), Some("QU\r\nJD")),
            (json!({"signature": "QUJD"}), Some("QUJD")),
            (json!({"Подпись": ""}), None),
            (json!({"Подпись": 7}), None),
            (json!({}), None),
            (json!([]), None),
            (json!(" "), None),
        ] {
            assert_eq!(signature(value.clone()).ok().as_deref(), expected, "{value}");
        }
    }
}
