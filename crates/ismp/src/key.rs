//! What a session key is kept under: contour, kind, organisation, production object.
//!
//! References of an infobase mean nothing in another one, so an organisation is its ИНН, and a
//! production object is the connection id (`omsConnection`) that СУЗ gave its installation.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::kind::TokenKind;

/// Longest name of a contour, in bytes: it stands in the name of a setting.
pub const CONTOUR_BYTES_MAX: usize = 32;

/// Longest id of a production object, in characters: `omsConnection` is a UUID of 36.
pub const OBJECT_CHARS_MAX: usize = 64;

/// Why something is not kept under a key, or no key can be made of what was asked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not 10 or 12 digits.
    #[error("an INN has 10 or 12 digits")]
    Inn,
    /// Not the name of a contour.
    #[error("a contour's name has 1 to {CONTOUR_BYTES_MAX} Latin letters, digits and hyphens")]
    Contour,
    /// Not an id.
    #[error(
        "a production object has 1 to {OBJECT_CHARS_MAX} characters, no spaces inside and nothing invisible"
    )]
    ProductionObject,
    /// No organisation was named where one is needed.
    #[error("an organisation is needed")]
    OrganisationMissing,
    /// No production object was named for СУЗ.
    #[error("a production object is needed for SUZ")]
    ProductionObjectMissing,
}

/// ИНН of an organisation (10 digits) or of a person in business (12 digits). Check digits are not
/// looked at: the service knows better which numbers exist.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Inn(String);

impl Inn {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Inn {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let fits = matches!(text.len(), 10 | 12) && text.bytes().all(|b| b.is_ascii_digit());
        if fits { Ok(Self(text.to_owned())) } else { Err(KeyError::Inn) }
    }
}

/// Name of a set of addresses of the service: `production`, `sandbox`, or one that the settings add.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Contour(String);

impl Contour {
    /// The contour in which real goods are marked.
    pub const PRODUCTION: &'static str = "production";

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Contour {
    fn default() -> Self {
        Self(Self::PRODUCTION.to_owned())
    }
}

impl FromStr for Contour {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let fits =
            !text.is_empty() && text.len() <= CONTOUR_BYTES_MAX && text.bytes().all(is_plain);
        if fits { Ok(Self(text.to_ascii_lowercase())) } else { Err(KeyError::Contour) }
    }
}

/// Connection id (`omsConnection`) of an installation of СУЗ.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ProductionObject(String);

impl ProductionObject {
    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProductionObject {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let is_odd = |c: char| c.is_control() || c.is_whitespace();
        let fits =
            !text.is_empty() && text.chars().count() <= OBJECT_CHARS_MAX && !text.contains(is_odd);
        // A UUID is the same in either case.
        if fits { Ok(Self(text.to_lowercase())) } else { Err(KeyError::ProductionObject) }
    }
}

macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(Inn, Contour, ProductionObject);

/// What one session key is kept under.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StoreKey {
    /// Which addresses.
    pub contour: Contour,
    /// Kind.
    #[serde(rename = "TokenType")]
    pub kind: TokenKind,
    /// Whose.
    pub organization: Inn,
    /// Of which installation: with СУЗ always, otherwise never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub production_object: Option<ProductionObject>,
}

impl fmt::Display for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.contour, self.kind, self.organization)?;
        self.production_object.iter().try_for_each(|object| write!(f, "/{object}"))
    }
}

/// What a caller names, which may be less than a [`StoreKey`]: the parameters of the request
/// (`ПараметрыЗапроса`) without what only addresses the service, which is never taken from callers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wish {
    /// Which addresses.
    pub contour: Contour,
    /// Kind.
    pub kind: TokenKind,
    /// Whose; nothing means any of which there is a key. Never with СУЗ.
    pub organization: Option<Inn>,
    /// Of which installation of СУЗ.
    pub production_object: Option<ProductionObject>,
}

impl Wish {
    /// The one key that is meant.
    ///
    /// # Errors
    ///
    /// When no organisation is named, or no production object with СУЗ.
    pub fn key(&self) -> Result<StoreKey, KeyError> {
        let organization = self.organization.clone().ok_or(KeyError::OrganisationMissing)?;
        let production_object = match self.kind {
            TokenKind::Suz => {
                Some(self.production_object.clone().ok_or(KeyError::ProductionObjectMissing)?)
            }
            // 1C names one here and there for other kinds too, where it means nothing.
            TokenKind::Ismp | TokenKind::IsmpRetail => None,
        };
        Ok(StoreKey {
            contour: self.contour.clone(),
            kind: self.kind,
            organization,
            production_object,
        })
    }

    /// Whether a key is among those meant.
    pub fn fits(&self, key: &StoreKey) -> bool {
        let object_fits =
            self.kind != TokenKind::Suz || self.production_object == key.production_object;
        self.contour == key.contour
            && self.kind == key.kind
            && object_fits
            && self.organization.as_ref().is_none_or(|inn| *inn == key.organization)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inn_is_ten_or_twelve_digits() {
        for (text, fits) in [
            ("7707083893", true),
            (" 500100732259 ", true),
            ("", false),
            ("770708389", false),
            ("77070838931", false),
            ("770708389a", false),
            ("٧٧٠٧٠٨٣٨٩٣", false),
        ] {
            assert_eq!(text.parse::<Inn>().is_ok(), fits, "{text}");
        }
    }

    #[test]
    fn contour_and_object_are_the_same_in_either_case_and_hold_nothing_odd() {
        assert_eq!("Sandbox".parse::<Contour>().unwrap().as_str(), "sandbox");
        for bad in ["", "a b", "песочница", "x/y", &"x".repeat(33)] {
            assert_eq!(bad.parse::<Contour>(), Err(KeyError::Contour), "{bad}");
        }
        let object: ProductionObject = "B8E61C2A-1B8A-4B1F-8C2E-3C9B2A7F0D11".parse().unwrap();
        assert_eq!(object.as_str(), "b8e61c2a-1b8a-4b1f-8c2e-3c9b2a7f0d11");
        for bad in ["", " ", "a\nb", "a b", &"x".repeat(65)] {
            assert_eq!(bad.parse::<ProductionObject>(), Err(KeyError::ProductionObject), "{bad:?}");
        }
    }

    #[test]
    fn suz_needs_organisation_and_object_and_the_others_no_object() {
        let inn: Inn = "7707083893".parse().unwrap();
        let object: ProductionObject = "line-1".parse().unwrap();
        for (kind, organization, production_object, wanted) in [
            (TokenKind::Suz, Some(&inn), Some(&object), Ok(Some(&object))),
            (TokenKind::Suz, Some(&inn), None, Err(KeyError::ProductionObjectMissing)),
            (TokenKind::Suz, None, Some(&object), Err(KeyError::OrganisationMissing)),
            (TokenKind::Ismp, Some(&inn), Some(&object), Ok(None)),
            (TokenKind::Ismp, None, None, Err(KeyError::OrganisationMissing)),
            (TokenKind::IsmpRetail, Some(&inn), None, Ok(None)),
        ] {
            let wish = Wish {
                contour: Contour::default(),
                kind,
                organization: organization.cloned(),
                production_object: production_object.cloned(),
            };
            let key = wish.key();
            assert_eq!(
                key.clone().map(|key| key.production_object),
                wanted.map(|object| object.cloned()),
                "{kind} {organization:?} {production_object:?}"
            );
            assert!(key.is_err() || wish.fits(&key.unwrap()));
        }
    }
}
