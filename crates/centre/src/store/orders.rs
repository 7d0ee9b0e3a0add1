//! Orders of the books: taken, listed, revoked, prolonged.

use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::key::{KeyKind, KeyNo};
use licence_core::time::Utc;
use licencekit::order::{
    IssuedCode, OrderAnswer, OrderCall, OrderList, OrderView, PERIOD_DAYS_MAX,
};
use licencekit::random;
use licencekit::vendor::{ProlongCall, TermView, VendorError};

use super::places::LATEST;
use super::rows::{binding_text, code_of, moment, order_of, parameters_text};
use super::sql::{Value, Work, values};
use super::{Note, OrdersFilter, PAGE_ORDERS, Store, StoreError, note};
use crate::access::Actor;

impl Store {
    /// Takes an order that is within its limits: numbers its keys and draws their codes.
    ///
    /// # Errors
    ///
    /// See [`StoreError`]; nothing is kept then.
    pub fn add_order(
        &mut self,
        order: &OrderCall,
        actor: &Actor,
        now: Utc,
    ) -> Result<OrderAnswer, StoreError> {
        let mut work = self.begin()?;
        if let Some(customer_id) = order.customer_id {
            let sql = "SELECT customer_id FROM customers WHERE customer_id = ?1";
            if work.row(sql, values![customer_id])?.is_none() {
                return Err(StoreError::NoCustomer);
            }
        }
        let answer = insert(&mut work, order, false, now)?;
        let detail = format!("series {}, {} keys", order.series, order.count);
        let order_id = Some(answer.order_id);
        let line = Note { action: "order", order_id, detail: Some(&detail), ..Note::default() };
        note(&mut work, actor, now, line)?;
        work.commit()?;
        Ok(answer)
    }

    /// Revokes an order; the moment of the first revocation stays.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoOrder`] when there is none of this number.
    pub fn revoke(&mut self, order_id: i64, actor: &Actor, now: Utc) -> Result<(), StoreError> {
        let mut work = self.begin()?;
        let sql = "SELECT revoked FROM orders WHERE order_id = ?1";
        let row = work.row(sql, values![order_id])?.ok_or(StoreError::NoOrder)?;
        if moment(&row, "revoked")?.is_none() {
            work.execute(
                "UPDATE orders SET revoked = ?2 WHERE order_id = ?1",
                values![order_id, now],
            )?;
            let order_id = Some(order_id);
            note(&mut work, actor, now, Note { action: "revoke", order_id, ..Note::default() })?;
        }
        Ok(work.commit()?)
    }

    /// Prolongs the keys of an order. A term in days and an end both grow by `days`; an end may be
    /// named itself, then a term in days does not hold any more.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoOrder`], or [`StoreError::Vendor`] when there is nothing to prolong or the
    /// call is outside its limits.
    pub fn prolong(
        &mut self,
        order_id: i64,
        call: ProlongCall,
        actor: &Actor,
        now: Utc,
    ) -> Result<TermView, StoreError> {
        let mut work = self.begin()?;
        let sql = "SELECT * FROM orders WHERE order_id = ?1";
        let row = work.row(sql, values![order_id])?.ok_or(StoreError::NoOrder)?;
        let term = prolonged(&order_of(&row)?, call, order_id, now)?;
        work.execute(
            "UPDATE orders SET period = ?2, expire_date = ?3 WHERE order_id = ?1",
            values![order_id, term.period, term.expire_date],
        )?;
        let end = term.expire_date.map_or_else(String::new, |end| format!(", until {end}"));
        let detail = format!("period {}{end}", term.period);
        let order_id = Some(order_id);
        let line = Note { action: "prolong", order_id, detail: Some(&detail), ..Note::default() };
        note(&mut work, actor, now, line)?;
        work.commit()?;
        Ok(term)
    }

    /// A page of orders, newest first, with their codes. Keys that nobody ordered (demonstration
    /// keys without a code) are in the list of keys only.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn orders(&mut self, filter: &OrdersFilter) -> Result<OrderList, StoreError> {
        let mut work = self.begin()?;
        let mut sql = "SELECT * FROM orders WHERE offered = 0 AND order_id < ?1".to_owned();
        let mut given = vec![Value::from(filter.before.unwrap_or(i64::MAX))];
        let series = filter.series.map(|series| series.to_string());
        for (column, value) in [
            ("order_id", filter.order_id.map(Value::from)),
            ("customer_id", filter.customer_id.map(Value::from)),
            ("series", series.map(Value::from)),
        ] {
            if let Some(value) = value {
                given.push(value);
                sql += &format!(" AND {column} = ?{}", given.len());
            }
        }
        sql += &format!(" ORDER BY order_id DESC LIMIT {PAGE_ORDERS}");
        let mut list = OrderList::default();
        for row in work.rows(&sql, &given)? {
            let order_id: i64 = row.get("order_id")?;
            let codes = work.rows(
                &format!(
                    "SELECT codes.code AS code, codes.key_no AS key_no, activated, computer_id, \
                     returned, reserve_code FROM codes LEFT JOIN activations ON activation_no = \
                     {LATEST} WHERE order_id = ?1 ORDER BY codes.key_no"
                ),
                values![order_id],
            )?;
            list.orders.push(OrderView {
                order_id,
                created: row.get("created")?,
                revoked: moment(&row, "revoked")?,
                order: order_of(&row)?,
                codes: codes.iter().map(code_of).collect::<Result<_, _>>()?,
            });
        }
        if list.orders.len() as i64 == PAGE_ORDERS {
            list.next = list.orders.last().map(|view| view.order_id);
        }
        Ok(list)
    }
}

/// The term of an order after a call to prolong it.
fn prolonged(
    order: &OrderCall,
    call: ProlongCall,
    order_id: i64,
    now: Utc,
) -> Result<TermView, VendorError> {
    match (call.expire_date, call.days) {
        (Some(end), None) if end > order.start_date.unwrap_or(now).max(now) => {
            if order.period == 0 && order.expire_date.is_none() {
                return Err(VendorError::Endless);
            }
            Ok(TermView { order_id, period: 0, expire_date: Some(end) })
        }
        (None, Some(days)) if (1..=PERIOD_DAYS_MAX).contains(&days) => {
            if order.period == 0 && order.expire_date.is_none() {
                return Err(VendorError::Endless);
            }
            let period = if order.period == 0 { 0 } else { order.period + days };
            if period > PERIOD_DAYS_MAX {
                return Err(VendorError::Term);
            }
            let expire_date = order.expire_date.map(|end| end.plus_days(days));
            Ok(TermView { order_id, period, expire_date })
        }
        _ => Err(VendorError::Term),
    }
}

/// Writes an order down and draws its codes.
pub(super) fn insert(
    work: &mut Work<'_>,
    order: &OrderCall,
    offered: bool,
    now: Utc,
) -> Result<OrderAnswer, StoreError> {
    let order_id: i64 = work.value(
        "order_id",
        "INSERT INTO orders (created, series, kind, seats, count, period, start_date, \
         expire_date, flags, product_version, service_type, reg_no, article, article_name, itn, \
         iec, note, product_version_name, support_date, support_period, industry_support_date, \
         industry_support_period, parameters, customer_id, binding, offered, \
         cluster_nodes) VALUES (?1, ?2, ?3, \
         ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, \
         ?22, ?23, ?24, ?25, ?26, ?27) RETURNING order_id",
        values![
            now,
            order.series.to_string(),
            KeyKind::from(order.kind).code(),
            order.seats,
            order.count,
            order.period,
            order.start_date,
            order.expire_date,
            order.flags.0,
            order.product_version,
            order.service_type,
            order.reg_no,
            &order.article,
            &order.article_name,
            &order.itn,
            &order.iec,
            &order.note,
            &order.product_version_name,
            order.support_date,
            order.support_period,
            order.industry_support_date,
            order.industry_support_period,
            parameters_text(&order.parameters)?,
            order.customer_id,
            binding_text(order.binding)?,
            offered,
            order.cluster_nodes,
        ],
    )?;
    let first: i64 = work.value(
        "first",
        "UPDATE counters SET next = next + ?1 WHERE name = 'key_no' RETURNING next - ?1 AS first",
        values![order.count],
    )?;
    let mut codes = Vec::new();
    for offset in 0..i64::from(order.count) {
        let number = u32::try_from(first + offset).map_err(|_| StoreError::NoNumbers)?;
        let secret = u128::from_le_bytes(random::id_bytes()?);
        let code = ActivationCode::encode(CodeKind::Activation, order.series, secret);
        // A code drawn twice (one in 2^78) breaks the primary key and the whole order.
        work.execute(
            "INSERT INTO codes (code, key_no, order_id) VALUES (?1, ?2, ?3)",
            values![code.to_string(), number, order_id],
        )?;
        codes.push(IssuedCode { code, key_no: KeyNo(number) });
    }
    Ok(OrderAnswer { order_id, codes })
}
