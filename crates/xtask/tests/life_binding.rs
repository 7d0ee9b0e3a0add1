//! The binding to the computer, through real processes on computers whose parts are ours: a copy of the
//! data folder does not open elsewhere, parts may change as far as the series allows and that is told,
//! beyond that the days of grace run, and after them the key stops.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use xtask::demo::server_session;
use xtask::stage::{HostProcess, Launch, Machine, Order, Server, Stage, Vendor};

const MAIN: Order = Order { kind: "main", seats: 3 };

struct Site {
    stage: Stage,
    vendor: Vendor,
    machine: Machine,
}

impl Site {
    fn new() -> Self {
        let stage = Stage::temporary().unwrap();
        let vendor = Vendor::start(&stage).unwrap();
        let settings = json!({ "Binding": { "Level": "medium", "GraceDays": 14 } });
        let books = vendor.rest().unwrap();
        assert_eq!(books.try_put("/api/series/672B", &settings).unwrap().status, 200);
        let machine = Machine::make(&stage, "bought-first").unwrap();
        Self { stage, vendor, machine }
    }

    fn server(&self, launch: Launch) -> Server {
        Server::start_as(&self.stage, "server", &self.vendor, 0, "", launch).unwrap()
    }

    /// A 1C process of a new name for the server.
    fn host(&self, name: &str, server: &Server) -> HostProcess {
        let computer = self.stage.computer(name, &self.vendor, &[server.port()]).unwrap();
        let mut host = HostProcess::start(&self.stage, name, &computer).unwrap();
        host.command("new L LicenceExtension lang=en_US").unwrap();
        host
    }
}

fn binding(server: &Server) -> Value {
    server.rest().get("/api/binding").unwrap()
}

fn state(server: &Server) -> String {
    binding(server)["Keys"][0]["State"].as_str().unwrap().to_owned()
}

fn grants(site: &Site, name: &str, server: &Server) -> Result<(), String> {
    let mut host = site.host(name, server);
    let granted = match host.start_series().unwrap() {
        Ok(()) => host.take(&server_session(1)).unwrap().map(drop).map_err(|why| why.text),
        Err(why) => Err(why.text),
    };
    host.quit().unwrap();
    granted
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

#[test]
fn copy_of_the_data_folder_is_locked_on_another_computer_and_says_so() {
    let site = Site::new();
    let mut server = site.server(site.machine.launch());
    server.activate(&site.stage, &site.vendor, MAIN).unwrap();
    assert_eq!(grants(&site, "before", &server), Ok(()));
    server.stop().unwrap();
    let copied = site.stage.root().join("copy");
    copy(server.data(), &copied);

    let thief = Machine::make(&site.stage, "somebody-elses").unwrap();
    let stolen = Server::start_closed(&site.stage, "copy", copied.clone(), thief.launch()).unwrap();
    for (language, words) in [
        ("en", "the key of the server is bound to other hardware"),
        ("ru", "ключ сервера привязан к другому оборудованию"),
    ] {
        let answer = stolen.rest().speaking(language).try_get("/api/licences").unwrap();
        assert_eq!(answer.status, 503, "{answer:?}");
        let message = answer.body["Message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
    }
    let refused = grants(&site, "thief", &stolen).unwrap_err();
    assert!(!refused.is_empty());
    drop(stolen);

    // The doctor says it in plain words.
    let mut doctor = thief.launch().program(&site.stage, "licenceserver").unwrap();
    doctor.args(["doctor", "--data"]).arg(&copied).env("LANG", "en_US.UTF-8");
    let said = doctor.output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("bound to other hardware"), "{said}");

    // Brought back, the copy opens; and the original was never touched.
    let back = Server::start_in_as(&site.stage, "copy", copied, 0, site.machine.launch()).unwrap();
    assert_eq!(back.rest().licences().unwrap()[0]["Enabled"], true);
    drop(back);
    server.restart(&site.stage).unwrap();
    assert_eq!(grants(&site, "after", &server), Ok(()));
}

#[test]
fn parts_may_change_as_far_as_the_level_allows_then_grace_runs_then_the_key_stops() {
    let site = Site::new();
    let clock = site.stage.root().join("clock");
    std::fs::write(&clock, "+0d\n").unwrap();
    let launch = site
        .machine
        .launch()
        .shifted_by(&clock)
        .expect("this test needs libfaketime; on Debian: apt-get install faketime");
    let mut server = site.server(launch);
    server.activate(&site.stage, &site.vendor, MAIN).unwrap();
    let view = binding(&server);
    assert_eq!((&view["PartsChanged"], state(&server).as_str()), (&json!(0), "fits"), "{view}");
    let (total, allowed) =
        (view["PartsTotal"].as_u64().unwrap(), view["PartsAllowed"].as_u64().unwrap());
    assert!(total >= 8 && allowed >= 2, "{view}");

    // Within the level: told, and everything works.
    let restart = |server: &mut Server| {
        server.stop().unwrap();
        server.restart(&site.stage).unwrap();
    };
    site.machine.set_disk(0, "replaced").unwrap();
    site.machine.set_card(0, "replaced").unwrap();
    restart(&mut server);
    let view = binding(&server);
    assert_eq!((&view["PartsChanged"], &view["PartsAllowed"]), (&json!(2), &json!(allowed - 2)));
    assert_eq!(state(&server), "fits");
    let page = server.rest().speaking("en").page("/").unwrap().1;
    assert!(page.contains(&format!("2 of {total} parts of the computer have changed")), "{page}");
    assert_eq!(grants(&site, "drift", &server), Ok(()));

    // Beyond it: days of grace, and still everything works.
    site.machine.set_disk(1, "replaced").unwrap();
    site.machine.set_card(1, "replaced").unwrap();
    restart(&mut server);
    assert_eq!(state(&server), "grace", "{}", binding(&server));
    assert_eq!(binding(&server)["Keys"][0]["GraceDaysLeft"], 14);
    assert_eq!(grants(&site, "grace", &server), Ok(()));
    std::fs::write(&clock, "+13d\n").unwrap();
    restart(&mut server);
    assert_eq!((state(&server).as_str(), grants(&site, "late", &server)), ("grace", Ok(())));

    // After them it stops, and says why.
    std::fs::write(&clock, "+15d\n").unwrap();
    restart(&mut server);
    assert_eq!(state(&server), "over", "{}", binding(&server));
    let refused = grants(&site, "over", &server).unwrap_err();
    assert!(refused.contains("the computer's configuration has changed"), "{refused}");
    // The former disk is put back: it works again.
    site.machine.set_disk(1, "as bought").unwrap();
    restart(&mut server);
    assert_eq!((state(&server).as_str(), grants(&site, "back", &server)), ("fits", Ok(())));
}

#[test]
fn contact_with_the_centre_binds_the_server_to_the_computer_as_it_is() {
    let site = Site::new();
    let mut server = site.server(site.machine.launch());
    server.activate(&site.stage, &site.vendor, MAIN).unwrap();
    for place in 0..2 {
        site.machine.set_disk(place, "replaced").unwrap();
        site.machine.set_card(place, "replaced").unwrap();
    }
    server.stop().unwrap();
    server.restart(&site.stage).unwrap();
    assert_eq!(state(&server), "grace", "{}", binding(&server));
    let updated = server.rest().try_post("/api/licences/update", &json!({})).unwrap();
    assert_eq!(updated.status, 202, "{updated:?}");
    let view = binding(&server);
    assert_eq!((&view["PartsChanged"], state(&server).as_str()), (&json!(0), "fits"), "{view}");
    // As many parts may change again.
    site.machine.set_disk(2, "replaced").unwrap();
    site.machine.set_card(2, "replaced").unwrap();
    server.stop().unwrap();
    server.restart(&site.stage).unwrap();
    assert_eq!(state(&server), "fits", "{}", binding(&server));
    assert_eq!(grants(&site, "after", &server), Ok(()));
}
