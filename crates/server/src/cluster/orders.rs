//! What the node has the driver do, one order after another in the order in which they were decided.
//!
//! Decides only how a busy driver is asked again: until it takes the order, for one that is left out would
//! leave the service with other limits than the node believes, and the node waiting for its answer.

use licence_core::causes::with_causes;
use licence_core::cluster::{ClaimOutcome, Event};
use licence_core::key::KeyNo;
use licence_core::rules::QuotaId;
use licence_core::session::SessionId;
use licence_core::time::MonoTime;
use tokio::sync::mpsc;

use super::DRIVER_BUSY;
use crate::driver::{DriverError, Handle};

/// After so many tries, 2 s, the log says that the driver is busy.
const DRIVER_TRIES: usize = 100;

/// What the driver is to do.
#[derive(Debug)]
pub(super) enum Order {
    Claimed(SessionId, ClaimOutcome),
    CloseQuotas,
    EndAll,
    Expect(SessionId, KeyNo),
    GrantUntil(Option<MonoTime>),
    HoldUntil(Option<MonoTime>),
    Keep(SessionId),
    Limit(KeyNo, u32, bool),
    QuotaLimits(u64, Vec<(QuotaId, u32)>),
    TakeAway(SessionId),
}

/// What came of an order.
#[derive(Debug)]
pub(super) enum Carried {
    /// Everything before it is done: whoever waits for the session's seat may open it.
    Claimed(SessionId, ClaimOutcome),
    /// What the node is told.
    Event(Event),
}

/// Carries orders out until nobody gives any; `tell` takes what came of them, false when nobody is
/// there any more.
pub(super) async fn carry_out<F: Future<Output = bool>>(
    driver: Handle,
    mut orders: mpsc::UnboundedReceiver<Order>,
    tell: impl Fn(Carried) -> F,
) {
    while let Some(order) = orders.recv().await {
        let carried = if let Order::Claimed(session, outcome) = order {
            Some(Carried::Claimed(session, outcome))
        } else {
            carry_one(&driver, &order).await.map(Carried::Event)
        };
        if let Some(carried) = carried
            && !tell(carried).await
        {
            return;
        }
    }
}

async fn carry_one(driver: &Handle, order: &Order) -> Option<Event> {
    let mut tries = 0_usize;
    loop {
        let done = match order {
            Order::Claimed(..) => return None,
            Order::CloseQuotas => driver.close_quotas().await.map(|()| None),
            Order::EndAll => driver.end_cluster().await.map(|()| None),
            Order::Expect(session, key_no) => driver.expect(*session, *key_no).await.map(|()| None),
            Order::GrantUntil(until) => driver.grant_until(*until).await.map(|()| None),
            Order::Keep(session) => driver.keep(*session).await.map(|()| None),
            Order::HoldUntil(until) => driver.hold_until(*until).await.map(|()| None),
            Order::Limit(key_no, seats, force) => {
                driver.seat_limits(vec![(*key_no, *seats, *force)]).await.map(|told| {
                    told.first().map(|&(key_no, seats, held)| Event::Limited {
                        key_no,
                        seats,
                        held,
                    })
                })
            }
            Order::QuotaLimits(no, limits) => driver
                .quota_limits(limits.clone())
                .await
                .map(|limits| Some(Event::QuotasLimited { no: *no, limits })),
            Order::TakeAway(session) => driver
                .take_away(*session)
                .await
                .map(|(held, quotas)| Some(Event::TakenAway { session: *session, held, quotas })),
        };
        match done {
            Ok(event) => return event,
            Err(DriverError::Busy) => {
                tries = tries.saturating_add(1);
                if tries == DRIVER_TRIES {
                    log::error!("cluster: the driver is too busy for {order:?}; it is asked on");
                }
                tokio::time::sleep(DRIVER_BUSY).await;
            }
            Err(error) => {
                log::debug!("cluster: the driver does not take {order:?}: {}", with_causes(&error));
                return None;
            }
        }
    }
}
