//! The frame of every page: menu, who is there, what a form has done, headers; and the page of a
//! refusal.
//!
//! Decides what stands around a page and with which headers it is sent; what stands in it is each
//! page's own.

use askama::Template;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use licencekit::text::Language;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

use super::texts::Texts;
use super::{Call, Page};
use crate::access::Role;
use crate::access::gate::FORM_COOKIE;
use crate::refusal::Refusal;

/// What a browser may do on the pages: load the style sheet from here, send forms here, nothing
/// else. There is no script.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What must not stand in a `Location` as it is; everything outside ASCII is encoded anyway.
const UNSAFE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`');

/// What stays as it is in a query.
const QUERY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// Longest address that somebody is sent back to, in bytes.
const NEXT_BYTES_MAX: usize = 4096;

/// What a form has done, as `?done=` names it, in English and Russian. Only these are ever shown.
const DONE: &[(&str, &str, &str)] = &[
    ("account_added", "The account has been added.", "Учётная запись добавлена."),
    ("account_changed", "The account has been changed.", "Учётная запись изменена."),
    ("account_removed", "The account has been removed.", "Учётная запись удалена."),
    ("blank_changed", "The token has been changed.", "Носитель изменён."),
    ("blanks_registered", "The tokens are registered.", "Носители зарегистрированы."),
    ("customer_added", "The customer has been added.", "Покупатель добавлен."),
    ("customer_changed", "The customer has been changed.", "Покупатель изменён."),
    ("customer_removed", "The customer has been removed.", "Покупатель удалён."),
    ("left", "You have left the page of your key.", "Вы вышли со страницы ключа."),
    ("logged_out", "You are logged out.", "Вы вышли."),
    ("order_added", "The order has been taken.", "Заказ принят."),
    ("password_changed", "The password has been changed.", "Пароль изменён."),
    ("prolonged", "The term has been changed.", "Срок изменён."),
    (
        "released",
        "The key has been released: its reserve code is below.",
        "Ключ освобождён: резервный код ниже.",
    ),
    ("revoked", "The order has been revoked.", "Заказ отозван."),
    ("series_saved", "The settings of the series have been saved.", "Настройки серии сохранены."),
    (
        "spare_drawn",
        "The spare code is below: print it and keep it safe.",
        "Запасной код ниже: распечатайте его и храните в надёжном месте.",
    ),
    ("suspicion_settled", "Noted.", "Отмечено."),
    ("token_removed", "The token has been removed.", "Токен удалён."),
];

/// The menu of the vendor: address, English, Russian, what its reader must be.
const MENU: &[(&str, &str, &str, Role)] = &[
    ("/vendor", "Overview", "Обзор", Role::Reader),
    ("/vendor/orders", "Orders", "Заказы", Role::Reader),
    ("/vendor/keys", "Keys", "Ключи", Role::Reader),
    ("/vendor/customers", "Customers", "Покупатели", Role::Reader),
    ("/vendor/series", "Series", "Серии", Role::Reader),
    ("/vendor/blanks", "USB keys", "Носители", Role::Reader),
    ("/vendor/suspicions", "Suspicions", "Подозрения", Role::Reader),
    ("/vendor/audit", "Audit", "Аудит", Role::Reader),
    ("/vendor/accounts", "Accounts", "Учётные записи", Role::Admin),
];

/// A line of the menu.
#[derive(Debug)]
pub(crate) struct MenuItem {
    pub(crate) href: &'static str,
    pub(crate) text: &'static str,
    pub(crate) is_current: bool,
}

/// What stands around a page.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Texts in the reader's language.
    pub(crate) t: Texts,
    /// The menu; empty for all but the vendor's people.
    pub(crate) menu: Vec<MenuItem>,
    /// Who of the vendor's reads.
    pub(crate) actor: Option<(String, Role)>,
    /// What each form must send as `csrf`.
    pub(crate) csrf: String,
    /// What a form has just done.
    pub(crate) done: Option<&'static str>,
    /// What is wrong with the form that was sent.
    pub(crate) error: Option<String>,
    /// The address of this page for `next=`, percent-encoded.
    pub(crate) here: String,
    /// Version of the centre: a new one has a new style sheet.
    pub(crate) version: &'static str,
    cookie: Option<String>,
}

impl Frame {
    /// The frame for whoever asks, without a secret of forms.
    pub(crate) fn bare(call: &Call<'_>) -> Self {
        let t = Texts(call.language);
        let actor = call.staff.as_ref();
        let role = actor.and_then(|(actor, _)| actor.role);
        let section: String = call.path.split('/').take(3).collect::<Vec<_>>().join("/");
        let is_vendors = call.path.starts_with("/vendor");
        let menu = MENU.iter().filter(|(.., least)| is_vendors && role >= Some(*least));
        let done = call.query.text("done").and_then(|code| {
            let line = DONE.iter().find(|(known, ..)| *known == code);
            line.map(|(_, english, russian)| t.pick(english, russian))
        });
        Self {
            t,
            menu: menu
                .map(|(href, english, russian, _)| MenuItem {
                    href,
                    text: t.pick(english, russian),
                    is_current: *href == section,
                })
                .collect(),
            actor: actor.and_then(|(actor, _)| Some((actor.name.clone(), actor.role?))),
            csrf: String::new(),
            done,
            error: None,
            here: here(call),
            version: env!("CARGO_PKG_VERSION"),
            cookie: None,
        }
    }

    /// The frame of a page of the vendor's, with the secret of their login.
    pub(crate) fn for_staff(call: &Call<'_>) -> Self {
        let mut frame = Self::bare(call);
        if let Some((_, csrf)) = &call.staff {
            frame.csrf.clone_from(csrf);
        }
        frame
    }

    /// The frame of a page for somebody who has not come in.
    ///
    /// # Errors
    ///
    /// When there are no random bytes.
    pub(crate) fn for_visitor(call: &Call<'_>) -> Result<Self, Refusal> {
        let mut frame = Self::bare(call);
        let (csrf, is_fresh) = call.visitor_secret()?;
        if is_fresh {
            frame.cookie = Some(format!(
                "{FORM_COOKIE}={csrf}; Path=/; HttpOnly; SameSite=Strict{}",
                call.secure()
            ));
        }
        frame.csrf = csrf;
        Ok(frame)
    }

    /// Whether the reader may do what this role may.
    pub(crate) fn may(&self, role: &str) -> bool {
        let least = role.parse().ok();
        least.is_some() && self.actor.as_ref().map(|(_, role)| *role) >= least
    }

    /// The answer with this page in this frame.
    ///
    /// # Errors
    ///
    /// 500 when the page cannot be made.
    pub(crate) fn answer(&self, status: StatusCode, page: &impl Template) -> Result<Page, Refusal> {
        let body = page.render().map_err(|error| {
            log::error!("a page cannot be made: {error}");
            Refusal::Internal
        })?;
        let mut answer = html(status, body, self.t.0);
        if let Some(cookie) = &self.cookie {
            set_cookie(&mut answer, cookie);
        }
        Ok(answer)
    }
}

fn html(status: StatusCode, body: String, language: Language) -> Page {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::VARY, "Accept-Language, Cookie"),
        // Pages hold codes: no cache may keep them.
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_LANGUAGE, language.tag()),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// The style sheet.
pub(super) fn style(text: &'static str) -> Page {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    answer
}

/// A file to keep.
pub(super) fn file(name: &str, kind: &'static str, body: String) -> Page {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    answer
}

pub(super) fn set_cookie(answer: &mut Page, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        answer.headers_mut().append(header::SET_COOKIE, value);
    }
}

/// 303 to an address of this centre.
pub(super) fn see(next: &str) -> Page {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SEE_OTHER;
    let headers = answer.headers_mut();
    let location = HeaderValue::from_str(&local(next)).unwrap_or(HeaderValue::from_static("/"));
    headers.insert(header::LOCATION, location);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// 303 to a page that then says what was done.
pub(super) fn see_done(path: &str, code: &str) -> Page {
    let joint = if path.contains('?') { '&' } else { '?' };
    see(&format!("{path}{joint}done={code}"))
}

/// To the login, and back to this page after it.
pub(crate) fn to_login(path: &str) -> Page {
    see(&format!("/login?next={}", encoded(path)))
}

/// A text within a query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string()
}

/// An address of this centre as a `Location` takes it. Whatever a browser could take for another
/// host (`//host`, `/\host`, a scheme) becomes the first page.
fn local(next: &str) -> String {
    let is_foreign = !next.starts_with('/')
        || next.starts_with("//")
        || next.contains('\\')
        || next.chars().any(char::is_control)
        || next.len() > NEXT_BYTES_MAX;
    if is_foreign { "/".to_owned() } else { utf8_percent_encode(next, UNSAFE).to_string() }
}

/// The page itself as text of a query. A query may hold a request, which is long, or what a form has
/// done, which is over: neither goes along.
fn here(call: &Call<'_>) -> String {
    let mut address = call.path.to_owned();
    if call.path != "/login"
        && let Some(query) = call.query.text("query")
    {
        address.push_str(&format!("?query={}", encoded(query)));
    }
    encoded(&address)
}

#[derive(Template)]
#[template(path = "message.html")]
struct Message {
    frame: Frame,
    title: &'static str,
    text: String,
    back: &'static str,
}

/// The page of a refusal.
pub(crate) fn problem(call: &Call<'_>, refusal: &Refusal) -> Page {
    let (code, text) = refusal.status();
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let back = if call.path.starts_with("/vendor") {
        "/vendor"
    } else if call.path.starts_with("/my") {
        "/my"
    } else {
        "/"
    };
    let page = Message {
        frame: Frame::for_staff(call),
        title: call.pick("It did not work", "Не получилось"),
        text: refusal.text(call.language),
        back,
    };
    let mut answer = page.frame.answer(status, &page).unwrap_or_else(|_| {
        let mut plain = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *plain.status_mut() = status;
        plain
    });
    add_wait(&mut answer, refusal);
    answer
}

/// How long to wait, and which methods there are.
pub(super) fn add_wait(answer: &mut Page, refusal: &Refusal) {
    crate::api::add_hint(answer, refusal);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_host() {
        for (next, expected) in [
            ("/vendor/keys?query=1", "/vendor/keys?query=1"),
            ("/vendor?q=Ж x", "/vendor?q=%D0%96%20x"),
            ("", "/"),
            ("vendor", "/"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/\t/evil.example", "/"),
            ("https://evil.example", "/"),
            ("javascript:alert(1)", "/"),
            ("/a\r\nSet-Cookie: x=1", "/"),
        ] {
            assert_eq!(local(next), expected, "{next}");
        }
    }
}
