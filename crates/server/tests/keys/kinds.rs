//! Rules of kinds through the real installation: an additional key works only beside a main key on
//! this server, a demonstration key stands alone and never adds.

use licence_core::key::KeyKind;
use licence_core::licence_file::{LICENCE_TYP, LicenceClaims};
use serde_json::{Value, json};

use crate::centre::Vendor;
use crate::support::{Answered, LOCAL_TLS, Server, licence, request, series_key};
use crate::{ONE, TWO, install, refused, server_of};

async fn sold_and_installed(vendor: &Vendor, server: &Server, kind: &str) -> Answered {
    let code = vendor.sell(json!({ "Kind": kind })).await;
    install(server, code).await
}

/// A wish for a seat in a language: status, class and text.
async fn asked(server: &Server, number: u32, language: &str) -> (u16, String, String) {
    let connection = server.connect().await;
    let message = json!({
        "Connection": connection,
        "Session": {
            "SessionNumber": number.to_string(), "IsServer": true,
            "InfoBaseConnectionStr": "Srvr=\"s\";Ref=\"b\";", "AppName": "1CV8C",
            "ComputerName": "PC"
        },
        "Language": language
    });
    let mut asking = request("POST", "/client/v1/open", &message.to_string());
    asking.headers_mut().insert("accept-language", language.parse().unwrap());
    let answer = server.send(LOCAL_TLS, asking).await;
    let text = |name: &str| answer.json()[name].as_str().unwrap_or_default().to_owned();
    (answer.status, text("Exception"), text("Message"))
}

async fn licence_of(server: &Server, kind: u64) -> Value {
    let all = server.call("GET", "/api/licences", "").await.json();
    let all = all["Licences"].as_array().unwrap().clone();
    all.into_iter().find(|one| one["KeyType"] == kind).unwrap()
}

/// A demonstration key for a server, as its vendor would sign it.
fn demo_document(server: &Server) -> String {
    let document = licence(server.identity.public(), 77, 9);
    let mut claims: LicenceClaims = licence_core::jws::peek(LICENCE_TYP, &document).unwrap();
    claims.fields.key_type = KeyKind::Demo.code();
    claims.sign(&series_key()).unwrap()
}

async fn totals(server: &Server) -> u64 {
    let all = server.call("GET", "/api/series", "").await.json();
    all["Series"][0]["TotalLicenceCount"].as_u64().unwrap()
}

#[tokio::test]
async fn additional_key_gives_no_seat_without_a_main_key_on_this_server() {
    let vendor = Vendor::open().await;
    let (alone, other) = (server_of(&vendor, ONE), server_of(&vendor, TWO));
    // A main key on another server is of no use.
    assert_eq!(sold_and_installed(&vendor, &other, "main").await.status, 201);
    let answer = sold_and_installed(&vendor, &alone, "additional").await;
    assert_eq!(
        (answer.status, answer.json()["Enabled"].clone()),
        (201, json!(false)),
        "{answer:?}"
    );
    let why = answer.json()["OpenError"].as_str().unwrap().to_owned();
    assert!(why.contains("needs a main key on the same server"), "{why}");
    for (language, rule) in [
        ("en", "an additional key needs a main key on the same server"),
        ("ru", "дополнительный ключ не работает без основного на том же компьютере"),
    ] {
        let (status, class, text) = asked(&alone, 1, language).await;
        assert_eq!((status, &*class), (403, "ELicenceNotFound"), "{text}");
        assert!(text.contains(rule), "{text}");
    }
    assert_eq!(sold_and_installed(&vendor, &alone, "main").await.status, 201);
    assert_eq!(licence_of(&alone, 4).await["Enabled"], true);
    assert_eq!(totals(&alone).await, 4);
    // It goes with the main key.
    let main = licence_of(&alone, 3).await["KeyNo"].clone();
    assert_eq!(alone.call("DELETE", &format!("/api/licences/{main}"), "{}").await.status, 202);
    assert_eq!(
        (licence_of(&alone, 4).await["Enabled"].clone(), totals(&alone).await),
        (json!(false), 0)
    );
}

#[tokio::test]
async fn demonstration_key_is_refused_beside_others_and_others_beside_it() {
    let vendor = Vendor::open().await;
    let (with_demo, with_main) = (server_of(&vendor, ONE), server_of(&vendor, TWO));
    assert_eq!(sold_and_installed(&vendor, &with_demo, "demo").await.status, 201);
    assert_eq!(sold_and_installed(&vendor, &with_main, "main").await.status, 201);
    // The centre gives this computer no second demo, so this one comes as a document.
    let document = demo_document(&with_main);
    for (server, kind, english, russian) in [
        (&with_demo, "main", "stands alone", "он работает один"),
        (&with_demo, "additional", "stands alone", "он работает один"),
        (&with_main, "demo", "cannot be installed beside", "не устанавливается вместе с другими"),
    ] {
        let code = vendor.sell(json!({ "Kind": kind })).await;
        let order = json!({"ActivationCodeString": code.to_string(), "ITN": "0123456789"});
        let (path, order) = match kind {
            "demo" => ("/api/licences/answer", json!({ "Answer": document })),
            _ => ("/api/licences", order),
        };
        for (language, rule) in [("en", english), ("ru", russian)] {
            let mut asking = request("POST", path, &order.to_string());
            asking.headers_mut().insert("accept-language", language.parse().unwrap());
            let answer = server.send(LOCAL_TLS, asking).await;
            assert_eq!(refused(&answer), (400, "EDemoKey".into()), "{kind}: {answer:?}");
            let text = answer.json()["Message"].as_str().unwrap().to_owned();
            assert!(text.contains(rule), "{kind}: {text}");
        }
        assert_eq!(totals(server).await, 2, "{kind}");
    }
}

#[tokio::test]
async fn demonstration_key_whose_file_lies_beside_others_adds_nothing() {
    let vendor = Vendor::open().await;
    let (one, two) = (server_of(&vendor, ONE), server_of(&vendor, ONE));
    assert_eq!(sold_and_installed(&vendor, &one, "demo").await.status, 201);
    assert_eq!(sold_and_installed(&vendor, &two, "main").await.status, 201);
    let file = licence_of(&one, 5).await["FileName"].as_str().unwrap().to_owned();
    let name = std::path::Path::new(&file).file_name().unwrap();
    std::fs::copy(&file, two.app.paths.keys().join(name)).unwrap();
    two.app.handle.stop().await;
    let again = two.again().await;
    assert_eq!(totals(&again).await, 2, "the seats of the main key alone");
    let demo = licence_of(&again, 5).await;
    assert_eq!(demo["Enabled"], false);
    assert!(demo["OpenError"].as_str().unwrap().contains("together with other keys"), "{demo}");
}
