//! What a node knows of etcd: the values below the cluster's prefix, as far as they count.
//!
//! It takes in what a load, a watch and the node's own transactions tell, in whatever order they
//! come: per key the higher revision counts. A value that cannot be read counts for nothing and is
//! remembered as damaged. What follows from a change is not decided here.

use std::collections::{BTreeMap, BTreeSet};

use super::NodeId;
use super::claims::ClaimsSeen;
use super::quota_book::BookSeen;
use super::record::{Alive, Claim, MEMBERS_MAX, Member, Pool, RecordError, Settings, read};
use super::shared::{Shared, SharedName};
use super::store::{Change, Entry};
use crate::key::KeyNo;
use crate::session::SessionId;
use crate::time::MonoTime;

/// Most pools that are looked at: a vendor with thousands of keys at one customer does not exist.
pub const POOLS_MAX: usize = 10_000;

/// Most claims that are kept in memory, one for each session of the largest service. One that is not
/// seen is not counted either: etcd refuses to make it twice.
pub const CLAIMS_MAX: usize = 2_000_000;

/// Most damaged keys that are remembered: enough to show what is wrong.
const DAMAGED_MAX: usize = 1000;

/// Name of a value below the prefix.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Name {
    Alive(NodeId),
    Claim(SessionId),
    Member(NodeId),
    Pool(KeyNo),
    Quotas,
    Settings,
    Shared(SharedName),
}

impl Name {
    pub(super) fn parse(key: &str) -> Option<Self> {
        if key == "settings" {
            return Some(Self::Settings);
        }
        if key == "quotas" {
            return Some(Self::Quotas);
        }
        if let Some(shared) = SharedName::parse(key) {
            return Some(Self::Shared(shared));
        }
        let (kind, rest) = key.split_once('/')?;
        let name = match kind {
            "alive" => Self::Alive(rest.parse().ok()?),
            "claims" => Self::Claim(rest.parse().ok()?),
            "members" => Self::Member(rest.parse().ok()?),
            "pools" => Self::Pool(rest.parse().ok()?),
            _ => return None,
        };
        // Ids may be written in two ways; only one of them is ours, or one thing would have two keys.
        (name.key() == key).then_some(name)
    }

    pub(super) fn key(&self) -> String {
        match self {
            Self::Alive(node) => format!("alive/{node}"),
            Self::Claim(session) => format!("claims/{session}"),
            Self::Member(node) => format!("members/{node}"),
            Self::Pool(key_no) => format!("pools/{key_no}"),
            Self::Quotas => "quotas".to_owned(),
            Self::Settings => "settings".to_owned(),
            Self::Shared(shared) => shared.key().to_owned(),
        }
    }
}

/// A value with the revisions of its key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen<T> {
    /// The value; nothing if it does not count.
    pub value: Option<T>,
    /// Revision that made the key; names an incarnation of a node.
    pub create_revision: i64,
    /// Revision that wrote it last.
    pub mod_revision: i64,
    /// The lease that it lies under; 0 without one.
    pub lease: i64,
    /// When this node first saw it like this.
    pub since: MonoTime,
}

/// What a node knows of etcd.
#[derive(Debug, Default)]
pub struct View {
    pub(super) settings: Option<Settings>,
    settings_seen: i64,
    shared: Shared,
    pub(super) members: BTreeMap<NodeId, Member>,
    members_seen: BTreeMap<NodeId, i64>,
    pub(super) alive: BTreeMap<NodeId, Seen<Alive>>,
    pub(super) pools: BTreeMap<KeyNo, Seen<Pool>>,
    pub(super) claims: ClaimsSeen,
    pub(super) quotas: BookSeen,
    pub(super) revision: i64,
    /// When a block was first seen orphaned without a break.
    pub(super) orphaned_since: BTreeMap<(KeyNo, NodeId), MonoTime>,
    /// Own deletions that the watch has not told yet, so that older news does not undo them.
    deleted: BTreeMap<String, i64>,
    damaged: BTreeMap<String, String>,
    /// When nodes were seen to go.
    pub(super) deaths: BTreeMap<NodeId, MonoTime>,
}

/// What became of a change.
#[derive(Debug)]
pub(super) struct Absorbed {
    pub(super) name: Name,
    /// The claim before, if it is about one.
    pub(super) claim_before: Option<Claim>,
    /// A key whose value does not count, and why, if that has not been told.
    pub(super) damage: Option<(String, String)>,
}

impl View {
    /// The shared settings.
    pub const fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }

    /// What the nodes hold in common beside seats.
    pub const fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The members of the cluster.
    pub const fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// The nodes that live.
    pub const fn alive(&self) -> &BTreeMap<NodeId, Seen<Alive>> {
        &self.alive
    }

    /// The pools by key.
    pub const fn pools(&self) -> &BTreeMap<KeyNo, Seen<Pool>> {
        &self.pools
    }

    /// The quotas of the rules.
    pub const fn quotas(&self) -> &BookSeen {
        &self.quotas
    }

    /// How many claims there are.
    pub fn claims_len(&self) -> usize {
        self.claims.len()
    }

    /// Keys in etcd whose values do not count, and why.
    pub const fn damaged(&self) -> &BTreeMap<String, String> {
        &self.damaged
    }

    /// The revision up to which all is known.
    pub const fn revision(&self) -> i64 {
        self.revision
    }

    pub(super) fn pool(&self, key_no: KeyNo) -> Option<&Pool> {
        self.pools.get(&key_no).and_then(|seen| seen.value.as_ref())
    }

    pub(super) fn lives(&self, node: &NodeId) -> bool {
        self.alive.contains_key(node)
    }

    /// Takes in all that there is. Answers with what has changed.
    pub(super) fn load(
        &mut self,
        entries: Vec<Entry>,
        revision: i64,
        now: MonoTime,
    ) -> Vec<Absorbed> {
        let mut gone: BTreeSet<Name> = BTreeSet::new();
        gone.extend(self.settings.iter().map(|_| Name::Settings));
        gone.extend(
            SharedName::ALL
                .into_iter()
                .filter(|name| self.shared.revision(*name) != 0)
                .map(Name::Shared),
        );
        gone.extend((self.quotas.revision() != 0).then_some(Name::Quotas));
        gone.extend(self.members_seen.keys().map(|node| Name::Member(*node)));
        gone.extend(self.alive.keys().map(|node| Name::Alive(*node)));
        gone.extend(self.pools.keys().map(|key_no| Name::Pool(*key_no)));
        gone.extend(self.claims.iter().map(|(session, _)| Name::Claim(*session)));
        for entry in &entries {
            if let Some(name) = Name::parse(&entry.key) {
                gone.remove(&name);
            }
        }
        let deletions = gone.iter().map(|name| Change::Delete { key: name.key(), revision });
        let changes: Vec<Change> = deletions.chain(entries.into_iter().map(Change::Put)).collect();
        let absorbed = changes.into_iter().filter_map(|change| self.absorb(change, now)).collect();
        self.reached(revision);
        absorbed
    }

    /// All up to this revision has been told.
    pub(super) fn reached(&mut self, revision: i64) {
        self.revision = self.revision.max(revision);
        let known = self.revision;
        self.deleted.retain(|_, at| *at > known);
    }

    /// Remembers an own deletion until the watch has told it.
    pub(super) fn bury(&mut self, key: &str, revision: i64) {
        self.deleted.insert(key.to_owned(), revision);
    }

    /// Takes in one change; nothing if it is old news.
    pub(super) fn absorb(&mut self, change: Change, now: MonoTime) -> Option<Absorbed> {
        let key = change.key().to_owned();
        let Some(name) = Name::parse(&key) else {
            // Keys of others below the prefix are none of ours, and are told only once.
            let why = RecordError::Name.to_string();
            let is_first = self.damaged.len() < DAMAGED_MAX
                && matches!(change, Change::Put(_))
                && self.damaged.insert(key.clone(), why.clone()).is_none();
            return is_first.then_some(Absorbed {
                name: Name::Settings,
                claim_before: None,
                damage: Some((key, why)),
            });
        };
        let known = self.mod_revision(&name).max(self.deleted.get(&key).copied().unwrap_or(0));
        if change.revision() <= known {
            return None;
        }
        let before = match &name {
            Name::Claim(session) => self.claims.get(session).and_then(|seen| seen.value.clone()),
            Name::Alive(_)
            | Name::Member(_)
            | Name::Pool(_)
            | Name::Quotas
            | Name::Settings
            | Name::Shared(_) => None,
        };
        let damage = match change {
            Change::Delete { .. } => {
                self.remove(&name, now);
                None
            }
            Change::Put(entry) => self.put(&name, &entry, now).err(),
        };
        let Some(why) = damage else {
            self.damaged.remove(&key);
            return Some(Absorbed { name, claim_before: before, damage: None });
        };
        let is_other = self.damaged.get(&key) != Some(&why);
        if self.damaged.len() < DAMAGED_MAX {
            self.damaged.insert(key.clone(), why.clone());
        }
        Some(Absorbed { name, claim_before: before, damage: is_other.then_some((key, why)) })
    }

    /// The revision that made a key; known of those only for which it matters.
    pub(super) fn create_revision(&self, name: &Name) -> Option<i64> {
        match name {
            Name::Alive(node) => self.alive.get(node).map(|seen| seen.create_revision),
            Name::Claim(_)
            | Name::Member(_)
            | Name::Pool(_)
            | Name::Quotas
            | Name::Settings
            | Name::Shared(_) => None,
        }
    }

    fn mod_revision(&self, name: &Name) -> i64 {
        match name {
            Name::Alive(node) => self.alive.get(node).map_or(0, |seen| seen.mod_revision),
            Name::Claim(session) => self.claims.get(session).map_or(0, |seen| seen.mod_revision),
            Name::Member(node) => self.members_seen.get(node).copied().unwrap_or(0),
            Name::Pool(key_no) => self.pools.get(key_no).map_or(0, |seen| seen.mod_revision),
            Name::Quotas => self.quotas.revision(),
            Name::Settings => self.settings_seen,
            Name::Shared(shared) => self.shared.revision(*shared),
        }
    }

    fn remove(&mut self, name: &Name, now: MonoTime) {
        match name {
            Name::Alive(node) => {
                self.alive.remove(node);
                self.deaths.insert(*node, now);
                self.restart_orphans(Some(*node), now);
            }
            Name::Claim(session) => {
                self.claims.remove(session);
            }
            Name::Member(node) => {
                self.members.remove(node);
                self.members_seen.remove(node);
            }
            Name::Pool(key_no) => {
                self.pools.remove(key_no);
                self.note_orphans(*key_no, now);
            }
            Name::Quotas => self.quotas.delete(),
            Name::Settings => {
                self.settings = None;
                self.settings_seen = 0;
            }
            Name::Shared(shared) => self.shared.delete(*shared),
        }
    }

    fn put(&mut self, name: &Name, entry: &Entry, now: MonoTime) -> Result<(), String> {
        let text = |error: RecordError| error.to_string();
        match name {
            Name::Alive(node) => {
                if self.alive.len() >= MEMBERS_MAX && !self.alive.contains_key(node) {
                    return Err(format!("more than {MEMBERS_MAX} nodes"));
                }
                if self.alive.get(node).is_none_or(|s| s.create_revision != entry.create_revision) {
                    self.restart_orphans(Some(*node), now);
                }
                self.deaths.remove(node);
                // The key alone says that the node lives, whatever its value.
                let value = read(&entry.value);
                let damage = value.as_ref().err().cloned().map(text);
                self.alive.insert(*node, seen(value.ok(), entry, now));
                damage.map_or(Ok(()), Err)
            }
            Name::Claim(session) => {
                if self.claims.len() >= CLAIMS_MAX && self.claims.get(session).is_none() {
                    return Err(format!("more than {CLAIMS_MAX} claims"));
                }
                let value = read(&entry.value);
                let damage = value.as_ref().err().cloned().map(text);
                self.claims.insert(*session, seen(value.ok(), entry, now));
                damage.map_or(Ok(()), Err)
            }
            Name::Member(node) => {
                if self.members_seen.len() >= MEMBERS_MAX && !self.members_seen.contains_key(node) {
                    return Err(format!("more than {MEMBERS_MAX} members"));
                }
                self.members_seen.insert(*node, entry.mod_revision);
                self.members.remove(node);
                self.members.insert(*node, Member::read(node, &entry.value).map_err(text)?);
                Ok(())
            }
            Name::Pool(key_no) => {
                if self.pools.len() >= POOLS_MAX && !self.pools.contains_key(key_no) {
                    return Err(format!("more than {POOLS_MAX} pools"));
                }
                let value = Pool::read(&entry.value);
                let damage = value.as_ref().err().cloned().map(text);
                self.pools.insert(*key_no, seen(value.ok(), entry, now));
                self.note_orphans(*key_no, now);
                damage.map_or(Ok(()), Err)
            }
            Name::Quotas => self.quotas.put(entry).map_err(text),
            Name::Settings => {
                self.settings_seen = entry.mod_revision;
                self.settings = None;
                self.settings = Some(Settings::read(&entry.value).map_err(text)?);
                Ok(())
            }
            Name::Shared(shared) => self.shared.put(*shared, entry).map_err(text),
        }
    }

    /// Starts the time of blocks that have become orphaned and stops that of others.
    fn note_orphans(&mut self, key_no: KeyNo, now: MonoTime) {
        let pool = self.pools.get(&key_no).and_then(|seen| seen.value.as_ref());
        let first = NodeId::from_bytes([0; 32]);
        let last = NodeId::from_bytes([0xFF; 32]);
        let noted: Vec<NodeId> = self
            .orphaned_since
            .range((key_no, first)..=(key_no, last))
            .map(|((_, node), _)| *node)
            .collect();
        for node in noted {
            if pool.is_none_or(|pool| !pool.is_orphaned(&node)) {
                self.orphaned_since.remove(&(key_no, node));
            }
        }
        for (node, block) in pool.iter().flat_map(|pool| &pool.blocks) {
            if block.orphaned {
                self.orphaned_since.entry((key_no, *node)).or_insert(now);
            }
        }
    }

    /// The time of a node's orphaned blocks begins again: it came back or went away, or nobody knows
    /// whether it did because there was a gap in what was told.
    pub(super) fn restart_orphans(&mut self, of: Option<NodeId>, now: MonoTime) {
        for ((_, node), since) in &mut self.orphaned_since {
            if of.is_none_or(|of| of == *node) {
                *since = now;
            }
        }
    }
}

const fn seen<T>(value: Option<T>, entry: &Entry, now: MonoTime) -> Seen<T> {
    Seen {
        value,
        create_revision: entry.create_revision,
        mod_revision: entry.mod_revision,
        lease: entry.lease,
        since: now,
    }
}
