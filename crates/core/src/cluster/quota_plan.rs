//! What is to be written about the quotas: all that this node has to say of them in one transaction.
//!
//! Nothing here changes the node. How much the service may give out is decided in [`super::quotas`].

use std::collections::BTreeSet;

use super::NodeId;
use super::event::Standing;
use super::node::Node;
use super::quota_book::{NodeQuotas, QUOTAS_BYTES_MAX, QuotaBook, QuotaShare};
use super::quotas::{Local, WANTING_AFTER};
use super::record::MEMBERS_MAX;
use super::store::{Compare, Op, Txn};
use super::view::Name;
use crate::rules::QuotaId;

/// How many dead nodes one transaction takes something from: comparisons are limited.
const NODES_AT_ONCE: usize = 20;

/// What is to be written.
pub(super) struct Draft {
    pub(super) txn: Txn,
    /// What of it is for sessions that have moved, and to which nodes.
    pub(super) giving: Vec<(QuotaId, NodeId, u32)>,
}

impl Node {
    /// What is to be written, if anything.
    pub(super) fn plan_quotas(&self) -> Option<Draft> {
        let (me, seen) = (self.config.me, &self.view.quotas);
        let incarnation = self.life.incarnation?;
        if seen.is_damaged() {
            return None;
        }
        let mut book = seen.book().clone();
        let (mut dead, mut giving) = (BTreeSet::new(), Vec::new());
        let had_entry = book.nodes.contains_key(&me);
        let mine = book.nodes.entry(me).or_default();
        mine.life = incarnation;
        mine.shares.retain(|id, _| self.quotas.locals.contains_key(id));
        for (id, local) in &self.quotas.locals {
            if self.standing == Standing::Stopping {
                let share = share_mut(&mut book, me, id);
                share.seats = share.seats.min(local.need.held);
                (share.owes, share.wants, share.full) = (0, 0, false);
            } else {
                self.plan_quota(&mut book, &mut dead, &mut giving, id, local);
            }
        }
        self.drop_dead(&mut book, &mut dead);
        for node in book.nodes.values_mut() {
            node.shares.retain(|_, share| *share != QuotaShare::default());
        }
        // Whoever holds something has an entry, also an empty one: only with that it says what it owes.
        let holds = self.quotas.locals.values().any(|local| local.need.held > 0);
        if !had_entry && !holds && book.nodes.get(&me).is_some_and(|mine| mine.shares.is_empty()) {
            book.nodes.remove(&me);
        }
        if !had_entry && book.nodes.len() > MEMBERS_MAX {
            return None;
        }
        let is_fenced = self.quotas.fence.is_some_and(|fence| fence.revision == seen.revision());
        if (*seen.book() == book && !is_fenced) || (seen.revision() == 0 && book.nodes.is_empty()) {
            return None;
        }
        let value = book.write();
        if value.len() > QUOTAS_BYTES_MAX {
            return None;
        }
        let mut compare = vec![
            Compare::Created { key: Name::Alive(me).key(), revision: incarnation },
            Compare::Modified { key: Name::Quotas.key(), revision: seen.revision() },
        ];
        compare.extend(
            dead.iter().map(|node| Compare::Created { key: Name::Alive(*node).key(), revision: 0 }),
        );
        let then = vec![Op::Put { key: Name::Quotas.key(), value, lease: None }];
        Some(Draft { txn: Txn { compare, then }, giving })
    }

    fn plan_quota(
        &self,
        book: &mut QuotaBook,
        dead: &mut BTreeSet<NodeId>,
        giving: &mut Vec<(QuotaId, NodeId, u32)>,
        id: &QuotaId,
        local: &Local,
    ) {
        let me = self.config.me;
        let total = self.quota_total(&local.need);
        let (held, waiting) = (local.need.held, local.waiting);
        if self.is_book_ours() && self.quotas.setting.is_none() && self.quotas.fence.is_none() {
            self.give_moved(book, giving, id, local);
            self.give_quota_back(book, id, local, total);
        }
        let is_over = book.allocated(id) > u64::from(total);
        if local.goal.is_none() && !is_over {
            let margin = self.quota_margin(book, id, total, held);
            let seats = book.share(&me, id).seats;
            let free = seats.saturating_sub(held);
            // What is on its way to others is not free.
            let own = seats.saturating_sub(local.on_its_way(self.now));
            if waiting > 0 || held > own || free.saturating_mul(2) < margin {
                let need = held.saturating_add(waiting).saturating_add(margin);
                let more = need.saturating_sub(own).min(left(book, id, total));
                share_mut(book, me, id).seats += more;
            }
        }
        if self.is_count_current() {
            self.take_from_dead(book, dead, id, held);
        }
        let asked = self.quota_asked(book, id);
        let is_asked = asked.0 > 0 || asked.1 > 0;
        let is_empty = left(book, id, total) == 0;
        let before = book.share(&me, id);
        let own = before.seats.saturating_sub(local.on_its_way(self.now));
        let lacking = held.saturating_add(waiting).saturating_sub(own);
        let owes = if self.is_count_current() { held.saturating_sub(own) } else { before.owes };
        let wants = if waiting > 0 && is_empty {
            before.wants.max(lacking.saturating_sub(owes))
        } else if local.wanted_at.is_some_and(|at| at.after(WANTING_AFTER) > self.now) {
            before.wants
        } else {
            0
        };
        if wants > 0 && before.wants == 0 {
            // Who was full before this question has to answer it anew.
            for node in book.nodes.values_mut() {
                if let Some(share) = node.shares.get_mut(id) {
                    share.full = false;
                }
            }
        }
        let is_full = (is_asked || wants > 0) && own <= held;
        let share = share_mut(book, me, id);
        share.owes = owes;
        share.wants = wants;
        // It is taken back only with something else: nobody looks at it while nobody asks.
        if is_full || is_asked {
            share.full = is_full;
        }
    }

    /// What went with sessions goes to the nodes that have them now, as far as they owe for them.
    fn give_moved(
        &self,
        book: &mut QuotaBook,
        giving: &mut Vec<(QuotaId, NodeId, u32)>,
        id: &QuotaId,
        local: &Local,
    ) {
        let me = self.config.me;
        if local.on_its_way(self.now) == 0 {
            return;
        }
        for (node, count) in &local.moved {
            let owes = book.share(node, id).owes;
            let mine = book.share(&me, id).seats;
            let given = owes.min(*count).min(mine.saturating_sub(local.limit));
            if given > 0 && self.view.lives(node) {
                share_mut(book, me, id).seats -= given;
                let theirs = share_mut(book, *node, id);
                theirs.seats += given;
                theirs.owes -= given;
                giving.push((id.clone(), *node, given));
            }
        }
    }

    /// What the service no longer gives out goes to those who ask, or is everybody's.
    fn give_quota_back(&self, book: &mut QuotaBook, id: &QuotaId, local: &Local, total: u32) {
        let me = self.config.me;
        let Some(goal) = local.goal.filter(|goal| local.limit <= *goal) else { return };
        let mine = book.share(&me, id).seats;
        let keep = goal.max(local.need.held).saturating_add(local.on_its_way(self.now));
        let spare = mine.saturating_sub(keep);
        share_mut(book, me, id).seats -= spare;
        // Of a quota that has become smaller nothing is handed on.
        let mut spare = spare.min(left(book, id, total));
        let others: Vec<NodeId> =
            book.nodes.keys().filter(|n| **n != me && self.view.lives(n)).copied().collect();
        // Those who hold too much already come before those who wait.
        for is_debt in [true, false] {
            for node in &others {
                let share = book.share(node, id);
                let given = spare.min(if is_debt { share.owes } else { share.wants });
                if given == 0 {
                    continue;
                }
                spare -= given;
                let theirs = share_mut(book, *node, id);
                theirs.seats += given;
                theirs.full = false;
                if is_debt {
                    theirs.owes -= given;
                } else {
                    theirs.wants -= given;
                }
            }
        }
    }

    /// Sessions that came from a dead node are paid for with its share.
    fn take_from_dead(
        &self,
        book: &mut QuotaBook,
        dead: &mut BTreeSet<NodeId>,
        id: &QuotaId,
        held: u32,
    ) {
        let me = self.config.me;
        for node in self.quotas.absent.keys().copied() {
            let owes = held.saturating_sub(book.share(&me, id).seats);
            let taken = owes.min(book.share(&node, id).seats);
            if taken == 0 || (dead.len() >= NODES_AT_ONCE && !dead.contains(&node)) {
                continue;
            }
            dead.insert(node);
            share_mut(book, node, id).seats -= taken;
            share_mut(book, me, id).seats += taken;
        }
    }

    /// What a node had that will not come back is everybody's.
    fn drop_dead(&self, book: &mut QuotaBook, dead: &mut BTreeSet<NodeId>) {
        let wait = self.reclaim_after();
        for (node, since) in &self.quotas.absent {
            let is_over = self.leads() && since.after(wait) <= self.now;
            let is_free = dead.len() < NODES_AT_ONCE || dead.contains(node);
            if (is_over || self.forgotten.contains(node)) && is_free {
                book.nodes.remove(node);
                dead.insert(*node);
            }
        }
    }
}

fn share_mut<'a>(book: &'a mut QuotaBook, node: NodeId, id: &QuotaId) -> &'a mut QuotaShare {
    let of_node: &mut NodeQuotas = book.nodes.entry(node).or_default();
    of_node.shares.entry(id.clone()).or_default()
}

/// What is in nobody's share.
pub(super) fn left(book: &QuotaBook, id: &QuotaId, total: u32) -> u32 {
    u32::try_from(u64::from(total).saturating_sub(book.allocated(id))).unwrap_or(0)
}
