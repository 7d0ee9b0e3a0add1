//! The routes of the centre: reads a request, asks the books, writes the answer.
//!
//! The table of routes is `route`. Rules are in `decide`, words of refusals in `refusal`;
//! sockets are `http`'s.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use licence_core::activation::ActivationCode;
use licence_core::activation_request::{
    ActivationAnswer, ActivationCall, ActivationRequest, REQUEST_TYP,
};
use licence_core::causes::with_causes;
use licence_core::jws;
use licence_core::series::SeriesDescriptor;
use licence_core::time::Utc;
use licencekit::order::{OrderCall, is_owner_number};
use licencekit::text::Language;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::books::{Books, BooksError};
use crate::decide::Asked;
use crate::folder::AdminToken;
use crate::refusal::{Refusal, language};
use crate::series::SeriesSet;
use crate::store::{Activation, StoreError};

/// Largest body that is read: an activation request has some 2 KiB, an order less.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// How long a body may take to arrive: 64 KiB at the speed of an old modem.
const BODY_WAIT: Duration = Duration::from_secs(10);

/// Longest server version that is kept.
const VERSION_CHARS_MAX: usize = 50;

/// The centre as its routes see it.
#[derive(Debug)]
pub struct Centre {
    /// The books.
    pub books: Books,
    /// The series that it serves.
    pub series: Arc<SeriesSet>,
    /// What the vendor's calls must show.
    pub token: AdminToken,
    /// The clock.
    pub now: fn() -> Utc,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Route {
    Activations,
    Health,
    Orders,
    Revoke(i64),
    Series,
}

/// Route and methods of a path.
fn route(path: &str) -> Option<(Route, &'static str)> {
    match path {
        "/api/activations" => Some((Route::Activations, "POST")),
        "/api/orders" => Some((Route::Orders, "GET, POST")),
        "/api/series" => Some((Route::Series, "GET")),
        "/health" => Some((Route::Health, "GET")),
        _ => {
            let id = path.strip_prefix("/api/orders/")?.strip_suffix("/revoke")?;
            let digits = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
            Some((Route::Revoke(digits.then(|| id.parse().ok())??), "POST"))
        }
    }
}

impl Centre {
    /// Answers one request.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data: Send> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let wished = request.headers().get(header::ACCEPT_LANGUAGE);
        let language = language(wished.and_then(|value| value.to_str().ok()));
        match self.dispatch(request).await {
            Ok(response) => response,
            Err(refusal) => refuse(&refusal, language),
        }
    }

    async fn dispatch<B>(&self, request: Request<B>) -> Result<Response<Full<Bytes>>, Refusal>
    where
        B: Body<Data: Send> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (route, methods) = route(request.uri().path()).ok_or(Refusal::NotFound)?;
        if !methods.split(", ").any(|method| method == request.method().as_str()) {
            return Err(Refusal::Method(methods));
        }
        if matches!(route, Route::Orders | Route::Revoke(_)) {
            self.authorize(request.headers())?;
        }
        match route {
            Route::Activations => self.activate(request).await,
            // Whoever watches over the centre must not be told that all is well without books.
            Route::Health if !self.books.are_open() => Err(Refusal::Closed),
            Route::Health => Ok(json(
                StatusCode::OK,
                &Health { status: "ok", version: env!("CARGO_PKG_VERSION") },
            )),
            Route::Orders if request.method() == Method::POST => self.add_order(request).await,
            Route::Orders => {
                let before = before(request.uri().query())?;
                let list = self.books.orders(before).await.map_err(refusal_of)?;
                Ok(json(StatusCode::OK, &list))
            }
            Route::Revoke(order_id) => {
                self.books.revoke(order_id, (self.now)()).await.map_err(refusal_of)?;
                log::info!("order {order_id} revoked");
                Ok(json(StatusCode::OK, &Revoked { order_id, revoked: true }))
            }
            Route::Series => {
                let list: Vec<&SeriesDescriptor> =
                    self.series.values().map(|series| &series.descriptor).collect();
                Ok(json(StatusCode::OK, &list))
            }
        }
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let offered = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().split_at_checked(7))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
            .map(|(_, token)| token.trim_ascii());
        match offered {
            Some(token) if self.token.fits(token) => Ok(()),
            _ => Err(Refusal::Unauthorized),
        }
    }

    async fn add_order<B>(&self, request: Request<B>) -> Result<Response<Full<Bytes>>, Refusal>
    where
        B: Body<Data: Send> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let order: OrderCall = read(request).await?;
        let now = (self.now)();
        order.check(now).map_err(Refusal::Order)?;
        if !self.series.contains_key(&order.series) {
            return Err(Refusal::OrderSeries);
        }
        let (series, count) = (order.series, order.count);
        let answer = self.books.add_order(order, now).await.map_err(refusal_of)?;
        log::info!("order {}: {count} codes of series {series}", answer.order_id);
        Ok(json(StatusCode::CREATED, &answer))
    }

    async fn activate<B>(&self, request: Request<B>) -> Result<Response<Full<Bytes>>, Refusal>
    where
        B: Body<Data: Send> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let call: ActivationCall = read(request).await?;
        let (activation, request_id) = activation_of(&call)?;
        let code = activation.code;
        let series = self.series.get(&code.series()).ok_or(Refusal::CodeWrong)?;
        let computer = activation.computer_id.clone();
        match self.books.activate(activation, (self.now)()).await {
            Ok(done) => {
                let what = if done.first { "activated" } else { "activation repeated" };
                log::info!(
                    "request {request_id}: code {} {what}, key {}, computer {computer}",
                    masked(code),
                    done.key_no
                );
                let status = if done.first { StatusCode::CREATED } else { StatusCode::OK };
                let series = series.descriptor.clone();
                Ok(json(status, &ActivationAnswer { licence: done.licence, series }))
            }
            Err(error) => {
                if let BooksError::Store(StoreError::Denied(denial)) = &error {
                    log::warn!(
                        "request {request_id}: code {} refused, computer {computer}: {denial}",
                        masked(code)
                    );
                }
                Err(refusal_of(error))
            }
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    status: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Revoked {
    #[serde(rename = "OrderID")]
    order_id: i64,
    revoked: bool,
}

/// What a call asks for, once its signature has proved genuine; with the id of the request as it
/// may stand in a log.
fn activation_of(call: &ActivationCall) -> Result<(Activation, String), Refusal> {
    #[derive(Deserialize)]
    struct Peek {
        #[serde(rename = "ActivationCode")]
        code: String,
    }
    // A mistyped code must be told apart from a forged request, so it is looked at first.
    let peek: Peek =
        jws::peek(REQUEST_TYP, call.request.trim_ascii()).map_err(|_| Refusal::NotGenuine)?;
    peek.code.parse::<ActivationCode>().map_err(|_| Refusal::CodeWrong)?;
    let (request, holder) =
        ActivationRequest::verify(&call.request).map_err(|_| Refusal::NotGenuine)?;
    let computer = request.computer_id.to_ascii_uppercase();
    if computer.len() != 40 || !computer.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Refusal::BadMember("ComputerID"));
    }
    for (name, number) in [("ITN", &request.itn), ("IEC", &request.iec)] {
        if number.as_ref().is_some_and(|digits| !is_owner_number(digits)) {
            return Err(Refusal::BadMember(name));
        }
    }
    let version = &request.server_version;
    if version.chars().count() > VERSION_CHARS_MAX || version.chars().any(char::is_control) {
        return Err(Refusal::BadMember("ServerVersion"));
    }
    let request_id = request.jti.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    let asked =
        Asked { holder, itn: request.itn, iec: request.iec, blank_key_no: request.blank_key_no };
    let activation = Activation {
        code: request.code,
        asked,
        computer_id: computer,
        server_version: request.server_version,
    };
    Ok((activation, request_id))
}

/// A code as logs may show it: who reads a log must not be able to activate.
fn masked(code: ActivationCode) -> String {
    let text = code.to_string();
    format!("…{}", text.get(text.len() - 5..).unwrap_or_default())
}

fn before(query: Option<&str>) -> Result<Option<i64>, Refusal> {
    let Some(query) = query else {
        return Ok(None);
    };
    let value = query.split('&').find_map(|pair| pair.strip_prefix("before="));
    value.map(|text| text.parse().map_err(|_| Refusal::BadMember("before"))).transpose()
}

async fn read<B, T>(request: Request<B>) -> Result<T, Refusal>
where
    B: Body<Data: Send> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    T: DeserializeOwned,
{
    if request.body().size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(Refusal::TooLarge);
    }
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX);
    let collected = tokio::time::timeout(BODY_WAIT, body.collect())
        .await
        .map_err(|_| Refusal::Slow)?
        .map_err(|error| {
            if error.is::<LengthLimitError>() {
                Refusal::TooLarge
            } else {
                Refusal::BadJson("the body broke off".to_owned())
            }
        })?;
    serde_json::from_slice(&collected.to_bytes())
        .map_err(|error| Refusal::BadJson(error.to_string()))
}

fn refusal_of(error: BooksError) -> Refusal {
    match error {
        BooksError::Busy => Refusal::Busy,
        BooksError::Store(StoreError::Denied(denial)) => Refusal::Denied(denial),
        BooksError::Store(StoreError::NoOrder) => Refusal::NotFound,
        BooksError::Closed => Refusal::Closed,
        BooksError::Store(_) => {
            // What failed is for the log: a stranger learns nothing of the disk or the database.
            log::error!("{}", with_causes(&error));
            Refusal::Internal
        }
    }
}

fn refuse(refusal: &Refusal, language: Language) -> Response<Full<Bytes>> {
    let (code, _) = refusal.status();
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, &refusal.body(language));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(language.tag()));
    let hint = match refusal {
        Refusal::Busy => Some((header::RETRY_AFTER, "60")),
        Refusal::Method(methods) => Some((header::ALLOW, *methods)),
        // The rest of the body was not read: the connection cannot serve another request.
        Refusal::Slow | Refusal::TooLarge => Some((header::CONNECTION, "close")),
        Refusal::Unauthorized => Some((header::WWW_AUTHENTICATE, "Bearer")),
        Refusal::BadJson(_)
        | Refusal::BadMember(_)
        | Refusal::Closed
        | Refusal::CodeWrong
        | Refusal::Denied(_)
        | Refusal::Internal
        | Refusal::NotFound
        | Refusal::NotGenuine
        | Refusal::Order(_)
        | Refusal::OrderSeries => None,
    };
    if let Some((name, value)) = hint {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Response<Full<Bytes>> {
    let (status, body) = match serde_json::to_vec(value) {
        Ok(body) => (status, body),
        Err(error) => {
            log::error!("an answer cannot be written as JSON: {error}");
            (StatusCode::INTERNAL_SERVER_ERROR, b"{}".to_vec())
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    // Answers hold codes and licences: no proxy may keep them.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use licence_core::activation::CodeKind;
    use licence_core::key::KeySeries;

    use super::*;

    #[tokio::test]
    async fn centre_without_its_books_does_not_call_itself_healthy() {
        let centre = Centre {
            books: Books::ended(),
            series: Arc::default(),
            token: AdminToken::new(b"token"),
            now: || Utc::from_unix_millis(0),
        };
        centre.books.closed().await;
        for (path, token) in [("/health", ""), ("/api/orders", "Bearer token")] {
            let request = Request::get(path)
                .header(header::AUTHORIZATION, token)
                .body(Full::new(Bytes::new()))
                .unwrap();
            let answer = centre.answer(request).await;
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        }
    }

    #[test]
    fn path_is_a_route_only_when_it_fits_wholly() {
        let check = |path: &str, wanted: Option<Route>| {
            assert_eq!(route(path).map(|(route, _)| route), wanted, "{path}");
        };
        check("/health", Some(Route::Health));
        check("/api/orders", Some(Route::Orders));
        check("/api/orders/17/revoke", Some(Route::Revoke(17)));
        for path in [
            "/",
            "/api/orders/",
            "/api/orders//revoke",
            "/api/orders/-1/revoke",
            "/api/orders/99999999999999999999/revoke",
            "/health/",
        ] {
            check(path, None);
        }
    }

    #[test]
    fn code_in_a_log_shows_its_last_group_only() {
        let code = ActivationCode::encode(CodeKind::Activation, KeySeries::from_u16(0x672B), 77);
        let text = code.to_string();
        assert_eq!(masked(code), format!("…{}", &text[text.len() - 5..]));
    }
}
