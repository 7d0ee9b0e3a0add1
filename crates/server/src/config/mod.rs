//! Settings: from `licenceserver.conf` to a checked [`Config`].
//!
//! Every value is checked once, here, and an error names file, section, key, value and what is
//! expected. Unknown keys are left alone and reported, because conf files travel between versions.
//! Nothing is opened but the file itself.

mod parts;
mod source;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use licence_core::key::KeyNo;
use licence_core::language::Language;

pub use self::parts::{
    MetricsSettings, NotifySettings, Parts, Scope, SmtpSecurity, TlsSettings, Token, User,
};
use self::source::Reader;
pub use self::source::{IniSource, Source};
use crate::language;

/// Port when none is set (manual).
pub const DEFAULT_PORT: u16 = 9099;

/// `SeriesFile` when none is set.
pub const DEFAULT_SERIES_FILE: &str = "licence.series";

/// Largest conf file that is read, in bytes: some thousand access codes.
const CONF_BYTES_MAX: u64 = 1024 * 1024;

/// Why settings were refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file is there and could not be read.
    #[error("reading {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not an ini file in UTF-8.
    #[error("{path} is not an ini file in UTF-8: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A value is not what the key takes.
    #[error("{file}: [{section}] {key}={value}: expected {expected}")]
    Value {
        /// The file.
        file: String,
        /// The section.
        section: String,
        /// The key.
        key: String,
        /// The value; asterisks in place of a password.
        value: String,
        /// What is expected.
        expected: &'static str,
    },
}

/// When the console asks for the password (`[Console] Authorization`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Authorization {
    /// 1: for every page.
    Always,
    /// 0: for settings and operations only.
    #[default]
    Changes,
    /// 2: never. The REST API asks for it all the same.
    Off,
}

/// The password of the API and the console. Its `Debug` form does not show it.
#[derive(Clone, Eq, PartialEq)]
pub enum Password {
    /// An Argon2 hash in the PHC string format.
    Phc(String),
    /// Plain text, as the manual has it.
    Plain(String),
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Phc(_) => "Phc(***)",
            Self::Plain(_) => "Plain(***)",
        })
    }
}

/// Addresses that may reach the API and the console: one address, or a prefix such as
/// `192.168.1.0/24`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AddressRange {
    network: IpAddr,
    bits: u8,
}

impl AddressRange {
    /// Reads `192.168.1.7`, `192.168.1.0/24` or their IPv6 forms.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let network: IpAddr = address.trim().parse().ok()?;
        let width = if network.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(bits) => bits.trim().parse().ok().filter(|bits| *bits <= width)?,
        };
        Some(Self { network, bits })
    }

    /// Whether the address lies within.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.bits);
                (u32::from(network) ^ u32::from(address)).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.bits);
                (u128::from(network) ^ u128::from(address)).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// `[Console]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConsoleConfig {
    /// Only this computer may use the console and the API.
    pub local_access_only: bool,
    /// Only these addresses may; empty is all.
    pub allowed_addresses: Vec<AddressRange>,
    /// When the console asks for the password.
    pub authorization: Authorization,
    /// Kept for the console's forms.
    pub check_captcha: bool,
    /// Whether `[AccessCodes]` counts.
    pub enable_access_codes: bool,
    /// Hide keys without a free seat.
    pub hide_full_storages: bool,
    /// Hide series without an installed key (the key's spelling is the original's).
    pub hide_uninstalled: bool,
    /// Refuse requests whose `Host` is a name that is not ours.
    pub check_dns_rebinding: bool,
    /// `NameHolders`: whether a refusal tells the user who holds the seats.
    pub name_holders: bool,
    /// Names that are ours besides the computer's, `localhost` and plain addresses.
    pub host_names: Vec<String>,
    /// User name of the API and the console.
    pub user_name: String,
    /// Password of the API and the console.
    pub password: Password,
}

/// All settings, checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// `[Common] ServerAddr`: address to listen on.
    pub server_addr: IpAddr,
    /// `[Common] ServerPort`: 0 is any free port.
    pub server_port: u16,
    /// `[Common] Lang`: language when a request names none.
    pub lang: Language,
    /// `[Common] LicenceCenterUrl`: activation centre of series that name none themselves.
    pub licence_center_url: Option<String>,
    /// `[Common] LicenceCenterUseProxy`: go through the proxy of the environment.
    pub licence_center_use_proxy: bool,
    /// `[Common] SeriesFile`: file of series descriptors, relative to the settings folder.
    pub series_file: String,
    /// `[Common] KeepPreviousLogs`: keep the logs of earlier runs.
    pub keep_previous_logs: bool,
    /// `[Common] KeepCurrentDateLogs`: keep the logs of earlier runs of the same day.
    pub keep_current_date_logs: bool,
    /// `[UPKey] Enabled`: look for USB tokens.
    pub usb_enabled: bool,
    /// `[Console]`.
    pub console: ConsoleConfig,
    /// `[API] Enabled`.
    pub api_enabled: bool,
    /// `[AccessCodes]`: key number to access code.
    pub access_codes: BTreeMap<KeyNo, String>,
    /// `[Common] LogLevel`: what is logged.
    pub log_level: log::LevelFilter,
    /// `[Common] LogFileMaxMB`: size at which the log file is changed, in MiB.
    pub log_file_max_mb: u32,
    /// TLS, users, tokens, reports, metrics, notifications.
    pub parts: Parts,
}

impl Config {
    /// Reads and checks a conf file. A missing file is all defaults: a first start works without.
    ///
    /// # Errors
    ///
    /// See [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let bytes = match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(read(error)),
            Ok(found) if found.len() > CONF_BYTES_MAX => {
                return Err(ConfigError::Syntax {
                    path: path.to_owned(),
                    reason: format!("larger than {CONF_BYTES_MAX} bytes"),
                });
            }
            Ok(_) => std::fs::read(path).map_err(read)?,
        };
        Self::from_source(&IniSource::parse(path, bytes)?)
    }

    /// Checks settings from any source; unknown keys are logged.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Value`] for the first wrong value.
    pub fn from_source(source: &dyn Source) -> Result<Self, ConfigError> {
        warn_of_unknown(source);
        warn_of_inert(source);
        let read = Reader { source };
        let console = ConsoleConfig {
            local_access_only: read.flag("Console", "LocalAccessOnly", false)?,
            allowed_addresses: read.list(
                "Console",
                "AllowedAddresses",
                "addresses or prefixes such as 192.168.1.0/24, separated by commas",
                AddressRange::parse,
            )?,
            authorization: read
                .value("Console", "Authorization", "0, 1 or 2", |text| match text {
                    "0" => Some(Authorization::Changes),
                    "1" => Some(Authorization::Always),
                    "2" => Some(Authorization::Off),
                    _ => None,
                })?
                .unwrap_or_default(),
            check_captcha: read.flag("Console", "CheckCaptcha", false)?,
            enable_access_codes: read.flag("Console", "EnableAccessCodes", true)?,
            hide_full_storages: read.flag("Console", "HideFullStorages", false)?,
            hide_uninstalled: read.flag("Console", "HideUnistalled", false)?,
            check_dns_rebinding: read.flag("Console", "CheckDNSRebinding", false)?,
            host_names: read.list("Console", "HostNames", "host names", |name| {
                Some(name.to_ascii_lowercase())
            })?,
            name_holders: read.flag("Console", "NameHolders", true)?,
            user_name: read
                .value("Console", "UserName", "a name without a colon", |text| {
                    (!text.contains(':')).then(|| text.to_owned())
                })?
                .unwrap_or_else(|| "admin".to_owned()),
            password: read
                .value("Console", "Password", "a password or an Argon2 PHC string", password)?
                .unwrap_or_else(|| Password::Plain("admin".to_owned())),
        };
        Ok(Self {
            server_addr: read
                .value("Common", "ServerAddr", "an IP address of this computer", |text| {
                    let local = text.eq_ignore_ascii_case("localhost");
                    if local { Some(Ipv4Addr::LOCALHOST.into()) } else { text.parse().ok() }
                })?
                .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            server_port: read
                .value("Common", "ServerPort", "a port number from 0 to 65535", |text| {
                    text.parse().ok()
                })?
                .unwrap_or(DEFAULT_PORT),
            lang: read
                .value("Common", "Lang", "ru or en", language::named)?
                .unwrap_or(Language::English),
            licence_center_url: read.value(
                "Common",
                "LicenceCenterUrl",
                "an address that begins with http:// or https://",
                centre_url,
            )?,
            licence_center_use_proxy: read.flag("Common", "LicenceCenterUseProxy", false)?,
            series_file: read
                .value("Common", "SeriesFile", "a file name", |text| Some(text.to_owned()))?
                .unwrap_or_else(|| DEFAULT_SERIES_FILE.to_owned()),
            keep_previous_logs: read.flag("Common", "KeepPreviousLogs", false)?,
            keep_current_date_logs: read.flag("Common", "KeepCurrentDateLogs", false)?,
            usb_enabled: read.flag("UPKey", "Enabled", true)?,
            console,
            api_enabled: read.flag("API", "Enabled", true)?,
            access_codes: read.access_codes()?,
            log_level: read
                .value("Common", "LogLevel", "off, error, warn, info, debug or trace", |text| {
                    text.parse().ok()
                })?
                .unwrap_or(log::LevelFilter::Info),
            log_file_max_mb: read
                .value("Common", "LogFileMaxMB", "MiB from 1 to 4096", |text| {
                    text.parse().ok().filter(|size| (1..=4096).contains(size))
                })?
                .unwrap_or(32),
            parts: Parts::read(&read)?,
        })
    }

    /// Whether the password is the one that everybody knows from the manual.
    pub fn has_default_password(&self) -> bool {
        self.console.user_name == "admin"
            && self.console.password == Password::Plain("admin".to_owned())
    }
}

fn password(text: &str) -> Option<Password> {
    if !text.starts_with("$argon2") {
        return Some(Password::Plain(text.to_owned()));
    }
    argon2::password_hash::phc::PasswordHash::new(text).ok()?;
    Some(Password::Phc(text.to_owned()))
}

fn centre_url(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let rest = lower.strip_prefix("http://").or_else(|| lower.strip_prefix("https://"))?;
    (!rest.is_empty() && !rest.starts_with('/')).then(|| text.trim_end_matches('/').to_owned())
}

/// Known keys; `*` takes any.
const KNOWN: &[(&str, &[&str])] = &[
    (
        "Common",
        &[
            "ServerAddr",
            "ServerPort",
            "Lang",
            "LicenceCenterUrl",
            "LicenceCenterUseProxy",
            "SeriesFile",
            "KeepPreviousLogs",
            "KeepCurrentDateLogs",
            "LogFileMaxMB",
            "LogLevel",
        ],
    ),
    ("UPKey", &["Enabled"]),
    (
        "Console",
        &[
            "LocalAccessOnly",
            "AllowedAddresses",
            "Authorization",
            "CheckCaptcha",
            "EnableAccessCodes",
            "HideFullStorages",
            "HideUnistalled",
            "CheckDNSRebinding",
            "HostNames",
            "NameHolders",
            "UserName",
            "Password",
        ],
    ),
    ("API", &["Enabled"]),
    ("AccessCodes", &["*"]),
    ("LicenceUpdate", &["*"]),
    ("Metrics", &["Anonymous", "Enabled"]),
    (
        "Notify",
        &[
            "ExpiryDays",
            "MailFrom",
            "MailTo",
            "SmtpPassword",
            "SmtpSecurity",
            "SmtpServer",
            "SmtpUser",
            "UsePercent",
            "WatchServers",
            "Webhook",
            "WebhookSecret",
        ],
    ),
    ("Reports", &["KeepDays"]),
    ("TLS", &["Certificate", "Key", "RequireTLS"]),
    ("Tokens", &["*"]),
    ("Users", &["*"]),
];

/// Settings of the manual that are read and checked and change nothing in this version, each with
/// its default.
const INERT: &[(&str, &str, &str)] = &[
    ("UPKey", "Enabled", "1"),
    ("Console", "CheckCaptcha", "0"),
    ("Console", "HideFullStorages", "0"),
    ("Console", "HideUnistalled", "0"),
];

fn warn_of_inert(source: &dyn Source) {
    for (section, key, default) in INERT {
        if source.get(section, key).is_some_and(|value| value.trim() != *default) {
            log::warn!("{}: [{section}] {key} has no effect in this version", source.name());
        }
    }
}

fn warn_of_unknown(source: &dyn Source) {
    for section in source.sections() {
        let known = KNOWN.iter().find(|(name, _)| *name == section).map(|(_, keys)| *keys);
        for key in source.keys(&section) {
            let is_known =
                known.is_some_and(|keys| keys.contains(&"*") || keys.contains(&key.as_str()));
            if !is_known {
                log::warn!("{}: unknown key is left alone: [{section}] {key}", source.name());
            }
        }
    }
}

#[cfg(test)]
mod tests;
