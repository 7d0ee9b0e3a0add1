//! Activation by code: asks the vendor's centre for a licence and installs it.
//!
//! The whole round of `POST /api/licences`. The centre decides whether there is a licence; the
//! driver decides whether the document is genuine. Nothing is kept here between two rounds.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use licence_core::activation::ActivationCode;
use licence_core::activation_request::{ActivationAnswer, ActivationCall, ActivationRequest};
use licence_core::language::Language;
use licence_core::protocol::{ErrorBody, LicenceView};
use licence_core::seal::hex_upper;
use tokio::sync::Semaphore;

use crate::api::VERSION;
use crate::api::errors::ApiError;
use crate::driver::Handle;
use crate::identity::Identity;
use crate::settings::Settings;
use crate::{clock, random};

/// How long a connection to the centre may take to come about.
const CONNECT_SECS_MAX: u64 = 5;

/// How long the whole round to the centre may take: a person waits for it in a browser.
const ROUND_SECS_MAX: u64 = 30;

/// Largest answer of a centre, in bytes: a licence and a series descriptor have some kilobytes.
const ANSWER_BYTES_MAX: u64 = 256 * 1024;

/// How long a second activation waits for the first: one round and a little.
const TURN_SECS_MAX: u64 = ROUND_SECS_MAX + 5;

/// Longest text of a centre that is passed on, in characters.
const TEXT_CHARS_MAX: usize = 1000;

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

/// Installs licences by code, one at a time: a double click is not two requests.
#[derive(Debug)]
pub struct Activator {
    identity: Arc<Identity>,
    computer_id: String,
    settings: Settings,
    turn: Semaphore,
}

impl Activator {
    /// Activates for this identity, by the settings of the moment.
    pub fn new(identity: Arc<Identity>, computer_id: String, settings: Settings) -> Self {
        Self { identity, computer_id, settings, turn: Semaphore::new(1) }
    }

    /// Calls centres by the settings of the moment. One for each round: there is no connection to
    /// be kept between two, and the proxy may change.
    fn agent(&self) -> ureq::Agent {
        let uses_proxy = self.settings.get().licence_center_use_proxy;
        ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(CONNECT_SECS_MAX)))
            .timeout_global(Some(Duration::from_secs(ROUND_SECS_MAX)))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(0)
            .proxy(if uses_proxy { ureq::Proxy::try_from_env() } else { None })
            .user_agent(format!("licenceserver/{VERSION}"))
            .build()
            .new_agent()
    }

    /// The centre of series that name none themselves.
    fn default_centre(&self) -> Option<String> {
        self.settings.get().licence_center_url.clone()
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
        language: Language,
    ) -> Result<LicenceView, ApiError> {
        let bound = Duration::from_secs(TURN_SECS_MAX);
        let Ok(Ok(_turn)) = tokio::time::timeout(bound, self.turn.acquire()).await else {
            return Err(ApiError::unavailable(
                "Another activation is under way; try again.",
                "Выполняется другая активация; повторите запрос.",
            ));
        };
        let series = order.code.series();
        let known = handle.centre_for(series).await?;
        let Some(centre) = known.or_else(|| self.default_centre()) else {
            return Err(ApiError::new(
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
            ));
        };
        let token = self.request(order)?;
        let agent = self.agent();
        let asked = centre.clone();
        let round = tokio::task::spawn_blocking(move || ask(&agent, &asked, token, language));
        let answer = round.await.map_err(|error| {
            log::error!("the call to the activation centre broke down: {error}");
            ApiError::internal()
        })??;
        let installed = handle.install(answer.licence, Some(answer.series)).await?;
        log::info!("installed a licence of series {series} from {centre}");
        Ok(installed)
    }

    /// A request that a person carries to the centre in a file: the signed token that
    /// [`Self::install`] would send.
    ///
    /// # Errors
    ///
    /// 500 when none can be made.
    pub fn file_request(&self, order: Order) -> Result<String, ApiError> {
        self.request(order)
    }

    /// Installs the centre's answer to a file request.
    ///
    /// # Errors
    ///
    /// 400 when it is not such an answer; the driver's refusal of the document.
    pub async fn file_answer(
        &self,
        handle: &Handle,
        answer: &str,
    ) -> Result<LicenceView, ApiError> {
        let _ = (handle, answer);
        Err(ApiError::unfinished())
    }

    /// Asks the centres for the licences of this server as they are there, and installs what is
    /// newer or missing here.
    ///
    /// # Errors
    ///
    /// The centre's refusal; `ELicenceCentreUnavailable`.
    pub async fn update(
        &self,
        handle: &Handle,
        language: Language,
    ) -> Result<Vec<LicenceView>, ApiError> {
        let _ = (handle, language);
        Err(ApiError::unfinished())
    }

    /// Gives a key back to its centre and gets a reserve code for it; the key is gone here.
    ///
    /// # Errors
    ///
    /// 404 for a key that is not here; the centre's refusal; `ELicenceCentreUnavailable`.
    pub async fn reserve_code(
        &self,
        handle: &Handle,
        key_no: licence_core::key::KeyNo,
        note: String,
        actor: &crate::access::Actor,
        language: Language,
    ) -> Result<ActivationCode, ApiError> {
        let _ = (handle, key_no, note, actor, language);
        Err(ApiError::unfinished())
    }

    fn request(&self, order: Order) -> Result<String, ApiError> {
        let internal = |error: &dyn std::fmt::Display| {
            log::error!("no activation request could be made: {error}");
            ApiError::internal()
        };
        let jti = hex_upper(&random::id_bytes().map_err(|error| internal(&error))?);
        let mut request = ActivationRequest::new(
            jti,
            clock::utc(),
            self.identity.key(),
            order.code,
            self.computer_id.clone(),
            VERSION.to_owned(),
        );
        request.itn = order.itn;
        request.iec = order.iec;
        request.sign(self.identity.key()).map_err(|error| internal(&error))
    }
}

/// One call to the centre. Blocks for at most [`ROUND_SECS_MAX`].
fn ask(
    agent: &ureq::Agent,
    centre: &str,
    request: String,
    language: Language,
) -> Result<ActivationAnswer, ApiError> {
    let address = format!("{}/api/activations", centre.trim_end_matches('/'));
    let result = agent
        .post(&address)
        .header("Accept-Language", language.pick("ru", "en"))
        .send_json(&ActivationCall { request });
    let mut response = result.map_err(|error| unavailable(centre, &error))?;
    let status = response.status();
    let mut body = Vec::new();
    response
        .body_mut()
        .as_reader()
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut body)
        .map_err(|error| unavailable(centre, &error))?;
    if status == StatusCode::OK || status == StatusCode::CREATED {
        return serde_json::from_slice(&body).map_err(|error| unusable(centre, &error));
    }
    Err(match serde_json::from_slice::<ErrorBody>(&body) {
        Ok(refusal) => passed_on(status, &refusal),
        Err(error) => {
            log::warn!("{address} answered {status}");
            unusable(centre, &error)
        }
    })
}

/// The centre's refusal as ours: its class and text, with a status that the manual knows.
fn passed_on(status: StatusCode, refusal: &ErrorBody) -> ApiError {
    let status = match status.as_u16() {
        // Our own caller is authorised: the centre's 401 must not make a browser ask again.
        401 | 403 => StatusCode::FORBIDDEN,
        404 => StatusCode::NOT_FOUND,
        400..=499 => StatusCode::BAD_REQUEST,
        501 => StatusCode::NOT_IMPLEMENTED,
        503 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let is_class = refusal.exception.len() <= 64
        && refusal.exception.starts_with('E')
        && refusal.exception.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    let class =
        if is_class { refusal.exception.clone() } else { "ELicenceCentreRefused".to_owned() };
    let prefix = format!("({})", refusal.exception);
    let text = refusal.message.strip_prefix(&prefix).unwrap_or(&refusal.message).trim();
    let text: String = text.chars().take(TEXT_CHARS_MAX).collect();
    ApiError::new(status, class, text.clone(), text)
}

fn unavailable(centre: &str, error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "ELicenceCentreUnavailable",
        format!("The activation centre {centre} cannot be reached: {error}."),
        format!("Центр лицензирования {centre} недоступен: {error}."),
    )
}

fn unusable(centre: &str, error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "ELicenceCentreUnavailable",
        format!("The activation centre {centre} gave an answer that cannot be used: {error}."),
        format!("Ответ центра лицензирования {centre} не удалось разобрать: {error}."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(exception: &str, message: &str) -> ErrorBody {
        ErrorBody {
            code: 409,
            text: "Conflict".into(),
            message: message.into(),
            exception: exception.into(),
        }
    }

    #[test]
    fn refusal_of_the_centre_is_passed_on_with_a_status_of_the_manual() {
        for (status, expected) in [
            (400, 400),
            (401, 403),
            (403, 403),
            (404, 404),
            (405, 400),
            (409, 400),
            (422, 400),
            (500, 500),
            (501, 501),
            (502, 500),
            (503, 503),
            (302, 500),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let error = passed_on(status, &refusal("ECodeUsed", "(ECodeUsed) The code was used"));
            assert_eq!(error.status.as_u16(), expected, "{status}");
            assert_eq!((&*error.class, &*error.english), ("ECodeUsed", "The code was used"));
        }
    }

    #[test]
    fn strange_class_of_a_centre_is_replaced_and_a_long_text_cut() {
        let error =
            passed_on(StatusCode::CONFLICT, &refusal("<script>\r\nX", &"long ".repeat(10_000)));
        assert_eq!(error.class, "ELicenceCentreRefused");
        assert!(error.english.len() <= TEXT_CHARS_MAX);
    }

    #[test]
    fn centre_that_is_not_there_is_unavailable() {
        let closed = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        let agent = ureq::Agent::new_with_defaults();
        let error =
            ask(&agent, &format!("http://{closed}"), "x".into(), Language::English).unwrap_err();
        assert_eq!((error.status.as_u16(), &*error.class), (500, "ELicenceCentreUnavailable"));
    }
}
