//! Passwords: which may be set, how they are kept, whether one is right.
//!
//! Whose password it is and what follows is decided by [`super::auth`]. Nothing here says a
//! password in a log or an error.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use licence_core::seal::sha256;
use subtle::ConstantTimeEq;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::errors::ApiError;
use crate::config::Password;
use crate::random::{self, RandomError};

/// Fewest characters of a password that is set here.
pub const CHARS_MIN: usize = 8;

/// Most characters of a password that is set here; a header of credentials holds them.
pub const CHARS_MAX: usize = 200;

/// Argon2 checks at one time. Each takes a core and some 20 MB for a while: a flood of wrong
/// passwords waits here and not in the rest of the server.
const SLOW_CHECKS_MAX: usize = 2;

/// How long a request waits for its turn at the slow check, in seconds.
const SLOW_CHECK_SECS_MAX: u64 = 5;

/// Digests of passwords that a slow check has accepted: as many as there are users who send
/// theirs with each request.
const ACCEPTED_MAX: usize = 64;

/// Bytes of salt of a hash (RFC 9106, section 3.1).
const SALT_BYTES: usize = 16;

/// Why there is no hash.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// Argon2 refuses.
    #[error("hashing the password")]
    Argon2(#[source] argon2::password_hash::Error),
    /// No random bytes for the salt.
    #[error("hashing the password")]
    Random(#[from] RandomError),
}

/// The Argon2id hash of a password as a PHC string. Takes a core for some 50 ms.
///
/// # Errors
///
/// See [`HashError`].
pub fn hash(password: &str) -> Result<String, HashError> {
    let mut salt = [0; SALT_BYTES];
    random::fill(&mut salt)?;
    let hash: PasswordHash = Argon2::default()
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(HashError::Argon2)?;
    Ok(hash.to_string())
}

/// Whether `user` may have this password.
///
/// # Errors
///
/// 400 that says what is wrong with it.
pub fn check_rules(user: &str, password: &str) -> Result<(), ApiError> {
    let chars = password.chars().count();
    if !(CHARS_MIN..=CHARS_MAX).contains(&chars) {
        return Err(weak(
            &format!("it must have {CHARS_MIN} to {CHARS_MAX} characters"),
            &format!("в нём должно быть от {CHARS_MIN} до {CHARS_MAX} символов"),
        ));
    }
    if password.trim() != password || password.chars().any(char::is_control) {
        return Err(weak(
            "it must not begin or end with a blank nor have control characters",
            "он не должен начинаться или заканчиваться пробелом и содержать управляющие символы",
        ));
    }
    if password.to_lowercase() == user.to_lowercase() {
        return Err(weak(
            "it must not be the user name",
            "он не должен совпадать с именем пользователя",
        ));
    }
    let mut chars = password.chars();
    let first = chars.next();
    if chars.all(|char| Some(char) == first) {
        return Err(weak(
            "it must not be one character repeated",
            "он не должен состоять из одного повторяющегося символа",
        ));
    }
    Ok(())
}

fn weak(english: &str, russian: &str) -> ApiError {
    ApiError::new(
        hyper::StatusCode::BAD_REQUEST,
        "EPasswordWeak",
        format!("The new password is not accepted: {english}."),
        format!("Новый пароль не принят: {russian}."),
    )
}

/// What a check has found.
#[derive(Debug)]
pub(super) struct Checked {
    /// Whether the password is the one.
    pub(super) is_right: bool,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Checked {
    const fn at_once() -> Self {
        Self { is_right: true, _turn: None }
    }
}

/// Checks passwords and remembers, as salted digests, those that a slow check has accepted.
#[derive(Debug)]
pub(super) struct Passwords {
    salt: [u8; 16],
    accepted: Mutex<VecDeque<[u8; 32]>>,
    slow_checks: Arc<Semaphore>,
}

impl Passwords {
    pub(super) fn new() -> Result<Self, RandomError> {
        Ok(Self {
            salt: random::id_bytes()?,
            accepted: Mutex::new(VecDeque::new()),
            slow_checks: Arc::new(Semaphore::new(SLOW_CHECKS_MAX)),
        })
    }

    /// Whether `presented` is the `expected` password. Where there is none to expect, and where it
    /// is wrong, the answer takes as long as a slow check, so that time tells no user names.
    ///
    /// `may_go_on` is asked once more after the wait for the slow check: of many guesses that come
    /// at once only those of the first turns are looked at.
    ///
    /// The turn at the slow check goes on until the answer is dropped: whoever counts wrong
    /// passwords holds it until this one is counted.
    ///
    /// # Errors
    ///
    /// 503 when too many wait, and what `may_go_on` says.
    pub(super) async fn check(
        &self,
        expected: Option<&Password>,
        presented: Vec<u8>,
        may_go_on: impl Fn() -> Result<(), ApiError>,
    ) -> Result<Checked, ApiError> {
        let hash = match expected {
            Some(Password::Plain(expected)) if same(expected.as_bytes(), &presented) => {
                return Ok(Checked::at_once());
            }
            Some(Password::Phc(hash)) => Some(hash.clone()),
            Some(Password::Plain(_)) | None => None,
        };
        // The hash is part of the digest: another password makes what is remembered worthless.
        let known_as = hash.as_deref().unwrap_or_default();
        let digest = sha256(&[&self.salt[..], &sha256(known_as.as_bytes()), &presented].concat());
        if hash.is_some() && self.is_accepted(&digest) {
            return Ok(Checked::at_once());
        }
        let turn = self.turn().await?;
        may_go_on()?;
        // Where nobody waits for the answer any more, the turn ends with the check itself.
        let checked = tokio::task::spawn_blocking(move || {
            let is_right = match hash {
                Some(hash) => PasswordHash::new(&hash)
                    .is_ok_and(|hash| Argon2::default().verify_password(&presented, &hash).is_ok()),
                None => {
                    let wasted: Result<PasswordHash, _> =
                        Argon2::default().hash_password_with_salt(&presented, &[0; SALT_BYTES]);
                    drop(wasted);
                    false
                }
            };
            Checked { is_right, _turn: Some(turn) }
        });
        let checked = checked.await.map_err(|error| ApiError::broken(&error))?;
        if checked.is_right {
            let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
            if accepted.len() == ACCEPTED_MAX {
                accepted.pop_front();
            }
            accepted.push_back(digest);
        }
        Ok(checked)
    }

    /// As [`hash`], one of few at a time and beside the requests.
    ///
    /// # Errors
    ///
    /// 503 when too many wait, 500 when there is no hash.
    pub(super) async fn hash(&self, password: &str) -> Result<String, ApiError> {
        let turn = self.turn().await?;
        let password = password.to_owned();
        let hashed = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            hash(&password)
        });
        match hashed.await {
            Ok(Ok(hash)) => Ok(hash),
            Ok(Err(error)) => Err(ApiError::broken(&error)),
            Err(error) => Err(ApiError::broken(&error)),
        }
    }

    fn is_accepted(&self, digest: &[u8; 32]) -> bool {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.iter().any(|own| own.ct_eq(digest).into())
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let turn = Arc::clone(&self.slow_checks).acquire_owned();
        let bound = Duration::from_secs(SLOW_CHECK_SECS_MAX);
        match tokio::time::timeout(bound, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(ApiError::unavailable(
                "Too many passwords are being checked; try again.",
                "Проверяется слишком много паролей; повторите запрос.",
            )),
        }
    }
}

/// Equality whose time does not depend on where two texts differ, nor on their lengths.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    sha256(a).ct_eq(&sha256(b)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(passwords: &Passwords, expected: Option<&Password>, presented: &str) -> bool {
        passwords.check(expected, presented.into(), || Ok(())).await.unwrap().is_right
    }

    #[tokio::test]
    async fn right_password_passes_plain_and_hashed_and_a_hash_is_remembered() {
        let passwords = Passwords::new().unwrap();
        let plain = Password::Plain("a:b".to_owned());
        assert!(check(&passwords, Some(&plain), "a:b").await);
        assert!(!check(&passwords, Some(&plain), "a").await);
        assert!(!check(&passwords, None, "a:b").await);
        let hashed = Password::Phc(hash("длинный пароль").unwrap());
        assert!(!check(&passwords, Some(&hashed), "wrong").await);
        assert!(passwords.accepted.lock().unwrap().is_empty());
        assert!(check(&passwords, Some(&hashed), "длинный пароль").await);
        assert_eq!(passwords.accepted.lock().unwrap().len(), 1);
        assert!(check(&passwords, Some(&hashed), "длинный пароль").await);
        assert_eq!(passwords.accepted.lock().unwrap().len(), 1);
        let other = Password::Phc(hash("other password").unwrap());
        assert!(!check(&passwords, Some(&other), "длинный пароль").await);
    }

    #[tokio::test]
    async fn guess_that_may_not_go_on_is_not_looked_at() {
        let passwords = Passwords::new().unwrap();
        let hashed = Password::Phc(hash("right password").unwrap());
        let stopped = || Err(ApiError::unauthorized());
        let checked = passwords.check(Some(&hashed), "right password".into(), stopped).await;
        assert_eq!(checked.unwrap_err().status, 401);
    }

    #[test]
    fn hash_is_argon2id_with_a_salt_of_its_own() {
        let (one, other) = (hash("one password").unwrap(), hash("one password").unwrap());
        assert!(one.starts_with("$argon2id$v=19$"), "{one}");
        assert_ne!(one, other);
    }

    #[test]
    fn weak_passwords_are_refused() {
        for (user, password, is_accepted) in [
            ("admin", "admin", false),
            ("administrator", "Administrator", false),
            ("admin", "1234567", false),
            ("admin", "12345678", true),
            ("admin", "пароль78", true),
            ("admin", "aaaaaaaa", false),
            ("admin", " 12345678", false),
            ("admin", "1234\n5678", false),
            ("admin", "", false),
        ] {
            assert_eq!(check_rules(user, password).is_ok(), is_accepted, "{password}");
        }
        assert!(check_rules("a", &"xy".repeat(CHARS_MAX / 2)).is_ok());
        assert!(check_rules("a", &"xyz".repeat(CHARS_MAX / 2)).is_err());
    }
}
