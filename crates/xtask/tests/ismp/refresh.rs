//! From a challenge to a key: every kind, one refresh for all, and what breaks off in the middle.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Barrier;

use serde_json::{Value, json};
use xtask::stage::{Asked, Crpt, Launch, Process, Rest, Signatory, Stage, Step, Whim, wait_until};

use crate::site::{
    BOUND, LINE, More, ROMASHKA, SECRET, Site, challenge, complete, completion, conf, current,
    data, ismp, key_of, listed, ok, required, retail, server, sign_in, suz, wait_held,
};

/// Sessions that find an expired key at once.
const SESSIONS: usize = 20;

fn settings(root: &Rest, format: &str) {
    let organization = json!({ "INN": ROMASHKA, "Name": "Ромашка", "TokenFormat": format });
    let installation = json!({ "Organization": ROMASHKA, "OmsConnection": LINE, "Name": "Линия" });
    let body = json!({ "Organizations": [organization], "Installations": [installation] });
    let answer = root.try_put("/api/ismp/settings", &body).unwrap();
    assert!((200..300).contains(&answer.status), "{answer:?}");
}

/// Whether the marking service takes a key for what keys of its kind are for.
fn is_taken(crpt: &Crpt, parameters: &Value, key: &str) -> bool {
    let (path, header, value) = match parameters["TokenType"].as_str().unwrap() {
        "SUZ" => ("/api/v3/ping?omsId=x", "clientToken", key.to_owned()),
        "ISMP" => ("/api/v3/true-api/cises/info", "Authorization", format!("Bearer {key}")),
        _ => ("/api/v4/true-api/cdn/info", "X-API-KEY", key.to_owned()),
    };
    let mut call = Command::new("curl");
    call.args(["--silent", "--noproxy", "*", "--output", "/dev/null", "--write-out"]);
    call.args(["%{http_code}", "--header", &format!("{header}: {value}")]);
    let output = call.arg(format!("{}{path}", crpt.proxy())).output().unwrap();
    String::from_utf8(output.stdout).unwrap() == "200"
}

fn sign_ins(crpt: &Crpt) -> Vec<Asked> {
    let is_meant = |asked: &Asked| asked.method == "POST" && asked.path.contains("/auth/");
    crpt.asked().into_iter().filter(is_meant).collect()
}

#[test]
fn every_kind_of_key_is_signed_for_kept_and_taken_by_the_service() {
    let site = Site::new();
    let (rest, root, signatory) = (site.rest(), site.root(), site.signatory());
    for (parameters, format, path, fields) in [
        (suz(), "auto", format!("/auth/simpleSignIn/{LINE}"), vec!["data", "inn", "uuid"]),
        (ismp(), "auto", "/auth/simpleSignIn".to_owned(), vec!["data", "inn", "uuid"]),
        (ismp(), "jwt", "/auth/simpleSignIn".to_owned(), vec!["data", "inn", "uuid"]),
        (ismp(), "uuid", "/auth/simpleSignIn".to_owned(), vec!["data", "unitedToken", "uuid"]),
        (ismp(), "uuid-by-inn", "/auth/simpleSignIn".to_owned(), vec!["data", "unitedToken"]),
        (retail(), "auto", "/auth/permissive-access".to_owned(), vec!["data", "inn"]),
    ] {
        let what = format!("{parameters} {format}");
        settings(&root, format);
        let completed = sign_in(&rest, &signatory, &parameters);
        assert_eq!(completed["ErrorText"], "", "{what}");
        let key = key_of(&completed);
        assert_eq!(site.crpt.tokens().last(), Some(&key), "{what}");
        assert_eq!(current(&rest, &parameters), Some(key.clone()), "{what}");
        assert!(is_taken(&site.crpt, &parameters, &key), "{what}");
        let need = required(&rest, &parameters, 0);
        assert_eq!(
            (&need["Required"], &need["Reason"]),
            (&json!(false), &json!("fresh")),
            "{what}"
        );

        let asked = sign_ins(&site.crpt).pop().unwrap();
        assert!(asked.path.ends_with(&path), "{what}: {asked:?}");
        let sent: Vec<String> = asked.body.as_object().unwrap().keys().cloned().collect();
        assert_eq!(sent, fields, "{what}");
        let content = asked.header("content-type").unwrap().to_ascii_lowercase();
        assert!(content.starts_with("application/json"), "{what}: {content}");
    }
    // The organisation is not named where there is only one key.
    let any = current(&rest, &json!({ "TokenType": "ISMP" }));
    assert!(any.is_some_and(|key| site.crpt.is_live(&key)));
}

#[test]
fn services_own_hosts_are_reached_through_a_proxy_and_a_certificate_of_the_settings() {
    let stage = Stage::temporary().unwrap();
    let crpt = Crpt::start(&stage).unwrap();
    let more =
        format!("Proxy={}\nUseProxy=1\nExtraCA={}", crpt.proxy(), crpt.authority().display());
    let settings = conf(&crpt, More { ismp: &more, is_genuine: true, ..More::default() });
    let server = server(&stage, "server", &settings, Launch::default());
    let rest = Rest::bearing(server.port(), SECRET);
    let signatory = crpt.gost().issue(ROMASHKA).unwrap();
    for (parameters, host) in [(ismp(), "markirovka.crpt.ru"), (retail(), "cdn.crpt.ru")] {
        let key = key_of(&sign_in(&rest, &signatory, &parameters));
        assert!(crpt.is_live(&key));
        assert_eq!(sign_ins(&crpt).pop().unwrap().host.as_deref(), Some(host));
    }
    let mut sandbox = ismp();
    sandbox["Contour"] = json!("sandbox");
    key_of(&sign_in(&rest, &signatory, &sandbox));
    let host = sign_ins(&crpt).pop().unwrap().host;
    assert_eq!(host.as_deref(), Some("markirovka.sandbox.crptech.ru"));
}

/// What one session of 1C does until it has a key. True when it was the one that signed.
fn session(rest: &Rest, signatory: &Signatory, parameters: &Value) -> (String, bool) {
    let mut has_signed = false;
    // Each round waits as long as the server lets it; some rounds are more than enough.
    for _ in 0..SESSIONS {
        if required(rest, parameters, 30)["Required"] == json!(false) {
            let key = current(rest, parameters).expect("a key that needs no refresh is there");
            return (key, has_signed);
        }
        // Whoever signs only where it is needed says until when a key would do.
        let mut wanted = parameters.clone();
        wanted["Deadline"] = json!("2026-01-02T00:00:00Z");
        let challenged = challenge(rest, &wanted);
        if challenged["AuthorizationParameters"].is_null() {
            // Somebody was faster; their text says who.
            assert_ne!(challenged["ErrorText"], "", "{challenged}");
            continue;
        }
        let signature = signatory.sign(&data(&challenged)).unwrap();
        key_of(&complete(rest, parameters, &challenged, &signature));
        has_signed = true;
    }
    panic!("no key after {SESSIONS} rounds");
}

#[test]
fn twenty_sessions_of_three_infobases_find_an_expired_key_and_one_signs_in() {
    let site = Site::new();
    let signatory = site.signatory();
    let parameters = suz();
    let old = json!({ "RequestParameters": parameters, "SessionKeyParameters": {
        "SessionKey": "c0ffee00-0000-4000-8000-000000000000",
        "ValidUntil": "2026-01-01T00:00:00Z" } });
    let put = site.rest().try_put("/api/ismp/token", &old).unwrap();
    assert!((200..300).contains(&put.status), "{put:?}");
    assert_eq!(current(&site.rest(), &parameters), None, "it has ended");

    let barrier = Barrier::new(SESSIONS);
    let found: Vec<(String, bool)> = std::thread::scope(|scope| {
        let run = |number: usize| {
            let (rest, barrier, signatory) = (site.rest(), &barrier, &signatory);
            let mut parameters = parameters.clone();
            parameters["User"] = json!(format!("Пользователь {number}"));
            parameters["Infobase"] = json!(format!("База {}", number % 3));
            scope.spawn(move || {
                barrier.wait();
                session(&rest, signatory, &parameters)
            })
        };
        let all: Vec<_> = (0..SESSIONS).map(run).collect();
        all.into_iter().map(|session| session.join().unwrap()).collect()
    });
    assert_eq!(site.crpt.sign_ins(Some(LINE)), 1, "one sign-in");
    assert_eq!(found.iter().filter(|(_, has_signed)| *has_signed).count(), 1);
    let keys: BTreeSet<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys.len(), 1, "one key for all");
    assert!(keys.iter().all(|key| site.crpt.is_live(key)));
}

/// `curl` that posts this and waits for the answer: a caller that can be killed.
fn caller(site: &Site, name: &str, path: &str, body: &Value) -> Process {
    let file = site.stage.root().join(format!("{name}.json"));
    std::fs::write(&file, body.to_string()).unwrap();
    let mut call = Command::new("curl");
    call.args(["--silent", "--show-error", "--noproxy", "*", "--header"]);
    call.arg(format!("Authorization: Bearer {SECRET}"));
    call.args(["--header", "Content-Type: application/json", "--data-binary"]);
    call.arg(format!("@{}", file.display()));
    call.arg(format!("http://127.0.0.1:{}{path}", site.server.port()));
    site.stage.start(name, call).unwrap()
}

#[test]
fn key_of_a_refresher_that_is_killed_while_the_service_thinks_is_kept_for_the_others() {
    let site = Site::new();
    let (rest, signatory, parameters) = (site.rest(), site.signatory(), suz());
    site.crpt.play(Step::SignIn, &[Whim::Hold]);
    let challenged = challenge(&rest, &parameters);
    let signature = signatory.sign(&data(&challenged)).unwrap();
    let body = completion(&parameters, &challenged, &signature);
    let mut refresher = caller(&site, "refresher", "/api/ismp/refresh/complete", &body);
    wait_held(&site.crpt);
    let need = required(&rest, &parameters, 0);
    assert_eq!((&need["Required"], &need["Reason"]), (&json!(true), &json!("busy")), "{need}");
    assert!(need["Refreshing"]["LeftSecs"].is_u64(), "{need}");
    refresher.kill().unwrap();

    let waited = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| required(&rest, &parameters, 30));
        site.crpt.release();
        waiting.join().unwrap()
    });
    assert_eq!(waited["Required"], json!(false), "{waited}");
    let key = current(&rest, &parameters).unwrap();
    assert!(site.crpt.is_live(&key));
    assert_eq!(site.crpt.sign_ins(Some(LINE)), 1);
    // Whoever asks again with the same challenge is told the same.
    let again = complete(&rest, &parameters, &challenged, &signature);
    assert_eq!(key_of(&again), key);
    assert_eq!(site.crpt.sign_ins(Some(LINE)), 1);
}

#[test]
fn refresher_that_never_signs_is_waited_for_two_minutes_and_its_late_signature_is_not_sent() {
    let stage = Stage::temporary().unwrap();
    let crpt = Crpt::start(&stage).unwrap();
    let shift = stage.root().join("shift");
    std::fs::write(&shift, "+0").unwrap();
    let launch = Launch::default().lived_through(&shift).expect("libfaketime is not installed");
    let server = server(&stage, "server", &conf(&crpt, More::default()), launch);
    let rest = Rest::bearing(server.port(), SECRET);
    let (signatory, parameters) = (crpt.gost().issue(ROMASHKA).unwrap(), suz());
    let gone = challenge(&rest, &parameters);
    let late = signatory.sign(&data(&gone)).unwrap();
    let other = challenge(&rest, &parameters);
    assert!(other["AuthorizationParameters"].is_null(), "{other}");

    std::fs::write(&shift, "+121").unwrap();
    let need = required(&rest, &parameters, 0);
    assert_eq!((&need["Required"], &need["Reason"]), (&json!(true), &json!("missing")), "{need}");
    let key = key_of(&sign_in(&rest, &signatory, &parameters));
    let before = sign_ins(&crpt).len();
    let refused = complete(&rest, &parameters, &gone, &late);
    assert!(refused["SessionKeyParameters"].is_null(), "{refused}");
    assert_ne!(refused["ErrorText"], "", "{refused}");
    assert_eq!(sign_ins(&crpt).len(), before, "it would have killed the newer key");
    assert_eq!(current(&rest, &parameters), Some(key.clone()));
    assert!(crpt.is_live(&key));
}

#[test]
fn service_that_fails_after_half_a_minute_leaves_a_doubtful_key_and_is_not_asked_again() {
    let site = Site::new();
    let (rest, signatory) = (site.rest(), site.signatory());
    for (parameters, state) in [(suz(), "doubtful"), (ismp(), "valid")] {
        let before = key_of(&sign_in(&rest, &signatory, &parameters));
        let calls = sign_ins(&site.crpt).len();
        site.crpt.play(Step::SignIn, &[Whim::FailLater]);
        let failed = std::thread::scope(|scope| {
            let exchange = scope.spawn(|| sign_in(&rest, &signatory, &parameters));
            wait_held(&site.crpt);
            // Whoever only wants the key is not kept waiting.
            assert_eq!(current(&rest, &parameters), Some(before.clone()));
            site.crpt.release();
            exchange.join().unwrap()
        });
        assert!(failed["SessionKeyParameters"].is_null(), "{failed}");
        assert!(failed["ErrorText"].as_str().is_some_and(|text| !text.is_empty()), "{failed}");
        assert_eq!(sign_ins(&site.crpt).len(), calls + 1, "never posted again");
        assert_eq!(listed(&rest, &parameters)["State"], state, "{parameters}");
        assert_eq!(
            current(&rest, &parameters),
            Some(before.clone()),
            "served until it is rejected"
        );

        // A business call finds out, ten sessions say so, one key goes.
        let reject = json!({ "RequestParameters": parameters, "SessionKey": before });
        let removed = |_| ok(&rest, "/api/ismp/token/reject", &reject)["Removed"] == json!(true);
        assert_eq!((0..10).map(removed).filter(|removed| *removed).count(), 1);
        let key = key_of(&sign_in(&rest, &signatory, &parameters));
        assert!(is_taken(&site.crpt, &parameters, &key));
        ok(&rest, "/api/ismp/token/reject", &reject);
        assert_eq!(current(&rest, &parameters), Some(key), "a newer one stays");
    }
}

#[test]
fn answers_that_cannot_be_are_told_in_words_and_leave_the_service_usable() {
    let site = Site::new();
    let (rest, signatory) = (site.rest().speaking("ru"), site.signatory());
    let parameters = ismp();
    let texts =
        ["В параметре inn должен быть передан ИНН организации", "Ошибка при проверке подписи"];
    for (step, whim, wanted) in [
        (Step::Challenge, Whim::Fail, "500"),
        (Step::Challenge, Whim::Garbage, ""),
        (Step::Challenge, Whim::Empty, ""),
        (Step::Challenge, Whim::Refuse(429, "Слишком много запросов"), "Слишком много запросов"),
        (Step::SignIn, Whim::Fail, "HystrixRuntimeException"),
        (Step::SignIn, Whim::Garbage, ""),
        (Step::SignIn, Whim::Empty, ""),
        (Step::SignIn, Whim::Flood, ""),
        (Step::SignIn, Whim::HangUp, ""),
        (Step::SignIn, Whim::Refuse(400, texts[0]), texts[0]),
        (Step::SignIn, Whim::Refuse(403, texts[1]), texts[1]),
        (Step::SignIn, Whim::Refuse(422, texts[1]), texts[1]),
    ] {
        let what = format!("{step:?} {whim:?}");
        // A challenge is asked for twice at most, a sign-in never.
        let times = if step == Step::Challenge { 2 } else { 1 };
        let calls = sign_ins(&site.crpt).len();
        site.crpt.play(step, &vec![whim; times]);
        let mut answer = challenge(&rest, &parameters);
        if step == Step::SignIn {
            let signature = signatory.sign(&data(&answer)).unwrap();
            answer = complete(&rest, &parameters, &answer, &signature);
            assert!(answer["SessionKeyParameters"].is_null(), "{what}: {answer}");
            assert_eq!(answer["Result"], Value::Null, "{what}");
            assert_eq!(sign_ins(&site.crpt).len(), calls + 1, "{what}");
        } else {
            assert!(answer["AuthorizationParameters"].is_null(), "{what}: {answer}");
            // What is left of the plan must not meet the next step.
            wait_challenges_spent(&site, &rest);
        }
        let text = answer["ErrorText"].as_str().unwrap();
        assert!(!text.is_empty() && text.contains(wanted), "{what}: {text}");
        assert!(text.contains(|c: char| ('а'..='я').contains(&c)), "{what}: {text}");
        assert!(!text.contains('<'), "{what}: no page for people: {text}");
    }
    let key = key_of(&sign_in(&rest, &signatory, &parameters));
    assert_eq!(current(&rest, &parameters), Some(key));
}

/// Challenges that a step did not ask for are asked for in another one's name.
fn wait_challenges_spent(site: &Site, rest: &Rest) {
    let other = json!({ "TokenType": "ISMP", "Organization": "7801234564" });
    wait_until(BOUND, "a challenge that comes", || {
        let answer = challenge(rest, &other);
        let parameters = &answer["AuthorizationParameters"];
        let Some(id) = parameters["Id"].as_str() else { return Ok(None) };
        let cancelled = site.rest().try_delete(&format!("/api/ismp/refresh/{id}"))?;
        assert!((200..300).contains(&cancelled.status), "{cancelled:?}");
        Ok(Some(()))
    })
    .unwrap();
}

#[test]
fn who_says_until_when_a_key_would_do_is_not_asked_to_sign_beside_one() {
    let site = Site::new();
    let (rest, signatory, parameters) = (site.rest(), site.signatory(), suz());
    let key = key_of(&sign_in(&rest, &signatory, &parameters));
    let calls = site.crpt.asked().len();
    let mut wanted = parameters.clone();
    wanted["Deadline"] = json!("2026-01-02T00:00:00Z");
    let none = challenge(&rest, &wanted);
    assert!(none["AuthorizationParameters"].is_null() && none["ErrorText"] != "", "{none}");
    assert_eq!(site.crpt.asked().len(), calls);
    assert_eq!(required(&rest, &wanted, 0)["Required"], json!(false), "nobody is refreshing");
    // A person who wants another key gets one, and one who wants one that lives longer.
    wanted["Deadline"] = json!("2100-01-01T00:00:00Z");
    let more = challenge(&rest, &wanted);
    let signature = signatory.sign(&data(&more)).unwrap();
    let newer = key_of(&complete(&rest, &parameters, &more, &signature));
    assert!(newer != key && current(&rest, &parameters) == Some(newer));
}

#[test]
fn signature_that_cannot_be_right_is_not_spent() {
    let site = Site::new();
    let (rest, signatory, parameters) = (site.rest(), site.signatory(), suz());
    let old = challenge(&rest, &parameters);
    let id = old["AuthorizationParameters"]["Id"].as_str().unwrap().to_owned();
    let gone = rest.try_delete(&format!("/api/ismp/refresh/{id}")).unwrap();
    assert!((200..300).contains(&gone.status), "{gone:?}");
    let challenged = challenge(&rest, &parameters);
    let text = data(&challenged);
    for (what, signature) in [
        ("detached", signatory.sign_detached(&text).unwrap()),
        ("another text", signatory.sign(&data(&old)).unwrap()),
        ("a line break", signatory.sign(&format!("{text}\n")).unwrap()),
        ("no signature", "bm8gc2lnbmF0dXJl".to_owned()),
    ] {
        let refused = complete(&rest, &parameters, &challenged, &signature);
        assert!(refused["SessionKeyParameters"].is_null(), "{what}: {refused}");
        assert_ne!(refused["ErrorText"], "", "{what}");
    }
    assert!(sign_ins(&site.crpt).is_empty(), "nothing of it was sent");
    // The challenge is still good: line breaks and armour are no reason to refuse.
    let signature = signatory.sign(&text).unwrap();
    let lines: Vec<&str> =
        signature.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let armoured =
        format!("-----BEGIN CMS-----\r\n{}\r\n-----END CMS-----\r\n", lines.join("\r\n"));
    key_of(&complete(&rest, &parameters, &challenged, &armoured));
}

#[test]
fn representative_signs_by_power_of_attorney_and_a_stranger_does_not() {
    let site = Site::new();
    let (rest, parameters) = (site.rest(), ismp());
    let person = site.crpt.gost().issue("500100732259").unwrap();
    let stranger = sign_in(&rest, &person, &parameters);
    assert!(stranger["SessionKeyParameters"].is_null(), "{stranger}");
    site.crpt.empower("500100732259", ROMASHKA);
    let completed = sign_in(&rest, &person, &parameters);
    assert!(site.crpt.is_live(&key_of(&completed)));
    assert!(completed["ErrorText"].as_str().unwrap().contains("500100732259"), "{completed}");
}
