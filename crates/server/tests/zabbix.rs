//! What the public Zabbix template for СЛК (`template_1C_SLK_licenses`, of 2025) reads: its items
//! and JSONPath expressions, written anew, are evaluated on real answers.
//!
//! The template polls `/api`, `/api/connections`, `/api/licences`, `/api/sessions` as
//! `{"header", "body"}`, finds ids in them, and polls each id's own address bare, field by field. It
//! uses plain paths and recursive descent, which RFC 9535 has too, and none of the functions that
//! only Zabbix knows (`.length()`, `.first()`). Its replacements of text follow here as far as they
//! need something of us. One of them can work with nobody: the list of sessions puts quotes around
//! ids that have quotes, those of the manual's sample too.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use serde_json::{Value, json};
use serde_json_path::JsonPath;
use support::{Answered, Server, start};

/// What Zabbix keeps a value as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kept {
    /// Text; whatever the field holds will do.
    Text,
    /// Text of a moment, cut by a pattern; `null` where there is no moment yet.
    Moment,
    /// A whole number that is not negative.
    Number,
    /// A whole number where the thing is known at all: the manual's own sample has `null` there.
    NumberOrNull,
}

use Kept::{Moment, Number, NumberOrNull, Text};

const CONNECTION: [(&str, Kept); 16] = [
    ("ComputerName", Text),
    ("CPU", Text),
    ("Created", Moment),
    ("Expired", Text),
    ("ExpireTime", Moment),
    ("ID", Text),
    ("IsServer", Text),
    ("KeyID", Text),
    ("LastUsed", Moment),
    ("LocalIP", Text),
    ("ModuleName", Text),
    ("OSVersion", Text),
    ("PeerIP", Text),
    ("PID", Text),
    ("PlatformVersion", Text),
    ("Version", Text),
];

const LICENCE: [(&str, Kept); 34] = [
    ("ActivationCode", Text),
    ("ActivationDate", Moment),
    ("Article", NumberOrNull),
    ("ArticleName", Text),
    ("BlankKeyNo", Text),
    ("DaysLeft", Text),
    ("Enabled", Text),
    ("ExpireDate", Text),
    ("Expired", Text),
    ("FileName", Text),
    ("Flags", Text),
    ("IEC", NumberOrNull),
    ("IndustrySupportDate", Text),
    ("IndustrySupportPeriod", Number),
    ("ITN", NumberOrNull),
    ("KeyID", Text),
    ("KeyNo", Text),
    ("KeyType", Number),
    ("LicenceCount", Number),
    ("OpenError", Text),
    ("Period", Number),
    ("ProductName", Text),
    ("ProductVersion", Number),
    ("ProductVersionName", Text),
    ("Recovered", Text),
    ("RegNo", NumberOrNull),
    ("ServiceType", Number),
    ("StartDate", Text),
    ("SupportDate", Text),
    ("SupportPeriod", Number),
    ("Type", Text),
    ("UpdateDate", Moment),
    ("Version", Text),
    ("Workable", Text),
];

const SESSION: [(&str, Kept); 14] = [
    ("AccessCode", Text),
    ("AppName", Text),
    ("ComputerName", Text),
    ("Expired", Text),
    ("ExpireTime", Moment),
    ("ID", Text),
    ("InfoBaseConnectionStr", Text),
    ("IsServer", Text),
    ("KeyID", Text),
    ("SessionConnection", Text),
    ("SessionNumber", Text),
    ("SessionStarted", Moment),
    ("UsedLicence", Text),
    ("UserName", Text),
];

fn found(path: &str, value: &Value) -> Vec<Value> {
    let path = JsonPath::parse(path).unwrap();
    path.query(value).all().into_iter().cloned().collect()
}

/// An answer as an item with the output format JSON sees it. Zabbix takes a body for JSON by its
/// content type.
fn wrapped(answer: &Answered) -> Value {
    let kind = answer.headers["content-type"].to_str().unwrap();
    assert!(kind.starts_with("application/json"), "{kind}");
    json!({"header": {"Content-Type": kind}, "body": answer.json()})
}

async fn polled(server: &Server, path: &str) -> Answered {
    let answer = server.call("GET", path, "").await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer
}

/// Ids of a list. Where the template's replacements of text can work at all, they must make a list
/// for discovery of it: no id may hold a bracket or a comma.
async fn discovered(server: &Server, path: &str, expression: &str, quote: &str) -> Vec<Value> {
    let ids = found(expression, &wrapped(&polled(server, path).await));
    let text = serde_json::to_string(&ids).unwrap();
    let text = text
        .replace('[', &format!("<data<id:{quote}"))
        .replace(',', &format!("{quote}>,<id:{quote}"))
        .replace(']', &format!("{quote}>>"));
    // Zabbix's own braces would be replaced here as they are there, so they come last.
    let text = text
        .replace("<data", r#"{"data":["#)
        .replace("<id", r#"{"id""#)
        .replace(">>", "}]}")
        .replace('>', "}");
    if quote.is_empty() || ids.iter().all(Value::is_number) {
        let list: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert_eq!(list["data"].as_array().unwrap().len(), ids.len(), "{text}");
    }
    ids
}

fn check(what: &str, answer: &Answered, items: &[(&str, Kept)]) {
    for (field, kept) in items {
        let values = found(&format!("$..{field}"), &answer.json());
        let [value] = values.as_slice() else { panic!("{what}.{field}: {values:?}") };
        let is_scalar = !value.is_array() && !value.is_object();
        assert!(is_scalar, "{what}.{field}: {value}");
        let digits = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let fits = match kept {
            Text => true,
            Moment => value.is_null() || is_moment(&digits),
            Number => is_number,
            NumberOrNull => value.is_null() || is_number,
        };
        assert!(fits, "{what}.{field}: {value} is no {kept:?}");
    }
}

/// `…T….123Z`: milliseconds always, or the pattern that cuts them off finds nothing.
fn is_moment(text: &str) -> bool {
    text.split_once('T').is_some_and(|(_, time)| {
        let bytes = time.as_bytes();
        let end = bytes.len().saturating_sub(4);
        end > 0 && bytes[end..end + 3].iter().all(u8::is_ascii_digit) && time.ends_with('Z')
    })
}

#[tokio::test]
async fn every_item_of_the_template_finds_its_value() {
    let server = start("");
    let connection = server.connect().await;
    let other = server.connect().await;
    let session = server.open(&connection, 1).await.json()["ID"].clone();
    server.open(&connection, 2).await;

    let api = wrapped(&polled(&server, "/api").await);
    assert_eq!(found("$.body.Version", &api), [json!(env!("CARGO_PKG_VERSION"))]);
    polled(&server, "/api/serverinfo").await;

    let ids = discovered(&server, "/api/connections", "$.body.Connections..ID", "").await;
    assert_eq!(ids.len(), 2, "{ids:?}");
    for id in [&connection, &other] {
        assert!(ids.contains(&json!(id)), "{ids:?}");
        let answer = polled(&server, &format!("/api/connections/{id}")).await;
        check("connection", &answer, &CONNECTION);
    }

    let ids = discovered(&server, "/api/licences", "$.body.Licences..KeyNo", "\"").await;
    assert_eq!(ids, [json!(7_131_766)]);
    let answer = polled(&server, "/api/licences/7131766").await;
    check("licence", &answer, &LICENCE);
    for (field, names) in [("KeyType", &[3, 4, 5][..]), ("ServiceType", &[0, 1, 2, 3, 4][..])] {
        let value = &answer.json()[field];
        assert!(names.iter().any(|name| value == name), "{field}: {value} has no name");
    }
    assert!(["Virtual", "USB"].contains(&answer.json()["Type"].as_str().unwrap()));

    let ids = discovered(&server, "/api/sessions", "$.body.Sessions..ID", "\"").await;
    assert!(ids.len() == 2 && ids.contains(&session), "{ids:?}");
    for id in &ids {
        let path = format!("/api/sessions/{}", id.as_str().unwrap());
        check("session", &polled(&server, &path).await, &SESSION);
    }
}

#[tokio::test]
async fn connection_that_is_gone_is_404_which_the_template_expects() {
    let server = start("");
    let connection = server.connect().await;
    let end = json!({"Connection": connection, "EndSessions": true});
    assert_eq!(server.message("/client/v1/disconnect", &end).await.status, 200);
    let answer = server.call("GET", &format!("/api/connections/{connection}"), "").await;
    assert_eq!(answer.status, 404);
    assert!(found("$..ID", &answer.json()).is_empty());
}
