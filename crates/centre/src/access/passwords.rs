//! Passwords of accounts: which may be set, how they are kept, whether one is right.
//!
//! Whose password it is and what follows is the callers' matter. Nothing here says a password in a
//! log or an error.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use licencekit::random::{self, RandomError};
use tokio::sync::Semaphore;

/// Fewest characters of a password: the centre stands on the internet and its books are money.
pub const CHARS_MIN: usize = 10;

/// Most characters of a password.
pub const CHARS_MAX: usize = 200;

/// Argon2 checks at one time. Each takes a core and some 20 MB for a while: a flood of wrong
/// passwords waits here and not in the rest of the centre.
const SLOW_CHECKS_MAX: usize = 2;

/// How long a request waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(5);

/// Why a password is not taken or not checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// Argon2 refuses.
    #[error("hashing the password")]
    Argon2(#[source] argon2::password_hash::Error),
    /// Too many passwords are being checked.
    #[error("too many passwords are being checked")]
    Busy,
    /// No random bytes for the salt.
    #[error("hashing the password")]
    Random(#[from] RandomError),
    /// It is not good enough.
    #[error("the password is not accepted: {}", .0.text().0)]
    Weak(Weak),
}

/// What is wrong with a new password.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Weak {
    /// Blanks around it or control characters in it.
    Blanks,
    /// Too short or too long.
    Length,
    /// The name of the account.
    Name,
    /// One character again and again.
    Repeated,
}

impl Weak {
    /// In English and Russian.
    pub const fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::Blanks => (
                "it must not begin or end with a blank nor have control characters",
                "он не должен начинаться или заканчиваться пробелом и содержать управляющие символы",
            ),
            Self::Length => {
                ("it must have 10 to 200 characters", "в нём должно быть от 10 до 200 символов")
            }
            Self::Name => (
                "it must not be the name of the account",
                "он не должен совпадать с именем учётной записи",
            ),
            Self::Repeated => (
                "it must not be one character repeated",
                "он не должен состоять из одного повторяющегося символа",
            ),
        }
    }
}

const _: () = assert!(CHARS_MIN == 10 && CHARS_MAX == 200, "the words above name them");

/// Whether the account `name` may have this password.
///
/// # Errors
///
/// What is wrong with it.
pub fn check_rules(name: &str, password: &str) -> Result<(), Weak> {
    let chars = password.chars().count();
    if !(CHARS_MIN..=CHARS_MAX).contains(&chars) {
        return Err(Weak::Length);
    }
    if password.trim() != password || password.chars().any(char::is_control) {
        return Err(Weak::Blanks);
    }
    if password.to_lowercase() == name.to_lowercase() {
        return Err(Weak::Name);
    }
    let mut chars = password.chars();
    let first = chars.next();
    if chars.all(|char| Some(char) == first) { Err(Weak::Repeated) } else { Ok(()) }
}

/// The Argon2id hash of a password as a PHC string. Takes a core for some 50 ms.
///
/// # Errors
///
/// When there are no random bytes or Argon2 refuses.
pub fn hash(password: &str) -> Result<String, PasswordError> {
    let salt = random::id_bytes()?;
    let hash: PasswordHash = Argon2::default()
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(PasswordError::Argon2)?;
    Ok(hash.to_string())
}

/// Checks and hashes passwords beside the requests, few at a time.
#[derive(Clone, Debug)]
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(SLOW_CHECKS_MAX)) }
    }

    /// Whether `presented` has this hash. Where there is none, the answer takes as long, so that
    /// time tells no names of accounts.
    pub(crate) async fn check(
        &self,
        expected: Option<String>,
        presented: String,
    ) -> Result<bool, PasswordError> {
        self.slowly(move || match expected {
            Some(hash) => PasswordHash::new(&hash).is_ok_and(|hash| {
                Argon2::default().verify_password(presented.as_bytes(), &hash).is_ok()
            }),
            None => {
                let wasted: Result<PasswordHash, _> =
                    Argon2::default().hash_password_with_salt(presented.as_bytes(), &[0; 16]);
                drop(wasted);
                false
            }
        })
        .await
    }

    /// As [`hash`].
    pub(crate) async fn hash(&self, password: String) -> Result<String, PasswordError> {
        self.slowly(move || hash(&password)).await?
    }

    async fn slowly<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        let turn = tokio::time::timeout(TURN_WAIT, turn)
            .await
            .ok()
            .and_then(Result::ok)
            .ok_or(PasswordError::Busy)?;
        // Where nobody waits for the answer any more, the turn ends with the work itself.
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.map_err(|_| PasswordError::Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn right_password_passes_and_no_other_nor_any_for_nobody() {
        let passwords = Passwords::new();
        let hash = passwords.hash("длинный пароль".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$"), "{hash}");
        let check = async |hash: Option<&String>, presented: &str| {
            passwords.check(hash.cloned(), presented.to_owned()).await.unwrap()
        };
        assert!(check(Some(&hash), "длинный пароль").await);
        assert!(!check(Some(&hash), "длинный парол").await);
        assert!(!check(None, "длинный пароль").await);
        assert!(!check(Some(&"nonsense".to_owned()), "nonsense").await);
        assert_ne!(hash, super::hash("длинный пароль").unwrap(), "each has its salt");
    }

    #[test]
    fn weak_passwords_are_refused() {
        for (password, wanted) in [
            ("123456789", Err(Weak::Length)),
            ("1234567890", Ok(())),
            ("пароль7890", Ok(())),
            ("ADMINISTRATOR", Err(Weak::Name)),
            ("aaaaaaaaaaaa", Err(Weak::Repeated)),
            (" 1234567890", Err(Weak::Blanks)),
            ("12345\n67890", Err(Weak::Blanks)),
            ("", Err(Weak::Length)),
        ] {
            assert_eq!(check_rules("administrator", password), wanted, "{password}");
        }
        assert_eq!(check_rules("a", &"xyz".repeat(CHARS_MAX / 2)), Err(Weak::Length));
    }
}
