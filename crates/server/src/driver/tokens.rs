//! What tokens mean to keys: who has come, who is in doubt, who is gone.
//!
//! Tokens are asked elsewhere; here their keys change in the driver's turn, and what an administrator
//! will ask about later leaves its line.

use licence_core::holder::TokenKey;
use licence_core::key::{KeyNo, KeySeries, Obstacle, ProtectionKey};
use licence_core::protocol::LicenceView;
use licence_core::service::Event;
use licence_core::time::Now;

use super::task::{Outcome, Task};
use super::{AuditNote, DriverError, Handle};
use crate::access::Actor;
use crate::keyring::{Bound, InstallError, Plugged, Presence, Word};

/// What this server shows a component to be believed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Proof {
    /// Licence documents.
    pub licences: Vec<String>,
    /// The words of tokens that some of them are bound to.
    pub delegations: Vec<String>,
    /// When there are none: a key of the series whose token is missing.
    pub missing: Option<(KeyNo, Obstacle)>,
}

impl Handle {
    /// By what this server proves to a component that it may serve a series.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn proof(&self, series: KeySeries) -> Result<Proof, DriverError> {
        self.look(move |_, keyring, now| {
            let (licences, delegations) = keyring.proof(series, now.utc);
            let missing = if licences.is_empty() { keyring.on_missing_token(series) } else { None };
            Proof { licences, delegations, missing }
        })
        .await
    }

    /// The tokens that are plugged in.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn tokens(&self) -> Result<Vec<Plugged>, DriverError> {
        self.look(|_, keyring, _| keyring.plugged()).await
    }

    /// The keys that are bound to tokens, and whether each has its token.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn keys_on_tokens(&self) -> Result<Vec<(KeySeries, KeyNo, bool)>, DriverError> {
        self.look(|_, keyring, _| keyring.keys_on_tokens()).await
    }

    /// The licence of a key, when it is bound to a token.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn bound(&self, key_no: KeyNo) -> Result<Option<Bound>, DriverError> {
        self.look(move |_, keyring, _| keyring.bound(key_no)).await
    }

    /// Ids of the activations that a token has to vouch for.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn activations_on(&self, token: TokenKey) -> Result<Vec<String>, DriverError> {
        self.look(move |_, keyring, _| keyring.activations_on(&token)).await
    }

    /// A token has proved that it is there, and has given its words.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn token_present(
        &self,
        token: TokenKey,
        name: String,
        words: Vec<Word>,
    ) -> Result<(), DriverError> {
        self.change(move |task, now, outcome| {
            task.keyring.keep_words(words, now.utc);
            let changed = task.keyring.set_token(token, Some((name, Presence::Present)));
            take_changes(task, changed, "usb_present", token, now, outcome);
        })
        .await
    }

    /// A token has not answered once.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn token_in_doubt(&self, token: TokenKey) -> Result<(), DriverError> {
        self.change(move |task, now, outcome| {
            for key in task.keyring.doubt_token(token) {
                task.feed_quietly(Event::KeyChanged(key), now, outcome);
            }
        })
        .await
    }

    /// A token is gone; sessions on its keys move to others or end.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn token_absent(&self, token: TokenKey) -> Result<(), DriverError> {
        self.change(move |task, now, outcome| {
            let changed = task.keyring.set_token(token, None);
            take_changes(task, changed, "usb_absent", token, now, outcome);
        })
        .await
    }

    /// The first look at the tokens since the start is done.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn tokens_looked_for(&self) -> Result<(), DriverError> {
        self.change(move |task, now, outcome| {
            for key in task.keyring.tokens_looked_for() {
                log::warn!("key {}: its token is not plugged in", key.key_no);
                task.feed_quietly(Event::KeyChanged(key), now, outcome);
            }
        })
        .await
    }

    /// Takes in a licence that lay on a token, if it is worth it: of a key that is missing here, or
    /// later than what is here. Nothing when it is not, or is bound to something else than the token
    /// that it lay on.
    ///
    /// # Errors
    ///
    /// [`DriverError::Install`] when it is not accepted.
    pub async fn install_from_token(
        &self,
        token: TokenKey,
        document: String,
    ) -> Result<Option<LicenceView>, DriverError> {
        let installed = self.change(move |task, now, outcome| {
            if !task.keyring.is_news(&document) {
                return Ok(None);
            }
            let utc = task.service.utc(now);
            let key = task.keyring.install_from_token(token, &document, utc)?;
            let key_no = key.key_no;
            let note = AuditNote {
                action: "key_install",
                subject: key_no.to_string(),
                key_no: Some(key_no),
                series: Some(key.series),
                note: format!("from token {}", token.short_id()),
            };
            outcome.records.push(note.record(&Actor::server(), now.utc));
            task.feed_quietly(Event::KeyArrived(key), now, outcome);
            let status = task.service.key(key_no).map(|key| key.status);
            Ok::<_, InstallError>(task.keyring.view(key_no, status, utc))
        });
        installed.await?.map_err(DriverError::Install)
    }
}

/// Puts keys in force as they have become, with a line for each: why a key stopped or came back is
/// the first thing that is asked.
fn take_changes(
    task: &mut Task,
    changed: Vec<ProtectionKey>,
    action: &'static str,
    token: TokenKey,
    now: Now,
    outcome: &mut Outcome,
) {
    for key in changed {
        let was = task.service.key(key.key_no).and_then(|pooled| pooled.key.obstacle);
        // Back from doubt is no event: nobody has lost anything.
        if was != Some(Obstacle::TokenInDoubt) || key.obstacle.is_some() {
            let note = AuditNote {
                action,
                subject: key.key_no.to_string(),
                key_no: Some(key.key_no),
                series: Some(key.series),
                note: format!("token {}", token.short_id()),
            };
            outcome.records.push(note.record(&Actor::server(), now.utc));
            log::info!("key {}: {action}, token={}", key.key_no, token.short_id());
        }
        task.feed_quietly(Event::KeyChanged(key), now, outcome);
    }
}
