//! What people and scrapers may look at. Reads only; nothing here changes the state.

use std::ops::Bound;
use std::sync::Arc;

use super::LicenceService;
use crate::journal::{SavedConnection, SavedSession, Snapshot};
use crate::key::{KeyNo, KeySeries};
use crate::pool::PooledKey;
use crate::session::{Connection, ConnectionId, Session, SessionId};

/// Totals of one series.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Installed keys.
    pub keys: usize,
    /// Connections.
    pub connections: usize,
    /// Sessions, counted and not.
    pub sessions: usize,
    /// Seats of the usable keys; of a key of a cluster those of all nodes together.
    pub seats: u64,
    /// Seats held.
    pub held: u64,
    /// Seats that are free at this server: of a key of a cluster those of this node's block.
    pub free: u64,
}

impl LicenceService {
    /// All connections.
    pub fn connections(&self) -> impl Iterator<Item = (&ConnectionId, &Connection)> {
        self.connections.iter()
    }

    /// Connections that come after this id, all without one; in the order of the ids.
    pub fn connections_after(
        &self,
        after: Option<ConnectionId>,
    ) -> impl Iterator<Item = (&ConnectionId, &Connection)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.connections.range((start, Bound::Unbounded))
    }

    /// One connection.
    pub fn connection(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.get(&id)
    }

    /// All sessions.
    pub fn sessions(&self) -> impl Iterator<Item = (&SessionId, &Session)> {
        self.sessions.iter()
    }

    /// How many sessions there are.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Sessions that come after this id, all without one; in the order of the ids.
    pub fn sessions_after(
        &self,
        after: Option<SessionId>,
    ) -> impl Iterator<Item = (&SessionId, &Session)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.sessions.range((start, Bound::Unbounded))
    }

    /// One session.
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// Totals of a series.
    pub fn totals(&self, series: KeySeries) -> Totals {
        let counts = self.counts.get(&series).copied().unwrap_or_default();
        let mut totals = Totals {
            connections: counts.connections,
            sessions: counts.sessions,
            ..Totals::default()
        };
        for key in self.pool.of_series(series) {
            totals.keys += 1;
            totals.held += u64::from(key.held);
            totals.free += u64::from(key.free());
            if key.status == crate::pool::KeyStatus::Enabled {
                totals.seats += u64::from(key.key.seats);
            }
        }
        totals
    }

    /// The pool's keys.
    pub fn keys(&self) -> impl Iterator<Item = &PooledKey> {
        self.pool.keys()
    }

    /// The keys of a series, in the order in which their seats are taken.
    pub fn keys_of(&self, series: KeySeries) -> impl Iterator<Item = &PooledKey> {
        self.pool.of_series(series)
    }

    /// One key.
    pub fn key(&self, key_no: KeyNo) -> Option<&PooledKey> {
        self.pool.key(key_no)
    }

    /// The state as the journal has it, without the memories of keys: seats do not depend on them.
    pub fn snapshot(&self) -> Snapshot {
        let connections = self
            .connections
            .iter()
            .map(|(id, connection)| {
                let saved = SavedConnection {
                    series: connection.series,
                    peer: Arc::clone(&connection.peer),
                    info: Arc::clone(&connection.info),
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
                    info: Arc::clone(&session.info),
                    wish: Arc::clone(&session.wish),
                    key_no: session.key_no,
                    opened: session.opened,
                };
                (*id, saved)
            })
            .collect();
        Snapshot {
            connections,
            sessions,
            utc_seen: self.utc_recorded,
            doubt: self.doubt_recorded,
            ..Snapshot::default()
        }
    }
}
