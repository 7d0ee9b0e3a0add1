//! Protected objects: lists that are believed or not, parts, keys, sessions that were forgotten.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene fails")]

mod common;

use common::bench::Bench;
use common::{SERIES, Server, Setup, datafile, http, refusal, series_key, session};
use licence_client::ClientError;
use licence_core::datafile::{ObjectAccess, ObjectKind};
use licence_core::protocol::Wish;
use licence_core::protocol::manager::DATAPART_BYTES_MAX;
use licence_core::seal::SigningKey;
use serde_json::json;

const DATAFILE: &str = "/client/v1/datafile";
const DATAPART: &str = "/client/v1/datapart";
const OBJECT_KEY: &str = "/client/v1/objectkey";
const OPEN: &str = "/client/v1/open";

const CONTENT: &[u8] = b"content of the processor";

/// A server with the objects `Модуль` (seat) and `Открытый` (key) in its main file.
fn server(setup: Setup) -> Server {
    let server = Server::start(setup);
    let file = datafile(
        &series_key(),
        &[
            ("Модуль", ObjectKind::Epf, ObjectAccess::Seat, CONTENT),
            ("Открытый", ObjectKind::Text, ObjectAccess::Key, b"text"),
        ],
    );
    server.books().files.insert(String::new(), file);
    server
}

fn class<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    result.unwrap_err().class().to_owned()
}

#[test]
fn object_is_opened_for_a_session_with_a_seat() {
    let (bench, server) = (Bench::new(), server(Setup::default()));
    let link = bench.start(&[server.address]);
    let (session, wish) = (session(1), Wish::default());
    let plain = link.object(Some((&session, &wish)), None, "МОДУЛЬ").unwrap();
    assert_eq!(&plain[..], CONTENT);
    let books = server.books();
    assert_eq!(books.last(OBJECT_KEY)["Session"], "s2");
    assert_eq!(books.last(OBJECT_KEY)["Object"]["Name"], "Модуль");
    assert_eq!((books.count(OPEN), books.count(DATAPART)), (1, 1));
}

#[test]
fn object_that_needs_no_seat_is_opened_without_a_session() {
    let (bench, server) = (Bench::new(), server(Setup::default()));
    let link = bench.start(&[server.address]);
    assert_eq!(&link.object(None, None, "открытый").unwrap()[..], b"text");
    assert_eq!(server.books().count(OPEN), 0);
    assert_eq!(class(link.object(None, None, "Модуль")), "EServerResult.ENoSeat");
}

#[test]
fn without_a_free_seat_no_key_is_asked_for() {
    let (bench, server) = (Bench::new(), server(Setup { seats: 0, ..Setup::default() }));
    let link = bench.start(&[server.address]);
    let (session, wish) = (session(1), Wish::default());
    let refused = link.object(Some((&session, &wish)), None, "Модуль");
    assert_eq!(class(refused), "EServerResult.ENoFreeLicence");
    assert_eq!(server.books().count(OBJECT_KEY), 0);
}

#[test]
fn large_object_comes_in_parts_within_the_limit() {
    let (bench, server) = (Bench::new(), server(Setup::default()));
    let large: Vec<u8> = (0..5_000_000u32).map(|at| (at / 3) as u8).collect();
    let objects = [
        ("Первый", ObjectKind::Epf, ObjectAccess::Key, CONTENT),
        ("Большой", ObjectKind::Epf, ObjectAccess::Key, &large[..]),
    ];
    let file = datafile(&series_key(), &objects);
    server.books().files.insert("Ext".to_owned(), file);
    let link = bench.start(&[server.address]);
    assert!(link.object(None, Some("Ext"), "Большой").unwrap()[..] == large[..]);
    let books = server.books();
    let parts: Vec<_> = books.requests.iter().filter(|(path, _)| path == DATAPART).collect();
    assert!(parts.len() > 1);
    for (_, part) in parts {
        assert!(part["Length"].as_u64().unwrap() <= u64::from(DATAPART_BYTES_MAX), "{part}");
        assert_eq!(part["Alias"], "Ext");
    }
}

#[test]
fn list_of_another_signer_or_series_is_not_believed() {
    let (bench, server) = (Bench::new(), server(Setup::default()));
    let link = bench.start(&[server.address]);
    let foreign = SigningKey::from_seed(&[66; 32]);
    let file = datafile(&foreign, &[("Модуль", ObjectKind::Epf, ObjectAccess::Key, b"evil")]);
    server.books().files.insert(String::new(), file);
    assert_eq!(class(link.datafile(None)), "EObject");
    server.books().files.clear();
    assert_eq!(class(link.datafile(None)), "EServerResult.EDataFileNotFound");
    assert_eq!(class(link.datafile(Some("a/b"))), "EParams");
    assert_eq!(link.series().unwrap(), SERIES);
}

#[test]
fn changed_byte_of_an_object_is_noticed() {
    let (bench, server) = (Bench::new(), server(Setup::default()));
    let link = bench.start(&[server.address]);
    let bytes = server.books().files[""].len();
    // First and last byte of the first object, and of its tag; the second object takes 20 bytes.
    for back in [36 + CONTENT.len(), 37, 36, 21] {
        let file = server.books().files[""].clone();
        server.books().files.get_mut("").unwrap()[bytes - back] ^= 1;
        let (session, wish) = (session(1), Wish::default());
        let refused = link.object(Some((&session, &wish)), None, "Модуль");
        assert_eq!(class(refused), "EObject", "{back}");
        server.books().files.insert(String::new(), file);
    }
}

#[test]
fn file_that_changes_meanwhile_is_begun_again_once() {
    let (bench, server) = (Bench::new(), server(Setup::default()));
    let link = bench.start(&[server.address]);
    let stale = link.datafile(None).unwrap();
    let object = stale.list.find("Открытый").unwrap();
    let key = link.object_key(None, object).unwrap();
    let objects = [("Открытый", ObjectKind::Text, ObjectAccess::Key, &b"other"[..])];
    server.books().files.insert(String::new(), datafile(&series_key(), &objects));
    let refused = link.fetch_object(&stale, object, &key);
    assert_eq!(class(refused), "EServerResult.EDataFileChanged");
    assert_eq!(&link.object(None, None, "Открытый").unwrap()[..], b"other");
    let always = refusal(409, "EDataFileChanged", "Файл данных изменился");
    server.books().instead.insert(DATAPART, always);
    let before = server.books().count(DATAFILE);
    assert_eq!(class(link.object(None, None, "Открытый")), "EServerResult.EDataFileChanged");
    assert_eq!(server.books().count(DATAFILE), before + 2);
}

#[test]
fn session_that_the_server_forgot_is_opened_again_with_its_lease_once() {
    let (bench, server) = (Bench::new(), server(Setup::default()));
    let link = bench.start(&[server.address]);
    let (session, wish) = (session(1), Wish::default());
    link.take_seat(session.clone(), wish.clone()).unwrap();
    server.books().sessions.clear();
    let object = link.datafile(None).unwrap().list.find("Модуль").unwrap().clone();
    link.object_key(Some((&session, &wish)), &object).unwrap();
    assert_eq!(server.books().count(OPEN), 2);
    assert_eq!(server.books().last(OPEN)["Lease"], "lease of s2");
    let never = refusal(404, "ESessionNotFound", "Сеанс неизвестен");
    server.books().instead.insert(OBJECT_KEY, never);
    let refused = link.object_key(Some((&session, &wish)), &object);
    assert_eq!(class(refused), "EServerResult.ESessionNotFound");
    assert_eq!(server.books().count(OPEN), 3);
}

#[test]
fn answers_of_another_shape_are_errors() {
    let (bench, server) = (Bench::new(), server(Setup::default()));
    let link = bench.start(&[server.address]);
    for key in ["", "AAAA", "!", &"A".repeat(44)] {
        server.books().instead.insert(OBJECT_KEY, http(200, &json!({ "Key": key })));
        assert_eq!(class(link.object(None, None, "Открытый")), "EExecuteError", "{key}");
    }
    server.books().instead.remove(OBJECT_KEY);
    for data in ["", "AAAA", "!"] {
        server.books().instead.insert(DATAPART, http(200, &json!({ "Data": data })));
        assert_eq!(class(link.object(None, None, "Открытый")), "EExecuteError", "{data}");
    }
}
