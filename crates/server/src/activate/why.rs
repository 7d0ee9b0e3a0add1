//! Why a key leaves this server, as a person says it and as the centre keeps it.

use licence_core::centre_request::ReturnReason;
use licence_core::language::Language;

use crate::driver::NOTE_CHARS_MAX;

/// A reason of the list, if it is one of them, and a person's words.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Why {
    /// One of the list.
    pub reason: Option<ReturnReason>,
    /// The rest, on one line and within the audit trail's limit.
    pub note: String,
}

impl Why {
    /// A reason that is one of the list by its word, or any words; and a comment.
    pub fn of(reason: &str, comment: &str) -> Self {
        let known = ReturnReason::of_word(reason.trim());
        let first = if known.is_some() { "" } else { reason };
        Self { reason: known, note: joined(first, comment) }
    }

    /// As the audit trail keeps it.
    pub fn audited(&self) -> String {
        joined(self.reason.map_or("", ReturnReason::word), &self.note)
    }
}

/// What a form says for each reason.
pub const fn reason_text(reason: ReturnReason, language: Language) -> &'static str {
    match reason {
        ReturnReason::Upgrade => {
            language.pick("Перенос на другой компьютер", "Moving to another computer")
        }
        ReturnReason::Hardware => language.pick("Замена оборудования", "Change of hardware"),
        ReturnReason::Reinstall => {
            language.pick("Переустановка системы", "New installation of the system")
        }
        ReturnReason::Token => {
            language.pick("Перенос на аппаратный носитель", "Moving to a USB token")
        }
        ReturnReason::Other => language.pick("Другое", "Other"),
    }
}

/// Two texts on one line; empty ones are left out.
fn joined(first: &str, second: &str) -> String {
    let parts = [first.trim(), second.trim()];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let plain = |character: char| if character.is_control() { ' ' } else { character };
    parts.join(": ").chars().map(plain).take(NOTE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_word_is_the_reason_and_other_words_are_the_note() {
        for (reason, comment, wanted, note, audited) in [
            ("hardware", "", Some(ReturnReason::Hardware), "", "hardware"),
            (" upgrade ", "в\r\nофис", Some(ReturnReason::Upgrade), "в  офис", "upgrade: в  офис"),
            ("Переезд", "да", None, "Переезд: да", "Переезд: да"),
            ("", "", None, "", ""),
        ] {
            let why = Why::of(reason, comment);
            assert_eq!((why.reason, &*why.note), (wanted, note));
            assert_eq!(why.audited(), audited);
        }
    }

    #[test]
    fn every_reason_has_a_text_of_its_own_in_both_languages() {
        let mut all: Vec<_> = ReturnReason::ALL
            .into_iter()
            .flat_map(|reason| {
                [Language::Russian, Language::English].map(|l| reason_text(reason, l))
            })
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2 * ReturnReason::ALL.len());
    }
}
