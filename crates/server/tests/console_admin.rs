//! The administrator's pages as a browser without script sees them: log in, change things by
//! forms, read them again.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::collections::BTreeMap;

use http_body_util::Full;
use hyper::Request;
use licence_core::rules::RuleSet;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use support::{Answered, LOCAL, Server, start};

const CONF: &str = "; the head of the file\n[Console]\n; who comes in\nUserName=root\n\
                    Password=correct horse\n\n[Users]\nolga=operator;battery staple\n\
                    rita=reader;paper clip ok\n";

const ADMIN: (&str, &str) = ("root", "correct horse");

/// Pages of an administrator, with what stands in their head line in Russian and in English.
const PAGES: &[(&str, &str, &str)] = &[
    ("/password", "Смена пароля", "Change the password"),
    ("/events", "События", "Events"),
    ("/reports", "Отчёты", "Reports"),
    ("/rules", "Правила выдачи лицензий", "Rules of who gets a licence"),
    ("/ismp", "Ключи сессии ИС МП", "Session keys of ИС МП"),
    ("/settings", "Настройки", "Settings"),
    ("/access", "Доступ", "Access"),
    ("/log", "Лог", "Log"),
    ("/systeminfo", "О сервере", "About the server"),
];

fn start_on_disk(conf: &str) -> Server {
    let server = start(conf);
    std::fs::write(server.app.paths.conf(), conf).unwrap();
    // As at a start: passwords in plain text become hashes.
    server.app.settings.reload().unwrap();
    server
}

/// The conf file as it is.
fn conf(server: &Server) -> String {
    std::fs::read_to_string(server.app.paths.conf()).unwrap()
}

/// A browser: keeps cookies, says where its forms come from, runs no script.
struct Browser<'a> {
    server: &'a Server,
    cookies: BTreeMap<String, String>,
    language: &'static str,
}

impl<'a> Browser<'a> {
    fn new(server: &'a Server) -> Self {
        Self { server, cookies: BTreeMap::new(), language: "ru" }
    }

    /// One that has logged in.
    async fn of(server: &'a Server, user: (&str, &str)) -> Self {
        let mut browser = Self::new(server);
        let answer = browser.log_in(user, "/").await;
        assert_eq!(answer.status, 303, "{answer:?}");
        browser
    }

    async fn log_in(&mut self, (name, password): (&str, &str), next: &str) -> Answered {
        self.get("/login").await;
        let fields = [("name", name), ("password", password), ("next", next)];
        self.submit("/login", "/login", &fields).await
    }

    async fn get(&mut self, path: &str) -> Answered {
        let request = Request::get(path).body(Full::default()).unwrap();
        self.send(request).await
    }

    /// Sends a form of a page, with the token that the page gave it.
    async fn submit(&mut self, page: &str, to: &str, fields: &[(&str, &str)]) -> Answered {
        let page = self.get(page).await;
        let csrf = between(&page.body, "name=\"csrf\" value=\"", "\"").to_owned();
        let mut all = vec![("csrf", csrf.as_str())];
        all.extend_from_slice(fields);
        self.post(to, &all).await
    }

    async fn post(&mut self, to: &str, fields: &[(&str, &str)]) -> Answered {
        let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let pairs: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        let request = Request::post(to)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("Origin", "http://localhost:9099")
            .body(Full::from(pairs.join("&")))
            .unwrap();
        self.send(request).await
    }

    async fn send(&mut self, mut request: Request<Full<hyper::body::Bytes>>) -> Answered {
        let cookies: Vec<_> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let headers = request.headers_mut();
        headers.insert("Host", "localhost:9099".parse().unwrap());
        headers.insert("Accept", "text/html,*/*".parse().unwrap());
        headers.insert("Accept-Language", self.language.parse().unwrap());
        if !cookies.is_empty() {
            headers.insert("Cookie", cookies.join("; ").parse().unwrap());
        }
        let answer = self.server.send(LOCAL, request).await;
        for cookie in answer.headers.get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let from = text.find(before).unwrap_or_else(|| panic!("no {before} in:\n{text}"));
    let rest = &text[from + before.len()..];
    &rest[..rest.find(after).unwrap()]
}

fn location(answer: &Answered) -> &str {
    assert_eq!(answer.status, 303, "{answer:?}");
    answer.headers["location"].to_str().unwrap()
}

/// Values of one attribute, in order.
fn values<'t>(page: &'t str, attribute: &str) -> Vec<&'t str> {
    let begin = format!(" {attribute}=\"");
    page.split(&begin).skip(1).map(|rest| &rest[..rest.find('"').unwrap()]).collect()
}

/// What a checker of accessibility would find without a browser: ids that are not unique, fields
/// without a label, references to nothing, forms without the token.
fn check_html(path: &str, page: &str) {
    let ids = values(page, "id");
    for (at, id) in ids.iter().enumerate() {
        assert!(!ids[..at].contains(id), "{path}: the id {id} stands twice");
    }
    let labelled = values(page, "for");
    for tag in page.split('<').map(|tag| tag.split('>').next().unwrap()) {
        let is_field = ["input ", "select ", "textarea "].iter().any(|name| tag.starts_with(name));
        if is_field && !tag.contains("type=\"hidden\"") && !tag.contains(" hidden") {
            let id = values(tag, "id");
            assert!(id.first().is_some_and(|id| labelled.contains(id)), "{path}: no label: {tag}");
        }
    }
    let lists = [labelled, values(page, "aria-labelledby"), values(page, "aria-describedby")];
    for reference in lists.concat().into_iter().flat_map(|list| list.split(' ')) {
        assert!(ids.contains(&reference), "{path}: {reference} is nowhere");
    }
    for form in page.split("<form").skip(1) {
        let form = &form[..form.find("</form>").unwrap()];
        if form.contains("method=\"post\"") {
            assert!(!between(form, "name=\"csrf\" value=\"", "\"").is_empty(), "{path}: {form}");
            assert!(form.contains("type=\"submit\""), "{path}: {form}");
            assert!(form.contains("action=\"/"), "{path}: {form}");
        }
    }
    assert_eq!(page.matches("<h1").count(), 1, "{path}");
    assert!(!page.contains(" style=") && !page.contains(" onclick="), "{path}");
}

#[tokio::test]
async fn every_page_is_shown_in_both_languages_with_labels_and_tokens() {
    let server = start_on_disk(CONF);
    let connection = server.connect().await;
    server.open(&connection, 2).await;
    let mut browser = Browser::of(&server, ADMIN).await;
    for (path, russian, english) in PAGES {
        for (language, title) in [("ru", russian), ("en", english)] {
            browser.language = language;
            let answer = browser.get(path).await;
            assert_eq!(answer.status, 200, "{path} {}", answer.body);
            assert!(answer.body.contains(&format!("<html lang=\"{language}\">")), "{path}");
            let head = between(&answer.body, "<h1>", "</h1>");
            assert!(head.starts_with(title), "{path}: {head}");
            check_html(path, &answer.body);
        }
        let embedded = browser.get(&format!("{path}?menu=false&header=true")).await.body;
        assert!(!embedded.contains("<nav"), "{path}");
    }
    let mut stranger = Browser::new(&server);
    check_html("/login", &stranger.get("/login").await.body);
}

#[tokio::test]
async fn health_is_shown_to_those_who_have_said_who_they_are() {
    let server = start_on_disk(CONF);
    let shown = Browser::of(&server, ("rita", "paper clip ok")).await.get("/systeminfo").await.body;
    assert!(shown.contains("<tr class=\"check "), "{shown}");
    let mut stranger = Browser::new(&server);
    let shown = stranger.get("/systeminfo").await;
    assert_eq!(shown.status, 200);
    assert!(shown.body.contains(&server.app.host.computer_name), "{}", shown.body);
    assert!(!shown.body.contains("<tr class=\"check "), "{}", shown.body);
}

#[tokio::test]
async fn login_leads_to_the_page_that_was_asked_for_and_logout_ends_it() {
    let server = start_on_disk(CONF);
    let mut browser = Browser::new(&server);
    let asked = browser.get("/settings").await;
    assert!(location(&asked).starts_with("/login?next="), "{asked:?}");
    let page = browser.get(location(&asked)).await;
    assert_eq!(between(&page.body, "name=\"next\" value=\"", "\""), "/settings");
    let answer = browser.log_in(ADMIN, "/settings").await;
    assert_eq!(location(&answer), "/settings");
    assert_eq!(browser.get("/settings").await.status, 200);
    let answer = browser.submit("/settings", "/logout", &[]).await;
    assert_eq!(location(&answer), "/login?done=logged_out");
    assert!(browser.get("/login?done=logged_out").await.body.contains("Вы вышли из консоли."));
    assert_eq!(browser.get("/settings").await.status, 303);
}

#[tokio::test]
async fn login_goes_to_no_other_server() {
    let server = start_on_disk(CONF);
    for next in ["//evil.example", "https://evil.example/", "/\\evil.example", "/logout"] {
        let answer = Browser::new(&server).log_in(ADMIN, next).await;
        assert_eq!(location(&answer), "/", "{next}");
    }
}

#[tokio::test]
async fn wrong_password_is_told_on_the_page_and_many_of_them_must_wait() {
    let server = start_on_disk(CONF);
    let mut browser = Browser::new(&server);
    for _ in 0..5 {
        let answer = browser.log_in(("root", "wrong"), "/").await;
        assert_eq!(answer.status, 401);
        assert!(answer.body.contains("role=\"alert\""), "{}", answer.body);
        assert_eq!(
            between(
                &answer.body,
                "autocomplete=\"username\" required maxlength=\"200\" value=\"",
                "\""
            ),
            "root"
        );
        assert!(!answer.body.contains("wrong\""), "the password is not shown again");
        check_html("/login", &answer.body);
    }
    let answer = browser.log_in(ADMIN, "/").await;
    assert_eq!(answer.status, 429, "{answer:?}");
    let alert = between(&answer.body, "id=\"login-error\">", "</p>");
    assert!(alert.chars().any(|c| c.is_ascii_digit()), "it tells for how long: {alert}");
}

#[tokio::test]
async fn default_password_must_be_changed_before_anything_else() {
    let server = start_on_disk("");
    let mut browser = Browser::new(&server);
    assert_eq!(location(&browser.log_in(("admin", "admin"), "/").await), "/password");
    assert!(location(&browser.get("/settings").await).starts_with("/password"));
    let page = browser.get("/password").await;
    assert!(page.body.contains("Действует пароль по умолчанию"), "{}", page.body);

    for (old, new, again) in [
        ("admin", "long enough", "long enougH"),
        ("admin", "short", "short"),
        ("nimda", "long enough", "long enough"),
    ] {
        let fields = [("old", old), ("new", new), ("again", again)];
        let answer = browser.submit("/password", "/password", &fields).await;
        assert!([400, 403].contains(&answer.status), "{old} {new}: {answer:?}");
        assert!(answer.body.contains("id=\"password-error\""), "{}", answer.body);
        check_html("/password", &answer.body);
    }

    let fields = [("old", "admin"), ("new", "long enough"), ("again", "long enough")];
    let answer = browser.submit("/password", "/password", &fields).await;
    assert_eq!(location(&answer), "/?done=password_changed");
    let conf = conf(&server);
    assert!(conf.contains("$argon2") && !conf.contains("long enough"), "{conf}");

    let mut again = Browser::new(&server);
    assert_eq!(again.log_in(("admin", "admin"), "/").await.status, 401);
    assert_eq!(location(&again.log_in(("admin", "long enough"), "/").await), "/");
}

#[tokio::test]
async fn settings_form_changes_only_what_was_changed_and_keeps_the_comments() {
    let server = start_on_disk(CONF);
    let before = conf(&server);
    let mut browser = Browser::of(&server, ADMIN).await;
    let page = browser.get("/settings").await;
    assert!(!page.body.contains("correct horse"), "no secret is shown");
    // What a browser sends: every field as it stands, but for the two that somebody changed.
    let mut fields: Vec<(String, String)> = Vec::new();
    let form = between(&page.body, "<form method=\"post\" action=\"/settings\"", "</form>");
    for tag in form.split("<input").skip(1) {
        let tag = tag.split('>').next().unwrap();
        let name = values(tag, "name")[0];
        let is_off = tag.contains("checkbox") && !tag.contains(" checked");
        if !is_off {
            let value = values(tag, "value").first().copied().unwrap_or_default();
            fields.push((name.to_owned(), value.to_owned()));
        }
    }
    for select in form.split("<select").skip(1) {
        let name = values(select.split('>').next().unwrap(), "name")[0];
        let options = &select[..select.find("</select>").unwrap()];
        let chosen = options.split("<option value=\"").find(|part| part.contains(" selected"));
        let value = chosen.map_or("", |part| part.split('"').next().unwrap());
        fields.push((name.to_owned(), value.to_owned()));
    }
    let unchanged: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let answer = browser.post("/settings", &unchanged).await;
    assert_eq!(location(&answer), "/settings?done=settings_same");
    assert_eq!(conf(&server), before);

    let mut changed = unchanged.clone();
    changed.push(("value:Common.ServerPort", "9100"));
    changed.push(("value:Console.LocalAccessOnly", "1"));
    let answer = browser.post("/settings", &changed).await;
    assert_eq!(location(&answer), "/settings?done=settings_saved");
    let conf = conf(&server);
    assert!(conf.starts_with("; the head of the file\n[Console]\n; who comes in\n"), "{conf}");
    assert!(conf.contains("ServerPort=9100") && conf.contains("LocalAccessOnly=1"), "{conf}");
    assert!(server.app.settings.get().console.local_access_only);
    let page = browser.get("/settings").await.body;
    assert!(page.contains("Вступит в силу после перезапуска"), "{page}");
    assert!(page.contains("[Common] ServerPort"), "{page}");
}

#[tokio::test]
async fn setting_that_is_refused_is_told_beside_its_field_and_kept_there() {
    let server = start_on_disk(CONF);
    let before = conf(&server);
    let mut browser = Browser::of(&server, ADMIN).await;
    let fields =
        [("shown:Console.AllowedAddresses", ""), ("value:Console.AllowedAddresses", "nonsense")];
    let answer = browser.submit("/settings", "/settings", &fields).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.contains("id=\"Console.AllowedAddresses-error\""), "{}", answer.body);
    assert!(answer.body.contains("value=\"nonsense\""));
    check_html("/settings", &answer.body);
    assert_eq!(conf(&server), before);
}

#[tokio::test]
async fn rule_is_added_after_its_dry_run_and_one_made_from_other_rules_is_refused() {
    let server = start_on_disk(CONF);
    let connection = server.connect().await;
    server.open(&connection, 2).await;
    let mut browser = Browser::of(&server, ADMIN).await;
    let page = browser.get("/rules").await.body;
    let base = between(&page, "name=\"base\" value=\"", "\"").to_owned();
    let fields = [
        ("base", base.as_str()),
        ("action", "check"),
        ("op", "add"),
        ("name", "no <thick> clients"),
        ("effect", "deny"),
        ("enabled", "1"),
        ("application", "1CV8*"),
    ];
    let checked = browser.submit("/rules", "/rules", &fields).await;
    assert_eq!(checked.status, 200, "{checked:?}");
    assert!(checked.body.contains("<b>1</b> из 1"), "{}", checked.body);
    assert!(checked.body.contains("no &#60;thick&#62; clients"), "{}", checked.body);
    check_html("/rules", &checked.body);
    assert_eq!(server.app.handle.rules().await.unwrap(), RuleSet::default());

    let mut apply = fields;
    apply[1] = ("action", "apply");
    let answer = browser.submit("/rules", "/rules", &apply).await;
    assert_eq!(location(&answer), "/rules?done=rules_saved");
    let rules = server.app.handle.rules().await.unwrap();
    assert_eq!(rules.rules.len(), 1);
    assert_eq!(rules.rules[0].application.as_deref(), Some("1CV8*"));
    let page = browser.get("/rules?edit=0").await.body;
    check_html("/rules?edit=0", &page);
    assert!(page.contains("name=\"op\" value=\"edit\"") && page.contains("value=\"1CV8*\""));

    let answer = browser.submit("/rules", "/rules", &apply).await;
    assert_eq!(answer.status, 400, "the rules are others by now: {answer:?}");
    assert_eq!(server.app.handle.rules().await.unwrap(), rules);

    let base = between(&page, "name=\"base\" value=\"", "\"").to_owned();
    let wrong = [
        ("base", base.as_str()),
        ("action", "check"),
        ("op", "add"),
        ("name", "another"),
        ("effect", "limit"),
        ("comment", "kept"),
    ];
    let answer = browser.submit("/rules", "/rules", &wrong).await;
    assert_eq!(answer.status, 400, "a limit needs its number: {answer:?}");
    assert!(answer.body.contains("value=\"kept\""), "{}", answer.body);
    check_html("/rules", &answer.body);

    let remove = [("base", base.as_str()), ("action", "apply"), ("op", "remove"), ("at", "0")];
    let answer = browser.submit("/rules", "/rules", &remove).await;
    assert_eq!(location(&answer), "/rules?done=rules_saved");
    assert_eq!(server.app.handle.rules().await.unwrap(), RuleSet::default());
}

#[tokio::test]
async fn operator_sees_the_rules_and_changes_nothing() {
    let server = start_on_disk(CONF);
    let mut browser = Browser::of(&server, ("olga", "battery staple")).await;
    let page = browser.get("/rules").await;
    assert_eq!(page.status, 200);
    assert!(!page.body.contains("action=\"/rules\""), "no form to change them");
    for (path, fields) in [
        ("/rules", &[("action", "apply"), ("op", "set"), ("json", "{\"Rules\":[]}")][..]),
        ("/settings", &[("shown:API.Enabled", "1")]),
        ("/access", &[("action", "user"), ("name", "x"), ("role", "administrator")]),
        ("/restart", &[]),
    ] {
        let answer = browser.submit("/rules", path, fields).await;
        assert_eq!(answer.status, 403, "{path} {answer:?}");
    }
    let mut reader = Browser::of(&server, ("rita", "paper clip ok")).await;
    assert_eq!(reader.get("/rules").await.status, 403);
    assert_eq!(reader.get("/systeminfo").await.status, 200);
}

#[tokio::test]
async fn user_is_added_comes_in_and_is_removed() {
    let server = start_on_disk(CONF);
    let mut browser = Browser::of(&server, ADMIN).await;
    let add = [
        ("action", "user"),
        ("name", "nina"),
        ("role", "reader"),
        ("password", "a fine long phrase"),
    ];
    let answer = browser.submit("/access", "/access", &add).await;
    assert_eq!(location(&answer), "/access?done=user_saved");
    Browser::of(&server, ("nina", "a fine long phrase")).await;
    let page = browser.get("/access").await.body;
    assert!(page.contains("nina"), "{page}");
    check_html("/access", &page);

    let bad = [("action", "user"), ("name", "ivan"), ("role", "reader"), ("password", "short")];
    let answer = browser.submit("/access", "/access", &bad).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.contains("value=\"ivan\"") && !answer.body.contains("short\""));
    check_html("/access", &answer.body);

    let remove = [("action", "user_remove"), ("name", "nina")];
    let answer = browser.submit("/access", "/access", &remove).await;
    assert_eq!(location(&answer), "/access?done=user_removed");
    let answer = Browser::new(&server).log_in(("nina", "a fine long phrase"), "/").await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn token_is_shown_once_and_works_until_it_is_removed() {
    let server = start_on_disk(CONF);
    let mut browser = Browser::of(&server, ADMIN).await;
    let fields = [("action", "token"), ("name", "zabbix"), ("scope", "reader"), ("days", "7")];
    let answer = browser.submit("/access", "/access", &fields).await;
    let shown_at = location(&answer).to_owned();
    let mut other = Browser::of(&server, ADMIN).await;
    let shown = browser.get(&shown_at).await;
    check_html("/access", &shown.body);
    let secret = between(&shown.body, "readonly size=\"60\" value=\"", "\"").to_owned();
    assert!(secret.len() > 20, "{secret}");
    for browser in [&mut browser, &mut other] {
        let again = browser.get(&shown_at).await;
        assert_eq!(again.status, 200);
        assert!(!again.body.contains(&secret), "reloading shows it no more and makes no other");
        assert_eq!(again.body.matches("zabbix <code>").count(), 1, "{}", again.body);
    }
    let page = browser.get("/access").await.body;
    assert!(page.contains("zabbix") && !page.contains(&secret));

    let ask = || {
        let request = Request::get("/api/serverinfo")
            .header("Authorization", format!("Bearer {secret}"))
            .body(Full::default())
            .unwrap();
        server.send(LOCAL, request)
    };
    assert_eq!(ask().await.status, 200);
    let id = between(&page, "zabbix <code>", "</code>").to_owned();
    let fields = [("action", "token_remove"), ("id", id.as_str())];
    let answer = browser.submit("/access", "/access", &fields).await;
    assert_eq!(location(&answer), "/access?done=token_removed");
    assert_eq!(ask().await.status, 401);
}

#[tokio::test]
async fn form_without_its_token_or_with_another_one_does_nothing() {
    let server = start_on_disk(CONF);
    let before = conf(&server);
    let mut browser = Browser::of(&server, ADMIN).await;
    for path in ["/password", "/rules", "/settings", "/access", "/restart", "/logout"] {
        for fields in [&[][..], &[("csrf", "")], &[("csrf", "guessed")]] {
            let answer = browser.post(path, fields).await;
            assert_eq!(answer.status, 403, "{path} {fields:?}");
        }
    }
    let mut stranger = Browser::new(&server);
    let fields = [("name", "root"), ("password", "correct horse")];
    assert_eq!(stranger.post("/login", &fields).await.status, 403);
    assert_eq!(browser.get("/settings").await.status, 200, "still logged in");
    assert_eq!(conf(&server), before);
}

#[tokio::test]
async fn restart_is_asked_for_and_the_page_looks_for_the_server_by_itself() {
    let server = start_on_disk(CONF);
    let mut browser = Browser::of(&server, ADMIN).await;
    let answer = browser.submit("/settings", "/restart", &[]).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let refresh = between(&answer.body, "<meta http-equiv=\"refresh\" content=\"", "\"");
    assert_eq!(refresh, "5; url=/settings?done=restarted");
    check_html("/restart", &answer.body);
    // Done at once, or the test would wait without end.
    let bound = std::time::Duration::from_secs(10);
    tokio::time::timeout(bound, server.app.control.restart_wanted()).await.unwrap();
}

#[tokio::test]
async fn denial_is_shown_with_its_reason_and_who_held_the_seats() {
    let server = start_on_disk(CONF);
    let connection = server.connect().await;
    for number in 1..=6 {
        server.open(&connection, number).await;
    }
    let mut browser = Browser::of(&server, ADMIN).await;
    let page = browser.get("/events?kind=denied&span=today").await;
    assert_eq!(page.status, 200, "{page:?}");
    assert_eq!(page.body.matches("<tr class=\"event denied\">").count(), 1, "{}", page.body);
    for text in ["нет свободных лицензий", "MORA-HP", "Кто занимал лицензии: 5", "Сеанс № 5"]
    {
        assert!(page.body.contains(text), "{text}:\n{}", page.body);
    }
    let opened = browser.get("/events?kind=session_opened").await.body;
    assert_eq!(opened.matches("<tr class=\"event\">").count(), 5, "{opened}");
    let none = browser.get("/events?q=nothing-has-this").await.body;
    assert!(none.contains("За этот период событий нет."), "{none}");
    let wrong = browser.get("/events?span=own&from=x%22%3E").await.body;
    assert!(wrong.contains("id=\"span-error\"") && wrong.contains("x&#34;&#62;"), "{wrong}");
    check_html("/events", &wrong);
}

#[tokio::test]
async fn report_shows_the_peak_and_who_used_the_seats() {
    let server = start_on_disk(CONF);
    let connection = server.connect().await;
    for number in 1..=6 {
        server.open(&connection, number).await;
    }
    let mut browser = Browser::of(&server, ADMIN).await;
    for span in ["today", "week", "month"] {
        let page = browser.get(&format!("/reports?span={span}")).await;
        assert_eq!(page.status, 200);
        check_html("/reports", &page.body);
        for text in ["<svg", "5 из 5", "1CV8C", "MORA-HP", "<code>ENoFreeLicence</code>"] {
            assert!(page.body.contains(text), "{span} {text}:\n{}", page.body);
        }
    }
}

#[tokio::test]
async fn every_file_that_a_page_offers_is_there() {
    let server = start_on_disk(CONF);
    let connection = server.connect().await;
    server.open(&connection, 1).await;
    let mut browser = Browser::of(&server, ADMIN).await;
    let mut seen = 0;
    for path in ["/events?q=1", "/reports", "/log", "/systeminfo"] {
        let page = browser.get(path).await.body;
        for link in values(&page, "href") {
            if link.starts_with("/api/") || link.starts_with("/health/") {
                let answer = browser.get(&link.replace("&amp;", "&").replace("&#38;", "&")).await;
                assert_eq!(answer.status, 200, "{path}: {link}: {}", answer.body);
                seen += 1;
            }
        }
    }
    assert!(seen >= 15, "{seen}");
}
