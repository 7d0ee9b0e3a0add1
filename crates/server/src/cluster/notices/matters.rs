//! What is worth a notice about a cluster: what this node sees and the time in, tidings out.
//!
//! Decides when something is told, when it was told already, and which node tells it. It reads no
//! clock, asks nobody and writes no text. What was told is forgotten at a restart.
//!
//! A matter begins when it has lasted for some lives of a lease ([`LOST_AFTER_LEASES`]) and ends when
//! all was well again for [`BACK_AFTER`]: what comes and goes meanwhile is one matter.

use std::collections::BTreeMap;
use std::time::Duration;

use licence_core::cluster::record::Settings;
use licence_core::cluster::{NodeId, Standing};
use licence_core::time::{MonoTime, Now, Utc};

use super::super::node::State;
use super::super::picture::Contents;

/// A loss is told when it has lasted for so many lives of a lease, 15 s as clusters are made. An etcd
/// that elects a leader is back within one of them, and so is a node whose service manager starts it
/// again: its new process waits for the end of the lease of the one before.
const LOST_AFTER_LEASES: u32 = 3;

/// How long all must be well before that is told. A node that dies again and again, or an etcd that
/// changes its leader under load, is one matter and not two mails a minute.
pub(super) const BACK_AFTER: Duration = Duration::from_secs(60);

/// Something to tell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Tiding {
    /// This node is in touch with etcd again.
    EtcdBack {
        /// When it lost it.
        lost: Utc,
        /// Since when it has it again.
        back: Utc,
    },
    /// This node is not in touch with etcd, or not part of its cluster.
    EtcdLost {
        /// Since when.
        since: Utc,
        /// Until when sessions are renewed; nothing when they are not.
        hold_until: Option<Utc>,
        /// Why the last call failed; nothing when etcd answers.
        problem: Option<String>,
    },
    /// Another node is back.
    NodeBack {
        /// The node.
        node: NodeId,
        /// When it was lost.
        lost: Utc,
        /// Since when it is back.
        back: Utc,
    },
    /// Another node is gone.
    NodeLost {
        /// The node.
        node: NodeId,
        /// Since when.
        since: Utc,
        /// It was seen to have gone otherwise than by command; else nobody here knows, and it may have been
        /// gone for longer.
        is_death: bool,
    },
}

/// Remembers what goes on and what was told of it.
#[derive(Debug, Default)]
pub(super) struct Matters {
    own: Phase,
    others: BTreeMap<NodeId, Other>,
    /// Until when sessions go on that were restored by a start without etcd.
    remembered: Option<MonoTime>,
    next: Option<MonoTime>,
}

/// How far a matter is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Phase {
    #[default]
    Well,
    /// Not well, for too short to be told.
    Bad { since: MonoTime },
    /// It was told.
    Told { since: MonoTime },
    /// It was told and is well, for too short to be told.
    Better { since: MonoTime, back: MonoTime },
}

/// What a look at a matter has brought.
enum Step {
    Lost { since: MonoTime },
    Back { lost: MonoTime, back: MonoTime },
}

impl Phase {
    fn step(&mut self, is_bad: bool, lost_after: Duration, now: MonoTime) -> Option<Step> {
        *self = match (*self, is_bad) {
            (Self::Well | Self::Bad { .. }, false) => Self::Well,
            (Self::Well, true) => Self::Bad { since: now },
            (Self::Told { since }, false) => Self::Better { since, back: now },
            (Self::Better { since, .. }, true) => Self::Told { since },
            (same, _) => same,
        };
        match *self {
            Self::Bad { since } if now.since(since) >= lost_after => {
                *self = Self::Told { since };
                Some(Step::Lost { since })
            }
            Self::Better { since, back } if now.since(back) >= BACK_AFTER => {
                *self = Self::Well;
                Some(Step::Back { lost: since, back })
            }
            Self::Well | Self::Bad { .. } | Self::Told { .. } | Self::Better { .. } => None,
        }
    }

    fn poll_timeout(self, lost_after: Duration) -> Option<MonoTime> {
        match self {
            Self::Bad { since } => Some(since.after(lost_after)),
            Self::Better { back, .. } => Some(back.after(BACK_AFTER)),
            Self::Well | Self::Told { .. } => None,
        }
    }
}

/// Another node.
#[derive(Debug, Default)]
struct Other {
    phase: Phase,
    /// Who told that it is gone, and when.
    told: Option<(NodeId, MonoTime)>,
    is_alive: bool,
    /// It stopped by command and has not come back since.
    has_stopped: bool,
    /// It was seen to go, and that it did not stop by command.
    has_died: bool,
    /// It had a block from which it grants, since it is alive.
    was_open: bool,
    /// When it was seen to have given all of them back.
    gave_back: Option<MonoTime>,
}

impl Other {
    /// Takes note of whether it lives. A node that stops by command gives its blocks back and ends its
    /// lease at once; the lease of one that dies lives on for two thirds of its life at least. When in
    /// doubt it has died.
    fn look(&mut self, id: &NodeId, contents: &Contents, lease: Duration, now: MonoTime) {
        let blocks = || contents.pools.values().filter_map(|(pool, _)| pool.blocks.get(id));
        let is_open = blocks().any(|block| !block.orphaned);
        if contents.alive.contains_key(id) {
            self.is_alive = true;
            (self.has_stopped, self.has_died) = (false, false);
            if is_open {
                (self.was_open, self.gave_back) = (true, None);
            } else if self.was_open {
                self.gave_back.get_or_insert(now);
            }
            return;
        }
        if self.is_alive {
            let is_at_once = |at: MonoTime| now.since(at) <= lease / 2;
            self.has_stopped = !is_open && self.gave_back.is_some_and(is_at_once);
            // Of one that had no block nothing can be said.
            self.has_died = self.was_open && !self.has_stopped;
        }
        (self.is_alive, self.was_open, self.gave_back) = (false, false, None);
    }
}

impl Other {
    fn lost(&self, node: NodeId, since: MonoTime, now: Now) -> Tiding {
        Tiding::NodeLost { node, since: utc_of(since, now), is_death: self.has_died }
    }
}

impl Matters {
    /// Nothing is known; `remembered` is until when sessions go on if etcd was not reached since the
    /// start.
    pub(super) fn new(remembered: Option<MonoTime>) -> Self {
        Self { remembered, ..Self::default() }
    }

    /// When to look again, even if nothing changes.
    pub(super) const fn poll_timeout(&self) -> Option<MonoTime> {
        self.next
    }

    /// Looks at what this node sees.
    pub(super) fn look(&mut self, state: &State, now: Now) -> Vec<Tiding> {
        if state.standing == Standing::Stopping {
            // Whatever it is, nobody will be here to end it.
            self.next = None;
            return Vec::new();
        }
        let settings = state.contents.settings.clone();
        let settings = settings.unwrap_or_else(|| Settings::new(now.utc));
        let lease = Duration::from_secs(u64::from(settings.lease_ttl_secs));
        let lost_after = lease * LOST_AFTER_LEASES;
        let is_joined = state.standing == Standing::Joined;
        let mut tidings = Vec::new();
        match self.own.step(!is_joined, lost_after, now.mono) {
            Some(Step::Lost { since }) => {
                let isolation = Duration::from_secs(u64::from(settings.isolation_secs));
                let (since, hold_until) = match state.standing {
                    Standing::Isolated { since } => (since, Some(since.after(isolation))),
                    Standing::Joined | Standing::Starting | Standing::Stopping => {
                        (since, self.remembered)
                    }
                };
                let hold_until = hold_until.filter(|until| *until > now.mono);
                self.own = Phase::Told { since };
                tidings.push(Tiding::EtcdLost {
                    since: utc_of(since, now),
                    hold_until: hold_until.map(|until| utc_of(until, now)),
                    problem: state.problem.clone(),
                });
            }
            Some(Step::Back { lost, back }) => {
                tidings.push(Tiding::EtcdBack { lost: utc_of(lost, now), back: utc_of(back, now) })
            }
            None => {}
        }
        if is_joined {
            self.look_at_others(state, lease, lost_after, now, &mut tidings);
        } else {
            // What becomes of the others is not seen from here, and told by those who see it. It may be
            // told once more when this node is back: twice is better than not at all.
            for other in self.others.values_mut() {
                if matches!(other.phase, Phase::Bad { .. }) {
                    other.phase = Phase::Well;
                }
            }
        }
        // Nothing of theirs is due while they are not looked at.
        let others = self.others.values().filter(|_| is_joined).map(|other| other.phase);
        self.next =
            others.chain([self.own]).filter_map(|phase| phase.poll_timeout(lost_after)).min();
        tidings
    }

    fn look_at_others(
        &mut self,
        State { me, contents, .. }: &State,
        lease: Duration,
        lost_after: Duration,
        now: Now,
        tidings: &mut Vec<Tiding>,
    ) {
        self.others.retain(|id, _| contents.members.contains_key(id));
        for id in contents.members.keys().filter(|id| *id != me) {
            let other = self.others.entry(*id).or_default();
            other.look(id, contents, lease, now.mono);
            let mut living = contents.alive.keys().filter(|it| contents.members.contains_key(it));
            let tells = living.find(|it| *it != id).copied().unwrap_or(*me);
            let is_bad = !other.is_alive && !other.has_stopped;
            match other.phase.step(is_bad, lost_after, now.mono) {
                Some(Step::Lost { since }) => {
                    other.told = Some((tells, now.mono));
                    if tells == *me {
                        tidings.push(other.lost(*id, since, now));
                    }
                }
                Some(Step::Back { lost, back }) => {
                    // Who tells now may have been gone as well and know of no loss: twice is better than
                    // not at all.
                    let has_told = other.told.take().is_some_and(|(by, _)| by == *me);
                    // One that has stopped meanwhile is not back.
                    if (tells == *me || has_told) && other.is_alive {
                        let (lost, back) = (utc_of(lost, now), utc_of(back, now));
                        tidings.push(Tiding::NodeBack { node: *id, lost, back });
                    }
                }
                None => {}
            }
            // Who was to tell may have died before it did.
            if let (Phase::Told { since }, Some((by, at))) = (other.phase, other.told)
                && !contents.alive.contains_key(&by)
                && now.mono.since(at) <= lease * 2
            {
                other.told = Some((tells, now.mono));
                if tells == *me {
                    tidings.push(other.lost(*id, since, now));
                }
            }
        }
    }
}

/// A moment of the monotonic clock on the calendar.
fn utc_of(at: MonoTime, now: Now) -> Utc {
    let ahead = i64::try_from(at.since(now.mono).as_millis()).unwrap_or(i64::MAX);
    let ago = i64::try_from(now.mono.since(at).as_millis()).unwrap_or(i64::MAX);
    now.utc.plus_millis(ahead.saturating_sub(ago))
}

#[cfg(test)]
mod tests;
