//! A key in the keeping of the computer's TPM 2.0: given to it when the identity is sealed, had back
//! when it is opened.
//!
//! The key is a sealed data object below the storage key of the owner hierarchy (TCG TPM 2.0
//! Library, part 1, section 23). That storage key follows from the TPM's own seed and a fixed
//! template, so nothing is stored in the TPM, and a TPM that was cleared, or another one, cannot
//! read the object. No authorization value protects it: whoever may use the TPM of this computer and
//! read the file gets the key, as with parts. What the key opens is decided by the seal.

mod device;
mod wire;

use std::io;
use std::path::{Path, PathBuf};

use licence_core::identity_seal::TpmBlobs;
use licence_core::seal::KEY_BYTES;
use zeroize::Zeroizing;

use self::device::Device;
use self::wire::{Answer, Code, Handle};

/// Why the TPM did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// The answer is none of a TPM 2.0.
    #[error("what answers is no TPM 2.0: {0}")]
    Malformed(&'static str),
    /// The TPM says no.
    #[error("the TPM refuses {command} (code 0x{code:03x})")]
    Refused {
        /// What it was asked for.
        command: &'static str,
        /// Its response code (part 2, section 6.6).
        code: u32,
    },
    /// The device cannot be used.
    #[error("TPM {path}")]
    Unreachable {
        /// The device or socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl TpmError {
    /// Whether the TPM works and cannot read the object: it is another one, or was cleared. It then
    /// complains of what it was given (format-one codes), not of its own state.
    pub(super) const fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { command, code } => {
                let is_of_object = matches!(command.as_bytes(), b"TPM2_Load" | b"TPM2_Unseal");
                is_of_object && wire::is_complaint(*code)
            }
            Self::Malformed(_) | Self::Unreachable { .. } => false,
        }
    }
}

/// How often a command is given again to a TPM that asks for it.
const RETRIES_MAX: usize = 8;

/// Gives a key to the TPM.
pub(super) fn seal(path: &Path, key: &[u8; KEY_BYTES]) -> Result<TpmBlobs, TpmError> {
    let mut tpm = Tpm::open(path)?;
    let parent = tpm.make_storage_key()?;
    let made = tpm.call(Code::Create, &wire::create(parent, key));
    tpm.forget(parent);
    let mut answer = made?;
    let body = answer.parameters()?;
    let (private, rest) = wire::sized(body)?;
    let (public, _) = wire::sized(rest)?;
    Ok(TpmBlobs { public: public.to_vec(), private: private.to_vec() })
}

/// Has a key back.
pub(super) fn unseal(
    path: &Path,
    blobs: &TpmBlobs,
) -> Result<Zeroizing<[u8; KEY_BYTES]>, TpmError> {
    let mut tpm = Tpm::open(path)?;
    let parent = tpm.make_storage_key()?;
    let loaded = tpm
        .call(Code::Load, &wire::load(parent, &blobs.private, &blobs.public))
        .and_then(|mut answer| answer.handle());
    tpm.forget(parent);
    let object = loaded?;
    let unsealed = tpm.call(Code::Unseal, &wire::unseal(object));
    tpm.forget(object);
    let mut answer = unsealed?;
    let (key, _) = wire::sized(answer.parameters()?)?;
    let key = key.try_into().map_err(|_| TpmError::Malformed("a key of another length"))?;
    Ok(Zeroizing::new(key))
}

struct Tpm {
    device: Device,
    path: PathBuf,
}

impl Tpm {
    fn open(path: &Path) -> Result<Self, TpmError> {
        let device = Device::open(path)
            .map_err(|source| TpmError::Unreachable { path: path.to_owned(), source })?;
        Ok(Self { device, path: path.to_owned() })
    }

    fn call(&mut self, code: Code, command: &[u8]) -> Result<Answer, TpmError> {
        let mut tries = 0;
        loop {
            let bytes = self
                .device
                .exchange(command)
                .map_err(|source| TpmError::Unreachable { path: self.path.clone(), source })?;
            let answer = Answer::read(bytes)?;
            match answer.code() {
                wire::SUCCESS => return Ok(answer),
                wire::RETRY if tries < RETRIES_MAX => tries += 1,
                refused => return Err(TpmError::Refused { command: code.name(), code: refused }),
            }
        }
    }

    fn make_storage_key(&mut self) -> Result<Handle, TpmError> {
        self.call(Code::CreatePrimary, &wire::create_storage_key())?.handle()
    }

    /// Frees a place for keys, of which a TPM has three. With the kernel's own management a place is
    /// freed in any case when the device is closed.
    fn forget(&mut self, handle: Handle) {
        if let Err(error) = self.call(Code::FlushContext, &wire::flush(handle)) {
            log::debug!("a key stays in the TPM until it starts again: {error}");
        }
    }
}
