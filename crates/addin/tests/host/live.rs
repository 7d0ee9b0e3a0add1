//! Seats through the whole component: the built library against a TLS server that proves itself
//! with a real licence.
//!
//! The server is a stand-in of this file, with fixed answers: what it counts is what arrived.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::host::{Host, descriptor, quoted};
use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::key::{Flags, KeyNo};
use licence_core::licence_file::{LICENCE_FORMAT, LicenceClaims, LicenceFields};
use licence_core::seal::{PublicKey, SigningKey};
use licence_core::time::Utc;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// Longer than any wait inside the component: reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    port: u16,
    series: SigningKey,
    /// Last part of each path that was asked for, with its body.
    calls: Receiver<(String, Value)>,
}

impl Server {
    fn start() -> Self {
        let series = SigningKey::from_seed(&[9; 32]);
        let identity = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["licenceserver".to_owned()])
            .unwrap()
            .self_signed(&identity)
            .unwrap();
        let holder = PublicKey::from_bytes(identity.public_key_raw().try_into().unwrap());
        let config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![certificate.der().clone()],
                    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.serialize_der())),
                )
                .unwrap();
        let config = Arc::new(config);
        let licence = licence(holder, &series);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, calls) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, licence) = (Arc::clone(&config), licence.clone());
                let sender = sender.clone();
                std::thread::spawn(move || serve(stream, config, &licence, &sender));
            }
        });
        Self { port, series, calls }
    }

    /// The lines of a script that make object A and start the series at this server.
    fn begin(&self) -> String {
        format!(
            "load\nnew A LicenceExtension\nset A ПараметрыСвязи s:\"host=127.0.0.1;port={}\"\n\
             set A ОписаниеСерии s:{}\ncall A Запуск s:672B\n",
            self.port,
            descriptor(&self.series)
        )
    }

    /// What arrived up to and including a call of this name.
    fn until(&self, name: &str) -> (Vec<String>, Value) {
        let mut seen = Vec::new();
        loop {
            let (call, body) = self
                .calls
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("no {name} came after {seen:?}"));
            seen.push(call.clone());
            if call == name {
                return (seen, body);
            }
        }
    }
}

fn licence(holder: PublicKey, series: &SigningKey) -> String {
    let activated: Utc = "2026-01-02T03:04:05Z".parse().unwrap();
    let fields = LicenceFields {
        version: LICENCE_FORMAT.to_owned(),
        key_no: KeyNo(7_131_766),
        key_id: "672B".parse().unwrap(),
        reg_no: None,
        key_type: 3,
        service_type: 0,
        licence_count: 5,
        product_version: 0,
        blank_key_no: None,
        activation_code: ActivationCode::encode(CodeKind::Activation, "672B".parse().unwrap(), 7),
        activation_date: activated,
        start_date: None,
        period: 0,
        expire_date: None,
        flags: Flags(0),
        itn: None,
        iec: None,
        product_name: "Тест".to_owned(),
        article: None,
        article_name: None,
        parameters: Default::default(),
        support: Default::default(),
    };
    LicenceClaims::new("1".to_owned(), activated, holder, fields).sign(series).unwrap()
}

fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    licence: &str,
    calls: &Sender<(String, Value)>,
) {
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    while let Ok(Some((name, body))) = request(&mut stream) {
        let answer = match name.as_str() {
            "hello" => json!({"Version": 1, "ServerVersion": "4.0.0", "Licences": [licence]}),
            "connect" => json!({"ID": "C1", "HeartbeatSecs": 10, "SessionSecs": 1000}),
            "open" => json!({"ID": "S1", "UsedLicence": 7_131_766, "ExpiresInMs": 1_000_000}),
            "counters" => json!({"Licences": 1, "Connections": 1, "Sessions": 1,
                "TotalLicenceCount": 5, "UseLicenceCount": 1, "FreeLicenceCount": 4}),
            "serverinfo" => json!({"Version": "4.0.0", "OSType": "Linux", "CPU": "x86_64",
                "ConsoleUrl": "http://localhost:9099/", "VersionOutdated": false}),
            "licences" => json!({"Licences": []}),
            _ => json!({}),
        };
        let text = answer.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            text.len()
        );
        // Noted before the answer: whoever sees the answer may look at the notes.
        let _test_over = calls.send((name, body));
        if stream.write_all((head + &text).as_bytes()).and_then(|()| stream.flush()).is_err() {
            return;
        }
    }
}

/// The next request: the last part of its path and its body; nothing at the end.
fn request(
    stream: &mut StreamOwned<ServerConnection, TcpStream>,
) -> io::Result<Option<(String, Value)>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let path = head.split_whitespace().nth(1).unwrap();
    let name = path.rsplit('/').next().unwrap().to_owned();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(0, |value| value.trim().parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Some((name, serde_json::from_slice(&body).unwrap_or(Value::Null))))
}

fn session() -> String {
    session_of("File=\"C:\\base\";")
}

fn session_of(info_base: &str) -> String {
    quoted(
        &json!({"SessionNumber": 7, "InfoBaseConnectionStr": info_base,
            "SessionStarted": "2026-11-21T10:00:00"})
        .to_string(),
    )
}

const GONE: [&str; 2] = ["ok threads=1 mapped=0", "bye outstanding=0 foreign=0"];

#[test]
fn a_session_takes_its_seat_finds_it_again_and_releases_it() {
    let server = Server::start();
    let session = session();
    let lines = Host::new().run(&format!(
        "{}call A ЗанятьЛицензию s:{session}\ncall A ЗанятьЛицензию s:{session}\n\
         call A ПолучитьСчетчики\ncall A ПолучитьИнформациюОСервере\ncall A ПолучитьЛицензии b:1\n\
         call A ОсвободитьЛицензию s:{session}\ncall A ОсвободитьЛицензию s:{session}\n\
         destroy A\nthreads\nunload\n",
        server.begin()
    ));
    assert_eq!(lines[4], "bool 1");
    for line in &lines[5..7] {
        let seat: Value = serde_json::from_str(line.strip_prefix("string ").unwrap()).unwrap();
        assert_eq!(seat["ID"], "S1");
        assert_eq!(seat["UsedLicence"], 7_131_766);
        assert_eq!(seat["Confirmed"], true);
        assert_eq!(seat["Server"], format!("127.0.0.1:{}", server.port));
        assert!(seat["ExpiresInMs"].as_u64().unwrap() > 900_000);
    }
    assert!(lines[7].contains("\"FreeLicenceCount\":4"), "{}", lines[7]);
    assert!(lines[8].contains("\"ConsoleUrl\":\"http://localhost:9099/\""), "{}", lines[8]);
    assert_eq!(lines[9..12], ["string []", "bool 1", "bool 0"]);
    assert_eq!(lines[12..14], ["ok", "threads 1"]);
    assert_eq!(lines[14..], GONE);
    let (seen, _) = server.until("close");
    assert_eq!(seen.iter().filter(|call| *call == "open").count(), 1, "{seen:?}");
}

#[test]
fn a_seat_outlives_the_object_and_ends_with_the_library() {
    let server = Server::start();
    let lines = Host::new().run(&format!(
        "{}call A ЗанятьЛицензию s:{}\ndelete A\nthreads\nunload\n",
        server.begin(),
        session()
    ));
    assert_eq!(lines[6..8], ["ok", "threads 2"], "the heart beats on");
    assert_eq!(lines[8..], GONE);
    let (_, body) = server.until("disconnect");
    assert_eq!(body["EndSessions"], true);
}

#[test]
fn a_library_torn_away_under_its_objects_says_goodbye() {
    let server = Server::start();
    let lines = Host::new().run(&format!(
        "{}call A ЗанятьЛицензию s:{}\nunload force\n",
        server.begin(),
        session()
    ));
    assert_eq!(lines[6..], GONE);
    assert_eq!(server.until("disconnect").1["EndSessions"], true);
}

#[test]
fn the_exit_of_the_process_releases_its_seats() {
    let server = Server::start();
    let script = format!("{}call A ЗанятьЛицензию s:{}\nexit\n", server.begin(), session());
    Host::new().run(&script);
    assert_eq!(server.until("disconnect").1["EndSessions"], true);
}

#[test]
fn releasing_everything_stops_the_thread_and_another_start_works() {
    let server = Server::start();
    let lines = Host::new().run(&format!(
        "{}call A ЗанятьЛицензию s:{session}\ncall A ОсвободитьВсе\nthreads\n\
         call A ЗанятьЛицензию s:{session}\ncall A Запуск s:672B\n\
         call A ЗанятьЛицензию s:{session}\ndestroy A\nunload\n",
        server.begin(),
        session = session()
    ));
    assert_eq!(lines[6..10], ["bool 1", "threads 1", "empty", "bool 1"]);
    assert!(lines[10].contains("\"Confirmed\":true"), "{}", lines[10]);
    assert_eq!(lines[12..], GONE);
}

#[test]
fn the_platform_says_by_itself_whether_it_is_a_server() {
    const OWN: &str = "licencehost";
    const WEB: &str = "httpd";
    for (name, app, order, is_server) in [
        (OWN, "3", "platform", true),
        (OWN, "0", "platform", false),
        (OWN, "4", "platform", false),
        (OWN, "6", "platform", false),
        (OWN, "-1", "platform", false),
        (OWN, "99", "platform", false),
        (OWN, "none", "platform", false),
        (OWN, "silent", "platform", false),
        // No capabilities are announced, so the connection object may end before the question.
        (OWN, "3", "oscript", false),
        (WEB, "4", "platform", false),
        (WEB, "silent", "platform", true),
    ] {
        let server = Server::start();
        let begin = server.begin().replacen(
            "load\nnew A LicenceExtension\n",
            &format!("load\napp {app}\nnew A LicenceExtension order={order}\n"),
            1,
        );
        let lines = Host::named(name).run(&format!(
            "{begin}call A ЗанятьЛицензию s:{}\ncall A ЗанятьЛицензию s:{}\ndestroy A\nunload\n",
            session_of("Srvr=\"s\";Ref=\"b\";"),
            session()
        ));
        assert_eq!(lines[5], "bool 1", "{name} {app} {order}: {lines:?}");
        let connect = server.until("connect").1;
        assert_eq!(connect["Info"]["IsServer"], is_server, "{name} {app} {order}: {connect}");
        let open = server.until("open").1;
        assert_eq!(open["Session"]["IsServer"], is_server, "{name} {app} {order}: {open}");
        // In an infobase on files the process tells by its name, whatever the platform says.
        let open = server.until("open").1;
        assert_eq!(open["Session"]["IsServer"], name == WEB, "{name} {app} {order}: {open}");
    }
}

#[test]
fn a_start_that_fails_keeps_the_one_that_worked() {
    let server = Server::start();
    // Bound and given back: nobody listens there.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let session = session();
    let lines = Host::new().run(&format!(
        "{}call A ЗанятьЛицензию s:{session}\nset A ПараметрыСвязи s:\"host=127.0.0.1;port={closed}\"\n\
         call A Запуск s:672B\ncall A ПолучитьСчетчики\ncall A ЗанятьЛицензию s:{session}\n\
         call A ОсвободитьЛицензию s:{session}\ndestroy A\nunload\n",
        server.begin(),
    ));
    assert_eq!(lines[7], "bool 0", "{lines:?}");
    assert!(lines[8].contains("\"FreeLicenceCount\":4"), "{}", lines[8]);
    assert!(lines[9].contains("\"Confirmed\":true"), "{}", lines[9]);
    assert_eq!(lines[10], "bool 1");
    assert_eq!(lines[12..], GONE);
}
