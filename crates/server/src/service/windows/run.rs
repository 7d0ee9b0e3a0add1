//! The server inside a service of Windows: controls of the manager become the wishes that signals are
//! elsewhere, and the manager is told how the server is.
//!
//! The handler of controls passes on and returns; nothing is decided there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{
    self, ServiceControlHandlerResult, ServiceStatusHandle,
};
use windows_service::{define_windows_service, service_dispatcher};

use super::super::notify::Phase;
use super::super::{NAME, ServiceError, plan};
use crate::cli::RunOptions;
use crate::{eventlog, run};

/// How often a state that passes is told again, as a sign that it does.
const CHECKPOINT: Duration = Duration::from_secs(2);

/// Within which time the manager may expect the next sign.
const WAIT_HINT: Duration = Duration::from_secs(20);

/// What [`service_main`], which the manager calls, cannot be given as an argument.
static BASE: OnceLock<PathBuf> = OnceLock::new();

/// Where the manager is told; nothing when this process is no service.
static STATUS: OnceLock<ServiceStatusHandle> = OnceLock::new();

static WISHES: LazyLock<Wishes> = LazyLock::new(Wishes::default);

/// What the manager wants. Its controls come on a thread of its own, before and after there is a runtime.
#[derive(Debug, Default)]
pub struct Wishes {
    /// To stop.
    pub stop: watch::Sender<bool>,
    /// To read the settings again, counted.
    pub reload: watch::Sender<u64>,
}

/// What the manager wants of this process; nothing, for ever, when it is no service.
pub fn wishes() -> &'static Wishes {
    &WISHES
}

/// Runs the server as the service manager wants it; returns when the service has ended.
///
/// # Errors
///
/// [`ServiceError::ByHand`] when nobody but a person has started it.
pub fn dispatch(base: &Path) -> Result<ExitCode, ServiceError> {
    let _first_and_only_call = BASE.set(base.to_owned());
    service_dispatcher::start(NAME, ffi_service_main).map_err(super::not_by_hand)?;
    Ok(ExitCode::SUCCESS)
}

define_windows_service!(ffi_service_main, service_main);

fn service_main(_named_when_started: Vec<OsString>) {
    let Some(base) = BASE.get() else { return };
    let status = match service_control_handler::register(NAME, handle) {
        Ok(status) => status,
        Err(error) => {
            eventlog::tell(eventlog::Event::CannotRun, &format!("no service manager: {error}"));
            return;
        }
    };
    let status = *STATUS.get_or_init(|| status);
    eventlog::tell_panics();
    tell(status, plan::Shown::Starting, 0, ServiceExitCode::NO_ERROR);
    let options = RunOptions { base: base.clone(), port: None, address: None };
    let outcome = run::run(&options);
    let code = match outcome {
        Ok(()) => ServiceExitCode::NO_ERROR,
        Err(error) => {
            run::report(&error);
            // Any but 0: the manager then restarts it.
            ServiceExitCode::ServiceSpecific(1)
        }
    };
    tell(status, plan::Shown::Stopped, 0, code);
}

fn handle(control: ServiceControl) -> ServiceControlHandlerResult {
    match control {
        ServiceControl::Stop | ServiceControl::Shutdown | ServiceControl::Preshutdown => {
            WISHES.stop.send_replace(true);
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::ParamChange => {
            WISHES.reload.send_modify(|count| *count += 1);
            ServiceControlHandlerResult::NoError
        }
        // Everybody must answer it; the manager shows what it was told last.
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    }
}

/// Tells the manager how the server is from now on, if this process is a service; must be called within a
/// runtime.
pub fn tell_manager(phase: watch::Receiver<Phase>) {
    if let Some(status) = STATUS.get() {
        tokio::spawn(follow(*status, phase));
    }
}

async fn follow(status: ServiceStatusHandle, mut phase: watch::Receiver<Phase>) {
    let mut told = plan::Shown::Starting;
    let mut checkpoint = 0;
    loop {
        let next = plan::Shown::of(&phase.borrow_and_update(), told);
        let passes = matches!(next, plan::Shown::Starting | plan::Shown::Stopping);
        if next != told || passes {
            checkpoint = if next == told { checkpoint + 1 } else { 0 };
            told = next;
            tell(status, next, checkpoint, ServiceExitCode::NO_ERROR);
        }
        tokio::select! {
            changed = phase.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(CHECKPOINT), if passes => {}
        }
    }
}

fn tell(status: ServiceStatusHandle, shown: plan::Shown, checkpoint: u32, code: ServiceExitCode) {
    let stops = ServiceControlAccept::STOP
        | ServiceControlAccept::SHUTDOWN
        | ServiceControlAccept::PRESHUTDOWN;
    let (current_state, controls_accepted, wait_hint) = match shown {
        plan::Shown::Starting => (ServiceState::StartPending, stops, WAIT_HINT),
        plan::Shown::Running => {
            (ServiceState::Running, stops | ServiceControlAccept::PARAM_CHANGE, Duration::ZERO)
        }
        plan::Shown::Stopping => {
            (ServiceState::StopPending, ServiceControlAccept::empty(), WAIT_HINT)
        }
        plan::Shown::Stopped => {
            (ServiceState::Stopped, ServiceControlAccept::empty(), Duration::ZERO)
        }
    };
    let told = status.set_service_status(ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state,
        controls_accepted,
        exit_code: code,
        checkpoint,
        wait_hint,
        process_id: None,
    });
    if let Err(error) = told {
        log::debug!("the service manager cannot be told: {error}");
    }
}
