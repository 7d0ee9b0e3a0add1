//! The identity of this installation: the key pair that licences are bound to.
//!
//! It is made once, kept as PKCS#8 in PEM (RFC 8410, as openssl reads it), and never replaced:
//! a file that cannot be read stops the start, because a fresh key would make every installed
//! licence worthless. What the key signs is decided elsewhere.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use licence_core::seal::{self, KEY_BYTES, PublicKey, SigningKey};
use licence_core::wrap::WrapKey;

use crate::atomic_file;
use crate::random::{self, RandomError};

/// DER of a PKCS#8 version 1 key up to the seed (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// A PEM file of one Ed25519 key has 119 bytes; more than this is no key of ours.
const PEM_BYTES_MAX: u64 = 4096;

/// What the key for secrets is derived for; another number would be another key.
const WRAP_KEY_LABEL: &[u8] = b"licence server object key 1";

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file or its folder could not be read or written.
    #[error("identity file {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not an Ed25519 key in PEM.
    #[error("{0} is not an Ed25519 private key (PKCS#8, PEM); restore it from a copy")]
    Malformed(PathBuf),
    /// No random bytes for a key.
    #[error("no identity could be made")]
    Random(#[source] RandomError),
}

/// The key pair of one installation.
pub struct Identity {
    seed: [u8; KEY_BYTES],
    key: Arc<SigningKey>,
    wrap_key: Arc<WrapKey>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.key.public().thumbprint())
    }
}

impl Identity {
    /// The identity with this seed.
    pub fn from_seed(seed: [u8; KEY_BYTES]) -> Self {
        let wrap_key = WrapKey::from_secret(&seal::derive(&seed, WRAP_KEY_LABEL));
        Self { seed, key: Arc::new(SigningKey::from_seed(&seed)), wrap_key: Arc::new(wrap_key) }
    }

    /// The identity in the text of its file; nothing when it is none.
    pub fn from_pem(text: &str) -> Option<Self> {
        seed_of(text).map(Self::from_seed)
    }

    /// Reads the identity, or makes it when the file is not there.
    ///
    /// # Errors
    ///
    /// See [`IdentityError`].
    pub fn load_or_make(path: &Path) -> Result<Self, IdentityError> {
        let file = |source| IdentityError::File { path: path.to_owned(), source };
        match File::open(path) {
            Ok(opened) => {
                let mut text = String::new();
                opened.take(PEM_BYTES_MAX).read_to_string(&mut text).map_err(file)?;
                let seed =
                    seed_of(&text).ok_or_else(|| IdentityError::Malformed(path.to_owned()))?;
                Ok(Self::from_seed(seed))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut seed = [0; KEY_BYTES];
                random::fill(&mut seed).map_err(IdentityError::Random)?;
                atomic_file::make(path, pem_of(&seed).as_bytes()).map_err(file)?;
                log::info!("made the identity of this installation: {}", path.display());
                Ok(Self::from_seed(seed))
            }
            Err(error) => Err(file(error)),
        }
    }

    /// The key that signs.
    pub const fn key(&self) -> &Arc<SigningKey> {
        &self.key
    }

    /// The key for which centres wrap secrets. It follows from the identity, so a backup that has
    /// the one has the other, and an answer that a person carries opens whenever it comes.
    pub const fn wrap_key(&self) -> &Arc<WrapKey> {
        &self.wrap_key
    }

    /// The key that licences are bound to.
    pub fn public(&self) -> PublicKey {
        self.key.public()
    }

    /// The private key as PKCS#8 in DER, for the TLS certificate.
    pub fn pkcs8(&self) -> Vec<u8> {
        der_of(&self.seed)
    }
}

fn der_of(seed: &[u8; KEY_BYTES]) -> Vec<u8> {
    [&PKCS8_PREFIX[..], &seed[..]].concat()
}

fn pem_of(seed: &[u8; KEY_BYTES]) -> String {
    // 48 bytes are 64 base64 characters: exactly one line of PEM.
    format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", STANDARD.encode(der_of(seed)))
}

fn seed_of(text: &str) -> Option<[u8; KEY_BYTES]> {
    let inner = text.trim().strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END)?;
    let encoded: String = inner.split_whitespace().collect();
    STANDARD.decode(encoded).ok()?.strip_prefix(&PKCS8_PREFIX)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn identity_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("3.0").join("identity.key");
        let made = Identity::load_or_make(&path).unwrap();
        let found = Identity::load_or_make(&path).unwrap();
        assert_eq!(made.public(), found.public());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no part file left");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn damaged_identity_stops_the_start_and_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        for text in ["", "nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
        {
            fs::write(&path, text).unwrap();
            let error = Identity::load_or_make(&path).unwrap_err();
            assert!(matches!(error, IdentityError::Malformed(_)), "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn key_for_secrets_follows_from_the_identity_and_is_not_its_seed() {
        let one = Identity::from_seed([1; 32]);
        assert_eq!(one.wrap_key().jwk(), Identity::from_seed([1; 32]).wrap_key().jwk());
        assert_ne!(one.wrap_key().jwk(), Identity::from_seed([2; 32]).wrap_key().jwk());
        assert_ne!(one.wrap_key().public(), WrapKey::from_secret(&[1; 32]).public());
        assert!(!format!("{one:?}").contains(&one.wrap_key().jwk().x));
    }

    #[test]
    fn key_written_by_openssl_is_read() {
        // The key of RFC 8410, section 10.3.
        let pem = "-----BEGIN PRIVATE KEY-----\n\
            MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
            -----END PRIVATE KEY-----\n";
        let seed = seed_of(pem).unwrap();
        assert_eq!(seed[..2], [0xD4, 0xEE]);
        assert_eq!(pem_of(&seed), pem);
    }
}
