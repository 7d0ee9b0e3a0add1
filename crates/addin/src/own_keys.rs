//! Session keys that a caller gave to its object alone: `УстановитьКлючСессии` with
//! `ЗаписатьВРегистр = Ложь`.
//!
//! Decides how long they count. Pure; the store of keys is the server's, and nothing is kept here
//! that came from it.

use std::time::Duration;

use licence_core::time::{MonoTime, Utc};
use licence_ismp::SessionKey;
use licence_ismp::validity::is_valid;

use crate::key_request::KeyRequest;

/// How long such a key hides what the server has. Short, because somebody else may have refreshed or
/// rejected it meanwhile.
pub(crate) const OWN_KEY_LIFE: Duration = Duration::from_secs(30);

/// Most such keys of an object: whoever has more organisations writes to the store. The oldest goes.
pub(crate) const OWN_KEYS_MAX: usize = 64;

struct OwnKey {
    request: KeyRequest,
    token: SessionKey,
    valid_until: Utc,
    forget_at: MonoTime,
}

/// The keys of one object.
#[derive(Default)]
pub(crate) struct OwnKeys(Vec<OwnKey>);

impl OwnKeys {
    /// The key that fits a request, lives beyond the deadline and has not been kept too long.
    pub(crate) fn get(
        &self,
        request: &KeyRequest,
        deadline: Utc,
        now: MonoTime,
    ) -> Option<&SessionKey> {
        let counts = |own: &&OwnKey| {
            own.request.is_meant_by(request)
                && now < own.forget_at
                && is_valid(own.valid_until, deadline)
        };
        let fitting = self.0.iter().filter(counts);
        fitting.max_by_key(|own| own.valid_until).map(|own| &own.token)
    }

    /// Keeps a key in place of the one of the same request.
    pub(crate) fn put(
        &mut self,
        request: KeyRequest,
        token: SessionKey,
        valid_until: Utc,
        now: MonoTime,
    ) {
        self.0.retain(|own| !own.request.is_meant_by(&request) && now < own.forget_at);
        if self.0.len() >= OWN_KEYS_MAX {
            self.0.remove(0);
        }
        let forget_at = now.after(OWN_KEY_LIFE);
        self.0.push(OwnKey { request, token, valid_until, forget_at });
    }

    /// Forgets what is kept for a request: the server's key counts.
    pub(crate) fn forget(&mut self, request: &KeyRequest) {
        self.0.retain(|own| !own.request.is_meant_by(request));
    }

    /// Forgets a key that the service has refused. True when it was kept.
    pub(crate) fn reject(&mut self, request: &KeyRequest, token: &SessionKey) -> bool {
        let before = self.0.len();
        self.0.retain(|own| !(own.request.is_meant_by(request) && own.token == *token));
        self.0.len() < before
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(organization: &str) -> KeyRequest {
        KeyRequest::of(json!({"TokenType": "ИСМП", "Организация": organization})).unwrap()
    }

    fn at(secs: u64) -> MonoTime {
        MonoTime::from_millis(secs * 1000)
    }

    fn token(text: &str) -> SessionKey {
        SessionKey::new(text).unwrap()
    }

    #[test]
    fn own_key_counts_for_half_a_minute_and_never_beyond_its_end() {
        let noon: Utc = "2026-11-22T12:00:00Z".parse().unwrap();
        let mut keys = OwnKeys::default();
        let (one, other) = (request("7707083893"), request("500100732259"));
        keys.put(one.clone(), token("A"), noon, at(100));
        for (asked, deadline, now, found) in [
            (&one, "2026-11-22T11:59:59Z", 129, true),
            (&one, "2026-11-22T11:59:59Z", 130, false),
            (&one, "2026-11-22T12:00:00Z", 100, false),
            (&other, "2026-11-22T11:00:00Z", 100, false),
        ] {
            let deadline = deadline.parse().unwrap();
            assert_eq!(keys.get(asked, deadline, at(now)).is_some(), found, "{deadline} {now}");
        }
        let any = KeyRequest::of(json!({"TokenType": "ISMP"})).unwrap();
        keys.put(other, token("B"), noon.plus_days(1), at(101));
        assert_eq!(keys.get(&any, noon, at(101)), Some(&token("B")), "no organisation means any");
        assert!(!keys.reject(&one, &token("B")));
        assert!(keys.reject(&one, &token("A")));
        keys.forget(&any);
        assert_eq!(keys.get(&any, noon, at(101)), None);
    }

    #[test]
    fn a_key_takes_the_place_of_the_one_before_and_the_oldest_goes_when_there_is_no_room() {
        let (end, early) = (Utc::MAX, Utc::from_unix_millis(0));
        let mut keys = OwnKeys::default();
        for _ in 0..2 {
            keys.put(request("1"), token("A"), end, at(1));
            assert_eq!(keys.0.len(), 1);
        }
        for number in 0..OWN_KEYS_MAX {
            keys.put(request(&format!("x{number}")), token("B"), end, at(1));
        }
        assert_eq!(keys.0.len(), OWN_KEYS_MAX);
        assert_eq!(keys.get(&request("1"), early, at(1)), None);
        assert!(keys.get(&request("x0"), early, at(1)).is_some());
    }
}
