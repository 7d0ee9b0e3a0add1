//! The clock of the centre; the only module that reads one.

use std::sync::OnceLock;
use std::time::Instant;

use licence_core::time::{MonoTime, Utc};
use time::OffsetDateTime;

/// The present moment by the system's clock.
#[expect(clippy::disallowed_methods, reason = "this is the clock module of the crate")]
pub fn utc_now() -> Utc {
    Utc::from(OffsetDateTime::now_utc())
}

/// The present moment of the clock that never goes back, in milliseconds since the first call. It
/// measures limits and logins, which a machine that slept may keep a little longer.
#[expect(clippy::disallowed_methods, reason = "this is the clock module of the crate")]
pub fn mono() -> MonoTime {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let elapsed = ORIGIN.get_or_init(Instant::now).elapsed();
    MonoTime::from_millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
