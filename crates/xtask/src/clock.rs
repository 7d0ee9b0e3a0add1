//! The only place of this crate that reads a clock: figures of the demo and the tests, and bounds
//! of waits.

use std::time::{Duration, Instant};

/// The monotonic time.
#[expect(clippy::disallowed_methods, reason = "this is the clock module")]
pub fn now() -> Instant {
    Instant::now()
}

/// Runs `body` and says how long it took.
pub fn timed<T>(body: impl FnOnce() -> T) -> (T, Duration) {
    let start = now();
    let result = body();
    (result, now().duration_since(start))
}
