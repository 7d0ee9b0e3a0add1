//! A common module becomes a protected processor and a module of forwarding stubs.
//!
//! The processor gets the whole module and what the object manager calls when it creates a
//! protected object; the open module keeps the heads, default values, comments and regions, and
//! forwards every call. What cannot be forwarded (asynchronous methods, client code, exported
//! variables, statements outside of methods) is refused with its line.

use std::fmt::Write as _;

use crate::bsl::{self, BslError, Item, Method, MethodKind, Tongue};
use crate::source::{Kind, Source, is_name, plain_lines};

/// The function of the configuration that makes a protected object, unless another is named.
pub const CALL: &str = "СоздатьОбъектСЛК";
/// What the object manager calls when it has created the object.
const ON_CREATE: &str = "ПриСозданииОбъекта";
/// Its elder, with four parameters, of the contract of 2.x.
const ON_CREATE_OF_2: &str = "ПриСоздании";
/// What the object manager asks before it checks the licence.
const BEFORE_CHECK: &str = "ПередКонтролемЛицензии";
/// What the object manager calls, and with how many parameters.
const CONTRACT: [(&str, usize); 3] = [(ON_CREATE, 3), (ON_CREATE_OF_2, 4), (BEFORE_CHECK, 1)];
/// The processor's variable with the object manager.
const MANAGER: &str = "МенеджерОбъектовСЛК";

/// Why there are no stubs.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StubError {
    /// An asynchronous method is exported.
    #[error("line {line}: {name:?} is asynchronous, and its call cannot be forwarded")]
    Async {
        /// The method.
        name: String,
        /// Its line, from 1.
        line: usize,
    },
    /// The module cannot be read.
    #[error(transparent)]
    Bsl(#[from] BslError),
    /// A procedure that the object manager would not find, or call in vain.
    #[error(
        "line {line}: {name:?} must be exported and take {parameters} parameters, as the object \
         manager calls it"
    )]
    Contract {
        /// The method.
        name: String,
        /// How many parameters it must have.
        parameters: usize,
        /// Its line, from 1.
        line: usize,
    },
    /// A directive that a protected object, which lives on the server, cannot follow.
    #[error("line {line}: directive {directive} of {name:?} does not fit an object on the server")]
    Directive {
        /// The directive.
        directive: String,
        /// The method.
        name: String,
        /// Its line, from 1.
        line: usize,
    },
    /// Not a name.
    #[error("{0:?} is not a name")]
    Name(String),
    /// Nothing to forward.
    #[error("the module exports nothing")]
    Nothing,
    /// The module uses the name of the variable that the processor gets.
    #[error("the module uses the name {MANAGER}, which the processor needs")]
    Reserved,
    /// The call in a stub would not reach the function that makes objects.
    #[error("line {line}: {name:?} has the name of the function that stubs call: name another one")]
    Shadowed {
        /// The method or parameter.
        name: String,
        /// Line of the method, from 1.
        line: usize,
    },
    /// Statements outside of methods.
    #[error("line {0}: statements outside of methods cannot be protected")]
    Statement(usize),
    /// An exported variable.
    #[error("line {0}: an exported variable cannot be forwarded")]
    Variable(usize),
}

/// What comes of a module.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stub {
    /// The protected processor.
    pub processor: Source,
    /// Text of the open module, with plain line feeds.
    pub open_module: String,
    /// How many methods are forwarded.
    pub forwarded: usize,
}

/// Makes both out of a module's text. `object` is the name that is given to `call`: that of the
/// processor, behind `Псевдоним.` when it will be taken from a data file with an alias. `call` is
/// the configuration's function that makes a protected object from its name, such as [`CALL`]; it
/// may stand behind a module's name.
///
/// # Errors
///
/// See [`StubError`].
pub fn generate(module: &str, object: &str, call: &str) -> Result<Stub, StubError> {
    let (alias, name) = object.split_once('.').map_or((None, object), |(a, n)| (Some(a), n));
    if !is_name(name) || !alias.is_none_or(is_name) {
        return Err(StubError::Name(object.to_owned()));
    }
    if !call.split('.').all(is_name) {
        return Err(StubError::Name(call.to_owned()));
    }
    let module = plain_lines(module);
    let items = bsl::items(&module)?;
    check(&items)?;
    check_call(&items, call)?;
    if uses_name(&module, MANAGER)? {
        return Err(StubError::Reserved);
    }
    let mut lines = Vec::new();
    let mut forwarded = 0;
    for item in &items {
        match item {
            Item::Preprocessor { text, .. } => lines.push(Line::Preprocessor(text.clone())),
            Item::Method(method) if method.exported && !is_contract(method) => {
                lines.push(Line::Text(forward(method, object, call)));
                forwarded += 1;
            }
            Item::Method(_) | Item::Statement { .. } | Item::Variable { .. } => {}
        }
    }
    if forwarded == 0 {
        return Err(StubError::Nothing);
    }
    let text = processor_module(&module, &items);
    Ok(Stub {
        processor: Source::new(Kind::Processor, name, &text),
        open_module: lay_out(prune(lines)),
        forwarded,
    })
}

/// Whether it is one of those that only the object manager calls.
fn is_contract(method: &Method) -> bool {
    contract(method).is_some()
}

/// The number of parameters with which the object manager calls it, if it does.
fn contract(method: &Method) -> Option<usize> {
    let name = method.name.to_lowercase();
    CONTRACT.iter().find(|(known, _)| known.to_lowercase() == name).map(|(_, count)| *count)
}

/// Stubs stand in the open module and have its methods' and their own parameters' names around
/// them: one of these in the place of the function would call itself without end, or nothing.
fn check_call(items: &[Item], call: &str) -> Result<(), StubError> {
    let (first, is_of_module) = match call.split_once('.') {
        Some((module, _)) => (module.to_lowercase(), true),
        None => (call.to_lowercase(), false),
    };
    for item in items {
        let Item::Method(method) = item else { continue };
        if !method.exported || is_contract(method) {
            continue;
        }
        let mut names: Vec<&str> = Vec::new();
        if is_of_module {
            names.extend(method.parameters.iter().map(|parameter| parameter.name.as_str()));
        } else {
            names.push(&method.name);
        }
        if let Some(name) = names.into_iter().find(|name| name.to_lowercase() == first) {
            return Err(StubError::Shadowed { name: name.to_owned(), line: method.line });
        }
    }
    Ok(())
}

fn check(items: &[Item]) -> Result<(), StubError> {
    for item in items {
        match item {
            Item::Statement { line } => return Err(StubError::Statement(*line)),
            Item::Variable { exported: true, line } => return Err(StubError::Variable(*line)),
            Item::Method(method) => check_method(method)?,
            Item::Preprocessor { .. } | Item::Variable { .. } => {}
        }
    }
    Ok(())
}

fn check_method(method: &Method) -> Result<(), StubError> {
    if method.exported && method.is_async {
        return Err(StubError::Async { name: method.name.clone(), line: method.line });
    }
    if let Some(parameters) = contract(method) {
        // More parameters do no harm when they may be left out; a function's result is not used.
        let rest = method.parameters.get(parameters..);
        let fits = method.exported
            && rest.is_some_and(|rest| rest.iter().all(|parameter| parameter.default.is_some()));
        if !fits {
            let (name, line) = (method.name.clone(), method.line);
            return Err(StubError::Contract { name, parameters, line });
        }
    }
    let server = ["&насервере", "&насерверебезконтекста", "&atserver", "&atservernocontext"];
    let foreign =
        method.directives.iter().find(|text| !server.contains(&text.to_lowercase().as_str()));
    match foreign {
        Some(directive) => Err(StubError::Directive {
            directive: directive.clone(),
            name: method.name.clone(),
            line: method.line,
        }),
        None => Ok(()),
    }
}

fn uses_name(module: &str, name: &str) -> Result<bool, BslError> {
    let wanted = name.to_lowercase();
    for token in bsl::lexer::Lexer::new(module)? {
        let token = token?;
        if token.kind == bsl::lexer::TokenKind::Word && token.text.to_lowercase() == wanted {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The processor's module: the module without directives, which an object's module does not know,
/// and the contract of a protected object.
fn processor_module(module: &str, items: &[Item]) -> String {
    let mut text = String::new();
    let mut from = 0;
    let mut has_on_create = false;
    for item in items {
        if let Item::Method(method) = item {
            has_on_create |= method.name.to_lowercase() == ON_CREATE.to_lowercase();
            let at = &method.directives_at;
            if !at.is_empty() {
                text.push_str(&module[from..at.start]);
                // The line ends stay, so that line numbers in messages stay those of the module.
                text.extend(module[at.clone()].chars().filter(|&other| other == '\n'));
                from = at.end;
            }
        }
    }
    text.push_str(&module[from..]);
    if has_on_create {
        return text;
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    // Variables come before methods, on a line of their own: the module may begin with a
    // preprocessor line.
    format!(
        "Перем {MANAGER};\n{text}\n\
         // Вызывается менеджером объектов при создании защищённого объекта.\n\
         Процедура {ON_CREATE}(МенеджерОбъектов, Отказ, ОписаниеОшибки) Экспорт\n\
         \t{MANAGER} = МенеджерОбъектов;\n\
         КонецПроцедуры\n"
    )
}

fn forward(method: &Method, object: &str, call: &str) -> String {
    let words = match method.tongue {
        Tongue::English => Words {
            procedure: ["Procedure", "EndProcedure"],
            function: ["Function", "EndFunction"],
            by_value: "Val",
            export: "Export",
            give_back: "Return",
        },
        Tongue::Russian => Words {
            procedure: ["Процедура", "КонецПроцедуры"],
            function: ["Функция", "КонецФункции"],
            by_value: "Знач",
            export: "Экспорт",
            give_back: "Возврат",
        },
    };
    let parameters: Vec<String> = method
        .parameters
        .iter()
        .map(|parameter| {
            let mut head = String::new();
            if parameter.by_value {
                head = format!("{} ", words.by_value);
            }
            head.push_str(&parameter.name);
            if let Some(default) = &parameter.default {
                let _ = write!(head, " = {default}");
            }
            head
        })
        .collect();
    let passed: Vec<&str> =
        method.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    let (pair, give_back) = match method.kind {
        MethodKind::Procedure => (words.procedure, String::new()),
        MethodKind::Function => (words.function, format!("{} ", words.give_back)),
    };
    let mut text = String::new();
    for line in method.comments.iter().chain(&method.directives) {
        text.push_str(line);
        text.push('\n');
    }
    let _ = write!(
        text,
        "{} {}({}) {}\n\t{give_back}{call}(\"{object}\").{}({});\n{}",
        pair[0],
        method.name,
        parameters.join(", "),
        words.export,
        method.name,
        passed.join(", "),
        pair[1]
    );
    text
}

struct Words {
    procedure: [&'static str; 2],
    function: [&'static str; 2],
    by_value: &'static str,
    export: &'static str,
    give_back: &'static str,
}

enum Line {
    Preprocessor(String),
    Text(String),
}

/// What a preprocessor line does to the ones around it.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Part {
    Begin,
    Middle,
    End,
    Other,
}

fn part(line: &Line) -> Part {
    let Line::Preprocessor(text) = line else { return Part::Other };
    let word: String = text
        .trim_start_matches('#')
        .trim_start()
        .chars()
        .take_while(|other| other.is_alphanumeric())
        .collect();
    match word.to_lowercase().as_str() {
        "область" | "region" | "если" | "if" => Part::Begin,
        "иначе" | "иначеесли" | "else" | "elsif" => Part::Middle,
        "конецобласти" | "endregion" | "конецесли" | "endif" => Part::End,
        _ => Part::Other,
    }
}

/// Without regions and conditions in which nothing is left.
fn prune(lines: Vec<Line>) -> Vec<Line> {
    let mut kept: Vec<Line> = Vec::new();
    for line in lines {
        if part(&line) == Part::End {
            let middles = kept.iter().rev().take_while(|line| part(line) == Part::Middle).count();
            let begin = kept.len().checked_sub(middles + 1);
            if let Some(begin) = begin
                && part(&kept[begin]) == Part::Begin
            {
                kept.truncate(begin);
                continue;
            }
        }
        kept.push(line);
    }
    kept
}

fn lay_out(lines: Vec<Line>) -> String {
    let texts: Vec<String> = lines
        .into_iter()
        .map(|line| match line {
            Line::Preprocessor(text) | Line::Text(text) => text,
        })
        .collect();
    texts.join("\n\n") + "\n"
}

#[cfg(test)]
mod tests;
