//! Keys and their centres: a licence by code, licences that were lost or renewed, a key given back;
//! each online or by files that a person carries.
//!
//! The centre decides what it grants; the driver decides whether a document is genuine. Nothing is
//! kept here between two rounds.

mod centre;
mod centres;
mod more;
mod on_token;
pub mod renewal;
mod requests;
mod returns;
mod short;
mod stage;
mod taken;
mod update;
mod why;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use licence_core::activation::ActivationCode;
use licence_core::activation_request::ActivationAnswer;
use licence_core::centre_request::{AnswerFile, CentreAnswer};
use licence_core::cluster::ClusterId;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::language::Language;
use licence_core::licence_file::Licence;
use licence_core::protocol::LicenceView;
use licence_core::short_text::looks_like_short_text;
use licence_core::time::Utc;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

pub use centre::ANSWER_BYTES_MAX;
use centre::{Failed, Round};
pub(crate) use centre::{has_not_left, http_date, proxy_of};
use centres::Centres;
pub use more::Demo;
pub use stage::Stage;
pub use update::{EndedKey, Updated};
pub use why::{Why, reason_text};

use crate::access::Actor;
use crate::api::errors::ApiError;
use crate::binding::BindingWatch;
use crate::clock;
use crate::driver::{DriverError, Handle};
use crate::identity::Identity;
use crate::settings::Settings;
use crate::tokens::Tokens;
use stage::StageCell;
use taken::note_key;

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
    /// Number of the blank to put the licence on; the licence is then bound to it.
    pub blank_key_no: Option<u32>,
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
    /// The spare code of a key that goes on working.
    pub spare_code: Option<ActivationCode>,
    /// Keys that have ended without this server and are gone here.
    pub ended: Vec<KeyNo>,
}

/// Asks centres and takes their answers, one at a time: a double click is not two requests.
#[derive(Debug)]
pub struct Activator {
    identity: Arc<Identity>,
    computer_id: String,
    settings: Settings,
    tokens: Tokens,
    /// The cluster that this server is a node of since its start: the keyring goes by the same.
    cluster: Option<ClusterId>,
    turn: Semaphore,
    stage: StageCell,
    centres: Arc<Centres>,
    ended: update::EndedKeys,
    /// Told when a centre has confirmed this computer.
    binding: Option<Arc<BindingWatch>>,
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
    /// Activates for this identity, by the settings; `centres` is the file of what is kept of
    /// centres. Reads it.
    pub fn new(
        identity: Arc<Identity>,
        computer_id: String,
        settings: Settings,
        centres: PathBuf,
    ) -> Self {
        Self {
            centres: Arc::new(Centres::load(centres, identity.key().thumbprint().to_owned())),
            ended: update::EndedKeys::default(),
            identity,
            computer_id,
            settings,
            tokens: Tokens::off(),
            cluster: None,
            turn: Semaphore::new(1),
            stage: StageCell::default(),
            binding: None,
        }
    }

    /// The same, telling this watch when a centre has confirmed the computer.
    #[must_use]
    pub fn with_binding(mut self, binding: Arc<BindingWatch>) -> Self {
        self.binding = Some(binding);
        self
    }

    /// A centre has listed these licences for this server. If one of them is genuine and this
    /// server's, the computer is confirmed as it is, and the moment of the answer is
    /// heard, should the clock be in doubt: nobody has signed that moment, and it can only end terms
    /// that a clock which has jumped would end as well.
    async fn confirm(
        &self,
        handle: &Handle,
        listed: Vec<String>,
        date: Option<Utc>,
        actor: &Actor,
    ) {
        let confirmed = match handle.lists_ours(listed).await {
            Ok(false) => return,
            Ok(true) => self.confirm_ours(handle, date, actor).await,
            Err(error) => Err(error),
        };
        if let Err(error) = confirmed {
            log::error!("the computer could not be confirmed: {error}");
        }
    }

    async fn confirm_ours(
        &self,
        handle: &Handle,
        date: Option<Utc>,
        actor: &Actor,
    ) -> Result<(), DriverError> {
        if let Some(date) = date {
            handle.time_told(date).await?;
        }
        match &self.binding {
            Some(binding) => binding.confirmed(handle, actor).await.map(drop),
            None => Ok(()),
        }
    }

    /// The same with tokens, which take licences and vouch for requests about them.
    #[must_use]
    pub fn with_tokens(self, tokens: Tokens) -> Self {
        Self { tokens, ..self }
    }

    /// The same on a node of this cluster: its licences by code are those of the cluster, where the
    /// vendor lets clusters have them.
    #[must_use]
    pub fn with_cluster(self, cluster: Option<ClusterId>) -> Self {
        Self { cluster, ..self }
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
        let token = self.request(handle, order, Some(&centre)).await?;
        let round = Round::start();
        let answer: ActivationAnswer =
            self.ask(&turn, round, &centre, "/api/activations", token, language).await?;
        self.check_series(&answer, series, &centre)?;
        let demos = handle.has_demo(series).await?;
        let installed =
            self.take_licence(&turn, handle, answer, "by code".to_owned(), actor).await?;
        if demos {
            self.hear_of_demo(&turn, handle, series, actor, language).await;
        }
        log::info!("installed a licence of series {series} from {centre}");
        Ok(installed)
    }

    /// Takes the centre's answer to a file request of any kind, the lines of one that was read out,
    /// or a licence document as it is.
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
        if looks_like_short_text(text) {
            let view = self.take_short(&turn, handle, text, actor).await?;
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
            // For a person to keep: it changes nothing here.
            CentreAnswer::Spare(answer) => {
                Ok(Installed { spare_code: Some(answer.spare_code), ..Installed::default() })
            }
            CentreAnswer::Update(answer) => {
                let taken = self.take_all(&turn, handle, answer, None, by_file(), actor).await?;
                let Updated { licences, ended } = taken;
                Ok(Installed { licences, ended, ..Installed::default() })
            }
        }
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

    /// Remembers that a centre has answered, with the mark that it gave when the answer is of a kind
    /// that has one.
    async fn heard(&self, centre: &str, mark: Option<Option<String>>) {
        let (centres, centre, utc) = (Arc::clone(&self.centres), centre.to_owned(), clock::utc());
        let kept = tokio::task::spawn_blocking(move || {
            let mark = mark.unwrap_or_else(|| centres.mark(&centre));
            centres.answered(&centre, mark, utc);
        });
        if let Err(error) = kept.await {
            log::error!("what a centre answered cannot be kept: {error}");
        }
    }

    /// When any centre answered last.
    pub fn last_answer(&self) -> Option<Utc> {
        self.centres.last_answer()
    }

    /// When the centre of a series answered last; nothing when no centre is known, or it never has.
    ///
    /// # Errors
    ///
    /// See [`crate::driver::DriverError`].
    pub async fn last_heard(
        &self,
        handle: &Handle,
        series: KeySeries,
    ) -> Result<Option<Utc>, ApiError> {
        let centre = self.known_centre(handle, series).await?;
        Ok(centre.and_then(|centre| self.centres.answered_at(&centre)))
    }
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
