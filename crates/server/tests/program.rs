//! The program itself: start, ready line, second server on the same port or data, SIGTERM.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

struct Running {
    child: Child,
    address: SocketAddr,
}

fn command(base: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_licenceserver"));
    command.args(arguments).arg("--data").arg(base);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts the program and waits for its ready line.
fn start(base: &Path, how: &str) -> Running {
    let mut child = command(base, &[how, "--port", "0", "--address", "127.0.0.1"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let prefix = format!("licenceserver {version} listens on ");
    let address = line.trim_end().strip_prefix(&prefix).unwrap_or_else(|| panic!("{line:?}"));
    Running { child, address: address.parse().unwrap() }
}

impl Running {
    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn stop(self) -> Output {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait_with_output().unwrap()
    }
}

#[test]
fn program_starts_on_an_empty_folder_and_ends_in_good_order_when_told_to() {
    for how in ["run", "-r"] {
        let dir = tempfile::tempdir().unwrap();
        let running = start(dir.path(), how);
        assert!(running.get("/systeminfo").starts_with("HTTP/1.1 200"));
        assert!(running.get("/api").starts_with("HTTP/1.1 401"));
        let output = running.stop();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{log}");
        assert!(log.contains("stopped"), "{log}");
        for file in ["3.0/identity.seal", "3.0/licenceserver.db", "data"] {
            assert!(dir.path().join(file).exists(), "{file}");
        }
        let logs: Vec<_> = std::fs::read_dir(dir.path().join("3.0/logs")).unwrap().collect();
        assert_eq!(logs.len(), 1);
    }
}

#[test]
fn restarted_program_has_the_same_identity() {
    let dir = tempfile::tempdir().unwrap();
    let key = || std::fs::read(dir.path().join("3.0/identity.seal")).unwrap();
    start(dir.path(), "run").stop();
    let first = key();
    start(dir.path(), "run").stop();
    assert_eq!(key(), first);
}

#[test]
fn wrong_setting_stops_the_start_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("3.0")).unwrap();
    let conf = dir.path().join("3.0/licenceserver.conf");
    std::fs::write(&conf, "[Common]\nServerPort=high\n").unwrap();
    let output = command(dir.path(), &["run"]).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(log.contains("[Common] ServerPort=high: expected a port number"), "{log}");
}

#[test]
fn port_in_use_stops_the_start_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let arguments = ["run", "--address", "127.0.0.1", "--port", &port];
    let output = command(dir.path(), &arguments).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(log.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{log}");
}

#[test]
fn second_server_on_the_same_data_is_refused_and_leaves_the_log_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(dir.path(), "run");
    let own = format!(".{}.log", first.child.id());
    let arguments = ["run", "--address", "127.0.0.1", "--port", "0"];
    let output = command(dir.path(), &arguments).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(log.contains("another server is running on the same data"), "{log}");
    let logs = || -> Vec<String> {
        std::fs::read_dir(dir.path().join("3.0/logs"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect()
    };
    assert!(logs().iter().any(|name| name.ends_with(&own)), "{:?}", logs());
    assert!(first.get("/systeminfo").starts_with("HTTP/1.1 200"));
    first.stop();
    let third = start(dir.path(), "run");
    assert!(!logs().iter().any(|name| name.ends_with(&own)), "{:?}", logs());
    third.stop();
}
