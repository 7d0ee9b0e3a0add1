//! Passwords in the conf file: plain text is replaced by its Argon2 hash.
//!
//! `admin` with the password `admin` stays as it is: it must be recognisable, and hashing what
//! everybody knows protects nothing.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher};

use super::ini_edit;
use crate::config::{Config, Password};
use crate::random;

/// Why there is no hash.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// The password cannot be hashed.
    #[error("the password cannot be hashed: {0}")]
    Argon2(argon2::password_hash::Error),
    /// No salt.
    #[error("no salt for a password")]
    Random(#[from] random::RandomError),
}

/// The Argon2id hash of a password in the PHC string format, with a salt of its own. Takes some
/// 20 MB and a fraction of a second.
///
/// # Errors
///
/// See [`HashError`].
pub fn hash(password: &str) -> Result<String, HashError> {
    let salt = random::id_bytes()?;
    let hash: PasswordHash = Argon2::default()
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(HashError::Argon2)?;
    Ok(hash.to_string())
}

/// The text of a conf file with hashes in place of plain passwords; nothing when it has none.
/// `config` is what was read from it.
///
/// # Errors
///
/// See [`HashError`].
pub(super) fn without_plain(text: &str, config: &Config) -> Result<Option<String>, HashError> {
    let mut edits = Vec::new();
    if let Password::Plain(password) = &config.console.password
        && !config.has_default_password()
        && ini_edit::line_of(text, "Console", "Password").is_some()
    {
        edits.push(("Console", "Password", hash(password)?));
    }
    for user in &config.parts.users {
        if let Password::Plain(password) = &user.password {
            edits.push(("Users", user.name.as_str(), format!("{};{}", user.role, hash(password)?)));
        }
    }
    if edits.is_empty() {
        return Ok(None);
    }
    let mut edited = text.to_owned();
    for (section, key, value) in edits {
        // What was read from the file can be written to it.
        if let Ok(text) = ini_edit::set(&edited, section, key, &value) {
            edited = text;
        }
    }
    Ok(Some(edited))
}
