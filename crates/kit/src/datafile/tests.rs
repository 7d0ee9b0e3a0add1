//! The commands about data files, run in the process with a quickly opened secret.
//!
//! What only the program itself does (arguments, exit codes, its other name) is in `tests/`.

use std::fs;

use clap::Parser;
use licence_core::datafile::ObjectAccess::{Key, Presence, Seat};
use tempfile::TempDir;

use super::*;
use crate::cli::Cli;
use crate::passphrase::Passphrase;
use crate::text::explain;

const PASSPHRASE: &str = "correct horse battery";

/// A processor as far as the packer looks.
const EPF: &[u8] = b"\xFF\xFF\xFF\x7F the processor";

/// A folder with the secret and the descriptor of series 672B.
struct Vendor {
    folder: TempDir,
}

impl Vendor {
    fn new() -> Self {
        let vendor = Self { folder: tempfile::tempdir().unwrap() };
        vendor.add_series("672B", 1, 2);
        vendor
    }

    fn add_series(&self, series: &str, seed: u8, object: u8) {
        let id: KeySeries = series.parse().unwrap();
        let secret = SeriesSecret::from_bytes(id, [seed; 32], [object; 32]);
        let passphrase = Passphrase::new(Zeroizing::new(PASSPHRASE.to_owned())).unwrap();
        // Little work: these tests look at data files, not at the strength of the secret's file.
        self.write(&format!("{series}.cryptkey"), &secret.seal_with(&passphrase, 4).unwrap());
        let descriptor = secret.descriptor("Тест".into(), None);
        self.write(&format!("{series}.series"), &serde_json::to_vec(&descriptor).unwrap());
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.at(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.at(name)).unwrap()
    }

    /// Runs a command line; words with `@/` are paths in the folder.
    fn run_as(&self, line: &str, passphrase: &str) -> Result<String, Failure> {
        let words = line.split_whitespace();
        let words =
            words.map(|word| word.replace("@/", &format!("{}/", self.folder.path().display())));
        let cli =
            Cli::try_parse_from(std::iter::once("licencekit".to_owned()).chain(words)).unwrap();
        let mut out = Vec::new();
        let around = Surroundings {
            language: Language::English,
            passphrase: Some(Zeroizing::new(passphrase.to_owned())),
            out: &mut out,
        };
        crate::commands::run(cli.command, around)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn run(&self, line: &str) -> Result<String, Failure> {
        self.run_as(line, PASSPHRASE)
    }

    fn pack(&self, rest: &str) -> Result<String, Failure> {
        self.run(&format!("datafile pack @/672B.datafile --cryptkey @/672B.cryptkey {rest}"))
    }

    /// What the packed file's list says.
    fn entries(&self) -> Vec<(String, ObjectKind, ObjectAccess, u64)> {
        let (_, opened) =
            open_by_series_file(&self.at("672B.datafile"), &self.at("672B.series")).unwrap();
        let objects = opened.list.objects.into_iter();
        objects.map(|object| (object.name, object.kind, object.access, object.size)).collect()
    }
}

#[track_caller]
fn refused_with(result: Result<String, Failure>, wanted: &str) -> Failure {
    let failure = result.expect_err(wanted);
    let text = explain(&failure, Language::English);
    assert!(text.contains(wanted), "{text}");
    // What the system says is passed on as it is.
    if !matches!(failure, Failure::File(FileError::Io { .. })) {
        assert_ne!(explain(&failure, Language::Russian), text, "not in Russian");
    }
    failure
}

#[test]
fn packed_objects_are_listed_verified_and_unpacked_as_they_were() {
    let vendor = Vendor::new();
    vendor.write("Цены.epf", EPF);
    vendor.write("Отчёт.ERF", EPF);
    vendor.write("Параметры.txt", "[ПоУмолчанию]\r\nТип=База\r\n".as_bytes());
    let said = vendor.pack("@/*.epf @/*.ERF @/*.txt --access Отчёт=presence").unwrap();
    assert!(said.contains("Цены") && said.contains("series 672B, objects: 3"), "{said}");
    let size = EPF.len() as u64;
    let parameters = ("Параметры".to_owned(), ObjectKind::Text, Seat, 43);
    let report = ("Отчёт".to_owned(), ObjectKind::Erf, Presence, size);
    assert_eq!(
        vendor.entries(),
        [report, parameters, ("Цены".to_owned(), ObjectKind::Epf, Seat, size)]
    );
    let listed = vendor.run("datafile list @/672B.datafile --series @/672B.series").unwrap();
    assert!(said.contains(listed.lines().nth(1).unwrap()), "{listed}");
    let json = vendor.run("datafile list @/672B.datafile --series @/672B.series --json").unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["Series"], "672B");
    assert_eq!(json["Objects"][0]["Access"], "presence");
    vendor.run("datafile verify @/672B.datafile --series @/672B.series").unwrap();
    let said = vendor.run("datafile verify @/672B.datafile --cryptkey @/672B.cryptkey").unwrap();
    assert!(said.contains("objects opened: 3"), "{said}");
    vendor.run("datafile unpack @/672B.datafile --cryptkey @/672B.cryptkey --out @/out").unwrap();
    assert_eq!(vendor.read("out/Цены.epf"), EPF);
    assert_eq!(vendor.read("out/Отчёт.erf"), EPF);
    assert_eq!(vendor.read("out/Параметры.txt"), "[ПоУмолчанию]\r\nТип=База\r\n".as_bytes());
    let again =
        vendor.run("datafile unpack @/672B.datafile --cryptkey @/672B.cryptkey --out @/out");
    assert_eq!(refused_with(again, "exists already; -y replaces it").exit_code(), 3);
    vendor
        .run("datafile unpack @/672B.datafile --cryptkey @/672B.cryptkey --out @/out -y")
        .unwrap();
}

#[test]
fn same_sources_give_the_same_file_whatever_the_order_of_arguments() {
    let vendor = Vendor::new();
    vendor.write("a.epf", EPF);
    vendor.write("b.txt", b"text");
    vendor.pack("@/a.epf @/b.txt").unwrap();
    let first = vendor.read("672B.datafile");
    vendor.pack("@/b.txt @/a.epf -y").unwrap();
    assert_eq!(vendor.read("672B.datafile"), first);
    vendor.write("b.txt", b"texts");
    vendor.pack("@/b.txt @/a.epf -y").unwrap();
    assert_ne!(vendor.read("672B.datafile"), first);
}

#[test]
fn file_that_exists_is_replaced_only_when_it_is_said_so() {
    let vendor = Vendor::new();
    vendor.write("a.epf", EPF);
    vendor.write("672B.datafile", b"the old one");
    let failure = refused_with(vendor.pack("@/a.epf"), "exists already; -y replaces it");
    assert_eq!(failure.exit_code(), 3);
    assert_eq!(vendor.read("672B.datafile"), b"the old one");
    vendor.pack("@/a.epf --yes").unwrap();
    assert_eq!(vendor.entries().len(), 1);
}

#[test]
fn original_command_line_finds_the_secret_beside_the_file_and_reads_windows_1251() {
    let vendor = Vendor::new();
    vendor.write("a.epf", EPF);
    vendor.write("t.txt", &[0xCF, 0xF0]);
    vendor.run("c @/672B.datafile @/*.epf @/t.txt --serie=672B -y").unwrap();
    assert_eq!(vendor.entries().len(), 2);
    assert_eq!(vendor.entries()[1].3, "Пр".len() as u64);
    vendor.write("t.txt", &[0xFF, 0xFE, 0x1F, 0x04]);
    vendor.run("c @/672B.datafile @/t.txt -y --cryptkey=@/672B.cryptkey --encoding=utf8").unwrap();
    assert_eq!(vendor.entries()[0].3, "П".len() as u64);
    fs::create_dir(vendor.at("other")).unwrap();
    let missing = vendor.run("c @/other/1234.datafile @/a.epf --serie=1234");
    refused_with(missing, "no 1234.cryptkey beside the data file");
    refused_with(vendor.run("c @/other/x.datafile @/a.epf"), "name the series with --serie");
}

#[test]
fn secret_of_another_series_or_a_wrong_passphrase_packs_nothing() {
    let vendor = Vendor::new();
    vendor.add_series("4BFE", 3, 4);
    vendor.write("a.epf", EPF);
    let other = vendor.pack("@/a.epf --series 4BFE");
    refused_with(other, "is the secret of series 672B, not of 4BFE");
    let line = "datafile pack @/672B.datafile --cryptkey @/672B.cryptkey @/a.epf";
    refused_with(vendor.run_as(line, "incorrect horse battery"), "the passphrase is wrong");
    refused_with(vendor.run_as(line, "short"), "at least 12");
    assert!(!vendor.at("672B.datafile").exists());
}

#[test]
fn file_of_another_series_or_another_signer_is_refused() {
    let vendor = Vendor::new();
    vendor.add_series("4BFE", 3, 4);
    vendor.write("a.epf", EPF);
    vendor.pack("@/a.epf").unwrap();
    let check = |line: &str, wanted: &str| {
        refused_with(vendor.run(line), wanted);
    };
    let other = "datafile verify @/672B.datafile --cryptkey @/4BFE.cryptkey";
    check(other, "the signature does not belong to the expected key");
    let listed = "datafile list @/672B.datafile --series @/4BFE.series";
    check(listed, "the list of objects is not genuine");
    // The right series, and the key of somebody who calls himself so.
    vendor.add_series("672B", 9, 2);
    let signed = "datafile verify @/672B.datafile --cryptkey @/672B.cryptkey";
    check(signed, "the signature does not belong to the expected key");
    // The right signer, and the object key of another.
    vendor.add_series("672B", 1, 9);
    check(signed, "the object was changed, or the key belongs to another");
    let unpacked = "datafile unpack @/672B.datafile --cryptkey @/672B.cryptkey --out @/out";
    check(unpacked, "the object was changed, or the key belongs to another");
    assert_eq!(fs::read_dir(vendor.at("out")).unwrap().count(), 0);
}

#[test]
fn series_file_with_many_series_is_searched_for_the_signer() {
    let vendor = Vendor::new();
    vendor.add_series("0001", 3, 4);
    vendor.add_series("FFFF", 5, 6);
    vendor.write("a.epf", EPF);
    vendor.pack("@/a.epf").unwrap();
    let many = |names: &[&str]| {
        let all: Vec<_> =
            names.iter().map(|name| String::from_utf8(vendor.read(name)).unwrap()).collect();
        vendor.write("licence.series", format!("[{}]", all.join(",")).as_bytes());
    };
    let line = "datafile list @/672B.datafile --series @/licence.series";
    many(&["0001.series", "672B.series", "FFFF.series"]);
    assert!(vendor.run(line).unwrap().contains("series 672B"));
    many(&["0001.series", "FFFF.series"]);
    refused_with(vendor.run(line), "signed by none of the series");
}

#[test]
fn object_changed_after_packing_is_noticed() {
    let vendor = Vendor::new();
    vendor.write("a.epf", EPF);
    vendor.pack("@/a.epf").unwrap();
    let mut bytes = vendor.read("672B.datafile");
    *bytes.last_mut().unwrap() ^= 1;
    vendor.write("672B.datafile", &bytes);
    // The list alone is still genuine.
    vendor.run("datafile list @/672B.datafile --series @/672B.series").unwrap();
    let line = "datafile verify @/672B.datafile --series @/672B.series --cryptkey @/672B.cryptkey";
    refused_with(vendor.run(line), "the object was changed");
    bytes.pop();
    vendor.write("672B.datafile", &bytes);
    let line = "datafile list @/672B.datafile --series @/672B.series";
    refused_with(vendor.run(line), "longer or shorter than it says");
    vendor.write("672B.datafile", b"something else");
    refused_with(vendor.run(line), "not a data file");
}

#[test]
fn secrets_and_data_files_are_no_objects() {
    let vendor = Vendor::new();
    vendor.add_series("4BFE", 3, 4);
    vendor.write("a.epf", EPF);
    vendor.write("pass.txt", PASSPHRASE.as_bytes());
    let check = |rest: &str, wanted: &str| {
        refused_with(vendor.pack(rest), wanted);
    };
    check("@/672B.cryptkey", "is a secret and is not packed");
    check("@/4BFE.cryptkey", "is a secret and is not packed");
    check("@/*.txt --passphrase-file @/pass.txt", "is a secret and is not packed");
    vendor.pack("@/a.epf").unwrap();
    check("@/672B.datafile -y", "is the data file itself");
    fs::rename(vendor.at("672B.datafile"), vendor.at("other.datafile")).unwrap();
    check("@/other.datafile", "is a data file and is not packed");
}

#[test]
fn rules_of_access_must_name_an_object_once() {
    let vendor = Vendor::new();
    vendor.write("Цены.epf", EPF);
    let twice = vendor.pack("@/Цены.epf --access Цены=seat --access цены=key");
    refused_with(twice, "names \"цены\" twice");
    let unknown = vendor.pack("@/Цены.epf --access Цена=seat");
    refused_with(unknown, "there is no such object");
    vendor.pack("@/Цены.epf --access ЦЕНЫ=key").unwrap();
    assert_eq!(vendor.entries()[0].2, Key);
}

#[test]
fn object_that_decides_about_licence_control_gets_its_key_without_a_seat() {
    let vendor = Vendor::new();
    let module = "Процедура ПередКонтролемЛицензии(Отказ) Экспорт\nКонецПроцедуры\n";
    for (name, module) in [("Hook", module), ("Plain", "А = 1;\n")] {
        let source = licence_epf::Source::new(licence_epf::Kind::Processor, name, module);
        vendor.write(&format!("{name}.epf"), &licence_epf::pack_processor(&source).unwrap());
    }
    let said = vendor.pack("@/*.epf").unwrap();
    assert!(said.contains("Hook: access key, because its module exports"), "{said}");
    assert!(!said.contains("Plain: access"), "{said}");
    let access = || vendor.entries().into_iter().map(|entry| entry.2).collect::<Vec<_>>();
    assert_eq!(access(), [Key, Seat]);
    let said = vendor.pack("@/*.epf -y --access Hook=seat").unwrap();
    assert!(!said.contains("because its module"), "{said}");
    assert_eq!(access(), [Seat, Seat]);
}

#[test]
fn wrong_sources_are_named() {
    let vendor = Vendor::new();
    vendor.write("bad.txt", &[b'a', 0x98]);
    vendor.write("Parameters.ini", b"[Default]\nabc\n");
    vendor.write("Параметры.ini", b"");
    let check = |rest: &str, wanted: &str| {
        refused_with(vendor.pack(rest), wanted);
        assert!(!vendor.at("672B.datafile").exists());
    };
    check("@/none.epf", "none.epf");
    check("@/*.epf", "no such files");
    check("@/bad.txt", "byte 1 is not a character of windows-1251");
    check("@/bad.txt --encoding utf8", "not UTF-8 from byte 1 on");
    check("@/Parameters.ini", "line 2: neither [section] nor name = value");
    check("@/Parameters.ini @/Параметры.ini", "two texts of parameters");
}

#[test]
fn file_that_is_no_container_is_packed_with_a_word_of_warning() {
    let vendor = Vendor::new();
    vendor.write("a.epf", b"not a processor");
    let said = vendor.pack("@/a.epf").unwrap();
    assert!(said.contains("does not begin as a processor"), "{said}");
    vendor.write("a.epf", b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F");
    let said = vendor.pack("@/a.epf -y").unwrap();
    assert!(!said.contains("does not begin"), "{said}");
}

#[test]
fn parameters_are_checked_by_line() {
    let vendor = Vendor::new();
    vendor.write("p.txt", "[Default]\nТип=1\n[5]\nТип=2\n[Main]\nKey=5\n".as_bytes());
    let said = vendor.run("parameters check @/p.txt").unwrap();
    assert!(said.contains("values: 2, keys with values of their own: 1\nmain key: 5"), "{said}");
    vendor.write("p.txt", b"[Default]\na=1\nA=2\n");
    let result = vendor.run("parameters check @/p.txt");
    refused_with(result, "line 3: the parameter has a value in this section already");
}

#[test]
fn developer_password_is_printed_for_the_holder_of_the_secret() {
    let vendor = Vendor::new();
    let said = vendor.run("series developer-password --cryptkey @/672B.cryptkey").unwrap();
    let wanted = licence_core::developer_password::developer_password(&[2; 32]);
    assert_eq!(said.trim_end(), wanted);
    let line = "series developer-password --cryptkey @/672B.cryptkey";
    refused_with(vendor.run_as(line, "incorrect horse battery"), "the passphrase is wrong");
}
