//! The file that says which access codes the cluster has, by their digests.
//!
//! A node that starts while etcd cannot be reached asks for them all the same. It also says whether the
//! rules on the disk are the cluster's or still the node's own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use licence_core::access_code::CodeDigest;
use licence_core::cluster::ClusterId;
use licence_core::cluster::shared::SHARED_BYTES_MAX;
use licence_core::key::KeyNo;
use serde::{Deserialize, Serialize};

use crate::atomic_file::{self, Readers};

/// What is remembered.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Remembered {
    /// The cluster.
    pub(super) cluster: ClusterId,
    /// Whether the file of the rules is a copy of the cluster's.
    #[serde(default)]
    pub(super) has_rules: bool,
    /// Its access codes; nothing while it has none of its own and those of each node's settings count.
    #[serde(default)]
    pub(super) codes: Option<BTreeMap<KeyNo, CodeDigest>>,
}

/// The file.
#[derive(Clone, Debug)]
pub struct KnownCodes {
    path: PathBuf,
}

impl KnownCodes {
    /// The file at this path.
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The codes of this cluster, if they are known. Blocks on the disk.
    pub fn codes(&self, cluster: ClusterId) -> Option<BTreeMap<KeyNo, CodeDigest>> {
        self.read(cluster)?.codes
    }

    /// Whether the file of the rules is a copy of this cluster's.
    pub(super) fn has_rules(&self, cluster: ClusterId) -> bool {
        self.read(cluster).is_some_and(|remembered| remembered.has_rules)
    }

    /// What is remembered of this cluster.
    fn read(&self, cluster: ClusterId) -> Option<Remembered> {
        let remembered = self.load().unwrap_or_else(|error| {
            log::error!("{} cannot be read: {error}", self.path.display());
            None
        });
        remembered.filter(|remembered| remembered.cluster == cluster)
    }

    fn load(&self) -> io::Result<Option<Remembered>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = Vec::new();
        file.take(SHARED_BYTES_MAX as u64 + 1024).read_to_end(&mut text)?;
        serde_json::from_slice(&text).map(Some).map_err(io::Error::from)
    }

    /// Replaces the file. One that cannot be written is logged: it counts only after a restart
    /// without etcd. Blocks on the disk.
    pub(super) fn write(&self, remembered: &Remembered) {
        let written = serde_json::to_vec(remembered).map_err(io::Error::from);
        let written =
            written.and_then(|text| atomic_file::replace(&self.path, &text, Readers::Owner));
        if let Err(error) = written {
            log::error!("{} cannot be written: {error}", self.path.display());
        }
    }

    /// The server is no node any longer.
    pub(super) fn remove(&self) {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("{} cannot be removed: {error}", self.path.display());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_known_again_for_the_cluster_they_are_of() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster-codes.json");
        let file = KnownCodes::new(path.clone());
        let (own, other) = (ClusterId::from_bytes([1; 16]), ClusterId::from_bytes([2; 16]));
        assert_eq!(file.codes(own), None);
        file.write(&Remembered { cluster: own, has_rules: true, codes: None });
        assert!(file.codes(own).is_none() && file.has_rules(own) && !file.has_rules(other));
        let codes = BTreeMap::from([(KeyNo(7), CodeDigest::new("x7", [1; 16]))]);
        file.write(&Remembered { cluster: own, has_rules: false, codes: Some(codes.clone()) });
        assert_eq!((file.codes(own), file.codes(other)), (Some(codes), None));
        assert!(!std::fs::read_to_string(&path).unwrap().contains("x7"));
        std::fs::write(&path, "torso").unwrap();
        assert_eq!(file.codes(own), None);
        file.remove();
        file.remove();
        assert!(!path.exists());
    }
}
