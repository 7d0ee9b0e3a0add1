//! What must hold for any bytes, shared by the fuzz target and the replay of its corpus.

use std::path::Path;

use licenceserver::config::{Config, IniSource};

/// A conf file is read into checked settings or refused with an error that names it.
pub(crate) fn conf(bytes: &[u8]) {
    let path = Path::new("licenceserver.conf");
    let read = IniSource::parse(path, bytes.to_vec()).and_then(|ini| Config::from_source(&ini));
    if let Err(error) = read {
        assert!(error.to_string().contains("licenceserver.conf"), "{error}");
    }
}
