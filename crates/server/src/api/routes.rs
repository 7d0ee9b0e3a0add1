//! The table of addresses: method, path, who may call, what answers.
//!
//! One table for the REST API, the client protocol and the console; `docs/openapi.yaml` is held
//! against it by a test. What an endpoint does stands elsewhere.

use percent_encoding::percent_decode_str;

/// Who may call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// The REST API: password, and `[API] Enabled`.
    Api,
    /// Components: TLS, no password.
    Client,
    /// The console: password as `[Console] Authorization` says.
    Console,
}

/// What answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each is the address of the same name in the table")]
pub enum Endpoint {
    Api,
    Client(Message),
    Connection,
    Connections,
    ConsoleOverview,
    ConsoleStyle,
    ConsoleSystemInfo,
    InstallLicence,
    Licence,
    Licences,
    ServerInfo,
    Session,
    Sessions,
}

/// What a component says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each is the address of the same name in the table")]
pub enum Message {
    Close,
    Connect,
    Counters,
    Disconnect,
    Heartbeat,
    Hello,
    Licences,
    Open,
    ServerInfo,
    Touch,
}

/// One line of the table. `HEAD` is taken wherever `GET` is.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// HTTP method.
    pub method: &'static str,
    /// Path; a part in braces takes any text without a slash.
    pub path: &'static str,
    /// Who may call.
    pub access: Access,
    /// What answers.
    pub endpoint: Endpoint,
}

const fn route(
    method: &'static str,
    path: &'static str,
    access: Access,
    endpoint: Endpoint,
) -> Route {
    Route { method, path, access, endpoint }
}

/// All addresses.
pub const ROUTES: &[Route] = &[
    route("GET", "/", Access::Console, Endpoint::ConsoleOverview),
    route("GET", "/console.css", Access::Console, Endpoint::ConsoleStyle),
    route("GET", "/systeminfo", Access::Console, Endpoint::ConsoleSystemInfo),
    route("GET", "/api", Access::Api, Endpoint::Api),
    route("GET", "/api/serverinfo", Access::Api, Endpoint::ServerInfo),
    route("GET", "/api/licences", Access::Api, Endpoint::Licences),
    route("POST", "/api/licences", Access::Api, Endpoint::InstallLicence),
    route("GET", "/api/licences/{KeyNo}", Access::Api, Endpoint::Licence),
    route("GET", "/api/connections", Access::Api, Endpoint::Connections),
    route("GET", "/api/connections/{ID}", Access::Api, Endpoint::Connection),
    route("GET", "/api/sessions", Access::Api, Endpoint::Sessions),
    route("GET", "/api/sessions/{ID}", Access::Api, Endpoint::Session),
    route("POST", "/client/hello", Access::Client, Endpoint::Client(Message::Hello)),
    route("POST", "/client/v1/connect", Access::Client, Endpoint::Client(Message::Connect)),
    route("POST", "/client/v1/heartbeat", Access::Client, Endpoint::Client(Message::Heartbeat)),
    route("POST", "/client/v1/open", Access::Client, Endpoint::Client(Message::Open)),
    route("POST", "/client/v1/touch", Access::Client, Endpoint::Client(Message::Touch)),
    route("POST", "/client/v1/close", Access::Client, Endpoint::Client(Message::Close)),
    route("POST", "/client/v1/disconnect", Access::Client, Endpoint::Client(Message::Disconnect)),
    route("POST", "/client/v1/licences", Access::Client, Endpoint::Client(Message::Licences)),
    route("POST", "/client/v1/counters", Access::Client, Endpoint::Client(Message::Counters)),
    route("POST", "/client/v1/serverinfo", Access::Client, Endpoint::Client(Message::ServerInfo)),
];

/// Addresses that `GET /api` lists, as the manual does.
pub const URNS: &[&str] =
    &["/api/serverinfo", "/api/licences", "/api/connections", "/api/sessions"];

/// Who may call a path, whether or not the table has it: an unknown address below `/api` asks for
/// the password like any other.
pub fn access(path: &str) -> Access {
    if path == "/api" || path.starts_with("/api/") {
        Access::Api
    } else if path == "/client" || path.starts_with("/client/") {
        Access::Client
    } else {
        Access::Console
    }
}

/// What [`find`] found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found {
    /// The endpoint, and the text in place of the braces.
    Endpoint(Endpoint, String),
    /// The path is known and takes these methods.
    OtherMethods(String),
    /// No such path.
    Nothing,
}

/// Looks an address up. The argument is percent-decoded; one that is no UTF-8 is found nowhere.
pub fn find(method: &str, path: &str) -> Found {
    let asked = if method == "HEAD" { "GET" } else { method };
    let mut allowed = Vec::new();
    for route in ROUTES {
        let Some(argument) = matched(route.path, path) else { continue };
        if route.method == asked {
            return match percent_decode_str(argument).decode_utf8() {
                Ok(argument) => Found::Endpoint(route.endpoint, argument.into_owned()),
                Err(_) => Found::Nothing,
            };
        }
        allowed.push(route.method);
        if route.method == "GET" {
            allowed.push("HEAD");
        }
    }
    if allowed.is_empty() { Found::Nothing } else { Found::OtherMethods(allowed.join(", ")) }
}

/// The text in place of the braces; empty for a pattern without.
fn matched<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    match pattern.split_once('{') {
        None => (pattern == path).then_some(""),
        Some((before, _)) => {
            let argument = path.strip_prefix(before)?;
            (!argument.is_empty() && !argument.contains('/')).then_some(argument)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, path: &str, expected: Found) {
        assert_eq!(find(method, path), expected, "{method} {path}");
    }

    #[test]
    fn addresses_of_the_manual_are_found() {
        check("GET", "/api", Found::Endpoint(Endpoint::Api, String::new()));
        check("HEAD", "/api", Found::Endpoint(Endpoint::Api, String::new()));
        check("GET", "/api/licences", Found::Endpoint(Endpoint::Licences, String::new()));
        check("GET", "/api/licences/7131766", Found::Endpoint(Endpoint::Licence, "7131766".into()));
        check("GET", "/api/sessions/%41B", Found::Endpoint(Endpoint::Session, "AB".into()));
        check("POST", "/api/licences", Found::Endpoint(Endpoint::InstallLicence, String::new()));
    }

    #[test]
    fn other_addresses_are_not() {
        for path in [
            "/api/",
            "/api/someurl",
            "/api/licences/",
            "/api/licences/1/2",
            "/API",
            "/api/sessions/%FF",
            "//",
            "/client",
            "",
        ] {
            check("GET", path, Found::Nothing);
        }
    }

    #[test]
    fn other_methods_are_told_which_are_allowed() {
        check("PUT", "/api/licences", Found::OtherMethods("GET, HEAD, POST".into()));
        check("DELETE", "/api", Found::OtherMethods("GET, HEAD".into()));
        check("GET", "/client/hello", Found::OtherMethods("POST".into()));
    }

    #[test]
    fn access_of_every_line_follows_from_its_path() {
        for route in ROUTES {
            assert_eq!(access(route.path), route.access, "{}", route.path);
        }
        assert_eq!(access("/apix"), Access::Console);
    }
}
