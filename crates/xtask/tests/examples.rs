//! The programs of `examples/` that talk to a server do what they say, on a live one.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::json;
use xtask::build::workspace;
use xtask::stage::{Order, Server, Stage, Vendor, wait_until};

/// Bound of one program: a start blocks 15 s at most.
const BOUND: Duration = Duration::from_secs(40);

fn site(seats: u32) -> (Stage, Vendor, Server) {
    let stage = Stage::temporary().unwrap();
    let vendor = Vendor::start(&stage).unwrap();
    let server = Server::start(&stage, "server", &vendor, 0).unwrap();
    if seats > 0 {
        server.activate(&stage, &vendor, Order { kind: "main", seats }).unwrap();
    }
    (stage, vendor, server)
}

/// A call of the Rust client for this session.
fn client(stage: &Stage, vendor: &Vendor, port: u16, number: u32) -> Command {
    let mut command = Command::new(stage.bins().file("example-client").unwrap());
    command.arg(vendor.series_file()).arg(format!("127.0.0.1:{port}"));
    command.args([&number.to_string(), "Анна"]);
    command
}

#[test]
fn rust_program_takes_a_seat_without_1c_and_gives_it_back() {
    let (stage, vendor, server) = site(1);
    let mut first = stage.start("first", client(&stage, &vendor, server.port(), 1)).unwrap();
    let granted = first.line(BOUND).unwrap();
    let sessions = server.rest().sessions().unwrap();
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    let id = sessions[0]["ID"].as_str().unwrap();
    assert!(granted.starts_with(&format!("granted id={id} key=")), "{granted}");
    assert_eq!(sessions[0]["UserName"], "Анна");

    let second = client(&stage, &vendor, server.port(), 2).output().unwrap();
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    let why = String::from_utf8(second.stderr).unwrap();
    assert!(why.starts_with("(EServerResult."), "{why}");

    first.close_stdin();
    assert_eq!(first.line(BOUND).unwrap(), "released");
    assert!(first.wait(BOUND).unwrap().success());
    wait_until(BOUND, "the release of the seat", || {
        Ok(server.rest().sessions()?.is_empty().then_some(()))
    })
    .unwrap();
}

#[test]
fn rust_program_believes_no_server_of_another_vendor() {
    let (stage, _vendor, server) = site(1);
    let (_other_stage, other_vendor, _other) = site(0);
    let output = client(&stage, &other_vendor, server.port(), 1).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let why = String::from_utf8(output.stderr).unwrap();
    assert!(why.starts_with("(EServerNotTrusted)"), "{why}");
    assert!(server.rest().sessions().unwrap().is_empty());
}

#[test]
fn python_script_lists_installs_and_ends() {
    let (stage, vendor, server) = site(0);
    let order = json!({ "Name": "python", "Scope": "administrator", "Days": 2 });
    let made = server.rest().try_post("/api/tokens", &order).unwrap();
    let token = made.body["Token"].as_str().unwrap().to_owned();
    let run = |token: &str, arguments: &[&str]| -> Output {
        let mut command = Command::new("python3");
        command.arg(workspace().unwrap().join("examples/python/licences.py")).args(arguments);
        // A proxy of the surroundings must not get to see the token.
        command.env("http_proxy", "http://127.0.0.1:9").env("LC_ALL", "C.UTF-8");
        command.env("LICENCE_SERVER", format!("http://127.0.0.1:{}", server.port()));
        command.env("LICENCE_TOKEN", token).output().unwrap()
    };
    let must = |arguments: &[&str]| {
        let output = run(&token, arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(must(&["keys"]), "");
    let code = vendor.order(&stage, Order { kind: "main", seats: 3 }).unwrap();
    let installed = must(&["install", &code, "7707083893"]);
    let key = server.rest().licences().unwrap().remove(0);
    let expected = format!("672B {} main seats=3 no end ready\n", key["KeyNo"]);
    assert_eq!(installed, expected);
    assert_eq!(key["ITN"], 7_707_083_893_u64);
    assert_eq!(must(&["keys", "672B"]), expected);

    let holder = stage.start("holder", client(&stage, &vendor, server.port(), 1)).unwrap();
    holder.line(BOUND).unwrap();
    let id = server.rest().sessions().unwrap()[0]["ID"].as_str().unwrap().to_owned();
    assert!(must(&["sessions"]).starts_with(&format!("{id} Анна ")));
    assert!(must(&["end", &id, "hung since morning"]).starts_with(&id));
    assert_eq!(must(&["sessions"]), "");

    for (token, arguments, code) in [
        ("lic_wrong", &["keys"][..], 1),
        (&token, &["install", "4345-9320-2035-7421-5361"], 1),
        (&token, &["dance"], 2),
        (&token, &[], 2),
    ] {
        let output = run(token, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    let output = run(&token, &["end", "none"]);
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("(E"), "the class comes first");
}
