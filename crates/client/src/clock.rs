//! The only place of this crate that reads a clock.
//!
//! What time of day it is only [`utc`] asks, for what is signed with a date.
//!
//! Leases run on a monotonic clock that counts suspension: a laptop that slept for an hour has
//! used up an hour of its lease. Deadlines of sockets and of waiting callers always run on
//! [`SystemClock`]; heartbeats and leases run on the clock that the client was made with, so that
//! a test can let hours pass at once.

use licence_core::time::{MonoTime, Utc};

/// The calendar of this computer, in UTC.
#[expect(clippy::disallowed_methods, reason = "this is the clock module")]
pub(crate) fn utc() -> Utc {
    use std::time::{SystemTime, UNIX_EPOCH};

    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Utc::from_unix_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A monotonic clock that counts suspension.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> MonoTime;
}

/// The system's clock: `CLOCK_BOOTTIME` on Linux, the milliseconds since the start of the system on
/// Windows. Elsewhere the clock of the standard library, which may not count suspension.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> MonoTime {
        system_now()
    }
}

/// The present moment of the system's clock.
#[cfg(target_os = "linux")]
pub(crate) fn system_now() -> MonoTime {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid, writable timespec for the duration of the call. The call cannot
    // fail on a kernel that knows the clock (2.6.39 and later); on an older one `now` stays zero.
    let _result = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let millis = u64::try_from(now.tv_nsec / 1_000_000).unwrap_or(0);
    MonoTime::from_millis(seconds.saturating_mul(1000).saturating_add(millis))
}

/// The present moment of the system's clock. It advances in steps of some 16 ms, which is nothing to a
/// lease; of the clocks of Windows it is the one that is documented to count sleep and hibernation.
#[cfg(windows)]
pub(crate) fn system_now() -> MonoTime {
    #[link(name = "kernel32")]
    unsafe extern "system" {
        safe fn GetTickCount64() -> u64;
    }
    MonoTime::from_millis(GetTickCount64())
}

/// The present moment of the system's clock.
#[cfg(not(any(target_os = "linux", windows)))]
pub(crate) fn system_now() -> MonoTime {
    use std::sync::OnceLock;
    use std::time::Instant;

    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "this is the clock module")]
    let now = Instant::now();
    let origin = *ORIGIN.get_or_init(|| now);
    let millis = now.saturating_duration_since(origin).as_millis();
    MonoTime::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_clock_never_goes_back() {
        let mut last = SystemClock.now();
        for _ in 0..1000 {
            let now = SystemClock.now();
            assert!(now >= last);
            last = now;
        }
    }
}
