//! The text of `identity.seal`: names and limits of its members. What they mean is decided beside.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::{
    KEY_BYTES, Lock, PARTS_MAX, Protection, SealError, SealedIdentity, SealedPart,
    TPM_BLOB_BYTES_MAX, TpmBlobs,
};
use crate::binding::PartKind;
use crate::seal::PublicKey;
use crate::time::Utc;

/// The form that is written.
const FORMAT: u32 = 1;

/// Longest file that is read: one with 16 parts has some 2 KiB, one with the blobs of a TPM less
/// than 8.
pub const FILE_BYTES_MAX: usize = 16 * 1024;

/// Bytes of an encrypted seed with its tag.
const SEALED_BYTES: usize = KEY_BYTES + 16;

/// Read first, so that a file of a later program is not called damaged.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Head {
    format: u32,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Document {
    format: u32,
    protection: Protection,
    sealed_at: Utc,
    identity: String,
    salt: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<PartDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tpm: Option<TpmDocument>,
    sealed: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct PartDocument {
    kind: PartKind,
    hint: u8,
    share: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct TpmDocument {
    public: String,
    private: String,
}

impl Document {
    pub(super) fn text(sealed: &SealedIdentity) -> String {
        let part = |part: &SealedPart| PartDocument {
            kind: part.kind,
            hint: part.hint,
            share: URL_SAFE_NO_PAD.encode(part.share),
        };
        let tpm = |blobs: &TpmBlobs| TpmDocument {
            public: URL_SAFE_NO_PAD.encode(&blobs.public),
            private: URL_SAFE_NO_PAD.encode(&blobs.private),
        };
        let document = Self {
            format: FORMAT,
            protection: sealed.protection(),
            sealed_at: sealed.sealed_at,
            identity: URL_SAFE_NO_PAD.encode(sealed.identity.as_bytes()),
            salt: URL_SAFE_NO_PAD.encode(sealed.salt),
            parts: sealed.parts().iter().map(part).collect(),
            tpm: sealed.tpm_blobs().map(tpm),
            sealed: URL_SAFE_NO_PAD.encode(&sealed.sealed),
        };
        let text = serde_json::to_string_pretty(&document);
        // Strings, numbers and words under fixed names: nothing that JSON cannot say.
        text.unwrap_or_else(|error| unreachable!("a document without maps is JSON: {error}")) + "\n"
    }

    pub(super) fn read(text: &str) -> Result<SealedIdentity, SealError> {
        if text.len() > FILE_BYTES_MAX {
            return Err(SealError::Malformed("it is too long"));
        }
        let head: Head =
            serde_json::from_str(text).map_err(|_| SealError::Malformed("no member Format"))?;
        if head.format != FORMAT {
            return Err(SealError::Newer { found: head.format, known: FORMAT });
        }
        let document: Self = serde_json::from_str(text)
            .map_err(|_| SealError::Malformed("a member is missing, unknown or of another kind"))?;
        document.sealed()
    }

    fn sealed(self) -> Result<SealedIdentity, SealError> {
        let lock = match (self.protection, self.tpm) {
            (Protection::Parts, None) => Lock::Parts(parts(&self.parts)?),
            (Protection::Secret, None) if self.parts.is_empty() => Lock::Secret,
            (Protection::Tpm, Some(tpm)) if self.parts.is_empty() => {
                Lock::Tpm(TpmBlobs { public: blob(&tpm.public)?, private: blob(&tpm.private)? })
            }
            (Protection::Parts | Protection::Secret | Protection::Tpm, _) => {
                return Err(SealError::Malformed("Parts and Tpm do not go with Protection"));
            }
        };
        Ok(SealedIdentity {
            identity: PublicKey::from_bytes(exact(&self.identity, "Identity")?),
            lock,
            salt: exact(&self.salt, "Salt")?,
            sealed: exact::<SEALED_BYTES>(&self.sealed, "Sealed")?.to_vec(),
            sealed_at: self.sealed_at,
        })
    }
}

fn parts(documents: &[PartDocument]) -> Result<Vec<SealedPart>, SealError> {
    if documents.is_empty() || documents.len() > PARTS_MAX {
        return Err(SealError::Malformed("Parts must be 1 to 16"));
    }
    documents
        .iter()
        .map(|part| {
            let share = exact(&part.share, "Share")?;
            Ok(SealedPart { kind: part.kind, hint: part.hint, share })
        })
        .collect()
}

fn exact<const N: usize>(text: &str, name: &'static str) -> Result<[u8; N], SealError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(SealError::Malformed(name))
}

fn blob(text: &str) -> Result<Vec<u8>, SealError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
    if bytes.is_empty() || bytes.len() > TPM_BLOB_BYTES_MAX {
        return Err(SealError::Malformed("Tpm"));
    }
    Ok(bytes)
}
