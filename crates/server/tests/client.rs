//! The client protocol: what a component says over TLS and what it gets back.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use serde_json::{Value, json};
use support::{Server, start};

async fn say(server: &Server, path: &str, body: Value) -> Value {
    let answer = server.message(path, &body).await;
    assert_eq!(answer.status, 200, "{path} {body}: {answer:?}");
    answer.json()
}

async fn check_refused(server: &Server, path: &str, body: Value, status: u16, class: &str) {
    let answer = server.message(path, &body).await;
    assert_eq!(answer.status, status, "{path} {body}: {answer:?}");
    assert_eq!(answer.json()["Exception"], class, "{path} {body}");
}

fn hello(versions: &[u32], series: &str) -> Value {
    json!({"Versions": versions, "Component": "4.0.0", "KeyID": series})
}

#[tokio::test]
async fn hello_chooses_the_version_and_shows_the_licences() {
    let server = start("");
    let answer = say(&server, "/client/hello", hello(&[1, 7], "672B")).await;
    assert_eq!(answer["Version"], 1);
    assert_eq!(answer["ServerVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(answer["Licences"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn component_of_another_protocol_is_told_of_the_version_mismatch() {
    let server = start("");
    for (path, body) in [
        ("/client/hello", hello(&[2, 3], "672B")),
        ("/client/hello", hello(&[], "672B")),
        ("/client/v2/open", json!({})),
    ] {
        check_refused(&server, path, body, 409, "EVersionMismatch").await;
    }
}

#[tokio::test]
async fn series_without_a_key_is_refused_at_once() {
    let server = start("");
    check_refused(&server, "/client/hello", hello(&[1], "4BFE"), 404, "ELicenceNotFound").await;
}

#[tokio::test]
async fn session_takes_a_seat_keeps_it_and_lets_it_go() {
    let server = start("");
    let connection = server.connect().await;
    let opened = server.open(&connection, 1).await.json();
    assert_eq!(opened["UsedLicence"], 7_131_766);
    assert!(opened["Lease"].is_string() && opened["ExpiresInMs"].as_u64().unwrap() > 900_000);
    let id = opened["ID"].as_str().unwrap();
    let session = json!({"Connection": connection, "Session": id});
    assert_eq!(say(&server, "/client/v1/touch", session.clone()).await["ID"], id);
    let beat = json!({"Connection": connection, "Sessions": [id, "unknown"]});
    let answer = say(&server, "/client/v1/heartbeat", beat).await;
    assert_eq!(answer["Gone"], json!([{"Session": "unknown", "Reason": "unknown"}]));
    let query = json!({"Connection": connection});
    let counters = say(&server, "/client/v1/counters", query.clone()).await;
    assert_eq!(
        counters,
        json!({
            "Licences": 1, "Connections": 1, "Sessions": 1,
            "TotalLicenceCount": 5, "UseLicenceCount": 1, "FreeLicenceCount": 4
        })
    );
    assert_eq!(say(&server, "/client/v1/close", session.clone()).await, json!({}));
    check_refused(&server, "/client/v1/touch", session, 404, "ESessionNotFound").await;
    let bye = json!({"Connection": connection, "EndSessions": true});
    assert_eq!(say(&server, "/client/v1/disconnect", bye).await, json!({}));
    check_refused(&server, "/client/v1/counters", query, 404, "EConnectionNotFound").await;
}

#[tokio::test]
async fn sixth_session_of_five_seats_is_refused_in_its_own_language() {
    let server = start("");
    let connection = server.connect().await;
    for number in 1..=5 {
        assert_eq!(server.open(&connection, number).await.status, 200, "{number}");
    }
    let refused = server.open(&connection, 6).await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.json()["Exception"], "ENoFreeLicence");
    for (language, expected) in
        [("ru", "Нет свободных лицензий"), ("ru_RU", "Нет свободных"), ("en", "No licence")]
    {
        let body = json!({
            "Connection": connection, "Language": language,
            "Session": {"SessionNumber": "6", "IsServer": true, "InfoBaseConnectionStr": "x"}
        });
        let answer = server.message("/client/v1/open", &body).await;
        assert!(answer.body.contains(expected), "{language}: {}", answer.body);
    }
}

#[tokio::test]
async fn lists_and_server_facts_are_for_connected_components() {
    let server = start("");
    let connection = server.connect().await;
    let query = json!({"Connection": connection, "AllSeries": true, "OnlyAvailable": true});
    let licences = say(&server, "/client/v1/licences", query).await;
    assert_eq!(licences["Licences"][0]["KeyNo"], 7_131_766);
    let facts = say(&server, "/client/v1/serverinfo", json!({"Connection": connection})).await;
    assert_eq!(facts["Version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(facts["VersionOutdated"], false);
    assert!(facts["ConsoleUrl"].as_str().unwrap().starts_with("http://"));
    for path in ["/client/v1/licences", "/client/v1/serverinfo", "/client/v1/heartbeat"] {
        let stranger = json!({"Connection": "0".repeat(32)});
        check_refused(&server, path, stranger, 404, "EConnectionNotFound").await;
    }
}

#[tokio::test]
async fn message_that_is_not_what_it_should_be_is_a_bad_request() {
    let server = start("");
    let many = vec!["x"; 5001];
    for (path, body) in [
        ("/client/hello", json!({})),
        ("/client/hello", json!([])),
        ("/client/hello", hello(&[1], "XYZ")),
        ("/client/v1/connect", json!({"KeyID": "672B", "Info": {"PID": 5}})),
        ("/client/v1/open", json!({"Connection": 5})),
        ("/client/v1/heartbeat", json!({"Connection": "x", "Sessions": many})),
    ] {
        check_refused(&server, path, body, 400, "EHTTPBadRequest").await;
    }
}

#[tokio::test]
async fn unknown_fields_of_later_components_are_left_alone() {
    let server = start("");
    let mut body = hello(&[1], "672B");
    body["Later"] = json!({"deep": [1, 2]});
    say(&server, "/client/hello", body).await;
}
