//! The service and the model side by side.

use std::collections::BTreeSet;

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
            let holders = self.model.holders().len() as u64;
            assert_eq!(
                holders,
                self.model.granted(),
                "a seat was lost needlessly, {}",
                self.context()
            );
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
        assert_eq!(totals.seats, self.model.granted(), "{context}");
        assert!(totals.held <= totals.seats, "more seats held than granted, {context}");
        assert_eq!(self.journal, self.service.snapshot(), "replay differs, {context}");
    }
}
