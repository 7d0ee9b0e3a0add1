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
fn books_before_clusters_keep_every_row_and_give_no_number_of_a_draft_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("centre.db");
    let old = Connection::open(&path).unwrap();
    for step in &SQLITE_STEPS[..6] {
        old.execute_batch(step).unwrap();
    }
    let holder = licence_core::seal::hex_upper(key(1).as_bytes());
    let code =
        |number| ActivationCode::encode(CodeKind::Activation, KeySeries::from_u16(0x672B), number);
    old.execute_batch(&format!(
        "INSERT INTO orders (order_id, created, series, kind, seats, count, period, flags, \
         product_version, service_type) VALUES (1, 1, '672B', 3, 5, 1, 0, 0, 0, 0); \
         INSERT INTO codes VALUES ('{}', 7000001, 1); \
         INSERT INTO activations (activation_no, activation_id, key_no, code, activated, holder, \
         server, computer_id, server_version, itn, iec, licence, returned, reserve_code, ended_by, \
         return_reason, return_note) VALUES (7, 'a7', 7000001, '{}', 1, x'{holder}', x'{holder}', \
         'A', '4.0.0', '77', NULL, 'licence', 5, '{}', 'vendor', 'hardware', 'note'); \
         INSERT INTO spare_codes VALUES ('s1', 7000001, 'a7', 2, NULL, 5); \
         INSERT INTO unsigned (unsigned_id, kind, series, activation_id, claims, created) \
         VALUES (3, 'receipt', '672B', 'a7', '{{}}', 5), (9, 'short', '672B', 'a7', '{{}}', 5); \
         DELETE FROM unsigned WHERE unsigned_id = 9; \
         INSERT INTO series_settings VALUES ('672B', NULL, NULL, NULL, 2, 1); \
         PRAGMA user_version = 6;",
        code(1),
        code(1),
        code(2),
    ))
    .unwrap();
    drop(old);
    let mut store = Store::open(&path).unwrap();
    let view = store.key(KeyNo(7_000_001), now()).unwrap();
    let [one] = &view.activations[..] else { panic!("{view:?}") };
    assert_eq!((one.activation_no, one.activation_id.as_str(), one.cluster), (7, "a7", None));
    assert_eq!((one.ended_by, one.note.as_deref()), (Some(EndedBy::Vendor), Some("note")));
    assert_eq!((view.reserve_code, view.moves_max, view.nodes_max), (Some(code(2)), 2, 0));
    let mut work = store.begin().unwrap();
    let mut value = |sql: &str| work.value::<i64>("n", sql, &[]).unwrap();
    assert_eq!(value("SELECT count(*) AS n FROM pragma_foreign_key_check"), 0);
    assert_eq!(value("SELECT count(*) AS n FROM spare_codes WHERE void = 5"), 1);
    assert_eq!(value("SELECT unsigned_id AS n FROM unsigned"), 3);
    let next = value(
        "INSERT INTO unsigned (kind, series, activation_id, claims, created) \
         VALUES ('licence', '672B', 'a7', '{}', 6) RETURNING unsigned_id AS n",
    );
    assert_eq!(next, 10);
    assert_eq!(value("SELECT count(*) AS n FROM sqlite_master WHERE name LIKE '%_v7'"), 0);
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
