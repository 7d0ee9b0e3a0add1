//! Sessions and wishes as the caller writes them in JSON, and how members of any JSON are read.
//!
//! Stricter than the protocol's own reading, because a programmer reads the refusal: a member of
//! the wrong type is named. Looser where 1C is: numbers may be texts and the other way round, and
//! a moment may lack its offset. Unknown members are ignored, so that newer callers work.

use licence_client::ClientError;
use licence_core::key::KeyNo;
use licence_core::protocol::{ConnectionInfo, SessionInfo, TEXT_BYTES_MAX, Wish};
use licence_core::time::Utc;
use serde_json::{Map, Value};

/// A session from JSON; what it leaves out comes from the process: as the platform sees it, and for
/// an infobase on files as the name of the process tells. There the platform's word does not help:
/// it calls the client that runs the server's code itself a server, and the external connection
/// inside a web server, through which all its users go, a client.
pub(crate) fn session(
    text: &str,
    as_platform_says: &ConnectionInfo,
    as_named: &ConnectionInfo,
) -> Result<SessionInfo, ClientError> {
    let members = Members::parse(text, ["Сеанс", "Session"])?;
    let session_number = members.text_or_number("SessionNumber")?.unwrap_or_default();
    let info_base = members.text("InfoBaseConnectionStr")?.unwrap_or_default();
    for (name, value) in [("SessionNumber", &session_number), ("InfoBaseConnectionStr", &info_base)]
    {
        if value.is_empty() {
            return Err(params(
                format!("В описании сеанса не указан {name}"),
                format!("the session lacks {name}"),
            ));
        }
    }
    let process = if is_on_files(&info_base) { as_named } else { as_platform_says };
    let is_server = members.truth("IsServer")?.unwrap_or(process.is_server);
    let terminal = members.text("TerminalClient")?.filter(|text| !text.is_empty());
    Ok(SessionInfo {
        session_number,
        is_server,
        info_base_connection_str: info_base,
        app_name: members.text("AppName")?.unwrap_or_default(),
        computer_name: members
            .text("ComputerName")?
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| process.computer_name.clone()),
        user_name: members.text("UserName")?,
        session_started: members.moment("SessionStarted")?,
        // Who started a server is nobody's terminal.
        terminal_client: terminal
            .or_else(|| process.terminal_client.clone().filter(|_| !process.is_server)),
    })
}

/// Whether a connection string is that of an infobase on files: the platform writes `File=` first.
fn is_on_files(info_base: &str) -> bool {
    const BEGINNING: &str = "file=";
    let start = info_base.trim_start().get(..BEGINNING.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(BEGINNING))
}

/// A wish from JSON; an empty text asks nothing.
pub(crate) fn wish(text: &str) -> Result<Wish, ClientError> {
    if text.trim().is_empty() {
        return Ok(Wish::default());
    }
    let members = Members::parse(text, ["Параметры", "Wish"])?;
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    Ok(Wish {
        presence_only: members.truth("PresenceOnly")?.unwrap_or(false),
        access_code: filled(members.text("AccessCode")?),
        itn: filled(members.text_or_number("ITN")?),
        iec: filled(members.text_or_number("IEC")?),
        product_version: members.number("ProductVersion")?,
        reg_no: members.number("RegNo")?,
        key_no: members.number("KeyNo")?.map(KeyNo),
        service_type: members
            .number("ServiceType")?
            .map(|number| u8::try_from(number).map_err(|_| wrong("ServiceType", "0…255")))
            .transpose()?,
    })
}

fn params(russian: String, english: String) -> ClientError {
    ClientError::new("EParams", russian, english)
}

fn wrong(name: &str, expected: &str) -> ClientError {
    params(
        format!("Неверное значение {name}, ожидается {expected}"),
        format!("{name} has a wrong value, expected {expected}"),
    )
}

/// The members of a JSON object, read one by one.
pub(crate) struct Members(Map<String, Value>);

impl Members {
    pub(crate) fn parse(text: &str, what: [&str; 2]) -> Result<Self, ClientError> {
        match serde_json::from_str(text) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            Ok(_) => Err(params(
                format!("{}: ожидается объект JSON", what[0]),
                format!("{}: expected a JSON object", what[1]),
            )),
            Err(error) => Err(params(
                format!(
                    "{}: это не JSON, строка {}, позиция {}",
                    what[0],
                    error.line(),
                    error.column()
                ),
                format!("{}: not JSON, line {}, column {}", what[1], error.line(), error.column()),
            )),
        }
    }

    /// A member that is there and not null.
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, ClientError> {
        self.text_within(name, TEXT_BYTES_MAX)
    }

    /// A text of at most so many bytes.
    pub(crate) fn text_within(
        &self,
        name: &str,
        bytes_max: usize,
    ) -> Result<Option<String>, ClientError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let text = value.as_str().ok_or_else(|| wrong(name, "String"))?;
        if text.len() > bytes_max {
            return Err(wrong(name, &format!("String ≤ {bytes_max} bytes")));
        }
        Ok(Some(text.to_owned()))
    }

    /// Whether a member is there and not null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether a member is a number.
    pub(crate) fn is_number(&self, name: &str) -> bool {
        self.get(name).is_some_and(Value::is_number)
    }

    pub(crate) fn text_or_number(&self, name: &str) -> Result<Option<String>, ClientError> {
        match self.get(name).filter(|value| value.is_number()) {
            Some(value) => {
                let number = whole(value).ok_or_else(|| wrong(name, "String"))?;
                Ok(Some(number.to_string()))
            }
            None => self.text(name),
        }
    }

    pub(crate) fn truth(&self, name: &str) -> Result<Option<bool>, ClientError> {
        self.get(name)
            .map(|value| value.as_bool().ok_or_else(|| wrong(name, "Boolean")))
            .transpose()
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u32>, ClientError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        whole(value)
            .or_else(|| value.as_str()?.trim().parse().ok())
            .and_then(|number| u32::try_from(number).ok())
            .map(Some)
            .ok_or_else(|| wrong(name, "Number 0…4294967295"))
    }

    fn moment(&self, name: &str) -> Result<Option<Utc>, ClientError> {
        let Some(text) = self.text(name)?.filter(|text| !text.is_empty()) else { return Ok(None) };
        // 1C writes dates without an offset. The moment only tells sessions apart, so it is read
        // as UTC, the same way each time.
        text.parse::<Utc>()
            .or_else(|_| format!("{text}Z").parse::<Utc>())
            .map(Some)
            .map_err(|_| wrong(name, "YYYY-MM-DDThh:mm:ss[.fff][Z]"))
    }
}

/// A whole number that is not negative; 1C may write `5` as `5.0`.
pub(crate) fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64()?;
        let is_whole = number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number);
        is_whole.then_some(number as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> ConnectionInfo {
        ConnectionInfo {
            computer_name: "PC1".to_owned(),
            is_server: true,
            ..ConnectionInfo::default()
        }
    }

    #[test]
    fn a_session_takes_what_it_leaves_out_from_the_process() {
        let text = r#"{"SessionNumber":7,"InfoBaseConnectionStr":"Srvr=\"a\";Ref=\"b\";",
            "SessionStarted":"2026-11-21T10:00:00","Later":{"x":1}}"#;
        let session = session(text, &process(), &process()).unwrap();
        assert_eq!(session.session_number, "7");
        assert!(session.is_server);
        assert_eq!(session.computer_name, "PC1");
        assert_eq!(session.session_started, "2026-11-21T10:00:00Z".parse().ok());
    }

    #[test]
    fn process_decides_for_an_infobase_on_files_and_the_platform_for_others() {
        let of = |is_server: bool| ConnectionInfo {
            is_server,
            terminal_client: Some("RDP-7".to_owned()),
            ..ConnectionInfo::default()
        };
        for (info_base, said, named, is_server, terminal) in [
            // Code of the server in the process of a thin client.
            ("File=\"/bases/a\";", true, false, false, Some("RDP-7")),
            (" FILE=/bases/a;", true, false, false, Some("RDP-7")),
            // An external connection inside a web server.
            ("file=\"/bases/a\";", false, true, true, None),
            ("Srvr=\"a\";Ref=\"b\";", true, false, true, None),
            ("Srvr=\"File=\";Ref=\"b\";", false, true, false, Some("RDP-7")),
            ("ws=\"http://a/b\";", true, false, true, None),
            ("файл=x", true, false, true, None),
        ] {
            let text = serde_json::json!({"SessionNumber": 1, "InfoBaseConnectionStr": info_base});
            let read = session(&text.to_string(), &of(said), &of(named)).unwrap();
            assert_eq!(read.is_server, is_server, "{info_base}");
            assert_eq!(read.terminal_client.as_deref(), terminal, "{info_base}");
            for given in [true, false] {
                let mut text = text.clone();
                text["IsServer"] = given.into();
                let read = session(&text.to_string(), &of(said), &of(named)).unwrap();
                assert_eq!(read.is_server, given, "{info_base}: the caller knows best");
            }
        }
    }

    #[test]
    fn a_wrong_member_is_named() {
        for (text, name) in [
            (r#"{"SessionNumber":true,"InfoBaseConnectionStr":"x"}"#, "SessionNumber"),
            (r#"{"SessionNumber":"1"}"#, "InfoBaseConnectionStr"),
            (r#"{"SessionNumber":1.5,"InfoBaseConnectionStr":"x"}"#, "SessionNumber"),
            (r#"{"SessionNumber":1,"InfoBaseConnectionStr":"x","IsServer":1}"#, "IsServer"),
            (
                r#"{"SessionNumber":1,"InfoBaseConnectionStr":"x","SessionStarted":"soon"}"#,
                "SessionStarted",
            ),
            ("[]", "JSON"),
            ("{", "JSON"),
        ] {
            let error = session(text, &process(), &process()).unwrap_err();
            assert_eq!(error.class(), "EParams", "{text}");
            for language in [licence_client::Language::Russian, licence_client::Language::English] {
                assert!(error.text(language).contains(name), "{text}: {}", error.text(language));
            }
        }
    }

    #[test]
    fn a_wish_is_read_with_numbers_as_numbers_or_texts() {
        let read = wish(
            r#"{"ITN":7701234567,"KeyNo":"7131766","ProductVersion":2.0,"PresenceOnly":true}"#,
        );
        let expected = Wish {
            presence_only: true,
            itn: Some("7701234567".to_owned()),
            key_no: Some(KeyNo(7_131_766)),
            product_version: Some(2),
            ..Wish::default()
        };
        assert_eq!(read.unwrap(), expected);
        assert_eq!(wish("  ").unwrap(), Wish::default());
        assert_eq!(wish(r#"{"ServiceType":300}"#).unwrap_err().class(), "EParams");
    }
}
