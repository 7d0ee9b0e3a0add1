//! Which token is where, how sure that is, and what is to be done next.
//!
//! Decides by times and results that it is handed; it asks no token, reads no clock and never waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use licence_core::holder::TokenKey;
use licence_core::time::MonoTime;
use licence_token::apdu::Place;

/// Places that are looked at; the rest is left alone. A computer has some ports, and each token costs
/// up to ten seconds when it does not answer.
pub(super) const PLACES_MAX: usize = 16;

/// How often tokens are looked for and asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    /// Between two looks at what is plugged in: hot-plug events do not come everywhere.
    pub poll: Duration,
    /// Between two proofs that a token is there.
    pub proof: Duration,
    /// From the first failure to the second attempt; after that the token is absent.
    pub retry: Duration,
    /// Longest time after which a place that cannot be read is tried again.
    pub read_again_max: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(3),
            proof: Duration::from_secs(45),
            retry: Duration::from_secs(5),
            read_again_max: Duration::from_secs(600),
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Read what lies at a place.
    Read(Place),
    /// Have a token prove that it is there.
    Prove(Place, TokenKey),
    /// A token has not answered once: tell so.
    Doubt(TokenKey),
    /// A token is gone: tell so.
    Gone(TokenKey),
}

/// What is at a place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Seen {
    /// The token that was read there.
    key: Option<TokenKey>,
    /// Without one: when to read.
    next: MonoTime,
    /// Reads and proofs in a row that came to nothing.
    failures: u32,
}

#[derive(Clone, Debug)]
struct Held {
    place: Option<Place>,
    next_proof: MonoTime,
    /// Since the first failure: until when it may prove itself after all.
    doubt_until: Option<MonoTime>,
    is_doubt_told: bool,
    /// Whether it has ever proved itself: before that it is nobody.
    is_proved: bool,
}

/// All tokens.
#[derive(Clone, Debug)]
pub(super) struct Roll {
    pace: Pace,
    places: BTreeMap<Place, Seen>,
    tokens: BTreeMap<TokenKey, Held>,
}

impl Roll {
    pub(super) const fn new(pace: Pace) -> Self {
        Self { pace, places: BTreeMap::new(), tokens: BTreeMap::new() }
    }

    /// These places there are at present.
    pub(super) fn look(&mut self, now: MonoTime, places: &[Place]) {
        let there: BTreeSet<&Place> = places.iter().take(PLACES_MAX).collect();
        self.places.retain(|place, _| there.contains(place));
        for held in self.tokens.values_mut() {
            if held.place.as_ref().is_some_and(|place| !there.contains(place)) {
                held.place = None;
                held.doubt_until.get_or_insert_with(|| now.after(self.pace.retry));
            }
        }
        for place in there {
            let unread = Seen { key: None, next: now, failures: 0 };
            self.places.entry(place.clone()).or_insert(unread);
        }
    }

    /// What is to be done at this moment; nothing when all is done. Each result is to be told before
    /// the next step is asked for.
    pub(super) fn step(&mut self, now: MonoTime) -> Option<Step> {
        for (key, held) in &mut self.tokens {
            if held.doubt_until.is_some() && held.is_proved && !held.is_doubt_told {
                held.is_doubt_told = true;
                return Some(Step::Doubt(*key));
            }
        }
        // Who may be a token that has moved comes before those that are given up.
        for (place, seen) in &self.places {
            if seen.key.is_none() && seen.next <= now {
                return Some(Step::Read(place.clone()));
            }
        }
        for (key, held) in &self.tokens {
            if let Some(place) = &held.place
                && held.next_proof <= now
            {
                return Some(Step::Prove(place.clone(), *key));
            }
        }
        let over = |held: &Held| {
            held.place.is_none() && held.doubt_until.is_some_and(|until| until <= now)
        };
        let gone = self.tokens.iter().find(|(_, held)| over(held)).map(|(key, _)| *key)?;
        self.tokens.remove(&gone);
        Some(Step::Gone(gone))
    }

    /// A place was read: there is a token with this key. False when that token is at another place
    /// too: one is enough.
    pub(super) fn found(&mut self, place: &Place, key: TokenKey, now: MonoTime) -> bool {
        let elsewhere = self.tokens.get(&key).and_then(|held| held.place.as_ref());
        if elsewhere.is_some_and(|other| other != place) {
            self.failed_to_read(place, now);
            return false;
        }
        if let Some(seen) = self.places.get_mut(place) {
            seen.key = Some(key);
        }
        let held = self.tokens.entry(key).or_insert(Held {
            place: None,
            next_proof: now,
            doubt_until: None,
            is_doubt_told: false,
            is_proved: false,
        });
        held.place = Some(place.clone());
        held.next_proof = now;
        true
    }

    /// A place could not be read, or nothing that is of use lies there.
    pub(super) fn failed_to_read(&mut self, place: &Place, now: MonoTime) {
        let Some(seen) = self.places.get_mut(place) else { return };
        let first = self.pace.retry.max(Duration::from_millis(1));
        let pause = first.saturating_mul(1 << seen.failures.min(16));
        seen.failures = seen.failures.saturating_add(1);
        seen.next = now.after(pause.min(self.pace.read_again_max));
        seen.key = None;
    }

    /// A token has proved that it is there.
    pub(super) fn proved(&mut self, key: TokenKey, now: MonoTime) {
        if let Some(held) = self.tokens.get_mut(&key) {
            held.next_proof = now.after(self.pace.proof);
            held.doubt_until = None;
            held.is_doubt_told = false;
            held.is_proved = true;
            if let Some(seen) = held.place.as_ref().and_then(|place| self.places.get_mut(place)) {
                seen.failures = 0;
            }
        }
    }

    /// A token is asked once more at once, because there is more to vouch for.
    pub(super) fn prove_again(&mut self, key: TokenKey, now: MonoTime) {
        if let Some(held) = self.tokens.get_mut(&key) {
            held.next_proof = now;
        }
    }

    /// A token has not proved that it is there. After the second time it is gone, and its place is
    /// read anew.
    pub(super) fn failed_to_prove(&mut self, key: TokenKey, now: MonoTime) {
        let Some(held) = self.tokens.get_mut(&key) else { return };
        let next = now.after(self.pace.retry);
        if held.doubt_until.is_none() && held.is_proved {
            held.doubt_until = Some(next);
            held.next_proof = next;
            return;
        }
        let place = held.place.take();
        held.doubt_until = Some(now);
        if !held.is_proved {
            // Nobody was told of it.
            self.tokens.remove(&key);
        }
        if let Some(place) = place {
            self.failed_to_read(&place, now);
        }
    }

    /// Where a token is that has proved itself and is in no doubt.
    pub(super) fn place_of(&self, key: &TokenKey) -> Option<&Place> {
        let held = self.tokens.get(key).filter(|held| held.is_proved)?;
        held.place.as_ref()
    }

    /// Whether there is a place that is still there.
    pub(super) fn has_place(&self, place: &Place) -> bool {
        self.places.contains_key(place)
    }

    /// When there is something to do again, at the latest.
    pub(super) fn next(&self, now: MonoTime) -> MonoTime {
        let unread = self.places.values().filter(|seen| seen.key.is_none()).map(|seen| seen.next);
        let proofs = self.tokens.values().filter(|held| held.place.is_some());
        let doubts = self.tokens.values().filter(|held| held.place.is_none());
        let look = now.after(self.pace.poll);
        unread
            .chain(proofs.map(|held| held.next_proof))
            .chain(doubts.filter_map(|held| held.doubt_until))
            .fold(look, MonoTime::min)
    }
}

#[cfg(test)]
mod tests;
