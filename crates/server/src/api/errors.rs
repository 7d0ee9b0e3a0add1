//! Answers that are not 2xx: status, exception class and text in two languages.
//!
//! The body is the manual's (`Code`, `Text`, `Message`, `Exception`; the message begins with the
//! class in brackets). Which error it is, is decided where it happens; the only decision here is
//! which status a refusal of the core gets.

use std::borrow::Cow;

use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use licence_core::causes::with_causes;
use licence_core::language::Language;
use licence_core::protocol::{ErrorBody, HEARTBEAT_SECS};
use licence_core::refusal::Refusal;
use licence_core::rules::RulesError;

use crate::api::Answer;
use crate::driver::DriverError;
use crate::keyring::InstallError;

/// What a browser shows when it asks for the password.
const CHALLENGE: &str = "Basic realm=\"licenceserver\", charset=\"UTF-8\"";

/// A challenge that no browser knows: RFC 9110 wants one, and none must pop up.
const QUIET_CHALLENGE: &str = "Login realm=\"licenceserver\"";

/// An answer that is not 2xx.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("({class}) {english}")]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// Exception class, a stable code.
    pub class: Cow<'static, str>,
    /// The text in English, without the class.
    pub english: String,
    /// The text in Russian, without the class.
    pub russian: String,
    /// Methods that the address takes, for 405.
    pub allow: Option<String>,
    /// Whether the connection must end because the rest of the request was not read.
    pub closes: bool,
    /// Seconds after which to try again, for 429 and for what passes by itself.
    pub retry_after_secs: Option<u64>,
    /// Whether a browser must not ask for the password by itself, for 401.
    pub is_quiet: bool,
    /// Language that the request itself asks for, above its headers.
    pub language: Option<Language>,
}

impl ApiError {
    /// An error of this class.
    pub fn new(
        status: StatusCode,
        class: impl Into<Cow<'static, str>>,
        english: impl Into<String>,
        russian: impl Into<String>,
    ) -> Self {
        Self {
            status,
            class: class.into(),
            english: english.into(),
            russian: russian.into(),
            allow: None,
            closes: false,
            retry_after_secs: None,
            is_quiet: false,
            language: None,
        }
    }

    /// 400: the request is not what the address takes.
    pub fn bad_request(english: impl Into<String>, russian: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "EHTTPBadRequest", english, russian)
    }

    /// 401: no or wrong user name and password.
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "EHTTPUnauthorized",
            "A valid user name and password are required.",
            "Требуются верные имя пользователя и пароль.",
        )
    }

    /// 403: not from there, or not this way.
    pub fn forbidden(english: impl Into<String>, russian: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "EHTTPForbidden", english, russian)
    }

    /// 404 in the words of the manual.
    pub fn not_found(path: &str) -> Self {
        // A long address is cut: the answer is for people, and the asker knows what it asked.
        const SHOWN_CHARS_MAX: usize = 200;
        let shown: String = path.chars().take(SHOWN_CHARS_MAX).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            "EHTTPNotFound",
            format!("The requested URL \"{shown}\" was not found."),
            format!("Запрошенный адрес \"{shown}\" не найден."),
        )
    }

    /// 405: the address is known and takes other methods.
    pub fn method_not_allowed(method: &str, allow: String) -> Self {
        let mut error = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "EHTTPMethodNotAllowed",
            format!("The method {method} is not allowed here; allowed: {allow}."),
            format!("Метод {method} здесь не допускается; допускаются: {allow}."),
        );
        error.allow = Some(allow);
        error
    }

    /// 408: the body did not come in time.
    pub fn timeout() -> Self {
        let mut error = Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "EHTTPTimeout",
            "The request body did not arrive in time.",
            "Тело запроса не получено вовремя.",
        );
        error.closes = true;
        error
    }

    /// 413: the body is larger than any request needs.
    pub fn too_large(bytes_max: usize) -> Self {
        let mut error = Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "EHTTPPayloadTooLarge",
            format!("The request body is larger than {bytes_max} bytes."),
            format!("Тело запроса больше {bytes_max} байт."),
        );
        error.closes = true;
        error
    }

    /// 500: broken here; the log knows more.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "EHTTPInternalServerError",
            "An internal error; see the log of the server.",
            "Внутренняя ошибка; подробности в логе сервера.",
        )
    }

    /// 500, with the cause in the log.
    pub fn broken(error: &dyn std::error::Error) -> Self {
        log::error!("{}", with_causes(error));
        Self::internal()
    }

    /// 503: not at present, or switched off.
    pub fn unavailable(english: impl Into<String>, russian: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "EHTTPServiceUnavailable", english, russian)
    }

    /// 503: nothing can be written, so nothing is granted; the server starts again by itself.
    pub fn storage() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "EStorage",
            "The data cannot be written, so nothing is granted; the server is starting again.",
            "Запись данных невозможна, лицензии не выдаются; сервер перезапускается.",
        )
    }

    /// Ends the connection after this answer.
    #[must_use]
    pub const fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// The published body.
    pub fn body(&self, language: Language) -> ErrorBody {
        let text = language.pick(&self.russian, &self.english);
        ErrorBody {
            code: self.status.as_u16(),
            text: status_text(self.status).to_owned(),
            message: format!("({}) {text}", self.class),
            exception: self.class.clone().into_owned(),
        }
    }

    /// The whole answer.
    pub fn response(&self, language: Language) -> Answer {
        let body = serde_json::to_vec(&self.body(language)).unwrap_or_default();
        let mut response = Response::new(body.into());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = if self.is_quiet { QUIET_CHALLENGE } else { CHALLENGE };
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(secs) = self.retry_after_secs {
            headers.insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        if let Some(value) =
            self.allow.as_deref().and_then(|allow| HeaderValue::from_str(allow).ok())
        {
            headers.insert(ALLOW, value);
        }
        if self.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Status texts as the manual writes them; the sample of 404 has a small n.
fn status_text(status: StatusCode) -> &'static str {
    match status.as_u16() {
        404 => "Not found",
        500 => "Internal server error",
        _ => status.canonical_reason().unwrap_or(""),
    }
}

/// The status of a refusal: nothing of the kind is there, the request is wrong, or the server
/// may not or can not grant it.
pub fn refusal_status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::ConnectionNotFound | Refusal::NoKey { .. } | Refusal::SessionNotFound => {
            StatusCode::NOT_FOUND
        }
        Refusal::Invalid { .. } => StatusCode::BAD_REQUEST,
        Refusal::Limit { .. } | Refusal::Recovering { .. } => StatusCode::SERVICE_UNAVAILABLE,
        // Grants that the keys of this server do not cover, and whatever else may not be. A server
        // that has no seat of its cluster to give serves those well who have one: with 503 their
        // component would leave it.
        Refusal::ClusterSettling { .. }
        | Refusal::ClusterUnavailable { .. }
        | Refusal::DeniedByRule { .. }
        | Refusal::KeyUnusable { .. }
        | Refusal::LimitByRule { .. }
        | Refusal::NoSeatFree { .. }
        | Refusal::WishUnmet { .. }
        | _ => StatusCode::FORBIDDEN,
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let retry_after_secs = match refusal {
            Refusal::Recovering { secs } => Some(secs),
            // What takes a seat over takes some seconds at most; components ask with a heartbeat.
            Refusal::ClusterSettling { .. } => Some(HEARTBEAT_SECS),
            Refusal::ConnectionNotFound | _ => None,
        };
        let error = Self::new(
            refusal_status(&refusal),
            refusal.class(),
            refusal.text(Language::English),
            refusal.text(Language::Russian),
        );
        Self { retry_after_secs, ..error }
    }
}

impl From<DriverError> for ApiError {
    fn from(error: DriverError) -> Self {
        match error {
            DriverError::Busy => Self::unavailable(
                "The server is busy; try again.",
                "Сервер занят; повторите запрос.",
            ),
            DriverError::Stopped => {
                Self::unavailable("The server is stopping.", "Сервер завершает работу.")
            }
            DriverError::Install(error) => error.into(),
            DriverError::Random => Self::internal(),
            DriverError::Store => Self::storage(),
            DriverError::Rules(error) => error.into(),
            DriverError::RulesFile(error) => Self::broken(&error),
            DriverError::Refused(refusal) => refusal.into(),
        }
    }
}

impl From<RulesError> for ApiError {
    fn from(error: RulesError) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "EParams",
            format!("The rules cannot be put in force: {}.", error.text(Language::English)),
            format!("Правила не приняты: {}.", error.text(Language::Russian)),
        )
    }
}

impl From<InstallError> for ApiError {
    fn from(error: InstallError) -> Self {
        Self::from(&error)
    }
}

impl From<&InstallError> for ApiError {
    fn from(error: &InstallError) -> Self {
        let (class, russian) = match error {
            InstallError::BoundElsewhere(key_no) => {
                ("EBoundElsewhere", format!("Ключ {key_no} привязан к другому серверу."))
            }
            InstallError::DemoBesideOthers(series) => (
                "EDemoKey",
                format!(
                    "Демонстрационный ключ не устанавливается вместе с другими ключами серии \
                     {series}."
                ),
            ),
            InstallError::DemoKeyPresent(series) => (
                "EDemoKey",
                format!("В серии {series} уже есть демонстрационный ключ: он работает один."),
            ),
            InstallError::KeyReturned(key_no) => (
                "EKeyReturned",
                format!(
                    "Ключ {key_no} возвращён с этого сервера; установите его по резервному коду."
                ),
            ),
            InstallError::ReturnPending(key_no) => (
                "EKeyReturned",
                format!(
                    "Для ключа {key_no} создан запрос на возврат: установите ответ центра или \
                     обновите лицензии через интернет, если центр ключ не принял."
                ),
            ),
            InstallError::Older(key_no) => (
                "ELicenceOlder",
                format!("Для ключа {key_no} уже установлена более поздняя лицензия."),
            ),
            InstallError::TooManyReturns => (
                "ETooManyReturns",
                "Слишком много возвращённых или возвращаемых ключей.".to_owned(),
            ),
            InstallError::Licence(_) => {
                ("ELicenceInvalid", "Лицензия не принята: она не подлинная.".to_owned())
            }
            InstallError::NumberTaken(key_no, series) => {
                ("EKeyNumberTaken", format!("Номер {key_no} занят ключом серии {series}."))
            }
            InstallError::Receipt(_) => (
                "EReceiptInvalid",
                "Подтверждение возврата ключа не принято: оно не подлинное.".to_owned(),
            ),
            InstallError::SeriesDescriptor(series) => (
                "ESeriesInvalid",
                format!("Описание серии {series}, полученное с лицензией, не принято."),
            ),
            InstallError::UnknownSeries(series) => {
                ("EUnknownSeries", format!("Серия {series} неизвестна этому серверу."))
            }
            InstallError::Write { .. } => return Self::broken(error),
        };
        Self::new(StatusCode::BAD_REQUEST, class, with_causes(error), russian)
    }
}

#[cfg(test)]
mod tests {
    use licence_core::rules::RuleSet;

    use super::*;

    #[test]
    fn every_failure_of_the_driver_has_its_status() {
        let series = licence_core::key::KeySeries::from_u16(1);
        let denied_by_rule = Refusal::DeniedByRule { series, rule: "x".to_owned() };
        for (error, status, class) in [
            (DriverError::Busy, 503, "EHTTPServiceUnavailable"),
            (DriverError::Stopped, 503, "EHTTPServiceUnavailable"),
            (DriverError::Store, 503, "EStorage"),
            (DriverError::Random, 500, "EHTTPInternalServerError"),
            (DriverError::Refused(Refusal::SessionNotFound), 404, "ESessionNotFound"),
            (DriverError::Refused(Refusal::Limit { max: 1 }), 503, "ELimit"),
            (DriverError::Refused(Refusal::Recovering { secs: 7 }), 503, "ERecovering"),
            (DriverError::Refused(denied_by_rule), 403, "EDeniedByRule"),
            (
                DriverError::Refused(Refusal::ClusterSettling { series, from: None }),
                403,
                "EClusterSettling",
            ),
            (
                DriverError::Refused(Refusal::ClusterUnavailable { series }),
                403,
                "EClusterUnavailable",
            ),
            (DriverError::Rules(RuleSet::from_json("").unwrap_err()), 400, "EParams"),
        ] {
            let shown = format!("{error:?}");
            let error = ApiError::from(error);
            assert_eq!((error.status.as_u16(), &*error.class), (status, class), "{shown}");
        }
    }

    #[test]
    fn body_of_an_unknown_address_is_the_sample_of_the_manual() {
        let error = ApiError::not_found("/api/someurl");
        assert_eq!(
            serde_json::to_string(&error.body(Language::English)).unwrap(),
            concat!(
                r#"{"Code":404,"Text":"Not found","Message":"(EHTTPNotFound) The requested "#,
                r#"URL \"/api/someurl\" was not found.","Exception":"EHTTPNotFound"}"#
            )
        );
        assert!(error.body(Language::Russian).message.starts_with("(EHTTPNotFound) Запрошенный"));
    }

    #[test]
    fn long_address_is_cut_in_the_answer() {
        let error = ApiError::not_found(&"ж".repeat(5000));
        assert!(error.body(Language::English).message.len() < 600);
    }

    #[test]
    fn every_status_has_the_text_of_the_manual() {
        for (code, text) in [
            (400, "Bad Request"),
            (401, "Unauthorized"),
            (403, "Forbidden"),
            (404, "Not found"),
            (500, "Internal server error"),
            (501, "Not Implemented"),
            (503, "Service Unavailable"),
        ] {
            assert_eq!(status_text(StatusCode::from_u16(code).unwrap()), text);
        }
    }
}
