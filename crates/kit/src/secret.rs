//! The secret part of a series and its file, `XXXX.cryptkey`.
//!
//! The file is an age file (age-encryption.org/v1) for one passphrase; what it holds is a private
//! JWK set (RFC 7517, RFC 8037). This module seals and opens it. It does not know where the file
//! lies and never writes a secret in the clear.

use std::fmt;
use std::io::{Read, Write};

use age::DecryptError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use licence_core::key::KeySeries;
use licence_core::seal::{Jwk, KEY_BYTES, SigningKey, sha256};
use licence_core::series::SeriesDescriptor;
use serde::{Deserialize, Serialize};
use x25519_dalek::{PublicKey as ObjectPublic, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

use crate::passphrase::Passphrase;
use crate::random::{self, RandomError};

/// First line of every age file.
pub const AGE_HEADER: &str = "age-encryption.org/v1";

/// Work factor of scrypt for files made here: N = 2^17 with r = 8 takes 128 MiB and a few tenths
/// of a second, the least that OWASP recommends for stored passwords. Fixed rather than measured,
/// so that a file made on a fast machine opens in bounded time on a small one.
pub const WORK_LOG2: u8 = 17;

/// Largest work factor that is accepted on opening: 2^20 takes 1 GiB and seconds. A file that
/// asks for more was not made by this program and would only stop the machine.
pub const WORK_LOG2_MAX: u8 = 20;

/// Largest file that is read: ours have some 600 bytes.
pub const CRYPTKEY_BYTES_MAX: usize = 16 * 1024;

/// Secrets of one series; wiped when dropped.
pub struct SeriesSecret {
    series: KeySeries,
    signing_seed: Zeroizing<[u8; KEY_BYTES]>,
    object_secret: Zeroizing<[u8; KEY_BYTES]>,
}

/// Why the secrets could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The file is damaged or was changed.
    #[error("the file is damaged or was changed")]
    Damaged,
    /// age could not encrypt.
    #[error("encryption failed: {0}")]
    Encrypt(String),
    /// Not an age file for a passphrase.
    #[error("not an age file that opens with a passphrase")]
    NotAge,
    /// The decrypted text is not a key set of ours.
    #[error("the decrypted text is not the key set of a series: {0}")]
    Plaintext(&'static str),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// Larger than [`CRYPTKEY_BYTES_MAX`].
    #[error("larger than {CRYPTKEY_BYTES_MAX} bytes")]
    TooLarge,
    /// The file asks for more work than [`WORK_LOG2_MAX`].
    #[error("the file asks for the scrypt work factor {0}, at most {WORK_LOG2_MAX} is accepted")]
    Work(u8),
    /// The passphrase is not the one it was sealed with.
    #[error("the passphrase is wrong, or the file is damaged")]
    WrongPassphrase,
}

impl SeriesSecret {
    /// Secrets of a series that was never used before.
    ///
    /// # Errors
    ///
    /// [`SecretError::Random`] when the system gives no random bytes.
    pub fn generate(series: KeySeries) -> Result<Self, SecretError> {
        Ok(Self { series, signing_seed: random::key_bytes()?, object_secret: random::key_bytes()? })
    }

    /// Secrets from their bytes: the Ed25519 seed and the X25519 private key.
    pub fn from_bytes(
        series: KeySeries,
        signing_seed: [u8; KEY_BYTES],
        object_secret: [u8; KEY_BYTES],
    ) -> Self {
        Self {
            series,
            signing_seed: Zeroizing::new(signing_seed),
            object_secret: Zeroizing::new(object_secret),
        }
    }

    /// The series.
    pub const fn series(&self) -> KeySeries {
        self.series
    }

    /// The key that signs licences.
    pub fn signing_key(&self) -> SigningKey {
        SigningKey::from_seed(&self.signing_seed)
    }

    /// The X25519 private key that unwraps object keys.
    pub fn object_secret(&self) -> &[u8; KEY_BYTES] {
        &self.object_secret
    }

    /// The X25519 public key for which objects are wrapped.
    pub fn object_public(&self) -> [u8; KEY_BYTES] {
        object_public(&self.object_secret)
    }

    /// The public part, to give to servers and to pin in configurations.
    pub fn descriptor(&self, product_name: String, centre_url: Option<String>) -> SeriesDescriptor {
        SeriesDescriptor::new(
            self.series,
            product_name,
            centre_url,
            self.signing_key().public(),
            object_jwk(&self.object_public()),
        )
    }

    /// The bytes of `XXXX.cryptkey`.
    ///
    /// # Errors
    ///
    /// [`SecretError::Encrypt`]; only a failure inside age brings it about.
    pub fn seal(&self, passphrase: &Passphrase) -> Result<Vec<u8>, SecretError> {
        self.seal_with(passphrase, WORK_LOG2)
    }

    pub(crate) fn seal_with(
        &self,
        passphrase: &Passphrase,
        work_log2: u8,
    ) -> Result<Vec<u8>, SecretError> {
        let failed = |error: &dyn fmt::Display| SecretError::Encrypt(error.to_string());
        let mut recipient = age::scrypt::Recipient::new(passphrase.to_secret());
        recipient.set_work_factor(work_log2);
        let recipients = std::iter::once(&recipient as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients).map_err(|e| failed(&e))?;
        let plaintext = self.plaintext()?;
        let mut sealed = Vec::new();
        let mut writer = encryptor.wrap_output(&mut sealed).map_err(|e| failed(&e))?;
        writer.write_all(&plaintext).map_err(|e| failed(&e))?;
        writer.finish().map_err(|e| failed(&e))?;
        Ok(sealed)
    }

    /// Opens the bytes of `XXXX.cryptkey`.
    ///
    /// # Errors
    ///
    /// See [`SecretError`]. Takes time and memory bounded by [`WORK_LOG2_MAX`].
    pub fn open(bytes: &[u8], passphrase: &Passphrase) -> Result<Self, SecretError> {
        if bytes.len() > CRYPTKEY_BYTES_MAX {
            return Err(SecretError::TooLarge);
        }
        let decryptor = age::Decryptor::new(bytes).map_err(|_| SecretError::NotAge)?;
        if !decryptor.is_scrypt() {
            return Err(SecretError::NotAge);
        }
        let mut identity = age::scrypt::Identity::new(passphrase.to_secret());
        identity.set_max_work_factor(WORK_LOG2_MAX);
        let reader = decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)).map_err(
            |error| match error {
                DecryptError::ExcessiveWork { required, .. } => SecretError::Work(required),
                DecryptError::DecryptionFailed
                | DecryptError::KeyDecryptionFailed
                | DecryptError::NoMatchingKeys => SecretError::WrongPassphrase,
                DecryptError::InvalidHeader
                | DecryptError::InvalidMac
                | DecryptError::Io(_)
                | DecryptError::UnknownFormat
                | _ => SecretError::Damaged,
            },
        )?;
        let mut plaintext = Zeroizing::new(Vec::with_capacity(CRYPTKEY_BYTES_MAX));
        reader
            .take(CRYPTKEY_BYTES_MAX as u64)
            .read_to_end(&mut plaintext)
            .map_err(|_| SecretError::Damaged)?;
        Self::from_plaintext(&plaintext)
    }

    fn plaintext(&self) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let keys = vec![
            PrivateJwk::new(self.signing_key().public().jwk(), &self.signing_seed, "sig"),
            PrivateJwk::new(object_jwk(&self.object_public()), &self.object_secret, "enc"),
        ];
        let form = Plaintext { series: self.series, keys: PrivateJwkSet { keys } };
        // Room for all of it, so that growing leaves no copies behind.
        let mut text = Zeroizing::new(Vec::with_capacity(2048));
        serde_json::to_writer_pretty(&mut *text, &form)
            .map_err(|_| SecretError::Plaintext("it cannot be written as JSON"))?;
        text.push(b'\n');
        Ok(text)
    }

    fn from_plaintext(text: &[u8]) -> Result<Self, SecretError> {
        let form: Plaintext = serde_json::from_slice(text)
            .map_err(|_| SecretError::Plaintext("it is not the expected JSON"))?;
        let only = |curve: &'static str| {
            let mut keys = form.keys.keys.iter().filter(|key| key.public.crv == curve);
            match (keys.next(), keys.next()) {
                (Some(key), None) => key.bytes(curve),
                _ => Err(SecretError::Plaintext("one Ed25519 and one X25519 key are needed")),
            }
        };
        let (signing_public, signing_seed) = only("Ed25519")?;
        let (public, object_secret) = only("X25519")?;
        // A public half that does not belong to its secret would sign what nobody can verify.
        if *SigningKey::from_seed(&signing_seed).public().as_bytes() != signing_public
            || object_public(&object_secret) != public
        {
            return Err(SecretError::Plaintext("x does not belong to d"));
        }
        Ok(Self { series: form.series, signing_seed, object_secret })
    }
}

impl fmt::Debug for SeriesSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeriesSecret").field("series", &self.series).finish_non_exhaustive()
    }
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Plaintext {
    series: KeySeries,
    keys: PrivateJwkSet,
}

#[derive(Deserialize, Serialize)]
struct PrivateJwkSet {
    keys: Vec<PrivateJwk>,
}

/// An octet key pair with its private member `d` (RFC 8037, section 2).
#[derive(Deserialize, Serialize)]
struct PrivateJwk {
    #[serde(flatten)]
    public: Jwk,
    d: String,
}

impl PrivateJwk {
    fn new(public: Jwk, secret: &[u8; KEY_BYTES], usage: &str) -> Self {
        let kid = thumbprint(&public);
        let public = Jwk { usage: Some(usage.to_owned()), kid: Some(kid), ..public };
        Self { public, d: URL_SAFE_NO_PAD.encode(secret) }
    }

    fn bytes(&self, curve: &'static str) -> Result<KeyPairBytes, SecretError> {
        let wrong = SecretError::Plaintext("a key is not an OKP key with 32 bytes in d and x");
        let Ok(public) = self.public.okp_bytes(curve) else {
            return Err(wrong);
        };
        let mut secret = Zeroizing::new([0; KEY_BYTES]);
        // The decoder wants room for an estimate that may be larger than what it writes.
        let mut room = Zeroizing::new([0; KEY_BYTES + 3]);
        match URL_SAFE_NO_PAD.decode_slice(&self.d, room.as_mut()) {
            Ok(KEY_BYTES) => secret.copy_from_slice(&room[..KEY_BYTES]),
            _ => return Err(wrong),
        }
        Ok((public, secret))
    }
}

impl Drop for PrivateJwk {
    fn drop(&mut self) {
        self.d.zeroize();
    }
}

/// Public and private half.
type KeyPairBytes = ([u8; KEY_BYTES], Zeroizing<[u8; KEY_BYTES]>);

fn object_public(secret: &[u8; KEY_BYTES]) -> [u8; KEY_BYTES] {
    let secret = StaticSecret::from(*secret);
    ObjectPublic::from(&secret).to_bytes()
}

fn object_jwk(public: &[u8; KEY_BYTES]) -> Jwk {
    let bare = Jwk {
        kty: "OKP".to_owned(),
        crv: "X25519".to_owned(),
        x: URL_SAFE_NO_PAD.encode(public),
        y: None,
        usage: None,
        kid: None,
    };
    Jwk { usage: Some("enc".to_owned()), kid: Some(thumbprint(&bare)), ..bare }
}

/// RFC 7638 over the members that an octet key pair must have.
fn thumbprint(jwk: &Jwk) -> String {
    let canonical = format!(r#"{{"crv":"{}","kty":"{}","x":"{}"}}"#, jwk.crv, jwk.kty, jwk.x);
    URL_SAFE_NO_PAD.encode(sha256(canonical.as_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Little work: the tests look at the format, not at the strength.
    const QUICK_LOG2: u8 = 4;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(Zeroizing::new(text.to_owned())).unwrap()
    }

    fn secret() -> SeriesSecret {
        SeriesSecret::from_bytes(KeySeries::from_u16(0x672B), [1; 32], [2; 32])
    }

    fn sealed() -> Vec<u8> {
        secret().seal_with(&passphrase("correct horse battery"), QUICK_LOG2).unwrap()
    }

    fn open(bytes: &[u8]) -> Result<SeriesSecret, SecretError> {
        SeriesSecret::open(bytes, &passphrase("correct horse battery"))
    }

    #[test]
    fn sealed_file_is_an_age_file_and_opens_to_the_same_secrets() {
        let bytes = secret().seal(&passphrase("correct horse battery")).unwrap();
        assert!(bytes.starts_with(format!("{AGE_HEADER}\n-> scrypt ").as_bytes()));
        let read = open(&bytes).unwrap();
        assert_eq!(read.series(), secret().series());
        assert_eq!(*read.signing_seed, [1; 32]);
        assert_eq!(read.object_secret(), &[2; 32]);
    }

    #[test]
    fn wrong_passphrase_opens_nothing() {
        let result = SeriesSecret::open(&sealed(), &passphrase("incorrect horse battery"));
        assert!(matches!(result, Err(SecretError::WrongPassphrase)));
    }

    #[test]
    fn changed_byte_anywhere_is_noticed() {
        let good = sealed();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            assert!(open(&bytes).is_err(), "byte {at}");
        }
        assert!(open(&good[..good.len() - 1]).is_err());
        assert!(open(&[]).is_err());
    }

    #[test]
    fn file_that_asks_for_too_much_work_is_refused_without_doing_it() {
        let mut bytes = sealed();
        let start = AGE_HEADER.len() + 1;
        let end = start + bytes[start..].iter().position(|&byte| byte == b'\n').unwrap();
        let line = String::from_utf8(bytes[start..end].to_vec()).unwrap();
        let (before, _factor) = line.rsplit_once(' ').unwrap();
        bytes.splice(start..end, format!("{before} 30").bytes());
        assert!(matches!(open(&bytes), Err(SecretError::Work(30))));
    }

    #[test]
    fn public_half_that_does_not_belong_to_its_secret_is_refused() {
        let text = String::from_utf8(secret().plaintext().unwrap().to_vec()).unwrap();
        assert!(SeriesSecret::from_plaintext(text.as_bytes()).is_ok());
        let other = SeriesSecret::from_bytes(KeySeries::from_u16(1), [3; 32], [4; 32]);
        let changed = text.replace(
            &URL_SAFE_NO_PAD.encode(secret().object_public()),
            &URL_SAFE_NO_PAD.encode(other.object_public()),
        );
        assert!(matches!(
            SeriesSecret::from_plaintext(changed.as_bytes()),
            Err(SecretError::Plaintext("x does not belong to d"))
        ));
        let missing = text.replace("X25519", "X448");
        assert!(SeriesSecret::from_plaintext(missing.as_bytes()).is_err());
    }

    #[test]
    fn descriptor_carries_both_public_keys_and_no_secret() {
        let descriptor = secret().descriptor("Тестовая серия".into(), None);
        assert_eq!(descriptor.signing_key().unwrap(), secret().signing_key().public());
        assert_eq!(descriptor.object_key().unwrap(), secret().object_public());
        let text = serde_json::to_string(&descriptor).unwrap();
        assert!(!text.contains(r#""d""#));
        assert!(!format!("{:?}", secret()).contains("seed"));
    }

    proptest! {
        #[test]
        fn any_secrets_are_read_back(series: u16, seed: [u8; 32], object: [u8; 32]) {
            let secret = SeriesSecret::from_bytes(KeySeries::from_u16(series), seed, object);
            let read = SeriesSecret::from_plaintext(&secret.plaintext().unwrap()).unwrap();
            prop_assert_eq!(read.series(), secret.series());
            prop_assert_eq!(&*read.signing_seed, &seed);
            prop_assert_eq!(read.object_secret(), &object);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}") {
            prop_assert!(SeriesSecret::from_plaintext(text.as_bytes()).is_err());
        }

        #[test]
        fn any_bytes_are_no_key_file(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(open(&bytes).is_err());
        }
    }
}
