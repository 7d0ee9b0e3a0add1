//! The stand-in for a licence server: what it is made of, what it remembers, how it answers. Beside it
//! servers that do with a connection what a test says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use licence_core::datafile::{MAGIC, ObjectList};
use licence_core::seal::{SigningKey, sha256};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::{BOUND, licence, series_key};

fn tls_config(seed: [u8; 32]) -> Arc<ServerConfig> {
    // RFC 8410: an Ed25519 private key in PKCS#8 is this head and the seed.
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend_from_slice(&seed);
    let pkcs8 = PrivatePkcs8KeyDer::from(der);
    let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &rcgen::PKCS_ED25519).unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["any".to_owned()]).unwrap().self_signed(&pair).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(pkcs8))
        .unwrap();
    Arc::new(config)
}

/// What a server is made of and does.
pub(crate) struct Setup {
    /// Seed of the identity that signs the handshake.
    pub(crate) identity: [u8; 32],
    /// Licence documents shown in the hello; by default one bound to the identity.
    pub(crate) licences: Option<Vec<String>>,
    pub(crate) version: u32,
    pub(crate) seats: usize,
    /// Instead of an answer of its own to this path: these bytes, inside TLS.
    pub(crate) instead: Option<(&'static str, Vec<u8>)>,
    /// Sends answers byte by byte with this pause.
    pub(crate) drip: Option<Duration>,
    /// Answers this path only after this time.
    pub(crate) slow: Option<(&'static str, Duration)>,
    /// Address to listen on; any free port by default.
    pub(crate) address: SocketAddr,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            identity: [2; 32],
            licences: None,
            version: 1,
            seats: 5,
            instead: None,
            drip: None,
            slow: None,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }
}

#[derive(Default)]
pub(crate) struct Books {
    /// Every request: path and body.
    pub(crate) requests: Vec<(String, Value)>,
    pub(crate) connections: BTreeSet<String>,
    /// Id of the session → its number.
    pub(crate) sessions: BTreeMap<String, String>,
    /// Told in the next heartbeat: session, reason.
    pub(crate) gone: Vec<(String, String)>,
    pub(crate) seats: usize,
    /// Answers to these paths for as long as they stand here, instead of the server's own.
    pub(crate) instead: BTreeMap<&'static str, Vec<u8>>,
    /// Data files by alias; an empty one for the main file.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Answers to operations, in turn; the last one stays.
    pub(crate) operations: VecDeque<Vec<u8>>,
    /// `Accept-Language` of the last request.
    pub(crate) language: String,
    /// Number of the last id that was given out.
    pub(crate) next: u64,
    sockets: Vec<TcpStream>,
}

impl Books {
    pub(crate) fn count(&self, path: &str) -> usize {
        self.requests.iter().filter(|(asked, _)| asked == path).count()
    }

    pub(crate) fn last(&self, path: &str) -> &Value {
        let found = self.requests.iter().rev().find(|(asked, _)| asked == path);
        &found.unwrap_or_else(|| panic!("no {path} in {:?}", self.requests)).1
    }

    /// Session numbers in the last heartbeat.
    pub(crate) fn beaten(&self) -> Vec<String> {
        let ids = self.last("/client/v1/heartbeat")["Sessions"].as_array().unwrap();
        ids.iter().map(|id| self.sessions[id.as_str().unwrap()].clone()).collect()
    }

    /// The list of the data file that is asked for, and what follows it.
    fn file(&self, body: &Value) -> Option<(&str, &[u8])> {
        let file = self.files.get(body["Alias"].as_str().unwrap_or_default())?;
        let rest = &file[MAGIC.len()..];
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
        Some((std::str::from_utf8(&rest[..end]).unwrap(), &rest[end + 1..]))
    }

    fn fresh(&mut self, letter: char) -> String {
        self.next += 1;
        format!("{letter}{}", self.next)
    }
}

struct Inner {
    books: Mutex<Books>,
    changed: Condvar,
    stopped: AtomicBool,
    setup: Setup,
    config: Arc<ServerConfig>,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(mut setup: Setup) -> Self {
        let holder = SigningKey::from_seed(&setup.identity).public();
        setup.licences.get_or_insert_with(|| vec![licence(&series_key(), holder)]);
        let listener = TcpListener::bind(setup.address).unwrap();
        let address = listener.local_addr().unwrap();
        let books = Mutex::new(Books { seats: setup.seats, ..Books::default() });
        let inner = Arc::new(Inner {
            books,
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
            config: tls_config(setup.identity),
            setup,
        });
        let shared = Arc::clone(&inner);
        let thread = std::thread::spawn(move || {
            for socket in listener.incoming() {
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let socket = socket.unwrap();
                shared.books.lock().unwrap().sockets.push(socket.try_clone().unwrap());
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || drop(serve(&shared, socket)));
            }
        });
        Self { address, inner, thread: Some(thread) }
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.inner.books.lock().unwrap()
    }

    /// Waits for a state of the books.
    pub(crate) fn wait_for(&self, what: &str, condition: impl Fn(&Books) -> bool) {
        let (books, timeout) = self
            .inner
            .changed
            .wait_timeout_while(self.books(), BOUND, |books| !condition(books))
            .unwrap();
        assert!(!timeout.timed_out(), "{what} did not happen: {:?}", books.requests);
    }

    /// Closes all channels, as a server does with idle ones.
    pub(crate) fn close_channels(&self) {
        for socket in self.books().sockets.drain(..) {
            drop(socket.shutdown(Shutdown::Both));
        }
    }

    /// Stops listening and closes all channels.
    pub(crate) fn stop(&mut self) {
        self.inner.stopped.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.close_channels();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(inner: &Inner, socket: TcpStream) -> io::Result<()> {
    let tls = ServerConnection::new(Arc::clone(&inner.config)).map_err(io::Error::other)?;
    let mut tls = StreamOwned::new(tls, socket);
    let (_never, pause) = channel::<()>();
    loop {
        let (path, language, body) = read_request(&mut tls)?;
        let answer = {
            let mut books = inner.books.lock().unwrap();
            let answer = answer(inner, &mut books, &path, &body);
            books.requests.push((path.clone(), body));
            books.language = language;
            answer
        };
        inner.changed.notify_all();
        if let Some((slow, time)) = inner.setup.slow
            && slow == path
        {
            let _timed_out = pause.recv_timeout(time);
        }
        match inner.setup.drip {
            None => tls.write_all(&answer)?,
            Some(step) => {
                for byte in answer {
                    tls.write_all(&[byte])?;
                    tls.flush()?;
                    let _timed_out = pause.recv_timeout(step);
                }
            }
        }
        tls.flush()?;
    }
}

fn read_request(stream: &mut impl Read) -> io::Result<(String, String, Value)> {
    let mut received = Vec::new();
    let mut byte = [0];
    while !received.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        received.push(byte[0]);
    }
    let head = String::from_utf8(received).unwrap();
    let field = |name| head.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let mut body = vec![0; field("Content-Length: ").parse().unwrap()];
    stream.read_exact(&mut body)?;
    let path = head.split(' ').nth(1).unwrap().to_owned();
    Ok((path, field("Accept-Language: ").to_owned(), serde_json::from_slice(&body).unwrap()))
}

pub(crate) fn http(status: u16, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
    format!("{head}{body}").into_bytes()
}

pub(crate) fn refusal(status: u16, exception: &str, text: &str) -> Vec<u8> {
    let message = format!("({exception}) {text}");
    http(status, &json!({"Code": status, "Text": "X", "Message": message, "Exception": exception}))
}

/// A refusal that says after how many seconds to ask again.
pub(crate) fn refusal_for(secs: u64, exception: &str, text: &str) -> Vec<u8> {
    let answer = String::from_utf8(refusal(503, exception, text)).unwrap();
    answer.replacen("\r\n", &format!("\r\nRetry-After: {secs}\r\n"), 1).into_bytes()
}

fn answer(inner: &Inner, books: &mut Books, path: &str, body: &Value) -> Vec<u8> {
    if let Some((instead, bytes)) = &inner.setup.instead
        && *instead == path
    {
        return bytes.clone();
    }
    if let Some(bytes) = books.instead.get(path) {
        return bytes.clone();
    }
    let known = body["Connection"].as_str().is_none_or(|id| books.connections.contains(id));
    if !known {
        return refusal(404, "EConnectionNotFound", "The connection is not known");
    }
    let session = body["Session"].as_str().unwrap_or_default().to_owned();
    match path.strip_prefix("/client/").unwrap() {
        "hello" => http(
            200,
            &json!({
                "Version": inner.setup.version,
                "ServerVersion": "9.9.9",
                "Licences": inner.setup.licences,
            }),
        ),
        "v1/connect" => {
            let id = books.fresh('c');
            books.connections.insert(id.clone());
            http(200, &json!({"ID": id, "HeartbeatSecs": 10, "SessionSecs": 1000}))
        }
        "v1/heartbeat" => {
            let gone: Vec<Value> = std::mem::take(&mut books.gone)
                .into_iter()
                .map(|(session, reason)| json!({"Session": session, "Reason": reason}))
                .collect();
            http(200, &json!({ "Gone": gone }))
        }
        "v1/open" => {
            let number = body["Session"]["SessionNumber"].as_str().unwrap().to_owned();
            let held = books.sessions.iter().find(|(_, known)| **known == number);
            let id = match held {
                Some((id, _)) => id.clone(),
                None if books.sessions.len() >= books.seats => {
                    return refusal(403, "ENoFreeLicence", "Нет свободных лицензий");
                }
                None => books.fresh('s'),
            };
            books.sessions.insert(id.clone(), number);
            let lease = format!("lease of {id}");
            http(
                200,
                &json!({
                    "ID": id, "UsedLicence": 7_131_766, "ExpiresInMs": 1_000_000, "Lease": lease,
                }),
            )
        }
        "v1/touch" if books.sessions.contains_key(&session) => {
            http(200, &json!({"ID": session, "UsedLicence": 7_131_766, "ExpiresInMs": 1_000_000}))
        }
        "v1/close" if books.sessions.remove(&session).is_some() => http(200, &json!({})),
        "v1/touch" | "v1/close" => refusal(404, "ESessionNotFound", "The session is not known"),
        "v1/disconnect" => {
            books.connections.remove(body["Connection"].as_str().unwrap());
            if body["EndSessions"] == true {
                books.sessions.clear();
            }
            b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()
        }
        "v1/licences" => http(200, &json!({"Licences": []})),
        "v1/counters" => http(
            200,
            &json!({
                "Licences": 1, "Connections": 1, "Sessions": books.sessions.len(),
                "TotalLicenceCount": books.seats, "UseLicenceCount": 0, "FreeLicenceCount": 5,
            }),
        ),
        "v1/serverinfo" => http(
            200,
            &json!({
                "Version": "9.9.9", "OSType": "Linux", "CPU": "x86_64",
                "ConsoleUrl": "http://srv:9099", "VersionOutdated": false,
            }),
        ),
        "v1/datafile" => match books.file(body) {
            None => refusal(404, "EDataFileNotFound", "Нет файла данных"),
            Some((list, _)) => {
                http(200, &json!({"List": list, "Version": ObjectList::version(list)}))
            }
        },
        "v1/datapart" => match books.file(body) {
            Some((list, bytes)) if body["Version"] == *ObjectList::version(list) => {
                let number = |name: &str| usize::try_from(body[name].as_u64().unwrap()).unwrap();
                let start = number("Offset");
                let part = &bytes[start..start + number("Length")];
                http(200, &json!({ "Data": STANDARD.encode(part) }))
            }
            _ => refusal(409, "EDataFileChanged", "Файл данных изменился"),
        },
        "v1/objectkey" => {
            let needs_seat = body["Object"]["Access"] != "key";
            if needs_seat && body["Session"].is_null() {
                return refusal(403, "ENoSeat", "Сеанс не занимает лицензию");
            }
            if needs_seat && !books.sessions.contains_key(&session) {
                return refusal(404, "ESessionNotFound", "Сеанс неизвестен");
            }
            // This stand-in wraps no keys: it derives them from what is shown as wrapped.
            let key = sha256(body["Object"]["Key"].as_str().unwrap().as_bytes());
            http(200, &json!({ "Key": URL_SAFE_NO_PAD.encode(key) }))
        }
        "v1/operation" => match books.operations.len() {
            0 => http(200, &json!({"Result": "Done"})),
            1 => books.operations[0].clone(),
            _ => books.operations.pop_front().unwrap(),
        },
        other => panic!("unknown path {other}"),
    }
}

/// A server that does with each connection what `act` says; connections it returns stay open.
pub(crate) struct Raw {
    pub(crate) address: SocketAddr,
    pub(crate) accepted: Receiver<()>,
    _keep: Sender<()>,
}

impl Raw {
    pub(crate) fn start(act: impl Fn(TcpStream) -> Option<TcpStream> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, accepted) = channel();
        let keep = tell.clone();
        // Ends with the test program.
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for socket in listener.incoming() {
                let _gone = tell.send(());
                open.extend(act(socket.unwrap()));
            }
        });
        Self { address, accepted, _keep: keep }
    }

    /// Accepts and says nothing.
    pub(crate) fn silent() -> Self {
        Self::start(Some)
    }
}

/// An address where nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
