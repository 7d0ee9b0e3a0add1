//! Components: they hold leases, let go, die, and go to other nodes with what they hold.

use licence_core::cluster::{Event, WANT_SECS};
use licence_core::key::KeyNo;
use licence_core::session::SessionId;

use super::{HEARTBEAT_MILLIS, Msg, Waiter, World};
use crate::seats::Opened;

impl World {
    pub(super) fn is_reached(&mut self, host: usize) -> bool {
        let h = &self.hosts[host];
        h.node.is_some()
            && h.paused_until <= self.t
            && !h.deaf
            && (self.healed_at.is_some() || !self.draw.chance(4))
    }

    pub(super) fn component(&mut self, comp: usize) {
        let next = HEARTBEAT_MILLIS / 2 + self.draw.below(HEARTBEAT_MILLIS);
        self.after(next, Msg::Component { comp });
        if self.comps[comp].is_waiting {
            return;
        }
        if self.comps[comp].lease.as_ref().is_some_and(|lease| lease.ends <= self.t) {
            self.count("lease over");
            let is_void = self.comps[comp].session.is_some_and(|(s, _)| self.is_void(&s));
            if !is_void && self.healed_at.is_some_and(|at| at + 5_000 < self.t) {
                self.fail("a lease was not renewed although everything works");
            }
            self.comps[comp].lease = None;
            self.comps[comp].session = None;
        }
        let Some((session, key_no)) = self.comps[comp].session else {
            if self.healed_at.is_none() && self.draw.chance(40) {
                let no = if self.draw.chance(50) { KeyNo(1) } else { KeyNo(2) };
                let session = SessionId::from_bytes(self.draw.id());
                self.comps[comp].session = Some((session, no));
                let host = self.draw.below(self.hosts.len() as u64) as usize;
                self.open(comp, host);
            }
            return;
        };
        let host = self.comps[comp].at;
        if self.comps[comp].lease.is_none() {
            let host = self.draw.below(self.hosts.len() as u64) as usize;
            return self.open(comp, host);
        }
        if self.healed_at.is_none() && self.draw.chance(5) {
            // It lets go, whether the message arrives or not.
            self.comps[comp].lease = None;
            self.comps[comp].session = None;
            if self.is_reached(host) {
                self.count("release");
                self.hosts[host].seats.release(&session);
                self.tell(host, false);
            }
            return;
        }
        if self.healed_at.is_none() && self.draw.chance(3) {
            self.count("component dies");
            let lease = self.comps[comp].lease.take();
            let (ends, issuer) = lease.map_or((0, host), |lease| (lease.ends, lease.issuer));
            self.graves.push((session, key_no, ends, issuer));
            self.comps[comp].session = None;
            return;
        }
        if self.is_reached(host) && !self.draw.chance(2) {
            let now = self.mono(host);
            if self.hosts[host].seats.renew(&session, now) {
                self.count("heartbeat");
                return self.granted(host, comp);
            }
            self.count("gone");
            self.tell(host, false);
        }
        let others = self.hosts.len() as u64;
        let other = self.draw.below(others) as usize;
        if other != host {
            self.count("goes elsewhere");
        }
        self.open(comp, other);
    }

    pub(super) fn open(&mut self, comp: usize, host: usize) {
        if !self.is_reached(host) {
            return;
        }
        let Some((session, key_no)) = self.comps[comp].session else { return };
        let lease = self.comps[comp].lease.as_ref().filter(|lease| lease.ends > self.t);
        let issuer = lease.map(|lease| self.hosts[lease.issuer].id);
        let me = self.hosts[host].id;
        let now = self.mono(host);
        match self.hosts[host].seats.open(session, key_no, now) {
            Opened::Granted { fresh } => {
                self.count("open");
                self.granted(host, comp);
                if let Some(from) = issuer.filter(|from| fresh && *from != me) {
                    self.count("claim behind");
                    self.feed(host, Event::Claim { session, key_no, from });
                }
            }
            Opened::Full => {
                self.seq += 1;
                let waiter = Waiter { comp, key_no, claims: issuer.is_some(), no: self.seq };
                let (no, process) = (waiter.no, self.hosts[host].process);
                if let Some(old) = self.hosts[host].waiters.insert(session, waiter) {
                    self.comps[old.comp].is_waiting = false;
                }
                self.comps[comp].is_waiting = true;
                self.after(WANT_SECS * 1000, Msg::WaitOver { host, process, session, no });
                if let Some(from) = issuer {
                    self.count("claim");
                    self.feed(host, Event::Claim { session, key_no, from });
                } else {
                    self.count("want");
                }
            }
            Opened::NotNow => self.count("not now"),
        }
        self.tell(host, issuer.is_none());
    }
}
