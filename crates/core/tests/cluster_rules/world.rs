//! The world: etcd, links, components, faults, and the counter.

mod people;

use std::collections::BTreeMap;

use licence_core::cluster::quota_book::QuotaBook;
use licence_core::cluster::record::{Member, Settings};
use licence_core::cluster::{Asked, ClaimOutcome, Effect, Event, NodeId, TxnOutcome};
use licence_core::key::KeyNo;
use licence_core::rules::{CheckedRules, QuotaId, Rule, RuleSet};
use licence_core::seal::SigningKey;
use licence_core::service::{Event as ServiceEvent, LeasedSeat};
use licence_core::session::SessionId;
use licence_core::time::Utc;

use crate::draw::Draw;
use crate::etcd::Etcd;
use crate::host::{Host, KEY, LIFE_MILLIS, mono, series};

const HEARTBEAT_MILLIS: u64 = 2_000;
const CALL_MILLIS: u64 = 1_500;

/// Within this time whoever has moved has let the other node's session go, or its lease is over.
const SETTLED_MILLIS: u64 = 2 * LIFE_MILLIS;

/// Who a component is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Under the reservation.
    Chief,
    /// Under the limit.
    Guest,
    /// Under no rule.
    Other,
}

#[derive(Debug)]
enum Msg {
    Answer { host: usize, process: u64, call: u64 },
    Component { comp: usize },
    Etcd { host: usize, process: u64, call: u64, what: Effect },
    EtcdTick,
    Fault,
    Over { comp: usize, no: u64 },
    Pump { host: usize, process: u64 },
    Serve { host: usize, process: u64 },
    Start { host: usize },
    Tell { host: usize, process: u64 },
    Tick { host: usize, process: u64 },
    Timeout { host: usize, process: u64, call: u64 },
}

/// What an opening waits for.
#[derive(Debug)]
enum Waits {
    Claim,
    Keys(Vec<KeyNo>),
    Quotas(Vec<QuotaId>),
}

struct Opening {
    host: usize,
    no: u64,
    seat: LeasedSeat,
    is_claimed: bool,
    tries: u32,
    waits: Waits,
}

struct Comp {
    kind: Kind,
    session: Option<SessionId>,
    /// Who signed the lease, and until when it is valid.
    lease: Option<(usize, u64)>,
    at: usize,
    opening: Option<Opening>,
    is_idle: bool,
}

pub(crate) struct World {
    seed: u64,
    draw: Draw,
    pub(crate) t: u64,
    queue: BTreeMap<(u64, u64), Msg>,
    seq: u64,
    etcd: Etcd,
    etcd_tick_at: Option<u64>,
    checked: i64,
    pub(crate) hosts: Vec<Host>,
    comps: Vec<Comp>,
    pub(crate) limit: u32,
    pub(crate) rules: CheckedRules,
    reserved: u32,
    seats: u32,
    stormy: bool,
    healed: bool,
    /// When sessions went to other nodes, within [`SETTLED_MILLIS`].
    moved: Vec<u64>,
    pub(crate) counts: BTreeMap<&'static str, u32>,
    is_traced: bool,
}

impl World {
    pub(crate) fn new(seed: u64, stormy: bool, is_traced: bool) -> Self {
        let mut draw = Draw(seed);
        let seats = 8 + draw.below(20) as u32;
        let limit = 1 + draw.below(6) as u32;
        let reserved = 1 + draw.below(4) as u32;
        let rule = |text: String| serde_json::from_str::<Rule>(&text).unwrap();
        let rules = RuleSet {
            rules: vec![
                rule(format!(
                    r#"{{"Name":"Гости","Effect":"limit","Seats":{limit},"User":"guest*"}}"#
                )),
                rule(format!(
                    r#"{{"Name":"Chiefs","Effect":"reserve","Seats":{reserved},"User":"chief*"}}"#
                )),
            ],
        };
        let rules = rules.check().unwrap();
        let mut etcd = Etcd::default();
        let mut settings = Settings::new(Utc::from_unix_millis(0));
        settings.isolation_secs = 10;
        etcd.put("settings", settings.write());
        let mut hosts = Vec::new();
        for i in 0..2 + draw.below(2) as u8 {
            let key = SigningKey::from_seed(&[i + 1; 32]).public();
            let id = NodeId::of(&key);
            let (name, joined) = (format!("node{i}"), Utc::from_unix_millis(0));
            let member = Member { name, key: key.jwk(), addresses: Vec::new(), joined };
            etcd.put(&format!("members/{id}"), member.write());
            hosts.push(Host::new(id, i + 1, seats, &rules, 1000));
        }
        let mut world = Self {
            seed,
            draw,
            t: 1000,
            queue: BTreeMap::new(),
            seq: 0,
            etcd,
            etcd_tick_at: None,
            checked: 0,
            hosts,
            comps: Vec::new(),
            limit,
            rules,
            reserved,
            seats,
            stormy,
            healed: false,
            moved: Vec::new(),
            counts: BTreeMap::new(),
            is_traced,
        };
        for host in 0..world.hosts.len() {
            let delay = world.draw.below(500);
            world.after(delay, Msg::Start { host });
        }
        for comp in 0..4 + world.draw.below(30) as usize {
            let kind = match world.draw.below(10) {
                0..=3 => Kind::Guest,
                4 | 5 => Kind::Chief,
                _ => Kind::Other,
            };
            world.comps.push(Comp {
                kind,
                session: None,
                lease: None,
                at: 0,
                opening: None,
                is_idle: false,
            });
            let delay = 1500 + world.draw.below(HEARTBEAT_MILLIS);
            world.after(delay, Msg::Component { comp });
        }
        if stormy {
            world.after(4000, Msg::Fault);
        }
        world
    }

    fn note(&self, text: impl FnOnce() -> String) {
        if self.is_traced {
            println!("{:>7} {}", self.t, text());
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn fail(&self, what: &str) -> ! {
        let book = self.etcd.get("quotas").map(|e| String::from_utf8_lossy(&e.value).into_owned());
        panic!("LICENCE_CLUSTER_RULES_SEED={} at {} ms: {what}: {book:?}", self.seed, self.t);
    }

    fn after(&mut self, millis: u64, msg: Msg) {
        self.seq += 1;
        self.queue.insert((self.t + millis, self.seq), msg);
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

    fn is_up(&self, host: usize, process: u64) -> bool {
        self.hosts[host].node.is_some() && self.hosts[host].process == process
    }

    fn deliver(&mut self, msg: Msg) {
        match msg {
            Msg::Answer { host, process, call } if self.is_up(host, process) => {
                if let Some(event) = self.hosts[host].calls.remove(&call) {
                    self.feed(host, event);
                }
            }
            Msg::Timeout { host, process, call } if self.is_up(host, process) => {
                if let Some(event) = self.hosts[host].calls.remove(&call) {
                    self.count("call without an answer");
                    self.feed(host, failed(event));
                }
            }
            Msg::Pump { host, process } if self.is_up(host, process) => self.pump(host),
            Msg::Serve { host, process } if self.is_up(host, process) => self.serve(host),
            Msg::Tell { host, process } if self.is_up(host, process) => self.tell(host),
            Msg::Tick { host, process } if self.is_up(host, process) => {
                self.hosts[host].tick_at = None;
                let t = self.t;
                self.hosts[host].serve(ServiceEvent::Tick, t);
                self.feed(host, Event::Tick);
                self.tell(host);
            }
            Msg::Etcd { host, process, call, what } => self.at_etcd(host, process, call, what),
            Msg::Component { comp } => self.component(comp),
            Msg::EtcdTick => self.etcd_tick_at = None,
            Msg::Fault => self.fault(),
            Msg::Over { comp, no } => {
                if self.comps[comp].opening.as_ref().is_some_and(|opening| opening.no == no) {
                    self.again(comp, false);
                }
            }
            Msg::Start { host } => self.start(host),
            Msg::Answer { .. }
            | Msg::Timeout { .. }
            | Msg::Pump { .. }
            | Msg::Serve { .. }
            | Msg::Tell { .. }
            | Msg::Tick { .. } => {}
        }
    }

    fn start(&mut self, host: usize) {
        if self.hosts[host].node.is_some() {
            return;
        }
        self.note(|| format!("start {host}"));
        let t = self.t;
        self.hosts[host].start(t);
        self.feed(host, Event::Tick);
        self.tell_all(host);
    }

    fn kill(&mut self, host: usize, back: u64) {
        self.note(|| format!("kill {host} for {back}"));
        self.hosts[host].node = None;
        for comp in 0..self.comps.len() {
            if self.comps[comp].opening.as_ref().is_some_and(|opening| opening.host == host) {
                self.comps[comp].opening = None;
            }
        }
        self.after(back, Msg::Start { host });
    }

    fn feed(&mut self, host: usize, event: Event) {
        let now = mono(self.t);
        let Some(node) = self.hosts[host].node.as_mut() else { return };
        let effects = node.handle(event, now);
        let timeout = node.poll_timeout();
        for effect in effects {
            match effect {
                Effect::Load | Effect::GrantLease { .. } | Effect::KeepAlive { .. } => {
                    self.call(host, effect);
                }
                Effect::RevokeLease { .. } | Effect::Txn { .. } => self.call(host, effect),
                Effect::Watch { after } => {
                    self.hosts[host].watch = Some(after);
                    self.plan_pump(host);
                }
                Effect::Damaged { key, why } => self.fail(&format!("damaged {key}: {why}")),
                Effect::Standing(_) => {}
                Effect::Stopped => {
                    let back = 500 + self.draw.below(8_000);
                    return self.kill(host, back);
                }
                other => {
                    self.hosts[host].commands.push_back(other);
                    let (delay, process) = (self.draw.below(15), self.hosts[host].process);
                    self.after(delay, Msg::Serve { host, process });
                }
            }
        }
        if let Some(at) = timeout {
            let at = at.as_millis().max(self.t + 1);
            if self.hosts[host].tick_at.is_none_or(|planned| planned > at) {
                self.hosts[host].tick_at = Some(at);
                let process = self.hosts[host].process;
                self.after(at - self.t, Msg::Tick { host, process });
            }
        }
    }

    fn call(&mut self, host: usize, what: Effect) {
        self.seq += 1;
        let (call, process) = (self.seq, self.hosts[host].process);
        let sent = mono(self.t);
        // Until it is answered, this stands for the question.
        let event = match &what {
            Effect::GrantLease { .. } => Event::LeaseGranted { lease: 0, sent },
            Effect::KeepAlive { lease } => Event::KeptAlive { lease: *lease, sent },
            Effect::Load => Event::Loaded { entries: Vec::new(), revision: 0 },
            Effect::Txn { no, .. } => Event::TxnDone { no: *no, outcome: TxnOutcome::Failed },
            _ => Event::Tick,
        };
        self.hosts[host].calls.insert(call, event);
        self.after(CALL_MILLIS, Msg::Timeout { host, process, call });
        if !self.hosts[host].cut {
            let delay = 1 + self.draw.below(8);
            self.after(delay, Msg::Etcd { host, process, call, what });
        }
    }

    fn at_etcd(&mut self, host: usize, process: u64, call: u64, what: Effect) {
        let now = self.t;
        let sent = match self.hosts[host].calls.get(&call) {
            Some(Event::KeptAlive { sent, .. } | Event::LeaseGranted { sent, .. }) => *sent,
            _ => mono(now),
        };
        let event = match what {
            Effect::GrantLease { ttl_secs } => {
                Event::LeaseGranted { lease: self.etcd.grant(ttl_secs, now), sent }
            }
            Effect::KeepAlive { lease } => {
                if self.etcd.keep_alive(lease, now) {
                    Event::KeptAlive { lease, sent }
                } else {
                    Event::LeaseLost { lease }
                }
            }
            Effect::Load => {
                let (entries, revision) = self.etcd.range();
                Event::Loaded { entries, revision }
            }
            Effect::RevokeLease { lease } => {
                self.etcd.revoke(lease);
                Event::Tick
            }
            Effect::Txn { no, txn } => {
                let outcome = match self.etcd.txn(&txn) {
                    Some(revision) => TxnOutcome::Succeeded { revision },
                    None => TxnOutcome::Failed,
                };
                Event::TxnDone { no, outcome }
            }
            other => panic!("not for etcd: {other:?}"),
        };
        let is_lost = self.hosts[host].cut || self.stormy && !self.healed && self.draw.chance(1);
        if is_lost || !self.is_up(host, process) {
            return;
        }
        if let Some(answer) = self.hosts[host].calls.get_mut(&call) {
            *answer = event;
            let delay = 1 + self.draw.below(8);
            self.after(delay, Msg::Answer { host, process, call });
        }
    }

    fn after_etcd(&mut self) {
        if let Some(end) = self.etcd.next_end()
            && self.etcd_tick_at.is_none_or(|at| at > end)
        {
            self.etcd_tick_at = Some(end);
            self.after(end.saturating_sub(self.t), Msg::EtcdTick);
        }
        if self.etcd.revision == self.checked {
            return;
        }
        self.checked = self.etcd.revision;
        for host in 0..self.hosts.len() {
            self.plan_pump(host);
        }
        if let Some(entry) = self.etcd.get("quotas") {
            let book = QuotaBook::read(&entry.value).unwrap();
            for (id, total) in [
                (QuotaId::limit("гости"), self.limit),
                (QuotaId::reserve(series(), "chiefs"), self.reserved),
                (QuotaId::Others(series()), self.seats - self.reserved),
            ] {
                if book.allocated(&id) > u64::from(total) {
                    self.fail(&format!("shares of {id} add up to more than {total}"));
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
        if self.hosts[host].cut {
            self.hosts[host].is_pumping = true;
            let process = self.hosts[host].process;
            return self.after(300, Msg::Pump { host, process });
        }
        if let Some((changes, revision)) = self.etcd.changes_after(after)
            && revision > after
        {
            self.hosts[host].watch = Some(revision);
            self.feed(host, Event::Changed { changes, revision });
        }
    }

    /// The service does one of the things that the node has decided.
    fn serve(&mut self, host: usize) {
        let Some(effect) = self.hosts[host].commands.pop_front() else { return };
        self.note(|| format!("service {host}: {effect:?}"));
        let t = self.t;
        match effect {
            Effect::Claimed { session, outcome } => {
                let seat = match outcome {
                    ClaimOutcome::Moved => LeasedSeat::Here,
                    ClaimOutcome::NotHeld => LeasedSeat::Gone,
                };
                self.wake(
                    host,
                    true,
                    usize::MAX,
                    |waits, of| matches!(waits, Waits::Claim) && of == Some(session),
                    Some(seat),
                );
            }
            Effect::NoQuota { id } => {
                for comp in self.comps.iter_mut() {
                    // There may still be something of another one.
                    if let Some(Opening { host: at, waits: Waits::Quotas(of), .. }) =
                        &mut comp.opening
                        && *at == host
                        && of.len() > 1
                    {
                        of.retain(|other| *other != id);
                    }
                }
                self.wake(host, false, usize::MAX, |w, _| is_only_for(w, &id), None);
            }
            Effect::NoSeats { key_no } => {
                self.wake(host, false, usize::MAX, |w, _| is_for_key(w, key_no), None);
            }
            effect => {
                // Until it opens there, nobody counts it.
                self.moved.extend(matches!(effect, Effect::TakeAway { .. }).then_some(t));
                let Some(event) = self.hosts[host].carry(effect, t) else {
                    return self.tell(host);
                };
                self.feed(host, event.clone());
                match &event {
                    Event::Limited { key_no, seats, held } => {
                        let free = seats.saturating_sub(*held) as usize;
                        self.wake(host, true, free, |w, _| is_for_key(w, *key_no), None);
                    }
                    Event::QuotasLimited { limits, .. } => {
                        for (id, seats, held) in limits {
                            let free = seats.saturating_sub(*held) as usize;
                            self.wake(host, true, free, |w, _| is_for_quota(w, id), None);
                        }
                    }
                    _ => {}
                }
                self.tell(host);
            }
        }
    }

    fn wake(
        &mut self,
        host: usize,
        may_wait: bool,
        most: usize,
        is_meant: impl Fn(&Waits, Option<SessionId>) -> bool,
        seat: Option<LeasedSeat>,
    ) {
        let mut left = most;
        for comp in 0..self.comps.len() {
            let session = self.comps[comp].session;
            let Some(opening) = &mut self.comps[comp].opening else { continue };
            if left > 0 && opening.host == host && is_meant(&opening.waits, session) {
                left -= 1;
                if let Some(seat) = &seat {
                    opening.seat = seat.clone();
                }
                self.again(comp, may_wait);
            }
        }
    }

    /// The driver tells the node what has changed, a little late.
    fn tell(&mut self, host: usize) {
        if self.draw.chance(30) {
            let process = self.hosts[host].process;
            return self.after(25, Msg::Tell { host, process });
        }
        self.tell_all(host);
    }

    fn tell_all(&mut self, host: usize) {
        if self.hosts[host].node.is_none() {
            return;
        }
        if let Some(keys) = self.hosts[host].service.take_cluster_change() {
            let seats = keys.iter().map(|(no, key)| (*no, (key.series, key.seats))).collect();
            self.hosts[host].keys = keys;
            self.feed(host, Event::Keys(seats));
        }
        if let Some(quotas) = self.hosts[host].service.take_quota_needs() {
            self.hosts[host].quotas = quotas;
        }
        for ended in self.hosts[host].service.take_ended_here() {
            let (session, released) = (ended.session, ended.is_released);
            self.feed(host, Event::Ended { session, released });
        }
        let of_host = |comp: &&Comp| comp.opening.as_ref().is_some_and(|o| o.host == host);
        let waits: Vec<&Waits> = self
            .comps
            .iter()
            .filter(of_host)
            .filter_map(|comp| comp.opening.as_ref().map(|opening| &opening.waits))
            .collect();
        let for_key = waits.iter().filter(|waits| is_for_key(waits, KEY)).count() as u32;
        let needs = self.hosts[host]
            .quotas
            .iter()
            .map(|(id, need)| {
                let waiting = waits.iter().filter(|waits| is_for_quota(waits, id)).count() as u32;
                (id.clone(), (*need, waiting))
            })
            .collect();
        let held = self.hosts[host].keys.get(&KEY).map_or(0, |key| key.held);
        self.feed(host, Event::Demand { key_no: KEY, held, waiting: for_key });
        self.feed(host, Event::QuotaNeeds(needs));
    }

    fn fault(&mut self) {
        if self.healed {
            return;
        }
        let next = 500 + self.draw.below(5000);
        self.after(next, Msg::Fault);
        let host = self.draw.below(self.hosts.len() as u64) as usize;
        match self.draw.below(8) {
            0 | 1 if self.hosts[host].node.is_some() => {
                self.count("kill");
                let back = if self.draw.chance(70) { 300 } else { self.draw.below(15_000) };
                self.kill(host, back);
            }
            2 | 3 => {
                self.count("cut");
                self.hosts[host].cut = true;
            }
            4 if self.hosts[host].node.is_some() => {
                self.count("stop");
                self.feed(host, Event::Stop);
            }
            _ => self.hosts.iter_mut().for_each(|host| host.cut = false),
        }
    }

    /// Nothing is broken from here on, and nobody comes or goes.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
        for host in 0..self.hosts.len() {
            self.hosts[host].cut = false;
            self.after(100, Msg::Start { host });
        }
    }
}

fn is_for_key(waits: &Waits, key_no: KeyNo) -> bool {
    matches!(waits, Waits::Keys(keys) if keys.contains(&key_no))
}

fn is_for_quota(waits: &Waits, id: &QuotaId) -> bool {
    matches!(waits, Waits::Quotas(quotas) if quotas.contains(id))
}

fn is_only_for(waits: &Waits, id: &QuotaId) -> bool {
    matches!(waits, Waits::Quotas(quotas) if quotas == std::slice::from_ref(id))
}

/// What the node is told when a call brought no answer.
fn failed(event: Event) -> Event {
    match event {
        Event::LeaseGranted { .. } => Event::Failed(Asked::Grant),
        Event::KeptAlive { .. } | Event::LeaseLost { .. } => Event::Failed(Asked::KeepAlive),
        Event::Loaded { .. } => Event::Failed(Asked::Load),
        Event::TxnDone { no, .. } => Event::TxnDone { no, outcome: TxnOutcome::Unknown },
        other => other,
    }
}
