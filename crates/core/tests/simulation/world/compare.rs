//! The service and the model side by side.

use std::collections::BTreeSet;

use licence_core::service::Event;
use licence_core::session::SessionId;

use super::{SERIES, World};

impl World {
    /// After keys or the calendar changed, who loses a seat is the service's choice; the model
    /// takes it over, but only as far as the rules force it: nobody may lose a seat while there
    /// is room.
    pub(super) fn adopt_losses(&mut self) {
        let before = self.model.sessions.len();
        let kept: BTreeSet<SessionId> = self.service.sessions().map(|(id, _)| *id).collect();
        self.model.sessions.retain(|id, _| kept.contains(id));
        if self.model.sessions.len() < before && !self.model.usable().is_empty() {
            self.adopt_keys();
            let free = self.model.free(self.mono());
            assert_eq!(free, 0, "a seat was lost needlessly, {}", self.context());
        }
        self.adopt_keys();
    }

    /// Where it matters which key's seat a session holds: time may have moved it to another.
    pub(super) fn adopt_what_time_moved(&mut self) {
        if self.model.is_held_up(self.mono()) {
            self.feed(Event::Tick);
            self.adopt_losses();
        }
    }

    /// Which key's seat a session holds is the service's choice as well.
    fn adopt_keys(&mut self) {
        for (id, session) in self.service.sessions() {
            if let Some(known) = self.model.sessions.get_mut(id) {
                known.key_no = session.key_no.map(|key_no| key_no.0);
            }
        }
    }

    pub(super) fn check(&mut self) {
        let context = self.context();
        let is: BTreeSet<SessionId> = self.service.sessions().map(|(id, _)| *id).collect();
        let mono = self.mono();
        self.model.expire(mono);
        let should: BTreeSet<SessionId> = self.model.sessions.keys().copied().collect();
        assert_eq!(is, should, "{context}");
        let connections: BTreeSet<_> = self.service.connections().map(|(id, _)| *id).collect();
        let expected: BTreeSet<_> = self.model.connections.keys().copied().collect();
        assert_eq!(connections, expected, "{context}");
        let totals = self.service.totals(SERIES);
        assert_eq!(totals.held, self.model.holders().len() as u64, "{context}");
        let is_doubted = self.service.clock_doubt(self.now).is_some();
        assert_eq!(is_doubted, self.model.ahead.is_some(), "{context}");
        if is_doubted {
            self.count("clock doubted");
        }
        if self.model.utc_high != i64::MIN {
            let utc = self.service.utc(self.now).unix_millis();
            assert_eq!(utc, self.model.utc_high, "{context}");
        }
        self.adopt_keys();
        for key in self.service.keys() {
            let number = key.key.key_no.0;
            let limit = self.model.node.limits.get(&number).copied();
            assert_eq!(key.limit, limit, "limit of {number}, {context}");
            let spoken_for = self.model.held_of(number) + self.model.expected_of(number);
            assert_eq!(u64::from(key.spoken_for()), spoken_for, "held of {number}, {context}");
            let is_within = limit.is_none_or(|limit| spoken_for <= u64::from(limit));
            assert!(is_within, "more held of {number} than its limit, {context}");
        }
        assert_eq!(totals.free, self.model.free(self.mono()), "{context}");
        assert_eq!(totals.seats, self.model.granted(), "{context}");
        assert!(totals.held <= totals.seats, "more seats held than granted, {context}");
        assert_eq!(self.journal, self.service.snapshot(), "replay differs, {context}");
    }
}
