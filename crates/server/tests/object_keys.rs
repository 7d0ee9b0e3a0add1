//! Keys of protected objects: who gets them from a server and who does not. Licences, wrapped keys
//! and the driver are real; the component is played by its messages.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::activation_request::ActivationRequest;
use licence_core::centre_request::LicencesRequest;
use licence_core::datafile::{
    DatafileBuilder, OBJECT_KEY_PURPOSE, ObjectAccess, ObjectEntry, ObjectKind,
};
use licence_core::key::KeySeries;
use licence_core::licence_file::{Licence, LicenceClaims, SERIES_KEY_PURPOSE};
use licence_core::seal::{PublicKey, SigningKey};
use licence_core::series::SeriesDescriptor;
use licence_core::wrap::{WrapKey, wrap};
use licenceserver::identity::Identity;
use licenceserver::keyring::Keyring;
use licenceserver::paths::Paths;
use serde_json::{Value, json};
use support::{
    Answered, OBJECT_SECRET, SERIES, Server, descriptor, licence, sample_connection_info,
    series_key, start, start_in, start_with,
};

/// The key of every object here; in base64url below.
const OBJECT_KEY: [u8; 32] = [0xFB; 32];
const OBJECT_KEY_TEXT: &str = "-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s";

const OTHER_SERIES: KeySeries = KeySeries::from_u16(0x4BFE);
const OTHER_SECRET: [u8; 32] = [19; 32];

fn series() -> KeySeries {
    KeySeries::from_u16(SERIES)
}

/// An object of a series as its list names it.
fn object(series: KeySeries, secret: [u8; 32], access: ObjectAccess) -> ObjectEntry {
    let mut entry = ObjectEntry {
        name: "ЗащищённаяОбработка".into(),
        kind: ObjectKind::Epf,
        access,
        size: 100,
        offset: 0,
        digest: "0123456789ABCDEF".repeat(4),
        key: String::new(),
    };
    let public = *WrapKey::from_secret(&secret).public();
    let context = entry.context(series);
    entry.key = wrap(&public, OBJECT_KEY_PURPOSE, &context, &OBJECT_KEY, [5; 32]).unwrap();
    entry
}

fn own_object(access: ObjectAccess) -> ObjectEntry {
    object(series(), OBJECT_SECRET, access)
}

/// What a centre makes of a licence for a server that named this key: its object key wrapped.
fn with_object_key(claims: LicenceClaims, own: &WrapKey, secret: [u8; 32]) -> LicenceClaims {
    let holder = claims.cnf.jwk.ed25519().unwrap().into();
    let context = LicenceClaims::object_key_context(claims.fields.key_id, &claims.jti, &holder);
    let key = wrap(own.public(), SERIES_KEY_PURPOSE, &context, &secret, [6; 32]).unwrap();
    LicenceClaims { object_key: Some(key), ..claims }
}

fn claims_of(holder: PublicKey, key_no: u32, seats: u32) -> LicenceClaims {
    let document = licence(holder, key_no, seats);
    Licence::verify(&document, &series_key().public()).unwrap().claims
}

fn own_licence(identity: &Identity, key_no: u32, seats: u32) -> String {
    let claims = claims_of(identity.public(), key_no, seats);
    with_object_key(claims, identity.wrap_key(), OBJECT_SECRET).sign(&series_key()).unwrap()
}

/// A server whose licence of five seats has the object key.
async fn ready() -> Server {
    let server = start_with("", Some(&descriptor(None)), &[]);
    let document = own_licence(&server.identity, 7_131_766, 5);
    server.app.handle.install(document, None).await.unwrap();
    server
}

/// A licence of another series with its object key, and that series.
fn other(identity: &Identity) -> (String, SeriesDescriptor) {
    let key = SigningKey::from_seed(&[33; 32]);
    let mut fields = claims_of(identity.public(), 5, 3).fields;
    fields.key_id = OTHER_SERIES;
    fields.activation_code = ActivationCode::encode(CodeKind::Activation, OTHER_SERIES, 5);
    let claims = LicenceClaims::new("o1".into(), fields.activation_date, identity.public(), fields);
    let document = with_object_key(claims, identity.wrap_key(), OTHER_SECRET).sign(&key).unwrap();
    let object = WrapKey::from_secret(&OTHER_SECRET).jwk();
    let known = SeriesDescriptor::new(OTHER_SERIES, "Другая".into(), None, key.public(), object);
    (document, known)
}

async fn connect_to(server: &Server, series: KeySeries) -> String {
    let body = json!({"KeyID": series, "Info": sample_connection_info()});
    let answer = server.message("/client/v1/connect", &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["ID"].as_str().unwrap().to_owned()
}

/// A session of the connection that holds a seat; its id.
async fn seated(server: &Server, connection: &str, number: u32) -> String {
    let answer = server.open(connection, number).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.json()["UsedLicence"].is_number(), "{answer:?}");
    answer.json()["ID"].as_str().unwrap().to_owned()
}

/// A session that is there for presence only; its id.
async fn present(server: &Server, connection: &str) -> String {
    let body = json!({
        "Connection": connection, "Wish": {"PresenceOnly": true},
        "Session": {"SessionNumber": "90", "IsServer": true, "InfoBaseConnectionStr": "x"}
    });
    let answer = server.message("/client/v1/open", &body).await;
    assert_eq!((answer.status, &answer.json()["UsedLicence"]), (200, &Value::Null), "{answer:?}");
    answer.json()["ID"].as_str().unwrap().to_owned()
}

fn query(connection: &str, session: Option<&str>, object: &ObjectEntry) -> Value {
    json!({"Connection": connection, "Session": session, "Object": object})
}

async fn ask(server: &Server, query: &Value) -> Answered {
    server.message("/client/v1/objectkey", query).await
}

async fn check_given(server: &Server, query: &Value) {
    let answer = ask(server, query).await;
    assert_eq!(answer.status, 200, "{query}: {answer:?}");
    assert_eq!(answer.json(), json!({ "Key": OBJECT_KEY_TEXT }), "{query}");
}

async fn check_refused(server: &Server, query: &Value, status: u16, class: &str) {
    let answer = ask(server, query).await;
    assert_eq!((answer.status, &answer.json()["Exception"]), (status, &json!(class)), "{query}");
    assert!(!answer.body.contains(OBJECT_KEY_TEXT), "{answer:?}");
}

#[tokio::test]
async fn session_with_a_seat_gets_the_key_and_one_without_does_not() {
    let server = ready().await;
    let connection = server.connect().await;
    let session = seated(&server, &connection, 1).await;
    let object = own_object(ObjectAccess::Seat);
    check_given(&server, &query(&connection, Some(&session), &object)).await;
    check_given(&server, &query(&connection, Some(&session), &object)).await;
    check_refused(&server, &query(&connection, None, &object), 403, "ENoSeat").await;
    let present = present(&server, &connection).await;
    check_refused(&server, &query(&connection, Some(&present), &object), 403, "ENoSeat").await;
    for stranger in ["", "x", &"0".repeat(32)] {
        let asked = query(&connection, Some(stranger), &object);
        check_refused(&server, &asked, 404, "ESessionNotFound").await;
        let asked = query(stranger, Some(&session), &object);
        check_refused(&server, &asked, 404, "EConnectionNotFound").await;
    }
}

#[tokio::test]
async fn each_access_asks_for_what_its_name_says() {
    let server = ready().await;
    let connection = server.connect().await;
    let seated = seated(&server, &connection, 1).await;
    let present = present(&server, &connection).await;
    for (access, session, given) in [
        (ObjectAccess::Seat, Some(&seated), true),
        (ObjectAccess::Seat, Some(&present), false),
        (ObjectAccess::Seat, None, false),
        (ObjectAccess::Presence, Some(&seated), true),
        (ObjectAccess::Presence, Some(&present), true),
        (ObjectAccess::Presence, None, false),
        (ObjectAccess::Key, Some(&seated), true),
        (ObjectAccess::Key, Some(&present), true),
        (ObjectAccess::Key, None, true),
    ] {
        let asked = query(&connection, session.map(String::as_str), &own_object(access));
        if given {
            check_given(&server, &asked).await;
        } else {
            check_refused(&server, &asked, 403, "ENoSeat").await;
        }
    }
    // An object for everybody needs no session, so a wrong one does not stand in its way.
    let object = own_object(ObjectAccess::Key);
    check_given(&server, &query(&connection, Some("gone"), &object)).await;
}

#[tokio::test]
async fn object_of_which_anything_was_changed_opens_for_nobody() {
    let server = ready().await;
    let connection = server.connect().await;
    let session = seated(&server, &connection, 1).await;
    let good = own_object(ObjectAccess::Seat);
    let mut changed = vec![
        ObjectEntry { name: "ЗащищеннаяОбработка".into(), ..good.clone() },
        ObjectEntry { name: String::new(), ..good.clone() },
        ObjectEntry { kind: ObjectKind::Erf, ..good.clone() },
        ObjectEntry { access: ObjectAccess::Presence, ..good.clone() },
        ObjectEntry { access: ObjectAccess::Key, ..good.clone() },
        ObjectEntry { digest: good.digest.to_lowercase(), ..good.clone() },
        ObjectEntry { key: String::new(), ..good.clone() },
        ObjectEntry { key: "A".repeat(5000), ..good.clone() },
        object(OTHER_SERIES, OBJECT_SECRET, ObjectAccess::Seat),
        object(series(), OTHER_SECRET, ObjectAccess::Seat),
    ];
    for at in 0..good.key.len() {
        let other = if good.key.as_bytes()[at] == b'A' { "B" } else { "A" };
        let mut key = good.key.clone();
        key.replace_range(at..=at, other);
        changed.push(ObjectEntry { key, ..good.clone() });
    }
    for object in changed {
        let asked = query(&connection, Some(&session), &object);
        check_refused(&server, &asked, 400, "EObject").await;
    }
    check_given(&server, &query(&connection, Some(&session), &good)).await;
}

#[tokio::test]
async fn secret_of_another_length_is_no_key_of_an_object() {
    let server = ready().await;
    let connection = server.connect().await;
    let session = seated(&server, &connection, 1).await;
    let mut short = own_object(ObjectAccess::Seat);
    let public = *WrapKey::from_secret(&OBJECT_SECRET).public();
    let context = short.context(series());
    short.key = wrap(&public, OBJECT_KEY_PURPOSE, &context, &[1; 31], [5; 32]).unwrap();
    check_refused(&server, &query(&connection, Some(&session), &short), 400, "EObject").await;
    // Nor is the object key of the series given out for its own wrapping in a licence.
    let claims = claims_of(server.identity.public(), 7_131_766, 5);
    let claims = with_object_key(claims, &WrapKey::from_secret(&OBJECT_SECRET), OBJECT_SECRET);
    short.key = claims.object_key.unwrap();
    check_refused(&server, &query(&connection, Some(&session), &short), 400, "EObject").await;
}

#[tokio::test]
async fn seat_of_another_series_opens_nothing() {
    let server = ready().await;
    let (document, known) = other(&server.identity);
    server.app.handle.install(document, Some(known)).await.unwrap();
    let (own, foreign) = (server.connect().await, connect_to(&server, OTHER_SERIES).await);
    let (own_seat, foreign_seat) =
        (seated(&server, &own, 1).await, seated(&server, &foreign, 2).await);
    let own_object = own_object(ObjectAccess::Seat);
    let foreign_object = object(OTHER_SERIES, OTHER_SECRET, ObjectAccess::Seat);
    check_given(&server, &query(&own, Some(&own_seat), &own_object)).await;
    check_given(&server, &query(&foreign, Some(&foreign_seat), &foreign_object)).await;
    let asked = query(&foreign, Some(&foreign_seat), &own_object);
    check_refused(&server, &asked, 400, "EObject").await;
    let asked = query(&own, Some(&foreign_seat), &own_object);
    check_refused(&server, &asked, 404, "ESessionNotFound").await;
    // Whoever needs no session is of a series all the same.
    let free = self::own_object(ObjectAccess::Key);
    check_refused(&server, &query(&foreign, None, &free), 400, "EObject").await;
}

#[tokio::test]
async fn recorded_request_brings_nothing_on_another_connection_or_after_the_session() {
    let server = ready().await;
    let (own, thief) = (server.connect().await, server.connect().await);
    let session = seated(&server, &own, 1).await;
    let recorded = query(&own, Some(&session), &own_object(ObjectAccess::Seat));
    check_given(&server, &recorded).await;
    let mut replayed = recorded.clone();
    replayed["Connection"] = json!(thief);
    check_refused(&server, &replayed, 404, "ESessionNotFound").await;
    // A seat of the thief's own does not make the session theirs.
    seated(&server, &thief, 2).await;
    check_refused(&server, &replayed, 404, "ESessionNotFound").await;
    let close = json!({"Connection": own, "Session": session});
    assert_eq!(server.message("/client/v1/close", &close).await.status, 200);
    check_refused(&server, &recorded, 404, "ESessionNotFound").await;
    let again = seated(&server, &own, 1).await;
    let recorded = query(&own, Some(&again), &own_object(ObjectAccess::Seat));
    check_given(&server, &recorded).await;
    let bye = json!({"Connection": own, "EndSessions": false});
    assert_eq!(server.message("/client/v1/disconnect", &bye).await.status, 200);
    check_refused(&server, &recorded, 404, "EConnectionNotFound").await;
}

#[tokio::test]
async fn session_that_moved_to_another_connection_is_served_there() {
    let server = ready().await;
    let (old, new) = (server.connect().await, server.connect().await);
    let session = seated(&server, &old, 1).await;
    assert_eq!(seated(&server, &new, 1).await, session, "the same 1C session in another process");
    let object = own_object(ObjectAccess::Seat);
    check_given(&server, &query(&new, Some(&session), &object)).await;
    check_refused(&server, &query(&old, Some(&session), &object), 404, "ESessionNotFound").await;
}

#[tokio::test]
async fn session_ended_by_an_administrator_or_with_its_key_gets_no_keys() {
    let server = ready().await;
    let connection = server.connect().await;
    let session = seated(&server, &connection, 1).await;
    let seat = query(&connection, Some(&session), &own_object(ObjectAccess::Seat));
    check_given(&server, &seat).await;
    let path = format!("/api/sessions/{session}");
    assert_eq!(server.call("DELETE", &path, "").await.status, 202);
    check_refused(&server, &seat, 404, "ESessionNotFound").await;
    let session = seated(&server, &connection, 1).await;
    let seat = query(&connection, Some(&session), &own_object(ObjectAccess::Seat));
    let free = query(&connection, None, &own_object(ObjectAccess::Key));
    check_given(&server, &seat).await;
    check_given(&server, &free).await;
    assert_eq!(server.call("DELETE", "/api/licences/7131766", "").await.status, 202);
    check_refused(&server, &seat, 404, "ESessionNotFound").await;
    check_refused(&server, &free, 404, "ELicenceNotFound").await;
    assert!(server.app.handle.series_key(series()).await.unwrap().is_none());
}

#[tokio::test]
async fn licence_without_the_object_key_gives_seats_and_no_objects() {
    let server = start("");
    let connection = server.connect().await;
    let session = seated(&server, &connection, 1).await;
    for access in [ObjectAccess::Seat, ObjectAccess::Presence, ObjectAccess::Key] {
        let asked = query(&connection, Some(&session), &own_object(access));
        check_refused(&server, &asked, 409, "EObjectKey").await;
        let english = ask(&server, &asked).await.body;
        assert!(english.contains("update the licences") || english.contains("обновите лицензии"));
    }
    assert!(server.app.handle.series_key(series()).await.unwrap().is_none());
}

#[tokio::test]
async fn object_key_that_is_not_this_servers_or_not_the_series_is_left_alone() {
    let identity = Identity::from_seed([12; 32]);
    let base = || claims_of(identity.public(), 7_131_766, 5);
    let own = identity.wrap_key();
    let sealed = |claims: LicenceClaims| claims.sign(&series_key()).unwrap();
    let of_another_activation = {
        let other = LicenceClaims { jti: "l2".into(), ..base() };
        let object_key = with_object_key(other, own, OBJECT_SECRET).object_key;
        LicenceClaims { object_key, ..base() }
    };
    for (what, document) in [
        ("another server's", {
            let stranger = Identity::from_seed([13; 32]);
            sealed(with_object_key(base(), stranger.wrap_key(), OBJECT_SECRET))
        }),
        ("another series'", sealed(with_object_key(base(), own, OTHER_SECRET))),
        ("another activation's", sealed(of_another_activation)),
        ("nonsense", sealed(LicenceClaims { object_key: Some("AAAA".into()), ..base() })),
    ] {
        let server = start_with("", Some(&descriptor(None)), &[]);
        assert_eq!(server.identity.public(), identity.public());
        server.app.handle.install(document, None).await.unwrap();
        let connection = server.connect().await;
        let session = seated(&server, &connection, 1).await;
        let asked = query(&connection, Some(&session), &own_object(ObjectAccess::Seat));
        check_refused(&server, &asked, 409, "EObjectKey").await;
        println!("{what}: refused");
        // The right one in the place of it.
        let mut claims = with_object_key(base(), own, OBJECT_SECRET);
        claims.iat += 1;
        server.app.handle.install(sealed(claims), None).await.unwrap();
        check_given(&server, &asked).await;
    }
}

#[tokio::test]
async fn object_key_is_there_again_after_a_start_and_wherever_the_identity_is() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path());
    let identity = Identity::load_or_make(&paths.identity()).unwrap();
    std::fs::create_dir_all(paths.keys()).unwrap();
    std::fs::create_dir_all(paths.settings()).unwrap();
    let known = serde_json::to_string(&descriptor(None)).unwrap();
    std::fs::write(paths.series("licence.series"), known).unwrap();
    let document = own_licence(&identity, 7_131_766, 5);
    std::fs::write(paths.keys().join("672B.7131766.licence"), &document).unwrap();
    let load = |own: &Identity| {
        let (folder, file) = (paths.keys(), paths.series("licence.series"));
        let keyring = Keyring::load(folder, file, own.public(), BTreeMap::new()).unwrap();
        keyring.with_object_keys(Arc::clone(own.wrap_key()))
    };
    assert_eq!(load(&identity).object_secret(series()), Some(&OBJECT_SECRET));
    let thief = Identity::from_seed([40; 32]);
    assert!(load(&thief).object_key(series()).is_none(), "a copied licence brings no key");
    let shown = format!("{:?}", load(&identity));
    assert!(!shown.contains("[9, 9"), "{shown}");
    let server = start_in(dir);
    let connection = server.connect().await;
    let session = seated(&server, &connection, 1).await;
    let asked = query(&connection, Some(&session), &own_object(ObjectAccess::Seat));
    check_given(&server, &asked).await;
    let key = server.app.handle.series_key(series()).await.unwrap().unwrap();
    assert_eq!(key.public(), WrapKey::from_secret(&OBJECT_SECRET).public());
    assert!(server.app.handle.series_key(OTHER_SERIES).await.unwrap().is_none());
}

#[tokio::test]
async fn term_that_has_ended_ends_objects_for_everybody_too() {
    let server = start_with("", Some(&descriptor(None)), &[]);
    let mut fields = claims_of(server.identity.public(), 7_131_766, 5).fields;
    fields.period = 1;
    let claims =
        LicenceClaims::new("e1".into(), fields.activation_date, server.identity.public(), fields);
    let claims = with_object_key(claims, server.identity.wrap_key(), OBJECT_SECRET);
    server.app.handle.install(claims.sign(&series_key()).unwrap(), None).await.unwrap();
    assert!(server.app.handle.series_key(series()).await.unwrap().is_none());
    let connection = server.connect().await;
    let asked = query(&connection, None, &own_object(ObjectAccess::Key));
    check_refused(&server, &asked, 403, "ELicenceNotFound").await;
}

#[tokio::test]
async fn query_that_is_not_what_it_should_be_is_a_bad_request() {
    let server = ready().await;
    let connection = server.connect().await;
    let good = query(&connection, None, &own_object(ObjectAccess::Key));
    check_given(&server, &good).await;
    for (member, value) in [
        ("Access", json!("everybody")),
        ("Kind", json!("exe")),
        ("Size", json!(-1)),
        ("Key", Value::Null),
    ] {
        let mut bad = good.clone();
        bad["Object"][member] = value;
        check_refused(&server, &bad, 400, "EHTTPBadRequest").await;
    }
    let mut bad = good;
    bad.as_object_mut().unwrap().remove("Object");
    check_refused(&server, &bad, 400, "EHTTPBadRequest").await;
}

#[tokio::test]
async fn requests_to_a_centre_name_the_key_that_follows_from_the_identity() {
    let server = start("");
    let file = async |body: Value| {
        let answer = server.call("POST", "/api/licences/request", &body.to_string()).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["Request"].as_str().unwrap().to_owned()
    };
    let own = server.identity.wrap_key().jwk();
    let install =
        file(json!({"Kind": "activation", "ActivationCodeString": support::code(1).to_string()}))
            .await;
    let (request, holder) = ActivationRequest::verify(&install).unwrap();
    assert_eq!((request.enc, holder), (Some(own.clone()), server.identity.public()));
    let update = file(json!({"Kind": "update"})).await;
    assert_eq!(LicencesRequest::verify(&update).unwrap().0.enc, Some(own));
}

#[tokio::test]
async fn health_says_that_a_data_file_opens_for_nobody_until_a_licence_brings_the_key() {
    let server = start_with("", Some(&descriptor(None)), &[]);
    let signing = series_key();
    let mut file = DatafileBuilder::new(series(), &signing, &OBJECT_SECRET);
    file.add("Текст", ObjectKind::Text, ObjectAccess::Seat, "текст".as_bytes()).unwrap();
    let path = server.app.paths.keys().join("672B.datafile");
    std::fs::write(path, file.finish().unwrap().bytes()).unwrap();
    let check = async |status: &str, part: &str| {
        let health = server.call("GET", "/api/health", "").await.json();
        let checks = health["Checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["Name"] == "datafiles").unwrap();
        assert_eq!(check["Status"], status, "{check}");
        assert!(check["Text"].as_str().unwrap().contains(part), "{check}");
    };
    check("ok", "1").await;
    let without = licence(server.identity.public(), 7_131_766, 5);
    server.app.handle.install(without, None).await.unwrap();
    check("warning", "672B").await;
    let with = own_licence(&server.identity, 7_131_767, 5);
    server.app.handle.install(with, None).await.unwrap();
    check("ok", "1").await;
}
