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
mod short;
mod stage;
mod update;
mod why;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use licence_core::activation::ActivationCode;
use licence_core::activation_request::ActivationAnswer;
use licence_core::centre_request::{AnswerFile, CentreAnswer, ReturnAnswer};
use licence_core::key::{KeyNo, KeySeries};
use licence_core::language::Language;
use licence_core::licence_file::Licence;
use licence_core::protocol::LicenceView;
use licence_core::series::SeriesDescriptor;
use licence_core::short_text::looks_like_short_text;
use licence_core::time::Utc;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

pub use centre::ANSWER_BYTES_MAX;
pub(crate) use centre::proxy_of;
use centre::{Failed, Round};
use centres::Centres;
pub use more::Demo;
pub use stage::Stage;
pub use update::{EndedKey, Updated};
pub use why::{Why, reason_text};

use crate::access::Actor;
use crate::api::errors::ApiError;
use crate::binding::BindingWatch;
use crate::clock;
use crate::driver::{AuditNote, DriverError, Handle};
use crate::identity::Identity;
use crate::keyring::{Held, InstallError};
use crate::settings::Settings;
use crate::tokens::Tokens;
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
        why: Why,
        actor: &Actor,
        language: Language,
    ) -> Result<ActivationCode, ApiError> {
        let turn = self.turn().await?;
        if let Some(receipt) = handle.given_back(key_no).await? {
            // The centre's answer was taken, ours may not have arrived. Who sees the code could take
            // the key: that leaves a line.
            let note = AuditNote {
                action: "key_return",
                subject: key_no.to_string(),
                key_no: Some(key_no),
                series: Some(receipt.key_id),
                note: "the reserve code once more".to_owned(),
            };
            handle.audit(note, actor).await?;
            return Ok(receipt.reserve_code);
        }
        let held = self.returnable(handle, key_no).await?;
        let centre = self.centre_of(handle, held.series).await?;
        let note = why.audited();
        let token = self.giving_back(held, key_no, why, Some(&centre)).await?;
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
        self.heard(&centre, None).await;
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
        let view = handle.install(document, series).await?;
        self.put_on_token(handle, view.key_no).await;
        Ok(view)
    }

    async fn take_licence(
        &self,
        turn: &Turn<'_>,
        handle: &Handle,
        answer: ActivationAnswer,
        note: String,
        actor: &Actor,
    ) -> Result<LicenceView, ApiError> {
        let ActivationAnswer { licence, series, mark } = answer;
        let named = series.series;
        let (view, refused) = self.take_given(turn, handle, licence, Some(series)).await?;
        note_key(handle, "key_install", &view, note, actor).await?;
        if let Some(centre) = self.known_centre(handle, named).await? {
            self.heard(&centre, Some(mark)).await;
        }
        refused.map_or(Ok(view), Err)
    }

    /// Takes a licence that its centre has given to this server for a code: the code is spent, so the
    /// licence is kept also where its kind must not stand beside what is here. A key that was bought
    /// works then, and a demonstration beside it gives out no more seats; a demonstration beside others
    /// lies idle, and the refusal says so.
    async fn take_given(
        &self,
        turn: &Turn<'_>,
        handle: &Handle,
        document: String,
        series: Option<SeriesDescriptor>,
    ) -> Result<(LicenceView, Option<ApiError>), ApiError> {
        turn.stage.set(Some(Stage::Writing));
        let (view, refused) = match handle.install(document.clone(), series.clone()).await {
            Ok(view) => (view, None),
            Err(DriverError::Install(why)) if why.is_of_kinds() => {
                let view = handle.install_listed(document, series).await?;
                let is_bought = matches!(why, InstallError::DemoKeyPresent(_));
                (view, (!is_bought).then(|| kept_idle(&why)))
            }
            Err(error) => return Err(error.into()),
        };
        self.put_on_token(handle, view.key_no).await;
        Ok((view, refused))
    }

    /// A key that was paid for has ended the demonstration at the centre, whose word about that is
    /// asked for. Without it the demonstration lies idle until the next update.
    async fn hear_of_demo(
        &self,
        turn: &Turn<'_>,
        handle: &Handle,
        series: KeySeries,
        actor: &Actor,
        language: Language,
    ) {
        let heard = async {
            let known = handle.centres().await?;
            let known = known.into_iter().filter(|(one, _)| *one == series).collect();
            self.update_of(turn, handle, known, actor, language).await
        };
        if let Err(error) = heard.await {
            log::info!("the demonstration key of series {series} stays for now: {error}");
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
        let given_back = handle.give_up(answer.receipt, "key_return", note, actor).await?;
        let receipt = given_back.receipt;
        if given_back.removed && receipt.key_no == answer.key_no {
            self.take_off_token(given_back.token, receipt.key_no).await;
        }
        Ok(Installed {
            licences: Vec::new(),
            reserve_code: Some(receipt.reserve_code),
            removed: given_back.removed.then_some(receipt.key_no),
            ..Installed::default()
        })
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

/// The refusal of a demonstration key that its centre has given to this server all the same.
fn kept_idle(why: &InstallError) -> ApiError {
    let mut error = ApiError::from(why);
    error.english.push_str(
        ". The key is kept on this server and gives out no seats while others of the series are here: \
         remove it, or them.",
    );
    error.russian.push_str(
        " Ключ сохранён на этом сервере, но не выдаёт лицензий, пока здесь есть другие ключи серии: \
         удалите его или их.",
    );
    error
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
