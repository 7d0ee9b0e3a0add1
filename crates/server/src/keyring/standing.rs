//! How the licences here stand with the computer, and what keeps a key from working for it.
//!
//! Counts of parts and dates come from outside; what they mean for a licence is decided in
//! `core::binding`.

use licence_core::binding::{Match, Standing};
use licence_core::key::{KeyNo, Obstacle, ProtectionKey};
use licence_core::time::Utc;

use super::{Installed, Keyring};
use crate::binding::{Changes, Judged, KeyStanding};

/// What was found of the computer.
#[derive(Clone, Debug)]
pub(super) struct Computer {
    /// How much of it matches.
    pub(super) found: Match,
    /// Since when too little does.
    pub(super) changes: Changes,
    /// The moment by which keys were judged last.
    pub(super) judged: Utc,
}

impl Keyring {
    /// The same with what was remembered of the computer, judged at `utc`.
    #[must_use]
    pub fn with_computer(mut self, found: Match, mut changes: Changes, utc: Utc) -> Self {
        changes.see(found, utc);
        self.computer = Some(Computer { found, changes, judged: utc });
        self
    }

    /// Judges the licences by what was found; gives the keys with which it is another than before.
    pub fn judge(&mut self, found: Match, utc: Utc) -> Vec<ProtectionKey> {
        let before: Vec<_> =
            self.installed.values().map(|installed| self.kept_by_computer(installed)).collect();
        let computer = self.computer.get_or_insert_with(|| Computer {
            found,
            changes: Changes::default(),
            judged: utc,
        });
        computer.changes.see(found, utc);
        (computer.found, computer.judged) = (found, utc);
        let judged = self.installed.values().zip(before);
        judged
            .filter(|(installed, before)| self.kept_by_computer(installed) != *before)
            .map(|(installed, _)| self.protection_key(installed))
            .collect()
    }

    /// How the keys that are bound to this computer stand at `utc`.
    pub fn standings(&self, utc: Utc) -> Judged {
        let keys = self.installed.iter().filter_map(|(key_no, installed)| {
            let standing = self.standing(installed, utc)?;
            let binding = installed.licence.binding();
            Some(KeyStanding {
                key_no: *key_no,
                series: installed.licence.fields().key_id,
                binding,
                changed_at: self.computer.as_ref()?.changes.at(binding.level),
                standing,
            })
        });
        let keys = keys.collect();
        let changes =
            self.computer.as_ref().map(|computer| computer.changes.clone()).unwrap_or_default();
        Judged { utc, changes, keys }
    }

    /// Where a licence stands with the computer; nothing for one that is not bound to it.
    fn standing(&self, installed: &Installed, utc: Utc) -> Option<Standing> {
        let computer = self.computer.as_ref()?;
        // Its licence names the identity, which is what the computer keeps.
        if !installed.licence.holder.is_server(&self.identity) {
            return None;
        }
        let binding = installed.licence.binding();
        let changed_at = computer.changes.at(binding.level);
        Some(binding.standing(computer.found, changed_at, utc))
    }

    /// How the computer keeps a key from working, if it does, as it was judged last.
    pub(super) fn kept_by_computer(&self, installed: &Installed) -> Option<Obstacle> {
        let judged = self.computer.as_ref()?.judged;
        match self.standing(installed, judged)? {
            Standing::Fits { .. } | Standing::Grace { .. } => None,
            Standing::Over { .. } => Some(Obstacle::HardwareChanged),
            Standing::NeedsTpm => Some(Obstacle::NeedsTpm),
        }
    }

    /// Whether a document is a genuine licence of a key that is here, bound to this server.
    pub fn is_ours(&self, document: &str) -> bool {
        self.verify(document, None).is_ok_and(|licence| {
            licence.holder.is_server(&self.identity)
                && self.installed.contains_key(&licence.fields().key_no)
        })
    }

    /// When the latest of the licences was issued.
    pub fn latest_issue(&self) -> Option<Utc> {
        self.installed.keys().filter_map(|key_no| self.issued(*key_no)).max()
    }

    /// When the licence of a key was issued.
    pub fn issued(&self, key_no: KeyNo) -> Option<Utc> {
        let issued = self.installed.get(&key_no)?.licence.claims.iat;
        Some(Utc::from_unix_millis(issued.saturating_mul(1000)))
    }
}
