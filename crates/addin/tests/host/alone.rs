//! The component without a server: life, abuse, log, unloading.

use std::net::TcpListener;

use crate::host::{Host, descriptor};
use licence_core::seal::SigningKey;

/// An address where nobody listens: bound and given back.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn both_orders_of_calls_and_both_ways_of_destruction_work() {
    let lines = Host::new().run(
        "load\nnew A LicenceExtension\nnew B LicenceExtension order=oscript lang=en\n\
         get A Версия\nget B Version\ndestroy A\ndelete B\nunload\n",
    );
    let version = format!("string {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(lines[1..5], ["ok LicenceExtension", "ok", &version, &version]);
    assert_eq!(lines[7..], ["ok threads=1 mapped=0", "bye outstanding=0 foreign=0"]);
}

#[test]
fn abuse_of_every_kind_is_survived() {
    let lines =
        Host::new().run("load\nnew A LicenceExtension\nabuse A\nget A Версия\ndelete A\nunload\n");
    assert_eq!(lines[2], "ok");
    assert_eq!(lines[5..], ["ok threads=1 mapped=0", "bye outstanding=0 foreign=0"]);
}

#[test]
fn a_server_that_is_not_there_is_an_error_with_the_known_text() {
    let host = Host::new();
    let lines = host.run(&format!(
        "load\nnew A LicenceExtension\nset A ПараметрыСвязи s:\"host=127.0.0.1;port={}\"\n\
         set A ОписаниеСерии s:{}\n\
         call A Запуск s:672B\nget A КлассОшибки\ncall A ПолучитьОписаниеОшибки\n\
         threads\ndestroy A\nthreads\nunload\n",
        closed_port(),
        descriptor(&SigningKey::from_seed(&[7; 32])),
    ));
    assert_eq!(lines[4..6], ["bool 0", "string ELocalServerNotFound"]);
    assert!(lines[6].contains("Не обнаружен установленный сервер на 127.0.0.1:"), "{}", lines[6]);
    assert_eq!(
        lines[8..],
        ["ok", "threads 1", "ok threads=1 mapped=0", "bye outstanding=0 foreign=0"]
    );
    let logs: Vec<_> = std::fs::read_dir(host.logs()).unwrap().flatten().collect();
    assert_eq!(logs.len(), 1, "one log for one process");
}

#[test]
fn a_silent_server_is_an_error_and_leaves_nothing_behind() {
    // Nobody accepts: the system completes the connection, and no byte ever comes.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let lines = Host::new().run(&format!(
        "load\nnew A LicenceExtension\nset A ПараметрыСвязи s:\"host=127.0.0.1;port={}\"\n\
         set A ОписаниеСерии s:{}\ncall A Запуск s:672B\nget A КлассОшибки\ndestroy A\nunload\n",
        silent.local_addr().unwrap().port(),
        descriptor(&SigningKey::from_seed(&[7; 32])),
    ));
    assert_eq!(lines[4..6], ["bool 0", "string ELocalServerNotFound"]);
    assert_eq!(lines[7..], ["ok threads=1 mapped=0", "bye outstanding=0 foreign=0"]);
}

#[test]
fn a_thousand_rounds_of_loading_leave_nothing_behind() {
    let place = format!("ServerAddr=127.0.0.1;ServerPort={}", closed_port());
    let lines = Host::new()
        .run(&format!("loop 1000 \"{place}\" {}\n", descriptor(&SigningKey::from_seed(&[7; 32]))));
    assert_eq!(
        lines,
        [
            "ok threads=1 mapped=0 outstanding=0 string ELocalServerNotFound",
            "bye outstanding=0 foreign=0",
        ]
    );
}

#[test]
fn logs_of_ended_processes_are_removed_unless_they_shall_be_kept() {
    let host = Host::new();
    let script = format!(
        "load\nnew A LicenceExtension\nset A ПараметрыСвязи s:host=127.0.0.1;port={}\n\
         call A Запуск s:672B\ndestroy A\nunload\n",
        closed_port()
    );
    let count = || std::fs::read_dir(host.logs()).unwrap().count();
    host.run(&script);
    host.run(&script);
    assert_eq!(count(), 1);
    let common = host.common();
    std::fs::create_dir(&common).unwrap();
    std::fs::write(common.join("licenceaddin.conf"), "[Common]\nKeepPreviousLogs=1\n").unwrap();
    host.run(&script);
    assert_eq!(count(), 2);
}
