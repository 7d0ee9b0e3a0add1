//! Claims as a node has seen them in etcd, by session and by age. What follows from them is decided
//! elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use super::super::record::Claim;
use super::super::view::Seen;
use crate::session::SessionId;
use crate::time::MonoTime;

/// Claims as etcd has them, by session and by age.
#[derive(Debug, Default)]
pub(in super::super) struct ClaimsSeen {
    by_session: BTreeMap<SessionId, Seen<Claim>>,
    by_age: BTreeSet<(MonoTime, SessionId)>,
}

impl ClaimsSeen {
    pub(in super::super) fn len(&self) -> usize {
        self.by_session.len()
    }

    pub(in super::super) fn get(&self, session: &SessionId) -> Option<&Seen<Claim>> {
        self.by_session.get(session)
    }

    pub(in super::super) fn iter(&self) -> impl Iterator<Item = (&SessionId, &Seen<Claim>)> {
        self.by_session.iter()
    }

    pub(in super::super) fn insert(&mut self, session: SessionId, claim: Seen<Claim>) {
        self.remove(&session);
        self.by_age.insert((claim.since, session));
        self.by_session.insert(session, claim);
    }

    pub(in super::super) fn remove(&mut self, session: &SessionId) {
        if let Some(old) = self.by_session.remove(session) {
            self.by_age.remove(&(old.since, *session));
        }
    }

    pub(super) fn oldest(&self) -> impl Iterator<Item = (MonoTime, SessionId, &Seen<Claim>)> {
        self.by_age
            .iter()
            .filter_map(|(at, session)| Some((*at, *session, self.by_session.get(session)?)))
    }
}
