//! An etcd of three members on this computer, on free ports of 127.0.0.1, for measurements. Takes no rights;
//! nobody can be cut off.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use super::{member, name_of};
use crate::etcd::Programs;
use crate::stage::{Process, START_BOUND, Stage, StageError, make_folder, wait_until};

/// Members: the fewest of which one may fail.
const MEMBERS: u8 = 3;

/// An etcd on this computer.
#[derive(Debug)]
pub struct LocalEtcd {
    members: Vec<Process>,
    endpoints: Vec<String>,
}

impl LocalEtcd {
    /// Three members, ready. Their data lie on the stage.
    ///
    /// # Errors
    ///
    /// When there is no etcd or it does not become ready.
    pub fn start(stage: &Stage) -> Result<Self, StageError> {
        let programs = Programs::find(stage.bins())?;
        let folder = stage.root().join("etcd");
        make_folder(&folder)?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let ports = free_ports(2 * usize::from(MEMBERS))?;
        let (clients, peers) = ports.split_at(usize::from(MEMBERS));
        let peers: Vec<String> = peers.iter().copied().map(url).collect();
        let endpoints: Vec<String> = clients.iter().copied().map(url).collect();
        let named = (0..MEMBERS).zip(&peers).map(|(no, peer)| format!("{}={peer}", name_of(no)));
        let all = named.collect::<Vec<_>>().join(",");
        let mut members = Vec::new();
        for ((no, client), peer) in (0..MEMBERS).zip(&endpoints).zip(&peers) {
            let name = name_of(no);
            let command = member(&programs, &name, &folder, [client, peer], &all);
            members.push(stage.start(&name, command)?);
        }
        let mut etcd = Self { members, endpoints };
        etcd.wait_ready(&programs)?;
        Ok(etcd)
    }

    fn wait_ready(&mut self, programs: &Programs) -> Result<(), StageError> {
        wait_until(START_BOUND, "etcd on this computer", || {
            for process in &mut self.members {
                if process.ended()?.is_some() {
                    return Err(process.failed("ended instead of serving"));
                }
            }
            let mut command = Command::new(&programs.control);
            command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoints.join(",")]);
            command.args(["endpoint", "health"]);
            let output = command
                .output()
                .map_err(|why| StageError::io(Path::new(&programs.control), why))?;
            Ok(output.status.success().then_some(()))
        })
    }

    /// The addresses for clients.
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// The process ids of the members.
    pub fn pids(&self) -> Vec<u32> {
        self.members.iter().map(Process::pid).collect()
    }
}

/// Ports that nobody listens on. Somebody else may take one before its program does, which then ends and
/// says so.
pub(in crate::stage) fn free_ports(count: usize) -> Result<Vec<u16>, StageError> {
    let failed = |why| StageError::io(Path::new("a free port"), why);
    // All at once: a port that was let go of may be given again.
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    listeners.iter().map(port).collect::<Result<_, _>>().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_all_different() {
        let mut ports = free_ports(8).unwrap();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 8);
    }
}
