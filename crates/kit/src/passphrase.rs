//! Where a passphrase comes from: a file or the environment, never the command line.
//!
//! Arguments of a process are shown to every user of the machine, so no function here takes one.
//! How a passphrase becomes a key is decided by age (see [`crate::secret`]).

use std::fmt;
use std::path::Path;

use age::secrecy::SecretString;
use zeroize::{Zeroize, Zeroizing};

use crate::files::{self, FileError};

/// Name of the environment variable that may hold the passphrase.
pub const PASSPHRASE_VARIABLE: &str = "LICENCE_PASSPHRASE";

/// Fewest characters. Twelve random letters and digits are some 70 bits, which scrypt puts out of
/// reach; shorter ones are found by trying.
pub const PASSPHRASE_CHARS_MIN: usize = 12;

/// Most bytes of a passphrase: nobody types more, and a wrong file is noticed.
pub const PASSPHRASE_BYTES_MAX: usize = 1024;

/// A passphrase of acceptable length; wiped when dropped and never shown.
pub struct Passphrase(Zeroizing<String>);

/// Why there is no usable passphrase.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassphraseError {
    /// The file cannot be read.
    #[error("passphrase file")]
    File(#[source] FileError),
    /// Neither a file nor the environment gives one.
    #[error("no passphrase: name a file with --passphrase-file or set {PASSPHRASE_VARIABLE}")]
    Missing,
    /// Not UTF-8.
    #[error("the passphrase is not UTF-8 text")]
    NotText,
    /// Longer than [`PASSPHRASE_BYTES_MAX`].
    #[error("the passphrase is longer than {PASSPHRASE_BYTES_MAX} bytes")]
    TooLong,
    /// Shorter than [`PASSPHRASE_CHARS_MIN`].
    #[error("the passphrase has {0} characters, at least {PASSPHRASE_CHARS_MIN} are needed")]
    TooShort(usize),
}

impl Passphrase {
    /// Takes a passphrase; line ends at its end do not belong to it.
    ///
    /// # Errors
    ///
    /// When it is too short or too long.
    pub fn new(mut text: Zeroizing<String>) -> Result<Self, PassphraseError> {
        let kept = text.trim_end_matches(['\r', '\n']).len();
        text.truncate(kept);
        if text.len() > PASSPHRASE_BYTES_MAX {
            return Err(PassphraseError::TooLong);
        }
        let chars = text.chars().count();
        if chars < PASSPHRASE_CHARS_MIN {
            return Err(PassphraseError::TooShort(chars));
        }
        Ok(Self(text))
    }

    /// From `file` when one is named, else from `variable`, the value of
    /// [`PASSPHRASE_VARIABLE`].
    ///
    /// # Errors
    ///
    /// See [`PassphraseError`].
    pub fn find(
        file: Option<&Path>,
        variable: Option<Zeroizing<String>>,
    ) -> Result<Self, PassphraseError> {
        match (file, variable) {
            (Some(path), _) => Self::from_file(path),
            (None, Some(text)) => Self::new(text),
            (None, None) => Err(PassphraseError::Missing),
        }
    }

    fn from_file(path: &Path) -> Result<Self, PassphraseError> {
        // Room for a line end beyond the longest passphrase.
        let bytes = Zeroizing::new(
            files::read(path, PASSPHRASE_BYTES_MAX + 2).map_err(PassphraseError::File)?,
        );
        let text = std::str::from_utf8(&bytes).map_err(|_| PassphraseError::NotText)?;
        Self::new(Zeroizing::new(text.trim_start_matches('\u{feff}').to_owned()))
    }

    pub(crate) fn to_secret(&self) -> SecretString {
        SecretString::from(self.0.as_str().to_owned())
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// What the surroundings of a program offer: the value of [`PASSPHRASE_VARIABLE`], if it is set
/// and text.
pub fn from_environment() -> Option<Zeroizing<String>> {
    let value = std::env::var_os(PASSPHRASE_VARIABLE)?;
    match value.into_string() {
        Ok(text) => Some(Zeroizing::new(text)),
        Err(other) => {
            other.into_encoded_bytes().zeroize();
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Passphrase, PassphraseError> {
        Passphrase::new(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn twelve_characters_are_enough_in_any_alphabet_and_eleven_are_not() {
        assert!(of("двенадцать12").is_ok());
        assert!(matches!(of("одиннадцать\n"), Err(PassphraseError::TooShort(11))));
        assert!(matches!(of(&"x".repeat(1025)), Err(PassphraseError::TooLong)));
    }

    #[test]
    fn line_end_of_the_file_is_not_part_of_the_passphrase() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pass");
        std::fs::write(&path, "correct horse battery\r\n").unwrap();
        let found = Passphrase::find(Some(&path), None).unwrap();
        assert_eq!(found.0.as_str(), "correct horse battery");
    }

    #[test]
    fn file_comes_before_the_environment_and_one_of_both_must_be_there() {
        let variable = || Some(Zeroizing::new("from the environment".to_owned()));
        assert_eq!(Passphrase::find(None, variable()).unwrap().0.as_str(), "from the environment");
        assert!(matches!(Passphrase::find(None, None), Err(PassphraseError::Missing)));
        let missing = Path::new("no such file");
        assert!(matches!(
            Passphrase::find(Some(missing), variable()),
            Err(PassphraseError::File(_))
        ));
    }

    #[test]
    fn passphrase_does_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", of("correct horse battery").unwrap()), "Passphrase(..)");
    }
}
