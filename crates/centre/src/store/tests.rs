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
    SpareCall, SuspicionKind,
};
use rusqlite::Connection;

use super::*;
use crate::access::Role;
use crate::decide::cluster::Membership;
use crate::series::{Series, SeriesSet};

mod clusters;
mod cuts;
mod machines;
mod moves;
mod people;
mod server;
mod versions;

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
        membership: Membership::Alone,
        enc: None,
        itn: None,
        iec: None,
    }
}

fn asker(computer: &str) -> Asker {
    Asker {
        computer_id: computer.to_owned(),
        server_version: "4.0.0".to_owned(),
        mark: None,
        is_read_out: false,
    }
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
    answers_that_are_read_out_make_no_suspicion,
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
    codes_of_several_nodes_install_the_key_in_one_place,
    demonstrations_and_tokens_are_of_no_cluster,
    key_of_a_single_server_comes_to_a_cluster_and_back,
    licence_that_waits_for_a_signature_is_not_given_for_another_cluster,
    node_that_has_left_makes_room_for_another,
    nodes_of_one_cluster_share_a_key_up_to_the_limit,
    order_says_otherwise_than_its_series_how_many_nodes_there_may_be,
    telephone_carries_no_licence_of_a_cluster,
    vendor_releases_one_node_and_names_it,
);

use clusters::{
    codes_of_several_nodes_install_the_key_in_one_place,
    demonstrations_and_tokens_are_of_no_cluster,
    key_of_a_single_server_comes_to_a_cluster_and_back,
    licence_that_waits_for_a_signature_is_not_given_for_another_cluster,
    node_that_has_left_makes_room_for_another, nodes_of_one_cluster_share_a_key_up_to_the_limit,
    order_says_otherwise_than_its_series_how_many_nodes_there_may_be,
    telephone_carries_no_licence_of_a_cluster, vendor_releases_one_node_and_names_it,
};

use cuts::{
    power_cut_at_any_statement_loses_and_doubles_nothing,
    power_cut_while_the_vendor_signs_by_hand_loses_and_doubles_nothing,
};
use machines::{
    additional_key_and_demo_hold_to_their_rules, answers_that_are_read_out_make_no_suspicion,
    computer_gets_one_demo_of_a_series,
    demo_without_a_code_is_given_where_it_is_offered_and_again_to_the_same_server,
    token_of_the_vendor_holds_a_key_and_a_blocked_one_does_not,
    two_machines_with_one_identity_are_seen_and_refused_when_blocked,
};
use moves::{
    moves_of_a_year_are_limited_and_the_vendor_is_not,
    prolonged_key_gets_a_later_licence_when_its_server_asks,
    released_key_is_taken_from_its_server_and_its_code_told_to_the_vendor_alone,
    spare_code_ends_the_old_activation_once,
};
use people::{
    accounts_and_their_tokens_are_kept_until_they_are_removed,
    audit_names_who_did_what_and_no_code,
    customers_are_found_by_parts_of_their_names_and_stay_while_orders_name_them,
    statistics_count_activations_moves_and_demos,
};

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

fn settle(store: &mut Store, settings: SeriesSettings) {
    let series = KeySeries::from_u16(0x672B);
    store.settle_series(&set(), series, &settings, &anna(), now()).unwrap();
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
