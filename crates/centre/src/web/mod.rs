//! The pages of the centre for people: the vendor's at `/vendor`, the customer's at `/my`, the one
//! that a QR code of a licence server leads to at `/r`. Russian and English, all of them usable
//! without script.
//!
//! Pages show and ask; who may see which is the table's ([`crate::access::table`]), what may be
//! done is decided in `decide`.

mod accounts;
mod blanks;
mod codes;
mod customers;
mod form;
mod frame;
mod keys;
mod my;
mod orders;
mod overview;
mod qr;
mod road;
mod series;
mod texts;

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{HeaderMap, Response, StatusCode};
use licence_core::time::Utc;
use licencekit::text::Language;

pub(crate) use self::form::Form;
use self::frame::{Frame, see, see_done};
pub(crate) use self::frame::{problem, to_login};
use crate::access::entry::{self, EntryError};
use crate::access::gate::{
    CUSTOMER_COOKIE, FORM_COOKIE, LOGIN_COOKIE, Stopped, is_same_secret, secret, secret_cookie,
};
use crate::access::headers::cookie;
use crate::access::{Actor, Role};
use crate::api::Centre;
use crate::books::BooksError;
use crate::refusal::{self, Refusal};
use crate::store::StoreError;

/// An answer with a page.
pub(crate) type Page = Response<Full<Bytes>>;

/// Cookie of the chosen language.
const LANGUAGE_COOKIE: &str = "centre_language";

/// How long a browser keeps the choice, in seconds: a year.
const LANGUAGE_SECS: u32 = 365 * 24 * 3600;

/// The style sheet of all pages but the first.
const STYLE: &str = include_str!("../../templates/centre.css");

/// Whether this address is a page of this module.
pub(crate) fn is_page(path: &str) -> bool {
    let first = path.split('/').nth(1).unwrap_or_default();
    matches!(first, "vendor" | "my" | "r" | "login" | "logout" | "language" | "centre.css")
}

/// The language of a request: the chosen one, or what the browser prefers.
pub(crate) fn language_of(headers: &HeaderMap) -> Language {
    match cookie(headers, LANGUAGE_COOKIE) {
        Some("en") => Language::English,
        Some("ru") => Language::Russian,
        _ => {
            let wished = headers.get(hyper::header::ACCEPT_LANGUAGE);
            refusal::language(wished.and_then(|value| value.to_str().ok()))
        }
    }
}

/// A request for a page.
pub(crate) struct Call<'a> {
    /// The centre.
    pub(crate) centre: &'a Centre,
    /// `GET` or `POST`.
    pub(crate) method: &'a str,
    /// The address without its query.
    pub(crate) path: &'a str,
    /// The query.
    pub(crate) query: Form,
    /// The fields of the form that was sent.
    pub(crate) form: Form,
    /// The head of the request.
    pub(crate) headers: &'a HeaderMap,
    /// Where it comes from.
    pub(crate) from: IpAddr,
    /// In which language to answer.
    pub(crate) language: Language,
    /// Who of the vendor's asks, with the secret of their forms.
    pub(crate) staff: Option<(Actor, String)>,
    /// The present moment.
    pub(crate) now: Utc,
}

impl Call<'_> {
    /// One of two texts.
    fn pick(&self, english: &'static str, russian: &'static str) -> &'static str {
        self.language.pick(english, russian)
    }

    /// Who of the vendor's asks. The table lets nobody else in.
    fn actor(&self) -> Result<Actor, Refusal> {
        self.staff.as_ref().map(|(actor, _)| actor.clone()).ok_or(Refusal::Unauthorized)
    }

    /// Whether the reader may do what this role may.
    fn may(&self, role: Role) -> bool {
        self.staff.as_ref().is_some_and(|(actor, _)| actor.role >= Some(role))
    }

    /// Who acts on the customer's page.
    fn customer(&self) -> Actor {
        Actor { name: String::new(), role: None, from: Some(self.from) }
    }

    /// The part of the address after `/vendor/<what>/`, as a number.
    fn number(&self) -> Result<i64, Refusal> {
        let part = self.path.split('/').nth(3).unwrap_or_default();
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse().ok()).flatten().ok_or(Refusal::NotFound)
    }

    /// `; Secure` for a cookie of a browser that speaks TLS.
    fn secure(&self) -> &'static str {
        if self.centre.gate.is_tls(self.headers) { "; Secure" } else { "" }
    }

    /// The secret of the forms for a visitor who has not come in, and whether its cookie must be
    /// set with the page.
    fn visitor_secret(&self) -> Result<(String, bool), Refusal> {
        match secret_cookie(self.headers, FORM_COOKIE) {
            Some(value) => Ok((value.to_owned(), false)),
            None => secret().map(|value| (value, true)).map_err(|error| {
                log::error!("{error}");
                Refusal::Internal
            }),
        }
    }

    /// Whether the form was made here for whoever sends it.
    fn check_form(&self, expected: Option<&str>) -> Result<(), Refusal> {
        if self.centre.gate.check_sender(self.headers) == Err(Stopped::CrossSite) {
            return Err(Refusal::CrossSite);
        }
        let sent = self.form.raw("csrf").unwrap_or_default();
        let is_ours = expected.is_some_and(|expected| is_same_secret(expected, sent));
        if is_ours { Ok(()) } else { Err(Refusal::CrossSite) }
    }

    fn check_staff_form(&self) -> Result<(), Refusal> {
        self.check_form(self.staff.as_ref().map(|(_, csrf)| csrf.as_str()))
    }

    fn check_visitor_form(&self) -> Result<(), Refusal> {
        self.check_form(secret_cookie(self.headers, FORM_COOKIE))
    }
}

/// Answers a request for a page.
pub(crate) async fn answer(call: &Call<'_>) -> Page {
    match dispatch(call).await {
        Ok(page) => page,
        Err(refusal) => problem(call, &refusal),
    }
}

async fn dispatch(call: &Call<'_>) -> Result<Page, Refusal> {
    let parts: Vec<&str> = call.path.split('/').skip(1).collect();
    let is_post = call.method == "POST";
    if is_post && parts[0] == "vendor" {
        call.check_staff_form()?;
    }
    match (is_post, parts.as_slice()) {
        (false, ["centre.css"]) => Ok(frame::style(STYLE)),
        (false, ["language"]) => Ok(language_switch(call)),
        (false, ["login"]) => login(call, StatusCode::OK, None),
        (true, ["login"]) => log_in(call).await,
        (true, ["logout"]) => log_out(call),
        (false, ["my"]) => my::ask(call, StatusCode::OK, None),
        (true, ["my"]) => my::come_in(call).await,
        (false, ["my", "key"]) => my::key(call, StatusCode::OK, None).await,
        (true, ["my", "key"]) => my::act(call).await,
        (true, ["my", "leave"]) => my::leave(call),
        (false, ["r"]) => road::show(call),
        (true, ["r"]) => road::answer(call).await,
        (false, ["vendor"]) => overview::answer(call).await,
        (false, ["vendor", "audit"]) => overview::audit(call).await,
        (false, ["vendor", "suspicions"]) => overview::suspicions(call).await,
        (true, ["vendor", "suspicions", _]) => overview::settle_suspicion(call).await,
        (false, ["vendor", "unsigned"]) => overview::unsigned(call).await,
        (false, ["vendor", "series"]) => series::list(call).await,
        (false, ["vendor", "series", id]) => series::one(call, id, StatusCode::OK, None).await,
        (true, ["vendor", "series", id]) => series::settle(call, id).await,
        (false, ["vendor", "orders"]) => orders::list(call).await,
        (false, ["vendor", "orders", "new"]) => orders::blank_form(call).await,
        (true, ["vendor", "orders"]) => orders::add(call).await,
        (false, ["vendor", "orders", _]) => orders::one(call, StatusCode::OK, None).await,
        (false, ["vendor", "orders", _, "codes.csv"]) => orders::csv(call).await,
        (true, ["vendor", "orders", _]) => orders::change(call).await,
        (false, ["vendor", "keys"]) => keys::list(call).await,
        (false, ["vendor", "keys", _]) => keys::one(call, StatusCode::OK, None).await,
        (true, ["vendor", "keys", _]) => keys::change(call).await,
        (false, ["vendor", "customers"]) => customers::list(call, StatusCode::OK, None).await,
        (true, ["vendor", "customers"]) => customers::add(call).await,
        (false, ["vendor", "customers", _]) => customers::one(call, StatusCode::OK, None).await,
        (true, ["vendor", "customers", _]) => customers::change(call).await,
        (false, ["vendor", "blanks"]) => blanks::list(call, StatusCode::OK, None).await,
        (true, ["vendor", "blanks"]) => blanks::register(call).await,
        (true, ["vendor", "blanks", _]) => blanks::block(call).await,
        (false, ["vendor", "accounts"]) => accounts::list(call, StatusCode::OK, None, None).await,
        (true, ["vendor", "accounts"]) => accounts::change(call).await,
        (false, ["vendor", "password"]) => accounts::password(call, StatusCode::OK, None),
        (true, ["vendor", "password"]) => accounts::change_password(call).await,
        _ => Err(method_or_nothing(call)),
    }
}

/// Another method of a page that is there, or nothing at all.
fn method_or_nothing(call: &Call<'_>) -> Refusal {
    use crate::access::table::{TABLE, fits};
    let has =
        |method| TABLE.iter().any(|(own, pattern, _)| *own == method && fits(pattern, call.path));
    match (has("GET"), has("POST")) {
        (true, true) => Refusal::Method("GET, POST"),
        (true, false) => Refusal::Method("GET"),
        (false, true) => Refusal::Method("POST"),
        (false, false) => Refusal::NotFound,
    }
}

#[derive(askama::Template)]
#[template(path = "login.html")]
struct LoginPage {
    frame: Frame,
    name: String,
    next: String,
}

fn login(call: &Call<'_>, status: StatusCode, error: Option<String>) -> Result<Page, Refusal> {
    let mut frame = Frame::for_visitor(call)?;
    frame.error = error;
    let from = if call.method == "POST" { &call.form } else { &call.query };
    let page = LoginPage {
        name: from.text("name").unwrap_or_default().to_owned(),
        next: from.text("next").unwrap_or("/vendor").to_owned(),
        frame,
    };
    page.frame.answer(status, &page)
}

async fn log_in(call: &Call<'_>) -> Result<Page, Refusal> {
    call.check_visitor_form()?;
    let Centre { books, gate, .. } = call.centre;
    let name = call.form.text("name").unwrap_or_default();
    let password = call.form.raw("password").unwrap_or_default();
    match entry::log_in(books, gate, name, password, call.from, call.now).await {
        Ok(id) => {
            let next = call.form.text("next").unwrap_or("/vendor");
            let mut page = see(next);
            frame::set_cookie(&mut page, &staff_cookie(call, &id));
            Ok(page)
        }
        Err(error @ EntryError::Wrong) => {
            login(call, StatusCode::UNAUTHORIZED, Some(texts::entry(call.language, &error)))
        }
        Err(error) => {
            let refusal = entry_refusal(error)?;
            let (code, _) = refusal.status();
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST);
            let mut page = login(call, status, Some(refusal.text(call.language)))?;
            frame::add_wait(&mut page, &refusal);
            Ok(page)
        }
    }
}

/// The cookie of a login: all of the centre, because logging out is not below `/vendor`.
fn staff_cookie(call: &Call<'_>, id: &str) -> String {
    format!("{LOGIN_COOKIE}={id}; Path=/; HttpOnly; SameSite=Strict{}", call.secure())
}

/// The refusal of what went wrong at the door, where it is one.
fn entry_refusal(error: EntryError) -> Result<Refusal, Refusal> {
    Ok(match error {
        EntryError::TooMany(secs) => Refusal::TooMany(secs),
        EntryError::Books(error) => crate::api::refusal_of(error),
        EntryError::Password(crate::access::passwords::PasswordError::Busy) => Refusal::Busy,
        EntryError::Wrong => Refusal::Unauthorized,
        error @ (EntryError::Label
        | EntryError::Name
        | EntryError::Password(_)
        | EntryError::Random(_)) => {
            log::error!("{}", licence_core::causes::with_causes(&error));
            return Err(Refusal::Internal);
        }
    })
}

fn log_out(call: &Call<'_>) -> Result<Page, Refusal> {
    call.check_staff_form()?;
    call.centre.gate.let_go(call.headers);
    let mut page = see_done("/login", "logged_out");
    frame::set_cookie(&mut page, &format!("{LOGIN_COOKIE}=; Path=/; Max-Age=0"));
    frame::set_cookie(&mut page, &format!("{CUSTOMER_COOKIE}=; Path=/my; Max-Age=0"));
    Ok(page)
}

fn language_switch(call: &Call<'_>) -> Page {
    let to = if call.query.text("to") == Some("en") { "en" } else { "ru" };
    let mut page = see(call.query.text("next").unwrap_or("/"));
    let cookie = format!(
        "{LANGUAGE_COOKIE}={to}; Path=/; Max-Age={LANGUAGE_SECS}; SameSite=Lax{}",
        call.secure()
    );
    frame::set_cookie(&mut page, &cookie);
    page
}

/// What to tell a person whose form the books have refused; other failures are refusals.
fn told(call: &Call<'_>, error: BooksError) -> Result<(StatusCode, String), Refusal> {
    let refusal = match error {
        BooksError::Store(StoreError::Account(denial)) => {
            return Ok((StatusCode::CONFLICT, texts::account(call.language, denial)));
        }
        BooksError::Store(StoreError::Vendor(error)) => {
            return Ok((StatusCode::BAD_REQUEST, texts::vendor(call.language, &error)));
        }
        error @ (BooksError::Busy | BooksError::Closed | BooksError::Store(_)) => {
            crate::api::refusal_of(error)
        }
    };
    let (code, _) = refusal.status();
    if (400..500).contains(&code) && code != 404 {
        let status = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST);
        return Ok((status, refusal.text(call.language)));
    }
    Err(refusal)
}
