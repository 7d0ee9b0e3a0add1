//! The licence document is what it claims to be: PyJWT, which knows nothing of us, verifies it
//! under the public series file, and it is worthless on another computer.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use xtask::build::workspace;
use xtask::stage::{Order, Server, Stage, Vendor};

/// Exit code of the script when PyJWT refuses.
const REFUSED: i32 = 3;

fn python(stage: &Stage) -> PathBuf {
    let python = stage.bins().target().join("venv").join("bin").join("python");
    assert!(python.exists(), "no Python with PyJWT; `cargo xtask test` makes it");
    python
}

fn verify(stage: &Stage, series: &Path, licence: &Path) -> Output {
    let script = workspace().unwrap().join("crates/xtask/tests/verify_licence.py");
    Command::new(python(stage)).arg(script).args([series, licence]).output().unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

/// The document with one letter of part `part` (0 header, 1 claims, 2 signature) changed.
fn tampered(document: &str, part: usize) -> String {
    let mut parts: Vec<String> = document.trim().split('.').map(str::to_owned).collect();
    // A letter in the middle: the last one of a part may hold bits that decoding ignores.
    let middle = parts[part].len() / 2;
    let other = if parts[part].as_bytes()[middle] == b'A' { "B" } else { "A" };
    parts[part].replace_range(middle..=middle, other);
    parts.join(".")
}

#[test]
fn foreign_library_verifies_the_licence_and_notices_one_changed_letter() {
    let stage = Stage::temporary().unwrap();
    let vendor = Vendor::start(&stage).unwrap();
    let server = Server::start(&stage, "server", &vendor, 0).unwrap();
    let shown = server.activate(&stage, &vendor, Order { kind: "main", seats: 5 }).unwrap();
    let file = server.licence_file().unwrap();
    let series = vendor.series_file();

    let output = verify(&stage, &series, &file);
    assert_eq!(code(&output), Some(0), "{output:?}");
    let claims: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(claims["iss"], "urn:licence-series:672B");
    for name in ["KeyNo", "KeyID", "KeyType", "LicenceCount", "ActivationDate", "Flags"] {
        assert!(!claims[name].is_null(), "no {name} in {claims}");
        assert_eq!(claims[name], shown[name], "{name}");
    }

    let document = std::fs::read_to_string(&file).unwrap();
    for part in 0..3 {
        let path = stage.root().join(format!("tampered-{part}.licence"));
        std::fs::write(&path, tampered(&document, part)).unwrap();
        let output = verify(&stage, &series, &path);
        assert_eq!(code(&output), Some(REFUSED), "part {part}: {output:?}");
    }

    let other = Stage::temporary().unwrap();
    let other_series = Vendor::start(&other).unwrap().series_file();
    assert_eq!(code(&verify(&stage, &other_series, &file)), Some(REFUSED), "another vendor's key");
}

#[test]
fn copied_licence_is_worthless_on_another_server() {
    let stage = Stage::temporary().unwrap();
    let vendor = Vendor::start(&stage).unwrap();
    let server = Server::start(&stage, "server", &vendor, 0).unwrap();
    server.activate(&stage, &vendor, Order { kind: "main", seats: 5 }).unwrap();
    let file = server.licence_file().unwrap();

    let mut thief = Server::start(&stage, "thief", &vendor, 0).unwrap();
    thief.stop().unwrap();
    let keys = thief.data().join("data");
    std::fs::create_dir_all(&keys).unwrap();
    std::fs::copy(&file, keys.join(file.file_name().unwrap())).unwrap();
    thief.restart(&stage).unwrap();
    let licences = thief.rest().licences().unwrap();
    assert_eq!(licences.len(), 1, "{licences:?}");
    assert_eq!(licences[0]["Workable"], false, "{licences:?}");
    assert_eq!(licences[0]["Enabled"], false, "{licences:?}");
    assert_eq!(server.rest().licences().unwrap()[0]["Enabled"], true);
}

#[test]
fn used_code_is_refused_on_a_second_server_and_answered_again_on_the_first() {
    let stage = Stage::temporary().unwrap();
    let vendor = Vendor::start(&stage).unwrap();
    let first = Server::start(&stage, "first", &vendor, 0).unwrap();
    let second = Server::start(&stage, "second", &vendor, 0).unwrap();
    let code = vendor.order(&stage, Order { kind: "main", seats: 5 }).unwrap();
    let licence = first.rest().activate(&code).unwrap();
    let body = serde_json::json!({ "ActivationCodeString": code });
    let refused = second.rest().try_post("/api/licences", &body).unwrap();
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_eq!(refused.body["Code"], 400);
    assert!(refused.body["Message"].as_str().unwrap().starts_with('('), "{refused:?}");
    assert_eq!(second.rest().licences().unwrap().len(), 0);
    // The answer to the first round may have been lost on the way.
    assert_eq!(first.rest().activate(&code).unwrap()["KeyNo"], licence["KeyNo"]);
    assert_eq!(first.rest().licences().unwrap().len(), 1);
}
