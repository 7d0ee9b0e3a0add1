//! The books on disk: orders, codes, activations and everything around them, in SQLite or
//! PostgreSQL.
//!
//! Every call is one transaction, on disk when it returns, with its line in the audit trail. What
//! may be done is decided in `decide`; the store fetches the facts and keeps the outcome, both
//! within the transaction, so that two servers with one code cannot both win.

use std::path::{Path, PathBuf};

use licence_core::activation::ActivationCode;
use licence_core::activation_request::Protection;
use licence_core::causes::with_causes;
use licence_core::centre_request::ReturnReason;
use licence_core::holder::TokenKey;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::seal::{KEY_BYTES, PublicKey};
use licence_core::time::Utc;
use licencekit::random::{self, RandomError};
use licencekit::vendor::VendorError;

mod activations;
mod blanks;
mod customers;
mod holders;
mod keys;
mod licences;
mod orders;
mod places;
mod postgres;
mod reports;
mod rows;
mod settings;
pub(crate) mod sql;
mod sqlite;
mod unsigned;

pub use self::sql::SqlError;

use self::postgres::Postgres;
use self::sql::{Engine, Work, values};
use self::sqlite::Sqlite;
use crate::access::Actor;
use crate::access::ledger::AccountDenial;
use crate::decide::moves::AskedReturn;
use crate::decide::{Asked, Denial};
use crate::issue::IssueError;

/// Orders on one page of the list. An order has up to 1000 codes of some 150 bytes, so a page
/// stays below 8 MB.
pub const PAGE_ORDERS: i64 = 50;

/// Entries on one page of every other list: some 200 bytes each.
pub const PAGE_ENTRIES: i64 = 100;

/// Licences that one answer brings back at most. A server has some dozens of keys of one vendor;
/// with some 2 KiB each the answer stays below half a megabyte. The latest are taken.
pub const LICENCES_MAX: usize = 200;

/// Bytes of the licences that one answer brings back at most: with the descriptors of their series
/// it stays below the megabyte that a server takes. Licences with many parameters have up to 16 KiB,
/// so some sixty of the largest fit.
pub const LICENCES_BYTES_MAX: usize = 960 * 1024;

/// Receipts of ended activations that one answer brings at most, the latest: a server that was away
/// for years has lost a few keys.
pub const ENDED_MAX: usize = 100;

/// Key numbers of one centre. A licence server holds one key of a number, so two vendors whose
/// customers share a server must not number alike; and no vendor sells more keys in a lifetime.
const BLOCK_NUMBERS: u32 = 1_000_000;

/// Blocks to draw from: the last one ends below 2^32. Two centres draw the same one time in 4290.
const BLOCKS: u32 = 4_290;

/// First number of block 0. Smaller numbers are those that people invent for examples.
const FIRST_NUMBER: u32 = 1_000_001;

const _: () = assert!(FIRST_NUMBER as u64 + BLOCKS as u64 * BLOCK_NUMBERS as u64 <= 1 << 32);

/// Steps of the schema in SQLite; the n-th leads from version n to n + 1. A released step is never
/// changed.
const SQLITE_STEPS: [&str; 7] = [
    include_str!("schema/v1.sql"),
    include_str!("schema/v2.sql"),
    include_str!("schema/v3.sql"),
    include_str!("schema/v4.sql"),
    include_str!("schema/v5.sql"),
    include_str!("schema/v6.sql"),
    include_str!("schema/v7.sql"),
];

/// Steps of the schema in PostgreSQL, where the books began with version 4: the first makes all of
/// it.
const POSTGRES_STEPS: [&str; 7] = [
    "",
    "",
    "",
    include_str!("schema/postgres/v4.sql"),
    include_str!("schema/postgres/v5.sql"),
    include_str!("schema/postgres/v6.sql"),
    include_str!("schema/postgres/v7.sql"),
];

/// Where the books lie.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// In a file of SQLite.
    File(PathBuf),
    /// In a database of PostgreSQL.
    Postgres {
        /// Its `postgres://` address; may hold a password.
        url: String,
        /// PEM file with the authorities that its certificate is checked against; those of the
        /// system without it.
        ca: Option<PathBuf>,
    },
}

/// The books.
#[derive(Debug)]
pub struct Store {
    engine: Box<dyn Engine>,
}

/// An activation to carry out; its request has proved genuine.
#[derive(Clone, Debug)]
pub struct Activation {
    /// The code.
    pub code: ActivationCode,
    /// What is asked.
    pub asked: Asked,
    /// Who asks.
    pub asker: Asker,
}

/// What a server says of itself beside its key.
#[derive(Clone, Debug)]
pub struct Asker {
    /// Hardware fingerprint of the server, 40 upper-case hex digits.
    pub computer_id: String,
    /// Version of the server.
    pub server_version: String,
    /// The last mark that it got.
    pub mark: Option<String>,
    /// Whether its request is read out: that shows no mark, and the answer carries none.
    pub is_read_out: bool,
}

/// A demonstration key without a code; its request has proved genuine.
#[derive(Clone, Debug)]
pub struct DemoAsked {
    /// The series.
    pub series: KeySeries,
    /// What is asked.
    pub asked: Asked,
    /// Who asks.
    pub asker: Asker,
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
    /// The mark of the answer; nothing for one that is read out.
    pub mark: Option<String>,
}

/// A key to take back; its request has proved genuine.
#[derive(Clone, Debug)]
pub struct Returning {
    /// What is asked.
    pub asked: AskedReturn,
    /// Id of the activation that shall end.
    pub activation_id: String,
    /// Why.
    pub reason: Option<ReturnReason>,
    /// Why, in a person's words.
    pub note: Option<String>,
}

/// A spare code that a server wants; its request has proved genuine.
#[derive(Clone, Debug)]
pub struct SpareAsked {
    /// What is asked.
    pub asked: AskedReturn,
    /// Id of the activation that it is for.
    pub activation_id: String,
}

/// What a return gave.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Returned {
    /// The code that installs the key again.
    pub reserve_code: ActivationCode,
    /// The signed receipt of it.
    pub receipt: String,
    /// When the key was given back.
    pub at: Utc,
    /// Whether it was given back by this very call.
    pub first: bool,
}

/// A question for licences; its request has proved genuine.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The asking server.
    pub server: PublicKey,
    /// Tokens that are plugged into it.
    pub tokens: Vec<TokenKey>,
    /// The key for which object keys shall be wrapped.
    pub enc: Option<[u8; KEY_BYTES]>,
    /// How its identity is kept, as it says.
    pub protection: Option<Protection>,
    /// Who asks.
    pub asker: Asker,
}

/// What a question for licences brings.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Listed {
    /// The licences, the latest first.
    pub licences: Vec<Held>,
    /// Signed receipts of activations that ended without the server.
    pub ended: Vec<String>,
    /// The mark of the answer.
    pub mark: Option<String>,
}

/// A licence that is bound to the asking server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// Its series.
    pub series: KeySeries,
    /// The document.
    pub licence: String,
}

/// Which orders are listed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OrdersFilter {
    /// Those below this number.
    pub before: Option<i64>,
    /// This one.
    pub order_id: Option<i64>,
    /// Those of a customer.
    pub customer_id: Option<i64>,
    /// Those of a series.
    pub series: Option<KeySeries>,
}

/// Which moves are listed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MovesFilter {
    /// Those below this number of an activation.
    pub before: Option<i64>,
    /// Those of a key.
    pub key_no: Option<KeyNo>,
}

/// Why a call of the store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The accounts are not what they should become.
    #[error(transparent)]
    Account(#[from] AccountDenial),
    /// Orders name the customer.
    #[error("orders name the customer")]
    CustomerHasOrders,
    /// The books contradict themselves.
    #[error("the books are damaged: {0}")]
    Damaged(&'static str),
    /// The rules forbid it.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The licence could not be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The database was written by a later version.
    #[error("the books have schema {0}; a newer program is needed")]
    Newer(i64),
    /// There is no such token.
    #[error("no such token")]
    NoBlank,
    /// There is no such customer.
    #[error("no such customer")]
    NoCustomer,
    /// There is no such key, or it is not the asker's to see.
    #[error("no such key")]
    NoKey,
    /// No key numbers are left.
    #[error("no key numbers are left")]
    NoNumbers,
    /// There is no such order.
    #[error("no such order")]
    NoOrder,
    /// The centre does not serve this series.
    #[error("no such series")]
    NoSeries,
    /// There is no such suspicion.
    #[error("no such suspicion")]
    NoSuspicion,
    /// Nothing of this number waits for a signature.
    #[error("no such document waits for a signature")]
    NoUnsigned,
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// A receipt could not be signed.
    #[error("a receipt cannot be written as JSON")]
    Receipt(#[source] serde_json::Error),
    /// The document is not signed by the key of its series, or says something else than what waits:
    /// this claim.
    #[error("not the document that waits, signed by the key of its series ({0:?})")]
    Signature(Option<String>),
    /// It is done and kept; the document waits for the vendor's signature.
    #[error("the document waits for the vendor's signature")]
    SignaturePending,
    /// The database refused.
    #[error("database")]
    Sql(#[from] SqlError),
    /// What the vendor asks for is outside its limits.
    #[error(transparent)]
    Vendor(#[from] VendorError),
}

impl Store {
    /// Opens books in a file, making or upgrading them where needed.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::at(&Place::File(path.to_owned()))
    }

    /// Opens books, making or upgrading them where needed.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn at(place: &Place) -> Result<Self, StoreError> {
        match place {
            Place::File(path) => {
                let mut engine = Sqlite::open(path)?;
                migrate(&mut engine, &SQLITE_STEPS, Versions::Sqlite)?;
                Ok(Self { engine: Box::new(engine) })
            }
            Place::Postgres { url, ca } => {
                let mut engine = Postgres::open(url, ca.as_deref())?;
                migrate(&mut engine, &POSTGRES_STEPS, Versions::Postgres)?;
                Ok(Self { engine: Box::new(engine) })
            }
        }
    }

    /// Begins a transaction.
    pub(crate) fn begin(&mut self) -> Result<Work<'_>, SqlError> {
        Work::begin(self.engine.as_mut())
    }
}

/// Where the version of the schema stands.
#[derive(Clone, Copy, Debug)]
enum Versions {
    Postgres,
    Sqlite,
}

fn migrate(engine: &mut dyn Engine, steps: &[&str], versions: Versions) -> Result<(), StoreError> {
    let mut work = Work::begin(engine)?;
    let version: i64 = match versions {
        Versions::Sqlite => work.value("user_version", "PRAGMA user_version", &[])?,
        Versions::Postgres => {
            work.script("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")?;
            let row = work.row("SELECT version FROM schema_version", &[])?;
            row.map_or(Ok(0), |row| row.get("version"))?
        }
    };
    let done = usize::try_from(version).map_err(|_| StoreError::Newer(version))?;
    for step in steps.get(done..).ok_or(StoreError::Newer(version))? {
        work.script(step)?;
    }
    if done == 0 {
        let drawn = u128::from_le_bytes(random::id_bytes()?);
        let first = first_number(drawn);
        work.execute("UPDATE counters SET next = ?1 WHERE name = 'key_no'", values![first])?;
    }
    let latest = steps.len();
    if done < latest {
        match versions {
            Versions::Sqlite => work.script(&format!("PRAGMA user_version = {latest}"))?,
            Versions::Postgres => work.script(&format!(
                "DELETE FROM schema_version; INSERT INTO schema_version VALUES ({latest})"
            ))?,
        }
    }
    Ok(work.commit()?)
}

/// First number of the block that a random number means.
fn first_number(drawn: u128) -> i64 {
    // Below 2^32 by the assertion beside the constants.
    let block = (drawn % u128::from(BLOCKS)) as i64;
    i64::from(FIRST_NUMBER) + i64::from(BLOCK_NUMBERS) * block
}

/// A line for the audit trail.
#[derive(Clone, Debug, Default)]
pub(crate) struct Note<'a> {
    /// What was done.
    pub(crate) action: &'static str,
    /// The key, if it is about one.
    pub(crate) key_no: Option<KeyNo>,
    /// The order, if it is about one.
    pub(crate) order_id: Option<i64>,
    /// More words, without any secret.
    pub(crate) detail: Option<&'a str>,
}

/// Writes a line of the audit trail, in the transaction of what it tells.
pub(crate) fn note(
    work: &mut Work<'_>,
    actor: &Actor,
    now: Utc,
    note: Note<'_>,
) -> Result<(), SqlError> {
    let (who, role) = match actor.role {
        Some(role) => (actor.name.as_str(), role.name()),
        None if actor.name.is_empty() => ("customer", "customer"),
        None => (actor.name.as_str(), "server"),
    };
    work.execute(
        "INSERT INTO audit (at, who, role, address, action, key_no, order_id, detail) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        values![
            now,
            who,
            role,
            actor.from.map(|address| address.to_string()),
            note.action,
            note.key_no.map(|key| key.0),
            note.order_id,
            note.detail,
        ],
    )?;
    Ok(())
}

/// A code as logs and the audit trail may show it: who reads them must not be able to activate.
pub(crate) fn masked(code: ActivationCode) -> String {
    let text = code.to_string();
    format!("…{}", text.get(text.len() - 5..).unwrap_or_default())
}

/// What was made instead of a document, or nothing where that one stays. A document that is not the
/// series' stays worth having as it is.
fn or_as_it_was(made: Result<Option<String>, IssueError>) -> Result<Option<String>, IssueError> {
    match made {
        Err(IssueError::Licence(error)) => {
            log::error!("a licence cannot be issued again: {}", with_causes(&error));
            Ok(None)
        }
        result => result,
    }
}

#[cfg(test)]
mod tests;
