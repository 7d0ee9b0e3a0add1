//! `ВыполнитьОперацию`: operations of the licence server by name, with parameters in JSON.
//!
//! Decides which members an operation has and how its result is written. Passwords and codes pass
//! through here and are told to nobody but the server.

use licence_client::ClientError;
use licence_core::activation::ActivationCode;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::protocol::manager::{FILE_TEXT_BYTES_MAX, KeyChoice, Operation, OperationResult};
use serde_json::{Value as Json, json};

use crate::class::same_name;
use crate::component::{Component, VERSION, json, shortened, text};
use crate::session_json::Members;
use crate::value::Value;
use crate::{objects, process, templates};

/// What a name asks for.
enum Asked {
    /// Something that the server does.
    Server(Operation),
    /// Series of an activation code.
    CodeInfo(ActivationCode),
    /// What support wants to know.
    Debug,
}

impl Component {
    /// `ВыполнитьОперацию`.
    pub(crate) fn execute(&self, name: &Value, parameters: &Value) -> Result<Value, ClientError> {
        let (name, parameters) = (text(name, "Имя")?.trim(), text(parameters, "Параметры")?);
        let written = match read(name, parameters, self.series())? {
            Asked::CodeInfo(code) => {
                json!({"KeyID": code.series().to_string(), "KeyNo": Json::Null})
            }
            Asked::Debug => json!({"Text": self.debug_text()}),
            Asked::Server(operation) => write(self.at_server(operation)?)?,
        };
        json(&written)
    }

    /// At the server of the series that was started; what brings the first key also without, at
    /// the servers of the last start that was tried.
    fn at_server(&self, operation: Operation) -> Result<OperationResult, ClientError> {
        let (link, attempt) = (self.link(), self.attempt());
        if let Some(attempt) = attempt {
            let is_of_attempt =
                link.as_ref().is_ok_and(|link| link.series().ok() == Some(attempt.series));
            if operation.is_for_anybody() && !is_of_attempt {
                return process::client().operation_unproven(attempt, operation);
            }
        }
        let (link, caller) = (link?, self.caller());
        let asked = if let Operation::Parameter { key_no, name, use_main_key, .. } = &operation {
            Some((*key_no, name.clone(), *use_main_key))
        } else {
            None
        };
        let result = link.operation(caller.session.as_deref(), operation)?;
        match (&result, asked) {
            (OperationResult::Parameter(None), Some((key_no, name, use_main))) => self
                .template_parameter(&link, key_no, &name, use_main)
                .map(OperationResult::Parameter),
            _ => Ok(result),
        }
    }

    /// What is known here, one figure a line, in the language of the platform.
    fn debug_text(&self) -> String {
        let info = self.info();
        let (language, caller, link) = (self.language(), self.caller(), self.link().ok());
        let server = link.as_ref().and_then(licence_client::Link::server_addr);
        let scope = link.as_ref().and_then(|link| objects::Scope::of(link).ok());
        let series = scope.map_or_else(|| "-".to_owned(), |scope| scope.series.to_string());
        let loaded = scope.map_or(0, |scope| templates::all(scope, &caller.owner).len());
        let truth = |truth: bool| {
            language.pick(if truth { "да" } else { "нет" }, if truth { "yes" } else { "no" })
        };
        let kept = objects::figures();
        [
            (("Компонента", "Component"), VERSION.to_owned()),
            (("Операционная система", "Operating system"), info.os_version.clone()),
            (("Процессор", "Processor"), info.cpu.clone()),
            (("Процесс", "Process"), info.process.clone()),
            (("Номер процесса", "Process number"), info.pid.clone()),
            (("Процесс сервера", "Server process"), truth(info.is_server).to_owned()),
            (("Серия", "Series"), series),
            (("Сервер лицензий", "Licence server"), server.unwrap_or_else(|| "-".to_owned())),
            (("Сеанс установлен", "Session is set"), truth(caller.session.is_some()).to_owned()),
            (("Загружено макетов", "Templates loaded"), loaded.to_string()),
            (
                ("Файлов данных сервера в памяти", "Data files of the server in memory"),
                kept.lists.to_string(),
            ),
            (("Объектов в памяти", "Objects in memory"), kept.objects.to_string()),
            (("Байт объектов в памяти", "Bytes of objects in memory"), kept.bytes.to_string()),
        ]
        .map(|((russian, english), value)| format!("{}: {value}", language.pick(russian, english)))
        .join("\n")
    }
}

/// Reads the name and parameters of an operation.
fn read(name: &str, parameters: &str, series: Option<KeySeries>) -> Result<Asked, ClientError> {
    let parameters = if parameters.trim().is_empty() { "{}" } else { parameters };
    let members = Members::parse(parameters, ["Параметры", "Parameters"])?;
    let filled = |name: &str| -> Result<Option<String>, ClientError> {
        Ok(members.text_or_number(name)?.filter(|text| !text.trim().is_empty()))
    };
    let text =
        |name: &str| -> Result<String, ClientError> { Ok(members.text(name)?.unwrap_or_default()) };
    let required = |name: &str| -> Result<String, ClientError> {
        let found = members.text(name)?.filter(|text| !text.trim().is_empty());
        found.ok_or_else(|| missing(name))
    };
    let choice = || key_choice(&members, series);
    let key = || choice()?.ok_or_else(|| missing("Key"));
    let is = |known: &str| same_name(known, name);
    let operation = if is("Install") || is("InstallRequest") || is("PhoneRequest") {
        let activation_code = text("ActivationCode")?;
        let (itn, iec) = (filled("ITN")?, filled("IEC")?);
        let blank_key_no = members.number("BlankKeyNo")?.filter(|number| *number != 0);
        if is("InstallRequest") {
            Operation::InstallRequest { activation_code, itn, iec, blank_key_no }
        } else if is("Install") {
            let activation_code = required("ActivationCode")?;
            Operation::Install { activation_code, itn, iec, blank_key_no }
        } else {
            let activation_code = required("ActivationCode")?;
            // Numbers of the main key and of the base registration are asked for by 2.x. The
            // centre knows both from the order; what is no number is refused all the same.
            for name in ["MainKeyNo", "BaseRegNo"] {
                members.number(name)?;
            }
            Operation::PhoneRequest { activation_code, itn, iec, blank_key_no }
        }
    } else if is("Demo") {
        Operation::Demo { itn: filled("ITN")?, iec: filled("IEC")? }
    } else if is("Update") {
        Operation::Update { itn: filled("ITN")?, iec: filled("IEC")? }
    } else if is("UpdateRequest") {
        Operation::UpdateRequest { itn: filled("ITN")?, iec: filled("IEC")? }
    } else if is("Deactivate") || is("DeactivateRequest") {
        let (key_no, reason, comment) = (key()?, text("Reason")?, text("Comment")?);
        let (login, password) = (text("Login")?, text("Password")?);
        if is("Deactivate") {
            Operation::Deactivate { key_no, reason, comment, login, password }
        } else {
            Operation::DeactivateRequest { key_no, reason, comment, login, password }
        }
    } else if is("InstallAnswer") || is("PhoneAnswer") {
        let answer = members.text_within("Answer", FILE_TEXT_BYTES_MAX)?;
        let answer = answer.filter(|text| !text.trim().is_empty());
        let answer = answer.ok_or_else(|| missing("Answer"))?;
        if is("InstallAnswer") {
            Operation::InstallAnswer { answer }
        } else {
            Operation::PhoneAnswer { answer }
        }
    } else if is("Parameter") {
        Operation::Parameter {
            key_no: choice()?,
            session: None,
            name: required("Name")?,
            use_main_key: members.truth("UseMainKey")?.unwrap_or(false),
        }
    } else if is("ReadMemory") {
        Operation::ReadMemory { key_no: choice()?, session: None, password: text("Password")? }
    } else if is("WriteMemory") {
        Operation::WriteMemory {
            key_no: choice()?,
            session: None,
            password: text("Password")?,
            data: text("Data")?,
        }
    } else if is("WipeMemory") {
        Operation::WipeMemory { key_no: choice()?, session: None, password: text("Password")? }
    } else if is("SetMemoryPasswords") {
        Operation::SetMemoryPasswords {
            key_no: choice()?,
            session: None,
            read_password: text("ReadPassword")?,
            write_password: text("WritePassword")?,
            new_read_password: text("NewReadPassword")?,
            new_write_password: text("NewWritePassword")?,
        }
    } else if is("CodeInfo") {
        let code = required("ActivationCode")?;
        return code.parse().map(Asked::CodeInfo).map_err(|why| {
            ClientError::new(
                "EParams",
                "Указанное значение ActivationCode не является кодом активации",
                format!("ActivationCode is no activation code: {why}"),
            )
        });
    } else if is("Debug") {
        return Ok(Asked::Debug);
    } else {
        return Err(ClientError::new(
            "EParams",
            format!("Неизвестная операция {}", shortened(name)),
            format!("unknown operation {}", shortened(name)),
        ));
    };
    Ok(Asked::Server(operation))
}

/// Which key: a serial number as number or digits; nothing, or the series that was started, for
/// the current one.
fn key_choice(members: &Members, series: Option<KeySeries>) -> Result<KeyChoice, ClientError> {
    let name = if members.has("Key") { "Key" } else { "KeyNo" };
    let Some(text) = members.text_or_number(name)? else { return Ok(None) };
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    // A series may be all digits, so the one that was started comes first. A number is never one.
    let is_series = |text: &str| series.is_some_and(|series| text.parse() == Ok(series));
    if !members.is_number(name) && is_series(text) {
        return Ok(None);
    }
    match text.parse() {
        Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Some(KeyNo(number))),
        _ => Err(ClientError::new(
            "EParams",
            format!("{name}: ожидается серийный номер ключа или серия, которая запущена"),
            format!("{name}: expected the serial number of a key, or the series that is started"),
        )),
    }
}

fn write(result: OperationResult) -> Result<Json, ClientError> {
    Ok(match result {
        OperationResult::Done => json!({}),
        OperationResult::Licences(licences) => {
            serde_json::to_value(licences).map_err(|why| no_json(&why))?
        }
        OperationResult::SessionKeys(value) => value.0,
        OperationResult::Memory(data) => json!({ "Data": data }),
        OperationResult::Parameter(value) => json!({ "Value": value }),
        OperationResult::Request(request) => json!({ "Request": request }),
        OperationResult::ReserveCode(code) => json!({ "ReserveCode": code }),
    })
}

fn no_json(why: &serde_json::Error) -> ClientError {
    ClientError::new(
        "EExecuteError",
        format!("Ответ не представим в JSON: {why}"),
        format!("the answer has no JSON form: {why}"),
    )
}

fn missing(name: &str) -> ClientError {
    ClientError::new("EParams", format!("Не указан {name}"), format!("{name} is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(name: &str, parameters: &str) -> Result<Json, String> {
        match read(name, parameters, "5415".parse().ok()) {
            Ok(Asked::Server(operation)) => Ok(serde_json::to_value(operation).unwrap()),
            Ok(Asked::CodeInfo(code)) => Ok(json!({"CodeInfo": code.series().to_string()})),
            Ok(Asked::Debug) => Ok(json!("Debug")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn operations_are_read_with_numbers_as_numbers_or_texts() {
        for (name, parameters, expected) in [
            (
                "Install",
                r#"{"ActivationCode":"X","ITN":7701234567,"IEC":"","BlankKeyNo":0}"#,
                json!({"Install": {"ActivationCode": "X", "ITN": "7701234567", "IEC": null,
                    "BlankKeyNo": null}}),
            ),
            (
                "installrequest",
                "",
                json!({"InstallRequest": {"ActivationCode": "", "ITN": null, "IEC": null,
                    "BlankKeyNo": null}}),
            ),
            (
                "PhoneRequest",
                r#"{"ActivationCode":"X","ITN":"","MainKeyNo":5,"BaseRegNo":null}"#,
                json!({"PhoneRequest": {"ActivationCode": "X", "ITN": null, "IEC": null,
                    "BlankKeyNo": null}}),
            ),
            ("PhoneAnswer", r#"{"Answer":"1"}"#, json!({"PhoneAnswer": {"Answer": "1"}})),
            ("Demo", r#"{"ITN":7701234567}"#, json!({"Demo": {"ITN": "7701234567", "IEC": null}})),
            (
                "Deactivate",
                r#"{"Key":"7131766","Login":"a","Password":"b"}"#,
                json!({"Deactivate": {"KeyNo": 7_131_766, "Reason": "", "Comment": "",
                    "Login": "a", "Password": "b"}}),
            ),
            (
                "ReadMemory",
                r#"{"Key":"5415"}"#,
                json!({"ReadMemory": {"KeyNo": null, "Session": null, "Password": ""}}),
            ),
            (
                "ReadMemory",
                r#"{"Key":5415.0}"#,
                json!({"ReadMemory": {"KeyNo": 5415, "Session": null, "Password": ""}}),
            ),
            (
                "Parameter",
                r#"{"Name":"ТипПриложения","UseMainKey":true,"Key":null}"#,
                json!({"Parameter": {"KeyNo": null, "Session": null, "Name": "ТипПриложения",
                    "UseMainKey": true}}),
            ),
            ("Debug", "{}", json!("Debug")),
        ] {
            assert_eq!(operation(name, parameters), Ok(expected), "{name} {parameters}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_operation_is_named() {
        for (name, parameters, part) in [
            ("Install", "{}", "ActivationCode"),
            ("Install", r#"{"ActivationCode":5}"#, "ActivationCode"),
            ("Install", r#"{"ActivationCode":"X","BlankKeyNo":"x"}"#, "BlankKeyNo"),
            ("Deactivate", r#"{"Login":"a"}"#, "Key"),
            ("ReadMemory", r#"{"Key":"672B"}"#, "Key"),
            ("ReadMemory", r#"{"Key":-5}"#, "Key"),
            ("ReadMemory", r#"{"Key":true}"#, "Key"),
            ("Parameter", "{}", "Name"),
            ("Parameter", r#"{"Name":"x","UseMainKey":1}"#, "UseMainKey"),
            ("InstallAnswer", "{}", "Answer"),
            ("CodeInfo", r#"{"ActivationCode":"1234"}"#, "ActivationCode"),
            ("Format", "{}", "Format"),
            ("", "{}", "unknown operation"),
            ("Debug", "[]", "JSON"),
            ("PhoneRequest", "{}", "ActivationCode"),
            ("PhoneRequest", r#"{"ActivationCode":"X","MainKeyNo":"x"}"#, "MainKeyNo"),
            ("PhoneAnswer", r#"{"Answer":" "}"#, "Answer"),
        ] {
            let error = operation(name, parameters).unwrap_err();
            assert!(error.contains(part), "{name} {parameters}: {error}");
        }
    }

    #[test]
    fn results_have_the_published_members() {
        for (result, expected) in [
            (OperationResult::Done, json!({})),
            (OperationResult::Licences(Vec::new()), json!([])),
            (OperationResult::Memory("м".to_owned()), json!({"Data": "м"})),
            (OperationResult::Parameter(None), json!({"Value": null})),
            (OperationResult::Request("r".to_owned()), json!({"Request": "r"})),
            (OperationResult::ReserveCode("c".to_owned()), json!({"ReserveCode": "c"})),
        ] {
            assert_eq!(write(result).unwrap(), expected);
        }
    }
}
