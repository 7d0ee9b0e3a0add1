//! Wrapping of small secrets for somebody's X25519 key: HPKE (RFC 9180), base mode,
//! DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305.
//!
//! Two secrets travel this way: the key of a protected object, wrapped for its series, and the
//! object key of a series, wrapped for the server that holds a licence of it. Only the vendor's
//! tools, the centre and the server need this; it is behind the feature `hpke`, so that the
//! component does not carry it. Nothing here draws randomness: the caller gives 32 bytes.

use std::convert::Infallible;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use zeroize::Zeroizing;

use crate::seal::{Jwk, KEY_BYTES, sha256};

/// Largest secret that is wrapped, in bytes: keys of 32.
pub const SECRET_BYTES_MAX: usize = 64;

/// Bytes that wrapping adds: the encapsulated key and the tag of the AEAD.
const OVERHEAD: usize = KEY_BYTES + 16;

/// Why something was not wrapped or unwrapped.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WrapError {
    /// The public key is no point that secrets may be wrapped for.
    #[error("not an X25519 key that secrets can be wrapped for")]
    Key,
    /// Not base64url, or too short or long for a wrapped secret.
    #[error("not a wrapped secret")]
    Malformed,
    /// Wrapped for another key, for another purpose, or changed.
    #[error("the secret was wrapped for another key or purpose, or it was changed")]
    Mismatch,
}

/// An X25519 secret key to which secrets are wrapped.
pub struct WrapKey {
    secret: <X25519HkdfSha256 as Kem>::PrivateKey,
    public: [u8; KEY_BYTES],
}

impl WrapKey {
    /// The key with these secret bytes (RFC 7748).
    pub fn from_secret(bytes: &[u8; KEY_BYTES]) -> Self {
        let secret = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(bytes)
            .unwrap_or_else(|_| unreachable!("every 32 bytes are an X25519 secret"));
        let mut public = [0; KEY_BYTES];
        public.copy_from_slice(&X25519HkdfSha256::sk_to_pk(&secret).to_bytes());
        Self { secret, public }
    }

    /// The public half.
    pub const fn public(&self) -> &[u8; KEY_BYTES] {
        &self.public
    }

    /// The public half as a JWK (RFC 8037) for encryption.
    pub fn jwk(&self) -> Jwk {
        Jwk {
            kty: "OKP".to_owned(),
            crv: "X25519".to_owned(),
            x: URL_SAFE_NO_PAD.encode(self.public),
            y: None,
            usage: Some("enc".to_owned()),
            kid: None,
        }
    }

    /// Unwraps what [`wrap`] made for this key with the same `purpose` and `context`.
    ///
    /// # Errors
    ///
    /// [`WrapError::Malformed`], [`WrapError::Mismatch`].
    pub fn unwrap(
        &self,
        wrapped: &str,
        purpose: &str,
        context: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        if wrapped.len() > (SECRET_BYTES_MAX + OVERHEAD).div_ceil(3) * 4 {
            return Err(WrapError::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(wrapped).map_err(|_| WrapError::Malformed)?;
        let (encapped, sealed) = bytes.split_at_checked(KEY_BYTES).ok_or(WrapError::Malformed)?;
        let encapped = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapped)
            .map_err(|_| WrapError::Malformed)?;
        hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &self.secret,
            &encapped,
            purpose.as_bytes(),
            sealed,
            context,
        )
        .map(Zeroizing::new)
        .map_err(|_| WrapError::Mismatch)
    }
}

impl fmt::Debug for WrapKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrapKey").field("public", &self.jwk().x).finish_non_exhaustive()
    }
}

/// The 32 bytes that the caller drew, handed to the key encapsulation, which asks for exactly as
/// many (RFC 9180, section 7.1.3: the input of DeriveKeyPair). Asked for more, it goes on with
/// digests of what it has.
struct Drawn {
    block: Zeroizing<[u8; 32]>,
    at: usize,
}

impl TryRng for Drawn {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for byte in bytes {
            if self.at == self.block.len() {
                *self.block = sha256(&*self.block);
                self.at = 0;
            }
            *byte = self.block[self.at];
            self.at += 1;
        }
        Ok(())
    }
}

impl TryCryptoRng for Drawn {}

/// Wraps a secret for an X25519 public key. `purpose` (RFC 9180: `info`) and `context` (`aad`) are
/// not secret; whoever unwraps must name the same. `drawn` are 32 bytes that nobody else knows and
/// that serve once: from a random source, or derived from a secret and from all that is wrapped.
///
/// # Errors
///
/// [`WrapError::Key`] for a public key of small order, [`WrapError::Malformed`] for a secret longer
/// than [`SECRET_BYTES_MAX`].
pub fn wrap(
    public: &[u8; KEY_BYTES],
    purpose: &str,
    context: &[u8],
    secret: &[u8],
    drawn: [u8; 32],
) -> Result<String, WrapError> {
    if secret.len() > SECRET_BYTES_MAX {
        return Err(WrapError::Malformed);
    }
    let public =
        <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(public).map_err(|_| WrapError::Key)?;
    let mut drawn = Drawn { block: Zeroizing::new(drawn), at: 0 };
    let (encapped, sealed) =
        hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &public,
            purpose.as_bytes(),
            secret,
            context,
            &mut drawn,
        )
        .map_err(|_| WrapError::Key)?;
    let mut bytes = encapped.to_bytes().to_vec();
    bytes.extend_from_slice(&sealed);
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_secret_opens_for_its_key_purpose_and_context_alone() {
        let key = WrapKey::from_secret(&[7; 32]);
        let wrapped = wrap(key.public(), "purpose", b"context", &[1; 32], [9; 32]).unwrap();
        assert_eq!(*key.unwrap(&wrapped, "purpose", b"context").unwrap(), [1; 32]);
        let other = WrapKey::from_secret(&[8; 32]);
        for result in [
            other.unwrap(&wrapped, "purpose", b"context"),
            key.unwrap(&wrapped, "another", b"context"),
            key.unwrap(&wrapped, "purpose", b"another"),
        ] {
            assert_eq!(result, Err(WrapError::Mismatch));
        }
        for bad in ["", "!", "AAAA", &"A".repeat(4000)] {
            assert_eq!(key.unwrap(bad, "purpose", b"context"), Err(WrapError::Malformed), "{bad}");
        }
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let key = WrapKey::from_secret(&[7; 32]);
        let wrapped = wrap(key.public(), "p", b"", &[1; 32], [9; 32]).unwrap();
        for at in 0..wrapped.len() {
            let mut changed = wrapped.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(key.unwrap(&changed, "p", b"").is_err(), "{at}");
        }
    }

    #[test]
    fn same_drawn_bytes_give_the_same_text() {
        let key = WrapKey::from_secret(&[7; 32]);
        let make = |drawn| wrap(key.public(), "p", b"", &[1; 32], drawn).unwrap();
        assert_eq!(make([9; 32]), make([9; 32]));
        assert_ne!(make([9; 32]), make([10; 32]));
    }

    #[test]
    fn small_order_point_is_no_key() {
        assert_eq!(wrap(&[0; 32], "p", b"", &[1; 32], [9; 32]), Err(WrapError::Key));
    }
}
