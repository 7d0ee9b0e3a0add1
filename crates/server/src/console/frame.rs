//! The frame of every page: menu, who is there, notices, the secret of the forms, headers.
//!
//! Decides what stands around a page and with which headers it is sent; what stands in it is each
//! page's own. Changes nothing.

use askama::Template;
use hyper::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, SET_COOKIE};
use hyper::{Response, StatusCode};
use licence_core::binding::{Match, Standing};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::access::{self, Role, Via, csrf};
use crate::api::errors::ApiError;
use crate::api::params::Params;
use crate::api::routes::Page;
use crate::api::{Answer, Call, VERSION};
use crate::binding::words;
use crate::console::texts::Texts;
use crate::health::checks;

/// The pages load nothing from elsewhere, run nothing that is written into them, and send their
/// forms to this server only.
const CSP: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
                   connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'";

/// What stays as it is in a query.
const QUERY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// Days before the end of a term from which the console warns.
const EXPIRY_DAYS: u32 = 30;

/// Most keys that a notice names one by one.
const NAMED_MAX: usize = 5;

/// What a form has done, as `?done=` names it, in Russian and English. Only these are ever shown.
const DONE: &[(&str, &str, &str)] = &[
    ("access_code_removed", "Код доступа снят.", "The access code has been removed."),
    ("access_code_set", "Код доступа задан.", "The access code has been set."),
    ("ismp_key_removed", "Ключ сессии удалён.", "The session key has been removed."),
    ("ismp_saved", "Настройки ключей сессии сохранены.", "What was entered has been saved."),
    ("kept_freed", "Место освобождено.", "The seat is free."),
    ("key_installed", "Ключ установлен.", "The key has been installed."),
    ("key_removed", "Ключ удалён с сервера.", "The key has been removed."),
    ("keys_current", "Обновлений лицензий нет.", "The licences are up to date."),
    (
        "keys_ended",
        "Ключи, которые прекратили действие в центре лицензирования, удалены с этого сервера.",
        "Keys that have ended at the activation centre are gone from this server.",
    ),
    ("keys_updated", "Лицензии обновлены.", "The licences have been updated."),
    ("logged_out", "Вы вышли из консоли.", "You are logged out."),
    ("password_changed", "Пароль изменён.", "The password has been changed."),
    ("restarted", "Сервер перезапущен.", "The server has restarted."),
    ("rules_saved", "Правила сохранены.", "The rules have been saved."),
    ("session_ended", "Сеанс завершён, лицензия свободна.", "The session has been ended."),
    ("settings_same", "Настройки не изменились.", "The settings are the same as before."),
    ("settings_saved", "Настройки сохранены.", "The settings have been saved."),
    ("token_removed", "Токен удалён.", "The token has been removed."),
    ("user_removed", "Пользователь удалён.", "The user has been removed."),
    ("user_saved", "Пользователь сохранён.", "The user has been saved."),
];

/// The menu: address, whose page it is, Russian, English, and what its reader must be.
const MENU: &[(&str, Page, &str, &str, Role)] = &[
    ("/", Page::Overview, "Обзор", "Overview", Role::Reader),
    ("/keys", Page::Keys, "Ключи", "Keys", Role::Reader),
    ("/sessions", Page::Sessions, "Сеансы", "Sessions", Role::Reader),
    ("/connections", Page::Connections, "Соединения", "Connections", Role::Reader),
    ("/events", Page::Events, "События", "Events", Role::Reader),
    ("/reports", Page::Reports, "Отчёты", "Reports", Role::Reader),
    ("/rules", Page::Rules, "Правила", "Rules", Role::Operator),
    ("/cluster", Page::Cluster, "Кластер", "Cluster", Role::Reader),
    ("/ismp", Page::Ismp, "ИС МП", "Session keys", Role::Operator),
    ("/settings", Page::Settings, "Настройки", "Settings", Role::Administrator),
    ("/access", Page::Access, "Доступ", "Access", Role::Administrator),
    ("/log", Page::Log, "Лог", "Log", Role::Administrator),
    ("/systeminfo", Page::SystemInfo, "О сервере", "About the server", Role::Reader),
    ("/help", Page::Help, "Справка", "Help", Role::Reader),
];

/// How much a notice matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Level {
    /// Will become a fault.
    Warning,
    /// A fault.
    Fault,
}

impl Level {
    /// Its class in the style sheet.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

/// A line above the page.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Notice {
    /// How much it matters.
    pub(crate) level: Level,
    /// What it says.
    pub(crate) text: String,
    /// Where to go: a path of the console.
    pub(crate) link: Option<&'static str>,
}

/// A line of the menu.
#[derive(Debug)]
pub(crate) struct MenuItem {
    pub(crate) href: String,
    pub(crate) text: &'static str,
    pub(crate) is_current: bool,
}

/// What stands around a page.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Texts in the reader's language.
    pub(crate) t: Texts,
    /// Version of the server.
    pub(crate) version: &'static str,
    /// Name of the computer; empty for those who have not been let in.
    pub(crate) computer_name: String,
    /// Who reads; empty for nobody in particular.
    pub(crate) actor_name: String,
    /// What the reader may do.
    pub(crate) role: Role,
    /// Whether the reader has logged in and can log out.
    pub(crate) is_logged_in: bool,
    /// Whether the reader has not said who they are.
    pub(crate) is_nobody: bool,
    /// The menu.
    pub(crate) menu: Vec<MenuItem>,
    /// Lines above the page.
    pub(crate) notices: Vec<Notice>,
    /// What a form has just done.
    pub(crate) done: Option<&'static str>,
    /// What each form must send as `csrf`.
    pub(crate) csrf: String,
    /// Whether the menu is shown.
    pub(crate) shows_menu: bool,
    /// Whether the header is shown.
    pub(crate) shows_header: bool,
    /// Whether only the content is wanted, for the script's refresh.
    pub(crate) is_fragment: bool,
    /// Whether asking for the address again gives this page, so that the script may refresh it.
    pub(crate) refreshes: bool,
    /// The address of this page for `next=`, percent-encoded.
    pub(crate) here: String,
    set_cookie: Option<HeaderValue>,
}

impl Frame {
    /// The frame of a page for this reader.
    ///
    /// # Errors
    ///
    /// 400 for a query that is not UTF-8; what the driver answers when it is busy.
    pub(crate) async fn new(call: &Call<'_>, page: Page) -> Result<Self, ApiError> {
        let mut frame = Self::bare(call)?;
        frame.is_fragment = call.is_refresh();
        frame.set_form_token(call);
        if matches!(page, Page::Login | Page::LoginForm) {
            return Ok(frame);
        }
        frame.refreshes = call.method == "GET";
        frame.computer_name.clone_from(&call.app.host.computer_name);
        let current = place(page);
        let has_cluster = call.app.cluster.is_some() || call.app.cluster_problem.is_some();
        frame.menu = MENU
            .iter()
            // Whoever has not said who they are is asked on the way.
            .filter(|(.., role)| frame.is_nobody || *role <= frame.role)
            // A server that stands alone needs no page about others.
            .filter(|(_, item, ..)| *item != Page::Cluster || has_cluster)
            .map(|(path, item, russian, english, _)| MenuItem {
                href: frame.link(path),
                text: frame.t.0.pick(russian, english),
                is_current: *item == current,
            })
            .collect();
        frame.notices = notices(call, frame.t).await?;
        Ok(frame)
    }

    /// The frame of a page for somebody who may not have been let in: no menu, no facts of the
    /// server, and nothing is asked of the driver.
    ///
    /// # Errors
    ///
    /// 400 for a query that is not UTF-8.
    pub(crate) fn bare(call: &Call<'_>) -> Result<Self, ApiError> {
        let params = Params::read(call.query, b"")?;
        let t = Texts(call.language);
        let done = params.text("done")?.and_then(|code| {
            let line = DONE.iter().find(|(known, ..)| *known == code);
            line.map(|(_, russian, english)| t.0.pick(russian, english))
        });
        Ok(Self {
            t,
            version: VERSION,
            computer_name: String::new(),
            actor_name: call.actor.name.clone(),
            role: call.actor.role,
            is_logged_in: matches!(call.actor.via, Via::Login { .. }),
            is_nobody: call.actor.via == Via::Nothing,
            menu: Vec::new(),
            notices: Vec::new(),
            done,
            csrf: String::new(),
            shows_menu: params.text("menu")? != Some("false"),
            shows_header: params.text("header")? != Some("false"),
            is_fragment: false,
            refreshes: false,
            here: here(call),
            set_cookie: None,
        })
    }

    fn set_form_token(&mut self, call: &Call<'_>) {
        let token = csrf::form_token(call);
        self.csrf = token.value;
        self.set_cookie = token.set_cookie;
    }

    /// This address with what embeds the page: `?menu=false&header=true` stays from page to page.
    pub(crate) fn link(&self, path: impl AsRef<str>) -> String {
        linked(path.as_ref(), self.shows_menu, self.shows_header)
    }

    /// The same as hidden fields of a form that is sent by GET.
    pub(crate) fn embedding(&self) -> Vec<(&'static str, &'static str)> {
        let mut fields = Vec::new();
        if !self.shows_menu {
            fields.push(("menu", "false"));
        }
        if !self.shows_header {
            fields.push(("header", "false"));
        }
        fields
    }

    /// Whether the reader may do what this role may.
    pub(crate) fn may(&self, role: &str) -> bool {
        role.parse().is_ok_and(|role: Role| role <= self.role)
    }

    /// The answer with this page in this frame.
    ///
    /// # Errors
    ///
    /// 500 when the page cannot be made.
    pub(crate) fn answer(
        &self,
        status: StatusCode,
        page: &impl Template,
    ) -> Result<Answer, ApiError> {
        let body = page.render().map_err(|error| {
            log::error!("a page cannot be made: {error}");
            ApiError::internal()
        })?;
        let mut answer = Response::new(body.into());
        *answer.status_mut() = status;
        set_page_headers(&mut answer);
        if let Some(cookie) = &self.set_cookie {
            answer.headers_mut().append(SET_COOKIE, cookie.clone());
        }
        Ok(answer)
    }
}

/// Headers of a page.
pub(crate) fn set_page_headers(answer: &mut Answer) {
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
    headers.insert(
        HeaderName::from_static("referrer-policy"),
        HeaderValue::from_static("same-origin"),
    );
}

/// 303 to a page of the console, which then says what was done (a code of the fixed table); the
/// embedding of the page stays.
///
/// # Errors
///
/// 400 for a query that is not UTF-8.
pub(crate) fn see_done(call: &Call<'_>, path: &str, code: &str) -> Result<Answer, ApiError> {
    let frame = Frame::bare(call)?;
    let address = frame.link(path);
    let joint = if address.contains('?') { '&' } else { '?' };
    Ok(access::see_other(&format!("{address}{joint}done={code}")))
}

/// A text within a query.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string()
}

fn linked(path: &str, shows_menu: bool, shows_header: bool) -> String {
    let mut address = path.to_owned();
    // An embedded page says both, as the manual of the original does.
    if !shows_menu || !shows_header {
        address.push(if path.contains('?') { '&' } else { '?' });
        address.push_str(&format!("menu={shows_menu}&header={shows_header}"));
    }
    address
}

/// The page itself as text of a query. After a form it is the page the form stood on, as far as an
/// address tells.
fn here(call: &Call<'_>) -> String {
    let mut address = if call.method == "GET" || call.method == "HEAD" {
        call.path.to_owned()
    } else {
        call.path.rsplit_once('/').map_or("/", |(parent, _)| parent).to_owned()
    };
    if address.is_empty() {
        address.push('/');
    }
    let kept = call.query.unwrap_or("").split('&').filter(|pair| {
        !pair.is_empty() && !pair.starts_with("done=") && !pair.starts_with("fragment=")
    });
    for (at, pair) in kept.enumerate() {
        address.push(if at == 0 { '?' } else { '&' });
        address.push_str(pair);
    }
    encoded(&address)
}

/// The line of the menu under which a page stands.
const fn place(page: Page) -> Page {
    match page {
        Page::Access | Page::AccessChange => Page::Access,
        Page::AccessCode
        | Page::Install
        | Page::InstallAnswer
        | Page::InstallDemo
        | Page::InstallForm
        | Page::InstallRequest
        | Page::Key
        | Page::KeyRemove
        | Page::KeyReserveCode
        | Page::KeySpareCode
        | Page::KeyUpdate
        | Page::Keys => Page::Keys,
        Page::Ismp | Page::IsmpChange => Page::Ismp,
        Page::Rules | Page::RulesChange => Page::Rules,
        Page::ClusterSession
        | Page::ClusterSessionEnd
        | Page::ClusterSessions
        | Page::Session
        | Page::SessionEnd
        | Page::Sessions => Page::Sessions,
        Page::Settings | Page::SettingsChange | Page::Restart => Page::Settings,
        Page::ClusterEvents => Page::Events,
        Page::ClusterKeptEnd => Page::Cluster,
        Page::Cluster
        | Page::Connections
        | Page::Events
        | Page::Help
        | Page::Icon
        | Page::Language
        | Page::Log
        | Page::Login
        | Page::LoginForm
        | Page::Logout
        | Page::Overview
        | Page::Password
        | Page::PasswordForm
        | Page::Reports
        | Page::Script
        | Page::Style
        | Page::SystemInfo => page,
    }
}

/// What whoever reads any page should know.
async fn notices(call: &Call<'_>, t: Texts) -> Result<Vec<Notice>, ApiError> {
    let mut notices = Vec::new();
    let mut add = |level, text: String, link| notices.push(Notice { level, text, link });
    if call.actor.has_default_password {
        let text = t.pick(
            "Используется пароль по умолчанию. Измените его: пока он не изменён, консоль и API \
             доступны с ним только на самом сервере.",
            "The default password is in use. Change it: until then it works only on the server \
             itself.",
        );
        add(Level::Fault, text.to_owned(), Some("/password"));
    }
    let is_administrator = call.actor.role >= Role::Administrator;
    if is_administrator && let Some(problem) = call.app.settings.problem_in(call.language) {
        let text = t.pick(
            "Файл настроек не принят, действуют прежние настройки",
            "The settings file was not accepted, the settings before it are in force",
        );
        add(Level::Fault, format!("{text}: {problem}"), Some("/settings"));
    }
    let waiting = call.app.settings.waiting_for_restart();
    if is_administrator && !waiting.is_empty() {
        let text = t.pick("Вступит в силу после перезапуска", "In force after a restart");
        add(Level::Warning, format!("{text}: {}", waiting.join(", ")), Some("/settings"));
    }
    let seen = call.app.overview.look(call.app).await?;
    let unusable = seen.licences.iter().filter(|key| !key.workable || key.open_error.is_some());
    let unusable: Vec<_> = unusable.collect();
    for key in unusable.iter().take(NAMED_MAX) {
        let named = match key.key_no {
            Some(key_no) => format!("{} {key_no}", t.pick("Ключ", "Key")),
            None => format!("{} {}", t.pick("Файл", "File"), t.file(key)),
        };
        add(Level::Fault, format!("{named}: {}", t.state(key)), Some("/keys"));
    }
    if let Some(more) = unusable.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        let text = t.pick("Недоступных ключей ещё", "More keys that are unavailable");
        add(Level::Fault, format!("{text}: {more}"), Some("/keys"));
    }
    let ending = seen.licences.iter().filter(|key| key.enabled);
    let mut ending: Vec<_> = ending
        .filter_map(|key| Some((key.days_left.filter(|days| *days <= EXPIRY_DAYS)?, key.key_no?)))
        .collect();
    ending.sort_unstable();
    for (days, key_no) in ending.iter().take(NAMED_MAX) {
        let text = match call.language {
            licence_core::language::Language::English => {
                format!("The term of key {key_no} ends in {days} day(s)")
            }
            licence_core::language::Language::Russian => {
                format!("Срок действия ключа {key_no} истекает, осталось дней: {days}")
            }
        };
        add(Level::Warning, text, Some("/keys"));
    }
    if let Some(more) = ending.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        let text = t.pick("Ключей с истекающим сроком ещё", "More keys whose term ends soon");
        add(Level::Warning, format!("{text}: {more}"), Some("/keys"));
    }
    if let Some(doubt) = seen.doubt {
        let text = checks::clock(0, Some(doubt)).text(call.language).to_owned();
        add(Level::Warning, text, Some("/systeminfo"));
    }
    let state = call.app.binding.state();
    let has_drifted = matches!(state.found, Match::Parts { matching, total } if matching < total);
    if has_drifted {
        let text = words::computer(&state, seen.judged.more(), call.language);
        add(Level::Warning, text, Some("/systeminfo"));
    }
    // Keys that have stopped are among the unusable ones.
    let graced = seen.judged.keys.iter().filter_map(|key| match key.standing {
        Standing::Grace { until } => Some((key.key_no, until)),
        Standing::Fits { .. } | Standing::Over { .. } | Standing::NeedsTpm => None,
    });
    let graced: Vec<_> = graced.collect();
    for (key_no, until) in graced.iter().take(NAMED_MAX) {
        let days = words::days_left(*until, seen.judged.utc);
        let text = match call.language {
            licence_core::language::Language::English => {
                format!("Key {key_no} stops in {days} day(s): the computer has changed too much")
            }
            licence_core::language::Language::Russian => format!(
                "Ключ {key_no} перестанет работать через дней: {days} — компьютер изменился слишком \
                 сильно"
            ),
        };
        add(Level::Fault, text, Some("/systeminfo"));
    }
    if let Some(more) = graced.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        let text = t.pick("Перестанут работать и другие ключи", "More keys that will stop");
        add(Level::Fault, format!("{text}: {more}"), Some("/systeminfo"));
    }
    let recent = call.app.overview.recent(call.app, &seen.totals).await;
    let denied: u64 = recent.iter().filter_map(|(_, recent)| *recent).map(|r| r.denied).sum();
    if denied > 0 {
        let text = t.pick("Отказов за сутки", "Denials in the last 24 hours");
        add(Level::Warning, format!("{text}: {denied}"), Some("/events?kind=denied"));
    }
    Ok(notices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedding_stays_in_links() {
        for (path, menu, header, shown) in [
            ("/keys", true, true, "/keys"),
            ("/keys", false, true, "/keys?menu=false&header=true"),
            ("/keys?q=1", false, false, "/keys?q=1&menu=false&header=false"),
        ] {
            assert_eq!(linked(path, menu, header), shown);
        }
    }

    #[test]
    fn codes_of_what_was_done_are_in_order_and_no_two_are_equal() {
        assert!(DONE.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn text_of_a_query_cannot_end_it() {
        assert_eq!(encoded("/a?b=c&d#\r\n\"ж"), "/a%3Fb%3Dc%26d%23%0D%0A%22%D0%B6");
    }
}
