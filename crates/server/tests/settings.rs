//! Settings: read over REST, changed, written back, read again while the server runs.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use licenceserver::access::Actor;
use licenceserver::config::{Config, Password};
use licenceserver::settings::{Edit, Settings, apply, catalogue, document, watch};
use serde_json::{Value, json};
use support::{Server, start};

const CONF: &str = "; ours\r\n[Common]\r\nServerPort = 9099\r\n; the language\r\n;Lang=en\r\n\r\n\
                    [Strange]\r\nKey=kept\r\n[Notify]\r\nSmtpPassword=hunter2\r\n";

fn conf(server: &Server) -> PathBuf {
    server.app.paths.conf()
}

fn text(server: &Server) -> String {
    fs::read_to_string(conf(server)).unwrap()
}

async fn put(server: &Server, body: &Value) -> (u16, Value) {
    let answer = server.call("PUT", "/api/settings", &body.to_string()).await;
    (answer.status, answer.json())
}

async fn shown(server: &Server, section: &str, key: &str) -> Value {
    let answer = server.call("GET", "/api/settings", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let all = answer.json()["Settings"].as_array().unwrap().clone();
    all.into_iter().find(|entry| entry["Section"] == section && entry["Key"] == key).unwrap()
}

#[tokio::test]
async fn change_is_written_back_with_everything_else_of_the_file_kept() {
    let server = start(CONF);
    let body = json!({
        "Common": {"ServerPort": 9100, "Lang": "ru"},
        "Console": {"LocalAccessOnly": true, "AllowedAddresses": ["10.0.0.0/8", "::1"]},
    });
    let (status, answer) = put(&server, &body).await;
    assert_eq!(status, 202, "{answer}");
    let keys = [
        "[Common] Lang",
        "[Common] ServerPort",
        "[Console] AllowedAddresses",
        "[Console] LocalAccessOnly",
    ];
    assert_eq!(answer, json!({"Changed": keys, "NeedsRestart": ["[Common] ServerPort"]}));
    let expected = CONF.replace("9099", "9100").replace(";Lang=en\r\n", ";Lang=en\r\nLang=ru\r\n")
        + "\r\n[Console]\r\nAllowedAddresses=10.0.0.0/8,::1\r\nLocalAccessOnly=1\r\n";
    assert_eq!(text(&server), expected);
    let config = server.app.settings.get();
    assert!(config.console.local_access_only && config.server_port == 9100);
    assert_eq!(config.console.allowed_addresses.len(), 2);
    assert_eq!(server.app.settings.waiting_for_restart(), ["[Common] ServerPort"]);
    // Back to what the server was started with: nothing waits.
    let (status, answer) = put(&server, &json!({"Common": {"ServerPort": null}})).await;
    assert_eq!((status, &answer["Changed"]), (202, &json!(["[Common] ServerPort"])));
    assert!(server.app.settings.waiting_for_restart().is_empty());
    assert!(!text(&server).contains("ServerPort"));
}

#[tokio::test]
async fn setting_is_shown_with_all_that_a_form_needs_and_a_secret_is_not() {
    let server = start(CONF);
    let port = shown(&server, "Common", "ServerPort").await;
    assert_eq!(
        port,
        json!({
            "Section": "Common", "Key": "ServerPort", "Value": "9099", "Default": "9099",
            "Type": "number", "Min": 0, "Max": 65535, "NeedsRestart": true, "ReadOnly": false,
            "Description": "Port for components, the REST API and the console. 0 takes any free one.",
        })
    );
    let level = shown(&server, "Common", "LogLevel").await;
    assert_eq!(level["Choices"][3], "info");
    assert_eq!((&level["Value"], &level["Type"]), (&Value::Null, &json!("choice")));
    let secret = shown(&server, "Notify", "SmtpPassword").await;
    assert_eq!((&secret["Value"], &secret["Default"]), (&json!("***"), &Value::Null));
    assert_eq!(shown(&server, "Notify", "WebhookSecret").await["Value"], Value::Null);
    assert_eq!(shown(&server, "Console", "Password").await["ReadOnly"], true);
    let answer = server.call("GET", "/api/settings", "").await;
    assert!(!answer.body.contains("hunter2"));
    assert_eq!(answer.json()["Problem"], Value::Null);
    // What was shown is sent back: the secret stays.
    let (status, _) = put(&server, &json!({"Notify": {"SmtpPassword": "***"}})).await;
    assert_eq!((status, text(&server).as_str()), (202, CONF));
}

#[tokio::test]
async fn change_that_cannot_be_is_refused_by_name_and_changes_nothing() {
    let server = start(CONF);
    for (body, english) in [
        (json!({"Common": {"ServerPort": 70000}}), "[Common] ServerPort: expected a port number"),
        (json!({"Common": {"ServerPort": true}}), "[Common] ServerPort: expected a number"),
        (json!({"Common": {"ServerPort": 1.5}}), "[Common] ServerPort: expected a port number"),
        (json!({"Common": {"Lang": "de"}}), "[Common] Lang: expected ru or en"),
        (json!({"Common": {"Lang": ["ru"]}}), "[Common] Lang: expected a text"),
        (json!({"Common": {"SeriesFile": "a\n[API]\nEnabled=0"}}), "[Common] SeriesFile: a value"),
        (json!({"Console": {"HostNames": [1]}}), "[Console] HostNames: expected texts"),
        (json!({"Console": {"HostNames": ["a,b"]}}), "[Console] HostNames: a text must not"),
        (json!({"Console": {"LocalAccessOnly": "yes"}}), "[Console] LocalAccessOnly: expected 0"),
        (json!({"Console": {"Password": "x"}}), "[Console] Password: this is changed at /api/pass"),
        (json!({"Users": {"x": "reader;y"}}), "[Users] x: this is changed at /api/users"),
        (json!({"Tokens": {"x": "y"}}), "[Tokens] x: this is changed at /api/tokens"),
        (json!({"AccessCodes": {"7131766": "y"}}), "[AccessCodes] 7131766: this is changed at"),
        (json!({"Common": {"serverport": 1}}), "[Common] serverport: there is no such setting"),
        (json!({"LicenceUpdate": {"x": 1}}), "[LicenceUpdate] x: there is no such setting"),
        (json!({"Common": 1}), "[Common]: expected an object"),
    ] {
        let (status, answer) = put(&server, &body).await;
        let message = answer["Message"].as_str().unwrap();
        assert_eq!((status, &answer["Exception"]), (400, &json!("ESettings")), "{body} {answer}");
        assert!(message.contains(english), "{body} {message}");
    }
    assert_eq!(server.call("PUT", "/api/settings", "[]").await.status, 400);
    assert_eq!(text(&server), CONF);
    let mut request = support::request("PUT", "/api/settings", r#"{"Common":{"Lang":"de"}}"#);
    request.headers_mut().insert("Accept-Language", "ru".parse().unwrap());
    let answer = server.send(support::LOCAL, request).await;
    assert!(answer.body.contains("[Common] Lang: ожидается ru или en."), "{answer:?}");
}

#[tokio::test]
async fn what_the_administrator_wrote_meanwhile_is_kept_and_put_in_force() {
    let server = start(CONF);
    fs::write(conf(&server), CONF.replace("kept", "changed") + "[API]\nEnabled=1\n").unwrap();
    let (status, answer) = put(&server, &json!({"Console": {"NameHolders": false}})).await;
    assert_eq!(status, 202);
    assert_eq!(
        answer["Changed"],
        json!(["[API] Enabled", "[Console] NameHolders", "[Strange] Key"])
    );
    assert!(text(&server).contains("Key=changed") && text(&server).contains("NameHolders=0"));
}

#[tokio::test]
async fn broken_file_is_told_with_its_line_left_alone_and_mended_by_the_right_change() {
    let server = start(CONF);
    let broken = CONF.replace("9099", "high");
    fs::write(conf(&server), &broken).unwrap();
    let (status, answer) = put(&server, &json!({"Console": {"NameHolders": false}})).await;
    assert_eq!((status, &answer["Exception"]), (400, &json!("ESettingsBroken")));
    let message = answer["Message"].as_str().unwrap();
    assert!(message.contains("licenceserver.conf:3: [Common] ServerPort=high: exp"), "{message}");
    assert_eq!(text(&server), broken);
    let answer = server.call("POST", "/api/settings/reload", "").await;
    assert_eq!((answer.status, &answer.json()["Exception"]), (400, &json!("ESettingsBroken")));
    assert_eq!(server.app.settings.get().server_port, 9099);
    let listed = server.call("GET", "/api/settings", "").await.json();
    assert!(listed["Problem"].as_str().unwrap().contains(":3: [Common] ServerPort=high"));
    let (status, _) = put(&server, &json!({"Common": {"ServerPort": 9101}})).await;
    assert_eq!((status, server.app.settings.problem()), (202, None));
    assert_eq!(text(&server), CONF.replace("9099", "9101"));
    for (bytes, reason) in
        [(&b"[Common]\n[API\n"[..], ":2: "), (b"[Common]\n\nx=\xff\n", ":3: "), (b"=1\n", ":1: ")]
    {
        fs::write(conf(&server), bytes).unwrap();
        let (status, answer) = put(&server, &json!({"Console": {"NameHolders": true}})).await;
        let message = answer["Message"].as_str().unwrap();
        assert!(status == 400 && message.contains(reason), "{message}");
        assert_eq!(fs::read(conf(&server)).unwrap(), bytes);
    }
}

#[tokio::test]
async fn missing_file_is_made_and_a_vanished_one_is_written_again_whole() {
    let server = start("");
    let (status, _) = put(&server, &json!({"Common": {"Lang": "ru"}})).await;
    assert_eq!(status, 202);
    assert!(text(&server).starts_with("; ") && text(&server).ends_with("\n\n[Common]\nLang=ru\n"));
    fs::remove_file(conf(&server)).unwrap();
    let error = server.app.settings.reload().unwrap_err().to_string();
    assert!(error.contains("is gone"), "{error}");
    assert_eq!(put(&server, &json!({"API": {"Enabled": 1}})).await.0, 202);
    assert!(
        text(&server).ends_with("[Common]\nLang=ru\n\n[API]\nEnabled=1\n"),
        "{}",
        text(&server)
    );
}

#[tokio::test]
async fn file_that_cannot_be_written_changes_nothing() {
    let server = start(CONF);
    // A folder where the fresh file would be written stands in the way even of root.
    fs::create_dir(conf(&server).with_file_name("licenceserver.conf.tmp")).unwrap();
    let (status, answer) = put(&server, &json!({"Common": {"Lang": "ru"}})).await;
    assert_eq!((status, &answer["Exception"]), (500, &json!("ESettingsWrite")));
    assert_eq!(text(&server), CONF);
    assert_eq!(server.app.settings.text("Common", "Lang"), None);
    // What is there already need not be written.
    assert_eq!(put(&server, &json!({"Common": {"ServerPort": 9099}})).await.0, 202);
}

#[cfg(unix)]
#[tokio::test]
async fn mode_and_link_of_the_file_are_kept_and_a_fresh_one_is_private() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let server = start("");
    assert_eq!(put(&server, &json!({"Common": {"Lang": "ru"}})).await.0, 202);
    assert_eq!(mode(&conf(&server)), 0o600);
    fs::set_permissions(conf(&server), fs::Permissions::from_mode(0o640)).unwrap();
    let elsewhere = server.app.paths.base().join("elsewhere.conf");
    fs::rename(conf(&server), &elsewhere).unwrap();
    symlink(&elsewhere, conf(&server)).unwrap();
    assert_eq!(put(&server, &json!({"Common": {"Lang": "en"}})).await.0, 202);
    assert!(fs::symlink_metadata(conf(&server)).unwrap().is_symlink());
    assert_eq!(mode(&elsewhere), 0o640);
    assert!(fs::read_to_string(elsewhere).unwrap().contains("Lang=en"));
}

#[test]
fn plain_passwords_are_replaced_by_their_hashes_when_the_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("licenceserver.conf");
    let written =
        "[Console]\nUserName=root\nPassword=hun;ter=2\n[Users]\n; hers\neva=reader;pass\n";
    fs::write(&path, written).unwrap();
    let settings = Settings::load(path.clone()).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains("hun;ter=2") && !text.contains(";pass"), "{text}");
    assert!(text.contains("Password=$argon2id$") && text.contains("; hers\neva=reader;$argon2id$"));
    let config = settings.get();
    let Password::Phc(hash) = &config.console.password else { panic!("{config:?}") };
    assert_is_hash_of("hun;ter=2", hash);
    let Password::Phc(hash) = &config.parts.users[0].password else { panic!("{config:?}") };
    assert_is_hash_of("pass", hash);
    // Read again, nothing is to be done.
    Settings::load(path.clone()).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    // A change may bring a plain password: it does not reach the disk.
    let edits = [Edit::set("Console", "Password", "another")];
    settings.change(&edits, &Actor::server()).unwrap();
    assert!(!fs::read_to_string(&path).unwrap().contains("another"));
    assert!(!format!("{edits:?}").contains("another"));
}

fn assert_is_hash_of(password: &str, hash: &str) {
    use argon2::PasswordVerifier;
    let hash = argon2::password_hash::phc::PasswordHash::new(hash).unwrap();
    argon2::Argon2::default().verify_password(password.as_bytes(), &hash).unwrap();
}

#[test]
fn password_of_the_manual_stays_recognisable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("licenceserver.conf");
    fs::write(&path, "[Console]\nUserName=admin\nPassword=admin\n").unwrap();
    assert!(Settings::load(path.clone()).unwrap().get().has_default_password());
    assert!(fs::read_to_string(&path).unwrap().ends_with("Password=admin\n"));
}

#[cfg(unix)]
#[test]
fn plain_password_in_a_file_that_cannot_be_written_works() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("licenceserver.conf");
    fs::write(&path, "[Console]\nPassword=hunter2\n").unwrap();
    fs::create_dir(dir.path().join("licenceserver.conf.tmp")).unwrap();
    let config = Settings::load(path).unwrap().get();
    assert_eq!(config.console.password, Password::Plain("hunter2".to_owned()));
}

/// Waits until the settings in force are such.
async fn until(settings: &Settings, is_so: impl Fn(&Config) -> bool) -> Arc<Config> {
    let mut changes = settings.subscribe();
    let wait = changes.wait_for(|config| is_so(config));
    let config = tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap().unwrap();
    Arc::clone(&config)
}

#[tokio::test]
async fn edited_file_is_taken_up_by_the_running_server_and_a_broken_one_is_not() {
    let server = start("[Console]\nUserName=root\nPassword=forgotten\n");
    let settings = &server.app.settings;
    let watching = tokio::spawn(watch::watch(settings.clone()));
    // The manual's way to reset the password.
    fs::write(conf(&server), "[Console]\nUserName=admin\nPassword=admin\n").unwrap();
    until(settings, Config::has_default_password).await;
    fs::write(conf(&server), "[Console]\nUserName=eva\nPassword=hunter2\n").unwrap();
    let config = until(settings, |config| config.console.user_name == "eva").await;
    assert!(matches!(config.console.password, Password::Phc(_)));
    assert!(!text(&server).contains("hunter2"));
    let good = text(&server);
    fs::write(conf(&server), good.clone() + "Authorization=9\n").unwrap();
    let problem = async {
        while settings.problem().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), problem).await.unwrap();
    assert!(settings.problem().unwrap().contains(":4: [Console] Authorization=9: expected"));
    assert_eq!(settings.get().console.user_name, "eva");
    fs::write(conf(&server), good + "Authorization=1\n[API]\nEnabled=1\n").unwrap();
    until(settings, |config| {
        config.console.authorization == licenceserver::config::Authorization::Always
    })
    .await;
    assert_eq!(settings.problem(), None);
    watching.abort();
}

#[tokio::test]
async fn access_code_that_is_written_into_the_file_counts_for_the_running_server() {
    let server = start("[Common]\nLang=en\n");
    let _watching =
        apply::start(&server.app.settings, &server.app.handle, server.app.history.retention());
    let connection = server.connect().await;
    assert_eq!(server.open(&connection, 1).await.status, 200);
    fs::write(conf(&server), "[AccessCodes]\n7131766=secret\n[Reports]\nKeepDays=31\n").unwrap();
    let refused = async {
        for number in 2.. {
            let answer = server.open(&connection, number).await;
            if answer.status != 200 {
                assert!(answer.body.contains("the access code is another"), "{answer:?}");
                break;
            }
            let id = answer.json()["ID"].as_str().unwrap().to_owned();
            server.app.handle.revoke(id, String::new(), &Actor::server()).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), refused).await.unwrap();
    let changed = server.app.handle.configure(true, true, Default::default()).await.unwrap();
    assert_eq!(changed, 1);
    assert_eq!(server.open(&connection, 1_000_000).await.status, 200);
    let arrived = server.call("GET", "/api/events?Kind=key_arrived", "").await.json();
    assert_eq!(arrived["Events"], json!([]), "a key with another code is no other key");
    assert_eq!(server.app.history.retention().days(), 31);
}

#[tokio::test]
async fn end_of_the_log_is_shown_to_administrators() {
    let server = start("");
    assert_eq!(server.call("GET", "/api/log", "").await.body, "");
    fs::create_dir_all(server.app.paths.logs()).unwrap();
    let file = server.app.paths.logs().join("licenceserver.20180402-204113.1.log");
    fs::write(file, "t WARN  a: 1\nt DEBUG a: 2\nt INFO  a: 3\n").unwrap();
    for (query, expected) in [
        ("", "t WARN  a: 1\nt DEBUG a: 2\nt INFO  a: 3\n"),
        ("?Lines=2", "t DEBUG a: 2\nt INFO  a: 3\n"),
        ("?Level=info&Lines=1", "t INFO  a: 3\n"),
        ("?Level=warn", "t WARN  a: 1\n"),
    ] {
        let answer = server.call("GET", &format!("/api/log{query}"), "").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, expected), "{query}");
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    }
    for query in ["?Lines=x", "?Level=loud"] {
        assert_eq!(server.call("GET", &format!("/api/log{query}"), "").await.status, 400);
    }
}

/// Holds a document to the table of keys; `LICENCE_UPDATE_DOCS=1` writes it anew.
fn check_document(name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    if std::env::var_os("LICENCE_UPDATE_DOCS").is_some() {
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{name} is not what the table of keys says: LICENCE_UPDATE_DOCS=1");
}

#[test]
fn documents_are_what_the_table_of_keys_says() {
    check_document("docs/settings.md", &document::reference());
    check_document("examples/licenceserver.conf", &document::sample());
}

#[test]
fn sample_is_all_defaults_and_every_default_of_the_table_is_the_one_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("licenceserver.conf");
    fs::write(&path, document::sample()).unwrap();
    let defaults = Config::load(&dir.path().join("none.conf")).unwrap();
    assert_eq!(*Settings::load(path.clone()).unwrap().get(), defaults);
    assert_eq!(fs::read_to_string(&path).unwrap(), document::sample());
    // A table whose default is not the reader's would say another thing than the server does: every
    // key alone must come to the defaults, too.
    for entry in catalogue::ENTRIES {
        fs::write(&path, format!("[{}]\n{}={}\n", entry.section, entry.key, entry.default))
            .unwrap();
        assert_eq!(Config::load(&path).unwrap(), defaults, "[{}] {}", entry.section, entry.key);
    }
}

#[test]
fn reader_takes_what_the_table_allows_and_refuses_what_it_does_not() {
    use licenceserver::settings::catalogue::Kind;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("licenceserver.conf");
    let is_taken = |entry: &catalogue::Entry, value: &str| {
        fs::write(&path, format!("[{}]\n{}={value}\n", entry.section, entry.key)).unwrap();
        Config::load(&path).is_ok()
    };
    for entry in catalogue::ENTRIES {
        let (good, bad): (Vec<String>, Vec<String>) = match entry.kind {
            Kind::Flag => (vec!["0".into(), "1".into()], vec!["2".into(), "true".into()]),
            Kind::Choice(words) => {
                (words.iter().map(|word| (*word).to_owned()).collect(), vec!["other".into()])
            }
            Kind::Number { min, max } => {
                let below =
                    min.checked_sub(1).map_or_else(|| "-1".to_owned(), |below| below.to_string());
                (vec![min.to_string(), max.to_string()], vec![below, (max + 1).to_string()])
            }
            Kind::List | Kind::Secret | Kind::Text => Default::default(),
        };
        let place = format!("[{}] {}", entry.section, entry.key);
        assert!(good.iter().all(|value| is_taken(entry, value)), "{place} {good:?}");
        assert!(!bad.iter().any(|value| is_taken(entry, value)), "{place} {bad:?}");
        assert!(!entry.russian.is_empty() && !entry.english.is_empty(), "{place}");
    }
}
