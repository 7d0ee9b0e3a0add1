//! Licences and their computer, with a seal that stands in for real parts: drift is told before it
//! bites, a key goes on for its days of grace, stops after them, and works again when the computer
//! fits or a centre has confirmed it.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod centre;
mod support;

use std::sync::{Arc, Mutex};

use centre::Vendor;
use licence_core::binding::{Binding, BindingLevel, Match, PartKind, PartState};
use licence_core::identity_seal::Protection;
use licence_core::licence_file::{LICENCE_TYP, LicenceClaims};
use licence_core::time::Utc;
use licenceserver::activate::Activator;
use licenceserver::binding::{BindingWatch, Seal};
use licenceserver::identity::SealState;
use serde_json::{Value, json};
use support::{Server, basic, descriptor, licence, series_key, start_as};

const KINDS: [PartKind; 7] = [
    PartKind::Board,
    PartKind::Chassis,
    PartKind::Cpu,
    PartKind::Disk,
    PartKind::MachineId,
    PartKind::NetworkCard,
    PartKind::System,
];

/// Stands in for the seal over seven parts of a computer.
#[derive(Debug)]
struct StandIn(Mutex<SealState>);

impl StandIn {
    fn new() -> Arc<Self> {
        let seal = Self(Mutex::new(SealState {
            protection: Protection::Parts,
            found: Match::Secret,
            parts: Vec::new(),
            unreadable: Vec::new(),
            sealed_at: Utc::from_unix_millis(0),
        }));
        seal.change(0);
        Arc::new(seal)
    }

    /// So many of the parts are others from now on.
    fn change(&self, changed: usize) {
        let mut state = self.0.lock().unwrap();
        let part = |(at, kind): (usize, PartKind)| PartState { kind, matches: at >= changed };
        state.parts = KINDS.into_iter().enumerate().map(part).collect();
        state.found = Match::Parts { matching: KINDS.len() - changed, total: KINDS.len() };
    }
}

impl Seal for StandIn {
    fn state(&self) -> Arc<SealState> {
        Arc::new(self.0.lock().unwrap().clone())
    }

    fn look_again(&self) {}

    fn reseal(&self) -> Result<(), String> {
        self.change(0);
        Ok(())
    }
}

const IDENTITY: [u8; 32] = [12; 32];

/// A server whose identity has this seal, with keys of these bindings, numbered from 1, of two seats
/// each.
async fn start(seal: &Arc<StandIn>, bindings: &[Binding], centre: Option<String>) -> Server {
    let mut server = start_as(IDENTITY, "", Some(&descriptor(centre)), &[]);
    let app = Arc::get_mut(&mut server.app).unwrap();
    let watch = BindingWatch::new(Arc::clone(seal) as Arc<dyn Seal>, app.paths.binding());
    app.binding = Arc::new(watch);
    let (identity, computer) = (Arc::clone(&server.identity), app.host.computer_id.clone());
    let activator = Activator::new(identity, computer, app.settings.clone(), app.paths.centres());
    app.activator = Arc::new(activator.with_binding(Arc::clone(&app.binding)));
    for (binding, number) in bindings.iter().zip(1..) {
        let document = licence(server.identity.public(), number, 2);
        let mut claims: LicenceClaims = licence_core::jws::peek(LICENCE_TYP, &document).unwrap();
        claims.binding = Some(*binding);
        let document = claims.sign(&series_key()).unwrap();
        server.app.handle.install(document, None).await.unwrap();
    }
    server.app.binding.look(&server.app.handle).await.unwrap();
    server
}

async fn binding(server: &Server) -> Value {
    let answer = server.call("GET", "/api/binding", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

async fn changed(server: &Server, seal: &StandIn, parts: usize) -> Value {
    seal.change(parts);
    server.app.binding.look(&server.app.handle).await.unwrap();
    server.app.forget_looks().await;
    binding(server).await
}

fn states(view: &Value) -> Vec<&str> {
    view["Keys"].as_array().unwrap().iter().map(|key| key["State"].as_str().unwrap()).collect()
}

const fn medium(grace_days: u16) -> Binding {
    Binding { level: BindingLevel::Medium, grace_days }
}

async fn page(server: &Server, path: &str) -> String {
    let request = hyper::Request::get(path)
        .header("Authorization", basic("admin:admin"))
        .header("Accept-Language", "en")
        .body(http_body_util::Full::default())
        .unwrap();
    server.send(support::LOCAL, request).await.body
}

#[tokio::test]
async fn drift_is_told_in_api_console_metrics_and_health_before_a_key_stops() {
    let seal = StandIn::new();
    let strict = Binding { level: BindingLevel::Strict, grace_days: 14 };
    let server = start(&seal, &[medium(14), strict], None).await;
    let view = binding(&server).await;
    assert_eq!(
        (&view["PartsTotal"], &view["PartsChanged"], &view["PartsAllowed"]),
        (&json!(7), &json!(0), &json!(1))
    );
    assert_eq!(states(&view), ["fits", "fits"]);
    assert!(!page(&server, "/").await.contains("parts of the computer"));

    let view = changed(&server, &seal, 1).await;
    assert_eq!((&view["PartsChanged"], &view["PartsAllowed"]), (&json!(1), &json!(0)));
    assert_eq!(
        view["Parts"][0],
        json!({"Kind": "board", "Name": "mainboard", "Matches": false, "IsReadable": true})
    );
    for path in ["/", "/systeminfo", "/keys"] {
        let shown = page(&server, path).await;
        let told = "1 of 7 parts of the computer have changed (mainboard). 0 more may change.";
        assert!(shown.contains(told), "{path}");
    }

    let view = changed(&server, &seal, 2).await;
    assert_eq!(states(&view), ["fits", "grace"]);
    let key = &view["Keys"][1];
    assert_eq!((&key["GraceDaysLeft"], &key["Level"]), (&json!(14), &json!("strict")));
    assert!(key["GraceUntil"].as_str() > key["ChangedAt"].as_str());
    assert_eq!(server.call("GET", "/api/licences/2", "").await.json()["Enabled"], true);
    assert!(page(&server, "/keys").await.contains("Key 2 stops in 14 day(s)"));
    let health = server.call("GET", "/api/health", "").await.json();
    let check = health["Checks"].as_array().unwrap().iter().find(|one| one["Name"] == "binding");
    assert_eq!(check.unwrap()["Status"], "warning");
    let metrics = server.call("GET", "/metrics", "").await.body;
    for line in [
        "licence_binding_parts{state=\"changed\"} 2",
        "licence_binding_parts{state=\"matching\"} 5",
        "licence_binding_grace_days_left{series=\"672B\",key_no=\"2\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found.starts_with(line)), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn key_stops_after_its_days_of_grace_and_works_again_when_the_part_is_back() {
    let seal = StandIn::new();
    let server = start(&seal, &[medium(0), medium(14)], None).await;
    let connection = server.connect().await;
    for number in 1..=4 {
        assert_eq!(server.open(&connection, number).await.status, 200);
    }
    let view = changed(&server, &seal, 3).await;
    assert_eq!(states(&view), ["over", "grace"]);
    // Those who held its seats have no other: they end, as when a term ends.
    let counters =
        server.message("/client/v1/counters", &json!({"Connection": connection})).await.json();
    assert_eq!(
        (&counters["TotalLicenceCount"], &counters["UseLicenceCount"]),
        (&json!(2), &json!(2))
    );
    let key = server.call("GET", "/api/licences/1", "").await.json();
    assert_eq!((&key["Enabled"], &key["Workable"]), (&json!(false), &json!(false)));
    assert_eq!(key["OpenError"], "the computer's configuration has changed");
    let view = changed(&server, &seal, 2).await;
    assert_eq!(states(&view), ["fits", "fits"]);
    assert_eq!(server.call("GET", "/api/licences/1", "").await.json()["Enabled"], true);
    assert_eq!(server.open(&connection, 5).await.status, 200);
}

#[tokio::test]
async fn refusal_for_a_changed_computer_says_so_in_both_languages() {
    let seal = StandIn::new();
    let server = start(&seal, &[medium(0)], None).await;
    changed(&server, &seal, 3).await;
    let connection = server.connect().await;
    for (language, rule) in [
        ("en", "the computer's configuration has changed"),
        ("ru", "Изменена конфигурация компьютера"),
    ] {
        let message = json!({
            "Connection": connection,
            "Session": {
                "SessionNumber": "1", "IsServer": true, "InfoBaseConnectionStr": "Srvr=\"s\";",
                "AppName": "1CV8C", "ComputerName": "PC"
            },
            "Language": language
        });
        let answer = server.message("/client/v1/open", &message).await;
        let (class, text) = (&answer.json()["Exception"], &answer.json()["Message"]);
        assert_eq!((answer.status, class), (403, &json!("ELicenceNotFound")));
        assert!(text.as_str().unwrap().contains(rule), "{answer:?}");
    }
}

#[tokio::test]
async fn licence_that_wants_a_tpm_does_not_work_without_one() {
    let seal = StandIn::new();
    let tpm = Binding { level: BindingLevel::Tpm, grace_days: 14 };
    let server = start(&seal, &[tpm], None).await;
    assert_eq!(states(&binding(&server).await), ["needstpm"]);
    let key = server.call("GET", "/api/licences/1", "").await.json();
    assert_eq!(key["OpenError"], "it works only on a server whose identity is in a TPM");
    let connection = server.connect().await;
    assert_eq!(server.open(&connection, 1).await.status, 403);
    seal.0.lock().unwrap().found = Match::Tpm;
    server.app.binding.look(&server.app.handle).await.unwrap();
    assert_eq!(server.open(&connection, 1).await.status, 200);
}

#[tokio::test]
async fn update_from_the_centre_binds_the_server_to_the_computer_as_it_is() {
    let vendor = Vendor::open().await;
    let seal = StandIn::new();
    let centre = vendor.descriptor().centre_url;
    let server = start(&seal, &[], centre).await;
    let code = vendor.sell(json!({})).await;
    let order = json!({"ActivationCodeString": code.to_string(), "ITN": "0123456789"});
    assert_eq!(server.call("POST", "/api/licences", &order.to_string()).await.status, 201);
    let view = changed(&server, &seal, 3).await;
    assert_eq!(states(&view), ["grace"]);
    assert!(server.app.paths.binding().exists(), "the date is kept");
    assert_eq!(server.call("POST", "/api/licences/update", "{}").await.status, 202);
    let view = binding(&server).await;
    assert_eq!((states(&view), &view["PartsChanged"]), (vec!["fits"], &json!(0)));
    assert!(!server.app.paths.binding().exists());
    let lines = server.call("GET", "/api/events?Kind=audit", "").await.body;
    assert!(lines.contains("rebind"), "{lines}");
}

#[tokio::test]
async fn answer_file_of_the_centre_does_the_same_without_a_network() {
    let vendor = Vendor::open().await;
    let seal = StandIn::new();
    let server = start(&seal, &[], vendor.descriptor().centre_url).await;
    let code = vendor.sell(json!({})).await;
    let order = json!({"ActivationCodeString": code.to_string(), "ITN": "0123456789"});
    assert_eq!(server.call("POST", "/api/licences", &order.to_string()).await.status, 201);
    assert_eq!(states(&changed(&server, &seal, 3).await), ["grace"]);
    let asked = json!({"Kind": "update"}).to_string();
    let request = server.call("POST", "/api/licences/request", &asked).await.json();
    let answer = vendor.carry(request["Request"].as_str().unwrap()).await;
    let body = json!({ "Answer": answer }).to_string();
    assert_eq!(server.call("POST", "/api/licences/answer", &body).await.status, 201);
    assert_eq!(states(&binding(&server).await), ["fits"]);
}

#[tokio::test]
async fn answer_that_lists_nothing_of_this_server_binds_it_to_nothing() {
    let seal = StandIn::new();
    let server = start(&seal, &[medium(14)], None).await;
    changed(&server, &seal, 3).await;
    let elsewhere = licence(licence_core::seal::SigningKey::from_seed(&[77; 32]).public(), 1, 2);
    for licences in [vec![], vec![elsewhere], vec!["x".to_owned()]] {
        let update = licence_core::centre_request::LicencesAnswer {
            licences,
            ..licence_core::centre_request::LicencesAnswer::default()
        };
        let answer = licence_core::centre_request::AnswerFile {
            answer: licence_core::centre_request::CentreAnswer::Update(update),
        };
        let text = serde_json::to_string(&answer).unwrap();
        let body = json!({ "Answer": text }).to_string();
        server.call("POST", "/api/licences/answer", &body).await;
        assert_eq!(binding(&server).await["PartsChanged"], 3);
    }
}
