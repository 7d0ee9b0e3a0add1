//! The reserve: how the book of one server follows that of another, and who acts meanwhile.
//!
//! A server whose settings name a main server (`[ISMP] Main`) asks it for its book every few seconds
//! and answers reading functions from its own copy. What changes something is done by the main
//! server; only once that has not answered for as long as a lease lives does the reserve act on its
//! own, and it tells the main server afterwards. Which record counts is decided by
//! [`licence_ismp::follow`], which function goes to the main server by [`relay`]. Nothing here touches
//! licences.

pub(crate) mod link;
pub(crate) mod relay;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use licence_core::language::Language;
use licence_core::protocol::ErrorBody;
use licence_core::seal::hex_upper;
use licence_core::time::{MonoTime, Utc};
use licence_ismp::book::Text;
use licence_ismp::refresh::LEASE_LIFE;
use licence_ismp::saved::{SavedBook, SavedRecord};
use licence_ismp::{Book, SessionKey};
use serde::{Deserialize, Serialize};

use self::link::{Asked, MainError, MainServer};
use crate::api::App;
use crate::atomic_file::{self, Readers};
use crate::clock;
use crate::config::Config;
use crate::console::frame::encoded;
use crate::link::CONNECT_BOUND;
use crate::random::{self, RandomError};

/// How long the main server may take for its book: some MiB in the largest case.
const BOOK_BOUND: Duration = Duration::from_secs(10);

/// Longest book, in bytes: 2000 keys of 16 KiB, organisations and rules.
const BOOK_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Longest answer of a relayed function, in bytes: one key of 16 KiB and its texts.
const RELAY_BYTES_MAX: usize = 256 * 1024;

/// Records of one call that gives them to the main server: with keys of the longest kind they stay
/// below the 256 KiB of a message.
pub(crate) const GIVEN_MAX: usize = 12;

/// Longest file that says since when this server acts on its own, in bytes.
const ALONE_BYTES_MAX: u64 = 1024;

/// How often and how soon.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    /// How often the main server is asked.
    pub poll: Duration,
    /// How long it must not have answered before this server acts on its own: by then every lease
    /// that it has given out has run out, so nobody is typing a PIN for its challenge.
    pub take_over: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { poll: Duration::from_secs(5), take_over: LEASE_LIFE }
    }
}

/// How a server stands to its main server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Standing {
    /// The settings name none: this is a main server.
    Main,
    /// It answers.
    Following,
    /// It has not answered lately; for so long nothing is changed here.
    Waiting(Duration),
    /// It has not answered for long: this server acts on its own.
    Alone,
    /// The settings name none that can be.
    Misset(Text),
}

/// What a reserve knows of its main server, and what marks a main server for its reserves.
#[derive(Debug)]
pub struct Replica {
    pace: Pace,
    file: PathBuf,
    /// Of this process: a generation says nothing to whoever has seen it from another one.
    instance: String,
    state: Mutex<State>,
    /// One look at a time.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    main: Option<MainServer>,
    /// The start, or the last answer.
    since: MonoTime,
    /// Why the last look failed.
    failure: Option<String>,
    /// Instance and generation that were seen last.
    seen: Option<(String, u64)>,
    alone_since: Option<Utc>,
}

/// The file that says since when this server acts on its own.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct AloneFile {
    since: Utc,
}

/// `GET /api/ismp/replica`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct BookAnswer {
    /// Marks the process that answers.
    pub(crate) instance: String,
    /// Of the book.
    pub(crate) generation: u64,
    /// The whole book with its keys; nothing when the caller has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) book: Option<SavedBook>,
}

/// `PUT /api/ismp/replica`: what a reserve has got meanwhile.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Given {
    /// At most [`GIVEN_MAX`].
    pub(crate) records: Vec<SavedRecord>,
}

impl Replica {
    /// Nothing known yet. `file` says after a restart since when this server acts on its own.
    ///
    /// # Errors
    ///
    /// Without random bytes.
    pub fn new(file: PathBuf, pace: Pace, now: MonoTime) -> Result<Self, RandomError> {
        let instance = hex_upper(&random::id_bytes()?);
        let state = State {
            main: None,
            since: now,
            failure: None,
            seen: None,
            alone_since: read_alone(&file),
        };
        let looking = tokio::sync::Mutex::default();
        Ok(Self { pace, file, instance, state: Mutex::new(state), looking })
    }

    /// Marks this process for reserves.
    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    /// How this server stands to its main server at the moment.
    pub fn standing(&self, config: &Config) -> Standing {
        match main_of(config) {
            Ok(None) => Standing::Main,
            Err(error) => Standing::Misset(text_of(error)),
            Ok(Some(main)) => {
                let now = clock::mono();
                let state = self.state_of(&main, now);
                let silent = now.since(state.since);
                if state.failure.is_none() {
                    Standing::Following
                } else if silent >= self.pace.take_over {
                    Standing::Alone
                } else {
                    Standing::Waiting(self.pace.take_over.saturating_sub(silent))
                }
            }
        }
    }

    /// Seconds since the main server answered last, or since the start; nothing on a main server.
    pub fn age_secs(&self, config: &Config) -> Option<f64> {
        let main = main_of(config).ok().flatten()?;
        let now = clock::mono();
        Some(now.since(self.state_of(&main, now).since).as_secs_f64())
    }

    /// Why the main server did not answer last, in English.
    pub fn failure(&self) -> Option<String> {
        self.state().failure.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of this main server; of another one than before, nothing.
    fn state_of(&self, main: &MainServer, now: MonoTime) -> MutexGuard<'_, State> {
        let mut state = self.state();
        if state.main.as_ref() != Some(main) {
            if state.main.is_some() {
                state.since = now;
            }
            state.main = Some(main.clone());
            state.failure = None;
            state.seen = None;
        }
        state
    }

    /// From here on this server acts on its own, and a restart knows it.
    fn go_alone(&self, utc: Utc) {
        let mut state = self.state();
        if state.alone_since.is_some() {
            return;
        }
        state.alone_since = Some(utc);
        log::warn!("session keys: the main server does not answer; this server acts on its own");
        self.write_alone(Some(utc));
    }

    /// Keeps the moment for after a restart, or forgets it.
    fn write_alone(&self, since: Option<Utc>) {
        let outcome = match since {
            Some(since) => serde_json::to_vec(&AloneFile { since })
                .map_err(std::io::Error::other)
                .and_then(|bytes| atomic_file::replace(&self.file, &bytes, Readers::Owner)),
            None => match std::fs::remove_file(&self.file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            },
        };
        if let Err(error) = outcome {
            log::error!("{}: {error}", self.file.display());
        }
    }
}

fn read_alone(file: &Path) -> Option<Utc> {
    use std::io::Read;
    let mut text = String::new();
    let opened = std::fs::File::open(file).ok()?;
    opened.take(ALONE_BYTES_MAX).read_to_string(&mut text).ok()?;
    let read: Result<AloneFile, _> = serde_json::from_str(&text);
    read.inspect_err(|error| log::error!("{}: {error}", file.display())).ok().map(|read| read.since)
}

/// The main server of the settings; nothing where they name none.
fn main_of(config: &Config) -> Result<Option<MainServer>, MainError> {
    let ismp = &config.ismp;
    if !ismp.enabled {
        return Ok(None);
    }
    let Some(address) = &ismp.main else { return Ok(None) };
    let token = ismp.main_token.as_ref().map_or("", |hidden| &hidden.0);
    MainServer::new(address, ismp.main_pin, token).map(Some)
}

fn text_of(error: MainError) -> Text {
    Text { russian: error.russian().to_owned(), english: error.to_string() }
}

/// Looks at the main server now and then, for as long as it is let run.
pub async fn run(app: Arc<App>) {
    let mut ticks = tokio::time::interval(app.ismp_replica.pace.poll);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        pull(&app).await;
    }
}

/// One look at the main server, whose book this one is afterwards. Does nothing on a main server.
pub async fn pull(app: &App) {
    let replica = &app.ismp_replica;
    let Ok(Some(main)) = main_of(&app.settings.get()) else { return };
    let _turn = replica.looking.lock().await;
    let outcome = Box::pin(look(app, &main)).await;
    let mut state = replica.state_of(&main, clock::mono());
    match outcome {
        Ok(()) => {
            if state.failure.take().is_some() {
                log::info!("session keys: the main server {} answers again", main.address());
            }
            state.since = clock::mono();
        }
        Err(why) => {
            if state.failure.is_none() {
                log::warn!("session keys: the main server {}: {why}", main.address());
            }
            state.failure = Some(why);
        }
    }
}

/// Takes the book over, gives what is newer here, and comes home from acting alone.
async fn look(app: &App, main: &MainServer) -> Result<(), String> {
    let replica = &app.ismp_replica;
    let (seen, alone_since) = {
        let state = replica.state_of(main, clock::mono());
        (state.seen.clone(), state.alone_since)
    };
    // Everything is compared while something may have come here.
    let seen = seen.filter(|_| alone_since.is_none());
    let path = match &seen {
        Some((instance, generation)) => {
            format!("/api/ismp/replica?Since={generation}&Instance={}", encoded(instance))
        }
        None => "/api/ismp/replica".to_owned(),
    };
    let began = clock::utc();
    let answer = asked(main, "GET", path, Vec::new(), BOOK_BOUND, BOOK_BYTES_MAX).await?;
    let answer: BookAnswer = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
    let Some(saved) = answer.book else { return Ok(()) };
    let (theirs, lost) = Book::open(saved, |_, token| SessionKey::new(token).ok())
        .map_err(|error| error.to_string())?;
    if !lost.is_empty() {
        log::warn!("session keys: {} of the main server's cannot be used", lost.len());
    }
    let followed = app.ismp.change(move |book, now| {
        let followed = book.follow(theirs, alone_since);
        let record = |key| {
            let record = book.record(key)?;
            Some(SavedRecord::of(key, record, record.token.reveal().to_owned()))
        };
        let records: Vec<_> = followed.ours.iter().filter_map(record).collect();
        (records, book.is_exchanging(now.mono), book.awaits_signatures(now.mono))
    });
    let (records, is_exchanging, awaits_signatures) =
        followed.await.map_err(|error| error.to_string())?;
    for batch in records.chunks(GIVEN_MAX) {
        let given = Given { records: batch.to_vec() };
        let body = serde_json::to_vec(&given).map_err(|error| error.to_string())?;
        let path = "/api/ismp/replica".to_owned();
        asked(main, "PUT", path, body, BOOK_BOUND, RELAY_BYTES_MAX).await?;
    }
    let mut state = replica.state_of(main, clock::mono());
    if let Some(since) = state.alone_since {
        // What is being asked for at this moment counts from before the look.
        let since = if is_exchanging { since } else { began };
        state.alone_since = awaits_signatures.then_some(since);
        replica.write_alone(state.alone_since);
    }
    state.seen = Some((answer.instance, answer.generation));
    Ok(())
}

/// One call whose answer must be 2xx.
async fn asked(
    main: &MainServer,
    method: &'static str,
    path: String,
    body: Vec<u8>,
    bound: Duration,
    bytes_max: usize,
) -> Result<Bytes, String> {
    let (connect, language) = (CONNECT_BOUND, Language::English);
    let asked = Asked { method, path, body, connect, bound, bytes_max, language };
    let (status, body) = link::ask(main, asked).await.map_err(|error| link::told(&error))?;
    if status.is_success() {
        return Ok(body);
    }
    let refusal: Option<ErrorBody> = serde_json::from_slice(&body).ok();
    Err(refusal.map_or_else(|| format!("it answers {status}"), |refusal| refusal.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moment_of_acting_alone_outlives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ismp.alone");
        let replica = || Replica::new(file.clone(), Pace::default(), MonoTime::default()).unwrap();
        let since: Utc = "2026-11-22T12:00:00Z".parse().unwrap();
        replica().go_alone(since);
        assert_eq!(replica().state().alone_since, Some(since));
        replica().go_alone(since.after(Duration::from_secs(60)));
        assert_eq!(replica().state().alone_since, Some(since), "the first moment counts");
        replica().write_alone(None);
        assert_eq!(replica().state().alone_since, None);
    }

    #[test]
    fn batch_of_the_longest_keys_fits_into_a_message() {
        let longest = licence_ismp::secret::SESSION_KEY_BYTES_MAX + 4 * 1024;
        assert!(GIVEN_MAX * longest <= crate::api::params::BODY_BYTES_MAX);
    }
}
