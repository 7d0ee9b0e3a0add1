//! The administrator's tasks in a real browser: Chromium, driven by the scripts in `browser/`.
//!
//! Sets the stage (a centre, servers, sessions of the real component) and answers what the scripts
//! ask of it; what is right on a page is judged by the scripts. A browser, node or the packages
//! that are missing are a failure: nothing is skipped.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use licence_core::protocol::SessionInfo;
use serde_json::{Value, json};
use xtask::build::workspace;
use xtask::demo::server_session;
use xtask::stage::{
    Computer, HostProcess, Order, Process, START_BOUND, STOP_BOUND, Server, Stage, Vendor,
};

/// Longest silence of the scripts: their own longest step is bounded at 60 s.
const SILENCE_BOUND: Duration = Duration::from_secs(180);

/// A second series, so that the pages have more than one to show.
const SECOND_SERIES: &str = "7A10";

/// Name of the product of the second series.
const SECOND_PRODUCT: &str = "Складской учёт, редакция 3";

/// Length of a span of use in the database.
const USE_MILLIS: i64 = 300_000;

/// Days of use that the pages are shown with.
const USE_DAYS: i64 = 30;

/// Where Chromium may lie.
const BROWSERS: [&str; 3] =
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/// A server on which one reader walks through the tasks, with the 1C process of its sessions.
struct Site {
    _server: Process,
    host: HostProcess,
}

/// What the scripts drive the browser with.
struct Tools {
    chromium: PathBuf,
    packages: PathBuf,
}

impl Tools {
    fn find(stage: &Stage) -> Self {
        let advice = "`cargo xtask test` installs it; on Debian: apt-get install chromium nodejs \
                      npm fonts-dejavu-core";
        let chromium = BROWSERS.iter().map(PathBuf::from).find(|path| path.is_file());
        let Some(chromium) = chromium else { panic!("there is no Chromium: {advice}") };
        let node = Command::new("node").arg("--version").output();
        assert!(node.is_ok_and(|output| output.status.success()), "there is no node: {advice}");
        let packages = stage.bins().target().join("browser");
        let there = ["axe-core", "playwright-core"]
            .iter()
            .all(|name| packages.join("node_modules").join(name).is_dir());
        assert!(there, "the packages in {} are missing: {advice}", packages.display());
        Self { chromium, packages }
    }
}

/// A server that takes its port from its settings, so that the console can change it.
fn site(stage: &Stage, vendor: &Vendor, name: &str) -> (Site, Value) {
    let data = stage.root().join(name);
    let settings = data.join("3.0");
    std::fs::create_dir_all(&settings).unwrap();
    vendor.publish_series(&settings.join("licence.series")).unwrap();
    let conf = format!(
        "; kept by the console\n[Common]\nLicenceCenterUrl={}\nServerAddr=127.0.0.1\nServerPort=0\n",
        vendor.centre_url()
    );
    std::fs::write(settings.join("licenceserver.conf"), conf).unwrap();
    let mut run = Command::new(stage.bins().file("licenceserver").unwrap());
    run.args(["run", "--data"]).arg(&data).env("LC_ALL", "C.UTF-8");
    let server = stage.start(name, run).unwrap();
    let line = server.line_with("listens on", START_BOUND).unwrap();
    let port: u16 = line.rsplit_once(':').unwrap().1.trim().parse().unwrap();
    let computer = stage.computer(&format!("{name}-computer"), vendor, &[port]).unwrap();
    let host = HostProcess::start(stage, &format!("{name}-rphost"), &computer).unwrap();
    let code = |kind, seats| vendor.order(stage, Order { kind, seats }).unwrap();
    let told = json!({
        "url": format!("http://127.0.0.1:{port}"),
        "code": code("main", 2),
        "fileCode": code("additional", 1),
    });
    (Site { _server: server, host }, told)
}

/// A server that has been at work for a month: two series, use, sessions, a denial, rules.
struct Furnished {
    server: Server,
    _hosts: Vec<HostProcess>,
}

fn furnished(stage: &Stage, vendor: &Vendor) -> (Furnished, Value) {
    let name = "furnished";
    let data = stage.root().join(name);
    let settings = data.join("3.0");
    std::fs::create_dir_all(&settings).unwrap();
    let series = |series| std::fs::read_to_string(vendor.series_file_of(series)).unwrap();
    let all = format!("[{},{}]", series("672B"), series(SECOND_SERIES));
    std::fs::write(settings.join("licence.series"), all).unwrap();
    let conf = format!("[Common]\nLicenceCenterUrl={}\n", vendor.centre_url());
    std::fs::write(settings.join("licenceserver.conf"), conf).unwrap();
    let mut server = Server::start_in(stage, name, data, 0).unwrap();
    let order = |series, kind, seats, more: &[&str]| {
        let code = vendor.order_of(stage, series, Order { kind, seats }, more).unwrap();
        server.rest().activate(&code).unwrap()["KeyNo"].as_u64().unwrap()
    };
    let key = order("672B", "main", 20, &[]);
    order("672B", "additional", 5, &["--period", "12"]);
    order(SECOND_SERIES, "main", 3, &[]);
    server.stop().unwrap();
    furnish_use(&settings.join("licenceserver.db"));
    server.restart(stage).unwrap();

    let mut hosts = Vec::new();
    for (number, series, people) in [
        (1, "672B", &["Иванова А. П.", "Петров В. С.", "Сидоренко О. Н."][..]),
        (2, "672B", &["Кузнецов И. И.", "Орлова Е. В.", "Фёдоров М. А.", "Зайцева Н. К."]),
        (3, SECOND_SERIES, &["Белов Г. Р.", "Громова Т. Ю.", "Ильин С. С.", "Чернов Д. Д."]),
    ] {
        let computer = stage.computer(&format!("pc-{number}"), vendor, &[server.port()]).unwrap();
        hosts.push(at_work(stage, &computer, vendor, number, series, people));
    }
    let told = json!({
        "url": format!("http://127.0.0.1:{}", server.port()),
        "key": key,
        "second": SECOND_SERIES,
    });
    (Furnished { server, _hosts: hosts }, told)
}

/// A 1C process whose sessions ask for seats of a series; the last may be refused.
fn at_work(
    stage: &Stage,
    computer: &Computer,
    vendor: &Vendor,
    number: u32,
    series: &str,
    people: &[&str],
) -> HostProcess {
    let common = stage.root().join(format!("pc-{number}")).join("common").join("licence.series");
    std::fs::copy(vendor.series_file_of(series), common).unwrap();
    let mut host = HostProcess::start(stage, &format!("pc-{number}-rphost"), computer).unwrap();
    host.create().unwrap();
    let started = host.command(&format!("call L Запуск s:{series}")).unwrap();
    assert!(["bool 1", "bool true"].contains(&started.as_str()), "{started}");
    for (at, person) in (1_u32..).zip(people) {
        let session = SessionInfo {
            user_name: Some((*person).to_owned()),
            computer_name: format!("BUH-{number}{at}"),
            info_base_connection_str: format!(
                "Srvr=\"app-1c\";Ref=\"{}\";",
                if series == SECOND_SERIES { "wms" } else { "accounting" }
            ),
            ..server_session(number * 100 + at)
        };
        let granted = host.take(&session).unwrap().is_ok();
        assert_eq!(granted, series != SECOND_SERIES || at <= 3, "{person}");
    }
    host
}

/// A month of working days: nobody at night, most before noon, few on a weekend.
fn furnish_use(database: &Path) {
    let mut db = rusqlite::Connection::open(database).unwrap();
    let now: i64 = db.query_row("SELECT unixepoch() * 1000", [], |row| row.get(0)).unwrap();
    let spans = USE_DAYS * 86_400_000 / USE_MILLIS;
    let change = db.transaction().unwrap();
    for (series, seats, most) in [(0x672B, 25_i64, 22.0), (0x7A10, 3, 3.0)] {
        for back in 1..spans {
            let at = now / USE_MILLIS * USE_MILLIS - back * USE_MILLIS;
            let days_ago = back * USE_MILLIS / 86_400_000;
            let hour = (at % 86_400_000) as f64 / 3_600_000.0;
            let workday = if days_ago % 7 < 5 { 1.0 } else { 0.15 };
            let bell = |middle: f64, wide: f64| (-((hour - middle) / wide).powi(2)).exp();
            let noise = ((at / USE_MILLIS * 7919) % 13) as f64 / 13.0;
            let use_of = most * workday * (bell(8.0, 2.2) + 0.8 * bell(13.0, 2.2)).min(1.0);
            let held = (use_of * (0.9 + 0.1 * noise)).round() as i64;
            change
                .execute(
                    "INSERT OR IGNORE INTO peak VALUES (?1, ?2, ?3, ?4)",
                    [series, at, held.min(seats), seats],
                )
                .unwrap();
        }
    }
    change.commit().unwrap();
}

/// Answers what the scripts ask of the stage, one line of JSON a connection, until they end.
fn serve(asks: &TcpListener, sites: &mut BTreeMap<String, Site>) {
    for stream in asks.incoming() {
        let mut stream = stream.unwrap();
        let mut line = String::new();
        BufReader::new(&mut stream).read_line(&mut line).unwrap();
        let ask: Value = serde_json::from_str(&line).unwrap();
        if ask["do"] == "end" {
            return;
        }
        let answer = ask["site"].as_str().and_then(|name| sites.get_mut(name)).map_or_else(
            || json!({ "error": "no such site" }),
            |site| answer(&mut site.host, &ask),
        );
        // A script that has given up does not read its answer.
        drop(writeln!(stream, "{answer}"));
    }
}

fn answer(host: &mut HostProcess, ask: &Value) -> Value {
    let number = || u32::try_from(ask["number"].as_u64().unwrap_or_default()).unwrap();
    match ask["do"].as_str().unwrap_or_default() {
        "start" => {
            host.create().unwrap();
            match host.start_series().unwrap() {
                Ok(()) => json!({}),
                Err(refused) => json!({ "error": refused.text }),
            }
        }
        "take" => match host.take(&server_session(number())).unwrap() {
            Ok(seat) => json!({ "id": seat.id, "key": seat.used_licence }),
            Err(refused) => json!({ "refused": refused.class }),
        },
        "held" => json!({ "held": host.seats_held().unwrap() }),
        other => json!({ "error": format!("the stage cannot {other}") }),
    }
}

#[test]
fn administrator_walks_through_the_console_in_a_browser() {
    let stage = Stage::temporary().unwrap();
    let tools = Tools::find(&stage);
    let vendor = Vendor::start_with(&stage, &[(SECOND_SERIES, SECOND_PRODUCT)]).unwrap();
    let (mut sites, mut told) = (BTreeMap::new(), BTreeMap::new());
    for name in ["ru-script", "ru-plain", "en-script", "en-plain"] {
        let (site, tells) = site(&stage, &vendor, name);
        sites.insert(name.to_owned(), site);
        told.insert(name, tells);
    }
    let (mut furnished, furnished_told) = furnished(&stage, &vendor);
    let asks = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = asks.local_addr().unwrap();
    let pictures = stage.bins().target().join("screenshots");
    let input = json!({
        "asks": address.port(),
        "centre": vendor.centre_url(),
        "chromium": tools.chromium,
        "downloads": stage.root(),
        "furnished": furnished_told,
        "kit": stage.bins().file("licencekit").unwrap(),
        "pictures": pictures,
        "sites": told,
    });

    let mut node = Command::new("node");
    node.args(["--test-reporter=spec", "console.mjs"]);
    node.current_dir(workspace().unwrap().join("crates/xtask/browser"));
    node.env("LICENCE_BROWSER_PACKAGES", &tools.packages);
    node.env("LICENCE_BROWSER_STAGE", input.to_string());
    let mut node = stage.start("node", node).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&asks, &mut sites));
        while let Ok(line) = node.line(SILENCE_BOUND) {
            println!("{line}");
        }
        // The thread ends in any case, and so does the scope.
        drop(TcpStream::connect(address).map(|mut end| writeln!(end, r#"{{"do":"end"}}"#)));
    });
    let status = node.wait(STOP_BOUND).unwrap();
    assert!(status.success(), "{}", node.failed(&format!("ended with {status}")));
    for site in sites.into_values() {
        site.host.quit().unwrap();
    }
    furnished.server.stop().unwrap();
}
