//! What the secret of a series does to a licence: wraps the object key for its server and signs.
//!
//! The centre uses it for series whose secret it has, `licencekit sign` on the vendor's machine for the
//! others. Whether a licence may be issued, and what stands in it, is decided before; nothing is read
//! from a file, a clock or a random source here.

use std::fmt;

use licence_core::centre_request::ReturnReceipt;
use licence_core::holder::Holder;
use licence_core::key::KeySeries;
use licence_core::licence_file::{LicenceClaims, LicenceError, SERIES_KEY_PURPOSE};
use licence_core::seal::{self, KEY_BYTES, PublicKey, SigningKey};
use licence_core::wrap::{WrapError, wrap};
use zeroize::Zeroizing;

use crate::secret::SeriesSecret;

/// The secret of a series at work; wiped when dropped.
pub struct Signer {
    series: KeySeries,
    signing_key: SigningKey,
    /// The X25519 secret for which protected objects are wrapped; servers with a licence get it,
    /// wrapped for each of them.
    object_secret: Zeroizing<[u8; KEY_BYTES]>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("series", &self.series).finish_non_exhaustive()
    }
}

/// Why a licence was not made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    /// The claims would contradict themselves; orders within their limits cannot bring that about.
    #[error("licence")]
    Licence(#[from] LicenceError),
    /// No object key can be wrapped for the key that the asker named.
    #[error("the asker's key for the object key of the series")]
    Wrap(#[from] WrapError),
}

impl Signer {
    /// What signs for the series of a secret.
    pub fn new(secret: &SeriesSecret) -> Self {
        Self {
            series: secret.series(),
            signing_key: secret.signing_key(),
            object_secret: Zeroizing::new(*secret.object_secret()),
        }
    }

    /// The series.
    pub const fn series(&self) -> KeySeries {
        self.series
    }

    /// The key that verifies what is signed here.
    pub fn public(&self) -> PublicKey {
        self.signing_key.public()
    }

    /// The licence with these claims, and with the object key of the series wrapped for `enc`, where
    /// there is one. The same claims and the same key give the same document.
    ///
    /// # Errors
    ///
    /// See [`SigningError`].
    pub fn licence(
        &self,
        claims: &LicenceClaims,
        enc: Option<&[u8; KEY_BYTES]>,
    ) -> Result<String, SigningError> {
        Ok(self.with_object_key(claims, enc)?.sign(&self.signing_key)?)
    }

    /// The claims with the object key of the series wrapped for `enc`; without `enc` as they are.
    ///
    /// # Errors
    ///
    /// [`SigningError::Wrap`] for a key that nothing is wrapped for, [`SigningError::Licence`] for
    /// claims that are bound to none.
    pub fn with_object_key(
        &self,
        claims: &LicenceClaims,
        enc: Option<&[u8; KEY_BYTES]>,
    ) -> Result<LicenceClaims, SigningError> {
        let mut claims = claims.clone();
        if let Some(enc) = enc {
            let holder =
                Holder::from_jwk(&claims.cnf.jwk).map_err(|_| LicenceError::Confirmation)?;
            claims.object_key = Some(self.object_key(enc, &claims.jti, &holder)?);
        }
        Ok(claims)
    }

    /// The object key of the series, wrapped for the server that holds the licence of this activation.
    ///
    /// The bytes that wrapping needs are derived from the secret itself and everything that is wrapped
    /// and bound: nobody who has not the secret can tell them from drawn ones, other inputs give other
    /// bytes, and the same licence asked for again gets the same text, so that it is the same document.
    fn object_key(
        &self,
        enc: &[u8; KEY_BYTES],
        activation_id: &str,
        holder: &Holder,
    ) -> Result<String, WrapError> {
        let context = LicenceClaims::object_key_context(self.series, activation_id, holder);
        // The key has a fixed length and the context ends the text: no two inputs read alike.
        let label = [b"object key for a licence 1".as_slice(), enc, &context].concat();
        let drawn = seal::derive(self.object_secret.as_slice(), &label);
        wrap(enc, SERIES_KEY_PURPOSE, &context, self.object_secret.as_slice(), drawn)
    }

    /// The signed receipt of a return.
    ///
    /// # Errors
    ///
    /// When it cannot be written as JSON.
    pub fn receipt(&self, receipt: &ReturnReceipt) -> Result<String, serde_json::Error> {
        receipt.sign(&self.signing_key)
    }
}
