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

/// Silence after which the system asks whether the other side is still there: connections through a firewall
/// that forgets them are found before a call meets them.
const SILENCE: Duration = Duration::from_secs(10);

/// Pause before it asks again.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// How often it asks before the connection is given up: within 25 s after the last word, so that a node whose
/// watch is dead, while its lease is renewed over another connection, does not miss for longer what others
/// ask of it.
const ASKS: u32 = 3;

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
        let _unasked = ask_whether_alive(&stream);
        Ok(Box::new(stream) as Box<dyn Stream>)
    })
}

fn ask_whether_alive(stream: &TcpStream) -> io::Result<()> {
    let asking = TcpKeepalive::new().with_time(SILENCE).with_interval(ASK_EVERY);
    SockRef::from(stream).set_tcp_keepalive(&asking.with_retries(ASKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silent_connection_is_given_up_within_half_a_minute() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        ask_whether_alive(&stream).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        let between = socket.tcp_keepalive_interval().unwrap();
        let given_up = socket.tcp_keepalive_time().unwrap()
            + between * socket.tcp_keepalive_retries().unwrap();
        assert_eq!(given_up, Duration::from_secs(25));
    }
}
