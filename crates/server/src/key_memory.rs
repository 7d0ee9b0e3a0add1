//! Memories of all keys and the guesses at their passwords, as the driver's task owns them.
//!
//! What a password opens is [`licence_core::key_memory`]'s; that a change is on disk before its
//! answer leaves is the driver's. Guesses are kept in memory only: a restart costs whoever guesses
//! more time than it gives them.

use std::collections::BTreeMap;
use std::time::Duration;

use licence_core::key::{KeyNo, KeySeries};
use licence_core::key_memory::{Guesses, KeyMemory, KeyMemoryError};
use licence_core::time::MonoTime;

/// A key, by its series as well: a number is unique within a vendor only.
pub(crate) type MemoryOf = (KeySeries, KeyNo);

/// Why a memory was neither shown nor changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The rules of the memory.
    #[error(transparent)]
    Rule(#[from] KeyMemoryError),
    /// Too many wrong passwords; none is looked at for so long.
    #[error("too many wrong passwords")]
    TooManyAttempts(Duration),
}

/// What is kept of all keys. There are no more of them than licences that vendors have signed for
/// this server, so they need no bound of their own.
#[derive(Debug, Default)]
pub(crate) struct Memories {
    kept: BTreeMap<MemoryOf, KeyMemory>,
    guesses: BTreeMap<MemoryOf, Guesses>,
}

impl Memories {
    pub(crate) const fn new(kept: BTreeMap<MemoryOf, KeyMemory>) -> Self {
        Self { kept, guesses: BTreeMap::new() }
    }

    /// Applies a rule to a memory. A wrong password is counted when the caller named one at all: a
    /// configuration that tries without a password guesses nothing.
    pub(crate) fn apply<T>(
        &mut self,
        of: MemoryOf,
        names_password: bool,
        now: MonoTime,
        rule: impl FnOnce(&KeyMemory) -> Result<T, KeyMemoryError>,
    ) -> Result<T, MemoryError> {
        self.guesses.retain(|_, guesses| !guesses.is_over(now));
        if let Some(wait) = self.guesses.get(&of).and_then(|guesses| guesses.wait(now)) {
            return Err(MemoryError::TooManyAttempts(wait));
        }
        let untouched = KeyMemory::default();
        let outcome = rule(self.kept.get(&of).unwrap_or(&untouched));
        if names_password && matches!(outcome, Err(KeyMemoryError::Password(_))) {
            self.guesses.entry(of).or_default().wrong(now);
        }
        Ok(outcome?)
    }

    /// Puts a memory in the place of the one before; whether that is another one, and so must be
    /// written down.
    pub(crate) fn keep(&mut self, of: MemoryOf, memory: KeyMemory) -> bool {
        let untouched = KeyMemory::default();
        if *self.kept.get(&of).unwrap_or(&untouched) == memory {
            return false;
        }
        if memory.is_untouched() {
            self.kept.remove(&of).is_some()
        } else {
            self.kept.insert(of, memory);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use licence_core::key_memory::Passwords;

    use super::*;

    const OF: MemoryOf = (KeySeries::from_u16(0x672B), KeyNo(5));
    const OTHER: MemoryOf = (KeySeries::from_u16(0x4BFE), KeyNo(5));

    fn at(secs: u64) -> MonoTime {
        MonoTime::from_millis(secs * 1000)
    }

    fn guarded() -> Memories {
        let none = Passwords { read: "", write: "" };
        let next = Passwords { read: "one", write: "two" };
        let memory = KeyMemory::default().with_passwords(none, next, [1; 16]).unwrap();
        let mut memories = Memories::default();
        assert!(memories.keep(OF, memory));
        memories
    }

    fn read(memories: &mut Memories, of: MemoryOf, password: &str, secs: u64) -> bool {
        let read = |memory: &KeyMemory| memory.read(password).map(drop);
        memories.apply(of, !password.is_empty(), at(secs), read).is_ok()
    }

    #[test]
    fn guesses_at_one_key_stop_for_a_minute_and_hold_up_no_other() {
        let mut memories = guarded();
        for _ in 0..20 {
            assert!(!read(&mut memories, OF, "", 100), "no password is no guess");
        }
        for _ in 0..5 {
            assert!(read(&mut memories, OF, "one", 100));
            assert!(!read(&mut memories, OF, "wrong", 100));
        }
        let wait = memories.apply(OF, true, at(110), |memory| memory.read("one").map(drop));
        assert_eq!(wait, Err(MemoryError::TooManyAttempts(Duration::from_secs(50))));
        assert!(read(&mut memories, OTHER, "", 110), "the same number of another vendor");
        assert!(read(&mut memories, OF, "one", 160));
        assert!(memories.guesses.is_empty(), "what is over is forgotten");
    }

    #[test]
    fn only_another_memory_is_written_down_and_a_wiped_one_is_gone() {
        let mut memories = guarded();
        let same = memories.kept[&OF].clone();
        assert!(!memories.keep(OF, same));
        assert!(memories.keep(OF, KeyMemory::default()));
        assert!(!memories.keep(OF, KeyMemory::default()));
        assert!(memories.kept.is_empty());
    }
}
