//! One port that speaks plain HTTP and TLS, told apart by the first byte of a connection.
//!
//! Accepts, bounds and ends connections; what a request means is [`crate::api`]'s. A connection
//! that does nothing costs one small task until its time is over.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use licence_core::time::MonoTime;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::api::errors::ApiError;
use crate::api::{self, Answer, App, Peer};
use crate::clock;
use crate::stall::Bounded;

/// Connections at one time. A component keeps one open; the largest installations known have
/// some thousands. An idle one that has asked something costs some 16 KiB, so all of them
/// together stay below 300 MB.
pub const CONNECTIONS_MAX: usize = 16_384;

/// How long a fresh connection may take to send its first byte and to finish the TLS handshake.
const HANDSHAKE_SECS_MAX: u64 = 10;

/// How long a connection may take to send the next request's head, counted from the end of the
/// previous answer: three heartbeats of a component, which come every 10 s over one connection.
const HEAD_SECS_MAX: u64 = 30;

/// Largest head of a request, in bytes; a longer one is answered with 431. Components and curl
/// send less than 1 KiB, browsers with a full address bar some kilobytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Read and write buffer of one connection, in bytes.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// How long requests under way may take to finish once the server is told to stop.
const DRAIN_SECS_MAX: u64 = 10;

/// Pause after an accept that failed for want of descriptors or memory: trying again at once
/// would spin.
const ACCEPT_PAUSE_MILLIS: u64 = 100;

/// A warning that can recur with every connection is logged at most this often.
const WARN_EVERY_SECS: u64 = 10;

/// First byte of a TLS connection: content type "handshake" (RFC 8446, section 5.1). No HTTP
/// method begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// Serves until `stop` is done, then lets requests under way finish for at most 10 s. A listener
/// that its owner shares stays open: what comes meanwhile waits in its queue.
pub async fn serve<S>(
    listener: impl Into<Arc<TcpListener>>,
    tls: Arc<ServerConfig>,
    app: Arc<App>,
    stop: S,
) where
    S: Future<Output = ()>,
{
    let listener = listener.into();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let (stopping, stopped) = watch::channel(false);
    let acceptor = TlsAcceptor::from(tls);
    let refused = Throttled::default();
    let failed = Throttled::default();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if let Some(more) = failed.pass(clock::mono()) {
                    log::warn!("a connection could not be accepted: {error} (and {more} more)");
                }
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MILLIS)).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            if let Some(more) = refused.pass(clock::mono()) {
                log::warn!(
                    "closed a connection of {}: {CONNECTIONS_MAX} are open (and {more} more)",
                    peer.ip()
                );
            }
            continue;
        };
        let connection = Connection {
            app: Arc::clone(&app),
            acceptor: acceptor.clone(),
            watcher: graceful.watcher(),
            stopped: stopped.clone(),
            slot: Arc::new(slot),
        };
        tokio::spawn(connection.run(stream, peer));
    }
    drop(listener);
    // Whoever has not sent a whole request yet is let go at once.
    stopping.send_replace(true);
    // Live streams would never finish by themselves.
    app.feed.close();
    app.control.end();
    let open = graceful.count();
    if open > 0 {
        log::info!("stopping: {open} connections are finishing");
    }
    let bound = Duration::from_secs(DRAIN_SECS_MAX);
    let finished = async {
        graceful.shutdown().await;
        // Changes whose caller has gone hold their slot to the end. The semaphore is never closed.
        drop(slots.acquire_many(CONNECTIONS_MAX as u32).await);
    };
    if tokio::time::timeout(bound, finished).await.is_err() {
        log::warn!("some requests did not finish within {DRAIN_SECS_MAX} s");
    }
}

struct Connection {
    app: Arc<App>,
    acceptor: TlsAcceptor,
    watcher: Watcher,
    stopped: watch::Receiver<bool>,
    /// Free again when the connection and all it has begun are over.
    slot: Arc<OwnedSemaphorePermit>,
}

impl Connection {
    async fn run(mut self, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            log::debug!("{peer}: {error}");
        }
        let bound = Duration::from_secs(HANDSHAKE_SECS_MAX);
        let opening = tokio::time::timeout(bound, open(&self.acceptor, stream));
        let opened = tokio::select! {
            _ = self.stopped.wait_for(|stopped| *stopped) => return,
            opened = opening => opened,
        };
        match opened {
            Ok(Ok(Opened::Plain(stream))) => {
                let peer = Peer { ip: peer.ip(), is_tls: false };
                speak(self.app, self.slot, self.watcher, stream, peer).await;
            }
            Ok(Ok(Opened::Tls(stream))) => {
                let peer = Peer { ip: peer.ip(), is_tls: true };
                speak(self.app, self.slot, self.watcher, *stream, peer).await;
            }
            Ok(Ok(Opened::Closed)) => {}
            Ok(Err(error)) => log::debug!("{peer}: {error}"),
            Err(_) => log::debug!("{peer}: nothing came within {HANDSHAKE_SECS_MAX} s"),
        }
    }
}

enum Opened {
    Closed,
    Plain(TcpStream),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

/// Looks at the first byte and shakes hands where it is TLS.
async fn open(acceptor: &TlsAcceptor, stream: TcpStream) -> io::Result<Opened> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Ok(Opened::Closed);
    }
    if first == [TLS_HANDSHAKE] {
        Ok(Opened::Tls(Box::new(acceptor.accept(stream).await?)))
    } else {
        Ok(Opened::Plain(stream))
    }
}

/// HTTP/1.1 until the peer goes, is too slow, or the server stops.
async fn speak<I>(
    app: Arc<App>,
    slot: Arc<OwnedSemaphorePermit>,
    watcher: Watcher,
    io: I,
    peer: Peer,
) where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(move |request| {
        let (app, slot) = (Arc::clone(&app), Arc::clone(&slot));
        async move { Ok::<_, Infallible>(answer(app, slot, peer, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(HEAD_SECS_MAX))
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(Bounded::new(io)), service);
    if let Err(error) = watcher.watch(connection).await {
        log::debug!("{}: {error}", peer.ip);
    }
}

/// Answers one request, to its end also where [`goes_on_alone`] says so and the caller hangs up.
async fn answer(
    app: Arc<App>,
    slot: Arc<OwnedSemaphorePermit>,
    peer: Peer,
    request: Request<Incoming>,
) -> Answer {
    if !goes_on_alone(request.method(), request.uri().path()) {
        return api::serve(&app, peer, request).await;
    }
    let language = app.settings.get().lang;
    let work = tokio::spawn(async move {
        let answer = api::serve(&app, peer, request).await;
        drop(slot);
        answer
    });
    work.await.unwrap_or_else(|error| {
        log::error!("a request ended otherwise: {error}");
        ApiError::internal().response(language)
    })
}

/// Whether a request is carried to its end also when the caller hangs up half way. What an administrator
/// changes is: a change without its line in the audit trail would be nobody's. A component's message
/// needs no task for that: who does not wait for the answer has not got what it asks for, and asks
/// again. Those of [`LAST_WORDS`] do.
fn goes_on_alone(method: &Method, path: &str) -> bool {
    let is_change = !matches!(*method, Method::GET | Method::HEAD);
    is_change && (!path.starts_with(CLIENT_PATHS) || LAST_WORDS.contains(&path))
}

/// Where components send their messages.
const CLIENT_PATHS: &str = "/client/";

/// Messages that must not be lost when the component hangs up: the goodbyes of a process that ends,
/// or seats would stay taken; and an operation, which may come with an administrator's password, so
/// that a guess whose caller does not wait for the answer is counted like any other.
const LAST_WORDS: [&str; 3] = ["/client/v1/close", "/client/v1/disconnect", "/client/v1/operation"];

/// Lets one event through every [`WARN_EVERY_SECS`] and counts the others.
#[derive(Debug, Default)]
struct Throttled {
    last_millis: AtomicU64,
    held_back: AtomicU64,
}

impl Throttled {
    /// How many events were held back since the last one let through; nothing while this one is.
    fn pass(&self, now: MonoTime) -> Option<u64> {
        let last = self.last_millis.load(Ordering::Relaxed);
        let span = Duration::from_secs(WARN_EVERY_SECS);
        if last != 0 && now.since(MonoTime::from_millis(last)) < span {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.last_millis.store(now.as_millis().max(1), Ordering::Relaxed);
        Some(self.held_back.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_something_or_tries_a_password_goes_on_when_its_caller_hangs_up() {
        for (method, path, expected) in [
            (Method::GET, "/api/licences", false),
            (Method::HEAD, "/", false),
            (Method::POST, "/api/licences", true),
            (Method::DELETE, "/api/sessions/1", true),
            (Method::POST, "/client/v1/open", false),
            (Method::POST, "/client/v1/heartbeat", false),
            (Method::POST, "/client/v1/operation", true),
            (Method::POST, "/client/v1/close", true),
            (Method::POST, "/client/v1/disconnect", true),
        ] {
            assert_eq!(goes_on_alone(&method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn warning_that_recurs_is_let_through_now_and_then() {
        let throttled = Throttled::default();
        let at = |secs: u64| MonoTime::from_millis(secs * 1000);
        for (secs, expected) in
            [(1, Some(0)), (2, None), (10, None), (11, Some(2)), (12, None), (30, Some(1))]
        {
            assert_eq!(throttled.pass(at(secs)), expected, "{secs}");
        }
    }
}
