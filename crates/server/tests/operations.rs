//! What 1C's object manager asks of the server beyond seats: licences by code and by file, keys given
//! back, licence parameters; and what a component may not do.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod centre;
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use centre::Vendor;
use http_body_util::Full;
use hyper::Request;
use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::activation_request::{ActivationCall, ActivationRequest};
use licence_core::datafile::{DatafileBuilder, ObjectAccess, ObjectKind};
use licence_core::key::KeySeries;
use licenceserver::api::Peer;
use serde_json::{Value, json};
use support::{Answered, OBJECT_SECRET, SERIES, Server, code, descriptor, licence, series_key};
use support::{start, start_as, start_with};

const ONE: [u8; 32] = [21; 32];

fn series() -> KeySeries {
    KeySeries::from_u16(SERIES)
}

async fn ask(server: &Server, connection: Option<&str>, operation: Value) -> Answered {
    let body = json!({
        "Connection": connection, "KeyID": "672B", "Language": "en", "Operation": operation
    });
    answered(server, connection, server.message("/client/v1/operation", &body).await).await
}

/// The answer of an operation; asked again by its ticket as long as it goes on.
async fn answered(server: &Server, connection: Option<&str>, first: Answered) -> Answered {
    let mut answer = first;
    for _ in 0..200 {
        if answer.status != 200 || answer.json()["Ticket"].is_null() {
            return answer;
        }
        let body = json!({
            "Connection": connection, "KeyID": "672B", "Ticket": answer.json()["Ticket"]
        });
        answer = server.message("/client/v1/operation", &body).await;
    }
    panic!("it has no end: {answer:?}");
}

fn check_refused(answer: &Answered, status: u16, class: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json()["Exception"], class, "{answer:?}");
}

/// What an operation brought.
fn result(answer: &Answered, kind: &str) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    let result = answer.json()["Result"][kind].clone();
    assert!(!result.is_null(), "{answer:?}");
    result
}

fn text(answer: &Answered, kind: &str) -> String {
    result(answer, kind).as_str().unwrap().to_owned()
}

/// Numbers of the keys that an operation brought.
fn numbers(answer: &Answered) -> Vec<u64> {
    let licences = result(answer, "Licences");
    licences.as_array().unwrap().iter().map(|one| one["KeyNo"].as_u64().unwrap()).collect()
}

fn install(code: ActivationCode) -> Value {
    json!({"Install": {"ActivationCode": code.to_string(), "ITN": "0123456789"}})
}

/// Actions of the audit trail with who did them.
fn audited(server: &Server) -> Vec<(String, String)> {
    let database = rusqlite::Connection::open(server.app.paths.database()).unwrap();
    let sql = "SELECT reason, detail ->> 'actor' FROM history WHERE event = 'audit' ORDER BY no";
    let mut lines = database.prepare(sql).unwrap();
    let lines = lines.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    lines.map(Result::unwrap).collect()
}

fn line(action: &str, actor: &str) -> (String, String) {
    (action.to_owned(), actor.to_owned())
}

#[tokio::test]
async fn first_licence_is_installed_without_a_connection_and_the_next_only_over_one() {
    let vendor = Vendor::open().await;
    let server = start_as(ONE, "", Some(&vendor.descriptor()), &[]);
    let codes = [vendor.sell(json!({})).await, vendor.sell(json!({})).await];
    let first = ask(&server, None, install(codes[0])).await;
    assert_eq!(numbers(&first).len(), 1);
    let licence = &result(&first, "Licences")[0];
    assert!(licence["ActivationCode"].is_null(), "a component is not shown codes: {licence}");
    assert!(!licence["FileName"].as_str().unwrap().contains('/'), "{licence}");
    let second = ask(&server, None, install(codes[1])).await;
    check_refused(&second, 409, "EConnectionRequired");
    let connection = server.connect().await;
    assert_eq!(numbers(&ask(&server, Some(&connection), install(codes[1])).await).len(), 1);
    let expected = [line("key_install", "component:"), line("key_install", "component:MORA-HP")];
    assert_eq!(audited(&server), expected);
    // The centre's refusal has its own class.
    let used = ask(&server, Some(&connection), install(codes[1])).await;
    assert!(used.status >= 400 || numbers(&used).len() == 1, "{used:?}");
    let unknown = ask(&server, Some(&connection), install(code(12_345))).await;
    check_refused(&unknown, 404, "ECodeUnknown");
}

#[tokio::test]
async fn wishes_that_cannot_be_right_are_refused_by_name() {
    let server = start("");
    let connection = server.connect().await;
    let own = code(1).to_string();
    let other = ActivationCode::encode(CodeKind::Activation, KeySeries::from_u16(0x4BFE), 1);
    for (operation, status, class, part) in [
        (json!({"Install": {"ActivationCode": "x"}}), 400, "EParams", "ActivationCode"),
        (json!({"Install": {"ActivationCode": ""}}), 400, "EParams", "ActivationCode"),
        (json!({"Install": {"ActivationCode": other.to_string()}}), 400, "EParams", "4BFE"),
        (json!({"Install": {"ActivationCode": own, "ITN": "x"}}), 400, "EParams", "ITN"),
        (
            json!({"InstallRequest": {"ActivationCode": own, "IEC": "1234567890"}}),
            400,
            "EParams",
            "IEC",
        ),
        (
            json!({"InstallRequest": {"ActivationCode": own, "BlankKeyNo": 5}}),
            404,
            "EBlankNotFound",
            "5",
        ),
        (json!({"Update": {"ITN": "x"}}), 400, "EParams", "ITN"),
        (json!({"InstallAnswer": {"Answer": " "}}), 400, "EParams", "Answer"),
        (json!({"InstallAnswer": {"Answer": "nonsense"}}), 400, "EAnswerInvalid", "Answer"),
        (json!({"Parameter": {"Name": " "}}), 400, "EParams", "Name"),
        (Value::Null, 400, "EParams", "Operation"),
        (json!({"Explode": {}}), 400, "EHTTPBadRequest", "Explode"),
    ] {
        let answer = ask(&server, Some(&connection), operation.clone()).await;
        check_refused(&answer, status, class);
        assert!(answer.body.contains(part), "{operation}: {}", answer.body);
    }
    let none = ask(&server, Some(&"0".repeat(32)), json!({"Update": {}})).await;
    check_refused(&none, 404, "EConnectionNotFound");
    assert!(audited(&server).is_empty());
}

#[tokio::test]
async fn request_goes_to_the_centre_in_a_file_and_its_answer_is_installed() {
    let vendor = Vendor::open().await;
    let server = start_as(ONE, "", Some(&vendor.descriptor()), &[]);
    let code = vendor.sell(json!({})).await.to_string();
    let order = json!({"InstallRequest": {"ActivationCode": code}});
    let request = text(&ask(&server, None, order).await, "Request");
    let answer = vendor.carry(&request).await;
    let wish = json!({ "InstallAnswer": { "Answer": answer } });
    assert_eq!(numbers(&ask(&server, None, wish).await).len(), 1);
    let connection = server.connect().await;
    let request = ask(&server, Some(&connection), json!({"UpdateRequest": {}})).await;
    let answer = vendor.carry(&text(&request, "Request")).await;
    let wish = json!({ "InstallAnswer": { "Answer": answer } });
    assert_eq!(numbers(&ask(&server, Some(&connection), wish).await), [0; 0], "nothing is newer");
}

#[tokio::test]
async fn answer_that_would_make_a_series_known_is_for_an_administrator() {
    let server = start_with("", None, &[]);
    let document = licence(server.identity.public(), 555, 3);
    let file = json!({"Answer": {
        "Kind": "activation", "Licence": document, "Series": descriptor(None)
    }});
    for answer in [file.to_string(), document] {
        let wish = json!({ "InstallAnswer": { "Answer": answer } });
        check_refused(&ask(&server, None, wish).await, 403, "EUnknownSeries");
    }
    assert!(audited(&server).is_empty());
    let body = json!({"Answer": file.to_string()}).to_string();
    let answer = server.call("POST", "/api/licences/answer", &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[tokio::test]
async fn update_brings_what_was_lost_and_names_only_licences_of_the_owner() {
    let vendor = Vendor::open().await;
    let server = start_as(ONE, "", Some(&vendor.descriptor()), &[]);
    let mut bought = Vec::new();
    for itn in ["0123456789", "7700000000"] {
        let code = vendor.sell(json!({})).await.to_string();
        let wish = json!({"Install": {"ActivationCode": code, "ITN": itn}});
        let connection = match bought.len() {
            0 => None,
            _ => Some(server.connect().await),
        };
        bought.extend(numbers(&ask(&server, connection.as_deref(), wish).await));
    }
    let [own, other] = bought[..] else { panic!("{bought:?}") };
    let connection = server.connect().await;
    let lose = async || {
        for key_no in [own, other] {
            let path = format!("/api/licences/{key_no}");
            assert_eq!(server.call("DELETE", &path, "").await.status, 202);
        }
    };
    lose().await;
    let update = |itn: &str| json!({"Update": {"ITN": itn, "IEC": ""}});
    let found = ask(&server, Some(&connection), update("0123456789")).await;
    assert_eq!(numbers(&found), [own], "the other one is back too, and not named");
    let again = ask(&server, Some(&connection), update("")).await;
    assert_eq!(numbers(&again), [0; 0]);
    lose().await;
    let mut all = numbers(&ask(&server, Some(&connection), update("")).await);
    all.sort_unstable();
    bought.sort_unstable();
    assert_eq!(all, bought);
}

fn give_back(kind: &str, key_no: u64, login: &str, password: &str) -> Value {
    json!({kind: {
        "KeyNo": key_no, "Reason": "переезд", "Comment": "новый\nсервер",
        "Login": login, "Password": password
    }})
}

#[tokio::test]
async fn key_is_given_back_only_by_an_administrator_who_is_named() {
    let vendor = Vendor::open().await;
    let server = start_as(ONE, "", Some(&vendor.descriptor()), &[]);
    let code = vendor.sell(json!({})).await;
    let key_no = numbers(&ask(&server, None, install(code)).await)[0];
    let connection = server.connect().await;
    let ask = async |wish| ask(&server, Some(&connection), wish).await;
    let wrong = ask(give_back("Deactivate", key_no, "admin", "wrong")).await;
    check_refused(&wrong, 401, "EHTTPUnauthorized");
    let browser = wrong.headers["www-authenticate"].to_str().unwrap();
    assert!(!browser.starts_with("Basic"), "{browser}");
    let user = json!({"Role": "operator", "Password": "correct horse"}).to_string();
    assert_eq!(server.call("PUT", "/api/users/clerk", &user).await.status, 201);
    let lesser = ask(give_back("Deactivate", key_no, "clerk", "correct horse")).await;
    check_refused(&lesser, 403, "ERole");
    let unknown = ask(give_back("Deactivate", 1, "admin", "admin")).await;
    check_refused(&unknown, 404, "EKeyNotFound");
    let reserve =
        text(&ask(give_back("Deactivate", key_no, "admin", "admin")).await, "ReserveCode");
    assert_eq!(reserve.parse::<ActivationCode>().unwrap().kind(), CodeKind::Reserve);
    let done: Vec<_> = audited(&server).into_iter().skip(2).collect();
    assert_eq!(done, [line("key_aside", "admin"), line("key_return", "admin")]);
}

#[tokio::test]
async fn request_to_give_a_key_back_puts_it_aside_and_the_answer_brings_the_reserve_code() {
    let vendor = Vendor::open().await;
    let server = start_as(ONE, "", Some(&vendor.descriptor()), &[]);
    let code = vendor.sell(json!({})).await;
    let key_no = numbers(&ask(&server, None, install(code)).await)[0];
    let connection = server.connect().await;
    let wish = give_back("DeactivateRequest", key_no, "admin", "admin");
    let request = text(&ask(&server, Some(&connection), wish).await, "Request");
    let answer = vendor.carry(&request).await;
    let wish = json!({ "InstallAnswer": { "Answer": answer } });
    let reserve = text(&ask(&server, Some(&connection), wish).await, "ReserveCode");
    assert!(reserve.parse::<ActivationCode>().is_ok(), "{reserve}");
}

#[tokio::test]
async fn wrong_passwords_lock_an_address_out_and_the_console_rules_of_addresses_count() {
    let server = start("");
    let connection = server.connect().await;
    let peer = Peer { ip: [10, 0, 0, 7].into(), is_tls: true };
    let send = async |server: &Server, connection: &str, peer: Peer| {
        let operation = give_back("Deactivate", 7_131_766, "admin", "wrong");
        let body = json!({"Connection": connection, "KeyID": "672B", "Operation": operation});
        let request = Request::post("/client/v1/operation").body(Full::from(body.to_string()));
        server.send(peer, request.unwrap()).await
    };
    for _ in 0..5 {
        check_refused(&send(&server, &connection, peer).await, 401, "EHTTPUnauthorized");
    }
    let locked = send(&server, &connection, peer).await;
    check_refused(&locked, 429, "ETooManyAttempts");
    assert!(locked.headers.contains_key("retry-after"));
    let local = start("[Console]\nLocalAccessOnly=1\n");
    let connection = local.connect().await;
    check_refused(&send(&local, &connection, peer).await, 403, "EHTTPForbidden");
}

#[tokio::test]
async fn licences_from_1c_are_switched_off_by_a_setting_and_the_rest_goes_on() {
    let server = start("[Common]\nComponentService=0\n");
    let connection = server.connect().await;
    for operation in [
        json!({"Update": {}}),
        json!({"UpdateRequest": {}}),
        json!({"InstallAnswer": {"Answer": "x"}}),
        install(code(1)),
        give_back("Deactivate", 7_131_766, "admin", "admin"),
    ] {
        let answer = ask(&server, Some(&connection), operation).await;
        check_refused(&answer, 403, "EComponentService");
    }
    let read = ask(&server, Some(&connection), json!({"ReadMemory": {}})).await;
    assert_eq!(text(&read, "Memory"), "");
}

/// A centre that answers one activation when it is told to.
fn slow_centre() -> (String, mpsc::Sender<()>, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (go_on, told) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
        }
        let head = head.to_ascii_lowercase();
        let (_, rest) = head.split_once("content-length: ").unwrap();
        let mut body = vec![0; rest.split("\r\n").next().unwrap().parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let call: ActivationCall = serde_json::from_slice(&body).unwrap();
        let (_, holder) = ActivationRequest::verify(&call.request).unwrap();
        let answer = json!({"Licence": licence(holder, 555, 3), "Series": descriptor(None)});
        let text = answer.to_string();
        told.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
        write!(
            reader.get_mut(),
            "HTTP/1.1 201 X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        )
        .unwrap();
    });
    (url, go_on, thread)
}

#[tokio::test(flavor = "multi_thread")]
async fn operation_that_waits_for_its_centre_is_asked_for_again_by_a_ticket() {
    let (url, go_on, thread) = slow_centre();
    let conf = format!("[Common]\nLicenceCenterUrl={url}\n");
    let server = start_with(&conf, Some(&descriptor(None)), &[]);
    let body = json!({"KeyID": "672B", "Operation": install(code(555))});
    let first = server.message("/client/v1/operation", &body).await;
    assert_eq!(first.status, 200, "{first:?}");
    let ticket = first.json()["Ticket"].as_str().unwrap().to_owned();
    assert!(first.json()["Result"].is_null());
    let poll = json!({"KeyID": "672B", "Ticket": ticket});
    let second = server.message("/client/v1/operation", &poll).await;
    assert_eq!(second.json()["Ticket"], Value::from(ticket.clone()), "{second:?}");
    // Somebody else's ticket is nobody's.
    let elsewhere = Peer { ip: [10, 0, 0, 7].into(), is_tls: true };
    let request = Request::post("/client/v1/operation").body(Full::from(poll.to_string())).unwrap();
    check_refused(&server.send(elsewhere, request).await, 404, "ETicketNotFound");
    for ticket in ["0".repeat(32), String::new()] {
        let other = json!({"KeyID": "672B", "Ticket": ticket});
        let other = server.message("/client/v1/operation", &other).await;
        check_refused(&other, 404, "ETicketNotFound");
    }
    let other = json!({"KeyID": "4BFE", "Ticket": ticket});
    let other = server.message("/client/v1/operation", &other).await;
    check_refused(&other, 404, "ETicketNotFound");
    // Whoever lost the connection meanwhile has another one.
    let mut later = poll.clone();
    later["Connection"] = Value::from("0".repeat(32));
    let later = server.message("/client/v1/operation", &later).await;
    assert_eq!(later.json()["Ticket"], Value::from(ticket.clone()), "{later:?}");
    go_on.send(()).unwrap();
    // The key that it brings needs a connection for the next wish, but not for this outcome.
    assert_eq!(numbers(&answered(&server, None, second).await), [555]);
    let again = server.message("/client/v1/operation", &poll).await;
    assert_eq!(numbers(&again), [555], "an answer that was lost on its way can be asked for again");
    thread.join().unwrap();
}

/// A data file of the test series with this file of licence parameters.
fn put_parameters(server: &Server, parameters: &str) {
    let signing = series_key();
    let mut file = DatafileBuilder::new(series(), &signing, &OBJECT_SECRET);
    let kind = ObjectKind::Text;
    file.add("Параметры", kind, ObjectAccess::Seat, parameters.as_bytes()).unwrap();
    let folder = server.app.paths.keys();
    std::fs::write(folder.join("new"), file.finish().unwrap().bytes()).unwrap();
    std::fs::rename(folder.join("new"), folder.join("672B.datafile")).unwrap();
}

#[tokio::test]
async fn parameter_is_that_of_the_licence_then_of_the_file_then_of_the_main_key_or_the_default() {
    let vendor = Vendor::open().await;
    let server = start_as(ONE, "", Some(&vendor.descriptor()), &[]);
    let sold = json!({"Parameters": {"ТипПриложения": "КОРП"}});
    let main = numbers(&ask(&server, None, install(vendor.sell(sold).await)).await)[0];
    // Before anybody looks: what was seen of the folder holds for a second.
    put_parameters(
        &server,
        &format!("[Default]\nРегион=все\nТипПриложения=БАЗ\n[{main}]\nРегион=77\nЦвет=красный\n"),
    );
    let connection = server.connect().await;
    let value = async |wish: Value| {
        let answer = ask(&server, Some(&connection), json!({ "Parameter": wish })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["Result"]["Parameter"].clone()
    };
    assert_eq!(value(json!({"Name": "типПриложения"})).await, "КОРП");
    assert_eq!(value(json!({"Name": "Нет"})).await, Value::Null);
    let extra = vendor.sell(json!({"Kind": "additional"})).await;
    let extra = numbers(&ask(&server, Some(&connection), install(extra)).await)[0];
    for (wish, expected) in [
        (json!({"KeyNo": main, "Name": "ТипПриложения"}), json!("КОРП")),
        (json!({"KeyNo": main, "Name": "регион"}), json!("77")),
        (json!({"KeyNo": extra, "Name": "регион"}), json!("все")),
        (json!({"KeyNo": extra, "Name": "регион", "UseMainKey": true}), json!("77")),
        (json!({"KeyNo": extra, "Name": "ТипПриложения"}), json!("БАЗ")),
        (json!({"KeyNo": extra, "Name": "ТипПриложения", "UseMainKey": true}), json!("КОРП")),
        (json!({"KeyNo": extra, "Name": "Цвет"}), Value::Null),
    ] {
        assert_eq!(value(wish.clone()).await, expected, "{wish}");
    }
    let session = server.open(&connection, 1).await.json();
    assert_eq!(session["UsedLicence"], main);
    assert_eq!(value(json!({"Session": session["ID"], "Name": "Цвет"})).await, "красный");
    let none = json!({"Parameter": {"KeyNo": 1, "Name": "Цвет"}});
    check_refused(&ask(&server, Some(&connection), none).await, 404, "EKeyNotFound");
}

#[tokio::test]
async fn file_of_parameters_that_cannot_be_used_is_an_error_and_not_a_default() {
    let vendor = Vendor::open().await;
    let server = start_as(ONE, "", Some(&vendor.descriptor()), &[]);
    let sold = json!({"Parameters": {"Own": "1"}});
    ask(&server, None, install(vendor.sell(sold).await)).await;
    put_parameters(&server, "no section\n");
    let connection = server.connect().await;
    let ask = async |name: &str| {
        ask(&server, Some(&connection), json!({"Parameter": {"Name": name}})).await
    };
    let refused = ask("Other").await;
    check_refused(&refused, 409, "EDataFileInvalid");
    assert!(refused.body.contains("line 1"), "{}", refused.body);
    assert_eq!(ask("Own").await.json()["Result"]["Parameter"], "1", "the licence needs no file");
    // A server whose licence has no object key cannot open the file.
    let other = start("");
    put_parameters(&other, "[Default]\nA=1\n");
    let connection = other.connect().await;
    let body = json!({
        "Connection": connection, "KeyID": "672B", "Operation": {"Parameter": {"Name": "A"}}
    });
    check_refused(&other.message("/client/v1/operation", &body).await, 409, "EObjectKey");
}

#[tokio::test]
async fn developer_of_the_series_wipes_a_memory_whatever_its_passwords() {
    let vendor = Vendor::open().await;
    let server = start_as(ONE, "", Some(&vendor.descriptor()), &[]);
    ask(&server, None, install(vendor.sell(json!({})).await)).await;
    let connection = server.connect().await;
    let ask = async |wish: Value| ask(&server, Some(&connection), wish).await;
    let guarded = json!({"SetMemoryPasswords": {"NewReadPassword": "a", "NewWritePassword": "b"}});
    assert_eq!(ask(guarded).await.status, 200);
    let wrong = json!({"WipeMemory": {"Password": "0000-0000-0000-0000"}});
    check_refused(&ask(wrong).await, 403, "EMemoryPassword");
    let password = licence_core::developer_password::developer_password(&OBJECT_SECRET);
    let right = json!({"WipeMemory": {"Password": password.to_lowercase()}});
    assert_eq!(ask(right).await.status, 200);
    assert_eq!(text(&ask(json!({"ReadMemory": {}})).await, "Memory"), "");
}
