//! From "is a new key needed" to a key that is kept.
//!
//! Who may go ahead is decided by the book; here others wait for whoever does, a session that has
//! ended gives way, and the service is asked in tasks of their own: whoever asked may go away, and the
//! key is kept all the same. A signature is looked into before it is spent.

use std::future::Future;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use licence_core::seal::hex_upper;
use licence_core::time::{MonoTime, Utc};
use licence_ismp::book::{Completion, Exchanged, Need, Outcome, RECORDS_MAX, Stale, Text};
use licence_ismp::directory::FormatWish;
use licence_ismp::exchange::{Challenge, is_united, needs_challenge};
use licence_ismp::record::{Source, Who};
use licence_ismp::refresh::{EXCHANGE_LIFE, LEASE_LIFE, OUTCOME_LIFE, Refreshing, Ticket};
use licence_ismp::validity::is_valid;
use licence_ismp::{StoreKey, signature};
use serde_json::Value;
use tokio::sync::{oneshot, watch};

use super::exchange::{Service, SignIn};
use super::replica::relay::FOREIGN_SESSION;
use super::{Ismp, texts};
use crate::access::Actor;
use crate::api::App;
use crate::api::errors::ApiError;
use crate::{clock, random};

/// How long somebody may wait for whoever refreshes the key already.
pub const WAIT_SECS_MAX: u64 = 30;

/// How long whoever asks waits at least when the server signs by itself: a person would take longer.
const OWN_WAIT: Duration = Duration::from_secs(30);

/// How often whoever waits looks whether the session of the other one has ended.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How much longer than an exchange its outcome is waited for.
const OUTCOME_MARGIN: Duration = Duration::from_secs(5);

/// Whether somebody must sign.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Required {
    /// There is a key that lives beyond the deadline.
    Fresh,
    /// Somebody is about to get one, and has not in the time.
    Busy(Refreshing),
    /// Somebody must sign.
    Stale(Stale),
}

/// What is to be signed, or why nothing is.
#[derive(Clone, Debug)]
pub enum Challenged {
    /// A challenge, and for how long nobody else gets one.
    Given {
        /// Id and text.
        challenge: Challenge,
        /// Whether a united token is asked for.
        is_united: bool,
        /// How long it may take.
        lease: Duration,
    },
    /// What people are told.
    Failed(Text),
}

/// Why nobody gets a challenge.
pub(super) enum Taken {
    /// Somebody else refreshes the key.
    Busy(Refreshing),
    /// There is a key that lives long enough.
    Fresh,
    /// More keys are being refreshed than can be kept.
    TooMany,
}

/// A challenge that is out: what must be signed, and what it is for. Goes with its lease.
#[derive(Clone)]
pub(super) struct Issued {
    id: String,
    data: String,
    wish: FormatWish,
    until: MonoTime,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issued({})", self.id)
    }
}

/// Counts a task that must not be cut off by a stop.
struct UnderWay(watch::Sender<usize>);

impl UnderWay {
    fn begin(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl Ismp {
    /// Whether somebody must sign for a key that lives beyond `deadline`. Waits while somebody
    /// refreshes it, at most `wait`; has it signed by the command of the settings where there is one.
    ///
    /// # Errors
    ///
    /// As [`Ismp::look`].
    pub async fn required(
        &self,
        key: &StoreKey,
        deadline: Utc,
        wait: Duration,
    ) -> Result<Required, ApiError> {
        let mut until = clock::mono().after(wait);
        let mut steps = self.steps();
        let mut is_tried = false;
        loop {
            steps.mark_unchanged();
            // Before the book is asked: whoever runs the command has the lease by the time at which
            // this says no.
            let may_sign = self.may_sign(key);
            let asked = key.clone();
            let need = self.pass(move |book, now| book.need(&asked, deadline, now.mono)).await?;
            let now = clock::mono();
            match need {
                Need::Fresh => return Ok(Required::Fresh),
                Need::Stale(stale) => {
                    if is_tried || !may_sign {
                        return Ok(Required::Stale(stale));
                    }
                    is_tried = true;
                    until = until.max(now.after(OWN_WAIT));
                    self.renew(key).await?;
                }
                Need::Busy(refreshing) => {
                    if self.give_way(&refreshing).await? {
                        continue;
                    }
                    let left = until.since(now);
                    if left.is_zero() {
                        return Ok(Required::Busy(refreshing));
                    }
                    let pause = left.min(refreshing.left).min(LOOK_AGAIN);
                    if let Ok(Err(_)) = tokio::time::timeout(pause, steps.changed()).await {
                        return Ok(Required::Busy(refreshing));
                    }
                }
            }
        }
    }

    /// Takes the lease on a key and fetches what is to be signed. With a deadline only when no key
    /// lives beyond it: between a caller's question whether to sign and this one, somebody else may
    /// have signed, and a second sign-in would end their key.
    ///
    /// # Errors
    ///
    /// As [`Ismp::look`].
    pub async fn challenge(
        &self,
        key: &StoreKey,
        who: Who,
        deadline: Option<Utc>,
    ) -> Result<Challenged, ApiError> {
        let ticket = match self.begin(key, who, deadline).await? {
            Ok(ticket) => ticket,
            Err(Taken::Busy(refreshing)) => {
                return Ok(Challenged::Failed(texts::busy(&refreshing)));
            }
            Err(Taken::Fresh) => return Ok(Challenged::Failed(texts::fresh())),
            Err(Taken::TooMany) => return Ok(Challenged::Failed(texts::too_many())),
        };
        let (ismp, key) = (self.clone(), key.clone());
        let (sender, answer) = oneshot::channel();
        self.detach(async move {
            let outcome = ismp.challenge_for(&key, ticket).await;
            if sender.send(outcome).is_err() {
                // Nobody will sign: the next one need not wait for the end of the lease.
                ismp.abandon(&key, ticket).await;
            }
        });
        answer.await.map_err(|_| ApiError::internal())?
    }

    /// Exchanges a signature (base64 without line breaks) for a key, and keeps it. The same
    /// signature brought again is told the same outcome.
    ///
    /// # Errors
    ///
    /// As [`Ismp::look`].
    pub async fn complete(
        &self,
        key: &StoreKey,
        id: &str,
        signature: String,
        who: Who,
        actor: &Actor,
    ) -> Result<Outcome, ApiError> {
        let bringer = Bringer { who, source: Source::Exchange, actor: actor.clone() };
        self.exchange(key, id, signature, bringer).await
    }

    /// Takes the lease; that of a session which has ended is free.
    pub(super) async fn begin(
        &self,
        key: &StoreKey,
        who: Who,
        deadline: Option<Utc>,
    ) -> Result<Result<Ticket, Taken>, ApiError> {
        let take = || {
            let (key, who) = (key.clone(), who.clone());
            self.step(move |book, now| {
                let record = book.record(&key);
                let is_fresh = match deadline {
                    Some(deadline) => {
                        record.is_some_and(|record| is_valid(record.valid_until, deadline))
                    }
                    None => book.has_just_come(&key, &who, now.utc),
                };
                if is_fresh {
                    return Err(Taken::Fresh);
                }
                if book.all_refreshing(now.mono).count() >= RECORDS_MAX {
                    return Err(Taken::TooMany);
                }
                book.begin(&key, who, now.mono).map_err(Taken::Busy)
            })
        };
        match take().await? {
            Err(Taken::Busy(refreshing)) if self.give_way(&refreshing).await? => take().await,
            taken => Ok(taken),
        }
    }

    /// Frees what a session holds that has ended. True when it has.
    async fn give_way(&self, refreshing: &Refreshing) -> Result<bool, ApiError> {
        let Some(session) = refreshing.who.session.clone() else { return Ok(false) };
        // Sessions of a reserve server are not known here.
        if refreshing.is_exchanging || session.starts_with(FOREIGN_SESSION) {
            return Ok(false);
        }
        match self.inner.handle.session(session.clone()).await {
            Ok(None) => {
                self.step(move |book, _| book.session_ended(&session)).await?;
                Ok(true)
            }
            Ok(Some(_)) => Ok(false),
            Err(error) => {
                log::debug!("it is not known whether a session has ended: {error}");
                Ok(false)
            }
        }
    }

    pub(super) async fn abandon(&self, key: &StoreKey, ticket: Ticket) {
        let key = key.clone();
        if let Err(error) = self.step(move |book, _| book.abandon(&key, ticket)).await {
            log::debug!("a lease stays until its end: {error}");
        }
    }

    pub(super) async fn challenge_for(
        &self,
        key: &StoreKey,
        ticket: Ticket,
    ) -> Result<Challenged, ApiError> {
        let fetched = self.fetch(key).await;
        let (challenge, wish) = match fetched {
            Ok(Ok(fetched)) => fetched,
            Ok(Err(text)) => {
                self.abandon(key, ticket).await;
                return Ok(Challenged::Failed(text));
            }
            Err(error) => {
                self.abandon(key, ticket).await;
                return Err(error);
            }
        };
        let (own, id) = (key.clone(), challenge.id.clone());
        let is_out =
            self.step(move |book, now| book.challenged(&own, ticket, &id, now.mono)).await?;
        if !is_out {
            self.abandon(key, ticket).await;
            return Ok(Challenged::Failed(texts::lease_lost()));
        }
        self.issue(key, &challenge, wish);
        let is_united = is_united(key.kind, wish);
        Ok(Challenged::Given { challenge, is_united, lease: LEASE_LIFE })
    }

    /// The challenge of the service, or one of our own where none is asked for.
    async fn fetch(
        &self,
        key: &StoreKey,
    ) -> Result<Result<(Challenge, FormatWish), Text>, ApiError> {
        let inn = key.organization.clone();
        let wish = self.pass(move |book, _| book.directory().format_of(&inn)).await?;
        if !needs_challenge(key.kind, wish) {
            let id = random::id_bytes().map_err(|error| ApiError::broken(&error))?;
            let data = key.organization.as_str().to_owned();
            return Ok(Ok((Challenge { id: hex_upper(&id), data }, wish)));
        }
        let ismp = self.clone();
        let key = key.clone();
        let asked = blocking(move || ismp.service(&key)?.challenge()).await?;
        Ok(asked.map(|challenge| (challenge, wish)))
    }

    /// The way to the service for a key. Blocks on the disk.
    fn service(&self, key: &StoreKey) -> Result<Service, Text> {
        let config = self.inner.settings.get();
        let addresses = config.ismp.contours.get(&key.contour);
        let addresses = addresses.ok_or_else(|| texts::no_contour(key))?;
        Service::of(&config, addresses, &self.inner.folder)
    }

    fn issue(&self, key: &StoreKey, challenge: &Challenge, wish: FormatWish) {
        let now = clock::mono();
        let until = now.after(LEASE_LIFE + OUTCOME_LIFE);
        let Challenge { id, data } = challenge.clone();
        let mut issued = self.issued();
        issued.retain(|_, issued| now < issued.until);
        issued.insert(key.clone(), Issued { id, data, wish, until });
    }

    pub(super) async fn exchange(
        &self,
        key: &StoreKey,
        id: &str,
        signature: String,
        bringer: Bringer,
    ) -> Result<Outcome, ApiError> {
        let issued = self.issued().get(key).filter(|issued| issued.id == id).cloned();
        let mut warning = None;
        if let Some(issued) = &issued {
            match inspected(key, &signature, &issued.data) {
                Ok(found) => warning = found,
                Err(fault) => return Ok(Outcome::Failed(fault)),
            }
        }
        // Whatever stands in the way is found before the challenge is spent.
        let (ismp, own) = (self.clone(), key.clone());
        let service = match blocking(move || ismp.service(&own)).await? {
            Ok(service) => service,
            Err(text) => return Ok(Outcome::Failed(text)),
        };
        let mut steps = self.steps();
        let (own, own_id) = (key.clone(), id.to_owned());
        let asked = self.step(move |book, now| {
            let retail_end = book.directory().retail_end;
            let wish = book.directory().format_of(&own.organization);
            (book.complete(&own, &own_id, now.mono), retail_end, wish)
        });
        let (completion, retail_end, wish) = asked.await?;
        match completion {
            Completion::Done(outcome) => return Ok(outcome),
            Completion::Refused(refused) => return Ok(Outcome::Failed(texts::refused(refused))),
            Completion::UnderWay => {}
            Completion::Exchange(ticket) => {
                let sign_in = SignIn {
                    key: key.clone(),
                    wish: issued.map_or(wish, |issued| issued.wish),
                    id: id.to_owned(),
                    signature,
                    retail_end,
                    source: bringer.source,
                    who: bringer.who,
                    warning,
                };
                let ismp = self.clone();
                self.detach(async move {
                    ismp.sign_in(service, sign_in, ticket, &bringer.actor).await;
                });
            }
        }
        let until = clock::mono().after(EXCHANGE_LIFE + OUTCOME_MARGIN);
        loop {
            steps.mark_unchanged();
            let (own, own_id) = (key.clone(), id.to_owned());
            let found = self.pass(move |book, _| book.outcome(&own, &own_id).cloned()).await?;
            if let Some(outcome) = found {
                return Ok(outcome);
            }
            let left = until.since(clock::mono());
            if !matches!(tokio::time::timeout(left, steps.changed()).await, Ok(Ok(()))) {
                return Ok(Outcome::Failed(texts::no_outcome()));
            }
        }
    }

    /// Asks the service and keeps what comes of it.
    async fn sign_in(&self, service: Service, sign_in: SignIn, ticket: Ticket, actor: &Actor) {
        let (key, id) = (sign_in.key.clone(), sign_in.id.clone());
        let mut result = match blocking(move || service.sign_in(sign_in)).await {
            Ok(result) => result,
            Err(_) => Exchanged::Unknown(texts::no_outcome()),
        };
        self.inner.counts.count(&result);
        let note = match &result {
            Exchanged::Given(given) => Some(format!(
                "{}, until {}, by {}{}",
                given.token.fingerprint(),
                given.valid_until,
                given.who.user,
                if given.source == Source::Signer { " (signing command)" } else { "" },
            )),
            Exchanged::Refused(text) | Exchanged::Unknown(text) => {
                log::warn!("no session key for {key}: {}", text.english);
                None
            }
        };
        let own = key.clone();
        let kept = self.keep(move |book, now| {
            let has_room = book.record(&own).is_some() || book.records().count() < RECORDS_MAX;
            if let (Exchanged::Given(given), false) = (&mut result, has_room) {
                given.warning = texts::joined(given.warning.take(), Some(texts::full()));
            }
            book.exchanged(&own, ticket, &id, result, now.mono)
        });
        match kept.await {
            Ok(Ok(())) => {}
            Ok(Err(full)) => log::error!("the session key of {key} is not kept: {full}"),
            Err(error) => log::error!("the session key of {key} is lost: {error}"),
        }
        if let Some(note) = note {
            self.audit("ismp_get", key.to_string(), note, actor).await;
        }
    }

    /// Runs a task to its end, whoever waits for it; a stop of the server waits for it as well.
    pub(super) fn detach(&self, work: impl Future<Output = ()> + Send + 'static) {
        let under_way = UnderWay::begin(&self.inner.under_way);
        tokio::spawn(async move {
            work.await;
            drop(under_way);
        });
    }
}

/// Whether a key that is kept answers `RefreshRequired` at once.
///
/// # Errors
///
/// As [`super::functions::call`].
pub async fn is_fresh(app: &App, parameters: &Value) -> Result<bool, ApiError> {
    super::functions::is_fresh(app, parameters).await
}

/// By whom a signature comes.
pub(super) struct Bringer {
    pub(super) who: Who,
    pub(super) source: Source,
    pub(super) actor: Actor,
}

/// Looks into a signature: what is odd about it, or why it is not sent.
pub(super) fn inspected(key: &StoreKey, signature: &str, data: &str) -> Result<Option<Text>, Text> {
    let der = STANDARD.decode(signature).unwrap_or_default();
    match signature::inspect(&der, data.as_bytes(), clock::utc()) {
        Ok(inspection) => Ok(inspection.text(&key.organization)),
        Err(fault) => Err(fault.text()),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ApiError::broken(&error))
}
