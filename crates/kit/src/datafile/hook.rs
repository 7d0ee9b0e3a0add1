//! Whether a protected object decides itself about licence control.
//!
//! An object module that exports `ПередКонтролемЛицензии` is asked before a seat is needed, so its
//! key must be given without one. Only the readable text of a module is looked at; it is read far
//! enough to tell code from comments and texts, and never judged otherwise.

/// The procedure, in lower case.
const HOOK: &str = "передконтролемлицензии";

/// Whether the object in these bytes exports the procedure. Nothing when its module cannot be read
/// as text: compiled, or not a container of the platform.
pub fn exports_hook(object: &[u8]) -> Option<bool> {
    object_module(object).map(|module| is_exported(&module))
}

/// Text of the object module.
fn object_module(_object: &[u8]) -> Option<String> {
    None
}

/// Whether a module's text has the procedure with the word of export.
fn is_exported(module: &str) -> bool {
    let code = code_of(module).to_lowercase();
    let mut words = Words { rest: &code };
    let mut before = "";
    while let Some(word) = words.next() {
        if word == HOOK && matches!(before, "процедура" | "procedure" | "функция" | "function")
        {
            return words
                .after_parentheses()
                .is_some_and(|word| matches!(word, "экспорт" | "export"));
        }
        before = word;
    }
    false
}

/// The text with comments, strings and dates replaced by spaces. Strings may go on over lines,
/// where `|` begins the next.
fn code_of(module: &str) -> String {
    let mut code = String::with_capacity(module.len());
    let mut characters = module.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '/' if characters.peek() == Some(&'/') => {
                for skipped in characters.by_ref() {
                    if skipped == '\n' {
                        break;
                    }
                }
                code.push('\n');
            }
            quote @ ('"' | '\'') => {
                // Two quotes in a row end one string and begin another: nothing is lost by it.
                for skipped in characters.by_ref() {
                    if skipped == quote {
                        break;
                    }
                }
                code.push(' ');
            }
            other => code.push(other),
        }
    }
    code
}

/// Words and single signs of a code without comments and strings.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    /// The word after a list of parameters in parentheses; nothing when the list does not end.
    fn after_parentheses(&mut self) -> Option<&'a str> {
        if self.next()? != "(" {
            return None;
        }
        let mut depth = 1_usize;
        while depth > 0 {
            match self.next()? {
                "(" => depth += 1,
                ")" => depth -= 1,
                _ => {}
            }
        }
        self.next()
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start();
        let first = self.rest.chars().next()?;
        let is_letter = |c: char| c.is_alphanumeric() || c == '_';
        let end = if is_letter(first) {
            self.rest.find(|c| !is_letter(c)).unwrap_or(self.rest.len())
        } else {
            first.len_utf8()
        };
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exported_procedure_is_found_and_nothing_else_is_taken_for_it() {
        let check =
            |module: &str, wanted: bool| assert_eq!(is_exported(module), wanted, "{module}");
        check("Процедура ПередКонтролемЛицензии(Отказ) Экспорт\nКонецПроцедуры", true);
        check("procedure передконтролемлицензии ( Отказ = Ложь ) export endprocedure", true);
        check("Процедура\nПередКонтролемЛицензии\n(Отказ = (1))\n// да\nЭКСПОРТ", true);
        check("Процедура ПередКонтролемЛицензии(Отказ = \")\") Экспорт", true);
        check("Процедура ПередКонтролемЛицензии(Отказ)\nКонецПроцедуры", false);
        check("// Процедура ПередКонтролемЛицензии(Отказ) Экспорт", false);
        check("А = \"\n|Процедура ПередКонтролемЛицензии(Отказ) Экспорт\";", false);
        check("А = \"\"\"Процедура ПередКонтролемЛицензии(О) Экспорт\";", false);
        check("ПередКонтролемЛицензии(Отказ);\nЭкспорт", false);
        check("Процедура ПередКонтролемЛицензииДва(Отказ) Экспорт", false);
        check("Процедура ПередКонтролемЛицензии(Отказ", false);
        check("Процедура ПередКонтролемЛицензии Экспорт", false);
        check("", false);
    }

    #[test]
    fn object_that_is_no_container_tells_nothing() {
        assert_eq!(exports_hook(b"not a processor"), None);
    }
}
