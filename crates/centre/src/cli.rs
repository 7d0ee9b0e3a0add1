//! The command line of `licencecentre`: names, values and help, no deeds.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

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
