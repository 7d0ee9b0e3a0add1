//! Where settings come from, and how one value is read and checked.
//!
//! Which keys there are and what they mean is decided beside this file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use configparser::ini::{Ini, IniDefault};
use licence_core::key::KeyNo;

use super::{ConfigError, Expected, WrongValue};
use crate::settings::ini_edit::{self, Fault};

/// Where settings come from: a file, or a table in a test.
pub trait Source {
    /// The text of a key, if it is there.
    fn get(&self, section: &str, key: &str) -> Option<String>;
    /// All keys of a section, in order.
    fn keys(&self, section: &str) -> Vec<String>;
    /// All sections, in order.
    fn sections(&self) -> Vec<String>;
    /// What to call the source in an error.
    fn name(&self) -> String;
    /// The line of a key, from 1, where there are lines.
    fn line_of(&self, section: &str, key: &str) -> Option<usize> {
        let _ = (section, key);
        None
    }
}

/// What a key takes, in both languages.
pub(super) const fn expected(english: &'static str, russian: &'static str) -> Expected {
    Expected { english, russian }
}

/// Reads values by section and key.
pub(super) struct Reader<'a> {
    pub(super) source: &'a dyn Source,
}

impl Reader<'_> {
    /// The parsed value; nothing when the key is absent or empty.
    pub(super) fn value<T>(
        &self,
        section: &str,
        key: &str,
        expected: Expected,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(text) = self.source.get(section, key) else { return Ok(None) };
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        match parse(text) {
            Some(value) => Ok(Some(value)),
            None => Err(self.wrong(section, key, text, expected)),
        }
    }

    pub(super) fn flag(
        &self,
        section: &str,
        key: &str,
        default: bool,
    ) -> Result<bool, ConfigError> {
        let value = self.value(section, key, expected("0 or 1", "0 или 1"), |text| match text {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        })?;
        Ok(value.unwrap_or(default))
    }

    pub(super) fn list<T>(
        &self,
        section: &str,
        key: &str,
        expected: Expected,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, ConfigError> {
        let value = self.value(section, key, expected, |text| {
            text.split([',', ';'])
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(parse)
                .collect()
        })?;
        Ok(value.unwrap_or_default())
    }

    /// All keys of a section, each read by `parse` from its name and text.
    pub(super) fn all<T>(
        &self,
        section: &str,
        expected: Expected,
        parse: impl Fn(&str, &str) -> Option<T>,
    ) -> Result<Vec<T>, ConfigError> {
        let mut read = Vec::new();
        for key in self.source.keys(section) {
            let text = self.source.get(section, &key).unwrap_or_default();
            let text = text.trim();
            if !text.is_empty() {
                // What it holds may be a secret, so an error does not repeat it.
                let wrong = || self.wrong(section, &key, "***", expected);
                read.push(parse(&key, text).ok_or_else(wrong)?);
            }
        }
        Ok(read)
    }

    pub(super) fn access_codes(&self) -> Result<BTreeMap<KeyNo, String>, ConfigError> {
        let section = "AccessCodes";
        let mut codes = BTreeMap::new();
        for key in self.source.keys(section) {
            let code = self.source.get(section, &key).unwrap_or_default();
            let Ok(key_no) = key.parse::<KeyNo>() else {
                let mut wrong = self.wrong(
                    section,
                    &key,
                    "***",
                    expected("a key number before the =", "номер ключа перед знаком ="),
                );
                if let ConfigError::Value(wrong) = &mut wrong {
                    // What stands in its place may be the code.
                    "***".clone_into(&mut wrong.key);
                }
                return Err(wrong);
            };
            if !code.trim().is_empty() {
                codes.insert(key_no, code.trim().to_owned());
            }
        }
        Ok(codes)
    }

    pub(super) fn wrong(
        &self,
        section: &str,
        key: &str,
        value: &str,
        expected: Expected,
    ) -> ConfigError {
        // The address of a webhook often has its secret in it, that of a proxy its password.
        let is_secret = key.ends_with("Password")
            || key.ends_with("Secret")
            || key.ends_with("Token")
            || matches!(key, "LicenceCenterProxy" | "Proxy" | "SignCommand" | "Webhook");
        let value = if is_secret { "***" } else { value };
        ConfigError::Value(Box::new(WrongValue {
            file: self.source.name(),
            line: self.source.line_of(section, key),
            section: section.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
            expected,
        }))
    }
}

/// A conf file: ini in UTF-8 with or without a byte-order mark; `;` and `#` begin a comment at
/// the start of a line only, so that a password may contain them; names keep their case.
#[derive(Clone, Debug)]
pub struct IniSource {
    path: PathBuf,
    text: String,
    ini: Ini,
}

impl IniSource {
    /// Reads the bytes of a conf file; `path` is for errors.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Syntax`].
    pub fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self, ConfigError> {
        let text = Self::text(path, bytes)?;
        let mut defaults = IniDefault::default();
        defaults.case_sensitive = true;
        defaults.comment_symbols = vec![';', '#'];
        defaults.inline_comment_symbols = Some(Vec::new());
        defaults.delimiters = vec!['='];
        let mut ini = Ini::new_from_defaults(defaults);
        let plain = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
        ini.read(plain).map_err(|reason| ConfigError::Syntax {
            path: path.to_owned(),
            line: None,
            english: reason.clone(),
            russian: reason,
        })?;
        Ok(Self { path: path.to_owned(), text, ini })
    }

    /// The text of a conf file, if it is one as far as lines go.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Syntax`].
    pub(crate) fn text(path: &Path, bytes: Vec<u8>) -> Result<String, ConfigError> {
        let syntax = |line, english: String, russian: String| ConfigError::Syntax {
            path: path.to_owned(),
            line,
            english,
            russian,
        };
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
            let english = "the text is not UTF-8; save the file in that encoding";
            let russian = "текст не в кодировке UTF-8; сохраните файл в этой кодировке";
            syntax(Some(line), english.to_owned(), russian.to_owned())
        })?;
        if let Some((line, fault)) = ini_edit::fault(&text) {
            let (english, russian) = match fault {
                Fault::NoKey => ("there is no key before the =", "перед знаком = нет ключа"),
                Fault::OpenBracket => {
                    ("the bracket of a section is not closed", "скобка раздела не закрыта")
                }
            };
            return Err(syntax(Some(line), english.to_owned(), russian.to_owned()));
        }
        Ok(text)
    }
}

impl Source for IniSource {
    fn get(&self, section: &str, key: &str) -> Option<String> {
        self.ini.get(section, key)
    }

    fn keys(&self, section: &str) -> Vec<String> {
        let found = self.ini.get_map_ref().get(section);
        let ordered: BTreeSet<_> =
            found.into_iter().flatten().map(|(key, _)| key.clone()).collect();
        ordered.into_iter().collect()
    }

    fn sections(&self) -> Vec<String> {
        let ordered: BTreeSet<_> = self.ini.get_map_ref().clone().into_keys().collect();
        ordered.into_iter().collect()
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn line_of(&self, section: &str, key: &str) -> Option<usize> {
        ini_edit::line_of(&self.text, section, key)
    }
}
