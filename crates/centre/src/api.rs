//! The routes of the centre: reads a request, asks the books, writes the answer.
//!
//! The table of routes is `route`. What a server's token asks for is read in `requests`, rules are
//! in `decide`, words of refusals in `refusal`; sockets are `http`'s.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use licence_core::activation_request::ActivationCall;
use licence_core::causes::with_causes;
use licence_core::centre_request::{AnswerFile, CentreAnswer};
use licence_core::series::SeriesDescriptor;
use licence_core::time::Utc;
use licencekit::order::OrderCall;
use licencekit::text::Language;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::books::{Books, BooksError};
use crate::folder::AdminToken;
use crate::issue::IssueError;
use crate::page;
use crate::refusal::{Refusal, language};
use crate::series::SeriesSet;
use crate::store::StoreError;

/// Largest body that is read: an activation request has some 2 KiB, an order less.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// How long a body may take to arrive: 64 KiB at the speed of an old modem.
const BODY_WAIT: Duration = Duration::from_secs(10);

/// The centre as its routes see it.
#[derive(Debug)]
pub struct Centre {
    /// The books.
    pub books: Books,
    /// The series that it serves.
    pub series: Arc<SeriesSet>,
    /// What the vendor's calls must show.
    pub token: AdminToken,
    /// The address at which servers know this centre, as
    /// [`audience`](licence_core::activation_request::audience) writes it; without it no request is
    /// refused for being meant for another centre.
    pub audience: Option<String>,
    /// The clock.
    pub now: fn() -> Utc,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Route {
    Activations,
    Form,
    Health,
    Licences,
    Orders,
    Page,
    Requests,
    Returns,
    Revoke(i64),
    Script,
    Series,
    Style,
}

/// Route and methods of a path.
fn route(path: &str) -> Option<(Route, &'static str)> {
    match path {
        "/" => Some((Route::Page, "GET")),
        "/api/activations" => Some((Route::Activations, "POST")),
        "/api/licences" => Some((Route::Licences, "POST")),
        "/api/orders" => Some((Route::Orders, "GET, POST")),
        "/api/requests" => Some((Route::Requests, "POST")),
        "/api/returns" => Some((Route::Returns, "POST")),
        "/api/series" => Some((Route::Series, "GET")),
        "/health" => Some((Route::Health, "GET")),
        "/page.css" => Some((Route::Style, "GET")),
        "/page.js" => Some((Route::Script, "GET")),
        "/requests" => Some((Route::Form, "POST")),
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
        match self.dispatch(request, language).await {
            Ok(response) => response,
            Err(refusal) => refuse(&refusal, language),
        }
    }

    async fn dispatch<B>(
        &self,
        request: Request<B>,
        language: Language,
    ) -> Result<Response<Full<Bytes>>, Refusal>
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
            Route::Activations => {
                let call: ActivationCall = read(request).await?;
                let done = self.activation(&call.request).await?;
                Ok(json(created(done.first), &done.answer))
            }
            Route::Form => Ok(self.form(request, language).await),
            // Whoever watches over the centre must not be told that all is well without books.
            Route::Health if !self.books.are_open() => Err(Refusal::Closed),
            Route::Health => Ok(json(
                StatusCode::OK,
                &Health { status: "ok", version: env!("CARGO_PKG_VERSION") },
            )),
            Route::Licences => {
                let call: ActivationCall = read(request).await?;
                Ok(json(StatusCode::OK, &self.licences(&call.request).await?))
            }
            Route::Orders if request.method() == Method::POST => self.add_order(request).await,
            Route::Orders => {
                let before = before(request.uri().query())?;
                let list = self.books.orders(before).await.map_err(refusal_of)?;
                Ok(json(StatusCode::OK, &list))
            }
            Route::Page => Ok(html(&page::html(language, None))),
            Route::Requests => {
                let call: ActivationCall = read(request).await?;
                let done = self.any_request(&call.request).await?;
                Ok(json(created(done.first), &AnswerFile { answer: done.answer }))
            }
            Route::Returns => {
                let call: ActivationCall = read(request).await?;
                let done = self.giving_back(&call.request).await?;
                Ok(json(created(done.first), &done.answer))
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
            Route::Script => Ok(text("text/javascript; charset=utf-8", page::SCRIPT)),
            Route::Style => Ok(text("text/css; charset=utf-8", page::STYLE)),
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

    /// Answers the page's form: with the centre's answer as a file, or with the page and what is
    /// wrong.
    async fn form<B>(&self, request: Request<B>, language: Language) -> Response<Full<Bytes>>
    where
        B: Body<Data: Send> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let done = async {
            let body = read_bytes(request).await?;
            let token = page::form_request(&body).ok_or(Refusal::BadMember("request"))?;
            self.any_request(&token).await
        };
        match done.await {
            Ok(done) => {
                let name = answer_name(&done.answer);
                let mut response = json(StatusCode::OK, &AnswerFile { answer: done.answer });
                let disposition = format!("attachment; filename=\"{name}\"");
                if let Ok(value) = HeaderValue::from_str(&disposition) {
                    response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
                }
                response
            }
            Err(refusal) => {
                let text = refusal.text(language);
                let mut response = html(&page::html(language, Some(&text)));
                let (code, _) = refusal.status();
                if let Ok(status) = StatusCode::from_u16(code) {
                    *response.status_mut() = status;
                }
                add_hint(&mut response, &refusal);
                response
            }
        }
    }
}

/// Name of an answer file.
fn answer_name(answer: &CentreAnswer) -> String {
    match answer {
        CentreAnswer::Activation(answer) => format!("{}.answer", answer.series.series),
        CentreAnswer::Return(answer) => format!("{}.answer", answer.key_no),
        CentreAnswer::Update(_) => "licences.answer".to_owned(),
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

fn before(query: Option<&str>) -> Result<Option<i64>, Refusal> {
    let Some(query) = query else {
        return Ok(None);
    };
    let value = query.split('&').find_map(|pair| pair.strip_prefix("before="));
    value.map(|text| text.parse().map_err(|_| Refusal::BadMember("before"))).transpose()
}

/// 201 for what this very request has brought about.
const fn created(first: bool) -> StatusCode {
    if first { StatusCode::CREATED } else { StatusCode::OK }
}

async fn read<B, T>(request: Request<B>) -> Result<T, Refusal>
where
    B: Body<Data: Send> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    T: DeserializeOwned,
{
    serde_json::from_slice(&read_bytes(request).await?)
        .map_err(|error| Refusal::BadJson(error.to_string()))
}

async fn read_bytes<B>(request: Request<B>) -> Result<Bytes, Refusal>
where
    B: Body<Data: Send> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
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
    Ok(collected.to_bytes())
}

pub(crate) fn refusal_of(error: BooksError) -> Refusal {
    match error {
        BooksError::Busy => Refusal::Busy,
        BooksError::Store(StoreError::Denied(denial)) => Refusal::Denied(denial),
        BooksError::Store(StoreError::NoOrder) => Refusal::NotFound,
        BooksError::Store(StoreError::Issue(IssueError::Wrap(_))) => Refusal::BadMember("enc"),
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
    let tag = HeaderValue::from_static(language.tag());
    response.headers_mut().insert(header::CONTENT_LANGUAGE, tag);
    add_hint(&mut response, refusal);
    response
}

/// The header by which a refusal says what to do next, if there is one.
fn add_hint(response: &mut Response<Full<Bytes>>, refusal: &Refusal) {
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
        | Refusal::Elsewhere
        | Refusal::Internal
        | Refusal::NotFound
        | Refusal::NotGenuine
        | Refusal::Order(_)
        | Refusal::OrderSeries
        | Refusal::Stale => None,
    };
    if let Some((name, value)) = hint {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
}

fn html(page: &str) -> Response<Full<Bytes>> {
    let mut response = text("text/html; charset=utf-8", page);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Language"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn text(kind: &'static str, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
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
    use super::*;

    #[tokio::test]
    async fn centre_without_its_books_does_not_call_itself_healthy() {
        let centre = Centre {
            books: Books::ended(),
            series: Arc::default(),
            token: AdminToken::new(b"token"),
            audience: None,
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
            "//",
            "/api/orders/",
            "/api/orders//revoke",
            "/api/orders/-1/revoke",
            "/api/orders/99999999999999999999/revoke",
            "/health/",
        ] {
            check(path, None);
        }
    }
}
