//! Members of a played etcd: each answers the JSON gateway over the one store of all.
//!
//! Members never lose one another, so the store is one history as that of a majority is. What is between
//! a member and those who ask it is the simulation's matter. Nothing is answered better than etcd
//! would: a lease ends as soon as it may.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use licence_core::cluster::{Change, Compare, Entry, Op, Txn};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::etcd::Etcd as Store;
use crate::clock;

/// etcd's port for clients.
pub(super) const PORT: u16 = 2379;

/// How often etcd looks for leases that have ended.
const LEASES_EVERY: Duration = Duration::from_millis(50);

/// How often a watch without changes says how far it is; etcd does so every ten minutes.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// What all members share. Clones are the same etcd.
#[derive(Clone)]
pub(super) struct Members {
    shared: Arc<Mutex<Shared>>,
    told: watch::Sender<i64>,
}

pub(super) struct Shared {
    pub(super) store: Store,
    /// Every change that there ever was.
    pub(super) history: Vec<Change>,
    /// How often each transaction was received, by its text.
    pub(super) txns: BTreeMap<Vec<u8>, u32>,
    /// Members that have no leader.
    pub(super) leaderless: BTreeSet<usize>,
    /// The answer to the next transaction does not come back to this host, and no other one after it.
    pub(super) loses_answers_to: Option<&'static str>,
    /// Leases that somebody believes in, and until when in milliseconds.
    pub(super) believed: BTreeMap<&'static str, (i64, u64)>,
    /// What must never happen and has.
    pub(super) broken: Vec<String>,
    term: u64,
    /// Up to where [`Self::history`] goes.
    noted: i64,
    /// Revision below which nothing is kept.
    compacted: i64,
}

impl Members {
    pub(super) fn new() -> Self {
        let shared = Shared {
            store: Store::default(),
            history: Vec::new(),
            txns: BTreeMap::new(),
            leaderless: BTreeSet::new(),
            loses_answers_to: None,
            believed: BTreeMap::new(),
            broken: Vec::new(),
            term: 2,
            noted: 0,
            compacted: 0,
        };
        let (told, _) = watch::channel(0);
        Self { shared: Arc::new(Mutex::new(shared)), told }
    }

    /// Looks at what they share, or changes it.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Shared) -> T) -> T {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let done = act(&mut shared);
        shared.note();
        let revision = shared.store.revision;
        drop(shared);
        self.told.send_if_modified(|told| std::mem::replace(told, revision) != revision);
        done
    }

    /// Ends what has ended by now, then as [`Self::with`]. By the clock of the host that runs.
    pub(super) fn at_now<T>(&self, act: impl FnOnce(&mut Shared, u64) -> T) -> T {
        let now = clock::mono().as_millis();
        self.with(|shared| {
            shared.store.tick(now);
            shared.look_at_leases(now);
            act(shared, now)
        })
    }

    /// Is a member until its host dies.
    pub(super) async fn serve(self, me: usize) -> turmoil::Result {
        let listener = turmoil::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
        let members = self.clone();
        tokio::spawn(async move {
            loop {
                members.at_now(|_, _| ());
                tokio::time::sleep(LEASES_EVERY).await;
            }
        });
        loop {
            let (stream, _) = listener.accept().await?;
            let members = self.clone();
            let service = service_fn(move |request| members.clone().answer(me, request));
            tokio::spawn(async move {
                let served = hyper::server::conn::http1::Builder::new();
                // How a connection ends is up to who asks.
                drop(served.serve_connection(TokioIo::new(stream), service).await);
            });
        }
    }

    async fn answer(
        self,
        me: usize,
        request: Request<Incoming>,
    ) -> Result<Response<Answered>, Infallible> {
        let path = request.uri().path().to_owned();
        let Ok(body) = request.into_body().collect().await else { return Ok(refused(1, "gone")) };
        let body = body.to_bytes();
        let asked: Value = serde_json::from_slice(&body).expect("a request that is JSON");
        let is_leaderless = self.with(|shared| shared.leaderless.contains(&me));
        if is_leaderless && path != "/v3/maintenance/status" {
            return Ok(refused(14, "etcdserver: no leader"));
        }
        if path == "/v3/watch" {
            return Ok(self.watch(me, &asked["create_request"]));
        }
        let answer = self.at_now(|shared, now| match path.as_str() {
            "/v3/kv/range" => Some(shared.range(me, &asked)),
            "/v3/kv/txn" => {
                *shared.txns.entry(body.to_vec()).or_default() += 1;
                Some(shared.txn(me, &asked))
            }
            "/v3/lease/grant" => {
                let ttl = u32::try_from(number(&asked["TTL"])).unwrap();
                let lease = shared.store.grant(ttl, now);
                let (id, ttl) = (lease.to_string(), ttl.to_string());
                Some(json!({ "header": shared.header(me), "ID": id, "TTL": ttl }))
            }
            "/v3/lease/keepalive" => Some(shared.keep_alive(me, &asked, now)),
            "/v3/lease/revoke" => {
                shared.store.revoke(number(&asked["ID"]));
                Some(json!({ "header": shared.header(me) }))
            }
            "/v3/maintenance/status" => {
                let leader = if is_leaderless { "0" } else { "1" };
                Some(json!({ "header": shared.header(me), "version": "3.5.9", "leader": leader }))
            }
            _ => None,
        });
        let Some(answer) = answer else { return Ok(refused(12, "Not Implemented")) };
        if path == "/v3/kv/txn"
            && let Some(host) = self.with(|shared| shared.loses_answers_to.take())
        {
            turmoil::partition_oneway(member(me), host);
        }
        Ok(Response::new(Either::Left(Full::from(answer.to_string()))))
    }

    fn watch(self, me: usize, asked: &Value) -> Response<Answered> {
        let (lines, body) = mpsc::channel(16);
        let (prefix, next) = (text(&asked["key"]), number(&asked["start_revision"]));
        tokio::spawn(async move {
            // It ends when nobody reads it.
            drop(self.tell_changes(me, prefix, next, lines).await);
        });
        Response::new(Either::Right(Lines(body)))
    }

    async fn tell_changes(
        self,
        me: usize,
        prefix: String,
        mut next: i64,
        lines: mpsc::Sender<Bytes>,
    ) -> Result<(), mpsc::error::SendError<Bytes>> {
        let line = |answer: Value| Bytes::from(format!("{}\n", json!({ "result": answer })));
        let mut told = self.told.subscribe();
        let header = self.with(|shared| shared.header(me));
        lines.send(line(json!({ "header": header, "created": true }))).await?;
        loop {
            told.mark_unchanged();
            let (answer, is_over) = self.with(|shared| {
                let header = shared.header(me);
                if shared.leaderless.contains(&me) {
                    let reason = "etcdserver: no leader";
                    let answer =
                        json!({ "header": header, "canceled": true, "cancel_reason": reason });
                    return (Some(answer), true);
                }
                let Some((changes, revision)) = shared.store.changes_after(next - 1) else {
                    let kept = shared.compacted.to_string();
                    let answer =
                        json!({ "header": header, "canceled": true, "compact_revision": kept });
                    return (Some(answer), true);
                };
                next = next.max(revision + 1);
                let is_meant = |change: &&Change| change.key().starts_with(&prefix);
                let events: Vec<Value> = changes.iter().filter(is_meant).map(event).collect();
                let answer = json!({ "header": header, "events": events });
                (Some(answer).filter(|_| !events.is_empty()), false)
            });
            if let Some(answer) = answer {
                lines.send(line(answer)).await?;
            }
            if is_over {
                return Ok(());
            }
            tokio::select! {
                _ = told.changed() => {}
                () = lines.closed() => return Ok(()),
                () = tokio::time::sleep(PROGRESS_EVERY) => {
                    let header = self.with(|shared| shared.header(me));
                    lines.send(line(json!({ "header": header }))).await?;
                }
            }
        }
    }
}

impl Shared {
    /// Another member leads.
    pub(super) fn elect(&mut self, now: u64) {
        self.term += 1;
        self.store.elect(now);
    }

    /// Forgets what was before the present.
    pub(super) fn compact(&mut self) {
        self.note();
        self.compacted = self.store.revision;
        self.store.compact();
    }

    /// What somebody believes in must be there.
    fn look_at_leases(&mut self, now: u64) {
        let entries = self.store.range().0;
        for (name, (lease, until)) in &self.believed {
            if now < *until && !entries.iter().any(|entry| entry.lease == *lease) {
                self.broken.push(format!("{name} believes in a lease that is over"));
            }
        }
    }

    fn note(&mut self) {
        if let Some((changes, revision)) = self.store.changes_after(self.noted) {
            self.history.extend(changes);
            self.noted = revision;
        }
    }

    fn header(&self, me: usize) -> Value {
        json!({
            "cluster_id": "14841639068965178418",
            "member_id": (me + 1).to_string(),
            "revision": self.store.revision.to_string(),
            "raft_term": self.term.to_string(),
        })
    }

    fn range(&self, me: usize, asked: &Value) -> Value {
        let (from, end) = (text(&asked["key"]), text(&asked["range_end"]));
        let is_meant = |entry: &Entry| {
            if end.is_empty() { entry.key == from } else { (&from..&end).contains(&&entry.key) }
        };
        let entries = self.store.range().0;
        let found: Vec<Value> = entries.iter().filter(|entry| is_meant(entry)).map(pair).collect();
        let count = found.len().to_string();
        let found = if asked["count_only"] == json!(true) { Vec::new() } else { found };
        json!({ "header": self.header(me), "kvs": found, "count": count })
    }

    fn txn(&mut self, me: usize, asked: &Value) -> Value {
        let compare = asked["compare"].as_array().unwrap().iter().map(|compare| {
            let key = text(&compare["key"]);
            assert_eq!(compare["result"], "EQUAL");
            match compare["target"].as_str().unwrap() {
                "CREATE" => Compare::Created { key, revision: number(&compare["create_revision"]) },
                "MOD" => Compare::Modified { key, revision: number(&compare["mod_revision"]) },
                other => panic!("a comparison of {other}"),
            }
        });
        let then = asked["success"].as_array().unwrap().iter().map(|op| {
            if let Some(put) = op.get("request_put") {
                let lease = number(&put["lease"]);
                Op::Put {
                    key: text(&put["key"]),
                    value: bytes(&put["value"]),
                    lease: Some(lease).filter(|lease| *lease != 0),
                }
            } else {
                Op::Delete { key: text(&op["request_delete_range"]["key"]) }
            }
        });
        let txn = Txn { compare: compare.collect(), then: then.collect() };
        let succeeded = self.store.txn(&txn).is_some();
        json!({ "header": self.header(me), "succeeded": succeeded })
    }

    fn keep_alive(&mut self, me: usize, asked: &Value, now: u64) -> Value {
        let lease = number(&asked["ID"]);
        // Whether it counts, not how long it is, is what our client reads of it.
        let ttl = if self.store.keep_alive(lease, now) { "10" } else { "0" };
        let header = self.header(me);
        json!({ "result": { "header": header, "ID": lease.to_string(), "TTL": ttl } })
    }
}

/// Name of a member's host.
pub(super) const fn member(me: usize) -> &'static str {
    ["etcd-0", "etcd-1", "etcd-2"][me]
}

fn refused(code: u32, said: &str) -> Response<Answered> {
    let body = json!({ "error": said, "code": code, "message": said }).to_string();
    let mut response = Response::new(Either::Left(Full::from(body)));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

fn pair(entry: &Entry) -> Value {
    json!({
        "key": STANDARD.encode(&entry.key),
        "value": STANDARD.encode(&entry.value),
        "create_revision": entry.create_revision.to_string(),
        "mod_revision": entry.mod_revision.to_string(),
        "lease": entry.lease.to_string(),
    })
}

fn event(change: &Change) -> Value {
    match change {
        Change::Put(entry) => json!({ "kv": pair(entry) }),
        Change::Delete { key, revision } => json!({
            "type": "DELETE",
            "kv": { "key": STANDARD.encode(key), "mod_revision": revision.to_string() },
        }),
    }
}

/// What is zero is left out.
fn number(value: &Value) -> i64 {
    value.as_str().map_or(0, |digits| digits.parse().unwrap())
}

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap_or_default()).unwrap()
}

fn text(value: &Value) -> String {
    String::from_utf8(bytes(value)).unwrap()
}

type Answered = Either<Full<Bytes>, Lines>;

/// An answer that does not end by itself.
struct Lines(mpsc::Receiver<Bytes>);

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}
