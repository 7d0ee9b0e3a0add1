//! How long things live: connections, sessions, leases, terms, restarts.

use super::*;

#[test]
fn connection_lives_20_seconds_past_its_last_heartbeat() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 1)]);
    let connection = bench.connect();
    bench.pass(19);
    assert_eq!(bench.beat(connection, &[]), Ok(vec![]));
    bench.pass(19);
    assert!(bench.service.connection(connection).is_some());
    bench.pass(1);
    assert!(bench.service.connection(connection).is_none());
    assert_eq!(bench.beat(connection, &[]), Err(Refusal::ConnectionNotFound));
}

#[test]
fn session_lives_1000_seconds_past_its_last_touch_and_outlives_its_connection() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 1)]);
    let connection = bench.connect();
    let session = bench.open(connection, server_session(1), Wish::default()).unwrap().session;
    bench.pass(999);
    assert!(bench.service.connection(connection).is_none());
    assert!(bench.service.session(session).is_some());
    bench.pass(1);
    assert!(bench.service.session(session).is_none());
    assert_eq!(bench.held(), 0);
}

#[test]
fn one_heartbeat_touches_all_sessions_it_names() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 3)]);
    let connection = bench.connect();
    let sessions: Vec<_> = (1..=3)
        .map(|n| bench.open(connection, server_session(n), Wish::default()).unwrap().session)
        .collect();
    for _ in 0..110 {
        bench.pass(10);
        assert_eq!(bench.beat(connection, &sessions[..2]), Ok(vec![]));
    }
    let gone = bench.beat(connection, &sessions).unwrap();
    assert_eq!(gone, [(sessions[2], EndReason::Expired)]);
    assert_eq!(bench.held(), 2);
}

#[test]
fn lease_is_renewed_past_half_its_life() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 1)]);
    let connection = bench.connect();
    let session = bench.open(connection, server_session(1), Wish::default()).unwrap().session;
    let mut renewals = Vec::new();
    for beat in 1..=110 {
        bench.pass(10);
        let (request, _) = bench.request();
        let sessions = vec![session];
        if let Some(Reply::Heartbeat { renewed, .. }) =
            bench.feed(Event::Heartbeat { request, connection, sessions })
            && !renewed.is_empty()
        {
            renewals.push(beat * 10);
        }
    }
    assert_eq!(renewals, [500, 1000]);
}

#[test]
fn session_is_found_again_by_infobase_number_and_start() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 1)]);
    let first = bench.connect();
    let granted = bench.open(first, server_session(1), Wish::default()).unwrap();
    bench.pass(60);
    let second = bench.connect();
    let again = bench.open(second, server_session(1), Wish::default()).unwrap();
    assert_eq!(again.session, granted.session);
    assert_eq!(bench.held(), 1);
    assert_eq!(bench.service.session(again.session).unwrap().connection, second);
    let later =
        SessionInfo { session_started: Some(Utc::from_unix_millis(5)), ..server_session(1) };
    assert!(bench.open(second, later, Wish::default()).is_err(), "another start, another session");
}

#[test]
fn process_exit_ends_the_sessions_of_its_connection_only() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 3)]);
    let (a, b) = (bench.connect(), bench.connect());
    bench.open(a, server_session(1), Wish::default()).unwrap();
    bench.open(a, server_session(2), Wish::default()).unwrap();
    let other = bench.open(b, server_session(3), Wish::default()).unwrap().session;
    let (request, _) = bench.request();
    bench.feed(Event::Disconnect { request, connection: a, end_sessions: true });
    assert_eq!(bench.held(), 1);
    assert!(bench.service.session(other).is_some());
}

#[test]
fn session_that_another_process_beats_for_survives_the_exit_of_the_first() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 1)]);
    let (a, b) = (bench.connect(), bench.connect());
    let session = bench.open(a, server_session(1), Wish::default()).unwrap().session;
    assert_eq!(bench.beat(b, &[session]), Ok(vec![]));
    let (request, _) = bench.request();
    bench.feed(Event::Disconnect { request, connection: a, end_sessions: true });
    assert!(bench.service.session(session).is_some());
}

#[test]
fn goodbye_of_a_connection_leaves_its_sessions() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 1)]);
    let connection = bench.connect();
    bench.open(connection, server_session(1), Wish::default()).unwrap();
    let (request, _) = bench.request();
    bench.feed(Event::Disconnect { request, connection, end_sessions: false });
    assert!(bench.service.connection(connection).is_none());
    assert_eq!(bench.held(), 1);
}

#[test]
fn revoked_session_is_told_so_at_its_next_heartbeat() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 1)]);
    let connection = bench.connect();
    let session = bench.open(connection, server_session(1), Wish::default()).unwrap().session;
    let (request, _) = bench.request();
    assert_eq!(bench.feed(Event::Revoke { request, session }), Some(Reply::Done));
    let gone = bench.beat(connection, &[session]).unwrap();
    assert_eq!(gone, [(session, EndReason::Revoked)]);
    assert_eq!(
        bench.feed(Event::Revoke { request, session }),
        Some(Reply::Refused(Refusal::SessionNotFound))
    );
}

#[test]
fn expired_key_ends_its_sessions_at_the_end_of_its_term() {
    let term = Term { period_days: 2, ..key(1, KeyKind::Main, 1).term };
    let mut bench = Bench::with_keys(&[ProtectionKey { term, ..key(1, KeyKind::Main, 1) }]);
    let connection = bench.connect();
    bench.pass(2 * 86_400 - 10);
    let connection =
        if bench.service.connection(connection).is_some() { connection } else { bench.connect() };
    bench.open(connection, server_session(1), Wish::default()).unwrap();
    let wakes = bench.service.poll_timeout(bench.now).unwrap();
    assert_eq!(wakes.since(bench.now.mono), Duration::from_secs(10), "the end of the term is due");
    bench.pass(10);
    assert_eq!(bench.held(), 0);
    let connection = bench.connect();
    let refusal = bench.open(connection, server_session(1), Wish::default()).unwrap_err();
    assert!(matches!(refusal, Refusal::KeyUnusable { status: KeyStatus::Expired, .. }));
}

#[test]
fn clock_set_back_does_not_prolong_a_term() {
    let term = Term { period_days: 2, ..key(1, KeyKind::Main, 1).term };
    let mut bench = Bench::with_keys(&[ProtectionKey { term, ..key(1, KeyKind::Main, 1) }]);
    bench.pass(3 * 86_400);
    bench.now.utc = Utc::from_unix_millis(DAY);
    bench.feed(Event::Tick);
    assert_eq!(bench.service.clock_set_back_millis(bench.now), 2 * DAY);
    bench.restart();
    let connection = bench.connect();
    let refusal = bench.open(connection, server_session(1), Wish::default()).unwrap_err();
    assert!(matches!(refusal, Refusal::KeyUnusable { status: KeyStatus::Expired, .. }));
}

#[test]
fn term_goes_on_while_the_clock_is_set_back() {
    let term = Term { period_days: 2, ..key(1, KeyKind::Main, 1).term };
    let mut bench = Bench::with_keys(&[ProtectionKey { term, ..key(1, KeyKind::Main, 1) }]);
    bench.now.utc = Utc::from_unix_millis(-365 * DAY);
    bench.pass(86_400);
    let connection = bench.connect();
    bench.open(connection, server_session(1), Wish::default()).unwrap();
    bench.pass(86_400);
    assert!(bench.now.utc < Utc::from_unix_millis(-360 * DAY));
    let connection = bench.connect();
    let refusal = bench.open(connection, server_session(1), Wish::default()).unwrap_err();
    assert!(matches!(refusal, Refusal::KeyUnusable { status: KeyStatus::Expired, .. }));
}

#[test]
fn clock_that_jumps_ahead_by_mistake_ends_no_term_and_prolongs_none() {
    let term = Term { period_days: 9, ..key(1, KeyKind::Main, 1).term };
    let mut bench = Bench::with_keys(&[ProtectionKey { term, ..key(1, KeyKind::Main, 1) }]);
    let connection = bench.connect();
    let session = bench.open(connection, server_session(1), Wish::default()).unwrap().session;
    bench.now.utc = Utc::from_unix_millis(70 * 365 * DAY);
    bench.feed(Event::Tick);
    assert!(bench.service.session(session).is_some());
    assert!(bench.service.clock_doubt(bench.now).is_some());
    bench.restart();
    assert!(bench.service.clock_doubt(bench.now).is_some(), "it is kept");
    bench.pass(3 * 86_400);
    assert!(bench.service.clock_doubt(bench.now).is_some());
    // Set right: nothing is left of it, and the term has gone on meanwhile.
    bench.now.utc = Utc::from_unix_millis(3 * DAY);
    bench.feed(Event::Tick);
    assert_eq!(bench.service.clock_doubt(bench.now), None);
    assert_eq!(bench.service.utc(bench.now), bench.now.utc);
    bench.restart();
    assert_eq!(bench.service.clock_doubt(bench.now), None);
    assert_eq!(bench.service.utc(bench.now), bench.now.utc);
    let connection = bench.connect();
    assert!(bench.open(connection, server_session(1), Wish::default()).is_ok());
    bench.pass(6 * 86_400);
    let connection = bench.connect();
    let refusal = bench.open(connection, server_session(1), Wish::default()).unwrap_err();
    assert!(matches!(refusal, Refusal::KeyUnusable { status: KeyStatus::Expired, .. }));
}

#[test]
fn clock_that_stays_ahead_for_a_week_is_believed_and_terms_follow_it() {
    let term = Term { period_days: 90, ..key(1, KeyKind::Main, 1).term };
    let mut bench = Bench::with_keys(&[ProtectionKey { term, ..key(1, KeyKind::Main, 1) }]);
    bench.now.utc = Utc::from_unix_millis(100 * DAY);
    for day in 1..=7 {
        let connection = bench.connect();
        assert!(bench.open(connection, server_session(1), Wish::default()).is_ok(), "{day}");
        bench.pass(86_399);
    }
    bench.pass(7);
    let connection = bench.connect();
    let refusal = bench.open(connection, server_session(1), Wish::default()).unwrap_err();
    assert!(matches!(refusal, Refusal::KeyUnusable { status: KeyStatus::Expired, .. }));
}

#[test]
fn moment_that_a_centre_has_signed_begins_a_term_and_ends_a_doubt() {
    let start = Some(Utc::from_unix_millis(100 * DAY));
    let term = Term { start, ..key(1, KeyKind::Main, 1).term };
    let mut bench = Bench::with_keys(&[ProtectionKey { term, ..key(1, KeyKind::Main, 1) }]);
    bench.now.utc = Utc::from_unix_millis(100 * DAY + 5000);
    let connection = bench.connect();
    let refusal = bench.open(connection, server_session(1), Wish::default()).unwrap_err();
    assert!(matches!(refusal, Refusal::KeyUnusable { status: KeyStatus::NotStarted, .. }));
    bench.feed(Event::TimeProved(Utc::from_unix_millis(100 * DAY)));
    assert_eq!(bench.service.clock_doubt(bench.now), None);
    assert!(bench.open(connection, server_session(1), Wish::default()).is_ok());
}

#[test]
fn restored_leases_get_one_full_period() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 2)]);
    let connection = bench.connect();
    let session = bench.open(connection, server_session(1), Wish::default()).unwrap().session;
    bench.pass(990);
    // The machine was off for a day, and its monotonic clock began anew.
    bench.now = Now { mono: MonoTime::from_millis(5), utc: bench.now.utc.plus_millis(DAY) };
    bench.restart();
    bench.pass(999);
    assert!(bench.service.session(session).is_some());
    bench.pass(1);
    assert!(bench.service.session(session).is_none());
}

#[test]
fn session_that_shows_its_lease_gets_its_id_back() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 1), key(2, KeyKind::Main, 1)]);
    let connection = bench.connect();
    let (request, bytes) = bench.request();
    let old = SessionId::from_bytes([0xAB; 16]);
    let lease = LeaseClaims {
        iss: "urn:licence-server:test".into(),
        sub: old.to_string(),
        iat: 0,
        exp: 1000,
        key_id: SERIES,
        key_no: KeyNo(2),
    };
    let reply = bench.feed(Event::Open {
        request,
        id: SessionId::from_bytes(bytes),
        connection,
        session: server_session(1),
        wish: Wish::default(),
        lease: Some(lease),
        seat: LeasedSeat::Own,
        may_wait: false,
    });
    let Some(Reply::Opened(grant)) = reply else { panic!("{reply:?}") };
    assert_eq!((grant.session, grant.key_no), (old, Some(KeyNo(2))));
}
