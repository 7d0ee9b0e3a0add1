//! The network side of a cluster in a simulation: members of a played etcd and nodes of ours on hosts of
//! one simulated network, which delays, holds and loses what is sent, and on which hosts die.
//!
//! Time is that of the simulation for everything: timers, the clock of the crate, leases. Only what
//! the operating system does with a connection is left out: what a link loses, nobody sends again, as
//! after a firewall that has forgotten the connection.
//!
//! `LICENCE_STORM_SEED=n` repeats the draws of one seed, `LICENCE_STORM_SEEDS=n` sets how many are tried. A
//! seed repeats what befalls the network and when, not the order in which one task looks at what is
//! ready at the same moment.

#[path = "../../../core/tests/simulation/draw.rs"]
#[expect(dead_code, reason = "the simulation of the core uses more of it")]
mod draw;
#[path = "../../../core/tests/cluster/etcd.rs"]
#[expect(dead_code, reason = "the simulation of the core uses more of it")]
mod etcd;

mod calls;
mod gateway;
mod nodes;
mod servers;
mod storms;
mod watches;
mod weather;

use std::io;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use licence_core::cluster::{Op, Txn};
use turmoil::{Builder, Sim};

use self::gateway::{Members, PORT, member};
use super::etcd::dial::{Dialled, Stream};
use super::etcd::{Etcd, EtcdConfig, TIMEOUT_DEFAULT};
use crate::clock;

/// As many members as hosts of etcd.
const MEMBERS: usize = 3;

/// What a message takes at least and at most, one way.
const LATENCY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(15));

/// A question with its answer over a connection that must be opened and verified first: three times
/// there and back, with a tick for each way.
const SOON: Duration = Duration::from_millis(120);

/// A simulation of a network with all members of etcd on it.
fn sim(seed: u64, seconds: u64, members: &Members) -> Sim<'static> {
    let mut sim = Builder::new()
        .rng_seed(seed)
        .epoch(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000))
        .simulation_duration(Duration::from_secs(seconds))
        .min_message_latency(LATENCY.0)
        .max_message_latency(LATENCY.1)
        .tcp_capacity(1024)
        .build();
    for me in 0..MEMBERS {
        let members = members.clone();
        sim.host(member(me), move || members.clone().serve(me));
    }
    sim
}

/// Over the simulated network.
fn dial(host: &str, port: u16) -> Dialled<'_> {
    Box::pin(async move {
        let stream = turmoil::net::TcpStream::connect((host, port)).await?;
        Ok::<Box<dyn Stream>, io::Error>(Box::new(stream))
    })
}

/// A client of all members, as a node has it.
fn client() -> Etcd {
    client_below("/licence/test/")
}

fn client_below(root: &str) -> Etcd {
    let endpoint = |me| format!("http://{}:{PORT}", member(me)).parse().unwrap();
    let config = EtcdConfig {
        endpoints: (0..MEMBERS).map(endpoint).collect(),
        ca: None,
        certificate: None,
        key: None,
        user: None,
        password: None,
        timeout: TIMEOUT_DEFAULT,
    };
    Etcd::over(dial, &config, root).unwrap()
}

fn put(key: &str, value: &str) -> Txn {
    let put = Op::Put { key: key.to_owned(), value: value.as_bytes().to_vec(), lease: None };
    Txn { compare: Vec::new(), then: vec![put] }
}

/// How long something takes, by the simulation's clock.
async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let begun = turmoil::sim_elapsed().unwrap();
    let done = work.await;
    (done, turmoil::sim_elapsed().unwrap() - begun)
}

/// Lets time pass on this host.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// The clock of the hosts, as whoever steps the simulation sees it.
fn now_millis(sim: &Sim<'_>) -> u64 {
    clock::SIMULATED_FIRST_MILLIS + u64::try_from(sim.elapsed().as_millis()).unwrap()
}

/// The seeds of a run.
fn seeds(count: u64) -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("LICENCE_STORM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("LICENCE_STORM_SEEDS").unwrap_or(count),
    }
}
