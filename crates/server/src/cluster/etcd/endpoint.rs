//! An address of etcd as the settings name it: `https://host:2379`.
//!
//! Names are resolved when somebody connects, not here.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;

/// etcd's port for clients.
const PORT_DEFAULT: u16 = 2379;

/// An address at which etcd serves clients.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Endpoint {
    is_tls: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

/// The text is no address of etcd.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an address such as https://host:2379")]
pub struct ParseEndpointError;

impl Endpoint {
    /// Whether it is spoken to over TLS.
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The host: a name or an address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, as the header `Host` wants it.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.trim().parse().map_err(|_| ParseEndpointError)?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => return Err(ParseEndpointError),
        };
        let authority = uri.authority().ok_or(ParseEndpointError)?;
        let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        if !is_bare || authority.as_str().contains('@') {
            return Err(ParseEndpointError);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(ParseEndpointError);
        }
        // A colon with no number behind it, or with too large a one, is a slip of the pen.
        let rest = authority.as_str().strip_prefix(authority.host()).ok_or(ParseEndpointError)?;
        let port = match rest.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| ParseEndpointError)?
            }
            None if rest.is_empty() => PORT_DEFAULT,
            Some(_) | None => return Err(ParseEndpointError),
        };
        if port == 0 {
            return Err(ParseEndpointError);
        }
        Ok(Self { is_tls, host: host.to_ascii_lowercase(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_read_and_shown_alike() {
        for (text, shown) in [
            ("https://a.example:2380", "https://a.example:2380"),
            ("http://10.0.0.1", "http://10.0.0.1:2379"),
            (" https://[fd00::1]:2379/ ", "https://[fd00::1]:2379"),
            ("https://A.Example", "https://a.example:2379"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(shown.parse::<Endpoint>().unwrap(), endpoint);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "a:2379",
            "a",
            "ftp://a",
            "https://",
            "https://user:word@a:2379",
            "https://a:2379/v3",
            "https://a?x=1",
            "https://a:",
            "https://a:0",
            "https://a:70000",
            "https://a:x",
            "https://a,https://b",
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(ParseEndpointError), "{text}");
        }
    }
}
