//! What all objects of a process share: one client with one thread, and its farewell.
//!
//! Decides when the client is made and when it is stopped; what it does in between is decided in
//! `licence-client`. Nothing here is touched by reads of properties. The lock is never held over a
//! wait: while one thread stops the client, others go on, and only those that need a client wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use licence_client::Client;
use licence_core::protocol::ConnectionInfo;

use crate::guard::try_lock;
use crate::thread::{self, PlatformSpawn};
use crate::{host_info, logfile, manager, objects, templates};

/// Destroying the last object when no seat is held blocks its caller at most this long.
pub(crate) const IDLE_STOP_BOUND: Duration = Duration::from_millis(500);

/// `ОсвободитьВсе` blocks its caller at most this long: one message to a server that answers.
pub(crate) const RELEASE_ALL_BOUND: Duration = Duration::from_secs(1);

/// Beyond each bound for stopping the client waits at most this long for the system to clear its
/// thread away, which is past its last statement then.
const THREAD_END_BOUND: Duration = Duration::from_millis(500);

/// A call that needs a client waits at most this long for the one before to be stopped: the longest
/// that stopping takes.
const STOP_WAIT: Duration = RELEASE_ALL_BOUND.saturating_add(THREAD_END_BOUND);

/// The goodbye to the server at unloading or process exit takes at most this long.
pub(crate) const FAREWELL_BOUND: Duration = Duration::from_millis(300);

/// The worker gets this long beyond the goodbye to end at unloading. It ends within milliseconds,
/// since its sockets are shut down under it; code that goes away under a thread would crash the
/// host, so the wait is longer than it needs.
const LAST_JOIN_BOUND: Duration = Duration::from_secs(2);

struct Process {
    /// Living objects.
    objects: usize,
    client: Option<Arc<Client>>,
    /// Threads of the host that stop a client at the moment.
    stopping: usize,
    /// Clients that did not stop in time: dropping one would wait for its worker again.
    unfinished: Vec<Arc<Client>>,
    info: Option<Arc<ConnectionInfo>>,
    /// The process that made the client: after `fork` the child has no worker.
    owner: u32,
}

static PROCESS: Mutex<Process> = Mutex::new(Process {
    objects: 0,
    client: None,
    stopping: 0,
    unfinished: Vec::new(),
    info: None,
    owner: 0,
});

/// Wakes those that wait for [`Process::stopping`] to become 0.
static STOPPED: Condvar = Condvar::new();

static UNLOADING: AtomicBool = AtomicBool::new(false);

fn lock() -> MutexGuard<'static, Process> {
    PROCESS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits at most [`STOP_WAIT`] until nobody stops a client.
fn wait_for_stop(process: MutexGuard<'static, Process>) -> MutexGuard<'static, Process> {
    STOPPED
        .wait_timeout_while(process, STOP_WAIT, |process| process.stopping > 0)
        .unwrap_or_else(PoisonError::into_inner)
        .0
}

impl Process {
    /// In a child process drops nothing and forgets everything: locks may be held by threads that
    /// exist in the parent only.
    fn forget_parent(&mut self) {
        let pid = std::process::id();
        if self.owner != pid {
            std::mem::forget(self.client.take());
            std::mem::forget(self.info.take());
            std::mem::forget(std::mem::take(&mut self.unfinished));
            self.stopping = 0;
            thread::forget_all();
            self.owner = pid;
        }
    }
}

/// Stops the client of the process, if it has one, without holding the lock meanwhile; true when
/// its thread is gone. `shut_down` says how, in a bounded time.
fn stop(
    mut process: MutexGuard<'static, Process>,
    shut_down: impl FnOnce(&Client) -> bool,
) -> Option<bool> {
    let client = process.client.take()?;
    // Counted under the lock, so that no second worker starts beside the one that ends.
    process.stopping += 1;
    let earlier = std::mem::take(&mut process.unfinished);
    drop(process);
    let gone = shut_down(&client);
    let mut left: Vec<_> =
        earlier.into_iter().filter(|client| !client.shutdown(Duration::ZERO, false)).collect();
    if !gone {
        left.push(client);
    }
    let mut process = lock();
    process.stopping = process.stopping.saturating_sub(1);
    process.unfinished.append(&mut left);
    drop(process);
    STOPPED.notify_all();
    Some(gone)
}

/// Counts an object that was made.
pub(crate) fn object_created() {
    lock().objects += 1;
}

/// Counts an object that was destroyed. After the last one the client is stopped if it holds no
/// seat; with seats it beats on, because the platform destroys objects between two server calls
/// of one session. Blocks at most [`IDLE_STOP_BOUND`] and [`THREAD_END_BOUND`].
pub(crate) fn object_destroyed() {
    let mut process = lock();
    process.objects = process.objects.saturating_sub(1);
    process.forget_parent();
    if process.objects > 0 {
        return;
    }
    manager::discard();
    if process.client.as_ref().is_none_or(|client| client.is_idle()) {
        // No session is left that may have them. Cleared at the end, without the lock.
        let gone = objects::let_go();
        stop(process, |client| client.shutdown(IDLE_STOP_BOUND, false));
        drop(gone);
    }
}

/// The client of this process. Blocks at most [`STOP_WAIT`], while another thread stops the one
/// before; a worker that still has not ended then is not waited for any longer.
pub(crate) fn client() -> Arc<Client> {
    let mut process = lock();
    process.forget_parent();
    let mut process = wait_for_stop(process);
    Arc::clone(process.client.get_or_insert_with(|| Arc::new(Client::new(Box::new(PlatformSpawn)))))
}

/// What the process tells the server about itself; gathered once, without blocking calls.
pub(crate) fn info() -> Arc<ConnectionInfo> {
    let mut process = lock();
    process.forget_parent();
    Arc::clone(process.info.get_or_insert_with(|| Arc::new(host_info::gather())))
}

/// Releases every seat of this process and stops its thread; true when nothing is left. Blocks at
/// most [`RELEASE_ALL_BOUND`] and [`THREAD_END_BOUND`]. Links of other objects answer errors from
/// then on.
pub(crate) fn release_all() -> bool {
    let mut process = lock();
    process.forget_parent();
    let is_gone = if process.client.is_none() {
        wait_for_stop(process).stopping == 0
    } else {
        stop(process, |client| client.shutdown(RELEASE_ALL_BOUND, true)).unwrap_or(true)
    };
    // Last, because until here sessions of other threads could have objects.
    objects::clear();
    is_gone
}

/// Whether [`unload`] has begun. Asked where threads do not keep the library loaded themselves.
#[cfg(unix)]
pub(crate) fn is_unloading() -> bool {
    UNLOADING.load(Ordering::Acquire)
}

/// The library is about to be unmapped, or the process exits: releases the seats, ends the
/// thread, gives back all memory. Blocks at most [`FAREWELL_BOUND`], [`THREAD_END_BOUND`] and
/// [`LAST_JOIN_BOUND`] together. On Windows no thread is left then, and nothing is waited for.
pub(crate) fn unload() {
    UNLOADING.store(true, Ordering::Release);
    let mut unfinished = Vec::new();
    // At exit another thread of the host may stand inside; the process ends without it.
    if let Some(mut process) = try_lock(&PROCESS) {
        process.forget_parent();
        process.info = None;
        unfinished = std::mem::take(&mut process.unfinished);
        let client = process.client.take();
        drop(process);
        if let Some(client) = client
            && !client.shutdown(FAREWELL_BOUND, true)
        {
            unfinished.push(client);
        }
    }
    if thread::join_all(LAST_JOIN_BOUND) {
        drop(unfinished);
    } else {
        // Their worker is stuck, and dropping them would wait for it once more.
        std::mem::forget(unfinished);
    }
    manager::discard();
    drop(objects::let_go());
    templates::clear();
    logfile::close();
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn other_threads_go_on_while_one_stops_the_client() {
        /// Far longer than the lock is ever held.
        const PATIENCE: Duration = Duration::from_secs(20);
        // The objects of other tests come and go: with this one none of theirs is the last.
        object_created();
        let first = client();
        let stopped = stop(lock(), |client| {
            let (done, waiting) = channel();
            std::thread::spawn(move || {
                object_created();
                object_destroyed();
                drop(info());
                let _ = done.send(lock().stopping);
            });
            let stopping = waiting.recv_timeout(PATIENCE);
            assert_eq!(stopping, Ok(1), "the lock is free, and the stop is known");
            client.shutdown(PATIENCE, false)
        });
        assert_eq!(stopped, Some(true));
        let second = client();
        assert!(!Arc::ptr_eq(&first, &second), "a stopped client is not used again");
        assert!(release_all());
        assert!(release_all(), "nothing is left to stop");
        // A client that does not stop in time is kept, and let go when it has.
        drop(client());
        assert_eq!(stop(lock(), |_| false), Some(false));
        assert_eq!(lock().unfinished.len(), 1);
        drop(client());
        assert!(release_all());
        assert!(lock().unfinished.is_empty());
        object_destroyed();
    }
}
