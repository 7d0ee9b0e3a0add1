//! The health addresses over the API, without a socket.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use support::{Answered, LOCAL, Server, basic, start, start_with};

async fn anonymous(server: &Server, method: &str, path: &str) -> Answered {
    let request = Request::builder().method(method).uri(path).body(Full::default()).unwrap();
    server.send(LOCAL, request).await
}

async fn report(server: &Server, language: &str) -> Value {
    let request = Request::get("/api/health")
        .header("Authorization", basic("admin:admin"))
        .header("Accept-Language", language)
        .body(Full::default())
        .unwrap();
    let answer = server.send(LOCAL, request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn check(report: &Value, name: &str, state: &str, text: &str) {
    let checks = report["Checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["Name"] == name);
    let found = found.unwrap_or_else(|| panic!("no check {name}: {report}"));
    assert_eq!(found["Status"], state, "{found}");
    assert!(found["Text"].as_str().unwrap().contains(text), "{text}: {found}");
    let has_advice = found["Advice"].as_str().is_some_and(|advice| !advice.is_empty());
    assert_eq!(has_advice, state != "ok", "what is not in order says what to do: {found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn supervisors_need_no_password_and_learn_nothing_but_the_state() {
    let server = start("");
    for path in ["/health/live", "/health/ready"] {
        let answer = anonymous(&server, "GET", path).await;
        assert_eq!((answer.status, answer.json()), (200, json!({"Status": "ok"})), "{path}");
        assert_eq!(anonymous(&server, "HEAD", path).await.status, 200, "{path}");
    }
    assert_eq!(anonymous(&server, "GET", "/api/health").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_whose_driver_has_ended_is_alive_and_not_ready() {
    let server = start("");
    server.app.handle.stop().await;
    // What came in the same turn is still answered; after it nothing is.
    while server.app.handle.alive().await.is_ok() {}
    let answer = anonymous(&server, "GET", "/health/ready").await;
    assert_eq!((answer.status, answer.json()["Status"].as_str()), (503, Some("failed")));
    assert!(answer.json()["Reason"].as_str().unwrap().contains("the driver"), "{answer:?}");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(anonymous(&server, "GET", "/health/live").await.status, 200);
    let report = report(&server, "en").await;
    assert_eq!(report["Status"], "failed");
    check(&report, "database", "failed", "The database does not answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn report_is_in_the_language_of_the_caller_and_names_what_to_look_at() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let conf = format!("[Notify]\nWatchServers={address}\n[TLS]\nCertificate=no.pem\nKey=no.key\n");
    let server = start(&conf);
    let english = report(&server, "en").await;
    check(&english, "database", "ok", "works");
    check(&english, "clock", "ok", "");
    check(&english, "keys", "ok", "Usable keys: 1 of 1.");
    check(&english, "series", "warning", "672B");
    check(&english, "password", "warning", "admin/admin");
    check(&english, "reserve", "warning", &address.to_string());
    check(&english, "tls", "failed", "no.pem");
    let russian = report(&server, "ru").await;
    check(&russian, "keys", "ok", "Действующих ключей: 1 из 1.");
    check(&russian, "reserve", "warning", "Не отвечают резервные серверы");
    let names = |report: &Value| -> Vec<Value> {
        let checks = report["Checks"].as_array().unwrap();
        checks.iter().map(|check| check["Name"].clone()).collect()
    };
    assert_eq!(names(&english), names(&russian));
}

#[tokio::test(flavor = "multi_thread")]
async fn server_without_a_key_says_so() {
    let server = start_with("[Console]\nPassword=other\n", None, &[]);
    let request = Request::get("/api/health")
        .header("Authorization", basic("admin:other"))
        .body(Full::default())
        .unwrap();
    let answer = server.send(LOCAL, request).await.json();
    check(&answer, "keys", "warning", "No keys are installed.");
    check(&answer, "series", "warning", "No key series is known.");
    check(&answer, "password", "ok", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_is_answered_first_and_leaves_a_line_in_the_audit_trail() {
    let server = start("");
    let answer = server.call("POST", "/api/restart", "").await;
    assert_eq!((answer.status, answer.json()["Restarting"].as_bool()), (202, Some(true)));
    // Done already: the wish was passed on before the answer.
    server.app.control.restart_wanted().await;
    let db = rusqlite::Connection::open(server.app.paths.database()).unwrap();
    let count: u32 = db
        .query_row(
            "SELECT count(*) FROM history WHERE event = 'audit' AND reason = 'restart'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(count, 1);
}
