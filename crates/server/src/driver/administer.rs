//! What administrators do: end sessions, remove keys, change access codes and rules; each leaves a
//! line in the audit trail.

use licence_core::journal::Record;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::protocol::LicenceView;
use licence_core::refusal::Refusal;
use licence_core::rules::{CheckedRules, Rule, RuleSet};
use licence_core::service::{Event, RequestId, dry_run};
use licence_core::session::SessionId;
use licence_core::time::{Now, Utc};

use super::handle::{session_id, session_state};
use super::task::{Outcome, Task};
use super::{DriverError, Handle, SessionState};
use crate::access::Actor;
use crate::clock;

/// Most characters of a note that is kept.
pub const NOTE_CHARS_MAX: usize = 500;

/// Refused sessions that a dry run names: more than a person reads.
const REFUSED_MAX: usize = 500;

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
    /// How many would be refused.
    pub refused_count: usize,
    /// The first 500 of them, in the order in which they opened.
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

impl AuditNote {
    /// The line that is kept.
    pub(super) fn record(self, actor: &Actor, at: Utc) -> Record {
        let Self { action, subject, key_no, series, note } = self;
        Record::Audit {
            actor: actor.name.clone(),
            peer: actor.peer.to_canonical().to_string(),
            action,
            subject,
            key_no,
            series,
            note: note.chars().take(NOTE_CHARS_MAX).collect(),
            at,
        }
    }
}

impl Task {
    /// Takes a seat back from a session that has one or for which one is kept. One turn: the seat is not
    /// freed without its line, nor the line written for nothing.
    pub(super) fn revoke_noted(
        &mut self,
        session: SessionId,
        line: Record,
        now: Now,
        outcome: &mut Outcome,
    ) {
        // Nobody waits for its reply: what it would say is known already.
        self.feed_quietly(Event::Revoke { request: RequestId(0), session }, now, outcome);
        outcome.records.push(line);
    }
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
        let actor = actor.clone();
        let ended = self.change(move |task, now, outcome| {
            let known = task.service.session(session)?;
            let state = session_state(&task.service, session, known, now);
            let note = AuditNote {
                action: "session_end",
                subject: id,
                key_no: state.session.key_no,
                series: Some(state.session.series),
                note,
            };
            task.revoke_noted(session, note.record(&actor, now.utc), now, outcome);
            Some(state)
        });
        ended.await?.ok_or(DriverError::Refused(Refusal::SessionNotFound))
    }

    /// Adds a line to the audit trail; it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn audit(&self, note: AuditNote, actor: &Actor) -> Result<(), DriverError> {
        let record = note.record(actor, clock::utc());
        self.change(move |_, _, outcome| outcome.records.push(record)).await
    }

    /// Takes a key out: its seats are gone, its file is kept beside the others under another name.
    /// `reason` is a person's, for the audit trail; empty for none.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn remove_key(
        &self,
        key_no: KeyNo,
        reason: String,
        actor: &Actor,
    ) -> Result<Option<LicenceView>, DriverError> {
        let actor = actor.clone();
        let removed = self.change(move |task, now, outcome| {
            let utc = task.service.utc(now);
            let view = task.keyring.remove(key_no, utc)?;
            if let Some(view) = &view {
                task.feed_quietly(Event::KeyRemoved(key_no), now, outcome);
                let note = AuditNote {
                    action: "key_remove",
                    subject: key_no.to_string(),
                    key_no: Some(key_no),
                    series: view.key_id,
                    note: reason,
                };
                outcome.records.push(note.record(&actor, now.utc));
            }
            Ok(view)
        });
        removed.await?.map_err(DriverError::Install)
    }

    /// Sets or takes away the access code of a key, in force at once; nothing when there is no
    /// such key. Sessions keep the seats they have. The settings keep the code over a restart:
    /// whoever calls this has written it there.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn set_access_code(
        &self,
        key_no: KeyNo,
        code: Option<String>,
        actor: &Actor,
    ) -> Result<Option<LicenceView>, DriverError> {
        let actor = actor.clone();
        self.change(move |task, now, outcome| {
            let note = if code.is_some() { "set" } else { "removed" };
            let key = task.keyring.set_access_code(key_no, code)?;
            let note = AuditNote {
                action: "access_code",
                subject: key_no.to_string(),
                key_no: Some(key_no),
                series: Some(key.series),
                note: note.to_owned(),
            };
            outcome.records.push(note.record(&actor, now.utc));
            task.feed_quietly(Event::KeyChanged(key), now, outcome);
            let status = task.service.key(key_no).map(|key| key.status);
            task.keyring.view(key_no, status, task.service.utc(now))
        })
        .await
    }

    /// The rules in force.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn rules(&self) -> Result<RuleSet, DriverError> {
        self.look(|service, _, _| service.rules().set().clone()).await
    }

    /// Why the file of the rules is not what is in force, if so.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn rules_problem(&self) -> Result<Option<String>, DriverError> {
        self.change(|task, _, _| task.rules_file.problem().map(str::to_owned)).await
    }

    /// Puts rules in force and writes them to their file; both are done when this returns. Sessions
    /// keep the seats that they have.
    ///
    /// # Errors
    ///
    /// See [`DriverError`]; after [`DriverError::Rules`] and [`DriverError::RulesFile`] the rules are
    /// as they were.
    pub async fn set_rules(&self, rules: RuleSet, actor: &Actor) -> Result<(), DriverError> {
        let rules = rules.check().map_err(DriverError::Rules)?;
        let actor = actor.clone();
        self.change(move |task, now, outcome| {
            task.rules_file.write(rules.set()).map_err(DriverError::RulesFile)?;
            put_in_force(task, rules, &actor, str::to_owned, now, outcome);
            Ok(())
        })
        .await?
    }

    /// Reads the file of the rules again and puts what it says in force. At a node of a cluster the
    /// file is a copy of what all nodes share, and is written anew.
    ///
    /// # Errors
    ///
    /// See [`DriverError`]; then the rules are as they were, and [`Self::rules_problem`] tells why.
    pub async fn reload_rules(&self, actor: &Actor) -> Result<(), DriverError> {
        let actor = actor.clone();
        self.change(move |task, now, outcome| {
            if task.rules_file.is_copy() {
                task.rules_file.keep(task.service.rules().set());
                return Ok(());
            }
            let rules = task.rules_file.read().map_err(DriverError::RulesFile)?;
            if task.service.rules() != &rules {
                put_in_force(task, rules, &actor, str::to_owned, now, outcome);
            }
            Ok(())
        })
        .await?
    }

    /// What rules would do to the sessions of the moment; worked out apart from the driver's turns,
    /// on a thread of its own: 200 rules and ten thousands of sessions are many comparisons.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn check_rules(&self, rules: RuleSet) -> Result<DryRun, DriverError> {
        let rules = rules.check().map_err(DriverError::Rules)?;
        let connections = self.connections().await?;
        let sessions = self.sessions().await?;
        let seats = self.look(|service, _, _| service.seats_by_series()).await?;
        let check = move || {
            let peer = |id| {
                let at = connections.binary_search_by_key(&id, |state| state.id).ok()?;
                connections.get(at).map(|state| &*state.connection.peer)
            };
            let standing = sessions.iter().map(|state| (state.id, &state.session));
            let refused = dry_run(&rules, standing, peer, seats);
            let refused_count = refused.len();
            let named = refused.into_iter().take(REFUSED_MAX).filter_map(|(id, rule)| {
                let at = sessions.binary_search_by_key(&id, |state| state.id).ok()?;
                Some(RefusedSession { session: sessions.get(at)?.clone(), rule })
            });
            DryRun { sessions: sessions.len(), refused_count, refused: named.collect() }
        };
        tokio::task::spawn_blocking(check).await.map_err(|error| {
            log::error!("rules could not be checked: {error}");
            DriverError::Stopped
        })
    }
}

/// Puts checked rules in force and leaves a line of what changed, as `told` words it.
pub(super) fn put_in_force(
    task: &mut Task,
    rules: CheckedRules,
    actor: &Actor,
    told: impl FnOnce(&str) -> String,
    now: Now,
    outcome: &mut Outcome,
) {
    let note = AuditNote {
        action: "rules_change",
        subject: "rules".to_owned(),
        note: told(&difference(task.service.rules().set(), rules.set())),
        ..AuditNote::default()
    };
    task.feed_quietly(Event::RulesChanged(rules), now, outcome);
    outcome.records.push(note.record(actor, now.utc));
}

/// What differs between two sets of rules, by the rules' names.
fn difference(before: &RuleSet, after: &RuleSet) -> String {
    let find = |set: &RuleSet, name: &str| set.rules.iter().find(|rule| rule.name == name).cloned();
    let names = |what: &str, names: Vec<&str>| {
        (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")))
    };
    let mut added = Vec::new();
    let mut changed = Vec::new();
    for rule in &after.rules {
        match find(before, &rule.name) {
            None => added.push(&*rule.name),
            Some(old) if old != *rule => changed.push(&*rule.name),
            Some(_) => {}
        }
    }
    let is_gone = |rule: &&Rule| find(after, &rule.name).is_none();
    let removed: Vec<_> = before.rules.iter().filter(is_gone).map(|rule| &*rule.name).collect();
    let parts: Vec<_> =
        [names("added", added), names("changed", changed), names("removed", removed)]
            .into_iter()
            .flatten()
            .collect();
    let count = after.rules.len();
    if parts.is_empty() {
        format!("{count} rules; in another order or as before")
    } else {
        format!("{count} rules; {}", parts.join("; "))
    }
}
