//! A real etcd of several members, for tests: each on a computer of its own in a [`Netns`], or, where nobody
//! shall be cut off, all on this one ([`LocalEtcd`]).
//!
//! Members can be killed, paused, cut off and started again; what that means for others the tests
//! judge. Everything ends with its owner.

mod files;
mod local;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::{Netns, Process, START_BOUND, STOP_BOUND, Stage, StageError, make_folder, wait_until};
use crate::etcd::Programs;

pub use files::Files;
pub use local::LocalEtcd;
pub(super) use local::free_ports;

/// Port for clients, on an address that only this etcd has.
const CLIENT_PORT: u16 = 2379;

/// Port for the other members.
const PEER_PORT: u16 = 2380;

/// What an etcd is started with.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// How many members there are; they have the first places of the network.
    pub members: u8,
    /// Whether clients must use TLS and show a certificate.
    pub tls: bool,
    /// Whether clients must name a user; [`EtcdCluster::USER`] may read and write below `/licence/`.
    pub users: bool,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        Self { members: 3, tls: false, users: false }
    }
}

/// An etcd of several members.
#[derive(Debug)]
pub struct EtcdCluster {
    // Before the network: processes keep a namespace alive.
    members: Vec<Option<Process>>,
    network: Arc<Netns>,
    programs: Programs,
    options: EtcdOptions,
    files: Option<Files>,
    folder: PathBuf,
    logs: PathBuf,
}

impl EtcdCluster {
    /// A user who may read and write below `/licence/` and nothing else, and the password.
    pub const USER: (&'static str, &'static str) = ("licence", "слово licence");

    /// The administrator of etcd and the password.
    pub const ROOT: (&'static str, &'static str) = ("root", "root word");

    /// Three members on a network of their own, ready.
    ///
    /// # Errors
    ///
    /// When there is no etcd or no right to make networks, or it does not become ready.
    pub fn start(stage: &Stage) -> Result<Self, StageError> {
        Self::start_with(stage, EtcdOptions::default())
    }

    /// The same with these options.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_with(stage: &Stage, options: EtcdOptions) -> Result<Self, StageError> {
        let network = Arc::new(Netns::new(options.members)?);
        Self::start_in(stage, network, options)
    }

    /// On the first places of this network, which may have more.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_in(
        stage: &Stage,
        network: Arc<Netns>,
        options: EtcdOptions,
    ) -> Result<Self, StageError> {
        let folder = stage.root().join("etcd");
        make_folder(&folder)?;
        let addresses: Vec<_> = (0..options.members).map(|place| network.address(place)).collect();
        let files = if options.tls { Some(Files::make(&folder, &addresses)?) } else { None };
        let mut cluster = Self {
            members: (0..options.members).map(|_| None).collect(),
            network,
            programs: Programs::find(stage.bins())?,
            options,
            files,
            folder,
            logs: stage.root().join("output"),
        };
        for place in 0..cluster.options.members {
            cluster.start_member(place)?;
        }
        for place in 0..cluster.options.members {
            cluster.wait_ready(place)?;
        }
        if cluster.options.users {
            cluster.ask_for_users()?;
        }
        Ok(cluster)
    }

    /// The network, where other programs of a test may run too.
    pub const fn network(&self) -> &Arc<Netns> {
        &self.network
    }

    /// Authority, certificate and key of a client, when there is TLS.
    pub const fn files(&self) -> Option<&Files> {
        self.files.as_ref()
    }

    /// The addresses for clients, in the order of the members.
    pub fn endpoints(&self) -> Vec<String> {
        (0..self.options.members).map(|place| self.endpoint(place)).collect()
    }

    fn endpoint(&self, place: u8) -> String {
        self.url(place, CLIENT_PORT, self.options.tls)
    }

    fn url(&self, place: u8, port: u16, is_tls: bool) -> String {
        let scheme = if is_tls { "https" } else { "http" };
        format!("{scheme}://{}:{port}", self.network.address(place))
    }

    /// Kills a member (SIGKILL).
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn kill(&mut self, place: u8) -> Result<(), StageError> {
        let mut process = self.taken(place)?;
        process.kill()
    }

    /// Stops a member in order.
    ///
    /// # Errors
    ///
    /// When it does not run or does not end.
    pub fn stop(&mut self, place: u8) -> Result<(), StageError> {
        let mut process = self.taken(place)?;
        process.signal(libc::SIGTERM)?;
        process.wait(STOP_BOUND).map(drop)
    }

    /// Starts a member that was killed or stopped, with its data. Does not wait until it serves.
    ///
    /// # Errors
    ///
    /// When it runs already or cannot be started.
    pub fn start_member(&mut self, place: u8) -> Result<(), StageError> {
        if self.members.get(usize::from(place)).is_none_or(Option::is_some) {
            return Err(StageError::failed(format!("etcd member {place} runs or is none")));
        }
        let name = name_of(place);
        let client = self.endpoint(place);
        let peer = self.url(place, PEER_PORT, false);
        let all = (0..self.options.members)
            .map(|place| format!("{}={}", name_of(place), self.url(place, PEER_PORT, false)));
        let all: Vec<_> = all.collect();
        let mut command =
            member(&self.programs, &name, &self.folder, [&client, &peer], &all.join(","));
        if let Some(files) = &self.files {
            let (certificate, key) = files.member(place);
            command.arg("--cert-file").arg(certificate).arg("--key-file").arg(key);
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(&files.authority);
        }
        let command = self.network.command(place, &command);
        let process = Process::start(&name, command, &self.logs)?;
        if let Some(slot) = self.members.get_mut(usize::from(place)) {
            *slot = Some(process);
        }
        Ok(())
    }

    /// Waits until a member serves clients.
    ///
    /// # Errors
    ///
    /// When it does not within [`START_BOUND`].
    pub fn wait_ready(&mut self, place: u8) -> Result<(), StageError> {
        let what = format!("etcd member {place}");
        wait_until(START_BOUND, &what, || {
            if let Some(process) = self.members.get_mut(usize::from(place)).and_then(Option::as_mut)
                && process.ended()?.is_some()
            {
                return Err(process.failed("ended instead of serving"));
            }
            let root = self.options.users.then_some(Self::ROOT);
            let mut command = self.control_of(&[self.endpoint(place)], root);
            command.args(["endpoint", "health"]);
            let output = command
                .output()
                .map_err(|why| StageError::io(Path::new(&self.programs.control), why))?;
            Ok(output.status.success().then_some(()))
        })
    }

    /// Stops a member as the system stops a process: it keeps its connections and does nothing.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn pause(&mut self, place: u8) -> Result<(), StageError> {
        self.running(place)?.signal(libc::SIGSTOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn resume(&mut self, place: u8) -> Result<(), StageError> {
        self.running(place)?.signal(libc::SIGCONT)
    }

    /// Cuts a member off from everybody.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn cut(&self, place: u8) -> Result<(), StageError> {
        self.network.cut(place)
    }

    /// Joins it again.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn heal(&self, place: u8) -> Result<(), StageError> {
        self.network.heal(place)
    }

    /// `etcdctl` with these arguments, as the administrator, at all members; gives what it printed.
    ///
    /// # Errors
    ///
    /// When it does not succeed.
    pub fn control(&self, arguments: &[&str]) -> Result<String, StageError> {
        let root = self.options.users.then_some(Self::ROOT);
        self.run_control(arguments, root)
    }

    fn run_control(
        &self,
        arguments: &[&str],
        user: Option<(&str, &str)>,
    ) -> Result<String, StageError> {
        let mut command = self.control_of(&self.endpoints(), user);
        command.args(arguments);
        let output = command
            .output()
            .map_err(|why| StageError::io(Path::new(&self.programs.control), why))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(StageError::Process {
            name: format!("etcdctl {}", arguments.first().unwrap_or(&"")),
            what: format!("ended with {}", output.status),
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    fn control_of(&self, endpoints: &[String], user: Option<(&str, &str)>) -> Command {
        let mut command = Command::new(&self.programs.control);
        command.env("ETCDCTL_API", "3").arg("--endpoints").arg(endpoints.join(","));
        if let Some(files) = &self.files {
            command.arg("--cacert").arg(&files.authority);
            command.arg("--cert").arg(&files.certificate).arg("--key").arg(&files.key);
        }
        if let Some((name, password)) = user {
            command.arg("--user").arg(format!("{name}:{password}"));
        }
        command
    }

    /// What docs/cluster.md tells an administrator to do.
    fn ask_for_users(&self) -> Result<(), StageError> {
        let of = |(name, password): (&str, &str)| format!("{name}:{password}");
        let (name, _) = Self::USER;
        let set_up: [&[&str]; 7] = [
            &["user", "add", &of(Self::ROOT)],
            &["user", "grant-role", "root", "root"],
            &["role", "add", "licence"],
            &["role", "grant-permission", "licence", "--prefix=true", "readwrite", "/licence/"],
            &["user", "add", &of(Self::USER)],
            &["user", "grant-role", name, "licence"],
            &["auth", "enable"],
        ];
        for call in set_up {
            // The role of this name comes with etcd or is made by its first user.
            let made = self.run_control(call, None);
            if call[0] == "user" && call[1] == "grant-role" && call[2] == "root" && made.is_err() {
                self.run_control(&["role", "add", "root"], None)?;
                self.run_control(call, None)?;
            } else {
                made?;
            }
        }
        Ok(())
    }

    fn taken(&mut self, place: u8) -> Result<Process, StageError> {
        let process = self.members.get_mut(usize::from(place)).and_then(Option::take);
        process.ok_or_else(|| StageError::failed(format!("etcd member {place} does not run")))
    }

    fn running(&mut self, place: u8) -> Result<&mut Process, StageError> {
        let process = self.members.get_mut(usize::from(place)).and_then(Option::as_mut);
        process.ok_or_else(|| StageError::failed(format!("etcd member {place} does not run")))
    }
}

/// The command of a member; its data lie below `folder`.
fn member(
    programs: &Programs,
    name: &str,
    folder: &Path,
    [client, peer]: [&str; 2],
    all: &str,
) -> Command {
    let mut command = Command::new(&programs.server);
    command.args(["--name", name]).arg("--data-dir").arg(folder.join(name));
    command.args(["--listen-client-urls", client, "--advertise-client-urls", client]);
    command.args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]);
    command.args(["--initial-cluster", all, "--initial-cluster-state", "new"]);
    command.args(["--initial-cluster-token", "stage"]);
    command.args(["--logger", "zap", "--log-outputs", "stderr"]);
    // Settings of the surroundings would count as well.
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("ETCD") {
            command.env_remove(variable);
        }
    }
    command
}

fn name_of(place: u8) -> String {
    format!("etcd{place}")
}
