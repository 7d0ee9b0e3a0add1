//! The platform's text of nested braces: `{1,"text",{…}}`.
//!
//! Values are read and written as they stand; what they mean is decided elsewhere. A text value
//! keeps its meaning, not its quotes: `""` inside quotes is one quote.

use std::fmt::Write as _;

/// Most levels of braces: the platform's own objects stay below 40, and reading recurses.
pub const DEPTH_MAX: usize = 128;

/// One value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// A number, a UUID, base64 data: whatever stands without quotes and braces.
    Atom(String),
    /// A list in braces.
    List(Vec<Self>),
    /// A text in quotes.
    Text(String),
}

/// Why a text is not a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BraceError {
    /// More levels than are read.
    #[error("braces are nested deeper than {DEPTH_MAX}")]
    Depth,
    /// The text ended inside a value.
    #[error("the text ends inside a value")]
    End,
    /// Something else than a comma or a brace after a value.
    #[error("an unexpected character at byte {0}")]
    Unexpected(usize),
}

impl Value {
    /// Reads one value in braces; a byte order mark before it and white space around it are
    /// passed over.
    ///
    /// # Errors
    ///
    /// See [`BraceError`].
    pub fn parse(text: &str) -> Result<Self, BraceError> {
        let mut reader = Reader { text, at: 0 };
        if text.starts_with('\u{feff}') {
            reader.at = '\u{feff}'.len_utf8();
        }
        reader.blanks();
        if reader.peek() != Some(b'{') {
            return Err(reader.unexpected());
        }
        let value = reader.value(0)?;
        reader.blanks();
        if reader.at == text.len() { Ok(value) } else { Err(reader.unexpected()) }
    }

    /// The text as the platform lays it out: a line break before each list and after the last.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Atom(atom) => out.push_str(atom),
            Self::Text(text) => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\"{}\"", text.replace('"', "\"\""));
            }
            Self::List(items) => {
                out.push('{');
                for (number, item) in items.iter().enumerate() {
                    if number > 0 {
                        out.push(',');
                    }
                    if matches!(item, Self::List(_)) {
                        out.push_str("\r\n");
                    }
                    item.write(out);
                }
                if matches!(items.last(), Some(Self::List(_))) {
                    out.push_str("\r\n");
                }
                out.push('}');
            }
        }
    }

    /// The items of a list.
    pub fn items(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            Self::Atom(_) | Self::Text(_) => None,
        }
    }

    /// What an atom says.
    pub fn atom(&self) -> Option<&str> {
        match self {
            Self::Atom(atom) => Some(atom),
            Self::List(_) | Self::Text(_) => None,
        }
    }

    /// What a text says.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Atom(_) | Self::List(_) => None,
        }
    }

    /// The value at the end of a path of positions.
    pub fn at(&self, path: &[usize]) -> Option<&Self> {
        path.iter().try_fold(self, |value, &place| value.items()?.get(place))
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    const fn unexpected(&self) -> BraceError {
        if self.at >= self.text.len() { BraceError::End } else { BraceError::Unexpected(self.at) }
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, BraceError> {
        match self.peek() {
            Some(b'{') => self.list(depth),
            Some(b'"') => self.quoted(),
            Some(_) => self.bare(),
            None => Err(BraceError::End),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, BraceError> {
        if depth == DEPTH_MAX {
            return Err(BraceError::Depth);
        }
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.blanks();
            items.push(self.value(depth + 1)?);
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::List(items));
                }
                _ => return Err(self.unexpected()),
            }
        }
    }

    fn quoted(&mut self) -> Result<Value, BraceError> {
        let mut text = String::new();
        loop {
            self.at += 1;
            let rest = self.text.get(self.at..).ok_or(BraceError::End)?;
            let end = rest.find('"').ok_or(BraceError::End)?;
            text.push_str(&rest[..end]);
            self.at += end + 1;
            if self.peek() != Some(b'"') {
                return Ok(Value::Text(text));
            }
            text.push('"');
        }
    }

    fn bare(&mut self) -> Result<Value, BraceError> {
        let rest = &self.text[self.at..];
        let end = rest.find([',', '}', '{', '"']).ok_or(BraceError::End)?;
        self.at += end;
        Ok(Value::Atom(rest[..end].trim_end().to_owned()))
    }
}

/// A list.
pub(crate) fn list(items: impl IntoIterator<Item = Value>) -> Value {
    Value::List(items.into_iter().collect())
}

/// An atom.
pub(crate) fn atom(value: impl ToString) -> Value {
    Value::Atom(value.to_string())
}

/// A text.
pub(crate) fn text(value: impl Into<String>) -> Value {
    Value::Text(value.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn layout_is_the_platforms() {
        let check = |layout: &str| {
            assert_eq!(Value::parse(layout).unwrap().to_text(), layout, "{layout:?}");
        };
        check("{2,919dc4b8-57df-49b9-bbbe-df9fd58393ba,}");
        check("{\r\n{216,0,\r\n{80315,0}\r\n}\r\n}");
        check("{1,\r\n{2,4,\r\n{1,0},\"a \"\"b\"\"\",\r\n{0}\r\n},0}");
        check("{1,\r\n{#base64:QUJD\r\nREVG}\r\n}");
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let check = |layout: &str, wanted| assert_eq!(Value::parse(layout), Err(wanted));
        check("", BraceError::End);
        check("1", BraceError::Unexpected(0));
        check("{1,{2}", BraceError::End);
        check("{\"a}", BraceError::End);
        check("{1}x", BraceError::Unexpected(3));
        check("{1{2}}", BraceError::Unexpected(2));
        check(&"{".repeat(100_000), BraceError::Depth);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[{}\",a0 \r\n\u{feff}]{0,60}") {
            if let Ok(value) = Value::parse(&text) {
                prop_assert_eq!(Value::parse(&value.to_text()), Ok(value));
            }
        }
    }
}
