//! Which files make up a server, by their names in an archive and on the disk.
//!
//! The only place that turns one into the other: a name that is not known here is never written.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::paths::Paths;

/// Name of the first member.
pub const MANIFEST: &str = "manifest.json";

/// The database's name.
pub const DATABASE: &str = "3.0/licenceserver.db";

/// The settings' name.
pub const CONF: &str = "3.0/licenceserver.conf";

/// The identity's name: sealed, so that it opens on the computer it was made on.
pub const IDENTITY: &str = "3.0/identity.seal";

/// The identity's name in archives of servers that kept it without a seal.
pub const IDENTITY_PLAIN: &str = "3.0/identity.key";

/// The series' name, whatever `SeriesFile` calls it.
pub const SERIES: &str = "3.0/licence.series";

/// The rules' name.
pub const RULES: &str = "3.0/licence.rules";

/// Session keys of ИС МП, sealed for the identity's computer.
pub const SESSION_KEYS: &str = "3.0/ismp.store";

/// Certificate and key for browsers.
pub const CERTIFICATE: &str = "3.0/tls.pem";

const LICENCES: &str = "data/";

/// Longest name of a licence file.
const NAME_BYTES_MAX: usize = 120;

/// What an archive says of itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Manifest {
    /// Version of this form.
    pub format: u32,
    /// Version of the server that made it.
    pub version: String,
    /// When (UTC).
    pub made: licence_core::time::Utc,
    /// The computer it was made on.
    pub computer_name: String,
    /// Its other members, in order.
    pub members: Vec<Member>,
}

/// One member.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256, 64 hex digits.
    #[serde(rename = "SHA256")]
    pub sha256: String,
}

/// Where a member lies on the disk; nothing for a name that is none of ours. `series_file` is the
/// setting.
pub fn place(paths: &Paths, series_file: &str, name: &str) -> Option<PathBuf> {
    match name {
        CERTIFICATE | CONF | DATABASE | IDENTITY | IDENTITY_PLAIN | RULES | SESSION_KEYS => {
            name.strip_prefix("3.0/").map(|file| paths.settings().join(file))
        }
        SERIES => is_plain(series_file).then(|| paths.series(series_file)),
        _ => {
            let file = name.strip_prefix(LICENCES)?;
            (is_plain(file) && file.ends_with(".licence")).then(|| paths.keys().join(file))
        }
    }
}

/// Whether a text is the name of a file and nothing that leads elsewhere.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let is_one = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    let is_quiet = !name.contains(['\\', ':', '\0', '/']) && !name.starts_with('.');
    is_one && is_quiet && name.len() <= NAME_BYTES_MAX
}

/// The members that are on the disk, the database apart, with their places.
///
/// # Errors
///
/// When the folder of keys cannot be listed.
pub fn present(paths: &Paths, series_file: &str) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut names: Vec<String> =
        [CONF, SERIES, RULES, IDENTITY, IDENTITY_PLAIN, CERTIFICATE, SESSION_KEYS]
            .map(str::to_owned)
            .to_vec();
    match std::fs::read_dir(paths.keys()) {
        Ok(entries) => {
            let mut keys = Vec::new();
            for entry in entries {
                let file = entry?.file_name().to_string_lossy().into_owned();
                if file.ends_with(".licence") {
                    keys.push(format!("{LICENCES}{file}"));
                }
            }
            keys.sort();
            names.append(&mut keys);
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(names
        .into_iter()
        .filter_map(|name| Some((place(paths, series_file, &name)?, name)))
        .filter(|(path, _)| path.is_file())
        .map(|(path, name)| (name, path))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_have_a_place() {
        let paths = Paths::new("base");
        for (name, expected) in [
            (CONF, Some("base/3.0/licenceserver.conf")),
            (DATABASE, Some("base/3.0/licenceserver.db")),
            (SERIES, Some("base/3.0/my.series")),
            (SESSION_KEYS, Some("base/3.0/ismp.store")),
            ("data/672B.7131766.licence", Some("base/data/672B.7131766.licence")),
            ("data/../3.0/identity.licence", None),
            ("data/a/b.licence", None),
            ("data/.licence", None),
            ("data/x.exe", None),
            ("data/c:x.licence", None),
            ("/etc/passwd", None),
            ("../x.licence", None),
            ("3.0/other", None),
            ("", None),
        ] {
            let found = place(&paths, "my.series", name);
            assert_eq!(found, expected.map(PathBuf::from), "{name}");
        }
        for outside in ["/etc/x.series", "../x.series", "a/b.series"] {
            assert_eq!(place(&paths, outside, SERIES), None, "{outside}");
        }
    }
}
