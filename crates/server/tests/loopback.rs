//! The port itself: plain and TLS on one socket, and everything that is neither.
//!
//! Whatever comes in, the answer is clear, the server lives on, and the next request is served.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use licence_core::seal::PublicKey;
use licenceserver::{host, net, tls};
use rustls::pki_types::ServerName;
use support::pinned::client_config;
use support::{basic, start};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Bound of every wait here; nothing comes near it unless something hangs.
const PATIENCE: Duration = Duration::from_secs(20);

struct Listening {
    address: SocketAddr,
    identity: PublicKey,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
    _server: support::Server,
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("no answer in time")
}

async fn listen() -> Listening {
    let server = start("");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = tls::server_config(&server.identity, &["test".to_owned()]).unwrap();
    let (stop, stopped) = oneshot::channel();
    let stopped = async move {
        drop(stopped.await);
    };
    let served = tokio::spawn(net::serve(listener, config, Arc::clone(&server.app), stopped));
    let identity = server.identity.public();
    Listening { address, identity, stop: Some(stop), served, _server: server }
}

impl Listening {
    async fn connect(&self) -> TcpStream {
        within(TcpStream::connect(self.address)).await.unwrap()
    }

    /// Sends bytes, and reads all that comes until the server closes.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The server may close before it has read all of a request that it refuses.
        let _may_be_closed = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _may_be_reset = within(stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn check_alive(&self) {
        let answer = self.exchange(get("/api").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\"Urns\""), "{answer}");
    }
}

fn get(path: &str) -> String {
    let auth = basic("admin:admin");
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {auth}\r\nConnection: close\r\n\r\n"
    )
}

fn post(path: &str, headers: &str) -> String {
    let auth = basic("admin:admin");
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {auth}\r\n{headers}\r\n")
}

#[tokio::test]
async fn whatever_comes_in_gets_a_clear_answer_and_the_server_lives_on() {
    let server = listen().await;
    let long_header = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(100_000));
    let big = post("/api/licences", "Content-Length: 1073741824\r\n");
    let huge = post("/api/licences", "Content-Length: 99999999999999999999\r\n");
    let bad_text = post("/api/licences", "Content-Length: 2\r\nConnection: close\r\n");
    let bad_text = [bad_text.as_bytes(), b"\xff\xfe"].concat();
    let plain_client = post("/client/hello", "Content-Length: 0\r\nConnection: close\r\n");
    let rows: [(&str, &[u8], &str); 10] = [
        ("no HTTP", b"\x00\x01garbage\r\n\r\n", "HTTP/1.1 400"),
        ("no method", b" / HTTP/1.1\r\n\r\n", "HTTP/1.1 400"),
        // Nothing in HTTP/1.1 would be understood; the connection ends.
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
        ("broken header", b"GET / HTTP/1.1\r\nbroken\r\n\r\n", "HTTP/1.1 400"),
        ("long header", long_header.as_bytes(), "HTTP/1.1 431"),
        ("1 GiB body", big.as_bytes(), "HTTP/1.1 413"),
        ("impossible length", huge.as_bytes(), "HTTP/1.1 400"),
        ("bad UTF-8", &bad_text, "HTTP/1.1 400"),
        ("component without TLS", plain_client.as_bytes(), "HTTP/1.1 403"),
        ("TLS garbage", b"\x16garbage\r\n\r\n", "\u{15}\u{3}"),
    ];
    for (what, bytes, expected) in rows {
        let answer = server.exchange(bytes).await;
        assert!(answer.starts_with(expected), "{what}: {answer}");
        server.check_alive().await;
    }
}

#[tokio::test]
async fn endless_body_is_cut_at_the_limit() {
    let server = listen().await;
    let mut stream = server.connect().await;
    let head = post("/api/licences", "Transfer-Encoding: chunked\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let writing = tokio::spawn(async move {
        // Ends when the server closes: it reads no more than its limit.
        while writer.write_all(chunk.as_bytes()).await.is_ok() {}
    });
    let mut answer = vec![0; 12];
    within(reader.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
    drop(reader);
    within(writing).await.unwrap();
    server.check_alive().await;
}

#[tokio::test]
async fn body_that_breaks_off_takes_nothing_down() {
    let server = listen().await;
    let mut stream = server.connect().await;
    let head = post("/api/licences", "Content-Length: 100\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(b"{\"Activation").await.unwrap();
    drop(stream);
    server.check_alive().await;
}

#[tokio::test]
async fn connection_serves_many_requests() {
    let server = listen().await;
    let mut stream = server.connect().await;
    for _ in 0..3 {
        let request = get("/api").replace("Connection: close\r\n", "");
        stream.write_all(request.as_bytes()).await.unwrap();
        assert!(read_answer(&mut stream).await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn idle_sockets_do_not_keep_others_out() {
    let limit = host::raise_open_files_limit().unwrap_or(1024);
    // Both ends of each socket are in this process.
    let count = usize::try_from(limit / 2).unwrap().saturating_sub(100).min(2000);
    let server = listen().await;
    let mut idle = Vec::with_capacity(count);
    for _ in 0..count {
        idle.push(server.connect().await);
    }
    server.check_alive().await;
    assert_eq!(idle.len(), count);
}

#[tokio::test]
async fn stop_lets_the_request_under_way_finish_and_idle_ones_go() {
    let mut server = listen().await;
    let mut idle = server.connect().await;
    let mut busy = server.connect().await;
    let head = post("/api/licences", "Content-Length: 2\r\nExpect: 100-continue\r\n");
    busy.write_all(head.as_bytes()).await.unwrap();
    let mut interim = vec![0; 25];
    // The request is under way once the server asks for its body.
    within(busy.read_exact(&mut interim)).await.unwrap();
    assert_eq!(interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    server.stop.take().unwrap().send(()).unwrap();
    assert_eq!(within(idle.read(&mut [0])).await.unwrap(), 0, "an idle connection is closed");
    busy.write_all(b"{}").await.unwrap();
    assert!(read_answer(&mut busy).await.starts_with("HTTP/1.1 400"));
    within(server.served).await.unwrap();
    let refused = TcpStream::connect(server.address).await;
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

/// Reads one answer: its head, and as many bytes as the head announces.
async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    within(stream.read_exact(&mut body)).await.unwrap();
    head + &String::from_utf8(body).unwrap()
}

async fn over_tls(
    server: &Listening,
    key: PublicKey,
) -> io::Result<impl AsyncRead + AsyncWrite + Unpin> {
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client_config(key)));
    let name = ServerName::try_from("localhost").unwrap();
    within(connector.connect(name, server.connect().await)).await
}

#[tokio::test]
async fn component_speaks_tls_on_the_same_port_with_the_key_of_the_licence() {
    let server = listen().await;
    let mut stream = over_tls(&server, server.identity).await.unwrap();
    let body = r#"{"Versions":[1],"Component":"4.0.0","KeyID":"672B"}"#;
    for _ in 0..2 {
        let head = post("/client/hello", &format!("Content-Length: {}\r\n", body.len()));
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let answer = read_answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    server.check_alive().await;
}

#[tokio::test]
async fn component_that_pins_another_key_does_not_talk() {
    let server = listen().await;
    let other = licence_core::seal::SigningKey::from_seed(&[99; 32]).public();
    assert!(over_tls(&server, other).await.is_err());
    server.check_alive().await;
}

#[tokio::test]
async fn rest_api_is_there_over_tls_too() {
    let server = listen().await;
    let mut stream = over_tls(&server, server.identity).await.unwrap();
    stream.write_all(get("/api").as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    assert!(read_answer(&mut stream).await.starts_with("HTTP/1.1 200 OK\r\n"));
}
