//! The program: reads the command line and runs the server. Everything else is in the library.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use licenceserver::cli::Cli;
use licenceserver::{run, set_password};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(options) = cli.password() {
        return set_password::main(options);
    }
    let Some(options) = cli.into_run() else {
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
