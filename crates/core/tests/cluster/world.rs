//! The world of the simulation: hosts with clocks of their own, a network that loses, delays and
//! repeats. Here is what there is and how its time passes; what each part does stands in a file of its
//! own.

mod calls;
mod components;
mod faults;
mod judge;
mod people;
mod service;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use licence_core::cluster::record::{Alive, Member, Settings};
use licence_core::cluster::{
    Asked, ClusterId, Effect, Event, Node, NodeConfig, NodeId, Op, Standing, Txn, TxnOutcome,
};
use licence_core::key::{KeyNo, KeySeries};
use licence_core::seal::{PublicKey, SigningKey};
use licence_core::session::SessionId;
use licence_core::time::{MonoTime, Utc};

use crate::draw::Draw;
use crate::etcd::Etcd;
use crate::seats::Seats;
use people::People;

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
    Deed,
    Etcd { host: usize, process: u64, call: u64, what: Call },
    EtcdTick,
    Fault,
    Licence { host: usize, process: u64 },
    Mend { key: String },
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
    /// It was forgotten, and does not come back before another machine takes its place.
    is_gone: bool,
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
    /// Leases of components that are dead: until when they are valid, and who issued them.
    graves: Vec<(SessionId, KeyNo, u64, usize)>,
    pub(crate) keys: BTreeMap<KeyNo, u32>,
    /// Most seats that keys had which were changed.
    most: BTreeMap<KeyNo, u32>,
    people: People,
    /// Sessions whose seats people have given away.
    void: BTreeSet<SessionId>,
    /// Values that were damaged, as they were.
    mends: BTreeMap<String, Vec<u8>>,
    /// Values that ever were.
    damaged: BTreeSet<String>,
    life_millis: u64,
    checked_revision: i64,
    pub(crate) counts: BTreeMap<&'static str, u32>,
    healed_at: Option<u64>,
    is_traced: bool,
}

fn series() -> KeySeries {
    KeySeries::from_u16(0x672B)
}

fn signing_key(host: usize) -> PublicKey {
    SigningKey::from_seed(&[host as u8 + 1; 32]).public()
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
            let key = signing_key(i);
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
                is_gone: false,
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
            most: BTreeMap::new(),
            people: People::new(seed),
            void: BTreeSet::new(),
            mends: BTreeMap::new(),
            damaged: BTreeSet::new(),
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
        world.after(5500, Msg::Deed);
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
            | Msg::Licence { host, process }
            | Msg::Pump { host, process }
            | Msg::Service { host, process }
            | Msg::Tell { host, process }
            | Msg::Tick { host, process }
            | Msg::Timeout { host, process, .. }
            | Msg::WaitOver { host, process, .. } => Some((*host, *process)),
            Msg::Component { .. }
            | Msg::Deed
            | Msg::Etcd { .. }
            | Msg::EtcdTick
            | Msg::Fault
            | Msg::Mend { .. }
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
            Msg::Deed => self.deed(),
            Msg::Licence { host, .. } => self.licence(host),
            Msg::Mend { key } => self.mend(&key),
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
        if self.hosts[host].node.is_some() || self.hosts[host].is_gone {
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
                Effect::Damaged { key, .. } if self.is_damaged(&key) => self.count("damage told"),
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
