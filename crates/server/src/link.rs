//! Calls of this server to another licence server: HTTPS that trusts one key, bounded in time and size.
//!
//! The other server shows the certificate of its identity, as to components, and the key in it is
//! compared with the pin. Where the pin comes from, what is asked and what answers mean stands
//! elsewhere; plain HTTP is never spoken.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
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

/// How long a connection may take to come about where nobody waits for it: a server in the next room
/// answers in milliseconds.
pub(crate) const CONNECT_BOUND: Duration = Duration::from_secs(5);

/// Another server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Remote {
    /// A name or an address; one of IPv6 in brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// SHA-256 of the `SubjectPublicKeyInfo` of its identity's key.
    pub(crate) pin: [u8; 32],
}

impl Remote {
    /// `host:port`, for people and for the request.
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
    /// How long the connection may take to come about.
    pub(crate) connect: Duration,
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
    /// No TLS, or the key is another one than the pin's.
    #[error("TLS with it does not come about, or it proves another key")]
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
    /// Whether the other server cannot have heard of the call.
    pub(crate) const fn is_unsent(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Tls(_) | Self::Request(_))
    }

    /// With its causes, for the log and for people.
    pub(crate) fn told(&self) -> String {
        with_causes(self)
    }
}

/// Asks another server, by this token.
///
/// # Errors
///
/// See [`LinkError`]; an answer with any status is none.
pub(crate) async fn ask(
    remote: &Remote,
    token: &str,
    asked: Asked,
) -> Result<(StatusCode, Bytes), LinkError> {
    let bound = asked.bound;
    let call = call(remote, token, asked);
    tokio::time::timeout(bound, call).await.unwrap_or(Err(LinkError::TimedOut))
}

async fn call(
    remote: &Remote,
    token: &str,
    asked: Asked,
) -> Result<(StatusCode, Bytes), LinkError> {
    let host = remote.host.trim_start_matches('[').trim_end_matches(']');
    let connecting = async {
        let stream = TcpStream::connect((host, remote.port)).await.map_err(LinkError::Connect)?;
        // Small messages that somebody waits for; a socket that does not take it works all the same.
        let _slower = stream.set_nodelay(true);
        let tls =
            config(remote.pin).map_err(|error| LinkError::Tls(std::io::Error::other(error)))?;
        let name = ServerName::try_from("licenceserver")
            .map_err(|error| LinkError::Tls(std::io::Error::other(error)))?;
        TlsConnector::from(Arc::new(tls)).connect(name, stream).await.map_err(LinkError::Tls)
    };
    let stream = tokio::time::timeout(asked.connect, connecting)
        .await
        .unwrap_or_else(|_| Err(LinkError::Connect(std::io::ErrorKind::TimedOut.into())))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(LinkError::Http)?;
    let request = Request::builder()
        .method(asked.method)
        .uri(asked.path)
        .header(HOST, remote.address())
        .header(USER_AGENT, format!("licenceserver/{VERSION}"))
        .header(AUTHORIZATION, format!("Bearer {token}"))
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
