//! Programs of others, unchanged: they sign in at the played marking service, and read keys from our
//! server.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use xtask::build::workspace;
use xtask::stage::{Crpt, Stage};

use crate::site::{More, ROMASHKA, SECRET, Site, ismp, key_of, query, sign_in, suz};

/// What the script of a consumer ends with when the server refuses.
const REFUSED: i32 = 3;

/// What it ends with when it is given another token than a JWT.
const NO_JWT: i32 = 4;

/// A Python with the packages of others, which finds the played service under the names of the real
/// one, and our server without any proxy.
fn python(stage: &Stage, crpt: &Crpt, script: &str) -> Command {
    let python = stage.bins().target().join("ismp-venv").join("bin").join("python");
    assert!(python.exists(), "no Python with py-cz-api; `cargo xtask test` makes it");
    let script: PathBuf = workspace().unwrap().join("crates/xtask/tests/ismp").join(script);
    let mut command = Command::new(python);
    for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy", "no_proxy"] {
        command.env_remove(name);
    }
    command.env("HTTPS_PROXY", crpt.proxy()).env("NO_PROXY", "127.0.0.1");
    command.env("REQUESTS_CA_BUNDLE", crpt.authority()).env("SSL_CERT_FILE", crpt.authority());
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONIOENCODING", "utf-8");
    command.env("RU_MCP_HOME", stage.root()).env("HOME", stage.root());
    command.arg(script).current_dir(stage.root());
    command
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat()
}

/// The last line of a script that has succeeded.
fn told(mut command: Command) -> Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {}", said(&output)))
}

/// The command of the settings, for this organisation.
fn signer(crpt: &Crpt) -> Vec<String> {
    let command = crpt.gost().sign_command().replace("{INN}", ROMASHKA);
    command.split(' ').map(str::to_owned).collect()
}

#[test]
fn py_cz_api_signs_in_at_the_played_service_under_the_real_ones_name() {
    let stage = Stage::temporary().unwrap();
    let crpt = Crpt::start(&stage).unwrap();
    crpt.gost().issue(ROMASHKA).unwrap();
    let mut producer = python(&stage, &crpt, "cz_api_producer.py");
    producer.args(signer(&crpt));
    let told = told(producer);
    assert_eq!(crpt.tokens(), [told["token"].as_str().unwrap()]);
    assert!(told["left"].as_f64().unwrap() > 9.9 * 3600.0, "{told}");
    assert_eq!(told["claims"]["inn"], ROMASHKA);
    assert_eq!(told["found"][0]["cis"], "0104600000000017210000001", "{told}");
    assert!(crpt.asked().iter().all(|asked| asked.host.as_deref() == Some("markirovka.crpt.ru")));
}

#[test]
fn py_cz_api_reads_the_shared_key_from_our_server_and_works_with_it() {
    let more =
        More { users: "иванов=administrator;пароль Иванова", ..More::default() };
    let site = Site::with(more);
    let key = key_of(&sign_in(&site.rest(), &site.signatory(), &ismp()));
    key_of(&sign_in(&site.rest(), &site.signatory(), &suz()));
    let address = |parameters: &Value| {
        format!(
            "http://127.0.0.1:{}/api/ismp/token?{}&Format=text",
            site.server.port(),
            query(parameters)
        )
    };
    let run = |parameters: &Value, user: &str, password: &str| {
        let mut consumer = python(&site.stage, &site.crpt, "cz_api_consumer.py");
        consumer.args([&address(parameters), user, password]);
        consumer
    };
    for (user, password) in
        [("1С Торговля", SECRET), ("иванов", "пароль Иванова"), ("admin", "of a stage")]
    {
        let told = told(run(&ismp(), user, password));
        assert_eq!(told["token"], json!(key), "{user}");
        assert_eq!(told["found"][0]["cis"], "0104600000000017210000001", "{user}: {told}");
    }
    for (what, parameters, password, wanted) in [
        ("a wrong password", ismp(), "пароль", REFUSED),
        ("no key", json!({ "TokenType": "ISMPRetail", "Organization": ROMASHKA }), SECRET, REFUSED),
        ("a key that is no JWT", suz(), SECRET, NO_JWT),
    ] {
        let output = run(&parameters, "1С", password).output().unwrap();
        assert_eq!(output.status.code(), Some(wanted), "{what}: {}", said(&output));
        assert!(!said(&output).contains(&key), "{what}");
    }
    assert_eq!(site.crpt.sign_ins(None), 1, "readers sign nothing");
}

#[test]
fn chestny_znak_mcp_signs_in_at_the_played_service_and_works_with_our_key() {
    let site = Site::new();
    let signatory = site.signatory();
    let mut producer = python(&site.stage, &site.crpt, "chestny_znak_mcp.py");
    producer.args(signer(&site.crpt)).env("CRPT_TOKEN", "none");
    let said = told(producer);
    let token = said["signed_in"]["data"]["token"].as_str().unwrap_or_else(|| panic!("{said}"));
    assert!(site.crpt.is_live(token));
    assert!(said["unconfirmed"]["ok"] == json!(false), "{said}");
    assert_eq!(site.crpt.sign_ins(None), 1, "unconfirmed it sends nothing");

    let key = key_of(&sign_in(&site.rest(), &signatory, &ismp()));
    let ask = |token: &str| {
        let mut consumer = python(&site.stage, &site.crpt, "chestny_znak_mcp.py");
        consumer.env("CRPT_TOKEN", token);
        told(consumer)
    };
    assert_eq!(ask(&key)["ok"], json!(true));
    let refused = ask("none");
    assert!(refused["ok"] == json!(false) && refused.to_string().contains("401"), "{refused}");
}
