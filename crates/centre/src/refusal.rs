//! Every refusal of the centre: its HTTP status, its exception class, its words in Russian and
//! English.
//!
//! When a refusal is due is decided by the callers.

use licence_core::protocol::ErrorBody;
use licence_core::short_text::ShortTextError;
use licencekit::order::OrderError;
use licencekit::text::Language;
use licencekit::vendor::VendorError;

use crate::decide::Denial;

mod denials;

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
    /// A page of another site sent the form, or the form is out of date.
    CrossSite,
    /// Orders name the customer.
    CustomerInUse,
    /// The rules forbid it.
    Denied(Denial),
    /// The request is for another centre.
    Elsewhere,
    /// The role of the account is not enough.
    Forbidden,
    /// Something failed here; the log says what.
    Internal,
    /// The route has other methods; these.
    Method(&'static str),
    /// No such route, order, customer, token or suspicion.
    NotFound,
    /// The request is not signed by the key that it names.
    NotGenuine,
    /// The order is outside its limits.
    Order(OrderError),
    /// The order names a series that this centre does not serve.
    OrderSeries,
    /// The key is given back; the vendor signs its receipt by hand.
    ReceiptPending,
    /// A document is not signed by the key of its series, or one of its claims, this one, is not what
    /// waits for a signature.
    Signature(Option<String>),
    /// It is done and kept; the vendor signs by hand.
    SignaturePending,
    /// The lines of a request that was read out are not what they should be.
    Short(ShortTextError),
    /// The body did not arrive in time.
    Slow,
    /// The request was made too long ago, or in the future.
    Stale,
    /// Too many calls or guesses from this address: wait so many seconds.
    TooMany(u64),
    /// The body is larger than the centre reads.
    TooLarge,
    /// No token, or a wrong one.
    Unauthorized,
    /// What the vendor asks for is outside its limits.
    Vendor(VendorError),
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
            | Self::Short(_)
            | Self::Signature(_)
            | Self::Stale
            | Self::Vendor(_) => (400, "Bad Request"),
            Self::Unauthorized => (401, "Unauthorized"),
            Self::CrossSite | Self::Forbidden => (403, "Forbidden"),
            Self::Denied(denial) => denials::status(*denial),
            Self::NotFound => (404, "Not Found"),
            Self::Method(_) => (405, "Method Not Allowed"),
            Self::Slow => (408, "Request Timeout"),
            Self::CustomerInUse => (409, "Conflict"),
            Self::TooLarge => (413, "Content Too Large"),
            Self::TooMany(_) => (429, "Too Many Requests"),
            Self::Internal => (500, "Internal Server Error"),
            Self::Busy | Self::Closed | Self::ReceiptPending | Self::SignaturePending => {
                (503, "Service Unavailable")
            }
        }
    }

    /// The exception class, by which programs tell refusals apart.
    pub const fn exception(&self) -> &'static str {
        match self {
            Self::BadJson(_) | Self::BadMember(_) | Self::Vendor(_) => "EHTTPBadRequest",
            Self::Busy | Self::Closed => "EHTTPServiceUnavailable",
            Self::CodeWrong => "ECodeWrong",
            Self::CrossSite => "ECrossSite",
            Self::CustomerInUse => "ECustomerInUse",
            Self::Denied(Denial::BlankBlocked) => "EBlankBlocked",
            Self::Denied(Denial::BlankUnknown) => "EBlankUnknown",
            Self::Denied(Denial::BlankUnproved) => "EBlankProof",
            Self::Denied(Denial::ClusterFull(_)) => "EClusterFull",
            Self::Denied(Denial::ClusterNone) => "EClusterNone",
            Self::Denied(Denial::ClusterOther) => "EClusterOther",
            Self::Denied(Denial::ClusterShared(_)) => "EClusterShared",
            Self::Denied(Denial::ClusterUntold) => "EClusterUntold",
            Self::Denied(Denial::DemoBesideOthers) => "EDemoBesideOthers",
            Self::Denied(Denial::DemoKept) => "EDemoKey",
            Self::Denied(Denial::DemoNotOffered) => "EDemoNotOffered",
            Self::Denied(Denial::DemoUsed) => "EDemoUsed",
            Self::Denied(Denial::Expired | Denial::Revoked) => "ECodeRevoked",
            Self::Denied(Denial::HolderBlocked) => "EHolderBlocked",
            Self::Denied(Denial::KeyNotFound) => "EKeyNotFound",
            Self::Denied(Denial::MoveLimit(_)) => "EMoveLimit",
            Self::Denied(Denial::NeedsTpm) => "ENeedsTPM",
            Self::Denied(Denial::NoMainKey) => "ENoMainKey",
            Self::Denied(Denial::NodeUnnamed(_)) => "ENodeUnnamed",
            Self::Denied(Denial::NotInstalled) => "EKeyNotInstalled",
            Self::Denied(Denial::OwnerMismatch) => "EOwnerMismatch",
            Self::Denied(Denial::Returned) => "EKeyReturned",
            Self::Denied(Denial::SelfReleaseOff) => "ESelfRelease",
            Self::Denied(Denial::Unknown) => "ECodeUnknown",
            Self::Denied(Denial::Used) => "ECodeUsed",
            Self::Elsewhere => "ERequestElsewhere",
            Self::Forbidden => "EHTTPForbidden",
            Self::Internal => "EInternal",
            Self::Method(_) => "EHTTPMethodNotAllowed",
            Self::NotFound => "EHTTPNotFound",
            Self::NotGenuine => "ERequestNotGenuine",
            Self::Order(_) | Self::OrderSeries => "EOrderWrong",
            Self::Short(_) => "EShortText",
            Self::Signature(_) => "ESignatureWrong",
            Self::ReceiptPending | Self::SignaturePending => "ESignaturePending",
            Self::Slow => "EHTTPRequestTimeout",
            Self::Stale => "ERequestExpired",
            Self::TooLarge => "EHTTPContentTooLarge",
            Self::TooMany(_) => "ETooManyAttempts",
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
            Self::CrossSite => pick(
                "The form is out of date or was not made by this centre; open the page again.",
                "Форма устарела или создана не этим центром; откройте страницу заново.",
            ),
            Self::Forbidden => pick(
                "The role of this account is not enough for that.",
                "Роли этой учётной записи для этого недостаточно.",
            ),
            Self::TooMany(secs) => {
                let (minutes, rest) = (secs / 60, secs % 60);
                match language {
                    Language::English => {
                        format!("Too many tries; wait {minutes} min {rest} s.")
                    }
                    Language::Russian => {
                        format!("Слишком много попыток; подождите {minutes} мин {rest} с.")
                    }
                }
            }
            Self::CustomerInUse => pick(
                "Orders name this customer: they cannot be removed.",
                "На этого клиента оформлены заказы, удалить его нельзя.",
            ),
            Self::Denied(denial) => denials::text(denial, language),
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
            Self::Short(error) => match (language, error.line()) {
                (Language::English, _) => format!("The request is not what was read out: {error}."),
                (Language::Russian, Some(line)) => {
                    format!("Запрос записан неверно: ошибка в строке {line}.")
                }
                (Language::Russian, None) => {
                    "Запрос записан неверно: попросите продиктовать его ещё раз.".to_owned()
                }
            },
            Self::Signature(None) => pick(
                "The document is not signed by the key of the series.",
                "Документ не подписан ключом серии.",
            ),
            Self::Signature(Some(name)) => format!(
                "{}: {name}.",
                pick(
                    "The document is not the one that waits for a signature, it differs in",
                    "Документ отличается от ожидающего подписи, поле",
                )
            ),
            // An update brings no receipt of a return that the server itself has asked for.
            Self::ReceiptPending => pick(
                "The key is given back; the vendor signs its receipt by hand. Repeat the return later.",
                "Ключ возвращён; квитанцию поставщик подписывает вручную. Повторите возврат позже.",
            ),
            Self::SignaturePending => pick(
                "The vendor signs by hand; the request is kept. Ask again or update the licences \
                 later.",
                "Поставщик подписывает вручную; запрос сохранён. Повторите запрос или обновите \
                 лицензии позже.",
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
            Self::Vendor(error) => match language {
                Language::English => format!("{error}."),
                Language::Russian => format!("Запрос не принят: {}.", vendor_russian(error)),
            },
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

/// What is wrong with a call of the vendor, in Russian.
fn vendor_russian(error: &VendorError) -> String {
    match error {
        VendorError::BlankCount => "Blanks: от 1 до 1000 носителей".to_owned(),
        VendorError::BlankKey => "Jwk: нужен ключ P-256".to_owned(),
        VendorError::Endless => "ключи заказа бессрочные, продлевать нечего".to_owned(),
        VendorError::Number(name, low, high) => format!("{name}: от {low} до {high}"),
        VendorError::Owner => "ITN и IEC: от 1 до 12 цифр".to_owned(),
        VendorError::Term => {
            "укажите либо ExpireDate в будущем, либо Days от 1 до 36500".to_owned()
        }
        VendorError::Text(name, limit) => {
            format!("{name}: от 1 до {limit} символов без управляющих")
        }
        // The enum may grow; its English words are better than none.
        other => other.to_string(),
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
