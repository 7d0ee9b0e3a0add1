//! What callers and the worker share: the book of targets and seats, and the queue.
//!
//! A *target* is one series at one list of servers under one pinned key; a process may have
//! several, one for each distinct way in which its infobases start a series. Values under one
//! mutex, held only for moments: nobody reads a socket, a file or a name under it. What is done
//! about them is decided in [`crate::worker`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use licence_core::failover::{Failover, Server};
use licence_core::key::{KeyNo, KeySeries};
use licence_core::language::Language;
use licence_core::protocol::{ConnectionInfo, HeartbeatAnswer, SessionInfo, SessionOpened, Wish};
use licence_core::seal::PublicKey;
use licence_core::session::EndReason;
use licence_core::time::{MonoTime, Utc};

use crate::client::Seat;
use crate::clock::Clock;
use crate::error::ClientError;
use crate::heart::BeatInHand;
use crate::jobs::Job;
use crate::names::{LookUp, Names, ask_system};
use crate::spawn::{Joinable, Spawn};

/// Most calls that wait for the worker at one time: an application server process has some
/// hundreds of threads.
pub(crate) const JOBS_MAX: usize = 1024;

/// Most targets of one process.
pub(crate) const TARGETS_MAX: usize = 256;

/// Most targets without a link of which the worker remembers where its walk stood.
pub(crate) const PARKED_MAX: usize = 64;

pub(crate) type TargetId = u64;

/// What the component, the worker and its thread share.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// The worker has something to look at.
    pub(crate) work: Condvar,
    /// The worker's phase has changed.
    pub(crate) phase_changed: Condvar,
    /// Raised while the client is being stopped: ends waiting sockets.
    pub(crate) stop: Arc<AtomicBool>,
    /// For heartbeats and leases.
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) spawn: Arc<dyn Spawn>,
    pub(crate) names: Names,
}

impl Shared {
    pub(crate) fn new(spawn: Box<dyn Spawn>, clock: Arc<dyn Clock>) -> Self {
        Self::looking_up(spawn, clock, Arc::new(ask_system))
    }

    /// With another resolver than the system's.
    pub(crate) fn looking_up(
        spawn: Box<dyn Spawn>,
        clock: Arc<dyn Clock>,
        look_up: Arc<LookUp>,
    ) -> Self {
        let spawn: Arc<dyn Spawn> = Arc::from(spawn);
        Self {
            names: Names::new(Arc::clone(&spawn), look_up),
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            phase_changed: Condvar::new(),
            stop: Arc::new(AtomicBool::new(false)),
            clock,
            spawn,
        }
    }

    /// The state. No step in between leaves it half changed, so a panic elsewhere does not matter.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether there is a worker.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Phase {
    /// None, or one past its last statement.
    #[default]
    Idle,
    /// It looks at the queue.
    Running,
    /// It says goodbye.
    Stopping,
}

/// How the worker takes its leave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Farewell {
    /// By the system's clock.
    pub(crate) until: MonoTime,
    pub(crate) end_sessions: bool,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    /// The last worker's thread, until somebody joins it.
    pub(crate) thread: Option<Box<dyn Joinable>>,
    pub(crate) farewell: Option<Farewell>,
    pub(crate) jobs: VecDeque<Job>,
    pub(crate) targets: BTreeMap<TargetId, Target>,
    pub(crate) next_target: TargetId,
    /// Where the walks of targets stood that nobody holds any more, so that repeated starts get
    /// to the end of a list of silent servers.
    pub(crate) parked: BTreeMap<TargetKey, Parked>,
}

/// Where a walk stood.
#[derive(Clone, Debug)]
pub(crate) struct Parked {
    pub(crate) failover: Failover,
    pub(crate) fruitless: Option<Fruitless>,
}

impl Parked {
    /// A walk that has not begun.
    pub(crate) fn at_the_top(servers: &[Server]) -> Self {
        Self { failover: Failover::new(servers.to_vec()), fruitless: None }
    }
}

/// What the last walk came to in which no server answered.
#[derive(Clone, Debug)]
pub(crate) struct Fruitless {
    pub(crate) error: ClientError,
    /// By the system's clock.
    pub(crate) ended_at: MonoTime,
}

/// What makes two starts the same.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct TargetKey {
    pub(crate) series: KeySeries,
    pub(crate) servers: Vec<Server>,
    pub(crate) pinned: PublicKey,
}

/// One series at one list of servers.
pub(crate) struct Target {
    pub(crate) key: TargetKey,
    pub(crate) connection: ConnectionInfo,
    /// Links alive.
    pub(crate) links: usize,
    /// Sessions with a seat, or with a lease to show.
    pub(crate) seats: BTreeMap<SessionKey, Held>,
    /// Live objects per session.
    pub(crate) holds: BTreeMap<SessionKey, usize>,
    /// The server in use.
    pub(crate) server: Option<Server>,
}

/// What a session is found again by.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct SessionKey {
    infobase: String,
    number: String,
    started: Option<Utc>,
    computer: String,
}

impl SessionKey {
    pub(crate) fn of(session: &SessionInfo) -> Self {
        Self {
            infobase: session.info_base_connection_str.clone(),
            number: session.session_number.clone(),
            started: session.session_started,
            computer: session.computer_name.clone(),
        }
    }
}

/// Where a seat stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// The server in use holds it.
    Open,
    /// A server that grants nothing any more, and was left for that, holds it and renews it.
    Former,
    /// The server that granted it is lost, and no other has been asked.
    Lost,
    /// The server in use refused it; the lease has not run out.
    Refused,
    /// The server ended it; the next call asks again.
    Ended,
}

/// A session with a seat.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) session: SessionInfo,
    pub(crate) wish: Wish,
    pub(crate) language: Language,
    pub(crate) id: String,
    pub(crate) used_licence: Option<KeyNo>,
    pub(crate) lease: Option<String>,
    /// End of the lease by the client's clock.
    pub(crate) expires: MonoTime,
    /// Asked for since the last heartbeat.
    pub(crate) touched: bool,
    pub(crate) standing: Standing,
    /// The server that granted it, as shown.
    pub(crate) server: String,
}

impl Held {
    pub(crate) fn is_alive(&self, now: MonoTime) -> bool {
        self.expires > now
    }

    /// What the caller is told.
    pub(crate) fn seat(&self, now: MonoTime) -> Seat {
        Seat {
            id: self.id.clone(),
            used_licence: self.used_licence,
            expires_in: self.expires.since(now),
            confirmed: matches!(self.standing, Standing::Open | Standing::Former),
            server: self.server.clone(),
        }
    }

    /// Takes in what the server answered to `open` or `touch` asked at `asked_at`.
    pub(crate) fn renew(&mut self, answer: SessionOpened, asked_at: MonoTime, server: &Server) {
        self.id = answer.id;
        self.used_licence = answer.used_licence;
        self.expires = asked_at.after(Duration::from_millis(answer.expires_in_ms));
        if answer.lease.is_some() {
            self.lease = answer.lease;
        }
        self.standing = Standing::Open;
        self.server = server.to_string();
    }
}

impl Target {
    pub(crate) const fn new(key: TargetKey, connection: ConnectionInfo) -> Self {
        Self {
            key,
            connection,
            links: 0,
            seats: BTreeMap::new(),
            holds: BTreeMap::new(),
            server: None,
        }
    }

    /// Whether anybody needs it.
    pub(crate) fn is_needed(&self) -> bool {
        self.links > 0 || !self.seats.is_empty()
    }

    /// The seat that may be answered without asking a server, marked as touched.
    pub(crate) fn known_seat(
        &mut self,
        key: &SessionKey,
        wish: &Wish,
        now: MonoTime,
        margin: Duration,
    ) -> Option<Seat> {
        let is_offline = self.server.is_none();
        let held = self.seats.get_mut(key)?;
        if held.wish != *wish || !held.is_alive(now) {
            return None;
        }
        let may_answer = match held.standing {
            Standing::Open | Standing::Former => held.expires.since(now) > margin,
            Standing::Lost => is_offline,
            Standing::Refused => true,
            Standing::Ended => false,
        };
        if !may_answer {
            return None;
        }
        held.touched = true;
        Some(held.seat(now))
    }

    /// Whether some session has a seat or a lease to live on, so that work goes on without a server.
    pub(crate) fn has_live_seat(&self, now: MonoTime) -> bool {
        self.seats.values().any(|held| held.is_alive(now) && held.standing != Standing::Ended)
    }

    /// The seat that a session has or lives on, if it has the same wish.
    pub(crate) fn live_seat(&self, key: &SessionKey, wish: &Wish, now: MonoTime) -> Option<&Held> {
        self.seats.get(key).filter(|held| {
            held.wish == *wish && held.is_alive(now) && held.standing != Standing::Ended
        })
    }

    /// Id and wish of the seat that a session has or lives on.
    pub(crate) fn seat_of(&self, key: &SessionKey, now: MonoTime) -> Option<(String, Wish)> {
        let held = self.seats.get(key)?;
        let has_one = held.is_alive(now) && held.standing != Standing::Ended;
        has_one.then(|| (held.id.clone(), held.wish.clone()))
    }

    /// The server in use says that it does not know the session that has this id.
    pub(crate) fn disown(&mut self, key: &SessionKey, id: &str) {
        if let Some(held) = self.seats.get_mut(key).filter(|held| held.id == id) {
            held.standing = Standing::Lost;
            held.touched = true;
        }
    }

    /// Forgets seats whose lease has run out.
    pub(crate) fn forget_expired(&mut self, now: MonoTime) {
        self.seats.retain(|_, held| held.is_alive(now));
    }

    /// Whether some session stands so.
    pub(crate) fn has(&self, standing: Standing) -> bool {
        self.seats.values().any(|held| held.standing == standing)
    }

    /// The server in use is left for `server`, and goes on renewing what it holds.
    pub(crate) fn leave_server(&mut self, server: Server) {
        for held in self.seats.values_mut() {
            held.standing = match held.standing {
                Standing::Open => Standing::Former,
                Standing::Refused => Standing::Lost,
                other @ (Standing::Ended | Standing::Former | Standing::Lost) => other,
            };
        }
        self.server = Some(server);
    }

    /// The former server is lost: every seat that it holds lives on its lease.
    pub(crate) fn lose_former(&mut self) {
        for held in self.seats.values_mut().filter(|held| held.standing == Standing::Former) {
            held.standing = Standing::Lost;
        }
    }

    /// The server in use is lost: every seat that it holds lives on its lease.
    pub(crate) fn lose_server(&mut self) {
        self.server = None;
        for held in self.seats.values_mut() {
            if matches!(held.standing, Standing::Open | Standing::Refused) {
                held.standing = Standing::Lost;
            }
        }
    }

    /// Sessions to open again at a server that does not know them, or refused them before: those
    /// with a live object, those touched lately, and those refused.
    pub(crate) fn to_reopen(&self, now: MonoTime) -> VecDeque<SessionKey> {
        let wanted = |key: &SessionKey, held: &Held| match held.standing {
            Standing::Lost => held.touched || self.holds.contains_key(key),
            Standing::Refused => true,
            Standing::Ended | Standing::Former | Standing::Open => false,
        };
        self.seats
            .iter()
            .filter(|(key, held)| held.is_alive(now) && wanted(key, held))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Ids for a heartbeat to the server with which sessions stand so: sessions with a live object or touched since the last one, whose mark
    /// is taken away; with their keys, so that a failed heartbeat can put it back.
    pub(crate) fn take_touched(&mut self, standing: Standing) -> Vec<(SessionKey, String)> {
        let mut ids = Vec::new();
        for (key, held) in &mut self.seats {
            if held.standing == standing && (held.touched || self.holds.contains_key(key)) {
                held.touched = false;
                ids.push((key.clone(), held.id.clone()));
            }
        }
        ids
    }

    /// A heartbeat was given up before all of it got through.
    pub(crate) fn put_back(&mut self, in_hand: Option<BeatInHand>) {
        if let Some(in_hand) = in_hand {
            self.mark_touched(&in_hand.sessions);
        }
    }

    pub(crate) fn mark_touched(&mut self, renewed: &[(SessionKey, String)]) {
        for (key, id) in renewed {
            if let Some(held) = self.seats.get_mut(key).filter(|held| held.id == *id) {
                held.touched = true;
            }
        }
    }

    /// A heartbeat for `renewed`, sent at `sent_at`, was answered.
    pub(crate) fn renewed(
        &mut self,
        renewed: &[(SessionKey, String)],
        sent_at: MonoTime,
        lives: Duration,
        answer: HeartbeatAnswer,
    ) {
        let ended: BTreeSet<&str> = answer.gone.iter().map(|gone| gone.session.as_str()).collect();
        for (key, id) in renewed.iter().filter(|(_, id)| !ended.contains(id.as_str())) {
            if let Some(held) = self.seats.get_mut(key).filter(|held| held.id == *id) {
                held.expires = sent_at.after(lives);
            }
        }
        if answer.gone.is_empty() && answer.leases.is_empty() {
            return;
        }
        let by_id: BTreeMap<String, SessionKey> =
            self.seats.iter().map(|(key, held)| (held.id.clone(), key.clone())).collect();
        for fresh in answer.leases {
            if let Some(held) = by_id.get(&fresh.session).and_then(|key| self.seats.get_mut(key)) {
                held.lease = Some(fresh.lease);
            }
        }
        // What a heartbeat carries is held or was touched before it.
        let used: BTreeSet<&str> = renewed.iter().map(|(_, id)| id.as_str()).collect();
        for gone in &answer.gone {
            let Some(key) = by_id.get(&gone.session) else { continue };
            log::info!("session {} ended at the server: {}", gone.session, gone.reason);
            let reason = match gone.reason.as_str() {
                "admin" => Some(EndReason::Revoked),
                code => EndReason::from_code(code),
            };
            let is_used = self.holds.contains_key(key) || used.contains(gone.session.as_str());
            match (reason, self.seats.get_mut(key)) {
                (_, None) => {}
                // An administrator meant what they did: no lease is kept that could undo it.
                (Some(EndReason::Revoked), Some(_)) => drop(self.seats.remove(key)),
                // The server lost it and nobody wanted that: it is opened again with its lease.
                (
                    Some(
                        EndReason::Expired
                        | EndReason::Isolated
                        | EndReason::Moved
                        | EndReason::ProcessExit
                        | EndReason::Unknown,
                    ),
                    Some(held),
                ) if is_used || held.touched => {
                    held.standing = Standing::Lost;
                    held.touched = true;
                }
                (_, Some(held)) => held.standing = Standing::Ended,
            }
        }
    }
}
