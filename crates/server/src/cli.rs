//! The command line: what is asked for, checked as far as text can be checked.
//!
//! Nothing is opened or started here.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::paths::DEFAULT_BASE;
use crate::set_password::PasswordOptions;

/// Licence server of 1C:Enterprise configurations.
#[derive(Debug, Parser)]
#[command(name = "licenceserver", version, about, args_conflicts_with_subcommands = true)]
#[command(arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Option<Command>,
    /// Run in the foreground; the same as `run`.
    #[arg(short = 'r')]
    run: bool,
    #[command(flatten)]
    options: RunOptions,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run in the foreground until SIGTERM or Ctrl+C.
    Run(RunOptions),
    Password(PasswordOptions),
}

/// How to run.
#[derive(clap::Args, Clone, Debug, Eq, PartialEq)]
pub struct RunOptions {
    /// Base folder of settings, state and keys.
    #[arg(long = "data", value_name = "DIR", default_value = DEFAULT_BASE)]
    pub base: PathBuf,
    /// Port to listen on, instead of `ServerPort`; 0 takes any free port.
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// Address to listen on, instead of `ServerAddr`.
    #[arg(long, value_name = "A")]
    pub address: Option<IpAddr>,
}

impl Cli {
    /// The options of a run; nothing when no run was asked for.
    pub fn into_run(self) -> Option<RunOptions> {
        match self.command {
            Some(Command::Run(options)) => Some(options),
            Some(Command::Password(_)) => None,
            None => self.run.then_some(self.options),
        }
    }

    /// What to set a password by, if that is what is asked for.
    pub const fn password(&self) -> Option<&PasswordOptions> {
        match &self.command {
            Some(Command::Password(options)) => Some(options),
            Some(Command::Run(_)) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str], expected: Option<(&str, Option<u16>)>) {
        let read = Cli::try_parse_from(std::iter::once(&"licenceserver").chain(arguments));
        let run = read.ok().and_then(Cli::into_run);
        let expected = expected.map(|(base, port)| (PathBuf::from(base), port));
        assert_eq!(run.map(|run| (run.base, run.port)), expected, "{arguments:?}");
    }

    #[test]
    fn run_and_its_short_alias_take_the_same_options() {
        check(&["run", "--data", "d", "--port", "0"], Some(("d", Some(0))));
        check(&["-r", "--data", "d", "--port", "0"], Some(("d", Some(0))));
        check(&["-r"], Some((DEFAULT_BASE, None)));
        check(&["run"], Some((DEFAULT_BASE, None)));
    }

    #[test]
    fn password_is_set_for_somebody_and_runs_nothing() {
        let read = Cli::try_parse_from(["licenceserver", "password", "--data", "d"]).unwrap();
        let options = read.password().unwrap();
        assert_eq!((options.base.as_path(), &options.user), ("d".as_ref(), &None));
        assert!(read.into_run().is_none());
        let read = Cli::try_parse_from(["licenceserver", "password", "--user", "ivan"]).unwrap();
        assert_eq!(read.password().and_then(|options| options.user.as_deref()), Some("ivan"));
        assert!(Cli::try_parse_from(["licenceserver", "run"]).unwrap().password().is_none());
    }

    #[test]
    fn other_command_lines_run_nothing() {
        for arguments in [&[][..], &["stop"], &["run", "--port", "65536"], &["-r", "--port", "x"]] {
            check(arguments, None);
        }
    }
}
