//! Scripts of what is plugged in and what comes of it, under a hand-moved clock.

use licence_token::apdu::Via;

use super::*;

fn place(id: &str) -> Place {
    Place { via: Via::Usb, id: id.to_owned(), name: format!("token {id}") }
}

fn key(seed: u8) -> TokenKey {
    let mut point = [seed; 65];
    point[0] = 4;
    TokenKey::from_point(&point).unwrap()
}

fn at(secs: u64) -> MonoTime {
    MonoTime::from_millis(secs * 1000)
}

fn pace() -> Pace {
    Pace {
        poll: Duration::from_secs(3),
        proof: Duration::from_secs(45),
        retry: Duration::from_secs(5),
        read_again_max: Duration::from_secs(600),
    }
}

/// A token with the key 1 at the place "1" that has proved itself at the moment 0.
fn plugged() -> Roll {
    let mut roll = Roll::new(pace());
    roll.look(at(0), &[place("1")]);
    assert_eq!(roll.step(at(0)), Some(Step::Read(place("1"))));
    assert!(roll.found(&place("1"), key(1), at(0)));
    assert_eq!(roll.step(at(0)), Some(Step::Prove(place("1"), key(1))));
    roll.proved(key(1), at(0));
    assert_eq!(roll.step(at(0)), None);
    roll
}

#[test]
fn token_is_read_once_and_proves_itself_at_intervals() {
    let mut roll = plugged();
    assert_eq!(roll.place_of(&key(1)), Some(&place("1")));
    assert_eq!(roll.next(at(0)), at(3), "the next look");
    roll.look(at(44), &[place("1")]);
    assert_eq!(roll.step(at(44)), None);
    assert_eq!(roll.next(at(44)), at(45));
    assert_eq!(roll.step(at(45)), Some(Step::Prove(place("1"), key(1))));
    roll.proved(key(1), at(45));
    assert_eq!(roll.step(at(89)), None);
}

#[test]
fn token_that_fails_once_is_in_doubt_and_after_the_retry_gone() {
    let mut roll = plugged();
    roll.failed_to_prove(key(1), at(45));
    assert_eq!(roll.step(at(45)), Some(Step::Doubt(key(1))));
    assert_eq!(roll.step(at(45)), None, "told once");
    assert_eq!(roll.step(at(49)), None);
    assert_eq!(roll.step(at(50)), Some(Step::Prove(place("1"), key(1))));
    roll.failed_to_prove(key(1), at(50));
    assert_eq!(roll.step(at(50)), Some(Step::Gone(key(1))));
    assert_eq!(roll.place_of(&key(1)), None);
    assert_eq!(roll.step(at(54)), None);
    assert_eq!(roll.step(at(55)), Some(Step::Read(place("1"))), "its place is read anew");
}

#[test]
fn token_that_answers_the_retry_is_as_it_was() {
    let mut roll = plugged();
    roll.failed_to_prove(key(1), at(45));
    assert_eq!(roll.step(at(45)), Some(Step::Doubt(key(1))));
    roll.proved(key(1), at(50));
    assert_eq!(roll.step(at(60)), None);
    roll.failed_to_prove(key(1), at(95));
    assert_eq!(roll.step(at(95)), Some(Step::Doubt(key(1))), "told anew");
}

#[test]
fn unplugged_token_is_in_doubt_until_the_retry_and_back_when_plugged_in_again() {
    let mut roll = plugged();
    roll.look(at(10), &[]);
    assert_eq!(roll.step(at(10)), Some(Step::Doubt(key(1))));
    assert_eq!(roll.step(at(14)), None);
    assert_eq!(roll.next(at(14)), at(15));
    // In another port, before the retry.
    roll.look(at(14), &[place("2")]);
    assert_eq!(roll.step(at(14)), Some(Step::Read(place("2"))));
    assert!(roll.found(&place("2"), key(1), at(14)));
    assert_eq!(roll.step(at(14)), Some(Step::Prove(place("2"), key(1))));
    roll.proved(key(1), at(14));
    assert_eq!(roll.step(at(20)), None);
    roll.look(at(20), &[]);
    assert_eq!(roll.step(at(20)), Some(Step::Doubt(key(1))));
    roll.look(at(25), &[]);
    assert_eq!(roll.step(at(25)), Some(Step::Gone(key(1))));
    assert_eq!(roll.step(at(25)), None);
}

#[test]
fn place_that_cannot_be_read_is_tried_ever_more_rarely() {
    let mut roll = Roll::new(pace());
    let mut now = 0;
    let mut pauses = Vec::new();
    for _ in 0..12 {
        roll.look(at(now), &[place("1")]);
        assert_eq!(roll.step(at(now)), Some(Step::Read(place("1"))));
        roll.failed_to_read(&place("1"), at(now));
        let due = (now..).find(|second| roll.step(at(*second)).is_some()).unwrap();
        pauses.push(due - now);
        now = due;
    }
    assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600, 600, 600]);
    // Plugged in again, it is tried at once.
    roll.look(at(now + 1), &[]);
    roll.look(at(now + 1), &[place("1")]);
    assert_eq!(roll.step(at(now + 1)), Some(Step::Read(place("1"))));
}

#[test]
fn token_that_never_proves_itself_is_nobody_and_tried_ever_more_rarely() {
    let mut roll = Roll::new(pace());
    let mut now = 0;
    for pause in [5, 10, 20, 40] {
        roll.look(at(now), &[place("1")]);
        assert_eq!(roll.step(at(now)), Some(Step::Read(place("1"))));
        assert!(roll.found(&place("1"), key(1), at(now)));
        assert_eq!(roll.place_of(&key(1)), None);
        assert_eq!(roll.step(at(now)), Some(Step::Prove(place("1"), key(1))));
        roll.failed_to_prove(key(1), at(now));
        assert_eq!(roll.step(at(now + pause - 1)), None, "nobody is told of it");
        now += pause;
    }
}

#[test]
fn one_key_at_two_places_counts_once() {
    let mut roll = plugged();
    roll.look(at(1), &[place("1"), place("2")]);
    assert_eq!(roll.step(at(1)), Some(Step::Read(place("2"))));
    assert!(!roll.found(&place("2"), key(1), at(1)));
    assert_eq!(roll.step(at(1)), None);
    assert_eq!(roll.place_of(&key(1)), Some(&place("1")));
    // When the first goes, the second takes its place before the retry is over.
    roll.look(at(6), &[place("2")]);
    assert_eq!(roll.step(at(6)), Some(Step::Doubt(key(1))));
    assert_eq!(roll.step(at(6)), Some(Step::Read(place("2"))));
    assert!(roll.found(&place("2"), key(1), at(6)));
}

#[test]
fn places_beyond_the_limit_are_left_alone() {
    let mut roll = Roll::new(pace());
    let many: Vec<_> = (0..PLACES_MAX + 5).map(|no| place(&no.to_string())).collect();
    roll.look(at(0), &many);
    let mut read = 0;
    while let Some(Step::Read(place)) = roll.step(at(0)) {
        roll.failed_to_read(&place, at(0));
        read += 1;
    }
    assert_eq!(read, PLACES_MAX);
}
