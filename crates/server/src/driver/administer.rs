//! What administrators do: end sessions, remove keys, change access codes and rules; each leaves a
//! line in the audit trail.

use licence_core::journal::Record;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::protocol::LicenceView;
use licence_core::rules::RuleSet;
use licence_core::service::Event;

use super::handle::{done, session_id};
use super::{DriverError, Handle, SessionState};
use crate::access::Actor;
use crate::clock;

/// Most characters of a note that is kept.
pub const NOTE_CHARS_MAX: usize = 500;

/// A session that rules would refuse.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RefusedSession {
    /// The session.
    pub session: SessionState,
    /// The rule.
    pub rule: String,
}

/// What rules would do to the sessions of the moment, were they to open again one after another
/// in the order in which they opened.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DryRun {
    /// Sessions of the moment.
    pub sessions: usize,
    /// Those that would be refused.
    pub refused: Vec<RefusedSession>,
}

/// A line of the audit trail.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AuditNote {
    /// What was done, a stable code: `session_end`, `key_remove`, `settings_change` …
    pub action: &'static str,
    /// What it was done to.
    pub subject: String,
    /// The key, if it was about one.
    pub key_no: Option<KeyNo>,
    /// The series, if it was about one.
    pub series: Option<KeySeries>,
    /// What is said about it. Never a password, code or token.
    pub note: String,
}

impl Handle {
    /// Ends a session and frees its seat; returns what it was.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn revoke(
        &self,
        id: String,
        note: String,
        actor: &Actor,
    ) -> Result<SessionState, DriverError> {
        let session = session_id(&id)?;
        let known = self.session(id.clone()).await?;
        done(self.ask(move |request| Event::Revoke { request, session }).await?)?;
        // Without a state there was nothing to revoke, and the line above has refused.
        let state =
            known.ok_or(DriverError::Refused(licence_core::refusal::Refusal::SessionNotFound))?;
        let note = AuditNote {
            action: "session_end",
            subject: id,
            key_no: state.session.key_no,
            series: Some(state.session.series),
            note,
        };
        self.audit(note, actor).await?;
        Ok(state)
    }

    /// Adds a line to the audit trail; it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn audit(&self, note: AuditNote, actor: &Actor) -> Result<(), DriverError> {
        let AuditNote { action, subject, key_no, series, note } = note;
        let record = Record::Audit {
            actor: actor.name.clone(),
            peer: actor.peer.to_canonical().to_string(),
            action,
            subject,
            key_no,
            series,
            note: note.chars().take(NOTE_CHARS_MAX).collect(),
            at: clock::utc(),
        };
        self.change(move |_, _, outcome| outcome.records.push(record)).await
    }

    /// Takes a key out: its seats are gone, its file is kept beside the others under another name.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn remove_key(
        &self,
        key_no: KeyNo,
        actor: &Actor,
    ) -> Result<Option<LicenceView>, DriverError> {
        let _ = (key_no, actor);
        Err(DriverError::Stopped)
    }

    /// The rules in force.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn rules(&self) -> Result<RuleSet, DriverError> {
        Err(DriverError::Stopped)
    }

    /// Puts rules in force and writes them to their file.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn set_rules(&self, rules: RuleSet, actor: &Actor) -> Result<(), DriverError> {
        let _ = (rules, actor);
        Err(DriverError::Stopped)
    }

    /// What rules would do to the sessions of the moment.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn check_rules(&self, rules: RuleSet) -> Result<DryRun, DriverError> {
        let _ = rules;
        Err(DriverError::Stopped)
    }
}
