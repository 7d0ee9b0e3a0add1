//! TLS 1.3 whose trust comes from a licence, not from a certificate authority.
//!
//! The handshake proves that the server holds the secret half of the certificate's Ed25519 key;
//! names, dates and issuers in the certificate mean nothing. Whether that key may be trusted is
//! then decided by [`prove`]: a licence of the series must verify under the pinned series key and
//! must be bound to it, or to a token that has signed that this key may serve it. Session resumption is off, because a resumed handshake shows no
//! certificate.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use licence_core::delegation::Delegation;
use licence_core::holder::{Holder, TokenKey};
use licence_core::key::KeySeries;
use licence_core::licence_file::Licence;
use licence_core::seal::PublicKey;
use licence_core::time::Utc;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error,
    PeerIncompatible, SignatureScheme,
};

use crate::error::ClientError;

/// The DER of an Ed25519 `SubjectPublicKeyInfo` (RFC 8410, section 4) up to the 32 key bytes.
const ED25519_SPKI_HEAD: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Most licences of an answer that are looked at: a server with more keys of one series than this
/// is not known, and each costs a signature check.
const LICENCES_MAX: usize = 10_000;

/// Takes down the key that signed the handshake.
#[derive(Debug)]
pub(crate) struct KeyWitness {
    provider: CryptoProvider,
    proved: Mutex<Option<PublicKey>>,
}

impl KeyWitness {
    /// The key of the certificate, once the handshake has proved that the server holds it.
    pub(crate) fn proved_key(&self) -> Option<PublicKey> {
        *self.proved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerCertVerifier for KeyWitness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        certificate_key(end_entity)?;
        Ok(ServerCertVerified::assertion())
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
        if dss.scheme != SignatureScheme::ED25519 {
            return Err(Error::InvalidCertificate(CertificateError::BadSignature));
        }
        let (key, spki) = certificate_key(cert)?;
        let valid = verify_tls13_signature_with_raw_key(
            message,
            &spki,
            dss,
            &self.provider.signature_verification_algorithms,
        )?;
        *self.proved.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
        Ok(valid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

fn certificate_key(
    cert: &CertificateDer<'_>,
) -> Result<(PublicKey, SubjectPublicKeyInfoDer<'static>), Error> {
    let spki = ParsedCertificate::try_from(cert)?.subject_public_key_info();
    let key = spki
        .as_ref()
        .strip_prefix(&ED25519_SPKI_HEAD)
        .and_then(|key| <[u8; 32]>::try_from(key).ok())
        .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
    Ok((PublicKey::from_bytes(key), spki))
}

/// A TLS session that has not begun, and the witness of its handshake.
///
/// # Errors
///
/// Only when the provider lacks TLS 1.3, which ours does not.
pub(crate) fn session() -> Result<(ClientConnection, Arc<KeyWitness>), Error> {
    let provider = ring::default_provider();
    let witness = Arc::new(KeyWitness { provider: provider.clone(), proved: Mutex::new(None) });
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<KeyWitness>::clone(&witness))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    // Names mean nothing here, and what the host is called is nobody's business on the way.
    config.enable_sni = false;
    let name = ServerName::try_from("licenceserver").map_err(|_| Error::HandshakeNotComplete)?;
    Ok((ClientConnection::new(Arc::new(config), name)?, witness))
}

/// Most signatures of tokens that are checked for one answer: each licence on a token has one
/// delegation, and a server has some tokens. It bounds what an answer with thousands of licences and
/// delegations that go together in no way can cost.
const DELEGATIONS_MAX: usize = 64;

/// What a server shows of itself.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a> {
    /// Licence documents.
    pub(crate) licences: &'a [String],
    /// The words of tokens; none from servers that know no tokens.
    pub(crate) delegations: &'a [String],
}

/// Checks that the holder of `proved` may serve the series at the moment `now`.
///
/// # Errors
///
/// `EServerResult.ELicenceNotFound` when the server shows no licence of the series,
/// `EServerNotTrusted` when none of them verifies, or none that does is bound to its key or to a
/// token that has delegated it.
pub(crate) fn prove(
    server: &str,
    series: KeySeries,
    pinned: &PublicKey,
    proved: Option<PublicKey>,
    shown: Shown<'_>,
    now: Utc,
) -> Result<(), ClientError> {
    if shown.licences.is_empty() {
        return Err(ClientError::new(
            "EServerResult.ELicenceNotFound",
            format!("На сервере {server} не установлено ни одного ключа серии {series}"),
            format!("No key of series {series} is installed at server {server}"),
        ));
    }
    let mut words = Words::read(shown.delegations);
    let (mut is_genuine, mut is_on_token) = (false, false);
    for document in shown.licences.iter().take(LICENCES_MAX) {
        let Ok(licence) = Licence::verify(document, pinned) else { continue };
        if licence.fields().key_id != series {
            continue;
        }
        match (&licence.holder, &proved) {
            (Holder::Server(key), Some(proved)) if key == proved => return Ok(()),
            (Holder::Token(token), Some(proved)) => {
                if words.allow(token, &licence.claims.jti, proved, now) {
                    return Ok(());
                }
                is_on_token = true;
            }
            (Holder::Server(_) | Holder::Token(_), _) => {}
        }
        is_genuine = true;
    }
    Err(if is_on_token {
        ClientError::not_trusted(
            server,
            format!(
                "лицензия серии {series} на аппаратном носителе, но носитель не подтвердил этот \
                 сервер; проверьте носитель и часы сервера и этого компьютера"
            ),
            format!(
                "its licence of series {series} is on a token that has not vouched for this server; \
                 check the token and the clocks of the server and of this computer"
            ),
        )
    } else if is_genuine {
        ClientError::not_trusted(
            server,
            format!("лицензия серии {series} подлинная, но выдана другому серверу"),
            format!("its licence of series {series} is genuine, but bound to another server's key"),
        )
    } else {
        ClientError::not_trusted(
            server,
            format!("ни одна из его лицензий не подписана ключом серии {series}"),
            format!("none of its licences is signed by the key of series {series}"),
        )
    })
}

/// The words of tokens by what they are about, and how many more signatures are checked.
struct Words<'a> {
    texts: BTreeMap<String, Vec<&'a str>>,
    left: usize,
}

impl<'a> Words<'a> {
    fn read(texts: &'a [String]) -> Self {
        let mut read: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for text in texts.iter().take(LICENCES_MAX) {
            if let Some(subject) = Delegation::peek_subject(text) {
                read.entry(subject).or_default().push(text);
            }
        }
        Self { texts: read, left: DELEGATIONS_MAX }
    }

    /// Whether this token has signed that `server` may serve this licence.
    fn allow(&mut self, token: &TokenKey, jti: &str, server: &PublicKey, now: Utc) -> bool {
        for text in self.texts.get(jti).into_iter().flatten() {
            if self.left == 0 {
                return false;
            }
            self.left -= 1;
            let word = Delegation::verify(text, token);
            if word.is_ok_and(|word| word.allows(jti, server, now)) {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
