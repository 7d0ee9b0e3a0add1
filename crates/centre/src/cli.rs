//! The command line of `licencecentre`: names, values and help, no deeds.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use licence_core::activation_request::audience;

/// Port without `--port`.
pub const DEFAULT_PORT: u16 = 9100;

/// The vendor's activation centre.
#[derive(Debug, Parser)]
#[command(name = "licencecentre", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve activations until SIGTERM or Ctrl+C.
    Run(Run),
    /// Accounts of the vendor's people for the pages at /vendor.
    Account(AccountArgs),
}

/// Arguments of `account`.
#[derive(Args, Debug)]
pub struct AccountArgs {
    /// What to do with accounts.
    #[command(subcommand)]
    pub command: AccountCommand,
    /// Where the books lie.
    #[command(flatten)]
    pub books: BooksArgs,
}

/// Where the books lie.
#[derive(Args, Debug)]
pub struct BooksArgs {
    /// Data folder of the centre, which may run.
    #[arg(long, env = "LICENCE_CENTRE_DATA", global = true)]
    pub data: Option<PathBuf>,
    /// Address of the PostgreSQL database with the books, as of `run`; the centre on it must be
    /// stopped.
    #[arg(long, env = "LICENCE_CENTRE_DATABASE", hide_env_values = true, global = true)]
    pub database: Option<String>,
    /// Authorities of the database's certificate, as of `run`.
    #[arg(long, env = "LICENCE_CENTRE_DATABASE_CA", value_name = "FILE", global = true)]
    pub database_ca: Option<PathBuf>,
}

/// What to do with accounts.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Add an account.
    Add {
        /// Its name: one word.
        name: String,
        /// reader looks, clerk sells and moves, admin may everything.
        #[arg(long, value_parser = crate::access::Role::from_str)]
        role: crate::access::Role,
        /// File with the password; without it it is asked for.
        #[arg(long)]
        password_file: Option<PathBuf>,
    },
    /// List accounts.
    List,
    /// Give an account another password; its logins end.
    Passwd {
        /// Its name.
        name: String,
        /// File with the password; without it it is asked for.
        #[arg(long)]
        password_file: Option<PathBuf>,
    },
    /// Remove an account with its tokens.
    Remove {
        /// Its name.
        name: String,
    },
}

/// Arguments of `run`.
#[derive(Args, Debug)]
pub struct Run {
    /// Data folder: series, books, admin.token; made when missing.
    #[arg(long, env = "LICENCE_CENTRE_DATA")]
    pub data: PathBuf,
    /// TCP port; 0 takes any free one.
    #[arg(long, env = "LICENCE_CENTRE_PORT", default_value_t = DEFAULT_PORT)]
    pub port: u16,
    /// Address to listen on. Other machines should come through a proxy that speaks TLS.
    #[arg(long, env = "LICENCE_CENTRE_ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub address: IpAddr,
    /// Address at which licence servers reach the centre (<https://centre.example>), as in the
    /// CentreUrl of its series: requests for another centre are then refused.
    #[arg(long, env = "LICENCE_CENTRE_PUBLIC_URL", value_parser = read_url)]
    pub public_url: Option<String>,
    /// Address of a PostgreSQL database for the books (postgres://user@host/name); without it they
    /// lie in centre.db in the data folder. Put it into the environment if it holds a password.
    #[arg(long, env = "LICENCE_CENTRE_DATABASE", hide_env_values = true, value_name = "URL")]
    pub database: Option<String>,
    /// PEM file with the authorities that the database's certificate is checked against; without it
    /// those of the system.
    #[arg(long, env = "LICENCE_CENTRE_DATABASE_CA", value_name = "FILE", requires = "database")]
    pub database_ca: Option<PathBuf>,
    /// Take the word of the proxy in front for the address (X-Forwarded-For) and TLS
    /// (X-Forwarded-Proto) of whoever asks. Only behind a proxy that sets both: otherwise anybody
    /// passes the limits by writing these headers.
    #[arg(long, env = "LICENCE_CENTRE_TRUST_FORWARDED")]
    pub trust_forwarded: bool,
    /// File with the passphrase of the series; without it LICENCE_PASSPHRASE is used.
    #[arg(long)]
    pub passphrase_file: Option<PathBuf>,
}

fn read_url(text: &str) -> Result<String, &'static str> {
    audience(text).ok_or("an address like https://centre.example is expected")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
