//! The files of the identity: opened, made, taken over from an earlier server, replaced.
//!
//! A seal is trusted with the only copy of a key when it has been opened again: the plain file of an
//! earlier server goes after that, in steps each of which may be the last one of a killed process.
//! What is killed in between goes on at the next start:
//!
//! | on the disk | what the next start does |
//! | --- | --- |
//! | plain file alone | seals it |
//! | seal and plain file of the same key | removes the plain file |
//! | seal and a plain file of zeros | removes the plain file |

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use licence_core::identity_seal::{
    FILE_BYTES_MAX, Opened, Protection, RANDOM_BYTES, SealedIdentity,
};
use licence_core::seal::{KEY_BYTES, PublicKey, SigningKey};
use zeroize::Zeroizing;

use super::computer::Found;
use super::plain::{self, PEM_BYTES_MAX};
use super::{Identity, IdentityError, LockedSeal, SealOptions, WhyLocked, secret, tpm};
use crate::atomic_file::{self, Readers};
use crate::{clock, random};

/// A step that changed the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// The seal is written.
    Sealed,
    /// The seal was read back and opened.
    Proven,
    /// The plain file holds zeros.
    Wiped,
    /// The plain file is gone.
    Removed,
}

/// Goes on after every step.
pub(super) const fn every_step(_: Step) -> bool {
    true
}

/// What the plain file of an earlier server holds.
enum Plain {
    Absent,
    Key(Zeroizing<[u8; KEY_BYTES]>),
    /// Empty or zeros: its removal was cut short.
    Wiped,
    /// Something else.
    Foreign,
}

/// As [`Identity::open`].
pub(super) fn open(options: SealOptions) -> Result<Identity, IdentityError> {
    let Some(sealed) = read_seal(&options.file)? else {
        return match read_plain(&options.plain)? {
            Plain::Key(seed) => Ok(Identity::from_seed(*seed)),
            Plain::Absent => Err(file(&options.file)(io::ErrorKind::NotFound.into())),
            Plain::Foreign | Plain::Wiped => Err(IdentityError::Malformed(options.plain)),
        };
    };
    let found = options.computer.read(&options.file);
    let opened = open_seal(&sealed, &options, &found)?;
    Ok(Identity::opened(options, sealed, opened, &found))
}

/// As [`Identity::open_or_make_until`].
pub(super) fn open_or_make(
    options: SealOptions,
    go_on: &mut dyn FnMut(Step) -> bool,
) -> Result<Identity, IdentityError> {
    match (read_seal(&options.file)?, read_plain(&options.plain)?) {
        (Some(sealed), plain) => open_sealed(options, sealed, plain, go_on),
        (None, Plain::Key(seed)) => {
            log::info!("sealing the identity of this installation: {}", options.file.display());
            take_over(options, &seed, go_on)
        }
        (None, Plain::Absent) => make(options),
        // A fresh key would make every installed licence worthless.
        (None, Plain::Foreign | Plain::Wiped) => Err(IdentityError::Malformed(options.plain)),
    }
}

fn make(options: SealOptions) -> Result<Identity, IdentityError> {
    let mut seed = Zeroizing::new([0; KEY_BYTES]);
    random::fill(&mut *seed).map_err(IdentityError::Random)?;
    let (sealed, opened, found) = seal(&options, &seed)?;
    match atomic_file::make(&options.file, sealed.to_json().as_bytes()) {
        Ok(()) => {}
        // Another process was faster: its identity is the one.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return open(options),
        Err(error) => return Err(file(&options.file)(error)),
    }
    log::info!("made the identity of this installation: {}", options.file.display());
    Ok(Identity::opened(options, sealed, opened, &found))
}

/// Seals the plain identity of an earlier server, and removes its file when the seal has opened.
fn take_over(
    options: SealOptions,
    seed: &[u8; KEY_BYTES],
    go_on: &mut dyn FnMut(Step) -> bool,
) -> Result<Identity, IdentityError> {
    let (sealed, _, _) = seal(&options, seed)?;
    replace(&options, &sealed)?;
    step(go_on, Step::Sealed)?;
    let identity = open(options.clone())?;
    if *identity.seed != *seed {
        return Err(IdentityError::Unproven);
    }
    step(go_on, Step::Proven)?;
    remove_plain(&options.plain, go_on)?;
    Ok(identity)
}

/// Opens the seal that is there, does away with what is left of a plain file, and seals anew when
/// the settings ask for another protection.
fn open_sealed(
    options: SealOptions,
    sealed: SealedIdentity,
    plain: Plain,
    go_on: &mut dyn FnMut(Step) -> bool,
) -> Result<Identity, IdentityError> {
    let found = options.computer.read(&options.file);
    let opened = match (open_seal(&sealed, &options, &found), &plain) {
        (Ok(opened), _) => opened,
        // Whoever has put the plain file back need not lose it for a seal of the same key.
        (Err(IdentityError::Locked(_)), Plain::Key(seed))
            if SigningKey::from_seed(seed).public() == sealed.identity() =>
        {
            return take_over(options, seed, go_on);
        }
        (Err(error), _) => return Err(error),
    };
    match plain {
        Plain::Absent => {}
        Plain::Key(seed) if *seed != *opened.seed => log::warn!(
            "{} holds another identity and is not used; {} is in force",
            options.plain.display(),
            options.file.display()
        ),
        Plain::Key(_) | Plain::Wiped => remove_plain(&options.plain, go_on)?,
        Plain::Foreign => log::warn!("{} is not used", options.plain.display()),
    }
    let is_as_wanted = sealed.protection() == options.protection();
    let identity = Identity::opened(options, sealed, opened, &found);
    if !is_as_wanted {
        identity.reseal()?;
        log::info!("the identity is sealed by another protection, as the settings ask");
    }
    Ok(identity)
}

/// Opens a seal by what it is sealed to.
pub(super) fn open_seal(
    sealed: &SealedIdentity,
    options: &SealOptions,
    found: &Found,
) -> Result<Opened, IdentityError> {
    let why = match sealed.protection() {
        Protection::Parts => match sealed.open_with_parts(&found.parts) {
            Some(opened) => return Ok(opened),
            None => WhyLocked::Parts,
        },
        Protection::Secret => match options.secret.as_deref().map(secret::read) {
            None => WhyLocked::SecretMissing("no file is named".to_owned()),
            Some(Err(error)) => WhyLocked::SecretMissing(error.to_string()),
            Some(Ok(secret)) => match sealed.open_with_secret(&secret) {
                Some(opened) => return Ok(opened),
                None => WhyLocked::SecretDiffers,
            },
        },
        Protection::Tpm => match open_by_tpm(sealed, options) {
            Ok(opened) => return Ok(opened),
            Err(why) => why,
        },
    };
    let parts = sealed.resemblance(&found.parts);
    let is_wanted = |kind: &_| parts.iter().any(|part| part.kind == *kind && !part.matches);
    let unreadable = found.unreadable.iter().copied().filter(is_wanted).collect();
    Err(IdentityError::Locked(Box::new(LockedSeal {
        protection: sealed.protection(),
        parts,
        needed: sealed.opening_min(),
        unreadable,
        why,
    })))
}

fn open_by_tpm(sealed: &SealedIdentity, options: &SealOptions) -> Result<Opened, WhyLocked> {
    let blobs = sealed.tpm_blobs().ok_or(WhyLocked::TpmDiffers)?;
    match tpm::unseal(&options.tpm_device, blobs) {
        Ok(key) => sealed.open_with_tpm_key(&key).ok_or(WhyLocked::TpmDiffers),
        Err(error) if error.is_refusal() => Err(WhyLocked::TpmDiffers),
        Err(error) => Err(WhyLocked::TpmMissing(licence_core::causes::with_causes(&error))),
    }
}

/// Seals a seed as the options say, and opens it again to see that it works.
pub(super) fn seal(
    options: &SealOptions,
    seed: &[u8; KEY_BYTES],
) -> Result<(SealedIdentity, Opened, Found), IdentityError> {
    let mut bytes = Zeroizing::new([0; RANDOM_BYTES]);
    random::fill(&mut *bytes).map_err(IdentityError::Random)?;
    let now = clock::utc();
    let found = options.computer.read(&options.file);
    let sealed = match options.protection() {
        Protection::Parts => {
            SealedIdentity::to_parts(seed, &found.to_seal(&options.file), &bytes, now)
        }
        Protection::Secret => {
            let path = options.secret.clone().unwrap_or_default();
            let secret = secret::read(&path)
                .map_err(|source| IdentityError::Secret { path: path.clone(), source })?;
            SealedIdentity::to_secret(seed, &secret, &bytes, now)
        }
        Protection::Tpm => {
            let mut key = Zeroizing::new([0; KEY_BYTES]);
            random::fill(&mut *key).map_err(IdentityError::Random)?;
            let blobs = tpm::seal(&options.tpm_device, &key).map_err(IdentityError::Tpm)?;
            SealedIdentity::to_tpm(seed, &key, blobs, &bytes, now)
        }
    };
    let sealed =
        sealed.map_err(|source| IdentityError::Seal { path: options.file.clone(), source })?;
    let opened = open_seal(&sealed, options, &found)?;
    if *opened.seed != *seed {
        return Err(IdentityError::Unproven);
    }
    Ok((sealed, opened, found))
}

/// Puts a seal in the place of the one that is there.
pub(super) fn replace(options: &SealOptions, sealed: &SealedIdentity) -> Result<(), IdentityError> {
    atomic_file::replace(&options.file, sealed.to_json().as_bytes(), Readers::Owner)
        .map_err(file(&options.file))
}

/// The seal in a file; nothing when there is no file.
pub(super) fn read_seal(path: &Path) -> Result<Option<SealedIdentity>, IdentityError> {
    let Some(text) = read_text(path, FILE_BYTES_MAX as u64)? else { return Ok(None) };
    let sealed = SealedIdentity::from_json(&text);
    sealed.map(Some).map_err(|source| IdentityError::Seal { path: path.to_owned(), source })
}

fn read_plain(path: &Path) -> Result<Plain, IdentityError> {
    let Some(text) = read_text(path, PEM_BYTES_MAX)? else { return Ok(Plain::Absent) };
    Ok(match plain::seed_of(&text) {
        Some(seed) => Plain::Key(seed),
        None if text.bytes().all(|byte| byte == 0) => Plain::Wiped,
        None => Plain::Foreign,
    })
}

/// As [`super::public_in`]. The two forms begin with different characters.
pub(super) fn public_in(path: &Path) -> Result<PublicKey, IdentityError> {
    if let Plain::Key(seed) = read_plain(path)? {
        return Ok(SigningKey::from_seed(&seed).public());
    }
    let sealed = read_seal(path)?.ok_or_else(|| file(path)(io::ErrorKind::NotFound.into()))?;
    Ok(sealed.identity())
}

fn read_text(path: &Path, bytes_max: u64) -> Result<Option<Zeroizing<String>>, IdentityError> {
    let opened = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(file(path))?,
    };
    let mut bytes = Zeroizing::new(Vec::new());
    // One more than the limit, so that a longer file is not taken for its beginning.
    opened.take(bytes_max + 1).read_to_end(&mut bytes).map_err(file(path))?;
    // What is no text is no file of ours either, and is told as such.
    Ok(Some(Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned())))
}

/// Fills a file with zeros and removes it. On a disk that writes each block to a fresh place (SSD,
/// some file systems) the old bytes may stay readable for whoever reads the disk itself.
fn remove_plain(path: &Path, go_on: &mut dyn FnMut(Step) -> bool) -> Result<(), IdentityError> {
    let wipe = || {
        let mut opened = OpenOptions::new().write(true).open(path)?;
        let len = usize::try_from(opened.metadata()?.len().min(PEM_BYTES_MAX)).unwrap_or(0);
        opened.write_all(&vec![0; len])?;
        opened.sync_all()
    };
    wipe().map_err(file(path))?;
    step(go_on, Step::Wiped)?;
    fs::remove_file(path).map_err(file(path))?;
    if let Some(folder) = path.parent() {
        atomic_file::sync_folder(folder).map_err(file(folder))?;
    }
    step(go_on, Step::Removed)
}

fn step(go_on: &mut dyn FnMut(Step) -> bool, taken: Step) -> Result<(), IdentityError> {
    if go_on(taken) { Ok(()) } else { Err(IdentityError::Stopped) }
}

fn file(path: &Path) -> impl Fn(io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::File { path: path.clone(), source }
}
