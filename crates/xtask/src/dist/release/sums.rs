//! `SHA256SUMS`: written and read as coreutils' sha256sum does, sorted by name.
//!
//! Says whether files are as listed, never by whom: that is the signature's part.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use licence_core::seal::{Digest, hex_upper};

use super::signature;
use crate::stage::StageError;

/// Name of the file.
pub const NAME: &str = "SHA256SUMS";

/// Most bytes of such a file. A release has some thirty files of a hundred bytes each.
const BYTES_MAX: u64 = 1024 * 1024;

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// Files that are as listed.
    pub fine: Vec<String>,
    /// All that is wrong, one sentence each.
    pub faults: Vec<String>,
}

/// SHA-256 of a file, in lower-case hex.
///
/// # Errors
///
/// When it cannot be read.
pub fn digest(path: &Path) -> Result<String, StageError> {
    /// Read at once: more does not make it faster.
    const PART: usize = 256 * 1024;
    let failed = |why| StageError::io(path, why);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut digest = Digest::default();
    let mut part = vec![0; PART];
    loop {
        let read = file.read(&mut part).map_err(failed)?;
        if read == 0 {
            return Ok(hex_upper(&digest.finish()).to_ascii_lowercase());
        }
        digest.add(part.get(..read).unwrap_or_default());
    }
}

/// Writes the sums of files that lie in a folder.
///
/// # Errors
///
/// When one lies elsewhere, two have one name, or one cannot be read.
pub fn write(folder: &Path, files: &[&Path]) -> Result<PathBuf, StageError> {
    let mut sums = BTreeMap::new();
    for file in files {
        let name = file.file_name().and_then(|name| name.to_str()).filter(|name| is_name(name));
        let name = name.filter(|_| file.parent() == Some(folder)).ok_or_else(|| {
            StageError::failed(format!("{} is no file of {}", file.display(), folder.display()))
        })?;
        if sums.insert(name, digest(file)?).is_some() {
            return Err(StageError::failed(format!("{name} is there twice")));
        }
    }
    let text: String = sums.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect();
    let path = folder.join(NAME);
    std::fs::write(&path, text).map_err(|why| StageError::io(&path, why))?;
    Ok(path)
}

/// Compares a folder with its sums. What is not listed is a fault: a file beside a signed list looks
/// as if it were signed.
///
/// # Errors
///
/// When the list or the folder cannot be read, or the list is not one.
pub fn check(folder: &Path) -> Result<Report, StageError> {
    let listed = read(&folder.join(NAME))?;
    let mut report = Report::default();
    for (name, sum) in &listed {
        let path = folder.join(name);
        if !path.is_file() {
            report.faults.push(format!("{name}: missing"));
        } else if digest(&path)? == *sum {
            report.fine.push(name.clone());
        } else {
            report.faults.push(format!("{name}: changed, its SHA-256 is not the listed one"));
        }
    }
    for name in names(folder)? {
        if !listed.contains_key(&name) && name != NAME && name != signature::NAME {
            report.faults.push(format!("{name}: not listed"));
        }
    }
    Ok(report)
}

/// Name and sum of each listed file.
fn read(path: &Path) -> Result<BTreeMap<String, String>, StageError> {
    let failed = |why| StageError::io(path, why);
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text))
        .map_err(failed)?;
    let mut listed = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        // Two blanks, or a blank and a star for what was read as binary.
        let parts = line.split_once(' ').and_then(|(sum, name)| {
            let name = name.strip_prefix(' ').or_else(|| name.strip_prefix('*'))?;
            let is_sum = sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_hexdigit());
            (is_sum && is_name(name)).then(|| (name.to_owned(), sum.to_ascii_lowercase()))
        });
        let at = || format!("{}, line {}", path.display(), index + 1);
        let (name, sum) = parts.ok_or_else(|| {
            StageError::failed(format!("{}: expected a SHA-256 and a file name", at()))
        })?;
        if listed.insert(name, sum).is_some() {
            return Err(StageError::failed(format!("{}: a file is listed twice", at())));
        }
    }
    if listed.is_empty() {
        return Err(StageError::failed(format!("{} lists nothing", path.display())));
    }
    Ok(listed)
}

/// A plain file name: nothing that leads elsewhere, nothing that sha256sum would write in its escaped form.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        && !name.chars().any(|c| c.is_control() || c == '/' || c == '\\')
}

/// Names in a folder, in order.
fn names(folder: &Path) -> Result<Vec<String>, StageError> {
    let failed = |why| StageError::io(folder, why);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
