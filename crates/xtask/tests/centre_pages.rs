//! The pages of the activation centre in a real browser: Chromium, driven by `browser/centre.mjs`.
//!
//! Sets the stage (a centre with two series, accounts, orders, keys that are installed); what is
//! right on a page is judged by the script. A browser, node or the packages that are missing are a
//! failure: nothing is skipped.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use licence_core::activation_request::ActivationRequest;
use licence_core::seal::{SigningKey, hex_upper};
use licence_core::time::Utc;
use serde_json::{Value, json};
use xtask::build::workspace;
use xtask::stage::{Order, Rest, STOP_BOUND, Stage, Vendor};

/// Longest silence of the script: its own longest step is bounded at 35 s.
const SILENCE_BOUND: Duration = Duration::from_secs(180);

/// Where Chromium may lie.
const BROWSERS: [&str; 3] =
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/// The password of all accounts.
const PASSWORD: &str = "correct horse battery staple";

/// The organisation that bought the keys.
const ITN: &str = "7707083893";

fn account(stage: &Stage, vendor: &Vendor, name: &str, role: &str) {
    let file = stage.root().join("account.password");
    std::fs::write(&file, PASSWORD).unwrap();
    let mut add = Command::new(stage.bins().file("licencecentre").unwrap());
    add.args(["account", "add", name, "--role", role, "--password-file"]).arg(&file);
    add.arg("--data").arg(vendor.passphrase_file().parent().unwrap());
    stage.run("licencecentre account add", add).unwrap();
}

/// A request of a server with this key for a code.
fn request(seed: u8, code: &str) -> String {
    let key = SigningKey::from_seed(&[seed; 32]);
    let computer = hex_upper(&key.public().as_bytes()[..20]);
    // The centre takes a request for a code whatever its age.
    let at = Utc::from_unix_millis(1_767_225_600_000);
    let code = code.parse().unwrap();
    let id = format!("r{seed}");
    let mut asked = ActivationRequest::new(id, at, &key, code, computer, "4.0.0".into());
    asked.itn = Some(ITN.to_owned());
    asked.sign(&key).unwrap()
}

/// Calls the centre as the vendor's program.
fn call(vendor: &Vendor, method: &str, path: &str, body: &Value) -> Value {
    let folder = vendor.passphrase_file().parent().unwrap().to_owned();
    let token = std::fs::read_to_string(folder.join("admin.token")).unwrap();
    let asked = ureq::http::Request::builder()
        .method(method)
        .uri(format!("{}{path}", vendor.centre_url()))
        .header("Authorization", format!("Bearer {}", token.trim()))
        .header("Content-Type", "application/json")
        .body(if method == "GET" { String::new() } else { body.to_string() })
        .unwrap();
    let mut answer = ureq::Agent::new_with_defaults().run(asked).unwrap();
    serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
}

/// A centre as it looks after a while: customers, orders, keys that were installed and moved.
fn furnish(stage: &Stage, vendor: &Vendor) -> Value {
    for (name, role) in [("rita", "reader"), ("clara", "clerk"), ("ada", "admin")] {
        account(stage, vendor, name, role);
    }
    for (name, itn) in [("ООО «Ромашка»", ITN), ("ИП Петров В. С.", "500100732259")]
    {
        call(vendor, "POST", "/api/customers", &json!({"Name": name, "ITN": itn}));
    }
    let settings = json!({
        "MovesMax": 4, "SelfRelease": true, "Demo": {"Seats": 3, "Days": 14},
        "Binding": {"Level": "medium", "GraceDays": 14},
    });
    call(vendor, "PUT", "/api/series/672B", &settings);
    let port = vendor.centre_url().rsplit_once(':').unwrap().1.parse().unwrap();
    let rest = Rest::new(port);
    let more = ["--itn", ITN, "--period", "365"];
    let mut installed = Vec::new();
    for seed in 1..=4 {
        let order = Order { kind: "main", seats: 10 };
        let code = vendor.order_of(stage, "672B", order, &more).unwrap();
        let answer =
            rest.try_post("/api/activations", &json!({"Request": request(seed, &code)})).unwrap();
        assert_eq!(answer.status, 201, "{}", answer.body);
        installed.push(code);
    }
    // One of them has moved.
    let keys = call(vendor, "GET", "/api/keys", &Value::Null);
    let key = keys["Items"][0]["KeyNo"].as_u64().unwrap();
    let path = format!("/api/keys/{key}/release");
    let released =
        call(vendor, "POST", &path, &json!({"Reason": "hardware", "Comment": "сгорел диск"}));
    let reserve = released["ReserveCode"].as_str().unwrap();
    let again = json!({"Request": request(9, reserve)});
    assert_eq!(rest.try_post("/api/activations", &again).unwrap().status, 201);
    let free = vendor.order(stage, Order { kind: "additional", seats: 5 }).unwrap();
    json!({
        "centre": vendor.centre_url(),
        "codes": { "ru": installed[0], "en": installed[1], "shown": installed[2] },
        "itn": ITN,
        "key": key,
        "password": PASSWORD,
        "request": request(20, &free),
    })
}

#[test]
fn vendor_and_customer_walk_through_the_centre_in_a_browser() {
    let stage = Stage::temporary().unwrap();
    let advice = "`cargo xtask test` installs it; on Debian: apt-get install chromium nodejs npm";
    let chromium = BROWSERS.iter().map(PathBuf::from).find(|path| path.is_file());
    let Some(chromium) = chromium else { panic!("there is no Chromium: {advice}") };
    let packages = stage.bins().target().join("browser");
    let there = packages.join("node_modules").join("playwright-core").is_dir();
    assert!(there, "the packages in {} are missing: {advice}", packages.display());
    let more = [("7A10", "Складской учёт, редакция 3")];
    let vendor = Vendor::start_with(&stage, &more).unwrap();
    let mut told = furnish(&stage, &vendor);
    told["chromium"] = json!(chromium);
    told["pictures"] = json!(stage.bins().target().join("screenshots"));

    let mut node = Command::new("node");
    node.args(["--test-reporter=spec", "centre.mjs"]);
    node.current_dir(workspace().unwrap().join("crates/xtask/browser"));
    node.env("LICENCE_BROWSER_PACKAGES", &packages);
    node.env("LICENCE_BROWSER_STAGE", told.to_string());
    let mut node = stage.start("node", node).unwrap();
    while let Ok(line) = node.line(SILENCE_BOUND) {
        println!("{line}");
    }
    let status = node.wait(STOP_BOUND).unwrap();
    assert!(status.success(), "{}", node.failed(&format!("ended with {status}")));
}
