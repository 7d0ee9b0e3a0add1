//! Whom the client believes: a server that holds a licence of the series and the key it is bound
//! to, and nobody else.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene fails")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use common::bench::Bench;
use common::{
    BOUND, Raw, SERIES, Server, Setup, descriptor, licence, refusal, series_key, session,
};
use licence_client::Language;
use licence_core::protocol::Wish;
use licence_core::seal::SigningKey;

/// The refused server was told the name of the series and nothing else.
fn check_learnt_nothing(server: &Server) {
    let books = server.books();
    assert_eq!(books.requests.len(), 1, "{:?}", books.requests);
    assert_eq!(books.requests[0].0, "/client/hello");
    assert!(!books.requests[0].1.to_string().contains("SECRET"));
}

#[test]
fn genuine_server_is_believed() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    assert_eq!(link.server_addr(), Some(server.address.to_string()));
    let hello = &server.books().requests[0];
    assert_eq!(hello.1["KeyID"], "672B");
    assert_eq!(hello.1["Versions"], serde_json::json!([1]));
}

#[test]
fn one_genuine_licence_among_others_is_enough() {
    let holder = SigningKey::from_seed(&[2; 32]).public();
    let foreign = SigningKey::from_seed(&[7; 32]);
    let licences = vec![
        "nonsense".to_owned(),
        licence(&foreign, holder),
        licence(&series_key(), foreign.public()),
        licence(&series_key(), holder),
    ];
    let setup = Setup { licences: Some(licences), ..Setup::default() };
    let (bench, server) = (Bench::new(), Server::start(setup));
    bench.start(&[server.address]);
}

#[test]
fn impostor_with_a_copied_licence_lacks_the_key_it_is_bound_to() {
    let genuine = SigningKey::from_seed(&[2; 32]).public();
    let setup = Setup {
        identity: [3; 32],
        licences: Some(vec![licence(&series_key(), genuine)]),
        ..Setup::default()
    };
    let (bench, server) = (Bench::new(), Server::start(setup));
    let (class, text) = bench.refused(&[server.address]);
    assert_eq!(class, "EServerNotTrusted");
    assert!(text.contains("выдана другому серверу"), "{text}");
    check_learnt_nothing(&server);
}

#[test]
fn impostor_with_a_series_key_of_its_own_is_not_believed() {
    let own = SigningKey::from_seed(&[4; 32]);
    let holder = SigningKey::from_seed(&[2; 32]).public();
    let setup = Setup { licences: Some(vec![licence(&own, holder)]), ..Setup::default() };
    let (bench, server) = (Bench::new(), Server::start(setup));
    let (class, text) = bench.refused(&[server.address]);
    assert_eq!(class, "EServerNotTrusted");
    assert!(text.contains("не подписана ключом серии 672B"), "{text}");
    check_learnt_nothing(&server);
}

#[test]
fn server_without_a_licence_of_the_series_is_told_apart_from_an_impostor() {
    let setup = Setup { licences: Some(Vec::new()), ..Setup::default() };
    let (bench, server) = (Bench::new(), Server::start(setup));
    let (class, text) = bench.refused(&[server.address]);
    assert_eq!(class, "EServerResult.ELicenceNotFound");
    assert!(text.contains("672B"), "{text}");
    check_learnt_nothing(&server);
}

#[test]
fn impostor_first_in_the_list_is_passed_over() {
    let setup = Setup { licences: Some(Vec::new()), ..Setup::default() };
    let (impostor, server) = (Server::start(setup), Server::start(Setup::default()));
    let bench = Bench::new();
    let link = bench.start(&[impostor.address, server.address]);
    assert_eq!(link.server_addr(), Some(server.address.to_string()));
}

/// Passes bytes on to a genuine server and writes down what the server sent.
fn record(genuine: SocketAddr) -> (Raw, Arc<Mutex<Vec<u8>>>) {
    let recorded = Arc::new(Mutex::new(Vec::new()));
    let tape = Arc::clone(&recorded);
    let proxy = Raw::start(move |mut client| {
        let mut server = TcpStream::connect(genuine).unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        let tape = Arc::clone(&tape);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = server.read(&mut chunk) {
                tape.lock().unwrap().extend_from_slice(&chunk[..count]);
                if client.write_all(&chunk[..count]).is_err() {
                    return;
                }
            }
        });
        None
    });
    (proxy, recorded)
}

#[test]
fn recorded_answers_of_a_genuine_server_are_worthless() {
    let server = Server::start(Setup::default());
    let (proxy, recorded) = record(server.address);
    {
        // Through the proxy all is well: it cannot change anything.
        let bench = Bench::new();
        let link = bench.start(&[proxy.address]);
        assert!(link.take_seat(session(1), Wish::default()).unwrap().confirmed);
    }
    let tape = recorded.lock().unwrap().clone();
    assert!(tape.len() > 500);
    let replayer = Raw::start(move |mut socket| {
        let mut hello = [0; 1];
        socket.read_exact(&mut hello).unwrap();
        drop(socket.write_all(&tape));
        Some(socket)
    });
    let (class, _) = Bench::new().refused(&[replayer.address]);
    assert!(matches!(class.as_str(), "ELocalServerNotFound" | "EServerNotTrusted"), "{class}");
    replayer.accepted.recv_timeout(BOUND).unwrap();
}

#[test]
fn server_of_another_protocol_version_is_named_with_both_versions() {
    for setup in [
        Setup { version: 9, ..Setup::default() },
        Setup {
            instead: Some((
                "/client/hello",
                refusal(
                    409,
                    "EVersionMismatch",
                    "Версия сервера 9.9.9 не соответствует версии клиента 4.0.0",
                ),
            )),
            ..Setup::default()
        },
    ] {
        let (bench, server) = (Bench::new(), Server::start(setup));
        let (class, text) = bench.refused(&[server.address]);
        assert_eq!(class, "EVersionMismatch");
        assert_eq!(
            text,
            "(EVersionMismatch) Версия сервера 9.9.9 не соответствует версии клиента 4.0.0"
        );
        check_learnt_nothing(&server);
    }
}

#[test]
fn series_must_be_pinned_by_the_configuration_or_by_the_file() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let start = |pin: Option<String>| {
        let mut options = bench.options(&[server.address]);
        options.descriptor = pin;
        bench.client.start(options).map(|_| ()).map_err(|error| error.class().to_owned())
    };
    assert_eq!(start(None), Err("ESeriesNotPinned".to_owned()));
    assert_eq!(start(Some("{}".into())), Err("EParams".to_owned()));
    assert!(server.books().requests.is_empty(), "nobody is asked without a pin");
    common::write(&bench.folder.path().join("licence.series"), &descriptor());
    assert_eq!(start(None), Ok(()));
    let mut options = bench.options(&[server.address]);
    options.descriptor = None;
    options.series = "4BFE".parse().unwrap();
    assert_ne!(options.series, SERIES);
    let error = bench.client.start(options).unwrap_err();
    assert_eq!(error.class(), "ESeriesNotPinned");
    assert!(error.text(Language::Russian).contains("4BFE.series"));
}
