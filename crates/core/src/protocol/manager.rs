//! Messages for what 1C's object manager asks beyond seats: protected objects, licence service,
//! parameters, key memory.
//!
//! Types only, as in [`super`]; documented in `docs/protocol.md`.

use serde::{Deserialize, Serialize};

use crate::datafile::ObjectEntry;
use crate::key::{KeyNo, KeySeries};
use crate::protocol::LicenceView;

/// Most bytes of a data file that one [`DatapartQuery`] may ask for: three quarters of the largest
/// answer that a component takes, because they travel in base64.
pub const DATAPART_BYTES_MAX: u32 = 2 * 1024 * 1024;

/// Longest text of a request or answer file, in bytes: that of an answer file.
pub const FILE_TEXT_BYTES_MAX: usize = 1024 * 1024;

/// Longest name of a licence parameter, in characters.
pub const PARAMETER_NAME_CHARS_MAX: usize = 255;

/// Longest value of a licence parameter, in characters.
pub const PARAMETER_VALUE_CHARS_MAX: usize = 4000;

/// `POST /client/v1/datafile`: which objects the server's data file has.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DatafileQuery {
    /// Id of the connection; its series is meant.
    pub connection: String,
    /// Of `XXXX.Alias.datafile`; nothing for `XXXX.datafile`.
    pub alias: Option<String>,
}

/// Answer to [`DatafileQuery`]; 404 `EDataFileNotFound` when there is no such file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DatafileAnswer {
    /// The list of objects: a JWS, see [`crate::datafile`].
    pub list: String,
    /// Names this version of the file: [`crate::datafile::ObjectList::version`].
    pub version: String,
}

/// `POST /client/v1/datapart`: bytes of the server's data file.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DatapartQuery {
    /// Id of the connection.
    pub connection: String,
    /// As in [`DatafileQuery`].
    pub alias: Option<String>,
    /// The version that the caller knows; 409 `EDataFileChanged` when it is another by now.
    pub version: String,
    /// First byte, counted from the end of the list's line.
    pub offset: u64,
    /// How many, at most [`DATAPART_BYTES_MAX`].
    pub length: u32,
}

/// Answer to [`DatapartQuery`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Datapart {
    /// The bytes, base64 (RFC 4648, section 4).
    pub data: String,
}

/// `POST /client/v1/objectkey`: unwrap the key of an object, whether the object lies at the server
/// or in a template.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ObjectKeyQuery {
    /// Id of the connection; its series is meant.
    pub connection: String,
    /// Id of the session that asks; nothing only for [`crate::datafile::ObjectAccess::Key`].
    #[serde(default)]
    pub session: Option<String>,
    /// The object as its list names it.
    pub object: ObjectEntry,
}

/// Answer to [`ObjectKeyQuery`]. Refusals: 404 `ESessionNotFound` (the session is not open on this
/// connection), 403 `ENoSeat` (it holds no seat, or none was named), 404 or 403 `ELicenceNotFound`
/// (no key of the series may be used), 409 `EObjectKey` (no licence on the server carries the object
/// key of the series: update the licences), 400 `EObject` (wrapped for another series, or changed).
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ObjectKeyAnswer {
    /// The key, 32 bytes in base64url.
    pub key: String,
}

impl std::fmt::Debug for ObjectKeyAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectKeyAnswer").finish_non_exhaustive()
    }
}

/// `POST /client/v1/operation`: the object manager's other wishes.
///
/// An operation that needs the centre may take longer than a request may: the server then answers
/// with a ticket, and the component asks again with the ticket alone.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OperationQuery {
    /// Id of the connection. Nothing when the server has no key of the series yet and could prove
    /// nothing: then only [`Operation::is_for_anybody`] is answered.
    #[serde(default)]
    pub connection: Option<String>,
    /// The series.
    #[serde(rename = "KeyID")]
    pub key_id: KeySeries,
    /// Language of texts: `ru` or `en`.
    #[serde(default)]
    pub language: Option<String>,
    /// Of an operation that was begun.
    #[serde(default)]
    pub ticket: Option<String>,
    /// What to do; nothing when `ticket` is given.
    #[serde(default)]
    pub operation: Option<Operation>,
}

/// Which key an operation means: its serial number, or nothing for the current key of the caller's
/// session. The component turns a series in this place into nothing.
pub type KeyChoice = Option<KeyNo>;

/// What may be asked for. Secrets in it (passwords) are never logged.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub enum Operation {
    /// `УстановитьЛицензию`: activate a code at the centre. Answers [`OperationResult::Licences`].
    #[serde(rename_all = "PascalCase")]
    Install {
        /// The code.
        activation_code: String,
        /// Owner's ИНН.
        #[serde(rename = "ITN", default)]
        itn: Option<String>,
        /// Owner's КПП.
        #[serde(rename = "IEC", default)]
        iec: Option<String>,
        /// USB key to put it on.
        #[serde(default)]
        blank_key_no: Option<u32>,
    },
    /// `ОбновитьЛицензии`. Answers [`OperationResult::Licences`]: those that changed.
    #[serde(rename_all = "PascalCase")]
    Update {
        /// Owner's ИНН: a filter, empty for all.
        #[serde(rename = "ITN", default)]
        itn: Option<String>,
        /// Owner's КПП.
        #[serde(rename = "IEC", default)]
        iec: Option<String>,
    },
    /// `ДеактивироватьЛицензию`: give a key back. Needs an administrator's name and password.
    /// Answers [`OperationResult::ReserveCode`].
    #[serde(rename_all = "PascalCase")]
    Deactivate {
        /// The key.
        key_no: KeyNo,
        /// Why.
        #[serde(default)]
        reason: String,
        /// A comment.
        #[serde(default)]
        comment: String,
        /// Name of an administrator of the server.
        login: String,
        /// The password.
        password: String,
    },
    /// A demonstration key without a code, where the vendor offers it. Answers
    /// [`OperationResult::Licences`].
    #[serde(rename_all = "PascalCase")]
    Demo {
        /// Owner's ИНН.
        #[serde(rename = "ITN", default)]
        itn: Option<String>,
        /// Owner's КПП.
        #[serde(rename = "IEC", default)]
        iec: Option<String>,
    },
    /// `СоздатьТелефонныйЗапрос`: a request short enough to be read out
    /// ([`crate::short_text::ShortRequest`]). Answers [`OperationResult::Request`].
    #[serde(rename_all = "PascalCase")]
    PhoneRequest {
        /// The code.
        activation_code: String,
        /// Owner's ИНН.
        #[serde(rename = "ITN", default)]
        itn: Option<String>,
        /// Owner's КПП.
        #[serde(rename = "IEC", default)]
        iec: Option<String>,
        /// USB key to put it on: refused, because a token must prove itself by more than can be read
        /// out.
        #[serde(default)]
        blank_key_no: Option<u32>,
    },
    /// `УстановитьТелефонныйОтвет`. Answers [`OperationResult::Licences`].
    #[serde(rename_all = "PascalCase")]
    PhoneAnswer {
        /// The lines that were read out ([`crate::short_text::ShortAnswer`]).
        answer: String,
    },
    /// `СоздатьФайловыйЗапрос`. Answers [`OperationResult::Request`].
    #[serde(rename_all = "PascalCase")]
    InstallRequest {
        /// The code; empty for a demonstration key without one.
        activation_code: String,
        /// Owner's ИНН.
        #[serde(rename = "ITN", default)]
        itn: Option<String>,
        /// Owner's КПП.
        #[serde(rename = "IEC", default)]
        iec: Option<String>,
        /// USB key to put it on.
        #[serde(default)]
        blank_key_no: Option<u32>,
    },
    /// `СоздатьФайловыйЗапросОбновления`. Answers [`OperationResult::Request`].
    #[serde(rename_all = "PascalCase")]
    UpdateRequest {
        /// Owner's ИНН.
        #[serde(rename = "ITN", default)]
        itn: Option<String>,
        /// Owner's КПП.
        #[serde(rename = "IEC", default)]
        iec: Option<String>,
    },
    /// `СоздатьФайловыйЗапросДеактивации`. Needs an administrator's name and password. Answers
    /// [`OperationResult::Request`].
    #[serde(rename_all = "PascalCase")]
    DeactivateRequest {
        /// The key.
        key_no: KeyNo,
        /// Why.
        #[serde(default)]
        reason: String,
        /// A comment.
        #[serde(default)]
        comment: String,
        /// Name of an administrator of the server.
        login: String,
        /// The password.
        password: String,
    },
    /// `УстановитьФайловыйОтвет`. Answers [`OperationResult::Licences`], or
    /// [`OperationResult::ReserveCode`] for the answer to a return.
    #[serde(rename_all = "PascalCase")]
    InstallAnswer {
        /// Text of the answer file.
        answer: String,
    },
    /// `ПолучитьПараметр`. Answers [`OperationResult::Parameter`].
    #[serde(rename_all = "PascalCase")]
    Parameter {
        /// The key; nothing for the session's.
        #[serde(default)]
        key_no: KeyChoice,
        /// Id of the session, when one holds a seat.
        #[serde(default)]
        session: Option<String>,
        /// Name of the parameter.
        name: String,
        /// Whether the main key's value stands in for a missing one.
        #[serde(default)]
        use_main_key: bool,
    },
    /// `ПрочитатьПамять`. Answers [`OperationResult::Memory`].
    #[serde(rename_all = "PascalCase")]
    ReadMemory {
        /// The key; nothing for the session's.
        #[serde(default)]
        key_no: KeyChoice,
        /// Id of the session.
        #[serde(default)]
        session: Option<String>,
        /// Read password.
        #[serde(default)]
        password: String,
    },
    /// `ЗаписатьПамять`. Answers [`OperationResult::Done`].
    #[serde(rename_all = "PascalCase")]
    WriteMemory {
        /// The key; nothing for the session's.
        #[serde(default)]
        key_no: KeyChoice,
        /// Id of the session.
        #[serde(default)]
        session: Option<String>,
        /// Write password.
        #[serde(default)]
        password: String,
        /// The text, at most 400 characters.
        data: String,
    },
    /// `ОбнулитьПамять`: empties memory and passwords. Answers [`OperationResult::Done`].
    #[serde(rename_all = "PascalCase")]
    WipeMemory {
        /// The key; nothing for the session's.
        #[serde(default)]
        key_no: KeyChoice,
        /// Id of the session.
        #[serde(default)]
        session: Option<String>,
        /// Developer password of the series, or the write password.
        #[serde(default)]
        password: String,
    },
    /// `УстановитьПароли`. Answers [`OperationResult::Done`].
    #[serde(rename_all = "PascalCase")]
    SetMemoryPasswords {
        /// The key; nothing for the session's.
        #[serde(default)]
        key_no: KeyChoice,
        /// Id of the session.
        #[serde(default)]
        session: Option<String>,
        /// Read password in force.
        #[serde(default)]
        read_password: String,
        /// Write password in force.
        #[serde(default)]
        write_password: String,
        /// New read password, at most 8 characters.
        #[serde(default)]
        new_read_password: String,
        /// New write password, at most 8 characters.
        #[serde(default)]
        new_write_password: String,
    },
    /// A function of the shared session keys of ИС МП. Answers [`OperationResult::SessionKeys`].
    #[serde(rename_all = "PascalCase")]
    SessionKeys {
        /// Its English name, for example `CurrentSessionKey`; `docs/ismp.md` lists them.
        function: String,
        /// Its parameters: an object with names in either language.
        #[serde(default)]
        parameters: serde_json::Value,
        /// An access token of the server with the scope `ismp`, where the server asks for one.
        #[serde(default)]
        access_token: Option<String>,
        /// Id of the session, when one holds a seat: a refresh that it has begun ends with it.
        #[serde(default)]
        session: Option<String>,
    },
}

impl Operation {
    /// Whether it is answered to a component to which the server could not prove itself, because it
    /// has no key of the series yet. Only what brings the first key.
    pub const fn is_for_anybody(&self) -> bool {
        matches!(
            self,
            Self::Demo { .. }
                | Self::Install { .. }
                | Self::InstallRequest { .. }
                | Self::InstallAnswer { .. }
                | Self::PhoneAnswer { .. }
                | Self::PhoneRequest { .. }
                | Self::Update { .. }
                | Self::UpdateRequest { .. }
        )
    }

    /// Its name, as it travels: for logs and refusals.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Install { .. } => "Install",
            Self::Update { .. } => "Update",
            Self::Deactivate { .. } => "Deactivate",
            Self::Demo { .. } => "Demo",
            Self::PhoneRequest { .. } => "PhoneRequest",
            Self::PhoneAnswer { .. } => "PhoneAnswer",
            Self::InstallRequest { .. } => "InstallRequest",
            Self::UpdateRequest { .. } => "UpdateRequest",
            Self::DeactivateRequest { .. } => "DeactivateRequest",
            Self::InstallAnswer { .. } => "InstallAnswer",
            Self::Parameter { .. } => "Parameter",
            Self::ReadMemory { .. } => "ReadMemory",
            Self::WriteMemory { .. } => "WriteMemory",
            Self::WipeMemory { .. } => "WipeMemory",
            Self::SetMemoryPasswords { .. } => "SetMemoryPasswords",
            Self::SessionKeys { .. } => "SessionKeys",
        }
    }
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(self.name()).finish_non_exhaustive()
    }
}

/// Answer to [`OperationQuery`]: exactly one of the two.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct OperationAnswer {
    /// It is still at work: ask again with this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// It is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<OperationResult>,
}

/// What an operation brought.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum OperationResult {
    /// Done.
    Done,
    /// Keys that were installed or renewed.
    Licences(Vec<LicenceView>),
    /// Text of the memory.
    Memory(String),
    /// Value of the parameter; nothing when neither a key nor a default has one.
    Parameter(Option<String>),
    /// Text of a request file.
    Request(String),
    /// Reserve code of a key that was given back.
    ReserveCode(String),
    /// What a function of the session keys answers, with English names.
    SessionKeys(HiddenValue),
}

/// A value that may hold a secret. Its `Debug` form does not show it.
#[derive(Clone, Default, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub struct HiddenValue(pub serde_json::Value);

impl std::fmt::Debug for HiddenValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}
