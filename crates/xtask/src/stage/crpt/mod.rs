//! The sign-in of the marking service («Честный ЗНАК») on the stage: challenges, the four kinds of
//! tokens, one business call each that wants one, and what goes wrong there.
//!
//! It answers over plain HTTP below [`Crpt::base`], and is a proxy that ends TLS itself for the
//! service's own hosts, so that programs that know no other address find it too. Signatures are checked
//! by openssl with its GOST engine: by nothing that the server under test has for it. What it does is
//! said by public clients and recordings of the service, not by the service.

mod book;
mod reply;
mod wire;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::{Gost, Stage, StageError};
use book::Book;
use wire::Authority;

/// What stands before every path of True API 3.
const TRUE_API: &str = "/api/v3/true-api";

/// How long an answer is held back at most: longer than any test waits.
const HOLD_BOUND: Duration = Duration::from_secs(120);

/// What a call is about, for [`Crpt::play`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// `GET /auth/key`.
    Challenge,
    /// Every exchange of a signature.
    SignIn,
}

/// What the service does with one call instead of what it should.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Whim {
    /// It does what it was asked and gives no token in a success.
    Empty,
    /// It answers 500 and has done nothing.
    Fail,
    /// It does what it was asked, waits for [`Crpt::release`], and answers 500: what a recording of the
    /// service shows after half a minute.
    FailLater,
    /// It does what it was asked and answers more than anybody reads.
    Flood,
    /// It does what it was asked and answers with a page for people.
    Garbage,
    /// It does what it was asked and hangs up.
    HangUp,
    /// It does what it was asked and answers after [`Crpt::release`].
    Hold,
    /// It refuses with this status, in a body of this form.
    Refuse(u16, &'static str),
}

/// A call that came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Whose host was meant, when it came through the proxy.
    pub host: Option<String>,
    /// `GET`, `POST`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers, with names in small letters.
    pub headers: Vec<(String, String)>,
    /// The body; null when it is not JSON.
    pub body: Value,
}

impl Asked {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Default)]
struct Gate {
    held: usize,
    opened: usize,
}

#[derive(Debug)]
struct Shared {
    book: Mutex<Book>,
    whims: Mutex<Vec<(Step, VecDeque<Whim>)>>,
    asked: Mutex<Vec<Asked>>,
    gate: Mutex<Gate>,
    gate_opened: Condvar,
    gost: Gost,
    authority: Authority,
}

/// The service. It ends with its owner.
#[derive(Debug)]
pub struct Crpt {
    port: u16,
    shared: Arc<Shared>,
    authority: PathBuf,
    runtime: Option<Runtime>,
}

impl Crpt {
    /// Starts it on a free port, with a certification authority for signatures and one for TLS.
    ///
    /// # Errors
    ///
    /// When openssl or its GOST engine is not there, or no port.
    pub fn start(stage: &Stage) -> Result<Self, StageError> {
        let gost = Gost::make(stage, "gost")?;
        let authority = Authority::make()?;
        let file = stage.root().join("crpt-tls.pem");
        super::write_file(&file, authority.pem())?;
        let shared = Arc::new(Shared {
            book: Mutex::new(Book::default()),
            whims: Mutex::default(),
            asked: Mutex::default(),
            gate: Mutex::default(),
            gate_opened: Condvar::new(),
            gost,
            authority,
        });
        let failed = |why| StageError::io(Path::new("127.0.0.1"), why);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(failed)?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        runtime.spawn(wire::listen(listener, Arc::clone(&shared)));
        Ok(Self { port, shared, authority: file, runtime: Some(runtime) })
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its address as a proxy.
    pub fn proxy(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its base address of True API over plain HTTP.
    pub fn base(&self) -> String {
        format!("{}{TRUE_API}", self.proxy())
    }

    /// The certificate that those must trust who come through the proxy (PEM).
    pub fn authority(&self) -> &Path {
        &self.authority
    }

    /// Whose signatures it takes.
    pub fn gost(&self) -> &Gost {
        &self.shared.gost
    }

    /// Lets whoever has this ИНН in the certificate sign in for an organisation (МЧД).
    pub fn empower(&self, inn: &str, organisation: &str) {
        lock(&self.shared.book).empower(inn, organisation);
    }

    /// What happens to the calls of this kind that come next, one after the other.
    pub fn play(&self, step: Step, whims: &[Whim]) {
        let mut all = lock(&self.shared.whims);
        match all.iter_mut().find(|(own, _)| *own == step) {
            Some((_, waiting)) => waiting.extend(whims),
            None => all.push((step, whims.iter().copied().collect())),
        }
    }

    /// How many answers are held back.
    pub fn held(&self) -> usize {
        lock(&self.shared.gate).held
    }

    /// Lets all answers go that are held back.
    pub fn release(&self) {
        lock(&self.shared.gate).opened += 1;
        self.shared.gate_opened.notify_all();
    }

    /// How many sign-ins it has carried out: for this connection of СУЗ, or for those without one.
    pub fn sign_ins(&self, connection: Option<&str>) -> usize {
        lock(&self.shared.book).sign_ins(connection)
    }

    /// Every token that it has issued, the latest last.
    pub fn tokens(&self) -> Vec<String> {
        lock(&self.shared.book).tokens()
    }

    /// Whether a token is good for anything.
    pub fn is_live(&self, token: &str) -> bool {
        lock(&self.shared.book).is_live(token)
    }

    /// The calls so far.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.shared.asked).clone()
    }
}

impl Drop for Crpt {
    fn drop(&mut self) {
        self.release();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    /// What is planned for a call of this kind.
    fn whim(&self, step: Step) -> Option<Whim> {
        let mut all = lock(&self.whims);
        all.iter_mut().find(|(own, _)| *own == step).and_then(|(_, waiting)| waiting.pop_front())
    }

    /// Returns when somebody calls [`Crpt::release`].
    fn wait(&self) {
        let mut gate = lock(&self.gate);
        let before = gate.opened;
        gate.held += 1;
        let waited =
            self.gate_opened.wait_timeout_while(gate, HOLD_BOUND, |gate| gate.opened == before);
        let (mut gate, _) = waited.unwrap_or_else(PoisonError::into_inner);
        gate.held -= 1;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
