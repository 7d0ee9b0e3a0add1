//! The scripts of `examples/curl` do what they say, on a live server with a real component.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use xtask::build::workspace;
use xtask::demo::server_session;
use xtask::stage::{HostProcess, Order, Server, Stage, Vendor};

/// What curl ends with when the server refuses.
const REFUSED: i32 = 22;

struct Caller {
    address: String,
    token: String,
}

impl Caller {
    fn run(&self, script: &str, arguments: &[&str]) -> Output {
        let path = workspace().unwrap().join("examples/curl").join(script);
        let mut command = Command::new(path);
        command.args(arguments);
        command.env("LICENCE_SERVER", &self.address).env("LICENCE_TOKEN", &self.token);
        for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        command.output().unwrap()
    }

    fn must(&self, script: &str, arguments: &[&str]) -> String {
        let output = self.run(script, arguments);
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, script: &str, arguments: &[&str]) -> Value {
        let text = self.must(script, arguments);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{script}: {error}: {text}"))
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn scripts_activate_list_end_a_session_export_denials_and_back_up() {
    let stage = Stage::temporary().unwrap();
    let vendor = Vendor::start(&stage).unwrap();
    let server = Server::start(&stage, "server", &vendor, 0).unwrap();
    let order = json!({"Name": "curl", "Scope": "administrator", "Days": 2});
    let made = server.rest().try_post("/api/tokens", &order).unwrap();
    let token = made.body["Token"].as_str().unwrap().to_owned();
    let caller = Caller { address: format!("http://127.0.0.1:{}", server.port()), token };

    let code = vendor.order(&stage, Order { kind: "main", seats: 1 }).unwrap();
    let licence = caller.json("activate.sh", &[&code, "0123456789"]);
    let listed = caller.json("list.sh", &["licences", "672B"]);
    assert_eq!(listed["Licences"][0]["KeyNo"], licence["KeyNo"], "{listed}");
    assert_eq!(caller.json("list.sh", &["series"])["Series"][0]["TotalLicenceCount"], 1);

    let computer = stage.computer("computer", &vendor, &[server.port()]).unwrap();
    let mut host = HostProcess::started(&stage, "computer", &computer).unwrap();
    let seat = host.must_take(&server_session(1)).unwrap();
    assert!(host.take(&server_session(2)).unwrap().is_err(), "there is one seat");

    let ended = caller.json("end-session.sh", &[&seat.id, "hung since morning"]);
    assert_eq!(ended["ID"], json!(seat.id));
    assert_eq!(caller.json("list.sh", &["sessions"])["Sessions"], json!([]));

    let file = stage.root().join("denials.csv");
    caller.must("export-denials.sh", &[file.to_str().unwrap(), "2026-01-01"]);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.lines().count() == 2 && text.contains(";denied;"), "{text}");

    let file = stage.root().join("backup.tar");
    caller.must("backup.sh", &[file.to_str().unwrap()]);
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(bytes.get(257..262), Some(&b"ustar"[..]), "{} bytes", bytes.len());
    assert_eq!(mode(&file), 0o600);
    host.quit().unwrap();
}

#[test]
fn refusal_is_shown_and_ends_a_script_with_an_error() {
    let stage = Stage::temporary().unwrap();
    let vendor = Vendor::start(&stage).unwrap();
    let server = Server::start(&stage, "server", &vendor, 0).unwrap();
    let address = format!("http://127.0.0.1:{}", server.port());
    let caller = Caller { address, token: "lic_wrong".to_owned() };
    let file = stage.root().join("backup.tar");
    for (script, argument) in [
        ("list.sh", "sessions"),
        ("end-session.sh", "none"),
        ("activate.sh", "4345-9320-2035-7421-5361"),
        ("backup.sh", file.to_str().unwrap()),
    ] {
        let output = caller.run(script, &[argument]);
        assert_eq!(output.status.code(), Some(REFUSED), "{script}: {output:?}");
    }
    let shown = String::from_utf8(caller.run("list.sh", &["sessions"]).stdout).unwrap();
    assert!(shown.contains("\"Exception\""), "{shown}");
    let left: Vec<_> = std::fs::read_dir(stage.root()).unwrap().map(Result::unwrap).collect();
    assert!(left.iter().all(|entry| !entry.file_name().to_string_lossy().contains("backup")));
    assert_ne!(caller.run("list.sh", &["nothing"]).status.code(), Some(0));
}
