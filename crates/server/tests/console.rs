//! The console's pages: what monitoring reads off them, languages, escaping, headers.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use support::{LOCAL, Server, basic, start, start_with};

async fn page(server: &Server, path: &str, language: &str) -> support::Answered {
    let request = hyper::Request::get(path)
        .header("Accept-Language", language)
        .body(http_body_util::Full::default())
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

#[tokio::test]
async fn text_of_a_component_cannot_become_markup() {
    let server = start("");
    let connection = server.connect().await;
    let body = serde_json::json!({
        "Connection": connection,
        "Session": {
            "SessionNumber": "<script>alert(1)</script>", "IsServer": true,
            "InfoBaseConnectionStr": "\"><img src=x>", "UserName": "<b>"
        }
    });
    assert_eq!(server.message("/client/v1/open", &body).await.status, 200);
    let shown = page(&server, "/", "en").await.body;
    for raw in ["<script", "<img", "<b>\u{3c}", "\"><"] {
        assert!(!shown.contains(raw), "{raw}");
    }
}

#[tokio::test]
async fn pages_carry_a_strict_policy_and_are_not_kept() {
    let server = start("");
    for path in ["/", "/systeminfo"] {
        let answer = page(&server, path, "en").await;
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'"), "{policy}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(!answer.body.contains("<script") && !answer.body.contains(" style="), "{path}");
    }
    let style = page(&server, "/console.css", "en").await;
    assert_eq!(style.headers["content-type"], "text/css; charset=utf-8");
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
        assert_eq!(shown.contains("<nav>"), menu, "{path}");
        assert_eq!(shown.contains("<header>"), header, "{path}");
    }
}

#[tokio::test]
async fn password_is_asked_for_as_the_setting_says() {
    for (authorization, status) in [("0", 200), ("1", 401), ("2", 200)] {
        let server = start(&format!("[Console]\nAuthorization={authorization}\n"));
        assert_eq!(page(&server, "/", "en").await.status, status, "{authorization}");
        let request = hyper::Request::get("/")
            .header("Authorization", basic("admin:admin"))
            .body(http_body_util::Full::default())
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
