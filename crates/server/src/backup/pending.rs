//! Puts a checked archive in the place of the present data when the server starts.
//!
//! The step that has been reached stands in a small file, written before the step is taken; every
//! step can be taken again. So a crash in the middle is finished at the next start:
//!
//! | state | what the next start does |
//! | --- | --- |
//! | none | nothing; leftovers of an upload are removed |
//! | `staged` | begins: moves the present files aside |
//! | `moving NAME` | moves what is still there aside, goes on |
//! | `placing NAME` | moves what is still staged to its place, goes on |
//! | `placed NAME` | nothing; [`confirm`] ends it when the server has started, [`undo`] when it cannot |
//! | `undoing NAME` | moves what is still there of the restored files out, goes on |
//! | `returning NAME` | moves what is still aside of the files from before back |

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use licence_core::causes::with_causes;
use licence_core::time::Utc;

use super::BackupError;
use super::archive;
use super::members::{self, CONF, DATABASE};
use crate::atomic_file::{self, Readers, sync_folder};
use crate::config::{DEFAULT_SERIES_FILE, Source as _};
use crate::paths::Paths;
use crate::store::lock::{DataLock, LockError};

fn folder(paths: &Paths) -> PathBuf {
    paths.settings().join("restore")
}

fn state_file(paths: &Paths) -> PathBuf {
    folder(paths).join("state")
}

fn pending(paths: &Paths) -> PathBuf {
    folder(paths).join("pending")
}

/// Where an archive is received.
pub fn upload(paths: &Paths) -> PathBuf {
    folder(paths).join("upload.tar")
}

/// Checks an archive and stages it for the next start.
///
/// # Errors
///
/// See [`BackupError`]; then nothing is staged.
pub fn stage(paths: &Paths, file: &Path) -> Result<members::Manifest, BackupError> {
    let manifest = prepare(paths, file)?;
    arm(paths)?;
    Ok(manifest)
}

/// Unpacks and checks an archive. Nothing comes of it until [`arm`].
///
/// # Errors
///
/// See [`BackupError`]; then nothing is left of it.
pub fn prepare(paths: &Paths, file: &Path) -> Result<members::Manifest, BackupError> {
    let into = pending(paths);
    if state(paths).is_some_and(|state| state != "staged") {
        return Err(BackupError::archive("archive", "another restore is being finished"));
    }
    forget(paths)?;
    match archive::unpack(file, &into) {
        Ok(manifest) => Ok(manifest),
        Err(error) => {
            remove_folder(&into)?;
            Err(error)
        }
    }
}

/// Lets the next start take what [`prepare`] has unpacked.
///
/// # Errors
///
/// See [`BackupError`]; then the next start takes nothing.
pub fn arm(paths: &Paths) -> Result<(), BackupError> {
    set_state(paths, "staged").inspect_err(|_| {
        if let Err(error) = discard(paths) {
            log::warn!("a restore that was given up is left: {}", with_causes(&error));
        }
    })
}

/// Removes what [`prepare`] has unpacked.
///
/// # Errors
///
/// See [`BackupError`].
pub fn discard(paths: &Paths) -> Result<(), BackupError> {
    if state(paths).is_some_and(|state| state != "staged") {
        return Ok(());
    }
    forget(paths)
}

/// Whether something waits for the next start, or was not ended.
pub fn is_pending(paths: &Paths) -> bool {
    state(paths).is_some()
}

/// Takes the steps that are left before the server opens its data. Returns the folder with the
/// files from before when a restore was placed.
///
/// # Errors
///
/// See [`BackupError`]; the next start tries again.
pub fn apply(paths: &Paths, now: Utc) -> Result<Option<PathBuf>, BackupError> {
    let Some(mut reached) = state(paths) else { return Ok(None) };
    let _lock = DataLock::take(&paths.database()).map_err(|error| match error {
        LockError::InUse { .. } => BackupError::InUse,
        LockError::Io { path, source } => BackupError::Io { path, source },
    })?;
    loop {
        let (step, name) = reached.split_once(' ').unwrap_or((&reached, ""));
        let aside = paths.settings().join(name);
        reached = match step {
            "staged" => format!("moving before-restore-{}", stamp(now)),
            "moving" => {
                move_out(paths, &aside)?;
                format!("placing {name}")
            }
            "placing" => {
                move_in(paths, &pending(paths), &aside)?;
                format!("placed {name}")
            }
            "undoing" => {
                move_out(paths, &folder(paths).join("failed"))?;
                format!("returning {name}")
            }
            "returning" => {
                move_in(paths, &aside, &folder(paths).join("failed"))?;
                forget(paths)?;
                return Ok(None);
            }
            _ => return Ok((step == "placed").then_some(aside)),
        };
        set_state(paths, &reached)?;
    }
}

/// Ends a restore whose server has started; the files from before stay where they are. One that is
/// not placed yet goes on at the next start.
///
/// # Errors
///
/// See [`BackupError`].
pub fn confirm(paths: &Paths) -> Result<(), BackupError> {
    if state(paths).is_some_and(|state| !state.starts_with("placed ")) {
        return Ok(());
    }
    forget(paths)
}

/// Takes a restore back whose server cannot start.
///
/// # Errors
///
/// See [`BackupError`]; the next start tries again.
pub fn undo(paths: &Paths) -> Result<(), BackupError> {
    let Some(reached) = state(paths) else { return Ok(()) };
    let Some(name) = reached.strip_prefix("placed ") else { return Ok(()) };
    set_state(paths, &format!("undoing {name}"))?;
    // Whoever could not start has let the data go.
    apply(paths, Utc::from_unix_millis(0)).map(|_| ())
}

/// `20261121-120000`, in UTC.
pub(crate) fn stamp(at: Utc) -> String {
    let digits: String = at.to_string().chars().filter(char::is_ascii_digit).take(14).collect();
    let (date, time) = digits.split_at(8);
    format!("{date}-{time}")
}

fn state(paths: &Paths) -> Option<String> {
    let text = fs::read_to_string(state_file(paths)).ok()?;
    let text = text.trim();
    (!text.is_empty() && !text.contains(['/', '\\'])).then(|| text.to_owned())
}

/// Writes the state so that it is there after a power cut.
fn set_state(paths: &Paths, text: &str) -> Result<(), BackupError> {
    let path = state_file(paths);
    atomic_file::replace(&path, text.as_bytes(), Readers::Owner)
        .map_err(|error| BackupError::io(&path, error))
}

fn remove_folder(path: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BackupError::io(path, error)),
        _ => Ok(()),
    }
}

fn forget(paths: &Paths) -> Result<(), BackupError> {
    let path = state_file(paths);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(BackupError::io(path, error));
        }
        _ => {}
    }
    remove_folder(&pending(paths))
}

/// `SeriesFile` of a conf file, or its default.
fn series_file(conf: &Path) -> String {
    let read =
        fs::read(conf).ok().and_then(|bytes| crate::config::IniSource::parse(conf, bytes).ok());
    read.as_ref()
        .and_then(|source| source.get("Common", "SeriesFile"))
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| DEFAULT_SERIES_FILE.to_owned())
}

/// Moves a file unless it has been moved already. Never over another one: a file that lies where it
/// should go stays there, and this one goes beside it as `NAME.1`, `NAME.2` …
fn shift(from: &Path, to: &Path) -> Result<(), BackupError> {
    match fs::symlink_metadata(from) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BackupError::io(from, error)),
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(|error| BackupError::io(folder, error))?;
    }
    let to = vacant(to)?;
    match fs::rename(from, &to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            carry(from, &to).map_err(|error| BackupError::io(from, error))
        }
        Err(error) => Err(BackupError::io(from, error)),
        Ok(()) => Ok(()),
    }
}

/// The name itself when nothing has it, else the first of `NAME.1`, `NAME.2` … that nothing has.
fn vacant(wanted: &Path) -> Result<PathBuf, BackupError> {
    let mut path = wanted.to_owned();
    let mut number = 0_u32;
    loop {
        match fs::symlink_metadata(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(path),
            Err(error) => return Err(BackupError::io(path, error)),
        }
        number += 1;
        let mut name = wanted.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{number}"));
        path = wanted.with_file_name(name);
    }
}

/// Moves a file to another volume: the copy is whole and on the disk before the original goes.
/// A copy that breaks off is written again from the beginning.
fn carry(from: &Path, to: &Path) -> io::Result<()> {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = to.with_file_name(name);
    fs::copy(from, &part)?;
    // For writing: Windows syncs no other handle.
    fs::OpenOptions::new().write(true).open(&part)?.sync_all()?;
    fs::rename(&part, to)?;
    if let Some(folder) = to.parent() {
        sync_folder(folder)?;
    }
    fs::remove_file(from)
}

/// Every file of the server that is on the disk, with its name; those that SQLite keeps beside the
/// database have names of their own.
fn present(paths: &Paths) -> Result<Vec<(String, PathBuf)>, BackupError> {
    let mut files = members::present(paths, &series_file(&paths.conf()))
        .map_err(|error| BackupError::io(paths.keys(), error))?;
    let database = paths.database();
    for ending in ["", "-wal", "-shm"] {
        let path = PathBuf::from(format!("{}{ending}", database.display()));
        if path.is_file() {
            files.push((format!("{DATABASE}{ending}"), path));
        }
    }
    // The settings last: they tell what the series file is called.
    files.sort_by_key(|(name, _)| name == CONF);
    Ok(files)
}

/// Moves every file of the server into a folder.
fn move_out(paths: &Paths, into: &Path) -> Result<(), BackupError> {
    for (name, path) in present(paths)? {
        shift(&path, &below(into, &name))?;
    }
    sync(paths)
}

/// Moves what [`move_out`] or an archive has put into a folder to its place. What lies there
/// meanwhile goes into `instead`.
fn move_in(paths: &Paths, from: &Path, instead: &Path) -> Result<(), BackupError> {
    // The settings tell what the series file is called; taken again after a crash, they are in
    // their place already.
    let conf = Some(below(from, CONF)).filter(|path| path.is_file());
    let series = series_file(&conf.unwrap_or_else(|| paths.conf()));
    let mut names: Vec<String> = [
        CONF,
        members::SERIES,
        members::RULES,
        members::IDENTITY,
        members::IDENTITY_PLAIN,
        members::CERTIFICATE,
        members::SESSION_KEYS,
        DATABASE,
    ]
    .map(str::to_owned)
    .to_vec();
    names.extend(["-wal", "-shm"].map(|ending| format!("{DATABASE}{ending}")));
    if let Ok(entries) = fs::read_dir(from.join("data")) {
        for entry in entries {
            let entry = entry.map_err(|error| BackupError::io(from, error))?;
            names.push(format!("data/{}", entry.file_name().to_string_lossy()));
        }
    }
    for name in names {
        let place = members::place(paths, &series, &name).or_else(|| {
            let ending = name.strip_prefix(DATABASE)?;
            Some(PathBuf::from(format!("{}{ending}", paths.database().display())))
        });
        if let Some(to) = place {
            let source = below(from, &name);
            if source.is_file() {
                shift(&to, &below(instead, &name))?;
                shift(&source, &to)?;
            }
        }
    }
    sync(paths)
}

/// Where a member lies in a folder of ours: as in that of an unpacked archive.
fn below(folder: &Path, name: &str) -> PathBuf {
    folder.join(name.strip_prefix("3.0/").unwrap_or(name))
}

fn sync(paths: &Paths) -> Result<(), BackupError> {
    for folder in [paths.settings(), paths.keys()] {
        if folder.is_dir() {
            sync_folder(&folder).map_err(|error| BackupError::io(folder, error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A server whose every file says "old", with "new" ones staged.
    fn staged_server() -> (tempfile::TempDir, Paths) {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        write(&paths.conf(), "[Common]\nSeriesFile=old.series\n");
        for path in [
            paths.series("old.series"),
            paths.identity(),
            paths.database(),
            PathBuf::from(format!("{}-wal", paths.database().display())),
            paths.keys().join("672B.1.licence"),
        ] {
            write(&path, "old");
        }
        let from = pending(&paths);
        write(&from.join("licenceserver.conf"), "[Common]\nSeriesFile=new.series\n");
        for name in ["licence.series", "identity.seal", "licenceserver.db", "data/672B.2.licence"] {
            write(&from.join(name), "new");
        }
        set_state(&paths, "staged").unwrap();
        (dir, paths)
    }

    /// What the server would find.
    fn found(paths: &Paths) -> Vec<String> {
        let series = series_file(&paths.conf());
        let mut found = vec![series.clone()];
        for path in [paths.series(&series), paths.identity(), paths.database()] {
            found.push(fs::read_to_string(path).unwrap_or_else(|_| "none".to_owned()));
        }
        let mut keys: Vec<_> = fs::read_dir(paths.keys())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        keys.sort();
        found.extend(keys);
        let wal = PathBuf::from(format!("{}-wal", paths.database().display()));
        found.push(wal.is_file().to_string());
        found
    }

    const OLD: [&str; 6] = ["old.series", "old", "old", "old", "672B.1.licence", "true"];
    const NEW: [&str; 6] = ["new.series", "new", "new", "new", "672B.2.licence", "false"];

    fn now() -> Utc {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn restored_files_take_the_place_of_the_present_ones_which_are_kept() {
        let (_dir, paths) = staged_server();
        let aside = apply(&paths, now()).unwrap().unwrap();
        assert_eq!(found(&paths), NEW);
        assert_eq!(fs::read_to_string(aside.join("identity.seal")).unwrap(), "old");
        assert!(aside.ends_with("before-restore-20261121-120000"), "{aside:?}");
        confirm(&paths).unwrap();
        assert!(!is_pending(&paths));
        assert_eq!(apply(&paths, now()).unwrap(), None);
        assert_eq!(found(&paths), NEW);
    }

    #[test]
    fn restore_that_cannot_start_is_taken_back() {
        let (_dir, paths) = staged_server();
        apply(&paths, now()).unwrap();
        undo(&paths).unwrap();
        assert_eq!(found(&paths), OLD);
        assert!(!is_pending(&paths));
    }

    /// A crash is a step that was taken in part with the state from before: each file move of each
    /// step is the last one in turn.
    #[test]
    fn crash_after_any_move_is_finished_by_the_next_start() {
        for state in ["moving", "placing"] {
            for moved in 0..6 {
                let (_dir, paths) = staged_server();
                let aside = paths.settings().join("before-restore-x");
                let (from, into) = (pending(&paths), aside.clone());
                if state == "placing" {
                    move_out(&paths, &aside).unwrap();
                    let names = [
                        "licenceserver.conf",
                        "licence.series",
                        "identity.seal",
                        "licenceserver.db",
                    ];
                    for name in names.iter().take(moved) {
                        let to = match *name {
                            "licence.series" => paths.series("new.series"),
                            name => paths.settings().join(name),
                        };
                        shift(&from.join(name), &to).unwrap();
                    }
                } else {
                    for (name, path) in present(&paths).unwrap().into_iter().take(moved) {
                        shift(&path, &below(&into, &name)).unwrap();
                    }
                }
                set_state(&paths, &format!("{state} before-restore-x")).unwrap();
                assert_eq!(apply(&paths, now()).unwrap(), Some(aside), "{state} {moved}");
                assert_eq!(found(&paths), NEW, "{state} {moved}");
            }
        }
    }

    #[test]
    fn crash_while_taking_back_is_finished_by_the_next_start() {
        for (state, moved) in [("undoing", 0), ("undoing", 3), ("returning", 0), ("returning", 3)] {
            let (_dir, paths) = staged_server();
            let aside = apply(&paths, now()).unwrap().unwrap();
            let failed = folder(&paths).join("failed");
            let out = present(&paths).unwrap();
            let count = if state == "undoing" { moved } else { out.len() };
            for (name, path) in out.into_iter().take(count) {
                shift(&path, &below(&failed, &name)).unwrap();
            }
            if state == "returning" {
                shift(&aside.join("licenceserver.conf"), &paths.conf()).unwrap();
                shift(&aside.join("identity.seal"), &paths.identity()).unwrap();
            }
            let name = aside.file_name().unwrap().to_string_lossy().into_owned();
            set_state(&paths, &format!("{state} {name}")).unwrap();
            assert_eq!(apply(&paths, now()).unwrap(), None, "{state} {moved}");
            assert_eq!(found(&paths), OLD, "{state} {moved}");
        }
    }

    #[test]
    fn restore_that_failed_half_way_is_not_forgotten_by_a_start() {
        let (_dir, paths) = staged_server();
        // A move that fails half way.
        let aside = paths.settings().join("before-restore-20261121-120000");
        write(&aside.join("data"), "a file where the folder should be");
        assert!(apply(&paths, now()).is_err());
        assert!(!paths.identity().exists(), "the identity is away");
        confirm(&paths).unwrap();
        assert!(is_pending(&paths), "the restore is forgotten half way");
    }

    #[test]
    fn no_file_is_ever_moved_over_another_one() {
        for state in ["moving", "placing"] {
            let (_dir, paths) = staged_server();
            let aside = paths.settings().join("before-restore-x");
            shift(&paths.identity(), &aside.join("identity.seal")).unwrap();
            if state == "placing" {
                move_out(&paths, &aside).unwrap();
            }
            set_state(&paths, &format!("{state} before-restore-x")).unwrap();
            // What should not be there: somebody has made another one meanwhile.
            write(&paths.identity(), "fresh");
            apply(&paths, now()).unwrap();
            assert_eq!(found(&paths), NEW, "{state}");
            let kept = |name: &str| fs::read_to_string(aside.join(name)).unwrap();
            assert_eq!(kept("identity.seal"), "old", "{state}");
            assert_eq!(kept("identity.seal.1"), "fresh", "{state}");
            undo(&paths).unwrap();
            assert_eq!(found(&paths), OLD, "{state}");
        }
    }

    #[test]
    fn file_that_is_carried_to_another_volume_is_whole_there_and_gone_here() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        write(&from, "whole");
        write(&dir.path().join("b.part"), "the torso of a carry that broke off");
        carry(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "whole");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn running_server_keeps_its_files() {
        let (_dir, paths) = staged_server();
        let lock = DataLock::take(&paths.database()).unwrap();
        assert!(matches!(apply(&paths, now()), Err(BackupError::InUse)));
        assert_eq!(found(&paths), OLD);
        drop(lock);
    }
}
