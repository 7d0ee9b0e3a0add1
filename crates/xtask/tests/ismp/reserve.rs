//! A reserve server knows the session keys of its main server, lets that one get them as long as it
//! answers, and gets them itself when it does not.

use std::path::PathBuf;

use crate::site::{
    BOUND, LINE, More, ROMASHKA, ROOT, SECRET, challenge, complete, conf, current, ismp, key_of,
    query, required, server, sign_in, suz,
};
use serde_json::{Value, json};
use xtask::stage::{Crpt, Launch, Rest, Server, Signatory, Stage, wait_until};

/// How long the main server is silent before the reserve acts by itself, and a little more.
const SILENCE: &str = "+125";

struct Pair {
    main: Server,
    reserve: Server,
    crpt: Crpt,
    shift: PathBuf,
    stage: Stage,
}

/// What an administrator copies to the reserve.
fn pin(port: u16) -> String {
    let settings = Rest::bearing(port, ROOT).get("/api/ismp/settings").unwrap();
    settings["Pin"].as_str().unwrap_or_else(|| panic!("no pin: {settings}")).to_owned()
}

impl Pair {
    fn new() -> Self {
        let stage = Stage::temporary().unwrap();
        let crpt = Crpt::start(&stage).unwrap();
        let settings = conf(&crpt, More::default());
        let shift = stage.root().join("shift");
        std::fs::write(&shift, "+0").unwrap();
        // The same time for both: of two keys the later one counts.
        let launch = Launch::default().lived_through(&shift).expect("libfaketime is not installed");
        let main = server(&stage, "main", &settings, launch.clone());
        let more = format!(
            "Main=https://127.0.0.1:{0}\nMainPin={1}\nMainToken={SECRET}",
            main.port(),
            pin(main.port()),
        );
        let settings = conf(&crpt, More { ismp: &more, ..More::default() });
        let reserve = server(&stage, "reserve", &settings, launch);
        Self { main, reserve, crpt, shift, stage }
    }

    fn main(&self) -> Rest {
        Rest::bearing(self.main.port(), SECRET)
    }

    fn reserve(&self) -> Rest {
        Rest::bearing(self.reserve.port(), SECRET)
    }

    fn signatory(&self) -> Signatory {
        self.crpt.gost().issue(ROMASHKA).unwrap()
    }
}

/// Waits until a server gives this key, or none.
fn wait_for(rest: &Rest, parameters: &Value, key: Option<&str>) {
    wait_until(BOUND, "the key at the other server", || {
        Ok((current(rest, parameters).as_deref() == key).then_some(()))
    })
    .unwrap();
}

#[test]
fn reserve_follows_its_main_server_and_lets_it_sign_in() {
    let pair = Pair::new();
    let (main, reserve, signatory) = (pair.main(), pair.reserve(), pair.signatory());
    let first = key_of(&sign_in(&main, &signatory, &suz()));
    wait_for(&reserve, &suz(), Some(&first));

    let second = key_of(&sign_in(&reserve, &signatory, &ismp()));
    assert_eq!(current(&main, &ismp()), Some(second.clone()), "the main server has done it");
    wait_for(&reserve, &ismp(), Some(&second));
    assert_eq!((pair.crpt.sign_ins(Some(LINE)), pair.crpt.sign_ins(None)), (1, 1));

    // A refresh at one of them is seen at the other.
    let deleted = main.try_delete(&format!("/api/ismp/token?{}", query(&suz()))).unwrap();
    assert!((200..300).contains(&deleted.status), "{deleted:?}");
    wait_for(&reserve, &suz(), None);
    let challenged = challenge(&main, &suz());
    assert!(challenged["AuthorizationParameters"].is_object(), "{challenged}");
    let other = challenge(&reserve, &suz());
    assert!(other["AuthorizationParameters"].is_null(), "{other}");
    assert_eq!(required(&reserve, &suz(), 0)["Reason"], json!("busy"));
}

#[test]
fn reserve_serves_keys_without_its_main_server_gets_new_ones_and_hands_them_back() {
    let mut pair = Pair::new();
    let (main, reserve, signatory) = (pair.main(), pair.reserve(), pair.signatory());
    let first = key_of(&sign_in(&main, &signatory, &suz()));
    wait_for(&reserve, &suz(), Some(&first));
    pair.main.kill().unwrap();
    assert_eq!(current(&reserve, &suz()), Some(first.clone()));
    assert_eq!(required(&reserve, &suz(), 0)["Required"], json!(false));
    // Two servers that sign in at once would end each other's keys: it waits for the main one.
    let early = reserve.try_post("/api/ismp/refresh/challenge", &suz()).unwrap();
    let is_refused = early.status == 503 || early.body["AuthorizationParameters"].is_null();
    assert!(is_refused, "{early:?}");

    std::fs::write(&pair.shift, SILENCE).unwrap();
    let second = wait_until(BOUND, "a sign-in of the reserve server", || {
        let answer = reserve.try_post("/api/ismp/refresh/challenge", &suz())?;
        let parameters = &answer.body["AuthorizationParameters"];
        let Some(text) = parameters["Data"].as_str() else { return Ok(None) };
        let signature = signatory.sign(text)?;
        Ok(Some(key_of(&complete(&reserve, &suz(), &answer.body, &signature))))
    })
    .unwrap();
    assert!(pair.crpt.is_live(&second) && !pair.crpt.is_live(&first));
    assert_eq!(current(&reserve, &suz()), Some(second.clone()));

    pair.main.restart(&pair.stage).unwrap();
    wait_for(&pair.main(), &suz(), Some(&second));
    let third = key_of(&sign_in(&pair.main(), &signatory, &suz()));
    wait_for(&reserve, &suz(), Some(&third));
    assert_eq!(pair.crpt.sign_ins(Some(LINE)), 3);
}

#[test]
fn reserve_with_another_pin_or_token_gets_nothing() {
    let stage = Stage::temporary().unwrap();
    let crpt = Crpt::start(&stage).unwrap();
    let settings = conf(&crpt, More::default());
    let main = server(&stage, "main", &settings, Launch::default());
    let signatory = crpt.gost().issue(ROMASHKA).unwrap();
    let key = key_of(&sign_in(&Rest::bearing(main.port(), SECRET), &signatory, &suz()));
    let right = pin(main.port());
    let wrong = "A".repeat(43);
    for (name, pin, token) in
        [("pin", wrong.as_str(), SECRET), ("token", right.as_str(), "lic_of_nobody")]
    {
        let more =
            format!("Main=https://127.0.0.1:{}\nMainPin={pin}\nMainToken={token}", main.port());
        let settings = conf(&crpt, More { ismp: &more, ..More::default() });
        let mut reserve = server(&stage, name, &settings, Launch::default());
        let rest = Rest::bearing(reserve.port(), SECRET);
        let log = reserve.process().stderr().to_owned();
        wait_until(BOUND, "a word in the log about the main server", || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let is_told = text
                .lines()
                .any(|line| line.contains("WARN") && line.to_lowercase().contains("main server"));
            Ok(is_told.then_some(()))
        })
        .unwrap();
        assert_eq!(current(&rest, &suz()), None, "{name}");
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(!text.contains(token) && !text.contains(&key), "{name}");
    }
}
