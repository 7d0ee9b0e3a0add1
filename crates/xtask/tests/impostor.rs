//! Servers that are not what they claim, against the real component: none gets a session.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;
use xtask::demo::server_session;
use xtask::stage::{HostProcess, Order, Recorder, Refused, Server, Stage, Vendor, player};

const MAIN: Order = Order { kind: "main", seats: 5 };

/// Largest request that the impostor reads.
const BODY_BYTES_MAX: usize = 64 * 1024;

fn site() -> (Stage, Vendor, Server) {
    let stage = Stage::temporary().unwrap();
    let vendor = Vendor::start(&stage).unwrap();
    let server = Server::start(&stage, "server", &vendor, 0).unwrap();
    server.activate(&stage, &vendor, MAIN).unwrap();
    (stage, vendor, server)
}

/// What the component says when it is to work with the server on `port`.
fn refusal(stage: &Stage, vendor: &Vendor, port: u16) -> Refused {
    let computer = stage.computer("victim", vendor, &[port]).unwrap();
    let mut host = HostProcess::start(stage, "victim", &computer).unwrap();
    host.create().unwrap();
    let refused = host.start_series().unwrap().expect_err("the impostor was believed");
    assert!(host.take(&server_session(1)).unwrap().is_err(), "the impostor gave a seat");
    assert!(refused.text.starts_with(&format!("({})", refused.class)), "{refused:?}");
    host.quit().unwrap();
    refused
}

/// A TLS server with a key of its own that shows a copied licence, and notes what it is asked.
fn impostor(licence: String) -> (u16, Arc<Mutex<Vec<String>>>) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let certificate =
        rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            // A component that hangs up is what is hoped for.
            drop(serve(StreamOwned::new(session, socket), &licence, &noted));
        }
    });
    (port, asked)
}

fn serve(
    stream: StreamOwned<ServerConnection, TcpStream>,
    licence: &str,
    asked: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut request = String::new();
        if stream.read_line(&mut request)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse::<usize>().unwrap().min(BODY_BYTES_MAX);
            }
            if line.trim().is_empty() {
                break;
            }
        }
        stream.read_exact(&mut vec![0; length])?;
        asked.lock().unwrap().push(request.trim().to_owned());
        let body = json!({ "Version": 1, "ServerVersion": "4.0.0", "Licences": [licence],
            "ID": "00000000000000000000000000000001", "HeartbeatSecs": 10, "SessionSecs": 1000 })
        .to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.get_mut().write_all(format!("{head}{body}").as_bytes())?;
        stream.get_mut().flush()?;
    }
}

#[test]
fn server_with_a_copied_licence_and_another_key_is_not_trusted() {
    let (stage, vendor, server) = site();
    let licence = std::fs::read_to_string(server.licence_file().unwrap()).unwrap();
    let (port, asked) = impostor(licence.trim().to_owned());
    let refused = refusal(&stage, &vendor, port);
    assert_eq!(refused.class, "EServerNotTrusted", "{refused:?}");
    let asked = asked.lock().unwrap();
    assert!(!asked.is_empty(), "the component never came as far as the licence");
    for request in asked.iter() {
        assert!(request.contains("/client/hello"), "told before it was trusted: {request}");
    }
}

#[test]
fn server_of_another_vendor_with_the_same_series_number_is_not_trusted() {
    let (stage, vendor, _server) = site();
    let (_other_stage, _other_vendor, other_server) = site();
    let refused = refusal(&stage, &vendor, other_server.port());
    assert_eq!(refused.class, "EServerNotTrusted", "{refused:?}");
}

#[test]
fn replayed_traffic_of_a_genuine_server_is_refused() {
    let (stage, vendor, server) = site();
    let recorder = Recorder::start(server.port()).unwrap();
    let computer = stage.computer("witness", &vendor, &[recorder.port()]).unwrap();
    let mut witness = HostProcess::started(&stage, "witness", &computer).unwrap();
    witness.must_take(&server_session(1)).unwrap();
    let tape = recorder.longest().server;
    assert!(tape.len() > 1000, "only {} bytes were recorded", tape.len());

    let refused = refusal(&stage, &vendor, player(tape).unwrap());
    let classes = ["EServerNotTrusted", "ELocalServerNotFound", "EExecuteError"];
    assert!(classes.contains(&refused.class.as_str()), "{refused:?}");
    assert_eq!(server.rest().sessions().unwrap().len(), 1, "the witness' session alone");
    witness.quit().unwrap();
}
