//! `POST /api/licences` against a centre that is played here: the whole round, and every way in
//! which a centre can fail it. The licence that the centre signs is a real one.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use licence_core::activation_request::{ActivationCall, ActivationRequest};
use serde_json::{Value, json};
use support::{Server, code, descriptor, licence, start_with};

/// A centre that answers one request with `answer` and hands the request back.
fn centre<F>(answer: F) -> (String, JoinHandle<(String, String)>)
where
    F: FnOnce(&str) -> (u16, String) + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
        }
        let length = head
            .to_ascii_lowercase()
            .split_once("content-length: ")
            .and_then(|(_, rest)| rest.split("\r\n").next()?.parse().ok())
            .unwrap();
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        let (status, text) = answer(&body);
        let length = text.len();
        write!(
            reader.get_mut(),
            "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
        )
        .unwrap();
        (head, body)
    });
    (url, thread)
}

/// What a centre does when all is well: a licence bound to whoever signed the request.
fn activated(body: &str) -> (u16, String) {
    let call: ActivationCall = serde_json::from_str(body).unwrap();
    let (_, holder) = ActivationRequest::verify(&call.request).unwrap();
    let answer = json!({"Licence": licence(holder, 555, 3), "Series": descriptor(None)});
    (201, answer.to_string())
}

async fn order(server: &Server) -> support::Answered {
    let body = json!({
        "ActivationCodeString": code(555).to_string().to_lowercase(),
        "ITN": 1_234_567_890, "IEC": "001234567", "BlankKeyNo": null
    });
    server.call("POST", "/api/licences", &body.to_string()).await
}

#[tokio::test]
async fn code_becomes_an_installed_licence() {
    let (url, thread) = centre(activated);
    let conf = format!("[Common]\nLicenceCenterUrl={url}/\n");
    let server = start_with(&conf, None, &[]);
    let answer = order(&server).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let installed = answer.json();
    assert_eq!((&installed["KeyNo"], &installed["Enabled"]), (&json!(555), &json!(true)));
    assert_eq!(server.call("GET", "/api/licences/555", "").await.json(), installed);
    let (head, body) = thread.join().unwrap();
    assert!(head.starts_with("POST /api/activations HTTP/1.1\r\n"), "{head}");
    let call: ActivationCall = serde_json::from_str(&body).unwrap();
    let (request, holder) = ActivationRequest::verify(&call.request).unwrap();
    assert_eq!(holder, server.identity.public());
    assert_eq!(request.itn.as_deref(), Some("1234567890"));
    assert_eq!(request.iec.as_deref(), Some("001234567"), "leading zeros of a text stay");
    assert_eq!(request.code, code(555));
    assert_eq!(request.computer_id, server.app.host.computer_id);
}

#[tokio::test]
async fn centre_of_the_series_goes_before_the_common_one() {
    let (url, thread) = centre(activated);
    let conf = "[Common]\nLicenceCenterUrl=http://127.0.0.1:9\n";
    let server = start_with(conf, Some(&descriptor(Some(url))), &[]);
    let answer = order(&server).await;
    thread.join().unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
}

async fn check_failed(answer: (u16, String), status: u16, class: &str, text: &str) {
    let (url, thread) = centre(move |_| answer);
    let server = start_with(&format!("[Common]\nLicenceCenterUrl={url}\n"), None, &[]);
    let refused = order(&server).await;
    thread.join().unwrap();
    let error = refused.json();
    assert_eq!((refused.status, &error["Exception"]), (status, &json!(class)), "{error}");
    assert!(error["Message"].as_str().unwrap().contains(text), "{error}");
    let all = server.call("GET", "/api/licences", "").await.json();
    assert_eq!(all["Licences"], json!([]), "nothing was installed");
}

fn refusal(status: u16, class: &str, text: &str) -> (u16, String) {
    let body = json!({
        "Code": status, "Text": "X", "Message": format!("({class}) {text}"), "Exception": class
    });
    (status, body.to_string())
}

#[tokio::test]
async fn refusal_of_the_centre_reaches_the_caller() {
    check_failed(refusal(404, "ECodeNotFound", "No such code"), 404, "ECodeNotFound", "No such")
        .await;
    check_failed(refusal(409, "ECodeUsed", "It was used"), 400, "ECodeUsed", "It was used").await;
    check_failed(refusal(401, "EAuth", "No"), 403, "EAuth", "No").await;
}

#[tokio::test]
async fn answer_that_cannot_be_used_installs_nothing() {
    let unavailable = "ELicenceCentreUnavailable";
    check_failed((200, "<html>".into()), 500, unavailable, "cannot be used").await;
    check_failed((502, "<html>".into()), 500, unavailable, "cannot be used").await;
    check_failed((302, String::new()), 500, unavailable, "cannot be used").await;
}

#[tokio::test]
async fn licence_that_is_forged_or_bound_elsewhere_is_not_installed() {
    let other = licence_core::seal::SigningKey::from_seed(&[77; 32]).public();
    let elsewhere = json!({"Licence": licence(other, 555, 3), "Series": descriptor(None)});
    check_failed((201, elsewhere.to_string()), 400, "EBoundElsewhere", "555").await;
    let mut forged = licence(other, 555, 3);
    forged.replace_range(forged.len() - 6.., "AAAAAA");
    let forged = json!({"Licence": forged, "Series": descriptor(None)});
    check_failed((201, forged.to_string()), 400, "ELicenceInvalid", "licence").await;
    let nonsense = json!({"Licence": "x", "Series": descriptor(None)});
    check_failed((201, nonsense.to_string()), 400, "ELicenceInvalid", "licence").await;
}

#[tokio::test]
async fn centre_that_is_not_there_is_told_as_unavailable() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let conf = format!("[Common]\nLicenceCenterUrl=http://{closed}\n");
    let server = start_with(&conf, None, &[]);
    let answer = order(&server).await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.json()["Exception"], Value::from("ELicenceCentreUnavailable"));
}
