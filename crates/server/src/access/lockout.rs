//! How long an address must wait after wrong passwords.
//!
//! Counts and decides; the time is an argument and nothing is logged here. Whether a password was
//! wrong is decided by [`super::auth`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use licence_core::time::MonoTime;

/// Wrong passwords in a row that cost nothing: people mistype, and programs try several at once.
const FREE_TRIES: u32 = 5;

/// Longest wait between two tries before the lock, in seconds: 1, 2, 4 … and then this.
const DELAY_SECS_MAX: u64 = 60;

/// Wrong passwords in a row after which an address is locked.
const LOCK_TRIES: u32 = 20;

/// How long a lock lasts, in seconds: some 100 guesses a day from one address.
const LOCK_SECS: u64 = 15 * 60;

/// How long wrong passwords are remembered after the last one, in seconds.
const REMEMBERED_SECS: u64 = 24 * 3600;

/// Addresses that are remembered, some 1 MB; beyond that the one longest at rest is forgotten. Who
/// has so many addresses is not stopped by counting them.
const PLACES_MAX: usize = 10_000;

/// Wrong passwords by address.
#[derive(Debug, Default)]
pub struct Lockout {
    places: BTreeMap<Place, Entry>,
    by_rest: BTreeSet<(MonoTime, Place)>,
}

/// One IPv4 address or the /64 of an IPv6 one, which is what one customer gets.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Place(IpAddr);

#[derive(Clone, Copy, Debug)]
struct Entry {
    wrong: u32,
    last: MonoTime,
    until: MonoTime,
}

impl Place {
    fn of(peer: IpAddr) -> Self {
        match peer.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                let network = u128::from(address) & !u128::from(u64::MAX);
                Self(Ipv6Addr::from(network).into())
            }
            other @ (IpAddr::V4(_) | IpAddr::V6(_)) => Self(other),
        }
    }
}

impl Lockout {
    /// How long `peer` has to wait before its next try; nothing when it need not.
    pub fn wait(&self, peer: IpAddr, now: MonoTime) -> Option<Duration> {
        let entry = self.places.get(&Place::of(peer))?;
        Some(entry.until.since(now)).filter(|left| !left.is_zero())
    }

    /// Counts a wrong password. The length of the lock when it begins one.
    ///
    /// This machine itself is never locked, only slowed: whoever sits there can read the settings
    /// anyway, and behind a local proxy everybody comes from there.
    pub fn wrong(&mut self, peer: IpAddr, now: MonoTime) -> Option<Duration> {
        self.forget_old(now);
        let place = Place::of(peer);
        let before = self.places.get(&place).copied();
        if let Some(before) = before {
            self.by_rest.remove(&(before.last, place));
        } else if self.places.len() >= PLACES_MAX
            && let Some((_, longest_at_rest)) = self.by_rest.pop_first()
        {
            self.places.remove(&longest_at_rest);
        }
        let wrong = before.map_or(0, |entry| entry.wrong).saturating_add(1);
        let is_locked = wrong >= LOCK_TRIES && !place.0.is_loopback();
        let wait = if is_locked { Duration::from_secs(LOCK_SECS) } else { delay(wrong) };
        self.places.insert(place, Entry { wrong, last: now, until: now.after(wait) });
        self.by_rest.insert((now, place));
        debug_assert_eq!(self.places.len(), self.by_rest.len(), "one place in the order each");
        is_locked.then_some(wait)
    }

    /// Forgets the wrong passwords of `peer`: it has shown the right one.
    pub fn right(&mut self, peer: IpAddr) {
        let place = Place::of(peer);
        if let Some(entry) = self.places.remove(&place) {
            self.by_rest.remove(&(entry.last, place));
        }
    }

    fn forget_old(&mut self, now: MonoTime) {
        let span = Duration::from_secs(REMEMBERED_SECS);
        while let Some((last, place)) = self.by_rest.first().copied()
            && now.since(last) >= span
        {
            self.by_rest.remove(&(last, place));
            self.places.remove(&place);
        }
    }
}

/// The wait after so many wrong passwords in a row.
fn delay(wrong: u32) -> Duration {
    let Some(doublings) = wrong.checked_sub(FREE_TRIES) else { return Duration::ZERO };
    let secs = 1_u64.checked_shl(doublings).unwrap_or(DELAY_SECS_MAX);
    Duration::from_secs(secs.clamp(1, DELAY_SECS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "192.168.1.5";

    fn at(secs: u64) -> MonoTime {
        MonoTime::from_millis(secs * 1000)
    }

    fn wrong(lockout: &mut Lockout, peer: &str, times: u32, secs: u64) -> bool {
        let peer = peer.parse().unwrap();
        (0..times).any(|_| lockout.wrong(peer, at(secs)).is_some())
    }

    fn wait(lockout: &Lockout, peer: &str, secs: u64) -> u64 {
        lockout.wait(peer.parse().unwrap(), at(secs)).map_or(0, |wait| wait.as_secs())
    }

    #[test]
    fn wait_grows_with_each_wrong_password_up_to_the_lock() {
        for (times, expected) in [
            (1, 0),
            (4, 0),
            (5, 1),
            (6, 2),
            (7, 4),
            (10, 32),
            (11, 60),
            (19, 60),
            (20, 900),
            (21, 900),
        ] {
            let mut lockout = Lockout::default();
            assert_eq!(wrong(&mut lockout, PEER, times, 100), times >= 20, "{times}");
            assert_eq!(wait(&lockout, PEER, 100), expected, "{times}");
            assert_eq!(wait(&lockout, PEER, 100 + expected), 0, "{times}");
        }
    }

    #[test]
    fn right_password_clears_the_count() {
        let mut lockout = Lockout::default();
        wrong(&mut lockout, PEER, 19, 0);
        lockout.right(PEER.parse().unwrap());
        assert_eq!(wait(&lockout, PEER, 0), 0);
        assert!(!wrong(&mut lockout, PEER, 4, 0));
        assert_eq!(wait(&lockout, PEER, 0), 0);
    }

    #[test]
    fn every_further_wrong_password_after_a_lock_locks_again() {
        let mut lockout = Lockout::default();
        wrong(&mut lockout, PEER, 20, 0);
        assert_eq!(wait(&lockout, PEER, 899), 1);
        assert!(wrong(&mut lockout, PEER, 1, 900));
        assert_eq!(wait(&lockout, PEER, 900), 900);
    }

    #[test]
    fn this_machine_is_slowed_and_never_locked() {
        for peer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            let mut lockout = Lockout::default();
            assert!(!wrong(&mut lockout, peer, 1000, 0), "{peer}");
            assert_eq!(wait(&lockout, peer, 0), 60, "{peer}");
        }
    }

    #[test]
    fn neighbours_of_an_ipv6_network_count_together_and_others_do_not() {
        let mut lockout = Lockout::default();
        wrong(&mut lockout, "2001:db8::1", 20, 0);
        assert_eq!(wait(&lockout, "2001:db8::ffff:1", 0), 900);
        assert_eq!(wait(&lockout, "2001:db8:0:1::1", 0), 0);
        wrong(&mut lockout, "::ffff:10.0.0.1", 5, 0);
        assert_eq!(wait(&lockout, "10.0.0.1", 0), 1);
        assert_eq!(wait(&lockout, "10.0.0.2", 0), 0);
    }

    #[test]
    fn wrong_passwords_are_forgotten_after_a_day_and_the_table_is_bounded() {
        let mut lockout = Lockout::default();
        wrong(&mut lockout, PEER, 20, 0);
        wrong(&mut lockout, "10.0.0.1", 1, REMEMBERED_SECS);
        assert!(!wrong(&mut lockout, PEER, 1, REMEMBERED_SECS));
        for number in 0..u32::try_from(PLACES_MAX).unwrap() + 10 {
            let peer = IpAddr::V4((0x0B00_0000 + number).into());
            lockout.wrong(peer, at(REMEMBERED_SECS + 1 + u64::from(number)));
        }
        assert_eq!(lockout.places.len(), PLACES_MAX);
        assert!(!lockout.places.contains_key(&Place::of(PEER.parse().unwrap())));
    }
}
