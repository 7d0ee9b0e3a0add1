//! What happened and how the seats were used: the reading side of the database.
//!
//! Opens the database a second time, for reading only, so that a long report never waits for the
//! journal nor the journal for it. Nothing is written here.

pub mod csv;
mod events;
mod export;
mod feed;
pub(crate) mod rows;
mod summary;
mod usage;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use licence_core::key::{KeyNo, KeySeries};
use licence_core::time::Utc;
use rusqlite::{Connection, ErrorCode, InterruptHandle};
use tokio::sync::{Semaphore, oneshot};

use crate::api::errors::ApiError;
use crate::clock;
use crate::store::Retention;
use summary::Summary;

pub use export::ExportFormat;
pub use feed::{Feed, STREAMS_MAX};
pub use wire::EventView;

/// The kinds of events.
pub const KINDS: [&str; 8] = [
    "audit",
    "connection_closed",
    "connection_opened",
    "denied",
    "key_arrived",
    "key_removed",
    "session_closed",
    "session_opened",
];

/// Queries at one time. Each takes a thread and up to some MB of page cache; whoever comes third
/// waits.
const QUERIES_MAX: usize = 2;

/// How long a query may wait for its turn, and how long it may then take. A report of a year on a
/// slow disk takes some seconds.
const QUERY_SECS_MAX: u64 = 10;

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
    /// Kind, one of [`KINDS`].
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
    /// Most seats held at one moment of it; 0 where no seat was held, or nobody counted.
    pub peak: u64,
    /// Seats that there were; 0 where none was held.
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
    /// Sessions that were open within the span, those still open among them.
    pub sessions: u64,
    /// Their time within the span, in seconds.
    pub seconds: u64,
    /// The longest time of one of them within the span, in seconds.
    pub longest_seconds: u64,
    /// Refusals.
    pub denied: u64,
}

/// Refusals of one series for one reason.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DenialLine {
    /// The series.
    pub series: Option<KeySeries>,
    /// Class of the refusals.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// The latest.
    pub last: Utc,
}

/// Reads the database. Clones share their bound on queries.
#[derive(Clone, Debug)]
pub struct History {
    database: PathBuf,
    queries: Arc<Semaphore>,
    retention: Retention,
}

impl History {
    /// Reads this database, which need not be there yet.
    pub fn new(database: PathBuf) -> Self {
        let queries = Arc::new(Semaphore::new(QUERIES_MAX));
        Self { database, queries, retention: Retention::default() }
    }

    /// How long the history is kept. The journal takes it from here, the settings put it here.
    pub const fn retention(&self) -> &Retention {
        &self.retention
    }

    /// Events, the newest first.
    ///
    /// # Errors
    ///
    /// 500 when the database cannot be read; 503 when that takes too long.
    pub async fn events(&self, filter: EventFilter) -> Result<Vec<Event>, ApiError> {
        self.read(move |db| events::list(db, &filter)).await
    }

    /// Of the events after the one with this number the newest `limit`, the oldest of them first;
    /// of the filter, `text` is left aside.
    ///
    /// # Errors
    ///
    /// 500 when the database cannot be read; 503 when that takes too long.
    pub async fn events_after(&self, no: i64, filter: EventFilter) -> Result<Vec<Event>, ApiError> {
        self.read(move |db| events::after(db, no, &filter)).await
    }

    /// Number of the latest event; 0 when there is none.
    ///
    /// # Errors
    ///
    /// 500 when the database cannot be read; 503 when that takes too long.
    pub async fn latest(&self) -> Result<i64, ApiError> {
        self.read(events::latest).await
    }

    /// Use of a series from a moment to another, in spans of `step_seconds` of the calendar in UTC,
    /// five minutes at least; spans in which nothing is known are left out.
    ///
    /// # Errors
    ///
    /// 500 when the database cannot be read; 503 when that takes too long.
    pub async fn usage(
        &self,
        series: KeySeries,
        from: Utc,
        to: Utc,
        step_seconds: u32,
    ) -> Result<Vec<UsePoint>, ApiError> {
        self.read(move |db| usage::points(db, series, from, to, step_seconds)).await
    }

    /// Use summed up, the longest first; at most `limit` lines.
    ///
    /// # Errors
    ///
    /// 500 when the database cannot be read; 503 when that takes too long.
    pub async fn summary(
        &self,
        by: GroupBy,
        series: Option<KeySeries>,
        from: Utc,
        to: Utc,
        limit: usize,
    ) -> Result<Vec<UseLine>, ApiError> {
        let wanted = Summary { by, series, from, to, limit, now: clock::utc() };
        self.read(move |db| summary::lines(db, &wanted)).await
    }

    /// Refusals by series and reason, the most frequent first; at most `limit` lines.
    ///
    /// # Errors
    ///
    /// 500 when the database cannot be read; 503 when that takes too long.
    pub async fn denials(
        &self,
        series: Option<KeySeries>,
        from: Utc,
        to: Utc,
        limit: usize,
    ) -> Result<Vec<DenialLine>, ApiError> {
        self.read(move |db| summary::denials(db, series, from, to, limit)).await
    }

    /// Most seats of a series held at one moment since `from`, and refusals since then.
    ///
    /// # Errors
    ///
    /// 500 when the database cannot be read; 503 when that takes too long.
    pub async fn since(&self, series: KeySeries, from: Utc) -> Result<(u64, u64), ApiError> {
        self.read(move |db| usage::since(db, series, from)).await
    }

    /// The series of which some use is known, also those whose keys are gone.
    ///
    /// # Errors
    ///
    /// 500 when the database cannot be read; 503 when that takes too long.
    pub async fn series(&self) -> Result<Vec<KeySeries>, ApiError> {
        self.read(usage::series).await
    }

    /// Runs a query on a thread of its own. One that takes too long is interrupted, and so is one
    /// whose asker has gone.
    async fn read<T, F>(&self, query: F) -> Result<T, ApiError>
    where
        T: Default + Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.read_within(Duration::from_secs(QUERY_SECS_MAX), query).await
    }

    async fn read_within<T, F>(&self, bound: Duration, query: F) -> Result<T, ApiError>
    where
        T: Default + Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let queries = Arc::clone(&self.queries);
        let Ok(Ok(turn)) = tokio::time::timeout(bound, queries.acquire_owned()).await else {
            return Err(too_slow());
        };
        let database = self.database.clone();
        let (send_handle, handle) = oneshot::channel();
        let task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            if !database.exists() {
                return Ok(T::default());
            }
            let db = rows::open(&database)?;
            // Nobody waits any more, or somebody does: either way the query may begin.
            drop(send_handle.send(db.get_interrupt_handle()));
            query(&db)
        });
        let _interrupt = Interrupt(handle);
        match tokio::time::timeout(bound, task).await {
            Ok(Ok(Ok(found))) => Ok(found),
            Ok(Ok(Err(error))) => Err(failed(&error)),
            Ok(Err(error)) => Err(ApiError::broken(&error)),
            Err(_) => Err(too_slow()),
        }
    }
}

/// Interrupts a query when it goes; one that is done is not harmed.
struct Interrupt(oneshot::Receiver<InterruptHandle>);

impl Drop for Interrupt {
    fn drop(&mut self) {
        if let Ok(handle) = self.0.try_recv() {
            handle.interrupt();
        }
    }
}

fn failed(error: &rusqlite::Error) -> ApiError {
    if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) {
        too_slow()
    } else {
        ApiError::broken(error)
    }
}

fn too_slow() -> ApiError {
    ApiError::unavailable(
        "Reading the history takes too long; narrow the span (From, To).",
        "Чтение истории занимает слишком много времени; сузьте период (From, To).",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::SqliteJournal;

    /// Long enough for a slow machine, and the end of a test that would hang.
    const BOUND: Duration = Duration::from_secs(30);

    /// Counts without end.
    fn endless(db: &Connection) -> rusqlite::Result<i64> {
        let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
                   SELECT count(*) FROM n";
        db.query_row(sql, [], |row| row.get(0))
    }

    #[tokio::test]
    async fn query_that_takes_too_long_is_interrupted_and_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j.db");
        let _journal = SqliteJournal::open(&path, Retention::default()).unwrap();
        let history = History::new(path);
        let slow = || history.read_within(Duration::from_millis(300), endless);
        let (first, second) = tokio::join!(slow(), slow());
        for outcome in [first, second] {
            assert_eq!(outcome.unwrap_err().status, 503);
        }
        let turns = history.queries.acquire_many(QUERIES_MAX as u32);
        drop(tokio::time::timeout(BOUND, turns).await.unwrap().unwrap());
        assert_eq!(history.latest().await, Ok(0));
    }

    #[tokio::test]
    async fn database_that_is_not_there_has_no_history() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::new(folder.path().join("j.db"));
        assert_eq!(history.events(EventFilter::default()).await, Ok(Vec::new()));
        assert!(!folder.path().join("j.db").exists());
    }
}
