//! The template bundle: packed from libraries, checked, and made by the whole command.
//!
//! The small libraries are compiled here; without a C compiler these tests fail.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::path::Path;
use std::process::Command;

use licencekit::template::archive::{self, Entry};
use licencekit::template::image::{Arch, Image, Os, PLATFORM_EXPORTS};
use licencekit::template::manifest::MANIFEST_NAME;
use xtask::dist::bundle::{SYSTEMS, System, pack};
use xtask::dist::check::{check, run as check_file};
use xtask::dist::{BundleArgs, bundle};

const NAME: &str = "licenceaddin_4_0_0_lin64.so";

fn lin64() -> System {
    *SYSTEMS.iter().find(|system| system.tag == "lin64").unwrap()
}

/// A library of this machine with these exports.
fn library(exports: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (source, built) = (folder.path().join("library.c"), folder.path().join("library.so"));
    let functions: Vec<_> =
        exports.iter().map(|name| format!("long {name}(void) {{ return 0; }}")).collect();
    std::fs::write(&source, functions.join("\n")).unwrap();
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&built, &source])
        .status()
        .expect("a C compiler is needed");
    assert!(status.success());
    std::fs::read(built).unwrap()
}

fn faults(template: &[u8]) -> Vec<String> {
    let report = check(template);
    assert_eq!(report.result().is_ok(), report.faults.is_empty());
    report.faults
}

/// A template whose files were changed after it was packed.
fn spoiled(spoil: impl FnOnce(&mut Vec<Entry>)) -> Vec<String> {
    let template = pack("4.0.0", vec![(lin64(), library(&PLATFORM_EXPORTS))]).unwrap();
    let mut entries = archive::read(&template).unwrap();
    spoil(&mut entries);
    faults(&archive::write(&entries).unwrap())
}

#[cfg(target_arch = "x86_64")]
#[test]
fn faults_of_a_template_are_told_one_by_one() {
    assert_eq!(spoiled(|_| {}), [""; 0]);
    assert_eq!(
        spoiled(|entries| entries.retain(|entry| entry.name == MANIFEST_NAME)),
        [format!("{NAME} is not there")]
    );
    assert_eq!(
        spoiled(|entries| entries[1].bytes = library(&PLATFORM_EXPORTS[..4])),
        [format!("{NAME}: does not export GetAttachType")]
    );
    // e_machine of ELF: 183 is ARM of 64 bits.
    assert_eq!(
        spoiled(|entries| entries[1].bytes[18] = 183),
        [
            format!("{NAME}: {MANIFEST_NAME} says Linux x86_64, its headers Linux ARM64"),
            format!("{NAME}: the name does not say Linux ARM64"),
        ]
    );
    let text = spoiled(|entries| entries[1].bytes = b"text".to_vec());
    assert!(text[0].starts_with(&format!("{NAME}: not a library")), "{text:?}");
    assert_eq!(
        spoiled(|entries| entries
            .push(Entry { name: "other.so".to_owned(), bytes: entries[1].bytes.clone() })),
        [format!("other.so is not named by {MANIFEST_NAME}")]
    );
    assert_eq!(
        spoiled(|entries| drop(entries.remove(0))),
        [format!("the template has no {MANIFEST_NAME}")]
    );
    assert_eq!(faults(b"text").len(), 1);
}

#[test]
fn manifest_that_promises_another_system_is_found_out() {
    let library = library(&PLATFORM_EXPORTS);
    let libraries = SYSTEMS.iter().map(|system| (*system, library.clone())).collect();
    let template = pack("4.0.0", libraries).unwrap();
    let found = faults(&template);
    // Each system but the machine's own: headers and name.
    assert_eq!(found.len(), 2 * (SYSTEMS.len() - 1), "{found:?}");
    assert!(found.iter().any(|fault| fault.contains("says Windows i386")), "{found:?}");
}

#[test]
fn whole_command_packs_the_component_of_this_machine_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let args = |out: &str| BundleArgs {
        out: Some(folder.path().join(out)),
        debug: true,
        target: Vec::new(),
    };
    let mut said = Vec::new();
    bundle::run(&args("one"), &mut said).unwrap();
    let said = String::from_utf8(said).unwrap();
    bundle::run(&args("two"), &mut Vec::new()).unwrap();
    let name = format!("licenceaddin-{}-template.zip", env!("CARGO_PKG_VERSION"));
    let path = folder.path().join("one").join(&name);
    let template = std::fs::read(&path).unwrap();
    assert_eq!(template, std::fs::read(folder.path().join("two").join(&name)).unwrap());
    check_file(&path, &mut Vec::new()).unwrap();
    assert!(check_file(Path::new("no such file"), &mut Vec::new()).is_err());
    let entries = archive::read(&template).unwrap();
    let built = entries.iter().find(|entry| entry.name.contains("_lin")).unwrap();
    let image = Image::read(&built.bytes).unwrap();
    assert_eq!((image.os, image.missing_exports()), (Os::Linux, vec![]));
    assert!(image.exports.contains("LicenceAddinTakeOver"));
    assert_eq!(image.exports.len(), 6, "nothing else is exported: {:?}", image.exports);
    assert!(said.contains(", glibc 2."), "{said}");
    let arch = if cfg!(target_arch = "x86_64") { Arch::X86_64 } else { Arch::Arm64 };
    for system in SYSTEMS.iter().filter(|system| (system.os, system.arch) != (Os::Linux, arch)) {
        let is_packed = entries.iter().any(|entry| entry.name.contains(system.tag));
        let is_left_out = said.contains(&format!("left out {}: not installed", system.tag));
        assert_ne!(is_packed, is_left_out, "{}: {said}", system.tag);
    }
}
