//! A seeded simulation of a cluster: several nodes over a model of etcd, in a world in which calls
//! are lost, late or repeated, processes are killed, frozen and stopped, clocks drift, links are cut
//! and etcd is away; people revoke sessions, forget nodes that are dead, give keys other seats and write
//! nonsense into etcd.
//!
//! After every step a counter that sees nothing but the leases of components: never more sessions
//! with a valid lease than the key has seats, and no session is refused by a node of the cluster
//! while its lease is valid, unless people have taken its seat, its key has shrunk or its pool was
//! damaged. In etcd the blocks never add up to more than the key has. After everything works again,
//! every seat can be had at every node.
//!
//! `LICENCE_CLUSTER_SEED=n` replays one seed and tells what happens; `LICENCE_CLUSTER_SEEDS=n` sets
//! how many are tried.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test: what is told is for whoever replays a seed, and a failed conversion is a failure"
)]

#[path = "../simulation/draw.rs"]
mod draw;
mod etcd;
mod plan;
mod seats;
mod world;

use std::collections::BTreeMap;

use world::World;

/// How long things go wrong, in milliseconds: long enough for a dead node's block to be reclaimed.
const TROUBLE_MILLIS: u64 = 105_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn seats_are_never_counted_twice_and_nobody_is_thrown_out() {
    let replay = number("LICENCE_CLUSTER_SEED");
    let seeds = match replay {
        Some(seed) => seed..seed + 1,
        None => 0..number("LICENCE_CLUSTER_SEEDS").unwrap_or(300),
    };
    let is_sweep = seeds.end - seeds.start >= 100;
    let mut counts: BTreeMap<&'static str, u32> = BTreeMap::new();
    for seed in seeds {
        let mut world = World::new(seed, replay.is_some());
        world.run_until(TROUBLE_MILLIS);
        world.heal();
        world.run_until(TROUBLE_MILLIS + 25_000);
        assert!(world.all_joined(), "LICENCE_CLUSTER_SEED={seed}: not all nodes are back");
        world.every_seat_can_be_had();
        for (what, count) in world.counts {
            *counts.entry(what).or_default() += count;
        }
    }
    if is_sweep {
        println!("{counts:?}");
    }
    // A simulation in which something never happens proves nothing about it.
    for what in [
        "all ended",
        "answer lost",
        "answer twice",
        "call without an answer",
        "claim",
        "claim behind",
        "claim moved",
        "component dies",
        "cut",
        "damage",
        "damage told",
        "elect",
        "etcd down",
        "forgotten",
        "goes elsewhere",
        "gone",
        "grant lost",
        "heartbeat",
        "isolated",
        "kept",
        "key has grown",
        "key has shrunk",
        "kill",
        "lease over",
        "mended",
        "no seats",
        "open",
        "pause",
        "release",
        "request late",
        "revoked",
        "stopped",
        "taken away",
        "waited for a seat",
        "watch lost",
    ] {
        assert!(!is_sweep || counts.get(what).copied().unwrap_or(0) > 100, "{what}: {counts:?}");
    }
}
