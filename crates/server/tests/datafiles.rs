//! Vendors' data files at the server: which are there, what a component gets of them, and what is
//! said of those that cannot be used.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use licence_core::datafile::{DatafileBuilder, MAGIC, ObjectAccess, ObjectKind, ObjectList};
use licence_core::key::KeySeries;
use licence_core::protocol::manager::DATAPART_BYTES_MAX;
use licence_core::seal::SigningKey;
use serde_json::{Value, json};
use support::{Answered, OBJECT_SECRET, SERIES, Server, series_key, start};

/// A data file with these text objects.
fn built(series: u16, signing: &SigningKey, objects: &[(&str, &str)]) -> Vec<u8> {
    let mut file = DatafileBuilder::new(KeySeries::from_u16(series), signing, &OBJECT_SECRET);
    for (name, text) in objects {
        file.add(name, ObjectKind::Text, ObjectAccess::Seat, text.as_bytes()).unwrap();
    }
    file.finish().unwrap().bytes()
}

fn ours(objects: &[(&str, &str)]) -> Vec<u8> {
    built(SERIES, &series_key(), objects)
}

/// Puts a file into the data folder as an installer does: beside it, then renamed.
fn put(server: &Server, name: &str, bytes: &[u8]) {
    let folder = server.app.paths.keys();
    std::fs::write(folder.join("new"), bytes).unwrap();
    std::fs::rename(folder.join("new"), folder.join(name)).unwrap();
}

async fn list(server: &Server, connection: &str, alias: Option<&str>) -> Answered {
    let body = json!({"Connection": connection, "Alias": alias});
    server.message("/client/v1/datafile", &body).await
}

async fn part(
    server: &Server,
    connection: &str,
    version: &str,
    offset: u64,
    length: u64,
) -> Answered {
    let body = json!({
        "Connection": connection, "Version": version, "Offset": offset, "Length": length
    });
    server.message("/client/v1/datapart", &body).await
}

fn check_refused(answer: &Answered, status: u16, class: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json()["Exception"], class, "{answer:?}");
}

async fn shown(server: &Server) -> Vec<Value> {
    let answer = server.call("GET", "/api/datafiles", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["Datafiles"].as_array().unwrap().clone()
}

#[tokio::test]
async fn component_gets_the_signed_list_and_every_byte_of_the_objects() {
    let server = start("");
    let large = "Процедура ".repeat(300_000);
    let file = ours(&[("Печать", &large), ("Склад", "текст")]);
    put(&server, "672B.datafile", &file);
    let connection = server.connect().await;
    let answer = list(&server, &connection, None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = answer.json()["List"].as_str().unwrap().to_owned();
    let version = answer.json()["Version"].as_str().unwrap().to_owned();
    assert_eq!(version, ObjectList::version(&token));
    let series = KeySeries::from_u16(SERIES);
    let objects = ObjectList::verify(&token, series, &series_key().public()).unwrap();
    assert_eq!(objects.objects.len(), 2);
    let body = &file[MAGIC.len() + token.len() + 1..];
    assert!(body.len() as u64 > u64::from(DATAPART_BYTES_MAX), "it takes more than one part");
    let mut read = Vec::new();
    while read.len() < body.len() {
        let length = (body.len() - read.len()).min(DATAPART_BYTES_MAX as usize) as u64;
        let answer = part(&server, &connection, &version, read.len() as u64, length).await;
        assert_eq!(answer.status, 200, "{}", answer.status);
        read.extend(STANDARD.decode(answer.json()["Data"].as_str().unwrap()).unwrap());
    }
    assert!(read == body, "the parts are the file");
}

#[tokio::test]
async fn alias_is_found_whatever_its_case_and_what_is_not_there_is_said_so() {
    let server = start("");
    put(&server, "672B.Расширение.datafile", &ours(&[("А", "1")]));
    put(&server, "672b.Second.DATAFILE", &ours(&[("Б", "2")]));
    let connection = server.connect().await;
    for alias in ["Расширение", "РАСШИРЕНИЕ", "second"] {
        let answer = list(&server, &connection, Some(alias)).await;
        assert_eq!(answer.status, 200, "{alias}: {answer:?}");
    }
    let none = "EDataFileNotFound";
    check_refused(&list(&server, &connection, None).await, 404, none);
    check_refused(&list(&server, &connection, Some("third")).await, 404, none);
    for alias in ["", "..", "a/b", "a.b", " a"] {
        check_refused(&list(&server, &connection, Some(alias)).await, 400, "EParams");
    }
    check_refused(&list(&server, &"0".repeat(32), None).await, 404, "EConnectionNotFound");
}

#[tokio::test]
async fn part_of_a_file_that_was_replaced_is_refused_and_the_list_is_read_again() {
    let server = start("");
    put(&server, "672B.datafile", &ours(&[("А", "1")]));
    let connection = server.connect().await;
    let version = |answer: &Answered| answer.json()["Version"].as_str().unwrap().to_owned();
    let first = version(&list(&server, &connection, None).await);
    assert_eq!(part(&server, &connection, &first, 0, 17).await.status, 200);
    put(&server, "672B.datafile", &ours(&[("А", "2")]));
    check_refused(&part(&server, &connection, &first, 0, 17).await, 409, "EDataFileChanged");
    let second = version(&list(&server, &connection, None).await);
    assert_ne!(first, second);
    assert_eq!(part(&server, &connection, &second, 0, 17).await.status, 200);
    check_refused(&part(&server, &connection, &first, 0, 17).await, 409, "EDataFileChanged");
    std::fs::remove_file(server.app.paths.keys().join("672B.datafile")).unwrap();
    check_refused(&part(&server, &connection, &second, 0, 17).await, 409, "EDataFileChanged");
    check_refused(&list(&server, &connection, None).await, 404, "EDataFileNotFound");
}

#[tokio::test]
async fn part_must_lie_within_the_objects() {
    let server = start("");
    put(&server, "672B.datafile", &ours(&[("А", "1")]));
    let connection = server.connect().await;
    let answer = list(&server, &connection, None).await.json();
    let version = answer["Version"].as_str().unwrap();
    for (offset, length, is_within) in [
        (0, 17, true),
        (16, 1, true),
        (0, 18, false),
        (17, 1, false),
        (0, 0, false),
        (u64::MAX, 17, false),
        (0, u64::from(DATAPART_BYTES_MAX) + 1, false),
        (0, u64::from(u32::MAX), false),
    ] {
        let answer = part(&server, &connection, version, offset, length).await;
        if is_within {
            assert_eq!(answer.status, 200, "{offset} {length}: {answer:?}");
        } else {
            check_refused(&answer, 400, "EParams");
        }
    }
}

#[tokio::test]
async fn file_that_cannot_be_used_is_told_to_component_console_and_health() {
    let server = start("");
    let good = ours(&[("А", "1")]);
    let mut changed = good.clone();
    changed[MAGIC.len() + 40] ^= 1;
    let stranger = SigningKey::from_seed(&[77; 32]);
    put(&server, "672B.good.datafile", &good);
    let broken: [(&str, Vec<u8>, &str); 6] = [
        ("empty", Vec::new(), "not a data file"),
        ("nonsense", b"licence-datafile 2\nx\n".to_vec(), "not a data file"),
        ("changed", changed, "not genuine"),
        ("foreign", built(SERIES, &stranger, &[("А", "1")]), "not genuine"),
        ("other", built(0x4BFE, &series_key(), &[("А", "1")]), "belongs to series 4BFE"),
        ("short", good[..good.len() - 1].to_vec(), "longer or shorter"),
    ];
    for (alias, bytes, _) in &broken {
        put(&server, &format!("672B.{alias}.datafile"), bytes);
    }
    put(&server, "4BFE.datafile", &good);
    put(&server, "672B.a.b.datafile", &good);
    put(&server, "672B.GOOD.datafile", &good);
    std::fs::create_dir(server.app.paths.keys().join("672B.folder.datafile")).unwrap();
    let connection = server.connect().await;
    for (alias, _, reason) in &broken {
        let answer = list(&server, &connection, Some(alias)).await;
        check_refused(&answer, 409, "EDataFileInvalid");
        assert!(answer.body.contains(reason), "{alias}: {}", answer.body);
        let parts = part(&server, &connection, "", 0, 17).await;
        assert_eq!(parts.status, 404, "no main file: {parts:?}");
    }
    check_refused(&list(&server, &connection, Some("folder")).await, 409, "EDataFileInvalid");
    assert_eq!(list(&server, &connection, Some("good")).await.status, 200);
    let shown = shown(&server).await;
    assert_eq!(shown.len(), 11, "{shown:#?}");
    let usable: Vec<_> = shown.iter().filter(|file| file["Problem"].is_null()).collect();
    assert_eq!(usable.len(), 1, "of two names that differ by their case one counts: {shown:#?}");
    let health = server.call("GET", "/api/health", "").await.json();
    let checks = health["Checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["Name"] == "datafiles").unwrap();
    assert_eq!(check["Status"], "warning");
    assert!(check["Text"].as_str().unwrap().contains("4BFE.datafile"), "{check}");
}

#[tokio::test]
async fn list_over_rest_shows_series_alias_objects_and_size() {
    let server = start("");
    assert!(shown(&server).await.is_empty());
    let server = start("");
    let file = ours(&[("А", "1"), ("Б", "2")]);
    put(&server, "672B.Extension.datafile", &file);
    let all = shown(&server).await;
    let [one] = &all[..] else { panic!("{all:?}") };
    assert_eq!(
        (&one["KeyID"], &one["Alias"], &one["FileName"], &one["Objects"], &one["Size"]),
        (
            &json!("672B"),
            &json!("Extension"),
            &json!("672B.Extension.datafile"),
            &json!(2),
            &json!(file.len())
        )
    );
    assert!(one["Date"].is_string() && one["Problem"].is_null());
    assert_eq!(one["Version"].as_str().unwrap().len(), 64);
    let other = server.call("GET", "/api/datafiles?KeyID=4BFE", "").await;
    assert_eq!(other.json()["Datafiles"], json!([]));
    assert_eq!(server.call("GET", "/api/datafiles?KeyID=x", "").await.status, 400);
    let health = server.call("GET", "/api/health", "").await.json();
    let checks = health["Checks"].as_array().unwrap();
    let names: Vec<_> = checks.iter().map(|check| check["Name"].as_str().unwrap()).collect();
    let once: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(once.len(), names.len(), "each check stands once: {names:?}");
    let check = checks.iter().find(|check| check["Name"] == "datafiles").unwrap();
    assert_eq!(check["Status"], "warning", "its licence has no object key: {check}");
    assert!(check["Text"].as_str().unwrap().ends_with("672B."), "{check}");
}
