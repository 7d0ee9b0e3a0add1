//! `licenceserver password`: sets a password from the command line.
//!
//! Reads it where nobody sees it, checks it by the rules of the console, and writes its hash to
//! `licenceserver.conf`. It asks for no old password: whoever may write the file may do this.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use licence_core::causes::with_causes;
use licence_core::language::Language;

use crate::access::passwords::{self, HashError};
use crate::access::{Actor, Role};
use crate::api::errors::ApiError;
use crate::config::{Config, ConfigError};
use crate::paths::{Paths, default_base};
use crate::settings::{Edit, Settings};

/// Most bytes that are read in search of a password: the longest one twice, with room to spare.
const INPUT_BYTES_MAX: u64 = 8 * 1024;

/// Sets the password of the console and the API; a running server takes it up by itself.
///
/// The password is asked for twice at a terminal; otherwise it is the first line of standard
/// input (a second line, if there is one, must repeat it) or of LICENCE_PASSWORD_FILE.
#[derive(clap::Args, Clone, Debug, Eq, PartialEq)]
pub struct PasswordOptions {
    /// Base folder of settings, state and keys.
    #[arg(long = "data", value_name = "DIR", default_value_os_t = default_base())]
    pub base: PathBuf,
    /// Whose password; the administrator of `[Console]` when nobody is named.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// File whose first line is the password.
    #[arg(long, value_name = "FILE", env = "LICENCE_PASSWORD_FILE", hide_env_values = true)]
    pub password_file: Option<PathBuf>,
}

/// Why no password was set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetPasswordError {
    /// The settings cannot be read.
    #[error("the settings cannot be used")]
    Config(#[from] ConfigError),
    /// The two entries differ.
    #[error("the two entries differ; nothing was changed")]
    Differ,
    /// The password could not be hashed.
    #[error("the password cannot be kept")]
    Hash(#[from] HashError),
    /// The password could not be read.
    #[error("reading the password")]
    Read(#[from] io::Error),
    /// The password is not accepted, or the settings cannot be written.
    #[error("{0}")]
    Refused(String),
    /// There is no such user.
    #[error("there is no user {0}; the console and the API make users")]
    UnknownUser(String),
}

/// Runs the command and says what came of it.
pub fn main(options: &PasswordOptions) -> ExitCode {
    let outcome = read_password(options).and_then(|password| set(options, &password));
    let (text, code) = match &outcome {
        Ok(name) => (
            format!("The password of {name} is set; a running server takes it up by itself."),
            ExitCode::SUCCESS,
        ),
        Err(error) => (format!("licenceserver: {}", with_causes(error)), ExitCode::FAILURE),
    };
    let written = if outcome.is_ok() {
        writeln!(io::stdout(), "{text}")
    } else {
        writeln!(io::stderr(), "{text}")
    };
    // Nobody reads it; the exit code says it as well.
    drop(written);
    code
}

/// Writes the hash of `password` to the settings; whose it is.
///
/// # Errors
///
/// See [`SetPasswordError`]; then nothing has changed.
pub fn set(options: &PasswordOptions, password: &str) -> Result<String, SetPasswordError> {
    let conf = Paths::new(&options.base).conf();
    let config = Config::load(&conf)?;
    let first = config.console.user_name.clone();
    let name = options.user.clone().unwrap_or_else(|| first.clone());
    let role: Option<Role> = if name == first {
        None
    } else {
        let user = config.parts.users.iter().find(|user| user.name == name);
        Some(user.ok_or_else(|| SetPasswordError::UnknownUser(name.clone()))?.role)
    };
    let refused =
        |error: ApiError| SetPasswordError::Refused(error.body(Language::English).message);
    passwords::check_rules(&name, password).map_err(refused)?;
    let hash = passwords::hash(password)?;
    let edit = match role {
        None => Edit::set("Console", "Password", hash),
        Some(role) => Edit::set("Users", &name, format!("{role};{hash}")),
    };
    Settings::new(conf, config).change(&[edit], &Actor::server()).map_err(refused)?;
    Ok(name)
}

fn read_password(options: &PasswordOptions) -> Result<String, SetPasswordError> {
    if let Some(file) = &options.password_file {
        return first_line(file);
    }
    if io::stdin().is_terminal() {
        let password = rpassword::prompt_password("New password: ")?;
        let again = rpassword::prompt_password("Once more: ")?;
        return if password == again { Ok(password) } else { Err(SetPasswordError::Differ) };
    }
    repeated(io::stdin().lock())
}

fn first_line(path: &Path) -> Result<String, SetPasswordError> {
    let mut line = String::new();
    io::BufReader::new(File::open(path)?.take(INPUT_BYTES_MAX)).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// The first line; a second one must be the same.
fn repeated(input: impl BufRead) -> Result<String, SetPasswordError> {
    let mut lines = input.take(INPUT_BYTES_MAX).lines();
    let mut next = || {
        let line = lines.next().transpose()?;
        Ok::<_, io::Error>(line.map(|line| line.trim_end_matches('\r').to_owned()))
    };
    let password = next()?.unwrap_or_default();
    match next()?.filter(|again| !again.is_empty()) {
        Some(again) if again != password => Err(SetPasswordError::Differ),
        _ => Ok(password),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(base: &Path, user: Option<&str>) -> PasswordOptions {
        PasswordOptions {
            base: base.to_owned(),
            user: user.map(str::to_owned),
            password_file: None,
        }
    }

    #[test]
    fn password_is_the_first_line_and_a_second_one_repeats_it() {
        for (input, expected) in [
            ("secret word", Some("secret word")),
            ("secret word\n", Some("secret word")),
            ("secret word\r\nsecret word\r\n", Some("secret word")),
            ("secret word\n\n", Some("secret word")),
            ("secret word\nother\n", None),
            ("", Some("")),
        ] {
            assert_eq!(repeated(input.as_bytes()).ok().as_deref(), expected, "{input:?}");
        }
    }

    #[test]
    fn weak_passwords_unknown_users_and_broken_settings_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |user, password: &str| {
            set(&options(dir.path(), user), password).unwrap_err().to_string()
        };
        assert!(refused(None, "admin").contains("EPasswordWeak"));
        assert!(refused(None, "").contains("EPasswordWeak"));
        assert!(refused(Some("ivan"), "long password").contains("no user ivan"));
        std::fs::create_dir_all(dir.path().join("3.0")).unwrap();
        std::fs::write(dir.path().join("3.0/licenceserver.conf"), "[API]\nEnabled=x").unwrap();
        assert!(refused(None, "long password").contains("the settings cannot be used"));
    }
}
