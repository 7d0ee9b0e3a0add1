//! What is asked of etcd and what it tells, in values. Keys are relative to the cluster's prefix
//! ([`super::ClusterId::prefix`]); how they travel is the caller's matter.

/// A key with its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The key, below the cluster's prefix.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// Revision that made the key.
    pub create_revision: i64,
    /// Revision that wrote it last.
    pub mod_revision: i64,
    /// Lease that it lies under; 0 without one.
    pub lease: i64,
}

/// One change that a watch tells.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// Written.
    Put(Entry),
    /// Deleted, or its lease ended.
    Delete {
        /// The key.
        key: String,
        /// Revision that deleted it.
        revision: i64,
    },
}

impl Change {
    /// The key that it is about.
    pub fn key(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete { key, .. } => key,
        }
    }

    /// The revision that brought it.
    pub const fn revision(&self) -> i64 {
        match self {
            Self::Put(entry) => entry.mod_revision,
            Self::Delete { revision, .. } => *revision,
        }
    }
}

/// A transaction: `then` is done, all of it, if every comparison holds. Otherwise nothing is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Txn {
    /// What must hold.
    pub compare: Vec<Compare>,
    /// What is done then.
    pub then: Vec<Op>,
}

/// What must hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Compare {
    /// The key was made by this revision; 0: there is no such key.
    Created {
        /// The key.
        key: String,
        /// The revision.
        revision: i64,
    },
    /// The key was last written by this revision; 0: there is no such key.
    Modified {
        /// The key.
        key: String,
        /// The revision.
        revision: i64,
    },
}

/// What is done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Op {
    /// The key gets a value.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Vec<u8>,
        /// The lease that it shall lie under.
        lease: Option<i64>,
    },
    /// The key goes, if it is there.
    Delete {
        /// The key.
        key: String,
    },
}

impl Op {
    /// The key that it is about.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TxnOutcome {
    /// Done, by this revision.
    Succeeded {
        /// The revision.
        revision: i64,
    },
    /// A comparison did not hold: nothing was done.
    Failed,
    /// Nobody knows: the answer was lost, or it was never sent. It may still be done later.
    Unknown,
}
