//! Who may read and change the data folder on Windows.
//!
//! Decides the rights of each place and gives them. On other systems the service's user and its umask do
//! that, and nothing here is called.
//!
//! `%ProgramData%` lets every user read what lies in it and make files of their own, so the data folder
//! takes nothing over from it. What the server writes is for the system, administrators and the service
//! alone, whatever its name: SQLite makes files of its own beside the database, and a file that a later
//! version adds must not be open because nobody thought of it. The component reads its conf file in the
//! same folder under the name of any user: those few files are named, and users may read them.

use std::path::{Path, PathBuf};

use crate::paths::Paths;

/// Security identifier of the service `licenceserver`, which Windows derives from the name (`sc showsid
/// licenceserver` shows it). It is in the token of the service's process and of no other.
pub const SERVICE_SID: &str = "S-1-5-80-3701143288-3291361519-179442093-483222805-4079943006";

/// Files of the settings folder that components read as whoever runs 1C.
pub const PUBLIC_FILES: [&str; 2] = ["licenceaddin.conf", "licence.series"];

/// Files and folders that one call gives rights to. A folder of a server has some dozens, and some logs
/// for each day.
pub const ENTRIES_MAX: usize = 100_000;

/// A place whose rights are told apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// The data folder of a service.
    Base,
    /// The data folder of a server that somebody runs by hand, when it is made.
    OwnBase,
    /// The folder of settings.
    Settings,
    /// One of [`PUBLIC_FILES`].
    Public,
    /// Anything else.
    Inner,
}

impl Place {
    /// What a path below `paths` is.
    pub fn of(paths: &Paths, path: &Path) -> Self {
        if path == paths.base() {
            Self::Base
        } else if path == paths.settings() {
            Self::Settings
        } else if PUBLIC_FILES.iter().any(|name| is_public(paths, path, name)) {
            Self::Public
        } else {
            Self::Inner
        }
    }

    /// Whether nothing is taken over from the folder above.
    pub const fn is_protected(self) -> bool {
        matches!(self, Self::Base | Self::OwnBase)
    }

    /// The rights, and at a service's folder the owner, in the security descriptor definition language.
    ///
    /// `FA` is everything, `0x1301bf` to change and remove, `0x1200a9` to read and list, `FR` to read,
    /// `RC` to see the rights; `OICI` hands down to files and folders. SY is the system, BA
    /// administrators, BU users, S-1-3-4 whoever owns the file.
    pub fn sddl(self) -> String {
        const BY_ALL_MEANS: &str = "(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";
        // To see which files there are is no secret; without it a component could not say what is wrong.
        const LIST: &str = "(A;;0x1200a9;;;BU)";
        match self {
            // The service runs as LocalService, as others do: without a word on owners, those others
            // could change the rights of every file that this one has made.
            Self::Base => format!(
                "O:BAD:P{BY_ALL_MEANS}(A;OICI;0x1301bf;;;{SERVICE_SID})(A;OICI;RC;;;S-1-3-4){LIST}"
            ),
            Self::OwnBase => format!("D:P{BY_ALL_MEANS}(A;OICI;FA;;;S-1-3-4){LIST}"),
            Self::Settings => format!("O:BAD:AI{LIST}"),
            Self::Public => "O:BAD:AI(A;;FR;;;BU)".to_owned(),
            Self::Inner => "O:BAD:AI".to_owned(),
        }
    }
}

/// File names of Windows have no case.
fn is_public(paths: &Paths, path: &Path, name: &str) -> bool {
    path.parent() == Some(&paths.settings())
        && path.file_name().is_some_and(|found| found.eq_ignore_ascii_case(name))
}

/// Why the rights were not given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RightsError {
    /// A file or folder.
    #[error("rights of {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A link to somewhere else, which an ordinary user may have put there before.
    #[error("{0} is a link; remove it, then do this again")]
    Link(PathBuf),
    /// More entries than [`ENTRIES_MAX`].
    #[error("{0} holds more than {ENTRIES_MAX} files")]
    TooMany(PathBuf),
}

/// Everything at and below the data folder, folders before what is in them.
///
/// # Errors
///
/// See [`RightsError`]; a link is one.
pub fn entries(base: &Path) -> Result<Vec<PathBuf>, RightsError> {
    let failed = |path: &Path, source| RightsError::Io { path: path.to_owned(), source };
    let mut found = vec![base.to_owned()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        next += 1;
        let kind = std::fs::symlink_metadata(&path).map_err(|why| failed(&path, why))?.file_type();
        if kind.is_symlink() {
            return Err(RightsError::Link(path));
        }
        if !kind.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(&path).map_err(|why| failed(&path, why))? {
            if found.len() == ENTRIES_MAX {
                return Err(RightsError::TooMany(base.to_owned()));
            }
            found.push(entry.map_err(|why| failed(&path, why))?.path());
        }
    }
    Ok(found)
}

/// Gives the data folder of the service and everything in it its rights; makes the folders of settings
/// and keys where they are missing. For an administrator.
///
/// # Errors
///
/// See [`RightsError`].
#[cfg(windows)]
pub fn give(paths: &Paths) -> Result<(), RightsError> {
    let failed = |path: &Path, source| RightsError::Io { path: path.to_owned(), source };
    for folder in [paths.settings(), paths.keys()] {
        std::fs::create_dir_all(&folder).map_err(|why| failed(&folder, why))?;
    }
    // Whoever had made the folder before can put nothing into it from here on.
    for path in [paths.base().to_owned(), paths.settings(), paths.keys()] {
        if std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
            return Err(RightsError::Link(path));
        }
        let place = Place::of(paths, &path);
        crate::win32::set_rights(&path, &place.sddl(), place.is_protected())
            .map_err(|why| failed(&path, why))?;
    }
    for path in entries(paths.base())?.into_iter().skip(1) {
        let place = Place::of(paths, &path);
        match crate::win32::set_rights(&path, &place.sddl(), place.is_protected()) {
            // A log that was removed meanwhile.
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => {}
            given => given.map_err(|why| failed(&path, why))?,
        }
    }
    Ok(())
}

/// Makes the data folder for a server that is started by hand, closed to others. One that is there stays
/// as it is. On Unix the umask decides.
pub fn make_base(paths: &Paths) {
    #[cfg(windows)]
    {
        let base = paths.base();
        if base.exists() {
            return;
        }
        let place = Place::OwnBase;
        let made = std::fs::create_dir_all(base)
            .and_then(|()| crate::win32::set_rights(base, &place.sddl(), place.is_protected()));
        if let Err(error) = made {
            // The next step fails for the same reason, or the folder is open to whom the one above is.
            log::warn!("{}: the rights were not given: {error}", base.display());
        }
    }
    #[cfg(not(windows))]
    let _by_the_umask = paths;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows takes SHA-1 of the name in capitals, in UTF-16, as five numbers.
    #[test]
    fn identifier_of_the_service_follows_from_its_name() {
        let name = crate::service::NAME.to_uppercase();
        let bytes: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &bytes);
        let mut expected = "S-1-5-80".to_owned();
        for part in digest.as_ref().chunks_exact(4) {
            let number = u32::from_le_bytes(part.try_into().unwrap());
            expected.push_str(&format!("-{number}"));
        }
        assert_eq!(SERVICE_SID, expected);
    }

    #[test]
    fn places_are_told_apart_by_folder_and_name() {
        let paths = Paths::new("base");
        for (path, expected) in [
            ("base", Place::Base),
            ("base/3.0", Place::Settings),
            ("base/3.0/licenceaddin.conf", Place::Public),
            ("base/3.0/LicenceAddin.Conf", Place::Public),
            ("base/3.0/licence.series", Place::Public),
            ("base/3.0/licenceserver.conf", Place::Inner),
            ("base/3.0/identity.seal", Place::Inner),
            ("base/3.0/licenceserver.db-wal", Place::Inner),
            ("base/3.0/logs/licence.series", Place::Inner),
            ("base/data", Place::Inner),
            ("base/licenceaddin.conf", Place::Inner),
        ] {
            assert_eq!(Place::of(&paths, Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn users_are_named_only_where_they_may_list_or_read_and_never_hand_down() {
        for (place, users) in [
            (Place::Base, "(A;;0x1200a9;;;BU)"),
            (Place::OwnBase, "(A;;0x1200a9;;;BU)"),
            (Place::Settings, "(A;;0x1200a9;;;BU)"),
            (Place::Public, "(A;;FR;;;BU)"),
            (Place::Inner, ""),
        ] {
            let sddl = place.sddl();
            let named: String = sddl
                .split_inclusive(')')
                .filter_map(|ace| ace.find('(').map(|at| &ace[at..]))
                .filter(|ace| ace.ends_with(";BU)") || ace.ends_with(";WD)"))
                .collect();
            assert_eq!(named, users, "{place:?}: {sddl}");
            assert_eq!(place.is_protected(), sddl.contains("D:P("), "{sddl}");
        }
    }

    #[test]
    fn folder_is_walked_from_the_top_and_a_link_in_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        std::fs::create_dir_all(base.join("3.0/logs")).unwrap();
        std::fs::write(base.join("3.0/logs/a.log"), "").unwrap();
        let found = entries(&base).unwrap();
        let expected = ["", "3.0", "3.0/logs", "3.0/logs/a.log"];
        let expected: Vec<_> = expected
            .iter()
            .map(|name| if name.is_empty() { base.clone() } else { base.join(name) })
            .collect();
        assert_eq!(found, expected);
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("/", base.join("link")).unwrap();
            assert!(matches!(entries(&base), Err(RightsError::Link(_))));
        }
    }
}
