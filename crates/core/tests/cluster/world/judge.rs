//! The counter that judges, and what must be possible when everything works again.
//!
//! It knows nothing of nodes, blocks or books: it looks at the leases that components hold.

use std::collections::BTreeSet;

use licence_core::cluster::{Standing, WANT_SECS};
use licence_core::key::KeyNo;
use licence_core::session::SessionId;

use super::{Comp, Msg, World};

impl World {
    pub(super) fn leases(&self, key_no: KeyNo) -> BTreeSet<SessionId> {
        let living = self.comps.iter().filter_map(|comp| {
            let (session, key) = comp.session?;
            let is_valid = comp.lease.as_ref().is_some_and(|lease| lease.ends > self.t);
            (key == key_no && is_valid && !self.is_void(&session)).then_some(session)
        });
        let dead = self
            .graves
            .iter()
            .filter(|(_, key, ends, _)| *key == key_no && *ends > self.t)
            .map(|(session, ..)| *session)
            .filter(|session| !self.is_void(session));
        living.chain(dead).collect()
    }

    /// The counter. A lease that somebody gets is all that can make it too many.
    pub(super) fn judge(&mut self) {
        let now = self.t;
        self.graves.retain(|(_, _, ends, _)| *ends > now);
        for (key_no, seats) in &self.most() {
            let leases = self.leases(*key_no);
            if leases.len() > *seats as usize {
                self.fail(&format!("{leases:?} are more than the {seats} seats of {key_no}"));
            }
        }
    }

    /// After everything works again: every seat can be had at every node.
    pub(crate) fn every_seat_can_be_had(&mut self) {
        for (key_no, seats) in self.keys.clone() {
            for host in 0..self.hosts.len() {
                let mut added = Vec::new();
                let mut refusals = 0;
                while refusals < 8 {
                    self.comps.push(Comp {
                        session: Some((SessionId::from_bytes(self.draw.id()), key_no)),
                        lease: None,
                        at: host,
                        is_waiting: false,
                    });
                    let comp = self.comps.len() - 1;
                    self.open(comp, host);
                    let end = self.t + WANT_SECS * 1000 + 500;
                    while self.comps[comp].is_waiting && self.t < end {
                        self.run_until(self.t + 20);
                    }
                    if self.comps[comp].lease.is_some() {
                        added.push(comp);
                        refusals = 0;
                        self.after(1000, Msg::Component { comp });
                    } else {
                        self.comps[comp].session = None;
                        refusals += 1;
                    }
                    let held: u32 = self.hosts.iter().map(|h| h.seats.held(key_no)).sum();
                    if held == seats {
                        break;
                    }
                }
                let held: u32 = self.hosts.iter().map(|h| h.seats.held(key_no)).sum();
                if held != seats {
                    let pool = self.etcd.get(&format!("pools/{key_no}")).cloned();
                    let pool = pool.map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
                    self.fail(&format!(
                        "{held} of {seats} seats of {key_no} can be had at node {host}: {pool:?}"
                    ));
                }
                for comp in added {
                    if let Some((session, _)) = self.comps[comp].session.take() {
                        self.comps[comp].lease = None;
                        for host in 0..self.hosts.len() {
                            self.hosts[host].seats.release(&session);
                            self.tell(host, true);
                        }
                    }
                }
                self.run_until(self.t + 500);
            }
        }
    }

    pub(crate) fn all_joined(&self) -> bool {
        self.hosts
            .iter()
            .all(|host| host.node.as_ref().is_some_and(|node| node.standing() == Standing::Joined))
    }
}
