//! The program: reads the command line and does what it says. Everything else is in the library.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use licenceserver::cli::{Cli, Command, EXIT_USAGE};
use licenceserver::{backup, cluster, doctor, identity, run, service, set_password};

fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.into_command(),
        Err(error) => return explain(&error),
    };
    match command {
        Some(Command::Run(options)) => match run::run(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                run::report(&error);
                ExitCode::FAILURE
            }
        },
        Some(Command::Backup(options)) => backup::command::backup(&options),
        Some(Command::Cluster(options)) => cluster::command::main(&options),
        Some(Command::Doctor(options)) => doctor::main(&options),
        Some(Command::Identity(options)) => identity::command::main(&options),
        Some(Command::Password(options)) => set_password::main(&options),
        Some(Command::Restore(options)) => backup::command::restore(&options),
        Some(Command::Service(options)) => service::main(&options),
        None => explain(
            &Cli::command().error(ErrorKind::MissingSubcommand, "nothing to do: say `run` or `-r`"),
        ),
    }
}

/// Shows help, version or what is wrong with the command line.
fn explain(error: &clap::Error) -> ExitCode {
    // Standard output or error may be closed; the exit code tells all the same.
    drop(error.print());
    if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS }
}
