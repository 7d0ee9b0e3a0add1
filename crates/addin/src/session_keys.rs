//! Shared session keys of ИС МП: the members that have the functions of 1C's module
//! «ИнтерфейсАвторизацииИСМПВызовСервера».
//!
//! Decides how parameters are read, what of them travels to the licence server and how answers are
//! written for 1C: JSON with Russian names, moments in UTC. Which key is valid and who refreshes it
//! is the server's business. A key that is set with `ЗаписатьВРегистр = Ложь` stays here and counts
//! for this object alone, see [`crate::own_keys`]. Keys and signatures are told to nobody but the
//! server and the caller.

use licence_client::{AccessToken, ClientError};
use licence_core::protocol::manager::{Operation, OperationResult};
use licence_core::time::Utc;
use licence_ismp::reminder::{EMPTY_DATE, SNOOZE_SECS, SNOOZE_SECS_MAX};
use licence_ismp::validity::default_deadline;
use licence_ismp::{SessionKey, TokenKind, names};
use serde_json::{Map, Value as Json, json};

use crate::class::MethodId;
use crate::component::{Component, text, truth};
use crate::key_request::{KeyRequest, Named, missing, params, russian_name};
use crate::key_values::{
    array_of, authorization, deadline, json_of, moment, session_key, signature,
};
use crate::protected::no_session;
use crate::value::Value;
use crate::{clock, component, host_info};

/// How long the server lets a question wait while somebody else refreshes the key, in seconds: a
/// person types a PIN and the service answers, and 1C's window does not stand still for longer.
const WAIT_SECS: u32 = 20;

impl Component {
    /// Calls one of the members. A failure answers `Неопределено`, because `Ложь` is an answer of
    /// some; the one procedure answers `Ложь`, of which an exception is made.
    pub(crate) fn session_keys(&self, id: MethodId, arguments: &[Value]) -> Value {
        let otherwise =
            if id == MethodId::SetSessionKey { Value::Bool(false) } else { Value::Empty };
        self.answer(self.session_keys_of(id, arguments), otherwise)
    }

    fn session_keys_of(&self, id: MethodId, arguments: &[Value]) -> Result<Value, ClientError> {
        let at = |index: usize| arguments.get(index).unwrap_or(&Value::Empty);
        match id {
            MethodId::CurrentSessionKey => self.current_session_key(at(0), at(1)),
            MethodId::RefreshRequired => {
                let request = KeyRequest::of(json_of(at(0), "ПараметрыЗапроса")?)?;
                self.refresh_required(&request, at(1))
            }
            MethodId::RefreshRequiredRetail => {
                let parameters = json_of(at(0), "ПараметрыЗапроса")?;
                let request = KeyRequest::of_kind(parameters, TokenKind::IsmpRetail)?;
                self.refresh_required(&request, at(1))
            }
            MethodId::RefreshRequiredByTokenKind => {
                let is_retail = truth(at(1), "РозничныйТокен")?;
                let kind = if is_retail { TokenKind::IsmpRetail } else { TokenKind::Ismp };
                let parameters = json_of(at(0), "ПараметрыСканирования")?;
                self.refresh_required(&KeyRequest::of_kind(parameters, kind)?, &Value::Empty)
            }
            MethodId::RequestAuthorizationParameters => {
                let request = KeyRequest::of(json_of(at(0), "ПараметрыЗапроса")?)?;
                let mut sent = self.by_whom();
                sent.extend(request.members());
                let answer = self.ask("RequestAuthorizationParameters", sent)?;
                component::json(&names::russian(answer))
            }
            MethodId::RequestSessionKey => self.request_session_key(at(0)),
            MethodId::SessionKeyParameters => component::json(&names::russian(json!({
                "SessionKey": "",
                "ValidUntil": EMPTY_DATE,
            }))),
            MethodId::SessionKeyRequestParameters => session_key_request_parameters(at(0)),
            MethodId::SetSessionKey => self.set_session_key(at(0), at(1), at(2)),
            MethodId::ResponsibleSettings => self.responsible_settings(at(0), at(1)),
            MethodId::Reminders => self.reminders(at(0)),
            MethodId::RejectSessionKey => self.reject_session_key(at(0), at(1)),
            MethodId::CancelRefresh => self.cancel_refresh(at(0)),
            MethodId::SnoozeReminders => self.snooze_reminders(at(0)),
            MethodId::CheckVersion
            | MethodId::Start
            | MethodId::GetErrorDescription
            | MethodId::ObjectCreationError
            | MethodId::GetObjectManager
            | MethodId::TakeLicence
            | MethodId::ReleaseLicence
            | MethodId::GetLicences
            | MethodId::GetCounters
            | MethodId::GetServerInfo
            | MethodId::ReleaseAll
            | MethodId::SetSession
            | MethodId::SetWish
            | MethodId::PrepareObject
            | MethodId::GetObjectData
            | MethodId::LoadTemplate
            | MethodId::IsTemplateLoaded
            | MethodId::Execute => Err(unexpected()),
        }
    }

    fn current_session_key(&self, parameters: &Value, end: &Value) -> Result<Value, ClientError> {
        let request = KeyRequest::of(json_of(parameters, "ПараметрыЗапроса")?)?;
        let deadline = deadline(end)?;
        if let Some(token) = self.own_key(&request, deadline) {
            return Ok(Value::Text(token.reveal().to_owned()));
        }
        let answer = self.ask("CurrentSessionKey", with_deadline(request.members(), deadline))?;
        Ok(match answer.get("SessionKey") {
            Some(Json::String(token)) if !token.is_empty() => Value::Text(token.clone()),
            Some(_) | None => Value::Empty,
        })
    }

    fn refresh_required(&self, request: &KeyRequest, end: &Value) -> Result<Value, ClientError> {
        let deadline = deadline(end)?;
        if self.own_key(request, deadline).is_some() {
            return Ok(Value::Bool(false));
        }
        let mut parameters = with_deadline(request.members(), deadline);
        parameters.insert("WaitSeconds".to_owned(), WAIT_SECS.into());
        let answer = self.ask("RefreshRequired", parameters)?;
        answer.get("Required").and_then(Json::as_bool).map(Value::Bool).ok_or_else(unexpected)
    }

    fn request_session_key(&self, parameters: &Value) -> Result<Value, ClientError> {
        const WHAT: [&str; 2] = ["ПараметрыЗапросаПоОрганизации", "OrganizationRequestParameters"];
        let mut named = Named::of(json_of(parameters, WHAT[0])?, WHAT)?;
        let mut take =
            |name: &str| named.take(name).ok_or_else(|| missing(&russian_name(name), name));
        let request = KeyRequest::of(take("RequestParameters")?)?;
        let authorization = authorization(take("AuthorizationParameters")?)?;
        let signature = signature(take("SignatureProperties")?)?;
        let mut parameters = self.by_whom();
        parameters.insert("RequestParameters".to_owned(), request.members().into());
        parameters.insert("AuthorizationParameters".to_owned(), authorization);
        parameters.insert("SignatureProperties".to_owned(), json!({ "Signature": signature }));
        let answer = self.ask("RequestSessionKey", parameters)?;
        if answer.get("SessionKeyParameters").is_some_and(|given| !given.is_null()) {
            self.state().own_keys.forget(&request);
        }
        component::json(&names::russian(answer))
    }

    fn set_session_key(
        &self,
        parameters: &Value,
        key: &Value,
        is_stored: &Value,
    ) -> Result<Value, ClientError> {
        let request = KeyRequest::of(json_of(parameters, "ПараметрыЗапроса")?)?;
        request.check_one()?;
        let is_stored = truth(is_stored, "ЗаписатьВРегистр")?;
        let what = ["ПараметрыКлючаСессии", "SessionKeyParameters"];
        let named = Named::of(json_of(key, what[0])?, what)?;
        let end = named.text("ValidUntil")?;
        let valid_until = end.as_deref().map(|end| moment(end, "ValidUntil")).transpose()?;
        let valid_until = valid_until.flatten();
        let token = session_key(named)?;
        if !is_stored {
            let mut state = self.state();
            match (token, valid_until) {
                (Some(token), Some(end)) => {
                    state.own_keys.put(request, token, end, clock::mono());
                }
                (None, _) | (_, None) => state.own_keys.forget(&request),
            }
            return Ok(Value::Bool(true));
        }
        let mut key = Map::new();
        let text = token.as_ref().map_or("", SessionKey::reveal);
        key.insert("SessionKey".to_owned(), text.into());
        // A date that is left out may stand in the key itself; one that is empty deletes.
        if end.is_some() {
            let end = valid_until.map_or_else(|| EMPTY_DATE.to_owned(), |end| end.to_string());
            key.insert("ValidUntil".to_owned(), end.into());
        }
        let mut sent = self.by_whom();
        sent.insert("RequestParameters".to_owned(), request.members().into());
        sent.insert("SessionKeyParameters".to_owned(), key.into());
        self.ask("SetSessionKey", sent)?;
        self.state().own_keys.forget(&request);
        Ok(Value::Bool(true))
    }

    fn reject_session_key(&self, parameters: &Value, key: &Value) -> Result<Value, ClientError> {
        let request = KeyRequest::of(json_of(parameters, "ПараметрыЗапроса")?)?;
        let token = SessionKey::new(text(key, "КлючСессии")?)
            .map_err(|_| component::params("КлючСессии"))?;
        let was_own = self.state().own_keys.reject(&request, &token);
        let mut sent = Map::new();
        sent.insert("RequestParameters".to_owned(), request.members().into());
        sent.insert("SessionKey".to_owned(), token.reveal().into());
        let answer = self.ask("RejectSessionKey", sent)?;
        let was_stored = answer.get("Removed").and_then(Json::as_bool).unwrap_or_default();
        Ok(Value::Bool(was_own || was_stored))
    }

    fn cancel_refresh(&self, id: &Value) -> Result<Value, ClientError> {
        let id = text(id, "Идентификатор")?.trim();
        if id.is_empty() {
            return Err(missing("Идентификатор", "Id"));
        }
        let mut sent = Map::new();
        sent.insert("Id".to_owned(), id.into());
        self.ask("CancelRefresh", sent)?;
        Ok(Value::Bool(true))
    }

    fn responsible_settings(
        &self,
        for_view: &Value,
        organizations: &Value,
    ) -> Result<Value, ClientError> {
        let mut sent = self.for_user()?;
        sent.insert("ForView".to_owned(), truth(for_view, "ДляПросмотра")?.into());
        let given = text(organizations, "Организации")?;
        if !given.trim().is_empty() {
            sent.insert("Organizations".to_owned(), array_of(organizations, "Организации")?);
        }
        component::json(&names::russian(self.ask("ResponsibleSettings", sent)?))
    }

    fn reminders(&self, settings: &Value) -> Result<Value, ClientError> {
        let mut sent = self.for_user()?;
        let settings = names::english(array_of(settings, "Настройки")?);
        sent.insert("Settings".to_owned(), settings);
        component::json(&names::russian(self.ask("Reminders", sent)?))
    }

    fn snooze_reminders(&self, secs: &Value) -> Result<Value, ClientError> {
        let secs = match secs {
            Value::Text(text) if text.trim().is_empty() => SNOOZE_SECS,
            Value::Number(secs)
                if secs.fract() == 0.0 && (0.0..=f64::from(SNOOZE_SECS_MAX)).contains(secs) =>
            {
                *secs as u32
            }
            Value::Blob(_)
            | Value::Bool(_)
            | Value::Date(_)
            | Value::Empty
            | Value::Number(_)
            | Value::Other(_)
            | Value::Text(_) => return Err(component::params("Секунд")),
        };
        let mut sent = self.for_user()?;
        sent.insert("Secs".to_owned(), secs.into());
        self.ask("Snooze", sent)?;
        Ok(Value::Bool(true))
    }

    /// The beginning of what is asked for a person: the one of the session that was set.
    fn for_user(&self) -> Result<Map<String, Json>, ClientError> {
        let session = self.caller().session.ok_or_else(no_session)?;
        let user = session.user_name.as_deref().map(str::trim).filter(|user| !user.is_empty());
        let user = user.ok_or_else(|| {
            params(
                "В описании сеанса не указан UserName: напоминания получает пользователь 1С"
                    .to_owned(),
                "the session lacks UserName: reminders are for a user of 1C".to_owned(),
            )
        })?;
        let mut sent = Map::new();
        sent.insert("User".to_owned(), user.into());
        Ok(sent)
    }

    /// Who gets a key, for whoever waits for it and for the record: user and infobase of the session
    /// that was set. The server knows them by itself only of a session that holds a seat.
    fn by_whom(&self) -> Map<String, Json> {
        let mut sent = Map::new();
        if let Some(session) = self.caller().session {
            let user = session.user_name.clone().filter(|user| !user.is_empty());
            if let Some(user) = user {
                sent.insert("User".to_owned(), user.into());
            }
            sent.insert("Infobase".to_owned(), session.info_base_connection_str.clone().into());
        }
        sent
    }

    /// Asks the server in use for a function, for the session that was set.
    fn ask(&self, function: &str, parameters: Map<String, Json>) -> Result<Json, ClientError> {
        let (link, caller) = (self.link()?, self.caller());
        let operation = Operation::SessionKeys {
            function: function.to_owned(),
            parameters: parameters.into(),
            access_token: self.access_token()?.map(|token| token.reveal().to_owned()),
            session: None,
        };
        match link.operation(caller.session.as_deref(), operation)? {
            OperationResult::SessionKeys(answer) => Ok(answer.0),
            OperationResult::Done
            | OperationResult::Licences(_)
            | OperationResult::Memory(_)
            | OperationResult::Parameter(_)
            | OperationResult::Request(_)
            | OperationResult::ReserveCode(_) => Err(unexpected()),
        }
    }

    /// What code of 1C has set, or else what stands in the settings file.
    fn access_token(&self) -> Result<Option<AccessToken>, ClientError> {
        if let Some(token) = self.state().access_token.clone() {
            return Ok(Some(token));
        }
        let is_server = self.info().is_server;
        AccessToken::find(&host_info::conf_paths(is_server), is_server)
    }

    fn own_key(&self, request: &KeyRequest, deadline: Option<Utc>) -> Option<SessionKey> {
        let deadline = deadline.unwrap_or_else(|| default_deadline(clock::utc()));
        self.state().own_keys.get(request, deadline, clock::mono()).cloned()
    }
}

/// `ПараметрыЗапросаКлючаСессии`. An unknown kind has no session parameter.
fn session_key_request_parameters(kind: &Value) -> Result<Value, ClientError> {
    let kind = text(kind, "ТипТокенаАвторизации")?.parse::<TokenKind>();
    component::json(&names::russian(json!({
        "SessionParameterName": kind.map_or("", TokenKind::session_parameter),
        "Organization": null,
        "ProductionObject": null,
    })))
}

fn with_deadline(mut members: Map<String, Json>, deadline: Option<Utc>) -> Map<String, Json> {
    if let Some(deadline) = deadline {
        members.insert("Deadline".to_owned(), deadline.to_string().into());
    }
    members
}

fn unexpected() -> ClientError {
    ClientError::new(
        "EExecuteError",
        "Сервер ответил не на тот вопрос: его версия не подходит к версии компоненты",
        "the server answered something else: its version does not fit the component's",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(value: &str) -> Value {
        Value::Text(value.to_owned())
    }

    #[test]
    fn constructors_need_neither_server_nor_start() {
        let component = Component::new();
        let read = |id, arguments: &[Value]| -> Json {
            let Value::Text(text) = component.session_keys(id, arguments) else { panic!() };
            serde_json::from_str(&text).unwrap()
        };
        let empty = read(MethodId::SessionKeyParameters, &[]);
        assert_eq!(empty, json!({"КлючСессии": "", "ДействуетДо": "0001-01-01T00:00:00"}));
        for (kind, name) in [
            ("СУЗ", "ДанныеКлючаСессииСУЗ"),
            ("ISMP", "ДанныеКлючаСессииИСМП"),
            ("ИС МП (розница)", "ДанныеКлючаСессииИСМПРозница"),
            ("МОТП", ""),
        ] {
            let parameters = read(MethodId::SessionKeyRequestParameters, &[text_of(kind)]);
            let expected = json!({"ИмяПараметраСеанса": name, "Организация": null,
                "ПроизводственныйОбъект": null});
            assert_eq!(parameters, expected, "{kind}");
        }
    }

    #[test]
    fn own_key_is_found_without_a_server_until_it_is_taken_back() {
        let component = Component::new();
        let request = text_of(r#"{"TokenType":"ISMP","Организация":"7707083893"}"#);
        let key = |token: &str, end: &str| {
            text_of(&json!({"КлючСессии": token, "ДействуетДо": end}).to_string())
        };
        let set = |key: Value| {
            let arguments = [request.clone(), key, Value::Bool(false)];
            component.session_keys(MethodId::SetSessionKey, &arguments)
        };
        let current = |end: &str| {
            let arguments = [request.clone(), text_of(end)];
            component.session_keys(MethodId::CurrentSessionKey, &arguments)
        };
        assert_eq!(set(key("TOKEN", "2100-01-01T00:00:00")), Value::Bool(true));
        assert_eq!(current(""), text_of("TOKEN"));
        assert_eq!(current("2099-12-31T23:59:59"), text_of("TOKEN"));
        let asked = std::slice::from_ref(&request);
        let required = component.session_keys(MethodId::RefreshRequired, asked);
        assert_eq!(required, Value::Bool(false));
        // Nobody else is asked for it, and nobody is started here.
        assert_eq!(current("2100-01-01T00:00:00"), Value::Empty);
        assert_eq!(set(key("", "2100-01-01T00:00:00")), Value::Bool(true));
        assert_eq!(current(""), Value::Empty);
        assert_eq!(set(key("TOKEN", "2100-01-01T00:00:00")), Value::Bool(true));
        assert_eq!(set(key("TOKEN", "0001-01-01T00:00:00")), Value::Bool(true));
        assert_eq!(current(""), Value::Empty);
        assert_eq!(set(key("TO KEN", "2100-01-01T00:00:00")), Value::Bool(false));
    }
}
