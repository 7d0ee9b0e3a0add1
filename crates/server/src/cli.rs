//! The command line: what is asked for, checked as far as text can be checked.
//!
//! Nothing is opened or started here.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use licence_core::cluster::ClusterId;
use licence_core::language::Language;

use crate::paths::default_base;
use crate::set_password::PasswordOptions;

/// Exit code for a command line that cannot be understood (EX_USAGE of `sysexits.h`).
pub const EXIT_USAGE: u8 = 64;

/// User of the service when none is named.
pub const DEFAULT_USER: &str = "licence";

/// Licence server of 1C:Enterprise configurations.
#[derive(Debug, Parser)]
#[command(name = "licenceserver", version, about, args_conflicts_with_subcommands = true)]
#[command(arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 done or stopped when told to, 1 failed, 64 wrong command line."
)]
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

/// What the program is asked to do.
#[derive(Clone, Debug, Eq, PartialEq, Subcommand)]
pub enum Command {
    /// Run in the foreground until SIGTERM or Ctrl+C.
    Run(RunOptions),
    /// Write one file that holds everything the server is; it may be running.
    Backup(ArchiveOptions),
    /// Make, join, leave or show a cluster of servers that share seats over etcd.
    Cluster(ClusterOptions),
    /// Look for what is wrong and say what to do; changes nothing.
    Doctor(DoctorOptions),
    /// Show what the server's key is bound to, bind it anew, or put a locked one aside.
    Identity(IdentityOptions),
    /// Set the password of the administrator or of another user; the server may be running.
    Password(PasswordOptions),
    /// Put a backup in the place of the data of a server that does not run.
    Restore(ArchiveOptions),
    /// Install, remove, start, stop or show the service of the operating system.
    Service(ServiceOptions),
}

/// How to run.
#[derive(clap::Args, Clone, Debug, Eq, PartialEq)]
pub struct RunOptions {
    /// Base folder of settings, state and keys.
    #[arg(long = "data", value_name = "DIR", default_value_os_t = default_base())]
    pub base: PathBuf,
    /// Port to listen on, instead of `ServerPort`; 0 takes any free port.
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// Address to listen on, instead of `ServerAddr`.
    #[arg(long, value_name = "A")]
    pub address: Option<IpAddr>,
}

/// Which archive, and whose data.
#[derive(clap::Args, Clone, Debug, Eq, PartialEq)]
pub struct ArchiveOptions {
    /// The archive; it holds the server's identity, so keep it as you keep a key.
    pub file: PathBuf,
    /// Base folder of settings, state and keys.
    #[arg(long = "data", value_name = "DIR", default_value_os_t = default_base())]
    pub base: PathBuf,
}

/// What to do with the cluster, and how etcd is reached. What is named here is written to `[Cluster]`
/// of the conf file by `init` and `join`.
#[derive(clap::Args, Clone, Debug, Eq, PartialEq)]
#[command(
    after_help = "Exit codes: 0 done, and for status: every node and every member of etcd is well; 1 \
                  refused or failed, and for status: something is not well; 64 wrong command line."
)]
pub struct ClusterOptions {
    /// What to do.
    #[command(subcommand)]
    pub action: ClusterAction,
    /// Base folder of settings, state and keys.
    #[arg(long = "data", value_name = "DIR", default_value_os_t = default_base(), global = true)]
    pub base: PathBuf,
    /// Addresses of etcd, separated by commas, such as https://etcd1:2379.
    #[arg(long, value_name = "LIST", global = true)]
    pub endpoints: Option<String>,
    /// PEM file of the authorities that vouch for etcd.
    #[arg(long, value_name = "FILE", global = true)]
    pub ca: Option<PathBuf>,
    /// PEM file of the certificate that is shown to etcd.
    #[arg(long, value_name = "FILE", global = true)]
    pub certificate: Option<PathBuf>,
    /// PEM file of its key.
    #[arg(long, value_name = "FILE", global = true)]
    pub key: Option<PathBuf>,
    /// User of etcd.
    #[arg(long, value_name = "NAME", global = true)]
    pub user: Option<String>,
    /// File whose first line is the password of that user.
    #[arg(long, value_name = "FILE", global = true)]
    pub password_file: Option<PathBuf>,
    /// What people call this node; else the name of the computer.
    #[arg(long, value_name = "NAME", global = true)]
    pub name: Option<String>,
    /// Addresses host:port by which components reach this node, separated by commas.
    #[arg(long, value_name = "LIST", global = true)]
    pub addresses: Option<String>,
    /// Language: ru or en; else that of the environment.
    #[arg(long, value_name = "ru|en", global = true)]
    pub lang: Option<Tongue>,
}

/// What to do with the cluster.
#[derive(Clone, Debug, Eq, PartialEq, Subcommand)]
pub enum ClusterAction {
    /// Make a cluster and become its first node at the next start.
    Init {
        /// How long seats of a node go on that has lost etcd, in seconds; at most a day.
        #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u32).range(0..=86_400))]
        isolation: Option<u32>,
    },
    /// Become a node of a cluster at the next start.
    Join {
        /// The cluster, as `init` and `status` show it.
        id: ClusterId,
    },
    /// Be a server by itself again; the server must not be running.
    Leave {
        /// Give back the seats of its sessions at once too, which ends them.
        #[arg(long)]
        now: bool,
    },
    /// Say that another node is down for good: its seats are free at once.
    Forget {
        /// Its name or id.
        node: String,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
    /// Show nodes, blocks of seats and etcd.
    Status {
        /// Print JSON instead of text.
        #[arg(long)]
        json: bool,
    },
}

/// What to look at.
#[derive(clap::Args, Clone, Debug, Eq, PartialEq)]
pub struct DoctorOptions {
    /// Base folder of settings, state and keys.
    #[arg(long = "data", value_name = "DIR", default_value_os_t = default_base())]
    pub base: PathBuf,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Language: ru or en; else that of the environment.
    #[arg(long, value_name = "ru|en")]
    pub lang: Option<Tongue>,
}

/// What to do with the identity.
#[derive(clap::Args, Clone, Debug, Eq, PartialEq)]
#[command(
    after_help = "Exit codes: 0 done, and for show: the key opens; 1 refused or failed, and for \
                        show: the key does not open; 64 wrong command line."
)]
pub struct IdentityOptions {
    /// What to do.
    pub action: IdentityAction,
    /// Base folder of settings, state and keys.
    #[arg(long = "data", value_name = "DIR", default_value_os_t = default_base())]
    pub base: PathBuf,
    /// For renew: do it, though every installed licence is then void here.
    #[arg(long)]
    pub yes: bool,
    /// For renew: even when the key opens.
    #[arg(long)]
    pub force: bool,
    /// Language: ru or en; else that of the environment.
    #[arg(long, value_name = "ru|en")]
    pub lang: Option<Tongue>,
}

/// What to do with the identity.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum IdentityAction {
    /// Say what the key is bound to, and which parts of the computer match.
    Show,
    /// Put a key that does not open aside and make a fresh one.
    Renew,
    /// Bind the same key to the parts of the computer of now.
    Reseal,
}

/// What to do with the service, and how it is to be.
#[derive(clap::Args, Clone, Debug, Eq, PartialEq)]
pub struct ServiceOptions {
    /// What to do.
    pub action: ServiceAction,
    /// Base folder of settings, state and keys.
    #[arg(long = "data", value_name = "DIR", default_value_os_t = default_base())]
    pub base: PathBuf,
    /// User that the service runs as; made if it is not there. On Windows it has an account of the
    /// system.
    #[arg(long, value_name = "NAME", default_value = DEFAULT_USER)]
    pub user: String,
    /// The program's file, instead of the one that runs.
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
    /// Write the files below this folder and run nothing (for packages).
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Language: ru or en; else that of the environment.
    #[arg(long, value_name = "ru|en")]
    pub lang: Option<Tongue>,
}

/// What to do with the service.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum ServiceAction {
    /// Make the user, write the unit or script, enable and start it.
    Install,
    /// Make the user and give it the data folder, nothing else (for packages).
    Prepare,
    /// Stop it and remove the unit or script; the data stay.
    Uninstall,
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Show how it is.
    Status,
    /// Run as the service manager of Windows starts it; not for people.
    #[value(hide = true)]
    Run,
}

/// A language named on the command line.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Tongue {
    /// English.
    En,
    /// Russian.
    Ru,
}

/// The language that was named, or else the one of the environment (LC_ALL, LC_MESSAGES, LANG), or else
/// on Windows that of the user.
pub fn language(named: Option<Tongue>) -> Language {
    match named {
        Some(Tongue::En) => Language::English,
        Some(Tongue::Ru) => Language::Russian,
        None => ["LC_ALL", "LC_MESSAGES", "LANG"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|tag| !tag.is_empty()))
            .map_or_else(of_system, |tag| Language::from_tag(&tag)),
    }
}

#[cfg(not(windows))]
const fn of_system() -> Language {
    Language::English
}

#[cfg(windows)]
fn of_system() -> Language {
    if crate::win32::speaks_russian() { Language::Russian } else { Language::English }
}

impl Cli {
    /// What to do; nothing when the command line names nothing.
    pub fn into_command(self) -> Option<Command> {
        match self.command {
            Some(command) => Some(command),
            None => self.run.then_some(Command::Run(self.options)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Option<Command> {
        let read = Cli::try_parse_from(std::iter::once(&"licenceserver").chain(arguments));
        read.ok().and_then(Cli::into_command)
    }

    fn check(arguments: &[&str], expected: Option<(&str, Option<u16>)>) {
        let run = read(arguments).map(|command| {
            let Command::Run(run) = command else { panic!("{arguments:?}: {command:?}") };
            (run.base, run.port)
        });
        let expected = expected.map(|(base, port)| (PathBuf::from(base), port));
        assert_eq!(run, expected, "{arguments:?}");
    }

    #[test]
    fn run_and_its_short_alias_take_the_same_options() {
        check(&["run", "--data", "d", "--port", "0"], Some(("d", Some(0))));
        check(&["-r", "--data", "d", "--port", "0"], Some(("d", Some(0))));
        let base = default_base();
        check(&["-r"], Some((base.to_str().unwrap(), None)));
        check(&["run"], Some((base.to_str().unwrap(), None)));
    }

    #[test]
    fn password_is_set_for_somebody() {
        for (arguments, base, user) in [
            (&["password", "--data", "d"][..], PathBuf::from("d"), None),
            (&["password", "--user", "ivan"], default_base(), Some("ivan")),
        ] {
            let line = std::iter::once(&"licenceserver").chain(arguments);
            let command = Cli::try_parse_from(line).unwrap().into_command();
            let Some(Command::Password(options)) = command else { panic!("{arguments:?}") };
            assert_eq!((options.base, options.user.as_deref()), (base, user));
        }
    }

    #[test]
    fn other_command_lines_run_nothing() {
        for arguments in [
            &[][..],
            &["stop"],
            &["run", "--port", "65536"],
            &["-r", "--port", "x"],
            &["service"],
            &["service", "rename"],
            &["doctor", "--lang", "fr"],
        ] {
            check(arguments, None);
        }
    }

    #[test]
    fn doctor_and_service_look_at_the_folder_of_the_manual_unless_told_otherwise() {
        let Some(Command::Doctor(doctor)) = read(&["doctor", "--json", "--lang", "ru"]) else {
            panic!("no doctor");
        };
        assert_eq!((doctor.base, doctor.json), (default_base(), true));
        assert_eq!(language(doctor.lang), Language::Russian);
        let Some(Command::Service(service)) = read(&["service", "install", "--data", "d"]) else {
            panic!("no service");
        };
        assert_eq!(service.action, ServiceAction::Install);
        assert_eq!((service.base, &*service.user), ("d".into(), DEFAULT_USER));
    }
}
