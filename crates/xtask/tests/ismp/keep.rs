//! What is left of a key: after a restart, in a backup, in a stolen file, in logs; and keys that nobody
//! is asked for.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;
use xtask::stage::{Crpt, Launch, Rest, Stage, Step, Whim};

use crate::site::{
    LINE, More, ROMASHKA, ROOT, SECRET, Site, challenge, complete, conf, current, data, files,
    ismp, key_of, listed, query, required, retail, server, sign_in, suz, wait_held,
};

#[test]
fn restart_and_a_kill_right_after_the_answer_keep_the_key() {
    let mut site = Site::new();
    let (rest, signatory, parameters) = (site.rest(), site.signatory(), suz());
    let key = key_of(&sign_in(&rest, &signatory, &parameters));
    site.server.kill().unwrap();
    site.server.restart(&site.stage).unwrap();
    assert_eq!(current(&rest, &parameters), Some(key.clone()));
    site.server.stop().unwrap();
    site.server.restart(&site.stage).unwrap();
    assert_eq!(current(&rest, &parameters), Some(key));
    assert_eq!(site.crpt.sign_ins(Some(LINE)), 1);
}

#[test]
fn backup_and_restore_keep_the_key_and_bring_a_deleted_one_back() {
    let mut site = Site::new();
    let (rest, signatory, parameters) = (site.rest(), site.signatory(), suz());
    let key = key_of(&sign_in(&rest, &signatory, &parameters));
    let archive = site.stage.root().join("backup.tar");
    let mut download = Command::new("curl");
    download.args(["--silent", "--fail", "--noproxy", "*", "--header"]);
    download.arg(format!("Authorization: Bearer {ROOT}")).arg("--output").arg(&archive);
    download.arg(format!("http://127.0.0.1:{}/api/backup", site.server.port()));
    site.stage.run("backup", download).unwrap();
    let bytes = std::fs::read(&archive).unwrap();
    assert!(!contains(&bytes, key.as_bytes()), "a backup shows no key");

    let deleted = rest.try_delete(&format!("/api/ismp/token?{}", query(&parameters))).unwrap();
    assert!((200..300).contains(&deleted.status), "{deleted:?}");
    assert_eq!(current(&rest, &parameters), None);
    site.server.stop().unwrap();
    let mut restore = Launch::default().program(&site.stage, "licenceserver").unwrap();
    restore.arg("restore").arg("--data").arg(site.server.data()).arg(&archive);
    site.stage.run("licenceserver restore", restore).unwrap();
    site.server.restart(&site.stage).unwrap();
    assert_eq!(current(&rest, &parameters), Some(key));
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn stolen_file_gives_no_key_and_opens_on_no_other_server() {
    let site = Site::new();
    let (rest, signatory) = (site.rest(), site.signatory());
    let kinds = [suz(), ismp(), retail()];
    for parameters in &kinds {
        key_of(&sign_in(&rest, &signatory, parameters));
    }
    let file = site.server.data().join("3.0/ismp.store");
    let stolen = std::fs::read(&file).unwrap();
    for token in site.crpt.tokens() {
        assert!(!contains(&stolen, token.as_bytes()));
    }
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let settings = conf(&site.crpt, More::default());
    let mut thief = server(&site.stage, "thief", &settings, Launch::default());
    thief.stop().unwrap();
    std::fs::copy(&file, thief.data().join("3.0/ismp.store")).unwrap();
    thief.restart(&site.stage).unwrap();
    let rest = Rest::bearing(thief.port(), SECRET);
    for parameters in &kinds {
        assert_eq!(current(&rest, parameters), None, "{parameters}");
    }
    assert_eq!(rest.get("/api/ismp/tokens").unwrap()["Tokens"], json!([]));
}

#[test]
fn no_file_and_no_log_holds_a_key_a_signature_or_an_unspent_challenge() {
    let mut site = Site::new();
    let root = site.root();
    let trace = json!({ "Common": { "LogLevel": "trace" } });
    let set = root.try_put("/api/settings", &trace).unwrap();
    assert!((200..300).contains(&set.status), "{set:?}");
    let (rest, signatory) = (site.rest(), site.signatory());
    let mut secrets = vec![SECRET.to_owned(), ROOT.to_owned()];
    for parameters in [suz(), ismp(), retail()] {
        for whim in [None, Some(Whim::FailLater), Some(Whim::Garbage), Some(Whim::HangUp)] {
            site.crpt.play(Step::SignIn, &Vec::from_iter(whim));
            let challenged = challenge(&rest, &parameters);
            let signature = signatory.sign(&data(&challenged)).unwrap();
            std::thread::scope(|scope| {
                let exchange =
                    scope.spawn(|| complete(&rest, &parameters, &challenged, &signature));
                if whim == Some(Whim::FailLater) {
                    wait_held(&site.crpt);
                    site.crpt.release();
                }
                exchange.join().unwrap();
            });
            secrets.extend([signature, data(&challenged)]);
        }
        // A wrong signature, a refused key, a key by hand.
        let challenged = challenge(&rest, &parameters);
        complete(&rest, &parameters, &challenged, &signatory.sign("x").unwrap());
        secrets.push(data(&challenged));
        let typed = format!("c0ffee00-0000-4000-8000-{:012}", secrets.len());
        let by_hand = json!({ "RequestParameters": parameters, "SessionKeyParameters":
            { "SessionKey": typed, "ValidUntil": "2099-01-01T00:00:00Z" } });
        let put = rest.try_put("/api/ismp/token", &by_hand).unwrap();
        assert!((200..300).contains(&put.status), "{put:?}");
        secrets.push(typed);
    }
    secrets.extend(site.crpt.tokens());
    assert!(secrets.len() > 30, "{}", secrets.len());
    for page in ["/api/ismp/tokens", "/api/ismp/settings", "/api/events", "/ismp", "/metrics"] {
        let (_, text) = root.page(page).unwrap();
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{page} shows {secret}");
        }
    }
    site.server.stop().unwrap();
    let mut searched = 0;
    for folder in [site.server.data().to_owned(), site.stage.root().join("output")] {
        for file in files(&folder) {
            let bytes = std::fs::read(&file).unwrap();
            searched += 1;
            for secret in &secrets {
                assert!(!contains(&bytes, secret.as_bytes()), "{}: {secret}", file.display());
            }
        }
    }
    assert!(searched > 3, "{searched} files");
}

#[test]
fn command_of_the_settings_signs_and_nobody_is_asked() {
    let stage = Stage::temporary().unwrap();
    let crpt = Crpt::start(&stage).unwrap();
    crpt.gost().issue(ROMASHKA).unwrap();
    let more = format!("SignCommand={}\nSignOrganizations={ROMASHKA}", crpt.gost().sign_command());
    let settings = conf(&crpt, More { ismp: &more, ..More::default() });
    let server = server(&stage, "server", &settings, Launch::default());
    let rest = Rest::bearing(server.port(), SECRET);
    for parameters in [suz(), ismp(), retail()] {
        let need = required(&rest, &parameters, 30);
        assert_eq!(need["Required"], json!(false), "{parameters}: {need}");
        let key = current(&rest, &parameters).unwrap();
        assert!(crpt.is_live(&key));
        assert_eq!(listed(&rest, &parameters)["Source"], "signer");
    }
    assert_eq!(crpt.sign_ins(Some(LINE)), 1);
    // An organisation without a certificate here is a person's business.
    let other = json!({ "TokenType": "ISMP", "Organization": "7801234564" });
    assert_eq!(required(&rest, &other, 0)["Required"], json!(true));
}
