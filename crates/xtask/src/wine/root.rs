//! The Debian root that Wine lives in: a newer Debian than the oldest that we build on, with packages of
//! both 32 and 64 bits, from the main suite only, so that both have equal versions. This computer gets
//! no foreign packages.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::ROOT_VARIABLE;
use crate::build::{say, shown, succeed};
use crate::check::setup;
use crate::stage::StageError;

/// The Debian with a Wine that runs programs of today's compilers.
const SUITE: &str = "trixie";

/// The packages: Wine of both kinds, and a screen for installers with windows.
const PACKAGES: [&str; 5] = ["wine", "wine64", "wine32:i386", "xvfb", "xauth"];

/// Seconds that one step may take: some 75 on a quiet machine with a quick network for all.
const STEP_SECS_MAX: &str = "1500";

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
    if !setup::succeeds(&["debootstrap", "--version"]) {
        setup::install(&["debootstrap"], out)?;
    }
    say(out, "Wine: making a Debian root in target/wine-root; this takes a minute or two")?;
    let shown_root = root.as_os_str();
    step(&["rm", "-rf", "--one-file-system"], [shown_root], out)?;
    let mut make: Vec<&OsStr> = vec![OsStr::new(SUITE), shown_root];
    let mirror = mirror();
    make.extend(mirror.as_deref().map(OsStr::new));
    step(&["debootstrap", "--variant=minbase"], make, out)?;
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

/// Where this computer takes Debian's main suite from, if it is a Debian.
fn mirror() -> Option<String> {
    let output = Command::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(REPO_URI) $(ORIGIN) $(LABEL)",
            "Created-By: Packages",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    main_mirror(&String::from_utf8_lossy(&output.stdout))
}

fn main_mirror(listed: &str) -> Option<String> {
    let mut lines = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = lines.find(|words| words.get(1..) == Some(&["Debian", "Debian"][..]))?;
    let uri = line.first()?;
    // debootstrap itself reaches http and https only.
    uri.starts_with("http").then(|| uri.trim_end_matches('/').to_owned())
}

/// A step as the superuser, in a mount namespace of its own: what it mounts goes with it.
fn step<'a>(
    program: &[&str],
    arguments: impl IntoIterator<Item = &'a OsStr>,
    out: &mut dyn Write,
) -> Result<(), StageError> {
    let Some(mut command) = setup::superuser("timeout") else {
        return Err(StageError::failed(format!(
            "Wine's root is made as root; run `cargo xtask wine` once as root, or name one that exists \
             in {ROOT_VARIABLE}"
        )));
    };
    command.args([STEP_SECS_MAX, "unshare", "--mount", "--propagation", "private", "env"]);
    command.args(["DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"]).args(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    say(out, &format!("$ {}", shown(&command)))?;
    succeed(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirror_is_the_one_of_the_main_suite() {
        let listed = "http://security.example/debian-security/ Debian Debian-Security\n\
                      http://tools.example/apt tools Tools\n\
                      http://mirror.example/debian/ Debian Debian\n";
        assert_eq!(main_mirror(listed).as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(main_mirror("file:///srv/debian/ Debian Debian\n"), None);
        assert_eq!(main_mirror(""), None);
    }

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
