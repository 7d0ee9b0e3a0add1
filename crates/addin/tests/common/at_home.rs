//! An object of the component in a process with a home of its own, because the component writes its
//! log there and reads its settings; the server is the stand-in of the client's tests.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::json;

use crate::fake::{Answer, Platform, text};
use crate::stand_in::{Server, descriptor};

/// Says to the process that it is the one with a home of its own.
const AT_HOME: &str = "LICENCE_TEST_AT_HOME";

/// Runs the test of this name in a process with a home of its own; true in that process.
pub(crate) fn is_at_home(test: &str) -> bool {
    if std::env::var_os(AT_HOME).is_some() {
        return true;
    }
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(AT_HOME, "1")
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .env("LICENCEADDIN_COMMON_DIR", home.path().join("common"))
        .env("LICENCEADDIN_INSTALLED_DIR", home.path().join("installed"))
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{shown}\n{errors}");
    assert!(shown.contains("1 passed"), "{test} did not run: {shown}");
    false
}

pub(crate) fn session(number: u32) -> String {
    json!({"SessionNumber": number, "InfoBaseConnectionStr": "Srvr=\"s\";Ref=\"b\";",
        "IsServer": true, "UserName": "Анна"})
    .to_string()
}

/// Names server and series.
pub(crate) fn point(platform: &Platform, address: SocketAddr) {
    let place = format!("host={};port={}", address.ip(), address.port());
    assert!(platform.set("ПараметрыСвязи", text(&place)));
    assert!(platform.set("ОписаниеСерии", text(&descriptor())));
}

/// An object of the component with a started series and a session.
pub(crate) fn started(server: &Server, class: &str, number: u32) -> Platform {
    let platform = Platform::of(class);
    point(&platform, server.address);
    let started = platform.call("Запуск", vec![text("672B")]);
    assert_eq!(started, Answer::Truth(true), "{}", platform.error());
    assert_eq!(platform.call("УстановитьСеанс", vec![text(&session(number))]), Answer::Truth(true));
    platform
}

pub(crate) fn class(platform: &Platform) -> String {
    match platform.get("КлассОшибки") {
        Answer::Text(text) => text,
        other @ (Answer::Blob(_) | Answer::Empty | Answer::Refused | Answer::Truth(_)) => {
            panic!("{other:?}")
        }
    }
}
