//! What a request says of its sender: cookies, the token, the page that sent it, the address.
//!
//! Reads only; whether any of it is true is decided by the gate.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};

/// Longest `Cookie` line that is looked at, in bytes: other programs of the same computer share
/// it, because cookies do not know ports.
const COOKIES_BYTES_MAX: usize = 8 * 1024;

/// The value of a cookie; of several with this name the first, which is the one with the longest
/// path.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter(|line| line.len() <= COOKIES_BYTES_MAX)
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// The bearer token (RFC 6750), if there is one.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    headers
        .get(AUTHORIZATION)
        .and_then(|value| value.as_bytes().split_at_checked(7))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
        .map(|(_, token)| token.trim_ascii())
}

/// Whose address counts. Behind a proxy whose word is taken it is the last one in
/// `X-Forwarded-For`: that one the proxy has written itself, those before it anybody may have.
pub(crate) fn client(headers: &HeaderMap, peer: IpAddr, trusts_proxy: bool) -> IpAddr {
    if !trusts_proxy {
        return peer;
    }
    headers
        .get_all("x-forwarded-for")
        .iter()
        .next_back()
        .and_then(|line| line.to_str().ok())
        .and_then(|line| line.rsplit(',').next())
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(peer)
}

/// Whether the browser speaks TLS, by the word of a proxy that is trusted.
pub(crate) fn is_tls(headers: &HeaderMap, trusts_proxy: bool) -> bool {
    trusts_proxy
        && headers
            .get("x-forwarded-proto")
            .is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https"))
}

/// Whether a change comes from a page of this centre, or from no page at all. A page of a stranger
/// can send a form here with the visitor's cookies.
pub(crate) fn is_from_own_page(headers: &HeaderMap) -> bool {
    // Browsers send it over HTTPS and to localhost (Fetch Metadata); a page cannot forge it.
    if let Some(site) = headers.get("sec-fetch-site") {
        return matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or("");
    origin.to_str().is_ok_and(|origin| {
        let Some((scheme, authority)) = origin.split_once("://") else { return false };
        let port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return false,
        };
        let plain = |text: &str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
        !host.is_empty() && plain(authority) == plain(host)
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn page_that_asks_is_told_from_a_stranger_s() {
        let host = ("host", "centre:9100");
        let check = |lines: &[(&'static str, &str)], wanted| {
            assert_eq!(is_from_own_page(&headers(lines)), wanted, "{lines:?}");
        };
        check(&[host], true);
        check(&[host, ("origin", "http://centre:9100")], true);
        check(&[host, ("origin", "https://CENTRE:9100")], true);
        check(&[("host", "centre"), ("origin", "http://centre:80")], true);
        check(&[("host", "centre:443"), ("origin", "http://centre")], false);
        check(&[host, ("origin", "http://centre")], false);
        check(&[host, ("origin", "http://centre:9100.evil.example")], false);
        check(&[host, ("origin", "null")], false);
        check(&[("origin", "http://")], false);
        check(&[host, ("sec-fetch-site", "same-origin")], true);
        check(&[host, ("sec-fetch-site", "none")], true);
        check(&[host, ("sec-fetch-site", "same-site")], false);
        check(&[host, ("sec-fetch-site", "cross-site"), ("origin", "http://centre:9100")], false);
    }

    #[test]
    fn address_is_the_proxys_word_only_where_it_is_trusted_and_only_its_own() {
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        let check = |lines: &[(&'static str, &str)], trusts: bool, wanted: &str| {
            let found = client(&headers(lines), peer, trusts);
            assert_eq!(found, wanted.parse::<IpAddr>().unwrap(), "{lines:?}");
        };
        let forged = ("x-forwarded-for", "1.1.1.1, 203.0.113.7");
        check(&[forged], false, "10.0.0.1");
        check(&[forged], true, "203.0.113.7");
        check(
            &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2001:db8::1")],
            true,
            "2001:db8::1",
        );
        check(&[], true, "10.0.0.1");
        check(&[("x-forwarded-for", "unknown")], true, "10.0.0.1");
        let tls = headers(&[("x-forwarded-proto", "HTTPS")]);
        assert!(is_tls(&tls, true) && !is_tls(&tls, false) && !is_tls(&headers(&[]), true));
    }

    #[test]
    fn cookie_and_token_are_found_among_those_of_others() {
        let both = headers(&[
            ("cookie", "a=1; centre_login=x=y;b"),
            ("cookie", "c=3"),
            ("authorization", "bearer  secret "),
        ]);
        for (name, wanted) in
            [("a", Some("1")), ("centre_login", Some("x=y")), ("b", None), ("c", Some("3"))]
        {
            assert_eq!(cookie(&both, name), wanted, "{name}");
        }
        assert_eq!(bearer(&both), Some(&b"secret"[..]));
        assert_eq!(bearer(&headers(&[("authorization", "Basic x")])), None);
    }
}
