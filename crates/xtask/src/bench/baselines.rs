//! What the licence server is measured beside, in the same run and by the same load: stand-ins of
//! our own, not products of others.
//!
//! `baseline-hello` is the floor of the HTTP stack: hyper that answers `hello` to anything, over
//! plain TCP or TLS. `baseline-leases` is a lease table as an engineer would write it in an
//! afternoon: hyper, one SQLite database behind a mutex, one transaction for every request, synced
//! before the answer. It knows neither who asks nor what for; it counts seats and no more.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Largest body that is read.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// How long a lease of the stand-in lives, in milliseconds.
const LEASE_MILLIS: u32 = 60_000;

/// Most seats that the table is made with; a seat is a row.
const SEATS_MAX: i64 = 1_000_000;

/// Arguments of the hello stand-in.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct HelloArgs {
    /// Speak TLS 1.3 with an Ed25519 certificate, as the licence server does.
    #[arg(long)]
    tls: bool,
}

/// Arguments of the lease-table stand-in.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LeasesArgs {
    /// The database; made if it is not there.
    #[arg(long)]
    db: PathBuf,
    /// Seats.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=SEATS_MAX))]
    seats: u32,
}

/// Body of `POST /claim`.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Claim {
    /// Who holds it.
    pub(super) holder: String,
}

/// Answer to [`Claim`], and body of `POST /release`.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Claimed {
    /// The lease.
    pub(super) lease: String,
}

/// Body of `POST /heartbeat`.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Renew {
    /// The leases.
    pub(super) leases: Vec<String>,
}

/// Why a stand-in does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum BaselineError {
    /// The certificate could not be made.
    #[error("making the certificate")]
    Certificate(#[from] rcgen::Error),
    /// The database does not work.
    #[error("the database")]
    Database(#[from] rusqlite::Error),
    /// No runtime, no port.
    #[error("listening")]
    Io(#[from] io::Error),
    /// The TLS library refuses the certificate.
    #[error("setting up TLS")]
    Tls(#[from] rustls::Error),
}

/// Answers `hello` until it is killed.
///
/// # Errors
///
/// See [`BaselineError`].
pub(super) fn hello(args: HelloArgs) -> Result<(), BaselineError> {
    let tls = if args.tls { Some(certificate()?) } else { None };
    serve(tls, |_request| async { answer(StatusCode::OK, "hello".into()) })
}

/// Keeps the lease table until it is killed.
///
/// # Errors
///
/// See [`BaselineError`].
pub(super) fn leases(args: &LeasesArgs) -> Result<(), BaselineError> {
    let table = Arc::new(Mutex::new(LeaseTable::open(&args.db, args.seats)?));
    serve(Some(certificate()?), move |request| {
        let table = Arc::clone(&table);
        async move {
            let path = request.uri().path().to_owned();
            let Ok(body) = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await else {
                return answer(StatusCode::BAD_REQUEST, "the body".into());
            };
            let body = body.to_bytes();
            let handled = tokio::task::spawn_blocking(move || {
                table.lock().unwrap_or_else(PoisonError::into_inner).handle(&path, &body)
            });
            match handled.await {
                Ok(Ok(Some(text))) => answer(StatusCode::OK, text.into()),
                Ok(Ok(None)) => answer(StatusCode::CONFLICT, "no such lease, no free seat".into()),
                Ok(Err(_)) | Err(_) => answer(StatusCode::INTERNAL_SERVER_ERROR, "failed".into()),
            }
        }
    })
}

fn answer(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
}

/// The table: one row a seat, free while it has no lease.
struct LeaseTable {
    db: Connection,
}

impl LeaseTable {
    fn open(path: &Path, seats: u32) -> Result<Self, rusqlite::Error> {
        let mut db = Connection::open(path)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.execute_batch(
            "CREATE TABLE IF NOT EXISTS seats (
               id INTEGER PRIMARY KEY, lease TEXT, holder TEXT, expires INTEGER
             );
             CREATE INDEX IF NOT EXISTS seats_lease ON seats (lease);",
        )?;
        let change = db.transaction()?;
        for id in 1..=seats {
            change.prepare_cached("INSERT OR IGNORE INTO seats (id) VALUES (?1)")?.execute([id])?;
        }
        change.commit()?;
        Ok(Self { db })
    }

    /// Carries out one request in one transaction; nothing when the table says no.
    fn handle(&mut self, path: &str, body: &[u8]) -> Result<Option<String>, rusqlite::Error> {
        let change = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = match path {
            "/claim" => {
                let Ok(Claim { holder }) = serde_json::from_slice(body) else { return Ok(None) };
                let free: Option<i64> = change
                    .prepare_cached("SELECT id FROM seats WHERE lease IS NULL LIMIT 1")?
                    .query_row([], |row| row.get(0))
                    .optional()?;
                let Some(id) = free else { return Ok(None) };
                let lease: String = change
                    .prepare_cached(
                        "UPDATE seats SET lease = hex(randomblob(16)), holder = ?2,
                         expires = CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?3
                         WHERE id = ?1 RETURNING lease",
                    )?
                    .query_row((id, holder, LEASE_MILLIS), |row| row.get(0))?;
                serde_json::to_string(&Claimed { lease }).ok()
            }
            "/release" => {
                let Ok(Claimed { lease }) = serde_json::from_slice(body) else { return Ok(None) };
                let released = change
                    .prepare_cached(
                        "UPDATE seats SET lease = NULL, holder = NULL, expires = NULL
                         WHERE lease = ?1",
                    )?
                    .execute([lease])?;
                (released == 1).then(|| "{}".to_owned())
            }
            "/heartbeat" => {
                let Ok(Renew { leases }) = serde_json::from_slice(body) else { return Ok(None) };
                let mut renewed = 0;
                for lease in &leases {
                    renewed += change
                        .prepare_cached(
                            // Milliseconds: SQLite leaves a page alone whose bytes stay the
                            // same, and a heartbeat every 10 s always changes them.
                            "UPDATE seats
                             SET expires = CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?2
                             WHERE lease = ?1",
                        )?
                        .execute((lease, LEASE_MILLIS))?;
                }
                (renewed == leases.len()).then(|| "{}".to_owned())
            }
            _ => None,
        };
        if done.is_some() {
            change.commit()?;
        }
        Ok(done)
    }
}

fn certificate() -> Result<Arc<ServerConfig>, BaselineError> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?;
    let certificate = params.self_signed(&key)?;
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], secret)?;
    Ok(Arc::new(config))
}

/// Serves any free port of 127.0.0.1 and says which on standard output.
fn serve<H, F>(tls: Option<Arc<ServerConfig>>, handler: H) -> Result<(), BaselineError>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let port = listener.local_addr()?.port();
        let mut output = io::stdout().lock();
        writeln!(output, "the stand-in listens on 127.0.0.1:{port}")?;
        output.flush()?;
        drop(output);
        let acceptor = tls.map(TlsAcceptor::from);
        loop {
            let (stream, _) = listener.accept().await?;
            let (acceptor, handler) = (acceptor.clone(), handler.clone());
            // One that breaks off is the load's business, which counts it.
            tokio::spawn(async move { drop(speak(stream, acceptor, handler).await) });
        }
    })
}

async fn speak<H, F>(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    handler: H,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send,
{
    stream.set_nodelay(true)?;
    let service = service_fn(move |request| {
        let handler = handler.clone();
        async move { Ok::<_, Infallible>(handler(request).await) }
    });
    match acceptor {
        None => http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?,
        Some(acceptor) => {
            let stream = acceptor.accept(stream).await?;
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seat_is_claimed_once_renewed_and_free_again_after_its_release() {
        let folder = tempfile::tempdir().unwrap();
        let mut table = LeaseTable::open(&folder.path().join("leases.db"), 1).unwrap();
        let claim = br#"{"holder":"a"}"#;
        let claimed = table.handle("/claim", claim).unwrap().unwrap();
        assert_eq!(table.handle("/claim", claim).unwrap(), None);
        let Claimed { lease } = serde_json::from_str(&claimed).unwrap();
        let renew = serde_json::to_vec(&Renew { leases: vec![lease] }).unwrap();
        assert!(table.handle("/heartbeat", &renew).unwrap().is_some());
        assert!(table.handle("/release", claimed.as_bytes()).unwrap().is_some());
        assert_eq!(table.handle("/heartbeat", &renew).unwrap(), None);
        assert!(table.handle("/claim", claim).unwrap().is_some());
        assert_eq!(table.handle("/elsewhere", b"{}").unwrap(), None);
    }
}
