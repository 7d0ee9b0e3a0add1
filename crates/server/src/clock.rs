//! The only place of this crate that reads a clock.
//!
//! It reads and converts; what a moment means is decided elsewhere, by code that takes it as an
//! argument.

use licence_core::time::{MonoTime, Now, Utc};
use time::OffsetDateTime;

/// The present moment in both clocks.
pub fn now() -> Now {
    Now { mono: mono(), utc: utc() }
}

/// The present moment of the calendar, in UTC, to the millisecond.
#[expect(clippy::disallowed_methods, reason = "this is the clock module")]
pub fn utc() -> Utc {
    #[cfg(test)]
    if let Some(utc) = simulated::utc() {
        return utc;
    }
    Utc::from(OffsetDateTime::now_utc())
}

/// The present moment of the clock that never goes back and counts suspension, in milliseconds
/// since the start of the machine.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[expect(unsafe_code, reason = "no safe function of the standard library reads CLOCK_BOOTTIME")]
pub fn mono() -> MonoTime {
    #[cfg(test)]
    if let Some(mono) = simulated::mono() {
        return mono;
    }
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `at` is a valid `timespec` that outlives the call.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut at) } != 0;
    if failed {
        // Cannot happen on Linux 2.6.39 or later; a clock that stands still renews nothing and
        // frees nothing.
        log::error!("CLOCK_BOOTTIME cannot be read");
    }
    let seconds = u64::try_from(at.tv_sec).unwrap_or(0);
    let millis = u64::try_from(at.tv_nsec / 1_000_000).unwrap_or(0);
    MonoTime::from_millis(seconds.saturating_mul(1000).saturating_add(millis))
}

/// Measures how long something takes, for metrics; decides nothing.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts to measure.
    #[expect(clippy::disallowed_methods, reason = "this is the clock module")]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Seconds since the start.
    pub fn seconds(self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// The present moment of the clock that never goes back, in milliseconds since the first call.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[expect(clippy::disallowed_methods, reason = "this is the clock module")]
pub fn mono() -> MonoTime {
    #[cfg(test)]
    if let Some(mono) = simulated::mono() {
        return mono;
    }
    use std::sync::OnceLock;
    use std::time::Instant;
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let elapsed = ORIGIN.get_or_init(Instant::now).elapsed();
    MonoTime::from_millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// The first moment of a simulation: no clock begins at nothing.
#[cfg(test)]
pub(crate) const SIMULATED_FIRST_MILLIS: u64 = 1_000_000;

/// Inside a simulation of this crate's tests the clock is that of the simulation.
#[cfg(test)]
mod simulated {
    use licence_core::time::{MonoTime, Utc};

    use super::SIMULATED_FIRST_MILLIS;

    pub(super) fn mono() -> Option<MonoTime> {
        let elapsed = u64::try_from(turmoil::sim_elapsed()?.as_millis()).unwrap_or(u64::MAX);
        Some(MonoTime::from_millis(SIMULATED_FIRST_MILLIS.saturating_add(elapsed)))
    }

    pub(super) fn utc() -> Option<Utc> {
        let millis = i64::try_from(turmoil::since_epoch()?.as_millis()).unwrap_or(i64::MAX);
        Some(Utc::from_unix_millis(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_clock_does_not_go_back() {
        let first = now();
        let second = now();
        assert!(second.mono >= first.mono);
        assert!(first.utc > "2020-01-01T00:00:00Z".parse().unwrap());
    }
}
