//! What is wrong with a token, in words for people.

use licence_core::language::Language;
use licence_token::apdu::{Place, TokenError};
use licence_token::text::russian;

use super::{CallError, Trouble};
use crate::api::errors::ApiError;
use crate::keyring::InstallError;

/// What is wrong with a place.
pub(super) fn trouble(place: Option<&Place>, error: &TokenError) -> Trouble {
    Trouble {
        place: place.map(|place| place.name.clone()).unwrap_or_default(),
        russian: format!("{}.", russian(error)),
        english: format!("{error}."),
    }
}

/// Of a licence on a token that is not taken in.
pub(super) fn licence_refused(place: &Place, error: &InstallError) -> Trouble {
    let refusal = ApiError::from(error);
    Trouble {
        place: place.name.clone(),
        russian: format!("Лицензия на носителе не используется. {}", refusal.russian),
        english: format!("The licence on the token is not used: {}.", refusal.english),
    }
}

impl CallError {
    /// Why, in this language.
    pub fn text(&self, language: Language) -> String {
        match (self, language) {
            (Self::Token(error), Language::Russian) => format!("{}.", russian(error)),
            (Self::Absent, Language::Russian) => "Носитель не подключён.".to_owned(),
            (Self::Busy, Language::Russian) => "Носители заняты; повторите запрос.".to_owned(),
            (Self::Off, Language::Russian) => {
                "Работа с носителями отключена ([UPKey] Enabled).".to_owned()
            }
            (_, Language::English) => format!("{self}."),
        }
    }
}
