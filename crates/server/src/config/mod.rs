//! Settings: from `licenceserver.conf` to a checked [`Config`].
//!
//! Every value is checked once, here, and an error names file, section, key, value and what is
//! expected. Unknown keys are left alone and reported, because conf files travel between versions.
//! Nothing is opened but the file itself.

mod cluster;
mod error;
mod ismp;
mod parts;
mod source;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use licence_core::key::KeyNo;
use licence_core::language::Language;

pub use self::cluster::ClusterSettings;
pub use self::error::{ConfigError, Expected, WrongValue};
pub use self::ismp::{Addresses, ComponentAccess, INN_PLACE, IsmpSettings};
pub use self::parts::{
    IdentitySettings, MetricsSettings, NotifySettings, Parts, Scope, SmtpSecurity, TlsSettings,
    Token, Usb, User,
};
pub use self::source::{IniSource, Source};
use self::source::{Reader, expected};
use crate::activate::proxy_of;
use crate::language;
use crate::settings::catalogue;

/// Port when none is set (manual).
pub const DEFAULT_PORT: u16 = 9099;

/// `SeriesFile` when none is set.
pub const DEFAULT_SERIES_FILE: &str = "licence.series";

/// Largest conf file that is read, in bytes: some thousand access codes.
pub(crate) const CONF_BYTES_MAX: u64 = 1024 * 1024;

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

/// A text that is nobody's business. Its `Debug` form does not show it.
#[derive(Clone, Eq, PartialEq)]
pub struct Hidden(pub String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
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
    /// `[Common] LicenceCenterProxy`: the proxy by which centres are reached, with its password.
    pub licence_center_proxy: Option<String>,
    /// `[Common] AutoUpdate`: licences are renewed from their centres by themselves.
    pub auto_update: bool,
    /// `[Common] ComponentService`: components may install, update and give back licences.
    pub component_service: bool,
    /// `[Common] SeriesFile`: file of series descriptors, relative to the settings folder.
    pub series_file: String,
    /// `[Common] KeepPreviousLogs`: keep the logs of earlier runs.
    pub keep_previous_logs: bool,
    /// `[Common] KeepCurrentDateLogs`: keep the logs of earlier runs of the same day.
    pub keep_current_date_logs: bool,
    /// `[UPKey]`: where keys on tokens are looked for.
    pub usb: Usb,
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
    /// What the identity is sealed to.
    pub identity: IdentitySettings,
    /// Session keys of ИС МП.
    pub ismp: IsmpSettings,
    /// The cluster that this server is a node of.
    pub cluster: ClusterSettings,
}

impl Config {
    /// Reads and checks a conf file. A missing file is all defaults: a first start works without.
    ///
    /// # Errors
    ///
    /// See [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes = read_file(path)?.unwrap_or_default();
        let source = IniSource::parse(path, bytes)?;
        warn_of_unknown(&source);
        Self::from_source(&source)
    }

    /// Checks settings from any source.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Value`] for the first wrong value.
    pub fn from_source(source: &dyn Source) -> Result<Self, ConfigError> {
        let read = Reader { source };
        let console = ConsoleConfig {
            local_access_only: read.flag("Console", "LocalAccessOnly", false)?,
            allowed_addresses: read.list(
                "Console",
                "AllowedAddresses",
                expected(
                    "addresses or prefixes such as 192.168.1.0/24, separated by commas",
                    "адреса или подсети вида 192.168.1.0/24 через запятую",
                ),
                AddressRange::parse,
            )?,
            authorization: read
                .value("Console", "Authorization", expected("0, 1 or 2", "0, 1 или 2"), |text| {
                    match text {
                        "0" => Some(Authorization::Changes),
                        "1" => Some(Authorization::Always),
                        "2" => Some(Authorization::Off),
                        _ => None,
                    }
                })?
                .unwrap_or_default(),
            check_captcha: read.flag("Console", "CheckCaptcha", false)?,
            enable_access_codes: read.flag("Console", "EnableAccessCodes", true)?,
            hide_full_storages: read.flag("Console", "HideFullStorages", false)?,
            hide_uninstalled: read.flag("Console", "HideUnistalled", false)?,
            check_dns_rebinding: read.flag("Console", "CheckDNSRebinding", false)?,
            host_names: read.list(
                "Console",
                "HostNames",
                expected("host names", "имена узлов"),
                |name| Some(name.to_ascii_lowercase()),
            )?,
            name_holders: read.flag("Console", "NameHolders", true)?,
            user_name: read
                .value(
                    "Console",
                    "UserName",
                    expected("a name without a colon", "имя без двоеточия"),
                    |text| (!text.contains(':')).then(|| text.to_owned()),
                )?
                .unwrap_or_else(|| "admin".to_owned()),
            password: read
                .value(
                    "Console",
                    "Password",
                    expected(
                        "a password or an Argon2 PHC string",
                        "пароль или хеш Argon2 в формате PHC",
                    ),
                    password,
                )?
                .unwrap_or_else(|| Password::Plain("admin".to_owned())),
        };
        Ok(Self {
            server_addr: read
                .value(
                    "Common",
                    "ServerAddr",
                    expected("an IP address of this computer", "IP-адрес этого компьютера"),
                    |text| {
                        let local = text.eq_ignore_ascii_case("localhost");
                        if local { Some(Ipv4Addr::LOCALHOST.into()) } else { text.parse().ok() }
                    },
                )?
                .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            server_port: read
                .value(
                    "Common",
                    "ServerPort",
                    expected("a port number from 0 to 65535", "номер порта от 0 до 65535"),
                    |text| text.parse().ok(),
                )?
                .unwrap_or(DEFAULT_PORT),
            lang: read
                .value("Common", "Lang", expected("ru or en", "ru или en"), language::named)?
                .unwrap_or(Language::English),
            licence_center_url: read.value(
                "Common",
                "LicenceCenterUrl",
                expected(
                    "an address that begins with http:// or https://",
                    "адрес, который начинается с http:// или https://",
                ),
                centre_url,
            )?,
            licence_center_use_proxy: read.flag("Common", "LicenceCenterUseProxy", false)?,
            licence_center_proxy: read.value(
                "Common",
                "LicenceCenterProxy",
                expected(
                    "an address such as http://user:password@proxy:3128",
                    "адрес вида http://user:password@proxy:3128",
                ),
                |text| proxy_of(text).map(|_| text.to_owned()),
            )?,
            auto_update: read.flag("Common", "AutoUpdate", true)?,
            component_service: read.flag("Common", "ComponentService", true)?,
            series_file: read
                .value(
                    "Common",
                    "SeriesFile",
                    expected("a file name", "имя файла"),
                    |text| Some(text.to_owned()),
                )?
                .unwrap_or_else(|| DEFAULT_SERIES_FILE.to_owned()),
            keep_previous_logs: read.flag("Common", "KeepPreviousLogs", false)?,
            keep_current_date_logs: read.flag("Common", "KeepCurrentDateLogs", false)?,
            usb: Usb::read(&read)?,
            console,
            api_enabled: read.flag("API", "Enabled", true)?,
            access_codes: read.access_codes()?,
            log_level: read
                .value(
                    "Common",
                    "LogLevel",
                    expected(
                        "off, error, warn, info, debug or trace",
                        "off, error, warn, info, debug или trace",
                    ),
                    |text| text.parse().ok(),
                )?
                .unwrap_or(log::LevelFilter::Info),
            log_file_max_mb: read
                .value(
                    "Common",
                    "LogFileMaxMB",
                    expected("MiB from 1 to 4096", "число МиБ от 1 до 4096"),
                    |text| text.parse().ok().filter(|size| (1..=4096).contains(size)),
                )?
                .unwrap_or(32),
            parts: Parts::read(&read)?,
            identity: IdentitySettings::read(&read)?,
            ismp: IsmpSettings::read(&read)?,
            cluster: ClusterSettings::read(&read)?,
        })
    }

    /// Whether the password is the one that everybody knows from the manual, whatever the
    /// administrator's name: a file that sets the name alone has it as well.
    pub fn has_default_password(&self) -> bool {
        self.console.password == Password::Plain("admin".to_owned())
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

/// Settings of the manual that are read and checked and change nothing in this version, each with
/// its default.
const INERT: &[(&str, &str, &str)] = &[("Console", "CheckCaptcha", "0")];

/// Reads a conf file; nothing when there is none.
pub(crate) fn read_file(path: &Path) -> Result<Option<Vec<u8>>, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(CONF_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > CONF_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned(), bytes_max: CONF_BYTES_MAX });
    }
    Ok(Some(bytes))
}

/// Logs what the administrator may have meant otherwise: keys that nobody knows, keys without
/// effect.
pub(crate) fn warn_of_unknown(source: &dyn Source) {
    for section in source.sections() {
        for key in source.keys(&section) {
            if source.get(&section, &key).is_none() {
                // The whole line is the key then, and may be a password after a colon.
                let line = source.line_of(&section, &key).unwrap_or_default();
                log::warn!("{}:{line}: [{section}] a line without = is left alone", source.name());
            } else if !catalogue::is_known(&section, &key) {
                log::warn!("{}: unknown key is left alone: [{section}] {key}", source.name());
            }
        }
    }
    for (section, key, default) in INERT {
        let value = source.get(section, key).unwrap_or_default();
        if !value.trim().is_empty() && value.trim() != *default {
            log::warn!("{}: [{section}] {key} has no effect in this version", source.name());
        }
    }
}

#[cfg(test)]
mod tests;
