//! A stage for the demo and the chain tests: real programs, started from nothing on this computer.
//!
//! A [`Stage`] is a folder; a [`Vendor`] in it has a key series and an activation centre; a
//! [`Server`] is a licence server of a customer; a [`Computer`] is what the component finds on a
//! machine, and a [`HostProcess`] is a 1C process on it. Everything listens on 127.0.0.1 and ends
//! with its owner. Nothing is judged here: the demo and the tests do that.

mod bins;
mod cluster;
mod crpt;
mod etcd;
mod fuse;
mod gost;
mod host;
mod host_kind;
mod launch;
mod machine;
mod netns;
mod pem;
mod process;
mod proxy;
mod rest;
mod server;
mod token;
mod vendor;
mod wait;
mod wire;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub use bins::{BIN_DIR_VARIABLE, Bins};
pub use cluster::{
    Broken, ClusterOptions, Crowd, Ledger, LicenceCluster, LocalCluster, Peak, Users,
};
pub use crpt::{Asked, Crpt, Step, Whim};
pub use etcd::{EtcdCluster, EtcdOptions, Files, LocalEtcd};
pub use fuse::Fuse;
pub use gost::{Gost, Signatory, Verified};
pub use host::{HostProcess, Refused, Said, Seat, word};
pub use host_kind::{Computer, HostKind, built};
pub use launch::Launch;
pub use machine::{CARDS, DISKS, Machine};
pub use netns::Netns;
pub use process::Process;
pub use proxy::Proxy;
pub use rest::{Answer, Rest};
pub use server::Server;
pub use token::{READER_NAME, READERS, TokenPeer};
pub use vendor::{Order, Vendor};
pub use wait::wait_until;
pub use wire::{Recorder, Tape, player};

/// Bound of a program's start. A start takes well below a second; scrypt in an unoptimised build
/// on a busy machine takes some.
pub const START_BOUND: Duration = Duration::from_secs(60);

/// Bound of a program's orderly end: the server drains for 10 s at most.
pub const STOP_BOUND: Duration = Duration::from_secs(20);

/// The series of the stage.
pub const SERIES: &str = "672B";

/// Name of the product of the series.
pub const PRODUCT: &str = "Тестовая серия";

/// What went wrong on the stage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// A file, program or system call failed.
    #[error("{path}: {source}")]
    Io {
        /// The file or program.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A program has not been built.
    #[error("{0} is not built; run `cargo xtask build`")]
    NotBuilt(PathBuf),
    /// A program did not do its part.
    #[error("{name} {what}; its standard error ends: {stderr}")]
    Process {
        /// The program's name on the stage.
        name: String,
        /// What it did instead.
        what: String,
        /// End of its standard error.
        stderr: String,
    },
    /// A condition did not come about.
    #[error("{what} did not come within {bound:?}")]
    Timeout {
        /// The condition.
        what: String,
        /// How long was waited.
        bound: Duration,
    },
    /// Something is not as it must be.
    #[error("{0}")]
    Unexpected(String),
}

impl StageError {
    /// A failure about a file or program.
    pub fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// Something is not as it must be.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::Unexpected(what.into())
    }
}

/// A folder in which programs play.
#[derive(Debug)]
pub struct Stage {
    bins: Bins,
    root: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Stage {
    /// A stage in a fresh temporary folder, removed at the end.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made.
    pub fn temporary() -> Result<Self, StageError> {
        let folder = tempfile::Builder::new()
            .prefix("licence-stage-")
            .tempdir()
            .map_err(|why| StageError::io(&std::env::temp_dir(), why))?;
        let mut stage = Self::at(folder.path())?;
        stage._temporary = Some(folder);
        Ok(stage)
    }

    /// A stage in this folder, which stays.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made.
    pub fn at(root: &Path) -> Result<Self, StageError> {
        let root = std::path::absolute(root).map_err(|why| StageError::io(root, why))?;
        make_folder(&root.join("output"))?;
        Ok(Self { bins: Bins::find()?, root, _temporary: None })
    }

    /// The built programs.
    pub const fn bins(&self) -> &Bins {
        &self.bins
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Starts a program whose standard error is kept below the stage.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(&self, name: &str, command: Command) -> Result<Process, StageError> {
        Process::start(name, command, &self.root.join("output"))
    }

    /// Runs a program to its end and gives what it printed.
    ///
    /// # Errors
    ///
    /// When it cannot be started or does not succeed.
    pub fn run(&self, name: &str, mut command: Command) -> Result<String, StageError> {
        let output = command
            .output()
            .map_err(|why| StageError::io(Path::new(command.get_program()), why))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(StageError::Process {
            name: name.to_owned(),
            what: format!("ended with {}", output.status),
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// A computer on which the component finds these servers, the first one first.
    ///
    /// # Errors
    ///
    /// When its files cannot be written.
    pub fn computer(
        &self,
        name: &str,
        vendor: &Vendor,
        ports: &[u16],
    ) -> Result<Computer, StageError> {
        Computer::make(&self.root.join(name), vendor, ports)
    }
}

/// A command for one of our programs: no locale and no proxy of the surroundings.
fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    for variable in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(variable);
    }
    command.env("LC_ALL", "C.UTF-8");
    command
}

/// The port in a line such as `licenceserver 4.0.0 listens on 127.0.0.1:9099`.
fn port_of(line: &str) -> Result<u16, StageError> {
    line.rsplit_once(':')
        .and_then(|(_, port)| port.trim().parse().ok())
        .ok_or_else(|| StageError::failed(format!("no port in {line:?}")))
}

/// Makes a folder and its parents.
pub(crate) fn make_folder(path: &Path) -> Result<(), StageError> {
    std::fs::create_dir_all(path).map_err(|why| StageError::io(path, why))
}

/// Writes a file.
pub(crate) fn write_file(path: &Path, text: &str) -> Result<(), StageError> {
    std::fs::write(path, text).map_err(|why| StageError::io(path, why))
}

/// Copies a file.
pub(crate) fn copy_file(from: &Path, to: &Path) -> Result<(), StageError> {
    std::fs::copy(from, to).map(drop).map_err(|why| StageError::io(from, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_is_read_from_the_line_of_a_ready_program() {
        assert_eq!(port_of("licenceserver 4.0.0 listens on 127.0.0.1:9099").unwrap(), 9099);
        assert_eq!(port_of("x listens on [::1]:80").unwrap(), 80);
        assert!(port_of("x listens").is_err());
    }
}
