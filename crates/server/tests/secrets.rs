//! The program at its most talkative: no password, code or token gets into its log.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
#![cfg(unix)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::key::KeySeries;
use licence_core::seal::PublicKey;
use licenceserver::identity::Identity;
use licenceserver::paths::Paths;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};

struct Running {
    child: Child,
    address: SocketAddr,
}

/// Starts the program and waits for its ready line.
fn start(base: &Path, level: Option<&str>) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_licenceserver"));
    command.args(["run", "--port", "0", "--address", "127.0.0.1", "--data"]).arg(base);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("LICENCE_LOG");
    if let Some(level) = level {
        command.env("LICENCE_LOG", level);
    }
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim_end().rsplit(' ').next().unwrap().parse().unwrap();
    Running { child, address }
}

impl Running {
    fn send(&self, method: &str, path: &str, authorization: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let form = path == "/login" || path == "/password";
        let kind = if form { "application/x-www-form-urlencoded" } else { "application/json" };
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
             Authorization: {authorization}\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// A message of a component, over TLS as components speak it.
    fn message(&self, key: PublicKey, path: &str, body: &Value) -> Value {
        let config = Arc::new(support::pinned::client_config(key));
        let name = ServerName::try_from("localhost").unwrap();
        let tls = rustls::ClientConnection::new(config, name).unwrap();
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut stream = rustls::StreamOwned::new(tls, socket);
        let body = body.to_string();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = Vec::new();
        // The server may close without TLS's goodbye; the length tells whether all has come.
        drop(stream.read_to_end(&mut answer));
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Stops it; all that it said.
    fn stop(self, base: &Path) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let output = self.child.wait_with_output().unwrap();
        let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        for entry in fs::read_dir(base.join("3.0/logs")).unwrap() {
            said.push_str(&fs::read_to_string(entry.unwrap().path()).unwrap());
        }
        said
    }
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

#[test]
fn no_secret_is_in_the_log_of_any_level() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("3.0")).unwrap();
    let conf = dir.path().join("3.0/licenceserver.conf");
    let written = "[Common]\nLicenceCenterUrl=http://127.0.0.1:1\n[Console]\nUserName=root\n\
                   Password=S3cret-plain\n[Users]\neva=reader;S3cret-user\n[Notify]\n\
                   SmtpPassword=S3cret-smtp\nWebhookSecret=S3cret-hook\n[AccessCodes]\n\
                   7131766=S3cret-access\n[Console]\nPassword: S3cret-colon\n";
    fs::write(&conf, written).unwrap();
    let code = ActivationCode::encode(CodeKind::Activation, KeySeries::from_u16(0x672B), 7);
    let code = code.to_string();
    let right = basic("root:S3cret-plain");
    let paths = Paths::new(dir.path());
    let identity = Identity::load_or_make(&paths.identity()).unwrap();
    fs::create_dir_all(paths.keys()).unwrap();
    let series = serde_json::to_string(&support::descriptor(None)).unwrap();
    fs::write(paths.series("licence.series"), series).unwrap();
    let licence = support::licence(identity.public(), 42, 5);
    fs::write(paths.keys().join("672B.42.licence"), licence).unwrap();
    let running = start(dir.path(), Some("trace"));
    let order = format!(r#"{{"ActivationCode":"{code}","ITN":"1234567890"}}"#);
    let mut made = Vec::new();
    for (method, path, authorization, body) in [
        ("GET", "/api", right.as_str(), ""),
        ("GET", "/api", &basic("root:S3cret-wrong"), ""),
        ("GET", "/api", &basic("S3cret-name:S3cret-wrong"), ""),
        ("GET", "/api", "Bearer S3cret-bearer", ""),
        ("GET", "/api/settings?Password=S3cret-query", &right, ""),
        ("PUT", "/api/settings", &right, r#"{"Notify":{"SmtpPassword":"S3cret-put"}}"#),
        ("PUT", "/api/settings", &right, r#"{"Notify":{"Webhook":"S3cret-address"}}"#),
        ("PUT", "/api/settings", &right, r#"{"Notify":{"SmtpPassword":{"S3cret-object":1}}}"#),
        ("POST", "/api/licences", &right, &order),
        ("POST", "/api/licences/request", &right, &order),
        ("PUT", "/api/licences/42", &right, r#"{"AccessCode":"S3cret-code"}"#),
        ("PUT", "/api/users/adam", &right, r#"{"Role":"reader","Password":"S3cret-adam"}"#),
        ("POST", "/login", "", "user=root&password=S3cret-form"),
        ("POST", "/api/tokens", &right, r#"{"Name":"t","Scope":"reader","Days":1}"#),
        ("POST", "/password", &right, "old=S3cret-plain&new=S3cret-form&again=S3cret-form"),
        ("PUT", "/api/password", &right, r#"{"Password":"S3cret-old","NewPassword":"S3cret-new"}"#),
        (
            "PUT",
            "/api/password",
            &right,
            r#"{"Password":"S3cret-plain","NewPassword":"S3cret-changed"}"#,
        ),
    ] {
        let answer = running.send(method, path, authorization, body);
        assert!(answer.starts_with("HTTP/1.1 "), "{method} {path} {answer}");
        let is_done = answer.starts_with("HTTP/1.1 2");
        let does = body.contains("S3cret-code") || body.contains("S3cret-adam");
        let does = does || body.contains("S3cret-changed") || body.contains("S3cret-put");
        assert!(is_done || !does, "{method} {path} {answer}");
        if path == "/api/tokens" {
            // Whatever long word a made token has.
            let words = answer.split('"').filter(|word| word.len() >= 20 && !word.contains(' '));
            made.extend(words.map(str::to_owned));
        }
    }
    let right = basic("root:S3cret-changed");
    // A component's life: its lease is worth a seat.
    let key = identity.public();
    let info = support::sample_connection_info();
    let connect = json!({"KeyID": "672B", "Info": info});
    let connection = running.message(key, "/client/v1/connect", &connect)["ID"].clone();
    let mut open = json!({
        "Connection": connection,
        "Session": {
            "SessionNumber": "1",
            "IsServer": true,
            "InfoBaseConnectionStr": "Srvr=\"s\";Ref=\"demo\";",
            "AppName": "1CV8C",
            "ComputerName": "MORA-HP",
            "UserName": null,
            "SessionStarted": "2018-04-03T14:06:58.000Z",
            "TerminalClient": null
        },
        "Wish": {"AccessCode": "S3cret-code"}
    });
    let granted = running.message(key, "/client/v1/open", &open);
    let lease = granted["Lease"].as_str().unwrap().to_owned();
    open["Lease"] = json!(lease);
    running.message(key, "/client/v1/open", &open);
    // The signature alone would do as well.
    made.extend(lease.split('.').skip(1).map(str::to_owned));
    // The file is broken in the line of a secret, and is read again.
    let text = fs::read_to_string(&conf).unwrap();
    assert!(!text.contains("S3cret-plain") && !text.contains("S3cret-user"), "{text}");
    fs::write(&conf, format!("{text}[Users]\neve=S3cret-broken\n")).unwrap();
    running.send("POST", "/api/settings/reload", &right, "");
    for line in [
        "[Users]\neve=nobody;S3cret-role",
        "[AccessCodes]\nS3cret-swapped=7131766",
        "[AccessCodes]\n7131766 S3cret-bare",
        "[Tokens]\nt=reader;2030-01-01T00:00:00Z;S3cret-digest;t",
        "[Console]\nPassword S3cret-blank",
    ] {
        fs::write(&conf, format!("{text}{line}\n")).unwrap();
        running.send("POST", "/api/settings/reload", &right, "");
    }
    let said = running.stop(dir.path());
    assert!(said.contains("TRACE") || said.contains("DEBUG"), "{said}");
    assert!(said.contains("[Users] eve=***") && said.contains("a line without ="), "{said}");
    for line in said.lines() {
        assert!(
            !line.contains("S3cret") && !line.contains("S3cret".to_lowercase().as_str()),
            "{line}"
        );
        assert!(!line.contains(&code) && !line.contains(&code.replace('-', "")), "{line}");
        assert!(!line.contains("$argon2"), "{line}");
        assert!(!line.contains("UzNjcmV0") && !line.contains(&right[6..]), "{line}");
        assert!(!made.iter().any(|word| line.contains(word.as_str())), "{line}");
    }
}

#[test]
fn level_of_the_log_follows_the_settings_while_the_program_runs() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), None);
    let admin = basic("admin:admin");
    running.send("GET", "/api/before", &admin, "");
    let put = |level: &str| {
        let body = format!(r#"{{"Common":{{"LogLevel":"{level}"}}}}"#);
        let answer = running.send("PUT", "/api/settings", &admin, &body);
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    };
    put("debug");
    let log = || running.send("GET", "/api/log", &admin, "");
    let bound = std::iter::repeat_with(log).take(1000);
    let shown = bound.into_iter().find(|text| text.contains("/api/log 200")).unwrap();
    assert!(shown.contains("log level: DEBUG") && !shown.contains("/api/before"), "{shown}");
    put("error");
    let said = running.stop(dir.path());
    assert!(!said.contains("told to stop"), "{said}");
}

#[test]
fn broken_file_stops_the_start_with_its_line_and_reason() {
    for (text, reason, russian) in [
        (
            "[Common]\n\nServerPort=abc\n",
            ":3: [Common] ServerPort=abc: expected a port number",
            ":3: [Common] ServerPort=abc: ожидается номер порта",
        ),
        (
            "[Common\n",
            ":1: the bracket of a section is not closed",
            ":1: скобка раздела не закрыта",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("3.0")).unwrap();
        fs::write(dir.path().join("3.0/licenceserver.conf"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_licenceserver"));
        let output =
            command.args(["run", "--port", "0", "--data"]).arg(dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(reason) && said.contains("correct them and start again"), "{said}");
        assert!(said.contains(russian), "{said}");
        let logs = fs::read_dir(dir.path().join("3.0/logs")).unwrap().next().unwrap().unwrap();
        assert!(fs::read_to_string(logs.path()).unwrap().contains(reason));
        assert_eq!(fs::read_to_string(dir.path().join("3.0/licenceserver.conf")).unwrap(), text);
    }
}
