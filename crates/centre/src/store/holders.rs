//! Servers as the books have seen them: their marks, their computers, what is suspicious about
//! them, whether the vendor has blocked them.

use licence_core::activation_request::Protection;
use licence_core::key::KeyNo;
use licence_core::seal::{PublicKey, hex_upper};
use licence_core::time::Utc;
use licencekit::random;
use licencekit::vendor::{SuspicionKind, SuspicionView};

use super::rows::moment;
use super::sql::{Row, SqlError, Work, values};
use super::{Asker, Note, PAGE_ENTRIES, Store, StoreError, note};
use crate::access::Actor;
use crate::decide::clones::{self, Known};

impl Store {
    /// Suspicions that nobody has cleared, or all of them; the latest seen first, at most
    /// [`PAGE_ENTRIES`].
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn suspicions(&mut self, all: bool) -> Result<Vec<SuspicionView>, StoreError> {
        let mut work = self.begin()?;
        let open = if all { "" } else { "WHERE cleared IS NULL " };
        let rows = work.rows(
            &format!(
                "{SUSPICIONS} {open}ORDER BY suspicions.last_seen DESC, suspicion_id DESC \
                 LIMIT {PAGE_ENTRIES}"
            ),
            &[],
        )?;
        rows.iter().map(|row| view(&mut work, row)).collect()
    }

    /// Refuses everything to the server of a suspicion from here on, or nothing any more.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSuspicion`] when there is none of this number.
    pub fn block_holder(
        &mut self,
        suspicion_id: i64,
        blocked: bool,
        actor: &Actor,
        now: Utc,
    ) -> Result<SuspicionView, StoreError> {
        let mut work = self.begin()?;
        let row = one(&mut work, suspicion_id)?;
        let holder: Vec<u8> = row.get("holder")?;
        if moment(&row, "blocked")?.is_some() != blocked {
            work.execute(
                "UPDATE holders SET blocked = ?2 WHERE holder = ?1",
                values![holder.as_slice(), blocked.then_some(now)],
            )?;
            let action = if blocked { "block server" } else { "unblock server" };
            let detail = format!("server {}", thumbprint(&holder)?);
            let line = Note { action, detail: Some(&detail), ..Note::default() };
            note(&mut work, actor, now, line)?;
        }
        let row = one(&mut work, suspicion_id)?;
        let view = view(&mut work, &row)?;
        work.commit()?;
        Ok(view)
    }

    /// Notes that a suspicion is harmless. What is seen afterwards is another one.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSuspicion`] when there is none of this number.
    pub fn clear_suspicion(
        &mut self,
        suspicion_id: i64,
        actor: &Actor,
        now: Utc,
    ) -> Result<SuspicionView, StoreError> {
        let mut work = self.begin()?;
        let row = one(&mut work, suspicion_id)?;
        if moment(&row, "cleared")?.is_none() {
            work.execute(
                "UPDATE suspicions SET cleared = ?2 WHERE suspicion_id = ?1",
                values![suspicion_id, now],
            )?;
            let detail = format!("server {}", thumbprint(&row.get::<Vec<u8>>("holder")?)?);
            let line = Note { action: "clear suspicion", detail: Some(&detail), ..Note::default() };
            note(&mut work, actor, now, line)?;
        }
        let row = one(&mut work, suspicion_id)?;
        let view = view(&mut work, &row)?;
        work.commit()?;
        Ok(view)
    }
}

const SUSPICIONS: &str = "SELECT suspicions.*, holders.blocked AS blocked FROM suspicions \
     JOIN holders ON holders.holder = suspicions.holder";

fn one(work: &mut Work<'_>, suspicion_id: i64) -> Result<Row, StoreError> {
    let sql = format!("{SUSPICIONS} WHERE suspicion_id = ?1");
    work.row(&sql, values![suspicion_id])?.ok_or(StoreError::NoSuspicion)
}

fn thumbprint(holder: &[u8]) -> Result<String, StoreError> {
    let key = holder.try_into().map_err(|_| StoreError::Damaged("a server"))?;
    Ok(PublicKey::from_bytes(key).thumbprint())
}

fn view(work: &mut Work<'_>, row: &Row) -> Result<SuspicionView, StoreError> {
    let holder: Vec<u8> = row.get("holder")?;
    let kind: String = row.get("kind")?;
    let sql = "SELECT key_no FROM activations WHERE server = ?1 AND returned IS NULL \
               ORDER BY key_no LIMIT 100";
    let keys = work.rows(sql, values![holder.as_slice()])?;
    Ok(SuspicionView {
        suspicion_id: row.get("suspicion_id")?,
        kind: SuspicionKind::of_word(&kind).ok_or(StoreError::Damaged("a suspicion"))?,
        first_seen: row.get("first_seen")?,
        last_seen: row.get("last_seen")?,
        times: row.get("times")?,
        holder: thumbprint(&holder)?,
        computer_id: row.get("computer_id")?,
        other_computer_id: row.get("other_computer")?,
        address: row.get("address")?,
        keys: keys
            .iter()
            .map(|row| Ok(KeyNo(row.get("key_no")?)))
            .collect::<Result<_, SqlError>>()?,
        blocked: moment(row, "blocked")?,
        cleared: moment(row, "cleared")?,
    })
}

/// Whether the vendor refuses everything to a server.
pub(super) fn is_blocked(work: &mut Work<'_>, server: &PublicKey) -> Result<bool, SqlError> {
    is_blocked_bytes(work, server.as_bytes())
}

pub(super) fn is_blocked_bytes(work: &mut Work<'_>, server: &[u8]) -> Result<bool, SqlError> {
    let sql = "SELECT 1 AS found FROM holders WHERE holder = ?1 AND blocked IS NOT NULL";
    Ok(work.row(sql, values![server])?.is_some())
}

const fn word(protection: Protection) -> &'static str {
    match protection {
        Protection::Parts => "parts",
        Protection::Secret => "secret",
        Protection::Tpm => "tpm",
    }
}

/// Notes that a server has asked, judges the mark that it shows, and draws the mark of the answer,
/// unless that is read out.
pub(super) fn see(
    work: &mut Work<'_>,
    server: &PublicKey,
    asker: &Asker,
    protection: Option<Protection>,
    actor: &Actor,
    now: Utc,
) -> Result<Option<String>, StoreError> {
    let drawn = if asker.is_read_out { None } else { Some(hex_upper(&random::id_bytes()?)) };
    let key = server.as_bytes().as_slice();
    let row = work.row("SELECT * FROM holders WHERE holder = ?1", values![key])?;
    let is_new = row.is_none();
    let known = row
        .map(|row| {
            Ok::<_, SqlError>(Known {
                mark: row.get("mark")?,
                mark_before: row.get("mark_before")?,
                computer_id: row.get("computer_id")?,
                computer_before: row.get("computer_before")?,
            })
        })
        .transpose()?;
    let last_computer = known.as_ref().map(|known| known.computer_id.clone());
    let seen = clones::look(known, asker.mark.as_deref(), &asker.computer_id, drawn.clone());
    let address = actor.from.map(|address| address.to_string());
    if is_new {
        work.execute(
            "INSERT INTO holders (holder, first_seen, last_seen, computer_id, server_version) \
             VALUES (?1, ?2, ?2, ?3, ?4)",
            values![key, now, &asker.computer_id, &asker.server_version],
        )?;
    }
    work.execute(
        "UPDATE holders SET last_seen = ?2, mark = ?3, mark_before = ?4, computer_id = ?5, \
         computer_before = ?6, server_version = ?7, protection = ?8, address = ?9 \
         WHERE holder = ?1",
        values![
            key,
            now,
            &seen.known.mark,
            &seen.known.mark_before,
            &seen.known.computer_id,
            &seen.known.computer_before,
            &asker.server_version,
            protection.map(word),
            &address,
        ],
    )?;
    for kind in seen.suspicions {
        let known_computer = last_computer.as_deref().unwrap_or(&asker.computer_id);
        log::warn!(
            "server {} looks like two machines ({}), computer {}",
            server.thumbprint(),
            kind.word(),
            asker.computer_id
        );
        let counted = work.execute(
            "UPDATE suspicions SET last_seen = ?3, times = times + 1, computer_id = ?4, \
             other_computer = ?5, address = ?6 WHERE holder = ?1 AND kind = ?2 AND cleared IS NULL",
            values![key, kind.word(), now, known_computer, &asker.computer_id, &address],
        )?;
        if counted == 0 {
            work.execute(
                "INSERT INTO suspicions (holder, kind, first_seen, last_seen, times, computer_id, \
                 other_computer, address) VALUES (?1, ?2, ?3, ?3, 1, ?4, ?5, ?6)",
                values![key, kind.word(), now, known_computer, &asker.computer_id, &address],
            )?;
            let detail = format!("{}, computer {}", kind.word(), asker.computer_id);
            let line = Note { action: "suspicion", detail: Some(&detail), ..Note::default() };
            note(work, actor, now, line)?;
        }
    }
    Ok(drawn)
}
