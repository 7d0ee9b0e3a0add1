//! The world of the simulation: hosts with clocks of their own, a network that loses, delays and
//! repeats, components that hold leases and go elsewhere with them, and the counter that judges.
//!
//! The counter knows nothing of nodes, blocks or books: it looks at the leases that components hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use licence_core::cluster::record::{Alive, Member, Pool, Settings};
use licence_core::cluster::{
    Asked, ClaimOutcome, ClusterId, Effect, Event, Node, NodeConfig, NodeId, Op, Standing, Txn,
    TxnOutcome, WANT_SECS,
};
use licence_core::key::{KeyNo, KeySeries};
use licence_core::seal::SigningKey;
use licence_core::session::SessionId;
use licence_core::time::{MonoTime, Utc};

use crate::draw::Draw;
use crate::etcd::Etcd;
use crate::seats::{Opened, Seats};

const HEARTBEAT_MILLIS: u64 = 3_000;
const CALL_MILLIS: u64 = 2_000;

#[derive(Clone, Debug)]
enum Call {
    Grant { ttl_secs: u32, sent: MonoTime },
    Keep { lease: i64, sent: MonoTime },
    Load,
    Revoke { lease: i64 },
    Txn { no: u64, txn: Txn },
}

#[derive(Debug)]
enum Msg {
    Answer { host: usize, process: u64, call: u64, event: Event },
    Component { comp: usize },
    Etcd { host: usize, process: u64, call: u64, what: Call },
    EtcdTick,
    Fault,
    Pump { host: usize, process: u64 },
    Service { host: usize, process: u64 },
    Start { host: usize },
    Tell { host: usize, process: u64 },
    Tick { host: usize, process: u64 },
    Timeout { host: usize, process: u64, call: u64 },
    WaitOver { host: usize, process: u64, session: SessionId, no: u64 },
}

struct Waiter {
    comp: usize,
    key_no: KeyNo,
    claims: bool,
    no: u64,
}

pub(crate) struct Host {
    pub(crate) id: NodeId,
    ppm: i64,
    process: u64,
    pub(crate) node: Option<Node>,
    pub(crate) seats: Seats,
    paused_until: u64,
    cut: bool,
    deaf: bool,
    watch: Option<i64>,
    is_pumping: bool,
    commands: VecDeque<Effect>,
    waiters: BTreeMap<SessionId, Waiter>,
    told: BTreeMap<KeyNo, (u32, u32)>,
    calls: BTreeMap<u64, Call>,
    hold_until: Option<MonoTime>,
    tick_at: Option<u64>,
}

struct Lease {
    issuer: usize,
    ends: u64,
}

struct Comp {
    session: Option<(SessionId, KeyNo)>,
    lease: Option<Lease>,
    at: usize,
    is_waiting: bool,
}

pub(crate) struct World {
    seed: u64,
    draw: Draw,
    pub(crate) t: u64,
    queue: BTreeMap<(u64, u64), Msg>,
    seq: u64,
    pub(crate) etcd: Etcd,
    etcd_tick_at: Option<u64>,
    pub(crate) hosts: Vec<Host>,
    comps: Vec<Comp>,
    graves: Vec<(SessionId, KeyNo, u64)>,
    pub(crate) keys: BTreeMap<KeyNo, u32>,
    life_millis: u64,
    checked_revision: i64,
    pub(crate) counts: BTreeMap<&'static str, u32>,
    healed_at: Option<u64>,
    is_traced: bool,
}

fn series() -> KeySeries {
    KeySeries::from_u16(0x672B)
}

impl World {
    pub(crate) fn new(seed: u64, is_traced: bool) -> Self {
        let mut draw = Draw(seed);
        let hosts_len = 2 + draw.below(3) as usize;
        let keys = BTreeMap::from([
            (KeyNo(1), 2 + draw.below(12) as u32),
            (KeyNo(2), 1 + draw.below(30) as u32),
        ]);
        // Isolation that is shorter than a life and one that is far longer try different things.
        let (life_millis, isolation_secs) =
            if draw.chance(50) { (14_000, 10) } else { (7_000, 26) };
        let mut etcd = Etcd::default();
        let mut settings = Settings::new(Utc::from_unix_millis(0));
        settings.isolation_secs = isolation_secs;
        etcd.put("settings", settings.write());
        let mut hosts = Vec::new();
        for i in 0..hosts_len {
            let key = SigningKey::from_seed(&[i as u8 + 1; 32]).public();
            let id = NodeId::of(&key);
            let member = Member {
                name: format!("node{i}"),
                key: key.jwk(),
                addresses: vec![format!("node{i}:9099")],
                joined: Utc::from_unix_millis(0),
            };
            etcd.put(&format!("members/{id}"), member.write());
            hosts.push(Host {
                id,
                ppm: draw.below(401) as i64 - 200,
                process: 0,
                node: None,
                seats: Seats::new(Duration::from_millis(life_millis)),
                paused_until: 0,
                cut: false,
                deaf: false,
                watch: None,
                is_pumping: false,
                commands: VecDeque::new(),
                waiters: BTreeMap::new(),
                told: BTreeMap::new(),
                calls: BTreeMap::new(),
                hold_until: None,
                tick_at: None,
            });
        }
        let comps_len = 3 + draw.below(18) as usize;
        let comps = (0..comps_len)
            .map(|_| Comp { session: None, lease: None, at: 0, is_waiting: false })
            .collect();
        let mut world = Self {
            seed,
            draw,
            t: 1000,
            queue: BTreeMap::new(),
            seq: 0,
            etcd,
            etcd_tick_at: None,
            hosts,
            comps,
            graves: Vec::new(),
            keys,
            life_millis,
            checked_revision: 0,
            counts: BTreeMap::new(),
            healed_at: None,
            is_traced,
        };
        for host in 0..hosts_len {
            let delay = world.draw.below(3000);
            world.after(delay, Msg::Start { host });
        }
        for comp in 0..comps_len {
            let delay = world.draw.below(HEARTBEAT_MILLIS);
            world.after(delay, Msg::Component { comp });
        }
        world.after(5000, Msg::Fault);
        world
    }

    fn note(&self, text: impl FnOnce() -> String) {
        if self.is_traced {
            let line = format!("{:>8} {}", self.t, text());
            println!("{line}");
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn fail(&self, what: &str) -> ! {
        panic!("LICENCE_CLUSTER_SEED={} at {} ms: {what}", self.seed, self.t);
    }

    fn after(&mut self, millis: u64, msg: Msg) {
        self.seq += 1;
        self.queue.insert((self.t + millis, self.seq), msg);
    }

    fn mono(&self, host: usize) -> MonoTime {
        let t = i64::try_from(self.t).unwrap();
        let drift = t * self.hosts[host].ppm / 1_000_000;
        MonoTime::from_millis(u64::try_from(t + drift).unwrap() + 1_000_000 * host as u64)
    }

    /// World time at which a host's clock shows this.
    fn world_time(&self, host: usize, at: MonoTime) -> u64 {
        let shown = at.as_millis().saturating_sub(1_000_000 * host as u64);
        let ppm = self.hosts[host].ppm;
        let t = i64::try_from(shown.min(1 << 50)).unwrap();
        // A little late rather than early: a timer never fires before its time.
        u64::try_from(t - t * ppm / 1_000_000 + 1).unwrap_or(0)
    }

    pub(crate) fn run_until(&mut self, end: u64) {
        let mut at_once = 0;
        while let Some((&(at, _), _)) = self.queue.first_key_value() {
            if at > end {
                break;
            }
            let Some(((at, _), msg)) = self.queue.pop_first() else { break };
            at_once = if at > self.t { 0 } else { at_once + 1 };
            if at_once > 10_000 {
                self.fail("something is done again and again");
            }
            self.t = self.t.max(at);
            self.etcd.tick(self.t);
            self.deliver(msg);
            self.after_etcd();
        }
        self.t = end;
    }

    /// Whether a message for this process can be worked on; it waits while the process is frozen.
    fn is_awake(&mut self, host: usize, process: u64, msg: Msg) -> Option<Msg> {
        if self.hosts[host].process != process || self.hosts[host].node.is_none() {
            return None;
        }
        let until = self.hosts[host].paused_until;
        if until > self.t {
            // Its own messages are worked on a little later than those of components.
            self.after((until - self.t).min(300) + 1, msg);
            return None;
        }
        Some(msg)
    }

    fn deliver(&mut self, msg: Msg) {
        let to = match &msg {
            Msg::Answer { host, process, .. }
            | Msg::Pump { host, process }
            | Msg::Service { host, process }
            | Msg::Tell { host, process }
            | Msg::Tick { host, process }
            | Msg::Timeout { host, process, .. }
            | Msg::WaitOver { host, process, .. } => Some((*host, *process)),
            Msg::Component { .. }
            | Msg::Etcd { .. }
            | Msg::EtcdTick
            | Msg::Fault
            | Msg::Start { .. } => None,
        };
        let msg = match to {
            Some((host, process)) => match self.is_awake(host, process, msg) {
                Some(msg) => msg,
                None => return,
            },
            None => msg,
        };
        match msg {
            Msg::Answer { host, call, event, .. } => {
                if self.hosts[host].calls.remove(&call).is_some() {
                    let again = matches!(event, Event::TxnDone { .. } | Event::KeptAlive { .. })
                        && self.draw.chance(3);
                    let copy = again.then(|| event.clone());
                    self.feed(host, event);
                    if let Some(event) = copy {
                        self.count("answer twice");
                        self.feed(host, event);
                    }
                }
            }
            Msg::Component { comp } => self.component(comp),
            Msg::Etcd { host, process, call, what } => self.at_etcd(host, process, call, what),
            Msg::EtcdTick => self.etcd_tick_at = None,
            Msg::Fault => self.fault(),
            Msg::Pump { host, .. } => self.pump(host),
            Msg::Service { host, .. } => self.service(host),
            Msg::Start { host } => self.start(host),
            Msg::Tell { host, .. } => self.tell(host, true),
            Msg::Tick { host, .. } => {
                self.hosts[host].tick_at = None;
                let now = self.mono(host);
                self.hosts[host].seats.advance(now);
                self.feed(host, Event::Tick);
                self.tell(host, false);
            }
            Msg::Timeout { host, call, .. } => {
                if let Some(call) = self.hosts[host].calls.remove(&call) {
                    self.count("call without an answer");
                    match call {
                        Call::Grant { .. } => self.feed(host, Event::Failed(Asked::Grant)),
                        Call::Keep { .. } => self.feed(host, Event::Failed(Asked::KeepAlive)),
                        Call::Load => self.feed(host, Event::Failed(Asked::Load)),
                        Call::Revoke { .. } => {}
                        Call::Txn { no, .. } => {
                            let outcome = TxnOutcome::Unknown;
                            self.feed(host, Event::TxnDone { no, outcome });
                        }
                    }
                }
            }
            Msg::WaitOver { host, session, no, .. } => {
                if self.hosts[host].waiters.get(&session).is_some_and(|waiter| waiter.no == no) {
                    self.count("waited in vain");
                    self.refused(host, session, false);
                    self.tell(host, true);
                }
            }
        }
    }

    fn start(&mut self, host: usize) {
        if self.hosts[host].node.is_some() {
            return;
        }
        self.note(|| format!("start {host}"));
        let now = self.mono(host);
        let life_millis = self.life_millis;
        let is_known = self.draw.chance(70);
        let h = &mut self.hosts[host];
        h.process += 1;
        h.seats = h.seats.restored(now);
        h.watch = None;
        h.is_pumping = false;
        h.commands.clear();
        h.waiters.clear();
        h.told.clear();
        h.calls.clear();
        h.tick_at = None;
        h.paused_until = 0;
        let mut node = Node::new(NodeConfig {
            me: h.id,
            cluster: ClusterId::from_bytes([9; 16]),
            session_life: Duration::from_millis(life_millis),
            alive: Alive {
                version: "1".into(),
                started: Utc::from_unix_millis(i64::try_from(self.t).unwrap()),
                held: BTreeMap::new(),
                keys: BTreeMap::new(),
            },
        });
        if is_known && let Some(at) = h.hold_until {
            node.hold_until(at);
            h.seats.hold_until = Some(at);
        }
        h.node = Some(node);
        let keys = self.keys.iter().map(|(no, seats)| (*no, (series(), *seats))).collect();
        self.feed(host, Event::Keys(keys));
        self.feed(host, Event::Tick);
        self.tell(host, true);
    }

    fn kill(&mut self, host: usize, back_after: u64) {
        self.hosts[host].node = None;
        let waiters = std::mem::take(&mut self.hosts[host].waiters);
        for waiter in waiters.into_values() {
            self.comps[waiter.comp].is_waiting = false;
        }
        self.after(back_after, Msg::Start { host });
    }

    fn feed(&mut self, host: usize, event: Event) {
        let now = self.mono(host);
        let Some(node) = self.hosts[host].node.as_mut() else { return };
        let effects = node.handle(event, now);
        let timeout = node.poll_timeout();
        for effect in effects {
            self.note(|| format!("node {host}: {}", brief(&effect)));
            match effect {
                Effect::Load => self.call(host, Call::Load),
                Effect::GrantLease { ttl_secs } => {
                    self.call(host, Call::Grant { ttl_secs, sent: now });
                }
                Effect::KeepAlive { lease } => self.call(host, Call::Keep { lease, sent: now }),
                Effect::RevokeLease { lease } => self.call(host, Call::Revoke { lease }),
                Effect::Txn { no, txn } => self.call(host, Call::Txn { no, txn }),
                Effect::Watch { after } => {
                    self.hosts[host].watch = Some(after);
                    self.plan_pump(host);
                }
                // There are no rules here.
                Effect::CloseQuotas | Effect::NoQuota { .. } | Effect::QuotaLimits { .. } => {}
                Effect::Damaged { key, why } => self.fail(&format!("damaged {key}: {why}")),
                Effect::Standing(standing) => match standing {
                    Standing::Isolated { .. } => self.count("isolated"),
                    Standing::Joined => self.count("joined"),
                    Standing::Starting | Standing::Stopping => {}
                },
                Effect::Stopped => {
                    self.count("stopped");
                    let back = 500 + self.draw.below(15_000);
                    self.kill(host, back);
                    return;
                }
                Effect::Claimed { .. }
                | Effect::EndAll
                | Effect::Expect { .. }
                | Effect::HoldUntil(_)
                | Effect::Keep { .. }
                | Effect::Limit { .. }
                | Effect::NoSeats { .. }
                | Effect::TakeAway { .. }
                | Effect::ValidUntil(_) => {
                    self.hosts[host].commands.push_back(effect);
                    let (delay, process) = (self.draw.below(20), self.hosts[host].process);
                    self.after(delay, Msg::Service { host, process });
                }
            }
        }
        if let Some(at) = timeout {
            let at = self.world_time(host, at).max(self.t);
            if self.hosts[host].tick_at.is_none_or(|planned| planned > at) {
                self.hosts[host].tick_at = Some(at);
                let process = self.hosts[host].process;
                self.after(at - self.t, Msg::Tick { host, process });
            }
        }
    }

    fn call(&mut self, host: usize, what: Call) {
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

    fn at_etcd(&mut self, host: usize, process: u64, call: u64, what: Call) {
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

    fn after_etcd(&mut self) {
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
        for (key_no, seats) in &self.keys {
            if let Some(entry) = self.etcd.get(&format!("pools/{key_no}")) {
                let pool = Pool::read(&entry.value).unwrap();
                if pool.allocated() > u64::from(*seats) {
                    self.fail(&format!("blocks of {key_no} add up to more than {seats}: {pool:?}"));
                }
            }
        }
    }

    fn plan_pump(&mut self, host: usize) {
        if self.hosts[host].watch.is_some() && !self.hosts[host].is_pumping {
            self.hosts[host].is_pumping = true;
            let (delay, process) = (1 + self.draw.below(15), self.hosts[host].process);
            self.after(delay, Msg::Pump { host, process });
        }
    }

    fn pump(&mut self, host: usize) {
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

    /// One command of the node reaches its service.
    fn service(&mut self, host: usize) {
        let now = self.mono(host);
        let Some(command) = self.hosts[host].commands.pop_front() else { return };
        let seats = &mut self.hosts[host].seats;
        seats.advance(now);
        match command {
            Effect::Limit { key_no, seats: limit, force } => {
                let before = seats.held(key_no);
                let (limit, held) = seats.set_limit(key_no, limit, force);
                if held < before {
                    self.count("ended by a limit");
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

    fn claimed(&mut self, host: usize, session: SessionId, outcome: ClaimOutcome) {
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
                if is_valid {
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
    fn serve_waiters(&mut self, host: usize, key_no: KeyNo) {
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

    fn refused(&mut self, host: usize, session: SessionId, is_final: bool) {
        if let Some(waiter) = self.hosts[host].waiters.remove(&session) {
            let comp = &mut self.comps[waiter.comp];
            comp.is_waiting = false;
            if is_final && comp.lease.is_none() {
                comp.session = None;
            }
        }
    }

    fn granted(&mut self, host: usize, comp: usize) {
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
    fn tell(&mut self, host: usize, at_once: bool) {
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

    fn is_reached(&mut self, host: usize) -> bool {
        let h = &self.hosts[host];
        h.node.is_some()
            && h.paused_until <= self.t
            && !h.deaf
            && (self.healed_at.is_some() || !self.draw.chance(4))
    }

    fn component(&mut self, comp: usize) {
        let next = HEARTBEAT_MILLIS / 2 + self.draw.below(HEARTBEAT_MILLIS);
        self.after(next, Msg::Component { comp });
        if self.comps[comp].is_waiting {
            return;
        }
        if self.comps[comp].lease.as_ref().is_some_and(|lease| lease.ends <= self.t) {
            self.count("lease over");
            if self.healed_at.is_some_and(|at| at + 5_000 < self.t) {
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
            let ends = self.comps[comp].lease.take().map_or(0, |lease| lease.ends);
            self.graves.push((session, key_no, ends));
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

    fn open(&mut self, comp: usize, host: usize) {
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

    fn fault(&mut self) {
        if self.healed_at.is_some() {
            return;
        }
        let next = 300 + self.draw.below(4000);
        self.after(next, Msg::Fault);
        let host = self.draw.below(self.hosts.len() as u64) as usize;
        match self.draw.below(16) {
            0 | 1 => {
                if self.hosts[host].node.is_some() {
                    self.count("kill");
                    self.note(|| format!("kill {host}"));
                    let back = match self.draw.below(12) {
                        0..=5 => 200,
                        6..=9 => self.draw.below(20_000),
                        // So long that the others take what it had.
                        _ => 95_000,
                    };
                    self.kill(host, back);
                }
            }
            2 | 3 => {
                self.count("pause");
                let long = self.draw.chance(30);
                let span = self.draw.below(if long { 40_000 } else { 6_000 });
                self.note(|| format!("pause {host} for {span}"));
                self.hosts[host].paused_until = self.t + span;
            }
            4..=6 => {
                self.count("cut");
                self.note(|| format!("cut {host}"));
                self.hosts[host].cut = true;
            }
            7 | 8 => self.hosts[host].cut = false,
            9 => {
                self.hosts[host].deaf = !self.hosts[host].deaf;
                self.count("deaf");
            }
            10 => {
                if self.draw.chance(50) {
                    self.count("etcd down");
                    self.etcd.down = true;
                }
            }
            11 => {
                self.etcd.elect(self.t);
                self.count("elect");
            }
            12 => self.etcd.compact(),
            13 => {
                if self.hosts[host].node.is_some() && self.hosts[host].paused_until <= self.t {
                    self.count("stop");
                    self.feed(host, Event::Stop);
                }
            }
            _ => {
                for host in &mut self.hosts {
                    host.cut = false;
                    host.deaf = false;
                }
            }
        }
        if self.etcd.down && self.draw.chance(30) {
            self.etcd.down = false;
            self.etcd.elect(self.t);
        }
    }

    /// Nothing is broken from here on, and nobody comes or goes.
    pub(crate) fn heal(&mut self) {
        if self.etcd.down {
            self.etcd.down = false;
            self.etcd.elect(self.t);
        }
        for host in 0..self.hosts.len() {
            self.hosts[host].cut = false;
            self.hosts[host].deaf = false;
            self.hosts[host].paused_until = self.t;
        }
        for host in 0..self.hosts.len() {
            self.after(100, Msg::Start { host });
        }
        // Whoever was dead finds its place again, and what was held up by etcd's absence is over.
        self.healed_at = Some(self.t + 15_000);
    }

    fn leases(&self, key_no: KeyNo) -> BTreeSet<SessionId> {
        let living = self.comps.iter().filter_map(|comp| {
            let (session, key) = comp.session?;
            let is_valid = comp.lease.as_ref().is_some_and(|lease| lease.ends > self.t);
            (key == key_no && is_valid).then_some(session)
        });
        let dead = self
            .graves
            .iter()
            .filter(|(_, key, ends)| *key == key_no && *ends > self.t)
            .map(|(session, ..)| *session);
        living.chain(dead).collect()
    }

    /// The counter. A lease that somebody gets is all that can make it too many.
    fn judge(&mut self) {
        let now = self.t;
        self.graves.retain(|(_, _, ends)| *ends > now);
        for (key_no, seats) in &self.keys {
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

fn brief(effect: &Effect) -> String {
    match effect {
        Effect::Txn { no, txn } => {
            let mut text = format!("txn {no}: {:?}", txn.compare);
            for op in &txn.then {
                match op {
                    Op::Put { key, value, .. } => {
                        text += &format!("\n      {key} = {}", String::from_utf8_lossy(value));
                    }
                    Op::Delete { key } => text += &format!("\n      delete {key}"),
                }
            }
            text
        }
        other => format!("{other:?}"),
    }
}
