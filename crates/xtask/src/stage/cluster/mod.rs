//! Licence servers as a cluster on a real etcd of three members, each program on a computer of its own in
//! a [`Netns`], for tests.
//!
//! Makes it by the commands that an administrator types, and breaks it. What that means for those who
//! hold seats the tests judge, by a [`Ledger`].

mod crowd;
mod ledger;
mod local;
mod users;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{
    EtcdCluster, EtcdOptions, Launch, Netns, Order, Server, Stage, StageError, Vendor, make_folder,
    program, wait_until, write_file,
};

pub use crowd::Crowd;
pub use ledger::{Broken, Ledger, Peak};
pub use local::LocalCluster;
pub use users::Users;

/// Port of the servers: each has its computer for itself.
const PORT: u16 = 9099;

/// Data folder of a node whose disk can be filled, in MiB: what a server of a test writes fits well.
const DISK_MIB: u64 = 24;

/// A command of the cluster is done within this, the end of a lease before it.
const COMMAND_BOUND: Duration = Duration::from_secs(40);

/// File that fills a disk.
const BALLAST: &str = "ballast";

/// What a cluster is made with.
#[derive(Clone, Copy, Debug)]
pub struct ClusterOptions {
    /// Seats of the one key that all nodes share.
    pub seats: u32,
    /// Whether the clock that people set can be stepped at each node.
    pub clocks: bool,
    /// Whether each node has a small disk of its own.
    pub disks: bool,
}

/// Three licence servers on three members of etcd.
#[derive(Debug)]
pub struct LicenceCluster {
    // Before the disks and the network, which cannot go while they run.
    nodes: Vec<Server>,
    etcd: EtcdCluster,
    disks: Vec<Disk>,
    clocks: Vec<PathBuf>,
    vendor: Vendor,
    network: Arc<Netns>,
    key_no: u64,
}

impl LicenceCluster {
    /// How many members of etcd there are; they have the first places of the network.
    pub const MEMBERS: u8 = 3;
    /// How many nodes; they have the next places.
    pub const NODES: u8 = 3;
    /// The place of the computer on which components run.
    pub const USERS: u8 = Self::MEMBERS + Self::NODES;

    /// Makes a cluster with one key, activated on all nodes by the same code.
    ///
    /// # Errors
    ///
    /// When a program is missing or does not do its part.
    pub fn start(stage: &Stage, options: ClusterOptions) -> Result<Self, StageError> {
        let network = Arc::new(Netns::new(Self::USERS + 1)?);
        let members = EtcdOptions { members: Self::MEMBERS, ..EtcdOptions::default() };
        let etcd = EtcdCluster::start_in(stage, Arc::clone(&network), members)?;
        let vendor = Vendor::start_open(stage)?;
        let mut cluster = Self {
            nodes: Vec::new(),
            etcd,
            disks: Vec::new(),
            clocks: Vec::new(),
            vendor,
            network,
            key_no: 0,
        };
        let mut id = None;
        for node in 0..Self::NODES {
            cluster.add_node(stage, node, options, &mut id)?;
        }
        for node in 0..Self::NODES {
            cluster.wait_joined(node)?;
        }
        let order = Order { kind: "main", seats: options.seats };
        let nodes = Self::NODES.to_string();
        let code =
            cluster.vendor.order_of(stage, super::SERIES, order, &["--cluster-nodes", &nodes])?;
        for node in 0..Self::NODES {
            let licence = cluster.node(node).rest().activate(&code)?;
            cluster.key_no = licence["KeyNo"].as_u64().unwrap_or_default();
        }
        Ok(cluster)
    }

    fn add_node(
        &mut self,
        stage: &Stage,
        node: u8,
        options: ClusterOptions,
        id: &mut Option<String>,
    ) -> Result<(), StageError> {
        let name = name_of(node);
        let data = stage.root().join(&name);
        make_folder(&data)?;
        if options.disks {
            self.disks.push(Disk::mount(&data)?);
        }
        let settings = data.join("3.0");
        make_folder(&settings)?;
        self.vendor.publish_series(&settings.join("licence.series"))?;
        let centre = format!("http://{}:{}", self.network.own_address(), self.vendor.port());
        let password = super::rest::PASSWORD;
        let conf =
            format!("[Common]\nLicenceCenterUrl={centre}\n\n[Console]\nPassword={password}\n");
        let file = settings.join("licenceserver.conf");
        write_file(&file, &conf)?;
        let address = IpAddr::V4(self.network.address(self.place(node)));
        let place = format!("{address}:{PORT}");
        enter(stage, &name, &data, &self.etcd.endpoints(), &place, id)?;
        let mut launch = Launch::default();
        if options.clocks {
            let clock = stage.root().join(format!("{name}.clock"));
            write_file(&clock, "+0s\n")?;
            launch = launch.shifted_by(&clock).ok_or_else(|| {
                StageError::failed("there is no libfaketime; on Debian: apt-get install faketime")
            })?;
            self.clocks.push(clock);
        }
        let launch = launch.within(&self.network, self.place(node));
        self.nodes.push(Server::start_at(stage, &name, data, address, PORT, launch)?);
        Ok(())
    }

    /// The place of a node's computer.
    pub const fn place(&self, node: u8) -> u8 {
        Self::MEMBERS + node
    }

    /// A node.
    pub fn node(&self, node: u8) -> &Server {
        &self.nodes[usize::from(node)]
    }

    /// A node, to be killed or stopped.
    pub fn node_mut(&mut self, node: u8) -> &mut Server {
        &mut self.nodes[usize::from(node)]
    }

    /// Its etcd.
    pub const fn etcd(&mut self) -> &mut EtcdCluster {
        &mut self.etcd
    }

    /// Its network.
    pub const fn network(&self) -> &Arc<Netns> {
        &self.network
    }

    /// The key that all nodes share.
    pub const fn key_no(&self) -> u64 {
        self.key_no
    }

    /// A process of 1C that looks for the nodes in this order.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn users(&self, stage: &Stage, name: &str, nodes: &[u8]) -> Result<Users, StageError> {
        let servers: Vec<&Server> = nodes.iter().map(|node| self.node(*node)).collect();
        Users::start(stage, self, name, &servers, &self.vendor)
    }

    /// `GET /api/cluster` of a node.
    ///
    /// # Errors
    ///
    /// When it does not answer within some seconds.
    pub fn picture(&self, node: u8) -> Result<Value, StageError> {
        self.node(node).hurried_rest(5).get("/api/cluster")
    }

    /// `licenceserver cluster` at a node that does not run, in English; what it says. A node that has just
    /// stopped may still be seen in etcd for the rest of its lease, which is waited for.
    ///
    /// # Errors
    ///
    /// When the command fails.
    pub fn command(
        &self,
        stage: &Stage,
        node: u8,
        arguments: &[&str],
    ) -> Result<String, StageError> {
        let data = self.node(node).data();
        wait_until(COMMAND_BOUND, "licenceserver cluster", || {
            let mut command = Command::new(stage.bins().file("licenceserver")?);
            command.arg("cluster").args(arguments).args(["--lang", "en", "--data"]).arg(data);
            match stage.run("licenceserver cluster", command) {
                Err(why) if why.to_string().contains("still in touch") => Ok(None),
                done => done.map(Some),
            }
        })
    }

    /// Waits until a node is in touch with etcd.
    ///
    /// # Errors
    ///
    /// When it is not within half a minute: the lease of its former life must end first.
    pub fn wait_joined(&self, node: u8) -> Result<(), StageError> {
        wait_joined(self.node(node))
    }

    /// Steps the clock that people set at a node, to so many seconds beside the true time.
    ///
    /// # Errors
    ///
    /// When the cluster was made without such clocks.
    pub fn step_clock(&self, node: u8, secs: i64) -> Result<(), StageError> {
        let clock = self.clocks.get(usize::from(node));
        let clock = clock.ok_or_else(|| StageError::failed("clocks of this cluster are real"))?;
        // Whole at once: the node may read it at any moment.
        let fresh = clock.with_extension("fresh");
        write_file(&fresh, &format!("{secs:+}s\n"))?;
        std::fs::rename(&fresh, clock).map_err(|why| StageError::io(clock, why))
    }

    /// Fills the disk of a node.
    ///
    /// # Errors
    ///
    /// When the cluster was made without such disks.
    pub fn fill_disk(&self, node: u8) -> Result<(), StageError> {
        self.disk(node)?.fill()
    }

    /// Makes room on the disk of a node.
    ///
    /// # Errors
    ///
    /// As [`Self::fill_disk`].
    pub fn empty_disk(&self, node: u8) -> Result<(), StageError> {
        self.disk(node)?.empty()
    }

    fn disk(&self, node: u8) -> Result<&Disk, StageError> {
        let disk = self.disks.get(usize::from(node));
        disk.ok_or_else(|| StageError::failed("the nodes of this cluster have no disks"))
    }
}

/// Makes a data folder that of a node, by what an administrator types: of a cluster that is made if there
/// is no id yet.
fn enter(
    stage: &Stage,
    name: &str,
    data: &Path,
    endpoints: &[String],
    place: &str,
    id: &mut Option<String>,
) -> Result<(), StageError> {
    let mut command = program(&stage.bins().file("licenceserver")?);
    command.arg("cluster");
    match &*id {
        Some(id) => command.args(["join", id]),
        None => command.arg("init"),
    };
    command.args(["--lang", "en", "--name", name, "--data"]).arg(data);
    command.args(["--endpoints", &endpoints.join(",")]).args(["--addresses", place]);
    stage.run("licenceserver cluster", command)?;
    if id.is_none() {
        let file = data.join("3.0").join("licenceserver.conf");
        let text = std::fs::read_to_string(&file).map_err(|why| StageError::io(&file, why))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Id="));
        *id = line.map(|id| id.trim().to_owned());
    }
    Ok(())
}

/// Waits until a server says that it is in touch with etcd: the lease of its former life must end first.
fn wait_joined(server: &Server) -> Result<(), StageError> {
    let mut last = None;
    let waited = wait_until(Duration::from_secs(30), "a node in touch with etcd", || {
        last = server.hurried_rest(5).get("/api/cluster").ok();
        let is_in = last.as_ref().is_some_and(|picture| {
            let nodes = picture["Nodes"].as_array().map_or(&[][..], Vec::as_slice);
            let is_told = nodes.iter().any(|one| one["ID"] == picture["Node"]);
            picture["Standing"] == "joined" && is_told
        });
        Ok(is_in.then_some(()))
    });
    waited.map_err(|why| {
        let (place, stderr) = (server.place(), server.stderr_tail());
        StageError::failed(format!("{why}: the node at {place} says {last:?}; {stderr}"))
    })
}

fn name_of(node: u8) -> String {
    format!("node{node}")
}

/// A small file system of its own. A test that was itself killed leaves it behind, empty of meaning,
/// until the computer starts again.
#[derive(Debug)]
struct Disk(PathBuf);

impl Disk {
    fn mount(folder: &Path) -> Result<Self, StageError> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={DISK_MIB}m"), "tmpfs"]).arg(folder);
        succeeded(mount)?;
        Ok(Self(folder.to_owned()))
    }

    /// Writes until there is no room left.
    fn fill(&self) -> Result<(), StageError> {
        use std::io::Write;

        let path = self.0.join(BALLAST);
        let failed = |why| StageError::io(&path, why);
        let mut file =
            std::fs::File::options().create(true).append(true).open(&path).map_err(failed)?;
        // Smaller and smaller pieces, so that not even a short record fits any more.
        for size in [1 << 20, 1 << 12, 1] {
            let piece = vec![0u8; size];
            loop {
                match file.write_all(&piece) {
                    Ok(()) => {}
                    Err(why) if why.kind() == std::io::ErrorKind::StorageFull => break,
                    Err(why) => return Err(failed(why)),
                }
            }
        }
        Ok(())
    }

    fn empty(&self) -> Result<(), StageError> {
        let path = self.0.join(BALLAST);
        match std::fs::remove_file(&path) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
                Err(StageError::io(&path, why))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut unmount = Command::new("umount");
        unmount.arg("--lazy").arg(&self.0);
        // Nothing can be done about a failure here.
        drop(unmount.output());
    }
}

fn succeeded(mut command: Command) -> Result<(), StageError> {
    let output =
        command.output().map_err(|why| StageError::io(Path::new(command.get_program()), why))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(StageError::failed(format!("{command:?} ended with {}: {}", output.status, errors.trim())))
}
