//! The identity of a real server: taken over from an earlier one, locked on another computer, put
//! aside, sealed anew. The other computer is a described one; this one is whatever runs the test.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
#![cfg(target_os = "linux")]

mod process;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use licence_core::binding::PartKind;
use licence_core::identity_seal::Part;
use licence_core::seal::{PublicKey, SigningKey, hex_upper};
use licenceserver::identity::{Computer, Identity, SealOptions, public_in};
use licenceserver::paths::Paths;
use process::{Running, program, text};

const SEED: [u8; 32] = *b"a seed that nobody will ever use";

/// A computer that this one is not.
fn other_computer() -> Computer {
    let part = |kind, value| Part::new(kind, value);
    Computer::told(vec![
        part(PartKind::System, "4c4c4544-0042-3510-8052-b4c04f4a3132"),
        part(PartKind::Disk, "naa.5002538f3140d07d"),
        part(PartKind::NetworkCard, "b4:45:06:aa:bb:cc"),
        part(PartKind::MachineId, "0a1b2c3d4e5f60718293a4b5c6d7e8f9"),
    ])
}

/// A data folder that was copied here from another computer.
fn copied(base: &Path) -> (Paths, PublicKey) {
    let paths = Paths::new(base);
    let options =
        SealOptions { computer: other_computer(), ..SealOptions::parts_only(&paths.identity()) };
    let public = Identity::open_or_make(options).unwrap().public();
    (paths, public)
}

fn identity_command(base: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_licenceserver"));
    command.arg("identity").args(arguments).arg("--data").arg(base);
    command.env_remove("LC_ALL").env("LANG", "C").output().unwrap()
}

fn check_command(base: &Path, arguments: &[&str], code: i32, part: &str) -> String {
    let output = identity_command(base, arguments);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(part), "{arguments:?}: no {part:?} in {said}");
    said
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

/// No file below a folder holds the seed as bytes, hex or base64.
fn check_seed_is_nowhere(folder: &Path, seed: &[u8; 32]) {
    let der = Identity::from_seed(*seed).pkcs8();
    let hex = hex_upper(seed);
    let needles: [Vec<u8>; 6] = [
        seed.to_vec(),
        hex.to_lowercase().into_bytes(),
        hex.into_bytes(),
        STANDARD.encode(seed).trim_end_matches('=').into(),
        URL_SAFE_NO_PAD.encode(seed).into(),
        // As in a PEM file, where the seed begins in the middle of a group.
        STANDARD.encode(der)[22..].into(),
    ];
    let mut files = Vec::new();
    files_below(folder, &mut files);
    assert!(files.len() > 2, "{files:?}");
    for path in files {
        let bytes = fs::read(&path).unwrap();
        for needle in &needles {
            let is_there = bytes.windows(needle.len()).any(|window| window == needle.as_slice());
            assert!(!is_there, "{}", path.display());
        }
    }
}

fn asides(paths: &Paths) -> usize {
    let names = fs::read_dir(paths.settings()).unwrap().flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().starts_with("identity.seal.locked-")).count()
}

#[test]
fn plain_identity_of_an_earlier_server_is_sealed_and_its_seed_is_in_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path());
    fs::create_dir_all(paths.settings()).unwrap();
    let der = STANDARD.encode(Identity::from_seed(SEED).pkcs8());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
    fs::write(paths.identity_plain(), pem).unwrap();
    check_command(dir.path(), &["show"], 0, "It is not sealed");
    let mut command = program(dir.path(), &["run"]);
    command.env("LICENCE_LOG", "trace");
    let running = Running::start(command);
    assert_eq!(running.get("/health/ready").0, 200);
    // What a kill leaves is what there was.
    running.signal("KILL");
    drop(running.ended());
    assert!(!paths.identity_plain().exists());
    let public = SigningKey::from_seed(&SEED).public();
    assert_eq!(public_in(&paths.identity()).unwrap(), public);
    assert_eq!(fs::metadata(paths.identity()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(Identity::load_or_make(&paths.identity()).unwrap().public(), public);
    check_seed_is_nowhere(dir.path(), &SEED);
    check_command(dir.path(), &["show"], 0, &public.thumbprint());
}

#[test]
fn copied_folder_locks_the_server_until_the_former_identity_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (base, home) = (dir.path().join("copy"), dir.path().join("home"));
    let (paths, _) = copied(&base);
    let before = fs::read(paths.identity()).unwrap();
    let mut command = program(&base, &["run"]);
    command.env("LICENCE_LOG", "debug");
    let mut running = Running::launch(command);
    running.wait_closed();
    for path in ["/api/licences", "/client/v1/hello", "/systeminfo", "/"] {
        let (status, body) = running.get(path);
        assert_eq!(status, 503, "{path}: {body}");
        assert!(body.contains("EIdentityLocked") && body.contains("of 4 parts"), "{path}: {body}");
    }
    assert_eq!(running.get("/health/live").0, 200);
    assert_eq!(running.get("/health/ready").0, 503);
    check_command(&base, &["show"], 1, "of 4 parts");
    check_command(&base, &["show", "--lang", "ru"], 1, "совпадает частей компьютера");
    // The log says it once, however often it is tried again.
    running.wait_log("DEBUG licenceserver::run: the server is closed");
    let told = |log: &str| {
        log.lines().filter(|line| line.contains("ERROR") && line.contains("locked")).count()
    };
    assert_eq!(told(&running.log()), 1, "{}", running.log());
    assert_eq!(fs::read(paths.identity()).unwrap(), before, "nothing was made or changed");
    assert!(!paths.database().exists(), "nothing was granted");
    // The identity that this computer has, put where it belongs.
    let own = Identity::load_or_make(&Paths::new(&home).identity()).unwrap();
    fs::rename(Paths::new(&home).identity(), paths.identity()).unwrap();
    running.next_ready_line();
    assert_eq!(running.get("/health/ready").0, 200);
    assert_eq!(running.stop().code, Some(0));
    assert_eq!(public_in(&paths.identity()).unwrap(), own.public());
}

#[test]
fn locked_identity_is_put_aside_for_a_fresh_one_by_hand_and_only_then() {
    let dir = tempfile::tempdir().unwrap();
    let (paths, former) = copied(dir.path());
    let mut running = Running::launch(program(dir.path(), &["run"]));
    running.wait_closed();
    check_command(dir.path(), &["renew"], 1, "add --yes");
    check_command(dir.path(), &["reseal"], 1, "of 4 parts");
    assert_eq!((public_in(&paths.identity()).unwrap(), asides(&paths)), (former, 0));
    let said = check_command(dir.path(), &["renew", "--yes"], 0, "Licences of the former key");
    assert!(said.contains("identity.seal.locked-"), "{said}");
    running.next_ready_line();
    let fresh = public_in(&paths.identity()).unwrap();
    assert_ne!(fresh, former);
    assert_eq!(asides(&paths), 1);
    check_command(dir.path(), &["renew", "--yes", "--force"], 1, "another server is running");
    check_command(dir.path(), &["reseal"], 1, "another server is running");
    assert_eq!(running.stop().code, Some(0));
    check_command(dir.path(), &["renew", "--yes"], 1, "add --force");
    let sealed = fs::read(paths.identity()).unwrap();
    check_command(dir.path(), &["reseal", "--lang", "ru"], 0, "лицензии остаются в силе");
    assert_ne!(fs::read(paths.identity()).unwrap(), sealed);
    assert_eq!(public_in(&paths.identity()).unwrap(), fresh);
    check_command(dir.path(), &["renew", "--yes", "--force"], 0, "fresh key");
    assert_ne!(public_in(&paths.identity()).unwrap(), fresh);
    assert_eq!(asides(&paths), 2);
}

#[test]
fn commands_without_an_identity_or_with_a_damaged_one_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path());
    check_command(dir.path(), &["show"], 1, "the first start of the server makes it");
    fs::create_dir_all(paths.settings()).unwrap();
    check_command(dir.path(), &["reseal"], 1, "identity.seal");
    assert!(!paths.identity().exists(), "nothing is made");
    fs::write(paths.identity(), "{}").unwrap();
    check_command(dir.path(), &["show"], 1, "not a sealed identity");
    check_command(dir.path(), &["renew", "--yes"], 0, "put aside");
    check_command(dir.path(), &["show"], 0, "The key opens");
    check_command(dir.path(), &["melt"], 64, "melt");
}

#[test]
fn mounted_secret_keeps_the_identity_in_a_container_of_any_computer() {
    let dir = tempfile::tempdir().unwrap();
    let (base, secret) = (dir.path().join("data"), dir.path().join("secret"));
    let (paths, start) = (Paths::new(&base), || {
        let mut command = program(&base, &["run"]);
        command.env("LICENCE_IDENTITY_SECRET_FILE", &secret);
        command
    });
    fs::write(&secret, "0123456789abcdef0123456789abcdef\n").unwrap();
    assert_eq!(Running::start(start()).stop().code, Some(0));
    let public = public_in(&paths.identity()).unwrap();
    assert!(fs::read_to_string(paths.identity()).unwrap().contains("\"secret\""));
    fs::write(&secret, "fedcba9876543210fedcba9876543210\n").unwrap();
    let mut running = Running::launch(start());
    running.wait_closed();
    let (status, body) = running.get("/api/licences");
    assert!(status == 503 && body.contains("another secret"), "{status} {body}");
    fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
    running.next_ready_line();
    assert_eq!(running.stop().code, Some(0));
    assert_eq!(public_in(&paths.identity()).unwrap(), public);
}
