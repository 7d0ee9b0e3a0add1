//! Computers of a small network: network namespaces, joined by a bridge, whose links can be cut.
//!
//! The bridge lies in a namespace of its own, so that no rule of this computer's firewall meets what
//! passes between the others; this computer has a link to it too and reaches everybody. A link that is
//! cut is silent: nothing is refused, nothing comes, and connections stay as they are. What runs in the
//! namespaces is the caller's.
//!
//! Everything goes when the network is dropped. What a test left behind that was itself killed is
//! removed by the next one.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::StageError;
use crate::random;

/// Names of ours: `licnet-PROCESS-NETWORK-PLACE`.
const PREFIX: &str = "licnet-";

/// Namespaces of one network at most: addresses end with the place, and this computer has the last.
const PLACES_MAX: u8 = 200;

/// Our own address ends so.
const OWN: u8 = 254;

/// How often other addresses are tried when some are taken.
const TRIES: usize = 20;

/// A hardware address that nobody has: what is sent to it is lost.
const NOBODY: &str = "02:00:00:00:00:01";

/// A lock for changes, because `ip` looks before it makes.
static CHANGES: Mutex<()> = Mutex::new(());

/// A network of namespaces.
#[derive(Debug)]
pub struct Netns {
    /// `PROCESS-NETWORK`.
    id: String,
    /// Name of our own link to the bridge.
    own: String,
    /// The three numbers that all addresses begin with.
    subnet: [u8; 3],
    places: u8,
}

impl Netns {
    /// A network of so many computers, all joined.
    ///
    /// # Errors
    ///
    /// When this process may not make namespaces, or there is no `ip`.
    pub fn new(places: u8) -> Result<Self, StageError> {
        static NETWORKS: AtomicU32 = AtomicU32::new(0);
        if places > PLACES_MAX {
            return Err(StageError::failed(format!("more than {PLACES_MAX} namespaces")));
        }
        let _one = CHANGES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        remove_orphans()?;
        let process = std::process::id();
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let network = Self {
            id: format!("{process}-{number}"),
            own: format!("lic{process}n{number}"),
            subnet: free_subnet()?,
            places,
        };
        // From here on a failure drops the network, which removes what is there.
        network.make()?;
        Ok(network)
    }

    fn make(&self) -> Result<(), StageError> {
        let switch = self.switch();
        add(&switch)?;
        inside(&switch, &["link", "add", "bridge", "type", "bridge"])?;
        inside(&switch, &["link", "set", "bridge", "up"])?;
        let port =
            ["link", "add", &self.own, "type", "veth", "peer", "name", "own", "netns", &switch];
        ip(&port)?;
        inside(&switch, &["link", "set", "own", "master", "bridge", "up"])?;
        ip(&["address", "add", &format!("{}/24", self.at(OWN)), "dev", &self.own])?;
        ip(&["link", "set", &self.own, "up"])?;
        for place in 0..self.places {
            let name = self.name(place);
            let port = port_of(place);
            add(&name)?;
            inside(&name, &["link", "set", "lo", "up"])?;
            let pair =
                ["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &name];
            inside(&switch, &pair)?;
            inside(&switch, &["link", "set", &port, "master", "bridge", "up"])?;
            let address = format!("{}/24", self.address(place));
            inside(&name, &["address", "add", &address, "dev", "eth0"])?;
            inside(&name, &["link", "set", "eth0", "up"])?;
        }
        Ok(())
    }

    /// How many computers there are.
    pub const fn places(&self) -> u8 {
        self.places
    }

    /// The address of a computer.
    pub const fn address(&self, place: u8) -> Ipv4Addr {
        self.at(place + 1)
    }

    /// The address by which the computers reach this one.
    pub const fn own_address(&self) -> Ipv4Addr {
        self.at(OWN)
    }

    const fn at(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, last)
    }

    fn name(&self, place: u8) -> String {
        format!("{PREFIX}{}-{place}", self.id)
    }

    fn switch(&self) -> String {
        format!("{PREFIX}{}-switch", self.id)
    }

    /// What stands before a program and its arguments so that it runs on this computer. The process is
    /// the program itself, so signals reach it.
    pub fn entrance(&self, place: u8) -> Vec<String> {
        ["ip", "netns", "exec", &self.name(place)].map(str::to_owned).to_vec()
    }

    /// The same call on this computer.
    pub fn command(&self, place: u8, command: &Command) -> Command {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.name(place)]);
        inside.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        inside
    }

    /// Cuts a computer off from everybody.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn cut(&self, place: u8) -> Result<(), StageError> {
        inside(&self.switch(), &["link", "set", &port_of(place), "down"])
    }

    /// Joins it again.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn heal(&self, place: u8) -> Result<(), StageError> {
        inside(&self.switch(), &["link", "set", &port_of(place), "up"])
    }

    /// Cuts the link between two computers; each still reaches the others.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn cut_between(&self, one: u8, other: u8) -> Result<(), StageError> {
        for (from, to) in [(one, other), (other, one)] {
            let address = self.address(to).to_string();
            inside(
                &self.name(from),
                &[
                    "neighbour",
                    "replace",
                    &address,
                    "lladdr",
                    NOBODY,
                    "nud",
                    "permanent",
                    "dev",
                    "eth0",
                ],
            )?;
        }
        Ok(())
    }

    /// Joins two computers again.
    ///
    /// # Errors
    ///
    /// When they were not cut.
    pub fn heal_between(&self, one: u8, other: u8) -> Result<(), StageError> {
        for (from, to) in [(one, other), (other, one)] {
            let address = self.address(to).to_string();
            inside(&self.name(from), &["neighbour", "delete", &address, "dev", "eth0"])?;
        }
        Ok(())
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _one = CHANGES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Links go with their namespaces, but not before the last process in them ends. Nothing can be
        // done about a failure here; the next network tries again.
        drop(ip(&["link", "delete", &self.own]));
        let places = (0..self.places).map(|place| self.name(place));
        for name in places.chain([self.switch()]) {
            drop(ip(&["netns", "delete", &name]));
        }
    }
}

/// Name of a computer's port of the bridge.
fn port_of(place: u8) -> String {
    format!("port{place}")
}

fn add(name: &str) -> Result<(), StageError> {
    ip(&["netns", "add", name])
}

fn inside(name: &str, arguments: &[&str]) -> Result<(), StageError> {
    ip(&[&["-n", name], arguments].concat())
}

fn ip(arguments: &[&str]) -> Result<(), StageError> {
    output(arguments).map(drop)
}

fn output(arguments: &[&str]) -> Result<String, StageError> {
    let mut command = Command::new("ip");
    command.args(arguments).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
    let shown = format!("ip {}", arguments.join(" "));
    let output = command.output().map_err(|why| {
        StageError::failed(format!(
            "`{shown}`: {why}; networks of tests need Debian's package iproute2"
        ))
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    // SAFETY: a plain system call without arguments.
    let is_root = unsafe { libc::geteuid() } == 0;
    let hint = if is_root {
        "; a container needs the rights SYS_ADMIN and NET_ADMIN for network namespaces"
    } else {
        "; network namespaces take root"
    };
    Err(StageError::failed(format!(
        "`{shown}` ended with {}: {}{hint}",
        output.status,
        errors.trim()
    )))
}

/// Removes networks whose process is gone.
fn remove_orphans() -> Result<(), StageError> {
    for line in output(&["netns", "list"])?.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        if owner_of(name).is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            // Another process may be removing it too.
            drop(ip(&["netns", "delete", name]));
        }
    }
    Ok(())
}

/// The process that made a namespace of ours.
fn owner_of(name: &str) -> Option<&str> {
    let (process, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    (!process.is_empty() && process.bytes().all(|b| b.is_ascii_digit())).then_some(process)
}

/// Three numbers of 198.18.0.0/15, which RFC 2544 keeps for tests, that this computer does not use.
fn free_subnet() -> Result<[u8; 3], StageError> {
    for _ in 0..TRIES {
        let [a, b] = random::bytes::<2>()?;
        let subnet = [198, 18 + (a & 1), b];
        let text = format!("inet {}.{}.{}.", subnet[0], subnet[1], subnet[2]);
        if !output(&["-oneline", "address", "show"])?.contains(&text) {
            return Ok(subnet);
        }
    }
    Err(StageError::failed("this computer uses all of 198.18.0.0/15"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_of_a_namespace_is_read_from_its_name_alone_of_ours() {
        for (name, owner) in [
            ("licnet-12-0-1", Some("12")),
            ("licnet-12-3-switch", Some("12")),
            ("licnet-x-0-1", None),
            ("licnet--0-1", None),
            ("licnet-12", None),
            ("other-12-0-1", None),
        ] {
            assert_eq!(owner_of(name), owner, "{name}");
        }
    }
}
