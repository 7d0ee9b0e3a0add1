//! The files of a Linux package, as a folder: names, modes, and one moment for all of them.
//!
//! What belongs into a package is decided in `super::contents`; who reads the folder, in `super::deb`
//! and `super::rpm`. Owners are theirs too: everything belongs to root.

use std::fs::{File, FileTimes, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::build::shown;
use crate::stage::{StageError, copy_file, write_file};

/// A folder with the files of a package.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    /// Files and links with their names on the system where the package is installed, in the order in
    /// which they were added.
    names: Vec<String>,
}

impl Tree {
    /// An empty one in `root`, which is emptied.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made.
    pub fn new(root: &Path) -> Result<Self, StageError> {
        empty(root)?;
        Ok(Self { root: root.to_owned(), names: Vec::new() })
    }

    /// Where it lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The names of files and links, each absolute.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Adds a file with this text.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn text(&mut self, name: &str, text: &str, mode: u32) -> Result<(), StageError> {
        let path = self.add(name)?;
        write_file(&path, text)?;
        set_mode(&path, mode)
    }

    /// Adds a file with this text, compressed; `.gz` is added to the name.
    ///
    /// # Errors
    ///
    /// When it cannot be written or gzip fails.
    pub fn compressed(&mut self, name: &str, text: &str) -> Result<(), StageError> {
        let packed = self.add(&format!("{name}.gz"))?;
        let plain = packed.with_extension("");
        write_file(&plain, text)?;
        // Without name and time of the plain file.
        let mut gzip = Command::new("gzip");
        gzip.arg("-9n").arg(&plain);
        output(gzip)?;
        set_mode(&packed, 0o644)
    }

    /// Adds a copy of a file.
    ///
    /// # Errors
    ///
    /// When it cannot be copied.
    pub fn file(&mut self, name: &str, from: &Path, mode: u32) -> Result<(), StageError> {
        let path = self.add(name)?;
        copy_file(from, &path)?;
        set_mode(&path, mode)
    }

    /// Adds a copy of a program or library without the symbols that only a debugger wants.
    ///
    /// # Errors
    ///
    /// When it cannot be copied.
    pub fn stripped(&mut self, name: &str, from: &Path, mode: u32) -> Result<(), StageError> {
        let path = self.add(name)?;
        let mut strip = Command::new("strip");
        strip.args(["--strip-unneeded", "--remove-section=.comment", "-o"]).arg(&path).arg(from);
        output(strip)?;
        set_mode(&path, mode)
    }

    /// Adds a link to a file, by its absolute name on the system.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn link(&mut self, name: &str, to: &str) -> Result<(), StageError> {
        let path = self.add(name)?;
        symlink(to, &path).map_err(|why| StageError::io(&path, why))
    }

    fn add(&mut self, name: &str) -> Result<PathBuf, StageError> {
        let path = self.root.join(name.trim_start_matches('/'));
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|why| StageError::io(folder, why))?;
        }
        self.names.push(name.to_owned());
        Ok(path)
    }

    /// Bytes of all files.
    ///
    /// # Errors
    ///
    /// When one cannot be looked at.
    pub fn bytes(&self) -> Result<u64, StageError> {
        let mut sum = 0;
        for name in &self.names {
            let path = self.root.join(name.trim_start_matches('/'));
            let found =
                std::fs::symlink_metadata(&path).map_err(|why| StageError::io(&path, why))?;
            // As Debian counts: whole KiB for each entry.
            sum += found.len().div_ceil(1024).max(1) * 1024;
        }
        Ok(sum)
    }

    /// Gives everything in it the moment and folders their mode, whatever the umask of who builds.
    ///
    /// # Errors
    ///
    /// When a file cannot be changed.
    pub fn date(&self, moment: u64) -> Result<(), StageError> {
        date(&self.root, SystemTime::UNIX_EPOCH + Duration::from_secs(moment))
    }
}

/// Makes a folder, or empties it.
///
/// # Errors
///
/// When it cannot be done.
pub fn empty(folder: &Path) -> Result<(), StageError> {
    let failed = |why| StageError::io(folder, why);
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(failed)?;
    }
    std::fs::create_dir_all(folder).map_err(failed)
}

/// Runs a program to its end and gives what it printed.
///
/// # Errors
///
/// When it cannot be started or does not succeed; what it said is told.
pub fn output(mut command: Command) -> Result<String, StageError> {
    let name = shown(&command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|why| StageError::io(Path::new(command.get_program()), why))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(StageError::failed(format!("`{name}` ended with {}: {}", output.status, said.trim())))
}

fn set_mode(path: &Path, mode: u32) -> Result<(), StageError> {
    std::fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(|why| StageError::io(path, why))
}

/// Links keep their own time: packers take no more than the moment that they are given.
fn date(folder: &Path, moment: SystemTime) -> Result<(), StageError> {
    set_mode(folder, 0o755)?;
    for entry in std::fs::read_dir(folder).map_err(|why| StageError::io(folder, why))? {
        let path = entry.map_err(|why| StageError::io(folder, why))?.path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            date(&path, moment)?;
        } else {
            stamp(&path, moment)?;
        }
    }
    stamp(folder, moment)
}

fn stamp(path: &Path, moment: SystemTime) -> Result<(), StageError> {
    let times = FileTimes::new().set_modified(moment).set_accessed(moment);
    File::open(path).and_then(|file| file.set_times(times)).map_err(|why| StageError::io(path, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_links_and_folders_get_their_names_modes_and_moment() {
        let folder = tempfile::tempdir().unwrap();
        let mut tree = Tree::new(&folder.path().join("tree")).unwrap();
        tree.text("/opt/x/program", "text", 0o755).unwrap();
        tree.compressed("/usr/share/doc/x/changelog", "text").unwrap();
        tree.link("/usr/bin/program", "/opt/x/program").unwrap();
        tree.date(1_000_000_000).unwrap();
        assert_eq!(
            tree.names(),
            ["/opt/x/program", "/usr/share/doc/x/changelog.gz", "/usr/bin/program"]
        );
        for (name, mode) in
            [("opt", 0o755), ("opt/x/program", 0o755), ("usr/share/doc/x/changelog.gz", 0o644)]
        {
            let found = std::fs::metadata(tree.root().join(name)).unwrap();
            assert_eq!(found.permissions().mode() & 0o7777, mode, "{name}");
            let age = found.modified().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(age.as_secs(), 1_000_000_000, "{name}");
        }
        assert_eq!(tree.bytes().unwrap(), 3 * 1024);
        // What another run has left is not packed.
        assert!(!Tree::new(tree.root()).unwrap().root().join("opt").exists());
    }

    #[test]
    fn program_that_fails_is_named_with_what_it_said() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo reason >&2; exit 3"]);
        let error = output(shell).unwrap_err().to_string();
        assert!(error.contains("reason") && error.contains("sh -c"), "{error}");
    }
}
