//! What the service manager is told: systemd that the server is ready, reloading, stopping, alive, and a
//! line for `systemctl status`; that of Windows in which state the service is.
//!
//! The sign of life is sent only while the driver takes its turns, so that systemd restarts a
//! server that is stuck. Without a service manager nothing is sent.

#[cfg(target_os = "linux")]
use std::time::Duration;

use tokio::sync::watch;

use crate::driver::Handle;

/// How often a server without a watchdog looks whether its status line has changed.
#[cfg(target_os = "linux")]
const STATUS_SECS: u64 = 10;

/// What the server is doing.
#[derive(Clone, Debug)]
pub enum Phase {
    /// Opening its data; bounded by its own means, so it counts as alive.
    Opening,
    /// Serving at an address.
    Serving(Handle, String),
    /// Waiting for its data to become usable; alive, and why it waits.
    Closed(String),
    /// On its way out.
    Stopping,
}

/// Tells the service manager, if there is one.
#[derive(Clone, Debug)]
pub struct Notifier {
    phase: watch::Sender<Phase>,
}

impl Notifier {
    /// Begins to tell the service manager that the environment names; must be called within a
    /// runtime.
    pub fn start() -> Self {
        let (phase, seen) = watch::channel(Phase::Opening);
        #[cfg(target_os = "linux")]
        if std::env::var_os("NOTIFY_SOCKET").is_some() {
            tokio::spawn(tell(seen));
        }
        #[cfg(windows)]
        super::windows::tell_manager(seen);
        #[cfg(not(any(target_os = "linux", windows)))]
        drop(seen);
        Self { phase }
    }

    /// Says what the server is doing.
    pub fn say(&self, phase: Phase) {
        #[cfg(target_os = "linux")]
        if matches!(phase, Phase::Stopping) {
            // At once: the process may end before a task gets its turn.
            send(&[Word::Stopping, Word::Status("stopping")]);
        }
        self.phase.send_replace(phase);
    }

    /// Says that the settings are being read again, and afterwards what came of it.
    pub fn reloading(&self) {
        #[cfg(target_os = "linux")]
        send(&[Word::Reloading]);
    }

    /// Ends what [`Self::reloading`] began.
    pub fn reloaded(&self) {
        #[cfg(target_os = "linux")]
        send(&[Word::Ready]);
    }
}

/// How often the sign of life is sent: a third of the time after which its absence is noticed.
#[cfg(target_os = "linux")]
fn period(watchdog: Option<Duration>) -> Duration {
    watchdog.map_or(Duration::from_secs(STATUS_SECS), |watchdog| watchdog / 3)
}

#[cfg(target_os = "linux")]
async fn tell(mut phase: watch::Receiver<Phase>) {
    let watchdog = sd_notify::watchdog_enabled();
    let period = period(watchdog);
    let mut is_ready = false;
    let mut shown = String::new();
    loop {
        let present = phase.borrow_and_update().clone();
        let (is_alive, status) = look(&present, period).await;
        let mut words = Vec::new();
        if !is_ready && matches!(present, Phase::Serving(..) | Phase::Closed(_)) {
            words.push(Word::Ready);
            is_ready = true;
        }
        if is_alive && watchdog.is_some() {
            words.push(Word::Alive);
        }
        if let Some(status) = status
            && status != shown
        {
            shown = status;
            words.push(Word::Status(&shown));
        }
        send(&words);
        tokio::select! {
            changed = phase.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(period) => {}
        }
    }
}

/// Whether the server is alive, and what is said of it; nothing leaves the last word standing.
#[cfg(target_os = "linux")]
async fn look(phase: &Phase, bound: Duration) -> (bool, Option<String>) {
    match phase {
        Phase::Opening => (true, Some("opening its data".to_owned())),
        Phase::Closed(why) => {
            (true, Some(format!("grants nothing until its data can be used: {why}")))
        }
        Phase::Stopping => (true, None),
        Phase::Serving(handle, place) => {
            match tokio::time::timeout(bound, handle.alive()).await {
                Ok(Ok(alive)) => {
                    (true, Some(format!("listens on {place}, sessions: {}", alive.sessions)))
                }
                // A failed journal or an ended driver is dealt with by the server itself.
                Ok(Err(error)) => (true, Some(format!("listens on {place}: {error}"))),
                Err(_) => {
                    log::error!("the driver has not answered for {} s", bound.as_secs());
                    (false, Some(format!("listens on {place}: the driver does not answer")))
                }
            }
        }
    }
}

/// One word of the protocol (sd_notify(3)).
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug)]
enum Word<'a> {
    Alive,
    Ready,
    Reloading,
    Status(&'a str),
    Stopping,
}

#[cfg(target_os = "linux")]
fn send(words: &[Word<'_>]) {
    use sd_notify::NotifyState;
    if words.is_empty() {
        return;
    }
    let mut states = Vec::with_capacity(words.len() + 1);
    for word in words {
        states.push(match word {
            Word::Alive => NotifyState::Watchdog,
            Word::Ready => NotifyState::Ready,
            Word::Reloading => NotifyState::Reloading,
            Word::Status(text) => NotifyState::Status(text),
            Word::Stopping => NotifyState::Stopping,
        });
        if matches!(word, Word::Reloading)
            && let Ok(at) = NotifyState::monotonic_usec_now()
        {
            states.push(at);
        }
    }
    if let Err(error) = sd_notify::notify(&states) {
        log::debug!("the service manager cannot be told: {error}");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn sign_of_life_comes_three_times_as_often_as_it_is_waited_for() {
        assert_eq!(period(Some(Duration::from_secs(30))), Duration::from_secs(10));
        assert_eq!(period(None), Duration::from_secs(10));
    }
}
