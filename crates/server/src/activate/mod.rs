//! Keys and their centres: a licence by code, licences that were lost or renewed, a key given back;
//! each online or by files that a person carries.
//!
//! The centre decides what it grants; the driver decides whether a document is genuine. Nothing is
//! kept here between two rounds.

mod centre;
mod requests;
mod stage;

use std::collections::BTreeSet;
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

pub use centre::ANSWER_BYTES_MAX;
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
        let token = self.request(order)?;
        let answer: ActivationAnswer =
            self.ask(&turn, &centre, "/api/activations", token, language).await?;
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
                let licences = self.take_all(&turn, handle, answer, by_file(), actor).await?;
                Ok(Installed { licences, ..Installed::default() })
            }
        }
    }

    /// Asks the centres for the licences of this server as they are there, and installs what is
    /// newer or missing here; those that were installed.
    ///
    /// A centre that does not answer does not keep the others from being asked.
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
        let without = known.is_empty() || known.iter().any(Option::is_none);
        let default = self.default_centre().filter(|_| without);
        let centres: BTreeSet<String> = known
            .into_iter()
            .flatten()
            .chain(default)
            .map(|centre| centre.trim_end_matches('/').to_owned())
            .collect();
        if centres.is_empty() {
            return Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "ELicenceCentreUnknown",
                "No activation centre is known: set SeriesFile or LicenceCenterUrl.",
                "Центр лицензирования не указан: задайте SeriesFile или LicenceCenterUrl.",
            ));
        }
        let mut installed = Vec::new();
        let mut first_error = None;
        for centre in centres {
            let token = self.update_request()?;
            let answer: Result<LicencesAnswer, ApiError> =
                self.ask(&turn, &centre, "/api/licences", token, language).await;
            let taken = match answer {
                Ok(answer) => {
                    self.take_all(&turn, handle, answer, "online".to_owned(), actor).await
                }
                Err(error) => Err(error),
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
    /// Asked again after an answer that was lost, the centre gives the same code.
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
        let held = self.held(handle, key_no).await?;
        let centre = self.centre_of(handle, held.series).await?;
        let token = self.giving_back(held, key_no, note.clone())?;
        let answer: ReturnAnswer =
            self.ask(&turn, &centre, "/api/returns", token, language).await?;
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

    async fn held(&self, handle: &Handle, key_no: KeyNo) -> Result<Held, ApiError> {
        handle.held(key_no).await?.ok_or_else(|| key_not_found(key_no))
    }

    async fn centre_of(&self, handle: &Handle, series: KeySeries) -> Result<String, ApiError> {
        let known = handle.centre_for(series).await?;
        known.or_else(|| self.default_centre()).ok_or_else(|| {
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

    async fn ask<A: DeserializeOwned + Send + 'static>(
        &self,
        turn: &Turn<'_>,
        centre: &str,
        path: &'static str,
        token: String,
        language: Language,
    ) -> Result<A, ApiError> {
        turn.stage.set(Some(Stage::Asking));
        let (agent, centre) = (centre::agent(&self.settings.get()), centre.to_owned());
        let call = move || centre::ask(&agent, &centre, path, token, language);
        let answer = tokio::task::spawn_blocking(call).await.map_err(|error| {
            log::error!("the call to the activation centre broke down: {error}");
            ApiError::internal()
        })?;
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
        let ActivationAnswer { licence, series } = answer;
        let view = self.take_document(turn, handle, licence, Some(series)).await?;
        note_key(handle, "key_install", &view, note, actor).await?;
        Ok(view)
    }

    /// Installs what is news among the licences; one that cannot be installed does not keep out
    /// the others.
    async fn take_all(
        &self,
        turn: &Turn<'_>,
        handle: &Handle,
        answer: LicencesAnswer,
        note: String,
        actor: &Actor,
    ) -> Result<Vec<LicenceView>, ApiError> {
        let LicencesAnswer { licences, series } = answer;
        let mut installed = Vec::new();
        let mut first_error = None;
        for document in handle.news(licences).await? {
            let named = Licence::peek_series(&document).ok();
            let offered = series.iter().find(|series| Some(series.series) == named).cloned();
            match self.take_document(turn, handle, document, offered).await {
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

fn not_an_answer() -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "EAnswerInvalid",
        "Answer is neither an answer of an activation centre nor a licence.",
        "Answer: это не ответ центра лицензирования и не лицензия.",
    )
}
