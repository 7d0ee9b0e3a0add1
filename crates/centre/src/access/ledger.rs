//! Accounts and tokens in the books: read, kept, with their lines in the audit trail.
//!
//! Each call is one transaction. Which name, role or password may be is decided before; hashes and
//! digests come ready.

use licence_core::seal::hex_upper;
use licence_core::time::Utc;

use super::accounts::{ACCOUNTS_MAX, Account, TOKENS_MAX, Token};
use super::sessions::Digest;
use super::{Actor, Role};
use crate::store::sql::{Row, Work, values};
use crate::store::{Note, SqlError, Store, StoreError, note};

/// Why the books do not do with an account what they are told.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AccountDenial {
    /// An account of this name is there.
    #[error("there is an account of this name")]
    Exists,
    /// Too many accounts or tokens.
    #[error("there are {0} already, no more are taken")]
    Full(u32),
    /// There is no such account.
    #[error("there is no such account")]
    NoAccount,
    /// There is no such token.
    #[error("there is no such token")]
    NoToken,
}

const ACCOUNT: &str = "SELECT name, role, password, created FROM accounts";

impl Store {
    /// The account of this name.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn account(&mut self, name: &str) -> Result<Option<Account>, StoreError> {
        let mut work = self.begin()?;
        find(&mut work, name)
    }

    /// All accounts by name.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn accounts(&mut self) -> Result<Vec<Account>, StoreError> {
        let mut work = self.begin()?;
        let rows =
            work.rows(&format!("{ACCOUNT} ORDER BY name LIMIT ?1"), values![ACCOUNTS_MAX])?;
        rows.iter().map(account_of).collect()
    }

    /// Adds an account with this hash of its password.
    ///
    /// # Errors
    ///
    /// [`AccountDenial::Exists`], [`AccountDenial::Full`], and see [`StoreError`].
    pub fn add_account(
        &mut self,
        name: &str,
        role: Role,
        password: &str,
        actor: &Actor,
        now: Utc,
    ) -> Result<(), StoreError> {
        let mut work = self.begin()?;
        if find(&mut work, name)?.is_some() {
            return Err(AccountDenial::Exists.into());
        }
        let there: u32 = work.value("there", "SELECT count(*) AS there FROM accounts", &[])?;
        if there >= ACCOUNTS_MAX {
            return Err(AccountDenial::Full(ACCOUNTS_MAX).into());
        }
        work.execute(
            "INSERT INTO accounts (name, role, password, created) VALUES (?1, ?2, ?3, ?4)",
            values![name, role.name(), password, now],
        )?;
        write_down(&mut work, actor, now, "account added", &format!("{name}: {role}"))?;
        Ok(work.commit()?)
    }

    /// Changes the role or the password of an account, or both.
    ///
    /// # Errors
    ///
    /// [`AccountDenial::NoAccount`], and see [`StoreError`].
    pub fn change_account(
        &mut self,
        name: &str,
        role: Option<Role>,
        password: Option<&str>,
        actor: &Actor,
        now: Utc,
    ) -> Result<(), StoreError> {
        let mut work = self.begin()?;
        if find(&mut work, name)?.is_none() {
            return Err(AccountDenial::NoAccount.into());
        }
        if let Some(role) = role {
            work.execute(
                "UPDATE accounts SET role = ?2 WHERE name = ?1",
                values![name, role.name()],
            )?;
            write_down(&mut work, actor, now, "account role", &format!("{name}: {role}"))?;
        }
        if let Some(password) = password {
            work.execute(
                "UPDATE accounts SET password = ?2 WHERE name = ?1",
                values![name, password],
            )?;
            write_down(&mut work, actor, now, "account password", name)?;
        }
        Ok(work.commit()?)
    }

    /// Removes an account with its tokens; the audit trail keeps what it did.
    ///
    /// # Errors
    ///
    /// [`AccountDenial::NoAccount`], and see [`StoreError`].
    pub fn remove_account(
        &mut self,
        name: &str,
        actor: &Actor,
        now: Utc,
    ) -> Result<(), StoreError> {
        let mut work = self.begin()?;
        work.execute("DELETE FROM account_tokens WHERE account = ?1", values![name])?;
        if work.execute("DELETE FROM accounts WHERE name = ?1", values![name])? == 0 {
            return Err(AccountDenial::NoAccount.into());
        }
        write_down(&mut work, actor, now, "account removed", name)?;
        Ok(work.commit()?)
    }

    /// Keeps a token of an account by the digest of its secret.
    ///
    /// # Errors
    ///
    /// [`AccountDenial::NoAccount`], [`AccountDenial::Full`], and see [`StoreError`].
    pub fn add_token(
        &mut self,
        name: &str,
        label: &str,
        digest: &Digest,
        expires: Option<Utc>,
        actor: &Actor,
        now: Utc,
    ) -> Result<(), StoreError> {
        let mut work = self.begin()?;
        if find(&mut work, name)?.is_none() {
            return Err(AccountDenial::NoAccount.into());
        }
        let there: u32 = work.value(
            "there",
            "SELECT count(*) AS there FROM account_tokens WHERE account = ?1",
            values![name],
        )?;
        if there >= TOKENS_MAX {
            return Err(AccountDenial::Full(TOKENS_MAX).into());
        }
        work.execute(
            "INSERT INTO account_tokens (account, label, digest, created, expires) \
             VALUES (?1, ?2, ?3, ?4, ?5)",
            values![name, label, hex_upper(digest), now, expires],
        )?;
        write_down(&mut work, actor, now, "token added", &format!("{name}: {label}"))?;
        Ok(work.commit()?)
    }

    /// All tokens, by account.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn tokens(&mut self) -> Result<Vec<Token>, StoreError> {
        let mut work = self.begin()?;
        let rows = work.rows(
            "SELECT token_id, account, label, created, expires FROM account_tokens \
             ORDER BY account, token_id LIMIT ?1",
            values![ACCOUNTS_MAX * TOKENS_MAX],
        )?;
        let token = |row: &Row| {
            Ok(Token {
                token_id: row.get("token_id")?,
                account: row.get("account")?,
                label: row.get("label")?,
                created: row.get("created")?,
                expires: row.get("expires")?,
            })
        };
        rows.iter().map(token).collect()
    }

    /// Removes a token.
    ///
    /// # Errors
    ///
    /// [`AccountDenial::NoToken`], and see [`StoreError`].
    pub fn remove_token(
        &mut self,
        token_id: i64,
        actor: &Actor,
        now: Utc,
    ) -> Result<(), StoreError> {
        let mut work = self.begin()?;
        let row = work.row(
            "SELECT account, label FROM account_tokens WHERE token_id = ?1",
            values![token_id],
        )?;
        let row = row.ok_or(AccountDenial::NoToken)?;
        let (account, label): (String, String) = (row.get("account")?, row.get("label")?);
        work.execute("DELETE FROM account_tokens WHERE token_id = ?1", values![token_id])?;
        write_down(&mut work, actor, now, "token removed", &format!("{account}: {label}"))?;
        Ok(work.commit()?)
    }

    /// The account whose token has this digest, while the token holds.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn account_by_token(
        &mut self,
        digest: &Digest,
        now: Utc,
    ) -> Result<Option<Account>, StoreError> {
        let mut work = self.begin()?;
        let row = work.row(
            "SELECT name, role, password, accounts.created AS created FROM account_tokens \
             JOIN accounts ON name = account \
             WHERE digest = ?1 AND (expires IS NULL OR expires > ?2)",
            values![hex_upper(digest), now],
        )?;
        row.as_ref().map(account_of).transpose()
    }

    /// Notes that somebody has logged in or tried to.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn note_login(
        &mut self,
        action: &'static str,
        actor: &Actor,
        now: Utc,
    ) -> Result<(), StoreError> {
        let mut work = self.begin()?;
        note(&mut work, actor, now, Note { action, ..Note::default() })?;
        Ok(work.commit()?)
    }
}

fn write_down(
    work: &mut Work<'_>,
    actor: &Actor,
    now: Utc,
    action: &'static str,
    detail: &str,
) -> Result<(), SqlError> {
    note(work, actor, now, Note { action, detail: Some(detail), ..Note::default() })
}

fn find(work: &mut Work<'_>, name: &str) -> Result<Option<Account>, StoreError> {
    let row = work.row(&format!("{ACCOUNT} WHERE name = ?1"), values![name])?;
    row.as_ref().map(account_of).transpose()
}

fn account_of(row: &Row) -> Result<Account, StoreError> {
    let role: String = row.get("role")?;
    Ok(Account {
        name: row.get("name")?,
        role: role.parse().map_err(|_| StoreError::Damaged("the role of an account"))?,
        password: row.get("password")?,
        created: row.get("created")?,
    })
}
