//! The wall between Rust and the host: no panic goes over it.
//!
//! The host is `rphost` with every user in it, and a panic that reaches an `extern` function
//! aborts the process. So every slot and every export runs its body in [`guard`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, Once, TryLockError};

/// Runs `body`; a panic in it becomes `on_panic`.
pub(crate) fn guard<T>(on_panic: T, body: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(answer) => answer,
        Err(payload) => {
            // The value that was thrown may panic in its own destructor: once more, and no further.
            if let Err(second) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
                std::mem::forget(second);
            }
            on_panic
        }
    }
}

/// Takes a lock that is free, also after a panic under it: what it guards must be ended all the
/// same when the code goes away. Nothing while another thread holds it.
pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Sends the text of panics to the log instead of the host's error stream.
///
/// The usual hook also names the thread, which registers a thread-local destructor on a host
/// thread; glibc then never unmaps the library.
pub(crate) fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            crate::logfile::note(log::Level::Error, &format!("internal error: {info}"));
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_the_given_answer() {
        quiet_panics();
        assert_eq!(guard(-1, || 5), 5);
        assert_eq!(guard(-1, || panic!("never over the border")), -1);
    }

    #[test]
    fn a_lock_is_taken_after_a_panic_and_not_from_its_holder() {
        let mutex = Mutex::new(5);
        guard((), || {
            let _held = mutex.lock();
            panic!("under the lock");
        });
        assert!(mutex.is_poisoned());
        let held = try_lock(&mutex).unwrap();
        assert_eq!(*held, 5);
        assert!(try_lock(&mutex).is_none());
    }
}
