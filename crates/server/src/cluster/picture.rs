//! A cluster as people see it: nodes, blocks, who leads, what etcd says of itself.
//!
//! Made of what lies in etcd, for the command line, the API and the console alike. It decides nothing.

use std::collections::BTreeMap;

use licence_core::cluster::quota_book::QuotaBook;
use licence_core::cluster::record::{Alive, Claim, Member, Pool, Settings};
use licence_core::cluster::shared::{Latest, Shared, SharedName, SharedValue};
use licence_core::cluster::{ClusterId, Entry, NodeId, Seen, View};
use licence_core::key::{KeyNo, KeySeries};
use licence_core::rules::QuotaId;
use licence_core::session::SessionId;
use licence_core::time::Utc;
use serde::Serialize;

use super::etcd::EndpointStatus;

/// What lies in etcd below the prefix of a cluster, as far as it can be read.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// What all nodes share.
    pub settings: Option<Settings>,
    /// Nodes that belong to the cluster.
    pub members: BTreeMap<NodeId, Member>,
    /// Nodes that live.
    pub alive: BTreeMap<NodeId, Alive>,
    /// Who may give out how many seats of which key, and the revision that wrote it.
    pub pools: BTreeMap<KeyNo, (Pool, i64)>,
    /// How the limits and reservations of the rules are shared out, and the revision that wrote it.
    pub quotas: (QuotaBook, i64),
    /// What the nodes hold in common beside seats.
    pub shared: Shared,
    /// How many sessions have moved whose seats are still remembered.
    pub claims: usize,
    /// Keys whose value cannot be read, and why.
    pub damaged: BTreeMap<String, String>,
}

impl Contents {
    /// Reads what a range has brought.
    pub fn of(entries: &[Entry]) -> Self {
        let mut contents = Self::default();
        for entry in entries {
            if let Err(why) = contents.take(entry) {
                contents.damaged.insert(entry.key.clone(), why);
            }
        }
        contents
    }

    /// What a node knows.
    pub fn of_view(view: &View) -> Self {
        let alive = |(id, seen): (&NodeId, &Seen<Alive>)| Some((*id, seen.value.clone()?));
        let pool = |(key_no, seen): (&KeyNo, &Seen<Pool>)| {
            Some((*key_no, (seen.value.clone()?, seen.mod_revision)))
        };
        Self {
            settings: view.settings().cloned(),
            members: view.members().clone(),
            alive: view.alive().iter().filter_map(alive).collect(),
            pools: view.pools().iter().filter_map(pool).collect(),
            quotas: (view.quotas().book().clone(), view.quotas().revision()),
            shared: view.shared().clone(),
            claims: view.claims_len(),
            damaged: view.damaged().clone(),
        }
    }

    fn take(&mut self, entry: &Entry) -> Result<(), String> {
        let Entry { key, value, .. } = entry;
        let (kind, name) = key.split_once('/').unwrap_or((key, ""));
        let told = |error: &dyn std::fmt::Display| error.to_string();
        match kind {
            "settings" => self.settings = Some(Settings::read(value).map_err(|why| told(&why))?),
            "members" => {
                let id = name.parse().map_err(|why| told(&why))?;
                self.members.insert(id, Member::read(&id, value).map_err(|why| told(&why))?);
            }
            "alive" => {
                let id = name.parse().map_err(|why| told(&why))?;
                self.alive.insert(id, serde_json::from_slice(value).map_err(|why| told(&why))?);
            }
            "pools" => {
                let id = name.parse().map_err(|why| told(&why))?;
                let pool = Pool::read(value).map_err(|why| told(&why))?;
                self.pools.insert(id, (pool, entry.mod_revision));
            }
            "claims" => {
                let _: SessionId = name.parse().map_err(|why| told(&why))?;
                let _: Claim = serde_json::from_slice(value).map_err(|why| told(&why))?;
                self.claims += 1;
            }
            "quotas" if name.is_empty() => {
                let book = QuotaBook::read(value).map_err(|why| told(&why))?;
                self.quotas = (book, entry.mod_revision);
            }
            "shared" => {
                let name = SharedName::parse(key).ok_or("not a key of a cluster")?;
                self.shared.put(name, entry).map_err(|why| told(&why))?;
            }
            _ => return Err("not a key of a cluster".to_owned()),
        }
        Ok(())
    }

    /// Whether a node has seats of some key, or seats are kept for its sessions.
    pub fn has_block(&self, node: &NodeId) -> bool {
        self.pools.values().any(|(pool, _)| pool.blocks.contains_key(node))
    }

    /// The node that has left and for whose sessions seats are kept, by its id.
    pub fn former(&self, id: &str) -> Option<NodeId> {
        let id = id.parse().ok()?;
        (!self.members.contains_key(&id) && self.has_block(&id)).then_some(id)
    }

    /// The node of this name or id; nothing when there is none or more than one.
    pub fn named(&self, name: &str) -> Option<NodeId> {
        let fits = |(id, member): &(&NodeId, &Member)| {
            member.name.eq_ignore_ascii_case(name) || id.to_string() == name
        };
        let mut found = self.members.iter().filter(fits).map(|(id, _)| *id);
        found.next().filter(|_| found.next().is_none())
    }
}

/// A cluster.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Picture {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: ClusterId,
    /// The node that tells this, if it is one.
    pub node: Option<NodeId>,
    /// How long a node's lease in etcd lives without a renewal, in seconds.
    pub lease_secs: Option<u32>,
    /// How long seats of a node go on that has lost etcd, in seconds.
    pub isolation_secs: Option<u32>,
    /// Its nodes.
    pub nodes: Vec<NodeView>,
    /// Its keys.
    pub keys: Vec<PoolView>,
    /// How the limits and reservations of the rules are shared out among the nodes.
    pub quotas: Vec<QuotaView>,
    /// Who changed the rules of all nodes last; nothing while each node has its own.
    pub rules: Option<WrittenView>,
    /// The same of the access codes.
    pub access_codes: Option<WrittenView>,
    /// Sessions that have moved and whose seats are still remembered.
    pub moved: usize,
    /// What cannot be read in etcd.
    pub damaged: BTreeMap<String, String>,
    /// etcd's own members.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub etcd: Vec<EtcdView>,
}

/// A node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeView {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: NodeId,
    /// Its name; empty for one that has left and still has seats.
    pub name: String,
    /// Where components reach it.
    pub addresses: Vec<String>,
    /// Whether its lease in etcd lives.
    pub alive: bool,
    /// Whether it does what only one node needs to do.
    pub leader: bool,
    /// Version of its program.
    pub version: Option<String>,
    /// Start of its process.
    pub started: Option<Utc>,
    /// When it joined.
    pub joined: Option<Utc>,
}

/// A key that the nodes share.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PoolView {
    /// Its number.
    pub key_no: KeyNo,
    /// Its series.
    #[serde(rename = "KeyID")]
    pub key_id: KeySeries,
    /// Its seats.
    pub seats: u32,
    /// Those of them that are in nobody's block.
    pub unallocated: u32,
    /// The blocks.
    pub blocks: Vec<BlockView>,
}

/// Seats of a key that one node may give out.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlockView {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// How many.
    pub seats: u32,
    /// Those of them that are held, as the node told some seconds ago.
    pub held: Option<u32>,
    /// Whether they are kept for sessions of a node that is down.
    pub orphaned: bool,
    /// How many more the node asks for.
    pub wanting: u32,
}

/// What nodes may give out under a rule.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct QuotaView {
    /// Of what: `limit/<rule>`, `reserve/<series>/<rule>`, and `others/<series>` for all seats of a
    /// series that no reservation keeps.
    pub quota: QuotaId,
    /// The parts of the nodes.
    pub shares: Vec<ShareView>,
}

/// What one node may give out under a rule.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShareView {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// So many seats.
    pub seats: u32,
    /// So many more are held there already.
    pub owing: u32,
    /// So many more are waited for there.
    pub wanting: u32,
}

/// Who changed what nodes share, and when.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct WrittenView {
    /// Name of the node.
    pub node: String,
    /// Name of the user or token; empty for the command line.
    pub user: String,
    /// When.
    pub at: Utc,
}

impl WrittenView {
    /// Of the value that counts.
    pub fn of<T: SharedValue>(latest: &Latest<T>) -> Option<Self> {
        let written = latest.counting()?.0.written();
        Some(Self { node: written.node.clone(), user: written.user.clone(), at: written.at })
    }
}

/// A member of etcd.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EtcdView {
    /// Where it was asked.
    pub endpoint: String,
    /// Whether it answers and is in touch with a leader.
    pub healthy: bool,
    /// Its version.
    pub version: Option<String>,
    /// Whether it leads.
    pub leader: bool,
    /// Size of its database in bytes.
    pub db_bytes: Option<u64>,
    /// Its position in the common log.
    pub raft_index: Option<u64>,
    /// What is wrong.
    pub problem: Option<String>,
}

impl Picture {
    /// The picture of what lies in etcd.
    pub fn new(id: ClusterId, node: Option<NodeId>, contents: &Contents) -> Self {
        let Contents { settings, members, alive, pools, quotas, shared, claims, damaged } =
            contents;
        let leader = alive.keys().find(|id| members.contains_key(id));
        let with_blocks = pools.values().flat_map(|(pool, _)| pool.blocks.keys());
        let mut ids: Vec<NodeId> = members.keys().chain(with_blocks).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        let name = |id: &NodeId| members.get(id).map_or_else(String::new, |one| one.name.clone());
        let nodes = ids.iter().map(|id| {
            let (member, process) = (members.get(id), alive.get(id));
            NodeView {
                id: *id,
                name: name(id),
                addresses: member.map(|member| member.addresses.clone()).unwrap_or_default(),
                alive: process.is_some(),
                leader: leader == Some(id),
                version: process.map(|process| process.version.clone()),
                started: process.map(|process| process.started),
                joined: member.map(|member| member.joined),
            }
        });
        let keys = pools.iter().map(|(key_no, (pool, _))| PoolView {
            key_no: *key_no,
            key_id: pool.series,
            seats: pool.seats,
            unallocated: pool.unallocated(),
            blocks: pool
                .blocks
                .iter()
                .map(|(id, block)| BlockView {
                    node: *id,
                    name: name(id),
                    seats: block.seats,
                    held: alive.get(id).and_then(|process| process.held.get(key_no)).copied(),
                    orphaned: block.orphaned,
                    wanting: pool.wanting.get(id).copied().unwrap_or(0),
                })
                .collect(),
        });
        Self {
            id,
            node,
            lease_secs: settings.as_ref().map(|settings| settings.lease_ttl_secs),
            isolation_secs: settings.as_ref().map(|settings| settings.isolation_secs),
            nodes: nodes.collect(),
            keys: keys.collect(),
            quotas: quota_views(&quotas.0, name),
            rules: WrittenView::of(&shared.rules),
            access_codes: WrittenView::of(&shared.codes),
            moved: *claims,
            damaged: damaged.clone(),
            etcd: Vec::new(),
        }
    }

    /// The same with what etcd's members say.
    #[must_use]
    pub fn with_etcd(mut self, found: Vec<EndpointStatus>) -> Self {
        self.etcd = found.into_iter().map(EtcdView::from).collect();
        self
    }
}

fn quota_views(book: &QuotaBook, name: impl Fn(&NodeId) -> String) -> Vec<QuotaView> {
    let mut views: BTreeMap<&QuotaId, Vec<ShareView>> = BTreeMap::new();
    for (node, of_node) in &book.nodes {
        for (quota, share) in &of_node.shares {
            views.entry(quota).or_default().push(ShareView {
                node: *node,
                name: name(node),
                seats: share.seats,
                owing: share.owes,
                wanting: share.wants,
            });
        }
    }
    views.into_iter().map(|(quota, shares)| QuotaView { quota: quota.clone(), shares }).collect()
}

impl From<EndpointStatus> for EtcdView {
    fn from(found: EndpointStatus) -> Self {
        let endpoint = found.endpoint.to_string();
        match found.answer {
            Ok(member) => Self {
                endpoint,
                healthy: member.leader != 0 && member.errors.is_empty(),
                leader: member.leader != 0 && member.leader == member.member,
                version: Some(member.version),
                db_bytes: Some(member.db_bytes),
                raft_index: Some(member.raft_index),
                problem: (!member.errors.is_empty()).then(|| member.errors.join("; ")),
            },
            Err(error) => Self {
                endpoint,
                healthy: false,
                version: None,
                leader: false,
                db_bytes: None,
                raft_index: None,
                problem: Some(error.told()),
            },
        }
    }
}

impl Picture {
    /// Whether every node lives, every value can be read and every member of etcd that was asked is
    /// well.
    pub fn is_well(&self) -> bool {
        self.nodes.iter().all(|node| node.alive)
            && self.damaged.is_empty()
            && self.etcd.iter().all(|member| member.healthy)
    }
}
