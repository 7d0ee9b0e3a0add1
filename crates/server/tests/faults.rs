//! What goes wrong around the server: the disk, the data, the port, the settings, the clock. Each
//! has a clear message, loses no granted seat and is over when its cause is.
//!
//! The program is the real one. Disks that are full or read-only are mounts in a name space of
//! their own (`unshare`), the wrong clock is libfaketime's (Debian package `faketime`).

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
#![cfg(target_os = "linux")]

mod process;
mod support;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use licenceserver::identity::Identity;
use licenceserver::paths::Paths;
use process::{BOUND, Running, program, text};
use rusqlite::Connection;
use serde_json::{Value, json};
use support::SERIES;

/// Seats of the one key.
const SEATS: u32 = 500;

/// Sessions that a full disk is tried with; the free pages that SQLite has are used up long before.
const TRIES: u32 = 200;

/// A data folder with an identity, a series and a key of [`SEATS`] seats.
fn prepare(base: &Path) -> Paths {
    let paths = Paths::new(base);
    std::fs::create_dir_all(paths.keys()).unwrap();
    let identity = Identity::load_or_make(&paths.identity()).unwrap();
    let series = serde_json::to_string(&support::descriptor(None)).unwrap();
    std::fs::write(paths.series("licence.series"), series).unwrap();
    let name = format!("{SERIES:04X}.7131766.licence");
    let licence = support::licence(identity.public(), 7_131_766, SEATS);
    std::fs::write(paths.keys().join(name), licence).unwrap();
    paths
}

/// A component of an application server. It verifies no certificate: trust is not the subject here.
struct Component {
    agent: ureq::Agent,
    base: String,
    connection: String,
}

impl Component {
    fn connect(server: &Running) -> Self {
        let tls = ureq::tls::TlsConfig::builder().disable_verification(true).build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(BOUND))
            .http_status_as_error(false)
            // A connection that was idle when the server closed it is no news.
            .max_idle_connections(0)
            .proxy(None)
            .build()
            .new_agent();
        let base = format!("https://{}/client/v1", server.address());
        let mut component = Self { agent, base, connection: String::new() };
        let info = support::sample_connection_info();
        let (status, body) = component.call("connect", &json!({"KeyID": "672B", "Info": info}));
        assert_eq!(status, 200, "{body}");
        component.connection = body["ID"].as_str().unwrap().to_owned();
        component
    }

    fn call(&self, message: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/{message}", self.base);
        let mut answer = self.agent.post(&url).send_json(body).unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), serde_json::from_str(&text).unwrap())
    }

    fn open(&self, number: u32, lease: Option<&str>) -> (u16, Value) {
        let session = json!({
            "SessionNumber": number.to_string(),
            "IsServer": true,
            "InfoBaseConnectionStr": "Srvr=\"faults\";Ref=\"base\";",
            "ComputerName": "faults",
            "SessionStarted": "2026-01-31T09:00:00.000Z",
        });
        let body = json!({"Connection": self.connection, "Session": session, "Lease": lease});
        self.call("open", &body)
    }

    /// Opens a session that must be granted; its id and lease.
    fn granted(&self, number: u32) -> (String, String) {
        let (status, body) = self.open(number, None);
        assert_eq!(status, 200, "session {number}: {body}");
        (
            body["ID"].as_str().unwrap().to_owned(),
            body["Lease"].as_str().unwrap_or_default().to_owned(),
        )
    }
}

fn sessions(server: &Running) -> Vec<String> {
    let (status, body) = server.get("/api/sessions");
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    let ids = body["Sessions"].as_array().unwrap_or_else(|| panic!("{body}"));
    ids.iter().map(|session| session["ID"].as_str().unwrap().to_owned()).collect()
}

fn check_holds(server: &Running, granted: &[String], when: &str) {
    let held = sessions(server);
    for id in granted {
        assert!(held.contains(id), "{when}: session {id} was lost; {}", server.log());
    }
}

fn health(server: &Running, name: &str) -> Value {
    let (status, body) = server.get("/api/health");
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    let checks = body["Checks"].as_array().unwrap();
    checks.iter().find(|check| check["Name"] == name).unwrap_or_else(|| panic!("{body}")).clone()
}

/// The program in name spaces of its own, after a script has mounted what it wants to. `$1` is the
/// folder; the process id stays that of the child.
fn program_in_mounts(base: &Path, script: &str) -> Command {
    let probe = Command::new("unshare").args(["-r", "-m", "true"]).output();
    let probe = probe.unwrap_or_else(|error| panic!("unshare (package util-linux): {error}"));
    assert!(
        probe.status.success(),
        "this test needs user and mount name spaces (unshare -rm): {}",
        text(&probe.stderr)
    );
    let plain = program(base, &["run"]);
    let mut command = Command::new("unshare");
    command.args(["-r", "-m", "sh", "-ec", &format!("{script}\nshift\nexec \"$@\""), "sh"]);
    command.arg(base).arg(plain.get_program()).args(plain.get_args());
    command
}

#[test]
fn full_disk_closes_the_server_which_opens_again_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (made, base) = (dir.path().join("made"), dir.path().join("data"));
    prepare(&made);
    std::fs::create_dir(&base).unwrap();
    let script =
        format!("mount -t tmpfs -o size=3m tmpfs \"$1\"; cp -a '{}'/. \"$1\"/", made.display());
    let mut server = Running::start(program_in_mounts(&base, &script));
    let component = Component::connect(&server);
    let mut granted = vec![component.granted(1).0];
    // The mount as the server sees it.
    let inside =
        PathBuf::from(format!("/proc/{}/root", server.id())).join(base.strip_prefix("/").unwrap());
    let ballast = inside.join("ballast");
    let filled =
        std::io::copy(&mut std::io::repeat(7), &mut std::fs::File::create(&ballast).unwrap());
    assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    let refused = (2..2 + TRIES).find_map(|number| {
        let (status, body) = component.open(number, None);
        if status == 200 {
            granted.push(body["ID"].as_str().unwrap().to_owned());
            return None;
        }
        Some((status, body))
    });
    let (status, body) = refused.expect("the disk was never full");
    assert_eq!((status, body["Exception"].as_str()), (503, Some("EStorage")), "{body}");
    server.wait_log("trying again");
    let ready = server.wait_status("/health/ready", 503);
    assert!(ready.contains("free on the disk") || ready.contains("Free on the disk"), "{ready}");
    assert_eq!(server.get("/health/live").0, 200);
    let (status, body) = server.get("/api/sessions");
    assert_eq!(status, 503);
    assert!(body.contains("(EStorage)"), "{body}");
    std::fs::remove_file(&ballast).unwrap();
    server.next_ready_line();
    server.wait_status("/health/ready", 200);
    check_holds(&server, &granted, "after the disk was full");
    // The connection goes on as well, and finds its session under the same id.
    assert_eq!(component.open(1, None).1["ID"], granted[0].as_str());
    component.granted(1000);
    let output = server.stop();
    assert_eq!(output.code, Some(0), "{}", output.log);
}

#[test]
fn read_only_data_folder_is_named_and_nothing_in_it_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    let server = Running::start(program(dir.path(), &["run"]));
    let id = Component::connect(&server).granted(1).0;
    server.stop();
    let script = "mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"";
    let output = Running::launch(program_in_mounts(dir.path(), script)).ended();
    assert_eq!(output.code, Some(1), "{}", output.log);
    let says = output.log.contains("Read-only file system")
        && output.log.contains(&dir.path().display().to_string());
    assert!(says, "{}", output.log);
    let server = Running::start(program(dir.path(), &["run"]));
    check_holds(&server, &[id], "after the folder was read-only");
    server.stop();
}

/// Holds the database as a backup program that hangs would.
fn hold(paths: &Paths) -> Connection {
    let holder = Connection::open(paths.database()).unwrap();
    holder.busy_timeout(Duration::from_secs(20)).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    holder
}

#[test]
fn database_locked_at_the_start_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let paths = prepare(dir.path());
    let server = Running::start(program(dir.path(), &["run"]));
    let id = Component::connect(&server).granted(1).0;
    server.stop();
    let holder = hold(&paths);
    let mut server = Running::launch(program(dir.path(), &["run"]));
    server.wait_log("answering 503 on ");
    assert!(server.log().contains("database is locked"), "{}", server.log());
    drop(holder);
    server.next_ready_line();
    check_holds(&server, &[id], "after the lock");
    let output = server.stop();
    assert_eq!(output.code, Some(0), "{}", output.log);
}

#[test]
fn database_locked_while_running_closes_the_server_until_the_lock_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let paths = prepare(dir.path());
    let mut server = Running::start(program(dir.path(), &["run"]));
    let component = Component::connect(&server);
    let id = component.granted(1).0;
    let holder = hold(&paths);
    let (status, body) = component.open(2, None);
    assert_eq!((status, body["Exception"].as_str()), (503, Some("EStorage")), "{body}");
    server.wait_log("trying again");
    let ready = server.wait_status("/health/ready", 503);
    assert!(ready.contains("locked"), "{ready}");
    let (status, body) = component.open(2, None);
    assert_eq!((status, body["Exception"].as_str()), (503, Some("EStorage")), "{body}");
    drop(holder);
    server.next_ready_line();
    check_holds(&server, std::slice::from_ref(&id), "after the lock");
    assert_eq!(component.open(1, None).1["ID"], id.as_str());
    component.granted(2);
    server.stop();
}

#[test]
fn database_cut_short_is_put_aside_and_a_session_returns_by_its_lease() {
    let dir = tempfile::tempdir().unwrap();
    let paths = prepare(dir.path());
    let server = Running::start(program(dir.path(), &["run"]));
    let lease = Component::connect(&server).granted(1).1;
    assert!(!lease.is_empty());
    server.stop();
    let bytes = std::fs::read(paths.database()).unwrap();
    std::fs::write(paths.database(), &bytes[..bytes.len() / 2]).unwrap();
    let server = Running::start(program(dir.path(), &["run"]));
    server.wait_log("put aside");
    let (status, body) = Component::connect(&server).open(1, Some(&lease));
    assert_eq!(status, 200, "{body}");
    let aside = std::fs::read_dir(paths.settings())
        .unwrap()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("licenceserver.db.damaged-"));
    assert!(aside, "the damaged file is kept");
    server.stop();
}

#[test]
fn conf_that_is_broken_or_unreadable_stops_the_start_by_name_and_does_not_stop_a_running_server() {
    let dir = tempfile::tempdir().unwrap();
    let paths = prepare(dir.path());
    std::fs::write(paths.conf(), "[Common]\nLang=ru\n").unwrap();
    let mut server = Running::start(program(dir.path(), &["run"]));
    let id = Component::connect(&server).granted(1).0;
    std::fs::write(paths.conf(), "[Common]\nLang=de\n").unwrap();
    server.signal("HUP");
    server.wait_log("[Common] Lang=de");
    assert_eq!(server.get("/health/ready").0, 200);
    assert_eq!(server.post("/api/restart").0, 202);
    server.next_ready_line();
    check_holds(&server, std::slice::from_ref(&id), "after a restart with a broken conf");
    let check = health(&server, "settings");
    assert_eq!(check["Status"], "failed");
    assert!(check["Text"].as_str().unwrap().contains("[Common] Lang=de"), "{check}");
    let output = server.stop();
    assert_eq!(output.code, Some(0), "{}", output.log);

    let output = Running::launch(program(dir.path(), &["run"])).ended();
    assert_eq!(output.code, Some(1), "{}", output.log);
    assert!(output.log.contains("[Common] Lang=de"), "{}", output.log);
    std::fs::remove_file(paths.conf()).unwrap();
    std::fs::create_dir(paths.conf()).unwrap();
    let output = Running::launch(program(dir.path(), &["run"])).ended();
    assert_eq!(output.code, Some(1), "{}", output.log);
    assert!(output.log.contains(&paths.conf().display().to_string()), "{}", output.log);

    std::fs::remove_dir(paths.conf()).unwrap();
    let server = Running::start(program(dir.path(), &["run"]));
    check_holds(&server, &[id], "after the conf was put right");
    server.stop();
}

#[test]
fn taken_port_is_named_with_its_holder_and_a_restart_onto_one_stays_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let paths = prepare(dir.path());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = |listener: &std::net::TcpListener| listener.local_addr().unwrap().port();
    let conf = |port: u16| {
        let conf = format!("[Common]\nServerAddr=127.0.0.1\nServerPort={port}\n");
        std::fs::write(paths.conf(), conf).unwrap();
    };
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_licenceserver"));
        command.args(["run", "--data"]).arg(dir.path());
        command
    };
    conf(port(&taken));
    let output = Running::launch(run()).ended();
    assert_eq!(output.code, Some(1), "{}", output.log);
    for part in [
        format!("cannot listen on 127.0.0.1:{}", port(&taken)),
        format!("(pid {})", std::process::id()),
    ] {
        assert!(output.log.contains(&part), "{part}: {}", output.log);
    }

    conf(port(&free));
    let (other, kept) = (port(&taken), port(&free));
    drop(free);
    let mut server = Running::start(run());
    let id = Component::connect(&server).granted(1).0;
    conf(other);
    let (status, body) = server.post("/api/restart");
    let expected = json!({"Restarting": true, "Port": other});
    assert_eq!((status, serde_json::from_str::<Value>(&body).unwrap()), (202, expected));
    server.next_ready_line();
    assert_eq!(server.address().port(), kept, "the port from before");
    let check = health(&server, "settings");
    assert!(check["Text"].as_str().unwrap().contains(&format!("127.0.0.1:{other}")), "{check}");
    drop(taken);
    assert_eq!(server.post("/api/restart").0, 202);
    server.next_ready_line();
    assert_eq!(server.address().port(), other, "the port that is free again");
    assert_eq!(health(&server, "settings")["Status"], "ok");
    check_holds(&server, &[id], "after two restarts");
    server.stop();
}

/// The program on this data, listening where its settings say.
fn run_as_set(base: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_licenceserver"));
    command.args(["run", "--data"]).arg(base);
    command
}

#[test]
fn password_that_was_changed_stays_so_when_a_restart_falls_back_to_the_port_from_before() {
    let dir = tempfile::tempdir().unwrap();
    let paths = prepare(dir.path());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = |listener: &std::net::TcpListener| listener.local_addr().unwrap().port();
    let (other, kept) = (port(&taken), port(&free));
    drop(free);
    let conf = format!("[Common]\nServerAddr=127.0.0.1\nServerPort={kept}\n");
    std::fs::write(paths.conf(), conf).unwrap();
    let mut server = Running::start(run_as_set(dir.path()));
    let (old, new) = (support::basic("admin:admin"), support::basic("admin:quite another 1"));
    let body = json!({"Password": "admin", "NewPassword": "quite another 1"}).to_string();
    let changed = server.try_call_as(&old, "PUT", "/api/password", &body).unwrap();
    assert_eq!(changed.0, 202, "{changed:?}");
    let body = json!({"Common": {"ServerPort": other}}).to_string();
    let changed = server.try_call_as(&new, "PUT", "/api/settings", &body).unwrap();
    assert_eq!(changed.0, 202, "{changed:?}");
    assert_eq!(server.try_call_as(&new, "POST", "/api/restart", "").unwrap().0, 202);
    server.next_ready_line();
    assert_eq!(server.address().port(), kept, "{}", server.log());
    let status = |pair: &str| server.try_call_as(pair, "GET", "/api/settings", "").unwrap().0;
    assert_eq!((status(&old), status(&new)), (401, 200), "{}", server.log());
    server.stop();
}

#[test]
fn address_is_changed_by_a_restart_on_the_same_port() {
    let dir = tempfile::tempdir().unwrap();
    let paths = prepare(dir.path());
    let free = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let conf = |address: &str| {
        let conf = format!("[Common]\nServerAddr={address}\nServerPort={port}\n");
        std::fs::write(paths.conf(), conf).unwrap();
    };
    conf("0.0.0.0");
    let mut server = Running::start(run_as_set(dir.path()));
    for (address, expected) in [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        // Of no computer: the address from before is had again.
        ("192.0.2.1", "0.0.0.0"),
        ("127.0.0.1", "127.0.0.1"),
    ] {
        conf(address);
        let call = server.try_call_as(&support::basic("admin:admin"), "POST", "/api/restart", "");
        assert_eq!(call.unwrap().0, 202, "{address}");
        server.next_ready_line();
        let bound = server.address();
        assert_eq!(bound, format!("{expected}:{port}").parse().unwrap(), "{}", server.log());
        let state = if address == expected { "ok" } else { "failed" };
        let check = health(&server, "settings");
        assert_eq!(check["Status"], state, "{address}: {check}");
    }
    let output = server.stop();
    assert_eq!(output.code, Some(0), "{}", output.log);
}

#[test]
fn change_whose_caller_hangs_up_is_carried_to_its_end_with_its_line_in_the_audit_trail() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    let server = Running::start(program(dir.path(), &["run"]));
    let admin = support::basic("admin:admin");
    let body = json!({"Role": "reader", "Password": "hung up 12345"}).to_string();
    let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    let head = format!(
        "PUT /api/users/ivan HTTP/1.1\r\nHost: localhost\r\nAuthorization: {admin}\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut word = [0; 25];
    stream.read_exact(&mut word).unwrap();
    assert_eq!(text(&word), "HTTP/1.1 100 Continue\r\n\r\n");
    // The request is under way; the hash alone takes longer than the word of the end needs.
    stream.write_all(body.as_bytes()).unwrap();
    drop(stream);
    let start = licenceserver::clock::mono();
    loop {
        let users = server.get("/api/users").1;
        let events = server.get("/api/events").1;
        if users.contains("ivan") && events.contains("user_put") {
            break;
        }
        let spent = licenceserver::clock::mono().since(start);
        assert!(spent < Duration::from_secs(20), "{users} {events} {}", server.log());
        std::thread::park_timeout(Duration::from_millis(20));
    }
    server.stop();
}

/// libfaketime as the dynamic linker finds it.
fn faketime() -> PathBuf {
    let folders =
        ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let names = ["faketime/libfaketimeMT.so.1", "faketime/libfaketime.so.1"];
    folders
        .iter()
        .flat_map(|folder| names.iter().map(|name| Path::new(folder).join(name)))
        .find(|path| path.exists())
        .expect("this test needs libfaketime; on Debian: apt-get install faketime")
}

#[test]
fn clock_a_day_back_and_forth_is_told_and_takes_no_seat() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("data");
    prepare(&base);
    let offset = dir.path().join("offset");
    // Replaced whole: the server may read it at any moment.
    let set = |text: &str| {
        let part = dir.path().join("offset.part");
        std::fs::write(&part, text).unwrap();
        std::fs::rename(&part, &offset).unwrap();
    };
    set("+0d\n");
    let mut command = program(&base, &["run"]);
    command
        .env("LD_PRELOAD", faketime())
        .env("FAKETIME_TIMESTAMP_FILE", &offset)
        .env("FAKETIME_NO_CACHE", "1")
        // Leases run on a clock that nobody sets; the real one stays real.
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let server = Running::start(command);
    let component = Component::connect(&server);
    let mut granted = vec![component.granted(1).0];
    assert_eq!(health(&server, "clock")["Status"], "ok");
    for (text, number, expected) in
        [("-1d\n", 2, "failed"), ("+1d\n", 3, "ok"), ("+0d\n", 4, "failed")]
    {
        set(text);
        granted.push(component.granted(number).0);
        let beat = component
            .call("heartbeat", &json!({"Connection": component.connection, "Sessions": granted}));
        assert_eq!((beat.0, beat.1["Gone"].as_array().map_or(0, Vec::len)), (200, 0), "{beat:?}");
        check_holds(&server, &granted, text);
        let check = health(&server, "clock");
        assert_eq!(check["Status"], expected, "{text}: {check}");
    }
    let output = server.stop();
    assert_eq!(output.code, Some(0), "{}", output.log);
    // A start with the clock behind says so and restores all.
    let server = Running::start(program(&base, &["run"]));
    check_holds(&server, &granted, "after a restart");
    server.wait_log("behind the latest time seen");
    server.stop();
}
