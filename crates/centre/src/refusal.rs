//! Every refusal of the centre: its HTTP status, its exception class, its words in Russian and
//! English.
//!
//! When a refusal is due is decided by the callers.

use licence_core::protocol::ErrorBody;
use licencekit::order::OrderError;
use licencekit::text::Language;

use crate::decide::Denial;

/// Why a call got no 2xx answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The body is not the JSON that the route takes.
    BadJson(String),
    /// A member of the request lies outside its limits.
    BadMember(&'static str),
    /// Too many calls wait for the books.
    Busy,
    /// The thread of the books has ended; the process is about to.
    Closed,
    /// The code is mistyped or of a series that this centre does not serve.
    CodeWrong,
    /// The rules forbid it.
    Denied(Denial),
    /// The request is for another centre.
    Elsewhere,
    /// Something failed here; the log says what.
    Internal,
    /// The route has other methods; these.
    Method(&'static str),
    /// No such route or order.
    NotFound,
    /// The request is not signed by the key that it names.
    NotGenuine,
    /// The order is outside its limits.
    Order(OrderError),
    /// The order names a series that this centre does not serve.
    OrderSeries,
    /// The body did not arrive in time.
    Slow,
    /// The request was made too long ago, or in the future.
    Stale,
    /// The body is larger than the centre reads.
    TooLarge,
    /// No token, or a wrong one.
    Unauthorized,
}

impl Refusal {
    /// The HTTP status with its text.
    pub const fn status(&self) -> (u16, &'static str) {
        match self {
            Self::BadJson(_)
            | Self::BadMember(_)
            | Self::CodeWrong
            | Self::Elsewhere
            | Self::NotGenuine
            | Self::Order(_)
            | Self::OrderSeries
            | Self::Stale => (400, "Bad Request"),
            Self::Unauthorized => (401, "Unauthorized"),
            Self::Denied(
                Denial::DemoKept | Denial::Expired | Denial::OwnerMismatch | Denial::Revoked,
            ) => (403, "Forbidden"),
            Self::Denied(Denial::KeyNotFound | Denial::Unknown) | Self::NotFound => {
                (404, "Not Found")
            }
            Self::Method(_) => (405, "Method Not Allowed"),
            Self::Slow => (408, "Request Timeout"),
            Self::Denied(Denial::DemoUsed | Denial::Returned | Denial::Used) => (409, "Conflict"),
            Self::TooLarge => (413, "Content Too Large"),
            Self::Internal => (500, "Internal Server Error"),
            Self::Denied(Denial::BlankNotSupported) => (501, "Not Implemented"),
            Self::Busy | Self::Closed => (503, "Service Unavailable"),
        }
    }

    /// The exception class, by which programs tell refusals apart.
    pub const fn exception(&self) -> &'static str {
        match self {
            Self::BadJson(_) | Self::BadMember(_) => "EHTTPBadRequest",
            Self::Busy | Self::Closed => "EHTTPServiceUnavailable",
            Self::CodeWrong => "ECodeWrong",
            Self::Denied(Denial::BlankNotSupported) => "EBlankNotSupported",
            Self::Denied(Denial::DemoKept) => "EDemoKey",
            Self::Denied(Denial::DemoUsed) => "EDemoUsed",
            Self::Denied(Denial::Expired | Denial::Revoked) => "ECodeRevoked",
            Self::Denied(Denial::KeyNotFound) => "EKeyNotFound",
            Self::Denied(Denial::OwnerMismatch) => "EOwnerMismatch",
            Self::Denied(Denial::Returned) => "EKeyReturned",
            Self::Denied(Denial::Unknown) => "ECodeUnknown",
            Self::Denied(Denial::Used) => "ECodeUsed",
            Self::Elsewhere => "ERequestElsewhere",
            Self::Internal => "EInternal",
            Self::Method(_) => "EHTTPMethodNotAllowed",
            Self::NotFound => "EHTTPNotFound",
            Self::NotGenuine => "ERequestNotGenuine",
            Self::Order(_) | Self::OrderSeries => "EOrderWrong",
            Self::Slow => "EHTTPRequestTimeout",
            Self::Stale => "ERequestExpired",
            Self::TooLarge => "EHTTPContentTooLarge",
            Self::Unauthorized => "EHTTPUnauthorized",
        }
    }

    /// What to tell a person.
    pub fn text(&self, language: Language) -> String {
        let pick = |english: &str, russian: &str| language.pick(english, russian).to_owned();
        match self {
            Self::BadJson(what) => {
                format!("{}: {what}", pick("The body is not valid", "Неверное тело запроса"))
            }
            Self::BadMember(name) => {
                format!("{name}: {}", pick("not an acceptable value.", "недопустимое значение."))
            }
            Self::Busy => pick(
                "The activation centre is busy, try again in a minute.",
                "Центр активации занят, повторите попытку через минуту.",
            ),
            Self::Closed => pick(
                "The activation centre has lost its books and stops.",
                "Центр активации потерял доступ к своей базе и останавливается.",
            ),
            Self::CodeWrong => pick(
                "The activation code is mistyped or belongs to another product.",
                "Код активации введён с ошибкой или относится к другому продукту.",
            ),
            Self::Denied(denial) => denial_text(*denial, language).to_owned(),
            Self::Elsewhere => pick(
                "The request is for another activation centre.",
                "Запрос предназначен другому центру активации.",
            ),
            Self::Internal => pick(
                "The activation centre could not carry out the request.",
                "Центр активации не смог выполнить запрос.",
            ),
            Self::Method(allowed) => format!(
                "{} {allowed}.",
                pick("This URL takes only", "По этому адресу допускается только")
            ),
            Self::NotFound => pick("There is nothing at this URL.", "По этому адресу ничего нет."),
            Self::NotGenuine => pick(
                "The request is not signed by the server that it names.",
                "Запрос не подписан сервером, который в нём указан.",
            ),
            Self::Order(error) => match (language, error) {
                (Language::English, _) => format!("{error}."),
                (Language::Russian, OrderError::Parameters(error)) => {
                    format!("Заказ не принят: Parameters: {}.", error.russian())
                }
                (Language::Russian, _) => format!("Заказ не принят: {error}."),
            },
            Self::OrderSeries => pick(
                "The activation centre does not serve this series.",
                "Центр активации не обслуживает эту серию.",
            ),
            Self::Slow => {
                pick("The body did not arrive in time.", "Тело запроса не получено вовремя.")
            }
            Self::Stale => pick(
                "The request is too old (30 days; 7 days to give a key back), or the clock of the \
                 server is wrong: make a new one.",
                "Запрос слишком старый (30 дней; на возврат ключа — 7 дней), или часы сервера \
                 неверны: создайте новый.",
            ),
            Self::TooLarge => pick("The body is too large.", "Тело запроса слишком велико."),
            Self::Unauthorized => {
                pick("A valid bearer token is needed.", "Нужен действующий токен доступа.")
            }
        }
    }

    /// The body that says all this.
    pub fn body(&self, language: Language) -> ErrorBody {
        let (code, text) = self.status();
        let exception = self.exception();
        ErrorBody {
            code,
            text: text.to_owned(),
            message: format!("({exception}) {}", self.text(language)),
            exception: exception.to_owned(),
        }
    }
}

const fn denial_text(denial: Denial, language: Language) -> &'static str {
    match denial {
        Denial::BlankNotSupported => language.pick(
            "Keys on USB tokens cannot be activated yet; activate without BlankKeyNo.",
            "Активация на аппаратный носитель пока не поддерживается; активируйте без носителя.",
        ),
        Denial::DemoKept => language.pick(
            "A demonstration key is for one computer: it cannot be given back.",
            "Демонстрационный ключ выдан одному компьютеру, вернуть его нельзя.",
        ),
        Denial::DemoUsed => language.pick(
            "A demo key of this product was already activated on this computer.",
            "На этом компьютере уже активировали демонстрационный ключ этого продукта.",
        ),
        Denial::Expired => {
            language.pick("The term of this code has ended.", "Срок действия кода истёк.")
        }
        Denial::KeyNotFound => language.pick(
            "The centre has issued no such key to this server.",
            "Центр не выдавал этому серверу такого ключа.",
        ),
        Denial::OwnerMismatch => language.pick(
            "The code was sold to another owner: check ITN and IEC.",
            "Код продан другому владельцу: проверьте ИНН и КПП.",
        ),
        Denial::Returned => language.pick(
            "The key was given back; install it with its reserve code.",
            "Ключ возвращён; установите его по резервному коду.",
        ),
        Denial::Revoked => {
            language.pick("The vendor has revoked this code.", "Код отозван поставщиком.")
        }
        Denial::Unknown => {
            language.pick("There is no such activation code.", "Такого кода активации нет.")
        }
        Denial::Used => language.pick(
            "The code was already activated by another server.",
            "Код уже активирован другим сервером.",
        ),
    }
}

/// The language that an `Accept-Language` header prefers (RFC 9110, section 12.5.4). Russian
/// without one: the buyers of 1C configurations are there.
pub fn language(header: Option<&str>) -> Language {
    // Longer lists are not read to their end: browsers send a dozen entries at most.
    const ENTRIES_MAX: usize = 32;
    let mut best = (0.0, Language::Russian);
    for entry in header.unwrap_or_default().split(',').take(ENTRIES_MAX) {
        let mut parts = entry.split(';');
        let tag = parts.next().unwrap_or_default().trim();
        let language = match tag.split('-').next().unwrap_or_default() {
            two if two.eq_ignore_ascii_case("ru") => Language::Russian,
            two if two.eq_ignore_ascii_case("en") => Language::English,
            _ => continue,
        };
        let quality = parts
            .find_map(|part| part.trim().strip_prefix("q="))
            .map_or(1.0, |text| text.parse::<f32>().unwrap_or(0.0));
        if quality > best.0 {
            best = (quality, language);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use licence_core::parameter_claims::ParametersError;

    use super::*;

    #[test]
    fn preferred_of_the_two_languages_is_taken_and_russian_without_a_wish() {
        let check =
            |header: Option<&str>, wanted| assert_eq!(language(header), wanted, "{header:?}");
        check(None, Language::Russian);
        check(Some("de"), Language::Russian);
        check(Some("en-US,en;q=0.9"), Language::English);
        check(Some("en;q=0.3, ru-RU;q=0.8"), Language::Russian);
        check(Some("en;q=nonsense"), Language::Russian);
        check(Some("de, en;q=0.1"), Language::English);
    }

    #[test]
    fn parameters_that_are_not_taken_are_named_in_both_languages() {
        let error = ParametersError::Twice("Имя".into());
        let refusal = Refusal::Order(OrderError::Parameters(error));
        let english = refusal.text(Language::English);
        assert!(english.starts_with("Parameters: parameter \"Имя\" is named twice"), "{english}");
        let russian = refusal.text(Language::Russian);
        assert!(russian.contains("Parameters: параметр \"Имя\" назван дважды"), "{russian}");
    }

    #[test]
    fn message_starts_with_the_exception_class_in_brackets() {
        for language in [Language::English, Language::Russian] {
            let body = Refusal::Denied(Denial::Used).body(language);
            assert_eq!((body.code, body.exception.as_str()), (409, "ECodeUsed"));
            assert!(body.message.starts_with("(ECodeUsed) "), "{}", body.message);
        }
    }
}
