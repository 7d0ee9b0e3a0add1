//! A journal in memory: for tests that are not about the disk. It survives nothing.

use licence_core::journal::{Record, Snapshot};

use super::{Journal, StoreError};

/// Keeps the snapshot and nothing else.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    snapshot: Snapshot,
}

impl Journal for MemoryJournal {
    fn load(&mut self) -> Result<Snapshot, StoreError> {
        Ok(self.snapshot.clone())
    }

    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        for record in records {
            self.snapshot.apply(record);
        }
        Ok(())
    }
}
