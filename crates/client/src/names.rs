//! Host names to addresses, without the worker ever being held by the system's resolver.
//!
//! The resolver can neither be bounded nor interrupted: 30 s are usual when no name server
//! answers. So each look-up runs on a thread of its own, at most one per name at a time, and the
//! worker waits for it with a bound and until the client is stopped. What a look-up brings too
//! late is kept for the next attempt, and the last good addresses of a name serve when a later
//! look-up fails or is slow. Sockets are opened in [`crate::net`].
//!
//! A look-up that hangs outlives a stop. That is safe only because [`Spawn::before_name_lookup`]
//! was called before its thread was made: a library that may be unloaded pins itself there.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use licence_core::failover::TRY_BOUND;

use crate::clock::system_now;
use crate::net::Budget;
use crate::spawn::{Joinable, Spawn};

/// Most addresses of one host name that are tried; each gets its share of the time.
const ADDRESSES_MAX: usize = 8;

/// Most names that are remembered, and so most look-ups under way: a list of servers has up to 32,
/// and a process rarely uses two lists.
const NAMES_MAX: usize = 64;

/// How long a look-up is waited for when earlier addresses are known: enough for any resolver
/// that works, and most of the attempt is left for connecting.
const PATIENCE: Duration = Duration::from_millis(500);

/// For a look-up that has told its result: only its thread's epilogue is waited for.
const EPILOGUE_BOUND: Duration = Duration::from_millis(500);

/// How a name is looked up.
pub(crate) type LookUp = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// The names that were looked up, and how others are.
pub(crate) struct Names {
    spawn: Arc<dyn Spawn>,
    look_up: Arc<LookUp>,
    book: Arc<Book>,
}

/// What the worker and the threads of look-ups share.
#[derive(Default)]
struct Book {
    entries: Mutex<BTreeMap<String, Entry>>,
    changed: Condvar,
}

#[derive(Default)]
struct Entry {
    is_under_way: bool,
    /// Look-ups that have told their result.
    finished: u64,
    /// Why the last one failed.
    failure: Option<(io::ErrorKind, String)>,
    /// What the last successful one brought.
    known: Vec<IpAddr>,
    /// The last one's thread, until somebody joins it.
    thread: Option<Box<dyn Joinable>>,
}

impl Book {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_in(&self, host: &str, result: io::Result<Vec<IpAddr>>) {
        let mut entries = self.lock();
        if let Some(entry) = entries.get_mut(host) {
            entry.is_under_way = false;
            entry.finished = entry.finished.wrapping_add(1);
            match result {
                Ok(found) if !found.is_empty() => {
                    entry.known = found;
                    entry.failure = None;
                }
                Ok(_) => {
                    let why = "the host name has no address".to_owned();
                    entry.failure = Some((io::ErrorKind::NotFound, why));
                }
                Err(why) => entry.failure = Some((why.kind(), why.to_string())),
            }
        }
        drop(entries);
        self.changed.notify_all();
    }
}

impl Entry {
    /// What the last look-up comes to; earlier addresses serve when it failed.
    fn result(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        match &self.failure {
            Some((kind, why)) if self.known.is_empty() => Err(io::Error::new(*kind, why.clone())),
            Some((_, why)) => {
                log::warn!("{host}: {why}; its earlier addresses are used");
                Ok(self.known.clone())
            }
            None => Ok(self.known.clone()),
        }
    }
}

impl Names {
    /// Looked up by `look_up` on threads made with `spawn`.
    pub(crate) fn new(spawn: Arc<dyn Spawn>, look_up: Arc<LookUp>) -> Self {
        Self { spawn, look_up, book: Arc::default() }
    }

    /// Addresses of `host`. Waits no longer than the budget and [`TRY_BOUND`], and ends when the
    /// client is stopped.
    ///
    /// # Errors
    ///
    /// What the resolver says, `TimedOut` when it says nothing in time, `ConnectionAborted` on a
    /// stop; the first two only when no earlier addresses are known.
    pub(crate) fn addresses(&self, host: &str, budget: &Budget) -> io::Result<Vec<IpAddr>> {
        let before = match self.begin(host) {
            Ok(before) => before,
            Err(why) => {
                let known = self.book.lock().get(host).map(|entry| entry.known.clone());
                return known.filter(|known| !known.is_empty()).ok_or(why);
            }
        };
        let mut entries = self.book.lock();
        let is_known = entries.get(host).is_some_and(|entry| !entry.known.is_empty());
        let wait = budget.until(system_now().after(if is_known { PATIENCE } else { TRY_BOUND }));
        loop {
            let Some(entry) = entries.get_mut(host) else {
                return Err(io::Error::other("the look-up of the host name was given up"));
            };
            if entry.finished != before {
                let (thread, result) = (entry.thread.take(), entry.result(host));
                drop(entries);
                join(thread);
                return result;
            }
            let slice = match wait.slice() {
                Ok(slice) => slice,
                Err(why) if why.kind() != io::ErrorKind::TimedOut => return Err(why),
                Err(_) if entry.known.is_empty() => {
                    let why = "the host name was not resolved in time";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, why));
                }
                Err(_) => {
                    log::warn!("{host}: the resolver is slow; its earlier addresses are used");
                    return Ok(entry.known.clone());
                }
            };
            entries = self
                .book
                .changed
                .wait_timeout(entries, slice)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Joins the threads of look-ups that are over; others end by themselves.
    pub(crate) fn reap(&self) {
        let over: Vec<_> = {
            let mut entries = self.book.lock();
            let over = entries.values_mut().filter(|entry| !entry.is_under_way);
            over.filter_map(|entry| entry.thread.take()).collect()
        };
        for thread in over {
            join(Some(thread));
        }
    }

    /// Begins a look-up unless one is under way. The count of those that were over before.
    fn begin(&self, host: &str) -> io::Result<u64> {
        self.reap();
        if let Some(entry) = self.book.lock().get(host).filter(|entry| entry.is_under_way) {
            return Ok(entry.finished);
        }
        // May unwind when a library is being unloaded, so nothing is marked before. Only the
        // worker begins look-ups: nobody else does so in between.
        self.spawn.before_name_lookup();
        let before = {
            let mut entries = self.book.lock();
            if !entries.contains_key(host) && entries.len() >= NAMES_MAX {
                let over = entries.iter().find(|(_, entry)| !entry.is_under_way);
                let Some(name) = over.map(|(name, _)| name.clone()) else {
                    return Err(io::Error::other("too many host names are being looked up"));
                };
                entries.remove(&name);
            }
            let entry = entries.entry(host.to_owned()).or_default();
            entry.is_under_way = true;
            entry.finished
        };
        let body = {
            let (book, look_up) = (Arc::clone(&self.book), Arc::clone(&self.look_up));
            let host = host.to_owned();
            Box::new(move || {
                let result = catch_unwind(AssertUnwindSafe(|| look_up(&host)))
                    .unwrap_or_else(|_| Err(io::Error::other("the look-up failed")));
                // Nothing of the client may be held once the result is told.
                drop(look_up);
                book.take_in(&host, result);
            })
        };
        match self.spawn.spawn(body) {
            Ok(thread) => {
                if let Some(entry) = self.book.lock().get_mut(host) {
                    entry.thread = Some(thread);
                }
                Ok(before)
            }
            Err(why) => {
                if let Some(entry) = self.book.lock().get_mut(host) {
                    entry.is_under_way = false;
                }
                Err(why)
            }
        }
    }
}

fn join(thread: Option<Box<dyn Joinable>>) {
    // A refusal changes nothing: the thread has done its work and holds only the book.
    let _is_gone = thread.is_none_or(|thread| thread.join(EPILOGUE_BOUND));
}

/// Asks the system's resolver, for as long as that takes.
///
/// # Errors
///
/// What the resolver says.
pub(crate) fn ask_system(host: &str) -> io::Result<Vec<IpAddr>> {
    let found = (host, 0).to_socket_addrs()?;
    Ok(found.map(|address| address.ip()).take(ADDRESSES_MAX).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::clock::system_now;
    use crate::spawn::StdSpawn;

    const LONG: Duration = Duration::from_secs(60);

    /// Counts the look-ups, and answers each with what the test sends.
    struct Resolver {
        names: Arc<Names>,
        asked: Arc<AtomicUsize>,
        begun: Receiver<()>,
        answer: Sender<io::Result<Vec<IpAddr>>>,
    }

    impl Resolver {
        fn new() -> Self {
            let (answer, answers) = channel();
            let (tell, begun) = channel();
            let asked = Arc::new(AtomicUsize::new(0));
            let (count, answers) = (Arc::clone(&asked), Mutex::new(answers));
            let look_up = move |_: &str| {
                count.fetch_add(1, Ordering::SeqCst);
                let _nobody_listens = tell.send(());
                answers.lock().unwrap().recv().unwrap_or_else(|_| Ok(Vec::new()))
            };
            let names = Arc::new(Names::new(Arc::new(StdSpawn), Arc::new(look_up)));
            Self { names, asked, begun, answer }
        }

        fn ask(&self, within: Duration) -> io::Result<Vec<IpAddr>> {
            self.names.addresses("srv", &Budget::new(system_now().after(within), None))
        }
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn failed() -> io::Result<Vec<IpAddr>> {
        Err(io::Error::other("no name server"))
    }

    #[test]
    fn name_is_looked_up_and_failure_named() {
        let resolver = Resolver::new();
        resolver.answer.send(failed()).unwrap();
        assert_eq!(resolver.ask(LONG).unwrap_err().to_string(), "no name server");
        resolver.answer.send(Ok(Vec::new())).unwrap();
        assert_eq!(resolver.ask(LONG).unwrap_err().kind(), io::ErrorKind::NotFound);
        resolver.answer.send(Ok(vec![ip(1), ip(2)])).unwrap();
        assert_eq!(resolver.ask(LONG).unwrap(), [ip(1), ip(2)]);
    }

    #[test]
    fn hanging_look_up_ends_with_the_budget_and_is_not_begun_twice() {
        let resolver = Resolver::new();
        for _ in 0..3 {
            let why = resolver.ask(Duration::from_millis(20)).unwrap_err();
            assert_eq!(why.kind(), io::ErrorKind::TimedOut);
        }
        assert_eq!(resolver.asked.load(Ordering::SeqCst), 1);
        // What it brings in the end is good for the next attempt.
        resolver.answer.send(Ok(vec![ip(3)])).unwrap();
        assert_eq!(resolver.ask(LONG).unwrap(), [ip(3)]);
    }

    #[test]
    fn stop_ends_the_wait() {
        let resolver = Resolver::new();
        let stop = Arc::new(AtomicBool::new(false));
        let budget = Budget::new(system_now().after(LONG), Some(Arc::clone(&stop)));
        let names = Arc::clone(&resolver.names);
        let waiting = std::thread::spawn(move || names.addresses("srv", &budget));
        resolver.begun.recv_timeout(LONG).unwrap();
        stop.store(true, Ordering::Relaxed);
        let why = waiting.join().unwrap().unwrap_err();
        assert_eq!(why.kind(), io::ErrorKind::ConnectionAborted);
    }

    #[test]
    fn last_good_addresses_serve_when_a_later_look_up_fails_or_is_slow() {
        let resolver = Resolver::new();
        resolver.answer.send(Ok(vec![ip(4)])).unwrap();
        assert_eq!(resolver.ask(LONG).unwrap(), [ip(4)]);
        resolver.answer.send(failed()).unwrap();
        assert_eq!(resolver.ask(LONG).unwrap(), [ip(4)], "failed");
        assert_eq!(resolver.ask(LONG).unwrap(), [ip(4)], "hangs");
        resolver.answer.send(Ok(vec![ip(5)])).unwrap();
        assert_eq!(resolver.ask(LONG).unwrap(), [ip(5)], "moved");
    }

    #[test]
    fn panic_in_a_look_up_is_a_failure_and_the_next_may_succeed() {
        let first = AtomicBool::new(true);
        let look_up = move |_: &str| {
            assert!(!first.swap(false, Ordering::SeqCst), "the first look-up panics");
            Ok(vec![ip(6)])
        };
        let names = Names::new(Arc::new(StdSpawn), Arc::new(look_up));
        let budget = Budget::new(system_now().after(LONG), None);
        assert!(names.addresses("srv", &budget).is_err());
        assert_eq!(names.addresses("srv", &budget).unwrap(), [ip(6)]);
    }

    #[test]
    fn no_more_names_are_looked_up_at_one_time_than_the_limit() {
        let resolver = Resolver::new();
        let budget = Budget::new(system_now(), None);
        for number in 0..NAMES_MAX {
            let why = resolver.names.addresses(&format!("srv{number}"), &budget).unwrap_err();
            assert_eq!(why.kind(), io::ErrorKind::TimedOut, "{number}");
        }
        let why = resolver.names.addresses("one more", &budget).unwrap_err();
        assert_eq!(why.to_string(), "too many host names are being looked up");
    }
}
