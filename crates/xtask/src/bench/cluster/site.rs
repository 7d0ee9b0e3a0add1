//! What plays in a run and how it is loaded: a vendor, an etcd, three servers without it, a cluster of one
//! and a cluster of three, on this computer.
//!
//! Those that are not loaded are idle meanwhile: a renewal in 1.7 s each, and etcd's own heartbeats.

use std::time::Duration;

use licence_core::key::KeySeries;

use super::report::{Row, Setup};
use crate::bench::channel::any_certificate;
use crate::bench::course::{Asked, PREPARE_BOUND, ended, late_bound, start_load};
use crate::bench::histogram::Histogram;
use crate::bench::load::{Kind, LoadArgs, LoadResult, Worker};
use crate::bench::report::Figure;
use crate::bench::{proc, told};
use crate::clock;
use crate::stage::{LocalCluster, LocalEtcd, Order, SERIES, Server, Stage, StageError, Vendor};

/// Seats of each key: far more than any load holds at once, so that blocks have room.
const SEATS: u32 = 2_000;

/// Nodes of the larger cluster.
const NODES: usize = 3;

/// Connections that come to a node at once in its first moment; its margin then has two seats.
const BURST: u32 = 16;

/// Everything that plays.
pub(super) struct Site {
    stage: Stage,
    seconds: u32,
    // Before what they speak to.
    /// Without etcd, each with a key of its own.
    apart: Vec<Server>,
    only: LocalCluster,
    three: LocalCluster,
    etcd: LocalEtcd,
    _vendor: Vendor,
}

impl Site {
    pub(super) fn start(seconds: u32) -> Result<Self, StageError> {
        let stage = Stage::temporary()?;
        let vendor = Vendor::start(&stage)?;
        let etcd = LocalEtcd::start(&stage)?;
        let server = |number| {
            let server = Server::start(&stage, &format!("apart{number}"), &vendor, 0)?;
            server.activate(&stage, &vendor, Order { kind: "main", seats: SEATS })?;
            Ok(server)
        };
        let apart = (0..NODES).map(server).collect::<Result<Vec<_>, StageError>>()?;
        let only = LocalCluster::start(&stage, "only", &vendor, &etcd, 1, SEATS)?;
        let three = LocalCluster::start(&stage, "node", &vendor, &etcd, NODES, SEATS)?;
        Ok(Self { stage, seconds, apart, only, three, etcd, _vendor: vendor })
    }

    /// Ports and process ids of the servers of a setup.
    fn servers(&mut self, setup: Setup) -> Vec<(u16, u32)> {
        let servers = match setup {
            Setup::Alone => self.apart.get_mut(..1).unwrap_or_default(),
            Setup::Apart => &mut self.apart,
            Setup::Only => self.only.nodes(),
            Setup::Three => self.three.nodes(),
        };
        servers.iter_mut().map(|server| (server.port(), server.process().pid())).collect()
    }

    fn cpu(pids: impl IntoIterator<Item = u32>) -> Result<Duration, StageError> {
        pids.into_iter().try_fold(Duration::ZERO, |sum, pid| Ok(sum + proc::cpu(pid)?))
    }

    /// Loads the servers of a setup, whose connections are spread over them.
    pub(super) fn point(
        &mut self,
        setup: Setup,
        kind: Kind,
        connections: u32,
    ) -> Result<Row, StageError> {
        let servers = self.servers(setup);
        let sessions = u32::from(kind == Kind::Heartbeat);
        let (result, spent) = self.loaded(&servers, kind, connections, sessions)?;
        Ok(Row::new(setup, kind, connections, &result, spent))
    }

    /// Runs a load; gives what it came to, and what servers and etcd spent meanwhile.
    fn loaded(
        &self,
        servers: &[(u16, u32)],
        kind: Kind,
        connections: u32,
        sessions: u32,
    ) -> Result<(LoadResult, [Duration; 2]), StageError> {
        let asked = asked(servers, kind, connections, sessions)?;
        let mut load = start_load(&self.stage, self.seconds, asked, &further(servers))?;
        load.line_with("ready", PREPARE_BOUND)?;
        let pids = || servers.iter().map(|(_, pid)| *pid);
        let before = [Self::cpu(pids())?, Self::cpu(self.etcd.pids())?];
        load.write_line("go")?;
        let line = load.line(late_bound(self.seconds))?;
        let after = [Self::cpu(pids())?, Self::cpu(self.etcd.pids())?];
        let [server, etcd] = [0, 1].map(|at: usize| after[at].saturating_sub(before[at]));
        Ok((ended(load, asked, &line)?, [server, etcd]))
    }

    /// How long the first sessions wait at nodes that have just joined: one at each, from its margin, and
    /// more than the margin at once, for which the blocks must grow.
    pub(super) fn first_seats(&mut self) -> Result<Vec<Figure>, StageError> {
        let servers = self.servers(Setup::Three);
        let nodes = u32::try_from(servers.len()).unwrap_or(1);
        let (one, _) = self.loaded(&servers, Kind::Take, nodes, 1)?;
        let (many, _) = self.loaded(&servers, Kind::Take, nodes * BURST, 1)?;
        let mut figures = spread("first seat at a fresh node", [one.p50_micros, one.max_micros]);
        let what = format!("{BURST} at once at each fresh node, blocks must grow");
        figures.extend(spread(&what, [many.p50_micros, many.max_micros]));
        Ok(figures)
    }

    /// How long an opening takes whose seat another node must lend: all seats but one are held, and two
    /// nodes need it in turn.
    pub(super) fn loans(&mut self, count: u32) -> Result<Vec<Figure>, StageError> {
        let servers = self.servers(Setup::Three);
        // At the first one alone.
        let hold = asked(&servers, Kind::Idle, 1, SEATS - 1)?;
        let holder = start_load(&self.stage, self.seconds, hold, &[])?;
        holder.line_with("ready", PREPARE_BOUND)?;
        let tls = any_certificate().map_err(|why| told("TLS", &why))?;
        let series: KeySeries =
            SERIES.parse().map_err(|_| StageError::failed("the stage's series is none"))?;
        let open = |(number, (port, _)): (u32, &(u16, u32))| {
            Worker::open_for(&LoadArgs::by_hand(*port, series), number, Some(&tls))
                .map_err(|why| told("a connection", &why))
        };
        let mut workers =
            (0..).zip(&servers).skip(1).map(open).collect::<Result<Vec<_>, StageError>>()?;
        let (mut histogram, mut refused) = (Histogram::new(), 0u32);
        // The first finds the free seat wherever it is.
        for round in 0..=count {
            for worker in &mut workers {
                let (opened, took) = clock::timed(|| worker.open());
                match opened {
                    Ok(opened) => {
                        worker.close(opened.id).map_err(|why| told("giving it back", &why))?;
                        if round > 0 {
                            histogram.record(took);
                        }
                    }
                    // Within two seconds nobody had lent one; the next round tells more.
                    Err(why) if why.kind() == std::io::ErrorKind::Other => refused += 1,
                    Err(why) => return Err(told("a loan", &why)),
                }
            }
        }
        drop(holder);
        if histogram.count() == 0 {
            return Err(StageError::failed(format!("no loan of {count} came; {refused} refused")));
        }
        let mut figures = spread(
            &format!("seat that another node lends, of {}", histogram.count()),
            [histogram.per_mille_micros(500), histogram.max_micros()],
        );
        let p99 = histogram.per_mille_micros(990);
        figures.push(millis("seat that another node lends: p99".to_owned(), p99));
        figures.push(Figure {
            what: "loans that did not come within 2 s".to_owned(),
            value: refused.into(),
            unit: "",
            goal: None,
        });
        Ok(figures)
    }
}

/// A load of these servers; those beside the first one are named by [`further`].
fn asked(
    servers: &[(u16, u32)],
    kind: Kind,
    connections: u32,
    sessions: u32,
) -> Result<Asked, StageError> {
    let &(port, pid) = servers.first().ok_or_else(|| StageError::failed("no server is named"))?;
    Ok(Asked {
        what: "a load of the cluster",
        kind,
        port,
        pid,
        tls: true,
        connections,
        sessions,
        cpu_goal: None,
    })
}

/// The ports of the servers beside the first one, as arguments of the load.
fn further(servers: &[(u16, u32)]) -> Vec<(&'static str, String)> {
    servers.iter().skip(1).map(|(port, _)| ("--port", port.to_string())).collect()
}

fn spread(what: &str, [median, max]: [u64; 2]) -> Vec<Figure> {
    vec![millis(format!("{what}: p50"), median), millis(format!("{what}: max"), max)]
}

fn millis(what: String, micros: u64) -> Figure {
    Figure { what, value: micros as f64 / 1e3, unit: "ms", goal: None }
}
