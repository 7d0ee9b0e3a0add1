//! Licence parameters as a licence document carries them: texts by name, and how many and how long
//! they may be.
//!
//! What a parameter means is the vendor's matter; which of several values of one name counts is
//! decided elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserializer;
use serde::de::{Error, MapAccess, Visitor};

use crate::protocol::manager::{PARAMETER_NAME_CHARS_MAX, PARAMETER_VALUE_CHARS_MAX};

/// Most parameters of one licence.
pub const COUNT_MAX: usize = 100;

/// Most bytes of all parameters of one licence as JSON. They travel in the licence document, which
/// has 16 KiB at most (`jws::TOKEN_BYTES_MAX`) as base64: these become 11 KiB of it, and the other
/// claims with the longest texts that an order may have stay below 4 KiB. One value of the longest
/// kind fits even when every letter takes two bytes.
pub const BYTES_MAX: usize = 8 * 1024;

/// Why parameters are not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParametersError {
    /// More than [`COUNT_MAX`].
    #[error("there are {0} parameters, at most {COUNT_MAX} are allowed")]
    Count(usize),
    /// A name is empty, too long, or has white space around it or control characters in it. The
    /// beginning of it.
    #[error(
        "the name of parameter {0:?} must be 1 to {PARAMETER_NAME_CHARS_MAX} characters without \
         control characters and without white space around it"
    )]
    Name(String),
    /// All together are longer than [`BYTES_MAX`].
    #[error("the parameters have {0} bytes as JSON, at most {BYTES_MAX} are allowed")]
    TooLong(usize),
    /// Two names are one, because their case does not count.
    #[error("parameter {0:?} is named twice; the case of letters does not count")]
    Twice(String),
    /// A value is longer than [`PARAMETER_VALUE_CHARS_MAX`], or has a null character. The name.
    #[error(
        "the value of parameter {0:?} must be at most {PARAMETER_VALUE_CHARS_MAX} characters \
         without a null character"
    )]
    Value(String),
}

impl ParametersError {
    /// What to tell a person who reads Russian; the English text is the error's own.
    pub fn russian(&self) -> String {
        match self {
            Self::Count(count) => {
                format!("параметров лицензии: {count}, допускается не больше {COUNT_MAX}")
            }
            Self::Name(name) => format!(
                "имя параметра {name:?}: от 1 до {PARAMETER_NAME_CHARS_MAX} символов без управляющих \
                 и без пробелов по краям"
            ),
            Self::TooLong(bytes) => {
                format!("параметры занимают {bytes} байт в JSON, допускается {BYTES_MAX}")
            }
            Self::Twice(name) => {
                format!("параметр {name:?} назван дважды; регистр букв не различается")
            }
            Self::Value(name) => format!(
                "значение параметра {name:?}: не больше {PARAMETER_VALUE_CHARS_MAX} символов без \
                 нулевых"
            ),
        }
    }
}

/// Whether parameters are within their limits.
///
/// # Errors
///
/// The first limit that they break.
pub fn check(parameters: &BTreeMap<String, String>) -> Result<(), ParametersError> {
    if parameters.len() > COUNT_MAX {
        return Err(ParametersError::Count(parameters.len()));
    }
    let mut names = BTreeSet::new();
    for (name, value) in parameters {
        let is_sound = !name.is_empty()
            && name.trim().len() == name.len()
            && name.chars().count() <= PARAMETER_NAME_CHARS_MAX
            && !name.chars().any(char::is_control);
        if !is_sound {
            return Err(ParametersError::Name(name.chars().take(40).collect()));
        }
        if !names.insert(name.to_lowercase()) {
            return Err(ParametersError::Twice(name.clone()));
        }
        // Texts of 1C end at a null character.
        if value.chars().count() > PARAMETER_VALUE_CHARS_MAX || value.contains('\0') {
            return Err(ParametersError::Value(name.clone()));
        }
    }
    let bytes = serde_json::to_string(parameters).map_or(usize::MAX, |text| text.len());
    if bytes > BYTES_MAX {
        return Err(ParametersError::TooLong(bytes));
    }
    Ok(())
}

/// Reads an object of texts in which every name stands once. JSON libraries do not agree on which
/// of two members of one name counts, so a document that has two is refused.
///
/// # Errors
///
/// Those of the deserializer; a name that stands twice; more than [`COUNT_MAX`] names.
pub fn each_once<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    // The member is named, because whoever reads the error sees neither line nor column of it.
    let named = |error| D::Error::custom(format_args!("Parameters: {error}"));
    deserializer.deserialize_map(Once).map_err(named)
}

struct Once;

impl<'de> Visitor<'de> for Once {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut parameters = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, String>()? {
            if parameters.len() == COUNT_MAX {
                return Err(M::Error::custom(ParametersError::Count(COUNT_MAX + 1)));
            }
            if parameters.contains_key(&name) {
                let name = name.chars().take(40).collect();
                return Err(M::Error::custom(ParametersError::Twice(name)));
            }
            parameters.insert(name, value);
        }
        Ok(parameters)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    fn one(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn names_and_values_are_held_to_their_limits() {
        let longest = "я".repeat(PARAMETER_NAME_CHARS_MAX);
        for (name, value) in
            [("A", ""), (longest.as_str(), "x"), ("A", &"я".repeat(PARAMETER_VALUE_CHARS_MAX))]
        {
            assert_eq!(check(&one(name, value)), Ok(()), "{}", name.len());
        }
        let longer = "я".repeat(PARAMETER_NAME_CHARS_MAX + 1);
        for name in ["", " A", "A\t", "A\nB", "\u{85}", longer.as_str()] {
            let result = check(&one(name, "x"));
            assert!(matches!(result, Err(ParametersError::Name(_))), "{name:?}: {result:?}");
        }
        for value in ["a\0b", &"x".repeat(PARAMETER_VALUE_CHARS_MAX + 1)] {
            assert_eq!(check(&one("A", value)), Err(ParametersError::Value("A".into())));
        }
    }

    #[test]
    fn names_that_differ_in_case_alone_are_one() {
        let two = BTreeMap::from([("ИМЯ".into(), "1".into()), ("Имя".into(), "2".into())]);
        assert_eq!(check(&two), Err(ParametersError::Twice("Имя".into())));
    }

    #[test]
    fn all_together_are_bounded_as_they_are_written() {
        let many = |count: usize, value: &str| -> BTreeMap<String, String> {
            (0..count).map(|number| (format!("P{number:03}"), value.to_owned())).collect()
        };
        assert_eq!(check(&many(COUNT_MAX, "x")), Ok(()));
        assert_eq!(check(&many(COUNT_MAX + 1, "x")), Err(ParametersError::Count(COUNT_MAX + 1)));
        // Each quote takes two bytes as JSON.
        let result = check(&many(2, &"\"".repeat(BYTES_MAX / 4)));
        assert!(matches!(result, Err(ParametersError::TooLong(_))), "{result:?}");
        let exact = one("A", &"x".repeat(10));
        let written = serde_json::to_string(&exact).unwrap().len();
        assert_eq!(written, 18, "braces, quotes and colon count too");
    }

    #[test]
    fn name_that_stands_twice_is_refused_when_it_is_read() {
        #[derive(Debug, Deserialize)]
        struct Held {
            #[serde(default, deserialize_with = "each_once")]
            parameters: BTreeMap<String, String>,
        }
        let read = |text: &str| serde_json::from_str::<Held>(text).map(|held| held.parameters);
        assert_eq!(read(r#"{"parameters":{"A":"1"}}"#).unwrap(), one("A", "1"));
        assert!(read("{}").unwrap().is_empty());
        for bad in [
            r#"{"parameters":{"A":"1","A":"2"}}"#,
            r#"{"parameters":{"A":1}}"#,
            r#"{"parameters":["A"]}"#,
            r#"{"parameters":null}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let many: String = (0..=COUNT_MAX).map(|n| format!(r#""P{n}":"",""#)).collect();
        assert!(read(&format!(r#"{{"parameters":{{{}}}}}"#, many.trim_end_matches(','))).is_err());
    }
}
