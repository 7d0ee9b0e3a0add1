//! What only somebody outside of the server can look at: the database at rest, the port, the
//! centres, the owner of the files, the service.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use licence_core::time::term_clock::{Doubt, TermClock};
use licence_core::time::{Now, Utc};
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::api::VERSION;
use crate::config::Config;
use crate::health::{Check, checks};
use crate::paths::Paths;
use crate::service::{self, systemd, sysv};
use crate::store::marks;
use crate::{host, ports};

/// How long a server on this computer may take to answer; its own bound for the driver is 2 s.
const ANSWER_SECS_MAX: u64 = 5;

/// How long a centre may take to answer at all.
const CENTRE_SECS_MAX: u64 = 3;

/// Most of an answer that is read, in bytes: a line of status and a short JSON object.
const ANSWER_BYTES_MAX: u64 = 8 * 1024;

/// How long another process may hold the database before it counts as locked.
const BUSY: Duration = Duration::from_secs(2);

/// How far a file may lie in the future before the clock is doubted: time zones of network folders
/// and corrections by a time service are smaller.
const FUTURE_MILLIS: i64 = 24 * 3600 * 1000;

/// Entries of a folder that are looked at; the settings folder has some dozen.
const ENTRIES_MAX: usize = 1000;

/// What the database says while nobody is asked to change it.
pub(super) struct Database {
    pub(super) check: Check,
    pub(super) utc_seen: Option<Utc>,
    /// A jump of the clock that the server does not believe.
    pub(super) doubt: Option<Doubt>,
}

impl Database {
    pub(super) fn look(path: &Path) -> Self {
        if !path.exists() {
            let check = Check::ok(
                "database",
                "Базы данных ещё нет: она создаётся при первом запуске.",
                "There is no database yet: the first start makes it.",
            );
            return Self { check, utc_seen: None, doubt: None };
        }
        match examine(path) {
            Ok((problem, utc_seen, doubt)) if problem == "ok" => Self {
                check: Check::ok("database", "База данных исправна.", "The database is sound."),
                utc_seen,
                doubt,
            },
            Ok((problem, utc_seen, doubt)) => {
                Self { check: damaged(path, &problem), utc_seen, doubt }
            }
            Err(error) if is_busy(&error) => {
                let check = Check::warning(
                    "database",
                    format!("База данных {} занята другим процессом.", path.display()),
                    format!("The database {} is locked by another process.", path.display()),
                )
                .advise(
                    "Дождитесь конца резервного копирования или завершите программу, которая \
                     держит файл.",
                    "Wait for the backup to end, or end the program that holds the file.",
                );
                Self { check, utc_seen: None, doubt: None }
            }
            Err(error) => {
                Self { check: damaged(path, &error.to_string()), utc_seen: None, doubt: None }
            }
        }
    }
}

fn damaged(path: &Path, why: &str) -> Check {
    Check::failed(
        "database",
        format!("База данных {} повреждена или недоступна: {why}.", path.display()),
        format!("The database {} is damaged or cannot be read: {why}.", path.display()),
    )
    .advise(
        "Проверьте диск; восстановите папку данных из резервной копии.",
        "Check the disk; restore the data folder from a backup.",
    )
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
    )
}

/// `ok` or the first fault that SQLite finds, the latest time that the server has seen, and the jump
/// of the clock that it does not believe.
fn examine(path: &Path) -> Result<(String, Option<Utc>, Option<Doubt>), rusqlite::Error> {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    // At rest the file is all there is, and opening it as unchanging makes no files beside it.
    // With a log beside it, the log counts too.
    let has_log = std::fs::metadata(&wal).is_ok_and(|log| log.len() > 0);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = if has_log {
        Connection::open_with_flags(path, flags)?
    } else {
        let uri = format!("file:{}?immutable=1", uri_path(path));
        Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?
    };
    db.busy_timeout(BUSY)?;
    let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    let seen: Option<i64> = db
        .query_row("SELECT value FROM mark WHERE name = 'utc_seen'", [], |row| row.get(0))
        .optional()?;
    Ok((found, seen.map(Utc::from_unix_millis), marks::doubt(&db)?))
}

/// A path as SQLite's URI names have it.
fn uri_path(path: &Path) -> String {
    let text = path.to_string_lossy().replace('\\', "/");
    text.replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

/// The clock against what the server and its files have seen, as a server that starts would judge.
pub(super) fn clock(now: Now, seen: &Database, paths: &Paths) -> Check {
    let behind = seen.utc_seen.map_or(0, |seen| seen.unix_millis() - now.utc.unix_millis());
    let mut starting = TermClock::restored(seen.utc_seen, seen.doubt, now.mono);
    starting.see(now);
    let now = now.utc;
    let check = checks::clock(behind.max(0), starting.doubt());
    if check.state != crate::health::State::Ok {
        return check;
    }
    let newest = newest(&paths.settings());
    match newest.filter(|(at, _)| at.unix_millis() - now.unix_millis() > FUTURE_MILLIS) {
        Some((at, name)) => Check::warning(
            "clock",
            format!("Файл {name} изменён в будущем ({at}): часы могли быть переведены назад."),
            format!("The file {name} was changed in the future ({at}): was the clock set back?"),
        )
        .advise(
            "Проверьте время и службу синхронизации.",
            "Check the time and its synchronisation.",
        ),
        None => check,
    }
}

fn newest(folder: &Path) -> Option<(Utc, String)> {
    let entries = std::fs::read_dir(folder).ok()?.flatten().take(ENTRIES_MAX);
    entries
        .filter_map(|entry| {
            let changed = entry.metadata().ok()?.modified().ok()?;
            let at = Utc::from(time::OffsetDateTime::from(changed));
            Some((at, entry.file_name().to_string_lossy().into_owned()))
        })
        .max_by_key(|(at, _)| at.unix_millis())
}

/// The data folder: there, writable, and all of one owner.
pub(super) fn folder(paths: &Paths) -> Check {
    let base = paths.base();
    if !base.exists() {
        return Check::warning(
            "folder",
            format!("Папки данных {} нет.", base.display()),
            format!("There is no data folder {}.", base.display()),
        )
        .advise(
            "Укажите папку ключом --data или запустите сервер: он её создаст.",
            "Name the folder by --data, or start the server: it makes the folder.",
        );
    }
    let folders = [base.to_owned(), paths.settings(), paths.keys()];
    let mut wrong: Vec<_> = folders
        .iter()
        .filter(|folder| folder.exists())
        .filter_map(|folder| {
            let error = host::check_writable(folder).err()?;
            Some(format!("{}: {error}", folder.display()))
        })
        .collect();
    wrong.extend(foreign(&folders));
    if wrong.is_empty() {
        return Check::ok(
            "folder",
            format!("Папка данных {} доступна.", base.display()),
            format!("The data folder {} can be used.", base.display()),
        );
    }
    let wrong = wrong.join("; ");
    Check::failed(
        "folder",
        format!("Права на папку данных: {wrong}."),
        format!("Rights to the data folder: {wrong}."),
    )
    .advise(
        "Запустите проверку от пользователя службы; владельца исправит chown -R.",
        "Run this as the service's user; chown -R corrects the owner.",
    )
}

/// Files that belong to somebody else than their base folder: a server that was once started by
/// root leaves such.
#[cfg(unix)]
fn foreign(folders: &[std::path::PathBuf]) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let Some(owner) = folders.first().and_then(|base| std::fs::metadata(base).ok()) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    for folder in folders {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten().take(ENTRIES_MAX) {
            // Settings of the component on the same computer are whoever's wrote them.
            if entry.file_name().to_string_lossy().starts_with("licenceaddin.") {
                continue;
            }
            if entry.metadata().is_ok_and(|found| found.uid() != owner.uid()) {
                names.push(format!("{}: uid ≠ {}", entry.path().display(), owner.uid()));
            }
        }
    }
    names.truncate(3);
    names
}

#[cfg(not(unix))]
fn foreign(_folders: &[std::path::PathBuf]) -> Vec<String> {
    Vec::new()
}

/// The port: free, held by a licence server that is ready or not, or held by something else.
pub(super) fn port(config: &Config) -> Check {
    let address = SocketAddr::new(config.server_addr, config.server_port);
    if address.port() == 0 {
        return Check::ok("port", "Порт выбирается при запуске.", "Any free port is taken.");
    }
    let Err(error) = TcpListener::bind(address) else {
        return Check::ok(
            "port",
            format!("Порт {address} свободен, сервер не запущен."),
            format!("{address} is free, no server is running."),
        );
    };
    if error.kind() != std::io::ErrorKind::AddrInUse {
        return Check::failed(
            "port",
            format!("Адрес {address} нельзя слушать: {error}."),
            format!("Nobody can listen on {address}: {error}."),
        )
        .advise(
            "Проверьте [Common] ServerAddr и ServerPort.",
            "Check [Common] ServerAddr and ServerPort.",
        );
    }
    match ask(near(address)) {
        Some((200, _)) => Check::ok(
            "port",
            format!("Сервер работает на {address}."),
            format!("A server is running on {address}."),
        ),
        Some((503, reason)) => Check::failed(
            "port",
            format!("Сервер на {address} не готов: {reason}."),
            format!("The server on {address} is not ready: {reason}."),
        )
        .advise("Подробности в логе сервера.", "The log of the server knows more."),
        _ => {
            let holder = ports::holder(address.port());
            let (ru, en) = match holder {
                Some(holder) => (format!("процессом {holder}"), format!("by {holder}")),
                None => ("другой программой".to_owned(), "by another program".to_owned()),
            };
            Check::failed(
                "port",
                format!("Порт {address} занят {ru}."),
                format!("{address} is held {en}."),
            )
            .advise(
                "Завершите эту программу или задайте другой [Common] ServerPort.",
                "End that program, or set another [Common] ServerPort.",
            )
        }
    }
}

/// An address by which this computer reaches a listener of its own.
const fn near(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port())
    } else {
        address
    }
}

/// Status and reason of `/health/ready`; nothing when what answers is no licence server.
fn ask(address: SocketAddr) -> Option<(u16, String)> {
    let bound = Duration::from_secs(ANSWER_SECS_MAX);
    let mut stream = TcpStream::connect_timeout(&address, bound).ok()?;
    stream.set_read_timeout(Some(bound)).ok()?;
    stream.set_write_timeout(Some(bound)).ok()?;
    let request = format!(
        "GET /health/ready HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        address.ip()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).ok()?;
    let status = answer.split_whitespace().nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    body["Status"].as_str()?;
    Some((status, body["Reason"].as_str().unwrap_or_default().to_owned()))
}

/// Whether the activation centres answer in HTTP, whatever they say.
pub(super) fn centres(urls: &[String], use_proxy: bool) -> Check {
    if urls.is_empty() {
        return Check::ok(
            "centre",
            "Центры лицензирования не заданы.",
            "No activation centre is set.",
        );
    }
    let proxy = if use_proxy { ureq::Proxy::try_from_env() } else { None };
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(CENTRE_SECS_MAX)))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(proxy)
        .user_agent(format!("licenceserver/{VERSION}"))
        .build()
        .new_agent();
    let ask = |url: &str| {
        let error = agent.head(url).call().err()?;
        Some(format!("{url}: {error}"))
    };
    // At once, so that several that do not answer take no longer than one.
    let silent: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = urls.iter().map(|url| scope.spawn(|| ask(url))).collect();
        asked.into_iter().filter_map(|asked| asked.join().ok().flatten()).collect()
    });
    if silent.is_empty() {
        return Check::ok(
            "centre",
            format!("Центры лицензирования отвечают: {}.", urls.len()),
            format!("Activation centres that answer: {}.", urls.len()),
        );
    }
    let silent = silent.join("; ");
    Check::warning(
        "centre",
        format!("Центр лицензирования не отвечает: {silent}."),
        format!("An activation centre does not answer: {silent}."),
    )
    .advise(
        "Проверьте доступ в интернет и прокси ([Common] LicenceCenterUseProxy); без центра ключ \
         устанавливается файлом запроса.",
        "Check the internet and the proxy ([Common] LicenceCenterUseProxy); without the centre a \
         key is installed by a request file.",
    )
}

/// Whether the operating system starts the server.
pub(super) fn service() -> Check {
    let install = |check: Check| {
        check.advise(
            "Установите службу: licenceserver service install",
            "Install the service: licenceserver service install",
        )
    };
    if service::is_under_systemd() {
        let state = |word: &str| {
            Command::new("systemctl")
                .args([word, service::NAME])
                .stdin(Stdio::null())
                .output()
                .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
                .unwrap_or_default()
        };
        let (enabled, active) = (state("is-enabled"), state("is-active"));
        let text = (
            format!("Служба systemd: {enabled}, {active}."),
            format!("Service of systemd: {enabled}, {active}."),
        );
        return match (&*enabled, &*active) {
            ("enabled", "active") => Check::ok("service", text.0, text.1),
            ("enabled" | "disabled" | "static", "failed") => {
                Check::failed("service", text.0, text.1).advise(
                    "Смотрите: journalctl -u licenceserver",
                    "Look at: journalctl -u licenceserver",
                )
            }
            ("enabled", _) => Check::warning("service", text.0, text.1).advise(
                "Запустите: licenceserver service start",
                "Start it: licenceserver service start",
            ),
            _ => install(Check::warning(
                "service",
                format!("Служба не установлена ({}).", systemd::UNIT_PATH),
                format!("The service is not installed ({}).", systemd::UNIT_PATH),
            )),
        };
    }
    if Path::new(sysv::SCRIPT_PATH).exists() {
        return Check::ok(
            "service",
            format!("Служба: {}.", sysv::SCRIPT_PATH),
            format!("Service: {}.", sysv::SCRIPT_PATH),
        );
    }
    install(Check::warning(
        "service",
        "Служба не установлена: сервер не запустится сам после перезагрузки.",
        "The service is not installed: after a reboot the server does not start by itself.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::State;

    fn with_port(port: u16) -> Config {
        let conf = format!("[Common]\nServerAddr=127.0.0.1\nServerPort={port}\n");
        let source = crate::config::IniSource::parse(Path::new("x.conf"), conf.into()).unwrap();
        Config::from_source(&source).unwrap()
    }

    #[test]
    fn port_is_free_or_its_holder_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = taken.local_addr().unwrap().port();
        let answer = std::thread::spawn(move || {
            let (mut stream, _) = taken.accept().unwrap();
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nsomething else"));
            taken
        });
        let held = port(&with_port(number));
        drop(answer.join().unwrap());
        assert_eq!(held.state, State::Failed, "{held:?}");
        assert!(held.english.contains(&format!("(pid {})", std::process::id())), "{held:?}");
        assert_eq!(port(&with_port(number)).state, State::Ok);
    }

    #[test]
    fn file_of_the_future_casts_doubt_on_the_clock() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        std::fs::create_dir_all(paths.settings()).unwrap();
        std::fs::write(paths.conf(), "").unwrap();
        let now = crate::clock::utc();
        let earlier = Utc::from_unix_millis(now.unix_millis() - 2 * FUTURE_MILLIS);
        let judged = |utc, utc_seen| {
            let check = Check::ok("database", "", "");
            let now = Now { mono: crate::clock::mono(), utc };
            clock(now, &Database { check, utc_seen, doubt: None }, &paths).state
        };
        assert_eq!(judged(now, None), State::Ok);
        assert_eq!(judged(earlier, None), State::Warning);
        assert_eq!(judged(earlier, Some(now)), State::Failed);
        // So far ahead of the last time seen that a server would not believe it.
        assert_eq!(judged(now.plus_days(40), Some(now)), State::Warning);
    }

    #[test]
    fn database_is_looked_at_without_a_trace_and_damage_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b?#%.db");
        assert_eq!(Database::look(&path).check.state, State::Ok, "none is no fault");
        drop(crate::store::sqlite::SqliteJournal::open(&path, Default::default()).unwrap());
        let files = || std::fs::read_dir(dir.path()).unwrap().count();
        let before = files();
        assert_eq!(Database::look(&path).check.state, State::Ok);
        assert_eq!(files(), before);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert_eq!(Database::look(&path).check.state, State::Failed);
        assert_eq!(files(), before);
    }
}
