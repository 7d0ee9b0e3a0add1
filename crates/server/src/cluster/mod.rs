//! A licence server as a node of a cluster.
//!
//! | module | subject |
//! | --- | --- |
//! | [`command`] | `licenceserver cluster` |
//! | [`etcd`] | how nodes reach etcd: calls, watches, what is believed of an answer |
//! | `gauges` | the cluster for Prometheus |
//! | [`known_codes`] | the file of the cluster's access codes |
//! | `memory` | the file that says when the node was in touch last |
//! | [`node`] | the task that is the node |
//! | `notices` | what administrators are told: etcd lost, nodes that died |
//! | [`peers`] | what nodes ask one another, and the passes that they show |
//! | [`picture`] | a cluster as people see it |
//! | [`port`] | what the driver's handle asks the node |
//! | [`shared`] | rules and access codes of all nodes: changed, and put in force |
//! | `words` | the picture in words |
//!
//! What a node does with what it hears is decided by `licence_core::cluster`, never here.

pub mod command;
pub mod etcd;
pub(crate) mod gauges;
pub mod known_codes;
mod memory;
pub mod node;
pub(crate) mod notices;
mod orders;
pub mod peers;
pub mod picture;
pub mod port;
pub mod shared;
mod taking_out;
mod waiting;
pub(crate) mod words;

use std::time::Duration;

use licence_core::causes::with_causes;
use licence_core::cluster::record::{Alive, Member};
use licence_core::cluster::{NodeConfig, NodeId};
use licence_core::protocol::SESSION_SECS;
use licence_core::time::Utc;

use self::etcd::{Etcd, TlsError};
use self::known_codes::KnownCodes;
pub use self::node::{Cluster, State};
use self::node::{NodeSetup, Questions};
use crate::access::Actor;
use crate::api::VERSION;
use crate::clock;
use crate::config::Config;
use crate::driver::{AuditNote, ClusterEnds, DriverError, Handle};
use crate::host::HostFacts;
use crate::identity::Identity;
use crate::paths::Paths;

/// How long a stop waits until etcd knows what is given back: some calls of etcd, each bounded by its
/// own time.
pub const STOP_BOUND: Duration = Duration::from_secs(5);

/// How long a driver that is busy is left alone before it is told again.
const DRIVER_BUSY: Duration = Duration::from_millis(20);

/// How often a line of the events is tried on a driver that is busy: for a minute.
const LINE_TRIES: usize = 3000;

/// Writes a line into the events, however busy the driver is just now: a crowd after a failover is when
/// people want to read it later.
async fn put_down(driver: &Handle, note: AuditNote) {
    let mut tries = 0;
    while let Err(error) = driver.audit(note.clone(), &Actor::server()).await {
        tries += 1;
        if matches!(error, DriverError::Busy) && tries < LINE_TRIES {
            tokio::time::sleep(DRIVER_BUSY).await;
            continue;
        }
        // One that has stopped takes nothing any more.
        if !matches!(error, DriverError::Stopped) {
            let (action, why) = (note.action, with_causes(&error));
            log::warn!("cluster: {action} is not in the events: {why}");
        }
        return;
    }
}

/// Starts the node of this server, if its settings name a cluster.
///
/// # Errors
///
/// When certificates that the settings name cannot be read.
pub fn start(
    config: &Config,
    paths: &Paths,
    identity: &Identity,
    host: &HostFacts,
    driver: &Handle,
    ends: ClusterEnds,
    questions: Questions,
) -> Result<Option<Cluster>, TlsError> {
    let Some(id) = config.cluster.id else { return Ok(None) };
    let settings = &config.cluster;
    let etcd = Etcd::new(&settings.etcd(&paths.settings()), &id.prefix())?;
    let now = clock::utc();
    let addresses = if settings.addresses.is_empty() {
        vec![format!("{}:{}", host.computer_name, config.server_port)]
    } else {
        settings.addresses.clone()
    };
    let member = Member {
        name: settings.name.clone().unwrap_or_else(|| host.computer_name.clone()),
        key: identity.public().jwk(),
        addresses,
        joined: now,
    };
    let node = NodeConfig {
        me: NodeId::of(&identity.public()),
        cluster: id,
        session_life: Duration::from_secs(SESSION_SECS),
        alive: alive(now),
    };
    let memory = paths.cluster();
    let (rules, codes) = (paths.rules(), KnownCodes::new(paths.cluster_codes()));
    let driver = driver.clone();
    let setup = NodeSetup { config: node, member, etcd, driver, ends, memory, rules, codes };
    Ok(Some(node::start(setup, questions)))
}

fn alive(started: Utc) -> Alive {
    Alive {
        version: VERSION.to_owned(),
        started,
        held: Default::default(),
        keys: Default::default(),
    }
}

#[cfg(test)]
mod tests;
