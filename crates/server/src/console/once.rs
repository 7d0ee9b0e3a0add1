//! Tokens that were made and not yet shown: the form's answer sends the browser on to a page, and
//! that page shows the secret once.
//!
//! Kept in memory, for a minute, for whoever made the token.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use licence_core::time::MonoTime;

/// How long a token waits to be shown, in seconds: a browser follows at once, over a bad line some
/// seconds later.
const WAIT_SECS: u64 = 60;

/// Tokens that wait at one time; beyond that the oldest goes unseen. Administrators make them one by
/// one.
const WAITING_MAX: usize = 16;

/// A token as the page shows it. Its `Debug` form does not show the secret.
pub(super) struct MadeToken {
    pub(super) name: String,
    pub(super) secret: String,
    /// The end of its life, as text.
    pub(super) expires: String,
}

impl std::fmt::Debug for MadeToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MadeToken({})", self.name)
    }
}

#[derive(Debug)]
struct Waiting {
    id: String,
    owner: String,
    made: MadeToken,
    since: MonoTime,
}

/// The tokens that wait to be shown.
#[derive(Debug, Default)]
pub struct MadeTokens(Mutex<VecDeque<Waiting>>);

impl MadeTokens {
    /// Keeps a token for the page with this id, which nobody can guess.
    pub(super) fn keep(&self, id: String, owner: &str, made: MadeToken, now: MonoTime) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|kept| is_waiting(kept, now));
        if waiting.len() == WAITING_MAX {
            waiting.pop_front();
        }
        waiting.push_back(Waiting { id, owner: owner.to_owned(), made, since: now });
    }

    /// The token for the page with this id; nothing the second time, too late, and for others.
    pub(super) fn take(&self, id: &str, owner: &str, now: MonoTime) -> Option<MadeToken> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|kept| is_waiting(kept, now));
        let at = waiting.iter().position(|kept| kept.id == id && kept.owner == owner)?;
        waiting.remove(at).map(|kept| kept.made)
    }
}

fn is_waiting(kept: &Waiting, now: MonoTime) -> bool {
    now.since(kept.since) < Duration::from_secs(WAIT_SECS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str) -> MadeToken {
        MadeToken { name: name.to_owned(), secret: "lic_x".to_owned(), expires: String::new() }
    }

    fn at(secs: u64) -> MonoTime {
        MonoTime::from_millis(secs * 1000)
    }

    #[test]
    fn token_is_given_once_in_time_and_to_its_maker() {
        let tokens = MadeTokens::default();
        tokens.keep("one".to_owned(), "root", made("zabbix"), at(0));
        assert!(tokens.take("one", "eva", at(1)).is_none());
        assert!(tokens.take("other", "root", at(1)).is_none());
        assert_eq!(
            tokens.take("one", "root", at(1)).map(|made| made.name).as_deref(),
            Some("zabbix")
        );
        assert!(tokens.take("one", "root", at(1)).is_none());
        tokens.keep("late".to_owned(), "root", made("late"), at(1));
        assert!(tokens.take("late", "root", at(1 + WAIT_SECS)).is_none());
        assert!(!format!("{tokens:?} {:?}", made("x")).contains("lic_x"));
    }

    #[test]
    fn tokens_that_nobody_fetches_are_bounded() {
        let tokens = MadeTokens::default();
        for number in 0..=WAITING_MAX {
            tokens.keep(number.to_string(), "root", made("t"), at(0));
        }
        assert!(tokens.take("0", "root", at(0)).is_none());
        assert!(tokens.take("1", "root", at(0)).is_some());
    }
}
