//! Running scripts in the C++ host.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use licence_core::seal::{Jwk, SigningKey, hex_upper, sha256};
use licence_core::series::SeriesDescriptor;
use tempfile::TempDir;

use crate::common::library;

/// A home folder for the host: room for the component's settings and log.
pub(crate) struct Host {
    dir: TempDir,
    program: PathBuf,
}

/// The host, compiled by the script that everybody uses. Kept from run to run under the digest of
/// its sources; two processes that compile it at a time both finish, the last one stays. Tests of one
/// process wait for each other.
fn program() -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../addin-native-api");
    let mut all = Vec::new();
    for folder in ["", "host", "host/bare", "include"] {
        let mut files: Vec<PathBuf> = std::fs::read_dir(sources.join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .collect();
        files.sort();
        for file in files {
            all.extend(std::fs::read(file).unwrap());
        }
    }
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let digest = hex_upper(&sha256(&all));
    let program = kept.join(format!("licencehost-{digest}"));
    if !program.exists() {
        let fresh = kept.join(format!("licencehost-{digest}.{}", std::process::id()));
        let status = Command::new("sh")
            .arg(sources.join("build-host.sh"))
            .arg(&fresh)
            .status()
            .expect("a shell and a C++ compiler are needed");
        assert!(status.success());
        std::fs::rename(fresh, &program).unwrap();
    }
    program
}

impl Host {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), program: program() }
    }

    /// A host whose process has another name. A second name of the program, and not a copy: one
    /// that somebody writes cannot be run.
    pub(crate) fn named(name: &str) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let named = dir.path().join(name);
        std::fs::hard_link(program(), &named).unwrap();
        Self { dir, program: named }
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.path().join(".1C/licence/3.0/logs")
    }

    /// Where the settings for all users are looked for; not made.
    pub(crate) fn common(&self) -> PathBuf {
        self.dir.path().join("common")
    }

    /// Where an installed component is looked for; not made.
    pub(crate) fn installed(&self) -> PathBuf {
        self.dir.path().join("installed")
    }

    /// Runs a script with the built library.
    pub(crate) fn run(&self, script: &str) -> Vec<String> {
        self.run_library(&library(), script)
    }

    /// Runs a script: the lines printed. The host itself must find nothing leaked. A program named
    /// in `LICENCE_HOST_RUNNER`, such as `valgrind -q --error-exitcode=9`, runs the host.
    pub(crate) fn run_library(&self, library: &Path, script: &str) -> Vec<String> {
        let mut command = match std::env::var("LICENCE_HOST_RUNNER") {
            Ok(runner) => {
                let mut words = runner.split_whitespace();
                let mut command = Command::new(words.next().unwrap());
                command.args(words).arg(&self.program);
                command
            }
            Err(_) => Command::new(&self.program),
        };
        let mut child = command
            .arg(library)
            .env("HOME", self.dir.path())
            .env("LICENCEADDIN_INSTALLED_DIR", self.installed())
            .env("LICENCEADDIN_COMMON_DIR", self.common())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{:?}\n{text}", output.status);
        text.lines().map(str::to_owned).collect()
    }
}

/// The descriptor of series 672B whose licences `key` signs, quoted for a script.
pub(crate) fn descriptor(key: &SigningKey) -> String {
    quoted(&serde_json::to_string(&series_descriptor(key)).unwrap())
}

/// The descriptor of series 672B whose licences `key` signs.
pub(crate) fn series_descriptor(key: &SigningKey) -> SeriesDescriptor {
    let key = key.public();
    let object = Jwk { crv: "X25519".to_owned(), ..key.jwk() };
    let series = "672B".parse().unwrap();
    SeriesDescriptor::new(series, "Тест".to_owned(), None, key, object)
}

/// A text as a script writes it.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
