//! What must hold for any bytes, shared by the fuzz target and the replay of its corpus.

use std::path::Path;

use licence_client::{Conf, resolve};
use licence_core::key::KeySeries;

/// Any bytes as a conf file, and their first line as a connection string: refused, or there is at
/// least one server to ask. Returns whether it was accepted.
pub(crate) fn conf(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let series = KeySeries::from_u16(0x672B);
    let line = text.lines().next();
    let by_line = resolve(series, line, None);
    let by_file = Conf::parse(Path::new("licenceaddin.conf"), text)
        .and_then(|conf| resolve(series, None, Some(&conf)));
    for settings in [&by_line, &by_file].into_iter().flatten() {
        assert!(!settings.servers.is_empty());
    }
    by_file.is_ok()
}
