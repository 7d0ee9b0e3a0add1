//! schemathesis, which knows nothing of us, reads `docs/openapi.yaml`, makes up requests to a live
//! server, right and wrong ones, and holds the answers against the document.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use xtask::build::workspace;
use xtask::stage::{Launch, Order, Rest, Server, Stage, Vendor};

/// Addresses that are left out, and why.
const LEFT_OUT: [(&str, &str); 5] = [
    ("/api/restart", "the server would start again between two answers"),
    ("/api/restore", "takes an archive of up to 2 GiB"),
    ("/api/password", "the caller would lose its password"),
    ("/api/events/stream", "its answer has no end"),
    // The documented bodies of a component are tested in the server's own tests.
    ("/client/", "over TLS only, with a certificate that no caller but a component trusts"),
];

/// Requests that are made up at random for an operation, beside those of the bounds of its schema:
/// some 1500 in all, within 90 s.
const EXAMPLES: &str = "3";

/// Checks of every answer. `negative_data_rejection` is run for bodies alone, because an empty
/// parameter of an address is none and blanks around it do not count, which a schema cannot say.
/// `positive_data_acceptance` is left out: whether a code is genuine, a centre at hand or a span the
/// right way round stands in no schema. `ignored_auth` is left out: it guesses at every address, and
/// whoever guesses so often is told to wait (429); the server's own tests try every address with
/// every kind of credentials.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,\
                      unsupported_method,missing_required_header";

/// Session keys with a service that is nowhere: nothing of this leaves the computer.
const SESSION_KEYS: &str = "[ISMP]\nEnabled=1\n[ISMPContours]\nproduction=http://127.0.0.1:9\n\
                            sandbox=http://127.0.0.1:9\n";

struct Site {
    stage: Stage,
    server: Server,
    document: PathBuf,
    token: String,
    _vendor: Vendor,
}

fn site() -> Site {
    let stage = Stage::temporary().unwrap();
    let vendor = Vendor::start(&stage).unwrap();
    let server =
        Server::start_as(&stage, "server", &vendor, 0, SESSION_KEYS, Launch::default()).unwrap();
    let licence = server.activate(&stage, &vendor, Order { kind: "main", seats: 5 }).unwrap();
    let order = json!({"Name": "contract", "Scope": "administrator", "Days": 2});
    let made = server.rest().try_post("/api/tokens", &order).unwrap();
    assert_eq!(made.status, 201, "{made:?}");
    let token = made.body["Token"].as_str().unwrap().to_owned();
    // Session keys are not served while the password is the one of the manual.
    let passwords = json!({"Password": "admin", "NewPassword": "of a contract 77"});
    let changed = server.rest().try_put("/api/password", &passwords).unwrap();
    assert!(matches!(changed.status, 200..=299), "{changed:?}");
    // The key of the examples is the one that is there.
    let text = std::fs::read_to_string(workspace().unwrap().join("docs/openapi.yaml")).unwrap();
    let key_no = licence["KeyNo"].to_string();
    let document = stage.root().join("openapi.yaml");
    std::fs::write(&document, text.replace("7131766", &key_no)).unwrap();
    Site { stage, server, document, token, _vendor: vendor }
}

fn schemathesis(stage: &Stage) -> PathBuf {
    let program = stage.bins().target().join("venv").join("bin").join("schemathesis");
    assert!(program.exists(), "no schemathesis; `cargo xtask test` makes it");
    program
}

impl Site {
    fn run(&self, checks: &str, phases: &str, left_out: &[&str], more: &[&str]) {
        let mut command = Command::new(schemathesis(&self.stage));
        command.current_dir(self.stage.root()).arg("run").arg(&self.document);
        command.args(["--url", &format!("http://127.0.0.1:{}", self.server.port())]);
        command.args(["--header", &format!("Authorization: Bearer {}", self.token)]);
        command.args(["--checks", checks, "--phases", phases, "--max-examples", EXAMPLES]);
        // The same requests on every run, and none remembered from another one.
        command.arg("--generation-deterministic");
        command.args(["--request-timeout", "30", "--no-color"]);
        // One pattern for all: of several the last one would count.
        let left_out: Vec<_> =
            LEFT_OUT.iter().map(|(path, _)| path).chain(left_out).copied().collect();
        command.args(["--exclude-path-regex", &format!("^({})", left_out.join("|"))]);
        command.args(more);
        for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}\n{errors}");
        check_extent(&text);
    }
}

/// A run that found nothing to call has proved nothing.
fn check_extent(text: &str) {
    let line = text.lines().find(|line| line.trim_start().starts_with("Tested:"));
    let tested = line.and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok());
    assert!(tested.is_some_and(|tested| tested >= 10), "{text}");
}

#[test]
fn live_server_keeps_to_the_document() {
    let site = site();
    site.run(CHECKS, "examples,coverage,fuzzing", &[], &[]);
    let methods = ["--include-method", "POST", "--include-method", "PUT"];
    // Of an order for a request file only the members that its kind needs are looked at. Functions of
    // session keys take names in two languages, numbers as text and nothing for what has a default.
    let left_out = ["/api/licences/request", "/api/ismp/"];
    let checks = "negative_data_rejection,not_a_server_error";
    site.run(checks, "coverage,fuzzing", &left_out, &methods);
    let health = Rest::bearing(site.server.port(), &site.token).get("/api/health").unwrap();
    assert_ne!(health["Status"], "failed", "{health}");
}
