//! A process of 1C on the stage of a cluster.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::super::{Process, Server, Stage, StageError, Vendor, make_folder, write_file};
use super::LicenceCluster;
use crate::component::Told;

/// Bound of reading what a process has told that has ended.
const LAST_LINES_BOUND: Duration = Duration::from_secs(10);

/// A process that holds seats for its sessions.
#[derive(Debug)]
pub struct Users {
    process: Process,
}

impl Users {
    /// Starts a process on the computer of the components, which looks for servers in this order.
    pub(super) fn start(
        stage: &Stage,
        cluster: &LicenceCluster,
        name: &str,
        servers: &[&Server],
        vendor: &Vendor,
    ) -> Result<Self, StageError> {
        let folder = stage.root().join(name);
        make_folder(&folder)?;
        let conf = folder.join("licenceaddin.conf");
        let (first, reserves) =
            servers.split_first().ok_or_else(|| StageError::failed("no server is named"))?;
        let reserves: Vec<String> = reserves.iter().map(|server| server.place()).collect();
        let text = format!(
            "[Common]\nServerAddr={}\nServerPort={}\nReservedServers={}\n",
            first.address(),
            first.port(),
            reserves.join(",")
        );
        write_file(&conf, &text)?;
        let mut command = Command::new(program(stage)?);
        command.arg("component").arg("--conf").arg(&conf);
        command.arg("--series").arg(vendor.series_file());
        let command = cluster.network().command(LicenceCluster::USERS, &command);
        Ok(Self { process: stage.start(name, command)? })
    }

    /// Opens a session; what comes of it is told.
    ///
    /// # Errors
    ///
    /// When the process has ended.
    pub fn open(&mut self, session: u32) -> Result<(), StageError> {
        self.process.write_line(&format!("open {session}"))
    }

    /// Ends a session.
    ///
    /// # Errors
    ///
    /// When the process has ended.
    pub fn close(&mut self, session: u32) -> Result<(), StageError> {
        self.process.write_line(&format!("close {session}"))
    }

    /// What it told since this was asked last.
    ///
    /// # Errors
    ///
    /// When it told what is none of its lines.
    pub fn told(&self) -> Result<Vec<Told>, StageError> {
        let mut told = Vec::new();
        while let Some(line) = self.process.line_at_hand() {
            told.push(
                serde_json::from_str(&line).map_err(|why| {
                    StageError::failed(format!("a component told {line:?}: {why}"))
                })?,
            );
        }
        Ok(told)
    }

    /// `kill -9`; gives what it had told before.
    ///
    /// # Errors
    ///
    /// When it had ended already.
    pub fn kill(&mut self) -> Result<Vec<Told>, StageError> {
        self.process.kill()?;
        let mut told = Vec::new();
        // Until its output has ended.
        while let Ok(line) = self.process.line(LAST_LINES_BOUND) {
            // Its last line may be half a one.
            told.extend(serde_json::from_str::<Told>(&line));
        }
        Ok(told)
    }
}

/// This crate's own program, which is a component too.
fn program(stage: &Stage) -> Result<PathBuf, StageError> {
    let own =
        std::env::current_exe().map_err(|why| StageError::io(Path::new("this program"), why))?;
    // Test programs lie in `deps`, one level below it.
    let beside = own.ancestors().skip(1).take(2).map(|folder| folder.join("xtask"));
    let found = beside.into_iter().find(|path| path.is_file());
    found.map_or_else(|| stage.bins().file("xtask"), Ok)
}
