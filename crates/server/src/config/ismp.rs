//! `[ISMP]` and `[ISMPContours]`: session keys of ИС МП.
//!
//! Types and their checks. Addresses, the signing command and the main server come from the file
//! alone, so that whoever may change settings over REST can neither have a program run nor keys
//! sent elsewhere.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use licence_ismp::{Contour, Inn};

use super::source::{Reader, expected};
use super::{ConfigError, Hidden, centre_url};
use crate::activate::proxy_of;

/// What [`Contour::PRODUCTION`] stands for when the file does not say otherwise.
const PRODUCTION: (&str, &str) =
    ("https://markirovka.crpt.ru/api/v3/true-api", "https://cdn.crpt.ru/api/v3/true-api");

/// The service for trying things out: its name, and its address for everything.
const SANDBOX: (&str, &str) = ("sandbox", "https://markirovka.sandbox.crptech.ru/api/v3/true-api");

/// Most words of the signing command.
const COMMAND_WORDS_MAX: usize = 64;

/// What stands for the ИНН in the signing command.
pub const INN_PLACE: &str = "{INN}";

/// What a component must show (`[ISMP] ComponentAccess`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ComponentAccess {
    /// A session that holds a seat.
    Seat,
    /// An access token of the scope `ismp`.
    #[default]
    Token,
}

/// Where a contour of the service is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Addresses {
    /// True API: challenges, and sign-ins but those of cash desks.
    pub true_api: String,
    /// The delivery network: sign-ins of cash desks.
    pub retail: String,
}

/// `[ISMP]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IsmpSettings {
    /// `Enabled`: whether session keys are served at all.
    pub enabled: bool,
    /// `AllowPlainHttp`: also over plain HTTP from other computers.
    pub allow_plain_http: bool,
    /// `ComponentAccess`: what a component must show.
    pub component_access: ComponentAccess,
    /// `Proxy`: HTTP proxy by which the service is reached, with its password.
    pub proxy: Option<String>,
    /// `UseProxy`: go through the proxy of the environment.
    pub use_proxy: bool,
    /// `ExtraCA`: PEM file of authorities that are trusted besides those of the system; relative to
    /// the settings folder.
    pub extra_ca: Option<PathBuf>,
    /// `SignCommand`: the program that signs and its arguments; empty for none.
    pub sign_command: Vec<String>,
    /// `SignOrganizations`: whose challenges it signs; empty for everybody's.
    pub sign_organizations: Vec<Inn>,
    /// `Main`: the main server, on a reserve.
    pub main: Option<String>,
    /// `MainPin`: SHA-256 of the public key (SPKI) in its certificate.
    pub main_pin: Option<[u8; 32]>,
    /// `MainToken`: access token of the scope `ismp` there.
    pub main_token: Option<Hidden>,
    /// `[ISMPContours]` and the contours that are known without it.
    pub contours: BTreeMap<Contour, Addresses>,
}

impl IsmpSettings {
    pub(super) fn read(read: &Reader<'_>) -> Result<Self, ConfigError> {
        let access = read.value(
            "ISMP",
            "ComponentAccess",
            expected("token or seat", "token или seat"),
            |text| match text.to_ascii_lowercase().as_str() {
                "seat" => Some(ComponentAccess::Seat),
                "token" => Some(ComponentAccess::Token),
                _ => None,
            },
        )?;
        let proxy = read.value(
            "ISMP",
            "Proxy",
            expected(
                "an address such as http://user:password@proxy:3128",
                "адрес вида http://user:password@proxy:3128",
            ),
            |text| proxy_of(text).map(|_| text.to_owned()),
        )?;
        let extra_ca =
            read.value("ISMP", "ExtraCA", expected("a file name", "имя файла"), |text| {
                Some(PathBuf::from(text))
            })?;
        let sign_command = read.value(
            "ISMP",
            "SignCommand",
            expected(
                "the full name of a program and its arguments; blanks inside of one stand in quotes",
                "полное имя программы и её аргументы; аргумент с пробелами — в кавычках",
            ),
            command,
        )?;
        let sign_organizations = read.list(
            "ISMP",
            "SignOrganizations",
            expected("INNs of 10 or 12 digits", "ИНН из 10 или 12 цифр"),
            |text| text.parse().ok(),
        )?;
        let main = read.value(
            "ISMP",
            "Main",
            expected("an address such as https://main:9099", "адрес вида https://main:9099"),
            |text| centre_url(text).filter(|url| url.to_ascii_lowercase().starts_with("https://")),
        )?;
        let main_pin = read.value(
            "ISMP",
            "MainPin",
            expected("base64url of a SHA-256, 43 characters", "base64url от SHA-256, 43 символа"),
            |text| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?.try_into().ok(),
        )?;
        let main_token = read.value(
            "ISMP",
            "MainToken",
            expected("an access token", "токен доступа"),
            |text| Some(Hidden(text.to_owned())),
        )?;
        let mut contours = built_in();
        contours.extend(read.all(
            "ISMPContours",
            expected(
                "contour = http(s) address of True API; address for cash desks",
                "контур = http(s)-адрес True API; адрес для касс",
            ),
            contour,
        )?);
        Ok(Self {
            enabled: read.flag("ISMP", "Enabled", false)?,
            allow_plain_http: read.flag("ISMP", "AllowPlainHttp", false)?,
            component_access: access.unwrap_or_default(),
            proxy,
            use_proxy: read.flag("ISMP", "UseProxy", false)?,
            extra_ca,
            sign_command: sign_command.unwrap_or_default(),
            sign_organizations,
            main,
            main_pin,
            main_token,
            contours,
        })
    }

    /// Whether the server signs for an organisation by itself.
    pub fn signs_for(&self, inn: &Inn) -> bool {
        !self.sign_command.is_empty()
            && (self.sign_organizations.is_empty() || self.sign_organizations.contains(inn))
    }
}

fn built_in() -> BTreeMap<Contour, Addresses> {
    let of = |true_api: &str, retail: &str| Addresses {
        true_api: true_api.to_owned(),
        retail: retail.to_owned(),
    };
    let mut contours = BTreeMap::from([(Contour::default(), of(PRODUCTION.0, PRODUCTION.1))]);
    if let Ok(sandbox) = SANDBOX.0.parse() {
        contours.insert(sandbox, of(SANDBOX.1, SANDBOX.1));
    }
    contours
}

/// `name = address[;address for cash desks]`.
fn contour(name: &str, text: &str) -> Option<(Contour, Addresses)> {
    let (true_api, retail) = text.split_once(';').unwrap_or((text, text));
    let true_api = centre_url(true_api.trim())?;
    let retail =
        if retail.trim().is_empty() { true_api.clone() } else { centre_url(retail.trim())? };
    Some((name.parse().ok()?, Addresses { true_api, retail }))
}

/// A program by its full name, and its arguments. Blanks part them, but for those between quotation
/// marks; there is no shell and no other character with a meaning.
fn command(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut is_quoted = false;
    for c in text.chars() {
        if c == '"' {
            is_quoted = !is_quoted;
            word.get_or_insert_default();
        } else if c.is_whitespace() && !is_quoted {
            words.extend(word.take());
        } else {
            word.get_or_insert_default().push(c);
        }
    }
    words.extend(word);
    let is_program = words.first().is_some_and(|program| PathBuf::from(program).is_absolute());
    let is_good = is_program && !is_quoted && words.len() <= COMMAND_WORDS_MAX;
    is_good.then_some(words)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, IniSource};

    fn read(text: &str) -> Result<IsmpSettings, String> {
        let source = IniSource::parse(Path::new("x"), text.into()).unwrap();
        let config = Config::from_source(&source);
        config.map(|config| config.ismp).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_served_and_both_contours_are_known_by_default() {
        let ismp = read("").unwrap();
        assert!(!ismp.enabled && !ismp.allow_plain_http && ismp.sign_command.is_empty());
        assert_eq!(ismp.component_access, ComponentAccess::Token);
        let names: Vec<_> = ismp.contours.keys().map(Contour::as_str).collect();
        assert_eq!(names, ["production", "sandbox"]);
        assert_eq!(ismp.contours[&Contour::default()].retail, PRODUCTION.1);
    }

    #[test]
    fn contour_is_one_address_or_two_and_may_replace_a_known_one() {
        let ismp = read(
            "[ISMPContours]\nTest=http://127.0.0.1:1/a/\nproduction=https://x/t;https://y/r/\n",
        )
        .unwrap();
        let test = &ismp.contours[&"test".parse().unwrap()];
        assert_eq!(
            (&*test.true_api, &*test.retail),
            ("http://127.0.0.1:1/a", "http://127.0.0.1:1/a")
        );
        let own = &ismp.contours[&Contour::default()];
        assert_eq!((&*own.true_api, &*own.retail), ("https://x/t", "https://y/r"));
        for bad in ["a b=http://x", "t=ftp://x", "t=x", "t=http://x;ftp://y"] {
            assert!(read(&format!("[ISMPContours]\n{bad}\n")).is_err(), "{bad}");
        }
    }

    #[test]
    fn command_is_parted_at_blanks_outside_of_quotation_marks() {
        let root = if cfg!(windows) { "C:" } else { "" };
        for (text, words) in [
            ("/bin/sign", Some(vec!["/bin/sign"])),
            (
                "/bin/sign  -a {INN} \"b  c\" \"\"",
                Some(vec!["/bin/sign", "-a", "{INN}", "b  c", ""]),
            ),
            ("\"/opt/a b/sign\" x\"y z\"", Some(vec!["/opt/a b/sign", "xy z"])),
            ("/bin/sign \"x", None),
            ("sign -a", None),
            ("/bin/sign $(x) | y", Some(vec!["/bin/sign", "$(x)", "|", "y"])),
        ] {
            let placed = text
                .replace("/bin", &format!("{root}/bin"))
                .replace("/opt", &format!("{root}/opt"));
            let read = command(&placed);
            let wanted: Option<Vec<String>> = words.map(|words| {
                let place = |word: &&str| {
                    if word.starts_with('/') { format!("{root}{word}") } else { (*word).to_owned() }
                };
                words.iter().map(place).collect()
            });
            assert_eq!(read, wanted, "{text}");
        }
        assert_eq!(command(&format!("{root}/bin/sign{}", " x".repeat(COMMAND_WORDS_MAX))), None);
    }

    #[test]
    fn wrong_value_is_named_and_a_token_never_repeated() {
        for (text, named) in [
            ("[ISMP]\nComponentAccess=all\n", "ComponentAccess"),
            ("[ISMP]\nMain=http://main:9099\n", "Main"),
            ("[ISMP]\nMainPin=abc\n", "MainPin"),
            ("[ISMP]\nSignOrganizations=770\n", "SignOrganizations"),
            ("[ISMP]\nEnabled=yes\n", "Enabled"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
        let error = read("[ISMP]\nProxy=ftp://user:hunter2@x\n").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
        let ismp = read("[ISMP]\nMainToken=lic_hunter2\n").unwrap();
        assert!(!format!("{ismp:?}").contains("hunter2"));
    }
}
