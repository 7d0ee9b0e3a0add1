//! Settings of single subjects: TLS, users, tokens, reports, metrics, notifications.
//!
//! Types and their checks; what follows from them is decided where they are used.

use std::path::PathBuf;

use licence_core::time::Utc;
use licence_token::list::TokenList;

use super::source::{Reader, expected};
use super::{ConfigError, Password, password};
use crate::access::Role;
use crate::identity::TPM_DEVICE_DEFAULT;

/// Days that history is kept when none are set: a year, and a month to look back on it.
const KEEP_DAYS: u32 = 400;

/// `[TLS]`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TlsSettings {
    /// `Certificate`: PEM file of a certificate chain for browsers; relative to the settings folder.
    pub certificate: Option<PathBuf>,
    /// `Key`: PEM file of its private key.
    pub key: Option<PathBuf>,
    /// `RequireTLS`: plain HTTP is refused.
    pub require_tls: bool,
}

/// A line of `[Users]`: `name = role;password`, beside the administrator of `[Console]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    /// The name.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Their password.
    pub password: Password,
}

/// What a token may be used for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Session keys of ИС МП alone.
    Ismp,
    /// `/metrics` alone.
    Metrics,
    /// What this role may do.
    Role(Role),
}

/// A line of `[Tokens]`: `id = scope;expires;sha256;name`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Token {
    /// Public id.
    pub id: String,
    /// What it may be used for.
    pub scope: Scope,
    /// The end of its life.
    pub expires: Utc,
    /// SHA-256 of its secret, 64 hex digits.
    pub digest: String,
    /// What the administrator calls it.
    pub name: String,
}

/// `[UPKey]`: keys on USB tokens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Usb {
    /// `Enabled`: look for tokens.
    pub enabled: bool,
    /// `Tokens`: those meant for licences, beside the known ones. Others are never spoken to.
    pub tokens: TokenList,
}

impl Usb {
    pub(super) fn read(read: &Reader<'_>) -> Result<Self, ConfigError> {
        let list = read.value(
            "UPKey",
            "Tokens",
            expected(
                "up to 32 of VVVV:PPPP or part of a reader's name, separated by commas",
                "до 32 записей VVVV:PPPP или частей имени считывателя через запятую",
            ),
            |text| TokenList::with_extra(text).ok(),
        )?;
        let enabled = read.flag("UPKey", "Enabled", true)?;
        Ok(Self { enabled, tokens: list.unwrap_or_default() })
    }
}

/// `[Metrics]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MetricsSettings {
    /// `Enabled`: whether `/metrics` answers.
    pub enabled: bool,
    /// `Anonymous`: without a token or password.
    pub anonymous: bool,
}

/// How mail is sent (`[Notify] SmtpSecurity`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SmtpSecurity {
    /// Plain; for a mail server on this machine.
    None,
    /// Plain first, then TLS or nothing.
    #[default]
    StartTls,
    /// TLS from the first byte.
    Tls,
}

/// `[Notify]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NotifySettings {
    /// `Webhook`: address that gets a POST for each notice.
    pub webhook: Option<String>,
    /// `WebhookSecret`: signs the POST.
    pub webhook_secret: Option<String>,
    /// `SmtpServer`: host, or host:port.
    pub smtp_server: Option<String>,
    /// `SmtpSecurity`: `none`, `starttls` or `tls`.
    pub smtp_security: SmtpSecurity,
    /// `SmtpUser`.
    pub smtp_user: Option<String>,
    /// `SmtpPassword`.
    pub smtp_password: Option<String>,
    /// `MailFrom`.
    pub mail_from: Option<String>,
    /// `MailTo`.
    pub mail_to: Vec<String>,
    /// `UsePercent`: a notice when so much of a series' seats is held; 0 is never.
    pub use_percent: u8,
    /// `ExpiryDays`: a notice so many days before a key's term ends; 0 is never.
    pub expiry_days: u32,
    /// `SessionKeyMinutes`: a notice so many minutes before a session key of ИС МП ends that nobody
    /// refreshes; 0 is never.
    pub session_key_minutes: u32,
    /// `WatchServers`: reserve servers, `host:port`, to be told of when they are lost.
    pub watch_servers: Vec<String>,
}

/// What the identity is sealed to: `[Common] IdentitySecretFile`, `IdentityTpm`, `TpmDevice`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IdentitySettings {
    /// `IdentitySecretFile`: a mounted secret that stands for the computer.
    pub secret_file: Option<PathBuf>,
    /// `IdentityTpm`: the TPM keeps the key.
    pub use_tpm: bool,
    /// `TpmDevice`: its device, or the socket of one.
    pub tpm_device: PathBuf,
}

impl IdentitySettings {
    pub(super) fn read(read: &Reader<'_>) -> Result<Self, ConfigError> {
        let path = |key| {
            read.value(
                "Common",
                key,
                expected("a full file name", "полное имя файла"),
                |text| Some(PathBuf::from(text)).filter(|path| path.is_absolute()),
            )
        };
        Ok(Self {
            secret_file: path("IdentitySecretFile")?,
            use_tpm: read
                .value("Common", "IdentityTpm", expected("on or off", "on или off"), |text| {
                    match text.to_ascii_lowercase().as_str() {
                        "on" => Some(true),
                        "off" => Some(false),
                        _ => None,
                    }
                })?
                .unwrap_or(false),
            tpm_device: path("TpmDevice")?.unwrap_or_else(|| TPM_DEVICE_DEFAULT.into()),
        })
    }
}

/// The settings of this file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parts {
    /// `[TLS]`.
    pub tls: TlsSettings,
    /// `[Users]`.
    pub users: Vec<User>,
    /// `[Tokens]`.
    pub tokens: Vec<Token>,
    /// `[Metrics]`.
    pub metrics: MetricsSettings,
    /// `[Notify]`.
    pub notify: NotifySettings,
    /// `[Reports] KeepDays`: days that events and use are kept.
    pub keep_days: u32,
}

impl Parts {
    pub(super) fn read(read: &Reader<'_>) -> Result<Self, ConfigError> {
        let text = |section, key| {
            read.value(section, key, expected("a text", "текст"), |text| Some(text.to_owned()))
        };
        let path = |section, key| {
            read.value(section, key, expected("a file name", "имя файла"), |text| {
                Some(PathBuf::from(text))
            })
        };
        let words = |section, key| {
            read.list(
                section,
                key,
                expected("a list", "список через запятую"),
                |word| Some(word.to_owned()),
            )
        };
        Ok(Self {
            tls: TlsSettings {
                certificate: path("TLS", "Certificate")?,
                key: path("TLS", "Key")?,
                require_tls: read.flag("TLS", "RequireTLS", false)?,
            },
            users: read.all("Users", expected("role;password", "роль;пароль"), user)?,
            tokens: read.all(
                "Tokens",
                expected("scope;expires;sha256;name", "область;срок;sha256;имя"),
                token,
            )?,
            metrics: MetricsSettings {
                enabled: read.flag("Metrics", "Enabled", true)?,
                anonymous: read.flag("Metrics", "Anonymous", false)?,
            },
            notify: NotifySettings {
                webhook: read.value(
                    "Notify",
                    "Webhook",
                    expected(
                        "an address that begins with http:// or https://",
                        "адрес, который начинается с http:// или https://",
                    ),
                    super::centre_url,
                )?,
                webhook_secret: text("Notify", "WebhookSecret")?,
                smtp_server: text("Notify", "SmtpServer")?,
                smtp_security: read
                    .value(
                        "Notify",
                        "SmtpSecurity",
                        expected("none, starttls or tls", "none, starttls или tls"),
                        |text| match text {
                            "none" => Some(SmtpSecurity::None),
                            "starttls" => Some(SmtpSecurity::StartTls),
                            "tls" => Some(SmtpSecurity::Tls),
                            _ => None,
                        },
                    )?
                    .unwrap_or_default(),
                smtp_user: text("Notify", "SmtpUser")?,
                smtp_password: text("Notify", "SmtpPassword")?,
                mail_from: text("Notify", "MailFrom")?,
                mail_to: words("Notify", "MailTo")?,
                use_percent: read
                    .value(
                        "Notify",
                        "UsePercent",
                        expected("a percentage from 0 to 100", "проценты от 0 до 100"),
                        |text| text.parse().ok().filter(|percent| *percent <= 100),
                    )?
                    .unwrap_or(90),
                expiry_days: read
                    .value(
                        "Notify",
                        "ExpiryDays",
                        expected("days from 0 to 3650", "число дней от 0 до 3650"),
                        |text| text.parse().ok().filter(|days| *days <= 3650),
                    )?
                    .unwrap_or(14),
                session_key_minutes: read
                    .value(
                        "Notify",
                        "SessionKeyMinutes",
                        expected("minutes from 0 to 600", "число минут от 0 до 600"),
                        |text| text.parse().ok().filter(|minutes| *minutes <= 600),
                    )?
                    .unwrap_or(0),
                watch_servers: words("Notify", "WatchServers")?,
            },
            keep_days: read
                .value(
                    "Reports",
                    "KeepDays",
                    expected("days from 1 to 3650", "число дней от 1 до 3650"),
                    |text| text.parse().ok().filter(|days| (1..=3650).contains(days)),
                )?
                .unwrap_or(KEEP_DAYS),
        })
    }
}

fn user(name: &str, text: &str) -> Option<User> {
    let (role, secret) = text.split_once(';')?;
    Some(User {
        name: name.to_owned(),
        role: role.trim().parse().ok()?,
        password: password(secret.trim())?,
    })
}

fn token(id: &str, text: &str) -> Option<Token> {
    let mut fields = text.splitn(4, ';').map(str::trim);
    let scope = match fields.next()? {
        "ismp" => Scope::Ismp,
        "metrics" => Scope::Metrics,
        role => Scope::Role(role.parse().ok()?),
    };
    let expires = fields.next()?.parse().ok()?;
    let digest = fields.next()?.to_ascii_lowercase();
    let is_digest = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
    let name = fields.next().unwrap_or_default().to_owned();
    is_digest.then(|| Token { id: id.to_owned(), scope, expires, digest, name })
}
