//! Why there is no identity, and what is known of a seal that does not open.
//!
//! No value of a part, no secret and no key is in any of these.

use std::fmt;
use std::io;
use std::path::PathBuf;

use licence_core::binding::{PartKind, PartState};
use licence_core::identity_seal::{Protection, SealError};
use licence_core::language::Language;

use super::tpm::TpmError;
use super::words;
use crate::random::RandomError;

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file or its folder could not be read or written.
    #[error("identity file {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The seal is whole and does not open on this computer.
    #[error("the identity is locked: {0}")]
    Locked(Box<LockedSeal>),
    /// The file of an earlier server is not an Ed25519 key in PEM.
    #[error("{0} is not an Ed25519 private key (PKCS#8, PEM); restore it from a copy")]
    Malformed(PathBuf),
    /// No random bytes for a key.
    #[error("no identity could be made")]
    Random(#[source] RandomError),
    /// The seal is damaged, or none can be made.
    #[error("sealed identity {path}")]
    Seal {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: SealError,
    },
    /// The mounted secret cannot be read.
    #[error("secret file {path} (IdentitySecretFile)")]
    Secret {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A test stopped between two steps.
    #[error("stopped between two steps")]
    Stopped,
    /// The TPM keeps no key.
    #[error("the TPM cannot keep the identity (IdentityTpm)")]
    Tpm(#[source] TpmError),
    /// What was just sealed does not open.
    #[error("the identity that was just sealed does not open again; the file is as it was")]
    Unproven,
}

/// Why a whole seal does not open.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum WhyLocked {
    /// Too few parts match.
    Parts,
    /// The secret is not the one of the seal.
    SecretDiffers,
    /// No secret is named, or its file cannot be read: the system's words.
    SecretMissing(String),
    /// The TPM is another one, or was cleared.
    TpmDiffers,
    /// The TPM does not answer: the reason.
    TpmMissing(String),
}

/// A seal that does not open on this computer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LockedSeal {
    /// What would open it.
    pub protection: Protection,
    /// The parts it was sealed to, each with whether the computer seems to have it.
    pub parts: Vec<PartState>,
    /// How many parts must match.
    pub needed: usize,
    /// Kinds of these that this user may not read.
    pub unreadable: Vec<PartKind>,
    /// Why.
    pub why: WhyLocked,
}

impl LockedSeal {
    /// How many parts seem to match.
    pub fn matching(&self) -> usize {
        self.parts.iter().filter(|part| part.matches).count()
    }
}

impl fmt::Display for LockedSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&words::locked(self, Language::English))?;
        // The log's readers may know what the system said; who asks the closed server may not.
        words::cause(self).map_or(Ok(()), |cause| write!(f, " ({cause})"))
    }
}
