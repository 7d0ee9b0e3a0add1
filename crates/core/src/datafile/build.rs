//! Making a data file, and unwrapping the keys of its objects: for who holds the series' secrets.
//!
//! Nothing is drawn at random: the key of an object and the 32 bytes that wrapping it needs are
//! derived from the series' X25519 secret and from everything that makes the object (series, name,
//! kind, access, SHA-256 of the content), under two labels. So the same sources give the same file,
//! byte for byte, and a release can be checked by building it again.
//!
//! Why that is sound: HKDF under a secret of 32 random bytes gives independent keys for different
//! inputs, which nobody without the secret can tell from random ones. A key serves a second time
//! only for the same input, that is for the same content (SHA-256 has no known collisions) with the
//! same associated data: then the same ciphertext comes out, and no pair of key and nonce ever
//! seals two different messages. The same holds for the ephemeral key of HPKE: it comes again only
//! with the same recipient, purpose, context and secret. What an observer learns is that an object
//! did not change between two files, which the digest in the list says anyway.

use std::collections::BTreeSet;

use zeroize::Zeroizing;

use super::{
    DATAFILE_BYTES_MAX, DatafileError, MAGIC, OBJECT_BYTES_MAX, OBJECT_KEY_PURPOSE, OBJECTS_MAX,
    ObjectAccess, ObjectEntry, ObjectKind, ObjectList, check_name, seal_object,
};
use crate::key::KeySeries;
use crate::seal::{KEY_BYTES, SigningKey, derive, hex_upper, sha256};
use crate::wrap::{self, WrapKey};

/// Label under which the key of an object is derived.
const KEY_LABEL: &[u8] = b"licence object key of content 1\0";

/// Label under which the bytes for wrapping it are derived.
const WRAP_LABEL: &[u8] = b"licence object key wrapping 1\0";

/// A data file in the making. Holds the ciphertexts, at most [`DATAFILE_BYTES_MAX`] bytes, and of the
/// plain objects nothing: the caller gives them one after the other.
pub struct DatafileBuilder<'a> {
    series: KeySeries,
    signing: &'a SigningKey,
    object_secret: &'a [u8; KEY_BYTES],
    public: [u8; KEY_BYTES],
    names: BTreeSet<String>,
    objects: Vec<ObjectEntry>,
    body: Vec<u8>,
}

/// A finished data file: `head` and `body` one after the other are the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BuiltDatafile {
    /// What the list says.
    pub list: ObjectList,
    /// [`MAGIC`] and the line with the signed list.
    pub head: Vec<u8>,
    /// The ciphertexts.
    pub body: Vec<u8>,
}

impl BuiltDatafile {
    /// The file in one piece.
    pub fn bytes(&self) -> Vec<u8> {
        [self.head.as_slice(), self.body.as_slice()].concat()
    }
}

impl<'a> DatafileBuilder<'a> {
    /// An empty file of a series, with its Ed25519 key and its X25519 secret.
    pub fn new(
        series: KeySeries,
        signing: &'a SigningKey,
        object_secret: &'a [u8; KEY_BYTES],
    ) -> Self {
        let public = *WrapKey::from_secret(object_secret).public();
        Self {
            series,
            signing,
            object_secret,
            public,
            names: BTreeSet::new(),
            objects: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Seals an object and adds it at the end.
    ///
    /// # Errors
    ///
    /// [`DatafileError::Contradiction`] for a name that is wrong or taken (case does not count) and
    /// for more than [`OBJECTS_MAX`] objects, [`DatafileError::TooLarge`] for an object or a file
    /// beyond the limits. What was added before stays.
    pub fn add(
        &mut self,
        name: &str,
        kind: ObjectKind,
        access: ObjectAccess,
        plain: &[u8],
    ) -> Result<(), DatafileError> {
        check_name(name).map_err(DatafileError::Contradiction)?;
        if self.names.contains(&name.to_lowercase()) {
            return Err(DatafileError::Contradiction("two objects have one name"));
        }
        if self.objects.len() >= OBJECTS_MAX {
            return Err(DatafileError::Contradiction("it has too many objects"));
        }
        let size = plain.len() as u64;
        if size > OBJECT_BYTES_MAX {
            return Err(DatafileError::TooLarge { what: "an object", max: OBJECT_BYTES_MAX });
        }
        let offset = self.body.len() as u64;
        let digest = hex_upper(&sha256(plain));
        let mut entry = ObjectEntry {
            name: name.to_owned(),
            kind,
            access,
            size,
            offset,
            digest,
            key: String::new(),
        };
        if offset.saturating_add(entry.sealed_bytes()) > DATAFILE_BYTES_MAX {
            return Err(DatafileError::TooLarge { what: "the file", max: DATAFILE_BYTES_MAX });
        }
        let context = entry.context(self.series);
        let key = self.derived(KEY_LABEL, &context);
        let drawn = self.derived(WRAP_LABEL, &context);
        entry.key = wrap::wrap(&self.public, OBJECT_KEY_PURPOSE, &context, &*key, *drawn)
            .map_err(|_| DatafileError::Contradiction("its object key cannot be wrapped for"))?;
        self.body.extend_from_slice(&seal_object(&key, &context, plain)?);
        self.names.insert(name.to_lowercase());
        self.objects.push(entry);
        Ok(())
    }

    /// Signs the list.
    ///
    /// # Errors
    ///
    /// [`DatafileError::List`] when the list is longer than a reader takes,
    /// [`DatafileError::TooLarge`] when the file is.
    pub fn finish(self) -> Result<BuiltDatafile, DatafileError> {
        let list = ObjectList::new(self.series, self.objects);
        let token = list.sign(self.signing)?;
        let mut head = Vec::with_capacity(MAGIC.len() + token.len() + 1);
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(token.as_bytes());
        head.push(b'\n');
        if (head.len() as u64).saturating_add(self.body.len() as u64) > DATAFILE_BYTES_MAX {
            return Err(DatafileError::TooLarge { what: "the file", max: DATAFILE_BYTES_MAX });
        }
        Ok(BuiltDatafile { list, head, body: self.body })
    }

    fn derived(&self, label: &[u8], context: &[u8]) -> Zeroizing<[u8; KEY_BYTES]> {
        Zeroizing::new(derive(self.object_secret, &[label, context].concat()))
    }
}

impl std::fmt::Debug for DatafileBuilder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatafileBuilder")
            .field("series", &self.series)
            .field("objects", &self.objects.len())
            .finish_non_exhaustive()
    }
}

/// The key of an object, unwrapped with the object key of its series.
///
/// # Errors
///
/// [`DatafileError::Object`] when it was wrapped for another series, or the entry was changed.
pub fn unwrap_object_key(
    entry: &ObjectEntry,
    series: KeySeries,
    series_key: &WrapKey,
) -> Result<Zeroizing<[u8; KEY_BYTES]>, DatafileError> {
    let secret = series_key
        .unwrap(&entry.key, OBJECT_KEY_PURPOSE, &entry.context(series))
        .map_err(|_| DatafileError::Object)?;
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    if secret.len() != KEY_BYTES {
        return Err(DatafileError::Object);
    }
    key.copy_from_slice(&secret);
    Ok(key)
}
