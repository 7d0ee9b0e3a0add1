//! The one way to wait for a condition of another process that nothing can be blocked on.

use std::time::Duration;

use super::StageError;
use crate::clock;

/// How long one look waits for the next: short beside a process start, long beside a system call.
const LOOK_MILLIS: u64 = 5;

/// Waits until `look` finds something, at most `bound`.
///
/// State of other processes (a row in their answer, a thread count in `/proc`) gives no handle to
/// block on, so it is looked at again and again. Callers must not hang on anything else.
///
/// # Errors
///
/// [`StageError::Timeout`] naming `what`; the error of `look`.
pub fn wait_until<T>(
    bound: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>, StageError>,
) -> Result<T, StageError> {
    let start = clock::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        let spent = clock::now().duration_since(start);
        if spent >= bound {
            return Err(StageError::Timeout { what: what.to_owned(), bound });
        }
        std::thread::park_timeout(Duration::from_millis(LOOK_MILLIS).min(bound - spent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn condition_that_never_comes_ends_the_wait_by_name() {
        let waited = wait_until::<()>(Duration::from_millis(20), "godot", || Ok(None));
        assert!(waited.unwrap_err().to_string().contains("godot"));
    }

    #[test]
    fn condition_that_comes_is_returned() {
        let mut looks = 0;
        let found = wait_until(Duration::from_secs(10), "the third look", || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.unwrap(), 3);
    }
}
