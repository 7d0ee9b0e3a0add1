//! The service manager of Windows: makes, removes, starts and stops the service.
//!
//! What the service is made of is decided in [`super::plan`]; who may read its data, in
//! [`crate::rights`]; what runs inside of it, in [`run`].

mod run;

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use licence_core::language::Language;
use windows_service::service::{
    Service, ServiceAccess, ServiceErrorControl, ServiceExitCode, ServiceFailureActions,
    ServiceFailureResetPeriod, ServiceInfo, ServiceSidType, ServiceStartType, ServiceState,
    ServiceStatus, ServiceType,
};
use windows_service::service::{ServiceAction as Failure, ServiceActionType};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

pub use self::run::{Wishes, dispatch, tell_manager, wishes};
use super::{Facts, NAME, ServiceError, plan, say};
use crate::cli::ServiceAction;
use crate::paths::Paths;
use crate::{clock, eventlog, rights};

/// How long a service may take to start or stop before whoever asked is told that it has not: a first
/// start makes keys and a database, a stop waits for requests under way.
const WAIT_SECS_MAX: f64 = 60.0;

/// How often the manager is asked meanwhile. It tells of a change by itself only to a thread that waits for
/// nothing else in an alertable way, which the standard library has no safe call for.
const POLL: Duration = Duration::from_millis(100);

const ERROR_ACCESS_DENIED: i32 = 5;
const ERROR_INVALID_LEVEL: i32 = 124;
const ERROR_SERVICE_ALREADY_RUNNING: i32 = 1056;
const ERROR_SERVICE_DOES_NOT_EXIST: i32 = 1060;
const ERROR_SERVICE_NOT_ACTIVE: i32 = 1062;

/// What the system said, where it was the system.
fn code(error: &windows_service::Error) -> Option<i32> {
    match error {
        windows_service::Error::Winapi(error) => error.raw_os_error(),
        _ => None,
    }
}

/// An error of the service manager, with what was wanted of it.
fn refused(doing: &'static str) -> impl Fn(windows_service::Error) -> ServiceError {
    move |error| match code(&error) {
        Some(ERROR_ACCESS_DENIED) => ServiceError::NotAdministrator,
        Some(ERROR_SERVICE_DOES_NOT_EXIST) => ServiceError::NotInstalled,
        _ => ServiceError::Manager { doing, source: Box::new(error) },
    }
}

/// Does what the command line says, but for running as the service.
pub(super) fn act(
    action: ServiceAction,
    facts: impl FnOnce() -> Result<Facts, ServiceError>,
    base: &Path,
    language: Language,
) -> Result<ExitCode, ServiceError> {
    match action {
        ServiceAction::Install => install(&facts()?, language),
        // Only packages of Linux prepare apart from installing.
        ServiceAction::Prepare => Err(ServiceError::Unsupported),
        ServiceAction::Uninstall => uninstall(base, language),
        ServiceAction::Start => {
            start(&open(ServiceAccess::QUERY_STATUS | ServiceAccess::START)?)?;
            Ok(ExitCode::SUCCESS)
        }
        ServiceAction::Stop => {
            stop(&open(ServiceAccess::QUERY_STATUS | ServiceAccess::STOP)?)?;
            Ok(ExitCode::SUCCESS)
        }
        ServiceAction::Status => status(language),
        ServiceAction::Run => dispatch(base),
    }
}

fn manager(access: ServiceManagerAccess) -> Result<ServiceManager, ServiceError> {
    ServiceManager::local_computer(None::<&str>, access | ServiceManagerAccess::CONNECT)
        .map_err(refused("opening the service manager"))
}

fn open(access: ServiceAccess) -> Result<Service, ServiceError> {
    manager(ServiceManagerAccess::empty())?
        .open_service(NAME, access)
        .map_err(refused("opening the service"))
}

fn install(facts: &Facts, language: Language) -> Result<ExitCode, ServiceError> {
    super::check_folder(&facts.base)?;
    let access = ServiceAccess::QUERY_STATUS
        | ServiceAccess::QUERY_CONFIG
        | ServiceAccess::CHANGE_CONFIG
        | ServiceAccess::START
        | ServiceAccess::STOP;
    let manager = manager(ServiceManagerAccess::CREATE_SERVICE)?;
    let info = ServiceInfo {
        name: NAME.into(),
        display_name: plan::display_name(language).into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: facts.program.clone(),
        launch_arguments: plan::arguments(&facts.base),
        dependencies: Vec::new(),
        account_name: Some(plan::ACCOUNT.into()),
        account_password: None,
    };
    let service = match manager.open_service(NAME, access) {
        Ok(service) => {
            stop(&service)?;
            service.change_config(&info).map_err(refused("changing the service"))?;
            service
        }
        Err(error) if code(&error) == Some(ERROR_SERVICE_DOES_NOT_EXIST) => {
            manager.create_service(&info, access).map_err(refused("making the service"))?
        }
        Err(error) => return Err(refused("opening the service")(error)),
    };
    // While nothing runs that makes files there.
    rights::give(&Paths::new(&facts.base))?;
    configure(&service, language)?;
    eventlog::register().map_err(|source| ServiceError::Manager {
        doing: "registering the source of the event log",
        source: Box::new(source),
    })?;
    start(&service)?;
    say(language.pick(
        "Служба licenceserver установлена и запущена.",
        "The service licenceserver is installed and running.",
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// What a service has beside its program, account and name.
fn configure(service: &Service, language: Language) -> Result<(), ServiceError> {
    let restart = |pause| Failure {
        action_type: ServiceActionType::Restart,
        delay: Duration::from_secs(pause),
    };
    let actions = ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(Duration::from_secs(
            plan::FAILURES_FORGOTTEN_SECS,
        )),
        reboot_msg: None,
        command: None,
        actions: Some(plan::RESTART_PAUSE_SECS.map(restart).to_vec()),
    };
    for set in [
        service.set_description(plan::description(language)),
        service.set_delayed_auto_start(false),
        // The identifier that the rights of the data folder name.
        service.set_config_service_sid_info(ServiceSidType::Unrestricted),
        service.update_failure_actions(actions),
        service.set_failure_actions_on_non_crash_failures(true),
        service.set_preshutdown_timeout(Duration::from_secs(plan::STOP_SECS_MAX)),
    ] {
        match set {
            // A system that does not have this at all, as Wine; every Windows of today has all.
            Err(error) if code(&error) == Some(ERROR_INVALID_LEVEL) => {}
            set => set.map_err(refused("configuring the service"))?,
        }
    }
    Ok(())
}

fn uninstall(base: &Path, language: Language) -> Result<ExitCode, ServiceError> {
    let access = ServiceAccess::QUERY_STATUS | ServiceAccess::STOP | ServiceAccess::DELETE;
    match open(access) {
        Ok(service) => {
            stop(&service)?;
            service.delete().map_err(refused("removing the service"))?;
        }
        Err(ServiceError::NotInstalled) => {}
        Err(error) => return Err(error),
    }
    eventlog::forget().map_err(|source| ServiceError::Manager {
        doing: "removing the source of the event log",
        source: Box::new(source),
    })?;
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

/// Starts it, if it does not run, and waits until it listens.
fn start(service: &Service) -> Result<(), ServiceError> {
    match service.start::<&OsStr>(&[]) {
        Err(error) if code(&error) != Some(ERROR_SERVICE_ALREADY_RUNNING) => {
            return Err(refused("starting the service")(error));
        }
        _ => {}
    }
    wait_for(service, ServiceState::Running)
}

/// Stops it, if it runs, and waits for its end.
fn stop(service: &Service) -> Result<(), ServiceError> {
    let stopped = ServiceState::Stopped;
    if query(service)?.current_state == stopped {
        return Ok(());
    }
    match service.stop() {
        Err(error) if code(&error) != Some(ERROR_SERVICE_NOT_ACTIVE) => {
            return Err(refused("stopping the service")(error));
        }
        _ => {}
    }
    wait_for(service, stopped)
}

fn query(service: &Service) -> Result<ServiceStatus, ServiceError> {
    service.query_status().map_err(refused("asking for the state of the service"))
}

fn wait_for(service: &Service, wanted: ServiceState) -> Result<(), ServiceError> {
    let watch = clock::Stopwatch::start();
    loop {
        let found = query(service)?;
        if found.current_state == wanted {
            return Ok(());
        }
        if found.current_state == ServiceState::Stopped {
            let code = match found.exit_code {
                ServiceExitCode::Win32(code) | ServiceExitCode::ServiceSpecific(code) => code,
            };
            return Err(ServiceError::Ended(code));
        }
        if watch.seconds() > WAIT_SECS_MAX {
            return Err(ServiceError::Late(plan::word(shown(found.current_state))));
        }
        std::thread::park_timeout(POLL);
    }
}

const fn shown(state: ServiceState) -> plan::Shown {
    match state {
        ServiceState::Stopped => plan::Shown::Stopped,
        ServiceState::StartPending | ServiceState::ContinuePending => plan::Shown::Starting,
        ServiceState::StopPending => plan::Shown::Stopping,
        // It is never paused: it does not accept that.
        ServiceState::Running | ServiceState::PausePending | ServiceState::Paused => {
            plan::Shown::Running
        }
    }
}

fn status(language: Language) -> Result<ExitCode, ServiceError> {
    let service = open(ServiceAccess::QUERY_STATUS | ServiceAccess::QUERY_CONFIG)?;
    let found = query(&service)?;
    let state = shown(found.current_state);
    let mut text = format!("{NAME}: {}", plan::word(state).text(language));
    if let Some(pid) = found.process_id {
        text.push_str(&format!(" (pid {pid})"));
    }
    say(&text)?;
    if let Ok(config) = service.query_config() {
        say(&config.executable_path.display().to_string())?;
    }
    Ok(if state == plan::Shown::Running { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What `main` says when somebody runs in a console what is meant for the service manager.
fn not_by_hand(error: windows_service::Error) -> ServiceError {
    /// `ERROR_FAILED_SERVICE_CONTROLLER_CONNECT`.
    const NO_MANAGER: i32 = 1063;
    match code(&error) {
        Some(NO_MANAGER) => ServiceError::ByHand,
        _ => ServiceError::Manager {
            doing: "speaking to the service manager",
            source: Box::new(io::Error::other(error)),
        },
    }
}
