//! The event log of Windows: what an administrator should find there, under which number.
//!
//! Says only what the log file says as well, and only what calls for somebody: a server that does not
//! start, that is closed, that has panicked. On other systems nothing is written; there standard error goes
//! to the journal.

use crate::closed::Reason;

/// Name of the source, in the log "Application".
pub const SOURCE: &str = "licenceserver";

/// File whose messages are one text and nothing else, for numbers up to [`ID_MAX`]. Windows brings it for
/// `eventcreate`; a library of messages of our own would have to be kept after the program is removed.
pub const MESSAGE_FILE: &str = r"%SystemRoot%\System32\EventCreate.exe";

/// Largest number that [`MESSAGE_FILE`] has a message for.
pub const ID_MAX: u32 = 1000;

/// Longest text of an entry, in UTF-16 units: Windows refuses more than 31 839.
pub const TEXT_UNITS_MAX: usize = 31_000;

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The server ended because it could not start, or its last write failed.
    CannotRun,
    /// The journal failed while the server ran; it grants nothing until its data can be used.
    JournalFailed,
    /// The identity does not open on this computer.
    IdentityLocked,
    /// The server grants nothing for another reason.
    Closed,
    /// A part of the program panicked.
    Panicked,
    /// The server works again after one of the above.
    Recovered,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::CannotRun,
        Self::JournalFailed,
        Self::IdentityLocked,
        Self::Closed,
        Self::Panicked,
        Self::Recovered,
    ];

    /// Its number, by which administrators filter: it never changes.
    pub const fn id(self) -> u32 {
        match self {
            Self::CannotRun => 100,
            Self::JournalFailed => 101,
            Self::IdentityLocked => 102,
            Self::Closed => 103,
            Self::Panicked => 104,
            Self::Recovered => 110,
        }
    }

    /// The event of a server that is closed for this reason.
    pub const fn of(reason: &Reason) -> Self {
        match reason {
            Reason::IdentityLocked(_) => Self::IdentityLocked,
            Reason::Journal => Self::JournalFailed,
            Reason::Damaged
            | Reason::Disk { .. }
            | Reason::Full
            | Reason::Identity
            | Reason::Keys
            | Reason::Locked
            | Reason::Newer { .. }
            | Reason::NotWritable
            | Reason::Port
            | Reason::SecondServer
            | Reason::Settings
            | Reason::System(_)
            | Reason::Unproven => Self::Closed,
        }
    }

    /// Whether it is shown among the errors.
    pub const fn is_error(self) -> bool {
        !matches!(self, Self::Recovered)
    }
}

/// Writes an entry. A log that cannot be written changes nothing: the log file has the same words.
pub fn tell(event: Event, text: &str) {
    #[cfg(windows)]
    {
        use windows_sys::Win32::System::EventLog::{
            EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE,
        };
        let kind = if event.is_error() { EVENTLOG_ERROR_TYPE } else { EVENTLOG_INFORMATION_TYPE };
        if let Err(error) = crate::win32::report_event(SOURCE, kind, event.id(), shortened(text)) {
            log::debug!("the event log cannot be written: {error}");
        }
    }
    #[cfg(not(windows))]
    log::trace!("no event log is told {event:?}: {}", shortened(text));
}

/// The beginning of a text that is too long for an entry.
fn shortened(text: &str) -> &str {
    let mut units = 0;
    for (at, sign) in text.char_indices() {
        units += sign.len_utf16();
        if units > TEXT_UNITS_MAX {
            return &text[..at];
        }
    }
    text
}

/// Has panics told in the log file and the event log: a service has no standard error. The hook from
/// before is called as well.
#[cfg(windows)]
pub fn tell_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.to_string();
        log::error!("{text}");
        tell(Event::Panicked, &text);
        before(panic);
    }));
}

/// Makes the source known, so that the viewer shows the text alone. For an administrator.
///
/// # Errors
///
/// Those of the registry.
#[cfg(windows)]
pub fn register() -> std::io::Result<()> {
    /// Errors, warnings and information.
    const TYPES: u32 = 7;
    let key = windows_registry::LOCAL_MACHINE.create(key_name())?;
    key.set_expand_string("EventMessageFile", MESSAGE_FILE)?;
    key.set_u32("TypesSupported", TYPES)?;
    Ok(())
}

/// Forgets the source; its entries stay in the log.
///
/// # Errors
///
/// Those of the registry. A source that is not there is none.
#[cfg(windows)]
pub fn forget() -> std::io::Result<()> {
    /// `ERROR_FILE_NOT_FOUND` as the registry's crate tells it, an HRESULT.
    const NOT_FOUND: i32 = 0x8007_0002_u32.cast_signed();
    match windows_registry::LOCAL_MACHINE.remove_tree(key_name()).map_err(std::io::Error::from) {
        Err(error) if error.raw_os_error() != Some(NOT_FOUND) => Err(error),
        _ => Ok(()),
    }
}

/// Where the source stands in the registry, below the machine.
pub fn key_name() -> String {
    format!(r"SYSTEM\CurrentControlSet\Services\EventLog\Application\{SOURCE}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_differ_and_have_a_message_in_the_file() {
        let ids: BTreeSet<_> = Event::ALL.iter().map(|event| event.id()).collect();
        assert_eq!(ids.len(), Event::ALL.len());
        assert!(ids.iter().all(|id| (1..=ID_MAX).contains(id)), "{ids:?}");
    }

    #[test]
    fn reason_of_a_closed_server_names_its_event() {
        for (reason, expected) in [
            (Reason::Journal, Event::JournalFailed),
            (Reason::Full, Event::Closed),
            (Reason::Port, Event::Closed),
        ] {
            assert_eq!(Event::of(&reason), expected, "{reason:?}");
        }
        assert!(Event::Closed.is_error() && !Event::Recovered.is_error());
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(shortened("порт занят"), "порт занят");
        // Two units each.
        let long = "𝟙".repeat(TEXT_UNITS_MAX);
        assert_eq!(shortened(&long).encode_utf16().count(), TEXT_UNITS_MAX);
    }
}
