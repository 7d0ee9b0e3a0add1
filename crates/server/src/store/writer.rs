//! Group commit: one thread owns the journal, takes the turns that have piled up, writes them in
//! one transaction and then lets their replies go, in order.
//!
//! When a commit fails, no reply of the batch leaves as granted, and nothing is written any more:
//! the state in memory is ahead of the disk, so the server must stop and start again from it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use licence_core::journal::Record;
use tokio::sync::Notify;

use super::Journal;
use crate::history::Feed;

/// Turns that may wait for the disk. The driver makes a turn of up to a few hundred requests, so
/// this many mean that the disk hangs; then requests wait in the driver's own queue, which is
/// bounded and answers 503.
const TURNS_MAX: usize = 64;

/// Records in one transaction: some 10 MB of log at most.
const BATCH_RECORDS_MAX: usize = 8192;

/// Sends the replies of a turn; the argument tells whether its records are on disk.
pub type Release = Box<dyn FnOnce(bool) + Send>;

/// Records and the replies that rest on them.
pub struct Turn {
    /// What must be on disk first.
    pub records: Vec<Record>,
    /// Sends the replies.
    pub release: Release,
}

/// The thread that owns the journal.
#[derive(Debug)]
pub struct Writer {
    turns: Option<SyncSender<Turn>>,
    pending: Arc<AtomicUsize>,
    written: Arc<Notify>,
    failed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. `on_failure` is called once, from it, when the journal fails. What is
    /// written is published on `feed`, which is closed when the thread ends.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(
        mut journal: Box<dyn Journal>,
        on_failure: Box<dyn FnOnce() + Send>,
        feed: Feed,
    ) -> io::Result<Self> {
        let (turns, waiting) = sync_channel::<Turn>(TURNS_MAX);
        let pending = Arc::new(AtomicUsize::new(0));
        let written = Arc::new(Notify::new());
        let failed = Arc::new(AtomicBool::new(false));
        let done = Done {
            pending: Arc::clone(&pending),
            written: Arc::clone(&written),
            failed: Arc::clone(&failed),
        };
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
            run(journal.as_mut(), &waiting, &done, on_failure, &feed);
            feed.close();
        })?;
        Ok(Self { turns: Some(turns), pending, written, failed, thread: Some(thread) })
    }

    /// Whether a commit failed. The state in memory is then ahead of the disk, so nothing that rests
    /// on it may be answered as granted any more.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Whether turns wait for the disk: then replies without records must queue behind them,
    /// because they may rest on what is not yet written.
    pub fn is_busy(&self) -> bool {
        self.pending.load(Ordering::Acquire) > 0
    }

    /// Whether one more turn can be taken without waiting.
    pub fn has_room(&self) -> bool {
        self.pending.load(Ordering::Acquire) < TURNS_MAX
    }

    /// Returns once a batch was written since the last call, so that [`Self::has_room`] is worth
    /// another look.
    pub async fn wait_written(&self) {
        self.written.notified().await;
    }

    /// Hands a turn over. A turn that finds no room or no thread is released as not written.
    pub fn write(&self, turn: Turn) {
        let Some(turns) = &self.turns else {
            (turn.release)(false);
            return;
        };
        self.pending.fetch_add(1, Ordering::AcqRel);
        if let Err(TrySendError::Full(turn) | TrySendError::Disconnected(turn)) =
            turns.try_send(turn)
        {
            self.pending.fetch_sub(1, Ordering::AcqRel);
            (turn.release)(false);
        }
        // The disk takes no time in a simulation: the thread would take as long as the machine likes.
        #[cfg(test)]
        while turmoil::in_simulation() && self.is_busy() {
            std::thread::yield_now();
        }
    }

    /// Writes what is waiting and ends the thread.
    pub fn finish(&mut self) {
        self.turns = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the journal's thread panicked");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.finish();
    }
}

/// How the thread tells what it has done.
struct Done {
    pending: Arc<AtomicUsize>,
    written: Arc<Notify>,
    failed: Arc<AtomicBool>,
}

/// Tells of a thread that panicked: nobody else would, and whoever waits for the disk waits on.
impl Drop for Done {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failed.store(true, Ordering::Release);
            self.pending.store(0, Ordering::Release);
            self.written.notify_one();
        }
    }
}

fn run(
    journal: &mut dyn Journal,
    waiting: &Receiver<Turn>,
    done: &Done,
    on_failure: Box<dyn FnOnce() + Send>,
    feed: &Feed,
) {
    let mut on_failure = Some(on_failure);
    while let Ok(first) = waiting.recv() {
        let mut records = first.records;
        let mut releases = vec![first.release];
        while records.len() < BATCH_RECORDS_MAX
            && let Ok(mut turn) = waiting.try_recv()
        {
            records.append(&mut turn.records);
            releases.push(turn.release);
        }
        let is_written = on_failure.is_some() && commit(journal, &records);
        if !is_written && let Some(on_failure) = on_failure.take() {
            // Before the replies: whoever hears of the failure must find it here.
            done.failed.store(true, Ordering::Release);
            on_failure();
        }
        for release in releases {
            release(is_written);
            done.pending.fetch_sub(1, Ordering::AcqRel);
        }
        done.written.notify_one();
        if is_written {
            publish(journal, feed);
        }
    }
}

fn commit(journal: &mut dyn Journal, records: &[Record]) -> bool {
    if records.is_empty() {
        return true;
    }
    match journal.commit(records) {
        Ok(()) => true,
        Err(error) => {
            log::error!("the journal cannot be written, so nothing is granted: {error:?}");
            false
        }
    }
}

/// Shows what was written to those who listen. After the replies: nobody waits for a seat while
/// others watch.
fn publish(journal: &mut dyn Journal, feed: &Feed) {
    if !feed.has_listeners() {
        journal.skip_events();
        return;
    }
    match journal.take_events() {
        Ok(events) => feed.publish(events),
        Err(error) => log::warn!("what was written cannot be read back and shown: {error}"),
    }
}
