//! What an activation needs of the driver: which licences are here, and what a centre's answer does
//! to them.
//!
//! Asking a centre is not done here, and no answer is believed that its series has not signed.

use std::collections::BTreeMap;

use licence_core::centre_request::ReturnReceipt;
use licence_core::holder::TokenKey;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::protocol::LicenceView;
use licence_core::series::SeriesDescriptor;
use licence_core::service::Event;

use super::{AuditNote, DriverError, Handle};
use crate::access::Actor;
use crate::keyring::{Begun, Held, InstallError};

/// What a genuine receipt has brought about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GivenBack {
    /// What the centre promises.
    pub receipt: ReturnReceipt,
    /// Whether the key was here, in force or aside, and is gone for good.
    pub removed: bool,
    /// The token that it was bound to.
    pub token: Option<TokenKey>,
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

    /// The licence of a key that can be given back: it is installed, or its return is under way.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn returnable(&self, key_no: KeyNo) -> Result<Option<Held>, DriverError> {
        self.look(move |_, keyring, _| keyring.returnable(key_no)).await
    }

    /// What a centre has promised for a key that was given back here and has not come back.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn given_back(&self, key_no: KeyNo) -> Result<Option<ReturnReceipt>, DriverError> {
        self.look(move |_, keyring, _| keyring.given_back(key_no)).await
    }

    /// The known series and the addresses of their activation centres; nothing for a series without
    /// one.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn centres(&self) -> Result<BTreeMap<KeySeries, Option<String>>, DriverError> {
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

    /// Whether a demonstration key of the series is here.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn has_demo(&self, series: KeySeries) -> Result<bool, DriverError> {
        self.look(move |_, keyring, _| keyring.has_demo(series)).await
    }

    /// Puts a key aside, because a request to take it back is about to be made; its sessions end.
    /// Nothing when there is no such key. Asked again, it does nothing more.
    ///
    /// # Errors
    ///
    /// [`DriverError::Install`] when the key cannot be put aside; then it stays.
    pub async fn begin_return(
        &self,
        key_no: KeyNo,
        note: String,
        actor: &Actor,
    ) -> Result<Option<Begun>, DriverError> {
        let actor = actor.clone();
        let begun = self.change(move |task, now, outcome| {
            let begun = task.keyring.begin_return(key_no, task.service.utc(now))?;
            if let Some(Begun { held, was_installed: true }) = &begun {
                task.feed_quietly(Event::KeyRemoved(key_no), now, outcome);
                let note = key_note("key_aside", key_no, held.series, note);
                outcome.records.push(note.record(&actor, now.utc));
            }
            Ok::<_, InstallError>(begun)
        });
        begun.await?.map_err(DriverError::Install)
    }

    /// Puts a key in force again that its centre has not taken back.
    ///
    /// # Errors
    ///
    /// [`DriverError::Install`] when it cannot be installed; then its return stays under way.
    pub async fn call_off_return(
        &self,
        key_no: KeyNo,
        note: String,
        actor: &Actor,
    ) -> Result<(), DriverError> {
        let actor = actor.clone();
        let called_off = self.change(move |task, now, outcome| {
            let utc = task.service.utc(now);
            if let Some(key) = task.keyring.call_off_return(key_no, utc)? {
                let note = key_note("key_back", key_no, key.series, note);
                outcome.records.push(note.record(&actor, now.utc));
                task.feed_quietly(Event::KeyArrived(key), now, outcome);
            }
            Ok::<_, InstallError>(())
        });
        called_off.await?.map_err(DriverError::Install)
    }

    /// Installs a licence that its centre has just listed as this server's. A return of it that is
    /// under way is called off with this.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn install_listed(
        &self,
        document: String,
        series: Option<SeriesDescriptor>,
    ) -> Result<LicenceView, DriverError> {
        let installed = self.change(move |task, now, outcome| {
            let utc = task.service.utc(now);
            let key = task.keyring.install_listed(&document, series.as_ref(), utc)?;
            let key_no = key.key_no;
            task.prove_time(key_no, now, outcome);
            task.feed_quietly(Event::KeyArrived(key), now, outcome);
            let status = task.service.key(key_no).map(|key| key.status);
            Ok::<_, InstallError>(task.keyring.view(key_no, status, utc))
        });
        installed.await?.map_err(DriverError::Install)?.ok_or(DriverError::Stopped)
    }

    /// Takes a centre's receipt for a key: the key goes for good, unless it has been installed again
    /// since. `action` is what the audit trail calls it.
    ///
    /// # Errors
    ///
    /// [`DriverError::Install`] when the series has not signed the receipt or the key's file cannot
    /// be put aside.
    pub async fn give_up(
        &self,
        receipt: String,
        action: &'static str,
        note: String,
        actor: &Actor,
    ) -> Result<GivenBack, DriverError> {
        let actor = actor.clone();
        let given_back = self.change(move |task, now, outcome| {
            let token = task.keyring.token_of(&receipt);
            let (receipt, removed) = task.keyring.end_return(&receipt, task.service.utc(now))?;
            let key_no = receipt.key_no;
            if removed {
                if task.keyring.held(key_no).is_none() && task.service.key(key_no).is_some() {
                    task.feed_quietly(Event::KeyRemoved(key_no), now, outcome);
                }
                let note = key_note(action, key_no, receipt.key_id, note);
                outcome.records.push(note.record(&actor, now.utc));
            }
            Ok::<_, InstallError>(GivenBack { receipt, removed, token })
        });
        given_back.await?.map_err(DriverError::Install)
    }
}

fn key_note(action: &'static str, key_no: KeyNo, series: KeySeries, note: String) -> AuditNote {
    let subject = key_no.to_string();
    AuditNote { action, subject, key_no: Some(key_no), series: Some(series), note }
}
