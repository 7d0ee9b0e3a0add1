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
    let key_no = answer.json()["KeyNo"].clone();
    let mut asking = request("GET", &format!("/api/licences/{key_no}"), "");
    asking.headers_mut().insert("accept-language", "ru".parse().unwrap());
    let russian = alone.send(LOCAL_TLS, asking).await.json()["OpenError"].clone();
    assert_eq!(russian, "дополнительный ключ не работает без основного на том же компьютере");
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
async fn document_of_a_kind_that_must_not_stand_beside_what_is_here_is_refused() {
    let vendor = Vendor::open().await;
    let (with_demo, with_main) = (server_of(&vendor, ONE), server_of(&vendor, TWO));
    assert_eq!(sold_and_installed(&vendor, &with_demo, "demo").await.status, 201);
    assert_eq!(sold_and_installed(&vendor, &with_main, "main").await.status, 201);
    let main = licence(with_demo.identity.public(), 78, 9);
    for (server, document, english, russian) in [
        (&with_demo, main, "stands alone", "он работает один"),
        (
            &with_main,
            demo_document(&with_main),
            "cannot be installed beside",
            "не устанавливается вместе с другими",
        ),
    ] {
        for (language, rule) in [("en", english), ("ru", russian)] {
            let order = json!({ "Answer": document }).to_string();
            let mut asking = request("POST", "/api/licences/answer", &order);
            asking.headers_mut().insert("accept-language", language.parse().unwrap());
            let answer = server.send(LOCAL_TLS, asking).await;
            assert_eq!(refused(&answer), (400, "EDemoKey".into()), "{answer:?}");
            let text = answer.json()["Message"].as_str().unwrap().to_owned();
            assert!(text.contains(rule), "{text}");
        }
        assert_eq!(totals(server).await, 2);
    }
}

#[tokio::test]
async fn key_that_was_bought_takes_the_place_of_the_demonstration() {
    let vendor = Vendor::open().await;
    let server = server_of(&vendor, ONE);
    assert_eq!(sold_and_installed(&vendor, &server, "demo").await.status, 201);
    let answer = sold_and_installed(&vendor, &server, "main").await;
    assert_eq!((answer.status, answer.json()["Enabled"].clone()), (201, json!(true)), "{answer:?}");
    // The centre has ended it, and said so.
    let all = server.call("GET", "/api/licences", "").await.json();
    assert_eq!(all["Licences"].as_array().unwrap().len(), 1, "{all}");
    assert_eq!(totals(&server).await, 2);
}

#[tokio::test]
async fn demonstration_key_that_a_code_has_brought_beside_others_is_kept_and_gives_no_seat() {
    let vendor = Vendor::open().await;
    let server = server_of(&vendor, ONE);
    // Of a key that came another way the centre does not know.
    let document = licence(server.identity.public(), 70, 3);
    server.app.handle.install(document, None).await.unwrap();
    let answer = sold_and_installed(&vendor, &server, "demo").await;
    assert_eq!(refused(&answer), (400, "EDemoKey".into()), "{answer:?}");
    let text = answer.json()["Message"].as_str().unwrap().to_owned();
    assert!(text.contains("kept on this server"), "{text}");
    let demo = licence_of(&server, 5).await;
    assert_eq!((demo["Enabled"].clone(), totals(&server).await), (json!(false), 3));
    // It is in the way of no other key, and an update has nothing to say about it.
    let document = licence(server.identity.public(), 71, 2);
    server.app.handle.install(document, None).await.unwrap();
    let updated = server.call("POST", "/api/licences/update", "{}").await;
    assert_eq!((updated.status, updated.json()["Licences"].clone()), (202, json!([])));
    // Nothing is lost: it works once it is alone.
    for key_no in [70, 71] {
        let path = format!("/api/licences/{key_no}");
        assert_eq!(server.call("DELETE", &path, "{}").await.status, 202);
    }
    assert_eq!(licence_of(&server, 5).await["Enabled"], true);
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
