//! Sessions of the console: who has logged in at a browser, and until when.
//!
//! Kept in memory: after a restart people log in again. The time is an argument; ids are drawn by
//! [`super::auth`]. An id is known here by its digest alone, so that a dump of the memory or a
//! slow comparison gives nothing away.

use std::collections::BTreeMap;
use std::time::Duration;

use licence_core::time::MonoTime;

/// How long a login lives without a request, in seconds.
const IDLE_SECS: u64 = 30 * 60;

/// How long a login lives at all, in seconds: a working day.
const LIFE_SECS: u64 = 12 * 3600;

/// Logins at one time; beyond that the one longest at rest ends. A server has a few people who
/// look after it.
const LOGINS_MAX: usize = 1000;

/// Logins of one user at one time, for the same reason; so a program that logs in again and again
/// ends its own logins and nobody else's.
const OF_USER_MAX: usize = 50;

/// SHA-256 of what it stands for.
pub(super) type Digest = [u8; 32];

/// One session of the console.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Login {
    /// Whose.
    pub(super) user: String,
    /// Mark of the password with which it began: with another one it is over.
    pub(super) password: Digest,
    /// What its forms must carry.
    pub(super) csrf: String,
    /// When it began.
    pub(super) begun: MonoTime,
    /// When it was used last.
    pub(super) used: MonoTime,
}

/// Whether somebody made a request or a page did by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum By {
    /// A page that refreshes itself.
    Page,
    /// Somebody who clicked.
    Person,
}

/// All sessions of the console.
#[derive(Default)]
pub(super) struct Logins {
    by_id: BTreeMap<Digest, Login>,
}

impl std::fmt::Debug for Logins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Logins({})", self.by_id.len())
    }
}

impl Logins {
    /// Begins a session.
    pub(super) fn begin(&mut self, id: Digest, login: Login) {
        let now = login.used;
        self.by_id.retain(|_, login| is_alive(login, now));
        let of_user = self.by_id.values().filter(|other| other.user == login.user).count();
        if of_user >= OF_USER_MAX {
            self.end_at_rest(|other| other.user == login.user);
        } else if self.by_id.len() >= LOGINS_MAX {
            self.end_at_rest(|_| true);
        }
        self.by_id.insert(id, login);
    }

    /// Ends the one of these logins that is longest at rest.
    fn end_at_rest(&mut self, which: impl Fn(&Login) -> bool) {
        let those = self.by_id.iter().filter(|(_, login)| which(login));
        let at_rest = those.min_by_key(|(_, login)| login.used).map(|(id, _)| *id);
        if let Some(id) = at_rest {
            self.by_id.remove(&id);
        }
    }

    /// The session with this id. A request that somebody made uses it; one that a page makes by
    /// itself does not, or an open page would keep its login alive for ever.
    pub(super) fn find(&mut self, id: &Digest, now: MonoTime, asked: By) -> Option<Login> {
        let login = self.by_id.get_mut(id)?;
        if !is_alive(login, now) {
            self.by_id.remove(id);
            return None;
        }
        if asked == By::Person {
            login.used = now;
        }
        Some(login.clone())
    }

    /// Ends a session.
    pub(super) fn end(&mut self, id: &Digest) {
        self.by_id.remove(id);
    }

    /// The password of `user` has changed: only the session with this secret goes on.
    pub(super) fn password_changed(&mut self, user: &str, kept: Option<&str>, password: Digest) {
        self.by_id.retain(|_, login| login.user != user || Some(login.csrf.as_str()) == kept);
        for login in self.by_id.values_mut().filter(|login| login.user == user) {
            login.password = password;
        }
    }
}

fn is_alive(login: &Login, now: MonoTime) -> bool {
    now.since(login.used) < Duration::from_secs(IDLE_SECS)
        && now.since(login.begun) < Duration::from_secs(LIFE_SECS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> MonoTime {
        MonoTime::from_millis(secs * 1000)
    }

    fn login(user: &str, csrf: &str, now: MonoTime) -> Login {
        Login {
            user: user.to_owned(),
            password: [1; 32],
            csrf: csrf.to_owned(),
            begun: now,
            used: now,
        }
    }

    #[test]
    fn login_ends_when_it_rests_too_long_and_after_a_day_of_work() {
        let mut logins = Logins::default();
        logins.begin([1; 32], login("a", "x", at(0)));
        let mut now = 0;
        while now + IDLE_SECS - 1 < LIFE_SECS {
            now += IDLE_SECS - 1;
            assert!(logins.find(&[1; 32], at(now), By::Person).is_some(), "{now}");
        }
        assert!(logins.find(&[1; 32], at(LIFE_SECS), By::Person).is_none());
        logins.begin([2; 32], login("a", "x", at(0)));
        assert!(logins.find(&[2; 32], at(IDLE_SECS), By::Person).is_none());
        assert!(logins.find(&[3; 32], at(0), By::Person).is_none());
    }

    #[test]
    fn page_that_refreshes_itself_keeps_no_login_alive() {
        let mut logins = Logins::default();
        logins.begin([1; 32], login("a", "x", at(0)));
        for now in (0..IDLE_SECS).step_by(5) {
            assert!(logins.find(&[1; 32], at(now), By::Page).is_some(), "{now}");
        }
        assert!(logins.find(&[1; 32], at(IDLE_SECS), By::Page).is_none());
    }

    #[test]
    fn login_that_ended_is_not_found() {
        let mut logins = Logins::default();
        logins.begin([1; 32], login("a", "x", at(0)));
        logins.end(&[1; 32]);
        assert!(logins.find(&[1; 32], at(0), By::Person).is_none());
    }

    #[test]
    fn changed_password_ends_the_other_logins_of_that_user() {
        let mut logins = Logins::default();
        logins.begin([1; 32], login("a", "own", at(0)));
        logins.begin([2; 32], login("a", "other", at(0)));
        logins.begin([3; 32], login("b", "third", at(0)));
        logins.password_changed("a", Some("own"), [2; 32]);
        assert_eq!(
            logins.find(&[1; 32], at(0), By::Person).map(|login| login.password),
            Some([2; 32])
        );
        assert!(logins.find(&[2; 32], at(0), By::Person).is_none());
        assert_eq!(
            logins.find(&[3; 32], at(0), By::Person).map(|login| login.password),
            Some([1; 32])
        );
    }

    #[test]
    fn table_of_logins_is_bounded_and_the_one_at_rest_goes() {
        let mut logins = Logins::default();
        for number in 0..=LOGINS_MAX {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            let user = format!("user{}", number % 100);
            logins.begin(id, login(&user, "x", MonoTime::from_millis(number as u64)));
        }
        assert_eq!(logins.by_id.len(), LOGINS_MAX);
        assert!(logins.find(&[0; 32], at(1), By::Person).is_none());
    }

    #[test]
    fn logins_of_one_user_are_bounded_and_end_nobody_elses() {
        let mut logins = Logins::default();
        logins.begin([0xFF; 32], login("b", "x", at(0)));
        for number in 0..=OF_USER_MAX {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            logins.begin(id, login("a", "x", at(1 + number as u64)));
        }
        assert_eq!(logins.by_id.len(), OF_USER_MAX + 1);
        assert!(logins.find(&[0xFF; 32], at(60), By::Person).is_some());
        assert!(logins.find(&[0; 32], at(60), By::Person).is_none());
    }
}
