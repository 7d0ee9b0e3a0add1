//! How the worker thread and those of name look-ups are made and joined.
//!
//! The component must make its threads with the system's own call, so that nothing of `std::thread`
//! leaves a thread-local destructor on a thread of the host; every other program uses
//! [`StdSpawn`]. What a thread does is decided in [`crate::worker`] and [`crate::names`].

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Makes the worker thread, and one for each look-up of a host name.
pub trait Spawn: Send + Sync {
    /// Runs `body` on a thread of its own.
    ///
    /// # Errors
    ///
    /// When the system gives no thread; the call that needed it then fails with `EExecuteError`.
    fn spawn(&self, body: Box<dyn FnOnce() + Send + 'static>) -> io::Result<Box<dyn Joinable>>;

    /// Called on the worker just before the thread is made that looks a host name up through the
    /// system's resolver, which cannot be interrupted: that thread may outlive a stop. A library
    /// that may be unloaded meanwhile pins itself here, or its code would vanish under the thread.
    /// One that is being unloaded already may unwind from here: the worker then ends.
    fn before_name_lookup(&self) {}
}

/// A thread that can be waited for.
pub trait Joinable: Send {
    /// Waits at most `bound`; true when the thread has ended.
    fn join(self: Box<Self>, bound: Duration) -> bool;
}

/// Threads of the standard library.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdSpawn;

/// A standard thread and the flag that its end raises, because `JoinHandle` knows no bound.
struct StdThread {
    ended: Arc<(Mutex<bool>, Condvar)>,
    handle: JoinHandle<()>,
}

/// Raises the flag however the body ends.
struct RaiseOnDrop(Arc<(Mutex<bool>, Condvar)>);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }
}

impl Spawn for StdSpawn {
    fn spawn(&self, body: Box<dyn FnOnce() + Send + 'static>) -> io::Result<Box<dyn Joinable>> {
        let ended = Arc::new((Mutex::new(false), Condvar::new()));
        let raise = RaiseOnDrop(Arc::clone(&ended));
        let handle =
            std::thread::Builder::new().name("licence-client".to_owned()).spawn(move || {
                let _raise = raise;
                body();
            })?;
        Ok(Box::new(StdThread { ended, handle }))
    }
}

impl Joinable for StdThread {
    fn join(self: Box<Self>, bound: Duration) -> bool {
        let ended = self.ended.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (ended, _) = self
            .ended
            .1
            .wait_timeout_while(ended, bound, |ended| !*ended)
            .unwrap_or_else(PoisonError::into_inner);
        let has_ended = *ended;
        drop(ended);
        // Past the flag only the thread's own epilogue is left.
        has_ended && self.handle.join().is_ok()
    }
}
