//! Until when a session key is valid: strictly, and never longer than the service allows.
//!
//! All moments are UTC. Whether a key is used is decided by whoever asks with which deadline.

use std::time::Duration;

use licence_core::time::Utc;

use crate::jwt;
use crate::kind::TokenKind;
use crate::record::TokenFormat;

/// How much longer than now a key must live when the caller names no deadline: the default of
/// `ТекущийКлючСессии`.
pub const DEADLINE_AHEAD: Duration = Duration::from_secs(60);

/// СУЗ keeps a token for ten hours from its issue and tells nobody; 1C counts on nine.
pub const SUZ_LIFE: Duration = Duration::from_secs(9 * 3600);

/// No token of ИС МП or СУЗ lives longer.
pub const LIFE_MAX: Duration = Duration::from_secs(10 * 3600);

/// Life of a JWT that does not say when it ends: the default `ВремяЖизни`.
pub const UNKNOWN_LIFE: Duration = Duration::from_secs(900);

/// An end further ahead than this, or one in the past, means that one of the clocks is wrong.
pub const SKEW: Duration = Duration::from_secs(24 * 3600);

/// The deadline when the caller names none.
pub fn default_deadline(now: Utc) -> Utc {
    now.after(DEADLINE_AHEAD)
}

/// `ДействуетДо` > `СрокДействия`, strictly.
pub fn is_valid(valid_until: Utc, deadline: Utc) -> bool {
    valid_until > deadline
}

/// What the service said of the end of a key that it gave.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Said {
    /// `expireDate` of a united token.
    pub expire_date: Option<Utc>,
    /// `expires_in` of a key for cash desks.
    pub expires_in: Option<Duration>,
}

/// The end of a key, and what is odd about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct End {
    /// `ДействуетДо`.
    pub valid_until: Utc,
    /// The end that the service named lies in the past, or more than [`SKEW`] ahead: by how many
    /// seconds it differs from now. The clock of one of the two is wrong.
    pub skew_secs: Option<i64>,
}

/// The end of a key that was just given. `asked` is the moment before the request: a life without
/// an end of its own counts from there. `retail_end` is the day on which all keys for cash desks end.
pub fn end_of(
    kind: TokenKind,
    format: TokenFormat,
    token: &str,
    said: Said,
    asked: Utc,
    retail_end: Option<Utc>,
) -> End {
    let named = match kind {
        TokenKind::Suz => None,
        TokenKind::Ismp => match format {
            TokenFormat::Uuid => said.expire_date,
            TokenFormat::Jwt => jwt::claims(token).and_then(|claims| claims.expires),
        },
        TokenKind::IsmpRetail => said.expires_in.map(|life| asked.after(life)),
    };
    let skew_secs = named.and_then(|end| skew(end, asked));
    let valid_until = match kind {
        TokenKind::Suz => asked.after(SUZ_LIFE),
        TokenKind::Ismp => {
            let life = if format == TokenFormat::Uuid { LIFE_MAX } else { UNKNOWN_LIFE };
            named.unwrap_or_else(|| asked.after(life)).min(asked.after(LIFE_MAX))
        }
        TokenKind::IsmpRetail => {
            let end = named.unwrap_or_else(|| asked.after(UNKNOWN_LIFE));
            retail_end.map_or(end, |last| end.min(last))
        }
    };
    End { valid_until, skew_secs }
}

/// The end of a key that somebody typed in without one: only a JWT says it.
pub fn end_of_typed(kind: TokenKind, token: &str, retail_end: Option<Utc>) -> Option<Utc> {
    let said = jwt::claims(token).and_then(|claims| claims.expires);
    match kind {
        TokenKind::IsmpRetail => said.or(retail_end),
        TokenKind::Ismp | TokenKind::Suz => said,
    }
}

fn skew(end: Utc, now: Utc) -> Option<i64> {
    let ahead = end.unix_seconds().saturating_sub(now.unix_seconds());
    let most = i64::try_from(SKEW.as_secs()).unwrap_or(i64::MAX);
    (ahead <= 0 || ahead > most).then_some(ahead)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    const NOW: &str = "2026-11-22T12:00:00Z";

    fn at(text: &str) -> Utc {
        text.parse().unwrap()
    }

    fn jwt_until(end: Utc) -> String {
        format!("h.{}.s", URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{}}}"#, end.unix_seconds())))
    }

    #[test]
    fn key_with_exactly_sixty_seconds_left_is_stale_by_the_default_deadline() {
        let now = at(NOW);
        for (left, valid) in [(59, false), (60, false), (61, true)] {
            let end = now.after(Duration::from_secs(left));
            assert_eq!(is_valid(end, default_deadline(now)), valid, "{left} s left");
        }
    }

    #[test]
    fn each_kind_ends_as_the_service_says_or_as_it_is_known_to() {
        let now = at(NOW);
        let none = Said::default();
        let expire = |text| Said { expire_date: Some(at(text)), ..none };
        let seconds = |secs| Said { expires_in: Some(Duration::from_secs(secs)), ..none };
        let jwt = |text| jwt_until(at(text));
        let last = Some(at("2026-11-22T15:00:00Z"));
        for (name, kind, format, token, said, retail_end, wanted) in [
            (
                "jwt",
                TokenKind::Ismp,
                TokenFormat::Jwt,
                jwt("2026-11-22T20:00:00Z"),
                none,
                None,
                "2026-11-22T20:00:00.000Z",
            ),
            (
                "jwt, capped",
                TokenKind::Ismp,
                TokenFormat::Jwt,
                jwt("2026-11-22T22:00:01Z"),
                none,
                None,
                "2026-11-22T22:00:00.000Z",
            ),
            (
                "jwt, silent",
                TokenKind::Ismp,
                TokenFormat::Jwt,
                "x".into(),
                none,
                None,
                "2026-11-22T12:15:00.000Z",
            ),
            (
                "uuid",
                TokenKind::Ismp,
                TokenFormat::Uuid,
                "x".into(),
                expire("2026-11-22T21:00:00Z"),
                None,
                "2026-11-22T21:00:00.000Z",
            ),
            (
                "uuid, capped",
                TokenKind::Ismp,
                TokenFormat::Uuid,
                "x".into(),
                expire("2026-11-23T01:00:00Z"),
                None,
                "2026-11-22T22:00:00.000Z",
            ),
            (
                "uuid, silent",
                TokenKind::Ismp,
                TokenFormat::Uuid,
                "x".into(),
                none,
                None,
                "2026-11-22T22:00:00.000Z",
            ),
            (
                "suz",
                TokenKind::Suz,
                TokenFormat::Uuid,
                "x".into(),
                expire("2026-11-30T00:00:00Z"),
                last,
                "2026-11-22T21:00:00.000Z",
            ),
            (
                "retail",
                TokenKind::IsmpRetail,
                TokenFormat::Jwt,
                "x".into(),
                seconds(7200),
                None,
                "2026-11-22T14:00:00.000Z",
            ),
            (
                "retail, last day",
                TokenKind::IsmpRetail,
                TokenFormat::Jwt,
                "x".into(),
                seconds(36000),
                last,
                "2026-11-22T15:00:00.000Z",
            ),
        ] {
            let end = end_of(kind, format, &token, said, now, retail_end);
            assert_eq!(end.valid_until.to_string(), wanted, "{name}");
            assert_eq!(end.skew_secs, None, "{name}");
        }
    }

    #[test]
    fn end_in_the_past_or_more_than_a_day_ahead_tells_of_a_wrong_clock() {
        let now = at(NOW);
        for (end, wanted) in [
            ("2026-11-22T12:00:00Z", Some(0)),
            ("2026-11-22T11:59:00Z", Some(-60)),
            ("2026-11-22T12:00:01Z", None),
            ("2026-11-23T12:00:00Z", None),
            ("2026-11-23T12:00:01Z", Some(86_401)),
        ] {
            let token = jwt_until(at(end));
            let found =
                end_of(TokenKind::Ismp, TokenFormat::Jwt, &token, Said::default(), now, None);
            assert_eq!(found.skew_secs, wanted, "{end}");
        }
    }

    #[test]
    fn typed_key_without_an_end_is_taken_only_when_it_says_its_own() {
        let last = at("2026-12-31T00:00:00Z");
        let token = jwt_until(at("2026-11-22T20:00:00Z"));
        assert_eq!(end_of_typed(TokenKind::Ismp, &token, None), Some(at("2026-11-22T20:00:00Z")));
        assert_eq!(end_of_typed(TokenKind::Suz, "uuid", Some(last)), None);
        assert_eq!(end_of_typed(TokenKind::IsmpRetail, "uuid", Some(last)), Some(last));
        assert_eq!(end_of_typed(TokenKind::IsmpRetail, "uuid", None), None);
    }
}
