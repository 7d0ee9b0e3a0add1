//! Wine as the tests of Windows programs use it: one registry for all commands, this computer's
//! loopback, and nothing left afterwards.
//!
//! `cargo xtask wine` makes what these tests need; without it they fail and say so.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use xtask::stage::{Bins, wait_until};
use xtask::wine::Wine;

/// Greets who calls on a free port of loopback, which it prints. Ends when the process does.
const SERVER: &str = r#"
#include <winsock2.h>
#include <stdio.h>
int main(void) {
    WSADATA started;
    struct sockaddr_in own = { 0 };
    int bytes = sizeof own;
    if (WSAStartup(0x202, &started)) return 1;
    SOCKET port = socket(AF_INET, SOCK_STREAM, 0);
    own.sin_family = AF_INET;
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(port, (struct sockaddr *)&own, sizeof own) || listen(port, 4)) return 2;
    if (getsockname(port, (struct sockaddr *)&own, &bytes)) return 3;
    printf("%d\n", ntohs(own.sin_port));
    fflush(stdout);
    for (;;) {
        SOCKET caller = accept(port, 0, 0);
        if (caller == INVALID_SOCKET) return 4;
        send(caller, "hello from Windows", 18, 0);
        closesocket(caller);
    }
}
"#;

/// Says how large the screen is that it opens a window on.
const WINDOW: &str = r#"
#include <windows.h>
#include <stdio.h>
int main(void) {
    HWND window = CreateWindowW(L"STATIC", L"window", WS_OVERLAPPEDWINDOW, 0, 0, 9, 9, 0, 0, 0, 0);
    if (!window) return 1;
    printf("%d %d\n", GetSystemMetrics(SM_CXSCREEN), GetSystemMetrics(SM_CYSCREEN));
    return 0;
}
"#;

/// A 32-bit program for Windows.
fn compiled(folder: &Path, text: &str, libraries: &[&str]) -> PathBuf {
    let (source, program) = (folder.join("source.c"), folder.join("program.exe"));
    std::fs::write(&source, text).unwrap();
    let compiler = "i686-w64-mingw32-gcc-posix";
    let mut compile = Command::new(compiler);
    compile.arg("-o").arg(&program).arg(&source).arg("-static").args(libraries);
    assert!(compile.status().unwrap_or_else(|why| panic!("{compiler}: {why}")).success());
    program
}

fn wine() -> Wine {
    Wine::start(Bins::find().unwrap().target()).unwrap()
}

fn said(command: &mut Command) -> (String, Option<i32>) {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some(), "{command:?} ended with {}: {errors}", output.status);
    (String::from_utf8_lossy(&output.stdout).trim().to_owned(), output.status.code())
}

/// Processes of this computer whose environment names this folder.
fn processes_of(folder: &Path) -> usize {
    let wanted = folder.to_str().unwrap().as_bytes();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| std::fs::read(entry.path().join("environ")).ok())
        .filter(|environment| environment.windows(wanted.len()).any(|part| part == wanted))
        .count()
}

#[test]
fn commands_share_one_registry_and_see_files_of_linux() {
    let wine = wine();
    let key = ["HKCU\\Software\\LicenceTest", "/v", "Colour"];
    let add = [&["add"], &key[..], &["/d", "green", "/f"]].concat();
    assert_eq!(said(&mut wine.judged("reg", add)).1, Some(0));
    let query = || said(&mut wine.judged("reg", [&["query"], &key[..]].concat()));
    assert!(query().0.contains("green"), "{:?}", query());
    wine.shut_down().unwrap();
    assert!(query().0.contains("green"), "after a restart: {:?}", query());
    let other = self::wine();
    let elsewhere = said(&mut other.judged("reg", [&["query"], &key[..]].concat()));
    assert_ne!(elsewhere.1, Some(0), "another Windows has it too: {elsewhere:?}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("файл.txt");
    std::fs::write(&file, "text of Linux").unwrap();
    let path = Wine::windows_path(&file);
    assert_eq!(said(&mut wine.command("cmd", ["/c", "type", &path])).0, "text of Linux");
    let mut with_variable = wine.command("cmd", ["/c", "echo %LICENCE_WORD%& exit 41"]);
    assert_eq!(said(with_variable.env("LICENCE_WORD", "word")), ("word".to_owned(), Some(41)));
    said(&mut wine.command("cmd", ["/c", "mkdir", "C:\\made"]));
    assert!(wine.linux_path("C:\\made").is_dir());
}

#[test]
fn server_in_wine_answers_on_loopback_and_nothing_is_left_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let program = compiled(folder.path(), SERVER, &["-lws2_32"]);
    let wine = wine();
    let prefix = wine.drive_c().parent().unwrap().to_owned();
    let mut command = wine.command(&program, [""; 0]);
    let mut server = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let mut caller =
        TcpStream::connect((Ipv4Addr::LOCALHOST, port.trim().parse().unwrap())).unwrap();
    caller.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut greeting = String::new();
    caller.read_to_string(&mut greeting).unwrap();
    assert_eq!(greeting, "hello from Windows");
    assert!(processes_of(&prefix) > 0, "the program and wineserver name their Windows");

    drop(wine);
    server.wait().unwrap();
    let bound = Duration::from_secs(20);
    wait_until(
        bound,
        "the end of all processes",
        || Ok((processes_of(&prefix) == 0).then_some(())),
    )
    .unwrap();
    assert!(!prefix.exists());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(prefix.parent().unwrap().to_str().unwrap()), "{mounts}");
}

#[test]
fn program_with_windows_gets_a_screen() {
    let folder = tempfile::tempdir().unwrap();
    let program = compiled(folder.path(), WINDOW, &["-luser32"]);
    let mut wine = wine();
    assert_ne!(said(&mut wine.command(&program, [""; 0])).0, "1280 800");
    wine.show().unwrap();
    assert_eq!(said(&mut wine.command(&program, [""; 0])).0, "1280 800");
}
