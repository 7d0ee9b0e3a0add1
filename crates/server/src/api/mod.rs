//! The HTTP side: from a request to an answer.
//!
//! Knows the driver's handle and nothing of how the driver counts. Sockets are below it, in
//! [`crate::net`]; a test calls [`serve`] without one.

pub mod accounts;
pub mod backup;
pub(crate) mod binding;
pub mod body;
pub mod client;
pub(crate) mod cluster;
mod control;
pub mod errors;
pub mod events;
pub mod form;
pub mod health;
pub(crate) mod ismp;
mod ismp_replica;
pub mod keys;
pub mod logs;
pub mod metrics;
pub(crate) mod nodes;
mod object_key;
pub(crate) mod objects;
mod operations;
pub mod params;
pub mod reports;
pub mod rest;
pub mod routes;
pub mod rules;
pub mod service;
pub mod settings;
mod spans;
pub mod views;

use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::Body;
use hyper::header::{ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Request, Response, StatusCode};
use licence_core::language::Language;
use licence_core::time::Utc;

pub use self::control::Control;
pub use self::operations::parameters::ParameterFiles;
pub use self::operations::tickets::Tickets;
use crate::access::auth::Auth;
use crate::access::{Actor, chosen_language, gate};
use crate::activate::Activator;
use crate::api::body::AnswerBody;
use crate::api::errors::ApiError;
use crate::api::routes::{Access, Endpoint, Found};
use crate::binding::BindingWatch;
use crate::cluster::Cluster;
use crate::cluster::peers::Peers;
use crate::console;
use crate::console::{MadeTokens, OverviewCache};
use crate::datafiles::Datafiles;
use crate::driver::Handle;
use crate::history::{Feed, History};
use crate::host::HostFacts;
use crate::ismp::Ismp;
use crate::ismp::replica::Replica;
use crate::language;
use crate::looks::Looks;
use crate::metrics::{Area, Metrics};
use crate::paths::Paths;
use crate::settings::Settings;
use crate::tls::Certificates;
use crate::tokens::Tokens;

/// A whole answer.
pub type Answer = Response<AnswerBody>;

/// Version of the server, as all views show it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Everything that a request may need. Shared by all connections; nothing in it changes.
#[derive(Debug)]
pub struct App {
    /// The task that owns the state.
    pub handle: Handle,
    /// Settings.
    pub settings: Settings,
    /// Who may use the API and the console.
    pub auth: Auth,
    /// How the licences stand with the computer.
    pub binding: Arc<BindingWatch>,
    /// What TLS shows.
    pub certificates: Arc<Certificates>,
    /// What happened and how the seats were used.
    pub history: History,
    /// What is counted and measured.
    pub metrics: Arc<Metrics>,
    /// What happens, as it is written.
    pub feed: Feed,
    /// Where the files are.
    pub paths: Paths,
    /// Asks the server to stop, or to start again without leaving the process.
    pub control: Control,
    /// The computer.
    pub host: HostFacts,
    /// When the server started.
    pub started: Utc,
    /// Installs licences by code.
    pub activator: Arc<Activator>,
    /// Tokens with keys.
    pub tokens: Tokens,
    /// Operations of components that are under way.
    pub operations: Tickets,
    /// The vendors' data files.
    pub datafiles: Datafiles,
    /// Licence parameters in them.
    pub parameter_files: ParameterFiles,
    /// Why the server runs with other settings than the conf file says, if it does.
    pub start_problem: Option<String>,
    /// Where a database that could not be read was put aside at this start.
    pub replaced_database: Option<std::path::PathBuf>,
    /// What the reserve servers answered last.
    pub reserve: crate::health::reserve::ReserveCache,
    /// Backups and restores, one at a time.
    pub backups: backup::Turns,
    /// What the console's first page showed last.
    pub overview: OverviewCache,
    /// Tokens that wait to be shown to whoever made them.
    pub made_tokens: MadeTokens,
    /// Who uses the keys, as the lists last saw it.
    pub looks: Looks,
    /// Session keys of ИС МП.
    pub ismp: Ismp,
    /// Functions of session keys that components asked for and that are under way.
    pub ismp_operations: Tickets,
    /// Session keys of a main server, on its reserve.
    pub ismp_replica: Replica,
    /// The node of a cluster that this server is, if it is one.
    pub cluster: Option<Cluster>,
    /// Why it is none, though its settings name a cluster.
    pub cluster_problem: Option<String>,
    /// The other nodes, as far as they are asked for what they show.
    pub peers: Option<Peers>,
}

impl App {
    /// Looks again for the next page, because something has just been changed.
    pub async fn forget_looks(&self) {
        self.overview.forget().await;
        self.looks.forget().await;
    }

    /// Why the certificate that the administrator gave is not in use, if so.
    pub fn tls_problem(&self, language: Language) -> Option<String> {
        self.certificates.problem(language)
    }
}

/// Where a request came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// Address.
    pub ip: IpAddr,
    /// Whether it came over TLS.
    pub is_tls: bool,
}

/// A request without its body.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) app: &'a Arc<App>,
    pub(crate) peer: Peer,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) query: Option<&'a str>,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// The text in place of the braces of the path.
    pub(crate) argument: String,
    pub(crate) language: Language,
    /// Who asks.
    pub(crate) actor: Actor,
}

impl Call<'_> {
    /// Whether a page of the console asks for its live parts by itself, without anybody's doing.
    pub(crate) fn is_refresh(&self) -> bool {
        let mut pairs = self.query.unwrap_or("").split('&');
        self.method == "GET" && pairs.any(|pair| pair == "fragment=live")
    }
}

/// Answers one request. Never fails: what goes wrong is an answer with the error body.
pub async fn serve<B>(app: &Arc<App>, peer: Peer, request: Request<B>) -> Answer
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let accepted = || {
        let value = head.headers.get(ACCEPT_LANGUAGE)?;
        value.to_str().ok().and_then(language::accepted)
    };
    let language =
        chosen_language(&head.headers).or_else(accepted).unwrap_or_else(|| app.settings.get().lang);
    let mut call = Call {
        app,
        peer,
        headers: &head.headers,
        query: head.uri.query(),
        method: head.method.as_str(),
        path: head.uri.path(),
        argument: String::new(),
        language,
        actor: gate::anonymous(peer.ip),
    };
    let mut answer = match route(&mut call, body).await {
        Ok(answer) => answer,
        Err(error) => {
            if error.status.is_server_error() {
                log::warn!("{} {}: {error}", head.method, head.uri.path());
            }
            console::error_page(&call, &error)
                .unwrap_or_else(|| error.response(error.language.unwrap_or(language)))
        }
    };
    app.metrics.request(Area::of(head.uri.path()), answer.status().as_u16());
    let headers = answer.headers_mut();
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    log::debug!("{} {} {} {}", peer.ip, head.method, head.uri.path(), answer.status().as_u16());
    answer
}

async fn route<B>(call: &mut Call<'_>, body: B) -> Result<Answer, ApiError>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (method, path) = (call.method, call.path);
    let found = routes::find(method, path);
    let access = match &found {
        Found::Endpoint(_, access, _) => *access,
        Found::OtherMethods(_) | Found::Nothing => routes::access(path),
    };
    // Messages of components are nearly all there is to answer. What they do not need is boxed, so
    // that their futures stay small: every request moves its own several times.
    if access == Access::Client {
        gate::admit_component(call)?;
    } else if let Some(answer) = Box::pin(gate::admit(call, access)).await? {
        return Ok(answer);
    }
    let endpoint = match found {
        Found::Endpoint(endpoint, _, argument) => {
            call.argument = argument;
            endpoint
        }
        Found::OtherMethods(allow) => return Err(ApiError::method_not_allowed(method, allow)),
        Found::Nothing => return Err(ApiError::not_found(path)),
    };
    if endpoint == Endpoint::Service(routes::Service::Restore) {
        // An archive is no message: it goes to the disk as it comes.
        return Box::pin(backup::restore(call, body)).await;
    }
    let bytes_max = body_bytes_max(endpoint);
    let body = params::read_body(body, bytes_max).await?;
    if let Endpoint::Client(kind) = endpoint {
        return client::answer(call, kind, &body).await;
    }
    Box::pin(answer(call, endpoint, &body)).await
}

/// Answers what has come through the gate.
async fn answer(call: &Call<'_>, endpoint: Endpoint, body: &[u8]) -> Result<Answer, ApiError> {
    let path = call.path;
    match endpoint {
        Endpoint::Accounts(what) => accounts::answer(call, what, body).await,
        Endpoint::Api => rest::api(),
        Endpoint::Binding => binding::answer(call).await,
        Endpoint::Client(kind) => client::answer(call, kind, body).await,
        Endpoint::Cluster => cluster::answer(call),
        Endpoint::Connection => rest::connection(call, path).await,
        Endpoint::Connections => rest::connections(call, body).await,
        Endpoint::Console(page) => console::answer(call, page, body).await,
        Endpoint::Datafiles => objects::list(call, body).await,
        Endpoint::Events(what) => events::answer(call, what, body).await,
        Endpoint::Health(what) => health::answer(call, what, body).await,
        Endpoint::InstallLicence => rest::install(call, body).await,
        Endpoint::Ismp(what) => ismp::answer(call, what, body).await,
        Endpoint::Keys(what) => keys::answer(call, what, body).await,
        Endpoint::Licence => rest::licence(call, path).await,
        Endpoint::Licences => rest::licences(call, body).await,
        Endpoint::Metrics => metrics::answer(call, body).await,
        Endpoint::Nodes(what) => nodes::answer(call, what, body).await,
        Endpoint::Report => reports::answer(call, body).await,
        Endpoint::Rules(what) => rules::answer(call, what, body).await,
        Endpoint::Series => rest::series_totals(call, body).await,
        Endpoint::ServerInfo => rest::server_info(call),
        Endpoint::Service(what) => service::answer(call, what, body).await,
        Endpoint::Session => rest::session(call, path).await,
        Endpoint::SessionEnd => rest::end_session(call, body).await,
        Endpoint::Sessions => rest::sessions(call, body).await,
        Endpoint::Settings(what) => settings::answer(call, what, body).await,
    }
}

/// Largest body of an operation, in bytes: an answer file of the largest size, whose quotes and line
/// ends take two bytes each inside of JSON.
const OPERATION_BYTES_MAX: usize = 2 * crate::activate::ANSWER_BYTES_MAX;

/// Largest body about session keys, in bytes: the longest signature and what stands around it, or
/// the settings of all organisations and installations.
const ISMP_BYTES_MAX: usize = 2 * licence_ismp::exchange::SIGNATURE_BYTES_MAX;

/// Largest body of a message.
const fn body_bytes_max(endpoint: Endpoint) -> usize {
    match endpoint {
        Endpoint::Client(routes::Message::Heartbeat)
        | Endpoint::Console(routes::Page::RulesChange)
        | Endpoint::Rules(_) => params::BODY_BYTES_MAX,
        Endpoint::Client(routes::Message::Operation) => OPERATION_BYTES_MAX,
        Endpoint::Console(routes::Page::InstallAnswer) | Endpoint::Keys(routes::Keys::Answer) => {
            crate::activate::ANSWER_BYTES_MAX
        }
        Endpoint::Ismp(_) => ISMP_BYTES_MAX,
        Endpoint::Accounts(_)
        | Endpoint::Api
        | Endpoint::Binding
        | Endpoint::Client(_)
        | Endpoint::Cluster
        | Endpoint::Connection
        | Endpoint::Connections
        | Endpoint::Console(_)
        | Endpoint::Datafiles
        | Endpoint::Events(_)
        | Endpoint::Health(_)
        | Endpoint::InstallLicence
        | Endpoint::Keys(_)
        | Endpoint::Licence
        | Endpoint::Licences
        | Endpoint::Metrics
        | Endpoint::Nodes(_)
        | Endpoint::Report
        | Endpoint::Series
        | Endpoint::ServerInfo
        | Endpoint::Service(_)
        | Endpoint::Session
        | Endpoint::SessionEnd
        | Endpoint::Sessions
        | Endpoint::Settings(_) => params::MESSAGE_BYTES_MAX,
    }
}

/// A JSON answer.
pub(crate) fn json<T: serde::Serialize>(status: StatusCode, view: &T) -> Result<Answer, ApiError> {
    Ok(json_answer(status, json_body(view)?))
}

/// The body of an answer in JSON.
fn json_body<T: serde::Serialize>(view: &T) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(view).map_err(|error| {
        log::error!("an answer cannot be written as JSON: {error}");
        ApiError::internal()
    })
}

/// An answer whose body is JSON already.
fn json_answer(status: StatusCode, body: impl Into<AnswerBody>) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    answer
}
