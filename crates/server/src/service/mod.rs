//! The server as a service of the operating system: `licenceserver service …`.
//!
//! Decides which service manager there is and what is to be done in which order; what the unit and
//! the script say is decided in [`systemd`] and [`sysv`], what the service of Windows is made of in
//! [`plan`], what the manager of each system is told in `unix` and `windows`. Never touches keys, licences or settings.

mod facts;
pub mod notify;
pub mod plan;
pub mod systemd;
pub mod sysv;
#[cfg(not(windows))]
mod unix;
#[cfg(windows)]
pub mod windows;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use licence_core::causes::with_causes;
use licence_core::language::Language;

pub use self::facts::{Devices, Facts};
use crate::cli::{self, ServiceAction, ServiceOptions};
use crate::config::{Config, ConfigError};
use crate::paths::Paths;
use crate::rights::RightsError;
use crate::store::lock::LockError;

/// Name of the service.
pub const NAME: &str = "licenceserver";

/// Folder that is there when systemd is process 1 (sd_booted(3)).
const SYSTEMD_RUNS: &str = "/run/systemd/system";

/// Why the service was not dealt with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// A call of another program did not succeed.
    #[error("`{call}` ended with {how}")]
    Call {
        /// The program and its arguments.
        call: String,
        /// How it ended.
        how: String,
    },
    /// The settings in the data folder.
    #[error("the settings cannot be used")]
    Config(#[from] ConfigError),
    /// The data could not be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file or program could not be used.
    #[error("{path}")]
    Io {
        /// The file or program.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A name that cannot stand in a unit or script.
    #[error("{what} cannot be used for a service: {why}")]
    Name {
        /// What it is, with its value.
        what: String,
        /// Why.
        why: &'static str,
    },
    /// The program was started by a person as only the service manager starts it.
    #[error("only the service manager of Windows may start this")]
    ByHand,
    /// The service ended instead of starting.
    #[error("the service has ended with code {0}")]
    Ended(u32),
    /// It is still on its way.
    #[error("the service is still {0}")]
    Late(plan::Word),
    /// The service manager of Windows refused.
    #[error("{doing}")]
    Manager {
        /// What was wanted.
        doing: &'static str,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Only an administrator may do it.
    #[error("only an administrator may do this")]
    NotAdministrator,
    /// There is no such service.
    #[error("the service licenceserver is not installed")]
    NotInstalled,
    /// Only root may do it.
    #[error("only root may do this")]
    NotRoot,
    /// The data folder.
    #[error(transparent)]
    Rights(#[from] RightsError),
    /// Neither systemd nor System V init.
    #[error("this system has neither systemd nor System V init")]
    Unsupported,
}

impl ServiceError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// What to do about it, where there is more to say than the error itself.
    fn advice(&self, language: Language) -> &'static str {
        match self {
            Self::NotRoot => language.pick("повторите с sudo", "run it again with sudo"),
            Self::ByHand => language.pick(
                "в консоли запускайте `licenceserver run`",
                "in a console say `licenceserver run`",
            ),
            Self::Ended(_) | Self::Late(_) => language.pick(
                "причина записана в журнале событий Windows и в папке 3.0\\logs",
                "the event log of Windows and the folder 3.0\\logs say why",
            ),
            Self::NotAdministrator => language.pick(
                "повторите в консоли, запущенной от имени администратора",
                "run it again in a console that was started as administrator",
            ),
            Self::NotInstalled => language.pick(
                "её создаёт `licenceserver service install`",
                "`licenceserver service install` makes it",
            ),
            Self::Unsupported => language.pick(
                "в контейнере запускайте `licenceserver run`",
                "in a container run `licenceserver run`",
            ),
            Self::Call { .. }
            | Self::Config(_)
            | Self::Io { .. }
            | Self::Lock(_)
            | Self::Manager { .. }
            | Self::Name { .. }
            | Self::Rights(_) => "",
        }
    }
}

/// Does what the command line says about the service.
pub fn main(options: &ServiceOptions) -> ExitCode {
    let language = cli::language(options.lang);
    match act(options, language) {
        Ok(code) => code,
        Err(error) => {
            let mut text = format!("licenceserver service: {}", with_causes(&error));
            let advice = error.advice(language);
            if !advice.is_empty() {
                text.push_str(": ");
                text.push_str(advice);
            }
            // Standard error may be closed; the exit code tells all the same.
            drop(writeln!(io::stderr(), "{text}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether systemd is process 1.
pub fn is_under_systemd() -> bool {
    Path::new(SYSTEMD_RUNS).is_dir()
}

fn act(options: &ServiceOptions, language: Language) -> Result<ExitCode, ServiceError> {
    let program = match &options.program {
        Some(program) => program.clone(),
        None => {
            std::env::current_exe().map_err(|error| ServiceError::io(Path::new(NAME), error))?
        }
    };
    let facts = || {
        let facts = Facts::new(program.clone(), options.base.clone(), options.user.clone())?;
        // What is written below another root says nothing of this computer.
        let at = |path: &Path| match &options.root {
            Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
            None => path.to_owned(),
        };
        let config = Config::load(&at(&Paths::new(&facts.base).conf()))?;
        let group = at(Path::new("/etc/group"));
        // Without it nothing is said of groups.
        let groups = std::fs::read_to_string(group).unwrap_or_default();
        facts.with_devices(Devices::of(&config, &groups))
    };
    if let Some(root) = &options.root {
        return match options.action {
            ServiceAction::Install => write_below(root, &facts()?, language),
            ServiceAction::Uninstall => remove_below(root),
            ServiceAction::Prepare
            | ServiceAction::Run
            | ServiceAction::Start
            | ServiceAction::Stop
            | ServiceAction::Status => Err(ServiceError::Name {
                what: "--root".to_owned(),
                why: "below another root nothing is changed or started",
            }),
        };
    }
    #[cfg(windows)]
    return windows::act(options.action, facts, &options.base, language);
    #[cfg(not(windows))]
    unix::act(options, facts, language)
}

/// Writes both the unit and the script, for packages.
fn write_below(root: &Path, facts: &Facts, language: Language) -> Result<ExitCode, ServiceError> {
    for (path, text, mode) in [
        (systemd::UNIT_PATH, systemd::unit(facts), 0o644),
        (sysv::SCRIPT_PATH, sysv::script(facts), 0o755),
    ] {
        let path = below(root, path);
        write_file(&path, &text, mode)?;
        say(&format!("{} {}", language.pick("записан", "written:"), path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn remove_below(root: &Path) -> Result<ExitCode, ServiceError> {
    for path in [systemd::UNIT_PATH, sysv::SCRIPT_PATH] {
        remove(&below(root, path))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses a folder that would be given to the service's user by mistake: a link to somewhere, or one
/// full of something else.
fn check_folder(base: &Path) -> Result<(), ServiceError> {
    let refuse = |why| {
        let what = format!("--data {}", base.display());
        Err(ServiceError::Name { what, why })
    };
    let found = match std::fs::symlink_metadata(base) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ServiceError::io(base, error)),
    };
    if found.is_symlink() {
        return refuse("this is a link; name the folder itself");
    }
    if !found.is_dir() {
        return refuse("this is no folder");
    }
    let is_ours = ["3.0", "data"].iter().any(|name| base.join(name).is_dir());
    let mut entries = std::fs::read_dir(base).map_err(|why| ServiceError::io(base, why))?;
    if !is_ours && entries.next().is_some() {
        return refuse("the folder is not empty and holds no data of a licence server");
    }
    Ok(())
}

/// `/etc/x` below another root.
fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn write_file(path: &Path, text: &str, mode: u32) -> Result<(), ServiceError> {
    let failed = |why| ServiceError::io(path, why);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)?;
    set_mode(path, mode).map_err(failed)
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

fn remove(path: &Path) -> Result<(), ServiceError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ServiceError::io(path, error)),
        _ => Ok(()),
    }
}

fn say(text: &str) -> Result<(), ServiceError> {
    writeln!(io::stdout(), "{text}").map_err(|why| ServiceError::io(Path::new("stdout"), why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_of_somebody_else_is_not_given_away() {
        let dir = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let folder = dir.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            folder
        };
        assert!(check_folder(&dir.path().join("none")).is_ok());
        assert!(check_folder(&folder("empty")).is_ok());
        folder("server/3.0");
        assert!(check_folder(&folder("server")).is_ok());
        folder("full/else");
        assert!(check_folder(&folder("full")).is_err());
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(check_folder(&dir.path().join("file")).is_err());
        #[cfg(unix)]
        {
            let link = dir.path().join("link");
            std::os::unix::fs::symlink(folder("server"), &link).unwrap();
            assert!(check_folder(&link).is_err());
        }
    }
}
