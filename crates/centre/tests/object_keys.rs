//! The object key of a series on its way to licence servers, over loopback: wrapped for the asker
//! alone, the same when it is asked for again, and brought to licences that were issued without it.

#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

#[expect(dead_code, reason = "this file uses a part of it")]
mod support;

use licence_core::activation::ActivationCode;
use licence_core::activation_request::{ActivationRequest, REQUEST_TYP};
use licence_core::centre_request::{LICENCES_TYP, LicencesAnswer, LicencesRequest};
use licence_core::jws;
use licence_core::licence_file::{Licence, LicenceClaims, SERIES_KEY_PURPOSE};
use licence_core::seal::{SigningKey, hex_upper};
use licence_core::wrap::WrapKey;
use serde_json::{Value, json};
use support::{Answer, Running, now, request, secret, series_key, server};

fn wrap_key(seed: u8) -> WrapKey {
    WrapKey::from_secret(&[seed + 100; 32])
}

fn asking(seed: u8, code: ActivationCode) -> ActivationRequest {
    ActivationRequest { enc: Some(wrap_key(seed).jwk()), ..request(&server(seed), code) }
}

fn question(key: &SigningKey) -> LicencesRequest {
    let computer = hex_upper(&key.public().as_bytes()[..20]);
    LicencesRequest::new("u1".into(), now(), key, computer, "4.0.0".into())
}

fn activated(centre: &Running, request: &ActivationRequest, key: &SigningKey) -> String {
    let answer = centre.activate(request, key);
    assert!([200, 201].contains(&answer.status), "{answer:?}");
    answer.body["Licence"].as_str().unwrap().to_owned()
}

fn update(centre: &Running, request: &LicencesRequest, key: &SigningKey) -> Vec<String> {
    let answer = post(centre, "/api/licences", request.sign(key).unwrap());
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_value::<LicencesAnswer>(answer.body).unwrap().licences
}

fn post(centre: &Running, path: &str, token: String) -> Answer {
    centre.send("POST", path, "", &json!({ "Request": token }).to_string())
}

fn read(document: &str) -> Licence {
    Licence::verify(document, &series_key()).unwrap()
}

/// The object key in a licence as whoever has `key` finds it.
fn opened(document: &str, key: &WrapKey) -> Option<Vec<u8>> {
    let Licence { claims, holder, .. } = read(document);
    let context = LicenceClaims::object_key_context(claims.fields.key_id, &claims.jti, &holder);
    let secret = key.unwrap(claims.object_key.as_ref()?, SERIES_KEY_PURPOSE, &context);
    secret.ok().map(|secret| secret.to_vec())
}

fn series_secret() -> Option<Vec<u8>> {
    Some(secret().object_secret().to_vec())
}

#[test]
fn activation_brings_the_object_key_to_its_asker_alone() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let order = centre.order(json!({"Count": 2}));
    let document = activated(&centre, &asking(5, order.codes[0].code), &server(5));
    assert_eq!(opened(&document, &wrap_key(5)), series_secret());
    assert_eq!(opened(&document, &wrap_key(6)), None);
    // The wrapped key of one licence is worthless in another, even for the same server.
    let other = activated(&centre, &asking(5, order.codes[1].code), &server(5));
    assert_eq!(opened(&other, &wrap_key(5)), series_secret());
    let mut claims = read(&other).claims;
    claims.object_key = read(&document).claims.object_key;
    let mixed = claims.sign(&secret().signing_key()).unwrap();
    assert_eq!(opened(&mixed, &wrap_key(5)), None);
}

#[test]
fn server_that_names_no_key_gets_none() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let code = centre.code(json!({}));
    let document = activated(&centre, &request(&server(5), code), &server(5));
    assert_eq!(read(&document).claims.object_key, None);
    assert_eq!(update(&centre, &question(&server(5)), &server(5)), [document]);
}

#[test]
fn stranger_who_repeats_a_request_gains_nothing_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let code = centre.code(json!({}));
    let token = asking(5, code).sign(&server(5)).unwrap();
    let first = centre.post_request(token.clone());
    let again = centre.post_request(token);
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.body["Licence"], again.body["Licence"]);
    // With a key of the stranger's own in it the request is no longer signed.
    let mut changed = asking(5, code);
    changed.enc = Some(wrap_key(6).jwk());
    let answer = centre.post_request(changed.sign(&server(6)).unwrap());
    assert_eq!((answer.status, answer.exception().as_str()), (400, "ERequestNotGenuine"));
    let answer = centre.activate(&asking(6, code), &server(6));
    assert_eq!((answer.status, answer.exception().as_str()), (409, "ECodeUsed"));
}

#[test]
fn update_brings_the_object_key_to_earlier_licences_once_and_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let codes = centre.order(json!({"Count": 2, "Seats": 7, "Period": 30})).codes;
    let old = activated(&centre, &request(&server(5), codes[0].code), &server(5));
    let stranger = activated(&centre, &request(&server(6), codes[1].code), &server(6));
    let asked = LicencesRequest { enc: Some(wrap_key(5).jwk()), ..question(&server(5)) };
    let renewed = update(&centre, &asked, &server(5));
    assert_eq!(renewed.len(), 1);
    assert_eq!(opened(&renewed[0], &wrap_key(5)), series_secret());
    let (before, after) = (read(&old), read(&renewed[0]));
    assert!(after.claims.iat > before.claims.iat, "a server takes it for the later one");
    assert_eq!(after.fields(), before.fields());
    assert_eq!(after.claims.jti, before.claims.jti);
    assert_eq!(after.claims.exp, before.claims.exp);
    // Asked again, it is the same document, by whichever request, and after a restart too.
    assert_eq!(update(&centre, &asked, &server(5)), renewed);
    assert_eq!(update(&centre, &question(&server(5)), &server(5)), renewed);
    centre.stop();
    let centre = Running::start(folder.path());
    assert_eq!(update(&centre, &asked, &server(5)), renewed);
    assert_eq!(activated(&centre, &request(&server(5), codes[0].code), &server(5)), renewed[0]);
    assert_eq!(update(&centre, &question(&server(6)), &server(6)), [stranger]);
}

#[test]
fn activation_that_is_repeated_with_a_key_brings_the_object_key_too() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let code = centre.code(json!({}));
    let old = activated(&centre, &request(&server(5), code), &server(5));
    let answer = centre.activate(&asking(5, code), &server(5));
    assert_eq!(answer.status, 200);
    let renewed = answer.body["Licence"].as_str().unwrap();
    assert_eq!(opened(renewed, &wrap_key(5)), series_secret());
    assert_ne!(renewed, old);
    assert_eq!(activated(&centre, &asking(5, code), &server(5)), renewed);
}

#[test]
fn key_that_nothing_can_be_wrapped_for_is_refused_and_the_code_stays_free() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let code = centre.code(json!({}));
    let zero = "A".repeat(43);
    for enc in [
        json!({"kty": "OKP", "crv": "Ed25519", "x": wrap_key(5).jwk().x}),
        json!({"kty": "OKP", "crv": "X25519", "x": "AAAA"}),
        json!({"kty": "OKP", "crv": "X25519", "x": zero}),
    ] {
        let mut claims = serde_json::to_value(request(&server(5), code)).unwrap();
        claims["enc"] = enc.clone();
        let answer = centre.post_request(jws::sign(REQUEST_TYP, &claims, &server(5)).unwrap());
        assert_eq!((answer.status, answer.exception().as_str()), (400, "EHTTPBadRequest"), "{enc}");
        assert!(answer.body["Message"].as_str().unwrap().contains("enc"), "{answer:?}");
    }
    activated(&centre, &asking(5, code), &server(5));
    let mut claims = serde_json::to_value(question(&server(5))).unwrap();
    claims["enc"] = json!({"kty": "OKP", "crv": "X25519", "x": zero});
    let answer =
        post(&centre, "/api/licences", jws::sign(LICENCES_TYP, &claims, &server(5)).unwrap());
    assert_eq!((answer.status, answer.exception().as_str()), (400, "EHTTPBadRequest"));
}

#[test]
fn parameters_of_an_order_come_with_its_licences_and_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let parameters = json!({"Регион": "77", "Модуль.Склад": "да\nнет"});
    let code = centre.code(json!({ "Parameters": parameters }));
    let document = activated(&centre, &asking(5, code), &server(5));
    let held = serde_json::to_value(&read(&document).fields().parameters).unwrap();
    assert_eq!(held, parameters);
    let list = centre.send("GET", "/api/orders", &centre.token, "");
    assert_eq!(list.body["Orders"][0]["Order"]["Parameters"], parameters, "{list:?}");
}

#[test]
fn order_with_parameters_outside_their_limits_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let many: Value = (0..101)
        .map(|n| (format!("P{n}"), Value::from("x")))
        .collect::<serde_json::Map<_, _>>()
        .into();
    for (parameters, class) in [
        (json!({"A": "1", "a": "2"}).to_string(), "EOrderWrong"),
        (json!({"": "1"}).to_string(), "EOrderWrong"),
        (json!({"A": "x".repeat(4001)}).to_string(), "EOrderWrong"),
        (json!({"A": "я".repeat(4000), "B": "x".repeat(300)}).to_string(), "EOrderWrong"),
        (many.to_string(), "EHTTPBadRequest"),
        (json!({"A": 1}).to_string(), "EHTTPBadRequest"),
        (r#"{"A":"1","A":"2"}"#.to_owned(), "EHTTPBadRequest"),
    ] {
        let body =
            format!(r#"{{"Series":"672B","Kind":"main","Seats":5,"Parameters":{parameters}}}"#);
        let answer = centre.send("POST", "/api/orders", &centre.token, &body);
        let start: String = parameters.chars().take(60).collect();
        assert_eq!((answer.status, answer.exception().as_str()), (400, class), "{start}");
        let message = answer.body["Message"].as_str().unwrap();
        assert!(message.to_lowercase().contains("parameter"), "{message}");
    }
}
