//! The object keys of series: which licences brought one that opens here.
//!
//! Nothing is written to the disk: the key lies in the licence document, wrapped for this server.
//! Who gets the keys of objects by it is decided elsewhere.

use std::fmt;
use std::sync::Arc;

use licence_core::key::KeySeries;
use licence_core::licence_file::{Licence, LicenceClaims, SERIES_KEY_PURPOSE};
use licence_core::seal::KEY_BYTES;
use licence_core::wrap::{WrapError, WrapKey};
use zeroize::Zeroizing;

use super::Keyring;

/// The object key of a series, opened.
pub(super) struct ObjectKey {
    key: Arc<WrapKey>,
    secret: Zeroizing<[u8; KEY_BYTES]>,
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectKey").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Why the object key in a licence is of no use.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
enum ObjectKeyError {
    /// It belongs to another series, or the descriptor names none.
    #[error("it is not the object key that the description of the series names")]
    Another,
    /// Not a secret of the right length.
    #[error("it is not an X25519 key")]
    Length,
    /// It does not open.
    #[error(transparent)]
    Wrap(#[from] WrapError),
}

impl Keyring {
    /// Opens the object keys in all licences with the key for which centres wrap them, and in those
    /// that come later. One that does not open is logged; its licence counts all the same.
    #[must_use]
    pub fn with_object_keys(mut self, wrap_key: Arc<WrapKey>) -> Self {
        self.wrap_key = Some(wrap_key);
        let opened: Vec<_> = self
            .installed
            .iter()
            .filter(|(_, installed)| installed.is_workable)
            .map(|(key_no, installed)| (*key_no, self.open_object_key(&installed.licence)))
            .collect();
        for (key_no, object_key) in opened {
            if let Some(installed) = self.installed.get_mut(&key_no) {
                installed.object_key = object_key;
            }
        }
        self
    }

    /// The key for which objects of a series are wrapped, when a licence that is bound to this
    /// server brought it. Whether a key of the series may be used at present is not asked here.
    pub fn object_key(&self, series: KeySeries) -> Option<&Arc<WrapKey>> {
        self.object_key_of(series).map(|object_key| &object_key.key)
    }

    /// The secret half of [`Self::object_key`]: from it the vendor's developer password follows.
    /// It leaves the driver's task in no answer.
    pub fn object_secret(&self, series: KeySeries) -> Option<&[u8; KEY_BYTES]> {
        self.object_key_of(series).map(|object_key| &*object_key.secret)
    }

    fn object_key_of(&self, series: KeySeries) -> Option<&ObjectKey> {
        self.installed
            .values()
            .filter(|installed| installed.licence.fields().key_id == series)
            .find_map(|installed| installed.object_key.as_deref())
    }

    /// The object key in a licence that is bound to this server.
    pub(super) fn open_object_key(&self, licence: &Licence) -> Option<Arc<ObjectKey>> {
        let own = self.wrap_key.as_ref()?;
        let wrapped = licence.claims.object_key.as_ref()?;
        match self.opened(own, licence, wrapped) {
            Ok(object_key) => Some(Arc::new(object_key)),
            Err(error) => {
                log::warn!(
                    "licence {}: protected objects cannot be opened with it: {error}",
                    licence.claims.sub
                );
                None
            }
        }
    }

    fn opened(
        &self,
        own: &WrapKey,
        licence: &Licence,
        wrapped: &str,
    ) -> Result<ObjectKey, ObjectKeyError> {
        let (series, jti) = (licence.fields().key_id, &licence.claims.jti);
        let context = LicenceClaims::object_key_context(series, jti, &licence.holder);
        let bytes = own.unwrap(wrapped, SERIES_KEY_PURPOSE, &context)?;
        let secret: [u8; KEY_BYTES] =
            bytes.as_slice().try_into().map_err(|_| ObjectKeyError::Length)?;
        let secret = Zeroizing::new(secret);
        let key = WrapKey::from_secret(&secret);
        let named = self.series.get(&series).and_then(|descriptor| descriptor.object_key());
        if named != Some(*key.public()) {
            return Err(ObjectKeyError::Another);
        }
        Ok(ObjectKey { key: Arc::new(key), secret })
    }
}
