//! The gate: whether a request comes in, and as whom.
//!
//! Knows the settings, the table's word on who may call, and [`super::auth`]'s on who calls. Looks
//! at one request at a time, before its body is read.

use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderValue, LOCATION};
use hyper::{HeaderMap, StatusCode};
use licence_core::causes::with_causes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::access::credentials::{Presented, presented};
use crate::access::csrf;

use crate::access::{Actor, Role, Via, see_other};
use crate::api::errors::ApiError;
use crate::api::routes::Access;
use crate::api::{Answer, Call, client, cluster};
use crate::clock;
use crate::config::{Authorization, Config, Scope};

/// Lets a request in that is no message of a component, or not; whoever comes in is the call's actor. Some are answered here: those
/// that are sent to the login page or to TLS.
///
/// # Errors
///
/// 401, 403, 429 or 503, with a class that says which check it was.
pub(crate) async fn admit(call: &mut Call<'_>, access: Access) -> Result<Option<Answer>, ApiError> {
    if access == Access::Node {
        return admit_node(call).map(|()| None);
    }
    let app = call.app;
    let config = app.settings.get();
    let is_open = access == Access::Open;
    let shows_nothing = is_open && shows_nothing(call.path);
    if !shows_nothing {
        app.auth.check_origin(call, &config)?;
    }
    if config.parts.tls.require_tls && !call.peer.is_tls && !is_health(call.path) {
        return over_tls(call).map(Some);
    }
    if is_change(call.method) {
        csrf::check_sender(call.headers)?;
    }
    match access {
        Access::Api(role) => admit_to_api(call, &config, role).await.map(|()| None),
        Access::Console(role) => admit_to_console(call, &config, role).await,
        Access::Ismp => admit_to_ismp(call, &config).await.map(|()| None),
        Access::Metrics => admit_to_metrics(call, &config).await.map(|()| None),
        Access::Node => admit_node(call).map(|()| None),
        Access::Client => admit_component(call).map(|()| None),
        Access::Open => Ok(None),
    }
}

/// Lets a message of a component in, or not.
///
/// # Errors
///
/// 403 over plain HTTP, 409 for a version of the protocol that this server does not speak.
pub(crate) fn admit_component(call: &Call<'_>) -> Result<(), ApiError> {
    if !call.peer.is_tls {
        return Err(ApiError::forbidden(
            "Components connect over TLS only.",
            "Компонента подключается только по TLS.",
        ));
    }
    client::check_version(call.path)
}

/// Lets another node of the cluster in, by its pass and by nothing else. Like components, nodes come
/// from other computers, so who may open the console from where is not asked.
fn admit_node(call: &mut Call<'_>) -> Result<(), ApiError> {
    let peers = call.app.peers.as_ref().ok_or_else(|| cluster::none(call.app))?;
    if !call.peer.is_tls {
        return Err(ApiError::forbidden(
            "Nodes of a cluster connect over TLS only.",
            "Узлы кластера подключаются только по TLS.",
        ));
    }
    let Presented::Bearer(token) = presented(call.headers) else {
        return Err(no_pass("there is none", "его нет", StatusCode::UNAUTHORIZED));
    };
    let guest = peers.admit(&token, call.method, call.path, clock::utc()).map_err(|error| {
        // Anybody can send what says nothing of who sends it, as often as they like.
        let (level, status) = if error.is_nobody() {
            (log::Level::Debug, StatusCode::UNAUTHORIZED)
        } else {
            (log::Level::Warn, StatusCode::FORBIDDEN)
        };
        let why = with_causes(&error);
        log::log!(level, "{}: the pass of a node does not count: {why}", call.peer.ip);
        no_pass(&error.to_string(), error.russian(), status)
    })?;
    call.actor = Actor {
        name: guest,
        role: Role::Operator,
        via: Via::Node,
        peer: call.peer.ip,
        has_default_password: false,
    };
    Ok(())
}

fn no_pass(english: &str, russian: &str, status: StatusCode) -> ApiError {
    let mut error = ApiError::new(
        status,
        "EClusterPass",
        format!("This address is for nodes of the cluster; the pass does not count: {english}."),
        format!("Этот адрес для узлов кластера; пропуск узла не принят: {russian}."),
    );
    error.is_quiet = true;
    error
}

async fn admit_to_api(call: &mut Call<'_>, config: &Config, role: Role) -> Result<(), ApiError> {
    check_api_enabled(config)?;
    let known = call.app.auth.identify(call, config).await?;
    let known = known.ok_or_else(|| nobody(call))?;
    check_role(known.scope, role)?;
    // A browser adds the cookie of a login by itself, so the page that asks must be known.
    if is_change(call.method) && matches!(known.actor.via, Via::Login { .. }) {
        csrf::check_sender_strictly(call.headers)?;
    }
    call.actor = known.actor;
    Ok(())
}

fn check_api_enabled(config: &Config) -> Result<(), ApiError> {
    if config.api_enabled {
        return Ok(());
    }
    Err(ApiError::unavailable(
        "The API is switched off in the settings ([API] Enabled).",
        "Доступ к API отключен в настройках ([API] Enabled).",
    ))
}

async fn admit_to_console(
    call: &mut Call<'_>,
    config: &Config,
    role: Role,
) -> Result<Option<Answer>, ApiError> {
    if config.console.authorization == Authorization::Off {
        // Nobody is asked for anything, so the only thing that keeps a page of a stranger out, also
        // from reading, is the name by which it came.
        call.app.auth.check_host(call, config)?;
        call.actor.role = Role::Administrator;
        return Ok(None);
    }
    let is_asked = config.console.authorization == Authorization::Always
        || role > Role::Reader
        || is_personal(call.path);
    match call.app.auth.identify(call, config).await? {
        Some(known) => {
            check_role(known.scope, role)?;
            call.actor = known.actor;
            Ok(None)
        }
        None if !is_asked => Ok(None),
        None if wants_page(call.headers) => Ok(Some(to_login(call))),
        None => Err(nobody(call)),
    }
}

async fn admit_to_metrics(call: &mut Call<'_>, config: &Config) -> Result<(), ApiError> {
    let metrics = config.parts.metrics;
    if !metrics.enabled {
        return Err(ApiError::unavailable(
            "Metrics are switched off in the settings ([Metrics] Enabled).",
            "Метрики отключены в настройках ([Metrics] Enabled).",
        ));
    }
    if metrics.anonymous {
        return Ok(());
    }
    let known = call.app.auth.identify(call, config).await?;
    let known = known.ok_or_else(|| nobody(call))?;
    if known.scope != Scope::Metrics {
        check_role(known.scope, Role::Reader)?;
    }
    call.actor = known.actor;
    Ok(())
}

/// Session keys let their holder act as the company, so they are for few, and never for whoever
/// listens on the wire or knows the manual.
async fn admit_to_ismp(call: &mut Call<'_>, config: &Config) -> Result<(), ApiError> {
    check_api_enabled(config)?;
    let known = call.app.auth.identify(call, config).await?;
    let known = known.ok_or_else(|| nobody(call))?;
    check_ismp_scope(known.scope)?;
    check_ismp_enabled(config)?;
    if config.has_default_password() {
        return Err(insecure(
            "Session keys are not served while the default password is in force; set another one.",
            "Ключи сессии не выдаются, пока действует пароль по умолчанию; задайте другой.",
        ));
    }
    let is_here = call.peer.ip.to_canonical().is_loopback();
    if !call.peer.is_tls && !is_here && !config.ismp.allow_plain_http {
        return Err(insecure(
            "Session keys are not served over plain HTTP to other computers; use https, or set \
             [ISMP] AllowPlainHttp.",
            "Ключи сессии не выдаются другим компьютерам по HTTP; используйте https или параметр \
             [ISMP] AllowPlainHttp.",
        ));
    }
    if is_change(call.method) && matches!(known.actor.via, Via::Login { .. }) {
        csrf::check_sender_strictly(call.headers)?;
    }
    call.actor = known.actor;
    Ok(())
}

/// Whether session keys are served at all.
///
/// # Errors
///
/// 503 `EIsmpDisabled`.
pub(crate) fn check_ismp_enabled(config: &Config) -> Result<(), ApiError> {
    if config.ismp.enabled {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "EIsmpDisabled",
        "Session keys are switched off in the settings ([ISMP] Enabled).",
        "Ключи сессии отключены в настройках ([ISMP] Enabled).",
    ))
}

/// Whether somebody with this scope may have session keys.
///
/// # Errors
///
/// 403 `ERole`.
pub(crate) fn check_ismp_scope(scope: Scope) -> Result<(), ApiError> {
    match scope {
        Scope::Ismp => Ok(()),
        Scope::Metrics | Scope::Role(_) => check_role(scope, Role::Administrator),
    }
}

fn insecure(english: &str, russian: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "EIsmpInsecure", english, russian)
}

pub(super) fn check_role(scope: Scope, needed: Role) -> Result<(), ApiError> {
    let (english, russian) = match scope {
        Scope::Role(role) if role >= needed => return Ok(()),
        Scope::Role(role) => (format!("yours is {role}"), format!("ваша роль — {role}")),
        Scope::Ismp => (
            "this token is for session keys (/api/ismp) alone".to_owned(),
            "этот токен действует только для ключей сессии (/api/ismp)".to_owned(),
        ),
        Scope::Metrics => (
            "this token is for /metrics alone".to_owned(),
            "этот токен действует только для /metrics".to_owned(),
        ),
    };
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        "ERole",
        format!("This needs the role {needed}; {english}."),
        format!("Требуется роль {needed}; {russian}."),
    ))
}

/// 401 for a request that does not say who sends it.
fn nobody(call: &Call<'_>) -> ApiError {
    let mut error = ApiError::unauthorized();
    // The script of a page whose login is over must not make the browser ask for a password.
    error.is_quiet = call.app.auth.has_session_cookie(call);
    error
}

/// Whether a method may change something.
fn is_change(method: &str) -> bool {
    !matches!(method, "GET" | "HEAD")
}

/// Pages that are not for nobody in particular: those about whoever looks at them, those that tell who
/// did what, users and administrators by name, and those for which other nodes are asked: what they
/// show must not depend on the node with the laxest settings.
fn is_personal(path: &str) -> bool {
    matches!(path, "/cluster/events" | "/events" | "/password" | "/reports")
        || path.starts_with("/cluster/sessions")
}

fn is_health(path: &str) -> bool {
    path.starts_with("/health/")
}

/// What stays open whatever `LocalAccessOnly`, `AllowedAddresses` and `HostNames` say: probes and
/// decoration.
fn shows_nothing(path: &str) -> bool {
    is_health(path) || matches!(path, "/console.css" | "/console.js" | "/favicon.svg")
}

/// Whether a browser asks for a page to show, rather than a program for an answer to read.
fn wants_page(headers: &HeaderMap) -> bool {
    !headers.contains_key(AUTHORIZATION)
        && headers.get_all(ACCEPT).iter().any(|value| {
            value.to_str().is_ok_and(|value| value.to_ascii_lowercase().contains("text/html"))
        })
}

fn to_login(call: &Call<'_>) -> Answer {
    // What a form would have changed is lost with the login; the first page is as good as any.
    let next = if is_change(call.method) { "/".to_owned() } else { address(call) };
    see_other(&format!("/login?next={}", utf8_percent_encode(&next, NON_ALPHANUMERIC)))
}

fn address(call: &Call<'_>) -> String {
    match call.query {
        Some(query) => format!("{}?{query}", call.path),
        None => call.path.to_owned(),
    }
}

/// Sends a browser to the same address over TLS, on the same port; refuses anything else, whose
/// password went over the wire already.
fn over_tls(call: &Call<'_>) -> Result<Answer, ApiError> {
    let refused = || {
        ApiError::new(
            StatusCode::FORBIDDEN,
            "ETlsRequired",
            "Plain HTTP is switched off in the settings ([TLS] RequireTLS); use https.",
            "Доступ по HTTP отключен в настройках ([TLS] RequireTLS); используйте https.",
        )
    };
    if is_change(call.method) || !wants_page(call.headers) {
        return Err(refused());
    }
    let host = call.headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or("");
    let is_host = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    if host.is_empty() || !host.bytes().all(is_host) {
        return Err(refused());
    }
    // Not for good: browsers would remember it after the setting has been taken back.
    let location = format!("https://{host}{}", address(call));
    let location = HeaderValue::from_str(&location).map_err(|_| refused())?;
    let mut answer = hyper::Response::new(Vec::new().into());
    *answer.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    answer.headers_mut().insert(LOCATION, location);
    Ok(answer)
}

/// Whoever has not said who they are.
pub(crate) fn anonymous(peer: std::net::IpAddr) -> Actor {
    Actor {
        name: String::new(),
        role: Role::Reader,
        via: Via::Nothing,
        peer,
        has_default_password: false,
    }
}
