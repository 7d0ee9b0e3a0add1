//! Which endpoint is asked, in what order, how often; and the sign-in.
//!
//! What may be asked twice is asked at the next endpoint when one is slow, and the first answer counts.
//! A transaction is sent once. Every call ends within the bound of the settings, whatever endpoints do.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderValue;
use hyper::{Response, StatusCode};
use licence_core::time::MonoTime;
use serde::Serialize;
use tokio::task::JoinSet;

use super::dial::Dial;
use super::link::{Asked, Bounds, Link, Raw};
use super::tls::{TlsError, client_config};
use super::watch::Fault;
use super::wire::{Answer, Empty, Refusal, SignIn, StatusAnswer, TokenAnswer};
use super::{
    ANSWER_BYTES_MAX, Endpoint, EndpointStatus, EtcdConfig, EtcdError, MemberStatus,
    SHORT_BYTES_MAX,
};
use crate::clock::{self, Stopwatch};
use crate::config::Hidden;

/// How often it is looked whether an endpoint that stands earlier in the settings is back: its owner put
/// it there because it is near, and a look costs one short call.
const WAY_BACK: Duration = Duration::from_secs(30);

/// What an answer brought.
#[derive(Debug)]
pub(super) struct Reply<T> {
    pub(super) body: T,
    /// When the request was sent that was answered.
    pub(super) sent: MonoTime,
}

/// How the sign-in stands.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Pass {
    /// etcd asks nobody for a name.
    Off,
    /// By this token.
    Token(HeaderValue),
}

/// The endpoints of one etcd.
#[derive(Debug)]
pub(super) struct Calls {
    links: Vec<Link>,
    /// Index of the one that is asked first.
    preferred: AtomicUsize,
    /// When it was last looked for an earlier one, in milliseconds of the monotonic clock.
    looked_back: AtomicU64,
    user: Option<(String, Hidden)>,
    pass: Mutex<Option<Pass>>,
    signing_in: tokio::sync::Mutex<()>,
    /// Id of the cluster of the first answer.
    cluster: OnceLock<u64>,
    timeout: Duration,
}

impl Calls {
    pub(super) fn new(config: &EtcdConfig, dial: Dial) -> Result<Self, TlsError> {
        let tls = client_config(config)?;
        let links =
            config.endpoints.iter().map(|endpoint| Link::new(endpoint.clone(), dial, tls.clone()));
        let password = || config.password.clone().unwrap_or_else(|| Hidden(String::new()));
        Ok(Self {
            links: links.collect(),
            preferred: AtomicUsize::new(0),
            looked_back: AtomicU64::new(0),
            user: config.user.clone().map(|user| (user, password())),
            pass: Mutex::new(None),
            signing_in: tokio::sync::Mutex::new(()),
            cluster: OnceLock::new(),
            timeout: config.timeout,
        })
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn count(&self) -> usize {
        self.links.len()
    }

    pub(super) fn endpoint(&self, index: usize) -> Option<&Endpoint> {
        self.links.get(index).map(Link::endpoint)
    }

    /// Index of the endpoint that is asked first.
    pub(super) fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed)
    }

    /// Asks what may be asked twice: of the preferred endpoint, and of one more at each step without an
    /// answer.
    pub(super) async fn repeat<Q: Serialize, T: Answer>(
        self: &Arc<Self>,
        path: &'static str,
        request: &Q,
        bytes_max: usize,
    ) -> Result<Reply<T>, EtcdError> {
        let body = encoded(request)?;
        let start = clock::mono();
        let order = self.order();
        let first = *order.first().ok_or(EtcdError::NoEndpoint)?;
        let mut order = order.into_iter();
        let mut attempts = JoinSet::new();
        let mut failed: Option<EtcdError> = None;
        loop {
            if let Some(index) = order.next() {
                let (calls, body) = (Arc::clone(self), body.clone());
                let left = self.left(start);
                attempts.spawn(async move {
                    let bounds = Bounds { connect: left, whole: left };
                    (index, calls.attempt::<T>(index, path, body, bytes_max, bounds).await)
                });
            } else if attempts.is_empty() {
                return Err(failed.unwrap_or(EtcdError::NoEndpoint));
            }
            let error = tokio::select! {
                biased;
                Some(done) = attempts.join_next() => match done {
                    Ok((index, Ok(reply))) => {
                        self.prefer(first, index);
                        return Ok(reply);
                    }
                    Ok((_, Err(error))) if !error.is_of_the_endpoint() => return Err(error),
                    Ok((_, Err(error))) => error,
                    // Nobody ends attempts but this call; one that panicked has said so in the log.
                    Err(_) => self.silent(first),
                },
                () = tokio::time::sleep(self.step()), if order.len() > 0 => continue,
                () = tokio::time::sleep(self.left(start)) => {
                    let silent = self.silent(first);
                    return Err(match failed {
                        Some(failed) => silent.or_better(failed),
                        None => silent,
                    });
                }
            };
            failed = Some(match failed {
                Some(failed) => failed.or_better(error),
                None => error,
            });
        }
    }

    /// Asks what must not be carried out twice: goes on to the next endpoint only while the request
    /// has not been sent.
    pub(super) async fn once<Q: Serialize, T: Answer>(
        self: &Arc<Self>,
        path: &'static str,
        request: &Q,
    ) -> Result<Reply<T>, EtcdError> {
        let body = encoded(request)?;
        let start = clock::mono();
        let order = self.order();
        let first = *order.first().ok_or(EtcdError::NoEndpoint)?;
        let mut order = order.into_iter();
        let mut failed: Option<EtcdError> = None;
        while let Some(index) = order.next() {
            let has_more = order.len() > 0;
            let connect =
                || if has_more { self.left(start).min(self.step()) } else { self.left(start) };
            let asked = async {
                self.verify(index, connect()).await?;
                let bounds = Bounds { connect: connect(), whole: self.left(start) };
                self.attempt(index, path, body.clone(), SHORT_BYTES_MAX, bounds).await
            };
            let error = match asked.await {
                Ok(reply) => {
                    self.prefer(first, index);
                    return Ok(reply);
                }
                Err(error) => error,
            };
            if error.is_of_the_endpoint() && !error.may_be_done() {
                failed = Some(match failed {
                    Some(failed) => failed.or_better(error),
                    None => error,
                });
                continue;
            }
            if let Some(next) = order.next().filter(|_| error.is_of_the_endpoint()) {
                self.prefer(first, next);
            }
            return Err(error);
        }
        Err(failed.unwrap_or(EtcdError::NoEndpoint))
    }

    /// Makes sure that an endpoint belongs to the cluster of the others before something is changed
    /// there: two etcds behind one list would each give out all seats.
    async fn verify(self: &Arc<Self>, index: usize, bound: Duration) -> Result<(), EtcdError> {
        let Some(link) = self.links.get(index) else { return Err(EtcdError::NoEndpoint) };
        if link.is_verified() {
            return Ok(());
        }
        let bounds = Bounds { connect: bound, whole: bound };
        let told = self.status_of(index, bounds).await;
        told.map(drop).map_err(|error| error.before_a_call(link.endpoint()))
    }

    /// The endpoint's own word on how it is.
    pub(super) async fn status_of(
        self: &Arc<Self>,
        index: usize,
        bounds: Bounds,
    ) -> Result<StatusAnswer, EtcdError> {
        let body = encoded(&Empty {})?;
        let path = "/v3/maintenance/status";
        Ok(self.attempt(index, path, body, SHORT_BYTES_MAX, bounds).await?.body)
    }

    pub(super) async fn status_of_all(self: &Arc<Self>) -> Vec<EndpointStatus> {
        let mut looks = JoinSet::new();
        for (index, link) in self.links.iter().enumerate() {
            let (calls, endpoint) = (Arc::clone(self), link.endpoint().clone());
            looks.spawn(async move {
                let watch = Stopwatch::start();
                let bounds = Bounds { connect: calls.timeout, whole: calls.timeout };
                let answer = calls.status_of(index, bounds).await.map(MemberStatus::from);
                (index, EndpointStatus { endpoint, answer, seconds: watch.seconds() })
            });
        }
        let mut found = looks.join_all().await;
        found.sort_by_key(|(index, _)| *index);
        found.into_iter().map(|(_, status)| status).collect()
    }

    /// Begins an answer that is a stream.
    pub(super) async fn open(
        self: &Arc<Self>,
        index: usize,
        path: &'static str,
        body: Bytes,
    ) -> Result<Response<Incoming>, EtcdError> {
        let link = self.links.get(index).ok_or(EtcdError::NoEndpoint)?;
        let start = clock::mono();
        let mut refused = None;
        loop {
            let is_last_try = refused.is_some();
            let pass = self.pass(refused.as_ref(), start).await?;
            let token = token_of(pass.as_ref());
            let asked = Asked { path, body: body.clone(), token, bytes_max: SHORT_BYTES_MAX };
            let response = link.open(&asked, self.left(start)).await?;
            if response.status() == StatusCode::OK {
                return Ok(response);
            }
            let status = response.status();
            let body = tokio::time::timeout(self.left(start), link.body(response, SHORT_BYTES_MAX));
            let body = body.await.unwrap_or_else(|_| Err(self.silent(index)))?;
            let error = self.refusal(index, status, &body);
            if !matches!(error, EtcdError::Unknown { .. }) || is_last_try || pass.is_none() {
                return Err(error);
            }
            refused = pass;
        }
    }

    /// Takes the next token instead of the one in use: a watch is refused without saying whether a token
    /// or a right is missing.
    pub(super) async fn sign_in_anew(self: &Arc<Self>) -> Result<(), EtcdError> {
        let used = self.current_pass();
        self.pass(used.as_ref(), clock::mono()).await.map(drop)
    }

    /// Whether there is a user to sign in.
    pub(super) const fn has_user(&self) -> bool {
        self.user.is_some()
    }

    /// One call at one endpoint; once more when only its token was not taken.
    async fn attempt<T: Answer>(
        self: &Arc<Self>,
        index: usize,
        path: &'static str,
        body: Bytes,
        bytes_max: usize,
        bounds: Bounds,
    ) -> Result<Reply<T>, EtcdError> {
        let link = self.links.get(index).ok_or(EtcdError::NoEndpoint)?;
        let start = clock::mono();
        let mut refused = None;
        loop {
            let is_last_try = refused.is_some();
            let pass = self.pass(refused.as_ref(), start).await?;
            let asked =
                Asked { path, body: body.clone(), token: token_of(pass.as_ref()), bytes_max };
            let whole = bounds.whole.saturating_sub(clock::mono().since(start));
            let bounds = Bounds { whole, ..bounds };
            let read = match link.call(&asked, bounds).await {
                Ok(raw) => self.read(index, raw),
                Err(error) => Err(error),
            };
            match read {
                // etcd looks at the token before it does anything, so nothing was done.
                Err(EtcdError::Unknown { .. }) if !is_last_try && pass.is_some() => refused = pass,
                Err(error) => {
                    if error.is_of_the_endpoint() {
                        link.set_verified(false);
                    }
                    return Err(error);
                }
                Ok(reply) => return Ok(reply),
            }
        }
    }

    fn read<T: Answer>(&self, index: usize, raw: Raw) -> Result<Reply<T>, EtcdError> {
        if raw.status != StatusCode::OK {
            return Err(self.refusal(index, raw.status, &raw.body));
        }
        let body: T =
            serde_json::from_slice(&raw.body).map_err(|_| self.foreign(index, raw.status))?;
        if let Some(cluster) = body.cluster() {
            self.check_cluster(index, cluster)?;
        }
        Ok(Reply { body, sent: raw.sent })
    }

    /// Whether an answer comes from the cluster of all answers before.
    pub(super) fn check_cluster(&self, index: usize, cluster: u64) -> Result<(), EtcdError> {
        let link = self.links.get(index).ok_or(EtcdError::NoEndpoint)?;
        if cluster == 0 {
            return Err(self.foreign(index, StatusCode::OK));
        }
        if *self.cluster.get_or_init(|| cluster) != cluster {
            return Err(EtcdError::OtherCluster { endpoint: link.endpoint().clone() });
        }
        link.set_verified(true);
        Ok(())
    }

    fn refusal(&self, index: usize, status: StatusCode, body: &[u8]) -> EtcdError {
        match serde_json::from_slice::<Refusal>(body) {
            Ok(refusal) if refusal.is_said() => refusal.into_error(),
            Ok(_) | Err(_) if refuses_name(body) => EtcdError::CommonName,
            Ok(_) | Err(_) => self.foreign(index, status),
        }
    }

    /// How calls sign in; nothing without a user. `refused` is what etcd did not take.
    async fn pass(
        &self,
        refused: Option<&Pass>,
        start: MonoTime,
    ) -> Result<Option<Pass>, EtcdError> {
        let Some((name, password)) = &self.user else { return Ok(None) };
        if let Some(pass) = self.current_pass().filter(|pass| Some(pass) != refused) {
            return Ok(Some(pass));
        }
        let silent = |_| {
            self.of(self.preferred(), |endpoint| EtcdError::TimedOut { endpoint, was_sent: false })
        };
        let one = tokio::time::timeout(self.left(start), self.signing_in.lock());
        let _one = one.await.map_err(silent)?;
        // Another call may have done it meanwhile.
        if let Some(pass) = self.current_pass().filter(|pass| Some(pass) != refused) {
            return Ok(Some(pass));
        }
        let signing_in = tokio::time::timeout(self.left(start), self.sign_in(name, password));
        let pass = signing_in.await.map_err(silent)??;
        *self.pass.lock().unwrap_or_else(PoisonError::into_inner) = Some(pass.clone());
        Ok(Some(pass))
    }

    fn current_pass(&self) -> Option<Pass> {
        self.pass.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn sign_in(&self, name: &str, password: &Hidden) -> Result<Pass, EtcdError> {
        let body = encoded(&SignIn { name, password: &password.0 })?;
        let mut failed: Option<EtcdError> = None;
        let mut order = self.in_order().into_iter();
        while let Some(index) = order.next() {
            let Some(link) = self.links.get(index) else { continue };
            // The comparison of the password alone takes a tenth of a second there.
            let bound = if order.len() > 0 { self.step() } else { self.timeout };
            let path = "/v3/auth/authenticate";
            let asked = Asked { path, body: body.clone(), token: None, bytes_max: SHORT_BYTES_MAX };
            let answer = link.call(&asked, Bounds { connect: bound, whole: bound }).await;
            let error = match answer.and_then(|raw| self.read::<TokenAnswer>(index, raw)) {
                Ok(reply) => {
                    let token = HeaderValue::from_str(&reply.body.token);
                    let mut token = token.map_err(|_| self.foreign(index, StatusCode::OK))?;
                    token.set_sensitive(true);
                    return Ok(Pass::Token(token));
                }
                Err(EtcdError::Refused { said, .. }) if said.contains("is not enabled") => {
                    return Ok(Pass::Off);
                }
                Err(error) => error,
            };
            // The call behind the sign-in was not made.
            let error = error.before_a_call(link.endpoint());
            if !error.is_of_the_endpoint() {
                return Err(error);
            }
            failed = Some(match failed {
                Some(failed) => failed.or_better(error),
                None => error,
            });
        }
        Err(failed.unwrap_or(EtcdError::NoEndpoint))
    }

    /// All endpoints, the preferred one first, and from time to time a look for an earlier one.
    fn order(self: &Arc<Self>) -> Vec<usize> {
        let preferred = self.preferred();
        if preferred > 0 {
            let now = clock::mono();
            let looked = MonoTime::from_millis(self.looked_back.load(Ordering::Relaxed));
            if now.since(looked) >= WAY_BACK {
                self.looked_back.store(now.as_millis(), Ordering::Relaxed);
                let calls = Arc::clone(self);
                tokio::spawn(async move { calls.look_back(preferred).await });
            }
        }
        self.in_order()
    }

    fn in_order(&self) -> Vec<usize> {
        let preferred = self.preferred();
        let others = (0..self.links.len()).filter(|index| *index != preferred);
        (preferred..self.links.len()).take(1).chain(others).collect()
    }

    /// Prefers an endpoint before this one again, if it is well.
    async fn look_back(self: Arc<Self>, preferred: usize) {
        for index in 0..preferred {
            let bounds = Bounds { connect: self.timeout, whole: self.timeout };
            let status = self.status_of(index, bounds).await;
            if status.is_ok_and(|status| status.leader != 0 && !status.is_learner) {
                self.prefer(preferred, index);
                return;
            }
        }
    }

    /// Prefers another endpoint than the one that was preferred when a call began; unless that has
    /// changed meanwhile, because then others know better.
    fn prefer(&self, before: usize, index: usize) {
        let relaxed = Ordering::Relaxed;
        let changed = self.preferred.compare_exchange(before, index, relaxed, relaxed);
        if before == index || changed.is_err() {
            return;
        }
        if before < index {
            // An earlier one is first looked for when it has had time to come back.
            self.looked_back.store(clock::mono().as_millis(), relaxed);
        }
        if let Some(link) = self.links.get(index) {
            log::info!("etcd is asked at {} first", link.endpoint());
        }
    }

    /// What is left of the bound of a call.
    fn left(&self, start: MonoTime) -> Duration {
        self.timeout.saturating_sub(clock::mono().since(start))
    }

    /// How long one endpoint is waited for before the next one is asked too: so that all have been
    /// asked within the bound, and the last has its share.
    fn step(&self) -> Duration {
        let count = u32::try_from(self.links.len()).unwrap_or(u32::MAX);
        self.timeout / count.saturating_add(1)
    }

    /// This endpoint says nothing, or no more.
    pub(super) fn silent(&self, index: usize) -> EtcdError {
        self.of(index, |endpoint| EtcdError::TimedOut { endpoint, was_sent: true })
    }

    fn foreign(&self, index: usize, status: StatusCode) -> EtcdError {
        self.of(index, |endpoint| EtcdError::Foreign { endpoint, status: status.as_u16() })
    }

    fn of(&self, index: usize, make: impl FnOnce(Endpoint) -> EtcdError) -> EtcdError {
        match self.links.get(index) {
            Some(link) => make(link.endpoint().clone()),
            None => EtcdError::NoEndpoint,
        }
    }

    /// A stream of this endpoint cannot be read on.
    pub(super) fn broken(&self, index: usize, fault: Fault) -> EtcdError {
        self.of(index, |endpoint| match fault {
            Fault::TooLong => EtcdError::TooLong { endpoint, bytes_max: ANSWER_BYTES_MAX },
            Fault::Broken(source) => EtcdError::Broken { endpoint, source },
        })
    }

    /// A stream of this endpoint is none of etcd's.
    pub(super) fn no_gateway(&self, index: usize, status: u16) -> EtcdError {
        self.of(index, |endpoint| EtcdError::Foreign { endpoint, status })
    }

    /// This endpoint has no leader.
    pub(super) fn leaderless(&self, index: usize) -> EtcdError {
        self.of(index, |endpoint| EtcdError::NoLeader { endpoint })
    }
}

/// Whether etcd says, in plain text, that it will not take the name in our certificate for a user. It
/// does so before it looks at the call.
fn refuses_name(body: &[u8]) -> bool {
    body.starts_with(b"CommonName of client")
}

fn token_of(pass: Option<&Pass>) -> Option<HeaderValue> {
    match pass {
        Some(Pass::Token(token)) => Some(token.clone()),
        Some(Pass::Off) | None => None,
    }
}

pub(super) fn encoded<Q: Serialize>(request: &Q) -> Result<Bytes, EtcdError> {
    serde_json::to_vec(request).map(Bytes::from).map_err(|why| EtcdError::Request(why.into()))
}
