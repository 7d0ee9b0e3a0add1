//! What is told, when, and how often.

use super::*;

const SERIES: KeySeries = KeySeries::from_u16(0x672B);
const LIMITS: Limits = Limits { use_percent: 90, expiry_days: 14, session_key_minutes: 30 };

#[test]
fn key_that_has_ended_elsewhere_is_told_once_each_time_it_is_handed_over() {
    let mut watcher = Watcher::default();
    let ended = vec![EndedKey { key_no: KeyNo(5), series: SERIES }];
    let facts = Facts { ended, ..Facts::default() };
    let told = watcher.look(&facts, LIMITS, at(0), Utc::MIN);
    assert_eq!((told.len(), told[0].kind, told[0].key_no), (1, Kind::Ended, Some(KeyNo(5))));
    assert!(watcher.look(&Facts::default(), LIMITS, at(1), Utc::MIN).is_empty());
}

fn at(minutes: u64) -> MonoTime {
    MonoTime::from_millis(minutes * 60_000)
}

fn utc(text: &str) -> Utc {
    text.parse().unwrap()
}

fn kinds(notices: &[Notice]) -> Vec<Kind> {
    notices.iter().map(|notice| notice.kind).collect()
}

fn facts(used: u64, total: u64) -> Facts {
    Facts { series: vec![SeriesUse { series: SERIES, total, used }], ..Facts::default() }
}

#[test]
fn high_use_is_told_once_and_again_after_it_has_fallen() {
    let mut watcher = Watcher::default();
    let now = utc("2026-11-21T00:00:00Z");
    for (step, (used, total, told)) in [
        (8, 10, 0),
        (9, 10, 1),
        (10, 10, 0),
        (9, 10, 0),
        (85, 100, 0),
        (90, 100, 0),
        (80, 100, 0),
        (90, 100, 1),
        (0, 0, 0),
        (9, 10, 1),
    ]
    .into_iter()
    .enumerate()
    {
        let notices = watcher.look(&facts(used, total), LIMITS, at(0), now);
        assert_eq!(notices.len(), told, "step {step}: {notices:?}");
    }
    let never = Limits { use_percent: 0, ..LIMITS };
    assert!(Watcher::default().look(&facts(10, 10), never, at(0), now).is_empty());
}

#[test]
fn end_of_a_term_is_told_at_each_step_and_once() {
    let mut watcher = Watcher::default();
    let ends = utc("2026-12-31T00:00:00Z");
    let key = KeyEnd { series: SERIES, key_no: KeyNo(7), ends };
    let facts = Facts { keys: vec![key], ..Facts::default() };
    for (day, told) in [
        ("2026-12-16T00:00:00Z", 0),
        ("2026-12-17T00:00:00Z", 1),
        ("2026-12-20T00:00:00Z", 0),
        ("2026-12-24T12:00:00Z", 1),
        ("2026-12-30T01:00:00Z", 1),
        ("2026-12-30T23:00:00Z", 0),
        ("2026-12-31T00:00:00Z", 1),
        ("2027-01-05T00:00:00Z", 0),
    ] {
        let notices = watcher.look(&facts, LIMITS, at(0), utc(day));
        assert_eq!(notices.len(), told, "{day}: {notices:?}");
    }
    // A key that was prolonged begins anew.
    let key = KeyEnd { ends: utc("2027-01-10T00:00:00Z"), ..key };
    let facts = Facts { keys: vec![key], ..Facts::default() };
    assert_eq!(watcher.look(&facts, LIMITS, at(0), utc("2027-01-05T00:00:00Z")).len(), 1);
}

#[test]
fn reserve_server_is_lost_after_two_misses_and_back_at_once() {
    let mut watcher = Watcher::default();
    let now = utc("2026-11-21T00:00:00Z");
    for (answers, told) in [
        (true, None),
        (false, None),
        (false, Some(Kind::ServerLost)),
        (false, None),
        (true, Some(Kind::ServerBack)),
        (false, None),
        (true, None),
    ] {
        let facts = Facts { servers: vec![("b:9099".to_owned(), answers)], ..Facts::default() };
        let found = kinds(&watcher.look(&facts, LIMITS, at(0), now));
        assert_eq!(found, Vec::from_iter(told));
    }
}

#[test]
fn first_refusal_is_told_at_once_and_the_rest_summed_up() {
    let mut watcher = Watcher::default();
    let now = utc("2026-11-21T00:00:00Z");
    let denial = Denial { series: SERIES, reason: "ENoFreeLicence".into(), text: "full".into() };
    assert_eq!(watcher.denied(denial.clone(), at(0)).map(|n| n.kind), Some(Kind::Denial));
    assert_eq!(watcher.denied(denial.clone(), at(1)), None);
    assert_eq!(watcher.denied(denial.clone(), at(14)), None);
    assert!(watcher.look(&Facts::default(), LIMITS, at(14), now).is_empty());
    let told = watcher.look(&Facts::default(), LIMITS, at(15), now);
    assert_eq!(told[0].details["Count"], 2, "{told:?}");
    assert!(watcher.look(&Facts::default(), LIMITS, at(40), now).is_empty());
    assert!(watcher.denied(denial, at(41)).is_some());
}

#[test]
fn changed_parts_are_told_when_they_become_more_and_a_stopping_key_at_each_step() {
    let mut watcher = Watcher::default();
    let ends = utc("2026-12-31T00:00:00Z");
    let key = KeyEnd { series: SERIES, key_no: KeyNo(7), ends };
    let drift = |changed: usize| {
        (changed > 0).then(|| (changed, format!("{changed} ч."), format!("{changed} parts")))
    };
    for (day, changed, stopping, told) in [
        ("2026-12-01T00:00:00Z", 0, vec![], vec![]),
        ("2026-12-02T00:00:00Z", 1, vec![], vec!["1 parts"]),
        ("2026-12-03T00:00:00Z", 1, vec![], vec![]),
        ("2026-12-17T00:00:00Z", 3, vec![key], vec!["3 parts", "in 14 days"]),
        ("2026-12-18T00:00:00Z", 3, vec![key], vec![]),
        ("2026-12-24T00:00:00Z", 3, vec![key], vec!["in 7 days"]),
        ("2026-12-30T00:00:00Z", 3, vec![key], vec!["in 1 days"]),
        ("2026-12-31T00:00:00Z", 3, vec![key], vec!["has stopped"]),
        ("2027-01-05T00:00:00Z", 3, vec![key], vec![]),
        ("2027-01-06T00:00:00Z", 0, vec![], vec![]),
        ("2027-01-07T00:00:00Z", 1, vec![], vec!["1 parts"]),
    ] {
        let facts = Facts { drift: drift(changed), stopping, ..Facts::default() };
        let notices = watcher.look(&facts, LIMITS, at(0), utc(day));
        assert_eq!(notices.len(), told.len(), "{day}: {notices:?}");
        for (notice, part) in notices.iter().zip(told) {
            assert_eq!(notice.kind, Kind::Binding);
            assert!(notice.english.contains(part), "{day}: {notice:?}");
        }
    }
}

#[test]
fn clock_that_has_jumped_ahead_is_told_once_for_each_jump() {
    let mut watcher = Watcher::default();
    let now = utc("2026-11-21T00:00:00Z");
    for (jump, told) in [(None, 0), (Some(1), 1), (Some(1), 0), (Some(2), 1), (None, 0)] {
        let clock_ahead = jump.map(|day| (100, now.plus_days(day)));
        let facts = Facts { clock_ahead, ..Facts::default() };
        let notices = watcher.look(&facts, LIMITS, at(0), now);
        assert_eq!(kinds(&notices), vec![Kind::Clock; told], "{jump:?}");
    }
}

#[test]
fn other_hardware_is_told_once() {
    let mut watcher = Watcher::default();
    let now = utc("2026-11-21T00:00:00Z");
    let facts = Facts { has_other_hardware: true, ..Facts::default() };
    assert_eq!(kinds(&watcher.look(&facts, LIMITS, at(0), now)), [Kind::Hardware]);
    assert!(watcher.look(&facts, LIMITS, at(1), now).is_empty());
}

#[test]
fn token_that_goes_and_comes_back_is_told_once_each_and_a_key_that_is_gone_is_not() {
    let mut watcher = Watcher::default();
    let now = utc("2026-11-21T00:00:00Z");
    for (step, (tokens, told)) in [
        (vec![(5, true), (6, true)], vec![]),
        (vec![(5, false), (6, true)], vec![(Kind::TokenLost, 5)]),
        (vec![(5, false), (6, true)], vec![]),
        (vec![(5, true), (6, false)], vec![(Kind::TokenBack, 5), (Kind::TokenLost, 6)]),
        (vec![(5, true)], vec![]),
        (vec![(5, true), (6, true)], vec![]),
    ]
    .into_iter()
    .enumerate()
    {
        let tokens = tokens.into_iter().map(|(no, is_there)| (SERIES, KeyNo(no), is_there));
        let facts = Facts { tokens: tokens.collect(), ..Facts::default() };
        let notices = watcher.look(&facts, LIMITS, at(0), now);
        let found: Vec<_> =
            notices.iter().map(|notice| (notice.kind, notice.key_no.unwrap().0)).collect();
        assert_eq!(found, told, "step {step}");
    }
}

#[test]
fn session_key_that_nobody_refreshes_is_told_once_for_each_end() {
    let mut watcher = Watcher::default();
    let facts = |end: &str| Facts {
        session_keys: vec![("production/SUZ/7707083893/one".to_owned(), utc(end))],
        ..Facts::default()
    };
    let never = Limits { session_key_minutes: 0, ..LIMITS };
    for (now, end, limits, told) in [
        ("2026-11-22T11:00:00Z", "2026-11-22T12:00:00Z", LIMITS, 0),
        ("2026-11-22T11:30:00Z", "2026-11-22T12:00:00Z", never, 0),
        ("2026-11-22T11:30:00Z", "2026-11-22T12:00:00Z", LIMITS, 1),
        ("2026-11-22T11:31:00Z", "2026-11-22T12:00:00Z", LIMITS, 0),
        ("2026-11-22T12:00:00Z", "2026-11-22T12:00:00Z", LIMITS, 0),
        ("2026-11-22T12:01:00Z", "2026-11-22T21:00:00Z", LIMITS, 0),
        ("2026-11-22T20:45:00Z", "2026-11-22T21:00:00Z", LIMITS, 1),
    ] {
        let notices = watcher.look(&facts(end), limits, at(0), utc(now));
        assert_eq!(kinds(&notices), vec![Kind::SessionKey; told], "{now}");
    }
    assert!(watcher.look(&Facts::default(), LIMITS, at(0), Utc::MIN).is_empty());
}
