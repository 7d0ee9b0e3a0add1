//! One look at the folder: which data files are there, and what is in those that are other ones than
//! before.
//!
//! Blocks on the disk, so never on an async thread. Reads the list of a file and no object.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use licence_core::datafile::{
    DATAFILE_BYTES_MAX, Datafile, DatafileError, LIST_BYTES_MAX, MAGIC, ObjectList, check_name,
};
use licence_core::key::KeySeries;
use licence_core::language::Language;
use licence_core::seal::PublicKey;
use licence_core::time::Utc;

use super::{Contents, FILES_MAX, Known, Listing, Problem, shown_name};

/// How the names of all data files end, in any case.
const EXTENSION: &str = ".datafile";

/// By what a file is told from the one that was read before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
    /// Device, inode and time of the last change of the inode, where there are such: a file that
    /// was replaced within one tick of the clock, or whose time was set back, has others.
    place: (u64, u64, i64, i64),
}

impl Stamp {
    pub(super) fn of(data: &Metadata) -> Self {
        Self { bytes: data.len(), modified: data.modified().ok(), place: place(data) }
    }

    fn changed(&self) -> Option<Utc> {
        self.modified.map(|at| Utc::from(time::OffsetDateTime::from(at)))
    }
}

#[cfg(unix)]
fn place(data: &Metadata) -> (u64, u64, i64, i64) {
    use std::os::unix::fs::MetadataExt;
    (data.dev(), data.ino(), data.ctime(), data.ctime_nsec())
}

#[cfg(not(unix))]
fn place(_: &Metadata) -> (u64, u64, i64, i64) {
    (0, 0, 0, 0)
}

/// Looks at the folder. A missing one is empty.
pub(super) fn folder(
    folder: &Path,
    keys: &BTreeMap<KeySeries, PublicKey>,
    before: &Listing,
) -> io::Result<Listing> {
    let mut paths = Vec::new();
    match fs::read_dir(folder) {
        Ok(entries) => {
            for entry in entries {
                let path = entry?.path();
                if stem(&shown_name(&path)).is_some() {
                    paths.push(path);
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // In a certain order, so that of two names that differ by their case the same one always counts.
    paths.sort();
    let mut listing = Listing::default();
    for (number, path) in paths.into_iter().enumerate() {
        let file_name = shown_name(&path);
        let named = stem(&file_name).and_then(parts);
        let name = named.map(|(series, alias)| (series, alias.map(str::to_lowercase)));
        let first = name.as_ref().and_then(|name| listing.files.get(name));
        let known = match (named, first) {
            _ if number >= FILES_MAX => {
                Arc::new(unusable(path, None, None, Problem::TooMany(FILES_MAX)))
            }
            (None, _) => Arc::new(unusable(path, None, None, Problem::Name)),
            (Some(named), Some(first)) => {
                let same = Problem::SameName(first.file_name.clone());
                Arc::new(unusable(path, Some(named), keys.get(&named.0).copied(), same))
            }
            (Some(named), None) => look_at(path, named, keys, before),
        };
        note(&known, before);
        match (&known.contents, name) {
            (Err(Problem::Name | Problem::SameName(_) | Problem::TooMany(_)), _) | (_, None) => {
                listing.others.push(known);
            }
            (_, Some(name)) => {
                listing.files.insert(name, known);
            }
        }
    }
    Ok(listing)
}

/// Says in the log what is there for the first time, or is wrong in another way than before.
fn note(known: &Arc<Known>, before: &Listing) {
    let earlier = before.all().find(|earlier| earlier.path == known.path);
    if earlier.is_some_and(|earlier| is_same(earlier, known)) {
        return;
    }
    match &known.contents {
        Ok(contents) => log::info!(
            "data file {} has {} objects, version {}",
            known.file_name,
            contents.list.objects.len(),
            contents.version.get(..12).unwrap_or_default()
        ),
        Err(problem) => {
            let reason = problem.text(Language::English);
            log::warn!("data file not used, file={}, reason={reason}", known.file_name);
        }
    }
}

fn is_same(one: &Known, other: &Known) -> bool {
    match (&one.contents, &other.contents) {
        (Ok(one), Ok(other)) => one.version == other.version,
        (Err(one), Err(other)) => one == other,
        _ => false,
    }
}

/// The name without its extension; nothing for a file that is none of ours.
fn stem(name: &str) -> Option<&str> {
    let at = name.len().checked_sub(EXTENSION.len())?;
    let (stem, extension) = (name.get(..at)?, name.get(at..)?);
    extension.eq_ignore_ascii_case(EXTENSION).then_some(stem)
}

/// Series and alias of a name without its extension.
fn parts(stem: &str) -> Option<(KeySeries, Option<&str>)> {
    let (series, alias) = match stem.split_once('.') {
        Some((series, alias)) => (series, Some(alias)),
        None => (stem, None),
    };
    if alias.is_some_and(|alias| check_name(alias).is_err()) {
        return None;
    }
    Some((series.parse().ok()?, alias))
}

/// Series and alias of a file's name.
type Named<'a> = (KeySeries, Option<&'a str>);

fn look_at(
    path: PathBuf,
    named: Named<'_>,
    keys: &BTreeMap<KeySeries, PublicKey>,
    before: &Listing,
) -> Arc<Known> {
    let (series, alias) = named;
    let key = keys.get(&series).copied();
    let data = match fs::metadata(&path) {
        Ok(data) if data.is_file() => data,
        // Opening a pipe would wait for whoever writes it.
        Ok(_) => return Arc::new(unusable(path, Some(named), key, Problem::NoFile)),
        Err(error) => {
            let problem = Problem::Read(error.to_string());
            return Arc::new(unusable(path, Some(named), key, problem));
        }
    };
    let stamp = Stamp::of(&data);
    if let Some(earlier) = before.find(series, alias)
        && earlier.path == path
        && earlier.stamp.as_ref() == Some(&stamp)
        && earlier.key == key
        && !matches!(earlier.contents, Err(Problem::Read(_)))
    {
        return Arc::clone(earlier);
    }
    let contents = match key {
        None => Err(Problem::Series(series)),
        Some(key) => contents(&path, series, &key),
    };
    Arc::new(Known {
        file_name: shown_name(&path),
        series: Some(series),
        alias: alias.map(str::to_owned),
        bytes: stamp.bytes,
        changed: stamp.changed(),
        contents,
        path,
        stamp: Some(stamp),
        key,
    })
}

fn unusable(
    path: PathBuf,
    named: Option<Named<'_>>,
    key: Option<PublicKey>,
    problem: Problem,
) -> Known {
    let stamp = fs::metadata(&path).ok().map(|data| Stamp::of(&data));
    let (series, alias) = named.unzip();
    Known {
        file_name: shown_name(&path),
        series,
        alias: alias.flatten().map(str::to_owned),
        bytes: stamp.as_ref().map_or(0, |stamp| stamp.bytes),
        changed: stamp.as_ref().and_then(Stamp::changed),
        contents: Err(problem),
        path,
        stamp,
        key,
    }
}

/// Opens a file for reading and waits for nobody: where a pipe has taken the place of a file since it
/// was looked at, opening it plainly would hold a thread until somebody writes.
#[cfg(unix)]
pub(super) fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
}

#[cfg(not(unix))]
pub(super) fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Reads the list of a file and verifies it.
fn contents(path: &Path, series: KeySeries, key: &PublicKey) -> Result<Contents, Problem> {
    let failed = |error: io::Error| Problem::Read(error.to_string());
    let file = open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    if bytes > DATAFILE_BYTES_MAX {
        return Err(Problem::too_large());
    }
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    let mut start = Vec::new();
    reader.by_ref().take(MAGIC.len() as u64).read_to_end(&mut start).map_err(failed)?;
    if start != MAGIC {
        return Err(Problem::Invalid(DatafileError::Format));
    }
    // The list and its end; one that is longer than a list may be has no end here.
    let mut line = reader.take(LIST_BYTES_MAX as u64 + 1);
    line.read_until(b'\n', &mut start).map_err(failed)?;
    let read = Datafile::read(&start, bytes, series, key).map_err(Problem::Invalid)?;
    Ok(Contents {
        version: ObjectList::version(&read.token),
        token: read.token,
        list: read.list,
        body_offset: read.body_offset,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn pipe_in_the_place_of_a_data_file_holds_up_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("672B.datafile");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        assert_eq!(open(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "x").unwrap();
        assert!(open(&path).is_ok());
    }

    #[test]
    fn names_of_data_files_have_a_series_and_maybe_an_alias() {
        let series = KeySeries::from_u16(0x672B);
        for (name, expected) in [
            ("672B.datafile", Some((series, None))),
            ("672b.DataFile", Some((series, None))),
            ("672B.Extension.datafile", Some((series, Some("Extension")))),
            ("672B.Расширение.datafile", Some((series, Some("Расширение")))),
            ("672B.a.b.datafile", None),
            ("672B..datafile", None),
            ("672B. a.datafile", None),
            ("6728B.datafile", None),
            (".datafile", None),
            ("Extension.672B.datafile", None),
        ] {
            let found = stem(name).and_then(parts);
            assert_eq!(found, expected, "{name}");
        }
        for other in ["672B.7131766.licence", "datafile", "672B.datafile.bak", "ж", ""] {
            assert_eq!(stem(other), None, "{other}");
        }
    }
}
