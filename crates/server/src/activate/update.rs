//! All licences of this server as their centres have them: what is newer or missing is installed, and
//! what has ended elsewhere is removed.
//!
//! The centre's list is believed about its own series alone, an end only under the key of the series.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::StatusCode;
use licence_core::centre_request::LicencesAnswer;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::language::Language;
use licence_core::licence_file::Licence;
use licence_core::protocol::LicenceView;
use licence_core::time::Utc;
use tokio::task::JoinSet;

use super::centre::{self, Failed, Round};
use super::{Activator, Stage, Turn, broken_down, note_key};
use crate::access::Actor;
use crate::api::errors::ApiError;
use crate::driver::{GivenBack, Handle};

/// Centres that are asked at one time: a customer has the vendors of some configurations, and each
/// takes a thread while it is asked.
const CENTRES_AT_ONCE_MAX: usize = 8;

/// Ends of keys that are looked at in one answer: a server has some dozens of keys, and each answer
/// names all that have ended.
const ENDED_MAX: usize = 500;

/// Keys whose end nobody was told of yet.
const UNTOLD_MAX: usize = 100;

/// What an update has changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Updated {
    /// Licences that were installed or renewed.
    pub licences: Vec<LicenceView>,
    /// Keys that have ended without this server, by a spare code or the vendor, and are gone here.
    pub ended: Vec<KeyNo>,
}

impl Updated {
    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.licences.is_empty() && self.ended.is_empty()
    }
}

/// A key that has ended without this server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EndedKey {
    /// The key.
    pub key_no: KeyNo,
    /// Its series.
    pub series: KeySeries,
}

/// Those of which nobody was told yet.
#[derive(Debug, Default)]
pub(super) struct EndedKeys(Mutex<Vec<EndedKey>>);

impl EndedKeys {
    fn add(&self, key: EndedKey) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() < UNTOLD_MAX {
            keys.push(key);
        }
    }

    fn take(&self) -> Vec<EndedKey> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Which centre an update has come from, and what is known of centres.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    centre: &'a str,
    known: &'a BTreeMap<KeySeries, Option<String>>,
    default: &'a Option<String>,
    /// The moment at which the centre says that it has answered.
    date: Option<Utc>,
}

impl Source<'_> {
    /// Whether the centre is the one for this series. Another's word must neither replace a licence
    /// nor make a series known.
    fn may_speak_for(&self, series: KeySeries) -> bool {
        let own = self.known.get(&series).and_then(Option::as_ref).or(self.default.as_ref());
        own.is_some_and(|own| own.trim_end_matches('/') == self.centre)
    }
}

impl Activator {
    /// Keys that have ended without this server since this was asked last: for notices.
    pub fn take_ended(&self) -> Vec<EndedKey> {
        self.ended.take()
    }

    /// Asks the centres for the licences of this server as they are there, and installs what is
    /// newer or missing here; removes what has ended without this server. A key whose return is under way and that
    /// its centre still lists comes back with it.
    ///
    /// All are asked at one time and within one bound; a centre that does not answer does not keep
    /// the others from being heard. Each is heard about the series that name it only.
    ///
    /// # Errors
    ///
    /// `ELicenceCentreUnknown` when there is none to ask. When nothing was installed: the first
    /// refusal or `ELicenceCentreUnavailable`.
    pub async fn update(
        &self,
        handle: &Handle,
        actor: &Actor,
        language: Language,
    ) -> Result<Updated, ApiError> {
        let turn = self.turn().await?;
        let known = handle.centres().await?;
        self.update_of(&turn, handle, known, actor, language).await
    }

    /// The same by itself, for the series that have a key here. Nothing while somebody's round is
    /// under way, and when there is nobody to ask.
    ///
    /// # Errors
    ///
    /// As [`Self::update`].
    pub(super) async fn update_alone(
        &self,
        handle: &Handle,
        actor: &Actor,
        language: Language,
    ) -> Result<Option<Updated>, ApiError> {
        let Ok(permit) = self.turn.try_acquire() else { return Ok(None) };
        let turn = Turn { stage: &self.stage, _permit: permit };
        let here: BTreeSet<_> =
            handle.licences(None, false).await?.iter().filter_map(|key| key.key_id).collect();
        let mut known = handle.centres().await?;
        known.retain(|series, _| here.contains(series));
        if known.is_empty()
            || (self.default_centre().is_none() && known.values().all(Option::is_none))
        {
            return Ok(None);
        }
        self.update_of(&turn, handle, known, actor, language).await.map(Some)
    }

    pub(super) async fn update_of(
        &self,
        turn: &Turn<'_>,
        handle: &Handle,
        known: BTreeMap<KeySeries, Option<String>>,
        actor: &Actor,
        language: Language,
    ) -> Result<Updated, ApiError> {
        let default = self.default_centre();
        let without = known.is_empty() || known.values().any(Option::is_none);
        let named = known.values().flatten().chain(default.iter().filter(|_| without));
        let centres: BTreeSet<String> =
            named.map(|centre| centre.trim_end_matches('/').to_owned()).collect();
        if centres.is_empty() {
            return Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "ELicenceCentreUnknown",
                "No activation centre is known: set SeriesFile or LicenceCenterUrl.",
                "Центр лицензирования не указан: задайте SeriesFile или LicenceCenterUrl.",
            ));
        }
        turn.stage.set(Some(Stage::Asking));
        let (round, config) = (Round::start(), self.settings.get());
        let mut waiting = centres.into_iter();
        let mut asked = JoinSet::new();
        let mut updated = Updated::default();
        let mut first_error = None;
        loop {
            while asked.len() < CENTRES_AT_ONCE_MAX
                && let Some(centre) = waiting.next()
            {
                let token = self.question(handle, Some(&centre)).await?;
                let config = Arc::clone(&config);
                asked.spawn_blocking(move || {
                    let answer: Result<(LicencesAnswer, Option<Utc>), Failed> = centre::ask_dated(
                        &config,
                        round,
                        &centre,
                        "/api/licences",
                        token,
                        language,
                    );
                    (centre, answer)
                });
            }
            let Some(answered) = asked.join_next().await else { break };
            let (centre, answer) = answered.map_err(|error| broken_down(&error))?;
            let taken = match answer {
                Ok((answer, date)) => {
                    let source = Source { centre: &centre, known: &known, default: &default, date };
                    let note = "online".to_owned();
                    let mark = answer.mark.clone();
                    let taken =
                        self.take_all(turn, handle, answer, Some(source), note, actor).await;
                    self.heard(&centre, Some(mark)).await;
                    taken
                }
                Err(failed) => Err(failed.into()),
            };
            match taken {
                Ok(taken) => {
                    log::info!("{} licences came from {centre}", taken.licences.len());
                    updated.licences.extend(taken.licences);
                    updated.ended.extend(taken.ended);
                }
                Err(error) => {
                    log::warn!("no licences came from {centre}: {error}");
                    first_error.get_or_insert(error);
                }
            }
        }
        match first_error {
            Some(error) if updated.is_empty() => Err(error),
            _ => Ok(updated),
        }
    }

    /// Installs what is news among the licences; one that cannot be installed does not keep out
    /// the others. Then removes the keys that the answer says have ended. What has come by
    /// file is of no certain source and age: it calls no return off.
    pub(super) async fn take_all(
        &self,
        turn: &Turn<'_>,
        handle: &Handle,
        answer: LicencesAnswer,
        source: Option<Source<'_>>,
        note: String,
        actor: &Actor,
    ) -> Result<Updated, ApiError> {
        let LicencesAnswer { licences, series, ended, .. } = answer;
        let listed = licences.iter().filter(|document| {
            let named = Licence::peek_series(document).ok();
            source.is_none_or(|source| named.is_some_and(|named| source.may_speak_for(named)))
        });
        let listed = listed.cloned().collect();
        let mut updated = Updated::default();
        let mut first_error = None;
        // First: a key that was moved away and has come back is in the list of licences, under
        // another activation than the one that has ended.
        for receipt in ended.into_iter().take(ENDED_MAX) {
            match self.take_end(turn, handle, receipt, &note, actor).await {
                Ok(Some(key)) => updated.ended.push(key),
                Ok(None) => {}
                Err(error) => {
                    log::warn!("the end of a key was not taken: {error}");
                    first_error.get_or_insert(error);
                }
            }
        }
        for document in handle.news(licences).await? {
            let named = Licence::peek_series(&document).ok();
            let offered = series.iter().find(|series| Some(series.series) == named).cloned();
            if let (Some(source), Some(named)) = (&source, named)
                && !source.may_speak_for(named)
            {
                log::warn!("{} has no say about series {named}", source.centre);
                continue;
            }
            turn.stage.set(Some(Stage::Writing));
            let taken = match source {
                Some(_) => handle.install_listed(document, offered).await,
                None => handle.install(document, offered).await,
            };
            match taken.map_err(ApiError::from) {
                Ok(view) => {
                    self.put_on_token(handle, view.key_no).await;
                    note_key(handle, "key_update", &view, note.clone(), actor).await?;
                    updated.licences.push(view);
                }
                Err(error) => {
                    log::warn!("a licence of an update was not installed: {error}");
                    first_error.get_or_insert(error);
                }
            }
        }
        self.confirm(handle, listed, source.and_then(|source| source.date), actor).await;
        match first_error {
            Some(error) if updated.is_empty() => Err(error),
            _ => Ok(updated),
        }
    }

    /// Takes a receipt of an activation that ended without this server; the key, when it was here.
    async fn take_end(
        &self,
        turn: &Turn<'_>,
        handle: &Handle,
        receipt: String,
        note: &str,
        actor: &Actor,
    ) -> Result<Option<KeyNo>, ApiError> {
        turn.stage.set(Some(Stage::Writing));
        let note = note.to_owned();
        let GivenBack { receipt, removed, token } =
            handle.give_up(receipt, "key_ended", note, actor).await?;
        if !removed {
            return Ok(None);
        }
        let (key_no, series) = (receipt.key_no, receipt.key_id);
        self.take_off_token(token, key_no).await;
        log::warn!("key {key_no} of series {series} has ended at its centre and is gone here");
        self.ended.add(EndedKey { key_no, series });
        Ok(Some(key_no))
    }
}
