//! How requests reach whoever runs the server: restart, and word of the end.
//!
//! Carries wishes and facts; [`crate::run`] decides what becomes of them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::config::Config;

/// Asks the server to start again without leaving the process, and tells of its end.
#[derive(Clone, Debug, Default)]
pub struct Control {
    restart: Arc<Notify>,
    ending: Arc<watch::Sender<bool>>,
    place: Option<Place>,
}

/// Where the server listens, and why there.
#[derive(Clone, Copy, Debug)]
struct Place {
    bound: SocketAddr,
    /// `ServerPort` of the settings in force at the start.
    set_port: u16,
    /// Whether the command line names the port, above the settings.
    is_port_given: bool,
}

impl Control {
    /// For a server that listens on `bound`, started with `set_port` in its settings.
    pub fn new(bound: SocketAddr, set_port: u16, is_port_given: bool) -> Self {
        Self { place: Some(Place { bound, set_port, is_port_given }), ..Self::default() }
    }

    /// Asks for a restart within the process: requests under way are answered first.
    pub fn restart(&self) {
        self.restart.notify_one();
    }

    /// Done when a restart was asked for.
    pub async fn restart_wanted(&self) {
        self.restart.notified().await;
    }

    /// Tells everybody that the server ends or starts again.
    pub fn end(&self) {
        self.ending.send_replace(true);
    }

    /// Done when the server ends or starts again: what goes on without end, such as a stream of
    /// events or a task in the background, stops then.
    pub async fn ended(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        drop(self.ending.subscribe().wait_for(|ending| *ending).await);
    }

    /// The address that the server listens on; nothing without a socket.
    pub fn bound(&self) -> Option<SocketAddr> {
        self.place.map(|place| place.bound)
    }

    /// The port that the server will listen on after a restart with this conf file, as far as it
    /// can be known before. Blocks on the disk.
    pub fn port_after_restart(&self, conf: &Path) -> Option<u16> {
        let place = self.place?;
        let set = Config::load(conf).ok().map(|config| config.server_port);
        let other =
            set.filter(|port| !place.is_port_given && *port != place.set_port && *port != 0);
        Some(other.unwrap_or_else(|| place.bound.port()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_after_a_restart_is_that_of_the_settings_unless_the_command_line_names_one() {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("licenceserver.conf");
        let bound: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        for (text, given, expected) in [
            ("[Common]\nServerPort=4000\n", false, 4000),
            ("[Common]\nServerPort=4001\n", false, 4001),
            ("[Common]\nServerPort=4001\n", true, 4000),
            ("[Common]\nServerPort=0\n", false, 4000),
            ("[Common]\nServerPort=many\n", false, 4000),
        ] {
            std::fs::write(&conf, text).unwrap();
            let control = Control::new(bound, 4000, given);
            assert_eq!(control.port_after_restart(&conf), Some(expected), "{text} {given}");
        }
        assert_eq!(Control::default().port_after_restart(&conf), None);
    }

    #[tokio::test]
    async fn end_is_heard_by_whoever_listens_before_and_after() {
        let control = Control::default();
        let heard = control.clone();
        let waiting = tokio::spawn(async move { heard.ended().await });
        control.end();
        waiting.await.unwrap();
        control.ended().await;
    }
}
