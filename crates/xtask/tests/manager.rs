//! The calls of a configuration, in the order of the vendors' sample, through the real component
//! against a real server and centre: attach, version, connection, start, manager, session, access
//! code, licence, protected object, parameters, key memory, information, files, release.
//!
//! Names and answers are those that existing configurations rely on.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use xtask::demo::server_session;
use xtask::stage::{
    Computer, HostProcess, Order, Refused, SERIES, STOP_BOUND, Said, Server, Stage, Vendor, word,
};

/// How every container of the platform begins (files of the versions 8.x).
const CONTAINER: [u8; 4] = [0xFF, 0xFF, 0xFF, 0x7F];

const CLASSES: [&str; 2] = ["LicenceExtension", "LicenceExtension20"];

const ACCESS_CODE: &str = "склад-7";

struct Site {
    stage: Stage,
    vendor: Vendor,
    server: Server,
    computer: Computer,
    key_no: u64,
}

/// A server with a main key of two seats and a parameter.
fn site() -> Site {
    let stage = Stage::temporary().unwrap();
    let vendor = Vendor::start(&stage).unwrap();
    let server = Server::start(&stage, "server", &vendor, 0).unwrap();
    let order = Order { kind: "main", seats: 2 };
    let code =
        vendor.order_of(&stage, SERIES, order, &["--parameter", "ТипПриложения=ПРОФ"]).unwrap();
    let licence = server.rest().activate(&code).unwrap();
    let key_no = licence["KeyNo"].as_u64().unwrap();
    let computer = stage.computer("computer", &vendor, &[server.port()]).unwrap();
    Site { stage, vendor, server, computer, key_no }
}

impl Site {
    /// A 1C process with an object of the class that has started the series.
    fn started(&self, class: &str) -> HostProcess {
        let mut host = HostProcess::start(&self.stage, "rphost", &self.computer).unwrap();
        host.create_class(class).unwrap();
        host.start_series().unwrap().unwrap();
        host
    }

    /// The same, with its session set.
    fn with_session(&self, class: &str) -> HostProcess {
        let mut host = self.started(class);
        host.call_truth("УстановитьСеанс", &[session(1)]).unwrap().unwrap();
        host
    }

    fn scratch(&self) -> PathBuf {
        self.stage.root().join("scratch")
    }

    /// A file of some 100 KiB whose bytes no text encoding knows, named as a processor.
    fn processor(&self, name: &str) -> (PathBuf, Vec<u8>) {
        let bytes: Vec<u8> =
            (0..100 * 1024_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let path = self.stage.root().join(format!("{name}.epf"));
        std::fs::write(&path, &bytes).unwrap();
        (path, bytes)
    }

    fn text(&self, name: &str, text: &str) -> PathBuf {
        let path = self.stage.root().join(format!("{name}.txt"));
        std::fs::write(&path, text).unwrap();
        path
    }

    fn developer_password(&self) -> String {
        let mut command = self.vendor.kit(&["series", "developer-password", "--cryptkey"]);
        command.arg(self.vendor.cryptkey_of(SERIES)).arg("--passphrase-file");
        command.arg(self.vendor.passphrase_file());
        self.stage.run("licencekit series developer-password", command).unwrap().trim().to_owned()
    }
}

fn session(number: u32) -> String {
    word(&serde_json::to_string(&server_session(number)).unwrap())
}

fn text(said: Said) -> String {
    let Said::Text(text) = said else { panic!("not a text: {said:?}") };
    text
}

/// The refusal has this class, in brackets before its text too.
fn refused<T: std::fmt::Debug>(answer: Result<T, Refused>, class: &str) {
    let refused = answer.unwrap_err();
    assert_eq!(refused.class, class, "{refused:?}");
    assert!(refused.text.starts_with(&format!("({class}) ")), "{refused:?}");
}

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn sequence_of_the_sample_configuration_is_answered_as_it_expects() {
    for class in CLASSES {
        let site = site();
        let mut host = HostProcess::start(&site.stage, "rphost", &site.computer).unwrap();
        host.create_class(class).unwrap();
        version_and_start(&site, &mut host);
        let manager = object_manager(&mut host);
        licence_behind_an_access_code(&site, &mut host);
        information(&site, &mut host);
        host.call_truth("ОсвободитьЛицензию", &[]).unwrap().unwrap();
        assert!(site.server.rest().sessions().unwrap().is_empty());
        host.destroy().unwrap();
        assert!(!manager.exists(), "{class}: the manager's file outlived the last object");
        host.quit().unwrap();
    }
}

fn version_and_start(site: &Site, host: &mut HostProcess) {
    assert_eq!(host.get("Версия").unwrap(), Said::Text(env!("CARGO_PKG_VERSION").to_owned()));
    for (version, answer) in [
        ("3.0.14", Said::Truth(true)),
        ("3.0.18.8054", Said::Truth(true)),
        ("3.0.41.12713", Said::Truth(true)),
        ("99.0", Said::Truth(false)),
        ("новая", Said::Empty),
    ] {
        assert_eq!(host.call("ПроверитьВерсию", &[word(version)]).unwrap(), answer, "{version}");
    }
    // Of the 2.x class; callers set it and never look.
    host.set("ОкноУстановкиСвязи", "b:0").unwrap();
    assert_eq!(host.get("ОкноУстановкиСвязи").unwrap(), Said::Truth(false));
    let port = site.server.port();
    for place in
        [format!("host=127.0.0.1;port={port}"), format!("ServerAddr=127.0.0.1;ServerPort={port}")]
    {
        host.set("ПараметрыСвязи", &word(&place)).unwrap();
        assert_eq!(host.get("ПараметрыСвязи").unwrap(), Said::Text(place));
        host.call_truth("Запуск", &[word(SERIES)]).unwrap().unwrap();
    }
    // Callers of 2.x and the wrapper library pass the second argument.
    host.call_truth("Запуск", &[word(SERIES), "b:0".to_owned()]).unwrap().unwrap();
    assert_eq!(host.get("КлассОшибки").unwrap(), Said::Text(String::new()));
}

/// Where the manager lies.
fn object_manager(host: &mut HostProcess) -> PathBuf {
    let name = PathBuf::from(text(host.call("ПолучитьМенеджерОбъектов", &[]).unwrap()));
    assert_eq!(name.extension().unwrap(), "epf", "{}", name.display());
    let bytes = std::fs::read(&name).unwrap();
    assert_eq!(bytes.get(..4), Some(&CONTAINER[..]), "{} bytes", bytes.len());
    let mode = std::fs::metadata(&name).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "others may read {}", name.display());
    let property = PathBuf::from(text(host.get("МенеджерОбъектов").unwrap()));
    assert_eq!(std::fs::read(property).unwrap(), bytes, "the property names another file");
    name
}

fn licence_behind_an_access_code(site: &Site, host: &mut HostProcess) {
    let change = json!({ "AccessCode": ACCESS_CODE });
    let path = format!("/api/licences/{}", site.key_no);
    assert_eq!(site.server.rest().try_put(&path, &change).unwrap().status, 202);

    host.call_truth("УстановитьСеанс", &[session(1)]).unwrap().unwrap();
    let denied = host.call_json("ЗанятьЛицензию", &[]).unwrap().unwrap_err();
    assert!(denied.class.starts_with("EServerResult."), "{denied:?}");
    let wish = |code: &str| word(&json!({ "AccessCode": code }).to_string());
    host.call_truth("УстановитьУсловия", &[wish("чужой")]).unwrap().unwrap();
    assert!(host.call_json("ЗанятьЛицензию", &[]).unwrap().is_err(), "a wrong code serves");

    host.call_truth("УстановитьУсловия", &[wish(ACCESS_CODE)]).unwrap().unwrap();
    let seat = host.call_json("ЗанятьЛицензию", &[]).unwrap().unwrap();
    assert_eq!(seat["UsedLicence"], site.key_no, "{seat}");
    assert_eq!(seat["Confirmed"], true, "{seat}");
    assert_eq!(seat["Server"], format!("127.0.0.1:{}", site.server.port()));
    let held = site.server.rest().sessions().unwrap();
    assert_eq!(held.len(), 1, "{held:?}");
    assert_eq!(held[0]["ID"], seat["ID"]);
    // The session of the call and the session that was set are one.
    let again = host.must_take(&server_session(1)).unwrap();
    assert_eq!(seat["ID"], again.id);
}

fn information(site: &Site, host: &mut HostProcess) {
    let licences = host.call_json("ПолучитьЛицензии", &[]).unwrap().unwrap();
    let [licence] = &licences.as_array().unwrap()[..] else { panic!("{licences}") };
    for (name, value) in [
        ("KeyNo", json!(site.key_no)),
        ("Type", json!("Virtual")),
        ("IsBlank", json!(false)),
        ("Workable", json!(true)),
        ("ProductVersion", json!(0)),
        ("ServiceType", json!(0)),
        ("KeyType", json!(3)),
        ("LicenceCount", json!(2)),
        ("Enabled", json!(true)),
        ("Expired", json!(false)),
    ] {
        assert_eq!(licence[name], value, "{name}");
    }
    for name in ["Version", "RegNo", "ITN", "IEC", "Flags"] {
        assert!(licence.get(name).is_some(), "no {name} in {licence}");
    }
    // The same names as in REST; what is an administrator's business is empty.
    let shown = &site.server.rest().licences().unwrap()[0];
    assert_eq!(members(licence), members(shown));
    assert_eq!(licence["ActivationCode"], Value::Null);
    assert_ne!(shown["ActivationCode"], Value::Null);

    let counters = host.call_json("ПолучитьСчетчики", &[]).unwrap().unwrap();
    for (name, value) in [
        ("Licences", 1),
        ("Connections", 1),
        ("Sessions", 1),
        ("TotalLicenceCount", 2),
        ("UseLicenceCount", 1),
        ("FreeLicenceCount", 1),
    ] {
        assert_eq!(counters[name], value, "{name} in {counters}");
    }

    let server = host.call_json("ПолучитьИнформациюОСервере", &[]).unwrap().unwrap();
    let expected = ["CPU", "ConsoleUrl", "OSType", "Version", "VersionOutdated"];
    assert_eq!(members(&server), BTreeSet::from(expected), "{server}");
    assert_eq!(server["Version"], env!("CARGO_PKG_VERSION"));
    let console = format!(":{}", site.server.port());
    assert!(server["ConsoleUrl"].as_str().unwrap().contains(&console), "{server}");
}

#[test]
fn protected_object_comes_as_it_was_packed_from_each_place() {
    let site = site();
    let (source, bytes) = site.processor("ЗащищенныйМодуль");
    let note = site.text("Заметка", "первая строка\nвторая: ёж №1\n");
    let packed = site.vendor.pack(&site.stage, SERIES, &[&source, &note], &[]).unwrap();
    site.server.put_datafile(None, &packed).unwrap();
    site.server.put_datafile(Some("Extension"), &packed).unwrap();
    let template = site.stage.root().join("template.datafile");
    std::fs::write(&template, &packed).unwrap();

    let mut host = site.with_session("LicenceExtension");
    let load = [format!("f:{}", template.display()), word("ДанныеСЛК")];
    assert_eq!(host.call("МакетЗагружен", &[word("ДанныеСЛК")]).unwrap(), Said::Truth(false));
    host.call_truth("ЗагрузитьМакет", &load).unwrap().unwrap();
    assert_eq!(host.call("МакетЗагружен", &[word("данныеслк")]).unwrap(), Said::Truth(true));

    let mut ids = BTreeSet::new();
    for name in [
        "ЗащищенныйМодуль",
        "защищенныйМОДУЛЬ",
        "Extension.ЗащищенныйМодуль",
        "ДанныеСЛК.ЗащищенныйМодуль",
    ] {
        let prepared = host.call_json("ПодготовитьОбъект", &[word(name)]).unwrap().unwrap();
        let expected = BTreeSet::from(["Access", "ID", "Kind", "Name", "Size"]);
        assert_eq!(members(&prepared), expected, "{prepared}");
        assert_eq!(prepared["Name"], "ЗащищенныйМодуль");
        assert_eq!(prepared["Kind"], "epf");
        assert_eq!(prepared["Access"], "seat");
        assert_eq!(prepared["Size"], bytes.len());
        let again = host.call_json("ПодготовитьОбъект", &[word(name)]).unwrap().unwrap();
        assert_eq!(prepared, again, "{name}: the same content has the same ID");
        ids.insert(prepared["ID"].as_str().unwrap().to_owned());
        let data = host.object_data(name, &site.scratch()).unwrap().unwrap();
        assert!(data == bytes, "{name}: {} bytes are not the source's", data.len());
    }
    assert!(ids.iter().all(|id| !id.is_empty()));
    let note = host.object_data("Заметка", &site.scratch()).unwrap().unwrap();
    assert_eq!(String::from_utf8(note).unwrap(), "первая строка\nвторая: ёж №1\n");
    assert_eq!(site.server.rest().sessions().unwrap().len(), 1, "the object took one seat");

    for missing in ["НетТакого", "Extension.НетТакого", "НетПсевдонима.ЗащищенныйМодуль"]
    {
        let answer = host.call_json("ПодготовитьОбъект", &[word(missing)]).unwrap();
        assert!(answer.is_err(), "{missing}: {answer:?}");
    }
    host.quit().unwrap();
}

#[test]
fn second_creation_of_an_object_needs_no_server_while_the_seat_is_held() {
    let mut site = site();
    let (source, bytes) = site.processor("Модуль");
    let packed = site.vendor.pack(&site.stage, SERIES, &[&source], &[]).unwrap();
    site.server.put_datafile(None, &packed).unwrap();
    let mut host = site.with_session("LicenceExtension");
    host.object_data("Модуль", &site.scratch()).unwrap().unwrap();
    site.server.kill().unwrap();
    for _ in 0..3 {
        let prepared = host.call_json("ПодготовитьОбъект", &[word("Модуль")]).unwrap().unwrap();
        assert_eq!(prepared["Size"], bytes.len());
        let data = host.object_data("Модуль", &site.scratch()).unwrap().unwrap();
        assert!(data == bytes);
    }
    // In rphost the object dies between two calls; what was opened stays with the process.
    host.destroy().unwrap();
    host.create().unwrap();
    host.start_series().unwrap().unwrap();
    host.call_truth("УстановитьСеанс", &[session(1)]).unwrap().unwrap();
    assert!(host.object_data("Модуль", &site.scratch()).unwrap().unwrap() == bytes);
    // Another session of the process holds no seat, and there is nobody to give it one.
    host.call_truth("УстановитьСеанс", &[session(2)]).unwrap().unwrap();
    assert!(host.object_data("Модуль", &site.scratch()).unwrap().is_err());
    host.quit().unwrap();
}

#[test]
fn parameters_are_those_of_the_key_then_of_the_data_file_then_none() {
    let site = site();
    let parameters = site.text(
        "Параметры",
        "[ПоУмолчанию]\nТипПриложения=БАЗОВАЯ\nМаксимумСкладов=3\n; примечание\n",
    );
    let packed = site.vendor.pack(&site.stage, SERIES, &[&parameters], &[]).unwrap();
    site.server.put_datafile(None, &packed).unwrap();
    let mut host = site.with_session("LicenceExtension20");
    host.call_json("ЗанятьЛицензию", &[]).unwrap().unwrap();
    let mut parameter = |key: Value, name: &str| {
        let asked = json!({ "Key": key, "Name": name, "UseMainKey": false });
        host.operation("Parameter", &asked).unwrap().unwrap()
    };
    // A serial number, the same as text, the series and nothing: one key in all four readings.
    for key in [json!(site.key_no), json!(site.key_no.to_string()), json!(SERIES), Value::Null] {
        assert_eq!(parameter(key.clone(), "ТипПриложения"), json!({ "Value": "ПРОФ" }), "{key}");
        assert_eq!(parameter(key.clone(), "типприложения"), json!({ "Value": "ПРОФ" }), "{key}");
        assert_eq!(parameter(key.clone(), "МаксимумСкладов"), json!({ "Value": "3" }), "{key}");
        assert_eq!(parameter(key.clone(), "НетТакого"), json!({ "Value": null }), "{key}");
    }
    let other = json!({ "Key": site.key_no + 1, "Name": "ТипПриложения" });
    assert!(host.operation("Parameter", &other).unwrap().is_err(), "a key that is not there");
    host.quit().unwrap();
}

#[test]
fn memory_of_a_key_is_read_written_locked_and_wiped() {
    let mut site = site();
    let developer = site.developer_password();
    let mut host = site.with_session("LicenceExtension");
    host.call_json("ЗанятьЛицензию", &[]).unwrap().unwrap();
    let key = json!(site.key_no);
    let read = |host: &mut HostProcess, password: &str| {
        host.operation("ReadMemory", &json!({ "Key": key, "Password": password })).unwrap()
    };
    let write = |host: &mut HostProcess, password: &str, data: &str| {
        let asked = json!({ "Key": key, "Password": password, "Data": data });
        host.operation("WriteMemory", &asked).unwrap()
    };
    // 400 characters as 1C counts them: what is beyond the basic plane counts twice.
    let longest = format!("{}{}", "Ж".repeat(380), "𝄞".repeat(10));
    assert_eq!(read(&mut host, ""), Ok(json!({ "Data": "" })));
    assert_eq!(write(&mut host, "", &longest), Ok(json!({})));
    assert_eq!(read(&mut host, ""), Ok(json!({ "Data": longest })));
    refused(write(&mut host, "", &format!("{longest}+")), "EServerResult.EMemoryTooLong");
    assert_eq!(read(&mut host, ""), Ok(json!({ "Data": longest })), "a refusal changes nothing");

    let passwords = |new_read: &str| {
        json!({ "Key": key, "ReadPassword": "", "WritePassword": "",
            "NewReadPassword": new_read, "NewWritePassword": "запись-1" })
    };
    assert!(host.operation("SetMemoryPasswords", &passwords("девять---")).unwrap().is_err());
    let set = host.operation("SetMemoryPasswords", &passwords("чтение")).unwrap();
    assert_eq!(set, Ok(json!({})));
    refused(read(&mut host, ""), "EServerResult.EMemoryPassword");
    refused(write(&mut host, "чтение", "x"), "EServerResult.EMemoryPassword");
    assert_eq!(read(&mut host, "чтение"), Ok(json!({ "Data": longest })));
    assert_eq!(write(&mut host, "запись-1", "коротко"), Ok(json!({})));

    // What was answered is on the disk.
    site.server.kill().unwrap();
    site.server.restart(&site.stage).unwrap();
    host.start_series().unwrap().unwrap();
    assert_eq!(read(&mut host, "чтение"), Ok(json!({ "Data": "коротко" })));

    let wipe = |host: &mut HostProcess, password: &str| {
        host.operation("WipeMemory", &json!({ "Key": key, "Password": password })).unwrap()
    };
    refused(wipe(&mut host, "чтение"), "EServerResult.EMemoryPassword");
    assert_eq!(wipe(&mut host, &developer), Ok(json!({})));
    assert_eq!(read(&mut host, ""), Ok(json!({ "Data": "" })), "passwords are gone too");
    host.quit().unwrap();
}

#[test]
fn guessing_passwords_of_the_memory_is_slowed_down() {
    let site = site();
    let mut host = site.with_session("LicenceExtension");
    host.call_json("ЗанятьЛицензию", &[]).unwrap().unwrap();
    let set = json!({ "Key": null, "NewReadPassword": "да", "NewWritePassword": "да" });
    host.operation("SetMemoryPasswords", &set).unwrap().unwrap();
    let classes: Vec<_> = (0..10)
        .map(|guess: u32| {
            let asked = json!({ "Key": null, "Password": guess.to_string() });
            host.operation("ReadMemory", &asked).unwrap().unwrap_err().class
        })
        .collect();
    assert_eq!(classes[0], "EServerResult.EMemoryPassword", "{classes:?}");
    assert_eq!(classes[9], "EServerResult.ETooManyAttempts", "{classes:?}");
    host.quit().unwrap();
}

/// A server without any key proves nothing, and brings the first key all the same.
#[test]
fn first_key_comes_by_code_or_by_file_through_the_component() {
    for by_file in [false, true] {
        let stage = Stage::temporary().unwrap();
        let vendor = Vendor::start(&stage).unwrap();
        let server = Server::start(&stage, "server", &vendor, 0).unwrap();
        let computer = stage.computer("computer", &vendor, &[server.port()]).unwrap();
        let mut host = HostProcess::start(&stage, "rphost", &computer).unwrap();
        host.create().unwrap();
        refused(host.start_series().unwrap(), "EServerResult.ELicenceNotFound");

        let code = vendor.order(&stage, Order { kind: "main", seats: 3 }).unwrap();
        let info = host.operation("CodeInfo", &json!({ "ActivationCode": code })).unwrap();
        assert_eq!(info, Ok(json!({ "KeyID": SERIES, "KeyNo": null })));
        let asked = json!({ "ActivationCode": code, "ITN": "7707083893", "IEC": null,
            "BlankKeyNo": null });
        let licences = if by_file {
            let request = host.operation("InstallRequest", &asked).unwrap().unwrap();
            let answer = vendor.answer(&stage, request["Request"].as_str().unwrap()).unwrap();
            host.operation("InstallAnswer", &json!({ "Answer": answer })).unwrap().unwrap()
        } else {
            host.operation("Install", &asked).unwrap().unwrap()
        };
        let [licence] = &licences.as_array().unwrap()[..] else { panic!("{licences}") };
        assert_eq!(licence["LicenceCount"], 3);
        // A number, as in the manual's samples.
        assert_eq!(licence["ITN"], 7_707_083_893_u64);
        assert_eq!(server.rest().licences().unwrap().len(), 1);
        host.start_series().unwrap().unwrap();
        host.must_take(&server_session(1)).unwrap();
        host.quit().unwrap();
    }
}

#[test]
fn key_is_updated_and_given_back_for_a_reserve_code() {
    let mut site = site();
    let mut host = site.with_session("LicenceExtension");
    let updated = host.operation("Update", &json!({})).unwrap().unwrap();
    assert!(updated.is_array(), "{updated}");
    let give_back = |password: &str| {
        json!({ "KeyNo": site.key_no, "Key": site.key_no, "Reason": "новый компьютер",
            "Comment": "", "Login": "admin", "Password": password })
    };
    let wrong = host.operation("Deactivate", &give_back("wrong")).unwrap().unwrap_err();
    assert!(wrong.class.starts_with("EServerResult."), "{wrong:?}");
    assert!(!wrong.text.contains("wrong"), "{wrong:?}");
    let answer = host.operation("Deactivate", &give_back("admin")).unwrap().unwrap();
    let code = answer["ReserveCode"].as_str().unwrap();
    assert_eq!(code.split('-').count(), 5, "{answer}");
    assert!(site.server.rest().licences().unwrap().is_empty());
    // The code brings the key to another server.
    let other = Server::start(&site.stage, "other", &site.vendor, 0).unwrap();
    assert_eq!(other.rest().activate(code).unwrap()["LicenceCount"], 2);
    host.quit().unwrap();
    site.vendor.centre().stop(STOP_BOUND).unwrap();
}

#[test]
fn what_is_not_there_is_refused_by_its_class_in_the_language_of_the_session() {
    let site = site();
    let mut host = HostProcess::start(&site.stage, "rphost", &site.computer).unwrap();
    for (language, cyrillic) in [("ru_RU", true), ("en_US", false)] {
        host.command(&format!("new L LicenceExtension lang={language}")).unwrap();
        host.start_series().unwrap().unwrap();
        for name in ["PhoneRequest", "PhoneAnswer"] {
            refused(host.operation(name, &json!({})).unwrap(), "EParams");
        }
        refused(host.operation("Dance", &json!({})).unwrap(), "EParams");
        let refusal = host.refusal().unwrap();
        let is_cyrillic = refusal.text.chars().any(|c| ('а'..='я').contains(&c));
        assert_eq!(is_cyrillic, cyrillic, "{language}: {refusal:?}");
        let debug = host.operation("Debug", &json!({})).unwrap().unwrap();
        assert!(debug["Text"].as_str().unwrap().contains(env!("CARGO_PKG_VERSION")), "{debug}");
        host.destroy().unwrap();
    }
    host.quit().unwrap();
}

#[test]
fn managers_file_is_gone_after_unloading_and_private_while_it_is_there() {
    let site = site();
    let mut host = site.started("LicenceExtension");
    let name = object_manager(&mut host);
    let parent = name.parent().map(Path::to_owned).unwrap();
    host.destroy().unwrap();
    assert!(host.command("unload").unwrap().ends_with("mapped=0"));
    assert!(!name.exists(), "{} is left", name.display());
    if parent != std::env::temp_dir() {
        assert!(!parent.exists(), "{} is left", parent.display());
    }
    host.quit().unwrap();
}
