//! The program as a service: what systemd hears, the unit, the script, the doctor, exit codes.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
#![cfg(target_os = "linux")]

mod process;

use std::os::unix::net::UnixDatagram;
use std::process::Command;

use licenceserver::service::{Devices, Facts, systemd, sysv};
use process::{BOUND, Running, hear, program, text};
use serde_json::Value;

#[test]
fn systemd_hears_of_start_life_reload_restart_and_end() {
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().join("notify");
    let socket = UnixDatagram::bind(&name).unwrap();
    let mut command = program(&dir.path().join("data"), &["run"]);
    // Three signs of life in 1.5 s.
    command.env("NOTIFY_SOCKET", &name).env("WATCHDOG_USEC", "1500000");
    let mut server = Running::start(command);
    // A start that is quick says nothing of opening: only the latest word is sent.
    let heard = hear(&socket, "READY=1");
    let status = format!("STATUS=listens on {}, sessions: 0", server.address());
    let heard = if heard.contains(&status) { heard } else { hear(&socket, &status) };
    assert!(heard.contains(&status), "{heard:?}");
    hear(&socket, "WATCHDOG=1");
    hear(&socket, "WATCHDOG=1");
    server.signal("HUP");
    let heard = hear(&socket, "RELOADING=1");
    assert!(heard.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{heard:?}");
    hear(&socket, "READY=1");
    assert_eq!(server.post("/api/restart").0, 202);
    server.next_ready_line();
    hear(&socket, "WATCHDOG=1");
    let output = server.stop();
    assert_eq!(output.code, Some(0), "{}", output.log);
    hear(&socket, "STOPPING=1");
}

#[test]
fn systemd_learns_when_the_driver_does_not_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (name, base) = (dir.path().join("notify"), dir.path().join("data"));
    let socket = UnixDatagram::bind(&name).unwrap();
    let mut command = program(&base, &["run"]);
    command.env("NOTIFY_SOCKET", &name).env("WATCHDOG_USEC", "1500000");
    let server = Running::start(command);
    hear(&socket, "READY=1");
    let holder = rusqlite::Connection::open(base.join("3.0/licenceserver.db")).unwrap();
    holder.busy_timeout(BOUND).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    // Its line in the audit trail waits for the lock, and all who come later wait behind it.
    let status = format!("STATUS=listens on {}: the driver does not answer", server.address());
    std::thread::scope(|scope| {
        let heard = scope.spawn(|| hear(&socket, &status));
        assert_eq!(server.post("/api/restart").0, 503);
        heard.join().unwrap();
    });
    drop(holder);
    hear(&socket, "WATCHDOG=1");
    server.stop();
}

#[test]
fn unit_is_accepted_and_found_well_hardened_by_systemd_itself() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let mut install = Command::new(env!("CARGO_BIN_EXE_licenceserver"));
    install.args(["service", "install", "--data", "/var/1C/licence"]).arg("--root").arg(&root);
    // systemd looks whether the program is there.
    install.arg("--program").arg(env!("CARGO_BIN_EXE_licenceserver"));
    let output = install.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let unit = root.join("etc/systemd/system/licenceserver.service");
    let analyze = |arguments: &[&str]| {
        let output = Command::new("systemd-analyze")
            .args(arguments)
            .arg(&unit)
            .env("SYSTEMD_PAGER", "cat")
            .output()
            .unwrap_or_else(|error| panic!("systemd-analyze (package systemd): {error}"));
        (output.status.success(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
    };
    let (is_fine, said) = analyze(&["verify", "--man=no"]);
    assert!(is_fine && !said.contains("licenceserver.service:"), "{said}");
    // In tenths.
    let (is_fine, said) = analyze(&["security", "--offline=true", "--threshold=30"]);
    assert!(is_fine, "{said}");
    assert!(root.join("etc/init.d/licenceserver").exists(), "the script comes with it");
    let written = std::fs::read_to_string(&unit).unwrap();
    for line in ["Type=notify", "WatchdogSec=30", "Restart=always", "User=licence"] {
        assert!(written.lines().any(|found| found == line), "{line}: {written}");
    }
}

#[test]
fn unit_with_a_tpm_and_one_without_devices_are_accepted_by_systemd() {
    let dir = tempfile::tempdir().unwrap();
    for (name, devices) in [
        ("none", Devices::default()),
        ("tpm", Devices { usb: true, tpm: Some("/dev/tpmrm0".into()), tpm_group: Some("tss") }),
    ] {
        let program = env!("CARGO_BIN_EXE_licenceserver").into();
        let facts = Facts::new(program, "/var/1C/licence".into(), "licence".to_owned()).unwrap();
        let unit = dir.path().join(format!("{name}.service"));
        let text = systemd::unit(&facts.with_devices(devices).unwrap());
        std::fs::write(&unit, text).unwrap();
        for arguments in
            [&["verify", "--man=no"][..], &["security", "--offline=true", "--threshold=30"][..]]
        {
            let output = Command::new("systemd-analyze")
                .args(arguments)
                .arg(&unit)
                .env("SYSTEMD_PAGER", "cat")
                .output()
                .unwrap_or_else(|error| panic!("systemd-analyze (package systemd): {error}"));
            let said = crate::text(&output.stderr);
            assert!(output.status.success(), "{name} {arguments:?}: {said}");
            assert!(!said.contains(&format!("{name}.service:")), "{said}");
        }
    }
}

#[test]
fn script_for_system_v_starts_shows_reloads_and_stops_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("with space");
    std::fs::create_dir_all(base.join("3.0")).unwrap();
    let conf = "[Common]\nServerAddr=127.0.0.1\nServerPort=0\n";
    std::fs::write(base.join("3.0/licenceserver.conf"), conf).unwrap();
    let program = env!("CARGO_BIN_EXE_licenceserver").into();
    // Made here and not by the command, which refuses data below /tmp.
    let devices = Devices::default();
    let facts = Facts { program, base, user: "licence".to_owned(), devices };
    let script = dir.path().join("licenceserver");
    std::fs::write(&script, sysv::script(&facts)).unwrap();
    let user = text(&Command::new("id").arg("-un").output().unwrap().stdout).trim().to_owned();
    let pid_file = dir.path().join("pid");
    let call = |word: &str| {
        let output = Command::new("sh")
            .arg(&script)
            .arg(word)
            .env("LICENCESERVER_PIDFILE", &pid_file)
            .env("LICENCESERVER_USER", &user)
            .output()
            .unwrap();
        (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
    };
    assert_eq!(call("status").0, Some(3));
    let (code, said) = call("start");
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = call("status");
    assert_eq!((code, said.contains("is running")), (Some(0), true), "{said}");
    assert_eq!(call("start").0, Some(0), "a second start changes nothing");
    assert_eq!(call("reload").0, Some(0));
    let (code, said) = call("restart");
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = call("stop");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(call("status").0, Some(3));
    assert_eq!(call("rename").0, Some(2));
}

#[test]
fn doctor_says_what_is_wrong_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("data");
    let conf = base.join("3.0/licenceserver.conf");
    let doctor = |lang: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_licenceserver"));
        command.args(["doctor", "--json", "--lang", lang, "--data"]).arg(&base);
        let output = command.output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stdout)));
        (output.status.code(), report)
    };
    let find = |report: &Value, name: &str| {
        let checks = report["Checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["Name"] == name);
        check.unwrap_or_else(|| panic!("no check {name}: {report}")).clone()
    };
    let (_, report) = doctor("en");
    assert_eq!(find(&report, "folder")["Status"], "warning", "{report}");
    assert!(!base.exists(), "the doctor made a folder");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    std::fs::create_dir_all(base.join("3.0")).unwrap();
    let good = format!("[Common]\nServerAddr=127.0.0.1\nServerPort={port}\n");
    std::fs::write(&conf, &good).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_licenceserver"));
    command.args(["run", "--data"]).arg(&base);
    let server = Running::start(command);
    let (_, report) = doctor("en");
    for name in ["conf", "folder", "database", "clock", "identity", "port", "logs"] {
        assert_eq!(find(&report, name)["Status"], "ok", "{name}: {report}");
    }
    assert!(find(&report, "port")["Text"].as_str().unwrap().contains("is running"), "{report}");
    server.stop();
    std::fs::write(&conf, format!("{good}Lang=de\n")).unwrap();
    let (code, report) = doctor("ru");
    assert_eq!((code, report["Status"].as_str()), (Some(1), Some("failed")), "{report}");
    let check = find(&report, "conf");
    let shown = check["Text"].as_str().unwrap();
    assert!(shown.contains("[Common] Lang=de"), "{shown}");
}

#[test]
fn exit_codes_tell_a_wrong_command_line_from_a_failure() {
    let code = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_licenceserver"));
        let output = command.args(arguments).output().unwrap();
        (output.status.code(), !output.stderr.is_empty())
    };
    assert_eq!(code(&["--help"]), (Some(0), false));
    assert_eq!(code(&["--version"]), (Some(0), false));
    for arguments in [&["jump"][..], &["run", "--port", "x"], &["service"], &["--data", "x"]] {
        assert_eq!(code(arguments), (Some(64), true), "{arguments:?}");
    }
    assert_eq!(code(&["service", "status", "--root", "/x"]), (Some(1), true));
}
