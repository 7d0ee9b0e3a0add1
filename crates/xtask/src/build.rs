//! Builds the programs that play on the stage, into the folder that this program was built into.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::stage::{Bins, StageError};

/// Packages whose programs or libraries play on the stage.
pub(crate) const PACKAGES: [&str; 5] =
    ["licenceserver", "licencecentre", "licencekit", "licenceaddin", "example-client"];

/// Root of the workspace.
///
/// # Errors
///
/// When this program is run neither by cargo nor below the workspace.
pub fn workspace() -> Result<PathBuf, StageError> {
    let start = match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => std::env::current_dir().map_err(|why| StageError::io(Path::new("."), why))?,
    };
    start
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").is_file())
        .map(Path::to_owned)
        .ok_or_else(|| StageError::failed("no Cargo.lock here or above: not in the workspace"))
}

/// The cargo that runs us, without what it told us of our own package.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    forget_own_package(&mut cargo);
    cargo
}

/// Takes out what cargo told us of our own package: build scripts of dependencies watch these variables,
/// and would run again each time we and a person take turns.
pub(crate) fn forget_own_package(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let is_ours = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if is_ours {
            command.env_remove(name);
        }
    }
}

/// Builds everything, saying what it does.
///
/// # Errors
///
/// When a compiler is missing or refuses.
pub fn run(out: &mut dyn Write) -> Result<(), StageError> {
    let root = workspace()?;
    let bins = Bins::find()?;
    let mut build = cargo();
    build.current_dir(&root).args(["build", "--quiet"]);
    for package in PACKAGES {
        build.args(["--package", package]);
    }
    if bins.folder().file_name().is_some_and(|profile| profile == "release") {
        build.arg("--release");
    }
    build.arg("--target-dir").arg(bins.target());
    say(out, &format!("building {}", PACKAGES.join(", ")))?;
    succeed(build)?;
    say(out, "building licencehost by g++")?;
    host(&root, &bins)
}

/// Builds the C++ host.
///
/// # Errors
///
/// When g++ is missing or refuses.
pub fn host(root: &Path, bins: &Bins) -> Result<(), StageError> {
    let mut build = Command::new("sh");
    build.arg(root.join("addin-native-api").join("build-host.sh"));
    build.arg(bins.folder().join("licencehost"));
    succeed(build)
}

/// Runs a command whose output goes where ours goes.
///
/// # Errors
///
/// When it cannot be started or does not succeed.
pub(crate) fn succeed(mut command: Command) -> Result<(), StageError> {
    let shown = shown(&command);
    let status =
        command.status().map_err(|why| StageError::io(Path::new(command.get_program()), why))?;
    if status.success() {
        Ok(())
    } else {
        Err(StageError::failed(format!("`{shown}` ended with {status}")))
    }
}

/// A command line as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let path = command.get_program();
    std::iter::once(Path::new(path).file_name().unwrap_or(path))
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Prints a line.
///
/// # Errors
///
/// When nobody reads it any more.
pub(crate) fn say(out: &mut dyn Write, line: &str) -> Result<(), StageError> {
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|why| StageError::io(Path::new("standard output"), why))
}
