//! The span of time that a page asks for: today, seven days, thirty days, or from one date to
//! another.
//!
//! Days are those of UTC, as in the API. Reads parameters; asks nobody.

use licence_core::time::{DAY_MILLIS, Utc};

use super::shown::iso_day;
use crate::api::errors::ApiError;
use crate::api::params::Params;

/// Longest span, in days: settings keep no more.
const DAYS_MAX: i64 = 3660;

/// A span of time, from one moment (inclusive) to another (exclusive).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Span {
    /// `today`, `week`, `month` or `own`: what the choice shows.
    pub(super) name: &'static str,
    pub(super) from: Utc,
    pub(super) to: Utc,
    /// What stands in the fields of the two dates.
    pub(super) from_text: String,
    pub(super) to_text: String,
    /// What is wrong with them, in Russian and in English.
    pub(super) error: Option<(&'static str, &'static str)>,
}

impl Span {
    /// Reads `span`, `from` and `to`. What is wrong is told on the page, which then shows the
    /// span named `otherwise`.
    pub(super) fn read(
        params: &Params,
        now: Utc,
        otherwise: &'static str,
    ) -> Result<Self, ApiError> {
        let (from, to) = (params.text("from")?, params.text("to")?);
        let asked = params.text("span")?.unwrap_or(otherwise);
        // The fields of the dates always carry something, so the choice alone says whether they
        // count.
        let name = ["today", "week", "month", "own"]
            .into_iter()
            .find(|known| *known == asked)
            .unwrap_or(otherwise);
        if name != "own" {
            return Ok(Self::named(name, now));
        }
        let (from_text, to_text) = (from.unwrap_or("").to_owned(), to.unwrap_or("").to_owned());
        match own(&from_text, &to_text, now) {
            Ok((from, to)) => Ok(Self { name, from, to, from_text, to_text, error: None }),
            Err(error) => {
                let shown = Self::named(otherwise, now);
                Ok(Self { name, from_text, to_text, error: Some(error), ..shown })
            }
        }
    }

    fn named(name: &'static str, now: Utc) -> Self {
        let tomorrow = midnight(now).plus_days(1);
        let days = match name {
            "today" => 1,
            "week" => 7,
            _ => 30,
        };
        let from = tomorrow.plus_millis(-days * DAY_MILLIS);
        Self {
            name,
            from,
            to: tomorrow,
            from_text: iso_day(from),
            to_text: iso_day(now),
            error: None,
        }
    }

    /// Its length in seconds.
    pub(super) fn seconds(&self) -> u64 {
        let millis = self.to.unix_millis().saturating_sub(self.from.unix_millis());
        u64::try_from(millis / 1000).unwrap_or(0)
    }

    /// The parameters that show this span again.
    pub(super) fn query(&self) -> String {
        match self.name {
            "own" => format!(
                "span=own&from={}&to={}",
                super::frame::encoded(&self.from_text),
                super::frame::encoded(&self.to_text)
            ),
            name => format!("span={name}"),
        }
    }
}

/// The begin of the day.
pub(super) fn midnight(at: Utc) -> Utc {
    Utc::from_unix_millis(at.unix_millis().div_euclid(DAY_MILLIS) * DAY_MILLIS)
}

fn own(from: &str, to: &str, now: Utc) -> Result<(Utc, Utc), (&'static str, &'static str)> {
    const DATES: (&str, &str) = (
        "Укажите даты в виде 2026-11-22 или 22.11.2026.",
        "Give the dates as 2026-11-22 or 22.11.2026.",
    );
    let from = date(from).ok_or(DATES)?;
    let to = if to.is_empty() { midnight(now) } else { date(to).ok_or(DATES)? };
    if to < from {
        return Err(("Конец раньше начала.", "The end is before the begin."));
    }
    if to.unix_millis() - from.unix_millis() > DAYS_MAX * DAY_MILLIS {
        return Err(("Период длиннее десяти лет.", "The span is longer than ten years."));
    }
    // The last day is shown too.
    Ok((from, to.plus_days(1)))
}

/// Reads `2018-04-02`, `02.04.2018` or a whole moment, of which the day counts.
fn date(text: &str) -> Option<Utc> {
    if let Ok(moment) = text.parse::<Utc>() {
        return Some(midnight(moment));
    }
    let iso = if text.contains('.') {
        text.split('.').rev().collect::<Vec<_>>().join("-")
    } else {
        text.to_owned()
    };
    format!("{iso}T00:00:00Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Span {
        let now = "2018-04-02T20:41:13.272Z".parse().unwrap();
        Span::read(&Params::read(Some(query), b"").unwrap(), now, "today").unwrap()
    }

    fn check(query: &str, from: &str, to: &str) {
        let span = read(query);
        assert_eq!((iso_day(span.from), iso_day(span.to)), (from.into(), to.into()), "{query}");
        assert_eq!(span.error, None, "{query}");
    }

    #[test]
    fn span_is_whole_days_to_the_end_of_today() {
        check("", "2018-04-02", "2018-04-03");
        check("span=today&from=2018-01-01", "2018-04-02", "2018-04-03");
        check("span=week", "2018-03-27", "2018-04-03");
        check("span=month", "2018-03-04", "2018-04-03");
        check("span=nonsense", "2018-04-02", "2018-04-03");
        assert_eq!(read("span=week").seconds(), 7 * 86_400);
    }

    #[test]
    fn own_dates_are_read_in_both_spellings_and_the_last_day_is_within() {
        check("span=own&from=2018-03-01&to=2018-03-31", "2018-03-01", "2018-04-01");
        check("span=own&from=01.03.2018&to=31.03.2018", "2018-03-01", "2018-04-01");
        check("span=own&from=2018-03-01", "2018-03-01", "2018-04-03");
    }

    #[test]
    fn wrong_dates_are_told_and_kept_in_their_fields() {
        for query in [
            "span=own",
            "span=own&from=x",
            "span=own&from=2018-03-31&to=2018-03-01",
            "span=own&from=2018-02-30",
            "span=own&from=1900-01-01",
        ] {
            assert!(read(query).error.is_some(), "{query}");
        }
        assert_eq!(read("span=own&from=x%3C").from_text, "x<");
    }
}
