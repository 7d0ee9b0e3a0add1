//! The world of the plan: many nodes on one key, links and an etcd that take their time, processes of
//! 1C that look for another node when theirs is dead. Nothing is lost and no clock drifts here.
//!
//! A node's service is a number of seats; only sessions that move have names. Time is virtual, in
//! microseconds.

mod nodes;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use licence_core::cluster::record::{Member, Pool, Settings};
use licence_core::cluster::{Effect, Event, Node, NodeId, Standing, Txn};
use licence_core::key::KeyNo;
use licence_core::seal::SigningKey;
use licence_core::session::SessionId;
use licence_core::time::{MonoTime, Utc};

use super::figures::{Blocks, Moved, Tally};
use crate::draw::Draw;
use crate::etcd::Etcd;
use crate::number;

/// The one key.
const KEY: KeyNo = KeyNo(1);

/// One second.
pub(super) const SECOND: u64 = 1_000_000;

/// How long a session lives past its last touch, as in the product.
const SESSION_LIFE: Duration = Duration::from_secs(1000);

/// How often a component beats: so late it finds that its node is dead, and so late it asks again when
/// it was put off.
const HEARTBEAT: u64 = 10 * SECOND;

/// What a server needs for one opening, its disk included.
const SERVE: u64 = 1_000;

/// From the node to its service and back.
const TURN: u64 = 300;

/// What one entry of a whole reading of etcd takes.
const ENTRY: u64 = 5;

/// Shortest nap of a node's task.
const NAP: u64 = 1_000;

/// How many revisions are kept for watches before they are dropped.
const LOG_MAX: i64 = 500;

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course {
    pub(super) name: &'static str,
    pub(super) nodes: u16,
    pub(super) sessions: u32,
    pub(super) seats: u32,
    /// One way between any two computers, on the average.
    pub(super) link: u64,
    /// How long the disks of etcd's majority sync: the shortest and the longest.
    pub(super) commit: (u64, u64),
    /// Sessions of one process of 1C, which opens them again one after another.
    pub(super) process: u32,
}

#[derive(Debug)]
enum Call {
    Grant { ttl_secs: u32, sent: MonoTime },
    Keep { lease: i64, sent: MonoTime },
    Load,
    Revoke { lease: i64 },
    Txn { no: u64, txn: Txn },
}

#[derive(Debug)]
enum Msg {
    Answer { host: usize, life: u64, event: Event },
    Ask { place: usize, session: SessionId },
    Etcd { host: usize, life: u64, call: Call },
    EtcdTick,
    Flow { host: usize, opens: bool, every: u64, left: u32 },
    Order { host: usize, life: u64, effect: Effect },
    Process { place: usize },
    Pump { host: usize, life: u64 },
    Reach { host: usize, life: u64, call: Call },
    Start { host: usize },
    Tell { host: usize, life: u64 },
    Tick { host: usize, life: u64 },
    WaitOver { host: usize, session: Option<SessionId>, no: u64 },
}

struct Due(u64, u64, Msg);

impl Due {
    const fn key(&self) -> (u64, u64) {
        (self.0, self.1)
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

struct Host {
    id: NodeId,
    life: u64,
    node: Option<Node>,
    may_grant: bool,
    limit: u32,
    held: u32,
    /// Sessions whose seats have come before them.
    expected: BTreeSet<SessionId>,
    /// Sessions that have moved here.
    here: BTreeSet<SessionId>,
    /// Openings of newcomers that wait, and since when.
    waiting: VecDeque<(u64, u64)>,
    /// Sessions that wait for their own seats: their process, and which waiting it is.
    claiming: BTreeMap<SessionId, (usize, u64)>,
    watch: Option<i64>,
    is_pumping: bool,
    is_telling: bool,
    told: Option<(u32, u32)>,
    tick_at: Option<u64>,
}

impl Host {
    fn taken(&self) -> u32 {
        self.held + u32::try_from(self.expected.len()).unwrap()
    }

    fn is_free(&self) -> bool {
        self.node.is_some() && self.may_grant && self.taken() < self.limit
    }
}

/// A process of 1C whose node has died.
struct Process {
    at: usize,
    left: VecDeque<SessionId>,
    /// Those that were put off until the next heartbeat.
    again: VecDeque<SessionId>,
    asked: u64,
}

pub(super) struct Site {
    course: Course,
    draw: Draw,
    pub(super) t: u64,
    queue: BinaryHeap<Reverse<Due>>,
    seq: u64,
    etcd: Etcd,
    etcd_tick_at: Option<u64>,
    /// Begin and end of the last sync of etcd's disks that is planned.
    syncs: (u64, u64),
    pumped: i64,
    compacted: i64,
    hosts: Vec<Host>,
    processes: Vec<Process>,
    /// Sessions of the node that died.
    orphans: BTreeSet<SessionId>,
    dead: usize,
    died_at: u64,
    block_at_death: u32,
    /// How many sessions it had.
    pub(super) moving: u32,
    pub(super) tally: Tally,
    pub(super) moved: Moved,
    pub(super) refused: u32,
    flows: u32,
}

impl Site {
    pub(super) fn new(course: Course) -> Self {
        let mut etcd = Etcd::default();
        etcd.put("settings", Settings::new(Utc::from_unix_millis(0)).write());
        let hosts = (0..course.nodes)
            .map(|number| {
                let mut seed = [7; 32];
                seed[..2].copy_from_slice(&number.to_be_bytes());
                let key = SigningKey::from_seed(&seed).public();
                let id = NodeId::of(&key);
                let member = Member {
                    name: format!("node{number}"),
                    key: key.jwk(),
                    addresses: vec![format!("node{number}:9099")],
                    joined: Utc::from_unix_millis(0),
                };
                etcd.put(&format!("members/{id}"), member.write());
                Host {
                    id,
                    life: 0,
                    node: None,
                    may_grant: false,
                    limit: 0,
                    held: 0,
                    expected: BTreeSet::new(),
                    here: BTreeSet::new(),
                    waiting: VecDeque::new(),
                    claiming: BTreeMap::new(),
                    watch: None,
                    is_pumping: false,
                    is_telling: false,
                    told: None,
                    tick_at: None,
                }
            })
            .collect();
        let mut site = Self {
            course,
            draw: Draw(number("LICENCE_CLUSTER_SEED").unwrap_or(1)),
            t: SECOND,
            queue: BinaryHeap::new(),
            seq: 0,
            etcd,
            etcd_tick_at: None,
            syncs: (0, 0),
            pumped: 0,
            compacted: 0,
            hosts,
            processes: Vec::new(),
            orphans: BTreeSet::new(),
            dead: 0,
            died_at: 0,
            block_at_death: 0,
            moving: 0,
            tally: Tally::default(),
            moved: Moved::default(),
            refused: 0,
            flows: 0,
        };
        for host in 0..site.hosts.len() {
            let delay = site.draw.below(2 * SECOND);
            site.after(delay, Msg::Start { host });
        }
        site
    }

    fn after(&mut self, micros: u64, msg: Msg) {
        self.seq += 1;
        self.queue.push(Reverse(Due(self.t + micros, self.seq, msg)));
    }

    fn mono(&self) -> MonoTime {
        MonoTime::from_millis(self.t / 1000)
    }

    pub(super) fn run_for(&mut self, micros: u64) {
        let end = self.t + micros;
        self.run_until(end, |_| false);
    }

    /// Runs until `is_done` or the end; whether it was done.
    pub(super) fn run_until(&mut self, end: u64, is_done: impl Fn(&Self) -> bool) -> bool {
        while !is_done(self) {
            if self.queue.peek().is_none_or(|Reverse(due)| due.0 > end) {
                self.t = end;
                return false;
            }
            let Some(Reverse(Due(at, _, msg))) = self.queue.pop() else { break };
            self.t = self.t.max(at);
            self.etcd.tick(self.t / 1000);
            self.deliver(msg);
            self.after_etcd();
        }
        true
    }

    // What people do.

    pub(super) fn all_joined(&self) -> bool {
        let joined = |node: &Node| node.standing() == Standing::Joined;
        self.hosts.iter().all(|host| host.node.as_ref().is_some_and(joined))
    }

    /// Opens or closes that many sessions at every node within that time.
    pub(super) fn flow(&mut self, opens: bool, count: u32, within: u64) {
        for host in 0..self.hosts.len() {
            if self.hosts[host].node.is_some() && count > 0 {
                let every = within / u64::from(count);
                let delay = self.draw.below(2 * every.max(1));
                self.flows += 1;
                self.after(delay, Msg::Flow { host, opens, every, left: count });
            }
        }
    }

    pub(super) const fn is_flowing(&self) -> bool {
        self.flows > 0
    }

    /// A node dies. Each of its processes finds that out at its next heartbeat and goes to any other.
    pub(super) fn kill(&mut self, host: usize) {
        let course = self.course;
        self.dead = host;
        self.died_at = self.t;
        self.block_at_death = self.pool().block_seats(&self.hosts[host].id);
        let dead = &mut self.hosts[host];
        dead.node = None;
        dead.life += 1;
        dead.waiting.clear();
        let held = dead.held;
        let sessions: Vec<SessionId> =
            (0..held).map(|_| SessionId::from_bytes(self.draw.id())).collect();
        self.moving = held;
        self.orphans = sessions.iter().copied().collect();
        for part in sessions.chunks(course.process as usize) {
            let any = self.draw.below(u64::from(course.nodes) - 1) as usize;
            let at = if any >= host { any + 1 } else { any };
            let left = part.iter().copied().collect();
            self.processes.push(Process { at, left, again: VecDeque::new(), asked: 0 });
            let (place, delay) = (self.processes.len() - 1, self.draw.below(HEARTBEAT));
            self.after(delay, Msg::Process { place });
        }
    }

    pub(super) fn restart(&mut self, host: usize) {
        self.after(0, Msg::Start { host });
    }

    pub(super) fn all_moved(&self) -> bool {
        self.moved.count() == self.moving as usize
    }

    /// Whether the seats of all that have moved have left the block of the dead node.
    pub(super) fn all_drawn(&self) -> bool {
        self.orphaned_seats() + self.moving <= self.block_at_death
    }

    /// Seats in the block of the dead node.
    pub(super) fn orphaned_seats(&self) -> u32 {
        self.pool().block_seats(&self.hosts[self.dead].id)
    }

    /// Whether that block waits for its node.
    pub(super) fn is_orphaned(&self) -> bool {
        self.pool().is_orphaned(&self.hosts[self.dead].id)
    }

    /// Whether the node that died grants again, having let go all that has moved.
    pub(super) fn is_back(&self) -> bool {
        let host = &self.hosts[self.dead];
        host.node.is_some() && host.may_grant && self.orphans.is_empty() && !self.is_orphaned()
    }

    /// How many claims a living node knows of.
    pub(super) fn claims(&self) -> usize {
        let living = self.hosts.iter().filter_map(|host| host.node.as_ref());
        living.map(|node| node.view().claims_len()).max().unwrap_or(0)
    }

    /// What lies idle in the blocks of the living, and how large the blocks are.
    pub(super) fn blocks(&self) -> Blocks {
        let pool = self.pool();
        let living: Vec<(u32, u32)> = self
            .hosts
            .iter()
            .filter(|host| host.node.is_some())
            .map(|host| (pool.block_seats(&host.id), host.taken()))
            .collect();
        Blocks {
            least: living.iter().map(|(seats, _)| *seats).min().unwrap_or(0),
            most: living.iter().map(|(seats, _)| *seats).max().unwrap_or(0),
            idle: living.iter().map(|(seats, taken)| seats.saturating_sub(*taken)).sum(),
            unallocated: pool.unallocated(),
            bytes: pool.write().len(),
        }
    }

    pub(super) fn pool(&self) -> Pool {
        let entry = self.etcd.get(&format!("pools/{KEY}"));
        Pool::read(&entry.unwrap().value).unwrap()
    }
}
