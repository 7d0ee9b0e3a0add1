//! `licenceserver doctor`: the checks of [`crate::health`] from outside, with or without a running
//! server, and those that only somebody outside can make.
//!
//! Reads, asks and says what to do; it never changes, makes or repairs anything.

mod cluster;
mod outside;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use licence_core::causes::with_causes;
use licence_core::journal::Snapshot;
use licence_core::language::Language;
use licence_core::protocol::LicenceView;
use licence_core::series::{SeriesDescriptor, parse_series_file};
use licence_core::service::{LicenceService, ServiceConfig};
use licence_core::time::Now;
use licence_core::time::term_clock::TermClock;

use crate::binding::{Changes, words};
use crate::cli::{self, DoctorOptions};
use crate::config::{Config, IniSource};
use crate::health::view::ReportView;
use crate::health::{Check, HealthReport, State, checks, computer, reserve};
use crate::identity::{self, Identity, SealOptions};
use crate::keyring::Keyring;
use crate::paths::Paths;
use crate::{clock, host};

/// Looks, prints and says by the exit code whether something has failed: 0 when everything is in
/// order or merely worth a look, 1 when a check has failed.
pub fn main(options: &DoctorOptions) -> ExitCode {
    let language = cli::language(options.lang);
    let base = std::path::absolute(&options.base).unwrap_or_else(|_| options.base.clone());
    let report = examine(&Paths::new(base));
    let text = if options.json { json(&report, language) } else { table(&report, language) };
    if let Err(error) = io::stdout().write_all(text.as_bytes()) {
        drop(writeln!(io::stderr(), "licenceserver doctor: {error}"));
        return ExitCode::FAILURE;
    }
    if report.state() == State::Failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Makes all checks of the data below these paths.
pub fn examine(paths: &Paths) -> HealthReport {
    let mut checks = Vec::new();
    let (config, conf) = conf(&paths.conf());
    checks.push(conf);
    checks.push(outside::folder(paths));
    checks.push(checks::disk(host::volume(existing(paths.base()))));
    let database = outside::Database::look(&paths.database());
    checks.push(database.check.clone());
    let now = clock::utc();
    checks.push(outside::clock(clock::now(), &database, paths));
    checks.push(checks::identity(&paths.identity()));
    let series = known_series(&paths.series(&config.series_file));
    checks.extend(keys(paths, &config, &database));
    match &series {
        Ok(series) => {
            let unreached: Vec<_> = series
                .iter()
                .filter(|known| known.centre_url.is_none() && config.licence_center_url.is_none())
                .map(|known| known.series.to_string())
                .collect();
            checks.push(checks::series(series.len(), &unreached));
        }
        Err(check) => checks.push(check.clone()),
    }
    checks.push(outside::port(&config));
    let mut centres: Vec<_> = series
        .iter()
        .flatten()
        .filter_map(|known| known.centre_url.clone())
        .chain(config.licence_center_url.clone())
        .collect();
    centres.sort();
    centres.dedup();
    checks.push(outside::centres(&centres, config.licence_center_use_proxy));
    checks.push(reserve_servers(&config.parts.notify.watch_servers));
    checks.extend(cluster::checks(paths, &config));
    checks.push(checks::password(&config));
    checks.push(checks::tls(&config.parts.tls, &paths.settings()));
    checks.push(checks::logs(existing(&paths.logs())));
    checks.push(computer::check(&paths.computer(), None, now));
    checks.push(checks::open_files(host::raise_open_files_limit()));
    checks.push(outside::service());
    HealthReport { checks }
}

/// The settings as far as they can be read, and what is to be said of their file.
fn conf(path: &Path) -> (Config, Check) {
    let error = match Config::load(path) {
        Ok(config) if path.exists() => {
            let check = Check::ok(
                "conf",
                format!("Файл настроек {} верен.", path.display()),
                format!("The conf file {} can be used.", path.display()),
            );
            return (config, check);
        }
        Ok(config) => {
            let check = Check::ok(
                "conf",
                format!("Файла настроек {} нет: действуют умолчания.", path.display()),
                format!("There is no conf file {}: defaults are in force.", path.display()),
            );
            return (config, check);
        }
        Err(error) => error,
    };
    let why = with_causes(&error);
    let check = Check::failed(
        "conf",
        format!("Файл настроек не читается: {why}."),
        format!("The conf file cannot be used: {why}."),
    )
    .advise(
        "Исправьте строку или удалите её: тогда действует умолчание.",
        "Correct that line or remove it: then the default is in force.",
    );
    (defaults(), check)
}

/// The settings of an empty file; a test holds that it is accepted.
fn defaults() -> Config {
    let read = IniSource::parse(Path::new("licenceserver.conf"), Vec::new())
        .and_then(|source| Config::from_source(&source));
    read.unwrap_or_else(|error| panic!("the defaults are refused: {error}"))
}

/// The nearest folder that is there: what a missing one would be made in.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|folder| folder.exists()).unwrap_or(path)
}

fn known_series(path: &Path) -> Result<Vec<SeriesDescriptor>, Check> {
    let read = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
        Ok(text) => parse_series_file(&text).map_err(|error| with_causes(&error)),
    };
    read.map(|series| series.into_values().collect()).map_err(|why| {
        Check::failed(
            "series",
            format!("Файл серий {} не читается: {why}.", path.display()),
            format!("The series file {} cannot be used: {why}.", path.display()),
        )
        .advise(
            "Получите файл серии у разработчика заново.",
            "Ask the vendor for the series file again.",
        )
    })
}

/// The licences, verified under the identity of this installation.
fn keys(paths: &Paths, config: &Config, seen: &outside::Database) -> Vec<Check> {
    // Without these two there is nothing to verify, and nothing may be made.
    let of_identity =
        [paths.identity(), paths.identity_plain()].into_iter().find(|path| path.exists());
    let Some(of_identity) = of_identity.filter(|_| paths.keys().exists()) else {
        return Vec::new();
    };
    let failed = |why: String| {
        Check::failed(
            "keys",
            format!("Ключи не читаются: {why}."),
            format!("The keys cannot be read: {why}."),
        )
    };
    let public = match identity::public_in(&of_identity) {
        Ok(public) => public,
        Err(error) => return vec![failed(with_causes(&error))],
    };
    let keyring = Keyring::load(
        paths.keys(),
        paths.series(&config.series_file),
        public,
        config.access_codes.clone(),
    );
    match keyring {
        Ok(keyring) => {
            let keyring = keyring.with_tokens_presumed().with_cluster(config.cluster.id);
            judged(keyring, paths, config, seen)
        }
        Err(error) => vec![failed(with_causes(&error))],
    }
}

/// The keys as the server would show them after a start, and how they stand with the computer.
fn judged(
    keyring: Keyring,
    paths: &Paths,
    config: &Config,
    seen: &outside::Database,
) -> Vec<Check> {
    let now = clock::now();
    let utc = TermClock::restored(seen.utc_seen, seen.doubt, now.mono).at(now);
    // Opened and let go: only that tells what matches.
    let state = match Identity::open(SealOptions::of(paths, config)) {
        Ok(identity) => identity.seal_state(),
        Err(error) => {
            let why = with_causes(&error);
            let closed = Check::failed(
                "binding",
                format!("Ключ установки не открывается на этом компьютере: {why}."),
                format!("The key of this installation does not open on this computer: {why}."),
            )
            .advise(
                words::advice_closed(Language::Russian),
                words::advice_closed(Language::English),
            );
            return vec![checks::keys(&views(&keyring, seen, now)), closed];
        }
    };
    let keyring = keyring.with_computer(state.found, Changes::read(&paths.binding()), utc);
    vec![
        checks::keys(&views(&keyring, seen, now)),
        checks::binding(&state, &keyring.standings(utc)),
    ]
}

fn views(keyring: &Keyring, seen: &outside::Database, now: Now) -> Vec<LicenceView> {
    let snapshot = Snapshot { utc_seen: seen.utc_seen, doubt: seen.doubt, ..Snapshot::default() };
    let config = ServiceConfig::default();
    let (service, _) = LicenceService::restore(config, keyring.protection_keys(), snapshot, now);
    keyring.views(|key_no| service.key(key_no), service.utc(now))
}

fn reserve_servers(servers: &[String]) -> Check {
    let servers: Arc<[String]> = servers.into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(reserve::check(&servers)),
        Err(error) => Check::warning(
            "reserve",
            format!("Резервные серверы не проверены: {error}."),
            format!("The reserve servers were not asked: {error}."),
        ),
    }
}

/// The report for people: a line for each check, and what to do below it.
fn table(report: &HealthReport, language: Language) -> String {
    let width = report.checks.iter().map(|check| check.id.len()).max().unwrap_or(0);
    let mut text = String::new();
    for check in &report.checks {
        let state = match check.state {
            State::Ok => "ok",
            State::Warning => language.pick("внимание", "warning"),
            State::Failed => language.pick("ОШИБКА", "FAILED"),
        };
        // Padded by characters: the words of the two languages differ in bytes.
        text.push_str(&format!("{state:<9}{:<width$}  {}\n", check.id, check.text(language)));
        let advice = check.advice(language);
        if !advice.is_empty() {
            text.push_str(&format!("{:<9}{:<width$}  → {advice}\n", "", ""));
        }
    }
    text
}

/// The report as `GET /api/health` has it.
fn json(report: &HealthReport, language: Language) -> String {
    match serde_json::to_string_pretty(&ReportView::new(report, language)) {
        Ok(text) => text + "\n",
        Err(error) => format!("{{\"Status\":\"failed\",\"Error\":\"{error}\"}}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_conf_file_is_all_defaults() {
        assert_eq!(defaults().server_port, crate::config::DEFAULT_PORT);
    }
}
