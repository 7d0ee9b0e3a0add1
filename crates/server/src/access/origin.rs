//! From where a request may come: the address of its sender and the name of the host it asks for.
//!
//! Says nothing of who sends it.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::HOST;

use crate::api::errors::ApiError;
use crate::config::ConsoleConfig;

/// Headers by which a proxy says that it passes on the request of somebody else.
const FORWARDED: [&str; 5] =
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

/// Whether requests from `peer` to the host they name may come in at all.
///
/// # Errors
///
/// 403 that names the setting.
pub(super) fn check(
    settings: &ConsoleConfig,
    computer_name: &str,
    peer: IpAddr,
    headers: &HeaderMap,
) -> Result<(), ApiError> {
    let peer = peer.to_canonical();
    if settings.local_access_only && !peer.is_loopback() {
        return Err(ApiError::forbidden(
            "Access is allowed from this computer only ([Console] LocalAccessOnly).",
            "Доступ разрешён только с этого компьютера ([Console] LocalAccessOnly).",
        ));
    }
    let allowed = &settings.allowed_addresses;
    let is_listed = allowed.iter().any(|range| range.contains(peer));
    if !allowed.is_empty() && !is_listed && !peer.is_loopback() {
        return Err(ApiError::forbidden(
            "Access from this address is not allowed ([Console] AllowedAddresses).",
            "Доступ с этого адреса не разрешён ([Console] AllowedAddresses).",
        ));
    }
    if settings.check_dns_rebinding {
        check_host(settings, computer_name, headers)?;
    }
    Ok(())
}

/// Whether the host that is asked for is this server. A page of a stranger that makes its own name
/// resolve to our address fails here.
///
/// # Errors
///
/// 403 that names the setting.
pub(super) fn check_host(
    settings: &ConsoleConfig,
    computer_name: &str,
    headers: &HeaderMap,
) -> Result<(), ApiError> {
    if is_own_host(settings, computer_name, headers) {
        return Ok(());
    }
    Err(ApiError::forbidden(
        "The host name is not one of this server ([Console] HostNames).",
        "Имя узла не относится к этому серверу ([Console] HostNames).",
    ))
}

/// Whether the request was made at this computer, to this computer, by nobody's leave: neither
/// passed on by a proxy nor sent by a page under a strange name.
pub(super) fn is_from_here(
    settings: &ConsoleConfig,
    computer_name: &str,
    peer: IpAddr,
    headers: &HeaderMap,
) -> bool {
    peer.to_canonical().is_loopback()
        && !FORWARDED.iter().any(|name| headers.contains_key(*name))
        && is_own_host(settings, computer_name, headers)
}

/// Whether `Host` is a plain address, `localhost`, the computer or one of `HostNames`.
fn is_own_host(settings: &ConsoleConfig, computer_name: &str, headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or("");
    let host = host.to_ascii_lowercase();
    if host.is_empty() || host.starts_with('[') {
        return true;
    }
    let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
    name.parse::<IpAddr>().is_ok()
        || name == "localhost"
        || name.eq_ignore_ascii_case(computer_name)
        || settings.host_names.iter().any(|own| own == name)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;
    use crate::config::{Config, IniSource};

    fn settings(console: &str) -> ConsoleConfig {
        let text = format!("[Console]\n{console}");
        let source = IniSource::parse("x".as_ref(), text.into_bytes()).unwrap();
        Config::from_source(&source).unwrap().console
    }

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), value.parse().unwrap())])
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
            let peer = peer.parse().unwrap();
            let result = check(&settings(console), "MORA-HP", peer, &HeaderMap::new());
            assert_eq!(result.is_ok(), comes_in, "{console} {peer}");
        }
    }

    #[test]
    fn strange_host_name_is_refused_where_the_setting_says_so() {
        let peer = "127.0.0.1".parse().unwrap();
        let checking = settings("CheckDNSRebinding=1\nHostNames=lic.example");
        for (host, comes_in) in [
            ("127.0.0.1:9099", true),
            ("[::1]:9099", true),
            ("localhost", true),
            ("mora-hp:9099", true),
            ("LIC.example:9099", true),
            ("evil.example:9099", false),
            ("mora-hp.evil.example", false),
        ] {
            let result = check(&checking, "MORA-HP", peer, &headers("host", host));
            assert_eq!(result.is_ok(), comes_in, "{host}");
        }
        let foreign = headers("host", "evil.example");
        assert!(check(&settings(""), "MORA-HP", peer, &foreign).is_ok());
    }

    #[test]
    fn only_what_is_made_here_counts_as_from_here() {
        for (peer, header, value, is_here) in [
            ("127.0.0.1", "host", "localhost:9099", true),
            ("::1", "host", "[::1]:9099", true),
            ("::ffff:127.0.0.1", "host", "MORA-HP", true),
            ("192.168.1.5", "host", "localhost", false),
            ("127.0.0.1", "host", "evil.example", false),
            ("127.0.0.1", "x-forwarded-for", "127.0.0.1", false),
            ("127.0.0.1", "forwarded", "for=127.0.0.1", false),
            ("127.0.0.1", "x-real-ip", "127.0.0.1", false),
        ] {
            let headers = headers(header, value);
            let peer = peer.parse().unwrap();
            let found = is_from_here(&settings(""), "MORA-HP", peer, &headers);
            assert_eq!(found, is_here, "{peer} {header}: {value}");
        }
    }
}
