//! Backup and restore with the program itself: from its command line, beside a running server and
//! without one, and restores that turn out not to work.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
#![cfg(unix)]

mod process;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use licenceserver::backup::pending;
use licenceserver::paths::Paths;
use process::{BOUND, Running, program, text};
use serde_json::Value;

/// A schema version that this program does not know.
const NEWER: i64 = 99;

fn start(base: &Path) -> Running {
    Running::start(program(base, &["run"]))
}

/// Runs `licenceserver backup` or `restore` to its end.
fn command(what: &str, base: &Path, file: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_licenceserver"));
    command.arg(what).arg(file).arg("--data").arg(base);
    command.output().unwrap()
}

fn check_succeeds(what: &str, base: &Path, file: &Path) -> String {
    let output = command(what, base, file);
    assert_eq!(output.status.code(), Some(0), "{what}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn check_fails(what: &str, base: &Path, file: &Path, part: &str) {
    let output = command(what, base, file);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{what}: {said}");
    assert!(said.contains(part), "{what}: {said}");
    assert!(output.stdout.is_empty(), "{what}: {}", text(&output.stdout));
}

fn identity(base: &Path) -> Vec<u8> {
    std::fs::read(Paths::new(base).identity()).unwrap()
}

fn set_version(database: &Path, version: i64) {
    let db = rusqlite::Connection::open(database).unwrap();
    db.pragma_update(None, "user_version", version).unwrap();
}

/// An archive whose database a later program has written.
fn newer_archive(dir: &Path) -> PathBuf {
    let (base, file) = (dir.join("newer"), dir.join("newer.tar"));
    start(&base).stop();
    set_version(&Paths::new(&base).database(), NEWER);
    check_succeeds("backup", &base, &file);
    file
}

#[test]
fn backup_of_a_running_and_of_a_stopped_server_is_restored_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("first");
    let conf = "[Common]\nLang=en\n";
    std::fs::create_dir_all(base.join("3.0")).unwrap();
    std::fs::write(base.join("3.0/licenceserver.conf"), conf).unwrap();
    let running = start(&base);
    let beside = dir.path().join("beside.tar");
    check_succeeds("backup", &base, &beside);
    assert_eq!(running.get("/health/ready").0, 200, "the server goes on");
    running.stop();
    let without = dir.path().join("without.tar");
    check_succeeds("backup", &base, &without);
    for file in [&beside, &without] {
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(file).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        let other = dir.path().join(file.file_stem().unwrap());
        check_succeeds("restore", &other, file);
        assert_eq!(identity(&other), identity(&base), "{}", file.display());
        assert_eq!(std::fs::read_to_string(other.join("3.0/licenceserver.conf")).unwrap(), conf);
        let restored = start(&other);
        assert_eq!(restored.get("/health/ready").0, 200);
        assert_eq!(restored.stop().code, Some(0));
        assert_eq!(identity(&other), identity(&base), "after a start");
    }
    // An archive is never written over.
    check_fails("backup", &base, &beside, "beside.tar");
}

#[test]
fn restore_puts_the_files_from_before_aside_and_is_refused_while_a_server_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let file = dir.path().join("backup.tar");
    start(&first).stop();
    check_succeeds("backup", &first, &file);
    let running = start(&second);
    let before = identity(&second);
    check_fails("restore", &second, &file, "in use");
    assert_eq!((identity(&second), running.get("/health/ready").0), (before.clone(), 200));
    assert!(!pending::is_pending(&Paths::new(&second)));
    running.stop();
    let said = check_succeeds("restore", &second, &file);
    assert_eq!(identity(&second), identity(&first));
    let aside = said.split("; before: ").nth(1).unwrap_or_else(|| panic!("{said}")).trim();
    assert_eq!(std::fs::read(Path::new(aside).join("identity.seal")).unwrap(), before);
    check_fails("restore", &second, &dir.path().join("missing.tar"), "missing.tar");
    assert_eq!(identity(&second), identity(&first), "a restore that fails changes nothing");
}

#[test]
fn archive_of_a_later_program_is_refused_by_command_line_and_upload() {
    let dir = tempfile::tempdir().unwrap();
    let file = newer_archive(dir.path());
    let base = dir.path().join("data");
    start(&base).stop();
    let before = identity(&base);
    check_fails("restore", &base, &file, "the database has version 99");
    let running = start(&base);
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(BOUND))
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .new_agent();
    let mut answer = agent
        .post(format!("http://{}/api/restore", running.address()))
        .header("Authorization", "Basic YWRtaW46YWRtaW4=")
        .header("Content-Type", "application/x-tar")
        .send(std::fs::read(&file).unwrap())
        .unwrap();
    let body: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    assert_eq!((answer.status().as_u16(), &body["Exception"]), (400, &"ERestore".into()), "{body}");
    assert!(body["Message"].as_str().unwrap().contains("99"), "{body}");
    assert_eq!(running.get("/health/ready").0, 200);
    running.stop();
    assert!(!pending::is_pending(&Paths::new(&base)));
    assert_eq!(identity(&base), before);
}

/// Stages an archive that passes every check and whose server cannot start all the same.
fn stage_bad(paths: &Paths, file: &Path) {
    pending::stage(paths, file).unwrap();
    let staged = paths.settings().join("restore/pending/licenceserver.db");
    assert!(staged.is_file());
    set_version(&staged, NEWER);
}

fn check_taken_back(base: &Path, before: &[u8], log: &str) {
    assert!(log.contains("version 99"), "{log}");
    assert!(log.contains("the restore was taken back"), "{log}");
    assert_eq!(identity(base), before);
    assert!(!pending::is_pending(&Paths::new(base)), "{log}");
}

#[test]
fn restore_whose_server_cannot_start_is_taken_back_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (first, base) = (dir.path().join("first"), dir.path().join("data"));
    let file = dir.path().join("backup.tar");
    start(&first).stop();
    check_succeeds("backup", &first, &file);
    start(&base).stop();
    let before = identity(&base);
    stage_bad(&Paths::new(&base), &file);
    let running = start(&base);
    assert_eq!(running.get("/health/ready").0, 200);
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    check_taken_back(&base, &before, &ended.log);
}

#[test]
fn restore_whose_server_cannot_start_is_taken_back_by_a_running_one() {
    let dir = tempfile::tempdir().unwrap();
    let (first, base) = (dir.path().join("first"), dir.path().join("data"));
    let file = dir.path().join("backup.tar");
    start(&first).stop();
    check_succeeds("backup", &first, &file);
    let mut running = start(&base);
    let before = identity(&base);
    stage_bad(&Paths::new(&base), &file);
    assert_eq!(running.post("/api/restart").0, 202);
    running.next_ready_line();
    assert_eq!(running.get("/health/ready").0, 200);
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    check_taken_back(&base, &before, &ended.log);
}

#[test]
fn restored_settings_whose_port_is_taken_are_taken_back_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (first, base) = (dir.path().join("first"), dir.path().join("data"));
    let file = dir.path().join("backup.tar");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    start(&first).stop();
    let conf = |port: u16| format!("[Common]\nServerAddr=127.0.0.1\nServerPort={port}\n");
    std::fs::write(Paths::new(&first).conf(), conf(port)).unwrap();
    check_succeeds("backup", &first, &file);
    start(&base).stop();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    std::fs::write(Paths::new(&base).conf(), conf(free.local_addr().unwrap().port())).unwrap();
    drop(free);
    let before = identity(&base);
    pending::stage(&Paths::new(&base), &file).unwrap();
    // Address and port are those of the settings here.
    let mut command = Command::new(env!("CARGO_BIN_EXE_licenceserver"));
    command.arg("run").arg("--data").arg(&base);
    let running = Running::start(command);
    assert_eq!(running.get("/health/ready").0, 200);
    let ended = running.stop();
    assert!(ended.log.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{}", ended.log);
    assert!(ended.log.contains("the restore was taken back"), "{}", ended.log);
    assert_eq!(identity(&base), before);
}
