//! Transactions: one at a time, and what is done with its outcome.

use std::time::Duration;

use super::event::Effect;
use super::node::Node;
use super::store::{Change, Compare, Entry, Op, Txn, TxnOutcome};
use super::view::Name;
use crate::key::KeyNo;
use crate::time::MonoTime;

/// How long a transaction that has failed waits for the watch to tell why before all is read again.
const STALL: Duration = Duration::from_secs(1);

/// Most operations of one transaction: etcd allows 128 comparisons and as many operations, and a
/// pool with its claims and the nodes that it names must fit.
pub(super) const OPS_MAX: usize = 50;

/// Transactions of this node.
#[derive(Debug, Default)]
pub(super) struct Txns {
    last_no: u64,
    flight: Option<Flight>,
    /// Revision that the view must pass before the next one, and until when that is waited for.
    pub(super) stalled: Option<(i64, MonoTime)>,
    /// Highest revision that a transaction of ours has made.
    pub(super) last_revision: i64,
    /// The pool that was looked at last, so that each has its turn.
    last_key: Option<KeyNo>,
    turn: u8,
}

#[derive(Debug)]
struct Flight {
    no: u64,
    txn: Txn,
    seen: i64,
}

impl Txns {
    pub(super) const fn is_busy(&self) -> bool {
        self.flight.is_some()
    }
}

/// While a pool is at this revision, a transaction of ours may still change it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fence {
    pub(super) revision: i64,
    /// Nobody knows whether it was done. Otherwise its answer is to come.
    is_unknown: bool,
}

/// The pool that a transaction writes, and the revision that it compares.
fn pool_of(txn: &Txn) -> Option<(KeyNo, i64)> {
    txn.compare.iter().find_map(|compare| match compare {
        Compare::Modified { key, revision } => match Name::parse(key)? {
            Name::Pool(key_no) => Some((key_no, *revision)),
            Name::Alive(_)
            | Name::Claim(_)
            | Name::Member(_)
            | Name::Quotas
            | Name::Settings
            | Name::Shared(_) => None,
        },
        Compare::Created { .. } => None,
    })
}

/// The revision of the quotas that a transaction compares, if it writes them.
fn quotas_of(txn: &Txn) -> Option<i64> {
    txn.compare.iter().find_map(|compare| match compare {
        Compare::Modified { key, revision } => {
            (Name::parse(key)? == Name::Quotas).then_some(*revision)
        }
        Compare::Created { .. } => None,
    })
}

impl Node {
    pub(super) fn txn_timeout(&self) -> Option<MonoTime> {
        self.txns.stalled.filter(|_| self.life.loaded).map(|(_, until)| until)
    }

    /// Sends the next transaction, if one is to be sent.
    pub(super) fn next_txn(&mut self) {
        if self.txns.is_busy() || !self.life.loaded {
            return;
        }
        if let Some((revision, until)) = self.txns.stalled {
            if self.view.revision <= revision {
                if until <= self.now {
                    self.txns.stalled = None;
                    self.reload();
                    self.life_step();
                }
                return;
            }
            self.txns.stalled = None;
        }
        if self.life.incarnation.is_none() {
            if let Some(txn) = self.alive_txn() {
                self.send(txn);
            }
            return;
        }
        if !self.may_write() {
            return;
        }
        // Each kind has its turn, or a flood of one would starve the others.
        for _ in 0..5 {
            self.txns.turn = (self.txns.turn + 1) % 5;
            let txn = match self.txns.turn {
                0 => self.asks_txn(),
                1 => self.pools_txn(),
                2 => self.tidy_txn(),
                3 => self.quotas_txn(),
                _ => self.alive_txn(),
            };
            if let Some(txn) = txn {
                return self.send(txn);
            }
        }
    }

    fn pools_txn(&mut self) -> Option<Txn> {
        let after = self.txns.last_key;
        let mut keys: Vec<KeyNo> = self.due.iter().copied().collect();
        let split = keys.partition_point(|key_no| Some(*key_no) <= after);
        keys.rotate_left(split);
        for key_no in keys {
            if let Some(txn) = self.plan(key_no) {
                self.txns.last_key = Some(key_no);
                return Some(txn);
            }
            self.due.remove(&key_no);
        }
        None
    }

    fn send(&mut self, txn: Txn) {
        self.txns.last_no += 1;
        let no = self.txns.last_no;
        if let Some((key_no, revision)) = pool_of(&txn)
            && let Some(local) = self.locals.get_mut(&key_no)
            && local.fence.is_none_or(|fence| fence.revision != revision)
        {
            local.fence = Some(Fence { revision, is_unknown: false });
        }
        if let Some(revision) = quotas_of(&txn)
            && self.quotas.fence.is_none_or(|fence| fence.revision != revision)
        {
            self.quotas.fence = Some(Fence { revision, is_unknown: false });
        }
        self.txns.flight = Some(Flight { no, txn: txn.clone(), seen: self.view.revision });
        self.out.push(Effect::Txn { no, txn });
    }

    pub(super) fn txn_done(&mut self, no: u64, outcome: TxnOutcome) {
        let Some(flight) = self.txns.flight.take_if(|flight| flight.no == no) else { return };
        match outcome {
            TxnOutcome::Succeeded { revision } => {
                if quotas_of(&flight.txn).is_some() {
                    self.quotas.written(true);
                }
                self.succeeded(flight.txn, revision);
            }
            TxnOutcome::Failed => {
                if quotas_of(&flight.txn).is_some() {
                    self.quotas.written(false);
                    self.quotas.fence = self.quotas.fence.filter(|fence| fence.is_unknown);
                }
                if let Some((key_no, _)) = pool_of(&flight.txn)
                    && let Some(local) = self.locals.get_mut(&key_no)
                    && local.fence.is_some_and(|fence| !fence.is_unknown)
                {
                    local.fence = None;
                }
                self.marks_again(&flight.txn);
                if self.view.revision <= flight.seen {
                    self.txns.stalled = Some((flight.seen, self.now.after(STALL)));
                }
            }
            TxnOutcome::Unknown => {
                if let Some(revision) = quotas_of(&flight.txn) {
                    self.quotas.written(false);
                    self.quotas.fence = Some(Fence { revision, is_unknown: true });
                }
                if let Some((key_no, revision)) = pool_of(&flight.txn)
                    && let Some(local) = self.locals.get_mut(&key_no)
                {
                    local.fence = Some(Fence { revision, is_unknown: true });
                }
                self.marks_again(&flight.txn);
                self.reload();
            }
        }
        self.touch_flight();
    }

    /// What was waiting for the transaction is looked at again.
    fn touch_flight(&mut self) {
        self.look.extend(&self.due);
    }

    /// The view is told what we have written ourselves; the watch will tell it once more.
    fn succeeded(&mut self, txn: Txn, revision: i64) {
        self.txns.last_revision = self.txns.last_revision.max(revision);
        let now = self.now;
        let mut absorbed = Vec::new();
        for op in txn.then {
            let change = match op {
                Op::Put { key, value, lease } => {
                    let create_revision = Name::parse(&key)
                        .and_then(|name| self.view.create_revision(&name))
                        .unwrap_or(revision);
                    let lease = lease.unwrap_or(0);
                    let mod_revision = revision;
                    Change::Put(Entry { key, value, create_revision, mod_revision, lease })
                }
                Op::Delete { key } => Change::Delete { key, revision },
            };
            let deleted = matches!(change, Change::Delete { .. }).then(|| change.key().to_owned());
            absorbed.extend(self.view.absorb(change, now));
            if let Some(key) = deleted
                && revision > self.view.revision
            {
                self.view.bury(&key, revision);
            }
        }
        self.absorbed(absorbed, false);
    }
}
