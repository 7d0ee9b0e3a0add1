//! What makes packages a release: sums, signature, lists of components, comparison, changelog.
//!
//! Sums and signatures are checked by the programs that a receiver has, sha256sum and minisign; without
//! them these tests fail.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use xtask::build::workspace;
use xtask::dist::release::changelog::{self, State};
use xtask::dist::release::compare::compare;
use xtask::dist::release::signature::Key;
use xtask::dist::release::{finish_with, sbom, sums, verify};
use xtask::dist::target::Job;

/// 2026-11-22, 10:00 UTC.
const MOMENT: u64 = 1_795_341_600;

/// Version of the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn job<'a>(root: &'a Path, folder: &'a Path) -> Job<'a> {
    Job { root, work: folder, out: folder, version: VERSION, moment: MOMENT }
}

/// Runs a program in a folder; what it printed when it succeeded, else what it complained of.
fn run(folder: &Path, call: &[&str]) -> Result<String, String> {
    let output = Command::new(call[0])
        .args(&call[1..])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|why| panic!("{} is needed: {why}", call[0]));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// A pair of keys without a password: files of the public and the secret one.
fn keys(folder: &Path) -> (PathBuf, PathBuf) {
    let (public, secret) = (folder.join("release.pub"), folder.join("release.key"));
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    std::fs::write(&public, pair.pk.to_box().unwrap().to_string()).unwrap();
    std::fs::write(&secret, pair.sk.to_box(None).unwrap().to_string()).unwrap();
    (public, secret)
}

/// A pair of keys as a person makes it: by minisign, with a password. With little memory at hand minisign
/// takes less of it to derive the key, or this would take a GiB and long.
fn keys_of_minisign(folder: &Path, password: &str) -> (PathBuf, PathBuf) {
    let mut minisign = Command::new("sh")
        .args(["-c", "ulimit -v 100000; exec minisign -G -p release.pub -s release.key"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("minisign is needed");
    // It asks twice.
    write!(minisign.stdin.take().unwrap(), "{password}\n{password}\n").unwrap();
    assert!(minisign.wait().unwrap().success());
    (folder.join("release.pub"), folder.join("release.key"))
}

/// Two packages and what a release adds.
fn released(folder: &Path, key: Option<&Key>) -> String {
    let packages = [folder.join("b.deb"), folder.join("a.win.exe")];
    for (path, bytes) in packages.iter().zip([b"one", b"two"]) {
        std::fs::write(path, bytes).unwrap();
    }
    let root = workspace().unwrap();
    let mut said = Vec::new();
    finish_with(&job(&root, folder), &packages, key, &mut said).unwrap();
    String::from_utf8(said).unwrap()
}

#[test]
fn release_is_verified_by_sha256sum_and_minisign_and_made_again_is_the_same() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (folder, public) = (folder.path(), keys(elsewhere.path()));
    let key = Key::load(&public.1, None).unwrap();
    let said = released(folder, Some(&key));
    assert!(!said.contains("not signed"), "{said}");
    let sums = std::fs::read(folder.join("SHA256SUMS")).unwrap();

    let summed = run(folder, &["sha256sum", "--check", "--strict", "SHA256SUMS"]).unwrap();
    let names: Vec<_> = summed.lines().map(|line| line.split(": ").next().unwrap()).collect();
    let mut wanted = vec!["a.win.exe".to_owned(), "b.deb".to_owned()];
    wanted.extend(
        ["licenceaddin", "licencecentre", "licencekit", "licenceserver"]
            .map(|product| format!("{product}-{VERSION}.cdx.json")),
    );
    assert_eq!(names, wanted);

    let public = public.0.to_str().unwrap();
    let call = ["minisign", "-V", "-p", public, "-m", "SHA256SUMS"];
    let verified = run(folder, &call).unwrap();
    assert!(verified.contains("Signature and comment signature verified"), "{verified}");
    assert!(verified.contains(&format!("licenceserver {VERSION}")), "{verified}");

    let mut said = Vec::new();
    verify(folder, Some(public), &mut said).unwrap();
    // The letters of the key do as well as its file.
    let letters = std::fs::read_to_string(public).unwrap().lines().last().unwrap().to_owned();
    verify(folder, Some(&letters), &mut said).unwrap();

    // Made once more without a key it is the same, and has no signature of before.
    let said = released(folder, None);
    assert!(said.contains("not signed: LICENCE_RELEASE_KEY names no secret key"), "{said}");
    assert_eq!(std::fs::read(folder.join("SHA256SUMS")).unwrap(), sums);
    assert!(!folder.join("SHA256SUMS.minisig").exists());
    let mut said = Vec::new();
    verify(folder, None, &mut said).unwrap();
    assert!(String::from_utf8(said).unwrap().contains("not signed"));
}

#[test]
fn signature_of_another_key_or_of_other_sums_is_refused() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let others = tempfile::tempdir().unwrap();
    let (folder, ours, other) = (folder.path(), keys(elsewhere.path()), keys(others.path()));
    std::fs::write(folder.join("a.deb"), "one").unwrap();
    let sums = sums::write(folder, &[&folder.join("a.deb")]).unwrap();
    let key = Key::load(&ours.1, None).unwrap();
    key.sign(&sums, &job(folder, folder), &folder.join("SHA256SUMS.minisig")).unwrap();
    verify(folder, ours.0.to_str(), &mut Vec::new()).unwrap();
    let refused =
        |public: &Path| verify(folder, public.to_str(), &mut Vec::new()).unwrap_err().to_string();
    assert!(refused(&other.0).contains("different from public key"), "{}", refused(&other.0));
    assert!(refused(&ours.1).contains("neither a public key"), "{}", refused(&ours.1));
    let mut file =
        std::fs::OpenOptions::new().append(true).open(folder.join("SHA256SUMS")).unwrap();
    writeln!(file, "{}  c.rpm", "0".repeat(64)).unwrap();
    assert!(refused(&ours.0).contains("verification failed"), "{}", refused(&ours.0));
}

#[test]
fn key_with_a_password_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let (password, file) = ("correct horse", folder.path().join("password"));
    let (public, secret) = keys_of_minisign(folder.path(), password);
    std::fs::write(&file, "wrong").unwrap();
    let refused = Key::load(&secret, Some(&file)).unwrap_err().to_string();
    assert!(refused.contains("Wrong password") && !refused.contains("horse"), "{refused}");

    std::fs::write(&file, format!("{password}\n")).unwrap();
    let key = Key::load(&secret, Some(&file)).unwrap();
    let out = tempfile::tempdir().unwrap();
    let (sums, signature) = (out.path().join("SHA256SUMS"), out.path().join("SHA256SUMS.minisig"));
    std::fs::write(&sums, "sums").unwrap();
    key.sign(&sums, &job(out.path(), out.path()), &signature).unwrap();
    let call = ["minisign", "-V", "-p", public.to_str().unwrap(), "-m", "SHA256SUMS"];
    run(out.path(), &call).unwrap();
}

#[test]
fn file_that_is_no_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let call = ["minisign", "-G", "-W", "-p", "release.pub", "-s", "no-checksum"];
    run(folder.path(), &call).unwrap();
    for text in ["", "untrusted comment: x\n", "untrusted comment: x\nRWQAAEIyAAAA\n"] {
        std::fs::write(&file, text).unwrap();
        assert!(Key::load(&file, Some(&file)).is_err(), "{text:?}");
    }
    let refused = Key::load(&folder.path().join("no-checksum"), None).unwrap_err().to_string();
    assert!(refused.contains("Corrupted key"), "{refused}");
}

#[test]
fn every_fault_of_a_folder_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["gone", "changed", "fine"] {
        std::fs::write(at(name), name).unwrap();
    }
    let files = [at("gone"), at("changed"), at("fine")];
    sums::write(folder.path(), &files.each_ref().map(PathBuf::as_path)).unwrap();
    std::fs::remove_file(at("gone")).unwrap();
    std::fs::write(at("changed"), "other").unwrap();
    std::fs::write(at("stranger"), "").unwrap();
    let report = sums::check(folder.path()).unwrap();
    assert_eq!(report.fine, ["fine"]);
    assert_eq!(
        report.faults,
        [
            "changed: changed, its SHA-256 is not the listed one",
            "gone: missing",
            "stranger: not listed"
        ]
    );
    let mut said = Vec::new();
    let refused = verify(folder.path(), None, &mut said).unwrap_err().to_string();
    assert!(refused.ends_with("3 of 4 files are not as listed"), "{refused}");
}

#[test]
fn sums_that_are_none_or_lead_elsewhere_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sum = "0".repeat(64);
    for text in [
        String::new(),
        "short  name\n".to_owned(),
        format!("{sum} name\n"),
        format!("{sum}  ../name\n"),
        format!("{sum}  /etc/passwd\n"),
        format!("{sum}  a\n{sum}  a\n"),
    ] {
        std::fs::write(folder.path().join(sums::NAME), &text).unwrap();
        assert!(sums::check(folder.path()).is_err(), "{text:?}");
    }
    let outside = tempfile::NamedTempFile::new().unwrap();
    assert!(sums::write(folder.path(), &[outside.path()]).is_err());
}

/// The document of a product.
fn components(folder: &Path, product: &str) -> Value {
    let path = folder.join(format!("{product}-{VERSION}.cdx.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn lists_of_components_name_what_is_linked_with_licence_and_digest() {
    let one = tempfile::tempdir().unwrap();
    let root = workspace().unwrap();
    assert_eq!(sbom::write_all(&job(&root, one.path())).unwrap().len(), 4);

    for (product, linked, not_linked) in [
        // A macro and a crate of tests are in no program.
        (
            "licenceserver",
            &["rusqlite", "sqlite", "tokio", "ring"][..],
            &["serde_derive", "proptest"][..],
        ),
        ("licenceaddin", &["licence-client", "ring"], &["sqlite", "tokio", "licence-epf"]),
        ("licencekit", &["age"], &["criterion"]),
        ("licencecentre", &["postgres", "sqlite"], &["licenceserver", "tempfile"]),
    ] {
        let document = components(one.path(), product);
        assert_eq!(document["specVersion"], "1.6");
        assert_eq!(document["metadata"]["component"]["name"], product);
        assert_eq!(document["metadata"]["component"]["version"], VERSION);
        assert_eq!(document["metadata"]["timestamp"], "2026-11-22T10:00:00Z");
        let all = document["components"].as_array().unwrap();
        let names: BTreeSet<_> = all.iter().map(|c| c["name"].as_str().unwrap()).collect();
        for name in linked {
            assert!(names.contains(name), "{product}: no {name}");
        }
        for name in not_linked {
            assert!(!names.contains(name), "{product}: {name}");
        }
        let known: BTreeSet<_> = document["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["ref"].as_str().unwrap())
            .collect();
        for component in all {
            let name = &component["name"];
            assert!(known.contains(component["bom-ref"].as_str().unwrap()), "{name}");
            let licence = component["licenses"][0]["expression"].as_str().unwrap();
            assert!(!licence.contains('/'), "{name}: {licence}");
            if component["bom-ref"].as_str().unwrap().starts_with("pkg:cargo/") {
                assert_eq!(component["hashes"][0]["content"].as_str().unwrap().len(), 64);
            }
        }
    }
    let (server, kit) =
        (components(one.path(), "licenceserver"), components(one.path(), "licencekit"));
    assert_ne!(server["serialNumber"], kit["serialNumber"]);
    // What one system alone links is marked.
    let windows = server["components"]
        .as_array()
        .unwrap()
        .iter()
        .find(|component| component["properties"][0]["value"] == "windows64 windows32");
    assert!(windows.is_some());
}

/// A deb of one file.
fn deb(to: &Path, content: &str) {
    let folder = tempfile::tempdir().unwrap();
    let control = folder.path().join("DEBIAN");
    std::fs::create_dir_all(&control).unwrap();
    std::fs::create_dir_all(folder.path().join("opt")).unwrap();
    std::fs::write(folder.path().join("opt").join("file"), content).unwrap();
    let text = "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n";
    std::fs::write(control.join("control"), text).unwrap();
    let output = Command::new("dpkg-deb")
        .args(["--root-owner-group", "-b"])
        .args([folder.path(), to])
        .env("SOURCE_DATE_EPOCH", MOMENT.to_string())
        .output()
        .expect("dpkg-deb is needed");
    assert!(output.status.success());
}

fn tar_gz(to: &Path, content: &[u8], mtime: u64) {
    let file = std::fs::File::create(to).unwrap();
    let packer = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    let mut tar = tar::Builder::new(packer);
    let mut header = tar::Header::new_gnu();
    header.set_size(u64::try_from(content.len()).unwrap());
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(mtime);
    tar.append_data(&mut header, "kit/licencekit", content).unwrap();
    tar.into_inner().unwrap().finish().unwrap();
}

fn zip_file(to: &Path, content: &[u8]) {
    let mut zip = zip::ZipWriter::new(std::fs::File::create(to).unwrap());
    zip.start_file("library.dll", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(content).unwrap();
    zip.finish().unwrap();
}

#[test]
fn two_folders_that_differ_are_told_apart_down_to_the_member() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (folder, content, mtime) in [(&one, "first", 1), (&other, "twice", 2)] {
        let at = |name: &str| folder.path().join(name);
        deb(&at("x.deb"), content);
        tar_gz(&at("x.tar.gz"), b"same", mtime);
        zip_file(&at("x.zip"), content.as_bytes());
        std::fs::write(at("same"), "same").unwrap();
        std::fs::write(at("x.exe"), format!("MZ..{content}")).unwrap();
        std::fs::write(at("SHA256SUMS.minisig"), content).unwrap();
        std::fs::create_dir(at("below")).unwrap();
        std::fs::write(at("below").join(content), "").unwrap();
    }
    let lines = compare(one.path(), other.path()).unwrap();
    let text = lines.join("\n");
    for wanted in [
        "below/first: only in",
        "below/twice: only in",
        "x.deb: differs\n  data/./opt/file: place",
        "x.exe: differs\n  5 bytes differ, the first at 0x4",
        "x.tar.gz: differs\n  kit/licencekit: place 0, mode 755, owner 0:0, time 1, 4 bytes",
        "x.zip: differs\n  library.dll: place 0",
    ] {
        assert!(text.contains(wanted), "{wanted}\n---\n{text}");
    }
    assert!(!text.contains("same:") && !text.contains("minisig"), "{text}");
    assert!(xtask::dist::release::compare::run(one.path(), other.path(), &mut Vec::new()).is_err());
    assert_eq!(compare(one.path(), one.path()).unwrap(), [""; 0]);
    let empty = tempfile::tempdir().unwrap();
    assert!(compare(empty.path(), empty.path()).is_err());
}

#[test]
fn section_that_differs_in_a_program_is_named() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (folder, content) in [(&one, "first"), (&other, "other")] {
        let source = folder.path().join("x.c");
        std::fs::write(&source, format!("const char text[] = \"{content}\";")).unwrap();
        let object = folder.path().join("x.so");
        let status = Command::new("cc")
            .args(["-shared", "-Wl,--build-id=none", "-o"])
            .args([&object, &source])
            .status()
            .expect("a C compiler is needed");
        assert!(status.success());
    }
    let text = compare(one.path(), other.path()).unwrap().join("\n");
    assert!(
        text.contains("x.so: differs\n  5 bytes differ") && text.contains("in .rodata"),
        "{text}"
    );
}

#[test]
fn changelog_must_have_one_section_of_the_version_with_a_day_or_not_released() {
    let day =
        |text: &str| changelog::section(text, "4.0.0").map(|section| section.state.to_string());
    let body = "\n### Added\n\n- x\n\n## 3.0.0 – 2025-01-01\n\n- y\n";
    let section =
        changelog::section(&format!("# C\n\n## 4.0.0 – not released\n{body}"), "4.0.0").unwrap();
    assert_eq!((section.state, section.text.as_str()), (State::NotReleased, "### Added\n\n- x\n"));
    for heading in ["## 4.0.0 – 2026-11-22", "## 4.0.0 - 2026-11-22"] {
        assert_eq!(day(&format!("{heading}\n{body}")).unwrap(), "of 2026-11-22");
    }
    for (text, why) in [
        (body.to_owned(), "no section"),
        (format!("## 4.0.0-rc.1 – 2026-11-22\n{body}"), "no section"),
        (format!("## 4.0.0 – soon\n{body}"), "expected a day"),
        (format!("## 4.0.0\n{body}"), "expected a day"),
        (
            "## 4.0.0 – 2026-11-22\n\n### Added\n\n## 3.0.0 – 2025-01-01\n\n- y\n".to_owned(),
            "empty",
        ),
        (
            format!("## 4.0.0 – 2026-11-22\n- x\n## 4.0.0 – 2026-11-23\n- x\n{body}"),
            "more than one",
        ),
    ] {
        let refused = day(&text).unwrap_err().to_string();
        assert!(refused.contains(why), "{text:?}: {refused}");
    }
}

#[test]
fn version_has_its_section_and_a_tag_of_another_version_is_refused() {
    let root = workspace().unwrap();
    changelog::of_workspace(&root, VERSION).unwrap();
    let refused = changelog::tag(&root, "v0.0.1").unwrap_err().to_string();
    assert!(refused.contains("does not fit"), "{refused}");
}

#[test]
fn version_of_the_rest_description_is_that_of_the_workspace() {
    let openapi = workspace().unwrap().join("docs").join("openapi.yaml");
    let text = std::fs::read_to_string(openapi).unwrap();
    let version = text.lines().find_map(|line| line.strip_prefix("  version: "));
    assert_eq!(version, Some(VERSION));
}
