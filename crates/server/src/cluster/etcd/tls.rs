//! TLS to etcd: which authorities are trusted, and which certificate is shown.
//!
//! Files are read once, when the client is made. Names are always verified; there is no switch that
//! turns that off.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use licence_core::language::Language;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::EtcdConfig;

/// Largest PEM file that is read, in bytes: a bundle of all public authorities is a fifth of it.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// Why the files of TLS cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("reading {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is larger than a PEM file needs to be.
    #[error("{path} is larger than {bytes_max} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        bytes_max: u64,
    },
    /// A file holds no certificate in PEM.
    #[error("{0} holds no certificate in PEM that can be used")]
    NoCertificate(PathBuf),
    /// A file holds no private key in PEM.
    #[error("{0} holds no private key in PEM that can be used")]
    NoKey(PathBuf),
    /// One of certificate and key is named, the other is not.
    #[error("[Cluster] Certificate and Key belong together; one of them is missing")]
    Half,
    /// Certificate and key do not fit together, or are of a kind that is not supported.
    #[error("the certificate and the key for etcd cannot be used together")]
    Pair(#[source] rustls::Error),
    /// The system names no authority, and the settings name none either.
    #[error(
        "no authority is known by which a certificate of etcd could be verified; set [Cluster] CA"
    )]
    NoAuthorities,
}

impl TlsError {
    /// The whole text, with its cause.
    pub fn text(&self, language: Language) -> String {
        let english = licence_core::causes::with_causes(self);
        language.pick(&self.russian(), &english).to_owned()
    }

    fn russian(&self) -> String {
        match self {
            Self::Read { path, source } => {
                format!("{}: файл не читается: {source}", path.display())
            }
            Self::TooLarge { path, bytes_max } => {
                format!("{}: файл больше {bytes_max} байт", path.display())
            }
            Self::NoCertificate(path) => {
                format!("{}: нет сертификата в формате PEM", path.display())
            }
            Self::NoKey(path) => {
                format!("{}: нет закрытого ключа в формате PEM", path.display())
            }
            Self::Half => {
                "[Cluster] Certificate и Key задаются вместе; одного из них нет".to_owned()
            }
            Self::Pair(why) => {
                format!("сертификат и ключ для etcd не подходят друг к другу: {why}")
            }
            Self::NoAuthorities => "не известен ни один центр сертификации, по которому можно \
                                    проверить сертификат etcd; задайте [Cluster] CA"
                .to_owned(),
        }
    }
}

/// What connections to `https` endpoints are made with; nothing when there are none.
pub(super) fn client_config(config: &EtcdConfig) -> Result<Option<Arc<ClientConfig>>, TlsError> {
    if !config.endpoints.iter().any(super::Endpoint::is_tls) {
        return Ok(None);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Pair)?
        .with_root_certificates(authorities(config.ca.as_deref())?);
    let mut tls = match (&config.certificate, &config.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_slice(&read(key)?)
                .map_err(|_| TlsError::NoKey(key.clone()))?;
            builder.with_client_auth_cert(chain, key).map_err(TlsError::Pair)?
        }
        (Some(_), None) | (None, Some(_)) => return Err(TlsError::Half),
    };
    // Told HTTP/2, etcd would hand the connection to its gRPC side.
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(Arc::new(tls)))
}

/// Those of the file alone when there is one: an etcd of a company has an authority of its own, and no
/// public one shall be able to vouch for it.
fn authorities(file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    match file {
        Some(path) => {
            for certificate in certificates(path)? {
                let added = store.add(certificate);
                added.map_err(|_| TlsError::NoCertificate(path.to_owned()))?;
            }
        }
        None => {
            let system = rustls_native_certs::load_native_certs().certs;
            let (_added, _unusable) = store.add_parsable_certificates(system);
        }
    }
    if store.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(store) }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(TlsError::NoCertificate(path.to_owned())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read;
    let failed = |source| TlsError::Read { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let length = file.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if length as u64 > PEM_BYTES_MAX {
        return Err(TlsError::TooLarge { path: path.to_owned(), bytes_max: PEM_BYTES_MAX });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::etcd::TIMEOUT_DEFAULT;

    fn config(endpoint: &str) -> EtcdConfig {
        EtcdConfig {
            endpoints: vec![endpoint.parse().unwrap()],
            ca: None,
            certificate: None,
            key: None,
            user: None,
            password: None,
            timeout: TIMEOUT_DEFAULT,
        }
    }

    fn pem(label: &str, der: &[u8]) -> String {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    }

    #[test]
    fn files_that_cannot_be_used_are_named_in_both_languages() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| Some(folder.path().join(name));
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["etcd".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let good = pem("CERTIFICATE", certificate.der());
        std::fs::write(folder.path().join("good.pem"), good).unwrap();
        let good = pem("PRIVATE KEY", &key.serialize_der());
        std::fs::write(folder.path().join("good.key"), good).unwrap();
        std::fs::write(folder.path().join("text"), "no certificate").unwrap();
        std::fs::write(folder.path().join("big"), vec![b' '; 1024 * 1024 + 1]).unwrap();
        type Set = fn(&mut EtcdConfig, Option<PathBuf>);
        let ca: Set = |config, path| config.ca = path;
        let certificate: Set = |config, path| {
            config.key = path.as_ref().map(|path| path.with_file_name("good.key"));
            config.certificate = path;
        };
        let key: Set = |config, path| {
            config.certificate = path.as_ref().map(|path| path.with_file_name("good.pem"));
            config.key = path;
        };
        let half: Set = |config, path| config.certificate = path;
        for (set, name, english, russian) in [
            (ca, "none", "reading", "не читается"),
            (ca, "text", "no certificate", "нет сертификата"),
            (ca, "big", "larger than", "больше"),
            (certificate, "text", "no certificate", "нет сертификата"),
            (key, "text", "no private key", "нет закрытого ключа"),
            (half, "good.pem", "belong together", "вместе"),
        ] {
            let mut config = config("https://a");
            config.ca = path("good.pem");
            set(&mut config, path(name));
            let error = client_config(&config).unwrap_err();
            assert!(error.text(Language::English).contains(english), "{name}: {error}");
            assert!(error.text(Language::Russian).contains(russian), "{name}: {error}");
        }
        let mut good = config("https://a");
        (good.ca, good.certificate, good.key) =
            (path("good.pem"), path("good.pem"), path("good.key"));
        assert!(client_config(&good).unwrap().is_some());
    }

    #[test]
    fn plain_endpoints_need_no_file() {
        assert!(client_config(&config("http://a")).unwrap().is_none());
    }
}
