//! `cargo xtask`: chooses a tool, nothing else.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::stage::{Bins, StageError};
use xtask::{bench, build, check, component, demo, dist, guest, wine};

/// Tools of the workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure what a request costs, beside named baselines.
    Bench(bench::BenchArgs),
    /// Build the programs that the demo and the chain tests run.
    Build,
    /// Be a process of 1C for the tests of a cluster.
    #[command(hide = true)]
    Component(component::ComponentArgs),
    /// Run the main job from nothing with the real programs, then keep the console up.
    Demo(demo::DemoArgs),
    /// Make what is given to others, and check it.
    Dist(dist::DistArgs),
    /// Unpack and build what the tests of USB tokens need; `test` does it too.
    Guest,
    /// Do the set-up that tests need, run every check, end with a summary.
    Test(check::TestArgs),
    /// Make the Wine that tests of Windows programs need; `test` does it too.
    Wine,
}

fn main() -> ExitCode {
    let out = &mut std::io::stdout();
    let done = match Cli::parse().command {
        Command::Bench(args) => bench::run(&args, out),
        Command::Build => build::run(out),
        Command::Component(args) => component::run(&args, out),
        Command::Demo(args) => demo::run(&args, out),
        Command::Dist(args) => dist::run(&args, out),
        Command::Guest => prepare_guest(out),
        Command::Test(args) => check::run(&args, out),
        Command::Wine => Bins::find().and_then(|bins| wine::prepare(bins.target(), out)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // Nothing better can be done when standard error is gone.
            drop(writeln!(std::io::stderr(), "error: {why}"));
            ExitCode::FAILURE
        }
    }
}

fn prepare_guest(out: &mut dyn Write) -> Result<(), StageError> {
    guest::prepare(&build::workspace()?, &Bins::find()?, out)
}
