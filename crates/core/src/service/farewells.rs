//! Sessions that their components have let go a while ago, for seats that are still on the way to them.
//!
//! Remembers who said goodbye; what becomes of a seat that comes too late is decided by who asks here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::session::SessionId;
use crate::time::MonoTime;

/// How long a goodbye is remembered. A seat that was asked for is on its way for seconds; where etcd is away
/// or another node is slow, for as long as its claim is followed after that (half a minute), several times.
const REMEMBERED: Duration = Duration::from_secs(300);

/// Goodbyes that are remembered at one time, some 10 MB: as many as seats that may be on the way. Of those
/// beyond, a seat that comes too late is kept until nobody can have a lease for it.
const FAREWELLS_MAX: usize = 100_000;

/// Who has said goodbye, and until when that is remembered.
#[derive(Debug, Default)]
pub(super) struct Farewells {
    until: BTreeMap<SessionId, MonoTime>,
    ends: BTreeSet<(MonoTime, SessionId)>,
}

impl Farewells {
    /// A session was let go, whether it was known here or not.
    pub(super) fn note(&mut self, session: SessionId, now: MonoTime) {
        self.forget_old(now);
        self.forget(&session);
        if self.until.len() < FAREWELLS_MAX {
            let until = now.after(REMEMBERED);
            self.until.insert(session, until);
            self.ends.insert((until, session));
        }
    }

    /// The session is wanted again.
    pub(super) fn forget(&mut self, session: &SessionId) {
        if let Some(until) = self.until.remove(session) {
            self.ends.remove(&(until, *session));
        }
    }

    /// Whether a session was let go and not wanted since.
    pub(super) fn has(&self, session: &SessionId, now: MonoTime) -> bool {
        self.until.get(session).is_some_and(|until| now < *until)
    }

    fn forget_old(&mut self, now: MonoTime) {
        while let Some(&(until, session)) = self.ends.first()
            && until <= now
        {
            self.ends.pop_first();
            self.until.remove(&session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> SessionId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        SessionId::from_bytes(bytes)
    }

    #[test]
    fn goodbye_is_remembered_for_its_time_or_until_the_session_is_wanted_again() {
        let begin = MonoTime::default();
        let mut farewells = Farewells::default();
        farewells.note(id(1), begin);
        farewells.note(id(2), begin);
        farewells.forget(&id(2));
        let just_before = begin.after(REMEMBERED - Duration::from_millis(1));
        assert!(farewells.has(&id(1), just_before) && !farewells.has(&id(2), begin));
        assert!(!farewells.has(&id(1), begin.after(REMEMBERED)));
        farewells.note(id(1), just_before);
        assert!(farewells.has(&id(1), begin.after(REMEMBERED)), "the time begins anew");
    }

    #[test]
    fn old_goodbyes_make_room_and_those_above_the_bound_are_not_remembered() {
        let begin = MonoTime::default();
        let mut farewells = Farewells::default();
        let count = u32::try_from(FAREWELLS_MAX).unwrap();
        for n in 0..=count {
            farewells.note(id(n), begin);
        }
        assert!(farewells.has(&id(count - 1), begin) && !farewells.has(&id(count), begin));
        farewells.note(id(count), begin.after(REMEMBERED));
        assert!(farewells.has(&id(count), begin.after(REMEMBERED)));
        assert_eq!((farewells.until.len(), farewells.ends.len()), (1, 1));
    }
}
