//! Tests of `epf` and `stub` on folders, as the command line runs them.

use super::*;
use crate::cli::Command;
use crate::commands;
use crate::text::{Language, explain};

const MODULE: &str = "// О чём.\nФункция А(Б = 1) Экспорт\n\tВозврат Б;\nКонецФункции\n";

fn go(command: Command) -> Result<String, Failure> {
    let mut out = Vec::new();
    let around = Surroundings { language: Language::Russian, passphrase: None, out: &mut out };
    commands::run(command, around)?;
    Ok(String::from_utf8(out).unwrap())
}

fn pack(source: &Path, out: &Path, yes: bool) -> Result<String, Failure> {
    let (source, out) = (source.to_owned(), out.to_owned());
    go(Command::Epf(EpfCommand::Pack { source, out, yes }))
}

fn unpack(file: &Path, out: &Path, raw: bool) -> Result<String, Failure> {
    let (file, out) = (file.to_owned(), out.to_owned());
    go(Command::Epf(EpfCommand::Unpack { file, out, raw, yes: false }))
}

fn sources(folder: &Path) -> PathBuf {
    let source = folder.join("src");
    fs::create_dir_all(source.join("Ext")).unwrap();
    fs::create_dir_all(source.join("Templates")).unwrap();
    fs::write(source.join("object.json"), r#"{"Kind":"epf","Name":"Тест"}"#).unwrap();
    fs::write(source.join("Ext/ObjectModule.bsl"), MODULE).unwrap();
    fs::write(source.join("Templates/Текст.txt"), "текст").unwrap();
    fs::write(source.join("Templates/.gitkeep"), "").unwrap();
    source
}

#[test]
fn folder_is_packed_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let source = sources(folder.path());
    let file = folder.path().join("тест.epf");
    assert!(pack(&source, &file, false).unwrap().contains("Тест ("));
    let back = folder.path().join("back");
    assert!(unpack(&file, &back, false).unwrap().ends_with("файлов 3\n"));
    assert_eq!(fs::read_to_string(back.join("Ext/ObjectModule.bsl")).unwrap(), MODULE);
    let first = fs::read(&file).unwrap();
    pack(&back, &file, true).unwrap();
    assert_eq!(fs::read(&file).unwrap(), first, "the same sources give the same bytes");
    let raw = folder.path().join("raw");
    unpack(&file, &raw, true).unwrap();
    assert!(raw.join("root").is_file());
}

#[test]
fn what_is_wrong_is_told_and_nothing_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let source = sources(folder.path());
    let file = folder.path().join("тест.epf");
    fs::write(&file, "mine").unwrap();
    let check = |result: Result<String, Failure>, russian: &str, english: &str| {
        let failure = result.unwrap_err();
        let shown = explain(&failure, Language::Russian);
        assert!(shown.contains(russian), "{shown:?} does not say {russian:?}");
        let shown = explain(&failure, Language::English);
        assert!(shown.contains(english), "{shown:?} does not say {english:?}");
    };
    check(pack(&source, &file, false), "уже существует", "exists already");
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    check(pack(&source, &folder.path().join("x.erf"), false), "расширение .epf", ".epf");
    check(unpack(&file, folder.path(), false), "не начинается как контейнер", "container");
    fs::create_dir_all(source.join("Forms")).unwrap();
    fs::write(source.join("Forms/Форма.xml"), "").unwrap();
    check(pack(&source, &file, true), "формы не поддерживаются", "forms are not supported");
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    check(pack(&folder.path().join("none"), &file, true), "none", "none");
}

#[test]
fn module_becomes_a_packable_processor_and_an_open_module_of_its_shape() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("Модуль.bsl");
    fs::write(&module, format!("\u{feff}{}", MODULE.replace('\n', "\r\n"))).unwrap();
    let out = folder.path().join("out");
    let args = |yes| StubArgs {
        module: module.clone(),
        object: "Защищённый".into(),
        out: out.clone(),
        call: stub::CALL.into(),
        yes,
    };
    assert!(go(Command::Stub(args(false))).unwrap().contains("методов-заглушек: 1"));
    let open = fs::read_to_string(out.join("Модуль.bsl")).unwrap();
    assert_eq!(
        open,
        "\u{feff}// О чём.\r\nФункция А(Б = 1) Экспорт\r\n\tВозврат \
         СоздатьОбъектСЛК(\"Защищённый\").А(Б);\r\nКонецФункции\r\n"
    );
    let file = folder.path().join("Защищённый.epf");
    pack(&out.join("Защищённый"), &file, false).unwrap();
    let text = licence_epf::object_module(&fs::read(&file).unwrap()).unwrap();
    assert!(licence_epf::bsl::exports(&text, "ПриСозданииОбъекта").unwrap());
    assert!(text.contains(MODULE));
    assert!(go(Command::Stub(args(false))).is_err(), "nothing is replaced unasked");
    go(Command::Stub(args(true))).unwrap();
    fs::write(&module, "Асинх Функция А() Экспорт КонецФункции").unwrap();
    let failure = go(Command::Stub(args(true))).unwrap_err();
    assert!(explain(&failure, Language::Russian).contains("строка 1: метод \"А\" асинхронный"));
    assert!(explain(&failure, Language::English).contains("line 1: \"А\" is asynchronous"));
}
