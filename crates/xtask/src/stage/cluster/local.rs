//! A cluster of licence servers on this computer, for measurements: free ports of 127.0.0.1, an etcd of the
//! caller's.

use std::net::{IpAddr, Ipv4Addr};

use super::super::etcd::free_ports;
use super::super::{
    Launch, LocalEtcd, Order, SERIES, Server, Stage, StageError, Vendor, make_folder, write_file,
};
use super::{enter, wait_joined};

/// Fewest nodes that an order speaks of: a cluster of one is made of a licence for several.
const NODES_MIN: usize = 2;

/// Licence servers that share one key.
#[derive(Debug)]
pub struct LocalCluster {
    nodes: Vec<Server>,
}

impl LocalCluster {
    /// Makes a cluster of so many nodes with one key of so many seats, activated on each.
    ///
    /// # Errors
    ///
    /// When a program is missing or does not do its part.
    pub fn start(
        stage: &Stage,
        name: &str,
        vendor: &Vendor,
        etcd: &LocalEtcd,
        nodes: usize,
        seats: u32,
    ) -> Result<Self, StageError> {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (mut id, mut servers) = (None, Vec::new());
        for (number, port) in free_ports(nodes)?.into_iter().enumerate() {
            let name = format!("{name}{number}");
            let data = stage.root().join(&name);
            let settings = data.join("3.0");
            make_folder(&settings)?;
            vendor.publish_series(&settings.join("licence.series"))?;
            let conf = format!("[Common]\nLicenceCenterUrl={}\n", vendor.centre_url());
            write_file(&settings.join("licenceserver.conf"), &conf)?;
            let place = format!("{address}:{port}");
            enter(stage, &name, &data, etcd.endpoints(), &place, &mut id)?;
            servers.push(Server::start_at(stage, &name, data, address, port, Launch::default())?);
        }
        for server in &servers {
            wait_joined(server)?;
        }
        let order = Order { kind: "main", seats };
        let count = nodes.max(NODES_MIN).to_string();
        let code = vendor.order_of(stage, SERIES, order, &["--cluster-nodes", &count])?;
        for server in &servers {
            server.rest().activate(&code)?;
        }
        Ok(Self { nodes: servers })
    }

    /// Its nodes.
    pub fn nodes(&mut self) -> &mut [Server] {
        &mut self.nodes
    }
}
