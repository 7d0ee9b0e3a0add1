//! The log of the component: one file for each process, where the manual says.
//!
//! `{home}/.1C/licence/3.0/logs/licenceaddin.{YYYYMMDD-HHNNSS}.{pid}.{modulename}.log`, for web
//! servers in the common folder. The worker opens the file, never a host thread; lines noted before
//! wait in memory. Where the folder cannot be written the other of the two stands in; where neither
//! can, or the disk is full, that costs the log and nothing else. Secrets are the callers' duty:
//! connection strings, access codes and lease tokens are never logged.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::guard::try_lock;
use crate::{clock, host_info, module};

/// Most bytes of one log file: weeks of ordinary use; a host that fails in a loop must not fill
/// the disk of a server.
const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// Most bytes of one message: platform errors carry stacks, not novels.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Most lines that wait for the file to be opened.
const PENDING_MAX: usize = 100;

/// Most bytes read of a settings file that is asked about previous logs.
const CONF_BYTES_MAX: u64 = 1024 * 1024;

enum Sink {
    /// Nobody has opened the file.
    Waiting(Vec<String>),
    /// The file and how much is written.
    File(File, u64),
    /// No file can be written, or it is full.
    Closed,
}

static SINK: Mutex<Sink> = Mutex::new(Sink::Waiting(Vec::new()));

struct Logger;

static LOGGER: Logger = Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            note(record.level(), &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

fn sink() -> MutexGuard<'static, Sink> {
    SINK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes one line, from any thread.
pub(crate) fn note(level: Level, message: &str) {
    let mut end = message.len().min(MESSAGE_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let message =
        message.get(..end).unwrap_or_default().trim_end().replace('\r', "").replace('\n', "\n    ");
    sink().write(format!("{} {level:5} {message}\n", clock::line_stamp()));
}

impl Sink {
    fn write(&mut self, line: String) {
        match self {
            Self::Closed => {}
            Self::Waiting(lines) => {
                if lines.len() < PENDING_MAX {
                    lines.push(line);
                }
            }
            Self::File(file, written) => {
                let len = line.len() as u64;
                if written.saturating_add(len) > FILE_BYTES_MAX {
                    // Nothing can be done about a failure to write the last line.
                    let _ = file.write_all(b"the log has reached its limit\n");
                    *self = Self::Closed;
                } else if file.write_all(line.as_bytes()).is_ok() {
                    *written += len;
                } else {
                    *self = Self::Closed;
                }
            }
        }
    }
}

/// Opens the log of this process unless that was tried before. Removes logs of processes that
/// have ended, unless `KeepPreviousLogs=1`.
pub(crate) fn open() {
    let Sink::Waiting(_) = *sink() else { return };
    let opened = host_info::log_dirs().iter().find_map(|dir| open_in(dir));
    let mut sink = sink();
    let lines = match std::mem::replace(&mut *sink, Sink::Closed) {
        Sink::Waiting(lines) => lines,
        Sink::File(..) | Sink::Closed => Vec::new(),
    };
    if let Some(file) = opened {
        *sink = Sink::File(file, 0);
    }
    for line in lines {
        sink.write(line);
    }
    drop(sink);
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(
            std::env::var("LICENCEADDIN_LOG")
                .ok()
                .and_then(|level| level.parse::<LevelFilter>().ok())
                .unwrap_or(LevelFilter::Info),
        );
    }
    log::info!("licenceaddin {} started, pid={}", env!("CARGO_PKG_VERSION"), std::process::id());
}

/// Closes the log for good.
pub(crate) fn close() {
    // At exit a thread of the host may stand inside; its file is closed by the system.
    if let Some(mut sink) = try_lock(&SINK) {
        *sink = Sink::Closed;
    }
}

fn open_in(dir: &Path) -> Option<File> {
    fs::create_dir_all(dir).ok()?;
    if !keeps_previous() {
        remove_ended(dir);
    }
    let module = module::path()?;
    let name = format!(
        "licenceaddin.{}.{}.{}.log",
        clock::file_stamp(),
        std::process::id(),
        module.file_stem()?.to_string_lossy()
    );
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(windows)]
    {
        use std::os::windows::fs::OpenOptionsExt as _;

        /// Others may read and write, but not remove: another process must not take this log for
        /// that of an ended one.
        const FILE_SHARE_READ_WRITE: u32 = 1 | 2;
        options.share_mode(FILE_SHARE_READ_WRITE);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;

        // Several users may write to the common folder; a link of this name was not made by us.
        options.custom_flags(libc::O_NOFOLLOW);
    }
    options.open(dir.join(name)).ok()
}

/// Whether the settings ask for keeping the logs of earlier processes. The file that is there
/// decides, the user's before the common one; the two are never mixed.
fn keeps_previous() -> bool {
    let paths = host_info::conf_paths(host_info::is_server_process());
    paths
        .user
        .into_iter()
        .chain(std::iter::once(paths.common))
        .find_map(|path| read_bounded(&path))
        .and_then(|text| keep_flag(&text))
        .unwrap_or(false)
}

fn read_bounded(path: &PathBuf) -> Option<String> {
    use std::io::Read as _;

    let mut bytes = Vec::new();
    File::open(path).ok()?.take(CONF_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// `KeepPreviousLogs` of section `[Common]`, whatever the case.
fn keep_flag(text: &str) -> Option<bool> {
    let mut in_common = false;
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            in_common = name.trim().eq_ignore_ascii_case("common");
        } else if in_common
            && let Some((key, value)) = line.split_once('=')
            && key.trim().eq_ignore_ascii_case("KeepPreviousLogs")
        {
            return Some(value.trim() == "1");
        }
    }
    None
}

/// Removes the logs of processes that are no longer there. Those of other living processes stay:
/// one server runs many.
fn remove_ended(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(pid_of_log) else { continue };
        if pid != std::process::id() && !host_info::is_alive(pid) {
            // Another process may have removed it first.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn pid_of_log(name: &str) -> Option<u32> {
    let rest = name.strip_prefix("licenceaddin.")?.strip_suffix(".log")?;
    let (stamp, rest) = rest.split_once('.')?;
    let (pid, _module) = rest.split_once('.')?;
    let is_stamp = stamp.len() == 15 && stamp.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    is_stamp.then(|| pid.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_logs_of_the_component_are_candidates_for_removal() {
        for (name, pid) in [
            ("licenceaddin.20260102-030405.77.licenceaddin-x86_64.log", Some(77)),
            ("licenceaddin.20260102-030405.77.a.b.log", Some(77)),
            ("licenceserver.20260102-030405.77.log", None),
            ("licenceaddin.conf", None),
            ("licenceaddin.20260102-030405.x.m.log", None),
            ("licenceaddin.notes.77.m.log", None),
        ] {
            assert_eq!(pid_of_log(name), pid, "{name}");
        }
    }

    #[test]
    fn keeping_previous_logs_is_read_from_the_common_section() {
        for (text, flag) in [
            ("[Common]\nKeepPreviousLogs=1\n", Some(true)),
            ("\u{feff}[common]\r\n keeppreviouslogs = 1 \r\n", Some(true)),
            ("[Common]\nKeepPreviousLogs=0\n", Some(false)),
            ("[672B]\nKeepPreviousLogs=1\n", None),
            ("KeepPreviousLogs=1\n", None),
            ("", None),
        ] {
            assert_eq!(keep_flag(text), flag, "{text:?}");
        }
    }
}
