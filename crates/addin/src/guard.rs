//! The wall between Rust and the host: no panic goes over it.
//!
//! The host is `rphost` with every user in it, and a panic that reaches an `extern` function
//! aborts the process. So every slot and every export runs its body in [`guard`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

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
}
