//! Spans of time in requests: `From` and `To`, as moments or as days.

use licence_core::time::{DAY_MILLIS, Utc};

use crate::api::errors::ApiError;
use crate::api::params::Params;

/// Which end of a span a parameter is: a day as its end is meant with all its hours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    /// The first moment of the span.
    Begin,
    /// The first moment after the span.
    End,
}

/// A moment in ISO 8601 (`2026-01-31T12:00:00Z`), or a day in UTC (`2026-01-31`).
///
/// # Errors
///
/// 400 that names the parameter.
pub(crate) fn moment(params: &Params, name: &str, side: Side) -> Result<Option<Utc>, ApiError> {
    let Some(text) = params.text(name)? else { return Ok(None) };
    if let Ok(at) = text.parse() {
        return Ok(Some(at));
    }
    let is_day = text.len() == "2026-01-31".len();
    let day: Option<Utc> = is_day.then(|| format!("{text}T00:00:00Z").parse().ok()).flatten();
    match (day, side) {
        (Some(day), Side::Begin) => Ok(Some(day)),
        (Some(day), Side::End) => Ok(Some(day.plus_millis(DAY_MILLIS))),
        (None, _) => Err(ApiError::bad_request(
            format!("{name} must be a moment such as 2026-01-31T12:00:00Z, or a day, 2026-01-31."),
            format!(
                "Параметр {name} должен быть моментом времени, например 2026-01-31T12:00:00Z, или \
                 днём: 2026-01-31."
            ),
        )),
    }
}

/// Midnight in UTC before a moment: the day of the API.
pub(crate) fn day_begin(at: Utc) -> Utc {
    at.plus_millis(-at.unix_millis().rem_euclid(DAY_MILLIS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_is_read_as_moments_and_as_days() {
        for (text, side, expected) in [
            ("2026-01-31T12:00:00Z", Side::Begin, Some("2026-01-31T12:00:00.000Z")),
            ("2026-01-31T12:00:00Z", Side::End, Some("2026-01-31T12:00:00.000Z")),
            ("2026-01-31T03:00:00%2B03:00", Side::End, Some("2026-01-31T00:00:00.000Z")),
            ("2026-01-31", Side::Begin, Some("2026-01-31T00:00:00.000Z")),
            ("2026-01-31", Side::End, Some("2026-02-01T00:00:00.000Z")),
            ("2026-02-30", Side::Begin, None),
            ("yesterday", Side::Begin, None),
            ("2026-1-31x", Side::Begin, None),
        ] {
            let params = Params::read(Some(&format!("From={text}")), b"").unwrap();
            let read = moment(&params, "From", side);
            let shown = read.as_ref().ok().and_then(|at| at.map(|at| at.to_string()));
            assert_eq!(shown.as_deref(), expected, "{text}");
            if let Err(error) = read {
                assert_eq!(error.status, 400);
                assert!(error.english.contains("From") && error.russian.contains("From"));
            }
        }
        assert_eq!(moment(&Params::default(), "From", Side::Begin).ok(), Some(None));
    }
}
