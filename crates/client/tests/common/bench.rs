//! A client on a clock that tests move, with the threads that it has.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use licence_client::{
    Client, Clock, ConfPaths, Joinable, Language, Link, Spawn, StartOptions, StdSpawn,
};
use licence_core::protocol::ConnectionInfo;
use licence_core::time::MonoTime;

use super::{SERIES, descriptor};

/// A clock that only tests move.
#[derive(Clone, Default)]
pub(crate) struct TestClock(Arc<AtomicU64>);

impl Clock for TestClock {
    fn now(&self) -> MonoTime {
        MonoTime::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Counts the threads that are alive.
#[derive(Clone, Default)]
pub(crate) struct CountingSpawn(pub(crate) Arc<AtomicUsize>);

impl Spawn for CountingSpawn {
    fn spawn(&self, body: Box<dyn FnOnce() + Send + 'static>) -> io::Result<Box<dyn Joinable>> {
        struct Leave(Arc<AtomicUsize>);
        impl Drop for Leave {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.0.fetch_add(1, Ordering::SeqCst);
        let leave = Leave(Arc::clone(&self.0));
        StdSpawn.spawn(Box::new(move || {
            let _leave = leave;
            body();
        }))
    }
}

/// A client on a clock of its own, with a folder for its files.
pub(crate) struct Bench {
    pub(crate) client: Client,
    pub(crate) clock: TestClock,
    pub(crate) threads: Arc<AtomicUsize>,
    pub(crate) folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let (clock, spawn) = (TestClock::default(), CountingSpawn::default());
        let threads = Arc::clone(&spawn.0);
        let client = Client::with_clock(Box::new(spawn), Arc::new(clock.clone()));
        Self { client, clock, threads, folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn options(&self, servers: &[SocketAddr]) -> StartOptions {
        let (first, reserve) = servers.split_first().unwrap();
        let reserve: Vec<_> = reserve.iter().map(ToString::to_string).collect();
        let common = self.folder.path().join("licenceaddin.conf");
        let conf = format!("[Common]\nReservedServers={}\n", reserve.join(","));
        std::fs::write(&common, conf).unwrap();
        StartOptions {
            series: SERIES,
            presence_only: false,
            connection_string: Some(format!("host={};port={}", first.ip(), first.port())),
            descriptor: Some(descriptor()),
            info: ConnectionInfo { computer_name: "SECRET-PC".into(), ..Default::default() },
            paths: ConfPaths { user: None, common },
            language: Language::Russian,
        }
    }

    pub(crate) fn start(&self, servers: &[SocketAddr]) -> Link {
        self.client.start(self.options(servers)).unwrap()
    }

    /// Class and Russian text of a start that must fail.
    pub(crate) fn refused(&self, servers: &[SocketAddr]) -> (String, String) {
        let error = self.client.start(self.options(servers)).unwrap_err();
        (error.class().to_owned(), error.text(Language::Russian))
    }

    /// Lets time pass for heartbeats and leases.
    pub(crate) fn advance(&self, secs: u64) {
        self.clock.0.fetch_add(secs * 1000, Ordering::SeqCst);
        self.client.wake();
    }
}
