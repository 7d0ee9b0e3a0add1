//! Which refusals were recorded a moment ago: a component that asks again and again must not fill
//! the history with one and the same line.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::session::SessionKey;
use crate::time::MonoTime;

/// How long the same refusal of the same session is not recorded again.
const QUIET: Duration = Duration::from_secs(60);

/// Refusals remembered. More different sessions refused within a minute is a flood; then the oldest
/// may be recorded once more than needed.
const REMEMBERED_MAX: usize = 10_000;

/// A session and the class of its refusal.
type Denial = (SessionKey, &'static str);

/// What was recorded within the last minute.
#[derive(Debug, Default)]
pub(super) struct Denials {
    recent: BTreeSet<Arc<Denial>>,
    order: VecDeque<(MonoTime, Arc<Denial>)>,
}

impl Denials {
    /// Whether the refusal shall be recorded; if so, it is remembered as recorded.
    pub(super) fn is_first(
        &mut self,
        session: SessionKey,
        class: &'static str,
        now: MonoTime,
    ) -> bool {
        while let Some((at, denial)) = self.order.front() {
            let is_over = now.since(*at) >= QUIET;
            if !is_over && self.order.len() < REMEMBERED_MAX {
                break;
            }
            self.recent.remove(denial);
            self.order.pop_front();
        }
        let denial = Arc::new((session, class));
        if !self.recent.insert(Arc::clone(&denial)) {
            return false;
        }
        self.order.push_back((now, denial));
        debug_assert_eq!(self.recent.len(), self.order.len());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeySeries;
    use crate::protocol::SessionInfo;

    fn session(number: usize) -> SessionKey {
        let info = SessionInfo { session_number: number.to_string(), ..SessionInfo::default() };
        SessionKey::new(KeySeries::from_u16(1), &info)
    }

    #[test]
    fn same_refusal_is_recorded_once_a_minute() {
        let mut denials = Denials::default();
        let at = |secs: u64| MonoTime::from_millis(secs * 1000);
        assert!(denials.is_first(session(1), "A", at(0)));
        assert!(!denials.is_first(session(1), "A", at(30)));
        assert!(denials.is_first(session(1), "B", at(30)));
        assert!(denials.is_first(session(2), "A", at(30)));
        assert!(!denials.is_first(session(1), "A", at(59)));
        assert!(denials.is_first(session(1), "A", at(60)), "a repeat does not prolong the silence");
    }

    #[test]
    fn flood_of_refusals_is_remembered_within_its_bound() {
        let mut denials = Denials::default();
        let now = MonoTime::from_millis(0);
        for number in 0..REMEMBERED_MAX + 5 {
            assert!(denials.is_first(session(number), "A", now));
        }
        assert_eq!(denials.order.len(), REMEMBERED_MAX);
        assert!(denials.is_first(session(0), "A", now), "the oldest was forgotten");
    }
}
