//! A whole centre on loopback for the tests: real sockets, real SQLite in a fresh folder, a clock
//! that the test may turn.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use licence_core::activation::ActivationCode;
use licence_core::activation_request::{ActivationCall, ActivationRequest};
use licence_core::key::KeySeries;
use licence_core::seal::{PublicKey, SigningKey};
use licence_core::time::Utc;
use licencecentre::access::gate::Gate;
use licencecentre::api::Centre;
use licencecentre::books::Books;
use licencecentre::folder::DataFolder;
use licencecentre::http;
use licencecentre::series::{Series, SeriesSet};
use licencecentre::store::Store;
use licencekit::order::OrderAnswer;
use licencekit::secret::SeriesSecret;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000;

/// The address by which requests name the centre of the tests.
pub(crate) const AUDIENCE: &str = "https://centre.example";

/// Milliseconds that all centres of one test program are ahead of [`START`]. Turned forward only,
/// by tests that need it; no test relies on the clock standing still.
static AHEAD: AtomicI64 = AtomicI64::new(0);

pub(crate) fn now() -> Utc {
    Utc::from_unix_millis(START + AHEAD.load(Ordering::SeqCst))
}

pub(crate) fn turn_clock_forward(days: u32) {
    AHEAD.fetch_add(i64::from(days) * 86_400_000, Ordering::SeqCst);
}

pub(crate) fn secret() -> SeriesSecret {
    SeriesSecret::from_bytes(KeySeries::from_u16(0x672B), [1; 32], [2; 32])
}

pub(crate) fn series_key() -> PublicKey {
    secret().signing_key().public()
}

pub(crate) fn server(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// What a call brought: status, body, the `Allow` header.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) allow: Option<String>,
}

impl Answer {
    /// The exception class of a refusal, whose form is checked on the way.
    pub(crate) fn exception(&self) -> String {
        let exception = self.body["Exception"].as_str().unwrap().to_owned();
        assert_eq!(self.body["Code"], self.status);
        assert!(self.body["Text"].is_string());
        let message = self.body["Message"].as_str().unwrap();
        assert!(message.starts_with(&format!("({exception}) ")), "{message}");
        exception
    }
}

/// A running centre; stopped when dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    agent: ureq::Agent,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(data: &Path) -> Self {
        let descriptor =
            secret().descriptor("Тестовая серия".into(), Some("https://centre.example".into()));
        let mut set = SeriesSet::new();
        set.insert(secret().series(), Series::new(&secret(), descriptor));
        Self::serving(data, set)
    }

    /// A centre with these series.
    pub(crate) fn serving(data: &Path, set: SeriesSet) -> Self {
        let folder = DataFolder::take(data).unwrap();
        let token = folder.admin_token().unwrap();
        let roots = folder.attestation_roots().unwrap();
        let series = Arc::new(set);
        let store = Store::open(&folder.books()).unwrap();
        let (books, keeper) = Books::start(store, Arc::clone(&series)).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, address) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = runtime.unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let audience = Some(AUDIENCE.to_owned());
                let centre = Arc::new(Centre {
                    books,
                    series,
                    token,
                    gate: Gate::new(true, licencecentre::clock::mono),
                    audience,
                    roots,
                    now,
                });
                http::serve(listener, centre, async {
                    let _ = stopped.await;
                })
                .await;
            });
            drop(runtime);
            keeper.join().unwrap();
            drop(folder);
        });
        let address = address.recv_timeout(Duration::from_secs(30)).unwrap();
        let token = std::fs::read_to_string(data.join("admin.token")).unwrap().trim().to_owned();
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .allow_non_standard_methods(true)
            .build()
            .new_agent();
        Self { address, token, agent, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sends a request with any body; `token` empty sends none.
    pub(crate) fn send(&self, method: &str, path: &str, token: &str, body: &str) -> Answer {
        self.send_in("en", method, path, token, body)
    }

    pub(crate) fn send_in(
        &self,
        language: &str,
        method: &str,
        path: &str,
        token: &str,
        body: &str,
    ) -> Answer {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(self.url(path))
            .header("Accept-Language", language)
            .header("Content-Type", "application/json");
        if !token.is_empty() {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let request = request.body(body.to_owned()).unwrap();
        let mut response = self.agent.run(request).unwrap();
        let allow = response.headers().get("Allow").map(|v| v.to_str().unwrap().to_owned());
        let text = response.body_mut().read_to_string().unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer { status: response.status().as_u16(), body, allow }
    }

    /// Takes an order with these members beside series, kind and seats.
    pub(crate) fn order(&self, more: Value) -> OrderAnswer {
        let mut order = json!({"Series": "672B", "Kind": "main", "Seats": 5});
        for (name, value) in more.as_object().unwrap() {
            order[name] = value.clone();
        }
        let answer = self.send("POST", "/api/orders", &self.token, &order.to_string());
        assert_eq!(answer.status, 201, "{answer:?}");
        serde_json::from_value(answer.body).unwrap()
    }

    pub(crate) fn code(&self, more: Value) -> ActivationCode {
        self.order(more).codes[0].code
    }

    pub(crate) fn activate(&self, request: &ActivationRequest, key: &SigningKey) -> Answer {
        self.post_request(request.sign(key).unwrap())
    }

    pub(crate) fn post_request(&self, request: String) -> Answer {
        let body = serde_json::to_string(&ActivationCall { request }).unwrap();
        self.send("POST", "/api/activations", "", &body)
    }

    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}

/// A request of the server with this key, on a computer of its own.
pub(crate) fn request(key: &SigningKey, code: ActivationCode) -> ActivationRequest {
    let computer = licence_core::seal::hex_upper(&key.public().as_bytes()[..20]);
    ActivationRequest::new("r1".into(), now(), key, code, computer, "4.0.0".into())
}
