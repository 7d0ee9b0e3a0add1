//! Licence servers as a cluster, with real processes: three members of etcd, three nodes and components,
//! each on a computer of its own. What administrators and users see when a node dies, when etcd dies,
//! when a node is cut off, and when all servers are upgraded one after another.
//!
//! In every scene the components are believed and nobody else: never more seats held than the key has,
//! nobody thrown out. Takes root, for network namespaces.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use xtask::component::{self, What};
use xtask::stage::{ClusterOptions, Crowd, LicenceCluster, Stage, wait_until};

/// Seats of the key in these scenes.
const SEATS: u32 = 6;

/// Bound of whatever takes a heartbeat, a look for another server and a busy machine.
const BOUND: Duration = Duration::from_secs(40);

/// Within this a session gets a seat that is free somewhere.
const GRANT_BOUND: Duration = Duration::from_secs(10);

struct Site {
    // Before the cluster, whose computers they run on.
    crowd: Crowd,
    cluster: LicenceCluster,
    stage: Stage,
}

impl Site {
    fn new() -> Self {
        let stage = Stage::temporary().unwrap();
        let options = ClusterOptions { seats: SEATS, clocks: false, disks: false };
        let cluster = LicenceCluster::start(&stage, options).unwrap();
        Self { crowd: Crowd::new(), cluster, stage }
    }

    /// A process of 1C that looks for the nodes in this order.
    fn users(&mut self, nodes: &[u8]) -> usize {
        let name = format!("users-{}", nodes.iter().map(u8::to_string).collect::<String>());
        self.crowd.add(self.cluster.users(&self.stage, &name, nodes).unwrap())
    }

    fn open(&mut self, users: usize, sessions: &[u32]) {
        for session in sessions {
            self.crowd.open(users, *session).unwrap();
        }
    }

    fn close(&mut self, sessions: &[u32]) {
        for session in sessions {
            self.crowd.close(*session).unwrap();
        }
    }

    fn seated(&mut self, sessions: &[u32], bound: Duration) {
        let what = format!("seats for {sessions:?}");
        let all = |crowd: &Crowd| sessions.iter().all(|session| crowd.is_seated(*session));
        if let Err(why) = self.crowd.until(bound, &what, all) {
            panic!("{why}\n{:#}", self.pictures());
        }
    }

    /// The class and text with which a session is refused.
    fn refused(&mut self, session: u32) -> (String, String) {
        let is_refused = |crowd: &Crowd| matches!(crowd.last(session), Some(What::Refused { .. }));
        self.crowd.until(BOUND, &format!("a refusal of {session}"), is_refused).unwrap();
        match self.crowd.last(session) {
            Some(What::Refused { class, text }) => (class.clone(), text.clone()),
            other => panic!("session {session}: {other:?}"),
        }
    }

    /// Waits until the leases of sessions have been renewed after this moment.
    fn renewed(&mut self, sessions: &[u32]) {
        let before: Vec<_> =
            sessions.iter().map(|session| self.crowd.until_of(*session).unwrap()).collect();
        let all = |crowd: &Crowd| {
            sessions.iter().zip(&before).all(|(session, before)| {
                crowd.until_of(*session).is_some_and(|until| until > *before)
            })
        };
        self.crowd.until(BOUND, &format!("renewals of {sessions:?}"), all).unwrap();
    }

    fn judge(&mut self) {
        if let Err(why) = self.crowd.judge(SEATS) {
            panic!("{why}\n{:#}", self.pictures());
        }
    }

    fn pictures(&self) -> Value {
        let of = |node| self.cluster.picture(node).unwrap_or_else(|why| why.to_string().into());
        (0..LicenceCluster::NODES).map(of).collect()
    }

    /// The one key as a node tells it, once `look` is content with it.
    fn key(&self, node: u8, what: &str, look: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let found = wait_until(BOUND, what, || {
            last = self.cluster.picture(node)?;
            let key = &last["Keys"][0];
            Ok(look(key).then(|| key.clone()))
        });
        found.unwrap_or_else(|why| panic!("{why}: {last:#}"))
    }

    /// Cuts a node off from all of etcd.
    fn cut_off(&self, node: u8) {
        for member in 0..LicenceCluster::MEMBERS {
            self.cluster.network().cut_between(self.cluster.place(node), member).unwrap();
        }
    }

    fn heal(&self, node: u8) {
        for member in 0..LicenceCluster::MEMBERS {
            self.cluster.network().heal_between(self.cluster.place(node), member).unwrap();
        }
    }

    fn standing(&self, node: u8, standing: &str) {
        let what = format!("node {node} {standing}");
        wait_until(BOUND, &what, || {
            Ok((self.cluster.picture(node)?["Standing"] == standing).then_some(()))
        })
        .unwrap();
    }
}

fn blocks(key: &Value) -> &[Value] {
    key["Blocks"].as_array().map_or(&[], Vec::as_slice)
}

/// A number of all blocks together.
fn sum(key: &Value, member: &str) -> u64 {
    blocks(key).iter().filter_map(|block| block[member].as_u64()).sum()
}

fn block<'a>(key: &'a Value, node: &str) -> &'a Value {
    blocks(key).iter().find(|block| block["Name"] == node).unwrap_or(&Value::Null)
}

#[test]
fn seats_of_one_key_are_shared_by_all_nodes_and_counted_once() {
    let mut site = Site::new();
    let users: Vec<usize> =
        [[0, 1, 2], [1, 2, 0], [2, 0, 1]].iter().map(|nodes| site.users(nodes)).collect();
    for (place, sessions) in users.iter().zip([[1, 2], [3, 4], [5, 6]]) {
        site.open(*place, &sessions);
    }
    site.seated(&[1, 2, 3, 4, 5, 6], BOUND);

    // The seventh is told in words, whichever node it asks.
    for (place, session) in users.iter().zip([7, 8, 9]) {
        site.open(*place, &[session]);
        let (class, text) = site.refused(session);
        assert!(class.starts_with("EServerResult.") && !text.is_empty(), "{class}: {text}");
        site.close(&[session]);
    }

    // What every node shows adds up.
    for node in 0..LicenceCluster::NODES {
        let key = site.key(node, "six seats held", |key| sum(key, "Held") == 6);
        assert_eq!(key["Seats"], SEATS, "{key:#}");
        let free = key["Unallocated"].as_u64().unwrap();
        assert_eq!(sum(&key, "Seats") + free, u64::from(SEATS), "{key:#}");
        assert!(blocks(&key).iter().all(|block| block["Held"] == 2), "{key:#}");
    }

    // Given back at one node, had at another: the first answer is the seat, and a node waits two
    // seconds for one at most.
    site.close(&[3]);
    let is_closed = |crowd: &Crowd| matches!(crowd.last(3), Some(What::Closed { class: None }));
    site.crowd.until(BOUND, "session 3 closed", is_closed).unwrap();
    site.key(2, "a seat given away", |key| block(key, "node1")["Seats"] == 1);
    site.open(users[2], &[10]);
    site.crowd.until(BOUND, "an answer to 10", |crowd| crowd.last(10).is_some()).unwrap();
    assert!(site.crowd.is_seated(10), "{:?}\n{:#}", site.crowd.last(10), site.pictures());
    site.judge();
}

#[test]
fn sessions_of_a_killed_node_go_on_at_others_with_their_seats_and_it_takes_back_its_block() {
    let mut site = Site::new();
    let (at_0, at_1) = (site.users(&[0, 1, 2]), site.users(&[1, 2, 0]));
    site.open(at_0, &[1, 2]);
    site.open(at_1, &[3]);
    site.seated(&[1, 2, 3], BOUND);
    let place = site.cluster.node(0).place();
    assert!(site.crowd.is_seated_at(1, &place), "{:?}", site.crowd.last(1));

    site.cluster.node_mut(0).kill().unwrap();
    // A free seat of the key is had elsewhere, though the dead one had some of them.
    site.open(at_1, &[4]);
    site.seated(&[4], GRANT_BOUND);
    let moved = |crowd: &Crowd| {
        [1, 2]
            .iter()
            .all(|session| crowd.is_seated(*session) && !crowd.is_seated_at(*session, &place))
    };
    if let Err(why) = site.crowd.until(BOUND, "sessions at another node", moved) {
        panic!("{why}\n{:#}", site.pictures());
    }
    site.judge();

    site.cluster.node_mut(0).restart(&site.stage).unwrap();
    site.cluster.wait_joined(0).unwrap();
    site.key(0, "the block of node 0 its own again", |key| block(key, "node0")["Orphaned"] != true);
    site.renewed(&[1, 2, 3, 4]);
    site.judge();

    // Nothing is lost: all six can be held through the node that was dead.
    site.close(&[1, 2, 3, 4]);
    let back = site.users(&[0]);
    site.open(back, &[11, 12, 13, 14, 15, 16]);
    site.seated(&[11, 12, 13, 14, 15, 16], BOUND);
    site.judge();
}

#[test]
fn without_etcd_sessions_go_on_and_nobody_gets_a_seat_until_it_is_back() {
    let mut site = Site::new();
    let users = site.users(&[0]);
    site.open(users, &[1, 2, 4]);
    site.seated(&[1, 2, 4], BOUND);
    for member in 0..LicenceCluster::MEMBERS {
        site.cluster.etcd().kill(member).unwrap();
    }
    // A free seat of its block, for which etcd is not asked.
    site.close(&[4]);
    site.standing(0, "isolated");
    site.open(users, &[3]);
    let (class, text) = site.refused(3);
    assert_eq!(class, "EServerResult.EClusterUnavailable", "{text}");
    site.renewed(&[1, 2]);
    assert!(site.crowd.is_seated(1) && site.crowd.is_seated(2));
    site.judge();

    for member in 0..LicenceCluster::MEMBERS {
        site.cluster.etcd().start_member(member).unwrap();
    }
    site.seated(&[3], BOUND);
    site.renewed(&[1, 2]);
    site.judge();
}

#[test]
fn node_cut_off_from_etcd_keeps_its_sessions_and_others_cannot_take_their_seats() {
    let mut site = Site::new();
    let (at_0, at_1) = (site.users(&[0]), site.users(&[1, 2]));
    site.open(at_0, &[1, 2, 3]);
    site.seated(&[1, 2, 3], BOUND);
    site.cut_off(0);
    site.standing(0, "isolated");
    site.key(1, "the block of node 0 orphaned", |key| block(key, "node0")["Orphaned"] == true);

    // The others give out what is theirs, and not one more.
    site.open(at_1, &[11, 12, 13, 14]);
    let answered = |crowd: &Crowd| (11..=14).all(|session| crowd.last(session).is_some());
    site.crowd.until(BOUND, "four answers", answered).unwrap();
    site.renewed(&[1, 2, 3]);
    site.renewed(&[1, 2, 3]);
    let seated = (11..=14).filter(|session| site.crowd.is_seated(*session)).count();
    assert!(seated <= 3, "{:#}", site.pictures());
    site.judge();

    site.heal(0);
    site.cluster.wait_joined(0).unwrap();
    site.renewed(&[1, 2, 3]);
    site.close(&[14]);
    site.seated(&[11, 12, 13], BOUND);
    site.judge();
    site.close(&[1, 2, 3]);
    site.open(at_1, &[15, 16, 17]);
    site.seated(&[15, 16, 17], GRANT_BOUND);
    site.judge();
}

#[test]
fn two_nodes_cut_off_renew_what_they_have_and_the_third_grants() {
    let mut site = Site::new();
    let (at_0, at_1, anywhere) = (site.users(&[0]), site.users(&[1]), site.users(&[0, 1, 2]));
    site.open(at_0, &[1]);
    site.open(at_1, &[2]);
    site.seated(&[1, 2], BOUND);
    for node in [0, 1] {
        site.cut_off(node);
    }
    site.standing(0, "isolated");
    site.standing(1, "isolated");
    for (users, session) in [(at_0, 3), (at_1, 4)] {
        site.open(users, &[session]);
        let (class, text) = site.refused(session);
        assert_eq!(class, "EServerResult.EClusterUnavailable", "{text}");
    }
    site.open(anywhere, &[5]);
    site.seated(&[5], BOUND);
    assert!(site.crowd.is_seated_at(5, &site.cluster.node(2).place()), "{:?}", site.crowd.last(5));
    site.renewed(&[1, 2, 5]);
    site.judge();

    for node in [0, 1] {
        site.heal(node);
    }
    site.seated(&[3, 4], BOUND);
    site.renewed(&[1, 2, 3, 4, 5]);
    site.judge();
}

#[test]
fn with_two_machines_of_three_dead_nobody_is_granted_a_seat_and_nobody_loses_one() {
    let mut site = Site::new();
    let (at_2, anywhere) = (site.users(&[2]), site.users(&[0, 1, 2]));
    site.open(at_2, &[1]);
    site.open(anywhere, &[2]);
    site.seated(&[1, 2], BOUND);
    for machine in [0, 1] {
        site.cluster.node_mut(machine).kill().unwrap();
        site.cluster.etcd().kill(machine).unwrap();
    }
    site.standing(2, "isolated");
    site.open(at_2, &[3]);
    let (class, text) = site.refused(3);
    assert_eq!(class, "EServerResult.EClusterUnavailable", "{text}");
    // The one lives on its lease, the other is renewed.
    let on_lease =
        |crowd: &Crowd| matches!(crowd.last(2), Some(What::Seat { confirmed: false, .. }));
    site.crowd.until(BOUND, "session 2 on its lease", on_lease).unwrap();
    site.renewed(&[1]);
    assert_eq!(BTreeSet::from_iter(site.crowd.holding()), BTreeSet::from([1, 2]));
    site.judge();

    // One of them is enough: its etcd makes a majority, and the seat comes to the node that lives.
    site.cluster.etcd().start_member(0).unwrap();
    site.cluster.wait_joined(2).unwrap();
    site.seated(&[2, 3], BOUND);
    site.judge();
    site.cluster.etcd().start_member(1).unwrap();
    for node in [0, 1] {
        site.cluster.node_mut(node).restart(&site.stage).unwrap();
        site.cluster.wait_joined(node).unwrap();
    }
    site.renewed(&[1, 2, 3]);
    site.judge();
}

#[test]
fn sessions_of_a_node_that_leaves_go_on_at_others_with_their_seats() {
    let mut site = Site::new();
    let (leaving, at_0) = (site.users(&[2, 0]), site.users(&[0]));
    site.open(leaving, &[1, 2]);
    site.seated(&[1, 2], BOUND);
    site.open(at_0, &[3, 4, 5, 6]);
    site.seated(&[3, 4, 5, 6], BOUND);
    let place = site.cluster.node(2).place();
    assert!(site.crowd.is_seated_at(1, &place) && site.crowd.is_seated_at(2, &place));
    site.cluster.node_mut(2).stop().unwrap();
    let said = site.cluster.command(&site.stage, 2, &["leave"]).unwrap();
    assert!(said.contains("kept for its sessions: 2"), "{said}");
    let moved = |crowd: &Crowd| {
        [1, 2].iter().all(|it| crowd.is_seated(*it) && !crowd.is_seated_at(*it, &place))
    };
    if let Err(why) = site.crowd.until(BOUND, "sessions at another node", moved) {
        panic!("{why}\n{:#}", site.pictures());
    }
    site.judge();
}

#[test]
fn component_of_a_node_cut_off_gets_new_seats_at_another_node_and_keeps_those_that_are_renewed() {
    let mut site = Site::new();
    let users = site.users(&[0, 1, 2]);
    site.open(users, &[1, 2]);
    site.seated(&[1, 2], BOUND);
    let first = site.cluster.node(0).place();
    site.cut_off(0);
    site.standing(0, "isolated");

    // The process that uses the node, and one that starts now and finds it first in its list.
    site.open(users, &[3]);
    site.seated(&[3], GRANT_BOUND);
    let late = site.users(&[0, 2, 1]);
    site.open(late, &[4]);
    site.seated(&[4], GRANT_BOUND);
    let stands = |site: &Site| {
        for (session, at_first) in [(1, true), (2, true), (3, false), (4, false)] {
            let last = site.crowd.last(session);
            assert_eq!(site.crowd.is_seated_at(session, &first), at_first, "{session}: {last:?}");
        }
    };
    stands(&site);
    for _ in 0..2 {
        site.renewed(&[1, 2, 3, 4]);
        stands(&site);
    }
    site.judge();

    // The node heals: nobody runs back to it, and every seat of the key can be had.
    site.heal(0);
    site.cluster.wait_joined(0).unwrap();
    site.renewed(&[1, 2, 3, 4]);
    stands(&site);
    site.open(users, &[5, 6]);
    site.seated(&[5, 6], BOUND);
    assert!(!site.crowd.is_seated_at(5, &first), "{:?}", site.crowd.last(5));
    site.renewed(&[1, 2, 3, 4, 5, 6]);
    site.judge();
}

/// Longest look at all nodes: two seconds by what is promised, and what a busy machine adds.
const VIEW_MILLIS: u64 = 4000;

impl Site {
    /// `GET /api/cluster/sessions` of a node.
    fn everywhere(&self, node: u8) -> Value {
        let begun = component::now();
        let view = self.cluster.node(node).hurried_rest(10).get("/api/cluster/sessions").unwrap();
        let took = component::now() - begun;
        assert!(took < VIEW_MILLIS, "{took} ms: {view:#}");
        view
    }

    /// Waits until a node shows these sessions, each at its node, and misses these nodes.
    fn shows(&self, node: u8, sessions: &[(&str, u32)], missing: &[&str]) {
        let mut wanted: Vec<(String, String)> =
            sessions.iter().map(|(at, no)| ((*at).to_owned(), no.to_string())).collect();
        wanted.sort();
        let mut last = Value::Null;
        let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
        let found = wait_until(BOUND, "the sessions of all nodes", || {
            last = self.everywhere(node);
            let all = last["Sessions"].as_array().map_or(&[][..], Vec::as_slice);
            let mut shown: Vec<_> =
                all.iter().map(|one| (text(one, "Node"), text(one, "SessionNumber"))).collect();
            shown.sort();
            let named = last["Missing"].as_array().map_or(&[][..], Vec::as_slice);
            let named: Vec<_> = named.iter().map(|one| text(one, "Node")).collect();
            Ok((shown == wanted && named == missing).then_some(()))
        });
        found.unwrap_or_else(|why| panic!("node {node}: {why}: {last:#}\n{:#}", self.pictures()));
    }

    /// Id of a session's seat at its server.
    fn id_of(&self, session: u32) -> String {
        match self.crowd.last(session) {
            Some(What::Seat { id, .. }) => id.clone(),
            other => panic!("session {session}: {other:?}"),
        }
    }
}

#[test]
fn every_node_shows_all_sessions_names_a_frozen_node_and_ends_a_session_of_another() {
    let mut site = Site::new();
    let users: Vec<usize> =
        [[0, 1, 2], [1, 2, 0], [2, 0, 1]].iter().map(|nodes| site.users(nodes)).collect();
    for (place, sessions) in users.iter().zip([&[1, 2][..], &[3], &[4]]) {
        site.open(*place, sessions);
    }
    site.seated(&[1, 2, 3, 4], BOUND);
    let all = [("node0", 1), ("node0", 2), ("node1", 3), ("node2", 4)];
    for node in 0..LicenceCluster::NODES {
        site.shows(node, &all, &[]);
    }

    // Ended by way of another node: the component hears it and gets a seat of another id.
    let before = site.id_of(3);
    let path = format!("/api/cluster/sessions/node1/{before}?Reason=left%20open");
    let ended = site.cluster.node(0).hurried_rest(10).try_delete(&path).unwrap();
    assert_eq!((ended.status, &ended.body["SessionNumber"]), (202, &"3".into()), "{ended:?}");
    let is_another = |crowd: &Crowd| matches!(crowd.last(3), Some(What::Seat { id, confirmed: true, .. }) if *id != before);
    site.crowd.until(BOUND, "another seat of session 3", is_another).unwrap();
    let events = site.cluster.node(1).rest().get("/api/events?Kind=audit").unwrap().to_string();
    for part in ["admin@node0", "left open", &before] {
        assert!(events.contains(part), "{part}: {events}");
    }
    let gone = site.cluster.node(2).hurried_rest(10).try_delete(&path).unwrap();
    assert_eq!(gone.status, 404, "{gone:?}");

    // A frozen node takes connections and says no word. Its sessions go on elsewhere.
    site.cluster.node_mut(2).process().signal(libc::SIGSTOP).unwrap();
    let view = site.everywhere(0);
    let missing = view["Missing"].as_array().unwrap();
    assert!(missing.len() == 1 && missing[0]["Node"] == "node2", "{view:#}");
    let place = site.cluster.node(2).place();
    let moved = |crowd: &Crowd| crowd.is_seated(4) && !crowd.is_seated_at(4, &place);
    site.crowd.until(BOUND, "session 4 at another node", moved).unwrap();
    site.shows(1, &[("node0", 1), ("node0", 2), ("node0", 4), ("node1", 3)], &["node2"]);
    site.cluster.node_mut(2).process().signal(libc::SIGCONT).unwrap();
    site.cluster.wait_joined(2).unwrap();
    site.shows(2, &[("node0", 1), ("node0", 2), ("node0", 4), ("node1", 3)], &[]);
    site.judge();
}

#[test]
fn restart_of_all_nodes_one_after_another_throws_nobody_out() {
    let mut site = Site::new();
    let users: Vec<usize> =
        [[0, 1, 2], [1, 2, 0], [2, 0, 1]].iter().map(|nodes| site.users(nodes)).collect();
    for (place, sessions) in users.iter().zip([[1, 2], [3, 4], [5, 6]]) {
        site.open(*place, &sessions);
    }
    let all = [1, 2, 3, 4, 5, 6];
    site.seated(&all, BOUND);
    for node in 0..LicenceCluster::NODES {
        site.cluster.node_mut(node).stop().unwrap();
        // As an upgrade takes some time: those of this node are elsewhere before it comes back.
        let place = site.cluster.node(node).place();
        let moved = |crowd: &Crowd| {
            all.iter()
                .all(|session| crowd.is_seated(*session) && !crowd.is_seated_at(*session, &place))
        };
        if let Err(why) = site.crowd.until(BOUND, "sessions at other nodes", moved) {
            panic!("node {node}: {why}\n{:#}", site.pictures());
        }
        site.cluster.node_mut(node).restart(&site.stage).unwrap();
        site.cluster.wait_joined(node).unwrap();
        site.judge();
    }
    site.renewed(&all);
    let holding: BTreeSet<u32> = site.crowd.holding().into_iter().collect();
    assert_eq!(holding, BTreeSet::from(all));
    site.judge();
}
