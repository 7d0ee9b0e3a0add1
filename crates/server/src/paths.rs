//! Where the files of a licence server lie below its base folder.
//!
//! Names only; nothing here touches the disk.

use std::path::{Path, PathBuf};

/// The base folder when none is named (manual, «Конфигурационный файл»: `/var/1C/licence/3.0/`).
#[cfg(not(windows))]
pub fn default_base() -> PathBuf {
    PathBuf::from("/var/1C/licence")
}

/// The base folder when none is named: `1C\Licence` in the folder for the data of all users, where that
/// lies on this computer.
#[cfg(windows)]
pub fn default_base() -> PathBuf {
    // Every process gets the variable from the system; the folder is at its usual place without it.
    std::env::var_os("ProgramData")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .unwrap_or_else(|| PathBuf::from(r"C:\ProgramData"))
        .join(r"1C\Licence")
}

/// The data layout below a base folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Paths {
    base: PathBuf,
}

impl Paths {
    /// The layout below `base`.
    pub fn new(base: impl Into<PathBuf>) -> Self {
        Self { base: base.into() }
    }

    /// The base folder itself.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Folder of settings and state: `3.0`, the version of the interface and not of the program.
    pub fn settings(&self) -> PathBuf {
        self.base.join("3.0")
    }

    /// The settings file.
    pub fn conf(&self) -> PathBuf {
        self.settings().join("licenceserver.conf")
    }

    /// The file of series descriptors; `name` comes from `SeriesFile` and may be absolute.
    pub fn series(&self, name: &str) -> PathBuf {
        self.settings().join(name)
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.settings().join("licenceserver.db")
    }

    /// The identity of this installation, sealed.
    pub fn identity(&self) -> PathBuf {
        self.settings().join("identity.seal")
    }

    /// The identity without a seal, as servers once kept it: sealed and removed at the next start.
    pub fn identity_plain(&self) -> PathBuf {
        self.settings().join("identity.key")
    }

    /// Since when parts of the computer have changed.
    pub fn binding(&self) -> PathBuf {
        self.settings().join("binding.json")
    }

    /// The hardware fingerprint that was seen last.
    pub fn computer(&self) -> PathBuf {
        self.settings().join("computer.id")
    }

    /// The rules of who gets a seat.
    pub fn rules(&self) -> PathBuf {
        self.settings().join("licence.rules")
    }

    /// The self-signed certificate that browsers are shown when none is given, and its key.
    pub fn tls(&self) -> PathBuf {
        self.settings().join("tls.pem")
    }

    /// What is kept of activation centres between two rounds.
    pub fn centres(&self) -> PathBuf {
        self.settings().join("centres.json")
    }

    /// When this node of a cluster was in touch with etcd last.
    pub fn cluster(&self) -> PathBuf {
        self.settings().join("cluster.json")
    }

    /// Access codes of the cluster, by their digests.
    pub fn cluster_codes(&self) -> PathBuf {
        self.settings().join("cluster-codes.json")
    }

    /// Session keys of ИС МП, each sealed.
    pub fn ismp(&self) -> PathBuf {
        self.settings().join("ismp.store")
    }

    /// Since when a reserve for session keys acts on its own.
    pub fn ismp_alone(&self) -> PathBuf {
        self.settings().join("ismp.alone")
    }

    /// Folder of logs.
    pub fn logs(&self) -> PathBuf {
        self.settings().join("logs")
    }

    /// Folder of software keys (no version in the path, as the manual has it).
    pub fn keys(&self) -> PathBuf {
        self.base.join("data")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_the_published_one() {
        let paths = Paths::new("base");
        for (path, expected) in [
            (paths.conf(), "base/3.0/licenceserver.conf"),
            (paths.series("licence.series"), "base/3.0/licence.series"),
            (paths.database(), "base/3.0/licenceserver.db"),
            (paths.identity(), "base/3.0/identity.seal"),
            (paths.identity_plain(), "base/3.0/identity.key"),
            (paths.binding(), "base/3.0/binding.json"),
            (paths.computer(), "base/3.0/computer.id"),
            (paths.rules(), "base/3.0/licence.rules"),
            (paths.tls(), "base/3.0/tls.pem"),
            (paths.centres(), "base/3.0/centres.json"),
            (paths.cluster_codes(), "base/3.0/cluster-codes.json"),
            (paths.ismp(), "base/3.0/ismp.store"),
            (paths.ismp_alone(), "base/3.0/ismp.alone"),
            (paths.logs(), "base/3.0/logs"),
            (paths.keys(), "base/data"),
        ] {
            assert_eq!(path, PathBuf::from(expected));
        }
    }
}
