//! The small layer over the two databases that the books may lie in: values, rows, transactions.
//!
//! Every statement of the store is written once, in the dialect that SQLite and PostgreSQL share,
//! with `?1`, `?2`, … for its values. What the statements say is not decided here.

use std::fmt;
use std::sync::Arc;

use licence_core::time::Utc;

/// A value of a statement or a row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

macro_rules! value_from_int {
    ($($int:ty),*) => {
        $(impl From<$int> for Value {
            fn from(value: $int) -> Self {
                Self::Int(i64::from(value))
            }
        })*
    };
}

value_from_int!(i64, u32, u16, u8, bool);

impl From<Utc> for Value {
    fn from(moment: Utc) -> Self {
        Self::Int(moment.unix_millis())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<&Option<String>> for Value {
    fn from(text: &Option<String>) -> Self {
        text.as_ref().map_or(Self::Null, Self::from)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The values of a statement, in their order.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        &[$($crate::store::sql::Value::from($value)),*]
    };
}

pub(crate) use values;

/// Why the database did not do what it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqlError {
    /// Another centre works on this database.
    #[error("another centre works on this database")]
    InUse,
    /// A column is missing or has another type than the store knows.
    #[error("column {0} is not what it should be")]
    Column(String),
    /// A certificate authority cannot be read.
    #[error("certificates for the connection to the database: {0}")]
    Certificates(String),
    /// The connection was lost and did not come back.
    #[error("the connection to the database is lost")]
    Lost,
    /// PostgreSQL refused.
    #[error("PostgreSQL")]
    Postgres(#[from] postgres::Error),
    /// SQLite refused.
    #[error("SQLite")]
    Sqlite(#[from] rusqlite::Error),
}

/// A row of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    pub(crate) const fn new(columns: Arc<[String]>, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    /// The value of a column.
    pub(crate) fn get<T: FromValue>(&self, column: &str) -> Result<T, SqlError> {
        let wrong = || SqlError::Column(column.to_owned());
        let at = self.columns.iter().position(|name| name == column).ok_or_else(wrong)?;
        let value = self.values.get(at).ok_or_else(wrong)?;
        T::from_value(value).ok_or_else(wrong)
    }
}

/// What a value of a row is read as.
pub(crate) trait FromValue: Sized {
    fn from_value(value: &Value) -> Option<Self>;
}

impl FromValue for String {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Text(text) = value { Some(text.clone()) } else { None }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Bytes(bytes) = value { Some(bytes.clone()) } else { None }
    }
}

impl FromValue for i64 {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Int(number) = value { Some(*number) } else { None }
    }
}

impl FromValue for u32 {
    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value)?.try_into().ok()
    }
}

impl FromValue for u8 {
    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value)?.try_into().ok()
    }
}

impl FromValue for bool {
    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).map(|number| number != 0)
    }
}

impl FromValue for Utc {
    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).map(Self::from_unix_millis)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        if *value == Value::Null { Some(None) } else { T::from_value(value).map(Some) }
    }
}

/// A database that carries statements out.
pub(crate) trait Engine: fmt::Debug + Send {
    /// Begins a transaction that no other program writes beside.
    fn begin(&mut self) -> Result<(), SqlError>;

    /// Ends it; on disk when this returns.
    fn commit(&mut self) -> Result<(), SqlError>;

    /// Ends it as if nothing had happened; what fails here the next beginning shows.
    fn rollback(&mut self);

    /// Carries out one statement; how many rows it has changed.
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, SqlError>;

    /// Carries out one statement and brings all its rows.
    fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, SqlError>;

    /// Carries out several statements without values.
    fn script(&mut self, sql: &str) -> Result<(), SqlError>;
}

/// A transaction; without [`Self::commit`] nothing of it is kept.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    engine: &'a mut dyn Engine,
    ended: bool,
}

impl<'a> Work<'a> {
    pub(crate) fn begin(engine: &'a mut dyn Engine) -> Result<Self, SqlError> {
        engine.begin()?;
        Ok(Self { engine, ended: false })
    }

    /// Carries out one statement; how many rows it has changed.
    pub(crate) fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, SqlError> {
        self.engine.execute(sql, values)
    }

    /// All rows of an answer. The statement bounds their number.
    pub(crate) fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, SqlError> {
        self.engine.rows(sql, values)
    }

    /// The only row of an answer, or its first.
    pub(crate) fn row(&mut self, sql: &str, values: &[Value]) -> Result<Option<Row>, SqlError> {
        Ok(self.rows(sql, values)?.into_iter().next())
    }

    /// The only value of the only row, which there must be.
    pub(crate) fn value<T: FromValue>(
        &mut self,
        column: &str,
        sql: &str,
        values: &[Value],
    ) -> Result<T, SqlError> {
        let row = self.row(sql, values)?.ok_or_else(|| SqlError::Column(column.to_owned()))?;
        row.get(column)
    }

    pub(crate) fn script(&mut self, sql: &str) -> Result<(), SqlError> {
        self.engine.script(sql)
    }

    /// Keeps what was done; on disk when this returns.
    pub(crate) fn commit(mut self) -> Result<(), SqlError> {
        // When it fails, nobody knows whether it was kept, and undoing could not help.
        self.ended = true;
        self.engine.commit()
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.engine.rollback();
        }
    }
}

/// A statement in the dialect of PostgreSQL: `?1` becomes `$1`. No text of our statements holds a
/// question mark of its own.
pub(crate) fn with_dollars(sql: &str) -> String {
    sql.replace('?', "$")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_read_as_what_it_is_and_nothing_else() {
        let columns: Arc<[String]> = ["a", "b", "c"].map(str::to_owned).into();
        let row = Row::new(columns, vec![Value::Int(-1), Value::Null, Value::from("x")]);
        assert_eq!(row.get::<i64>("a").unwrap(), -1);
        assert!(row.get::<u32>("a").is_err());
        assert_eq!(row.get::<Option<i64>>("b").unwrap(), None);
        assert!(row.get::<i64>("b").is_err());
        assert_eq!(row.get::<Option<String>>("c").unwrap().as_deref(), Some("x"));
        assert!(row.get::<String>("d").is_err());
    }

    #[test]
    fn places_of_values_are_written_as_postgresql_reads_them() {
        assert_eq!(with_dollars("SELECT ?1, ?12"), "SELECT $1, $12");
    }
}
