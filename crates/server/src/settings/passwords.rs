//! Passwords in the conf file: plain text is replaced by its Argon2 hash, and is still known to be
//! the same password.
//!
//! `admin` with the password `admin` stays as it is: it must be recognisable, and hashing what
//! everybody knows protects nothing. Whether a password is right is not decided here.

use std::collections::BTreeMap;

use licence_core::seal::sha256;

use super::ini_edit;
use crate::access::passwords::{HashError, hash};
use crate::config::{Config, Password};
use crate::random;

/// A plain password that stood in the conf file and the hash that took its place. Its `Debug` form
/// shows neither.
pub(super) struct Replaced {
    plain: String,
    hash: String,
}

impl std::fmt::Debug for Replaced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Replaced(***)")
    }
}

/// The text of a conf file with hashes in place of plain passwords, and which those are; nothing
/// when it has none. `config` is what was read from it.
///
/// # Errors
///
/// See [`HashError`].
pub(super) fn without_plain(
    text: &str,
    config: &Config,
) -> Result<Option<(String, Vec<Replaced>)>, HashError> {
    let mut edits = Vec::new();
    if let Password::Plain(plain) = &config.console.password
        && !config.has_default_password()
        && ini_edit::line_of(text, "Console", "Password").is_some()
    {
        let hash = hash(plain)?;
        edits.push(("Console", "Password", hash.clone(), Replaced { plain: plain.clone(), hash }));
    }
    for user in &config.parts.users {
        if let Password::Plain(plain) = &user.password {
            let hash = hash(plain)?;
            let line = format!("{};{hash}", user.role);
            edits.push(("Users", &user.name, line, Replaced { plain: plain.clone(), hash }));
        }
    }
    if edits.is_empty() {
        return Ok(None);
    }
    let mut edited = text.to_owned();
    let mut replaced = Vec::new();
    for (section, key, value, pair) in edits {
        // What was read from the file can be written to it.
        if let Ok(text) = ini_edit::set(&edited, section, key, &value) {
            edited = text;
            replaced.push(pair);
        }
    }
    Ok(Some((edited, replaced)))
}

/// What a password is recognised by as the same one, also after its hash has taken its place.
#[derive(Debug)]
pub(super) struct Marks {
    /// No other process can compare marks.
    salt: [u8; 16],
    /// Marks of plain passwords by the hashes that took their place.
    by_hash: BTreeMap<String, [u8; 32]>,
}

impl Marks {
    pub(super) fn new() -> Self {
        // Without random bytes no server opens; a mark is not worth an error of its own.
        Self { salt: random::id_bytes().unwrap_or_default(), by_hash: BTreeMap::new() }
    }

    pub(super) fn of(&self, password: &Password) -> [u8; 32] {
        match password {
            Password::Phc(hash) => {
                self.by_hash.get(hash).copied().unwrap_or_else(|| self.digest(b'h', hash))
            }
            Password::Plain(plain) => self.digest(b'p', plain),
        }
    }

    /// Takes down what was replaced, and forgets the hashes that are nowhere in `text` any more.
    pub(super) fn replaced(&mut self, replaced: Vec<Replaced>, text: &str) {
        self.by_hash.retain(|hash, _| text.contains(hash.as_str()));
        for Replaced { plain, hash } in replaced {
            let mark = self.digest(b'p', &plain);
            self.by_hash.insert(hash, mark);
        }
    }

    fn digest(&self, kind: u8, text: &str) -> [u8; 32] {
        sha256(&[&self.salt[..], &[kind], text.as_bytes()].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_in_place_of_its_password_has_the_same_mark_until_it_is_gone() {
        let mut marks = Marks::new();
        let plain = Password::Plain("correct horse".to_owned());
        let (hash, other) = (Password::Phc("$one".to_owned()), Password::Phc("$other".to_owned()));
        let pair = || Replaced { plain: "correct horse".to_owned(), hash: "$one".to_owned() };
        assert_ne!(marks.of(&plain), marks.of(&hash));
        marks.replaced(vec![pair()], "Password=$one");
        assert_eq!(marks.of(&plain), marks.of(&hash));
        assert_ne!(marks.of(&plain), marks.of(&other));
        assert_ne!(marks.of(&plain), marks.of(&Password::Plain("another".to_owned())));
        marks.replaced(Vec::new(), "Password=$one");
        assert_eq!(marks.of(&plain), marks.of(&hash));
        marks.replaced(Vec::new(), "Password=$other");
        assert_ne!(marks.of(&plain), marks.of(&hash));
        assert_ne!(marks.of(&plain), Marks::new().of(&plain), "no other process can compare them");
        assert!(!format!("{:?}", pair()).contains("horse"));
    }
}
