//! When it is told that a session key of ИС МП ends.
//!
//! Once for each end of a key: whoever refreshes it gives it another one.

use licence_core::time::Utc;
use serde_json::json;

use super::{Facts, Kind, Limits, Notice, Watcher};

impl Watcher {
    pub(super) fn look_at_session_keys(
        &mut self,
        facts: &Facts,
        limits: Limits,
        utc: Utc,
        notices: &mut Vec<Notice>,
    ) {
        self.session_keys.retain(|known, told| {
            facts.session_keys.iter().any(|(name, end)| name == known && end == told)
        });
        for (name, end) in &facts.session_keys {
            let left = end.unix_seconds().saturating_sub(utc.unix_seconds());
            let is_near = left > 0 && left <= i64::from(limits.session_key_minutes) * 60;
            if !is_near || self.session_keys.insert(name.clone(), *end).is_some() {
                continue;
            }
            let minutes = left.saturating_add(59) / 60;
            notices.push(Notice {
                kind: Kind::SessionKey,
                series: None,
                key_no: None,
                russian: format!(
                    "Ключ сессии ИС МП {name} истекает, осталось минут: {minutes}; его никто не обновляет."
                ),
                english: format!(
                    "The session key {name} of ИС МП ends in {minutes} min, and nobody refreshes it."
                ),
                details: json!({"SessionKey": name, "ValidUntil": end}),
            });
        }
    }
}
