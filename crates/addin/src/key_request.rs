//! What a caller names of a session key of ИС МП: `ПараметрыЗапроса`, read from JSON with names in
//! either language.
//!
//! Takes what names a key and nothing else: addresses and time-outs of the service are settings of
//! the server. What the names stand for (an organisation may be named in the server's directory) is
//! the server's business.

use licence_client::ClientError;
use licence_core::protocol::TEXT_BYTES_MAX;
use licence_ismp::{Contour, TokenKind, names};
use serde_json::{Map, Value as Json, json};

use crate::session_json::whole;

/// The parameters of a request, as far as they travel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct KeyRequest {
    kind: TokenKind,
    contour: Option<String>,
    organization: Option<String>,
    production_object: Option<String>,
}

impl KeyRequest {
    /// Reads an object with `ТипТокенаАвторизации` or `ИмяПараметраСеанса`, and, as far as they are
    /// there, `Организация` or `ИНН`, `ПроизводственныйОбъект`, `Контур`.
    pub(crate) fn of(parameters: Json) -> Result<Self, ClientError> {
        let named = Named::of(parameters, ["ПараметрыЗапроса", "RequestParameters"])?;
        let kind = match named.text("TokenType")? {
            Some(kind) => Some(kind),
            None => named.text("SessionParameterName")?,
        };
        let kind = kind.unwrap_or_default().parse().map_err(|why| {
            params(
                "Не указан или неизвестен ТипТокенаАвторизации (или ИмяПараметраСеанса): ожидается \
                 СУЗ, ИСМП или ИСМПРозница"
                    .to_owned(),
                format!("TokenType (or SessionParameterName) is missing or unknown: {why}"),
            )
        })?;
        Self::with_kind(&named, kind)
    }

    /// The same for a kind that the caller need not name: what it names is not looked at.
    pub(crate) fn of_kind(parameters: Json, kind: TokenKind) -> Result<Self, ClientError> {
        Self::with_kind(&Named::of(parameters, ["ПараметрыЗапроса", "RequestParameters"])?, kind)
    }

    fn with_kind(named: &Named, kind: TokenKind) -> Result<Self, ClientError> {
        let organization = match named.text("Organization")? {
            Some(organization) => Some(organization),
            None => named.text("INN")?,
        };
        let production_object =
            if kind == TokenKind::Suz { named.text("ProductionObject")? } else { None };
        Ok(Self { kind, contour: named.text("Contour")?, organization, production_object })
    }

    /// As it travels.
    pub(crate) fn members(&self) -> Map<String, Json> {
        let mut members = Map::new();
        members.insert("TokenType".to_owned(), self.kind.name().into());
        for (name, text) in [
            ("Contour", &self.contour),
            ("Organization", &self.organization),
            ("ProductionObject", &self.production_object),
        ] {
            if let Some(text) = text {
                members.insert(name.to_owned(), text.as_str().into());
            }
        }
        members
    }

    /// Names one key, as far as can be seen here: an organisation, and with СУЗ an object.
    pub(crate) fn check_one(&self) -> Result<(), ClientError> {
        if self.organization.is_none() {
            return Err(missing("Организация", "Organization"));
        }
        if self.kind == TokenKind::Suz && self.production_object.is_none() {
            return Err(missing("ПроизводственныйОбъект", "ProductionObject"));
        }
        Ok(())
    }

    /// Whether `request` means what stands under this one: the same in any case, or any organisation
    /// where it names none.
    pub(crate) fn is_meant_by(&self, request: &Self) -> bool {
        let same = |one: &Option<String>, other: &Option<String>| {
            one.as_deref().map(str::to_lowercase) == other.as_deref().map(str::to_lowercase)
        };
        let contour = |request: &Self| {
            Some(request.contour.clone().unwrap_or_else(|| Contour::PRODUCTION.to_owned()))
        };
        self.kind == request.kind
            && same(&contour(self), &contour(request))
            && same(&self.production_object, &request.production_object)
            && (request.organization.is_none() || same(&self.organization, &request.organization))
    }
}

/// Members of a JSON object under their English names.
pub(crate) struct Named(Map<String, Json>);

impl Named {
    /// Takes an object with names in either language. `what` is what errors call it, in Russian and
    /// in English.
    pub(crate) fn of(object: Json, what: [&str; 2]) -> Result<Self, ClientError> {
        match names::english(object) {
            Json::Object(members) => Ok(Self(members)),
            Json::Array(_) | Json::Bool(_) | Json::Null | Json::Number(_) | Json::String(_) => {
                Err(params(
                    format!("{}: ожидается объект JSON", what[0]),
                    format!("{}: expected a JSON object", what[1]),
                ))
            }
        }
    }

    /// Takes a member out; null counts as missing.
    pub(crate) fn take(&mut self, name: &str) -> Option<Json> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// A text without blanks around it, or a whole number as text: 1C has an ИНН for either. An
    /// empty one counts as missing.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, ClientError> {
        let text = match self.0.get(name) {
            None | Some(Json::Null) => return Ok(None),
            Some(Json::String(text)) => Some(text.trim().to_owned()),
            Some(number @ Json::Number(_)) => whole(number).map(|number| number.to_string()),
            Some(Json::Array(_) | Json::Bool(_) | Json::Object(_)) => None,
        };
        match text.filter(|text| text.len() <= TEXT_BYTES_MAX) {
            Some(text) => Ok(Some(text).filter(|text| !text.is_empty())),
            None => {
                let russian = russian_name(name);
                Err(params(
                    format!(
                        "Неверное значение {russian}, ожидается строка до {TEXT_BYTES_MAX} байт"
                    ),
                    format!(
                        "{name} has a wrong value, expected a text of at most {TEXT_BYTES_MAX} bytes"
                    ),
                ))
            }
        }
    }
}

/// What 1C calls a member.
pub(crate) fn russian_name(name: &str) -> String {
    match names::russian(json!({ name: null })) {
        Json::Object(members) => members.keys().next().cloned().unwrap_or_default(),
        Json::Array(_) | Json::Bool(_) | Json::Null | Json::Number(_) | Json::String(_) => {
            name.to_owned()
        }
    }
}

pub(crate) fn missing(russian: &str, english: &str) -> ClientError {
    params(format!("Не указан {russian}"), format!("{english} is missing"))
}

pub(crate) fn params(russian: String, english: String) -> ClientError {
    ClientError::new("EParams", russian, english)
}

#[cfg(test)]
mod tests {
    use licence_client::Language;

    use super::*;

    #[test]
    fn request_is_read_in_either_language_and_says_nothing_of_the_service() {
        for (parameters, expected) in [
            (
                json!({"ИмяПараметраСеанса": "ДанныеКлючаСессииСУЗ", "Организация": 7707083893_u64,
                    "ПроизводственныйОбъект": " AA-1 ", "Сервер": "evil.example", "Порт": 1}),
                json!({"TokenType": "SUZ", "Organization": "7707083893",
                    "ProductionObject": "AA-1"}),
            ),
            (
                json!({"tokentype": "ismp", "INN": "7707083893", "Organization": null,
                    "ProductionObject": "AA-1", "Contour": "sandbox"}),
                json!({"TokenType": "ISMP", "Organization": "7707083893", "Contour": "sandbox"}),
            ),
            (
                json!({"ТипТокенаАвторизации": "ИС МП (розница)", "Организация": ""}),
                json!({"TokenType": "ISMPRetail"}),
            ),
            (
                json!({"TokenType": "", "SessionParameterName": "ДанныеКлючаСессииИСМП",
                    "Organization": 7707083893.0}),
                json!({"TokenType": "ISMP", "Organization": "7707083893"}),
            ),
        ] {
            let request = KeyRequest::of(parameters).unwrap();
            assert_eq!(Json::Object(request.members()), expected);
        }
        let any = json!({"TokenType": "SUZ", "Organization": "1", "ProductionObject": "x"});
        let retail = KeyRequest::of_kind(any, TokenKind::IsmpRetail).unwrap();
        let expected = json!({"TokenType": "ISMPRetail", "Organization": "1"});
        assert_eq!(Json::Object(retail.members()), expected);
    }

    #[test]
    fn what_is_wrong_with_a_request_is_named_in_both_languages() {
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        for (parameters, russian, english) in [
            (json!([]), "ПараметрыЗапроса", "RequestParameters"),
            (json!("x"), "ПараметрыЗапроса", "RequestParameters"),
            (json!({}), "ТипТокенаАвторизации", "TokenType"),
            (json!({"ТипТокенаАвторизации": "МОТП"}), "ТипТокенаАвторизации", "TokenType"),
            (json!({"TokenType": ["ISMP"]}), "ТипТокенаАвторизации", "TokenType"),
            (json!({"TokenType": "ISMP", "Организация": {}}), "Организация", "Organization"),
            (json!({"TokenType": "ISMP", "INN": 1.5}), "ИНН", "INN"),
            (json!({"TokenType": "ISMP", "Контур": long}), "Контур", "Contour"),
            (
                json!({"TokenType": "СУЗ", "ProductionObject": true}),
                "ПроизводственныйОбъект",
                "ProductionObject",
            ),
        ] {
            let error = KeyRequest::of(parameters).unwrap_err();
            assert_eq!(error.class(), "EParams");
            for (language, part) in [(Language::Russian, russian), (Language::English, english)] {
                let text = error.text(language);
                assert!(text.contains(part), "{part}: {text}");
            }
        }
    }

    #[test]
    fn one_key_needs_an_organisation_and_with_suz_an_object() {
        for (parameters, missing) in [
            (json!({"TokenType": "ISMP"}), Some("Organization")),
            (json!({"TokenType": "SUZ", "Organization": "1"}), Some("ProductionObject")),
            (json!({"TokenType": "ISMP", "Organization": "1"}), None),
            (json!({"TokenType": "SUZ", "Organization": "1", "ProductionObject": "a"}), None),
        ] {
            let checked = KeyRequest::of(parameters).unwrap().check_one();
            let named = checked.map_err(|error| error.text(Language::English));
            assert_eq!(named.is_err(), missing.is_some(), "{named:?}");
            assert!(named.err().is_none_or(|text| text.contains(missing.unwrap())));
        }
    }

    #[test]
    fn request_means_its_own_key_in_any_case_and_any_organisation_when_it_names_none() {
        let of = |parameters| KeyRequest::of(parameters).unwrap();
        let kept =
            of(json!({"TokenType": "SUZ", "Organization": "Ромашка", "ProductionObject": "A"}));
        for (asked, is_meant) in [
            (json!({"TokenType": "SUZ", "Organization": "РОМАШКА", "ProductionObject": "a"}), true),
            (json!({"TokenType": "SUZ", "ProductionObject": "a", "Contour": "Production"}), true),
            (json!({"TokenType": "SUZ", "Organization": "Ромашка"}), false),
            (json!({"TokenType": "SUZ", "ProductionObject": "a", "Contour": "sandbox"}), false),
            (json!({"TokenType": "ISMP", "Organization": "Ромашка"}), false),
        ] {
            assert_eq!(kept.is_meant_by(&of(asked.clone())), is_meant, "{asked}");
        }
    }
}
