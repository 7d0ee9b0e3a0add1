//! Keys that several servers share as nodes of one cluster.

use licence_core::cluster::ClusterId;

use super::*;
use crate::decide::cluster::{Nodes, Short};

/// Computers of the servers 1 to 4, with ids as they are.
const COMPUTERS: [&str; 4] = ["A1", "B2", "C3", "D4"];

fn cluster(digit: char) -> ClusterId {
    digit.to_string().repeat(32).parse().unwrap()
}

/// A request of server 1 to 4 as a node of a cluster.
fn node(code: ActivationCode, server: u8, digit: char) -> Activation {
    let mut asked = alone(code, server);
    asked.asked.membership = Membership::Node(cluster(digit));
    asked
}

/// The same of a server that stands alone.
fn alone(code: ActivationCode, server: u8) -> Activation {
    activation(code, server, COMPUTERS[usize::from(server) - 1])
}

/// Books whose series lets so many nodes share a key, and a key of it.
fn open_with(place: &Place, cluster_nodes: u32) -> (Store, ActivationCode) {
    let mut store = open(place);
    settle(&mut store, SeriesSettings { cluster_nodes, ..SeriesSettings::default() });
    let code = sold(&mut store, OrderKind::Main, 1)[0].code;
    (store, code)
}

fn done(store: &mut Store, asked: &Activation) -> Licence {
    read(&activate(store, asked).unwrap().licence)
}

fn shown(computers: &[&str]) -> Nodes {
    computers.iter().map(|computer| Short::of(computer)).collect()
}

fn give_back(store: &mut Store, server: u8, licence: &Licence) -> ActivationCode {
    let given = returning(server, licence);
    store.take_back(&set(), &given, &machine(server), now()).unwrap().reserve_code
}

pub(super) fn nodes_of_one_cluster_share_a_key_up_to_the_limit(place: &Place) {
    let (mut store, code) = open_with(place, 2);
    let first = done(&mut store, &node(code, 1, 'a'));
    assert_eq!(first.claims.cluster, Some(cluster('a')));
    let second = store
        .activate(&set(), &node(code, 2, 'a'), &machine(2), now().plus_days(3))
        .map(|done| read(&done.licence))
        .unwrap();
    assert_eq!(second.holder, key(2).into());
    assert_ne!(second.claims.jti, first.claims.jti);
    assert_eq!(second.fields(), first.fields(), "one key: its number, seats, code, term");
    assert!(!second.fields().support.recovered);
    let again = activate(&mut store, &node(code, 2, 'a')).unwrap();
    assert_eq!((again.first, again.licence), (false, second.document.clone()));
    for (asked, wanted) in [
        (node(code, 3, 'a'), Denial::ClusterFull(2)),
        (node(code, 3, 'b'), Denial::ClusterOther),
        (alone(code, 3), Denial::ClusterOther),
        (alone(code, 1), Denial::ClusterShared(shown(&["B2"]))),
        (node(code, 2, 'b'), Denial::ClusterShared(shown(&["A1"]))),
    ] {
        assert_eq!(denied(activate(&mut store, &asked)), wanted);
    }
    // Each is asked about its own, and the vendor sees all of them.
    for (server, licence) in [(1, &first), (2, &second)] {
        let held = listed(&mut store, server, now()).licences;
        assert_eq!(held.iter().map(|held| &held.licence).collect::<Vec<_>>(), [&licence.document]);
    }
    let view = store.key(first.fields().key_no, now()).unwrap();
    assert_eq!((view.cluster, view.nodes, view.nodes_max), (Some(cluster('a')), 2, 2));
    let computers: Vec<_> = view.activations.iter().map(|one| one.computer_id.as_str()).collect();
    assert_eq!((computers.as_slice(), view.moves), (["A1", "B2"].as_slice(), 0));
    assert_eq!(store.moves(&MovesFilter::default()).unwrap().items, []);
    let figures = store.statistics().unwrap();
    assert_eq!((figures.months[0].activations, figures.months[0].moves), (1, 0));
    assert_eq!(figures.installed["672B"], 1);
}

pub(super) fn order_says_otherwise_than_its_series_how_many_nodes_there_may_be(place: &Place) {
    let (mut store, _) = open_with(place, 3);
    let with = |nodes| OrderCall { cluster_nodes: nodes, ..order(OrderKind::Main, 1) };
    let answer = store.add_order(&with(Some(0)), &anna(), now()).unwrap();
    let single = answer.codes[0].code;
    assert_eq!(done(&mut store, &node(single, 1, 'a')).claims.cluster, None);
    assert_eq!(denied(activate(&mut store, &node(single, 2, 'a'))), Denial::ClusterNone);
    assert_eq!(denied(activate(&mut store, &alone(single, 2))), Denial::Used);
    // Asked once more it is the same: no cluster may have it.
    assert_eq!(done(&mut store, &node(single, 1, 'a')).claims.cluster, None);
    settle(&mut store, SeriesSettings::default());
    let wide = store.add_order(&with(Some(3)), &anna(), now()).unwrap().codes[0].code;
    for server in 1..=3 {
        assert_eq!(done(&mut store, &node(wide, server, 'a')).claims.cluster, Some(cluster('a')));
    }
    let orders = store.orders(&OrdersFilter::default()).unwrap().orders;
    let nodes: Vec<_> = orders.iter().map(|view| view.order.cluster_nodes).collect();
    assert_eq!(nodes, [Some(3), Some(0), None]);
}

pub(super) fn node_that_has_left_makes_room_for_another(place: &Place) {
    let (mut store, code) = open_with(place, 2);
    let first = done(&mut store, &node(code, 1, 'a'));
    let second = done(&mut store, &node(code, 2, 'a'));
    let key_no = first.fields().key_no;
    let reserve = give_back(&mut store, 2, &second);
    let view = store.key(key_no, now()).unwrap();
    assert_eq!((view.key.state, view.nodes, view.moves), (KeyState::Activated, 1, 1));
    assert_eq!((view.reserve_code, view.activations[1].reserve_code), (None, Some(reserve)));
    assert_eq!(listed(&mut store, 1, now()).licences.len(), 1, "the other goes on");
    let states: Vec<_> = store.orders(&OrdersFilter::default()).unwrap().orders[0]
        .codes
        .iter()
        .map(|code| code.state)
        .collect();
    assert_eq!(states, [CodeState::Activated]);
    // Neither code leads out of the cluster.
    for code in [code, reserve] {
        assert_eq!(denied(activate(&mut store, &alone(code, 3))), Denial::ClusterOther);
    }
    // The code of the first node takes the place, and the reserve code none that is not there.
    let third = done(&mut store, &node(code, 3, 'a'));
    assert_eq!(third.fields().activation_date, first.fields().activation_date);
    let full = Denial::ClusterFull(2);
    assert_eq!(denied(activate(&mut store, &node(reserve, 4, 'a'))), full);
    // The reserve code does as well, also for who has been a node before.
    let left = give_back(&mut store, 3, &third);
    assert!(done(&mut store, &node(reserve, 2, 'a')).fields().support.recovered);
    let view = store.key(key_no, now()).unwrap();
    let codes: Vec<_> = view.activations.iter().map(|one| one.reserve_code).collect();
    assert_eq!(codes, [None, None, Some(left), None]);
    assert_eq!((view.nodes, view.moves), (2, 2));
    assert_eq!(store.statistics().unwrap().months[0].moves, 2);
}

pub(super) fn codes_of_several_nodes_install_the_key_in_one_place(place: &Place) {
    let (mut store, code) = open_with(place, 2);
    let first = done(&mut store, &node(code, 1, 'a'));
    let second = done(&mut store, &node(code, 2, 'a'));
    let codes = [give_back(&mut store, 1, &first), give_back(&mut store, 2, &second)];
    assert_eq!(denied(activate(&mut store, &node(code, 1, 'a'))), Denial::Returned);
    assert_eq!(denied(activate(&mut store, &node(code, 3, 'a'))), Denial::Used);
    let moved = done(&mut store, &alone(codes[1], 3));
    assert_eq!(moved.claims.cluster, None);
    assert_eq!(denied(activate(&mut store, &alone(codes[0], 4))), Denial::Used);
    assert_eq!(denied(activate(&mut store, &node(codes[0], 4, 'b'))), Denial::ClusterNone);
}

pub(super) fn vendor_releases_one_node_and_names_it(place: &Place) {
    let (mut store, code) = open_with(place, 3);
    let nodes: Vec<_> = (1..=3).map(|server| done(&mut store, &node(code, server, 'a'))).collect();
    let key_no = nodes[0].fields().key_no;
    let unnamed = Denial::NodeUnnamed(shown(&["A1", "B2", "C3"]));
    let release = |store: &mut Store, named: Option<&str>| {
        let activation_id = named.map(str::to_owned);
        let call = ReleaseCall { activation_id, ..ReleaseCall::default() };
        store.release(key_no, &call, EndedBy::Vendor, &anna(), now())
    };
    assert_eq!(denied(release(&mut store, None)), unnamed);
    assert_eq!(denied(release(&mut store, Some("x"))), Denial::NotInstalled);
    let dead = nodes[1].claims.jti.as_str();
    let code_of_dead = release(&mut store, Some(dead)).unwrap().reserve_code;
    assert_eq!(denied(release(&mut store, Some(dead))), Denial::NotInstalled);
    let told = listed(&mut store, 2, now());
    assert_eq!((told.licences.len(), told.ended.len()), (0, 1));
    assert_eq!(listed(&mut store, 3, now()).licences.len(), 1);
    assert!(activate(&mut store, &node(code_of_dead, 4, 'a')).unwrap().first);

    // A spare code stands for one node, too.
    let spare = |store: &mut Store, named: Option<&str>| {
        let activation_id = named.map(str::to_owned);
        store.spare(key_no, &SpareCall { activation_id, ..SpareCall::default() }, &anna(), now())
    };
    assert!(matches!(denied(spare(&mut store, None)), Denial::NodeUnnamed(_)));
    let (of_first, of_third) = (
        spare(&mut store, Some(&nodes[0].claims.jti)).unwrap(),
        spare(&mut store, Some(&nodes[2].claims.jti)).unwrap(),
    );
    assert_ne!(of_first, of_third);
    let view = store.key(key_no, now()).unwrap();
    let spares: Vec<_> = view.activations.iter().map(|one| one.spare_code).collect();
    assert_eq!(spares, [Some(of_first), None, Some(of_third), None]);
    assert_eq!(view.spare_code, None);
    // Used by who has the key already it is not spent; used by another it takes one place.
    assert!(!activate(&mut store, &node(of_third, 1, 'a')).unwrap().first);
    assert_eq!(denied(activate(&mut store, &alone(of_third, 2))), Denial::ClusterOther);
    assert!(activate(&mut store, &node(of_third, 2, 'a')).unwrap().first);
    let view = store.key(key_no, now()).unwrap();
    let living = view.activations.iter().filter(|one| one.ended.is_none());
    let living: Vec<_> = living.map(|one| one.computer_id.as_str()).collect();
    assert_eq!(living, ["A1", "D4", "B2"]);
}

pub(super) fn key_of_a_single_server_comes_to_a_cluster_and_back(place: &Place) {
    let (mut store, code) = open_with(place, 3);
    let single = done(&mut store, &alone(code, 1));
    assert_eq!(single.claims.cluster, None);
    assert_eq!(denied(activate(&mut store, &node(code, 2, 'a'))), Denial::ClusterNone);
    let shared = done(&mut store, &node(code, 1, 'a'));
    assert_eq!(shared.claims.cluster, Some(cluster('a')));
    assert!(shared.claims.iat > single.claims.iat);
    assert_eq!((&shared.claims.jti, shared.fields()), (&single.claims.jti, single.fields()));
    // A server that shows the old one after a restore gets the later one with its next question.
    assert_eq!(listed(&mut store, 1, now()).licences[0].licence, shared.document);
    let second = done(&mut store, &node(code, 2, 'a'));
    let held_by_others = Denial::ClusterShared(shown(&["B2"]));
    assert_eq!(denied(activate(&mut store, &alone(code, 1))), held_by_others);
    give_back(&mut store, 2, &second);
    let other = done(&mut store, &node(code, 1, 'b'));
    assert_eq!(other.claims.cluster, Some(cluster('b')));
    let back = done(&mut store, &alone(code, 1));
    assert_eq!((back.claims.cluster, &back.claims.jti), (None, &single.claims.jti));
    assert_eq!(denied(activate(&mut store, &node(code, 2, 'a'))), Denial::Returned);
    let lines = store.audit(Some(single.fields().key_no), None, None).unwrap().items;
    let told: Vec<_> = lines
        .iter()
        .rev()
        .filter(|line| line.action == "cluster")
        .map(|line| line.detail.clone().unwrap())
        .collect();
    let named = |digit| format!("cluster {}", cluster(digit));
    assert_eq!(told, [named('a'), named('b'), "none".to_owned()]);
}

pub(super) fn telephone_carries_no_licence_of_a_cluster(place: &Place) {
    let (mut store, code) = open_with(place, 3);
    let mut spoken = alone(code, 1);
    spoken.asked.membership = Membership::Untold;
    spoken.asker.is_read_out = true;
    let said = store.activate_short(&set(), &spoken, &machine(1), now()).unwrap();
    assert_eq!(read(&said.licence).claims.cluster, None);
    done(&mut store, &node(code, 1, 'a'));
    let refused = store.activate_short(&set(), &spoken, &machine(1), now());
    assert_eq!(denied(refused), Denial::ClusterUntold);
    let refused = store.activate_short(
        &set(),
        &Activation { asked: Asked { membership: Membership::Untold, ..asked(2) }, ..spoken },
        &machine(2),
        now(),
    );
    assert_eq!(denied(refused), Denial::ClusterUntold);
}

pub(super) fn demonstrations_and_tokens_are_of_no_cluster(place: &Place) {
    let (mut store, code) = open_with(place, 3);
    let demo = sold(&mut store, OrderKind::Demo, 1)[0].code;
    assert_eq!(done(&mut store, &node(demo, 1, 'a')).claims.cluster, None);
    assert_eq!(denied(activate(&mut store, &node(demo, 2, 'a'))), Denial::ClusterNone);
    let token = TokenKey::from_point(&[vec![4], vec![9; 64]].concat()).unwrap();
    let mut asked = node(code, 2, 'a');
    asked.asked.holder = Holder::Token(token);
    asked.asked.attested = true;
    assert_eq!(done(&mut store, &asked).claims.cluster, None);
}

pub(super) fn licence_that_waits_for_a_signature_is_not_given_for_another_cluster(place: &Place) {
    let (mut store, code) = open_with(place, 3);
    let set = cuts::by_hand();
    let activate = |store: &mut Store, asked: &Activation| {
        cuts::pending(store.activate(&set, asked, &machine(1), now())).unwrap()
    };
    let sign = |store: &mut Store| {
        let waiting = store.unsigned(None).unwrap().items;
        for view in &waiting {
            let key = secret(0x672B).signing_key();
            let typ = licence_core::licence_file::LICENCE_TYP;
            let document = licence_core::jws::sign(typ, &view.claims, &key).unwrap();
            store.take_signature(&set, view.unsigned_id, &document, &anna(), now()).unwrap();
        }
        waiting.len()
    };
    let licences =
        |store: &mut Store| store.licences(&set, &listing(1), &machine(1), now()).unwrap().licences;
    assert!(activate(&mut store, &alone(code, 1)).is_none());
    assert_eq!(sign(&mut store), 1);
    let single = activate(&mut store, &alone(code, 1)).unwrap().licence;
    assert!(activate(&mut store, &node(code, 1, 'a')).is_none());
    assert_eq!(licences(&mut store), [], "not the one that counts by itself");
    assert_eq!(sign(&mut store), 1);
    let shared = activate(&mut store, &node(code, 1, 'a')).unwrap().licence;
    assert_eq!(read(&shared).claims.cluster, Some(cluster('a')));
    assert_eq!(licences(&mut store)[0].licence, shared);
    // Back before anything is signed: the one that is there is good again when it is signed.
    assert!(activate(&mut store, &alone(code, 1)).is_none());
    assert_eq!(activate(&mut store, &node(code, 1, 'a')).unwrap().licence, shared);
    assert_ne!(single, shared);
}
