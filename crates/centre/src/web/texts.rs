//! Words of the pages that several of them share, in Russian and English.
//!
//! Words only; when to say them is the pages' matter.

use licence_core::binding::BindingLevel;
use licence_core::centre_request::ReturnReason;
use licence_core::time::Utc;
use licencekit::order::OrderKind;
use licencekit::text::Language;
use licencekit::vendor::{EndedBy, KeyState, SuspicionKind, UnsignedKind, VendorError};

use crate::access::Role;
use crate::access::entry::EntryError;
use crate::access::ledger::AccountDenial;
use crate::access::passwords::PasswordError;

/// The words of one language.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Texts(pub(crate) Language);

impl Texts {
    /// One of two texts.
    pub(crate) const fn pick(self, english: &'static str, russian: &'static str) -> &'static str {
        self.0.pick(english, russian)
    }

    /// The tag of the language.
    pub(crate) const fn lang(self) -> &'static str {
        self.0.tag()
    }

    /// The tag of the other one.
    pub(crate) const fn other_lang(self) -> &'static str {
        self.pick("ru", "en")
    }

    /// A day in the order of the language.
    pub(crate) fn day(self, at: &Utc) -> String {
        let shown = at.to_string();
        let date = shown.get(..10).unwrap_or_default();
        match self.0 {
            Language::English => date.to_owned(),
            Language::Russian => date.split('-').rev().collect::<Vec<_>>().join("."),
        }
    }

    /// A day, or a dash.
    pub(crate) fn day_or(self, at: &Option<Utc>) -> String {
        at.as_ref().map_or_else(|| "—".to_owned(), |at| self.day(at))
    }

    /// A moment, UTC.
    pub(crate) fn moment(self, at: &Utc) -> String {
        let shown = at.to_string();
        format!("{} {}", self.day(at), shown.get(11..16).unwrap_or_default())
    }

    /// A text, or a dash.
    pub(crate) fn or_dash(self, text: &Option<String>) -> &str {
        text.as_deref().unwrap_or("—")
    }

    /// What a computer is called where forty digits would not help.
    pub(crate) fn short(self, computer_id: &str) -> String {
        format!("{}…", computer_id.get(..8).unwrap_or(computer_id))
    }

    pub(crate) const fn role(self, role: &Role) -> &'static str {
        match role {
            Role::Admin => self.pick("administrator", "администратор"),
            Role::Clerk => self.pick("clerk", "менеджер"),
            Role::Reader => self.pick("reader", "только просмотр"),
        }
    }

    pub(crate) const fn kind(self, kind: &OrderKind) -> &'static str {
        match kind {
            OrderKind::Additional => self.pick("additional", "дополнительный"),
            OrderKind::Demo => self.pick("demo", "демонстрационный"),
            OrderKind::Main => self.pick("main", "основной"),
        }
    }

    pub(crate) const fn unsigned(self, kind: &UnsignedKind) -> &'static str {
        match kind {
            UnsignedKind::Licence => self.pick("licence", "лицензия"),
            UnsignedKind::Receipt => self.pick("receipt of a return", "квитанция о возврате"),
            UnsignedKind::Short => self.pick("licence by telephone", "лицензия для телефона"),
        }
    }

    pub(crate) const fn state(self, state: &KeyState) -> &'static str {
        match state {
            KeyState::Activated => self.pick("installed", "установлен"),
            KeyState::Expired => self.pick("term is over", "срок истёк"),
            KeyState::Free => self.pick("not used", "не использован"),
            KeyState::Returned => self.pick("given back", "возвращён"),
            KeyState::Revoked => self.pick("revoked", "отозван"),
        }
    }

    /// The class of a state in the style sheet.
    pub(crate) const fn state_class(self, state: &KeyState) -> &'static str {
        match state {
            KeyState::Activated => "good",
            KeyState::Expired | KeyState::Revoked => "bad",
            KeyState::Free | KeyState::Returned => "quiet",
        }
    }

    pub(crate) const fn ended_by(self, by: &EndedBy) -> &'static str {
        match by {
            EndedBy::Customer => {
                self.pick("by the customer on their page", "покупателем на его странице")
            }
            EndedBy::Paid => self.pick("a paid key took its place", "заменён оплаченным ключом"),
            EndedBy::Server => self.pick("given back by the server", "возвращён сервером"),
            EndedBy::Spare => self.pick("the spare code was used", "использован запасной код"),
            EndedBy::Vendor => self.pick("by the vendor", "поставщиком"),
        }
    }

    pub(crate) const fn reason(self, reason: &ReturnReason) -> &'static str {
        match reason {
            ReturnReason::Hardware => {
                self.pick("broken or replaced hardware", "поломка или замена оборудования")
            }
            ReturnReason::Other => self.pick("another reason", "другая причина"),
            ReturnReason::Reinstall => {
                self.pick("operating system installed afresh", "переустановка операционной системы")
            }
            ReturnReason::Token => self.pick("move to a USB key", "перенос на аппаратный носитель"),
            ReturnReason::Upgrade => {
                self.pick("move to another computer", "переезд на другой компьютер")
            }
        }
    }

    pub(crate) const fn level(self, level: &BindingLevel) -> &'static str {
        match level {
            BindingLevel::Loose => {
                self.pick("loose: half of the parts", "мягкая: половина оборудования")
            }
            BindingLevel::Medium => {
                self.pick("medium: six parts of ten", "средняя: шесть частей из десяти")
            }
            BindingLevel::Strict => {
                self.pick("strict: eight parts of ten", "строгая: восемь частей из десяти")
            }
            BindingLevel::Tpm => self.pick("TPM 2.0 only", "только TPM 2.0"),
        }
    }

    pub(crate) const fn suspicion(self, kind: &SuspicionKind) -> &'static str {
        match kind {
            SuspicionKind::Computers => self.pick(
                "one identity speaks from two computers in turn",
                "один сервер отвечает попеременно с двух компьютеров",
            ),
            SuspicionKind::Mark => self.pick(
                "a mark that another copy has used up",
                "показана метка, которую уже использовала другая копия",
            ),
        }
    }
}

/// Why somebody did not come in, or an account was not changed.
pub(crate) fn entry(language: Language, error: &EntryError) -> String {
    match error {
        EntryError::Wrong => {
            language.pick("Wrong name or password.", "Неверное имя или пароль.").to_owned()
        }
        EntryError::Name => language
            .pick(
                "A name is one word of letters, digits and .-_@, at most 64 characters.",
                "Имя — одно слово из букв, цифр и знаков .-_@, не длиннее 64 символов.",
            )
            .to_owned(),
        EntryError::Label => language
            .pick(
                "Say in 1 to 100 characters what the token is for.",
                "Укажите назначение токена: от 1 до 100 символов.",
            )
            .to_owned(),
        EntryError::Password(PasswordError::Weak(weak)) => {
            let (english, russian) = weak.text();
            match language {
                Language::English => format!("The password is not accepted: {english}."),
                Language::Russian => format!("Пароль не принят: {russian}."),
            }
        }
        error @ (EntryError::Books(_)
        | EntryError::Password(_)
        | EntryError::Random(_)
        | EntryError::TooMany(_)) => format!("{error}."),
    }
}

/// Why the books did not do with an account what they were told.
pub(crate) fn account(language: Language, denial: AccountDenial) -> String {
    match (language, denial) {
        (Language::Russian, AccountDenial::Exists) => {
            "Учётная запись с таким именем уже есть.".to_owned()
        }
        (Language::Russian, AccountDenial::Full(count)) => {
            format!("Больше {count} не допускается.")
        }
        (Language::Russian, AccountDenial::NoAccount) => "Такой учётной записи нет.".to_owned(),
        (Language::Russian, AccountDenial::NoToken) => "Такого токена нет.".to_owned(),
        (Language::English, denial) => capital(&format!("{denial}.")),
    }
}

/// Why what the vendor asked for is not taken.
pub(crate) fn vendor(language: Language, error: &VendorError) -> String {
    let text = match (language, error) {
        (Language::English, error) => error.to_string(),
        (Language::Russian, VendorError::Term) => {
            "укажите либо дату окончания в будущем, либо число дней больше нуля".to_owned()
        }
        (Language::Russian, VendorError::Endless) => {
            "у ключей заказа нет срока: продлевать нечего".to_owned()
        }
        (Language::Russian, VendorError::Number(name, low, high)) => {
            format!("{name}: допускается число от {low} до {high}")
        }
        (Language::Russian, VendorError::Owner) => "ИНН и КПП: от 1 до 12 цифр".to_owned(),
        (Language::Russian, VendorError::Text(name, limit)) => {
            format!("{name}: от 1 до {limit} символов без управляющих")
        }
        (Language::Russian, VendorError::BlankKey) => "Jwk: ожидается ключ P-256".to_owned(),
        (Language::Russian, VendorError::BlankCount) => {
            "Blanks: пустой список или слишком много носителей".to_owned()
        }
        (Language::Russian, error) => error.to_string(),
    };
    capital(&format!("{text}."))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moment_is_written_in_the_order_of_the_language() {
        let at: Utc = "2026-04-02T20:41:13.272Z".parse().unwrap();
        assert_eq!(Texts(Language::Russian).moment(&at), "02.04.2026 20:41");
        assert_eq!(Texts(Language::English).moment(&at), "2026-04-02 20:41");
        assert_eq!(Texts(Language::English).day_or(&None), "—");
    }

    #[test]
    fn refusal_begins_with_a_capital_in_both_languages() {
        assert_eq!(
            vendor(Language::English, &VendorError::Owner),
            "ITN and IEC are 1 to 12 digits."
        );
        assert_eq!(vendor(Language::English, &VendorError::Term).chars().next(), Some('G'));
        assert_eq!(vendor(Language::Russian, &VendorError::Term).chars().next(), Some('У'));
    }
}
