//! Events of all nodes of the cluster, merged by time.
//!
//! What the nodes answer [`crate::api::nodes::history`] merges, as for programs; here it is shown. Numbers
//! of events are each node's own, so that a page is named by the moment before which it begins.

use hyper::StatusCode;
use licence_core::time::Utc;
use serde_json::{Map, Value};

use super::events::{self, Asked, Row, Shown, row};
use super::frame::encoded;
use crate::api::errors::ApiError;
use crate::api::nodes::history::{self, Merged};
use crate::api::nodes::views::ClusterEventView;
use crate::api::params::Params;
use crate::api::routes::Page;
use crate::api::{Answer, Call};
use crate::history::{Event, EventFilter};

/// `GET /cluster/events`.
pub(super) async fn answer(call: &Call<'_>) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, b"")?;
    let asked = Asked::read(&params)?;
    let until = params.text("until")?.and_then(|text| text.parse::<Utc>().ok());
    let mut filter: EventFilter = asked.filter();
    filter.to = filter.to.map(|to| until.map_or(to, |until| until.min(to)));
    let Merged { events, more, missing } = history::merged(call, filter).await?;
    let older = next(&events).filter(|_| more);
    let me = call.app.peers.as_ref().map(|peers| peers.me());
    let line = |(at, view): (usize, ClusterEventView)| {
        let is_here = Some(view.node_id) == me;
        shown(call, at, view, is_here)
    };
    let why = |(node, why): &(crate::cluster::peers::Node, crate::cluster::peers::NoAnswer)| {
        (node.name.clone(), why.text(call.language))
    };
    let shown = Shown {
        rows: events.into_iter().enumerate().map(line).collect(),
        older: older.map(|at| ("until", at.to_string())),
        is_first: until.is_none(),
        error: None,
        missing: Some(missing.iter().map(why).collect()),
        is_all: true,
    };
    events::page(call, Page::ClusterEvents, StatusCode::OK, asked, shown).await
}

/// Before which moment the next page begins. It has the events of the last millisecond once more, so
/// that none is left out; not when all of this page are of one, or there would be no next one.
fn next(events: &[ClusterEventView]) -> Option<Utc> {
    let (first, last) = (events.first()?.event.time, events.last()?.event.time);
    Some(if first == last { last } else { last.plus_millis(1) })
}

fn shown(call: &Call<'_>, at: usize, view: ClusterEventView, is_here: bool) -> Row {
    let ClusterEventView { event, node, .. } = view;
    let event = Event {
        no: event.no,
        at: event.time,
        kind: event.kind,
        subject: event.subject,
        key_no: event.key_no,
        series: event.key_id,
        reason: event.reason,
        detail: event.detail.map(kept),
    };
    let mut row = row(call.language, &event);
    row.mark = at.to_string();
    row.node = node;
    if row.link.is_some() {
        let subject = encoded(event.subject.as_deref().unwrap_or_default());
        row.link = Some(format!("/cluster/events?span=month&q={subject}"));
    }
    if !is_here {
        row.key_link = String::new();
    }
    row
}

/// What is beside an event by the names by which the history keeps it.
fn kept(detail: Value) -> Value {
    let Value::Object(fields) = detail else { return detail };
    let field = |(name, value): (String, Value)| {
        let mut letters = name.chars();
        let name = letters
            .next()
            .map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect());
        (name, value)
    };
    Value::Object(fields.into_iter().map(field).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::EventView;
    use licence_core::cluster::NodeId;
    use serde_json::json;

    fn at(millis: i64) -> ClusterEventView {
        let event = Event {
            no: 1,
            at: Utc::from_unix_millis(millis),
            kind: "audit".to_owned(),
            subject: None,
            key_no: None,
            series: None,
            reason: None,
            detail: None,
        };
        let node_id = NodeId::from_bytes([1; 32]);
        ClusterEventView { event: EventView::from(&event), node: "north".to_owned(), node_id }
    }

    #[test]
    fn next_page_leaves_nothing_out_and_there_is_always_a_further_one() {
        for (events, wanted) in
            [(vec![], None), (vec![at(9), at(5)], Some(6)), (vec![at(5), at(5)], Some(5))]
        {
            assert_eq!(next(&events), wanted.map(Utc::from_unix_millis));
        }
    }

    #[test]
    fn detail_of_another_node_is_read_as_that_of_this_one() {
        let detail = json!({"Session": {"UserName": "Иванов"}, "Note": "n", "Opened": "2018"});
        let wanted = json!({"session": {"UserName": "Иванов"}, "note": "n", "opened": "2018"});
        assert_eq!(kept(detail), wanted);
        assert_eq!(kept(json!([1])), json!([1]));
    }
}
