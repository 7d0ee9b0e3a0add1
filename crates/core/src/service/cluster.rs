//! A node of a cluster, as the seats of one server see it: how many seats of a key the node may
//! give out, until when, and sessions that come from other nodes or go there.
//!
//! Decides which session loses its seat when the cluster says so, and for whom a seat that has come
//! is kept. Which node may give out how many seats, and who is asked for them, is decided in
//! [`crate::cluster`]; nothing here knows of other nodes but a name for people.

use std::collections::{BTreeMap, BTreeSet};

use super::farewells::Farewells;
use super::opening::Asked;
use super::{Effect, LicenceService, Reply};
use crate::key::{KeyNo, KeySeries};
use crate::lease_token::LeaseClaims;
use crate::session::{EndReason, SessionId};
use crate::time::{MonoTime, Now};

/// Sessions for which seats are kept at one time: as many as may wait for claims. Those beyond this
/// many are served too, only that a stranger may be faster.
const EXPECTED_MAX: usize = 100_000;

/// Ended sessions of keys of a cluster that nobody has asked for yet. Whoever asks does so after
/// every turn; the cluster finds out by itself of those that are forgotten here.
const ENDED_HERE_MAX: usize = 100_000;

/// What is known of the seat of the lease that a session shows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum LeasedSeat {
    /// This server granted the lease, or there is none.
    #[default]
    Own,
    /// Another node granted it, and was not asked for the seat yet: its name for people.
    Elsewhere(String),
    /// Who holds it was asked and has not answered yet: the name of the node that granted it, if
    /// that is another one.
    Asked(Option<String>),
    /// The seat has come to this node, or was here all the time.
    Here,
    /// Nobody holds it any longer.
    Gone,
}

/// A usable key of a cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClusterKey {
    /// Its series.
    pub series: KeySeries,
    /// Its seats, of all nodes together.
    pub seats: u32,
    /// Seats that are held or kept here.
    pub held: u32,
}

/// A session of a key of a cluster that has ended here, or for which a seat was kept in vain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EndedHere {
    /// The session.
    pub session: SessionId,
    /// Whether somebody ended it. One that merely was not renewed may have a component that is with
    /// another node and goes on there.
    pub is_released: bool,
}

/// What a node of a cluster is told, and what it shall be told.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    /// Until when keys of the cluster may give out seats.
    grant_until: Option<MonoTime>,
    /// From when on their sessions are not renewed.
    hold_until: Option<MonoTime>,
    /// For whom a seat of which key is kept, and until when.
    expected: BTreeMap<SessionId, (KeyNo, MonoTime)>,
    /// The same in the order of the ends.
    ends: BTreeSet<(MonoTime, SessionId)>,
    /// What has ended and was not asked for yet.
    ended: Vec<EndedHere>,
    /// Who needs no seat that is on its way here.
    pub(super) farewells: Farewells,
}

impl Cluster {
    /// When something changes by itself.
    pub(super) fn next_change(&self, now: MonoTime) -> Option<MonoTime> {
        let right_ends = self.grant_until.filter(|at| *at > now);
        right_ends.into_iter().chain(self.ends.first().map(|(at, _)| *at)).min()
    }

    /// Whether sessions of the cluster are not renewed at this moment.
    fn is_held_up(&self, now: MonoTime) -> bool {
        self.hold_until.is_some_and(|until| until <= now)
    }

    /// Whether a seat is kept for a session.
    pub(super) fn is_expected(&self, session: &SessionId) -> bool {
        self.expected.contains_key(session)
    }

    fn note_end(&mut self, session: SessionId, is_released: bool) {
        if self.ended.len() < ENDED_HERE_MAX {
            self.ended.push(EndedHere { session, is_released });
        }
    }
}

impl LicenceService {
    /// What time brings about: the right to grant ends, sessions are waited for in vain.
    pub(super) fn advance_cluster(&mut self, now: Now) {
        self.look_at_right(now);
        while let Some(&(at, id)) = self.cluster.ends.first() {
            if at > now.mono {
                break;
            }
            self.expect_no_more(id);
            self.cluster.note_end(id, false);
            debug_assert!(!self.cluster.ends.contains(&(at, id)), "an entry was not moved");
        }
    }

    pub(super) fn set_grant_until(&mut self, until: Option<MonoTime>, now: Now) {
        self.cluster.grant_until = until;
        self.look_at_right(now);
    }

    pub(super) fn set_hold_until(&mut self, until: Option<MonoTime>, now: Now) {
        self.cluster.hold_until = until;
        self.look_at_right(now);
    }

    fn look_at_right(&mut self, now: Now) {
        let cluster = &self.cluster;
        let is_right = cluster.grant_until.is_some_and(|until| now.mono < until);
        self.pool.set_may_grant(is_right && !cluster.is_held_up(now.mono));
    }

    /// Whether sessions of the cluster are not renewed at this moment.
    pub(super) fn is_held_up(&self, now: Now) -> bool {
        self.cluster.is_held_up(now.mono)
    }

    /// Whether a session is one of those.
    pub(super) fn is_session_paused(&self, id: &SessionId, now: Now) -> bool {
        let key_no = self.sessions.get(id).and_then(|session| session.key_no);
        self.is_paused(key_no, now)
    }

    /// Whether who holds a seat of this key is not renewed: the node has not heard of its cluster for
    /// too long, so the seat may be given to others one life of a session from then on.
    pub(super) fn is_paused(&self, key_no: Option<KeyNo>, now: Now) -> bool {
        let key = || key_no.and_then(|key_no| self.pool.key(key_no));
        self.is_held_up(now) && key().is_some_and(|key| key.key.cluster.is_some())
    }

    /// Whether the session asks for what is not renewed: its own seat, one that its computer has, or
    /// one that is kept for it.
    pub(super) fn asks_for_paused(
        &self,
        asked: &Asked,
        series: KeySeries,
        known: Option<SessionId>,
        fitting: &[KeyNo],
        now: Now,
    ) -> bool {
        if !self.is_held_up(now) {
            return false;
        }
        let held = known.and_then(|id| self.sessions.get(&id)?.key_no);
        let shared = self.shared_key(asked, series, fitting, now);
        let kept = self.expected_key(asked, fitting);
        [held, shared, kept].into_iter().any(|key_no| self.is_paused(key_no, now))
    }

    pub(super) fn set_limits(
        &mut self,
        limits: Vec<(KeyNo, u32, bool)>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Reply {
        let mut told = Vec::with_capacity(limits.len());
        for (key_no, seats, is_forced) in limits {
            let (mut limit, mut spoken_for) = self.pool.set_limit(key_no, seats, is_forced);
            if spoken_for > limit {
                let expected = self.pool.key(key_no).map_or(0, |key| key.expected);
                self.end_above(key_no, limit.saturating_sub(expected), now, effects);
                self.expect_at_most(key_no, limit);
                (limit, spoken_for) = self.pool.set_limit(key_no, limit, false);
            }
            told.push((key_no, limit, spoken_for));
        }
        Reply::SeatLimits(told)
    }

    /// Lets go of a session that goes on at another node. `was_held` when it held a seat that nobody
    /// here shares: that seat goes with it. In file mode sessions of one computer share a seat; as long as
    /// one of them stays, the seat does.
    pub(super) fn take_away(
        &mut self,
        id: SessionId,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Reply {
        let of_cluster = |key_no: KeyNo| {
            let key = self.pool.key(key_no)?;
            key.key.cluster.is_some().then_some((key_no, key.spoken_for()))
        };
        let expected = self.cluster.expected.get(&id).map(|(key_no, _)| *key_no);
        let held = self.sessions.get(&id).and_then(|session| session.key_no);
        let Some((key_no, before)) = expected.or(held).and_then(of_cluster) else {
            return Reply::TakenAway { was_held: false, quotas: Vec::new() };
        };
        self.expect_no_more(id);
        let series = self.sessions.get(&id).map(|session| session.series);
        let used = self.quota_use(&id);
        self.end_session(id, EndReason::Moved, now, effects);
        let quotas = series.map(|series| self.quotas_moved(series, used)).unwrap_or_default();
        let was_freed = self.pool.key(key_no).is_some_and(|key| key.spoken_for() < before);
        if was_freed {
            self.pool.lower_limit(key_no);
        }
        Reply::TakenAway { was_held: was_freed, quotas }
    }

    /// Ends all that hold seats of keys of a cluster, and gives out no more until the node says how
    /// many there are. It knows that they have ended, so it is told of none.
    pub(super) fn end_cluster(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.cluster.hold_until = None;
        self.set_grant_until(None, now);
        let told = self.cluster.ended.len();
        let keys: BTreeSet<KeyNo> = self
            .pool
            .keys()
            .filter(|pooled| pooled.key.cluster.is_some())
            .map(|pooled| pooled.key.key_no)
            .collect();
        let of_cluster = |key_no: Option<KeyNo>| key_no.is_some_and(|no| keys.contains(&no));
        let held: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| of_cluster(session.key_no))
            .map(|(id, _)| *id)
            .collect();
        for id in held {
            self.end_session(id, EndReason::Isolated, now, effects);
        }
        for key_no in keys {
            self.expect_none_of(key_no);
            self.pool.set_limit(key_no, 0, true);
        }
        self.cluster.ended.truncate(told);
    }

    /// The usable keys of a cluster, if anything of them has changed since this was asked last.
    pub fn take_cluster_change(&mut self) -> Option<BTreeMap<KeyNo, ClusterKey>> {
        self.pool.take_cluster_changed().then(|| {
            let keys = self
                .pool
                .keys()
                .filter(|pooled| pooled.key.cluster.is_some() && pooled.status.keeps_seats());
            keys.map(|pooled| {
                let (series, seats) = (pooled.key.series, pooled.key.seats);
                let of_key = ClusterKey { series, seats, held: pooled.spoken_for() };
                (pooled.key.key_no, of_key)
            })
            .collect()
        })
    }

    /// Sessions of keys of a cluster that have ended since this was asked last, but for those that
    /// another node took over.
    pub fn take_ended_here(&mut self) -> Vec<EndedHere> {
        std::mem::take(&mut self.cluster.ended)
    }

    pub(super) fn note_end_here(
        &mut self,
        id: SessionId,
        key_no: KeyNo,
        reason: EndReason,
        now: Now,
    ) {
        let is_goodbye = match reason {
            EndReason::ProcessExit | EndReason::Released | EndReason::Revoked => true,
            EndReason::Expired
            | EndReason::Isolated
            | EndReason::KeyGone
            | EndReason::Moved
            | EndReason::Unknown => false,
        };
        if is_goodbye && self.pool.keys().any(|key| key.key.cluster.is_some()) {
            // It may have had a seat here at once, of whichever key, while its own was on the way.
            self.cluster.farewells.note(id, now.mono);
        }
        let of_cluster = self.pool.key(key_no).is_some_and(|key| key.key.cluster.is_some());
        if of_cluster && reason != EndReason::Moved {
            self.cluster.note_end(id, is_goodbye || reason == EndReason::KeyGone);
        }
    }

    /// The session and the key of the lease that is shown, when another node may hold the seat: one of
    /// a key of a cluster that is here, granted elsewhere or moved there.
    pub(super) fn is_elsewhere(
        &self,
        asked: &Asked,
        series: KeySeries,
    ) -> Option<(SessionId, KeyNo)> {
        let lease = asked.lease.as_ref().filter(|lease| lease.key_id == series)?;
        let id = lease.session()?;
        let is_away = match asked.seat {
            LeasedSeat::Elsewhere(_) | LeasedSeat::Asked(_) => true,
            // What this node let go of may be asked for again.
            LeasedSeat::Own => self.ended.get(&id) == Some(&EndReason::Moved),
            LeasedSeat::Here | LeasedSeat::Gone => false,
        };
        let is_of_cluster =
            || self.pool.key(lease.key_no).is_some_and(|key| key.key.cluster.is_some());
        (is_away && is_of_cluster()).then_some((id, lease.key_no))
    }

    /// The fitting key of which a seat is kept for the session that asks.
    pub(super) fn expected_key(&self, asked: &Asked, fitting: &[KeyNo]) -> Option<KeyNo> {
        let id = asked.lease.as_ref().and_then(LeaseClaims::session)?;
        let (key_no, _) = self.cluster.expected.get(&id)?;
        // A licence with fewer seats may have come meanwhile.
        let has_room = self.pool.key(*key_no).is_some_and(|key| key.held < key.key.seats);
        (has_room && fitting.contains(key_no)).then_some(*key_no)
    }

    /// Seats that are kept for sessions which are about to move here: the session, the key, and when the
    /// seat becomes free unless the session has come. In the order of those moments.
    pub fn kept_seats(&self) -> impl Iterator<Item = (SessionId, KeyNo, MonoTime)> {
        let key_no = |id: &SessionId| self.cluster.expected.get(id).map(|(key_no, _)| *key_no);
        self.cluster.ends.iter().filter_map(move |(until, id)| Some((*id, key_no(id)?, *until)))
    }

    /// How many there are.
    pub fn kept_len(&self) -> usize {
        self.cluster.expected.len()
    }

    /// The seat that is kept for a session, as [`Self::kept_seats`] tells it.
    pub fn kept_seat(&self, id: SessionId) -> Option<(SessionId, KeyNo, MonoTime)> {
        self.cluster.expected.get(&id).map(|(key_no, until)| (id, *key_no, *until))
    }

    pub(super) fn expect(&mut self, id: SessionId, key_no: KeyNo, now: Now) {
        let is_here = self.sessions.get(&id).is_some_and(|session| session.key_no.is_some());
        self.expect_no_more(id);
        let has_room = self
            .pool
            .key(key_no)
            .is_some_and(|key| key.key.cluster.is_some() && key.spoken_for() < key.key.seats);
        if is_here || !has_room || self.cluster.expected.len() >= EXPECTED_MAX {
            return;
        }
        if self.cluster.farewells.has(&id, now.mono) {
            self.cluster.note_end(id, true);
            return;
        }
        let until = self.session_ends(now.mono);
        self.pool.expect(key_no);
        self.cluster.expected.insert(id, (key_no, until));
        self.cluster.ends.insert((until, id));
    }

    pub(super) fn keep(&mut self, id: SessionId, now: Now) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.touched = session.touched.max(now.mono);
        }
        if let Some(&(key_no, until)) = self.cluster.expected.get(&id) {
            let later = self.session_ends(now.mono);
            self.cluster.ends.remove(&(until, id));
            self.cluster.expected.insert(id, (key_no, later));
            self.cluster.ends.insert((later, id));
        }
    }

    /// The session has come, or is not waited for any longer. Whether it was waited for.
    pub(super) fn expect_no_more(&mut self, id: SessionId) -> bool {
        let Some((key_no, until)) = self.cluster.expected.remove(&id) else { return false };
        self.cluster.ends.remove(&(until, id));
        self.pool.expect_no_more(key_no);
        true
    }

    /// A session needs no other seat than it may have here: neither one that is kept for it nor one that is
    /// still on its way.
    pub(super) fn say_goodbye(&mut self, id: SessionId, now: Now) {
        // One that has a seat here may go on elsewhere and come back.
        if self.sessions.get(&id).is_none_or(|session| session.key_no.is_none()) {
            self.cluster.farewells.note(id, now.mono);
        }
        if self.expect_no_more(id) {
            self.cluster.note_end(id, true);
        }
    }

    /// No seat of a key is kept any longer.
    pub(super) fn expect_none_of(&mut self, key_no: KeyNo) {
        self.expect_at_most(key_no, 0);
    }

    /// Keeps no more seats of a key than this; those that were kept last go first.
    fn expect_at_most(&mut self, key_no: KeyNo, seats: u32) {
        if self.pool.key(key_no).is_none_or(|key| key.expected <= seats) {
            return;
        }
        let of_key = |id: &SessionId| {
            self.cluster.expected.get(id).is_some_and(|(expected, _)| *expected == key_no)
        };
        let in_order = self.cluster.ends.iter().map(|(_, id)| *id).filter(of_key);
        let above: Vec<SessionId> = in_order.skip(seats as usize).collect();
        for id in above {
            self.expect_no_more(id);
            self.cluster.note_end(id, false);
        }
    }

    #[cfg(debug_assertions)]
    pub(super) fn assert_limits(&self) {
        for pooled in self.pool.keys() {
            let of_key = |(expected, _): &&(KeyNo, MonoTime)| *expected == pooled.key.key_no;
            let expected = self.cluster.expected.values().filter(of_key).count();
            assert_eq!(expected, pooled.expected as usize, "the pool counts other expected ones");
            let is_within = pooled.limit.is_none_or(|limit| pooled.spoken_for() <= limit);
            assert!(is_within, "more seats held or kept than the limit allows");
        }
        assert_eq!(self.cluster.ends.len(), self.cluster.expected.len(), "kept for ever");
    }
}
