//! Protected objects, templates and operations through the built library: what is asked of the
//! server, what is answered from memory, and who gets nothing.
//!
//! The server is the stand-in of the client's tests. Each test runs in a process of its own with a
//! home of its own, because the component writes its log there.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

#[path = "common/at_home.rs"]
mod at_home;
mod common;
#[expect(dead_code, reason = "each test program uses a part of this")]
#[path = "common/platform.rs"]
mod fake;
#[path = "../../client/tests/common/mod.rs"]
mod stand_in;

use at_home::{class, is_at_home, point, started};
use fake::{Answer, Platform, blob, nothing, string, text, truth};
use licence_core::datafile::{ObjectAccess, ObjectKind};
use licence_core::seal::SigningKey;
use serde_json::{Value, json};
use stand_in::{Server, Setup, datafile, http, licence, nobody, refusal, series_key};

const DATAFILE: &str = "/client/v1/datafile";
const DATAPART: &str = "/client/v1/datapart";
const OBJECT_KEY: &str = "/client/v1/objectkey";
const OPEN: &str = "/client/v1/open";
const OPERATION: &str = "/client/v1/operation";

const CONTENT: &[u8] = b"content of the processor";

/// A server with two objects in its main file: `Модуль` needs a seat, `Открытый` a key.
fn server(setup: Setup) -> Server {
    let server = Server::start(setup);
    let file = datafile(
        &series_key(),
        &[
            ("Модуль", ObjectKind::Epf, ObjectAccess::Seat, CONTENT),
            ("Открытый", ObjectKind::Text, ObjectAccess::Key, "текст".as_bytes()),
            ("Пустой", ObjectKind::Text, ObjectAccess::Presence, b""),
        ],
    );
    server.books().files.insert(String::new(), file);
    server
}

fn data(platform: &Platform, name: &str) -> Answer {
    platform.call("ПолучитьДанныеОбъекта", vec![text(name)])
}

fn execute(platform: &Platform, name: &str, parameters: &Value) -> Option<Value> {
    let arguments = vec![text(name), text(&parameters.to_string())];
    match platform.call("ВыполнитьОперацию", arguments) {
        Answer::Text(text) => Some(serde_json::from_str(&text).unwrap()),
        Answer::Empty => None,
        other @ (Answer::Blob(_) | Answer::Refused | Answer::Truth(_)) => panic!("{other:?}"),
    }
}

#[test]
fn second_creation_asks_the_server_nothing() {
    if !is_at_home("second_creation_asks_the_server_nothing") {
        return;
    }
    for of in ["LicenceExtension", "LicenceExtension20"] {
        let server = server(Setup::default());
        let platform = started(&server, of, 1);
        let shown = platform.ask("ПодготовитьОбъект", vec![text("модуль")]);
        let object: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(object["Name"], "Модуль");
        assert_eq!((&object["Kind"], &object["Access"]), (&"epf".into(), &"seat".into()));
        assert_eq!(object["Size"], CONTENT.len());
        assert!(!object["ID"].as_str().unwrap().is_empty());
        assert_eq!(data(&platform, "МОДУЛЬ"), Answer::Blob(CONTENT.to_vec()));
        let asked = server.books().requests.len();
        for _ in 0..100 {
            assert_eq!(platform.ask("PrepareObject", vec![text("Модуль")]), shown);
            assert_eq!(data(&platform, "Модуль"), Answer::Blob(CONTENT.to_vec()));
        }
        let books = server.books();
        let others = books.requests[asked..].iter().filter(|(path, _)| !path.ends_with("beat"));
        assert_eq!(others.count(), 0);
        for path in [DATAFILE, DATAPART, OBJECT_KEY, OPEN] {
            assert_eq!(books.count(path), 1, "{path}");
        }
    }
}

#[test]
fn object_in_memory_is_given_to_nobody_without_a_seat() {
    if !is_at_home("object_in_memory_is_given_to_nobody_without_a_seat") {
        return;
    }
    let server = server(Setup { seats: 1, ..Setup::default() });
    let holder = started(&server, "LicenceExtension", 1);
    assert_eq!(data(&holder, "Модуль"), Answer::Blob(CONTENT.to_vec()));
    // Another session of the process, for which no seat is left.
    let other = started(&server, "LicenceExtension", 2);
    for _ in 0..2 {
        assert_eq!(data(&other, "Модуль"), Answer::Empty);
        assert_eq!(class(&other), "EServerResult.ENoFreeLicence");
        assert_eq!(other.call("ПодготовитьОбъект", vec![text("Модуль")]), Answer::Empty);
    }
    // One without a session.
    let nobody = started(&server, "LicenceExtension", 3);
    let fresh = Platform::new();
    point(&fresh, server.address);
    assert_eq!(fresh.call("Запуск", vec![text("672B")]), Answer::Truth(true));
    assert_eq!(data(&fresh, "Модуль"), Answer::Empty);
    assert_eq!(class(&fresh), "EParams");
    drop(nobody);
    // The holder itself, once it has let go.
    assert_eq!(holder.call("ОсвободитьЛицензию", vec![]), Answer::Truth(true));
    server.books().seats = 0;
    assert_eq!(data(&holder, "Модуль"), Answer::Empty);
    assert_eq!(class(&holder), "EServerResult.ENoFreeLicence");
    assert_eq!(server.books().count(OBJECT_KEY), 1);
}

#[test]
fn presence_only_opens_what_needs_no_more() {
    if !is_at_home("presence_only_opens_what_needs_no_more") {
        return;
    }
    let server = server(Setup::default());
    let opened = http(200, &json!({"ID": "s1", "UsedLicence": null, "ExpiresInMs": 1_000_000}));
    server.books().instead.insert(OPEN, opened);
    server.books().sessions.insert("s1".to_owned(), "1".to_owned());
    let platform = started(&server, "LicenceExtension", 1);
    let wish = r#"{"PresenceOnly":true,"ProductVersion":3}"#;
    assert_eq!(platform.call("УстановитьУсловия", vec![text(wish)]), Answer::Truth(true));
    assert_eq!(data(&platform, "Пустой"), Answer::Blob(Vec::new()));
    assert_eq!(data(&platform, "Модуль"), Answer::Empty);
    assert_eq!(class(&platform), "EServerResult.ENoSeat");
    let books = server.books();
    assert_eq!(books.last(OPEN)["Wish"]["PresenceOnly"], true);
    assert_eq!(books.last(OPEN)["Wish"]["ProductVersion"], 3);
}

#[test]
fn names_lead_to_files_and_what_is_missing_is_named() {
    if !is_at_home("names_lead_to_files_and_what_is_missing_is_named") {
        return;
    }
    let server = server(Setup::default());
    let file = datafile(
        &series_key(),
        &[("Модуль", ObjectKind::Erf, ObjectAccess::Key, b"of the extension")],
    );
    server.books().files.insert("Extension".to_owned(), file);
    let platform = started(&server, "LicenceExtension", 1);
    assert_eq!(data(&platform, "Extension.модуль"), Answer::Blob(b"of the extension".to_vec()));
    assert_eq!(server.books().last(DATAFILE)["Alias"], "Extension");
    for (name, expected, part) in [
        ("Нет", "EObjectNotFound", "Нет"),
        ("Extension.Нет", "EObjectNotFound", "Extension.Нет"),
        ("Другой.Модуль", "EObjectNotFound", "672B.Другой.datafile"),
        ("", "EParams", "имя"),
        ("А.Б.В", "EParams", "А.Б.В"),
        ("../Модуль", "EParams", "Модуль"),
    ] {
        assert_eq!(data(&platform, name), Answer::Empty, "{name}");
        assert_eq!(class(&platform), expected, "{name}");
        assert!(platform.error().contains(part), "{name}: {}", platform.error());
    }
    assert_eq!(platform.call("ПолучитьДанныеОбъекта", vec![nothing()]), Answer::Empty);
    assert_eq!(class(&platform), "EParams");
}

#[test]
fn server_file_that_changed_is_read_again() {
    if !is_at_home("server_file_that_changed_is_read_again") {
        return;
    }
    let server = server(Setup::default());
    let platform = started(&server, "LicenceExtension", 1);
    let before: Value =
        serde_json::from_str(&platform.ask("ПодготовитьОбъект", vec![text("Модуль")])).unwrap();
    let objects = [("Модуль", ObjectKind::Epf, ObjectAccess::Seat, &b"another"[..])];
    server.books().files.insert(String::new(), datafile(&series_key(), &objects));
    assert_eq!(data(&platform, "Модуль"), Answer::Blob(b"another".to_vec()));
    let after: Value =
        serde_json::from_str(&platform.ask("ПодготовитьОбъект", vec![text("Модуль")])).unwrap();
    assert_ne!(before["ID"], after["ID"], "other content is another object");
    // What another key signed is no file of the series.
    let foreign = datafile(&SigningKey::from_seed(&[9; 32]), &objects);
    server.books().files.insert("Ext".to_owned(), foreign);
    assert_eq!(data(&platform, "Ext.Модуль"), Answer::Empty);
    assert_eq!(class(&platform), "EObject");
}

#[test]
fn template_belongs_to_its_session_and_opens_by_the_servers_key() {
    if !is_at_home("template_belongs_to_its_session_and_opens_by_the_servers_key") {
        return;
    }
    let server = server(Setup::default());
    let objects = [("Модуль", ObjectKind::Epf, ObjectAccess::Seat, &b"of the template"[..])];
    let file = datafile(&series_key(), &objects);
    // Unloading the library would forget the templates.
    let _loaded = Platform::new();
    let platform = started(&server, "LicenceExtension", 1);
    let load = |platform: &Platform, file: &[u8], alias: &str, again: bool| {
        platform.call("ЗагрузитьМакет", vec![blob(file), text(alias), truth(again)])
    };
    let is_loaded = |platform: &Platform| platform.call("МакетЗагружен", vec![text("ДАННЫЕСЛК")]);
    assert_eq!(is_loaded(&platform), Answer::Truth(false));
    assert_eq!(load(&platform, &file, "ДанныеСЛК", false), Answer::Truth(true));
    assert_eq!(is_loaded(&platform), Answer::Truth(true));
    let expected = Answer::Blob(b"of the template".to_vec());
    assert_eq!(data(&platform, "данныеслк.модуль"), expected);
    assert_eq!(server.books().count(DATAPART), 0);
    assert_eq!(server.books().count(OBJECT_KEY), 1);
    // The object of the component dies between calls; its session finds the template again.
    drop(platform);
    let again = started(&server, "LicenceExtension", 1);
    assert_eq!(is_loaded(&again), Answer::Truth(true));
    assert_eq!(data(&again, "ДанныеСЛК.Модуль"), expected);
    assert_eq!(server.books().count(OBJECT_KEY), 1);
    let other = started(&server, "LicenceExtension", 2);
    assert_eq!(is_loaded(&other), Answer::Truth(false));
    assert_eq!(load(&other, &file, "А.Б", false), Answer::Truth(false));
    assert_eq!(class(&other), "EParams");
    let mut changed = file;
    let last = changed.len() - 1;
    changed[last] ^= 1;
    assert_eq!(load(&other, &changed, "ДанныеСЛК", false), Answer::Truth(true));
    // The tag is checked when the object is opened, and the bytes of the other session serve
    // nobody but those who load them: the list is the same, so the kept content is genuine.
    assert_eq!(data(&other, "ДанныеСЛК.Модуль"), expected);
    let foreign = datafile(&SigningKey::from_seed(&[9; 32]), &objects);
    assert_eq!(load(&other, &foreign, "Чужой", false), Answer::Truth(false));
    assert_eq!(class(&other), "EObject");
    let known = datafile(&series_key(), &objects);
    server.books().files.insert("Ext".to_owned(), known.clone());
    assert!(matches!(data(&other, "Ext.Модуль"), Answer::Blob(_)));
    assert_eq!(load(&other, &known, "ext", true), Answer::Truth(false), "the server's alias");
    assert_eq!(class(&other), "EParams");
    let wrong = other.call("ЗагрузитьМакет", vec![text("x"), text("А")]);
    assert_eq!((wrong, class(&other)), (Answer::Truth(false), "EParams".to_owned()));
}

#[test]
fn first_key_is_installed_before_any_start_has_worked() {
    if !is_at_home("first_key_is_installed_before_any_start_has_worked") {
        return;
    }
    let server = Server::start(Setup { licences: Some(vec![]), ..Setup::default() });
    let platform = Platform::new();
    point(&platform, server.address);
    let code = json!({"ActivationCode": "X", "ITN": 7_701_234_567u64});
    assert_eq!(execute(&platform, "Install", &code), None);
    assert_eq!(class(&platform), "EExecuteError", "no series is known yet");
    assert_eq!(platform.call("Запуск", vec![text("672B")]), Answer::Truth(false));
    assert_eq!(class(&platform), "EServerResult.ELicenceNotFound");
    server.books().operations.extend([
        http(200, &json!({"Ticket": "T"})),
        http(200, &json!({"Result": {"Licences": []}})),
    ]);
    assert_eq!(execute(&platform, "Install", &code), Some(json!([])));
    assert_eq!(execute(&platform, "ReadMemory", &json!({})), None);
    assert_eq!(class(&platform), "EExecuteError");
    let holder = SigningKey::from_seed(&[2; 32]).public();
    let hello = json!({"Version": 1, "ServerVersion": "9.9.9",
        "Licences": [licence(&series_key(), holder)]});
    server.books().instead.insert("/client/hello", http(200, &hello));
    assert_eq!(platform.call("Запуск", vec![text("672B")]), Answer::Truth(true));
}

#[test]
fn operations_carry_key_and_session_and_their_results_come_back() {
    if !is_at_home("operations_carry_key_and_session_and_their_results_come_back") {
        return;
    }
    let server = server(Setup::default());
    let platform = started(&server, "LicenceExtension", 1);
    platform.ask("ЗанятьЛицензию", vec![]);
    for (name, parameters, result, expected, sent) in [
        (
            "Parameter",
            json!({"Name": "Вид", "Key": "672B"}),
            json!({"Parameter": "Профи"}),
            json!({"Value": "Профи"}),
            json!({"Parameter": {"KeyNo": null, "Session": "s2", "Name": "Вид",
                "UseMainKey": false}}),
        ),
        (
            "ReadMemory",
            json!({"Key": 7_131_766, "Password": "чт"}),
            json!({"Memory": "текст"}),
            json!({"Data": "текст"}),
            json!({"ReadMemory": {"KeyNo": 7_131_766, "Session": "s2", "Password": "чт"}}),
        ),
        (
            "WipeMemory",
            json!({"Key": null}),
            json!("Done"),
            json!({}),
            json!({"WipeMemory": {"KeyNo": null, "Session": "s2", "Password": ""}}),
        ),
        (
            "UpdateRequest",
            json!({}),
            json!({"Request": "R"}),
            json!({"Request": "R"}),
            json!({"UpdateRequest": {"ITN": null, "IEC": null}}),
        ),
    ] {
        server.books().operations = [http(200, &json!({ "Result": result }))].into();
        assert_eq!(execute(&platform, name, &parameters), Some(expected), "{name}");
        assert_eq!(server.books().last(OPERATION)["Operation"], sent, "{name}");
    }
    server.books().operations = [refusal(403, "EMemoryPassword", "Неверный пароль")].into();
    assert_eq!(execute(&platform, "ReadMemory", &json!({"Password": "нет"})), None);
    assert_eq!(class(&platform), "EServerResult.EMemoryPassword");
    assert!(!platform.error().contains("нет"), "no password in an error");
}

#[test]
fn template_has_the_parameters_that_the_server_lacks() {
    if !is_at_home("template_has_the_parameters_that_the_server_lacks") {
        return;
    }
    let server = server(Setup::default());
    let platform = started(&server, "LicenceExtension", 1);
    let text = "[Default]\nВид = Базовая\nЧисло = 5\n[7131766]\nВид = Профи\n";
    let objects = [("Параметры", ObjectKind::Text, ObjectAccess::Seat, text.as_bytes())];
    let file = datafile(&series_key(), &objects);
    let load = vec![blob(&file), fake::text("ПараметрыСЛК")];
    assert_eq!(platform.call("ЗагрузитьМакет", load), Answer::Truth(true));
    let value = |name: &str, key: Value, main: bool| {
        let parameters = json!({"Name": name, "Key": key, "UseMainKey": main});
        execute(&platform, "Parameter", &parameters).unwrap()["Value"].clone()
    };
    server.books().operations = [http(200, &json!({"Result": {"Parameter": null}}))].into();
    assert_eq!(value("вид", Value::Null, false), "Профи", "of the key that the seat is on");
    assert_eq!(value("Вид", json!(1), false), "Базовая");
    assert_eq!(value("Число", Value::Null, true), "5");
    assert_eq!(value("Нет", Value::Null, false), Value::Null);
    server.books().operations = [http(200, &json!({"Result": {"Parameter": ""}}))].into();
    assert_eq!(value("Вид", Value::Null, false), "", "what the server has counts");
    // Without a seat the template says nothing.
    assert_eq!(platform.call("ОсвободитьЛицензию", vec![]), Answer::Truth(true));
    server.books().seats = 0;
    server.books().operations = [http(200, &json!({"Result": {"Parameter": null}}))].into();
    assert_eq!(execute(&platform, "Parameter", &json!({"Name": "Вид"})), None);
    assert_eq!(class(&platform), "EServerResult.ENoFreeLicence");
}

#[test]
fn session_is_set_once_and_named_by_no_call_after_it() {
    if !is_at_home("session_is_set_once_and_named_by_no_call_after_it") {
        return;
    }
    let server = server(Setup::default());
    let platform = started(&server, "LicenceExtension20", 5);
    let seat: Value = serde_json::from_str(&platform.ask("ЗанятьЛицензию", vec![])).unwrap();
    assert_eq!(seat["UsedLicence"], 7_131_766);
    assert_eq!(server.books().last(OPEN)["Session"]["SessionNumber"], "5");
    platform.ask("ЗанятьЛицензию", vec![text(""), text(r#"{"RegNo":7}"#)]);
    assert_eq!(server.books().last(OPEN)["Wish"]["RegNo"], 7);
    assert_eq!(platform.call("ОсвободитьЛицензию", vec![]), Answer::Truth(true));
    let fresh = Platform::new();
    point(&fresh, server.address);
    assert_eq!(fresh.call("Запуск", vec![text("672B")]), Answer::Truth(true));
    assert_eq!(fresh.call("ЗанятьЛицензию", vec![]), Answer::Empty);
    assert_eq!(class(&fresh), "EParams");
    point(&fresh, nobody());
    assert_eq!(fresh.call("Запуск", vec![text("672B")]), Answer::Truth(false));
    assert_eq!(fresh.get("МенеджерОбъектов"), string(&fresh.ask("GetObjectManager", vec![])));
}

#[test]
fn threads_that_want_one_object_at_once_fetch_it_once() {
    if !is_at_home("threads_that_want_one_object_at_once_fetch_it_once") {
        return;
    }
    const THREADS: u32 = 8;
    let server = server(Setup { seats: 100, ..Setup::default() });
    let _loaded = Platform::new();
    let ready = std::sync::Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for number in 1..=THREADS {
            let (server, ready) = (&server, &ready);
            scope.spawn(move || {
                let platform = started(server, "LicenceExtension", number);
                // List and seat are there, so that nothing but key and bytes is asked for.
                platform.ask("ПодготовитьОбъект", vec![text("Модуль")]);
                ready.wait();
                assert_eq!(data(&platform, "Модуль"), Answer::Blob(CONTENT.to_vec()));
            });
        }
    });
    for path in [OBJECT_KEY, DATAPART] {
        assert_eq!(server.books().count(path), 1, "{path}");
    }
}

#[test]
fn many_objects_of_many_sessions_are_opened_at_once() {
    if !is_at_home("many_objects_of_many_sessions_are_opened_at_once") {
        return;
    }
    let server = server(Setup { seats: 100, ..Setup::default() });
    // Unloading the library would release the seats.
    let _loaded = Platform::new();
    // The whole of it on each thread: objects, calls, destruction.
    std::thread::scope(|scope| {
        for number in 1..=8 {
            let server = &server;
            scope.spawn(move || {
                for _ in 0..5 {
                    let platform = started(server, "LicenceExtension", number);
                    for name in ["Модуль", "Открытый", "Пустой"] {
                        platform.ask("ПодготовитьОбъект", vec![text(name)]);
                    }
                    assert_eq!(data(&platform, "Модуль"), Answer::Blob(CONTENT.to_vec()));
                }
            });
        }
    });
    assert_eq!(server.books().sessions.len(), 8);
}
