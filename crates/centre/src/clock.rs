//! The clock of the centre; the only module that reads one.

use licence_core::time::Utc;
use time::OffsetDateTime;

/// The present moment by the system's clock.
#[expect(clippy::disallowed_methods, reason = "this is the clock module of the crate")]
pub fn utc_now() -> Utc {
    Utc::from(OffsetDateTime::now_utc())
}
