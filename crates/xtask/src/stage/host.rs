//! A 1C process on the stage: `licencehost` with the real component, driven line by line.
//!
//! For which platform both are built, and what they run in, [`HostKind`] says; the lines are the same.

use std::path::Path;
use std::time::Duration;

use licence_core::protocol::SessionInfo;
use serde_json::Value;

use super::{Computer, HostKind, Process, SERIES, STOP_BOUND, Stage, StageError};
use crate::wine::Wine;

/// Bound of one command. The component blocks its caller at most 15 s.
const COMMAND_BOUND: Duration = Duration::from_secs(30);

/// Name of the component object in the host.
const OBJECT: &str = "L";

/// A seat, as `ЗанятьЛицензию` answers it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seat {
    /// Id of the session at the server.
    pub id: String,
    /// The key that serves it.
    pub used_licence: Option<u64>,
    /// Whether a server stands behind it at this moment.
    pub confirmed: bool,
    /// The server, `host:port`.
    pub server: String,
}

/// What a member answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// `ДвоичныеДанные`, of so many bytes.
    Blob(u64),
    /// `Неопределено`.
    Empty,
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// `Истина` or `Ложь`.
    Truth(bool),
}

/// What the component says when it refuses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// Class of the error.
    pub class: String,
    /// `ПолучитьОписаниеОшибки`.
    pub text: String,
}

/// One process with the component.
#[derive(Debug)]
pub struct HostProcess {
    process: Process,
    in_wine: bool,
}

impl HostProcess {
    /// Starts a process and loads the component; no object is made.
    ///
    /// # Errors
    ///
    /// When a program is missing or the component cannot be loaded.
    pub fn start(stage: &Stage, name: &str, computer: &Computer) -> Result<Self, StageError> {
        Self::start_as(stage, name, computer, &HostKind::native(stage)?)
    }

    /// The same with a host and a component of a certain kind.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_as(
        stage: &Stage,
        name: &str,
        computer: &Computer,
        kind: &HostKind<'_>,
    ) -> Result<Self, StageError> {
        let process = stage.start(name, computer.command_of(kind, &[]))?;
        let mut host = Self { process, in_wine: kind.is_in_wine() };
        host.expect_ok("load")?;
        Ok(host)
    }

    /// Starts a process, makes the object and starts the series.
    ///
    /// # Errors
    ///
    /// When a program is missing or the component does not start.
    pub fn started(stage: &Stage, name: &str, computer: &Computer) -> Result<Self, StageError> {
        let mut host = Self::start(stage, name, computer)?;
        host.create()?;
        match host.start_series()? {
            Ok(()) => Ok(host),
            Err(refused) => Err(host.process.failed(&format!("does not start: {}", refused.text))),
        }
    }

    /// Makes the component object.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn create(&mut self) -> Result<(), StageError> {
        self.expect_ok(&format!("new {OBJECT} LicenceExtension"))
    }

    /// Makes the component object, of a class of the caller's choice.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn create_class(&mut self, class: &str) -> Result<(), StageError> {
        self.expect_ok(&format!("new {OBJECT} {class}"))
    }

    /// Calls a method; `values` as the host reads them, texts by [`word`].
    ///
    /// # Errors
    ///
    /// When the host does not answer.
    pub fn call(&mut self, method: &str, values: &[String]) -> Result<Said, StageError> {
        let line = format!("call {OBJECT} {method} {}", values.join(" "));
        let answer = self.command(line.trim_end())?;
        self.said(&answer)
    }

    /// Reads a property.
    ///
    /// # Errors
    ///
    /// When the host does not answer or there is no such property.
    pub fn get(&mut self, property: &str) -> Result<Said, StageError> {
        let answer = self.command(&format!("get {OBJECT} {property}"))?;
        self.said(&answer)
    }

    /// Writes a property.
    ///
    /// # Errors
    ///
    /// When the host does not answer or the object refuses the value.
    pub fn set(&mut self, property: &str, value: &str) -> Result<(), StageError> {
        self.expect_ok(&format!("set {OBJECT} {property} {value}"))
    }

    /// A method that answers JSON; a refusal is inside.
    ///
    /// # Errors
    ///
    /// When the host does not answer or it is not JSON.
    pub fn call_json(
        &mut self,
        method: &str,
        values: &[String],
    ) -> Result<Result<Value, Refused>, StageError> {
        match self.call(method, values)? {
            Said::Empty => Ok(Err(self.refusal()?)),
            Said::Text(json) => serde_json::from_str(&json)
                .map(Ok)
                .map_err(|why| self.process.failed(&format!("answered {json:?}: {why}"))),
            said @ (Said::Blob(_) | Said::Number(_) | Said::Truth(_)) => {
                Err(self.process.failed(&format!("answered {method} with {said:?}")))
            }
        }
    }

    /// A method that answers `Истина`; a refusal is inside.
    ///
    /// # Errors
    ///
    /// When the host does not answer, or something else.
    pub fn call_truth(
        &mut self,
        method: &str,
        values: &[String],
    ) -> Result<Result<(), Refused>, StageError> {
        match self.call(method, values)? {
            Said::Truth(true) => Ok(Ok(())),
            Said::Truth(false) => Ok(Err(self.refusal()?)),
            said @ (Said::Blob(_) | Said::Empty | Said::Number(_) | Said::Text(_)) => {
                Err(self.process.failed(&format!("answered {method} with {said:?}")))
            }
        }
    }

    /// `ВыполнитьОперацию`; a refusal is inside.
    ///
    /// # Errors
    ///
    /// As [`Self::call_json`].
    pub fn operation(
        &mut self,
        name: &str,
        parameters: &Value,
    ) -> Result<Result<Value, Refused>, StageError> {
        self.call_json("ВыполнитьОперацию", &[word(name), word(&parameters.to_string())])
    }

    /// `ПолучитьДанныеОбъекта`: the decrypted object; a refusal is inside. `scratch` is the file
    /// through which the bytes come.
    ///
    /// # Errors
    ///
    /// When the host does not answer or the file cannot be read.
    pub fn object_data(
        &mut self,
        name: &str,
        scratch: &Path,
    ) -> Result<Result<Vec<u8>, Refused>, StageError> {
        let file = match self.in_wine {
            true => Wine::windows_path(scratch),
            false => scratch.to_string_lossy().into_owned(),
        };
        let file = quoted_text(&file);
        let line = format!("save {file} {OBJECT} ПолучитьДанныеОбъекта {}", word(name));
        let answer = self.command(&line)?;
        match self.said(&answer)? {
            Said::Empty => Ok(Err(self.refusal()?)),
            Said::Blob(bytes) => {
                let data = std::fs::read(scratch).map_err(|why| StageError::io(scratch, why))?;
                if data.len() as u64 == bytes {
                    Ok(Ok(data))
                } else {
                    Err(self.process.failed("saved another blob than it told of"))
                }
            }
            said @ (Said::Number(_) | Said::Text(_) | Said::Truth(_)) => {
                Err(self.process.failed(&format!("answered an object with {said:?}")))
            }
        }
    }

    fn said(&self, answer: &str) -> Result<Said, StageError> {
        let (kind, rest) = answer.split_once(' ').unwrap_or((answer, ""));
        let said = match kind {
            "empty" => Some(Said::Empty),
            "bool" => Some(Said::Truth(rest == "1")),
            "number" => rest.parse().ok().map(Said::Number),
            "blob" => rest.parse().ok().map(Said::Blob),
            "string" => Some(Said::Text(string_of(answer))),
            _ => None,
        };
        said.ok_or_else(|| self.process.failed(&format!("answered {answer:?}")))
    }

    /// Destroys the component object, as an application server does between calls.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn destroy(&mut self) -> Result<(), StageError> {
        self.expect_ok(&format!("destroy {OBJECT}"))
    }

    /// `Запуск`.
    ///
    /// # Errors
    ///
    /// When the host does not answer; a refusal of the component is inside.
    pub fn start_series(&mut self) -> Result<Result<(), Refused>, StageError> {
        let answer = self.command(&format!("call {OBJECT} Запуск s:{SERIES}"))?;
        match answer.as_str() {
            "bool 1" | "bool true" => Ok(Ok(())),
            "bool 0" | "bool false" | "empty" => Ok(Err(self.refusal()?)),
            _ => Err(self.process.failed(&format!("answered Запуск with {answer:?}"))),
        }
    }

    /// `ЗанятьЛицензию`.
    ///
    /// # Errors
    ///
    /// When the host does not answer; a refusal of the component is inside.
    pub fn take(&mut self, session: &SessionInfo) -> Result<Result<Seat, Refused>, StageError> {
        let json = quoted(session)?;
        let answer = self.command(&format!("call {OBJECT} ЗанятьЛицензию {json}"))?;
        if answer == "empty" {
            return Ok(Err(self.refusal()?));
        }
        let seat = self.json(&answer)?;
        let text = |member: &str| seat[member].as_str().unwrap_or_default().to_owned();
        Ok(Ok(Seat {
            id: text("ID"),
            used_licence: seat["UsedLicence"].as_u64(),
            confirmed: seat["Confirmed"].as_bool().unwrap_or_default(),
            server: text("Server"),
        }))
    }

    /// `ЗанятьЛицензию`, which must succeed.
    ///
    /// # Errors
    ///
    /// When the seat is refused.
    pub fn must_take(&mut self, session: &SessionInfo) -> Result<Seat, StageError> {
        self.take(session)?.map_err(|refused| {
            StageError::failed(format!(
                "session {} was refused: {}",
                session.session_number, refused.text
            ))
        })
    }

    /// `ОсвободитьЛицензию`.
    ///
    /// # Errors
    ///
    /// When the seat was not held.
    pub fn release(&mut self, session: &SessionInfo) -> Result<(), StageError> {
        let json = quoted(session)?;
        let answer = self.command(&format!("call {OBJECT} ОсвободитьЛицензию {json}"))?;
        match answer.as_str() {
            "bool 1" | "bool true" => Ok(()),
            _ => {
                let refused = self.refusal()?;
                Err(self.process.failed(&format!("answered {answer:?}: {}", refused.text)))
            }
        }
    }

    /// A method without arguments that answers JSON; a refusal is inside.
    ///
    /// # Errors
    ///
    /// When the host does not answer or it is not JSON.
    pub fn ask(&mut self, method: &str) -> Result<Result<Value, Refused>, StageError> {
        let answer = self.command(&format!("call {OBJECT} {method}"))?;
        if answer == "empty" {
            return Ok(Err(self.refusal()?));
        }
        self.json(&answer).map(Ok)
    }

    /// Seats held of the series, as `ПолучитьСчетчики` counts them.
    ///
    /// # Errors
    ///
    /// When the component refuses or the host does not answer.
    pub fn seats_held(&mut self) -> Result<u64, StageError> {
        let counters = self
            .ask("ПолучитьСчетчики")?
            .map_err(|refused| StageError::failed(format!("no counters: {}", refused.text)))?;
        counters["UseLicenceCount"]
            .as_u64()
            .ok_or_else(|| StageError::failed(format!("no UseLicenceCount in {counters}")))
    }

    /// Class and text of the last error.
    ///
    /// # Errors
    ///
    /// When the host does not answer.
    pub fn refusal(&mut self) -> Result<Refused, StageError> {
        let text = self.command(&format!("call {OBJECT} ПолучитьОписаниеОшибки"))?;
        let class = self.command(&format!("get {OBJECT} КлассОшибки"))?;
        Ok(Refused { class: string_of(&class), text: string_of(&text) })
    }

    /// Any command of the host; gives its answer, which does not begin with `error`.
    ///
    /// # Errors
    ///
    /// When it answers an error or nothing.
    pub fn command(&mut self, line: &str) -> Result<String, StageError> {
        self.process.write_line(line)?;
        let answer = self.process.line(COMMAND_BOUND)?;
        if answer.starts_with("error") {
            return Err(self.process.failed(&format!("answered {line:?} with {answer:?}")));
        }
        Ok(answer)
    }

    /// Ends the process in order, and checks that it does.
    ///
    /// # Errors
    ///
    /// When it does not end or leaks what the component allocated.
    pub fn quit(mut self) -> Result<(), StageError> {
        self.process.write_line("quit")?;
        self.process.line_with("bye", STOP_BOUND)?;
        let status = self.process.wait(STOP_BOUND)?;
        if status.success() {
            Ok(())
        } else {
            Err(self.process.failed(&format!("ended with {status}")))
        }
    }

    /// The process itself.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn expect_ok(&mut self, line: &str) -> Result<(), StageError> {
        let answer = self.command(line)?;
        if answer.starts_with("ok") {
            Ok(())
        } else {
            Err(self.process.failed(&format!("answered {line:?} with {answer:?}")))
        }
    }

    fn json(&self, answer: &str) -> Result<Value, StageError> {
        serde_json::from_str(&string_of(answer))
            .map_err(|why| self.process.failed(&format!("answered {answer:?}, not JSON: {why}")))
    }
}

/// The text of an answer `string …`, its escapes undone.
fn string_of(answer: &str) -> String {
    let escaped = answer.strip_prefix("string").unwrap_or(answer);
    let escaped = escaped.strip_prefix(' ').unwrap_or(escaped);
    let mut text = String::with_capacity(escaped.len());
    let mut letters = escaped.chars();
    while let Some(letter) = letters.next() {
        text.push(match letter {
            '\\' => match letters.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        });
    }
    text
}

/// A value as a text argument of the host.
fn quoted(value: &impl serde::Serialize) -> Result<String, StageError> {
    let json = serde_json::to_string(value)
        .map_err(|why| StageError::failed(format!("a session cannot be written: {why}")))?;
    Ok(word(&json))
}

/// A text as a value of the host's scripts.
pub fn word(text: &str) -> String {
    format!("s:{}", quoted_text(text))
}

/// A text in the quotes of the host's scripts.
fn quoted_text(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", escaped.replace('\n', "\\n").replace('\t', "\\t"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_the_host_are_undone() {
        for (answer, text) in
            [("string a b", "a b"), ("string ", ""), ("string", ""), (r"string a\nb\\n", "a\nb\\n")]
        {
            assert_eq!(string_of(answer), text, "{answer}");
        }
    }

    #[test]
    fn argument_is_quoted_for_the_host() {
        assert_eq!(quoted(&r#"a"\"#).unwrap(), r#"s:"\"a\\\"\\\\\"""#);
    }
}
