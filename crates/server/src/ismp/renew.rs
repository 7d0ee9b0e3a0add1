//! Keys that the server renews by itself, by the signing command of the settings.
//!
//! Whom the command signs for is decided by the settings; here is when it is run and how long it is
//! left alone when nothing comes of it. The way to a key is that of [`super::refresh`].

use std::time::Duration;

use licence_ismp::StoreKey;
use licence_ismp::book::{Outcome, Text};
use licence_ismp::exchange::Challenge;
use licence_ismp::record::{Source, Who};
use licence_ismp::refresh::Ticket;

use super::Ismp;
use super::refresh::{Bringer, Challenged, inspected};
use super::signer::{FAILED_PAUSE, SERVICE_PAUSE};
use crate::access::Actor;
use crate::api::errors::ApiError;
use crate::clock;

/// How long before its end a key is renewed by the signing command: a failure leaves time for a
/// person.
const RENEW_AHEAD: Duration = Duration::from_secs(20 * 60);

/// How often it is looked which keys end.
const RENEW_EVERY: Duration = Duration::from_secs(60);

/// The name under which the server refreshes by itself.
const OWN_NAME: &str = "licenceserver";

impl Ismp {
    /// Has a key renewed by the signing command, in a task of its own that holds the lease when this
    /// comes back.
    ///
    /// # Errors
    ///
    /// As [`Ismp::look`].
    pub(super) async fn renew(&self, key: &StoreKey) -> Result<(), ApiError> {
        let who = Who { user: OWN_NAME.to_owned(), ..Who::default() };
        let Ok(ticket) = self.begin(key, who.clone(), None).await? else { return Ok(()) };
        if !self.may_sign(key) {
            // It was run for somebody else meanwhile, and nothing came of it.
            self.abandon(key, ticket).await;
            return Ok(());
        }
        let now = clock::mono();
        self.inner.signer.rest_key(key, now.after(SERVICE_PAUSE), now);
        let (ismp, key) = (self.clone(), key.clone());
        self.detach(async move {
            if let Err(why) = ismp.renew_with(&key, ticket, who).await {
                log::warn!("the session key of {key} was not renewed: {why}");
            }
        });
        Ok(())
    }

    /// Renews keys that end soon by the signing command, for as long as it is not dropped.
    pub async fn keep_renewed(self) {
        let mut ticks = tokio::time::interval(RENEW_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let config = self.inner.settings.get();
            // A reserve leaves that to its main server.
            if !config.ismp.enabled || config.ismp.main.is_some() {
                continue;
            }
            let ending = self.pass(|book, now| {
                let last = now.utc.after(RENEW_AHEAD);
                let ends = book.records().filter(|(_, record)| record.valid_until <= last);
                ends.map(|(key, _)| key.clone()).collect::<Vec<_>>()
            });
            for key in ending.await.unwrap_or_default() {
                if self.may_sign(&key) && self.renew(&key).await.is_err() {
                    break;
                }
            }
        }
    }

    /// The service has refused a key: the signing command may be run for another one at once.
    pub(super) fn may_renew_again(&self, key: &StoreKey) {
        self.inner.signer.forget_key(key);
    }

    /// Whether the server may have the signing command run for a key at this moment.
    pub(super) fn may_sign(&self, key: &StoreKey) -> bool {
        let config = self.inner.settings.get();
        config.ismp.signs_for(&key.organization) && self.inner.signer.is_ready(key, clock::mono())
    }

    async fn renew_with(&self, key: &StoreKey, ticket: Ticket, who: Who) -> Result<(), String> {
        let english = |text: Text| text.english;
        let challenged = self.challenge_for(key, ticket).await;
        let challenge = match challenged.map_err(|error| error.to_string())? {
            Challenged::Given { challenge, .. } => challenge,
            Challenged::Failed(text) => return Err(english(text)),
        };
        let Challenge { id, data } = challenge;
        let command = self.inner.settings.get().ismp.sign_command.clone();
        let inn = &key.organization;
        let rest = || {
            let now = clock::mono();
            self.inner.signer.rest(inn, now.after(FAILED_PAUSE), now);
        };
        let signed = self.inner.signer.sign(&command, inn, &data).await;
        let checked = match signed {
            Ok(signature) => match inspected(key, &signature, &data) {
                Ok(_) => Ok(signature),
                Err(fault) => Err(english(fault)),
            },
            Err(error) => Err(error.to_string()),
        };
        let signature = match checked {
            Ok(signature) => signature,
            Err(why) => {
                rest();
                self.abandon(key, ticket).await;
                return Err(why);
            }
        };
        let bringer = Bringer { who, source: Source::Signer, actor: Actor::server() };
        let outcome = self.exchange(key, &id, signature, bringer).await;
        match outcome.map_err(|error| error.to_string())? {
            Outcome::Given { .. } => {
                // A key that is this young is renewed for nobody.
                let now = clock::mono();
                self.inner.signer.rest_key(key, now.after(FAILED_PAUSE), now);
                Ok(())
            }
            Outcome::Failed(text) => Err(english(text)),
        }
    }
}
