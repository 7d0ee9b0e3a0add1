//! The licences of a server as the books have them, and word of those that it has lost.

use licence_core::activation::ActivationCode;
use licence_core::centre_request::ReturnReceipt;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::time::Utc;
use licencekit::vendor::EndedBy;

use super::rows::{cluster_of, moment, order_of, reserve_code, term};
use super::sql::{Work, values};
use super::unsigned::About;
use super::{
    ENDED_MAX, Held, LICENCES_BYTES_MAX, LICENCES_MAX, Listed, Listing, Store, StoreError, holders,
    unsigned,
};
use crate::access::Actor;
use crate::decide::{Denial, is_current};
use crate::series::SeriesSet;

impl Store {
    /// The licences that are bound to a server or to tokens that are plugged into it, and current,
    /// the latest first, at most [`LICENCES_MAX`] of at most [`LICENCES_BYTES_MAX`]; each is brought
    /// up to date first. And receipts of activations that ended without the server.
    ///
    /// # Errors
    ///
    /// [`StoreError::Denied`] when the server is blocked; nothing is kept on any error.
    pub fn licences(
        &mut self,
        set: &SeriesSet,
        listing: &Listing,
        actor: &Actor,
        now: Utc,
    ) -> Result<Listed, StoreError> {
        let mut work = self.begin()?;
        if holders::is_blocked(&mut work, &listing.server)? {
            return Err(Denial::HolderBlocked.into());
        }
        let (server, asker) = (&listing.server, &listing.asker);
        let mark = holders::see(&mut work, server, asker, listing.protection, actor, now)?;
        let mut found = Listed { mark, ..Listed::default() };
        let tokens = listing.tokens.iter().map(|token| token.as_bytes().as_slice());
        let holders: Vec<&[u8]> =
            std::iter::once(server.as_bytes().as_slice()).chain(tokens).collect();
        let mut bytes = 0;
        for holder in &holders {
            held_by(&mut work, set, listing, holder, &mut found.licences, &mut bytes, actor, now)?;
        }
        for holder in &holders {
            ended(&mut work, set, holder, &mut found.ended, actor, now)?;
        }
        work.commit()?;
        Ok(found)
    }
}

#[expect(clippy::too_many_arguments, reason = "one loop body of the call above")]
fn held_by(
    work: &mut Work<'_>,
    set: &SeriesSet,
    listing: &Listing,
    holder: &[u8],
    held: &mut Vec<Held>,
    bytes: &mut usize,
    actor: &Actor,
    now: Utc,
) -> Result<(), StoreError> {
    let rows = work.rows(
        "SELECT orders.*, codes.key_no AS key_no, activation_id, licence, cluster, \
         (SELECT min(activated) FROM activations AS every WHERE every.key_no = codes.key_no) \
         AS first_activated FROM activations JOIN codes USING (key_no) \
         JOIN orders USING (order_id) WHERE holder = ?1 AND returned IS NULL \
         ORDER BY activation_no DESC",
        values![holder],
    )?;
    for row in rows {
        let order = order_of(&row)?;
        let end = term(&order, row.get("first_activated")?).end();
        if !is_current(moment(&row, "revoked")?.is_some(), end, now) {
            continue;
        }
        let mut licence: String = row.get("licence")?;
        // A series that is served no longer: the document is sent as it was issued.
        if let Some(series) = set.get(&order.series) {
            let (activation_id, key_no): (String, _) =
                (row.get("activation_id")?, KeyNo(row.get("key_no")?));
            let cluster = cluster_of(&row)?;
            let about = About { series, activation_id: &activation_id, key_no, cluster };
            let enc = listing.enc.as_ref();
            let made = unsigned::up_to_date(work, about, licence, &order, enc, actor, now)?;
            licence = made.unwrap_or_default();
            if licence.is_empty() {
                log::info!("key {key_no} is left out: its licence waits for a signature");
            }
        }
        if licence.is_empty() {
            continue;
        }
        *bytes += licence.len();
        if held.len() == LICENCES_MAX || *bytes > LICENCES_BYTES_MAX {
            log::warn!(
                "a server holds more than {LICENCES_MAX} keys or {LICENCES_BYTES_MAX} bytes of \
                 licences; the oldest are left out"
            );
            break;
        }
        held.push(Held { series: order.series, licence });
    }
    Ok(())
}

/// Receipts of what ended without the server. They are sent each time: a server that lost the
/// answer needs them again, and one that has them finds nothing to do.
fn ended(
    work: &mut Work<'_>,
    set: &SeriesSet,
    holder: &[u8],
    receipts: &mut Vec<String>,
    actor: &Actor,
    now: Utc,
) -> Result<(), StoreError> {
    let rows = work.rows(
        &format!(
            "SELECT orders.series AS series, codes.key_no AS key_no, activation_id, returned, \
             reserve_code, ended_by FROM activations JOIN codes USING (key_no) \
             JOIN orders USING (order_id) WHERE holder = ?1 AND returned IS NOT NULL \
             AND ended_by <> 'server' ORDER BY activation_no DESC LIMIT {ENDED_MAX}"
        ),
        values![holder],
    )?;
    for row in rows {
        if receipts.len() == ENDED_MAX {
            break;
        }
        let series: KeySeries =
            row.get::<String>("series")?.parse().map_err(|_| StoreError::Damaged("a series"))?;
        let Some(served) = set.get(&series) else {
            continue;
        };
        let by: String = row.get("ended_by")?;
        let code = told(EndedBy::of_word(&by), reserve_code(&row)?, series);
        let key_no = KeyNo(row.get("key_no")?);
        let at: Utc = row.get("returned")?;
        let activation_id: String = row.get("activation_id")?;
        let receipt = ReturnReceipt::new(activation_id.clone(), at, key_no, series, code);
        let about = About { series: served, activation_id: &activation_id, key_no, cluster: None };
        // One that waits for a signature comes with a later answer.
        receipts.extend(unsigned::receipt(work, about, &receipt, actor, now)?);
    }
    Ok(())
}

/// The code that a receipt names: a spent spare code; one that still installs the key is not for
/// the server that has lost it, which may be in the wrong hands.
fn told(by: Option<EndedBy>, code: Option<ActivationCode>, series: KeySeries) -> ActivationCode {
    match (by, code) {
        (Some(EndedBy::Spare), Some(code)) => code,
        _ => ReturnReceipt::withheld(series),
    }
}
