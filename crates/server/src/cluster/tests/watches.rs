//! A watch while its endpoint is cut off, falls silent, dies or loses its leader: every change is told
//! once and in order, or it is said that something may be missing.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use licence_core::cluster::Change;
use turmoil::Sim;

use super::*;
use crate::cluster::etcd::Watched;

const NODE: &str = "node";
const WRITER: &str = "writer";

/// What befalls the endpoint of a watch: done to it, and undone.
#[derive(Clone, Copy, Debug)]
enum Fault {
    CutOff,
    Dead,
    Deaf,
    Leaderless,
    Mute,
    Silent,
}

const FAULTS: [Fault; 6] =
    [Fault::CutOff, Fault::Dead, Fault::Deaf, Fault::Leaderless, Fault::Mute, Fault::Silent];

impl Fault {
    fn befall(self, sim: &mut Sim<'_>, members: &Members, me: usize) {
        let host = member(me);
        match self {
            Self::CutOff => sim.partition(NODE, host),
            Self::Dead => sim.crash(host),
            Self::Deaf => sim.partition_oneway(NODE, host),
            Self::Leaderless => drop(members.with(|shared| shared.leaderless.insert(me))),
            Self::Mute => sim.partition_oneway(host, NODE),
            Self::Silent => sim.hold(NODE, host),
        }
    }

    fn end(self, sim: &mut Sim<'_>, members: &Members, me: usize) {
        let host = member(me);
        match self {
            Self::Dead => sim.bounce(host),
            Self::Leaderless => drop(members.with(|shared| shared.leaderless.remove(&me))),
            Self::CutOff | Self::Deaf | Self::Mute | Self::Silent => sim.release(NODE, host),
        }
    }
}

/// Until a watch goes on elsewhere: a second until it is asked how its endpoint is, the bound of that
/// question, and as much for an endpoint on the way that does not answer either.
const GOES_ON_WITHIN: Duration = Duration::from_secs(6);

/// Steps until this is so, at most so long.
fn step_until(sim: &mut Sim<'_>, bound: Duration, what: &str, is_so: impl Fn() -> bool) {
    let end = sim.elapsed() + bound;
    while !is_so() {
        assert!(sim.elapsed() <= end, "{what} not within {bound:?}");
        sim.step().unwrap();
    }
}

fn step_for(sim: &mut Sim<'_>, time: Duration) {
    let end = sim.elapsed() + time;
    while sim.elapsed() < end {
        sim.step().unwrap();
    }
}

#[test]
fn changes_are_told_once_and_in_order_whatever_befalls_the_endpoint() {
    for (seed, fault) in (0..).zip(FAULTS) {
        let members = Members::new();
        let mut sim = sim(seed, 600, &members);
        let told: Rc<RefCell<Vec<Change>>> = Rc::default();
        let hears = Rc::clone(&told);
        sim.client(NODE, async move {
            let mut watch = client().watch("", 0);
            loop {
                match watch.next().await {
                    Watched::Changes { changes, .. } => hears.borrow_mut().extend(changes),
                    ended @ (Watched::Compacted | Watched::Lost) => panic!("{fault:?}: {ended:?}"),
                }
            }
        });
        sim.client(WRITER, async {
            let etcd = client();
            for number in 0_u32.. {
                let key = format!("key-{}", number % 7);
                // Its own fortunes do not matter.
                drop(etcd.txn(&put(&key, &number.to_string())).await);
                pass(Duration::from_millis(70)).await;
            }
            Ok(())
        });
        let is_all_told = |sim: &mut Sim<'_>| {
            let wanted = members.with(|shared| shared.history.len());
            assert!(wanted > 0);
            let what = format!("{fault:?}: changes are told");
            step_until(sim, GOES_ON_WITHIN, &what, || told.borrow().len() >= wanted);
        };
        step_for(&mut sim, Duration::from_secs(1));
        is_all_told(&mut sim);
        // The watch moves on each time, so each member is the one that it is at.
        for me in [0, 1, 2, 0] {
            fault.befall(&mut sim, &members, me);
            step_for(&mut sim, Duration::from_secs(2));
            is_all_told(&mut sim);
            fault.end(&mut sim, &members, me);
            step_for(&mut sim, Duration::from_secs(2));
            is_all_told(&mut sim);
        }
        let told = told.borrow();
        members.with(|shared| {
            let was: Vec<(String, i64)> = shared
                .history
                .iter()
                .map(|change| {
                    let key = change.key().strip_prefix("/licence/test/").unwrap();
                    (key.to_owned(), change.revision())
                })
                .take(told.len())
                .collect();
            let is: Vec<(String, i64)> =
                told.iter().map(|change| (change.key().to_owned(), change.revision())).collect();
            assert_eq!(is, was, "{fault:?}");
        });
    }
}

#[test]
fn watch_that_missed_what_is_no_longer_kept_says_so() {
    let members = Members::new();
    let seen = members.clone();
    let mut sim = sim(1, 60, &members);
    sim.client(NODE, async move {
        let etcd = client();
        let mut watch = etcd.watch("", 0);
        etcd.txn(&put("a", "1")).await?;
        assert!(matches!(watch.next().await, Watched::Changes { revision: 1, .. }));
        turmoil::partition(NODE, member(0));
        seen.with(|shared| {
            shared.store.put("/licence/test/b", b"1".to_vec());
            shared.store.put("/licence/test/c", b"1".to_vec());
            shared.compact();
        });
        let (told, took) = timed(watch.next()).await;
        assert_eq!(told, Watched::Compacted);
        assert!(took <= GOES_ON_WITHIN, "{took:?}");
        assert_eq!(watch.next().await, Watched::Lost);
        Ok(())
    });
    sim.run().unwrap();
}

#[test]
fn watch_that_nobody_carries_on_says_so_within_the_bounds_of_its_questions() {
    for is_held in [false, true] {
        let members = Members::new();
        let mut sim = sim(2, 60, &members);
        sim.client(NODE, async move {
            let etcd = client();
            let mut watch = etcd.watch("", 0);
            etcd.txn(&put("a", "1")).await?;
            assert!(matches!(watch.next().await, Watched::Changes { revision: 1, .. }));
            for host in (0..MEMBERS).map(member) {
                if is_held { turmoil::hold(NODE, host) } else { turmoil::partition(NODE, host) }
            }
            let (told, took) = timed(watch.next()).await;
            assert_eq!(told, Watched::Lost);
            // The question how it is, then each endpoint for the bound of a call; refusals come at once.
            let rounds = if is_held { 2 + MEMBERS as u32 } else { 1 };
            let pauses = Duration::from_millis(1200);
            assert!(took <= pauses + rounds * TIMEOUT_DEFAULT + SOON, "{took:?}");
            Ok(())
        });
        sim.run().unwrap();
    }
}
