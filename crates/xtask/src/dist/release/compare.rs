//! Two folders of packages that should be the same: what differs, down to the members of a package.
//!
//! Packages are opened by the programs that made them (`dpkg-deb`, `rpm`), archives by crates. Decides
//! nothing about why; docs/release.md lists the usual causes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use licence_core::seal::{hex_upper, sha256};
use object::{Object as _, ObjectSection as _};

use super::{signature, sums};
use crate::build::{say, shown};
use crate::stage::StageError;

/// Most bytes of an unpacked archive; a package has some 60 MiB.
const UNPACKED_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Members as one line of facts each, by name.
type Members = BTreeMap<String, String>;

/// Compares and prints.
///
/// # Errors
///
/// When the folders differ or cannot be read.
pub fn run(one: &Path, other: &Path, out: &mut dyn Write) -> Result<(), StageError> {
    let differences = compare(one, other)?;
    for line in &differences {
        say(out, line)?;
    }
    if differences.is_empty() {
        say(out, &format!("{} and {}: the same", one.display(), other.display()))
    } else {
        Err(StageError::failed(format!("{} and {} differ", one.display(), other.display())))
    }
}

/// All differences, one line each; none when the folders are the same. Signatures are left out: each
/// is made with fresh random numbers. A folder without a file is an error, because it proves nothing.
///
/// # Errors
///
/// When a folder cannot be read or has no file.
pub fn compare(one: &Path, other: &Path) -> Result<Vec<String>, StageError> {
    let (left, right) = (files(one)?, files(other)?);
    for (folder, files) in [(one, &left), (other, &right)] {
        if files.is_empty() {
            return Err(StageError::failed(format!("{} has no file", folder.display())));
        }
    }
    let mut lines = Vec::new();
    for name in left.union(&right) {
        match (left.contains(name), right.contains(name)) {
            (true, false) => lines.push(format!("{name}: only in {}", one.display())),
            (false, true) => lines.push(format!("{name}: only in {}", other.display())),
            _ => {
                let (a, b) = (one.join(name), other.join(name));
                if sums::digest(&a)? != sums::digest(&b)? {
                    lines.push(format!("{name}: differs"));
                    lines.extend(inside(&a, &b)?.into_iter().map(|line| format!("  {line}")));
                }
            }
        }
    }
    Ok(lines)
}

/// Names of all files below a folder, with slashes.
fn files(folder: &Path) -> Result<BTreeSet<String>, StageError> {
    let mut found = BTreeSet::new();
    let mut left = vec![PathBuf::new()];
    while let Some(below) = left.pop() {
        let here = folder.join(&below);
        let failed = |why| StageError::io(&here, why);
        for entry in std::fs::read_dir(&here).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = below.join(entry.file_name());
            if entry.file_type().map_err(failed)?.is_dir() {
                left.push(name);
            } else if entry.file_name() != signature::NAME {
                found.insert(name.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    Ok(found)
}

/// What differs inside two files of one name.
fn inside(one: &Path, other: &Path) -> Result<Vec<String>, StageError> {
    let lines = match (members(one)?, members(other)?) {
        (Some(left), Some(right)) => of_members(&left, &right),
        _ => of_bytes(&read(one)?, &read(other)?),
    };
    if lines.is_empty() {
        // The members are alike: it is in the packing.
        return Ok(of_bytes(&read(one)?, &read(other)?));
    }
    Ok(lines)
}

fn read(path: &Path) -> Result<Vec<u8>, StageError> {
    std::fs::read(path).map_err(|why| StageError::io(path, why))
}

fn of_members(left: &Members, right: &Members) -> Vec<String> {
    let names: BTreeSet<_> = left.keys().chain(right.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| match (left.get(name), right.get(name)) {
            (Some(a), Some(b)) if a == b => None,
            (Some(a), Some(b)) => Some(format!("{name}: {a} and {b}")),
            (Some(_), None) => Some(format!("{name}: only in the first")),
            _ => Some(format!("{name}: only in the second")),
        })
        .collect()
}

/// Lengths, the first byte that differs, and the section of a program that it lies in.
fn of_bytes(left: &[u8], right: &[u8]) -> Vec<String> {
    if left == right {
        return Vec::new();
    }
    let mut lines = Vec::new();
    if left.len() != right.len() {
        lines.push(format!("{} and {} bytes", left.len(), right.len()));
    }
    let alike = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    let differing = left.iter().zip(right).filter(|(a, b)| a != b).count();
    let section = section_at(left, alike).map(|name| format!(", in {name}")).unwrap_or_default();
    lines.push(format!("{differing} bytes differ, the first at {alike:#x}{section}"));
    lines
}

fn section_at(bytes: &[u8], at: usize) -> Option<String> {
    let file = object::File::parse(bytes).ok()?;
    let at = u64::try_from(at).ok()?;
    let section = file.sections().find(|section| {
        section.file_range().is_some_and(|(start, size)| (start..start + size).contains(&at))
    })?;
    section.name().ok().map(str::to_owned)
}

/// What lies in a package or archive; nothing for other files.
fn members(path: &Path) -> Result<Option<Members>, StageError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.ends_with(".deb") {
        let mut members = Members::new();
        for (part, option) in [("control", "--ctrl-tarfile"), ("data", "--fsys-tarfile")] {
            let tar = ask(Command::new("dpkg-deb").arg(option).arg(path))?;
            of_tar(&tar, &format!("{part}/"), path, &mut members)?;
        }
        Ok(Some(members))
    } else if name.ends_with(".rpm") {
        of_rpm(path).map(Some)
    } else if name.ends_with(".tar.gz") {
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(Cursor::new(read(path)?))
            .take(UNPACKED_BYTES_MAX)
            .read_to_end(&mut tar)
            .map_err(|why| StageError::io(path, why))?;
        let mut members = Members::new();
        of_tar(&tar, "", path, &mut members)?;
        Ok(Some(members))
    } else if name.ends_with(".zip") {
        of_zip(path).map(Some)
    } else {
        Ok(None)
    }
}

fn ask(command: &mut Command) -> Result<Vec<u8>, StageError> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|why| StageError::io(Path::new(command.get_program()), why))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(StageError::failed(format!("`{}` failed: {said}", shown(command))))
    }
}

/// Enough of a digest to tell two contents apart by eye.
fn short(bytes: &[u8]) -> String {
    hex_upper(&sha256(bytes)).chars().take(12).collect::<String>().to_ascii_lowercase()
}

fn of_tar(tar: &[u8], before: &str, path: &Path, members: &mut Members) -> Result<(), StageError> {
    let failed = |why| StageError::io(path, why);
    let mut archive = tar::Archive::new(Cursor::new(tar));
    for (order, entry) in archive.entries().map_err(failed)?.enumerate() {
        let mut entry = entry.map_err(failed)?;
        let name = entry.path().map_err(failed)?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(failed)?;
        let header = entry.header();
        let facts = format!(
            "place {order}, mode {:o}, owner {}:{}, time {}, {} bytes of {}",
            header.mode().map_err(failed)?,
            header.uid().map_err(failed)?,
            header.gid().map_err(failed)?,
            header.mtime().map_err(failed)?,
            bytes.len(),
            short(&bytes)
        );
        members.insert(format!("{before}{name}"), facts);
    }
    Ok(())
}

fn of_zip(path: &Path) -> Result<Members, StageError> {
    let failed =
        |why: zip::result::ZipError| StageError::failed(format!("{}: {why}", path.display()));
    let mut archive = zip::ZipArchive::new(Cursor::new(read(path)?)).map_err(failed)?;
    let mut members = Members::new();
    for index in 0..archive.len() {
        let file = archive.by_index(index).map_err(failed)?;
        let name = file.name().map_err(failed)?.into_owned();
        let (mode, time) = (file.unix_mode(), file.last_modified().map(|time| time.to_string()));
        let mut bytes = Vec::new();
        file.take(UNPACKED_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(|why| StageError::io(path, why))?;
        let facts = format!(
            "place {index}, mode {mode:?}, time {time:?}, {} bytes of {}",
            bytes.len(),
            short(&bytes)
        );
        members.insert(name, facts);
    }
    Ok(members)
}

/// Tags and files as rpm itself tells of them; where `rpm` is missing, its words say so.
fn of_rpm(path: &Path) -> Result<Members, StageError> {
    /// Tags that differ where two builds differ without a file being another one.
    const TAGS: &str = "%{BUILDTIME} %{BUILDHOST} %{PAYLOADCOMPRESSOR} %{PAYLOADDIGEST}";
    let query = |format: &str| {
        let mut rpm = Command::new("rpm");
        rpm.args(["-q", "--nosignature", "--queryformat", format, "-p"]).arg(path);
        ask(&mut rpm).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    let mut members = Members::new();
    members.insert("header".to_owned(), query(TAGS)?);
    members.insert("scripts".to_owned(), {
        let mut rpm = Command::new("rpm");
        rpm.args(["-q", "--nosignature", "--scripts", "-p"]).arg(path);
        short(&ask(&mut rpm)?)
    });
    let files = query(
        "[%{FILENAMES}\\t%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} time %{FILEMTIMES} \
         %{FILESIZES} bytes of %{FILEDIGESTS}\\n]",
    )?;
    for line in files.lines() {
        let (name, facts) = line.split_once('\t').unwrap_or((line, ""));
        members.insert(name.to_owned(), facts.to_owned());
    }
    Ok(members)
}
