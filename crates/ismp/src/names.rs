//! Names of fields in both languages: callers may use either, 1C gets its own.
//!
//! Only names, and the values of the kinds; what a field means is decided elsewhere.

use serde_json::{Map, Value};

use crate::directory::Directory;
use crate::key::{Contour, KeyError, Wish};
use crate::kind::{ParseKindError, TokenKind};

/// English name, Russian name. The English one goes over the wire.
pub const FIELDS: &[(&str, &str)] = &[
    ("AuthorizationParameters", "ПараметрыАвторизации"),
    ("Contour", "Контур"),
    ("Data", "Данные"),
    ("ErrorText", "ТекстОшибки"),
    ("ExpiryDate", "ДатаДействия"),
    ("Id", "Идентификатор"),
    ("INN", "ИНН"),
    ("IsExpired", "Просрочен"),
    ("IsMissing", "Отсутствует"),
    ("NeedsRefresh", "ТребуетсяАктуализация"),
    ("NotifySecs", "ВремяОповещения"),
    ("Organization", "Организация"),
    ("ProductionObject", "ПроизводственныйОбъект"),
    ("RemainingSecs", "ВремяДействия"),
    ("RemindBeforeSecs", "ОповещатьЗа"),
    ("RemindInSecs", "ОповеститьЧерез"),
    ("RequestParameters", "ПараметрыЗапроса"),
    ("Result", "Результат"),
    ("SessionKey", "КлючСессии"),
    ("SessionKeyParameters", "ПараметрыКлючаСессии"),
    ("SessionParameterName", "ИмяПараметраСеанса"),
    ("Signature", "Подпись"),
    ("SignatureProperties", "СвойстваПодписи"),
    ("TokenType", "ТипТокенаАвторизации"),
    ("UsesReminder", "ОповещениеИспользуется"),
    ("ValidUntil", "ДействуетДо"),
];

/// How deep a value of a caller may go: the deepest of ours has four levels.
pub const DEPTH_MAX: usize = 8;

/// The same value with English names, as deep as [`DEPTH_MAX`]; below that it is left out.
pub fn english(value: Value) -> Value {
    renamed(value, &|name| pair_of(name).map(|(english, _)| english), DEPTH_MAX)
}

/// The same value with Russian names and kinds.
pub fn russian(value: Value) -> Value {
    let renamed = renamed(value, &|name| pair_of(name).map(|(_, russian)| russian), DEPTH_MAX);
    russian_kinds(renamed)
}

fn pair_of(name: &str) -> Option<(&'static str, &'static str)> {
    // Russian letters have case too, and 1C does not tell it apart.
    let lower = name.to_lowercase();
    let is_named = |(english, russian): &&(&str, &str)| {
        english.to_lowercase() == lower || russian.to_lowercase() == lower
    };
    FIELDS.iter().find(is_named).copied()
}

fn renamed(value: Value, name: &dyn Fn(&str) -> Option<&'static str>, depth: usize) -> Value {
    match value {
        _ if depth == 0 => Value::Null,
        Value::Object(object) => {
            let mut out = Map::new();
            for (key, value) in object {
                let key = name(&key).map_or(key, str::to_owned);
                out.insert(key, renamed(value, name, depth - 1));
            }
            Value::Object(out)
        }
        Value::Array(items) => {
            Value::Array(items.into_iter().map(|item| renamed(item, name, depth - 1)).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn russian_kinds(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let kind = |key: &str, value: Value| {
                let kind = value.as_str().filter(|_| key == "ТипТокенаАвторизации");
                match kind.and_then(|text| text.parse::<TokenKind>().ok()) {
                    Some(kind) => kind.russian().into(),
                    None => russian_kinds(value),
                }
            };
            Value::Object(
                object.into_iter().map(|(key, value)| (key.clone(), kind(&key, value))).collect(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(russian_kinds).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// `ПараметрыЗапроса` that name no key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WishError {
    /// Not an object.
    #[error("request parameters are an object")]
    Form,
    /// No kind, or an unknown one.
    #[error("TokenType or SessionParameterName: {0}")]
    Kind(#[from] ParseKindError),
    /// Contour, organisation or installation.
    #[error("{0}")]
    Key(#[from] KeyError),
}

/// Reads `ПараметрыЗапроса`, with names in either language. Everything that addresses the service
/// (`Сервер`, `Порт` and the like) is ignored: addresses are the server's settings.
///
/// # Errors
///
/// When no kind is named, or a name cannot be read.
pub fn wish(parameters: &Value, directory: &Directory) -> Result<Wish, WishError> {
    let parameters = english(parameters.clone());
    let object = parameters.as_object().ok_or(WishError::Form)?;
    let text = |name: &str| {
        let text = object.get(name).map(|value| match value {
            Value::String(text) => text.trim().to_owned(),
            // An ИНН that a caller has for a number.
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
        });
        text.filter(|text| !text.is_empty())
    };
    let kind = text("TokenType").or_else(|| text("SessionParameterName")).unwrap_or_default();
    let contour = text("Contour").map_or_else(|| Ok(Contour::default()), |text| text.parse())?;
    let inn = text("Organization").or_else(|| text("INN"));
    let organization = inn.map(|text| directory.inn_of(&text)).transpose()?;
    let object = text("ProductionObject");
    let production_object =
        object.map(|text| directory.object_of(organization.as_ref(), &text)).transpose()?;
    Ok(Wish { contour, kind: kind.parse()?, organization, production_object })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_go_from_one_language_to_the_other_and_back() {
        let value = json!({
            "RequestParameters": {"TokenType": "SUZ", "Organization": "7707083893"},
            "Rows": [{"ExpiryDate": "x", "TokenType": "ISMPRetail"}],
        });
        let shown = russian(value);
        assert_eq!(
            shown,
            json!({
                "ПараметрыЗапроса": {"ТипТокенаАвторизации": "СУЗ", "Организация": "7707083893"},
                "Rows": [{"ДатаДействия": "x", "ТипТокенаАвторизации": "ИСМПРозница"}],
            })
        );
        let back = english(shown);
        assert_eq!(back["RequestParameters"]["Organization"], "7707083893");
        assert_eq!(back["Rows"][0]["ExpiryDate"], "x");
        assert_eq!(english(json!({"клюЧсессии": 1})), json!({"SessionKey": 1}), "in any case");
    }

    #[test]
    fn every_name_stands_once() {
        for (n, (english, russian)) in FIELDS.iter().enumerate() {
            assert!(!FIELDS[..n].iter().any(|(e, r)| e == english || r == russian), "{english}");
        }
    }

    #[test]
    fn value_that_is_too_deep_is_cut_and_does_no_harm() {
        let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
        assert!(english(deep).to_string().len() <= 2 * DEPTH_MAX + 4);
    }

    #[test]
    fn parameters_are_read_in_either_language_and_never_say_where_the_service_is() {
        let directory = Directory::default();
        let wish = wish(
            &json!({
                "ИмяПараметраСеанса": "ДанныеКлючаСессииСУЗ",
                "Организация": "7707083893",
                "ПроизводственныйОбъект": "AA-1",
                "Сервер": "evil.example",
                "Порт": 1,
            }),
            &directory,
        )
        .unwrap();
        assert_eq!(wish.key().unwrap().to_string(), "production/SUZ/7707083893/aa-1");
        for (parameters, wanted) in [
            (json!("x"), WishError::Form),
            (json!({}), WishError::Kind(ParseKindError)),
            (json!({"TokenType": "ISMP", "Organization": "7"}), WishError::Key(KeyError::Inn)),
            (json!({"TokenType": "ISMP", "Contour": "a b"}), WishError::Key(KeyError::Contour)),
        ] {
            assert_eq!(super::wish(&parameters, &directory), Err(wanted), "{parameters}");
        }
        let numeric = super::wish(&json!({"TokenType": "ISMP", "INN": 7707083893_u64}), &directory);
        assert_eq!(numeric.unwrap().organization.unwrap().as_str(), "7707083893");
    }
}
