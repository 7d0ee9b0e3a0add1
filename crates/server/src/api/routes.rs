//! The table of addresses: method, path, who may call, what answers.
//!
//! One table for the REST API, the client protocol and the console; `docs/openapi.yaml` is held
//! against it by a test. What an endpoint does stands elsewhere.

use percent_encoding::percent_decode_str;

use crate::access::Role;

/// Who may call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// The REST API: `[API] Enabled`, and somebody with at least this role.
    Api(Role),
    /// Components: TLS, no password.
    Client,
    /// The console: somebody with at least this role; who need not say who they are is decided by
    /// `[Console] Authorization`.
    Console(Role),
    /// Session keys of ИС МП: `[ISMP] Enabled`, a token with the scope `ismp` or an administrator, and
    /// nobody who listens on the wire.
    Ismp,
    /// Prometheus: a token with the scope `metrics`, or a reader.
    Metrics,
    /// Other nodes of the cluster: TLS and a pass of a node; no password, token or login.
    Node,
    /// Everybody: what shows nothing and is needed before anyone has said who they are.
    Open,
}

/// What answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each is the address of the same name in the table")]
pub enum Endpoint {
    Accounts(Accounts),
    Api,
    Binding,
    /// How the cluster is.
    Cluster,
    Client(Message),
    Connection,
    Connections,
    Console(Page),
    Datafiles,
    Events(Events),
    Health(Health),
    InstallLicence,
    Ismp(Ismp),
    Keys(Keys),
    Licence,
    Licences,
    Metrics,
    Nodes(Nodes),
    Report,
    Rules(Rules),
    Series,
    ServerInfo,
    Service(Service),
    Session,
    SessionEnd,
    Sessions,
    Settings(Settings),
}

/// Users, tokens, passwords.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each is the address of the same name in the table")]
pub enum Accounts {
    ChangePassword,
    MakeToken,
    PutUser,
    RemoveToken,
    RemoveUser,
    Tokens,
    Users,
}

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each is the address of the same name in the table")]
pub enum Events {
    List,
    Stream,
}

/// How the server is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each is the address of the same name in the table")]
pub enum Health {
    Live,
    Ready,
    Report,
}

/// Session keys of ИС МП.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each is the address of the same name in the table")]
pub enum Ismp {
    Cancel,
    Challenge,
    ChangeSettings,
    Complete,
    DeleteToken,
    List,
    MakeRule,
    PutRule,
    PutToken,
    Reject,
    Reminders,
    RemoveRule,
    Replica,
    ReplicaGive,
    ReplicaRelay,
    Required,
    Rules,
    Settings,
    SettingsOfPerson,
    Snooze,
    Token,
    Unsnooze,
}

/// Changes of keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each is the address of the same name in the table")]
pub enum Keys {
    Answer,
    Change,
    Demo,
    Remove,
    Request,
    ReserveCode,
    Spare,
    Update,
}

/// All nodes of the cluster, and what nodes ask one another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each is the address of the same name in the table")]
pub enum Nodes {
    Events,
    Kept,
    KeptEnd,
    PeerEvents,
    PeerSession,
    PeerSessionEnd,
    PeerSessions,
    Session,
    SessionEnd,
    Sessions,
}

/// Rules of who gets a seat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each is the address of the same name in the table")]
pub enum Rules {
    Check,
    List,
    Put,
}

/// The server as a whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each is the address of the same name in the table")]
pub enum Service {
    Backup,
    Log,
    Restart,
    Restore,
}

/// Settings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each is the address of the same name in the table")]
pub enum Settings {
    Change,
    List,
    Reload,
}

/// Pages of the console and what their forms do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each is the address of the same name in the table")]
pub enum Page {
    Access,
    AccessChange,
    AccessCode,
    Cluster,
    ClusterEvents,
    ClusterKeptEnd,
    ClusterSession,
    ClusterSessionEnd,
    ClusterSessions,
    Connections,
    Events,
    Help,
    Icon,
    Install,
    InstallAnswer,
    InstallDemo,
    InstallForm,
    InstallRequest,
    Ismp,
    IsmpChange,
    Key,
    KeyRemove,
    KeyReserveCode,
    KeySpareCode,
    KeyUpdate,
    Keys,
    Language,
    Log,
    Login,
    LoginForm,
    Logout,
    Overview,
    Password,
    PasswordForm,
    Reports,
    Restart,
    Rules,
    RulesChange,
    Script,
    Session,
    SessionEnd,
    Sessions,
    Settings,
    SettingsChange,
    Style,
    SystemInfo,
}

/// What a component says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each is the address of the same name in the table")]
pub enum Message {
    Close,
    Connect,
    Counters,
    Datafile,
    Datapart,
    Disconnect,
    Heartbeat,
    Hello,
    Licences,
    ObjectKey,
    Open,
    Operation,
    ServerInfo,
    Touch,
}

/// One line of the table. `HEAD` is taken wherever `GET` is.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// HTTP method.
    pub method: &'static str,
    /// Path; a part in braces takes any text without a slash. Two of them stand side by side.
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

/// All addresses. Where two patterns fit, the first one answers.
pub const ROUTES: &[Route] = &[
    route("GET", "/", Access::Console(Role::Reader), Endpoint::Console(Page::Overview)),
    route("GET", "/console.css", Access::Open, Endpoint::Console(Page::Style)),
    route("GET", "/console.js", Access::Open, Endpoint::Console(Page::Script)),
    route("GET", "/favicon.svg", Access::Open, Endpoint::Console(Page::Icon)),
    route("GET", "/language", Access::Open, Endpoint::Console(Page::Language)),
    route("GET", "/login", Access::Open, Endpoint::Console(Page::LoginForm)),
    route("POST", "/login", Access::Open, Endpoint::Console(Page::Login)),
    route("POST", "/logout", Access::Console(Role::Reader), Endpoint::Console(Page::Logout)),
    route("GET", "/password", Access::Console(Role::Reader), Endpoint::Console(Page::PasswordForm)),
    route("POST", "/password", Access::Console(Role::Reader), Endpoint::Console(Page::Password)),
    route("GET", "/keys", Access::Console(Role::Reader), Endpoint::Console(Page::Keys)),
    route(
        "GET",
        "/keys/install",
        Access::Console(Role::Administrator),
        Endpoint::Console(Page::InstallForm),
    ),
    route(
        "POST",
        "/keys/install",
        Access::Console(Role::Administrator),
        Endpoint::Console(Page::Install),
    ),
    route(
        "POST",
        "/keys/request",
        Access::Console(Role::Administrator),
        Endpoint::Console(Page::InstallRequest),
    ),
    route(
        "POST",
        "/keys/answer",
        Access::Console(Role::Administrator),
        Endpoint::Console(Page::InstallAnswer),
    ),
    route(
        "POST",
        "/keys/update",
        Access::Console(Role::Administrator),
        Endpoint::Console(Page::KeyUpdate),
    ),
    route("GET", "/keys/{KeyNo}", Access::Console(Role::Reader), Endpoint::Console(Page::Key)),
    route(
        "POST",
        "/keys/{KeyNo}/accesscode",
        Access::Console(Role::Administrator),
        Endpoint::Console(Page::AccessCode),
    ),
    route(
        "POST",
        "/keys/{KeyNo}/remove",
        Access::Console(Role::Administrator),
        Endpoint::Console(Page::KeyRemove),
    ),
    route(
        "POST",
        "/keys/{KeyNo}/reservecode",
        Access::Console(Role::Administrator),
        Endpoint::Console(Page::KeyReserveCode),
    ),
    route(
        "POST",
        "/keys/{KeyNo}/spare",
        Access::Console(Role::Administrator),
        Endpoint::Console(Page::KeySpareCode),
    ),
    route(
        "POST",
        "/keys/demo",
        Access::Console(Role::Administrator),
        Endpoint::Console(Page::InstallDemo),
    ),
    route(
        "GET",
        "/connections",
        Access::Console(Role::Reader),
        Endpoint::Console(Page::Connections),
    ),
    route("GET", "/sessions", Access::Console(Role::Reader), Endpoint::Console(Page::Sessions)),
    route("GET", "/sessions/{ID}", Access::Console(Role::Reader), Endpoint::Console(Page::Session)),
    route(
        "POST",
        "/sessions/{ID}/end",
        Access::Console(Role::Operator),
        Endpoint::Console(Page::SessionEnd),
    ),
    route("GET", "/events", Access::Console(Role::Reader), Endpoint::Console(Page::Events)),
    route("GET", "/reports", Access::Console(Role::Reader), Endpoint::Console(Page::Reports)),
    route("GET", "/rules", Access::Console(Role::Operator), Endpoint::Console(Page::Rules)),
    route(
        "POST",
        "/rules",
        Access::Console(Role::Administrator),
        Endpoint::Console(Page::RulesChange),
    ),
    route(
        "GET",
        "/settings",
        Access::Console(Role::Administrator),
        Endpoint::Console(Page::Settings),
    ),
    route(
        "POST",
        "/settings",
        Access::Console(Role::Administrator),
        Endpoint::Console(Page::SettingsChange),
    ),
    route(
        "POST",
        "/restart",
        Access::Console(Role::Administrator),
        Endpoint::Console(Page::Restart),
    ),
    route("GET", "/access", Access::Console(Role::Administrator), Endpoint::Console(Page::Access)),
    route(
        "POST",
        "/access",
        Access::Console(Role::Administrator),
        Endpoint::Console(Page::AccessChange),
    ),
    route("GET", "/cluster", Access::Console(Role::Reader), Endpoint::Console(Page::Cluster)),
    route(
        "GET",
        "/cluster/events",
        Access::Console(Role::Reader),
        Endpoint::Console(Page::ClusterEvents),
    ),
    route(
        "POST",
        "/cluster/kept/{ID}/end",
        Access::Console(Role::Operator),
        Endpoint::Console(Page::ClusterKeptEnd),
    ),
    route(
        "GET",
        "/cluster/sessions",
        Access::Console(Role::Reader),
        Endpoint::Console(Page::ClusterSessions),
    ),
    route(
        "GET",
        "/cluster/sessions/{Node}/{ID}",
        Access::Console(Role::Reader),
        Endpoint::Console(Page::ClusterSession),
    ),
    route(
        "POST",
        "/cluster/sessions/{Node}/{ID}/end",
        Access::Console(Role::Operator),
        Endpoint::Console(Page::ClusterSessionEnd),
    ),
    route("GET", "/ismp", Access::Console(Role::Operator), Endpoint::Console(Page::Ismp)),
    route(
        "POST",
        "/ismp",
        Access::Console(Role::Administrator),
        Endpoint::Console(Page::IsmpChange),
    ),
    route("GET", "/log", Access::Console(Role::Administrator), Endpoint::Console(Page::Log)),
    route("GET", "/systeminfo", Access::Console(Role::Reader), Endpoint::Console(Page::SystemInfo)),
    route("GET", "/help", Access::Console(Role::Reader), Endpoint::Console(Page::Help)),
    route("GET", "/health/live", Access::Open, Endpoint::Health(Health::Live)),
    route("GET", "/health/ready", Access::Open, Endpoint::Health(Health::Ready)),
    route("GET", "/metrics", Access::Metrics, Endpoint::Metrics),
    route("GET", "/api", Access::Api(Role::Reader), Endpoint::Api),
    route("GET", "/api/serverinfo", Access::Api(Role::Reader), Endpoint::ServerInfo),
    route("GET", "/api/health", Access::Api(Role::Reader), Endpoint::Health(Health::Report)),
    route("GET", "/api/binding", Access::Api(Role::Reader), Endpoint::Binding),
    route("GET", "/api/cluster", Access::Api(Role::Reader), Endpoint::Cluster),
    route("GET", "/api/cluster/events", Access::Api(Role::Reader), Endpoint::Nodes(Nodes::Events)),
    route("GET", "/api/cluster/peer/events", Access::Node, Endpoint::Nodes(Nodes::PeerEvents)),
    route(
        "GET",
        "/api/cluster/sessions",
        Access::Api(Role::Reader),
        Endpoint::Nodes(Nodes::Sessions),
    ),
    route(
        "GET",
        "/api/cluster/sessions/{Node}/{ID}",
        Access::Api(Role::Reader),
        Endpoint::Nodes(Nodes::Session),
    ),
    route(
        "DELETE",
        "/api/cluster/sessions/{Node}/{ID}",
        Access::Api(Role::Operator),
        Endpoint::Nodes(Nodes::SessionEnd),
    ),
    route("GET", "/api/cluster/kept", Access::Api(Role::Reader), Endpoint::Nodes(Nodes::Kept)),
    route(
        "DELETE",
        "/api/cluster/kept/{ID}",
        Access::Api(Role::Operator),
        Endpoint::Nodes(Nodes::KeptEnd),
    ),
    route("GET", "/api/cluster/peer/sessions", Access::Node, Endpoint::Nodes(Nodes::PeerSessions)),
    route(
        "GET",
        "/api/cluster/peer/sessions/{ID}",
        Access::Node,
        Endpoint::Nodes(Nodes::PeerSession),
    ),
    route(
        "DELETE",
        "/api/cluster/peer/sessions/{ID}",
        Access::Node,
        Endpoint::Nodes(Nodes::PeerSessionEnd),
    ),
    route("GET", "/api/series", Access::Api(Role::Reader), Endpoint::Series),
    route("GET", "/api/datafiles", Access::Api(Role::Reader), Endpoint::Datafiles),
    route("GET", "/api/licences", Access::Api(Role::Reader), Endpoint::Licences),
    route("POST", "/api/licences", Access::Api(Role::Administrator), Endpoint::InstallLicence),
    route(
        "POST",
        "/api/licences/request",
        Access::Api(Role::Administrator),
        Endpoint::Keys(Keys::Request),
    ),
    route(
        "POST",
        "/api/licences/answer",
        Access::Api(Role::Administrator),
        Endpoint::Keys(Keys::Answer),
    ),
    route(
        "POST",
        "/api/licences/update",
        Access::Api(Role::Administrator),
        Endpoint::Keys(Keys::Update),
    ),
    route(
        "POST",
        "/api/licences/demo",
        Access::Api(Role::Administrator),
        Endpoint::Keys(Keys::Demo),
    ),
    route("GET", "/api/licences/{KeyNo}", Access::Api(Role::Reader), Endpoint::Licence),
    route(
        "PUT",
        "/api/licences/{KeyNo}",
        Access::Api(Role::Administrator),
        Endpoint::Keys(Keys::Change),
    ),
    route(
        "DELETE",
        "/api/licences/{KeyNo}",
        Access::Api(Role::Administrator),
        Endpoint::Keys(Keys::Remove),
    ),
    route(
        "POST",
        "/api/licences/{KeyNo}/reservecode",
        Access::Api(Role::Administrator),
        Endpoint::Keys(Keys::ReserveCode),
    ),
    route(
        "POST",
        "/api/licences/{KeyNo}/spare",
        Access::Api(Role::Administrator),
        Endpoint::Keys(Keys::Spare),
    ),
    route("GET", "/api/connections", Access::Api(Role::Reader), Endpoint::Connections),
    route("GET", "/api/connections/{ID}", Access::Api(Role::Reader), Endpoint::Connection),
    route("GET", "/api/sessions", Access::Api(Role::Reader), Endpoint::Sessions),
    route("GET", "/api/sessions/{ID}", Access::Api(Role::Reader), Endpoint::Session),
    route("DELETE", "/api/sessions/{ID}", Access::Api(Role::Operator), Endpoint::SessionEnd),
    route("GET", "/api/events", Access::Api(Role::Reader), Endpoint::Events(Events::List)),
    route("GET", "/api/events/stream", Access::Api(Role::Reader), Endpoint::Events(Events::Stream)),
    route("GET", "/api/reports/{Kind}", Access::Api(Role::Reader), Endpoint::Report),
    route("GET", "/api/rules", Access::Api(Role::Operator), Endpoint::Rules(Rules::List)),
    route("PUT", "/api/rules", Access::Api(Role::Administrator), Endpoint::Rules(Rules::Put)),
    route("POST", "/api/rules/check", Access::Api(Role::Operator), Endpoint::Rules(Rules::Check)),
    route(
        "GET",
        "/api/settings",
        Access::Api(Role::Administrator),
        Endpoint::Settings(Settings::List),
    ),
    route(
        "PUT",
        "/api/settings",
        Access::Api(Role::Administrator),
        Endpoint::Settings(Settings::Change),
    ),
    route(
        "POST",
        "/api/settings/reload",
        Access::Api(Role::Administrator),
        Endpoint::Settings(Settings::Reload),
    ),
    route(
        "GET",
        "/api/users",
        Access::Api(Role::Administrator),
        Endpoint::Accounts(Accounts::Users),
    ),
    route(
        "PUT",
        "/api/users/{Name}",
        Access::Api(Role::Administrator),
        Endpoint::Accounts(Accounts::PutUser),
    ),
    route(
        "DELETE",
        "/api/users/{Name}",
        Access::Api(Role::Administrator),
        Endpoint::Accounts(Accounts::RemoveUser),
    ),
    route(
        "PUT",
        "/api/password",
        Access::Api(Role::Reader),
        Endpoint::Accounts(Accounts::ChangePassword),
    ),
    route(
        "GET",
        "/api/tokens",
        Access::Api(Role::Administrator),
        Endpoint::Accounts(Accounts::Tokens),
    ),
    route(
        "POST",
        "/api/tokens",
        Access::Api(Role::Administrator),
        Endpoint::Accounts(Accounts::MakeToken),
    ),
    route(
        "DELETE",
        "/api/tokens/{ID}",
        Access::Api(Role::Administrator),
        Endpoint::Accounts(Accounts::RemoveToken),
    ),
    route(
        "GET",
        "/api/backup",
        Access::Api(Role::Administrator),
        Endpoint::Service(Service::Backup),
    ),
    route(
        "POST",
        "/api/restore",
        Access::Api(Role::Administrator),
        Endpoint::Service(Service::Restore),
    ),
    route(
        "POST",
        "/api/restart",
        Access::Api(Role::Administrator),
        Endpoint::Service(Service::Restart),
    ),
    route("GET", "/api/log", Access::Api(Role::Administrator), Endpoint::Service(Service::Log)),
    route("GET", "/api/ismp/tokens", Access::Ismp, Endpoint::Ismp(Ismp::List)),
    route("GET", "/api/ismp/token", Access::Ismp, Endpoint::Ismp(Ismp::Token)),
    route("PUT", "/api/ismp/token", Access::Ismp, Endpoint::Ismp(Ismp::PutToken)),
    route("DELETE", "/api/ismp/token", Access::Ismp, Endpoint::Ismp(Ismp::DeleteToken)),
    route("POST", "/api/ismp/token/reject", Access::Ismp, Endpoint::Ismp(Ismp::Reject)),
    route("POST", "/api/ismp/refresh/required", Access::Ismp, Endpoint::Ismp(Ismp::Required)),
    route("POST", "/api/ismp/refresh/challenge", Access::Ismp, Endpoint::Ismp(Ismp::Challenge)),
    route("POST", "/api/ismp/refresh/complete", Access::Ismp, Endpoint::Ismp(Ismp::Complete)),
    route("DELETE", "/api/ismp/refresh/{Id}", Access::Ismp, Endpoint::Ismp(Ismp::Cancel)),
    route("GET", "/api/ismp/responsible", Access::Ismp, Endpoint::Ismp(Ismp::Rules)),
    route("POST", "/api/ismp/responsible", Access::Ismp, Endpoint::Ismp(Ismp::MakeRule)),
    route(
        "GET",
        "/api/ismp/responsible/settings",
        Access::Ismp,
        Endpoint::Ismp(Ismp::SettingsOfPerson),
    ),
    route("PUT", "/api/ismp/responsible/{Id}", Access::Ismp, Endpoint::Ismp(Ismp::PutRule)),
    route("DELETE", "/api/ismp/responsible/{Id}", Access::Ismp, Endpoint::Ismp(Ismp::RemoveRule)),
    route("POST", "/api/ismp/reminders", Access::Ismp, Endpoint::Ismp(Ismp::Reminders)),
    route("PUT", "/api/ismp/reminders/snooze", Access::Ismp, Endpoint::Ismp(Ismp::Snooze)),
    route("DELETE", "/api/ismp/reminders/snooze", Access::Ismp, Endpoint::Ismp(Ismp::Unsnooze)),
    route("GET", "/api/ismp/settings", Access::Ismp, Endpoint::Ismp(Ismp::Settings)),
    route("PUT", "/api/ismp/settings", Access::Ismp, Endpoint::Ismp(Ismp::ChangeSettings)),
    route("GET", "/api/ismp/replica", Access::Ismp, Endpoint::Ismp(Ismp::Replica)),
    route("PUT", "/api/ismp/replica", Access::Ismp, Endpoint::Ismp(Ismp::ReplicaGive)),
    route("POST", "/api/ismp/replica", Access::Ismp, Endpoint::Ismp(Ismp::ReplicaRelay)),
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
    route("POST", "/client/v1/datafile", Access::Client, Endpoint::Client(Message::Datafile)),
    route("POST", "/client/v1/datapart", Access::Client, Endpoint::Client(Message::Datapart)),
    route("POST", "/client/v1/objectkey", Access::Client, Endpoint::Client(Message::ObjectKey)),
    route("POST", "/client/v1/operation", Access::Client, Endpoint::Client(Message::Operation)),
];

/// Addresses that `GET /api` lists: those of the manual first.
pub const URNS: &[&str] = &[
    "/api/serverinfo",
    "/api/licences",
    "/api/connections",
    "/api/sessions",
    "/api/series",
    "/api/datafiles",
    "/api/events",
    "/api/reports",
    "/api/rules",
    "/api/settings",
    "/api/users",
    "/api/tokens",
    "/api/health",
    "/api/binding",
    "/api/cluster",
    "/api/cluster/sessions",
    "/api/cluster/events",
    "/api/backup",
    "/api/log",
];

/// Who may call a path that the table does not have: an unknown address below `/api` asks for the
/// password like any other.
pub fn access(path: &str) -> Access {
    if path == "/api" || path.starts_with("/api/") {
        Access::Api(Role::Reader)
    } else if path == "/client" || path.starts_with("/client/") {
        Access::Client
    } else {
        Access::Console(Role::Reader)
    }
}

/// What [`find`] found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found {
    /// The endpoint, who may call it, and the text in place of the braces.
    Endpoint(Endpoint, Access, String),
    /// The path is known and takes these methods.
    OtherMethods(String),
    /// No such path.
    Nothing,
}

/// Looks an address up: of the patterns that fit its path, the first one answers, whatever the
/// method; one without braces goes before those with. The argument is percent-decoded; one that is
/// no UTF-8 is found nowhere.
pub fn find(method: &str, path: &str) -> Found {
    let asked = if method == "HEAD" { "GET" } else { method };
    let mut allowed = Vec::new();
    // `/api/licences/request` is an address of its own, and no key of that number. Comparing whole
    // paths first also spares those without an argument the look into every pattern.
    let mut pattern = ROUTES.iter().map(|route| route.path).find(|pattern| *pattern == path);
    let is_whole = pattern.is_some();
    for route in ROUTES {
        if is_whole && route.path != path {
            continue;
        }
        let Some(argument) = matched(route.path, path) else { continue };
        if *pattern.get_or_insert(route.path) != route.path {
            continue;
        }
        if route.method == asked {
            return match percent_decode_str(argument).decode_utf8() {
                Ok(argument) => {
                    Found::Endpoint(route.endpoint, route.access, argument.into_owned())
                }
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

/// The text in place of the braces, with the slash between two of them; empty for a pattern without.
fn matched<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let Some((before, rest)) = pattern.split_once('{') else {
        return (pattern == path).then_some("");
    };
    let (names, after) = rest.rsplit_once('}')?;
    let argument = path.strip_prefix(before)?.strip_suffix(after)?;
    let is_whole = argument.split('/').all(|part| !part.is_empty());
    (is_whole && argument.matches('/').count() == names.matches('/').count()).then_some(argument)
}

#[cfg(test)]
mod tests;
