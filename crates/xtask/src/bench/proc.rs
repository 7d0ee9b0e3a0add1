//! What the kernel knows of another process: processor time and memory. Linux only, by `/proc`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::stage::StageError;

/// Length of a tick of `/proc/PID/stat`: `USER_HZ` is 100 on every architecture we build for.
const TICK: Duration = Duration::from_millis(10);

/// Place of `utime` in `/proc/PID/stat`, counted from the field after the name (proc(5): 14 − 3).
const USER_FIELD: usize = 11;

/// User and system time that a process has used so far, to 10 ms.
///
/// # Errors
///
/// When there is no such process.
pub(super) fn cpu(pid: u32) -> Result<Duration, StageError> {
    let path = format!("/proc/{pid}/stat");
    let text = read(&path)?;
    parse_cpu(&text).ok_or_else(|| StageError::failed(format!("{path} is of another form")))
}

fn parse_cpu(stat: &str) -> Option<Duration> {
    // The name in brackets may contain anything, brackets and spaces too.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut ticks = fields.split(' ').skip(USER_FIELD).map(str::parse::<u32>);
    Some(TICK * ticks.next()?.ok()?.checked_add(ticks.next()?.ok()?)?)
}

/// Resident memory of a process in KiB (`VmRSS`).
///
/// # Errors
///
/// When there is no such process.
pub(super) fn resident_kib(pid: u32) -> Result<u64, StageError> {
    let path = format!("/proc/{pid}/status");
    let text = read(&path)?;
    parse_resident(&text).ok_or_else(|| StageError::failed(format!("{path} is of another form")))
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn read(path: &str) -> Result<String, StageError> {
    fs::read_to_string(path).map_err(|why| StageError::io(Path::new(path), why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(parse_cpu(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse_cpu("7 (a"), None);
    }

    #[test]
    fn memory_is_read_in_kib() {
        assert_eq!(parse_resident("VmPeak:\t  9 kB\nVmRSS:\t    5120 kB\n"), Some(5120));
        assert_eq!(parse_resident("VmPeak:\t  9 kB\n"), None);
    }

    #[test]
    fn own_process_has_figures() {
        assert!(resident_kib(std::process::id()).unwrap() > 0);
        assert!(cpu(std::process::id()).is_ok());
    }
}
