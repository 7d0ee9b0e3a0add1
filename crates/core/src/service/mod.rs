//! The licence service: events and [`Now`] in, ordered effects out.
//!
//! It decides who holds a seat. It never waits, writes, sends or draws a random number: ids come
//! inside the events, records and replies leave as effects, and [`LicenceService::poll_timeout`]
//! says when to come back with [`Event::Tick`]. A reply always follows the records that it rests
//! on; whoever carries out the effects must write the records before the reply leaves.
//!
//! Counting (manual, «Принцип учета лицензий»): on an application server or web server every
//! session takes a seat; in file mode all sessions of one computer, or of one terminal client,
//! share one.

mod cluster;
mod connections;
mod denials;
mod expiry;
mod farewells;
mod holders;
mod opening;
mod quotas;
mod ruling;
mod usage;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::journal::{Record, SavedConnection, Snapshot};
use crate::key::{KeyNo, KeySeries, ProtectionKey};
use crate::lease_token::LeaseClaims;
use crate::pool::Pool;
use crate::protocol::{
    CONNECTION_SECS, ConnectionInfo, HEARTBEAT_SECS, SESSION_SECS, SessionInfo, Wish,
};
use crate::refusal::Refusal;
use crate::rules::{CheckedRules, QuotaId};
use crate::session::{Connection, ConnectionId, EndReason, Session, SessionId, SessionKey};
use crate::time::term_clock::{Doubt, TermClock};
use crate::time::{MonoTime, Now, Utc};

use cluster::Cluster;
pub use cluster::{ClusterKey, EndedHere, LeasedSeat};
use denials::Denials;
use holders::Holder;
use opening::{Asked, NotOpened, session_bytes};
use quotas::Quotas;
use ruling::Ruling;
pub use ruling::dry_run;
pub use usage::PEAK_SPAN_MILLIS;
pub use view::Totals;

/// Most connections at one time. A connection is a process; a site with more than this many 1C
/// processes does not exist, so more means a flood.
pub const CONNECTIONS_MAX: usize = 200_000;

/// Most sessions at one time, counted and not: twice the million that one process must carry.
pub const SESSIONS_MAX: usize = 2_000_000;

/// Most bytes of text that connections and sessions may hold together. A million sessions with
/// some 200 bytes each stay far below; more means a flood.
pub const TEXT_BYTES_TOTAL_MAX: usize = 512 * 1024 * 1024;

/// How many ended sessions are remembered with their reason, so that a component that still
/// names one learns why it ended. A component asks within one heartbeat.
const ENDED_MAX: usize = 10_000;

/// How many holders a refusal names: what a person can read in a message box.
const HOLDERS_NAMED_MAX: usize = 5;

/// How often the calendar is recorded. A clock set back gains at most this at each restart.
const UTC_RECORD_MILLIS: i64 = 3_600_000;

/// How long sessions without a lease wait after the books were lost: every component that holds
/// one beats three times within it and so comes back before strangers take its seat.
pub const RECOVERY_SECS: u64 = 3 * HEARTBEAT_SECS;

/// Names a request, so that its reply finds the way back.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId(pub u64);

/// What the administrator decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ServiceConfig {
    /// How long a connection lives past its last heartbeat.
    pub connection_life: Duration,
    /// How long a session lives past its last touch.
    pub session_life: Duration,
    /// Whether refusals name who holds the seats.
    pub name_holders: bool,
    /// Whether access codes count; if not, those that sessions name are left aside.
    pub access_codes: bool,
    /// Whether the books were lost and replaced by empty ones: then [`LicenceService::restore`]
    /// gives seats to those who show a lease first, for [`RECOVERY_SECS`].
    pub recovering: bool,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            connection_life: Duration::from_secs(CONNECTION_SECS),
            session_life: Duration::from_secs(SESSION_SECS),
            name_holders: true,
            access_codes: true,
            recovering: false,
        }
    }
}

/// What happened outside.
#[derive(Clone, Debug)]
pub enum Event {
    /// A session is let go by its holder.
    Close {
        /// Where the reply goes.
        request: RequestId,
        /// Which session.
        session: SessionId,
    },
    /// The node was cut off from its cluster for so long that the other nodes may have given its seats
    /// to others: what still holds seats of the cluster's keys ends.
    EndCluster,
    /// A session is about to open with the seat that it had at another node: a seat is kept for it
    /// as if it held it, for one life of a session. Nothing happens if it is here already; if it was
    /// let go here a moment ago, it is told as ended instead.
    Expect {
        /// Which session.
        session: SessionId,
        /// The key of the seat.
        key_no: KeyNo,
    },
    /// The life of a session begins anew, or the time for which it is expected: a node that was cut off
    /// had renewed its lease. Nothing happens if neither is known.
    Keep {
        /// Which session.
        session: SessionId,
    },
    /// Until when keys of a cluster may give out seats; nothing when they may not. What is held goes
    /// on.
    GrantUntil(Option<MonoTime>),
    /// From when on sessions that hold seats of keys of a cluster are not renewed: a heartbeat says of
    /// them that they are gone, so that their components look for another node, and a call is refused.
    /// Their seats are held until their leases have ended. Nothing for no such moment.
    HoldUntil(Option<MonoTime>),
    /// An administrator decides otherwise; in force from the next event on. Sessions keep what they
    /// have.
    Configure {
        /// See [`ServiceConfig::name_holders`].
        name_holders: bool,
        /// See [`ServiceConfig::access_codes`].
        access_codes: bool,
    },
    /// A component connects.
    Connect {
        /// Where the reply goes.
        request: RequestId,
        /// Id drawn for the connection.
        id: ConnectionId,
        /// The series it uses.
        series: KeySeries,
        /// Address it comes from.
        peer: String,
        /// What it tells of itself.
        info: ConnectionInfo,
    },
    /// A component says goodbye.
    Disconnect {
        /// Where the reply goes.
        request: RequestId,
        /// Which connection.
        connection: ConnectionId,
        /// Its process exits, so its sessions end too.
        end_sessions: bool,
    },
    /// A component renews its connection and touches its sessions.
    Heartbeat {
        /// Where the reply goes.
        request: RequestId,
        /// Which connection.
        connection: ConnectionId,
        /// The sessions in use.
        sessions: Vec<SessionId>,
    },
    /// A key was installed, or its licence was replaced by another one.
    KeyArrived(ProtectionKey),
    /// The administrator says something else of a key that is here: its access code. It is no
    /// arrival, so history does not show one. Sessions that hold a seat of it keep the seat whatever
    /// code they named; they need the code that is in force when they open again.
    KeyChanged(ProtectionKey),
    /// A key was removed.
    KeyRemoved(KeyNo),
    /// Limits and reservations are kept together with other nodes of a cluster: nothing may be taken
    /// of a quota until [`Event::QuotaLimits`] says how much. Without this the service counts by
    /// itself.
    QuotasClosed,
    /// How much of some quotas may be held here. Sessions keep what they have.
    QuotaLimits {
        /// The quotas and how many seats.
        limits: Vec<(QuotaId, u32)>,
        /// Where the reply goes.
        request: RequestId,
    },
    /// A session asks for a seat.
    Open {
        /// Where the reply goes.
        request: RequestId,
        /// Id drawn for the session, should it be unknown so far.
        id: SessionId,
        /// Its connection.
        connection: ConnectionId,
        /// What it tells of itself.
        session: SessionInfo,
        /// What it asks of the key.
        wish: Wish,
        /// A lease that this server or another node of its cluster granted, already verified.
        lease: Option<LeaseClaims>,
        /// What is known of the seat of that lease.
        seat: LeasedSeat,
        /// Whether the caller can ask the cluster for a seat and come back: then a session for
        /// which no seat is free here is answered with [`Reply::Wants`].
        may_wait: bool,
    },
    /// An administrator ends a session.
    Revoke {
        /// Where the reply goes.
        request: RequestId,
        /// Which session.
        session: SessionId,
    },
    /// Rules of who gets a seat, in place of those before. Sessions keep what they have.
    RulesChanged(CheckedRules),
    /// How many seats of keys of a cluster this node may give out.
    SeatLimits {
        /// The keys; how many seats; whether sessions end where more are held, those that came last
        /// first. Without that a limit stops at what is held.
        limits: Vec<(KeyNo, u32, bool)>,
        /// Where the reply goes.
        request: RequestId,
    },
    /// Another node of the cluster takes the seat of a session over.
    TakeAway {
        /// Which session.
        session: SessionId,
        /// Where the reply goes.
        request: RequestId,
    },
    /// Time passed.
    Tick,
    /// A centre has answered just so, and its series has signed when: the calendar has reached that
    /// moment.
    TimeProved(Utc),
    /// A session is in use.
    Touch {
        /// Where the reply goes.
        request: RequestId,
        /// Through which connection.
        connection: ConnectionId,
        /// Which session.
        session: SessionId,
    },
}

/// What must be done, in this order.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "effects live for one turn in one vector; a box each would cost more than the bytes"
)]
pub enum Effect {
    /// Write the record before any later reply leaves.
    Persist(Record),
    /// Answer the request.
    Reply(RequestId, Reply),
}

/// The answer to a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// The connection stands.
    Connected(ConnectionId),
    /// It is done.
    Done,
    /// The heartbeat counted.
    Heartbeat {
        /// Sessions that it named and that are no more.
        gone: Vec<(SessionId, EndReason)>,
        /// Leases past half their life, renewed.
        renewed: Vec<Grant>,
    },
    /// The session goes on.
    Opened(Grant),
    /// It was not granted.
    Refused(Refusal),
    /// Of each key that was named the limit in force, and how many seats are held or kept.
    SeatLimits(Vec<(KeyNo, u32, u32)>),
    /// Of each quota that was named how much of it is held, its name and how much may be.
    QuotaLimits(Vec<(u32, QuotaId, u32)>),
    /// What has become of a session that another node takes over.
    TakenAway {
        /// Whether it held a seat of its own here. Then it does no more, and the limit of its key is
        /// one lower.
        was_held: bool,
        /// What it used of quotas: of each of these one less may be held here from now on.
        quotas: Vec<QuotaId>,
    },
    /// Nothing is free here; the cluster may have a seat of one of these keys.
    Wants(Vec<KeyNo>),
    /// A rule allows no more here; other nodes may have something left of one of these quotas.
    WantsQuotas(Vec<QuotaId>),
}

/// A seat granted or renewed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Grant {
    /// The session.
    pub session: SessionId,
    /// Its series.
    pub series: KeySeries,
    /// The key whose seat it holds; nothing for presence only.
    pub key_no: Option<KeyNo>,
    /// How long it lives without another touch.
    pub lives: Duration,
    /// Whether the component shall get a fresh lease token.
    pub with_token: bool,
    /// Whether another node may still hold the seat of the lease that was shown, and is to be told
    /// that the session goes on here.
    pub is_elsewhere: bool,
}

/// How many there are of a series.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Counts {
    connections: usize,
    sessions: usize,
}

/// The state machine. One owner, one event at a time.
#[derive(Debug)]
pub struct LicenceService {
    config: ServiceConfig,
    pool: Pool,
    connections: BTreeMap<ConnectionId, Connection>,
    sessions: BTreeMap<SessionId, Session>,
    by_key: BTreeMap<SessionKey, SessionId>,
    by_connection: BTreeSet<(ConnectionId, SessionId)>,
    holders: BTreeMap<Holder, BTreeSet<SessionId>>,
    counts: BTreeMap<KeySeries, Counts>,
    text_bytes: usize,
    /// Earliest moment at which each may expire. Entries are renewed lazily: a touch does not
    /// move the entry, its turn does.
    connection_expiry: BTreeSet<(MonoTime, ConnectionId)>,
    session_expiry: BTreeSet<(MonoTime, SessionId)>,
    ended: BTreeMap<SessionId, EndReason>,
    ended_order: VecDeque<SessionId>,
    ruling: Ruling,
    quotas: Quotas,
    denials: Denials,
    /// Until when sessions without a lease wait.
    recover_until: Option<MonoTime>,
    term_clock: TermClock,
    utc_recorded: Option<Utc>,
    doubt_recorded: Option<Doubt>,
    usage: usage::Usage,
    cluster: Cluster,
}

impl LicenceService {
    /// A service without keys, connections and sessions.
    pub fn new(config: ServiceConfig) -> Self {
        Self {
            config,
            pool: Pool::default(),
            connections: BTreeMap::new(),
            sessions: BTreeMap::new(),
            by_key: BTreeMap::new(),
            by_connection: BTreeSet::new(),
            holders: BTreeMap::new(),
            counts: BTreeMap::new(),
            text_bytes: 0,
            connection_expiry: BTreeSet::new(),
            session_expiry: BTreeSet::new(),
            ended: BTreeMap::new(),
            ended_order: VecDeque::new(),
            ruling: Ruling::default(),
            quotas: Quotas::default(),
            denials: Denials::default(),
            recover_until: None,
            term_clock: TermClock::default(),
            utc_recorded: None,
            doubt_recorded: None,
            usage: usage::Usage::default(),
            cluster: Cluster::default(),
        }
    }

    /// The service as the journal left it. Everything restored gets one full period from `now`:
    /// its holders could not renew while nobody listened. Sessions whose key is gone are moved to
    /// another key or ended; the effects say so.
    pub fn restore(
        config: ServiceConfig,
        keys: Vec<ProtectionKey>,
        snapshot: Snapshot,
        now: Now,
    ) -> (Self, Vec<Effect>) {
        let mut service = Self::new(config);
        service.term_clock = TermClock::restored(snapshot.utc_seen, snapshot.doubt, now.mono);
        service.utc_recorded = snapshot.utc_seen;
        service.doubt_recorded = snapshot.doubt;
        if config.recovering {
            service.recover_until = Some(now.mono.after(Duration::from_secs(RECOVERY_SECS)));
        }
        let mut effects = Vec::new();
        service.note_utc(now, &mut effects);
        let utc = service.utc(now);
        for key in keys {
            service.pool.insert(key, utc);
        }
        for (id, saved) in snapshot.connections {
            service.add_connection(id, saved, now);
        }
        for (id, saved) in snapshot.sessions {
            service.add_session(id, saved, now);
        }
        service.settle(now, &mut effects);
        service.note_standing_use(now, &mut effects);
        service.check_invariants();
        (service, effects)
    }

    /// Handles one event.
    #[must_use = "the effects are the whole result: a dropped one is a lost answer"]
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.advance(now, &mut effects);
        match event {
            Event::Close { request, session } => {
                self.handle_close(request, session, EndReason::Released, now, &mut effects);
            }
            Event::EndCluster => self.end_cluster(now, &mut effects),
            Event::Expect { session, key_no } => self.expect(session, key_no, now),
            Event::GrantUntil(until) => self.set_grant_until(until, now),
            Event::Keep { session } => self.keep(session, now),
            Event::HoldUntil(until) => self.set_hold_until(until, now),
            Event::Configure { name_holders, access_codes } => {
                self.config.name_holders = name_holders;
                self.config.access_codes = access_codes;
            }
            Event::Connect { request, id, series, peer, info } => {
                let (peer, info) = (Arc::from(peer), Arc::new(info));
                let saved = SavedConnection { series, peer, info, created: now.utc };
                self.handle_connect(request, id, saved, now, &mut effects);
            }
            Event::Disconnect { request, connection, end_sessions } => {
                self.handle_disconnect(request, connection, end_sessions, now, &mut effects);
            }
            Event::Heartbeat { request, connection, sessions } => {
                let reply = self.heartbeat(connection, &sessions, now, &mut effects);
                effects.push(Effect::Reply(request, reply));
            }
            Event::KeyArrived(key) => {
                let (key_no, series) = (key.key_no, key.series);
                self.pool.insert(key, self.utc(now));
                self.quotas.note_change();
                effects.push(Effect::Persist(Record::KeyArrived { key_no, series, at: now.utc }));
                self.settle(now, &mut effects);
            }
            Event::KeyChanged(key) => {
                self.pool.insert(key, self.utc(now));
                self.quotas.note_change();
                self.settle(now, &mut effects);
            }
            Event::KeyRemoved(key_no) => {
                self.expect_none_of(key_no);
                self.quotas.note_change();
                if self.pool.remove(key_no, self.utc(now)).is_some() {
                    effects.push(Effect::Persist(Record::KeyRemoved { key_no, at: now.utc }));
                    self.settle(now, &mut effects);
                }
            }
            Event::Open { request, id, connection, session, wish, lease, seat, may_wait } => {
                let asked = Asked { id, connection, info: session, wish, lease, seat, may_wait };
                let reply = match self.open(asked, now, &mut effects) {
                    Ok(grant) => Reply::Opened(grant),
                    Err(NotOpened::Refused(refusal)) => Reply::Refused(refusal),
                    Err(NotOpened::Wants(keys)) => Reply::Wants(keys),
                    Err(NotOpened::WantsQuotas(quotas)) => Reply::WantsQuotas(quotas),
                };
                effects.push(Effect::Reply(request, reply));
            }
            Event::QuotaLimits { limits, request } => {
                let reply = self.set_quotas(limits);
                effects.push(Effect::Reply(request, reply));
            }
            Event::QuotasClosed => self.close_quotas(),
            Event::Revoke { request, session } => {
                self.handle_close(request, session, EndReason::Revoked, now, &mut effects);
            }
            Event::RulesChanged(rules) => self.set_rules(rules),
            Event::SeatLimits { limits, request } => {
                let reply = self.set_limits(limits, now, &mut effects);
                effects.push(Effect::Reply(request, reply));
            }
            Event::TakeAway { session, request } => {
                let reply = self.take_away(session, now, &mut effects);
                effects.push(Effect::Reply(request, reply));
            }
            Event::Tick => {}
            Event::TimeProved(at) => self.prove_utc(at, now, &mut effects),
            Event::Touch { request, connection, session } => {
                let reply = self.touch(connection, session, now, &mut effects);
                effects.push(Effect::Reply(request, reply));
            }
        }
        self.check_invariants();
        effects
    }

    /// When to come back with [`Event::Tick`] if nothing else happens, at the latest.
    pub fn poll_timeout(&self, now: Now) -> Option<MonoTime> {
        let terms = self.pool.next_change().map(|at| {
            let millis = at.unix_millis().saturating_sub(self.utc(now).unix_millis()).max(0);
            now.mono.after(Duration::from_millis(millis.unsigned_abs()))
        });
        [
            self.connection_expiry.first().map(|&(at, _)| at),
            self.session_expiry.first().map(|&(at, _)| at),
            terms,
            self.next_span(now),
            self.cluster.next_change(now.mono),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn touch(
        &mut self,
        connection: ConnectionId,
        id: SessionId,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Reply {
        let Some(series) = self.use_connection(connection, now) else {
            return Reply::Refused(Refusal::ConnectionNotFound);
        };
        let found = self.sessions.get(&id).filter(|session| session.series == series);
        let Some(session) = found else { return Reply::Refused(Refusal::SessionNotFound) };
        if self.is_paused(session.key_no, now) {
            return Reply::Refused(Refusal::ClusterUnavailable { series });
        }
        match self.renew(id, connection, None, now, effects) {
            Some(grant) => Reply::Opened(grant),
            None => Reply::Refused(Refusal::SessionNotFound),
        }
    }

    /// Renews a session through a connection, with what it asks of the key where that changed.
    fn renew(
        &mut self,
        id: SessionId,
        connection: ConnectionId,
        wish: Option<&Wish>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Grant> {
        let half = self.config.session_life / 2;
        let session = self.sessions.get_mut(&id)?;
        session.touched = now.mono;
        let with_token = session.key_no.is_some() && now.mono.since(session.lease_issued) >= half;
        if with_token {
            session.lease_issued = now.mono;
        }
        let is_moved = session.connection != connection;
        let changed = wish.filter(|wish| **wish != *session.wish);
        if let Some(wish) = changed {
            self.text_bytes -= session_bytes(&session.info, &session.wish);
            self.text_bytes += session_bytes(&session.info, wish);
            session.wish = Arc::new(wish.clone());
        }
        if is_moved {
            self.by_connection.remove(&(session.connection, id));
            self.by_connection.insert((connection, id));
            session.connection = connection;
        }
        if is_moved || changed.is_some() {
            effects.push(Effect::Persist(Record::SessionMoved {
                id,
                connection,
                key_no: session.key_no,
                wish: Arc::clone(&session.wish),
                at: now.utc,
            }));
        }
        self.grant(id, with_token)
    }

    fn grant(&self, id: SessionId, with_token: bool) -> Option<Grant> {
        let session = self.sessions.get(&id)?;
        Some(Grant {
            session: id,
            series: session.series,
            key_no: session.key_no,
            lives: self.config.session_life,
            with_token: with_token && session.key_no.is_some(),
            is_elsewhere: false,
        })
    }

    fn handle_close(
        &mut self,
        request: RequestId,
        session: SessionId,
        reason: EndReason,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        // It may have been about to open here with the seat that it had elsewhere, and have given up.
        let is_waited_for = self.cluster.is_expected(&session);
        if is_waited_for || !self.sessions.contains_key(&session) {
            self.say_goodbye(session, now);
        }
        let reply = if self.end_session(session, reason, now, effects) || is_waited_for {
            Reply::Done
        } else {
            Reply::Refused(Refusal::SessionNotFound)
        };
        effects.push(Effect::Reply(request, reply));
    }

    fn end_session(
        &mut self,
        id: SessionId,
        reason: EndReason,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(session) = self.sessions.remove(&id) else {
            return false;
        };
        self.text_bytes -= session_bytes(&session.info, &session.wish);
        if let Some(counts) = self.counts.get_mut(&session.series) {
            counts.sessions -= 1;
        }
        let key = SessionKey::new(session.series, &session.info);
        if self.by_key.get(&key) == Some(&id) {
            self.by_key.remove(&key);
        }
        self.by_connection.remove(&(session.connection, id));
        self.session_expiry.remove(&(session.looked_at, id));
        if let Some(holder) = Holder::of_session(&session, id) {
            self.let_go(&holder, id);
        }
        self.ruling.forget(id);
        if let Some(key_no) = session.key_no {
            self.note_end_here(id, key_no, reason, now);
        }
        if self.ended.insert(id, reason).is_none() {
            self.ended_order.push_back(id);
        }
        if self.ended_order.len() > ENDED_MAX
            && let Some(oldest) = self.ended_order.pop_front()
        {
            self.ended.remove(&oldest);
        }
        effects.push(Effect::Persist(Record::SessionClosed { id, reason, at: now.utc }));
        true
    }
}

#[cfg(test)]
mod tests;
