//! `cargo xtask bench cluster`: what it costs to share a key over etcd.
//!
//! The same load runs at one server without etcd, at the only node of a cluster, and at three servers that
//! share its connections, without etcd and as a cluster, on one computer and one etcd of three members. It prints what servers and etcd
//! spend, told apart, and ratios to the server without etcd; it asserts no time.
//! `docs/benchmarks.md` says how to read it.

mod report;
mod site;

use std::io::Write;

use self::report::{Row, Setup};
use self::site::Site;
use super::load::Kind;
use super::report as common;
use super::{CONNECTIONS_MAX, QUICK_SECONDS, SECONDS, SECONDS_MAX};
use crate::build::say;
use crate::stage::StageError;

/// Connections of a run unless others are named: one, three and twenty-one at each of three nodes.
const CONNECTIONS: &str = "3,9,63";

/// Connections of a quick run.
const QUICK_CONNECTIONS: [u32; 1] = [9];

/// Seats that go from one node to another and back, and of a quick run.
const LOANS: (u32, u32) = (50, 5);

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ClusterArgs {
    /// A rough run: a second a point, nine connections, few loans.
    #[arg(long)]
    quick: bool,
    /// Seconds of one point.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=SECONDS_MAX))]
    seconds: Option<u32>,
    /// Numbers of connections, separated by commas; three nodes share them.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = CONNECTIONS,
        value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    connections: Vec<u32>,
    /// The programs beside this one are the released ones: build nothing.
    #[arg(long, hide = true)]
    built: bool,
}

impl ClusterArgs {
    pub(super) const fn is_built(&self) -> bool {
        self.built
    }

    /// The arguments for the released self.
    pub(super) fn for_built(&self) -> Vec<String> {
        let connections: Vec<String> = self.connections.iter().map(u32::to_string).collect();
        let mut all = vec!["--built".to_owned(), "--connections".to_owned(), connections.join(",")];
        all.extend(self.seconds.iter().flat_map(|secs| ["--seconds".to_owned(), secs.to_string()]));
        all.extend(self.quick.then(|| "--quick".to_owned()));
        all
    }

    const fn seconds(&self) -> u32 {
        match self.seconds {
            Some(seconds) => seconds,
            None if self.quick => QUICK_SECONDS,
            None => SECONDS,
        }
    }

    fn connections(&self) -> &[u32] {
        if self.quick { &QUICK_CONNECTIONS } else { &self.connections }
    }

    const fn loans(&self) -> u32 {
        if self.quick { LOANS.1 } else { LOANS.0 }
    }
}

/// Runs everything with the programs beside this one.
///
/// # Errors
///
/// When a program does not do its part or a load has failures; never because of a time.
pub(super) fn run(args: &ClusterArgs, out: &mut dyn Write) -> Result<(), StageError> {
    say(out, "starting: series, centre, etcd of three, seven licence servers, activations")?;
    let mut site = Site::start(args.seconds())?;
    // While the blocks are still as they are when a node has just joined.
    let mut figures = site.first_seats()?;
    let mut rows: Vec<Row> = Vec::new();
    for &connections in args.connections() {
        for kind in [Kind::Cycle, Kind::Heartbeat] {
            // One after the other: a change of the machine's mood meets all of them.
            for setup in Setup::ALL {
                let row = site.point(setup, kind, connections)?;
                say(out, &row.told())?;
                rows.push(row);
            }
        }
    }
    say(out, "loans: one seat is free, and each node in turn needs it")?;
    figures.extend(site.loans(args.loans())?);
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let shared = format!(
        "{cores} cores, shared by the load, servers and etcd; {} s a point",
        args.seconds()
    );
    say(out, "")?;
    say(out, &shared)?;
    say(out, &report::rows(&rows))?;
    say(out, &common::figures(&figures))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        cluster: ClusterArgs,
    }

    #[test]
    fn released_self_measures_what_was_asked_for() {
        for arguments in [
            &["x"][..],
            &["x", "--quick"],
            &["x", "--seconds", "2", "--connections", "1,6"],
            &["x", "--quick", "--seconds", "3"],
        ] {
            let asked = Cli::try_parse_from(arguments).unwrap().cluster;
            let passed = std::iter::once("x".to_owned()).chain(asked.for_built());
            let built = Cli::try_parse_from(passed).unwrap().cluster;
            assert!(built.is_built() && !asked.is_built(), "{arguments:?}");
            assert_eq!(built.seconds(), asked.seconds(), "{arguments:?}");
            assert_eq!(built.connections(), asked.connections(), "{arguments:?}");
            assert_eq!(built.loans(), asked.loans(), "{arguments:?}");
        }
    }

    #[test]
    fn unbounded_loads_are_refused() {
        for arguments in [&["x", "--seconds", "61"][..], &["x", "--connections", "3,1000"]] {
            assert!(Cli::try_parse_from(arguments).is_err(), "{arguments:?}");
        }
    }
}
