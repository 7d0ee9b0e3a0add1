//! Keys and their centres: a licence by code, licences that were lost or renewed, a key given back;
//! each online or by files that a person carries.
//!
//! The centre decides what it grants; the driver decides whether a document is genuine. Nothing is
//! kept here between two rounds.

mod centre;
mod requests;
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use licence_core::activation::ActivationCode;
use licence_core::activation_request::ActivationAnswer;
use licence_core::centre_request::{AnswerFile, CentreAnswer, LicencesAnswer, ReturnAnswer};
use licence_core::key::{KeyNo, KeySeries};
use licence_core::language::Language;
use licence_core::licence_file::Licence;
use licence_core::protocol::LicenceView;
use licence_core::series::SeriesDescriptor;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;

pub use centre::ANSWER_BYTES_MAX;
use centre::{Failed, Round};
pub use stage::Stage;

use crate::access::Actor;
use crate::api::errors::ApiError;
use crate::driver::{AuditNote, Handle};
use crate::identity::Identity;
use crate::keyring::Held;
use crate::settings::Settings;
use stage::StageCell;

/// How long a second activation waits for the first: one round and a little.
const TURN_SECS_MAX: u64 = centre::ROUND_SECS_MAX + 5;

/// Centres that are asked at one time: a customer has the vendors of some configurations, and each
/// takes a thread while it is asked.
const CENTRES_AT_ONCE_MAX: usize = 8;

/// What to activate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Order {
    /// The code.
    pub code: ActivationCode,
    /// Owner's ИНН, digits.
    pub itn: Option<String>,
    /// Owner's КПП, digits.
    pub iec: Option<String>,
}

/// What came of a centre's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Installed {
    /// Licences that were installed.
    pub licences: Vec<LicenceView>,
    /// The code by which a key that was given back is installed again.
    pub reserve_code: Option<ActivationCode>,
    /// The key that was given back and is gone here.
    pub removed: Option<KeyNo>,
}

/// Asks centres and takes their answers, one at a time: a double click is not two requests.
#[derive(Debug)]
pub struct Activator {
    identity: Arc<Identity>,
    computer_id: String,
    settings: Settings,
    turn: Semaphore,
    stage: StageCell,
}

/// Which centre an update has come from, and what is known of centres.
#[derive(Clone, Copy)]
struct Source<'a> {
    centre: &'a str,
    known: &'a BTreeMap<KeySeries, Option<String>>,
    default: &'a Option<String>,
}

impl Source<'_> {
    /// Whether the centre is the one for this series. Another's word must neither replace a licence
    /// nor make a series known.
    fn may_speak_for(&self, series: KeySeries) -> bool {
        let own = self.known.get(&series).and_then(Option::as_ref).or(self.default.as_ref());
        own.is_some_and(|own| own.trim_end_matches('/') == self.centre)
    }
}

/// A turn that was taken; the stage ends with it.
struct Turn<'a> {
    stage: &'a StageCell,
    _permit: SemaphorePermit<'a>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.stage.set(None);
    }
}

impl Activator {
    /// Activates for this identity, by the settings.
    pub fn new(identity: Arc<Identity>, computer_id: String, settings: Settings) -> Self {
        Self {
            identity,
            computer_id,
            settings,
            turn: Semaphore::new(1),
            stage: StageCell::default(),
        }
    }

    /// The centre of series that name none themselves, by the settings of the moment.
    fn default_centre(&self) -> Option<String> {
        self.settings.get().licence_center_url.clone()
    }

    /// How far the round of the moment is, if there is one: for whoever waits for it.
    pub fn stage(&self) -> Option<Stage> {
        self.stage.get()
    }

    /// The whole round: request, answer, installation.
    ///
    /// # Errors
    ///
    /// The centre's refusal with its class and text; `ELicenceCentreUnavailable` when it cannot
    /// be reached; the driver's refusal of the document.
    pub async fn install(
        &self,
        handle: &Handle,
        order: Order,
        actor: &Actor,
        language: Language,
    ) -> Result<LicenceView, ApiError> {
        let turn = self.turn().await?;
        let series = order.code.series();
        let centre = self.centre_of(handle, series).await?;
        let token = self.request(order, Some(&centre))?;
        let round = Round::start();
        let answer: ActivationAnswer =
            self.ask(&turn, round, &centre, "/api/activations", token, language).await?;
        if Licence::peek_series(&answer.licence).is_ok_and(|named| named != series) {
            log::error!("{centre} gave a licence of another series than {series}");
            return Err(other_series(series));
        }
        let installed =
            self.take_licence(&turn, handle, answer, "by code".to_owned(), actor).await?;
        log::info!("installed a licence of series {series} from {centre}");
        Ok(installed)
    }

    /// Takes the centre's answer to a file request of any kind, or a licence document as it is.
    ///
    /// # Errors
    ///
    /// `EAnswerInvalid` when it is neither; the driver's refusal of what is in it.
    pub async fn file_answer(
        &self,
        handle: &Handle,
        answer: &str,
        actor: &Actor,
    ) -> Result<Installed, ApiError> {
        let turn = self.turn().await?;
        turn.stage.set(Some(Stage::Checking));
        let text = answer.trim_start_matches('\u{feff}').trim();
        if text.len() > ANSWER_BYTES_MAX {
            return Err(not_an_answer());
        }
        let by_file = || "by file".to_owned();
        if Licence::peek_series(text).is_ok() {
            let view = self.take_document(&turn, handle, text.to_owned(), None).await?;
            note_key(handle, "key_install", &view, by_file(), actor).await?;
            return Ok(Installed { licences: vec![view], ..Installed::default() });
        }
        let file: AnswerFile = serde_json::from_str(text).map_err(|_| not_an_answer())?;
        match file.answer {
            CentreAnswer::Activation(answer) => {
                let view = self.take_licence(&turn, handle, answer, by_file(), actor).await?;
                Ok(Installed { licences: vec![view], ..Installed::default() })
            }
            CentreAnswer::Return(answer) => {
                self.take_receipt(&turn, handle, answer, by_file(), actor).await
            }
            CentreAnswer::Update(answer) => {
                let licences = self.take_all(&turn, handle, answer, None, by_file(), actor).await?;
                Ok(Installed { licences, ..Installed::default() })
            }
        }
    }

    /// Asks the centres for the licences of this server as they are there, and installs what is
    /// newer or missing here; those that were installed. A key whose return is under way and that
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
    ) -> Result<Vec<LicenceView>, ApiError> {
        let turn = self.turn().await?;
        let known = handle.centres().await?;
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
        let mut installed = Vec::new();
        let mut first_error = None;
        loop {
            while asked.len() < CENTRES_AT_ONCE_MAX
                && let Some(centre) = waiting.next()
            {
                let token = self.question(Some(&centre))?;
                let config = Arc::clone(&config);
                asked.spawn_blocking(move || {
                    let answer: Result<LicencesAnswer, Failed> =
                        centre::ask(&config, round, &centre, "/api/licences", token, language);
                    (centre, answer)
                });
            }
            let Some(answered) = asked.join_next().await else { break };
            let (centre, answer) = answered.map_err(|error| broken_down(&error))?;
            let taken = match answer {
                Ok(answer) => {
                    let source = Source { centre: &centre, known: &known, default: &default };
                    let note = "online".to_owned();
                    self.take_all(&turn, handle, answer, Some(source), note, actor).await
                }
                Err(failed) => Err(failed.into()),
            };
            match taken {
                Ok(licences) => {
                    log::info!("{} licences came from {centre}", licences.len());
                    installed.extend(licences);
                }
                Err(error) => {
                    log::warn!("no licences came from {centre}: {error}");
                    first_error.get_or_insert(error);
                }
            }
        }
        match first_error {
            Some(error) if installed.is_empty() => Err(error),
            _ => Ok(installed),
        }
    }

    /// Gives a key back to its centre and gets a reserve code for it; the key is gone here.
    ///
    /// The key is put aside before the centre is asked, and comes back when the centre has surely
    /// not taken it. When it is not known what the centre has done, the key stays aside: asked
    /// again, the centre gives the same code, and [`Self::update`] brings back a key that is still
    /// this server's.
    ///
    /// # Errors
    ///
    /// 404 for a key that is not here; the centre's refusal; `ELicenceCentreUnavailable`.
    pub async fn reserve_code(
        &self,
        handle: &Handle,
        key_no: KeyNo,
        note: String,
        actor: &Actor,
        language: Language,
    ) -> Result<ActivationCode, ApiError> {
        let turn = self.turn().await?;
        let held = self.returnable(handle, key_no).await?;
        let centre = self.centre_of(handle, held.series).await?;
        let token = self.giving_back(held, key_no, note.clone(), Some(&centre))?;
        let round = Round::start();
        self.reach(&turn, round, &centre).await?;
        let begun = handle.begin_return(key_no, note.clone(), actor).await?;
        let begun = begun.ok_or_else(|| key_not_found(key_no))?;
        let answer: Result<ReturnAnswer, Failed> =
            self.ask(&turn, round, &centre, "/api/returns", token, language).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(Failed { error, is_undone: true }) if begun.was_installed => {
                handle.call_off_return(key_no, error.class.to_string(), actor).await?;
                return Err(*error);
            }
            Err(failed) => return Err(left_open(*failed.error)),
        };
        let given_back = self.take_receipt(&turn, handle, answer, note, actor).await?;
        if given_back.removed != Some(key_no) {
            log::error!("the receipt from {centre} is not for key {key_no}");
            return Err(ApiError::internal());
        }
        log::info!("gave key {key_no} back to {centre}");
        given_back.reserve_code.ok_or_else(ApiError::internal)
    }

    async fn turn(&self) -> Result<Turn<'_>, ApiError> {
        let bound = Duration::from_secs(TURN_SECS_MAX);
        match tokio::time::timeout(bound, self.turn.acquire()).await {
            Ok(Ok(permit)) => Ok(Turn { stage: &self.stage, _permit: permit }),
            _ => Err(ApiError::unavailable(
                "Another activation is under way; try again.",
                "Выполняется другая активация; повторите запрос.",
            )),
        }
    }

    /// The licence of a key that can be given back: it works here, or its return is under way.
    async fn returnable(&self, handle: &Handle, key_no: KeyNo) -> Result<Held, ApiError> {
        handle.returnable(key_no).await?.ok_or_else(|| key_not_found(key_no))
    }

    async fn known_centre(
        &self,
        handle: &Handle,
        series: KeySeries,
    ) -> Result<Option<String>, ApiError> {
        let known = handle.centre_for(series).await?;
        Ok(known.or_else(|| self.default_centre()))
    }

    async fn centre_of(&self, handle: &Handle, series: KeySeries) -> Result<String, ApiError> {
        self.known_centre(handle, series).await?.ok_or_else(|| {
            ApiError::new(
                StatusCode::BAD_REQUEST,
                "ELicenceCentreUnknown",
                format!(
                    "No activation centre is known for series {series}: set SeriesFile or \
                     LicenceCenterUrl."
                ),
                format!(
                    "Для серии {series} не указан центр лицензирования: задайте SeriesFile или \
                     LicenceCenterUrl."
                ),
            )
        })
    }

    async fn reach(&self, turn: &Turn<'_>, round: Round, centre: &str) -> Result<(), ApiError> {
        turn.stage.set(Some(Stage::Asking));
        let (config, centre) = (self.settings.get(), centre.to_owned());
        tokio::task::spawn_blocking(move || centre::reach(&config, round, &centre))
            .await
            .map_err(|error| broken_down(&error))?
    }

    async fn ask<A: DeserializeOwned + Send + 'static>(
        &self,
        turn: &Turn<'_>,
        round: Round,
        centre: &str,
        path: &'static str,
        token: String,
        language: Language,
    ) -> Result<A, Failed> {
        turn.stage.set(Some(Stage::Asking));
        let (config, centre) = (self.settings.get(), centre.to_owned());
        let call = move || centre::ask(&config, round, &centre, path, token, language);
        let answer = tokio::task::spawn_blocking(call)
            .await
            .map_err(|error| Failed { error: Box::new(broken_down(&error)), is_undone: false })?;
        turn.stage.set(Some(Stage::Checking));
        answer
    }

    async fn take_document(
        &self,
        turn: &Turn<'_>,
        handle: &Handle,
        document: String,
        series: Option<SeriesDescriptor>,
    ) -> Result<LicenceView, ApiError> {
        turn.stage.set(Some(Stage::Writing));
        Ok(handle.install(document, series).await?)
    }

    async fn take_licence(
        &self,
        turn: &Turn<'_>,
        handle: &Handle,
        answer: ActivationAnswer,
        note: String,
        actor: &Actor,
    ) -> Result<LicenceView, ApiError> {
        let ActivationAnswer { licence, series, .. } = answer;
        let view = self.take_document(turn, handle, licence, Some(series)).await?;
        note_key(handle, "key_install", &view, note, actor).await?;
        Ok(view)
    }

    /// Installs what is news among the licences; one that cannot be installed does not keep out
    /// the others. What has come by file is of no certain source and age: it calls no return off.
    async fn take_all(
        &self,
        turn: &Turn<'_>,
        handle: &Handle,
        answer: LicencesAnswer,
        source: Option<Source<'_>>,
        note: String,
        actor: &Actor,
    ) -> Result<Vec<LicenceView>, ApiError> {
        let LicencesAnswer { licences, series, .. } = answer;
        let mut installed = Vec::new();
        let mut first_error = None;
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
                    note_key(handle, "key_update", &view, note.clone(), actor).await?;
                    installed.push(view);
                }
                Err(error) => {
                    log::warn!("a licence of an update was not installed: {error}");
                    first_error.get_or_insert(error);
                }
            }
        }
        match first_error {
            Some(error) if installed.is_empty() => Err(error),
            _ => Ok(installed),
        }
    }

    async fn take_receipt(
        &self,
        turn: &Turn<'_>,
        handle: &Handle,
        answer: ReturnAnswer,
        note: String,
        actor: &Actor,
    ) -> Result<Installed, ApiError> {
        turn.stage.set(Some(Stage::Writing));
        let given_back = handle.give_up(answer.receipt, note, actor).await?;
        let receipt = given_back.receipt;
        Ok(Installed {
            licences: Vec::new(),
            reserve_code: Some(receipt.reserve_code),
            removed: given_back.removed.then_some(receipt.key_no),
        })
    }
}

async fn note_key(
    handle: &Handle,
    action: &'static str,
    view: &LicenceView,
    note: String,
    actor: &Actor,
) -> Result<(), ApiError> {
    let subject = view.key_no.map(|key_no| key_no.to_string()).unwrap_or_default();
    let note = AuditNote { action, subject, key_no: view.key_no, series: view.key_id, note };
    Ok(handle.audit(note, actor).await?)
}

/// 404: no such key is installed.
pub(crate) fn key_not_found(key_no: KeyNo) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "EKeyNotFound",
        format!("Key {key_no} is not installed on this server."),
        format!("Ключ {key_no} не установлен на этом сервере."),
    )
}

fn other_series(series: KeySeries) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "ELicenceInvalid",
        format!("The activation centre's licence is not of series {series}."),
        format!("Лицензия, полученная от центра, не относится к серии {series}."),
    )
}

/// The error of a return of which nobody knows whether the centre has taken the key.
fn left_open(mut error: ApiError) -> ApiError {
    error.english.push_str(
        " The key stays aside until the centre has answered: repeat the return, or update the \
         licences to put the key in force again if it is still this server's.",
    );
    error.russian.push_str(
        " Ключ отложен до ответа центра: повторите возврат или обновите лицензии — если ключ \
         остался за этим сервером, он снова заработает.",
    );
    error
}

fn broken_down(error: &tokio::task::JoinError) -> ApiError {
    log::error!("the call to the activation centre broke down: {error}");
    ApiError::internal()
}

fn not_an_answer() -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "EAnswerInvalid",
        "Answer is neither an answer of an activation centre nor a licence.",
        "Answer: это не ответ центра лицензирования и не лицензия.",
    )
}
