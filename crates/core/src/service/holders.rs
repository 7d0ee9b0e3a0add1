//! Who holds a seat: one session, or all file-mode sessions of one computer together.
//!
//! Keeps the pool's counts equal to the holders. When keys go or shrink, decides who moves to
//! another key and who loses the seat: those who came last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Effect, HOLDERS_NAMED_MAX, LicenceService};
use crate::journal::{Record, SavedSession};
use crate::key::{KeyNo, KeySeries};
use crate::protocol::SessionInfo;
use crate::refusal::HolderName;
use crate::session::{EndReason, Session, SessionId};
use crate::time::{MonoTime, Now, Utc};

/// Holder of one seat of one key.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Holder {
    /// The file-mode sessions of a computer, or of a terminal client on it.
    Computer {
        /// Key.
        key_no: KeyNo,
        /// Series.
        series: KeySeries,
        /// Computer.
        computer: String,
        /// Terminal client.
        terminal: Option<String>,
    },
    /// One session.
    Session {
        /// Key.
        key_no: KeyNo,
        /// The session.
        id: SessionId,
    },
}

impl Holder {
    /// The holder that a file-mode session shares; nothing on a server.
    pub(super) fn shared(series: KeySeries, info: &SessionInfo, key_no: KeyNo) -> Option<Self> {
        (!info.is_server).then(|| Self::Computer {
            key_no,
            series,
            computer: info.computer_name.to_lowercase(),
            terminal: info.terminal_client.as_ref().map(|name| name.to_lowercase()),
        })
    }

    fn new(series: KeySeries, info: &SessionInfo, key_no: KeyNo, id: SessionId) -> Self {
        Self::shared(series, info, key_no).unwrap_or(Self::Session { key_no, id })
    }

    pub(super) fn of(saved: &SavedSession, id: SessionId) -> Option<Self> {
        Some(Self::new(saved.series, &saved.info, saved.key_no?, id))
    }

    pub(super) fn of_session(session: &Session, id: SessionId) -> Option<Self> {
        Some(Self::new(session.series, &session.info, session.key_no?, id))
    }

    /// Whether several sessions may hold the seat together.
    pub(super) const fn is_shared(&self) -> bool {
        matches!(self, Self::Computer { .. })
    }

    const fn key_no(&self) -> KeyNo {
        match self {
            Self::Computer { key_no, .. } | Self::Session { key_no, .. } => *key_no,
        }
    }
}

impl LicenceService {
    /// Adds a session to a holder; a holder that is not there yet takes a seat.
    pub(super) fn hold(&mut self, holder: Holder, id: SessionId) {
        let key_no = holder.key_no();
        self.ruling.hold(&holder, id);
        self.quotas.note_change();
        let sessions = self.holders.entry(holder).or_default();
        if sessions.is_empty() {
            self.pool.take(key_no);
        }
        sessions.insert(id);
    }

    /// Takes a session from a holder; the last one gives the seat back.
    pub(super) fn let_go(&mut self, holder: &Holder, id: SessionId) {
        let Some(sessions) = self.holders.get_mut(holder) else {
            return;
        };
        sessions.remove(&id);
        self.ruling.let_go(holder, id);
        self.quotas.note_change();
        if sessions.is_empty() {
            self.holders.remove(holder);
            self.pool.give_back(holder.key_no());
        }
    }

    /// Brings holders in line with the pool after keys came, went or changed: whoever holds a seat
    /// that no longer exists moves to another key or loses it. Rules are not asked: they are for
    /// sessions that open. Nor is the access code of a key whose seat a session holds already: it is
    /// asked for when the session looks for another.
    pub(super) fn settle(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let mut crowded: BTreeMap<KeyNo, Vec<Holder>> = BTreeMap::new();
        for holder in self.holders.keys() {
            if self.seats(holder.key_no()) < self.held(holder.key_no()) {
                crowded.entry(holder.key_no()).or_default().push(holder.clone());
            }
        }
        let homeless: Vec<Holder> = crowded
            .into_iter()
            .flat_map(|(key_no, mut holders)| {
                holders.sort_by_cached_key(|holder| self.since(holder));
                holders.split_off(holders.len().min(self.seats(key_no) as usize))
            })
            .collect();
        for holder in homeless {
            self.rehouse(&holder, EndReason::KeyGone, now, effects);
        }
        let orphans: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| {
                session.key_no.is_none() && !self.pool.is_present(session.series, &session.wish)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in orphans {
            self.end_session(id, EndReason::KeyGone, now, effects);
        }
    }

    /// Of those who hold seats of a key, leaves the first `seats` that came; the others move to another
    /// key or lose theirs.
    pub(super) fn end_above(
        &mut self,
        key_no: KeyNo,
        seats: u32,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let mut holders: Vec<Holder> =
            self.of_key(key_no).map(|(holder, _)| holder.clone()).collect();
        holders.sort_by_cached_key(|holder| self.since(holder));
        for holder in holders.split_off(holders.len().min(seats as usize)) {
            self.rehouse(&holder, EndReason::Isolated, now, effects);
        }
    }

    /// Seats that a key grants at this moment, of a key of a cluster all of its nodes together.
    fn seats(&self, key_no: KeyNo) -> u32 {
        let enabled = self.pool.key(key_no).filter(|key| key.status.keeps_seats());
        enabled.map_or(0, |key| key.key.seats)
    }

    /// Seats held of a key; of one that is gone, as many as anyone could hold.
    fn held(&self, key_no: KeyNo) -> u32 {
        self.pool.key(key_no).map_or(u32::MAX, |key| key.held)
    }

    fn since(&self, holder: &Holder) -> Option<Utc> {
        let sessions = self.holders.get(holder)?;
        sessions.iter().filter_map(|id| self.sessions.get(id)).map(|session| session.opened).min()
    }

    /// Houses the sessions of a holder anew; those for whom there is no room end for this reason.
    fn rehouse(&mut self, holder: &Holder, reason: EndReason, now: Now, effects: &mut Vec<Effect>) {
        let Some(sessions) = self.holders.remove(holder) else {
            return;
        };
        self.pool.give_back(holder.key_no());
        // All let go before the first is housed anew: each may come to a seat that another of them
        // shares.
        for id in &sessions {
            self.ruling.let_go(holder, *id);
        }
        self.quotas.note_change();
        for id in sessions {
            self.rehouse_session(id, reason, now, effects);
        }
    }

    fn rehouse_session(
        &mut self,
        id: SessionId,
        reason: EndReason,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let target = self.pool.fitting(session.series, &session.wish).and_then(|fitting| {
            let shared = fitting.iter().copied().find(|key_no| {
                Holder::shared(session.series, &session.info, *key_no)
                    .is_some_and(|holder| self.holders.contains_key(&holder))
            });
            shared.map_or_else(|| self.pool.choose(&fitting), Ok)
        });
        match target {
            Ok(key_no) => {
                let holder = Holder::new(session.series, &session.info, key_no, id);
                effects.push(Effect::Persist(Record::SessionMoved {
                    id,
                    connection: session.connection,
                    key_no: Some(key_no),
                    wish: Arc::clone(&session.wish),
                    at: now.utc,
                }));
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.key_no = Some(key_no);
                    // The token it has names the old key: the next heartbeat brings another.
                    session.lease_issued = MonoTime::default();
                }
                self.hold(holder, id);
            }
            Err(_) => {
                // Its seat is already back, so it must not be given back again.
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.key_no = None;
                }
                self.end_session(id, reason, now, effects);
            }
        }
    }

    /// Some of those who hold the seats of these keys, and how many more there are.
    pub(super) fn named_holders(&self, keys: &[KeyNo], held: u64) -> (Vec<HolderName>, u64) {
        let named: Vec<HolderName> = keys
            .iter()
            .flat_map(|key_no| self.of_key(*key_no))
            .take(HOLDERS_NAMED_MAX)
            .filter_map(|(_, sessions)| sessions.first().and_then(|id| self.sessions.get(id)))
            .map(|session| HolderName::of(&session.info))
            .collect();
        let more = held.saturating_sub(named.len() as u64);
        (named, more)
    }

    /// The holders of one key, found without a look at those of other keys.
    fn of_key(&self, key_no: KeyNo) -> impl Iterator<Item = (&Holder, &BTreeSet<SessionId>)> {
        let computers = Holder::Computer {
            key_no,
            series: KeySeries::from_u16(0),
            computer: String::new(),
            terminal: None,
        };
        let sessions = Holder::Session { key_no, id: SessionId::from_bytes([0; 16]) };
        [computers, sessions].into_iter().flat_map(move |first| {
            let is_computer = matches!(first, Holder::Computer { .. });
            self.holders.range(first..).take_while(move |(holder, _)| {
                holder.key_no() == key_no
                    && matches!(holder, Holder::Computer { .. }) == is_computer
            })
        })
    }

    /// What must hold after every event. Costs a walk over everything, so only where debug
    /// assertions are on: in tests, fuzzing and the simulation.
    pub(super) fn check_invariants(&self) {
        #[cfg(debug_assertions)]
        {
            self.assert_invariants();
        }
    }

    #[cfg(debug_assertions)]
    fn assert_invariants(&self) {
        // A walk over very many sessions after each of very many events would take hours; the
        // invariants do not depend on the size.
        if self.sessions.len() > 2000 {
            return;
        }
        let mut held: BTreeMap<KeyNo, u32> = BTreeMap::new();
        for (holder, sessions) in &self.holders {
            assert!(!sessions.is_empty(), "a holder without sessions");
            *held.entry(holder.key_no()).or_default() += 1;
            for id in sessions {
                let session = self.sessions.get(id).expect("a holder names an ended session");
                assert_eq!(Holder::of_session(session, *id).as_ref(), Some(holder));
            }
        }
        for key in self.pool.keys() {
            let held = held.remove(&key.key.key_no).unwrap_or(0);
            assert_eq!(held, key.held, "the pool and the holders count differently");
            let granted = if key.status.keeps_seats() { key.key.seats } else { 0 };
            assert!(held <= granted, "more seats held than granted");
        }
        assert!(held.is_empty(), "seats held of keys that are not there");
        let counted = self.sessions.values().filter(|session| session.key_no.is_some()).count();
        let in_holders: usize = self.holders.values().map(BTreeSet::len).sum();
        assert_eq!(counted, in_holders, "every lease has one holder");
        let of_series: usize = self.counts.values().map(|counts| counts.sessions).sum();
        assert_eq!(of_series, self.sessions.len(), "the counts of the series differ");
        let of_series: usize = self.counts.values().map(|counts| counts.connections).sum();
        assert_eq!(of_series, self.connections.len(), "the counts of the series differ");
        let connections = self
            .connections
            .values()
            .map(|found| super::connections::connection_bytes(&found.info));
        let sessions = self
            .sessions
            .values()
            .map(|found| super::opening::session_bytes(&found.info, &found.wish));
        assert_eq!(connections.chain(sessions).sum::<usize>(), self.text_bytes, "texts differ");
        self.assert_rules_counted();
        self.assert_limits();
        assert_eq!(self.by_connection.len(), self.sessions.len());
        assert!(self.by_key.len() <= self.sessions.len());
        assert_eq!(self.connection_expiry.len(), self.connections.len());
        assert_eq!(self.session_expiry.len(), self.sessions.len());
    }
}
