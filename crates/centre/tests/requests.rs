//! Keys that are given back, moved and asked for again, over loopback: as licence servers see it
//! online, and as a person with a request file.

#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

mod support;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::centre_request::{
    AnswerFile, CentreAnswer, LicencesAnswer, LicencesRequest, ReturnAnswer, ReturnReceipt,
    ReturnRequest,
};
use licence_core::key::KeyNo;
use licence_core::licence_file::{Confirmation, Licence};
use licence_core::seal::{SigningKey, hex_upper};
use licence_core::short_text::ShortRequest;
use serde_json::json;
use support::{Answer, Running, now, request, secret, series_key, server, turn_clock_forward};

/// Turned by one test at a time, while no other runs: a request is made by the same clock that
/// then judges it.
static CLOCK: RwLock<()> = RwLock::new(());

fn standing() -> RwLockReadGuard<'static, ()> {
    CLOCK.read().unwrap_or_else(PoisonError::into_inner)
}

fn turning() -> RwLockWriteGuard<'static, ()> {
    CLOCK.write().unwrap_or_else(PoisonError::into_inner)
}

fn licence_of(answer: &Answer) -> Licence {
    assert!([200, 201].contains(&answer.status), "{answer:?}");
    Licence::verify(answer.body["Licence"].as_str().unwrap(), &series_key()).unwrap()
}

fn computer(key: &SigningKey) -> String {
    hex_upper(&key.public().as_bytes()[..20])
}

fn question(key: &SigningKey) -> LicencesRequest {
    LicencesRequest::new("u1".into(), now(), key, computer(key), "4.0.0".into())
}

fn giving_back(key: &SigningKey, licence: &Licence) -> ReturnRequest {
    ReturnRequest {
        jti: "b1".into(),
        iat: now().unix_seconds(),
        aud: None,
        cnf: Confirmation { jwk: key.public().jwk() },
        key_no: licence.fields().key_no,
        key_id: licence.fields().key_id,
        activation: licence.claims.jti.clone(),
        reason: None,
        note: Some("новый сервер".into()),
        token: None,
        computer_id: computer(key),
        server_version: "4.0.0".into(),
    }
}

fn post(centre: &Running, path: &str, token: String) -> Answer {
    centre.send("POST", path, "", &json!({ "Request": token }).to_string())
}

fn give_back(centre: &Running, key: &SigningKey, licence: &Licence) -> Answer {
    post(centre, "/api/returns", giving_back(key, licence).sign(key).unwrap())
}

fn reserve_code(answer: &Answer) -> ActivationCode {
    assert!([200, 201].contains(&answer.status), "{answer:?}");
    answer.body["ReserveCode"].as_str().unwrap().parse().unwrap()
}

fn held(centre: &Running, key: &SigningKey) -> Vec<KeyNo> {
    let answer = post(centre, "/api/licences", question(key).sign(key).unwrap());
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer: LicencesAnswer = serde_json::from_value(answer.body).unwrap();
    assert_eq!(answer.series.is_empty(), answer.licences.is_empty());
    let number = |document: &String| {
        let licence = Licence::verify(document, &series_key()).unwrap();
        assert_eq!(licence.holder, key.public().into());
        licence.fields().key_no
    };
    answer.licences.iter().map(number).collect()
}

fn refused(answer: &Answer) -> (u16, String) {
    (answer.status, answer.exception())
}

#[test]
fn returned_key_is_the_same_key_on_another_server_and_its_term_keeps_its_end() {
    let _clock = turning();
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let code = centre.code(json!({
        "Seats": 7, "Period": 30, "ITN": "0123456789", "ProductVersionName": "ПРОФ",
        "SupportDate": "2026-01-01T00:00:00.000Z", "SupportPeriod": 365,
        "IndustrySupportDate": "2026-02-01T00:00:00.000Z", "IndustrySupportPeriod": 180,
    }));
    let owned = |key: &SigningKey, code| {
        let mut asked = request(key, code);
        asked.itn = Some("123456789".into());
        centre.activate(&asked, key)
    };
    let old = licence_of(&owned(&server(5), code));
    assert_eq!((old.fields().support.recovered, old.updated()), (false, None));
    let returned = give_back(&centre, &server(5), &old);
    assert_eq!(returned.status, 201);
    let reserve = reserve_code(&returned);
    assert_eq!(reserve.kind(), CodeKind::Reserve);
    let receipt = returned.body["Receipt"].as_str().unwrap();
    let receipt = ReturnReceipt::verify(receipt, &series_key()).unwrap();
    assert_eq!((receipt.key_no, receipt.reserve_code), (old.fields().key_no, reserve));
    assert_eq!(receipt.jti, old.claims.jti);
    turn_clock_forward(1);
    let moved = owned(&server(6), reserve);
    assert_eq!(moved.status, 201, "{moved:?}");
    let new = licence_of(&moved);
    assert_eq!(new.holder, server(6).public().into());
    assert_eq!((new.fields().key_no, new.fields().licence_count), (old.fields().key_no, 7));
    assert_eq!(new.fields().term().end(), old.fields().term().end());
    assert!(new.fields().term().end().is_some());
    assert_eq!(new.fields().activation_code, reserve);
    assert_eq!(new.fields().itn.as_deref(), Some("0123456789"));
    assert!(new.fields().support.recovered && new.updated().is_some());
    assert_eq!(new.fields().support.product_version_name.as_deref(), Some("ПРОФ"));
    assert_eq!(new.fields().support.support_period, Some(365));
    assert_eq!(new.fields().support.industry_support_period, Some(180));
    assert_ne!(new.claims.jti, old.claims.jti);
    // Each code is spent, each server gets what is its own again.
    assert_eq!(refused(&owned(&server(5), code)), (409, "EKeyReturned".into()));
    assert_eq!(refused(&owned(&server(5), reserve)), (409, "ECodeUsed".into()));
    let again = owned(&server(6), reserve);
    assert_eq!((again.status, licence_of(&again)), (200, new));
}

#[test]
fn return_that_is_sent_again_brings_the_same_code_and_never_takes_the_key_once_more() {
    let _clock = standing();
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let code = centre.code(json!({}));
    let first = licence_of(&centre.activate(&request(&server(5), code), &server(5)));
    let token = giving_back(&server(5), &first).sign(&server(5)).unwrap();
    let returned = post(&centre, "/api/returns", token.clone());
    let again = post(&centre, "/api/returns", token.clone());
    assert_eq!((returned.status, again.status), (201, 200));
    assert_eq!(returned.body, again.body);
    assert_eq!(held(&centre, &server(5)), []);
    // The key comes back to the very server that gave it away.
    let reserve = reserve_code(&returned);
    let second = licence_of(&centre.activate(&request(&server(5), reserve), &server(5)));
    let replayed = post(&centre, "/api/returns", token);
    assert_eq!((replayed.status, reserve_code(&replayed)), (200, reserve));
    assert_eq!(held(&centre, &server(5)), [second.fields().key_no]);
    // And may be given back for another code.
    let other = reserve_code(&give_back(&centre, &server(5), &second));
    assert_ne!(other, reserve);
    let list = centre.send("GET", "/api/orders", &centre.token, "").body;
    let shown = &list["Orders"][0]["Codes"][0];
    assert_eq!(shown["State"], "Returned");
    assert_eq!(shown["ReserveCode"], other.to_string());
}

#[test]
fn key_of_somebody_else_of_a_demo_or_of_a_revoked_order_is_not_taken_back() {
    let _clock = standing();
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let code = centre.code(json!({}));
    let licence = licence_of(&centre.activate(&request(&server(5), code), &server(5)));
    let not_found = (404, "EKeyNotFound".to_owned());
    assert_eq!(refused(&give_back(&centre, &server(6), &licence)), not_found);
    let mut odd = giving_back(&server(5), &licence);
    odd.activation = "0123".into();
    let token = odd.sign(&server(5)).unwrap();
    assert_eq!(refused(&post(&centre, "/api/returns", token)), not_found);
    let mut odd = giving_back(&server(5), &licence);
    odd.key_no = KeyNo(licence.fields().key_no.0 + 1);
    let token = odd.sign(&server(5)).unwrap();
    assert_eq!(refused(&post(&centre, "/api/returns", token)), not_found);
    let mut odd = giving_back(&server(5), &licence);
    odd.note = Some("x".repeat(501));
    let token = odd.sign(&server(5)).unwrap();
    assert_eq!(refused(&post(&centre, "/api/returns", token)), (400, "EHTTPBadRequest".into()));
    let forged = giving_back(&server(5), &licence).sign(&server(6)).unwrap();
    let answer = post(&centre, "/api/returns", forged);
    assert_eq!(refused(&answer), (400, "ERequestNotGenuine".into()));
    let demo = centre.code(json!({"Kind": "demo"}));
    let demo = licence_of(&centre.activate(&request(&server(7), demo), &server(7)));
    assert_eq!(refused(&give_back(&centre, &server(7), &demo)), (403, "EDemoKey".into()));
    let order = centre.order(json!({}));
    let sold = licence_of(&centre.activate(&request(&server(8), order.codes[0].code), &server(8)));
    let path = format!("/api/orders/{}/revoke", order.order_id);
    assert_eq!(centre.send("POST", &path, &centre.token, "").status, 200);
    assert_eq!(refused(&give_back(&centre, &server(8), &sold)), (403, "ECodeRevoked".into()));
    // After all that the key is still where it was.
    assert_eq!(held(&centre, &server(5)), [licence.fields().key_no]);
    assert_eq!(held(&centre, &server(8)), []);
}

#[test]
fn server_gets_all_its_current_licences_again_and_nobody_elses() {
    let _clock = turning();
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let order = centre.order(json!({"Count": 3}));
    let activate =
        |seed, code| licence_of(&centre.activate(&request(&server(seed), code), &server(seed)));
    let one = activate(5, order.codes[0].code);
    let two = activate(5, order.codes[1].code);
    activate(6, order.codes[2].code);
    let short = centre.code(json!({"Period": 2}));
    let ended = activate(5, short);
    let numbers = |licences: &[&Licence]| -> Vec<KeyNo> {
        licences.iter().map(|licence| licence.fields().key_no).collect()
    };
    assert_eq!(held(&centre, &server(5)), numbers(&[&ended, &two, &one]));
    turn_clock_forward(2);
    assert_eq!(held(&centre, &server(5)), numbers(&[&two, &one]));
    give_back(&centre, &server(5), &one);
    assert_eq!(held(&centre, &server(5)), numbers(&[&two]));
    assert_eq!(held(&centre, &server(9)), []);
}

#[test]
fn request_that_was_read_out_needs_no_token_and_brings_the_same_lines_again() {
    let _clock = standing();
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let ask = |seed, code| {
        let holder = server(seed).public();
        let request =
            ShortRequest { code, holder, computer_id: "D3".repeat(20), itn: None, iec: None };
        post(&centre, "/api/short", request.encode().unwrap())
    };
    let code = centre.code(json!({}));
    let first = ask(5, code);
    assert_eq!(first.status, 201, "{first:?}");
    let again = ask(5, code);
    assert_eq!((again.status, &again.body["Answer"]), (200, &first.body["Answer"]));
    assert_eq!(refused(&ask(6, code)), (409, "ECodeUsed".into()));
    let wrong = post(&centre, "/api/short", "XXXX".into());
    assert_eq!(refused(&wrong), (400, "EShortText".into()));
}

#[test]
fn reserve_code_of_a_key_whose_term_has_ended_installs_nothing() {
    let _clock = turning();
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let code = centre.code(json!({"Period": 2}));
    let licence = licence_of(&centre.activate(&request(&server(5), code), &server(5)));
    let reserve = reserve_code(&give_back(&centre, &server(5), &licence));
    turn_clock_forward(2);
    let answer = centre.activate(&request(&server(6), reserve), &server(6));
    assert_eq!(refused(&answer), (403, "ECodeRevoked".into()));
}

#[test]
fn old_request_for_anything_but_an_activation_is_refused() {
    let _clock = turning();
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let code = centre.code(json!({}));
    let activation = request(&server(5), code).sign(&server(5)).unwrap();
    let question = question(&server(5)).sign(&server(5)).unwrap();
    turn_clock_forward(31);
    let licence = licence_of(&centre.post_request(activation));
    let stale = (400, "ERequestExpired".to_owned());
    assert_eq!(refused(&post(&centre, "/api/licences", question)), stale);
    let giving_back = giving_back(&server(5), &licence).sign(&server(5)).unwrap();
    turn_clock_forward(8);
    assert_eq!(refused(&post(&centre, "/api/returns", giving_back.clone())), stale);
    assert_eq!(refused(&post(&centre, "/api/requests", giving_back)), stale);
}

#[test]
fn request_for_another_centre_is_refused_by_the_one_that_knows_its_address() {
    let _clock = standing();
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let elsewhere = (400, "ERequestElsewhere".to_owned());
    let code = centre.code(json!({}));
    let mut activation = request(&server(5), code);
    activation.aud = Some("https://other.example".into());
    let token = activation.sign(&server(5)).unwrap();
    assert_eq!(refused(&centre.post_request(token)), elsewhere);
    activation.aud = Some(support::AUDIENCE.into());
    let licence = licence_of(&centre.post_request(activation.sign(&server(5)).unwrap()));
    let mut giving = giving_back(&server(5), &licence);
    let mut asking = question(&server(5));
    for (aud, wanted) in [
        (Some("http://centre.example"), Some(&elsewhere)),
        (Some(support::AUDIENCE), None),
        (None, None),
    ] {
        (giving.aud, asking.aud) = (aud.map(str::to_owned), aud.map(str::to_owned));
        let asked = post(&centre, "/api/licences", asking.sign(&server(5)).unwrap());
        let returned = post(&centre, "/api/requests", giving.sign(&server(5)).unwrap());
        for answer in [asked, returned] {
            match wanted {
                Some(wanted) => assert_eq!(&refused(&answer), wanted, "{aud:?}"),
                None => assert!([200, 201].contains(&answer.status), "{aud:?}: {answer:?}"),
            }
        }
    }
}

#[test]
fn reserve_code_survives_a_restart_of_the_centre() {
    let _clock = standing();
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let code = centre.code(json!({}));
    let licence = licence_of(&centre.activate(&request(&server(5), code), &server(5)));
    let returned = give_back(&centre, &server(5), &licence);
    centre.stop();
    let centre = Running::start(folder.path());
    assert_eq!(give_back(&centre, &server(5), &licence).body, returned.body);
    let reserve = reserve_code(&returned);
    let moved = licence_of(&centre.activate(&request(&server(6), reserve), &server(6)));
    assert_eq!(moved.fields().key_no, licence.fields().key_no);
}

#[test]
fn calls_of_servers_take_post_only() {
    let _clock = standing();
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    for path in ["/api/licences", "/api/returns", "/api/requests", "/requests"] {
        let answer = centre.send("GET", path, "", "");
        assert_eq!(refused(&answer), (405, "EHTTPMethodNotAllowed".into()), "{path}");
        assert_eq!(answer.allow.as_deref(), Some("POST"), "{path}");
    }
}

#[test]
fn request_of_any_kind_is_answered_in_one_envelope() {
    let _clock = standing();
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let code = centre.code(json!({}));
    let ask = |token: String| {
        let answer = post(&centre, "/api/requests", token);
        let file: AnswerFile = serde_json::from_value(answer.body.clone()).unwrap();
        (answer.status, file.answer)
    };
    let token = request(&server(5), code).sign(&server(5)).unwrap();
    let (status, CentreAnswer::Activation(activation)) = ask(token) else { panic!("no licence") };
    assert_eq!(status, 201);
    let licence = Licence::verify(&activation.licence, &series_key()).unwrap();
    let token = question(&server(5)).sign(&server(5)).unwrap();
    let (status, CentreAnswer::Update(update)) = ask(token) else { panic!("no licences") };
    assert_eq!((status, update.licences), (200, vec![activation.licence]));
    let token = giving_back(&server(5), &licence).sign(&server(5)).unwrap();
    let (status, CentreAnswer::Return(ReturnAnswer { key_no, .. })) = ask(token) else {
        panic!("no reserve code")
    };
    assert_eq!((status, key_no), (201, licence.fields().key_no));
    for nonsense in ["", "a.b.c", "<html>"] {
        let answer = post(&centre, "/api/requests", nonsense.into());
        assert_eq!(refused(&answer), (400, "ERequestNotGenuine".into()), "{nonsense}");
    }
    let receipt = ReturnReceipt::new("a".into(), now(), KeyNo(1), secret().series(), code);
    let token = receipt.sign(&server(5)).unwrap();
    let answer = post(&centre, "/api/requests", token);
    assert_eq!(refused(&answer), (400, "ERequestNotGenuine".into()));
}

/// A page or its form, as a browser asks for it.
fn browse(centre: &Running, language: &str, form: Option<&str>) -> ureq::http::Response<String> {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let answer = match form {
        Some(form) => agent
            .post(centre.url("/requests"))
            .header("Accept-Language", language)
            .content_type("application/x-www-form-urlencoded")
            .send(form),
        None => agent.get(centre.url("/")).header("Accept-Language", language).call(),
    };
    let (head, mut body) = answer.unwrap().into_parts();
    ureq::http::Response::from_parts(head, body.read_to_string().unwrap())
}

#[test]
fn person_pastes_a_request_into_the_page_and_takes_the_answer_as_a_file() {
    let _clock = standing();
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let page = browse(&centre, "ru", None);
    assert_eq!(page.status(), 200);
    assert!(page.body().contains("<h1>Центр активации</h1>"));
    assert!(page.headers()["Content-Security-Policy"].to_str().unwrap().contains("'none'"));
    assert!(browse(&centre, "en", None).body().contains("<h1>Activation centre</h1>"));
    let code = centre.code(json!({}));
    let token = request(&server(5), code).sign(&server(5)).unwrap();
    // As a mail program would have folded it.
    let (head, tail) = token.split_at(100);
    let answer = browse(&centre, "ru", Some(&format!("request={head}%0D%0A{tail}")));
    assert_eq!(answer.status(), 200, "{answer:?}");
    let disposition = answer.headers()["Content-Disposition"].to_str().unwrap();
    assert_eq!(disposition, "attachment; filename=\"672B.answer\"");
    let file: AnswerFile = serde_json::from_str(answer.body()).unwrap();
    assert!(matches!(file.answer, CentreAnswer::Activation(_)));
    for (form, text) in [
        ("request=%3Cscript%3E", "не подписан"),
        ("request=", "недопустимое значение"),
        ("nothing", "недопустимое значение"),
    ] {
        let refused = browse(&centre, "ru", Some(form));
        assert_eq!(refused.status(), 400, "{form}");
        assert!(refused.body().contains(text), "{form}: {}", refused.body());
        assert!(!refused.body().contains("<script>"), "{form}");
    }
    let long = format!("request={}", "x".repeat(70_000));
    assert_eq!(browse(&centre, "ru", Some(&long)).status(), 413);
}
