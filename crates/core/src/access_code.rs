//! Access codes: what an administrator sets for a key and a session names to use it.
//!
//! Decides whether a code that is named is the one that was set. It never says what the code is: a
//! code of a cluster is known to its nodes by a salted digest alone. A digest keeps a code from who
//! looks at it, not from who tries all short codes: that is the business of rights in etcd.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::seal::{hmac_sha256, hmac_sha256_is};

/// What the digest is for, so that it is no digest of anything else.
const PURPOSE: &[u8] = b"licence access code 1\0";

/// Bytes of a salt.
pub const SALT_BYTES: usize = 16;

/// The access code of a key. The `Debug` form does not show it.
#[derive(Clone, Eq, PartialEq)]
pub enum AccessCode {
    /// As a server's own settings have it.
    Plain(String),
    /// As the nodes of a cluster have it.
    Digest(CodeDigest),
}

impl AccessCode {
    /// Whether this is the code that a session names.
    pub fn is(&self, named: &str) -> bool {
        match self {
            Self::Plain(code) => code == named,
            Self::Digest(digest) => digest.is_of(named),
        }
    }
}

impl fmt::Debug for AccessCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessCode(***)")
    }
}

impl From<&str> for AccessCode {
    fn from(code: &str) -> Self {
        Self::Plain(code.to_owned())
    }
}

impl From<String> for AccessCode {
    fn from(code: String) -> Self {
        Self::Plain(code)
    }
}

impl From<CodeDigest> for AccessCode {
    fn from(digest: CodeDigest) -> Self {
        Self::Digest(digest)
    }
}

/// HMAC-SHA-256 of a code under a salt; as text `salt.digest`, both in base64url.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct CodeDigest {
    salt: [u8; SALT_BYTES],
    digest: [u8; 32],
}

/// The text is no digest of a code.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the digest of an access code is a salt of 16 bytes and 32 bytes, both in base64url")]
pub struct ParseCodeDigestError;

impl CodeDigest {
    /// The digest of a code under a salt that the caller has drawn for it.
    pub fn new(code: &str, salt: [u8; SALT_BYTES]) -> Self {
        Self { salt, digest: hmac_sha256(&salt, &message(code)) }
    }

    /// Whether this is the digest of that code.
    pub fn is_of(&self, code: &str) -> bool {
        hmac_sha256_is(&self.salt, &message(code), &self.digest)
    }
}

fn message(code: &str) -> Vec<u8> {
    [PURPOSE, code.as_bytes()].concat()
}

impl fmt::Display for CodeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        write!(f, "{}.{}", text(&self.salt), text(&self.digest))
    }
}

impl fmt::Debug for CodeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeDigest(***)")
    }
}

impl FromStr for CodeDigest {
    type Err = ParseCodeDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (salt, digest) = text.split_once('.').ok_or(ParseCodeDigestError)?;
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| ParseCodeDigestError);
        let salt = bytes(salt)?.try_into().map_err(|_| ParseCodeDigestError)?;
        let digest = bytes(digest)?.try_into().map_err(|_| ParseCodeDigestError)?;
        Ok(Self { salt, digest })
    }
}

impl Serialize for CodeDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CodeDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_known_by_its_digest_and_no_other_is() {
        let digest = CodeDigest::new("касса 7", [7; SALT_BYTES]);
        let code = AccessCode::from(digest);
        assert!(code.is("касса 7"));
        for other in ["", "касса", "касса 7 ", "Касса 7"] {
            assert!(!code.is(other), "{other}");
        }
        assert_ne!(digest, CodeDigest::new("касса 7", [8; SALT_BYTES]));
        assert!(AccessCode::from("x7").is("x7") && !AccessCode::from("x7").is("x"));
    }

    #[test]
    fn written_digest_is_read_back_and_shows_no_code() {
        let digest = CodeDigest::new("secret", [1; SALT_BYTES]);
        let text = digest.to_string();
        assert_eq!(text.len(), 22 + 1 + 43);
        assert_eq!(text.parse(), Ok(digest));
        for shown in
            [text.clone(), format!("{digest:?}"), format!("{:?}", AccessCode::from("secret"))]
        {
            assert!(!shown.contains("secret"), "{shown}");
        }
        for wrong in ["", ".", "AA.AA", &text[1..], &format!("{text}A"), &text.replace('.', "")] {
            assert_eq!(wrong.parse::<CodeDigest>(), Err(ParseCodeDigestError), "{wrong}");
        }
    }
}
