//! The built library, loaded as the platform loads it: every member with right, wrong and null
//! arguments, through virtual tables made by hand.
//!
//! Plays the platform; the C++ host (`tests/host.rs`) does the same with a real compiler's tables.
//! No test here starts a series, so that no file outside the test is written.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests panic like tests")]
#![expect(clippy::multiple_unsafe_ops_per_block, reason = "rows of calls under one promise")]

mod common;
#[path = "common/platform.rs"]
mod fake;

use std::ffi::{c_int, c_long};
use std::ptr;

use fake::{Answer, Platform, blank, blob, date, nothing, number, string, text, truth, wide};
use libloading::{Library, Symbol};

#[test]
fn each_class_is_announced_and_registered_under_its_name() {
    for class in ["LicenceExtension", "LicenceExtension20"] {
        let platform = Platform::of(class);
        let mut name = ptr::null_mut();
        // SAFETY: a place for the answer.
        assert!(unsafe {
            (platform.members().register_extension_as)(platform.base(1), &raw mut name)
        });
        let expected = wide(class);
        // SAFETY: the name and a terminator.
        let registered = unsafe { std::slice::from_raw_parts(name, expected.len()) }.to_vec();
        platform.free_units(name);
        assert_eq!(registered, expected);
        // SAFETY: no argument.
        assert_eq!(unsafe { (platform.life().get_info)(platform.object) }, 2000);
    }
    // SAFETY: the library of this build.
    let library = unsafe { Library::new(common::library()) }.unwrap();
    // SAFETY: the signature is the interface's.
    let names: Symbol<'_, extern "C" fn() -> *const u16> =
        unsafe { library.get(b"GetClassNames") }.unwrap();
    let expected = wide("LicenceExtension|LicenceExtension20");
    // SAFETY: the text is terminated and static.
    let announced = unsafe { std::slice::from_raw_parts(names(), expected.len()) };
    assert_eq!(announced, expected);
}

#[test]
fn capabilities_are_agreed_on_between_one_and_three() {
    // SAFETY: the library of this build.
    let library = unsafe { Library::new(common::library()) }.unwrap();
    type Agree = extern "C" fn(c_int) -> c_int;
    // SAFETY: the signature is the interface's.
    let agree: Symbol<'_, Agree> = unsafe { library.get(b"SetPlatformCapabilities") }.unwrap();
    for (theirs, ours) in [(-1, 1), (0, 1), (1, 1), (2, 2), (3, 3), (4, 3), (c_int::MAX, 3)] {
        assert_eq!(agree(theirs), ours, "{theirs}");
    }
    // SAFETY: the signature is the interface's.
    let attach: Symbol<'_, extern "C" fn() -> c_int> =
        unsafe { library.get(b"GetAttachType") }.unwrap();
    assert_eq!(attach(), 3);
}

#[test]
fn every_member_is_found_under_both_of_its_names() {
    let platform = Platform::new();
    let members = platform.members();
    // SAFETY: no argument.
    let properties = unsafe { (members.get_n_props)(platform.base(1)) };
    // SAFETY: no argument.
    let methods = unsafe { (members.get_n_methods)(platform.base(1)) };
    assert_eq!((properties, methods), (7, 32));
    for (count, is_method) in [(properties, false), (methods, true)] {
        for index in 0..count {
            for alias in 0..2 {
                let name_of =
                    if is_method { members.get_method_name } else { members.get_prop_name };
                // SAFETY: any index and alias are allowed.
                let name = unsafe { name_of(platform.base(1), index, alias) };
                let find = if is_method { members.find_method } else { members.find_prop };
                // SAFETY: the component terminates its names.
                assert_eq!(unsafe { find(platform.base(1), name) }, index);
                platform.free_units(name.cast_mut());
            }
        }
    }
}

#[test]
fn names_and_defaults_beyond_the_tables_are_refused() {
    let platform = Platform::new();
    let (members, this) = (platform.members(), platform.base(1));
    for index in [-1, 32, 1_000_000, c_long::MIN, c_long::MAX] {
        let mut variant = blank();
        // SAFETY: any index is allowed.
        unsafe {
            assert!((members.get_prop_name)(this, index, 0).is_null());
            assert!((members.get_method_name)(this, index, 1).is_null());
            assert!((members.get_method_name)(this, 0, index).is_null());
            assert!(!(members.get_prop_val)(this, index, &raw mut variant));
            assert!(!(members.set_prop_val)(this, index, &raw mut variant));
            assert!(!(members.is_prop_readable)(this, index));
            assert!(!(members.is_prop_writable)(this, index));
            assert!(!(members.has_ret_val)(this, index));
            assert_eq!((members.get_n_params)(this, index), 0);
            assert!(!(members.get_param_def_value)(this, 1, index, &raw mut variant));
            assert!(!(members.call_as_proc)(this, index, &raw mut variant, 1));
        }
    }
}

#[test]
fn optional_parameters_have_their_default_and_required_ones_none() {
    let platform = Platform::new();
    for (method, parameter, expected) in [
        ("Запуск", 0, Answer::Empty),
        ("Запуск", 1, Answer::Truth(false)),
        ("ЗанятьЛицензию", 0, string("")),
        ("ОсвободитьЛицензию", 0, string("")),
        ("ЗагрузитьМакет", 1, Answer::Empty),
        ("ЗагрузитьМакет", 2, Answer::Truth(false)),
        ("ВыполнитьОперацию", 1, string("")),
        ("ЗанятьЛицензию", 1, string("")),
        ("ПолучитьЛицензии", 0, Answer::Truth(false)),
        ("ПолучитьЛицензии", 1, Answer::Truth(false)),
        ("ТекущийКлючСессии", 0, Answer::Empty),
        ("ТекущийКлючСессии", 1, string("")),
        ("ТребуетсяОбновлениеКлючаСессииСУчетомВидаТокена", 1, Answer::Truth(false)),
        ("УстановитьКлючСессии", 1, Answer::Empty),
        ("УстановитьКлючСессии", 2, Answer::Truth(true)),
        ("НастройкиОтветственногоЗаАктуализациюТокеновАвторизации", 0, Answer::Truth(false)),
        ("ОтложитьНапоминанияОТокенахАвторизации", 0, string("")),
    ] {
        let mut variant = blank();
        let index = platform.method(method);
        // SAFETY: a place for the answer.
        let told = unsafe {
            (platform.members().get_param_def_value)(
                platform.base(1),
                index,
                parameter,
                &raw mut variant,
            )
        };
        assert!(told, "{method}");
        assert_eq!(platform.take(variant), expected, "{method} {parameter}");
    }
}

#[test]
fn properties_keep_what_is_written_and_refuse_other_types() {
    let platform = Platform::new();
    assert_eq!(platform.get("Версия"), string(env!("CARGO_PKG_VERSION")));
    assert!(!platform.set("Версия", text("9")));
    assert!(platform.set("ПараметрыСвязи", text("ServerAddr=сервер;ServerPort=9099")));
    assert_eq!(platform.get("connectionparameters"), string("ServerAddr=сервер;ServerPort=9099"));
    assert!(!platform.set("ПараметрыСвязи", number(9.0)));
    assert!(platform.set("ПараметрыСвязи", nothing()));
    assert_eq!(platform.get("ПараметрыСвязи"), string(""));
    assert!(platform.set("ОписаниеСерии", text("{}")));
    assert_eq!(platform.get("ОписаниеСерии"), Answer::Refused, "write only");
    assert!(platform.set("ТокенДоступа", text("TOKEN")));
    assert_eq!(platform.get("AccessToken"), Answer::Refused, "write only");
    assert!(!platform.set("ТокенДоступа", text("два слова")));
    assert!(!platform.set("ТокенДоступа", date([0, 0, 12, 22, 11, 2026])));
    assert!(platform.set("ТокенДоступа", nothing()));
    assert_eq!(platform.get("КлассОшибки"), string(""));
    assert_eq!(platform.get("ОкноУстановкиСвязи"), Answer::Truth(false));
    assert!(platform.set("ConnectionWindow", truth(true)));
    assert!(!platform.set("ConnectionWindow", text("да")));
    assert_eq!(platform.get("ОкноУстановкиСвязи"), Answer::Truth(true));
    assert!(!platform.set("МенеджерОбъектов", text("x")));
}

#[test]
fn object_manager_is_a_private_file_that_goes_with_the_last_object() {
    use std::os::unix::fs::PermissionsExt;

    let (first, second) = (Platform::new(), Platform::of("LicenceExtension20"));
    let name = first.ask("ПолучитьМенеджерОбъектов", vec![]);
    assert_eq!(second.get("МенеджерОбъектов"), string(&name), "one file serves the process");
    let path = std::path::PathBuf::from(&name);
    let meta = path.metadata().unwrap();
    assert_eq!((meta.permissions().mode() & 0o777, meta.len() > 0), (0o600, true));
    drop(first);
    assert!(path.exists());
    std::fs::remove_file(&path).unwrap();
    let again = std::path::PathBuf::from(second.ask("GetObjectManager", vec![]));
    assert!(again.exists(), "a file that was removed is written again");
    drop(second);
    assert!(!again.exists());
}

#[test]
fn local_operations_need_no_server() {
    let platform = Platform::new();
    let code = r#"{"ActivationCode":"0000"}"#;
    let refused = platform.call("ВыполнитьОперацию", vec![text("CodeInfo"), text(code)]);
    assert_eq!(refused, Answer::Empty);
    assert_eq!(platform.get("КлассОшибки"), string("EParams"));
    let known = licence_core::activation::ActivationCode::encode(
        licence_core::activation::CodeKind::Activation,
        "672B".parse().unwrap(),
        77,
    );
    let code = format!(r#"{{"ActivationCode":"{known}"}}"#);
    let answer = platform.ask("Execute", vec![text("CodeInfo"), text(&code)]);
    assert_eq!(answer, r#"{"KeyID":"672B","KeyNo":null}"#);
    let answer = platform.ask("ВыполнитьОперацию", vec![text("Debug")]);
    for line in ["Компонента: ", "Процесс сервера: нет", "Серия: -", "Сеанс установлен: нет"]
    {
        assert!(answer.contains(line), "{line}: {answer}");
    }
    assert!(answer.contains(env!("CARGO_PKG_VERSION")), "{answer}");
    platform.speak(2, "en_US");
    let answer = platform.ask("ВыполнитьОперацию", vec![text("Debug")]);
    assert!(answer.contains("Server process: no"), "{answer}");
    let lines: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let lines = lines["Text"].as_str().unwrap();
    assert!(lines.lines().all(|line| line.contains(": ")), "{lines}");
}

#[test]
fn every_method_answers_wrong_arguments_with_a_class_and_a_text() {
    let session = r#"{"SessionNumber":"1","InfoBaseConnectionStr":"File=\"a\";"}"#;
    let request = r#"{"TokenType":"ISMP","Организация":"7707083893"}"#;
    let platform = Platform::new();
    for (method, arguments, answer, class) in [
        ("ПроверитьВерсию", vec![text("3.0.14")], Answer::Truth(true), ""),
        ("ПроверитьВерсию", vec![text("99")], Answer::Truth(false), ""),
        ("ПроверитьВерсию", vec![text("3.x")], Answer::Empty, "EParams"),
        ("ПроверитьВерсию", vec![truth(true)], Answer::Empty, "EParams"),
        ("Запуск", vec![text("не серия")], Answer::Truth(false), "EParams"),
        ("Запуск", vec![number(672.0)], Answer::Truth(false), "EParams"),
        ("Запуск", vec![text("672B"), text("да")], Answer::Truth(false), "EParams"),
        ("УстановитьСеанс", vec![text("{}")], Answer::Truth(false), "EParams"),
        ("УстановитьСеанс", vec![text(session)], Answer::Truth(true), ""),
        ("УстановитьУсловия", vec![text("[]")], Answer::Truth(false), "EParams"),
        ("УстановитьУсловия", vec![text(r#"{"ITN":77}"#)], Answer::Truth(true), ""),
        ("ПодготовитьОбъект", vec![text("А")], Answer::Empty, "EExecuteError"),
        ("ПолучитьДанныеОбъекта", vec![text("А")], Answer::Empty, "EExecuteError"),
        ("ЗагрузитьМакет", vec![blob(b"x"), text("А")], Answer::Truth(false), "EExecuteError"),
        ("МакетЗагружен", vec![text("А")], Answer::Truth(false), "EExecuteError"),
        ("ВыполнитьОперацию", vec![text("Install")], Answer::Empty, "EParams"),
        ("ВыполнитьОперацию", vec![text("Update")], Answer::Empty, "EExecuteError"),
        ("ВыполнитьОперацию", vec![text("Format")], Answer::Empty, "EParams"),
        ("ВыполнитьОперацию", vec![blob(b"")], Answer::Empty, "EParams"),
        ("ВыполнитьОперацию", vec![text("PhoneAnswer")], Answer::Empty, "EParams"),
        ("ЗанятьЛицензию", vec![text(session)], Answer::Empty, "EExecuteError"),
        ("ОсвободитьЛицензию", vec![text(session)], Answer::Truth(false), "EExecuteError"),
        ("ПолучитьЛицензии", vec![truth(true), truth(false)], Answer::Empty, "EExecuteError"),
        ("ПолучитьЛицензии", vec![text("все")], Answer::Empty, "EParams"),
        ("ПолучитьСчетчики", vec![], Answer::Empty, "EExecuteError"),
        ("ПолучитьИнформациюОСервере", vec![], Answer::Empty, "EExecuteError"),
        ("ОсвободитьВсе", vec![], Answer::Truth(true), ""),
        ("ТекущийКлючСессии", vec![text(request)], Answer::Empty, "EExecuteError"),
        ("ТекущийКлючСессии", vec![text("{}")], Answer::Empty, "EParams"),
        ("ТекущийКлючСессии", vec![text("[")], Answer::Empty, "EParams"),
        ("ТекущийКлючСессии", vec![text(request), truth(true)], Answer::Empty, "EParams"),
        (
            "ТекущийКлючСессии",
            vec![text(request), date([0, 0, 0, 30, 2, 2026])],
            Answer::Empty,
            "EParams",
        ),
        ("ТребуетсяОбновлениеКлючаСессии", vec![truth(true)], Answer::Empty, "EParams"),
        ("ТребуетсяОбновлениеКлючаСессииРозница", vec![text("{}")], Answer::Empty, "EExecuteError"),
        (
            "ТребуетсяОбновлениеКлючаСессииСУчетомВидаТокена",
            vec![text("{}"), text("да")],
            Answer::Empty,
            "EParams",
        ),
        ("ЗапроситьПараметрыАвторизации", vec![], Answer::Empty, "EParams"),
        ("ЗапроситьКлючСессии", vec![text("{}")], Answer::Empty, "EParams"),
        ("ПараметрыЗапросаКлючаСессии", vec![number(1.0)], Answer::Empty, "EParams"),
        ("УстановитьКлючСессии", vec![text(request), text("{}")], Answer::Refused, "EExecuteError"),
        ("УстановитьКлючСессии", vec![text("{}"), text("{}")], Answer::Refused, "EParams"),
        (
            "НастройкиОтветственногоЗаАктуализациюТокеновАвторизации",
            vec![truth(true)],
            Answer::Empty,
            "EParams",
        ),
        (
            "ПолучитьНапоминанияОтветственномуЗаАктуализациюТокеновАвторизации",
            vec![text("{}")],
            Answer::Empty,
            "EParams",
        ),
        ("ОтклонитьКлючСессии", vec![text(request), text("")], Answer::Empty, "EParams"),
        ("ОтменитьОбновлениеКлючаСессии", vec![text(" ")], Answer::Empty, "EParams"),
        ("ОтложитьНапоминанияОТокенахАвторизации", vec![number(-1.0)], Answer::Empty, "EParams"),
    ] {
        assert_eq!(platform.call(method, arguments), answer, "{method}");
        assert_eq!(platform.get("КлассОшибки"), string(class), "{method}");
        let prefix = if class.is_empty() { String::new() } else { format!("({class}) ") };
        assert!(platform.error().starts_with(&prefix), "{method}");
        assert_eq!(platform.error().is_empty(), class.is_empty(), "{method}");
    }
}

#[test]
fn only_the_procedure_answers_nothing_and_throws() {
    let platform = Platform::new();
    let (members, this) = (platform.members(), platform.base(1));
    for index in 0..32 {
        // SAFETY: any index is allowed.
        let has_value = unsafe { (members.has_ret_val)(this, index) };
        assert_eq!(has_value, index != platform.method("SetSessionKey"), "{index}");
    }
    let request = r#"{"ТипТокенаАвторизации":"ИСМП","Организация":"7707083893"}"#;
    let key = r#"{"КлючСессии":"TOKEN","ДействуетДо":"2100-01-01T00:00:00"}"#;
    let set = |is_stored| vec![text(request), text(key), is_stored];
    assert!(platform.proceed("УстановитьКлючСессии", set(truth(false))));
    assert_eq!(platform.call("SetSessionKey", set(truth(false))), Answer::Empty);
    assert_eq!(platform.ask("ТекущийКлючСессии", vec![text(request)]), "TOKEN");
    // Without a series nothing is stored.
    for is_stored in [nothing(), truth(true)] {
        assert!(!platform.proceed("УстановитьКлючСессии", set(is_stored)));
        assert_eq!(platform.get("КлассОшибки"), string("EExecuteError"));
    }
    // What is no procedure goes on after any failure.
    assert!(platform.proceed("ТекущийКлючСессии", vec![text("{}")]));
}

#[test]
fn calls_with_too_many_arguments_or_without_them_are_refused() {
    let platform = Platform::new();
    assert_eq!(platform.call("ПроверитьВерсию", vec![text("1"), text("2")]), Answer::Refused);
    assert_eq!(platform.call("ПроверитьВерсию", vec![]), Answer::Empty);
    let mut answer = blank();
    let index = platform.method("ПроверитьВерсию");
    let (call, this) = (platform.members().call_as_func, platform.base(1));
    // SAFETY: null where the interface allows none: the component must survive it.
    unsafe {
        assert!(!call(this, index, &raw mut answer, ptr::null_mut(), 1));
        assert!(!call(this, index, ptr::null_mut(), ptr::null_mut(), 0));
        assert!(!call(this, index, &raw mut answer, ptr::null_mut(), -1));
        assert!(!call(ptr::null_mut(), index, &raw mut answer, ptr::null_mut(), 0));
    }
}

#[test]
fn errors_are_told_in_the_language_of_the_platform() {
    let platform = Platform::new();
    platform.call("ПолучитьСчетчики", vec![]);
    assert!(platform.error().contains("Не выполнен Запуск"), "Russian unless told otherwise");
    for (base, language, part) in [
        (2, "en_US", "call Start first"),
        (2, "rus_RUS", "Не выполнен Запуск"),
        (3, "en", "call Start first"),
        (3, "ru", "Не выполнен Запуск"),
    ] {
        platform.speak(base, language);
        assert!(platform.error().contains(part), "{language}: {}", platform.error());
    }
}

#[test]
fn an_error_of_the_platform_comes_back_described() {
    let platform = Platform::new();
    let answer = platform.call("ОшибкаСозданияОбъекта", vec![text("Недостаточно прав")]);
    assert_eq!(answer, string("(EExecuteError) Не удалось создать объект: Недостаточно прав"));
    platform.speak(2, "en_US");
    let answer = platform.call("ObjectCreationError", vec![text("no rights")]);
    assert_eq!(answer, string("(EExecuteError) the object could not be created: no rights"));
}

#[test]
fn an_object_without_init_and_memory_answers_and_gives_no_text() {
    let platform = Platform::bare();
    assert_eq!(platform.property("Версия"), 0);
    assert_eq!(platform.get("Версия"), Answer::Refused);
    assert_eq!(platform.call("ПроверитьВерсию", vec![text("3.0")]), Answer::Truth(true));
    assert_eq!(platform.call("ПолучитьОписаниеОшибки", vec![]), Answer::Refused);
    let life = platform.life();
    // SAFETY: null is what is tested.
    unsafe {
        assert!(!(life.init)(platform.object, ptr::null_mut()));
        assert!(!(life.set_mem_manager)(platform.object, ptr::null_mut()));
        (life.done)(platform.object);
    }
}

#[test]
fn the_destructor_slots_of_every_base_destroy_the_object() {
    for base in 0..4 {
        let platform = std::mem::ManuallyDrop::new(Platform::new());
        // SAFETY: every table of the object begins with its destructor slots.
        let table =
            unsafe { *platform.base(base).cast::<&'static licenceaddin::abi::Destructors>() };
        // SAFETY: the object is not used again, but by the freeing slot, as C++ does it.
        unsafe { (table.complete)(platform.base(base)) };
        // SAFETY: the memory is still there.
        unsafe { (table.deleting)(platform.base(base)) };
        assert!(platform.manager.living.borrow().is_empty());
    }
}
