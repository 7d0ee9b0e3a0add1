//! The rules of kinds, as the centre and a server enforce them: an additional key counts only beside a
//! main one on the same computer, a demonstration key stands alone and comes once to a computer. Each
//! refusal names its rule, in Russian and English.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use serde_json::{Value, json};
use xtask::demo::server_session;
use xtask::stage::{Answer, HostProcess, Machine, Order, Rest, Server, Stage, Vendor};

struct Site {
    stage: Stage,
    vendor: Vendor,
}

impl Site {
    fn new() -> Self {
        let stage = Stage::temporary().unwrap();
        let vendor = Vendor::start(&stage).unwrap();
        let offer = json!({ "Demo": { "Seats": 2, "Days": 14 } });
        let books = vendor.rest().unwrap();
        assert_eq!(books.try_put("/api/series/672B", &offer).unwrap().status, 200);
        Self { stage, vendor }
    }

    fn server(&self, name: &str) -> Server {
        Server::start(&self.stage, name, &self.vendor, 0).unwrap()
    }

    fn order(&self, kind: &'static str) -> Value {
        let code = self.vendor.order(&self.stage, Order { kind, seats: 2 }).unwrap();
        json!({ "ActivationCodeString": code })
    }

    fn key(&self, server: &Server, kind: &'static str) -> Value {
        let answer = server.rest().try_post("/api/licences", &self.order(kind)).unwrap();
        assert_eq!(answer.status, 201, "{kind}: {answer:?}");
        answer.body["KeyNo"].clone()
    }
}

fn demo(rest: &Rest) -> Answer {
    rest.try_post("/api/licences/demo", &json!({ "KeyID": "672B" })).unwrap()
}

/// The same refusal in both languages.
fn check_refused(
    server: &Server,
    (status, class): (u16, &str),
    (english, russian): (&str, &str),
    ask: impl Fn(&Rest) -> Answer,
) {
    for (language, words) in [("en", english), ("ru", russian)] {
        let answer = ask(&server.rest().speaking(language));
        assert_eq!(
            (answer.status, answer.body["Exception"].as_str()),
            (status, Some(class)),
            "{answer:?}"
        );
        let message = answer.body["Message"].as_str().unwrap();
        assert!(message.contains(words), "{language}: {message}");
    }
}

fn state(server: &Server, key_no: &Value) -> Value {
    server.rest().get(&format!("/api/licences/{key_no}")).unwrap()
}

#[test]
fn additional_key_is_not_given_without_a_main_one_and_counts_only_beside_it() {
    let site = Site::new();
    let server = site.server("server");
    let order = site.order("additional");
    let words = ("main key", "основн");
    check_refused(&server, (400, "ENoMainKey"), words, |rest| {
        rest.try_post("/api/licences", &order).unwrap()
    });
    assert!(server.rest().licences().unwrap().is_empty());
    let main = site.key(&server, "main");
    // The code that was refused is not used up.
    let added = server.rest().try_post("/api/licences", &order).unwrap();
    assert_eq!(added.status, 201, "{added:?}");
    let additional = added.body["KeyNo"].clone();
    let computer = site.stage.computer("computer", &site.vendor, &[server.port()]).unwrap();
    let mut host = HostProcess::started(&site.stage, "rphost", &computer).unwrap();
    for number in 1..=4 {
        host.must_take(&server_session(number)).unwrap();
    }
    assert!(host.take(&server_session(5)).unwrap().is_err(), "both have two seats");
    host.quit().unwrap();

    // The main key leaves: what is left grants nothing and says why, in the language of the session.
    let path = format!("/api/licences/{main}/reservecode");
    let back = server.rest().try_post(&path, &json!({ "Reason": "hardware" })).unwrap();
    assert_eq!(back.status, 201, "{back:?}");
    let left = state(&server, &additional);
    assert_eq!(left["Enabled"], false, "{left}");
    assert_eq!(left["OpenError"], "an additional key needs a main key on the same server");
    for (language, words) in [
        ("en_US", "an additional key needs a main key"),
        ("ru_RU", "дополнительный ключ не работает без основного"),
    ] {
        let mut host = HostProcess::start(&site.stage, "second", &computer).unwrap();
        host.command(&format!("new L LicenceExtension lang={language}")).unwrap();
        let refused = match host.start_series().unwrap() {
            Ok(()) => host.take(&server_session(1)).unwrap().unwrap_err(),
            Err(refused) => refused,
        };
        assert!(refused.text.contains(words), "{language}: {refused:?}");
        host.quit().unwrap();
    }
    // It is back, and so are its seats.
    let code = json!({ "ActivationCodeString": back.body["ReserveCode"] });
    assert_eq!(server.rest().try_post("/api/licences", &code).unwrap().status, 201);
    assert_eq!(state(&server, &additional)["Enabled"], true);
}

#[test]
fn additional_key_of_another_computer_is_no_companion() {
    let site = Site::new();
    let one = site.server("one");
    let machine = Machine::make(&site.stage, "elsewhere").unwrap();
    let two = Server::start_as(&site.stage, "two", &site.vendor, 0, "", machine.launch()).unwrap();
    site.key(&one, "main");
    let order = site.order("additional");
    check_refused(&two, (400, "ENoMainKey"), ("main key", "основн"), |rest| {
        rest.try_post("/api/licences", &order).unwrap()
    });
    assert_eq!(one.rest().try_post("/api/licences", &order).unwrap().status, 201);
}

#[test]
fn demonstration_key_is_not_given_beside_a_key_that_was_paid_for() {
    let site = Site::new();
    let server = site.server("server");
    site.key(&server, "main");
    check_refused(
        &server,
        (400, "EDemoBesideOthers"),
        ("not installed beside", "нельзя установить"),
        demo,
    );
    let order = site.order("demo");
    check_refused(
        &server,
        (400, "EDemoBesideOthers"),
        ("not installed beside", "нельзя установить"),
        |rest| rest.try_post("/api/licences", &order).unwrap(),
    );
    assert_eq!(server.rest().licences().unwrap().len(), 1);
}

#[test]
fn demonstration_key_comes_once_to_a_computer_whatever_becomes_of_the_server() {
    let site = Site::new();
    let machine = Machine::make(&site.stage, "first").unwrap();
    let start = |name: &str, machine: &Machine| {
        Server::start_as(&site.stage, name, &site.vendor, 0, "", machine.launch()).unwrap()
    };
    let mut first = start("first", &machine);
    let given = demo(&first.rest());
    assert_eq!(given.status, 201, "{given:?}");
    assert_eq!(demo(&first.rest()).body["KeyNo"], given.body["KeyNo"], "asked again, the same");
    // Set up anew, with another identity, it is the same computer.
    first.kill().unwrap();
    let anew = start("anew", &machine);
    check_refused(&anew, (400, "EDemoUsed"), ("already", "уже"), demo);
    let order = site.order("demo");
    check_refused(&anew, (400, "EDemoUsed"), ("already", "уже"), |rest| {
        rest.try_post("/api/licences", &order).unwrap()
    });
    let other = start("other", &Machine::make(&site.stage, "second").unwrap());
    assert_eq!(demo(&other.rest()).status, 201);
}

#[test]
fn key_that_was_paid_for_takes_the_place_of_a_demonstration() {
    let site = Site::new();
    let server = site.server("server");
    let given = demo(&server.rest());
    assert_eq!(given.status, 201, "{given:?}");
    let main = site.key(&server, "main");
    assert_eq!(state(&server, &main)["Enabled"], true, "it works at once");
    let books = site.vendor.rest().unwrap();
    let view = books.get(&format!("/api/keys/{}", given.body["KeyNo"])).unwrap();
    assert_eq!(view["Activations"][0]["EndedBy"], "paid");
    // With the next contact at the latest the demonstration is gone, and does not come back.
    for _ in 0..2 {
        let updated = server.rest().try_post("/api/licences/update", &json!({})).unwrap();
        assert_eq!(updated.status, 202, "{updated:?}");
        let keys = server.rest().licences().unwrap();
        assert_eq!(keys.len(), 1, "{keys:?}");
        assert_eq!((&keys[0]["KeyNo"], &keys[0]["Enabled"]), (&main, &json!(true)));
    }
}
