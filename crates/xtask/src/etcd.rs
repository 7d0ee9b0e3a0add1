//! Debian's etcd for tests: the server and its command line, unpacked below cargo's target folder.
//!
//! Installing the package would start an etcd of the system on its usual port at once; tests run the
//! program itself, in namespaces of their own. What is on the path already is used from there.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build::{say, shown, succeed};
use crate::check::setup;
use crate::made::is_made;
use crate::stage::{Bins, StageError, make_folder, write_file};

/// The packages; beside the C library they need nothing to run.
const PACKAGES: [&str; 2] = ["etcd-client", "etcd-server"];

/// Says in the folder that all are there.
const STAMP: &str = "unpacked";

/// The programs.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `etcd`.
    pub server: PathBuf,
    /// `etcdctl`.
    pub control: PathBuf,
}

impl Programs {
    /// Those that [`prepare`] has unpacked, or the system's.
    ///
    /// # Errors
    ///
    /// When there are neither.
    pub fn find(bins: &Bins) -> Result<Self, StageError> {
        let folder = folder(bins.target());
        if is_complete(&folder) {
            let bin = folder.join("root").join("usr").join("bin");
            return Ok(Self { server: bin.join("etcd"), control: bin.join("etcdctl") });
        }
        if is_installed() {
            return Ok(Self { server: "etcd".into(), control: "etcdctl".into() });
        }
        Err(StageError::failed(format!(
            "there is no etcd: neither on the path nor in {}; run `cargo xtask test`, or on Debian: apt-get \
             install {}",
            folder.display(),
            PACKAGES.join(" ")
        )))
    }
}

fn folder(target: &Path) -> PathBuf {
    target.join("etcd")
}

fn stamp() -> String {
    format!("{}\n", PACKAGES.join("\n"))
}

fn is_complete(folder: &Path) -> bool {
    is_made(&folder.join(STAMP), &stamp())
}

fn is_installed() -> bool {
    setup::succeeds(&["etcd", "--version"]) && setup::succeeds(&["etcdctl", "version"])
}

/// Unpacks what is missing, saying what it does.
///
/// # Errors
///
/// When the packages cannot be had.
pub(crate) fn prepare(target: &Path, out: &mut dyn Write) -> Result<(), StageError> {
    let folder = folder(target);
    if is_complete(&folder) || is_installed() {
        return say(out, "etcd: there");
    }
    say(out, "etcd: unpacking it below target/etcd by apt-get and dpkg-deb")?;
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|why| StageError::io(&folder, why))?;
    }
    let (root, debs) = (folder.join("root"), folder.join("debs"));
    make_folder(&root)?;
    make_folder(&debs)?;
    // Lists that are missing or older than the last update of a mirror name files that are gone.
    if let Err(why) = download(&debs, out) {
        say(out, &format!("{why}; reading the package lists anew"))?;
        setup::update(out)?;
        download(&debs, out)?;
    }
    for entry in std::fs::read_dir(&debs).map_err(|why| StageError::io(&debs, why))? {
        let deb = entry.map_err(|why| StageError::io(&debs, why))?.path();
        let mut dpkg = Command::new("dpkg-deb");
        dpkg.arg("-x").arg(&deb).arg(&root);
        succeed(dpkg)?;
    }
    std::fs::remove_dir_all(&debs).map_err(|why| StageError::io(&debs, why))?;
    write_file(&folder.join(STAMP), &stamp())
}

fn download(folder: &Path, out: &mut dyn Write) -> Result<(), StageError> {
    let mut load = Command::new("apt-get");
    load.env("LC_ALL", "C.UTF-8").current_dir(folder);
    load.args(["download", "--quiet=2"]).args(PACKAGES);
    say(out, &format!("$ {}", shown(&load)))?;
    succeed(load)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_without_its_stamp_is_not_complete() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_complete(folder.path()));
        std::fs::write(folder.path().join(STAMP), stamp()).unwrap();
        assert!(is_complete(folder.path()));
    }
}
