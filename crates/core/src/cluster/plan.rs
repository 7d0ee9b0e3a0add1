//! What is to be written about a pool: all that this node has to say of it in one transaction.
//!
//! Nothing here changes the node. A transaction follows from what is known; when it is done, that is
//! known too, and nothing more follows.

use std::collections::BTreeMap;
use std::time::Duration;

use super::NodeId;
use super::RECLAIM_MARGIN_SECS;
use super::blocks::{Local, WANTING_AFTER};
use super::claims::Resolution;
use super::event::Standing;
use super::node::Node;
use super::record::{Block, Claim, ClaimState, MEMBERS_MAX, Pool, write};
use super::store::{Compare, Op, Txn};
use super::txns::OPS_MAX;
use super::view::Name;
use crate::key::KeyNo;
use crate::session::SessionId;

/// How long others leave it to the leader to mark the blocks of a dead node, so that not all of them
/// write at once.
pub(super) const OTHERS_MARK: Duration = Duration::from_secs(2);

/// How many nodes one transaction says something about besides claims: comparisons are limited.
const NODES_AT_ONCE: usize = 20;

/// How many nodes a claim names that may still know its session; more than a session survives.
const LEFT_MAX: usize = 16;

struct Draft<'a> {
    key_no: KeyNo,
    pool: Pool,
    compare: Vec<Compare>,
    then: Vec<Op>,
    claims: usize,
    /// Seats that are given away with claims.
    given: u32,
    /// Seats that come with claims.
    drawn: u32,
    local: Option<&'a Local>,
}

impl Draft<'_> {
    fn block(&mut self, node: NodeId) -> &mut Block {
        self.pool.blocks.entry(node).or_default()
    }

    fn claim(&mut self, session: &SessionId, mod_revision: i64, claim: Option<&Claim>) {
        let key = Name::Claim(*session).key();
        self.compare.push(Compare::Modified { key: key.clone(), revision: mod_revision });
        self.then.push(match claim {
            Some(claim) => Op::Put { key, value: write(claim), lease: None },
            None => Op::Delete { key },
        });
        self.claims += 1;
    }
}

impl Node {
    /// What is to be written about the pool of a key, if anything.
    pub(super) fn plan(&self, key_no: KeyNo) -> Option<Txn> {
        let incarnation = self.life.incarnation?;
        let local = self.locals.get(&key_no);
        let seen = self.view.pools.get(&key_no);
        let (before, mod_revision) = match seen {
            // A damaged pool is not written over: a person shall look at it.
            Some(seen) => (Some(seen.value.as_ref()?), seen.mod_revision),
            None => (None, 0),
        };
        let pool = match (before, local) {
            (Some(pool), _) => pool.clone(),
            (None, Some(local)) if local.seats > 0 && self.standing != Standing::Stopping => Pool {
                series: local.series,
                seats: local.seats,
                blocks: BTreeMap::new(),
                wanting: BTreeMap::new(),
            },
            (None, _) => return None,
        };
        let pool_key = Name::Pool(key_no).key();
        let compare = vec![
            Compare::Created { key: Name::Alive(self.config.me).key(), revision: incarnation },
            Compare::Modified { key: pool_key.clone(), revision: mod_revision },
        ];
        let then = Vec::new();
        let mut draft = Draft { key_no, pool, compare, then, claims: 0, given: 0, drawn: 0, local };
        self.keep_house(&mut draft);
        if let Some(local) = local {
            if self.standing == Standing::Stopping {
                self.give_back(&mut draft, local);
            } else if local.open {
                self.move_claims(&mut draft, local);
                self.balance(&mut draft, local);
            } else if local.closed && local.taking == 0 && !self.has_to_take(key_no) {
                self.touch_moved(&mut draft);
                if draft.claims == 0 {
                    self.come_back(&mut draft, local);
                    self.give_owed(&mut draft);
                }
            }
        }
        let is_fenced =
            local.and_then(|local| local.fence).is_some_and(|fence| fence.revision == mod_revision);
        if before == Some(&draft.pool) && draft.then.is_empty() && !is_fenced {
            return None;
        }
        draft.then.push(Op::Put { key: pool_key, value: draft.pool.write(), lease: None });
        Some(Txn { compare: draft.compare, then: draft.then })
    }

    /// Whether nothing of a key is this node's any more.
    pub(super) fn is_given_back(&self, key_no: KeyNo) -> bool {
        let me = &self.config.me;
        self.view.pool(key_no).is_none_or(|pool| match pool.blocks.get(me) {
            Some(block) => block.orphaned,
            None => true,
        })
    }

    /// What any living node does for all: marks blocks of the dead, removes those that nobody can
    /// need any more, counts the key's seats.
    fn keep_house(&self, draft: &mut Draft<'_>) {
        let me = self.config.me;
        let is_busy = self.has_pending(draft.key_no) || draft.local.is_some_and(|l| l.waiting > 0);
        let nodes: Vec<NodeId> = draft
            .pool
            .blocks
            .keys()
            .filter(|node| **node != me && !self.view.lives(node))
            .take(NODES_AT_ONCE)
            .copied()
            .collect();
        for node in nodes {
            let died = self.view.deaths.get(&node);
            let is_late = died.is_none_or(|died| died.after(OTHERS_MARK) <= self.now);
            let orphaned = draft.pool.is_orphaned(&node);
            let is_over = orphaned && self.is_reclaimable(draft.key_no, &node);
            if is_over || self.forgotten.contains(&node) {
                draft.pool.blocks.remove(&node);
            } else if !orphaned && (is_busy || is_late || self.leads()) {
                let block = draft.block(node);
                block.orphaned = true;
                block.full = false;
            } else {
                continue;
            }
            let key = Name::Alive(node).key();
            draft.compare.push(Compare::Created { key, revision: 0 });
        }
        if draft.pool.wanting.keys().any(|node| !self.view.lives(node)) && self.leads() {
            draft.pool.wanting.retain(|node, _| self.view.lives(node));
        }
        let alive = self.view.alive.values().filter_map(|seen| seen.value.as_ref());
        let granted = alive.filter_map(|alive| alive.keys.get(&draft.key_no)).copied().min();
        if let Some(seats) = granted.filter(|_| draft.local.is_some_and(|local| local.seats > 0)) {
            draft.pool.seats = seats;
        }
    }

    /// Whether no lease of this dead node can be valid any more.
    fn is_reclaimable(&self, key_no: KeyNo, node: &NodeId) -> bool {
        let wait = self.reclaim_after();
        let since = self.view.orphaned_since.get(&(key_no, *node));
        since.is_some_and(|since| since.after(wait) <= self.now)
    }

    /// How long a block is kept for its node and that node's sessions.
    pub(super) fn reclaim_after(&self) -> Duration {
        self.isolation() + self.config.session_life + Duration::from_secs(RECLAIM_MARGIN_SECS)
    }

    /// The block waits for the node's return, with no more seats than are held.
    fn give_back(&self, draft: &mut Draft<'_>, local: &Local) {
        let me = self.config.me;
        draft.pool.wanting.remove(&me);
        if local.is_setting || local.taking > 0 || local.limit > local.held || !local.open {
            return;
        }
        let seats = local.limit.saturating_add(local.owed);
        if let Some(block) = draft.pool.blocks.get_mut(&me)
            && !block.orphaned
        {
            *block = Block { seats: block.seats.min(seats), orphaned: true, full: false };
        }
    }

    /// The block is the node's again, and large enough for what it holds if that can be had.
    fn come_back(&self, draft: &mut Draft<'_>, local: &Local) {
        let me = self.config.me;
        let need = local.limit.saturating_add(local.owed);
        let lacking = need.saturating_sub(draft.pool.block_seats(&me));
        let more = lacking.min(draft.pool.unallocated());
        if draft.pool.blocks.contains_key(&me) || more > 0 {
            let block = draft.block(me);
            block.seats += more;
            block.orphaned = false;
            block.full = false;
        }
    }

    /// Before the block is ours again: whoever has the seat of a session that we have renewed while we
    /// were cut off learns that its lease may be younger.
    fn touch_moved(&self, draft: &mut Draft<'_>) {
        for session in self.sessions.touches_of(draft.key_no).take(OPS_MAX) {
            if let Some(seen) = self.view.claims.get(session)
                && let Some(claim) = &seen.value
            {
                draft.claim(session, seen.mod_revision, Some(claim));
            }
        }
    }

    fn move_claims(&self, draft: &mut Draft<'_>, local: &Local) {
        let (me, key_no) = (self.config.me, draft.key_no);
        self.give_owed(draft);
        // Seats that are drawn from blocks of the dead, for sessions that have come here.
        for session in self.sessions.draws_of(key_no) {
            if draft.claims >= OPS_MAX {
                break;
            }
            let Some(Resolution::Draw(holder)) = self.resolution(session) else { continue };
            let Some(block) = draft.pool.blocks.get_mut(&holder) else { continue };
            let Some(seats) = block.seats.checked_sub(1) else { continue };
            block.seats = seats;
            draft.block(me).seats += 1;
            draft.drawn += 1;
            let seen = self.view.claims.get(session);
            let mut left = seen.and_then(|s| s.value.clone()).map_or_else(Vec::new, |c| c.left);
            left.retain(|node| *node != holder && *node != me);
            left.push(holder);
            let excess = left.len().saturating_sub(LEFT_MAX);
            left.drain(..excess);
            let claim = Claim { key_no, holder, to: me, state: ClaimState::Given, left };
            draft.claim(session, seen.map_or(0, |seen| seen.mod_revision), Some(&claim));
        }
        // Seats of sessions that may go on at a node that is cut off go back into its block.
        let mine = draft.pool.block_seats(&me).saturating_sub(local.owed);
        let mut surplus = mine.saturating_sub(local.limit.max(local.held));
        for session in &local.returns {
            if draft.claims >= OPS_MAX || local.is_setting {
                break;
            }
            let Some(seen) = self.view.claims.get(session) else { continue };
            let Some(old) = seen.value.clone() else { continue };
            let home = old.left.iter().rposition(|node| draft.pool.is_orphaned(node));
            let claim = match home {
                Some(at) if surplus > 0 => {
                    surplus -= 1;
                    let to = old.left[at];
                    draft.block(me).seats -= 1;
                    draft.block(to).seats += 1;
                    let left = old.left[..at].to_vec();
                    // Its node may have let it go already, and expects it again so.
                    Some(Claim { holder: to, to, state: ClaimState::Given, left, ..old })
                }
                // Not one of our seats is free: it has been given out again.
                Some(_) => Some(Claim { state: ClaimState::Ended, ..old }),
                None => None,
            };
            draft.claim(session, seen.mod_revision, claim.as_ref());
        }
    }

    /// Seats of sessions that were taken away here go to those who asked.
    fn give_owed(&self, draft: &mut Draft<'_>) {
        let (me, key_no) = (self.config.me, draft.key_no);
        for (session, (_, asker)) in
            self.sessions.owed.iter().filter(|(_, (owed_key, _))| *owed_key == key_no)
        {
            if draft.claims >= OPS_MAX || draft.pool.block_seats(&me) == 0 {
                break;
            }
            let seen = self.view.claims.get(session);
            let old = seen.and_then(|seen| seen.value.as_ref());
            let to = old.map_or(*asker, |claim| claim.to);
            if !draft.pool.blocks.contains_key(&to) && draft.pool.blocks.len() >= MEMBERS_MAX {
                break;
            }
            draft.block(me).seats -= 1;
            draft.given += 1;
            let is_orphan = !draft.pool.blocks.contains_key(&to) && !self.view.lives(&to);
            let block = draft.block(to);
            block.seats += 1;
            block.orphaned |= is_orphan;
            let left = old.map_or_else(Vec::new, |claim| claim.left.clone());
            let claim = Claim { key_no, holder: me, to, state: ClaimState::Given, left };
            draft.claim(session, seen.map_or(0, |seen| seen.mod_revision), Some(&claim));
        }
    }

    /// Gives back what is not needed, to those who want it first, and takes what is.
    fn balance(&self, draft: &mut Draft<'_>, local: &Local) {
        let me = self.config.me;
        let owed_left = local.owed.saturating_sub(draft.given);
        let mine = |pool: &Pool| pool.block_seats(&me).saturating_sub(owed_left);
        let is_over = draft.pool.allocated() > u64::from(draft.pool.seats);
        let wanting: Vec<(NodeId, u32)> = draft
            .pool
            .wanting
            .iter()
            .filter(|(node, wanted)| **node != me && **wanted > 0 && self.view.lives(node))
            .map(|(node, wanted)| (*node, *wanted))
            .collect();
        let expected = draft.drawn;
        // A seat that is asked for may be one that the service does not know of.
        let is_asked = local.taking > 0 || self.has_to_take(draft.key_no);
        if local.goal.is_some() && !local.is_setting && local.returns.is_empty() && !is_asked {
            // Seats that come with claims in this very transaction are not spare.
            let keep = local.limit.saturating_add(expected);
            let mut spare = mine(&draft.pool).saturating_sub(keep);
            if let Some(block) = draft.pool.blocks.get_mut(&me) {
                block.seats -= spare;
            }
            for (node, wanted) in &wanting {
                if is_over {
                    break;
                }
                let given = spare.min(*wanted);
                if given > 0 && draft.pool.blocks.get(node).is_none_or(|block| !block.orphaned) {
                    spare -= given;
                    let block = draft.block(*node);
                    block.seats += given;
                    // Nobody may be waiting there any more, and others ask.
                    block.full = false;
                    match draft.pool.wanting.get_mut(node) {
                        Some(left) if *left > given => *left -= given,
                        _ => {
                            draft.pool.wanting.remove(node);
                        }
                    }
                }
            }
        }
        if local.goal.is_none() && !is_over && local.seats > 0 {
            self.grow(draft, local, owed_left, expected);
        }
        self.want(draft, local, owed_left);
        let is_asked = wanting.iter().any(|(node, _)| draft.pool.wanting.contains_key(node));
        let has_spare = mine(&draft.pool) > local.held.saturating_add(expected);
        let is_waiting = draft.pool.wanting.contains_key(&me);
        let is_full = (is_asked || is_waiting) && !has_spare;
        if let Some(block) = draft.pool.blocks.get_mut(&me)
            && block.full != is_full
            // It is taken back only with something else: nobody looks at it while nobody asks.
            && (is_full || is_asked)
        {
            block.full = is_full;
        }
        if draft.pool.block_seats(&me) == 0 && local.seats == 0 {
            draft.pool.blocks.remove(&me);
        }
    }

    fn grow(&self, draft: &mut Draft<'_>, local: &Local, owed: u32, expected: u32) {
        let me = self.config.me;
        let usable = draft.pool.block_seats(&me).saturating_sub(owed);
        let held = local.held.saturating_add(expected);
        let margin = local.margin(&draft.pool, usable, self.nodes());
        let free = usable.saturating_sub(held);
        if local.waiting == 0 && 2 * free >= margin {
            return;
        }
        let need = held.saturating_add(local.waiting).saturating_add(margin).min(local.seats);
        let more = need.saturating_sub(usable).min(draft.pool.unallocated());
        if more > 0 {
            draft.block(me).seats += more;
        }
    }

    /// Asks others for seats when none are left, and takes the question back.
    fn want(&self, draft: &mut Draft<'_>, local: &Local, owed: u32) {
        let me = self.config.me;
        let usable = draft.pool.block_seats(&me).saturating_sub(owed);
        let need = local.held.saturating_add(local.waiting).min(local.seats);
        let lacking = need.saturating_sub(usable);
        let asked = draft.pool.wanting.get(&me).copied();
        if local.waiting > 0 && lacking > 0 && draft.pool.unallocated() == 0 {
            if asked.is_none() {
                // Who was full before this question has to answer it anew.
                for block in draft.pool.blocks.values_mut() {
                    block.full = false;
                }
            }
            if asked.is_none_or(|asked| asked < lacking) {
                draft.pool.wanting.insert(me, lacking);
            }
        } else if asked.is_some()
            && local.waiting == 0
            && local.wanted_at.is_none_or(|at| at.after(WANTING_AFTER) <= self.now)
        {
            draft.pool.wanting.remove(&me);
        }
    }

    fn has_pending(&self, key_no: KeyNo) -> bool {
        self.sessions.pending_of(key_no).next().is_some()
    }
}
