//! Which certificate a connection is shown: a browser one that it knows, a component the identity.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use licence_core::time::Utc;
use licenceserver::config::TlsSettings;
use licenceserver::net;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{ring, verify_tls12_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use support::pinned::check_tls13_signature;
use support::{Server, start};
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_secs(20);

/// What every browser takes.
const BROWSER: [SignatureScheme; 3] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PKCS1_SHA256,
];

/// Takes any certificate whose key the server holds, and remembers it.
#[derive(Debug)]
struct Witness {
    schemes: Vec<SignatureScheme>,
    shown: Mutex<Vec<u8>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.shown.lock().unwrap() = certificate.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        check_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// The certificate that the server shows to somebody who takes these.
async fn shown(
    server: &Server,
    version: &'static SupportedProtocolVersion,
    schemes: &[SignatureScheme],
) -> Result<Vec<u8>, std::io::Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = server.app.certificates.server_config().unwrap();
    let app = Arc::clone(&server.app);
    let served = tokio::spawn(net::serve(listener, tls, app, std::future::pending()));
    let witness = Arc::new(Witness { schemes: schemes.to_vec(), shown: Mutex::default() });
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::<Witness>::clone(&witness))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let shaken = tokio::time::timeout(PATIENCE, connector.connect(name, stream)).await.unwrap();
    served.abort();
    shaken.map(|_| witness.shown.lock().unwrap().clone())
}

fn contains(whole: &[u8], part: &[u8]) -> bool {
    whole.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn browser_and_component_are_shown_certificates_of_their_kind() {
    let server = start("");
    let identity = *server.identity.public().as_bytes();
    for (version, schemes, is_identity) in [
        (&TLS13, &BROWSER[..], Some(false)),
        (&TLS12, &BROWSER, Some(false)),
        (&TLS13, &[SignatureScheme::ED25519], Some(true)),
        // Somebody who takes both is no component.
        (&TLS13, &[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519], Some(false)),
        (&TLS13, &[SignatureScheme::RSA_PSS_SHA256], None),
    ] {
        let shown = shown(&server, version, schemes).await.ok();
        let found = shown.map(|certificate| contains(&certificate, &identity));
        assert_eq!(found, is_identity, "{version:?} {schemes:?}");
    }
}

#[tokio::test]
async fn given_certificate_is_shown_to_browsers_from_the_moment_it_is_taken_up() {
    let server = start("");
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["lic.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let folder = server.app.paths.settings();
    let pem = |label: &str, der: &[u8]| {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    std::fs::write(folder.join("site.crt"), pem("CERTIFICATE", certificate.der())).unwrap();
    std::fs::write(folder.join("site.key"), pem("PRIVATE KEY", &key.serialize_der())).unwrap();
    let settings = TlsSettings {
        certificate: Some("site.crt".into()),
        key: Some("site.key".into()),
        require_tls: false,
    };
    let now: Utc = "2026-01-01T00:00:00Z".parse().unwrap();
    server.app.certificates.refresh(&settings, &folder, now);
    assert_eq!(shown(&server, &TLS13, &BROWSER).await.unwrap(), certificate.der().to_vec());
    let identity = *server.identity.public().as_bytes();
    let component = shown(&server, &TLS13, &[SignatureScheme::ED25519]).await.unwrap();
    assert!(contains(&component, &identity));
}
