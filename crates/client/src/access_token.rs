//! The access token of a licence server, as a component presents it with functions of the session
//! keys of ИС МП.
//!
//! Decides what can be one; what it allows is the server's business. Never shown: neither errors nor
//! `Debug` tell it.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::conf::{Conf, ConfPaths};
use crate::error::ClientError;

/// Section of `licenceaddin.conf`.
const SECTION: &str = "ISMP";

/// Name of the value in it.
const KEY: &str = "AccessToken";

/// Longest access token, in bytes: those of the server have some 50.
pub const ACCESS_TOKEN_BYTES_MAX: usize = 512;

/// An access token. Its memory is wiped.
#[derive(Clone, Eq, PartialEq)]
pub struct AccessToken(Zeroizing<String>);

impl AccessToken {
    /// The text, for the server.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The one of the settings file that applies, `AccessToken` of `[ISMP]`; nothing when it has
    /// none or there is no file.
    ///
    /// # Errors
    ///
    /// `EParams` when the file cannot be read, or what stands there is no access token.
    pub fn find(paths: &ConfPaths, is_server: bool) -> Result<Option<Self>, ClientError> {
        let Some(conf) = Conf::find(paths, is_server)? else { return Ok(None) };
        let given = conf.get(SECTION, KEY).map(Zeroizing::new);
        let given = given.filter(|text| !text.trim().is_empty());
        let read = given.map(|text| text.parse()).transpose();
        read.map_err(|AccessTokenError| {
            let path = conf.path().display();
            ClientError::params(
                format!("Файл {path}, раздел [{SECTION}], {KEY}: это не токен доступа"),
                format!("file {path}, section [{SECTION}], {KEY}: not an access token"),
            )
        })
    }
}

/// Not an access token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an access token has 1 to {ACCESS_TOKEN_BYTES_MAX} visible ASCII characters")]
pub struct AccessTokenError;

impl FromStr for AccessToken {
    type Err = AccessTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let fits = !text.is_empty()
            && text.len() <= ACCESS_TOKEN_BYTES_MAX
            && text.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(Self(Zeroizing::new(text.to_owned()))) } else { Err(AccessTokenError) }
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(***)")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::Language;

    fn found(user: Option<&str>, common: Option<&str>, is_server: bool) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: Option<&str>| {
            let path = folder.path().join(name);
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            path
        };
        let paths = ConfPaths { user: Some(write("user", user)), common: write("common", common) };
        let token = AccessToken::find(&paths, is_server);
        token.unwrap().map(|token| token.reveal().to_owned())
    }

    #[test]
    fn token_comes_from_the_file_that_applies() {
        let with = |token: &str| format!("\u{feff}[Common]\n[ismp]\naccesstoken = {token} \n");
        let (user, common) = (with("of-user;#1"), with("of-all"));
        for (user, common, is_server, expected) in [
            (None, None, false, None),
            (None, Some(common.as_str()), false, Some("of-all")),
            (Some(user.as_str()), Some(common.as_str()), false, Some("of-user;#1")),
            (Some(user.as_str()), Some(common.as_str()), true, Some("of-all")),
            // The two are never mixed.
            (Some("[Common]\n"), Some(common.as_str()), false, None),
            (None, Some("[ISMP]\nAccessToken=\n"), true, None),
        ] {
            assert_eq!(found(user, common, is_server).as_deref(), expected);
        }
    }

    #[test]
    fn what_is_no_token_is_refused_and_shown_to_nobody() {
        for text in ["", " ", "a b", "ключ", &"x".repeat(ACCESS_TOKEN_BYTES_MAX + 1)] {
            assert_eq!(text.parse::<AccessToken>(), Err(AccessTokenError), "{text}");
        }
        let token: AccessToken = "SECRET-1".parse().unwrap();
        assert_eq!(format!("{token:?}"), "AccessToken(***)");
        let folder = tempfile::tempdir().unwrap();
        let common = folder.path().join("licenceaddin.conf");
        std::fs::write(&common, "[ISMP]\nAccessToken=SECRET two\n").unwrap();
        let error = AccessToken::find(&ConfPaths { user: None, common }, true).unwrap_err();
        assert_eq!(error.class(), "EParams");
        for language in [Language::Russian, Language::English] {
            let text = error.text(language);
            assert!(text.contains("AccessToken") && !text.contains("SECRET"), "{text}");
        }
        let conf = Conf::parse(Path::new("c"), "[ISMP]\nAccessToken=SECRET\n").unwrap();
        assert!(!format!("{conf:?}").contains("SECRET"));
    }
}
