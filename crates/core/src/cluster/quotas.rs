//! Quotas of the rules: how much of each this node's service may give out, and how much it would like
//! to. What is written about it stands in [`super::quota_plan`].
//!
//! The same order as for blocks of seats: the service's share is lowered before etcd is told and raised
//! after etcd has agreed. Other than a block, a quota may be exceeded by what is held already: nobody
//! is thrown out by a rule, so a session that moves is let in and its node owes for it until the node
//! that it came from, or what is left of that, has given its part. Who is counted under which rule is
//! the service's matter.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::NodeId;
use super::event::{Effect, Standing};
use super::node::Node;
use super::quota_book::QuotaBook;
use super::quota_plan::left;
use super::store::Txn;
use super::txns::Fence;
use crate::rules::{QuotaId, QuotaNeed, QuotaTotal};
use crate::time::MonoTime;

/// How long what is not needed is kept before it is given back: people come and go. As long a share
/// that has moved with a session waits for the node that has the session now.
const SHRINK_AFTER: Duration = Duration::from_secs(5);

/// How long others are asked after the last one has waited.
pub(super) const WANTING_AFTER: Duration = Duration::from_secs(10);

/// Largest reserve: of a limit of a few seats none is kept idle, and of thousands a node asks for
/// about 32 at a time.
const MARGIN_MAX: u32 = 64;

/// One quota at this node.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) need: QuotaNeed,
    /// Openings that wait.
    pub(super) waiting: u32,
    /// The service gives out no more than this.
    pub(super) limit: u32,
    /// The share is to be lowered to this.
    pub(super) goal: Option<u32>,
    /// How much went with sessions to each node, and when last. Part of the share, and not the
    /// service's to give out.
    pub(super) moved: BTreeMap<NodeId, u32>,
    moved_at: MonoTime,
    excess_since: Option<MonoTime>,
    pub(super) wanted_at: Option<MonoTime>,
    has_told_none: bool,
}

impl Local {
    const fn new(need: QuotaNeed) -> Self {
        Self {
            need,
            waiting: 0,
            limit: 0,
            goal: None,
            moved: BTreeMap::new(),
            moved_at: MonoTime::from_millis(0),
            excess_since: None,
            wanted_at: None,
            has_told_none: false,
        }
    }

    /// How much of the share is on its way to others.
    pub(super) fn on_its_way(&self, now: MonoTime) -> u32 {
        if self.moved_at.after(SHRINK_AFTER) <= now {
            return 0;
        }
        self.moved.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// The quotas of this node.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    pub(super) locals: BTreeMap<QuotaId, Local>,
    /// Those that the rules have ceased to ask for: the service still has its share of them, should they
    /// come back.
    dropped: BTreeSet<QuotaId>,
    /// The service was told that it gives out nothing before it is told how much.
    is_closed: bool,
    /// Number of the shares that the service is being told.
    pub(super) setting: Option<u64>,
    last_no: u64,
    /// The service counts by the shares that it was told since this node takes part. Before that, with no
    /// share of a reservation, it counts those for whom the reservation is among the others.
    is_told: bool,
    /// Keeps shares from rising while a transaction of ours may still be done.
    pub(super) fence: Option<Fence>,
    /// Nodes of the book that do not live, and since when without a break.
    pub(super) absent: BTreeMap<NodeId, MonoTime>,
    /// The service's shares are to be looked at.
    is_due: bool,
    /// The book is to be looked at.
    is_txn_due: bool,
    wake: Option<MonoTime>,
    /// What the transaction under way gives for sessions that have moved.
    giving: Vec<(QuotaId, NodeId, u32)>,
}

impl Quotas {
    /// Something has changed: all is looked at.
    pub(super) const fn touch(&mut self) {
        self.is_due = true;
        self.is_txn_due = true;
    }

    /// A node has come or gone.
    pub(super) fn alive_changed(&mut self, node: NodeId, lives: bool, now: MonoTime) {
        if lives {
            self.absent.remove(&node);
        } else {
            // Also when it was there for a moment.
            self.absent.insert(node, now);
        }
        self.touch();
    }

    /// The transaction under way was done, or nobody knows.
    pub(super) fn written(&mut self, is_done: bool) {
        for (id, node, count) in std::mem::take(&mut self.giving) {
            if is_done
                && let Some(local) = self.locals.get_mut(&id)
                && let Some(moved) = local.moved.get_mut(&node)
            {
                *moved = moved.saturating_sub(count);
            }
        }
        self.touch();
    }

    /// The time of the dead begins again: nobody knows whether they were back meanwhile.
    pub(super) fn restart_absent(&mut self, now: MonoTime) {
        for since in self.absent.values_mut() {
            *since = now;
        }
    }

    fn wake_at(&mut self, at: MonoTime) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

impl Node {
    /// What the rules ask for, all of it.
    pub(super) fn quota_needs(&mut self, needs: BTreeMap<QuotaId, (QuotaNeed, u32)>) {
        let now = self.now;
        let Quotas { locals, dropped, .. } = &mut self.quotas;
        locals.retain(|id, _| {
            let is_asked_for = needs.contains_key(id);
            if !is_asked_for {
                dropped.insert(id.clone());
            }
            is_asked_for
        });
        for (id, (need, waiting)) in needs {
            let local = self.quotas.locals.entry(id).or_insert_with(|| Local::new(need));
            if local.need.total != need.total || local.need.held != need.held || waiting > 0 {
                local.has_told_none = false;
            }
            local.need = need;
            local.waiting = waiting;
            if waiting > 0 {
                local.wanted_at = Some(now);
                self.quotas.wake_at(now.after(WANTING_AFTER));
            }
        }
        self.quotas.touch();
    }

    /// The service has its shares.
    pub(super) fn quotas_limited(&mut self, no: u64, limits: Vec<(QuotaId, u32, u32)>) {
        if self.quotas.setting != Some(no) {
            return;
        }
        self.quotas.setting = None;
        self.quotas.is_told = true;
        for (id, seats, held) in limits {
            if let Some(local) = self.quotas.locals.get_mut(&id) {
                local.limit = seats;
                local.need.held = held;
            }
        }
        self.quotas.touch();
    }

    /// A session has gone to another node, and what it used of these with it: the service has lowered
    /// its shares already.
    pub(super) fn quotas_moved(&mut self, quotas: Vec<QuotaId>, to: NodeId) {
        let now = self.now;
        for id in quotas {
            if let Some(local) = self.quotas.locals.get_mut(&id) {
                local.limit = local.limit.saturating_sub(1);
                if local.on_its_way(now) == 0 {
                    local.moved.clear();
                }
                *local.moved.entry(to).or_default() += 1;
                local.moved_at = now;
                self.quotas.wake_at(now.after(SHRINK_AFTER));
            }
        }
        self.quotas.touch();
    }

    /// Takes part again: what others took of its shares meanwhile is not known yet.
    pub(super) fn quotas_enter(&mut self) {
        self.quotas.is_closed = false;
        self.quotas.is_told = false;
        self.quotas.dropped.clear();
        self.quotas.setting = None;
        self.quotas.fence = None;
        for local in self.quotas.locals.values_mut() {
            local.limit = 0;
            local.goal = None;
            local.moved.clear();
            local.excess_since = None;
        }
        self.quotas.touch();
    }

    pub(super) fn quotas_timeout(&self) -> Option<MonoTime> {
        self.quotas.wake
    }

    /// Whether the book says what is ours, as this incarnation has written it.
    pub(super) fn is_book_ours(&self) -> bool {
        let mine = self.view.quotas.book().nodes.get(&self.config.me);
        self.life.incarnation.is_some() && mine.map(|mine| mine.life) == self.life.incarnation
    }

    /// Whether what the service has told to be held is by the shares that it has.
    pub(super) const fn is_count_current(&self) -> bool {
        self.quotas.is_told && self.quotas.setting.is_none()
    }

    pub(super) fn quota_total(&self, need: &QuotaNeed) -> u32 {
        match need.total {
            QuotaTotal::Seats(seats) => seats,
            QuotaTotal::AllBut(series, reserved) => {
                let pools = self.view.pools.values().filter_map(|seen| seen.value.as_ref());
                let of_series = pools.filter(|pool| pool.series == series);
                let seats = of_series.fold(0_u32, |sum, pool| sum.saturating_add(pool.seats));
                seats.saturating_sub(reserved)
            }
        }
    }

    /// Looks at the service's shares.
    pub(super) fn quotas_step(&mut self) {
        if !self.quotas.is_closed {
            self.quotas.is_closed = true;
            self.out.push(Effect::CloseQuotas);
        }
        let is_woken = self.quotas.wake.is_some_and(|at| at <= self.now);
        if is_woken {
            self.quotas.wake = None;
            self.quotas.touch();
        }
        if !self.quotas.is_due || !self.life.entered || !self.life.loaded {
            return;
        }
        let revision = self.view.quotas.revision();
        if self.quotas.fence.is_some_and(|fence| fence.revision != revision) {
            self.quotas.fence = None;
        }
        self.note_absent();
        // A session that is just let go lowers shares of the service.
        if self.quotas.setting.is_some()
            || self.sessions.is_taking()
            || self.standing == Standing::Stopping
        {
            return;
        }
        self.quotas.is_due = false;
        let dropped = std::mem::take(&mut self.quotas.dropped);
        let mut is_same = dropped.is_empty();
        let gone = dropped.into_iter().filter(|id| !self.quotas.locals.contains_key(id));
        let mut limits: Vec<(QuotaId, u32)> = gone.map(|id| (id, 0)).collect();
        let ids: Vec<QuotaId> = self.quotas.locals.keys().cloned().collect();
        for id in ids {
            self.choose_quota_goal(&id);
            let Some(local) = self.quotas.locals.get(&id) else { continue };
            let share = self.view.quotas.book().share(&self.config.me, &id).seats;
            let usable = share.saturating_sub(local.on_its_way(self.now));
            // A share that is to be lowered may still have to rise so far: the service may have none yet.
            let wanted = local.goal.map_or(usable, |goal| goal.min(usable));
            let limit = if !self.is_book_ours() {
                0
            } else if self.quotas.fence.is_some() {
                wanted.min(local.limit)
            } else {
                wanted
            };
            is_same &= limit == local.limit;
            limits.push((id, limit));
        }
        if is_same {
            self.quotas.is_told |= self.is_book_ours();
            self.tell_no_quota();
            return;
        }
        // All of them: a share of a reservation changes how much of the others' is held.
        for (id, seats) in &limits {
            if let Some(local) = self.quotas.locals.get_mut(id) {
                // Until the service answers, the higher of both holds.
                local.limit = local.limit.max(*seats);
            }
        }
        self.quotas.last_no += 1;
        let no = self.quotas.last_no;
        self.quotas.setting = Some(no);
        self.out.push(Effect::QuotaLimits { no, limits });
    }

    fn note_absent(&mut self) {
        let now = self.now;
        let nodes = &self.view.quotas.book().nodes;
        self.quotas.absent.retain(|node, _| nodes.contains_key(node));
        let absent: Vec<NodeId> =
            nodes.keys().filter(|node| !self.view.lives(node)).copied().collect();
        for node in absent {
            self.quotas.absent.entry(node).or_insert(now);
        }
        let wait = self.reclaim_after();
        if let Some(at) = self.quotas.absent.values().min().map(|since| since.after(wait))
            && at > now
        {
            self.quotas.wake_at(at);
        }
    }

    /// What other living nodes ask for: what they owe, and what they wait for.
    pub(super) fn quota_asked(&self, book: &QuotaBook, id: &QuotaId) -> (u32, u32) {
        let others = book.nodes.keys().filter(|n| **n != self.config.me && self.view.lives(n));
        others.map(|node| book.share(node, id)).fold((0, 0), |(owes, wants), share| {
            (u32::saturating_add(owes, share.owes), u32::saturating_add(wants, share.wants))
        })
    }

    /// A reserve that is worth having, but no more than a fair part of what is free at all.
    pub(super) fn quota_margin(
        &self,
        book: &QuotaBook,
        id: &QuotaId,
        total: u32,
        held: u32,
    ) -> u32 {
        let share = book.share(&self.config.me, id).seats;
        let free = left(book, id, total).saturating_add(share.saturating_sub(held));
        (held / 8).clamp(2, MARGIN_MAX).min(free / self.nodes().saturating_mul(2).max(1))
    }

    /// Decides whether this node has more than it should.
    fn choose_quota_goal(&mut self, id: &QuotaId) {
        let Some(local) = self.quotas.locals.get(id) else { return };
        let (now, book) = (self.now, self.view.quotas.book());
        let held = local.need.held;
        let total = self.quota_total(&local.need);
        let share = book.share(&self.config.me, id).seats;
        let usable = share.saturating_sub(local.on_its_way(now));
        let idle = usable.saturating_sub(held);
        let (owed, wanted) = self.quota_asked(book, id);
        let asked = owed.saturating_add(wanted);
        let margin = self.quota_margin(book, id, total, held);
        let is_over = book.allocated(id) > u64::from(total);
        let mut excess_since = None;
        let goal = if is_over {
            Some(held.min(usable))
        } else if asked > 0 && idle > 0 && local.waiting == 0 {
            Some(usable - idle.min(asked))
        } else if idle > margin.saturating_mul(2) && local.waiting == 0 {
            let since = local.excess_since.unwrap_or(now);
            excess_since = Some(since);
            (since.after(SHRINK_AFTER) <= now).then_some(held.saturating_add(margin))
        } else {
            None
        };
        let goal = goal.filter(|goal| *goal < usable);
        let wakes = [
            excess_since.filter(|_| goal.is_none()).map(|since| since.after(SHRINK_AFTER)),
            local.wanted_at.map(|at| at.after(WANTING_AFTER)),
            (local.on_its_way(now) > 0).then(|| local.moved_at.after(SHRINK_AFTER)),
        ];
        for at in wakes.into_iter().flatten().filter(|at| *at > now) {
            self.quotas.wake_at(at);
        }
        if let Some(local) = self.quotas.locals.get_mut(id) {
            local.goal = goal;
            local.excess_since = excess_since;
        }
    }

    /// Nobody has anything left: whoever waits is told at once.
    fn tell_no_quota(&mut self) {
        let book = self.view.quotas.book();
        let mut none = Vec::new();
        for (id, local) in &self.quotas.locals {
            let mine = book.share(&self.config.me, id);
            let is_used_up = local.waiting > 0
                && !local.has_told_none
                && local.limit <= local.need.held
                && mine.seats <= local.need.held.saturating_add(local.on_its_way(self.now))
                && left(book, id, self.quota_total(&local.need)) == 0;
            let others = || {
                let nodes = book.nodes.keys();
                let others = nodes.filter(|n| **n != self.config.me && self.view.lives(n));
                others.map(|node| book.share(node, id)).filter(|share| share.seats > 0)
            };
            if is_used_up
                && others().all(|share| share.full)
                && (mine.wants > 0 || others().next().is_none())
            {
                none.push(id.clone());
            }
        }
        for id in none {
            if let Some(local) = self.quotas.locals.get_mut(&id) {
                local.has_told_none = true;
            }
            self.out.push(Effect::NoQuota { id });
        }
    }

    /// What is to be written about the quotas, if anything.
    pub(super) fn quotas_txn(&mut self) -> Option<Txn> {
        if !self.quotas.is_txn_due {
            return None;
        }
        let Some(draft) = self.plan_quotas() else {
            self.quotas.is_txn_due = false;
            return None;
        };
        self.quotas.giving = draft.giving;
        Some(draft.txn)
    }

    /// Whether something of the quotas is still to be given back.
    pub(super) fn has_quotas_to_write(&self) -> bool {
        self.plan_quotas().is_some()
    }
}
