//! A centre that answers with anything but what it should, as whoever sits on its address may: every
//! call ends in an error of ours, nothing is installed, removed or followed, and the server works on.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use licenceserver::activate::ANSWER_BYTES_MAX;
use serde_json::{Value, json};
use support::{Server, code, descriptor, start_with};

/// Most characters of an error: our own words around the bounded text of a centre.
const MESSAGE_CHARS_MAX: usize = 2000;

/// What is sent in answer.
#[derive(Clone)]
struct Said {
    bytes: Vec<u8>,
    /// Sent again and again after them, for as long as anybody listens.
    forever: Vec<u8>,
}

fn once(bytes: impl Into<Vec<u8>>) -> Said {
    Said { bytes: bytes.into(), forever: Vec::new() }
}

fn answer(status: u16, body: impl AsRef<[u8]>) -> Said {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
    once([head.as_bytes(), body].concat())
}

/// Bytes without any sense, the same in every run (xorshift).
fn noise(mut seed: u64, count: usize) -> Vec<u8> {
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()[3]
    };
    (0..count).map(|_| next()).collect()
}

/// An address that says the same to every call but the look whether it is there.
struct Centre {
    url: String,
    said: Arc<Mutex<Said>>,
    /// How many calls there were.
    asked: Arc<AtomicUsize>,
}

impl Centre {
    fn open(said: Said) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (said, asked) = (Arc::new(Mutex::new(said)), Arc::new(AtomicUsize::new(0)));
        let (saying, count) = (Arc::clone(&said), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let said = saying.lock().unwrap().clone();
                // The other side may be gone, that is its right.
                let _ = serve(stream, &said);
            }
        });
        Self { url, said, asked }
    }

    fn count(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// A server that asks here, with one key.
    fn server(&self) -> Server {
        let conf = format!("[Common]\nLicenceCenterUrl={}\n", self.url);
        start_with(&conf, Some(&descriptor(None)), &[(555, 5)])
    }
}

fn serve(stream: TcpStream, said: &Said) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let length = head
        .to_ascii_lowercase()
        .split_once("content-length: ")
        .and_then(|(_, rest)| rest.split("\r\n").next()?.parse().ok())
        .unwrap_or(0);
    reader.read_exact(&mut vec![0; length])?;
    let stream = reader.get_mut();
    if head.starts_with("GET /health ") {
        return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    }
    stream.write_all(&said.bytes)?;
    while !said.forever.is_empty() {
        stream.write_all(&said.forever)?;
    }
    Ok(())
}

/// Everything that such an address may say.
fn sayings(elsewhere: &str) -> Vec<(String, Said)> {
    let mut all = vec![
        ("nothing".to_owned(), once("")),
        ("no HTTP".to_owned(), once(noise(1, 3000))),
        ("half a head".to_owned(), once("HTTP/1.1 200 O")),
        ("strange status".to_owned(), once("HTTP/1.1 99999 OK\r\n\r\n")),
        (
            "two lengths".to_owned(),
            once("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}"),
        ),
        (
            "a chunk of no number".to_owned(),
            once("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"),
        ),
    ];
    let endless = |head: &str, forever: &[u8]| Said {
        bytes: head.as_bytes().to_vec(),
        forever: forever.to_vec(),
    };
    let digits = vec![b'1'; 64 * 1024];
    all.push((
        "a length of all that there is".to_owned(),
        endless("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n[", &digits),
    ));
    all.push(("a body without an end".to_owned(), endless("HTTP/1.1 201 OK\r\n\r\n[", &digits)));
    let chunk = [format!("{:x}\r\n", digits.len()).as_bytes(), &digits, b"\r\n"].concat();
    all.push((
        "chunks without an end".to_owned(),
        endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &chunk),
    ));
    all.push((
        "a head without an end".to_owned(),
        endless("HTTP/1.1 200 OK\r\n", format!("X-A: {}\r\n", "a".repeat(1000)).as_bytes()),
    ));
    for status in [301, 302, 303, 307, 308] {
        let head = format!(
            "HTTP/1.1 {status} X\r\nLocation: {elsewhere}/api/activations\r\nContent-Length: 0\r\n\r\n"
        );
        all.push((format!("redirect {status}"), once(head)));
    }
    let long = "\u{1b}[2J\r\n\u{0}<script>".repeat(ANSWER_BYTES_MAX / 40);
    let series = descriptor(None);
    for status in [200, 201, 400, 409, 500, 503] {
        for (name, body) in [
            ("noise", noise(u64::from(status), 5000)),
            ("deep", vec![b'['; 100_000]),
            ("null", b"null".to_vec()),
            ("numbers", json!({"Licence": 5, "Series": [], "Licences": 7}).to_string().into()),
            (
                "long words",
                json!({"Licence": long, "Series": long, "Licences": long, "Answer": long})
                    .to_string()
                    .into(),
            ),
            (
                "words that are no documents",
                json!({
                    "Licence": "a.b.c", "Series": series, "Licences": ["a.b.c", ""],
                    "KeyNo": 555, "ReserveCode": code(1).to_string(), "Receipt": "a.b.c",
                    "Ended": ["a.b.c"], "Mark": "m",
                })
                .to_string()
                .into(),
            ),
            (
                "a refusal",
                json!({
                    "Code": 7, "Text": long, "Message": format!("({long}) {long}"),
                    "Exception": long,
                })
                .to_string()
                .into(),
            ),
        ] {
            all.push((format!("{status}, {name}"), answer(status, body)));
        }
    }
    all
}

async fn licences(server: &Server) -> Value {
    server.call("GET", "/api/licences", "").await.json()["Licences"].clone()
}

fn calls() -> Vec<(&'static str, String)> {
    let order = json!({"ActivationCodeString": code(556).to_string()}).to_string();
    vec![
        ("/api/licences", order),
        ("/api/licences/update", String::new()),
        ("/api/licences/demo", json!({"KeyID": "672B"}).to_string()),
        ("/api/licences/555/spare", String::new()),
    ]
}

/// The error that a call has ended in: of ours, and of a length that a person reads.
async fn refused(server: &Server, path: &str, body: &str, name: &str) {
    let answer = server.call("POST", path, body).await;
    let error = answer.json();
    assert!(answer.status >= 400, "{name}, {path}: {answer:?}");
    assert!(error["Exception"].as_str().unwrap().starts_with('E'), "{name}, {path}: {error}");
    let message = error["Message"].as_str().unwrap();
    assert!(message.chars().count() <= MESSAGE_CHARS_MAX, "{name}, {path}: {message}");
    assert!(!message.chars().any(char::is_control), "{name}, {path}: {message:?}");
}

#[tokio::test]
async fn whatever_a_centre_says_changes_nothing_and_leads_nowhere() {
    let (elsewhere, centre) = (Centre::open(answer(200, "{}")), Centre::open(once("")));
    let server = centre.server();
    let before = licences(&server).await;
    for (name, said) in sayings(&elsewhere.url) {
        *centre.said.lock().unwrap() = said;
        for (path, body) in calls() {
            let count = centre.count();
            refused(&server, path, &body, &name).await;
            assert!(centre.count() > count, "{name}, {path}: nobody was asked");
        }
        assert_eq!(licences(&server).await, before, "{name}");
    }
    let connection = server.connect().await;
    assert_eq!(server.open(&connection, 2).await.status, 200);
    assert_eq!(elsewhere.count(), 0, "a redirect was followed");
}

#[tokio::test]
async fn key_that_is_given_back_to_a_centre_of_nonsense_is_kept() {
    let (elsewhere, centre) = (Centre::open(answer(200, "{}")), Centre::open(once("")));
    let server = centre.server();
    for (name, said) in sayings(&elsewhere.url) {
        *centre.said.lock().unwrap() = said;
        // In force when the centre has surely refused, else aside: it can be given back again.
        refused(&server, "/api/licences/555/reservecode", "{}", &name).await;
        let folder = std::fs::read_dir(server.app.paths.keys()).unwrap();
        let kept = folder.filter(|entry| {
            let file = entry.as_ref().unwrap().file_name().into_string().unwrap();
            file.starts_with("672B.555.licence")
        });
        assert_ne!(kept.count(), 0, "{name}");
    }
    assert_eq!(elsewhere.count(), 0, "a redirect was followed");
}
