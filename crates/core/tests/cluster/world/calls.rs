//! What nodes ask of etcd and what it tells them: calls that are lost, late or repeated, and the watch.

use licence_core::cluster::record::Pool;
use licence_core::cluster::{Event, TxnOutcome};

use super::{CALL_MILLIS, Call, Msg, World};

impl World {
    pub(super) fn call(&mut self, host: usize, what: Call) {
        self.seq += 1;
        let (call, process) = (self.seq, self.hosts[host].process);
        self.hosts[host].calls.insert(call, what.clone());
        self.after(CALL_MILLIS, Msg::Timeout { host, process, call });
        if self.hosts[host].cut && !self.draw.chance(10) {
            return;
        }
        let is_late = self.healed_at.is_none() && self.draw.chance(2);
        let delay = if is_late {
            self.count("request late");
            self.draw.below(6000)
        } else {
            1 + self.draw.below(8)
        };
        self.after(delay, Msg::Etcd { host, process, call, what });
    }

    pub(super) fn at_etcd(&mut self, host: usize, process: u64, call: u64, what: Call) {
        if self.etcd.down {
            return;
        }
        let now = self.t;
        let event = match what {
            Call::Grant { ttl_secs, sent } => {
                Event::LeaseGranted { lease: self.etcd.grant(ttl_secs, now), sent }
            }
            Call::Keep { lease, sent } => {
                if self.etcd.keep_alive(lease, now) {
                    Event::KeptAlive { lease, sent }
                } else {
                    Event::LeaseLost { lease }
                }
            }
            Call::Load => {
                let (entries, revision) = self.etcd.range();
                Event::Loaded { entries, revision }
            }
            Call::Revoke { lease } => {
                self.etcd.revoke(lease);
                Event::Tick
            }
            Call::Txn { no, txn } => {
                let outcome = match self.etcd.txn(&txn) {
                    Some(revision) => TxnOutcome::Succeeded { revision },
                    None => TxnOutcome::Failed,
                };
                Event::TxnDone { no, outcome }
            }
        };
        let is_lost = self.hosts[host].cut || self.healed_at.is_none() && self.draw.chance(1);
        if is_lost {
            self.count("answer lost");
            return;
        }
        let delay = if self.healed_at.is_none() && self.draw.chance(2) {
            self.draw.below(3000)
        } else {
            1 + self.draw.below(8)
        };
        self.after(delay, Msg::Answer { host, process, call, event });
    }

    pub(super) fn after_etcd(&mut self) {
        if let Some(end) = self.etcd.next_end()
            && self.etcd_tick_at.is_none_or(|at| at > end)
        {
            self.etcd_tick_at = Some(end);
            self.after(end.saturating_sub(self.t), Msg::EtcdTick);
        }
        if self.etcd.revision == self.checked_revision {
            return;
        }
        self.checked_revision = self.etcd.revision;
        for host in 0..self.hosts.len() {
            self.plan_pump(host);
        }
        for (key_no, seats) in &self.most() {
            if let Some(entry) = self.etcd.get(&format!("pools/{key_no}")) {
                let Ok(pool) = Pool::read(&entry.value) else {
                    assert!(self.mends.contains_key(&entry.key), "{entry:?}");
                    continue;
                };
                if pool.allocated() > u64::from(*seats) {
                    self.fail(&format!("blocks of {key_no} add up to more than {seats}: {pool:?}"));
                }
            }
        }
    }

    pub(super) fn plan_pump(&mut self, host: usize) {
        if self.hosts[host].watch.is_some() && !self.hosts[host].is_pumping {
            self.hosts[host].is_pumping = true;
            let (delay, process) = (1 + self.draw.below(15), self.hosts[host].process);
            self.after(delay, Msg::Pump { host, process });
        }
    }

    pub(super) fn pump(&mut self, host: usize) {
        self.hosts[host].is_pumping = false;
        let Some(after) = self.hosts[host].watch else { return };
        if self.hosts[host].cut || self.etcd.down {
            if self.draw.chance(20) {
                self.hosts[host].watch = None;
                self.count("watch lost");
                self.feed(host, Event::WatchLost);
            } else {
                self.hosts[host].is_pumping = true;
                let process = self.hosts[host].process;
                self.after(500, Msg::Pump { host, process });
            }
            return;
        }
        match self.etcd.changes_after(after) {
            None => {
                self.hosts[host].watch = None;
                self.count("watch lost");
                self.feed(host, Event::WatchLost);
            }
            Some((changes, revision)) if !changes.is_empty() => {
                self.hosts[host].watch = Some(revision);
                self.feed(host, Event::Changed { changes, revision });
            }
            Some(_) => {}
        }
    }
}
