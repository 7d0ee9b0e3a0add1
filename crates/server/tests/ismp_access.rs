//! Session keys of ИС МП: who may have them, how components ask, what signs for people, and by which
//! way the service is reached.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod ismp_service;
mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use ismp_service::{Service, signature, usual};
use licenceserver::api::Peer;
use serde_json::{Value, json};
use support::{Answered, LOCAL, LOCAL_TLS, Server, basic, start};

const INN: &str = "7707083893";
const OBJECT: &str = "line-1";
const PATH: &str = "/api/ismp/token?Type=SUZ&Organization=7707083893&ProductionObject=line-1";

const FAR: Peer = Peer { ip: IpAddr::V4(Ipv4Addr::new(192, 168, 1, 5)), is_tls: false };
const FAR_TLS: Peer = Peer { is_tls: true, ..FAR };

fn conf(service: &Service, more: &str) -> String {
    format!(
        "[Console]\nPassword=other\n[Users]\nreader=reader;read\n[ISMP]\nEnabled=1\n{more}\n\
         [ISMPContours]\nproduction={}\n",
        service.url()
    )
}

fn suz() -> Value {
    json!({"TokenType": "SUZ", "Organization": INN, "ProductionObject": OBJECT})
}

fn get(path: &str, authorization: Option<String>) -> Request<Full<Bytes>> {
    let mut builder = Request::builder().method("GET").uri(path);
    if let Some(value) = authorization {
        builder = builder.header("Authorization", value);
    }
    builder.body(Full::default()).unwrap()
}

async fn send(server: &Server, method: &str, path: &str, body: &Value) -> Answered {
    let builder = Request::builder().method(method).uri(path);
    let request = builder.header("Authorization", basic("admin:other"));
    let text = if body.is_null() { String::new() } else { body.to_string() };
    server.send(LOCAL, request.body(Full::from(text)).unwrap()).await
}

async fn post(server: &Server, path: &str, body: &Value) -> Value {
    let answer = send(server, "POST", &format!("/api/ismp/{path}"), body).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

async fn put_key(server: &Server, key: &str) {
    let until = licenceserver::clock::utc().plus_millis(3_600_000).to_string();
    let mut body = suz();
    body["SessionKey"] = key.into();
    body["ValidUntil"] = until.into();
    assert_eq!(send(server, "PUT", "/api/ismp/token", &body).await.status, 202);
}

/// An access token with this scope.
async fn token(server: &Server, scope: &str) -> String {
    let body = json!({"Name": format!("for {scope}"), "Scope": scope});
    let made = send(server, "POST", "/api/tokens", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.json()["Token"].as_str().unwrap().to_owned()
}

fn check_refused(answer: &Answered, status: u16, class: &str, name: &str) {
    assert_eq!(answer.status, status, "{name}: {answer:?}");
    assert_eq!(answer.json()["Exception"], class, "{name}: {answer:?}");
    assert!(!answer.body.contains("kept-key"), "{name}: {answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_for_administrators_and_tokens_of_the_scope_over_a_safe_way() {
    let service = Service::start();
    let server = start(&conf(&service, ""));
    put_key(&server, "kept-key").await;
    let own = token(&server, "ismp").await;
    let metrics = token(&server, "metrics").await;
    let reader = token(&server, "reader").await;
    let bearer = |token: &str| Some(format!("Bearer {token}"));
    let as_password = |user: &str, token: &str| Some(basic(&format!("{user}:{token}")));
    for (name, peer, authorization, status, class) in [
        ("nobody", LOCAL, None, 401, "EHTTPUnauthorized"),
        ("administrator", LOCAL, Some(basic("admin:other")), 200, ""),
        ("reader", LOCAL, Some(basic("reader:read")), 403, "ERole"),
        ("own scope", LOCAL, bearer(&own), 200, ""),
        ("own scope as a password", LOCAL, as_password("Иванов", &own), 200, ""),
        ("own scope as a password, no name", LOCAL, as_password("", &own), 200, ""),
        ("own scope as the administrator's", LOCAL, as_password("admin", &own), 200, ""),
        ("metrics", LOCAL, bearer(&metrics), 403, "ERole"),
        ("metrics as a password", LOCAL, as_password("x", &metrics), 403, "ERole"),
        ("reader's token", LOCAL, bearer(&reader), 403, "ERole"),
        ("far, plain", FAR, bearer(&own), 403, "EIsmpInsecure"),
        ("far, TLS", FAR_TLS, bearer(&own), 200, ""),
        ("wrong token", LOCAL, bearer("lic_wrong"), 401, "EHTTPUnauthorized"),
        (
            "wrong token as a password",
            LOCAL,
            as_password("x", "lic_wrong"),
            401,
            "EHTTPUnauthorized",
        ),
    ] {
        let answer = server.send(peer, get(PATH, authorization)).await;
        if status == 200 {
            assert_eq!(answer.status, 200, "{name}: {answer:?}");
            assert!(answer.body.contains("kept-key"), "{name}");
        } else {
            check_refused(&answer, status, class, name);
        }
    }
    // The scope is good for nothing else.
    for path in ["/api/serverinfo", "/api/settings", "/metrics", "/api/backup"] {
        let answer = server.send(LOCAL, get(path, bearer(&own))).await;
        check_refused(&answer, 403, "ERole", path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_served_while_switched_off_or_with_the_password_of_the_manual() {
    let off = start("[Console]\nPassword=other\n");
    let answer = off.send(LOCAL, get(PATH, Some(basic("admin:other")))).await;
    check_refused(&answer, 503, "EIsmpDisabled", "off");
    let known = start("[ISMP]\nEnabled=1\n");
    let answer = known.send(LOCAL, get(PATH, Some(basic("admin:admin")))).await;
    check_refused(&answer, 403, "EIsmpInsecure", "default password");
    let plain = start("[Console]\nPassword=other\n[ISMP]\nEnabled=1\nAllowPlainHttp=1\n");
    let answer = plain.send(FAR, get(PATH, Some(basic("admin:other")))).await;
    check_refused(&answer, 404, "EIsmpNoSessionKey", "allowed over plain HTTP");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_a_program_or_names_a_server_is_not_changed_over_rest() {
    let service = Service::start();
    let server = start(&conf(&service, "SignCommand=/bin/sh -c hunter2\nMainToken=lic_hunter2"));
    for (section, key) in [
        ("ISMP", "SignCommand"),
        ("ISMP", "Main"),
        ("ISMP", "MainPin"),
        ("ISMP", "MainToken"),
        ("ISMPContours", "production"),
    ] {
        let body = json!({section: {key: "/bin/evil"}});
        let answer = send(&server, "PUT", "/api/settings", &body).await;
        check_refused(&answer, 400, "ESettings", key);
    }
    let body = json!({"ISMP": {"AllowPlainHttp": 1}});
    assert_eq!(send(&server, "PUT", "/api/settings", &body).await.status, 202);
    for path in ["/api/settings", "/api/ismp/settings"] {
        let shown = send(&server, "GET", path, &Value::Null).await;
        assert!(shown.status == 200 && !shown.body.contains("hunter2"), "{shown:?}");
    }
}

async fn operation(
    server: &Server,
    connection: &str,
    session: Option<&str>,
    token: Option<&str>,
    function: &str,
    parameters: &Value,
) -> Answered {
    let operation = json!({"SessionKeys": {
        "Function": function, "Parameters": parameters, "AccessToken": token, "Session": session,
    }});
    let body = json!({
        "Connection": connection, "KeyID": "672B", "Language": "en", "Operation": operation
    });
    let mut answer = server.message("/client/v1/operation", &body).await;
    for _ in 0..300 {
        if answer.status != 200 || answer.json()["Ticket"].is_null() {
            return answer;
        }
        let body = json!({
            "Connection": connection, "KeyID": "672B", "Ticket": answer.json()["Ticket"]
        });
        answer = server.message("/client/v1/operation", &body).await;
    }
    panic!("it has no end: {answer:?}");
}

fn result(answer: &Answered) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["Result"]["SessionKeys"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn component_shows_a_token_and_goes_all_the_way_to_a_key() {
    let service = Service::start();
    let server = start(&conf(&service, ""));
    let (own, reader) = (token(&server, "ismp").await, token(&server, "reader").await);
    let connection = server.connect().await;
    let call = async |token: Option<&str>, function: &str, parameters: &Value| {
        operation(&server, &connection, None, token, function, parameters).await
    };
    let read = "CurrentSessionKey";
    check_refused(&call(None, read, &suz()).await, 403, "EIsmpAccess", "no token");
    check_refused(&call(Some(&reader), read, &suz()).await, 403, "ERole", "reader");
    check_refused(&call(Some("lic_x"), read, &suz()).await, 401, "EHTTPUnauthorized", "wrong");
    let own = Some(&*own);
    check_refused(&call(own, "Nonsense", &suz()).await, 400, "EIsmpNoFunction", "function");
    check_refused(&call(own, read, &json!({})).await, 400, "EParams", "no kind");
    check_refused(&call(own, read, &json!([1])).await, 400, "EParams", "no object");
    assert_eq!(result(&call(own, read, &suz()).await), json!({"SessionKey": null}));
    let russian = json!({
        "ПараметрыЗапроса": {
            "ИмяПараметраСеанса": "ДанныеКлючаСессииСУЗ", "Организация": INN,
            "ПроизводственныйОбъект": OBJECT, "Сервер": "evil.example",
        },
        "WaitSeconds": 0,
    });
    let required = result(&call(own, "RefreshRequired", &russian).await);
    assert_eq!(required, json!({"Required": true, "Reason": "missing"}));
    let asked = result(&call(own, "RequestAuthorizationParameters", &russian).await);
    let challenge = asked["AuthorizationParameters"].clone();
    let mut completion = russian.clone();
    completion["СвойстваПодписи"] = json!({"Подпись": signature("D1")});
    completion["ПараметрыАвторизации"] = json!({"Идентификатор": challenge["Id"]});
    let done = result(&call(own, "RequestSessionKey", &completion).await);
    assert_eq!(done["Result"]["SessionKey"], "key-1", "{done}");
    let kept = result(&call(own, read, &russian).await);
    assert_eq!((&kept["SessionKey"], &kept["INN"]), (&json!("key-1"), &json!(INN)));
    let rejected = json!({"RequestParameters": suz(), "SessionKey": "key-1"});
    let rejected = result(&call(own, "RejectSessionKey", &rejected).await);
    assert_eq!(rejected, json!({"Removed": true}));
    let elsewhere = operation(&server, "nowhere", None, own, read, &suz()).await;
    check_refused(&elsewhere, 404, "EConnectionNotFound", "no connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn component_that_waits_is_answered_by_its_ticket_when_the_key_comes() {
    let service = Service::start();
    let server = Arc::new(start(&conf(&service, "")));
    let own = token(&server, "ismp").await;
    let connection = server.connect().await;
    let challenged = post(&server, "refresh/challenge", &suz()).await;
    let mut waiting = suz();
    waiting["WaitSeconds"] = 30.into();
    let operation = json!({"SessionKeys": {
        "Function": "RefreshRequired", "Parameters": waiting, "AccessToken": own,
    }});
    let body = json!({"Connection": connection, "KeyID": "672B", "Operation": operation});
    let first = server.message("/client/v1/operation", &body).await;
    assert_eq!(first.status, 200, "{first:?}");
    let ticket = first.json()["Ticket"].clone();
    assert!(ticket.is_string(), "{first:?}");
    let body = json!({
        "RequestParameters": suz(),
        "AuthorizationParameters": challenged["AuthorizationParameters"],
        "SignatureProperties": {"Signature": signature("D1")},
    });
    post(&server, "refresh/complete", &body).await;
    let mut answer = first;
    while answer.json()["Result"].is_null() {
        let body = json!({"Connection": connection, "KeyID": "672B", "Ticket": ticket});
        answer = server.message("/client/v1/operation", &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(result(&answer), json!({"Required": false, "Reason": "fresh"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn seat_suffices_where_the_settings_say_so_and_its_end_frees_the_refresh() {
    let service = Service::start();
    let server = start(&conf(&service, "ComponentAccess=seat"));
    let connection = server.connect().await;
    let begin = "RequestAuthorizationParameters";
    let refused = operation(&server, &connection, None, None, begin, &suz()).await;
    check_refused(&refused, 403, "EIsmpAccess", "no seat");
    let opened = server.open(&connection, 1).await;
    assert_eq!(opened.status, 200, "{opened:?}");
    let session = opened.json()["ID"].as_str().unwrap().to_owned();
    let stranger = server.connect().await;
    let refused = operation(&server, &stranger, Some(&session), None, begin, &suz()).await;
    check_refused(&refused, 403, "EIsmpAccess", "another's seat");
    let asked = operation(&server, &connection, Some(&session), None, begin, &suz()).await;
    assert_eq!(result(&asked)["ErrorText"], "", "{asked:?}");
    // The same session may begin again; another caller waits.
    let again = operation(&server, &connection, Some(&session), None, begin, &suz()).await;
    assert_eq!(result(&again)["AuthorizationParameters"]["Id"], "id-2", "{again:?}");
    let busy = post(&server, "refresh/challenge", &suz()).await;
    assert!(busy["ErrorText"].as_str().unwrap().contains("demo"), "{busy}");
    let closed = json!({"Connection": connection, "Session": session});
    let closed = server.message("/client/v1/close", &closed).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    let free = post(&server, "refresh/challenge", &suz()).await;
    assert_eq!(free["AuthorizationParameters"]["Id"], "id-3", "{free}");
}

/// A script that counts its runs in a file.
#[cfg(unix)]
fn script(folder: &std::path::Path, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let file = folder.join("sign.sh");
    let runs = folder.join("runs").display().to_string();
    std::fs::write(&file, format!("#!/bin/sh\necho \"$@\" >> '{runs}'\n{text}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    file.display().to_string()
}

#[cfg(unix)]
fn runs(folder: &std::path::Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("runs")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn signing_command_renews_a_key_without_a_person() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start();
    // What is in front is a container in BER, as the played signature.
    let command = script(folder.path(), "printf '\\060\\200'; cat");
    let more =
        format!("SignCommand={command} --inn {{INN}} \"two words\"\nSignOrganizations={INN}");
    let server = Arc::new(start(&conf(&service, &more)));
    let callers: Vec<_> = (0..5)
        .map(|_| {
            let server = Arc::clone(&server);
            tokio::spawn(async move { post(&server, "refresh/required", &suz()).await })
        })
        .collect();
    for caller in callers {
        // Those who come while it is signed may be told so when they did not want to wait.
        let answer = caller.await.unwrap();
        assert!(answer["Required"] == false || answer["Reason"] == "busy", "{answer}");
    }
    let mut waiting = suz();
    waiting["WaitSeconds"] = 30.into();
    let answer = post(&server, "refresh/required", &waiting).await;
    assert_eq!(answer, json!({"Required": false, "Reason": "fresh"}));
    assert_eq!(
        (service.sign_ins(), runs(folder.path())),
        (1, vec![format!("--inn {INN} two words")])
    );
    let signed = service.seen().into_iter().find(|seen| seen.is_sign_in()).unwrap();
    assert_eq!(signed.body["data"], signature("D1"));
    let list = send(&server, "GET", "/api/ismp/tokens", &Value::Null).await.json();
    assert_eq!(list["Tokens"][0]["Source"], "signer", "{list}");
    // Nobody is reminded of what renews itself.
    let directory = json!({
        "Organizations": [{"INN": INN}],
        "Installations": [{"Organization": INN, "OmsConnection": OBJECT}],
    });
    send(&server, "PUT", "/api/ismp/settings", &directory).await;
    let rule = json!({"People": [{"User": "Anna", "NotifySecs": 600}]});
    send(&server, "POST", "/api/ismp/responsible", &rule).await;
    let path = "/api/ismp/responsible/settings?User=Anna";
    let rows = send(&server, "GET", path, &Value::Null).await.json();
    assert!(rows.as_array().unwrap().iter().all(|row| row["NotifySecs"] == 0), "{rows}");
    // A key that was refused is renewed at once.
    let reject = json!({"RequestParameters": suz(), "SessionKey": "key-1"});
    assert_eq!(post(&server, "token/reject", &reject).await["Removed"], true);
    assert_eq!(post(&server, "refresh/required", &suz()).await["Required"], false);
    assert_eq!(service.sign_ins(), 2);
    // An organisation that it does not sign for needs a person.
    let other = json!({"TokenType": "ISMP", "Organization": "500100732259"});
    assert_eq!(post(&server, "refresh/required", &other).await["Required"], true);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn signing_command_that_fails_leaves_it_to_a_person_and_is_not_run_again_at_once() {
    for (name, text, is_signed) in [
        ("fails", "echo hunter2; exit 1", false),
        ("prints nothing", "cat > /dev/null", false),
        ("prints nonsense", "echo 'hunter2!'", false),
        ("is refused by the service", "printf '\\060\\200'; cat", true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let service = Service::playing(|seen, number| {
            if seen.is_sign_in() { (400, "{}".to_owned()) } else { usual(seen, number) }
        });
        let command = script(folder.path(), text);
        let server = start(&conf(&service, &format!("SignCommand={command}")));
        for _ in 0..3 {
            let answer = post(&server, "refresh/required", &suz()).await;
            assert_eq!(answer, json!({"Required": true, "Reason": "missing"}), "{name}");
        }
        assert_eq!(runs(folder.path()).len(), 1, "{name}");
        assert_eq!(service.sign_ins(), usize::from(is_signed), "{name}");
        // The lease is free for the person.
        let challenged = post(&server, "refresh/challenge", &suz()).await;
        assert_eq!(challenged["ErrorText"], "", "{name}: {challenged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authority_of_the_settings_is_trusted_and_no_other_one() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .unwrap();
    let config = Arc::new(config);
    let service = Service::behind(move |mut stream, talk| {
        let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut tls = rustls::Stream::new(&mut connection, &mut stream);
        talk(&mut tls);
        tls.conn.send_close_notify();
        let _gone = tls.flush();
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let text = STANDARD.encode(made.cert.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    std::fs::write(&file, pem).unwrap();
    let url = format!("https://{}", service.address);
    let conf = |more: String| {
        format!(
            "[Console]\nPassword=other\n[ISMP]\nEnabled=1\n{more}\n[ISMPContours]\nproduction={url}\n"
        )
    };
    let server = start(&conf(String::new()));
    let refused = post(&server, "refresh/challenge", &suz()).await;
    assert!(refused["AuthorizationParameters"].is_null(), "{refused}");
    let server = start(&conf(format!("ExtraCA={}", file.display())));
    let challenged = post(&server, "refresh/challenge", &suz()).await;
    assert_eq!(challenged["ErrorText"], "", "{challenged}");
    let server = start(&conf("ExtraCA=absent.pem".to_owned()));
    let refused = post(&server, "refresh/challenge", &suz()).await;
    let text = refused["ErrorText"].as_str().unwrap();
    assert!(text.contains("absent.pem") && text.contains("ExtraCA"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn service_is_reached_by_the_proxy_of_the_settings() {
    // A proxy that says yes to CONNECT and is the other side itself.
    let proxy = Service::behind(|mut stream, talk| {
        let mut head = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        head.read_line(&mut line).unwrap();
        assert!(line.starts_with("CONNECT crpt.example:80 "), "{line}");
        while line.trim_end() != "" {
            line.clear();
            head.read_line(&mut line).unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
        talk(&mut stream);
    });
    let server = start(&format!(
        "[Console]\nPassword=other\n[ISMP]\nEnabled=1\nProxy=http://user:hunter2@{}\n\
         [ISMPContours]\nproduction=http://crpt.example/t\n",
        proxy.address
    ));
    let challenged = post(&server, "refresh/challenge", &suz()).await;
    assert_eq!(challenged["ErrorText"], "", "{challenged}");
    assert_eq!(proxy.seen()[0].path, "/t/auth/key");
    let lost = start(
        "[Console]\nPassword=other\n[ISMP]\nEnabled=1\nProxy=http://user:hunter2@127.0.0.1:1\n\
         [ISMPContours]\nproduction=http://crpt.example/t\n",
    );
    let refused = post(&lost, "refresh/challenge", &suz()).await;
    assert!(!refused["ErrorText"].as_str().unwrap().contains("hunter2"), "{refused}");
    let far = lost.send(LOCAL_TLS, get("/api/ismp/tokens", Some(basic("admin:other")))).await;
    assert_eq!(far.json()["Refreshing"], json!([]), "the lease is free again");
}
