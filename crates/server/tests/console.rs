//! The console's pages: what monitoring reads off them, languages, escaping, headers, forms,
//! lists, and that they work without script.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::collections::BTreeSet;

use http_body_util::Full;
use support::{Answered, LOCAL, Server, basic, start, start_with};

async fn page(server: &Server, path: &str, language: &str) -> Answered {
    let request = hyper::Request::get(path)
        .header("Accept-Language", language)
        .body(Full::default())
        .unwrap();
    server.send(LOCAL, request).await
}

fn check_order(page: &str, parts: &[&str]) {
    let mut from = 0;
    for part in parts {
        match page[from..].find(part) {
            Some(at) => from += at + part.len(),
            None => panic!("{part} is not there (or not in this place):\n{page}"),
        }
    }
}

#[tokio::test]
async fn overview_shows_series_keys_and_sessions_in_the_classes_that_monitoring_reads() {
    let server = start("");
    let connection = server.connect().await;
    server.open(&connection, 2).await;
    let answer = page(&server, "/", "ru").await;
    assert_eq!(answer.status, 200);
    check_order(
        &answer.body,
        &[
            "<html lang=\"ru\">",
            "<ul class=\"series\">",
            "<li class=\"serie\">",
            "672B",
            "Тестовая серия",
            "Всего ключей",
            ">1<",
            "Всего лицензий",
            ">5<",
            "Использовано",
            ">1<",
            "<ul class=\"licences\">",
            "<li class=\"licence enabled virtual\">",
            "С/Н 7131766",
            "(рег.№ 202)",
            "Основной 5 лиц.",
            "ИНН 1234567890",
            "Доступен",
            "<li class=\"session\"",
            "Сеанс № 2",
            "<li class=\"connection\">\\\\MORA-HP (127.0.0.1) - ",
        ],
    );
    check_order(&page(&server, "/", "en").await.body, &["Main 5 lic.", "Available"]);
}

/// The pages of this file's subject.
const PAGES: &[&str] =
    &["/", "/keys", "/keys/7131766", "/keys/install", "/sessions", "/connections", "/help"];

/// A page as the administrator sees it.
async fn own_page(server: &Server, path: &str, language: &str) -> Answered {
    let request = hyper::Request::get(path)
        .header("Accept-Language", language)
        .header("Authorization", basic("admin:admin"))
        .body(Full::default())
        .unwrap();
    server.send(LOCAL, request).await
}

/// A form of the administrator's, sent as a browser does: with the field and the cookie of the
/// page that it stands on.
async fn send_form(server: &Server, page: &str, action: &str, fields: &str) -> Answered {
    let shown = own_page(server, page, "en").await;
    assert_eq!(shown.status, 200, "{page}: {}", shown.body);
    let cookie = shown.headers["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let field = shown.body.split("name=\"csrf\" value=\"").nth(1).unwrap();
    let csrf = field.split('"').next().unwrap();
    post(server, action, &cookie, &format!("csrf={csrf}&{fields}")).await
}

async fn post(server: &Server, action: &str, cookie: &str, body: &str) -> Answered {
    let request = hyper::Request::post(action)
        .header("Accept", "text/html")
        .header("Accept-Language", "en")
        .header("Authorization", basic("admin:admin"))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Cookie", cookie)
        .header("Sec-Fetch-Site", "same-origin")
        .body(Full::from(body.to_owned()))
        .unwrap();
    server.send(LOCAL, request).await
}

/// One tag of a page: its name, and its attributes as they stand.
struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// The tags of a page. Panics where they are not balanced or not as the pages write them.
fn tags(page: &str) -> Vec<Tag> {
    const VOID: &[&str] = &["meta", "link", "input", "br", "path"];
    let mut tags = Vec::new();
    let mut open = Vec::new();
    for piece in page.split('<').skip(1) {
        let (tag, _) = piece.split_once('>').unwrap_or_else(|| panic!("no end: {piece}"));
        if tag.starts_with('!') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "</{name}> closes nothing");
            continue;
        }
        let tag = tag.trim_end_matches('/');
        let (name, mut rest) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
        let mut attributes = Vec::new();
        while !rest.trim_start().is_empty() {
            rest = rest.trim_start();
            let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
            let (attribute, after) = rest.split_at(end);
            let value;
            (value, rest) = match after.strip_prefix("=\"") {
                Some(quoted) => quoted.split_once('"').unwrap_or_else(|| panic!("quotes: {tag}")),
                None => ("", after),
            };
            attributes.push((attribute.to_owned(), value.to_owned()));
        }
        if !VOID.contains(&name) {
            open.push(name.to_owned());
        }
        tags.push(Tag { name: name.to_owned(), attributes });
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    tags
}

/// What every page must be, whoever reads it and with whatever.
fn check_page(path: &str, page: &str) {
    let tags = tags(page);
    let count = |name: &str| tags.iter().filter(|tag| tag.name == name).count();
    assert_eq!(count("h1"), 1, "{path}: h1");
    assert_eq!(count("main"), 1, "{path}: main");
    let mut ids = BTreeSet::new();
    for id in tags.iter().filter_map(|tag| tag.get("id")) {
        assert!(ids.insert(id), "{path}: id {id} twice");
    }
    let labels: BTreeSet<_> =
        tags.iter().filter(|tag| tag.name == "label").filter_map(|tag| tag.get("for")).collect();
    assert!(labels.is_subset(&ids), "{path}: labels of nothing");
    for tag in &tags {
        let Tag { name, attributes } = tag;
        for (attribute, value) in attributes {
            assert!(
                !attribute.starts_with("on") && attribute != "style" && attribute != "srcdoc",
                "{path}: {name} {attribute}"
            );
            assert!(!value.starts_with("javascript:"), "{path}: {name} {attribute}");
            if ["aria-describedby", "aria-labelledby"].contains(&attribute.as_str()) {
                for id in value.split_whitespace() {
                    assert!(ids.contains(id), "{path}: {attribute}={id} names nothing");
                }
            }
        }
        let is_hidden = tag.get("type") == Some("hidden");
        if ["input", "select", "textarea"].contains(&name.as_str()) && !is_hidden {
            let id = tag.get("id").unwrap_or_else(|| panic!("{path}: {name} has no id"));
            assert!(labels.contains(id), "{path}: {name} {id} has no label");
        }
    }
    // Forms work without script: an address, a method and a button to send them.
    for form in page.split("<form ").skip(1) {
        let form = form.split("</form>").next().unwrap();
        assert!(form.contains("action=\"/"), "{path}: {form}");
        assert!(form.contains("type=\"submit\""), "{path}: {form}");
        let is_post = form.contains("method=\"post\"");
        assert!(is_post || form.contains("method=\"get\""), "{path}: {form}");
        assert!(!is_post || form.contains("name=\"csrf\""), "{path}: {form}");
    }
    let scripts: Vec<_> = page.split("<script").skip(1).collect();
    assert_eq!(scripts.len(), 1, "{path}");
    assert!(scripts[0].starts_with(" src=\"/console.js?v="), "{path}");
    assert!(scripts[0].contains("defer></script>"), "{path}");
    for part in ["name=\"viewport\" content=\"width=device-width, initial-scale=1\"", "<title>"] {
        assert!(page.contains(part), "{path}: {part}");
    }
}

#[tokio::test]
async fn every_page_is_sound_in_both_languages_with_and_without_menu() {
    let server = start("");
    let connection = server.connect().await;
    let session = server.open(&connection, 2).await.json()["ID"].as_str().unwrap().to_owned();
    let session = format!("/sessions/{session}");
    for path in PAGES.iter().copied().chain([session.as_str()]) {
        for language in ["ru", "en"] {
            let whole = own_page(&server, path, language).await;
            assert_eq!(whole.status, 200, "{path}: {}", whole.body);
            check_page(path, &whole.body);
            check_order(&whole.body, &[&format!("<html lang=\"{language}\">"), "<nav", "<main"]);
            assert_eq!(whole.body.matches("aria-current=\"page\"").count(), 1, "{path}");
            let address = format!("{path}?menu=false&header=true");
            let embedded = own_page(&server, &address, language).await.body;
            check_page(path, &embedded);
            assert!(!embedded.contains("<nav") && embedded.contains("<header"), "{path}");
            // A link that is followed keeps the page as it is embedded.
            for tag in tags(&embedded).iter().filter(|tag| tag.name == "a" || tag.name == "form") {
                let to = tag.get("href").or_else(|| tag.get("action")).unwrap();
                let is_elsewhere = ["/language", "/login", "/api", "/metrics", "/health", "#"]
                    .iter()
                    .any(|first| to.starts_with(first));
                let is_get = tag.get("method") == Some("get");
                assert!(is_elsewhere || is_get || to.contains("menu=false"), "{path}: {to}");
            }
        }
        let russian = own_page(&server, path, "ru").await.body;
        let english = own_page(&server, path, "en").await.body;
        assert_ne!(russian, english, "{path}");
    }
}

#[tokio::test]
async fn text_of_a_component_cannot_become_markup() {
    let server = start("");
    let connection = server.connect().await;
    let body = serde_json::json!({
        "Connection": connection,
        "Session": {
            "SessionNumber": "<script>alert(1)</script>", "IsServer": true,
            "InfoBaseConnectionStr": "\"><img src=x>", "UserName": "<b>u", "AppName": "</td><i>",
            "ComputerName": "'\" onclick=alert(1) x='"
        }
    });
    let opened = server.message("/client/v1/open", &body).await;
    assert_eq!(opened.status, 200);
    let session = format!("/sessions/{}", opened.json()["ID"].as_str().unwrap());
    let search = "/sessions?q=%22%3E%3Cimg%20src=x%3E";
    let embedded = "/sessions?menu=%22%3E%3Cimg&done=%3Cimg&sort=%22%3E%3Cimg";
    for path in ["/", "/sessions", "/connections", "/keys/7131766", &session, search, embedded] {
        let shown = own_page(&server, path, "en").await.body;
        for raw in ["<script>", "<img", "<b>u", "\"><img", "</td><i>", " onclick=alert(1) x='\""] {
            assert!(!shown.contains(raw), "{path}: {raw}");
        }
        check_page(path, &shown);
    }
}

#[tokio::test]
async fn pages_carry_a_strict_policy_and_are_not_kept() {
    let server = start("");
    for path in PAGES.iter().copied().chain(["/systeminfo"]) {
        let answer = own_page(&server, path, "en").await;
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        for part in ["default-src 'none'", "script-src 'self'", "form-action 'self'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(!answer.body.contains(" style="), "{path}");
    }
    for (path, kind) in [
        ("/console.css", "text/css; charset=utf-8"),
        ("/console.js", "text/javascript; charset=utf-8"),
        ("/favicon.svg", "image/svg+xml"),
    ] {
        let asset = page(&server, path, "en").await;
        assert_eq!((asset.status, &asset.headers["content-type"]), (200, &kind.parse().unwrap()));
    }
}

#[tokio::test]
async fn embedded_overview_leaves_out_what_it_is_told_to() {
    let server = start("");
    for (path, menu, header) in [
        ("/", true, true),
        ("/?menu=false&header=true", false, true),
        ("/?menu=false&header=false", false, false),
    ] {
        let shown = page(&server, path, "en").await.body;
        assert_eq!(shown.contains("<nav"), menu, "{path}");
        assert_eq!(shown.contains("<header"), header, "{path}");
    }
}

#[tokio::test]
async fn script_is_written_for_old_browsers() {
    let script = page(&start(""), "/console.js", "en").await.body;
    for new in ["=>", "`", "const ", "let ", "async ", "?.", "...", "class ", " of "] {
        // Comments are for people.
        let code: String =
            script.split("/*").map(|part| part.split("*/").last().unwrap()).collect();
        assert!(!code.contains(new), "{new}");
    }
}

#[tokio::test]
async fn live_part_is_the_page_without_its_frame() {
    let server = start("");
    let whole = page(&server, "/", "en").await.body;
    let live = page(&server, "/?fragment=live", "en").await.body;
    assert!(live.contains("id=\"overview\" data-live") && live.contains("<ul class=\"series\">"));
    for part in ["<html", "<nav", "<script", "<main", "data-refresh"] {
        assert!(whole.contains(part) && !live.contains(part), "{part}");
    }
}

#[tokio::test]
async fn error_of_a_page_is_a_page_for_a_browser_and_json_for_a_program() {
    let server = start("");
    let ask = async |path: &str, accept: &str| {
        let request = hyper::Request::get(path)
            .header("Accept", accept)
            .header("Accept-Language", "ru")
            .body(Full::default())
            .unwrap();
        server.send(LOCAL, request).await
    };
    let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
    for path in ["/nothing<b>", "/keys/1", "/sessions/x", "/sessions?series=x"] {
        let path = path.replace('<', "%3C").replace('>', "%3E");
        let shown = ask(&path, browser).await;
        assert!(shown.status == 404 || shown.status == 400, "{path}: {}", shown.status);
        assert_eq!(shown.headers["content-type"], "text/html; charset=utf-8", "{path}");
        check_page(&path, &shown.body);
        assert!(shown.body.contains("Ошибка") && shown.body.contains("<code>E"), "{path}");
        assert!(!shown.body.contains(&server.app.host.computer_name), "{path}");
        assert_eq!(ask(&path, "*/*").await.json()["Code"], shown.status, "{path}");
    }
    let api = ask("/api/nothing", browser).await;
    assert_eq!(api.headers["content-type"], "application/json; charset=utf-8");
}

#[tokio::test]
async fn form_without_the_right_secret_is_refused() {
    let server = start("");
    let connection = server.connect().await;
    let opened = server.open(&connection, 2).await.json();
    let id = opened["ID"].as_str().unwrap();
    for action in [
        format!("/sessions/{id}/end"),
        "/keys/install".into(),
        "/keys/request".into(),
        "/keys/answer".into(),
        "/keys/update".into(),
        "/keys/7131766/accesscode".into(),
        "/keys/7131766/remove".into(),
        "/keys/7131766/reservecode".into(),
    ] {
        for (cookie, body) in [
            ("", "reason=x&sure=1"),
            ("licence_csrf=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "csrf=B&reason=x&sure=1"),
            ("licence_csrf=", "csrf=&reason=x&sure=1"),
        ] {
            let answer = post(&server, &action, cookie, body).await;
            assert_eq!(answer.status, 403, "{action}");
            assert!(answer.body.contains("ECrossSite"), "{action}");
        }
    }
    assert_eq!(own_page(&server, &format!("/sessions/{id}"), "en").await.status, 200);
    assert_eq!(own_page(&server, "/keys/7131766", "en").await.status, 200);
}

#[tokio::test]
async fn session_is_ended_through_its_form_with_a_reason() {
    let server = start("");
    let connection = server.connect().await;
    let opened = server.open(&connection, 2).await.json();
    let path = format!("/sessions/{}", opened["ID"].as_str().unwrap());
    let action = format!("{path}/end?menu=false&header=true");

    let refused = send_form(&server, &path, &action, "reason=+").await;
    assert_eq!(refused.status, 400);
    check_page(&path, &refused.body);
    assert!(!refused.body.contains("data-refresh"), "the address of a form is no page");
    assert!(refused.body.contains("aria-invalid=\"true\"") && refused.body.contains("Say why."));
    let long = format!("reason={}", "x".repeat(501));
    assert_eq!(send_form(&server, &path, &action, &long).await.status, 400);

    let done = send_form(&server, &path, &action, "reason=the+user+went+home").await;
    assert_eq!(done.status, 303, "{}", done.body);
    let to = done.headers["location"].to_str().unwrap();
    assert_eq!(to, "/sessions?menu=false&header=true&done=session_ended");
    let list = own_page(&server, to, "en").await.body;
    check_order(&list, &["The session has been ended.", "There are no sessions."]);
    assert_eq!(own_page(&server, &path, "en").await.status, 404);
    let overview = own_page(&server, "/", "en").await.body;
    assert!(overview.contains("<b class=\"used\">0</b>"), "{overview}");
}

/// Opens sessions 1 to `count`, each with its own user and computer.
async fn open_many(server: &Server, count: u32) {
    let connection = server.connect().await;
    for number in 1..=count {
        let body = serde_json::json!({
            "Connection": connection,
            "Session": {
                "SessionNumber": number.to_string(), "IsServer": false,
                "InfoBaseConnectionStr": "File=\"C:\\base\";", "AppName": "1CV8C",
                "UserName": format!("Иванов {:03}", 1000 - number),
                "ComputerName": format!("PC-{}", number % 7)
            }
        });
        assert_eq!(server.message("/client/v1/open", &body).await.status, 200);
    }
}

/// Numbers of the sessions that a page lists, in its order.
fn listed(page: &str) -> Vec<u32> {
    let rows = page.split("<th scope=\"row\"").skip(1);
    let link = |row: &str| row.split("</a>").next().unwrap().rsplit('>').next().unwrap().to_owned();
    rows.map(|row| link(row).parse().unwrap()).collect()
}

#[tokio::test]
async fn three_hundred_sessions_are_searched_sorted_and_shown_page_by_page() {
    let server = start_with("", Some(&support::descriptor(None)), &[(7_131_766, 500)]);
    open_many(&server, 300).await;
    let check = async |query: &str, found: usize, numbers: Vec<u32>| {
        let shown = own_page(&server, &format!("/sessions{query}"), "en").await.body;
        check_page(query, &shown);
        assert!(shown.contains(&format!("<b class=\"found\">{found}</b>")), "{query}: {shown}");
        assert_eq!(listed(&shown), numbers, "{query}");
    };
    check("", 300, (1..=100).collect()).await;
    check("?page=2", 300, (101..=200).collect()).await;
    check("?page=99", 300, (201..=300).collect()).await;
    check("?sort=-number", 300, (201..=300).rev().collect()).await;
    check("?sort=user&page=3", 300, (1..=100).rev().collect()).await;
    check("?sort=nonsense", 300, (1..=100).collect()).await;
    check("?q=%D0%B8%D0%B2%D0%B0%D0%BD%D0%BE%D0%B2+999", 1, vec![1]).await;
    check("?q=pc-3+%D0%98%D0%92%D0%90%D0%9D%D0%9E%D0%92+997", 1, vec![3]).await;
    check("?q=nobody", 0, vec![]).await;
    check("?key=7131766&series=672B&page=3", 300, (201..=300).collect()).await;
    check("?key=1", 0, vec![]).await;
    let page = own_page(&server, "/sessions?q=pc&sort=user&page=2", "en").await.body;
    for part in [
        "href=\"/sessions?q=pc&#38;sort=-user\"",
        "href=\"/sessions?q=pc&#38;sort=user&#38;page=3\"",
        "aria-sort=\"ascending\"",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[tokio::test]
async fn overview_names_a_bounded_number_of_sessions_and_leads_to_the_rest() {
    let server = start_with("", Some(&support::descriptor(None)), &[(7_131_766, 1000)]);
    open_many(&server, 502).await;
    let shown = page(&server, "/", "en").await.body;
    assert_eq!(shown.matches("<li class=\"session\"").count(), 500);
    check_order(&shown, &["href=\"/sessions?key=7131766\"", "and more: 2"]);
}

#[tokio::test]
async fn settings_hide_full_keys_and_series_without_a_key() {
    let keys = [(7_131_766, 1), (7_131_767, 5)];
    for (conf, full, empty) in
        [("", true, true), ("HideFullStorages=1", false, true), ("HideUnistalled=1", true, false)]
    {
        let conf = format!("[Console]\n{conf}\n");
        let server = start_with(&conf, Some(&support::descriptor(None)), &keys);
        let connection = server.connect().await;
        server.open(&connection, 1).await;
        let shown = page(&server, "/", "ru").await.body;
        assert_eq!(shown.contains("С/Н 7131766"), full, "{conf}");
        assert!(shown.contains("С/Н 7131767"), "{conf}");
        let without_keys = start_with(&conf, Some(&support::descriptor(None)), &[]);
        let shown = page(&without_keys, "/", "ru").await.body;
        assert_eq!(shown.contains("Продукт недоступен"), empty, "{conf}");
    }
}

#[tokio::test]
async fn request_for_a_key_is_a_file_and_a_wrong_code_is_kept_and_explained() {
    let server = start("");
    let code = support::code(5).to_string();
    let answer = send_form(
        &server,
        "/keys/install",
        "/keys/request",
        &format!("code={code}&itn=0012345678"),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let name = answer.headers["content-disposition"].to_str().unwrap();
    assert!(name.starts_with("attachment; filename=\"672B.") && name.ends_with(".request\""));
    assert_eq!(answer.body.split('.').count(), 3, "a signed token: {}", answer.body);

    let typo = format!("{}X", &code[..code.len() - 1]);
    for (fields, field) in [
        (format!("code={typo}"), "id=\"code\""),
        (format!("code={code}&itn=12x"), "id=\"itn\""),
        (format!("code={code}&iec=12x"), "id=\"iec\""),
        ("code=".to_owned(), "id=\"code\""),
    ] {
        for action in ["/keys/install", "/keys/request"] {
            let answer = send_form(&server, "/keys/install", action, &fields).await;
            assert_eq!(answer.status, 400, "{fields}");
            check_page(action, &answer.body);
            let tag = answer.body.split(field).nth(1).unwrap().split('>').next().unwrap();
            assert!(tag.contains("aria-invalid=\"true\""), "{fields}: {tag}");
            check_order(&answer.body, &["role=\"alert\"", field]);
        }
    }
}

#[tokio::test]
async fn key_is_given_back_or_removed_only_by_somebody_who_is_sure() {
    let server = start("");
    for (action, fields) in
        [("remove", ""), ("reservecode", "reason=move"), ("reservecode", "sure=1")]
    {
        let action = format!("/keys/7131766/{action}");
        let answer = send_form(&server, "/keys/7131766", &action, fields).await;
        assert_eq!(answer.status, 400, "{action} {fields}");
        check_page(&action, &answer.body);
    }
    assert_eq!(server.call("GET", "/api/licences/7131766", "").await.status, 200);
}

#[tokio::test]
async fn nobody_in_particular_sees_no_forms_that_change_anything() {
    let server = start("");
    let connection = server.connect().await;
    let opened = server.open(&connection, 2).await.json();
    let session = format!("/sessions/{}", opened["ID"].as_str().unwrap());
    for path in ["/", "/keys", "/keys/7131766", "/sessions", &session, "/connections", "/help"] {
        let shown = page(&server, path, "en").await;
        assert_eq!(shown.status, 200, "{path}");
        check_page(path, &shown.body);
        assert!(!shown.body.contains("method=\"post\""), "{path}");
        assert!(shown.body.contains("href=\"/login?next="), "{path}");
    }
    let folder = server.app.paths.base().display().to_string();
    assert!(!page(&server, "/help", "en").await.body.contains(&folder));
    assert!(own_page(&server, "/help", "en").await.body.contains(&folder));
}

#[tokio::test]
async fn password_is_asked_for_as_the_setting_says() {
    for (authorization, status) in [("0", 200), ("1", 401), ("2", 200)] {
        let server = start(&format!("[Console]\nAuthorization={authorization}\n"));
        assert_eq!(page(&server, "/", "en").await.status, status, "{authorization}");
        let request = hyper::Request::get("/")
            .header("Authorization", basic("admin:admin"))
            .body(Full::default())
            .unwrap();
        assert_eq!(server.send(LOCAL, request).await.status, 200, "{authorization}");
    }
}

#[tokio::test]
async fn server_without_keys_says_what_to_do() {
    let server = start_with("", None, &[]);
    let shown = page(&server, "/", "ru").await.body;
    assert!(shown.contains("Не установлено ни одного ключа"), "{shown}");
}
