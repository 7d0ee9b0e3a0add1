//! The page of session keys: what an administrator enters, what an operator sees, what nobody sees.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use licence_core::time::Utc;
use licence_ismp::book::Given;
use licence_ismp::record::{Source, Who};
use licence_ismp::{SessionKey, StoreKey, TokenFormat};
use licenceserver::clock;
use support::{Answered, LOCAL, Server, start};

const TOKEN: &str = "8c2e3c9b-2a7f-4d11-9b8e-61c2a1b8a4b1";

/// A form of the page as a browser sends it, with the secret of its forms.
async fn send(server: &Server, fields: &str) -> Answered {
    let page = server.call("GET", "/ismp", "").await;
    assert_eq!(page.status, 200, "{}", page.body);
    let secret = page.body.split("name=\"csrf\" value=\"").nth(1).unwrap();
    let secret = secret.split('"').next().unwrap();
    let cookies = page.headers.get_all("set-cookie").iter();
    let cookies: Vec<_> =
        cookies.map(|value| value.to_str().unwrap().split(';').next().unwrap()).collect();
    let request = Request::post("/ismp")
        .header("Authorization", support::basic("admin:admin"))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Cookie", cookies.join("; "))
        .header("Sec-Fetch-Site", "same-origin")
        .header("Accept-Language", "ru")
        .body(Full::<Bytes>::from(format!("csrf={secret}&{fields}")))
        .unwrap();
    server.send(LOCAL, request).await
}

fn key() -> StoreKey {
    serde_json::from_value(serde_json::json!({
        "Contour": "production", "TokenType": "SUZ", "Organization": "7707083893",
        "ProductionObject": "line-1",
    }))
    .unwrap()
}

async fn keep(server: &Server, valid_until: Utc) {
    let given = Given {
        token: SessionKey::new(TOKEN).unwrap(),
        valid_until,
        inn: None,
        format: TokenFormat::Uuid,
        source: Source::Exchange,
        who: Who { user: "Иванова".into(), infobase: "erp".into(), session: None },
        asked: clock::utc(),
        warning: None,
    };
    server.app.ismp.change(move |book, _| book.put(&key(), given)).await.unwrap().unwrap();
}

#[tokio::test]
async fn organisation_installation_and_rule_are_entered_shown_changed_and_removed() {
    let server = start("[ISMP]\nEnabled=1\n");
    for (fields, shown) in [
        ("action=organization&inn=7707083893&name=Romashka&format=jwt", "Romashka"),
        ("action=installation&organization=7707083893&oms_connection=Line-1&name=Shop", "line-1"),
        ("action=retail_end&retail_end=2026-10-01", "2026-10-01"),
        ("action=rule&id=&organization=7707083893&kind=SUZ&object=line-1&people=Anna;+30", "Anna"),
        ("action=rule&id=1&organization=&kind=&object=&people=Boris;+60", "Boris"),
        ("action=organization&inn=7707083893&name=Lutik&format=auto", "Lutik"),
    ] {
        let answer = send(&server, fields).await;
        assert_eq!(answer.status, 303, "{fields}: {}", answer.body);
        let page = server.call("GET", "/ismp", "").await.body;
        assert!(page.contains(shown), "{fields}: {page}");
    }
    let look = server.app.ismp.look().await.unwrap();
    assert_eq!((look.directory.organizations.len(), look.rules.len()), (1, 1));
    assert_eq!(look.rules[0].people[0].notify_secs, 3600);
    let edited = server.call("GET", "/ismp?rule=1", "").await.body;
    assert!(edited.contains("Boris; 60"), "{edited}");
    // In this order: an organisation with installations stays.
    for (fields, status) in [
        ("action=organization_remove&inn=7707083893", 400),
        ("action=installation_remove&oms_connection=line-1", 303),
        ("action=organization_remove&inn=7707083893", 303),
        ("action=rule_remove&id=1", 303),
        ("action=rule_remove&id=1", 400),
        ("action=retail_end&retail_end=", 303),
    ] {
        assert_eq!(send(&server, fields).await.status, status, "{fields}");
    }
    let look = server.app.ismp.look().await.unwrap();
    assert!(look.directory.organizations.is_empty() && look.rules.is_empty());
    assert_eq!(look.directory.retail_end, None);
    let events = server.call("GET", "/api/events?Kind=audit", "").await.body;
    assert!(events.contains("ismp_settings") && events.contains("ismp_rules"), "{events}");
}

#[tokio::test]
async fn what_cannot_be_is_told_beside_what_was_entered() {
    let server = start("");
    for (fields, told) in [
        ("action=organization&inn=77&name=kept-name", "ИНН"),
        ("action=rule&people=kept-name;x", "минут"),
        ("action=rule&people=", "человек"),
        ("action=installation&organization=7707083893&oms_connection=a", "7707083893"),
        ("action=retail_end&retail_end=soon", "2026-10-01"),
        ("action=key_remove&key=%7B%7D", "ключа"),
        ("action=nothing", "action"),
    ] {
        let answer = send(&server, fields).await;
        assert_eq!(answer.status, 400, "{fields}");
        assert!(answer.body.contains(told), "{fields}: {}", answer.body);
        if fields.contains("kept-name") {
            assert!(answer.body.contains("kept-name"), "{fields}: {}", answer.body);
        }
    }
    assert!(server.call("GET", "/ismp", "").await.body.contains("[ISMP]"), "it is switched off");
}

#[tokio::test]
async fn key_is_shown_by_its_fingerprint_and_removed_by_an_administrator() {
    let server = start("[ISMP]\nEnabled=1\n");
    keep(&server, clock::utc().after(Duration::from_secs(3600))).await;
    let fingerprint = SessionKey::new(TOKEN).unwrap().fingerprint().to_string();
    let page = server.call("GET", "/ismp", "").await.body;
    assert!(page.contains(&fingerprint) && page.contains("Иванова"), "{page}");
    assert!(!page.contains(TOKEN));
    let scrape = server.call("GET", "/metrics", "").await.body;
    for line in [
        "licence_ismp_keys{kind=\"SUZ\",state=\"valid\"} 1",
        "licence_ismp_keys{kind=\"ISMP\",state=\"valid\"} 0",
        "licence_ismp_refreshing 0",
    ] {
        assert!(scrape.lines().any(|found| found == line), "{line}\n{scrape}");
    }
    assert!(scrape.contains("licence_ismp_key_left_seconds{kind=\"SUZ\"}"), "{scrape}");
    let form = format!("action=key_remove&key={}", {
        let json = serde_json::to_string(&key()).unwrap();
        percent(&json)
    });
    assert_eq!(send(&server, &form).await.status, 303);
    assert!(server.app.ismp.look().await.unwrap().records.is_empty());
    let events = server.call("GET", "/api/events?Kind=audit", "").await.body;
    assert!(events.contains(&fingerprint) && !events.contains(TOKEN), "{events}");
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn reserve_shows_everything_and_changes_nothing() {
    let pin = "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg";
    let conf = format!(
        "[ISMP]\nEnabled=1\nMain=https://127.0.0.1:1\nMainPin={pin}\nMainToken=lic_secret\n"
    );
    let server = start(&conf);
    let page = server.call("GET", "/ismp", "").await.body;
    assert!(page.contains("127.0.0.1:1") && !page.contains("lic_secret"), "{page}");
    assert!(!page.contains("name=\"action\""), "no form stands on it");
}
