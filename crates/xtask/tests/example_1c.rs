//! The example configuration: a dump that Designer can take for its own, and a build that completes
//! with the programs as they are.
//!
//! The platform itself is not here: what only it can judge is not judged.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use roxmltree::{Document, Node};
use xtask::build::workspace;
use xtask::stage::Stage;

/// Version of the dump's format: that of platform 8.3.24.
const FORMAT: &str = "2.17";
/// Where the kinds of objects that stand in `ChildObjects` lie, and what must stand beside an
/// object's own description.
const PLACES: [(&str, &str, &[&str]); 4] = [
    ("CommonForm", "CommonForms", &["Ext/Form.xml", "Ext/Form/Module.bsl"]),
    ("CommonModule", "CommonModules", &["Ext/Module.bsl"]),
    ("CommonTemplate", "CommonTemplates", &[]),
    ("Language", "Languages", &[]),
];
/// Files by their name relative to the folder of the dump.
type Dump = BTreeMap<String, Vec<u8>>;
const MARK: &[u8] = b"\xEF\xBB\xBF";

fn example() -> PathBuf {
    workspace().unwrap().join("examples").join("1c")
}

/// All files below a folder, by relative name.
fn files(folder: &Path) -> Dump {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    found
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap().trim_start_matches('\u{feff}')
}

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|child| child.tag_name().name() == name)
}

fn is_uuid(text: &str) -> bool {
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12]
        && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'))
}

/// What is wrong with a dump, in words; nothing when Designer's own rules hold.
fn faults(dump: &Dump) -> Vec<String> {
    let mut faults = Vec::new();
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    let mut wanted: BTreeSet<String> = BTreeSet::from(["Configuration.xml".to_owned()]);
    for (name, bytes) in dump.iter().filter(|(name, _)| name.ends_with(".xml")) {
        let document = match Document::parse(text(bytes)) {
            Ok(document) => document,
            Err(why) => {
                faults.push(format!("{name}: {why}"));
                continue;
            }
        };
        let root = document.root_element();
        if root.attribute("version") != Some(FORMAT) {
            faults.push(format!("{name}: version {:?}", root.attribute("version")));
        }
        if root.tag_name().name() != "MetaDataObject" {
            form_faults(name, root, &mut faults);
            continue;
        }
        let object = root.first_element_child().unwrap();
        let own = object.attribute("uuid").unwrap_or_default();
        let inner = document
            .descendants()
            .filter(|node| node.tag_name().name() == "ObjectId")
            .map(|node| node.text().unwrap_or_default());
        for id in inner.chain([own]) {
            if !is_uuid(id) {
                faults.push(format!("{name}: {id:?} is no identifier"));
            }
            if let Some(other) = ids.insert(id.to_owned(), name.clone()) {
                faults.push(format!("{name}: {id} is also in {other}"));
            }
        }
        let named = child(object, "Properties").and_then(|node| child(node, "Name"));
        let named = named.and_then(|node| node.text()).unwrap_or_default();
        let stem = Path::new(name).file_stem().unwrap().to_str().unwrap();
        if name != "Configuration.xml" && named != stem {
            faults.push(format!("{name}: the object is called {named:?}"));
        }
        for entry in child(object, "ChildObjects").iter().flat_map(Node::children) {
            if !entry.is_element() {
                continue;
            }
            let (kind, of) = (entry.tag_name().name(), entry.text().unwrap_or_default());
            match PLACES.iter().find(|(known, ..)| *known == kind) {
                Some((_, folder, beside)) => {
                    wanted.insert(format!("{folder}/{of}.xml"));
                    wanted.extend(beside.iter().map(|file| format!("{folder}/{of}/{file}")));
                }
                None => faults.push(format!("{name}: {kind} is not known here")),
            }
        }
    }
    faults
        .extend(wanted.iter().filter(|name| !dump.contains_key(*name)).map(|n| format!("no {n}")));
    let is_extra = |name: &&String| {
        let of_configuration = name.starts_with("Ext/") && name.ends_with("Module.bsl");
        !wanted.contains(*name) && !of_configuration && !name.ends_with("/Ext/Template.bin")
    };
    faults.extend(dump.keys().filter(is_extra).map(|name| format!("{name} belongs to nothing")));
    faults
}

/// Elements of a form are numbered, each once; its handlers are looked up by name.
fn form_faults(name: &str, form: Node<'_, '_>, faults: &mut Vec<String>) {
    if form.tag_name().name() != "Form" {
        faults.push(format!("{name}: {} is not known here", form.tag_name().name()));
    }
    for list in ["ChildItems", "Attributes", "Commands"] {
        let mut seen = BTreeSet::new();
        let top = form.children().filter(|node| node.tag_name().name() == list);
        for item in top.flat_map(|node| node.descendants()) {
            if let Some(id) = item.attribute("id")
                && !seen.insert(id)
            {
                faults.push(format!("{name}: {list} has {id} twice"));
            }
        }
    }
}

fn kit(stage: &Stage, arguments: &[&str]) -> String {
    let mut command = Command::new(stage.bins().file("licencekit").unwrap());
    command
        .current_dir(stage.root())
        .args(arguments)
        .env("LICENCE_PASSPHRASE", "passphrase of a test");
    stage.run("licencekit", command).unwrap()
}

fn build(stage: &Stage, arguments: &[&Path]) -> Output {
    let mut command = Command::new("sh");
    command.arg(example().join("build.sh")).args(arguments).current_dir(stage.root());
    command.env("LICENCEKIT", stage.bins().file("licencekit").unwrap());
    command.env("LICENCE_PASSPHRASE", "passphrase of a test").output().unwrap()
}

#[test]
fn dump_is_whole_and_well_formed() {
    let dump = files(&example().join("configuration"));
    assert_eq!(faults(&dump), [""; 0]);
    assert!(dump.len() > 10, "{:?}", dump.keys());
}

#[test]
fn faults_of_a_dump_are_found() {
    let check = |spoil: &dyn Fn(&mut Dump), wanted: &str| {
        let mut dump = files(&example().join("configuration"));
        spoil(&mut dump);
        let found = faults(&dump);
        assert!(found.iter().any(|fault| fault.contains(wanted)), "{wanted}: {found:?}");
    };
    let change = |name: &'static str, from: &'static str, to: &'static str| {
        move |dump: &mut Dump| {
            let changed = text(&dump[name]).replacen(from, to, 1);
            assert_ne!(changed, text(&dump[name]), "{name} has no {from}");
            dump.insert(name.to_owned(), changed.into_bytes());
        }
    };
    check(&change("Languages/Русский.xml", "</Name>", ""), "Languages/Русский.xml: ");
    check(&change("Languages/Русский.xml", "version=\"2.17\"", "version=\"2.18\""), "2.18");
    check(&change("Languages/Русский.xml", "Русский</Name>", "Другой</Name>"), "\"Другой\"");
    check(&change("Configuration.xml", "РасчетСкидок", "Другой"), "no CommonModules/Другой.xml");
    check(&change("Configuration.xml", "РасчетСкидок", "Другой"), "belongs to nothing");
    check(
        &|dump| {
            let copy = dump["Languages/Русский.xml"].clone();
            dump.insert("CommonTemplates/ОбъектыСЛК.xml".to_owned(), copy);
        },
        "is also in",
    );
    check(
        &|dump| drop(dump.remove("CommonModules/РасчетСкидок/Ext/Module.bsl")),
        "no CommonModules",
    );
}

#[test]
fn handlers_of_the_form_are_procedures_of_its_module() {
    let dump = files(&example().join("configuration"));
    let form = "CommonForms/ЛицензияИСвязь/Ext/Form";
    let document = Document::parse(text(&dump[&format!("{form}.xml")])).unwrap();
    let module = text(&dump[&format!("{form}/Module.bsl")]);
    let handlers: Vec<_> = document
        .descendants()
        .filter(|node| matches!(node.tag_name().name(), "Action" | "Event"))
        .filter_map(|node| node.text())
        .collect();
    assert!(handlers.len() >= 4, "{handlers:?}");
    for handler in handlers {
        assert!(module.contains(&format!("Процедура {handler}(")), "{handler}");
    }
}

#[test]
fn open_module_is_what_the_stub_generator_writes() {
    let stage = Stage::temporary().unwrap();
    let module = example().join("protected/РасчетСкидок/Ext/ObjectModule.bsl");
    let call = "ЗащитаСервер.СоздатьОбъектСЛК";
    let module = module.to_str().unwrap();
    let object = "ОбъектыСЛК.РасчетСкидок";
    kit(&stage, &["stub", "--module", module, "--object", object, "--call", call, "--out", "stub"]);
    let lines = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    let written = std::fs::read_to_string(stage.root().join("stub/ObjectModule.bsl")).unwrap();
    let open = example().join("configuration/CommonModules/РасчетСкидок/Ext/Module.bsl");
    let open = std::fs::read_to_string(open).unwrap();
    let (written, open) = (lines(&written), lines(&open));
    let heading = open.len() - written.len();
    assert!(open[..heading].iter().all(|line| line.starts_with("// ")), "{open:?}");
    assert_eq!(open[heading..], written);
}

#[test]
fn authorisation_interface_has_the_signatures_of_the_module_that_it_replaces() {
    let module = "configuration/CommonModules/ИнтерфейсАвторизацииИСМПВызовСервера/Ext/Module.bsl";
    let module = std::fs::read_to_string(example().join(module)).unwrap();
    let exported: Vec<_> = text(module.as_bytes())
        .lines()
        .filter_map(|line| line.strip_suffix(" Экспорт"))
        .filter(|line| line.starts_with("Функция ") || line.starts_with("Процедура "))
        .collect();
    assert_eq!(
        exported,
        [
            "Функция ТекущийКлючСессии(ПараметрыЗапроса, Знач СрокДействия = Неопределено)",
            "Функция ТребуетсяОбновлениеКлючаСессии(ПараметрыЗапроса, Знач СрокДействия = Неопределено)",
            "Функция ТребуетсяОбновлениеКлючаСессииРозница(ПараметрыЗапроса, Знач СрокДействия = \
             Неопределено)",
            "Функция ЗапроситьПараметрыАвторизации(ПараметрыЗапроса)",
            "Функция ЗапроситьКлючСессии(ПараметрыЗапросаПоОрганизации)",
            "Функция ТребуетсяОбновлениеКлючаСессииСУчетомВидаТокена(ПараметрыСканирования, \
             РозничныйТокен = Ложь)",
            "Функция ПараметрыКлючаСессии()",
            "Функция ПараметрыЗапросаКлючаСессии(ТипТокенаАвторизации)",
            "Процедура УстановитьКлючСессии(ПараметрыЗапроса, ПараметрыКлючаСессии, ЗаписатьВРегистр \
             = Истина)",
            "Функция НастройкиОтветственногоЗаАктуализациюТокеновАвторизации(ДляПросмотра)",
            "Функция ПолучитьНапоминанияОтветственномуЗаАктуализациюТокеновАвторизации(Настройки)",
        ]
    );
}

#[test]
fn build_completes_the_dump_as_designer_writes_it() {
    let stage = Stage::temporary().unwrap();
    let root = stage.root();
    kit(&stage, &["series", "create", "--series", "672B", "--name", "Test", "--out", "keys"]);
    let cryptkey = root.join("keys/672B.cryptkey");
    let bundle = root.join("bundle.zip");
    let mut args = xtask::dist::BundleArgs { out: None, debug: true, target: Vec::new() };
    args.out = Some(root.join("bundle"));
    xtask::dist::bundle::run(&args, &mut Vec::new()).unwrap();
    let made = std::fs::read_dir(root.join("bundle")).unwrap().next().unwrap().unwrap().path();
    std::fs::copy(made, &bundle).unwrap();

    let out = root.join("out");
    let built = build(&stage, &[&out, &bundle, &cryptkey]);
    assert!(built.status.success(), "{built:?}");
    let said = String::from_utf8(built.stdout).unwrap();
    assert_eq!(said.lines().last(), out.join("configuration").to_str());
    let dump = files(&out.join("configuration"));
    assert_eq!(faults(&dump), [""; 0]);
    let sources = files(&example().join("configuration"));
    for (name, source) in &sources {
        let made = dump[name].strip_prefix(MARK).expect(name);
        assert_eq!(text(made).replace("\r\n", "\n"), text(source), "{name}");
        assert!(!text(made).replace("\r\n", "").contains(['\r', '\n']), "{name}: not all CRLF");
    }
    let templates: Vec<_> = dump.keys().filter(|name| !sources.contains_key(*name)).collect();
    let objects = "CommonTemplates/ОбъектыСЛК/Ext/Template.bin";
    let component = "CommonTemplates/КомпонентаСЛК/Ext/Template.bin";
    assert_eq!(templates, [component, objects]);
    let at = |name: &str| out.join("configuration").join(name).to_str().unwrap().to_owned();
    let shown = kit(&stage, &["template", "show", &at(component)]);
    assert!(shown.contains("672B"), "the series is not pinned: {shown}");
    let listed = kit(&stage, &["datafile", "list", &at(objects), "--series", "keys/672B.series"]);
    assert!(listed.contains("РасчетСкидок") && listed.contains("Параметры"), "{listed}");

    // The same sources give the same file; what exists is not replaced; half a result is removed.
    let again = root.join("again");
    assert!(build(&stage, &[&again, &bundle, &cryptkey]).status.success());
    assert_eq!(files(&again), files(&out));
    assert_eq!(build(&stage, &[&out, &bundle, &cryptkey]).status.code(), Some(1));
    assert_eq!(files(&again), files(&out));
    let half = root.join("half");
    assert!(!build(&stage, &[&half, &cryptkey, &cryptkey]).status.success());
    assert!(!half.exists(), "a build that failed left its folder");
    assert_eq!(build(&stage, &[&half]).status.code(), Some(2));
}
