//! Shared session keys of ИС МП: one book for all infobases, kept by a task of its own.
//!
//! Nothing here touches licences: the book has its own task, its own file and its own failures, and a
//! server whose book is lost or whose disk is full grants seats as before. What is valid, who
//! refreshes and whom to remind is decided by `licence_ismp`; here is who may wait for whom, what is
//! on the disk before an answer leaves, and how the service is asked.
//!
//! | file | subject |
//! | --- | --- |
//! | [`functions`] | the functions by their names, for REST and for components |
//! | [`refresh`] | from "is a new key needed" to a key that is kept |
//! | [`exchange`] | calls of the service |
//! | `renew` | keys that the server renews by itself |
//! | [`replica`] | how a reserve server follows its main server, and acts without it |
//! | [`signer`] | the command that signs for people |
//! | [`store`] | the file |
//! | `task` | the task that owns the book |
//! | `texts` | what people are told |

pub mod exchange;
pub mod functions;
pub mod refresh;
mod renew;
pub mod replica;
pub mod signer;
pub mod store;
mod task;
mod texts;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use licence_core::time::Utc;
use licence_ismp::book::{Exchanged, Text};
use licence_ismp::record::Who;
use licence_ismp::refresh::Refreshing;
use licence_ismp::responsible::Rule;
use licence_ismp::secret::Fingerprint;
use licence_ismp::{Book, Directory, Inn, Source, State, StoreKey, TokenFormat};
use tokio::sync::{mpsc, oneshot, watch};

pub use licence_core::time::Now as Moments;

use self::refresh::Issued;
use self::signer::Signer;
use self::task::{Kind, Message};
use crate::access::Actor;
use crate::api::errors::ApiError;
use crate::driver::{AuditNote, Handle};
use crate::identity::Identity;
use crate::settings::Settings;

/// Messages that wait for the task. It answers some ten thousand in a second; a longer queue means
/// that the disk does not take what is written, and whoever comes then is told so.
const QUEUE: usize = 1024;

/// How long a stop waits for sign-ins under way: what the service has given must be kept, and a
/// system that waits for the stop is not patient for a minute.
const STOP_SECS_MAX: u64 = 20;

/// The book of session keys, for whoever asks. Cheap to clone; all clones are one book.
#[derive(Clone, Debug)]
pub struct Ismp {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    sender: mpsc::Sender<Message>,
    generation: watch::Receiver<u64>,
    steps: watch::Receiver<u64>,
    signer: Signer,
    counts: Counters,
    settings: Settings,
    handle: Handle,
    /// The folder of the settings, from which names of files count.
    folder: PathBuf,
    issued: Mutex<BTreeMap<StoreKey, Issued>>,
    /// Tasks that a stop waits for.
    under_way: watch::Sender<usize>,
}

/// Everything of the book that is no secret.
#[derive(Clone, Debug)]
pub struct Look {
    /// The keys, by their names.
    pub records: Vec<RecordView>,
    /// Who refreshes what.
    pub refreshing: Vec<(StoreKey, Refreshing)>,
    /// Rules of responsible persons.
    pub rules: Vec<Rule>,
    /// Organisations and installations.
    pub directory: Directory,
    /// Of the book.
    pub generation: u64,
    /// What is wrong with the file, if something is.
    pub problem: Option<Text>,
}

/// A key without the key.
#[derive(Clone, Debug)]
pub struct RecordView {
    /// What it is kept under.
    pub key: StoreKey,
    /// `ДействуетДо`.
    pub valid_until: Utc,
    /// How it stands.
    pub state: State,
    /// How it came.
    pub source: Source,
    /// Its form.
    pub format: TokenFormat,
    /// Who brought it.
    pub who: Who,
    /// For which organisation it was given, where that is known.
    pub inn: Option<Inn>,
    /// When it came.
    pub obtained: Utc,
    /// What is shown instead of it.
    pub fingerprint: Fingerprint,
}

/// How sign-ins have ended since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// A key came.
    pub given: u64,
    /// The service has refused, or was never reached.
    pub refused: u64,
    /// Nobody knows.
    pub unknown: u64,
}

#[derive(Debug, Default)]
struct Counters {
    given: AtomicU64,
    refused: AtomicU64,
    unknown: AtomicU64,
}

impl Counters {
    fn count(&self, result: &Exchanged) {
        let counter = match result {
            Exchanged::Given(_) => &self.given,
            Exchanged::Refused(_) => &self.refused,
            Exchanged::Unknown(_) => &self.unknown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Ismp {
    /// Reads the file and starts the task, which ends with the last clone. A file that cannot be
    /// read is put aside and the book begins empty: the server starts all the same. Blocks on the
    /// disk; within a runtime.
    pub fn start(file: &Path, identity: &Identity, settings: Settings, handle: Handle) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (book, store, problem) = store::Store::open(file, identity.ismp_key());
        let (generation_sender, generation) = watch::channel(book.generation());
        let (steps_sender, steps) = watch::channel(0);
        let task = task::Task::new(book, store, problem, generation_sender, steps_sender);
        tokio::spawn(task.run(receiver));
        let inner = Inner {
            sender,
            generation,
            steps,
            signer: Signer::default(),
            counts: Counters::default(),
            settings,
            handle,
            folder: file.parent().map(Path::to_owned).unwrap_or_default(),
            issued: Mutex::default(),
            under_way: watch::channel(0).0,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Waits for sign-ins under way, as long as a stop may take, and ends the task: nothing is
    /// written after it.
    pub async fn stop(&self) {
        let mut under_way = self.inner.under_way.subscribe();
        let bound = Duration::from_secs(STOP_SECS_MAX);
        let ending = tokio::time::timeout(bound, under_way.wait_for(|count| *count == 0));
        let has_ended = ending.await.is_ok();
        if !has_ended {
            log::warn!("sign-ins for session keys did not end within {STOP_SECS_MAX} s");
        }
        let (sender, stopped) = oneshot::channel();
        let told = self.inner.sender.send(Message::Stop(sender)).await;
        if told.is_ok() && stopped.await.is_err() {
            log::error!("the task of the session keys ended by itself");
        }
    }

    /// All that is no secret.
    ///
    /// # Errors
    ///
    /// 503 when the task is busy with its disk or has ended.
    pub fn look(&self) -> impl Future<Output = Result<Look, ApiError>> + Send + use<> {
        let ismp = self.clone();
        async move { ismp.told(Kind::Look, look).await }
    }

    /// Looks into the book.
    ///
    /// # Errors
    ///
    /// As [`Self::look`].
    pub async fn pass<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Book, Moments) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        self.told(Kind::Look, move |told| work(told.book, told.now)).await
    }

    /// Takes a step in the book that is not kept over a restart: leases.
    ///
    /// # Errors
    ///
    /// As [`Self::look`].
    pub async fn step<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Book, Moments) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        self.told(Kind::Step, move |told| work(told.book, told.now)).await
    }

    /// Changes the book. What it answers is on the disk by then; what cannot be written is taken
    /// back.
    ///
    /// # Errors
    ///
    /// 503 when the disk does not take it, and as [`Self::look`].
    pub async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Book, Moments) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        self.told(Kind::Change, move |told| work(told.book, told.now)).await
    }

    /// Changes the book by what can be had only once, such as a key that the service gave: it stays
    /// in memory when the disk does not take it, and is written as soon as it does.
    ///
    /// # Errors
    ///
    /// As [`Self::look`].
    pub async fn keep<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Book, Moments) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        self.told(Kind::Keep, move |told| work(told.book, told.now)).await
    }

    /// Tells the generation of the book whenever it grows.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.inner.generation.clone()
    }

    /// How sign-ins have ended.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { given, refused, unknown } = &self.inner.counts;
        Counts { given: read(given), refused: read(refused), unknown: read(unknown) }
    }

    /// Writes a line of the audit trail; one that does not take it is logged.
    pub async fn audit(&self, action: &'static str, subject: String, note: String, actor: &Actor) {
        let note = AuditNote { action, subject, note, ..AuditNote::default() };
        if let Err(error) = self.inner.handle.audit(note, actor).await {
            log::warn!("the audit trail does not take {action}: {error}");
        }
    }

    /// Something has happened to a lease or a key whenever this changes.
    fn steps(&self) -> watch::Receiver<u64> {
        self.inner.steps.clone()
    }

    fn issued(&self) -> MutexGuard<'_, BTreeMap<StoreKey, Issued>> {
        self.inner.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn told<T: Send + 'static>(
        &self,
        kind: Kind,
        work: impl FnOnce(task::Told<'_>) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let (message, answer) = Message::new(kind, work);
        self.inner.sender.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => busy(),
            mpsc::error::TrySendError::Closed(_) => ended(),
        })?;
        answer.await.map_err(|_| ended())?.ok_or_else(not_written)
    }
}

fn look(told: task::Told<'_>) -> Look {
    let task::Told { book, now, problem } = told;
    let view = |(key, record): (&StoreKey, &licence_ismp::TokenRecord)| RecordView {
        key: key.clone(),
        valid_until: record.valid_until,
        state: record.state,
        source: record.source,
        format: record.format,
        who: record.who.clone(),
        inn: record.inn.clone(),
        obtained: record.obtained,
        fingerprint: record.token.fingerprint(),
    };
    let refreshing = book.all_refreshing(now.mono);
    Look {
        records: book.records().map(view).collect(),
        refreshing: refreshing.map(|(key, refreshing)| (key.clone(), refreshing)).collect(),
        rules: book.rules().to_vec(),
        directory: book.directory().clone(),
        generation: book.generation(),
        problem: problem.cloned(),
    }
}

fn busy() -> ApiError {
    ApiError::unavailable(
        "Session keys are busy; try again.",
        "Сервис ключей сессии занят; повторите запрос.",
    )
}

fn ended() -> ApiError {
    ApiError::unavailable(
        "Session keys are not served: the server is stopping.",
        "Ключи сессии не обслуживаются: сервер завершает работу.",
    )
}

/// 503: the change was taken back.
fn not_written() -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "EIsmpStorage",
        "The session keys cannot be written to the disk, so nothing was changed.",
        "Ключи сессии не удалось записать на диск, поэтому ничего не изменено.",
    )
}
