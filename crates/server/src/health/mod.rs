//! How the server is: a list of checks, each with its state, what it found and what to do.
//!
//! Looks and judges; it never changes anything and never decides on seats. The running server's
//! checks are here and in [`checks`]; `licenceserver doctor` makes the same ones from outside.

pub mod checks;
pub mod computer;
pub mod reserve;
pub(crate) mod view;

use std::time::Duration;

use licence_core::language::Language;

use crate::activate::renewal;
use crate::api::{App, objects};
use crate::driver::{Alive, DriverError, Handle};
use crate::{clock, host};

/// How long the driver may take to answer before the server counts as stuck. An ordinary turn takes
/// some milliseconds, one behind a slow disk some hundred.
pub const DRIVER_BOUND: Duration = Duration::from_secs(2);

/// The state of one check, or of all of them together.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum State {
    /// In order.
    Ok,
    /// Works, and somebody should look at it.
    Warning,
    /// Does not work.
    Failed,
}

impl State {
    /// The published name: `ok`, `warning` or `failed`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// One check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Check {
    /// A stable name: `database`, `disk`, `clock` …
    pub id: &'static str,
    /// How it stands.
    pub state: State,
    /// What was found, in Russian.
    pub russian: String,
    /// What was found, in English.
    pub english: String,
    /// What to do, in Russian; empty when there is nothing to do.
    pub advice_russian: String,
    /// What to do, in English; empty when there is nothing to do.
    pub advice_english: String,
}

impl Check {
    /// A check that found everything in order.
    pub fn ok(id: &'static str, russian: impl Into<String>, english: impl Into<String>) -> Self {
        Self {
            id,
            state: State::Ok,
            russian: russian.into(),
            english: english.into(),
            advice_russian: String::new(),
            advice_english: String::new(),
        }
    }

    /// A check that found something to look at.
    pub fn warning(
        id: &'static str,
        russian: impl Into<String>,
        english: impl Into<String>,
    ) -> Self {
        Self { state: State::Warning, ..Self::ok(id, russian, english) }
    }

    /// A check that found something broken.
    pub fn failed(
        id: &'static str,
        russian: impl Into<String>,
        english: impl Into<String>,
    ) -> Self {
        Self { state: State::Failed, ..Self::ok(id, russian, english) }
    }

    /// Says what to do.
    #[must_use]
    pub fn advise(mut self, russian: impl Into<String>, english: impl Into<String>) -> Self {
        self.advice_russian = russian.into();
        self.advice_english = english.into();
        self
    }

    /// What was found.
    pub fn text(&self, language: Language) -> &str {
        language.pick(&self.russian, &self.english)
    }

    /// What to do; empty when there is nothing to do.
    pub fn advice(&self, language: Language) -> &str {
        language.pick(&self.advice_russian, &self.advice_english)
    }
}

/// All checks, in the order in which they are shown.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HealthReport {
    /// The checks.
    pub checks: Vec<Check>,
}

impl HealthReport {
    /// The worst state of all checks.
    pub fn state(&self) -> State {
        self.checks.iter().map(|check| check.state).max().unwrap_or(State::Ok)
    }
}

/// Why the driver gave no sign of life.
#[derive(Debug, thiserror::Error)]
pub enum Lifeless {
    /// It did not answer in time.
    #[error("the driver does not answer")]
    Silent,
    /// It answered that something is broken.
    #[error("the driver cannot work")]
    Driver(#[from] DriverError),
}

/// Whether the driver takes its turns and the journal is written.
///
/// # Errors
///
/// See [`Lifeless`].
pub async fn alive(handle: &Handle) -> Result<Alive, Lifeless> {
    let answer = tokio::time::timeout(DRIVER_BOUND, handle.alive()).await;
    Ok(answer.map_err(|_| Lifeless::Silent)??)
}

/// Looks at the running server. Takes as long as the slowest reserve server of
/// `[Notify] WatchServers`, at most some seconds.
pub async fn report(app: &App) -> HealthReport {
    let config = app.settings.get();
    let (life, reserve) =
        tokio::join!(alive(&app.handle), app.reserve.check(&config.parts.notify.watch_servers));
    let (behind, doubt) = life
        .as_ref()
        .map(|alive| (alive.clock_behind_millis, alive.clock_doubt))
        .unwrap_or_default();
    let mut checks = vec![
        checks::database(
            life.as_ref().err().map(|error| error as &dyn std::error::Error),
            app.replaced_database.as_deref(),
        ),
        checks::clock(behind, doubt),
    ];
    // What the driver cannot say is not said: the database check has failed then.
    if life.is_ok() {
        let bound = DRIVER_BOUND;
        if let Ok(Ok(views)) = tokio::time::timeout(bound, app.handle.licences(None, false)).await {
            checks.push(checks::keys(&views));
        }
        if let Ok(Ok(judged)) = tokio::time::timeout(bound, app.handle.standings()).await {
            checks.push(checks::binding(&app.binding.state(), &judged));
        }
        if let Ok(Ok(plugged)) = tokio::time::timeout(bound, app.handle.tokens()).await {
            checks.push(checks::tokens(app.tokens.is_on(), &plugged, &app.tokens.troubles()));
        }
        if let Ok(Ok((known, unreached))) =
            tokio::time::timeout(bound, centres(app, config.licence_center_url.is_some())).await
        {
            checks.push(checks::series(known, &unreached));
        }
    }
    if life.is_ok()
        && let Ok(Ok(silent)) =
            tokio::time::timeout(DRIVER_BOUND, renewal::silent(app, clock::utc())).await
    {
        checks.push(checks::renewal(config.auto_update, &silent));
    }
    checks.push(checks::settings(
        app.start_problem.as_deref(),
        checks::told(|language| app.settings.problem_in(language)),
        &app.settings.waiting_for_restart(),
    ));
    if life.is_ok()
        && let Ok(Ok(problem)) =
            tokio::time::timeout(DRIVER_BOUND, app.handle.rules_problem()).await
    {
        checks.push(checks::rules(problem.as_deref()));
    }
    let looked = async {
        let listing = objects::look(app).await.ok()?;
        Some(checks::datafiles(&listing, &app.handle.series_without_object_key().await.ok()?))
    };
    if let Ok(Some(check)) = tokio::time::timeout(DRIVER_BOUND, looked).await {
        checks.push(check);
    }
    if let Some(cluster) = &app.cluster {
        checks.push(checks::cluster(&cluster.state(), clock::mono()));
    } else if let Some(why) = &app.cluster_problem {
        checks.push(Check::failed(
            "cluster",
            format!("Настройки кластера не удалось применить: {why}."),
            format!("The settings of the cluster cannot be used: {why}."),
        ));
    }
    checks.push(checks::password(&config));
    checks.push(checks::certificate(checks::told(|language| app.tls_problem(language))));
    let paths = app.paths.clone();
    // The disk may hang; the other requests of this server must not.
    let looked = tokio::task::spawn_blocking(move || {
        vec![
            checks::disk(host::volume(paths.base())),
            checks::identity(&paths.identity()),
            checks::logs(&paths.logs()),
            checks::leftovers(&paths.settings()),
            computer::check(&paths.computer(), None, clock::utc()),
            checks::open_files(host::raise_open_files_limit()),
        ]
    });
    match tokio::time::timeout(DRIVER_BOUND, looked).await {
        Ok(Ok(looked)) => checks.extend(looked),
        Ok(Err(error)) => log::error!("the checks of the disk ended otherwise: {error}"),
        Err(_) => checks.push(
            Check::failed("disk", "Диск не отвечает.", "The disk does not answer.")
                .advise("Проверьте диск и сетевые папки.", "Check the disk and network folders."),
        ),
    }
    checks.push(reserve);
    HealthReport { checks }
}

/// How many series are known, and those of them without an activation centre.
async fn centres(app: &App, has_default: bool) -> Result<(usize, Vec<String>), DriverError> {
    let known = app.handle.overview().await?;
    let mut unreached = Vec::new();
    for totals in &known {
        if !has_default && app.handle.centre_for(totals.series).await?.is_none() {
            unreached.push(totals.series.to_string());
        }
    }
    Ok((known.len(), unreached))
}
