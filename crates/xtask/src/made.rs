//! What is made once below the target folder and used again: a stamp beside it says of what it was made.
//!
//! Whoever makes something writes the stamp last, so that what was broken off is made again.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use crate::build::{say, shown, succeed};
use crate::stage::{StageError, write_file};

/// Whether this stamp is there and says the same.
pub(crate) fn is_made(stamp: &Path, wanted: &str) -> bool {
    std::fs::read_to_string(stamp).is_ok_and(|made| made == wanted)
}

/// Makes a folder of Python packages, `folder`, by this Python, of a file of requirements; pip gets these
/// arguments besides. An older one is emptied. The stamp is the caller's.
///
/// # Errors
///
/// When the Python has no `venv`, or pip does not get the packages.
pub(crate) fn python_packages(
    python: &Path,
    folder: &Path,
    requirements: &Path,
    more: &[&str],
    out: &mut dyn Write,
) -> Result<(), StageError> {
    let mut make = Command::new(python);
    make.args(["-m", "venv", "--clear"]).arg(folder);
    succeed(make)?;
    let mut pip = Command::new(folder.join("bin").join("python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip.args(more).arg("--requirement").arg(requirements);
    say(out, &format!("$ {}", shown(&pip)))?;
    succeed(pip)
}

/// [`python_packages`] by `python3`, unless its stamp `installed.txt` is there; `what` is how a person
/// knows it.
///
/// # Errors
///
/// As [`python_packages`].
pub(crate) fn python_packages_once(
    what: &str,
    folder: &Path,
    requirements: &Path,
    more: &[&str],
    out: &mut dyn Write,
) -> Result<(), StageError> {
    let wanted =
        std::fs::read_to_string(requirements).map_err(|why| StageError::io(requirements, why))?;
    let stamp = folder.join("installed.txt");
    if is_made(&stamp, &wanted) {
        return say(out, &format!("{what}: there"));
    }
    say(out, &format!("{what}: making {} by python3 -m venv and pip", folder.display()))?;
    python_packages(Path::new("python3"), folder, requirements, more, out)?;
    write_file(&stamp, &wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_of_something_else_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let stamp = folder.path().join("installed.txt");
        assert!(!is_made(&stamp, "a"));
        write_file(&stamp, "b").unwrap();
        assert!(!is_made(&stamp, "a"));
        write_file(&stamp, "a").unwrap();
        assert!(is_made(&stamp, "a"));
    }
}
