//! Who has come in at a browser, and until when: people of the vendor by name and password,
//! customers by a code of their key.
//!
//! Kept in memory: after a restart people come in again. The time is an argument; ids are drawn by
//! the callers. An id is known here by its digest alone, so that a dump of the memory or a slow
//! comparison gives nothing away.

use std::collections::BTreeMap;
use std::time::Duration;

use licence_core::time::MonoTime;

/// SHA-256 of what it stands for.
pub(crate) type Digest = [u8; 32];

/// How long and how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How long one lives without a request, in seconds.
    pub(crate) idle_secs: u64,
    /// How long one lives at all, in seconds.
    pub(crate) life_secs: u64,
    /// How many there are at one time; beyond that the one longest at rest ends.
    pub(crate) count_max: usize,
}

/// People of the vendor: half an hour at rest, a working day in all; a vendor has some dozens.
pub(crate) const STAFF: Bounds =
    Bounds { idle_secs: 30 * 60, life_secs: 12 * 3600, count_max: 1000 };

/// Customers: long enough to read and print a page, short enough for a borrowed computer. Each
/// takes some 200 bytes.
pub(crate) const CUSTOMERS: Bounds =
    Bounds { idle_secs: 15 * 60, life_secs: 3600, count_max: 10_000 };

/// One who has come in.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Session<T> {
    /// Who.
    pub(crate) who: T,
    /// What their forms must carry.
    pub(crate) csrf: String,
    begun: MonoTime,
    used: MonoTime,
}

/// All who have come in one way.
pub(crate) struct Sessions<T> {
    bounds: Bounds,
    by_id: BTreeMap<Digest, Session<T>>,
}

impl<T> std::fmt::Debug for Sessions<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sessions({})", self.by_id.len())
    }
}

impl<T: Clone> Sessions<T> {
    pub(crate) const fn new(bounds: Bounds) -> Self {
        Self { bounds, by_id: BTreeMap::new() }
    }

    /// Lets somebody in.
    pub(crate) fn begin(&mut self, id: Digest, who: T, csrf: String, now: MonoTime) {
        let bounds = self.bounds;
        self.by_id.retain(|_, session| bounds.is_alive(session, now));
        if self.by_id.len() >= bounds.count_max {
            let at_rest = self.by_id.iter().min_by_key(|(_, session)| session.used);
            if let Some(id) = at_rest.map(|(id, _)| *id) {
                self.by_id.remove(&id);
            }
        }
        self.by_id.insert(id, Session { who, csrf, begun: now, used: now });
    }

    /// The one with this id, who is using it.
    pub(crate) fn find(&mut self, id: &Digest, now: MonoTime) -> Option<Session<T>> {
        let session = self.by_id.get_mut(id)?;
        if !self.bounds.is_alive(session, now) {
            self.by_id.remove(id);
            return None;
        }
        session.used = now;
        Some(session.clone())
    }

    /// Lets somebody go.
    pub(crate) fn end(&mut self, id: &Digest) {
        self.by_id.remove(id);
    }

    /// Lets all go of whom this is true.
    pub(crate) fn end_all(&mut self, which: impl Fn(&T) -> bool) {
        self.by_id.retain(|_, session| !which(&session.who));
    }
}

impl Bounds {
    fn is_alive<T>(self, session: &Session<T>, now: MonoTime) -> bool {
        now.since(session.used) < Duration::from_secs(self.idle_secs)
            && now.since(session.begun) < Duration::from_secs(self.life_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { idle_secs: 100, life_secs: 250, count_max: 3 };

    fn at(secs: u64) -> MonoTime {
        MonoTime::from_millis(secs * 1000)
    }

    fn with(ids: &[u8]) -> Sessions<u8> {
        let mut sessions = Sessions::new(BOUNDS);
        for id in ids {
            sessions.begin([*id; 32], *id, "x".to_owned(), at(u64::from(*id)));
        }
        sessions
    }

    #[test]
    fn session_ends_when_it_rests_too_long_and_after_its_life() {
        let mut sessions = with(&[0]);
        for now in [99, 198, 249] {
            assert!(sessions.find(&[0; 32], at(now)).is_some(), "{now}");
        }
        assert!(sessions.find(&[0; 32], at(250)).is_none());
        let mut sessions = with(&[0]);
        assert!(sessions.find(&[0; 32], at(100)).is_none());
        assert!(sessions.find(&[9; 32], at(0)).is_none());
    }

    #[test]
    fn table_is_bounded_and_the_one_at_rest_goes() {
        let mut sessions = with(&[1, 2, 3]);
        assert!(sessions.find(&[1; 32], at(4)).is_some());
        sessions.begin([5; 32], 5, "x".to_owned(), at(5));
        assert!(sessions.find(&[2; 32], at(6)).is_none());
        assert!(sessions.find(&[1; 32], at(6)).is_some());
    }

    #[test]
    fn those_who_are_let_go_are_not_found() {
        let mut sessions = with(&[1, 2, 3]);
        sessions.end(&[1; 32]);
        sessions.end_all(|who| *who == 2);
        let there: Vec<_> = (1..=3).map(|id| sessions.find(&[id; 32], at(4)).is_some()).collect();
        assert_eq!(there, [false, false, true]);
    }
}
