//! The thread that owns the store, and the handle by which requests reach it.
//!
//! One call at a time, in order of arrival; the answer leaves after the transaction is on disk.
//! Rules and SQL are elsewhere.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use licence_core::activation::ActivationCode;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::time::Utc;
use licencekit::order::{OrderAnswer, OrderCall, OrderList};
use licencekit::vendor::{
    AuditView, BlankView, BlanksAnswer, BlanksCall, CustomerCall, CustomerView, EndedBy, KeyRow,
    KeyView, Page, ProlongCall, ReleaseAnswer, ReleaseCall, SeriesSettings, SeriesView,
    SignedAnswer, SpareCall, Statistics, SuspicionView, TermView, UnsignedView,
};
use tokio::sync::{mpsc, oneshot};

use crate::access::Actor;
use crate::series::SeriesSet;
use crate::store::{
    Activated, Activation, DemoAsked, Listed, Listing, MovesFilter, OrdersFilter, Returned,
    Returning, SpareAsked, Store, StoreError,
};

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

/// What the thread shall do with the store; it sends its answer itself.
type Call = Box<dyn FnOnce(&mut Store, &SeriesSet) + Send>;

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

    /// Lets the thread do `work` and brings its answer.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store, &SeriesSet) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, BooksError> {
        let place = tokio::time::timeout(PLACE_WAIT, self.calls.reserve())
            .await
            .map_err(|_| BooksError::Busy)?
            .map_err(|_| BooksError::Closed)?;
        let (answer, answered) = oneshot::channel();
        place.send(Box::new(move |store, series| {
            // Whoever asked may have gone; what was done stays done, and is repeated when they
            // ask again.
            let _ = answer.send(work(store, series));
        }));
        Ok(answered.await.map_err(|_| BooksError::Closed)??)
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
}

fn keep(mut store: Store, series: &SeriesSet, mut waiting: mpsc::Receiver<Call>) {
    while let Some(call) = waiting.blocking_recv() {
        call(&mut store, series);
    }
}

/// What licence servers ask for. Each call fails as [`BooksError`] says, with
/// [`StoreError::Denied`] where a rule forbids it.
impl Books {
    /// Carries out an activation; see [`Store::activate`].
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn activate(
        &self,
        activation: Activation,
        actor: Actor,
        now: Utc,
    ) -> Result<Activated, BooksError> {
        self.run(move |store, series| store.activate(series, &activation, &actor, now)).await
    }

    /// Carries out an activation whose request was read out; see [`Store::activate_short`].
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn activate_short(
        &self,
        activation: Activation,
        actor: Actor,
        now: Utc,
    ) -> Result<Activated, BooksError> {
        self.run(move |store, series| store.activate_short(series, &activation, &actor, now)).await
    }

    /// Gives a demonstration key without a code; see [`Store::demo`].
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn demo(
        &self,
        asked: DemoAsked,
        actor: Actor,
        now: Utc,
    ) -> Result<Activated, BooksError> {
        self.run(move |store, series| store.demo(series, &asked, &actor, now)).await
    }

    /// The licences of a server; see [`Store::licences`].
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn licences(
        &self,
        listing: Listing,
        actor: Actor,
        now: Utc,
    ) -> Result<Listed, BooksError> {
        self.run(move |store, series| store.licences(series, &listing, &actor, now)).await
    }

    /// Takes a key back; see [`Store::take_back`].
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn take_back(
        &self,
        returning: Returning,
        actor: Actor,
        now: Utc,
    ) -> Result<Returned, BooksError> {
        self.run(move |store, series| store.take_back(series, &returning, &actor, now)).await
    }

    /// Draws a spare code for a server that holds the key; see [`Store::spare_for_server`].
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn spare_for_server(
        &self,
        asked: SpareAsked,
        actor: Actor,
        now: Utc,
    ) -> Result<ActivationCode, BooksError> {
        self.run(move |store, _| store.spare_for_server(&asked, &actor, now)).await
    }
}

/// What the vendor does, on pages and by programs. Whether `actor` may is decided before.
impl Books {
    /// Takes an order that is within its limits, for a customer of the books or nobody in
    /// particular; see [`Store::add_order`].
    ///
    /// # Errors
    ///
    /// [`StoreError::NoCustomer`], and see [`BooksError`].
    pub async fn add_order(
        &self,
        order: OrderCall,
        actor: Actor,
        now: Utc,
    ) -> Result<OrderAnswer, BooksError> {
        self.run(move |store, _| store.add_order(&order, &actor, now)).await
    }

    /// A page of orders; see [`Store::orders`].
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn orders(&self, filter: OrdersFilter) -> Result<OrderList, BooksError> {
        self.run(move |store, _| store.orders(&filter)).await
    }

    /// Revokes an order; see [`Store::revoke`].
    ///
    /// # Errors
    ///
    /// [`StoreError::NoOrder`], and see [`BooksError`].
    pub async fn revoke(&self, order_id: i64, actor: Actor, now: Utc) -> Result<(), BooksError> {
        self.run(move |store, _| store.revoke(order_id, &actor, now)).await
    }

    /// Prolongs the keys of an order; their servers get licences with the later end when they ask
    /// next. See [`Store::prolong`].
    ///
    /// # Errors
    ///
    /// [`StoreError::NoOrder`], [`StoreError::Vendor`], and see [`BooksError`].
    pub async fn prolong(
        &self,
        order_id: i64,
        call: ProlongCall,
        actor: Actor,
        now: Utc,
    ) -> Result<TermView, BooksError> {
        self.run(move |store, _| store.prolong(order_id, call, &actor, now)).await
    }

    /// Keys that fit a search: a number, a whole code of any kind, an ИНН, the beginning of a
    /// computer's id, or a part of a customer's name; all of them without one. Newest first.
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn keys(
        &self,
        query: Option<String>,
        before: Option<i64>,
        now: Utc,
    ) -> Result<Page<KeyRow>, BooksError> {
        self.run(move |store, _| store.keys(query.as_deref(), before, now)).await
    }

    /// A key with its whole history.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoKey`], and see [`BooksError`].
    pub async fn key(&self, key_no: KeyNo, now: Utc) -> Result<KeyView, BooksError> {
        self.run(move |store, _| store.key(key_no, now)).await
    }

    /// The key that a customer proves to know: by one of its codes (activation, reserve or spare)
    /// and, where the order names an owner, their ИНН. A wrong pair is [`StoreError::NoKey`],
    /// whatever is wrong with it.
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn customer_key(
        &self,
        code: ActivationCode,
        itn: Option<String>,
        now: Utc,
    ) -> Result<KeyView, BooksError> {
        self.run(move |store, _| store.customer_key(code, itn.as_deref(), now)).await
    }

    /// Ends the activation of a key whose server cannot give it back, for a reserve code; the same
    /// code again while the key waits for it. As [`EndedBy::Vendor`] without limits, as
    /// [`EndedBy::Customer`] where the series allows it and within its moves a year.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoKey`], [`StoreError::Denied`], and see [`BooksError`].
    pub async fn release(
        &self,
        key_no: KeyNo,
        call: ReleaseCall,
        by: EndedBy,
        actor: Actor,
        now: Utc,
    ) -> Result<ReleaseAnswer, BooksError> {
        self.run(move |store, _| store.release(key_no, &call, by, &actor, now)).await
    }

    /// The spare code of a key that works: the one that was drawn before, unless it shall be
    /// renewed.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoKey`], [`StoreError::Denied`], and see [`BooksError`].
    pub async fn spare(
        &self,
        key_no: KeyNo,
        call: SpareCall,
        actor: Actor,
        now: Utc,
    ) -> Result<ActivationCode, BooksError> {
        self.run(move |store, _| store.spare(key_no, &call, &actor, now)).await
    }

    /// Activations that ended or followed another, newest first: the moves of keys.
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn moves(
        &self,
        filter: MovesFilter,
    ) -> Result<Page<licencekit::vendor::ActivationView>, BooksError> {
        self.run(move |store, _| store.moves(&filter)).await
    }

    /// Writes a customer down.
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn add_customer(
        &self,
        call: CustomerCall,
        actor: Actor,
        now: Utc,
    ) -> Result<CustomerView, BooksError> {
        self.run(move |store, _| store.add_customer(&call, &actor, now)).await
    }

    /// Changes a customer.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoCustomer`], and see [`BooksError`].
    pub async fn change_customer(
        &self,
        customer_id: i64,
        call: CustomerCall,
        actor: Actor,
        now: Utc,
    ) -> Result<CustomerView, BooksError> {
        self.run(move |store, _| store.change_customer(customer_id, &call, &actor, now)).await
    }

    /// Removes a customer that no order names.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoCustomer`], [`StoreError::CustomerHasOrders`], and see [`BooksError`].
    pub async fn remove_customer(
        &self,
        customer_id: i64,
        actor: Actor,
        now: Utc,
    ) -> Result<(), BooksError> {
        self.run(move |store, _| store.remove_customer(customer_id, &actor, now)).await
    }

    /// A customer.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoCustomer`], and see [`BooksError`].
    pub async fn customer(&self, customer_id: i64) -> Result<CustomerView, BooksError> {
        self.run(move |store, _| store.customer(customer_id)).await
    }

    /// Customers whose name, mail or ИНН holds a text, newest first.
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn customers(
        &self,
        query: Option<String>,
        before: Option<i64>,
    ) -> Result<Page<CustomerView>, BooksError> {
        self.run(move |store, _| store.customers(query.as_deref(), before)).await
    }

    /// All series with their settings.
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn series(&self) -> Result<Vec<SeriesView>, BooksError> {
        self.run(|store, series| store.series(series)).await
    }

    /// Settles what holds for a series.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSeries`], and see [`BooksError`].
    pub async fn settle_series(
        &self,
        key_id: KeySeries,
        settings: SeriesSettings,
        actor: Actor,
        now: Utc,
    ) -> Result<SeriesView, BooksError> {
        self.run(move |store, series| store.settle_series(series, key_id, &settings, &actor, now))
            .await
    }

    /// Registers tokens.
    ///
    /// # Errors
    ///
    /// [`StoreError::Vendor`], and see [`BooksError`].
    pub async fn register_blanks(
        &self,
        call: BlanksCall,
        actor: Actor,
        now: Utc,
    ) -> Result<BlanksAnswer, BooksError> {
        self.run(move |store, _| store.register_blanks(&call, &actor, now)).await
    }

    /// A page of tokens, newest first.
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn blanks(&self, before: Option<i64>) -> Result<Page<BlankView>, BooksError> {
        self.run(move |store, _| store.blanks(before)).await
    }

    /// Refuses a token from here on, or takes it again.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoBlank`], and see [`BooksError`].
    pub async fn block_blank(
        &self,
        blank_id: i64,
        blocked: bool,
        actor: Actor,
        now: Utc,
    ) -> Result<BlankView, BooksError> {
        self.run(move |store, _| store.block_blank(blank_id, blocked, &actor, now)).await
    }

    /// Suspicions that nobody has cleared, or all of them; the latest seen first.
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn suspicions(&self, all: bool) -> Result<Vec<SuspicionView>, BooksError> {
        self.run(move |store, _| store.suspicions(all)).await
    }

    /// Refuses everything to the server of a suspicion from here on, or nothing any more.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSuspicion`], and see [`BooksError`].
    pub async fn block_holder(
        &self,
        suspicion_id: i64,
        blocked: bool,
        actor: Actor,
        now: Utc,
    ) -> Result<SuspicionView, BooksError> {
        self.run(move |store, _| store.block_holder(suspicion_id, blocked, &actor, now)).await
    }

    /// Notes that a suspicion is harmless.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSuspicion`], and see [`BooksError`].
    pub async fn clear_suspicion(
        &self,
        suspicion_id: i64,
        actor: Actor,
        now: Utc,
    ) -> Result<SuspicionView, BooksError> {
        self.run(move |store, _| store.clear_suspicion(suspicion_id, &actor, now)).await
    }

    /// A page of what waits for a signature; see [`Store::unsigned`].
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn unsigned(&self, after: Option<i64>) -> Result<Page<UnsignedView>, BooksError> {
        self.run(move |store, _| store.unsigned(after)).await
    }

    /// Takes a signed document; see [`Store::take_signature`].
    ///
    /// # Errors
    ///
    /// [`StoreError::NoUnsigned`], [`StoreError::Signature`], and see [`BooksError`].
    pub async fn take_signature(
        &self,
        unsigned_id: i64,
        document: String,
        actor: Actor,
        now: Utc,
    ) -> Result<SignedAnswer, BooksError> {
        self.run(move |store, series| {
            store.take_signature(series, unsigned_id, &document, &actor, now)
        })
        .await
    }

    /// Figures by month and series.
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn statistics(&self) -> Result<Statistics, BooksError> {
        self.run(|store, _| store.statistics()).await
    }

    /// A page of the audit trail, newest first; of one key or order only, where one is named.
    ///
    /// # Errors
    ///
    /// See [`BooksError`].
    pub async fn audit(
        &self,
        key_no: Option<KeyNo>,
        order_id: Option<i64>,
        before: Option<i64>,
    ) -> Result<Page<AuditView>, BooksError> {
        self.run(move |store, _| store.audit(key_no, order_id, before)).await
    }
}
