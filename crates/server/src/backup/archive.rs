//! One file that holds everything a server is: a tar (POSIX ustar) whose first member says what
//! the others are.
//!
//! Writes archives and checks them whole before anything is touched. The database's copy is made
//! by SQLite, so it is of one moment, whatever is written meanwhile.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use licence_core::licence_file::Licence;
use licence_core::seal::{Digest, hex_upper};
use licence_core::series::parse_series_file;
use licence_core::time::Utc;
use licence_ismp::saved::SavedBook;
use rusqlite::{Connection, OpenFlags};

use super::BackupError;
use super::members::{
    self, CONF, DATABASE, IDENTITY, IDENTITY_PLAIN, MANIFEST, Manifest, Member, SERIES,
    SESSION_KEYS,
};
use crate::api::VERSION;
use crate::config::{Config, IniSource};
use crate::identity;
use crate::paths::Paths;
use crate::store::{self, SCHEMA_VERSION, StoreError};

/// Version of the form.
const FORMAT: u32 = 1;

/// Largest archive that is restored, in bytes: a million rows of history are some 500 MB.
pub const ARCHIVE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Largest manifest: ten thousand licence files with their digests.
const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Largest member but the database and the session keys.
const MEMBER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Largest book of session keys: what the server itself reads.
const SESSION_KEYS_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Members at most: the licence files that a server reads, and its own.
const MEMBERS_MAX: usize = 10_010;

/// Room that must stay free on the disk beside what is written, in bytes.
const SPARE_BYTES: u64 = 64 * 1024 * 1024;

/// What to back up.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where the files are.
    pub paths: Paths,
    /// The setting `SeriesFile`.
    pub series_file: String,
    /// Name of this computer.
    pub computer_name: String,
    /// The moment.
    pub at: Utc,
}

/// Removes a file when it goes.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may never have been made.
        drop(fs::remove_file(&self.0));
    }
}

/// Writes an archive of a server, running or not.
///
/// # Errors
///
/// See [`BackupError`].
pub fn write(source: &Source, out: impl Write) -> Result<(), BackupError> {
    let database = source.paths.database();
    check_source(source)?;
    // A backup from the command line may be under way beside that of the server.
    let copy = Temporary(database.with_extension(format!("backup-{}", std::process::id())));
    let files = members::present(&source.paths, &source.series_file)
        .map_err(|error| BackupError::io(source.paths.keys(), error))?;
    let mut listed = Vec::with_capacity(files.len() + 1);
    let mut contents = Vec::with_capacity(files.len());
    for (name, path) in files {
        // Read once: a file that is replaced meanwhile is the old one or the new one, whole.
        let bytes = read_member(&name, &path)?;
        let sha256 = hex_upper(&licence_core::seal::sha256(&bytes));
        listed.push(Member { name, bytes: bytes.len() as u64, sha256 });
        contents.push(bytes);
    }
    let has_database = database.is_file();
    if has_database {
        copy_database(&database, &copy.0)?;
        let (bytes, sha256) = digest(&copy.0)?;
        listed.push(Member { name: DATABASE.to_owned(), bytes, sha256 });
    }
    let manifest = Manifest {
        format: FORMAT,
        version: VERSION.to_owned(),
        made: source.at,
        computer_name: source.computer_name.clone(),
        members: listed,
    };
    let written = |error| BackupError::io("archive", error);
    let text = serde_json::to_vec_pretty(&manifest).map_err(|e| written(e.into()))?;
    let seconds = source.at.unix_seconds().max(0).unsigned_abs();
    let mut tar = tar::Builder::new(out);
    append(&mut tar, MANIFEST, text.len() as u64, seconds, &text[..]).map_err(written)?;
    for (bytes, member) in contents.iter().zip(&manifest.members) {
        append(&mut tar, &member.name, member.bytes, seconds, &bytes[..]).map_err(written)?;
    }
    if has_database && let Some(member) = manifest.members.last() {
        // Nobody else knows the copy.
        let file = File::open(&copy.0).map_err(|error| BackupError::io(&copy.0, error))?;
        append(&mut tar, &member.name, member.bytes, seconds, file).map_err(written)?;
    }
    let mut out = tar.into_inner().map_err(written)?;
    out.flush().map_err(written)
}

/// Refuses what an archive could not hold, before anything is written.
///
/// # Errors
///
/// [`BackupError::SeriesFile`].
pub fn check_source(source: &Source) -> Result<(), BackupError> {
    match members::place(&source.paths, &source.series_file, SERIES) {
        Some(_) => Ok(()),
        None => Err(BackupError::SeriesFile(source.series_file.clone())),
    }
}

/// Largest length of a member.
fn bytes_max(name: &str) -> u64 {
    match name {
        DATABASE => ARCHIVE_BYTES_MAX,
        SESSION_KEYS => SESSION_KEYS_BYTES_MAX,
        _ => MEMBER_BYTES_MAX,
    }
}

fn read_member(name: &str, path: &Path) -> Result<Vec<u8>, BackupError> {
    let failed = |error| BackupError::io(path, error);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    let most = bytes_max(name);
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > most {
        let mib = most / 1024 / 1024;
        let reason = format!("larger than {mib} MiB: no file of this server");
        return Err(BackupError::archive(name, reason));
    }
    Ok(bytes)
}

fn append(
    tar: &mut tar::Builder<impl Write>,
    name: &str,
    bytes: u64,
    seconds: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime(seconds);
    tar.append_data(&mut header, name, content)
}

/// A copy of one moment, through a connection of its own.
fn copy_database(from: &Path, to: &Path) -> Result<(), BackupError> {
    let bytes = fs::metadata(from).map_err(|error| BackupError::io(from, error))?.len();
    check_room(from, bytes)?;
    // What a backup that broke off has left.
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(BackupError::io(to, error));
        }
        _ => {}
    }
    // SQLite fills an empty file and keeps its mode; one of its own making could be read by others.
    create_private(to).map_err(|error| BackupError::io(to, error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(from, flags)?;
    db.busy_timeout(std::time::Duration::from_secs(10))?;
    db.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    Ok(())
}

/// Refuses what would fill the disk.
///
/// # Errors
///
/// [`BackupError::Room`].
pub fn check_room(beside: &Path, bytes: u64) -> Result<(), BackupError> {
    let folder = beside.parent().unwrap_or(beside);
    // Where the system does not say, the write itself will tell.
    let Ok(volume) = crate::host::volume(folder) else { return Ok(()) };
    let free = volume.free_bytes;
    let needed = bytes.saturating_add(SPARE_BYTES);
    if free >= needed {
        return Ok(());
    }
    Err(BackupError::Room { needed_mb: needed >> 20, free_mb: free >> 20 })
}

fn digest(path: &Path) -> Result<(u64, String), BackupError> {
    let failed = |error| BackupError::io(path, error);
    let mut file = File::open(path).map_err(failed)?;
    let mut digest = Digest::default();
    let mut buffer = vec![0; 64 * 1024];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            return Ok((bytes, hex_upper(&digest.finish())));
        }
        digest.add(&buffer[..read]);
        bytes += read as u64;
    }
}

/// Unpacks an archive into an empty folder and checks all of it; nothing else is touched. The
/// files lie there under the last part of their names, licences below `data/`.
///
/// # Errors
///
/// See [`BackupError`]; the folder then holds a torso and should be removed.
pub fn unpack(archive: &Path, into: &Path) -> Result<Manifest, BackupError> {
    let broken = |error: io::Error| BackupError::archive("archive", error.to_string());
    let file = File::open(archive).map_err(|error| BackupError::io(archive, error))?;
    let length = file.metadata().map_err(|error| BackupError::io(archive, error))?.len();
    if length > ARCHIVE_BYTES_MAX {
        return Err(BackupError::archive("archive", "larger than 2 GiB"));
    }
    check_room(into, length)?;
    fs::create_dir_all(into.join("data")).map_err(|error| BackupError::io(into, error))?;
    let mut tar = tar::Archive::new(io::BufReader::new(file));
    let mut entries = tar.entries().map_err(broken)?;
    let manifest = match entries.next() {
        Some(first) => manifest(first.map_err(broken)?)?,
        None => return Err(BackupError::archive("archive", "empty, or not a tar file")),
    };
    let mut wanted: BTreeMap<&str, &Member> =
        manifest.members.iter().map(|member| (&*member.name, member)).collect();
    if wanted.len() != manifest.members.len() || wanted.len() > MEMBERS_MAX {
        return Err(BackupError::archive(MANIFEST, "names a member twice, or too many"));
    }
    for entry in entries {
        let mut entry = entry.map_err(broken)?;
        let name = entry
            .path()
            .ok()
            .and_then(|path| path.to_str().map(str::to_owned))
            .ok_or_else(|| BackupError::archive("archive", "a name that is not UTF-8"))?;
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(BackupError::archive(name, "not a plain file"));
        }
        let Some(member) = wanted.remove(&*name) else {
            return Err(BackupError::archive(name, "not named by the manifest, or twice there"));
        };
        let Some(target) = staged(into, &name) else {
            return Err(BackupError::archive(name, "not a file of a licence server"));
        };
        if entry.size() != member.bytes || member.bytes > bytes_max(&name) {
            return Err(BackupError::archive(name, "its length is not that of the manifest"));
        }
        unpack_one(&mut entry, &target, member)?;
    }
    if let Some(missing) = wanted.keys().next() {
        return Err(BackupError::archive(*missing, "missing"));
    }
    check(into)?;
    Ok(manifest)
}

fn manifest(mut entry: tar::Entry<'_, impl Read>) -> Result<Manifest, BackupError> {
    let wrong = |reason: String| BackupError::archive(MANIFEST, reason);
    let is_it = entry.path().is_ok_and(|path| path == Path::new(MANIFEST));
    if !is_it || entry.header().entry_type() != tar::EntryType::Regular {
        return Err(wrong("not the first member: this is no backup of a licence server".into()));
    }
    if entry.size() > MANIFEST_BYTES_MAX {
        return Err(wrong("too long".into()));
    }
    let mut text = String::new();
    entry.read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
    let manifest: Manifest = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    if manifest.format != FORMAT {
        return Err(wrong(format!("has form {}, known is {FORMAT}", manifest.format)));
    }
    Ok(manifest)
}

/// Where a member lies in the folder of an unpacked archive.
pub(super) fn staged(folder: &Path, name: &str) -> Option<PathBuf> {
    // The names that have a place are known names; the setting does not matter here.
    members::place(&Paths::new(""), "x.series", name)?;
    let below = name.strip_prefix("3.0/").unwrap_or(name);
    Some(folder.join(below))
}

fn unpack_one(
    entry: &mut tar::Entry<'_, impl Read>,
    target: &Path,
    member: &Member,
) -> Result<(), BackupError> {
    let failed = |error| BackupError::io(target, error);
    let mut file = create_private(target).map_err(failed)?;
    let mut digest = Digest::default();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = entry
            .read(&mut buffer)
            .map_err(|error| BackupError::archive(&member.name, error.to_string()))?;
        if read == 0 {
            break;
        }
        digest.add(&buffer[..read]);
        file.write_all(&buffer[..read]).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    let is_same = hex_upper(&digest.finish()).eq_ignore_ascii_case(&member.sha256);
    let is_whole = file.metadata().map_err(failed)?.len() == member.bytes;
    if is_same && is_whole {
        return Ok(());
    }
    Err(BackupError::archive(&member.name, "damaged: its digest is not that of the manifest"))
}

/// A file that only its owner may read.
///
/// # Errors
///
/// As for any file; one that is there already is an error.
pub fn create_private(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Whether a server could start with these files.
fn check(folder: &Path) -> Result<(), BackupError> {
    let wrong = |member: &str, error: &dyn std::error::Error| {
        BackupError::archive(member, licence_core::causes::with_causes(error))
    };
    let file = |name: &str| staged(folder, name).filter(|path| path.is_file());
    if let Some(conf) = file(CONF) {
        let bytes = fs::read(&conf).map_err(|error| BackupError::io(&conf, error))?;
        let source = IniSource::parse(Path::new("licenceserver.conf"), bytes)
            .map_err(|e| wrong(CONF, &e))?;
        Config::from_source(&source).map_err(|error| wrong(CONF, &error))?;
    }
    // Whether a seal opens on this computer is told by the server that starts with it.
    let (name, path) = [IDENTITY, IDENTITY_PLAIN]
        .into_iter()
        .find_map(|name| Some((name, file(name)?)))
        .ok_or_else(|| BackupError::archive(IDENTITY, "missing"))?;
    identity::public_in(&path).map_err(|error| wrong(name, &error))?;
    let mut series = BTreeMap::new();
    if let Some(path) = file(SERIES) {
        let text = fs::read_to_string(&path).map_err(|error| wrong(SERIES, &error))?;
        series = parse_series_file(&text).map_err(|error| wrong(SERIES, &error))?;
    }
    let keys = folder.join("data");
    for entry in fs::read_dir(&keys).map_err(|error| BackupError::io(&keys, error))? {
        let path = entry.map_err(|error| BackupError::io(&keys, error))?.path();
        let name = format!("data/{}", path.file_name().unwrap_or_default().to_string_lossy());
        let text = fs::read_to_string(&path).map_err(|error| wrong(&name, &error))?;
        let document = text.trim();
        let of = Licence::peek_series(document).map_err(|error| wrong(&name, &error))?;
        // A licence of a series that is not described is shown as unusable, as it was.
        let Some(key) = series.get(&of).and_then(|series| series.signing_key().ok()) else {
            continue;
        };
        Licence::verify(document, &key).map_err(|error| wrong(&name, &error))?;
    }
    if let Some(path) = file(SESSION_KEYS) {
        // Whether its keys open here is told by the server that starts with it.
        let bytes = fs::read(&path).map_err(|error| wrong(SESSION_KEYS, &error))?;
        let saved: SavedBook =
            serde_json::from_slice(&bytes).map_err(|error| wrong(SESSION_KEYS, &error))?;
        licence_ismp::Book::open(saved, |_, _| None)
            .map_err(|error| wrong(SESSION_KEYS, &error))?;
    }
    if let Some(path) = file(DATABASE) {
        check_database(&path).map_err(|error| wrong(DATABASE, &error))?;
        empty_database(&path).map_err(|error| wrong(DATABASE, &error))?;
    }
    Ok(())
}

/// Takes out who was at work when the backup was made: they may have gone long since, and their
/// seats belong to those who are at work when it is restored. Those come back by their leases, which
/// the mark gives them the time for.
fn empty_database(path: &Path) -> Result<(), rusqlite::Error> {
    let mut db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // No other file of SQLite's may be left beside it.
    db.pragma_update(None, "journal_mode", "DELETE")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    let change = db.transaction()?;
    change.execute_batch("DELETE FROM session; DELETE FROM connection;")?;
    store::set_restored(&change)?;
    change.commit()
}

fn check_database(path: &Path) -> Result<(), StoreError> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > SCHEMA_VERSION {
        return Err(StoreError::Newer { found: version, known: SCHEMA_VERSION });
    }
    let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(StoreError::Damaged(found));
    }
    db.query_row("SELECT count(*) FROM session", [], |row| row.get::<_, i64>(0))?;
    Ok(())
}
