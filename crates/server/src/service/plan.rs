//! What the service of Windows is made of: account, command line, restarts, words.
//!
//! Values only, the same on every system, so that they can be looked at anywhere; the service manager is
//! called in `windows`.

use std::ffi::OsString;
use std::path::Path;

use licence_core::language::Language;

use super::notify::Phase;

/// The account: the system's own for services that need no rights of an administrator. It may log on as a
/// service whatever the policies of a domain say, which the accounts `NT SERVICE\…` may not everywhere, and
/// has no password that runs out. What tells this service from others of the account is its identifier
/// ([`crate::rights::SERVICE_SID`]), to which the data folder is given.
pub const ACCOUNT: &str = r"NT AUTHORITY\LocalService";

/// Pauses before a service that has ended by itself is started again, in seconds; the last one is
/// repeated, for ever. A crash is over after the first; what an administrator must put right (a wrong conf
/// file, a taken port) leaves an entry in the event log at each start, and must not fill it.
pub const RESTART_PAUSE_SECS: [u64; 3] = [2, 2, 30];

/// After how long without a failure the pauses begin anew, in seconds.
pub const FAILURES_FORGOTTEN_SECS: u64 = 600;

/// How long the machine waits for the service at its shutdown, in seconds: requests under way may take
/// 10 s, the last write some seconds more.
pub const STOP_SECS_MAX: u64 = 30;

/// The arguments by which the service manager starts the program. They are quoted by whoever joins them to
/// a command line.
pub fn arguments(base: &Path) -> Vec<OsString> {
    vec!["service".into(), "run".into(), "--data".into(), base.as_os_str().to_owned()]
}

/// The name that lists of services show.
pub fn display_name(language: Language) -> &'static str {
    language.pick("Сервер лицензий 1С (licenceserver)", "1C licence server (licenceserver)")
}

/// What it is for.
pub fn description(language: Language) -> &'static str {
    language.pick(
        "Учитывает рабочие места лицензий конфигураций 1С:Предприятия для компьютеров сети. Если служба \
         остановлена, защищённые конфигурации не получают лицензий.",
        "Counts the seats of licences of 1C:Enterprise configurations for the computers of a network. \
         While it is stopped, protected configurations get no licences.",
    )
}

/// A state of the service that people and the manager are shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shown {
    /// Opening its data for the first time.
    Starting,
    /// Listening, also while it grants nothing because its data cannot be used.
    Running,
    /// On its way out.
    Stopping,
    /// Gone.
    Stopped,
}

impl Shown {
    /// What a phase of the server is to the manager. A server that has run and opens its data again still
    /// runs: it keeps its port.
    pub const fn of(phase: &Phase, before: Self) -> Self {
        match (phase, before) {
            (Phase::Stopping, _) => Self::Stopping,
            (Phase::Opening, Self::Starting | Self::Stopped) => Self::Starting,
            (Phase::Opening, Self::Running | Self::Stopping)
            | (Phase::Serving(..) | Phase::Closed(_), _) => Self::Running,
        }
    }
}

/// A word in both languages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Word {
    russian: &'static str,
    english: &'static str,
}

impl Word {
    /// In one of them.
    pub const fn text(self, language: Language) -> &'static str {
        match language {
            Language::Russian => self.russian,
            Language::English => self.english,
        }
    }
}

impl std::fmt::Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.english)
    }
}

/// What a state is called.
pub const fn word(state: Shown) -> Word {
    let (russian, english) = match state {
        Shown::Starting => ("запускается", "starting"),
        Shown::Running => ("работает", "running"),
        Shown::Stopping => ("останавливается", "stopping"),
        Shown::Stopped => ("остановлена", "stopped"),
    };
    Word { russian, english }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command, ServiceAction};

    #[test]
    fn arguments_are_what_the_command_line_understands() {
        for base in [r"C:\ProgramData\1C\Licence", r"D:\Данные сервера\lic ence\"] {
            let line = [vec!["licenceserver".into()], arguments(Path::new(base))].concat();
            let command = Cli::try_parse_from(line).unwrap().into_command();
            let Some(Command::Service(options)) = command else { panic!("{base}") };
            assert_eq!(options.action, ServiceAction::Run);
            assert_eq!(options.base, Path::new(base));
        }
    }

    #[test]
    fn service_that_has_run_goes_on_running_while_it_opens_its_data_again() {
        for (phase, before, expected) in [
            (Phase::Opening, Shown::Starting, Shown::Starting),
            (Phase::Closed(String::new()), Shown::Starting, Shown::Running),
            (Phase::Opening, Shown::Running, Shown::Running),
            (Phase::Stopping, Shown::Running, Shown::Stopping),
            (Phase::Stopping, Shown::Starting, Shown::Stopping),
        ] {
            assert_eq!(Shown::of(&phase, before), expected, "{phase:?} {before:?}");
        }
    }

    #[test]
    fn restarts_never_end_and_give_an_administrator_time() {
        assert!(RESTART_PAUSE_SECS.is_sorted());
        let sum: u64 = RESTART_PAUSE_SECS.iter().sum();
        assert!(sum < FAILURES_FORGOTTEN_SECS, "the last pause would never come");
    }
}
