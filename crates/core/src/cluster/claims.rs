//! Sessions that move: who holds the seat of a session that shows a lease of another node, and how it
//! comes here or goes there.
//!
//! Whether a lease is genuine is not decided here, nor whether a session gets another seat when its
//! own is gone.

mod seen;
mod writing;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(super) use self::seen::ClaimsSeen;
use super::NodeId;
use super::event::{ClaimOutcome, Effect, Standing};
use super::node::Node;
use super::record::{Claim, ClaimState};
use crate::key::KeyNo;
use crate::rules::QuotaId;
use crate::session::SessionId;
use crate::time::MonoTime;

/// Most claims that wait: all sessions of three dead nodes of a very large cluster. More wait at
/// their components, which ask again.
const PENDING_MAX: usize = 100_000;

/// How long a claim is followed after somebody has asked for it last: its component asks again far
/// sooner, or has gone elsewhere.
const PENDING_FOR: Duration = Duration::from_secs(30);

/// Most sessions that the service is asked to let go at once for one key, so that it serves others in
/// between.
const TAKE_AT_ONCE: usize = 1000;

/// What is to be done for a session that shows a lease of another node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Resolution {
    /// Its holder lives and is to be asked.
    Ask(NodeId),
    /// Its holder is dead, and its block has a seat.
    Draw(NodeId),
    /// The seat is here.
    Moved,
    /// There is none.
    NotHeld,
    /// Somebody else has to do something first.
    Wait,
}

#[derive(Debug)]
struct Pending {
    key_no: KeyNo,
    from: NodeId,
    at: MonoTime,
    /// We have asked its holder.
    has_asked: bool,
}

/// Why the service is asked to let a session go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Take {
    /// Another node asks for it. `is_late`: it had asked before this node began to take part or while
    /// it heard nothing, so that the seat may be in its block without the service knowing.
    Asked { to: NodeId, is_late: bool },
    /// It was drawn from our block while we were down.
    Moved { to: NodeId },
}

/// What is to be written about a claim without its pool.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mark {
    /// Nobody needs it.
    Delete,
    /// The session has ended here.
    Ended,
    /// We have been asked for a session that we do not have.
    NotHeld,
}

/// Sessions on the move.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    pending: BTreeMap<SessionId, Pending>,
    pending_by_key: BTreeMap<KeyNo, BTreeSet<SessionId>>,
    reconsider: BTreeSet<SessionId>,
    draws: BTreeMap<KeyNo, BTreeSet<SessionId>>,
    asks: BTreeSet<SessionId>,
    to_take: BTreeMap<KeyNo, BTreeMap<SessionId, Take>>,
    taking: BTreeMap<SessionId, (KeyNo, Take)>,
    /// Sessions that were let go, whose seats are still in our block, and who asked for them.
    pub(super) owed: BTreeMap<SessionId, (KeyNo, NodeId)>,
    marks: BTreeMap<SessionId, Mark>,
    /// Sessions that have moved away and that this node has let go only when it came back: their
    /// leases may be younger than those who have their seats know.
    touches: BTreeMap<KeyNo, BTreeSet<SessionId>>,
    /// Sessions here of which we were told so.
    kept: BTreeSet<SessionId>,
    /// Of whom something can be had, as it was when claims were considered last: whether the block
    /// is orphaned, and whether it has seats.
    holders: BTreeMap<KeyNo, BTreeMap<NodeId, (bool, bool, bool)>>,
    tidy_at: MonoTime,
}

impl Sessions {
    pub(super) fn draws_of(&self, key_no: KeyNo) -> impl Iterator<Item = &SessionId> {
        self.draws.get(&key_no).into_iter().flatten()
    }

    pub(super) fn pending_of(&self, key_no: KeyNo) -> impl Iterator<Item = &SessionId> {
        self.pending_by_key.get(&key_no).into_iter().flatten()
    }

    pub(super) fn has_to_take(&self, key_no: KeyNo) -> bool {
        self.to_take.get(&key_no).is_some_and(|takes| !takes.is_empty())
    }

    /// Whether the service is just letting sessions go.
    pub(super) fn is_taking(&self) -> bool {
        !self.taking.is_empty()
    }

    pub(super) fn touches_of(&self, key_no: KeyNo) -> impl Iterator<Item = &SessionId> {
        self.touches.get(&key_no).into_iter().flatten()
    }

    fn forget_pending(&mut self, session: &SessionId) -> Option<Pending> {
        self.reconsider.remove(session);
        self.asks.remove(session);
        let pending = self.pending.remove(session)?;
        for index in [&mut self.pending_by_key, &mut self.draws] {
            if let Some(set) = index.get_mut(&pending.key_no) {
                set.remove(session);
                if set.is_empty() {
                    index.remove(&pending.key_no);
                }
            }
        }
        Some(pending)
    }
}

impl Node {
    pub(super) fn claim(&mut self, session: SessionId, key_no: KeyNo, from: NodeId) {
        let sessions = &mut self.sessions;
        if !sessions.pending.contains_key(&session) && sessions.pending.len() >= PENDING_MAX {
            return;
        }
        let old = sessions.forget_pending(&session);
        let has_asked = old.is_some_and(|old| old.has_asked && old.from == from);
        let pending = Pending { key_no, from, at: self.now, has_asked };
        sessions.pending.insert(session, pending);
        sessions.pending_by_key.entry(key_no).or_default().insert(session);
        sessions.reconsider.insert(session);
        self.due.insert(key_no);
    }

    /// Everything that moved while this node did not take part.
    pub(super) fn sessions_enter(&mut self) {
        let me = self.config.me;
        self.sessions.to_take.clear();
        let mut expected = Vec::new();
        let mut damaged = Vec::new();
        for (session, seen) in self.view.claims.iter() {
            let Some(claim) = &seen.value else {
                // Whoever damaged it may have given the seat away before.
                damaged.push(*session);
                continue;
            };
            if let Some(take) = take_of(claim, &me, true) {
                self.sessions.to_take.entry(claim.key_no).or_default().insert(*session, take);
            }
            if claim.state == ClaimState::Given
                && claim.to == me
                && !self.sessions.marks.contains_key(session)
            {
                expected.push((seen.mod_revision, *session, claim.key_no));
            }
        }
        if let Some((first, _)) = self.locals.first_key_value() {
            let takes = self.sessions.to_take.entry(*first).or_default();
            takes.extend(damaged.into_iter().map(|session| (session, Take::Moved { to: me })));
        }
        for session in self.sessions.owed.keys().chain(self.sessions.taking.keys()) {
            for takes in self.sessions.to_take.values_mut() {
                takes.remove(session);
            }
        }
        expected.sort_unstable();
        for (_, session, key_no) in expected {
            let local = self.locals.get(&key_no);
            if local.is_none_or(|local| !local.returns.contains(&session)) {
                self.out.push(Effect::Expect { session, key_no });
            }
        }
        let pending: Vec<SessionId> = self.sessions.pending.keys().copied().collect();
        self.sessions.reconsider.extend(pending);
    }

    /// A claim is another than before.
    pub(super) fn claim_changed(
        &mut self,
        session: SessionId,
        before: Option<&Claim>,
        is_load: bool,
    ) {
        let me = self.config.me;
        let claim = self.view.claims.get(&session).and_then(|seen| seen.value.clone());
        self.sessions
            .reconsider
            .extend(self.sessions.pending.contains_key(&session).then_some(session));
        let Some(key_no) = claim.as_ref().or(before).map(|claim| claim.key_no) else { return };
        self.touch(key_no);
        if let Some(takes) = self.sessions.to_take.get_mut(&key_no) {
            takes.remove(&session);
        }
        if let Some(touches) = self.sessions.touches.get_mut(&key_no) {
            touches.remove(&session);
        }
        let is_here = claim.as_ref().is_some_and(|c| c.state == ClaimState::Given && c.to == me);
        if let Some(local) = self.locals.get_mut(&key_no)
            && !is_here
        {
            local.returns.remove(&session);
            self.sessions.kept.remove(&session);
        }
        let Some(claim) = claim else { return };
        if claim.state != ClaimState::Asked
            && let Some((owed_key, _)) = self.sessions.owed.remove(&session)
            && let Some(local) = self.locals.get_mut(&owed_key)
        {
            // It has left our block, by our own transaction or drawn while we were cut off.
            local.owed = local.owed.saturating_sub(1);
        }
        if claim.state == ClaimState::Asked
            && claim.to != me
            && self.sessions.pending.get(&session).is_some_and(|pending| pending.has_asked)
        {
            // Its component has gone on to another node.
            self.sessions.forget_pending(&session);
        }
        if !self.life.entering {
            return;
        }
        let was_given = before.is_some_and(|c| c.state == ClaimState::Given && c.to == me);
        if claim.state == ClaimState::Given && claim.to == me && !was_given {
            if let Some(local) = self.locals.get_mut(&key_no) {
                local.returns.remove(&session);
                local.expect();
            }
            self.sessions.marks.remove(&session);
            self.out.push(Effect::Expect { session, key_no });
            // It may be here already, and its lease of the other node be younger.
            self.out.push(Effect::Keep { session });
        } else if is_here {
            self.sessions.kept.insert(session);
            self.out.push(Effect::Keep { session });
        }
        if self.sessions.owed.contains_key(&session) || self.sessions.taking.contains_key(&session)
        {
            return;
        }
        // From a block that was marked others may draw until it is taken back.
        let is_marked = self.standing != Standing::Stopping
            && self.view.pool(key_no).is_some_and(|pool| pool.is_orphaned(&me));
        let is_open = self.locals.get(&key_no).is_some_and(|local| local.open) && !is_marked;
        // It may have been given to us and asked back before we heard of either.
        let is_late = !was_given && (is_load || before.is_some());
        match take_of(&claim, &me, is_late) {
            Some(Take::Moved { .. }) if is_open => {}
            Some(Take::Asked { .. }) if !self.locals.contains_key(&key_no) => {
                self.sessions.marks.insert(session, Mark::NotHeld);
            }
            Some(Take::Asked { to, .. }) if !self.view.lives(&to) => {
                self.sessions.marks.insert(session, Mark::Delete);
            }
            Some(take) => {
                self.sessions.to_take.entry(key_no).or_default().insert(session, take);
            }
            None => {}
        }
    }

    pub(super) fn has_to_take(&self, key_no: KeyNo) -> bool {
        self.sessions.has_to_take(key_no)
    }

    /// Asks the service to let go what is to go; whether there was anything.
    pub(super) fn take_away(&mut self, key_no: KeyNo) -> bool {
        let Some(takes) = self.sessions.to_take.get_mut(&key_no) else { return false };
        let Some(local) = self.locals.get_mut(&key_no) else { return false };
        if local.fence.is_some() {
            // What is in our block is about to be known.
            return false;
        }
        let mut count = 0;
        while count < TAKE_AT_ONCE
            && let Some((session, take)) = takes.pop_first()
        {
            count += 1;
            local.taking += 1;
            self.sessions.taking.insert(session, (key_no, take));
            let (Take::Asked { to, .. } | Take::Moved { to }) = take;
            self.out.push(Effect::TakeAway { session, key_no, to });
        }
        if takes.is_empty() {
            self.sessions.to_take.remove(&key_no);
        }
        count > 0
    }

    pub(super) fn taken_away(&mut self, session: SessionId, held: bool, quotas: Vec<QuotaId>) {
        let Some((key_no, take)) = self.sessions.taking.remove(&session) else { return };
        let (Take::Asked { to, .. } | Take::Moved { to }) = take;
        self.quotas_moved(quotas, to);
        self.touch(key_no);
        let me = self.config.me;
        let claim = self.view.claims.get(&session).and_then(|seen| seen.value.as_ref());
        let is_still_ours = claim.is_none_or(|claim| claim.state == ClaimState::Asked);
        let block = self.view.pool(key_no).map_or(0, |pool| pool.block_seats(&me));
        let Some(local) = self.locals.get_mut(&key_no) else { return };
        local.taking = local.taking.saturating_sub(1);
        if held {
            local.limit = local.limit.saturating_sub(1);
        }
        let Take::Asked { to, is_late } = take else {
            let is_given = claim.is_some_and(|claim| claim.state == ClaimState::Given);
            if held && is_given {
                self.sessions.touches.entry(key_no).or_default().insert(session);
            }
            return;
        };
        if !is_still_ours {
            return;
        }
        let may_have_been = is_late && local.limit.saturating_add(local.owed) < block;
        if held || may_have_been {
            local.owed += 1;
            self.sessions.owed.insert(session, (key_no, to));
        } else {
            self.sessions.marks.insert(session, Mark::NotHeld);
        }
    }

    /// Seats that are owed but have left the block with other sessions: a key that has shrunk has no
    /// more of them, so whoever asks hears that there is none.
    pub(super) fn drop_owed(&mut self, key_no: KeyNo, block: u32) {
        let Some(local) = self.locals.get_mut(&key_no) else { return };
        let surplus = local.owed.saturating_sub(block) as usize;
        let of_key = self.sessions.owed.iter().filter(|(_, (owed_key, _))| *owed_key == key_no);
        let lost: Vec<SessionId> = of_key.map(|(session, _)| *session).take(surplus).collect();
        for session in lost {
            self.sessions.owed.remove(&session);
            self.sessions.marks.insert(session, Mark::NotHeld);
            local.owed = local.owed.saturating_sub(1);
        }
    }

    pub(super) fn ended(&mut self, session: SessionId, released: bool) {
        let me = self.config.me;
        let seen = self.view.claims.get(&session);
        let Some(claim) = seen.and_then(|seen| seen.value.clone()) else { return };
        if claim.state != ClaimState::Given || claim.to != me {
            return;
        }
        if self.sessions.kept.remove(&session) && !released {
            // It was over before the service could be told that its lease may be younger.
            if let Some(local) = self.locals.get_mut(&claim.key_no) {
                local.is_stale = true;
            }
            self.out.push(Effect::Expect { session, key_no: claim.key_no });
            return self.touch(claim.key_no);
        }
        let pool = self.view.pool(claim.key_no);
        let may_go_on =
            pool.is_some_and(|pool| claim.left.iter().any(|node| pool.is_orphaned(node)));
        if let Some(local) = self.locals.get_mut(&claim.key_no) {
            // The service keeps the seat of an expected session that was not renewed.
            local.is_stale |= !released;
            if may_go_on && !released {
                local.returns.insert(session);
            } else {
                self.sessions.marks.insert(session, Mark::Ended);
            }
        }
        self.touch(claim.key_no);
    }

    /// The blocks of a pool or the nodes that live are others than before.
    pub(super) fn holders_changed(&mut self, key_no: KeyNo) {
        let holders: BTreeMap<NodeId, (bool, bool, bool)> = self
            .view
            .pool(key_no)
            .into_iter()
            .flat_map(|pool| &pool.blocks)
            .map(|(node, block)| (*node, (block.orphaned, block.seats > 0, self.view.lives(node))))
            .collect();
        if self.sessions.holders.get(&key_no) == Some(&holders) {
            return;
        }
        self.sessions.holders.insert(key_no, holders);
        let pending: Vec<SessionId> = self.sessions.pending_of(key_no).copied().collect();
        self.sessions.reconsider.extend(pending);
        // What has ended here may have its home no longer, or has one again.
        self.look.insert(key_no);
    }

    /// What is to be done for a session that waits.
    pub(super) fn resolution(&self, session: &SessionId) -> Option<Resolution> {
        let pending = self.sessions.pending.get(session)?;
        let key_no = pending.key_no;
        if !self.life.entering {
            return Some(Resolution::Wait);
        }
        if self.locals.get(&key_no).is_none_or(|local| local.seats == 0) {
            return Some(Resolution::NotHeld);
        }
        let seen = self.view.claims.get(session);
        let claim = match seen.map(|seen| seen.value.as_ref()) {
            Some(None) => return Some(Resolution::NotHeld),
            Some(Some(claim)) => Some(claim),
            None => None,
        };
        let Some(holder) = holder(claim, pending.from) else { return Some(Resolution::NotHeld) };
        if holder == self.config.me {
            return Some(Resolution::Moved);
        }
        let Some(seen) = self.view.pools.get(&key_no) else { return Some(Resolution::NotHeld) };
        let Some(pool) = &seen.value else { return Some(Resolution::Wait) };
        let block = pool.blocks.get(&holder);
        Some(match block {
            Some(block) if block.orphaned && block.seats > 0 => Resolution::Draw(holder),
            Some(block) if block.orphaned => Resolution::NotHeld,
            None | Some(_) if self.view.lives(&holder) => {
                let is_asked = claim.is_some_and(|claim| {
                    claim.state == ClaimState::Asked && claim.to == self.config.me
                });
                if is_asked { Resolution::Wait } else { Resolution::Ask(holder) }
            }
            Some(_) => Resolution::Wait,
            None => Resolution::NotHeld,
        })
    }

    /// Looks at the claims about which something has changed.
    pub(super) fn resolve(&mut self) {
        if !self.life.entering {
            return;
        }
        for session in std::mem::take(&mut self.sessions.reconsider) {
            let Some(resolution) = self.resolution(&session) else { continue };
            let Some(key_no) = self.sessions.pending.get(&session).map(|p| p.key_no) else {
                continue;
            };
            self.sessions.asks.remove(&session);
            if let Some(draws) = self.sessions.draws.get_mut(&key_no) {
                draws.remove(&session);
            }
            match resolution {
                Resolution::Ask(_) => {
                    self.sessions.asks.insert(session);
                }
                Resolution::Draw(_) => {
                    self.sessions.draws.entry(key_no).or_default().insert(session);
                    self.due.insert(key_no);
                }
                Resolution::Moved => self.claimed(session, ClaimOutcome::Moved),
                Resolution::NotHeld => {
                    if self.is_left_over(&session) {
                        self.sessions.marks.insert(session, Mark::Delete);
                    }
                    self.claimed(session, ClaimOutcome::NotHeld);
                }
                Resolution::Wait => {
                    self.due.insert(key_no);
                }
            }
        }
    }

    fn claimed(&mut self, session: SessionId, outcome: ClaimOutcome) {
        self.sessions.forget_pending(&session);
        self.out.push(Effect::Claimed { session, outcome });
    }

    /// Whether a claim has ended and no node that returns has to learn of it.
    fn is_left_over(&self, session: &SessionId) -> bool {
        let claim = self.view.claims.get(session).and_then(|seen| seen.value.as_ref());
        claim.is_some_and(|claim| claim.state == ClaimState::Ended && !self.is_missed(claim))
    }

    /// Whether a node that is down may have the session of a claim in its books.
    fn is_missed(&self, claim: &Claim) -> bool {
        let pool = self.view.pool(claim.key_no);
        pool.is_some_and(|pool| claim.left.iter().any(|node| pool.is_orphaned(node)))
    }
}

/// Who holds the seat of a session whose component shows a lease of `from`; nobody if it has ended.
fn holder(claim: Option<&Claim>, from: NodeId) -> Option<NodeId> {
    let Some(claim) = claim else { return Some(from) };
    match claim.state {
        ClaimState::Asked => Some(claim.holder),
        ClaimState::Given => Some(claim.to),
        // A node that the claim does not know, or the one that had it last, may have given the
        // session a seat since.
        ClaimState::Ended => {
            let is_older = from != claim.to && (from == claim.holder || claim.left.contains(&from));
            (!is_older).then_some(from)
        }
    }
}

/// Whether a node has to let go the session of a claim.
fn take_of(claim: &Claim, me: &NodeId, is_late: bool) -> Option<Take> {
    let owner = match claim.state {
        ClaimState::Asked => Some(claim.holder),
        ClaimState::Given => Some(claim.to),
        ClaimState::Ended => None,
    };
    if claim.state == ClaimState::Asked && claim.holder == *me {
        return Some(Take::Asked { to: claim.to, is_late });
    }
    (owner != Some(*me) && claim.left.contains(me)).then_some(Take::Moved { to: claim.to })
}

#[cfg(test)]
mod tests;
