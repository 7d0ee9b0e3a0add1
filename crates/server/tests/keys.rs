//! What an administrator does with keys, against a real centre in this process: install by code and
//! by file, fetch what was lost, give back for a reserve code and install elsewhere, remove,
//! reserve by an access code.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod centre;
#[path = "keys/kinds.rs"]
mod kinds;
#[path = "keys/returns.rs"]
mod returns;
mod support;

use std::path::PathBuf;

use centre::Vendor;
use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::centre_request::{
    AnswerFile, CentreAnswer, LicencesAnswer, LicencesRequest, ReturnAnswer, ReturnReceipt,
    ReturnRequest,
};
use licence_core::key::{KeyNo, KeySeries};
use licence_core::licence_file::{Licence, LicenceClaims};
use licence_core::seal::{PublicKey, SigningKey};
use licence_core::series::SeriesDescriptor;
use licencecentre::decide::Asked;
use licencecentre::store::{Activation, Asker};
use licenceserver::access::Actor;
use licenceserver::keyring::Keyring;
use serde_json::{Value, json};
use support::{Answered, SERIES, Server, descriptor, licence, series_key, start, start_as};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const ONE: [u8; 32] = [21; 32];
const TWO: [u8; 32] = [22; 32];

/// A server that knows where its vendor's centre is.
fn server_of(vendor: &Vendor, seed: [u8; 32]) -> Server {
    start_as(seed, "", Some(&vendor.descriptor()), &[])
}

async fn install(server: &Server, code: ActivationCode) -> Answered {
    let body = json!({"ActivationCodeString": code.to_string(), "ITN": "0123456789"});
    server.call("POST", "/api/licences", &body.to_string()).await
}

/// Sells a key and installs it by its code; the key's number.
async fn installed(vendor: &Vendor, server: &Server) -> u64 {
    let code = vendor.sell(json!({})).await;
    let answer = install(server, code).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()["KeyNo"].as_u64().unwrap()
}

async fn request_file(server: &Server, body: Value) -> (String, String) {
    let answer = server.call("POST", "/api/licences/request", &body.to_string()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let text = |name: &str| answer.json()[name].as_str().unwrap().to_owned();
    (text("Request"), text("FileName"))
}

async fn take_answer(server: &Server, text: &str) -> Answered {
    server.call("POST", "/api/licences/answer", &json!({ "Answer": text }).to_string()).await
}

async fn numbers(server: &Server) -> Vec<u64> {
    let all = server.call("GET", "/api/licences", "").await.json();
    all["Licences"].as_array().unwrap().iter().map(|one| one["KeyNo"].as_u64().unwrap()).collect()
}

fn refused(answer: &Answered) -> (u16, String) {
    (answer.status, answer.json()["Exception"].as_str().unwrap().to_owned())
}

fn key_files(server: &Server) -> Vec<String> {
    let folder = std::fs::read_dir(server.app.paths.keys()).unwrap();
    let mut names: Vec<_> =
        folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "returned.json");
    names.sort();
    names
}

/// Lines of the audit trail: what was done to which key, and the rest of the line as text.
fn audit(server: &Server) -> Vec<(String, String, String)> {
    let database = rusqlite::Connection::open(server.app.paths.database()).unwrap();
    let mut lines = database
        .prepare("SELECT reason, subject, detail FROM history WHERE event = 'audit' ORDER BY no")
        .unwrap();
    let lines = lines.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    lines.map(Result::unwrap).collect()
}

fn audited(server: &Server) -> Vec<(String, String)> {
    audit(server).into_iter().map(|(action, subject, _)| (action, subject)).collect()
}

fn line(action: &str, key_no: u64) -> (String, String) {
    (action.to_owned(), key_no.to_string())
}

/// Reasons for which the sessions of a connection are gone.
async fn gone(server: &Server, connection: &str) -> Vec<String> {
    let sessions: Vec<String> = Vec::new();
    let message = json!({"Connection": connection, "Sessions": sessions});
    let answer = server.message("/client/v1/heartbeat", &message).await.json();
    let gone = answer["Gone"].as_array().cloned().unwrap_or_default();
    gone.iter().map(|gone| gone["Reason"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn key_given_back_is_installed_on_another_server_by_its_reserve_code() {
    let vendor = Vendor::open().await;
    let (old, new) = (server_of(&vendor, ONE), server_of(&vendor, TWO));
    let key_no = installed(&vendor, &old).await;
    let connection = old.connect().await;
    let session = old.open(&connection, 2).await.json()["ID"].as_str().unwrap().to_owned();
    let path = format!("/api/licences/{key_no}/reservecode");
    let body = json!({"Reason": "переезд", "Comment": "новый\nсервер"}).to_string();
    let answer = old.call("POST", &path, &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.json()["KeyNo"], key_no);
    let reserve: ActivationCode = answer.json()["ReserveCode"].as_str().unwrap().parse().unwrap();
    assert_eq!(reserve.kind(), CodeKind::Reserve);
    assert_eq!(numbers(&old).await, Vec::<u64>::new());
    let names = key_files(&old);
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(names[0].starts_with(&format!("672B.{key_no}.licence.removed-")), "{names:?}");
    // The session that sat on the key has lost its seat, and its holder learns why.
    assert_eq!(old.call("GET", &format!("/api/sessions/{session}"), "").await.status, 404);
    let message = json!({"Connection": connection, "Sessions": [session]});
    let told = old.message("/client/v1/heartbeat", &message).await.json();
    assert_eq!(told["Gone"][0]["Reason"], "key_gone", "{told}");
    let wanted = ["key_install", "key_aside", "key_return"].map(|action| line(action, key_no));
    assert_eq!(audited(&old), wanted);
    for (_, _, detail) in audit(&old) {
        assert!(!detail.contains(&reserve.to_string()), "{detail}");
    }
    assert!(audit(&old)[2].2.contains("переезд: новый сервер"));
    // Whoever has not seen the answer asks again, and that leaves a line.
    let again = old.call("POST", &path, "{}").await;
    assert_eq!((again.status, &again.json()["ReserveCode"]), (201, &json!(reserve.to_string())));
    assert_eq!(audited(&old).last(), Some(&line("key_return", key_no)));
    assert_eq!(audited(&old).len(), wanted.len() + 1);
    let moved = install(&new, reserve).await;
    assert_eq!(moved.status, 201, "{moved:?}");
    let moved = moved.json();
    assert_eq!((&moved["KeyNo"], &moved["LicenceCount"]), (&json!(key_no), &json!(2)));
    assert_eq!((&moved["Recovered"], &moved["Enabled"]), (&json!(true), &json!(true)));
    assert!(moved["UpdateDate"].is_string(), "{moved}");
    assert_eq!(refused(&install(&old, reserve).await), (400, "ECodeUsed".into()));
}

#[tokio::test]
async fn key_is_installed_by_files_alone() {
    let vendor = Vendor::open().await;
    // Not even the series is known here, nor where its centre is.
    let server = start_as(ONE, "", None, &[]);
    let code = vendor.sell(json!({"SupportPeriod": 365, "ProductVersionName": "ПРОФ"})).await;
    let order = json!({"Kind": "activation", "ActivationCodeString": code.to_string()});
    let (request, name) = request_file(&server, order).await;
    assert!(name.starts_with("672B.20") && name.ends_with(".request"), "{name}");
    let answer = vendor.carry(&request).await;
    let taken = take_answer(&server, &answer).await;
    assert_eq!(taken.status, 201, "{taken:?}");
    let taken = taken.json();
    assert_eq!((&taken["ReserveCode"], &taken["Removed"]), (&Value::Null, &Value::Null));
    let view = &taken["Licences"][0];
    assert_eq!((&view["Enabled"], &view["Recovered"]), (&json!(true), &json!(false)));
    assert_eq!((&view["SupportPeriod"], &view["SupportDate"]), (&json!(365), &Value::Null));
    assert_eq!(view["ProductVersionName"], "ПРОФ");
    let key_no = view["KeyNo"].as_u64().unwrap();
    assert_eq!(audited(&server), [line("key_install", key_no)]);
    // The file itself may be the body, and the bare licence an answer.
    let again = server.call("POST", "/api/licences/answer", &answer).await;
    assert_eq!(again.status, 201, "{again:?}");
    let file: AnswerFile = serde_json::from_str(&answer).unwrap();
    let CentreAnswer::Activation(activation) = file.answer else { panic!("{answer}") };
    assert_eq!(take_answer(&server, &activation.licence).await.status, 201);
    assert_eq!(numbers(&server).await, [key_no]);
}

#[tokio::test]
async fn lost_licence_comes_back_with_an_update_and_nothing_else_changes() {
    let vendor = Vendor::open().await;
    let server = server_of(&vendor, ONE);
    let (lost, kept) = (installed(&vendor, &server).await, installed(&vendor, &server).await);
    installed(&vendor, &server_of(&vendor, TWO)).await;
    let update = async || server.call("POST", "/api/licences/update", "{}").await;
    let answer = update().await;
    assert_eq!((answer.status, answer.json()), (202, json!({"Licences": [], "Ended": []})));
    // A folder that was restored from an old copy: the identity is there, a licence is not.
    let fresh = server_of(&vendor, ONE);
    let answer = fresh.call("POST", "/api/licences/update", "").await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.json()["Licences"].as_array().unwrap().len(), 2);
    assert_eq!(numbers(&fresh).await, [lost, kept]);
    let mut wanted = vec![line("key_update", kept), line("key_update", lost)];
    wanted.sort();
    let mut found = audited(&fresh);
    found.sort();
    assert_eq!(found, wanted);
    // A key that was removed here is still ours at the centre.
    assert_eq!(server.call("DELETE", &format!("/api/licences/{lost}"), "").await.status, 202);
    let answer = update().await.json();
    assert_eq!(answer["Licences"][0]["KeyNo"], lost);
    assert_eq!(answer["Licences"].as_array().unwrap().len(), 1);
    // The same by files.
    assert_eq!(server.call("DELETE", &format!("/api/licences/{kept}"), "").await.status, 202);
    let (request, name) = request_file(&server, json!({"Kind": "update"})).await;
    assert!(name.starts_with("licences.20"), "{name}");
    assert!(LicencesRequest::verify(&request).is_ok());
    let taken = take_answer(&server, &vendor.carry(&request).await).await.json();
    assert_eq!(taken["Licences"][0]["KeyNo"], kept);
    assert_eq!(numbers(&server).await, [lost, kept]);
}

#[tokio::test]
async fn update_without_a_centre_says_so() {
    let server = start("");
    let answer = server.call("POST", "/api/licences/update", "").await;
    assert_eq!(refused(&answer), (400, "ELicenceCentreUnknown".into()));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = start_as(ONE, "", Some(&descriptor(Some(format!("http://{closed}")))), &[]);
    let answer = server.call("POST", "/api/licences/update", "").await;
    assert_eq!(refused(&answer), (500, "ELicenceCentreUnavailable".into()));
}

#[tokio::test]
async fn key_is_given_back_by_files_and_the_same_answer_twice_does_no_harm() {
    let vendor = Vendor::open().await;
    let server = server_of(&vendor, ONE);
    let key_no = installed(&vendor, &server).await;
    let order = json!({"Kind": "return", "KeyNo": key_no, "Reason": "продажа"});
    let (request, name) = request_file(&server, order).await;
    assert!(name.starts_with("672B.20"), "{name}");
    let (asked, _) = ReturnRequest::verify(&request).unwrap();
    assert_eq!(asked.note.as_deref(), Some("продажа"));
    assert_eq!(numbers(&server).await, Vec::<u64>::new(), "the request is as good as the key");
    let (answer, repeated) = (vendor.carry(&request).await, vendor.carry(&request).await);
    assert_eq!(answer, repeated, "a lost answer is given again");
    let taken = take_answer(&server, &answer).await.json();
    assert_eq!(taken["Removed"], key_no);
    let reserve = taken["ReserveCode"].as_str().unwrap().to_owned();
    assert_eq!(numbers(&server).await, Vec::<u64>::new());
    let again = take_answer(&server, &answer).await;
    assert_eq!((again.status, &again.json()["Removed"]), (201, &Value::Null));
    assert_eq!(again.json()["ReserveCode"], reserve);
    // Back on this server, the old answer must not take the key away once more.
    assert_eq!(install(&server, reserve.parse().unwrap()).await.status, 201);
    assert_eq!(take_answer(&server, &answer).await.json()["Removed"], Value::Null);
    assert_eq!(numbers(&server).await, [key_no]);
}

#[tokio::test]
async fn answer_that_is_wrong_or_forged_changes_nothing() {
    let server = start("");
    let check = async |text: &str, class: &str| {
        assert_eq!(refused(&take_answer(&server, text).await), (400, class.into()), "{text}");
    };
    check("nonsense", "EAnswerInvalid").await;
    check("{}", "EAnswerInvalid").await;
    check(r#"{"Answer":{"Kind":"gift"}}"#, "EAnswerInvalid").await;
    let elsewhere = licence(SigningKey::from_seed(&TWO).public(), 5, 1);
    check(&elsewhere, "EBoundElsewhere").await;
    let update =
        LicencesAnswer { licences: vec![elsewhere, "x".into()], ..LicencesAnswer::default() };
    let file = |answer| serde_json::to_string(&AnswerFile { answer }).unwrap();
    check(&file(CentreAnswer::Update(update)), "EBoundElsewhere").await;
    let reserve_code = ActivationCode::encode(CodeKind::Reserve, descriptor(None).series, 1);
    let receipt = |key: &SigningKey| {
        let now = "2026-01-01T00:00:00.000Z".parse().unwrap();
        let (key_no, series) = (KeyNo(7_131_766), descriptor(None).series);
        ReturnReceipt::new("l7131766".into(), now, key_no, series, reserve_code).sign(key).unwrap()
    };
    let returned = |receipt: String| {
        let key_no = KeyNo(7_131_766);
        file(CentreAnswer::Return(ReturnAnswer { key_no, reserve_code, receipt }))
    };
    check(&returned("x".into()), "EReceiptInvalid").await;
    let stranger = SigningKey::from_seed(&TWO);
    check(&returned(receipt(&stranger)), "EReceiptInvalid").await;
    for body in ["", "{}", r#"{"Answer":5}"#, r#"{"Answer":null}"#, "{"] {
        let answer = server.call("POST", "/api/licences/answer", body).await;
        assert_eq!(refused(&answer), (400, "EHTTPBadRequest".into()), "{body}");
    }
    assert_eq!(numbers(&server).await, [7_131_766]);
    assert_eq!(audited(&server), []);
    // The same answer, signed by the series, is taken.
    let taken = take_answer(&server, &returned(receipt(&series_key()))).await;
    assert_eq!(taken.json()["Removed"], 7_131_766, "{taken:?}");
}

#[tokio::test]
async fn request_that_cannot_be_made_is_refused_by_name() {
    let server = start("");
    let check = async |body: Value, status: u16, text: &str| {
        let answer = server.call("POST", "/api/licences/request", &body.to_string()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(answer.body.contains(text), "{body}: {}", answer.body);
    };
    check(json!({}), 400, "Kind").await;
    check(json!({"Kind": "gift"}), 400, "Kind").await;
    check(json!({"Kind": "activation"}), 400, "ActivationCodeString").await;
    check(json!({"Kind": "return"}), 400, "KeyNo").await;
    check(json!({"Kind": "return", "KeyNo": "x"}), 400, "KeyNo").await;
    check(json!({"Kind": "return", "KeyNo": 99_999_999_999_u64}), 400, "KeyNo").await;
    check(json!({"Kind": "return", "KeyNo": 5}), 404, "EKeyNotFound").await;
}

#[tokio::test]
async fn removed_key_ends_its_sessions_and_its_file_is_put_aside() {
    let server = start("");
    let connection = server.connect().await;
    let session = server.open(&connection, 2).await.json()["ID"].as_str().unwrap().to_owned();
    let file = server.app.paths.keys().join(format!("{SERIES:04X}.7131766.licence"));
    // A second copy of the licence would bring the key back at the next start.
    let copy: PathBuf = file.with_file_name("copy.licence");
    std::fs::copy(&file, &copy).unwrap();
    let answer = server.call("DELETE", "/api/licences/7131766", r#"{"Reason": "ошибка"}"#).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let view = answer.json();
    assert_eq!((&view["KeyNo"], &view["Enabled"]), (&json!(7_131_766), &json!(false)));
    assert!(!file.exists());
    assert!(std::path::Path::new(view["FileName"].as_str().unwrap()).exists(), "{view}");
    assert_eq!(server.call("GET", "/api/licences/7131766", "").await.status, 404);
    let message = json!({"Connection": connection, "Sessions": [session]});
    let told = server.message("/client/v1/heartbeat", &message).await.json();
    assert_eq!(told["Gone"][0]["Reason"], "key_gone", "{told}");
    assert_eq!(gone(&server, &connection).await, Vec::<String>::new());
    let again = server.call("DELETE", "/api/licences/7131766", "").await;
    assert_eq!(refused(&again), (404, "EKeyNotFound".into()));
    assert_eq!(server.call("DELETE", "/api/licences/x", "").await.status, 404);
    assert_eq!(audited(&server), [line("key_remove", 7_131_766)]);
    assert!(audit(&server)[0].2.contains("ошибка"));
}

#[tokio::test]
async fn access_code_reserves_a_key_at_once_and_is_told_to_nobody() {
    let server = start("");
    let connection = server.connect().await;
    let actor = Actor::server();
    let handle = &server.app.handle;
    let key_no = KeyNo(7_131_766);
    let changed = handle.set_access_code(key_no, Some("secret".into()), &actor).await.unwrap();
    assert_eq!(changed.unwrap().key_no, Some(key_no));
    assert_ne!(server.open(&connection, 2).await.status, 200);
    handle.set_access_code(key_no, None, &actor).await.unwrap();
    assert_eq!(server.open(&connection, 2).await.status, 200);
    assert_eq!(handle.set_access_code(KeyNo(5), None, &actor).await.unwrap(), None);
    assert_eq!(audited(&server), [line("access_code", 7_131_766), line("access_code", 7_131_766)]);
    for (_, _, detail) in audit(&server) {
        assert!(!detail.contains("secret"), "{detail}");
    }
}

#[tokio::test]
async fn access_code_that_cannot_be_set_is_refused_by_name() {
    let server = start("");
    let check = async |path: &str, body: Value, status: u16, text: &str| {
        let answer = server.call("PUT", path, &body.to_string()).await;
        assert_eq!(answer.status, status, "{path} {body}: {answer:?}");
        assert!(answer.body.contains(text), "{path} {body}: {}", answer.body);
    };
    let path = "/api/licences/7131766";
    check(path, json!({}), 400, "AccessCode").await;
    check(path, json!({"AccessCode": 5}), 400, "AccessCode").await;
    check(path, json!({"AccessCode": "a\nb"}), 400, "AccessCode").await;
    check(path, json!({"AccessCode": "x".repeat(65)}), 400, "AccessCode").await;
    check("/api/licences/5", json!({"AccessCode": "x"}), 404, "EKeyNotFound").await;
    check("/api/licences/x", json!({"AccessCode": "x"}), 404, "EHTTPNotFound").await;
    let server = start("[Console]\nEnableAccessCodes=0\n");
    let answer = server.call("PUT", path, r#"{"AccessCode": "x"}"#).await;
    assert_eq!(refused(&answer), (400, "EAccessCodesDisabled".into()));
}

/// A centre that gives these answers (path, body), each as often as it is asked, and breaks off at
/// any other address.
async fn actor(answers: Vec<(&'static str, String)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = Vec::new();
            let mut part = [0; 4096];
            loop {
                let count = stream.read(&mut part).await.unwrap_or(0);
                asked.extend_from_slice(&part[..count]);
                let text = String::from_utf8_lossy(&asked).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    assert_ne!(count, 0, "{text}");
                    continue;
                };
                let is_whole = head.starts_with("GET") || body.ends_with('}') || count == 0;
                if !is_whole {
                    continue;
                }
                let path = head.split(' ').nth(1).unwrap();
                if let Some((_, body)) = answers.iter().find(|(known, _)| *known == path) {
                    let length = body.len();
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                    stream.write_all((head + body).as_bytes()).await.unwrap();
                }
                break;
            }
        }
    });
    url
}

/// A licence of a series that is not the test series, and that series.
fn foreign(holder: PublicKey) -> (String, SeriesDescriptor) {
    let key = SigningKey::from_seed(&[33; 32]);
    let own = Licence::verify(&licence(holder, 5, 1), &series_key().public()).unwrap().claims;
    let mut fields = own.fields;
    fields.key_id = KeySeries::from_u16(0x1234);
    let activated = fields.activation_date;
    let document = LicenceClaims::new("f1".into(), activated, holder, fields).sign(&key).unwrap();
    let known = descriptor(None);
    let series = SeriesDescriptor::new(
        KeySeries::from_u16(0x1234),
        "Чужая серия".into(),
        None,
        key.public(),
        known.keys.keys[1].clone(),
    );
    (document, series)
}

#[tokio::test]
async fn centre_has_no_say_about_series_that_are_not_its_own() {
    let holder = SigningKey::from_seed(&ONE).public();
    let (document, series) = foreign(holder);
    let offered = json!({"Licences": [document], "Series": [series]}).to_string();
    let sold = json!({"Licence": document, "Series": series}).to_string();
    let url = actor(vec![("/api/licences", offered), ("/api/activations", sold)]).await;
    let server = start_as(ONE, "", Some(&descriptor(Some(url.clone()))), &[]);
    let answer = server.call("POST", "/api/licences/update", "").await;
    assert_eq!((answer.status, answer.json()), (202, json!({"Licences": [], "Ended": []})));
    assert_eq!(refused(&install(&server, support::code(1)).await), (400, "ELicenceInvalid".into()));
    assert_eq!(numbers(&server).await, Vec::<u64>::new());
    // The centre that the settings name may bring a series that is not known yet.
    let conf = format!("[Common]\nLicenceCenterUrl={url}\n");
    let server = start_as(ONE, &conf, None, &[]);
    let answer = server.call("POST", "/api/licences/update", "").await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(numbers(&server).await, [5]);
}

#[tokio::test]
async fn activation_code_is_shown_to_administrators_only() {
    let server = start("[Users]\nivan=reader;ivan password\n");
    for path in ["/api/licences", "/api/licences/7131766"] {
        let shown = async |credentials: &str| {
            let mut request = support::request("GET", path, "");
            let credentials = support::basic(credentials).parse().unwrap();
            request.headers_mut().insert("Authorization", credentials);
            let answer = server.send(support::LOCAL, request).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            let one = answer.json();
            one.get("Licences").map_or_else(|| one.clone(), |all| all[0].clone())["ActivationCode"]
                .clone()
        };
        assert_eq!(shown("ivan:ivan password").await, Value::Null, "{path}");
        assert!(shown("admin:admin").await.is_string(), "{path}");
    }
}

#[tokio::test]
async fn older_licence_does_not_replace_a_later_one() {
    let server = start("");
    let issued = |seats: u32, at: &str| {
        let document = licence(server.identity.public(), 7_131_766, seats);
        let mut claims = Licence::verify(&document, &series_key().public()).unwrap().claims;
        claims.iat = at.parse::<licence_core::time::Utc>().unwrap().unix_seconds();
        claims.jti = format!("l{seats}");
        claims.sign(&series_key()).unwrap()
    };
    let (old, new) =
        (issued(50, "2025-01-01T00:00:00.000Z"), issued(2, "2026-01-01T00:00:00.000Z"));
    assert_eq!(take_answer(&server, &new).await.status, 201);
    assert_eq!(refused(&take_answer(&server, &old).await), (400, "ELicenceOlder".into()));
    let seats = async || {
        server.call("GET", "/api/licences/7131766", "").await.json()["LicenceCount"].clone()
    };
    assert_eq!(seats().await, 2);
    // Nor does it by lying beside it under a name that comes first.
    let copy = server.app.paths.keys().join("0.licence");
    std::fs::write(copy, &old).unwrap();
    let series = server.app.paths.series("licence.series");
    let (folder, own) = (server.app.paths.keys(), server.identity.public());
    let keyring = Keyring::load(folder, series, own, Default::default()).unwrap();
    assert_eq!(keyring.protection_keys()[0].seats, 2);
    // The same again does no harm.
    assert_eq!(take_answer(&server, &new).await.status, 201);
}

#[tokio::test]
async fn update_brings_the_object_key_to_a_licence_that_has_none_and_sessions_go_on() {
    let vendor = Vendor::open().await;
    let server = server_of(&vendor, ONE);
    // As a server of an earlier version has activated it.
    let activation = Activation {
        code: vendor.sell(json!({})).await,
        asked: Asked {
            holder: server.identity.public().into(),
            server: server.identity.public(),
            attested: false,
            protection: None,
            membership: Default::default(),
            enc: None,
            itn: None,
            iec: None,
        },
        asker: Asker {
            computer_id: server.app.host.computer_id.clone(),
            server_version: "3.0".into(),
            mark: None,
            is_read_out: false,
        },
    };
    let by = licencecentre::access::Actor { name: "server".into(), role: None, from: None };
    let now = licencecentre::clock::utc_now();
    let old = vendor.books.activate(activation, by, now).await.unwrap().licence;
    server.app.handle.install(old, None).await.unwrap();
    let series = KeySeries::from_u16(SERIES);
    assert!(server.app.handle.series_key(series).await.unwrap().is_none());
    let connection = server.connect().await;
    let session = server.open(&connection, 1).await.json()["ID"].clone();
    let answer = server.call("POST", "/api/licences/update", "").await;
    assert_eq!(answer.json()["Licences"].as_array().unwrap().len(), 1, "{answer:?}");
    let key = server.app.handle.series_key(series).await.unwrap().unwrap();
    assert_eq!(Some(*key.public()), vendor.descriptor().object_key());
    let touch = json!({"Connection": connection, "Session": session});
    assert_eq!(server.message("/client/v1/touch", &touch).await.status, 200);
    // What has it needs no other.
    let answer = server.call("POST", "/api/licences/update", "").await;
    assert_eq!(answer.json(), json!({"Licences": [], "Ended": []}));
}

#[tokio::test]
async fn activation_online_and_by_file_brings_the_object_key() {
    let vendor = Vendor::open().await;
    let series = KeySeries::from_u16(SERIES);
    let (online, by_file) = (server_of(&vendor, ONE), server_of(&vendor, TWO));
    installed(&vendor, &online).await;
    let code = vendor.sell(json!({})).await;
    let asked = json!({"Kind": "activation", "ActivationCodeString": code.to_string()});
    let (request, _) = request_file(&by_file, asked).await;
    let answer = vendor.carry(&request).await;
    assert_eq!(take_answer(&by_file, &answer).await.status, 201);
    for server in [&online, &by_file] {
        let key = server.app.handle.series_key(series).await.unwrap().unwrap();
        assert_eq!(Some(*key.public()), vendor.descriptor().object_key());
    }
}
