//! How a connection with an endpoint is opened: by the TCP of the system.
//!
//! Everything above it takes what it is given, so that tests may put a network in its place that
//! delays, holds and loses. Time is bounded by who asks, TLS comes after.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Silence after which the system asks whether the other side is still there, and how often it asks on:
/// connections through a firewall that forgets them are found before a call meets them.
const SILENCE: Duration = Duration::from_secs(10);

/// What is read from and written to.
pub(in crate::cluster) trait Stream:
    AsyncRead + AsyncWrite + Send + Unpin
{
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A stream on its way.
pub(in crate::cluster) type Dialled<'a> =
    Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// Opens a stream to a port of a host. A call of etcd opens one seldom: what a box costs is nothing
/// beside the handshake.
pub(in crate::cluster) type Dial = for<'a> fn(host: &'a str, port: u16) -> Dialled<'a>;

/// By the TCP of the system, which also resolves the name.
pub(super) fn tcp(host: &str, port: u16) -> Dialled<'_> {
    Box::pin(async move {
        let stream = TcpStream::connect((host, port)).await?;
        // Small messages that somebody waits for; a socket that takes neither works all the same.
        let _slower = stream.set_nodelay(true);
        let keepalive = TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE);
        let _unasked = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        Ok(Box::new(stream) as Box<dyn Stream>)
    })
}
