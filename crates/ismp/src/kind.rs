//! The kinds of session keys, and their names in both languages.
//!
//! Names only; what differs between kinds is decided where it matters.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Kind of a session key: the enumeration `ТипыТокеновАвторизации`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum TokenKind {
    /// СУЗ: the station that orders codes. One live token for an installation: a repeated sign-in
    /// ends the earlier one.
    Suz,
    /// ИС МП (True API).
    Ismp,
    /// ИС МП for cash desks: goes into a header of the service's delivery network.
    IsmpRetail,
}

/// Not a kind of session key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected SUZ, ISMP or ISMPRetail (СУЗ, ИСМП, ИСМПРозница)")]
pub struct ParseKindError;

impl TokenKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Suz, Self::Ismp, Self::IsmpRetail];

    /// The name in addresses and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Suz => "SUZ",
            Self::Ismp => "ISMP",
            Self::IsmpRetail => "ISMPRetail",
        }
    }

    /// The name of the value in 1C's enumeration.
    pub const fn russian(self) -> &'static str {
        match self {
            Self::Suz => "СУЗ",
            Self::Ismp => "ИСМП",
            Self::IsmpRetail => "ИСМПРозница",
        }
    }

    /// What people see.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Suz => "СУЗ",
            Self::Ismp => "ИС МП",
            Self::IsmpRetail => "ИС МП (розница)",
        }
    }

    /// `ИмяПараметраСеанса`: the session parameter in which 1C's library keeps such keys.
    pub const fn session_parameter(self) -> &'static str {
        match self {
            Self::Suz => "ДанныеКлючаСессииСУЗ",
            Self::Ismp => "ДанныеКлючаСессииИСМП",
            Self::IsmpRetail => "ДанныеКлючаСессииИСМПРозница",
        }
    }
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Takes either name, the title and the session parameter; Latin names in any case.
impl FromStr for TokenKind {
    type Err = ParseKindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let is = |kind: &Self| {
            kind.name().eq_ignore_ascii_case(text)
                || [kind.russian(), kind.title(), kind.session_parameter()].contains(&text)
        };
        Self::ALL.into_iter().find(is).ok_or(ParseKindError)
    }
}

impl Serialize for TokenKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for TokenKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_is_read_by_every_name_that_1c_has_for_it() {
        for kind in TokenKind::ALL {
            for name in [kind.name(), kind.russian(), kind.title(), kind.session_parameter()] {
                assert_eq!(name.parse(), Ok(kind), "{name}");
            }
        }
        assert_eq!("ismpretail".parse(), Ok(TokenKind::IsmpRetail));
        for other in ["", "МОТП", "ИСМП Розница", "SUZ2"] {
            assert_eq!(other.parse::<TokenKind>(), Err(ParseKindError), "{other}");
        }
    }
}
