//! The whole centre over loopback, as licence servers and the vendor's tools see it.

#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::time::Duration;

use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::activation_request::{ActivationAnswer, REQUEST_TYP};
use licence_core::jws;
use licence_core::key::{KeyKind, KeySeries};
use licence_core::licence_file::Licence;
use licence_core::series::parse_series_file;
use serde_json::json;
use support::{Running, now, request, secret, series_key, server, turn_clock_forward};

fn licence_of(answer: &support::Answer) -> String {
    let answer: ActivationAnswer = serde_json::from_value(answer.body.clone()).unwrap();
    answer.licence
}

#[test]
fn first_activation_gives_a_licence_bound_to_the_asking_server() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let order = centre.order(json!({
        "Kind": "additional", "Seats": 7, "Period": 30, "Flags": "00000000000000000000000000000101",
        "ProductVersion": 3, "ServiceType": 2, "RegNo": 202, "Article": "4601546113979",
        "ArticleName": "Лицензия на 7 рабочих мест", "ITN": "0123456789",
    }));
    // An additional key counts only beside a main one.
    let main = centre.code(json!({}));
    assert_eq!(centre.activate(&request(&server(5), main), &server(5)).status, 201);
    let asked = licence_core::activation_request::ActivationRequest {
        itn: Some("123456789".into()),
        iec: Some("770701001".into()),
        ..request(&server(5), order.codes[0].code)
    };
    let answer = centre.activate(&asked, &server(5));
    assert_eq!(answer.status, 201, "{answer:?}");
    let answer: ActivationAnswer = serde_json::from_value(answer.body).unwrap();
    assert_eq!(answer.series.signing_key().unwrap(), series_key());
    let licence = Licence::verify(&answer.licence, &series_key()).unwrap();
    assert_eq!(licence.holder, server(5).public().into());
    assert_eq!(licence.kind, KeyKind::Additional);
    let fields = licence.fields();
    assert_eq!(fields.key_no, order.codes[0].key_no);
    assert_eq!(fields.activation_code, order.codes[0].code);
    assert_eq!((fields.licence_count, fields.period, fields.flags.0), (7, 30, 5));
    assert_eq!((fields.product_version, fields.service_type), (3, 2));
    assert_eq!(fields.reg_no, Some(202));
    assert_eq!(fields.itn.as_deref(), Some("0123456789"));
    assert_eq!(fields.iec.as_deref(), Some("770701001"));
    assert_eq!(fields.product_name, "Тестовая серия");
    assert_eq!(fields.article_name.as_deref(), Some("Лицензия на 7 рабочих мест"));
    assert!(fields.term().end().is_some());
}

#[test]
fn same_server_gets_the_same_licence_again_and_another_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let code = centre.code(json!({}));
    let first = centre.activate(&request(&server(5), code), &server(5));
    assert_eq!(first.status, 201);
    let again = centre.activate(&request(&server(5), code), &server(5));
    assert_eq!(again.status, 200);
    assert_eq!(licence_of(&again), licence_of(&first));
    let other = centre.activate(&request(&server(6), code), &server(6));
    assert_eq!((other.status, other.exception().as_str()), (409, "ECodeUsed"));
}

#[test]
fn unknown_mistyped_and_foreign_codes_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let of_series = |series, kind| ActivationCode::encode(kind, KeySeries::from_u16(series), 42);
    let check = |code: ActivationCode, status: u16, exception: &str| {
        let answer = centre.activate(&request(&server(5), code), &server(5));
        assert_eq!((answer.status, answer.exception().as_str()), (status, exception));
    };
    check(of_series(0x672B, CodeKind::Activation), 404, "ECodeUnknown");
    check(of_series(0x672B, CodeKind::Reserve), 404, "ECodeUnknown");
    check(of_series(0x4BFE, CodeKind::Activation), 400, "ECodeWrong");
    let code = centre.code(json!({})).to_string();
    let last = if code.ends_with('0') { "1" } else { "0" };
    let mistyped = format!("{}{last}", &code[..code.len() - 1]);
    let mut claims = serde_json::to_value(request(&server(5), code.parse().unwrap())).unwrap();
    claims["ActivationCode"] = json!(mistyped);
    let answer = centre.post_request(jws::sign(REQUEST_TYP, &claims, &server(5)).unwrap());
    assert_eq!((answer.status, answer.exception().as_str()), (400, "ECodeWrong"));
}

#[test]
fn request_that_proves_nothing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let code = centre.code(json!({}));
    let forged = request(&server(5), code).sign(&server(6)).unwrap();
    for token in [forged, "a.b.c".to_owned(), String::new()] {
        let answer = centre.post_request(token);
        assert_eq!((answer.status, answer.exception().as_str()), (400, "ERequestNotGenuine"));
    }
    let mut odd = request(&server(5), code);
    odd.computer_id = "not hex".into();
    let answer = centre.activate(&odd, &server(5));
    assert_eq!((answer.status, answer.exception().as_str()), (400, "EHTTPBadRequest"));
    assert_eq!(centre.activate(&request(&server(5), code), &server(5)).status, 201);
}

#[test]
fn owner_token_and_revocation_are_minded() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let order = centre.order(json!({"ITN": "7707083893"}));
    let code = order.codes[0].code;
    let answer = centre.activate(&request(&server(5), code), &server(5));
    assert_eq!((answer.status, answer.exception().as_str()), (403, "EOwnerMismatch"));
    let mut on_token = request(&server(5), code);
    on_token.blank_key_no = Some(17);
    let answer = centre.activate(&on_token, &server(5));
    assert_eq!((answer.status, answer.exception().as_str()), (400, "EBlankProof"));
    let path = format!("/api/orders/{}/revoke", order.order_id);
    assert_eq!(centre.send("POST", &path, &centre.token, "{}").status, 200);
    let answer = centre.activate(&request(&server(5), code), &server(5));
    assert_eq!((answer.status, answer.exception().as_str()), (403, "ECodeRevoked"));
    let answer = centre.send("POST", "/api/orders/99/revoke", &centre.token, "{}");
    assert_eq!((answer.status, answer.exception().as_str()), (404, "EHTTPNotFound"));
}

#[test]
fn order_whose_term_has_ended_activates_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    // Further ahead than all other tests together turn the clock.
    let expire = now().plus_days(100);
    let order = centre.order(json!({"ExpireDate": expire.to_string(), "Count": 2}));
    let asked = request(&server(5), order.codes[0].code);
    let first = centre.activate(&asked, &server(5));
    assert_eq!(first.status, 201);
    turn_clock_forward(101);
    let late = centre.activate(&request(&server(6), order.codes[1].code), &server(6));
    assert_eq!((late.status, late.exception().as_str()), (403, "ECodeRevoked"));
    let again = centre.activate(&asked, &server(5));
    assert_eq!((again.status, licence_of(&again)), (200, licence_of(&first)));
}

#[test]
fn computer_gets_one_demo_of_a_series() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let order = centre.order(json!({"Kind": "demo", "Count": 2, "Period": 14}));
    let (one, two) = (order.codes[0].code, order.codes[1].code);
    assert_eq!(centre.activate(&request(&server(5), one), &server(5)).status, 201);
    // The same computer with another identity: a reinstallation.
    let mut again = request(&server(6), two);
    again.computer_id = request(&server(5), one).computer_id.to_ascii_lowercase();
    let answer = centre.activate(&again, &server(6));
    assert_eq!((answer.status, answer.exception().as_str()), (409, "EDemoUsed"));
    assert_eq!(centre.activate(&request(&server(7), two), &server(7)).status, 201);
}

#[test]
fn two_servers_with_one_code_at_once_have_exactly_one_winner() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let order = centre.order(json!({"Count": 8}));
    for issued in &order.codes {
        let start = Barrier::new(2);
        let ask = |seed: u8| {
            let asked = request(&server(seed), issued.code);
            start.wait();
            centre.activate(&asked, &server(seed)).status
        };
        let mut statuses = std::thread::scope(|scope| {
            let other = scope.spawn(|| ask(6));
            [ask(5), other.join().unwrap()]
        });
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409]);
    }
}

#[test]
fn books_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let order = centre.order(json!({"Count": 2}));
    let first = centre.activate(&request(&server(5), order.codes[0].code), &server(5));
    let token = centre.token.clone();
    centre.stop();
    let centre = Running::start(folder.path());
    assert_eq!(centre.token, token);
    let again = centre.activate(&request(&server(5), order.codes[0].code), &server(5));
    assert_eq!((again.status, licence_of(&again)), (200, licence_of(&first)));
    let next = centre.order(json!({}));
    assert_eq!(next.codes[0].key_no.0, order.codes[1].key_no.0 + 1);
    let list = centre.send("GET", "/api/orders", &centre.token, "").body;
    assert_eq!(list["Orders"][1]["Codes"][0]["State"], "Activated");
    assert_eq!(list["Orders"][1]["Codes"][1]["State"], "Free");
}

#[test]
fn vendors_calls_need_the_token_and_others_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let half = centre.token[..32].to_owned();
    for token in ["", "wrong", &half, &format!("{}0", centre.token)] {
        for (method, path) in
            [("GET", "/api/orders"), ("POST", "/api/orders"), ("POST", "/api/orders/1/revoke")]
        {
            let answer = centre.send(method, path, token, "{}");
            let refused = (answer.status, answer.exception());
            assert_eq!(refused, (401, "EHTTPUnauthorized".into()), "{method} {path} {token:?}");
        }
    }
    let health = centre.send("GET", "/health", "", "");
    assert_eq!((health.status, health.body), (200, json!({"Status": "ok", "Version": "4.0.0"})));
    let series = centre.send("GET", "/api/series", "", "").body.to_string();
    let known = parse_series_file(&series).unwrap();
    assert_eq!(known[&secret().series()].signing_key().unwrap(), series_key());
}

#[test]
fn wrong_path_method_and_body_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let token = centre.token.clone();
    let check = |method: &str, path: &str, body: &str, status: u16, exception: &str| {
        let answer = centre.send(method, path, &token, body);
        let got = (answer.status, answer.exception());
        assert_eq!(got, (status, exception.into()), "{method} {path} {body}");
        answer.allow
    };
    check("GET", "/nowhere", "", 404, "EHTTPNotFound");
    assert_eq!(
        check("DELETE", "/api/orders", "", 405, "EHTTPMethodNotAllowed").as_deref(),
        Some("GET, POST")
    );
    assert_eq!(
        check("GET", "/api/activations", "", 405, "EHTTPMethodNotAllowed").as_deref(),
        Some("POST")
    );
    check("POST", "/api/activations", "", 400, "EHTTPBadRequest");
    check("POST", "/api/activations", "{", 400, "EHTTPBadRequest");
    check("POST", "/api/activations", r#"{"Request": 5}"#, 400, "EHTTPBadRequest");
    check("POST", "/api/orders", r#"{"Series":"672B"}"#, 400, "EHTTPBadRequest");
    let order = |more: &str| format!(r#"{{"Series":"672B","Kind":"main","Seats":5{more}}}"#);
    check("POST", "/api/orders", &order(r#","Sets":5"#), 400, "EHTTPBadRequest");
    check("POST", "/api/orders", &order(r#","Count":1001"#), 400, "EOrderWrong");
    let foreign = r#"{"Series":"4BFE","Kind":"main","Seats":5}"#;
    check("POST", "/api/orders", foreign, 400, "EOrderWrong");
    let long = format!("\"{}\"", "x".repeat(70_000));
    check("POST", "/api/activations", &long, 413, "EHTTPContentTooLarge");
    check("GET", "/api/orders?before=x", "", 400, "EHTTPBadRequest");
    // The centre is well after all that.
    assert_eq!(centre.send("GET", "/health", "", "").status, 200);
}

#[test]
fn oversized_body_of_unknown_length_is_cut_off_too() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let mut stream = TcpStream::connect(centre.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = "POST /api/activations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = format!("11000\r\n{}\r\n", "x".repeat(0x11000));
    stream.write_all(chunk.as_bytes()).unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
}

#[test]
fn refusal_speaks_the_language_that_the_asker_prefers() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let message = |language: &str| {
        let answer = centre.send_in(language, "GET", "/nowhere", "", "");
        answer.body["Message"].as_str().unwrap().to_owned()
    };
    assert_eq!(message("ru-RU,ru;q=0.9"), "(EHTTPNotFound) По этому адресу ничего нет.");
    assert_eq!(message("en"), "(EHTTPNotFound) There is nothing at this URL.");
    assert_eq!(message("de"), message("ru"));
}
