//! Keys that are given back: what works meanwhile, and what is left when the centre cannot be
//! asked or does not answer.

use licence_core::activation::ActivationCode;
use licence_core::centre_request::{AnswerFile, CentreAnswer, LicencesAnswer};
use licenceserver::keyring::Keyring;
use serde_json::{Value, json};

use crate::centre::Vendor;
use crate::support::{SERIES, Server, descriptor, start_as};
use crate::{
    ONE, TWO, actor, audited, install, installed, line, numbers, refused, request_file, server_of,
    take_answer,
};

/// What a start of the server would find: the keys that count.
fn found_at_a_start(server: &Server) -> Vec<u32> {
    let series = server.app.paths.series("licence.series");
    let (folder, own) = (server.app.paths.keys(), server.identity.public());
    let keyring = Keyring::load(folder, series, own, Default::default()).unwrap();
    keyring.protection_keys().into_iter().map(|key| key.key_no.0).collect()
}

#[tokio::test]
async fn copy_of_the_licence_does_not_bring_a_returned_key_back() {
    let vendor = Vendor::open().await;
    let server = server_of(&vendor, ONE);
    let key_no = installed(&vendor, &server).await;
    let file = server.app.paths.keys().join(format!("{SERIES:04X}.{key_no}.licence"));
    let document = std::fs::read_to_string(&file).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let path = format!("/api/licences/{key_no}/reservecode");
    let answer = server.call("POST", &path, "{}").await;
    let reserve: ActivationCode = answer.json()["ReserveCode"].as_str().unwrap().parse().unwrap();
    let back = take_answer(&server, &document).await;
    assert_eq!(refused(&back), (400, "EKeyReturned".into()));
    let update = LicencesAnswer { licences: vec![document.clone()], ..LicencesAnswer::default() };
    let text = serde_json::to_string(&AnswerFile { answer: CentreAnswer::Update(update) }).unwrap();
    assert_eq!(refused(&take_answer(&server, &text).await), (400, "EKeyReturned".into()));
    std::fs::write(&file, &document).unwrap();
    assert_eq!(found_at_a_start(&server), Vec::<u32>::new());
    // By its reserve code it may come back, and the copy does not get in its way.
    assert_eq!(install(&server, reserve).await.status, 201);
    assert_eq!(numbers(&server).await, [key_no]);
    assert_eq!(found_at_a_start(&server), [u32::try_from(key_no).unwrap()]);
}

#[tokio::test]
async fn key_does_not_work_once_a_request_to_take_it_back_is_made() {
    let vendor = Vendor::open().await;
    let (old, new) = (server_of(&vendor, ONE), server_of(&vendor, TWO));
    let key_no = installed(&vendor, &old).await;
    let file = old.app.paths.keys().join(format!("{SERIES:04X}.{key_no}.licence"));
    let document = std::fs::read_to_string(&file).unwrap();
    let order = json!({"Kind": "return", "KeyNo": key_no});
    let (request, _) = request_file(&old, order.clone()).await;
    let answer: Value = serde_json::from_str(&vendor.carry(&request).await).unwrap();
    let reserve: ActivationCode =
        answer["Answer"]["ReserveCode"].as_str().unwrap().parse().unwrap();
    assert_eq!(install(&new, reserve).await.status, 201);
    // The answer is never loaded here.
    let connection = old.connect().await;
    assert_ne!(old.open(&connection, 2).await.status, 200);
    assert_eq!(numbers(&old).await, Vec::<u64>::new());
    std::fs::write(&file, &document).unwrap();
    assert_eq!(found_at_a_start(&old), Vec::<u32>::new());
    assert_eq!(refused(&take_answer(&old, &document).await), (400, "EKeyReturned".into()));
    assert_eq!(old.call("POST", "/api/licences/update", "").await.status, 202);
    assert_eq!(numbers(&old).await, Vec::<u64>::new());
    // The request may be made once more, should the file be lost.
    request_file(&old, order).await;
    assert_eq!(audited(&old), [line("key_install", key_no), line("key_aside", key_no)]);
}

#[tokio::test]
async fn return_that_was_called_off_comes_back_from_the_centre_alone() {
    let vendor = Vendor::open().await;
    let server = server_of(&vendor, ONE);
    let key_no = installed(&vendor, &server).await;
    request_file(&server, json!({"Kind": "return", "KeyNo": key_no})).await;
    let (question, _) = request_file(&server, json!({"Kind": "update"})).await;
    let by_file = take_answer(&server, &vendor.carry(&question).await).await;
    assert_eq!(refused(&by_file), (400, "EKeyReturned".into()), "a file may be of any age");
    let answer = server.call("POST", "/api/licences/update", "").await;
    assert_eq!(answer.json()["Licences"][0]["KeyNo"], key_no, "{answer:?}");
    assert_eq!(numbers(&server).await, [key_no]);
    assert_eq!(found_at_a_start(&server), [u32::try_from(key_no).unwrap()]);
}

#[tokio::test]
async fn key_that_the_centre_does_not_take_works_again() {
    let vendor = Vendor::open().await;
    let server = server_of(&vendor, ONE);
    let code = vendor.sell(json!({"Kind": "demo"})).await;
    let key_no = install(&server, code).await.json()["KeyNo"].as_u64().unwrap();
    let path = format!("/api/licences/{key_no}/reservecode");
    assert_eq!(refused(&server.call("POST", &path, "{}").await), (403, "EDemoKey".into()));
    assert_eq!(numbers(&server).await, [key_no]);
    let wanted = ["key_install", "key_aside", "key_back"].map(|action| line(action, key_no));
    assert_eq!(audited(&server), wanted);
    assert_eq!(found_at_a_start(&server), [u32::try_from(key_no).unwrap()]);
}

#[tokio::test]
async fn key_stays_when_its_centre_is_not_there() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let series = descriptor(Some(format!("http://{closed}")));
    let server = start_as(ONE, "", Some(&series), &[(7_131_766, 5)]);
    let answer = server.call("POST", "/api/licences/7131766/reservecode", "{}").await;
    assert_eq!(refused(&answer), (500, "ELicenceCentreUnavailable".into()));
    assert_eq!(numbers(&server).await, [7_131_766]);
    assert_eq!(audited(&server), [], "its sessions were left alone");
}

#[tokio::test]
async fn key_stays_aside_while_nobody_knows_whether_the_centre_has_taken_it() {
    let url = actor(vec![("/health", "{}".into())]).await;
    let server = start_as(ONE, "", Some(&descriptor(Some(url))), &[(7_131_766, 5)]);
    let answer = server.call("POST", "/api/licences/7131766/reservecode", "{}").await;
    assert_eq!(refused(&answer), (500, "ELicenceCentreUnavailable".into()));
    assert!(answer.body.contains("повторите") || answer.body.contains("repeat"), "{answer:?}");
    assert_eq!(numbers(&server).await, Vec::<u64>::new());
    assert_eq!(found_at_a_start(&server), Vec::<u32>::new());
    // Asked again, the centre may have an answer at last.
    let again = server.call("POST", "/api/licences/7131766/reservecode", "{}").await;
    assert_eq!(refused(&again), (500, "ELicenceCentreUnavailable".into()));
}
