//! Books of other versions, of another centre, behind a connection that breaks.

use super::*;

#[test]
fn every_centre_numbers_its_keys_in_a_block_of_its_own() {
    for (drawn, first) in
        [(0, 1_000_001), (1, 2_000_001), (4_289, 4_290_000_001), (4_290, 1_000_001)]
    {
        assert_eq!(first_number(drawn), first, "{drawn}");
    }
    assert!(u32::try_from(first_number(4_289) + 999_999).is_ok());
}

#[test]
fn books_of_earlier_versions_keep_their_activations_demos_and_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("centre.db");
    let code =
        |number| ActivationCode::encode(CodeKind::Activation, KeySeries::from_u16(0x672B), number);
    let old = Connection::open(&path).unwrap();
    old.execute_batch(SQLITE_STEPS[0]).unwrap();
    old.execute_batch(&format!(
        "INSERT INTO orders (order_id, created, series, kind, seats, count, period, flags, \
         product_version, service_type) VALUES (1, 1, '672B', 5, 5, 2, 0, 0, 0, 0); \
         INSERT INTO codes VALUES ('{}', 7000001, 1), ('{}', 7000002, 1); \
         INSERT INTO activations VALUES (7000001, 'a1', 1, x'{}', 'A', '4.0.0', NULL, \
         NULL, 'licence'); \
         INSERT INTO demos VALUES ('672B', 'A', 7000001); UPDATE counters SET next = 7000003; \
         PRAGMA user_version = 1;",
        code(1),
        code(2),
        licence_core::seal::hex_upper(key(1).as_bytes()),
    ))
    .unwrap();
    drop(old);
    let mut store = Store::open(&path).unwrap();
    let again = activate(&mut store, &activation(code(1), 1, "A")).unwrap();
    assert_eq!((again.licence.as_str(), again.first), ("licence", false));
    let second = activate(&mut store, &activation(code(2), 1, "A"));
    assert_eq!(denied(second), Denial::DemoUsed);
    let orders = store.orders(&OrdersFilter::default()).unwrap().orders;
    let states: Vec<_> = orders[0].codes.iter().map(|code| code.state).collect();
    assert_eq!(states, [CodeState::Activated, CodeState::Free]);
    let mut work = store.begin().unwrap();
    let faults: i64 = work
        .value("faults", "SELECT count(*) AS faults FROM pragma_foreign_key_check", &[])
        .unwrap();
    assert_eq!(faults, 0);
    drop(work);
    assert_eq!(sold(&mut store, OrderKind::Main, 1)[0].key_no.0, 7_000_003);
}

#[test]
fn books_of_a_later_version_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("centre.db");
    let mut store = Store::open(&path).unwrap();
    let mut work = store.begin().unwrap();
    work.script("PRAGMA user_version = 99").unwrap();
    work.commit().unwrap();
    drop(store);
    assert!(matches!(Store::open(&path), Err(StoreError::Newer(99))));
}

#[test]
fn connection_that_is_lost_comes_back_and_a_second_centre_is_kept_out() {
    let server = server::Server::start();
    let place = server.database("books");
    let mut store = open(&place);
    let code = sold(&mut store, OrderKind::Main, 1)[0].code;
    server.run(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
         WHERE application_name = 'licencecentre'",
    );
    assert!(activate(&mut store, &activation(code, 1, "A")).unwrap().first);
    let second = Store::at(&place);
    assert!(matches!(second, Err(StoreError::Sql(SqlError::InUse))), "{second:?}");
    assert!(!format!("{store:?}").contains("centre"), "the address may hold a password");
}
