//! The routes of the centre: reads a request, asks the books, writes the answer.
//!
//! The table of routes is `route`. What a server's token asks for is read in `requests`, rules are
//! in `decide`, words of refusals in `refusal`; sockets are `http`'s.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};
use licence_core::activation_request::ActivationCall;
use licence_core::causes::with_causes;
use licence_core::centre_request::{AnswerFile, CentreAnswer};
use licence_core::series::SeriesDescriptor;
use licence_core::time::Utc;
use licencekit::text::Language;
use serde::Serialize;
use serde::de::DeserializeOwned;

mod vendor;

use self::vendor::VendorRoute;
pub(crate) use self::vendor::codes_csv;
use crate::access::Actor;
use crate::access::entry;
use crate::access::gate::{Gate, Stopped};
use crate::access::limits::Kind;
use crate::access::table::{self, Needs};
use crate::attestation::Roots;
use crate::books::{Books, BooksError};
use crate::decide::Denial;
use crate::folder::AdminToken;
use crate::issue::IssueError;
use crate::page;
use crate::refusal::Refusal;
use crate::series::SeriesSet;
use crate::short::ShortCall;
use crate::store::StoreError;
use crate::web;

/// Largest body that is read: an activation request has some 2 KiB, an order less.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// How long a body may take to arrive: 64 KiB at the speed of an old modem.
const BODY_WAIT: Duration = Duration::from_secs(10);

/// The body of a request, whatever carries it: its parts and what went wrong with them may go from
/// thread to thread.
pub trait CallBody:
    Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send
{
}

impl<B> CallBody for B where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send
{
}

/// The centre as its routes see it.
#[derive(Debug)]
pub struct Centre {
    /// The books.
    pub books: Books,
    /// The series that it serves.
    pub series: Arc<SeriesSet>,
    /// What the vendor's programs may show, beside the tokens of accounts.
    pub token: AdminToken,
    /// What every request passes before it is answered.
    pub gate: Gate,
    /// The address at which servers know this centre, as
    /// [`audience`](licence_core::activation_request::audience) writes it; without it no request is
    /// refused for being meant for another centre.
    pub audience: Option<String>,
    /// Makers of tokens whose word counts.
    pub roots: Roots,
    /// The clock.
    pub now: fn() -> Utc,
}

/// Where a request came from, as whoever reads the socket notes it among the request's extensions.
/// For the audit trail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct From(pub IpAddr);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Route {
    Activations,
    Demos,
    Form,
    Health,
    Licences,
    Page,
    Requests,
    Returns,
    Script,
    Series,
    Short,
    Spares,
    Style,
    Vendor(VendorRoute),
}

/// Route and methods of a path.
fn route(path: &str) -> Option<(Route, &'static str)> {
    match path {
        "/" => Some((Route::Page, "GET")),
        "/api/activations" => Some((Route::Activations, "POST")),
        "/api/demos" => Some((Route::Demos, "POST")),
        "/api/licences" => Some((Route::Licences, "POST")),
        "/api/requests" => Some((Route::Requests, "POST")),
        "/api/returns" => Some((Route::Returns, "POST")),
        "/api/series" => Some((Route::Series, "GET")),
        "/api/spares" => Some((Route::Spares, "POST")),
        "/api/short" => Some((Route::Short, "POST")),
        "/health" => Some((Route::Health, "GET")),
        "/page.css" => Some((Route::Style, "GET")),
        "/page.js" => Some((Route::Script, "GET")),
        "/requests" => Some((Route::Form, "POST")),
        _ => vendor::route(path).map(|(route, methods)| (Route::Vendor(route), methods)),
    }
}

impl Centre {
    /// Answers one request.
    pub async fn answer<B: CallBody>(&self, request: Request<B>) -> Response<Full<Bytes>> {
        let has_body = !request.body().is_end_stream();
        let takes_body = !matches!(request.method().as_str(), "GET" | "HEAD");
        let mut answer = self.guarded(request).await;
        // A body that was not read stands before the next request of its connection.
        if has_body && (!takes_body || !answer.status().is_success()) {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    /// Answers one request within the limits of its sender.
    async fn guarded<B: CallBody>(&self, request: Request<B>) -> Response<Full<Bytes>> {
        let mut request = request;
        let language = web::language_of(request.headers());
        let peer = request.extensions().get::<From>().map(|from| from.0);
        let from = self.gate.address(request.headers(), peer);
        // What is written down is where the sender is, not where the proxy is.
        request.extensions_mut().insert(From(from));
        let needs = table::needs(request.method().as_str(), request.uri().path());
        if let Err(refusal) = self.count(needs, from) {
            return refuse(&refusal, language);
        }
        let answer = if web::is_page(request.uri().path()) {
            self.page(request, needs, from, language).await
        } else {
            match self.call(request, needs, from, language).await {
                Ok(response) => response,
                Err(refusal) => refuse(&refusal, language),
            }
        };
        // Guesses are what was refused for what it named; all else was none.
        if needs == Needs::Guess && !matches!(answer.status().as_u16(), 400 | 401 | 403 | 404) {
            self.gate.give_back(Kind::Guess, from);
        }
        answer
    }

    /// Counts a call that anybody may make.
    fn count(&self, needs: Needs, from: IpAddr) -> Result<(), Refusal> {
        let kinds: &[Kind] = match needs {
            Needs::Anyone => &[Kind::Call],
            Needs::Guess => &[Kind::Call, Kind::Guess],
            Needs::Free | Needs::Person(_) | Needs::Program(_) => &[],
        };
        for kind in kinds {
            if let Err(Stopped::TooMany(wait)) = self.gate.take(*kind, from) {
                log::warn!("{from} asks too often ({kind:?})");
                return Err(Refusal::TooMany(wait.as_secs() + 1));
            }
        }
        Ok(())
    }

    /// Answers a call of a program or of the first page.
    async fn call<B: CallBody>(
        &self,
        request: Request<B>,
        needs: Needs,
        from: IpAddr,
        language: Language,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let actor = match needs {
            Needs::Program(role) | Needs::Person(role) => {
                let headers = request.headers();
                let found = entry::program(&self.books, &self.token, headers, from, (self.now)());
                let actor = found.await.map_err(refusal_of)?.ok_or(Refusal::Unauthorized)?;
                if actor.role < Some(role) {
                    return Err(Refusal::Forbidden);
                }
                Some(actor)
            }
            Needs::Anyone | Needs::Free | Needs::Guess => None,
        };
        self.dispatch(request, language, actor).await
    }

    /// Answers a request for a page of a person.
    async fn page<B: CallBody>(
        &self,
        request: Request<B>,
        needs: Needs,
        from: IpAddr,
        language: Language,
    ) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let mut call = web::Call {
            centre: self,
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: web::Form::read(parts.uri.query().unwrap_or_default().as_bytes()),
            form: web::Form::default(),
            headers: &parts.headers,
            from,
            language,
            staff: None,
            now: (self.now)(),
        };
        match entry::person(&self.books, &self.gate, &parts.headers, from).await {
            Ok(staff) => call.staff = staff,
            Err(error) => return web::problem(&call, &refusal_of(error)),
        }
        if let Needs::Person(role) = needs {
            match &call.staff {
                None => return web::to_login(call.path),
                Some((actor, _)) if actor.role < Some(role) => {
                    return web::problem(&call, &Refusal::Forbidden);
                }
                Some(_) => {}
            }
        }
        if parts.method == hyper::Method::POST {
            match read_bytes(Request::new(body)).await {
                Ok(body) => call.form = web::Form::read(&body),
                Err(refusal) => return web::problem(&call, &refusal),
            }
        }
        web::answer(&call).await
    }

    async fn dispatch<B: CallBody>(
        &self,
        request: Request<B>,
        language: Language,
        actor: Option<Actor>,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let (route, methods) = route(request.uri().path()).ok_or(Refusal::NotFound)?;
        if !methods.split(", ").any(|method| method == request.method().as_str()) {
            return Err(Refusal::Method(methods));
        }
        let from = request.extensions().get::<From>().map(|from| from.0);
        match route {
            Route::Activations => {
                let call: ActivationCall = read(request).await?;
                let done = self.activation(&call.request, from).await?;
                Ok(json(created(done.first), &done.answer))
            }
            Route::Demos => {
                let call: ActivationCall = read(request).await?;
                let done = self.demo(&call.request, from).await?;
                Ok(json(created(done.first), &done.answer))
            }
            Route::Form => Ok(self.form(request, language, from).await),
            // Whoever watches over the centre must not be told that all is well without books.
            Route::Health if !self.books.are_open() => Err(Refusal::Closed),
            Route::Health => Ok(json(
                StatusCode::OK,
                &Health { status: "ok", version: env!("CARGO_PKG_VERSION") },
            )),
            Route::Licences => {
                let call: ActivationCall = read(request).await?;
                Ok(json(StatusCode::OK, &self.licences(&call.request, from).await?))
            }
            Route::Page => Ok(html(&page::html(language, None))),
            Route::Requests => {
                let call: ActivationCall = read(request).await?;
                let done = self.any_request(&call.request, from).await?;
                Ok(json(created(done.first), &AnswerFile { answer: done.answer }))
            }
            Route::Returns => {
                let call: ActivationCall = read(request).await?;
                let done = self.giving_back(&call.request, from).await?;
                Ok(json(created(done.first), &done.answer))
            }
            Route::Series => {
                let list: Vec<&SeriesDescriptor> =
                    self.series.values().map(|series| &series.descriptor).collect();
                Ok(json(StatusCode::OK, &list))
            }
            Route::Short => {
                let call: ShortCall = read(request).await?;
                let done = self.short(&call.request, from).await?;
                Ok(json(created(done.first), &done.answer))
            }
            Route::Script => Ok(text("text/javascript; charset=utf-8", page::SCRIPT)),
            Route::Spares => {
                let call: ActivationCall = read(request).await?;
                Ok(json(StatusCode::OK, &self.spare(&call.request, from).await?))
            }
            Route::Style => Ok(text("text/css; charset=utf-8", page::STYLE)),
            Route::Vendor(route) => {
                let actor = actor.ok_or(Refusal::Unauthorized)?;
                self.vendor(route, request, actor).await
            }
        }
    }

    /// Answers the page's form: with the centre's answer as a file, or with the page and what is
    /// wrong.
    async fn form<B: CallBody>(
        &self,
        request: Request<B>,
        language: Language,
        from: Option<IpAddr>,
    ) -> Response<Full<Bytes>> {
        let done = async {
            let body = read_bytes(request).await?;
            let token = page::form_request(&body).ok_or(Refusal::BadMember("request"))?;
            self.any_request(&token, from).await
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
        CentreAnswer::Spare(answer) => format!("{}.spare.answer", answer.key_no),
        CentreAnswer::Update(_) => "licences.answer".to_owned(),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    status: &'static str,
    version: &'static str,
}

/// 201 for what this very request has brought about.
const fn created(first: bool) -> StatusCode {
    if first { StatusCode::CREATED } else { StatusCode::OK }
}

async fn read<B: CallBody, T: DeserializeOwned>(request: Request<B>) -> Result<T, Refusal> {
    serde_json::from_slice(&read_bytes(request).await?)
        .map_err(|error| Refusal::BadJson(error.to_string()))
}

async fn read_bytes<B: CallBody>(request: Request<B>) -> Result<Bytes, Refusal> {
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
        BooksError::Store(StoreError::NoKey) => Refusal::Denied(Denial::KeyNotFound),
        BooksError::Store(
            StoreError::NoBlank
            | StoreError::NoOrder
            | StoreError::NoSeries
            | StoreError::NoSuspicion
            | StoreError::NoUnsigned,
        ) => Refusal::NotFound,
        BooksError::Store(StoreError::NoCustomer) => Refusal::BadMember("CustomerID"),
        BooksError::Store(StoreError::CustomerHasOrders) => Refusal::CustomerInUse,
        BooksError::Store(StoreError::Vendor(error)) => Refusal::Vendor(error),
        BooksError::Store(StoreError::Issue(IssueError::Wrap(_))) => Refusal::BadMember("enc"),
        BooksError::Store(StoreError::Signature(name)) => Refusal::Signature(name),
        BooksError::Store(StoreError::SignaturePending) => Refusal::SignaturePending,
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
pub(crate) fn add_hint(response: &mut Response<Full<Bytes>>, refusal: &Refusal) {
    if let Refusal::TooMany(secs) = refusal {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*secs));
    }
    let hint = match refusal {
        Refusal::Busy => Some((header::RETRY_AFTER, "60")),
        // A person signs: an hour is soon.
        Refusal::ReceiptPending | Refusal::SignaturePending => Some((header::RETRY_AFTER, "3600")),
        Refusal::Method(methods) => Some((header::ALLOW, *methods)),
        // The rest of the body was not read: the connection cannot serve another request.
        Refusal::Slow | Refusal::TooLarge => Some((header::CONNECTION, "close")),
        Refusal::Unauthorized => Some((header::WWW_AUTHENTICATE, "Bearer")),
        Refusal::BadJson(_)
        | Refusal::BadMember(_)
        | Refusal::Closed
        | Refusal::CodeWrong
        | Refusal::CrossSite
        | Refusal::CustomerInUse
        | Refusal::Denied(_)
        | Refusal::Elsewhere
        | Refusal::Forbidden
        | Refusal::Internal
        | Refusal::NotFound
        | Refusal::NotGenuine
        | Refusal::Order(_)
        | Refusal::OrderSeries
        | Refusal::Short(_)
        | Refusal::Signature(_)
        | Refusal::Stale
        | Refusal::TooMany(_)
        | Refusal::Vendor(_) => None,
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
            gate: Gate::new(false, crate::clock::mono),
            audience: None,
            roots: Roots::default(),
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
    fn what_licence_servers_and_people_ask_needs_no_token() {
        for path in [
            "/",
            "/api/activations",
            "/api/demos",
            "/api/licences",
            "/api/requests",
            "/api/returns",
            "/api/series",
            "/api/short",
            "/api/spares",
            "/health",
            "/page.css",
            "/page.js",
            "/requests",
        ] {
            let (_, method) = route(path).unwrap();
            let needs = table::needs(method, path);
            let is_open = matches!(needs, Needs::Anyone | Needs::Free | Needs::Guess);
            assert!(is_open, "{method} {path}: {needs:?}");
        }
    }

    #[test]
    fn path_is_a_route_only_when_it_fits_wholly() {
        let check = |path: &str, wanted: Option<Route>| {
            assert_eq!(route(path).map(|(route, _)| route), wanted, "{path}");
        };
        check("/health", Some(Route::Health));
        check("/api/orders", Some(Route::Vendor(VendorRoute::Orders)));
        check("/api/orders/17/revoke", Some(Route::Vendor(VendorRoute::Revoke(17))));
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
