//! Machines and what they may hold: demonstration keys, additional keys, tokens, copies of servers.

use super::*;

pub(super) fn computer_gets_one_demo_of_a_series(place: &Place) {
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

pub(super) fn additional_key_and_demo_hold_to_their_rules(place: &Place) {
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

pub(super) fn demo_without_a_code_is_given_where_it_is_offered_and_again_to_the_same_server(
    place: &Place,
) {
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

pub(super) fn token_of_the_vendor_holds_a_key_and_a_blocked_one_does_not(place: &Place) {
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

pub(super) fn two_machines_with_one_identity_are_seen_and_refused_when_blocked(place: &Place) {
    let mut store = open(place);
    let code = sold(&mut store, OrderKind::Main, 1)[0].code;
    let done = activate(&mut store, &activation(code, 1, "A")).unwrap();
    let ask = |store: &mut Store, mark: &Option<String>, computer: &str| {
        let asker = Asker { mark: mark.clone(), ..asker(computer) };
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

pub(super) fn answers_that_are_read_out_make_no_suspicion(place: &Place) {
    let mut store = open(place);
    let main = sold(&mut store, OrderKind::Main, 1)[0].code;
    let done = activate(&mut store, &activation(main, 1, "A")).unwrap();
    for code in sold(&mut store, OrderKind::Additional, 2) {
        let asker = Asker { is_read_out: true, ..asker("A") };
        let activation = Activation { asker, ..activation(code.code, 1, "A") };
        let read_out = store.activate_short(&set(), &activation, &machine(1), now()).unwrap();
        assert_eq!(read_out.mark, None);
    }
    let asker = Asker { mark: done.mark, ..asker("A") };
    let listed = store.licences(&set(), &Listing { asker, ..listing(1) }, &machine(1), now());
    assert_eq!(listed.unwrap().licences.len(), 3);
    assert_eq!(store.suspicions(true).unwrap(), []);
}
