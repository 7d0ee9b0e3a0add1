//! The task that owns the book: one message after the other, and the disk before the answer.
//!
//! Knows nothing of what a message does. What changes the book is written before whoever asked is
//! told; what cannot be written is taken back, or kept in memory and tried again, as the message says.

use std::time::Duration;

use licence_ismp::Book;
use licence_ismp::book::Text;
use tokio::sync::{mpsc, oneshot, watch};

use super::Moments;
use super::store::Store;
use super::texts;
use crate::clock;

/// How long after a failed write the next one is tried: a full disk has room again when somebody has
/// made some.
const RETRY: Duration = Duration::from_secs(5);

/// What a message does to the book.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// It only looks.
    Look,
    /// It takes a step that is not kept over a restart.
    Step,
    /// It changes what is kept; taken back when it cannot be written.
    Change,
    /// It changes what is kept; stays in memory when it cannot be written.
    Keep,
}

/// What a message is given.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub(super) book: &'a mut Book,
    pub(super) now: Moments,
    pub(super) problem: Option<&'a Text>,
}

type Reply = Box<dyn FnOnce(bool) + Send>;

/// Something to be done with the book.
pub(super) enum Message {
    /// Ends the task when all before it is done.
    Stop(oneshot::Sender<()>),
    /// This, and then the reply is told whether it is on the disk.
    Work { kind: Kind, work: Box<dyn FnOnce(Told<'_>) -> Reply + Send> },
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stop(_) => f.write_str("Stop"),
            Self::Work { kind, .. } => write!(f, "Work({kind:?})"),
        }
    }
}

impl Message {
    /// A message, and where its answer comes; nothing as the answer when the change was taken back.
    pub(super) fn new<T: Send + 'static>(
        kind: Kind,
        work: impl FnOnce(Told<'_>) -> T + Send + 'static,
    ) -> (Self, oneshot::Receiver<Option<T>>) {
        let (sender, answer) = oneshot::channel();
        let work = move |told: Told<'_>| -> Reply {
            let done = work(told);
            Box::new(move |is_written| {
                if sender.send(is_written.then_some(done)).is_err() {
                    log::debug!("whoever asked for a session key has gone");
                }
            })
        };
        (Self::Work { kind, work: Box::new(work) }, answer)
    }
}

/// The task.
#[derive(Debug)]
pub(super) struct Task {
    book: Book,
    store: Store,
    /// What is wrong with the file.
    problem: Option<Text>,
    /// The book has grown since the last write.
    is_dirty: bool,
    generation: watch::Sender<u64>,
    steps: watch::Sender<u64>,
}

impl Task {
    pub(super) fn new(
        book: Book,
        store: Store,
        problem: Option<Text>,
        generation: watch::Sender<u64>,
        steps: watch::Sender<u64>,
    ) -> Self {
        Self { book, store, problem, is_dirty: false, generation, steps }
    }

    /// Works until it is told to stop, or nobody is left who could ask.
    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        loop {
            let message = if self.is_dirty {
                match tokio::time::timeout(RETRY, messages.recv()).await {
                    Ok(message) => message,
                    Err(_) => {
                        self.write().await;
                        continue;
                    }
                }
            } else {
                messages.recv().await
            };
            match message {
                None => break,
                Some(Message::Stop(stopped)) => {
                    if self.is_dirty {
                        self.write().await;
                    }
                    messages.close();
                    if stopped.send(()).is_err() {
                        log::debug!("nobody waits for the end of the session keys");
                    }
                    break;
                }
                Some(Message::Work { kind, work }) => self.work(kind, work).await,
            }
        }
    }

    async fn work(&mut self, kind: Kind, work: Box<dyn FnOnce(Told<'_>) -> Reply + Send>) {
        let before = (kind == Kind::Change).then(|| self.book.clone());
        let generation = self.book.generation();
        let told = Told { book: &mut self.book, now: clock::now(), problem: self.problem.as_ref() };
        let reply = work(told);
        let mut is_done = true;
        if self.book.generation() != generation {
            self.is_dirty = true;
            let is_written = self.write().await;
            if let (false, Some(before)) = (is_written, before) {
                self.book = before;
                is_done = false;
                // What was there is on the disk, unless something else still waits for it.
                self.is_dirty = true;
            }
        }
        self.generation.send_if_modified(|known| {
            let is_other = *known != self.book.generation();
            *known = self.book.generation();
            is_other
        });
        if kind != Kind::Look {
            self.steps.send_modify(|steps| *steps += 1);
        }
        reply(is_done);
    }

    /// Writes the book. False when that did not work.
    async fn write(&mut self) -> bool {
        let written = match self.store.sealed(&self.book) {
            Ok(bytes) => self.store.write(bytes).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => {
                self.is_dirty = false;
                self.problem = None;
                true
            }
            Err(error) => {
                if self.problem.is_none() {
                    log::error!("the session keys cannot be written: {error}");
                }
                self.problem = Some(texts::not_written());
                false
            }
        }
    }
}
