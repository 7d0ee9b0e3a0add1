//! The Debian root that Wine lives in: a newer Debian than the oldest that we build on, with packages of
//! both 32 and 64 bits, from the main suite only, so that both have equal versions. This computer gets
//! no foreign packages.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::ROOT_VARIABLE;
use crate::build::say;
use crate::debian::{self, step};
use crate::stage::StageError;

/// The Debian with a Wine that runs programs of today's compilers.
const SUITE: &str = "trixie";

/// The packages: Wine of both kinds, and a screen for installers with windows.
const PACKAGES: [&str; 5] = ["wine", "wine64", "wine32:i386", "xvfb", "xauth"];

/// The root, wherever it is.
///
/// # Errors
///
/// When none has been made.
pub(super) fn find(target: &Path) -> Result<PathBuf, StageError> {
    let root = place(target);
    if stamp(&root).is_file() {
        return Ok(root);
    }
    Err(StageError::failed(format!("{} has no Wine; run `cargo xtask wine` first", root.display())))
}

/// Wine's version, as Debian's package says; empty when it does not.
pub(super) fn version(root: &Path) -> String {
    let status = std::fs::read_to_string(root.join("var/lib/dpkg/status")).unwrap_or_default();
    let version = status
        .split("\n\n")
        .find(|package| package.starts_with("Package: wine64\n"))
        .and_then(|package| package.lines().find_map(|line| line.strip_prefix("Version: ")));
    version.unwrap_or_default().to_owned()
}

fn place(target: &Path) -> PathBuf {
    match std::env::var_os(ROOT_VARIABLE) {
        Some(root) => PathBuf::from(root),
        None => target.join("wine-root"),
    }
}

/// Written last, so that a root whose making was broken off is made again.
fn stamp(root: &Path) -> PathBuf {
    root.join(".ok")
}

/// Makes the root unless it is there.
///
/// # Errors
///
/// When this process may not, or packages cannot be had.
pub(super) fn prepare(target: &Path, out: &mut dyn Write) -> Result<PathBuf, StageError> {
    let root = place(target);
    if stamp(&root).is_file() {
        return Ok(root);
    }
    if std::env::var_os(ROOT_VARIABLE).is_some() {
        return Err(StageError::failed(format!(
            "{ROOT_VARIABLE} names {}, which is no finished root",
            root.display()
        )));
    }
    say(out, "Wine: making a Debian root in target/wine-root; this takes a minute or two")?;
    let shown_root = root.as_os_str();
    debian::make(&root, SUITE, &[], out)?;
    // As this computer reaches its packages, so does the root: proxies, time-outs, names.
    for (from, to) in
        [("/etc/apt/apt.conf.d/.", "etc/apt/apt.conf.d/"), ("/etc/resolv.conf", "etc/")]
    {
        if Path::new(from).exists() {
            step(
                &["cp", "--recursive", "--dereference"],
                [OsStr::new(from), root.join(to).as_os_str()],
                out,
            )?;
        }
    }
    let chroot = |arguments: &[&str], out: &mut dyn Write| {
        let arguments: Vec<&OsStr> =
            std::iter::once(shown_root).chain(arguments.iter().map(OsStr::new)).collect();
        step(&["chroot"], arguments, out)
    };
    let hosts = "printf '127.0.0.1\\tlocalhost\\n::1\\tlocalhost\\n' > /etc/hosts";
    chroot(&["sh", "-c", hosts], out)?;
    chroot(&["dpkg", "--add-architecture", "i386"], out)?;
    chroot(&["apt-get", "update", "--quiet=2"], out)?;
    let mut install = vec!["apt-get", "install", "--yes", "--quiet=2", "--no-install-recommends"];
    install.extend(PACKAGES);
    chroot(&install, out)?;
    chroot(&["apt-get", "clean"], out)?;
    step(&["touch"], [stamp(&root).as_os_str()], out)?;
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_of_wine_is_read_from_the_list_of_packages() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(version(root.path()), "");
        std::fs::create_dir_all(root.path().join("var/lib/dpkg")).unwrap();
        let status = "Package: wine\nVersion: 1\n\nPackage: wine64\nStatus: ok\nVersion: 10.0~r\n";
        std::fs::write(root.path().join("var/lib/dpkg/status"), status).unwrap();
        assert_eq!(version(root.path()), "10.0~r");
    }
}
