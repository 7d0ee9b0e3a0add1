//! The log: to standard error and to `logs/licenceserver.{YYYYMMDD-HHNNSS}.{pid}.log`.
//!
//! Logs of earlier runs are removed at start unless the settings keep them (manual, «Режим
//! сохранения / перезаписи»). A run that logs without end fills one file and one predecessor,
//! not the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use licence_core::time::Utc;

use crate::clock;

/// Size at which the file is closed and a fresh one begun; its predecessor is kept as `.old`. A
/// day of a busy server logs some megabytes.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Which logs of earlier runs stay.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Keep {
    /// All of them.
    pub previous: bool,
    /// Those of today.
    pub current_date: bool,
}

/// Begins to log at level INFO; `LICENCE_LOG` in the environment may name another level. When the
/// file cannot be written, standard error alone gets the log.
///
/// # Errors
///
/// When a logger is installed already.
pub fn start(folder: &Path) -> Result<(), log::SetLoggerError> {
    let now = clock::utc();
    let opened = LogFile::open(folder.join(file_name(now, std::process::id())));
    let (file, problem) = match opened {
        Ok(file) => (Some(file), None),
        Err(error) => (None, Some(error)),
    };
    let level = std::env::var("LICENCE_LOG")
        .ok()
        .and_then(|name| name.parse().ok())
        .unwrap_or(log::LevelFilter::Info);
    env_logger::Builder::new()
        // The logger keeps a filter of its own; the level in force is log's.
        .filter_level(log::LevelFilter::Trace)
        .format(|out, record| {
            writeln!(
                out,
                "{} {:5} {}: {}",
                clock::utc(),
                record.level(),
                record.target(),
                record.args()
            )
        })
        .target(env_logger::Target::Pipe(Box::new(Tee { file })))
        .try_init()?;
    log::set_max_level(level);
    if let Some(error) = problem {
        log::warn!("no log file in {}: {error}", folder.display());
    }
    Ok(())
}

/// Removes the logs of earlier runs as the settings say. Only for a server that has the data to
/// itself: a second one, started by mistake, must not remove the log of the first.
pub fn remove_previous(folder: &Path, keep: Keep) {
    let own = format!(".{}.log", std::process::id());
    let removed = remove(folder, keep, clock::utc(), &own);
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
            is_removable(&name, keep, now) && !name.ends_with(own)
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
        self.file.write_all(bytes)?;
        self.written_bytes = self.written_bytes.saturating_add(bytes.len() as u64);
        Ok(())
    }
}

struct Tee {
    file: Option<LogFile>,
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The log never fails its caller: a full disk must not stop the server.
        let _stderr_may_be_closed = io::stderr().write_all(bytes);
        if let Some(file) = &mut self.file
            && file.write(bytes, FILE_BYTES_MAX).is_err()
        {
            let _stderr_may_be_closed =
                io::stderr().write_all(b"the log file cannot be written; logging here only\n");
            self.file = None;
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
}
