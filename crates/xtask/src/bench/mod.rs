//! `cargo xtask bench`: what a request costs, beside named baselines, all in one run.
//!
//! It builds the released programs, runs the core's criterion benchmarks, then loads the licence
//! server and the two stand-ins of [`baselines`] one after the other over loopback, each from a
//! process of its own. It prints figures, ratios and goals; it asserts no time, so it fails only
//! when something does not work. `docs/benchmarks.md` says how to read it.

mod baselines;
mod channel;
mod cluster;
mod component;
mod course;
mod histogram;
mod load;
mod million;
mod pages;
mod proc;
mod report;

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use licence_core::causes::with_causes;

use crate::build::{cargo, say, succeed, workspace};
use crate::stage::{BIN_DIR_VARIABLE, Bins, StageError};

/// Longest load of one point in seconds: keeps a whole run within minutes.
const SECONDS_MAX: i64 = 60;

/// Most connections of a point: a thread each, on the machine that also runs the server.
const CONNECTIONS_MAX: i64 = 256;

/// Seconds of one point unless something else is asked for.
const SECONDS: u32 = 5;

/// Seconds of one point of a quick run: enough to see that everything works.
const QUICK_SECONDS: u32 = 1;

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Another run, or one of the processes that a run consists of.
    #[command(subcommand)]
    part: Option<Part>,
    /// A rough run: a second a point, and short criterion runs.
    #[arg(long)]
    quick: bool,
    /// Seconds of one point.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=SECONDS_MAX))]
    seconds: Option<u32>,
    /// Numbers of connections, separated by commas.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,8,64",
        value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    connections: Vec<u32>,
    /// Hold a million sessions in one process too; takes some 3 GB of memory.
    #[arg(long)]
    million: bool,
    /// Leave the criterion benchmarks of the core out.
    #[arg(long)]
    no_criterion: bool,
    /// The component alone: what its members cost in a 1C process.
    #[arg(long)]
    component: bool,
    /// The programs beside this one are the released ones: build nothing.
    #[arg(long, hide = true)]
    built: bool,
}

/// Another run, and the processes of one.
#[derive(Debug, clap::Subcommand)]
enum Part {
    /// The hello stand-in.
    #[command(hide = true)]
    BaselineHello(baselines::HelloArgs),
    /// The lease-table stand-in.
    #[command(hide = true)]
    BaselineLeases(baselines::LeasesArgs),
    /// What sharing a key over etcd costs: one server without it, with it, and three.
    Cluster(cluster::ClusterArgs),
    /// The load.
    #[command(hide = true)]
    Load(load::LoadArgs),
    /// A million sessions.
    #[command(hide = true)]
    Million,
}

/// Runs the benchmark, or one of its processes.
///
/// # Errors
///
/// When something cannot be built or does not work; never because of a time.
pub fn run(args: &BenchArgs, out: &mut dyn Write) -> Result<(), StageError> {
    match &args.part {
        Some(Part::BaselineHello(hello)) => {
            baselines::hello(*hello).map_err(|why| told("the hello stand-in", &why))
        }
        Some(Part::BaselineLeases(leases)) => {
            baselines::leases(leases).map_err(|why| told("the lease-table stand-in", &why))
        }
        Some(Part::Cluster(cluster)) if cluster.is_built() => cluster::run(cluster, out),
        Some(Part::Cluster(cluster)) => run_cluster(cluster, out),
        Some(Part::Load(load)) => load::run(load).map_err(|why| told("the load", &why)),
        Some(Part::Million) => {
            let result = serde_json::to_string(&million::run()?);
            say(out, &result.map_err(|why| told("the million", &why))?)
        }
        None if args.built && args.component => component::alone(out),
        None if args.built => course::run(args, out),
        None => run_released(args, out),
    }
}

impl BenchArgs {
    const fn seconds(&self) -> u32 {
        match self.seconds {
            Some(seconds) => seconds,
            None if self.quick => QUICK_SECONDS,
            None => SECONDS,
        }
    }
}

fn told(what: &str, why: &dyn std::error::Error) -> StageError {
    StageError::failed(format!("{what}: {}", with_causes(why)))
}

/// Builds these packages released; gives the root, cargo's target folder and that of the programs.
fn build_released(
    packages: &[&str],
    out: &mut dyn Write,
) -> Result<(PathBuf, PathBuf, PathBuf), StageError> {
    let root = workspace()?;
    let own = Bins::find()?;
    let Some(target) = own.folder().parent() else {
        return Err(StageError::failed("this program does not lie in a target folder"));
    };
    say(out, "building the released programs")?;
    let mut build = cargo();
    build.current_dir(&root).args(["build", "--release", "--quiet", "--target-dir"]).arg(target);
    for package in packages {
        build.args(["--package", package]);
    }
    succeed(build)?;
    Ok((root, target.to_owned(), target.join("release")))
}

/// Builds the released programs, gets etcd, then runs the released self.
fn run_cluster(args: &cluster::ClusterArgs, out: &mut dyn Write) -> Result<(), StageError> {
    let packages = ["licenceserver", "licencecentre", "licencekit", "xtask"];
    let (_, target, released) = build_released(&packages, out)?;
    crate::etcd::prepare(&target, out)?;
    let mut run = Command::new(released.join("xtask"));
    run.env_remove(BIN_DIR_VARIABLE).args(["bench", "cluster"]).args(args.for_built());
    succeed(run)
}

/// Builds the released programs, runs criterion, then runs the released self.
fn run_released(args: &BenchArgs, out: &mut dyn Write) -> Result<(), StageError> {
    let packages = ["licenceserver", "licencecentre", "licencekit", "licenceaddin", "xtask"];
    let (root, target, released) = build_released(&packages, out)?;
    crate::build::host(&root, &Bins::at(&released))?;
    if !args.no_criterion && !args.component {
        say(out, "criterion: operations of the core, one thread, no disk")?;
        let mut bench = cargo();
        bench.current_dir(&root).args(["bench", "--quiet", "--package", "licence-core"]);
        bench.args(["--bench", "service", "--target-dir"]).arg(&target);
        if args.quick {
            bench.args(["--", "--quick"]);
        }
        succeed(bench)?;
    }
    let mut run = Command::new(released.join("xtask"));
    run.env_remove(BIN_DIR_VARIABLE).args(["bench", "--built", "--connections"]);
    run.arg(args.connections.iter().map(u32::to_string).collect::<Vec<_>>().join(","));
    run.args(["--seconds", &args.seconds().to_string()]);
    for (is_asked, flag) in
        [(args.quick, "--quick"), (args.million, "--million"), (args.component, "--component")]
    {
        if is_asked {
            run.arg(flag);
        }
    }
    succeed(run)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        bench: BenchArgs,
    }

    #[test]
    fn quick_run_is_short_unless_seconds_are_given() {
        for (arguments, seconds) in
            [(&["x"][..], 5), (&["x", "--quick"], 1), (&["x", "--quick", "--seconds", "3"], 3)]
        {
            let cli = Cli::try_parse_from(arguments).unwrap();
            assert_eq!(cli.bench.seconds(), seconds, "{arguments:?}");
            assert_eq!(cli.bench.connections, [1, 8, 64]);
        }
    }

    #[test]
    fn unbounded_loads_are_refused() {
        for arguments in [
            &["x", "--seconds", "61"][..],
            &["x", "--connections", "0"],
            &["x", "--connections", "1,1000"],
        ] {
            assert!(Cli::try_parse_from(arguments).is_err(), "{arguments:?}");
        }
    }
}
