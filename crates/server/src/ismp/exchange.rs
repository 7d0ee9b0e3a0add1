//! Calls of the service: one challenge, one sign-in, bounded in time and size.
//!
//! What is sent and what an answer means stands in `licence_ismp::exchange`; whether it may be sent
//! is decided by [`super::refresh`]. A sign-in is never repeated: a challenge is good for one, and a
//! second sign-in for an installation of СУЗ ends the token of the first.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::StatusCode;
use licence_core::time::Utc;
use licence_ismp::StoreKey;
use licence_ismp::book::{Exchanged, Given, Text};
use licence_ismp::directory::FormatWish;
use licence_ismp::exchange::{self, Base, CHALLENGE_PATH, Challenge};
use licence_ismp::record::{Source, Who};
use licence_ismp::validity::end_of;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::texts::{joined, text};
use crate::activate::{has_not_left, http_date, proxy_of};
use crate::api::VERSION;
use crate::clock;
use crate::config::{Addresses, Config};

/// How long one call may take: 1C gives the service as much, and its own time-out for a sign-in of
/// СУЗ comes after 30 s.
const CALL_SECS_MAX: u64 = 60;

/// How long a connection may take to come about.
const CONNECT_SECS_MAX: u64 = 10;

/// Largest answer, in bytes: an answer has some KiB, a page of a proxy more.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// Largest file of authorities, in bytes.
const CA_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A way to a contour of the service.
#[derive(Clone, Debug)]
pub struct Service {
    addresses: Addresses,
    agent: ureq::Agent,
}

/// What is exchanged.
#[derive(Clone)]
pub struct SignIn {
    /// For which key.
    pub key: StoreKey,
    /// In which form.
    pub wish: FormatWish,
    /// Id of the challenge.
    pub id: String,
    /// The signature, base64 without line breaks.
    pub signature: String,
    /// The moment at which all keys for cash desks end.
    pub retail_end: Option<Utc>,
    /// Who signed.
    pub source: Source,
    /// Who brought it.
    pub who: Who,
    /// What is odd about the signature.
    pub warning: Option<Text>,
}

impl std::fmt::Debug for SignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignIn({})", self.key)
    }
}

/// An answer that was read whole.
struct Answered {
    status: StatusCode,
    /// When the service says that it has answered.
    date: Option<Utc>,
    body: Vec<u8>,
}

/// Why there is no answer.
struct Failed {
    why: String,
    /// Whether nothing of the call can have reached the service.
    is_undone: bool,
}

impl Service {
    /// The way to these addresses, by the settings. `folder` is the one of the settings. Blocks on
    /// the disk.
    ///
    /// # Errors
    ///
    /// When the file of authorities cannot be used.
    pub fn of(config: &Config, addresses: &Addresses, folder: &Path) -> Result<Self, Text> {
        let ismp = &config.ismp;
        let proxy = match &ismp.proxy {
            Some(proxy) => proxy_of(proxy),
            None if ismp.use_proxy => ureq::Proxy::try_from_env(),
            None => None,
        };
        let mut tls = TlsConfig::builder();
        if let Some(file) = &ismp.extra_ca {
            let file = folder.join(file);
            tls = tls.root_certs(roots(&file).map_err(|why| no_authorities(&file, &why))?);
        }
        let agent = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(CONNECT_SECS_MAX)))
            .timeout_global(Some(Duration::from_secs(CALL_SECS_MAX)))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(0)
            .proxy(proxy)
            .tls_config(tls.build())
            .user_agent(format!("licenceserver/{VERSION}"))
            .build()
            .new_agent();
        Ok(Self { addresses: addresses.clone(), agent })
    }

    /// Asks for a challenge; once more when the first question surely was not answered. Blocks.
    ///
    /// # Errors
    ///
    /// What people are told: address, code and text of the service.
    pub fn challenge(&self) -> Result<Challenge, Text> {
        let address = format!("{}{CHALLENGE_PATH}", self.addresses.true_api);
        let ask = || read(with_headers(self.agent.get(&address)).call());
        let answered = match ask() {
            Err(failed) if failed.is_undone => ask(),
            Ok(answered) if answered.status == StatusCode::SERVICE_UNAVAILABLE => ask(),
            answered => answered,
        };
        let answered = answered.map_err(|failed| not_sent(&address, &failed.why))?;
        if answered.status != StatusCode::OK {
            return Err(refusal(&address, &answered).0);
        }
        exchange::challenge(&answered.body).map_err(|error| unusable(&address, &error))
    }

    /// Exchanges a signature for a key. Blocks.
    pub fn sign_in(&self, sign_in: SignIn) -> Exchanged {
        let SignIn { key, wish, id, signature, retail_end, source, who, warning } = sign_in;
        let call = exchange::sign_in(&key, wish, &id, &signature);
        let base = match call.base {
            Base::Retail => &self.addresses.retail,
            Base::TrueApi => &self.addresses.true_api,
        };
        let address = format!("{base}{}", call.path);
        let asked = clock::utc();
        let answered = read(with_headers(self.agent.post(&address)).send(call.body));
        let answered = match answered {
            Ok(answered) => answered,
            Err(Failed { why, is_undone: true }) => {
                return Exchanged::Refused(not_sent(&address, &why));
            }
            Err(Failed { why, is_undone: false }) => {
                return Exchanged::Unknown(unknown(&key, &no_answer(&address, &why)));
            }
        };
        let status = answered.status;
        if status.is_server_error() || status.is_informational() {
            return Exchanged::Unknown(unknown(&key, &refusal(&address, &answered).0));
        }
        if !status.is_success() {
            let (said, is_unknown_challenge) = refusal(&address, &answered);
            let again = is_unknown_challenge.then(|| {
                text(
                    "Запросите параметры авторизации и повторите подписание.",
                    "Request authorization parameters and sign again.",
                )
            });
            return Exchanged::Refused(joined(Some(said), again).unwrap_or_default());
        }
        let signed = match exchange::signed(key.kind, &answered.body) {
            Ok(signed) => signed,
            Err(error) => return Exchanged::Unknown(unknown(&key, &unusable(&address, &error))),
        };
        let token = signed.token.reveal();
        let end = end_of(key.kind, signed.format, token, signed.said, asked, retail_end);
        let skew = end.skew_secs.map(|secs| skewed(secs, answered.date, clock::utc()));
        if let Some(skew) = &skew {
            log::warn!("session key of {key}: {}", skew.english);
        }
        Exchanged::Given(Given {
            token: signed.token,
            valid_until: end.valid_until,
            inn: Some(key.organization),
            format: signed.format,
            source,
            who,
            asked,
            warning: joined(warning, skew),
        })
    }
}

/// What 1C sends with each call of the service.
fn with_headers<B>(request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
    request
        .header("Content-Type", "application/json; charset=utf-8")
        .header("Accept-Charset", "utf-8")
        .header("Cache-Control", "no-cache")
}

fn read(result: Result<Response<ureq::Body>, ureq::Error>) -> Result<Answered, Failed> {
    let mut response = result
        .map_err(|error| Failed { is_undone: has_not_left(&error), why: error.to_string() })?;
    let date = response.headers().get("date").and_then(|value| http_date(value.to_str().ok()?));
    let status = response.status();
    let mut body = Vec::new();
    let broken = |error: io::Error| Failed { is_undone: false, why: error.to_string() };
    let reader = response.body_mut().as_reader();
    reader.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut body).map_err(broken)?;
    if body.len() as u64 > ANSWER_BYTES_MAX {
        let why = format!("more than {ANSWER_BYTES_MAX} bytes");
        return Err(Failed { is_undone: false, why });
    }
    Ok(Answered { status, date, body })
}

/// The authorities of the system and those of a file.
fn roots(file: &Path) -> Result<RootCerts, String> {
    let mut pem = Vec::new();
    let opened = std::fs::File::open(file).map_err(|error| error.to_string())?;
    opened.take(CA_BYTES_MAX).read_to_end(&mut pem).map_err(|error| error.to_string())?;
    let own: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let own = own.map_err(|error| error.to_string())?;
    if own.is_empty() {
        return Err("no certificate in it".to_owned());
    }
    // A system without authorities of its own still has the file's.
    let system = rustls_native_certs::load_native_certs().certs;
    let certificate = |der: &CertificateDer<'_>| Certificate::from_der(der).to_owned();
    Ok(RootCerts::from(system.iter().chain(&own).map(certificate).collect::<Vec<_>>()))
}

fn no_authorities(file: &Path, why: &str) -> Text {
    let name = PathBuf::from(file.file_name().unwrap_or_default());
    let name = name.display();
    log::error!("{}: {why}", file.display());
    text(
        format!("Файл сертификатов {name} ([ISMP] ExtraCA) не читается: {why}."),
        format!("The file of certificates {name} ([ISMP] ExtraCA) cannot be used: {why}."),
    )
}

fn not_sent(address: &str, why: &str) -> Text {
    text(
        format!("Не удалось отправить запрос на {address}: {why}."),
        format!("The request to {address} could not be sent: {why}."),
    )
}

fn no_answer(address: &str, why: &str) -> Text {
    text(
        format!("Нет ответа от {address}: {why}."),
        format!("No answer came from {address}: {why}."),
    )
}

fn unusable(address: &str, why: &dyn std::fmt::Display) -> Text {
    text(
        format!("Ответ {address} не удалось разобрать: {why}."),
        format!("{address} gave an answer that cannot be used: {why}."),
    )
}

/// What the service says in place of an answer, and whether it does not know the challenge.
fn refusal(address: &str, answered: &Answered) -> (Text, bool) {
    let refusal = exchange::refusal(&answered.body);
    let code = answered.status.as_u16();
    let said = |nothing: &str| {
        if refusal.text.is_empty() { nothing.to_owned() } else { refusal.text.clone() }
    };
    let text = text(
        format!("{address}: код {code}, {}.", said("без пояснения")),
        format!("{address}: code {code}, {}.", said("without a word")),
    );
    (text, refusal.is_unknown_challenge)
}

/// The service may have given a key that never arrived.
fn unknown(key: &StoreKey, why: &Text) -> Text {
    let (russian, english) = if key.kind == licence_ismp::TokenKind::Suz {
        (
            "Получен ли новый ключ, неизвестно: прежний ключ СУЗ мог перестать действовать. \
             Запросите параметры авторизации и подпишите ещё раз.",
            "Whether a key was given is not known: the earlier key of СУЗ may be dead. Request \
             authorization parameters and sign again.",
        )
    } else {
        (
            "Получен ли новый ключ, неизвестно; прежний действует до своего срока. Запросите \
             параметры авторизации и подпишите ещё раз.",
            "Whether a key was given is not known; the earlier one stays valid until its end. \
             Request authorization parameters and sign again.",
        )
    };
    text(format!("{} {russian}", why.russian), format!("{} {english}", why.english))
}

/// The end of a key is odd: one of the two clocks is wrong. `service` is what the service's says.
fn skewed(secs: i64, service: Option<Utc>, now: Utc) -> Text {
    let apart = service.map(|at| at.unix_seconds().saturating_sub(now.unix_seconds()));
    let (russian, english) = match apart {
        Some(apart) => (
            format!(" Часы сервиса отличаются от часов сервера лицензирования на {apart} с."),
            format!(" The service's clock differs from this server's by {apart} s."),
        ),
        None => Default::default(),
    };
    text(
        format!("Срок полученного ключа необычен: {secs} с от текущего момента.{russian}"),
        format!("The end of the key is odd: {secs} s from now.{english}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_end_of_a_key_is_told_with_the_difference_of_the_clocks() {
        let now: Utc = "2026-11-22T12:00:00Z".parse().unwrap();
        let said = skewed(-30, Some(now.plus_millis(-90_000)), now);
        assert!(said.russian.contains("-30 с") && said.russian.contains("на -90 с"), "{said:?}");
        assert!(!skewed(-30, None, now).english.contains("clock"));
    }

    #[test]
    fn file_of_authorities_that_holds_none_is_named_without_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, "nothing").unwrap();
        let why = roots(&file).unwrap_err();
        let said = no_authorities(&file, &why);
        assert!(said.english.contains("ca.pem"), "{said:?}");
        assert!(!said.english.contains(&folder.path().display().to_string()), "{said:?}");
        assert!(roots(&folder.path().join("absent.pem")).is_err());
    }
}
