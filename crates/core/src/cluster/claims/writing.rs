//! What is to be written about claims alone: questions to holders that live, marks, and what nobody
//! needs any more. Whose a seat is was decided before.

use std::time::Duration;

use super::super::node::Node;
use super::super::record::{Claim, ClaimState, write};
use super::super::store::{Compare, Op, Txn};
use super::super::txns::OPS_MAX;
use super::super::view::Name;
use super::super::{RECLAIM_MARGIN_SECS, record};
use super::{Mark, PENDING_FOR, Resolution};
use crate::session::SessionId;
use crate::time::MonoTime;

/// How often claims are looked through for those that nobody needs any more.
const TIDY_EVERY: Duration = Duration::from_secs(10);

impl Node {
    /// Questions to nodes that live.
    pub(in super::super) fn asks_txn(&mut self) -> Option<Txn> {
        let me = self.config.me;
        let mut draft = self.claims_draft()?;
        let asks: Vec<SessionId> = self.sessions.asks.iter().take(OPS_MAX).copied().collect();
        for session in asks {
            let Some(Resolution::Ask(holder)) = self.resolution(&session) else {
                self.sessions.asks.remove(&session);
                continue;
            };
            let Some(pending) = self.sessions.pending.get_mut(&session) else { continue };
            pending.has_asked = true;
            let seen = self.view.claims.get(&session);
            let old = seen.and_then(|seen| seen.value.as_ref());
            let claim = Claim {
                key_no: pending.key_no,
                holder,
                to: me,
                state: ClaimState::Asked,
                left: old.map_or_else(Vec::new, |claim| claim.left.clone()),
            };
            let revision = seen.map_or(0, |seen| seen.mod_revision);
            mark(&mut draft, &session, revision, Some(&claim));
        }
        (!draft.then.is_empty()).then_some(draft)
    }

    /// Claims that have ended, here or for all.
    pub(in super::super) fn tidy_txn(&mut self) -> Option<Txn> {
        let me = self.config.me;
        let mut draft = self.claims_draft()?;
        while draft.then.len() < OPS_MAX
            && let Some((session, what)) = self.sessions.marks.pop_first()
        {
            let Some(seen) = self.view.claims.get(&session) else { continue };
            let Some(claim) = &seen.value else { continue };
            let is_asked_of_me = claim.state == ClaimState::Asked && claim.holder == me;
            let after = match what {
                Mark::Ended if claim.state == ClaimState::Given && claim.to == me => {
                    self.is_missed(claim).then_some(ClaimState::Ended)
                }
                Mark::NotHeld if is_asked_of_me => Some(ClaimState::Ended),
                Mark::Delete if is_asked_of_me && !self.view.lives(&claim.to) => None,
                Mark::Delete if claim.state == ClaimState::Ended => None,
                Mark::Delete | Mark::Ended | Mark::NotHeld => continue,
            };
            let after = after.map(|state| Claim { state, ..claim.clone() });
            mark(&mut draft, &session, seen.mod_revision, after.as_ref());
        }
        if self.sessions.tidy_at <= self.now {
            self.sessions.tidy_at = self.now.after(TIDY_EVERY);
            self.drop_pending();
            if self.leads() {
                self.tidy_old(&mut draft);
            }
        }
        (!draft.then.is_empty()).then_some(draft)
    }

    /// What a transaction is for that was not done is to be done again.
    pub(in super::super) fn marks_again(&mut self, txn: &Txn) {
        let me = self.config.me;
        for op in &txn.then {
            let Some(Name::Claim(session)) = Name::parse(op.key()) else { continue };
            let claim = self.view.claims.get(&session).and_then(|seen| seen.value.as_ref());
            let Some(claim) = claim else { continue };
            let put = match op {
                Op::Put { value, .. } => record::read::<Claim>(value).ok(),
                Op::Delete { .. } => None,
            };
            let mark = match (claim.state, put.map(|put| put.state)) {
                (ClaimState::Given, Some(ClaimState::Ended) | None) if claim.to == me => {
                    Mark::Ended
                }
                (ClaimState::Asked, Some(ClaimState::Ended)) if claim.holder == me => Mark::NotHeld,
                (ClaimState::Asked, None) if claim.holder == me => Mark::Delete,
                _ => continue,
            };
            self.sessions.marks.insert(session, mark);
        }
    }

    fn drop_pending(&mut self) {
        let old: Vec<SessionId> = self
            .sessions
            .pending
            .iter()
            .filter(|(_, pending)| pending.at.after(PENDING_FOR) <= self.now)
            .map(|(session, _)| *session)
            .collect();
        for session in old {
            self.sessions.forget_pending(&session);
        }
    }

    /// The leader removes claims that nobody can need: no lease of the node that held the seat can be
    /// valid, and no node that is down could still have the session in its books.
    fn tidy_old(&mut self, draft: &mut Txn) {
        let life = self.config.session_life + Duration::from_secs(RECLAIM_MARGIN_SECS);
        let all = self.reclaim_after();
        let mut is_full = false;
        let mut old = Vec::new();
        for (since, session, seen) in self.view.claims.oldest() {
            if since.after(PENDING_FOR * 2) > self.now {
                break;
            }
            if draft.then.len() + old.len() >= OPS_MAX {
                is_full = true;
                break;
            }
            let Some(claim) = &seen.value else { continue };
            let is_over = match claim.state {
                ClaimState::Asked => !self.view.lives(&claim.to) && !self.view.lives(&claim.holder),
                ClaimState::Given | ClaimState::Ended => {
                    since.after(all) <= self.now
                        || (since.after(life) <= self.now && !self.is_missed(claim))
                }
            };
            let is_new = !draft.then.iter().any(|op| op.key() == Name::Claim(session).key());
            if is_over && is_new {
                old.push((session, seen.mod_revision));
            }
        }
        for (session, revision) in old {
            mark(draft, &session, revision, None);
        }
        if is_full {
            self.sessions.tidy_at = self.now;
        }
    }

    pub(in super::super) fn claims_timeout(&self) -> Option<MonoTime> {
        let is_needed = !self.sessions.pending.is_empty() || self.view.claims.len() > 0;
        (is_needed && self.may_send()).then_some(self.sessions.tidy_at)
    }

    fn claims_draft(&self) -> Option<Txn> {
        let key = Name::Alive(self.config.me).key();
        let revision = self.life.incarnation?;
        Some(Txn { compare: vec![Compare::Created { key, revision }], then: Vec::new() })
    }
}

fn mark(txn: &mut Txn, session: &SessionId, revision: i64, claim: Option<&Claim>) {
    let key = Name::Claim(*session).key();
    txn.compare.push(Compare::Modified { key: key.clone(), revision });
    txn.then.push(match claim {
        Some(claim) => Op::Put { key, value: write(claim), lease: None },
        None => Op::Delete { key },
    });
}
