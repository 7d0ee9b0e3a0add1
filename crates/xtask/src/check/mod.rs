//! `cargo xtask test`: the set-up that tests need, then every check, then a summary.
//!
//! Each check says what it runs. A check that cannot be run fails; none is skipped in silence.
//! The last line but the verdict is `N passed, N failed`, over tests and checks together.

pub mod bsl;
mod purity;
mod runner;
pub(crate) mod setup;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::build::{self, cargo, say};
use crate::clock;
use crate::dist;
use crate::stage::{Bins, StageError};

use runner::{Counts, Outcome};

/// Arguments of `cargo xtask test`.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct TestArgs {
    /// The inner loop: format, lints, purity and the tests that start no chain of programs.
    #[arg(long)]
    pub quick: bool,
}

/// What the checks share.
struct Context {
    root: PathBuf,
    bins: Bins,
    target: PathBuf,
    quick: bool,
}

impl Context {
    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        command.env("CARGO_TERM_COLOR", "never").env("INSTA_UPDATE", "no");
        command.args(arguments);
        command
    }
}

/// The workspace of the tokens' peer, which is held to the same rules.
const PEER: &str = "token-peer/Cargo.toml";

type Body = fn(&Context, &mut dyn Write) -> Result<Outcome, StageError>;

struct Check {
    name: &'static str,
    quick: bool,
    body: Body,
}

/// The checks, cheap ones first. Building and packing come before the tests because the chain tests
/// start programs and install packages, and cargo builds only what it tests.
const CHECKS: [Check; 12] = [
    Check { name: "set-up", quick: true, body: setup::run },
    Check { name: "format", quick: true, body: format },
    Check { name: "purity of licence-core", quick: true, body: purity::run },
    Check { name: "lints", quick: true, body: lints },
    Check { name: "bans, licences, sources", quick: false, body: deny },
    Check { name: "modules in 1C's language", quick: false, body: bsl::run },
    Check { name: "programs", quick: true, body: programs },
    Check { name: "packages", quick: false, body: packages },
    Check { name: "tests", quick: true, body: tests },
    Check { name: "doc tests", quick: false, body: doc_tests },
    Check { name: "docs", quick: false, body: docs },
    Check { name: "lock file", quick: false, body: lock_file },
];

/// Runs the checks, all of them even if one fails.
///
/// # Errors
///
/// When one failed.
pub fn run(args: &TestArgs, out: &mut dyn Write) -> Result<(), StageError> {
    let bins = Bins::find()?;
    let target = bins.target().to_owned();
    let context = Context { root: build::workspace()?, bins, target, quick: args.quick };
    let mut lines = Vec::new();
    let mut sum = Counts::default();
    for check in CHECKS.iter().filter(|check| check.quick || !args.quick) {
        let room = room(&context.root).map_or_else(String::new, |mib| format!(", {mib} MiB free"));
        say(out, &format!("\n==> {}{room}", check.name))?;
        let (outcome, took) = clock::timed(|| (check.body)(&context, out));
        let outcome = outcome.unwrap_or_else(|why| Outcome::failed(why.to_string()));
        if let Some(why) = &outcome.failure {
            say(out, &format!("FAILED: {why}"))?;
        }
        sum.add(outcome.counts);
        lines.push(line(check.name, took, &outcome));
    }
    say(out, "\nSummary")?;
    for line in lines {
        say(out, &line)?;
    }
    say(out, &format!("\n{} passed, {} failed", sum.passed, sum.failed))?;
    if sum.failed == 0 { Ok(()) } else { Err(StageError::failed("not all checks passed")) }
}

/// What is free where the project lies, in MiB: a run from nothing fills some 14 000, and a compiler
/// that meets a full disk says it in many words.
fn room(root: &Path) -> Option<u64> {
    let output = Command::new("df").args(["--output=avail", "-BM"]).arg(root).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().nth(1)?.trim().trim_end_matches('M').parse().ok()
}

fn line(name: &str, took: Duration, outcome: &Outcome) -> String {
    let verdict = if outcome.failure.is_none() { "ok" } else { "FAILED" };
    let Counts { passed, failed } = outcome.counts;
    format!(
        "  {verdict:<7} {name:<26} {:>7.1} s  {passed:>5} passed {failed:>3} failed",
        took.as_secs_f64()
    )
}

fn format(context: &Context, out: &mut dyn Write) -> Result<Outcome, StageError> {
    let mut outcome = runner::check(context.cargo(&["fmt", "--all", "--check"]), out)?;
    outcome.merge(runner::check(context.cargo(&["fmt", "--manifest-path", PEER, "--check"]), out)?);
    Ok(outcome)
}

fn lints(context: &Context, out: &mut dyn Write) -> Result<Outcome, StageError> {
    let mut command = context.cargo(&["clippy", "--workspace", "--all-targets", "--locked"]);
    command.args(["--quiet", "--", "-D", "warnings"]);
    runner::check(command, out)
}

fn deny(context: &Context, out: &mut dyn Write) -> Result<Outcome, StageError> {
    setup::cargo_deny(context, out)?;
    let kinds = ["check", "bans", "licenses", "sources"];
    let mut own = context.cargo(&["deny", "--locked"]);
    own.args(kinds);
    let mut outcome = runner::check(own, out)?;
    let mut peer = context.cargo(&["deny", "--locked", "--manifest-path", PEER, "--config"]);
    peer.arg(context.root.join("deny.toml")).args(kinds);
    outcome.merge(runner::check(peer, out)?);
    Ok(outcome)
}

fn programs(context: &Context, out: &mut dyn Write) -> Result<Outcome, StageError> {
    build::run(out)?;
    say(out, &format!("in {}", context.bins.folder().display()))?;
    Ok(Outcome::passed())
}

/// What the tests of packages install, made as users get it.
fn packages(_: &Context, out: &mut dyn Write) -> Result<Outcome, StageError> {
    dist::all(&dist::AllArgs { test: true, ..dist::AllArgs::default() }, out)?;
    Ok(Outcome::passed())
}

fn tests(context: &Context, out: &mut dyn Write) -> Result<Outcome, StageError> {
    let nextest = context.cargo(&["nextest", "--version"]).output();
    if nextest.is_ok_and(|output| output.status.success()) {
        let mut command = context.cargo(&["nextest", "run", "--workspace", "--locked"]);
        command.args(["--no-fail-fast", "--status-level", "fail", "--final-status-level", "slow"]);
        command.arg("--cargo-quiet");
        // Tests of whole chains mostly wait for programs: one more than there are processors.
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        command.arg(format!("--test-threads={}", processors + 1));
        if context.quick {
            command.args(["--filterset", "not (package(xtask) & kind(test))"]);
        }
        return runner::tests(command, out);
    }
    say(out, "cargo-nextest is not installed; using cargo test, which takes longer")?;
    let common = ["--locked", "--no-fail-fast", "--quiet"];
    if context.quick {
        let mut rest = context.cargo(&["test", "--workspace", "--exclude", "xtask", "--lib"]);
        rest.args(["--bins", "--tests"]).args(common);
        let mut outcome = runner::tests(rest, out)?;
        let mut own = context.cargo(&["test", "--package", "xtask", "--lib", "--bins"]);
        own.args(common);
        outcome.merge(runner::tests(own, out)?);
        return Ok(outcome);
    }
    let mut command = context.cargo(&["test", "--workspace", "--lib", "--bins", "--tests"]);
    command.args(common);
    runner::tests(command, out)
}

fn doc_tests(context: &Context, out: &mut dyn Write) -> Result<Outcome, StageError> {
    let mut command = context.cargo(&["test", "--workspace", "--doc", "--locked", "--quiet"]);
    command.arg("--no-fail-fast");
    runner::tests(command, out)
}

fn docs(context: &Context, out: &mut dyn Write) -> Result<Outcome, StageError> {
    let mut command = context.cargo(&["doc", "--workspace", "--no-deps", "--locked", "--quiet"]);
    // Private items are always documented here, so links to them hold.
    let flags = "-D warnings -A rustdoc::private_intra_doc_links";
    command.arg("--document-private-items").env("RUSTDOCFLAGS", flags);
    runner::check(command, out)
}

fn lock_file(context: &Context, out: &mut dyn Write) -> Result<Outcome, StageError> {
    let mut command = context.cargo(&["metadata", "--locked", "--format-version", "1"]);
    command.stdout(std::process::Stdio::null());
    say(out, "checking that Cargo.lock is up to date")?;
    build::succeed(command)?;
    Ok(Outcome::passed())
}
