//! HTTP/1.1 over pinned TLS: one channel to one server, one request at a time.
//!
//! Written here and not taken from a client library, because three things must hold at once that
//! none of them offers together: the key that signed the handshake must be seen by the caller,
//! one deadline must cover all reads and writes of a request, and another thread must be able to
//! end a hanging one at once. What is spoken is the small part of HTTP that our servers speak:
//! answers with `Content-Length`. Everything else is an error, never a guess.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use licence_core::failover::Server;
use licence_core::key::KeySeries;
use licence_core::language::Language;
use licence_core::protocol::{ErrorBody, Hello, HelloAnswer, VERSIONS};
use licence_core::seal::PublicKey;
use rustls::{ClientConnection, StreamOwned};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock;
use crate::error::{ClientError, code};
use crate::names::Names;
use crate::net::{self, Budget, Timed};
use crate::tls::{self, KeyWitness, Shown};

/// Longest head of an answer in bytes; ours have some 200.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Longest body of an answer in bytes: views of some 5,000 licences, or 2,700 licence documents of
/// 1.5 KiB each. The memory for it is taken as it arrives, not when it is announced.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Most header fields of an answer.
const HEADERS_MAX: usize = 32;

/// Class of the refusal of a server that has no key of the series.
const NO_KEY: &str = "ELicenceNotFound";

/// Why a request brought no usable answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The server lets go of what it was asked for; the channel is fine.
    Refused {
        /// HTTP status.
        status: u16,
        /// The exception class of the error body, without prefix; empty without such a body.
        exception: String,
        /// When to ask again, if the server says so.
        retry_after: Option<Duration>,
        /// For the caller.
        error: ClientError,
    },
    /// The channel is of no more use.
    Broken {
        /// Nothing of an answer had arrived and the channel had been used before: the server may
        /// merely have closed an idle channel.
        maybe_idle: bool,
        /// What happened.
        why: io::Error,
    },
}

/// A channel to a server that has proved itself.
#[derive(Debug)]
pub(crate) struct Channel {
    tls: StreamOwned<ClientConnection, Timed>,
    server: Server,
    version: u32,
    uses: u32,
    /// Of refusals.
    pub(crate) language: Language,
}

/// A channel over which hello was said.
struct Greeted {
    channel: Channel,
    witness: Arc<KeyWitness>,
    /// What the server said to that.
    answer: Result<HelloAnswer, ClientError>,
}

impl Channel {
    /// Connects, shakes hands, says hello and has the server prove itself. Nothing but the name of
    /// the series has been told to it before that.
    ///
    /// # Errors
    ///
    /// `ELocalServerNotFound` when no licence server answers there in time, `EServerNotTrusted`,
    /// `EVersionMismatch`, or the server's refusal.
    pub(crate) fn open(
        server: &Server,
        series: KeySeries,
        pinned: &PublicKey,
        language: Language,
        budget: &Budget,
        names: &Names,
    ) -> Result<Self, ClientError> {
        let Greeted { mut channel, witness, answer } =
            Self::begin(server, series, language, budget, names)?;
        let answer = answer?;
        let shown = server.to_string();
        let documents = Shown { licences: &answer.licences, delegations: &answer.delegations };
        tls::prove(&shown, series, pinned, witness.proved_key(), documents, clock::utc())?;
        channel.version = answer.version;
        Ok(channel)
    }

    /// The same at a server that may have no key of the series yet: it then proves nothing but that
    /// it holds the key of its certificate, whoever it is. The second value says whether it did
    /// prove itself. A server that shows licences is held to them.
    ///
    /// # Errors
    ///
    /// As [`Self::open`], but for the lack of a key.
    pub(crate) fn open_for_anybody(
        server: &Server,
        series: KeySeries,
        pinned: &PublicKey,
        language: Language,
        budget: &Budget,
        names: &Names,
    ) -> Result<(Self, bool), ClientError> {
        let Greeted { mut channel, witness, answer } =
            Self::begin(server, series, language, budget, names)?;
        let (licences, delegations) = match answer {
            Ok(answer) => {
                channel.version = answer.version;
                (answer.licences, answer.delegations)
            }
            Err(error) if error.is_refusal(NO_KEY) => {
                // The refusal names no version, and every server so far speaks the newest.
                channel.version = VERSIONS.last().copied().unwrap_or(1);
                (Vec::new(), Vec::new())
            }
            Err(error) => return Err(error),
        };
        let (server, documents) =
            (server.to_string(), Shown { licences: &licences, delegations: &delegations });
        let proof =
            tls::prove(&server, series, pinned, witness.proved_key(), documents, clock::utc());
        match proof {
            Ok(()) => Ok((channel, true)),
            Err(error) if error.is_refusal(NO_KEY) => Ok((channel, false)),
            Err(error) => Err(error),
        }
    }

    /// Connects, shakes hands and says hello.
    fn begin(
        server: &Server,
        series: KeySeries,
        language: Language,
        budget: &Budget,
        names: &Names,
    ) -> Result<Greeted, ClientError> {
        let shown = server.to_string();
        let stream = net::connect(server, budget, names).map_err(|why| failed(&shown, &why))?;
        let (session, witness) =
            tls::session().map_err(|why| failed(&shown, &io::Error::other(why)))?;
        let tls = StreamOwned::new(session, stream);
        let mut channel = Self { tls, server: server.clone(), version: 0, uses: 0, language };
        let hello = Hello {
            versions: VERSIONS.to_vec(),
            component: env!("CARGO_PKG_VERSION").to_owned(),
            key_id: series,
        };
        let answer: HelloAnswer = match channel.post_path("/client/hello", &hello, budget) {
            Ok(answer) => answer,
            Err(CallError::Refused { error, .. }) => {
                return Ok(Greeted { channel, witness, answer: Err(error) });
            }
            Err(CallError::Broken { why, .. }) => return Err(failed(&shown, &why)),
        };
        if !VERSIONS.contains(&answer.version) {
            return Err(ClientError::version_mismatch(&short(&answer.server_version)));
        }
        Ok(Greeted { channel, witness, answer: Ok(answer) })
    }

    /// The server.
    pub(crate) const fn server(&self) -> &Server {
        &self.server
    }

    /// `POST /client/vN/{name}`.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; after `Broken` the channel must be dropped.
    pub(crate) fn post<B: Serialize, A: DeserializeOwned>(
        &mut self,
        name: &str,
        body: &B,
        budget: &Budget,
    ) -> Result<A, CallError> {
        let path = format!("/client/v{}/{name}", self.version);
        self.post_path(&path, body, budget)
    }

    fn post_path<B: Serialize, A: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &B,
        budget: &Budget,
    ) -> Result<A, CallError> {
        let broken = |why| CallError::Broken { maybe_idle: false, why };
        let body = serde_json::to_vec(body).map_err(|why| broken(why.into()))?;
        self.tls.sock.budget = budget.clone();
        let used_before = self.uses > 0;
        self.uses = self.uses.saturating_add(1);
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Accept-Language: {}\r\nContent-Length: {}\r\n\r\n",
            self.server,
            code(self.language),
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(&body);
        let sent = self.tls.write_all(&request).and_then(|()| self.tls.flush());
        let mut received = Vec::new();
        let head = match sent.and_then(|()| self.read_head(&mut received)) {
            Ok(head) => head,
            Err(why) => {
                let ended = !matches!(
                    why.kind(),
                    io::ErrorKind::TimedOut | io::ErrorKind::ConnectionAborted
                );
                let maybe_idle = used_before && received.is_empty() && ended;
                return Err(CallError::Broken { maybe_idle, why });
            }
        };
        let mut body = received.split_off(head.bytes);
        self.read_body(&mut body, head.body_bytes).map_err(broken)?;
        if (200..300).contains(&head.status) {
            // An answer without content stands for `null`, the answer of `close`.
            let json: &[u8] = if body.is_empty() { b"null" } else { &body };
            return serde_json::from_slice(json).map_err(|why| {
                broken(invalid(format!("the answer is not the expected JSON: {why}")))
            });
        }
        Err(self.refusal(&head, &body))
    }

    fn read_head(&mut self, received: &mut Vec<u8>) -> io::Result<Head> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(head) = parse_head(received)? {
                return Ok(head);
            }
            if received.len() > HEAD_BYTES_MAX {
                return Err(invalid("the head of the answer is too long"));
            }
            let count = self.tls.read(&mut chunk)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            received.extend_from_slice(&chunk[..count]);
        }
    }

    fn read_body(&mut self, body: &mut Vec<u8>, body_bytes: usize) -> io::Result<()> {
        let mut chunk = [0; 4096];
        while body.len() < body_bytes {
            let want = (body_bytes - body.len()).min(chunk.len());
            let count = self.tls.read(&mut chunk[..want])?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            body.extend_from_slice(&chunk[..count]);
        }
        if body.len() > body_bytes {
            return Err(invalid("more bytes than were announced"));
        }
        Ok(())
    }

    fn refusal(&self, head: &Head, body: &[u8]) -> CallError {
        let Head { status, retry_after, .. } = *head;
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(body) => {
                let exception = short(&body.exception);
                let error = ClientError::refused(&exception, &body.message);
                CallError::Refused { status, exception, retry_after, error }
            }
            Err(_) => CallError::Refused {
                status,
                exception: String::new(),
                retry_after,
                error: ClientError::execute(
                    format!("Сервер {} ответил HTTP {status} без объяснения", self.server),
                    format!("server {} answered HTTP {status} without a reason", self.server),
                ),
            },
        }
    }
}

/// What of a head matters.
#[derive(Debug, Eq, PartialEq)]
struct Head {
    status: u16,
    /// Length of the head itself.
    bytes: usize,
    body_bytes: usize,
    /// `Retry-After` in seconds; a date, which HTTP allows as well, none of our servers sends.
    retry_after: Option<Duration>,
}

/// Reads the head of an answer; nothing when more bytes are needed.
fn parse_head(received: &[u8]) -> io::Result<Option<Head>> {
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut fields);
    let bytes = match answer.parse(received) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(why) => return Err(invalid(format!("not an HTTP answer: {why}"))),
    };
    if bytes > HEAD_BYTES_MAX {
        return Err(invalid("the head of the answer is too long"));
    }
    let status = answer.code.unwrap_or_default();
    if status < 200 {
        return Err(invalid("an interim answer nobody asked for"));
    }
    let mut length = None;
    let mut retry_after = None;
    for field in answer.headers.iter() {
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(invalid("an answer without Content-Length"));
        }
        if field.name.eq_ignore_ascii_case("retry-after") {
            let text = std::str::from_utf8(field.value).unwrap_or_default();
            retry_after = text.trim().parse().ok().map(Duration::from_secs);
        }
        if field.name.eq_ignore_ascii_case("content-length") {
            let digits = std::str::from_utf8(field.value).unwrap_or_default();
            let value: usize = match digits.bytes().all(|b| b.is_ascii_digit()) {
                true => digits.parse().map_err(|_| invalid("a bad Content-Length"))?,
                false => return Err(invalid("a bad Content-Length")),
            };
            if length.is_some_and(|before| before != value) {
                return Err(invalid("two Content-Lengths"));
            }
            length = Some(value);
        }
    }
    let body_bytes = match length {
        Some(length) => length,
        None if status == 204 => 0,
        None => return Err(invalid("an answer without Content-Length")),
    };
    if body_bytes > BODY_BYTES_MAX {
        return Err(invalid(format!("an answer of more than {BODY_BYTES_MAX} bytes")));
    }
    Ok(Some(Head { status, bytes, body_bytes, retry_after }))
}

fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

/// Foreign text cut to what belongs into a message.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

/// Why nobody answered at `server`, for people.
fn failed(server: &str, why: &io::Error) -> ClientError {
    let rustls = why.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let reason = match (rustls, why.kind()) {
        (Some(rustls::Error::InvalidCertificate(_)), _) => {
            return ClientError::not_trusted(
                server,
                "рукопожатие TLS не подписано ключом Ed25519 его сертификата",
                "the TLS handshake is not signed by its certificate's Ed25519 key",
            );
        }
        (Some(error), _) => (
            format!("отвечает не сервер лицензирования ({error})"),
            format!("what answers is not a licence server ({error})"),
        ),
        (None, io::ErrorKind::ConnectionRefused) => {
            ("соединение отклонено".to_owned(), "connection refused".to_owned())
        }
        (None, io::ErrorKind::TimedOut) => {
            ("сервер не отвечает".to_owned(), "the server does not answer".to_owned())
        }
        (None, _) => (why.to_string(), why.to_string()),
    };
    ClientError::not_found(server, &reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn head_is_read_once_it_is_complete() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        for cut in 0..text.len() - 2 {
            assert_eq!(parse_head(&text[..cut]).unwrap(), None, "{cut}");
        }
        let bytes = text.len() - 2;
        let head = Head { status: 200, bytes, body_bytes: 2, retry_after: None };
        assert_eq!(parse_head(text).unwrap(), Some(head));
    }

    #[test]
    fn time_to_ask_again_is_read_when_it_is_a_number_of_seconds() {
        for (value, expected) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("-1", None),
            ("", None),
            ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ] {
            let text =
                format!("HTTP/1.1 503 X\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n");
            let head = parse_head(text.as_bytes()).unwrap().unwrap();
            assert_eq!(head.retry_after, expected.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn answers_that_need_guessing_are_refused() {
        for fields in [
            "",
            "Transfer-Encoding: chunked\r\n",
            "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 2\r\nContent-Length: 3\r\n",
            "Content-Length: +2\r\n",
            "Content-Length: -2\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: 4194305\r\n",
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
            assert!(parse_head(text.as_bytes()).is_err(), "{fields:?}");
        }
        assert!(parse_head(b"HTTP/1.1 100 Continue\r\n\r\n").is_err());
        assert!(parse_head(b"SSH-2.0-OpenSSH_9.2p1\r\n").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_head_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some(head)) = parse_head(&bytes) {
                prop_assert!(head.bytes <= bytes.len());
            }
        }
    }
}
