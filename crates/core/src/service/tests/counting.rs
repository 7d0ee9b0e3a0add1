//! Who gets a seat: keys and their kinds, sessions and computers, wishes, refusals.

use super::*;
use crate::key::Obstacle;

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
    let foreign =
        ProtectionKey { obstacle: Some(Obstacle::BoundElsewhere), ..key(1, KeyKind::Main, 5) };
    let mut bench = Bench::with_keys(&[foreign]);
    let connection = bench.connect();
    let refusal = bench.open(connection, server_session(1), Wish::default()).unwrap_err();
    assert!(matches!(refusal, Refusal::KeyUnusable { status: KeyStatus::Kept(_), .. }));
}

fn kept(key: ProtectionKey, obstacle: Obstacle) -> ProtectionKey {
    ProtectionKey { obstacle: Some(obstacle), ..key }
}

#[test]
fn key_whose_token_is_in_doubt_keeps_its_seats_and_gives_no_others() {
    let main = key(1, KeyKind::Main, 5);
    let additional = key(2, KeyKind::Additional, 5);
    let mut bench = Bench::with_keys(&[main.clone(), additional]);
    let connection = bench.connect();
    let wish = |key_no| Wish { key_no: Some(KeyNo(key_no)), ..Wish::default() };
    let open = |bench: &mut Bench, number, key_no| {
        bench.open(connection, server_session(number), wish(key_no))
    };
    let first = open(&mut bench, 1, 1).unwrap().session;
    let second = open(&mut bench, 2, 2).unwrap().session;
    bench.feed(Event::KeyChanged(kept(main.clone(), Obstacle::TokenInDoubt)));
    assert_eq!(bench.beat(connection, &[first, second]).unwrap(), []);
    bench.restart();
    assert_eq!(bench.beat(connection, &[first, second]).unwrap(), []);
    // Found again in another call of the same process, the session is the one that it was.
    assert_eq!(open(&mut bench, 1, 1).unwrap().session, first);
    for key_no in [1, 2] {
        let refusal = open(&mut bench, 3, key_no).unwrap_err();
        let status = KeyStatus::Kept(Obstacle::TokenInDoubt);
        assert_eq!(refusal, Refusal::KeyUnusable { series: SERIES, key_no: KeyNo(key_no), status });
    }
    bench.feed(Event::KeyChanged(main.clone()));
    assert!(open(&mut bench, 3, 1).is_ok());
    bench.feed(Event::KeyChanged(kept(main.clone(), Obstacle::TokenAbsent)));
    let mut gone = bench.beat(connection, &[first, second]).unwrap();
    gone.sort_unstable_by_key(|(id, _)| *id);
    assert_eq!(gone, [(first, EndReason::KeyGone), (second, EndReason::KeyGone)]);
    let refusal = open(&mut bench, 1, 1).unwrap_err();
    let status = KeyStatus::Kept(Obstacle::TokenAbsent);
    assert_eq!(refusal, Refusal::KeyUnusable { series: SERIES, key_no: KeyNo(1), status });
    bench.feed(Event::KeyChanged(main));
    assert!(open(&mut bench, 1, 1).is_ok());
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

#[test]
fn session_that_opens_again_with_a_longer_wish_gives_back_the_text_it_holds() {
    let with_itn = ProtectionKey { itn: Some("1234567890".into()), ..key(1, KeyKind::Main, 1) };
    let mut bench = Bench::with_keys(&[with_itn]);
    let connection = bench.connect();
    let before = bench.service.text_bytes;
    bench.open(connection, server_session(1), Wish::default()).unwrap();
    let wish = Wish { itn: Some("1234567890".into()), ..Wish::default() };
    let grant = bench.open(connection, server_session(1), wish).unwrap();
    let (request, _) = bench.request();
    bench.feed(Event::Close { request, session: grant.session });
    assert_eq!(bench.service.text_bytes, before);
}
