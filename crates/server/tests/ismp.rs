//! Session keys of ИС МП over REST, against a played service: how a key is got, who waits for whom,
//! and what is told when something fails.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod ismp_service;
mod support;

use std::sync::Arc;

use ismp_service::calls::*;
use ismp_service::{BOUND, Gate, Service, unsigned, usual};
use serde_json::{Value, json};
use support::{LOCAL, start};

/// A service that answers sign-ins only once the gate is open.
fn holding_sign_ins(gate: &Gate) -> Service {
    let held = gate.clone();
    Service::playing(move |seen, number| {
        if seen.is_sign_in() {
            held.wait();
        }
        usual(seen, number)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_is_signed_in_and_served_and_no_list_shows_it() {
    let service = Service::start();
    let server = start(&conf(&service, ""));
    let retail = json!({"TokenType": "ИСМПРозница", "Организация": INN});
    for (n, (parameters, path)) in [
        (suz(), format!("/auth/simpleSignIn/{OBJECT}")),
        (ismp(), "/auth/simpleSignIn".to_owned()),
        (retail, "/auth/permissive-access".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let number = n + 1;
        let done = sign_in(&server, &parameters).await;
        let key = format!("key-{number}");
        assert_eq!(done["SessionKeyParameters"]["SessionKey"], key, "{done}");
        assert_eq!(
            (&done["Result"], &done["SessionKeyParameters"]["INN"]),
            (&done["SessionKeyParameters"], &json!(INN))
        );
        let seen = service.seen();
        assert_eq!(seen.last().unwrap().path, path);
        assert_eq!(seen.last().unwrap().header("Cache-Control"), Some("no-cache"));
        let list = list(&server).await;
        assert_eq!(list["Tokens"].as_array().unwrap().len(), number, "{list}");
        assert!(!list.to_string().contains("key-"), "{list}");
    }
    let kept = current(&server, &suz()).await.unwrap();
    assert_eq!((&kept["SessionKey"], &kept["State"]), (&json!("key-1"), &json!("valid")));
    let text = ask(&server, "GET", &format!("{}&Format=text", of(&suz())), &Value::Null).await;
    assert_eq!((text.status, &*text.body), (200, "key-1"));
    assert_eq!(text.headers["content-type"], "text/plain; charset=utf-8");
    let mut plain = request("GET", &of(&suz()), &Value::Null);
    plain.headers_mut().insert("accept", "text/plain".parse().unwrap());
    assert_eq!(server.send(LOCAL, plain).await.body, "key-1");
    let far = format!("{}&ValidUntil=2099-01-01T00:00:00Z", of(&suz()));
    assert_eq!(ask(&server, "GET", &far, &Value::Null).await.status, 404);
    let file = std::fs::read_to_string(store(&server)).unwrap();
    assert!(!file.contains("key-1") && file.contains(INN), "{file}");
    let counts = server.app.ismp.counts();
    assert_eq!((counts.given, counts.refused, counts.unknown), (3, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_callers_who_find_an_ended_key_cause_one_sign_in_and_all_get_its_key() {
    let service = Service::start();
    let server = Arc::new(start(&conf(&service, "")));
    put_ended(&server, &suz()).await;
    let callers: Vec<_> = (0..20)
        .map(|number| {
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                let mut parameters = suz();
                parameters["User"] = format!("user {number}").into();
                parameters["Infobase"] = format!("base {}", number % 3).into();
                parameters["WaitSeconds"] = 30.into();
                let mut rounds = 0;
                while post(&server, "refresh/required", &parameters).await["Required"] == true {
                    rounds += 1;
                    assert!(rounds < 100, "no key came");
                    // Who was told that a key is missing may come when it is there.
                    let mut wish = parameters.clone();
                    wish["Deadline"] = licenceserver::clock::utc().to_string().into();
                    let answer = post(&server, "refresh/challenge", &wish).await;
                    let challenge = &answer["AuthorizationParameters"];
                    if challenge.is_null() {
                        assert_ne!(answer["ErrorText"], "", "{answer}");
                        continue;
                    }
                    // Time for the others to come and wait.
                    tokio::task::yield_now().await;
                    let body = completion(&parameters, challenge);
                    post(&server, "refresh/complete", &body).await;
                }
                current(&server, &suz()).await.unwrap()["SessionKey"].clone()
            })
        })
        .collect();
    for caller in callers {
        let key = tokio::time::timeout(BOUND, caller).await.unwrap().unwrap();
        assert_eq!(key, "key-1");
    }
    assert_eq!(service.sign_ins(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_must_wait_is_told_for_whom() {
    let service = Service::start();
    let server = start(&conf(&service, ""));
    let mut anna = suz();
    anna["User"] = "Анна".into();
    anna["Infobase"] = "Склад".into();
    let first = challenge(&server, &anna).await;
    let required = post(&server, "refresh/required", &suz()).await;
    assert_eq!((&required["Required"], &required["Reason"]), (&json!(true), &json!("busy")));
    assert_eq!(required["Refreshing"]["User"], "Анна", "{required}");
    let refused = post(&server, "refresh/challenge", &suz()).await;
    assert!(refused["AuthorizationParameters"].is_null(), "{refused}");
    let text = refused["ErrorText"].as_str().unwrap();
    assert!(text.contains("Анна") && text.contains("Склад"), "{text}");
    let listed = list(&server).await;
    assert_eq!(listed["Refreshing"][0]["User"], "Анна", "{listed}");
    // Another key is nobody's yet.
    challenge(&server, &ismp()).await;
    // Whoever closes the dialogue lets the next one begin.
    let id = first["Id"].as_str().unwrap();
    let path = format!("/api/ismp/refresh/{id}");
    assert_eq!(ask(&server, "DELETE", &path, &Value::Null).await.status, 202);
    assert_eq!(ask(&server, "DELETE", &path, &Value::Null).await.status, 404);
    challenge(&server, &suz()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_signature_after_a_newer_challenge_never_reaches_the_service() {
    let service = Service::start();
    let server = start(&conf(&service, ""));
    let first = challenge(&server, &suz()).await;
    let path = format!("/api/ismp/refresh/{}", first["Id"].as_str().unwrap());
    assert_eq!(ask(&server, "DELETE", &path, &Value::Null).await.status, 202);
    let second = challenge(&server, &suz()).await;
    let late = post(&server, "refresh/complete", &completion(&suz(), &first)).await;
    assert!(late["SessionKeyParameters"].is_null() && late["ErrorText"] != "", "{late}");
    let unknown = json!({"Id": "nobody's", "Data": "D"});
    let unknown = post(&server, "refresh/complete", &completion(&ismp(), &unknown)).await;
    assert!(unknown["Result"].is_null() && unknown["ErrorText"] != "", "{unknown}");
    assert_eq!(service.sign_ins(), 0);
    let done = post(&server, "refresh/complete", &completion(&suz(), &second)).await;
    assert_eq!(done["Result"]["SessionKey"], "key-1", "{done}");
    // The same signature again is told the same, and costs nothing.
    let again = post(&server, "refresh/complete", &completion(&suz(), &second)).await;
    assert_eq!(again, done);
    assert_eq!(service.sign_ins(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn container_that_signs_nothing_is_refused_before_it_is_spent_and_may_be_replaced() {
    let service = Service::start();
    let server = start(&conf(&service, ""));
    let challenge = challenge(&server, &suz()).await;
    let mut body = completion(&suz(), &challenge);
    body["SignatureProperties"]["Signature"] = unsigned().into();
    let refused = post(&server, "refresh/complete", &body).await;
    assert!(refused["Result"].is_null(), "{refused}");
    assert_ne!(refused["ErrorText"], "", "{refused}");
    assert_eq!(service.sign_ins(), 0);
    body["SignatureProperties"]["Signature"] = "не base64".into();
    let answer = ask(&server, "POST", "/api/ismp/refresh/complete", &body).await;
    assert_eq!((answer.status, &answer.json()["Exception"]), (400, &json!("EParams")));
    let done = post(&server, "refresh/complete", &completion(&suz(), &challenge)).await;
    assert_eq!(done["Result"]["SessionKey"], "key-1");
    // It could not be looked into here, and is good all the same.
    assert_ne!(done["ErrorText"], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_is_kept_when_whoever_brought_the_signature_has_gone() {
    let gate = Gate::default();
    let service = holding_sign_ins(&gate);
    let server = start(&conf(&service, ""));
    let challenge = challenge(&server, &suz()).await;
    let body = completion(&suz(), &challenge);
    let mut generation = server.app.ismp.watch();
    {
        let asking = ask(&server, "POST", "/api/ismp/refresh/complete", &body);
        tokio::select! {
            answer = asking => panic!("answered before the service: {answer:?}"),
            () = service.wait_for_sign_ins(1) => {}
        }
        // The request is dropped here, as a closed connection drops it.
    }
    generation.mark_unchanged();
    gate.open();
    tokio::time::timeout(BOUND, generation.changed()).await.unwrap().unwrap();
    assert_eq!(current(&server, &suz()).await.unwrap()["SessionKey"], "key-1");
    let told = post(&server, "refresh/complete", &body).await;
    assert_eq!(told["Result"]["SessionKey"], "key-1");
    assert_eq!(service.sign_ins(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_waits_for_a_sign_in_and_keeps_what_it_brings() {
    let gate = Gate::default();
    let service = holding_sign_ins(&gate);
    let server = start(&conf(&service, ""));
    let challenge = challenge(&server, &suz()).await;
    let body = completion(&suz(), &challenge);
    tokio::select! {
        answer = ask(&server, "POST", "/api/ismp/refresh/complete", &body) => panic!("{answer:?}"),
        () = service.wait_for_sign_ins(1) => {}
    }
    let ismp = server.app.ismp.clone();
    let stopping = tokio::spawn(async move { ismp.stop().await });
    gate.open();
    tokio::time::timeout(BOUND, stopping).await.unwrap().unwrap();
    server.app.handle.stop().await;
    let server = server.again().await;
    assert_eq!(current(&server, &suz()).await.unwrap()["SessionKey"], "key-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_end_of_a_sign_in_makes_the_key_of_suz_doubtful_and_the_next_may_begin() {
    let gate = Gate::default();
    let held = gate.clone();
    let service = Service::playing(move |seen, number| {
        if seen.is_sign_in() && number == 2 {
            held.wait();
            let why = "HystrixRuntimeException: getTokenFromSuz timed-out";
            return (500, json!({"code": 500, "description": why}).to_string());
        }
        usual(seen, number)
    });
    let server = Arc::new(start(&conf(&service, "")));
    sign_in(&server, &suz()).await;
    let challenge_of_second = challenge(&server, &suz()).await;
    let body = completion(&suz(), &challenge_of_second);
    let asking = {
        let (server, body) = (Arc::clone(&server), body.clone());
        tokio::spawn(async move { post(&server, "refresh/complete", &body).await })
    };
    service.wait_for_sign_ins(2).await;
    // The earlier key is served while the service thinks.
    assert_eq!(current(&server, &suz()).await.unwrap()["State"], "valid");
    gate.open();
    let failed = tokio::time::timeout(BOUND, asking).await.unwrap().unwrap();
    assert!(failed["Result"].is_null(), "{failed}");
    let text = failed["ErrorText"].as_str().unwrap();
    assert!(text.contains("getTokenFromSuz") && text.contains("not known"), "{text}");
    let kept = current(&server, &suz()).await.unwrap();
    assert_eq!((&kept["SessionKey"], &kept["State"]), (&json!("key-1"), &json!("doubtful")));
    // The outcome is told again, and never tried again.
    assert_eq!(post(&server, "refresh/complete", &body).await, failed);
    assert_eq!(service.sign_ins(), 2);
    let done = sign_in(&server, &suz()).await;
    assert_eq!(done["Result"]["SessionKey"], "key-3");
    assert_eq!(current(&server, &suz()).await.unwrap()["State"], "valid");
    assert_eq!(server.app.ismp.counts().unknown, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_service_answers_is_a_normal_answer_with_a_text() {
    let long = "x".repeat(1024 * 1024 + 1);
    let refusal = |text: &str| json!({"code": "400", "error_message": text}).to_string();
    for (name, status, body, told, is_unknown) in [
        (
            "used challenge",
            400,
            refusal("UUID не найден в хранилище ключей. UUID = 1"),
            "sign again",
            false,
        ),
        (
            "bad signature",
            403,
            refusal("Ошибка при проверке подписи"),
            "Ошибка при проверке подписи",
            false,
        ),
        (
            "other form",
            400,
            json!({"globalErrors": ["раз", {"error": "два", "errorCode": 7}]}).to_string(),
            "раз; два (7)",
            false,
        ),
        (
            "fields",
            422,
            json!({"fieldErrors": [{"fieldName": "inn", "fieldError": "пусто"}]}).to_string(),
            "inn: пусто",
            false,
        ),
        ("silent", 401, String::new(), "code 401", false),
        ("elsewhere", 302, String::new(), "code 302", false),
        ("page of a proxy", 502, "<html>bad gateway</html>".to_owned(), "code 502", true),
        ("no key", 200, "{}".to_owned(), "no session key", true),
        ("garbage", 200, "<html>".to_owned(), "cannot be used", true),
        ("endless", 200, long, "No answer", true),
    ] {
        let service = Service::playing(move |seen, number| {
            if seen.is_sign_in() { (status, body.clone()) } else { usual(seen, number) }
        });
        let server = start(&conf(&service, ""));
        put_ended(&server, &suz()).await;
        let failed = sign_in(&server, &suz()).await;
        assert!(failed["SessionKeyParameters"].is_null() && failed["Result"].is_null(), "{name}");
        let text = failed["ErrorText"].as_str().unwrap();
        assert!(text.contains(told), "{name}: {text}");
        assert!(text.contains(&service.url()), "{name}: {text}");
        let state = list(&server).await["Tokens"][0]["State"].clone();
        assert_eq!(state, if is_unknown { "doubtful" } else { "valid" }, "{name}");
        assert_eq!(service.sign_ins(), 1, "{name}: never tried again");
        challenge(&server, &suz()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_challenge_is_told_with_its_address_and_lets_the_next_one_begin() {
    for (name, status, body, told) in [
        ("refused", 400, json!({"code": 400, "error_message": "нет"}).to_string(), "нет (400)"),
        ("broken", 500, String::new(), "code 500"),
        ("no challenge", 200, json!({"uuid": "a"}).to_string(), "cannot be used"),
        ("odd", 200, json!({"uuid": "a b", "data": "x"}).to_string(), "cannot be used"),
    ] {
        let service = Service::playing(move |_, _| (status, body.clone()));
        let server = start(&conf(&service, ""));
        for _ in 0..2 {
            let answer = post(&server, "refresh/challenge", &ismp()).await;
            assert!(answer["AuthorizationParameters"].is_null(), "{name}: {answer}");
            let text = answer["ErrorText"].as_str().unwrap();
            assert!(text.contains(told) && text.contains("/auth/key"), "{name}: {text}");
        }
        assert_eq!(service.seen().len(), 2, "{name}");
    }
    let busy =
        Service::playing(
            |seen, number| {
                if number == 1 { (503, String::new()) } else { usual(seen, number) }
            },
        );
    let server = start(&conf(&busy, ""));
    assert_eq!(challenge(&server, &ismp()).await["Id"], "id-2", "asked once more");
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let server = start(&format!(
        "[Console]\nPassword=other\n[ISMP]\nEnabled=1\n[ISMPContours]\nproduction=http://{nobody}\n"
    ));
    let answer = post(&server, "refresh/challenge", &ismp()).await;
    assert!(answer["ErrorText"].as_str().unwrap().contains("could not be sent"), "{answer}");
    let mut elsewhere = ismp();
    elsewhere["Contour"] = "nowhere".into();
    let answer = post(&server, "refresh/challenge", &elsewhere).await;
    assert!(answer["ErrorText"].as_str().unwrap().contains("[ISMPContours] nowhere"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn united_token_is_had_for_the_signed_inn_without_a_challenge() {
    let service = Service::start();
    let server = start(&conf(&service, ""));
    let organization = json!({"INN": INN, "Name": "Ромашка", "TokenFormat": "uuid-by-inn"});
    let body = json!({"Organizations": [organization]});
    assert_eq!(ask(&server, "PUT", "/api/ismp/settings", &body).await.status, 202);
    let parameters = json!({"TokenType": "ISMP", "Organization": "ромашка"});
    let challenge = challenge(&server, &parameters).await;
    assert_eq!((&challenge["Data"], &challenge["UnitedToken"]), (&json!(INN), &json!(true)));
    let done = post(&server, "refresh/complete", &completion(&parameters, &challenge)).await;
    assert_eq!(done["Result"]["SessionKey"], "key-1");
    let seen = service.seen();
    assert_eq!(seen.len(), 1, "no challenge was asked for");
    assert_eq!(seen[0].body["unitedToken"], true);
    assert!(seen[0].body["uuid"].is_null());
}
