//! Signals of the operating system as wishes: stop, and read the settings again.
//!
//! They are heard from the start of the process to its end, over any number of restarts within it.

use std::io;

use tokio::sync::watch;

/// The wishes that came so far.
#[derive(Clone, Debug)]
pub struct Signals {
    stop: watch::Receiver<bool>,
    reload: watch::Receiver<u64>,
    reloads_seen: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl Signals {
    /// Begins to hear SIGTERM, SIGINT and SIGHUP; on Windows Ctrl+C, Ctrl+Break, the end of the console or
    /// the machine, and the service manager.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn listen() -> io::Result<Self> {
        let (stop, stop_seen) = watch::channel(false);
        let (reload, reload_seen) = watch::channel(0);
        hear(stop, reload)?;
        Ok(Self { stop: stop_seen, reload: reload_seen, reloads_seen: Default::default() })
    }

    /// Done when the process is told to stop, also when that was before.
    pub async fn stop(&self) {
        let mut stop = self.stop.clone();
        if stop.wait_for(|stop| *stop).await.is_err() {
            // The task that hears has ended with its runtime; so will whoever waits here.
            std::future::pending::<()>().await;
        }
    }

    /// Done once for any number of calls to read the settings again since the last time.
    pub async fn reload(&self) {
        use std::sync::atomic::Ordering;
        let mut reload = self.reload.clone();
        let seen = self.reloads_seen.load(Ordering::Acquire);
        let Ok(count) = reload.wait_for(|count| *count > seen).await.map(|count| *count) else {
            return std::future::pending().await;
        };
        self.reloads_seen.store(count, Ordering::Release);
    }
}

#[cfg(unix)]
fn hear(stop: watch::Sender<bool>, reload: watch::Sender<u64>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => { stop.send_replace(true); }
                _ = interrupt.recv() => { stop.send_replace(true); }
                _ = hang_up.recv() => reload.send_modify(|count| *count += 1),
            }
        }
    });
    Ok(())
}

#[cfg(windows)]
fn hear(stop: watch::Sender<bool>, reload: watch::Sender<u64>) -> io::Result<()> {
    use tokio::signal::windows;
    let mut ctrl_c = windows::ctrl_c()?;
    let mut ctrl_break = windows::ctrl_break()?;
    // The process lives on for some seconds while these are heard: enough for the last write.
    let mut close = windows::ctrl_close()?;
    let mut shutdown = windows::ctrl_shutdown()?;
    let wishes = crate::service::windows::wishes();
    // What came before is heard as well.
    let (mut told_to_stop, mut told_to_reload) =
        (wishes.stop.subscribe(), wishes.reload.subscribe());
    told_to_stop.mark_changed();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = ctrl_c.recv() => { stop.send_replace(true); }
                _ = ctrl_break.recv() => { stop.send_replace(true); }
                _ = close.recv() => { stop.send_replace(true); }
                _ = shutdown.recv() => { stop.send_replace(true); }
                Ok(()) = told_to_stop.changed() => {
                    let is_wanted = *told_to_stop.borrow_and_update();
                    stop.send_if_modified(|stop| is_wanted && !std::mem::replace(stop, true));
                }
                Ok(()) = told_to_reload.changed() => reload.send_modify(|count| *count += 1),
            }
        }
    });
    Ok(())
}
