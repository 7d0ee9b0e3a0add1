//! Users, tokens and passwords over REST: what is written to the conf file is in force at once.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use http_body_util::Full;
use hyper::Request;
use licenceserver::api::Peer;
use serde_json::json;
use support::{Answered, LOCAL, Server, basic, start};

async fn send(server: &Server, authorization: &str, line: &str, body: &str) -> Answered {
    let (method, path) = line.split_once(' ').unwrap();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("Authorization", authorization)
        .body(Full::from(body.to_owned()))
        .unwrap();
    server.send(LOCAL, request).await
}

async fn check(server: &Server, authorization: &str, line: &str, body: &str, expected: u16) {
    let answer = send(server, authorization, line, body).await;
    assert_eq!(answer.status, expected, "{line} {answer:?}");
}

/// Actions of the audit trail, in order.
fn audited(server: &Server) -> Vec<String> {
    let database = rusqlite::Connection::open(server.app.paths.database()).unwrap();
    let sql = "SELECT reason FROM history WHERE event = 'audit' ORDER BY no";
    let mut statement = database.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

fn conf(server: &Server) -> String {
    std::fs::read_to_string(server.app.settings.path()).unwrap()
}

#[tokio::test]
async fn users_are_listed_with_the_administrator_of_the_console_first() {
    let server = start("[Users]\nivan=reader;long password\nadmin=reader;x\n");
    let answer = send(&server, &basic("admin:admin"), "GET /api/users", "").await;
    let expected = json!({"Users": [
        {"Name": "admin", "Role": "administrator", "DefaultPassword": true},
        {"Name": "ivan", "Role": "reader", "DefaultPassword": false},
    ]});
    assert_eq!((answer.status, answer.json()), (200, expected));
}

#[tokio::test]
async fn tokens_are_listed_without_their_secrets() {
    let digest = "ab".repeat(32);
    let server = start(&format!(
        "[Tokens]\n01=metrics;2100-01-01T00:00:00.000Z;{digest};Prometheus; main\n\
         02=operator;2020-01-01T00:00:00.000Z;{digest};\n"
    ));
    let answer = send(&server, &basic("admin:admin"), "GET /api/tokens", "").await;
    let expected = json!({"Tokens": [
        {"ID": "01", "Name": "Prometheus; main", "Scope": "metrics",
         "Expires": "2100-01-01T00:00:00.000Z", "Expired": false},
        {"ID": "02", "Name": "", "Scope": "operator",
         "Expires": "2020-01-01T00:00:00.000Z", "Expired": true},
    ]});
    assert_eq!((answer.status, answer.json()), (200, expected));
}

#[tokio::test]
async fn wrong_wishes_are_refused_by_the_name_of_the_field() {
    let server = start("[Users]\nivan=operator;long password\n");
    let before = std::fs::read_to_string(server.app.settings.path()).ok();
    let admin = basic("admin:admin");
    for (line, body, status, named) in [
        ("PUT /api/users/olga", r#"{"Role":"owner","Password":"long password"}"#, 400, "Role"),
        ("PUT /api/users/olga", r#"{"Role":"reader"}"#, 400, "Password"),
        ("PUT /api/users/olga", r#"{"Role":"reader","Password":"short"}"#, 400, "EPasswordWeak"),
        ("PUT /api/users/o%3Alga", r#"{"Role":"reader","Password":"long word"}"#, 400, "Name"),
        ("PUT /api/users/IVAN", r#"{"Role":"reader","Password":"long word"}"#, 400, "Name"),
        ("PUT /api/users/admin", r#"{"Role":"reader"}"#, 403, "EUserStays"),
        ("PUT /api/users/olga", "", 400, "JSON"),
        ("DELETE /api/users/admin", "", 403, "EUserStays"),
        ("DELETE /api/users/olga", "", 404, "EUserNotFound"),
        ("DELETE /api/tokens/01", "", 404, "ETokenNotFound"),
        ("POST /api/tokens", r#"{"Name":"x","Scope":"all"}"#, 400, "Scope"),
        ("POST /api/tokens", r#"{"Name":"","Scope":"reader"}"#, 400, "Name"),
        ("POST /api/tokens", r#"{"Name":"x","Scope":"reader","Days":0}"#, 400, "Expires"),
        ("POST /api/tokens", r#"{"Name":"x","Scope":"reader","Days":367}"#, 400, "Expires"),
        ("POST /api/tokens", r#"{"Name":"x","Scope":"reader","Days":4294967295}"#, 400, "Expires"),
        ("POST /api/tokens", r#"{"Name":"x","Scope":"reader","Expires":"soon"}"#, 400, "Expires"),
        (
            "POST /api/tokens",
            r#"{"Name":"x","Scope":"reader","Days":1,"Expires":"2100-01-01T00:00:00Z"}"#,
            400,
            "Days",
        ),
        ("PUT /api/password", r#"{"Password":"x"}"#, 400, "NewPassword"),
        ("PUT /api/password", r#"{"Password":"admin","NewPassword":"admin"}"#, 400, "Weak"),
        (
            "PUT /api/password",
            r#"{"Password":"x","NewPassword":"long word"}"#,
            403,
            "EPasswordWrong",
        ),
    ] {
        let answer = send(&server, &admin, line, body).await;
        assert_eq!(answer.status, status, "{line} {body} {answer:?}");
        assert!(answer.body.contains(named), "{line} {body} {answer:?}");
    }
    let after = std::fs::read_to_string(server.app.settings.path()).ok();
    assert_eq!(after, before, "nothing was written");
}

// The tests from here on write the conf file.

#[tokio::test]
async fn user_is_made_changed_and_taken_out() {
    let server = start("");
    let admin = basic("admin:admin");
    let made = r#"{"Role":"reader","Password":"first password"}"#;
    check(&server, &admin, "PUT /api/users/olga", made, 201).await;
    assert!(conf(&server).contains("olga") && !conf(&server).contains("first password"));
    let olga = basic("olga:first password");
    check(&server, &olga, "GET /api/licences", "", 200).await;
    check(&server, &olga, "GET /api/rules", "", 403).await;
    // A new role leaves the password as it was.
    check(&server, &admin, "PUT /api/users/olga", r#"{"Role":"administrator"}"#, 202).await;
    check(&server, &olga, "GET /api/users", "", 200).await;
    // Nobody's own password is changed without the old one.
    let own = r#"{"Role":"administrator","Password":"second password"}"#;
    check(&server, &olga, "PUT /api/users/olga", own, 403).await;
    // Nobody takes rights away from themselves.
    check(&server, &olga, "PUT /api/users/olga", r#"{"Role":"reader"}"#, 403).await;
    check(&server, &olga, "DELETE /api/users/olga", "", 403).await;
    check(&server, &admin, "DELETE /api/users/olga", "", 202).await;
    check(&server, &olga, "GET /api/licences", "", 401).await;
    assert_eq!(audited(&server), ["user_put", "user_put", "user_remove"]);
}

#[tokio::test]
async fn changed_password_counts_at_once_and_from_everywhere() {
    let server = start("");
    let wanted = r#"{"Password":"admin","NewPassword":"длинный пароль"}"#;
    check(&server, &basic("admin:admin"), "PUT /api/password", wanted, 202).await;
    assert!(conf(&server).contains("$argon2id$"), "{}", conf(&server));
    check(&server, &basic("admin:admin"), "GET /api", "", 401).await;
    let far = Peer { ip: "192.168.1.5".parse().unwrap(), is_tls: false };
    let request = Request::get("/api")
        .header("Authorization", basic("admin:длинный пароль"))
        .body(Full::default())
        .unwrap();
    assert_eq!(server.send(far, request).await.status, 200);
    assert_eq!(audited(&server), ["password_change"]);
}

#[tokio::test]
async fn token_is_shown_once_and_works_until_it_is_taken_out() {
    let server = start("");
    let admin = basic("admin:admin");
    let wanted = r#"{"Name":"Мониторинг; главный","Scope":"reader","Days":30}"#;
    let made = send(&server, &admin, "POST /api/tokens", wanted).await;
    assert_eq!(made.status, 201, "{made:?}");
    let secret = made.json()["Token"].as_str().unwrap().to_owned();
    let id = made.json()["ID"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("lic_") && secret.len() == 47, "{secret}");
    assert!(!conf(&server).contains(&secret));
    let listed = send(&server, &admin, "GET /api/tokens", "").await;
    assert!(!listed.body.contains(&secret) && listed.body.contains("Мониторинг; главный"));
    let bearer = format!("Bearer {secret}");
    check(&server, &bearer, "GET /api/licences", "", 200).await;
    check(&server, &bearer, "GET /api/users", "", 403).await;
    let change = r#"{"Password":"x","NewPassword":"long password"}"#;
    check(&server, &bearer, "PUT /api/password", change, 403).await;
    check(&server, &admin, &format!("DELETE /api/tokens/{id}"), "", 202).await;
    check(&server, &bearer, "GET /api/licences", "", 401).await;
    assert_eq!(audited(&server), ["token_make", "token_remove"]);
}

/// The program's own word on `licenceserver password`, with this on its standard input.
fn set_password(base: &Path, arguments: &[&str], input: &str) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_licenceserver"));
    command.arg("password").arg("--data").arg(base).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn password_set_at_the_command_line_counts_in_a_running_server() {
    let server = start("[Users]\nivan=reader;ivan password\n");
    let base = server.app.paths.base();
    std::fs::write(server.app.settings.path(), "; mine\n[Users]\nivan=reader;ivan password\n")
        .unwrap();
    for (arguments, input, is_set, text) in [
        (&[][..], "short\n", false, "EPasswordWeak"),
        (&[], "long password\nanother\n", false, "differ"),
        (&["--user", "olga"], "long password\n", false, "no user olga"),
        (&[], "long password\nlong password\n", true, "password of admin is set"),
        (&["--user", "ivan"], "other password", true, "password of ivan is set"),
    ] {
        let (is_done, said) = set_password(base, arguments, input);
        assert_eq!(is_done, is_set, "{arguments:?} {input:?} {said}");
        assert!(said.contains(text), "{said}");
        assert!(!said.contains("long password") && !said.contains("other password"), "{said}");
    }
    let file = base.join("secret");
    std::fs::write(&file, "from a file\r\n").unwrap();
    let arguments = ["--user", "ivan", "--password-file", file.to_str().unwrap()];
    assert!(set_password(base, &arguments, "").0);
    assert!(conf(&server).starts_with("; mine\n"), "{}", conf(&server));
    server.app.settings.reload().unwrap();
    check(&server, &basic("admin:long password"), "GET /api/users", "", 200).await;
    check(&server, &basic("ivan:from a file"), "GET /api", "", 200).await;
    check(&server, &basic("ivan:ivan password"), "GET /api", "", 401).await;
}
