//! A small model of the service at one node: who holds a seat, limits, expected sessions. It keeps
//! the promises that the cluster asks of the real one and knows nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use licence_core::key::KeyNo;
use licence_core::session::SessionId;
use licence_core::time::MonoTime;

#[derive(Clone)]
pub(crate) struct Seats {
    life: Duration,
    sessions: BTreeMap<SessionId, (KeyNo, MonoTime, u64)>,
    expected: BTreeMap<SessionId, (KeyNo, MonoTime, u64)>,
    came_by_claim: BTreeSet<SessionId>,
    limits: BTreeMap<KeyNo, u32>,
    pub(crate) valid_until: Option<MonoTime>,
    pub(crate) hold_until: Option<MonoTime>,
    opened: u64,
    /// Sessions that have ended, and whether somebody ended them.
    pub(crate) ended: Vec<(SessionId, bool)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Opened {
    /// `fresh`: it took a free seat.
    Granted {
        fresh: bool,
    },
    Full,
    NotNow,
}

impl Seats {
    pub(crate) fn new(life: Duration) -> Self {
        Self {
            life,
            sessions: BTreeMap::new(),
            expected: BTreeMap::new(),
            came_by_claim: BTreeSet::new(),
            limits: BTreeMap::new(),
            valid_until: None,
            hold_until: None,
            opened: 0,
            ended: Vec::new(),
        }
    }

    /// What the journal gives back after the process has died: every session, with a whole life.
    pub(crate) fn restored(&self, now: MonoTime) -> Self {
        let mut seats = Self::new(self.life);
        seats.opened = self.opened;
        seats.sessions = self
            .sessions
            .iter()
            .map(|(session, (key_no, _, opened))| (*session, (*key_no, now, *opened)))
            .collect();
        seats
    }

    pub(crate) fn held(&self, key_no: KeyNo) -> u32 {
        let held = self.sessions.values().filter(|(key, ..)| *key == key_no).count()
            + self.expected.values().filter(|(key, ..)| *key == key_no).count();
        u32::try_from(held).unwrap()
    }

    /// All that are here or expected.
    pub(crate) fn sessions(&self) -> Vec<SessionId> {
        self.sessions.keys().chain(self.expected.keys()).copied().collect()
    }

    pub(crate) fn limit(&self, key_no: KeyNo) -> Option<u32> {
        self.limits.get(&key_no).copied()
    }

    pub(crate) fn advance(&mut self, now: MonoTime) {
        let life = self.life;
        let is_over = |at: &MonoTime| at.after(life) <= now;
        let over: Vec<(SessionId, KeyNo)> = self
            .sessions
            .iter()
            .filter(|(_, (_, touched, _))| is_over(touched))
            .map(|(session, (key_no, ..))| (*session, *key_no))
            .chain(
                self.expected
                    .iter()
                    .filter(|(_, (_, since, _))| is_over(since))
                    .map(|(session, (key_no, ..))| (*session, *key_no)),
            )
            .collect();
        for (session, key_no) in over {
            self.sessions.remove(&session);
            self.expected.remove(&session);
            if self.came_by_claim.remove(&session)
                && let Some(limit) = self.limits.get_mut(&key_no)
            {
                *limit = limit.saturating_sub(1);
            }
            self.ended.push((session, false));
        }
    }

    pub(crate) fn open(&mut self, session: SessionId, key_no: KeyNo, now: MonoTime) -> Opened {
        self.advance(now);
        if self.is_held_up(now) {
            return Opened::NotNow;
        }
        if let Some((_, touched, _)) = self.sessions.get_mut(&session) {
            *touched = now;
            return Opened::Granted { fresh: false };
        }
        let is_expected = self.expected.remove(&session).is_some();
        if !is_expected {
            if self.valid_until.is_none_or(|until| until <= now) {
                return Opened::NotNow;
            }
            if self.held(key_no) >= self.limit(key_no).unwrap_or(0) {
                return Opened::Full;
            }
        }
        self.opened += 1;
        self.sessions.insert(session, (key_no, now, self.opened));
        Opened::Granted { fresh: !is_expected }
    }

    /// Whether the session is here and was renewed.
    pub(crate) fn renew(&mut self, session: &SessionId, now: MonoTime) -> bool {
        self.advance(now);
        if self.is_held_up(now) {
            return false;
        }
        let Some((_, touched, _)) = self.sessions.get_mut(session) else { return false };
        *touched = now;
        true
    }

    /// Whether no session may be renewed.
    fn is_held_up(&self, now: MonoTime) -> bool {
        self.hold_until.is_none_or(|until| until <= now)
    }

    pub(crate) fn release(&mut self, session: &SessionId) {
        let was_expected = self.expected.remove(session).is_some();
        if self.sessions.remove(session).is_some() || was_expected {
            self.came_by_claim.remove(session);
            self.ended.push((*session, true));
        }
    }

    pub(crate) fn set_limit(&mut self, key_no: KeyNo, seats: u32, force: bool) -> (u32, u32) {
        while force && self.held(key_no) > seats {
            let newest = self
                .sessions
                .iter()
                .filter(|(_, (key, ..))| *key == key_no)
                .max_by_key(|(_, (_, _, opened))| *opened)
                .map(|(session, _)| *session);
            let oldest = self
                .expected
                .iter()
                .filter(|(_, (key, ..))| *key == key_no)
                .min_by_key(|(_, (_, _, no))| *no)
                .map(|(session, _)| *session);
            let Some(session) = oldest.or(newest) else { break };
            self.release(&session);
        }
        let held = self.held(key_no);
        let limit = seats.max(held);
        self.limits.insert(key_no, limit);
        (limit, held)
    }

    pub(crate) fn take_away(&mut self, session: &SessionId) -> bool {
        let key_no = self.sessions.remove(session).map(|(key_no, ..)| key_no);
        let key_no = key_no.or_else(|| self.expected.remove(session).map(|(key_no, ..)| key_no));
        self.came_by_claim.remove(session);
        let Some(key_no) = key_no else { return false };
        if let Some(limit) = self.limits.get_mut(&key_no) {
            *limit = limit.saturating_sub(1);
        }
        true
    }

    pub(crate) fn expect(&mut self, session: SessionId, key_no: KeyNo, now: MonoTime) {
        self.came_by_claim.insert(session);
        if let Some(limit) = self.limits.get_mut(&key_no) {
            *limit += 1;
        }
        if !self.sessions.contains_key(&session) {
            self.opened += 1;
            self.expected.entry(session).or_insert((key_no, now, self.opened));
        }
    }

    pub(crate) fn keep(&mut self, session: &SessionId, now: MonoTime) {
        if let Some((_, touched, _)) = self.sessions.get_mut(session) {
            *touched = now;
        }
        if let Some((_, since, _)) = self.expected.get_mut(session) {
            *since = now;
        }
    }

    pub(crate) fn end_all(&mut self) {
        self.sessions.clear();
        self.expected.clear();
        self.came_by_claim.clear();
    }
}
