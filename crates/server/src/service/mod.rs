//! The server as a service of the operating system: `licenceserver service …`.
//!
//! Decides which service manager there is and what is to be done in which order; what the unit and
//! the script say is decided in [`systemd`] and [`sysv`]. Never touches keys, licences or settings.

mod facts;
pub mod notify;
pub mod systemd;
pub mod sysv;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use licence_core::causes::with_causes;
use licence_core::language::Language;

pub use self::facts::{Devices, Facts};
use crate::cli::{self, ServiceAction, ServiceOptions};
use crate::config::{Config, ConfigError};
use crate::identity::{Identity, SealOptions};
use crate::paths::Paths;
use crate::store::lock::{DataLock, LockError};

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
    /// Only root may do it.
    #[error("only root may do this")]
    NotRoot,
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
            Self::Unsupported => language.pick(
                "на Windows служба создаётся установщиком; в контейнере запускайте \
                 `licenceserver run`",
                "on Windows the installer makes the service; in a container run \
                 `licenceserver run`",
            ),
            Self::Call { .. }
            | Self::Config(_)
            | Self::Io { .. }
            | Self::Lock(_)
            | Self::Name { .. } => "",
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

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Manager {
    Systemd,
    SysV,
}

/// Whether systemd is process 1.
pub fn is_under_systemd() -> bool {
    Path::new(SYSTEMD_RUNS).is_dir()
}

impl Manager {
    fn found() -> Result<Self, ServiceError> {
        if !cfg!(target_os = "linux") {
            Err(ServiceError::Unsupported)
        } else if is_under_systemd() {
            Ok(Self::Systemd)
        } else if Path::new("/etc/init.d").is_dir() {
            Ok(Self::SysV)
        } else {
            Err(ServiceError::Unsupported)
        }
    }
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
        let config = Config::load(&Paths::new(&facts.base).conf())?;
        let group = Path::new("/etc/group");
        let group = options
            .root
            .as_ref()
            .map_or_else(|| group.to_owned(), |root| below(root, "/etc/group"));
        // Without it nothing is said of groups.
        let groups = std::fs::read_to_string(group).unwrap_or_default();
        facts.with_devices(Devices::of(&config, &groups))
    };
    if let Some(root) = &options.root {
        return match options.action {
            ServiceAction::Install => write_below(root, &facts()?, language),
            ServiceAction::Uninstall => remove_below(root),
            ServiceAction::Start | ServiceAction::Stop | ServiceAction::Status => {
                Err(ServiceError::Name {
                    what: "--root".to_owned(),
                    why: "below another root nothing is started",
                })
            }
        };
    }
    let manager = Manager::found()?;
    match options.action {
        ServiceAction::Install => install(manager, &facts()?, language),
        ServiceAction::Uninstall => uninstall(manager, &options.base, language),
        ServiceAction::Start => control(manager, "start"),
        ServiceAction::Stop => control(manager, "stop"),
        ServiceAction::Status => control(manager, "status"),
    }
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

fn install(manager: Manager, facts: &Facts, language: Language) -> Result<ExitCode, ServiceError> {
    check_root()?;
    check_folder(&facts.base)?;
    make_user(facts)?;
    std::fs::create_dir_all(&facts.base).map_err(|why| ServiceError::io(&facts.base, why))?;
    let owner = format!("{0}:{0}", facts.user);
    let mut chown = Command::new("chown");
    // Links are changed themselves and never followed.
    succeed(chown.args(["-R", "-h", "-P", &owner]).arg(&facts.base))?;
    hand_over_identity(&facts.base, language)?;
    match manager {
        Manager::Systemd => {
            write_file(Path::new(systemd::UNIT_PATH), &systemd::unit(facts), 0o644)?;
            succeed(Command::new("systemctl").arg("daemon-reload"))?;
            succeed(Command::new("systemctl").args(["enable", NAME]))?;
            // A running one takes the new unit only by a restart; its sessions stay.
            succeed(Command::new("systemctl").args(["restart", NAME]))?;
        }
        Manager::SysV => {
            write_file(Path::new(sysv::SCRIPT_PATH), &sysv::script(facts), 0o755)?;
            register(true)?;
            succeed(Command::new(sysv::SCRIPT_PATH).arg("restart"))?;
        }
    }
    say(language.pick(
        "Служба licenceserver установлена и запущена.",
        "The service licenceserver is installed and running.",
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The seal of a server that root has run by hand has parts that the service's user cannot read: it is
/// made anew for that user. A server that holds the data has sealed them itself.
fn hand_over_identity(base: &Path, language: Language) -> Result<(), ServiceError> {
    let paths = Paths::new(base);
    if !paths.identity().exists() {
        return Ok(());
    }
    let config = Config::load(&paths.conf())?;
    let lock = match DataLock::take(&paths.database()) {
        Ok(lock) => lock,
        Err(LockError::InUse { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let outcome = Identity::hand_over(SealOptions::of(&paths, &config));
    drop(lock);
    match outcome {
        Ok(true) => say(language.pick(
            "Ключ сервера запечатан заново для пользователя службы, лицензии остаются в силе.",
            "The key of the server is sealed anew for the service's user; the licences stay in force.",
        )),
        Ok(false) => Ok(()),
        // The service says so as well, and what to do.
        Err(error) => say(&format!(
            "{}: {}",
            language.pick("Ключ сервера не открывается", "The key of the server does not open"),
            with_causes(&error)
        )),
    }
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

fn uninstall(manager: Manager, base: &Path, language: Language) -> Result<ExitCode, ServiceError> {
    check_root()?;
    match manager {
        Manager::Systemd => {
            if Path::new(systemd::UNIT_PATH).exists() {
                succeed(Command::new("systemctl").args(["disable", "--now", NAME]))?;
                remove(Path::new(systemd::UNIT_PATH))?;
                succeed(Command::new("systemctl").arg("daemon-reload"))?;
            }
        }
        Manager::SysV => {
            if Path::new(sysv::SCRIPT_PATH).exists() {
                succeed(Command::new(sysv::SCRIPT_PATH).arg("stop"))?;
                register(false)?;
                remove(Path::new(sysv::SCRIPT_PATH))?;
            }
        }
    }
    say(&format!(
        "{} {}",
        language.pick(
            "Служба licenceserver удалена; данные остались в папке",
            "The service licenceserver is removed; its data stay in",
        ),
        base.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Passes a word on to the service manager, with what it prints and how it ends.
fn control(manager: Manager, word: &str) -> Result<ExitCode, ServiceError> {
    let mut command = match manager {
        Manager::Systemd => {
            let mut command = Command::new("systemctl");
            command.args(["--no-pager", word, NAME]);
            command
        }
        Manager::SysV => {
            let mut command = Command::new(sysv::SCRIPT_PATH);
            command.arg(word);
            command
        }
    };
    let program = PathBuf::from(command.get_program());
    let status = command.status().map_err(|why| ServiceError::io(&program, why))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Puts the script into the runlevels, or takes it out, by whichever tool there is.
fn register(enable: bool) -> Result<(), ServiceError> {
    let (debian, redhat) = if enable {
        (["-f", NAME, "defaults"], ["--add", NAME])
    } else {
        (["-f", NAME, "remove"], ["--del", NAME])
    };
    if has("update-rc.d") {
        succeed(Command::new("update-rc.d").args(debian))
    } else if has("chkconfig") {
        succeed(Command::new("chkconfig").args(redhat))
    } else {
        // The administrator links the script; it works by hand.
        Ok(())
    }
}

fn has(program: &str) -> bool {
    ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
        .iter()
        .any(|folder| Path::new(folder).join(program).exists())
}

fn make_user(facts: &Facts) -> Result<(), ServiceError> {
    let known = Command::new("id")
        .args(["-u", &facts.user])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|why| ServiceError::io(Path::new("id"), why))?;
    if known.success() {
        return Ok(());
    }
    let mut useradd = Command::new("useradd");
    useradd.args(["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin"]);
    succeed(useradd.arg("--home-dir").arg(&facts.base).arg(&facts.user))
}

#[cfg(unix)]
fn check_root() -> Result<(), ServiceError> {
    use std::os::unix::fs::MetadataExt;
    let own = Path::new("/proc/self");
    let found = std::fs::metadata(own).map_err(|why| ServiceError::io(own, why))?;
    if found.uid() == 0 { Ok(()) } else { Err(ServiceError::NotRoot) }
}

#[cfg(not(unix))]
fn check_root() -> Result<(), ServiceError> {
    Err(ServiceError::Unsupported)
}

fn succeed(command: &mut Command) -> Result<(), ServiceError> {
    let program = PathBuf::from(command.get_program());
    let output =
        command.stdin(Stdio::null()).output().map_err(|why| ServiceError::io(&program, why))?;
    if output.status.success() {
        return Ok(());
    }
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let call: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ServiceError::Call {
        call: call.join(" "),
        how: if said.is_empty() {
            output.status.to_string()
        } else {
            format!("{}: {said}", output.status)
        },
    })
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
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    }
    #[cfg(not(unix))]
    let _ = mode;
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
