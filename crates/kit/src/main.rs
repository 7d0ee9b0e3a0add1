//! `licencekit`, the vendor's command line: reads arguments and surroundings, reports the end.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage (from clap). What commands do is decided in
//! `commands`.

#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use licencekit::cli::Cli;
use licencekit::commands::{Surroundings, run};
use licencekit::passphrase;
use licencekit::text::{Language, explain};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let language = cli.lang.unwrap_or_else(|| {
        let values = ["LC_ALL", "LC_MESSAGES", "LANG"].map(|name| std::env::var(name).ok());
        Language::of_locale(values.iter().map(Option::as_deref))
    });
    let mut out = std::io::stdout().lock();
    let around =
        Surroundings { language, passphrase: passphrase::from_environment(), out: &mut out };
    match run(cli.command, around) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // When even the error stream is closed, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "licencekit: {}", explain(&failure, language));
            ExitCode::FAILURE
        }
    }
}
