//! `licenceaddin.conf` and the connection string: which servers a series is looked for at.
//!
//! The rules are the manual's (chapter «Внешняя компонента», «Конфигурационный файл»). Pure
//! functions over texts, and one function that reads the files. Nothing here connects.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use configparser::ini::Ini;
use licence_core::failover::{DEFAULT_PORT, SERVERS_MAX, Server};
use licence_core::key::KeySeries;

use crate::error::ClientError;

/// Largest `licenceaddin.conf` that is read: hundreds of series sections.
pub const CONF_BYTES_MAX: usize = 256 * 1024;

/// Host that is looked at when nobody names one.
pub const DEFAULT_HOST: &str = "localhost";

/// Full file names of `licenceaddin.conf`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfPaths {
    /// The user's file, which client applications look at first. Server processes (`IsServer` of
    /// the connection) never look at it.
    pub user: Option<PathBuf>,
    /// The common file.
    pub common: PathBuf,
}

/// A `licenceaddin.conf` that has been read. Names of sections and keys are compared without
/// regard to case; `;` and `#` begin a comment only at the start of a line.
#[derive(Clone)]
pub struct Conf {
    path: PathBuf,
    ini: Ini,
}

/// Its values stay untold: one of them may be an access token.
impl fmt::Debug for Conf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conf").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Conf {
    /// Reads a text; `path` is what errors call it by.
    ///
    /// # Errors
    ///
    /// `EParams` when a section's bracket is not closed or a line has no name before `=`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ClientError> {
        let mut ini = Ini::new();
        ini.set_comment_symbols(&[';', '#']);
        ini.set_inline_comment_symbols(Some(&[]));
        let mut defaults = ini.defaults();
        // A `:` separates host from port here, never a name from its value.
        defaults.delimiters = vec!['='];
        ini.load_defaults(defaults);
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        ini.read(text.to_owned()).map_err(|why| {
            let path = path.display();
            ClientError::params(
                format!("Не удалось прочитать файл {path}: {why}"),
                format!("cannot read the file {path}: {why}"),
            )
        })?;
        Ok(Self { path: path.to_owned(), ini })
    }

    /// Reads a file; nothing when there is none. Text that is not UTF-8 can only matter in
    /// comments, so it is let pass.
    ///
    /// # Errors
    ///
    /// `EParams` when the file is there and cannot be read, is larger than [`CONF_BYTES_MAX`], or
    /// [`Self::parse`] refuses it.
    pub fn load(path: &Path) -> Result<Option<Self>, ClientError> {
        match read_bounded(path, CONF_BYTES_MAX) {
            Ok(Some(bytes)) => Self::parse(path, &String::from_utf8_lossy(&bytes)).map(Some),
            Ok(None) => Ok(None),
            Err(why) => Err(unreadable(path, &why)),
        }
    }

    /// The file that applies: the user's when `is_server` is false and it exists, else the common
    /// one. The two are never mixed.
    ///
    /// # Errors
    ///
    /// See [`Self::load`].
    pub fn find(paths: &ConfPaths, is_server: bool) -> Result<Option<Self>, ClientError> {
        if !is_server
            && let Some(user) = &paths.user
            && let Some(conf) = Self::load(user)?
        {
            return Ok(Some(conf));
        }
        Self::load(&paths.common)
    }

    /// What errors call the file by.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A value of a section; an empty one is there and empty.
    pub fn get(&self, section: &str, key: &str) -> Option<String> {
        self.ini.get(section, key)
    }

    /// A value of the series' section or, when that does not have it, of `[Common]`; with the name
    /// of the section it came from.
    fn layered(&self, series: KeySeries, key: &str) -> Option<(String, String)> {
        let own = series.to_string();
        for section in [own.as_str(), "Common"] {
            if let Some(value) = self.get(section, key) {
                return Some((section.to_owned(), value));
            }
        }
        None
    }

    fn bad_value(&self, section: &str, key: &str, value: &str, expected: [&str; 2]) -> ClientError {
        let path = self.path.display();
        ClientError::params(
            format!("Файл {path}, раздел [{section}], {key}={value}: ожидается {}", expected[0]),
            format!("file {path}, section [{section}], {key}={value}: expected {}", expected[1]),
        )
    }
}

/// What a connection string (`ПараметрыСвязи`) says. Each part may be missing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ConnectionString {
    /// `ServerAddr` or `host`.
    pub host: Option<String>,
    /// `ServerPort` or `port`.
    pub port: Option<u16>,
}

impl ConnectionString {
    /// Reads `ServerAddr=h;ServerPort=p` or the older `host=h;port=p`. Names are compared without
    /// regard to case, blanks around names, values and `;` do not matter, an empty value counts
    /// as missing, and parts with other names are let pass.
    ///
    /// # Errors
    ///
    /// `EParams` when a part has no `=`, the host is none or the port is not 1 to 65535.
    pub fn parse(text: &str) -> Result<Self, ClientError> {
        let mut read = Self::default();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((name, value)) = part.split_once('=') else {
                return Err(Self::bad(part));
            };
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            if value.is_empty() {
                continue;
            }
            match name.as_str() {
                "serveraddr" | "host" => {
                    let server = Server::new(value, DEFAULT_PORT).map_err(|_| Self::bad(part))?;
                    read.host = Some(server.host);
                }
                "serverport" | "port" => {
                    read.port = Some(parse_port(value).ok_or_else(|| Self::bad(part))?);
                }
                _ => {}
            }
        }
        Ok(read)
    }

    fn bad(part: &str) -> ClientError {
        let part: String = part.chars().take(100).collect();
        ClientError::params(
            format!(
                "Неверные параметры связи «{part}»: ожидается ServerAddr=адрес;ServerPort=порт"
            ),
            format!("bad connection string {part:?}: expected ServerAddr=host;ServerPort=port"),
        )
    }
}

/// What the rules come to for one series.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The servers, the first one first, then the reserve servers. Never empty.
    pub servers: Vec<Server>,
}

/// Applies the rules.
///
/// * Each value of the file is taken from the section of the series or, when it is not there,
///   from `[Common]`.
/// * Host and port come from the connection string part by part, what it leaves out from the
///   file, what that leaves out is `localhost` and 9099.
/// * `ForceUseConfig=1` makes the file win: the connection string is not looked at.
/// * Reserve servers come from the file only, whoever named the first one.
///
/// # Errors
///
/// `EParams` naming file, section, key and value, or the part of the connection string.
pub fn resolve(
    series: KeySeries,
    connection_string: Option<&str>,
    conf: Option<&Conf>,
) -> Result<Settings, ClientError> {
    let forced = match conf.and_then(|conf| Some((conf, conf.layered(series, "ForceUseConfig")?))) {
        None => false,
        Some((conf, (section, value))) => match value.trim() {
            "1" => true,
            "0" | "" => false,
            other => {
                let expected = ["0 или 1", "0 or 1"];
                return Err(conf.bad_value(&section, "ForceUseConfig", other, expected));
            }
        },
    };
    let said = match connection_string {
        Some(text) if !forced => ConnectionString::parse(text)?,
        Some(_) | None => ConnectionString::default(),
    };
    let filed = conf.map(|conf| from_file(series, conf)).transpose()?.unwrap_or_default();
    let host = said.host.or(filed.host).unwrap_or_else(|| DEFAULT_HOST.to_owned());
    let port = said.port.or(filed.port).unwrap_or(DEFAULT_PORT);
    let mut servers = vec![Server { host, port }];
    for reserve in filed.reserves {
        if !servers.contains(&reserve) {
            servers.push(reserve);
        }
    }
    Ok(Settings { servers })
}

#[derive(Default)]
struct Filed {
    host: Option<String>,
    port: Option<u16>,
    reserves: Vec<Server>,
}

fn from_file(series: KeySeries, conf: &Conf) -> Result<Filed, ClientError> {
    let mut filed = Filed::default();
    let given = |key| conf.layered(series, key).filter(|(_, value)| !value.trim().is_empty());
    if let Some((section, value)) = given("ServerAddr") {
        let server = Server::new(value.trim(), DEFAULT_PORT).map_err(|_| {
            let expected = ["имя компьютера или IP-адрес", "a host name or an IP address"];
            conf.bad_value(&section, "ServerAddr", &value, expected)
        })?;
        filed.host = Some(server.host);
    }
    if let Some((section, value)) = given("ServerPort") {
        let expected = ["число от 1 до 65535", "a number from 1 to 65535"];
        filed.port = Some(
            parse_port(value.trim())
                .ok_or_else(|| conf.bad_value(&section, "ServerPort", &value, expected))?,
        );
    }
    if let Some((section, value)) = given("ReservedServers") {
        for entry in value.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let expected = ["Addr1[:Port1],Addr2[:Port2],…", "Addr1[:Port1],Addr2[:Port2],…"];
            let server = entry
                .parse()
                .map_err(|_| conf.bad_value(&section, "ReservedServers", entry, expected))?;
            filed.reserves.push(server);
        }
        if filed.reserves.len() >= SERVERS_MAX {
            let expected = ["меньше 32 серверов", "fewer than 32 servers"];
            return Err(conf.bad_value(&section, "ReservedServers", "…", expected));
        }
    }
    Ok(filed)
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// The bytes of a file of at most `bytes_max`; nothing when there is no such file.
pub(crate) fn read_bounded(path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why),
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {bytes_max} bytes"),
        ));
    }
    Ok(Some(bytes))
}

/// A file that is there and cannot be read.
pub(crate) fn unreadable(path: &Path, why: &io::Error) -> ClientError {
    let path = path.display();
    ClientError::params(
        format!("Не удалось прочитать файл {path}: {why}"),
        format!("cannot read the file {path}: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SERIES: KeySeries = KeySeries::from_u16(0x672B);

    /// The manual's sample.
    const SAMPLE: &str = "\u{feff}[Common]\n\
        ; Установить в 1, чтобы игнорировать настройки, сделанные в конфигурации\n\
        ForceUseConfig=0\nServerAddr=localhost\nServerPort=9099\n\
        ReservedServers=\n\n[672B]\nForceUseConfig=1\nServerAddr=SERVER2\n\
        ServerPort=9099\nReservedServers=\n";

    fn check(conf: Option<&str>, string: Option<&str>, expected: &[&str]) {
        let conf = conf.map(|text| Conf::parse(Path::new("c.conf"), text).unwrap());
        let settings = resolve(SERIES, string, conf.as_ref()).unwrap();
        let shown: Vec<_> = settings.servers.iter().map(ToString::to_string).collect();
        assert_eq!(shown, expected, "{conf:?} {string:?}");
    }

    fn check_refused(conf: &str, string: Option<&str>, naming: &str) {
        let error = Conf::parse(Path::new("c.conf"), conf)
            .and_then(|conf| resolve(SERIES, string, Some(&conf)))
            .unwrap_err();
        assert_eq!(error.class(), "EParams");
        for language in [crate::Language::Russian, crate::Language::English] {
            let text = error.text(language);
            assert!(text.contains(naming), "{text} does not name {naming}");
        }
    }

    #[test]
    fn without_file_and_string_the_server_is_on_this_computer() {
        check(None, None, &["localhost:9099"]);
        check(Some(""), Some(""), &["localhost:9099"]);
    }

    #[test]
    fn connection_string_has_two_forms_and_each_part_is_optional() {
        for (string, server) in [
            ("ServerAddr=srv;ServerPort=9100", "srv:9100"),
            ("host=srv;port=9100", "srv:9100"),
            (" HOST = srv ; Port = 9100 ; ", "srv:9100"),
            ("host=localhost", "localhost:9099"),
            ("serverport=9100", "localhost:9100"),
            ("host=;port=", "localhost:9099"),
            ("host=srv;something=else", "srv:9099"),
            ("host=[::1];port=9100", "[::1]:9100"),
        ] {
            check(None, Some(string), &[server]);
        }
    }

    #[test]
    fn string_that_makes_no_sense_is_refused_by_name() {
        for (string, naming) in [
            ("srv", "srv"),
            ("port=x", "port=x"),
            ("port=0", "port=0"),
            ("port=65536", "port=65536"),
            ("port=+1", "port=+1"),
            ("host=http://srv", "host=http://srv"),
        ] {
            check_refused("", Some(string), naming);
        }
    }

    #[test]
    fn string_wins_over_the_file_part_by_part() {
        let conf = "[Common]\nServerAddr=filed\nServerPort=9200\n";
        check(Some(conf), None, &["filed:9200"]);
        check(Some(conf), Some("host=said"), &["said:9200"]);
        check(Some(conf), Some("port=9300"), &["filed:9300"]);
        check(Some(conf), Some("host=said;port=9300"), &["said:9300"]);
    }

    #[test]
    fn force_use_config_makes_the_file_win() {
        check(Some(SAMPLE), Some("host=said;port=1"), &["SERVER2:9099"]);
        let common = "[Common]\nForceUseConfig=1\nServerAddr=filed\n";
        check(Some(common), Some("host=said;port=1"), &["filed:9099"]);
        check(Some(common), Some("even nonsense is not looked at"), &["filed:9099"]);
        let series_says_no = format!("{common}[672b]\nforceuseconfig = 0\n");
        check(Some(&series_says_no), Some("host=said"), &["said:9099"]);
        let other_series = "[4BFE]\nForceUseConfig=1\nServerAddr=other\n";
        check(Some(other_series), Some("host=said"), &["said:9099"]);
    }

    #[test]
    fn series_section_wins_over_common_value_by_value() {
        let conf = "[Common]\nServerAddr=a\nServerPort=9200\nReservedServers=r1\n\
                    [672B]\nServerAddr=b\n";
        check(Some(conf), None, &["b:9200", "r1:9099"]);
        let emptied = format!("{conf}ReservedServers=\n");
        check(Some(&emptied), None, &["b:9200"]);
    }

    #[test]
    fn reserve_servers_follow_in_order_whoever_named_the_first() {
        let conf = "[Common]\nServerAddr=a\nReservedServers= r1:9100 , r2,[::1]:7,a,,r2\n";
        check(Some(conf), None, &["a:9099", "r1:9100", "r2:9099", "[::1]:7"]);
        let said = ["said:9099", "r1:9100", "r2:9099", "[::1]:7", "a:9099"];
        check(Some(conf), Some("host=said"), &said);
    }

    #[test]
    fn wrong_value_names_file_section_key_and_value() {
        for (conf, naming) in [
            ("[Common]\nServerPort=x\n", "c.conf"),
            ("[Common]\nServerPort=x\n", "[Common], ServerPort=x"),
            ("[672B]\nForceUseConfig=да\n", "[672B], ForceUseConfig=да"),
            ("[Common]\nServerAddr=a b\n", "ServerAddr=a b"),
            ("[Common]\nReservedServers=a,b:x\n", "ReservedServers=b:x"),
            ("[Common\nServerPort=1\n", "c.conf"),
        ] {
            check_refused(conf, None, naming);
        }
    }

    #[test]
    fn comments_stand_on_lines_of_their_own() {
        check(Some("# c\n[Common]\n;ServerAddr=x\nServerAddr=y\n"), None, &["y:9099"]);
    }

    #[test]
    fn server_process_never_looks_at_the_users_file() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ConfPaths {
            user: Some(folder.path().join("user.conf")),
            common: folder.path().join("common.conf"),
        };
        let host = |is_server| {
            let conf = Conf::find(&paths, is_server).unwrap();
            resolve(SERIES, None, conf.as_ref()).unwrap().servers[0].host.clone()
        };
        assert_eq!((host(false), host(true)), ("localhost".into(), "localhost".into()));
        std::fs::write(&paths.common, "[Common]\nServerAddr=common\n").unwrap();
        assert_eq!((host(false), host(true)), ("common".into(), "common".into()));
        std::fs::write(paths.user.as_ref().unwrap(), "[Common]\nServerAddr=user\n").unwrap();
        assert_eq!((host(false), host(true)), ("user".into(), "common".into()));
        std::fs::write(paths.user.as_ref().unwrap(), "[Common]\nServerPort=1\n").unwrap();
        assert_eq!(host(false), "localhost", "the two files are never mixed");
        std::fs::write(&paths.common, vec![b'#'; CONF_BYTES_MAX + 1]).unwrap();
        assert_eq!(Conf::find(&paths, true).unwrap_err().class(), "EParams");
    }

    proptest! {
        #[test]
        fn any_text_is_settings_or_refused(conf in "(\\PC|\n){0,80}", string in "\\PC{0,40}") {
            if let Ok(conf) = Conf::parse(Path::new("c.conf"), &conf)
                && let Ok(settings) = resolve(SERIES, Some(&string), Some(&conf))
            {
                prop_assert!(!settings.servers.is_empty());
            }
        }
    }
}
