//! Operations that may take longer than a request: they go on by themselves, and whoever began one
//! asks again by a ticket.
//!
//! Knows nothing of what an operation does. An operation that was begun is never broken off: a centre
//! may have taken a key back by then.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use licence_core::key::KeySeries;
use licence_core::protocol::manager::{OperationAnswer, OperationResult};
use licence_core::seal::hex_upper;
use licence_core::time::MonoTime;
use tokio::sync::watch;

use crate::api::errors::ApiError;
use crate::{clock, random};

/// Operations that are under way or whose outcome is kept. One customer activates some keys a year;
/// more than these at one time is a script that runs wild.
const TICKETS_MAX: usize = 64;

/// Operations of one address that are under way: an application server has the sessions of all its
/// users behind one address, and still one of them activates at a time.
const TICKETS_OF_ADDRESS_MAX: usize = 8;

/// Functions of session keys that are under way or kept: all sessions of a large company that wait
/// for one key, which may come from the one address of its application server.
const SESSION_KEY_TICKETS_MAX: usize = 4096;

/// How long an outcome is kept for whoever asks again: a component asks within seconds, one that was
/// cut off within a minute or two.
const KEPT: Duration = Duration::from_secs(5 * 60);

/// How long a request waits for the operation. A component gives a request three seconds, and its
/// heartbeats wait for it meanwhile.
const WAIT: Duration = Duration::from_millis(300);

/// What comes of an operation.
pub(super) type Outcome = Result<OperationResult, ApiError>;

/// Who may ask by a ticket: whoever began the operation. What proves that is the ticket itself, 128
/// random bits that only they were told. The connection is not asked for: one that was lost meanwhile
/// is another one by then, and the outcome of a paid operation must not be lost with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Owner {
    pub(super) ip: IpAddr,
    pub(super) series: KeySeries,
}

/// What has come of an operation, and when.
#[derive(Clone, Debug)]
struct Ended {
    at: MonoTime,
    outcome: Outcome,
}

#[derive(Debug)]
struct Ticket {
    owner: Owner,
    begun: MonoTime,
    ended: watch::Receiver<Option<Ended>>,
}

impl Ticket {
    /// Whether it goes on: neither ended nor broken down.
    fn is_under_way(&self) -> bool {
        self.ended.borrow().is_none() && self.ended.has_changed().is_ok()
    }

    /// From when on its outcome is kept: from its end, or its beginning where it has broken down.
    fn kept_since(&self) -> MonoTime {
        self.ended.borrow().as_ref().map_or(self.begun, |ended| ended.at)
    }
}

/// All operations that are under way or kept.
#[derive(Debug)]
pub struct Tickets {
    tickets: Mutex<BTreeMap<String, Ticket>>,
    max: usize,
    of_address_max: usize,
}

impl Default for Tickets {
    fn default() -> Self {
        Self { tickets: Mutex::default(), max: TICKETS_MAX, of_address_max: TICKETS_OF_ADDRESS_MAX }
    }
}

impl Tickets {
    /// For functions of session keys, of which every user's session may wait for one.
    pub fn for_session_keys() -> Self {
        Self {
            tickets: Mutex::default(),
            max: SESSION_KEY_TICKETS_MAX,
            of_address_max: SESSION_KEY_TICKETS_MAX,
        }
    }

    /// Whether an operation with this ticket was begun here.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.tickets().contains_key(id)
    }

    /// Begins an operation and waits a little for it: its result, or the ticket to ask with.
    ///
    /// # Errors
    ///
    /// Those of the operation; 503 `ELimit` when too many are under way.
    pub(super) async fn begin(
        &self,
        owner: Owner,
        work: impl Future<Output = Outcome> + Send + 'static,
    ) -> Result<OperationAnswer, ApiError> {
        let id = hex_upper(&random::id_bytes().map_err(|error| ApiError::broken(&error))?);
        let (sender, ended) = watch::channel(None);
        self.add(id.clone(), Ticket { owner, begun: clock::mono(), ended: ended.clone() })?;
        tokio::spawn(async move {
            let outcome = work.await;
            sender.send_replace(Some(Ended { at: clock::mono(), outcome }));
        });
        match wait(ended).await {
            None => Ok(OperationAnswer { ticket: Some(id), result: None }),
            Some(outcome) => {
                // Nobody has heard of the ticket, so nobody asks with it.
                self.tickets().remove(&id);
                answer(outcome)
            }
        }
    }

    /// Waits a little more for an operation that was begun.
    ///
    /// # Errors
    ///
    /// 404 `ETicketNotFound`; those of the operation.
    pub(super) async fn ask(&self, id: &str, owner: &Owner) -> Result<OperationAnswer, ApiError> {
        let found = {
            let mut tickets = self.tickets();
            forget(&mut tickets, clock::mono());
            let ticket = tickets.get(id).filter(|ticket| ticket.owner == *owner);
            ticket.map(|ticket| ticket.ended.clone())
        };
        let ended = found.ok_or_else(not_found)?;
        match wait(ended).await {
            None => Ok(OperationAnswer { ticket: Some(id.to_owned()), result: None }),
            Some(outcome) => answer(outcome),
        }
    }

    fn add(&self, id: String, ticket: Ticket) -> Result<(), ApiError> {
        let mut tickets = self.tickets();
        forget(&mut tickets, ticket.begun);
        let same_address = |other: &&Ticket| other.owner.ip == ticket.owner.ip;
        let under_way = tickets.values().filter(same_address).filter(|one| one.is_under_way());
        if under_way.count() >= self.of_address_max {
            return Err(too_many());
        }
        if tickets.len() >= self.max {
            let ended = tickets.iter().filter(|(_, ticket)| !ticket.is_under_way());
            let oldest = ended.min_by_key(|(_, ticket)| ticket.begun).map(|(id, _)| id.clone());
            tickets.remove(&oldest.ok_or_else(too_many)?);
        }
        tickets.insert(id, ticket);
        Ok(())
    }

    fn tickets(&self) -> MutexGuard<'_, BTreeMap<String, Ticket>> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets outcomes that were kept long enough.
fn forget(tickets: &mut BTreeMap<String, Ticket>, now: MonoTime) {
    tickets.retain(|_, ticket| ticket.is_under_way() || now.since(ticket.kept_since()) < KEPT);
}

/// The outcome, or nothing when it is not there in time.
async fn wait(mut ended: watch::Receiver<Option<Ended>>) -> Option<Outcome> {
    match tokio::time::timeout(WAIT, ended.wait_for(Option::is_some)).await {
        Ok(Ok(ended)) => ended.as_ref().map(|ended| ended.outcome.clone()),
        // The task has panicked; the log says where.
        Ok(Err(_)) => Some(Err(ApiError::internal())),
        Err(_) => None,
    }
}

fn answer(outcome: Outcome) -> Result<OperationAnswer, ApiError> {
    outcome.map(|result| OperationAnswer { ticket: None, result: Some(result) })
}

fn not_found() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "ETicketNotFound",
        "The operation is not known; look at the keys to see what has come of it.",
        "Операция не найдена; посмотрите на список ключей, чтобы узнать, чем она закончилась.",
    )
}

fn too_many() -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "ELimit",
        "Too many operations with keys are under way; try again.",
        "Выполняется слишком много операций с ключами; повторите запрос.",
    )
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn owner(last: u8) -> Owner {
        Owner { ip: [10, 0, 0, last].into(), series: KeySeries::from_u16(0x672B) }
    }

    /// An operation that ends when it is told to.
    async fn begin(
        tickets: &Tickets,
        owner: Owner,
    ) -> Result<(String, oneshot::Sender<Outcome>), ApiError> {
        let (sender, told) = oneshot::channel();
        let work = async move { told.await.unwrap_or_else(|_| Err(ApiError::internal())) };
        let answer = tickets.begin(owner, work).await?;
        assert_eq!(answer.result, None);
        Ok((answer.ticket.unwrap(), sender))
    }

    #[tokio::test]
    async fn operation_that_is_done_at_once_has_no_ticket() {
        let tickets = Tickets::default();
        let done = || async { Ok(OperationResult::Done) };
        for _ in 0..TICKETS_MAX * 2 {
            let answer = tickets.begin(owner(1), done()).await.unwrap();
            assert_eq!(
                answer,
                OperationAnswer { ticket: None, result: Some(OperationResult::Done) }
            );
        }
        let refused = tickets.begin(owner(1), async { Err(ApiError::unauthorized()) }).await;
        assert_eq!(refused.unwrap_err().status, 401);
        assert!(tickets.tickets().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn ticket_is_for_who_began_and_brings_the_outcome_as_often_as_asked() {
        let tickets = Tickets::default();
        let (ticket, sender) = begin(&tickets, owner(1)).await.unwrap();
        for stranger in [owner(2), Owner { series: KeySeries::from_u16(0x4BFE), ..owner(1) }] {
            let refused = tickets.ask(&ticket, &stranger).await.unwrap_err();
            assert_eq!((refused.status.as_u16(), &*refused.class), (404, "ETicketNotFound"));
        }
        let again = tickets.ask(&ticket, &owner(1)).await.unwrap();
        assert_eq!(again.ticket.as_ref(), Some(&ticket));
        sender.send(Ok(OperationResult::ReserveCode("X".to_owned()))).unwrap();
        for _ in 0..2 {
            let answer = tickets.ask(&ticket, &owner(1)).await.unwrap();
            assert_eq!(answer.result, Some(OperationResult::ReserveCode("X".to_owned())));
        }
        assert!(tickets.ask("none", &owner(1)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn operations_are_bounded_by_address_and_together_and_ended_ones_give_way() {
        let tickets = Tickets::default();
        let mut senders = Vec::new();
        for number in 0..TICKETS_MAX {
            let last = u8::try_from(number / TICKETS_OF_ADDRESS_MAX).unwrap();
            senders.push(begin(&tickets, owner(last)).await.unwrap());
        }
        for last in [0, 200] {
            let refused = begin(&tickets, owner(last)).await.map(drop).unwrap_err();
            assert_eq!((refused.status.as_u16(), &*refused.class), (503, "ELimit"), "{last}");
        }
        let (ticket, sender) = senders.remove(0);
        sender.send(Ok(OperationResult::Done)).unwrap();
        let ended = tickets.ask(&ticket, &owner(0)).await.unwrap();
        assert_eq!(ended.result, Some(OperationResult::Done));
        begin(&tickets, owner(200)).await.map(drop).unwrap();
        assert_eq!(tickets.ask(&ticket, &owner(0)).await.unwrap_err().status, 404);
    }

    #[test]
    fn outcome_is_kept_from_the_end_of_its_operation_however_long_that_took() {
        let at = |secs: u64| MonoTime::from_millis(secs * 1000);
        let kept = KEPT.as_secs();
        for (ended, now, is_there) in [
            (None, 10 * kept, true),
            (Some(2 * kept), 2 * kept, true),
            (Some(2 * kept), 3 * kept - 1, true),
            (Some(2 * kept), 3 * kept, false),
        ] {
            let ended =
                ended.map(|secs| Ended { at: at(secs), outcome: Ok(OperationResult::Done) });
            let (_sender, ended) = watch::channel(ended);
            let ticket = Ticket { owner: owner(1), begun: at(0), ended };
            let mut tickets = BTreeMap::from([("t".to_owned(), ticket)]);
            forget(&mut tickets, at(now));
            assert_eq!(tickets.contains_key("t"), is_there, "{now}");
        }
    }

    #[tokio::test]
    async fn operation_that_breaks_down_is_told_as_an_internal_error() {
        let tickets = Tickets::default();
        let broken = async { panic!("on purpose") };
        let refused = tickets.begin(owner(1), broken).await.unwrap_err();
        assert_eq!(refused.status, 500);
    }
}
