//! Licence service for components: what REST lets an administrator do with keys, within what a
//! component may.
//!
//! A component asks without a password, so nothing here makes a series known or takes a key away
//! without an administrator's. What happens to a key is the activator's work.

use std::sync::Arc;

use hyper::StatusCode;
use licence_core::activation_request::ActivationAnswer;
use licence_core::centre_request::{AnswerFile, CentreAnswer, LicencesAnswer};
use licence_core::key::{KeyNo, KeySeries};
use licence_core::language::Language;
use licence_core::licence_file::Licence;
use licence_core::protocol::LicenceView;
use licence_core::protocol::manager::{FILE_TEXT_BYTES_MAX, OperationResult};

use super::tickets::Outcome;
use crate::access::Actor;
use crate::activate::{Activator, Demo, Installed, Order, Why, key_not_found};
use crate::api::client::conceal;
use crate::api::errors::ApiError;
use crate::api::rest::{IEC_DIGITS_MAX, ITN_DIGITS_MAX, code_error_russian};
use crate::driver::Handle;

/// What is asked, checked as far as it can be without asking anybody.
pub(super) enum Work {
    Deactivate { key_no: KeyNo, why: Why },
    DeactivateRequest { key_no: KeyNo, why: Why },
    Demo(Demo),
    DemoRequest(Demo),
    Install(Order),
    InstallAnswer(String),
    InstallRequest(Order),
    PhoneAnswer(String),
    PhoneRequest(Order),
    Update(Owner),
    UpdateRequest,
}

/// Whose licences are meant; numbers, because licences are shown with numbers.
#[derive(Clone, Copy, Default)]
pub(super) struct Owner {
    itn: Option<u64>,
    iec: Option<u64>,
}

/// Everything that an operation needs on its own way.
pub(super) struct Worker {
    pub(super) activator: Arc<Activator>,
    pub(super) handle: Handle,
    pub(super) series: KeySeries,
    pub(super) actor: Actor,
    pub(super) language: Language,
}

impl Worker {
    pub(super) async fn run(self, work: Work) -> Outcome {
        let Self { activator, handle, series, actor, language } = &self;
        match work {
            Work::Deactivate { key_no, why } => {
                self.check_series(key_no).await?;
                let code = activator.reserve_code(handle, key_no, why, actor, *language).await?;
                Ok(OperationResult::ReserveCode(code.to_string()))
            }
            Work::DeactivateRequest { key_no, why } => {
                self.check_series(key_no).await?;
                let (text, _) = activator.return_request(handle, key_no, why, actor).await?;
                Ok(OperationResult::Request(text))
            }
            Work::Install(order) => {
                let view = activator.install(handle, order, actor, *language).await?;
                Ok(OperationResult::Licences(shown(vec![view], *series, *language)))
            }
            Work::Demo(demo) => {
                let view = activator.demo(handle, demo, actor, *language).await?;
                Ok(OperationResult::Licences(shown(vec![view], *series, *language)))
            }
            Work::DemoRequest(demo) => {
                Ok(OperationResult::Request(activator.demo_request(handle, demo).await?))
            }
            // Only of a series that is known here: no other has lines that can be taken.
            Work::PhoneAnswer(text) => {
                let view = activator.short_answer(handle, &text, actor).await?;
                Ok(OperationResult::Licences(shown(vec![view], *series, *language)))
            }
            Work::PhoneRequest(order) => {
                Ok(OperationResult::Request(activator.short_request(handle, order).await?))
            }
            Work::InstallAnswer(text) => self.install_answer(&text).await,
            Work::InstallRequest(order) => {
                Ok(OperationResult::Request(activator.file_request(handle, order).await?))
            }
            Work::Update(owner) => {
                let mut views = activator.update(handle, actor, *language).await?.licences;
                // Those of other products are renewed with them and are not the asker's business.
                views.retain(|view| view.key_id == Some(*series) && owner.has(view));
                Ok(OperationResult::Licences(shown(views, *series, *language)))
            }
            Work::UpdateRequest => {
                Ok(OperationResult::Request(activator.update_request(handle).await?))
            }
        }
    }

    async fn install_answer(&self, text: &str) -> Outcome {
        let known = self.handle.centres().await?;
        for series in named_series(text) {
            if !known.contains_key(&series) {
                return Err(unknown_series(series));
            }
        }
        let installed = self.activator.file_answer(&self.handle, text, &self.actor).await?;
        let Installed { licences, reserve_code, spare_code, .. } = installed;
        if spare_code.is_some() {
            // For an administrator to keep: a component asks without a password.
            return Err(super::wrong(
                "The answer holds a spare code: open it in the server's console.",
                "В ответе запасной код: откройте его в консоли сервера лицензий.",
            ));
        }
        Ok(match reserve_code {
            Some(code) => OperationResult::ReserveCode(code.to_string()),
            None => OperationResult::Licences(shown(licences, self.series, self.language)),
        })
    }

    /// Whether the key is of the asker's product: an administrator who types a number into the form
    /// of one product does not mean the key of another.
    async fn check_series(&self, key_no: KeyNo) -> Result<(), ApiError> {
        let held = self.handle.returnable(key_no).await?;
        let held = held.ok_or_else(|| key_not_found(key_no))?;
        if held.series == self.series {
            Ok(())
        } else {
            Err(super::other_series(key_no, held.series))
        }
    }
}

impl Owner {
    /// The owner by their numbers; an empty text asks nothing.
    pub(super) fn read(itn: Option<&str>, iec: Option<&str>) -> Result<Self, ApiError> {
        let number = |name, text, max| {
            let digits = digits(name, text, max)?;
            Ok::<_, ApiError>(digits.and_then(|digits| digits.parse().ok()))
        };
        Ok(Self {
            itn: number("ITN", itn, ITN_DIGITS_MAX)?,
            iec: number("IEC", iec, IEC_DIGITS_MAX)?,
        })
    }

    fn has(self, view: &LicenceView) -> bool {
        let is = |wanted: Option<u64>, has: Option<u64>| wanted.is_none() || wanted == has;
        is(self.itn, view.itn) && is(self.iec, view.iec)
    }
}

/// The order of an activation, for the asker's series only.
pub(super) fn order(
    series: KeySeries,
    code: &str,
    itn: Option<&str>,
    iec: Option<&str>,
    blank_key_no: Option<u32>,
) -> Result<Order, ApiError> {
    let code: licence_core::activation::ActivationCode = code.trim().parse().map_err(|error| {
        super::wrong(
            format!("ActivationCode is not an activation code: {error}."),
            format!(
                "Параметр ActivationCode не является кодом активации: {}.",
                code_error_russian(error)
            ),
        )
    })?;
    if code.series() != series {
        return Err(super::wrong(
            format!("The activation code is of series {}, not of {series}.", code.series()),
            format!("Код активации относится к серии {}, а не к {series}.", code.series()),
        ));
    }
    let itn = digits("ITN", itn, ITN_DIGITS_MAX)?;
    let iec = digits("IEC", iec, IEC_DIGITS_MAX)?;
    Ok(Order { code, itn, iec, blank_key_no })
}

/// A demonstration key of the asker's series.
pub(super) fn demo(
    series: KeySeries,
    itn: Option<&str>,
    iec: Option<&str>,
) -> Result<Demo, ApiError> {
    let itn = digits("ITN", itn, ITN_DIGITS_MAX)?;
    let iec = digits("IEC", iec, IEC_DIGITS_MAX)?;
    Ok(Demo { series, itn, iec })
}

/// The text of an answer file, if it may be one.
pub(super) fn answer_file(text: String) -> Result<String, ApiError> {
    if text.trim().is_empty() || text.len() > FILE_TEXT_BYTES_MAX {
        return Err(super::wrong(
            format!("Answer must be a text of at most {FILE_TEXT_BYTES_MAX} bytes."),
            format!("Параметр Answer должен быть текстом не длиннее {FILE_TEXT_BYTES_MAX} байт."),
        ));
    }
    Ok(text)
}

fn digits(
    name: &'static str,
    text: Option<&str>,
    digits_max: usize,
) -> Result<Option<String>, ApiError> {
    let Some(digits) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    if digits.len() > digits_max || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(super::wrong(
            format!("{name} must be at most {digits_max} digits."),
            format!("Параметр {name} должен содержать не более {digits_max} цифр."),
        ));
    }
    Ok(Some(digits.to_owned()))
}

/// The series whose licences are in an answer, as they say of themselves. What cannot be read is left
/// to the activator, which says what is wrong.
fn named_series(text: &str) -> Vec<KeySeries> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if let Ok(series) = Licence::peek_series(text) {
        return vec![series];
    }
    let licences = match serde_json::from_str(text) {
        Ok(AnswerFile { answer: CentreAnswer::Activation(ActivationAnswer { licence, .. }) }) => {
            vec![licence]
        }
        Ok(AnswerFile { answer: CentreAnswer::Update(LicencesAnswer { licences, .. }) }) => {
            licences
        }
        // A receipt is believed only of a series that is known already.
        Ok(AnswerFile { answer: CentreAnswer::Return(_) | CentreAnswer::Spare(_) }) | Err(_) => {
            Vec::new()
        }
    };
    licences.iter().filter_map(|licence| Licence::peek_series(licence).ok()).collect()
}

fn shown(mut views: Vec<LicenceView>, own: KeySeries, language: Language) -> Vec<LicenceView> {
    for view in &mut views {
        conceal(view, own);
        view.tell(language);
    }
    views
}

/// Whoever brings the first licence of a series says by which key the series is known from then on.
/// That is for an administrator: a stranger on the network could take the place of the vendor.
fn unknown_series(series: KeySeries) -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "EUnknownSeries",
        format!(
            "Series {series} is not known to this server: install the answer in the server's console, \
             or give it the series' file (SeriesFile)."
        ),
        format!(
            "Серия {series} неизвестна этому серверу: установите ответ в консоли сервера или укажите \
             файл серии (SeriesFile)."
        ),
    )
}
