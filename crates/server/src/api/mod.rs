//! The HTTP side: from a request to an answer.
//!
//! Knows the driver's handle and nothing of how the driver counts. Sockets are below it, in
//! [`crate::net`]; a test calls [`serve`] without one.

pub mod auth;
pub mod client;
pub mod errors;
pub mod params;
pub mod rest;
pub mod routes;
pub mod views;

use std::net::IpAddr;

use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::header::{ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Request, Response, StatusCode};
use licence_core::language::Language;
use licence_core::time::Utc;

use crate::activate::Activator;
use crate::api::auth::Auth;
use crate::api::errors::ApiError;
use crate::api::routes::{Access, Endpoint, Found};
use crate::config::{Authorization, Config};
use crate::console;
use crate::console::OverviewCache;
use crate::driver::Handle;
use crate::host::HostFacts;
use crate::language;

/// A whole answer.
pub type Answer = Response<Full<Bytes>>;

/// Version of the server, as all views show it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Everything that a request may need. Shared by all connections; nothing in it changes.
#[derive(Debug)]
pub struct App {
    /// The task that owns the state.
    pub handle: Handle,
    /// Settings.
    pub config: Config,
    /// Who may use the API and the console.
    pub auth: Auth,
    /// The computer.
    pub host: HostFacts,
    /// When the server started.
    pub started: Utc,
    /// Installs licences by code.
    pub activator: Activator,
    /// What the console's first page showed last.
    pub overview: OverviewCache,
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
    pub(crate) app: &'a App,
    pub(crate) peer: Peer,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) query: Option<&'a str>,
    /// The text in place of the braces of the path.
    pub(crate) argument: String,
    pub(crate) language: Language,
}

/// Answers one request. Never fails: what goes wrong is an answer with the error body.
pub async fn serve<B>(app: &App, peer: Peer, request: Request<B>) -> Answer
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let language = head
        .headers
        .get(ACCEPT_LANGUAGE)
        .and_then(|value| value.to_str().ok())
        .and_then(language::accepted)
        .unwrap_or(app.config.lang);
    let mut call = Call {
        app,
        peer,
        headers: &head.headers,
        query: head.uri.query(),
        argument: String::new(),
        language,
    };
    let mut answer = match route(&mut call, head.method.as_str(), head.uri.path(), body).await {
        Ok(answer) => answer,
        Err(error) => {
            if error.status.is_server_error() {
                log::warn!("{} {}: {error}", head.method, head.uri.path());
            }
            error.response(error.language.unwrap_or(language))
        }
    };
    let headers = answer.headers_mut();
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    log::debug!("{} {} {} {}", peer.ip, head.method, head.uri.path(), answer.status().as_u16());
    answer
}

async fn route<B>(
    call: &mut Call<'_>,
    method: &str,
    path: &str,
    body: B,
) -> Result<Answer, ApiError>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let app = call.app;
    match routes::access(path) {
        Access::Api => {
            app.auth.check_origin(call.peer.ip, call.headers)?;
            if !app.config.api_enabled {
                return Err(ApiError::unavailable(
                    "The API is switched off in the settings ([API] Enabled).",
                    "Доступ к API отключен в настройках ([API] Enabled).",
                ));
            }
            app.auth.check_password(call.headers).await?;
        }
        Access::Client => {
            if !call.peer.is_tls {
                return Err(ApiError::forbidden(
                    "Components connect over TLS only.",
                    "Компонента подключается только по TLS.",
                ));
            }
            client::check_version(path)?;
        }
        Access::Console => {
            app.auth.check_origin(call.peer.ip, call.headers)?;
            if app.config.console.authorization == Authorization::Always {
                app.auth.check_password(call.headers).await?;
            }
        }
    }
    let endpoint = match routes::find(method, path) {
        Found::Endpoint(endpoint, argument) => {
            call.argument = argument;
            endpoint
        }
        Found::OtherMethods(allow) => return Err(ApiError::method_not_allowed(method, allow)),
        Found::Nothing => return Err(ApiError::not_found(path)),
    };
    let is_heartbeat = matches!(endpoint, Endpoint::Client(routes::Message::Heartbeat));
    let bytes_max = if is_heartbeat { params::BODY_BYTES_MAX } else { params::MESSAGE_BYTES_MAX };
    let body = params::read_body(body, bytes_max).await?;
    match endpoint {
        Endpoint::Api => rest::api(),
        Endpoint::ServerInfo => rest::server_info(call),
        Endpoint::Licences => rest::licences(call, &body).await,
        Endpoint::Licence => rest::licence(call, path).await,
        Endpoint::InstallLicence => rest::install(call, &body).await,
        Endpoint::Connections => rest::connections(call, &body).await,
        Endpoint::Connection => rest::connection(call, path).await,
        Endpoint::Sessions => rest::sessions(call, &body).await,
        Endpoint::Session => rest::session(call, path).await,
        Endpoint::ConsoleOverview => console::overview(call).await,
        Endpoint::ConsoleStyle => Ok(console::style()),
        Endpoint::ConsoleSystemInfo => console::system_info(call),
        Endpoint::Client(kind) => client::answer(call, kind, &body).await,
    }
}

/// A JSON answer.
pub(crate) fn json<T: serde::Serialize>(status: StatusCode, view: &T) -> Result<Answer, ApiError> {
    let body = serde_json::to_vec(view).map_err(|error| {
        log::error!("an answer cannot be written as JSON: {error}");
        ApiError::internal()
    })?;
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    Ok(answer)
}
