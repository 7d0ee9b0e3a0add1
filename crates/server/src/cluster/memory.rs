//! The file that says until when sessions of this node may go on without its cluster.
//!
//! A server that starts while etcd cannot be reached learns from it for how long the sessions that it
//! has restored may go on. It is written by wall time, the only one that outlives a restart of the
//! computer; how long they may is decided by `licence_core::cluster`.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use licence_core::cluster::ClusterId;
use licence_core::time::{MonoTime, Now, Utc};
use serde::{Deserialize, Serialize};

use crate::atomic_file::{self, Readers};

/// Most bytes of the file: two short fields.
const BYTES_MAX: u64 = 1024;

/// What is remembered.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Remembered {
    /// The cluster.
    pub(super) cluster: ClusterId,
    /// Until when sessions may go on; it is written some seconds late, so they may go on longer.
    pub(super) hold_until: Utc,
    /// When this was written.
    pub(super) written: Utc,
}

/// The file.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    path: PathBuf,
}

impl Memory {
    /// The file at this path.
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Until when sessions may go on, on the monotonic clock of this process: this very moment if that
    /// is over. Nothing when it is not known, or the clock has gone back since: then nothing is
    /// promised to anybody.
    pub(super) fn read(&self, cluster: ClusterId, now: Now) -> Option<MonoTime> {
        let remembered = match self.load() {
            Ok(remembered) => remembered?,
            Err(error) => {
                log::warn!("{} cannot be read: {error}", self.path.display());
                return None;
            }
        };
        if remembered.cluster != cluster || now.utc < remembered.written {
            return None;
        }
        let left = remembered.hold_until.unix_millis().saturating_sub(now.utc.unix_millis());
        Some(now.mono.after(Duration::from_millis(u64::try_from(left).unwrap_or(0))))
    }

    fn load(&self) -> io::Result<Option<Remembered>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut text)?;
        serde_json::from_slice(&text).map(Some).map_err(io::Error::from)
    }

    /// Replaces the file. One that cannot be written is logged: it only shortens what is promised
    /// after a restart. Blocks on the disk.
    pub(super) fn write(&self, remembered: Remembered) {
        let text = serde_json::to_vec(&remembered).unwrap_or_default();
        if let Err(error) = atomic_file::replace(&self.path, &text, Readers::Owner) {
            log::warn!("{} cannot be written: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_is_found_again_on_another_monotonic_clock() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::new(dir.path().join("cluster.json"));
        let (own, other) = (ClusterId::from_bytes([1; 16]), ClusterId::from_bytes([2; 16]));
        let at =
            |mono, utc| Now { mono: MonoTime::from_millis(mono), utc: Utc::from_unix_millis(utc) };
        assert_eq!(memory.read(own, at(90_000, 1_000_000)), None, "there is no file");
        let (hold_until, written) =
            (Utc::from_unix_millis(1_060_000), Utc::from_unix_millis(940_000));
        memory.write(Remembered { cluster: own, hold_until, written });
        for (cluster, now, wanted) in [
            (own, at(90_000, 1_000_000), Some(150_000)),
            (own, at(5, 940_000), Some(120_005)),
            // It is over.
            (own, at(90_000, 1_060_001), Some(90_000)),
            (other, at(90_000, 1_000_000), None),
            // The clock has gone back: nobody knows how long it was.
            (own, at(90_000, 939_999), None),
        ] {
            assert_eq!(memory.read(cluster, now), wanted.map(MonoTime::from_millis), "{now:?}");
        }
        std::fs::write(dir.path().join("cluster.json"), "torso").unwrap();
        assert_eq!(memory.read(own, at(90_000, 1_000_000)), None);
    }
}
