//! A 1C process on the stage: `licencehost` with the real component, driven line by line.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use licence_core::protocol::SessionInfo;
use serde_json::Value;

use super::{
    Process, SERIES, STOP_BOUND, Stage, StageError, Vendor, make_folder, program, write_file,
};

/// Bound of one command. The component blocks its caller at most 15 s.
const COMMAND_BOUND: Duration = Duration::from_secs(30);

/// Name of the component object in the host.
const OBJECT: &str = "L";

/// What the component finds on a computer: home and common folder.
#[derive(Clone, Debug)]
pub struct Computer {
    home: PathBuf,
    common: PathBuf,
}

impl Computer {
    pub(super) fn make(folder: &Path, vendor: &Vendor, ports: &[u16]) -> Result<Self, StageError> {
        let computer = Self { home: folder.join("home"), common: folder.join("common") };
        make_folder(&computer.home)?;
        make_folder(&computer.common)?;
        vendor.publish_series(&computer.common.join("licence.series"))?;
        let (first, reserves) =
            ports.split_first().ok_or_else(|| StageError::failed("no server is named"))?;
        let reserves: Vec<_> = reserves.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let conf = format!(
            "[Common]\nServerAddr=127.0.0.1\nServerPort={first}\nReservedServers={}\n",
            reserves.join(",")
        );
        write_file(&computer.common.join("licenceaddin.conf"), &conf)?;
        Ok(computer)
    }

    /// A command for the host with the component of this computer, through `wrapper` (such as
    /// valgrind) when there is one.
    ///
    /// # Errors
    ///
    /// When a program is not built.
    pub fn host_command(&self, stage: &Stage, wrapper: &[&str]) -> Result<Command, StageError> {
        let host = stage.bins().host()?;
        let mut command = match wrapper.split_first() {
            Some((wrapper, arguments)) => {
                let mut command = program(Path::new(wrapper));
                command.args(arguments).arg(host);
                command
            }
            None => program(&host),
        };
        command.arg(stage.bins().component()?);
        command.env("HOME", &self.home).env("LICENCEADDIN_COMMON_DIR", &self.common);
        Ok(command)
    }
}

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
}

impl HostProcess {
    /// Starts a process and loads the component; no object is made.
    ///
    /// # Errors
    ///
    /// When a program is missing or the component cannot be loaded.
    pub fn start(stage: &Stage, name: &str, computer: &Computer) -> Result<Self, StageError> {
        let command = computer.host_command(stage, &[])?;
        let mut host = Self { process: stage.start(name, command)? };
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
    Ok(format!("s:\"{}\"", json.replace('\\', "\\\\").replace('"', "\\\"")))
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
