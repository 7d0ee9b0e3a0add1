//! Calls of a reserve server to its main server: HTTPS that trusts one key, bounded in time and size.
//!
//! The main server shows the certificate of its identity, as to components, and the key in it is
//! compared with the pin of the settings. What is asked and what answers mean stands elsewhere.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use licence_core::causes::with_causes;
use licence_core::language::Language;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerIncompatible, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::api::VERSION;
use crate::certificate::spki_digest;
use crate::config::DEFAULT_PORT;

/// How long the connection may take to come about: a server in the next room answers in milliseconds.
const CONNECT_BOUND: Duration = Duration::from_secs(5);

/// The main server as the settings name it.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct MainServer {
    host: String,
    port: u16,
    pin: [u8; 32],
    token: String,
}

/// Without the token.
impl std::fmt::Debug for MainServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MainServer({}:{})", self.host, self.port)
    }
}

/// Why the settings name no main server.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum MainError {
    /// Not `https://host:port`.
    #[error("[ISMP] Main must be https://host or https://host:port")]
    Address,
    /// None.
    #[error("[ISMP] MainPin must be the pin that the page of the main server shows")]
    Pin,
    /// None, or one that goes into no header.
    #[error("[ISMP] MainToken must be a token of scope ismp of the main server")]
    Token,
}

impl MainError {
    /// The same in Russian.
    pub(crate) const fn russian(self) -> &'static str {
        match self {
            Self::Address => "[ISMP] Main должен быть вида https://узел или https://узел:порт",
            Self::Pin => "[ISMP] MainPin должен быть пином со страницы главного сервера",
            Self::Token => "[ISMP] MainToken должен быть токеном области ismp главного сервера",
        }
    }
}

impl MainServer {
    /// The server at this address, with this pin and this token.
    ///
    /// # Errors
    ///
    /// The first of them that cannot be.
    pub(crate) fn new(
        address: &str,
        pin: Option<[u8; 32]>,
        token: &str,
    ) -> Result<Self, MainError> {
        let uri: Uri = address.trim().parse().map_err(|_| MainError::Address)?;
        let is_bare = uri.scheme_str() == Some("https")
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none()
            && !uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        let host = uri.host().filter(|host| is_bare && !host.is_empty());
        let host = host.ok_or(MainError::Address)?.to_owned();
        let port = uri.port_u16().unwrap_or(DEFAULT_PORT);
        let pin = pin.ok_or(MainError::Pin)?;
        let token = token.trim();
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(MainError::Token);
        }
        Ok(Self { host, port, pin, token: token.to_owned() })
    }

    /// `host:port`, for people.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// One call.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) method: &'static str,
    /// Path and query.
    pub(crate) path: String,
    /// JSON, or nothing.
    pub(crate) body: Vec<u8>,
    /// How long it may take in all.
    pub(crate) bound: Duration,
    /// How long an answer may be, in bytes.
    pub(crate) bytes_max: usize,
    /// For its texts.
    pub(crate) language: Language,
}

/// Why there is no answer. Never repeats what was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// No connection.
    #[error("it cannot be reached")]
    Connect(#[source] std::io::Error),
    /// No TLS, or the key is another one than the settings say.
    #[error("TLS with it does not come about; is MainPin the pin that its page shows?")]
    Tls(#[source] std::io::Error),
    /// The call broke off.
    #[error("the call broke off")]
    Http(#[source] hyper::Error),
    /// The request cannot be made.
    #[error("the call cannot be made")]
    Request(#[source] hyper::http::Error),
    /// The answer is longer than it may be, or breaks off.
    #[error("its answer is too long or breaks off")]
    Body,
    /// It takes too long.
    #[error("it does not answer in time")]
    TimedOut,
}

impl LinkError {
    /// Whether the main server cannot have heard of the call.
    pub(crate) const fn is_unsent(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Tls(_) | Self::Request(_))
    }

    /// With its causes, for the log and for people.
    pub(crate) fn told(&self) -> String {
        with_causes(self)
    }
}

/// Asks the main server.
///
/// # Errors
///
/// See [`LinkError`]; an answer with any status is none.
pub(crate) async fn ask(main: &MainServer, asked: Asked) -> Result<(StatusCode, Bytes), LinkError> {
    let bound = asked.bound;
    tokio::time::timeout(bound, call(main, asked)).await.unwrap_or(Err(LinkError::TimedOut))
}

async fn call(main: &MainServer, asked: Asked) -> Result<(StatusCode, Bytes), LinkError> {
    let host = main.host.trim_start_matches('[').trim_end_matches(']');
    let connecting = async {
        let stream = TcpStream::connect((host, main.port)).await.map_err(LinkError::Connect)?;
        // Small messages that somebody waits for; a socket that does not take it works all the same.
        let _slower = stream.set_nodelay(true);
        let tls = config(main.pin).map_err(|error| LinkError::Tls(std::io::Error::other(error)))?;
        let name = ServerName::try_from("licenceserver")
            .map_err(|error| LinkError::Tls(std::io::Error::other(error)))?;
        TlsConnector::from(Arc::new(tls)).connect(name, stream).await.map_err(LinkError::Tls)
    };
    let stream = tokio::time::timeout(CONNECT_BOUND, connecting)
        .await
        .unwrap_or_else(|_| Err(LinkError::Connect(std::io::ErrorKind::TimedOut.into())))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(LinkError::Http)?;
    let request = Request::builder()
        .method(asked.method)
        .uri(asked.path)
        .header(HOST, main.address())
        .header(USER_AGENT, format!("licenceserver/{VERSION}"))
        .header(AUTHORIZATION, format!("Bearer {}", main.token))
        .header(ACCEPT_LANGUAGE, asked.language.pick("ru", "en"))
        .header(CONTENT_TYPE, "application/json; charset=utf-8")
        .body(Full::new(Bytes::from(asked.body)))
        .map_err(LinkError::Request)?;
    let bytes_max = asked.bytes_max;
    let answering = async move {
        let answer = sender.send_request(request).await.map_err(LinkError::Http)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), bytes_max).collect().await;
        let body = body.map_err(|_| LinkError::Body)?.to_bytes();
        Ok((status, body))
    };
    tokio::pin!(answering);
    tokio::select! {
        answer = &mut answering => answer,
        // The connection only drives; what it carried is told by the answer.
        ended = connection => match ended {
            Ok(()) => answering.await,
            Err(error) => Err(LinkError::Http(error)),
        },
    }
}

fn config(pin: [u8; 32]) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Pinned { provider: Arc::clone(&provider), pin });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // A resumed handshake shows no certificate.
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

/// Trusts the one key whose digest it knows.
#[derive(Debug)]
struct Pinned {
    provider: Arc<CryptoProvider>,
    pin: [u8; 32],
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if spki_digest(end_entity) == Some(self.pin) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    /// The certificate of the identity is shown to those who take Ed25519 and nothing else.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: Option<[u8; 32]> = Some([7; 32]);

    #[test]
    fn main_server_is_an_https_address_a_pin_and_a_token() {
        let main = MainServer::new("https://lic.example", PIN, " t ").unwrap();
        assert_eq!(main.address(), format!("lic.example:{DEFAULT_PORT}"));
        assert_eq!(MainServer::new("https://[::1]:7/", PIN, "t").unwrap().address(), "[::1]:7");
        for (address, pin, token, wanted) in [
            ("http://lic.example", PIN, "t", MainError::Address),
            ("lic.example:9099", PIN, "t", MainError::Address),
            ("https://a:b@lic.example", PIN, "t", MainError::Address),
            ("https://lic.example/api", PIN, "t", MainError::Address),
            ("https://lic.example/?x", PIN, "t", MainError::Address),
            ("", PIN, "t", MainError::Address),
            ("https://lic.example", None, "t", MainError::Pin),
            ("https://lic.example", PIN, "", MainError::Token),
            ("https://lic.example", PIN, "a\r\nb", MainError::Token),
        ] {
            assert_eq!(MainServer::new(address, pin, token), Err(wanted), "{address}");
        }
    }

    #[test]
    fn debug_form_shows_no_token() {
        let main = MainServer::new("https://lic.example", PIN, "very-secret").unwrap();
        assert!(!format!("{main:?}").contains("very-secret"));
    }
}
