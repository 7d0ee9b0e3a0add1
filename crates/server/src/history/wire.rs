//! Events as the API shows them.

use licence_core::key::{KeyNo, KeySeries};
use licence_core::time::Utc;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Event;

/// One event in the API and in the stream.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EventView {
    /// Its number; later events have higher ones.
    pub no: i64,
    /// When.
    pub time: Utc,
    /// Kind, one of [`KINDS`](super::KINDS).
    pub kind: String,
    /// Id of the session or connection, or what an administrator changed.
    pub subject: Option<String>,
    /// The key.
    pub key_no: Option<KeyNo>,
    /// The series.
    #[serde(rename = "KeyID")]
    pub key_id: Option<KeySeries>,
    /// Reason of an end, class of a refusal, or the action of an audit event.
    pub reason: Option<String>,
    /// More, by kind: `Session`, `Opened`, `Peer`, `Text`, `Actor`, `Note`.
    pub detail: Option<Value>,
}

impl From<&Event> for EventView {
    fn from(event: &Event) -> Self {
        Self {
            no: event.no,
            time: event.at,
            kind: event.kind.clone(),
            subject: event.subject.clone(),
            key_no: event.key_no,
            key_id: event.series,
            reason: event.reason.clone(),
            detail: event.detail.as_ref().map(|detail| shown(&event.kind, detail)),
        }
    }
}

/// What the database keeps beside an event, by the names of the API.
fn shown(kind: &str, detail: &Value) -> Value {
    let Value::Object(fields) = detail else { return detail.clone() };
    if kind == "session_opened" {
        return Value::Object(Map::from_iter([("Session".to_owned(), detail.clone())]));
    }
    let field = |(name, value): (&String, &Value)| match (name.as_str(), value.as_i64()) {
        ("info" | "session", _) => ("Session".to_owned(), value.clone()),
        ("opened", Some(millis)) => {
            ("Opened".to_owned(), Value::String(Utc::from_unix_millis(millis).to_string()))
        }
        _ => (capitalised(name), value.clone()),
    };
    Value::Object(fields.iter().map(field).collect())
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A text inside the detail of an event: what it says of the session, or of itself.
pub(super) fn text<'a>(detail: Option<&'a Value>, field: &str) -> &'a str {
    let Some(detail) = detail else { return "" };
    [detail.get("Session"), Some(detail)]
        .into_iter()
        .flatten()
        .find_map(|object| object.get(field).and_then(Value::as_str))
        .unwrap_or("")
}
