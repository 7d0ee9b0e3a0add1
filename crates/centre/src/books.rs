//! The thread that owns the store, and the handle by which requests reach it.
//!
//! One call at a time, in order of arrival; the answer leaves after the transaction is on disk.
//! Rules and SQL are elsewhere.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use licence_core::causes::with_causes;
use licence_core::key::KeySeries;
use licence_core::seal::{KEY_BYTES, PublicKey};
use licence_core::time::Utc;
use licencekit::order::{OrderAnswer, OrderCall, OrderList};
use tokio::sync::{mpsc, oneshot};

use crate::issue::{self, Granted, IssueError};
use crate::series::{Series, SeriesSet};
use crate::store::{Activated, Activation, Held, Returned, Returning, Store, StoreError};

/// Calls that may wait. An activation takes some milliseconds (one sync of the disk), so the
/// last of them waits less than a second; more would only hide that the disk is too slow.
const WAITING_MAX: usize = 64;

/// How long a call may wait for a place among them before its sender is told to come back.
const PLACE_WAIT: Duration = Duration::from_secs(5);

/// Handle of the books; all copies gone, the thread ends after the calls that wait.
#[derive(Clone, Debug)]
pub struct Books {
    calls: mpsc::Sender<Call>,
}

/// Why the books gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BooksError {
    /// Too many calls wait.
    #[error("too many calls wait for the books")]
    Busy,
    /// The thread has ended.
    #[error("the books are closed")]
    Closed,
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

enum Call {
    Activate(Box<Activation>, Utc, Answer<Activated>),
    AddOrder(Box<OrderCall>, Utc, Answer<OrderAnswer>),
    Licences(Box<(PublicKey, Option<[u8; KEY_BYTES]>)>, Utc, Answer<Vec<Held>>),
    Orders(Option<i64>, Answer<OrderList>),
    Revoke(i64, Utc, Answer<()>),
    TakeBack(Box<Returning>, Utc, Answer<Returned>),
}

impl Books {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When the system starts no thread.
    pub fn start(store: Store, series: Arc<SeriesSet>) -> io::Result<(Self, JoinHandle<()>)> {
        let (calls, waiting) = mpsc::channel(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("books".to_owned())
            .spawn(move || keep(store, &series, waiting))?;
        Ok((Self { calls }, thread))
    }

    /// Carries out an activation; see [`Store::activate`].
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn activate(
        &self,
        activation: Activation,
        now: Utc,
    ) -> Result<Activated, BooksError> {
        self.call(|answer| Call::Activate(Box::new(activation), now, answer)).await
    }

    /// Takes an order; see [`Store::add_order`].
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn add_order(&self, order: OrderCall, now: Utc) -> Result<OrderAnswer, BooksError> {
        self.call(|answer| Call::AddOrder(Box::new(order), now, answer)).await
    }

    /// The licences of a server, with the object keys of their series wrapped for `enc` when it
    /// names such a key; see [`Store::licences`].
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn licences(
        &self,
        holder: PublicKey,
        enc: Option<[u8; KEY_BYTES]>,
        now: Utc,
    ) -> Result<Vec<Held>, BooksError> {
        self.call(|answer| Call::Licences(Box::new((holder, enc)), now, answer)).await
    }

    /// A page of orders; see [`Store::orders`].
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn orders(&self, before: Option<i64>) -> Result<OrderList, BooksError> {
        self.call(|answer| Call::Orders(before, answer)).await
    }

    /// Revokes an order; see [`Store::revoke`].
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn revoke(&self, order_id: i64, now: Utc) -> Result<(), BooksError> {
        self.call(|answer| Call::Revoke(order_id, now, answer)).await
    }

    /// Takes a key back; see [`Store::take_back`].
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn take_back(&self, returning: Returning, now: Utc) -> Result<Returned, BooksError> {
        self.call(|answer| Call::TakeBack(Box::new(returning), now, answer)).await
    }

    /// Whether the thread still answers. It ends before its handles only by a panic.
    pub fn are_open(&self) -> bool {
        !self.calls.is_closed()
    }

    /// Ready when the thread has ended.
    pub async fn closed(&self) {
        self.calls.closed().await;
    }

    /// Books whose thread has ended.
    #[cfg(test)]
    pub(crate) fn ended() -> Self {
        Self { calls: mpsc::channel(1).0 }
    }

    async fn call<T>(&self, make: impl FnOnce(Answer<T>) -> Call) -> Result<T, BooksError> {
        let place = tokio::time::timeout(PLACE_WAIT, self.calls.reserve())
            .await
            .map_err(|_| BooksError::Busy)?
            .map_err(|_| BooksError::Closed)?;
        let (answer, answered) = oneshot::channel();
        place.send(make(answer));
        Ok(answered.await.map_err(|_| BooksError::Closed)??)
    }
}

fn keep(mut store: Store, series: &SeriesSet, mut waiting: mpsc::Receiver<Call>) {
    while let Some(call) = waiting.blocking_recv() {
        // Whoever asked may have gone; what was done stays done, and is repeated when they ask
        // again.
        match call {
            Call::Activate(activation, now, answer) => {
                let _ = answer.send(activate(&mut store, series, &activation, now));
            }
            Call::AddOrder(order, now, answer) => {
                let _ = answer.send(store.add_order(&order, now));
            }
            Call::Licences(asker, now, answer) => {
                let (holder, enc) = *asker;
                let renew = |of: KeySeries, document: &str| match series.get(&of) {
                    Some(series) => renewed(series, document, enc.as_ref(), now),
                    // Served no longer: the document is sent as it was issued.
                    None => Ok(None),
                };
                let _ = answer.send(store.licences(&holder, now, renew));
            }
            Call::Orders(before, answer) => {
                let _ = answer.send(store.orders(before));
            }
            Call::Revoke(order_id, now, answer) => {
                let _ = answer.send(store.revoke(order_id, now));
            }
            Call::TakeBack(returning, now, answer) => {
                let _ = answer.send(store.take_back(&returning, now));
            }
        }
    }
}

fn activate(
    store: &mut Store,
    series: &SeriesSet,
    activation: &Activation,
    now: Utc,
) -> Result<Activated, StoreError> {
    let code = activation.code;
    let series = series
        .get(&code.series())
        .ok_or(StoreError::Damaged("a code of a series that is not served"))?;
    let make = |granted: Granted<'_>| issue::licence(series, granted, code, &activation.asked, now);
    let enc = activation.asked.enc.as_ref();
    let renew = |document: &str| renewed(series, document, enc, now);
    store.activate(activation, now, make, renew)
}

/// A licence that the asker gets again, with the object key of its series if it has it not yet.
fn renewed(
    series: &Series,
    document: &str,
    enc: Option<&[u8; KEY_BYTES]>,
    now: Utc,
) -> Result<Option<String>, IssueError> {
    let Some(enc) = enc else {
        return Ok(None);
    };
    match issue::with_object_key(series, document, enc, now) {
        Err(IssueError::Licence(error)) => {
            // What was issued stays worth having without an object key.
            log::error!("a licence cannot be issued again: {}", with_causes(&error));
            Ok(None)
        }
        result => result,
    }
}
