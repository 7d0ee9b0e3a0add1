//! What the members of the classes do: start, settings, errors; the rest is in [`crate::seats`],
//! [`crate::protected`], [`crate::execute`] and [`crate::session_keys`].
//!
//! Members never throw, but for the one procedure: they answer `Ложь` or `Неопределено` and leave a
//! text for `ПолучитьОписаниеОшибки`, as the callers of the original expect. All network work
//! happens on the client's thread; a call blocks 1C at most [`licence_client::START_BOUND`]
//! (`Запуск`), [`licence_client::CALL_BOUND`], or what its module says. The lock of an object is
//! never held over such a call, so a property is read in well under a microsecond.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use licence_client::{AccessToken, AccessTokenError, ClientError, Language, Link, StartOptions};
use licence_core::key::KeySeries;
use licence_core::protocol::{ConnectionInfo, SessionInfo, Wish, compare_versions};
use serde::Serialize;

use crate::class::{MethodId, PropertyId};
use crate::own_keys::OwnKeys;
use crate::protected::Caller;
use crate::templates::OwnerKey;
use crate::value::Value;
use crate::{host_info, logfile, manager, process};

/// Version of the component.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Default)]
pub(crate) struct State {
    language: Language,
    connection: Option<String>,
    descriptor: Option<String>,
    error: Option<ClientError>,
    link: Option<Link>,
    /// The last start that was tried.
    attempt: Option<StartOptions>,
    /// The session of all calls that name none, and what its templates are kept under.
    pub(crate) session: Option<Arc<SessionInfo>>,
    pub(crate) owner: OwnerKey,
    /// What is asked of the key by calls that ask nothing themselves.
    pub(crate) wish: Arc<Wish>,
    /// `ОкноУстановкиСвязи`: remembered, without effect.
    connection_window: bool,
    /// Whether the platform said that it is a server; nothing when it did not say.
    is_server: Option<bool>,
    /// Sessions that this object named: in use as long as it lives.
    pub(crate) held: Vec<Arc<SessionInfo>>,
    /// What is shown to the server for the session keys of ИС МП, where code of 1C has set it.
    pub(crate) access_token: Option<AccessToken>,
    /// Session keys that count for this object alone.
    pub(crate) own_keys: OwnKeys,
}

impl State {
    /// Gives up the server: sessions live on by themselves, but are no longer in use here.
    fn detach(&mut self) -> Option<Link> {
        let link = self.link.take();
        let held = std::mem::take(&mut self.held);
        if let Some(link) = &link {
            for session in &held {
                link.unhold(session);
            }
        }
        link
    }
}

/// One object of the class.
pub(crate) struct Component {
    state: Mutex<State>,
}

impl Component {
    pub(crate) fn new() -> Self {
        process::object_created();
        Self { state: Mutex::new(State::default()) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host is about to destroy the object.
    pub(crate) fn done(&self) {
        let link = self.state().detach();
        drop(link);
    }

    /// The platform has said at `Init` whether it is a server.
    pub(crate) fn set_server(&self, is_server: bool) {
        self.state().is_server = Some(is_server);
        host_info::note_server(is_server);
    }

    /// The process as this object's platform sees it. One process may be both: a web server, and
    /// the external connections that its scripts open.
    pub(crate) fn info(&self) -> ConnectionInfo {
        let mut info = (*process::info()).clone();
        if let Some(is_server) = self.state().is_server {
            info.is_server = is_server;
        }
        if info.is_server {
            info.terminal_client = None;
        }
        info
    }

    /// Takes the language of the platform or of its windows: `ru`, `ru_RU`, `rus_RUS`, or another.
    pub(crate) fn set_language(&self, name: &str) {
        self.state().language = Language::from_tag(name);
    }

    /// The language of the platform or of its windows.
    pub(crate) fn language(&self) -> Language {
        self.state().language
    }

    /// Reads a property.
    pub(crate) fn get(&self, id: PropertyId) -> Value {
        match id {
            PropertyId::Version => Value::Text(VERSION.to_owned()),
            PropertyId::ConnectionParameters => {
                Value::Text(self.state().connection.clone().unwrap_or_default())
            }
            PropertyId::AccessToken | PropertyId::SeriesDescriptor => Value::Empty,
            PropertyId::ErrorClass => Value::Text(
                self.state()
                    .error
                    .as_ref()
                    .map(|error| error.class().to_owned())
                    .unwrap_or_default(),
            ),
            PropertyId::ObjectManager => {
                let name = manager::file_name();
                let text = name.as_ref().cloned().unwrap_or_default();
                self.answer(name.map(Value::Text), Value::Empty);
                Value::Text(text)
            }
            PropertyId::ConnectionWindow => Value::Bool(self.state().connection_window),
        }
    }

    /// Writes a property; false when the value has no meaning for it.
    pub(crate) fn set(&self, id: PropertyId, value: Value) -> bool {
        if id == PropertyId::ConnectionWindow {
            let Ok(shown) = truth(&value, "ОкноУстановкиСвязи") else {
                return false;
            };
            self.state().connection_window = shown;
            return true;
        }
        let text = match value {
            Value::Empty => None,
            Value::Text(text) => Some(text).filter(|text| !text.trim().is_empty()),
            Value::Blob(_)
            | Value::Bool(_)
            | Value::Date(_)
            | Value::Number(_)
            | Value::Other(_) => return false,
        };
        match id {
            PropertyId::AccessToken => match text.map(|text| text.parse()).transpose() {
                Ok(token) => self.state().access_token = token,
                Err(AccessTokenError) => return false,
            },
            PropertyId::ConnectionParameters => self.state().connection = text,
            PropertyId::SeriesDescriptor => self.state().descriptor = text,
            PropertyId::Version
            | PropertyId::ErrorClass
            | PropertyId::ObjectManager
            | PropertyId::ConnectionWindow => return false,
        }
        true
    }

    /// Calls a method with all its parameters.
    pub(crate) fn call(&self, id: MethodId, arguments: &[Value]) -> Value {
        let first = arguments.first().unwrap_or(&Value::Empty);
        let second = arguments.get(1).unwrap_or(&Value::Empty);
        let third = arguments.get(2).unwrap_or(&Value::Empty);
        match id {
            MethodId::CheckVersion => self.answer(check_version(first), Value::Empty),
            MethodId::Start => self.answer(self.start(first, second), Value::Bool(false)),
            MethodId::GetErrorDescription => Value::Text(self.error_text()),
            MethodId::ObjectCreationError => self.object_creation_error(first),
            MethodId::GetObjectManager => self.object_manager(),
            MethodId::TakeLicence => self.answer(self.take(first, second), Value::Empty),
            MethodId::ReleaseLicence => self.answer(self.release(first), Value::Bool(false)),
            MethodId::GetLicences => self.answer(self.licences(first, second), Value::Empty),
            MethodId::GetCounters => {
                let counters = self.link().and_then(|link| json(&link.counters()?));
                self.answer(counters, Value::Empty)
            }
            MethodId::GetServerInfo => {
                let server = self.link().and_then(|link| json(&link.server()?));
                self.answer(server, Value::Empty)
            }
            MethodId::ReleaseAll => self.release_all(),
            MethodId::SetSession => self.answer(self.set_session(first), Value::Bool(false)),
            MethodId::SetWish => self.answer(self.set_wish(first), Value::Bool(false)),
            MethodId::PrepareObject => self.answer(self.prepare_object(first), Value::Empty),
            MethodId::GetObjectData => self.answer(self.object_data(first), Value::Empty),
            MethodId::LoadTemplate => {
                self.answer(self.load_template(first, second, third), Value::Bool(false))
            }
            MethodId::IsTemplateLoaded => {
                self.answer(self.is_template_loaded(first), Value::Bool(false))
            }
            MethodId::Execute => self.answer(self.execute(first, second), Value::Empty),
            MethodId::CurrentSessionKey
            | MethodId::RefreshRequired
            | MethodId::RefreshRequiredRetail
            | MethodId::RefreshRequiredByTokenKind
            | MethodId::RequestAuthorizationParameters
            | MethodId::RequestSessionKey
            | MethodId::SessionKeyParameters
            | MethodId::SessionKeyRequestParameters
            | MethodId::SetSessionKey
            | MethodId::ResponsibleSettings
            | MethodId::Reminders
            | MethodId::RejectSessionKey
            | MethodId::CancelRefresh
            | MethodId::SnoozeReminders => self.session_keys(id, arguments),
        }
    }

    /// Remembers how the call ended and turns a failure into `otherwise`.
    pub(crate) fn answer(&self, result: Result<Value, ClientError>, otherwise: Value) -> Value {
        match result {
            Ok(value) => {
                self.state().error = None;
                value
            }
            Err(error) => {
                logfile::note(log::Level::Warn, &error.text(Language::English));
                self.state().error = Some(error);
                otherwise
            }
        }
    }

    fn error_text(&self) -> String {
        let state = self.state();
        state.error.as_ref().map(|error| error.text(state.language)).unwrap_or_default()
    }

    pub(crate) fn link(&self) -> Result<Link, ClientError> {
        self.state().link.clone().ok_or_else(not_started)
    }

    /// The last start that was tried.
    pub(crate) fn attempt(&self) -> Option<StartOptions> {
        self.state().attempt.clone()
    }

    /// The series that was started, or else the one that was tried last.
    pub(crate) fn series(&self) -> Option<KeySeries> {
        let state = self.state();
        let started = state.link.as_ref().and_then(|link| link.series().ok());
        started.or_else(|| state.attempt.as_ref().map(|attempt| attempt.series))
    }

    /// The session that was set, and its wish.
    pub(crate) fn caller(&self) -> Caller {
        let state = self.state();
        Caller {
            session: state.session.clone(),
            owner: state.owner.clone(),
            wish: Arc::clone(&state.wish),
        }
    }

    fn object_manager(&self) -> Value {
        self.answer(manager::file_name().map(Value::Text), Value::Empty)
    }

    fn start(&self, series: &Value, presence_only: &Value) -> Result<Value, ClientError> {
        let series: KeySeries =
            text(series, "Серия")?.trim().parse().map_err(|_| params("Серия"))?;
        let presence_only = truth(presence_only, "ТолькоНаличиеКлюча")?;
        let info = self.info();
        let options = {
            let state = self.state();
            StartOptions {
                series,
                presence_only,
                connection_string: state.connection.clone(),
                // What the configuration says itself is stronger than what its template carries.
                descriptor: state.descriptor.clone().or_else(|| crate::pin::descriptor(series)),
                paths: host_info::conf_paths(info.is_server),
                info,
                language: state.language,
            }
        };
        self.state().attempt = Some(options.clone());
        let link = process::client().start(options)?;
        // Only a start that worked takes the place of the one before. That one goes after it, so
        // that a connection to the same server is kept.
        let mut state = self.state();
        let old = state.detach();
        state.link = Some(link);
        drop(state);
        drop(old);
        Ok(Value::Bool(true))
    }

    fn licences(&self, all: &Value, available: &Value) -> Result<Value, ClientError> {
        let all = truth(all, "ПоВсемСериям")?;
        let available = truth(available, "ТолькоДоступные")?;
        json(&self.link()?.licences(all, available)?)
    }

    fn release_all(&self) -> Value {
        drop(self.state().detach());
        if process::release_all() {
            return self.answer(Ok(Value::Bool(true)), Value::Empty);
        }
        let error = ClientError::new(
            "EExecuteError",
            "Соединения не завершены за отведённое время",
            "the connections were not ended in time",
        );
        self.answer(Err(error), Value::Bool(false))
    }

    /// Takes an error of the platform: it goes to the log and, with a class in front, back to the
    /// caller.
    fn object_creation_error(&self, error: &Value) -> Value {
        let error = match text(error, "Текст") {
            Ok(text) => ClientError::new(
                "EExecuteError",
                format!("Не удалось создать объект: {}", text.trim()),
                format!("the object could not be created: {}", text.trim()),
            ),
            Err(error) => error,
        };
        self.answer(Err(error), Value::Empty);
        Value::Text(self.error_text())
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        self.done();
        process::object_destroyed();
    }
}

fn check_version(needed: &Value) -> Result<Value, ClientError> {
    let order = compare_versions(VERSION, text(needed, "НужнаяВерсия")?)
        .ok_or_else(|| params("НужнаяВерсия"))?;
    Ok(Value::Bool(order != Ordering::Less))
}

pub(crate) fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, ClientError> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Blob(_)
        | Value::Bool(_)
        | Value::Date(_)
        | Value::Empty
        | Value::Number(_)
        | Value::Other(_) => Err(params(name)),
    }
}

pub(crate) fn truth(value: &Value, name: &str) -> Result<bool, ClientError> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        // Foreign hosts without a Boolean of their own send 0 and 1.
        Value::Number(number) => Ok(*number != 0.0),
        Value::Blob(_) | Value::Date(_) | Value::Empty | Value::Text(_) | Value::Other(_) => {
            Err(params(name))
        }
    }
}

/// A name from outside, as far as it belongs into a message.
pub(crate) fn shortened(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(100).collect()
}

pub(crate) fn params(name: &str) -> ClientError {
    ClientError::new(
        "EParams",
        format!("Неверное значение параметра {name}"),
        format!("parameter {name} has a wrong value"),
    )
}

fn not_started() -> ClientError {
    ClientError::new(
        "EExecuteError",
        "Не выполнен Запуск: серия ключей не выбрана",
        "no series is started: call Start first",
    )
}

pub(crate) fn json(value: &impl Serialize) -> Result<Value, ClientError> {
    serde_json::to_string(value).map(Value::Text).map_err(|error| {
        ClientError::new(
            "EExecuteError",
            format!("Ответ не представим в JSON: {error}"),
            format!("the answer has no JSON form: {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Value {
        Value::Text(value.to_owned())
    }

    #[test]
    fn versions_are_compared_and_malformed_ones_refused() {
        let component = Component::new();
        for (needed, answer, class) in [
            (text("3.0.14"), Value::Bool(true), ""),
            (text("4.0.0"), Value::Bool(true), ""),
            (text("4.0.1"), Value::Bool(false), ""),
            (text("four"), Value::Empty, "EParams"),
            (Value::Empty, Value::Empty, "EParams"),
            (Value::Number(3.0), Value::Empty, "EParams"),
        ] {
            assert_eq!(component.call(MethodId::CheckVersion, &[needed]), answer);
            assert_eq!(component.get(PropertyId::ErrorClass), text(class));
        }
    }

    #[test]
    fn calls_before_the_start_say_that_it_is_missing() {
        let component = Component::new();
        for (method, arguments) in [
            (MethodId::TakeLicence, vec![text("{}"), text("")]),
            (MethodId::ReleaseLicence, vec![text("{}")]),
            (MethodId::GetCounters, vec![]),
            (MethodId::GetServerInfo, vec![]),
            (MethodId::GetLicences, vec![Value::Bool(false), Value::Bool(false)]),
        ] {
            component.call(method, &arguments);
            assert_eq!(component.get(PropertyId::ErrorClass), text("EExecuteError"), "{method:?}");
            component.set_language("en_US");
            assert!(component.error_text().contains("call Start first"), "{method:?}");
            component.set_language("rus_RUS");
            assert!(component.error_text().contains("Не выполнен Запуск"), "{method:?}");
        }
    }

    #[test]
    fn an_error_of_the_platform_comes_back_with_a_class() {
        let component = Component::new();
        let answer = component.call(MethodId::ObjectCreationError, &[text("нет прав\n")]);
        assert_eq!(answer, text("(EExecuteError) Не удалось создать объект: нет прав"));
    }

    #[test]
    fn properties_take_texts_only() {
        let component = Component::new();
        assert!(component.set(PropertyId::ConnectionParameters, text("host=a")));
        assert!(!component.set(PropertyId::ConnectionParameters, Value::Bool(true)));
        assert_eq!(component.get(PropertyId::ConnectionParameters), text("host=a"));
        assert!(component.set(PropertyId::ConnectionParameters, Value::Empty));
        assert_eq!(component.get(PropertyId::ConnectionParameters), text(""));
        assert!(!component.set(PropertyId::Version, text("9")));
    }
}
