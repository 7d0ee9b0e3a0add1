//! What happens at nodes, at etcd and between them.

use std::collections::BTreeMap;

use licence_core::cluster::record::{Alive, Pool};
use licence_core::cluster::{
    ClaimOutcome, ClusterId, Effect, Event, Node, NodeConfig, Op, TxnOutcome, WANT_SECS,
};
use licence_core::key::KeySeries;
use licence_core::session::SessionId;
use licence_core::time::Utc;

use super::{
    Call, ENTRY, HEARTBEAT, KEY, LOG_MAX, Msg, NAP, SECOND, SERVE, SESSION_LIFE, Site, TURN,
};
use crate::plan::figures::Kind;

impl Site {
    /// One way between two computers. Were it always the same, the same nodes would always be first.
    fn way(&mut self) -> u64 {
        self.course.link / 2 + self.draw.below(self.course.link + 1)
    }

    fn is_of(&self, host: usize, life: u64) -> bool {
        self.hosts[host].life == life && self.hosts[host].node.is_some()
    }

    pub(super) fn deliver(&mut self, msg: Msg) {
        match msg {
            Msg::Answer { host, life, event } if self.is_of(host, life) => self.feed(host, event),
            Msg::Ask { place, session } => self.asked(place, session),
            Msg::Etcd { host, life, call } => self.at_etcd(host, life, call),
            Msg::EtcdTick => self.etcd_tick_at = None,
            Msg::Flow { host, opens, every, left } => self.flowing(host, opens, every, left),
            Msg::Order { host, life, effect } if self.is_of(host, life) => self.order(host, effect),
            Msg::Process { place } => self.process(place),
            Msg::Pump { host, life } if self.is_of(host, life) => self.pump(host),
            Msg::Reach { host, life, call } => self.reach(host, life, call),
            Msg::Start { host } => self.start(host),
            Msg::Tell { host, life } if self.is_of(host, life) => {
                self.hosts[host].is_telling = false;
                let told = (self.hosts[host].taken(), self.hosts[host].waiting.len() as u32);
                if self.hosts[host].told.replace(told) != Some(told) {
                    let (held, waiting) = told;
                    self.feed(host, Event::Demand { key_no: KEY, held, waiting });
                }
            }
            Msg::Tick { host, life } if self.is_of(host, life) => {
                // Another one may have been planned for an earlier moment since.
                if self.hosts[host].tick_at.is_some_and(|planned| planned <= self.t) {
                    self.hosts[host].tick_at = None;
                    self.feed(host, Event::Tick);
                }
            }
            Msg::WaitOver { host, session, no } => self.wait_over(host, session, no),
            // Of a process that is dead.
            Msg::Answer { .. }
            | Msg::Order { .. }
            | Msg::Pump { .. }
            | Msg::Tell { .. }
            | Msg::Tick { .. } => {}
        }
    }

    fn start(&mut self, host: usize) {
        let started = Utc::from_unix_millis(i64::try_from(self.t / 1000).unwrap());
        let seats = self.course.seats;
        let h = &mut self.hosts[host];
        h.life += 1;
        h.may_grant = false;
        h.limit = 0;
        h.watch = None;
        h.is_pumping = false;
        h.is_telling = false;
        h.told = None;
        h.tick_at = None;
        let alive =
            Alive { version: "1".into(), started, held: BTreeMap::new(), keys: BTreeMap::new() };
        h.node = Some(Node::new(NodeConfig {
            me: h.id,
            cluster: ClusterId::from_bytes([9; 16]),
            session_life: SESSION_LIFE,
            alive,
        }));
        let keys = BTreeMap::from([(KEY, (KeySeries::from_u16(0x672B), seats))]);
        self.feed(host, Event::Keys(keys));
        self.feed(host, Event::Tick);
        self.changed(host);
    }

    fn feed(&mut self, host: usize, event: Event) {
        let now = self.mono();
        let Some(node) = self.hosts[host].node.as_mut() else { return };
        let effects = node.handle(event, now);
        let timeout = node.poll_timeout();
        let life = self.hosts[host].life;
        for effect in effects {
            let call = match effect {
                Effect::Load => Call::Load,
                Effect::GrantLease { ttl_secs } => Call::Grant { ttl_secs, sent: now },
                Effect::KeepAlive { lease } => Call::Keep { lease, sent: now },
                Effect::RevokeLease { lease } => Call::Revoke { lease },
                Effect::Txn { no, txn } => Call::Txn { no, txn },
                Effect::Watch { after } => {
                    self.hosts[host].watch = Some(after);
                    self.plan_pump(host);
                    continue;
                }
                Effect::Damaged { key, why } => panic!("damaged {key}: {why}"),
                Effect::Standing(_) | Effect::Stopped | Effect::HoldUntil(_) => continue,
                effect => {
                    self.after(TURN, Msg::Order { host, life, effect });
                    continue;
                }
            };
            let way = self.way();
            self.after(way, Msg::Reach { host, life, call });
        }
        if let Some(at) = timeout {
            let at = (at.as_millis() * 1000).max(self.t + NAP);
            if self.hosts[host].tick_at.is_none_or(|planned| planned > at) {
                self.hosts[host].tick_at = Some(at);
                self.after(at - self.t, Msg::Tick { host, life });
            }
        }
    }

    /// A call reaches etcd. Writes and whole readings wait for a majority: what comes while the disks sync
    /// goes into the next sync, all of it together, in the order of arrival.
    fn reach(&mut self, host: usize, life: u64, call: Call) {
        if matches!(call, Call::Keep { .. }) {
            return self.at_etcd(host, life, call);
        }
        let (least, most) = self.course.commit;
        if self.syncs.1 <= self.t {
            let takes = least + self.draw.below(most - least + 1);
            self.syncs = (self.t, self.t + takes);
        } else if self.syncs.0 <= self.t {
            // One is going on: the next one begins when it ends.
            let takes = least + self.draw.below(most - least + 1);
            self.syncs = (self.syncs.1, self.syncs.1 + takes);
        }
        self.after(self.syncs.1 - self.t, Msg::Etcd { host, life, call });
    }

    fn at_etcd(&mut self, host: usize, life: u64, call: Call) {
        let now = self.t / 1000;
        let mut delay = self.way();
        let second = self.t / SECOND;
        let event = match call {
            Call::Grant { ttl_secs, sent } => {
                self.tally.wrote(second, Kind::Lease, 0);
                Event::LeaseGranted { lease: self.etcd.grant(ttl_secs, now), sent }
            }
            Call::Keep { lease, sent } => {
                self.tally.kept(second);
                if self.etcd.keep_alive(lease, now) {
                    Event::KeptAlive { lease, sent }
                } else {
                    Event::LeaseLost { lease }
                }
            }
            Call::Load => {
                let (entries, revision) = self.etcd.range();
                delay += ENTRY * entries.len() as u64;
                Event::Loaded { entries, revision }
            }
            Call::Revoke { lease } => return self.etcd.revoke(lease),
            Call::Txn { no, txn } => {
                let bytes_before = self.etcd.written_bytes;
                let kind = Kind::of(&txn);
                let outcome = match self.etcd.txn(&txn) {
                    Some(revision) => {
                        self.tally.wrote(second, kind, self.etcd.written_bytes - bytes_before);
                        self.check(&txn.then);
                        TxnOutcome::Succeeded { revision }
                    }
                    None => {
                        self.tally.lost(second);
                        TxnOutcome::Failed
                    }
                };
                Event::TxnDone { no, outcome }
            }
        };
        self.after(delay, Msg::Answer { host, life, event });
    }

    /// The blocks never add up to more than the key has.
    fn check(&self, then: &[Op]) {
        for op in then {
            if let Op::Put { key, value, .. } = op
                && key.starts_with("pools/")
            {
                let pool = Pool::read(value).unwrap();
                assert!(pool.allocated() <= u64::from(self.course.seats), "{pool:?}");
            }
        }
    }

    pub(super) fn after_etcd(&mut self) {
        if let Some(end) = self.etcd.next_end()
            && self.etcd_tick_at.is_none_or(|at| at > end * 1000)
        {
            self.etcd_tick_at = Some(end * 1000);
            self.after((end * 1000).saturating_sub(self.t), Msg::EtcdTick);
        }
        if self.etcd.revision == self.pumped {
            return;
        }
        self.pumped = self.etcd.revision;
        for host in 0..self.hosts.len() {
            self.plan_pump(host);
        }
        let behind = self.hosts.iter().filter(|host| host.node.is_some());
        let passed = behind.filter_map(|host| host.watch).min().unwrap_or(0);
        if passed > self.compacted + LOG_MAX {
            self.compacted = passed;
            self.etcd.compact_to(passed);
        }
    }

    fn plan_pump(&mut self, host: usize) {
        let h = &mut self.hosts[host];
        if h.watch.is_some() && h.node.is_some() && !h.is_pumping {
            h.is_pumping = true;
            let life = h.life;
            let delay = self.way();
            self.after(delay, Msg::Pump { host, life });
        }
    }

    fn pump(&mut self, host: usize) {
        self.hosts[host].is_pumping = false;
        let Some(after) = self.hosts[host].watch else { return };
        let Some((changes, revision)) = self.etcd.changes_after(after) else {
            self.hosts[host].watch = None;
            return self.feed(host, Event::WatchLost);
        };
        if !changes.is_empty() {
            self.hosts[host].watch = Some(revision);
            self.feed(host, Event::Changed { changes, revision });
        }
    }

    /// The service has done something: the node is told soon, of many things at once.
    fn changed(&mut self, host: usize) {
        let h = &mut self.hosts[host];
        if h.node.is_some() && !h.is_telling {
            h.is_telling = true;
            let life = h.life;
            self.after(TURN, Msg::Tell { host, life });
        }
    }

    fn order(&mut self, host: usize, effect: Effect) {
        match effect {
            Effect::Limit { seats, force, .. } => {
                let h = &mut self.hosts[host];
                let held = h.taken();
                assert!(!force || held <= seats, "sessions would be ended at node {host}");
                h.limit = seats.max(held);
                let seats = h.limit;
                self.feed(host, Event::Limited { key_no: KEY, seats, held });
                self.serve(host);
            }
            Effect::Expect { session, .. } => {
                let h = &mut self.hosts[host];
                h.limit += 1;
                if !h.here.contains(&session) {
                    h.expected.insert(session);
                }
            }
            Effect::Claimed { session, outcome } => {
                assert_eq!(outcome, ClaimOutcome::Moved, "thrown out at node {host}: {session}");
                if let Some((place, _)) = self.hosts[host].claiming.remove(&session) {
                    self.asked(place, session);
                }
            }
            Effect::TakeAway { session, .. } => {
                let held = self.orphans.remove(&session);
                let h = &mut self.hosts[host];
                h.held -= u32::from(held);
                h.limit = h.limit.saturating_sub(u32::from(held));
                self.feed(host, Event::TakenAway { session, held, quotas: Vec::new() });
            }
            Effect::ValidUntil(until) => self.hosts[host].may_grant = until.is_some(),
            Effect::NoSeats { .. } => {
                self.refused += u32::try_from(self.hosts[host].waiting.len()).unwrap();
                self.hosts[host].waiting.clear();
            }
            // There are no rules here.
            Effect::CloseQuotas | Effect::Keep { .. } => {}
            other => panic!("not for a service: {other:?}"),
        }
        self.changed(host);
    }

    /// Newcomers who wait get what is free.
    fn serve(&mut self, host: usize) {
        let now = self.t;
        let h = &mut self.hosts[host];
        while h.is_free()
            && let Some((_, since)) = h.waiting.pop_front()
        {
            h.held += 1;
            self.tally.waited(now - since);
        }
    }

    fn flowing(&mut self, host: usize, opens: bool, every: u64, left: u32) {
        if self.hosts[host].node.is_none() || left == 0 {
            self.flows -= 1;
            return;
        }
        if !opens {
            self.hosts[host].held -= 1;
        } else if self.hosts[host].is_free() {
            self.hosts[host].held += 1;
            self.tally.opened();
        } else {
            self.seq += 1;
            let (no, since) = (self.seq, self.t);
            self.hosts[host].waiting.push_back((no, since));
            self.after(WANT_SECS * SECOND, Msg::WaitOver { host, session: None, no });
        }
        self.changed(host);
        let next = self.draw.below(2 * every.max(1));
        self.after(next, Msg::Flow { host, opens, every, left: left - 1 });
    }

    /// A process opens its next session.
    fn process(&mut self, place: usize) {
        let (now, link) = (self.t, self.course.link);
        let process = &mut self.processes[place];
        if let Some(session) = process.left.pop_front() {
            process.asked = now;
            self.after(link, Msg::Ask { place, session });
        } else if !process.again.is_empty() {
            process.left = std::mem::take(&mut process.again);
            self.after(HEARTBEAT, Msg::Process { place });
        }
    }

    /// A session of the dead node asks for its seat, or is told that it may have it.
    fn asked(&mut self, place: usize, session: SessionId) {
        let host = self.processes[place].at;
        let from = self.hosts[self.dead].id;
        let h = &mut self.hosts[host];
        let has_come = h.expected.remove(&session);
        if has_come || h.is_free() {
            h.held += 1;
            h.here.insert(session);
            let back = self.course.link + SERVE;
            let asked = self.processes[place].asked;
            self.moved.record(self.t + back - self.died_at, self.t + back - asked);
            if !has_come {
                // It got a free seat; its own follows.
                self.feed(host, Event::Claim { session, key_no: KEY, from });
            }
            self.after(back, Msg::Process { place });
        } else {
            self.seq += 1;
            let no = self.seq;
            self.hosts[host].claiming.insert(session, (place, no));
            let over = Msg::WaitOver { host, session: Some(session), no };
            self.after(WANT_SECS * SECOND, over);
            self.feed(host, Event::Claim { session, key_no: KEY, from });
        }
        self.changed(host);
    }

    fn wait_over(&mut self, host: usize, session: Option<SessionId>, no: u64) {
        match session {
            Some(session) => {
                let h = &mut self.hosts[host];
                if h.claiming.get(&session).is_some_and(|(_, waits)| *waits == no)
                    && let Some((place, _)) = h.claiming.remove(&session)
                {
                    self.moved.put_off();
                    self.processes[place].again.push_back(session);
                    self.after(0, Msg::Process { place });
                }
            }
            None => {
                let before = self.hosts[host].waiting.len();
                self.hosts[host].waiting.retain(|(waits, _)| *waits != no);
                let gone = before - self.hosts[host].waiting.len();
                self.refused += u32::try_from(gone).unwrap();
                if gone > 0 {
                    self.changed(host);
                }
            }
        }
    }
}
