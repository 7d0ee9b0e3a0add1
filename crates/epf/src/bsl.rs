//! The heads of the procedures and functions of a module in 1C's language.
//!
//! A lexer of the whole language ([`lexer`]) and a reader of what stands outside of bodies:
//! variables, heads, preprocessor lines. Bodies are passed over, statements are not understood.
//! Keywords are taken in Russian and English, in any case.

pub mod lexer;

use lexer::{Lexer, Token, TokenKind};

/// Most bytes of a module: the platform compiles none of this size, and memory is bounded by it.
pub const MODULE_BYTES_MAX: usize = 16 << 20;

/// What is wrong with a module.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct BslError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub kind: BslErrorKind,
}

/// What is wrong with a module, in kinds.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BslErrorKind {
    /// A character that the language does not know.
    #[error("character {0:?} is not part of the language")]
    Character(char),
    /// A string or date that does not end.
    #[error("a string or date does not end")]
    Literal,
    /// Larger than is read.
    #[error("the module is larger than {MODULE_BYTES_MAX} bytes")]
    Size,
    /// A method that does not end, or an end without a method.
    #[error("{0:?} is out of place")]
    Misplaced(String),
    /// The module ends within a method.
    #[error("the module ends within {0:?}")]
    Unfinished(String),
    /// The head of a method is not what it should be.
    #[error("the head of a method is not understood at {0:?}")]
    Head(String),
}

/// Procedure or function.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MethodKind {
    /// Without a value.
    Procedure,
    /// With a value.
    Function,
}

/// In which of its two languages a keyword was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tongue {
    /// English.
    English,
    /// Russian.
    Russian,
}

/// A parameter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parameter {
    /// `Знач` stands before it.
    pub by_value: bool,
    /// Its name.
    pub name: String,
    /// The constant behind `=`, as it is written.
    pub default: Option<String>,
}

/// The head of a procedure or function.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Method {
    /// Procedure or function.
    pub kind: MethodKind,
    /// Language of its first keyword.
    pub tongue: Tongue,
    /// Its name.
    pub name: String,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// `Экспорт`.
    pub exported: bool,
    /// `Асинх`.
    pub is_async: bool,
    /// Directives and annotations before it, as they are written: `&НаСервере`.
    pub directives: Vec<String>,
    /// Comment lines right before it, as they are written, without their line ends.
    pub comments: Vec<String>,
    /// Line of its first keyword, from 1.
    pub line: usize,
    /// Where the directives stand in the text, in bytes; empty when there are none.
    pub directives_at: std::ops::Range<usize>,
}

/// Something that stands outside of bodies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Item {
    /// A procedure or function.
    Method(Method),
    /// A preprocessor line as it is written: `#Область Имя`, `#Если Сервер Тогда`.
    Preprocessor {
        /// The line.
        text: String,
        /// Line, from 1.
        line: usize,
    },
    /// Statements outside of methods.
    Statement {
        /// Line, from 1.
        line: usize,
    },
    /// A declaration of module variables.
    Variable {
        /// `Экспорт`.
        exported: bool,
        /// Line, from 1.
        line: usize,
    },
}

/// Reads what stands outside of bodies, in order.
///
/// # Errors
///
/// See [`BslErrorKind`].
pub fn items(text: &str) -> Result<Vec<Item>, BslError> {
    let tokens = Lexer::new(text)?.collect::<Result<Vec<_>, _>>()?;
    Reader { tokens: &tokens, at: 0, items: Vec::new() }.read()
}

/// The methods of a module, in order.
///
/// # Errors
///
/// See [`BslErrorKind`].
pub fn methods(text: &str) -> Result<Vec<Method>, BslError> {
    Ok(items(text)?
        .into_iter()
        .filter_map(|item| match item {
            Item::Method(method) => Some(method),
            Item::Preprocessor { .. } | Item::Statement { .. } | Item::Variable { .. } => None,
        })
        .collect())
}

/// Whether a module exports a method of this name; names differ in case only by accident.
///
/// # Errors
///
/// When the module cannot be read.
pub fn exports(text: &str, name: &str) -> Result<bool, BslError> {
    let wanted = name.to_lowercase();
    Ok(methods(text)?.iter().any(|method| method.exported && method.name.to_lowercase() == wanted))
}

/// Keywords that matter outside of bodies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Word {
    Async,
    End(MethodKind),
    Export,
    Method(MethodKind, Tongue),
    Value,
    Var,
}

fn word(text: &str) -> Option<Word> {
    Some(match text.to_lowercase().as_str() {
        "процедура" => Word::Method(MethodKind::Procedure, Tongue::Russian),
        "procedure" => Word::Method(MethodKind::Procedure, Tongue::English),
        "функция" => Word::Method(MethodKind::Function, Tongue::Russian),
        "function" => Word::Method(MethodKind::Function, Tongue::English),
        "конецпроцедуры" | "endprocedure" => Word::End(MethodKind::Procedure),
        "конецфункции" | "endfunction" => Word::End(MethodKind::Function),
        "экспорт" | "export" => Word::Export,
        "асинх" | "async" => Word::Async,
        "знач" | "val" => Word::Value,
        "перем" | "var" => Word::Var,
        _ => return None,
    })
}

struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    items: Vec<Item>,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<&'a Token<'a>> {
        self.tokens.get(self.at)
    }

    /// The keyword here, unless it is a member's name behind a dot.
    fn word(&self) -> Option<Word> {
        let token = self.peek()?;
        let behind_dot = self
            .at
            .checked_sub(1)
            .and_then(|before| self.tokens.get(before))
            .is_some_and(|before| before.text == ".");
        (token.kind == TokenKind::Word && !behind_dot).then(|| word(token.text)).flatten()
    }

    /// The next token that is neither a comment nor a preprocessor line.
    fn skip_comments(&mut self) {
        while self.peek().is_some_and(|token| token.kind == TokenKind::Comment) {
            self.at += 1;
        }
    }

    fn head_error(&self, line: usize) -> BslError {
        let (line, text) =
            self.peek().map_or((line, String::new()), |token| (token.line, token.text.to_owned()));
        BslError { line, kind: BslErrorKind::Head(text) }
    }

    fn read(mut self) -> Result<Vec<Item>, BslError> {
        // Comments and directives wait for the method that they belong to.
        let mut comments: Vec<&Token<'_>> = Vec::new();
        let mut directives: Vec<&Token<'_>> = Vec::new();
        while let Some(token) = self.peek() {
            match token.kind {
                TokenKind::Comment => {
                    self.at += 1;
                    // A comment belongs to the method when nothing stands between them.
                    if comments.last().is_some_and(|last| last.line + 1 != token.line) {
                        comments.clear();
                    }
                    if directives.is_empty() {
                        comments.push(token);
                    }
                    continue;
                }
                TokenKind::Directive => {
                    directives.push(token);
                    self.at += 1;
                    continue;
                }
                TokenKind::Preprocessor => {
                    self.items.push(Item::Preprocessor {
                        text: token.text.trim_end().to_owned(),
                        line: token.line,
                    });
                    self.at += 1;
                }
                TokenKind::Literal | TokenKind::Sign | TokenKind::Word => {
                    self.declaration(token, &comments, &directives)?;
                }
            }
            comments.clear();
            directives.clear();
        }
        if let Some(directive) = directives.first() {
            let kind = BslErrorKind::Misplaced(directive.text.to_owned());
            return Err(BslError { line: directive.line, kind });
        }
        Ok(self.items)
    }

    fn declaration(
        &mut self,
        token: &'a Token<'a>,
        comments: &[&Token<'_>],
        directives: &[&Token<'_>],
    ) -> Result<(), BslError> {
        let misplaced =
            || BslError { line: token.line, kind: BslErrorKind::Misplaced(token.text.to_owned()) };
        match self.word() {
            Some(Word::Async | Word::Method(..)) => {
                let first = directives.first().map_or(token.line, |first| first.line);
                let touching = comments.last().is_some_and(|last| last.line + 1 == first);
                let mut method = self.head(token.line)?;
                if touching {
                    method.comments =
                        comments.iter().map(|comment| comment.text.trim_end().to_owned()).collect();
                }
                method.directives =
                    directives.iter().map(|directive| directive.text.to_owned()).collect();
                if let (Some(first), Some(last)) = (directives.first(), directives.last()) {
                    method.directives_at = first.at..last.at + last.text.len();
                }
                self.body(&method)?;
                self.items.push(Item::Method(method));
                Ok(())
            }
            Some(Word::Var) => {
                let mut exported = false;
                loop {
                    self.at += 1;
                    exported |= self.word() == Some(Word::Export);
                    match self.peek() {
                        Some(next) if next.text == ";" => break,
                        Some(_) => {}
                        None => return Err(misplaced()),
                    }
                }
                self.at += 1;
                self.items.push(Item::Variable { exported, line: token.line });
                Ok(())
            }
            Some(Word::End(_) | Word::Export | Word::Value) => Err(misplaced()),
            None => {
                self.at += 1;
                // A stray semicolon between methods says nothing.
                let repeated = matches!(self.items.last(), Some(Item::Statement { .. }));
                if token.text != ";" && !repeated {
                    self.items.push(Item::Statement { line: token.line });
                }
                Ok(())
            }
        }
    }

    fn head(&mut self, line: usize) -> Result<Method, BslError> {
        let is_async = self.word() == Some(Word::Async);
        if is_async {
            self.at += 1;
            self.skip_comments();
        }
        let Some(Word::Method(kind, tongue)) = self.word() else {
            return Err(self.head_error(line));
        };
        self.at += 1;
        let name = self.name(line)?;
        self.sign("(", line)?;
        let mut parameters = Vec::new();
        self.skip_comments();
        if self.peek().is_some_and(|token| token.text == ")") {
            self.at += 1;
        } else {
            loop {
                parameters.push(self.parameter(line)?);
                self.skip_comments();
                match self.peek() {
                    Some(token) if token.text == "," => self.at += 1,
                    Some(token) if token.text == ")" => {
                        self.at += 1;
                        break;
                    }
                    _ => return Err(self.head_error(line)),
                }
            }
        }
        self.skip_comments();
        let exported = self.word() == Some(Word::Export);
        if exported {
            self.at += 1;
        }
        Ok(Method {
            kind,
            tongue,
            name,
            parameters,
            exported,
            is_async,
            directives: Vec::new(),
            comments: Vec::new(),
            line,
            directives_at: 0..0,
        })
    }

    fn name(&mut self, line: usize) -> Result<String, BslError> {
        self.skip_comments();
        match self.peek() {
            Some(token) if token.kind == TokenKind::Word && self.word().is_none() => {
                self.at += 1;
                Ok(token.text.to_owned())
            }
            _ => Err(self.head_error(line)),
        }
    }

    fn sign(&mut self, sign: &str, line: usize) -> Result<(), BslError> {
        self.skip_comments();
        if self.peek().is_some_and(|token| token.text == sign) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.head_error(line))
        }
    }

    fn parameter(&mut self, line: usize) -> Result<Parameter, BslError> {
        self.skip_comments();
        let by_value = self.word() == Some(Word::Value);
        if by_value {
            self.at += 1;
        }
        let name = self.name(line)?;
        self.skip_comments();
        let mut default = None;
        if self.peek().is_some_and(|token| token.text == "=") {
            self.at += 1;
            default = Some(self.constant(line)?);
        }
        Ok(Parameter { by_value, name, default })
    }

    /// A constant: a literal, a number with a sign, or a word such as `Истина`.
    fn constant(&mut self, line: usize) -> Result<String, BslError> {
        self.skip_comments();
        let mut constant = String::new();
        if let Some(token) = self.peek()
            && matches!(token.text, "-" | "+")
        {
            constant.push_str(token.text);
            self.at += 1;
            self.skip_comments();
        }
        match self.peek() {
            Some(token) if matches!(token.kind, TokenKind::Literal | TokenKind::Word) => {
                if self.word().is_some() {
                    return Err(self.head_error(line));
                }
                constant.push_str(token.text);
                self.at += 1;
                Ok(constant)
            }
            _ => Err(self.head_error(line)),
        }
    }

    /// Passes over a body and its end.
    fn body(&mut self, method: &Method) -> Result<(), BslError> {
        loop {
            let Some(token) = self.peek() else {
                let kind = BslErrorKind::Unfinished(method.name.clone());
                return Err(BslError { line: method.line, kind });
            };
            let word = self.word();
            self.at += 1;
            match word {
                Some(Word::End(kind)) if kind == method.kind => return Ok(()),
                Some(Word::End(_) | Word::Method(..)) => {
                    let kind = BslErrorKind::Misplaced(token.text.to_owned());
                    return Err(BslError { line: token.line, kind });
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
