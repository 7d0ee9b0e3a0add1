//! A session key as a secret: it is never shown but to whoever may use it.
//!
//! Opaque: what stands in it is nobody's business here but [`crate::jwt`]'s.

use std::fmt;

use licence_core::seal::{hex_upper, sha256};
use zeroize::Zeroizing;

/// Longest session key, in bytes. A JWT of the service has some 2 KiB.
pub const SESSION_KEY_BYTES_MAX: usize = 16 * 1024;

/// Digits of a fingerprint: enough to tell keys apart, too few to say anything of one.
const FINGERPRINT_DIGITS: usize = 8;

/// Not a session key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a session key has 1 to {SESSION_KEY_BYTES_MAX} visible ASCII characters")]
pub struct SessionKeyError;

/// A session key (токен): a JWT, a UUID or whatever the service gives. Its `Debug` form shows the
/// fingerprint; its memory is wiped.
#[derive(Clone, Eq, PartialEq)]
pub struct SessionKey(Zeroizing<String>);

impl SessionKey {
    /// Takes what goes into a header of HTTP without a change.
    ///
    /// # Errors
    ///
    /// For an empty or a longer text, and for anything but visible ASCII.
    pub fn new(text: &str) -> Result<Self, SessionKeyError> {
        let text = text.trim();
        let fits = !text.is_empty()
            && text.len() <= SESSION_KEY_BYTES_MAX
            && text.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(Self(Zeroizing::new(text.to_owned()))) } else { Err(SessionKeyError) }
    }

    /// The text, for whoever may use it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is shown instead.
    pub fn fingerprint(&self) -> Fingerprint {
        let digest = hex_upper(&sha256(self.0.as_bytes()));
        Fingerprint(digest[..FINGERPRINT_DIGITS].to_ascii_lowercase())
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKey({})", self.fingerprint())
    }
}

/// First eight hex digits of the SHA-256 of a session key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fingerprint(String);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_go_through_a_header_is_no_key() {
        assert_eq!(SessionKey::new(" a.b.c\n").unwrap().reveal(), "a.b.c");
        for bad in ["", "  ", "a b", "a\r\nX-Y: z", "ключ", &"x".repeat(SESSION_KEY_BYTES_MAX + 1)]
        {
            assert_eq!(SessionKey::new(bad), Err(SessionKeyError), "{bad:?}");
        }
    }

    #[test]
    fn debug_form_shows_a_fingerprint_and_not_the_key() {
        let key = SessionKey::new("abc").unwrap();
        // SHA-256 of "abc" (FIPS 180-2, appendix B.1).
        assert_eq!(format!("{key:?}"), "SessionKey(ba7816bf)");
    }
}
