//! Order of start and stop, and what happens in between: restart within the process, recovery.
//!
//! Settings, log, identity, port, driver, ready line; then requests until a signal; then the
//! requests under way, the driver's last write, the end. A restart goes through the same steps
//! with the port kept open. A server whose journal has failed starts again from the disk, and
//! answers 503 until that works. Each step's decisions are its module's.
//!
//! Exit codes of the program: 0 after a stop, 1 when it cannot run, 64 for a wrong command line.

mod error;
mod place;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use licence_core::causes::with_causes;
use licence_core::language::Language;
use licence_core::time::MonoTime;
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::error::{RunError, report};
use self::place::Place;
use crate::access::Actor;
use crate::activate::renewal;
use crate::api::{App, Control, VERSION};
use crate::app::{self, Opened};
use crate::backup::{BackupError, pending};
use crate::cli::RunOptions;
use crate::closed::{Closed, Reason};
use crate::cluster;
use crate::config::Config;
use crate::driver::{AuditNote, DriverError};
use crate::eventlog::Event;
use crate::health::{State, checks};
use crate::host;
use crate::identity::{Identity, SealOptions};
use crate::ismp::replica;
use crate::logfile::{self, Keep};
use crate::paths::Paths;
use crate::service::notify::{Notifier, Phase};
use crate::settings::{self, Settings, apply};
use crate::signals::Signals;
use crate::{binding, clock, eventlog, net, notify, rights, tls};

/// Pauses before further attempts to use the data, in seconds; the last one is repeated. The
/// first attempt comes at once: a short fault is over by then. Later ones are rarer, so that a
/// disk that stays full is not asked without end.
const BACK_OFF_SECS: [u64; 6] = [1, 2, 5, 10, 20, 30];

/// A server that failed again within this time after its last failure goes on with the pauses
/// where it was.
const RECOVERED_SECS: u64 = 60;

/// How long the first write after a failure may take: twice SQLite's own wait for a lock.
const PROBE_SECS_MAX: u64 = 10;

/// Runs the server until SIGTERM or Ctrl+C.
///
/// # Errors
///
/// See [`RunError`]. Once it has started, only [`RunError::Journal`] at the very end: what goes
/// wrong while it runs, it waits out.
pub fn run(options: &RunOptions) -> Result<(), RunError> {
    // File names are shown to people who do not know where the server was started.
    let base = std::path::absolute(&options.base).unwrap_or_else(|_| options.base.clone());
    let paths = Paths::new(base);
    rights::make_base(&paths);
    let restored = pending::apply(&paths, clock::utc());
    if logfile::start(&paths.logs()).is_err() {
        log::debug!("a log was begun already");
    }
    tell_restored(restored)?;
    let settings = Settings::load(paths.conf())?;
    logfile::configure(settings.get().log_level, settings.get().log_file_max_mb);
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
    let outcome = runtime.block_on(keep_running(options, settings, &paths));
    // A call to an activation centre may still be under way; nothing waits for its answer.
    runtime.shutdown_background();
    outcome
}

/// Logs what became of a restore that waited for the start. One that is not finished has moved some
/// files and not others: a server that began without its identity would make another one.
fn tell_restored(outcome: Result<Option<PathBuf>, BackupError>) -> Result<(), RunError> {
    if let Some(aside) = outcome.map_err(RunError::Restore)? {
        log::warn!("restored from a backup; the files from before are in {}", aside.display());
    }
    Ok(())
}

/// How a server that had started ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    /// The journal failed, or the driver ended.
    Failed,
    /// Somebody asked for a restart.
    Restart,
    /// Told to stop.
    Stop,
}

/// What a server leaves to the next one in the same process.
struct Legacy {
    /// The settings in force at its end; of those that are looked at only at a start, what it was
    /// started with. What was changed meanwhile counts: a password that was taken back stays so.
    config: Config,
    /// Nothing when the address had to be let go and could not be had again.
    place: Option<Place>,
    tls: Option<Arc<ServerConfig>>,
}

/// What stays the same from one start to the next.
struct Runner<'a> {
    options: &'a RunOptions,
    paths: &'a Paths,
    signals: Signals,
    notifier: Notifier,
}

async fn keep_running(
    options: &RunOptions,
    settings: Settings,
    paths: &Paths,
) -> Result<(), RunError> {
    let signals = Signals::listen().map_err(RunError::Runtime)?;
    let runner = Runner { options, paths, signals, notifier: Notifier::start() };
    let Some(mut server) = runner.open_first(settings).await? else { return Ok(()) };
    let mut failures = 0;
    let mut failed_at: Option<MonoTime> = None;
    loop {
        let (outcome, legacy) = server.serve(&runner).await?;
        let now = clock::mono();
        let Some(legacy) = legacy else {
            log::info!("stopped");
            return Ok(());
        };
        if outcome == Outcome::Failed {
            let span = Duration::from_secs(RECOVERED_SECS);
            if failed_at.is_none_or(|before| now.since(before) > span) {
                failures = 0;
            }
            failed_at = Some(now);
        }
        let opened = runner.open_again(legacy, outcome, &mut failures, Reason::Journal).await;
        let Some(next) = opened else {
            log::info!("stopped");
            return Ok(());
        };
        server = next;
    }
}

/// Tells the event log why the server grants nothing.
fn tell_closed(reason: &Reason) {
    let text = format!("the server grants nothing: {}", reason.text(Language::English));
    eventlog::tell(Event::of(reason), &text);
}

/// What has been said already is said again only to whoever looks for details.
const fn quiet_if(is_told: bool, level: log::Level) -> log::Level {
    if is_told { log::Level::Debug } else { level }
}

impl Runner<'_> {
    /// The first start: what is wrong ends the program, unless it passes by itself. Nothing when
    /// the server was told to stop meanwhile.
    async fn open_first(&self, settings: Settings) -> Result<Option<Running>, RunError> {
        let config = Config::clone(&settings.get());
        let mut place = None;
        let mut reason = Reason::Journal;
        match self.open(settings, &mut place, &mut None, None).await {
            Ok(server) => return Ok(Some(server)),
            Err(error) if place.is_some() && error.is_passing() => {
                log::error!("{}; trying again until it works", with_causes(&error));
                reason = self.reason(&error);
            }
            Err(error) if self.took_restore_back() => {
                log::error!("the restored files do not work: {}", with_causes(&error));
            }
            Err(error) => return Err(error),
        }
        let legacy = Legacy { config, place, tls: None };
        Ok(self.open_again(legacy, Outcome::Failed, &mut 1, reason).await)
    }

    /// Starts again, as often as it takes; `reason` is why that is needed. Nothing when the server
    /// was told to stop meanwhile.
    async fn open_again(
        &self,
        legacy: Legacy,
        why: Outcome,
        failures: &mut usize,
        mut reason: Reason,
    ) -> Option<Running> {
        let mut legacy = legacy;
        let mut closed = None;
        // A locked identity stays so for days, and is told once.
        let mut is_told = matches!(reason, Reason::IdentityLocked(_));
        if why == Outcome::Failed {
            tell_closed(&reason);
            closed = self.close(&legacy, reason.clone());
        } else {
            self.notifier.say(Phase::Opening);
        }
        loop {
            if *failures > 0 {
                if closed.is_none() {
                    closed = self.close(&legacy, reason.clone());
                }
                if let Some(closed) = &closed {
                    closed.explain(reason.clone());
                }
                self.notifier.say(Phase::Closed(reason.text(Language::English)));
                let pause = BACK_OFF_SECS[(*failures).min(BACK_OFF_SECS.len()) - 1];
                log::log!(quiet_if(is_told, log::Level::Info), "trying again in {pause} s");
                // The back-off: nothing tells when a full disk has room again or a lock is gone.
                let pause = tokio::time::sleep(Duration::from_secs(pause));
                tokio::select! {
                    () = self.signals.stop() => {
                        self.notifier.say(Phase::Stopping);
                        return None;
                    }
                    () = pause => {}
                }
            }
            match self.attempt(&mut legacy, &mut closed, why).await {
                Ok(server) => {
                    if let Some(closed) = closed {
                        closed.stop().await;
                    }
                    // Counts until the server has run for a while.
                    *failures += usize::from(why == Outcome::Failed);
                    if why == Outcome::Failed {
                        eventlog::tell(Event::Recovered, "the server works again");
                    }
                    return Some(server);
                }
                Err(error) => {
                    let found = self.reason(&error);
                    is_told = found == reason && matches!(found, Reason::IdentityLocked(_));
                    let level = quiet_if(is_told, log::Level::Error);
                    log::log!(level, "the server is closed: {}", with_causes(&error));
                    if found != reason {
                        tell_closed(&found);
                    }
                    reason = found;
                    *failures += 1;
                }
            }
        }
    }

    /// Takes a restore back whose server cannot start; false when there is none.
    fn took_restore_back(&self) -> bool {
        if !pending::is_pending(self.paths) {
            return false;
        }
        match pending::undo(self.paths) {
            Ok(()) => {
                log::error!("the restore was taken back: the files from before are in place");
                true
            }
            Err(error) => {
                log::error!("the restore cannot be taken back: {}", with_causes(&error));
                false
            }
        }
    }

    /// What anybody may know of an error. A disk that is full or read-only is what there is to be
    /// put right, whatever failed by it.
    fn reason(&self, error: &RunError) -> Reason {
        let disk = checks::disk(host::volume(self.paths.base()));
        if disk.state == State::Failed { Reason::of_disk(&disk) } else { error.reason() }
    }

    fn close(&self, legacy: &Legacy, reason: Reason) -> Option<Closed> {
        let Some(place) = &legacy.place else {
            log::info!("closed, and listening nowhere");
            return None;
        };
        log::info!("closed, answering 503 on {}", place.bound);
        let listener = Arc::clone(&place.listener);
        Some(Closed::start(listener, legacy.tls.clone(), legacy.config.lang, reason))
    }

    /// One attempt with the settings of the disk, and when those do not work, one with the
    /// settings that worked before.
    async fn attempt(
        &self,
        legacy: &mut Legacy,
        closed: &mut Option<Closed>,
        why: Outcome,
    ) -> Result<Running, RunError> {
        tell_restored(pending::apply(self.paths, clock::utc()))?;
        let place = &mut legacy.place;
        let (problem, config) = match Settings::load(self.paths.conf()) {
            Err(error) => (with_causes(&RunError::from(error)), legacy.config.clone()),
            Ok(settings) => {
                let read = settings.get();
                let error = match self.open(settings, place, closed, None).await {
                    Ok(server) => return server.proven(why).await,
                    Err(error) => error,
                };
                // The restored files are what does not work: the next attempt has the others.
                if self.took_restore_back() {
                    return Err(error);
                }
                // What does not work is looked at only at a start; users, passwords and tokens of
                // the file are good, and count.
                let config = settings::with_start_keys(&read, &legacy.config);
                if config == *read {
                    return Err(error);
                }
                (with_causes(&error), config)
            }
        };
        let settings = Settings::new(self.paths.conf(), config);
        let server = self.open(settings, place, closed, Some(problem.clone())).await?;
        log::error!("running with the settings from before: {problem}");
        server.proven(why).await
    }

    /// Opens everything, at `place` if that is where it is wanted; `place` is then where it would
    /// have listened. Who answers there meanwhile is stopped when the address changes.
    async fn open(
        &self,
        settings: Settings,
        place: &mut Option<Place>,
        closed: &mut Option<Closed>,
        problem: Option<String>,
    ) -> Result<Running, RunError> {
        // The port before the keys: a second server on the same data must fail without touching
        // them.
        let config = settings.get();
        let wanted = SocketAddr::new(
            self.options.address.unwrap_or(config.server_addr),
            self.options.port.unwrap_or(config.server_port),
        );
        let found = Place::find(wanted, place, closed).await?;
        // A first start has no other place; a later one keeps its own until the server is open.
        place.get_or_insert_with(|| found.clone());
        // After the port, so that a seal that does not open is told there.
        let options = SealOptions::of(self.paths, &config);
        let identity = Arc::new(Identity::open_or_make(options)?);
        self.open_at(settings, found, identity, problem)
    }

    fn open_at(
        &self,
        settings: Settings,
        place: Place,
        identity: Arc<Identity>,
        start_problem: Option<String>,
    ) -> Result<Running, RunError> {
        let config = Config::clone(&settings.get());
        let paths = self.paths;
        let control = Control::new(place.bound, config.server_port, self.options.port.is_some());
        let Opened { app, tls, task, failed } =
            app::open(paths, settings, identity, control, start_problem)?;
        let keep = Keep {
            previous: config.keep_previous_logs,
            current_date: config.keep_current_date_logs,
        };
        logfile::remove_previous(&paths.logs(), keep);
        if config.has_default_password() && !place.bound.ip().is_loopback() {
            log::warn!("user name and password are those of the manual; set [Console] Password");
        }
        Ok(Running { app: Arc::new(app), config, place, tls, task, failed })
    }
}

/// A server with everything open.
struct Running {
    app: Arc<App>,
    /// The settings it was started with.
    config: Config,
    place: Place,
    tls: Arc<ServerConfig>,
    task: JoinHandle<bool>,
    failed: watch::Receiver<bool>,
}

impl Running {
    /// After a failure a server is open only when its journal has taken a line: opening a
    /// database on a full disk succeeds, writing to it does not.
    async fn proven(self, why: Outcome) -> Result<Self, RunError> {
        if why != Outcome::Failed {
            return Ok(self);
        }
        let note = AuditNote {
            action: "recovered",
            note: "the server started again after its journal had failed".to_owned(),
            ..AuditNote::default()
        };
        let bound = Duration::from_secs(PROBE_SECS_MAX);
        let server = Actor::server();
        let probe = tokio::time::timeout(bound, self.app.handle.audit(note, &server)).await;
        let refused = match probe {
            Ok(Ok(())) => return Ok(self),
            Ok(Err(error)) => error,
            Err(_) => DriverError::Busy,
        };
        self.app.control.end();
        self.app.ismp.stop().await;
        self.app.handle.stop().await;
        // Its data must be free before the next attempt.
        drop(self.task.await);
        Err(RunError::Probe(refused))
    }

    /// Serves to the end; gives what the next server needs, unless this was the last one.
    async fn serve(self, runner: &Runner<'_>) -> Result<(Outcome, Option<Legacy>), RunError> {
        let Self { app, config, place, tls, task, mut failed } = self;
        let Place { listener, wanted, bound } = place;
        log::info!(
            "licenceserver {VERSION} listens on {bound}, data in {}",
            app.paths.base().display()
        );
        if let Err(error) = pending::confirm(&app.paths) {
            log::error!("the restore cannot be ended: {}", with_causes(&error));
        }
        announce(bound);
        runner.notifier.say(Phase::Serving(app.handle.clone(), bound.to_string()));
        let mut outcome = Outcome::Stop;
        let mut held = Some(Arc::clone(&listener));
        let ending = async {
            outcome = runner.ending(&app, &mut failed).await;
            if outcome == Outcome::Stop {
                // Nobody serves the port any more, so nobody may wait in its queue.
                held = None;
                runner.notifier.say(Phase::Stopping);
            } else {
                runner.notifier.say(Phase::Opening);
            }
        };
        app.tokens.watch();
        let _watching = apply::start(&app.settings, &app.handle, app.history.retention());
        let renewing = tokio::spawn(tls::watch(Arc::clone(&app)));
        let notices = tokio::spawn(notify::run(Arc::clone(&app)));
        let updating = tokio::spawn(renewal::run(Arc::clone(&app)));
        let watching_binding = tokio::spawn(binding::run(Arc::clone(&app)));
        let following = tokio::spawn(replica::run(Arc::clone(&app)));
        let renewing_session_keys = tokio::spawn(app.ismp.clone().keep_renewed());
        net::serve(listener, Arc::clone(&tls), Arc::clone(&app), ending).await;
        renewing.abort();
        notices.abort();
        watching_binding.abort();
        app.tokens.stop();
        updating.abort();
        following.abort();
        renewing_session_keys.abort();
        // Before the driver, whose audit trail takes what is obtained meanwhile.
        app.ismp.stop().await;
        // Before the driver, which says how many seats stay with their sessions; one that has failed
        // says nothing, and the node is back in a moment.
        if let Some(cluster) = &app.cluster {
            let has_failed = outcome == Outcome::Failed || *failed.borrow();
            let bound = if has_failed { Duration::ZERO } else { cluster::STOP_BOUND };
            cluster.stop(bound).await;
        }
        app.handle.stop().await;
        let is_written = task.await.unwrap_or(false);
        let legacy = held.map(|listener| Legacy {
            config: settings::with_start_keys(&app.settings.get(), &config),
            place: Some(Place { listener, wanted, bound }),
            tls: Some(tls),
        });
        if is_written && !*failed.borrow() {
            return Ok((outcome, legacy));
        }
        // What failed while the server was told to stop is told; there is nobody to wait for it.
        if legacy.is_none() { Err(RunError::Journal) } else { Ok((Outcome::Failed, legacy)) }
    }
}

impl Runner<'_> {
    /// Waits for the end of a server, and reads the settings again when told to.
    async fn ending(&self, app: &Arc<App>, failed: &mut watch::Receiver<bool>) -> Outcome {
        loop {
            tokio::select! {
                () = self.signals.stop() => {
                    log::info!("told to stop");
                    return Outcome::Stop;
                }
                () = app.control.restart_wanted() => {
                    log::info!("told to start again");
                    return Outcome::Restart;
                }
                outcome = failed.wait_for(|failed| *failed) => {
                    if outcome.is_ok() {
                        log::error!("the journal failed; starting again from the disk");
                    } else {
                        log::error!("the driver ended; starting again from the disk");
                    }
                    return Outcome::Failed;
                }
                () = self.signals.reload() => self.reload(app).await,
            }
        }
    }

    async fn reload(&self, app: &Arc<App>) {
        self.notifier.reloading();
        let reading = Arc::clone(app);
        let read = tokio::task::spawn_blocking(move || reading.settings.reload()).await;
        match read {
            Ok(Ok(changed)) => log::info!(
                "settings read again, changed={:?}, wait for a restart={:?}",
                changed.keys,
                changed.needs_restart
            ),
            Ok(Err(error)) => {
                log::error!("the settings stay as they were: {}", with_causes(&error));
            }
            Err(error) => log::error!("the settings could not be read again: {error}"),
        }
        if let Err(error) = app.handle.reload_rules(&Actor::server()).await {
            log::error!("the rules stay as they were: {}", with_causes(&error));
        }
        self.notifier.reloaded();
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
