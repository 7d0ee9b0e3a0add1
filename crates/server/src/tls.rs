//! TLS: which certificate a connection is shown.
//!
//! A component is shown a certificate of the identity of this installation: nobody is asked to
//! trust it as such, a component compares its key with the key that a genuine licence is bound to.
//! Browsers know no certificate of that kind, so everybody else is shown the one that the
//! administrator gave (`[TLS] Certificate`, `Key`), or a self-signed one that is made once. A given
//! certificate that cannot be used stops nothing: the last good one stays, and the problem is
//! told. Which connections speak TLS is decided in [`crate::net`].

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use licence_core::causes::with_causes;
use licence_core::language::Language;
use licence_core::seal::sha256;
use licence_core::time::Utc;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::SignatureScheme;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;

use crate::api::App;
use crate::atomic_file;
use crate::certificate::{not_after, spki_digest};
use crate::clock;
use crate::config::TlsSettings;
use crate::identity::Identity;

/// Largest file of a certificate or a key, in bytes: a chain of some hundred.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// How often the given files are looked at, in seconds: a certificate is renewed days before it
/// ends.
const LOOK_SECS: u64 = 60;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate could not be made.
    #[error("making the certificate")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refuses the certificate or the key.
    #[error("setting up TLS")]
    Setup(#[from] rustls::Error),
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("{0} has no certificate in PEM")]
    NoCertificate(PathBuf),
    #[error("{0} is not a plain file")]
    NotPlain(PathBuf),
    #[error("{0} has no private key in PEM")]
    NoKey(PathBuf),
    #[error("{path} has expired at {end}")]
    Expired { path: PathBuf, end: Utc },
    #[error("reading {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} and its key do not go together")]
    Unusable {
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("[TLS] Certificate and Key must both be set")]
    Half,
}

impl FileError {
    fn russian(&self) -> String {
        match self {
            Self::NoCertificate(path) => {
                format!("в файле {} нет сертификата в формате PEM", path.display())
            }
            Self::NotPlain(path) => format!("{} не является обычным файлом", path.display()),
            Self::NoKey(path) => {
                format!("в файле {} нет закрытого ключа в формате PEM", path.display())
            }
            Self::Expired { path, end } => {
                format!("срок действия сертификата {} истёк {end}", path.display())
            }
            Self::Read { path, source } => {
                format!("не удалось прочитать файл {}: {source}", path.display())
            }
            Self::Unusable { path, source } => {
                format!("сертификат {} не подходит к своему ключу: {source}", path.display())
            }
            Self::Half => "[TLS] Certificate и Key задаются вместе".to_owned(),
        }
    }
}

/// The certificates of this server.
#[derive(Debug)]
pub struct Certificates {
    component: Arc<CertifiedKey>,
    own: Arc<CertifiedKey>,
    given: RwLock<Given>,
}

/// What came of the administrator's certificate.
#[derive(Debug, Default)]
struct Given {
    /// The last good one.
    key: Option<Arc<CertifiedKey>>,
    /// Why the files are not the one in use: Russian, English.
    problem: Option<(String, String)>,
    /// Digest of what was seen last.
    seen: Option<[u8; 32]>,
}

impl Certificates {
    /// The certificate of the identity, and the self-signed one kept in `file`, which is made when
    /// it is not there. A file that cannot be read or written costs only its permanence.
    ///
    /// # Errors
    ///
    /// See [`TlsError`].
    pub fn load_or_make(
        identity: &Identity,
        names: &[String],
        file: &Path,
    ) -> Result<Self, TlsError> {
        let own = match read(file) {
            Ok(pem) => certified(&pem, &pem, file, file)
                .inspect_err(|error| {
                    let text = with_causes(error);
                    log::error!("{text}; a certificate for this run is made in its place");
                })
                .ok(),
            Err(FileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                log::error!("{}", with_causes(&error));
                None
            }
        };
        let own = match own {
            Some(own) => own,
            None => {
                let (key, pem) = self_signed(names)?;
                // A file that is there and broken is left alone: it may be somebody's mistake.
                if let Err(error) = atomic_file::make(file, pem.as_bytes()) {
                    log::warn!("{}: the certificate is not kept: {error}", file.display());
                }
                key
            }
        };
        let component = Arc::new(component_key(identity, names)?);
        Ok(Self { component, own: Arc::new(own), given: RwLock::default() })
    }

    /// As [`Self::load_or_make`], with a self-signed certificate that nothing keeps.
    ///
    /// # Errors
    ///
    /// See [`TlsError`].
    pub fn make(identity: &Identity, names: &[String]) -> Result<Self, TlsError> {
        let (own, _) = self_signed(names)?;
        let component = Arc::new(component_key(identity, names)?);
        Ok(Self { component, own: Arc::new(own), given: RwLock::default() })
    }

    /// Looks at the given files and takes a changed certificate up; `folder` is where relative
    /// names begin. Reads from the disk.
    pub fn refresh(&self, settings: &TlsSettings, folder: &Path, now: Utc) {
        let (seen, loaded) = look(settings, folder, now);
        let mut given = self.given.write().unwrap_or_else(PoisonError::into_inner);
        if given.seen == Some(seen) {
            return;
        }
        given.seen = Some(seen);
        match loaded {
            Ok(None) => {
                given.key = None;
                given.problem = None;
            }
            Ok(Some(key)) => {
                log::info!("browsers are shown the certificate of [TLS] Certificate");
                given.key = Some(Arc::new(key));
                given.problem = None;
            }
            Err(error) => {
                let english = with_causes(&error);
                let instead = if given.key.is_some() { "the last good" } else { "a self-signed" };
                log::error!("{english}; {instead} certificate is shown to browsers");
                given.problem = Some((error.russian(), english));
            }
        }
    }

    /// Why the certificate that the administrator gave is not in use, if so.
    pub fn problem(&self, language: Language) -> Option<String> {
        let given = self.given.read().unwrap_or_else(PoisonError::into_inner);
        given.problem.as_ref().map(|(russian, english)| language.pick(russian, english).to_owned())
    }

    /// The pin of the key that components and reserve servers are shown: base64url of the SHA-256 of its
    /// `SubjectPublicKeyInfo`.
    pub fn pin(&self) -> Option<String> {
        let digest = spki_digest(self.component.cert.first()?)?;
        Some(URL_SAFE_NO_PAD.encode(digest))
    }

    /// TLS by these certificates: 1.3, and 1.2 for the browsers of old servers.
    ///
    /// # Errors
    ///
    /// See [`TlsError`].
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // A component takes Ed25519 and nothing else; no browser does.
        if hello.signature_schemes() == [SignatureScheme::ED25519] {
            return Some(Arc::clone(&self.component));
        }
        let given = self.given.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(given.key.as_ref().unwrap_or(&self.own)))
    }
}

/// TLS with a certificate of the identity and a self-signed one, for `names` and `localhost`.
///
/// # Errors
///
/// See [`TlsError`].
pub fn server_config(identity: &Identity, names: &[String]) -> Result<Arc<ServerConfig>, TlsError> {
    Arc::new(Certificates::make(identity, names)?).server_config()
}

/// Looks at the given files now and then, for as long as it is let run.
pub async fn watch(app: Arc<App>) {
    loop {
        tokio::time::sleep(Duration::from_secs(LOOK_SECS)).await;
        let app = Arc::clone(&app);
        let looked = tokio::task::spawn_blocking(move || {
            let settings = &app.settings.get().parts.tls;
            app.certificates.refresh(settings, &app.paths.settings(), clock::utc());
        });
        if let Err(error) = looked.await {
            log::warn!("the certificate was not looked at: {error}");
        }
    }
}

fn component_key(identity: &Identity, names: &[String]) -> Result<CertifiedKey, TlsError> {
    let der = identity.pkcs8();
    let key_pair = KeyPair::try_from(&PrivatePkcs8KeyDer::from(der.as_slice()))?;
    let certificate = params(names)?.self_signed(&key_pair)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der));
    Ok(CertifiedKey::from_der(vec![certificate.der().clone()], key, &provider())?)
}

/// A key of the kind that every browser knows, its certificate, and both in PEM.
fn self_signed(names: &[String]) -> Result<(CertifiedKey, String), TlsError> {
    let key_pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = params(names)?.self_signed(&key_pair)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key_pair.serialize_der()));
    let certified = CertifiedKey::from_der(vec![certificate.der().clone()], key, &provider())?;
    let key = pem("PRIVATE KEY", &key_pair.serialize_der());
    Ok((certified, key + &pem("CERTIFICATE", certificate.der())))
}

/// The textual form of DER (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    const LINE_CHARS: usize = 64;
    let mut text = format!("-----BEGIN {label}-----\n");
    let encoded = STANDARD.encode(der);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE_CHARS));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text + &format!("-----END {label}-----\n")
}

fn params(names: &[String]) -> Result<CertificateParams, rcgen::Error> {
    // Names are for people who look at the certificate; one that is no host name is left out.
    let names: Vec<String> = names
        .iter()
        .map(String::as_str)
        .chain(["localhost", "127.0.0.1", "::1"])
        .filter(|name| !name.is_empty() && name.is_ascii())
        .map(str::to_owned)
        .collect();
    let mut params = CertificateParams::new(names)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, "licenceserver");
    params.distinguished_name = subject;
    Ok(params)
}

fn provider() -> CryptoProvider {
    ring::default_provider()
}

type Looked = Result<Option<CertifiedKey>, FileError>;

/// What the given files are, and a digest that changes with them.
fn look(settings: &TlsSettings, folder: &Path, now: Utc) -> ([u8; 32], Looked) {
    let (certificate, key) = match (&settings.certificate, &settings.key) {
        (None, None) => return ([0; 32], Ok(None)),
        (Some(certificate), Some(key)) => (folder.join(certificate), folder.join(key)),
        _ => return ([1; 32], Err(FileError::Half)),
    };
    let (chain, secret) = match (read(&certificate), read(&key)) {
        (Ok(chain), Ok(secret)) => (chain, secret),
        (Err(error), _) | (_, Err(error)) => {
            return (sha256(with_causes(&error).as_bytes()), Err(error));
        }
    };
    let loaded = certified(&chain, &secret, &certificate, &key).and_then(|key| {
        let end = key.cert.first().and_then(|first| not_after(first));
        match end {
            Some(end) if end <= now => Err(FileError::Expired { path: certificate, end }),
            _ => Ok(Some(key)),
        }
    });
    // The end of its term is a change as well.
    let is_over = matches!(loaded, Err(FileError::Expired { .. }));
    let parts = [sha256(&chain), sha256(&secret), [u8::from(is_over); 32]];
    (sha256(&parts.concat()), loaded)
}

fn certified(
    chain: &[u8],
    secret: &[u8],
    chain_path: &Path,
    key_path: &Path,
) -> Result<CertifiedKey, FileError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|_| FileError::NoCertificate(chain_path.to_owned()))?;
    if certificates.is_empty() {
        return Err(FileError::NoCertificate(chain_path.to_owned()));
    }
    let secret =
        PrivateKeyDer::from_pem_slice(secret).map_err(|_| FileError::NoKey(key_path.to_owned()))?;
    CertifiedKey::from_der(certificates, secret, &provider())
        .map_err(|source| FileError::Unusable { path: chain_path.to_owned(), source })
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    // Opening a pipe would wait for whoever writes to it.
    let is_plain = std::fs::metadata(path).map(|found| found.is_file());
    if matches!(is_plain, Ok(false)) {
        return Err(FileError::NotPlain(path.to_owned()));
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(PEM_BYTES_MAX).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|source| FileError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn identity() -> Identity {
        Identity::from_seed([7; 32])
    }

    fn settings(certificate: &str, key: &str) -> TlsSettings {
        let path = |name: &str| (!name.is_empty()).then(|| PathBuf::from(name));
        TlsSettings { certificate: path(certificate), key: path(key), require_tls: false }
    }

    fn made(year: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["lic.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let chain = pem("CERTIFICATE", params.self_signed(&key).unwrap().der());
        (chain, pem("PRIVATE KEY", &key.serialize_der()))
    }

    fn given(certificates: &Certificates) -> Option<Vec<u8>> {
        let given = certificates.given.read().unwrap();
        given.key.as_ref().map(|key| key.cert[0].to_vec())
    }

    #[test]
    fn certificate_is_made_for_any_computer_name() {
        for name in ["MORA-HP", "", "сервер", "a b", "host.example"] {
            assert!(server_config(&identity(), &[name.to_owned()]).is_ok(), "{name}");
        }
    }

    #[test]
    fn self_signed_certificate_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tls.pem");
        let load = || Certificates::load_or_make(&identity(), &[], &file).unwrap();
        let (made, found) = (load(), load());
        assert_eq!(made.own.cert, found.own.cert);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::write(&file, "broken").unwrap();
        assert_ne!(load().own.cert, found.own.cert);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "broken", "it is left alone");
    }

    #[test]
    fn given_certificate_is_taken_up_and_a_broken_one_leaves_the_last_good_one() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let certificates = Certificates::make(&identity(), &[]).unwrap();
        let wanted = settings("site.crt", "site.key");
        let refresh = |at: &str| certificates.refresh(&wanted, dir.path(), at.parse().unwrap());
        let problem = || certificates.problem(Language::English).unwrap_or_default();

        refresh(NOW);
        assert!(problem().contains("site.crt") && given(&certificates).is_none(), "{}", problem());
        assert!(certificates.problem(Language::Russian).unwrap().contains("не удалось"));

        let (chain, key) = made(2030);
        write("site.crt", &chain);
        write("site.key", &key);
        refresh(NOW);
        assert_eq!(problem(), "");
        let good = given(&certificates);
        assert!(good.is_some());

        for (broken_chain, broken_key, expected) in [
            ("", key.as_str(), "no certificate"),
            ("-----BEGIN CERTIFICATE-----\n!\n", key.as_str(), "no certificate"),
            (chain.as_str(), "", "no private key"),
            (chain.as_str(), &made(2030).1, "do not go together"),
            (&made(2030).0, key.as_str(), "do not go together"),
        ] {
            write("site.crt", broken_chain);
            write("site.key", broken_key);
            refresh(NOW);
            assert!(problem().contains(expected), "{expected}: {}", problem());
            assert_eq!(given(&certificates), good, "{expected}");
        }

        write("site.crt", &chain);
        write("site.key", &key);
        refresh(NOW);
        assert_eq!(problem(), "");
        refresh("2031-01-01T00:00:00Z");
        assert!(problem().contains("expired"), "{}", problem());

        certificates.refresh(&settings("", ""), dir.path(), NOW.parse().unwrap());
        assert!(problem().is_empty() && given(&certificates).is_none());
        certificates.refresh(&settings("site.crt", ""), dir.path(), NOW.parse().unwrap());
        assert!(problem().contains("both"), "{}", problem());
    }

    #[test]
    fn expired_certificate_is_not_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        let (chain, key) = made(2020);
        std::fs::write(dir.path().join("both.pem"), chain + &key).unwrap();
        let certificates = Certificates::make(&identity(), &[]).unwrap();
        let wanted = settings("both.pem", "both.pem");
        certificates.refresh(&wanted, dir.path(), NOW.parse().unwrap());
        assert!(given(&certificates).is_none());
        assert!(certificates.problem(Language::English).unwrap().contains("2020-01-01"));
    }
}
