//! What must be on disk before an answer leaves, and the state that it adds up to.
//!
//! The store keeps exactly what [`Snapshot::apply`] keeps; the simulation holds the service to
//! it: replaying the records gives the service's own state. Heartbeats and touches are not
//! recorded, because a restart gives every lease a full period anyway.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::key::{KeyNo, KeySeries};
use crate::key_memory::KeyMemory;
use crate::protocol::{ConnectionInfo, SessionInfo, Wish};
use crate::refusal::HolderName;
use crate::session::{ConnectionId, EndReason, SessionId};
use crate::time::Utc;
use crate::time::term_clock::Doubt;

/// One thing that happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Record {
    /// Somebody changed something by hand. Kept for the audit trail alone.
    Audit {
        /// Who; empty for nobody in particular.
        actor: String,
        /// Address they came from.
        peer: String,
        /// What they did, a stable code such as `session_end` or `settings_change`.
        action: &'static str,
        /// What they did it to: an id, a key of the settings, a name.
        subject: String,
        /// The key, if it was about one.
        key_no: Option<KeyNo>,
        /// The series, if it was about one.
        series: Option<KeySeries>,
        /// What they say about it, or what changed. Never a password, code or token.
        note: String,
        /// When.
        at: Utc,
    },
    /// A connection ended.
    ConnectionClosed {
        /// Which.
        id: ConnectionId,
        /// Why.
        reason: EndReason,
        /// When.
        at: Utc,
    },
    /// A connection came.
    ConnectionOpened {
        /// Its id.
        id: ConnectionId,
        /// What is kept of it.
        connection: SavedConnection,
    },
    /// A seat was refused.
    Denied {
        /// The series.
        series: KeySeries,
        /// Who asked.
        session: SessionInfo,
        /// Class of the refusal.
        class: &'static str,
        /// The refusal in English.
        text: String,
        /// Some of those who held the seats, for the administrator: also where refusals do not name
        /// them.
        holders: Vec<HolderName>,
        /// Address that the session's component came from; empty when it is not known.
        peer: String,
        /// The rule that refused, if one did.
        rule: Option<String>,
        /// When.
        at: Utc,
    },
    /// A key came or changed.
    KeyArrived {
        /// Which.
        key_no: KeyNo,
        /// Its series.
        series: KeySeries,
        /// When.
        at: Utc,
    },
    /// The memory of a key was written, guarded or wiped.
    KeyMemory {
        /// Series of the key.
        series: KeySeries,
        /// Which key.
        key_no: KeyNo,
        /// Its memory from this moment on.
        memory: KeyMemory,
        /// When.
        at: Utc,
    },
    /// A key went. Its memory stays: a key that is removed by mistake or moved away and back is the
    /// same key, and what was kept with it is the customer's.
    KeyRemoved {
        /// Which.
        key_no: KeyNo,
        /// When.
        at: Utc,
    },
    /// More seats of a series are held than was recorded for this span of the calendar. Kept for
    /// the reports alone.
    Peak {
        /// The series.
        series: KeySeries,
        /// Begin of the span, [`PEAK_SPAN_MILLIS`](crate::service::PEAK_SPAN_MILLIS) long.
        span: Utc,
        /// Seats held at one moment of it.
        held: u64,
        /// Seats that there were at that moment.
        seats: u64,
    },
    /// A session ended.
    SessionClosed {
        /// Which.
        id: SessionId,
        /// Why.
        reason: EndReason,
        /// When.
        at: Utc,
    },
    /// A session goes on with another key or connection.
    SessionMoved {
        /// Which.
        id: SessionId,
        /// Its connection.
        connection: ConnectionId,
        /// Its key.
        key_no: Option<KeyNo>,
        /// What it asks of the key.
        wish: Arc<Wish>,
        /// When.
        at: Utc,
    },
    /// A session was opened.
    SessionOpened {
        /// Its id.
        id: SessionId,
        /// What is kept of it.
        session: SavedSession,
    },
    /// The clock has jumped ahead and is not believed, or is believed again.
    ClockDoubted(
        /// The jump; nothing from when on there is no doubt.
        Option<Doubt>,
    ),
    /// The calendar was seen at this moment: a clock set back later does not prolong a term.
    UtcSeen(
        /// The moment.
        Utc,
    ),
}

impl Record {
    /// When it happened, by the clock as it was; nothing for what is told of the calendar itself.
    pub const fn at(&self) -> Option<Utc> {
        match self {
            Self::Audit { at, .. }
            | Self::ConnectionClosed { at, .. }
            | Self::Denied { at, .. }
            | Self::KeyArrived { at, .. }
            | Self::KeyMemory { at, .. }
            | Self::KeyRemoved { at, .. }
            | Self::SessionClosed { at, .. }
            | Self::SessionMoved { at, .. } => Some(*at),
            Self::ConnectionOpened { connection, .. } => Some(connection.created),
            Self::SessionOpened { session, .. } => Some(session.opened),
            Self::ClockDoubted(_) | Self::Peak { .. } | Self::UtcSeen(_) => None,
        }
    }
}

/// What is kept of a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SavedConnection {
    /// Its series.
    pub series: KeySeries,
    /// Address it came from.
    pub peer: Arc<str>,
    /// What it told of itself.
    pub info: Arc<ConnectionInfo>,
    /// When it came.
    pub created: Utc,
}

/// What is kept of a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SavedSession {
    /// Its series.
    pub series: KeySeries,
    /// Its connection.
    pub connection: ConnectionId,
    /// What it told of itself.
    pub info: Arc<SessionInfo>,
    /// What it asks of the key.
    pub wish: Arc<Wish>,
    /// The key whose seat it holds.
    pub key_no: Option<KeyNo>,
    /// When it was opened.
    pub opened: Utc,
}

/// The state that the records add up to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Snapshot {
    /// Open connections.
    pub connections: BTreeMap<ConnectionId, SavedConnection>,
    /// Open sessions.
    pub sessions: BTreeMap<SessionId, SavedSession>,
    /// Memories of keys that were written, by series as well: a number is unique within a vendor
    /// only.
    pub key_memories: BTreeMap<(KeySeries, KeyNo), KeyMemory>,
    /// Latest moment of the calendar ever recorded.
    pub utc_seen: Option<Utc>,
    /// A jump of the clock that is not believed.
    pub doubt: Option<Doubt>,
}

impl Snapshot {
    /// Adds one record. A record about something unknown changes nothing.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::ConnectionClosed { id, .. } => {
                self.connections.remove(id);
            }
            Record::ConnectionOpened { id, connection } => {
                self.connections.insert(*id, connection.clone());
            }
            Record::KeyMemory { series, key_no, memory, .. } => {
                let key = (*series, *key_no);
                if memory.is_untouched() {
                    self.key_memories.remove(&key);
                } else {
                    self.key_memories.insert(key, memory.clone());
                }
            }
            Record::SessionClosed { id, .. } => {
                self.sessions.remove(id);
            }
            Record::SessionMoved { id, connection, key_no, wish, .. } => {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.connection = *connection;
                    session.key_no = *key_no;
                    session.wish = wish.clone();
                }
            }
            Record::SessionOpened { id, session } => {
                self.sessions.insert(*id, session.clone());
            }
            Record::ClockDoubted(doubt) => self.doubt = *doubt,
            Record::UtcSeen(at) => self.utc_seen = self.utc_seen.max(Some(*at)),
            Record::Audit { .. }
            | Record::Denied { .. }
            | Record::KeyArrived { .. }
            | Record::KeyRemoved { .. }
            | Record::Peak { .. } => {}
        }
    }
}
