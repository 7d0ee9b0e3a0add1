//! The identity in the keeping of a TPM 2.0: a real one in software (`swtpm`, Debian package
//! `swtpm`), spoken to over its UNIX socket as over a device.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
#![cfg(target_os = "linux")]

mod process;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use licence_core::binding::Match;
use licenceserver::clock;
use licenceserver::identity::{
    Identity, IdentityError, Protection, SealOptions, WhyLocked, public_in,
};
use licenceserver::paths::Paths;
use process::{BOUND, Running, program};

/// A TPM that runs. Dropping it switches it off; its state stays in its folder.
struct Tpm {
    child: Child,
    socket: PathBuf,
}

impl Tpm {
    /// Switches the TPM on whose state is in a folder; a fresh one when there is none.
    fn start(state: &Path, socket: &Path) -> Self {
        fs::create_dir_all(state).unwrap();
        drop(fs::remove_file(socket));
        let control = state.join("control");
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "startup-clear,not-need-init"])
            .arg("--tpmstate")
            .arg(format!("dir={}", state.display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", control.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("swtpm (Debian package swtpm): {error}"));
        let tpm = Self { child, socket: socket.to_owned() };
        let start = clock::mono();
        while UnixStream::connect(socket).is_err() {
            assert!(clock::mono().since(start) < BOUND, "swtpm does not listen");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        tpm
    }

    /// TPM2_Clear by the lockout hierarchy, whose password is empty: what the firmware's menu does.
    fn clear(&self) {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        let command: [u8; 27] = [
            0x80, 0x02, 0, 0, 0, 27, 0, 0, 0x01, 0x26, 0x40, 0, 0, 0x0a, 0, 0, 0, 9, 0x40, 0, 0, 9,
            0, 0, 0, 0, 0,
        ];
        stream.write_all(&command).unwrap();
        let mut head = [0; 10];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(head[6..], [0; 4], "TPM2_Clear: {head:?}");
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn options(base: &Path, socket: &Path) -> SealOptions {
    let file = Paths::new(base).identity();
    SealOptions { use_tpm: true, tpm_device: socket.to_owned(), ..SealOptions::parts_only(&file) }
}

fn why(options: &SealOptions) -> WhyLocked {
    match Identity::open_or_make(options.clone()) {
        Err(IdentityError::Locked(locked)) => locked.why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn tpm_opens_what_it_sealed_and_another_or_a_cleared_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let socket = dir.path().join("s");
    let options = options(&dir.path().join("data"), &socket);
    let tpm = Tpm::start(&one, &socket);
    let made = Identity::open_or_make(options.clone()).unwrap();
    let state = made.seal_state();
    assert_eq!((state.protection, state.found), (Protection::Tpm, Match::Tpm));
    // A TPM has three places for keys: whoever does not free them is soon refused.
    for _ in 0..8 {
        assert_eq!(Identity::open_or_make(options.clone()).unwrap().public(), made.public());
    }
    made.reseal().unwrap();
    let text = fs::read_to_string(&options.file).unwrap();
    assert!(text.contains("\"tpm\""), "{text}");
    drop(tpm);
    assert!(matches!(why(&options), WhyLocked::TpmMissing(_)));
    let other = Tpm::start(&two, &socket);
    assert_eq!(why(&options), WhyLocked::TpmDiffers);
    drop(other);
    let tpm = Tpm::start(&one, &socket);
    assert_eq!(Identity::open_or_make(options.clone()).unwrap().public(), made.public());
    assert_eq!(fs::read_to_string(&options.file).unwrap(), text, "nothing was changed");
    tpm.clear();
    assert_eq!(why(&options), WhyLocked::TpmDiffers);
}

#[test]
fn identity_moves_from_parts_into_the_tpm_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let _tpm = Tpm::start(&dir.path().join("tpm"), &socket);
    let with_tpm = options(&dir.path().join("data"), &socket);
    let without = SealOptions { use_tpm: false, ..with_tpm.clone() };
    let made = Identity::open_or_make(without.clone()).unwrap();
    for (options, protection) in
        [(&with_tpm, Protection::Tpm), (&without, Protection::Parts), (&with_tpm, Protection::Tpm)]
    {
        let moved = Identity::open_or_make(options.clone()).unwrap();
        assert_eq!(moved.seal_state().protection, protection);
        assert_eq!(moved.public(), made.public());
    }
}

#[test]
fn what_is_no_tpm_stops_the_first_start_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let options = options(&dir.path().join("data"), &socket);
    let check = |part: &str| {
        let error = Identity::open_or_make(options.clone()).unwrap_err();
        let text = licence_core::causes::with_causes(&error);
        assert!(text.contains("IdentityTpm") && text.contains(part), "{text}");
        assert!(!options.file.exists());
    };
    check("No such file");
    // Answers of somebody who speaks something else, too much, or breaks off.
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let garbage: [(&[u8], &str); 4] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no TPM 2.0"),
        (&[0x80, 0x02, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], "no TPM 2.0"),
        (&[0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0], "no TPM 2.0"),
        (&[0x80, 0x02, 0], "failed to fill"),
    ];
    for (answer, part) in garbage {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut command = [0; 1024];
                let read = stream.read(&mut command).unwrap();
                assert!(read > 10);
                stream.write_all(answer).unwrap();
            });
            check(part);
        });
    }
}

#[test]
fn server_restarts_with_its_tpm_and_waits_for_one_that_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let (base, socket) = (dir.path().join("data"), dir.path().join("s"));
    let paths = Paths::new(&base);
    fs::create_dir_all(paths.settings()).unwrap();
    let conf = format!("[Common]\nIdentityTpm=on\nTpmDevice={}\n", socket.display());
    fs::write(paths.conf(), conf).unwrap();
    let tpm = Tpm::start(&dir.path().join("tpm"), &socket);
    assert_eq!(Running::start(program(&base, &["run"])).stop().code, Some(0));
    let public = public_in(&paths.identity()).unwrap();
    assert_eq!(Running::start(program(&base, &["run"])).stop().code, Some(0));
    drop(tpm);
    let mut running = Running::launch(program(&base, &["run"]));
    running.wait_closed();
    let (status, body) = running.get("/api/licences");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("EIdentityLocked") && body.contains("TpmDevice"), "{body}");
    let tpm = Tpm::start(&dir.path().join("tpm"), &socket);
    running.next_ready_line();
    assert_eq!(running.get("/health/ready").0, 200);
    assert_eq!(running.stop().code, Some(0));
    assert_eq!(public_in(&paths.identity()).unwrap(), public);
    tpm.clear();
    let mut running = Running::launch(program(&base, &["run"]));
    running.wait_closed();
    let (_, body) = running.get("/api/licences");
    assert!(body.contains("this TPM was cleared") && body.contains("renew --yes"), "{body}");
    assert_eq!(public_in(&paths.identity()).unwrap(), public, "no other identity is made");
}
