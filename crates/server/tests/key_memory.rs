//! The memory of a key, as a component writes, guards and wipes it, and what survives.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::licence_file::{Licence, LicenceClaims, LicenceFields};
use licence_core::seal::SigningKey;
use licenceserver::backup::pending;
use licenceserver::paths::Paths;
use serde_json::{Value, json};
use support::{Answered, Server, descriptor, licence, series_key, start, start_with};

const KEY_NO: u32 = 7_131_766;

async fn ask(server: &Server, connection: &str, operation: Value) -> Answered {
    let body = json!({"Connection": connection, "KeyID": "672B", "Operation": operation});
    server.message("/client/v1/operation", &body).await
}

async fn write(server: &Server, connection: &str, password: &str, data: &str) -> Answered {
    let wish = json!({"WriteMemory": {"KeyNo": KEY_NO, "Password": password, "Data": data}});
    ask(server, connection, wish).await
}

async fn read(server: &Server, connection: &str, password: &str) -> Answered {
    ask(server, connection, json!({"ReadMemory": {"KeyNo": KEY_NO, "Password": password}})).await
}

async fn wipe(server: &Server, connection: &str, password: &str) -> Answered {
    ask(server, connection, json!({"WipeMemory": {"KeyNo": KEY_NO, "Password": password}})).await
}

async fn guard(server: &Server, connection: &str, old: [&str; 2], new: [&str; 2]) -> Answered {
    let wish = json!({"SetMemoryPasswords": {
        "KeyNo": KEY_NO, "ReadPassword": old[0], "WritePassword": old[1],
        "NewReadPassword": new[0], "NewWritePassword": new[1]
    }});
    ask(server, connection, wish).await
}

fn check_done(answer: &Answered) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json(), json!({"Result": "Done"}));
}

fn check_text(answer: &Answered, text: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json(), json!({"Result": {"Memory": text}}));
}

fn check_refused(answer: &Answered, status: u16, class: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json()["Exception"], class, "{answer:?}");
}

/// A text from the database, as it is on the disk at this moment.
fn on_disk(server: &Server, sql: &str) -> Vec<String> {
    let database = rusqlite::Connection::open(server.app.paths.database()).unwrap();
    let mut lines = database.prepare(sql).unwrap();
    let lines = lines.query_map([], |row| row.get(0)).unwrap();
    lines.map(Result::unwrap).collect()
}

#[tokio::test]
async fn text_is_on_the_disk_before_the_answer_and_read_back() {
    let server = start("");
    let connection = server.connect().await;
    check_text(&read(&server, &connection, "").await, "");
    for text in ["первый", "второй \"текст\"\r\n\0"] {
        check_done(&write(&server, &connection, "", text).await);
        assert_eq!(on_disk(&server, "SELECT data FROM key_memory"), [text]);
        check_text(&read(&server, &connection, "").await, text);
    }
    let longest = "ж".repeat(400);
    check_done(&write(&server, &connection, "", &longest).await);
    let refused = write(&server, &connection, "", &"ж".repeat(401)).await;
    check_refused(&refused, 400, "EMemoryTooLong");
    check_text(&read(&server, &connection, "").await, &longest);
}

#[tokio::test]
async fn passwords_guard_reading_and_writing_and_change_only_by_those_in_force() {
    let server = start("");
    let connection = server.connect().await;
    check_done(&write(&server, &connection, "", "текст").await);
    check_done(&guard(&server, &connection, ["", ""], ["read-1", "write-1"]).await);
    let wrong = "EMemoryPassword";
    check_refused(&read(&server, &connection, "").await, 403, wrong);
    check_refused(&write(&server, &connection, "read-1", "x").await, 403, wrong);
    check_text(&read(&server, &connection, "read-1").await, "текст");
    check_done(&write(&server, &connection, "write-1", "другой").await);
    let half = guard(&server, &connection, ["read-1", ""], ["", ""]).await;
    check_refused(&half, 403, wrong);
    let long = guard(&server, &connection, ["read-1", "write-1"], ["123456789", ""]).await;
    check_refused(&long, 400, "EMemoryTooLong");
    assert!(long.body.contains("NewReadPassword"), "{}", long.body);
    check_done(&guard(&server, &connection, ["read-1", "write-1"], ["", ""]).await);
    check_text(&read(&server, &connection, "").await, "другой");
}

#[tokio::test]
async fn wipe_takes_text_and_passwords_away_and_leaves_a_line_without_them() {
    let server = start("");
    let connection = server.connect().await;
    check_done(&wipe(&server, &connection, "").await);
    check_done(&write(&server, &connection, "", "contents").await);
    check_done(&guard(&server, &connection, ["", ""], ["hunter-r", "hunter-w"]).await);
    check_refused(&wipe(&server, &connection, "").await, 403, "EMemoryPassword");
    check_refused(&wipe(&server, &connection, "hunter-r").await, 403, "EMemoryPassword");
    check_done(&wipe(&server, &connection, "hunter-w").await);
    check_text(&read(&server, &connection, "").await, "");
    assert!(on_disk(&server, "SELECT data FROM key_memory").is_empty());
    let lines = on_disk(
        &server,
        "SELECT reason || ' ' || subject || ' ' || detail FROM history WHERE event = 'audit'",
    );
    let [guarded, wiped] = &lines[..] else { panic!("nothing was wiped at first: {lines:?}") };
    assert!(guarded.starts_with("memory_passwords 7131766 "), "{guarded}");
    assert!(wiped.starts_with("memory_wipe 7131766 "), "{wiped}");
    for line in lines {
        assert!(line.contains("component:MORA-HP"), "{line}");
        assert!(!line.contains("hunter") && !line.contains("contents"), "{line}");
    }
}

#[tokio::test]
async fn guesses_at_a_password_are_stopped_for_a_minute() {
    let server = start("");
    let connection = server.connect().await;
    check_done(&guard(&server, &connection, ["", ""], ["secret", ""]).await);
    for _ in 0..5 {
        check_refused(&read(&server, &connection, "wrong").await, 403, "EMemoryPassword");
    }
    // Through another connection too, and with the right one.
    let other = server.connect().await;
    let refused = read(&server, &other, "secret").await;
    check_refused(&refused, 429, "ETooManyAttempts");
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    check_refused(&wipe(&server, &connection, "").await, 429, "ETooManyAttempts");
}

#[tokio::test]
async fn key_is_the_named_one_or_that_of_the_session_or_the_first_of_the_series() {
    let server = start_with("", Some(&descriptor(None)), &[(5, 1), (6, 1)]);
    let connection = server.connect().await;
    let write = |operation: Value| ask(&server, &connection, operation);
    check_done(&write(json!({"WriteMemory": {"KeyNo": 6, "Data": "six"}})).await);
    check_done(&write(json!({"WriteMemory": {"Data": "first"}})).await);
    let first = server.open(&connection, 1).await.json();
    let second = server.open(&connection, 2).await.json();
    assert_eq!((&first["UsedLicence"], &second["UsedLicence"]), (&json!(5), &json!(6)));
    for (wish, expected) in [
        (json!({"KeyNo": 6}), "six"),
        (json!({"KeyNo": 5}), "first"),
        (json!({}), "first"),
        (json!({"Session": first["ID"]}), "first"),
        (json!({"Session": second["ID"]}), "six"),
        (json!({"Session": second["ID"], "KeyNo": 5}), "first"),
    ] {
        check_text(&write(json!({ "ReadMemory": wish })).await, expected);
    }
    for (wish, status, class) in [
        (json!({"KeyNo": 7}), 404, "EKeyNotFound"),
        (json!({"Session": "0".repeat(32)}), 404, "ESessionNotFound"),
        (json!({"Session": "none"}), 404, "ESessionNotFound"),
    ] {
        check_refused(&write(json!({ "ReadMemory": wish })).await, status, class);
    }
    let unconnected = ask(&server, &"0".repeat(32), json!({"ReadMemory": {}})).await;
    check_refused(&unconnected, 404, "EConnectionNotFound");
    let body = json!({"KeyID": "672B", "Operation": {"ReadMemory": {}}});
    let unproven = server.message("/client/v1/operation", &body).await;
    check_refused(&unproven, 409, "EConnectionRequired");
}

#[tokio::test]
async fn memory_of_a_removed_key_is_there_when_the_key_comes_back() {
    let server = start("");
    let connection = server.connect().await;
    check_done(&write(&server, &connection, "", "kept").await);
    let removed = server.call("DELETE", &format!("/api/licences/{KEY_NO}"), "").await;
    assert_eq!(removed.status, 202, "{removed:?}");
    check_refused(&read(&server, &connection, "").await, 404, "EKeyNotFound");
    let document = licence(server.identity.public(), KEY_NO, 5);
    let body = json!({ "Answer": document }).to_string();
    let installed = server.call("POST", "/api/licences/answer", &body).await;
    assert_eq!(installed.status, 201, "{installed:?}");
    check_text(&read(&server, &connection, "").await, "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_its_passwords_are_in_a_backup_and_there_after_a_restore() {
    let server = start("");
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(server.identity.pkcs8())
    );
    std::fs::write(server.app.paths.identity_plain(), pem).unwrap();
    let connection = server.connect().await;
    check_done(&write(&server, &connection, "", "kept").await);
    check_done(&guard(&server, &connection, ["", ""], ["secret", "other"]).await);
    let archive = {
        use http_body_util::BodyExt;
        let request = support::request("GET", "/api/backup", "");
        let answer = licenceserver::api::serve(&server.app, support::LOCAL, request).await;
        answer.into_body().collect().await.unwrap().to_bytes()
    };
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path());
    let file = pending::upload(&paths);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, &archive).unwrap();
    pending::stage(&paths, &file).unwrap();
    pending::apply(&paths, "2026-11-21T12:00:00Z".parse().unwrap()).unwrap();
    let restored = support::start_in(dir);
    let connection = restored.connect().await;
    check_refused(&read(&restored, &connection, "").await, 403, "EMemoryPassword");
    check_text(&read(&restored, &connection, "secret").await, "kept");
    check_done(&write(&restored, &connection, "other", "later").await);
}

#[tokio::test]
async fn key_of_another_product_is_refused() {
    let series = licence_core::key::KeySeries::from_u16(0x4BFE);
    let other = SigningKey::from_seed(&[78; 32]);
    let described = licence_core::series::SeriesDescriptor::new(
        series,
        "Other".into(),
        None,
        other.public(),
        licence_core::wrap::WrapKey::from_secret(&[5; 32]).jwk(),
    );
    let server = start("");
    let holder = server.identity.public();
    let known = Licence::verify(&licence(holder, 9, 1), &series_key().public()).unwrap();
    let fields = LicenceFields {
        key_id: series,
        activation_code: ActivationCode::encode(CodeKind::Activation, series, 9),
        ..known.fields().clone()
    };
    let claims = LicenceClaims::new("other".into(), fields.activation_date, holder, fields);
    let document = claims.sign(&other).unwrap();
    server.app.handle.install(document, Some(described)).await.unwrap();
    let connection = server.connect().await;
    for wish in
        [json!({"ReadMemory": {"KeyNo": 9}}), json!({"Parameter": {"KeyNo": 9, "Name": "A"}})]
    {
        check_refused(&ask(&server, &connection, wish).await, 400, "EParams");
    }
    let body = json!({"Connection": connection, "KeyID": "4BFE", "Operation": {"ReadMemory": {}}});
    check_refused(&server.message("/client/v1/operation", &body).await, 400, "EParams");
}
