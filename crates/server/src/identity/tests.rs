//! Tests of the identity on the disk: made, opened, taken over, resealed, locked.

use std::fs;
use std::path::Path;
use std::sync::{Arc, RwLock};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use licence_core::binding::PartKind;
use licence_core::identity_seal::Part;
use licence_core::seal::hex_upper;

use super::*;

const SEED: [u8; 32] = *b"a seed that nobody will ever use";

const KINDS: [PartKind; 7] = [
    PartKind::System,
    PartKind::Board,
    PartKind::MachineId,
    PartKind::Cpu,
    PartKind::FileSystem,
    PartKind::Disk,
    PartKind::NetworkCard,
];

fn parts(name: &str) -> Vec<Part> {
    KINDS.iter().map(|kind| Part::new(*kind, &format!("{name} {kind:?}"))).collect()
}

fn options(dir: &Path, computer: &Computer) -> SealOptions {
    let file = dir.join("3.0").join("identity.seal");
    SealOptions { computer: computer.clone(), ..SealOptions::parts_only(&file) }
}

fn write_plain(options: &SealOptions) {
    fs::create_dir_all(options.plain.parent().unwrap()).unwrap();
    let pem = STANDARD.encode(plain::der_of(&SEED));
    let text = format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n");
    fs::write(&options.plain, text).unwrap();
}

/// The files below a folder hold the seed in no form in which anybody would look for it.
fn check_seed_is_nowhere(folder: &Path, seed: &[u8]) {
    let hex = hex_upper(seed);
    let needles: Vec<Vec<u8>> = vec![
        seed.to_vec(),
        hex.clone().into_bytes(),
        hex.to_lowercase().into_bytes(),
        STANDARD.encode(seed).trim_end_matches('=').into(),
        URL_SAFE_NO_PAD.encode(seed).into(),
        // As it stands in PKCS#8: 16 bytes before it, so that base64 falls differently.
        STANDARD.encode(plain::der_of(seed.try_into().unwrap()))[22..].into(),
        URL_SAFE.encode(plain::der_of(seed.try_into().unwrap()))[22..].into(),
    ];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            check_seed_is_nowhere(&path, seed);
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        for needle in &needles {
            let is_there = bytes.windows(needle.len()).any(|window| window == needle.as_slice());
            assert!(!is_there, "{}", path.display());
        }
    }
}

#[test]
fn identity_is_made_once_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("3.0").join("identity.seal");
    let made = Identity::load_or_make(&path).unwrap();
    let found = Identity::load_or_make(&path).unwrap();
    assert_eq!(made.public(), found.public());
    assert_eq!(public_in(&path).unwrap(), made.public());
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no part file left");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    check_seed_is_nowhere(dir.path(), &made.pkcs8()[16..]);
}

#[test]
fn damaged_file_stops_the_start_and_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["identity.seal", "identity.key"] {
        let path = dir.path().join(name);
        for text in ["", "nonsense", "{\"Format\": 9}", "-----BEGIN PRIVATE KEY-----\nAAAA"] {
            fs::write(&path, text).unwrap();
            let error = Identity::load_or_make(&dir.path().join("identity.seal")).unwrap_err();
            let is_told = matches!(error, IdentityError::Malformed(_) | IdentityError::Seal { .. });
            assert!(is_told, "{name} {text}: {error:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn key_for_secrets_follows_from_the_identity_and_is_not_its_seed() {
    let one = Identity::from_seed([1; 32]);
    assert_eq!(one.wrap_key().jwk(), Identity::from_seed([1; 32]).wrap_key().jwk());
    assert_ne!(one.wrap_key().jwk(), Identity::from_seed([2; 32]).wrap_key().jwk());
    assert_ne!(one.wrap_key().public(), WrapKey::from_secret(&[1; 32]).public());
    assert!(!format!("{one:?}").contains(&one.wrap_key().jwk().x));
}

#[test]
fn copied_folder_does_not_open_on_another_computer_and_nothing_is_made_there() {
    let dir = tempfile::tempdir().unwrap();
    let here = options(dir.path(), &Computer::told(parts("here")));
    let made = Identity::open_or_make(here.clone()).unwrap();
    let mut others = parts("elsewhere");
    // Bought together: the processor is the same.
    others[3] = parts("here")[3].clone();
    let there = options(dir.path(), &Computer::told(others));
    let before = fs::read(&there.file).unwrap();
    let error = Identity::open_or_make(there.clone()).unwrap_err();
    let IdentityError::Locked(locked) = error else { panic!("{error:?}") };
    assert_eq!((locked.why.clone(), locked.needed), (WhyLocked::Parts, 3));
    assert_eq!((locked.parts.len(), locked.matching() <= 2), (7, true), "{locked:?}");
    assert!(locked.parts[3].matches, "the processor");
    assert_eq!(fs::read(&there.file).unwrap(), before);
    assert_eq!(Identity::open_or_make(here).unwrap().public(), made.public());
}

#[test]
fn one_part_of_seven_may_change_and_is_told_and_may_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let found = Found { parts: parts("here"), ..Found::default() };
    let computer = Arc::new(RwLock::new(found));
    let options = options(dir.path(), &Computer::Told(Arc::clone(&computer)));
    let identity = Identity::open_or_make(options.clone()).unwrap();
    let check = |matching, changed: &[PartKind]| {
        identity.look_again();
        let state = identity.seal_state();
        assert_eq!(state.found, Match::Parts { matching, total: 7 });
        let missing = state.parts.iter().filter(|part| !part.matches).map(|part| part.kind);
        assert_eq!(missing.collect::<Vec<_>>(), changed);
        assert_eq!(state.protection, Protection::Parts);
    };
    check(7, &[]);
    computer.write().unwrap().parts[5] = Part::new(PartKind::Disk, "another disk");
    assert_eq!(identity.seal_state().found, Match::Parts { matching: 7, total: 7 }, "not looked");
    check(6, &[PartKind::Disk]);
    let again = Identity::open_or_make(options).unwrap();
    assert_eq!((again.public(), again.seal_state()), (identity.public(), identity.seal_state()));
    computer.write().unwrap().parts[5] = parts("here")[5].clone();
    check(7, &[]);
}

#[test]
fn part_that_may_not_be_read_does_not_match_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let all = parts("here");
    let root = options(dir.path(), &Computer::told(all.clone()));
    let made = Identity::open_or_make(root).unwrap();
    let readable: Vec<_> = all
        .into_iter()
        .filter(|part| !matches!(part.kind, PartKind::System | PartKind::Board))
        .collect();
    let unreadable = vec![PartKind::System, PartKind::Board, PartKind::Chassis];
    let found = Found { parts: readable, unreadable, ..Found::default() };
    let service = options(dir.path(), &Computer::Told(Arc::new(RwLock::new(found))));
    let opened = Identity::open_or_make(service).unwrap();
    assert_eq!(opened.public(), made.public());
    let state = opened.seal_state();
    assert_eq!(state.found, Match::Parts { matching: 5, total: 7 });
    assert_eq!(state.unreadable, [PartKind::System, PartKind::Board], "the case is not in it");
}

#[test]
fn resealing_takes_the_computer_of_now_for_the_right_one() {
    let dir = tempfile::tempdir().unwrap();
    let computer = Arc::new(RwLock::new(Found { parts: parts("here"), ..Found::default() }));
    let now = options(dir.path(), &Computer::Told(Arc::clone(&computer)));
    let identity = Identity::open_or_make(now.clone()).unwrap();
    // Step by step the whole computer is replaced.
    for index in 0..KINDS.len() {
        computer.write().unwrap().parts[index] = parts("there")[index].clone();
        identity.look_again();
        assert_eq!(identity.seal_state().found, Match::Parts { matching: 6, total: 7 });
        identity.reseal().unwrap();
        assert_eq!(identity.seal_state().found, Match::Parts { matching: 7, total: 7 });
    }
    assert_eq!(Identity::open_or_make(now).unwrap().public(), identity.public());
    let former = options(dir.path(), &Computer::told(parts("here")));
    assert!(matches!(Identity::open_or_make(former), Err(IdentityError::Locked(_))));
    check_seed_is_nowhere(dir.path(), &identity.pkcs8()[16..]);
}

#[test]
fn identity_of_an_earlier_server_is_taken_over_and_a_kill_between_any_steps_loses_nothing() {
    let public = SigningKey::from_seed(&SEED).public();
    for killed_after in [Step::Sealed, Step::Proven, Step::Wiped, Step::Removed] {
        let dir = tempfile::tempdir().unwrap();
        let options = options(dir.path(), &Computer::told(parts("here")));
        write_plain(&options);
        let stopped =
            Identity::open_or_make_until(options.clone(), &mut |step| step != killed_after);
        assert!(stopped.unwrap().is_none(), "{killed_after:?}");
        let is_openable = options.file.exists()
            && Identity::open(options.clone()).is_ok_and(|found| found.public() == public);
        let is_plain_whole = public_in(&options.plain).is_ok_and(|found| found == public);
        assert!(is_openable || is_plain_whole, "{killed_after:?}");
        let identity = Identity::open_or_make(options.clone()).unwrap();
        assert_eq!(identity.public(), public, "{killed_after:?}");
        assert!(!options.plain.exists(), "{killed_after:?}");
        check_seed_is_nowhere(dir.path(), &SEED);
    }
}

#[test]
fn kill_while_a_seal_is_written_leaves_a_torso_that_nobody_reads() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), &Computer::told(parts("here")));
    write_plain(&options);
    fs::write(options.file.with_file_name("identity.seal.tmp"), "{\"Format\": 1, \"Prot").unwrap();
    let identity = Identity::open_or_make(options.clone()).unwrap();
    assert_eq!(identity.public(), SigningKey::from_seed(&SEED).public());
    let names = fs::read_dir(options.file.parent().unwrap()).unwrap().count();
    assert_eq!(names, 1, "the seal alone");
}

#[test]
fn plain_file_beside_a_seal_is_used_only_for_the_same_key() {
    let dir = tempfile::tempdir().unwrap();
    let here = options(dir.path(), &Computer::told(parts("here")));
    let there = options(dir.path(), &Computer::told(parts("there")));
    // Of another key: left where it is, and the seal counts.
    let made = Identity::open_or_make(here.clone()).unwrap();
    write_plain(&here);
    assert_eq!(Identity::open_or_make(here.clone()).unwrap().public(), made.public());
    assert!(here.plain.exists());
    assert!(matches!(Identity::open_or_make(there.clone()), Err(IdentityError::Locked(_))));
    // Of the same key, put back by whoever kept a copy: it is sealed to the computer of now.
    fs::remove_file(&here.file).unwrap();
    let taken = Identity::open_or_make(here.clone()).unwrap();
    write_plain(&here);
    assert_eq!(Identity::open_or_make(there.clone()).unwrap().public(), taken.public());
    assert!(!there.plain.exists());
}

#[test]
fn secret_stands_for_the_computer_wherever_it_is_mounted() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, [b's'; 40]).unwrap();
    let with_secret = |name: &str| {
        let options = options(dir.path(), &Computer::told(parts(name)));
        SealOptions { secret: Some(secret.clone()), ..options }
    };
    let made = Identity::open_or_make(with_secret("here")).unwrap();
    let moved = Identity::open_or_make(with_secret("there")).unwrap();
    assert_eq!(moved.public(), made.public());
    assert_eq!(moved.seal_state().found, Match::Secret);
    let check = |options: SealOptions, expected: &dyn Fn(&WhyLocked) -> bool| {
        let error = Identity::open_or_make(options).unwrap_err();
        let IdentityError::Locked(locked) = error else { panic!("{error:?}") };
        assert!(expected(&locked.why), "{locked:?}");
    };
    let is_missing = |why: &WhyLocked| matches!(why, WhyLocked::SecretMissing(_));
    check(SealOptions { secret: None, ..with_secret("here") }, &is_missing);
    fs::write(&secret, [b't'; 40]).unwrap();
    check(with_secret("here"), &|why| *why == WhyLocked::SecretDiffers);
    fs::remove_file(&secret).unwrap();
    check(with_secret("here"), &is_missing);
    // Without a seal there is nothing to wait for: a wrong setting is told at once.
    fs::remove_file(&with_secret("here").file).unwrap();
    let error = Identity::open_or_make(with_secret("here")).unwrap_err();
    assert!(matches!(error, IdentityError::Secret { .. }), "{error:?}");
}

#[test]
fn seal_follows_the_settings_from_parts_to_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, [b's'; 32]).unwrap();
    let of_parts = options(dir.path(), &Computer::told(parts("here")));
    let made = Identity::open_or_make(of_parts.clone()).unwrap();
    let of_secret = SealOptions { secret: Some(secret), ..of_parts };
    let moved = Identity::open_or_make(of_secret.clone()).unwrap();
    assert_eq!(moved.public(), made.public());
    assert_eq!(moved.seal_state().protection, Protection::Secret);
    let elsewhere = SealOptions { computer: Computer::told(parts("there")), ..of_secret };
    assert_eq!(Identity::open_or_make(elsewhere).unwrap().public(), made.public());
}

#[test]
fn computer_without_any_part_is_told_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), &Computer::told(vec![Part::new(PartKind::Cpu, "x")]));
    let error = Identity::open_or_make(options.clone()).unwrap_err();
    assert!(matches!(error, IdentityError::Seal { .. }), "{error:?}");
    assert!(!options.file.exists());
}

#[cfg(unix)]
#[test]
fn seal_of_a_folder_that_was_given_away_loses_what_only_root_reads() {
    let dir = tempfile::tempdir().unwrap();
    let found = Found {
        parts: parts("a"),
        root_only: [PartKind::System, PartKind::Board].into(),
        ..Found::default()
    };
    let computer = Computer::Told(Arc::new(RwLock::new(found)));
    let options = options(dir.path(), &computer);
    let made = Identity::open_or_make(options.clone()).unwrap();
    assert_eq!(made.seal_state().parts.len(), KINDS.len());
    assert!(!Identity::hand_over(options.clone()).unwrap(), "one's own folder");
    // Only root can give a folder away; for others the rest is what a server sees all the time.
    let folder = options.file.parent().unwrap();
    if std::os::unix::fs::chown(folder, Some(65_534), None).is_err() {
        return;
    }
    assert!(Identity::hand_over(options.clone()).unwrap());
    assert!(!Identity::hand_over(options.clone()).unwrap(), "once is enough");
    // What the service's user sees: no firmware.
    let seen = parts("a")
        .into_iter()
        .filter(|part| !matches!(part.kind, PartKind::System | PartKind::Board));
    let service = SealOptions { computer: Computer::told(seen.collect()), ..options };
    let opened = Identity::open(service).unwrap();
    assert_eq!(opened.public(), made.public());
    assert_eq!(opened.seal_state().found, Match::Parts { matching: 5, total: 5 });
}
