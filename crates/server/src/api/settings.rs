//! REST: settings of `licenceserver.conf`.
//!
//! Reads what is asked for into edits by the table of keys. Whether a value is right and how it is
//! written is decided in [`crate::settings`].

use hyper::StatusCode;
use licence_core::causes::with_causes;
use licence_core::language::Language;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::api::errors::ApiError;
use crate::api::routes::Settings;
use crate::api::{Answer, Call, json, params};
use crate::driver::{AuditNote, DriverError};
use crate::settings::catalogue::{self, Entry, Kind};
use crate::settings::{Changed, Edit};

/// What is shown in place of a secret.
const HIDDEN: &str = "***";

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct SettingsView {
    settings: Vec<SettingView>,
    waiting_for_restart: Vec<String>,
    problem: Option<String>,
    file: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct SettingView {
    section: &'static str,
    key: &'static str,
    value: Option<String>,
    default: Option<&'static str>,
    #[serde(rename = "Type")]
    kind: &'static str,
    description: &'static str,
    needs_restart: bool,
    read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    choices: Option<&'static [&'static str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ChangedView {
    changed: Vec<String>,
    needs_restart: Vec<String>,
}

impl From<Changed> for ChangedView {
    fn from(changed: Changed) -> Self {
        Self { changed: changed.keys, needs_restart: changed.needs_restart }
    }
}

/// Answers one of these addresses.
pub(crate) async fn answer(
    call: &Call<'_>,
    what: Settings,
    body: &[u8],
) -> Result<Answer, ApiError> {
    match what {
        Settings::Change => change(call, body).await,
        Settings::List => json(StatusCode::OK, &list(call)),
        Settings::Reload => reload(call).await,
    }
}

fn list(call: &Call<'_>) -> SettingsView {
    let settings = &call.app.settings;
    SettingsView {
        settings: catalogue::ENTRIES
            .iter()
            .map(|entry| view(entry, settings.text(entry.section, entry.key), call.language))
            .collect(),
        waiting_for_restart: settings.waiting_for_restart(),
        problem: settings.problem_in(call.language),
        file: settings.path().display().to_string(),
    }
}

fn view(entry: &Entry, text: Option<String>, language: Language) -> SettingView {
    let is_secret = entry.kind == Kind::Secret;
    let value = text.filter(|text| !text.is_empty());
    let (min, max) = match entry.kind {
        Kind::Number { min, max } => (Some(min), Some(max)),
        Kind::Choice(_) | Kind::Flag | Kind::List | Kind::Secret | Kind::Text => (None, None),
    };
    SettingView {
        section: entry.section,
        key: entry.key,
        value: if is_secret { value.map(|_| HIDDEN.to_owned()) } else { value },
        default: (!is_secret).then_some(entry.default),
        kind: entry.kind.name(),
        description: language.pick(entry.russian, entry.english),
        needs_restart: entry.needs_restart,
        read_only: !catalogue::is_changed_here(entry.section, entry.key),
        choices: match entry.kind {
            Kind::Choice(words) => Some(words),
            Kind::Flag | Kind::List | Kind::Number { .. } | Kind::Secret | Kind::Text => None,
        },
        min,
        max,
    }
}

async fn change(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let sections: Map<String, Value> = params::message(body)?;
    let edits = edits(&sections)?;
    let changed = call.app.settings.change_off_thread(edits, &call.actor).await?;
    audit(call, "settings_change", &changed).await?;
    json(StatusCode::ACCEPTED, &ChangedView::from(changed))
}

async fn reload(call: &Call<'_>) -> Result<Answer, ApiError> {
    let settings = call.app.settings.clone();
    let changed = off_thread(move || settings.reload()).await?.map_err(|error| {
        let text = |language| {
            let text = error.text(language);
            format!("{text}.")
        };
        let (english, russian) = (text(Language::English), text(Language::Russian));
        ApiError::new(StatusCode::BAD_REQUEST, "ESettingsBroken", english, russian)
    })?;
    audit(call, "settings_reload", &changed).await?;
    match call.app.handle.reload_rules(&call.actor).await {
        Ok(()) => {}
        Err(DriverError::RulesFile(error)) => {
            let why = with_causes(&error);
            return Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "ESettingsBroken",
                format!("The rules stay as they were: {why}."),
                format!("Правила остались прежними: {why}."),
            ));
        }
        Err(error) => return Err(error.into()),
    }
    json(StatusCode::ACCEPTED, &ChangedView::from(changed))
}

async fn audit(call: &Call<'_>, action: &'static str, changed: &Changed) -> Result<(), ApiError> {
    if changed.keys.is_empty() {
        return Ok(());
    }
    let note = AuditNote { action, note: changed.keys.join(", "), ..AuditNote::default() };
    Ok(call.app.handle.audit(note, &call.actor).await?)
}

/// Runs what blocks on the disk where nobody waits behind it.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        log::error!("changing the settings broke down: {error}");
        ApiError::internal()
    })
}

/// `{"Common": {"ServerPort": 9100, "Lang": null}}`.
fn edits(sections: &Map<String, Value>) -> Result<Vec<Edit>, ApiError> {
    let mut edits = Vec::new();
    for (section, keys) in sections {
        let Value::Object(keys) = keys else {
            return Err(refused(
                &format!("[{section}]"),
                "expected an object of keys",
                "ожидается объект с ключами",
            ));
        };
        for (key, value) in keys {
            let place = format!("[{section}] {key}");
            let entry = known(section, key, &place)?;
            // Whoever sends back what was shown means to leave the secret as it is.
            if entry.kind == Kind::Secret && value == HIDDEN {
                continue;
            }
            edits.push(match text(entry.kind, value) {
                Ok(Some(text)) => Edit::set(section, key, text),
                Ok(None) => Edit::remove(section, key),
                Err((english, russian)) => return Err(refused(&place, english, russian)),
            });
        }
    }
    Ok(edits)
}

fn known(section: &str, key: &str, place: &str) -> Result<&'static Entry, ApiError> {
    let elsewhere = match (section, key) {
        ("Console", "UserName" | "Password") => Some("/api/password"),
        ("Users", _) => Some("/api/users"),
        ("Tokens", _) => Some("/api/tokens"),
        ("AccessCodes", _) => Some("/api/licences/{KeyNo}"),
        _ => None,
    };
    if let Some(address) = elsewhere {
        return Err(refused(
            place,
            &format!("this is changed at {address}"),
            &format!("изменяется по адресу {address}"),
        ));
    }
    let entry = catalogue::find(section, key)
        .ok_or_else(|| refused(place, "there is no such setting", "такого параметра нет"))?;
    if !catalogue::is_changed_here(section, key) {
        return Err(refused(
            place,
            "this is changed in the file licenceserver.conf alone",
            "изменяется только в файле licenceserver.conf",
        ));
    }
    Ok(entry)
}

/// The text of a JSON value in a conf file; nothing takes the key out. What the text says is
/// checked with the whole file.
fn text(kind: Kind, value: &Value) -> Result<Option<String>, (&'static str, &'static str)> {
    match (kind, value) {
        (_, Value::Null) => Ok(None),
        (Kind::Flag, Value::Bool(flag)) => Ok(Some(u8::from(*flag).to_string())),
        (Kind::Choice(_) | Kind::Flag | Kind::Number { .. }, Value::Number(number)) => {
            Ok(Some(number.to_string()))
        }
        (Kind::List, Value::Array(words)) => {
            let words: Option<Vec<_>> = words.iter().map(Value::as_str).collect();
            let words = words.ok_or(("expected texts", "ожидаются строки"))?;
            if words.iter().any(|word| word.contains([',', ';'])) {
                return Err(("a text must not hold a comma", "строка не может содержать запятую"));
            }
            Ok(Some(words.join(",")))
        }
        (_, Value::String(text)) => Ok(Some(text.trim().to_owned())),
        (Kind::Flag, _) => Err(("expected 0 or 1", "ожидается 0 или 1")),
        (Kind::Number { .. }, _) => Err(("expected a number", "ожидается число")),
        (Kind::List, _) => Err(("expected a list of texts", "ожидается список строк")),
        (Kind::Choice(_) | Kind::Secret | Kind::Text, _) => {
            Err(("expected a text", "ожидается строка"))
        }
    }
}

fn refused(place: &str, english: &str, russian: &str) -> ApiError {
    // Names that a caller made up are cut: the answer is for people.
    const SHOWN_CHARS_MAX: usize = 100;
    let place: String = place.chars().take(SHOWN_CHARS_MAX).collect();
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "ESettings",
        format!("{place}: {english}."),
        format!("{place}: {russian}."),
    )
}
