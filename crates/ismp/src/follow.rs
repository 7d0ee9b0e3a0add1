//! How the book of a reserve server follows that of its main server, and what it gives back.
//!
//! Decides which of two records counts and what a missing record means. Who is asked when, and from
//! which moment a reserve acts on its own, is the caller's.

use licence_core::time::{MonoTime, Utc};

use crate::book::Book;
use crate::key::StoreKey;
use crate::record::{State, TokenRecord};
use crate::refresh::{OUTCOME_LIFE, Stage};

/// What came of following.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Followed {
    /// Whether the own book is another one than before.
    pub has_changed: bool,
    /// Keys of which the main server should hear: they came here while it did not answer, or they are
    /// newer here.
    pub ours: Vec<StoreKey>,
}

impl Book {
    /// Takes over the whole book of the main server. Organisations, rules and reminders that are put
    /// off are the main server's; of two records of one key the later one counts. A record that the
    /// main server does not have was deleted there, unless it came here at `alone_since` or later:
    /// the moment from which this server has acted on its own.
    pub fn follow(&mut self, main: Self, alone_since: Option<Utc>) -> Followed {
        let before = self.generation;
        let mut ours = Vec::new();
        let is_same = self.directory == main.directory
            && self.rules == main.rules
            && self.snoozes == main.snoozes;
        if !is_same {
            self.generation += 1;
            self.directory = main.directory;
            self.rules = main.rules;
            self.snoozes = main.snoozes;
        }
        let count = self.records.len();
        self.records.retain(|key, record| {
            if main.records.contains_key(key) {
                return true;
            }
            let came_here = alone_since.is_some_and(|since| record.obtained >= since);
            if came_here {
                ours.push(key.clone());
            }
            came_here
        });
        self.generation += u64::from(self.records.len() < count);
        for (key, record) in main.records {
            let own = self.records.get(&key);
            if own.is_some_and(|own| is_later(own, &record)) {
                ours.push(key);
            } else if !own.is_some_and(|own| is_same_record(own, &record)) {
                self.generation += 1;
                self.records.insert(key, TokenRecord { generation: self.generation, ..record });
            }
        }
        Followed { has_changed: self.generation != before, ours }
    }

    /// Whether a challenge with this id was given out here, and its signature may still come.
    pub fn knows_challenge(&self, id: &str) -> bool {
        self.outcomes.iter().any(|done| done.is_of(id))
            || self.leases.values().any(|lease| lease.id() == Some(id))
    }

    /// Whether a signature for a challenge of this server may still come.
    pub fn awaits_signatures(&self, now: MonoTime) -> bool {
        self.leases.values().any(|lease| now < lease.expires.after(OUTCOME_LIFE))
    }

    /// Whether the service is being asked for a key at the moment.
    pub fn is_exchanging(&self, now: MonoTime) -> bool {
        let exchanging = |stage: &Stage| matches!(stage, Stage::Exchanging { .. });
        self.leases.values().any(|lease| lease.is_live(now) && exchanging(&lease.stage))
    }
}

/// Whether the first of two records of one key is the later one: with the same moment, the one that
/// is in doubt knows more.
fn is_later(one: &TokenRecord, other: &TokenRecord) -> bool {
    let order = |record: &TokenRecord| (record.obtained, record.state == State::Doubtful);
    order(one) > order(other)
}

/// Whether two servers keep the same, each with its own generation.
fn is_same_record(one: &TokenRecord, other: &TokenRecord) -> bool {
    *one == TokenRecord { generation: one.generation, ..other.clone() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::book::{Completion, Given};
    use crate::record::{Source, TokenFormat, Who};
    use crate::secret::SessionKey;

    const NOON: &str = "2026-11-22T12:00:00Z";

    /// So many minutes after noon.
    fn at(minutes: u64) -> Utc {
        NOON.parse::<Utc>().unwrap().after(Duration::from_secs(minutes * 60))
    }

    fn key(object: &str) -> StoreKey {
        serde_json::from_value(serde_json::json!({
            "Contour": "production", "TokenType": "SUZ", "Organization": "7707083893",
            "ProductionObject": object,
        }))
        .unwrap()
    }

    /// Records as `object token minute`.
    fn book(records: &[(&str, &str, u64)]) -> Book {
        let mut book = Book::default();
        for (object, token, minute) in records {
            let given = Given {
                token: SessionKey::new(token).unwrap(),
                valid_until: at(minute + 540),
                inn: None,
                format: TokenFormat::Uuid,
                source: Source::Exchange,
                who: Who::default(),
                asked: at(*minute),
                warning: None,
            };
            book.put(&key(object), given).unwrap();
        }
        book
    }

    fn shown(book: &Book) -> Vec<(&str, &str)> {
        book.records()
            .map(|(key, record)| {
                (key.production_object.as_ref().map_or("", |o| o.as_str()), record.token.reveal())
            })
            .collect()
    }

    #[test]
    fn later_record_counts_and_a_missing_one_was_deleted_unless_it_came_while_alone() {
        for (what, own, main, alone, expected, ours) in [
            ("first look", vec![], vec![("a", "m", 1)], None, vec![("a", "m")], vec![]),
            ("deleted there", vec![("a", "m", 1)], vec![], None, vec![], vec![]),
            (
                "deleted there before we were alone",
                vec![("a", "m", 1)],
                vec![],
                Some(5),
                vec![],
                vec![],
            ),
            ("came while alone", vec![("a", "r", 6)], vec![], Some(5), vec![("a", "r")], vec!["a"]),
            (
                "came at that moment",
                vec![("a", "r", 5)],
                vec![],
                Some(5),
                vec![("a", "r")],
                vec!["a"],
            ),
            (
                "newer there",
                vec![("a", "r", 6)],
                vec![("a", "m", 7)],
                Some(5),
                vec![("a", "m")],
                vec![],
            ),
            (
                "newer here",
                vec![("a", "r", 6)],
                vec![("a", "m", 1)],
                Some(5),
                vec![("a", "r")],
                vec!["a"],
            ),
            ("the same", vec![("a", "m", 1)], vec![("a", "m", 1)], None, vec![("a", "m")], vec![]),
        ] {
            let mut reserve = book(&own);
            let followed = reserve.follow(book(&main), alone.map(at));
            assert_eq!(shown(&reserve), expected, "{what}");
            assert_eq!(followed.ours, ours.into_iter().map(key).collect::<Vec<_>>(), "{what}");
        }
    }

    #[test]
    fn second_look_at_the_same_book_changes_nothing() {
        let main = book(&[("a", "m", 1), ("b", "n", 2)]);
        let mut reserve = Book::default();
        assert!(reserve.follow(main.clone(), None).has_changed);
        assert_eq!(reserve.follow(main, None), Followed::default());
    }

    #[test]
    fn rules_and_organisations_are_the_main_servers() {
        let mut main = Book::default();
        let directory = serde_json::from_value(serde_json::json!({
            "Organizations": [{"INN": "7707083893", "Name": "Ромашка"}],
        }));
        main.set_directory(directory.unwrap()).unwrap();
        main.snooze("анна", Some(at(10)), at(0));
        let mut reserve = Book::default();
        reserve.snooze("борис", Some(at(10)), at(0));
        let generation = reserve.generation();
        assert!(reserve.follow(main.clone(), None).has_changed);
        assert!(reserve.generation() > generation);
        assert_eq!(reserve.directory(), main.directory());
        assert_eq!(reserve.snoozes, main.snoozes);
    }

    #[test]
    fn doubt_of_a_key_goes_both_ways() {
        let (mut one, mut other) = (book(&[("a", "m", 1)]), book(&[("a", "m", 1)]));
        one.records.get_mut(&key("a")).unwrap().state = State::Doubtful;
        assert_eq!(one.clone().follow(other.clone(), None).ours, [key("a")]);
        other.follow(one, None);
        assert_eq!(other.record(&key("a")).unwrap().state, State::Doubtful);
    }

    #[test]
    fn challenge_of_this_server_is_known_until_nobody_can_bring_its_signature() {
        let (mut book, now) = (Book::default(), MonoTime::default());
        let ticket = book.begin(&key("a"), Who::default(), now).unwrap();
        assert!(!book.knows_challenge("id") && book.awaits_signatures(now));
        assert!(book.challenged(&key("a"), ticket, "id", now));
        assert!(book.knows_challenge("id") && !book.is_exchanging(now));
        assert_eq!(book.complete(&key("a"), "id", now), Completion::Exchange(ticket));
        assert!(book.is_exchanging(now));
        let late = now.after(Duration::from_secs(3600));
        assert!(!book.is_exchanging(late) && !book.awaits_signatures(late));
    }
}
