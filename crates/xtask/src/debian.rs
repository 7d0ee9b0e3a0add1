//! Small Debian roots by debootstrap, from the mirror that this computer itself uses.
//!
//! Decides how one is made and what may be mounted meanwhile; what it is for, and when it is made again,
//! is its owner's.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::build::{say, shown, succeed};
use crate::check::setup;
use crate::stage::StageError;

/// Seconds that one step may take: some 75 on a quiet machine with a quick network for all.
const STEP_SECS_MAX: &str = "1500";

/// Makes a root of this suite in a folder, emptying it before; `more` are further options of debootstrap.
///
/// # Errors
///
/// When this process may not act as the superuser, or packages cannot be had.
pub(crate) fn make(
    root: &Path,
    suite: &str,
    more: &[&str],
    out: &mut dyn Write,
) -> Result<(), StageError> {
    if !setup::succeeds(&["debootstrap", "--version"]) {
        setup::install(&["debootstrap"], out)?;
    }
    step(&["rm", "-rf", "--one-file-system"], [root.as_os_str()], out)?;
    let mut program = vec!["debootstrap", "--variant=minbase"];
    program.extend(more);
    let mut arguments = vec![OsStr::new(suite), root.as_os_str()];
    let mirror = mirror();
    arguments.extend(mirror.as_deref().map(OsStr::new));
    step(&program, arguments, out)
}

/// A step as the superuser, in a mount namespace of its own: what it mounts goes with it, even when it is
/// killed.
///
/// # Errors
///
/// When this process may not act as the superuser, or the step fails.
pub(crate) fn step<'a>(
    program: &[&str],
    arguments: impl IntoIterator<Item = &'a OsStr>,
    out: &mut dyn Write,
) -> Result<(), StageError> {
    let Some(mut command) = setup::superuser("timeout") else {
        return Err(StageError::failed(
            "a Debian root is made as root; run `cargo xtask test` once as root",
        ));
    };
    command.args([STEP_SECS_MAX, "unshare", "--mount", "--propagation", "private", "env"]);
    command.args(["DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"]).args(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    say(out, &format!("$ {}", shown(&command)))?;
    succeed(command)
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
}
