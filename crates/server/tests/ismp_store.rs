//! Session keys of ИС МП over REST: what is kept, by whom it is changed, and what a disk, a restart and
//! a thief make of it.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod ismp_service;
mod support;

use ismp_service::calls::*;
use ismp_service::{Service, jwt, signature};
use serde_json::{Value, json};
use support::{start, start_as};

#[tokio::test(flavor = "multi_thread")]
async fn restart_keeps_keys_rules_and_snoozes_and_no_lease() {
    let service = Service::start();
    let server = start(&conf(&service, ""));
    sign_in(&server, &suz()).await;
    let rule = json!({"People": [{"User": "Анна", "NotifySecs": 600}]});
    assert_eq!(ask(&server, "POST", "/api/ismp/responsible", &rule).await.status, 201);
    let first = challenge(&server, &ismp()).await;
    server.app.ismp.stop().await;
    server.app.handle.stop().await;
    let server = server.again().await;
    assert_eq!(current(&server, &suz()).await.unwrap()["SessionKey"], "key-1");
    let rules = ask(&server, "GET", "/api/ismp/responsible", &Value::Null).await.json();
    assert_eq!(rules["Rules"][0]["People"][0]["User"], "Анна", "{rules}");
    let late = post(&server, "refresh/complete", &completion(&ismp(), &first)).await;
    assert!(late["ErrorText"].as_str().unwrap().contains("started again"), "{late}");
    challenge(&server, &ismp()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stolen_file_opens_for_no_other_server_and_a_damaged_one_is_put_aside() {
    let service = Service::start();
    let server = start(&conf(&service, ""));
    sign_in(&server, &suz()).await;
    let stolen = std::fs::read(store(&server)).unwrap();
    let thief = start_as([77; 32], &conf(&service, ""), None, &[]);
    thief.app.ismp.stop().await;
    thief.app.handle.stop().await;
    std::fs::write(store(&thief), &stolen).unwrap();
    let thief = thief.again().await;
    assert_eq!(current(&thief, &suz()).await, None);
    assert_eq!(list(&thief).await["Tokens"], json!([]));
    server.app.ismp.stop().await;
    server.app.handle.stop().await;
    std::fs::write(store(&server), &stolen[..stolen.len() / 2]).unwrap();
    let server = server.again().await;
    let listed = list(&server).await;
    assert_eq!(listed["Tokens"], json!([]));
    assert!(listed["Problem"].as_str().unwrap().contains("ismp.store.bad-"), "{listed}");
    // Everything else works, and a new key is kept.
    sign_in(&server, &suz()).await;
    let files = std::fs::read_dir(server.app.paths.settings()).unwrap();
    let names: Vec<_> =
        files.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name == "ismp.store"), "{names:?}");
    assert!(names.iter().any(|name| name.starts_with("ismp.store.bad-")), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_disk_does_not_take_is_taken_back_but_for_what_can_be_had_only_once() {
    let service = Service::start();
    let server = start(&conf(&service, ""));
    // Nothing takes the place of a folder.
    std::fs::create_dir_all(store(&server).join("in the way")).unwrap();
    let mut typed = ismp();
    typed["SessionKey"] = "typed-key".into();
    let soon = licenceserver::clock::utc().plus_millis(3_600_000);
    typed["ValidUntil"] = soon.to_string().into();
    let refused = ask(&server, "PUT", "/api/ismp/token", &typed).await;
    assert_eq!((refused.status, &refused.json()["Exception"]), (503, &json!("EIsmpStorage")));
    assert_eq!(current(&server, &ismp()).await, None);
    let done = sign_in(&server, &suz()).await;
    assert_eq!(done["Result"]["SessionKey"], "key-1", "{done}");
    assert_eq!(current(&server, &suz()).await.unwrap()["SessionKey"], "key-1");
    assert!(list(&server).await["Problem"].is_string());
    let info = ask(&server, "GET", "/api/serverinfo", &Value::Null).await;
    assert_eq!(info.status, 200, "licences know nothing of it");
    std::fs::remove_dir_all(store(&server)).unwrap();
    assert_eq!(ask(&server, "PUT", "/api/ismp/token", &typed).await.status, 202);
    assert!(list(&server).await["Problem"].is_null());
    server.app.ismp.stop().await;
    server.app.handle.stop().await;
    let server = server.again().await;
    assert_eq!(current(&server, &suz()).await.unwrap()["SessionKey"], "key-1");
    assert_eq!(current(&server, &ismp()).await.unwrap()["SessionKey"], "typed-key");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_may_be_typed_rejected_and_deleted() {
    let service = Service::start();
    let server = start(&conf(&service, ""));
    let put = async |key: &str, until: Value| {
        let body = json!({
            "ПараметрыЗапроса": suz(),
            "ПараметрыКлючаСессии": {"КлючСессии": key, "ДействуетДо": until},
        });
        ask(&server, "PUT", "/api/ismp/token", &body).await
    };
    let soon = licenceserver::clock::utc().plus_millis(3_600_000);
    let refused = put("no-date", Value::Null).await;
    assert_eq!((refused.status, &refused.json()["Exception"]), (400, &json!("EParams")));
    assert_eq!(put("two words", soon.to_string().into()).await.status, 400);
    let stored = put("typed-key", soon.to_string().into()).await;
    assert_eq!((stored.status, &stored.json()["Stored"]), (202, &json!(true)));
    assert!(!stored.body.contains("typed-key"));
    assert_eq!(current(&server, &suz()).await.unwrap()["SessionKey"], "typed-key");
    // No key of СУЗ lives for longer than ten hours, whatever was typed.
    let year = licenceserver::clock::utc().plus_days(365);
    let capped = put("typed-key", year.to_string().into()).await.json();
    let until: licence_core::time::Utc = capped["ValidUntil"].as_str().unwrap().parse().unwrap();
    assert!(until <= licenceserver::clock::utc().plus_millis(36_000_000), "{until}");
    // A JWT says itself when it ends.
    let token = jwt(soon.unix_seconds());
    let body = json!({"TokenType": "ISMP", "Organization": INN, "SessionKey": token});
    assert_eq!(ask(&server, "PUT", "/api/ismp/token", &body).await.status, 202);
    assert_eq!(current(&server, &ismp()).await.unwrap()["SessionKey"], token);
    // Ten sessions may say that one key is dead; a newer one stays.
    let reject = |key: &str| json!({"RequestParameters": suz(), "SessionKey": key});
    assert_eq!(post(&server, "token/reject", &reject("older-key")).await["Removed"], false);
    assert_eq!(post(&server, "token/reject", &reject("typed-key")).await["Removed"], true);
    assert_eq!(post(&server, "token/reject", &reject("typed-key")).await["Removed"], false);
    assert_eq!(current(&server, &suz()).await, None);
    // An empty key or an empty date deletes.
    for (key, until) in [("", soon.to_string()), ("typed-key", "0001-01-01T00:00:00".to_owned())] {
        put("typed-key", soon.to_string().into()).await;
        assert_eq!(put(key, until.into()).await.json()["Removed"], true, "{key}");
        assert_eq!(current(&server, &suz()).await, None);
    }
    put("typed-key", soon.to_string().into()).await;
    let path = of(&suz());
    assert_eq!(ask(&server, "DELETE", &path, &Value::Null).await.status, 202);
    assert_eq!(ask(&server, "DELETE", &path, &Value::Null).await.status, 404);
    for (parameters, named) in [
        (json!({"TokenType": "SUZ"}), "Organization"),
        (json!({"TokenType": "SUZ", "Organization": INN}), "ProductionObject"),
        (json!({"TokenType": "ISMP", "Organization": "7"}), "Organization"),
        (json!({"TokenType": "MOTP"}), "TokenType"),
    ] {
        let answer = ask(&server, "GET", &of(&parameters), &Value::Null).await;
        assert_eq!(answer.status, 400, "{parameters}");
        assert!(answer.body.contains(named), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_reminders_follow_the_directory() {
    let service = Service::start();
    let server = start(&conf(&service, ""));
    let directory = json!({
        "Organizations": [{"INN": INN, "Name": "Ромашка"}],
        "Installations": [{"Organization": INN, "OmsConnection": OBJECT, "Name": "Цех 1"}],
    });
    let set = ask(&server, "PUT", "/api/ismp/settings", &directory).await;
    assert_eq!(set.status, 202, "{set:?}");
    // What was shown may be sent back.
    let again = ask(&server, "PUT", "/api/ismp/settings", &set.json()).await;
    assert_eq!((again.status, again.json()), (202, set.json()));
    let stray = json!({"Installations": [{"Organization": "500100732259", "OmsConnection": "x"}]});
    assert_eq!(ask(&server, "PUT", "/api/ismp/settings", &stray).await.status, 400);
    let rule = json!({"TokenType": "SUZ", "People": [{"User": "Анна", "NotifySecs": 600}]});
    let made = ask(&server, "POST", "/api/ismp/responsible", &rule).await;
    assert_eq!((made.status, &made.json()["Id"]), (201, &json!(1)), "{made:?}");
    for (bad, named) in [
        (json!({"People": []}), "People"),
        (json!({"TokenType": "ISMPRetail", "People": [{"User": "А"}]}), "cash desks"),
        (json!({"People": [{"User": "А", "NotifySecs": 99999}]}), "before the end"),
        (json!({"Persons": []}), "Persons"),
    ] {
        let answer = ask(&server, "POST", "/api/ismp/responsible", &bad).await;
        assert_eq!(answer.status, 400, "{bad}");
        assert!(answer.body.contains(named) || named == "People", "{answer:?}");
    }
    let path = "/api/ismp/responsible/settings?User=%D0%B0%D0%BD%D0%BD%D0%B0";
    let rows = ask(&server, "GET", path, &Value::Null).await.json();
    let suz_row = rows.as_array().unwrap().iter().find(|row| row["TokenType"] == "SUZ").unwrap();
    assert_eq!(
        (&suz_row["ProductionObject"], &suz_row["NotifySecs"]),
        (&json!(OBJECT), &json!(600))
    );
    let asked = json!({"User": "Анна", "Settings": [suz_row]});
    let reminder = async || post(&server, "reminders", &asked).await[0].clone();
    let first = reminder().await;
    assert_eq!(first.as_object().unwrap().len(), 11, "{first}");
    assert_eq!((&first["IsMissing"], &first["RemindInSecs"]), (&json!(true), &json!(0)));
    let snooze = json!({"User": "Анна"});
    let put = ask(&server, "PUT", "/api/ismp/reminders/snooze", &snooze).await;
    assert_eq!(put.status, 202, "{put:?}");
    assert!(reminder().await["RemindInSecs"].as_i64().unwrap() > 500);
    let taken_back = ask(&server, "DELETE", "/api/ismp/reminders/snooze", &snooze).await;
    assert_eq!(taken_back.json()["Until"], Value::Null, "{taken_back:?}");
    assert_eq!(reminder().await["RemindInSecs"], 0);
    let long = json!({"User": "Анна", "Secs": 36_001});
    assert_eq!(ask(&server, "PUT", "/api/ismp/reminders/snooze", &long).await.status, 400);
    let changed = json!({"People": [{"User": "Пётр"}]});
    assert_eq!(ask(&server, "PUT", "/api/ismp/responsible/1", &changed).await.status, 202);
    let rows = ask(&server, "GET", path, &Value::Null).await.json();
    assert_eq!(rows, json!([]), "nobody names her any more");
    for (id, status) in [("1", 202), ("1", 404), ("x", 404), ("0", 404)] {
        let path = format!("/api/ismp/responsible/{id}");
        assert_eq!(ask(&server, "DELETE", &path, &Value::Null).await.status, status, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_leaves_a_line_without_a_secret_in_the_audit_trail() {
    let service = Service::start();
    let server = start(&conf(&service, ""));
    sign_in(&server, &suz()).await;
    put_ended(&server, &suz()).await;
    let reject = json!({"RequestParameters": suz(), "SessionKey": "ended-key"});
    post(&server, "token/reject", &reject).await;
    put_ended(&server, &suz()).await;
    ask(&server, "DELETE", &of(&suz()), &Value::Null).await;
    ask(&server, "PUT", "/api/ismp/settings", &json!({"Organizations": []})).await;
    let rule = json!({"People": [{"User": "Анна"}]});
    ask(&server, "POST", "/api/ismp/responsible", &rule).await;
    let events = ask(&server, "GET", "/api/events?Kind=audit", &Value::Null).await;
    for action in
        ["ismp_get", "ismp_set", "ismp_reject", "ismp_delete", "ismp_settings", "ismp_rules"]
    {
        assert!(events.body.contains(action), "{action}: {}", events.body);
    }
    for secret in ["key-1", "ended-key", "\"D1\"", &signature("D1")] {
        assert!(!events.body.contains(secret), "{secret}: {}", events.body);
    }
}
