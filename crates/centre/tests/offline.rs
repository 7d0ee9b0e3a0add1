//! A series whose secret never comes to the centre, over loopback: codes, returns and renewals wait for
//! the vendor's machine, which signs over the network or by files; nothing else is taken.

#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

#[expect(dead_code, reason = "this file uses a part of it")]
mod support;

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clap::Parser;
use licence_core::activation::ActivationCode;
use licence_core::activation_request::ActivationRequest;
use licence_core::centre_request::{
    LicencesRequest, RECEIPT_TYP, ReturnAnswer, ReturnReceipt, ReturnRequest,
};
use licence_core::jws;
use licence_core::key::KeySeries;
use licence_core::licence_file::{LICENCE_TYP, Licence, LicenceClaims, SERIES_KEY_PURPOSE};
use licence_core::seal::{SigningKey, hex_upper};
use licence_core::short_text::{ShortAnswer, ShortRequest};
use licence_core::wrap::WrapKey;
use licencecentre::series::open_all;
use licencekit::cli::Cli;
use licencekit::commands::{Failure, Surroundings, run};
use licencekit::passphrase::{Passphrase, PassphraseError};
use licencekit::random;
use licencekit::secret::SeriesSecret;
use licencekit::text::{Language, explain};
use serde_json::{Value, json};
use support::{Answer, Running, now, request, server, turn_clock_forward};
use zeroize::Zeroizing;

const PASSPHRASE: &str = "correct horse battery";

/// The vendor's machine and the centre: two folders.
struct World {
    base: tempfile::TempDir,
    secret: SeriesSecret,
    seed: Zeroizing<[u8; 32]>,
}

impl World {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let (seed, object) = (random::key_bytes().unwrap(), random::key_bytes().unwrap());
        let secret = SeriesSecret::from_bytes(KeySeries::from_u16(0x672B), *seed, *object);
        let passphrase = Passphrase::new(Zeroizing::new(PASSPHRASE.to_owned())).unwrap();
        std::fs::create_dir_all(base.path().join("centre/series")).unwrap();
        let descriptor = secret.descriptor("Тестовая серия".into(), None);
        let text = serde_json::to_string(&descriptor).unwrap();
        std::fs::write(base.path().join("centre/series/672B.series"), text).unwrap();
        std::fs::write(base.path().join("672B.cryptkey"), secret.seal(&passphrase).unwrap())
            .unwrap();
        Self { base, secret, seed }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    fn start(&self) -> Running {
        let set = open_all(&self.path("centre/series"), || -> Result<_, PassphraseError> {
            panic!("a centre without secrets asks for no passphrase")
        });
        Running::serving(&self.path("centre"), set.unwrap())
    }

    /// Runs `licencekit sign` with these words; `{}` of a word stands for the folder.
    fn sign(&self, centre: &Running, words: &str) -> Result<String, Failure> {
        let url = centre.url("");
        let folder = self.base.path().to_str().unwrap();
        let words = words
            .replace("CENTRE", &format!("--centre {url} --token-file {{}}/centre/admin.token"))
            .replace("{}", folder);
        let words = format!("licencekit --lang en sign {words}");
        let cli = Cli::try_parse_from(words.split_whitespace()).unwrap();
        let passphrase = Some(Zeroizing::new(PASSPHRASE.to_owned()));
        let mut out = Vec::new();
        let around = Surroundings { language: Language::English, passphrase, out: &mut out };
        let done = run(cli.command, around);
        let shown = String::from_utf8(out).unwrap();
        done.map(|()| shown)
    }

    fn sign_all(&self, centre: &Running) -> String {
        self.sign(centre, "CENTRE --cryptkey {}/672B.cryptkey --yes").unwrap()
    }

    fn read(&self, document: &str) -> Licence {
        Licence::verify(document, &self.secret.signing_key().public()).unwrap()
    }
}

fn wrap_key() -> WrapKey {
    WrapKey::from_secret(&[77; 32])
}

fn asking(key: &SigningKey, code: ActivationCode) -> ActivationRequest {
    ActivationRequest { enc: Some(wrap_key().jwk()), ..request(key, code) }
}

fn waiting(centre: &Running) -> Vec<Value> {
    let answer = centre.send("GET", "/api/unsigned", &centre.token, "");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["Items"].as_array().unwrap().clone()
}

fn post(centre: &Running, path: &str, token: String) -> Answer {
    centre.send("POST", path, "", &json!({ "Request": token }).to_string())
}

fn give(centre: &Running, id: &Value, document: &str) -> Answer {
    let body = json!({ "Document": document }).to_string();
    centre.send("POST", &format!("/api/unsigned/{id}"), &centre.token, &body)
}

fn update(centre: &Running, key: &SigningKey) -> Vec<String> {
    let computer = hex_upper(&key.public().as_bytes()[..20]);
    let mut question = LicencesRequest::new("u1".into(), now(), key, computer, "4.0.0".into());
    question.enc = Some(wrap_key().jwk());
    let answer = post(centre, "/api/licences", question.sign(key).unwrap());
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_value(answer.body["Licences"].clone()).unwrap()
}

fn is_pending(answer: &Answer) {
    assert_eq!((answer.status, answer.exception().as_str()), (503, "ESignaturePending"));
}

#[test]
fn code_waits_for_the_vendors_machine_and_is_nobody_elses_meanwhile() {
    let world = World::new();
    let centre = world.start();
    let code = centre.code(json!({"ITN": "7707083893"}));
    let (first, other) = (server(1), server(2));
    let mut asked = asking(&first, code);
    asked.itn = Some("7707083893".into());
    is_pending(&centre.activate(&asked, &first));
    is_pending(&centre.activate(&asked, &first));
    let mut stranger = asking(&other, code);
    stranger.itn = Some("7707083893".into());
    assert_eq!(centre.activate(&stranger, &other).exception(), "ECodeUsed");
    assert_eq!(update(&centre, &first), [""; 0]);
    let waits = waiting(&centre);
    assert_eq!(waits.len(), 1, "asked twice, kept once");
    assert_eq!(waits[0]["Claims"]["LicenceCount"], 5);
    assert_eq!(waits[0]["Kind"], "licence");
    let shown = world.sign_all(&centre);
    assert!(shown.contains("main, seats: 5, without end, ITN: 7707083893"), "{shown}");
    assert!(shown.contains(", with the object key\n"), "{shown}");
    assert!(waiting(&centre).is_empty());
    let answer = centre.activate(&asked, &first);
    assert_eq!(answer.status, 200, "{answer:?}");
    let document = answer.body["Licence"].as_str().unwrap();
    let Licence { claims, holder, .. } = world.read(document);
    let context = LicenceClaims::object_key_context(claims.fields.key_id, &claims.jti, &holder);
    let object = claims.object_key.as_ref().unwrap();
    let opened = wrap_key().unwrap(object, SERIES_KEY_PURPOSE, &context).unwrap();
    assert_eq!(opened.as_slice(), world.secret.object_secret());
    assert_eq!(update(&centre, &first), [document]);
    assert!(waiting(&centre).is_empty(), "nothing is signed twice");
}

#[test]
fn only_what_waits_is_taken_and_only_signed_by_the_series() {
    let world = World::new();
    let centre = world.start();
    let code = centre.code(json!({}));
    is_pending(&centre.activate(&request(&server(1), code), &server(1)));
    let waits = waiting(&centre).remove(0);
    let (id, claims) = (&waits["UnsignedID"], &waits["Claims"]);
    let (own, other) = (world.secret.signing_key(), server(9));
    let sign = |claims: &Value, key| jws::sign(LICENCE_TYP, claims, key).unwrap();
    let refused = |document: &str, text: &str| {
        let answer = give(&centre, id, document);
        assert_eq!((answer.status, &*answer.exception()), (400, "ESignatureWrong"), "{text}");
        assert!(answer.body["Message"].as_str().unwrap().contains(text), "{answer:?}");
    };
    refused(&sign(claims, &other), "not signed by the key of the series");
    refused("nothing", "not signed by the key of the series");
    refused(&jws::sign(RECEIPT_TYP, claims, &own).unwrap(), "not signed");
    for name in ["LicenceCount", "Period", "KeyNo", "jti", "cnf", "Stranger", "ObjectKey"] {
        let mut changed = claims.clone();
        changed[name] = json!(1_000);
        refused(&sign(&changed, &own), name);
    }
    let mut fewer = claims.clone();
    fewer.as_object_mut().unwrap().remove("iat");
    refused(&sign(&fewer, &own), "iat");
    assert_eq!(give(&centre, &json!(4711), &sign(claims, &own)).status, 404);
    let answer = centre.send("GET", "/api/unsigned", "", "");
    assert_eq!(answer.status, 401, "claims hold codes");
    for _ in 0..2 {
        let answer = give(&centre, id, &sign(claims, &own));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(centre.activate(&request(&server(1), code), &server(1)).status, 200);
    let audit = centre.send("GET", "/api/audit", &centre.token, "");
    let actions: Vec<_> =
        audit.body["Items"].as_array().unwrap().iter().map(|line| &line["Action"]).collect();
    assert_eq!(actions, ["signature", "unsigned", "activation", "order"]);
}

#[test]
fn return_and_renewal_wait_as_well_and_files_carry_what_is_signed() {
    let world = World::new();
    let centre = world.start();
    let order = centre.order(json!({"Period": 30}));
    let (key, code) = (server(1), order.codes[0].code);
    is_pending(&centre.activate(&asking(&key, code), &key));
    let exported = world.sign(&centre, "export CENTRE --out {}/unsigned.json").unwrap();
    assert_eq!(exported, "waiting for a signature: 1\n");
    let file = "file --cryptkey {}/672B.cryptkey {}/unsigned.json --out {}/signed.json --yes";
    world.sign(&centre, file).unwrap();
    world.sign(&centre, "import CENTRE {}/signed.json").unwrap();
    let document = update(&centre, &key).remove(0);

    // A prolonged order: the licence goes on until the later one is signed.
    let path = format!("/api/orders/{}/prolong", order.order_id);
    let answer = centre.send("POST", &path, &centre.token, r#"{"Days":30}"#);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(update(&centre, &key), std::slice::from_ref(&document));
    assert_eq!(update(&centre, &key), std::slice::from_ref(&document));
    assert_eq!(waiting(&centre).len(), 1);
    turn_clock_forward(31);
    assert_eq!(update(&centre, &key), [""; 0], "its term is over");
    world.sign_all(&centre);
    let renewed = update(&centre, &key).remove(0);
    let (old, new) = (world.read(&document).claims, world.read(&renewed).claims);
    assert_eq!((old.jti, old.fields.period, new.fields.period), (new.jti.clone(), 30, 60));
    assert!(new.iat > old.iat && new.object_key.is_some());

    let licence = world.read(&renewed);
    let computer = hex_upper(&key.public().as_bytes()[..20]);
    let back = ReturnRequest {
        jti: "b1".into(),
        iat: now().unix_seconds(),
        aud: None,
        cnf: licence.claims.cnf.clone(),
        key_no: licence.fields().key_no,
        key_id: licence.fields().key_id,
        activation: licence.claims.jti.clone(),
        reason: None,
        note: None,
        token: None,
        computer_id: computer,
        server_version: "4.0.0".into(),
    };
    let token = back.sign(&key).unwrap();
    for _ in 0..2 {
        let answer = post(&centre, "/api/returns", token.clone());
        is_pending(&answer);
        let text = answer.body["Message"].as_str().unwrap();
        assert!(text.contains("Repeat the return") && !text.contains("update"), "{text}");
    }
    assert_eq!(waiting(&centre).len(), 1);
    assert_eq!(centre.activate(&asking(&key, code), &key).exception(), "EKeyReturned");
    world.sign_all(&centre);
    let answer = post(&centre, "/api/returns", token);
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer: ReturnAnswer = serde_json::from_value(answer.body).unwrap();
    let public = world.secret.signing_key().public();
    let receipt = ReturnReceipt::verify(&answer.receipt, &public).unwrap();
    assert_eq!(receipt.reserve_code, answer.reserve_code);

    // What was exported before it was given back is not taken.
    is_pending(&centre.activate(&asking(&server(2), answer.reserve_code), &server(2)));
    std::fs::remove_file(world.path("unsigned.json")).unwrap();
    std::fs::remove_file(world.path("signed.json")).unwrap();
    world.sign(&centre, "export CENTRE --out {}/unsigned.json").unwrap();
    world.sign(&centre, file).unwrap();
    let path = format!("/api/keys/{}/release", answer.key_no);
    assert_eq!(centre.send("POST", &path, &centre.token, "").status, 200);
    let failure = world.sign(&centre, "import CENTRE {}/signed.json").unwrap_err();
    assert_eq!(explain(&failure, Language::English), "1 documents were not taken");
    assert!(waiting(&centre).is_empty());
}

#[test]
fn request_that_was_read_out_is_signed_in_its_short_form() {
    let world = World::new();
    let centre = world.start();
    let code = centre.code(json!({}));
    let key = server(1);
    let asked = ShortRequest {
        code,
        holder: key.public(),
        computer_id: hex_upper(&key.public().as_bytes()[..20]),
        itn: None,
        iec: None,
    };
    let body = json!({ "Request": asked.encode().unwrap() }).to_string();
    let call = || centre.send("POST", "/api/short", "", &body);
    is_pending(&call());
    is_pending(&call());
    let kinds: Vec<_> = waiting(&centre).iter().map(|one| one["Kind"].clone()).collect();
    assert_eq!(kinds, ["licence", "short"]);
    world.sign_all(&centre);
    let answer = call();
    assert_eq!(answer.status, 200, "{answer:?}");
    let lines = ShortAnswer::decode(answer.body["Answer"].as_str().unwrap()).unwrap();
    let descriptor = world.secret.descriptor("Тестовая серия".into(), None);
    world.read(&lines.rebuild(&descriptor, &key.public()).unwrap());
    assert!(waiting(&centre).is_empty());
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

#[test]
fn folder_of_the_centre_holds_no_secret_of_the_series() {
    let world = World::new();
    let centre = world.start();
    let code = centre.code(json!({}));
    is_pending(&centre.activate(&asking(&server(1), code), &server(1)));
    world.sign_all(&centre);
    let document = update(&centre, &server(1)).remove(0);
    centre.stop();
    // Each of the two in the forms that programs write.
    let forms: Vec<Vec<u8>> = [world.secret.object_secret(), &*world.seed]
        .into_iter()
        .flat_map(|secret| {
            let hex = hex_upper(secret);
            [
                secret.to_vec(),
                hex.to_lowercase().into_bytes(),
                hex.into_bytes(),
                STANDARD.encode(secret).into_bytes(),
                URL_SAFE_NO_PAD.encode(secret).into_bytes(),
            ]
        })
        .collect();
    let mut files = Vec::new();
    files_below(&world.path("centre"), &mut files);
    let mut has_document = false;
    for path in &files {
        assert_ne!(path.extension().and_then(|name| name.to_str()), Some("cryptkey"));
        let bytes = std::fs::read(path).unwrap();
        let holds = |wanted: &[u8]| bytes.windows(wanted.len()).any(|part| part == wanted);
        assert!(!forms.iter().any(|form| holds(form)), "{}", path.display());
        assert!(!holds(b"age-encryption.org"), "{}", path.display());
        has_document |= holds(&document.as_bytes()[..100]);
    }
    assert!(has_document, "the search finds what is there");
}
