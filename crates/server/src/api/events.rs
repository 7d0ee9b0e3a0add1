//! REST: what happened, as a list, as a file and as server-sent events.
//!
//! What is kept and how it is found is [`crate::history`]'s; here it is asked for and shown.

use std::io;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use licence_core::key::KeySeries;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc};

use crate::access::auth::StillKnown;
use crate::api::body::{AnswerBody, PARTS_MAX};
use crate::api::errors::ApiError;
use crate::api::params::Params;
use crate::api::rest;
use crate::api::routes::Events;
use crate::api::spans::{self, Side};
use crate::api::{Answer, Call, json};
use crate::history::csv::Csv;
use crate::history::{Event, EventFilter, EventView, ExportFormat, History, KINDS};

/// Events in one answer: some 400 KB.
pub const LIMIT_MAX: usize = 1000;

/// Events in an answer when no limit is named: what a person reads.
pub(crate) const LIMIT: usize = 100;

/// Longest text that is looked for, in characters; a connection string fits.
const TEXT_CHARS_MAX: usize = 500;

/// Events that a stream is given of those that its listener missed. Whoever missed more reads the
/// list.
const RESUME_MAX: usize = 1000;

/// How often a stream says that it lives, and whether its reader may still read is looked at: proxies cut connections off that are silent for
/// 30 s or more.
const PING: Duration = Duration::from_secs(15);

/// How long a stream lasts. Its listener connects again by itself and goes on where it was; then a
/// password or token that is no longer good is noticed.
const STREAM: Duration = Duration::from_secs(3600);

/// How soon a browser connects again, in milliseconds.
const RETRY_MILLIS: u32 = 3000;

/// `GET /api/events`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct EventsView {
    events: Vec<EventView>,
    /// `Before` of the next page; nothing when this is the last one.
    next: Option<i64>,
}

/// Answers one of these addresses.
pub(crate) async fn answer(call: &Call<'_>, what: Events, body: &[u8]) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, body)?;
    match what {
        Events::List => list(call, &params).await,
        Events::Stream => stream(call, &params).await,
    }
}

/// `GET /api/events`: a page as JSON, or everything as a file.
async fn list(call: &Call<'_>, params: &Params) -> Result<Answer, ApiError> {
    let mut filter = filter(params)?;
    let csv = csv(params)?;
    let wants_all = params.flag("All")?;
    let limit = limit(params, LIMIT_MAX)?;
    if csv.is_none() && !wants_all {
        let limit = limit.unwrap_or(LIMIT);
        // One more tells whether there is another page.
        filter.limit = limit + 1;
        let mut found = call.app.history.events(filter).await?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| has_more).map(|event| event.no);
        let events = found.iter().map(EventView::from).collect();
        return json(StatusCode::OK, &EventsView { events, next });
    }
    filter.limit = limit.unwrap_or(usize::MAX);
    let (format, content_type, name) = match csv {
        Some(csv) => (ExportFormat::Csv(csv), "text/csv; charset=utf-8", "events.csv"),
        None => (ExportFormat::Json, "application/json; charset=utf-8", "events.json"),
    };
    let (sender, parts) = mpsc::channel(PARTS_MAX);
    call.app.history.export(filter, format, sender).await?;
    Ok(file(AnswerBody::Parts(parts), content_type, name))
}

/// A body that a browser saves as a file.
pub(crate) fn file(body: AnswerBody, content_type: &'static str, name: &str) -> Answer {
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    answer
}

/// What a request wants to see, without its limit.
pub(crate) fn filter(params: &Params) -> Result<EventFilter, ApiError> {
    let text = params.text("Text")?.map(str::to_owned);
    if text.as_ref().is_some_and(|text| text.chars().count() > TEXT_CHARS_MAX) {
        return Err(ApiError::bad_request(
            format!("Text is longer than {TEXT_CHARS_MAX} characters."),
            format!("Параметр Text длиннее {TEXT_CHARS_MAX} символов."),
        ));
    }
    let before = params.digits("Before", 18)?.and_then(|digits| digits.parse().ok());
    Ok(EventFilter {
        from: spans::moment(params, "From", Side::Begin)?,
        to: spans::moment(params, "To", Side::End)?,
        kinds: kinds(params)?,
        series: rest::series(params)?,
        text,
        before,
        limit: 0,
    })
}

fn kinds(params: &Params) -> Result<Vec<String>, ApiError> {
    let mut kinds = Vec::new();
    let named = params.text("Kind")?.unwrap_or_default();
    for kind in named.split(',').map(str::trim).filter(|kind| !kind.is_empty()) {
        if !KINDS.contains(&kind) {
            let known = KINDS.join(", ");
            return Err(ApiError::bad_request(
                format!("Kind takes these, separated by commas: {known}."),
                format!("Параметр Kind принимает через запятую: {known}."),
            ));
        }
        if !kinds.iter().any(|known| known == kind) {
            kinds.push(kind.to_owned());
        }
    }
    Ok(kinds)
}

/// `Limit`, from 1 to `most`.
pub(crate) fn limit(params: &Params, most: usize) -> Result<Option<usize>, ApiError> {
    let Some(digits) = params.digits("Limit", 9)? else { return Ok(None) };
    match digits.parse() {
        Ok(limit) if (1..=most).contains(&limit) => Ok(Some(limit)),
        _ => Err(ApiError::bad_request(
            format!("Limit must be a number from 1 to {most}."),
            format!("Параметр Limit должен быть числом от 1 до {most}."),
        )),
    }
}

/// The CSV that `Format` and `Separator` ask for; nothing for JSON.
pub(crate) fn csv(params: &Params) -> Result<Option<Csv>, ApiError> {
    match params.text("Format")?.unwrap_or("json") {
        "json" => Ok(None),
        "csv" => match params.text("Separator")?.unwrap_or(",") {
            "," | "comma" => Ok(Csv::new(',')),
            ";" | "semicolon" => Ok(Csv::new(';')),
            "tab" => Ok(Csv::new('\t')),
            _ => Err(ApiError::bad_request(
                "Separator must be comma, semicolon or tab.",
                "Параметр Separator должен быть comma, semicolon или tab.",
            )),
        },
        _ => Err(ApiError::bad_request(
            "Format must be json or csv.",
            "Параметр Format должен быть json или csv.",
        )),
    }
}

/// `GET /api/events/stream`: events as they happen (WHATWG, "Server-sent events").
async fn stream(call: &Call<'_>, params: &Params) -> Result<Answer, ApiError> {
    let app = call.app;
    let wanted = Wanted { kinds: kinds(params)?, series: rest::series(params)? };
    let Ok(slot) = std::sync::Arc::clone(&app.feed.streams).try_acquire_owned() else {
        return Err(ApiError::unavailable(
            "Too many event streams are open.",
            "Открыто слишком много потоков событий.",
        ));
    };
    // Before the database is read: what is written meanwhile comes at least once.
    let listener = app.feed.subscribe();
    let last = call
        .headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.trim().parse::<i64>().ok());
    let latest = app.history.latest().await?;
    let (missed, last) = match last {
        None => (Vec::new(), 0),
        Some(last) if last <= latest => (missed(&app.history, last, &wanted).await?, last),
        // Numbers of a database that another one has replaced: what is here is all that is left.
        Some(_) => (missed(&app.history, 0, &wanted).await?, 0),
    };
    let (sender, parts) = mpsc::channel(PARTS_MAX);
    let reader = app.auth.still_known(call);
    let stream = Stream { wanted, reader, last, sender, _slot: slot };
    tokio::spawn(stream.run(missed, listener));
    let mut answer = Response::new(AnswerBody::Parts(parts));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    // nginx would keep events back until it has a buffer full of them.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(answer)
}

/// Of the events after a number the newest, at most one more than is sent.
async fn missed(history: &History, no: i64, wanted: &Wanted) -> Result<Vec<Event>, ApiError> {
    let filter = EventFilter {
        kinds: wanted.kinds.clone(),
        series: wanted.series,
        limit: RESUME_MAX + 1,
        ..EventFilter::default()
    };
    history.events_after(no, filter).await
}

/// What a listener wants to hear of.
struct Wanted {
    kinds: Vec<String>,
    series: Option<KeySeries>,
}

impl Wanted {
    fn takes(&self, event: &Event) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && (self.series.is_none() || self.series == event.series)
    }
}

/// One stream, while somebody reads it.
struct Stream {
    wanted: Wanted,
    reader: StillKnown,
    /// Number of the last event sent.
    last: i64,
    sender: mpsc::Sender<io::Result<Bytes>>,
    _slot: OwnedSemaphorePermit,
}

impl Stream {
    /// Sends what was missed and then what comes, until the reader goes, the feed ends or the
    /// stream has lasted long enough.
    async fn run(
        mut self,
        missed: Vec<Event>,
        mut listener: broadcast::Receiver<std::sync::Arc<Event>>,
    ) {
        let mut end = std::pin::pin!(tokio::time::sleep(STREAM));
        let mut beat = tokio::time::interval(PING);
        // The first tick is at once, when the reader has just been let in.
        beat.tick().await;
        if !self.send(format!("retry: {RETRY_MILLIS}\n\n")).await {
            return;
        }
        let skipped = missed.len().saturating_sub(RESUME_MAX);
        if skipped > 0 && !self.send(lagged(None)).await {
            return;
        }
        for event in missed.iter().skip(skipped) {
            if !self.event(event).await {
                return;
            }
        }
        loop {
            let goes_on = tokio::select! {
                () = self.sender.closed() => return,
                () = &mut end => return,
                received = listener.recv() => match received {
                    Ok(event) => self.event(&event).await,
                    Err(RecvError::Lagged(lost)) => self.send(lagged(Some(lost))).await,
                    Err(RecvError::Closed) => return,
                },
                _ = beat.tick() => {
                    self.reader.holds() && self.send(": ping\n\n".to_owned()).await
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Sends an event unless it was sent or is not wanted; false when nobody reads.
    async fn event(&mut self, event: &Event) -> bool {
        if event.no <= self.last || !self.wanted.takes(event) {
            return true;
        }
        self.last = event.no;
        // A view of texts and numbers can always be written.
        let data = serde_json::to_string(&EventView::from(event)).unwrap_or_default();
        self.send(format!("id: {}\nevent: {}\ndata: {data}\n\n", event.no, event.kind)).await
    }

    async fn send(&self, text: String) -> bool {
        self.sender.send(Ok(Bytes::from(text))).await.is_ok()
    }
}

/// Says that events are missing here, and how many where that is known.
fn lagged(lost: Option<u64>) -> String {
    let lost = lost.map_or_else(|| "null".to_owned(), |lost| lost.to_string());
    format!("event: lagged\ndata: {{\"Lost\":{lost}}}\n\n")
}
