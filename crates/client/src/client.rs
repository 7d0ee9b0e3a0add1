//! What callers see: a [`Client`] per process, a [`Link`] per started series, a [`Seat`] per
//! session.
//!
//! Every call puts a job into a bounded queue and waits for the worker with a bound, or is
//! answered from memory. Callers' threads touch no socket, no resolver, no random source and
//! nothing that registers a thread-local destructor, so that a library around this crate can be
//! unloaded while those threads live on.

use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use licence_core::key::{KeyNo, KeySeries};
use licence_core::language::Language;
use licence_core::protocol::{
    ConnectionInfo, Counters, LicenceView, ServerSummary, SessionInfo, Wish,
};
use licence_core::seal::PublicKey;
use licence_core::time::MonoTime;

use crate::clock::{Clock, SystemClock, system_now};
use crate::conf::ConfPaths;
use crate::error::ClientError;
use crate::jobs::{Question, Reply, Work};
use crate::queue::{ask, ask_at, stop};
use crate::spawn::Spawn;
use crate::state::{Phase, SessionKey, Shared, TargetId};

/// [`Client::start`] blocks its caller at most this long: five silent servers of 3 s each. The
/// next start goes on behind them.
pub const START_BOUND: Duration = Duration::from_secs(15);

/// Every other call blocks its caller at most this long: a silent server, and two more that are
/// tried instead.
pub const CALL_BOUND: Duration = Duration::from_secs(10);

/// Dropping the last handle of a client stops its worker within this.
pub const DROP_BOUND: Duration = Duration::from_secs(1);

/// A seat with less than this left is renewed at the server before it is handed out again: three
/// heartbeats, so that the next one surely comes in time.
pub(crate) const RENEW_MARGIN: Duration = Duration::from_secs(30);

/// How to start a series.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// The series.
    pub series: KeySeries,
    /// A key must be there; sessions are not counted.
    pub presence_only: bool,
    /// `ПараметрыСвязи`.
    pub connection_string: Option<String>,
    /// The series descriptor (JSON) that the configuration pins (`ОписаниеСерии`). Without it the
    /// file `licence.series` beside the common `licenceaddin.conf` is the weaker pin.
    pub descriptor: Option<String>,
    /// Who connects; its `is_server` decides which `licenceaddin.conf` applies.
    pub info: ConnectionInfo,
    /// Where `licenceaddin.conf` is looked for.
    pub paths: ConfPaths,
    /// Language of refusals.
    pub language: Language,
}

/// A seat held for a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seat {
    /// Id of the session at the server: opaque text.
    pub id: String,
    /// The key that serves it; nothing for presence only.
    pub used_licence: Option<KeyNo>,
    /// What is left of the lease.
    pub expires_in: Duration,
    /// False while the session lives on its lease, because no server can be reached or answers in
    /// time, or the one in use has no seat for it.
    pub confirmed: bool,
    /// `host:port` of the server that granted it.
    pub server: String,
}

/// One per process: owns the worker thread, which starts on first use and ends when neither a
/// link nor a seat is left. Clones are handles to the same client; dropping the last one stops the
/// worker within [`DROP_BOUND`], at once if a [`Client::shutdown`] waited for it in vain, and
/// leaves the sessions of this process to expire at the server.
#[derive(Clone)]
pub struct Client {
    owner: Arc<Owner>,
}

struct Owner {
    shared: Arc<Shared>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        // A worker that was told to stop and did not in time will: waiting again changes nothing.
        if self.shared.lock().phase != Phase::Stopping {
            stop(&self.shared, DROP_BOUND, false);
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// A client that makes its worker thread with `spawn`. Nothing happens before the first start.
    pub fn new(spawn: Box<dyn Spawn>) -> Self {
        Self::with_clock(spawn, Arc::new(SystemClock))
    }

    /// A client whose heartbeats and leases run on `clock`; deadlines of sockets and callers run
    /// on the system's. A clock that jumps is noticed after [`Self::wake`].
    pub fn with_clock(spawn: Box<dyn Spawn>, clock: Arc<dyn Clock>) -> Self {
        Self::of(Shared::new(spawn, clock))
    }

    /// What its calls share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }

    pub(crate) fn of(shared: Shared) -> Self {
        Self { owner: Arc::new(Owner { shared: Arc::new(shared) }) }
    }

    /// Starts a series: reads the settings, connects to the first server that answers and proves
    /// itself. Blocks at most [`START_BOUND`].
    ///
    /// # Errors
    ///
    /// See [`ClientError::class`].
    pub fn start(&self, options: StartOptions) -> Result<Link, ClientError> {
        let (language, presence_only) = (options.language, options.presence_only);
        let deadline = system_now().after(START_BOUND);
        let shared = &self.owner.shared;
        let work = Work::Start(Box::new(options));
        let Reply::Started(target) = ask(shared, work, deadline, START_BOUND)? else {
            return Err(mixed_up());
        };
        let shared = Arc::clone(shared);
        Ok(Link { core: Arc::new(LinkCore { shared, target, language, presence_only }) })
    }

    /// Stops the worker and forgets all seats. Connections without sessions are ended at their
    /// servers, with `end_sessions` the others and their sessions too, as far as `bound` allows.
    /// True when the worker is gone; false when it did not end in time, and its code must stay
    /// loaded. A look-up of a host name that hangs may outlive this either way, see
    /// [`Spawn::before_name_lookup`]. Links that are still alive fail from here on; the client itself
    /// may be started again.
    pub fn shutdown(&self, bound: Duration, end_sessions: bool) -> bool {
        stop(&self.owner.shared, bound, end_sessions)
    }

    /// Whether no seat is held and no link is alive.
    pub fn is_idle(&self) -> bool {
        self.owner.shared.lock().targets.values().all(|target| !target.is_needed())
    }

    /// Makes the worker look at the clock again.
    pub fn wake(&self) {
        // Under the lock, so that a worker about to wait cannot miss it.
        let _state = self.owner.shared.lock();
        self.owner.shared.work.notify_all();
    }
}

/// One started series. Dropping the last link of a series releases none of its sessions (an
/// application server destroys its objects between calls); a connection without sessions is ended
/// at once.
#[derive(Clone)]
pub struct Link {
    core: Arc<LinkCore>,
}

struct LinkCore {
    shared: Arc<Shared>,
    target: TargetId,
    language: Language,
    presence_only: bool,
}

impl Drop for LinkCore {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(target) = state.targets.get_mut(&self.target) {
            target.links = target.links.saturating_sub(1);
        }
        drop(state);
        self.shared.work.notify_all();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("target", &self.core.target).finish_non_exhaustive()
    }
}

impl Link {
    /// Takes a seat for a session, or finds it again by infobase, number, start and computer. A
    /// seat that is held is answered from memory, without a server, and renewed with the next
    /// heartbeat. Blocks at most [`CALL_BOUND`].
    ///
    /// # Errors
    ///
    /// `EServerResult.…` when the server refuses, `ELocalServerNotFound` when none can be reached
    /// and no lease is left to live on.
    pub fn take_seat(&self, session: SessionInfo, wish: Wish) -> Result<Seat, ClientError> {
        self.seat_until(&session, &wish, system_now().after(CALL_BOUND), CALL_BOUND)
    }

    /// As [`Self::take_seat`], waiting until `deadline` of the system's clock.
    pub(crate) fn seat_until(
        &self,
        session: &SessionInfo,
        wish: &Wish,
        deadline: MonoTime,
        bound: Duration,
    ) -> Result<Seat, ClientError> {
        let mut wish = wish.clone();
        wish.presence_only |= self.core.presence_only;
        let key = SessionKey::of(session);
        let now = self.core.shared.clock.now();
        let known = self.with_target(|target| target.known_seat(&key, &wish, now, RENEW_MARGIN))?;
        if let Some(seat) = known {
            return Ok(seat);
        }
        let question = Question::Seat {
            session: Box::new(session.clone()),
            wish: Box::new(wish.clone()),
            language: self.core.language,
        };
        let error = match self.ask_until(question, deadline, bound) {
            Ok(Reply::Seat(seat)) => return Ok(seat),
            Ok(_) => return Err(mixed_up()),
            Err(error) => error,
        };
        if system_now() < deadline {
            return Err(error);
        }
        // Nobody has answered in time; what the server said before holds as long as it said.
        let now = self.core.shared.clock.now();
        let lived = self.with_target(|target| {
            let seat = target.live_seat(&key, &wish, now)?.seat(now);
            if let Some(held) = target.seats.get_mut(&key) {
                held.touched = true;
            }
            Some(Seat { confirmed: false, ..seat })
        })?;
        lived.ok_or(error)
    }

    /// An object of this session is alive in the process: each heartbeat renews the session, even
    /// if nobody asks for its seat. Counts; undone by as many [`Self::unhold`].
    pub fn hold(&self, session: &SessionInfo) {
        let key = SessionKey::of(session);
        let _ended = self.with_target(|target| *target.holds.entry(key).or_insert(0) += 1);
    }

    /// Takes one [`Self::hold`] back. The session was in use until here, so the next heartbeat
    /// still renews it.
    pub fn unhold(&self, session: &SessionInfo) {
        let key = SessionKey::of(session);
        let _ended = self.with_target(|target| {
            if let Some(held) = target.seats.get_mut(&key) {
                held.touched = true;
            }
            if let Entry::Occupied(mut count) = target.holds.entry(key) {
                if *count.get() > 1 {
                    *count.get_mut() -= 1;
                } else {
                    count.remove();
                }
            }
        });
    }

    /// Releases a session's seat. True when there was one. Blocks at most [`CALL_BOUND`].
    ///
    /// # Errors
    ///
    /// When the server could be reached and did not let go of it; the seat is forgotten here all
    /// the same and expires there.
    pub fn release(&self, session: &SessionInfo) -> Result<bool, ClientError> {
        let key = SessionKey::of(session);
        if !self.with_target(|target| target.seats.contains_key(&key))? {
            return Ok(false);
        }
        let Reply::Released(there_was) = self.ask(Question::Release { key })? else {
            return Err(mixed_up());
        };
        Ok(there_was)
    }

    /// The server's licences of this series or of all. Blocks at most [`CALL_BOUND`].
    ///
    /// # Errors
    ///
    /// See [`ClientError::class`].
    pub fn licences(
        &self,
        all_series: bool,
        only_available: bool,
    ) -> Result<Vec<LicenceView>, ClientError> {
        let Reply::Licences(licences) =
            self.ask(Question::Licences { all_series, only_available })?
        else {
            return Err(mixed_up());
        };
        Ok(licences)
    }

    /// Totals of this series. Blocks at most [`CALL_BOUND`].
    ///
    /// # Errors
    ///
    /// See [`ClientError::class`].
    pub fn counters(&self) -> Result<Counters, ClientError> {
        let Reply::Counters(counters) = self.ask(Question::Counters)? else {
            return Err(mixed_up());
        };
        Ok(counters)
    }

    /// What the server says of itself. Blocks at most [`CALL_BOUND`].
    ///
    /// # Errors
    ///
    /// See [`ClientError::class`].
    pub fn server(&self) -> Result<ServerSummary, ClientError> {
        let Reply::Server(server) = self.ask(Question::Server)? else { return Err(mixed_up()) };
        Ok(server)
    }

    /// `host:port` of the server in use; nothing while none can be reached.
    pub fn server_addr(&self) -> Option<String> {
        self.with_target(|target| target.server.as_ref().map(ToString::to_string)).ok().flatten()
    }

    /// What its calls are made of, for tests.
    #[cfg(test)]
    pub(crate) fn inner(&self) -> (&Arc<Shared>, TargetId) {
        (&self.core.shared, self.core.target)
    }

    /// The series that was started.
    ///
    /// # Errors
    ///
    /// `EExecuteError` after the client was stopped.
    pub fn series(&self) -> Result<KeySeries, ClientError> {
        self.with_target(|target| target.key.series)
    }

    /// The key that the series is pinned to: what must have signed licences and data files.
    ///
    /// # Errors
    ///
    /// `EExecuteError` after the client was stopped.
    pub fn pinned_key(&self) -> Result<PublicKey, ClientError> {
        self.with_target(|target| target.key.pinned)
    }

    /// Language of refusals: that of the start.
    pub(crate) fn language(&self) -> Language {
        self.core.language
    }

    /// The moment by the clock that leases run on.
    pub(crate) fn lease_now(&self) -> MonoTime {
        self.core.shared.clock.now()
    }

    fn ask(&self, question: Question) -> Result<Reply, ClientError> {
        self.ask_until(question, system_now().after(CALL_BOUND), CALL_BOUND)
    }

    pub(crate) fn ask_until(
        &self,
        question: Question,
        deadline: MonoTime,
        bound: Duration,
    ) -> Result<Reply, ClientError> {
        let work = Work::Ask { target: self.core.target, question };
        ask(&self.core.shared, work, deadline, bound)
    }

    /// The same, to be begun after `pause`.
    pub(crate) fn ask_after(
        &self,
        pause: Duration,
        question: Question,
        deadline: MonoTime,
        bound: Duration,
    ) -> Result<Reply, ClientError> {
        let work = Work::Ask { target: self.core.target, question };
        ask_at(&self.core.shared, work, system_now().after(pause), deadline, bound)
    }

    pub(crate) fn with_target<T>(
        &self,
        act: impl FnOnce(&mut crate::state::Target) -> T,
    ) -> Result<T, ClientError> {
        let mut state = self.core.shared.lock();
        let target = state.targets.get_mut(&self.core.target);
        target.map(act).ok_or_else(ClientError::stopping)
    }
}

pub(crate) fn mixed_up() -> ClientError {
    ClientError::execute("Внутренняя ошибка: чужой ответ", "internal error: a foreign answer")
}
