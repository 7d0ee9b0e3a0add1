//! TLS of the client channel: a self-signed certificate by the identity of this installation.
//!
//! Nobody is asked to trust the certificate as such: a component compares its key with the key
//! that a genuine licence is bound to. Which connections speak TLS is decided in [`crate::net`].

use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ServerConfig;

use crate::identity::Identity;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate could not be made.
    #[error("making the certificate")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refuses the certificate or the key.
    #[error("setting up TLS")]
    Setup(#[from] rustls::Error),
}

/// TLS 1.3 with a certificate of the identity, for `names` and `localhost`.
///
/// # Errors
///
/// See [`TlsError`].
pub fn server_config(identity: &Identity, names: &[String]) -> Result<Arc<ServerConfig>, TlsError> {
    let der = identity.pkcs8();
    let key_pair = KeyPair::try_from(&PrivatePkcs8KeyDer::from(der.as_slice()))?;
    // Names are for people who look at the certificate; one that is no host name is left out.
    let names: Vec<String> = names
        .iter()
        .map(String::as_str)
        .chain(["localhost"])
        .filter(|name| !name.is_empty() && name.is_ascii())
        .map(str::to_owned)
        .collect();
    let mut params = CertificateParams::new(names)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, "licenceserver");
    params.distinguished_name = subject;
    let certificate = params.self_signed(&key_pair)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der)),
        )?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_is_made_for_any_computer_name() {
        let identity = Identity::from_seed([7; 32]);
        for name in ["MORA-HP", "", "сервер", "a b", "host.example"] {
            assert!(server_config(&identity, &[name.to_owned()]).is_ok(), "{name}");
        }
    }
}
