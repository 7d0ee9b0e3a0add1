//! The real component in the C++ host: abuse in both call orders, every member with every argument
//! from several threads, loading and unloading, destruction while the server hangs.
//!
//! Valgrind is a real part here: without it these tests fail.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use xtask::build::workspace;
use xtask::demo::server_session;
use xtask::stage::{
    Computer, HostProcess, Order, Process, Recorder, SERIES, Server, Stage, Vendor, wait_until,
    word,
};

/// Valgrind makes the component some thirty times slower, and a sweep is thousands of calls: some three
/// minutes on a machine that does nothing else.
const VALGRIND_BOUND: Duration = Duration::from_secs(540);

/// Exit code that valgrind gives for an error of its own finding.
const VALGRIND_FOUND: &str = "9";

/// The classes that a configuration may ask for.
const CLASSES: [&str; 2] = ["LicenceExtension", "LicenceExtension20"];

/// A heartbeat comes every 10 s; room for a busy machine.
const HEARTBEAT_BOUND: Duration = Duration::from_secs(30);

/// Room for a busy machine beside a bound of `docs/component.md`; with it the sum is still shorter
/// than the 3 s for which one request waits for a silent server.
const SLACK_MILLIS: u64 = 1500;

struct Site {
    stage: Stage,
    server: Server,
    computer: Computer,
    vendor: Vendor,
}

fn site() -> Site {
    let stage = Stage::temporary().unwrap();
    let vendor = Vendor::start(&stage).unwrap();
    let server = Server::start(&stage, "server", &vendor, 0).unwrap();
    server.activate(&stage, &vendor, Order { kind: "main", seats: 2 }).unwrap();
    let computer = stage.computer("computer", &vendor, &[server.port()]).unwrap();
    Site { stage, server, computer, vendor }
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
        let mut host = self.valgrind();
        for line in script {
            let answer = said(&mut host, line);
            assert!(!answer.starts_with("error"), "{line}: {answer}");
        }
        finish(host);
    }

    fn valgrind(&self) -> Process {
        let exit_code = format!("--error-exitcode={VALGRIND_FOUND}");
        let known = workspace().unwrap().join("crates/xtask/tests/valgrind.supp");
        let known = format!("--suppressions={}", known.display());
        self.host(&[
            "valgrind",
            "--quiet",
            "--leak-check=full",
            "--keep-debuginfo=yes",
            "--num-callers=40",
            "--errors-for-leak-kinds=definite",
            &exit_code,
            &known,
        ])
    }

    /// A data file with one object, `Модуль`.
    fn datafile(&self) -> PathBuf {
        let source = self.stage.root().join("Модуль.epf");
        std::fs::write(&source, b"any bytes").unwrap();
        let packed = self.vendor.pack(&self.stage, SERIES, &[&source], &[]).unwrap();
        self.server.put_datafile(None, &packed).unwrap();
        let path = self.stage.root().join("template.datafile");
        std::fs::write(&path, packed).unwrap();
        path
    }
}

/// What the host needs to know for a sweep that comes further than to the first check: calls that
/// bring an object into the state in which its members mean something, and right arguments.
fn sweep_script(template: &Path) -> Vec<String> {
    let session = word(&serde_json::to_string(&server_session(1)).unwrap());
    let parameter = word(&json!({ "Key": null, "Name": "Имя" }).to_string());
    let request = json!({ "ТипТокенаАвторизации": "ИСМП", "Организация": "7707083893" });
    let request = word(&request.to_string());
    let key = json!({ "КлючСессии": "KEY", "ДействуетДо": "2100-01-01T00:00:00" });
    let key = word(&key.to_string());
    vec![
        format!("before Запуск s:{SERIES}"),
        format!("before УстановитьСеанс {session}"),
        "before УстановитьУсловия s:{}".to_owned(),
        "before ЗанятьЛицензию".to_owned(),
        "right ПроверитьВерсию s:3.0.14".to_owned(),
        format!("right Запуск s:{SERIES} b:0"),
        "right ОшибкаСозданияОбъекта s:Ошибка".to_owned(),
        format!("right УстановитьСеанс {session}"),
        "right УстановитьУсловия s:{}".to_owned(),
        format!("right ЗанятьЛицензию {session} s:{{}}"),
        format!("right ОсвободитьЛицензию {session}"),
        "right ПодготовитьОбъект s:Модуль".to_owned(),
        "right ПолучитьДанныеОбъекта s:Модуль".to_owned(),
        format!("right ЗагрузитьМакет f:{} s:Макет b:1", template.display()),
        "right МакетЗагружен s:Макет".to_owned(),
        format!("right ВыполнитьОперацию s:Parameter {parameter}"),
        format!("right ТекущийКлючСессии {request}"),
        format!("right ТребуетсяОбновлениеКлючаСессии {request}"),
        format!("right УстановитьКлючСессии {request} {key} b:0"),
        format!("right ОтклонитьКлючСессии {request} s:KEY"),
    ]
}

/// A sweep found nothing: no member threw, no answer broke the rules.
fn swept(answer: &str, class: &str) {
    assert!(answer.starts_with("ok calls="), "{class}: {answer}");
    assert!(answer.contains(" refused=0 broken=0"), "{class}: {answer}");
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

/// Milliseconds of a command that the host clocked; it must answer `ok`.
fn clocked(host: &mut HostProcess, command: &str) -> u64 {
    let answer = host.command(&format!("clocked {command}")).unwrap();
    let (millis, rest) = answer.strip_prefix("ms ").unwrap().split_once(' ').unwrap();
    assert!(rest.starts_with("ok"), "{command}: {answer}");
    millis.parse().unwrap()
}

#[test]
fn every_member_takes_every_argument_without_a_server_and_valgrind_is_silent() {
    let site = site();
    let template = site.datafile();
    // A port that nobody listens on.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let computer = site.stage.computer("alone", &site.vendor, &[closed]).unwrap();
    let site = Site { computer, ..site };
    let mut host = site.valgrind();
    said(&mut host, "load");
    for line in sweep_script(&template) {
        assert_eq!(said(&mut host, &line), "ok", "{line}");
    }
    // The other class has its turn in the test with a server: valgrind takes its time.
    said(&mut host, "new A LicenceExtension");
    swept(&said(&mut host, "sweep A 2"), "LicenceExtension");
    assert_eq!(said(&mut host, "destroy A"), "ok");
    assert!(said(&mut host, "unload").ends_with("threads=1 mapped=0"));
    finish(host);
}

#[test]
fn every_member_takes_every_argument_with_a_server_and_valgrind_is_silent() {
    let site = site();
    let template = site.datafile();
    let mut host = site.valgrind();
    said(&mut host, "load");
    for line in sweep_script(&template) {
        assert_eq!(said(&mut host, &line), "ok", "{line}");
    }
    said(&mut host, "new A LicenceExtension20");
    swept(&said(&mut host, "sweep A"), "LicenceExtension20");
    assert_eq!(said(&mut host, "destroy A"), "ok");
    assert!(said(&mut host, "unload").ends_with("threads=1 mapped=0"));
    finish(host);
}

#[test]
fn two_threads_on_one_object_of_each_class_leave_it_working() {
    let site = site();
    let template = site.datafile();
    let mut host = site.host(&[]);
    said(&mut host, "load");
    for line in sweep_script(&template) {
        assert_eq!(said(&mut host, &line), "ok", "{line}");
    }
    for class in CLASSES {
        said(&mut host, &format!("new A {class} order=oscript"));
        swept(&said(&mut host, "sweep A 2"), class);
        said(&mut host, "delete A");
        // The process is none the worse: a fresh object takes a seat and opens the object.
        said(&mut host, &format!("new B {class}"));
        let session = word(&serde_json::to_string(&server_session(1)).unwrap());
        for call in [format!("Запуск s:{SERIES}"), format!("УстановитьСеанс {session}")]
        {
            let answer = said(&mut host, &format!("call B {call}"));
            assert_eq!(answer, "bool 1", "{class} {call}");
        }
        assert!(said(&mut host, "call B ЗанятьЛицензию").starts_with("string {"), "{class}");
        assert_eq!(said(&mut host, "call B ПолучитьДанныеОбъекта s:Модуль"), "blob 9", "{class}");
        assert_eq!(said(&mut host, "call B ОсвободитьВсе"), "bool 1", "{class}");
        assert_eq!(said(&mut host, "destroy B"), "ok");
    }
    finish(host);
}

#[test]
fn eight_threads_load_work_and_unload_at_once() {
    let site = site();
    let mut host = site.host(&[]);
    let answer = said(&mut host, &format!("crowd 8 25 {}", site.place()));
    assert_eq!(answer.trim_end(), "ok threads=1 mapped=0 outstanding=0 started=200");
    finish(host);
    // Every process says goodbye, so nothing is left to expire.
    wait_until(HEARTBEAT_BOUND, "the end of all connections", || {
        Ok(site.server.rest().connections()?.is_empty().then_some(()))
    })
    .unwrap();
}

/// A process whose heartbeat has gone out to a server that has fallen silent.
fn hanging(site: &Site, name: &str, with_seat: bool) -> HostProcess {
    let recorder = Recorder::start(site.server.port()).unwrap();
    let computer = site.stage.computer(name, &site.vendor, &[recorder.port()]).unwrap();
    let mut host = HostProcess::started(&site.stage, name, &computer).unwrap();
    if with_seat {
        host.must_take(&server_session(1)).unwrap();
    }
    recorder.silence();
    let before = recorder.said();
    wait_until(HEARTBEAT_BOUND, "a heartbeat", || Ok((recorder.said() > before).then_some(())))
        .unwrap();
    host
}

#[test]
fn destruction_while_a_heartbeat_hangs_is_bounded() {
    let site = site();
    // `docs/component.md`, "Time": what each may take at worst.
    let mut idle = hanging(&site, "idle", false);
    let last = clocked(&mut idle, "destroy L");
    assert!(last <= 1000 + SLACK_MILLIS, "the last object took {last} ms");
    let unload = clocked(&mut idle, "unload");
    assert!(unload <= 2800 + SLACK_MILLIS, "unloading took {unload} ms");
    idle.quit().unwrap();

    let mut holder = hanging(&site, "holder", true);
    let destroy = clocked(&mut holder, "destroy L");
    assert!(destroy <= SLACK_MILLIS, "an object with a seat took {destroy} ms");
    let unload = clocked(&mut holder, "unload");
    assert!(unload <= 2800 + SLACK_MILLIS, "unloading with a seat took {unload} ms");
    assert_eq!(holder.command("threads").unwrap(), "threads 1");
    holder.quit().unwrap();
}

#[test]
fn destruction_while_a_call_of_another_thread_hangs_is_bounded() {
    let site = site();
    let recorder = Recorder::start(site.server.port()).unwrap();
    let computer = site.stage.computer("busy", &site.vendor, &[recorder.port()]).unwrap();
    let mut host = HostProcess::started(&site.stage, "busy", &computer).unwrap();
    host.command("new B LicenceExtension").unwrap();
    assert_eq!(host.command(&format!("call B Запуск s:{SERIES}")).unwrap(), "bool 1");
    recorder.silence();
    let before = recorder.said();
    let parameter = word(&json!({ "Name": "Имя" }).to_string());
    host.command(&format!("begin B ВыполнитьОперацию s:Parameter {parameter}")).unwrap();
    wait_until(HEARTBEAT_BOUND, "the operation", || Ok((recorder.said() > before).then_some(())))
        .unwrap();
    let destroy = clocked(&mut host, "destroy L");
    assert!(destroy <= SLACK_MILLIS, "another object took {destroy} ms");
    // The call itself ends in its own time, and with an error.
    assert_eq!(host.command("end").unwrap(), "empty");
    let last = clocked(&mut host, "destroy B");
    assert!(last <= 1000 + SLACK_MILLIS, "the last object took {last} ms");
    host.quit().unwrap();
}
