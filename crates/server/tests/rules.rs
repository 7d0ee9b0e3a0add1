//! Rules of who gets a seat, over REST and as a file: what they refuse, what they say, what survives.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use licence_core::access_code::CodeDigest;
use serde_json::{Value, json};
use support::{Answered, LOCAL, Server, request, start};

const RUSSIAN: &str = "[Common]\nLang=ru\n";

fn deny_demo() -> Value {
    json!({"Name": "Закрыто", "Effect": "deny", "Infobase": "demo"})
}

fn limit(seats: u32) -> Value {
    json!({"Name": "Один компьютер", "Effect": "limit", "Seats": seats, "Computer": "mora-*"})
}

async fn put(server: &Server, rules: &[Value]) -> Answered {
    server.call("PUT", "/api/rules", &json!({"Rules": rules}).to_string()).await
}

fn file(server: &Server) -> Value {
    let text = std::fs::read_to_string(server.app.paths.rules()).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn rules_are_put_shown_and_written_to_their_file() {
    let server = start("");
    let empty = server.call("GET", "/api/rules", "").await;
    assert_eq!((empty.status, empty.json()), (200, json!({"Rules": []})));
    let answer = put(&server, &[limit(2), deny_demo()]).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let shown = server.call("GET", "/api/rules", "").await.json();
    assert_eq!(shown, answer.json());
    assert_eq!(shown, file(&server));
    assert_eq!(
        shown["Rules"][0],
        json!({
            "Name": "Один компьютер", "Effect": "limit", "Seats": 2, "Enabled": true, "KeyID": null,
            "User": null, "Computer": "mora-*", "Subnet": null, "Infobase": null,
            "Application": null, "Comment": ""
        })
    );
    let answer = put(&server, &[]).await;
    assert_eq!((answer.status, answer.json()), (202, json!({"Rules": []})));
}

#[tokio::test]
async fn session_that_a_rule_refuses_gets_403_with_the_rule_in_its_language() {
    let server = start(RUSSIAN);
    let connection = server.connect().await;
    put(&server, &[limit(1)]).await;
    assert_eq!(server.open(&connection, 1).await.status, 200);
    let refused = server.open(&connection, 2).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    let body = refused.json();
    assert_eq!(body["Exception"], "ELimitByRule");
    let message = body["Message"].as_str().unwrap();
    assert!(message.contains("«Один компьютер»") && message.contains("MORA-HP"), "{message}");
    put(&server, &[deny_demo()]).await;
    let refused = server.open(&connection, 3).await;
    assert_eq!((refused.status, &refused.json()["Exception"]), (403, &"EDeniedByRule".into()));
    assert_eq!(server.open(&connection, 1).await.status, 200, "it has its seat");
    put(&server, &[]).await;
    assert_eq!(server.open(&connection, 3).await.status, 200);
}

#[tokio::test]
async fn reserved_seats_are_told_in_the_refusal() {
    let server = start(RUSSIAN);
    let connection = server.connect().await;
    put(&server, &[json!({"Name": "Касса", "Effect": "reserve", "Seats": 4, "User": "касса*"})])
        .await;
    assert_eq!(server.open(&connection, 1).await.status, 200);
    let refused = server.open(&connection, 2).await.json();
    assert_eq!(refused["Exception"], "ENoFreeLicence");
    let message = refused["Message"].as_str().unwrap();
    assert!(message.contains("занято 1 из 5, зарезервировано для других: 4"), "{message}");
}

#[tokio::test]
async fn wrong_rules_are_refused_by_rule_and_field_and_change_nothing() {
    let server = start(RUSSIAN);
    put(&server, &[limit(2)]).await;
    let before = file(&server);
    for (rule, names) in [
        (json!({"Name": "a", "Effect": "limit"}), ["«a»", "Seats"]),
        (json!({"Name": "a", "Effect": "deny", "Seats": 1}), ["«a»", "Seats"]),
        (json!({"Name": "a", "Effect": "deny", "Subnet": "10.0.0.0/99"}), ["«a»", "Subnet"]),
        (json!({"Name": "a", "Effect": "deny", "Users": "x"}), ["«a»", "Users"]),
        (json!({"Name": "a", "Effect": "deny", "User": 5}), ["«a»", "User"]),
        (json!({"Name": "a", "Effect": "ban"}), ["«a»", "Effect"]),
        (json!({"Effect": "deny"}), ["No. 1", "Name"]),
    ] {
        for (method, path) in [("PUT", "/api/rules"), ("POST", "/api/rules/check")] {
            let body = json!({"Rules": [rule]}).to_string();
            let answer = server.call(method, path, &body).await;
            assert_eq!((answer.status, &answer.json()["Exception"]), (400, &"EParams".into()));
            let message = answer.json()["Message"].as_str().unwrap().to_owned();
            for name in names {
                assert!(message.contains(name), "{rule}: {message}");
            }
        }
    }
    for body in ["", "{}", "[]", "{\"Rules\":5}", "{"] {
        assert_eq!(server.call("PUT", "/api/rules", body).await.status, 400, "{body}");
    }
    let many = vec![deny_demo(); 201];
    assert_eq!(put(&server, &many).await.status, 400);
    assert_eq!(file(&server), before);
    assert_eq!(server.call("GET", "/api/rules", "").await.json(), before);
}

#[tokio::test]
async fn most_rules_of_ordinary_length_are_taken() {
    let server = start("");
    let rules: Vec<_> = (0..200)
        .map(|number| {
            json!({"Name": format!("Правило {number}"), "Effect": "limit", "Seats": 5,
                   "User": "Иванов Иван Иванович", "Infobase": "Бухгалтерия предприятия",
                   "Computer": "workplace-*", "Comment": "по заявке ".repeat(20)})
        })
        .collect();
    let answer = put(&server, &rules).await;
    assert_eq!(answer.status, 202, "{}", answer.body.len());
    assert!(answer.body.len() > 64 * 1024);
}

#[tokio::test]
async fn dry_run_names_the_sessions_and_changes_nothing() {
    let server = start("");
    let connection = server.connect().await;
    for number in 1..=3 {
        server.open(&connection, number).await;
    }
    let body = json!({"Rules": [limit(2)]}).to_string();
    let answer = server.call("POST", "/api/rules/check", &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let run = answer.json();
    assert_eq!(run["Sessions"], 3);
    let refused = run["Refused"].as_array().unwrap();
    assert_eq!(refused.len(), 1, "{run}");
    assert_eq!(refused[0]["Rule"], "Один компьютер");
    let sessions = server.call("GET", "/api/sessions", "").await.json();
    let shown = sessions["Sessions"].as_array().unwrap();
    let same = |session: &&Value| session["ID"] == refused[0]["Session"]["ID"];
    assert_eq!(shown.iter().filter(same).count(), 1, "{run}");
    assert_eq!(server.call("GET", "/api/rules", "").await.json(), json!({"Rules": []}));
    assert!(!server.app.paths.rules().exists());
}

#[tokio::test]
async fn file_that_an_administrator_edited_is_read_again_and_a_broken_one_changes_nothing() {
    let server = start("");
    let (handle, path) = (&server.app.handle, server.app.paths.rules());
    let actor = licenceserver::access::Actor::server();
    std::fs::write(&path, json!({"Rules": [deny_demo()]}).to_string()).unwrap();
    handle.reload_rules(&actor).await.unwrap();
    assert_eq!(handle.rules().await.unwrap().rules.len(), 1);
    assert_eq!(handle.rules_problem().await.unwrap(), None);
    std::fs::write(&path, "{\"Rules\":[{\"Name\":\"x\",\"Effect\":\"limit\"}]}").unwrap();
    handle.reload_rules(&actor).await.unwrap_err();
    assert_eq!(handle.rules().await.unwrap().rules.len(), 1);
    let problem = handle.rules_problem().await.unwrap().unwrap();
    assert!(problem.contains("licence.rules") && problem.contains("Seats"), "{problem}");
    let reloaded = server.call("POST", "/api/settings/reload", "").await;
    assert_eq!((reloaded.status, &reloaded.json()["Exception"]), (400, &json!("ESettingsBroken")));
    assert!(reloaded.body.contains("licence.rules"), "{reloaded:?}");
    let health = server.call("GET", "/api/health", "").await.json();
    let checks = health["Checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["Name"] == "rules").unwrap();
    assert_eq!(check["Status"], "failed", "{check}");
    assert_eq!(put(&server, &[limit(1)]).await.status, 202);
    assert_eq!(handle.rules_problem().await.unwrap(), None);
}

#[tokio::test]
async fn change_of_rules_and_of_an_access_code_leaves_a_line_without_the_code() {
    let server = start("");
    put(&server, &[limit(2), deny_demo()]).await;
    put(&server, &[limit(1)]).await;
    let (handle, key_no) = (&server.app.handle, licence_core::key::KeyNo(7_131_766));
    let actor = licenceserver::access::Actor::server();
    let code = "секретный-код";
    assert!(handle.set_access_code(key_no, Some(code.into()), &actor).await.unwrap().is_some());
    let unknown = licence_core::key::KeyNo(1);
    assert_eq!(handle.set_access_code(unknown, None, &actor).await.unwrap(), None);
    let connection = server.connect().await;
    assert_eq!(server.open(&connection, 1).await.status, 403, "the key has a code");
    assert!(handle.set_access_code(key_no, None, &actor).await.unwrap().is_some());
    assert_eq!(server.open(&connection, 1).await.status, 200);
    let db = rusqlite::Connection::open(server.app.paths.database()).unwrap();
    let mut rows = db
        .prepare("SELECT reason || ' ' || detail FROM history WHERE event = 'audit' ORDER BY no")
        .unwrap();
    let lines: Vec<String> =
        rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[0].contains("rules_change") && lines[0].contains("added: Один"), "{lines:?}");
    assert!(lines[1].contains("changed: Один") && lines[1].contains("removed: Закрыто"));
    assert!(lines[2].contains("access_code"), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains(code)), "{lines:?}");
}

#[tokio::test]
async fn names_in_refusals_are_switched_while_the_server_runs() {
    let server = start("");
    let connection = server.connect().await;
    for number in 1..=5 {
        server.open(&connection, number).await;
    }
    let refused = server.open(&connection, 6).await;
    assert!(refused.body.contains("MORA-HP"), "{refused:?}");
    server.app.handle.configure(false, true, Default::default()).await.unwrap();
    let refused = server.open(&connection, 6).await;
    assert!(!refused.body.contains("MORA-HP"), "{refused:?}");
}

#[tokio::test]
async fn change_made_from_other_rules_is_refused() {
    let server = start("");
    let put_if = async |tag: &str, rules: &[Value]| {
        let mut sent = request("PUT", "/api/rules", &json!({ "Rules": rules }).to_string());
        sent.headers_mut().insert("if-match", tag.parse().unwrap());
        server.send(LOCAL, sent).await
    };
    let seen = server.call("GET", "/api/rules", "").await.headers["etag"].clone();
    let seen = seen.to_str().unwrap();
    let first = put_if(seen, &[limit(1)]).await;
    assert_eq!(first.status, 202, "{first:?}");
    let late = put_if(seen, &[deny_demo()]).await;
    assert_eq!((late.status, &late.json()["Exception"]), (412, &"EChangedMeanwhile".into()));
    let mut wrong = deny_demo();
    wrong["Comment"] = "x".repeat(10_000).into();
    assert_eq!(put_if(seen, &[wrong]).await.status, 400, "nobody could have put it in force");
    let shown = server.call("GET", "/api/rules", "").await;
    assert_eq!(shown.json(), first.json());
    assert_eq!(shown.headers["etag"], first.headers["etag"]);
    assert_eq!(put_if("*", &[]).await.status, 202);
    assert_eq!(server.call("GET", "/api/rules", "").await.headers["etag"], *seen);
}

/// A node whose etcd nobody answers for, with a code of its own settings.
const NODE: &str = "[Cluster]\nId=0123456789ABCDEF0123456789ABCDEF\nEndpoints=http://127.0.0.1:9\n\
                    [AccessCodes]\n7131766=own\n";

async fn open_with(server: &Server, connection: &str, number: u32, code: &str) -> Answered {
    let body = json!({
        "Connection": connection,
        "Session": {
            "SessionNumber": number.to_string(), "IsServer": true,
            "InfoBaseConnectionStr": "Srvr=\"s\";Ref=\"demo\";", "AppName": "1CV8C",
            "ComputerName": "MORA-HP", "SessionStarted": "2018-04-03T14:06:58.000Z"
        },
        "Wish": { "AccessCode": code }
    });
    server.message("/client/v1/open", &body).await
}

#[tokio::test]
async fn node_without_etcd_changes_nothing_and_asks_for_the_codes_of_its_cluster() {
    let server = start(NODE);
    for (path, body) in [
        ("/api/rules", json!({ "Rules": [deny_demo()] })),
        ("/api/licences/7131766", json!({ "AccessCode": "other" })),
    ] {
        let refused = server.call("PUT", path, &body.to_string()).await;
        assert_eq!(refused.status, 503, "{refused:?}");
        assert_eq!(refused.json()["Exception"], "EClusterUnavailable");
    }
    assert_eq!(server.call("GET", "/api/rules", "").await.json(), json!({ "Rules": [] }));
    // Codes of the cluster are not known yet: those of the settings count.
    let connection = server.connect().await;
    assert_eq!(open_with(&server, &connection, 1, "own").await.status, 200);

    let digest = CodeDigest::new("shared", [7; 16]).to_string();
    let known = json!({
        "Cluster": "0123456789ABCDEF0123456789ABCDEF", "HasRules": true, "Codes": {"7131766": digest}
    });
    std::fs::write(server.app.paths.cluster_codes(), known.to_string()).unwrap();
    server.app.handle.stop().await;
    let server = server.again().await;
    let connection = server.connect().await;
    let refused = open_with(&server, &connection, 2, "own").await;
    assert_eq!(refused.json()["Exception"], "ELicenceNotFound", "{refused:?}");
    assert_ne!(server.open(&connection, 3).await.status, 200);
    assert_eq!(open_with(&server, &connection, 4, "shared").await.status, 200);
}
