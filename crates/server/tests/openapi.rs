//! `docs/openapi.yaml` against the server: the table of routes and roles, every example against its
//! schema and the real view, every address called once and its answer held against the document.
//!
//! Patterns of texts are left to schemathesis (`xtask/tests/schemathesis.rs`), which calls a live
//! server with what it makes up.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod checks_of_schemas;
mod support;

use std::collections::BTreeSet;

use checks_of_schemas::Document;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use licence_core::datafile::{DatafileBuilder, ObjectAccess, ObjectEntry, ObjectKind};
use licence_core::key::KeySeries;
use licence_core::protocol::manager::{
    DatafileAnswer, DatafileQuery, Datapart, DatapartQuery, ObjectKeyAnswer, ObjectKeyQuery,
    OperationAnswer, OperationQuery,
};
use licence_core::protocol::{
    Connect, Connected, ConnectionQuery, Counters, Disconnect, ErrorBody, Heartbeat,
    HeartbeatAnswer, Hello, HelloAnswer, LicenceView, LicencesQuery, OpenSession, ServerSummary,
    SessionInfo, SessionOpened, TouchSession,
};
use licence_core::rules::RuleSet;
use licenceserver::api::routes::{Access, ROUTES, Route};
use licenceserver::api::views::{
    ConnectionView, DatafileView, DatafilesView, SeriesView, SessionView,
};
use licenceserver::api::{self, Peer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use support::{Answered, LOCAL, LOCAL_TLS, Server, request, start};

/// The key of the test server.
const KEY_NO: u32 = 7_131_766;

/// Addresses that no test here answers 2xx, and why.
const UNCALLED: [(&str, &str, &str); 15] = [
    ("DELETE", "/api/cluster/kept/{ID}", "answers on a node alone: nodes.rs"),
    ("DELETE", "/api/cluster/sessions/{Node}/{ID}", "answers on a node alone: nodes.rs"),
    ("GET", "/api/cluster", "answers on a node alone: xtask/tests/cluster.rs"),
    ("GET", "/api/cluster/events", "answers on a node alone: nodes.rs"),
    ("GET", "/api/cluster/kept", "answers on a node alone: nodes.rs"),
    ("GET", "/api/cluster/sessions", "answers on a node alone: nodes.rs"),
    ("GET", "/api/cluster/sessions/{Node}/{ID}", "answers on a node alone: nodes.rs"),
    ("POST", "/api/licences", "needs a centre: keys.rs, and live in xtask/tests/curl.rs"),
    ("POST", "/api/licences/answer", "needs a centre: keys.rs"),
    ("POST", "/api/licences/demo", "needs a centre: roads.rs"),
    ("POST", "/api/licences/update", "needs a centre: keys.rs"),
    ("POST", "/api/licences/{KeyNo}/reservecode", "needs a centre: keys.rs"),
    ("POST", "/api/licences/{KeyNo}/spare", "needs a centre: roads.rs"),
    ("POST", "/api/restore", "takes an archive: backup.rs"),
    ("POST", "/client/v1/objectkey", "needs a licence with an object key: object_keys.rs"),
];

/// Pages and forms are for people; of them only `/systeminfo` is known to programs.
fn is_documented(route: &Route) -> bool {
    match route.access {
        Access::Console(_) => route.path == "/systeminfo",
        Access::Open => route.path.starts_with("/health"),
        // Nodes of one cluster alone speak it, and docs/cluster.md tells it.
        Access::Node => false,
        Access::Api(_) | Access::Client | Access::Ismp | Access::Metrics => true,
    }
}

fn role(access: Access) -> String {
    match access {
        Access::Api(role) | Access::Console(role) => role.name().to_owned(),
        Access::Client => "component".to_owned(),
        Access::Ismp => "ismp".to_owned(),
        Access::Metrics => "metrics".to_owned(),
        Access::Node => "node".to_owned(),
        Access::Open => "open".to_owned(),
    }
}

#[test]
fn every_route_is_documented_with_its_role_and_every_documented_address_is_a_route() {
    let document = Document::read();
    let routes: BTreeSet<_> = ROUTES
        .iter()
        .filter(|route| is_documented(route))
        .map(|route| (route.path.to_owned(), route.method.to_owned(), role(route.access)))
        .collect();
    let documented: BTreeSet<_> = document
        .operations()
        .map(|(path, method, operation)| {
            let role = operation["x-role"].as_str().unwrap_or("none").to_owned();
            (path.to_owned(), method.to_uppercase(), role)
        })
        .collect();
    assert_eq!(documented, routes);
}

#[test]
fn whoever_needs_a_password_is_told_so_and_what_else_every_such_address_answers() {
    let document = Document::read();
    for (path, method, operation) in document.operations() {
        let asks_nobody = matches!(operation["x-role"].as_str(), Some("component" | "open"));
        let no_security = operation["security"] == json!([]);
        assert_eq!(asks_nobody, no_security, "{method} {path}");
        let mut codes = vec![];
        if !asks_nobody {
            codes.extend(["401", "403", "429", "503"]);
        }
        if operation.get("requestBody").is_some() {
            codes.extend(["400", "413"]);
        }
        for code in codes {
            let answer = &operation["responses"][code];
            assert!(answer.is_object(), "{method} {path} does not document {code}");
        }
    }
}

#[test]
fn every_example_fits_its_schema_and_every_reference_leads_somewhere() {
    let document = Document::read();
    let mut examples = 0;
    for (place, schema) in document.all_schemas() {
        document.check_keywords(&place, schema);
        for example in schema["examples"].as_array().into_iter().flatten() {
            examples += 1;
            let faults = document.faults(schema, example);
            assert!(faults.is_empty(), "example at {place}: {faults:#?}");
        }
    }
    assert!(examples > 60, "only {examples} examples");
}

#[test]
fn every_json_answer_and_body_has_an_example() {
    let document = Document::read();
    let bodies = document.operations().flat_map(|(_, _, operation)| {
        let answers = operation["responses"].as_object().into_iter().flatten();
        let answers = answers.map(|(_, answer)| document.resolved(answer));
        answers.chain(operation.get("requestBody").map(|body| document.resolved(body)))
    });
    for body in bodies {
        let schema = &body["content"]["application/json"]["schema"];
        if schema.is_null() {
            continue;
        }
        let shown = document.resolved(schema);
        let parts = shown["anyOf"].as_array();
        let has_example = |schema: &Value| document.resolved(schema)["examples"].is_array();
        let is_shown =
            has_example(shown) || parts.is_some_and(|parts| parts.iter().any(has_example));
        assert!(is_shown, "no example of {schema}");
    }
}

/// The examples of a schema are read as the real type and written as it writes them.
fn check_view<T: DeserializeOwned + Serialize>(document: &Document, name: &str) {
    let schema = document.schema(name);
    for example in schema["examples"].as_array().into_iter().flatten() {
        let view: T = serde_json::from_value(example.clone())
            .unwrap_or_else(|error| panic!("{name}: {error}: {example}"));
        let written = serde_json::to_value(&view).unwrap();
        for (field, value) in example.as_object().unwrap() {
            if value.is_object() {
                continue;
            }
            assert_eq!(&written[field], value, "{name}.{field}");
        }
        let faults = document.faults(schema, &written);
        assert!(faults.is_empty(), "{name} as the program writes it: {faults:#?}");
    }
}

#[test]
fn every_example_is_what_the_real_view_reads_and_writes() {
    let document = &Document::read();
    check_view::<ErrorBody>(document, "Error");
    check_view::<LicenceView>(document, "Licence");
    check_view::<ConnectionView>(document, "Connection");
    check_view::<SessionView>(document, "Session");
    check_view::<SeriesView>(document, "Series");
    check_view::<RuleSet>(document, "RuleSet");
    check_view::<Hello>(document, "Hello");
    check_view::<HelloAnswer>(document, "HelloAnswer");
    check_view::<Connect>(document, "Connect");
    check_view::<Connected>(document, "Connected");
    check_view::<Heartbeat>(document, "Heartbeat");
    check_view::<HeartbeatAnswer>(document, "HeartbeatAnswer");
    check_view::<OpenSession>(document, "OpenSession");
    check_view::<SessionInfo>(document, "SessionInfo");
    check_view::<SessionOpened>(document, "SessionOpened");
    check_view::<TouchSession>(document, "TouchSession");
    check_view::<Disconnect>(document, "Disconnect");
    check_view::<LicencesQuery>(document, "LicencesQuery");
    check_view::<ConnectionQuery>(document, "ConnectionQuery");
    check_view::<Counters>(document, "Counters");
    check_view::<ServerSummary>(document, "ServerSummary");
    check_view::<DatafilesView>(document, "DataFiles");
    check_view::<DatafileView>(document, "DataFile");
    check_view::<DatafileQuery>(document, "DatafileQuery");
    check_view::<DatafileAnswer>(document, "DatafileAnswer");
    check_view::<DatapartQuery>(document, "DatapartQuery");
    check_view::<Datapart>(document, "Datapart");
    check_view::<ObjectEntry>(document, "ObjectEntry");
    check_view::<ObjectKeyQuery>(document, "ObjectKeyQuery");
    check_view::<ObjectKeyAnswer>(document, "ObjectKeyAnswer");
    check_view::<OperationQuery>(document, "OperationQuery");
    check_view::<OperationAnswer>(document, "OperationAnswer");
}

/// A server, and which operations have answered 2xx.
struct Course {
    document: Document,
    server: Server,
    /// Of `admin`.
    password: &'static str,
    done: BTreeSet<(String, String)>,
}

impl Course {
    /// Calls an address as the administrator; the answer is one that the document knows.
    async fn call(&mut self, method: &str, path: &str, body: Value, status: u16) -> Answered {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut sent = request(method, path, &body);
        let credentials = support::basic(&format!("admin:{}", self.password));
        sent.headers_mut().insert("authorization", credentials.parse().unwrap());
        let answer = self.server.send(LOCAL, sent).await;
        self.check(method, path, answer, status)
    }

    /// Sends a message of a component.
    async fn message(&mut self, path: &str, body: Value, status: u16) -> Answered {
        let request = Request::post(path).body(Full::from(body.to_string())).unwrap();
        let answer = self.server.send(LOCAL_TLS, request).await;
        self.check("POST", path, answer, status)
    }

    fn check(&mut self, method: &str, path: &str, answer: Answered, status: u16) -> Answered {
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        let bare = path.split('?').next().unwrap();
        let pattern = self.document.pattern(bare).unwrap_or_else(|| panic!("{bare} is unknown"));
        let operation = self.document.operation(pattern, method);
        let documented = &operation["responses"][status.to_string()];
        assert!(documented.is_object(), "{method} {path} answers {status}: {}", answer.body);
        let content = &self.document.resolved(documented)["content"];
        let sent = answer.headers.get("content-type").unwrap().to_str().unwrap();
        let kind = sent.split(';').next().unwrap();
        let schema = &content[kind]["schema"];
        assert!(schema.is_object(), "{method} {path} answers {kind}");
        if kind == "application/json" {
            let faults = self.document.faults(schema, &answer.json());
            assert!(faults.is_empty(), "{method} {path}: {faults:#?}");
        }
        if status < 300 {
            self.done.insert((method.to_owned(), pattern.to_owned()));
        }
        answer
    }
}

async fn sessions(course: &mut Course) -> (String, String) {
    course
        .message(
            "/client/hello",
            json!({"Versions": [1], "Component": "4.0.0", "KeyID": "672B"}),
            200,
        )
        .await;
    course
        .message(
            "/client/hello",
            json!({"Versions": [9], "Component": "4.0.0", "KeyID": "672B"}),
            409,
        )
        .await;
    let info = support::sample_connection_info();
    let connected =
        course.message("/client/v1/connect", json!({"KeyID": "672B", "Info": info}), 200).await;
    let connection = connected.json()["ID"].as_str().unwrap().to_owned();
    let mut opened = Vec::new();
    for number in 1..=6 {
        let body = json!({"Connection": connection, "Session": {
            "SessionNumber": number.to_string(), "IsServer": true,
            "InfoBaseConnectionStr": "Srvr=\"s\";Ref=\"demo\";", "AppName": "1CV8C",
            "ComputerName": "MORA-HP", "SessionStarted": "2018-04-03T14:06:58.000Z"}});
        // Five seats, so the sixth is refused: an event with its holders.
        let answer =
            course.message("/client/v1/open", body, if number < 6 { 200 } else { 403 }).await;
        opened.extend(answer.json()["ID"].as_str().map(str::to_owned));
    }
    let [session, other, ..] = &opened[..] else { panic!("{opened:?}") };
    let touch = json!({"Connection": connection, "Session": session});
    course.message("/client/v1/touch", touch, 200).await;
    let beat = json!({"Connection": connection, "Sessions": [session, "unknown"]});
    course.message("/client/v1/heartbeat", beat, 200).await;
    let query = json!({ "Connection": connection });
    for path in ["/client/v1/licences", "/client/v1/counters", "/client/v1/serverinfo"] {
        course.message(path, query.clone(), 200).await;
    }
    course.message("/client/v1/counters", json!({"Connection": "unknown"}), 404).await;
    course.message("/client/v1/touch", json!({"Connection": 1}), 400).await;
    let other = json!({"Connection": connection, "Session": other});
    course.message("/client/v1/close", other, 200).await;
    (connection, session.clone())
}

/// Data files, and what a component asks beyond seats.
async fn manager(course: &mut Course, connection: &str) {
    let signing = support::series_key();
    let series = KeySeries::from_u16(support::SERIES);
    let mut file = DatafileBuilder::new(series, &signing, &support::OBJECT_SECRET);
    file.add("Печать", ObjectKind::Text, ObjectAccess::Seat, b"text").unwrap();
    let file = file.finish().unwrap();
    let folder = course.server.app.paths.keys();
    std::fs::write(folder.join("672B.datafile"), file.bytes()).unwrap();
    std::fs::write(folder.join("672B.broken.datafile"), "x").unwrap();
    let shown = course.call("GET", "/api/datafiles?KeyID=672B", Value::Null, 200).await;
    assert_eq!(shown.json()["Datafiles"].as_array().unwrap().len(), 2, "{}", shown.body);
    let query = json!({ "Connection": connection });
    let list = course.message("/client/v1/datafile", query.clone(), 200).await.json();
    let part = json!({
        "Connection": connection, "Version": list["Version"], "Offset": 0, "Length": 20
    });
    course.message("/client/v1/datapart", part.clone(), 200).await;
    let mut other = part;
    other["Version"] = json!("0");
    course.message("/client/v1/datapart", other.clone(), 409).await;
    other["Alias"] = json!("none");
    course.message("/client/v1/datapart", other, 404).await;
    let broken = json!({"Connection": connection, "Alias": "broken"});
    course.message("/client/v1/datafile", broken, 409).await;
    let entry = serde_json::to_value(&file.list.objects[0]).unwrap();
    let key = json!({"Connection": connection, "Session": null, "Object": entry});
    course.message("/client/v1/objectkey", key, 403).await;
    let blank = json!({"ActivationCode": support::code(1).to_string(), "BlankKeyNo": 1});
    for (operation, status) in [
        (json!({"WriteMemory": {"KeyNo": KEY_NO, "Data": "1"}}), 200),
        (json!({"ReadMemory": {}}), 200),
        (json!({"UpdateRequest": {}}), 200),
        (json!({"Install": {"ActivationCode": "x"}}), 400),
        (json!({"InstallRequest": blank}), 404),
        (json!({"ReadMemory": {"KeyNo": 1}}), 404),
        (json!({"Parameter": {"Name": "A"}}), 200),
    ] {
        let body = json!({"Connection": connection, "KeyID": "672B", "Operation": operation});
        course.message("/client/v1/operation", body, status).await;
    }
}

async fn reads(course: &mut Course, connection: &str, session: &str) {
    for path in [
        "/health/live",
        "/health/ready",
        "/metrics",
        "/systeminfo",
        "/api",
        "/api/serverinfo",
        "/api/health",
        "/api/binding",
        "/api/series?KeyID=672B",
        "/api/licences?KeyID=672B&OnlyAvailable=1",
        "/api/connections?KeyID=672b",
        "/api/sessions",
        "/api/events?Limit=2",
        "/api/events?Kind=denied,session_opened&Text=demo&From=2018-01-01",
        "/api/events?Format=csv&Separator=tab",
        "/api/events?All=1",
        "/api/rules",
        "/api/settings",
        "/api/users",
        "/api/tokens",
        "/api/log?Lines=3&Level=warn",
    ] {
        course.call("GET", path, Value::Null, 200).await;
    }
    course.call("GET", "/api/cluster", Value::Null, 404).await;
    course.call("GET", "/api/cluster/events", Value::Null, 404).await;
    course.call("GET", "/api/cluster/kept", Value::Null, 404).await;
    course.call("DELETE", "/api/cluster/kept/AB", Value::Null, 404).await;
    course.call("GET", "/api/cluster/sessions", Value::Null, 404).await;
    course.call("GET", "/api/cluster/sessions/north/AB", Value::Null, 404).await;
    course.call("DELETE", "/api/cluster/sessions/north/AB", Value::Null, 404).await;
    for kind in ["usage", "users", "infobases", "computers", "applications", "series", "denials"] {
        course.call("GET", &format!("/api/reports/{kind}"), Value::Null, 200).await;
        course.call("GET", &format!("/api/reports/{kind}?Format=csv"), Value::Null, 200).await;
    }
    course.call("GET", &format!("/api/licences/{KEY_NO}"), Value::Null, 200).await;
    course.call("GET", &format!("/api/connections/{connection}"), Value::Null, 200).await;
    course.call("GET", &format!("/api/sessions/{session}"), Value::Null, 200).await;
    for (path, status) in [
        ("/api/licences?KeyID=x", 400),
        ("/api/licences/1", 404),
        ("/api/connections/none", 404),
        ("/api/sessions/none", 404),
        ("/api/events?Limit=0", 400),
        ("/api/reports/none", 404),
        ("/api/reports/usage?Step=second", 400),
        ("/api/log?Level=loud", 400),
    ] {
        course.call("GET", path, Value::Null, status).await;
    }
}

async fn changes(course: &mut Course, session: &str) {
    let session = format!("/api/sessions/{session}?Reason=test");
    course.call("DELETE", &session, Value::Null, 202).await;
    course.call("DELETE", &session, Value::Null, 404).await;
    let example = |course: &Course, name: &str| course.document.schema(name)["examples"][0].clone();
    let rules = example(course, "RuleSet");
    course.call("POST", "/api/rules/check", rules.clone(), 200).await;
    course.call("PUT", "/api/rules", rules, 202).await;
    course.call("PUT", "/api/rules", json!({}), 400).await;
    let deny = json!({"Rules": [{"Name": "nobody", "Effect": "deny", "Computer": "mora-hp"}]});
    let run = course.call("POST", "/api/rules/check", deny, 200).await;
    assert!(!run.json()["Refused"].as_array().unwrap().is_empty(), "{}", run.body);
    let settings = example(course, "SettingsChange");
    course.call("PUT", "/api/settings", settings, 202).await;
    course.call("PUT", "/api/settings", json!({"Common": {"ServerPort": "many"}}), 400).await;
    course.call("POST", "/api/settings/reload", Value::Null, 202).await;
    let user = example(course, "UserPut");
    course.call("PUT", "/api/users/ivanova", user.clone(), 201).await;
    course.call("PUT", "/api/users/ivanova", user, 202).await;
    course
        .call("PUT", "/api/users/ivanova", json!({"Role": "reader", "Password": "12345678"}), 202)
        .await;
    course.call("PUT", "/api/users/ivanova", json!({"Role": "king"}), 400).await;
    course.call("DELETE", "/api/users/admin", Value::Null, 403).await;
    course.call("DELETE", "/api/users/ivanova", Value::Null, 202).await;
    course.call("DELETE", "/api/users/ivanova", Value::Null, 404).await;
    let token = example(course, "TokenOrder");
    let made = course.call("POST", "/api/tokens", token, 201).await.json();
    course.call("GET", "/api/tokens", Value::Null, 200).await;
    let token = format!("/api/tokens/{}", made["ID"].as_str().unwrap());
    course.call("DELETE", &token, Value::Null, 202).await;
    course.call("DELETE", &token, Value::Null, 404).await;
    course.call("POST", "/api/tokens", json!({"Name": "x", "Scope": "all"}), 400).await;
    course.call("POST", "/api/licences/request", json!({"Kind": "update"}), 201).await;
    course.call("POST", "/api/licences/request", json!({"Kind": "none"}), 400).await;
    course.call("POST", "/api/licences/answer", json!({}), 400).await;
    let blank = json!({
        "Kind": "activation",
        "ActivationCodeString": support::code(1).to_string(),
        "BlankKeyNo": 1,
    });
    course.call("POST", "/api/licences/request", blank, 404).await;
    course.call("POST", "/api/licences/1/reservecode", Value::Null, 404).await;
    let key = format!("/api/licences/{KEY_NO}");
    course.call("PUT", &key, json!({"AccessCode": "warehouse"}), 202).await;
    course.call("PUT", &key, json!({"AccessCode": 5}), 400).await;
    course.call("PUT", &key, json!({"AccessCode": null}), 202).await;
    course.call("DELETE", &format!("{key}?Reason=sold&Comment=test"), Value::Null, 202).await;
    course.call("DELETE", &key, Value::Null, 404).await;
    course.call("POST", "/api/restart", Value::Null, 202).await;
    let weak = json!({"Password": "admin", "NewPassword": "short"});
    course.call("PUT", "/api/password", weak, 400).await;
    let wrong = json!({"Password": "wrong", "NewPassword": "correct horse battery"});
    course.call("PUT", "/api/password", wrong, 403).await;
    let password = example(course, "PasswordChange");
    course.call("PUT", "/api/password", password, 202).await;
    // From here on the request of the manual's administrator is a wrong one.
    course.call("GET", "/api/users", Value::Null, 401).await;
}

/// Session keys, on a server of their own: they are not served with the password of the manual.
async fn session_keys() -> BTreeSet<(String, String)> {
    // Nobody listens there; what the service says is looked at in ismp.rs.
    let conf = "[Console]\nPassword=other\n[ISMP]\nEnabled=1\n[ISMPContours]\nproduction=http://127.0.0.1:1\n";
    let (document, server) = (Document::read(), start(conf));
    let done = BTreeSet::new();
    let mut course = Course { document, server, password: "other", done };
    let example = |course: &Course, name: &str| course.document.schema(name)["examples"][0].clone();
    let mut directory = example(&course, "SessionKeyDirectory");
    // Its key is asked for without a challenge, so also without the service.
    directory["Organizations"][0]["TokenFormat"] = json!("uuid-by-inn");
    course.call("PUT", "/api/ismp/settings", directory, 202).await;
    course.call("PUT", "/api/ismp/settings", json!({"Organizations": 1}), 400).await;
    course.call("GET", "/api/ismp/settings", Value::Null, 200).await;
    let rule = example(&course, "ResponsibleRule");
    course.call("POST", "/api/ismp/responsible", rule.clone(), 201).await;
    course.call("POST", "/api/ismp/responsible", json!({"People": []}), 400).await;
    course.call("PUT", "/api/ismp/responsible/1", rule.clone(), 202).await;
    course.call("PUT", "/api/ismp/responsible/9", rule, 404).await;
    course.call("GET", "/api/ismp/responsible", Value::Null, 200).await;
    let path = "/api/ismp/responsible/settings?User=x&ForView=1";
    course.call("GET", path, Value::Null, 200).await;
    for (name, path) in [
        ("RemindersQuestion", "/api/ismp/reminders"),
        ("RefreshQuestion", "/api/ismp/refresh/required"),
        ("SignedChallenge", "/api/ismp/refresh/complete"),
        ("FunctionCall", "/api/ismp/replica"),
    ] {
        let body = example(&course, name);
        course.call("POST", path, body, 200).await;
    }
    course.call("POST", "/api/ismp/refresh/required", json!({"TokenType": "MOTP"}), 400).await;
    let suz = example(&course, "RequestParameters");
    course.call("POST", "/api/ismp/refresh/challenge", suz, 200).await;
    let ismp = json!({"TokenType": "ISMP", "Organization": "7707083893"});
    let given = course.call("POST", "/api/ismp/refresh/challenge", ismp.clone(), 200).await.json();
    let id = given["AuthorizationParameters"]["Id"].as_str().unwrap().to_owned();
    course.call("POST", "/api/ismp/refresh/required", ismp, 200).await;
    course.call("GET", "/api/ismp/tokens", Value::Null, 200).await;
    let lease = format!("/api/ismp/refresh/{id}");
    course.call("DELETE", &lease, Value::Null, 202).await;
    course.call("DELETE", &lease, Value::Null, 404).await;
    course.call("PUT", "/api/ismp/reminders/snooze", example(&course, "Snooze"), 202).await;
    course.call("DELETE", "/api/ismp/reminders/snooze?User=x", Value::Null, 202).await;
    let set = example(&course, "SetSessionKey");
    course.call("PUT", "/api/ismp/token", set.clone(), 202).await;
    let token = "/api/ismp/token?TokenType=ISMP&Organization=7707083893";
    course.call("GET", token, Value::Null, 200).await;
    course.call("GET", &format!("{token}&Format=text"), Value::Null, 200).await;
    course.call("GET", "/api/ismp/tokens?TokenType=ISMP", Value::Null, 200).await;
    course.call("GET", "/api/ismp/replica", Value::Null, 200).await;
    let reject = example(&course, "RejectSessionKey");
    course.call("POST", "/api/ismp/token/reject", reject, 200).await;
    course.call("GET", token, Value::Null, 404).await;
    course.call("DELETE", token, Value::Null, 404).await;
    course.call("PUT", "/api/ismp/token", set, 202).await;
    course.call("DELETE", token, Value::Null, 202).await;
    course.call("PUT", "/api/ismp/replica", example(&course, "ReplicaRecords"), 202).await;
    course.call("PUT", "/api/ismp/replica", json!({}), 400).await;
    course.call("DELETE", "/api/ismp/responsible/1", Value::Null, 202).await;
    course.call("DELETE", "/api/ismp/responsible/1", Value::Null, 404).await;
    course.done
}

/// Answers that have no end or are no text: their head is looked at.
async fn heads(course: &mut Course) {
    for (path, kind) in [
        ("/api/events/stream?Kind=denied", "text/event-stream"),
        ("/api/backup", "application/x-tar"),
    ] {
        let sent = request("GET", path, "");
        let answer = api::serve(&course.server.app, LOCAL, sent).await;
        assert_eq!(answer.status(), 200, "{path}");
        let content_type = answer.headers()["content-type"].to_str().unwrap();
        assert!(content_type.starts_with(kind), "{path}: {content_type}");
        let bare = path.split('?').next().unwrap();
        let operation = course.document.operation(bare, "GET");
        assert!(operation["responses"]["200"]["content"][kind].is_object(), "{path}");
        course.done.insert(("GET".to_owned(), bare.to_owned()));
    }
}

#[tokio::test]
async fn every_address_answers_as_documented() {
    let server = start("");
    let (document, done) = (Document::read(), session_keys().await);
    let mut course = Course { document, server, password: "admin", done };
    let (connection, session) = sessions(&mut course).await;
    manager(&mut course, &connection).await;
    reads(&mut course, &connection, &session).await;
    heads(&mut course).await;
    changes(&mut course, &session).await;
    let end = json!({"Connection": connection, "EndSessions": true});
    course.message("/client/v1/disconnect", end, 200).await;
    let mut expected: BTreeSet<_> = course
        .document
        .operations()
        .map(|(path, method, _)| (method.to_uppercase(), path.to_owned()))
        .collect();
    for (method, path, why) in UNCALLED {
        assert!(expected.remove(&(method.to_owned(), path.to_owned())), "{path}: {why}");
    }
    assert_eq!(course.done, expected);
}

#[tokio::test]
async fn errors_that_any_address_may_answer_are_documented_ones() {
    let server = start("");
    let (document, done) = (Document::read(), BTreeSet::new());
    let mut course = Course { document, server, password: "admin", done };
    let bare = || Request::get("/api/sessions").body(Full::<Bytes>::default()).unwrap();
    let answer = course.server.send(LOCAL, bare()).await;
    assert!(answer.headers.contains_key("www-authenticate"));
    course.check("GET", "/api/sessions", answer, 401);
    let elsewhere = Peer { ip: [192, 168, 7, 7].into(), is_tls: false };
    let answer = course.server.send(elsewhere, request("GET", "/api/sessions", "")).await;
    course.check("GET", "/api/sessions", answer, 403);
    let large = " ".repeat(300 * 1024);
    let answer = course.server.send(LOCAL, request("PUT", "/api/rules", &large)).await;
    course.check("PUT", "/api/rules", answer, 413);
    let plain = request("POST", "/client/hello", "{}");
    let answer = course.server.send(LOCAL, plain).await;
    course.check("POST", "/client/hello", answer, 403);
    let off = start("[API]\nEnabled=0\n");
    let answer = off.call("GET", "/api", "").await;
    course.check("GET", "/api", answer, 503);
    let mut last = course.server.call("GET", "/api", "").await;
    for _ in 0..6 {
        let mut wrong = request("GET", "/api", "");
        let credentials = support::basic("admin:wrong").parse().unwrap();
        wrong.headers_mut().insert("authorization", credentials);
        last = course.server.send(elsewhere, wrong).await;
    }
    assert!(last.headers.contains_key("retry-after"), "{last:?}");
    course.check("GET", "/api", last, 429);
}
