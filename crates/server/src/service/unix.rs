//! The service managers of Unix: systemd, else System V init.
//!
//! Makes the user, hands over the data, registers, starts and stops. What the unit and the script say is
//! decided in [`super::systemd`] and [`super::sysv`].

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use licence_core::causes::with_causes;
use licence_core::language::Language;

use super::{
    Facts, NAME, ServiceError, check_folder, is_under_systemd, remove, say, set_mode, systemd,
    sysv, write_file,
};
use crate::cli::{ServiceAction, ServiceOptions};
use crate::config::Config;
use crate::identity::{Identity, SealOptions};
use crate::paths::Paths;
use crate::store::lock::{DataLock, LockError};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Manager {
    Systemd,
    SysV,
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

pub(super) fn act(
    options: &ServiceOptions,
    facts: impl FnOnce() -> Result<Facts, ServiceError>,
    language: Language,
) -> Result<ExitCode, ServiceError> {
    match options.action {
        // A package prepares before anything runs, and where nothing ever runs: in a root being made.
        ServiceAction::Prepare => {
            prepare(&facts()?, language)?;
            Ok(ExitCode::SUCCESS)
        }
        ServiceAction::Install => install(Manager::found()?, &facts()?, language),
        ServiceAction::Uninstall => uninstall(Manager::found()?, &options.base, language),
        ServiceAction::Start => control(Manager::found()?, "start"),
        ServiceAction::Stop => control(Manager::found()?, "stop"),
        ServiceAction::Status => control(Manager::found()?, "status"),
        ServiceAction::Run => Err(ServiceError::Unsupported),
    }
}

/// Makes the user and gives it the data folder, with whatever an earlier server has left there.
fn prepare(facts: &Facts, language: Language) -> Result<(), ServiceError> {
    check_root()?;
    check_folder(&facts.base)?;
    make_user(facts)?;
    let paths = Paths::new(&facts.base);
    // Components read their settings beside ours; licences are the server's alone.
    make_folder(&facts.base, 0o755)?;
    make_folder(&paths.settings(), 0o755)?;
    make_folder(&paths.keys(), 0o750)?;
    let owner = format!("{0}:{0}", facts.user);
    let mut chown = Command::new("chown");
    // Links are changed themselves and never followed.
    succeed(chown.args(["-R", "-h", "-P", &owner]).arg(&facts.base))?;
    hand_over_identity(&facts.base, language)
}

/// Makes a folder with this mode; one that is there keeps the mode that somebody has given it.
fn make_folder(path: &Path, mode: u32) -> Result<(), ServiceError> {
    let failed = |why| ServiceError::io(path, why);
    if path.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(path).map_err(failed)?;
    set_mode(path, mode).map_err(failed)
}

fn install(manager: Manager, facts: &Facts, language: Language) -> Result<ExitCode, ServiceError> {
    prepare(facts, language)?;
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

fn check_root() -> Result<(), ServiceError> {
    use std::os::unix::fs::MetadataExt;
    let own = Path::new("/proc/self");
    let found = std::fs::metadata(own).map_err(|why| ServiceError::io(own, why))?;
    if found.uid() == 0 { Ok(()) } else { Err(ServiceError::NotRoot) }
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
