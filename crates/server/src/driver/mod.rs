//! The driver: the one task that owns the licence service and the keyring.
//!
//! Everyone else holds a [`Handle`] and sends messages over a bounded channel. The task handles
//! what has piled up as one turn, hands the records to the journal's writer and lets the replies
//! go when they are on disk. It decides nothing about seats: that is the core's service.

mod administer;
mod alive;
mod binding;
mod cluster;
mod handle;
mod kept;
mod keys;
mod live;
mod memory;
mod object_keys;
mod parameters;
mod series;
mod shared;
mod task;
mod tokens;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use licence_core::access_code::CodeDigest;
use licence_core::binding::Match;
use licence_core::cluster::ClusterId;
use licence_core::journal::Snapshot;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::refusal::Refusal;
use licence_core::rules::{CheckedRules, QuotaId, QuotaNeed, RulesError};
use licence_core::seal::SigningKey;
use licence_core::service::{ClusterKey, Effect, EndedHere, Event, LicenceService, ServiceConfig};
use licence_core::session::{Connection, ConnectionId, Session, SessionId};
use licence_core::time::Utc;
use licence_core::wrap::WrapKey;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use cluster::Teller;

pub use administer::{AuditNote, DryRun, NOTE_CHARS_MAX, RefusedSession};
pub use alive::Alive;
pub use handle::Handle;
pub use kept::KeptSeat;
pub use keys::GivenBack;
pub use memory::{KeyAsked, KeyChoiceError, OfMemory, OwnPasswords};
pub use object_keys::ObjectKeyDenial;
pub use parameters::ParameterSources;
pub use shared::TakenFrom;
use task::Task;
pub use tokens::Proof;

use crate::binding::Changes;
use crate::clock;
use crate::history::Feed;
use crate::key_memory::Memories;
use crate::keyring::{InstallError, Keyring, KeyringError};
use crate::metrics::{Measured, Metrics};
use crate::rules_file::{RulesFile, RulesFileError};
use crate::store;
use crate::store::lock::{DataLock, LockError};
use crate::store::sqlite::SqliteJournal;
use crate::store::writer::Writer;
use crate::store::{Journal, Retention, StoreError};

/// Requests waiting for the driver. A component sends one at a time and a server at most a few
/// hundred sessions at once, so a full queue means the driver or the disk is stuck: answer 503 and
/// say so.
const QUEUE_MAX: usize = 4096;

/// What the driver needs to start.
#[derive(Debug)]
pub struct Setup {
    /// The database.
    pub database: PathBuf,
    /// Folder of the licence files.
    pub licences: PathBuf,
    /// File of series descriptors.
    pub series_file: PathBuf,
    /// File of the rules.
    pub rules: PathBuf,
    /// The server's identity.
    pub identity: Arc<SigningKey>,
    /// The key for which centres wrap the object keys of series.
    pub wrap_key: Arc<WrapKey>,
    /// Access codes of keys, set by the administrator.
    pub access_codes: BTreeMap<KeyNo, String>,
    /// Whether tokens are looked for: licences that are bound to one then wait for the first look.
    pub has_tokens: bool,
    /// The cluster that this server is a node of.
    pub cluster: Option<ClusterId>,
    /// The access codes of the cluster, as far as they are known; they count instead of the others.
    pub shared_codes: Option<BTreeMap<KeyNo, CodeDigest>>,
    /// Where denials, ends and transactions are counted.
    pub metrics: Arc<Metrics>,
    /// How long history is kept.
    pub keep: Retention,
    /// How the computer compares to what the identity is sealed to, and since when it differs.
    pub computer: (Match, Changes),
    /// How to count.
    pub service: ServiceConfig,
}

/// Why the driver did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The licence files or the series.
    #[error("the keys cannot be read")]
    Keyring(#[from] KeyringError),
    /// Another server has the data, or it cannot be locked.
    #[error("the data cannot be used")]
    Lock(#[from] LockError),
    /// The database.
    #[error("opening {path}")]
    Store {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The system gave no thread.
    #[error("no thread for the journal")]
    Thread(#[source] io::Error),
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The queue is full.
    #[error("the server is busy")]
    Busy,
    /// The licence was not installed.
    #[error("the licence was not installed")]
    Install(#[source] InstallError),
    /// The operating system gave no random bytes for an id.
    #[error("no id could be drawn")]
    Random,
    /// The rules cannot be put in force.
    #[error("the rules cannot be put in force")]
    Rules(#[source] RulesError),
    /// The file of the rules cannot be written or read.
    #[error("the file of the rules")]
    RulesFile(#[source] RulesFileError),
    /// Not granted.
    #[error("refused")]
    Refused(#[source] Refusal),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopped,
    /// It could not be written to disk, so it was not granted.
    #[error("the journal cannot be written")]
    Store,
}

/// A connection and its end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConnectionState {
    /// Its id.
    pub id: ConnectionId,
    /// What is known of it.
    pub connection: Connection,
    /// When it ends unless it is used.
    pub ends: Utc,
}

/// A session and its end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionState {
    /// Its id.
    pub id: SessionId,
    /// What is known of it.
    pub session: Session,
    /// When it ends unless it is touched.
    pub ends: Utc,
}

/// Totals of one series.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SeriesTotals {
    /// The series.
    pub series: KeySeries,
    /// Name of the product, as far as known.
    pub product_name: String,
    /// Installed keys.
    pub keys: usize,
    /// Connections.
    pub connections: usize,
    /// Sessions.
    pub sessions: usize,
    /// Seats of the usable keys.
    pub total: u64,
    /// Seats held.
    pub used: u64,
    /// Seats free.
    pub free: u64,
}

/// A started driver.
#[derive(Debug)]
pub struct Driver {
    /// Sends requests to it.
    pub handle: Handle,
    /// Ends when it was stopped; true when all is on disk.
    pub task: JoinHandle<bool>,
    /// Becomes true when the journal fails: from then on nothing is granted, and the server must end
    /// and start again from the disk.
    pub failed: watch::Receiver<bool>,
    /// What happens, as it is written.
    pub feed: Feed,
    /// Where the database was put that could not be read. The server then began with an empty one:
    /// sessions come back with their leases, history does not.
    pub replaced_database: Option<PathBuf>,
    /// For the node of a cluster.
    pub cluster: ClusterEnds,
}

/// What the driver tells the node of a cluster of its own accord. Whoever has no cluster drops it.
#[derive(Debug)]
pub struct ClusterEnds {
    /// The usable keys of a cluster, and how many seats of each are held or kept; told after each turn
    /// in which any of it changed.
    pub keys: watch::Receiver<BTreeMap<KeyNo, ClusterKey>>,
    /// The quotas of the rules in force, and how much of each is held; told after each turn in which
    /// any of it changed.
    pub quotas: watch::Receiver<BTreeMap<QuotaId, QuotaNeed>>,
    /// Sessions of those keys that ended. Bounded: of those that nobody takes out in time the cluster
    /// finds out by itself.
    pub ended: mpsc::Receiver<EndedHere>,
}

/// Reads keys and database and starts the task. Reads files, so not for an async thread that
/// others wait for.
///
/// # Errors
///
/// See [`StartError`].
pub fn start(setup: Setup) -> Result<Driver, StartError> {
    let lock = DataLock::take(&setup.database)?;
    let (mut journal, snapshot, replaced_database) = open_database(&setup.database, setup.keep)
        .map_err(|source| StartError::Store { path: setup.database.clone(), source })?;
    let keyring = Keyring::load(
        setup.licences,
        setup.series_file,
        setup.identity.public(),
        setup.access_codes,
    )?
    .with_object_keys(setup.wrap_key)
    .with_cluster(setup.cluster)
    .with_shared_codes(setup.shared_codes, setup.service.access_codes);
    let keyring = if setup.has_tokens { keyring.with_tokens_awaited() } else { keyring };
    let is_restored = journal
        .take_restored()
        .map_err(|source| StartError::Store { path: setup.database.clone(), source })?;
    let journal = Box::new(Measured::new(Box::new(journal), &setup.metrics));
    let opened = Opened { keyring, journal, snapshot, rules: RulesFile::open(setup.rules) };
    let Setup { identity, mut service, metrics, computer, .. } = setup;
    // Those who hold a lease come back within some heartbeats; strangers wait for them.
    service.recovering |= is_restored || replaced_database.is_some();
    let driver = start_with(opened, identity, service, metrics, computer, Some(lock))?;
    Ok(Driver { replaced_database, ..driver })
}

/// Opens the database. One that cannot be read is put aside and replaced by an empty one: a server
/// that grants from scratch is better for those who work than none.
fn open_database(
    path: &Path,
    keep: Retention,
) -> Result<(SqliteJournal, Snapshot, Option<PathBuf>), StoreError> {
    let open = || {
        let mut journal = SqliteJournal::open(path, keep.clone())?;
        let snapshot = journal.load()?;
        Ok((journal, snapshot))
    };
    match open() {
        Ok((journal, snapshot)) => Ok((journal, snapshot, None)),
        Err(StoreError::Damaged(why)) => {
            let aside = store::quarantine(path, clock::utc()).map_err(StoreError::Quarantine)?;
            log::error!(
                "the database cannot be read ({why}); it was put aside as {} and an empty one takes \
                 its place: history before this moment is only there",
                aside.display()
            );
            let (journal, snapshot) = open()?;
            Ok((journal, snapshot, Some(aside)))
        }
        Err(error) => Err(error),
    }
}

/// What was read from the disk.
struct Opened {
    keyring: Keyring,
    journal: Box<dyn Journal>,
    snapshot: Snapshot,
    rules: (RulesFile, CheckedRules),
}

fn start_with(
    opened: Opened,
    identity: Arc<SigningKey>,
    config: ServiceConfig,
    metrics: Arc<Metrics>,
    (found, changes): (Match, Changes),
    lock: Option<DataLock>,
) -> Result<Driver, StartError> {
    let Opened { keyring, journal, mut snapshot, rules: (rules_file, rules) } = opened;
    let now = clock::now();
    let (sessions, connections) = (snapshot.sessions.len(), snapshot.connections.len());
    let key_memories = Memories::new(std::mem::take(&mut snapshot.key_memories));
    if snapshot.utc_seen.is_none() {
        // Books that are empty, beside licences: the calendar is as far as the latest of them, or a
        // clock set back would prolong their terms.
        snapshot.utc_seen = keyring.latest_issue().filter(|issued| *issued > now.utc);
    }
    let (mut service, mut effects) =
        LicenceService::restore(config, keyring.protection_keys(), snapshot, now);
    // After restoring: only then it is known which moment is believed.
    let utc = service.utc(now);
    let keyring = keyring.with_computer(found, changes, utc);
    for key in keyring.protection_keys() {
        if service.key(key.key_no).is_some_and(|pooled| pooled.key.obstacle != key.obstacle) {
            effects.extend(service.handle(Event::KeyChanged(key), now));
        }
    }
    // After restoring: rules are for sessions that open, those restored keep what they have.
    effects.extend(service.handle(Event::RulesChanged(rules), now));
    if let Some(secs) = service.recovering_secs(now) {
        log::warn!(
            "who is at work is not in the books: for {secs} s only sessions with a lease get seats"
        );
    }
    if sessions > 0 {
        log::info!(
            "restored {sessions} sessions and {connections} connections, each for a full period"
        );
    }
    let behind = service.clock_set_back_millis(now);
    if behind > 60_000 {
        log::warn!(
            "the clock is {} s behind the latest time seen; terms follow that time",
            behind / 1000
        );
    }
    if let Some(doubt) = service.clock_doubt(now) {
        log::warn!(
            "the clock shows {}, which is too far ahead of the last time seen to be believed; terms \
             are counted as if it were {}",
            now.utc,
            service.utc(now)
        );
        log::info!("the clock is believed after {} s of running with it", doubt.left().as_secs());
    }
    let (fail, failed) = watch::channel(false);
    let on_failure = Box::new(move || {
        fail.send_replace(true);
    });
    let feed = Feed::default();
    let writer = Writer::start(journal, on_failure, feed.clone()).map_err(StartError::Thread)?;
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    let (teller, cluster) = Teller::new();
    let mut task = Task::new(
        service,
        keyring,
        key_memories,
        rules_file,
        writer,
        receiver,
        metrics,
        lock,
        teller,
    );
    task.carry_out_restored(effects.into_iter().filter_map(|effect| match effect {
        Effect::Persist(record) => Some(record),
        Effect::Reply(..) => None,
    }));
    let task = tokio::spawn(task.run());
    let handle = Handle::new(sender, identity);
    Ok(Driver { handle, task, failed, feed, replaced_database: None, cluster })
}

#[cfg(test)]
mod tests;
