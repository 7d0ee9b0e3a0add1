//! What happened and how the seats were used: the reading side of the database.
//!
//! Opens the database a second time, for reading only, so that a long report never waits for the
//! journal nor the journal for it. Nothing is written here.

use std::path::PathBuf;

use licence_core::key::{KeyNo, KeySeries};
use licence_core::time::Utc;

use crate::api::errors::ApiError;

/// Which events are wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EventFilter {
    /// From this moment on.
    pub from: Option<Utc>,
    /// Before this moment.
    pub to: Option<Utc>,
    /// Of these kinds (`denied`, `session_opened` …); all when empty.
    pub kinds: Vec<String>,
    /// Of this series.
    pub series: Option<KeySeries>,
    /// Whose subject, reason or detail contains this text, in any case.
    pub text: Option<String>,
    /// Older than the event with this number: the next page.
    pub before: Option<i64>,
    /// How many at most; the newest first.
    pub limit: usize,
}

/// One event as it is shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// Its number; later events have higher ones.
    pub no: i64,
    /// When.
    pub at: Utc,
    /// Kind: `audit`, `connection_closed`, `connection_opened`, `denied`, `key_arrived`,
    /// `key_removed`, `session_closed`, `session_opened`.
    pub kind: String,
    /// Id of the session or connection, or what an administrator changed.
    pub subject: Option<String>,
    /// The key.
    pub key_no: Option<KeyNo>,
    /// The series.
    pub series: Option<KeySeries>,
    /// Reason of an end, class of a refusal, or the action of an audit event.
    pub reason: Option<String>,
    /// More, as a JSON object.
    pub detail: Option<serde_json::Value>,
}

/// Use of a series in one span of time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UsePoint {
    /// Begin of the span.
    pub at: Utc,
    /// Most seats held at one moment of it.
    pub peak: u64,
    /// Seats that there were.
    pub seats: u64,
    /// Sessions opened in it.
    pub opened: u64,
    /// Refusals in it.
    pub denied: u64,
}

/// By what a report sums up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GroupBy {
    /// Application.
    Application,
    /// Computer.
    Computer,
    /// Infobase.
    Infobase,
    /// Series.
    Series,
    /// User.
    User,
}

/// One line of a report.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UseLine {
    /// The user, infobase, …
    pub name: String,
    /// Sessions that ended in the span, and those still open.
    pub sessions: u64,
    /// Their time within the span, in seconds.
    pub seconds: u64,
    /// The longest of them, in seconds.
    pub longest_seconds: u64,
    /// Refusals.
    pub denied: u64,
}

/// Reads the database.
#[derive(Clone, Debug)]
pub struct History {
    database: PathBuf,
}

impl History {
    /// Reads this database, which need not be there yet.
    pub const fn new(database: PathBuf) -> Self {
        Self { database }
    }

    /// Events, the newest first.
    ///
    /// # Errors
    ///
    /// 500 when the database cannot be read.
    pub async fn events(&self, filter: EventFilter) -> Result<Vec<Event>, ApiError> {
        let _ = (filter, &self.database);
        Err(ApiError::unfinished())
    }

    /// Use of a series from a moment to another, in spans of `step_seconds`; spans in which
    /// nothing is known are left out.
    ///
    /// # Errors
    ///
    /// 500 when the database cannot be read.
    pub async fn usage(
        &self,
        series: KeySeries,
        from: Utc,
        to: Utc,
        step_seconds: u32,
    ) -> Result<Vec<UsePoint>, ApiError> {
        let _ = (series, from, to, step_seconds);
        Err(ApiError::unfinished())
    }

    /// Use summed up, the longest first; at most `limit` lines.
    ///
    /// # Errors
    ///
    /// 500 when the database cannot be read.
    pub async fn summary(
        &self,
        by: GroupBy,
        series: Option<KeySeries>,
        from: Utc,
        to: Utc,
        limit: usize,
    ) -> Result<Vec<UseLine>, ApiError> {
        let _ = (by, series, from, to, limit);
        Err(ApiError::unfinished())
    }

    /// Most seats of a series held at one moment since `from`, and refusals since then.
    ///
    /// # Errors
    ///
    /// 500 when the database cannot be read.
    pub async fn since(&self, series: KeySeries, from: Utc) -> Result<(u64, u64), ApiError> {
        let points = self.usage(series, from, crate::clock::utc(), 86_400).await?;
        let peak = points.iter().map(|point| point.peak).max().unwrap_or(0);
        Ok((peak, points.iter().map(|point| point.denied).sum()))
    }
}
