//! Where the analyser of 1C's language lives: it needs Python 3.12 or later, which the oldest
//! system that we build on does not have.
//!
//! A suitable Python of this computer gets a folder of packages below cargo's target folder. Where
//! there is none, a small Debian root that has one is made there, once; this takes root, some
//! minutes and 400 MB. Its packages are brought by this computer's pip, so that the root itself
//! needs no network.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Finding;
use crate::build::{say, shown, succeed};
use crate::check::{Context, setup};
use crate::debian;
use crate::made::{is_made, python_packages};
use crate::stage::{StageError, make_folder};

/// Name of the analyser's program.
const PROGRAM: &str = "onec-hbk-bsl";
/// Pythons that may be new enough, by the names that systems give them.
const PYTHONS: [&str; 4] = ["python3", "python3.14", "python3.13", "python3.12"];
/// Ends well only in a Python that is new enough and can make a folder of packages.
const PROBE: &str = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))";
/// The Debian that has such a Python, and the version of that.
const SUITE: &str = "trixie";
const SUITE_PYTHON: &str = "3.13";
/// Where the analyser and what it judges stand inside the root.
const IN_ROOT: &str = "opt/bsl";

/// The analyser, ready to run.
#[derive(Clone, Debug)]
pub struct Analyser {
    /// The Debian root, if it lives in one.
    root: Option<PathBuf>,
    /// Its folder of packages, as this computer sees it.
    packages: PathBuf,
}

impl Analyser {
    fn own(target: &Path) -> Self {
        Self { root: None, packages: target.join("bsl-venv") }
    }

    fn in_root(target: &Path) -> Self {
        let root = target.join("bsl-root");
        Self { packages: root.join(IN_ROOT), root: Some(root) }
    }

    /// The one that the set-up has made.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn find(target: &Path) -> Result<Self, StageError> {
        [Self::own(target), Self::in_root(target)]
            .into_iter()
            .find(|analyser| analyser.stamp().is_file())
            .ok_or_else(|| StageError::failed(format!("no {PROGRAM}; `cargo xtask test` makes it")))
    }

    /// Written last, so that an installation that was broken off is made again.
    fn stamp(&self) -> PathBuf {
        self.packages.join("installed.txt")
    }

    /// A program of the packages, run where they live.
    fn command(&self, program: &str) -> Command {
        match &self.root {
            None => Command::new(self.packages.join("bin").join(program)),
            Some(root) => {
                let mut command = Command::new("chroot");
                command.arg(root).arg(Path::new("/").join(IN_ROOT).join("bin").join(program));
                command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
                command.env("LANG", "C.UTF-8").env("HOME", "/root");
                command
            }
        }
    }

    /// What it says of modules, with names as they were given.
    pub(super) fn judge(&self, files: &[(String, Vec<u8>)]) -> Result<Vec<Finding>, StageError> {
        let folder = tempfile::Builder::new()
            .prefix("modules-")
            .tempdir_in(&self.packages)
            .map_err(|why| StageError::io(&self.packages, why))?;
        for (name, bytes) in files {
            let path = folder.path().join(name);
            if let Some(parent) = path.parent() {
                make_folder(parent)?;
            }
            std::fs::write(&path, bytes).map_err(|why| StageError::io(&path, why))?;
        }
        // The path as the analyser sees it, which is how it names files.
        let seen = match &self.root {
            None => {
                folder.path().canonicalize().map_err(|why| StageError::io(folder.path(), why))?
            }
            Some(_) => {
                let last = folder.path().file_name().unwrap_or_else(|| OsStr::new(""));
                Path::new("/").join(IN_ROOT).join(last)
            }
        };
        let mut command = self.command(PROGRAM);
        command.args(["check", "--no-config", "--format", "json"]).arg(&seen);
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|why| StageError::io(Path::new(PROGRAM), why))?;
        let failed = || {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            StageError::failed(format!("{PROGRAM} ended with {}: {said}", output.status))
        };
        // 1 says that there are findings.
        if !matches!(output.status.code(), Some(0 | 1)) {
            return Err(failed());
        }
        let mut found: Vec<Finding> =
            serde_json::from_slice(&output.stdout).map_err(|_| failed())?;
        for finding in &mut found {
            if let Ok(name) = Path::new(&finding.file).strip_prefix(&seen) {
                finding.file = name.to_string_lossy().into_owned();
            }
        }
        Ok(found)
    }
}

/// Makes the analyser unless it is there.
pub(crate) fn set_up(context: &Context, out: &mut dyn Write) -> Result<(), StageError> {
    let requirements = context.root.join("crates").join("xtask").join("requirements-bsl.txt");
    let wanted =
        std::fs::read_to_string(&requirements).map_err(|why| StageError::io(&requirements, why))?;
    if let Ok(analyser) = Analyser::find(&context.target)
        && is_made(&analyser.stamp(), &wanted)
    {
        return say(out, &format!("{PROGRAM}: there"));
    }
    let analyser = match python() {
        Some(python) => {
            let analyser = Analyser::own(&context.target);
            say(out, &format!("{PROGRAM}: making target/bsl-venv by {}", python.display()))?;
            python_packages(&python, &analyser.packages, &requirements, &[], out)?;
            analyser
        }
        None => {
            let analyser = Analyser::in_root(&context.target);
            say(
                out,
                &format!("{PROGRAM}: no Python 3.12 or later here; making one in target/bsl-root"),
            )?;
            debian_root(context, &analyser, &requirements, out)?;
            analyser
        }
    };
    let stamp = analyser.stamp();
    std::fs::write(&stamp, wanted).map_err(|why| StageError::io(&stamp, why))
}

/// A Python of this computer that is new enough.
fn python() -> Option<PathBuf> {
    let mut candidates: Vec<PathBuf> = PYTHONS.iter().map(PathBuf::from).collect();
    candidates.extend(of_pyenv());
    candidates.into_iter().find(|python| {
        Command::new(python)
            .args(["-c", PROBE])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

/// Those that pyenv keeps beside the chosen one.
fn of_pyenv() -> Vec<PathBuf> {
    let asked = Command::new("pyenv").arg("root").stdin(Stdio::null()).output();
    let Some(root) = asked.ok().filter(|output| output.status.success()) else {
        return Vec::new();
    };
    let root = PathBuf::from(String::from_utf8_lossy(&root.stdout).trim());
    let Ok(versions) = std::fs::read_dir(root.join("versions")) else { return Vec::new() };
    let mut found: Vec<PathBuf> = versions
        .flatten()
        .map(|version| version.path().join("bin").join("python3"))
        .filter(|python| python.is_file())
        .collect();
    found.sort();
    found
}

/// Makes the root and brings its packages.
fn debian_root(
    context: &Context,
    analyser: &Analyser,
    requirements: &Path,
    out: &mut dyn Write,
) -> Result<(), StageError> {
    let Some(root) = &analyser.root else { return Ok(()) };
    // SAFETY: a plain system call without arguments.
    let is_superuser = unsafe { libc::geteuid() } == 0;
    if !is_superuser {
        return Err(StageError::failed(format!(
            "{PROGRAM} needs Python 3.12 or later; install one, or run the checks once as root, \
             which makes a small Debian root with one"
        )));
    }
    let wheels = analyser.packages.join("wheels");
    let made = root.join("made.txt");
    if !made.is_file() {
        debian::make(root, SUITE, &["--include=python3,python3-venv"], out)?;
        std::fs::write(&made, SUITE).map_err(|why| StageError::io(&made, why))?;
    }
    make_folder(&wheels)?;
    let mut pip = Command::new(setup::venv(context).join("bin").join("python"));
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--python-version", SUITE_PYTHON, "--only-binary=:all:", "--dest"]);
    pip.arg(&wheels).arg("--requirement").arg(requirements);
    say(out, &format!("$ {}", shown(&pip)))?;
    succeed(pip)?;
    let text = wheels.join("requirements.txt");
    std::fs::copy(requirements, &text).map_err(|why| StageError::io(&text, why))?;
    let inside = Path::new("/").join(IN_ROOT);
    let mut venv = Command::new("chroot");
    venv.arg(root).args(["/usr/bin/python3", "-m", "venv"]).arg(&inside);
    say(out, &format!("$ {}", shown(&venv)))?;
    succeed(venv)?;
    let mut pip = analyser.command("python");
    pip.args(["-m", "pip", "install", "--quiet", "--no-index", "--find-links"]);
    pip.arg(inside.join("wheels")).arg("--requirement");
    pip.arg(inside.join("wheels").join("requirements.txt"));
    say(out, &format!("$ {}", shown(&pip)))?;
    succeed(pip)
}
