//! What `licencekit` packs is what others read: v8unpack, which knows nothing of us, unpacks the
//! same sources; and the analyser of 1C's language refuses a broken module.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use xtask::check::bsl::{Analyser, findings};
use xtask::stage::{Bins, Stage};

const MODULE: &str = "#Область ПрограммныйИнтерфейс\n\n\
    // Ёлка — \"кавычки\" {скобки}, 100 %.\n\
    Функция Сумма(Знач А, Б = \"строка\n\t|вторая\") Экспорт\n\n\
    \tВозврат А + Б;\n\nКонецФункции\n\n#КонецОбласти\n";

fn v8unpack(bins: &Bins, arguments: &[&Path]) -> Output {
    let program = bins.target().join("venv").join("bin").join("v8unpack");
    assert!(program.exists(), "no v8unpack; `cargo xtask test` makes it");
    let mut command = Command::new(program);
    command.arg("-E").args(arguments).args(["--processes", "1"]);
    command.output().unwrap()
}

fn kit(stage: &Stage, arguments: &[&str]) -> Output {
    let program = stage.bins().file("licencekit").unwrap();
    Command::new(program).current_dir(stage.root()).args(arguments).output().unwrap()
}

fn sources(stage: &Stage, kind: &str) -> PathBuf {
    let source = stage.root().join(format!("src-{kind}"));
    std::fs::create_dir_all(source.join("Ext")).unwrap();
    std::fs::create_dir_all(source.join("Templates")).unwrap();
    let descriptor = format!(
        r#"{{"Kind":"{kind}","Name":"Защищённый","Synonym":{{"ru":"Объект {{1}}, \"2\"","en":"Object"}}}}"#
    );
    std::fs::write(source.join("object.json"), descriptor).unwrap();
    std::fs::write(source.join("Ext/ObjectModule.bsl"), MODULE).unwrap();
    std::fs::write(source.join("Templates/Текст.txt"), "первая\r\nвторая").unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
    std::fs::write(source.join("Templates/Данные.bin"), bytes).unwrap();
    source
}

/// Without byte order mark, and with plain line feeds: how each tool ends lines is its own.
fn text(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.trim_start_matches('\u{feff}').replace("\r\n", "\n")
}

#[test]
fn foreign_tool_unpacks_the_same_sources() {
    let stage = Stage::temporary().unwrap();
    for kind in ["epf", "erf"] {
        sources(&stage, kind);
        let file = format!("Защищённый.{kind}");
        let packed = kit(&stage, &["epf", "pack", &format!("src-{kind}"), "-o", &file]);
        assert!(packed.status.success(), "{packed:?}");
        let out = stage.root().join(format!("out-{kind}"));
        let unpacked = v8unpack(stage.bins(), &[&stage.root().join(&file), &out]);
        assert!(unpacked.status.success(), "{unpacked:?}");
        let module = out.join("ExternalDataProcessor.obj.bsl");
        assert!(module.is_file(), "{unpacked:?}");
        assert_eq!(text(&module), MODULE);
        assert_eq!(text(&out.join("Template/Текст/Template.txt")), "первая\nвторая");
        assert!(out.join("Template/Данные/Template.json").is_file());
        let described = std::fs::read_to_string(out.join("ExternalDataProcessor.json")).unwrap();
        let described: serde_json::Value = serde_json::from_str(&described).unwrap();
        assert_eq!(described["name"], "Защищённый");
        assert_eq!(described["name2"]["en"], "Object");
        assert_eq!(described["obj_version"], "803");
    }
}

#[test]
fn file_that_the_foreign_tool_builds_again_is_read_by_us() {
    let stage = Stage::temporary().unwrap();
    sources(&stage, "epf");
    assert!(kit(&stage, &["epf", "pack", "src-epf", "-o", "first.epf"]).status.success());
    let out = stage.root().join("out");
    assert!(v8unpack(stage.bins(), &[&stage.root().join("first.epf"), &out]).status.success());
    let again = stage.root().join("again.epf");
    let program = stage.bins().target().join("venv").join("bin").join("v8unpack");
    let built = Command::new(program)
        .arg("-B")
        .args([&out, &again])
        .args(["--processes", "1"])
        .output()
        .unwrap();
    assert!(built.status.success() && again.is_file(), "{built:?}");
    let unpacked = kit(&stage, &["epf", "unpack", "again.epf", "-o", "back"]);
    assert!(unpacked.status.success(), "{unpacked:?}");
    let back = stage.root().join("back");
    assert_eq!(text(&back.join("Ext/ObjectModule.bsl")), MODULE);
    let first = std::fs::read(stage.root().join("src-epf/Templates/Данные.bin")).unwrap();
    assert_eq!(std::fs::read(back.join("Templates/Данные.bin")).unwrap(), first);
}

#[test]
fn damaged_file_is_refused_with_an_exit_code_and_leaves_nothing() {
    let stage = Stage::temporary().unwrap();
    sources(&stage, "epf");
    assert!(kit(&stage, &["epf", "pack", "src-epf", "-o", "x.epf"]).status.success());
    let path = stage.root().join("x.epf");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.truncate(bytes.len() / 2);
    std::fs::write(&path, bytes).unwrap();
    let refused = kit(&stage, &["--lang", "ru", "epf", "unpack", "x.epf", "-o", "back"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("повреждена"), "{refused:?}");
    assert!(!stage.root().join("back").exists());
}

#[test]
fn analyser_refuses_a_broken_module_and_lets_stubs_pass() {
    let stage = Stage::temporary().unwrap();
    let analyser = Analyser::find(stage.bins().target()).unwrap();
    let broken = "Процедура А() Экспорт\n\n\tЕсли Б = 1 То\n\nКонецПроцедуры\n";
    let file = |name: &str, text: &str| (name.to_owned(), text.as_bytes().to_vec());
    let found = findings(&analyser, &[file("broken/Ext/ObjectModule.bsl", broken)]).unwrap();
    assert!(found.iter().any(|finding| finding.code == "BSL001"), "{found:?}");
    assert!(found.iter().all(|finding| finding.file == "broken/Ext/ObjectModule.bsl"));

    std::fs::write(stage.root().join("Module.bsl"), MODULE).unwrap();
    let made = kit(&stage, &["stub", "--module", "Module.bsl", "--object", "Объект", "--out", "o"]);
    assert!(made.status.success(), "{made:?}");
    let stubs = std::fs::read(stage.root().join("o/Module.bsl")).unwrap();
    let object = std::fs::read(stage.root().join("o/Объект/Ext/ObjectModule.bsl")).unwrap();
    let files = [("Ext/Module.bsl".to_owned(), stubs), ("Ext/ObjectModule.bsl".to_owned(), object)];
    let errors: Vec<_> = findings(&analyser, &files)
        .unwrap()
        .into_iter()
        .filter(|finding| finding.code == "BSL001")
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
}
