//! Tests of the store: what it keeps, what it refuses, what another version of it left behind.

use std::collections::BTreeMap;

use licence_core::key::Flags;
use licence_core::seal::PublicKey;
use licence_core::wrap::WrapError;
use licencekit::order::CodeState;

use super::*;

fn now() -> Utc {
    Utc::from_unix_millis(1_800_000_000_000)
}

fn order(kind: OrderKind, count: u32) -> OrderCall {
    let text = r#"{"Series":"672B","Kind":"main","Seats":5}"#;
    OrderCall { kind, count, ..serde_json::from_str(text).unwrap() }
}

fn activation(code: ActivationCode, holder: u8, computer: &str) -> Activation {
    Activation {
        code,
        asked: Asked {
            holder: PublicKey::from_bytes([holder; 32]),
            enc: None,
            itn: None,
            iec: None,
            blank_key_no: None,
        },
        computer_id: computer.to_owned(),
        server_version: "4.0.0".to_owned(),
    }
}

fn activate(store: &mut Store, activation: &Activation) -> Result<Activated, StoreError> {
    let make =
        |granted: Granted<'_>| Ok(format!("licence {} {}", granted.key_no, granted.activation_id));
    store.activate(activation, now(), make, |_| Ok(None))
}

fn denied(result: Result<Activated, StoreError>) -> Denial {
    match result {
        Err(StoreError::Denied(denial)) => denial,
        other => panic!("{other:?}"),
    }
}

#[test]
fn key_numbers_run_on_across_orders_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("centre.db");
    let mut store = Store::open(&path).unwrap();
    let first = store.add_order(&order(OrderKind::Main, 2), now()).unwrap();
    let start = first.codes[0].key_no.0;
    assert_eq!(first.codes[1].key_no.0, start + 1);
    drop(store);
    let mut store = Store::open(&path).unwrap();
    let second = store.add_order(&order(OrderKind::Main, 1), now()).unwrap();
    assert_eq!(second.codes[0].key_no.0, start + 2);
    assert!(second.order_id > first.order_id);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn every_centre_numbers_its_keys_in_a_block_of_its_own() {
    for (drawn, first) in
        [(0, 1_000_001), (1, 2_000_001), (4_289, 4_290_000_001), (4_290, 1_000_001)]
    {
        assert_eq!(first_number(drawn), first, "{drawn}");
    }
    assert!(u32::try_from(first_number(4_289) + 999_999).is_ok());
    let folder = tempfile::tempdir().unwrap();
    let firsts = ["a", "b", "c"].map(|name| {
        let mut store = Store::open(&folder.path().join(name)).unwrap();
        store.add_order(&order(OrderKind::Main, 1), now()).unwrap().codes[0].key_no.0
    });
    assert!(firsts.iter().all(|first| first % BLOCK_NUMBERS == 1), "{firsts:?}");
    // All three alike by chance: once in 18 million runs.
    assert!(firsts[0] != firsts[1] || firsts[1] != firsts[2], "{firsts:?}");
}

#[test]
fn books_that_exist_keep_their_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("centre.db");
    let store = Store::open(&path).unwrap();
    store.connection.execute("UPDATE counters SET next = 7000001", []).unwrap();
    drop(store);
    let answer = Store::open(&path).unwrap().add_order(&order(OrderKind::Main, 1), now()).unwrap();
    assert_eq!(answer.codes[0].key_no.0, 7_000_001);
}

#[test]
fn licence_is_kept_and_given_again_to_its_holder_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("centre.db");
    let mut store = Store::open(&path).unwrap();
    let code = store.add_order(&order(OrderKind::Main, 1), now()).unwrap().codes[0].code;
    let first = activate(&mut store, &activation(code, 1, "A")).unwrap();
    assert!(first.first);
    drop(store);
    let mut store = Store::open(&path).unwrap();
    let again = activate(&mut store, &activation(code, 1, "A")).unwrap();
    assert_eq!(again, Activated { first: false, ..first });
    assert_eq!(denied(activate(&mut store, &activation(code, 2, "B"))), Denial::Used);
}

#[test]
fn books_of_the_first_version_keep_their_activations_and_demos() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("centre.db");
    let code =
        |number| ActivationCode::encode(CodeKind::Activation, KeySeries::from_u16(0x672B), number);
    let old = Connection::open(&path).unwrap();
    old.execute_batch(MIGRATIONS[0]).unwrap();
    old.execute_batch(&format!(
        "INSERT INTO orders (order_id, created, series, kind, seats, count, period, flags, \
         product_version, service_type) VALUES (1, 1, '672B', 5, 5, 2, 0, 0, 0, 0); \
         INSERT INTO codes VALUES ('{}', 7000001, 1), ('{}', 7000002, 1); \
         INSERT INTO activations VALUES (7000001, 'a1', 1, zeroblob(32), 'A', '4.0.0', NULL, \
         NULL, 'licence'); \
         INSERT INTO demos VALUES ('672B', 'A', 7000001); PRAGMA user_version = 1;",
        code(1),
        code(2)
    ))
    .unwrap();
    drop(old);
    let mut store = Store::open(&path).unwrap();
    let again = activate(&mut store, &activation(code(1), 0, "A")).unwrap();
    assert_eq!((again.licence.as_str(), again.first), ("licence", false));
    let second = activate(&mut store, &activation(code(2), 0, "A"));
    assert_eq!(denied(second), Denial::DemoUsed);
    let states: Vec<_> =
        store.orders(None).unwrap().orders[0].codes.iter().map(|code| code.state).collect();
    assert_eq!(states, [CodeState::Activated, CodeState::Free]);
    let faults: i64 = store
        .connection
        .query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(faults, 0);
}

#[test]
fn key_has_one_current_activation_whatever_the_program_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("centre.db")).unwrap();
    let issued = store.add_order(&order(OrderKind::Main, 1), now()).unwrap().codes[0].clone();
    activate(&mut store, &activation(issued.code, 1, "A")).unwrap();
    let second = store.connection.execute(
        "INSERT INTO activations (activation_id, key_no, code, activated, holder, computer_id, \
         server_version, licence) VALUES ('x', ?1, 'x', 1, zeroblob(32), 'B', '4', 'l')",
        [issued.key_no.0],
    );
    assert!(second.is_err());
}

#[test]
fn answer_with_licences_is_bounded_and_takes_the_latest() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("centre.db")).unwrap();
    let count = LICENCES_MAX as u32 + 1;
    let codes = store.add_order(&order(OrderKind::Main, count), now()).unwrap().codes;
    store.connection.pragma_update(None, "synchronous", "OFF").unwrap();
    for issued in &codes {
        activate(&mut store, &activation(issued.code, 1, "A")).unwrap();
    }
    let held = store.licences(&PublicKey::from_bytes([1; 32]), now(), |_, _| Ok(None)).unwrap();
    assert_eq!(held.len(), LICENCES_MAX);
    let last = codes.last().unwrap().key_no;
    assert!(held[0].licence.starts_with(&format!("licence {last} ")), "{:?}", held[0]);
}

#[test]
fn answer_with_licences_stays_below_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("centre.db")).unwrap();
    let codes = store.add_order(&order(OrderKind::Main, 9), now()).unwrap().codes;
    store.connection.pragma_update(None, "synchronous", "OFF").unwrap();
    for issued in &codes {
        activate(&mut store, &activation(issued.code, 1, "A")).unwrap();
    }
    let large = "x".repeat(LICENCES_BYTES_MAX / 4);
    let holder = PublicKey::from_bytes([1; 32]);
    let held = store.licences(&holder, now(), |_, _| Ok(Some(large.clone()))).unwrap();
    assert_eq!(held.len(), 4);
}

#[test]
fn licence_that_was_issued_again_is_kept_before_it_is_sent_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("centre.db");
    let mut store = Store::open(&path).unwrap();
    let codes = store.add_order(&order(OrderKind::Main, 2), now()).unwrap().codes;
    for issued in &codes {
        activate(&mut store, &activation(issued.code, 1, "A")).unwrap();
    }
    let holder = PublicKey::from_bytes([1; 32]);
    let first = format!("licence {} ", codes[0].key_no);
    let renew = |series: KeySeries, old: &str| {
        assert_eq!(series, KeySeries::from_u16(0x672B));
        Ok(old.starts_with(&first).then(|| "renewed".to_owned()))
    };
    let held = store.licences(&holder, now(), renew).unwrap();
    assert_eq!(held[1].licence, "renewed");
    assert!(held[0].licence.starts_with("licence "), "{:?}", held[0]);
    drop(store);
    let mut store = Store::open(&path).unwrap();
    assert_eq!(store.licences(&holder, now(), |_, _| Ok(None)).unwrap(), held);
    // The code brings the same document, or the one in its place.
    let asked = activation(codes[0].code, 1, "A");
    assert_eq!(activate(&mut store, &asked).unwrap().licence, "renewed");
    let make = |_: Granted<'_>| unreachable!("it was issued before");
    let again = store.activate(&asked, now(), make, |_| Ok(Some("again".into()))).unwrap();
    assert_eq!((again.licence.as_str(), again.first), ("again", false));
    assert_eq!(activate(&mut store, &asked).unwrap().licence, "again");
    // When one cannot be made, none is changed.
    let failing = |_: KeySeries, old: &str| match old {
        "again" => Err(IssueError::from(WrapError::Key)),
        _ => Ok(Some("lost".to_owned())),
    };
    assert!(matches!(store.licences(&holder, now(), failing), Err(StoreError::Issue(_))));
    let held = store.licences(&holder, now(), |_, _| Ok(None)).unwrap();
    assert!(held.iter().all(|held| held.licence != "lost"), "{held:?}");
}

#[test]
fn parameters_of_an_order_are_kept_and_books_without_them_have_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("centre.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(MIGRATIONS[0]).unwrap();
    old.execute_batch(MIGRATIONS[1]).unwrap();
    old.execute_batch(
        "INSERT INTO orders (created, series, kind, seats, count, period, flags, product_version, \
         service_type) VALUES (1, '672B', 3, 5, 1, 0, 0, 0, 0); PRAGMA user_version = 2;",
    )
    .unwrap();
    drop(old);
    let mut store = Store::open(&path).unwrap();
    let parameters = BTreeMap::from([("Регион".to_owned(), "\"77\"\n".to_owned())]);
    let sold = OrderCall { parameters: parameters.clone(), ..order(OrderKind::Main, 1) };
    let code = store.add_order(&sold, now()).unwrap().codes[0].code;
    drop(store);
    let mut store = Store::open(&path).unwrap();
    let list = store.orders(None).unwrap().orders;
    assert_eq!(list[0].order.parameters, parameters);
    assert!(list[1].order.parameters.is_empty());
    let make = |granted: Granted<'_>| {
        assert_eq!(granted.order.parameters, parameters);
        Ok("licence".to_owned())
    };
    store.activate(&activation(code, 1, "A"), now(), make, |_| Ok(None)).unwrap();
}

#[test]
fn licence_that_could_not_be_made_leaves_the_code_free() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("centre.db")).unwrap();
    let code = store.add_order(&order(OrderKind::Demo, 1), now()).unwrap().codes[0].code;
    let failed = store.activate(
        &activation(code, 1, "A"),
        now(),
        |_| Err(WrapError::Key.into()),
        |_| Ok(None),
    );
    assert!(matches!(failed, Err(StoreError::Issue(_))));
    assert!(activate(&mut store, &activation(code, 2, "B")).unwrap().first);
}

#[test]
fn computer_gets_one_demo_of_a_series() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("centre.db")).unwrap();
    let codes = store.add_order(&order(OrderKind::Demo, 2), now()).unwrap().codes;
    let (one, two) = (codes[0].code, codes[1].code);
    assert!(activate(&mut store, &activation(one, 1, "A")).unwrap().first);
    assert_eq!(denied(activate(&mut store, &activation(two, 3, "A"))), Denial::DemoUsed);
    assert!(!activate(&mut store, &activation(one, 1, "A")).unwrap().first);
    assert!(activate(&mut store, &activation(two, 2, "B")).unwrap().first);
    let other = OrderCall { series: KeySeries::from_u16(1), ..order(OrderKind::Demo, 1) };
    let other = store.add_order(&other, now()).unwrap().codes[0].code;
    assert!(activate(&mut store, &activation(other, 1, "A")).unwrap().first);
}

#[test]
fn every_member_of_an_order_is_read_back_with_the_state_of_its_codes() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("centre.db")).unwrap();
    let full = OrderCall {
        period: 30,
        start_date: Some(now()),
        expire_date: Some(now().plus_days(90)),
        flags: Flags(u32::MAX),
        product_version: u32::MAX,
        service_type: 255,
        reg_no: Some(u32::MAX),
        article: Some("1111111111111".into()),
        article_name: Some("Тестовая номенклатура".into()),
        itn: Some("0123456789".into()),
        iec: Some("012345678".into()),
        note: Some("счёт 17".into()),
        product_version_name: Some("ПРОФ".into()),
        support_date: Some(now()),
        support_period: Some(365),
        industry_support_date: Some(now().plus_days(1)),
        industry_support_period: Some(0),
        ..order(OrderKind::Additional, 2)
    };
    let answer = store.add_order(&full, now()).unwrap();
    let mut asked = activation(answer.codes[0].code, 1, "A");
    asked.asked.itn = Some("123456789".into());
    asked.asked.iec = Some("12345678".into());
    activate(&mut store, &asked).unwrap();
    let list = store.orders(None).unwrap();
    assert_eq!((list.orders.len(), list.next), (1, None));
    let view = &list.orders[0];
    assert_eq!(view.order, full);
    assert_eq!(
        view.codes.iter().map(|c| c.state).collect::<Vec<_>>(),
        [CodeState::Activated, CodeState::Free]
    );
    assert_eq!(view.codes[0].computer_id.as_deref(), Some("A"));
}

#[test]
fn list_comes_in_pages_that_leave_nothing_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("centre.db")).unwrap();
    for _ in 0..PAGE_ORDERS + 3 {
        store.add_order(&order(OrderKind::Main, 1), now()).unwrap();
    }
    let first = store.orders(None).unwrap();
    let second = store.orders(first.next).unwrap();
    let ids: Vec<_> = first.orders.iter().chain(&second.orders).map(|view| view.order_id).collect();
    assert_eq!(ids, (1..=PAGE_ORDERS + 3).rev().collect::<Vec<_>>());
    assert_eq!(second.next, None);
}

#[test]
fn revoked_order_stays_revoked_since_the_first_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("centre.db")).unwrap();
    let answer = store.add_order(&order(OrderKind::Main, 1), now()).unwrap();
    store.revoke(answer.order_id, now()).unwrap();
    store.revoke(answer.order_id, now().plus_days(1)).unwrap();
    assert_eq!(store.orders(None).unwrap().orders[0].revoked, Some(now()));
    let asked = activation(answer.codes[0].code, 1, "A");
    assert_eq!(denied(activate(&mut store, &asked)), Denial::Revoked);
    assert!(matches!(store.revoke(99, now()), Err(StoreError::NoOrder)));
}

#[test]
fn books_of_a_later_version_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("centre.db");
    let store = Store::open(&path).unwrap();
    store.connection.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    assert!(matches!(Store::open(&path), Err(StoreError::Newer(99))));
}

#[test]
fn books_hold_to_their_keys_on_every_connection() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("centre.db")).unwrap();
    let foreign = store
        .connection
        .execute("INSERT INTO codes (code, key_no, order_id) VALUES ('x', 1, 99)", []);
    assert!(foreign.is_err());
    let read = |name: &str| -> String {
        store
            .connection
            .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
            .map(|value| format!("{value:?}"))
            .unwrap()
    };
    assert_eq!(read("journal_mode"), r#"Text("wal")"#);
    assert_eq!(read("synchronous"), "Integer(2)");
}
