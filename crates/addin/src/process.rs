//! What all objects of a process share: one client with one thread, and its farewell.
//!
//! Decides when the client is made and when it is stopped; what it does in between is decided in
//! `licence-client`. Nothing here is touched by reads of properties.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use licence_client::Client;
use licence_core::protocol::ConnectionInfo;

use crate::thread::{self, PlatformSpawn};
use crate::{host_info, logfile};

/// Destroying the last object when no seat is held blocks its caller at most this long.
pub(crate) const IDLE_STOP_BOUND: Duration = Duration::from_millis(500);

/// `ОсвободитьВсе` blocks its caller at most this long: one message to a server that answers.
pub(crate) const RELEASE_ALL_BOUND: Duration = Duration::from_secs(1);

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
    info: Option<Arc<ConnectionInfo>>,
    /// The process that made the client: after `fork` the child has no worker.
    owner: u32,
}

static PROCESS: Mutex<Process> =
    Mutex::new(Process { objects: 0, client: None, info: None, owner: 0 });

static UNLOADING: AtomicBool = AtomicBool::new(false);

fn lock() -> MutexGuard<'static, Process> {
    PROCESS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    /// In a child process drops nothing and forgets everything: locks may be held by threads that
    /// exist in the parent only.
    fn forget_parent(&mut self) {
        let pid = std::process::id();
        if self.owner != pid {
            std::mem::forget(self.client.take());
            std::mem::forget(self.info.take());
            thread::forget_all();
            self.owner = pid;
        }
    }
}

/// Counts an object that was made.
pub(crate) fn object_created() {
    lock().objects += 1;
}

/// Counts an object that was destroyed. After the last one the client is stopped if it holds no
/// seat; with seats it beats on, because the platform destroys objects between two server calls
/// of one session. Blocks at most [`IDLE_STOP_BOUND`].
pub(crate) fn object_destroyed() {
    let mut process = lock();
    process.objects = process.objects.saturating_sub(1);
    process.forget_parent();
    if process.objects > 0 || !process.client.as_ref().is_some_and(|client| client.is_idle()) {
        return;
    }
    if let Some(client) = process.client.take() {
        // Under the lock, so that there is never a second worker beside the one that ends.
        client.shutdown(IDLE_STOP_BOUND, false);
    }
}

/// The client of this process.
pub(crate) fn client() -> Arc<Client> {
    let mut process = lock();
    process.forget_parent();
    Arc::clone(process.client.get_or_insert_with(|| Arc::new(Client::new(Box::new(PlatformSpawn)))))
}

/// What the process tells the server about itself; gathered once, without blocking calls.
pub(crate) fn info() -> Arc<ConnectionInfo> {
    let mut process = lock();
    process.forget_parent();
    Arc::clone(process.info.get_or_insert_with(|| Arc::new(host_info::gather())))
}

/// Releases every seat of this process and stops its thread; true when nothing is left. Blocks at
/// most [`RELEASE_ALL_BOUND`]. Links of other objects answer errors from then on.
pub(crate) fn release_all() -> bool {
    let mut process = lock();
    process.forget_parent();
    process.client.take().is_none_or(|client| client.shutdown(RELEASE_ALL_BOUND, true))
}

/// Whether [`unload`] has begun.
pub(crate) fn is_unloading() -> bool {
    UNLOADING.load(Ordering::Acquire)
}

/// The library is about to be unmapped, or the process exits: releases the seats, ends the
/// thread, gives back all memory. Blocks at most [`FAREWELL_BOUND`], plus what the thread needs to
/// end (bounded as well).
pub(crate) fn unload() {
    UNLOADING.store(true, Ordering::Release);
    // At exit another thread of the host may stand inside; the process ends without it.
    if let Ok(mut process) = PROCESS.try_lock() {
        process.forget_parent();
        process.info = None;
        if let Some(client) = process.client.take() {
            client.shutdown(FAREWELL_BOUND, true);
        }
    }
    thread::join_all(LAST_JOIN_BOUND);
    logfile::close();
}
