//! The loop: take what has piled up, handle it, write, reply, sleep until the next deadline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use licence_core::journal::Record;
use licence_core::key::KeyNo;
use licence_core::series::SeriesDescriptor;
use licence_core::service::{Effect, Event, LicenceService, Reply, RequestId};
use licence_core::time::Now;
use tokio::sync::{mpsc, oneshot};

use super::DriverError;
use super::cluster::Teller;
use crate::clock;
use crate::key_memory::Memories;
use crate::keyring::{InstallError, Keyring};
use crate::metrics::Metrics;
use crate::rules_file::RulesFile;
use crate::store::lock::DataLock;
use crate::store::writer::{Release, Turn, Writer};

/// Requests handled as one turn: enough for a busy server's group commit, few enough that a turn
/// takes some milliseconds at most.
const TURN_MAX: usize = 512;

/// The driver wakes at least this often, because its timer stands still while the machine sleeps
/// and leases do not.
const NAP_MAX: Duration = Duration::from_secs(5);

/// Looks at the state.
pub(super) type Look = Box<dyn FnOnce(&LicenceService, &Keyring, Now) + Send>;

/// Changes the state and adds what must be written; see [`Handle::change`](super::Handle).
pub(super) type Change = Box<dyn FnOnce(&mut Task, Now, &mut Outcome) + Send>;

/// What the driver is asked.
pub(super) enum Command {
    /// Change the state.
    Change(Change),
    /// An event with a reply; the function makes it with the request's id.
    Event(Box<dyn FnOnce(RequestId) -> Event + Send>, oneshot::Sender<Answer>),
    /// Install a licence document, with the descriptor of its series if one came with it.
    Install(String, Option<Box<SeriesDescriptor>>, InstallSender),
    /// Look at the state.
    Query(Look),
    /// Write what is waiting and end.
    Stop,
}

/// Where the number of an installed key goes.
pub(super) type InstallSender = oneshot::Sender<Result<KeyNo, InstallError>>;

/// What comes back for an event.
pub(super) type Answer = Result<Reply, DriverError>;

/// The owner of the state.
pub(super) struct Task {
    pub(super) service: LicenceService,
    pub(super) keyring: Keyring,
    pub(super) key_memories: Memories,
    pub(super) rules_file: RulesFile,
    writer: Writer,
    commands: mpsc::Receiver<Command>,
    metrics: Arc<Metrics>,
    next_request: u64,
    /// Held until all is written.
    lock: Option<DataLock>,
    teller: Teller,
}

/// What one turn leaves to be done.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) records: Vec<Record>,
    replies: Vec<(oneshot::Sender<Answer>, Reply)>,
    installs: Vec<(InstallSender, KeyNo)>,
    /// Called when the records are on disk, with whether they are.
    pub(super) releases: Vec<Release>,
    is_stopping: bool,
}

impl Task {
    #[expect(clippy::too_many_arguments, reason = "one place makes it, of what it owns")]
    pub(super) const fn new(
        service: LicenceService,
        keyring: Keyring,
        key_memories: Memories,
        rules_file: RulesFile,
        writer: Writer,
        commands: mpsc::Receiver<Command>,
        metrics: Arc<Metrics>,
        lock: Option<DataLock>,
        teller: Teller,
    ) -> Self {
        Self {
            service,
            keyring,
            key_memories,
            rules_file,
            writer,
            commands,
            metrics,
            next_request: 0,
            lock,
            teller,
        }
    }

    /// Writes what restoring brought about.
    pub(super) fn carry_out_restored(&mut self, records: impl Iterator<Item = Record>) {
        let outcome = Outcome { records: records.collect(), ..Outcome::default() };
        self.carry_out(outcome);
    }

    /// Runs until it is stopped or nobody holds a handle; true when all was written.
    pub(super) async fn run(mut self) -> bool {
        let mut batch = Vec::with_capacity(TURN_MAX);
        loop {
            let now = clock::now();
            let nap = self
                .service
                .poll_timeout(now)
                .map_or(NAP_MAX, |at| at.since(now.mono))
                .clamp(Duration::from_millis(1), NAP_MAX);
            // While the disk is that far behind, nothing is taken: requests wait in the queue,
            // which is bounded and answers that the server is busy.
            if !self.writer.has_room() {
                self.writer.wait_written().await;
                continue;
            }
            let received = tokio::select! {
                received = self.commands.recv_many(&mut batch, TURN_MAX) => Some(received),
                () = tokio::time::sleep(nap) => None,
            };
            let mut outcome = Outcome::default();
            match received {
                Some(0) => outcome.is_stopping = true,
                Some(_) => {
                    let now = clock::now();
                    for command in batch.drain(..) {
                        self.handle(command, now, &mut outcome);
                    }
                }
                None => self.feed(Event::Tick, clock::now(), &mut outcome, &mut BTreeMap::new()),
            }
            let is_stopping = outcome.is_stopping;
            self.carry_out(outcome);
            if is_stopping {
                break;
            }
        }
        let Self { mut writer, lock, .. } = self;
        // Joining the writer waits for the disk, so not on an async thread.
        let finish = move || {
            writer.finish();
            !writer.has_failed()
        };
        let is_written = tokio::task::spawn_blocking(finish).await.unwrap_or(false);
        drop(lock);
        is_written
    }

    fn handle(&mut self, command: Command, now: Now, outcome: &mut Outcome) {
        match command {
            Command::Change(change) => change(self, now, outcome),
            Command::Event(make, sender) => {
                let request = RequestId(self.next_request);
                self.next_request += 1;
                let mut waiting = BTreeMap::from([(request, sender)]);
                self.feed(make(request), now, outcome, &mut waiting);
            }
            Command::Install(document, series, sender) => {
                let utc = self.service.utc(now);
                match self.keyring.install(&document, series.as_deref(), utc) {
                    Ok(key) => {
                        outcome.installs.push((sender, key.key_no));
                        self.prove_time(key.key_no, now, outcome);
                        self.feed(Event::KeyArrived(key), now, outcome, &mut BTreeMap::new());
                    }
                    Err(error) => drop(sender.send(Err(error))),
                }
            }
            Command::Query(look) => look(&self.service, &self.keyring, now),
            Command::Stop => outcome.is_stopping = true,
        }
    }

    /// The licence of this key says when it was issued, and its series has signed that: the calendar
    /// has come so far.
    pub(super) fn prove_time(&mut self, key_no: KeyNo, now: Now, outcome: &mut Outcome) {
        if let Some(issued) = self.keyring.issued(key_no) {
            self.feed_quietly(Event::TimeProved(issued), now, outcome);
        }
    }

    /// Feeds an event and returns what is replied to it at once; what it promises holds when the
    /// records of the turn are on disk.
    pub(super) fn feed_replied(
        &mut self,
        make: impl FnOnce(RequestId) -> Event,
        now: Now,
        outcome: &mut Outcome,
    ) -> Option<Reply> {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        let mut answer = None;
        for effect in self.service.handle(make(request), now) {
            match effect {
                Effect::Persist(record) => outcome.records.push(record),
                Effect::Reply(_, reply) => answer = Some(reply),
            }
        }
        answer
    }

    /// Feeds an event that nobody waits for.
    pub(super) fn feed_quietly(&mut self, event: Event, now: Now, outcome: &mut Outcome) {
        self.feed(event, now, outcome, &mut BTreeMap::new());
    }

    fn feed(
        &mut self,
        event: Event,
        now: Now,
        outcome: &mut Outcome,
        waiting: &mut BTreeMap<RequestId, oneshot::Sender<Answer>>,
    ) {
        for effect in self.service.handle(event, now) {
            match effect {
                Effect::Persist(record) => outcome.records.push(record),
                Effect::Reply(request, reply) => {
                    if let Some(sender) = waiting.remove(&request) {
                        outcome.replies.push((sender, reply));
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, outcome: Outcome) {
        self.teller.tell(&mut self.service);
        let Outcome { records, replies, installs, releases, .. } = outcome;
        if records.is_empty() && replies.is_empty() && installs.is_empty() && releases.is_empty() {
            return;
        }
        if self.writer.has_failed() || (records.is_empty() && !self.writer.is_busy()) {
            release(replies, installs, releases, !self.writer.has_failed());
            return;
        }
        self.metrics.note(&records);
        let release = Box::new(move |is_written| release(replies, installs, releases, is_written));
        self.writer.write(Turn { records, release });
    }
}

fn release(
    replies: Vec<(oneshot::Sender<Answer>, Reply)>,
    installs: Vec<(InstallSender, KeyNo)>,
    releases: Vec<Release>,
    is_written: bool,
) {
    for (sender, reply) in replies {
        // A refusal promises nothing, so it needs no disk.
        let answer = if let Reply::Refused(refusal) = reply {
            Err(DriverError::Refused(refusal))
        } else if is_written {
            Ok(reply)
        } else {
            Err(DriverError::Store)
        };
        // Whoever asked may have gone; then the answer is nobody's.
        drop(sender.send(answer));
    }
    for (sender, key_no) in installs {
        // The licence's own file is on disk; its line in the history is not worth a refusal.
        drop(sender.send(Ok(key_no)));
    }
    for release in releases {
        release(is_written);
    }
}
