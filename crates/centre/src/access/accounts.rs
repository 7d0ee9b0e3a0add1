//! Accounts of the vendor's people and the tokens of their programs, as the books keep them.
//!
//! Passwords are kept as Argon2id hashes, tokens as digests: neither can be read back.

use licence_core::time::Utc;

use super::Role;

/// Most characters of the name of an account.
pub const NAME_CHARS_MAX: usize = 64;

/// Most characters of what a token is for.
pub const LABEL_CHARS_MAX: usize = 100;

/// Most accounts of one centre: a slip of a script must not fill the books.
pub const ACCOUNTS_MAX: u32 = 1000;

/// Most tokens of one account.
pub const TOKENS_MAX: u32 = 100;

/// Name under which `admin.token` acts; no account has it.
pub const ADMIN_TOKEN: &str = "admin.token";

/// How every token of an account begins, so that one that leaked can be searched for.
pub const TOKEN_PREFIX: &str = "lcc_";

/// An account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// What its owner may do.
    pub role: Role,
    /// Argon2id hash of the password, a PHC string.
    pub password: String,
    /// Since when it is there.
    pub created: Utc,
}

/// A token of an account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Token {
    /// Its id, which is no secret.
    pub token_id: i64,
    /// Whose.
    pub account: String,
    /// What it is for.
    pub label: String,
    /// Since when it is there.
    pub created: Utc,
    /// First moment at which it is refused.
    pub expires: Option<Utc>,
}

/// Whether an account may have this name: letters, digits and `.-_@`, at most
/// [`NAME_CHARS_MAX`].
pub fn is_name(name: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.chars().count())
        && name != ADMIN_TOKEN
        && name.chars().all(|char| char.is_alphanumeric() || ".-_@".contains(char))
}

/// Whether a token may be for this.
pub fn is_label(label: &str) -> bool {
    (1..=LABEL_CHARS_MAX).contains(&label.trim().chars().count())
        && !label.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_one_word_and_not_that_of_the_token() {
        for (name, is_good) in [
            ("anna", true),
            ("анна.петрова@vendor-1", true),
            ("", false),
            ("anna petrova", false),
            ("a<b", false),
            ("admin.token", false),
            ("a\n", false),
        ] {
            assert_eq!(is_name(name), is_good, "{name}");
        }
        assert!(is_name(&"ж".repeat(64)) && !is_name(&"ж".repeat(65)));
    }
}
