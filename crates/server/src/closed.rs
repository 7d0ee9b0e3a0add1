//! What is answered while the data cannot be used: the port stays open and says why.
//!
//! A component that hears 503 goes to its next server; a person or a balancer reads the reason.
//! Nothing is granted, read or written here.

mod reason;

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ACCEPT_LANGUAGE, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use licence_core::language::Language;
use rustls::ServerConfig;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub use self::reason::Reason;
use crate::api::errors::ApiError;
use crate::api::{self, Answer};
use crate::identity::words;
use crate::language;

/// Connections at one time. Each gets one short answer and is closed, so some hundred serve any
/// number of components that try again.
const CONNECTIONS_MAX: usize = 512;

/// How long a connection may take altogether: handshake, one request, one answer.
const CONNECTION_SECS_MAX: u64 = 10;

/// Largest head of a request, in bytes; as the open server.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Pause after an accept that failed for want of descriptors or memory: trying again at once
/// would spin.
const ACCEPT_PAUSE_MILLIS: u64 = 100;

/// When whoever got 503 may ask again, in seconds.
const RETRY_SECS: &str = "5";

/// First byte of a TLS connection: content type "handshake" (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// The closed service; ends when it is stopped or dropped.
#[derive(Debug)]
pub struct Closed {
    reason: Arc<RwLock<Reason>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Closed {
    /// Begins to answer on a listener that its owner shares.
    pub fn start(
        listener: Arc<TcpListener>,
        tls: Option<Arc<ServerConfig>>,
        language: Language,
        reason: Reason,
    ) -> Self {
        let reason = Arc::new(RwLock::new(reason));
        let (stop, stopped) = watch::channel(false);
        let state = State { reason: Arc::clone(&reason), language };
        let task = tokio::spawn(accept(listener, tls.map(TlsAcceptor::from), state, stopped));
        Self { reason, stop, task }
    }

    /// Changes what is given as the reason.
    pub fn explain(&self, reason: Reason) {
        *self.reason.write().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// Accepts no more; answers under way go out.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            log::error!("the closed service ended otherwise: {error}");
        }
    }
}

#[derive(Clone)]
struct State {
    reason: Arc<RwLock<Reason>>,
    language: Language,
}

async fn accept(
    listener: Arc<TcpListener>,
    tls: Option<TlsAcceptor>,
    state: State,
    mut stopped: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            // Done as well when the owner is gone.
            _ = stopped.wait_for(|stopped| *stopped) => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MILLIS)).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let (tls, state) = (tls.clone(), state.clone());
        tokio::spawn(async move {
            let bound = Duration::from_secs(CONNECTION_SECS_MAX);
            match tokio::time::timeout(bound, speak(stream, tls, state)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => log::debug!("closed: {error}"),
                Err(_) => log::debug!("closed: nothing came within {CONNECTION_SECS_MAX} s"),
            }
            drop(slot);
        });
    }
}

async fn speak(stream: TcpStream, tls: Option<TlsAcceptor>, state: State) -> io::Result<()> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Ok(());
    }
    match tls {
        Some(tls) if first == [TLS_HANDSHAKE] => one(tls.accept(stream).await?, state).await,
        _ => one(stream, state).await,
    }
}

/// One request, one answer.
async fn one<I>(stream: I, state: State) -> io::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(state.answer(&request)) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(CONNECTION_SECS_MAX))
        .max_header_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(io::Error::other)
}

impl State {
    fn answer<B>(&self, request: &Request<B>) -> Answer {
        let reason = self.reason.read().unwrap_or_else(PoisonError::into_inner).clone();
        let language = request
            .headers()
            .get(ACCEPT_LANGUAGE)
            .and_then(|value| value.to_str().ok())
            .and_then(language::accepted)
            .unwrap_or(self.language);
        let made = match request.uri().path() {
            "/health/live" => api::json(StatusCode::OK, &Live { status: "ok" }),
            // For balancers and scripts, as in the open server: always the same words.
            "/health/ready" => api::json(
                StatusCode::SERVICE_UNAVAILABLE,
                &NotReady { status: "failed", reason: &reason.text(Language::English) },
            ),
            _ => Err(refusal(&reason)),
        };
        let mut answer = made.unwrap_or_else(|error| error.response(language));
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECS));
        }
        answer
    }
}

fn refusal(reason: &Reason) -> ApiError {
    if let Reason::IdentityLocked(locked) = reason {
        let text =
            |language| (words::locked(locked, language), words::locked_advice(locked, language));
        let ((why_russian, advice_russian), (why_english, advice_english)) =
            (text(Language::Russian), text(Language::English));
        return ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "EIdentityLocked",
            format!(
                "The server is locked and grants nothing until its key opens: {why_english}. \
                 {advice_english}"
            ),
            format!(
                "Сервер заблокирован и не выдаёт лицензии, пока не откроется его ключ: \
                 {why_russian}. {advice_russian}"
            ),
        );
    }
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "EStorage",
        format!(
            "The server cannot use its data and grants nothing until it can: {}.",
            reason.text(Language::English)
        ),
        format!(
            "Сервер не может использовать свои данные и пока не выдаёт лицензии: {}.",
            reason.text(Language::Russian)
        ),
    )
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Live {
    status: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NotReady<'a> {
    status: &'static str,
    reason: &'a str,
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use licence_core::binding::{PartKind, PartState};

    use super::*;
    use crate::identity::{LockedSeal, Protection, WhyLocked};

    async fn check(path: &str, languages: &str, status: u16, part: &str) {
        check_of(Reason::Full, path, languages, status, part).await;
    }

    async fn check_of(reason: Reason, path: &str, languages: &str, status: u16, part: &str) {
        let state = State { reason: Arc::new(RwLock::new(reason)), language: Language::English };
        let request = Request::get(path).header(ACCEPT_LANGUAGE, languages).body(()).unwrap();
        let answer = state.answer(&request);
        assert_eq!(answer.status().as_u16(), status, "{path}");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(body.contains(part), "{path}: {body}");
    }

    #[tokio::test]
    async fn closed_server_is_alive_not_ready_and_says_why_in_both_languages() {
        check("/health/live", "en", 200, r#"{"Status":"ok"}"#).await;
        check("/health/ready", "en", 503, "the disk is full").await;
        check("/health/ready", "ru", 503, "the disk is full").await;
        for (path, languages, part) in [
            ("/api/licences", "en", "(EStorage) The server cannot use"),
            ("/api/licences", "en", "until it can: the disk is full."),
            ("/client/v1/open", "ru", "(EStorage) Сервер не может"),
            ("/client/v1/open", "ru", "лицензии: на диске нет места для базы данных."),
        ] {
            check(path, languages, 503, part).await;
        }
    }

    #[tokio::test]
    async fn locked_server_says_which_parts_differ_and_what_to_do() {
        let part = |kind, matches| PartState { kind, matches };
        let locked = LockedSeal {
            protection: Protection::Parts,
            parts: vec![
                part(PartKind::Cpu, true),
                part(PartKind::Disk, false),
                part(PartKind::System, false),
            ],
            needed: 2,
            unreadable: vec![PartKind::System],
            why: WhyLocked::Parts,
        };
        let of = |why: &WhyLocked| {
            Reason::IdentityLocked(Box::new(LockedSeal { why: why.clone(), ..locked.clone() }))
        };
        let parts = of(&WhyLocked::Parts);
        for (languages, said) in [
            ("en", "(EIdentityLocked) The server is locked"),
            (
                "en",
                "1 of 3 parts of the computer match, 2 are needed; others: disk; this user \
                    may not read: computer (UUID). Bring",
            ),
            ("en", "licenceserver identity renew --yes"),
            (
                "ru",
                "совпадает частей компьютера: 1 из 3, нужно 2; другие: диск; нет прав \
                    прочитать: компьютер (UUID). Верните",
            ),
        ] {
            check_of(parts.clone(), "/api/licences", languages, 503, said).await;
        }
        check_of(parts, "/health/ready", "ru", 503, "1 of 3 parts").await;
        let secret = "/run/secrets/x: permission denied".to_owned();
        for why in [
            WhyLocked::SecretDiffers,
            WhyLocked::SecretMissing(secret.clone()),
            WhyLocked::TpmDiffers,
            WhyLocked::TpmMissing(secret),
        ] {
            check_of(of(&why), "/api/licences", "ru", 503, "renew --yes").await;
            let told = of(&why).text(Language::English);
            assert!(!told.contains("/run"), "no file is named: {told}");
        }
    }
}
