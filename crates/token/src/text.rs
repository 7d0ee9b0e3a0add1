//! What goes wrong with tokens, in Russian. English stands with the errors.

use crate::apdu::TokenError;
use crate::list::ListError;

/// A failure on one line.
pub fn russian(error: &TokenError) -> String {
    match error {
        TokenError::Busy => "токен занят другой программой".to_owned(),
        TokenError::Foreign => "в токене не тот ключ, который ожидался".to_owned(),
        TokenError::Gone => "токен извлечён".to_owned(),
        TokenError::KeyPresent => "в токене уже есть ключ, он не заменяется".to_owned(),
        TokenError::Malformed(what) => format!("ответ токена непригоден: {what}"),
        TokenError::ManagementKey => "токен не принял ключ управления".to_owned(),
        TokenError::NoKey => {
            "в токене нет пригодного ключа: сначала его нужно подготовить".to_owned()
        }
        TokenError::NotAllowed(what) => format!("система не даёт доступа к токену: {what}"),
        TokenError::Occupied => {
            "место для лицензии в токене занято другими данными, они не заменяются".to_owned()
        }
        TokenError::Refused(status) => format!("токен отказал, код {status:04X}"),
        TokenError::Slow => "токен не ответил вовремя".to_owned(),
        TokenError::TooLarge { bytes, bytes_max } => {
            format!("документ в {bytes} байт не помещается в токен, предел {bytes_max}")
        }
        TokenError::Unsupported(what) => format!("токен не поддерживается: {what}"),
        TokenError::System(what) => format!("сбой доступа к токенам: {what}"),
    }
}

/// A wrong list of tokens, on one line.
pub fn russian_list(error: &ListError) -> String {
    match error {
        ListError::Entry(entry) => format!(
            "{entry:?}: нужно VVVV:PPPP (по четыре шестнадцатеричные цифры) или часть имени \
             считывателя, от 4 до 128 символов"
        ),
        ListError::TooMany => "в списке токенов больше 32 записей".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_a_russian_text_without_a_full_stop() {
        for error in [
            TokenError::Busy,
            TokenError::Foreign,
            TokenError::Gone,
            TokenError::KeyPresent,
            TokenError::Malformed("x"),
            TokenError::ManagementKey,
            TokenError::NoKey,
            TokenError::NotAllowed("x".to_owned()),
            TokenError::Occupied,
            TokenError::Refused(0x6982),
            TokenError::Slow,
            TokenError::TooLarge { bytes: 2, bytes_max: 1 },
            TokenError::Unsupported("x"),
            TokenError::System("x".to_owned()),
        ] {
            let text = russian(&error);
            assert!(text.chars().any(|c| ('а'..='я').contains(&c)), "{text}");
            assert!(!text.ends_with('.'), "{text}");
        }
        assert!(russian_list(&ListError::TooMany).contains("32"));
    }
}
