//! Rules applied: which rules a session falls under, how many seats those under a rule hold, and
//! whether one more may be taken.
//!
//! Counts follow the holders, seat by seat, so that no opening session costs a look at the others.
//! Without rules in force nothing is kept and nothing costs anything. Which key serves a session is
//! decided elsewhere; a rule never ends a session.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::holders::Holder;
use super::{HOLDERS_NAMED_MAX, LicenceService};
use crate::key::KeySeries;
use crate::pool::KeyStatus;
use crate::refusal::HolderName;
use crate::rules::{CheckedRule, CheckedRules, RuleEffect, RuleNo, Subject};
use crate::session::{ConnectionId, Session, SessionId};

/// Sessions looked at to name holders under a rule: sessions that share a seat are many in one
/// place, so a few more than the names that are wanted.
const LOOKED_AT_MAX: usize = 10 * HOLDERS_NAMED_MAX;

/// The limits and reservations that a session falls under.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Under {
    series: KeySeries,
    rules: Box<[RuleNo]>,
}

impl Under {
    pub(super) const fn series(&self) -> KeySeries {
        self.series
    }

    pub(super) const fn rules(&self) -> &[RuleNo] {
        &self.rules
    }
}

/// Seats held by those under one rule.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Held {
    total: u64,
    by_series: BTreeMap<KeySeries, u64>,
    /// Sessions that hold them, for a limit: a refusal names some. Bounded by the limit but for
    /// those who were there before it.
    sessions: BTreeSet<SessionId>,
}

/// What a session that opens again lets go of: counts as free already.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaving {
    frees_seat: bool,
    /// Rules under which the seat counts through this session alone.
    rules: Vec<RuleNo>,
}

impl Leaving {
    pub(super) const fn frees_seat(&self) -> bool {
        self.frees_seat
    }
}

/// Why a rule refuses a seat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Objection {
    /// Those under it hold as many as they may.
    Limit(RuleNo),
    /// The free seats are kept for those under it.
    Reserved(RuleNo),
}

/// The rules in force and what is counted for them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Ruling {
    rules: CheckedRules,
    /// The rules' names in lower case, by which quotas are named.
    names: Vec<Arc<str>>,
    held: Vec<Held>,
    /// Sessions that fall under a limit or a reservation.
    under: BTreeMap<SessionId, Under>,
    /// How many sessions of a shared seat fall under a rule; a seat counts once.
    shared: BTreeMap<(Holder, RuleNo), u32>,
}

impl Ruling {
    pub(super) fn new(rules: CheckedRules) -> Self {
        let held = vec![Held::default(); rules.len()];
        let names = rules.iter().map(|(_, rule)| rule.name.to_lowercase().into()).collect();
        Self { rules, names, held, ..Self::default() }
    }

    pub(super) const fn rules(&self) -> &CheckedRules {
        &self.rules
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(super) fn rule(&self, no: RuleNo) -> Option<&CheckedRule> {
        self.rules.get(no)
    }

    /// Its name in lower case.
    pub(super) fn name(&self, no: RuleNo) -> Arc<str> {
        self.names.get(usize::from(no)).cloned().unwrap_or_default()
    }

    /// The reservations that keep seats of a series.
    pub(super) fn reservations(
        &self,
        series: KeySeries,
    ) -> impl Iterator<Item = (RuleNo, &CheckedRule)> {
        self.rules
            .iter()
            .filter(move |(_, rule)| rule.effect == RuleEffect::Reserve && rule.is_of(series))
    }

    /// Seats held by those under a rule, of one series or of all.
    pub(super) fn held(&self, no: RuleNo, series: Option<KeySeries>) -> u64 {
        self.held.get(usize::from(no)).map_or(0, |held| match series {
            Some(series) => held.by_series.get(&series).copied().unwrap_or(0),
            None => held.total,
        })
    }

    /// The same, without what a session lets go of.
    pub(super) fn held_without(
        &self,
        no: RuleNo,
        series: Option<KeySeries>,
        leaving: &Leaving,
    ) -> u64 {
        let held = self.held(no, series);
        held - u64::from(leaving.rules.contains(&no)).min(held)
    }

    /// Whether a shared seat counts under a rule already.
    pub(super) fn counts(&self, holder: &Holder, no: RuleNo) -> bool {
        self.shared.contains_key(&(holder.clone(), no))
    }

    /// The limits and reservations that a session is counted under.
    pub(super) fn under_of(&self, id: &SessionId) -> &[RuleNo] {
        self.under.get(id).map_or(&[][..], |under| &under.rules)
    }

    /// The first rule that refuses a session whatever the seats.
    pub(super) fn denied_by(&self, session: &Subject) -> Option<&CheckedRule> {
        let denies = |rule: &&CheckedRule| rule.effect == RuleEffect::Deny;
        self.rules.iter().map(|(_, rule)| rule).filter(denies).find(|rule| rule.is_about(session))
    }

    /// The limits and reservations that a session falls under.
    pub(super) fn under(&self, session: &Subject) -> Under {
        let counts = |rule: &CheckedRule| rule.effect != RuleEffect::Deny && rule.is_about(session);
        let rules = self.rules.iter().filter(|(_, rule)| counts(rule)).map(|(no, _)| no).collect();
        Under { series: session.series(), rules }
    }

    /// Remembers what a session falls under, for as long as it lives.
    pub(super) fn note(&mut self, id: SessionId, under: Under) {
        if !under.rules.is_empty() {
            self.under.insert(id, under);
        }
    }

    pub(super) fn forget(&mut self, id: SessionId) {
        self.under.remove(&id);
    }

    /// Counts a session that joins a holder.
    pub(super) fn hold(&mut self, holder: &Holder, id: SessionId) {
        let Some(under) = self.under.get(&id) else {
            return;
        };
        for no in &under.rules {
            let mut is_first = true;
            if holder.is_shared() {
                let sessions = self.shared.entry((holder.clone(), *no)).or_default();
                *sessions += 1;
                is_first = *sessions == 1;
            }
            let Some(held) = self.held.get_mut(usize::from(*no)) else { continue };
            if is_first {
                held.total += 1;
                *held.by_series.entry(under.series).or_default() += 1;
            }
            if self.rules.get(*no).is_some_and(|rule| rule.effect == RuleEffect::Limit) {
                held.sessions.insert(id);
            }
        }
    }

    /// Takes back what [`Self::hold`] counted.
    pub(super) fn let_go(&mut self, holder: &Holder, id: SessionId) {
        let Some(under) = self.under.get(&id) else {
            return;
        };
        for no in &under.rules {
            let mut is_last = true;
            if holder.is_shared() {
                let place = (holder.clone(), *no);
                if let Some(sessions) = self.shared.get_mut(&place) {
                    *sessions -= 1;
                    is_last = *sessions == 0;
                }
                if is_last {
                    self.shared.remove(&place);
                }
            }
            let Some(held) = self.held.get_mut(usize::from(*no)) else { continue };
            if is_last {
                held.total -= 1;
                if let Some(of_series) = held.by_series.get_mut(&under.series) {
                    *of_series -= 1;
                    if *of_series == 0 {
                        held.by_series.remove(&under.series);
                    }
                }
            }
            held.sessions.remove(&id);
        }
    }

    /// What becomes free when a session lets go of its seat, which it alone holds or not.
    pub(super) fn leaving(&self, holder: &Holder, id: SessionId, is_alone: bool) -> Leaving {
        let rules = self.under_of(&id);
        let counts_alone = |no: &&RuleNo| {
            !holder.is_shared() || self.shared.get(&(holder.clone(), **no)) == Some(&1)
        };
        let rules = rules.iter().filter(counts_alone).copied().collect();
        Leaving { frees_seat: is_alone, rules }
    }

    /// Whether a rule objects to a session's taking a seat: of the shared holder that it joins, or
    /// one of the `free` seats of its series.
    ///
    /// Seats are kept in the series as a whole and not of certain keys, although access codes and
    /// wishes divide the keys. Which of them those under a rule will ask for is known only when they
    /// come. Were the seats kept among the keys that fit whoever asks, a key with fewer seats than
    /// are kept, and a code that nobody under the rule knows, would serve nobody at all. The price:
    /// the seats that are left may be of keys that do not fit those for whom they were kept.
    pub(super) fn objection(
        &self,
        under: &Under,
        joins: Option<&Holder>,
        leaving: &Leaving,
        free: u64,
    ) -> Option<Objection> {
        let held = |no, series| self.held_without(no, series, leaving);
        for no in &under.rules {
            let Some(rule) = self.rules.get(*no) else { continue };
            let counts_already = joins.is_some_and(|holder| self.counts(holder, *no));
            if rule.effect == RuleEffect::Limit && !counts_already && held(*no, None) >= rule.seats
            {
                return Some(Objection::Limit(*no));
            }
        }
        if joins.is_some() {
            return None;
        }
        let mut kept = 0_u64;
        let mut keeper = None;
        for (no, rule) in self.reservations(under.series) {
            let unfilled = rule.seats.saturating_sub(held(no, Some(under.series)));
            if unfilled == 0 {
                continue;
            }
            if under.rules.contains(&no) {
                // One of these seats is its own. Where more is reserved than there is, whoever
                // comes first gets it: otherwise each would wait for the other for ever.
                return None;
            }
            kept += unfilled;
            keeper.get_or_insert(no);
        }
        keeper.filter(|_| free + u64::from(leaving.frees_seat) <= kept).map(Objection::Reserved)
    }

    /// Some of the sessions that hold the seats under a limit, and how many seats there are.
    fn holders_under(&self, no: RuleNo) -> (impl Iterator<Item = &SessionId>, u64) {
        let held = self.held.get(usize::from(no));
        let total = held.map_or(0, |held| held.total);
        (held.into_iter().flat_map(|held| held.sessions.iter()), total)
    }
}

impl LicenceService {
    /// The rules in force.
    pub fn rules(&self) -> &CheckedRules {
        self.ruling.rules()
    }

    /// Puts rules in force and counts the present sessions under them; nobody loses a seat.
    pub(super) fn set_rules(&mut self, rules: CheckedRules) {
        let mut ruling = Ruling::new(rules);
        if !ruling.is_empty() {
            for (id, session) in &self.sessions {
                let under = ruling.under(&self.subject_of(session));
                ruling.note(*id, under);
                if let Some(holder) = Holder::of_session(session, *id) {
                    ruling.hold(&holder, *id);
                }
            }
        }
        self.ruling = ruling;
        self.quotas.note_change();
    }

    #[cfg(debug_assertions)]
    pub(super) fn assert_rules_counted(&self) {
        let mut counted = Ruling::new(self.ruling.rules.clone());
        counted.under = self.ruling.under.clone();
        for (id, session) in &self.sessions {
            if let Some(holder) = Holder::of_session(session, *id) {
                counted.hold(&holder, *id);
            }
        }
        assert_eq!(counted, self.ruling, "the rules and the holders count differently");
        let mut known = self.ruling.under.keys();
        assert!(known.all(|id| self.sessions.contains_key(id)), "a rule counts an ended session");
    }

    /// A session as rules look at it. Its address is that of its connection; a session that has
    /// outlived its connection has none.
    fn subject_of(&self, session: &Session) -> Subject {
        let connection = self.connections.get(&session.connection);
        let peer = connection.map(|connection| &*connection.peer);
        Subject::new(session.series, &session.info, peer)
    }

    /// Seats of the usable keys of every series, held and free; of keys of a cluster those of this
    /// node.
    pub fn seats_by_series(&self) -> BTreeMap<KeySeries, u64> {
        let mut seats: BTreeMap<KeySeries, u64> = BTreeMap::new();
        for key in self.pool.keys().filter(|key| key.status == KeyStatus::Enabled) {
            let here = key.held.saturating_add(key.free());
            let count = if key.key.cluster.is_some() { here } else { key.key.seats };
            *seats.entry(key.key.series).or_default() += u64::from(count);
        }
        seats
    }

    /// [`dry_run`] of the sessions of the moment.
    pub fn check_rules(&self, rules: &CheckedRules) -> Vec<(SessionId, String)> {
        let peer = |id| self.connections.get(&id).map(|connection| &*connection.peer);
        let sessions = self.sessions.iter().map(|(id, session)| (*id, session));
        dry_run(rules, sessions, peer, self.seats_by_series())
    }

    /// Some of those who hold the seats under a limit, one for each seat, and how many more there
    /// are.
    pub(super) fn named_under(&self, no: RuleNo) -> (Vec<HolderName>, u64) {
        let (sessions, total) = self.ruling.holders_under(no);
        let mut seen = BTreeSet::new();
        let mut named = Vec::new();
        for id in sessions.take(LOOKED_AT_MAX) {
            let Some(session) = self.sessions.get(id) else { continue };
            if named.len() < HOLDERS_NAMED_MAX
                && Holder::of_session(session, *id).is_some_and(|holder| seen.insert(holder))
            {
                named.push(HolderName::of(&session.info));
            }
        }
        // With other nodes together there are as many as the limit allows.
        let max = self.ruling.rule(no).map_or(0, |rule| rule.seats);
        let total = if self.quotas.are_shared() { total.max(max) } else { total };
        let more = total.saturating_sub(named.len() as u64);
        (named, more)
    }
}

/// What rules would do to sessions if these opened again one after another, in the order in which
/// they opened: those that would be refused, and by which rule. Changes nothing and needs no service,
/// so that whoever asks looks at many sessions in their own time. `seats` are those of the usable
/// keys; `peer` is the address of a connection that is still there.
pub fn dry_run<'a>(
    rules: &CheckedRules,
    sessions: impl Iterator<Item = (SessionId, &'a Session)>,
    peer: impl Fn(ConnectionId) -> Option<&'a str>,
    seats: BTreeMap<KeySeries, u64>,
) -> Vec<(SessionId, String)> {
    let mut ruling = Ruling::new(rules.clone());
    if ruling.is_empty() {
        return Vec::new();
    }
    let mut order: Vec<_> = sessions.collect();
    order.sort_by_key(|(id, session)| (session.opened, *id));
    let mut free = seats;
    let mut holders = BTreeSet::new();
    let mut refused = Vec::new();
    for (id, session) in order {
        let subject = Subject::new(session.series, &session.info, peer(session.connection));
        if let Some(rule) = ruling.denied_by(&subject) {
            refused.push((id, rule.name.clone()));
            continue;
        }
        let Some(holder) = Holder::of_session(session, id) else { continue };
        let under = ruling.under(&subject);
        let joins = holders.contains(&holder).then_some(&holder);
        let of_series = free.entry(session.series).or_default();
        let leaving = Leaving::default();
        if let Some(objection) = ruling.objection(&under, joins, &leaving, *of_series) {
            let (Objection::Limit(no) | Objection::Reserved(no)) = objection;
            let name = ruling.rule(no).map(|rule| rule.name.clone());
            refused.push((id, name.unwrap_or_default()));
            continue;
        }
        if joins.is_none() {
            *of_series = of_series.saturating_sub(1);
        }
        ruling.note(id, under);
        ruling.hold(&holder, id);
        holders.insert(holder);
    }
    refused
}
