//! The program: reads the command line and runs the server. Everything else is in the library.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use licenceserver::cli::Cli;
use licenceserver::run;

fn main() -> ExitCode {
    let Some(options) = Cli::parse().into_run() else {
        Cli::command()
            .error(clap::error::ErrorKind::MissingSubcommand, "nothing to do: say `run` or `-r`")
            .exit();
    };
    match run::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::report(&error);
            ExitCode::FAILURE
        }
    }
}
