//! Books in PostgreSQL: one connection, one centre at a time, a connection that is lost and comes
//! back.
//!
//! Connects, begins, carries out; what the statements say is not decided here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postgres::config::{Host, SslMode};
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Config, NoTls, Statement};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::sql::{Engine, Row, SqlError, Value, with_dollars};

/// How long connecting may take: a person waits for the start, and requests for a lost connection.
const CONNECT: Duration = Duration::from_secs(10);

/// What every connection is told. A statement of ours takes milliseconds: one that hangs must not
/// hold the only thread of the books for ever. The lock waits a little for the session of a centre
/// that was just killed.
const SET_UP: &str = "SET synchronous_commit = on; SET statement_timeout = '30s'; \
     SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '60s'; \
     SET client_min_messages = warning; SET standard_conforming_strings = on";

/// The advisory lock that keeps a second centre out; "licences" in ASCII.
const LOCK: i64 = 0x6C69_6365_6E63_6573;

/// Prepared statements that are kept; the store has fewer.
const STATEMENTS_MAX: usize = 256;

/// A database of PostgreSQL.
pub(super) struct Postgres {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    client: Client,
    statements: BTreeMap<String, Statement>,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration holds a password.
        f.debug_struct("Postgres").finish_non_exhaustive()
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut postgres::types::private::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(number) if *ty == Type::INT4 => i32::try_from(*number)?.to_sql(ty, out),
            Self::Int(number) if *ty == Type::BOOL => (*number != 0).to_sql(ty, out),
            Self::Int(number) => number.to_sql_checked(ty, out),
            Self::Text(text) => text.to_sql_checked(ty, out),
            Self::Bytes(bytes) => bytes.to_sql_checked(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl Postgres {
    /// Connects to the database that a `postgres://` address names. Certificates of servers are
    /// checked against `ca`, a PEM file, or the authorities of the system.
    pub(super) fn open(url: &str, ca: Option<&Path>) -> Result<Self, SqlError> {
        let mut config: Config = url.parse()?;
        config.application_name("licencecentre").connect_timeout(CONNECT);
        config.keepalives_idle(Duration::from_secs(60)).tcp_user_timeout(Duration::from_secs(30));
        // Through a socket of the system nothing travels.
        let is_local = config.get_hosts().iter().all(|host| !matches!(host, Host::Tcp(_)));
        let in_the_clear = is_local || config.get_ssl_mode() == SslMode::Disable;
        let tls = if in_the_clear { None } else { Some(tls(ca)?) };
        let client = connect(&config, tls.as_ref())?;
        Ok(Self { config, tls, client, statements: BTreeMap::new() })
    }

    fn prepare(&mut self, sql: &str) -> Result<Statement, SqlError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(&with_dollars(sql))?;
        if self.statements.len() == STATEMENTS_MAX {
            self.statements.clear();
        }
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

fn connect(config: &Config, tls: Option<&MakeRustlsConnect>) -> Result<Client, SqlError> {
    let mut client = match tls {
        Some(tls) => config.connect(tls.clone())?,
        None => config.connect(NoTls)?,
    };
    client.batch_execute(SET_UP)?;
    // It goes with the connection, however that ends.
    match client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]) {
        Ok(_) => Ok(client),
        Err(error) if error.code() == Some(&postgres::error::SqlState::LOCK_NOT_AVAILABLE) => {
            Err(SqlError::InUse)
        }
        Err(error) => Err(error.into()),
    }
}

fn tls(ca: Option<&Path>) -> Result<MakeRustlsConnect, SqlError> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(path) = ca {
        let wrong =
            |why: &dyn fmt::Display| SqlError::Certificates(format!("{}: {why}", path.display()));
        let found = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
        for certificate in found {
            let certificate = certificate.map_err(|error| wrong(&error))?;
            roots.add(certificate).map_err(|error| wrong(&error))?;
        }
        if roots.is_empty() {
            return Err(wrong(&"no certificate"));
        }
    } else {
        let found = rustls_native_certs::load_native_certs();
        let (_, _) = roots.add_parsable_certificates(found.certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SqlError::Certificates(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

impl Engine for Postgres {
    fn begin(&mut self) -> Result<(), SqlError> {
        match self.client.batch_execute("BEGIN") {
            Ok(()) => Ok(()),
            Err(_) if self.client.is_closed() => {
                log::warn!("the connection to the database is lost; connecting again");
                self.statements.clear();
                self.client = connect(&self.config, self.tls.as_ref())?;
                log::info!("connected to the database again");
                Ok(self.client.batch_execute("BEGIN")?)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn commit(&mut self) -> Result<(), SqlError> {
        Ok(self.client.batch_execute("COMMIT")?)
    }

    fn rollback(&mut self) {
        if let Err(error) = self.client.batch_execute("ROLLBACK")
            && !self.client.is_closed()
        {
            log::error!("PostgreSQL does not undo: {error}");
        }
    }

    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, SqlError> {
        let statement = self.prepare(sql)?;
        let values: Vec<&(dyn ToSql + Sync)> =
            values.iter().map(|value| -> &(dyn ToSql + Sync) { value }).collect();
        Ok(self.client.execute(&statement, &values)?)
    }

    fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, SqlError> {
        let statement = self.prepare(sql)?;
        let columns: Arc<[String]> =
            statement.columns().iter().map(|column| column.name().to_owned()).collect();
        let values: Vec<&(dyn ToSql + Sync)> =
            values.iter().map(|value| -> &(dyn ToSql + Sync) { value }).collect();
        let rows = self.client.query(&statement, &values)?;
        rows.iter()
            .map(|row| {
                let values: Result<Vec<_>, SqlError> =
                    (0..columns.len()).map(|at| value_of(row, at)).collect();
                Ok(Row::new(Arc::clone(&columns), values?))
            })
            .collect()
    }

    fn script(&mut self, sql: &str) -> Result<(), SqlError> {
        Ok(self.client.batch_execute(sql)?)
    }
}

fn value_of(row: &postgres::Row, at: usize) -> Result<Value, SqlError> {
    let column = &row.columns()[at];
    let read = match *column.type_() {
        Type::INT8 => row.try_get::<_, Option<i64>>(at)?.map(Value::Int),
        Type::INT4 => row.try_get::<_, Option<i32>>(at)?.map(|n| Value::Int(n.into())),
        Type::BOOL => row.try_get::<_, Option<bool>>(at)?.map(Value::from),
        Type::TEXT => row.try_get::<_, Option<String>>(at)?.map(Value::Text),
        Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(at)?.map(Value::Bytes),
        _ => return Err(SqlError::Column(column.name().to_owned())),
    };
    Ok(read.unwrap_or(Value::Null))
}
