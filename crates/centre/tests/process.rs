//! The two programs as the vendor runs them: a series made by `licencekit`, the centre as a
//! process of its own, stopped by a signal and killed.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use clap::Parser;
use licence_core::activation::ActivationCode;
use licence_core::activation_request::{ActivationAnswer, ActivationCall, ActivationRequest};
use licence_core::centre_request::{AnswerFile, CentreAnswer};
use licence_core::seal::SigningKey;
use licence_core::time::Utc;
use licencekit::cli::Cli;
use licencekit::commands::{Failure, Surroundings, run};
use licencekit::files::FileError;
use licencekit::text::{Language, explain};

/// Longest that a test waits for a process; scrypt in an unoptimised build takes seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs `licencekit` with these arguments; gives what it printed.
fn kit(arguments: &[&str]) -> Result<String, Failure> {
    let cli = Cli::try_parse_from([&["licencekit", "--lang", "en"], arguments].concat()).unwrap();
    let mut out = Vec::new();
    let around = Surroundings { language: cli.lang.unwrap(), passphrase: None, out: &mut out };
    run(cli.command, around)?;
    Ok(String::from_utf8(out).unwrap())
}

/// A centre in a process of its own.
struct Centre {
    child: Child,
    url: String,
}

impl Centre {
    fn start(data: &str, passphrase: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_licencecentre"))
            .args(["run", "--data", data, "--port", "0", "--passphrase-file", passphrase])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let line = within(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).unwrap();
            line
        });
        let address = line.trim_end().strip_prefix("licencecentre 4.0.0 listens on ").unwrap();
        Self { url: format!("http://{address}"), child }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop; gives its exit status and its log.
    fn terminate(mut self) -> (ExitStatus, String) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        within(move || {
            let mut log = String::new();
            self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
            (self.child.wait().unwrap(), log)
        })
    }

    fn activate(&self, code: ActivationCode, seed: u8) -> (u16, String) {
        let key = SigningKey::from_seed(&[seed; 32]);
        let computer = "D365ACC38180015CD3A30E62BF1072392D4DD5C1".to_owned();
        let moment = Utc::from_unix_millis(0);
        let request =
            ActivationRequest::new("r1".into(), moment, &key, code, computer, "4.0.0".into());
        let call = ActivationCall { request: request.sign(&key).unwrap() };
        let agent: ureq::Agent =
            ureq::Agent::config_builder().timeout_global(Some(LIMIT)).build().into();
        let mut answer =
            agent.post(format!("{}/api/activations", self.url)).send_json(call).unwrap();
        let body: ActivationAnswer = answer.body_mut().read_json().unwrap();
        (answer.status().as_u16(), body.licence)
    }
}

/// The value of `work`, waited for no longer than [`LIMIT`].
fn within<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, waiting) = mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    waiting.recv_timeout(LIMIT).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn series_order_activation_kill_and_stop_go_as_the_vendor_expects() {
    let base = tempfile::tempdir().unwrap();
    let data = base.path().join("centre");
    let series_folder = data.join("series");
    let passphrase = base.path().join("passphrase");
    std::fs::write(&passphrase, "correct horse battery\n").unwrap();
    let create = [
        "series",
        "create",
        "--series",
        "672B",
        "--name",
        "Тестовая серия",
        "--centre-url",
        "https://centre.example/",
        "--out",
        text(&series_folder),
        "--passphrase-file",
        text(&passphrase),
    ];
    kit(&create).unwrap();
    let again = kit(&create);
    assert!(matches!(again, Err(Failure::File(FileError::Exists(_)))));
    let public = series_folder.join("672B.series");
    let shown = kit(&["series", "show", text(&public)]).unwrap();
    assert!(shown.contains("https://centre.example\n"), "{shown}");

    let centre = Centre::start(text(&data), text(&passphrase));
    let token = data.join("admin.token");
    let codes = kit(&[
        "order",
        "add",
        "--centre",
        &centre.url,
        "--token-file",
        text(&token),
        "--series",
        "672B",
        "--kind",
        "main",
        "--seats",
        "5",
        "--count",
        "2",
    ])
    .unwrap();
    let codes: Vec<ActivationCode> = codes.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(codes.len(), 2);
    let checked = kit(&["code", "check", &codes[0].to_string()]).unwrap();
    assert!(checked.contains("activation code, series 672B"), "{checked}");
    let (status, licence) = centre.activate(codes[0], 5);
    assert_eq!(status, 201);
    centre.kill();

    let centre = Centre::start(text(&data), text(&passphrase));
    assert_eq!(centre.activate(codes[0], 5), (200, licence.clone()));
    let listed =
        kit(&["order", "list", "--centre", &centre.url, "--token-file", text(&token), "--json"])
            .unwrap();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let key_no = &listed["Orders"][0]["Codes"][0]["KeyNo"];
    let document = base.path().join(format!("672B.{key_no}.licence"));
    std::fs::write(&document, licence).unwrap();
    let verified = kit(&["licence", "verify", "--series", text(&public), text(&document)]).unwrap();
    assert!(verified.starts_with("genuine\n"), "{verified}");
    assert!(verified.contains(&format!(r#""sub": "672B.{key_no}""#)), "{verified}");
    let listed =
        kit(&["order", "list", "--centre", &centre.url, "--token-file", text(&token)]).unwrap();
    assert_eq!(listed.matches("activated").count(), 1, "{listed}");
    assert_eq!(listed.matches("free").count(), 1, "{listed}");
    // The second code goes by files: the server has no internet, the vendor's machine has.
    let key = SigningKey::from_seed(&[6; 32]);
    let moment = Utc::from_unix_millis(0);
    let request =
        ActivationRequest::new("r2".into(), moment, &key, codes[1], "A".repeat(40), "4".into());
    let (file, out) = (base.path().join("672B.request"), base.path().join("672B.answer"));
    std::fs::write(&file, format!("{}\r\n", request.sign(&key).unwrap())).unwrap();
    let answer = |out: &Path| {
        kit(&["request", "answer", "--centre", &centre.url, text(&file), "-o", text(out)])
    };
    assert!(answer(&out).unwrap().ends_with(": a licence\n"));
    let taken: AnswerFile = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    assert!(matches!(taken.answer, CentreAnswer::Activation(_)));
    assert!(matches!(answer(&out), Err(Failure::File(FileError::Exists(_)))));
    std::fs::write(&file, "no request").unwrap();
    let other = base.path().join("other");
    assert!(matches!(answer(&other), Err(Failure::Request(_))));
    assert!(!other.exists());
    kit(&["order", "revoke", "--centre", &centre.url, "--token-file", text(&token), "1"]).unwrap();
    let (status, log) = centre.terminate();
    assert_eq!(status.code(), Some(0), "{log}");
    let shown = codes[0].to_string();
    assert!(log.contains(&format!("…{}", &shown[19..])), "{log}");
    assert!(!log.contains(&shown), "the log holds a whole code: {log}");
}

#[test]
fn refusal_of_the_centre_reaches_the_vendor_in_words() {
    let base = tempfile::tempdir().unwrap();
    let data = base.path().join("centre");
    // No series yet, so no passphrase is asked for.
    let centre = Centre::start(text(&data), "no such file");
    let token = data.join("admin.token");
    let order = |token: &Path| {
        kit(&[
            "order",
            "add",
            "--centre",
            &centre.url,
            "--token-file",
            text(token),
            "--series",
            "672B",
            "--kind",
            "demo",
            "--seats",
            "1",
        ])
    };
    let failure = order(&token).unwrap_err();
    assert_eq!(
        explain(&failure, Language::English),
        "the centre refused with status 400: (EOrderWrong) The activation centre does not serve \
         this series."
    );
    let wrong = base.path().join("wrong");
    std::fs::write(&wrong, "guess").unwrap();
    let failure = order(&wrong).unwrap_err();
    assert!(explain(&failure, Language::Russian).contains("(код 401): (EHTTPUnauthorized)"));
    assert_eq!(centre.terminate().0.code(), Some(0));
}

#[test]
fn wrong_passphrase_keeps_the_centre_from_starting() {
    let base = tempfile::tempdir().unwrap();
    let data = base.path().join("centre");
    let passphrase = base.path().join("passphrase");
    std::fs::write(&passphrase, "correct horse battery\n").unwrap();
    kit(&[
        "series",
        "create",
        "--series",
        "672B",
        "--name",
        "p",
        "--out",
        text(&data.join("series")),
        "--passphrase-file",
        text(&passphrase),
    ])
    .unwrap();
    std::fs::write(&passphrase, "incorrect horse battery\n").unwrap();
    let output = within(move || {
        Command::new(env!("CARGO_BIN_EXE_licencecentre"))
            .args(["run", "--port", "0", "--data"])
            .arg(&data)
            .arg("--passphrase-file")
            .arg(&passphrase)
            .output()
            .unwrap()
    });
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("the passphrase is wrong"), "{log}");
    assert!(output.stdout.is_empty());
    drop(base);
}

#[test]
fn vendor_follows_a_key_from_the_command_line() {
    let base = tempfile::tempdir().unwrap();
    let data = base.path().join("centre");
    let series_folder = data.join("series");
    let passphrase = base.path().join("passphrase");
    std::fs::write(&passphrase, "correct horse battery\n").unwrap();
    let folder = text(&series_folder);
    let words = ["series", "create", "--series", "672B", "--name", "p", "--out", folder];
    kit(&[&words[..], &["--passphrase-file", text(&passphrase)]].concat()).unwrap();
    let centre = Centre::start(text(&data), text(&passphrase));
    let token = data.join("admin.token");
    let call = |words: &[&str]| {
        let access = ["--centre", &centre.url, "--token-file", text(&token)];
        kit(&[words, &access].concat()).unwrap()
    };
    let customer = call(&["customer", "add", "--name", "ООО Ромашка", "--itn", "7707083893"]);
    assert_eq!(customer, "1\n");
    assert_eq!(call(&["customer", "list"]), "1 ООО Ромашка 7707083893\n");
    let sale = ["--series", "672B", "--kind", "main", "--seats", "5", "--period", "30"];
    let with = ["--customer", "1", "--binding", "strict", "--grace-days", "7"];
    let code = call(&[&["order", "add"][..], &sale, &with].concat());
    let (_, licence) = centre.activate(code.trim().parse().unwrap(), 5);
    let public = series_folder.join("672B.series");
    let document = base.path().join("licence");
    std::fs::write(&document, licence).unwrap();
    let verified = kit(&["licence", "verify", "--series", text(&public), text(&document)]).unwrap();
    assert!(verified.contains(r#""Level": "strict""#), "{verified}");
    assert_eq!(call(&["order", "prolong", "1", "--days", "30"]), "1: 60 days\n");
    let listed: serde_json::Value =
        serde_json::from_str(&call(&["order", "list", "--json"])).unwrap();
    let key = listed["Orders"][0]["Codes"][0]["KeyNo"].to_string();
    let spare = call(&["key", "spare", &key]);
    assert_eq!(call(&["key", "spare", &key]), spare);
    assert_ne!(call(&["key", "spare", &key, "--renew"]), spare);
    let reserve = call(&["key", "release", &key, "--reason", "hardware"]);
    let shown = call(&["key", "show", &key]);
    assert!(shown.contains(&format!("672B {key}: waits for its reserve code\n")), "{shown}");
    assert!(shown.contains(&format!("reserve code: {reserve}")), "{shown}");
    let stats = call(&["stats"]);
    assert!(stats.contains("672B: activations 1, moves 0, demos 0"), "{stats}");
    let trail = call(&["audit", "--key", &key]);
    assert_eq!(trail.matches(" admin.token spare key ").count(), 2, "{trail}");
    assert!(!trail.contains(reserve.trim()), "{trail}");
    assert_eq!(centre.terminate().0.code(), Some(0));
}
