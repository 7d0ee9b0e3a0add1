//! Tokens of the books: registered by the vendor or let in by their maker's certificate, blocked.

use licence_core::holder::{Holder, TokenKey};
use licence_core::time::Utc;
use licencekit::vendor::{BlankView, BlanksAnswer, BlanksCall, Page};

use super::rows::moment;
use super::sql::{Row, Work, values};
use super::{Note, PAGE_ENTRIES, Store, StoreError, note};
use crate::access::Actor;
use crate::decide::{Asked, BlankStanding};

impl Store {
    /// Registers tokens; those that are known stay as they are, blocked ones too.
    ///
    /// # Errors
    ///
    /// [`StoreError::Vendor`] when one is no token; none is registered then.
    pub fn register_blanks(
        &mut self,
        call: &BlanksCall,
        actor: &Actor,
        now: Utc,
    ) -> Result<BlanksAnswer, StoreError> {
        let keys = call.keys()?;
        let mut work = self.begin()?;
        let mut answer = BlanksAnswer::default();
        for (key, blank) in keys.iter().zip(&call.blanks) {
            if standing(&mut work, key)? != BlankStanding::Unknown {
                answer.known += 1;
                continue;
            }
            work.execute(
                "INSERT INTO blanks (token, name, note, attested, registered) \
                 VALUES (?1, ?2, ?3, 0, ?4)",
                values![key.as_bytes().as_slice(), &blank.name, &blank.note, now],
            )?;
            answer.added += 1;
            noted(&mut work, "blank", key, actor, now)?;
        }
        work.commit()?;
        Ok(answer)
    }

    /// A page of tokens, newest first.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn blanks(&mut self, before: Option<i64>) -> Result<Page<BlankView>, StoreError> {
        let mut work = self.begin()?;
        let sql =
            format!("{BLANKS} WHERE blank_id < ?1 ORDER BY blank_id DESC LIMIT {PAGE_ENTRIES}");
        let rows = work.rows(&sql, values![before.unwrap_or(i64::MAX)])?;
        let items: Vec<_> = rows.iter().map(view).collect::<Result<_, _>>()?;
        let is_full = items.len() as i64 == PAGE_ENTRIES;
        let next = items.last().filter(|_| is_full).map(|blank| blank.blank_id);
        Ok(Page { items, next })
    }

    /// Refuses a token from here on, or takes it again. Licences that are bound to it stay as they
    /// are: nothing calls back a signature.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoBlank`] when there is none of this number.
    pub fn block_blank(
        &mut self,
        blank_id: i64,
        blocked: bool,
        actor: &Actor,
        now: Utc,
    ) -> Result<BlankView, StoreError> {
        let mut work = self.begin()?;
        let row = one(&mut work, blank_id)?;
        if moment(&row, "blocked")?.is_some() != blocked {
            work.execute(
                "UPDATE blanks SET blocked = ?2 WHERE blank_id = ?1",
                values![blank_id, blocked.then_some(now)],
            )?;
            let action = if blocked { "block blank" } else { "unblock blank" };
            noted(&mut work, action, &token_of(&row)?, actor, now)?;
        }
        let view = view(&one(&mut work, blank_id)?)?;
        work.commit()?;
        Ok(view)
    }
}

const BLANKS: &str = "SELECT blanks.*, (SELECT count(*) FROM activations \
     WHERE holder = blanks.token AND returned IS NULL) AS keys FROM blanks";

fn one(work: &mut Work<'_>, blank_id: i64) -> Result<Row, StoreError> {
    let sql = format!("{BLANKS} WHERE blank_id = ?1");
    work.row(&sql, values![blank_id])?.ok_or(StoreError::NoBlank)
}

fn token_of(row: &Row) -> Result<TokenKey, StoreError> {
    TokenKey::from_point(&row.get::<Vec<u8>>("token")?).ok_or(StoreError::Damaged("a token"))
}

fn view(row: &Row) -> Result<BlankView, StoreError> {
    let token = token_of(row)?;
    Ok(BlankView {
        blank_id: row.get("blank_id")?,
        blank_key_no: token.blank_no(),
        short_id: token.short_id(),
        name: row.get("name")?,
        note: row.get("note")?,
        attested: row.get("attested")?,
        registered: row.get("registered")?,
        blocked: moment(row, "blocked")?,
        keys: row.get("keys")?,
    })
}

fn noted(
    work: &mut Work<'_>,
    action: &'static str,
    token: &TokenKey,
    actor: &Actor,
    now: Utc,
) -> Result<(), StoreError> {
    let detail = format!("token {}", token.short_id());
    Ok(note(work, actor, now, Note { action, detail: Some(&detail), ..Note::default() })?)
}

/// What the books say of a token.
pub(super) fn standing(work: &mut Work<'_>, token: &TokenKey) -> Result<BlankStanding, StoreError> {
    let sql = "SELECT blocked FROM blanks WHERE token = ?1";
    let row = work.row(sql, values![token.as_bytes().as_slice()])?;
    Ok(match row.map(|row| moment(&row, "blocked")).transpose()? {
        None => BlankStanding::Unknown,
        Some(None) => BlankStanding::Registered,
        Some(Some(_)) => BlankStanding::Blocked,
    })
}

/// Writes a token down that its maker's certificate lets in, so that the vendor sees it and may
/// block it.
pub(super) fn keep_attested(
    work: &mut Work<'_>,
    asked: &Asked,
    actor: &Actor,
    now: Utc,
) -> Result<(), StoreError> {
    let Holder::Token(token) = &asked.holder else {
        return Ok(());
    };
    if standing(work, token)? == BlankStanding::Unknown {
        work.execute(
            "INSERT INTO blanks (token, attested, registered) VALUES (?1, 1, ?2)",
            values![token.as_bytes().as_slice(), now],
        )?;
        noted(work, "attested blank", token, actor, now)?;
    }
    Ok(())
}
