//! `[Cluster]`: the cluster that this server is a node of, and how etcd is reached.
//!
//! Types and their checks. Everything here comes from the file alone: whoever may change settings
//! over REST shall not be able to point a server at another etcd.

use std::path::{Path, PathBuf};
use std::time::Duration;

use licence_core::cluster::ClusterId;

use super::source::{Reader, expected};
use super::{ConfigError, Hidden};
use crate::cluster::etcd::{Endpoint, EtcdConfig};

/// Most endpoints: etcd itself advises at most seven members.
const ENDPOINTS_MAX: usize = 9;

/// Seconds that one call of etcd may take when nothing else is said.
const TIMEOUT_SECS: u64 = 2;

/// `[Cluster]`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClusterSettings {
    /// `Id`: the cluster; nothing for a server that stands alone.
    pub id: Option<ClusterId>,
    /// `Endpoints`: where etcd is.
    pub endpoints: Vec<Endpoint>,
    /// `CA`: PEM file of authorities that vouch for etcd, instead of those of the system.
    pub ca: Option<PathBuf>,
    /// `Certificate`: PEM file of the certificate that is shown to etcd.
    pub certificate: Option<PathBuf>,
    /// `Key`: PEM file of its key.
    pub key: Option<PathBuf>,
    /// `User` of etcd.
    pub user: Option<String>,
    /// `Password` of that user.
    pub password: Option<Hidden>,
    /// `Name`: what people call this node; nothing for the computer's name.
    pub name: Option<String>,
    /// `Addresses`: where components reach this node; nothing for the computer's name and port.
    pub addresses: Vec<String>,
    /// `Timeout`: seconds that one call may take.
    pub timeout_secs: u64,
}

impl ClusterSettings {
    pub(super) fn read(read: &Reader<'_>) -> Result<Self, ConfigError> {
        let id = read.value(
            "Cluster",
            "Id",
            expected(
                "32 hex digits, as `licenceserver cluster init` wrote them",
                "32 шестнадцатеричные цифры, записанные командой licenceserver cluster init",
            ),
            |text| text.parse().ok(),
        )?;
        let endpoints = read.list(
            "Cluster",
            "Endpoints",
            expected(
                "addresses such as https://etcd1:2379, separated by commas, at most nine",
                "адреса вида https://etcd1:2379 через запятую, не больше девяти",
            ),
            |text| text.parse().ok(),
        )?;
        let too_many = endpoints.len() > ENDPOINTS_MAX;
        let mixed = endpoints.iter().any(|one: &Endpoint| one.is_tls() != endpoints[0].is_tls());
        if too_many || mixed || (id.is_some() && endpoints.is_empty()) {
            let shown: Vec<String> = endpoints.iter().map(Endpoint::to_string).collect();
            return Err(read.wrong(
                "Cluster",
                "Endpoints",
                &shown.join(","),
                expected(
                    "one to nine addresses of etcd, all http or all https",
                    "от одного до девяти адресов etcd, все http или все https",
                ),
            ));
        }
        let file = |key| {
            read.value("Cluster", key, expected("a file name", "имя файла"), |text| {
                Some(PathBuf::from(text))
            })
        };
        let (certificate, key) = (file("Certificate")?, file("Key")?);
        if certificate.is_some() != key.is_some() {
            let missing = if key.is_none() { "Key" } else { "Certificate" };
            return Err(read.wrong(
                "Cluster",
                missing,
                "",
                expected(
                    "Certificate and Key together, or neither",
                    "Certificate и Key вместе или ни одного",
                ),
            ));
        }
        let text = |key| {
            read.value("Cluster", key, expected("a text", "текст"), |text| {
                Some(text.to_owned())
            })
        };
        let (user, password) = (text("User")?, text("Password")?.map(Hidden));
        if user.is_some() != password.is_some() {
            let missing = if user.is_none() { "User" } else { "Password" };
            return Err(read.wrong(
                "Cluster",
                missing,
                "",
                expected(
                    "User and Password together, or neither",
                    "User и Password вместе или ни одного",
                ),
            ));
        }
        let addresses = read.list(
            "Cluster",
            "Addresses",
            expected("host:port, separated by commas", "узел:порт через запятую"),
            address,
        )?;
        let timeout_secs = read.value(
            "Cluster",
            "Timeout",
            expected("seconds from 1 to 10", "секунды от 1 до 10"),
            |text| text.parse().ok().filter(|secs| (1..=10).contains(secs)),
        )?;
        Ok(Self {
            id,
            endpoints,
            ca: file("CA")?,
            certificate,
            key,
            user,
            password,
            name: text("Name")?,
            addresses,
            timeout_secs: timeout_secs.unwrap_or(TIMEOUT_SECS),
        })
    }

    /// How etcd is reached; names of files count from `folder`.
    pub fn etcd(&self, folder: &Path) -> EtcdConfig {
        let file = |path: &Option<PathBuf>| path.as_ref().map(|path| folder.join(path));
        EtcdConfig {
            endpoints: self.endpoints.clone(),
            ca: file(&self.ca),
            certificate: file(&self.certificate),
            key: file(&self.key),
            user: self.user.clone(),
            password: self.password.clone(),
            timeout: Duration::from_secs(self.timeout_secs),
        }
    }
}

/// `host:port`, as an address of etcd without its scheme.
fn address(text: &str) -> Option<String> {
    let endpoint: Endpoint = format!("http://{text}").parse().ok()?;
    let has_port = text.rsplit(':').next().is_some_and(|port| port.parse() == Ok(endpoint.port()));
    has_port.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, IniSource};

    fn read(text: &str) -> Result<ClusterSettings, String> {
        let source = IniSource::parse(Path::new("x"), format!("[Cluster]\n{text}").into()).unwrap();
        let config = Config::from_source(&source);
        config.map(|config| config.cluster).map_err(|error| error.to_string())
    }

    #[test]
    fn server_stands_alone_by_default() {
        let cluster = read("").unwrap();
        assert!(cluster.id.is_none() && cluster.endpoints.is_empty());
        assert_eq!(cluster.timeout_secs, TIMEOUT_SECS);
    }

    #[test]
    fn what_does_not_belong_together_is_named_and_a_password_never_repeated() {
        let id = "Id=0123456789abcdef0123456789ABCDEF\n";
        for (text, named) in [
            (id.to_owned(), "Endpoints"),
            (format!("{id}Endpoints=https://a,http://b\n"), "Endpoints"),
            (format!("{id}Endpoints=https://a\nUser=licence\n"), "Password"),
            (format!("{id}Endpoints=https://a\nPassword=hunter2\n"), "User"),
            (format!("{id}Endpoints=https://a\nCertificate=a.pem\n"), "Key"),
            (format!("{id}Endpoints=https://a\nTimeout=0\n"), "Timeout"),
            (format!("{id}Endpoints=https://a\nAddresses=host\n"), "Addresses"),
            ("Id=12\n".to_owned(), "Id"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(named) && !error.contains("hunter2"), "{text}: {error}");
        }
        let good = format!("{id}Endpoints=https://a\nUser=licence\nPassword=hunter2\n");
        let cluster = read(&good).unwrap();
        assert!(cluster.id.is_some() && !format!("{cluster:?}").contains("hunter2"));
    }
}
