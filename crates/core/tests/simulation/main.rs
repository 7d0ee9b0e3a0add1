//! A seeded simulation of the whole core against an independent model.
//!
//! Random connects, heartbeats, opens, touches, closes, revocations, restarts, clock jumps, key
//! arrivals and removals, rules and settings that change, books that are lost, a cluster that says how
//! many seats there are and takes sessions away or brings them. After every step: never more seats held
//! than granted or than the limit of a key says, every lease has one holder, replaying the journal gives the
//! same state, and the model, which knows nothing of the service's code, agrees on who is in and who
//! was refused.
//!
//! `LICENCE_SIM_SEED=n` replays one seed; `LICENCE_SIM_SEEDS=n` sets how many are tried.

mod draw;
mod model;
mod node;
mod world;

use std::collections::BTreeMap;

use world::World;

const STEPS: u32 = 400;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn service_agrees_with_the_model_over_random_lives() {
    let seeds = match number("LICENCE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("LICENCE_SIM_SEEDS").unwrap_or(320),
    };
    let is_sweep = seeds.end - seeds.start >= 64;
    let mut counts: BTreeMap<&'static str, u32> = BTreeMap::new();
    for seed in seeds {
        let mut world = World::new(seed);
        for step in 0..STEPS {
            world.step = step;
            world.step();
        }
        for (what, count) in world.counts {
            *counts.entry(what).or_default() += count;
        }
    }
    // A simulation in which something never happens proves nothing about it.
    for what in [
        "connect",
        "granted",
        "granted to a lease",
        "full",
        "no key",
        "denied",
        "limited",
        "reserved",
        "wrong code",
        "told to wait",
        "books lost",
        "rules change",
        "configure",
        "dry run",
        "dry run that refuses",
        "heartbeat",
        "touch",
        "close",
        "disconnect",
        "key arrives",
        "key goes",
        "restart",
        "calendar jump",
        "clock doubted",
        "pass",
        "limit",
        "limit by force",
        "right to grant",
        "taken away",
        "expected",
        "goodbye",
        "isolated",
        "not renewed in isolation",
        "waits for the cluster",
        "brings its seat",
        "settling",
        "cluster unavailable",
        "goes on from another node",
    ] {
        assert!(!is_sweep || counts.get(what).copied().unwrap_or(0) > 100, "{what}: {counts:?}");
    }
}
