//! The worker thread, made by the system's own call: `pthread_create`, `CreateThread`.
//!
//! Not by `std::thread::spawn`: that touches thread-locals with destructors on the *calling*
//! thread, which is the host's, and glibc then keeps the library mapped for as long as that
//! thread lives. For the same reason the end of the thread is awaited on a flag and a condition
//! variable and not by a channel.
//!
//! A thread that could not be joined in time stays on a list, and [`join_all`] waits for it once
//! more before the code goes away.
//!
//! On Windows no thread is ever joined: whoever unloads a library there holds a lock that every thread
//! needs to end. Instead each thread counts the library as used until it is over, so that its code
//! cannot go away under it. A host that lets the library go while seats are held leaves it loaded.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use licence_client::{Joinable, Spawn};

use crate::guard::{guard, try_lock};

/// How long [`Spawn::spawn`] waits for the thread to run its first instruction. It normally takes
/// microseconds; the wait makes sure that the thread has its thread-local storage before anyone
/// may unload the library, because making it needs a lock that the loader holds then.
const START_BOUND: Duration = Duration::from_secs(1);

/// Threads that were started and not joined.
static THREADS: Mutex<Vec<Arc<Shared>>> = Mutex::new(Vec::new());

#[derive(Clone, Copy, Debug, Default)]
struct Phase {
    started: bool,
    ended: bool,
    joined: bool,
}

struct Shared {
    phase: Mutex<Phase>,
    changed: Condvar,
    handle: Mutex<Option<Handle>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn set(&self, change: impl FnOnce(&mut Phase)) {
        change(&mut lock(&self.phase));
        self.changed.notify_all();
    }

    fn wait(&self, bound: Duration, reached: impl Fn(&Phase) -> bool) -> bool {
        let phase = lock(&self.phase);
        let (phase, _) = self
            .changed
            .wait_timeout_while(phase, bound, |phase| !reached(phase))
            .unwrap_or_else(PoisonError::into_inner);
        reached(&phase)
    }

    /// Waits at most `bound` for the body to end, then for the thread itself, which has nothing
    /// left to do. True when it is gone.
    fn join(&self, bound: Duration) -> bool {
        if !self.wait(bound, |phase| phase.ended) {
            return false;
        }
        if let Some(handle) = lock(&self.handle).take() {
            handle.join();
            self.set(|phase| phase.joined = true);
        }
        true
    }
}

/// Makes the worker thread of the process.
pub(crate) struct PlatformSpawn;

impl PlatformSpawn {
    fn start(body: Box<dyn FnOnce() + Send + 'static>) -> io::Result<Thread> {
        let shared = Arc::new(Shared {
            phase: Mutex::new(Phase::default()),
            changed: Condvar::new(),
            handle: Mutex::new(None),
        });
        let task = Box::new(Task { body, shared: Arc::clone(&shared) });
        let handle = start(task)?;
        *lock(&shared.handle) = Some(handle);
        {
            let mut threads = lock(&THREADS);
            threads.retain(|thread| !lock(&thread.phase).joined);
            threads.push(Arc::clone(&shared));
        }
        shared.wait(START_BOUND, |phase| phase.started);
        Ok(Thread(shared))
    }
}

impl Spawn for PlatformSpawn {
    fn spawn(&self, body: Box<dyn FnOnce() + Send + 'static>) -> io::Result<Box<dyn Joinable>> {
        // Without a farewell at unloading nobody could end the thread before its code goes away.
        #[cfg(target_vendor = "apple")]
        crate::module::pin();
        Ok(Box::new(Self::start(Box::new(move || {
            crate::logfile::open();
            body();
        }))?))
    }

    /// On Windows there is nothing to do: the thread of a look-up keeps the library loaded itself.
    #[cfg(unix)]
    fn before_name_lookup(&self) {
        if !crate::module::pin() {
            // The code is about to go away, and the resolver would not let this thread out before:
            // it needs the loader's lock, which whoever unloads the library holds. So the thread
            // ends here; the client catches this and puts its state in order.
            std::panic::resume_unwind(Box::new("the library is being unloaded"));
        }
    }
}

struct Thread(Arc<Shared>);

impl Joinable for Thread {
    fn join(self: Box<Self>, bound: Duration) -> bool {
        let gone = self.0.join(bound);
        if gone {
            let mut threads = lock(&THREADS);
            threads.retain(|thread| !Arc::ptr_eq(thread, &self.0));
            threads.shrink_to_fit();
        }
        gone
    }
}

/// Waits at most `bound` for every thread that is still there; true when none is left.
pub(crate) fn join_all(bound: Duration) -> bool {
    // A host thread inside this module at such a moment would run unmapped code anyway, so the
    // list is only taken when it is free: at the exit of a process that is no reason to hang.
    let Some(mut threads) = try_lock(&THREADS) else { return false };
    let all = std::mem::take(&mut *threads);
    drop(threads);
    all.iter().all(|thread| thread.join(bound))
}

/// Forgets all threads: in a child process after `fork` they do not exist.
pub(crate) fn forget_all() {
    if let Some(mut threads) = try_lock(&THREADS) {
        std::mem::forget(std::mem::take(&mut *threads));
    }
}

struct Task {
    body: Box<dyn FnOnce() + Send + 'static>,
    shared: Arc<Shared>,
}

impl Task {
    fn run(self) {
        let Self { body, shared } = self;
        guard((), || {
            shared.set(|phase| phase.started = true);
            body();
        });
        shared.set(|phase| phase.ended = true);
    }
}

#[cfg(unix)]
struct Handle(libc::pthread_t);

// SAFETY: a thread id may be joined from any thread; `take` lets only one do it.
#[cfg(unix)]
unsafe impl Send for Handle {}

#[cfg(unix)]
impl Handle {
    fn join(self) {
        // SAFETY: the id came from `pthread_create`, and `self` is the only owner of it.
        unsafe { libc::pthread_join(self.0, std::ptr::null_mut()) };
    }
}

/// Stack of the worker, in bytes: TLS handshakes and JSON stay below 200 KiB in debug builds.
const STACK_BYTES: usize = 2 * 1024 * 1024;

#[cfg(unix)]
fn start(task: Box<Task>) -> io::Result<Handle> {
    use std::ffi::c_void;
    use std::mem::MaybeUninit;

    extern "C" fn main(task: *mut c_void) -> *mut c_void {
        // SAFETY: `start` passed a box, and the thread runs this once.
        let task = unsafe { Box::from_raw(task.cast::<Task>()) };
        guard((), || task.run());
        std::ptr::null_mut()
    }

    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: the place is writable and big enough.
    if unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) } != 0 {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    // SAFETY: initialised above. A refused size leaves the default, which is larger.
    unsafe { libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK_BYTES) };
    let raw = Box::into_raw(task);
    let mut id = MaybeUninit::<libc::pthread_t>::uninit();
    let blocked = BlockedSignals::block();
    // SAFETY: attributes are initialised, `main` has the signature, `raw` is owned by the thread.
    let code =
        unsafe { libc::pthread_create(id.as_mut_ptr(), attributes.as_ptr(), main, raw.cast()) };
    drop(blocked);
    // SAFETY: initialised above and not used again.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    if code != 0 {
        // SAFETY: no thread took the box.
        drop(unsafe { Box::from_raw(raw) });
        return Err(io::Error::from_raw_os_error(code));
    }
    // SAFETY: `pthread_create` succeeded and wrote the id.
    Ok(Handle(unsafe { id.assume_init() }))
}

/// Signals blocked while a thread is made, which inherits that: the host's signal handlers shall
/// never run on a thread that the host does not know.
#[cfg(unix)]
struct BlockedSignals(libc::sigset_t);

#[cfg(unix)]
impl BlockedSignals {
    fn block() -> Option<Self> {
        use std::mem::MaybeUninit;

        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        let mut old = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the place is writable.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT] {
            // SAFETY: filled above. Faults must reach the host's crash reporter.
            unsafe { libc::sigdelset(all.as_mut_ptr(), signal) };
        }
        // SAFETY: both places are valid.
        let code =
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr()) };
        // SAFETY: the call succeeded and wrote the old set.
        (code == 0).then(|| Self(unsafe { old.assume_init() }))
    }
}

#[cfg(unix)]
impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the set came from the same call.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut())
        };
    }
}

/// A thread that nobody waits for: see the head of this file.
#[cfg(windows)]
struct Handle;

#[cfg(windows)]
impl Handle {
    const fn join(self) {}
}

#[cfg(windows)]
fn start(task: Box<Task>) -> io::Result<Handle> {
    let body = Box::new(move || guard((), || task.run()));
    crate::windows::spawn("licenceaddin", STACK_BYTES, body)?;
    Ok(Handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_joined_after_its_body_and_not_before() {
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let inner = Arc::clone(&gate);
        let thread = PlatformSpawn::start(Box::new(move || {
            let open = inner.0.lock().unwrap();
            drop(inner.1.wait_while(open, |open| !*open).unwrap());
        }))
        .unwrap();
        let shared = Arc::clone(&thread.0);
        assert!(!shared.join(Duration::from_millis(1)), "the gate is closed");
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        assert!(Box::new(thread).join(Duration::from_secs(10)));
        assert!(lock(&THREADS).iter().all(|other| !Arc::ptr_eq(other, &shared)));
    }

    #[test]
    fn a_panicking_body_still_ends_its_thread() {
        let thread = PlatformSpawn::start(Box::new(|| panic!("in the worker"))).unwrap();
        assert!(Box::new(thread).join(Duration::from_secs(10)));
    }
}
