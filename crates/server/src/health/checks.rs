//! The single checks: from what was found to a state, a text and an advice in both languages.
//!
//! They look at the disk and at values handed to them. Each stands for itself; which of them are
//! made is decided in [`super::report`] and in [`crate::doctor`].

use std::fs;
use std::io;
use std::path::Path;

use licence_core::causes::with_causes;
use licence_core::language::Language;
use licence_core::time::DAY_MILLIS;
use licence_core::time::term_clock::{Doubt, days_of};

mod binding;
mod cluster;
mod licences;
mod tokens;

pub use binding::binding;
pub use cluster::{cluster, recorded as cluster_recorded};
pub use licences::{datafiles, keys, renewal, series};
pub use tokens::tokens;

use super::Check;
use crate::config::{Config, TlsSettings};
use crate::host::{self, Volume};
use crate::net;

/// Below this the data folder is worth a look: a month of logs and history of a busy server.
pub const DISK_WARNING_BYTES: u64 = 500 * 1000 * 1000;

/// Below this the next backup or log may be the last: SQLite's log alone may take some megabytes.
pub const DISK_FAILED_BYTES: u64 = 50 * 1000 * 1000;

/// How far the clock may be behind the latest time seen before somebody should look: corrections
/// by a time service are smaller.
const CLOCK_BEHIND_WARNING_MILLIS: i64 = 60_000;

/// From here on the clock is not just corrected but wrong.
const CLOCK_BEHIND_FAILED_MILLIS: i64 = 24 * 3600 * 1000;

/// Keys that a text names at most; a person looks at the list itself for more.
const NAMED_MAX: usize = 5;

/// Room on the file system of the data folder.
pub fn disk(found: io::Result<Volume>) -> Check {
    let volume = match found {
        Ok(volume) => volume,
        Err(error) => {
            return Check::warning(
                "disk",
                format!("Свободное место папки данных не определено: {error}."),
                format!("The free space of the data folder is not known: {error}."),
            );
        }
    };
    let megabytes = volume.free_bytes / 1_000_000;
    if volume.is_read_only {
        return Check::failed(
            "disk",
            "Папка данных находится на файловой системе, доступной только для чтения.",
            "The data folder is on a file system that is mounted read-only.",
        )
        .advise(
            "Проверьте диск и подключите файловую систему для записи.",
            "Check the disk and mount the file system for writing.",
        );
    }
    let (russian, english) = (
        format!("Свободно на диске папки данных: {megabytes} МБ."),
        format!("Free on the disk of the data folder: {megabytes} MB."),
    );
    let check = match volume.free_bytes {
        bytes if bytes < DISK_FAILED_BYTES => Check::failed("disk", russian, english),
        bytes if bytes < DISK_WARNING_BYTES => Check::warning("disk", russian, english),
        _ => return Check::ok("disk", russian, english),
    };
    check.advise(
        "Освободите место: без него лицензии не выдаются.",
        "Make room: without it no licences are granted.",
    )
}

/// The clock against the moment by which terms are judged.
pub fn clock(behind_millis: i64, doubt: Option<Doubt>) -> Check {
    if let Some(doubt) = doubt {
        return doubted(doubt);
    }
    let secs = behind_millis / 1000;
    let (russian, english) = (
        format!("Часы отстают от последнего известного времени на {secs} с."),
        format!("The clock is {secs} s behind the latest time seen."),
    );
    let check = match behind_millis {
        behind if behind >= CLOCK_BEHIND_FAILED_MILLIS => Check::failed("clock", russian, english),
        behind if behind >= CLOCK_BEHIND_WARNING_MILLIS => {
            Check::warning("clock", russian, english)
        }
        _ => return Check::ok("clock", "Часы идут верно.", "The clock has not been set back."),
    };
    check.advise(
        "Проверьте время и службу синхронизации; сроки ключей считаются по последнему \
         известному времени.",
        "Check the time and its synchronisation; terms of keys follow the latest time seen.",
    )
}

/// A clock that has jumped ahead. Nothing stops by it yet, so it is a warning.
fn doubted(doubt: Doubt) -> Check {
    let Doubt { showed, ahead_millis, .. } = doubt;
    let days = ahead_millis / DAY_MILLIS;
    let left = days_of(doubt.left());
    Check::warning(
        "clock",
        format!(
            "Часы ушли вперёд на дней: {days} (показали {showed}). Этому времени сервер пока не \
             верит и считает сроки ключей по прежнему; поверит, если проработает с ним ещё дней: \
             {left}."
        ),
        format!(
            "The clock has jumped {days} days ahead (it showed {showed}). The server does not \
             believe it yet and counts the terms of keys by the time before; it will after {left} \
             more days of running with it."
        ),
    )
    .advise(
        "Если время неверно, исправьте его: сроки ключей не пострадают. Если верно, обновите \
         лицензии у центра лицензирования или ничего не делайте.",
        "If the time is wrong, set it right: no key's term suffers. If it is right, update the \
         licences from the activation centre, or do nothing.",
    )
}

fn listed(names: &[String]) -> String {
    let shown = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > NAMED_MAX { format!("{shown} … ({})", names.len()) } else { shown }
}

/// What is wrong, in Russian and in English.
pub type Told = (String, String);

/// What somebody tells in a language, in both; nothing when nothing is wrong.
pub fn told(tell: impl Fn(Language) -> Option<String>) -> Option<Told> {
    Some((tell(Language::Russian)?, tell(Language::English)?))
}

/// Whether the conf file is the one in force.
pub fn settings(start: Option<&str>, reload: Option<Told>, waiting: &[String]) -> Check {
    let problem = start.map(|start| (start.to_owned(), start.to_owned())).or(reload);
    if let Some((russian, english)) = problem {
        return Check::failed(
            "settings",
            format!("Файл настроек не применён, действуют прежние настройки: {russian}."),
            format!("The conf file is not in force, the settings from before are: {english}."),
        )
        .advise(
            "Исправьте указанную строку файла и примените настройки снова.",
            "Correct that line of the file and apply the settings again.",
        );
    }
    if !waiting.is_empty() {
        let names = waiting.join(", ");
        return Check::warning(
            "settings",
            format!("Ждут перезапуска сервера: {names}."),
            format!("Waiting for a restart of the server: {names}."),
        )
        .advise(
            "Перезапустите сервер; сеансы сохранятся.",
            "Restart the server; the sessions stay.",
        );
    }
    Check::ok("settings", "Действуют настройки из файла.", "The conf file is in force.")
}

/// Whether the file of the rules is the one in force.
pub fn rules(problem: Option<&str>) -> Check {
    let Some(problem) = problem else {
        return Check::ok("rules", "Действуют правила из файла.", "The rules file is in force.");
    };
    Check::failed(
        "rules",
        format!("Файл правил не применён, действуют прежние правила: {problem}."),
        format!("The rules file is not in force, the rules from before are: {problem}."),
    )
    .advise(
        "Исправьте файл правил и примените настройки снова или сохраните правила в консоли.",
        "Correct the rules file and apply the settings again, or save the rules in the console.",
    )
}

/// The password of the administrator.
pub fn password(config: &Config) -> Check {
    if !config.has_default_password() {
        return Check::ok("password", "Пароль изменён.", "The password was changed.");
    }
    Check::warning(
        "password",
        "Имя и пароль администратора — из руководства (admin/admin).",
        "The administrator's name and password are those of the manual (admin/admin).",
    )
    .advise("Смените пароль в консоли.", "Change the password in the console.")
}

/// The file of the identity: there, and nobody else's to read.
pub fn identity(path: &Path) -> Check {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) => {
            return Check::failed(
                "identity",
                format!("Файл {} недоступен: {error}.", path.display()),
                format!("The file {} cannot be used: {error}.", path.display()),
            )
            .advise(
                "Восстановите его из копии: к нему привязаны лицензии.",
                "Restore it from a copy: the licences are bound to it.",
            );
        }
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = found.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Check::warning(
                "identity",
                format!("Файл {} доступен другим пользователям ({mode:03o}).", path.display()),
                format!("The file {} is open to other users ({mode:03o}).", path.display()),
            )
            .advise(
                format!("Выполните: chmod 600 {}", path.display()),
                format!("Run: chmod 600 {}", path.display()),
            );
        }
    }
    if found.len() == 0 {
        return Check::failed(
            "identity",
            format!("Файл {} пуст.", path.display()),
            format!("The file {} is empty.", path.display()),
        )
        .advise(
            "Восстановите его из копии: к нему привязаны лицензии.",
            "Restore it from a copy: the licences are bound to it.",
        );
    }
    Check::ok(
        "identity",
        "Ключ установки на месте и закрыт от других.",
        "The identity of this installation is there and closed to others.",
    )
}

/// The limit of open files, if the system has one.
pub fn open_files(limit: Option<u64>) -> Check {
    let Some(limit) = limit else {
        return Check::ok(
            "open_files",
            "Число открытых файлов не ограничено.",
            "Open files are not limited.",
        );
    };
    let (russian, english) =
        (format!("Разрешено открытых файлов: {limit}."), format!("Open files allowed: {limit}."));
    if limit >= net::CONNECTIONS_MAX as u64 {
        return Check::ok("open_files", russian, english);
    }
    Check::warning("open_files", russian, english).advise(
        "Поднимите предел до 32768 (LimitNOFILE службы или ulimit -n).",
        "Raise the limit to 32768 (LimitNOFILE of the service, or ulimit -n).",
    )
}

/// The folder of logs.
pub fn logs(folder: &Path) -> Check {
    match host::check_writable(folder) {
        Ok(()) => Check::ok("logs", "Папка логов доступна.", "Logs can be written."),
        Err(error) => Check::warning(
            "logs",
            format!("Папка логов {} недоступна для записи: {error}.", folder.display()),
            format!("Logs cannot be written to {}: {error}.", folder.display()),
        )
        .advise(
            "Дайте пользователю службы право записи в папку.",
            "Let the service's user write to the folder.",
        ),
    }
}

/// The certificate that a running server shows to browsers.
pub fn certificate(problem: Option<Told>) -> Check {
    let Some((russian, english)) = problem else {
        return Check::ok("tls", "TLS готов.", "TLS is ready.");
    };
    tls_failed(
        format!("Сертификат из настроек [TLS] не используется: {russian}."),
        format!("The certificate of the settings [TLS] is not used: {english}."),
    )
}

fn tls_failed(russian: String, english: String) -> Check {
    Check::failed("tls", russian, english).advise(
        "Проверьте [TLS] Certificate и Key и права на эти файлы.",
        "Check [TLS] Certificate and Key and who may read those files.",
    )
}

/// What restores, quarantines and broken backups have left in the settings folder: a hint, never a
/// fault.
pub fn leftovers(settings: &Path) -> Check {
    let mut left = Vec::new();
    let failed = settings.join("restore").join("failed");
    if failed.exists() {
        left.push(("restore/failed".to_owned(), failed));
    }
    if let Ok(entries) = fs::read_dir(settings) {
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_left = name.starts_with("before-restore-")
                || name.contains(".damaged-")
                || name.starts_with("licenceserver.backup-");
            if is_left {
                left.push((name, entry.path()));
            }
        }
    }
    left.sort();
    if left.is_empty() {
        return Check::ok(
            "leftovers",
            "Лишних файлов прежних данных нет.",
            "Nothing of former data is left.",
        );
    }
    let mut entries_left = LEFT_ENTRIES_MAX;
    let bytes: u64 = left.iter().map(|(_, path)| size(path, &mut entries_left)).sum();
    let megabytes = bytes.div_ceil(1_000_000);
    let names: Vec<_> = left.into_iter().map(|(name, _)| name).collect();
    let shown = listed(&names);
    Check::ok(
        "leftovers",
        format!("Остались прежние данные, {megabytes} МБ: {shown}."),
        format!("Former data are left, {megabytes} MB: {shown}."),
    )
    .advise("Удалите их, если они больше не нужны.", "Remove them when they are of no more use.")
}

/// Files and folders looked at for the size of what is left: more would keep the report waiting.
const LEFT_ENTRIES_MAX: u32 = 20_000;

/// Bytes of a file or of all below a folder. Follows no link.
fn size(path: &Path, entries_left: &mut u32) -> u64 {
    let Some(left) = entries_left.checked_sub(1) else { return 0 };
    *entries_left = left;
    let Ok(found) = fs::symlink_metadata(path) else { return 0 };
    if !found.is_dir() {
        return found.len();
    }
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries.flatten().map(|entry| size(&entry.path(), entries_left)).sum()
}

/// The files of the certificate for browsers, where they are set, seen from outside a server.
pub fn tls(settings: &TlsSettings, folder: &Path) -> Check {
    let mut wrong = Vec::new();
    for file in [&settings.certificate, &settings.key].into_iter().flatten() {
        let path = folder.join(file);
        if let Err(error) = fs::File::open(&path) {
            wrong.push(format!("{}: {error}", path.display()));
        }
    }
    if settings.certificate.is_some() != settings.key.is_some() {
        wrong.push("Certificate + Key".to_owned());
    }
    if wrong.is_empty() {
        return Check::ok("tls", "TLS готов.", "TLS is ready.");
    }
    let wrong = wrong.join("; ");
    tls_failed(
        format!("Сертификат из настроек [TLS] не используется: {wrong}."),
        format!("The certificate of the settings [TLS] is not used: {wrong}."),
    )
}

/// The database of a running server; `replaced` is where one that could not be read was put aside
/// at this start.
pub fn database(problem: Option<&dyn std::error::Error>, replaced: Option<&Path>) -> Check {
    let Some(problem) = problem else {
        let Some(aside) = replaced.map(Path::display) else {
            return Check::ok("database", "База данных работает.", "The database works.");
        };
        return Check::warning(
            "database",
            format!("База данных не читалась и заменена пустой; прежняя — {aside}."),
            format!(
                "The database could not be read and an empty one took its place; the old one is \
                 {aside}."
            ),
        )
        .advise(
            "Проверьте диск. История до этого запуска осталась в прежнем файле или в резервной \
             копии; сообщение исчезнет после перезапуска.",
            "Check the disk. History before this start is in the old file or in a backup; this \
             message goes with the next start.",
        );
    };
    let why = with_causes(problem);
    Check::failed(
        "database",
        format!("База данных не отвечает или не записывается: {why}."),
        format!("The database does not answer or cannot be written: {why}."),
    )
    .advise(
        "Проверьте место на диске и права на папку данных; подробности в логе.",
        "Check the room on the disk and the rights to the data folder; the log knows more.",
    )
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn disk_is_judged_by_what_is_free() {
        for (free_bytes, is_read_only, expected) in [
            (DISK_WARNING_BYTES, false, State::Ok),
            (DISK_WARNING_BYTES - 1, false, State::Warning),
            (DISK_FAILED_BYTES - 1, false, State::Failed),
            (DISK_WARNING_BYTES, true, State::Failed),
        ] {
            let check = disk(Ok(Volume { free_bytes, is_read_only }));
            assert_eq!(check.state, expected, "{free_bytes} {is_read_only}");
        }
        assert_eq!(disk(Err(io::ErrorKind::NotFound.into())).state, State::Warning);
    }

    #[test]
    fn clock_is_judged_by_how_far_it_is_behind() {
        for (millis, expected) in [
            (0, State::Ok),
            (59_999, State::Ok),
            (60_000, State::Warning),
            (24 * 3600 * 1000, State::Failed),
        ] {
            assert_eq!(clock(millis, None).state, expected, "{millis}");
        }
    }

    #[test]
    fn clock_that_is_doubted_says_by_how_much_and_until_when() {
        let doubt = Doubt {
            since: "2026-11-21T00:00:00Z".parse().unwrap(),
            showed: "2099-11-21T00:00:00Z".parse().unwrap(),
            ahead_millis: 26_663 * DAY_MILLIS,
            stood: std::time::Duration::from_secs(2 * 86_400 + 1),
        };
        let check = clock(0, Some(doubt));
        assert_eq!(check.state, State::Warning);
        for part in ["26663 days", "2099-11-21", "after 5 more days"] {
            assert!(check.english.contains(part), "{part}: {}", check.english);
        }
        assert!(check.russian.contains("дней: 26663") && check.russian.contains("ещё дней: 5"));
    }

    #[cfg(unix)]
    #[test]
    fn identity_that_others_may_read_is_a_warning_and_a_missing_one_a_failure() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.seal");
        assert_eq!(identity(&path).state, State::Failed);
        fs::write(&path, "key").unwrap();
        for (mode, expected) in
            [(0o600, State::Ok), (0o640, State::Warning), (0o604, State::Warning)]
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(identity(&path).state, expected, "{mode:o}");
        }
    }

    #[test]
    fn settings_that_are_not_in_force_outweigh_those_that_wait() {
        let waiting = ["[Common] ServerPort".to_owned()];
        for (start, reload, waiting, expected) in [
            (None, None, &[][..], State::Ok),
            (None, None, &waiting[..], State::Warning),
            (None, Some("line 3"), &waiting[..], State::Failed),
            (Some("port taken"), None, &[][..], State::Failed),
        ] {
            let told = told(|_| reload.map(str::to_owned));
            assert_eq!(settings(start, told, waiting).state, expected, "{start:?} {reload:?}");
        }
    }

    #[test]
    fn what_is_not_in_force_is_told_in_both_languages_with_an_advice() {
        let both = || told(|language| Some(language.pick("по-русски", "in English").to_owned()));
        let aside = Path::new("licenceserver.db.damaged-1");
        for (check, state, russian, english) in [
            (certificate(None), State::Ok, "готов", "ready"),
            (certificate(both()), State::Failed, "по-русски", "in English"),
            (settings(None, both(), &[]), State::Failed, "по-русски", "in English"),
            (rules(None), State::Ok, "из файла", "in force"),
            (rules(Some("line 3")), State::Failed, "line 3", "line 3"),
            (database(None, None), State::Ok, "работает", "works"),
            (database(None, Some(aside)), State::Warning, "damaged-1", "damaged-1"),
            (database(Some(&io::Error::other("x")), Some(aside)), State::Failed, "x", "x"),
        ] {
            assert_eq!(check.state, state, "{check:?}");
            assert!(check.russian.contains(russian), "{check:?}");
            assert!(check.english.contains(english), "{check:?}");
            let is_told = !check.advice_russian.is_empty() && !check.advice_english.is_empty();
            assert_eq!(is_told, state != State::Ok, "{check:?}");
        }
    }

    #[test]
    fn former_data_are_a_hint_with_their_size() {
        let dir = tempfile::tempdir().unwrap();
        assert!(leftovers(dir.path()).english.starts_with("Nothing"));
        let aside = dir.path().join("before-restore-20261121-120000");
        fs::create_dir_all(aside.join("data")).unwrap();
        fs::write(aside.join("data/x"), vec![0; 1_500_000]).unwrap();
        fs::write(dir.path().join("licenceserver.db.damaged-1"), vec![0; 600_000]).unwrap();
        let check = leftovers(dir.path());
        assert_eq!(check.state, State::Ok);
        for part in ["3 MB", "before-restore-20261121-120000", "licenceserver.db.damaged-1"] {
            assert!(check.english.contains(part), "{part}: {}", check.english);
        }
    }
}
