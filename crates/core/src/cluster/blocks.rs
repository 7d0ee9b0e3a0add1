//! How many seats of a key this node's service may give out, and how many it would like to.
//!
//! The limit of the service is lowered here before etcd is told, and raised after etcd has agreed.
//! What is written to etcd stands in [`super::plan`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::event::{Effect, Standing};
use super::node::Node;
use super::record::Pool;
use super::txns::Fence;
use crate::key::{KeyNo, KeySeries};
use crate::session::SessionId;
use crate::time::MonoTime;

/// How long too many free seats are kept before they are given back: people come and go.
const SHRINK_AFTER: Duration = Duration::from_secs(5);

/// How long others are asked for seats after the last one has waited.
pub(super) const WANTING_AFTER: Duration = Duration::from_secs(10);

/// Smallest reserve of free seats: two people who come at once do not wait.
const MARGIN_MIN: u32 = 2;

/// Largest reserve of a block of up to two thousand seats: a busy node writes to etcd about once for
/// 32 openings.
const MARGIN_MAX: u32 = 64;

/// Larger blocks have a reserve of up to this part of what is held. All nodes write one pool, and with
/// ten thousand seats each they would queue for it.
const MARGIN_MAX_PART: u32 = 32;

/// As long as hardly anything is held, this part of the fair part is a reserve all the same: a node
/// that opens dozens of sessions a second from an empty block would grow by twos. Keys with fewer than
/// 768 seats have none of it.
const MARGIN_FREE_PART: u32 = 128;

/// One key at this node.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) series: KeySeries,
    /// Seats of the node's licence; 0 when it has none.
    pub(super) seats: u32,
    /// Seats that are held, as the service told last.
    pub(super) held: u32,
    /// Openings that wait.
    pub(super) waiting: u32,
    /// No more than this are held or given out by the service, and never more than in the block.
    pub(super) limit: u32,
    /// A limit is being set.
    pub(super) is_setting: bool,
    /// It is the one that closes the key.
    is_closing: bool,
    /// Sessions that the service was told to expect after that.
    expected: u32,
    /// Sessions that the service is asked to let go.
    pub(super) taking: u32,
    /// Seats of sessions that the service has let go, still in our block.
    pub(super) owed: u32,
    /// Keeps the limit from rising while a transaction of ours may still make the block smaller.
    pub(super) fence: Option<Fence>,
    /// The service gives out nothing until it is known what is ours.
    pub(super) closed: bool,
    /// It is known.
    pub(super) open: bool,
    /// The limit is to be lowered to this, and what becomes free leaves the block.
    pub(super) goal: Option<u32>,
    excess_since: Option<MonoTime>,
    /// When an opening waited last.
    pub(super) wanted_at: Option<MonoTime>,
    told_no_seats: bool,
    /// The service's limit may be lower than we know.
    pub(super) is_stale: bool,
    /// Sessions that ended here for want of renewal and may go on at a node that is cut off.
    pub(super) returns: BTreeSet<SessionId>,
}

impl Local {
    pub(super) const fn new(series: KeySeries, seats: u32) -> Self {
        Self {
            series,
            seats,
            held: 0,
            waiting: 0,
            limit: 0,
            is_setting: false,
            is_closing: false,
            expected: 0,
            taking: 0,
            owed: 0,
            fence: None,
            closed: false,
            open: false,
            goal: None,
            excess_since: None,
            wanted_at: None,
            told_no_seats: false,
            is_stale: false,
            returns: BTreeSet::new(),
        }
    }

    /// Nothing is given out until it is known again what is ours.
    pub(super) const fn close(&mut self) {
        self.closed = false;
        self.is_closing = false;
        self.open = false;
        self.goal = None;
        self.excess_since = None;
    }

    /// A seat has come with a claim: the service raises its limit by one for it.
    pub(super) const fn expect(&mut self) {
        self.limit = self.limit.saturating_add(1);
        self.held = self.held.saturating_add(1);
        self.expected = self.expected.saturating_add(1);
        self.is_stale = true;
        // What was spare may be this seat.
        self.goal = None;
    }

    /// Seats of the block that are or may be given out here.
    pub(super) fn usable(&self, pool: &Pool, me: &super::NodeId) -> u32 {
        pool.block_seats(me).saturating_sub(self.owed)
    }

    /// Free seats that are worth having: an eighth of what is held, less of large blocks, more while
    /// much is free; but no more than a fair part of what is free at all.
    pub(super) fn margin(&self, pool: &Pool, usable: u32, nodes: u32) -> u32 {
        let free = pool.unallocated().saturating_add(usable.saturating_sub(self.held));
        let fair = free / nodes.saturating_mul(2).max(1);
        (self.held / 8)
            .min(MARGIN_MAX.max(self.held / MARGIN_MAX_PART))
            .max(fair / MARGIN_FREE_PART)
            .max(MARGIN_MIN)
            .min(fair)
    }
}

impl Node {
    pub(super) fn keys(&mut self, keys: BTreeMap<KeyNo, (KeySeries, u32)>) {
        for (key_no, local) in &mut self.locals {
            if !keys.contains_key(key_no) && local.seats > 0 {
                local.seats = 0;
                self.life.is_alive_stale = true;
            }
        }
        for (key_no, (series, seats)) in keys {
            let local = self.locals.entry(key_no).or_insert_with(|| Local::new(series, 0));
            if local.seats != seats {
                local.seats = seats;
                self.life.is_alive_stale = true;
            }
        }
        self.touch_all();
    }

    pub(super) fn demand(&mut self, key_no: KeyNo, held: u32, waiting: u32) {
        let now = self.now;
        let Some(local) = self.locals.get_mut(&key_no) else { return };
        local.held = held;
        local.waiting = waiting;
        local.told_no_seats = false;
        if waiting > 0 {
            local.wanted_at = Some(now);
            self.wakes.insert((now.after(WANTING_AFTER), key_no));
        }
        self.touch(key_no);
    }

    pub(super) fn limited(&mut self, key_no: KeyNo, seats: u32, held: u32) {
        let Some(local) = self.locals.get_mut(&key_no) else { return };
        local.is_setting = false;
        local.limit = seats.saturating_add(local.expected);
        local.held = held.saturating_add(local.expected);
        local.closed |= local.is_closing;
        local.is_closing = false;
        self.touch(key_no);
    }

    /// How many nodes share what is free.
    pub(super) fn nodes(&self) -> u32 {
        u32::try_from(self.view.alive.len()).unwrap_or(u32::MAX).max(1)
    }

    fn set_limit(&mut self, key_no: KeyNo, seats: u32, force: bool) {
        if let Some(local) = self.locals.get_mut(&key_no) {
            local.is_setting = true;
            local.expected = 0;
            // Until the service answers, the higher of both holds.
            local.limit = local.limit.max(seats);
            local.is_stale = false;
            self.out.push(Effect::Limit { key_no, seats, force });
        }
    }

    /// The service gives out nothing of a key that is not open.
    fn shut(&mut self, key_no: KeyNo) {
        if let Some(local) = self.locals.get_mut(&key_no) {
            local.is_closing = true;
        }
        self.set_limit(key_no, 0, false);
    }

    /// Looks at the limit of a key.
    pub(super) fn limits(&mut self, key_no: KeyNo) {
        if !self.life.entering {
            return;
        }
        let Some(local) = self.locals.get(&key_no) else { return };
        if local.is_setting || local.taking > 0 {
            return;
        }
        if !local.closed {
            return self.shut(key_no);
        }
        let Some(local) = self.locals.get_mut(&key_no) else { return };
        let seen = self.view.pools.get(&key_no);
        if seen.is_none_or(|seen| seen.value.is_none()) {
            // A pool that is gone or damaged grants nothing.
            local.fence = None;
            if local.open {
                local.close();
                self.shut(key_no);
            } else if seen.is_none() && local.seats == 0 && local.limit == 0 && local.owed == 0 {
                self.locals.remove(&key_no);
            }
            return;
        }
        let mod_revision = seen.map_or(0, |seen| seen.mod_revision);
        if local.fence.is_some_and(|fence| fence.revision != mod_revision) {
            local.fence = None;
        }
        if self.standing == Standing::Stopping {
            if self.take_away(key_no) {
                return;
            }
            let Some(local) = self.locals.get(&key_no) else { return };
            if local.limit > local.held {
                self.set_limit(key_no, 0, false);
            }
            return;
        }
        if self.take_away(key_no) {
            return;
        }
        let me = self.config.me;
        let Some(pool) = self.view.pool(key_no) else { return };
        let Some(local) = self.locals.get_mut(&key_no) else { return };
        let usable = local.usable(pool, &me);
        if !local.open {
            let is_settled = !pool.is_orphaned(&me)
                && !self.sessions.has_to_take(key_no)
                && local.fence.is_none()
                && (usable >= local.limit || pool.unallocated() == 0);
            if is_settled {
                local.open = true;
                // Until the service has ended what is over, the block may be smaller than the limit.
                local.limit = local.limit.min(usable);
                let block = pool.block_seats(&me);
                self.drop_owed(key_no, block);
                self.set_limit(key_no, usable, true);
            }
            return;
        }
        if local.limit > usable || pool.is_orphaned(&me) {
            // Somebody else has written our block: it is found out anew what is ours. It may have been
            // marked before we were there, and be told after we have opened.
            local.close();
            return self.shut(key_no);
        }
        self.choose_goal(key_no);
        self.follow_goal(key_no);
    }

    /// Decides whether the node has more free seats than it should.
    fn choose_goal(&mut self, key_no: KeyNo) {
        let (me, nodes, now) = (self.config.me, self.nodes(), self.now);
        let Some(pool) = self.view.pool(key_no) else { return };
        let Some(local) = self.locals.get_mut(&key_no) else { return };
        let usable = local.usable(pool, &me);
        let free = local.limit.saturating_sub(local.held);
        let margin = local.margin(pool, usable, nodes);
        let wanted: u32 = pool
            .wanting
            .iter()
            .filter(|(node, _)| **node != me && self.view.alive.contains_key(*node))
            .fold(0, |sum, (_, wanted)| sum.saturating_add(*wanted));
        let mut goal = local.goal;
        if usable == local.limit && goal.is_some_and(|goal| local.limit <= goal.max(local.held)) {
            // It was reached, and what became free has left the block.
            goal = None;
        }
        let is_over = pool.allocated() > u64::from(pool.seats);
        if local.seats == 0 || is_over {
            goal = Some(0);
            let since = *local.excess_since.get_or_insert(now);
            if since.after(SHRINK_AFTER) > now {
                self.wakes.insert((since.after(SHRINK_AFTER), key_no));
            }
        } else if local.waiting > 0 {
            goal = None;
            local.excess_since = None;
        } else if wanted > 0 && usable > local.held {
            // What is set aside already is part of it.
            goal = Some(usable - (usable - local.held).min(wanted));
        } else if free > 2 * margin {
            let since = *local.excess_since.get_or_insert(now);
            if since.after(SHRINK_AFTER) <= now {
                goal = Some(local.held.saturating_add(margin));
            } else {
                self.wakes.insert((since.after(SHRINK_AFTER), key_no));
            }
        } else {
            local.excess_since = None;
            if 2 * free < margin {
                goal = None;
            }
        }
        if !local.returns.is_empty() {
            let count = u32::try_from(local.returns.len()).unwrap_or(u32::MAX);
            let lower = usable.saturating_sub(count);
            goal = Some(goal.map_or(lower, |goal| goal.min(lower)));
        }
        local.goal = goal;
    }

    fn follow_goal(&mut self, key_no: KeyNo) {
        let me = self.config.me;
        let Some(pool) = self.view.pool(key_no) else { return };
        let Some(local) = self.locals.get_mut(&key_no) else { return };
        let usable = local.usable(pool, &me);
        let is_late = local.excess_since.is_some_and(|at| at.after(SHRINK_AFTER) <= self.now);
        if let Some(share) = share(pool, &me).filter(|share| is_late && local.held > *share) {
            // The key has shrunk below what is held, and nobody has free seats to give back: each
            // node ends its part.
            return self.set_limit(key_no, share, true);
        }
        match local.goal {
            Some(goal) if goal < local.limit && (local.held < local.limit || local.is_stale) => {
                self.set_limit(key_no, goal, false);
            }
            None if local.limit < usable && local.fence.is_none() => {
                self.set_limit(key_no, usable, false);
            }
            None | Some(_) if local.is_stale => {
                let limit = local.limit;
                self.set_limit(key_no, limit, false);
            }
            None | Some(_) => {}
        }
        self.tell_no_seats(key_no);
    }

    /// Nobody has a seat: whoever waits is told at once.
    fn tell_no_seats(&mut self, key_no: KeyNo) {
        let me = self.config.me;
        let Some(pool) = self.view.pool(key_no) else { return };
        let Some(local) = self.locals.get_mut(&key_no) else { return };
        if local.waiting == 0
            || local.told_no_seats
            || local.is_setting
            || pool.unallocated() > 0
            || local.limit > local.held
            || local.usable(pool, &me) > local.limit
            || !pool.wanting.contains_key(&me)
        {
            return;
        }
        let is_full = pool.blocks.iter().all(|(node, block)| {
            *node == me || block.full || block.orphaned || !self.view.alive.contains_key(node)
        });
        if is_full {
            local.told_no_seats = true;
            self.out.push(Effect::NoSeats { key_no });
        }
    }
}

/// What a node may keep of a key that has shrunk below what is given out and not free anywhere.
fn share(pool: &Pool, me: &super::NodeId) -> Option<u32> {
    if pool.allocated() <= u64::from(pool.seats) {
        return None;
    }
    let orphaned: u64 =
        pool.blocks.values().filter(|b| b.orphaned).map(|b| u64::from(b.seats)).sum();
    let living = pool.allocated() - orphaned;
    let left = u64::from(pool.seats).saturating_sub(orphaned);
    let mine = u64::from(pool.block_seats(me));
    u32::try_from((mine * left).checked_div(living)?).ok()
}

#[cfg(test)]
mod tests;
