//! Calls of the REST API about session keys, as tests make them.

use std::path::PathBuf;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::{Service, signature};
use crate::support::{Answered, LOCAL, Server, basic};

pub(crate) const INN: &str = "7707083893";
pub(crate) const OBJECT: &str = "b8e61c2a-1b8a-4b1f-8c2e-3c9b2a7f0d11";

pub(crate) fn conf(service: &Service, more: &str) -> String {
    format!(
        "[Console]\nPassword=other\n[ISMP]\nEnabled=1\n{more}\n[ISMPContours]\nproduction={}\n",
        service.url()
    )
}

pub(crate) fn request(method: &str, path: &str, body: &Value) -> Request<Full<Bytes>> {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let builder = Request::builder().method(method).uri(path);
    builder.header("Authorization", basic("admin:other")).body(Full::from(text)).unwrap()
}

pub(crate) async fn ask(server: &Server, method: &str, path: &str, body: &Value) -> Answered {
    server.send(LOCAL, request(method, path, body)).await
}

pub(crate) async fn post(server: &Server, path: &str, body: &Value) -> Value {
    let answer = ask(server, "POST", &format!("/api/ismp/{path}"), body).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

pub(crate) fn suz() -> Value {
    json!({"TokenType": "SUZ", "Organization": INN, "ProductionObject": OBJECT})
}

pub(crate) fn ismp() -> Value {
    json!({"TokenType": "ISMP", "Organization": INN})
}

pub(crate) fn of(parameters: &Value) -> String {
    let text = |name: &str| parameters[name].as_str().unwrap_or("").to_owned();
    format!(
        "/api/ismp/token?Type={}&Organization={}&ProductionObject={}",
        text("TokenType"),
        text("Organization"),
        text("ProductionObject")
    )
}

/// The key that is kept and valid.
pub(crate) async fn current(server: &Server, parameters: &Value) -> Option<Value> {
    let answer = ask(server, "GET", &of(parameters), &Value::Null).await;
    match answer.status {
        200 => Some(answer.json()),
        404 => {
            assert_eq!(answer.json()["Exception"], "EIsmpNoSessionKey");
            None
        }
        _ => panic!("{answer:?}"),
    }
}

pub(crate) async fn challenge(server: &Server, parameters: &Value) -> Value {
    let answer = post(server, "refresh/challenge", parameters).await;
    assert_eq!(answer["ErrorText"], "", "{answer}");
    answer["AuthorizationParameters"].clone()
}

pub(crate) fn completion(parameters: &Value, challenge: &Value) -> Value {
    json!({
        "RequestParameters": parameters,
        "AuthorizationParameters": challenge,
        "SignatureProperties": {"Signature": signature(challenge["Data"].as_str().unwrap())},
    })
}

pub(crate) async fn sign_in(server: &Server, parameters: &Value) -> Value {
    let challenge = challenge(server, parameters).await;
    post(server, "refresh/complete", &completion(parameters, &challenge)).await
}

/// A key that has ended long ago.
pub(crate) async fn put_ended(server: &Server, parameters: &Value) {
    let body = json!({
        "RequestParameters": parameters,
        "SessionKeyParameters": {"SessionKey": "ended-key", "ValidUntil": "2020-01-01T00:00:00"},
    });
    let answer = ask(server, "PUT", "/api/ismp/token", &body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

pub(crate) async fn list(server: &Server) -> Value {
    ask(server, "GET", "/api/ismp/tokens", &Value::Null).await.json()
}

pub(crate) fn store(server: &Server) -> PathBuf {
    server.app.paths.ismp()
}
