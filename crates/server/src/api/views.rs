//! What the REST API shows, field by field as in the samples of the manual.
//!
//! Types only. Names, order and JSON types are published: `Expired` of a connection and of a
//! session is the *text* `"False"`, and `PID` of a connection is a text too, because the samples
//! have them so. Golden tests pin every sample.

use licence_core::key::{KeyNo, KeySeries};
pub use licence_core::protocol::{LicenceView, LicencesView};
use licence_core::time::Utc;
use serde::{Deserialize, Serialize, Serializer};

use crate::driver::{ConnectionState, SeriesTotals, SessionState};

/// `GET /api`: what the API is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ApiView {
    /// Version of the server.
    pub version: &'static str,
    /// Addresses of the API.
    pub urns: &'static [&'static str],
}

/// `GET /api/serverinfo`: this server and the computer it runs on.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServerInfoView {
    /// Name of the computer.
    pub computer_name: String,
    /// Local IPv4 addresses, separated by commas.
    #[serde(rename = "LocalIP")]
    pub local_ip: String,
    /// `Windows` or `Linux`.
    #[serde(rename = "OSType")]
    pub os_type: String,
    /// Version of the operating system.
    #[serde(rename = "OSVersion")]
    pub os_version: String,
    /// The program's file.
    pub module_name: String,
    /// Process id: a number here, a text in a connection.
    #[serde(rename = "PID")]
    pub pid: u32,
    /// `i386` or `x86_64`.
    #[serde(rename = "CPU")]
    pub cpu: String,
    /// Version of the server.
    pub version: String,
    /// When the server started.
    pub started: Utc,
    /// Hardware fingerprint, 40 hex digits.
    #[serde(rename = "ComputerID")]
    pub computer_id: String,
}

/// Whether a life has ended, as the manual's samples write it in connections and sessions: the
/// texts `"True"` and `"False"`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ExpiredText(pub bool);

impl Serialize for ExpiredText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0 { "True" } else { "False" })
    }
}

impl<'de> Deserialize<'de> for ExpiredText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "True" => Ok(Self(true)),
            "False" => Ok(Self(false)),
            _ => Err(serde::de::Error::custom("expected \"True\" or \"False\"")),
        }
    }
}

/// `GET /api/connections/{ID}`: one component in one process.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConnectionView {
    /// Opaque id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Address it came from.
    #[serde(rename = "PeerIP")]
    pub peer_ip: String,
    /// When it came.
    pub created: Utc,
    /// Its last heartbeat.
    pub last_used: Utc,
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
    /// Process id: a text here, a number in the server's own description.
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
    /// Series.
    #[serde(rename = "KeyID")]
    pub key_id: KeySeries,
    /// When it ends unless renewed.
    pub expire_time: Utc,
    /// Whether it has ended.
    pub expired: ExpiredText,
}

impl From<&ConnectionState> for ConnectionView {
    fn from(state: &ConnectionState) -> Self {
        let ConnectionState { id, connection, ends } = state;
        let info = &connection.info;
        Self {
            id: id.to_string(),
            peer_ip: connection.peer.as_ref().to_owned(),
            created: connection.created,
            last_used: connection.last_used,
            os_version: info.os_version.clone(),
            computer_name: info.computer_name.clone(),
            local_ip: info.local_ip.clone(),
            process: info.process.clone(),
            cpu: info.cpu.clone(),
            pid: info.pid.clone(),
            is_server: info.is_server,
            platform_version: info.platform_version.clone(),
            module_name: info.module_name.clone(),
            version: info.version.clone(),
            key_id: connection.series,
            expire_time: *ends,
            // The driver lets go of what has ended, so whatever it shows is alive.
            expired: ExpiredText(false),
        }
    }
}

/// `GET /api/connections`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConnectionsView {
    /// The connections.
    pub connections: Vec<ConnectionView>,
}

/// `GET /api/sessions/{ID}`: one 1C session.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SessionView {
    /// Opaque id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Number in the infobase, as text.
    pub session_number: String,
    /// Whether it runs on an application server or web server.
    pub is_server: bool,
    /// Connection string of the infobase.
    pub info_base_connection_str: String,
    /// Application.
    pub app_name: String,
    /// Computer of the session.
    pub computer_name: String,
    /// User of the infobase.
    pub user_name: Option<String>,
    /// When it started.
    pub session_started: Option<Utc>,
    /// The connection that opened it.
    pub session_connection: Option<String>,
    /// Access code that it named.
    pub access_code: Option<String>,
    /// When it ends unless touched.
    pub expire_time: Utc,
    /// Whether it has ended.
    pub expired: ExpiredText,
    /// Series.
    #[serde(rename = "KeyID")]
    pub key_id: KeySeries,
    /// Key whose seat it holds.
    pub used_licence: Option<KeyNo>,
}

impl From<&SessionState> for SessionView {
    fn from(state: &SessionState) -> Self {
        let SessionState { id, session, ends } = state;
        let info = &session.info;
        Self {
            id: id.to_string(),
            session_number: info.session_number.clone(),
            is_server: info.is_server,
            info_base_connection_str: info.info_base_connection_str.clone(),
            app_name: info.app_name.clone(),
            computer_name: info.computer_name.clone(),
            user_name: info.user_name.clone(),
            session_started: info.session_started,
            session_connection: Some(session.connection.to_string()),
            access_code: session.wish.access_code.clone(),
            expire_time: *ends,
            expired: ExpiredText(false),
            key_id: session.series,
            used_licence: session.key_no,
        }
    }
}

/// `GET /api/sessions`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SessionsView {
    /// The sessions.
    pub sessions: Vec<SessionView>,
}

/// Totals of one series.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SeriesView {
    /// Series.
    #[serde(rename = "KeyID")]
    pub key_id: KeySeries,
    /// Name of the product; empty where the series is not described.
    pub product_name: String,
    /// Installed keys.
    pub keys: usize,
    /// Connections.
    pub connections: usize,
    /// Sessions, counted and not.
    pub sessions: usize,
    /// Seats of the usable keys.
    pub total_licence_count: u64,
    /// Seats held.
    pub use_licence_count: u64,
    /// Seats free.
    pub free_licence_count: u64,
    /// Most seats held at one moment since midnight UTC; nothing when the history cannot be read.
    pub peak_today: Option<u64>,
    /// Refusals since midnight UTC; nothing when the history cannot be read.
    pub denials_today: Option<u64>,
}

impl SeriesView {
    /// Totals, and peak and refusals of the day where they are known.
    pub fn new(totals: SeriesTotals, since: Option<(u64, u64)>) -> Self {
        Self {
            key_id: totals.series,
            product_name: totals.product_name,
            keys: totals.keys,
            connections: totals.connections,
            sessions: totals.sessions,
            total_licence_count: totals.total,
            use_licence_count: totals.used,
            free_licence_count: totals.free,
            peak_today: since.map(|(peak, _)| peak.max(totals.used)),
            denials_today: since.map(|(_, denied)| denied),
        }
    }
}

/// `GET /api/series`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SeriesListView {
    /// The series.
    pub series: Vec<SeriesView>,
}

/// `GET /api/datafiles`: the vendors' data files of this server.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DatafilesView {
    /// The files.
    pub datafiles: Vec<DatafileView>,
}

/// A data file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DatafileView {
    /// Its series; nothing when its name says none.
    #[serde(rename = "KeyID")]
    pub key_id: Option<KeySeries>,
    /// Its alias; nothing for the main file.
    pub alias: Option<String>,
    /// Its name in the data folder.
    pub file_name: String,
    /// How many objects it has; nothing when it cannot be used.
    pub objects: Option<usize>,
    /// Its length in bytes.
    pub size: u64,
    /// When it was changed last.
    pub date: Option<Utc>,
    /// Names this version of it; nothing when it cannot be used.
    pub version: Option<String>,
    /// Why it cannot be used.
    pub problem: Option<String>,
}
