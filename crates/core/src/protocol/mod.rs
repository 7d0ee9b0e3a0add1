//! Messages between a component and a server, and the views that both the REST API and the
//! component show. Documented in `docs/protocol.md`.
//!
//! Types only: the names and JSON types here are published, and golden tests pin them. What a
//! message brings about is decided in [`crate::service`].

pub mod manager;

use serde::{Deserialize, Serialize};

use crate::cluster::ClusterId;
use crate::key::{Flags, KeyNo, KeySeries};
use crate::language::Language;
use crate::time::Utc;

/// Versions of the client protocol that this build speaks, newest last.
pub const VERSIONS: [u32; 1] = [1];

/// A component beats its heart this often, in seconds (`facts`: 10.003 s in the manual's sample).
pub const HEARTBEAT_SECS: u64 = 10;

/// A connection lives this long past its last heartbeat, in seconds (manual: `ExpireTime` −
/// `LastUsed` in the sample of a connection).
pub const CONNECTION_SECS: u64 = 20;

/// A session lives this long past its last touch, in seconds.
pub const SESSION_SECS: u64 = 1000;

/// Most session ids that one heartbeat may carry. An application server process serves some
/// hundreds of sessions; the component splits larger lists over several messages.
pub const HEARTBEAT_SESSIONS_MAX: usize = 5000;

/// Longest connection string, path or list of addresses in a connection or session, in bytes:
/// those of infobases stay below 1 KiB.
pub const TEXT_BYTES_MAX: usize = 2048;

/// Longest name of a user, computer, application or version, in bytes: 1C's names have up to 255
/// characters, Cyrillic ones take two bytes each.
pub const NAME_BYTES_MAX: usize = 512;

/// Longest number or code (session number, ИНН, КПП, process id), in bytes.
pub const CODE_BYTES_MAX: usize = 64;

/// `POST /client/hello`: the first message on a TLS channel.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Hello {
    /// Protocol versions that the component speaks.
    pub versions: Vec<u32>,
    /// Version of the component.
    pub component: String,
    /// The series it asks for.
    #[serde(rename = "KeyID")]
    pub key_id: KeySeries,
}

/// Answer to [`Hello`]: the newest version that both speak, and the licences by which the server
/// proves that it may serve the series. The component trusts it only if one of them verifies
/// under the pinned series key and its `cnf` key is the key of the TLS certificate.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HelloAnswer {
    /// The chosen version.
    pub version: u32,
    /// Version of the server.
    pub server_version: String,
    /// Licence documents of the series.
    pub licences: Vec<String>,
    /// The words of tokens that this server may serve the licences bound to them: see
    /// [`Delegation`](crate::delegation::Delegation).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delegations: Vec<String>,
}

/// `POST /client/v1/connect`: what the manual shows of a connection, as the component knows it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ConnectionInfo {
    /// Version of the operating system.
    #[serde(rename = "OSVersion")]
    pub os_version: String,
    /// Name of the computer.
    pub computer_name: String,
    /// Local IPv4 addresses, separated by commas.
    #[serde(rename = "LocalIP")]
    pub local_ip: String,
    /// File name of the process.
    pub process: String,
    /// `i386` or `x86_64`.
    #[serde(rename = "CPU")]
    pub cpu: String,
    /// Process id, as text (so the manual's sample).
    #[serde(rename = "PID")]
    pub pid: String,
    /// Whether it is a server process of the platform.
    pub is_server: bool,
    /// Version of the platform.
    pub platform_version: String,
    /// File name of the component.
    pub module_name: String,
    /// Version of the component.
    pub version: String,
    /// Name of the terminal client, in a terminal session.
    pub terminal_client: Option<String>,
}

/// Body of `POST /client/v1/connect`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Connect {
    /// The series to use on this connection.
    #[serde(rename = "KeyID")]
    pub key_id: KeySeries,
    /// Who connects.
    pub info: ConnectionInfo,
}

/// Answer to [`Connect`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Connected {
    /// Id of the connection: opaque text.
    #[serde(rename = "ID")]
    pub id: String,
    /// How often to beat, in seconds.
    pub heartbeat_secs: u64,
    /// How long a session lives past its last touch, in seconds.
    pub session_secs: u64,
}

/// `POST /client/v1/heartbeat`: renews the connection and touches the sessions that are in use.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Heartbeat {
    /// Id of the connection.
    pub connection: String,
    /// Sessions with a live object in the process, or touched since the last heartbeat; at most
    /// [`HEARTBEAT_SESSIONS_MAX`].
    #[serde(default)]
    pub sessions: Vec<String>,
}

/// Answer to [`Heartbeat`].
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HeartbeatAnswer {
    /// Sessions that the server no longer holds, each with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<GoneSession>,
    /// Fresh lease tokens in place of those past half their life.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leases: Vec<FreshLease>,
}

/// A session that ended at the server.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GoneSession {
    /// Id of the session.
    pub session: String,
    /// Reason code, see [`crate::session::EndReason`].
    pub reason: String,
}

/// A renewed lease token.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FreshLease {
    /// Id of the session.
    pub session: String,
    /// The token.
    pub lease: String,
}

/// What identifies a 1C session and what the manual shows of it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SessionInfo {
    /// Session number in the infobase, as text.
    pub session_number: String,
    /// Whether it runs on an application server or web server.
    pub is_server: bool,
    /// Connection string of the infobase.
    pub info_base_connection_str: String,
    /// Application, for example `1CV8C`.
    pub app_name: String,
    /// Computer of the session.
    pub computer_name: String,
    /// User of the infobase.
    pub user_name: Option<String>,
    /// When the session started.
    pub session_started: Option<Utc>,
    /// Name of the terminal client, in a terminal session.
    pub terminal_client: Option<String>,
}

/// What a session asks of the key that shall serve it
/// (`УстановитьПараметрыКонтроляЛицензии`, `УстановитьКодДоступа`). An empty field asks nothing.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Wish {
    /// A key must be there; the session is not counted.
    pub presence_only: bool,
    /// Access code of the key.
    pub access_code: Option<String>,
    /// Owner's ИНН.
    #[serde(rename = "ITN")]
    pub itn: Option<String>,
    /// Owner's КПП.
    #[serde(rename = "IEC")]
    pub iec: Option<String>,
    /// The key must cover this product version.
    pub product_version: Option<u32>,
    /// Registration number.
    pub reg_no: Option<u32>,
    /// Serial number of the key.
    pub key_no: Option<KeyNo>,
    /// The key must be of this service type.
    pub service_type: Option<u8>,
}

/// Body of `POST /client/v1/open`: take a seat for a session, or find it again.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OpenSession {
    /// Id of the connection.
    pub connection: String,
    /// The session.
    pub session: SessionInfo,
    /// What it asks of the key.
    #[serde(default)]
    pub wish: Wish,
    /// Lease token of an earlier grant, if the component has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// Language of refusals: `ru` or `en`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// Answer to [`OpenSession`] and [`TouchSession`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SessionOpened {
    /// Id of the session: opaque text.
    #[serde(rename = "ID")]
    pub id: String,
    /// The key that serves it; nothing for presence only.
    pub used_licence: Option<KeyNo>,
    /// How long it lives from this answer without another touch, in milliseconds.
    pub expires_in_ms: u64,
    /// Signed lease (see `docs/protocol.md`); nothing for presence only, or for a touch whose token
    /// is still young.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
}

/// Body of `POST /client/v1/touch` and of `POST /client/v1/close`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TouchSession {
    /// Id of the connection.
    pub connection: String,
    /// Id of the session.
    pub session: String,
}

/// Body of `POST /client/v1/disconnect`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Disconnect {
    /// Id of the connection.
    pub connection: String,
    /// End its sessions too: the process is about to exit.
    #[serde(default)]
    pub end_sessions: bool,
}

/// Body of `POST /client/v1/licences` (`ПолучитьЛицензии`).
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LicencesQuery {
    /// Id of the connection.
    pub connection: String,
    /// Of all series, not only the connection's.
    pub all_series: bool,
    /// Only those that may be used.
    pub only_available: bool,
}

/// Body of `POST /client/v1/counters` and `POST /client/v1/serverinfo`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ConnectionQuery {
    /// Id of the connection.
    pub connection: String,
}

/// `ПолучитьСчетчики`: totals of the connection's series.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Counters {
    /// Installed keys.
    pub licences: usize,
    /// Connections.
    pub connections: usize,
    /// Sessions.
    pub sessions: usize,
    /// Seats of the keys that may be used.
    pub total_licence_count: u64,
    /// Seats held.
    pub use_licence_count: u64,
    /// Seats free.
    pub free_licence_count: u64,
}

/// `ПолучитьИнформациюОСервере`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServerSummary {
    /// Version of the server.
    pub version: String,
    /// `Windows` or `Linux`.
    #[serde(rename = "OSType")]
    pub os_type: String,
    /// `i386` or `x86_64`.
    #[serde(rename = "CPU")]
    pub cpu: String,
    /// Address of the console.
    pub console_url: String,
    /// Whether the component is newer than the server.
    pub version_outdated: bool,
}

/// An array of licences, as in the manual's `GET /api/licences`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LicencesView {
    /// The licences.
    pub licences: Vec<LicenceView>,
}

/// A licence as REST and the component show it (manual, «Получение информации о конкретном
/// ключе / лицензии»), in the manual's order.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LicenceView {
    /// `Virtual` or `USB`.
    #[serde(rename = "Type")]
    pub medium: String,
    /// File name.
    pub file_name: String,
    /// Whether it may be used at this moment.
    pub enabled: bool,
    /// Whether it is an unactivated token.
    pub is_blank: bool,
    /// Whether it is bound to this computer.
    pub workable: bool,
    /// Why it could not be opened.
    pub open_error: Option<String>,
    /// The same in Russian, as long as nobody has chosen the language; never sent.
    #[serde(skip)]
    pub open_error_russian: Option<String>,
    /// Version of the file format.
    pub version: String,
    /// Serial number.
    pub key_no: Option<KeyNo>,
    /// Series.
    #[serde(rename = "KeyID")]
    pub key_id: Option<KeySeries>,
    /// Registration number.
    pub reg_no: Option<u32>,
    /// 3 main, 4 additional, 5 demo.
    pub key_type: Option<u8>,
    /// Special 1C services.
    pub service_type: u8,
    /// Seats.
    pub licence_count: u32,
    /// Newest product version covered.
    pub product_version: u32,
    /// Serial number of the token.
    pub blank_key_no: Option<u32>,
    /// Activation code.
    pub activation_code: Option<String>,
    /// When it was activated.
    pub activation_date: Option<Utc>,
    /// First moment of use.
    pub start_date: Option<Utc>,
    /// Term in days.
    pub period: u32,
    /// End of the term.
    pub expire_date: Option<Utc>,
    /// Days until the end.
    pub days_left: Option<u32>,
    /// Whether the end has come: a JSON boolean here, a string in connections and sessions.
    pub expired: bool,
    /// 32 binary digits.
    pub flags: Flags,
    /// ИНН: a JSON number, so leading zeros are lost (the manual's sample).
    #[serde(rename = "ITN")]
    pub itn: Option<u64>,
    /// КПП: a JSON number.
    #[serde(rename = "IEC")]
    pub iec: Option<u64>,
    /// Name of the product.
    pub product_name: Option<String>,
    /// Article.
    pub article: Option<String>,
    /// Name of the article.
    pub article_name: Option<String>,
    /// Name of the edition behind `ProductVersion`. This and what follows is not in the manual:
    /// the API of 2025 has it; an older server sends none of it.
    #[serde(default)]
    pub product_version_name: Option<String>,
    /// Whether the key was installed again with a reserve code.
    #[serde(default)]
    pub recovered: bool,
    /// First day of support.
    #[serde(default)]
    pub support_date: Option<Utc>,
    /// Days of support; 0 is none, as of `Period`: monitoring systems expect a number.
    #[serde(default)]
    pub support_period: u32,
    /// First day of industry support.
    #[serde(default)]
    pub industry_support_date: Option<Utc>,
    /// Days of industry support; 0 is none.
    #[serde(default)]
    pub industry_support_period: u32,
    /// When the licence was issued again after its activation.
    #[serde(default)]
    pub update_date: Option<Utc>,
    /// The cluster whose nodes share its seats; absent for a key of this server alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterId>,
}

impl LicenceView {
    /// Says what there is to say in this language.
    pub fn tell(&mut self, language: Language) {
        let russian = self.open_error_russian.take();
        if language == Language::Russian && russian.is_some() {
            self.open_error = russian;
        }
    }

    /// The same licence, told in this language.
    #[must_use]
    pub fn told(mut self, language: Language) -> Self {
        self.tell(language);
        self
    }
}

/// The error body of every answer that is not 2xx (manual, «Коды ответа»).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ErrorBody {
    /// HTTP status code.
    pub code: u16,
    /// HTTP status text.
    pub text: String,
    /// What went wrong; starts with the exception class in brackets.
    pub message: String,
    /// The exception class.
    pub exception: String,
}

/// Chooses the newest version that both sides speak.
pub fn negotiate(theirs: &[u32]) -> Option<u32> {
    VERSIONS.iter().rev().copied().find(|version| theirs.contains(version))
}

/// Whether a component of version `component` (dotted numbers) is newer than `server`.
pub fn is_newer(component: &str, server: &str) -> bool {
    compare_versions(component, server).is_some_and(std::cmp::Ordering::is_gt)
}

/// Compares dotted version numbers as numbers, a missing part being 0; nothing when either text
/// is not 1 to 4 numbers (`ПроверитьВерсию` takes "3.0.14").
pub fn compare_versions(a: &str, b: &str) -> Option<std::cmp::Ordering> {
    Some(version_parts(a)?.cmp(&version_parts(b)?))
}

fn version_parts(text: &str) -> Option<[u32; 4]> {
    let mut parts = [0; 4];
    for (at, part) in text.trim().split('.').enumerate() {
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *parts.get_mut(at)? = part.parse().ok()?;
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;

    #[test]
    fn versions_compare_as_numbers_not_as_text() {
        for (a, b, order) in [
            ("3.0.9", "3.0.14", Ordering::Less),
            ("4.0.0", "3.0.41.12713", Ordering::Greater),
            ("3.0.14", "3.0.14.0", Ordering::Equal),
        ] {
            assert_eq!(compare_versions(a, b), Some(order), "{a} {b}");
        }
        for bad in ["", "3..1", "3.0.x", "1.2.3.4.5", "-1", "99999999999"] {
            assert_eq!(compare_versions(bad, "1"), None, "{bad}");
        }
    }

    #[test]
    fn newest_common_version_is_chosen() {
        assert_eq!(negotiate(&[1]), Some(1));
        assert_eq!(negotiate(&[7, 1, 9]), Some(1));
        assert_eq!(negotiate(&[2, 3]), None);
        assert_eq!(negotiate(&[]), None);
    }
}
