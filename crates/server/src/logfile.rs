//! The log: to standard error and to `logs/licenceserver.{YYYYMMDD-HHNNSS}.{pid}.log`.
//!
//! Logs of earlier runs are removed at start unless the settings keep them (manual, «Режим
//! сохранения / перезаписи»). A run that logs without end fills one file and one predecessor,
//! not the disk. A file that could not be written, because the disk was full, is opened again
//! when there is room; how many lines it lacks is said in it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use licence_core::time::{MonoTime, Utc};

use crate::clock;

/// Size at which the file is closed and a fresh one begun, unless the settings say another; its
/// predecessor is kept as `.old`. A day of a busy server logs some megabytes.
static FILE_BYTES_MAX: AtomicU64 = AtomicU64::new(32 * MIB);

/// Name of this run's file. Its end alone does not tell it: in a container every run has process
/// id 1.
static OWN: OnceLock<String> = OnceLock::new();

const MIB: u64 = 1024 * 1024;

/// The most that [`tail`] returns, in bytes: what a browser shows without effort.
pub const TAIL_BYTES_MAX: u64 = MIB;

/// Pause before a log file that could not be written is tried again. A disk that is full stays so
/// for minutes, and each attempt costs the caller who logs.
const RETRY_PAUSE: Duration = Duration::from_secs(30);

/// Which logs of earlier runs stay.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Keep {
    /// All of them.
    pub previous: bool,
    /// Those of today.
    pub current_date: bool,
}

/// Begins to log at level INFO; `LICENCE_LOG` in the environment may name another level. While the
/// file cannot be written, standard error alone gets the log.
///
/// # Errors
///
/// When a logger is installed already.
pub fn start(folder: &Path) -> Result<(), log::SetLoggerError> {
    let now = clock::utc();
    let name = OWN.get_or_init(|| file_name(now, std::process::id()));
    let (tee, problem) = Tee::open(folder.join(name), clock::mono());
    env_logger::Builder::new()
        // The logger keeps a filter of its own; the level in force is log's. What libraries say of
        // their details may hold what passes through them, passwords and codes among it.
        .filter_level(log::LevelFilter::Info)
        .filter_module("licenceserver", log::LevelFilter::Trace)
        .filter_module("licence_core", log::LevelFilter::Trace)
        .format(|out, record| {
            writeln!(
                out,
                "{} {:5} {}: {}",
                clock::utc(),
                record.level(),
                record.target(),
                OneLine(record.args())
            )
        })
        .target(env_logger::Target::Pipe(Box::new(tee)))
        .try_init()?;
    log::set_max_level(level_of_environment().unwrap_or(log::LevelFilter::Info));
    if let Some(error) = problem {
        log::warn!("no log file in {}: {error}", folder.display());
    }
    Ok(())
}

/// A message in one line: control characters are escaped, so that a name that somebody chose can
/// neither begin a line of its own nor speak to the terminal of whoever reads the log.
struct OneLine<'a>(&'a fmt::Arguments<'a>);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::write(&mut Escape(f), *self.0)
    }
}

struct Escape<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(is_escaped) {
            let (plain, last) = match part.char_indices().next_back() {
                Some((at, last)) if is_escaped(last) => (&part[..at], Some(last)),
                _ => (part, None),
            };
            self.0.write_str(plain)?;
            if let Some(last) = last {
                write!(self.0, "{}", last.escape_default())?;
            }
        }
        Ok(())
    }
}

/// Control characters, line ends of Unicode, and what turns the direction of writing.
fn is_escaped(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

fn level_of_environment() -> Option<log::LevelFilter> {
    std::env::var("LICENCE_LOG").ok().and_then(|name| name.parse().ok())
}

/// Puts level and size of the settings in force; `LICENCE_LOG` in the environment wins over the
/// level, because whoever started the server by hand wants to see something.
pub fn configure(level: log::LevelFilter, file_max_mb: u32) {
    FILE_BYTES_MAX.store(u64::from(file_max_mb).saturating_mul(MIB), Ordering::Relaxed);
    let level = level_of_environment().unwrap_or(level);
    if log::max_level() != level {
        log::set_max_level(level);
        log::info!("log level: {level}");
    }
}

/// The last lines of the log of this run, at most [`TAIL_BYTES_MAX`] of them. Empty when the server
/// has no log file.
///
/// # Errors
///
/// When the file cannot be read.
pub fn tail(folder: &Path, lines: usize) -> io::Result<String> {
    tail_at(folder, lines, log::LevelFilter::Trace)
}

/// As [`tail`], of entries of this level and graver ones alone.
///
/// # Errors
///
/// When the file cannot be read.
pub fn tail_at(folder: &Path, lines: usize, level: log::LevelFilter) -> io::Result<String> {
    let Some(current) = current(folder)? else { return Ok(String::new()) };
    let mut old = current.clone().into_os_string();
    old.push(".old");
    let mut bytes = last_bytes(&current, TAIL_BYTES_MAX)?;
    // The file may have been begun a moment ago.
    let room = TAIL_BYTES_MAX.saturating_sub(bytes.len() as u64);
    match last_bytes(Path::new(&old), room) {
        Ok(mut before) => {
            before.append(&mut bytes);
            bytes = before;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(last_lines(&String::from_utf8_lossy(&bytes), lines, level))
}

/// The log file of this process, or else the latest one there is.
fn current(folder: &Path) -> io::Result<Option<PathBuf>> {
    let own = format!(".{}.log", std::process::id());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let mut found: Option<(bool, String)> = None;
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("licenceserver.") && name.ends_with(".log") {
            // The names sort by their times.
            found = found.max(Some((name.ends_with(&own), name)));
        }
    }
    Ok(found.map(|(_, name)| folder.join(name)))
}

/// The end of a file, from the beginning of a line.
fn last_bytes(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(bytes_max);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    // The file may grow meanwhile.
    file.take(bytes_max).read_to_end(&mut bytes)?;
    if from > 0 {
        let begun = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        bytes.drain(..begun);
    }
    Ok(bytes)
}

/// The last lines of a text whose entries are of this level or graver. A line without a level
/// belongs to the entry before it.
fn last_lines(text: &str, lines: usize, level: log::LevelFilter) -> String {
    // What a cut left of an entry is of unknown level.
    let mut is_shown = level == log::LevelFilter::Trace;
    let mut shown = Vec::new();
    for line in text.lines() {
        let named = line.split_whitespace().nth(1).and_then(|word| word.parse::<log::Level>().ok());
        if let Some(named) = named {
            is_shown = named <= level;
        }
        if is_shown {
            shown.push(line);
        }
    }
    let from = shown.len().saturating_sub(lines);
    shown[from..].iter().flat_map(|line| [*line, "\n"]).collect()
}

/// Removes the logs of earlier runs as the settings say. Only for a server that has the data to
/// itself: a second one, started by mistake, must not remove the log of the first.
pub fn remove_previous(folder: &Path, keep: Keep) {
    let own = OWN.get().map_or("", String::as_str);
    let removed = remove(folder, keep, clock::utc(), own);
    if removed > 0 {
        log::debug!("removed {removed} logs of earlier runs");
    }
}

/// `licenceserver.20180402-204113.5736.log` (manual, «Расположение системных логов»).
fn file_name(at: Utc, pid: u32) -> String {
    format!("licenceserver.{}.{pid}.log", stamp(at))
}

/// `20180402-204113`, in UTC.
fn stamp(at: Utc) -> String {
    let shown = at.to_string();
    let digits: String = shown.chars().filter(char::is_ascii_digit).take(14).collect();
    let (date, time) = digits.split_at(8);
    format!("{date}-{time}")
}

/// Whether a file name is a log of ours that may go at `now`.
fn is_removable(name: &str, keep: Keep, now: Utc) -> bool {
    let name = name.strip_suffix(".old").unwrap_or(name);
    let parts: Vec<_> = name.split('.').collect();
    let &["licenceserver", made, pid, "log"] = parts.as_slice() else { return false };
    let is_ours = made.len() == 15
        && made.bytes().all(|b| b.is_ascii_digit() || b == b'-')
        && pid.bytes().all(|b| b.is_ascii_digit());
    let is_of_today = made.get(..8) == stamp(now).get(..8);
    is_ours && !keep.previous && !(keep.current_date && is_of_today)
}

fn remove(folder: &Path, keep: Keep, now: Utc, own: &str) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let of = name.strip_suffix(".old").unwrap_or(&name);
            is_removable(&name, keep, now) && of != own
        })
        .filter(|entry| fs::remove_file(entry.path()).is_ok())
        .count()
}

struct LogFile {
    path: PathBuf,
    file: File,
    written_bytes: u64,
}

impl LogFile {
    fn open(path: PathBuf) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let written_bytes = file.metadata()?.len();
        Ok(Self { path, file, written_bytes })
    }

    fn write(&mut self, bytes: &[u8], bytes_max: u64) -> io::Result<()> {
        if self.written_bytes >= bytes_max {
            let mut old = self.path.clone().into_os_string();
            old.push(".old");
            fs::rename(&self.path, old)?;
            *self = Self::open(self.path.clone())?;
        }
        if let Err(error) = self.file.write_all(bytes) {
            // Half a line would run into the next one. What cannot be taken back stays.
            let _half_a_line_stays = self.file.set_len(self.written_bytes);
            return Err(error);
        }
        self.written_bytes = self.written_bytes.saturating_add(bytes.len() as u64);
        Ok(())
    }
}

/// Standard error and the file, as long as that can be written.
struct Tee {
    path: PathBuf,
    file: Option<LogFile>,
    /// When the file was last tried in vain.
    failed_at: MonoTime,
    /// Lines that the file lacks since then.
    lost_lines: u64,
}

impl Tee {
    /// The file, and why it could not be opened.
    fn open(path: PathBuf, now: MonoTime) -> (Self, Option<io::Error>) {
        let (file, problem) = match LogFile::open(path.clone()) {
            Ok(file) => (Some(file), None),
            Err(error) => (None, Some(error)),
        };
        (Self { path, file, failed_at: now, lost_lines: 0 }, problem)
    }

    /// Writes whole lines to the file, or counts them as lost. Returns what is to be said of it on
    /// standard error.
    fn write_file(
        &mut self,
        bytes: &[u8],
        bytes_max: u64,
        now: impl Fn() -> MonoTime,
    ) -> Option<String> {
        let mut said = None;
        if self.file.is_none() {
            let at = now();
            if at.since(self.failed_at) >= RETRY_PAUSE {
                self.failed_at = at;
                said = self.open_again(bytes_max);
            }
        }
        let Some(file) = &mut self.file else {
            self.lose(bytes);
            return None;
        };
        if let Err(error) = file.write(bytes, bytes_max) {
            self.file = None;
            self.failed_at = now();
            self.lose(bytes);
            return Some(format!("the log file cannot be written, logging here only: {error}"));
        }
        said
    }

    /// Tries the file again; what is to be said of it when that succeeded.
    fn open_again(&mut self, bytes_max: u64) -> Option<String> {
        let mut file = LogFile::open(self.path.clone()).ok()?;
        let said =
            format!("the log file can be written again, lines that it lacks: {}", self.lost_lines);
        let line = format!("{} {:5} {}: {said}\n", clock::utc(), "WARN", module_path!());
        file.write(line.as_bytes(), bytes_max).ok()?;
        self.file = Some(file);
        self.lost_lines = 0;
        Some(said)
    }

    fn lose(&mut self, bytes: &[u8]) {
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        self.lost_lines = self.lost_lines.saturating_add(lines as u64);
    }
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The log never fails its caller: a full disk must not stop the server.
        let _stderr_may_be_closed = io::stderr().write_all(bytes);
        let bytes_max = FILE_BYTES_MAX.load(Ordering::Relaxed);
        if let Some(said) = self.write_file(bytes, bytes_max, clock::mono) {
            let _stderr_may_be_closed = writeln!(io::stderr(), "{said}");
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_stays_one_line_whatever_is_in_it() {
        for (text, expected) in [
            ("вход admin", "вход admin"),
            ("a\nINFO b\r\u{1b}[31m", "a\\nINFO b\\r\\u{1b}[31m"),
            ("\t", "\\t"),
            ("x\u{2028}y\u{202e}z\u{85}", "x\\u{2028}y\\u{202e}z\\u{85}"),
            ("", ""),
        ] {
            assert_eq!(OneLine(&format_args!("{text}")).to_string(), expected);
        }
    }

    #[test]
    fn file_is_named_as_in_the_manual() {
        let at: Utc = "2018-04-02T20:41:13.272Z".parse().unwrap();
        assert_eq!(file_name(at, 5736), "licenceserver.20180402-204113.5736.log");
    }

    #[test]
    fn earlier_logs_go_unless_they_are_kept() {
        let now: Utc = "2018-04-02T23:00:00Z".parse().unwrap();
        let keep_all = Keep { previous: true, current_date: false };
        let keep_today = Keep { previous: false, current_date: true };
        for (name, keep, goes) in [
            ("licenceserver.20180402-204113.5736.log", Keep::default(), true),
            ("licenceserver.20180402-204113.5736.log.old", Keep::default(), true),
            ("licenceserver.20180402-204113.5736.log", keep_all, false),
            ("licenceserver.20180402-204113.5736.log", keep_today, false),
            ("licenceserver.20180401-204113.5736.log", keep_today, true),
            ("licenceserver.conf", Keep::default(), false),
            ("licenceserver.x.1.log", Keep::default(), false),
            ("licenceaddin.20180402-204113.5736.log", Keep::default(), false),
        ] {
            assert_eq!(is_removable(name, keep, now), goes, "{name} {keep:?}");
        }
    }

    #[test]
    fn tail_is_the_last_lines_of_the_latest_log_and_of_its_predecessor() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(tail(&dir.path().join("none"), 9).unwrap(), "");
        assert_eq!(tail(dir.path(), 9).unwrap(), "");
        let name = dir.path().join("licenceserver.20180402-204113.1.log");
        fs::write(dir.path().join("licenceserver.20180401-204113.1.log"), "other\n").unwrap();
        fs::write(&name, "t WARN  a: 3\nmore\nt DEBUG a: 4\nmore\n").unwrap();
        let old = dir.path().join("licenceserver.20180402-204113.1.log.old");
        fs::write(old, "t ERROR a: 1\nt INFO  a: 2\n").unwrap();
        for (lines, level, expected) in [
            (1, "trace", "more\n"),
            (3, "trace", "more\nt DEBUG a: 4\nmore\n"),
            (9, "info", "t ERROR a: 1\nt INFO  a: 2\nt WARN  a: 3\nmore\n"),
            (9, "error", "t ERROR a: 1\n"),
            (9, "off", ""),
            (0, "trace", ""),
        ] {
            let found = tail_at(dir.path(), lines, level.parse().unwrap()).unwrap();
            assert_eq!(found, expected, "{lines} {level}");
        }
    }

    #[test]
    fn tail_of_a_long_file_is_bounded_and_begins_with_a_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("licenceserver.20180402-204113.1.log");
        let line = format!("t INFO {}\n", "ж".repeat(100));
        fs::write(&path, line.repeat(10_000)).unwrap();
        let found = tail(dir.path(), usize::MAX).unwrap();
        assert!(found.len() as u64 <= TAIL_BYTES_MAX && found.len() as u64 > TAIL_BYTES_MAX - 1000);
        assert!(found.starts_with("t INFO ж") && !found.contains('\u{fffd}'));
    }

    #[test]
    fn own_predecessor_stays_and_earlier_runs_of_the_same_pid_go() {
        let dir = tempfile::tempdir().unwrap();
        let now: Utc = "2018-04-02T23:00:00Z".parse().unwrap();
        let own = "licenceserver.20180402-204113.1.log";
        for name in [
            "licenceserver.20180401-204113.1.log",
            "licenceserver.20180402-204113.1.log",
            "licenceserver.20180402-204113.1.log.old",
        ] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        remove(dir.path(), Keep::default(), now, own);
        let mut left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(
            left,
            ["licenceserver.20180402-204113.1.log", "licenceserver.20180402-204113.1.log.old"]
        );
    }

    #[test]
    fn full_file_becomes_the_predecessor_of_a_fresh_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("licenceserver.20180402-204113.1.log");
        let mut file = LogFile::open(path.clone()).unwrap();
        for line in ["first\n", "second\n", "third\n"] {
            file.write(line.as_bytes(), 10).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "third\n");
        let old = dir.path().join("licenceserver.20180402-204113.1.log.old");
        assert_eq!(fs::read_to_string(old).unwrap(), "first\nsecond\n");
    }

    #[test]
    fn file_that_cannot_be_written_is_tried_again_and_says_how_many_lines_it_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("logs");
        let path = folder.join("licenceserver.20180402-204113.1.log");
        // A file in the place of the folder, as any other reason why it cannot be opened.
        fs::write(&folder, "").unwrap();
        let at = |secs: u64| move || MonoTime::from_millis(secs * 1000);
        let (mut tee, problem) = Tee::open(path.clone(), at(0)());
        assert!(problem.is_some());
        assert_eq!(tee.write_file(b"lost\nlost\n", 1000, at(1)), None);
        fs::remove_file(&folder).unwrap();
        assert_eq!(tee.write_file(b"lost\n", 1000, at(29)), None);
        let said = tee.write_file(b"kept\n", 1000, at(30)).unwrap();
        assert!(said.ends_with("lines that it lacks: 3"), "{said}");
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].contains("WARN") && lines[0].ends_with(&said), "{text}");
        assert_eq!(lines[1..], ["kept"]);
        // Another gap counts anew.
        assert_eq!(tee.write_file(b"kept\n", 1000, at(31)), None);
        tee.file = None;
        assert_eq!(tee.write_file(b"lost\n", 1000, at(59)), None);
        let said = tee.write_file(b"kept\n", 1000, at(60)).unwrap();
        assert!(said.ends_with("lines that it lacks: 1"), "{said}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn full_disk_closes_the_file_for_a_while_and_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("licenceserver.20180402-204113.1.log");
        let at = |secs: u64| move || MonoTime::from_millis(secs * 1000);
        let (mut tee, _) = Tee::open(path.clone(), at(0)());
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        tee.file = Some(LogFile { path: path.clone(), file, written_bytes: 0 });
        let said = tee.write_file(b"lost\n", 1000, at(100)).unwrap();
        assert!(said.starts_with("the log file cannot be written"), "{said}");
        assert_eq!(tee.write_file(b"lost\n", 1000, at(129)), None);
        let said = tee.write_file(b"kept\n", 1000, at(130)).unwrap();
        assert!(said.ends_with("lines that it lacks: 2"), "{said}");
        assert!(fs::read_to_string(&path).unwrap().ends_with("\nkept\n"));
    }
}
