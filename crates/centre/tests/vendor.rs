//! The vendor's calls and the new roads of servers, over loopback: spare codes, demos without a
//! code, tokens, release, customers, tables of codes, the audit trail.

#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

#[expect(dead_code, reason = "what all tests of the centre share; no file needs all of it")]
mod support;

use licence_core::activation::ActivationCode;
use licence_core::centre_request::{
    AnswerFile, CentreAnswer, DemoRequest, LicencesAnswer, LicencesRequest, ReturnReceipt,
    SpareRequest,
};
use licence_core::delegation::Delegation;
use licence_core::holder::{Holder, TokenKey};
use licence_core::licence_file::{Confirmation, Licence};
use licence_core::seal::{SigningKey, hex_upper};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use support::{Answer, Running, now, request, series_key, server};

fn computer(key: &SigningKey) -> String {
    hex_upper(&key.public().as_bytes()[..20])
}

fn licence_of(answer: &Answer) -> Licence {
    assert!([200, 201].contains(&answer.status), "{answer:?}");
    Licence::verify(answer.body["Licence"].as_str().unwrap(), &series_key()).unwrap()
}

fn post(centre: &Running, path: &str, token: String) -> Answer {
    centre.send("POST", path, "", &json!({ "Request": token }).to_string())
}

fn vendor(centre: &Running, method: &str, path: &str, body: Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    centre.send(method, path, &centre.token, &body)
}

fn question(centre: &Running, key: &SigningKey) -> LicencesAnswer {
    let request = LicencesRequest::new("u1".into(), now(), key, computer(key), "4.0.0".into());
    let answer = post(centre, "/api/licences", request.sign(key).unwrap());
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_value(answer.body).unwrap()
}

fn spare_request(key: &SigningKey, licence: &Licence) -> String {
    let request = SpareRequest {
        jti: "s1".into(),
        iat: now().unix_seconds(),
        aud: None,
        cnf: Confirmation { jwk: key.public().jwk() },
        key_no: licence.fields().key_no,
        key_id: licence.fields().key_id,
        activation: licence.claims.jti.clone(),
        computer_id: computer(key),
        server_version: "4.0.0".into(),
    };
    request.sign(key).unwrap()
}

#[test]
fn spare_code_brings_the_key_to_another_server_and_the_old_one_a_receipt() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let code = centre.code(json!({}));
    let old = licence_of(&centre.activate(&request(&server(5), code), &server(5)));
    let token = spare_request(&server(5), &old);
    let answer = post(&centre, "/api/spares", token.clone());
    assert_eq!(answer.status, 200, "{answer:?}");
    let spare: ActivationCode = answer.body["SpareCode"].as_str().unwrap().parse().unwrap();
    // As a file it brings the same.
    let answer = post(&centre, "/api/requests", token);
    let file: AnswerFile = serde_json::from_value(answer.body).unwrap();
    assert!(matches!(file.answer, CentreAnswer::Spare(again) if again.spare_code == spare));
    let strange = post(&centre, "/api/spares", spare_request(&server(6), &old));
    assert_eq!((strange.status, strange.exception().as_str()), (404, "EKeyNotFound"));
    let moved = centre.activate(&request(&server(6), spare), &server(6));
    assert_eq!(moved.status, 201, "{moved:?}");
    assert_eq!(licence_of(&moved).fields().key_no, old.fields().key_no);
    let told = question(&centre, &server(5));
    assert!(told.licences.is_empty() && told.mark.is_some());
    let receipt = ReturnReceipt::verify(&told.ended[0], &series_key()).unwrap();
    assert_eq!((receipt.jti, receipt.reserve_code), (old.claims.jti.clone(), spare));
    let again = post(&centre, "/api/spares", spare_request(&server(5), &old));
    assert_eq!((again.status, again.exception().as_str()), (409, "EKeyReturned"));
}

#[test]
fn demo_without_a_code_is_given_once_where_the_series_offers_it() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let ask = |seed: u8| {
        let key = server(seed);
        let request = DemoRequest {
            jti: "d1".into(),
            iat: now().unix_seconds(),
            aud: None,
            cnf: Confirmation { jwk: key.public().jwk() },
            enc: None,
            protection: None,
            mark: None,
            key_id: "672B".parse().unwrap(),
            itn: None,
            iec: None,
            computer_id: computer(&server(5)),
            server_version: "4.0.0".into(),
        };
        post(&centre, "/api/demos", request.sign(&key).unwrap())
    };
    let refused = ask(5);
    assert_eq!((refused.status, refused.exception().as_str()), (403, "EDemoNotOffered"));
    let wrong = json!({ "Demo": { "Seats": 0, "Days": 14 } });
    let answer = vendor(&centre, "PUT", "/api/series/672B", wrong);
    assert_eq!((answer.status, answer.exception().as_str()), (400, "EHTTPBadRequest"));
    let offer = json!({ "Demo": { "Seats": 2, "Days": 14 } });
    assert_eq!(vendor(&centre, "PUT", "/api/series/672B", offer).status, 200);
    let first = ask(5);
    assert_eq!((first.status, licence_of(&first).fields().licence_count), (201, 2));
    let again = ask(5);
    assert_eq!((again.status, licence_of(&again)), (200, licence_of(&first)));
    let other = ask(6);
    assert_eq!((other.status, other.exception().as_str()), (409, "EDemoUsed"));
    let listed = vendor(&centre, "GET", "/api/series-settings", Value::Null);
    assert_eq!(listed.body[0]["Settings"]["Demo"]["Seats"], 2);
    assert_eq!(listed.body[0]["Settings"]["MovesMax"], 4);
}

/// A stand-in for a token: its key is in memory.
struct SoftToken(EcdsaKeyPair);

impl SoftToken {
    fn new() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap())
    }

    fn key(&self) -> TokenKey {
        TokenKey::from_point(self.0.public_key().as_ref()).unwrap()
    }

    fn word(&self, subject: &str, server: &SigningKey) -> String {
        use base64::Engine;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let word = Delegation::new(subject.into(), &server.public(), "0".repeat(32), now());
        // A real token signs the digest; ring wants the text itself, which the header and claims give.
        let header = json!({ "alg": "ES256", "typ": licence_core::delegation::DELEGATION_TYP,
            "kid": self.key().thumbprint() });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&header), part(&serde_json::to_value(&word).unwrap()));
        let signature = self.0.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

#[test]
fn key_goes_to_a_registered_token_that_proves_itself_for_this_very_request() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let code = centre.code(json!({}));
    let token = SoftToken::new();
    let ask = |subject: &str, by: &SigningKey| {
        let mut asked = request(&server(5), code);
        asked.blank_key_no = Some(token.key().blank_no());
        asked.token = Some(licence_core::activation_request::TokenProof {
            jwk: token.key().jwk(),
            delegation: token.word(subject, by),
            attestation: Vec::new(),
        });
        centre.activate(&asked, &server(5))
    };
    let refused = ask("r1", &server(5));
    assert_eq!((refused.status, refused.exception().as_str()), (403, "EBlankUnknown"));
    let body = json!({ "Blanks": [{ "Jwk": token.key().jwk(), "Name": "soft", "Note": "1" }] });
    let answer = vendor(&centre, "POST", "/api/blanks", body.clone());
    assert_eq!((answer.status, &answer.body), (201, &json!({ "Added": 1, "Known": 0 })));
    let answer = vendor(&centre, "POST", "/api/blanks", body);
    assert_eq!(answer.body, json!({ "Added": 0, "Known": 1 }));
    for (subject, by) in [("r2", server(5)), ("r1", server(6))] {
        let refused = ask(subject, &by);
        assert_eq!((refused.status, refused.exception().as_str()), (400, "EBlankProof"));
    }
    let licence = licence_of(&ask("r1", &server(5)));
    assert_eq!(licence.holder, Holder::Token(token.key()));
    assert_eq!(licence.fields().blank_key_no, Some(token.key().blank_no()));
    let list = vendor(&centre, "GET", "/api/blanks", Value::Null);
    let blank = &list.body["Items"][0];
    assert_eq!((&blank["Keys"], &blank["ShortId"]), (&json!(1), &json!(token.key().short_id())));
    let path = format!("/api/blanks/{}/block", blank["BlankID"]);
    assert!(vendor(&centre, "POST", &path, Value::Null).body["Blocked"].is_string());
}

#[test]
fn vendor_releases_a_key_of_a_dead_server_prolongs_it_and_finds_all_in_the_audit_trail() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    let body = json!({ "Name": "ООО Ромашка", "ITN": "7707083893" });
    let customer = vendor(&centre, "POST", "/api/customers", body);
    assert_eq!(customer.status, 201, "{customer:?}");
    let id = &customer.body["CustomerID"];
    let order = centre.order(json!({ "CustomerID": id, "Period": 30, "Count": 2 }));
    let (code, key_no) = (order.codes[0].code, order.codes[0].key_no);
    let old = licence_of(&centre.activate(&request(&server(5), code), &server(5)));
    let body = json!({ "Reason": "hardware", "Comment": "сгорел" });
    let path = format!("/api/keys/{key_no}/release");
    let released = vendor(&centre, "POST", &path, body);
    assert_eq!(released.status, 200, "{released:?}");
    let reserve: ActivationCode = released.body["ReserveCode"].as_str().unwrap().parse().unwrap();
    assert_eq!(vendor(&centre, "POST", &path, Value::Null).body, released.body);
    let told = question(&centre, &server(5));
    let receipt = ReturnReceipt::verify(&told.ended[0], &series_key()).unwrap();
    assert_eq!(receipt.reserve_code, ReturnReceipt::withheld(old.fields().key_id));
    let new = licence_of(&centre.activate(&request(&server(6), reserve), &server(6)));
    let path = format!("/api/orders/{}/prolong", order.order_id);
    let term = vendor(&centre, "POST", &path, json!({ "Days": 30 }));
    assert_eq!(term.body["Period"], 60, "{term:?}");
    let both = json!({ "Days": 30, "ExpireDate": "2099-01-01T00:00:00.000Z" });
    assert_eq!(vendor(&centre, "POST", &path, both).status, 400);
    let renewed = question(&centre, &server(6));
    let renewed = Licence::verify(&renewed.licences[0], &series_key()).unwrap();
    assert!(renewed.claims.exp > new.claims.exp && renewed.claims.iat > new.claims.iat);
    let view = vendor(&centre, "GET", &format!("/api/keys/{key_no}"), Value::Null).body;
    assert_eq!((&view["Customer"], &view["State"]), (&json!("ООО Ромашка"), &json!("Activated")));
    assert_eq!(view["Activations"][0]["EndedBy"], "vendor");
    let found =
        vendor(&centre, "GET", "/api/keys?query=%D1%80%D0%BE%D0%BC%D0%B0%D1%88", Value::Null);
    assert_eq!(found.body["Items"].as_array().unwrap().len(), 2, "{found:?}");
    let trail = vendor(&centre, "GET", &format!("/api/audit?key={key_no}"), Value::Null).body;
    let actions: Vec<_> = trail["Items"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|line| line["Action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["activation", "return", "activation", "renewal"]);
    assert!(!trail.to_string().contains(&reserve.to_string()));
    let csv = format!("/api/orders/{}/codes.csv", order.order_id);
    let csv = vendor(&centre, "GET", &csv, Value::Null);
    let text = csv.body.as_str().unwrap();
    assert!(text.starts_with("\u{feff}Code;KeyNo;Series;State"), "{text}");
    assert!(text.contains(&format!("\r\n{code};{key_no};672B;Activated;")), "{text}");
    assert_eq!(text.lines().count(), 3);
    let stats = vendor(&centre, "GET", "/api/stats", Value::Null).body;
    assert_eq!((&stats["Months"][0]["Moves"], &stats["Free"]["672B"]), (&json!(1), &json!(1)));
    let path = format!("/api/customers/{id}");
    let kept = vendor(&centre, "DELETE", &path, Value::Null);
    assert_eq!((kept.status, kept.exception().as_str()), (409, "ECustomerInUse"));
}

#[test]
fn every_call_of_the_vendor_needs_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let centre = Running::start(folder.path());
    for (method, path) in [
        ("GET", "/api/audit"),
        ("GET", "/api/blanks"),
        ("POST", "/api/blanks/1/block"),
        ("GET", "/api/customers/1"),
        ("GET", "/api/keys"),
        ("GET", "/api/keys/1"),
        ("POST", "/api/keys/1/release"),
        ("POST", "/api/keys/1/spare"),
        ("GET", "/api/moves"),
        ("GET", "/api/orders/1"),
        ("GET", "/api/orders/1/codes.csv"),
        ("POST", "/api/orders/1/prolong"),
        ("GET", "/api/series-settings"),
        ("PUT", "/api/series/672B"),
        ("GET", "/api/stats"),
        ("GET", "/api/suspicions"),
        ("POST", "/api/suspicions/1/clear"),
    ] {
        assert_eq!(centre.send(method, path, "", "{}").status, 401, "{method} {path}");
        let allowed = centre.send(method, path, &centre.token, "{}");
        assert!([200, 400, 404].contains(&allowed.status), "{method} {path} {allowed:?}");
    }
}
