//! The identity of this installation: the key pair that licences are bound to.
//!
//! It is made once and never replaced by the server itself: a seal that does not open stops the
//! start, because a fresh key would make every installed licence worthless. On the disk it lies
//! sealed to the computer ([`licence_core::identity_seal`]); here it is made, opened, compared with
//! the computer of now and sealed again. What the key signs, and whether a licence may be used on a
//! computer that has changed, is decided elsewhere.

pub mod command;
mod computer;
mod disk;
mod error;
mod plain;
mod secret;
mod tpm;
pub(crate) mod words;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use licence_core::binding::{Match, PartKind, PartState};
pub use licence_core::identity_seal::Protection;
use licence_core::identity_seal::{Comparer, Opened, SealedIdentity};
use licence_core::seal::{self, KEY_BYTES, PublicKey, SigningKey};
use licence_core::time::Utc;
use licence_core::wrap::WrapKey;
use zeroize::Zeroizing;

pub use self::computer::{Computer, Found};
pub use self::disk::Step;
pub use self::error::{IdentityError, LockedSeal, WhyLocked};
pub use self::tpm::TpmError;
use crate::config::Config;
use crate::paths::Paths;

/// What the key for secrets is derived for; another number would be another key.
const WRAP_KEY_LABEL: &[u8] = b"licence server object key 1";

/// What the key for session keys at rest is derived for.
const ISMP_KEY_LABEL: &[u8] = b"licence server session keys 1";

/// The device of a TPM 2.0 on Linux, with the kernel's own management of its places for keys.
pub const TPM_DEVICE_DEFAULT: &str = "/dev/tpmrm0";

/// Environment variable that names the mounted secret; it wins over the setting.
pub const SECRET_FILE_VARIABLE: &str = "LICENCE_IDENTITY_SECRET_FILE";

/// Where the identity lies and what it is sealed to.
#[derive(Clone, Debug)]
pub struct SealOptions {
    /// `identity.seal`.
    pub file: PathBuf,
    /// `identity.key`, the identity without a seal as servers once kept it: sealed and removed at the start.
    pub plain: PathBuf,
    /// The mounted secret.
    pub secret: Option<PathBuf>,
    /// Whether the TPM is to keep the key; it wins over a secret, which wins over parts.
    pub use_tpm: bool,
    /// The TPM's device, or the socket of one.
    pub tpm_device: PathBuf,
    /// The computer.
    pub computer: Computer,
}

impl SealOptions {
    /// What the settings and the environment say.
    pub fn of(paths: &Paths, config: &Config) -> Self {
        let named = std::env::var_os(SECRET_FILE_VARIABLE).filter(|name| !name.is_empty());
        Self {
            secret: named.map(PathBuf::from).or_else(|| config.identity.secret_file.clone()),
            use_tpm: config.identity.use_tpm,
            tpm_device: config.identity.tpm_device.clone(),
            ..Self::parts_only(&paths.identity())
        }
    }

    /// Parts of this computer, with this `identity.seal`.
    pub fn parts_only(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            plain: file.with_file_name("identity.key"),
            secret: None,
            use_tpm: false,
            tpm_device: PathBuf::from(TPM_DEVICE_DEFAULT),
            computer: Computer::This,
        }
    }

    /// What a seal that is made under these options is opened by.
    pub const fn protection(&self) -> Protection {
        if self.use_tpm {
            Protection::Tpm
        } else if self.secret.is_some() {
            Protection::Secret
        } else {
            Protection::Parts
        }
    }
}

/// The public key of the identity in a file, sealed or plain; nothing is opened for it.
///
/// # Errors
///
/// See [`IdentityError`].
pub fn public_in(file: &Path) -> Result<PublicKey, IdentityError> {
    disk::public_in(file)
}

/// How the seal of the identity and the computer compare.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SealState {
    /// What opens the seal.
    pub protection: Protection,
    /// How many parts match, for [`licence_core::binding::Binding::standing`].
    pub found: Match,
    /// The parts that the key is sealed to; none for a secret or a TPM.
    pub parts: Vec<PartState>,
    /// Kinds that the system does not let this user read; a part of such a kind does not match.
    pub unreadable: Vec<PartKind>,
    /// When it was sealed.
    pub sealed_at: Utc,
}

impl SealState {
    fn of(sealed: &SealedIdentity, comparer: Option<&Comparer>, found: &Found) -> Self {
        let parts = comparer.map(|comparer| comparer.compare(&found.parts)).unwrap_or_default();
        let protection = sealed.protection();
        let matching = parts.iter().filter(|part| part.matches).count();
        let matched = match protection {
            Protection::Parts => Match::Parts { matching, total: parts.len() },
            Protection::Secret => Match::Secret,
            Protection::Tpm => Match::Tpm,
        };
        let is_in_seal = |kind: &PartKind| parts.iter().any(|p| p.kind == *kind && !p.matches);
        let unreadable = found.unreadable.iter().copied().filter(is_in_seal).collect();
        Self { protection, found: matched, parts, unreadable, sealed_at: sealed.sealed_at() }
    }
}

/// A seal that was opened.
#[derive(Debug)]
struct Seal {
    sealed: SealedIdentity,
    comparer: Option<Comparer>,
    state: Arc<SealState>,
}

/// The key pair of one installation.
pub struct Identity {
    seed: Zeroizing<[u8; KEY_BYTES]>,
    key: Arc<SigningKey>,
    wrap_key: Arc<WrapKey>,
    /// Nothing for an identity without a file.
    options: Option<SealOptions>,
    seal: Mutex<Option<Seal>>,
    /// Held while the file is replaced, so that file and memory have the same seal.
    resealing: Mutex<()>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.key.public().thumbprint())
    }
}

impl Identity {
    /// The identity with this seed, in memory only. Its seal counts as one of a secret: it never
    /// drifts.
    pub fn from_seed(seed: [u8; KEY_BYTES]) -> Self {
        let wrap_key = WrapKey::from_secret(&seal::derive(&seed, WRAP_KEY_LABEL));
        let key = Arc::new(SigningKey::from_seed(&seed));
        Self {
            seed: Zeroizing::new(seed),
            key,
            wrap_key: Arc::new(wrap_key),
            options: None,
            seal: Mutex::new(None),
            resealing: Mutex::new(()),
        }
    }

    /// Opens the identity that is sealed to the parts of this computer in this file, or makes it
    /// when there is none.
    ///
    /// # Errors
    ///
    /// See [`IdentityError`].
    pub fn load_or_make(file: &Path) -> Result<Self, IdentityError> {
        Self::open_or_make(SealOptions::parts_only(file))
    }

    /// Opens the identity; seals the plain one of an earlier server; makes one when there is none.
    /// Reads files and devices, so not for an async thread that others wait for.
    ///
    /// # Errors
    ///
    /// See [`IdentityError`]; [`IdentityError::Locked`] when the seal does not open here.
    pub fn open_or_make(options: SealOptions) -> Result<Self, IdentityError> {
        disk::open_or_make(options, &mut disk::every_step)
    }

    /// As [`Self::open_or_make`], but `go_on` is asked after each step that changes the disk, and
    /// its false leaves everything as a killed process would: nothing is returned then.
    ///
    /// # Errors
    ///
    /// As [`Self::open_or_make`].
    pub fn open_or_make_until(
        options: SealOptions,
        go_on: &mut dyn FnMut(Step) -> bool,
    ) -> Result<Option<Self>, IdentityError> {
        match disk::open_or_make(options, go_on) {
            Err(IdentityError::Stopped) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Opens the identity that is there, and changes nothing on the disk. A plain one of an earlier
    /// server is read as well.
    ///
    /// # Errors
    ///
    /// As [`Self::open_or_make`]; [`IdentityError::File`] when there is none.
    pub fn open(options: SealOptions) -> Result<Self, IdentityError> {
        disk::open(options)
    }

    /// As [`Self::open_or_make`], but makes none where there is none.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_or_take_over(options: SealOptions) -> Result<Self, IdentityError> {
        if !options.file.exists() && !options.plain.exists() {
            return Self::open(options);
        }
        Self::open_or_make(options)
    }

    fn opened(options: SealOptions, sealed: SealedIdentity, opened: Opened, found: &Found) -> Self {
        let Opened { seed, comparer } = opened;
        let state = Arc::new(SealState::of(&sealed, comparer.as_ref(), found));
        let mut identity = Self::from_seed(*seed);
        identity.options = Some(options);
        identity.seal = Mutex::new(Some(Seal { sealed, comparer, state }));
        identity
    }

    /// The key that signs.
    pub const fn key(&self) -> &Arc<SigningKey> {
        &self.key
    }

    /// The key for which centres wrap secrets. It follows from the identity, so a backup that has
    /// the one has the other, and an answer that a person carries opens whenever it comes.
    pub const fn wrap_key(&self) -> &Arc<WrapKey> {
        &self.wrap_key
    }

    /// The key under which session keys of ИС МП lie on the disk. It follows from the identity, so
    /// that their file opens on no computer on which the identity does not.
    pub fn ismp_key(&self) -> Zeroizing<[u8; KEY_BYTES]> {
        Zeroizing::new(seal::derive(&*self.seed, ISMP_KEY_LABEL))
    }

    /// The key that licences are bound to.
    pub fn public(&self) -> PublicKey {
        self.key.public()
    }

    /// The private key as PKCS#8 in DER, for the TLS certificate.
    pub fn pkcs8(&self) -> Vec<u8> {
        plain::der_of(&self.seed)
    }

    /// How the seal and the computer compared when that was looked at last. Cheap.
    pub fn seal_state(&self) -> Arc<SealState> {
        match &*self.held() {
            Some(seal) => Arc::clone(&seal.state),
            None => Arc::new(SealState {
                protection: Protection::Secret,
                found: Match::Secret,
                parts: Vec::new(),
                unreadable: Vec::new(),
                sealed_at: Utc::from_unix_millis(0),
            }),
        }
    }

    /// Reads the parts of the computer anew and compares them with those of the seal. Blocks on
    /// files of the system.
    pub fn look_again(&self) {
        let Some(options) = &self.options else { return };
        // Read before the lock: whoever asks for the state does not wait for files.
        let found = options.computer.read(&options.file);
        if let Some(seal) = &mut *self.held() {
            seal.state = Arc::new(SealState::of(&seal.sealed, seal.comparer.as_ref(), &found));
        }
    }

    /// Seals the same key to the computer of now, by what the options say. The file is replaced
    /// only by one that has been opened again. Blocks on the disk, and on the TPM where one is used.
    ///
    /// # Errors
    ///
    /// See [`IdentityError`]; the seal is then as it was.
    pub fn reseal(&self) -> Result<(), IdentityError> {
        let Some(options) = &self.options else { return Ok(()) };
        let _one_at_a_time = self.resealing.lock().unwrap_or_else(PoisonError::into_inner);
        let (sealed, opened, found) = disk::seal(options, &self.seed)?;
        disk::replace(options, &sealed)?;
        let state = Arc::new(SealState::of(&sealed, opened.comparer.as_ref(), &found));
        *self.held() = Some(Seal { sealed, comparer: opened.comparer, state });
        Ok(())
    }

    /// Seals the identity anew when its folder has been given to another user and the seal has parts
    /// that only root may read: the service of that user would find them changed. Whether that was
    /// needed.
    ///
    /// # Errors
    ///
    /// As [`Self::open`] and [`Self::reseal`].
    pub fn hand_over(options: SealOptions) -> Result<bool, IdentityError> {
        let found = options.computer.read(&options.file);
        let lasting = found.to_seal(&options.file);
        let identity = Self::open(options)?;
        let is_hidden = |part: &PartState| {
            found.root_only.contains(&part.kind) && !lasting.iter().any(|p| p.kind == part.kind)
        };
        let is_needed = identity.seal_state().parts.iter().any(is_hidden);
        if is_needed {
            identity.reseal()?;
        }
        Ok(is_needed)
    }

    fn held(&self) -> MutexGuard<'_, Option<Seal>> {
        self.seal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
