//! Signatures, digests and ciphers; the only file that names the crypto crate.
//!
//! Ed25519 (RFC 8032), ChaCha20-Poly1305 (RFC 8439) and HKDF (RFC 5869) through `ring`. Keys are made from seeds that the caller drew: nothing here
//! asks for randomness. Whom to trust is decided by the callers, never here.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey,
};
use ring::{digest, hkdf};
use serde::{Deserialize, Serialize};

/// Bytes of a seed, of a public key.
pub const KEY_BYTES: usize = 32;

/// An Ed25519 key that can sign.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
    thumbprint: String,
}

impl SigningKey {
    /// The key that belongs to a 32-byte seed (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: &[u8; KEY_BYTES]) -> Self {
        // Every 32-byte string is a valid seed, so this cannot fail.
        let pair = Ed25519KeyPair::from_seed_unchecked(seed)
            .unwrap_or_else(|_| unreachable!("every seed of 32 bytes gives a key"));
        let mut public = [0; KEY_BYTES];
        public.copy_from_slice(pair.public_key().as_ref());
        let public = PublicKey(public);
        Self { pair, public, thumbprint: public.thumbprint() }
    }

    /// The public half.
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// The public half's thumbprint, worked out once.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(message).as_ref());
        signature
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// An Ed25519 public key.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// The key with these bytes. Whether they are a point on the curve shows when it verifies.
    pub const fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Whether `signature` is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }

    /// The key as a JWK (RFC 8037).
    pub fn jwk(&self) -> Jwk {
        Jwk {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            x: URL_SAFE_NO_PAD.encode(self.0),
            y: None,
            usage: None,
            kid: None,
        }
    }

    /// The JWK thumbprint (RFC 7638, SHA-256, base64url): names the key in headers and logs.
    pub fn thumbprint(&self) -> String {
        let canonical =
            format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(self.0));
        URL_SAFE_NO_PAD.encode(sha256(canonical.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// A public key as JSON (RFC 7517, octet key pairs of RFC 8037).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Jwk {
    /// Key type: `OKP` for ours, `EC` for keys of tokens.
    pub kty: String,
    /// Curve: `Ed25519`, `X25519` or `P-256`.
    pub crv: String,
    /// Public key, or its first coordinate, base64url without padding.
    pub x: String,
    /// The second coordinate, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// `sig` or `enc`, where it matters.
    #[serde(rename = "use", default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
    /// Key id: the thumbprint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
}

/// The JWK is not an octet key pair of the wanted curve.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an OKP key of curve {0} with 32 bytes in base64url")]
pub struct JwkError(pub &'static str);

impl Jwk {
    /// The 32 bytes of an `OKP` key of this curve.
    pub fn okp_bytes(&self, curve: &'static str) -> Result<[u8; KEY_BYTES], JwkError> {
        if self.kty != "OKP" || self.crv != curve || self.x.len() > 64 {
            return Err(JwkError(curve));
        }
        let bytes = URL_SAFE_NO_PAD.decode(&self.x).map_err(|_| JwkError(curve))?;
        bytes.try_into().map_err(|_| JwkError(curve))
    }

    /// The Ed25519 public key in it.
    pub fn ed25519(&self) -> Result<PublicKey, JwkError> {
        self.okp_bytes("Ed25519").map(PublicKey)
    }
}

/// Whether `signature` (r and s, 64 bytes) is one over SHA-256 of `message` by the key with this
/// point on P-256, uncompressed (FIPS 186-5).
pub(crate) fn p256_verifies(point: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
}

/// SHA-256 (FIPS 180-4).
pub fn sha256(message: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, message).as_ref());
    out
}

/// SHA-256 of what comes in parts.
pub struct Digest(digest::Context);

impl Default for Digest {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digest").finish_non_exhaustive()
    }
}

impl Digest {
    /// Adds a part.
    pub fn add(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    /// The digest of all parts.
    pub fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }
}

/// Upper-case hex, as the API writes ids.
pub fn hex_upper(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// HMAC with SHA-256 (RFC 2104) under a secret that both sides know.
pub fn hmac_sha256(secret: &[u8], message: &[u8]) -> [u8; 32] {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    let mut mac = [0; 32];
    mac.copy_from_slice(ring::hmac::sign(&key, message).as_ref());
    mac
}

/// Whether [`hmac_sha256`] gives this; how long it takes tells nothing of where they differ.
pub fn hmac_sha256_is(secret: &[u8], message: &[u8], mac: &[u8; 32]) -> bool {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    ring::hmac::verify(&key, message, mac).is_ok()
}

/// Seals with ChaCha20-Poly1305 (RFC 8439): the ciphertext and its tag. One key must never seal two
/// messages with one nonce. Nothing when the message is longer than the cipher allows.
pub fn aead_seal(
    key: &[u8; KEY_BYTES],
    nonce: [u8; 12],
    context: &[u8],
    plain: &[u8],
) -> Option<Vec<u8>> {
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).ok()?);
    let mut message = Vec::with_capacity(plain.len().checked_add(16)?);
    message.extend_from_slice(plain);
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, Aad::from(context), &mut message).ok()?;
    Some(message)
}

/// Opens what [`aead_seal`] made; nothing when key, nonce, context or any byte is another.
pub fn aead_open(
    key: &[u8; KEY_BYTES],
    nonce: [u8; 12],
    context: &[u8],
    sealed: &[u8],
) -> Option<Vec<u8>> {
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).ok()?);
    let mut message = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    let len = key.open_in_place(nonce, Aad::from(context), &mut message).ok()?.len();
    message.truncate(len);
    Some(message)
}

/// Derives 32 bytes from a secret for a purpose (HKDF with SHA-256, RFC 5869, without a salt).
pub fn derive(secret: &[u8], purpose: &[u8]) -> [u8; KEY_BYTES] {
    derive_salted(&[], secret, purpose)
}

/// Derives 32 bytes from a secret for a purpose (HKDF with SHA-256, RFC 5869) with a salt.
pub fn derive_salted(salt: &[u8], secret: &[u8], purpose: &[u8]) -> [u8; KEY_BYTES] {
    let mut out = [0; KEY_BYTES];
    let key = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let filled =
        key.expand(&[purpose], hkdf::HKDF_SHA256).and_then(|material| material.fill(&mut out));
    match filled {
        Ok(()) => out,
        // HKDF gives up to 255 digests, and one is asked for.
        Err(_) => unreachable!("one digest of output is within what HKDF gives"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn rfc_8032_test_vector_2_signs_and_verifies() {
        let seed = unhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let key = SigningKey::from_seed(&seed.try_into().unwrap());
        assert_eq!(
            hex_upper(key.public().as_bytes()),
            "3D4017C3E843895A92B70AA74D1B7EBC9C982CCF2EC4968CC0CD55F12AF4660C"
        );
        let signature = key.sign(&[0x72]);
        assert_eq!(&hex_upper(&signature)[..32], "92A009A9F0D4CAB8720E820B5F642540");
        assert!(key.public().verifies(&[0x72], &signature));
        assert!(!key.public().verifies(&[0x73], &signature));
        assert!(!key.public().verifies(&[0x72], &signature[..63]));
    }

    #[test]
    fn rfc_8037_appendix_a3_thumbprint() {
        let jwk = Jwk {
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".into(),
            y: None,
            usage: None,
            kid: None,
        };
        assert_eq!(
            jwk.ed25519().unwrap().thumbprint(),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }

    #[test]
    fn jwk_of_another_kind_is_refused() {
        let good = SigningKey::from_seed(&[7; 32]).public().jwk();
        assert!(good.ed25519().is_ok());
        assert!(Jwk { crv: "X25519".into(), ..good.clone() }.ed25519().is_err());
        assert!(Jwk { kty: "EC".into(), ..good.clone() }.ed25519().is_err());
        assert!(Jwk { x: format!("{}A", good.x), ..good.clone() }.ed25519().is_err());
        assert!(Jwk { x: "!".into(), ..good }.ed25519().is_err());
    }
}
