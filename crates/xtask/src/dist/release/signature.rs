//! The signature of a release: minisign's format, over `SHA256SUMS`.
//!
//! Only uses keys: they are made by `minisign -G` or `rsign generate`, and where they are kept is
//! docs/release.md's subject. No key and no password is ever printed.

use std::io::{Cursor, IsTerminal as _};
use std::path::{Path, PathBuf};

use minisign::{PublicKey, SecretKey, SecretKeyBox, SignatureBox};

use super::super::target::Job;
use crate::stage::StageError;

/// Name of the signature, where minisign looks for it.
pub const NAME: &str = "SHA256SUMS.minisig";

/// Variable that names the file of the secret key.
pub const KEY_FILE: &str = "LICENCE_RELEASE_KEY";

/// Variable that names a file with the key's password; without it, it is asked for.
pub const PASSWORD_FILE: &str = "LICENCE_RELEASE_KEY_PASSWORD_FILE";

/// How the second line of a secret key without a password begins: Ed25519, no derivation of a key, a
/// checksum by BLAKE2b, in base64.
const PLAIN: &str = "RWQAAEIy";

/// A secret key, open.
pub struct Key(SecretKey);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

impl Key {
    /// The key that the environment names; none when it names none.
    ///
    /// # Errors
    ///
    /// When the key or its password cannot be used.
    pub fn from_environment() -> Result<Option<Self>, StageError> {
        let named = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let Some(file) = named(KEY_FILE) else { return Ok(None) };
        Self::load(&file, named(PASSWORD_FILE).as_deref()).map(Some)
    }

    /// The key in a file. The password is in another file, or is asked for at the terminal.
    ///
    /// # Errors
    ///
    /// When the file is no key, or the password is missing or wrong.
    pub fn load(file: &Path, password_file: Option<&Path>) -> Result<Self, StageError> {
        let failed = |why: minisign::PError| {
            StageError::failed(format!("{}: the key cannot be used: {why}", file.display()))
        };
        let read =
            |path: &Path| std::fs::read_to_string(path).map_err(|why| StageError::io(path, why));
        let text = read(file)?;
        let sealed = SecretKeyBox::from_string(&text).map_err(failed)?;
        // minisign's crate wants to be told of a key without a password. It does not take those of
        // `minisign -G -W`, which have no checksum; its own and rsign's have one.
        if text.lines().nth(1).is_some_and(|line| line.starts_with(PLAIN)) {
            return sealed.into_unencrypted_secret_key().map(Self).map_err(failed);
        }
        let password = match password_file {
            Some(path) => Some(read(path)?.trim_end_matches(['\r', '\n']).to_owned()),
            // minisign's crate asks.
            None if std::io::stdin().is_terminal() => None,
            None => {
                return Err(StageError::failed(format!(
                    "{}: the key has a password, nobody can be asked, and {PASSWORD_FILE} names \
                     no file with it",
                    file.display()
                )));
            }
        };
        sealed.into_secret_key(password).map(Self).map_err(failed)
    }

    /// Signs the sums. The trusted comment says of which version they are; its moment is the one that
    /// the files of the release carry.
    ///
    /// # Errors
    ///
    /// When the sums cannot be read or the signature cannot be written.
    pub fn sign(&self, sums: &Path, job: &Job<'_>, to: &Path) -> Result<(), StageError> {
        let bytes = std::fs::read(sums).map_err(|why| StageError::io(sums, why))?;
        let trusted = format!(
            "timestamp:{}\tfile:{}\tlicenceserver {}",
            job.moment,
            super::sums::NAME,
            job.version
        );
        let failed =
            |why: minisign::PError| StageError::failed(format!("{}: {why}", sums.display()));
        let public = PublicKey::from_secret_key(&self.0).map_err(failed)?;
        let signature = minisign::sign(
            Some(&public),
            &self.0,
            Cursor::new(bytes),
            Some(&trusted),
            Some(&format!("signature of licenceserver {}", job.version)),
        )
        .map_err(failed)?;
        std::fs::write(to, signature.into_string()).map_err(|why| StageError::io(to, why))
    }
}

/// Checks a signature; gives its trusted comment. The key is a file as minisign writes it, or its
/// letters.
///
/// # Errors
///
/// When a file is missing, the key is none, or the signature is not by it.
pub fn verify(file: &Path, signature: &Path, key: &str) -> Result<String, StageError> {
    let shown = signature.display();
    let failed = |why: minisign::PError| StageError::failed(format!("{shown}: {why}"));
    let public = public_key(key)?;
    let bytes = std::fs::read(file).map_err(|why| StageError::io(file, why))?;
    let text = std::fs::read_to_string(signature).map_err(|why| StageError::io(signature, why))?;
    let parsed = SignatureBox::from_string(&text).map_err(failed)?;
    minisign::verify(&public, &parsed, Cursor::new(bytes), true, false, false).map_err(failed)?;
    let comment = parsed.trusted_comment().map_err(failed)?;
    // A tab lies between the parts that minisign itself writes.
    Ok(comment.replace('\t', ", "))
}

fn public_key(key: &str) -> Result<PublicKey, StageError> {
    let path = Path::new(key);
    let text = if path.is_file() {
        let text = std::fs::read_to_string(path).map_err(|why| StageError::io(path, why))?;
        // A comment, then the key; or the key alone.
        text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
    } else {
        key.trim().to_owned()
    };
    PublicKey::from_base64(&text).map_err(|_| {
        StageError::failed(format!("{key} is neither a public key of minisign nor a file with one"))
    })
}
