//! Rules and access codes of a cluster, with real processes: three members of etcd and three nodes. What
//! is changed at one node holds at the others, two who change at once do not overwrite each other,
//! without etcd nothing is changed and nothing forgotten, and a server that joins keeps its own rules.
//!
//! Takes root, for network namespaces.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::time::Duration;

use serde_json::{Value, json};
use xtask::component::What;
use xtask::stage::{ClusterOptions, Crowd, LicenceCluster, Stage, wait_until};

/// Within this a change holds at the nodes that are in touch with etcd: as `docs/cluster.md` says.
const SPREAD_BOUND: Duration = Duration::from_secs(5);

/// Bound of whatever takes a heartbeat and a busy machine.
const BOUND: Duration = Duration::from_secs(40);

/// Rounds in which two nodes change the rules at once.
const ROUNDS: u32 = 10;

struct Site {
    // Before the cluster, whose computers they run on.
    crowd: Crowd,
    cluster: LicenceCluster,
    stage: Stage,
}

impl Site {
    fn new() -> Self {
        let stage = Stage::temporary().unwrap();
        let options = ClusterOptions { seats: 6, clocks: false, disks: false };
        let cluster = LicenceCluster::start(&stage, options).unwrap();
        Self { crowd: Crowd::new(), cluster, stage }
    }

    fn users(&mut self, node: u8) -> usize {
        let name = format!("users-{node}");
        self.crowd.add(self.cluster.users(&self.stage, &name, &[node]).unwrap())
    }

    fn put_rules(&self, node: u8, rules: &Value) -> (u16, Value) {
        let answer = self.cluster.node(node).rest().try_put("/api/rules", rules).unwrap();
        (answer.status, answer.body)
    }

    /// Waits until a node goes by rules of these names.
    fn rules_at(&self, node: u8, names: &[&str]) {
        let what = format!("rules {names:?} at node {node}");
        wait_until(
            SPREAD_BOUND,
            &what,
            || Ok((names_of(&self.rules(node)) == names).then_some(())),
        )
        .unwrap();
    }

    fn rules(&self, node: u8) -> Value {
        self.cluster.node(node).rest().get("/api/rules").unwrap()
    }

    fn put_code(&self, node: u8, code: Option<&str>) -> (u16, Value) {
        let path = format!("/api/licences/{}", self.cluster.key_no());
        let body = json!({ "AccessCode": code });
        let answer = self.cluster.node(node).rest().try_put(&path, &body).unwrap();
        (answer.status, answer.body)
    }

    /// Waits until the picture at a node is as wanted.
    fn picture(&self, node: u8, what: &str, look: impl Fn(&Value) -> bool) {
        let mut last = Value::Null;
        let found = wait_until(BOUND, what, || {
            last = self.cluster.picture(node)?;
            Ok(look(&last).then_some(()))
        });
        found.unwrap_or_else(|why| panic!("{why}: {last:#}"));
    }

    /// The class and text with which a session is refused that opens now.
    fn refused(&mut self, users: usize, session: u32) -> (String, String) {
        self.crowd.open(users, session).unwrap();
        let is_told = |crowd: &Crowd| crowd.last(session).is_some();
        self.crowd.until(BOUND, &format!("an answer to {session}"), is_told).unwrap();
        let told = self.crowd.last(session).unwrap();
        let What::Refused { class, text } = told else { panic!("session {session}: {told:?}") };
        let refused = (class.clone(), text.clone());
        self.crowd.close(session).unwrap();
        refused
    }

    fn seated(&mut self, users: usize, session: u32) {
        self.crowd.open(users, session).unwrap();
        let is_seated = |crowd: &Crowd| crowd.is_seated(session);
        self.crowd.until(BOUND, &format!("a seat of {session}"), is_seated).unwrap();
    }
}

fn denial(name: &str) -> Value {
    json!({ "Rules": [{ "Name": name, "Effect": "deny" }] })
}

fn names_of(rules: &Value) -> Vec<&str> {
    let rules = rules["Rules"].as_array().map_or(&[][..], Vec::as_slice);
    rules.iter().filter_map(|rule| rule["Name"].as_str()).collect()
}

fn class(body: &Value) -> &str {
    body["Exception"].as_str().unwrap_or_default()
}

#[test]
fn what_is_changed_at_one_node_holds_at_the_others() {
    let mut site = Site::new();
    let at_2 = site.users(2);
    site.seated(at_2, 1);

    let (status, body) = site.put_rules(0, &denial("nobody"));
    assert_eq!((status, names_of(&body)), (202, vec!["nobody"]), "{body}");
    site.rules_at(2, &["nobody"]);
    let (class_told, text) = site.refused(at_2, 2);
    assert_eq!(class_told, "EServerResult.EDeniedByRule", "{text}");
    assert!(text.contains("nobody"), "{text}");
    assert!(site.crowd.is_seated(1), "a rule ends no session");
    site.picture(2, "who changed the rules", |picture| {
        picture["Rules"]["Node"] == "node0" && picture["Rules"]["User"] == "admin"
    });
    let (status, page) = site.cluster.node(2).rest().page("/rules").unwrap();
    assert_eq!(status, 200);
    assert!(page.contains("node0"), "{page}");

    // Made from rules that are no longer there, whether this node has heard of it or not.
    let rest = site.cluster.node(2).rest();
    let seen = rest.tag("/api/rules").unwrap();
    let (status, _) = site.put_rules(1, &json!({ "Rules": [] }));
    assert_eq!(status, 202);
    let late = rest.try_put_if("/api/rules", &denial("late"), &seen).unwrap();
    assert!([409, 412].contains(&late.status), "{late:?}");
    assert_eq!(class(&late.body), "EChangedMeanwhile");
    site.rules_at(2, &[]);
    site.rules_at(0, &[]);
    site.seated(at_2, 3);

    // A code is asked for at the node that was told nothing of it, and lies nowhere in plain text.
    let (status, body) = site.put_code(1, Some("plain-word"));
    assert_eq!(status, 202, "{body}");
    site.picture(2, "who changed the codes", |picture| picture["AccessCodes"]["Node"] == "node1");
    let (class_told, text) = site.refused(at_2, 4);
    assert_eq!(class_told, "EServerResult.ELicenceNotFound", "{text}");
    let kept = site.cluster.etcd().control(&["get", "--prefix", "/licence/"]).unwrap();
    assert!(kept.contains("/shared/access-codes") && !kept.contains("plain-word"), "{kept}");
    let kept = site.cluster.node(2).data().join("3.0/cluster-codes.json");
    assert!(!std::fs::read_to_string(kept).unwrap().contains("plain-word"));
    let (status, body) = site.put_code(2, None);
    assert_eq!(status, 202, "{body}");
    site.seated(at_2, 5);
}

#[test]
fn limit_is_one_for_all_nodes_and_goes_on_when_a_node_dies() {
    let mut site = Site::new();
    let users: Vec<usize> = (0..3).map(|node| site.users(node)).collect();
    let rules = json!({ "Rules": [{ "Name": "limited", "Effect": "limit", "Seats": 3 }] });
    let (status, body) = site.put_rules(0, &rules);
    assert_eq!(status, 202, "{body}");
    for node in 0..3 {
        site.rules_at(node, &["limited"]);
    }
    // One at each node, which is all that the limit allows.
    for (session, at) in (1..).zip(&users) {
        site.seated(*at, session);
    }
    for (session, at) in (11..).zip(&users) {
        let (class_told, text) = site.refused(*at, session);
        assert_eq!(class_told, "EServerResult.ELimitByRule", "{text}");
        assert!(text.contains("limited") && text.contains('3'), "{text}");
    }
    site.picture(1, "three parts of one limit", |picture| {
        let shares = picture["Quotas"][0]["Shares"].as_array().cloned().unwrap_or_default();
        let seats: u64 = shares.iter().filter_map(|share| share["Seats"].as_u64()).sum();
        picture["Quotas"][0]["Quota"] == "limit/limited" && shares.len() == 3 && seats == 3
    });
    // What one node does not need any more another one gives out.
    site.crowd.close(3).unwrap();
    site.seated(users[0], 4);
    let (class_told, text) = site.refused(users[2], 14);
    assert_eq!(class_told, "EServerResult.ELimitByRule", "{text}");

    // A node dies. Its session is not refused elsewhere by the limit that it counts under, and nobody
    // gets in instead of it.
    let movable = site.crowd.add(site.cluster.users(&site.stage, "movable", &[1, 0, 2]).unwrap());
    site.crowd.close(2).unwrap();
    site.seated(movable, 5);
    let place = site.cluster.node(1).place();
    assert!(site.crowd.is_seated_at(5, &place), "{:?}", site.crowd.last(5));
    site.cluster.node_mut(1).kill().unwrap();
    let seated_at = |crowd: &Crowd| crowd.is_seated(5) && !crowd.is_seated_at(5, &place);
    site.crowd.until(BOUND, "the session of the dead node elsewhere", seated_at).unwrap();
    for (session, at) in [(21, users[0]), (22, users[2])] {
        let (class_told, text) = site.refused(at, session);
        assert_eq!(class_told, "EServerResult.ELimitByRule", "{text}");
    }
}

#[test]
fn seats_are_reserved_of_all_nodes_together() {
    let mut site = Site::new();
    let users: Vec<usize> = (0..3).map(|node| site.users(node)).collect();
    let rules = json!({ "Rules": [
        { "Name": "kept", "Effect": "reserve", "Seats": 2, "Computer": "nobody-has-this-name" },
    ] });
    let (status, body) = site.put_rules(1, &rules);
    assert_eq!(status, 202, "{body}");
    for node in 0..3 {
        site.rules_at(node, &["kept"]);
    }
    for session in 1..=4 {
        site.seated(users[session as usize % 3], session);
    }
    for (session, at) in (11..).zip(&users) {
        let (class_told, text) = site.refused(*at, session);
        assert_eq!(class_told, "EServerResult.ENoFreeLicence", "{text}");
    }
    let (status, _) = site.put_rules(2, &json!({ "Rules": [] }));
    assert_eq!(status, 202);
    site.rules_at(0, &[]);
    site.seated(users[0], 5);
    site.seated(users[0], 6);
}

#[test]
fn of_two_nodes_that_change_the_rules_at_once_one_wins_and_the_other_hears_of_it() {
    let site = Site::new();
    let mut lost = 0;
    for round in 0..ROUNDS {
        let names = [0, 2].map(|node| format!("round {round} of node {node}"));
        let answers = std::thread::scope(|scope| {
            let put = |node: u8, name: &str| {
                let (rest, rules) = (site.cluster.node(node).rest(), denial(name));
                scope.spawn(move || rest.try_put("/api/rules", &rules).unwrap())
            };
            [put(0, &names[0]), put(2, &names[1])].map(|put| put.join().unwrap())
        });
        let won: Vec<usize> = (0..2).filter(|at| answers[*at].status == 202).collect();
        for answer in answers.iter().filter(|answer| answer.status != 202) {
            assert_eq!((answer.status, class(&answer.body)), (409, "EChangedMeanwhile"));
            lost += 1;
        }
        // Two that were not quite at once are one after the other.
        let last = names_of(&site.rules(0)).concat();
        assert!(won.iter().any(|at| names[*at] == last) || won.len() == 2, "{last}: {answers:?}");
        if let [at] = won[..] {
            for node in 0..LicenceCluster::NODES {
                site.rules_at(node, &[names[at].as_str()]);
            }
        }
    }
    assert!(lost > 0, "in no round two nodes changed the rules at once");
}

#[test]
fn without_etcd_nothing_is_changed_and_what_was_in_force_stays_so() {
    let mut site = Site::new();
    let at_2 = site.users(2);
    assert_eq!(site.put_rules(0, &denial("nobody")).0, 202);
    site.rules_at(2, &["nobody"]);

    for member in 0..LicenceCluster::MEMBERS {
        site.cluster.etcd().kill(member).unwrap();
    }
    site.picture(0, "node 0 isolated", |picture| picture["Standing"] == "isolated");
    let (status, body) = site.put_rules(0, &json!({ "Rules": [] }));
    assert_eq!((status, class(&body)), (503, "EClusterUnavailable"), "{body}");
    let (status, body) = site.put_code(0, Some("x7"));
    assert_eq!((status, class(&body)), (503, "EClusterUnavailable"), "{body}");
    assert_eq!(names_of(&site.rules(0)), ["nobody"]);

    site.cluster.node_mut(2).stop().unwrap();
    site.cluster.node_mut(2).restart(&site.stage).unwrap();
    assert_eq!(names_of(&site.rules(2)), ["nobody"]);
    let (class_told, text) = site.refused(at_2, 1);
    assert_eq!(class_told, "EServerResult.EDeniedByRule", "{text}");

    for member in 0..LicenceCluster::MEMBERS {
        site.cluster.etcd().start_member(member).unwrap();
    }
    for node in 0..LicenceCluster::NODES {
        site.cluster.wait_joined(node).unwrap();
    }
    let (status, body) = site.put_rules(0, &json!({ "Rules": [] }));
    assert_eq!(status, 202, "{body}");
    site.rules_at(2, &[]);
    site.seated(at_2, 2);

    // Somebody has written what cannot be read: the last good rules stay, the check says so, and the
    // next change puts it right.
    assert_eq!(site.put_rules(0, &denial("good")).0, 202);
    let id = site.cluster.picture(0).unwrap()["ID"].as_str().unwrap().to_owned();
    let key = format!("/licence/{id}/shared/rules");
    site.cluster.etcd().control(&["put", &key, "torso"]).unwrap();
    site.picture(1, "a damaged record", |picture| picture["Damaged"]["shared/rules"].is_string());
    assert_eq!(names_of(&site.rules(1)), ["good"]);
    let health = site.cluster.node(1).rest().get("/api/health").unwrap();
    let checks = health["Checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["Name"] == "cluster").unwrap();
    assert_eq!(check["Status"], "failed", "{check:#}");
    assert_eq!(site.put_rules(1, &denial("better")).0, 202);
    site.rules_at(2, &["better"]);
    site.picture(1, "no damaged record", |picture| picture["Damaged"] == json!({}));
}

#[test]
fn server_that_joins_takes_the_rules_of_the_cluster_and_keeps_its_own_beside() {
    let mut site = Site::new();
    assert_eq!(site.put_rules(0, &denial("of the cluster")).0, 202);
    site.rules_at(2, &["of the cluster"]);
    let id = site.cluster.picture(2).unwrap()["ID"].as_str().unwrap().to_owned();
    site.cluster.node_mut(2).stop().unwrap();
    let data = site.cluster.node(2).data().to_owned();
    let rules = data.join("3.0/licence.rules");
    site.cluster.command(&site.stage, 2, &["leave", "--now"]).unwrap();
    let own = denial("of its own").to_string();
    std::fs::write(&rules, &own).unwrap();
    let said = site.cluster.command(&site.stage, 2, &["join", &id]).unwrap();
    let kept = data.join("3.0/licence.rules.before-cluster");
    assert!(said.contains(&kept.display().to_string()), "{said}");
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), own);
    assert!(std::fs::read_to_string(&rules).unwrap().contains("of the cluster"));

    site.cluster.node_mut(2).restart(&site.stage).unwrap();
    site.cluster.wait_joined(2).unwrap();
    assert_eq!(names_of(&site.rules(2)), ["of the cluster"]);
    assert_eq!(names_of(&site.rules(0)), ["of the cluster"]);
}
