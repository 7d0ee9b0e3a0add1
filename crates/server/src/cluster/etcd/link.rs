//! One endpoint: its connections, and one call over one of them.
//!
//! A call says whether its request was on its way when it failed; whether it is made again is decided
//! elsewhere. Connections are kept while they are used and closed when a call over them is given up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT,
};
use hyper::rt::{Read, Write};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use licence_core::time::MonoTime;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::dial::Dial;
use super::{Endpoint, EtcdError};
use crate::api::VERSION;
use crate::clock;

/// Connections kept for the next call. A node has one transaction under way, one renewal and one range;
/// the rest are second attempts.
const IDLE_MAX: usize = 8;

/// Name of the header by which the gateway hands `hasleader` on: etcd then ends streams of a member that
/// has no leader, instead of leaving them silent.
const REQUIRE_LEADER: HeaderName = HeaderName::from_static("grpc-metadata-hasleader");

type Sender = SendRequest<Full<Bytes>>;

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Address of the call.
    pub(super) path: &'static str,
    /// JSON.
    pub(super) body: Bytes,
    /// Token of the sign-in.
    pub(super) token: Option<HeaderValue>,
    /// Bytes of the answer at most.
    pub(super) bytes_max: usize,
}

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Until the request is on its way.
    pub(super) connect: Duration,
    /// In all.
    pub(super) whole: Duration,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
    /// When the request was sent.
    pub(super) sent: MonoTime,
}

/// One endpoint with its connections.
#[derive(Debug)]
pub(super) struct Link {
    endpoint: Endpoint,
    dial: Dial,
    tls: Option<Arc<ClientConfig>>,
    idle: Mutex<Vec<Sender>>,
    is_verified: AtomicBool,
}

impl Link {
    pub(super) const fn new(
        endpoint: Endpoint,
        dial: Dial,
        tls: Option<Arc<ClientConfig>>,
    ) -> Self {
        let is_verified = AtomicBool::new(false);
        Self { endpoint, dial, tls, idle: Mutex::new(Vec::new()), is_verified }
    }

    pub(super) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether an answer of it has named the right cluster since it last failed.
    pub(super) fn is_verified(&self) -> bool {
        self.is_verified.load(Ordering::Relaxed)
    }

    pub(super) fn set_verified(&self, is_verified: bool) {
        self.is_verified.store(is_verified, Ordering::Relaxed);
    }

    /// Asks and reads the whole answer.
    pub(super) async fn call(&self, asked: &Asked, bounds: Bounds) -> Result<Raw, EtcdError> {
        let was_sent = AtomicBool::new(false);
        let work = async {
            let (sender, sent, response) = self.send(asked, bounds.connect, &was_sent).await?;
            let status = response.status();
            let body = self.body(response, asked.bytes_max).await?;
            self.keep(sender);
            Ok(Raw { status, body, sent })
        };
        tokio::time::timeout(bounds.whole, work)
            .await
            .unwrap_or_else(|_| Err(self.timed_out(was_sent.load(Ordering::Relaxed))))
    }

    /// Asks and gives the answer as it begins. Its connection ends with it.
    pub(super) async fn open(
        &self,
        asked: &Asked,
        bound: Duration,
    ) -> Result<Response<Incoming>, EtcdError> {
        let was_sent = AtomicBool::new(false);
        let opening = self.send(asked, bound, &was_sent);
        let opened = tokio::time::timeout(bound, opening).await;
        let (_sender, _, response) =
            opened.unwrap_or_else(|_| Err(self.timed_out(was_sent.load(Ordering::Relaxed))))?;
        Ok(response)
    }

    /// The rest of an answer.
    pub(super) async fn body(
        &self,
        response: Response<Incoming>,
        bytes_max: usize,
    ) -> Result<Bytes, EtcdError> {
        let endpoint = || self.endpoint.clone();
        match Limited::new(response.into_body(), bytes_max).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(why) if why.is::<LengthLimitError>() => {
                Err(EtcdError::TooLong { endpoint: endpoint(), bytes_max })
            }
            Err(why) => Err(match why.downcast::<hyper::Error>() {
                Ok(source) => EtcdError::Broken { endpoint: endpoint(), source: *source },
                // Of the two that `Limited` gives this one is none.
                Err(_) => self.timed_out(true),
            }),
        }
    }

    async fn send(
        &self,
        asked: &Asked,
        connect: Duration,
        was_sent: &AtomicBool,
    ) -> Result<(Sender, MonoTime, Response<Incoming>), EtcdError> {
        loop {
            let (mut sender, is_kept) = match self.kept().await {
                Some(sender) => (sender, true),
                None => (self.connect_within(connect).await?, false),
            };
            let request = self.request(asked)?;
            let sent = clock::mono();
            was_sent.store(true, Ordering::Relaxed);
            let mut error = match sender.try_send_request(request).await {
                Ok(response) => return Ok((sender, sent, response)),
                Err(error) => error,
            };
            if error.take_message().is_some() {
                // The connection had ended, and nothing of the request went out.
                was_sent.store(false, Ordering::Relaxed);
                if is_kept {
                    continue;
                }
                let source = std::io::Error::other(error.into_error());
                return Err(EtcdError::Connect { endpoint: self.endpoint.clone(), source });
            }
            let source = error.into_error();
            return Err(EtcdError::Broken { endpoint: self.endpoint.clone(), source });
        }
    }

    fn request(&self, asked: &Asked) -> Result<Request<Full<Bytes>>, EtcdError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(asked.path)
            .header(HOST, self.endpoint.authority())
            .header(USER_AGENT, format!("licenceserver/{VERSION}"))
            // etcd tells by it that the gateway speaks for somebody, and does not take the name in
            // its own certificate for the user's.
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .header(REQUIRE_LEADER, "true");
        if let Some(token) = &asked.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        let made = request.body(Full::new(asked.body.clone()));
        made.map_err(|why| EtcdError::Request(why.into()))
    }

    /// A connection of an earlier call that is still good.
    async fn kept(&self) -> Option<Sender> {
        loop {
            let mut sender = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if !sender.is_closed() && sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    fn keep(&self, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(sender);
        }
    }

    async fn connect_within(&self, bound: Duration) -> Result<Sender, EtcdError> {
        let connected = tokio::time::timeout(bound, self.connect()).await;
        connected.unwrap_or_else(|_| Err(self.timed_out(false)))
    }

    async fn connect(&self) -> Result<Sender, EtcdError> {
        let endpoint = || self.endpoint.clone();
        let unreached = |source| EtcdError::Connect { endpoint: endpoint(), source };
        let no_tls = |source| EtcdError::Tls { endpoint: endpoint(), source };
        let host = self.endpoint.host();
        let stream = (self.dial)(host, self.endpoint.port()).await.map_err(unreached)?;
        match &self.tls {
            Some(config) if self.endpoint.is_tls() => {
                let name = ServerName::try_from(host.to_owned())
                    .map_err(|error| no_tls(std::io::Error::other(error)))?;
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = connector.connect(name, stream).await.map_err(no_tls)?;
                self.handshake(TokioIo::new(stream)).await
            }
            Some(_) | None => self.handshake(TokioIo::new(stream)).await,
        }
    }

    async fn handshake<S>(&self, stream: S) -> Result<Sender, EtcdError>
    where
        S: Read + Write + Unpin + Send + 'static,
    {
        let (sender, connection) =
            hyper::client::conn::http1::handshake(stream).await.map_err(|error| {
                EtcdError::Connect {
                    endpoint: self.endpoint.clone(),
                    source: std::io::Error::other(error),
                }
            })?;
        let endpoint = self.endpoint.clone();
        // Ends with the sender and the answers over it.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                log::debug!("a connection with {endpoint} ended: {error}");
            }
        });
        Ok(sender)
    }

    fn timed_out(&self, was_sent: bool) -> EtcdError {
        EtcdError::TimedOut { endpoint: self.endpoint.clone(), was_sent }
    }
}
