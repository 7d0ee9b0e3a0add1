//! Customers of the books.

use licence_core::time::Utc;
use licencekit::vendor::{CustomerBody, CustomerCall, CustomerView, Page};

use super::sql::{Row, Value, Work, values};
use super::{Note, PAGE_ENTRIES, Store, StoreError, note};
use crate::access::Actor;

impl Store {
    /// Writes a customer down.
    ///
    /// # Errors
    ///
    /// [`StoreError::Vendor`] when a member is outside its limits.
    pub fn add_customer(
        &mut self,
        call: &CustomerCall,
        actor: &Actor,
        now: Utc,
    ) -> Result<CustomerView, StoreError> {
        call.check()?;
        let mut work = self.begin()?;
        let customer_id: i64 = work.value(
            "customer_id",
            "INSERT INTO customers (created, name, itn, iec, mail, note, folded) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) RETURNING customer_id",
            values![now, &call.name, &call.itn, &call.iec, &call.mail, &call.note, folded(call)],
        )?;
        noted(&mut work, "customer", customer_id, actor, now)?;
        let view = view(&one(&mut work, customer_id)?)?;
        work.commit()?;
        Ok(view)
    }

    /// Changes a customer.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoCustomer`], or [`StoreError::Vendor`] when a member is outside its limits.
    pub fn change_customer(
        &mut self,
        customer_id: i64,
        call: &CustomerCall,
        actor: &Actor,
        now: Utc,
    ) -> Result<CustomerView, StoreError> {
        call.check()?;
        let mut work = self.begin()?;
        one(&mut work, customer_id)?;
        work.execute(
            "UPDATE customers SET name = ?2, itn = ?3, iec = ?4, mail = ?5, note = ?6, \
             folded = ?7 WHERE customer_id = ?1",
            values![
                customer_id,
                &call.name,
                &call.itn,
                &call.iec,
                &call.mail,
                &call.note,
                folded(call)
            ],
        )?;
        noted(&mut work, "change customer", customer_id, actor, now)?;
        let view = view(&one(&mut work, customer_id)?)?;
        work.commit()?;
        Ok(view)
    }

    /// Removes a customer that no order names.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoCustomer`] or [`StoreError::CustomerHasOrders`].
    pub fn remove_customer(
        &mut self,
        customer_id: i64,
        actor: &Actor,
        now: Utc,
    ) -> Result<(), StoreError> {
        let mut work = self.begin()?;
        if view(&one(&mut work, customer_id)?)?.orders > 0 {
            return Err(StoreError::CustomerHasOrders);
        }
        work.execute("DELETE FROM customers WHERE customer_id = ?1", values![customer_id])?;
        noted(&mut work, "remove customer", customer_id, actor, now)?;
        Ok(work.commit()?)
    }

    /// A customer.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoCustomer`] when there is none of this number.
    pub fn customer(&mut self, customer_id: i64) -> Result<CustomerView, StoreError> {
        let mut work = self.begin()?;
        view(&one(&mut work, customer_id)?)
    }

    /// A page of customers whose name, address or number holds a text, newest first.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn customers(
        &mut self,
        query: Option<&str>,
        before: Option<i64>,
    ) -> Result<Page<CustomerView>, StoreError> {
        let mut work = self.begin()?;
        let mut given = vec![Value::from(before.unwrap_or(i64::MAX))];
        let fits = match query.map(str::trim).filter(|query| !query.is_empty()) {
            None => "",
            Some(query) => {
                given.push(Value::from(pattern(query)));
                " AND folded LIKE ?2 ESCAPE '!'"
            }
        };
        let rows = work.rows(
            &format!(
                "{CUSTOMERS} WHERE customer_id < ?1{fits} ORDER BY customer_id DESC \
                 LIMIT {PAGE_ENTRIES}"
            ),
            &given,
        )?;
        let items: Vec<_> = rows.iter().map(view).collect::<Result<_, _>>()?;
        let is_full = items.len() as i64 == PAGE_ENTRIES;
        let next = items.last().filter(|_| is_full).map(|last| last.customer_id);
        Ok(Page { items, next })
    }
}

const CUSTOMERS: &str = "SELECT customers.*, (SELECT count(*) FROM orders \
     WHERE orders.customer_id = customers.customer_id) AS orders FROM customers";

fn one(work: &mut Work<'_>, customer_id: i64) -> Result<Row, StoreError> {
    let sql = format!("{CUSTOMERS} WHERE customer_id = ?1");
    work.row(&sql, values![customer_id])?.ok_or(StoreError::NoCustomer)
}

fn view(row: &Row) -> Result<CustomerView, StoreError> {
    Ok(CustomerView {
        customer_id: row.get("customer_id")?,
        created: row.get("created")?,
        customer: CustomerBody {
            name: row.get("name")?,
            itn: row.get("itn")?,
            iec: row.get("iec")?,
            mail: row.get("mail")?,
            note: row.get("note")?,
        },
        orders: row.get("orders")?,
    })
}

fn noted(
    work: &mut Work<'_>,
    action: &'static str,
    customer_id: i64,
    actor: &Actor,
    now: Utc,
) -> Result<(), StoreError> {
    // The name stays out: a customer that was removed is removed.
    let detail = format!("customer {customer_id}");
    Ok(note(work, actor, now, Note { action, detail: Some(&detail), ..Note::default() })?)
}

/// What the search looks at. Small letters are made here, for the databases do not agree on those
/// that are not Latin.
fn folded(call: &CustomerCall) -> String {
    let rest = [&call.mail, &call.itn].map(|text| text.as_deref().unwrap_or_default());
    format!("{} {} {}", call.name, rest[0], rest[1]).to_lowercase()
}

/// A text as a part of a pattern of LIKE, with `!` before what means something there.
pub(super) fn escaped(text: &str) -> String {
    text.replace('!', "!!").replace('%', "!%").replace('_', "!_")
}

/// A pattern of LIKE for texts in small letters that hold `text`.
pub(super) fn pattern(text: &str) -> String {
    format!("%{}%", escaped(&text.to_lowercase()))
}
