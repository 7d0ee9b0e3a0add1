//! The page of settings: one form made of the table of keys; and the restart that some of them
//! wait for.
//!
//! A form carries what it showed beside what was entered, so that only what somebody changed is
//! written: a value that another one changed meanwhile in the file stays. What a value may be is
//! decided by the settings.

use askama::Template;
use hyper::StatusCode;
use hyper::header::HOST;
use licence_core::language::Language;

use super::frame::{Frame, see_done};
use super::parts::{Choice, told};
use crate::access::csrf::check_form;
use crate::api::errors::ApiError;
use crate::api::form::Form;
use crate::api::routes::Page;
use crate::api::service::ask_for_restart;
use crate::api::{Answer, Call};
use crate::driver::AuditNote;
use crate::settings::catalogue::{self, ENTRIES, Entry, Kind};
use crate::settings::{Edit, Settings};

/// Seconds after which the page of a restart looks for the server again: it stops when the
/// requests under way are answered and is back within a second or two.
const RESTART_SECS: u32 = 5;

/// Begins the names of fields that carry what was shown.
const SHOWN: &str = "shown:";
/// Begins the names of fields that carry what was entered.
const ENTERED: &str = "value:";
/// Begins the names of fields that take a secret out.
const CLEARED: &str = "clear:";

/// `GET /settings`.
pub(super) async fn answer(call: &Call<'_>) -> Result<Answer, ApiError> {
    show(call, StatusCode::OK, None, None).await
}

/// `POST /settings`.
pub(super) async fn change(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let form = Form::read(body)?;
    check_form(call, &form)?;
    let edits = edits(&form);
    if edits.is_empty() {
        return see_done(call, "/settings", "settings_same");
    }
    let changed = match call.app.settings.change_off_thread(edits, &call.actor).await {
        Ok(changed) => changed,
        Err(error) => return show(call, error.status, Some(&form), Some(&error)).await,
    };
    if !changed.keys.is_empty() {
        let note = AuditNote {
            action: "settings_change",
            subject: "licenceserver.conf".to_owned(),
            note: changed.keys.join(", "),
            ..AuditNote::default()
        };
        call.app.handle.audit(note, &call.actor).await?;
    }
    see_done(call, "/settings", "settings_saved")
}

/// `POST /restart`.
pub(super) async fn restart(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let form = Form::read(body)?;
    check_form(call, &form)?;
    // Made before the server is asked: the page needs it.
    let frame = Frame::new(call, Page::Restart).await?;
    let port = ask_for_restart(call).await?;
    let to = after_restart(call, port, frame.link("/settings?done=restarted"));
    let page = RestartPage { frame, t: call.language, secs: RESTART_SECS, to };
    page.frame.answer(StatusCode::ACCEPTED, &page)
}

/// Where the page is found after a restart: on the new port, if the port changes. Otherwise the
/// way here stays the way there, also through a proxy that has another port than the server.
fn after_restart(call: &Call<'_>, port: Option<u16>, path: String) -> String {
    let bound = call.app.control.bound().map(|bound| bound.port());
    let host = call.headers.get(HOST).and_then(|host| host.to_str().ok()).and_then(host_name);
    match (port, host) {
        (Some(port), Some(host)) if bound != Some(port) => {
            let scheme = if call.peer.is_tls { "https" } else { "http" };
            format!("{scheme}://{host}:{port}{path}")
        }
        _ => path,
    }
}

/// The name or address of a `Host` value without its port; nothing when it is neither.
fn host_name(host: &str) -> Option<&str> {
    let name = if host.starts_with('[') {
        host.get(..=host.find(']')?)?
    } else {
        host.split_once(':').map_or(host, |(name, _)| name)
    };
    let is_name = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte));
    is_name.then_some(name)
}

/// Whether a key is changed elsewhere: on pages of its own, which check and hash what is entered, or in
/// the file alone.
fn is_elsewhere(entry: &Entry) -> bool {
    !catalogue::is_changed_here(entry.section, entry.key)
}

fn name(entry: &Entry) -> String {
    format!("{}.{}", entry.section, entry.key)
}

/// What somebody changed in the form.
fn edits(form: &Form) -> Vec<Edit> {
    ENTRIES
        .iter()
        .filter(|entry| !is_elsewhere(entry))
        .filter_map(|entry| edit(form, entry))
        .collect()
}

fn edit(form: &Form, entry: &Entry) -> Option<Edit> {
    let name = name(entry);
    let shown = form.raw(&format!("{SHOWN}{name}"))?.trim();
    let entered = form.raw(&format!("{ENTERED}{name}")).unwrap_or("").trim();
    let value = match entry.kind {
        Kind::Flag => {
            if form.flag(&format!("{ENTERED}{name}")) {
                "1"
            } else {
                "0"
            }
        }
        Kind::Secret if form.flag(&format!("{CLEARED}{name}")) => {
            return Some(Edit::remove(entry.section, entry.key));
        }
        Kind::Secret if entered.is_empty() => return None,
        Kind::Secret => return Some(Edit::set(entry.section, entry.key, entered)),
        Kind::Choice(_) | Kind::List | Kind::Number { .. } | Kind::Text => entered,
    };
    if value == shown {
        None
    } else if value.is_empty() {
        Some(Edit::remove(entry.section, entry.key))
    } else {
        Some(Edit::set(entry.section, entry.key, value))
    }
}

async fn show(
    call: &Call<'_>,
    status: StatusCode,
    form: Option<&Form>,
    error: Option<&ApiError>,
) -> Result<Answer, ApiError> {
    let t = call.language;
    let settings = &call.app.settings;
    let error_text = error.map(|error| told(t, error));
    let waiting = settings.waiting_for_restart();
    let mut sections: Vec<Section> = Vec::new();
    for entry in ENTRIES.iter().filter(|entry| !is_elsewhere(entry)) {
        let field = Field::new(t, settings, entry, form, error, &waiting);
        match sections.last_mut().filter(|section| section.name == entry.section) {
            Some(section) => section.fields.push(field),
            None => sections.push(Section {
                name: entry.section,
                title: title(t, entry.section),
                fields: vec![field],
            }),
        }
    }
    let page = SettingsPage {
        frame: Frame::new(call, Page::Settings).await?,
        t,
        file: settings.path().display().to_string(),
        problem: settings.problem_in(t),
        waiting,
        sections,
        error: error_text,
    };
    page.frame.answer(status, &page)
}

fn title(t: Language, section: &'static str) -> &'static str {
    let (russian, english) = match section {
        "API" => ("Внешнее API", "REST API"),
        "Common" => ("Общие", "General"),
        "Console" => ("Консоль", "Console"),
        "ISMP" => ("Ключи сессии ИС МП", "Session keys of ИС МП"),
        "Metrics" => ("Метрики Prometheus", "Prometheus metrics"),
        "Notify" => ("Уведомления", "Notifications"),
        "Reports" => ("Отчёты и история", "Reports and history"),
        "TLS" => ("Шифрование (TLS)", "Encryption (TLS)"),
        "UPKey" => ("Ключи USB", "USB tokens"),
        _ => (section, section),
    };
    t.pick(russian, english)
}

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    frame: Frame,
    t: Language,
    file: String,
    problem: Option<String>,
    waiting: Vec<String>,
    sections: Vec<Section>,
    error: Option<String>,
}

#[derive(Template)]
#[template(path = "restart.html")]
struct RestartPage {
    frame: Frame,
    t: Language,
    secs: u32,
    to: String,
}

struct Section {
    name: &'static str,
    title: &'static str,
    fields: Vec<Field>,
}

/// One key as the form shows it.
struct Field {
    /// `Section.Key`, and the id of its input.
    name: String,
    key: &'static str,
    /// How it is entered: `flag`, `choice`, `number`, `secret` or `text`.
    input: &'static str,
    /// What the file has, and what a change is measured by.
    shown: String,
    /// What stands in the field.
    value: String,
    is_on: bool,
    choices: Vec<Choice>,
    min: u64,
    max: u64,
    default: &'static str,
    description: &'static str,
    needs_restart: bool,
    is_waiting: bool,
    /// Whether a secret is set.
    is_set: bool,
    error: Option<String>,
}

impl Field {
    fn new(
        t: Language,
        settings: &Settings,
        entry: &Entry,
        form: Option<&Form>,
        error: Option<&ApiError>,
        waiting: &[String],
    ) -> Self {
        let name = name(entry);
        let in_file = settings.text(entry.section, entry.key).unwrap_or_default();
        let is_set = !in_file.trim().is_empty();
        let in_force = if is_set { in_file.trim() } else { entry.default };
        let (input, shown) = match entry.kind {
            Kind::Choice(_) => ("choice", in_force.to_owned()),
            Kind::Flag => ("flag", if is_yes(in_force) { "1" } else { "0" }.to_owned()),
            Kind::List | Kind::Text => ("text", in_file.trim().to_owned()),
            Kind::Number { .. } => ("number", in_file.trim().to_owned()),
            Kind::Secret => ("secret", String::new()),
        };
        let entered = form.and_then(|form| {
            let entered = form.raw(&format!("{ENTERED}{name}")).map(str::trim);
            match entry.kind {
                Kind::Secret => None,
                Kind::Flag => Some(if entered.is_some_and(is_yes) { "1" } else { "0" }),
                Kind::Choice(_) | Kind::List | Kind::Number { .. } | Kind::Text => entered,
            }
        });
        let value = entered.unwrap_or(&shown).to_owned();
        let (min, max) = match entry.kind {
            Kind::Number { min, max } => (min, max),
            Kind::Choice(_) | Kind::Flag | Kind::List | Kind::Secret | Kind::Text => (0, 0),
        };
        let words = match entry.kind {
            Kind::Choice(words) => words,
            Kind::Flag | Kind::List | Kind::Number { .. } | Kind::Secret | Kind::Text => &[],
        };
        let full = format!("[{}] {}", entry.section, entry.key);
        // Which key was refused is part of the refusal's text; the word must end where the key
        // does, because one key may begin with another's name.
        let is_wrong = error.is_some_and(|error| names(&error.english, &full));
        Self {
            is_on: value == "1",
            choices: words
                .iter()
                .map(|word| Choice {
                    value: (*word).to_owned(),
                    text: choice_text(t, entry, word),
                    is_chosen: value == *word,
                })
                .collect(),
            key: entry.key,
            input,
            value,
            shown,
            min,
            max,
            default: entry.default,
            description: t.pick(entry.russian, entry.english),
            needs_restart: entry.needs_restart,
            is_waiting: waiting.contains(&full),
            is_set,
            error: error.filter(|_| is_wrong).map(|error| told(t, error)),
            name,
        }
    }
}

fn is_yes(text: &str) -> bool {
    ["1", "true", "yes", "on"].iter().any(|yes| text.eq_ignore_ascii_case(yes))
}

/// Whether a text names a key, as a whole word.
fn names(text: &str, full: &str) -> bool {
    text.match_indices(full).any(|(at, _)| {
        text[at + full.len()..].chars().next().is_none_or(|next| !next.is_ascii_alphanumeric())
    })
}

/// What stands for a choice: words for numbers, and the word itself for a word.
fn choice_text(t: Language, entry: &Entry, word: &str) -> String {
    let known = match (entry.key, word) {
        ("Authorization", "0") => t.pick("0 — только для изменений", "0 — for changes only"),
        ("Authorization", "1") => t.pick("1 — всегда", "1 — always"),
        ("Authorization", "2") => t.pick("2 — никогда", "2 — never"),
        ("Lang", "ru") => t.pick("русский", "Russian"),
        ("Lang", "en") => t.pick("английский", "English"),
        _ => word,
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(body: &str) -> Vec<Edit> {
        edits(&Form::read(body.as_bytes()).unwrap())
    }

    #[test]
    fn only_what_differs_from_what_was_shown_is_written() {
        for (body, expected) in [
            ("", vec![]),
            ("shown:Common.ServerPort=9099&value:Common.ServerPort=9099", vec![]),
            (
                "shown:Common.ServerPort=9099&value:Common.ServerPort=+9100+",
                vec![Edit::set("Common", "ServerPort", "9100")],
            ),
            (
                "shown:Common.ServerPort=9099&value:Common.ServerPort=",
                vec![Edit::remove("Common", "ServerPort")],
            ),
            // An unchecked box is not sent.
            ("shown:API.Enabled=1", vec![Edit::set("API", "Enabled", "0")]),
            ("shown:API.Enabled=1&value:API.Enabled=1", vec![]),
            ("shown:API.Enabled=0", vec![]),
            // What was not shown cannot have been changed.
            ("value:Common.ServerPort=1", vec![]),
        ] {
            assert_eq!(changes(body), expected, "{body}");
        }
    }

    #[test]
    fn secret_stays_when_its_field_is_empty_and_goes_when_it_is_told_to() {
        for (body, expected) in [
            ("shown:Notify.SmtpPassword=&value:Notify.SmtpPassword=", vec![]),
            (
                "shown:Notify.SmtpPassword=&value:Notify.SmtpPassword=new",
                vec![Edit::set("Notify", "SmtpPassword", "new")],
            ),
            (
                "shown:Notify.SmtpPassword=&clear:Notify.SmtpPassword=1",
                vec![Edit::remove("Notify", "SmtpPassword")],
            ),
        ] {
            assert_eq!(changes(body), expected, "{body}");
        }
    }

    #[test]
    fn user_name_and_password_are_not_changed_here() {
        assert_eq!(changes("shown:Console.UserName=admin&value:Console.UserName=x"), vec![]);
        assert_eq!(changes("shown:Console.Password=&value:Console.Password=x"), vec![]);
    }

    #[test]
    fn refusal_is_shown_beside_the_key_that_it_names_and_no_other() {
        let text = "licenceserver.conf:3: [TLS] Key=x: expected a file";
        assert!(names(text, "[TLS] Key"));
        assert!(!names("[Common] KeepPreviousLogs=2: expected", "[Common] Keep"));
        assert!(!names(text, "[TLS] Certificate"));
    }

    #[test]
    fn host_without_its_port_is_a_name_or_an_address() {
        for (host, expected) in [
            ("localhost:9099", Some("localhost")),
            ("10.0.0.7", Some("10.0.0.7")),
            ("[::1]:9099", Some("[::1]")),
            ("", None),
            ("a\"b", None),
            ("[::1", None),
        ] {
            assert_eq!(host_name(host), expected, "{host}");
        }
    }
}
