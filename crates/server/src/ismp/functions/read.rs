//! Parameters of the functions: read in either language, each with an error that names it.
//!
//! Forms only; what a parameter is for stands in [`super`].

use hyper::StatusCode;
use licence_core::time::Utc;
use licence_ismp::KeyError;
use licence_ismp::names::{self, WishError};
use licence_ismp::reminder::EMPTY_DATE;
use serde_json::{Map, Value};

use crate::api::errors::ApiError;

/// Longest name of a user or an infobase, in characters: more is cut, people only look at it.
const NAME_CHARS_MAX: usize = 128;

/// A date as callers give it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum TypedDate {
    /// There is none.
    Absent,
    /// 1C's empty date, or an empty text.
    Empty,
    /// This.
    At(Utc),
}

/// The parameters of one call, with English names.
#[derive(Clone, PartialEq)]
pub struct Parameters(Map<String, Value>);

impl std::fmt::Debug for Parameters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A key or a signature may stand in them.
        f.write_str("Parameters(***)")
    }
}

impl Parameters {
    /// Takes an object with names in either language, or nothing.
    ///
    /// # Errors
    ///
    /// 400 for anything else.
    pub(super) fn of(value: Value) -> Result<Self, ApiError> {
        match names::english(value) {
            Value::Object(object) => Ok(Self(object)),
            Value::Null => Ok(Self(Map::new())),
            Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                Err(wrong("The parameters must be an object.", "Параметры должны быть объектом."))
            }
        }
    }

    /// `ПараметрыЗапроса`: the object of that name, or all parameters.
    pub(super) fn request(&self) -> Value {
        match self.0.get("RequestParameters") {
            Some(request @ Value::Object(_)) => request.clone(),
            _ => Value::Object(self.0.clone()),
        }
    }

    /// A value; nothing when it is absent or `null`.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Whether a member is there, be it `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A text; nothing when it is absent, `null` or empty.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, ApiError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => {
                Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
            }
            // An ИНН that a caller has for a number.
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(wrong_type(name, "a text", "текст")),
        }
    }

    /// A text for people, cut and without what moves a cursor; from the parameters of the request
    /// where it does not stand beside them.
    pub(super) fn short_text(&self, name: &str) -> Result<Option<String>, ApiError> {
        let text = match (self.text(name)?, self.object("RequestParameters")?) {
            (None, Some(request)) => request.text(name)?,
            (text, _) => text,
        };
        let shown = |text: String| {
            text.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect::<String>()
        };
        Ok(text.map(shown).filter(|text| !text.is_empty()))
    }

    /// A list of texts; nothing when it is absent. One text is a list of one.
    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, ApiError> {
        let of = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                Err(wrong_type(name, "a list of texts", "список текстов"))
            }
        };
        match self.value(name) {
            None => Ok(None),
            Some(Value::Array(items)) => items.iter().map(of).collect::<Result<_, _>>().map(Some),
            // In an address they stand with commas.
            Some(Value::String(text)) => {
                Ok(Some(text.split(',').map(|part| part.trim().to_owned()).collect()))
            }
            Some(other) => of(other).map(|one| Some(vec![one])),
        }
    }

    /// An object; nothing when it is absent.
    pub(super) fn object(&self, name: &str) -> Result<Option<Self>, ApiError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(Self(object.clone()))),
            Some(_) => Err(wrong_type(name, "an object", "объект")),
        }
    }

    /// A whole number from 0 to `max`, also as a text.
    pub(super) fn number(&self, name: &str, max: u64) -> Result<Option<u64>, ApiError> {
        let out_of_bounds = || {
            wrong(
                format!("{name} must be a whole number from 0 to {max}."),
                format!("{name}: ожидается целое число от 0 до {max}."),
            )
        };
        let number = match self.value(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => None,
        };
        number.filter(|number| *number <= max).map(Some).ok_or_else(out_of_bounds)
    }

    /// A yes or no, also as a text or number; no when absent.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        let text = match self.value(name) {
            None => return Ok(false),
            Some(Value::Bool(flag)) => return Ok(*flag),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::String(text)) => text.trim().to_lowercase(),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) => "?".to_owned(),
        };
        match text.as_str() {
            "1" | "true" | "истина" => Ok(true),
            "" | "0" | "false" | "ложь" => Ok(false),
            _ => Err(wrong_type(name, "true or false", "true или false")),
        }
    }

    /// A date: ISO 8601 in UTC, also without its `Z`, as 1C writes a date.
    pub(super) fn date(&self, name: &str) -> Result<TypedDate, ApiError> {
        let text = match self.value(name) {
            None => return Ok(TypedDate::Absent),
            Some(Value::String(text)) => text.trim(),
            Some(_) => return Err(wrong_type(name, "a date", "дату")),
        };
        if text.is_empty() || text.starts_with(EMPTY_DATE) {
            return Ok(TypedDate::Empty);
        }
        let parsed = text.parse().or_else(|_| format!("{text}Z").parse());
        parsed.map(TypedDate::At).map_err(|_| {
            wrong_type(
                name,
                "a date such as 2026-01-31T09:00:00Z",
                "дату вида 2026-01-31T09:00:00Z",
            )
        })
    }

    /// `СрокДействия`; nothing for the default.
    pub(super) fn deadline(&self) -> Result<Option<Utc>, ApiError> {
        for name in ["Deadline", "СрокДействия"] {
            if let TypedDate::At(at) = self.date(name)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// `СвойстваПодписи`: an object with `Подпись`, or the signature itself.
    pub(super) fn signature(&self) -> Result<String, ApiError> {
        let signature = match self.value("SignatureProperties") {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Object(object)) => Self(object.clone()).text("Signature")?,
            Some(_) => {
                return Err(wrong_type("SignatureProperties", "an object", "объект"));
            }
            None => self.text("Signature")?,
        };
        signature.ok_or_else(|| required("SignatureProperties.Signature"))
    }
}

/// 400 `EParams`.
pub(super) fn wrong(english: impl Into<String>, russian: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "EParams", english, russian)
}

pub(super) fn required(name: &str) -> ApiError {
    wrong(format!("{name} is required."), format!("Не указан параметр {name}."))
}

fn wrong_type(name: &str, english: &str, russian: &str) -> ApiError {
    wrong(format!("{name}: expected {english}."), format!("{name}: ожидается {russian}."))
}

pub(super) fn wish_error(error: &WishError) -> ApiError {
    match error {
        WishError::Form => {
            wrong("RequestParameters: expected an object.", "RequestParameters: ожидается объект.")
        }
        WishError::Kind(error) => wrong(
            format!("TokenType: {error}."),
            "TokenType: ожидается SUZ, ISMP или ISMPRetail (СУЗ, ИСМП, ИСМПРозница).",
        ),
        WishError::Key(error) => key_error(error),
        _ => wrong(format!("RequestParameters: {error}."), format!("RequestParameters: {error}.")),
    }
}

pub(super) fn key_error(error: &KeyError) -> ApiError {
    let (name, russian) = match error {
        KeyError::Contour => {
            ("Contour", "ожидаются латинские буквы, цифры и дефисы, не длиннее 32")
        }
        KeyError::Inn => {
            ("Organization", "ожидается ИНН из 10 или 12 цифр или имя организации из настроек")
        }
        KeyError::OrganisationMissing => ("Organization", "не указана организация"),
        KeyError::ProductionObject => (
            "ProductionObject",
            "ожидается идентификатор до 64 символов без пробелов или имя установки из настроек",
        ),
        KeyError::ProductionObjectMissing => {
            ("ProductionObject", "для СУЗ нужен производственный объект")
        }
        _ => ("RequestParameters", "неверное значение"),
    };
    wrong(format!("{name}: {error}."), format!("{name}: {russian}."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(value: Value) -> Parameters {
        Parameters::of(value).unwrap()
    }

    #[test]
    fn date_is_taken_as_1c_writes_it_and_an_empty_one_is_told_from_none() {
        let at: Utc = "2026-01-31T09:00:00Z".parse().unwrap();
        for (value, wanted) in [
            (json!({}), TypedDate::Absent),
            (json!({"ValidUntil": null}), TypedDate::Absent),
            (json!({"ValidUntil": ""}), TypedDate::Empty),
            (json!({"ДействуетДо": "0001-01-01T00:00:00"}), TypedDate::Empty),
            (json!({"ValidUntil": "0001-01-01T00:00:00Z"}), TypedDate::Empty),
            (json!({"ДействуетДо": "2026-01-31T09:00:00"}), TypedDate::At(at)),
            (json!({"ValidUntil": "2026-01-31T09:00:00Z"}), TypedDate::At(at)),
            (json!({"ValidUntil": "2026-01-31T12:00:00+03:00"}), TypedDate::At(at)),
        ] {
            assert_eq!(of(value.clone()).date("ValidUntil").unwrap(), wanted, "{value}");
        }
        for bad in [json!("31.01.2026"), json!(20260131), json!("2026-13-01T00:00:00Z")] {
            let error = of(json!({"ValidUntil": bad})).date("ValidUntil").unwrap_err();
            assert!(error.english.contains("ValidUntil") && error.russian.contains("ValidUntil"));
        }
    }

    #[test]
    fn wrong_parameter_is_named_in_both_languages() {
        let parameters = of(json!({
            "WaitSeconds": 31, "ForView": 2, "Id": {}, "RequestParameters": [], "Organizations": [{}],
        }));
        for (error, name) in [
            (parameters.number("WaitSeconds", 30).unwrap_err(), "WaitSeconds"),
            (parameters.flag("ForView").unwrap_err(), "ForView"),
            (parameters.text("Id").unwrap_err(), "Id"),
            (parameters.object("RequestParameters").map(drop).unwrap_err(), "RequestParameters"),
            (parameters.texts("Organizations").unwrap_err(), "Organizations"),
            (parameters.signature().unwrap_err(), "Signature"),
        ] {
            assert_eq!((error.status.as_u16(), &*error.class), (400, "EParams"), "{name}");
            assert!(error.english.contains(name) && error.russian.contains(name), "{error:?}");
        }
        assert!(Parameters::of(json!([])).is_err());
        assert_eq!(format!("{parameters:?}"), "Parameters(***)");
    }

    #[test]
    fn signature_and_names_are_found_wherever_callers_put_them() {
        for value in [
            json!({"SignatureProperties": {"Signature": "QQ=="}}),
            json!({"СвойстваПодписи": {"Подпись": "QQ=="}}),
            json!({"SignatureProperties": "QQ=="}),
            json!({"Signature": "QQ=="}),
        ] {
            assert_eq!(of(value.clone()).signature().unwrap(), "QQ==", "{value}");
        }
        let inside = of(json!({"RequestParameters": {"User": "Анна\u{7}"}}));
        assert_eq!(inside.short_text("User").unwrap().unwrap(), "Анна");
        let numbers = of(json!({"WaitSeconds": "20", "Secs": 5}));
        assert_eq!(numbers.number("WaitSeconds", 30).unwrap(), Some(20));
        assert_eq!(numbers.number("Secs", 30).unwrap(), Some(5));
        assert_eq!(
            of(json!({"Organizations": "1, 2"})).texts("Organizations").unwrap().unwrap(),
            ["1", "2"]
        );
    }
}
