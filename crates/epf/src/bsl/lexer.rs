//! The tokens of 1C's language, each with its place.
//!
//! White space is passed over; comments and preprocessor lines are tokens. A string over several
//! lines is one token, with the comments that the language allows between its lines. Nothing is
//! understood here but where a token ends.

use super::{BslError, BslErrorKind, MODULE_BYTES_MAX};

/// What a token is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenKind {
    /// `// …` to the end of the line.
    Comment,
    /// `&Имя`, with an annotation's parentheses.
    Directive,
    /// A number, string or date.
    Literal,
    /// `#…` to the end of the line.
    Preprocessor,
    /// One character of punctuation.
    Sign,
    /// A keyword or name.
    Word,
}

/// A token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: TokenKind,
    /// As it is written.
    pub text: &'a str,
    /// Line of its first character, from 1.
    pub line: usize,
    /// Place of its first byte.
    pub at: usize,
}

/// An iterator over the tokens of a text; ends after its first error.
#[derive(Clone, Debug)]
pub struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    failed: bool,
}

impl<'a> Lexer<'a> {
    /// Begins at the first character; a byte order mark is passed over.
    ///
    /// # Errors
    ///
    /// When the text is larger than [`MODULE_BYTES_MAX`].
    pub fn new(text: &'a str) -> Result<Self, BslError> {
        if text.len() > MODULE_BYTES_MAX {
            return Err(BslError { line: 1, kind: BslErrorKind::Size });
        }
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Ok(Self { text, at, line: 1, failed: false })
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        if next == '\n' {
            self.line += 1;
        }
        Some(next)
    }

    fn bump_while(&mut self, holds: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&holds) {
            self.bump();
        }
    }

    fn skip_line(&mut self) {
        self.bump_while(|other| other != '\n');
    }

    fn error(&self, line: usize, kind: BslErrorKind) -> BslError {
        BslError { line, kind }
    }

    /// After the opening quote.
    fn string(&mut self, line: usize) -> Result<(), BslError> {
        loop {
            match self.bump() {
                Some('"') if self.peek() == Some('"') => {
                    self.bump();
                }
                Some('"') => return Ok(()),
                Some('\n') => self.string_goes_on(line)?,
                Some(_) => {}
                None => return Err(self.error(line, BslErrorKind::Literal)),
            }
        }
    }

    /// Between the lines of a string stand blank lines, comments and preprocessor lines; the next
    /// line of the string begins with a bar.
    fn string_goes_on(&mut self, line: usize) -> Result<(), BslError> {
        loop {
            self.bump_while(char::is_whitespace);
            match self.peek() {
                Some('|') => {
                    self.bump();
                    return Ok(());
                }
                Some('#') => self.skip_line(),
                Some('/') if self.rest().starts_with("//") => self.skip_line(),
                _ => return Err(self.error(line, BslErrorKind::Literal)),
            }
        }
    }

    fn date(&mut self, line: usize) -> Result<(), BslError> {
        self.bump_while(|other| other != '\'' && other != '\n');
        if self.bump() == Some('\'') {
            Ok(())
        } else {
            Err(self.error(line, BslErrorKind::Literal))
        }
    }

    /// After the ampersand: a name, and what an annotation has in parentheses.
    fn directive(&mut self, line: usize) -> Result<(), BslError> {
        self.bump_while(is_word);
        let name_end = self.at;
        let name_line = self.line;
        self.bump_while(|other| matches!(other, ' ' | '\t'));
        if self.peek() != Some('(') {
            self.at = name_end;
            self.line = name_line;
            return Ok(());
        }
        loop {
            match self.bump() {
                Some(')') => return Ok(()),
                Some('"') => self.string(line)?,
                Some(_) => {}
                None => return Err(self.error(line, BslErrorKind::Literal)),
            }
        }
    }

    fn token(&mut self, first: char) -> Result<TokenKind, BslError> {
        let line = self.line;
        self.bump();
        Ok(match first {
            '/' if self.peek() == Some('/') => {
                self.skip_line();
                TokenKind::Comment
            }
            '#' => {
                self.skip_line();
                TokenKind::Preprocessor
            }
            '&' => {
                self.directive(line)?;
                TokenKind::Directive
            }
            '"' => {
                self.string(line)?;
                TokenKind::Literal
            }
            '\'' => {
                self.date(line)?;
                TokenKind::Literal
            }
            first if first.is_ascii_digit() => {
                self.bump_while(|other| other.is_ascii_digit() || other == '.');
                TokenKind::Literal
            }
            first if is_word(first) => {
                self.bump_while(is_word);
                TokenKind::Word
            }
            '(' | ')' | '[' | ']' | ',' | ';' | ':' | '.' | '=' | '<' | '>' | '+' | '-' | '*'
            | '/' | '%' | '?' | '~' => TokenKind::Sign,
            other => return Err(self.error(line, BslErrorKind::Character(other))),
        })
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Result<Token<'a>, BslError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        self.bump_while(char::is_whitespace);
        let (at, line) = (self.at, self.line);
        let first = self.peek()?;
        Some(match self.token(first) {
            Ok(kind) => {
                let text = self.text.get(at..self.at).unwrap_or_default();
                Ok(Token { kind, text, line, at })
            }
            Err(error) => {
                self.failed = true;
                Err(error)
            }
        })
    }
}
