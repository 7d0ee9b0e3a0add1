//! What an activation needs of the driver: which licences are here, and what a centre's answer does
//! to them.
//!
//! Asking a centre is not done here, and no answer is believed that its series has not signed.

use licence_core::centre_request::ReturnReceipt;
use licence_core::key::KeyNo;
use licence_core::service::Event;

use super::{AuditNote, DriverError, Handle};
use crate::access::Actor;
use crate::keyring::{Held, InstallError};

/// What a genuine receipt has brought about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GivenBack {
    /// What the centre promises.
    pub receipt: ReturnReceipt,
    /// Whether the key was here and is gone.
    pub removed: bool,
}

impl Handle {
    /// The installed licence of a key, as its centre must be told of it.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn held(&self, key_no: KeyNo) -> Result<Option<Held>, DriverError> {
        self.look(move |_, keyring, _| keyring.held(key_no)).await
    }

    /// Addresses of the activation centres of all known series; nothing for a series without one.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn centres(&self) -> Result<Vec<Option<String>>, DriverError> {
        self.look(|_, keyring, _| keyring.centres()).await
    }

    /// Those of the documents that are worth installing: of keys that are missing here or do not
    /// work, or issued later than what is here.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn news(&self, documents: Vec<String>) -> Result<Vec<String>, DriverError> {
        self.look(move |_, keyring, _| {
            documents.into_iter().filter(|document| keyring.is_news(document)).collect()
        })
        .await
    }

    /// Takes a centre's receipt for a key: the key goes, unless it has been installed again since.
    ///
    /// # Errors
    ///
    /// [`DriverError::Install`] when the series has not signed the receipt or the key's file cannot
    /// be put aside.
    pub async fn give_up(
        &self,
        receipt: String,
        note: String,
        actor: &Actor,
    ) -> Result<GivenBack, DriverError> {
        let actor = actor.clone();
        let given_back = self.change(move |task, now, outcome| {
            let receipt = task.keyring.receipt(&receipt)?;
            let key_no = receipt.key_no;
            let is_here = task.keyring.held(key_no).is_some_and(|held| {
                held.series == receipt.key_id && held.activation == receipt.jti
            });
            if is_here {
                let utc = task.service.utc(now);
                task.keyring.remove(key_no, utc)?;
                task.feed_quietly(Event::KeyRemoved(key_no), now, outcome);
                let note = AuditNote {
                    action: "key_return",
                    subject: key_no.to_string(),
                    key_no: Some(key_no),
                    series: Some(receipt.key_id),
                    note,
                };
                outcome.records.push(note.record(&actor, now.utc));
            }
            Ok::<_, InstallError>(GivenBack { receipt, removed: is_here })
        });
        given_back.await?.map_err(DriverError::Install)
    }
}
