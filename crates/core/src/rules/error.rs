//! What is wrong with rules, told by rule and field in both languages.

use std::fmt;

use super::{NAME_CHARS_MAX, RULES_MAX, TEXT_BYTES_MAX};
use crate::language::Language;

/// What is wrong with a field of a rule.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RulesProblem {
    /// It holds a line break or another control character.
    Control,
    /// It is there and empty; a field that shall fit everybody is left out.
    Empty,
    /// The text is not JSON of the published form; what the reader says.
    Form(String),
    /// It is not there.
    Missing,
    /// A refusal has no number of seats.
    SeatsOfDeny,
    /// It is not an address or prefix.
    Subnet,
    /// Its text is too long.
    TooLong,
    /// There are too many rules.
    TooMany,
    /// Another rule has the name.
    Twice,
    /// A limit or reservation of no seats.
    Zero,
}

/// Rules that cannot be put in force, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RulesError {
    /// Which rule: its name, or `No. 3` where it has none that could be read; empty when it is
    /// about the rules as a whole.
    pub rule: String,
    /// The published name of the field; empty when it is about the rule as a whole.
    pub field: String,
    /// What is wrong.
    pub problem: RulesProblem,
}

impl RulesError {
    pub(super) fn new(rule: &str, field: &str, problem: RulesProblem) -> Self {
        Self { rule: rule.to_owned(), field: field.to_owned(), problem }
    }

    /// The text for people.
    pub fn text(&self, language: Language) -> String {
        let mut text = String::new();
        if !self.rule.is_empty() {
            text.push_str(language.pick("правило «", "rule \""));
            text.push_str(&self.rule);
            text.push_str(language.pick("»: ", "\": "));
        }
        if !self.field.is_empty() {
            text.push_str(&self.field);
            text.push_str(": ");
        }
        text.push_str(&self.problem.text(language));
        text
    }
}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(Language::English))
    }
}

impl std::error::Error for RulesError {}

impl RulesProblem {
    fn text(&self, language: Language) -> String {
        let (russian, english) = match self {
            Self::Control => (
                "переводы строк и управляющие символы не допускаются".to_owned(),
                "line breaks and control characters are not allowed".to_owned(),
            ),
            Self::Empty => (
                "пустое значение; поле, которое подходит всем, не указывается".to_owned(),
                "is empty; a field that shall fit everybody is left out".to_owned(),
            ),
            Self::Form(reason) => {
                (format!("не читается: {reason}"), format!("cannot be read: {reason}"))
            }
            Self::Missing => ("не указано".to_owned(), "is required".to_owned()),
            Self::SeatsOfDeny => (
                "для запрета (deny) количество лицензий не указывается".to_owned(),
                "a refusal (deny) has no number of seats".to_owned(),
            ),
            Self::Subnet => (
                "ожидается адрес или подсеть, например 192.168.1.0/24".to_owned(),
                "expected an address or a prefix such as 192.168.1.0/24".to_owned(),
            ),
            Self::TooLong => (
                format!("длиннее {TEXT_BYTES_MAX} байт (имя правила: {NAME_CHARS_MAX} символов)"),
                format!(
                    "is longer than {TEXT_BYTES_MAX} bytes (a rule's name: {NAME_CHARS_MAX} \
                     characters)"
                ),
            ),
            Self::TooMany => {
                (format!("больше {RULES_MAX} правил"), format!("more than {RULES_MAX} rules"))
            }
            Self::Twice => (
                "правило с таким именем уже есть".to_owned(),
                "another rule has this name".to_owned(),
            ),
            Self::Zero => ("должно быть не меньше 1".to_owned(), "must be at least 1".to_owned()),
        };
        language.pick(&russian, &english).to_owned()
    }
}
