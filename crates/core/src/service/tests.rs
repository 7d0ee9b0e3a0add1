//! Every counting rule of the manual, as a script of events and what must come out.

use super::*;
use crate::key::{KeyKind, Term};
use crate::pool::KeyStatus;
use crate::protocol::{CODE_BYTES_MAX, TEXT_BYTES_MAX};
use crate::refusal::UnmetWish;
use crate::time::DAY_MILLIS;

const SERIES: KeySeries = KeySeries::from_u16(0x672B);
const DAY: i64 = DAY_MILLIS;

/// A service under a hand-moved clock.
struct Bench {
    service: LicenceService,
    journal: Snapshot,
    now: Now,
    next: u64,
    last: Vec<Effect>,
}

impl Bench {
    fn new() -> Self {
        let service = LicenceService::new(ServiceConfig::default());
        let now = Now { mono: MonoTime::from_millis(0), utc: Utc::from_unix_millis(0) };
        Self { service, journal: Snapshot::default(), now, next: 1, last: Vec::new() }
    }

    fn with_keys(keys: &[ProtectionKey]) -> Self {
        let mut bench = Self::new();
        for key in keys {
            bench.feed(Event::KeyArrived(key.clone()));
        }
        bench
    }

    fn feed(&mut self, event: Event) -> Option<Reply> {
        self.last = self.service.handle(event, self.now);
        let mut reply = None;
        for effect in &self.last {
            match effect {
                Effect::Persist(record) => self.journal.apply(record),
                Effect::Reply(_, answer) => reply = Some(answer.clone()),
            }
        }
        assert_eq!(self.journal, self.service.snapshot(), "the journal and the state differ");
        reply
    }

    fn request(&mut self) -> (RequestId, [u8; 16]) {
        self.next += 1;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next.to_be_bytes());
        (RequestId(self.next), bytes)
    }

    fn connect(&mut self) -> ConnectionId {
        let (request, bytes) = self.request();
        let id = ConnectionId::from_bytes(bytes);
        let peer = "127.0.0.1".to_owned();
        let info = ConnectionInfo::default();
        let reply = self.feed(Event::Connect { request, id, series: SERIES, peer, info });
        assert_eq!(reply, Some(Reply::Connected(id)));
        id
    }

    fn open(
        &mut self,
        connection: ConnectionId,
        session: SessionInfo,
        wish: Wish,
    ) -> Result<Grant, Refusal> {
        let (request, bytes) = self.request();
        let id = SessionId::from_bytes(bytes);
        let lease = None;
        match self.feed(Event::Open { request, id, connection, session, wish, lease }) {
            Some(Reply::Opened(grant)) => Ok(grant),
            Some(Reply::Refused(refusal)) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    fn pass(&mut self, seconds: u64) {
        let span = Duration::from_secs(seconds);
        self.now = Now { mono: self.now.mono.after(span), utc: self.now.utc.after(span) };
        assert_eq!(self.feed(Event::Tick), None);
    }

    fn beat(
        &mut self,
        connection: ConnectionId,
        sessions: &[SessionId],
    ) -> Result<Vec<(SessionId, EndReason)>, Refusal> {
        let (request, _) = self.request();
        let sessions = sessions.to_vec();
        match self.feed(Event::Heartbeat { request, connection, sessions }) {
            Some(Reply::Heartbeat { gone, .. }) => Ok(gone),
            Some(Reply::Refused(refusal)) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    fn held(&self) -> u64 {
        self.service.totals(SERIES).held
    }

    fn restart(&mut self) {
        let keys = self.service.keys().map(|key| key.key.clone()).collect();
        let (service, effects) =
            LicenceService::restore(ServiceConfig::default(), keys, self.journal.clone(), self.now);
        for effect in &effects {
            if let Effect::Persist(record) = effect {
                self.journal.apply(record);
            }
        }
        self.service = service;
    }
}

fn key(number: u32, kind: KeyKind, seats: u32) -> ProtectionKey {
    let activated = Utc::from_unix_millis(0);
    ProtectionKey {
        key_no: KeyNo(number),
        series: SERIES,
        kind,
        seats,
        term: Term { activated, start: None, period_days: 0, expire: None },
        product_version: 0,
        service_type: 0,
        reg_no: None,
        itn: None,
        iec: None,
        workable: true,
        access_code: None,
    }
}

fn server_session(number: u32) -> SessionInfo {
    SessionInfo {
        session_number: number.to_string(),
        is_server: true,
        info_base_connection_str: "Srvr=\"s\";Ref=\"b\";".into(),
        computer_name: format!("PC{number}"),
        user_name: Some(format!("User{number}")),
        ..SessionInfo::default()
    }
}

fn file_session(number: u32, computer: &str, terminal: Option<&str>) -> SessionInfo {
    SessionInfo {
        session_number: number.to_string(),
        info_base_connection_str: "File=\"D:\\Db\";".into(),
        computer_name: computer.into(),
        terminal_client: terminal.map(str::to_owned),
        ..SessionInfo::default()
    }
}

#[test]
fn every_session_of_an_application_server_takes_a_seat() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 3)]);
    let connection = bench.connect();
    for number in 1..=3 {
        bench.open(connection, server_session(number), Wish::default()).unwrap();
        assert_eq!(bench.held(), u64::from(number));
    }
    let refusal = bench.open(connection, server_session(4), Wish::default()).unwrap_err();
    assert!(matches!(refusal, Refusal::NoSeatFree { total: 3, .. }), "{refusal:?}");
    assert_eq!(bench.held(), 3);
}

#[test]
fn refusal_says_by_whom_the_seats_are_held_and_is_recorded() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 1)]);
    let connection = bench.connect();
    bench.open(connection, server_session(1), Wish::default()).unwrap();
    let refusal = bench.open(connection, server_session(2), Wish::default()).unwrap_err();
    let text = refusal.text(crate::language::Language::Russian);
    assert!(
        text.contains("занято 1 из 1") && text.contains("User1") && text.contains("PC1"),
        "{text}"
    );
    assert!(
        matches!(&bench.last[0], Effect::Persist(Record::Denied { class: "ENoFreeLicence", .. })),
        "{:?}",
        bench.last
    );
}

#[test]
fn refusal_names_holders_of_both_kinds_and_only_of_the_keys_that_fit() {
    let reserved = ProtectionKey { access_code: Some("x7".into()), ..key(2, KeyKind::Main, 1) };
    let mut bench =
        Bench::with_keys(&[key(1, KeyKind::Main, 2), reserved, key(3, KeyKind::Main, 1)]);
    let connection = bench.connect();
    let with_code = Wish { access_code: Some("x7".into()), ..Wish::default() };
    bench.open(connection, server_session(9), with_code).unwrap();
    bench.open(connection, file_session(1, "FILEPC", None), Wish::default()).unwrap();
    bench.open(connection, server_session(2), Wish::default()).unwrap();
    bench.open(connection, server_session(3), Wish::default()).unwrap();
    let text = bench.open(connection, server_session(4), Wish::default()).unwrap_err().to_string();
    for name in ["FILEPC", "User2", "User3"] {
        assert!(text.contains(name), "{name}: {text}");
    }
    assert!(!text.contains("User9") && !text.contains("more"), "{text}");
}

#[test]
fn holders_are_not_named_where_the_administrator_forbids_it() {
    let mut bench = Bench::new();
    bench.service =
        LicenceService::new(ServiceConfig { name_holders: false, ..ServiceConfig::default() });
    bench.feed(Event::KeyArrived(key(1, KeyKind::Main, 1)));
    let connection = bench.connect();
    bench.open(connection, server_session(1), Wish::default()).unwrap();
    let refusal = bench.open(connection, server_session(2), Wish::default()).unwrap_err();
    assert!(!refusal.to_string().contains("User1"), "{refusal}");
}

#[test]
fn file_mode_sessions_of_one_computer_share_one_seat() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 2)]);
    let (a, b) = (bench.connect(), bench.connect());
    let first = bench.open(a, file_session(1, "MORA-HP", None), Wish::default()).unwrap();
    let second = bench.open(b, file_session(2, "mora-hp", None), Wish::default()).unwrap();
    assert_ne!(first.session, second.session);
    assert_eq!(bench.held(), 1);
    bench.open(b, file_session(3, "OTHER", None), Wish::default()).unwrap();
    assert_eq!(bench.held(), 2);
    let (request, _) = bench.request();
    bench.feed(Event::Close { request, session: first.session });
    assert_eq!(bench.held(), 2, "the second session still holds the shared seat");
    bench.feed(Event::Close { request, session: second.session });
    assert_eq!(bench.held(), 1);
}

#[test]
fn file_mode_sessions_of_one_terminal_client_share_one_seat() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 2)]);
    let connection = bench.connect();
    bench.open(connection, file_session(1, "TS", Some("thin1")), Wish::default()).unwrap();
    bench.open(connection, file_session(2, "TS", Some("THIN1")), Wish::default()).unwrap();
    assert_eq!(bench.held(), 1);
    bench.open(connection, file_session(3, "TS", Some("thin2")), Wish::default()).unwrap();
    assert_eq!(bench.held(), 2);
    let refusal = bench.open(connection, file_session(4, "TS", Some("thin3")), Wish::default());
    assert!(matches!(refusal, Err(Refusal::NoSeatFree { .. })));
}

#[test]
fn additional_key_adds_only_beside_a_main_key() {
    let mut bench = Bench::with_keys(&[key(2, KeyKind::Additional, 2)]);
    let connection = bench.connect();
    let refusal = bench.open(connection, server_session(1), Wish::default()).unwrap_err();
    assert!(
        matches!(refusal, Refusal::KeyUnusable { status: KeyStatus::NoMainKey, .. }),
        "{refusal:?}"
    );
    bench.feed(Event::KeyArrived(key(1, KeyKind::Main, 5)));
    assert_eq!(bench.service.totals(SERIES).seats, 7);
    let grants: Vec<_> = (1..=7)
        .map(|n| bench.open(connection, server_session(n), Wish::default()).unwrap().key_no)
        .collect();
    assert_eq!(grants.iter().filter(|key_no| **key_no == Some(KeyNo(1))).count(), 5);
    assert!(bench.open(connection, server_session(8), Wish::default()).is_err());
}

#[test]
fn sessions_of_an_additional_key_end_with_the_main_key() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 1), key(2, KeyKind::Additional, 1)]);
    let connection = bench.connect();
    let first = bench.open(connection, server_session(1), Wish::default()).unwrap().session;
    let second = bench.open(connection, server_session(2), Wish::default()).unwrap().session;
    bench.feed(Event::KeyRemoved(KeyNo(1)));
    assert_eq!(bench.held(), 0);
    let gone = bench.beat(connection, &[first, second]).unwrap();
    assert_eq!(gone, [(first, EndReason::KeyGone), (second, EndReason::KeyGone)]);
}

#[test]
fn demo_key_stands_alone_and_never_adds() {
    let mut bench = Bench::with_keys(&[key(9, KeyKind::Demo, 2)]);
    assert_eq!(bench.service.totals(SERIES).seats, 2);
    bench.feed(Event::KeyArrived(key(1, KeyKind::Main, 5)));
    assert_eq!(bench.service.totals(SERIES).seats, 5);
    let status = bench.service.key(KeyNo(9)).map(|key| key.status);
    assert_eq!(status, Some(KeyStatus::DemoNotAlone));
}

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
fn presence_only_needs_a_key_and_is_not_counted() {
    let wish = Wish { presence_only: true, ..Wish::default() };
    let mut bench = Bench::new();
    let connection = bench.connect();
    let refusal = bench.open(connection, server_session(1), wish.clone()).unwrap_err();
    assert_eq!(refusal, Refusal::NoKey { series: SERIES });
    bench.feed(Event::KeyArrived(key(1, KeyKind::Main, 1)));
    for number in 1..=5 {
        let grant = bench.open(connection, server_session(number), wish.clone()).unwrap();
        assert_eq!(grant.key_no, None);
    }
    assert_eq!(bench.held(), 0);
    bench.feed(Event::KeyRemoved(KeyNo(1)));
    assert_eq!(bench.service.sessions().count(), 0);
}

#[test]
fn key_with_an_access_code_serves_only_those_who_name_it() {
    let reserved = ProtectionKey { access_code: Some("x7".into()), ..key(2, KeyKind::Main, 1) };
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 1), reserved]);
    let connection = bench.connect();
    let with = |code: &str| Wish { access_code: Some(code.into()), ..Wish::default() };
    let plain = bench.open(connection, server_session(1), Wish::default()).unwrap();
    assert_eq!(plain.key_no, Some(KeyNo(1)));
    assert!(bench.open(connection, server_session(2), Wish::default()).is_err());
    let named = bench.open(connection, server_session(3), with("x7")).unwrap();
    assert_eq!(named.key_no, Some(KeyNo(2)));
    let refusal = bench.open(connection, server_session(4), with("no")).unwrap_err();
    assert_eq!(refusal, Refusal::WishUnmet { series: SERIES, wish: UnmetWish::AccessCode });
}

#[test]
fn control_parameters_choose_among_keys() {
    let first = ProtectionKey {
        product_version: 2,
        reg_no: Some(202),
        itn: Some("0123456789".into()),
        ..key(1, KeyKind::Main, 1)
    };
    let second = ProtectionKey { service_type: 3, product_version: 5, ..key(2, KeyKind::Main, 1) };
    let mut bench = Bench::with_keys(&[first, second]);
    let connection = bench.connect();
    let mut number = 0;
    let mut check = |wish: Wish, expected: Result<u32, UnmetWish>| {
        number += 1;
        let result = bench.open(connection, server_session(number), wish);
        match expected {
            Ok(key_no) => {
                let grant = result.unwrap();
                assert_eq!(grant.key_no, Some(KeyNo(key_no)));
                let (request, _) = bench.request();
                bench.feed(Event::Close { request, session: grant.session });
            }
            Err(wish) => {
                assert_eq!(result.unwrap_err(), Refusal::WishUnmet { series: SERIES, wish });
            }
        }
    };
    check(Wish::default(), Ok(1));
    check(Wish { key_no: Some(KeyNo(2)), ..Wish::default() }, Ok(2));
    check(Wish { product_version: Some(3), ..Wish::default() }, Ok(2));
    check(Wish { product_version: Some(6), ..Wish::default() }, Err(UnmetWish::ProductVersion));
    check(Wish { reg_no: Some(202), ..Wish::default() }, Ok(1));
    check(Wish { reg_no: Some(1), ..Wish::default() }, Err(UnmetWish::RegNo));
    check(Wish { itn: Some("0123456789".into()), ..Wish::default() }, Ok(1));
    check(Wish { itn: Some("1".into()), ..Wish::default() }, Err(UnmetWish::Itn));
    check(Wish { iec: Some("1".into()), ..Wish::default() }, Err(UnmetWish::Iec));
    check(Wish { service_type: Some(3), ..Wish::default() }, Ok(2));
    check(Wish { service_type: Some(1), ..Wish::default() }, Err(UnmetWish::ServiceType));
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
    bench.now.utc = Utc::from_unix_millis(3 * DAY);
    bench.feed(Event::Tick);
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
fn access_codes_are_left_aside_where_the_administrator_switched_them_off() {
    let mut bench = Bench::new();
    let config = ServiceConfig { access_codes: false, ..ServiceConfig::default() };
    bench.service = LicenceService::new(config);
    bench.feed(Event::KeyArrived(key(1, KeyKind::Main, 1)));
    let connection = bench.connect();
    let wish = Wish { access_code: Some("x7".into()), ..Wish::default() };
    assert!(bench.open(connection, server_session(1), wish).is_ok());
}

#[test]
fn file_session_that_names_no_computer_runs_where_its_component_runs() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 5)]);
    let nameless = bench.connect();
    let refusal = bench.open(nameless, file_session(1, "", None), Wish::default()).unwrap_err();
    assert_eq!(refusal, Refusal::Invalid { field: "ComputerName", bytes_max: 0 });
    let (request, bytes) = bench.request();
    let id = ConnectionId::from_bytes(bytes);
    let info = ConnectionInfo { computer_name: "PC7".into(), ..ConnectionInfo::default() };
    let peer = "127.0.0.1".to_owned();
    bench.feed(Event::Connect { request, id, series: SERIES, peer, info });
    bench.open(id, file_session(1, "", None), Wish::default()).unwrap();
    bench.open(id, file_session(2, "PC7", None), Wish::default()).unwrap();
    assert_eq!(bench.held(), 1);
}

#[test]
fn key_bound_to_another_computer_grants_nothing() {
    let foreign = ProtectionKey { workable: false, ..key(1, KeyKind::Main, 5) };
    let mut bench = Bench::with_keys(&[foreign]);
    let connection = bench.connect();
    let refusal = bench.open(connection, server_session(1), Wish::default()).unwrap_err();
    assert!(matches!(refusal, Refusal::KeyUnusable { status: KeyStatus::NotWorkable, .. }));
}

#[test]
fn smaller_key_takes_back_the_seats_of_those_who_came_last() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 3)]);
    let connection = bench.connect();
    let mut sessions = Vec::new();
    for number in 1..=3 {
        bench.pass(1);
        sessions
            .push(bench.open(connection, server_session(number), Wish::default()).unwrap().session);
    }
    bench.feed(Event::KeyArrived(key(1, KeyKind::Main, 1)));
    assert_eq!(bench.held(), 1);
    assert!(bench.service.session(sessions[0]).is_some());
}

#[test]
fn session_moves_to_another_key_when_its_own_goes() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 1), key(2, KeyKind::Main, 1)]);
    let connection = bench.connect();
    let grant = bench.open(connection, server_session(1), Wish::default()).unwrap();
    assert_eq!(grant.key_no, Some(KeyNo(1)));
    bench.feed(Event::KeyRemoved(KeyNo(1)));
    assert_eq!(bench.service.session(grant.session).unwrap().key_no, Some(KeyNo(2)));
    assert_eq!(bench.held(), 1);
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
    });
    let Some(Reply::Opened(grant)) = reply else { panic!("{reply:?}") };
    assert_eq!((grant.session, grant.key_no), (old, Some(KeyNo(2))));
}

#[test]
fn session_that_asks_for_another_key_never_holds_two() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 1), key(2, KeyKind::Main, 1)]);
    let connection = bench.connect();
    let wish = |no: u32| Wish { key_no: Some(KeyNo(no)), ..Wish::default() };
    bench.open(connection, server_session(1), wish(1)).unwrap();
    bench.open(connection, server_session(1), wish(2)).unwrap();
    assert_eq!(bench.held(), 1);
    bench.open(connection, server_session(2), wish(1)).unwrap();
    bench.open(connection, server_session(1), wish(1)).unwrap_err();
    assert_eq!(bench.held(), 2, "the seat it has is kept when the other cannot be had");
}

#[test]
fn texts_that_are_empty_or_too_long_are_refused_by_name() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 1)]);
    let connection = bench.connect();
    let mut check = |session: SessionInfo, field: &str| match bench.open(
        connection,
        session,
        Wish::default(),
    ) {
        Err(Refusal::Invalid { field: named, .. }) => assert_eq!(named, field),
        other => panic!("{other:?}"),
    };
    check(SessionInfo { session_number: " ".into(), ..server_session(1) }, "SessionNumber");
    let long = "x".repeat(TEXT_BYTES_MAX + 1);
    check(SessionInfo { user_name: Some(long.clone()), ..server_session(1) }, "UserName");
    let number = "1".repeat(CODE_BYTES_MAX + 1);
    check(SessionInfo { session_number: number, ..server_session(1) }, "SessionNumber");
    check(
        SessionInfo { info_base_connection_str: long, ..server_session(1) },
        "InfoBaseConnectionStr",
    );
}
