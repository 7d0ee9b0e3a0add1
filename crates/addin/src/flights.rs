//! Which protected objects are being fetched: whoever asks for one of them waits for its bytes
//! instead of fetching it as well.
//!
//! After an update of a configuration hundreds of sessions of one `rphost` ask for the same objects
//! at once. This decides who waits and for how long, never who may have an object.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use licence_client::OBJECT_BOUND;

/// Process and object. With the process, because the threads of the parent do not go on in a child
/// after `fork`.
type Key = (u32, String);

static UNDER_WAY: Mutex<BTreeSet<Key>> = Mutex::new(BTreeSet::new());

/// Wakes those that wait for a flight to end.
static ENDED: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, BTreeSet<Key>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An object is being fetched as long as this lives.
pub(crate) struct Flight(Key);

impl Drop for Flight {
    fn drop(&mut self) {
        let mut under_way = lock();
        under_way.remove(&self.0);
        if under_way.is_empty() {
            // An emptied set keeps a node, and nobody would free it when the library is unloaded.
            *under_way = BTreeSet::new();
        }
        drop(under_way);
        ENDED.notify_all();
    }
}

/// Begins to fetch an object, at once if nobody else does. Otherwise waits for the end of that, at
/// most [`OBJECT_BOUND`] and only once: look whether the object is there. Nothing when somebody
/// fetches it even so: then both do, because the first one may be stuck.
pub(crate) fn begin(id: &str) -> Option<Flight> {
    let key = (std::process::id(), id.to_owned());
    let mut under_way = ENDED
        .wait_timeout_while(lock(), OBJECT_BOUND, |under_way| under_way.contains(&key))
        .unwrap_or_else(PoisonError::into_inner)
        .0;
    under_way.insert(key.clone()).then(|| Flight(key))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn second_thread_waits_for_the_first_and_other_objects_do_not() {
        /// Far longer than any step takes.
        const PATIENCE: Duration = Duration::from_secs(20);
        let first = begin("flight-a");
        assert!(first.is_some());
        assert!(begin("flight-b").is_some(), "another object is free");
        let (tell, told) = channel();
        let second = std::thread::spawn(move || {
            let flight = begin("flight-a");
            let _ = tell.send(());
            flight.is_some()
        });
        assert!(told.try_recv().is_err());
        drop(first);
        assert_eq!(told.recv_timeout(PATIENCE), Ok(()));
        assert!(second.join().unwrap());
        assert!(begin("flight-a").is_some(), "it ends with its value");
    }
}
