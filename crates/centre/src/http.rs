//! The listener: accepts connections, serves HTTP/1.1 on them, stops gracefully.
//!
//! TLS is the reverse proxy's matter (see `docs/centre.md`). What an answer says is decided in
//! `api`.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::api::{Centre, From};
use crate::stall::Bounded;

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
        let (place, stream, peer) = tokio::select! {
            () = &mut stop => break,
            (place, accepted) = accepted => match (place, accepted) {
                (Ok(place), Ok((stream, peer))) => (place, stream, peer.ip()),
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
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(From(peer));
            let centre = Arc::clone(&centre);
            async move { Ok::<_, Infallible>(centre.answer(request).await) }
        });
        let watched = graceful.watch(connection(stream, service));
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

/// One connection, bounded in every direction: a head in [`HEAD_WAIT`], a body as `api` reads it,
/// an answer in [`crate::stall::ANSWER_SECS_MAX`].
fn connection<I, S>(stream: I, service: S) -> http1::Connection<TokioIo<Bounded<I>>, S>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: HttpService<Incoming, Error = Infallible>,
    S::ResBody: Body + 'static,
    <S::ResBody as Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Bounded::new(stream)), service)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::Response;
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reader_that_never_reads_frees_its_place() {
        // Far more than the line holds.
        let service = service_fn(|_| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![b'x'; 1 << 20]))))
        });
        let (ours, mut theirs) = tokio::io::duplex(1024);
        theirs.write_all(b"GET / HTTP/1.1\r\nHost: centre\r\n\r\n").await.unwrap();
        // Virtual time: without the bound this would never come back.
        let error = connection(ours, service).await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("was not taken within"), "{cause}");
        drop(theirs);
    }
}
