//! What people do to a cluster that runs: administrators revoke sessions and forget nodes that are
//! dead, a vendor gives a key other seats, somebody writes into etcd what is none of his.
//!
//! Whose seat an administrator has given away is no longer counted: [`World::void`] names those
//! sessions. Each seed has some of these kinds of deeds, or none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use licence_core::cluster::Event;
use licence_core::cluster::record::Member;
use licence_core::key::KeyNo;
use licence_core::session::SessionId;
use licence_core::time::Utc;

use super::{Comp, Lease, Msg, World, series};
use crate::draw::Draw;
use crate::seats::Seats;

/// Most milliseconds until a node has the licence that the vendor has changed.
const LICENCE_MILLIS: u64 = 4_000;

/// What people do in a world.
pub(super) struct People {
    draw: Draw,
    revokes: bool,
    resizes: bool,
    forgets: bool,
    damages: bool,
    /// Keys that have shrunk so far that sessions were ended.
    shrunk: BTreeSet<KeyNo>,
}

impl People {
    pub(super) fn new(seed: u64) -> Self {
        // Chance of its own: the same faults come about with and without these deeds.
        let mut draw = Draw(seed ^ 0xDEED_5EED);
        let mut does = || draw.chance(35);
        let (revokes, resizes, forgets, damages) = (does(), does(), does(), does());
        Self { draw, revokes, resizes, forgets, damages, shrunk: BTreeSet::new() }
    }
}

impl World {
    /// Somebody does something.
    pub(super) fn deed(&mut self) {
        if self.healed_at.is_some() {
            return;
        }
        let next = 1_000 + self.people.draw.below(6_000);
        self.after(next, Msg::Deed);
        let host = self.people.draw.below(self.hosts.len() as u64) as usize;
        match self.people.draw.below(4) {
            0 if self.people.revokes => self.revoke(host),
            1 if self.people.resizes => self.resize(),
            2 if self.people.forgets => self.forget(host),
            3 if self.people.damages => self.damage(host),
            _ => {}
        }
    }

    /// An administrator ends a session at a node, which may be one that has it in its books only. Its
    /// component gives it up: a lease of it that is shown elsewhere would draw another one's seat.
    fn revoke(&mut self, host: usize) {
        let h = &self.hosts[host];
        if h.node.is_none() || h.paused_until > self.t {
            return;
        }
        let sessions = h.seats.sessions();
        if sessions.is_empty() {
            return;
        }
        let session = sessions[self.people.draw.below(sessions.len() as u64) as usize];
        let of_it = |comp: &&mut Comp| comp.session.is_some_and(|(of, _)| of == session);
        if let Some(comp) = self.comps.iter_mut().find(of_it) {
            if comp.is_waiting {
                return;
            }
            (comp.session, comp.lease) = (None, None);
        }
        self.count("revoked");
        self.note(|| format!("revoke {session} at {host}"));
        self.void.insert(session);
        self.hosts[host].seats.release(&session);
        self.tell(host, true);
    }

    /// A key gets another number of seats; each node learns that in its own time.
    fn resize(&mut self) {
        let key_no = if self.people.draw.chance(50) { KeyNo(1) } else { KeyNo(2) };
        let old = self.keys[&key_no];
        let grows = self.people.draw.chance(50);
        let by = 1 + self.people.draw.below(6) as u32;
        let seats = if grows { old + by } else { old.saturating_sub(by).max(1) };
        self.count(if grows { "key has grown" } else { "key has shrunk" });
        self.note(|| format!("key {key_no} has {seats} seats"));
        self.keys.insert(key_no, seats);
        let most = self.most.entry(key_no).or_insert(old);
        *most = (*most).max(old).max(seats);
        for host in 0..self.hosts.len() {
            let process = self.hosts[host].process;
            let delay = self.people.draw.below(LICENCE_MILLIS);
            self.after(delay, Msg::Licence { host, process });
        }
    }

    /// A node has the licences that there are.
    pub(super) fn licence(&mut self, host: usize) {
        let keys = self.keys.iter().map(|(no, seats)| (*no, (series(), *seats))).collect();
        self.feed(host, Event::Keys(keys));
        self.tell(host, true);
    }

    /// A node is dead and will not be seen again, as an administrator says to another one. What it had
    /// is everybody's at once, whether its components hold leases or not.
    fn forget(&mut self, host: usize) {
        let is_dead = self.hosts[host].node.is_none();
        let id = self.hosts[host].id;
        if !is_dead || self.etcd.get(&format!("alive/{id}")).is_some() {
            return;
        }
        let others: Vec<usize> = (0..self.hosts.len())
            .filter(|other| self.hosts[*other].node.is_some())
            .filter(|other| self.hosts[*other].paused_until <= self.t)
            .collect();
        if others.is_empty() || self.etcd.down {
            return;
        }
        let other = others[self.people.draw.below(others.len() as u64) as usize];
        self.count("forgotten");
        self.note(|| format!("forget {host} at {other}"));
        self.hosts[host].is_gone = true;
        let seats = Seats::new(Duration::from_millis(self.life_millis));
        let lost = std::mem::replace(&mut self.hosts[host].seats, seats);
        self.void.extend(lost.sessions());
        let of_it = |lease: &Lease| lease.issuer == host;
        for comp in &self.comps {
            if let Some((session, _)) = comp.session
                && comp.lease.as_ref().is_some_and(of_it)
            {
                self.void.insert(session);
            }
        }
        self.graves.retain(|grave| grave.3 != host);
        self.hosts[host].hold_until = None;
        self.etcd.delete(&format!("members/{id}"));
        self.feed(other, Event::Forget(id));
        self.tell(other, true);
    }

    /// Another machine comes in the place of one that was forgotten.
    pub(super) fn replace(&mut self, host: usize) {
        if std::mem::take(&mut self.hosts[host].is_gone) {
            let (id, member) = self.member(host);
            self.etcd.put(&format!("members/{id}"), member.write());
        }
    }

    /// Somebody writes nonsense over a value, and mends it later. Claims are left out: who deletes one or
    /// writes an old one again moves a seat, and nothing tells a node so.
    fn damage(&mut self, host: usize) {
        let id = self.hosts[host].id;
        let key = match self.people.draw.below(3) {
            0 => format!("alive/{id}"),
            1 => "pools/1".to_owned(),
            _ => "pools/2".to_owned(),
        };
        let Some(entry) = self.etcd.get(&key).cloned() else { return };
        if self.etcd.down || self.mends.contains_key(&key) {
            return;
        }
        self.count("damage");
        self.note(|| format!("damage {key}"));
        self.etcd.put_under(&key, b"{".to_vec(), entry.lease);
        self.damaged.insert(key.clone());
        self.mends.insert(key.clone(), entry.value);
        let delay = self.people.draw.below(8_000);
        self.after(delay, Msg::Mend { key });
    }

    /// Whoever damaged a value writes again what it was, unless it is another one by now.
    pub(super) fn mend(&mut self, key: &str) {
        if self.etcd.down {
            return self.after(500, Msg::Mend { key: key.to_owned() });
        }
        let Some(value) = self.mends.remove(key) else { return };
        let Some(entry) = self.etcd.get(key) else { return };
        if entry.value == b"{" {
            let lease = entry.lease;
            self.count("mended");
            self.note(|| format!("mend {key}"));
            self.etcd.put_under(key, value, lease);
        }
    }

    pub(super) fn mend_all(&mut self) {
        for key in self.mends.keys().cloned().collect::<Vec<_>>() {
            self.mend(&key);
        }
    }

    /// Whether a node has to tell that a value is damaged.
    pub(super) fn is_damaged(&self, key: &str) -> bool {
        self.people.damages && (key.starts_with("alive/") || key.starts_with("pools/"))
    }

    /// Whether an administrator has given away the seat of a session.
    pub(super) fn is_void(&self, session: &SessionId) -> bool {
        self.void.contains(session)
    }

    /// Sessions are ended by a limit because their key has shrunk.
    pub(super) fn ended_by_limit(&mut self, host: usize, key_no: KeyNo, before: &[SessionId]) {
        if self.most.contains_key(&key_no) {
            let left = self.hosts[host].seats.sessions();
            let ended: Vec<SessionId> =
                before.iter().filter(|session| !left.contains(session)).copied().collect();
            if !ended.is_empty() {
                self.people.shrunk.insert(key_no);
            }
            self.void.extend(ended);
        }
    }

    /// Whether anybody with a lease may be thrown out of a key; seats are counted all the same. It has
    /// shrunk: who is ended for that at one node may draw another one's seat with the lease at the next,
    /// and that one finds out whenever it moves. Its pool was damaged: a node that begins meanwhile gives
    /// out again what others draw afterwards.
    pub(super) fn may_throw_out(&self, key_no: KeyNo) -> bool {
        let is_smaller = self.most.get(&key_no).is_some_and(|most| *most > self.keys[&key_no]);
        let was_damaged = self.damaged.contains(&format!("pools/{key_no}"));
        is_smaller || was_damaged || self.people.shrunk.contains(&key_no)
    }

    /// Most seats that the keys ever had; of keys that were always the same nothing else is allowed.
    pub(super) fn most(&self) -> BTreeMap<KeyNo, u32> {
        let most =
            |(no, seats): (&KeyNo, &u32)| (*no, self.most.get(no).copied().unwrap_or(*seats));
        self.keys.iter().map(most).collect()
    }

    fn member(&self, host: usize) -> (licence_core::cluster::NodeId, Member) {
        let key = super::signing_key(host);
        let member = Member {
            name: format!("node{host}"),
            key: key.jwk(),
            addresses: vec![format!("node{host}:9099")],
            joined: Utc::from_unix_millis(0),
        };
        (self.hosts[host].id, member)
    }
}
