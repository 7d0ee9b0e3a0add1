//! Where this program reads the clocks that the core is told.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use licence_core::time::{MonoTime, Now, Utc};

/// Both faces of the present moment. The monotonic one should count suspension, as
/// `CLOCK_BOOTTIME` does; the standard library's does not on every system.
#[expect(clippy::disallowed_methods, reason = "this is the clock module")]
pub(crate) fn now() -> Now {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let mono = Instant::now().saturating_duration_since(*ORIGIN.get_or_init(Instant::now));
    let utc = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        mono: MonoTime::from_millis(u64::try_from(mono.as_millis()).unwrap_or(u64::MAX)),
        utc: Utc::from_unix_millis(i64::try_from(utc.as_millis()).unwrap_or(i64::MAX)),
    }
}
