//! What the doctor says of a cluster: by answers of etcd, and asked of a gateway that gives them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use licence_core::cluster::record::{Member, Settings};
use licence_core::seal::SigningKey;
use serde_json::{Value, json};

use super::*;
use crate::cluster::etcd::MemberStatus;
use crate::config::IniSource;
use crate::health::State;

const ID: ClusterId = ClusterId::from_bytes([1; 16]);

fn status(answer: Result<MemberStatus, EtcdError>) -> EndpointStatus {
    EndpointStatus { endpoint: "http://etcd1".parse().unwrap(), answer, seconds: 0.0 }
}

fn member(leader: u64, errors: &[&str]) -> MemberStatus {
    MemberStatus {
        version: "3.4.23".into(),
        member: 1,
        leader,
        cluster: 1,
        revision: 1,
        raft_index: 1,
        raft_applied: 1,
        raft_term: 1,
        db_bytes: 1,
        db_used_bytes: 1,
        is_learner: false,
        errors: errors.iter().map(|error| (*error).to_owned()).collect(),
    }
}

#[test]
fn endpoints_are_judged_by_what_they_answer() {
    let endpoint = || "http://etcd1".parse().unwrap();
    let refused = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    let dead = || Err(EtcdError::Connect { endpoint: endpoint(), source: refused() });
    let tls = || Err(EtcdError::Tls { endpoint: endpoint(), source: refused() });
    for (found, state, said, advised) in [
        (vec![Ok(member(1, &[])), Ok(member(1, &[]))], State::Ok, "2 of 2, it has a leader", ""),
        (vec![dead(), Ok(member(1, &[]))], State::Warning, "1 of 2. http://etcd1", "runs"),
        (vec![tls(), Ok(member(1, &[]))], State::Warning, "1 of 2. TLS", "[Cluster] CA"),
        (vec![dead(), dead()], State::Failed, "none of its addresses", "can be reached"),
        (vec![Err(EtcdError::Password)], State::Failed, "not let this server in", "User, Password"),
        (vec![Ok(member(0, &["no leader"])), dead()], State::Failed, "no leader", "Start"),
        (vec![Ok(member(1, &["alarm:NOSPACE"]))], State::Failed, "no space", "Space on the disk"),
    ] {
        let check = endpoints(&found.into_iter().map(status).collect::<Vec<_>>());
        assert_eq!(check.state, state, "{check:?}");
        assert!(check.english.contains(said), "{said}: {check:?}");
        assert!(check.advice_english.contains(advised), "{advised}: {check:?}");
        assert_eq!(check.advice_russian.is_empty(), advised.is_empty(), "{check:?}");
    }
}

#[test]
fn clock_of_a_node_that_started_in_the_future_is_ahead() {
    let now = Utc::from_unix_millis(1_000_000);
    let id = NodeId::of(&SigningKey::from_seed(&[1; 32]).public());
    for (ahead_secs, said) in [(-500, None), (59, None), (90, Some("+90 s"))] {
        let started = now.plus_millis(ahead_secs * 1000);
        let mut contents = Contents::default();
        let (held, keys) = Default::default();
        contents.alive.insert(id, Alive { version: "1".into(), started, held, keys });
        let check = clocks(&contents, now);
        assert_eq!(check.is_some(), said.is_some(), "{check:?}");
        if let (Some(check), Some(said)) = (check, said) {
            assert!(check.english.contains(said), "{check:?}");
        }
    }
}

/// A gateway of etcd that answers so many requests, each by its path, and a `404` for none.
fn gateway(answers: Vec<(&'static str, u16, Value)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let answers = answers.clone();
            std::thread::spawn(move || serve(stream.unwrap(), &answers));
        }
    });
    address
}

/// Answers on one connection until the other side ends it.
fn serve(mut stream: TcpStream, answers: &[(&str, u16, Value)]) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let (mut head, mut line) = (String::new(), String::new());
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            head += &line.to_ascii_lowercase();
        }
        let length = head.split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
        reader.read_exact(&mut vec![0; length]).ok()?;
        let path = head.split(' ').nth(1)?;
        let found = answers.iter().find(|(of, ..)| *of == path);
        let (status, body) = found.map_or((404, Value::Null), |it| (it.1, it.2.clone()));
        let body = body.to_string();
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).ok()?;
    }
}

fn header() -> Value {
    json!({"cluster_id": "1", "member_id": "1", "revision": "5", "raft_term": "2"})
}

fn healthy() -> (&'static str, u16, Value) {
    let body = json!({"header": header(), "version": "3.4.23", "leader": "1"});
    ("/v3/maintenance/status", 200, body)
}

fn range(entries: &[(String, Vec<u8>)]) -> (&'static str, u16, Value) {
    let pair = |(key, value): &(String, Vec<u8>)| {
        let (key, value) = (format!("{}{key}", ID.prefix()), STANDARD.encode(value));
        json!({
            "key": STANDARD.encode(key), "value": value, "create_revision": "1",
            "mod_revision": "1", "version": "1"
        })
    };
    let pairs: Vec<Value> = entries.iter().map(pair).collect();
    ("/v3/kv/range", 200, json!({"header": header(), "kvs": pairs}))
}

fn txn() -> (&'static str, u16, Value) {
    ("/v3/kv/txn", 200, json!({"header": header()}))
}

fn denied(path: &'static str) -> (&'static str, u16, Value) {
    let said = "etcdserver: permission denied";
    (path, 403, json!({"error": said, "message": said, "code": 7}))
}

fn config(endpoint: &str, more: &str) -> Config {
    let text = format!("[Cluster]\nId={ID}\nEndpoints={endpoint}\n{more}");
    let source = IniSource::parse(Path::new("x.conf"), text.into()).unwrap();
    Config::from_source(&source).unwrap()
}

#[test]
fn cluster_is_read_from_etcd_and_each_fault_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path());
    std::fs::create_dir_all(paths.settings()).unwrap();
    let found = |answers| checks(&paths, &config(&gateway(answers), ""));
    let settings = ("settings".to_owned(), Settings::new(Utc::from_unix_millis(0)).write());
    for (answers, state, said) in [
        (vec![healthy(), range(&[]), txn()], State::Failed, "knows no cluster"),
        (vec![healthy(), denied("/v3/kv/range")], State::Failed, "cannot be read"),
        (
            vec![healthy(), range(std::slice::from_ref(&settings)), denied("/v3/kv/txn")],
            State::Failed,
            "Nothing can be written",
        ),
        (
            vec![healthy(), range(std::slice::from_ref(&settings)), txn()],
            State::Warning,
            "not recorded",
        ),
    ] {
        let checks = found(answers);
        assert_eq!((checks.len(), checks[0].state), (2, State::Ok), "{checks:?}");
        assert_eq!((checks[1].id, checks[1].state), ("cluster", state), "{checks:?}");
        assert!(checks[1].english.contains(said), "{said}: {checks:?}");
        assert!(!checks[1].advice_english.is_empty(), "{checks:?}");
    }
}

#[test]
fn node_is_found_among_those_of_its_cluster() {
    let key = SigningKey::from_seed(&[1; 32]).public();
    let me = NodeId::of(&key);
    let joined = Utc::from_unix_millis(0);
    let member = Member { name: "north".into(), key: key.jwk(), addresses: Vec::new(), joined };
    let mut contents = Contents { settings: Some(Settings::new(joined)), ..Contents::default() };
    contents.members.insert(me, member);
    let down = membership(ID, Some(me), &contents);
    assert_eq!(down.state, State::Warning, "{down:?}");
    assert!(down.english.contains("down: north"), "{down:?}");
    let (held, keys) = Default::default();
    contents.alive.insert(me, Alive { version: "1".into(), started: joined, held, keys });
    assert_eq!(membership(ID, Some(me), &contents).state, State::Ok);
    contents.settings = None;
    contents.damaged.insert("settings".into(), "torso".into());
    let damaged = membership(ID, Some(me), &contents);
    assert!(damaged.english.contains("cannot be read: settings"), "{damaged:?}");
}

#[test]
fn files_of_tls_that_cannot_be_read_are_named_and_a_server_alone_has_no_check() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path());
    let found = checks(&paths, &config("https://127.0.0.1:1", "CA=etcd-ca.pem\n"));
    assert_eq!((found.len(), found[0].state), (1, State::Failed), "{found:?}");
    assert!(found[0].english.contains("etcd-ca.pem"), "{found:?}");
    let unreached = checks(&paths, &config("http://127.0.0.1:1", ""));
    assert_eq!((unreached.len(), unreached[0].id), (1, "etcd"), "{unreached:?}");
    assert!(unreached[0].english.contains("none of its addresses"), "{unreached:?}");
    let source = IniSource::parse(Path::new("x.conf"), Vec::new()).unwrap();
    assert_eq!(checks(&paths, &Config::from_source(&source).unwrap()), []);
}
