//! What a node takes over from its cluster: rules and access codes that lie in etcd.
//!
//! Puts them in force and leaves a line of each change; who may change them is decided elsewhere.

use std::collections::BTreeMap;

use licence_core::access_code::CodeDigest;
use licence_core::key::KeyNo;
use licence_core::rules::CheckedRules;
use licence_core::service::Event;

use super::administer::put_in_force;
use super::{AuditNote, DriverError, Handle};
use crate::access::Actor;

/// Lines that one change of access codes leaves at most: an administrator changes one at a time.
const CODE_LINES_MAX: usize = 100;

/// Who changed what is taken over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TakenFrom {
    /// Who.
    pub actor: Actor,
    /// At which other node; nothing when it was this one.
    pub node: Option<String>,
}

impl TakenFrom {
    fn note(&self, what: &str) -> String {
        match &self.node {
            Some(node) => format!("node {node}: {what}"),
            None => what.to_owned(),
        }
    }
}

impl Handle {
    /// Puts the rules of the cluster in force and keeps a copy of them in the file of the rules. A
    /// disk that is full does not keep them from being in force; then [`Self::rules_problem`] tells.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn take_rules(
        &self,
        rules: CheckedRules,
        from: TakenFrom,
    ) -> Result<(), DriverError> {
        self.change(move |task, now, outcome| {
            task.rules_file.keep(rules.set());
            if task.service.rules() != &rules {
                put_in_force(task, rules, &from.actor, |what| from.note(what), now, outcome);
            }
        })
        .await
    }

    /// Puts the access codes of the cluster in force instead of those of the settings. A session that
    /// holds a seat keeps it.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn take_access_codes(
        &self,
        codes: BTreeMap<KeyNo, CodeDigest>,
        from: TakenFrom,
    ) -> Result<(), DriverError> {
        self.change(move |task, now, outcome| {
            let changed = task.keyring.other_codes(&codes);
            for key_no in changed.into_iter().take(CODE_LINES_MAX) {
                let what = if codes.contains_key(&key_no) { "set" } else { "removed" };
                let note = AuditNote {
                    action: "access_code",
                    subject: key_no.to_string(),
                    key_no: Some(key_no),
                    series: task.keyring.held(key_no).map(|held| held.series),
                    note: from.note(what),
                };
                outcome.records.push(note.record(&from.actor, now.utc));
            }
            for key in task.keyring.share_codes(codes) {
                task.feed_quietly(Event::KeyChanged(key), now, outcome);
            }
        })
        .await
    }
}
