//! Editing the text of a conf file: one key is set or taken out, everything else stays as it is.
//!
//! Reads lines as [`crate::config::IniSource`] does, so that what is set here is what is read
//! there. Comments, order, blank lines, unknown keys, indentation, line endings and the byte-order
//! mark are kept. Pure: it neither opens files nor knows which keys there are.

/// Keys before the first header belong to this section, as the reader has it.
const DEFAULT_SECTION: &str = "default";

const MARK: char = '\u{feff}';

/// Why an edit was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The key would be read back as something else.
    #[error("a key must not be empty, hold = or a line break, nor begin with ; # or [")]
    Key,
    /// The section would be read back under another name.
    #[error("a section must not hold a line break, nor begin or end with a blank")]
    Section,
    /// The value would be read back as another.
    #[error("a value must not hold a line break, nor begin or end with a blank")]
    Value,
}

impl EditError {
    /// The same in Russian.
    pub const fn russian(self) -> &'static str {
        match self {
            Self::Key => {
                "ключ не может быть пустым, содержать = или перевод строки и начинаться с ; # или ["
            }
            Self::Section => {
                "имя раздела не может содержать перевод строки, начинаться или заканчиваться \
                 пробелом"
            }
            Self::Value => {
                "значение не может содержать перевод строки, начинаться или заканчиваться пробелом"
            }
        }
    }
}

/// What a line says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Said<'a> {
    Blank,
    Comment(&'a str),
    Header(&'a str),
    Key(&'a str),
    /// A bracket that is not closed, or no key before the `=`.
    Wrong(Fault),
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// `[Common`
    OpenBracket,
    /// `=value`
    NoKey,
}

fn said(line: &str) -> Said<'_> {
    let line = line.trim();
    if line.is_empty() {
        return Said::Blank;
    }
    if let Some(comment) = line.strip_prefix([';', '#']) {
        return Said::Comment(comment);
    }
    if let Some(rest) = line.strip_prefix('[') {
        return match rest.rfind(']') {
            Some(end) => Said::Header(rest[..end].trim()),
            None => Said::Wrong(Fault::OpenBracket),
        };
    }
    match line.split_once('=').map_or(line, |(key, _)| key).trim() {
        "" => Said::Wrong(Fault::NoKey),
        key => Said::Key(key),
    }
}

/// The first line that no reader takes, by its number from 1.
pub fn fault(text: &str) -> Option<(usize, Fault)> {
    let plain = text.strip_prefix(MARK).unwrap_or(text);
    (1..).zip(plain.lines()).find_map(|(number, line)| match said(line) {
        Said::Wrong(fault) => Some((number, fault)),
        Said::Blank | Said::Comment(_) | Said::Header(_) | Said::Key(_) => None,
    })
}

/// The line of a key, from 1: the last one where it stands twice, because that one counts.
pub fn line_of(text: &str, section: &str, key: &str) -> Option<usize> {
    let plain = text.strip_prefix(MARK).unwrap_or(text);
    let mut current = DEFAULT_SECTION;
    let mut found = None;
    for (number, line) in (1..).zip(plain.lines()) {
        match said(line) {
            Said::Header(name) => current = name,
            Said::Key(name) if current == section && name == key => found = Some(number),
            Said::Blank | Said::Comment(_) | Said::Key(_) | Said::Wrong(_) => {}
        }
    }
    found
}

/// The text with a key set.
///
/// A key that is there keeps its line; of several the last one, because that one counts. Another
/// goes below a commented-out example of itself, else to the end of its section, else into a
/// section of its own at the end of the text.
///
/// # Errors
///
/// When it would not be read back as it was given.
pub fn set(text: &str, section: &str, key: &str, value: &str) -> Result<String, EditError> {
    check(section, key, value)?;
    let mut lines = Lines::read(text);
    match lines.place(section, key) {
        Place::At(index) => lines.change(index, value),
        Place::Below(index) => lines.insert(index, key, value),
        Place::NewSection => lines.append_section(section, key, value),
    }
    Ok(lines.write())
}

/// The text without a key, however often it stands there.
pub fn remove(text: &str, section: &str, key: &str) -> String {
    let mut lines = Lines::read(text);
    let mut current = DEFAULT_SECTION.to_owned();
    lines.lines.retain(|line| match said(&line.text) {
        Said::Header(name) => {
            name.clone_into(&mut current);
            true
        }
        Said::Key(name) => current != section || name != key,
        Said::Blank | Said::Comment(_) | Said::Wrong(_) => true,
    });
    lines.write()
}

fn check(section: &str, key: &str, value: &str) -> Result<(), EditError> {
    let is_clean = |text: &str| text.trim() == text && !text.contains(['\n', '\r']);
    // A mark at the very beginning of the text would be taken for the file's.
    if !is_clean(section) || section.starts_with(MARK) {
        return Err(EditError::Section);
    }
    let is_key = !key.is_empty() && !key.starts_with([';', '#', '[', MARK]) && !key.contains('=');
    if !is_clean(key) || !is_key {
        return Err(EditError::Key);
    }
    if is_clean(value) { Ok(()) } else { Err(EditError::Value) }
}

/// A line and what ends it.
struct Line {
    text: String,
    ending: &'static str,
}

struct Lines {
    has_mark: bool,
    lines: Vec<Line>,
}

/// Where a key goes.
enum Place {
    /// On this line.
    At(usize),
    /// Below this line; nothing is the beginning of the text.
    Below(Option<usize>),
    /// Its section is not there.
    NewSection,
}

impl Lines {
    fn read(text: &str) -> Self {
        let plain = text.strip_prefix(MARK);
        let lines = plain
            .unwrap_or(text)
            .split_inclusive('\n')
            .map(|line| match line.strip_suffix("\r\n") {
                Some(text) => Line { text: text.to_owned(), ending: "\r\n" },
                None => match line.strip_suffix('\n') {
                    Some(text) => Line { text: text.to_owned(), ending: "\n" },
                    None => Line { text: line.to_owned(), ending: "" },
                },
            })
            .collect();
        Self { has_mark: plain.is_some(), lines }
    }

    fn write(&self) -> String {
        let mark = self.has_mark.then(|| MARK.to_string());
        let texts = self.lines.iter().flat_map(|line| [line.text.as_str(), line.ending]);
        mark.as_deref().into_iter().chain(texts).collect()
    }

    fn place(&self, section: &str, key: &str) -> Place {
        let mut current = DEFAULT_SECTION;
        // A section that is never opened has no end; the one before the first header always is.
        let mut end = None;
        let (mut at, mut example) = (None, None);
        for (index, line) in self.lines.iter().enumerate() {
            match said(&line.text) {
                Said::Header(name) => {
                    current = name;
                    if current == section {
                        end = Some(index);
                    }
                }
                Said::Key(name) if current == section => {
                    end = Some(index);
                    if name == key {
                        at = Some(index);
                    }
                }
                Said::Comment(text) if current == section => {
                    if text.split_once('=').is_some_and(|(name, _)| name.trim() == key) {
                        example = Some(index);
                    }
                }
                Said::Blank | Said::Comment(_) | Said::Key(_) | Said::Wrong(_) => {}
            }
        }
        match (at, example, end) {
            (Some(index), ..) => Place::At(index),
            (None, Some(index), _) => Place::Below(Some(index)),
            (None, None, Some(index)) => Place::Below(Some(self.after_comments(index))),
            (None, None, None) if section == DEFAULT_SECTION => Place::Below(None),
            (None, None, None) => Place::NewSection,
        }
    }

    /// The last of the comment lines that follow directly on this line, unless they follow directly
    /// into the next header or key and so belong to it.
    fn after_comments(&self, index: usize) -> usize {
        let comments = self.lines[index + 1..]
            .iter()
            .take_while(|line| matches!(said(&line.text), Said::Comment(_)))
            .count();
        let next = self.lines.get(index + 1 + comments).map(|line| said(&line.text));
        if matches!(next, None | Some(Said::Blank)) { index + comments } else { index }
    }

    fn change(&mut self, index: usize, value: &str) {
        let line = &mut self.lines[index].text;
        match line.find('=') {
            Some(equals) => {
                let old = &line[equals + 1..];
                // The blanks of an empty value would else grow into those before the new one.
                let blanks =
                    if old.trim().is_empty() { 0 } else { old.len() - old.trim_start().len() };
                line.truncate(equals + 1 + blanks);
            }
            None => {
                line.truncate(line.trim_end().len());
                line.push('=');
            }
        }
        line.push_str(value);
    }

    /// How lines end here: as the first one does.
    fn ending(&self) -> &'static str {
        self.lines
            .first()
            .map(|line| line.ending)
            .filter(|ending| !ending.is_empty())
            .unwrap_or("\n")
    }

    fn insert(&mut self, below: Option<usize>, key: &str, value: &str) {
        let ending = self.ending();
        let Some(below) = below else {
            self.lines.insert(0, Line { text: format!("{key}={value}"), ending });
            return;
        };
        let line = &mut self.lines[below];
        let indent = match said(&line.text) {
            Said::Key(_) | Said::Comment(_) => {
                let text = &line.text;
                text[..text.len() - text.trim_start().len()].to_owned()
            }
            Said::Blank | Said::Header(_) | Said::Wrong(_) => String::new(),
        };
        if line.ending.is_empty() {
            line.ending = ending;
        }
        self.lines.insert(below + 1, Line { text: format!("{indent}{key}={value}"), ending });
    }

    fn append_section(&mut self, section: &str, key: &str, value: &str) {
        let ending = self.ending();
        if let Some(last) = self.lines.last_mut() {
            if last.ending.is_empty() {
                last.ending = ending;
            }
            if !last.text.trim().is_empty() {
                self.lines.push(Line { text: String::new(), ending });
            }
        }
        self.lines.push(Line { text: format!("[{section}]"), ending });
        self.lines.push(Line { text: format!("{key}={value}"), ending });
    }
}

#[cfg(test)]
#[path = "ini_edit_tests.rs"]
mod tests;
