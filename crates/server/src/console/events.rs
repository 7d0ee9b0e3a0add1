//! The page of events: what happened, to whom, who did it; filters, pages, files.
//!
//! Reads the history and shows it. The files behind the links are the REST API's.

use askama::Template;
use hyper::StatusCode;
use licence_core::key::KeySeries;
use licence_core::language::Language;
use serde_json::Value;

use super::frame::{Frame, encoded};
use super::parts::{Choice, asked_series, known_series, series_choices, told};
use super::shown::{self, KINDS, member};
use super::span::Span;
use super::texts::Texts;
use crate::api::errors::ApiError;
use crate::api::params::Params;
use crate::api::routes::Page;
use crate::api::{Answer, Call};
use crate::clock;
use crate::history::{Event, EventFilter};

/// Events on one page.
const ROWS: usize = 100;

/// Longest text that is searched for, in characters.
const TEXT_CHARS_MAX: usize = 200;

/// What is looked for.
pub(super) struct Asked {
    pub(super) span: Span,
    kind: Option<&'static str>,
    series: Option<KeySeries>,
    text: Option<String>,
}

impl Asked {
    pub(super) fn read(params: &Params) -> Result<Self, ApiError> {
        let asked = params.text("kind")?.unwrap_or("");
        Ok(Self {
            span: Span::read(params, clock::utc(), "week")?,
            series: asked_series(params)?,
            kind: KINDS.iter().map(|(code, ..)| *code).find(|code| *code == asked),
            text: params.text("q")?.map(|text| text.chars().take(TEXT_CHARS_MAX).collect()),
        })
    }

    /// As many as one page has.
    pub(super) fn filter(&self) -> EventFilter {
        EventFilter {
            from: Some(self.span.from),
            to: Some(self.span.to),
            kinds: self.kind.into_iter().map(str::to_owned).collect(),
            series: self.series,
            text: self.text.clone(),
            before: None,
            limit: ROWS,
        }
    }

    /// The parameters that ask for the same again.
    fn query(&self) -> String {
        let names = ["kind", "series", "q"];
        self.span.query() + &self.rest(names)
    }

    /// Those by which the API does.
    fn export(&self) -> String {
        let Span { from, to, .. } = &self.span;
        let (from, to) = (encoded(&from.to_string()), encoded(&to.to_string()));
        format!("From={from}&To={to}") + &self.rest(["Kind", "KeyID", "Text"])
    }

    fn rest(&self, [kind, series, text]: [&str; 3]) -> String {
        let mut query = String::new();
        for (name, value) in [
            (kind, self.kind.map(str::to_owned)),
            (series, self.series.map(|series| series.to_string())),
            (text, self.text.clone()),
        ] {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={}", encoded(&value)));
            }
        }
        query
    }
}

/// What a page shows of the events that were found.
pub(super) struct Shown {
    pub(super) rows: Vec<Row>,
    /// Where the next page begins: a parameter and its value; nothing on the last one.
    pub(super) older: Option<(&'static str, String)>,
    pub(super) is_first: bool,
    pub(super) error: Option<String>,
    /// Of all nodes: those that have not answered, and why; nothing for a server that stands alone.
    pub(super) missing: Option<Vec<(String, String)>>,
    pub(super) is_all: bool,
}

/// `GET /events`.
pub(super) async fn answer(call: &Call<'_>) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, b"")?;
    let asked = Asked::read(&params)?;
    let before = params.text("before")?.and_then(|text| text.parse::<i64>().ok());
    // One more tells whether there is a next page.
    let filter = EventFilter { before, limit: ROWS + 1, ..asked.filter() };
    let (mut events, error) = match call.app.history.events(filter).await {
        Ok(events) => (events, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let has_more = events.len() > ROWS;
    events.truncate(ROWS);
    let last = events.last().filter(|_| has_more);
    let status = error.as_ref().map_or(StatusCode::OK, |error| error.status);
    let shown = Shown {
        rows: events.iter().map(|event| row(call.language, event)).collect(),
        older: last.map(|event| ("before", event.no.to_string())),
        is_first: before.is_none(),
        error: error.as_ref().map(|error| told(call.language, error)),
        missing: call.app.peers.as_ref().map(|_| Vec::new()),
        is_all: false,
    };
    page(call, Page::Events, status, asked, shown).await
}

/// The page of either list.
pub(super) async fn page(
    call: &Call<'_>,
    page: Page,
    status: StatusCode,
    asked: Asked,
    shown: Shown,
) -> Result<Answer, ApiError> {
    let t = call.language;
    let mut frame = Frame::new(call, page).await?;
    // Every look at all nodes asks all of them: it is taken when somebody wants it.
    frame.refreshes &= !shown.is_all;
    let path = if shown.is_all { "/cluster/events" } else { "/events" };
    let (query, export) = (asked.query(), asked.export());
    let page = EventsPage {
        t,
        kinds: KINDS
            .iter()
            .map(|(code, russian, english)| Choice {
                value: (*code).to_owned(),
                text: t.pick(russian, english).to_owned(),
                is_chosen: asked.kind == Some(*code),
            })
            .collect(),
        series: series_choices(&known_series(call).await?, asked.series),
        text: asked.text.unwrap_or_default(),
        older: shown
            .older
            .map(|(name, value)| frame.link(format!("{path}?{query}&{name}={}", encoded(&value)))),
        newest: (!shown.is_first).then(|| frame.link(format!("{path}?{query}"))),
        rows: shown.rows,
        error: shown.error,
        missing: shown.missing,
        is_all: shown.is_all,
        frame,
        span: asked.span,
        export,
    };
    page.frame.answer(status, &page)
}

#[derive(Template)]
#[template(path = "events.html")]
struct EventsPage {
    frame: Frame,
    t: Language,
    span: Span,
    kinds: Vec<Choice>,
    series: Vec<Choice>,
    text: String,
    rows: Vec<Row>,
    older: Option<String>,
    newest: Option<String>,
    export: String,
    error: Option<String>,
    missing: Option<Vec<(String, String)>>,
    is_all: bool,
}

/// One event as it stands in the table.
pub(super) struct Row {
    /// Tells it from the others of the page.
    pub(super) mark: String,
    /// The node, in the list of all nodes.
    pub(super) node: String,
    iso: String,
    at: String,
    kind: String,
    is_denial: bool,
    subject: String,
    /// Where more is told of the subject.
    pub(super) link: Option<String>,
    key: String,
    /// The page of the key; empty where this server may not have it.
    pub(super) key_link: String,
    series: String,
    who: String,
    reason: String,
    text: String,
    holders: Vec<String>,
    facts: Vec<(&'static str, String)>,
}

pub(super) fn row(t: Language, event: &Event) -> Row {
    let none = Value::Null;
    let detail = event.detail.as_ref().unwrap_or(&none);
    let session = session_of(detail);
    let subject = event.subject.clone().unwrap_or_default();
    let is_life = event.kind.starts_with("session_") || event.kind.starts_with("connection_");
    Row {
        mark: event.no.to_string(),
        node: String::new(),
        iso: event.at.to_string(),
        at: Texts(t).moment(&event.at),
        kind: shown::kind(t, &event.kind),
        is_denial: event.kind == "denied",
        link: (is_life && !subject.is_empty())
            .then(|| format!("/events?span=month&q={}", encoded(&subject))),
        subject,
        key_link: event.key_no.map(|no| format!("/keys/{no}")).unwrap_or_default(),
        key: event.key_no.map(|no| no.to_string()).unwrap_or_default(),
        series: event.series.map(|series| series.to_string()).unwrap_or_default(),
        who: who(event, detail, session),
        reason: event.reason.as_deref().map(|code| shown::reason(t, code)).unwrap_or_default(),
        text: text(t, event, detail),
        holders: holders(t, detail),
        facts: facts(t, detail, session),
    }
}

/// The note of an administrator, or the sentence of a refusal. A refusal is kept in English; a
/// Russian reader has the reason, the rule and the holders in their own words beside it, so the
/// sentence is shown only for a reason that has none.
fn text(t: Language, event: &Event, detail: &Value) -> String {
    let is_told = event.kind == "denied"
        && t == Language::Russian
        && event.reason.as_deref().is_some_and(|code| shown::reason(t, code) != code);
    let names: &[_] = if is_told { &["note"] } else { &["note", "text"] };
    names.iter().find_map(|name| member(detail, name)).unwrap_or("").to_owned()
}

/// What is told of the session: a refusal has it beside other things, an opening is it itself.
fn session_of(detail: &Value) -> &Value {
    ["session", "info"].into_iter().find_map(|name| detail.get(name)).unwrap_or(detail)
}

/// The administrator of an audit line; the user and computer of anything else.
fn who(event: &Event, detail: &Value, session: &Value) -> String {
    let (name, place) = if event.kind == "audit" {
        (member(detail, "actor"), member(detail, "peer"))
    } else {
        (member(session, "UserName"), member(session, "ComputerName"))
    };
    match (name, place) {
        (Some(name), Some(place)) => format!("{name} ({place})"),
        (one, other) => one.or(other).unwrap_or("").to_owned(),
    }
}

/// Who held the seats when one was refused.
fn holders(t: Language, detail: &Value) -> Vec<String> {
    let list = detail.get("holders").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let holder = |holder: &Value| {
        let number = member(holder, "SessionNumber").unwrap_or("—");
        let rest: Vec<_> = ["UserName", "ComputerName"]
            .into_iter()
            .filter_map(|name| member(holder, name))
            .collect();
        format!("{} {number}: {}", t.pick("Сеанс №", "Session no."), rest.join(", "))
    };
    list.iter().map(holder).collect()
}

fn facts(t: Language, detail: &Value, session: &Value) -> Vec<(&'static str, String)> {
    let of_session = [
        ("SessionNumber", t.pick("Номер сеанса", "Session number")),
        ("AppName", t.pick("Приложение", "Application")),
        ("InfoBaseConnectionStr", t.pick("Информационная база", "Infobase")),
        ("TerminalClient", t.pick("Терминальный клиент", "Terminal client")),
    ];
    let of_event = [("rule", t.pick("Правило", "Rule")), ("opened", t.pick("Начат", "Opened"))];
    let mut facts = Vec::new();
    for (name, label) in of_session {
        if let Some(text) = member(session, name) {
            facts.push((label, text.to_owned()));
        }
    }
    for (name, label) in of_event {
        match detail.get(name) {
            Some(Value::String(text)) if !text.is_empty() => facts.push((label, text.clone())),
            Some(Value::Number(millis)) => {
                if let Some(millis) = millis.as_i64() {
                    let at = licence_core::time::Utc::from_unix_millis(millis);
                    facts.push((label, Texts(t).moment(&at)));
                }
            }
            _ => {}
        }
    }
    if let Some(peer) = member(detail, "peer").filter(|_| detail.get("actor").is_none()) {
        facts.push((t.pick("Адрес", "Address"), peer.to_owned()));
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, reason: &str, detail: &str) -> Event {
        Event {
            no: 1,
            at: "2018-04-02T20:41:13.272Z".parse().unwrap(),
            kind: kind.to_owned(),
            subject: Some("AB".to_owned()),
            key_no: None,
            series: None,
            reason: Some(reason.to_owned()),
            detail: serde_json::from_str(detail).ok(),
        }
    }

    #[test]
    fn denial_tells_who_asked_why_and_who_held_the_seats() {
        let event = event(
            "denied",
            "ENoFreeLicence",
            r#"{"text":"no seat","peer":"10.0.0.7","rule":"night",
                "session":{"SessionNumber":"5","UserName":"Иванов","ComputerName":"PC","AppName":"1CV8C"},
                "holders":[{"SessionNumber":"2","UserName":null,"ComputerName":"MORA-HP"}]}"#,
        );
        let row = row(Language::Russian, &event);
        assert!(row.is_denial);
        assert_eq!(row.who, "Иванов (PC)");
        assert_eq!(row.reason, "нет свободных лицензий");
        assert_eq!(row.text, "");
        assert_eq!(super::row(Language::English, &event).text, "no seat");
        assert_eq!(row.holders, ["Сеанс № 2: MORA-HP"]);
        assert!(row.facts.contains(&("Правило", "night".to_owned())), "{:?}", row.facts);
        assert!(row.facts.contains(&("Адрес", "10.0.0.7".to_owned())), "{:?}", row.facts);
    }

    #[test]
    fn audit_line_tells_the_administrator_and_the_note() {
        let event = event(
            "audit",
            "session_end",
            r#"{"actor":"admin","peer":"127.0.0.1","note":"left open"}"#,
        );
        let row = row(Language::English, &event);
        assert_eq!((row.who.as_str(), row.text.as_str()), ("admin (127.0.0.1)", "left open"));
        assert_eq!(row.reason, "session ended");
        assert!(row.facts.is_empty() && row.holders.is_empty() && row.link.is_none());
    }

    #[test]
    fn event_without_or_with_strange_detail_is_shown() {
        for detail in ["", "[]", "1", r#"{"holders":1,"session":[],"rule":{}}"#] {
            let row = row(Language::English, &event("session_opened", "", detail));
            assert_eq!(row.who, "", "{detail}");
        }
    }
}
