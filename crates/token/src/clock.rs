//! The only place of this crate that reads a clock: how much of an allowance of time is left.
//!
//! What happens when none is left its callers decide.

use std::time::{Duration, Instant};

/// A moment by which something must have ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// This long from the present moment.
    #[expect(clippy::disallowed_methods, reason = "this is the clock module")]
    pub(crate) fn after(allowance: Duration) -> Self {
        Self(Instant::now() + allowance)
    }

    /// What is left, or nothing once the moment has come.
    #[expect(clippy::disallowed_methods, reason = "this is the clock module")]
    pub(crate) fn left(self) -> Option<Duration> {
        self.0.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}
