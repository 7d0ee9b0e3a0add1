//! The listener: accepts connections, serves HTTP/1.1 on them, stops gracefully.
//!
//! TLS is the reverse proxy's matter (see `docs/centre.md`). What an answer says is decided in
//! `api`.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::api::Centre;

/// Connections at one time. Buyers come one by one through a proxy that keeps its connections;
/// with some 20 KiB each this bounds memory at 10 MB, and stays below the usual 1024 file
/// descriptors. Further connections wait in the system's queue.
const CONNECTIONS_MAX: usize = 512;

/// How long the head of a request may take, also the first after connecting: a client that sends
/// a byte a second must not hold a place.
const HEAD_WAIT: Duration = Duration::from_secs(10);

/// Largest head of a request; ours have some 300 bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long running requests may take to end after the stop was asked for.
const STOP_WAIT: Duration = Duration::from_secs(10);

/// Pause after the system refused a connection for lack of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` is ready, then lets running requests end.
pub async fn serve(listener: TcpListener, centre: Arc<Centre>, stop: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            () = &mut stop => break,
            (place, accepted) = accepted => match (place, accepted) {
                (Ok(place), Ok((stream, _))) => (place, stream),
                (_, Err(error)) => {
                    // Out of file descriptors, most likely: the condition ends when a connection
                    // does, and trying at once again would only burn the processor.
                    log::warn!("no connection accepted: {error}");
                    tokio::select! {
                        () = &mut stop => break,
                        () = tokio::time::sleep(ACCEPT_PAUSE) => continue,
                    }
                }
                (Err(_), Ok(_)) => break,
            },
        };
        // Small answers must not wait for the acknowledgement of the ones before.
        let _ = stream.set_nodelay(true);
        let centre = Arc::clone(&centre);
        let service = service_fn(move |request| {
            let centre = Arc::clone(&centre);
            async move { Ok::<_, Infallible>(centre.answer(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WAIT)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = watched.await {
                log::debug!("connection: {error}");
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(STOP_WAIT, graceful.shutdown()).await.is_err() {
        log::warn!("some requests did not end within {} s", STOP_WAIT.as_secs());
    }
}
