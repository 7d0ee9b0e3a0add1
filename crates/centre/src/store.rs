//! The books on disk: orders, codes, activations, in SQLite.
//!
//! Every call is one transaction, on disk when it returns. What may be activated is decided in
//! `decide`; the store fetches the facts and keeps the outcome, both within the transaction, so
//! that two servers with one code cannot both win.

use std::path::Path;
use std::time::Duration;

use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::key::{KeyKind, KeyNo, KeySeries};
use licence_core::seal::{PublicKey, hex_upper};
use licence_core::time::Utc;
use licencekit::order::{IssuedCode, OrderAnswer, OrderCall, OrderKind, OrderList, OrderView};
use licencekit::random::{self, RandomError};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

mod rows;

use rows::{code_of, moment, order_of, parameters_text, reserve_code, term};

use crate::decide::{
    ActivationFacts, Asked, AskedReturn, CodeFacts, Decision, Denial, Issued, ReturnDecision,
    decide, decide_return, is_current,
};
use crate::issue::{Before, Granted, IssueError};

/// Orders on one page of the list. An order has up to 1000 codes of some 150 bytes, so a page
/// stays below 8 MB.
pub const PAGE_ORDERS: i64 = 50;

/// Licences that one answer brings back at most. A server has some dozens of keys of one vendor;
/// with some 2 KiB each the answer stays below half a megabyte. The latest are taken.
pub const LICENCES_MAX: usize = 200;

/// Bytes of the licences that one answer brings back at most: with the descriptors of their series
/// it stays below the megabyte that a server takes. Licences with many parameters have up to 16 KiB,
/// so some sixty of the largest fit.
pub const LICENCES_BYTES_MAX: usize = 960 * 1024;

/// How long another program (a backup, an administrator with `sqlite3`) may hold the database.
const BUSY: Duration = Duration::from_secs(5);

/// Key numbers of one centre. A licence server holds one key of a number, so two vendors whose
/// customers share a server must not number alike; and no vendor sells more keys in a lifetime.
const BLOCK_NUMBERS: u32 = 1_000_000;

/// Blocks to draw from: the last one ends below 2^32. Two centres draw the same one time in 4290.
const BLOCKS: u32 = 4_290;

/// First number of block 0. Smaller numbers are those that people invent for examples.
const FIRST_NUMBER: u32 = 1_000_001;

const _: () = assert!(FIRST_NUMBER as u64 + BLOCKS as u64 * BLOCK_NUMBERS as u64 <= 1 << 32);

/// Steps of the schema; the n-th leads from version n to n + 1. A released step is never changed.
const MIGRATIONS: [&str; 3] =
    [include_str!("schema/v1.sql"), include_str!("schema/v2.sql"), include_str!("schema/v3.sql")];

/// The books.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
}

/// An activation to carry out; its request has proved genuine.
#[derive(Clone, Debug)]
pub struct Activation {
    /// The code.
    pub code: ActivationCode,
    /// What is asked.
    pub asked: Asked,
    /// Hardware fingerprint of the server, 40 upper-case hex digits.
    pub computer_id: String,
    /// Version of the server.
    pub server_version: String,
}

/// What an activation gave.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Activated {
    /// The licence document.
    pub licence: String,
    /// Whether it was issued by this very call.
    pub first: bool,
    /// Serial number of the key.
    pub key_no: KeyNo,
}

/// A key to take back; its request has proved genuine.
#[derive(Clone, Debug)]
pub struct Returning {
    /// What is asked.
    pub asked: AskedReturn,
    /// Id of the activation that shall end.
    pub activation_id: String,
    /// Why, in a person's words.
    pub note: Option<String>,
}

/// What a return gave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Returned {
    /// The code that installs the key again.
    pub reserve_code: ActivationCode,
    /// When the key was given back.
    pub at: Utc,
    /// Whether it was given back by this very call.
    pub first: bool,
}

/// A licence that is bound to the asking server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// Its series.
    pub series: KeySeries,
    /// The document.
    pub licence: String,
}

/// Why a call of the store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The rules forbid the activation.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The licence could not be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The database was written by a later version.
    #[error("the books have schema {0}; a newer program is needed")]
    Newer(i64),
    /// There is no such order.
    #[error("no such order")]
    NoOrder,
    /// No key numbers are left.
    #[error("no key numbers are left")]
    NoNumbers,
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The books contradict themselves.
    #[error("the books are damaged: {0}")]
    Damaged(&'static str),
    /// The database refused.
    #[error("database")]
    Sqlite(#[from] rusqlite::Error),
}

impl Store {
    /// Opens the books, making or upgrading them where needed.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        make_private(path);
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // FULL syncs the log at each commit: a licence that left is never forgotten.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        migrate(&mut connection)?;
        Ok(Self { connection })
    }

    fn begin(&mut self) -> Result<Transaction<'_>, rusqlite::Error> {
        self.connection.transaction_with_behavior(TransactionBehavior::Immediate)
    }

    /// Takes an order that is within its limits: numbers its keys and draws their codes.
    ///
    /// # Errors
    ///
    /// See [`StoreError`]; nothing is kept then.
    pub fn add_order(&mut self, order: &OrderCall, now: Utc) -> Result<OrderAnswer, StoreError> {
        let transaction = self.begin()?;
        transaction.execute(
            "INSERT INTO orders (created, series, kind, seats, count, period, start_date, \
             expire_date, flags, product_version, service_type, reg_no, article, article_name, \
             itn, iec, note, product_version_name, support_date, support_period, \
             industry_support_date, industry_support_period, parameters) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, \
             ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)",
            params![
                now.unix_millis(),
                order.series.to_string(),
                KeyKind::from(order.kind).code(),
                order.seats,
                order.count,
                order.period,
                order.start_date.map(Utc::unix_millis),
                order.expire_date.map(Utc::unix_millis),
                order.flags.0,
                order.product_version,
                order.service_type,
                order.reg_no,
                order.article,
                order.article_name,
                order.itn,
                order.iec,
                order.note,
                order.product_version_name,
                order.support_date.map(Utc::unix_millis),
                order.support_period,
                order.industry_support_date.map(Utc::unix_millis),
                order.industry_support_period,
                parameters_text(&order.parameters)?,
            ],
        )?;
        let order_id = transaction.last_insert_rowid();
        let first: i64 = transaction.query_row(
            "UPDATE counters SET next = next + ?1 WHERE name = 'key_no' RETURNING next - ?1",
            [order.count],
            |row| row.get(0),
        )?;
        let mut codes = Vec::new();
        for offset in 0..i64::from(order.count) {
            let number = u32::try_from(first + offset).map_err(|_| StoreError::NoNumbers)?;
            let secret = u128::from_le_bytes(random::id_bytes()?);
            let code = ActivationCode::encode(CodeKind::Activation, order.series, secret);
            // A code drawn twice (one in 2^78) breaks the primary key and the whole order.
            transaction.execute(
                "INSERT INTO codes (code, key_no, order_id) VALUES (?1, ?2, ?3)",
                params![code.to_string(), number, order_id],
            )?;
            codes.push(IssuedCode { code, key_no: KeyNo(number) });
        }
        transaction.commit()?;
        Ok(OrderAnswer { order_id, codes })
    }

    /// Carries out an activation: decides on the facts in the books and keeps the licence that
    /// `make` gives for what they grant. A licence that was issued before goes through `renew`,
    /// which gives another one in its place or nothing; what it gives is kept.
    ///
    /// # Errors
    ///
    /// [`StoreError::Denied`] by the rules; nothing is kept then.
    pub fn activate(
        &mut self,
        activation: &Activation,
        now: Utc,
        make: impl FnOnce(Granted<'_>) -> Result<String, IssueError>,
        renew: impl FnOnce(&str) -> Result<Option<String>, IssueError>,
    ) -> Result<Activated, StoreError> {
        let transaction = self.begin()?;
        let found = find(&transaction, activation)?;
        let decision = decide(&activation.asked, found.as_ref().map(|found| &found.facts), now)?;
        let Some(Found { order, key_no, before, .. }) = found else {
            return Err(Denial::Unknown.into());
        };
        if let Decision::Repeat(licence) = decision {
            let licence = match renew(&licence)? {
                Some(renewed) => {
                    transaction.execute(
                        "UPDATE activations SET licence = ?2 WHERE code = ?1",
                        params![activation.code.to_string(), renewed],
                    )?;
                    transaction.commit()?;
                    renewed
                }
                None => licence,
            };
            return Ok(Activated { licence, first: false, key_no });
        }
        let activation_id = hex_upper(&random::id_bytes()?);
        let licence = make(Granted {
            order: &order,
            key_no,
            activation_id: &activation_id,
            before: before.as_ref(),
        })?;
        transaction.execute(
            "INSERT INTO activations (key_no, activation_id, code, activated, holder, \
             computer_id, server_version, itn, iec, licence) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                key_no.0,
                activation_id,
                activation.code.to_string(),
                now.unix_millis(),
                activation.asked.holder.as_bytes(),
                activation.computer_id,
                activation.server_version,
                activation.asked.itn,
                activation.asked.iec,
                licence,
            ],
        )?;
        if order.kind == OrderKind::Demo {
            transaction.execute(
                "INSERT INTO demos (series, computer_id, key_no) VALUES (?1, ?2, ?3)",
                params![order.series.to_string(), activation.computer_id, key_no.0],
            )?;
        }
        transaction.commit()?;
        Ok(Activated { licence, first: true, key_no })
    }

    /// Takes a key back from the server that holds it, for a reserve code; the same code again when
    /// it was given back before.
    ///
    /// # Errors
    ///
    /// [`StoreError::Denied`] by the rules; nothing is kept then.
    pub fn take_back(&mut self, returning: &Returning, now: Utc) -> Result<Returned, StoreError> {
        let transaction = self.begin()?;
        let facts = activation_facts(&transaction, &returning.activation_id)?;
        let series = returning.asked.series;
        match decide_return(&returning.asked, facts.as_ref())? {
            ReturnDecision::Repeat(at, reserve_code) => {
                Ok(Returned { reserve_code, at, first: false })
            }
            ReturnDecision::Take => {
                let secret = u128::from_le_bytes(random::id_bytes()?);
                let reserve_code = ActivationCode::encode(CodeKind::Reserve, series, secret);
                transaction.execute(
                    "UPDATE activations SET returned = ?2, reserve_code = ?3, return_note = ?4 \
                     WHERE activation_id = ?1",
                    params![
                        returning.activation_id,
                        now.unix_millis(),
                        reserve_code.to_string(),
                        returning.note,
                    ],
                )?;
                transaction.commit()?;
                Ok(Returned { reserve_code, at: now, first: true })
            }
        }
    }

    /// The licences that are bound to a server and current, the latest first, at most
    /// [`LICENCES_MAX`] of at most [`LICENCES_BYTES_MAX`]. Each goes through `renew`, which gives
    /// another one in its place or nothing; what it gives is kept before this returns.
    ///
    /// # Errors
    ///
    /// See [`StoreError`]; nothing is kept then.
    pub fn licences(
        &mut self,
        holder: &PublicKey,
        now: Utc,
        renew: impl Fn(KeySeries, &str) -> Result<Option<String>, IssueError>,
    ) -> Result<Vec<Held>, StoreError> {
        let transaction = self.begin()?;
        let held = held_by(&transaction, holder, now, renew)?;
        transaction.commit()?;
        Ok(held)
    }

    /// Revokes an order; the moment of the first revocation stays.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoOrder`] when there is none of this number.
    pub fn revoke(&mut self, order_id: i64, now: Utc) -> Result<(), StoreError> {
        let changed = self.connection.execute(
            "UPDATE orders SET revoked = coalesce(revoked, ?2) WHERE order_id = ?1",
            params![order_id, now.unix_millis()],
        )?;
        if changed == 0 { Err(StoreError::NoOrder) } else { Ok(()) }
    }

    /// A page of orders below the number `before`, newest first, with their codes.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn orders(&mut self, before: Option<i64>) -> Result<OrderList, StoreError> {
        let transaction = self.connection.transaction()?;
        let mut list = OrderList::default();
        let mut orders = transaction.prepare_cached(
            "SELECT * FROM orders WHERE order_id < ?1 ORDER BY order_id DESC LIMIT ?2",
        )?;
        let mut codes = transaction.prepare_cached(
            "SELECT codes.code AS code, codes.key_no AS key_no, activated, computer_id, \
             reserve_code FROM codes LEFT JOIN activations ON activation_no = \
             (SELECT max(activation_no) FROM activations AS every \
             WHERE every.key_no = codes.key_no) WHERE order_id = ?1 ORDER BY codes.key_no",
        )?;
        let mut rows = orders.query(params![before.unwrap_or(i64::MAX), PAGE_ORDERS])?;
        while let Some(row) = rows.next()? {
            let order_id: i64 = row.get("order_id")?;
            let mut view = OrderView {
                order_id,
                created: Utc::from_unix_millis(row.get("created")?),
                revoked: moment(row, "revoked")?,
                order: order_of(row)?,
                codes: Vec::new(),
            };
            let mut of_order = codes.query([order_id])?;
            while let Some(row) = of_order.next()? {
                view.codes.push(code_of(row)?);
            }
            list.orders.push(view);
        }
        if list.orders.len() as i64 == PAGE_ORDERS {
            list.next = list.orders.last().map(|view| view.order_id);
        }
        Ok(list)
    }
}

/// SQLite gives its log files the mode of the database file, so the file is made before SQLite
/// does. When that fails SQLite fails too, with a message of its own.
fn make_private(path: &Path) {
    let mut options = std::fs::OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let _made_or_there_already = options.open(path);
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(version).map_err(|_| StoreError::Newer(version))?;
    let steps = MIGRATIONS.get(done..).ok_or(StoreError::Newer(version))?;
    for step in steps {
        transaction.execute_batch(step)?;
    }
    if done == 0 {
        let drawn = u128::from_le_bytes(random::id_bytes()?);
        let first = first_number(drawn);
        transaction.execute("UPDATE counters SET next = ?1 WHERE name = 'key_no'", [first])?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    transaction.commit()?;
    Ok(())
}

/// First number of the block that a random number means.
fn first_number(drawn: u128) -> i64 {
    // Below 2^32 by the assertion beside the constants.
    let block = (drawn % u128::from(BLOCKS)) as i64;
    i64::from(FIRST_NUMBER) + i64::from(BLOCK_NUMBERS) * block
}

/// What the books know of a code.
struct Found {
    order: OrderCall,
    key_no: KeyNo,
    /// First activation of the key, for a reserve code.
    before: Option<Before>,
    facts: CodeFacts,
}

fn find(
    transaction: &Transaction<'_>,
    activation: &Activation,
) -> Result<Option<Found>, StoreError> {
    // An activation code is in `codes`, a reserve code with the activation that it ended.
    let mut statement = transaction.prepare_cached(
        "SELECT orders.*, wanted.key_no AS key_no, made.holder AS holder, \
         made.licence AS licence, made.returned AS returned, first.activated AS first_activated, \
         first.itn AS first_itn, first.iec AS first_iec, \
         EXISTS (SELECT 1 FROM demos WHERE demos.series = orders.series \
         AND demos.computer_id = ?2 AND demos.key_no <> wanted.key_no) AS demo_used \
         FROM (SELECT key_no FROM codes WHERE code = ?1 UNION ALL \
         SELECT key_no FROM activations WHERE reserve_code = ?1) AS wanted \
         JOIN codes ON codes.key_no = wanted.key_no JOIN orders USING (order_id) \
         LEFT JOIN activations AS made ON made.code = ?1 \
         LEFT JOIN activations AS first ON first.activation_no = (SELECT min(activation_no) \
         FROM activations AS every WHERE every.key_no = wanted.key_no)",
    )?;
    let mut rows = statement.query(params![activation.code.to_string(), activation.computer_id])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let order = order_of(row)?;
    let issued = match (row.get("holder")?, row.get("licence")?) {
        (Some(holder), Some(licence)) => {
            Some(Issued { holder, licence, returned: moment(row, "returned")?.is_some() })
        }
        _ => None,
    };
    let before = match (activation.code.kind(), moment(row, "first_activated")?) {
        (CodeKind::Reserve, Some(activated)) => {
            Some(Before { activated, itn: row.get("first_itn")?, iec: row.get("first_iec")? })
        }
        _ => None,
    };
    let expire = match &before {
        Some(before) => term(&order, before.activated).end(),
        None => order.expire_date,
    };
    let facts = CodeFacts {
        kind: order.kind.into(),
        itn: order.itn.clone(),
        iec: order.iec.clone(),
        expire,
        revoked: row.get::<_, Option<i64>>("revoked")?.is_some(),
        issued,
        demo_used: row.get("demo_used")?,
    };
    Ok(Some(Found { order, key_no: KeyNo(row.get("key_no")?), before, facts }))
}

fn held_by(
    transaction: &Transaction<'_>,
    holder: &PublicKey,
    now: Utc,
    renew: impl Fn(KeySeries, &str) -> Result<Option<String>, IssueError>,
) -> Result<Vec<Held>, StoreError> {
    let mut statement = transaction.prepare_cached(
        "SELECT orders.*, activation_id, licence, (SELECT min(activated) FROM activations AS every \
         WHERE every.key_no = activations.key_no) AS first_activated \
         FROM activations JOIN codes USING (key_no) JOIN orders USING (order_id) \
         WHERE holder = ?1 AND returned IS NULL ORDER BY activation_no DESC",
    )?;
    let mut rows = statement.query(params![holder.as_bytes()])?;
    let mut held: Vec<Held> = Vec::new();
    let mut renewals = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let order = order_of(row)?;
        let end = term(&order, Utc::from_unix_millis(row.get("first_activated")?)).end();
        let revoked = row.get::<_, Option<i64>>("revoked")?.is_some();
        if !is_current(revoked, end, now) {
            continue;
        }
        let mut licence: String = row.get("licence")?;
        if let Some(renewed) = renew(order.series, &licence)? {
            licence.clone_from(&renewed);
            renewals.push((row.get::<_, String>("activation_id")?, renewed));
        }
        bytes += licence.len();
        if held.len() == LICENCES_MAX || bytes > LICENCES_BYTES_MAX {
            log::warn!(
                "a server holds more than {LICENCES_MAX} keys or {LICENCES_BYTES_MAX} bytes of \
                 licences; the oldest are left out"
            );
            break;
        }
        held.push(Held { series: order.series, licence });
    }
    let mut keep = transaction
        .prepare_cached("UPDATE activations SET licence = ?2 WHERE activation_id = ?1")?;
    for (activation_id, licence) in renewals {
        keep.execute(params![activation_id, licence])?;
    }
    Ok(held)
}

fn activation_facts(
    transaction: &Transaction<'_>,
    activation_id: &str,
) -> Result<Option<ActivationFacts>, StoreError> {
    let mut statement = transaction.prepare_cached(
        "SELECT orders.*, holder, activations.key_no AS key_no, returned, reserve_code \
         FROM activations JOIN codes USING (key_no) JOIN orders USING (order_id) \
         WHERE activation_id = ?1",
    )?;
    let mut rows = statement.query([activation_id])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let order = order_of(row)?;
    let returned = match (moment(row, "returned")?, reserve_code(row)?) {
        (Some(at), Some(code)) => Some((at, code)),
        _ => None,
    };
    Ok(Some(ActivationFacts {
        holder: row.get("holder")?,
        key_no: KeyNo(row.get("key_no")?),
        series: order.series,
        kind: order.kind.into(),
        revoked: moment(row, "revoked")?.is_some(),
        returned,
    }))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
