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

mod expiry;
mod holders;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::journal::{Record, SavedConnection, SavedSession, Snapshot};
use crate::key::{KeyNo, KeySeries, ProtectionKey};
use crate::lease_token::LeaseClaims;
use crate::pool::{Pool, PoolRefusal, PooledKey};
use crate::protocol::{
    CONNECTION_SECS, ConnectionInfo, HEARTBEAT_SESSIONS_MAX, SESSION_SECS, SessionInfo,
    TEXT_BYTES_MAX, Wish,
};
use crate::refusal::Refusal;
use crate::session::{Connection, ConnectionId, EndReason, Session, SessionId, SessionKey};
use crate::time::{MonoTime, Now, Utc};

use holders::Holder;
pub use view::Totals;

/// Most connections at one time. A connection is a process; a site with more than this many 1C
/// processes does not exist, so more means a flood.
pub const CONNECTIONS_MAX: usize = 200_000;

/// Most sessions at one time, counted and not: twice the million that one process must carry.
pub const SESSIONS_MAX: usize = 2_000_000;

/// How many ended sessions are remembered with their reason, so that a component that still
/// names one learns why it ended. A component asks within one heartbeat.
const ENDED_MAX: usize = 10_000;

/// How many holders a refusal names: what a person can read in a message box.
const HOLDERS_NAMED_MAX: usize = 5;

/// How often the calendar is recorded while nothing else is. A clock set back gains at most this.
const UTC_RECORD_MILLIS: i64 = 3_600_000;

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
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            connection_life: Duration::from_secs(CONNECTION_SECS),
            session_life: Duration::from_secs(SESSION_SECS),
            name_holders: true,
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
    /// A key was installed, or changed.
    KeyArrived(ProtectionKey),
    /// A key was removed.
    KeyRemoved(KeyNo),
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
        /// A lease that this server granted, already verified.
        lease: Option<LeaseClaims>,
    },
    /// An administrator ends a session.
    Revoke {
        /// Where the reply goes.
        request: RequestId,
        /// Which session.
        session: SessionId,
    },
    /// Time passed.
    Tick,
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
    /// Earliest moment at which each may expire. Entries are renewed lazily: a touch does not
    /// move the entry, its turn does.
    connection_expiry: BTreeSet<(MonoTime, ConnectionId)>,
    session_expiry: BTreeSet<(MonoTime, SessionId)>,
    ended: BTreeMap<SessionId, EndReason>,
    ended_order: VecDeque<SessionId>,
    utc_high: Option<Utc>,
    utc_recorded: Option<Utc>,
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
            connection_expiry: BTreeSet::new(),
            session_expiry: BTreeSet::new(),
            ended: BTreeMap::new(),
            ended_order: VecDeque::new(),
            utc_high: None,
            utc_recorded: None,
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
        service.utc_high = snapshot.utc_seen;
        service.utc_recorded = snapshot.utc_seen;
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
            let holder = Holder::of(&saved, id);
            let session = Session {
                series: saved.series,
                connection: saved.connection,
                info: saved.info,
                wish: saved.wish,
                key_no: saved.key_no,
                opened: saved.opened,
                touched: now.mono,
                lease_issued: now.mono,
                looked_at: service.session_ends(now.mono),
            };
            service.index_session(id, &session);
            service.sessions.insert(id, session);
            if let Some(holder) = holder {
                service.hold(holder, id);
            }
        }
        service.settle(now, &mut effects);
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
            Event::Connect { request, id, series, peer, info } => {
                let saved = SavedConnection { series, peer, info, created: now.utc };
                self.handle_connect(request, id, saved, now, &mut effects);
            }
            Event::Disconnect { request, connection, end_sessions } => {
                self.handle_disconnect(request, connection, end_sessions, now, &mut effects);
            }
            Event::Heartbeat { request, connection, sessions } => {
                let reply = self.heartbeat(connection, &sessions, now);
                effects.push(Effect::Reply(request, reply));
            }
            Event::KeyArrived(key) => {
                let (key_no, series) = (key.key_no, key.series);
                self.pool.insert(key, self.utc(now));
                effects.push(Effect::Persist(Record::KeyArrived { key_no, series, at: now.utc }));
                self.settle(now, &mut effects);
            }
            Event::KeyRemoved(key_no) => {
                if self.pool.remove(key_no, self.utc(now)).is_some() {
                    effects.push(Effect::Persist(Record::KeyRemoved { key_no, at: now.utc }));
                    self.settle(now, &mut effects);
                }
            }
            Event::Open { request, id, connection, session, wish, lease } => {
                let asked = Asked { id, connection, info: session, wish, lease };
                let reply = match self.open(asked, now, &mut effects) {
                    Ok(grant) => Reply::Opened(grant),
                    Err(refusal) => Reply::Refused(refusal),
                };
                effects.push(Effect::Reply(request, reply));
            }
            Event::Revoke { request, session } => {
                self.handle_close(request, session, EndReason::Revoked, now, &mut effects);
            }
            Event::Tick => {}
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
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn handle_connect(
        &mut self,
        request: RequestId,
        id: ConnectionId,
        saved: SavedConnection,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let refusal = if self.connections.len() >= CONNECTIONS_MAX {
            Some(Refusal::Limit { max: CONNECTIONS_MAX })
        } else {
            invalid_connection(&saved.info)
        };
        if let Some(refusal) = refusal {
            effects.push(Effect::Reply(request, Reply::Refused(refusal)));
            return;
        }
        self.add_connection(id, saved.clone(), now);
        effects.push(Effect::Persist(Record::ConnectionOpened { id, connection: saved }));
        effects.push(Effect::Reply(request, Reply::Connected(id)));
    }

    fn add_connection(&mut self, id: ConnectionId, saved: SavedConnection, now: Now) {
        let connection = Connection {
            series: saved.series,
            peer: saved.peer,
            info: saved.info,
            created: saved.created,
            last_used: now.utc,
            last_used_mono: now.mono,
            looked_at: self.connection_ends(now.mono),
        };
        self.connection_expiry.insert((connection.looked_at, id));
        self.connections.insert(id, connection);
    }

    fn heartbeat(&mut self, id: ConnectionId, sessions: &[SessionId], now: Now) -> Reply {
        if sessions.len() > HEARTBEAT_SESSIONS_MAX {
            return Reply::Refused(Refusal::Limit { max: HEARTBEAT_SESSIONS_MAX });
        }
        let Some(connection) = self.connections.get_mut(&id) else {
            return Reply::Refused(Refusal::ConnectionNotFound);
        };
        connection.last_used = now.utc;
        connection.last_used_mono = now.mono;
        let series = connection.series;
        let half = self.config.session_life / 2;
        let mut gone = Vec::new();
        let mut renewed = Vec::new();
        for session_id in sessions {
            match self.sessions.get_mut(session_id).filter(|session| session.series == series) {
                Some(session) => {
                    session.touched = now.mono;
                    if session.key_no.is_some() && now.mono.since(session.lease_issued) >= half {
                        session.lease_issued = now.mono;
                        renewed.push(self.grant(*session_id, true));
                    }
                }
                None => gone.push((*session_id, self.end_reason(session_id))),
            }
        }
        // Sessions named here travel with this connection from the next touch on; moving them
        // costs a record, and a heartbeat costs none.
        Reply::Heartbeat { gone, renewed: renewed.into_iter().flatten().collect() }
    }

    fn end_reason(&self, session: &SessionId) -> EndReason {
        self.ended.get(session).copied().unwrap_or(EndReason::Unknown)
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
        if self.sessions.get(&id).is_none_or(|session| session.series != series) {
            return Reply::Refused(Refusal::SessionNotFound);
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
        wish: Option<Wish>,
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
        let is_changed = wish.as_ref().is_some_and(|wish| *wish != session.wish);
        if let Some(wish) = wish {
            session.wish = wish;
        }
        if is_moved {
            self.by_connection.remove(&(session.connection, id));
            self.by_connection.insert((connection, id));
            session.connection = connection;
        }
        if is_moved || is_changed {
            effects.push(Effect::Persist(Record::SessionMoved {
                id,
                connection,
                key_no: session.key_no,
                wish: session.wish.clone(),
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
        })
    }

    /// Marks a connection as used and tells its series.
    fn use_connection(&mut self, id: ConnectionId, now: Now) -> Option<KeySeries> {
        let connection = self.connections.get_mut(&id)?;
        connection.last_used = now.utc;
        connection.last_used_mono = now.mono;
        Some(connection.series)
    }

    fn open(
        &mut self,
        asked: Asked,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<Grant, Refusal> {
        let series =
            self.use_connection(asked.connection, now).ok_or(Refusal::ConnectionNotFound)?;
        if let Some(refusal) = invalid_session(&asked.info, &asked.wish) {
            return Err(refusal);
        }
        let key = SessionKey::new(series, &asked.info);
        let fitting = match self.pool.fitting(series, &asked.wish) {
            Ok(fitting) => fitting,
            Err(refusal) => {
                return Err(self.deny(series, asked.info, refusal, &[], now, effects));
            }
        };
        if let Some(&known) = self.by_key.get(&key) {
            let keeps = self.sessions.get(&known).is_some_and(|session| {
                session.wish.presence_only == asked.wish.presence_only
                    && session.key_no.is_none_or(|key_no| fitting.contains(&key_no))
            });
            if keeps
                && let Some(grant) =
                    self.renew(known, asked.connection, Some(asked.wish.clone()), now, effects)
            {
                // Whoever opens again has lost its token: it gets one.
                return Ok(Grant { with_token: grant.key_no.is_some(), ..grant });
            }
        }
        if self.sessions.len() >= SESSIONS_MAX {
            return Err(Refusal::Limit { max: SESSIONS_MAX });
        }
        let id = self.id_for(&asked, series);
        let key_no = if asked.wish.presence_only {
            None
        } else {
            match self.seat_for(&asked, series, &fitting) {
                Ok(key_no) => Some(key_no),
                Err(refusal) => {
                    return Err(self.deny(series, asked.info, refusal, &fitting, now, effects));
                }
            }
        };
        if let Some(&known) = self.by_key.get(&key) {
            // The session asks for another key than it holds, and gets one: the old seat goes.
            self.end_session(known, EndReason::Released, now, effects);
        }
        let saved = SavedSession {
            series,
            connection: asked.connection,
            info: asked.info,
            wish: asked.wish,
            key_no,
            opened: now.utc,
        };
        self.add_session(id, &saved, now);
        effects.push(Effect::Persist(Record::SessionOpened { id, session: saved }));
        self.grant(id, true).ok_or(Refusal::SessionNotFound)
    }

    /// A session that shows a lease gets its old id back, so that who watches it sees one session.
    fn id_for(&self, asked: &Asked, series: KeySeries) -> SessionId {
        asked
            .lease
            .as_ref()
            .filter(|lease| lease.key_id == series)
            .and_then(LeaseClaims::session)
            .filter(|id| !self.sessions.contains_key(id))
            .unwrap_or(asked.id)
    }

    /// The key whose seat the session takes: one it shares, the one of its lease, or the first
    /// with a free seat.
    fn seat_for(
        &self,
        asked: &Asked,
        series: KeySeries,
        fitting: &[KeyNo],
    ) -> Result<KeyNo, PoolRefusal> {
        if let Some(&shared) = fitting.iter().find(|key_no| {
            Holder::shared(series, &asked.info, **key_no)
                .is_some_and(|holder| self.holders.contains_key(&holder))
        }) {
            return Ok(shared);
        }
        let leased = asked.lease.as_ref().map(|lease| lease.key_no).filter(|key_no| {
            fitting.contains(key_no) && self.pool.key(*key_no).is_some_and(|key| key.free() > 0)
        });
        leased.map_or_else(|| self.pool.choose(fitting), Ok)
    }

    fn add_session(&mut self, id: SessionId, saved: &SavedSession, now: Now) {
        let session = Session {
            series: saved.series,
            connection: saved.connection,
            info: saved.info.clone(),
            wish: saved.wish.clone(),
            key_no: saved.key_no,
            opened: saved.opened,
            touched: now.mono,
            lease_issued: now.mono,
            looked_at: self.session_ends(now.mono),
        };
        self.index_session(id, &session);
        self.sessions.insert(id, session);
        if let Some(holder) = Holder::of(saved, id) {
            self.hold(holder, id);
        }
        self.ended.remove(&id);
    }

    fn index_session(&mut self, id: SessionId, session: &Session) {
        self.by_key.insert(SessionKey::new(session.series, &session.info), id);
        self.by_connection.insert((session.connection, id));
        self.session_expiry.insert((session.looked_at, id));
    }

    fn deny(
        &self,
        series: KeySeries,
        session: SessionInfo,
        refusal: PoolRefusal,
        fitting: &[KeyNo],
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Refusal {
        let refusal = match refusal {
            PoolRefusal::Full { total } => {
                let (holders, more) = if self.config.name_holders {
                    self.named_holders(fitting, total)
                } else {
                    (Vec::new(), 0)
                };
                Refusal::NoSeatFree { series, total, holders, more }
            }
            PoolRefusal::NoKey => Refusal::NoKey { series },
            PoolRefusal::Unusable { key_no, status } => {
                Refusal::KeyUnusable { series, key_no, status }
            }
            PoolRefusal::Unmet(wish) => Refusal::WishUnmet { series, wish },
        };
        effects.push(Effect::Persist(Record::Denied {
            series,
            session,
            class: refusal.class(),
            text: refusal.to_string(),
            at: now.utc,
        }));
        refusal
    }

    fn handle_close(
        &mut self,
        request: RequestId,
        session: SessionId,
        reason: EndReason,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let reply = if self.end_session(session, reason, now, effects) {
            Reply::Done
        } else {
            Reply::Refused(Refusal::SessionNotFound)
        };
        effects.push(Effect::Reply(request, reply));
    }

    fn handle_disconnect(
        &mut self,
        request: RequestId,
        id: ConnectionId,
        end_sessions: bool,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if !self.connections.contains_key(&id) {
            effects.push(Effect::Reply(request, Reply::Refused(Refusal::ConnectionNotFound)));
            return;
        }
        if end_sessions {
            let first = SessionId::from_bytes([0; 16]);
            let last = SessionId::from_bytes([0xFF; 16]);
            let of_connection: Vec<_> = self
                .by_connection
                .range((id, first)..=(id, last))
                .map(|&(_, session)| session)
                .collect();
            for session in of_connection {
                self.end_session(session, EndReason::ProcessExit, now, effects);
            }
        }
        let reason = if end_sessions { EndReason::ProcessExit } else { EndReason::Released };
        self.end_connection(id, reason, now, effects);
        effects.push(Effect::Reply(request, Reply::Done));
    }

    fn end_connection(
        &mut self,
        id: ConnectionId,
        reason: EndReason,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(connection) = self.connections.remove(&id) {
            self.connection_expiry.remove(&(connection.looked_at, id));
            effects.push(Effect::Persist(Record::ConnectionClosed { id, reason, at: now.utc }));
        }
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
        let key = SessionKey::new(session.series, &session.info);
        if self.by_key.get(&key) == Some(&id) {
            self.by_key.remove(&key);
        }
        self.by_connection.remove(&(session.connection, id));
        self.session_expiry.remove(&(session.looked_at, id));
        if let Some(holder) = Holder::of_session(&session, id) {
            self.let_go(&holder, id);
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

    /// The pool's keys.
    pub fn keys(&self) -> impl Iterator<Item = &PooledKey> {
        self.pool.keys()
    }

    /// One key.
    pub fn key(&self, key_no: KeyNo) -> Option<&PooledKey> {
        self.pool.key(key_no)
    }

    /// The state as the journal has it.
    pub fn snapshot(&self) -> Snapshot {
        let connections = self
            .connections
            .iter()
            .map(|(id, connection)| {
                let saved = SavedConnection {
                    series: connection.series,
                    peer: connection.peer.clone(),
                    info: connection.info.clone(),
                    created: connection.created,
                };
                (*id, saved)
            })
            .collect();
        let sessions = self
            .sessions
            .iter()
            .map(|(id, session)| {
                let saved = SavedSession {
                    series: session.series,
                    connection: session.connection,
                    info: session.info.clone(),
                    wish: session.wish.clone(),
                    key_no: session.key_no,
                    opened: session.opened,
                };
                (*id, saved)
            })
            .collect();
        Snapshot { connections, sessions, utc_seen: self.utc_recorded }
    }
}

struct Asked {
    id: SessionId,
    connection: ConnectionId,
    info: SessionInfo,
    wish: Wish,
    lease: Option<LeaseClaims>,
}

fn too_long(field: &'static str, text: &str) -> Option<Refusal> {
    (text.len() > TEXT_BYTES_MAX).then_some(Refusal::Invalid { field, bytes_max: TEXT_BYTES_MAX })
}

fn invalid_connection(info: &ConnectionInfo) -> Option<Refusal> {
    [
        ("OSVersion", &info.os_version),
        ("ComputerName", &info.computer_name),
        ("LocalIP", &info.local_ip),
        ("Process", &info.process),
        ("CPU", &info.cpu),
        ("PID", &info.pid),
        ("PlatformVersion", &info.platform_version),
        ("ModuleName", &info.module_name),
        ("Version", &info.version),
    ]
    .into_iter()
    .find_map(|(field, text)| too_long(field, text))
    .or_else(|| too_long("TerminalClient", info.terminal_client.as_deref().unwrap_or_default()))
}

fn invalid_session(info: &SessionInfo, wish: &Wish) -> Option<Refusal> {
    let empty = |field, text: &str| {
        text.trim().is_empty().then_some(Refusal::Invalid { field, bytes_max: 0 })
    };
    let optional = |field, text: &Option<String>| too_long(field, text.as_deref().unwrap_or(""));
    empty("SessionNumber", &info.session_number)
        .or_else(|| empty("InfoBaseConnectionStr", &info.info_base_connection_str))
        .or_else(|| too_long("SessionNumber", &info.session_number))
        .or_else(|| too_long("InfoBaseConnectionStr", &info.info_base_connection_str))
        .or_else(|| too_long("AppName", &info.app_name))
        .or_else(|| too_long("ComputerName", &info.computer_name))
        .or_else(|| optional("UserName", &info.user_name))
        .or_else(|| optional("TerminalClient", &info.terminal_client))
        .or_else(|| optional("AccessCode", &wish.access_code))
        .or_else(|| optional("ITN", &wish.itn))
        .or_else(|| optional("IEC", &wish.iec))
}

#[cfg(test)]
mod tests;
