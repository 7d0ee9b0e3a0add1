//! The hardware fingerprint that was seen last, in a small file: whether this is still the same
//! computer.
//!
//! Only for a warning: which computer may use a licence is decided by the identity. The file says
//! with the fingerprint how it was computed; one that was computed otherwise says nothing of the
//! hardware, and is replaced without a word.

use std::fs;
use std::path::Path;

use licence_core::time::Utc;

use super::Check;
use crate::atomic_file::{self, Readers};
use crate::host::COMPUTER_ID_FORMAT;

/// How long a change of the hardware is shown.
const COMPUTER_CHANGE_DAYS: u32 = 7;

/// Largest file of the hardware fingerprint, in bytes: two fingerprints and a date.
const COMPUTER_BYTES_MAX: usize = 256;

/// Remembers the fingerprint of this computer, and since when it is another one. Failures are
/// logged: the server works without.
pub fn remember(path: &Path, computer_id: &str, now: Utc) {
    let mut text = format!("{computer_id} {COMPUTER_ID_FORMAT}\n");
    if let Some(known) = read_computer(path)
        && known.format == COMPUTER_ID_FORMAT
    {
        if known.id == computer_id {
            return;
        }
        log::warn!("the hardware has changed, before={}, after={computer_id}", known.id);
        text.push_str(&format!("{now} {}\n", known.id));
    }
    if let Err(error) = atomic_file::replace(path, text.as_bytes(), Readers::Anybody) {
        log::warn!("{} cannot be written: {error}", path.display());
    }
}

/// Whether the hardware has changed lately.
pub fn check(path: &Path, present: Option<&str>, now: Utc) -> Check {
    let known = read_computer(path).filter(|known| known.format == COMPUTER_ID_FORMAT);
    let changed = known.as_ref().and_then(|known| known.changed);
    let is_recent = changed.is_some_and(|at| now < at.plus_days(COMPUTER_CHANGE_DAYS));
    let is_other = known.as_ref().zip(present).is_some_and(|(known, present)| known.id != present);
    if !is_recent && !is_other {
        return Check::ok("hardware", "Оборудование не менялось.", "The hardware has not changed.");
    }
    let when = changed.map(|at| format!(" ({at})")).unwrap_or_default();
    Check::warning(
        "hardware",
        format!("Оборудование компьютера изменилось{when}."),
        format!("The hardware of this computer has changed{when}."),
    )
    .advise(
        "Если данные перенесены с другого компьютера, проверьте, что прежний сервер выключен.",
        "If the data came from another computer, make sure that the server there is off.",
    )
}

struct Computer {
    id: String,
    /// How it was computed.
    format: u32,
    changed: Option<Utc>,
}

fn read_computer(path: &Path) -> Option<Computer> {
    let text = fs::read_to_string(path).ok().filter(|text| text.len() <= COMPUTER_BYTES_MAX)?;
    let mut lines = text.lines();
    let mut words = lines.next()?.split_whitespace();
    let id = words.next()?.to_owned();
    // The first files had the fingerprint alone.
    let format = words.next().map_or(Some(1), |word| word.parse().ok())?;
    let changed = lines.next().and_then(|line| line.split_whitespace().next()?.parse().ok());
    Some(Computer { id, format, changed })
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn change_of_the_computer_is_shown_for_a_week() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("computer.id");
        let day = |day: u32| "2026-01-01T00:00:00Z".parse::<Utc>().unwrap().plus_days(day);
        let state = |now| check(&path, None, now).state;
        remember(&path, "AA", day(0));
        assert_eq!(state(day(0)), State::Ok);
        assert_eq!(check(&path, Some("BB"), day(0)).state, State::Warning);
        remember(&path, "BB", day(1));
        assert_eq!(state(day(2)), State::Warning);
        remember(&path, "BB", day(3));
        assert_eq!(state(day(8)), State::Ok);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn fingerprint_that_was_computed_otherwise_is_no_change_of_the_hardware() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("computer.id");
        let now: Utc = "2026-01-02T00:00:00Z".parse().unwrap();
        for before in ["AA\n", "AA\n2026-01-01T00:00:00Z BB\n", "AA 1\n", "AA 3\n", "AA x\n", ""] {
            fs::write(&path, before).unwrap();
            assert_eq!(check(&path, Some("CC"), now).state, State::Ok, "{before:?} before a start");
            remember(&path, "CC", now);
            assert_eq!(check(&path, Some("CC"), now).state, State::Ok, "{before:?}");
            assert_eq!(check(&path, Some("DD"), now).state, State::Warning, "{before:?}");
        }
    }
}
