//! The program itself: exit codes, streams, its other name. One secret with the real work factor
//! is made for each test, as a vendor makes it.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its folder fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_licencekit");

fn run(program: &Path, folder: &Path, words: &[&str]) -> Output {
    Command::new(program)
        .args(words)
        .current_dir(folder)
        .env("LICENCE_PASSPHRASE", "correct horse battery")
        .env("LC_ALL", "C")
        .output()
        .unwrap()
}

#[track_caller]
fn check(output: &Output, code: i32, wanted: &str) {
    let text = String::from_utf8_lossy(if code == 0 { &output.stdout } else { &output.stderr });
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(wanted), "{text}");
}

/// The program under its other name.
#[cfg(unix)]
fn licenceedit(folder: &Path) -> PathBuf {
    let path = folder.join("licenceedit");
    std::os::unix::fs::symlink(PROGRAM, &path).unwrap();
    path
}

/// The program under its other name.
#[cfg(not(unix))]
fn licenceedit(folder: &Path) -> PathBuf {
    let path = folder.join("licenceedit.exe");
    fs::copy(PROGRAM, &path).unwrap();
    path
}

#[test]
fn program_packs_in_a_pipeline_under_both_names_and_tells_by_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (kit, edit) = (PathBuf::from(PROGRAM), licenceedit(at));
    let create = ["series", "create", "--series", "672B", "--name", "Test", "--out", "."];
    check(&run(&kit, at, &create), 0, "672B.cryptkey");
    fs::write(at.join("Prices.epf"), b"\xFF\xFF\xFF\x7F").unwrap();
    let original = ["c", "672B.datafile", "*.epf", "--serie=672b", "--encoding=ANSI"];
    check(&run(&edit, at, &original), 0, "series 672B, objects: 1");
    let first = fs::read(at.join("672B.datafile")).unwrap();
    let again = run(&edit, at, &original);
    check(&again, 3, "licenceedit: 672B.datafile exists already");
    assert!(again.stdout.is_empty(), "results of a failure");
    let own =
        ["datafile", "pack", "672B.datafile", "Prices.epf", "--cryptkey", "672B.cryptkey", "-y"];
    check(&run(&kit, at, &own), 0, "Prices");
    assert_eq!(fs::read(at.join("672B.datafile")).unwrap(), first, "not reproducible");
    let wrong = ["c", "x.datafile", "*.epf", "--serie=672B", "--encoding=koi8"];
    check(&run(&edit, at, &wrong), 2, "invalid value 'koi8'");
    check(&run(&kit, at, &["datafile", "pack", "x.datafile"]), 2, "required");
    let missing = ["c", "x.datafile", "*.erf", "--serie=672B"];
    check(&run(&kit, at, &missing), 1, "licencekit: *.erf: no such files");
}
