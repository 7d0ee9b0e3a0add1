//! What a cluster does to its node.

use licence_core::key::KeyNo;
use licence_core::service::{Event, LeasedSeat, Reply, RequestId};
use licence_core::session::SessionId;
use licence_core::time::MonoTime;

use super::World;

impl World {
    pub(super) fn cluster(&mut self) {
        match self.draw.below(20) {
            0..7 => self.limit(),
            7..11 => self.right_to_grant(),
            11..15 => self.take_away(),
            15..18 => self.expect(),
            _ => self.isolate(),
        }
    }

    /// A key of the cluster most of the time.
    pub(super) fn cluster_key(&mut self) -> u32 {
        let of_cluster = self.model.keys.values().filter(|key| key.cluster.is_some());
        let keys: Vec<u32> = of_cluster.map(|key| key.key_no.0).collect();
        let any = 1 + self.draw.below(4) as u32;
        if self.draw.chance(20) { any } else { self.pick(keys.into_iter()).unwrap_or(any) }
    }

    fn limit(&mut self) {
        let number = self.cluster_key();
        let seats = self.draw.below(6) as u32;
        let force = self.draw.chance(25);
        let limits = vec![(KeyNo(number), seats, force)];
        let reply = self.feed(Event::SeatLimits { limits, request: RequestId(7) });
        let must_end = self.model.set_limit(number, seats, force);
        let limit = self.model.node.told[&number];
        if must_end {
            self.adopt_losses();
            self.model.expect_at_most(number, limit as usize);
        }
        let is_here = self.model.keys.get(&number).is_some_and(|key| key.cluster.is_some());
        let spoken_for = self.model.held_of(number) + self.model.expected_of(number);
        let spoken_for = if is_here { spoken_for as u32 } else { 0 };
        let told = vec![(KeyNo(number), limit, spoken_for)];
        assert_eq!(reply, Some(Reply::SeatLimits(told)), "{}", self.context());
        self.count(if force { "limit by force" } else { "limit" });
    }

    fn right_to_grant(&mut self) {
        let mono = self.mono();
        // Now and then a moment that is past already.
        let moment = MonoTime::from_millis(
            (mono + self.draw.below(1_000_000)).saturating_sub(self.draw.below(100_000)),
        );
        if self.draw.chance(35) {
            let until = self.draw.chance(60).then_some(moment);
            self.hold_until(until);
            if self.draw.chance(50) {
                // Cut off for too long, with those who come meanwhile, and back in time.
                self.hold_until(Some(self.now.mono));
                for _ in 0..3 {
                    self.heartbeat();
                    self.touch();
                    self.open();
                }
                self.hold_until(None);
            }
        } else {
            let until = self.draw.chance(90).then_some(moment);
            self.feed(Event::GrantUntil(until));
            self.model.node.grant_until = until.map(MonoTime::as_millis);
        }
        self.count("right to grant");
    }

    fn hold_until(&mut self, until: Option<MonoTime>) {
        self.feed(Event::HoldUntil(until));
        self.model.node.hold_until = until.map(MonoTime::as_millis);
    }

    fn take_away(&mut self) {
        let expected = self.model.node.expected.keys().next().copied();
        let session = if self.draw.chance(20) { expected } else { self.any_session() };
        let Some(session) = session else { return };
        let info = self.model.sessions.get(&session).map(|session| session.info.clone());
        let reply = self.feed(Event::TakeAway { session, request: RequestId(8) });
        let was_held = self.model.take_away(session);
        assert_eq!(
            reply,
            Some(Reply::TakenAway { was_held, quotas: Vec::new() }),
            "{}",
            self.context()
        );
        if let Some(info) = info.filter(|_| self.model.node.moved.contains(&session)) {
            self.past.push(session);
            self.away.push((session, info));
        }
        self.count("taken away");
    }

    fn expect(&mut self) {
        let number = self.cluster_key();
        let session = match self.away.last() {
            Some((id, _)) if self.draw.chance(70) => *id,
            _ => {
                let (id, info) = (SessionId::from_bytes(self.draw.id()), self.session_info());
                self.away.push((id, info));
                id
            }
        };
        self.feed(Event::Expect { session, key_no: KeyNo(number) });
        let mono = self.mono();
        self.model.expect(session, number, mono);
        self.count("expected");
    }

    fn isolate(&mut self) {
        self.feed(Event::EndCluster);
        let before = self.model.sessions.len();
        self.model.end_cluster();
        if self.model.sessions.len() < before {
            self.count("isolated");
        }
    }

    /// What is known of the seat of a lease.
    pub(super) fn leased_seat(&mut self) -> LeasedSeat {
        match self.draw.below(10) {
            0 => LeasedSeat::Own,
            1 => LeasedSeat::Here,
            2 => LeasedSeat::Gone,
            3 => LeasedSeat::Asked(None),
            _ => LeasedSeat::Elsewhere("node".to_owned()),
        }
    }
}
