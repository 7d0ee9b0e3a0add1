//! What everyone else holds of the driver: messages in, answers out.
//!
//! Tokens are signed and verified here, in the caller's task, so that the one task that owns the
//! state never spends its time on signatures.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use licence_core::key::{KeyNo, KeySeries};
use licence_core::lease_token::{self, LeaseClaims};
use licence_core::protocol::{
    Connect, Connected, Counters, Disconnect, FreshLease, GoneSession, HEARTBEAT_SECS, Heartbeat,
    HeartbeatAnswer, LicenceView, OpenSession, SESSION_SECS, SessionOpened, TouchSession,
};
use licence_core::refusal::Refusal;
use licence_core::seal::SigningKey;
use licence_core::series::SeriesDescriptor;
use licence_core::service::{Event, Grant, LeasedSeat, LicenceService, Reply, RequestId};
use licence_core::session::{ConnectionId, SessionId};
use licence_core::time::{Now, Utc};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::task::{Command, Outcome, Task};
use super::{ConnectionState, DriverError, SeriesTotals, SessionState};
use crate::cluster::port::ClusterPort;
use crate::keyring::Keyring;
use crate::{clock, random};

/// Sessions or connections looked at in one turn. Pointers are copied, so this many take a
/// millisecond at most; with a million sessions, other requests have their turns in between.
const LOOK_MAX: usize = 4096;

/// Sends requests to the driver.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    pub(super) identity: Arc<SigningKey>,
    issuer: Arc<str>,
    pub(super) cluster: Option<ClusterPort>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl Handle {
    pub(super) fn new(commands: mpsc::Sender<Command>, identity: Arc<SigningKey>) -> Self {
        let issuer = lease_token::issuer(&identity.public()).into();
        Self { commands, identity, issuer, cluster: None }
    }

    /// The same, which asks the node of a cluster where this server has no seat.
    #[must_use]
    pub fn with_cluster(self, cluster: ClusterPort) -> Self {
        Self { cluster: Some(cluster), ..self }
    }

    fn send(&self, command: Command) -> Result<(), DriverError> {
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => DriverError::Busy,
            TrySendError::Closed(_) => DriverError::Stopped,
        })
    }

    pub(super) async fn ask(
        &self,
        make: impl FnOnce(RequestId) -> Event + Send + 'static,
    ) -> Result<Reply, DriverError> {
        let (sender, answer) = oneshot::channel();
        self.send(Command::Event(Box::new(make), sender))?;
        answer.await.map_err(|_| DriverError::Stopped)?
    }

    /// Changes the state in the driver's turn; the answer comes when the records that the change
    /// added are on disk.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Task, Now, &mut Outcome) -> T + Send + 'static,
    ) -> Result<T, DriverError> {
        let (sender, answer) = oneshot::channel();
        self.send(Command::Change(Box::new(move |task, now, outcome| {
            let made = change(task, now, outcome);
            outcome.releases.push(Box::new(move |is_written| {
                drop(sender.send(if is_written { Ok(made) } else { Err(DriverError::Store) }));
            }));
        })))?;
        answer.await.map_err(|_| DriverError::Stopped)?
    }

    pub(super) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&LicenceService, &Keyring, Now) -> T + Send + 'static,
    ) -> Result<T, DriverError> {
        let (sender, answer) = oneshot::channel();
        self.send(Command::Query(Box::new(move |service, keyring, now| {
            drop(sender.send(look(service, keyring, now)));
        })))?;
        answer.await.map_err(|_| DriverError::Stopped)
    }

    /// A component connects.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn connect(&self, peer: IpAddr, message: Connect) -> Result<Connected, DriverError> {
        let id = ConnectionId::from_bytes(random::id_bytes().map_err(|_| DriverError::Random)?);
        let peer = peer.to_canonical().to_string();
        let Connect { key_id: series, info } = message;
        let reply =
            self.ask(move |request| Event::Connect { request, id, series, peer, info }).await?;
        let Reply::Connected(id) = reply else { return Err(unexpected(&reply)) };
        Ok(Connected {
            id: id.to_string(),
            heartbeat_secs: HEARTBEAT_SECS,
            session_secs: SESSION_SECS,
        })
    }

    /// A component renews its connection and touches its sessions.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn heartbeat(&self, message: Heartbeat) -> Result<HeartbeatAnswer, DriverError> {
        let connection = connection_id(&message.connection)?;
        let mut answer = HeartbeatAnswer::default();
        let mut sessions = Vec::with_capacity(message.sessions.len());
        for text in message.sessions {
            match text.parse() {
                Ok(id) => sessions.push(id),
                // An id of another form was never ours.
                Err(_) => answer.gone.push(GoneSession { session: text, reason: "unknown".into() }),
            }
        }
        let event = move |request| Event::Heartbeat { request, connection, sessions };
        let reply = self.ask(event).await?;
        let Reply::Heartbeat { gone, renewed } = reply else { return Err(unexpected(&reply)) };
        answer.gone.extend(gone.into_iter().map(|(id, reason)| GoneSession {
            session: id.to_string(),
            reason: reason.told().to_owned(),
        }));
        let now = clock::utc();
        for grant in renewed {
            if let Some(lease) = self.lease(&grant, now) {
                answer.leases.push(FreshLease { session: grant.session.to_string(), lease });
            }
        }
        Ok(answer)
    }

    /// A session asks for a seat.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn open(&self, message: OpenSession) -> Result<SessionOpened, DriverError> {
        if let Some(cluster) = &self.cluster {
            // Boxed, because it is long and few servers have a cluster.
            return Box::pin(self.open_in_cluster(message, cluster)).await;
        }
        let connection = connection_id(&message.connection)?;
        let id = SessionId::from_bytes(random::id_bytes().map_err(|_| DriverError::Random)?);
        // A lease that is not ours, not genuine or over is no reason to refuse: the session then
        // stands as if it had none.
        let lease = message.lease.and_then(|token| {
            LeaseClaims::verify(&token, &self.identity.public(), clock::utc()).ok()
        });
        let OpenSession { session, wish, .. } = message;
        let (seat, may_wait) = (LeasedSeat::Own, false);
        let event = move |request| Event::Open {
            request,
            id,
            connection,
            session,
            wish,
            lease,
            seat,
            may_wait,
        };
        self.opened(&self.ask(event).await?)
    }

    /// A session is in use.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn touch(&self, message: TouchSession) -> Result<SessionOpened, DriverError> {
        let connection = connection_id(&message.connection)?;
        let session = session_id(&message.session)?;
        let event = move |request| Event::Touch { request, connection, session };
        self.opened(&self.ask(event).await?)
    }

    pub(super) fn opened(&self, reply: &Reply) -> Result<SessionOpened, DriverError> {
        let Reply::Opened(grant) = reply else { return Err(unexpected(reply)) };
        Ok(SessionOpened {
            id: grant.session.to_string(),
            used_licence: grant.key_no,
            expires_in_ms: u64::try_from(grant.lives.as_millis()).unwrap_or(u64::MAX),
            lease: grant.with_token.then(|| self.lease(grant, clock::utc())).flatten(),
        })
    }

    fn lease(&self, grant: &Grant, now: Utc) -> Option<String> {
        let claims = LeaseClaims {
            iss: self.issuer.to_string(),
            sub: grant.session.to_string(),
            iat: now.unix_seconds(),
            exp: now.after(grant.lives).unix_seconds(),
            key_id: grant.series,
            key_no: grant.key_no?,
        };
        claims
            .sign(&self.identity)
            .inspect_err(|error| log::error!("a lease could not be signed: {error}"))
            .ok()
    }

    /// A session is let go by its holder.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn close(&self, message: TouchSession) -> Result<(), DriverError> {
        let session = session_id(&message.session)?;
        done(self.ask(move |request| Event::Close { request, session }).await?)
    }

    /// A component says goodbye.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn disconnect(&self, message: Disconnect) -> Result<(), DriverError> {
        let connection = connection_id(&message.connection)?;
        let end_sessions = message.end_sessions;
        done(
            self.ask(move |request| Event::Disconnect { request, connection, end_sessions })
                .await?,
        )
    }

    /// Totals of a connection's series.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn counters(&self, connection: String) -> Result<Counters, DriverError> {
        let series = self.series_of(connection).await?;
        self.look(move |service, _, _| {
            let totals = service.totals(series);
            Counters {
                licences: totals.keys,
                connections: totals.connections,
                sessions: totals.sessions,
                total_licence_count: totals.seats,
                use_licence_count: totals.held,
                free_licence_count: totals.free,
            }
        })
        .await
    }

    /// The series of a connection.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn series_of(&self, connection: String) -> Result<KeySeries, DriverError> {
        let id = connection_id(&connection)?;
        let series = self
            .look(move |service, _, _| service.connection(id).map(|connection| connection.series))
            .await?;
        series.ok_or(DriverError::Refused(Refusal::ConnectionNotFound))
    }

    /// All licences, or those of a series; only those that may be used, if so asked.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn licences(
        &self,
        series: Option<KeySeries>,
        only_available: bool,
    ) -> Result<Vec<LicenceView>, DriverError> {
        self.look(move |service, keyring, now| {
            let mut views = keyring.views(|key_no| service.key(key_no), service.utc(now));
            views.retain(|view| {
                series.is_none_or(|series| view.key_id == Some(series))
                    && (view.enabled || !only_available)
            });
            views
        })
        .await
    }

    /// One licence.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn licence(&self, key_no: KeyNo) -> Result<Option<LicenceView>, DriverError> {
        self.look(move |service, keyring, now| {
            let status = service.key(key_no).map(|key| key.status);
            keyring.view(key_no, status, service.utc(now))
        })
        .await
    }

    /// The licence documents by which this server proves that it may serve a series.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn documents(&self, series: KeySeries) -> Result<Vec<String>, DriverError> {
        Ok(self.proof(series).await?.licences)
    }

    /// All connections, looked at [`LOOK_MAX`] at a time so that nobody else waits for a long look:
    /// what comes or goes meanwhile may be in the list or not, what stays is.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn connections(&self) -> Result<Vec<ConnectionState>, DriverError> {
        self.look_by_parts(
            |state: &ConnectionState| state.id,
            |service, after, now| {
                let state = |(id, connection): (&ConnectionId, &_)| {
                    connection_state(service, *id, connection, now)
                };
                service.connections_after(after).take(LOOK_MAX).map(state).collect()
            },
        )
        .await
    }

    /// One connection.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn connection(&self, id: String) -> Result<Option<ConnectionState>, DriverError> {
        let Ok(id) = id.parse() else {
            return Ok(None);
        };
        self.look(move |service, _, now| {
            service.connection(id).map(|connection| connection_state(service, id, connection, now))
        })
        .await
    }

    /// All sessions, looked at as [`Self::connections`] are.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn sessions(&self) -> Result<Vec<SessionState>, DriverError> {
        self.look_by_parts(
            |state: &SessionState| state.id,
            |service, after, now| {
                let state =
                    |(id, session): (&SessionId, &_)| session_state(service, *id, session, now);
                service.sessions_after(after).take(LOOK_MAX).map(state).collect()
            },
        )
        .await
    }

    /// Takes [`LOOK_MAX`] at a time of what `some` gives after an id, until it gives fewer.
    async fn look_by_parts<T: Send + 'static, I: Send + 'static>(
        &self,
        id: fn(&T) -> I,
        some: fn(&LicenceService, Option<I>, Now) -> Vec<T>,
    ) -> Result<Vec<T>, DriverError> {
        let mut all = Vec::new();
        loop {
            let after = all.last().map(id);
            let part = self.look(move |service, _, now| some(service, after, now)).await?;
            let is_last = part.len() < LOOK_MAX;
            all.extend(part);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Seats held of every key that is installed.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn seats_held(&self) -> Result<BTreeMap<KeyNo, u32>, DriverError> {
        self.look(|service, _, _| {
            service.keys().map(|pooled| (pooled.key.key_no, pooled.held)).collect()
        })
        .await
    }

    /// One session.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn session(&self, id: String) -> Result<Option<SessionState>, DriverError> {
        let Ok(id) = id.parse() else {
            return Ok(None);
        };
        self.look(move |service, _, now| {
            service.session(id).map(|session| session_state(service, id, session, now))
        })
        .await
    }

    /// Installs a licence. A descriptor that comes with it makes its series known, if it was not and
    /// the licence is genuine under it.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn install(
        &self,
        document: String,
        series: Option<SeriesDescriptor>,
    ) -> Result<LicenceView, DriverError> {
        let (sender, answer) = oneshot::channel();
        self.send(Command::Install(document, series.map(Box::new), sender))?;
        let key_no =
            answer.await.map_err(|_| DriverError::Stopped)?.map_err(DriverError::Install)?;
        self.licence(key_no).await?.ok_or(DriverError::Stopped)
    }

    /// Address of the activation centre of a series, as far as known.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn centre_for(&self, series: KeySeries) -> Result<Option<String>, DriverError> {
        self.look(move |_, keyring, _| {
            keyring.series(series).and_then(|descriptor| descriptor.centre_url.clone())
        })
        .await
    }

    /// Totals of every series that is described or has a key.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn overview(&self) -> Result<Vec<SeriesTotals>, DriverError> {
        self.look(|service, keyring, _| {
            let all = keyring.all_series();
            all.into_iter()
                .map(|series| {
                    let totals = service.totals(series);
                    SeriesTotals {
                        series,
                        product_name: keyring
                            .series(series)
                            .map(|descriptor| descriptor.product_name.clone())
                            .unwrap_or_default(),
                        keys: totals.keys,
                        connections: totals.connections,
                        sessions: totals.sessions,
                        total: totals.seats,
                        used: totals.held,
                        free: totals.free,
                    }
                })
                .collect()
        })
        .await
    }

    /// Writes what is waiting and ends the driver. Requests that come later get
    /// [`DriverError::Stopped`].
    pub async fn stop(&self) {
        // A closed channel means that it has ended already.
        drop(self.commands.send(Command::Stop).await);
    }
}

pub(super) fn connection_id(text: &str) -> Result<ConnectionId, DriverError> {
    text.parse().map_err(|_| DriverError::Refused(Refusal::ConnectionNotFound))
}

pub(super) fn session_id(text: &str) -> Result<SessionId, DriverError> {
    text.parse().map_err(|_| DriverError::Refused(Refusal::SessionNotFound))
}

pub(super) fn done(reply: Reply) -> Result<(), DriverError> {
    if reply == Reply::Done { Ok(()) } else { Err(unexpected(&reply)) }
}

/// A reply of another kind than the request's would be a fault of the core; it must not take the
/// server down.
pub(super) fn unexpected(reply: &Reply) -> DriverError {
    log::error!("the service answered with another kind of reply: {reply:?}");
    DriverError::Stopped
}

fn connection_state(
    service: &LicenceService,
    id: ConnectionId,
    connection: &licence_core::session::Connection,
    now: Now,
) -> ConnectionState {
    let left = service.connection_ends(connection.last_used_mono).since(now.mono);
    ConnectionState { id, connection: connection.clone(), ends: now.utc.after(left) }
}

pub(super) fn session_state(
    service: &LicenceService,
    id: SessionId,
    session: &licence_core::session::Session,
    now: Now,
) -> SessionState {
    let left = service.session_ends(session.touched).since(now.mono);
    SessionState { id, session: session.clone(), ends: now.utc.after(left) }
}
