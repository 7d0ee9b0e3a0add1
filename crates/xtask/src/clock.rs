//! The only place of this crate that reads a clock: figures of the demo and the tests, and bounds
//! of waits.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The monotonic time.
#[expect(clippy::disallowed_methods, reason = "this is the clock module")]
pub fn now() -> Instant {
    Instant::now()
}

/// The calendar's time: milliseconds since 1970 in UTC.
#[expect(clippy::disallowed_methods, reason = "this is the clock module")]
pub fn unix_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Runs `body` and says how long it took.
pub fn timed<T>(body: impl FnOnce() -> T) -> (T, Duration) {
    let start = now();
    let result = body();
    (result, now().duration_since(start))
}
