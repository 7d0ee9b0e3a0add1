//! `licencekit`, the vendor's command line: reads arguments and surroundings, reports the end.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage (from clap), 3 a file exists that `-y` would replace.
//! Called as `licenceedit` it is the same program, for build scripts that know the original. What commands do is decided in
//! `commands`.

#![forbid(unsafe_code)]

use std::io::Write;
use std::path::PathBuf;
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
            let _ = writeln!(std::io::stderr(), "{}: {}", called_as(), explain(&failure, language));
            ExitCode::from(failure.exit_code())
        }
    }
}

/// The name that the program was called by, when it is one of ours.
fn called_as() -> &'static str {
    let first = std::env::args_os().next().map(PathBuf::from);
    match first.as_deref().and_then(|path| path.file_stem()) {
        Some(stem) if stem == "licenceedit" => "licenceedit",
        _ => "licencekit",
    }
}
