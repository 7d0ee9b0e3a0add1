//! Order of start and stop.
//!
//! Settings, log, identity, driver, port, ready line; then requests until a signal; then the
//! requests under way, the driver's last write, the end. Each step's decisions are its module's.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use licence_core::causes::with_causes;
use licence_core::service::ServiceConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::access::auth::Auth;
use crate::activate::Activator;
use crate::api::{App, Control, VERSION};

use crate::cli::RunOptions;
use crate::config::{Config, ConfigError};
use crate::driver::{self, Driver, Setup, StartError};
use crate::history::History;
use crate::host::{self, HostFacts};
use crate::identity::{Identity, IdentityError};
use crate::logfile::{self, Keep};
use crate::metrics::Metrics;
use crate::paths::Paths;
use crate::random::RandomError;
use crate::settings::Settings;
use crate::tls::{self, TlsError};
use crate::{clock, net};

/// Why the server did not start or did not stop in good order.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A setting.
    #[error("the settings cannot be used")]
    Config(#[from] ConfigError),
    /// The identity.
    #[error("the identity cannot be used")]
    Identity(#[from] IdentityError),
    /// The journal failed while the server ran.
    #[error("the journal failed; what was granted is on disk, nothing more is granted")]
    Journal,
    /// The address or port.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No random bytes.
    #[error("the server cannot start")]
    Random(#[from] RandomError),
    /// The runtime or its signals.
    #[error("the runtime cannot start")]
    Runtime(#[source] io::Error),
    /// Keys or database.
    #[error("the driver cannot start")]
    Start(#[from] StartError),
    /// TLS.
    #[error("TLS cannot start")]
    Tls(#[from] TlsError),
}

/// Runs the server until SIGTERM or Ctrl+C.
///
/// # Errors
///
/// See [`RunError`].
pub fn run(options: &RunOptions) -> Result<(), RunError> {
    // File names are shown to people who do not know where the server was started.
    let base = std::path::absolute(&options.base).unwrap_or_else(|_| options.base.clone());
    let paths = Paths::new(base);
    let read = Config::load(&paths.conf());
    if logfile::start(&paths.logs()).is_err() {
        log::debug!("a log was begun already");
    }
    let config = read?;
    if let Some(limit) = host::raise_open_files_limit() {
        log::debug!("open files: at most {limit}");
        if limit < net::CONNECTIONS_MAX as u64 {
            log::warn!(
                "only {limit} open files are allowed; {} connections would need more",
                net::CONNECTIONS_MAX
            );
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    let outcome = runtime.block_on(serve(options, config, &paths));
    // A call to an activation centre may still be under way; nothing waits for its answer.
    runtime.shutdown_background();
    outcome
}

/// Says on standard error why the server ended, with all causes.
pub fn report(error: &RunError) {
    let text = format!("licenceserver: {}", with_causes(error));
    log::error!("{text}");
    // The log may be unable to say it: the folder may be what is missing.
    if log::max_level() == log::LevelFilter::Off {
        let _stderr_may_be_closed = writeln!(io::stderr(), "{text}");
    }
}

async fn serve(options: &RunOptions, config: Config, paths: &Paths) -> Result<(), RunError> {
    let stop = stop_signal().map_err(RunError::Runtime)?;
    let identity = Arc::new(Identity::load_or_make(&paths.identity())?);
    let address = SocketAddr::new(
        options.address.unwrap_or(config.server_addr),
        options.port.unwrap_or(config.server_port),
    );
    // The port before the keys: a second server on the same data must fail without touching them.
    let listen = |source| RunError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let bound = listener.local_addr().map_err(listen)?;
    let metrics = Arc::new(Metrics::new(clock::utc()));
    let history = History::new(paths.database());
    history.retention().set_days(config.parts.keep_days);
    let Driver { handle, task, failed, feed, .. } = driver::start(Setup {
        database: paths.database(),
        licences: paths.keys(),
        series_file: paths.series(&config.series_file),
        identity: Arc::clone(identity.key()),
        access_codes: access_codes(&config),
        metrics: Arc::clone(&metrics),
        keep: history.retention().clone(),
        service: ServiceConfig {
            access_codes: config.console.enable_access_codes,
            ..ServiceConfig::default()
        },
    })?;
    let keep =
        Keep { previous: config.keep_previous_logs, current_date: config.keep_current_date_logs };
    logfile::remove_previous(&paths.logs(), keep);
    let host = HostFacts::read(identity.public().as_bytes());
    let tls = tls::server_config(&identity, std::slice::from_ref(&host.computer_name))?;
    if config.has_default_password() && !bound.ip().is_loopback() {
        log::warn!("user name and password are those of the manual; set [Console] Password");
    }
    let app = App {
        auth: Auth::new(config.console.clone(), &host.computer_name)?,
        activator: Activator::new(identity, host.computer_id.clone(), &config),
        handle: handle.clone(),
        started: clock::utc(),
        settings: Settings::new(paths.conf(), config),
        has_other_hardware: false,
        metrics,
        history,
        feed,
        paths: paths.clone(),
        control: Control::default(),
        host,
        overview: Default::default(),
    };
    log::info!("licenceserver {VERSION} listens on {bound}, data in {}", paths.base().display());
    announce(bound);
    net::serve(listener, tls, Arc::new(app), stop_or_failure(stop, failed.clone())).await;
    handle.stop().await;
    let is_written = task.await.unwrap_or(false);
    if !is_written || *failed.borrow() {
        return Err(RunError::Journal);
    }
    log::info!("stopped");
    Ok(())
}

fn access_codes(config: &Config) -> std::collections::BTreeMap<licence_core::key::KeyNo, String> {
    if config.console.enable_access_codes {
        config.access_codes.clone()
    } else {
        Default::default()
    }
}

/// The line by which whoever started the server knows that it is ready, and on which port.
fn announce(bound: SocketAddr) {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "licenceserver {VERSION} listens on {bound}");
    if let Err(error) = written.and_then(|()| out.flush()) {
        log::debug!("nobody reads standard output: {error}");
    }
}

async fn stop_or_failure(stop: impl Future<Output = ()>, mut failed: watch::Receiver<bool>) {
    tokio::select! {
        () = stop => log::info!("told to stop"),
        outcome = failed.wait_for(|failed| *failed) => {
            if outcome.is_ok() {
                log::error!("the journal failed; stopping");
            } else {
                log::error!("the driver ended; stopping");
            }
        }
    }
}

/// Done when the process is told to stop: SIGTERM or SIGINT.
#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Done when the process is told to stop: Ctrl+C.
#[cfg(not(unix))]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut ctrl_c = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        ctrl_c.recv().await;
    })
}
