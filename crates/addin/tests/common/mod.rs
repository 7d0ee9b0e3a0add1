//! Where the built library lies. The tests never build it: cargo did, as their dependency.

use std::path::PathBuf;
use std::time::SystemTime;

/// The library of the same build as this test, `liblicenceaddin.so` beside the test's program or
/// one folder above it.
pub(crate) fn library() -> PathBuf {
    let name = libloading::library_filename("licenceaddin");
    let program = std::env::current_exe().unwrap();
    let deps = program.parent().unwrap();
    let built = |path: &PathBuf| -> Option<SystemTime> { path.metadata().ok()?.modified().ok() };
    [Some(deps), deps.parent()]
        .into_iter()
        .flatten()
        .map(|dir| dir.join(&name))
        .filter(|path| path.exists())
        .max_by_key(built)
        .expect("cargo builds the library before its tests")
}
