//! People and what they see: accounts, customers, figures, the audit trail.

use super::*;

pub(super) fn accounts_and_their_tokens_are_kept_until_they_are_removed(place: &Place) {
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

pub(super) fn customers_are_found_by_parts_of_their_names_and_stay_while_orders_name_them(
    place: &Place,
) {
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

pub(super) fn statistics_count_activations_moves_and_demos(place: &Place) {
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

pub(super) fn audit_names_who_did_what_and_no_code(place: &Place) {
    let mut store = open(place);
    let code = sold(&mut store, OrderKind::Main, 1)[0].code;
    let done = activate(&mut store, &activation(code, 1, "A")).unwrap();
    let spare = store
        .spare(done.key_no, &SpareCall { renew: false, activation_id: None }, &anna(), now())
        .unwrap();
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
