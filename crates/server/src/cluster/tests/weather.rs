//! What befalls a network with three members of etcd and some nodes, drawn from a seed: links that
//! hold, lose or lose one way, members that die, have no leader or get another one, a history that is
//! compacted, a node that is cut off from all members.
//!
//! Never a fault that etcd itself would not survive without losing what it has confirmed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use turmoil::Sim;

use super::draw::Draw;
use super::gateway::{Members, member};
use super::{MEMBERS, now_millis};

/// How long a node is cut off at most: long enough for its lease to end, and to be known as dead.
const CUT_OFF_MAX_MILLIS: u64 = 15_000;

pub(super) struct Weather {
    draw: Draw,
    nodes: &'static [&'static str],
    next: Duration,
    dead: BTreeSet<usize>,
    /// Nodes without any member, and until when.
    cut_off: BTreeMap<&'static str, Duration>,
    /// How often each thing happened.
    pub(super) counts: BTreeMap<&'static str, u32>,
}

impl Weather {
    pub(super) fn new(seed: u64, nodes: &'static [&'static str]) -> Self {
        let counts = BTreeMap::new();
        let (next, dead, cut_off) = (Duration::from_secs(3), BTreeSet::new(), BTreeMap::new());
        Self { draw: Draw(seed), nodes, next, dead, cut_off, counts }
    }

    /// Does what is due at this moment.
    pub(super) fn blow(&mut self, sim: &mut Sim<'_>, members: &Members) {
        let now = sim.elapsed();
        if now < self.next {
            return;
        }
        self.next = now + Duration::from_millis(200 + self.draw.below(1800));
        let over: Vec<&str> = self
            .cut_off
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(node, _)| *node)
            .collect();
        for node in over {
            self.cut_off.remove(node);
            for host in (0..MEMBERS).map(member) {
                sim.release(node, host);
            }
        }
        let me = self.draw.below(MEMBERS as u64) as usize;
        let node = self.nodes[self.draw.below(self.nodes.len() as u64) as usize];
        let is_cut_off = self.cut_off.contains_key(node);
        let what = match self.draw.below(100) {
            0..15 if !is_cut_off => {
                sim.hold(node, member(me));
                "link holds"
            }
            15..25 if !is_cut_off => {
                sim.partition(node, member(me));
                "link is cut"
            }
            25..35 if !is_cut_off => {
                sim.partition_oneway(node, member(me));
                "questions are lost"
            }
            35..45 if !is_cut_off => {
                sim.partition_oneway(member(me), node);
                "answers are lost"
            }
            45..65 if !is_cut_off => {
                sim.release(node, member(me));
                "link is well"
            }
            65..73 if !is_cut_off => {
                let is_held = self.draw.chance(50);
                for host in (0..MEMBERS).map(member) {
                    if is_held { sim.hold(node, host) } else { sim.partition(node, host) }
                }
                let millis = 2000 + self.draw.below(CUT_OFF_MAX_MILLIS - 2000);
                self.cut_off.insert(node, now + Duration::from_millis(millis));
                "node is cut off"
            }
            73..80 if self.dead.insert(me) => {
                sim.crash(member(me));
                "member dies"
            }
            80..88 if self.dead.remove(&me) => {
                sim.bounce(member(me));
                "member is back"
            }
            88..92 => {
                members.with(|shared| shared.elect(now_millis(sim)));
                "another leader"
            }
            92..95 => {
                members.with(|shared| shared.compact());
                "compaction"
            }
            95..98 => {
                members.with(|shared| shared.leaderless.insert(me));
                "no leader"
            }
            98..100 => {
                members.with(|shared| shared.leaderless.remove(&me));
                "a leader again"
            }
            _ => "nothing",
        };
        *self.counts.entry(what).or_default() += 1;
    }

    /// Everything is well from now on.
    pub(super) fn clear(&mut self, sim: &mut Sim<'_>, members: &Members) {
        for host in (0..MEMBERS).map(member) {
            for node in self.nodes {
                sim.release(*node, host);
            }
        }
        for me in std::mem::take(&mut self.dead) {
            sim.bounce(member(me));
        }
        members.with(|shared| shared.leaderless.clear());
        self.cut_off.clear();
    }
}
