//! The played marking service is as strict as the real one is known to be.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use xtask::stage::{Answer, Crpt, Gost, Rest, Signatory, Stage};

use crate::site::{LINE, ROMASHKA};

const TRUE_API: &str = "/api/v3/true-api";

fn played() -> (Stage, Crpt, Rest) {
    let stage = Stage::temporary().unwrap();
    let crpt = Crpt::start(&stage).unwrap();
    let rest = Rest::visiting(crpt.port());
    (stage, crpt, rest)
}

fn key(rest: &Rest) -> (String, String) {
    let key = rest.get(&format!("{TRUE_API}/auth/key")).unwrap();
    let text = |name: &str| key[name].as_str().unwrap().to_owned();
    (text("uuid"), text("data"))
}

fn post(rest: &Rest, path: &str, body: &Value) -> Answer {
    rest.try_post(&format!("{TRUE_API}{path}"), body).unwrap()
}

fn signed(rest: &Rest, signatory: &Signatory, path: &str, more: &Value) -> Answer {
    let (uuid, data) = key(rest);
    let mut body = json!({ "uuid": uuid, "data": signatory.sign(&data).unwrap() });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    post(rest, path, &body)
}

#[test]
fn played_service_refuses_what_the_real_one_is_known_to_refuse() {
    let (stage, crpt, rest) = played();
    let own = crpt.gost().issue(ROMASHKA).unwrap();
    let person = crpt.gost().issue("500100732259").unwrap();
    let ended = crpt.gost().issue_for("7801234564", -1).unwrap();
    let stranger = Gost::make(&stage, "other").unwrap().issue(ROMASHKA).unwrap();
    let sign = "/auth/simpleSignIn";
    let (used, data) = key(&rest);
    let signature = own.sign(&data).unwrap();
    let body = json!({ "uuid": used, "data": signature });
    assert_eq!(post(&rest, sign, &body).status, 200);

    let (uuid, data) = key(&rest);
    let wrong = "Ошибка при проверке подписи";
    let with = |signature: String| json!({ "uuid": uuid, "data": signature });
    let mut tampered = own.sign(&data).unwrap();
    let middle = tampered.len() / 2;
    let other = if tampered.as_bytes()[middle] == b'A' { "B" } else { "A" };
    tampered.replace_range(middle..=middle, other);
    let mut codes = BTreeSet::new();
    for (what, body, status, text) in [
        ("empty", json!({}), 400, "Тело запроса не может быть пустым"),
        ("no data", json!({ "uuid": uuid }), 400, "В запросе отсутствует параметр data"),
        (
            "no uuid",
            json!({ "data": own.sign(&data).unwrap() }),
            400,
            "В запросе отсутствует идентификатор авторизации (UUID)",
        ),
        ("used", body, 400, "UUID не найден в хранилище ключей. UUID = "),
        ("detached", with(own.sign_detached(&data).unwrap()), 400, wrong),
        ("tampered", with(tampered), 400, wrong),
        ("another authority", with(stranger.sign(&data).unwrap()), 400, wrong),
        ("an ended certificate", with(ended.sign(&data).unwrap()), 400, wrong),
        ("no base64", with("подпись".to_owned()), 400, wrong),
        ("no CMS", with("AAEC".to_owned()), 400, wrong),
    ] {
        let answer = post(&rest, sign, &body);
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert!(
            answer.body["error_message"].as_str().unwrap().contains(text),
            "{what}: {answer:?}"
        );
        codes.insert(answer.body["code"].is_string());
    }
    assert_eq!(codes.len(), 2, "the code is a number and a text in turn");
    // A signature of something else spends the challenge.
    assert_eq!(post(&rest, sign, &with(own.sign("X").unwrap())).status, 400);
    assert_eq!(post(&rest, sign, &with(own.sign(&data).unwrap())).status, 400);
    let nobody = signed(&rest, &person, sign, &json!({}));
    assert!(nobody.body["error_message"].as_str().unwrap().contains("параметре inn"), "{nobody:?}");
    let foreign = signed(&rest, &person, sign, &json!({ "inn": ROMASHKA }));
    assert_eq!(foreign.status, 403, "{foreign:?}");
    crpt.empower("500100732259", ROMASHKA);
    assert_eq!(signed(&rest, &person, sign, &json!({ "inn": ROMASHKA })).status, 200);
    assert_eq!(crpt.sign_ins(None), 2);
}

#[test]
fn second_sign_in_for_one_connection_kills_the_first_token_and_no_other() {
    let (_stage, crpt, rest) = played();
    let own = crpt.gost().issue(ROMASHKA).unwrap();
    let token = |path: &str, name: &str, more: Value| {
        let answer = signed(&rest, &own, path, &more);
        answer.body[name].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    };
    let line = format!("/auth/simpleSignIn/{LINE}");
    let first = token(&line, "token", json!({}));
    let elsewhere = token("/auth/simpleSignIn/other", "token", json!({}));
    let jwt = token("/auth/simpleSignIn", "token", json!({}));
    let united = token("/auth/simpleSignIn", "uuidToken", json!({ "unitedToken": true }));
    let retail = token("/auth/permissive-access", "access_token", json!({}));
    let second = token(&line, "token", json!({}));
    assert!(!crpt.is_live(&first));
    for live in [elsewhere, jwt, united, retail, second] {
        assert!(crpt.is_live(&live));
    }
    assert_eq!((crpt.sign_ins(Some(LINE)), crpt.sign_ins(None)), (2, 3));
    let by_inn = json!({ "data": own.sign(ROMASHKA).unwrap(), "unitedToken": true });
    let answer = post(&rest, "/auth/simpleSignIn", &by_inn);
    assert!(answer.body["uuidToken"].is_string() && answer.body["expireDate"].is_string());
}
