//! A key moves: given back for a reserve code, taken from a dead server by a spare code or the
//! vendor's button, within its moves of a year. Centre and servers are real processes; every step is
//! looked for in the centre's audit trail.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use serde_json::{Value, json};
use xtask::demo::server_session;
use xtask::stage::{Answer, HostProcess, Order, Rest, Server, Stage, Vendor};

const MAIN: Order = Order { kind: "main", seats: 3 };

struct Site {
    stage: Stage,
    vendor: Vendor,
    one: Server,
    two: Server,
}

impl Site {
    fn new() -> Self {
        let stage = Stage::temporary().unwrap();
        let vendor = Vendor::start(&stage).unwrap();
        let one = Server::start(&stage, "one", &vendor, 0).unwrap();
        let two = Server::start(&stage, "two", &vendor, 0).unwrap();
        Self { stage, vendor, one, two }
    }

    /// A key at the first server; its number and the code that it was sold with.
    fn key(&self) -> (u64, String) {
        let code = self.vendor.order(&self.stage, MAIN).unwrap();
        let key = self.one.rest().activate(&code).unwrap();
        (key["KeyNo"].as_u64().unwrap(), code)
    }

    /// What the centre has written down of a key, the oldest first: the action and its detail.
    fn trail(&self, key_no: u64) -> Vec<(String, String)> {
        let path = format!("/api/audit?key={key_no}");
        let lines = self.vendor.rest().unwrap().get(&path).unwrap();
        let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let lines = lines["Items"].as_array().unwrap().iter().rev();
        lines.map(|line| (text(line, "Action"), text(line, "Detail"))).collect()
    }

    fn actions(&self, key_no: u64) -> Vec<String> {
        self.trail(key_no).into_iter().map(|(action, _)| action).collect()
    }

    /// What the centre says of a key.
    fn view(&self, key_no: u64) -> Value {
        self.vendor.rest().unwrap().get(&format!("/api/keys/{key_no}")).unwrap()
    }

    /// Activations of a key that have not ended.
    fn living(&self, key_no: u64) -> usize {
        let view = self.view(key_no);
        let all = view["Activations"].as_array().unwrap();
        all.iter().filter(|activation| activation["Ended"].is_null()).count()
    }
}

fn post(rest: &Rest, path: &str, body: Value) -> Answer {
    rest.try_post(path, &body).unwrap()
}

fn install(server: &Server, code: &str) -> Answer {
    post(&server.rest(), "/api/licences", json!({ "ActivationCodeString": code }))
}

fn give_back(server: &Server, key_no: u64) -> Answer {
    let why = json!({ "Reason": "hardware", "Comment": "переезд в новый зал" });
    post(&server.rest(), &format!("/api/licences/{key_no}/reservecode"), why)
}

fn update(server: &Server) -> Answer {
    post(&server.rest(), "/api/licences/update", json!({}))
}

fn refused(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["Exception"].as_str().unwrap_or_default())
}

fn numbers(server: &Server) -> Vec<u64> {
    let keys = server.rest().licences().unwrap();
    keys.iter().filter_map(|key| key["KeyNo"].as_u64()).collect()
}

fn text(answer: &Answer, status: u16, member: &str) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    answer.body[member].as_str().unwrap().to_owned()
}

#[test]
fn key_given_back_works_on_the_other_server_and_its_old_copy_nowhere() {
    let mut site = Site::new();
    let (key_no, code) = site.key();
    let file = site.one.licence_file().unwrap();
    let copy = std::fs::read_to_string(&file).unwrap();
    let answer = give_back(&site.one, key_no);
    let reserve = text(&answer, 201, "ReserveCode");
    assert_eq!(numbers(&site.one), [0u64; 0], "it stops at once");
    // Asked again, as after a lost answer: the same code, no second move.
    assert_eq!(text(&give_back(&site.one, key_no), 201, "ReserveCode"), reserve);
    // The code of the sale is worth nothing, here and elsewhere, as long as the reserve code lives.
    assert_eq!(refused(&install(&site.one, &code)), (400, "EKeyReturned"));
    assert_eq!(refused(&install(&site.two, &code)), (400, "ECodeUsed"));

    let moved = install(&site.two, &reserve);
    assert_eq!((moved.status, moved.body["KeyNo"].as_u64()), (201, Some(key_no)), "{moved:?}");
    assert_eq!(site.living(key_no), 1);
    assert_eq!(refused(&install(&site.one, &reserve)), (400, "ECodeUsed"));

    // The copy of its file is put back on the old server, through the API and by hand.
    let back = post(&site.one.rest(), "/api/licences/answer", json!({ "Answer": copy }));
    assert_eq!(refused(&back), (400, "EKeyReturned"));
    site.one.stop().unwrap();
    std::fs::write(&file, &copy).unwrap();
    site.one.restart(&site.stage).unwrap();
    assert_eq!(numbers(&site.one), [0u64; 0]);
    let elsewhere = post(&site.two.rest(), "/api/licences/answer", json!({ "Answer": copy }));
    assert_eq!(refused(&elsewhere), (400, "EBoundElsewhere"));
    assert_eq!(update(&site.one).status, 202);
    assert_eq!((numbers(&site.one), numbers(&site.two)), (vec![], vec![key_no]));

    // And it works: a component takes a seat of it, and none at the old server.
    let ports = [site.one.port(), site.two.port()];
    let computer = site.stage.computer("computer", &site.vendor, &ports).unwrap();
    let mut host = HostProcess::started(&site.stage, "rphost", &computer).unwrap();
    let seat = host.must_take(&server_session(1)).unwrap();
    assert!(seat.server.ends_with(&format!(":{}", site.two.port())), "{seat:?}");
    host.quit().unwrap();

    assert_eq!(site.actions(key_no), ["activation", "return", "activation"]);
    let trail = site.trail(key_no);
    assert!(trail.iter().all(|(_, detail)| !detail.contains(&reserve)), "{trail:?}");
    let first = &site.view(key_no)["Activations"][0];
    assert_eq!(first["EndedBy"], "server");
    assert_eq!(first["Reason"], "hardware");
    assert_eq!(first["Note"], "переезд в новый зал");
}

#[test]
fn key_comes_back_to_the_server_that_gave_it_away() {
    let site = Site::new();
    let (key_no, _) = site.key();
    let reserve = text(&give_back(&site.one, key_no), 201, "ReserveCode");
    let back = install(&site.one, &reserve);
    assert_eq!((back.status, back.body["KeyNo"].as_u64()), (201, Some(key_no)), "{back:?}");
    assert_eq!((numbers(&site.one), site.living(key_no)), (vec![key_no], 1));
    assert_eq!(update(&site.one).status, 202);
    assert_eq!(numbers(&site.one), [key_no], "the end of its first activation takes nothing");
}

#[test]
fn spare_code_brings_the_key_of_a_server_that_is_off_and_ends_it_there() {
    let mut site = Site::new();
    let (key_no, code) = site.key();
    let path = format!("/api/licences/{key_no}/spare");
    let spare = text(&post(&site.one.rest(), &path, json!({})), 201, "SpareCode");
    assert_eq!(text(&post(&site.one.rest(), &path, json!({})), 201, "SpareCode"), spare);
    assert_eq!(numbers(&site.one), [key_no], "drawing a code ends nothing");
    let copy = std::fs::read_to_string(site.one.licence_file().unwrap()).unwrap();
    site.one.kill().unwrap();

    let moved = install(&site.two, &spare);
    assert_eq!((moved.status, moved.body["KeyNo"].as_u64()), (201, Some(key_no)), "{moved:?}");
    assert_eq!(site.living(key_no), 1);

    // The dead server rises again: nobody has told it yet, so its key works until it hears.
    site.one.restart(&site.stage).unwrap();
    assert_eq!(numbers(&site.one), [key_no]);
    let told = update(&site.one);
    assert_eq!((told.status, &told.body["Ended"]), (202, &json!([key_no])), "{told:?}");
    assert_eq!(numbers(&site.one), [0u64; 0]);
    // For good: over a restart, by a copy of its file, and at the centre.
    site.one.stop().unwrap();
    site.one.restart(&site.stage).unwrap();
    assert_eq!(numbers(&site.one), [0u64; 0]);
    let back = post(&site.one.rest(), "/api/licences/answer", json!({ "Answer": copy }));
    assert_eq!(refused(&back), (400, "EKeyReturned"));
    assert_eq!(refused(&install(&site.one, &code)), (400, "EKeyReturned"));
    assert_eq!(refused(&install(&site.one, &spare)), (400, "ECodeUsed"));
    assert_eq!(update(&site.one).body["Ended"], json!([]), "news once");
    assert_eq!(numbers(&site.two), [key_no]);
    assert_eq!(site.actions(key_no), ["activation", "spare", "return", "activation"]);
    assert_eq!(site.view(key_no)["Activations"][0]["EndedBy"], "spare");
}

#[test]
fn vendor_takes_a_key_from_a_dead_server_and_the_customer_installs_it_anew() {
    let mut site = Site::new();
    let (key_no, _) = site.key();
    site.one.kill().unwrap();
    let vendor = site.vendor.rest().unwrap();
    let release = format!("/api/keys/{key_no}/release");
    let why = json!({ "Reason": "hardware", "Comment": "сгорел" });
    let reserve = text(&post(&vendor, &release, why), 200, "ReserveCode");
    assert_eq!(text(&post(&vendor, &release, json!({})), 200, "ReserveCode"), reserve);
    assert_eq!(install(&site.two, &reserve).status, 201);
    site.one.restart(&site.stage).unwrap();
    assert_eq!(update(&site.one).body["Ended"], json!([key_no]));
    assert_eq!((numbers(&site.one), numbers(&site.two)), (vec![], vec![key_no]));
    assert_eq!(site.living(key_no), 1);
    assert_eq!(site.actions(key_no), ["activation", "return", "activation"]);
    let first = &site.view(key_no)["Activations"][0];
    assert_eq!((&first["EndedBy"], &first["Note"]), (&json!("vendor"), &json!("сгорел")));
}

#[test]
fn key_that_has_made_its_moves_stays_and_works_and_the_vendor_may_move_it() {
    let site = Site::new();
    let vendor = site.vendor.rest().unwrap();
    let limit = json!({ "MovesMax": 1 });
    assert_eq!(vendor.try_put("/api/series/672B", &limit).unwrap().status, 200);
    let (key_no, _) = site.key();
    let reserve = text(&give_back(&site.one, key_no), 201, "ReserveCode");
    assert_eq!(install(&site.two, &reserve).status, 201);
    let path = format!("/api/licences/{key_no}/reservecode");
    for (language, words) in [("en", "its moves of the year"), ("ru", "Число переносов")]
    {
        let answer = post(&site.two.rest().speaking(language), &path, json!({}));
        assert_eq!(refused(&answer), (400, "EMoveLimit"));
        let message = answer.body["Message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(numbers(&site.two), [key_no], "what is refused changes nothing");
    let seats = site.two.rest().licences().unwrap();
    assert_eq!(seats[0]["Enabled"], true, "{seats:?}");
    let release = format!("/api/keys/{key_no}/release");
    let reserve = text(&post(&vendor, &release, json!({})), 200, "ReserveCode");
    assert_eq!(install(&site.one, &reserve).status, 201);
    assert_eq!(site.living(key_no), 1);
}

#[test]
fn key_moves_by_files_between_servers_without_a_network() {
    let site = Site::new();
    let (key_no, _) = site.key();
    let order = json!({ "Kind": "return", "KeyNo": key_no, "Reason": "hardware" });
    let made = post(&site.one.rest(), "/api/licences/request", order);
    let request = text(&made, 201, "Request");
    assert_eq!(numbers(&site.one), [0u64; 0], "it stops when the request exists");
    let answer = site.vendor.answer(&site.stage, &request).unwrap();
    let taken = post(&site.one.rest(), "/api/licences/answer", json!({ "Answer": answer }));
    let reserve = text(&taken, 201, "ReserveCode");
    let order = json!({ "Kind": "activation", "ActivationCodeString": reserve });
    let made = post(&site.two.rest(), "/api/licences/request", order);
    let answer = site.vendor.answer(&site.stage, &text(&made, 201, "Request")).unwrap();
    let taken = post(&site.two.rest(), "/api/licences/answer", json!({ "Answer": answer }));
    assert_eq!(taken.status, 201, "{taken:?}");
    assert_eq!((numbers(&site.one), numbers(&site.two)), (vec![], vec![key_no]));
    assert_eq!(site.living(key_no), 1);
    assert_eq!(site.actions(key_no), ["activation", "return", "activation"]);
}
