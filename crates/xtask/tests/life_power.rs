//! Power cuts: centre or server dies before each single write of a step, both start again, the step is
//! repeated, and there is exactly one activation, never two, never none.
//!
//! For each step and each of the two programs: `kill -9` instead of its first change of the disk (a write,
//! a sync, a rename, a removal), then instead of its second, and so on until the step passes whole.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::time::Duration;

use serde_json::{Value, json};
use xtask::stage::{Answer, Fuse, Machine, Server, Stage, StageError, Vendor};

/// Bound of the death that was ordered.
const DEATH_BOUND: Duration = Duration::from_secs(20);

/// More changes of the disk than any step makes.
const WRITES_MAX: u32 = 200;

/// Cuts of a server after which the centre would soon have heard too many calls: 120 a minute, and some
/// four of a cut.
const CUTS_OF_A_CENTRE: u32 = 25;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Victim {
    Centre,
    Server,
}

struct Site {
    stage: Stage,
    vendor: Vendor,
    centre_fuse: Fuse,
    server_fuse: Fuse,
    server: Server,
}

impl Site {
    fn new() -> Self {
        let stage = Stage::temporary().unwrap();
        let centre_fuse = Fuse::make(&stage, "centre").unwrap();
        let server_fuse = Fuse::make(&stage, "server").unwrap();
        let vendor = Vendor::start_as(&stage, &centre_fuse.launch()).unwrap();
        let launch = server_fuse.launch();
        let server = Server::start_as(&stage, "server", &vendor, 0, "", launch).unwrap();
        Self { stage, vendor, centre_fuse, server_fuse, server }
    }

    const fn fuse(&self, victim: Victim) -> &Fuse {
        match victim {
            Victim::Centre => &self.centre_fuse,
            Victim::Server => &self.server_fuse,
        }
    }

    /// Waits until the victim is dead, and starts it again.
    fn revive(&mut self, victim: Victim) {
        let process = match victim {
            Victim::Centre => self.vendor.centre(),
            Victim::Server => self.server.process(),
        };
        assert!(!process.wait(DEATH_BOUND).unwrap().success());
        match victim {
            Victim::Centre => {
                let launch = self.centre_fuse.launch();
                self.vendor.restart(&self.stage, &launch).unwrap();
            }
            Victim::Server => self.server.restart(&self.stage).unwrap(),
        }
    }

    /// Starts the centre anew: it hears so many calls a minute from one address and no more.
    fn refresh(&mut self) {
        self.vendor.centre().kill().unwrap();
        let launch = self.centre_fuse.launch();
        self.vendor.restart(&self.stage, &launch).unwrap();
    }

    fn ask(&self, path: &str, body: Value) -> Result<Answer, StageError> {
        self.server.rest().try_post(path, &body)
    }

    /// Sells a key; its code.
    fn sell(&self, more: Value) -> String {
        let mut order = json!({ "Series": "672B", "Kind": "main", "Seats": 2 });
        order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let sold = self.vendor.rest().unwrap().try_post("/api/orders", &order).unwrap();
        assert_eq!(sold.status, 201, "{sold:?}");
        sold.body["Codes"][0]["Code"].as_str().unwrap().to_owned()
    }

    fn install(&self, code: &str) -> Result<Answer, StageError> {
        self.ask("/api/licences", json!({ "ActivationCodeString": code }))
    }

    /// Sells a key and installs it; its number.
    fn key(&self, more: Value) -> u64 {
        let answer = self.install(&self.sell(more)).unwrap();
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["KeyNo"].as_u64().unwrap()
    }

    /// What the server has of a key.
    fn here(&self, key_no: u64) -> Vec<Value> {
        let mut all = self.server.rest().licences().unwrap();
        all.retain(|key| key["KeyNo"] == key_no);
        all
    }

    /// The activations of a key at the centre, with how each has ended.
    fn activations(&self, key_no: u64) -> Vec<Option<String>> {
        let view = self.vendor.rest().unwrap().get(&format!("/api/keys/{key_no}")).unwrap();
        let all = view["Activations"].as_array().unwrap().iter();
        all.map(|one| one["EndedBy"].as_str().map(str::to_owned)).collect()
    }
}

/// Cuts the power before each write that `victim` makes in a step. `prepare` makes what the step is
/// about, `step` does it, once and, after a cut, once more; `check` looks at what has become of it.
fn cut_everywhere<T>(
    site: &mut Site,
    victim: Victim,
    what: &str,
    prepare: impl Fn(&mut Site) -> T,
    step: impl Fn(&Site, &T) -> Result<Answer, StageError>,
    check: impl Fn(&Site, &T, &Answer, &str),
) {
    for cut in 1..=WRITES_MAX {
        let subject = prepare(site);
        site.fuse(victim).cut_at(cut);
        let first = step(site, &subject);
        let was_cut = site.fuse(victim).disarm();
        let context = format!("{what}: {victim:?} dies before its write {cut}");
        if !was_cut {
            let answer = first.unwrap();
            assert!((200..300).contains(&answer.status), "{context}: {answer:?}");
            check(site, &subject, &answer, &context);
            assert!(cut > 1, "{what}: {victim:?} writes nothing, so nothing was tested");
            return;
        }
        site.revive(victim);
        if victim == Victim::Server && cut % CUTS_OF_A_CENTRE == 0 {
            site.refresh();
        }
        let again = step(site, &subject).unwrap();
        assert!((200..300).contains(&again.status), "{context}: {again:?}");
        check(site, &subject, &again, &context);
    }
    panic!("{what}: {victim:?} wrote {WRITES_MAX} times and more");
}

fn installed_once(site: &Site, key_no: u64, context: &str) {
    let here = site.here(key_no);
    assert_eq!(here.len(), 1, "{context}");
    assert_eq!(here[0]["Enabled"], true, "{context}: {here:?}");
    let living = site.activations(key_no).iter().filter(|ended| ended.is_none()).count();
    assert_eq!(living, 1, "{context}");
}

fn installation(victim: Victim) {
    cut_everywhere(
        &mut Site::new(),
        victim,
        "installation",
        |site| site.sell(json!({})),
        |site, code| site.install(code),
        |site, _, answer, context| {
            let key_no = answer.body["KeyNo"].as_u64().unwrap();
            installed_once(site, key_no, context);
            assert_eq!(site.activations(key_no), [None], "{context}");
        },
    );
}

#[test]
fn installation_survives_a_cut_of_the_server_before_each_write() {
    installation(Victim::Server);
}

#[test]
fn installation_survives_a_cut_of_the_centre_before_each_write() {
    installation(Victim::Centre);
}

fn giving_back(victim: Victim) {
    cut_everywhere(
        &mut Site::new(),
        victim,
        "return",
        |site| site.key(json!({})),
        |site, key_no| {
            site.ask(&format!("/api/licences/{key_no}/reservecode"), json!({"Reason": "hardware"}))
        },
        |site, key_no, answer, context| {
            assert!(site.here(*key_no).is_empty(), "{context}");
            let server = Some("server".to_owned());
            assert_eq!(site.activations(*key_no), std::slice::from_ref(&server), "{context}");
            // The code is worth a key, once.
            let reserve = answer.body["ReserveCode"].as_str().unwrap();
            assert_eq!(site.install(reserve).unwrap().status, 201, "{context}");
            assert_eq!(site.activations(*key_no), [server, None], "{context}");
            installed_once(site, *key_no, context);
        },
    );
}

#[test]
fn return_survives_a_cut_of_the_server_before_each_write() {
    giving_back(Victim::Server);
}

#[test]
fn return_survives_a_cut_of_the_centre_before_each_write() {
    giving_back(Victim::Centre);
}

fn spare_code(victim: Victim) {
    cut_everywhere(
        &mut Site::new(),
        victim,
        "spare code",
        |site| site.key(json!({})),
        |site, key_no| site.ask(&format!("/api/licences/{key_no}/spare"), json!({})),
        |site, key_no, answer, context| {
            installed_once(site, *key_no, context);
            let view = site.vendor.rest().unwrap().get(&format!("/api/keys/{key_no}")).unwrap();
            assert_eq!(answer.body["SpareCode"], view["SpareCode"], "{context}: one code");
        },
    );
}

#[test]
fn drawing_a_spare_code_survives_a_cut_of_either_before_each_write() {
    spare_code(Victim::Server);
    spare_code(Victim::Centre);
}

fn renewal(victim: Victim) {
    cut_everywhere(
        &mut Site::new(),
        victim,
        "renewal",
        |site| {
            let key_no = site.key(json!({ "Period": 30 }));
            let vendor = site.vendor.rest().unwrap();
            let order = vendor.get(&format!("/api/keys/{key_no}")).unwrap()["OrderID"].clone();
            let path = format!("/api/orders/{order}/prolong");
            assert_eq!(vendor.try_post(&path, &json!({ "Days": 30 })).unwrap().status, 200);
            (key_no, site.here(key_no)[0]["ExpireDate"].as_str().unwrap().to_owned())
        },
        |site, _| site.ask("/api/licences/update", json!({})),
        |site, (key_no, before), _, context| {
            installed_once(site, *key_no, context);
            let end = site.here(*key_no)[0]["ExpireDate"].clone();
            assert!(end.as_str().unwrap() > before.as_str(), "{context}: {end} {before}");
            assert_eq!(site.activations(*key_no), [None], "{context}");
        },
    );
}

#[test]
fn renewal_survives_a_cut_of_either_before_each_write() {
    renewal(Victim::Server);
    renewal(Victim::Centre);
}

/// A computer has one demonstration key, so each cut has a computer of its own.
fn demonstration(victim: Victim) {
    let mut site = Site::new();
    let offer = json!({ "Demo": { "Seats": 2, "Days": 14 } });
    let vendor = site.vendor.rest().unwrap();
    assert_eq!(vendor.try_put("/api/series/672B", &offer).unwrap().status, 200);
    let count = std::cell::Cell::new(0);
    cut_everywhere(
        &mut site,
        victim,
        "demonstration",
        |site| {
            let name = format!("computer-{}", count.get());
            count.set(count.get() + 1);
            let machine = Machine::make(&site.stage, &name).unwrap();
            let launch = site.server_fuse.launch().on(&machine);
            site.server =
                Server::start_as(&site.stage, &name, &site.vendor, 0, "", launch).unwrap();
        },
        |site, ()| site.ask("/api/licences/demo", json!({ "KeyID": "672B" })),
        |site, (), answer, context| {
            let key_no = answer.body["KeyNo"].as_u64().unwrap();
            assert_eq!(site.server.rest().licences().unwrap().len(), 1, "{context}");
            installed_once(site, key_no, context);
            assert_eq!(site.activations(key_no), [None], "{context}");
        },
    );
}

#[test]
fn demonstration_survives_a_cut_of_the_server_before_each_write() {
    demonstration(Victim::Server);
}

#[test]
fn demonstration_survives_a_cut_of_the_centre_before_each_write() {
    demonstration(Victim::Centre);
}
