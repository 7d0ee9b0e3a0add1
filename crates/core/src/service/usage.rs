//! How much of each series is in use: the highest number of seats held at once, per span of the
//! calendar.
//!
//! Decides when a peak is worth a record: when it rises within its span, and once at the begin of a
//! span for what is held then. Counts nothing itself; the pool does.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Effect, LicenceService};
use crate::journal::Record;
use crate::key::KeySeries;
use crate::time::{MonoTime, Now, Utc};

/// Length of a span, in milliseconds. Five minutes show a morning's rush as well as a year takes
/// some 100 000 rows per series.
pub const PEAK_SPAN_MILLIS: i64 = 300_000;

/// What is recorded of the span under way.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// Its begin; nothing before the first event.
    span: Option<Utc>,
    /// Seats recorded for it.
    held: BTreeMap<KeySeries, u64>,
}

/// Begin of the span in which a moment lies.
fn span_of(utc: Utc) -> Utc {
    utc.plus_millis(-utc.unix_millis().rem_euclid(PEAK_SPAN_MILLIS))
}

impl LicenceService {
    /// At the first event of a span, records what is held of every series.
    pub(super) fn note_standing_use(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let span = span_of(self.utc(now));
        if self.usage.span == Some(span) {
            return;
        }
        self.usage = Usage { span: Some(span), held: BTreeMap::new() };
        if self.holders.is_empty() {
            return;
        }
        let mut held: Vec<KeySeries> =
            self.pool.keys().filter(|key| key.held > 0).map(|key| key.key.series).collect();
        held.sort_unstable();
        held.dedup();
        for series in held {
            self.note_peak(series, now, effects);
        }
    }

    /// Records what is held of a series if that is more than was recorded for the span. To be
    /// called when a seat was taken.
    pub(super) fn note_peak(&mut self, series: KeySeries, now: Now, effects: &mut Vec<Effect>) {
        let span = span_of(self.utc(now));
        let totals = self.totals(series);
        let recorded = self.usage.held.entry(series).or_default();
        if totals.held <= *recorded {
            return;
        }
        *recorded = totals.held;
        let peak = Record::Peak { series, span, held: totals.held, seats: totals.seats };
        // The span's first record may be in the same event; one row is enough for both.
        let earlier = effects.iter_mut().rev().find(
            |effect| matches!(effect, Effect::Persist(Record::Peak { series: of, .. }) if *of == series),
        );
        match earlier {
            Some(earlier) => *earlier = Effect::Persist(peak),
            None => effects.push(Effect::Persist(peak)),
        }
    }

    /// When the next span begins, if anything is held that must be recorded for it.
    pub(super) fn next_span(&self, now: Now) -> Option<MonoTime> {
        if self.holders.is_empty() {
            return None;
        }
        let past = self.utc(now).unix_millis().rem_euclid(PEAK_SPAN_MILLIS);
        Some(now.mono.after(Duration::from_millis((PEAK_SPAN_MILLIS - past).unsigned_abs())))
    }
}
