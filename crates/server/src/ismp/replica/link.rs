//! The main server as the settings of its reserve name it, and how it is called.
//!
//! Checks the settings; the wire is [`crate::link`]'s. What is asked and what answers mean stands
//! elsewhere.

use hyper::body::Bytes;
use hyper::{StatusCode, Uri};

use crate::config::DEFAULT_PORT;
use crate::link::{self, Remote};
pub(crate) use crate::link::{Asked, LinkError};

/// The main server as the settings name it.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct MainServer {
    remote: Remote,
    token: String,
}

/// Without the token.
impl std::fmt::Debug for MainServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MainServer({})", self.remote.address())
    }
}

/// Why the settings name no main server.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum MainError {
    /// Not `https://host:port`.
    #[error("[ISMP] Main must be https://host or https://host:port")]
    Address,
    /// None.
    #[error("[ISMP] MainPin must be the pin that the page of the main server shows")]
    Pin,
    /// None, or one that goes into no header.
    #[error("[ISMP] MainToken must be a token of scope ismp of the main server")]
    Token,
}

impl MainError {
    /// The same in Russian.
    pub(crate) const fn russian(self) -> &'static str {
        match self {
            Self::Address => "[ISMP] Main должен быть вида https://узел или https://узел:порт",
            Self::Pin => "[ISMP] MainPin должен быть пином со страницы главного сервера",
            Self::Token => "[ISMP] MainToken должен быть токеном области ismp главного сервера",
        }
    }
}

impl MainServer {
    /// The server at this address, with this pin and this token.
    ///
    /// # Errors
    ///
    /// The first of them that cannot be.
    pub(crate) fn new(
        address: &str,
        pin: Option<[u8; 32]>,
        token: &str,
    ) -> Result<Self, MainError> {
        let uri: Uri = address.trim().parse().map_err(|_| MainError::Address)?;
        let is_bare = uri.scheme_str() == Some("https")
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none()
            && !uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        let host = uri.host().filter(|host| is_bare && !host.is_empty());
        let host = host.ok_or(MainError::Address)?.to_owned();
        let port = uri.port_u16().unwrap_or(DEFAULT_PORT);
        let pin = pin.ok_or(MainError::Pin)?;
        let token = token.trim();
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(MainError::Token);
        }
        Ok(Self { remote: Remote { host, port, pin }, token: token.to_owned() })
    }

    /// `host:port`, for people.
    pub(crate) fn address(&self) -> String {
        self.remote.address()
    }
}

/// Asks the main server.
///
/// # Errors
///
/// See [`LinkError`]; an answer with any status is none.
pub(crate) async fn ask(main: &MainServer, asked: Asked) -> Result<(StatusCode, Bytes), LinkError> {
    link::ask(&main.remote, &main.token, asked).await
}

/// Why there is no answer, for the log and for people.
pub(crate) fn told(error: &LinkError) -> String {
    let told = error.told();
    if matches!(error, LinkError::Tls(_)) {
        format!("{told}; is MainPin the pin that its page shows?")
    } else {
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: Option<[u8; 32]> = Some([7; 32]);

    #[test]
    fn main_server_is_an_https_address_a_pin_and_a_token() {
        let main = MainServer::new("https://lic.example", PIN, " t ").unwrap();
        assert_eq!(main.address(), format!("lic.example:{DEFAULT_PORT}"));
        assert_eq!(MainServer::new("https://[::1]:7/", PIN, "t").unwrap().address(), "[::1]:7");
        for (address, pin, token, wanted) in [
            ("http://lic.example", PIN, "t", MainError::Address),
            ("lic.example:9099", PIN, "t", MainError::Address),
            ("https://a:b@lic.example", PIN, "t", MainError::Address),
            ("https://lic.example/api", PIN, "t", MainError::Address),
            ("https://lic.example/?x", PIN, "t", MainError::Address),
            ("", PIN, "t", MainError::Address),
            ("https://lic.example", None, "t", MainError::Pin),
            ("https://lic.example", PIN, "", MainError::Token),
            ("https://lic.example", PIN, "a\r\nb", MainError::Token),
        ] {
            assert_eq!(MainServer::new(address, pin, token), Err(wanted), "{address}");
        }
    }

    #[test]
    fn debug_form_shows_no_token() {
        let main = MainServer::new("https://lic.example", PIN, "very-secret").unwrap();
        assert!(!format!("{main:?}").contains("very-secret"));
    }
}
