//! Notices as their receivers see them: a real HTTP server that checks the signature, and a mail
//! server that speaks SMTP and keeps what it gets.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use licence_core::cluster::record::{Alive, Member, Settings};
use licence_core::cluster::{ClusterId, NodeId, Standing};
use licence_core::seal::SigningKey;
use licenceserver::cluster::State;
use licenceserver::cluster::picture::Contents;
use licenceserver::{clock, notify};
use support::start;

/// How long a notice may take to arrive: far longer than it does.
const ARRIVES: Duration = Duration::from_secs(20);

/// Takes one HTTP request and answers 204; gives its head and body.
fn http_once() -> (String, mpsc::Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut head).unwrap() > 0);
            }
            let length = header(&head, "content-length").unwrap().parse().unwrap();
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
            let told = sender.send((head, String::from_utf8(body).unwrap()));
            if told.is_err() {
                break;
            }
        }
    });
    (address, requests)
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// Speaks as much SMTP (RFC 5321) as a client needs that wants no extension; gives each mail.
fn smtp() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, mails) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if let Some(mail) = converse(stream.unwrap())
                && sender.send(mail).is_err()
            {
                break;
            }
        }
    });
    (address, mails)
}

fn converse(mut stream: TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    stream.write_all(b"220 test\r\n").unwrap();
    let mut envelope = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let verb = line.get(..4).unwrap_or("").to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" | "HELO" => "250 test\r\n",
            "DATA" => break,
            "QUIT" => "221 bye\r\n",
            _ => "250 ok\r\n",
        };
        envelope.push_str(&line);
        stream.write_all(answer.as_bytes()).ok()?;
    }
    stream.write_all(b"354 go on\r\n").ok()?;
    let mut mail = String::new();
    while !mail.ends_with("\r\n.\r\n") {
        if reader.read_line(&mut mail).ok()? == 0 {
            return None;
        }
    }
    stream.write_all(b"250 kept\r\n").ok()?;
    Some(envelope + &mail)
}

#[tokio::test(flavor = "multi_thread")]
async fn refusal_reaches_the_webhook_signed_and_the_mail_box() {
    let (hook, requests) = http_once();
    let (mail_server, mails) = smtp();
    let server = start(&format!(
        "[Notify]\nWebhook={hook}/licence\nWebhookSecret=s3cret\nSmtpServer={mail_server}\n\
         SmtpSecurity=none\nMailFrom=server@example.org\nMailTo=admin@example.org\n"
    ));
    let task = tokio::spawn(notify::run(Arc::clone(&server.app)));
    while !server.app.feed.has_listeners() {
        tokio::task::yield_now().await;
    }
    let connection = server.connect().await;
    for number in 1..=5 {
        assert_eq!(server.open(&connection, number).await.status, 200);
    }
    assert_eq!(server.open(&connection, 6).await.status, 403);

    let (head, body) = requests.recv_timeout(ARRIVES).unwrap();
    let first: serde_json::Value = serde_json::from_str(&body).unwrap();
    // The use of all seats and the refusal come in either order.
    let (head, body, told) = if first["Kind"] == "denial" {
        (head, body, first)
    } else {
        assert_eq!(first["Kind"], "use", "{first}");
        let (head, body) = requests.recv_timeout(ARRIVES).unwrap();
        let told = serde_json::from_str(&body).unwrap();
        (head, body, told)
    };
    assert!(head.starts_with("POST /licence HTTP/1.1"), "{head}");
    assert_eq!(told["Kind"], "denial", "{told}");
    assert_eq!(told["KeyID"], "672B");
    assert_eq!(told["Details"]["Reason"], "ENoFreeLicence");
    let signed = format!(
        "{}.{}.{body}",
        header(&head, "webhook-id").unwrap(),
        header(&head, "webhook-timestamp").unwrap()
    );
    let mac = licence_core::seal::hmac_sha256(b"s3cret", signed.as_bytes());
    let expected =
        format!("v1,{}", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, mac));
    assert_eq!(header(&head, "webhook-signature").unwrap(), expected);

    let mail = mails.recv_timeout(ARRIVES).unwrap();
    for part in ["MAIL FROM:<server@example.org>", "RCPT TO:<admin@example.org>", "Subject: "] {
        assert!(mail.contains(part), "{part}\n{mail}");
    }
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn death_of_a_node_and_loss_of_etcd_reach_the_webhook_and_the_events() {
    let (hook, requests) = http_once();
    let server = start(&format!("[Notify]\nWebhook={hook}/licence\n"));
    let utc = clock::utc();
    let key = |seed| SigningKey::from_seed(&[seed; 32]).public();
    let (me, other) = (NodeId::of(&key(1)), NodeId::of(&key(2)));
    // Told at once: a notice is due after some lives of a lease.
    let settings = Some(Settings { lease_ttl_secs: 0, ..Settings::new(utc) });
    let mut contents = Contents { settings, ..Contents::default() };
    for (id, seed, name) in [(me, 1, "north"), (other, 2, "south")] {
        let (name, key) = (name.to_owned(), key(seed).jwk());
        contents.members.insert(id, Member { name, key, addresses: Vec::new(), joined: utc });
    }
    let (held, keys) = Default::default();
    contents.alive.insert(me, Alive { version: "1".into(), started: utc, held, keys });
    let state = State {
        cluster: ClusterId::from_bytes([1; 16]),
        me,
        standing: Standing::Joined,
        contents: Arc::new(contents),
        answered: None,
        renewal_millis: None,
        problem: None,
    };
    let (seen, states) = tokio::sync::watch::channel(Arc::new(state.clone()));
    let task = tokio::spawn(notify::run_with(Arc::clone(&server.app), Some(states)));

    let told = || {
        let (_, body) = requests.recv_timeout(ARRIVES).unwrap();
        serde_json::from_str::<serde_json::Value>(&body).unwrap()
    };
    let lost = told();
    assert_eq!(lost["Kind"], "node_lost", "{lost}");
    assert_eq!(lost["Details"]["Node"], "south", "{lost}");
    let standing = Standing::Isolated { since: clock::mono() };
    let problem = Some("no leader".to_owned());
    seen.send_replace(Arc::new(State { standing, problem, ..state }));
    let lost = told();
    assert_eq!(lost["Kind"], "etcd_lost", "{lost}");
    assert!(lost["Text"]["en"].as_str().unwrap().contains("no majority"), "{lost}");

    let has_line = async {
        loop {
            let events = server.call("GET", "/api/events?Kind=audit", "").await;
            let events = events.body;
            if events.contains("cluster_node_lost") && events.contains("south") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(ARRIVES, has_line).await.unwrap();
    task.abort();
}
