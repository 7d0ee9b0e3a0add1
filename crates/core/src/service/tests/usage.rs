//! What is recorded of the seats in use, and how often.

use super::*;

/// The peaks that the last event recorded: begin of the span in minutes, held, seats.
fn peaks(bench: &Bench) -> Vec<(i64, u64, u64)> {
    let peak = |effect: &Effect| match effect {
        Effect::Persist(Record::Peak { series, span, held, seats }) => {
            assert_eq!(*series, SERIES);
            Some((span.unix_millis() / 60_000, *held, *seats))
        }
        Effect::Persist(_) | Effect::Reply(..) => None,
    };
    bench.last.iter().filter_map(peak).collect()
}

#[test]
fn peak_is_recorded_when_it_rises_and_not_otherwise() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 5)]);
    let connection = bench.connect();
    assert_eq!(peaks(&bench), []);
    let first = bench.open(connection, server_session(1), Wish::default()).unwrap();
    assert_eq!(peaks(&bench), [(0, 1, 5)]);
    bench.open(connection, server_session(2), Wish::default()).unwrap();
    assert_eq!(peaks(&bench), [(0, 2, 5)]);
    let (request, _) = bench.request();
    bench.feed(Event::Close { request, session: first.session });
    assert_eq!(peaks(&bench), []);
    bench.open(connection, server_session(3), Wish::default()).unwrap();
    assert_eq!(peaks(&bench), [], "two were held before");
    bench.open(connection, server_session(3), Wish::default()).unwrap();
    assert_eq!(peaks(&bench), [], "it is found again and takes no other seat");
}

#[test]
fn quiet_night_is_recorded_once_per_span_and_empty_hours_are_not() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 5)]);
    let connection = bench.connect();
    let held = bench.open(connection, server_session(1), Wish::default()).unwrap();
    let mut recorded = Vec::new();
    for _ in 0..120 {
        bench.pass(10);
        recorded.extend(peaks(&bench));
        bench.beat(connection, &[held.session]).unwrap();
        assert_eq!(peaks(&bench), []);
    }
    assert_eq!(recorded, [(5, 1, 5), (10, 1, 5), (15, 1, 5), (20, 1, 5)]);
    let (request, _) = bench.request();
    bench.feed(Event::Close { request, session: held.session });
    assert_eq!(bench.held(), 0);
    bench.pass(3600);
    assert_eq!(peaks(&bench), []);
}

#[test]
fn first_claim_of_a_span_leaves_one_record() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 5)]);
    let connection = bench.connect();
    bench.open(connection, server_session(1), Wish::default()).unwrap();
    let span = Duration::from_secs(19);
    bench.now = Now { mono: bench.now.mono.after(span), utc: bench.now.utc.plus_days(1) };
    bench.open(connection, server_session(2), Wish::default()).unwrap();
    assert_eq!(peaks(&bench), [(24 * 60, 2, 5)]);
}

#[test]
fn presence_only_holds_nothing_and_leaves_no_record() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 5)]);
    let connection = bench.connect();
    let wish = Wish { presence_only: true, ..Wish::default() };
    bench.open(connection, server_session(1), wish).unwrap();
    assert_eq!(peaks(&bench), []);
}

#[test]
fn clock_set_back_does_not_begin_earlier_spans() {
    let mut bench = Bench::new();
    bench.now.utc = Utc::from_unix_millis(DAY);
    bench.feed(Event::KeyArrived(key(1, KeyKind::Main, 5)));
    let connection = bench.connect();
    bench.open(connection, server_session(1), Wish::default()).unwrap();
    assert_eq!(peaks(&bench), [(24 * 60, 1, 5)]);
    bench.now.utc = Utc::from_unix_millis(0);
    bench.open(connection, server_session(2), Wish::default()).unwrap();
    assert_eq!(peaks(&bench), [(24 * 60, 2, 5)]);
}

#[test]
fn restart_records_what_is_held_and_the_service_comes_back_at_the_next_span() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 5)]);
    let connection = bench.connect();
    bench.open(connection, server_session(1), Wish::default()).unwrap();
    let keys = vec![key(1, KeyKind::Main, 5)];
    let (_, effects) =
        LicenceService::restore(ServiceConfig::default(), keys, bench.journal.clone(), bench.now);
    bench.last = effects;
    assert_eq!(peaks(&bench), [(0, 1, 5)]);
    // Past the connection's end, before the session's.
    bench.pass(290);
    let wakes = bench.service.poll_timeout(bench.now).unwrap();
    assert_eq!(wakes.since(bench.now.mono), Duration::from_secs(10));
}
