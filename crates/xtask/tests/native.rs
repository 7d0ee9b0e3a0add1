//! The real component in the C++ host: abuse in both call orders, loading and unloading.
//!
//! Valgrind is a real part here: without it these tests fail.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::time::Duration;

use xtask::build::workspace;
use xtask::demo::server_session;
use xtask::stage::{Computer, HostProcess, Order, Process, Server, Stage, Vendor};

/// Valgrind makes the component some thirty times slower.
const VALGRIND_BOUND: Duration = Duration::from_secs(200);

/// Exit code that valgrind gives for an error of its own finding.
const VALGRIND_FOUND: &str = "9";

struct Site {
    stage: Stage,
    server: Server,
    computer: Computer,
    _vendor: Vendor,
}

fn site() -> Site {
    let stage = Stage::temporary().unwrap();
    let vendor = Vendor::start(&stage).unwrap();
    let server = Server::start(&stage, "server", &vendor, 0).unwrap();
    server.activate(&stage, &vendor, Order { kind: "main", seats: 2 }).unwrap();
    let computer = stage.computer("computer", &vendor, &[server.port()]).unwrap();
    Site { stage, server, computer, _vendor: vendor }
}

impl Site {
    fn place(&self) -> String {
        format!("ServerAddr=127.0.0.1;ServerPort={}", self.server.port())
    }

    fn host(&self, wrapper: &[&str]) -> Process {
        let command = self.computer.host_command(&self.stage, wrapper).unwrap();
        self.stage.start("host", command).unwrap()
    }

    fn under_valgrind(&self, script: &[&str]) {
        let exit_code = format!("--error-exitcode={VALGRIND_FOUND}");
        let known = workspace().unwrap().join("crates/xtask/tests/valgrind.supp");
        let known = format!("--suppressions={}", known.display());
        let mut host = self.host(&[
            "valgrind",
            "--quiet",
            "--leak-check=full",
            "--errors-for-leak-kinds=definite",
            &exit_code,
            &known,
        ]);
        for line in script {
            let answer = said(&mut host, line);
            assert!(!answer.starts_with("error"), "{line}: {answer}");
        }
        finish(host);
    }
}

fn said(host: &mut Process, line: &str) -> String {
    host.write_line(line).unwrap();
    host.line(VALGRIND_BOUND).unwrap()
}

fn finish(mut host: Process) {
    host.write_line("quit").unwrap();
    let bye = host.line(VALGRIND_BOUND).unwrap();
    assert_eq!(bye, "bye outstanding=0 foreign=0");
    let status = host.wait(VALGRIND_BOUND).unwrap();
    assert!(status.success(), "{}", host.failed("did not end well"));
}

#[test]
fn abuse_in_both_orders_leaves_valgrind_silent() {
    site().under_valgrind(&[
        "load",
        "new A LicenceExtension order=platform",
        "abuse A",
        "destroy A",
        "new B LicenceExtension order=oscript",
        "abuse B",
        "delete B",
        "unload",
    ]);
}

#[test]
fn loading_working_and_unloading_leaves_valgrind_silent() {
    let site = site();
    site.under_valgrind(&[&format!("loop 20 {}", site.place())]);
}

#[test]
fn thousand_loads_leave_no_thread_no_mapping_and_no_allocation() {
    let site = site();
    let mut host = site.host(&[]);
    let before = said(&mut host, "threads");
    let answer = said(&mut host, &format!("loop 1000 {}", site.place()));
    let threads = before.strip_prefix("threads ").unwrap();
    // The last word is the class of the last error: none, every round reached the server.
    assert_eq!(answer.trim_end(), format!("ok threads={threads} mapped=0 outstanding=0 string"));
    finish(host);
}

#[test]
fn library_that_talked_to_a_server_goes_away_whole() {
    let site = site();
    let mut host = HostProcess::start(&site.stage, "host", &site.computer).unwrap();
    let before = host.command("threads").unwrap();
    for round in 0..20 {
        host.create().unwrap();
        host.start_series().unwrap().unwrap();
        host.must_take(&server_session(1)).unwrap();
        host.destroy().unwrap();
        let after = host.command("unload").unwrap();
        assert!(after.ends_with("mapped=0"), "round {round}: {after}");
        assert_eq!(host.command("threads").unwrap(), before, "round {round}");
        assert!(host.command("load").unwrap().starts_with("ok"), "round {round}");
    }
    host.quit().unwrap();
}
