//! Looks at all sessions and connections, shared by whoever asks for a list.
//!
//! Lists are shown to anybody by default and may be long, so the console takes a look that is at
//! most [`LOOK_MILLIS`] old, and all lists together do at most [`LONG_MAX`] pieces of work at a
//! time. Nothing is decided and nothing changed here.

use std::sync::Arc;
use std::time::Duration;

use licence_core::time::MonoTime;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use crate::api::errors::ApiError;
use crate::clock;
use crate::driver::{ConnectionState, DriverError, Handle, SessionState};

/// How old a shared look may be, in milliseconds: younger than anyone presses "reload".
const LOOK_MILLIS: u64 = 1000;

/// Lists made at one time: whoever comes third waits, so that lists never take the whole computer
/// from those who hold seats.
const LONG_MAX: usize = 2;

/// Rows from which a list is made on a thread of its own instead of between other requests.
const ROWS_INLINE_MAX: usize = 1000;

/// All connections and sessions, in the order of their ids.
#[derive(Debug, Default)]
pub struct Everyone {
    /// The connections.
    pub connections: Vec<ConnectionState>,
    /// The sessions.
    pub sessions: Vec<SessionState>,
}

impl Everyone {
    /// The address that a session's component comes from; empty when its connection is gone, which a
    /// session may outlive.
    pub fn address_of(&self, state: &SessionState) -> &str {
        let wanted = state.session.connection;
        let found = self.connections.binary_search_by_key(&wanted, |state| state.id);
        let found = found.ok().and_then(|at| self.connections.get(at));
        found.map_or("", |state| &state.connection.peer)
    }
}

/// The last look, and the right to take a long one.
#[derive(Debug)]
pub struct Looks {
    last: Mutex<Option<(MonoTime, Arc<Everyone>)>>,
    long: Arc<Semaphore>,
}

impl Default for Looks {
    fn default() -> Self {
        Self { last: Mutex::default(), long: Arc::new(Semaphore::new(LONG_MAX)) }
    }
}

impl Looks {
    /// A look that is at most [`LOOK_MILLIS`] old.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn recent(&self, handle: &Handle) -> Result<Arc<Everyone>, DriverError> {
        // Held while the driver answers: whoever comes meanwhile takes the same answer.
        let mut last = self.last.lock().await;
        let now = clock::mono();
        let is_fresh = |at: MonoTime| now.since(at) < Duration::from_millis(LOOK_MILLIS);
        if let Some((_, everyone)) = last.as_ref().filter(|(at, _)| is_fresh(*at)) {
            return Ok(Arc::clone(everyone));
        }
        let connections = handle.connections().await?;
        let sessions = handle.sessions().await?;
        let everyone = Arc::new(Everyone { connections, sessions });
        *last = Some((now, Arc::clone(&everyone)));
        Ok(everyone)
    }

    /// Looks again for the next list, because something has just been changed.
    pub async fn forget(&self) {
        *self.last.lock().await = None;
    }

    /// The right to make one list; waits for it.
    ///
    /// # Errors
    ///
    /// 500 should the right be taken away for good, which nobody does.
    pub async fn permit(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.long).acquire_owned().await.map_err(|_| ApiError::internal())
    }

    /// Makes a list of so many rows, apart from other requests if they are many.
    ///
    /// # Errors
    ///
    /// 500 when the work failed.
    pub async fn work<T: Send + 'static>(
        &self,
        permit: OwnedSemaphorePermit,
        rows: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        if rows <= ROWS_INLINE_MAX {
            let made = work();
            drop(permit);
            return Ok(made);
        }
        let work = move || {
            let made = work();
            drop(permit);
            made
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            log::error!("a list could not be made: {error}");
            ApiError::internal()
        })
    }
}
