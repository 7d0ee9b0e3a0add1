//! Unification: what is installed serves in place of the library from the template.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::library;
use crate::host::Host;
use crate::pinned::{copy_with, only_log, pin, start_unpinned};

/// What the platform does in short: one object of each way of destruction.
const VISIT: &str = "load\nnew A LicenceExtension\nnew B LicenceExtension order=oscript\nget A Версия\n\
                     get B Версия\ndestroy A\ndelete B\nunload\n";

const GONE: [&str; 2] = ["ok threads=1 mapped=0", "bye outstanding=0 foreign=0"];

/// The place where the installed component of this host is looked for.
fn place(host: &Host) -> PathBuf {
    fs::create_dir_all(host.installed()).unwrap();
    host.installed().join(format!("licenceaddin-{}.so", std::env::consts::ARCH))
}

fn notes(host: &Host) -> PathBuf {
    host.installed().join("notes")
}

/// Compiles the component of another version to the place of the installed one.
fn install_other(host: &Host, classes: &str, answer: i32, more: &[&str]) {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let status = Command::new("g++")
        .args(["-std=c++17", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"])
        .arg("-I")
        .arg(sources.join("../../addin-native-api/include"))
        .arg("-DOTHER_VERSION=\"9.9.9\"")
        .arg(format!("-DOTHER_CLASSES=\"{classes}\""))
        .arg(format!("-DOTHER_ANSWER={answer}"))
        .arg(format!("-DOTHER_NOTES=\"{}\"", notes(host).display()))
        .args(more)
        .arg("-o")
        .arg(place(host))
        .arg(sources.join("tests/host/other.cpp"))
        .status()
        .expect("a C++ compiler is needed");
    assert!(status.success());
}

fn own_version() -> String {
    format!("string {}", env!("CARGO_PKG_VERSION"))
}

#[test]
fn installed_component_of_another_version_makes_and_destroys_the_objects() {
    let host = Host::new();
    install_other(&host, "LicenceExtension|LicenceExtension20", 1, &[]);
    let lines = host.run(VISIT);
    assert_eq!(lines[3..5], ["string 9.9.9", "string 9.9.9"]);
    assert_eq!(lines[7..], GONE);
    let notes = fs::read_to_string(notes(&host)).unwrap();
    let notes: Vec<&str> = notes.lines().collect();
    let message: serde_json::Value = serde_json::from_str(notes[0]).unwrap();
    assert_eq!(message["Contract"], 1);
    assert_eq!(message["Version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(message["From"], "liblicenceaddin.so");
    assert_eq!(message["Pins"], serde_json::json!([]));
    // One was deleted by its own destructor; the library goes away with ours.
    assert_eq!(notes[1..], ["made", "made", "destroyed", "farewell"]);
}

#[test]
fn class_that_the_installed_component_lacks_is_made_here() {
    let host = Host::new();
    install_other(&host, "AnotherClass", 1, &[]);
    let lines = host.run(VISIT);
    assert_eq!(lines[3..5], [own_version(), own_version()]);
    assert_eq!(lines[7..], GONE);
    let lines = host.run(
        "load\nnew A AnotherClass\nnew B LicenceExtension\nget A Version\n\
                          get B Version\ndestroy B\ndestroy A\nunload\n",
    );
    assert_eq!(lines[3..5], ["string 9.9.9".to_owned(), own_version()]);
    assert_eq!(lines[7..], GONE);
}

#[test]
fn second_build_of_ours_takes_the_whole_work_with_its_pins() {
    let host = Host::new();
    // A byte more behind the image: another file, and a library all the same.
    copy_with(&place(&host), b"x");
    let template = host.installed().join("template.so");
    copy_with(&template, &pin());
    let lines = host.run_library(&template, &start_unpinned());
    assert_eq!(lines[3..5], ["bool 0", "string ELocalServerNotFound"], "the pin went along");
    assert_eq!(lines[6..], GONE);
    let (name, log) = only_log(&host);
    let stem = place(&host).file_stem().unwrap().to_str().unwrap().to_owned();
    assert!(name.ends_with(&format!(".{stem}.log")), "the installed one writes the log: {name}");
    assert!(log.contains("takes over the work of \"template.so\""), "{log}");
}

#[test]
fn same_library_is_never_handed_the_work_to() {
    for (case, link) in [("copy", false), ("link", true)] {
        let host = Host::new();
        if link {
            fs::hard_link(library(), place(&host))
                .or_else(|_| std::os::unix::fs::symlink(library(), place(&host)))
                .unwrap();
        } else {
            copy_with(&place(&host), &pin());
        }
        let lines = host.run(&start_unpinned());
        assert_eq!(lines[4], "string ESeriesNotPinned", "{case}");
        assert_eq!(lines[6..], GONE, "{case}");
        let (name, log) = only_log(&host);
        assert!(name.ends_with(".liblicenceaddin.log"), "{case}: {name}");
        assert!(!log.contains("installed component"), "{case}: {log}");
    }
}

#[test]
fn unfit_file_at_the_place_is_passed_over_and_named_in_the_log() {
    type Spoil = fn(&Host);
    let table: [(&str, Spoil, &str); 13] = [
        ("text", |host| fs::write(place(host), "не библиотека").unwrap(), "no library"),
        (
            "garbage",
            |host| copy_patched(host, |bytes| bytes.drain(..9).for_each(drop)),
            "no library",
        ),
        ("cut", |host| copy_patched(host, |bytes| bytes.truncate(5000)), "no library"),
        ("empty", |host| fs::write(place(host), "").unwrap(), "no library"),
        ("other processor", |host| copy_patched(host, |bytes| bytes[18] = 243), "processor"),
        ("program", |host| assert!(fs::copy("/bin/true", place(host)).is_ok()), "does not export"),
        ("folder", |host| fs::create_dir(place(host)).unwrap(), "not a regular file"),
        (
            "missing export",
            |host| install_other(host, "LicenceExtension", 1, &["-DOTHER_LACKS"]),
            "does not export GetAttachType",
        ),
        ("refusal", |host| install_other(host, "LicenceExtension", 0, &[]), "does not take"),
        (
            "file of everybody",
            |host| {
                copy_with(&place(host), b"x");
                fs::set_permissions(place(host), Permissions::from_mode(0o666)).unwrap();
            },
            "everybody may write to it",
        ),
        (
            "folder of everybody",
            |host| {
                copy_with(&place(host), b"x");
                fs::set_permissions(host.installed(), Permissions::from_mode(0o777)).unwrap();
            },
            "everybody may write to its folder",
        ),
        (
            "folder above that of everybody",
            |host| {
                copy_with(&place(host), b"x");
                let above = host.installed().parent().unwrap().to_owned();
                fs::set_permissions(above, Permissions::from_mode(0o777)).unwrap();
            },
            "everybody may write to a folder above it",
        ),
        (
            "pipe",
            |host| {
                let made = Command::new("mkfifo").arg(place(host)).status().unwrap();
                assert!(made.success());
            },
            "not a regular file",
        ),
    ];
    for (case, spoil, reason) in table {
        let host = Host::new();
        spoil(&host);
        let lines = host.run(&start_unpinned());
        assert_eq!(lines[4], "string ESeriesNotPinned", "{case}: {lines:?}");
        assert_eq!(lines[6..], GONE, "{case}");
        let (name, log) = only_log(&host);
        assert!(name.ends_with(".liblicenceaddin.log"), "{case}: {name}");
        let line = log.lines().find(|line| line.contains("is not used as the installed component"));
        assert!(line.is_some_and(|line| line.contains(reason)), "{case}: {log}");
    }
}

fn copy_patched(host: &Host, patch: fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(library()).unwrap();
    patch(&mut bytes);
    fs::write(place(host), bytes).unwrap();
}
