//! Every road to a licence, through a real server and a real centre: online, through a company's proxy
//! that loses each answer once, by files, by a picture, read out over a telephone, without a code, all of
//! them again after a loss, and by itself before the end.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use xtask::stage::{Answer, Launch, Order, Proxy, Rest, Server, Stage, Vendor, wait_until};

const MAIN: Order = Order { kind: "main", seats: 3 };

/// Bound of what a server does by itself, once its time has come.
const ALONE_BOUND: Duration = Duration::from_secs(30);

struct Site {
    stage: Stage,
    vendor: Vendor,
    server: Server,
}

impl Site {
    fn new() -> Self {
        let stage = Stage::temporary().unwrap();
        let vendor = Vendor::start(&stage).unwrap();
        let server = Server::start(&stage, "server", &vendor, 0).unwrap();
        Self { stage, vendor, server }
    }

    fn order(&self) -> String {
        self.vendor.order(&self.stage, MAIN).unwrap()
    }

    fn offer_demos(&self) {
        let offer = json!({ "Demo": { "Seats": 2, "Days": 14 } });
        let vendor = self.vendor.rest().unwrap();
        assert_eq!(vendor.try_put("/api/series/672B", &offer).unwrap().status, 200);
    }

    fn post(&self, path: &str, body: Value) -> Answer {
        self.server.rest().try_post(path, &body).unwrap()
    }

    fn request(&self, body: Value) -> String {
        let made = self.post("/api/licences/request", body);
        assert_eq!(made.status, 201, "{made:?}");
        made.body["Request"].as_str().unwrap().to_owned()
    }

    fn numbers(&self) -> Vec<u64> {
        let keys = self.server.rest().licences().unwrap();
        keys.iter().filter_map(|key| key["KeyNo"].as_u64()).collect()
    }

    /// How often a key was activated.
    fn activations(&self, key_no: &Value) -> usize {
        let view = self.vendor.rest().unwrap().get(&format!("/api/keys/{key_no}")).unwrap();
        view["Activations"].as_array().unwrap().len()
    }
}

/// The step that `what` names is done with its answer lost, then again.
fn after_a_lost_answer(proxy: &Proxy, what: &str, mut step: impl FnMut() -> Answer) -> Value {
    let before = proxy.lost();
    proxy.lose(1);
    let lost = step();
    assert_eq!(lost.body["Exception"], "ELicenceCentreUnavailable", "{what}: {lost:?}");
    assert_eq!(proxy.lost(), before + 1, "{what}: the answer was not lost");
    let again = step();
    assert!((200..300).contains(&again.status), "{what}: {again:?}");
    let third = step();
    assert_eq!((third.status, &third.body), (again.status, &again.body), "{what}: asked once more");
    again.body
}

#[test]
fn every_step_through_a_proxy_that_loses_its_answer_is_repeated_without_a_second_licence() {
    let stage = Stage::temporary().unwrap();
    let vendor = Vendor::start(&stage).unwrap();
    let proxy = Proxy::start().unwrap();
    let conf = format!("LicenceCenterProxy={}\n", proxy.url());
    let server = Server::start_as(&stage, "server", &vendor, 0, &conf, Launch::default()).unwrap();
    let site = Site { stage, vendor, server };
    site.offer_demos();

    let demo = json!({ "KeyID": "672B", "ITN": "7707083893" });
    let demo =
        after_a_lost_answer(&proxy, "demo", || site.post("/api/licences/demo", demo.clone()));
    assert_eq!((demo["KeyType"].as_u64(), site.activations(&demo["KeyNo"])), (Some(5), 1));
    // A key that was paid for takes its place.
    let code = json!({ "ActivationCodeString": site.order() });
    let key =
        after_a_lost_answer(&proxy, "installation", || site.post("/api/licences", code.clone()));
    let key_no = &key["KeyNo"];
    assert_eq!(site.post("/api/licences/update", json!({})).status, 202);
    assert_eq!((site.numbers(), site.activations(key_no)), (vec![key_no.as_u64().unwrap()], 1));

    let path = format!("/api/licences/{key_no}/spare");
    after_a_lost_answer(&proxy, "spare code", || site.post(&path, json!({})));
    assert_eq!(site.numbers().len(), 1);
    let path = format!("/api/licences/{key_no}/reservecode");
    let back = after_a_lost_answer(&proxy, "return", || site.post(&path, json!({})));
    assert_eq!(site.numbers(), [0u64; 0]);
    let code = json!({ "ActivationCodeString": back["ReserveCode"] });
    after_a_lost_answer(&proxy, "reserve code", || site.post("/api/licences", code.clone()));
    assert_eq!(site.activations(key_no), 2, "sold once, moved once");

    proxy.lose(1);
    assert_eq!(site.post("/api/licences/update", json!({})).status, 500);
    assert_eq!(site.post("/api/licences/update", json!({})).status, 202);
    assert_eq!(site.numbers().len(), 1);
    assert!(proxy.through() >= 12 && proxy.lost() == 6, "{proxy:?}");
}

#[test]
fn proxy_that_wants_a_password_turns_a_server_without_one_away_by_name() {
    let stage = Stage::temporary().unwrap();
    let vendor = Vendor::start(&stage).unwrap();
    let proxy = Proxy::start().unwrap();
    let conf = format!("LicenceCenterProxy={}\n", proxy.url_without_password());
    let server = Server::start_as(&stage, "server", &vendor, 0, &conf, Launch::default()).unwrap();
    let site = Site { stage, vendor, server };
    let refused = site.post("/api/licences", json!({ "ActivationCodeString": site.order() }));
    assert_eq!(
        (refused.status, refused.body["Exception"].as_str().unwrap()),
        (500, "ELicenceCentreUnavailable")
    );
    assert!(proxy.turned_away() > 0 && proxy.through() == 0, "{proxy:?}");
    assert_eq!(site.numbers(), [0u64; 0]);
}

#[test]
fn request_is_carried_to_the_centres_page_and_its_answer_back_as_a_file() {
    let site = Site::new();
    let code = site.order();
    let request = site.request(json!({ "Kind": "activation", "ActivationCodeString": code }));
    let carry = || site.vendor.visitor().form("/requests", &[("request", &request)]).unwrap();
    let (status, answer) = carry();
    assert_eq!(status, 200, "{answer}");
    // Each answer has a mark of its own; the licence is the same.
    let licence =
        |text: &str| serde_json::from_str::<Value>(text).unwrap()["Answer"]["Licence"].clone();
    assert_eq!(licence(&carry().1), licence(&answer), "asked again, the same licence");
    for _ in 0..2 {
        let taken = site.post("/api/licences/answer", json!({ "Answer": answer }));
        assert_eq!(taken.status, 201, "{taken:?}");
    }
    let numbers = site.numbers();
    assert_eq!(numbers.len(), 1);
    assert_eq!(site.activations(&json!(numbers[0])), 1);
    let (status, page) = site.vendor.visitor().form("/requests", &[("request", "a.b.c")]).unwrap();
    assert_eq!(status, 400, "{page}");
}

/// What stands in the picture of a page, read by a decoder that shares no code with its maker.
fn read_picture(page: &str) -> String {
    let svg = between(page, "data:image/svg+xml;base64,", "\"");
    let svg = String::from_utf8(from_base64(svg)).unwrap();
    let edge: usize = between(&svg, "width=\"", "\"").parse().unwrap();
    let mut dark = vec![false; edge * edge];
    // The dark modules are rectangles of one path: `M16 16h4v4H16V16`.
    let path = between(&svg, " d=\"", "\"");
    for shape in path.split('M').filter(|shape| !shape.trim().is_empty()) {
        let (corner, rest) = shape.split_once('h').unwrap();
        let (width, rest) = rest.split_once('v').unwrap();
        let height = rest.split_once('H').unwrap().0;
        let (left, top) = corner.trim().split_once(' ').unwrap();
        let [left, top, width, height] =
            [left, top, width, height].map(|number| number.trim().parse::<usize>().unwrap());
        for row in top..top + height {
            dark[row * edge + left..row * edge + left + width].fill(true);
        }
    }
    // The finder at the upper left corner is seven modules wide: so the size of one is known.
    let first = dark.iter().position(|is_dark| *is_dark).unwrap();
    let (left, top) = (first % edge, first / edge);
    let finder = dark[first..].iter().take_while(|is_dark| **is_dark).count();
    assert_eq!((left, finder % 7), (top, 0), "a quiet zone all round, and whole modules");
    let module = finder / 7;
    assert!(left >= 4 * module, "the quiet zone is four modules wide");
    let at = move |x: usize, y: usize| (top + y * module) * edge + left + x * module;
    let grid = rqrr::SimpleGrid::from_func((edge - 2 * left) / module, |x, y| dark[at(x, y)]);
    rqrr::Grid::new(grid).decode().unwrap().1
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split_once(after).unwrap().0
}

fn from_base64(text: &str) -> Vec<u8> {
    let value = |digit: u8| match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("{other} in base64"),
    };
    let digits: Vec<u8> = text.trim_end_matches('=').bytes().map(value).collect();
    let bytes = digits.chunks(4).flat_map(|four| {
        let all = four.iter().fold(0_u32, |all, digit| all << 6 | u32::from(*digit));
        let all = all << (6 * (4 - four.len()));
        all.to_be_bytes()[1..four.len()].to_vec()
    });
    bytes.collect()
}

#[test]
fn telephone_reads_the_picture_opens_the_centres_page_and_brings_the_answer() {
    let site = Site::new();
    let code = site.order();
    let fields = [("code", code.as_str()), ("show", "1")];
    let (status, page) = site.server.rest().form("/keys/request", &fields).unwrap();
    assert_eq!(status, 201, "{page}");
    let address = read_picture(&page);
    let path = address.strip_prefix(&site.vendor.centre_url()).unwrap();
    let visitor = site.vendor.visitor().speaking("en");
    let (status, shown) = visitor.page(path).unwrap();
    assert_eq!(status, 200, "{shown}");
    assert!(shown.contains("Install a key") && !shown.contains(&code), "{shown}");
    let request = path.strip_prefix("/r?request=").unwrap();
    let (status, shown) = visitor.form("/r", &[("request", request)]).unwrap();
    assert_eq!(status, 200, "{shown}");
    let answer = between(&shown, "<textarea id=\"text\"", "</textarea>").split_once('>').unwrap().1;
    // A browser undoes the escapes of the page when it is copied.
    let answer = answer.replace("&#34;", "\"").replace("&quot;", "\"").replace("&amp;", "&");
    let (status, page) = site.server.rest().form("/keys/answer", &[("answer", &answer)]).unwrap();
    assert!([200, 201, 303].contains(&status), "{page}");
    let numbers = site.numbers();
    assert_eq!(numbers.len(), 1, "{page}");
    assert_eq!(site.activations(&json!(numbers[0])), 1);
}

#[test]
fn request_and_licence_are_read_out_over_a_telephone() {
    let site = Site::new();
    let code = site.order();
    let lines = site.request(json!({ "Kind": "phone", "ActivationCodeString": code }));
    let visitor = site.vendor.visitor();
    let spoken = visitor.try_post("/api/short", &json!({ "Request": lines })).unwrap();
    assert_eq!(spoken.status, 201, "{spoken:?}");
    let again = visitor.try_post("/api/short", &json!({ "Request": lines })).unwrap();
    assert_eq!((again.status, &again.body), (200, &spoken.body));
    let answer = spoken.body["Answer"].as_str().unwrap();
    let misheard = answer.replacen(answer.chars().nth(20).unwrap(), "Z", 1);
    let refused = site.post("/api/licences/answer", json!({ "Answer": misheard }));
    assert_eq!(refused.status, 400, "{refused:?}");
    let taken = site.post("/api/licences/answer", json!({ "Answer": answer.to_lowercase() }));
    assert_eq!(taken.status, 201, "{taken:?}");
    let numbers = site.numbers();
    assert_eq!((numbers.len(), site.activations(&json!(numbers[0]))), (1, 1));
}

#[test]
fn demonstration_comes_by_a_file_too_where_the_series_offers_it() {
    let site = Site::new();
    let request = site.request(json!({ "Kind": "demo", "KeyID": "672B" }));
    let carry = || site.vendor.visitor().form("/requests", &[("request", &request)]).unwrap();
    assert_eq!(carry().0, 403, "nothing is offered yet");
    site.offer_demos();
    let (status, answer) = carry();
    assert_eq!(status, 200, "{answer}");
    let taken = site.post("/api/licences/answer", json!({ "Answer": answer }));
    assert_eq!(taken.status, 201, "{taken:?}");
    let keys = site.server.rest().licences().unwrap();
    assert_eq!(
        (keys.len(), keys[0]["KeyType"].as_u64(), &keys[0]["Enabled"]),
        (1, Some(5), &json!(true))
    );
}

fn licence_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let all = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|ending| ending == "licence")).collect()
}

#[test]
fn licences_that_were_lost_come_back_online_and_by_file() {
    let mut site = Site::new();
    for _ in 0..3 {
        site.server.rest().activate(&site.order()).unwrap();
    }
    let before = site.numbers();
    for by_file in [false, true] {
        site.server.stop().unwrap();
        let files = licence_files(&site.server.keys());
        assert_eq!(files.len(), 3);
        for file in files {
            std::fs::remove_file(file).unwrap();
        }
        site.server.restart(&site.stage).unwrap();
        assert_eq!(site.numbers(), [0u64; 0]);
        let taken = if by_file {
            let request = site.request(json!({ "Kind": "update" }));
            let answer = site.vendor.answer(&site.stage, &request).unwrap();
            site.post("/api/licences/answer", json!({ "Answer": answer }))
        } else {
            site.post("/api/licences/update", json!({}))
        };
        assert!([201, 202].contains(&taken.status), "{taken:?}");
        assert_eq!(site.numbers(), before, "by file: {by_file}");
    }
    for key_no in before {
        assert_eq!(site.activations(&json!(key_no)), 1);
    }
}

/// Server and centre live through two days; the vendor has prolonged the key meanwhile.
#[test]
fn prolonged_key_is_renewed_by_the_server_itself_unless_that_is_off() {
    let stage = Stage::temporary().unwrap();
    let clock = stage.root().join("clock");
    // Replaced whole: both may read it at any moment.
    let set = |text: &str| {
        let part = stage.root().join("clock.part");
        std::fs::write(&part, text).unwrap();
        std::fs::rename(&part, &clock).unwrap();
    };
    set("+0d\n");
    let time = Launch::default()
        .lived_through(&clock)
        .expect("this test needs libfaketime; on Debian: apt-get install faketime");
    let vendor = Vendor::start_as(&stage, &time).unwrap();
    let on = Server::start_as(&stage, "on", &vendor, 0, "", time.clone()).unwrap();
    let off = Server::start_as(&stage, "off", &vendor, 0, "AutoUpdate=0\n", time).unwrap();
    let books = vendor.rest().unwrap();
    let mut ends = Vec::new();
    for server in [&on, &off] {
        let order = vendor.order_of(&stage, "672B", MAIN, &["--period", "30"]).unwrap();
        let key = server.rest().activate(&order).unwrap();
        let view = books.get(&format!("/api/keys/{}", key["KeyNo"])).unwrap();
        let path = format!("/api/orders/{}/prolong", view["OrderID"]);
        assert_eq!(books.try_post(&path, &json!({ "Days": 365 })).unwrap().status, 200);
        ends.push(key["ExpireDate"].as_str().unwrap().to_owned());
    }
    let end = |rest: &Rest| {
        Ok::<_, xtask::stage::StageError>(
            rest.licences()?[0]["ExpireDate"].as_str().unwrap_or_default().to_owned(),
        )
    };
    assert_eq!(end(&on.rest()).unwrap(), ends[0], "nobody has asked yet");
    set("+2d\n");
    wait_until(ALONE_BOUND, "the renewal", || Ok((end(&on.rest())? > ends[0]).then_some(())))
        .unwrap();
    assert_eq!(end(&off.rest()).unwrap(), ends[1], "switched off, it stays with its administrator");
}
