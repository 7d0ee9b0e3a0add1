//! What lies in etcd: JSON values of one form, pinned by tests. They are read with limits, because
//! whoever has rights in etcd may have written anything.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::NodeId;
use crate::key::{KeyNo, KeySeries};
use crate::seal::Jwk;
use crate::time::Utc;

/// Form of the values. A node that finds another one in `settings` does not take part.
pub const FORMAT: u32 = 1;

/// Most bytes of one value: a pool of [`MEMBERS_MAX`] blocks, the largest value there is, has some
/// 20 000, and etcd takes 1.5 MiB for a whole request.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Most members of one cluster: the plan is made for 30; more nodes would spend their time on
/// transactions that lose against each other.
pub const MEMBERS_MAX: usize = 100;

/// `settings`: what all nodes share, written when the cluster is made.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Settings {
    /// [`FORMAT`].
    pub version: u32,
    /// Life of a node's lease in etcd, in seconds.
    pub lease_ttl_secs: u32,
    /// How long seats of a node that has lost etcd go on, in seconds.
    pub isolation_secs: u32,
    /// When the cluster was made.
    pub created: Utc,
}

impl Settings {
    /// What a cluster is made with: a death is seen after five seconds, and whoever looks after etcd
    /// has an hour before seats are lost.
    pub const fn new(created: Utc) -> Self {
        Self { version: FORMAT, lease_ttl_secs: 5, isolation_secs: 3600, created }
    }
}

/// `members/<NodeId>`: a node that belongs to the cluster until it leaves.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Member {
    /// Its name, for people.
    pub name: String,
    /// Public key of its identity, by which its leases are verified.
    pub key: Jwk,
    /// Where components reach it, as `host:port`.
    pub addresses: Vec<String>,
    /// When it joined.
    pub joined: Utc,
}

/// `alive/<NodeId>`: lies under the node's lease in etcd, so the node lives while it is there.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Alive {
    /// Version of the program.
    pub version: String,
    /// When the process started; tells one process from the one before.
    pub started: Utc,
    /// Seats that are held of each key, for people; some seconds old.
    #[serde(default)]
    pub held: BTreeMap<KeyNo, u32>,
    /// Seats that the node's licence of each key grants. A key has as many as the smallest of them.
    #[serde(default)]
    pub keys: BTreeMap<KeyNo, u32>,
}

/// `pools/<KeyNo>`: who may give out how many seats of a key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Pool {
    /// The key's series.
    pub series: KeySeries,
    /// Seats that the key grants.
    pub seats: u32,
    /// The blocks of the nodes. Together never more than `seats`, unless the key has shrunk.
    #[serde(default)]
    pub blocks: BTreeMap<NodeId, Block>,
    /// Nodes that ask others for seats, and for how many.
    #[serde(default)]
    pub wanting: BTreeMap<NodeId, u32>,
}

impl Pool {
    /// Seats of all blocks together.
    pub fn allocated(&self) -> u64 {
        self.blocks.values().map(|block| u64::from(block.seats)).sum()
    }

    /// Seats that are in nobody's block.
    pub fn unallocated(&self) -> u32 {
        u32::try_from(u64::from(self.seats).saturating_sub(self.allocated())).unwrap_or(u32::MAX)
    }

    /// Seats in a node's block.
    pub fn block_seats(&self, node: &NodeId) -> u32 {
        self.blocks.get(node).map_or(0, |block| block.seats)
    }

    /// Whether a node's block waits for it or for its sessions.
    pub fn is_orphaned(&self, node: &NodeId) -> bool {
        self.blocks.get(node).is_some_and(|block| block.orphaned)
    }
}

/// Seats of one key that one node may give out.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Block {
    /// How many.
    pub seats: u32,
    /// The node has died: the seats are kept for its sessions and for its return.
    #[serde(default)]
    pub orphaned: bool,
    /// The node has answered those who want seats that it has none to give.
    #[serde(default)]
    pub full: bool,
}

/// `claims/<SessionId>`: who has the seat of a session that has moved.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Claim {
    /// The key whose seat it is.
    pub key_no: KeyNo,
    /// Who has the seat, or had it before it was given.
    pub holder: NodeId,
    /// Who asks for it, or has got it.
    pub to: NodeId,
    /// How far it is.
    pub state: ClaimState,
    /// Nodes that were down when the seat was taken from their blocks: they may still have the
    /// session in their books, and let it go when they return.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<NodeId>,
}

/// How far a claim is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClaimState {
    /// `to` asks `holder` for the seat.
    Asked,
    /// `to` has it.
    Given,
    /// The session has ended, or nobody had a seat of it.
    Ended,
}

/// Why a value in etcd does not count.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It contradicts itself or a limit.
    #[error("{0}")]
    Content(&'static str),
    /// The name of its key is none that the cluster uses.
    #[error("the name of the key is not one of a cluster's")]
    Name,
    /// Not JSON of the expected form.
    #[error("not the expected JSON: {0}")]
    Syntax(String),
    /// Longer than [`VALUE_BYTES_MAX`].
    #[error("longer than {VALUE_BYTES_MAX} bytes")]
    TooLong,
}

/// Reads a value.
pub(super) fn read<T: DeserializeOwned>(value: &[u8]) -> Result<T, RecordError> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(RecordError::TooLong);
    }
    serde_json::from_slice(value).map_err(|error| RecordError::Syntax(error.to_string()))
}

/// Writes a value. A record of ours is always JSON: its maps have keys of text or numbers.
pub(super) fn write<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).unwrap_or_default()
}

impl Settings {
    /// Reads `settings`.
    ///
    /// # Errors
    ///
    /// See [`RecordError`]. A lease of less than 3 s would end between two renewals, one of more than
    /// a minute would keep users waiting; isolation of more than a day would lock seats of a dead
    /// node for longer than anybody waits.
    pub fn read(value: &[u8]) -> Result<Self, RecordError> {
        let settings: Self = read(value)?;
        if settings.version != FORMAT {
            return Err(RecordError::Content("written by a version that is not understood"));
        }
        if !(3..=60).contains(&settings.lease_ttl_secs) {
            return Err(RecordError::Content("LeaseTtlSecs is not between 3 and 60"));
        }
        if settings.isolation_secs > 86_400 {
            return Err(RecordError::Content("IsolationSecs is more than a day"));
        }
        Ok(settings)
    }

    /// The value.
    pub fn write(&self) -> Vec<u8> {
        write(self)
    }
}

impl Member {
    /// Reads `members/<NodeId>`.
    ///
    /// # Errors
    ///
    /// See [`RecordError`]; the key must be the one that the node is named after.
    pub fn read(id: &NodeId, value: &[u8]) -> Result<Self, RecordError> {
        let member: Self = read(value)?;
        let key = member.key.ed25519().map_err(|_| RecordError::Content("Key is not Ed25519"))?;
        if NodeId::of(&key) != *id {
            return Err(RecordError::Content("Key is not the one that the node is named after"));
        }
        Ok(member)
    }

    /// The value.
    pub fn write(&self) -> Vec<u8> {
        write(self)
    }
}

impl Pool {
    /// Reads `pools/<KeyNo>`.
    ///
    /// # Errors
    ///
    /// See [`RecordError`].
    pub fn read(value: &[u8]) -> Result<Self, RecordError> {
        let pool: Self = read(value)?;
        if pool.blocks.len() > MEMBERS_MAX || pool.wanting.len() > MEMBERS_MAX {
            return Err(RecordError::Content("more blocks than a cluster may have nodes"));
        }
        if pool.allocated() > u64::from(u32::MAX) {
            return Err(RecordError::Content("more seats in blocks than any key has"));
        }
        Ok(pool)
    }

    /// The value.
    pub fn write(&self) -> Vec<u8> {
        write(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::SigningKey;

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 32])
    }

    #[test]
    fn records_have_the_published_form() {
        let pool = Pool {
            series: KeySeries::from_u16(0x672B),
            seats: 50,
            blocks: BTreeMap::from([(node(0), Block { seats: 12, orphaned: false, full: true })]),
            wanting: BTreeMap::from([(node(0), 3)]),
        };
        let a = "A".repeat(43);
        assert_eq!(
            String::from_utf8(pool.write()).unwrap(),
            format!(
                r#"{{"Series":"672B","Seats":50,"Blocks":{{"{a}":{{"Seats":12,"Orphaned":false,"Full":true}}}},"Wanting":{{"{a}":3}}}}"#
            )
        );
        assert_eq!(Pool::read(&pool.write()), Ok(pool));
        let claim = Claim {
            key_no: KeyNo(7),
            holder: node(0),
            to: node(0),
            state: ClaimState::Asked,
            left: Vec::new(),
        };
        assert_eq!(
            String::from_utf8(write(&claim)).unwrap(),
            format!(r#"{{"KeyNo":7,"Holder":"{a}","To":"{a}","State":"asked"}}"#)
        );
        let alive = Alive {
            version: "1.0".into(),
            started: Utc::from_unix_millis(0),
            held: BTreeMap::from([(KeyNo(7), 12)]),
            keys: BTreeMap::from([(KeyNo(7), 50)]),
        };
        assert_eq!(
            String::from_utf8(write(&alive)).unwrap(),
            r#"{"Version":"1.0","Started":"1970-01-01T00:00:00.000Z","Held":{"7":12},"Keys":{"7":50}}"#
        );
        assert_eq!(read::<Alive>(&write(&alive)), Ok(alive));
        let settings = Settings::new(Utc::from_unix_millis(0));
        assert_eq!(
            String::from_utf8(settings.write()).unwrap(),
            r#"{"Version":1,"LeaseTtlSecs":5,"IsolationSecs":3600,"Created":"1970-01-01T00:00:00.000Z"}"#
        );
        assert_eq!(Settings::read(&settings.write()), Ok(settings));
    }

    #[test]
    fn value_that_does_not_count_says_why() {
        let settings = |version, ttl, isolation| {
            let mut settings = Settings::new(Utc::from_unix_millis(0));
            settings.version = version;
            settings.lease_ttl_secs = ttl;
            settings.isolation_secs = isolation;
            Settings::read(&settings.write())
        };
        assert!(settings(1, 3, 86_400).is_ok());
        for (version, ttl, isolation) in [(2, 5, 0), (1, 2, 0), (1, 61, 0), (1, 5, 86_401)] {
            assert!(settings(version, ttl, isolation).is_err(), "{version} {ttl} {isolation}");
        }
        for text in ["", "{}", "[]", r#"{"Series":"672B","Seats":-1}"#, "\u{0}"] {
            assert!(Pool::read(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(Pool::read(&vec![b' '; VALUE_BYTES_MAX + 1]), Err(RecordError::TooLong));
        let seats = u32::MAX;
        let blocks = [(node(1), seats), (node(2), 1)]
            .map(|(node, seats)| (node, Block { seats, ..Block::default() }));
        let series = KeySeries::from_u16(1);
        let pool = Pool { series, seats, blocks: BTreeMap::from(blocks), wanting: BTreeMap::new() };
        assert!(Pool::read(&pool.write()).is_err());
    }

    #[test]
    fn member_is_named_after_its_key() {
        let key = SigningKey::from_seed(&[3; 32]).public();
        let joined = Utc::from_unix_millis(0);
        let member = Member { name: "a".into(), key: key.jwk(), addresses: Vec::new(), joined };
        let value = member.write();
        assert_eq!(Member::read(&NodeId::of(&key), &value), Ok(member));
        assert!(Member::read(&node(1), &value).is_err());
    }
}
