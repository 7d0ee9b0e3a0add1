//! The series descriptor: the public part of a vendor's series.
//!
//! Whoever holds a descriptor can tell a real licence of the series from a forged one. The secret
//! part never comes here: it is the vendor's, in `XXXX.cryptkey`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::binding::Binding;
use crate::key::KeySeries;
use crate::seal::{Jwk, JwkError, KEY_BYTES, PublicKey};

/// Largest series file that is read: some thousand descriptors.
pub const SERIES_FILE_BYTES_MAX: usize = 1024 * 1024;

/// Public part of a series, as it stands in `licence.series` and `XXXX.series`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SeriesDescriptor {
    /// The series.
    pub series: KeySeries,
    /// Name of the product.
    pub product_name: String,
    /// Address of the vendor's activation centre.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub centre_url: Option<String>,
    /// How strictly licences of the series are bound to computers; the default when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// Public keys (RFC 7517): one Ed25519 key that signs licences, one X25519 object key.
    pub keys: JwkSet,
}

/// A JWK set (RFC 7517, section 5).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct JwkSet {
    /// The keys.
    pub keys: Vec<Jwk>,
}

/// Why a descriptor or a file of descriptors was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SeriesError {
    /// A key is damaged.
    #[error("series {series}: key")]
    Key {
        /// The series.
        series: KeySeries,
        /// What is wrong with it.
        #[source]
        source: JwkError,
    },
    /// No Ed25519 key, or more than one.
    #[error("series {0} must have exactly one Ed25519 key")]
    NotOneSigningKey(KeySeries),
    /// Not the JSON of a descriptor.
    #[error("not a series descriptor: {0}")]
    Syntax(String),
    /// Larger than [`SERIES_FILE_BYTES_MAX`].
    #[error("larger than {SERIES_FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// Two different descriptors for one series.
    #[error("series {0} is described twice, differently")]
    Twice(KeySeries),
}

impl SeriesDescriptor {
    /// Makes a descriptor from public keys.
    pub fn new(
        series: KeySeries,
        product_name: String,
        centre_url: Option<String>,
        signing: PublicKey,
        object: Jwk,
    ) -> Self {
        let signing =
            Jwk { usage: Some("sig".to_owned()), kid: Some(signing.thumbprint()), ..signing.jwk() };
        Self {
            series,
            product_name,
            centre_url,
            binding: None,
            keys: JwkSet { keys: vec![signing, object] },
        }
    }

    /// The key that signs licences of this series.
    ///
    /// # Errors
    ///
    /// When there is not exactly one Ed25519 key, or it is damaged.
    pub fn signing_key(&self) -> Result<PublicKey, SeriesError> {
        let mut keys = self.keys.keys.iter().filter(|key| key.crv == "Ed25519");
        match (keys.next(), keys.next()) {
            (Some(key), None) => {
                key.ed25519().map_err(|source| SeriesError::Key { series: self.series, source })
            }
            _ => Err(SeriesError::NotOneSigningKey(self.series)),
        }
    }

    /// The X25519 key for which objects of this series are wrapped, if there is one.
    pub fn object_key(&self) -> Option<[u8; KEY_BYTES]> {
        self.keys.keys.iter().find_map(|key| key.okp_bytes("X25519").ok())
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FileForm {
    Many(Vec<SeriesDescriptor>),
    One(Box<SeriesDescriptor>),
}

/// Reads a file with one descriptor or an array of them, with or without a byte-order mark.
///
/// # Errors
///
/// See [`SeriesError`]; every descriptor's signing key is checked. The same descriptor may stand
/// in the file twice.
pub fn parse_series_file(text: &str) -> Result<BTreeMap<KeySeries, SeriesDescriptor>, SeriesError> {
    if text.len() > SERIES_FILE_BYTES_MAX {
        return Err(SeriesError::TooLarge);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let form: FileForm =
        serde_json::from_str(text).map_err(|error| SeriesError::Syntax(error.to_string()))?;
    let list = match form {
        FileForm::Many(list) => list,
        FileForm::One(one) => vec![*one],
    };
    let mut by_series = BTreeMap::new();
    for descriptor in list {
        descriptor.signing_key()?;
        let series = descriptor.series;
        if let Some(before) = by_series.insert(series, descriptor.clone())
            && before != descriptor
        {
            return Err(SeriesError::Twice(series));
        }
    }
    Ok(by_series)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seal::SigningKey;

    fn descriptor(series: u16, seed: u8) -> SeriesDescriptor {
        let object = Jwk { crv: "X25519".into(), ..SigningKey::from_seed(&[9; 32]).public().jwk() };
        SeriesDescriptor::new(
            KeySeries::from_u16(series),
            "Тестовая серия".into(),
            Some("http://localhost:9100".into()),
            SigningKey::from_seed(&[seed; 32]).public(),
            object,
        )
    }

    #[test]
    fn file_holds_one_descriptor_or_an_array() {
        let one = descriptor(0x672B, 1);
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(parse_series_file(&text).unwrap()[&one.series], one);
        let marked = format!("\u{feff}{text}");
        assert_eq!(parse_series_file(&marked).unwrap()[&one.series], one);
        let two = serde_json::to_string(&[one, descriptor(0x4BFE, 2)]).unwrap();
        assert_eq!(parse_series_file(&two).unwrap().len(), 2);
        assert!(parse_series_file("[]").unwrap().is_empty());
    }

    #[test]
    fn contradiction_and_missing_key_are_refused() {
        let series = KeySeries::from_u16(0x672B);
        let both = serde_json::to_string(&[descriptor(0x672B, 1), descriptor(0x672B, 2)]).unwrap();
        assert_eq!(parse_series_file(&both), Err(SeriesError::Twice(series)));
        let mut bare = descriptor(0x672B, 1);
        bare.keys.keys.remove(0);
        let text = serde_json::to_string(&bare).unwrap();
        assert_eq!(parse_series_file(&text), Err(SeriesError::NotOneSigningKey(series)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,100}") {
            let _read_or_refused = parse_series_file(&text).is_ok();
        }
    }
}
