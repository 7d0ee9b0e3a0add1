//! Tests of the store: what it keeps, what it refuses, what another version of it left behind. All
//! that can are run on both databases.

use std::collections::BTreeMap;

use licence_core::activation::CodeKind;
use licence_core::holder::Holder;
use licence_core::key::Flags;
use licence_core::licence_file::Licence;
use licence_core::seal::SigningKey;
use licencekit::order::{CodeState, OrderCall, OrderKind};
use licencekit::secret::SeriesSecret;
use licencekit::vendor::{
    CustomerCall, DemoOffer, EndedBy, KeyState, ProlongCall, ReleaseCall, SeriesSettings,
    SuspicionKind,
};
use rusqlite::Connection;

use super::*;
use crate::access::Role;
use crate::series::{Series, SeriesSet};

mod cuts;
mod server;

fn now() -> Utc {
    Utc::from_unix_millis(1_800_000_000_000)
}

fn secret(series: u16) -> SeriesSecret {
    SeriesSecret::from_bytes(KeySeries::from_u16(series), [1; 32], [2; 32])
}

fn set() -> SeriesSet {
    [0x672B, 1]
        .map(|series| {
            let secret = secret(series);
            let descriptor = secret.descriptor("Тестовая серия".into(), None);
            (secret.series(), Series::new(&secret, descriptor))
        })
        .into()
}

fn anna() -> Actor {
    Actor { name: "anna".to_owned(), role: Some(Role::Admin), from: None }
}

fn order(kind: OrderKind, count: u32) -> OrderCall {
    let text = r#"{"Series":"672B","Kind":"main","Seats":5}"#;
    OrderCall { kind, count, ..serde_json::from_str(text).unwrap() }
}

fn key(seed: u8) -> PublicKey {
    SigningKey::from_seed(&[seed; 32]).public()
}

fn asked(server: u8) -> Asked {
    Asked {
        holder: Holder::Server(key(server)),
        server: key(server),
        attested: false,
        protection: None,
        enc: None,
        itn: None,
        iec: None,
    }
}

fn asker(computer: &str) -> Asker {
    Asker { computer_id: computer.to_owned(), server_version: "4.0.0".to_owned(), mark: None }
}

fn activation(code: ActivationCode, server: u8, computer: &str) -> Activation {
    Activation { code, asked: asked(server), asker: asker(computer) }
}

fn machine(server: u8) -> Actor {
    Actor { name: key(server).thumbprint(), role: None, from: None }
}

fn activate(store: &mut Store, activation: &Activation) -> Result<Activated, StoreError> {
    store.activate(&set(), activation, &machine(0), now())
}

fn sold(store: &mut Store, kind: OrderKind, count: u32) -> Vec<licencekit::order::IssuedCode> {
    store.add_order(&order(kind, count), &anna(), now()).unwrap().codes
}

fn read(document: &str) -> Licence {
    Licence::verify(document, &secret(0x672B).signing_key().public()).unwrap()
}

fn listing(server: u8) -> Listing {
    Listing {
        server: key(server),
        tokens: Vec::new(),
        enc: None,
        protection: None,
        asker: asker("A"),
    }
}

fn listed(store: &mut Store, server: u8, at: Utc) -> Listed {
    store.licences(&set(), &listing(server), &machine(server), at).unwrap()
}

fn denied<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Denial {
    match result {
        Err(StoreError::Denied(denial)) => denial,
        other => panic!("{other:?}"),
    }
}

fn open(place: &Place) -> Store {
    Store::at(place).unwrap()
}

/// Each test as one of SQLite, and all of them, one after another, on one PostgreSQL.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $name() {
                let folder = tempfile::tempdir().unwrap();
                super::$name(&super::Place::File(folder.path().join("centre.db")));
            })*
        }

        #[test]
        fn books_in_postgresql_hold_to_every_rule() {
            let server = server::Server::start();
            $($name(&server.database(stringify!($name)));)*
        }
    };
}

on_both!(
    accounts_and_their_tokens_are_kept_until_they_are_removed,
    additional_key_and_demo_hold_to_their_rules,
    answers_with_licences_are_bounded,
    audit_names_who_did_what_and_no_code,
    computer_gets_one_demo_of_a_series,
    customers_are_found_by_parts_of_their_names_and_stay_while_orders_name_them,
    demo_without_a_code_is_given_where_it_is_offered_and_again_to_the_same_server,
    every_member_of_an_order_is_read_back_with_the_state_of_its_codes,
    key_has_one_current_activation_whatever_the_program_does,
    key_numbers_run_on_across_orders_and_restarts,
    licence_could_not_be_made_and_the_code_stays_free,
    licence_is_kept_and_given_again_to_its_holder_only,
    licence_with_an_object_key_is_kept_before_it_is_sent,
    list_comes_in_pages_that_leave_nothing_out,
    moves_of_a_year_are_limited_and_the_vendor_is_not,
    parameters_of_an_order_are_kept,
    power_cut_at_any_statement_loses_and_doubles_nothing,
    power_cut_while_the_vendor_signs_by_hand_loses_and_doubles_nothing,
    prolonged_key_gets_a_later_licence_when_its_server_asks,
    released_key_is_taken_from_its_server_and_its_code_told_to_the_vendor_alone,
    revoked_order_stays_revoked_since_the_first_time,
    spare_code_ends_the_old_activation_once,
    statistics_count_activations_moves_and_demos,
    token_of_the_vendor_holds_a_key_and_a_blocked_one_does_not,
    two_machines_with_one_identity_are_seen_and_refused_when_blocked,
);

use cuts::{
    power_cut_at_any_statement_loses_and_doubles_nothing,
    power_cut_while_the_vendor_signs_by_hand_loses_and_doubles_nothing,
};

fn accounts_and_their_tokens_are_kept_until_they_are_removed(place: &Place) {
    let mut store = open(place);
    store.add_account("boris", Role::Clerk, "$hash", &anna(), now()).unwrap();
    let again = store.add_account("boris", Role::Reader, "$other", &anna(), now());
    assert!(matches!(again, Err(StoreError::Account(AccountDenial::Exists))), "{again:?}");
    let end = now().plus_days(1);
    store.add_token("boris", "1C", &[7; 32], Some(end), &anna(), now()).unwrap();
    store.change_account("boris", Some(Role::Admin), Some("$new"), &anna(), now()).unwrap();
    drop(store);
    let mut store = open(place);
    let account = store.account("boris").unwrap().unwrap();
    assert_eq!((account.role, account.password.as_str()), (Role::Admin, "$new"));
    let mut by_token = |digest, at| store.account_by_token(&digest, at).unwrap();
    assert_eq!(by_token([7; 32], now()), Some(account));
    assert_eq!(by_token([8; 32], now()), None);
    assert_eq!(by_token([7; 32], end), None, "the term of the token is over");
    let token = store.tokens().unwrap().remove(0);
    assert_eq!((token.account.as_str(), token.label.as_str()), ("boris", "1C"));
    store.remove_account("boris", &anna(), now()).unwrap();
    assert!(store.tokens().unwrap().is_empty() && store.accounts().unwrap().is_empty());
    let gone = store.remove_account("boris", &anna(), now());
    assert!(matches!(gone, Err(StoreError::Account(AccountDenial::NoAccount))), "{gone:?}");
    let trail = store.audit(None, None, None).unwrap().items;
    let actions: Vec<_> = trail.iter().rev().map(|line| line.action.as_str()).collect();
    let wanted =
        ["account added", "token added", "account role", "account password", "account removed"];
    assert_eq!(actions, wanted);
}

fn key_numbers_run_on_across_orders_and_restarts(place: &Place) {
    let mut store = open(place);
    let first = sold(&mut store, OrderKind::Main, 2);
    let start = first[0].key_no.0;
    assert_eq!(first[1].key_no.0, start + 1);
    assert_eq!(start % BLOCK_NUMBERS, 1, "the first of a block");
    drop(store);
    assert_eq!(sold(&mut open(place), OrderKind::Main, 1)[0].key_no.0, start + 2);
    #[cfg(unix)]
    if let Place::File(path) = place {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

fn licence_is_kept_and_given_again_to_its_holder_only(place: &Place) {
    let mut store = open(place);
    let code = sold(&mut store, OrderKind::Main, 1)[0].code;
    let first = activate(&mut store, &activation(code, 1, "A")).unwrap();
    assert!(first.first);
    assert_eq!(read(&first.licence).holder, key(1).into());
    drop(store);
    let mut store = open(place);
    let again = activate(&mut store, &activation(code, 1, "A")).unwrap();
    assert_eq!((again.first, &again.licence), (false, &first.licence));
    assert_ne!(again.mark, first.mark);
    assert_eq!(denied(activate(&mut store, &activation(code, 2, "B"))), Denial::Used);
}

fn key_has_one_current_activation_whatever_the_program_does(place: &Place) {
    let mut store = open(place);
    let issued = sold(&mut store, OrderKind::Main, 1)[0].clone();
    activate(&mut store, &activation(issued.code, 1, "A")).unwrap();
    let mut work = store.begin().unwrap();
    let second = work.execute(
        "INSERT INTO activations (activation_id, key_no, code, activated, holder, server, \
         computer_id, server_version, licence) VALUES ('x', ?1, 'x', 1, ?2, ?2, 'B', '4', 'l')",
        values![issued.key_no.0, key(2).as_bytes().as_slice()],
    );
    assert!(second.is_err());
    drop(work);
    let mut work = store.begin().unwrap();
    let strange = "INSERT INTO codes (code, key_no, order_id) VALUES ('x', 1, 99)";
    assert!(work.execute(strange, &[]).is_err(), "an order that is not there");
}

fn answers_with_licences_are_bounded(place: &Place) {
    let mut store = open(place);
    let codes = sold(&mut store, OrderKind::Main, LICENCES_MAX as u32 + 1);
    for issued in &codes {
        activate(&mut store, &activation(issued.code, 1, "A")).unwrap();
    }
    let held = listed(&mut store, 1, now()).licences;
    assert_eq!(held.len(), LICENCES_MAX);
    assert_eq!(read(&held[0].licence).fields().key_no, codes.last().unwrap().key_no);
}

fn licence_with_an_object_key_is_kept_before_it_is_sent(place: &Place) {
    let mut store = open(place);
    let codes = sold(&mut store, OrderKind::Main, 2);
    for issued in &codes {
        activate(&mut store, &activation(issued.code, 1, "A")).unwrap();
    }
    let enc = Some(*licence_core::wrap::WrapKey::from_secret(&[7; 32]).public());
    let asked = Listing { enc, ..listing(1) };
    let renewed = store.licences(&set(), &asked, &machine(1), now()).unwrap().licences;
    assert!(renewed.iter().all(|held| read(&held.licence).claims.object_key.is_some()));
    drop(store);
    let mut store = open(place);
    assert_eq!(listed(&mut store, 1, now()).licences, renewed);
    let again = activate(&mut store, &activation(codes[0].code, 1, "A")).unwrap();
    assert_eq!(again.licence, renewed[1].licence);
    // When one cannot be made, none is changed.
    let asked = Listing { enc: Some([0; 32]), ..listing(1) };
    let failed = store.licences(&set(), &asked, &machine(1), now());
    assert!(matches!(failed, Err(StoreError::Issue(_))), "{failed:?}");
    assert_eq!(listed(&mut store, 1, now()).licences, renewed);
}

fn parameters_of_an_order_are_kept(place: &Place) {
    let mut store = open(place);
    let parameters = BTreeMap::from([("Регион".to_owned(), "\"77\"\n".to_owned())]);
    let with = OrderCall { parameters: parameters.clone(), ..order(OrderKind::Main, 1) };
    let code = store.add_order(&with, &anna(), now()).unwrap().codes[0].code;
    let done = activate(&mut store, &activation(code, 1, "A")).unwrap();
    assert_eq!(read(&done.licence).fields().parameters, parameters);
}

fn licence_could_not_be_made_and_the_code_stays_free(place: &Place) {
    let mut store = open(place);
    let code = sold(&mut store, OrderKind::Demo, 1)[0].code;
    let mut wrong = activation(code, 1, "A");
    wrong.asked.enc = Some([0; 32]);
    assert!(matches!(activate(&mut store, &wrong), Err(StoreError::Issue(_))));
    assert!(activate(&mut store, &activation(code, 2, "B")).unwrap().first);
}

fn computer_gets_one_demo_of_a_series(place: &Place) {
    let mut store = open(place);
    let codes = sold(&mut store, OrderKind::Demo, 2);
    let (one, two) = (codes[0].code, codes[1].code);
    assert!(activate(&mut store, &activation(one, 1, "A")).unwrap().first);
    assert_eq!(denied(activate(&mut store, &activation(two, 3, "A"))), Denial::DemoUsed);
    let changed = activation(two, 1, "C");
    assert_eq!(denied(activate(&mut store, &changed)), Denial::DemoUsed, "the same server");
    assert!(!activate(&mut store, &activation(one, 1, "A")).unwrap().first);
    assert!(activate(&mut store, &activation(two, 2, "B")).unwrap().first);
    let other = OrderCall { series: KeySeries::from_u16(1), ..order(OrderKind::Demo, 1) };
    let other = store.add_order(&other, &anna(), now()).unwrap().codes[0].code;
    assert!(activate(&mut store, &activation(other, 1, "A")).unwrap().first);
}

fn every_member_of_an_order_is_read_back_with_the_state_of_its_codes(place: &Place) {
    let mut store = open(place);
    let main = sold(&mut store, OrderKind::Main, 1)[0].code;
    activate(&mut store, &activation(main, 1, "A")).unwrap();
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
        binding: Some(licence_core::binding::Binding::default()),
        ..order(OrderKind::Additional, 2)
    };
    let answer = store.add_order(&full, &anna(), now()).unwrap();
    let mut asked = activation(answer.codes[0].code, 1, "A");
    asked.asked.itn = Some("123456789".into());
    asked.asked.iec = Some("12345678".into());
    let done = activate(&mut store, &asked).unwrap();
    assert_eq!(read(&done.licence).claims.binding, full.binding);
    let list = store.orders(&OrdersFilter::default()).unwrap();
    assert_eq!((list.orders.len(), list.next), (2, None));
    let view = &list.orders[0];
    assert_eq!(view.order, full);
    let states: Vec<_> = view.codes.iter().map(|code| code.state).collect();
    assert_eq!(states, [CodeState::Activated, CodeState::Free]);
    assert_eq!(view.codes[0].computer_id.as_deref(), Some("A"));
}

fn list_comes_in_pages_that_leave_nothing_out(place: &Place) {
    let mut store = open(place);
    for _ in 0..PAGE_ORDERS + 3 {
        sold(&mut store, OrderKind::Main, 1);
    }
    let first = store.orders(&OrdersFilter::default()).unwrap();
    let rest = OrdersFilter { before: first.next, ..OrdersFilter::default() };
    let second = store.orders(&rest).unwrap();
    let ids: Vec<_> = first.orders.iter().chain(&second.orders).map(|view| view.order_id).collect();
    assert_eq!(ids, (1..=PAGE_ORDERS + 3).rev().collect::<Vec<_>>());
    assert_eq!(second.next, None);
    let other = OrdersFilter { series: Some(KeySeries::from_u16(1)), ..OrdersFilter::default() };
    assert_eq!(store.orders(&other).unwrap().orders, []);
}

fn revoked_order_stays_revoked_since_the_first_time(place: &Place) {
    let mut store = open(place);
    let answer = store.add_order(&order(OrderKind::Main, 1), &anna(), now()).unwrap();
    store.revoke(answer.order_id, &anna(), now()).unwrap();
    store.revoke(answer.order_id, &anna(), now().plus_days(1)).unwrap();
    let orders = store.orders(&OrdersFilter::default()).unwrap().orders;
    assert_eq!(orders[0].revoked, Some(now()));
    let asked = activation(answer.codes[0].code, 1, "A");
    assert_eq!(denied(activate(&mut store, &asked)), Denial::Revoked);
    assert!(matches!(store.revoke(99, &anna(), now()), Err(StoreError::NoOrder)));
}

fn additional_key_and_demo_hold_to_their_rules(place: &Place) {
    let mut store = open(place);
    let extra = sold(&mut store, OrderKind::Additional, 1)[0].code;
    let demo = sold(&mut store, OrderKind::Demo, 2);
    let main = sold(&mut store, OrderKind::Main, 1)[0].code;
    assert_eq!(denied(activate(&mut store, &activation(extra, 1, "A"))), Denial::NoMainKey);
    let first = activate(&mut store, &activation(demo[0].code, 1, "A")).unwrap();
    assert_eq!(denied(activate(&mut store, &activation(extra, 1, "A"))), Denial::NoMainKey);
    // A paid key ends the demo beside it.
    activate(&mut store, &activation(main, 1, "A")).unwrap();
    let view = store.key(first.key_no, now()).unwrap();
    assert_eq!(view.activations[0].ended_by, Some(EndedBy::Paid));
    let after = listed(&mut store, 1, now());
    assert_eq!((after.licences.len(), after.ended.len()), (1, 1));
    // By the computer, whatever the identity.
    assert!(activate(&mut store, &activation(extra, 2, "A")).unwrap().first);
    let beside = activate(&mut store, &activation(demo[1].code, 3, "A"));
    assert_eq!(denied(beside), Denial::DemoUsed);
    let beside = activate(&mut store, &activation(demo[1].code, 2, "B"));
    assert_eq!(denied(beside), Denial::DemoBesideOthers);
}

fn settle(store: &mut Store, settings: SeriesSettings) {
    let series = KeySeries::from_u16(0x672B);
    store.settle_series(&set(), series, &settings, &anna(), now()).unwrap();
}

fn demo_without_a_code_is_given_where_it_is_offered_and_again_to_the_same_server(place: &Place) {
    let mut store = open(place);
    let series = KeySeries::from_u16(0x672B);
    let ask = |store: &mut Store, server, computer: &str| {
        let demo = DemoAsked { series, asked: asked(server), asker: asker(computer) };
        store.demo(&set(), &demo, &machine(server), now())
    };
    assert_eq!(denied(ask(&mut store, 1, "A")), Denial::DemoNotOffered);
    let demo = Some(DemoOffer { seats: 3, days: 14 });
    settle(&mut store, SeriesSettings { demo, ..SeriesSettings::default() });
    let first = ask(&mut store, 1, "A").unwrap();
    let licence = read(&first.licence);
    assert_eq!((licence.fields().licence_count, licence.fields().period), (3, 14));
    for computer in ["A", "B"] {
        let again = ask(&mut store, 1, computer).unwrap();
        assert_eq!((again.first, again.licence), (false, first.licence.clone()), "{computer}");
    }
    assert_eq!(denied(ask(&mut store, 2, "A")), Denial::DemoUsed);
    assert_eq!(store.orders(&OrdersFilter::default()).unwrap().orders, [], "nobody ordered it");
    let code = sold(&mut store, OrderKind::Main, 1)[0].code;
    activate(&mut store, &activation(code, 3, "C")).unwrap();
    assert_eq!(denied(ask(&mut store, 3, "C")), Denial::DemoBesideOthers);
}

fn returning(server: u8, licence: &Licence) -> Returning {
    let (key_no, series) = (licence.fields().key_no, licence.fields().key_id);
    Returning {
        asked: AskedReturn { server: key(server), key_no, series },
        activation_id: licence.claims.jti.clone(),
        reason: Some(ReturnReason::Upgrade),
        note: Some("новый сервер".to_owned()),
    }
}

fn spare_code_ends_the_old_activation_once(place: &Place) {
    let mut store = open(place);
    let code = sold(&mut store, OrderKind::Main, 1)[0].code;
    let old = activate(&mut store, &activation(code, 1, "A")).unwrap();
    let licence = read(&old.licence);
    let given = returning(1, &licence);
    let wanted =
        SpareAsked { asked: given.asked.clone(), activation_id: given.activation_id.clone() };
    let mut draw = |at| store.spare_for_server(&wanted, &machine(1), at).unwrap();
    let spare = draw(now());
    assert_eq!(draw(now()), spare, "the same as long as it is worth something");
    let renewed = store.spare(old.key_no, true, &anna(), now()).unwrap();
    assert_ne!(renewed, spare);
    assert_eq!(denied(activate(&mut store, &activation(spare, 2, "B"))), Denial::Returned);
    let new = activate(&mut store, &activation(renewed, 2, "B")).unwrap();
    assert_eq!((new.first, new.key_no), (true, old.key_no));
    assert!(read(&new.licence).fields().support.recovered);
    let again = activate(&mut store, &activation(renewed, 2, "B")).unwrap();
    assert_eq!((again.first, &again.licence), (false, &new.licence));
    assert_eq!(denied(activate(&mut store, &activation(renewed, 1, "A"))), Denial::Used);
    // The old server learns it, again and again, and gets nothing else.
    for _ in 0..2 {
        let told = listed(&mut store, 1, now());
        assert_eq!((told.licences.len(), told.ended.len()), (0, 1));
        let key = secret(0x672B).signing_key().public();
        let receipt = licence_core::centre_request::ReturnReceipt::verify(&told.ended[0], &key);
        let receipt = receipt.unwrap();
        assert_eq!((receipt.jti, receipt.reserve_code), (licence.claims.jti.clone(), renewed));
    }
    assert_eq!(denied(store.take_back(&set(), &given, &machine(1), now())), Denial::Returned);
    assert_eq!(denied(store.spare_for_server(&wanted, &machine(1), now())), Denial::Returned);
    assert_eq!(denied(activate(&mut store, &activation(code, 1, "A"))), Denial::Returned);
    let view = store.key(old.key_no, now()).unwrap();
    assert_eq!((view.activations.len(), view.moves, view.key.state), (2, 1, KeyState::Activated));
}

fn released_key_is_taken_from_its_server_and_its_code_told_to_the_vendor_alone(place: &Place) {
    let mut store = open(place);
    let code = sold(&mut store, OrderKind::Main, 1)[0].code;
    let key_no = activate(&mut store, &activation(code, 1, "A")).unwrap().key_no;
    let call =
        ReleaseCall { reason: Some(ReturnReason::Hardware), comment: Some("сгорел".into()) };
    let mut release = |by| store.release(key_no, &call, by, &anna(), now());
    assert_eq!(denied(release(EndedBy::Customer)), Denial::SelfReleaseOff);
    let answer = release(EndedBy::Vendor).unwrap();
    assert_eq!(release(EndedBy::Vendor).unwrap(), answer);
    let told = listed(&mut store, 1, now());
    let key = secret(0x672B).signing_key().public();
    let receipt =
        licence_core::centre_request::ReturnReceipt::verify(&told.ended[0], &key).unwrap();
    assert_ne!(receipt.reserve_code, answer.reserve_code);
    let view = store.customer_key(code, None, now()).unwrap();
    assert_eq!((view.key.state, view.moves), (KeyState::Returned, 0));
    assert_eq!(view.reserve_code, Some(answer.reserve_code));
    let ended = &view.activations[0];
    assert_eq!((ended.reason, ended.note.as_deref()), (call.reason, Some("сгорел")));
    assert!(activate(&mut store, &activation(answer.reserve_code, 2, "B")).unwrap().first);
    assert!(matches!(
        store.release(KeyNo(5), &call, EndedBy::Vendor, &anna(), now()),
        Err(StoreError::NoKey)
    ));
}

fn moves_of_a_year_are_limited_and_the_vendor_is_not(place: &Place) {
    let mut store = open(place);
    settle(&mut store, SeriesSettings { moves_max: 1, ..SeriesSettings::default() });
    let code = sold(&mut store, OrderKind::Main, 1)[0].code;
    let first = activate(&mut store, &activation(code, 1, "A")).unwrap();
    let given = returning(1, &read(&first.licence));
    let back = store.take_back(&set(), &given, &machine(1), now()).unwrap();
    assert!(back.first);
    let again = store.take_back(&set(), &given, &machine(1), now().plus_days(1)).unwrap();
    assert_eq!((again.first, again.reserve_code, again.at), (false, back.reserve_code, now()));
    let second = activate(&mut store, &activation(back.reserve_code, 2, "B")).unwrap();
    let given = returning(2, &read(&second.licence));
    let possible = now().plus_days(365);
    let refused = store.take_back(&set(), &given, &machine(2), now());
    assert_eq!(denied(refused), Denial::MoveLimit(possible));
    assert_eq!(store.key(first.key_no, now()).unwrap().next_move, Some(possible));
    let call = ReleaseCall::default();
    assert!(store.release(first.key_no, &call, EndedBy::Vendor, &anna(), now()).is_ok());
    assert_eq!(store.moves(&MovesFilter::default()).unwrap().items.len(), 2);
}

fn prolonged_key_gets_a_later_licence_when_its_server_asks(place: &Place) {
    let mut store = open(place);
    let with = OrderCall { period: 30, ..order(OrderKind::Main, 1) };
    let answer = store.add_order(&with, &anna(), now()).unwrap();
    let first = activate(&mut store, &activation(answer.codes[0].code, 1, "A")).unwrap();
    assert_eq!(listed(&mut store, 1, now().plus_days(31)).licences, [], "its term is over");
    let call = ProlongCall { days: Some(30), expire_date: None };
    let term = store.prolong(answer.order_id, call, &anna(), now()).unwrap();
    assert_eq!((term.period, term.expire_date), (60, None));
    let held = listed(&mut store, 1, now().plus_days(31)).licences;
    let (old, new) = (read(&first.licence), read(&held[0].licence));
    assert_eq!(new.fields().term().end(), Some(now().plus_days(60)));
    assert!(new.claims.iat > old.claims.iat && new.claims.jti == old.claims.jti);
    assert_eq!(listed(&mut store, 1, now().plus_days(32)).licences, held, "issued once");
    let endless = sold(&mut store, OrderKind::Main, 1);
    let order_id = store.key(endless[0].key_no, now()).unwrap().key.order_id;
    let refused = store.prolong(order_id, call, &anna(), now());
    assert!(matches!(refused, Err(StoreError::Vendor(VendorError::Endless))), "{refused:?}");
}

fn token_of_the_vendor_holds_a_key_and_a_blocked_one_does_not(place: &Place) {
    let mut store = open(place);
    let point = [vec![4], vec![9; 64]].concat();
    let token = TokenKey::from_point(&point).unwrap();
    let codes = sold(&mut store, OrderKind::Main, 3);
    let on_token = |code, attested| {
        let mut wanted = activation(code, 1, "A");
        wanted.asked.holder = Holder::Token(token);
        wanted.asked.attested = attested;
        wanted
    };
    let refused = activate(&mut store, &on_token(codes[0].code, false));
    assert_eq!(denied(refused), Denial::BlankUnknown);
    let done = activate(&mut store, &on_token(codes[0].code, true)).unwrap();
    let licence = read(&done.licence);
    assert_eq!(licence.holder, Holder::Token(token));
    assert_eq!(licence.fields().blank_key_no, Some(token.blank_no()));
    let blank = store.blanks(None).unwrap().items.remove(0);
    assert_eq!((blank.attested, blank.keys, blank.short_id), (true, 1, token.short_id()));
    let body = serde_json::json!({ "Blanks": [{ "Jwk": token.jwk(), "Name": "x" }] });
    let call = serde_json::from_value(body).unwrap();
    assert_eq!(store.register_blanks(&call, &anna(), now()).unwrap().known, 1);
    assert_eq!(listed(&mut store, 1, now()).licences, [], "the token is not plugged in");
    let with = Listing { tokens: vec![token], ..listing(1) };
    assert_eq!(store.licences(&set(), &with, &machine(1), now()).unwrap().licences.len(), 1);
    // A key that is installed moves to a token by its reserve code.
    let held = activate(&mut store, &activation(codes[1].code, 1, "A")).unwrap();
    let back =
        store.take_back(&set(), &returning(1, &read(&held.licence)), &machine(1), now()).unwrap();
    let moved = activate(&mut store, &on_token(back.reserve_code, false)).unwrap();
    assert_eq!((moved.key_no, read(&moved.licence).holder), (held.key_no, Holder::Token(token)));
    store.block_blank(blank.blank_id, true, &anna(), now()).unwrap();
    let refused = activate(&mut store, &on_token(codes[2].code, true));
    assert_eq!(denied(refused), Denial::BlankBlocked);
}

fn two_machines_with_one_identity_are_seen_and_refused_when_blocked(place: &Place) {
    let mut store = open(place);
    let code = sold(&mut store, OrderKind::Main, 1)[0].code;
    let done = activate(&mut store, &activation(code, 1, "A")).unwrap();
    let ask = |store: &mut Store, mark: &str, computer: &str| {
        let asker = Asker { mark: Some(mark.to_owned()), ..asker(computer) };
        let listing = Listing { asker, ..listing(1) };
        store.licences(&set(), &listing, &machine(1), now()).map(|listed| listed.mark)
    };
    let first = ask(&mut store, &done.mark, "A").unwrap();
    let copy = ask(&mut store, &first, "A").unwrap();
    ask(&mut store, &copy, "A").unwrap();
    assert_eq!(store.suspicions(false).unwrap(), []);
    ask(&mut store, &first, "B").unwrap();
    ask(&mut store, &first, "A").unwrap();
    let found = store.suspicions(false).unwrap();
    let kinds: Vec<_> = found.iter().map(|one| (one.kind, one.times)).collect();
    assert!(kinds.contains(&(SuspicionKind::Mark, 2)), "{kinds:?}");
    assert!(kinds.contains(&(SuspicionKind::Computers, 1)), "{kinds:?}");
    assert_eq!(found[0].keys, [done.key_no]);
    let id = found[0].suspicion_id;
    assert!(store.block_holder(id, true, &anna(), now()).unwrap().blocked.is_some());
    assert_eq!(denied(ask(&mut store, &first, "A")), Denial::HolderBlocked);
    let again = activate(&mut store, &activation(code, 1, "A"));
    assert_eq!(denied(again), Denial::HolderBlocked);
    let given = returning(1, &read(&done.licence));
    assert_eq!(denied(store.take_back(&set(), &given, &machine(1), now())), Denial::HolderBlocked);
    store.block_holder(id, false, &anna(), now()).unwrap();
    store.clear_suspicion(id, &anna(), now()).unwrap();
    assert!(ask(&mut store, &first, "A").is_ok());
}

fn customers_are_found_by_parts_of_their_names_and_stay_while_orders_name_them(place: &Place) {
    let mut store = open(place);
    let call = |name: &str| CustomerCall {
        name: name.to_owned(),
        itn: Some("7707083893".to_owned()),
        iec: None,
        mail: None,
        note: None,
    };
    let one = store.add_customer(&call("ООО «Ромашка» 100%"), &anna(), now()).unwrap();
    let two = store.add_customer(&call("ИП Петров"), &anna(), now()).unwrap();
    let mut found = |query| {
        let page = store.customers(Some(query), None).unwrap();
        page.items.into_iter().map(|view| view.customer_id).collect::<Vec<_>>()
    };
    assert_eq!(found("РОМАШКА"), [one.customer_id]);
    assert_eq!(found("100%"), [one.customer_id]);
    assert_eq!(found("7707"), [two.customer_id, one.customer_id]);
    assert_eq!(found("_"), Vec::<i64>::new());
    let with = OrderCall { customer_id: Some(one.customer_id), ..order(OrderKind::Main, 1) };
    let key_no = store.add_order(&with, &anna(), now()).unwrap().codes[0].key_no;
    let nobody = OrderCall { customer_id: Some(99), ..with };
    let refused = store.add_order(&nobody, &anna(), now());
    assert!(matches!(refused, Err(StoreError::NoCustomer)));
    let keys = store.keys(Some("ромашка"), None, now()).unwrap().items;
    assert_eq!((keys.len(), keys[0].key_no), (1, key_no));
    assert_eq!(store.keys(Some(&key_no.to_string()), None, now()).unwrap().items, keys);
    let code = store.key(key_no, now()).unwrap().code.to_string();
    assert_eq!(store.keys(Some(&code), None, now()).unwrap().items, keys);
    let removed = store.remove_customer(one.customer_id, &anna(), now());
    assert!(matches!(removed, Err(StoreError::CustomerHasOrders)));
    store.remove_customer(two.customer_id, &anna(), now()).unwrap();
    assert!(matches!(store.customer(two.customer_id), Err(StoreError::NoCustomer)));
}

fn statistics_count_activations_moves_and_demos(place: &Place) {
    let mut store = open(place);
    let demo = sold(&mut store, OrderKind::Demo, 2);
    activate(&mut store, &activation(demo[0].code, 1, "A")).unwrap();
    let code = sold(&mut store, OrderKind::Main, 2)[0].code;
    let done = activate(&mut store, &activation(code, 1, "A")).unwrap();
    let back =
        store.take_back(&set(), &returning(1, &read(&done.licence)), &machine(1), now()).unwrap();
    activate(&mut store, &activation(back.reserve_code, 2, "B")).unwrap();
    let figures = store.statistics().unwrap();
    let month = &figures.months[0];
    assert_eq!((month.month.as_str(), month.series.as_str()), ("2027-01", "672B"));
    assert_eq!((month.activations, month.moves, month.demos, month.demos_to_paid), (1, 1, 1, 1));
    assert_eq!((figures.installed["672B"], figures.free["672B"]), (1, 2));
}

fn audit_names_who_did_what_and_no_code(place: &Place) {
    let mut store = open(place);
    let code = sold(&mut store, OrderKind::Main, 1)[0].code;
    let done = activate(&mut store, &activation(code, 1, "A")).unwrap();
    let spare = store.spare(done.key_no, false, &anna(), now()).unwrap();
    let back =
        store.take_back(&set(), &returning(1, &read(&done.licence)), &machine(1), now()).unwrap();
    let lines = store.audit(None, None, None).unwrap().items;
    let told: Vec<_> =
        lines.iter().rev().map(|line| (line.action.as_str(), line.role.as_str())).collect();
    let wanted =
        [("order", "admin"), ("activation", "server"), ("spare", "admin"), ("return", "server")];
    assert_eq!(told, wanted);
    assert_eq!(lines[0].who, key(1).thumbprint());
    let text = format!("{lines:?}");
    for code in [code, spare, back.reserve_code] {
        assert!(!text.contains(&code.to_string()), "{text}");
    }
    assert_eq!(store.audit(Some(done.key_no), None, None).unwrap().items.len(), 3);
}

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
