//! A played service of ИС МП: a real socket, answers that a test chooses, and what came.
//!
//! It verifies no signature: that is the chain tests' affair, with real ones.

#![expect(dead_code, reason = "each test file uses its part")]

pub(crate) mod calls;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// How long a test waits for what must come.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Seen {
    pub(crate) fn is_sign_in(&self) -> bool {
        self.method == "POST"
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Status and body of an answer.
pub(crate) type Said = (u16, String);

type Play = dyn Fn(&Seen, usize) -> Said + Send + Sync;

/// The service.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    seen: Arc<(Mutex<Vec<Seen>>, Condvar)>,
}

impl Service {
    /// One that gives challenges `D1`, `D2` … with ids `id-1`, `id-2` …, and keys `key-1`, `key-2` …
    pub(crate) fn start() -> Self {
        Self::playing(usual)
    }

    /// One that answers the request with this number, from 1 for each kind of request, so.
    pub(crate) fn playing(play: impl Fn(&Seen, usize) -> Said + Send + Sync + 'static) -> Self {
        Self::on(Arc::new(play), |stream, talk| talk(stream))
    }

    /// One behind something that every connection goes through.
    pub(crate) fn behind(
        wrap: impl Fn(TcpStream, &dyn Fn(&mut dyn ReadWrite)) + Send + Sync + 'static,
    ) -> Self {
        Self::on(Arc::new(usual), move |stream: &mut TcpStream, talk| {
            wrap(stream.try_clone().unwrap(), &|stream| talk(stream));
        })
    }

    fn on(
        play: Arc<Play>,
        wrap: impl Fn(&mut TcpStream, &dyn Fn(&mut dyn ReadWrite)) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let service = Self { address, seen: Arc::default() };
        let (own, wrap) = (service.clone(), Arc::new(wrap));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (own, play, wrap) = (own.clone(), Arc::clone(&play), Arc::clone(&wrap));
                let Ok(mut stream) = stream else { return };
                std::thread::spawn(move || {
                    wrap(&mut stream, &|stream| own.converse(stream, &*play));
                });
            }
        });
        service
    }

    fn converse(&self, stream: &mut dyn ReadWrite, play: &Play) {
        let Some(seen) = read(stream) else { return };
        let number = {
            let mut all = self.seen.0.lock().unwrap();
            all.push(seen.clone());
            self.seen.1.notify_all();
            all.iter().filter(|other| other.is_sign_in() == seen.is_sign_in()).count()
        };
        let (status, body) = play(&seen, number);
        let head = format!(
            "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            body.len()
        );
        // Whoever has gone does not hear it.
        let _gone =
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        let _gone = stream.flush();
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.0.lock().unwrap().clone()
    }

    pub(crate) fn sign_ins(&self) -> usize {
        self.seen().iter().filter(|seen| seen.is_sign_in()).count()
    }

    /// Waits until so many sign-ins have come.
    pub(crate) async fn wait_for_sign_ins(&self, count: usize) {
        let own = self.clone();
        let waited = tokio::task::spawn_blocking(move || {
            let (seen, changed) = &*own.seen;
            let is_short =
                |seen: &mut Vec<Seen>| seen.iter().filter(|seen| seen.is_sign_in()).count() < count;
            let (_guard, late) =
                changed.wait_timeout_while(seen.lock().unwrap(), BOUND, is_short).unwrap();
            !late.timed_out()
        });
        assert!(waited.await.unwrap(), "no {count} sign-ins came");
    }
}

pub(crate) trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

fn read(stream: &mut dyn ReadWrite) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Some(Seen { method, path, headers, body })
}

/// What the service says when nothing is wrong.
pub(crate) fn usual(seen: &Seen, number: usize) -> Said {
    let said = if !seen.is_sign_in() {
        json!({"uuid": format!("id-{number}"), "data": format!("D{number}")})
    } else if seen.path.ends_with("/auth/permissive-access") {
        json!({"access_token": format!("key-{number}"), "expires_in": 3600})
    } else if seen.body["unitedToken"] == true {
        json!({"uuidToken": format!("key-{number}"), "expireDate": "2099-01-01T00:00:00.000Z"})
    } else {
        json!({"token": format!("key-{number}")})
    };
    (200, said.to_string())
}

/// Something that a played answer waits for.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub(crate) fn wait(&self) {
        let (is_open, changed) = &*self.0;
        let (_guard, late) = changed
            .wait_timeout_while(is_open.lock().unwrap(), BOUND, |is_open| !*is_open)
            .unwrap();
        assert!(!late.timed_out(), "the gate was never opened");
    }
}

/// A signature that nobody here looks into: a container in BER, which only the service reads.
pub(crate) fn signature(data: &str) -> String {
    STANDARD.encode([&[0x30, 0x80][..], data.as_bytes()].concat())
}

/// A container of CMS in DER with neither a text nor a signer.
pub(crate) fn unsigned() -> String {
    STANDARD.encode([
        0x30, 0x23, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07, 0x02, 0xA0, 0x16,
        0x30, 0x14, 0x02, 0x01, 0x01, 0x31, 0x00, 0x30, 0x0B, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86,
        0xF7, 0x0D, 0x01, 0x07, 0x01, 0x31, 0x00,
    ])
}

/// A JWT that ends then.
pub(crate) fn jwt(expires: i64) -> String {
    format!("h.{}.s", URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{expires}}}")))
}
