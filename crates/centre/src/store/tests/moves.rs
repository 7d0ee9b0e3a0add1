//! Keys on the move: spare codes, the vendor's button, limits of a year, later terms.

use super::*;

pub(super) fn spare_code_ends_the_old_activation_once(place: &Place) {
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
    let renewed = store
        .spare(old.key_no, &SpareCall { renew: true, activation_id: None }, &anna(), now())
        .unwrap();
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

pub(super) fn released_key_is_taken_from_its_server_and_its_code_told_to_the_vendor_alone(
    place: &Place,
) {
    let mut store = open(place);
    let code = sold(&mut store, OrderKind::Main, 1)[0].code;
    let key_no = activate(&mut store, &activation(code, 1, "A")).unwrap().key_no;
    let call = ReleaseCall {
        reason: Some(ReturnReason::Hardware),
        comment: Some("сгорел".into()),
        activation_id: None,
    };
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

pub(super) fn moves_of_a_year_are_limited_and_the_vendor_is_not(place: &Place) {
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

pub(super) fn prolonged_key_gets_a_later_licence_when_its_server_asks(place: &Place) {
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
