//! Limits and reservations that several nodes of a cluster keep together: how much of each quota this
//! node holds, and whether a session may take one more.
//!
//! A limit of N seats is one quota of N. A reservation of R seats divides the seats of a series: R for
//! those under it, the rest for anybody, so that others never hold more than all but R, at whichever
//! nodes. Who is under a rule and holds a seat is counted in [`super::ruling`]; how much of a quota
//! this node may give out is decided in [`crate::cluster`]. A server of its own has no quotas.

use std::collections::{BTreeMap, BTreeSet};

use super::holders::Holder;
use super::ruling::{Leaving, Objection, Under};
use super::{LicenceService, Reply};
use crate::key::{KeyNo, KeySeries};
use crate::rules::{QuotaId, QuotaNeed, QuotaTotal, RuleEffect};
use crate::session::SessionId;

/// The quotas of this node.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    /// How much of each may be held here; nothing at all on a server that counts by itself.
    shares: Option<BTreeMap<QuotaId, u32>>,
    /// What was told last.
    told: BTreeMap<QuotaId, QuotaNeed>,
    is_changed: bool,
}

impl Quotas {
    /// Whether rules are counted together with other nodes.
    pub(super) const fn are_shared(&self) -> bool {
        self.shares.is_some()
    }

    /// Something that is counted may have changed.
    pub(super) const fn note_change(&mut self) {
        self.is_changed = true;
    }

    fn share(&self, id: &QuotaId) -> u32 {
        self.shares.as_ref().and_then(|shares| shares.get(id)).copied().unwrap_or(0)
    }
}

impl LicenceService {
    /// Nothing may be taken of any quota until it is said how much. Who holds a seat keeps it.
    pub(super) fn close_quotas(&mut self) {
        self.quotas.shares = Some(BTreeMap::new());
        // Whoever says how much may be another process's node: it is told all of it.
        self.quotas.told.clear();
        self.quotas.note_change();
    }

    /// How much of some quotas may be held here.
    pub(super) fn set_quotas(&mut self, limits: Vec<(QuotaId, u32)>) -> Reply {
        let shares = self.quotas.shares.get_or_insert_default();
        let mut told = Vec::with_capacity(limits.len());
        for (id, seats) in limits {
            if seats == 0 {
                shares.remove(&id);
            } else {
                shares.insert(id.clone(), seats);
            }
            told.push((id, seats));
        }
        self.quotas.note_change();
        let needs = self.quota_needs();
        let held = |id: &QuotaId| needs.get(id).map_or(0, |need| need.held);
        Reply::QuotaLimits(told.into_iter().map(|(id, seats)| (held(&id), id, seats)).collect())
    }

    /// What is counted of quotas, if anything of it has changed since this was asked last.
    pub fn take_quota_needs(&mut self) -> Option<BTreeMap<QuotaId, QuotaNeed>> {
        if !std::mem::take(&mut self.quotas.is_changed) || !self.quotas.are_shared() {
            return None;
        }
        let needs = self.quota_needs();
        (needs != self.quotas.told).then(|| {
            self.quotas.told.clone_from(&needs);
            needs
        })
    }

    fn quota_needs(&self) -> BTreeMap<QuotaId, QuotaNeed> {
        let mut needs = BTreeMap::new();
        if self.ruling.is_empty() {
            return needs;
        }
        let of_cluster = self.pool.keys().filter(|pooled| pooled.key.cluster.is_some());
        let series: BTreeSet<KeySeries> = of_cluster.map(|pooled| pooled.key.series).collect();
        for (no, rule) in self.ruling.rules().iter() {
            if rule.effect == RuleEffect::Limit {
                let total = QuotaTotal::Seats(narrow(rule.seats));
                let held = narrow(self.ruling.held(no, None));
                needs.insert(QuotaId::Limit(self.ruling.name(no)), QuotaNeed { total, held });
            }
        }
        for series in series {
            let mut reserved = 0_u64;
            for (no, rule) in self.ruling.reservations(series) {
                let total = QuotaTotal::Seats(narrow(rule.seats));
                let held = narrow(self.ruling.held(no, Some(series)));
                let id = QuotaId::Reserve(series, self.ruling.name(no));
                needs.insert(id, QuotaNeed { total, held });
                reserved += rule.seats;
            }
            if reserved > 0 {
                let total = QuotaTotal::AllBut(series, narrow(reserved));
                let held = narrow(self.held_by_others(series, &Leaving::default()));
                needs.insert(QuotaId::Others(series), QuotaNeed { total, held });
            }
        }
        needs
    }

    /// Seats of the cluster's keys of a series that are held here outside of reservations.
    fn held_by_others(&self, series: KeySeries, leaving: &Leaving) -> u64 {
        let of_cluster = self.pool.of_series(series).filter(|pooled| pooled.key.cluster.is_some());
        let held: u64 = of_cluster.map(|pooled| u64::from(pooled.held)).sum();
        let within: u64 = self
            .ruling
            .reservations(series)
            .map(|(no, _)| {
                let share = self.quotas.share(&QuotaId::Reserve(series, self.ruling.name(no)));
                self.ruling.held_without(no, Some(series), leaving).min(u64::from(share))
            })
            .sum();
        held.saturating_sub(u64::from(leaving.frees_seat())).saturating_sub(within)
    }

    /// Why a rule refuses a session a seat of a key, and of which quotas a larger share would help.
    pub(super) fn quota_objection(
        &self,
        under: &Under,
        joins: Option<&Holder>,
        leaving: &Leaving,
        key_no: KeyNo,
    ) -> Option<(Objection, Vec<QuotaId>)> {
        for no in under.rules() {
            let is_limit =
                self.ruling.rule(*no).is_some_and(|rule| rule.effect == RuleEffect::Limit);
            if !is_limit || joins.is_some_and(|holder| self.ruling.counts(holder, *no)) {
                continue;
            }
            let id = QuotaId::Limit(self.ruling.name(*no));
            let held = self.ruling.held_without(*no, None, leaving);
            if held >= u64::from(self.quotas.share(&id)) {
                return Some((Objection::Limit(*no), vec![id]));
            }
        }
        let of_cluster = self.pool.key(key_no).is_some_and(|key| key.key.cluster.is_some());
        if joins.is_some() || !of_cluster {
            return None;
        }
        let series = under.series();
        let mut keeper = None;
        let mut wanted = Vec::new();
        for (no, _) in self.ruling.reservations(series) {
            if !under.rules().contains(&no) {
                keeper.get_or_insert(no);
                continue;
            }
            let id = QuotaId::Reserve(series, self.ruling.name(no));
            if self.ruling.held_without(no, Some(series), leaving)
                < u64::from(self.quotas.share(&id))
            {
                return None;
            }
            wanted.push(id);
        }
        let (first, _) = self.ruling.reservations(series).next()?;
        let id = QuotaId::Others(series);
        if self.held_by_others(series, leaving) < u64::from(self.quotas.share(&id)) {
            return None;
        }
        wanted.push(id);
        Some((Objection::Reserved(keeper.unwrap_or(first)), wanted))
    }

    /// What a session uses of quotas, as far as its end may free some.
    pub(super) fn quota_use(&self, id: &SessionId) -> Vec<(QuotaId, u64)> {
        let Some(session) = self.sessions.get(id).filter(|_| self.quotas.are_shared()) else {
            return Vec::new();
        };
        let series = session.series;
        let mut uses = Vec::new();
        for no in self.ruling.under_of(id) {
            let Some(rule) = self.ruling.rule(*no) else { continue };
            let name = self.ruling.name(*no);
            if rule.effect == RuleEffect::Limit {
                uses.push((QuotaId::Limit(name), self.ruling.held(*no, None)));
            } else {
                let id = QuotaId::Reserve(series, name);
                let held = self.ruling.held(*no, Some(series));
                let share = u64::from(self.quotas.share(&id));
                uses.push((id, held.min(share)));
            }
        }
        if self.ruling.reservations(series).next().is_some() {
            let others = self.held_by_others(series, &Leaving::default());
            uses.push((QuotaId::Others(series), others));
        }
        uses
    }

    /// After a session has gone to another node: what it used goes with it, so the shares of this
    /// node are so much smaller. `before` is what [`Self::quota_use`] said, `after` what it says of
    /// the same quotas now.
    pub(super) fn quotas_moved(
        &mut self,
        series: KeySeries,
        before: Vec<(QuotaId, u64)>,
    ) -> Vec<QuotaId> {
        let mut moved = Vec::new();
        let needs = if before.is_empty() { BTreeMap::new() } else { self.quota_needs() };
        for (id, used) in before {
            let held = needs.get(&id).map_or(0, |need| u64::from(need.held));
            let now = match &id {
                QuotaId::Limit(_) => held,
                QuotaId::Reserve(..) => held.min(u64::from(self.quotas.share(&id))),
                QuotaId::Others(_) => self.held_by_others(series, &Leaving::default()),
            };
            if now < used {
                let share = self.quotas.share(&id);
                moved.push((id, share.saturating_sub(1)));
            }
        }
        // All at once: what is held by others is worked out from the other shares.
        for (id, seats) in &moved {
            if let Some(shares) = &mut self.quotas.shares {
                shares.insert(id.clone(), *seats);
            }
        }
        self.quotas.note_change();
        moved.into_iter().map(|(id, _)| id).collect()
    }
}

/// Counts of seats fit: a service has fewer sessions than that, and rules are made with 32 bits.
fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
