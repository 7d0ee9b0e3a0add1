//! A node of a cluster, written down a second time: limits of keys, the right to grant, sessions that
//! are expected or went away.

use std::collections::{BTreeMap, BTreeSet};

use licence_core::key::ProtectionKey;
use licence_core::service::LeasedSeat;
use licence_core::session::SessionId;

use crate::model::{Asking, Model, Outcome, SESSION_MILLIS, holder};

/// How long a seat that comes for a session which was let go is not kept.
const GOODBYE_MILLIS: u64 = 300_000;

/// What the cluster has told.
#[derive(Debug, Default)]
pub(crate) struct ModelNode {
    /// What was told last, also of keys that are not here.
    pub(crate) told: BTreeMap<u32, u32>,
    /// Limits in force.
    pub(crate) limits: BTreeMap<u32, u32>,
    pub(crate) grant_until: Option<u64>,
    pub(crate) hold_until: Option<u64>,
    /// For whom a seat of which key is kept until when.
    pub(crate) expected: BTreeMap<SessionId, (u32, u64)>,
    /// Sessions that went away and have not been here since.
    pub(crate) moved: BTreeSet<SessionId>,
    /// Sessions that were let go, until when that is remembered.
    goodbyes: BTreeMap<SessionId, u64>,
}

impl Model {
    /// Different holders of seats of a key.
    pub(crate) fn held_of(&self, key_no: u32) -> u64 {
        let of_key = self.sessions.iter().filter(|(_, session)| session.key_no == Some(key_no));
        let names: BTreeSet<String> =
            of_key.map(|(id, session)| holder(*id, &session.info)).collect();
        names.len() as u64
    }

    pub(crate) fn expected_of(&self, key_no: u32) -> u64 {
        self.node.expected.values().filter(|(of, _)| *of == key_no).count() as u64
    }

    /// Free seats of all usable keys.
    pub(crate) fn free(&self, mono: u64) -> u64 {
        self.usable().into_iter().map(|key| self.free_of(key, mono)).sum()
    }

    /// Whether sessions of the cluster are not renewed.
    pub(crate) fn is_held_up(&self, mono: u64) -> bool {
        self.node.hold_until.is_some_and(|until| until <= mono)
    }

    fn may_grant(&self, mono: u64) -> bool {
        self.node.grant_until.is_some_and(|until| mono < until) && !self.is_held_up(mono)
    }

    /// Whether who holds a seat of this key is not renewed.
    pub(crate) fn is_paused(&self, key_no: Option<u32>, mono: u64) -> bool {
        let key = key_no.and_then(|number| self.keys.get(&number));
        self.is_held_up(mono) && key.is_some_and(|key| key.cluster.is_some())
    }

    /// Whether a session asks for a seat that is not renewed: its own, its computer's, one kept for it.
    pub(crate) fn asks_for_paused(&self, asking: &Asking<'_>, mono: u64) -> bool {
        let name = holder(asking.id, asking.info);
        let own = asking.known.and_then(|id| self.sessions.get(&id));
        let kept = asking.lease.and_then(|(id, _)| Some(self.node.expected.get(&id)?.0));
        let of_computer: Vec<bool> = self
            .sessions
            .iter()
            .filter(|(id, session)| {
                !asking.info.is_server
                    && session.key_no.is_some()
                    && holder(**id, &session.info) == name
            })
            .map(|(_, session)| self.is_paused(session.key_no, mono))
            .collect();
        !asking.presence_only
            && (own.is_some_and(|held| self.is_paused(held.key_no, mono))
                || (!of_computer.is_empty() && of_computer.iter().all(|is_paused| *is_paused))
                || (self.brings_seat(asking) && self.is_paused(kept, mono)))
    }

    fn free_of(&self, key: &ProtectionKey, mono: u64) -> u64 {
        let number = key.key_no.0;
        let may_grant = self.may_grant(mono);
        let seats = match (key.cluster, may_grant) {
            (None, _) => key.seats,
            (Some(_), false) => 0,
            (Some(_), true) => key.seats.min(self.node.limits.get(&number).copied().unwrap_or(0)),
        };
        u64::from(seats).saturating_sub(self.held_of(number) + self.expected_of(number))
    }

    /// The keys, those of a cluster as if they had only the seats that this node has.
    pub(crate) fn keys_as_alone(&self, mono: u64) -> BTreeMap<u32, ProtectionKey> {
        let mut keys = self.keys.clone();
        for key in keys.values_mut().filter(|key| key.cluster.is_some()) {
            let here = self.held_of(key.key_no.0) + self.free_of(key, mono);
            key.seats = u32::try_from(here).unwrap_or(u32::MAX);
            key.cluster = None;
        }
        keys
    }

    /// Whether a seat is kept for the session that asks.
    pub(crate) fn brings_seat(&self, asking: &Asking<'_>) -> bool {
        let Some((of, _)) = asking.lease.and_then(|(id, _)| self.node.expected.get(&id)) else {
            return false;
        };
        let usable = self.usable();
        let key = usable.iter().find(|key| key.key_no.0 == *of);
        key.is_some_and(|key| self.held_of(*of) < u64::from(key.seats))
    }

    /// What is said to a session that finds no seat.
    pub(crate) fn without_seat(
        &self,
        asking: &Asking<'_>,
        mono: u64,
        otherwise: Outcome,
    ) -> Outcome {
        let may_grant = self.may_grant(mono);
        let usable = self.usable();
        let of_cluster = || usable.iter().filter(|key| key.cluster.is_some());
        let limit = |key: &ProtectionKey| self.node.limits.get(&key.key_no.0).copied();
        if asking.may_wait
            && of_cluster().any(|key| !may_grant || limit(key).unwrap_or(0) < key.seats)
        {
            return Outcome::Wants;
        }
        if otherwise == Outcome::Full && of_cluster().any(|key| !may_grant || limit(key).is_none())
        {
            return Outcome::Unavailable;
        }
        let shows_usable =
            asking.lease.is_some_and(|(_, number)| usable.iter().any(|key| key.key_no.0 == number));
        if asking.is_elsewhere && shows_usable { Outcome::Settling } else { otherwise }
    }

    /// Whether another node may hold the seat of a lease.
    pub(crate) fn is_elsewhere(&self, lease: Option<(SessionId, u32)>, seat: &LeasedSeat) -> bool {
        lease.is_some_and(|(id, number)| {
            let may_be = match seat {
                LeasedSeat::Elsewhere(_) | LeasedSeat::Asked(_) => true,
                LeasedSeat::Own => self.node.moved.contains(&id),
                LeasedSeat::Here | LeasedSeat::Gone => false,
            };
            may_be && self.keys.get(&number).is_some_and(|key| key.cluster.is_some())
        })
    }

    /// A limit is told; true when sessions may have to go for it.
    pub(crate) fn set_limit(&mut self, number: u32, seats: u32, force: bool) -> bool {
        let spoken_for = self.held_of(number) + self.expected_of(number);
        let spoken_for = u32::try_from(spoken_for).unwrap_or(u32::MAX);
        let is_here = self.keys.get(&number).is_some_and(|key| key.cluster.is_some());
        let limit = if force || !is_here { seats } else { seats.max(spoken_for) };
        self.node.told.insert(number, limit);
        if is_here {
            self.node.limits.insert(number, limit);
        }
        is_here && spoken_for > limit
    }

    /// Keeps at most so many seats of a key; those that were kept first stay.
    pub(crate) fn expect_at_most(&mut self, number: u32, seats: usize) {
        let mut of_key: Vec<(u64, SessionId)> = self
            .node
            .expected
            .iter()
            .filter(|(_, (of, _))| *of == number)
            .map(|(id, (_, until))| (*until, *id))
            .collect();
        of_key.sort_unstable();
        for (_, id) in of_key.into_iter().skip(seats) {
            self.node.expected.remove(&id);
        }
    }

    pub(crate) fn expect(&mut self, id: SessionId, number: u32, mono: u64) {
        self.node.expected.remove(&id);
        let spoken_for = self.held_of(number) + self.expected_of(number);
        let has_room = self
            .keys
            .get(&number)
            .is_some_and(|key| key.cluster.is_some() && spoken_for < u64::from(key.seats));
        let is_here = self.sessions.get(&id).is_some_and(|session| !session.presence_only);
        if is_here || !has_room || self.node.goodbyes.get(&id).is_some_and(|until| mono < *until) {
            return;
        }
        self.node.expected.insert(id, (number, mono + SESSION_MILLIS));
        if let Some(limit) = self.node.limits.get_mut(&number)
            && u64::from(*limit) <= spoken_for
        {
            *limit += 1;
            self.node.told.insert(number, *limit);
        }
    }

    /// Somebody lets go of a session that is here, with its seat; to be called when it is gone.
    pub(crate) fn let_go(&mut self, id: SessionId, key_no: Option<u32>, mono: u64) {
        if key_no.is_some() && self.keys.values().any(|key| key.cluster.is_some()) {
            self.node.goodbyes.insert(id, mono + GOODBYE_MILLIS);
        }
    }

    /// Nobody needs a seat on its way to this session, or one that is kept for it; true when one is.
    pub(crate) fn needs_no_other(&mut self, id: SessionId, mono: u64) -> bool {
        if self.sessions.get(&id).is_none_or(|session| session.key_no.is_none()) {
            self.node.goodbyes.insert(id, mono + GOODBYE_MILLIS);
        }
        self.node.expected.remove(&id).is_some()
    }

    /// A session is asked for again.
    pub(crate) fn is_wanted(&mut self, id: SessionId) {
        self.node.goodbyes.remove(&id);
    }

    /// A key came or changed; to be called when it is in `keys`.
    pub(crate) fn key_came(&mut self, number: u32) {
        let spoken_for = self.held_of(number) + self.expected_of(number);
        let told = self.node.told.get(&number).copied();
        let is_of_cluster = self.keys.get(&number).is_some_and(|key| key.cluster.is_some());
        match told.filter(|told| is_of_cluster && spoken_for <= u64::from(*told)) {
            Some(limit) => self.node.limits.insert(number, limit),
            None => self.node.limits.remove(&number),
        };
    }

    pub(crate) fn key_went(&mut self, number: u32) {
        self.expect_at_most(number, 0);
        self.node.limits.remove(&number);
    }

    /// True when the session held a seat of its own that went with it.
    pub(crate) fn take_away(&mut self, id: SessionId) -> bool {
        let is_of_cluster =
            |number: &u32| self.keys.get(number).is_some_and(|key| key.cluster.is_some());
        let expected = self.node.expected.get(&id).map(|(number, _)| *number);
        let held = self.sessions.get(&id).and_then(|session| session.key_no);
        let Some(number) = expected.or(held).filter(is_of_cluster) else { return false };
        let before = self.held_of(number) + self.expected_of(number);
        self.node.expected.remove(&id);
        if self.sessions.remove(&id).is_some() {
            self.node.moved.insert(id);
        }
        let after = self.held_of(number) + self.expected_of(number);
        if after == before {
            return false;
        }
        if let Some(limit) = self.node.limits.get_mut(&number) {
            *limit = limit.saturating_sub(1).max(u32::try_from(after).unwrap_or(0));
            self.node.told.insert(number, *limit);
        }
        true
    }

    /// All that hold seats of the cluster end.
    pub(crate) fn end_cluster(&mut self) {
        let keys: Vec<u32> = self
            .keys
            .values()
            .filter(|key| key.cluster.is_some())
            .map(|key| key.key_no.0)
            .collect();
        self.sessions.retain(|_, session| session.key_no.is_none_or(|no| !keys.contains(&no)));
        for number in keys {
            self.expect_at_most(number, 0);
            self.node.told.insert(number, 0);
            self.node.limits.insert(number, 0);
        }
        self.node.grant_until = None;
        self.node.hold_until = None;
    }

    pub(crate) fn expire_node(&mut self, mono: u64) {
        self.node.expected.retain(|_, (_, until)| *until > mono);
    }
}
