//! Notice of USB devices that come and go.
//!
//! Notice only: which tokens there are the caller asks anew. Systems without a device manager send
//! none, so a caller looks from time to time in any case.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use futures_core::Stream;
use nusb::hotplug::HotplugWatch;

use crate::apdu::TokenError;
use crate::clock::Deadline;

/// Events that are taken at once: a hub full of devices is one change to a caller.
const EVENTS_MAX: usize = 256;

/// A watch over the USB of this computer.
pub struct Watch {
    events: HotplugWatch,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// [`TokenError::System`] where the system has no such notice; then looking from time to time has
    /// to do.
    pub fn start() -> Result<Self, TokenError> {
        let events =
            nusb::watch_devices().map_err(|error| TokenError::System(error.to_string()))?;
        Ok(Self { events })
    }

    /// Waits for a change, but no longer than `most`; whether there was one. A caller may be woken
    /// earlier by unparking its thread; it is told that nothing has changed.
    pub fn wait(&mut self, most: Duration) -> bool {
        let deadline = Deadline::after(most);
        if self.take() {
            return true;
        }
        if let Some(left) = deadline.left() {
            thread::park_timeout(left);
        }
        self.take()
    }

    /// Takes all events that have come; whether there was one.
    fn take(&mut self) -> bool {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut changed = false;
        for _ in 0..EVENTS_MAX {
            match Pin::new(&mut self.events).poll_next(&mut context) {
                Poll::Ready(Some(_)) => changed = true,
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        changed
    }
}
