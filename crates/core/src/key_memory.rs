//! The memory of a key: a short text that a configuration keeps with it, and who may read and
//! write it.
//!
//! Pure rules over one memory and over the guesses at its passwords. Where a memory is kept, which
//! key a caller means and how a refusal is told are the server's business.
//!
//! Passwords have eight characters at most, because callers of the original send no more. They are
//! kept as HMACs under a salt of the memory's own and not as slow hashes: whoever can read the place
//! where they are kept reads the text itself there, so a slow hash would protect nothing. What
//! protects them is [`Guesses`].

use std::fmt;
use std::time::Duration;

use crate::seal::{hmac_sha256, hmac_sha256_is};
use crate::time::MonoTime;

/// Longest text, in characters as 1C counts them (UTF-16 units): that of the original, and of a
/// USB token.
pub const DATA_CHARS_MAX: usize = 400;

/// Longest password, in characters as 1C counts them (UTF-16 units): that of the original.
pub const PASSWORD_CHARS_MAX: usize = 8;

/// Bytes of the salt.
pub const SALT_BYTES: usize = 16;

/// Wrong passwords within [`GUESS_SPAN`] after which none is looked at until it is over. Of the
/// passwords of eight digits somebody tries 7 000 a day so, which is one in 14 000.
pub const GUESSES_MAX: u32 = 5;

/// How long wrong passwords are counted, from the first one on.
pub const GUESS_SPAN: Duration = Duration::from_secs(60);

/// An HMAC of a password.
pub type PasswordMac = [u8; 32];

/// Which password was wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PasswordKind {
    /// That for reading.
    Read,
    /// The developer password of the series, or that for writing.
    Wipe,
    /// That for writing.
    Write,
}

/// Why a memory was not read or changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyMemoryError {
    /// The text is longer than [`DATA_CHARS_MAX`].
    #[error("the text is longer than {DATA_CHARS_MAX} characters")]
    DataTooLong,
    /// The password is not the one in force.
    #[error("wrong password")]
    Password(PasswordKind),
    /// A password to be set is longer than [`PASSWORD_CHARS_MAX`].
    #[error("the password is longer than {PASSWORD_CHARS_MAX} characters")]
    PasswordTooLong(PasswordKind),
}

/// The memory of one key. One that was never written, or was wiped, is the default.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct KeyMemory {
    /// The text.
    pub data: String,
    /// Salt of both passwords.
    pub salt: [u8; SALT_BYTES],
    /// Password for reading; nothing when everybody may.
    pub read: Option<PasswordMac>,
    /// Password for writing; nothing when everybody may.
    pub write: Option<PasswordMac>,
}

impl fmt::Debug for KeyMemory {
    /// Shows neither the text nor anything of the passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyMemory").finish_non_exhaustive()
    }
}

/// The passwords of a memory, as a caller names them.
#[derive(Clone, Copy)]
pub struct Passwords<'a> {
    /// For reading; empty for none.
    pub read: &'a str,
    /// For writing; empty for none.
    pub write: &'a str,
}

impl fmt::Debug for Passwords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").finish_non_exhaustive()
    }
}

impl KeyMemory {
    /// Whether it is as it was before anybody wrote it: then there is nothing to keep.
    pub fn is_untouched(&self) -> bool {
        self.data.is_empty() && self.read.is_none() && self.write.is_none()
    }

    /// The text.
    ///
    /// # Errors
    ///
    /// [`KeyMemoryError::Password`].
    pub fn read(&self, password: &str) -> Result<&str, KeyMemoryError> {
        self.check(PasswordKind::Read, password)?;
        Ok(&self.data)
    }

    /// The memory with another text.
    ///
    /// # Errors
    ///
    /// [`KeyMemoryError::Password`], [`KeyMemoryError::DataTooLong`].
    pub fn written(&self, password: &str, data: String) -> Result<Self, KeyMemoryError> {
        // First, because a text that is too long says nothing about the password.
        if is_longer(&data, DATA_CHARS_MAX) {
            return Err(KeyMemoryError::DataTooLong);
        }
        self.check(PasswordKind::Write, password)?;
        Ok(Self { data, ..self.clone() })
    }

    /// The memory with other passwords, whose salt was drawn for them. Both of those in force must
    /// be named, also where only one changes.
    ///
    /// # Errors
    ///
    /// [`KeyMemoryError::Password`], [`KeyMemoryError::PasswordTooLong`].
    pub fn with_passwords(
        &self,
        in_force: Passwords<'_>,
        next: Passwords<'_>,
        salt: [u8; SALT_BYTES],
    ) -> Result<Self, KeyMemoryError> {
        for (kind, password) in [(PasswordKind::Read, next.read), (PasswordKind::Write, next.write)]
        {
            if is_longer(password, PASSWORD_CHARS_MAX) {
                return Err(KeyMemoryError::PasswordTooLong(kind));
            }
        }
        self.check(PasswordKind::Read, in_force.read)?;
        self.check(PasswordKind::Write, in_force.write)?;
        let mac_of = |kind, password: &str| {
            (!password.is_empty()).then(|| hmac_sha256(&salt, &message(kind, password)))
        };
        Ok(Self {
            data: self.data.clone(),
            salt,
            read: mac_of(PasswordKind::Read, next.read),
            write: mac_of(PasswordKind::Write, next.write),
        })
    }

    /// Whether the memory may be emptied: by the vendor, who is known by the developer password of the
    /// series, whatever passwords are set; or by whoever may write. Nothing of the text is shown by
    /// that, so the password for reading is not asked for.
    ///
    /// # Errors
    ///
    /// [`KeyMemoryError::Password`].
    pub fn check_wipe(&self, password: &str, is_developer: bool) -> Result<(), KeyMemoryError> {
        if is_developer {
            return Ok(());
        }
        self.check(PasswordKind::Write, password)
            .map_err(|_| KeyMemoryError::Password(PasswordKind::Wipe))
    }

    fn check(&self, kind: PasswordKind, password: &str) -> Result<(), KeyMemoryError> {
        let set = match kind {
            PasswordKind::Read => &self.read,
            PasswordKind::Wipe | PasswordKind::Write => &self.write,
        };
        match set {
            // Whoever names a password where none is set may do what everybody may.
            None => Ok(()),
            // No password in force is that long; a megabyte must not be digested to find that out.
            Some(_) if is_longer(password, PASSWORD_CHARS_MAX) => {
                Err(KeyMemoryError::Password(kind))
            }
            Some(mac) if hmac_sha256_is(&self.salt, &message(kind, password), mac) => Ok(()),
            Some(_) => Err(KeyMemoryError::Password(kind)),
        }
    }
}

/// One text as both passwords must not give one HMAC.
fn message(kind: PasswordKind, password: &str) -> Vec<u8> {
    let label: &[u8] = match kind {
        PasswordKind::Read => b"read\0",
        PasswordKind::Wipe | PasswordKind::Write => b"write\0",
    };
    [label, password.as_bytes()].concat()
}

fn is_longer(text: &str, units_max: usize) -> bool {
    text.encode_utf16().nth(units_max).is_some()
}

/// Wrong passwords of one memory. They are counted for the key and not for who tries: behind an
/// application server everybody comes from one address.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Guesses {
    wrong: u32,
    until: MonoTime,
}

impl Guesses {
    /// How long nobody may try; nothing when they may.
    pub fn wait(&self, now: MonoTime) -> Option<Duration> {
        let left = self.until.since(now);
        (self.wrong >= GUESSES_MAX && !left.is_zero()).then_some(left)
    }

    /// Counts a wrong password. A right one is not counted and wipes nothing out: whoever may read
    /// must not get endless guesses at the password for writing.
    pub fn wrong(&mut self, now: MonoTime) {
        if self.is_over(now) {
            *self = Self { wrong: 0, until: now.after(GUESS_SPAN) };
        }
        self.wrong = self.wrong.saturating_add(1);
    }

    /// Whether what was counted does not matter any more.
    pub fn is_over(&self, now: MonoTime) -> bool {
        self.until.since(now).is_zero()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONE: Passwords<'_> = Passwords { read: "", write: "" };

    fn guarded(read: &'static str, write: &'static str) -> KeyMemory {
        let memory = KeyMemory::default().written("", "текст".to_owned()).unwrap();
        memory.with_passwords(NONE, Passwords { read, write }, [7; SALT_BYTES]).unwrap()
    }

    #[test]
    fn everybody_reads_and_writes_until_a_password_is_set() {
        let memory = KeyMemory::default();
        assert!(memory.is_untouched());
        assert_eq!(memory.read("").unwrap(), "");
        assert_eq!(memory.read("any").unwrap(), "");
        let memory = memory.written("", "текст".to_owned()).unwrap();
        assert!(!memory.is_untouched());
        assert_eq!(memory.read("").unwrap(), "текст");
    }

    #[test]
    fn each_password_guards_its_own_and_passes_for_no_other() {
        for (read, write, tried, reads, writes) in [
            ("secret", "", "", false, true),
            ("secret", "", "secret", true, true),
            ("", "пароль", "", true, false),
            ("", "пароль", "пароль", true, true),
            ("one", "two", "one", true, false),
            ("one", "two", "two", false, true),
            ("one", "two", "One", false, false),
        ] {
            let memory = guarded(read, write);
            let shown = format!("{read:?} {write:?} {tried:?}");
            assert_eq!(memory.read(tried).is_ok(), reads, "{shown}");
            assert_eq!(memory.written(tried, String::new()).is_ok(), writes, "{shown}");
        }
    }

    #[test]
    fn passwords_change_only_for_who_names_both_in_force() {
        let memory = guarded("one", "two");
        let next = Passwords { read: "three", write: "" };
        for (read, write, is_right) in
            [("one", "two", true), ("one", "", false), ("", "two", false), ("two", "one", false)]
        {
            let changed = memory.with_passwords(Passwords { read, write }, next, [8; SALT_BYTES]);
            assert_eq!(changed.is_ok(), is_right, "{read} {write}");
        }
        let in_force = Passwords { read: "one", write: "two" };
        let changed = memory.with_passwords(in_force, next, [8; SALT_BYTES]).unwrap();
        assert_eq!(changed.read("three").unwrap(), "текст", "the text stays");
        assert!(changed.read("one").is_err() && changed.written("", String::new()).is_ok());
    }

    #[test]
    fn texts_and_passwords_are_measured_as_1c_measures_them() {
        let memory = KeyMemory::default();
        let too_long = Err(KeyMemoryError::DataTooLong);
        for (data, fits) in [
            ("ж".repeat(400), true),
            ("ж".repeat(401), false),
            ("😀".repeat(200), true),
            ("😀".repeat(201), false),
        ] {
            let written = memory.written("", data).map(drop);
            assert_eq!(written, if fits { Ok(()) } else { too_long });
        }
        for (password, fits) in [("пароль78", true), ("пароль789", false)] {
            for kind in [PasswordKind::Read, PasswordKind::Write] {
                let next = match kind {
                    PasswordKind::Read => Passwords { read: password, ..NONE },
                    PasswordKind::Wipe | PasswordKind::Write => {
                        Passwords { write: password, ..NONE }
                    }
                };
                let changed = memory.with_passwords(NONE, next, [0; SALT_BYTES]).map(drop);
                let refused = Err(KeyMemoryError::PasswordTooLong(kind));
                assert_eq!(changed, if fits { Ok(()) } else { refused }, "{password}");
            }
        }
    }

    #[test]
    fn memory_is_wiped_by_the_developer_or_by_who_may_write() {
        let memory = guarded("one", "two");
        for (password, is_developer, may) in [
            ("two", false, true),
            ("one", false, false),
            ("", false, false),
            ("", true, true),
            ("wrong", true, true),
        ] {
            assert_eq!(memory.check_wipe(password, is_developer).is_ok(), may, "{password}");
        }
        assert!(guarded("one", "").check_wipe("", false).is_ok(), "everybody may write it");
    }

    #[test]
    fn after_five_wrong_passwords_nobody_tries_until_the_minute_is_over() {
        let at = |secs: u64| MonoTime::from_millis(secs * 1000);
        let mut guesses = Guesses::default();
        for second in 0..5 {
            assert_eq!(guesses.wait(at(100 + second)), None, "{second}");
            guesses.wrong(at(100 + second));
        }
        assert_eq!(guesses.wait(at(105)), Some(Duration::from_secs(55)));
        assert_eq!(guesses.wait(at(159)), Some(Duration::from_secs(1)));
        assert_eq!(guesses.wait(at(160)), None);
        guesses.wrong(at(160));
        assert_eq!(guesses.wait(at(161)), None, "the count begins anew");
        assert!(!guesses.is_over(at(161)) && guesses.is_over(at(220)));
    }

    #[test]
    fn password_that_is_too_long_to_be_one_is_wrong_and_opens_only_what_is_open() {
        let long = "secret78".repeat(1000);
        let memory = guarded("secret78", "");
        assert_eq!(memory.read(&long), Err(KeyMemoryError::Password(PasswordKind::Read)));
        assert!(memory.read("secret78").is_ok() && memory.written(&long, String::new()).is_ok());
    }

    #[test]
    fn nothing_of_a_memory_is_shown_in_a_log() {
        let shown = format!("{:?}", guarded("hunter2", "hunter3"));
        assert!(!shown.contains("hunter") && !shown.contains("текст") && !shown.contains('7'));
    }

    proptest! {
        #[test]
        fn only_the_password_that_was_set_is_right(set in "\\PC{1,4}", tried in "\\PC{0,4}") {
            let next = Passwords { read: &set, write: "" };
            let memory = KeyMemory::default().with_passwords(NONE, next, [3; SALT_BYTES]).unwrap();
            prop_assert_eq!(memory.read(&tried).is_ok(), tried == set);
        }
    }
}
