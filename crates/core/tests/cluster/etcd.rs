//! A model of etcd: one linear history of keys, leases by its own clock, transactions, a log that is
//! compacted. What gets lost on the way to it and back is the world's matter.

use std::collections::{BTreeMap, BTreeSet};

use licence_core::cluster::{Change, Compare, Entry, Op, Txn};

/// etcd's own limit (`--max-txn-ops`).
const TXN_OPS_MAX: usize = 128;

#[derive(Default)]
pub(crate) struct Etcd {
    pub(crate) revision: i64,
    entries: BTreeMap<String, Entry>,
    log: Vec<(i64, Vec<Change>)>,
    compacted: i64,
    leases: BTreeMap<i64, (u64, u64)>,
    next_lease: i64,
    pub(crate) down: bool,
    /// Revisions that were made.
    pub(crate) writes: u64,
    /// Transactions whose comparisons did not hold.
    pub(crate) conflicts: u64,
    pub(crate) written_bytes: u64,
}

impl Etcd {
    /// Leases end; `now` in milliseconds of etcd's clock.
    pub(crate) fn tick(&mut self, now: u64) {
        if self.down {
            return;
        }
        let ended: BTreeSet<i64> =
            self.leases.iter().filter(|(_, (_, end))| *end <= now).map(|(id, _)| *id).collect();
        if !ended.is_empty() {
            self.leases.retain(|id, _| !ended.contains(id));
            self.end(&ended);
        }
    }

    fn end(&mut self, ended: &BTreeSet<i64>) {
        let keys: Vec<String> = self
            .entries
            .values()
            .filter(|entry| ended.contains(&entry.lease))
            .map(|entry| entry.key.clone())
            .collect();
        for key in keys {
            let then = vec![Op::Delete { key }];
            self.write(&then);
        }
    }

    /// When the next lease ends.
    pub(crate) fn next_end(&self) -> Option<u64> {
        if self.down { None } else { self.leases.values().map(|(_, end)| *end).min() }
    }

    /// A new leader gives every lease its whole life again.
    pub(crate) fn elect(&mut self, now: u64) {
        for (ttl, end) in self.leases.values_mut() {
            *end = now + *ttl;
        }
    }

    pub(crate) fn grant(&mut self, ttl_secs: u32, now: u64) -> i64 {
        self.next_lease += 1;
        let ttl = u64::from(ttl_secs) * 1000;
        self.leases.insert(self.next_lease, (ttl, now + ttl));
        self.next_lease
    }

    pub(crate) fn keep_alive(&mut self, lease: i64, now: u64) -> bool {
        let Some((ttl, end)) = self.leases.get_mut(&lease) else { return false };
        *end = now + *ttl;
        true
    }

    pub(crate) fn revoke(&mut self, lease: i64) {
        if self.leases.remove(&lease).is_some() {
            self.end(&BTreeSet::from([lease]));
        }
    }

    pub(crate) fn range(&self) -> (Vec<Entry>, i64) {
        (self.entries.values().cloned().collect(), self.revision)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub(crate) fn put(&mut self, key: &str, value: Vec<u8>) {
        self.write(&[Op::Put { key: key.to_owned(), value, lease: None }]);
    }

    /// Writes over a value without taking it out of its lease.
    pub(crate) fn put_under(&mut self, key: &str, value: Vec<u8>, lease: i64) {
        let lease = (lease != 0).then_some(lease);
        self.write(&[Op::Put { key: key.to_owned(), value, lease }]);
    }

    pub(crate) fn delete(&mut self, key: &str) {
        self.write(&[Op::Delete { key: key.to_owned() }]);
    }

    /// The revision that the transaction has made, if its comparisons hold.
    pub(crate) fn txn(&mut self, txn: &Txn) -> Option<i64> {
        assert!(txn.compare.len() <= TXN_OPS_MAX, "too many comparisons");
        assert!(txn.then.len() <= TXN_OPS_MAX, "too many operations");
        let keys: BTreeSet<&str> = txn.then.iter().map(Op::key).collect();
        assert_eq!(keys.len(), txn.then.len(), "etcd refuses a key twice: {txn:?}");
        let holds = txn.compare.iter().all(|compare| match compare {
            Compare::Created { key, revision } => {
                self.entries.get(key).map_or(0, |entry| entry.create_revision) == *revision
            }
            Compare::Modified { key, revision } => {
                self.entries.get(key).map_or(0, |entry| entry.mod_revision) == *revision
            }
        });
        let lease_is_there = txn.then.iter().all(|op| match op {
            Op::Put { lease: Some(lease), .. } => self.leases.contains_key(lease),
            Op::Put { .. } | Op::Delete { .. } => true,
        });
        if !holds || !lease_is_there {
            self.conflicts += 1;
            return None;
        }
        self.write(&txn.then);
        Some(self.revision)
    }

    fn write(&mut self, then: &[Op]) {
        self.revision += 1;
        self.writes += 1;
        let revision = self.revision;
        let mut changes = Vec::new();
        for op in then {
            match op {
                Op::Put { key, value, lease } => {
                    self.written_bytes += value.len() as u64 + key.len() as u64;
                    let create_revision =
                        self.entries.get(key).map_or(revision, |entry| entry.create_revision);
                    let entry = Entry {
                        key: key.clone(),
                        value: value.clone(),
                        create_revision,
                        mod_revision: revision,
                        lease: lease.unwrap_or(0),
                    };
                    self.entries.insert(key.clone(), entry.clone());
                    changes.push(Change::Put(entry));
                }
                Op::Delete { key } => {
                    if self.entries.remove(key).is_some() {
                        changes.push(Change::Delete { key: key.clone(), revision });
                    }
                }
            }
        }
        self.log.push((revision, changes));
    }

    /// What has changed after a revision; nothing when that is compacted.
    pub(crate) fn changes_after(&self, after: i64) -> Option<(Vec<Change>, i64)> {
        if after < self.compacted {
            return None;
        }
        let from = self.log.partition_point(|(revision, _)| *revision <= after);
        let changes = self.log[from..].iter().flat_map(|(_, changes)| changes.clone()).collect();
        Some((changes, self.revision))
    }

    pub(crate) fn compact(&mut self) {
        self.compact_to(self.revision);
    }

    /// Forgets what nobody needs: the log up to a revision that all watches have passed.
    pub(crate) fn compact_to(&mut self, revision: i64) {
        self.compacted = revision;
        self.log.retain(|(at, _)| *at > revision);
    }
}
