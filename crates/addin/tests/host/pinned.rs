//! Pins behind the end of the library's own file.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use licence_core::seal::SigningKey;
use licence_core::template_pin::{Descriptors, overlay};

use crate::common::library;
use crate::host::{Host, series_descriptor};

/// An address where nobody listens: bound and given back.
pub(crate) fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Copies the built library into a folder, with what is to follow its image.
pub(crate) fn copy_with(path: &Path, tail: &[u8]) {
    let mut bytes = std::fs::read(library()).unwrap();
    bytes.extend(tail);
    std::fs::write(path, bytes).unwrap();
}

pub(crate) fn pin() -> Vec<u8> {
    let descriptor = series_descriptor(&SigningKey::from_seed(&[7; 32]));
    overlay(&Descriptors::from([(descriptor.series, descriptor)])).unwrap().0
}

/// A start of series 672B at a server that is not there, without `ОписаниеСерии`: what is missing
/// first tells whether the series is pinned.
pub(crate) fn start_unpinned() -> String {
    format!(
        "load\nnew A LicenceExtension\nset A ПараметрыСвязи s:host=127.0.0.1;port={}\n\
         call A Запуск s:672B\nget A КлассОшибки\ndestroy A\nunload\n",
        closed_port()
    )
}

pub(crate) fn only_log(host: &Host) -> (String, String) {
    let logs: Vec<PathBuf> =
        std::fs::read_dir(host.logs()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [log] = &logs[..] else { panic!("one process, one log: {logs:?}") };
    let name = log.file_name().unwrap().to_str().unwrap().to_owned();
    (name, std::fs::read_to_string(log).unwrap())
}

const GONE: [&str; 2] = ["ok threads=1 mapped=0", "bye outstanding=0 foreign=0"];

#[test]
fn pinned_library_starts_without_a_descriptor_and_a_damaged_pin_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut damaged = pin();
    damaged[5] ^= 1;
    for (name, tail, class, line) in [
        ("plain", &b""[..], "ESeriesNotPinned", ""),
        ("pinned", &pin(), "ELocalServerNotFound", "the library pins series 672B"),
        ("damaged", &damaged, "ESeriesNotPinned", "is ignored: the pin is damaged"),
    ] {
        let library = folder.path().join(format!("{name}.so"));
        copy_with(&library, tail);
        let host = Host::new();
        let lines = host.run_library(&library, &start_unpinned());
        assert_eq!(lines[3..5], ["bool 0".to_owned(), format!("string {class}")], "{name}");
        assert_eq!(lines[6..], GONE, "{name}");
        let (file, log) = only_log(&host);
        assert!(file.ends_with(&format!(".{name}.log")), "{file}");
        assert!(log.contains(line), "{name}: {log}");
    }
}
