//! What is told of a cluster, when, how often and by whom: runs of what nodes see, second by second.

use std::sync::Arc;

use licence_core::cluster::ClusterId;
use licence_core::cluster::record::{Alive, Block, Member, Pool};
use licence_core::key::{KeyNo, KeySeries};
use licence_core::seal::SigningKey;

use super::*;

const START: u64 = 1_000_000;
const ISOLATED_AT: u64 = START + 6_000;

/// Ids are digests of keys: the three smallest by their order.
fn ids() -> [NodeId; 3] {
    let mut ids = [1, 2, 3].map(|seed| NodeId::of(&SigningKey::from_seed(&[seed; 32]).public()));
    ids.sort_unstable();
    ids
}

fn now(secs: u64) -> Now {
    let millis = START + secs * 1000;
    let utc = Utc::from_unix_millis(i64::try_from(millis).unwrap());
    Now { mono: MonoTime::from_millis(millis), utc }
}

fn at(millis: u64) -> Utc {
    Utc::from_unix_millis(i64::try_from(millis).unwrap())
}

/// What nodes see, by a word for each: `a`, `b`, `c` are living nodes, each with a block; `(b)` has
/// given it back, `[b]` is gone and its block waits for it, `{b}` is gone and its block is open yet.
fn contents(nodes: &str) -> Arc<Contents> {
    let (mut contents, mut pool) = (
        Contents::default(),
        Pool {
            series: KeySeries::from_u16(0x672B),
            seats: 50,
            blocks: BTreeMap::new(),
            wanting: BTreeMap::new(),
        },
    );
    contents.settings = Some(Settings::new(at(0)));
    for word in nodes.split_whitespace() {
        let name = word.trim_matches(|sign: char| !sign.is_alphabetic());
        let id = ids()["abc".find(name).unwrap()];
        let key = SigningKey::from_seed(&[1; 32]).public().jwk();
        let member = Member { name: name.into(), key, addresses: Vec::new(), joined: at(0) };
        contents.members.insert(id, member);
        let orphaned = word.starts_with(['(', '[']);
        pool.blocks.insert(id, Block { seats: 3, orphaned, full: false });
        if !word.starts_with(['[', '{']) {
            let (held, keys) = (BTreeMap::new(), BTreeMap::new());
            let alive = Alive { version: "1".into(), started: at(0), held, keys };
            contents.alive.insert(id, alive);
        }
    }
    contents.pools.insert(KeyNo(7), (pool, 1));
    Arc::new(contents)
}

fn state(me: usize, standing: Standing, nodes: &str) -> State {
    let problem = matches!(standing, Standing::Isolated { .. });
    State {
        cluster: ClusterId::from_bytes([1; 16]),
        me: ids()[me],
        standing,
        contents: contents(nodes),
        answered: None,
        renewal_millis: None,
        problem: problem.then(|| "no leader".to_owned()),
    }
}

fn standing(word: &str) -> Standing {
    match word {
        "joined" => Standing::Joined,
        "isolated" => Standing::Isolated { since: MonoTime::from_millis(ISOLATED_AT) },
        "starting" => Standing::Starting,
        "stopping" => Standing::Stopping,
        other => panic!("{other}"),
    }
}

/// A tiding in a word or two.
fn word(tiding: &Tiding) -> String {
    let name = |node: &NodeId| ["a", "b", "c"][ids().iter().position(|id| id == node).unwrap()];
    match tiding {
        Tiding::EtcdBack { .. } => "etcd back".to_owned(),
        Tiding::EtcdLost { .. } => "etcd lost".to_owned(),
        Tiding::NodeBack { node, .. } => format!("{} back", name(node)),
        Tiding::NodeLost { node, is_death: true, .. } => format!("{} lost", name(node)),
        Tiding::NodeLost { node, .. } => format!("{} not there", name(node)),
    }
}

/// Runs a node: from each second on it sees this. It looks at every change and when it wants to.
fn run(me: usize, steps: &[(u64, &str, &str)], until: u64) -> Vec<(u64, String)> {
    let mut matters = Matters::new(None);
    let mut told = Vec::new();
    for secs in 0..=until {
        let mut seen: Vec<_> = steps.iter().filter(|(at, ..)| *at == secs).collect();
        let is_due = matters.poll_timeout().is_some_and(|at| at <= now(secs).mono);
        if seen.is_empty() && is_due {
            seen.extend(steps.iter().rfind(|(at, ..)| *at < secs));
        }
        for (_, how, nodes) in seen {
            let tidings = matters.look(&state(me, standing(how), nodes), now(secs));
            told.extend(tidings.iter().map(|tiding| (secs, word(tiding))));
            let is_idle = matters.poll_timeout().is_none_or(|at| at > now(secs).mono);
            assert!(is_idle, "{secs}: what is due was not done");
        }
    }
    told
}

#[track_caller]
fn check(me: usize, steps: &[(u64, &str, &str)], wanted: &[(u64, &str)]) {
    let told = run(me, steps, 400);
    let told: Vec<(u64, &str)> = told.iter().map(|(at, word)| (*at, word.as_str())).collect();
    assert_eq!(told, wanted, "{steps:?}");
}

#[test]
fn etcd_that_is_away_for_long_is_told_once_and_that_it_is_back() {
    let lost = (10, "isolated", "a b");
    check(0, &[(0, "joined", "a b"), lost], &[(25, "etcd lost")]);
    check(0, &[(0, "joined", "a b"), lost, (24, "joined", "a b")], &[]);
    check(
        0,
        &[(0, "joined", "a b"), lost, (40, "joined", "a b")],
        &[(25, "etcd lost"), (100, "etcd back")],
    );
    // It comes and goes: one matter.
    let mut steps = vec![(0, "joined", "a b")];
    for at in [10, 50, 90, 130] {
        steps.extend([(at, "isolated", "a b"), (at + 20, "joined", "a b")]);
    }
    check(0, &steps, &[(25, "etcd lost"), (210, "etcd back")]);
    // A start without etcd, and one that is merely slow.
    check(0, &[(0, "starting", "")], &[(15, "etcd lost")]);
    check(0, &[(0, "starting", ""), (9, "joined", "a b")], &[]);
    // Who stops tells nothing more.
    check(0, &[(0, "joined", "a b"), lost, (20, "stopping", "a b")], &[]);
}

#[test]
fn node_that_dies_is_told_by_the_smallest_that_lives() {
    let steps = [(0, "joined", "a b c"), (10, "joined", "a b {c}"), (11, "joined", "a b [c]")];
    check(0, &steps, &[(25, "c lost")]);
    check(1, &steps, &[]);
    // The smallest has died: the next one tells.
    let steps = [(0, "joined", "a b c"), (10, "joined", "{a} b c"), (100, "joined", "a b c")];
    check(1, &steps, &[(25, "a lost"), (160, "a back")]);
    check(2, &steps, &[]);
    // It does not tell its own return.
    check(0, &[(0, "starting", ""), (5, "joined", "a b c")], &[]);
    // Two at once: who tells now has been gone itself and knows of no loss.
    let steps = [(0, "joined", "a b c"), (10, "joined", "{a} b {c}"), (100, "joined", "a b c")];
    check(1, &steps, &[(25, "a lost"), (25, "c lost"), (160, "a back"), (160, "c back")]);
    check(
        0,
        &[(0, "starting", ""), (100, "joined", "a b c")],
        &[(15, "etcd lost"), (160, "etcd back")],
    );
    // One alone.
    check(0, &[(0, "joined", "a b"), (10, "joined", "a {b}")], &[(25, "b lost")]);
}

#[test]
fn node_that_is_back_soon_or_again_and_again_is_one_matter_or_none() {
    check(0, &[(0, "joined", "a b"), (10, "joined", "a {b}"), (24, "joined", "a b")], &[]);
    let mut steps = vec![(0, "joined", "a b")];
    for at in [10, 50, 90, 130] {
        steps.extend([(at, "joined", "a {b}"), (at + 20, "joined", "a b")]);
    }
    check(0, &steps, &[(25, "b lost"), (210, "b back")]);
    // It has left meanwhile, or was forgotten.
    check(0, &[(0, "joined", "a b"), (10, "joined", "a {b}"), (12, "joined", "a")], &[]);
    check(
        0,
        &[(0, "joined", "a b"), (10, "joined", "a {b}"), (60, "joined", "a")],
        &[(25, "b lost")],
    );
}

#[test]
fn node_that_stops_by_command_is_not_told() {
    for (steps, wanted) in [
        // It gives back and goes.
        (vec![(10, "joined", "a (b)"), (11, "joined", "a [b]")], vec![]),
        (vec![(10, "joined", "a (b)"), (10, "joined", "a [b]"), (90, "joined", "a b")], vec![]),
        // What it had to give back was given back long ago: it has died.
        (vec![(10, "joined", "a (b)"), (14, "joined", "a [b]")], vec![(29, "b lost")]),
        // When in doubt it has died.
        (vec![(10, "joined", "a [b]")], vec![(25, "b lost")]),
        // It has entered and not yet its block, and dies.
        (
            vec![(10, "joined", "a {b}"), (12, "joined", "a (b)"), (13, "joined", "a [b]")],
            vec![(28, "b not there")],
        ),
    ] {
        let steps = [vec![(0, "joined", "a b")], steps].concat();
        check(0, &steps, &wanted);
    }
    // This node starts while another is down: nobody knows why it is.
    check(0, &[(0, "starting", ""), (2, "joined", "a [b]")], &[(17, "b not there")]);
}

#[test]
fn death_is_told_though_the_one_that_tells_dies_as_well() {
    // Before it is due, and right after: it may not have come to it.
    let dies =
        |at| [(0, "joined", "a b c"), (10, "joined", "a b {c}"), (at, "joined", "{a} b {c}")];
    check(1, &dies(20), &[(25, "c lost"), (35, "a lost")]);
    check(1, &dies(30), &[(30, "c lost"), (45, "a lost")]);
    check(1, &dies(60), &[(75, "a lost")]);
}

#[test]
fn what_others_see_is_left_to_them_while_this_node_is_cut_off() {
    // Its own view of the others is old.
    let steps = [
        (0, "joined", "a b c"),
        (10, "joined", "a b {c}"),
        (12, "isolated", "a b {c}"),
        (60, "joined", "a b c"),
    ];
    check(0, &steps, &[(27, "etcd lost"), (120, "etcd back")]);
    // The other was told before, and came back meanwhile.
    let steps = [
        (0, "joined", "a b c"),
        (10, "joined", "a b {c}"),
        (40, "isolated", "a b {c}"),
        (50, "joined", "a b c"),
    ];
    check(0, &steps, &[(25, "c lost"), (110, "c back")]);
    // What was to be told is due while it is cut off.
    let steps = [
        (0, "joined", "a b c"),
        (10, "joined", "a b {c}"),
        (30, "joined", "a b c"),
        (80, "isolated", "a b c"),
        (92, "isolated", "a b c"),
        (94, "joined", "a b c"),
    ];
    check(0, &steps, &[(25, "c lost"), (94, "c back")]);
    // Of two nodes nobody else has seen it.
    let steps = [
        (0, "joined", "a b"),
        (10, "joined", "a {b}"),
        (40, "isolated", "a {b}"),
        (50, "joined", "a b"),
    ];
    check(0, &steps, &[(25, "b lost"), (110, "b back")]);
}

#[test]
fn moments_are_those_of_the_loss_and_the_promise() {
    let mut matters = Matters::new(None);
    let isolated = standing("isolated");
    assert_eq!(matters.look(&state(0, isolated, "a b"), now(10)), []);
    assert_eq!(
        matters.look(&state(0, isolated, "a b"), now(25)),
        [Tiding::EtcdLost {
            since: at(ISOLATED_AT),
            hold_until: Some(at(ISOLATED_AT + 3_600_000)),
            problem: Some("no leader".to_owned()),
        }]
    );
    assert_eq!(matters.look(&state(0, Standing::Joined, "a b"), now(30)), []);
    let (lost, back) = (at(ISOLATED_AT), now(30).utc);
    assert_eq!(
        matters.look(&state(0, Standing::Joined, "a b"), now(90)),
        [Tiding::EtcdBack { lost, back }]
    );
    // A promise that is over when it would be told is none.
    let mut brief = state(0, isolated, "a b");
    let mut settings = Settings::new(at(0));
    settings.isolation_secs = 0;
    Arc::get_mut(&mut brief.contents).unwrap().settings = Some(settings);
    let mut matters = Matters::new(None);
    assert_eq!(matters.look(&brief, now(10)), []);
    let told = matters.look(&brief, now(25));
    assert!(matches!(told[..], [Tiding::EtcdLost { hold_until: None, .. }]), "{told:?}");
    // A start without etcd: what was promised before, as long as it lasts.
    for (remembered, wanted) in [(None, None), (Some(600), Some(600)), (Some(12), None)] {
        let mut matters = Matters::new(remembered.map(|secs| now(secs).mono));
        let starting = state(0, Standing::Starting, "");
        assert_eq!(matters.look(&starting, now(0)), []);
        let told = matters.look(&starting, now(15));
        let hold_until = wanted.map(|secs| now(secs).utc);
        assert_eq!(
            told,
            [Tiding::EtcdLost { since: now(0).utc, hold_until, problem: None }],
            "{remembered:?}"
        );
    }
}
