//! The plan of `docs/cluster-plan.md`, run: a day of a large cluster on one key, in virtual time, by the
//! very code that nodes run. Sessions open, come and go; a node dies and its sessions move; it comes
//! back, or its block becomes everybody's.
//!
//! It counts what etcd has to write and how long people wait. Whether seats are counted once under
//! faults is for the seeded simulation beside it.
//!
//! `LICENCE_CLUSTER_PLAN=1000000 cargo test --release -p licence-core --test cluster plan_holds -- --include-ignored
//! --nocapture` runs all courses with that many sessions and prints the figures.

mod figures;
mod site;

use site::{Course, SECOND, Site};

use crate::number;

/// Nodes of the plan.
const NODES: u16 = 30;

/// Sessions of a run that is part of all tests: 300 move.
const SESSIONS: u32 = 9_000;

/// How long people take to come in the morning.
const MORNING: u64 = 15 * 60 * SECOND;

/// How long the day is looked at.
const DAY: u64 = 2 * 60 * SECOND;

/// Of a thousand sessions so many end, and begin, within a minute of the day.
const CHURN_PER_MILLE: u32 = 10;

/// Bound of whatever shall come about while all is well.
const BOUND: u64 = 300 * SECOND;

/// A heartbeat until the last process knows, and some more for those that were put off; a session lives
/// on its lease for 1,000 s.
const MOVED_WITHIN: u64 = 60 * SECOND;

/// Longer than a dead node's block waits for it: isolation, a session's life and the margin.
const RECLAIM: u64 = (3600 + 1000 + 60 + 120) * SECOND;

#[derive(Clone, Copy, Eq, PartialEq)]
enum Ending {
    /// It comes back after five minutes.
    Returns,
    /// Never.
    StaysAway,
}

/// One hall: computers a quarter of a millisecond apart, disks that sync within some milliseconds.
fn hall(name: &'static str, spare_per_mille: u64) -> Course {
    let whole = number("LICENCE_CLUSTER_PLAN").map(|sessions| u32::try_from(sessions).unwrap());
    let sessions = whole.unwrap_or(SESSIONS);
    let spare = u64::from(sessions) * spare_per_mille / 1000;
    let seats = sessions + u32::try_from(spare).unwrap();
    Course { name, nodes: NODES, sessions, seats, link: 250, commit: (1_000, 4_000), process: 100 }
}

#[test]
fn plan_holds_when_a_node_of_thirty_dies_for_good() {
    run(hall("one hall, 5 % of the seats to spare", 50), Ending::StaysAway);
}

#[test]
fn plan_holds_with_hardly_a_seat_to_spare() {
    run(hall("one hall, 0.2 % of the seats to spare", 2), Ending::Returns);
}

#[test]
#[ignore = "the same on another etcd: for the figures of the plan"]
fn plan_holds_on_slow_disks() {
    let hall = hall("slow disks", 50);
    run(Course { commit: (10_000, 30_000), ..hall }, Ending::Returns);
}

#[test]
#[ignore = "the same over another network: for the figures of the plan"]
fn plan_holds_between_sites() {
    let hall = hall("sites ten milliseconds apart", 50);
    run(Course { link: 5_000, commit: (11_000, 15_000), ..hall }, Ending::Returns);
}

fn run(course: Course, ending: Ending) {
    // Courses run beside each other.
    let note = |line: &str| println!("{}: {line}", course.name);
    note(&format!("{course:?}"));
    let mut site = Site::new(course);
    let each = course.sessions / u32::from(course.nodes);

    let begin = site.t;
    assert!(site.run_until(begin + BOUND, Site::all_joined), "not all nodes have joined");
    note(&site.tally.told("start", site.t - begin));

    let begin = site.t;
    site.flow(true, each, MORNING);
    assert!(site.run_until(begin + 2 * MORNING, |site| !site.is_flowing()), "the morning goes on");
    site.run_for(10 * SECOND);
    let morning = site.t - begin;
    note(&site.tally.told("morning", morning));
    note(&site.blocks().to_string());

    let begin = site.t;
    let churn =
        u32::try_from(u64::from(each * CHURN_PER_MILLE / 1000) * DAY / (60 * SECOND)).unwrap();
    site.flow(true, churn, DAY);
    site.flow(false, churn, DAY);
    assert!(site.run_until(begin + 2 * DAY, |site| !site.is_flowing()), "the day goes on");
    site.run_for(10 * SECOND);
    note(&site.tally.told("day", site.t - begin));
    note(&site.blocks().to_string());

    let begin = site.t;
    site.flow(true, churn, DAY);
    site.flow(false, churn, DAY);
    site.kill(0);
    assert!(site.run_until(begin + BOUND, Site::all_moved), "{}", site.moved.told());
    assert!(site.run_until(begin + BOUND, Site::all_drawn), "{} seats", site.orphaned_seats());
    note(&site.moved.told());
    note(&site.tally.told("moving", site.t - begin));
    note(&format!("all drawn after {:.1} s; {}", seconds(site.t - begin), site.blocks()));
    let begin = site.t;
    site.run_for(300 * SECOND);
    note(&site.tally.told("after", site.t - begin));
    note(&format!("{}; {} claims", site.blocks(), site.claims()));
    note(&format!("newcomers refused so far: {}", site.refused));
    assert!(course.sessions > SESSIONS || site.refused == 0, "newcomers were refused");
    let last = site.moved.last();
    assert!(last < MOVED_WITHIN, "the last one had its seat after {} s", seconds(last));

    let begin = site.t;
    if ending == Ending::Returns {
        site.restart(0);
        assert!(site.run_until(begin + BOUND, Site::is_back), "it has not come back");
        note(&site.tally.told("return", site.t - begin));
        site.run_for(60 * SECOND);
        note(&format!("{}; {} claims", site.blocks(), site.claims()));
    }
    let begin = site.t;
    let are_gone = |site: &Site| site.claims() == 0;
    assert!(site.run_until(begin + RECLAIM, are_gone), "{} claims are left", site.claims());
    note(&site.tally.told("forgotten", site.t - begin));
    note(&site.blocks().to_string());
    assert!(!site.is_orphaned(), "the block waits for its node for ever");
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / SECOND as f64
}
