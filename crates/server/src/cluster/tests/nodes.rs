//! Whole nodes in seeded weather: seats are never given out twice, whoever is cut off stops before
//! others may take what it had, and after the weather every seat can be had at every node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use licence_core::cluster::Standing;
use licence_core::cluster::record::{Pool, Settings};
use licence_core::time::Utc;

use super::servers::{CLUSTER, Hall, KEY, Mood, SEATS, furnish, serve};
use super::weather::Weather;
use super::*;

const NODES: &[&str] = &["node-0", "node-1", "node-2"];

/// How long the weather is bad: some isolations with what follows them.
const TROUBLE: Duration = Duration::from_secs(60);

/// Until every node is joined again: a call that hangs to its bound, a lease that must end first, the
/// load and the first transaction.
const JOINED_WITHIN: Duration = Duration::from_secs(20);

/// Until one node has all seats: others keep what became free for five seconds, and are asked.
const ALL_SEATS_WITHIN: Duration = Duration::from_secs(40);

/// How often a server is killed and started again, each in the dark for a while.
const KILL_EVERY: Duration = Duration::from_secs(25);

fn weather_of(seed: u64, counts: &mut BTreeMap<&'static str, u32>) {
    let folder = tempfile::tempdir().unwrap();
    let members = Members::new();
    let settings = Settings::new(Utc::from_unix_millis(0)).write();
    members.with(|shared| shared.store.put(&format!("{}settings", CLUSTER.prefix()), settings));
    let hall = Hall::new();
    let mut sim = sim(seed, 600, &members);
    for (me, name) in NODES.iter().enumerate() {
        let (members, hall) = (members.clone(), Arc::clone(&hall));
        let folder = folder.path().join(name);
        furnish(&folder, me);
        sim.host(*name, move || serve(me, folder.clone(), members.clone(), Arc::clone(&hall)));
    }
    let mut seen = 0;
    let mut step = |sim: &mut Sim<'_>| {
        sim.step().unwrap();
        let held = hall.lock().unwrap().seats.len();
        assert!(held <= SEATS, "LICENCE_STORM_SEED={seed}: {held} seats");
        members.with(|shared| {
            assert_eq!(shared.broken, [""; 0], "LICENCE_STORM_SEED={seed}");
            let pool = format!("{}pools/{KEY}", CLUSTER.prefix());
            if std::mem::replace(&mut seen, shared.store.revision) != seen
                && let Some(entry) = shared.store.get(&pool)
            {
                let pool = Pool::read(&entry.value).unwrap();
                assert!(pool.allocated() <= SEATS as u64, "LICENCE_STORM_SEED={seed}: {pool:?}");
            }
        });
    };
    let mut weather = Weather::new(seed, NODES);
    let mut kill_at = KILL_EVERY;
    while sim.elapsed() < TROUBLE {
        weather.blow(&mut sim, &members);
        if sim.elapsed() >= kill_at {
            kill_at += KILL_EVERY;
            let victim = NODES[(seed as usize + kill_at.as_secs() as usize) % NODES.len()];
            sim.crash(victim);
            for _ in 0..3000 {
                step(&mut sim);
            }
            sim.bounce(victim);
        }
        step(&mut sim);
    }
    weather.clear(&mut sim, &members);
    let mut until =
        |sim: &mut Sim<'_>, bound: Duration, what: &str, is_so: &dyn Fn(&Hall) -> bool| {
            let end = sim.elapsed() + bound;
            while !is_so(&hall.lock().unwrap()) {
                let state = || {
                    let hall = hall.lock().unwrap();
                    format!("{:?} {:?}", hall.standings, hall.seats)
                };
                assert!(sim.elapsed() < end, "LICENCE_STORM_SEED={seed}: {what}: {}", state());
                step(sim);
            }
        };
    until(&mut sim, JOINED_WITHIN, "all are joined", &|hall| {
        hall.standings.values().all(|standing| *standing == Standing::Joined)
    });
    for me in 0..NODES.len() {
        hall.lock().unwrap().mood = Mood::Leaving;
        until(&mut sim, ALL_SEATS_WITHIN, "all leave", &|hall| hall.seats.is_empty());
        hall.lock().unwrap().mood = Mood::AllAt(me);
        until(&mut sim, ALL_SEATS_WITHIN, "all come", &|hall| hall.seats.len() == SEATS);
    }
    for (what, count) in weather.counts.iter().chain(&hall.lock().unwrap().counts) {
        *counts.entry(what).or_default() += count;
    }
}

#[test]
fn seats_are_never_given_out_twice_and_all_come_back_after_any_weather() {
    let mut counts = BTreeMap::new();
    let seeds = seeds(2);
    let is_sweep = seeds.end - seeds.start >= 2;
    for seed in seeds {
        weather_of(seed, &mut counts);
    }
    println!("{counts:?}");
    for what in ["node is cut off", "refused", "refused while cut off", "seat"] {
        assert!(!is_sweep || counts.contains_key(what), "never happened: {what}: {counts:?}");
    }
}
