//! `licencekit template`: pinning series in real libraries, by the real program.
//!
//! The libraries are compiled here; without a C compiler and `readelf` these tests fail.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use licence_core::key::KeySeries;
use licence_core::seal::{Jwk, SigningKey};
use licence_core::series::SeriesDescriptor;
use licence_core::template_pin::{Descriptors, read_tail};
use licencekit::template::archive::{self, Entry};
use licencekit::template::image::{Arch, Image, Os};
use licencekit::template::manifest::{self, Component, MANIFEST_NAME};
use licencekit::template::{TemplateError, pin, pin_library};
use tempfile::TempDir;

const NAME: &str = "licenceaddin_4_0_0_lin64.so";

fn descriptor(series: u16, seed: u8) -> SeriesDescriptor {
    let key = SigningKey::from_seed(&[seed; 32]).public();
    let object = Jwk { crv: "X25519".into(), ..key.jwk() };
    SeriesDescriptor::new(KeySeries::from_u16(series), "Тест".into(), None, key, object)
}

fn pins(seed: u8) -> Descriptors {
    let descriptor = descriptor(0x672B, seed);
    Descriptors::from([(descriptor.series, descriptor)])
}

fn series_file(folder: &Path, series: u16, seed: u8) -> PathBuf {
    let path = folder.join(format!("{series:04X}-{seed}.series"));
    std::fs::write(&path, serde_json::to_vec(&descriptor(series, seed)).unwrap()).unwrap();
    path
}

fn library(folder: &Path) -> Vec<u8> {
    let source = folder.join("library.c");
    std::fs::write(&source, "int GetAttachType(void) { return 3; }\n").unwrap();
    let built = folder.join("library.so");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&built)
        .arg(&source)
        .status()
        .expect("a C compiler is needed");
    assert!(status.success());
    std::fs::read(built).unwrap()
}

/// The shortest 64-bit PE library with a place for a signature.
fn pe_library(signature_bytes: u32) -> Vec<u8> {
    const OPTIONAL_BYTES: usize = 112 + 16 * 8;
    let mut bytes = vec![0; 0x400];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"MZ");
    put(0x3C, &0x40u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x44, &0x8664u16.to_le_bytes());
    put(0x54, &u16::try_from(OPTIONAL_BYTES).unwrap().to_le_bytes());
    // A library, and an image that can be run.
    put(0x56, &0x2022u16.to_le_bytes());
    let optional = 0x58;
    put(optional, &0x20Bu16.to_le_bytes());
    put(optional + 108, &16u32.to_le_bytes());
    // The fifth directory: where the signature lies, and its length.
    put(optional + 112 + 4 * 8, &0x300u32.to_le_bytes());
    put(optional + 112 + 4 * 8 + 4, &signature_bytes.to_le_bytes());
    bytes
}

fn template(bytes: Vec<u8>) -> Vec<u8> {
    let component = Component::native(Os::Linux, Arch::X86_64, NAME.to_owned());
    archive::write(&[
        Entry {
            name: MANIFEST_NAME.to_owned(),
            bytes: manifest::write("licenceaddin", &[component]),
        },
        Entry { name: NAME.to_owned(), bytes },
        Entry { name: "README.txt".to_owned(), bytes: b"read me".to_vec() },
    ])
    .unwrap()
}

fn kit(arguments: &[&str], paths: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_licencekit"))
        .args(["--lang", "en", "template"])
        .args(arguments)
        .args(paths)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8(text).unwrap()
}

struct Site {
    folder: TempDir,
    template: PathBuf,
}

fn site() -> Site {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.zip");
    std::fs::write(&path, template(library(folder.path()))).unwrap();
    Site { folder, template: path }
}

impl Site {
    /// Pins and gives the only library's name and bytes.
    fn pin(&self, series: &[&Path], from: &Path, to: &str) -> Result<(String, Vec<u8>), String> {
        let out = self.folder.path().join(to);
        let mut paths = Vec::new();
        for path in series {
            paths.extend([Path::new("--series"), path]);
        }
        paths.extend([from, Path::new("-o"), &out]);
        let output = kit(&["pin"], &paths);
        if !output.status.success() {
            assert_eq!(output.status.code(), Some(1));
            return Err(said(&output));
        }
        let entries = archive::read(&std::fs::read(&out).unwrap()).unwrap();
        let manifest = entries.iter().find(|entry| entry.name == MANIFEST_NAME).unwrap();
        let [component] = &manifest::read(&manifest.bytes).unwrap()[..] else { panic!("one") };
        let library = entries.iter().find(|entry| entry.name == component.path).unwrap();
        Ok((library.name.clone(), library.bytes.clone()))
    }
}

#[test]
fn pinned_library_is_still_one_and_carries_the_series() {
    let site = site();
    let series =
        [series_file(site.folder.path(), 0x672B, 1), series_file(site.folder.path(), 0x4BFE, 2)];
    let series = [series[0].as_path(), &series[1]];
    let (name, bytes) = site.pin(&series, &site.template, "out.zip").unwrap();
    let pin = read_tail(&bytes).unwrap().unwrap();
    assert_eq!(pin.descriptors.len(), 2);
    assert_eq!(name, format!("licenceaddin_4_0_0_lin64_p{}.so", pin.tag));
    assert!(Image::read(&bytes).unwrap().exports.contains("GetAttachType"));
    let file = site.folder.path().join("pinned.so");
    std::fs::write(&file, &bytes).unwrap();
    let readelf = Command::new("readelf").args(["-aW"]).arg(&file).output().unwrap();
    assert!(readelf.status.success());
    assert!(readelf.stderr.is_empty(), "{}", String::from_utf8_lossy(&readelf.stderr));
    let shown = said(&kit(&["show"], &[&site.folder.path().join("out.zip")]));
    assert_eq!(shown, format!("{name}: Linux x86_64, pins 4BFE, 672B\n"));
    let shown = said(&kit(&["show"], &[&site.template]));
    assert_eq!(shown, format!("{NAME}: Linux x86_64, pins no series\n"));
}

#[test]
fn pinning_again_replaces_the_pin_and_the_same_input_gives_the_same_bytes() {
    let site = site();
    let (first, second) =
        (series_file(site.folder.path(), 0x672B, 1), series_file(site.folder.path(), 0x672B, 2));
    let once = site.pin(&[&first], &site.template, "once.zip").unwrap();
    let other = site.pin(&[&second], &site.template, "other.zip").unwrap();
    assert_ne!(once.0, other.0, "another pin, another name of the file");
    let again = site.pin(&[&first], &site.folder.path().join("other.zip"), "again.zip").unwrap();
    assert_eq!(again, once);
    let read = |name: &str| std::fs::read(site.folder.path().join(name)).unwrap();
    assert_eq!(read("again.zip"), read("once.zip"));
}

#[test]
fn contradiction_missing_files_and_taken_names_are_refused() {
    let site = site();
    let (first, second) =
        (series_file(site.folder.path(), 0x672B, 1), series_file(site.folder.path(), 0x672B, 2));
    let why = site.pin(&[&first, &second], &site.template, "out.zip").unwrap_err();
    assert!(why.contains("describe series 672B differently"), "{why}");
    let why = site.pin(&[&first], &site.template, "in.zip").unwrap_err();
    assert!(why.contains("exists already"), "{why}");
    let no_zip = site.folder.path().join("no.zip");
    std::fs::write(&no_zip, "text").unwrap();
    let why = site.pin(&[&first], &no_zip, "out.zip").unwrap_err();
    assert!(why.contains("archive is damaged"), "{why}");
    assert_eq!(kit(&["pin"], &[&site.template]).status.code(), Some(2), "no series");
}

#[test]
fn template_without_its_parts_is_refused_by_name() {
    let pins = pins(1);
    let entry = |name: &str, bytes: &[u8]| Entry { name: name.into(), bytes: bytes.into() };
    let manifest = |path: &str| {
        let component = Component::native(Os::Linux, Arch::X86_64, path.to_owned());
        entry(MANIFEST_NAME, &manifest::write("x", &[component]))
    };
    let pinned = |entries: &[Entry]| pin(&archive::write(entries).unwrap(), &pins).unwrap_err();
    assert!(matches!(pinned(&[entry("a.so", b"")]), TemplateError::NoManifest));
    assert!(matches!(pinned(&[manifest("a.so")]), TemplateError::Missing(name) if name == "a.so"));
    let text = pinned(&[manifest("a.so"), entry("a.so", b"text")]);
    assert!(matches!(text, TemplateError::Image { name, .. } if name == "a.so"));
}

#[test]
fn signed_library_and_damaged_pin_are_refused() {
    let mut plain = pe_library(0);
    assert_eq!(Image::read(&plain).unwrap().os, Os::Windows);
    pin_library("a.dll", &mut plain, &pins(1)).unwrap();
    assert!(read_tail(&plain).unwrap().is_some());
    let signed = pin_library("a.dll", &mut pe_library(0x100), &pins(1));
    assert!(matches!(signed, Err(TemplateError::Signed(_))));
    let last = plain.len() - 40;
    plain[last] ^= 1;
    let damaged = pin_library("a.dll", &mut plain, &pins(1));
    assert!(matches!(damaged, Err(TemplateError::Pin { .. })));
}
