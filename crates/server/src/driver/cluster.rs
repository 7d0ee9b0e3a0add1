//! The driver of a node of a cluster: what the node's task says and is told, and how a session is
//! opened that finds no seat here or brings its own from another node.
//!
//! Waits and asks again; who gets a seat is decided by the core alone.

use std::collections::BTreeMap;
use std::time::Duration;

use licence_core::cluster::{ClaimOutcome, NodeId, WANT_SECS};
use licence_core::key::KeyNo;
use licence_core::lease_token::LeaseClaims;
use licence_core::protocol::{OpenSession, SessionOpened};
use licence_core::rules::{QuotaId, QuotaNeed};
use licence_core::service::{
    ClusterKey, EndedHere, Event, LeasedSeat, LicenceService, Reply, RequestId,
};
use licence_core::session::SessionId;
use licence_core::time::MonoTime;
use tokio::sync::{mpsc, watch};

use super::handle::{connection_id, unexpected};
use super::{ClusterEnds, DriverError, Handle};
use crate::cluster::port::ClusterPort;
use crate::{clock, random};

/// Ended sessions that the node's task has not taken yet: those of some large processes that exit at
/// once. The cluster finds out of those above by itself, only later.
const ENDED_WAITING_MAX: usize = 100_000;

/// How often an opening asks the cluster for a seat at most: a seat that came may be taken by somebody
/// faster, and who is that unlucky three times is told that there is none.
const WANTS_MAX: u32 = 3;

/// Tells the node's task after each turn what has changed.
pub(super) struct Teller {
    keys: watch::Sender<BTreeMap<KeyNo, ClusterKey>>,
    quotas: watch::Sender<BTreeMap<QuotaId, QuotaNeed>>,
    ended: mpsc::Sender<EndedHere>,
}

impl Teller {
    pub(super) fn new() -> (Self, ClusterEnds) {
        let (keys, told_keys) = watch::channel(BTreeMap::new());
        let (quotas, told_quotas) = watch::channel(BTreeMap::new());
        let (ended, told_ended) = mpsc::channel(ENDED_WAITING_MAX);
        let ends = ClusterEnds { keys: told_keys, quotas: told_quotas, ended: told_ended };
        (Self { keys, quotas, ended }, ends)
    }

    /// Without keys of a cluster this costs a look at flags and an empty list.
    pub(super) fn tell(&self, service: &mut LicenceService) {
        if let Some(keys) = service.take_cluster_change() {
            self.keys.send_replace(keys);
        }
        if let Some(quotas) = service.take_quota_needs() {
            self.quotas.send_replace(quotas);
        }
        for ended in service.take_ended_here() {
            if self.ended.try_send(ended).is_err() {
                log::debug!("the end of session {} is not told to the cluster", ended.session);
            }
        }
    }
}

impl Handle {
    /// Says how many seats of keys of a cluster this node may give out, and whether sessions above
    /// that end. Of each key returns the limit in force and how many seats are held or kept, when
    /// what ended for it is on disk.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn seat_limits(
        &self,
        limits: Vec<(KeyNo, u32, bool)>,
    ) -> Result<Vec<(KeyNo, u32, u32)>, DriverError> {
        let reply = self.replied(move |request| Event::SeatLimits { limits, request }).await?;
        match reply {
            Some(Reply::SeatLimits(told)) => Ok(told),
            other => Err(strange(other)),
        }
    }

    /// Limits and reservations are kept with other nodes: nothing is given out of any quota until
    /// [`Self::quota_limits`] says how much.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn close_quotas(&self) -> Result<(), DriverError> {
        self.replied(|_| Event::QuotasClosed).await.map(drop)
    }

    /// Says how much of quotas this node may give out. Of each returns that and how much is held.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn quota_limits(
        &self,
        limits: Vec<(QuotaId, u32)>,
    ) -> Result<Vec<(QuotaId, u32, u32)>, DriverError> {
        let reply = self.replied(move |request| Event::QuotaLimits { limits, request }).await?;
        match reply {
            Some(Reply::QuotaLimits(told)) => {
                Ok(told.into_iter().map(|(held, id, seats)| (id, seats, held)).collect())
            }
            other => Err(strange(other)),
        }
    }

    /// Lets go of a session that goes on at another node; whether its seat goes with it, and which
    /// quotas it used. The answer comes when its end here is on disk.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn take_away(&self, session: SessionId) -> Result<(bool, Vec<QuotaId>), DriverError> {
        let reply = self.replied(move |request| Event::TakeAway { session, request }).await?;
        match reply {
            Some(Reply::TakenAway { was_held, quotas }) => Ok((was_held, quotas)),
            other => Err(strange(other)),
        }
    }

    /// Keeps a seat for a session that is about to open here with the one that it had elsewhere.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn expect(&self, session: SessionId, key_no: KeyNo) -> Result<(), DriverError> {
        self.replied(move |_| Event::Expect { session, key_no }).await.map(drop)
    }

    /// The life of a session begins anew, or the time for which it is expected.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn keep(&self, session: SessionId) -> Result<(), DriverError> {
        self.replied(move |_| Event::Keep { session }).await.map(drop)
    }

    /// Until when keys of a cluster may give out seats; nothing when they may not.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn grant_until(&self, until: Option<MonoTime>) -> Result<(), DriverError> {
        self.replied(move |_| Event::GrantUntil(until)).await.map(drop)
    }

    /// From when on sessions that hold seats of keys of a cluster must not go on.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn hold_until(&self, until: Option<MonoTime>) -> Result<(), DriverError> {
        self.replied(move |_| Event::HoldUntil(until)).await.map(drop)
    }

    /// Ends all sessions that hold seats of keys of a cluster.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn end_cluster(&self) -> Result<(), DriverError> {
        self.replied(|_| Event::EndCluster).await.map(drop)
    }

    /// What is replied to an event, when the records of its turn are on disk.
    async fn replied(
        &self,
        make: impl FnOnce(RequestId) -> Event + Send + 'static,
    ) -> Result<Option<Reply>, DriverError> {
        self.change(move |task, now, outcome| task.feed_replied(make, now, outcome)).await
    }

    /// Opens a session at a node of a cluster. What finds no seat here waits for one of the cluster,
    /// and what shows a lease of another node for its own seat, together at most [`WANT_SECS`].
    pub(super) async fn open_in_cluster(
        &self,
        message: OpenSession,
        cluster: &ClusterPort,
    ) -> Result<SessionOpened, DriverError> {
        let connection = connection_id(&message.connection)?;
        let id = SessionId::from_bytes(random::id_bytes().map_err(|_| DriverError::Random)?);
        let shown = message.lease.as_deref().and_then(|token| self.shown(token, cluster));
        let mut seat = match &shown {
            Some(Shown { name: Some(name), .. }) => LeasedSeat::Elsewhere(name.clone()),
            Some(_) | None => LeasedSeat::Own,
        };
        let lease = shown.as_ref().map(|shown| shown.claims.clone());
        let budget = tokio::time::sleep(Duration::from_secs(WANT_SECS));
        tokio::pin!(budget);
        let mut is_claimed = false;
        let mut wants_left = WANTS_MAX;
        let mut may_wait = true;
        let grant = loop {
            let (session, wish, lease) =
                (message.session.clone(), message.wish.clone(), lease.clone());
            let asked_seat = seat.clone();
            let event = move |request| Event::Open {
                request,
                id,
                connection,
                session,
                wish,
                lease,
                seat: asked_seat,
                may_wait,
            };
            let reply = self.ask(event).await?;
            if let Reply::Opened(grant) = &reply {
                break *grant;
            }
            let wanted = if let Reply::Wants(keys) = reply {
                Wanted::Seats(keys)
            } else if let Reply::WantsQuotas(quotas) = reply {
                Wanted::Quotas(quotas)
            } else {
                return Err(unexpected(&reply));
            };
            if let Some(shown) = shown.as_ref().filter(|_| !is_claimed)
                && let Some(session) = shown.claims.session()
            {
                is_claimed = true;
                let claim = cluster.claim(session, shown.claims.key_no, shown.from);
                let outcome = tokio::select! {
                    biased;
                    outcome = claim => outcome,
                    () = &mut budget => None,
                };
                seat = match outcome {
                    Some(ClaimOutcome::Moved) => LeasedSeat::Here,
                    Some(ClaimOutcome::NotHeld) => LeasedSeat::Gone,
                    None => LeasedSeat::Asked(shown.name.clone()),
                };
                // Who waits for their own seat takes no other; they ask again.
                may_wait = outcome.is_some();
                continue;
            }
            wants_left = wants_left.saturating_sub(1);
            let waiting = async {
                match wanted {
                    Wanted::Seats(keys) => cluster.want(keys).await,
                    Wanted::Quotas(quotas) => cluster.want_quotas(quotas).await,
                }
            };
            let there_is_one = tokio::select! {
                biased;
                there_is_one = waiting => there_is_one,
                () = &mut budget => false,
            };
            may_wait = there_is_one && wants_left > 0;
        };
        if let Some(shown) = shown.filter(|_| grant.is_elsewhere && !is_claimed)
            && let Some(session) = shown.claims.session()
        {
            cluster.claim_quietly(session, shown.claims.key_no, shown.from);
        }
        self.opened(&Reply::Opened(grant))
    }

    /// A lease of this server or of another node, if it is genuine and has not ended: else it is no
    /// reason to refuse, and the session stands as if it had none.
    fn shown(&self, token: &str, cluster: &ClusterPort) -> Option<Shown> {
        let (own, now) = (self.identity.public(), clock::utc());
        let me = NodeId::of(&own);
        if LeaseClaims::peek_issuer(token)? == me {
            let claims = LeaseClaims::verify(token, &own, now).ok()?;
            return Some(Shown { claims, from: me, name: None });
        }
        let (claims, from) = cluster.verify_lease(token, now)?;
        let name = cluster.name(&from).unwrap_or_else(|| from.to_string());
        Some(Shown { claims, from, name: Some(name) })
    }
}

/// What a session waits for.
enum Wanted {
    Quotas(Vec<QuotaId>),
    Seats(Vec<KeyNo>),
}

/// A lease that a session shows.
struct Shown {
    claims: LeaseClaims,
    from: NodeId,
    /// Name of the node that granted it, if that is another one.
    name: Option<String>,
}

/// A reply of another kind than the request's would be a fault of the core; it must not take the
/// server down.
fn strange(reply: Option<Reply>) -> DriverError {
    match reply {
        Some(Reply::Refused(refusal)) => DriverError::Refused(refusal),
        Some(reply) => unexpected(&reply),
        None => {
            log::error!("the service did not answer");
            DriverError::Stopped
        }
    }
}
