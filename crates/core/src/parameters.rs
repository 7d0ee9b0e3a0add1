//! Licence parameters: the vendor's file of values for keys, and whose value counts.
//!
//! The file is a text object of a data file named `Параметры` or `Parameters`. Values may also stand
//! in a licence itself (claim `Parameters`), signed for that one key. This module reads the file and
//! picks the value; it does not know where either comes from, and what a value means is the
//! configuration's matter.
//!
//! ```text
//! ; what every key has
//! [Default]
//! AppType = Base
//! ; what one key has
//! [7131766]
//! AppType = Corp
//! ; whose values stand in when the caller asks for those of the main key
//! [Main]
//! Key = 7131766
//! ```

use std::collections::BTreeMap;

use crate::key::KeyNo;
use crate::protocol::manager::{PARAMETER_NAME_CHARS_MAX, PARAMETER_VALUE_CHARS_MAX};

/// Largest file of parameters in bytes: it is held in memory by every server and component.
pub const PARAMETERS_BYTES_MAX: usize = 1024 * 1024;

/// Most values in one file: some ten for each of a thousand customers' keys.
pub const PARAMETERS_MAX: usize = 10_000;

/// What is wrong with a line of the file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParametersProblem {
    /// A control character in a name or value.
    #[error("a control character")]
    Control,
    /// Neither a section, nor a comment, nor `name = value`.
    #[error("neither [section] nor name = value")]
    Line,
    /// `[Main]` holds only the number of a key.
    #[error("[Main] has one line, Key = serial number of the main key")]
    Main,
    /// A name is missing or too long.
    #[error("a name has 1 to {PARAMETER_NAME_CHARS_MAX} characters")]
    Name,
    /// A value stands before the first section.
    #[error("a value stands before the first section")]
    NoSection,
    /// The name has a value in this section already.
    #[error("the parameter has a value in this section already")]
    Repeated,
    /// Not a section that the format knows.
    #[error("a section is [Default], [Main] or the serial number of a key")]
    Section,
    /// The section was there already.
    #[error("the section was there already")]
    SectionTwice,
    /// More than [`PARAMETERS_MAX`] values.
    #[error("more than {PARAMETERS_MAX} values")]
    TooMany,
    /// A value is too long.
    #[error("a value has at most {PARAMETER_VALUE_CHARS_MAX} characters")]
    Value,
}

/// Why a file of parameters was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParameterFileError {
    /// A line is wrong.
    #[error("line {line}: {problem}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: ParametersProblem,
    },
    /// Larger than [`PARAMETERS_BYTES_MAX`].
    #[error("larger than {PARAMETERS_BYTES_MAX} bytes")]
    TooLarge,
}

/// Values of one section or licence; names in lower case.
type Values = BTreeMap<String, String>;

/// A file of parameters that was read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ParameterFile {
    default: Values,
    keys: BTreeMap<KeyNo, Values>,
    main_key: Option<KeyNo>,
}

/// The section that values belong to while the file is read.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Section {
    Default,
    Key(KeyNo),
    Main,
}

impl ParameterFile {
    /// Reads a file, with or without a byte-order mark. Names of sections and parameters have no
    /// case; white space around names and values does not count; a value may be empty, which is a
    /// value like any other. A line that begins with `;` or `#` is a comment.
    ///
    /// # Errors
    ///
    /// See [`ParameterFileError`]; the first wrong line is named.
    pub fn parse(text: &str) -> Result<Self, ParameterFileError> {
        if text.len() > PARAMETERS_BYTES_MAX {
            return Err(ParameterFileError::TooLarge);
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = Reader::default();
        for (at, line) in text.lines().enumerate() {
            reader
                .take(line.trim())
                .map_err(|problem| ParameterFileError::Line { line: at + 1, problem })?;
        }
        Ok(reader.file)
    }

    /// The main key that the file names.
    pub const fn main_key(&self) -> Option<KeyNo> {
        self.main_key
    }

    /// How many values the file has.
    pub fn len(&self) -> usize {
        self.default.len() + self.keys.values().map(Values::len).sum::<usize>()
    }

    /// Whether it has no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keys that have a section of their own, by number.
    pub fn keys(&self) -> impl Iterator<Item = KeyNo> + '_ {
        self.keys.keys().copied()
    }

    /// The value in the section of a key.
    fn of_key(&self, key: KeyNo, name: &str) -> Option<&str> {
        self.keys.get(&key)?.get(name).map(String::as_str)
    }
}

#[derive(Default)]
struct Reader {
    file: ParameterFile,
    section: Option<Section>,
    seen: std::collections::BTreeSet<Section>,
    count: usize,
}

impl Reader {
    fn take(&mut self, line: &str) -> Result<(), ParametersProblem> {
        if line.is_empty() || line.starts_with([';', '#']) {
            return Ok(());
        }
        if let Some(inner) = line.strip_prefix('[') {
            let name = inner.strip_suffix(']').ok_or(ParametersProblem::Section)?;
            let section = section(name.trim())?;
            if !self.seen.insert(section) {
                return Err(ParametersProblem::SectionTwice);
            }
            if let Section::Key(key) = section {
                self.file.keys.entry(key).or_default();
            }
            self.section = Some(section);
            return Ok(());
        }
        let (name, value) = line.split_once('=').ok_or(ParametersProblem::Line)?;
        let section = self.section.ok_or(ParametersProblem::NoSection)?;
        let (name, value) = (check_parameter_name(name.trim())?, value.trim());
        check_parameter_value(value)?;
        let values = match section {
            Section::Main => return self.main(&name, value),
            Section::Default => &mut self.file.default,
            Section::Key(key) => self.file.keys.entry(key).or_default(),
        };
        if values.insert(name, value.to_owned()).is_some() {
            return Err(ParametersProblem::Repeated);
        }
        self.count += 1;
        if self.count > PARAMETERS_MAX {
            return Err(ParametersProblem::TooMany);
        }
        Ok(())
    }

    fn main(&mut self, name: &str, value: &str) -> Result<(), ParametersProblem> {
        if !matches!(name, "key" | "ключ") || self.file.main_key.is_some() {
            return Err(ParametersProblem::Main);
        }
        self.file.main_key = Some(value.parse().map_err(|_| ParametersProblem::Main)?);
        Ok(())
    }
}

fn section(name: &str) -> Result<Section, ParametersProblem> {
    match name.to_lowercase().as_str() {
        "default" | "поумолчанию" => Ok(Section::Default),
        "main" | "основной" => Ok(Section::Main),
        number => number.parse().map(Section::Key).map_err(|_| ParametersProblem::Section),
    }
}

/// Checks the name of a parameter; gives it in lower case, as names are compared.
///
/// # Errors
///
/// [`ParametersProblem::Name`], [`ParametersProblem::Control`].
pub fn check_parameter_name(name: &str) -> Result<String, ParametersProblem> {
    if name.is_empty() || name.chars().count() > PARAMETER_NAME_CHARS_MAX {
        return Err(ParametersProblem::Name);
    }
    if name.chars().any(char::is_control) {
        return Err(ParametersProblem::Control);
    }
    Ok(name.to_lowercase())
}

/// Checks the value of a parameter. A tab may stand in it.
///
/// # Errors
///
/// [`ParametersProblem::Value`], [`ParametersProblem::Control`].
pub fn check_parameter_value(value: &str) -> Result<(), ParametersProblem> {
    if value.chars().count() > PARAMETER_VALUE_CHARS_MAX {
        return Err(ParametersProblem::Value);
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(ParametersProblem::Control);
    }
    Ok(())
}

/// Which keys a parameter is asked for.
#[derive(Clone, Copy, Debug)]
pub struct ParameterKeys<'a> {
    /// The current key, or the one that the caller names; nothing when there is none.
    pub key: Option<KeyNo>,
    /// The main keys of the series at this server; the first stands in when the file names none.
    pub main_keys: &'a [KeyNo],
    /// What the licences say themselves (claim `Parameters`), names in any case.
    pub own: &'a BTreeMap<KeyNo, BTreeMap<String, String>>,
}

/// The value of a parameter: that of the key; with `use_main` else that of the main key, which is the
/// one that the file names or the first; else the default; else nothing. Of one key the value in its
/// licence comes before that in the file, because it was signed for this key alone.
pub fn resolve<'a>(
    file: &'a ParameterFile,
    keys: &ParameterKeys<'a>,
    name: &str,
    use_main: bool,
) -> Option<&'a str> {
    let name = name.trim().to_lowercase();
    let of_key = |key: KeyNo| {
        let own = keys.own.get(&key).and_then(|own| of_licence(own, &name));
        own.or_else(|| file.of_key(key, &name))
    };
    let main = || {
        let first = || keys.main_keys.first().copied();
        if use_main { file.main_key.or_else(first) } else { None }
    };
    keys.key
        .and_then(of_key)
        .or_else(|| main().and_then(of_key))
        .or_else(|| file.default.get(&name).map(String::as_str))
}

/// A licence holds few parameters (their count is limited at the order), so they are looked through.
fn of_licence<'a>(own: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    own.iter().find(|(other, _)| other.to_lowercase() == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "\u{feff}; параметры\n[Default]\nТипПриложения = Базовая\nLimit=10\nEmpty=\n\n\
        [7131766]\nтипприложения = КОРП\n# comment\n[2]\nLimit = 20 ; not a comment\nColour=red\n\
        [Основной]\nКлюч=2\n";

    fn file() -> ParameterFile {
        ParameterFile::parse(TEXT).unwrap()
    }

    fn check(
        file: &ParameterFile,
        key: Option<u32>,
        name: &str,
        use_main: bool,
        wanted: Option<&str>,
    ) {
        let own = BTreeMap::from([
            (KeyNo(3), BTreeMap::from([("Colour".to_owned(), "green".to_owned())])),
            (KeyNo(2), BTreeMap::from([("LIMIT".to_owned(), "200".to_owned())])),
        ]);
        let keys =
            ParameterKeys { key: key.map(KeyNo), main_keys: &[KeyNo(3), KeyNo(2)], own: &own };
        assert_eq!(resolve(file, &keys, name, use_main), wanted, "{key:?} {name} {use_main}");
    }

    #[test]
    fn value_is_that_of_the_key_then_of_the_main_key_then_the_default() {
        let file = file();
        check(&file, Some(7_131_766), "ТипПриложения", false, Some("КОРП"));
        check(&file, Some(7_131_766), " ТИППРИЛОЖЕНИЯ ", true, Some("КОРП"));
        check(&file, Some(1), "ТипПриложения", false, Some("Базовая"));
        check(&file, None, "типПриложения", true, Some("Базовая"));
        check(&file, Some(1), "colour", false, None);
        check(&file, Some(1), "colour", true, Some("red"));
        check(&file, None, "colour", true, Some("red"));
        check(&file, Some(1), "Empty", false, Some(""));
        check(&file, Some(1), "missing", true, None);
    }

    #[test]
    fn value_in_the_licence_comes_before_that_of_the_file() {
        let file = file();
        check(&file, Some(2), "limit", false, Some("200"));
        check(&file, Some(1), "limit", true, Some("200"));
        check(&file, Some(1), "limit", false, Some("10"));
        check(&file, Some(3), "Colour", true, Some("green"));
    }

    #[test]
    fn first_main_key_stands_in_when_the_file_names_none() {
        let none = ParameterFile::default();
        check(&none, Some(1), "colour", true, Some("green"));
        check(&none, Some(1), "colour", false, None);
        check(&none, Some(1), "limit", true, None);
    }

    #[test]
    fn file_tells_what_it_holds() {
        let file = file();
        assert_eq!((file.len(), file.is_empty(), file.main_key()), (6, false, Some(KeyNo(2))));
        assert_eq!(file.keys().collect::<Vec<_>>(), [KeyNo(2), KeyNo(7_131_766)]);
        assert!(ParameterFile::parse("").unwrap().is_empty());
        assert!(ParameterFile::parse("[Default]\n[5]\n").unwrap().is_empty());
    }

    #[test]
    fn wrong_line_is_named_with_its_reason() {
        use ParametersProblem as P;
        let check = |text: &str, line: usize, problem: P| {
            let wanted = Err(ParameterFileError::Line { line, problem });
            assert_eq!(ParameterFile::parse(text), wanted, "{text:?}");
        };
        check("a=b", 1, P::NoSection);
        check("\n\n[Default\n", 3, P::Section);
        check("[]", 1, P::Section);
        check("[Key 5]", 1, P::Section);
        check("[+5]", 1, P::Section);
        check("[4294967296]", 1, P::Section);
        check("[Default]\nabc", 2, P::Line);
        check("[Default]\n=b", 2, P::Name);
        check(&format!("[Default]\n{}=b", "я".repeat(256)), 2, P::Name);
        check(&format!("[Default]\na={}", "я".repeat(4001)), 2, P::Value);
        check("[Default]\na=1\nA=2", 3, P::Repeated);
        check("[5]\n[default]\n[ПоУмолчанию]", 3, P::SectionTwice);
        check("[5]\n[05]", 2, P::SectionTwice);
        check("[Main]\nKey=x", 2, P::Main);
        check("[Main]\nKey=1\nKey=2", 3, P::Main);
        check("[Main]\nOther=1", 2, P::Main);
        check("[Default]\na\u{1}=1", 2, P::Control);
        check("[Default]\na=1\u{0}2", 2, P::Control);
    }

    #[test]
    fn limits_hold_at_their_edge() {
        let longest = format!("[Default]\n{}={}", "я".repeat(255), "я".repeat(4000));
        assert_eq!(ParameterFile::parse(&longest).unwrap().len(), 1);
        let many = |count: usize| {
            (0..count).fold("[Default]\n".to_owned(), |text, at| text + &format!("p{at}=\n"))
        };
        assert_eq!(ParameterFile::parse(&many(PARAMETERS_MAX)).unwrap().len(), PARAMETERS_MAX);
        let wanted = ParameterFileError::Line {
            line: PARAMETERS_MAX + 2,
            problem: ParametersProblem::TooMany,
        };
        assert_eq!(ParameterFile::parse(&many(PARAMETERS_MAX + 1)), Err(wanted));
        let large = "#".repeat(PARAMETERS_BYTES_MAX + 1);
        assert_eq!(ParameterFile::parse(&large), Err(ParameterFileError::TooLarge));
        assert!(ParameterFile::parse(&large[1..]).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\PC|\n|\\[|\\]|=){0,200}") {
            let _read_or_refused = ParameterFile::parse(&text).is_ok();
        }

        #[test]
        fn what_was_written_is_found(name in "[a-zа-я][a-zа-я0-9 ]{0,20}[a-z]", value in "[^\\pC\\s][^\\pC]{0,50}[^\\pC\\s]", key: u32) {
            let text = format!("[{key}]\r\n {name} = {value}\r\n");
            let file = ParameterFile::parse(&text).unwrap();
            let own = BTreeMap::new();
            let keys = ParameterKeys { key: Some(KeyNo(key)), main_keys: &[], own: &own };
            prop_assert_eq!(resolve(&file, &keys, &name.to_uppercase().to_lowercase(), false), Some(value.as_str()));
        }
    }
}
