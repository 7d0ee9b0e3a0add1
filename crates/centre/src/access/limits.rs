//! How often an address may guess: activation codes, passwords, calls at large.
//!
//! Counts and decides; the time is an argument and nothing is logged here. A try is counted before
//! its outcome is known, so that many at once do not pass the limit together, and is given back
//! when it was no guess.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use licence_core::time::MonoTime;

/// What is counted apart.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// A call that anybody may make. A licence server makes a handful a day; a whole town behind
    /// one address still passes.
    Call,
    /// A try with an activation, reserve or spare code that was wrong. With 78 random bits in a
    /// code even thousands a minute would find none; the limit keeps the log readable and the pair
    /// of code and ITN on the customer's page safe.
    Guess,
    /// A wrong password.
    Password,
}

/// So many in so much time: a burst, then evenly.
#[derive(Clone, Copy, Debug)]
struct Rate {
    count: u64,
    span_secs: u64,
}

impl Kind {
    /// All of them at once hold.
    const fn rates(self) -> [Rate; 2] {
        const fn rate(count: u64, span_secs: u64) -> Rate {
            Rate { count, span_secs }
        }
        match self {
            Self::Call => [rate(120, 60), rate(1500, 3600)],
            Self::Guess => [rate(10, 60), rate(60, 3600)],
            Self::Password => [rate(5, 60), rate(20, 3600)],
        }
    }
}

/// Addresses that are remembered, of each kind some; about 1 MB. Beyond that the one whose limit is
/// free first is forgotten. Who has so many addresses is not stopped by counting them.
const PLACES_MAX: usize = 10_000;

/// One IPv4 address or the /64 of an IPv6 one, which is what one customer gets.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Place(IpAddr);

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

/// The moment at which each rate of a place is wholly free again, in milliseconds: the one number
/// that a "leaky bucket" needs.
type Free = [u64; 2];

/// Tries by address.
#[derive(Debug, Default)]
pub struct Limits {
    places: BTreeMap<(Kind, Place), Free>,
    by_end: BTreeSet<(u64, Kind, Place)>,
}

impl Limits {
    /// Counts a try of this kind from `peer`.
    ///
    /// This machine itself is never limited: whoever sits there can read the books anyway, and
    /// behind a proxy whose word is not taken everybody comes from there.
    ///
    /// # Errors
    ///
    /// How long to wait when there were too many; nothing is counted then.
    pub fn take(&mut self, kind: Kind, peer: IpAddr, now: MonoTime) -> Result<(), Duration> {
        if peer.to_canonical().is_loopback() {
            return Ok(());
        }
        let now = now.as_millis();
        self.forget_free(now);
        let at = (kind, Place::of(peer));
        let before = self.places.get(&at).copied().unwrap_or([now; 2]);
        let mut after = before;
        let mut wait = 0;
        for (rate, free) in kind.rates().iter().zip(&mut after) {
            let each = rate.span_secs * 1000 / rate.count;
            let next = (*free).max(now) + each;
            wait = wait.max(next.saturating_sub(now + rate.span_secs * 1000));
            *free = next;
        }
        if wait > 0 {
            return Err(Duration::from_millis(wait));
        }
        self.put(at, before, after);
        Ok(())
    }

    /// Gives back a try that [`Self::take`] has counted: it was no guess.
    pub fn give_back(&mut self, kind: Kind, peer: IpAddr) {
        let at = (kind, Place::of(peer));
        let Some(before) = self.places.get(&at).copied() else { return };
        let mut after = before;
        for (rate, free) in kind.rates().iter().zip(&mut after) {
            *free = free.saturating_sub(rate.span_secs * 1000 / rate.count);
        }
        self.put(at, before, after);
    }

    fn put(&mut self, at: (Kind, Place), before: Free, after: Free) {
        let end = |free: Free| free[0].max(free[1]);
        if self.places.contains_key(&at) {
            self.by_end.remove(&(end(before), at.0, at.1));
        } else if self.places.len() >= PLACES_MAX
            && let Some((_, kind, place)) = self.by_end.pop_first()
        {
            self.places.remove(&(kind, place));
        }
        self.places.insert(at, after);
        self.by_end.insert((end(after), at.0, at.1));
        debug_assert_eq!(self.places.len(), self.by_end.len(), "one place in the order each");
    }

    fn forget_free(&mut self, now: u64) {
        while let Some((end, kind, place)) = self.by_end.first().copied()
            && end <= now
        {
            self.by_end.pop_first();
            self.places.remove(&(kind, place));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> MonoTime {
        MonoTime::from_millis(secs * 1000)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many pass at this moment before the first is told to wait, and how long it is told.
    fn burst(limits: &mut Limits, kind: Kind, peer: &str, now: MonoTime) -> (u32, Duration) {
        let mut passed = 0;
        loop {
            match limits.take(kind, address(peer), now) {
                Ok(()) => passed += 1,
                Err(wait) => return (passed, wait),
            }
        }
    }

    #[test]
    fn guesses_pass_in_a_burst_then_evenly_then_by_the_hour() {
        let mut limits = Limits::default();
        let secs = Duration::from_secs;
        assert_eq!(burst(&mut limits, Kind::Guess, "203.0.113.7", at(0)), (10, secs(6)));
        assert_eq!(burst(&mut limits, Kind::Guess, "203.0.113.7", at(5)).0, 0);
        assert_eq!(burst(&mut limits, Kind::Guess, "203.0.113.7", at(6)).0, 1);
        // Others are not touched by it, nor other kinds.
        assert_eq!(burst(&mut limits, Kind::Guess, "203.0.113.8", at(6)).0, 10);
        assert_eq!(burst(&mut limits, Kind::Password, "203.0.113.7", at(6)).0, 5);
        let mut passed = 11;
        for now in 7..3600 {
            passed += burst(&mut limits, Kind::Guess, "203.0.113.7", at(now)).0;
        }
        // The hour's burst and what becomes free within the hour, never ten a minute for long.
        assert_eq!(passed, 60 + 59);
    }

    #[test]
    fn try_that_was_no_guess_is_given_back() {
        let mut limits = Limits::default();
        for _ in 0..1000 {
            limits.take(Kind::Guess, address("203.0.113.7"), at(0)).unwrap();
            limits.give_back(Kind::Guess, address("203.0.113.7"));
        }
        assert_eq!(burst(&mut limits, Kind::Guess, "203.0.113.7", at(0)).0, 10);
    }

    #[test]
    fn network_of_ipv6_counts_as_one_and_this_machine_not_at_all() {
        let mut limits = Limits::default();
        assert_eq!(burst(&mut limits, Kind::Guess, "2001:db8::1", at(0)).0, 10);
        assert_eq!(burst(&mut limits, Kind::Guess, "2001:db8::ffff", at(0)).0, 0);
        assert_eq!(burst(&mut limits, Kind::Guess, "2001:db8:0:1::1", at(0)).0, 10);
        assert_eq!(burst(&mut limits, Kind::Guess, "::ffff:203.0.113.7", at(0)).0, 10);
        assert_eq!(burst(&mut limits, Kind::Guess, "203.0.113.7", at(0)).0, 0);
        for _ in 0..1000 {
            assert!(limits.take(Kind::Guess, address("127.0.0.1"), at(0)).is_ok());
            assert!(limits.take(Kind::Guess, address("::1"), at(0)).is_ok());
        }
    }

    #[test]
    fn table_is_bounded_and_forgets_the_one_that_is_free_first() {
        let mut limits = Limits::default();
        for number in 0..=PLACES_MAX as u64 {
            let peer = IpAddr::from((0x0100_0000 + number as u32).to_be_bytes());
            limits.take(Kind::Guess, peer, MonoTime::from_millis(number)).unwrap();
        }
        assert_eq!(limits.places.len(), PLACES_MAX);
        let first = Place::of(address("1.0.0.0"));
        assert!(!limits.places.contains_key(&(Kind::Guess, first)));
        limits.take(Kind::Guess, address("9.9.9.9"), at(100_000)).unwrap();
        assert_eq!(limits.places.len(), 1);
    }
}
