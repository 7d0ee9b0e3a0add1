//! One keep-alive HTTP/1.1 connection over TCP or TLS 1.3, one request at a time.
//!
//! As little as can be, so that the client's share of the machine is small and the same for every
//! server measured. It trusts any certificate: it measures, and carries no secrets.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};

/// How long one read or write may take: a server that is silent for longer has failed the run.
const IO_BOUND: Duration = Duration::from_secs(30);

/// Longest answer that is read: a list of 10,000 sessions has some 6 MB.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Status and body of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// HTTP status.
    pub(super) status: u16,
    /// The body.
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Whether the status is 2xx.
    pub(super) const fn is_ok(&self) -> bool {
        self.status >= 200 && self.status < 300
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A connection to a server on this computer.
pub(super) struct Channel {
    stream: Stream,
    sent: Vec<u8>,
    received: Vec<u8>,
}

impl Channel {
    /// Connects to 127.0.0.1, with TLS where a setup is given.
    ///
    /// # Errors
    ///
    /// When nobody listens there, or the handshake fails.
    pub(super) fn open(port: u16, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let tcp = TcpStream::connect_timeout(&address, IO_BOUND)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(IO_BOUND))?;
        tcp.set_write_timeout(Some(IO_BOUND))?;
        let stream = match tls {
            None => Stream::Plain(tcp),
            Some(config) => {
                let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
                let session =
                    ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
                Stream::Tls(Box::new(StreamOwned::new(session, tcp)))
            }
        };
        Ok(Self { stream, sent: Vec::new(), received: Vec::new() })
    }

    /// Sends one request and reads the whole answer. `headers` are whole lines with their ends.
    ///
    /// # Errors
    ///
    /// When the connection breaks, is silent for 30 s, or the answer is not HTTP/1.1 with
    /// `Content-Length`.
    pub(super) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> io::Result<Answer> {
        self.sent.clear();
        write!(
            self.sent,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )?;
        self.sent.extend_from_slice(body);
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(&self.sent)?,
            Stream::Tls(stream) => {
                stream.write_all(&self.sent)?;
                stream.flush()?;
            }
        }
        self.received.clear();
        let head = loop {
            if let Some(head) = parse_head(&self.received)? {
                break head;
            }
            if self.received.len() > HEAD_BYTES_MAX {
                return Err(invalid("the head of an answer is too long"));
            }
            self.read_more()?;
        };
        if head.body_bytes > ANSWER_BYTES_MAX {
            return Err(invalid("an answer is too long"));
        }
        while self.received.len() < head.bytes + head.body_bytes {
            self.read_more()?;
        }
        let body = self.received.split_off(head.bytes);
        Ok(Answer { status: head.status, body })
    }

    fn read_more(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 * 1024];
        let count = match &mut self.stream {
            Stream::Plain(stream) => stream.read(&mut chunk)?,
            Stream::Tls(stream) => stream.read(&mut chunk)?,
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.received.extend_from_slice(&chunk[..count]);
        Ok(())
    }
}

#[derive(Debug, Eq, PartialEq)]
struct Head {
    status: u16,
    bytes: usize,
    body_bytes: usize,
}

/// Reads the head of an answer; nothing while it is not complete.
fn parse_head(received: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&received[..end])
        .map_err(|_| invalid("the head of an answer is not UTF-8"))?;
    let mut lines = text.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|rest| rest.get(..3))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| invalid("the answer is not HTTP/1.1"))?;
    let body_bytes = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or_else(|| invalid("the answer has no Content-Length"))?;
    Ok(Some(Head { status, bytes: end + 4, body_bytes }))
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// TLS 1.3 that takes any certificate and never resumes.
///
/// # Errors
///
/// Only when the provider lacks TLS 1.3.
pub(super) fn any_certificate() -> Result<Arc<ClientConfig>, Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustAny))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct TrustAny;

impl ServerCertVerifier for TrustAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_is_read_once_it_is_complete() {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ndate: x\r\n\r\nhello";
        for cut in 0..head.len() - 5 {
            assert_eq!(parse_head(&head[..cut]).unwrap(), None, "{cut}");
        }
        let expected = Head { status: 200, bytes: head.len() - 5, body_bytes: 5 };
        assert_eq!(parse_head(head).unwrap(), Some(expected));
    }

    #[test]
    fn answer_of_another_form_is_an_error() {
        for head in [
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert!(parse_head(head.as_bytes()).is_err(), "{head}");
        }
    }
}
