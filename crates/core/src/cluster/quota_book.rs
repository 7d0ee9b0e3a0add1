//! `quotas` in etcd: how much of each quota of the rules each node may give out.
//!
//! One value for all quotas and nodes: who changes it has seen all of it, so shares never add up to
//! more than a quota has, unless the rules were made stricter meanwhile. What is written into it is
//! decided in [`super::quotas`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::NodeId;
use super::record::{MEMBERS_MAX, RecordError};
use super::store::Entry;
use crate::rules::QuotaId;

/// Most bytes of the value: 200 rules with long names at 30 nodes have some 800 000, and etcd takes
/// 1.5 MiB for a whole request. A node writes none that is larger.
pub const QUOTAS_BYTES_MAX: usize = 1024 * 1024;

/// The value.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct QuotaBook {
    /// By node.
    #[serde(default)]
    pub nodes: BTreeMap<NodeId, NodeQuotas>,
}

/// What one node has.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeQuotas {
    /// The incarnation of the node that has written this last: it has seen what others took of its
    /// shares while it was dead.
    pub life: i64,
    /// By quota; without those of which it has and wants nothing.
    #[serde(default)]
    pub shares: BTreeMap<QuotaId, QuotaShare>,
}

/// What one node has of one quota.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct QuotaShare {
    /// So many seats may be held there.
    pub seats: u32,
    /// So many more are held there already: they came with sessions of other nodes, or were there
    /// before the rule.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub owes: u32,
    /// So many more are waited for there, and nothing was left.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wants: u32,
    /// The node has answered those who want more that it has none to spare.
    #[serde(default, skip_serializing_if = "is_false")]
    pub full: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

impl QuotaBook {
    /// Reads the value.
    ///
    /// # Errors
    ///
    /// See [`RecordError`].
    pub fn read(value: &[u8]) -> Result<Self, RecordError> {
        if value.len() > QUOTAS_BYTES_MAX {
            return Err(RecordError::TooLong);
        }
        let book: Self = serde_json::from_slice(value)
            .map_err(|error| RecordError::Syntax(error.to_string()))?;
        if book.nodes.len() > MEMBERS_MAX {
            return Err(RecordError::Content("more nodes than a cluster may have"));
        }
        Ok(book)
    }

    /// The value.
    pub fn write(&self) -> Vec<u8> {
        super::record::write(self)
    }

    /// What all nodes together may give out of a quota.
    pub fn allocated(&self, id: &QuotaId) -> u64 {
        let shares = self.nodes.values().filter_map(|node| node.shares.get(id));
        shares.map(|share| u64::from(share.seats)).sum()
    }

    /// What one node has.
    pub fn share(&self, node: &NodeId, id: &QuotaId) -> QuotaShare {
        let of_node = self.nodes.get(node).and_then(|node| node.shares.get(id));
        of_node.copied().unwrap_or_default()
    }
}

/// The value as a node knows it.
#[derive(Debug, Default)]
pub struct BookSeen {
    book: QuotaBook,
    is_damaged: bool,
    revision: i64,
}

impl BookSeen {
    /// What it says; nothing in it while it does not count.
    pub const fn book(&self) -> &QuotaBook {
        &self.book
    }

    /// Whether it does not count: nobody writes over it, a person shall look at it.
    pub const fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// Revision that wrote it last; 0 when there is none.
    pub const fn revision(&self) -> i64 {
        self.revision
    }

    pub(super) fn put(&mut self, entry: &Entry) -> Result<(), RecordError> {
        self.revision = entry.mod_revision;
        let read = QuotaBook::read(&entry.value);
        self.is_damaged = read.is_err();
        self.book = QuotaBook::default();
        self.book = read?;
        Ok(())
    }

    pub(super) fn delete(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_has_the_published_form() {
        let node = NodeId::from_bytes([0; 32]);
        let share = QuotaShare { seats: 3, wants: 1, ..QuotaShare::default() };
        let shares = BTreeMap::from([(QuotaId::limit("Гости"), share)]);
        let book = QuotaBook { nodes: BTreeMap::from([(node, NodeQuotas { life: 7, shares })]) };
        let id = "A".repeat(43);
        let text = format!(
            r#"{{"Nodes":{{"{id}":{{"Life":7,"Shares":{{"limit/гости":{{"Seats":3,"Wants":1}}}}}}}}}}"#
        );
        assert_eq!(String::from_utf8(book.write()).unwrap(), text);
        assert_eq!(QuotaBook::read(text.as_bytes()), Ok(book));
        for damaged in ["", "7", r#"{"Nodes":{"x":{"Life":1}}}"#, r#"{"Nodes":{"":1}}"#] {
            assert!(QuotaBook::read(damaged.as_bytes()).is_err(), "{damaged}");
        }
        let long = vec![b' '; QUOTAS_BYTES_MAX + 1];
        assert_eq!(QuotaBook::read(&long), Err(RecordError::TooLong));
    }
}
