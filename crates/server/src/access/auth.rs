//! Who may use the API and the console: password, address, name of the host.
//!
//! Decides on one request at a time and remembers nothing but the digest of the last password
//! that a slow check accepted. Client endpoints are not its business: they need no password.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordVerifier};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST};
use licence_core::seal::sha256;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use crate::api::errors::ApiError;
use crate::config::{ConsoleConfig, Password};
use crate::random::{self, RandomError};

/// Longest `Authorization` value that is looked at, in bytes.
const CREDENTIALS_BYTES_MAX: usize = 1024;

/// Argon2 checks at one time. Each takes a core and some 20 MB for a while: a flood of wrong
/// passwords waits here and not in the rest of the server.
const SLOW_CHECKS_MAX: usize = 2;

/// How long a request waits for its turn at the slow check.
const SLOW_CHECK_SECS_MAX: u64 = 5;

/// Checks user names, passwords, addresses and names of the host.
#[derive(Debug)]
pub struct Auth {
    settings: ConsoleConfig,
    computer_name: String,
    salt: [u8; 16],
    accepted: Mutex<Option<[u8; 32]>>,
    slow_checks: Arc<Semaphore>,
}

impl Auth {
    /// Checks by these settings.
    ///
    /// # Errors
    ///
    /// When there are no random bytes to salt the remembered digest with.
    pub fn new(settings: ConsoleConfig, computer_name: &str) -> Result<Self, RandomError> {
        Ok(Self {
            settings,
            computer_name: computer_name.to_ascii_lowercase(),
            salt: random::id_bytes()?,
            accepted: Mutex::new(None),
            slow_checks: Arc::new(Semaphore::new(SLOW_CHECKS_MAX)),
        })
    }

    /// Whether requests from `peer` to the host they name may come in at all.
    ///
    /// # Errors
    ///
    /// 403 that names the setting.
    pub fn check_origin(&self, peer: IpAddr, headers: &HeaderMap) -> Result<(), ApiError> {
        let peer = peer.to_canonical();
        if self.settings.local_access_only && !peer.is_loopback() {
            return Err(ApiError::forbidden(
                "Access is allowed from this computer only ([Console] LocalAccessOnly).",
                "Доступ разрешён только с этого компьютера ([Console] LocalAccessOnly).",
            ));
        }
        let allowed = &self.settings.allowed_addresses;
        let is_listed = allowed.iter().any(|range| range.contains(peer));
        if !allowed.is_empty() && !is_listed && !peer.is_loopback() {
            return Err(ApiError::forbidden(
                "Access from this address is not allowed ([Console] AllowedAddresses).",
                "Доступ с этого адреса не разрешён ([Console] AllowedAddresses).",
            ));
        }
        let host = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or("");
        if self.settings.check_dns_rebinding && !self.is_own_host(host) {
            return Err(ApiError::forbidden(
                "The host name is not one of this server ([Console] HostNames).",
                "Имя узла не относится к этому серверу ([Console] HostNames).",
            ));
        }
        Ok(())
    }

    /// Whether a `Host` value names this server: a plain address, `localhost`, the computer or
    /// one of `HostNames`. A page of a stranger that resolves its own name to our address fails
    /// here.
    fn is_own_host(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        if host.is_empty() || host.starts_with('[') {
            return true;
        }
        let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
        name.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || name == self.computer_name
            || self.settings.host_names.iter().any(|own| own == name)
    }

    /// Whether the request carries the user name and the password.
    ///
    /// # Errors
    ///
    /// 401 when it does not, 503 when too many wait for the check.
    pub async fn check_password(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let presented = headers
            .get(AUTHORIZATION)
            .filter(|value| value.len() <= CREDENTIALS_BYTES_MAX)
            .and_then(|value| credentials(value.as_bytes()))
            .ok_or_else(ApiError::unauthorized)?;
        let is_user = same(&presented.user, self.settings.user_name.as_bytes());
        let is_password = match &self.settings.password {
            Password::Plain(expected) => same(&presented.password, expected.as_bytes()),
            Password::Phc(hash) => self.check_slowly(hash, presented.password).await?,
        };
        // Both are looked at before either decides, so that time tells nothing about the name.
        if is_user && is_password { Ok(()) } else { Err(ApiError::unauthorized()) }
    }

    async fn check_slowly(&self, hash: &str, password: Vec<u8>) -> Result<bool, ApiError> {
        let digest = sha256(&[&self.salt[..], &password].concat());
        let remembered = self.accepted.lock().ok().and_then(|accepted| *accepted);
        if remembered.is_some_and(|accepted| bool::from(accepted.ct_eq(&digest))) {
            return Ok(true);
        }
        let turn = Arc::clone(&self.slow_checks).acquire_owned();
        let bound = Duration::from_secs(SLOW_CHECK_SECS_MAX);
        let Ok(Ok(turn)) = tokio::time::timeout(bound, turn).await else {
            return Err(ApiError::unavailable(
                "Too many passwords are being checked; try again.",
                "Проверяется слишком много паролей; повторите запрос.",
            ));
        };
        let hash = hash.to_owned();
        let checked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let parsed = PasswordHash::new(&hash).ok()?;
            Argon2::default().verify_password(&password, &parsed).ok()
        });
        let is_right = matches!(checked.await, Ok(Some(())));
        if is_right && let Ok(mut accepted) = self.accepted.lock() {
            *accepted = Some(digest);
        }
        Ok(is_right)
    }
}

struct Credentials {
    user: Vec<u8>,
    password: Vec<u8>,
}

/// Reads `Basic dXNlcjpwYXNzd29yZA==` (RFC 7617).
fn credentials(value: &[u8]) -> Option<Credentials> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let pair = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = pair.iter().position(|b| *b == b':')?;
    Some(Credentials { user: pair[..colon].to_vec(), password: pair[colon + 1..].to_vec() })
}

/// Equality whose time does not depend on where two texts differ, nor on their lengths.
fn same(a: &[u8], b: &[u8]) -> bool {
    sha256(a).ct_eq(&sha256(b)).into()
}

#[cfg(test)]
mod tests {
    use argon2::PasswordHasher;
    use hyper::header::HeaderValue;

    use super::*;
    use crate::config::{Config, IniSource};

    fn auth(console: &str) -> Auth {
        let text = format!("[Console]\n{console}");
        let source = IniSource::parse("x".as_ref(), text.into_bytes()).unwrap();
        Auth::new(Config::from_source(&source).unwrap().console, "MORA-HP").unwrap()
    }

    fn headers(name: hyper::header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    async fn status(auth: &Auth, value: &str) -> u16 {
        let headers = headers(AUTHORIZATION, value);
        auth.check_password(&headers).await.map_or_else(|e| e.status.as_u16(), |()| 200)
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[tokio::test]
    async fn only_the_right_name_and_password_pass() {
        let auth = auth("UserName=root\nPassword=a:b");
        assert_eq!(status(&auth, &basic("root:a:b")).await, 200);
        assert_eq!(status(&auth, &basic("root:a:b").replace("Basic", "basic")).await, 200);
        for value in [
            basic("root:a"),
            basic("Root:a:b"),
            basic("root"),
            basic(""),
            "Basic".to_owned(),
            "Basic !!!".to_owned(),
            "Bearer x".to_owned(),
            format!("Basic {}", "A".repeat(2000)),
        ] {
            assert_eq!(status(&auth, &value).await, 401, "{value}");
        }
        assert_eq!(auth.check_password(&HeaderMap::new()).await.unwrap_err().status, 401);
    }

    #[tokio::test]
    async fn hashed_password_is_checked_and_remembered() {
        let cheap = argon2::Params::new(64, 1, 1, None).unwrap();
        let hasher = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, cheap);
        let hash = hasher.hash_password(b"secret").unwrap().to_string();
        let auth = auth(&format!("Password={hash}"));
        assert_eq!(status(&auth, &basic("admin:wrong")).await, 401);
        assert!(auth.accepted.lock().unwrap().is_none());
        assert_eq!(status(&auth, &basic("admin:secret")).await, 200);
        assert!(auth.accepted.lock().unwrap().is_some());
        assert_eq!(status(&auth, &basic("admin:secret")).await, 200);
        assert_eq!(status(&auth, &basic("other:secret")).await, 401);
        assert_eq!(status(&auth, &basic("admin:wrong")).await, 401);
    }

    #[test]
    fn address_decides_who_comes_in() {
        for (console, peer, comes_in) in [
            ("", "8.8.8.8", true),
            ("LocalAccessOnly=1", "127.0.0.1", true),
            ("LocalAccessOnly=1", "::1", true),
            ("LocalAccessOnly=1", "::ffff:127.0.0.1", true),
            ("LocalAccessOnly=1", "192.168.1.5", false),
            ("AllowedAddresses=192.168.1.0/24", "192.168.1.5", true),
            ("AllowedAddresses=192.168.1.0/24", "192.168.2.5", false),
            ("AllowedAddresses=192.168.1.0/24", "127.0.0.1", true),
        ] {
            let result = auth(console).check_origin(peer.parse().unwrap(), &HeaderMap::new());
            assert_eq!(result.is_ok(), comes_in, "{console} {peer}");
        }
    }

    #[test]
    fn strange_host_name_is_refused_where_the_setting_says_so() {
        let peer = "127.0.0.1".parse().unwrap();
        let checking = auth("CheckDNSRebinding=1\nHostNames=lic.example");
        for (host, comes_in) in [
            ("127.0.0.1:9099", true),
            ("[::1]:9099", true),
            ("localhost", true),
            ("mora-hp:9099", true),
            ("LIC.example:9099", true),
            ("evil.example:9099", false),
        ] {
            let result = checking.check_origin(peer, &headers(HOST, host));
            assert_eq!(result.is_ok(), comes_in, "{host}");
        }
        assert!(auth("").check_origin(peer, &headers(HOST, "evil.example")).is_ok());
    }
}
