//! A node's service and its driver: what it is told to do, and what it tells the node.

use licence_core::cluster::{ClaimOutcome, Effect, Event};
use licence_core::key::KeyNo;
use licence_core::session::SessionId;

use super::{Lease, Msg, World};
use crate::seats::Opened;

impl World {
    /// One command of the node reaches its service.
    pub(super) fn service(&mut self, host: usize) {
        let now = self.mono(host);
        let Some(command) = self.hosts[host].commands.pop_front() else { return };
        let seats = &mut self.hosts[host].seats;
        seats.advance(now);
        match command {
            Effect::Limit { key_no, seats: limit, force } => {
                let before = seats.held(key_no);
                let sessions = seats.sessions();
                let (limit, held) = seats.set_limit(key_no, limit, force);
                if held < before {
                    self.count("ended by a limit");
                    self.ended_by_limit(host, key_no, &sessions);
                }
                self.feed(host, Event::Limited { key_no, seats: limit, held });
                self.serve_waiters(host, key_no);
            }
            Effect::TakeAway { session, .. } => {
                let held = seats.take_away(&session);
                self.count(if held { "taken away" } else { "nothing to take away" });
                self.feed(host, Event::TakenAway { session, held, quotas: Vec::new() });
            }
            Effect::Expect { session, key_no } => seats.expect(session, key_no, now),
            Effect::Keep { session } => {
                seats.keep(&session, now);
                self.count("kept");
            }
            Effect::EndAll => {
                seats.end_all();
                self.count("all ended");
            }
            Effect::ValidUntil(until) => seats.valid_until = until,
            Effect::HoldUntil(until) => {
                seats.hold_until = until;
                self.hosts[host].hold_until = until;
            }
            Effect::Claimed { session, outcome } => self.claimed(host, session, outcome),
            Effect::NoSeats { key_no } => {
                self.count("no seats");
                let waiting: Vec<SessionId> = self.hosts[host]
                    .waiters
                    .iter()
                    .filter(|(_, waiter)| waiter.key_no == key_no && !waiter.claims)
                    .map(|(session, _)| *session)
                    .collect();
                for session in waiting {
                    self.refused(host, session, true);
                }
            }
            other => self.fail(&format!("not for the service: {other:?}")),
        }
        self.tell(host, false);
    }

    pub(super) fn claimed(&mut self, host: usize, session: SessionId, outcome: ClaimOutcome) {
        let now = self.mono(host);
        self.count(match outcome {
            ClaimOutcome::Moved => "claim moved",
            ClaimOutcome::NotHeld => "claim not held",
        });
        let Some(waiter) = self.hosts[host].waiters.get_mut(&session) else { return };
        let (comp, key_no) = (waiter.comp, waiter.key_no);
        match self.hosts[host].seats.open(session, key_no, now) {
            Opened::Granted { .. } => {
                self.hosts[host].waiters.remove(&session);
                self.granted(host, comp);
            }
            Opened::Full if outcome == ClaimOutcome::NotHeld => {
                let is_valid =
                    self.comps[comp].lease.as_ref().is_some_and(|lease| lease.ends > self.t);
                if self.is_void(&session) || self.may_throw_out(key_no) {
                    self.comps[comp].lease = None;
                } else if is_valid {
                    let lease = self.comps[comp].lease.as_ref().map(|lease| lease.issuer);
                    self.fail(&format!(
                        "thrown out at node {host} with a valid lease of {lease:?}: {session} of {key_no}"
                    ));
                }
                self.refused(host, session, true);
            }
            Opened::Full | Opened::NotNow => self.refused(host, session, false),
        }
    }

    /// Those who wait for a seat try again.
    pub(super) fn serve_waiters(&mut self, host: usize, key_no: KeyNo) {
        let now = self.mono(host);
        let waiting: Vec<(SessionId, usize)> = self.hosts[host]
            .waiters
            .iter()
            .filter(|(_, waiter)| waiter.key_no == key_no && !waiter.claims)
            .map(|(session, waiter)| (*session, waiter.comp))
            .collect();
        for (session, comp) in waiting {
            if let Opened::Granted { .. } = self.hosts[host].seats.open(session, key_no, now) {
                self.hosts[host].waiters.remove(&session);
                self.count("waited for a seat");
                self.granted(host, comp);
            }
        }
    }

    pub(super) fn refused(&mut self, host: usize, session: SessionId, is_final: bool) {
        if let Some(waiter) = self.hosts[host].waiters.remove(&session) {
            let comp = &mut self.comps[waiter.comp];
            comp.is_waiting = false;
            if is_final && comp.lease.is_none() {
                comp.session = None;
            }
        }
    }

    pub(super) fn granted(&mut self, host: usize, comp: usize) {
        self.comps[comp].is_waiting = false;
        if self.healed_at.is_none() && self.draw.chance(3) {
            self.count("grant lost");
            return;
        }
        self.comps[comp].at = host;
        // What it was sent is younger than the question, so the question's moment counts; and its
        // own clock may be slow.
        let ends = self.t + self.life_millis / 1000 * 999;
        let session = self.comps[comp].session;
        self.note(|| format!("comp {comp} {session:?} has a lease of {host} until {ends}"));
        self.comps[comp].lease = Some(Lease { issuer: host, ends });
        self.judge();
    }

    /// The driver tells the node what is held and what waits, sometimes a little late.
    pub(super) fn tell(&mut self, host: usize, at_once: bool) {
        if self.hosts[host].node.is_none() {
            return;
        }
        for (session, released) in std::mem::take(&mut self.hosts[host].seats.ended) {
            self.note(|| format!("ended at {host} {session} {released}"));
            self.feed(host, Event::Ended { session, released });
        }
        if !at_once && self.draw.chance(20) {
            let process = self.hosts[host].process;
            return self.after(60, Msg::Tell { host, process });
        }
        for key_no in self.keys.keys().copied().collect::<Vec<_>>() {
            self.serve_waiters(host, key_no);
            let held = self.hosts[host].seats.held(key_no);
            let waiting = self.hosts[host]
                .waiters
                .values()
                .filter(|waiter| waiter.key_no == key_no && !waiter.claims)
                .count() as u32;
            if self.hosts[host].told.insert(key_no, (held, waiting)) != Some((held, waiting)) {
                self.feed(host, Event::Demand { key_no, held, waiting });
            }
        }
    }
}
