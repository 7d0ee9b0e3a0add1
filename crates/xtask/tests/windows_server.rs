//! The server as a Windows program and as a Windows service, under Wine: it answers on loopback, survives a
//! hard end, gives seats to a component of Linux, and the service manager installs, stops and removes it.
//!
//! Wine keeps no rights of files as Windows does and has no viewer of the event log; who may read the data
//! folder and what an entry looks like is not shown here.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use xtask::demo::server_session;
use xtask::dist::target::Platform;
use xtask::stage::{Bins, HostProcess, Order, Rest, Stage, Vendor, wait_until};
use xtask::wine::Wine;

/// A start under Wine on a busy machine: the first program of a Windows starts all its services.
const START_BOUND: Duration = Duration::from_secs(120);

/// Seats of the key in these tests.
const SEATS: u32 = 2;

struct Windows {
    wine: Wine,
    program: PathBuf,
}

impl Windows {
    fn start() -> Self {
        let bins = Bins::find().unwrap();
        let folder = bins.target().join("cross").join(Platform::Windows32.triple());
        let program = folder.join("dist-test").join(Platform::Windows32.program("licenceserver"));
        assert!(
            program.is_file(),
            "{} is not there: run `cargo xtask dist --test` first",
            program.display()
        );
        let windows = Self { wine: Wine::start(bins.target()).unwrap(), program };
        windows.stay();
        windows
    }

    /// Starts this Windows, so that it goes on when no program runs but services: Wine ends it else, and
    /// them with it. What is started with it keeps the output of the first call, so that has none.
    fn stay(&self) {
        let mut server = self.wine.linux_command("wineserver");
        server.arg("-p");
        for mut first in [server, self.wine.command("cmd", ["/c", "exit"])] {
            let started = first.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
            assert!(started.success(), "{first:?}: {started}");
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.wine.command(&self.program, arguments);
        command.stdin(Stdio::null());
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.wine.judged(&self.program, arguments).output().unwrap()
    }

    /// Runs a command that must succeed; what it says.
    fn must(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// A folder that Windows sees, with a name that must be quoted and is not Latin.
fn data_folder(stage: &Stage) -> PathBuf {
    let folder = stage.root().join("Папка данных");
    std::fs::create_dir_all(folder.join("3.0")).unwrap();
    folder
}

fn conf(data: &Path, vendor: &Vendor, port: u16) {
    let settings = data.join("3.0");
    vendor.publish_series(&settings.join("licence.series")).unwrap();
    let text = format!(
        "[Common]\nServerPort={port}\nServerAddr=127.0.0.1\nLicenceCenterUrl={}\n",
        vendor.centre_url()
    );
    std::fs::write(settings.join("licenceserver.conf"), text).unwrap();
}

/// A port that nobody has at this moment.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn wait_ready(port: u16) {
    wait_until(START_BOUND, "the server in Wine", || {
        let answer = Rest::new(port).try_get("/health/ready");
        Ok(answer.is_ok_and(|answer| answer.status == 200).then_some(()))
    })
    .unwrap();
}

fn wait_gone(port: u16) {
    wait_until(START_BOUND, "the end of the server in Wine", || {
        Ok(Rest::new(port).try_get("/api").is_err().then_some(()))
    })
    .unwrap();
}

fn log_of(data: &Path) -> String {
    let logs = data.join("3.0").join("logs");
    let mut files: Vec<_> = std::fs::read_dir(logs).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

fn run(windows: &Windows, data: &Path) -> Child {
    let folder = Wine::windows_path(data);
    let mut command = windows.command(&["run", "--data", &folder]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

#[test]
fn server_on_windows_gives_seats_over_tls_and_has_its_data_after_a_hard_end() {
    let stage = Stage::temporary().unwrap();
    let vendor = Vendor::start(&stage).unwrap();
    let windows = Windows::start();
    let (data, port) = (data_folder(&stage), free_port());
    conf(&data, &vendor, port);

    let mut first = run(&windows, &data);
    wait_ready(port);
    let rest = Rest::new(port);
    let info = rest.get("/api/serverinfo").unwrap();
    assert_eq!((&info["OSType"], &info["CPU"]), (&"Windows".into(), &"i386".into()), "{info}");
    let code = vendor.order(&stage, Order { kind: "main", seats: SEATS }).unwrap();
    rest.activate(&code).unwrap();

    let computer = stage.computer("computer", &vendor, &[port]).unwrap();
    let mut host = HostProcess::started(&stage, "computer", &computer).unwrap();
    let seat = host.must_take(&server_session(1)).unwrap();
    assert_eq!(rest.sessions().unwrap().len(), 1);

    // As a power cut: nothing of the program runs on.
    windows.wine.shut_down().unwrap();
    first.wait().unwrap();
    wait_gone(port);
    windows.stay();
    let mut second = run(&windows, &data);
    wait_ready(port);
    assert_eq!(rest.licences().unwrap().len(), 1);
    let ids: Vec<_> = rest.sessions().unwrap();
    assert_eq!(ids.iter().filter_map(|s| s["ID"].as_str()).collect::<Vec<_>>(), [&*seat.id]);
    let again = host.must_take(&server_session(1)).unwrap();
    assert_eq!(again.id, seat.id);
    host.quit().unwrap();
    windows.wine.shut_down().unwrap();
    second.wait().unwrap();
}

#[test]
fn service_is_installed_answers_reads_settings_again_stops_and_goes() {
    let stage = Stage::temporary().unwrap();
    let vendor = Vendor::start(&stage).unwrap();
    let windows = Windows::start();
    let (data, port) = (data_folder(&stage), free_port());
    conf(&data, &vendor, port);
    let folder = Wine::windows_path(&data);

    let refused = windows.output(&["service", "status", "--lang", "en"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not installed"), "{refused:?}");

    let said = windows.must(&["service", "install", "--data", &folder, "--lang", "ru"]);
    assert!(said.contains("установлена и запущена"), "{said}");
    wait_ready(port);
    let said = windows.must(&["service", "status", "--lang", "en"]);
    assert!(said.contains("running") && said.contains(" service run --data \""), "{said}");

    // What an administrator's own tools see.
    let shown = windows.wine.command("sc", ["query", "licenceserver"]).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("RUNNING"), "{shown}");

    windows.must(&["service", "stop"]);
    wait_gone(port);
    assert!(log_of(&data).contains("told to stop"), "an orderly end");
    windows.must(&["service", "start"]);
    wait_ready(port);
    // Once more over a running one, as an upgrade does.
    windows.must(&["service", "install", "--data", &folder]);
    wait_ready(port);

    // The machine is switched off and on: the service comes by itself.
    windows.wine.shut_down().unwrap();
    wait_gone(port);
    windows.stay();
    wait_ready(port);

    windows.must(&["service", "uninstall", "--data", &folder]);
    wait_gone(port);
    let gone = windows.output(&["service", "status"]);
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    assert!(data.join("3.0").join("identity.seal").is_file(), "the data stay");
}

#[test]
fn service_that_cannot_start_ends_with_an_error_and_a_second_server_says_why() {
    let stage = Stage::temporary().unwrap();
    let vendor = Vendor::start(&stage).unwrap();
    let windows = Windows::start();
    let data = data_folder(&stage);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    conf(&data, &vendor, taken.local_addr().unwrap().port());
    let folder = Wine::windows_path(&data);

    let output = windows.output(&["run", "--data", &folder]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("cannot listen on"), "{said}");

    let output = windows.output(&["service", "install", "--data", &folder, "--lang", "en"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("has ended") && said.contains("event log"), "{said}");
    windows.must(&["service", "uninstall", "--data", &folder]);

    // What only the service manager may start.
    let output = windows.output(&["service", "run", "--data", &folder, "--lang", "en"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("licenceserver run"), "{said}");
}
