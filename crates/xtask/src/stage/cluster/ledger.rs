//! Counts the seats that components believe to hold: the judge of a cluster, which knows nothing of its
//! servers.
//!
//! A session holds its seat from the moment when its component was told so, until the component lets go
//! of it or is told that it has none, and at the latest until the lease that it was told of has run
//! out. A component that was killed lets go of nothing. All stamps are of the one clock that leases run
//! on.

use std::collections::BTreeMap;

use crate::component::{Told, What};

/// The book of what was believed.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Those that have ended or may.
    holds: Vec<Hold>,
    /// The last one of a session, as a place in `holds`.
    last: BTreeMap<u32, usize>,
    broken: Vec<Broken>,
}

#[derive(Clone, Debug)]
struct Hold {
    session: u32,
    from: u64,
    /// End of the lease as told last.
    until: u64,
    /// When it was let go of before that.
    ended: Option<u64>,
}

impl Hold {
    fn end(&self) -> u64 {
        self.ended.map_or(self.until, |ended| ended.min(self.until))
    }
}

/// A session that was told that it has no seat while its lease had not run out.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Its number.
    pub session: u32,
    /// When.
    pub at: u64,
    /// What was left of its lease, in milliseconds.
    pub left: u64,
    /// Class of the error.
    pub class: String,
    /// What the user was told.
    pub text: String,
}

/// The most seats that were held at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Peak {
    /// How many.
    pub seats: usize,
    /// The first moment.
    pub at: u64,
    /// Who held them.
    pub sessions: Vec<u32>,
}

impl Ledger {
    /// Takes in what a component told.
    pub fn hear(&mut self, told: &Told) {
        match &told.what {
            What::Seat { until, .. } => self.held(told.session, told.at, *until),
            What::Closing => {
                self.end(told.session, told.at);
            }
            What::Refused { class, text } => {
                if let Some(left) = self.end(told.session, told.at) {
                    let (class, text) = (class.clone(), text.clone());
                    let (session, at) = (told.session, told.at);
                    self.broken.push(Broken { session, at, left, class, text });
                }
            }
            What::Closed { .. } | What::NotStarted { .. } | What::Started => {}
        }
    }

    fn held(&mut self, session: u32, at: u64, until: u64) {
        let known = self.last.get(&session).and_then(|place| self.holds.get_mut(*place));
        match known {
            Some(hold) if hold.end() > at => hold.until = until,
            _ => {
                self.last.insert(session, self.holds.len());
                self.holds.push(Hold { session, from: at, until, ended: None });
            }
        }
    }

    /// A session holds nothing from `at` on; what was left of its lease if it held anything. Said of a
    /// component that was killed by who has ended its session at the servers.
    pub fn end(&mut self, session: u32, at: u64) -> Option<u64> {
        let place = self.last.remove(&session)?;
        let hold = self.holds.get_mut(place)?;
        let left = hold.end().checked_sub(at).filter(|left| *left > 0)?;
        hold.ended = Some(at);
        Some(left)
    }

    /// The sessions that hold a seat at a moment.
    pub fn holding(&self, at: u64) -> Vec<u32> {
        let holds = |hold: &&Hold| hold.from <= at && at < hold.end();
        self.holds.iter().filter(holds).map(|hold| hold.session).collect()
    }

    /// The most that was held at one moment from `since` until before `before`.
    pub fn peak(&self, since: u64, before: u64) -> Peak {
        let starts = self.holds.iter().map(|hold| hold.from);
        let mut moments: Vec<u64> =
            starts.filter(|at| (since..before).contains(at)).chain([since]).collect();
        moments.sort_unstable();
        moments.dedup();
        let mut peak = Peak { seats: 0, at: since, sessions: Vec::new() };
        for at in moments {
            let sessions = self.holding(at);
            if sessions.len() > peak.seats {
                peak = Peak { seats: sessions.len(), at, sessions };
            }
        }
        peak
    }

    /// Forgets what had ended before a moment.
    pub fn forget_before(&mut self, at: u64) {
        self.holds.retain(|hold| hold.end() >= at);
        self.last.clear();
        for (place, hold) in self.holds.iter().enumerate() {
            if hold.ended.is_none() {
                self.last.insert(hold.session, place);
            }
        }
    }

    /// Who was told to have no seat in spite of a lease, since this was asked last.
    pub fn take_broken(&mut self) -> Vec<Broken> {
        std::mem::take(&mut self.broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(session: u32, at: u64, until: u64) -> Told {
        let (id, server) = (String::new(), String::new());
        Told { at, session, what: What::Seat { id, until, confirmed: true, server } }
    }

    fn closing(session: u32, at: u64) -> Told {
        Told { at, session, what: What::Closing }
    }

    fn refused(session: u32, at: u64) -> Told {
        let (class, text) = ("E".to_owned(), "no".to_owned());
        Told { at, session, what: What::Refused { class, text } }
    }

    fn ledger(told: &[Told]) -> Ledger {
        let mut ledger = Ledger::default();
        told.iter().for_each(|told| ledger.hear(told));
        ledger
    }

    #[test]
    fn seat_is_held_until_it_is_let_go_of_or_its_lease_runs_out() {
        let book = ledger(&[seat(1, 10, 100), seat(2, 20, 100), closing(1, 30), seat(2, 50, 200)]);
        for (at, holding) in [
            (9, vec![]),
            (10, vec![1]),
            (29, vec![1, 2]),
            (30, vec![2]),
            (199, vec![2]),
            (200, vec![]),
        ] {
            assert_eq!(book.holding(at), holding, "{at}");
        }
        assert_eq!(book.peak(0, 1000), Peak { seats: 2, at: 20, sessions: vec![1, 2] });
        assert_eq!(book.peak(31, 1000).seats, 1);
    }

    #[test]
    fn refusal_breaks_a_lease_only_while_it_runs() {
        let mut book =
            ledger(&[seat(1, 10, 100), refused(1, 40), seat(2, 10, 100), refused(2, 100)]);
        let broken = book.take_broken();
        assert_eq!(broken.iter().map(|one| (one.session, one.left)).collect::<Vec<_>>(), [(1, 60)]);
        assert!(book.take_broken().is_empty());
    }

    #[test]
    fn seat_that_comes_back_is_another_hold() {
        let mut book = ledger(&[seat(1, 10, 100), closing(1, 30), seat(1, 50, 200)]);
        assert_eq!(
            (book.holding(20), book.holding(40), book.holding(60)),
            (vec![1], vec![], vec![1])
        );
        book.forget_before(40);
        assert_eq!((book.holding(20), book.holding(60)), (vec![], vec![1]));
        assert_eq!(book.end(1, 70), Some(130));
        assert!(book.holding(70).is_empty());
    }
}
