//! The service's sockets: HTTP, and a proxy that ends TLS itself for the service's hosts.
//!
//! Knows which path means what; what comes of it is decided in [`super::book`].

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::book::{self, SignIn};
use super::reply::Reply;
use super::{Asked, Shared, Step, TRUE_API, Whim, lock};
use crate::stage::StageError;
use crate::stage::pem::pem;

/// Largest body that is read: a signature with a chain of certificates is some 10 KiB.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Whose hosts it plays.
const DOMAINS: [&str; 2] = [".crpt.ru", ".crptech.ru"];

/// Hangs up: an error ends the connection.
type Answered = Result<Response<Full<Bytes>>, io::Error>;

/// Whose certificates the hosts have.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    hosts: Mutex<BTreeMap<String, Arc<ServerConfig>>>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    pub(super) fn make() -> Result<Self, StageError> {
        Self::try_make().map_err(|why| StageError::failed(format!("a certificate: {why}")))
    }

    fn try_make() -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Stage TLS authority");
        let pem = pem("CERTIFICATE", params.self_signed(&key)?.der());
        Ok(Self { issuer: Issuer::new(params, key), pem, hosts: Mutex::default() })
    }

    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    fn config(&self, host: &str) -> Result<Arc<ServerConfig>, StageError> {
        let mut hosts = lock(&self.hosts);
        if let Some(config) = hosts.get(host) {
            return Ok(Arc::clone(config));
        }
        let failed = |why: &dyn std::fmt::Display| StageError::failed(format!("TLS: {why}"));
        let key = KeyPair::generate().map_err(|why| failed(&why))?;
        let mut params = CertificateParams::new([host.to_owned()]).map_err(|why| failed(&why))?;
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name.push(DnType::CommonName, host);
        let certificate = params.signed_by(&key, &self.issuer).map_err(|why| failed(&why))?;
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|why| failed(&why))?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret)
            .map_err(|why| failed(&why))?;
        let config = Arc::new(config);
        hosts.insert(host.to_owned(), Arc::clone(&config));
        Ok(config)
    }
}

/// Takes connections until the end.
pub(super) async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        // Who hangs up in the middle is no concern of the others.
        tokio::spawn(async move { drop(plain(socket, shared).await) });
    }
}

async fn plain(socket: TcpStream, shared: Arc<Shared>) -> hyper::Result<()> {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move {
            if request.method() == Method::CONNECT {
                Ok(connect(request, shared))
            } else {
                answer(request, None, shared).await
            }
        }
    });
    http1::Builder::new().serve_connection(TokioIo::new(socket), service).with_upgrades().await
}

/// Answers a `CONNECT` and is the host that was asked for.
fn connect(request: Request<Incoming>, shared: Arc<Shared>) -> Response<Full<Bytes>> {
    let host = request.uri().host().unwrap_or_default().to_ascii_lowercase();
    let mut response = Response::new(Full::default());
    if !DOMAINS.iter().any(|domain| host.ends_with(domain)) {
        *response.status_mut() = StatusCode::FORBIDDEN;
        return response;
    }
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        let Ok(config) = shared.authority.config(&host) else { return };
        let Ok(stream) = TlsAcceptor::from(config).accept(TokioIo::new(upgraded)).await else {
            return;
        };
        let service =
            service_fn(move |request| answer(request, Some(host.clone()), Arc::clone(&shared)));
        drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
    });
    response
}

async fn answer(request: Request<Incoming>, host: Option<String>, shared: Arc<Shared>) -> Answered {
    let (head, body) = request.into_parts();
    let body = read(body).await?;
    let headers = head.headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let asked = Asked {
        host,
        method: head.method.as_str().to_owned(),
        path: head.uri.path_and_query().map_or_else(String::new, |path| path.to_string()),
        headers: headers.collect(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    lock(&shared.asked).push(asked.clone());
    // Checking a signature and being held back both block.
    let done = tokio::task::spawn_blocking(move || act(&asked, &shared)).await;
    let reply = done.map_err(io::Error::other)??;
    let mut response = Response::new(Full::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).map_err(io::Error::other)?;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    Ok(response)
}

async fn read<B>(body: B) -> io::Result<Bytes>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let whole = Limited::new(body, BODY_BYTES_MAX).collect().await;
    Ok(whole.map_err(io::Error::other)?.to_bytes())
}

/// What is done and answered; an error hangs up.
fn act(asked: &Asked, shared: &Shared) -> io::Result<Reply> {
    let path = asked.path.split('?').next().unwrap_or_default();
    let below = path.strip_prefix(TRUE_API).unwrap_or_default();
    let step = match (asked.method.as_str(), below) {
        ("GET", "/auth/key") => Some(Step::Challenge),
        ("POST", "/auth/permissive-access" | "/auth/simpleSignIn") => Some(Step::SignIn),
        ("POST", path) if path.starts_with("/auth/simpleSignIn/") => Some(Step::SignIn),
        _ => None,
    };
    let Some(step) = step else { return Ok(business(asked, path, shared)) };
    let whim = shared.whim(step);
    match whim {
        Some(Whim::Fail) => return Ok(Reply::failed()),
        Some(Whim::Refuse(status, text)) => {
            return Ok(lock(&shared.book).refuse((status, text.to_owned())));
        }
        Some(
            Whim::Empty | Whim::FailLater | Whim::Flood | Whim::Garbage | Whim::HangUp | Whim::Hold,
        )
        | None => {}
    }
    let done = match step {
        Step::Challenge => lock(&shared.book).challenge(),
        Step::SignIn => sign_in(asked, below, shared),
    };
    let done = done.map_err(io::Error::other)?;
    Ok(match whim {
        Some(Whim::Empty) => Reply::empty(),
        Some(Whim::FailLater) => {
            shared.wait();
            Reply::failed()
        }
        Some(Whim::Flood) => Reply::flood(),
        Some(Whim::Garbage) => Reply::garbage(),
        Some(Whim::HangUp) => return Err(io::ErrorKind::ConnectionAborted.into()),
        Some(Whim::Hold) => {
            shared.wait();
            done
        }
        Some(Whim::Fail | Whim::Refuse(..)) | None => done,
    })
}

fn sign_in(asked: &Asked, below: &str, shared: &Shared) -> Result<Reply, StageError> {
    let sign_in = SignIn {
        is_retail: below == "/auth/permissive-access",
        connection: below.strip_prefix("/auth/simpleSignIn/").map(str::to_owned),
        body: asked.body.clone(),
    };
    let checked = lock(&shared.book).check(&sign_in);
    // The signature is looked at without the book.
    let signed = checked.and_then(|()| book::verify(&shared.gost, &sign_in.body));
    let mut book = lock(&shared.book);
    match signed {
        Ok(signed) => book.sign_in(&sign_in, &signed),
        Err(refusal) => Ok(book.refuse(refusal)),
    }
}

/// Calls that want a token, one for each kind.
fn business(asked: &Asked, path: &str, shared: &Shared) -> Reply {
    let shown = match path {
        path if path.ends_with("/cises/info") => {
            asked.header("authorization").and_then(|value| value.strip_prefix("Bearer "))
        }
        "/api/v3/ping" | "/api/v2/ping" => asked.header("clienttoken"),
        path if path.ends_with("/cdn/info") => asked.header("x-api-key"),
        _ => {
            let text = format!("Нет такого метода: {path}");
            return lock(&shared.book).refuse((404, text));
        }
    };
    let mut book = lock(&shared.book);
    if !shown.is_some_and(|token| book.is_live(token)) {
        return book.refuse((401, "Токен не действителен".to_owned()));
    }
    if path.ends_with("/cises/info") {
        let codes = asked.body.as_array().cloned().unwrap_or_default();
        let row = |code: &Value| {
            let info = json!({ "cis": code, "requestedCis": code, "status": "INTRODUCED" });
            json!({ "cisInfo": info })
        };
        return Reply::ok(&Value::Array(codes.iter().map(row).collect()));
    }
    if path.ends_with("/cdn/info") {
        return Reply::ok(&json!({ "code": 0, "hosts": [] }));
    }
    Reply::ok(&json!({ "omsId": "00000000-0000-0000-0000-000000000000" }))
}
