//! A sign of life: the driver takes a turn, and what was handed to the journal is on disk.

use licence_core::time::term_clock::Doubt;

use super::{DriverError, Handle};

/// What a driver that is alive says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Alive {
    /// Sessions of the moment.
    pub sessions: usize,
    /// How far the clock is behind the latest time seen, in milliseconds; 0 when it is not.
    pub clock_behind_millis: i64,
    /// A jump of the clock that is not believed.
    pub clock_doubt: Option<Doubt>,
}

impl Handle {
    /// Waits for a turn of the driver and for everything that was handed to the journal before it.
    /// Callers bound the wait.
    ///
    /// # Errors
    ///
    /// See [`DriverError`]; [`DriverError::Store`] when the journal has failed.
    pub async fn alive(&self) -> Result<Alive, DriverError> {
        self.change(|task, now, _| Alive {
            sessions: task.service.session_count(),
            clock_behind_millis: task.service.clock_set_back_millis(now).max(0),
            clock_doubt: task.service.clock_doubt(now),
        })
        .await
    }
}
