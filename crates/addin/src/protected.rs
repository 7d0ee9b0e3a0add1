//! What the members do about protected objects and templates.
//!
//! Whoever asks for an object is checked each time: its access, as the vendor signed it, and the
//! seat of the set session, by the client's memory and so without the network while the seat is
//! held. The server is asked for a key once per content and process; it decides by its own book
//! of seats.

use std::sync::Arc;

use licence_client::{ClientError, Link, Seat};
use licence_core::datafile::{ObjectAccess, check_name, split_object_name};
use licence_core::protocol::{SessionInfo, Wish};

use crate::component::{Component, params, text, truth};
use crate::flights;
use crate::objects::{self, Entry, Scope, ServerList};
use crate::templates::{self, OwnerKey, Template};
use crate::value::{Bytes, Value};

/// Where an object was found.
pub(crate) enum Source {
    Server(Arc<ServerList>),
    Template(Arc<Template>),
}

/// An object and where its bytes are.
pub(crate) struct Found {
    pub(crate) entry: Arc<Entry>,
    pub(crate) source: Source,
}

/// Who asks: the session that was set and what it asks of its key.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) session: Option<Arc<SessionInfo>>,
    pub(crate) owner: OwnerKey,
    pub(crate) wish: Arc<Wish>,
}

impl Component {
    /// `ПодготовитьОбъект`.
    pub(crate) fn prepare_object(&self, name: &Value) -> Result<Value, ClientError> {
        let (link, caller) = (self.link()?, self.caller());
        let found = find(&link, Scope::of(&link)?, &caller, text(name, "Имя")?)?;
        self.admit(&link, &caller, &found.entry)?;
        Ok(Value::Text(found.entry.shown.clone()))
    }

    /// `ПолучитьДанныеОбъекта`.
    pub(crate) fn object_data(&self, name: &Value) -> Result<Value, ClientError> {
        let (link, caller) = (self.link()?, self.caller());
        let scope = Scope::of(&link)?;
        let name = text(name, "Имя")?;
        let mut may_begin_again = true;
        loop {
            let found = find(&link, scope, &caller, name)?;
            let admitted = self.admit(&link, &caller, &found.entry)?;
            let session = admitted.as_ref().map(|(session, _)| session.as_ref());
            match fetch(&link, &found, session, &caller.wish) {
                Err(error) if may_begin_again && error.is_refusal("EDataFileChanged") => {
                    may_begin_again = false;
                    if let Source::Server(list) = &found.source {
                        objects::forget_list(scope, list.file.alias.as_deref());
                    }
                }
                result => return result.map(Value::Blob),
            }
        }
    }

    /// Whether the caller may have an object: the session and its seat that allow it, or nothing for
    /// an object that needs none.
    pub(crate) fn admit(
        &self,
        link: &Link,
        caller: &Caller,
        entry: &Entry,
    ) -> Result<Option<(Arc<SessionInfo>, Seat)>, ClientError> {
        let access = entry.object.access;
        if access == ObjectAccess::Key {
            return Ok(None);
        }
        let session = caller.session.as_ref().ok_or_else(no_session)?;
        let seat = link.take_seat((**session).clone(), (*caller.wish).clone())?;
        self.hold(link, session);
        if access == ObjectAccess::Seat && seat.used_licence.is_none() {
            return Err(ClientError::new(
                "EServerResult.ENoSeat",
                "Сеанс проверяет только наличие ключа и не занимает лицензию, без которой объект \
                 недоступен",
                "the session only looks for a key and takes no seat, which the object needs",
            ));
        }
        Ok(Some((Arc::clone(session), seat)))
    }

    /// `ЗагрузитьМакет`.
    pub(crate) fn load_template(
        &self,
        bytes: &Value,
        alias: &Value,
        replace: &Value,
    ) -> Result<Value, ClientError> {
        let scope = Scope::of(&self.link()?)?;
        let Value::Blob(bytes) = bytes else { return Err(params("ДвоичныеДанные")) };
        let alias = text(alias, "Псевдоним")?.trim();
        let replace = truth(replace, "ОбновитьСуществующие")?;
        if objects::is_alias_of_server(scope, alias) {
            return Err(ClientError::new(
                "EParams",
                format!("Псевдоним «{alias}» уже есть у файла данных на сервере"),
                format!("alias \"{alias}\" is that of a data file at the server"),
            ));
        }
        templates::load(scope, &self.caller().owner, alias, bytes, replace)?;
        Ok(Value::Bool(true))
    }

    /// `МакетЗагружен`.
    pub(crate) fn is_template_loaded(&self, alias: &Value) -> Result<Value, ClientError> {
        let scope = Scope::of(&self.link()?)?;
        let alias = text(alias, "Псевдоним")?.trim();
        let found = templates::find(scope, &self.caller().owner, alias);
        Ok(Value::Bool(found.is_some()))
    }
}

/// Finds `Имя` or `Псевдоним.Имя`: of a template that the session has loaded under this alias, or
/// else of the server.
fn find(link: &Link, scope: Scope, caller: &Caller, full: &str) -> Result<Found, ClientError> {
    let (alias, name) = split_object_name(full);
    for part in alias.into_iter().chain([name]) {
        check_name(part).map_err(|_| ClientError::bad_name(full))?;
    }
    let template = alias.and_then(|alias| templates::find(scope, &caller.owner, alias));
    if let Some(template) = template {
        let entry = template.catalogue.find(name).ok_or_else(|| ClientError::no_object(full))?;
        return Ok(Found { entry, source: Source::Template(template) });
    }
    let list = objects::server_list(link, scope, alias).map_err(|error| {
        if error.is_refusal("EDataFileNotFound") { no_file(scope, alias, full) } else { error }
    })?;
    let entry = list.catalogue.find(name).ok_or_else(|| ClientError::no_object(full))?;
    Ok(Found { entry, source: Source::Server(list) })
}

/// The bytes of an object to which the caller was admitted.
pub(crate) fn fetch(
    link: &Link,
    found: &Found,
    session: Option<&SessionInfo>,
    wish: &Wish,
) -> Result<Bytes, ClientError> {
    let entry = &found.entry;
    let era = objects::era();
    let is_usable = |kept: &(Bytes, bool)| {
        // The seat says it all, or the server said it a moment ago.
        session.is_some() || kept.1
    };
    let mut kept = objects::cached(&entry.id);
    let mut _flight = None;
    if kept.is_none() {
        _flight = flights::begin(&entry.id);
        // Another thread may have brought it meanwhile.
        kept = objects::cached(&entry.id);
    }
    let in_hand = match kept {
        Some(kept) if is_usable(&kept) => return Ok(kept.0),
        kept => kept.map(|(bytes, _)| bytes),
    };
    let key = link.object_key(session.map(|session| (session, wish)), &entry.object)?;
    if let Some(bytes) = in_hand {
        objects::granted(&entry.id);
        return Ok(bytes);
    }
    let plain = match &found.source {
        Source::Server(list) => link.fetch_object(&list.file, &entry.object, &key)?,
        Source::Template(template) => {
            key.open(link.series()?, &entry.object, template.sealed(&entry.object))?
        }
    };
    Ok(objects::keep(&entry.id, plain, era))
}

fn no_file(scope: Scope, alias: Option<&str>, full: &str) -> ClientError {
    let series = scope.series;
    let file = match alias {
        Some(alias) => format!("{series}.{alias}.datafile"),
        None => format!("{series}.datafile"),
    };
    ClientError::new(
        "EObjectNotFound",
        format!("Защищенный объект {full} не найден: на сервере нет файла данных {file}"),
        format!("protected object {full} was not found: the server has no data file {file}"),
    )
}

/// A member needs a session, and none was set.
pub(crate) fn no_session() -> ClientError {
    ClientError::new(
        "EParams",
        "Сеанс не указан и не установлен: вызовите УстановитьСеанс",
        "no session is given or set: call SetSession",
    )
}
