//! Roads beside a code: a demonstration key without one, and a spare code for a key that works.
//!
//! Each asks the centre and takes its answer; the centre decides. Asked again after a lost answer, it
//! gives the same.

use licence_core::activation::ActivationCode;
use licence_core::centre_request::{AnswerFile, CentreAnswer};
use licence_core::key::{KeyNo, KeySeries};
use licence_core::language::Language;
use licence_core::protocol::LicenceView;

use super::centre::Round;
use super::taken::other_series;
use super::{Activator, Turn, key_not_found};
use crate::access::Actor;
use crate::api::errors::ApiError;
use crate::driver::{AuditNote, Handle};

/// A demonstration key to ask for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Demo {
    /// The series.
    pub series: KeySeries,
    /// Owner's ИНН, digits.
    pub itn: Option<String>,
    /// Owner's КПП, digits.
    pub iec: Option<String>,
}

impl Activator {
    /// Asks for a demonstration key without a code and installs it.
    ///
    /// # Errors
    ///
    /// As [`Self::install`].
    pub async fn demo(
        &self,
        handle: &Handle,
        demo: Demo,
        actor: &Actor,
        language: Language,
    ) -> Result<LicenceView, ApiError> {
        let turn = self.turn().await?;
        let series = demo.series;
        let centre = self.centre_of(handle, series).await?;
        let token = self.demo_token(demo, Some(&centre))?;
        match self.ask_any(&turn, &centre, token, language).await? {
            CentreAnswer::Activation(answer) => {
                self.check_series(&answer, series, &centre)?;
                let note = "demonstration without a code".to_owned();
                let view = self.take_licence(&turn, handle, answer, note, actor).await?;
                log::info!("installed a demonstration key of series {series} from {centre}");
                Ok(view)
            }
            CentreAnswer::Return(_) | CentreAnswer::Spare(_) | CentreAnswer::Update(_) => {
                Err(other_answer(&centre))
            }
        }
    }

    /// The request for a demonstration key, as a file.
    ///
    /// # Errors
    ///
    /// 500 when none can be made.
    pub async fn demo_request(&self, handle: &Handle, demo: Demo) -> Result<String, ApiError> {
        let centre = self.known_centre(handle, demo.series).await?;
        self.demo_token(demo, centre.as_deref())
    }

    /// Asks the centre for a spare code of a key that works here: it installs the key elsewhere when
    /// this server is no more, and ends it here. The key goes on working.
    ///
    /// # Errors
    ///
    /// 404 for a key that is not here; the centre's refusal; `ELicenceCentreUnavailable`.
    pub async fn spare_code(
        &self,
        handle: &Handle,
        key_no: KeyNo,
        actor: &Actor,
        language: Language,
    ) -> Result<ActivationCode, ApiError> {
        let turn = self.turn().await?;
        let held = handle.held(key_no).await?.ok_or_else(|| key_not_found(key_no))?;
        let series = held.series;
        let centre = self.centre_of(handle, series).await?;
        let token = self.spare_token(held, key_no, Some(&centre))?;
        let answer = match self.ask_any(&turn, &centre, token, language).await? {
            CentreAnswer::Spare(answer) => answer,
            CentreAnswer::Activation(_) | CentreAnswer::Return(_) | CentreAnswer::Update(_) => {
                return Err(other_answer(&centre));
            }
        };
        if answer.key_no != key_no || answer.spare_code.series() != series {
            log::error!("{centre} gave a spare code of another key than {key_no}");
            return Err(ApiError::internal());
        }
        self.heard(&centre, None).await;
        // Who has seen the code could take the key: that leaves a line, the code does not.
        let note = AuditNote {
            action: "key_spare",
            subject: key_no.to_string(),
            key_no: Some(key_no),
            series: Some(series),
            note: String::new(),
        };
        handle.audit(note, actor).await?;
        Ok(answer.spare_code)
    }

    /// A request of any kind, at the address that takes them all.
    async fn ask_any(
        &self,
        turn: &Turn<'_>,
        centre: &str,
        token: String,
        language: Language,
    ) -> Result<CentreAnswer, ApiError> {
        let round = Round::start();
        let file: AnswerFile =
            self.ask(turn, round, centre, "/api/requests", token, language).await?;
        Ok(file.answer)
    }

    pub(super) fn check_series(
        &self,
        answer: &licence_core::activation_request::ActivationAnswer,
        series: KeySeries,
        centre: &str,
    ) -> Result<(), ApiError> {
        use licence_core::licence_file::Licence;
        if Licence::peek_series(&answer.licence).is_ok_and(|named| named != series) {
            log::error!("{centre} gave a licence of another series than {series}");
            return Err(other_series(series));
        }
        Ok(())
    }
}

fn other_answer(centre: &str) -> ApiError {
    log::error!("{centre} answered another request than it was asked");
    super::centre::unusable(centre, &"it answers another request")
}
