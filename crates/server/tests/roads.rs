//! Roads to a licence beside a code that is typed in: without a code, over a telephone, through a
//! proxy, by itself; what has ended elsewhere; and every one of them once more after its answer was
//! lost.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod centre;
#[path = "roads/played.rs"]
mod played;
#[path = "roads/proxy.rs"]
mod proxy;
mod support;

use std::time::Duration;

use centre::Vendor;
use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::activation_request::ActivationAnswer;
use licence_core::centre_request::{
    AnswerFile, CentreAnswer, DemoRequest, LicencesAnswer, LicencesRequest, RequestKind,
    ReturnReceipt, SpareAnswer, SpareRequest,
};
use licence_core::key::{Flags, KeyNo, KeySeries};
use licence_core::licence_file::{LICENCE_FORMAT, Licence, LicenceClaims, LicenceFields};
use licence_core::seal::PublicKey;
use licence_core::short_text::{ShortAnswer, ShortRequest, short_form};
use licence_core::time::{MonoTime, Now, Utc};
use licenceserver::activate::renewal::{Looked, Renewal};
use played::{Played, Said};
use proxy::Proxy;
use serde_json::{Value, json};
use support::{Answered, SERIES, Server, code, descriptor, series_key, start_with};

fn refused(answer: &Answered) -> (u16, String) {
    (answer.status, answer.json()["Exception"].as_str().unwrap().to_owned())
}

async fn numbers(server: &Server) -> Vec<u64> {
    let all = server.call("GET", "/api/licences", "").await.json();
    all["Licences"].as_array().unwrap().iter().map(|one| one["KeyNo"].as_u64().unwrap()).collect()
}

fn audited(server: &Server) -> Vec<(String, String, String)> {
    let database = rusqlite::Connection::open(server.app.paths.database()).unwrap();
    let mut lines = database
        .prepare("SELECT reason, subject, detail FROM history WHERE event = 'audit' ORDER BY no")
        .unwrap();
    let lines = lines.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    lines.map(Result::unwrap).collect()
}

fn series() -> KeySeries {
    KeySeries::from_u16(SERIES)
}

/// A licence of this number and term, issued at a moment, as the centre signs it.
fn claims(holder: PublicKey, key_no: u32, issued: Utc, expire: Option<Utc>) -> LicenceClaims {
    let fields = LicenceFields {
        version: LICENCE_FORMAT.into(),
        key_no: KeyNo(key_no),
        key_id: series(),
        reg_no: Some(7),
        key_type: 3,
        service_type: 0,
        licence_count: 3,
        product_version: 0,
        blank_key_no: None,
        activation_code: code(key_no.into()),
        activation_date: "2026-01-31T09:00:00.123Z".parse().unwrap(),
        start_date: None,
        period: 0,
        expire_date: expire,
        flags: Flags(5),
        itn: Some("0123456789".into()),
        iec: None,
        product_name: descriptor(None).product_name,
        article: None,
        article_name: None,
        parameters: Default::default(),
        support: Default::default(),
    };
    let activation = format!("{key_no:032X}");
    LicenceClaims::new(activation, issued, holder, fields)
}

fn signed(claims: &LicenceClaims) -> String {
    claims.sign(&series_key()).unwrap()
}

fn answered(answer: CentreAnswer) -> Said {
    Said::Answer(201, serde_json::to_string(&AnswerFile { answer }).unwrap())
}

/// A centre that offers demonstration keys and spare codes, and loses its first so many answers.
fn generous(mut lost: usize) -> Played {
    Played::open(move |path, token| {
        assert_eq!(path, "/api/requests");
        if lost > 0 {
            lost -= 1;
            return Said::Cut;
        }
        match RequestKind::of(token).unwrap() {
            RequestKind::Demo => {
                let (request, holder) = DemoRequest::verify(token).unwrap();
                assert_eq!((request.key_id, request.itn.as_deref()), (series(), Some("007")));
                assert!(request.protection.is_some(), "how the identity is kept is told");
                let mut claims =
                    claims(holder, 900, "2026-01-31T09:00:00.123Z".parse().unwrap(), None);
                claims.fields.key_type = 5;
                let series = descriptor(None);
                answered(CentreAnswer::Activation(ActivationAnswer {
                    licence: signed(&claims),
                    series,
                    mark: Some("M1".into()),
                }))
            }
            RequestKind::Spare => {
                let (request, _) = SpareRequest::verify(token).unwrap();
                assert_eq!(request.activation, format!("l{}", request.key_no));
                let spare_code = ActivationCode::encode(CodeKind::Reserve, series(), 4711);
                answered(CentreAnswer::Spare(SpareAnswer { key_no: request.key_no, spare_code }))
            }
            other @ (RequestKind::Activation | RequestKind::Return | RequestKind::Update) => {
                panic!("{other:?}")
            }
        }
    })
}

#[tokio::test]
async fn demonstration_key_comes_without_a_code_and_once_more_after_a_lost_answer() {
    let centre = generous(1);
    let conf = format!("[Common]\nLicenceCenterUrl={}\n", centre.url);
    let server = start_with(&conf, Some(&descriptor(None)), &[]);
    let order = json!({"KeyID": "672B", "ITN": "007"}).to_string();
    let lost = server.call("POST", "/api/licences/demo", &order).await;
    assert_eq!(refused(&lost), (500, "ELicenceCentreUnavailable".into()));
    assert_eq!(numbers(&server).await, [0u64; 0]);
    let answer = server.call("POST", "/api/licences/demo", &order).await;
    assert_eq!((answer.status, &answer.json()["KeyType"]), (201, &json!(5)), "{answer:?}");
    let again = server.call("POST", "/api/licences/demo", &order).await;
    assert_eq!(again.json(), answer.json());
    assert_eq!(numbers(&server).await, [900]);
    // The mark of the answer before is shown with the next request.
    let marks: Vec<_> = centre
        .tokens("/api/requests")
        .iter()
        .map(|token| DemoRequest::verify(token).unwrap().0.mark)
        .collect();
    assert_eq!(marks, [None, None, Some("M1".to_owned())]);
    let wrong = server.call("POST", "/api/licences/demo", "{}").await;
    assert_eq!(refused(&wrong), (400, "EParams".into()));
}

#[tokio::test]
async fn demonstration_request_is_made_as_a_file_and_its_answer_installed() {
    let server = start_with("", Some(&descriptor(Some("https://c.example".into()))), &[]);
    let order = json!({"Kind": "demo", "KeyID": "672b"}).to_string();
    let answer = server.call("POST", "/api/licences/request", &order).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let token = answer.json()["Request"].as_str().unwrap().to_owned();
    let (request, holder) = DemoRequest::verify(&token).unwrap();
    assert_eq!(request.aud.as_deref(), Some("https://c.example"));
    assert_eq!(holder, server.identity.public());
    let name = answer.json()["FileName"].as_str().unwrap().to_owned();
    assert!(name.starts_with("672B.") && name.ends_with(".request"), "{name}");
}

#[tokio::test]
async fn spare_code_leaves_the_key_in_force_and_a_line_without_the_code() {
    let centre = generous(1);
    let conf = format!("[Common]\nLicenceCenterUrl={}\n", centre.url);
    let server = start_with(&conf, Some(&descriptor(None)), &[(555, 5)]);
    let lost = server.call("POST", "/api/licences/555/spare", "").await;
    assert_eq!(refused(&lost), (500, "ELicenceCentreUnavailable".into()));
    let answer = server.call("POST", "/api/licences/555/spare", "").await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let spare = answer.json()["SpareCode"].as_str().unwrap().to_owned();
    assert_eq!(answer.json(), json!({"KeyNo": 555, "SpareCode": spare}));
    assert_eq!(server.call("POST", "/api/licences/555/spare", "").await.json(), answer.json());
    assert_eq!(numbers(&server).await, [555]);
    let lines = audited(&server);
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (action, subject, detail) in lines {
        assert_eq!((&*action, &*subject), ("key_spare", "555"));
        assert!(!detail.contains(&spare), "{detail}");
    }
    let other = server.call("POST", "/api/licences/556/spare", "").await;
    assert_eq!(refused(&other), (404, "EKeyNotFound".into()));
}

/// A centre that lists these licences and ends for whoever asks, with a mark.
fn listing(licences: Vec<String>, ended: Vec<String>) -> Played {
    let answer = LicencesAnswer {
        licences,
        series: vec![descriptor(None)],
        mark: Some("MARK-2".into()),
        ended,
    };
    let text = serde_json::to_string(&answer).unwrap();
    Played::open(move |_, _| Said::Answer(200, text.clone()))
}

fn receipt(activation: &str, key_no: u32) -> String {
    let withheld = ReturnReceipt::withheld(series());
    ReturnReceipt::new(
        activation.into(),
        Utc::from_unix_millis(0),
        KeyNo(key_no),
        series(),
        withheld,
    )
    .sign(&series_key())
    .unwrap()
}

#[tokio::test]
async fn key_that_has_ended_at_its_centre_is_gone_for_good_and_told() {
    let centre = listing(Vec::new(), vec![receipt("l555", 555)]);
    let conf = format!("[Common]\nLicenceCenterUrl={}\n", centre.url);
    let server = start_with(&conf, Some(&descriptor(None)), &[(555, 5), (556, 5)]);
    let file = server.app.paths.keys().join("672B.555.licence");
    let document = std::fs::read_to_string(file).unwrap();
    let answer = server.call("POST", "/api/licences/update", "").await;
    assert_eq!((answer.status, answer.json()), (202, json!({"Licences": [], "Ended": [555]})));
    assert_eq!(numbers(&server).await, [556]);
    let told = server.app.activator.take_ended();
    assert_eq!(told.iter().map(|key| key.key_no).collect::<Vec<_>>(), [KeyNo(555)]);
    let lines = audited(&server);
    assert_eq!((&*lines[0].0, &*lines[0].1), ("key_ended", "555"));
    let copy = json!({ "Answer": document }).to_string();
    let back = server.call("POST", "/api/licences/answer", &copy).await;
    assert_eq!(refused(&back), (400, "EKeyReturned".into()));
    // Named again in every answer, it is news once.
    let again = server.call("POST", "/api/licences/update", "").await.json();
    assert_eq!(again, json!({"Licences": [], "Ended": []}));
    assert!(server.app.activator.take_ended().is_empty());
}

#[tokio::test]
async fn end_that_the_series_has_not_signed_or_of_another_activation_takes_nothing() {
    let mut forged = receipt("l555", 555);
    forged.replace_range(forged.len() - 6.., "AAAAAA");
    let centre = listing(Vec::new(), vec![forged, receipt("another", 555), "x".into()]);
    let conf = format!("[Common]\nLicenceCenterUrl={}\n", centre.url);
    let server = start_with(&conf, Some(&descriptor(None)), &[(555, 5)]);
    let answer = server.call("POST", "/api/licences/update", "").await;
    assert_eq!(refused(&answer), (400, "EReceiptInvalid".into()));
    assert_eq!(numbers(&server).await, [555]);
}

#[tokio::test]
async fn mark_of_a_centre_is_shown_to_it_alone_and_survives_a_restart() {
    let centre = listing(Vec::new(), Vec::new());
    let conf = format!("[Common]\nLicenceCenterUrl={}\n", centre.url);
    let server = start_with(&conf, Some(&descriptor(None)), &[]);
    for _ in 0..2 {
        assert_eq!(server.call("POST", "/api/licences/update", "").await.status, 202);
    }
    let marks: Vec<_> = centre
        .tokens("/api/licences")
        .iter()
        .map(|token| LicencesRequest::verify(token).unwrap().0.mark)
        .collect();
    assert_eq!(marks, [None, Some("MARK-2".to_owned())]);
    let kept = std::fs::read_to_string(server.app.paths.centres()).unwrap();
    assert!(kept.contains("MARK-2") && kept.contains(&centre.url), "{kept}");
}

/// The centre's side of a telephone call.
fn over_the_telephone(lines: &str) -> (ShortRequest, String, String) {
    let request = ShortRequest::decode(lines).unwrap();
    let issued = "2026-02-01T00:00:00Z".parse().unwrap();
    let mut full = claims(request.holder, 777, issued, None);
    full.fields.article_name = Some("Длинное имя".into());
    let document = signed(&short_form(full));
    let licence = Licence::verify(&document, &series_key().public()).unwrap();
    let answer = ShortAnswer::of(&licence, &descriptor(None)).unwrap().encode().unwrap();
    (request, document, answer)
}

#[tokio::test]
async fn licence_is_read_out_over_a_telephone_and_is_the_centres_document() {
    let server = start_with("", Some(&descriptor(None)), &[]);
    let order = json!({"Kind": "phone", "ActivationCodeString": code(777), "ITN": "0123456789"});
    let answer = server.call("POST", "/api/licences/request", &order.to_string()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let lines = answer.json()["Request"].as_str().unwrap().to_owned();
    let (request, document, spoken) = over_the_telephone(&lines);
    assert_eq!((request.code, request.holder), (code(777), server.identity.public()));
    assert_eq!(request.computer_id, server.app.host.computer_id);
    assert_eq!(request.itn.as_deref(), Some("0123456789"));
    // A mistake first, as people make them.
    let wrong = spoken.replacen(spoken.chars().nth(30).unwrap(), "Z", 1);
    let take = |text: &str| json!({ "Answer": text }).to_string();
    let refusal = server.call("POST", "/api/licences/answer", &take(&wrong)).await;
    assert_eq!(refused(&refusal), (400, "EAnswerInvalid".into()), "{wrong}");
    assert!(refusal.body.contains("line "), "{refusal:?}");
    let typed = spoken.to_lowercase().replace('-', " ");
    let taken = server.call("POST", "/api/licences/answer", &take(&typed)).await;
    assert_eq!(taken.status, 201, "{taken:?}");
    assert_eq!(taken.json()["Licences"][0]["KeyNo"], 777);
    let file = server.app.paths.keys().join("672B.777.licence");
    assert_eq!(std::fs::read_to_string(file).unwrap(), document);
    let request = server.call("POST", "/api/licences/answer", &take(&lines)).await;
    assert!(request.body.contains("a request, and an answer is expected"), "{request:?}");
}

#[tokio::test]
async fn real_centre_answers_over_the_telephone_and_the_next_update_brings_the_rest() {
    let vendor = Vendor::open().await;
    let server = start_with("", Some(&vendor.descriptor()), &[]);
    let code = vendor.sell(json!({"Article": "111", "Parameters": {"Регион": "77"}})).await;
    let order = json!({"Kind": "phone", "ActivationCodeString": code.to_string()}).to_string();
    let answer = server.call("POST", "/api/licences/request", &order).await.json();
    let lines = answer["Request"].as_str().unwrap().to_owned();
    let read_out = |lines: String| {
        let url = format!("{}/api/short", vendor.url);
        tokio::task::spawn_blocking(move || {
            let mut answer = ureq::post(&url)
                .config()
                .http_status_as_error(false)
                .build()
                .send_json(json!({ "Request": lines }))
                .unwrap();
            let text = answer.body_mut().read_to_string().unwrap();
            (answer.status().as_u16(), serde_json::from_str::<Value>(&text).unwrap())
        })
    };
    let (status, spoken) = read_out(lines.clone()).await.unwrap();
    assert_eq!(status, 201, "{spoken}");
    assert_eq!(read_out(lines.clone()).await.unwrap(), (200, spoken.clone()), "asked again");
    let (status, wrong) = read_out(lines.replacen('-', "-Z", 1)).await.unwrap();
    assert_eq!((status, &wrong["Exception"]), (400, &json!("EShortText")), "{wrong}");
    assert!(wrong["Message"].as_str().unwrap().contains("строке 1"), "{wrong}");
    let take = json!({ "Answer": spoken["Answer"] }).to_string();
    let taken = server.call("POST", "/api/licences/answer", &take).await;
    assert_eq!(taken.status, 201, "{taken:?}");
    assert_eq!(taken.json()["Licences"][0]["Article"], Value::Null);
    let question = json!({"Kind": "update"}).to_string();
    let question = server.call("POST", "/api/licences/request", &question).await.json();
    let full = vendor.carry(question["Request"].as_str().unwrap()).await;
    let take = json!({ "Answer": full }).to_string();
    let taken = server.call("POST", "/api/licences/answer", &take).await;
    assert_eq!(taken.json()["Licences"][0]["Article"], "111", "{taken:?}");
    let held = numbers(&server).await;
    assert_eq!(held.len(), 1);
    // The other way round: the lines follow from a licence that was given whole, of the same moment.
    let path = format!("/api/licences/{}", held[0]);
    assert_eq!(server.call("DELETE", &path, "").await.status, 202);
    let (status, spoken) = read_out(lines).await.unwrap();
    assert_eq!(status, 200, "{spoken}");
    let take = json!({ "Answer": spoken["Answer"] }).to_string();
    let taken = server.call("POST", "/api/licences/answer", &take).await;
    assert_eq!(taken.json()["Licences"][0]["Article"], Value::Null, "{taken:?}");
    let update = async || server.call("POST", "/api/licences/update", "").await.json();
    assert_eq!(update().await["Licences"][0]["Article"], "111");
    assert_eq!(update().await["Licences"], json!([]), "once");
}

#[tokio::test]
async fn lines_for_another_server_or_an_unknown_series_are_refused() {
    let (one, two) = (
        support::start_as([51; 32], "", Some(&descriptor(None)), &[]),
        support::start_as([52; 32], "", Some(&descriptor(None)), &[]),
    );
    let order = json!({"Kind": "phone", "ActivationCodeString": code(777)}).to_string();
    let answer = one.call("POST", "/api/licences/request", &order).await.json();
    let (_, _, spoken) = over_the_telephone(answer["Request"].as_str().unwrap());
    let take = json!({ "Answer": spoken }).to_string();
    let elsewhere = two.call("POST", "/api/licences/answer", &take).await;
    assert_eq!(refused(&elsewhere), (400, "EAnswerInvalid".into()));
    assert!(elsewhere.body.contains("another server"), "{elsewhere:?}");
    let bare = support::start_as([51; 32], "", None, &[]);
    let unknown = bare.call("POST", "/api/licences/answer", &take).await;
    assert_eq!(refused(&unknown), (400, "EUnknownSeries".into()));
    let unknown = bare.call("POST", "/api/licences/request", &order).await;
    assert_eq!(refused(&unknown), (400, "EUnknownSeries".into()));
    assert_eq!(numbers(&two).await, [0u64; 0]);
}

async fn operation(server: &Server, operation: Value) -> Answered {
    let query = json!({"KeyID": "672B", "Operation": operation});
    let mut answer = server.message("/client/v1/operation", &query).await;
    while let Some(ticket) = answer.json()["Ticket"].as_str().map(str::to_owned) {
        let query = json!({"KeyID": "672B", "Ticket": ticket});
        answer = server.message("/client/v1/operation", &query).await;
    }
    answer
}

#[tokio::test]
async fn component_asks_over_the_telephone_and_for_a_demonstration() {
    let centre = generous(0);
    let conf = format!("[Common]\nLicenceCenterUrl={}\n", centre.url);
    let server = start_with(&conf, Some(&descriptor(None)), &[]);
    let asked = json!({"PhoneRequest": {"ActivationCode": code(777)}});
    let lines = operation(&server, asked).await.json();
    let (_, _, spoken) = over_the_telephone(lines["Result"]["Request"].as_str().unwrap());
    let blank = json!({"PhoneRequest": {"ActivationCode": code(777), "BlankKeyNo": 5}});
    assert_eq!(refused(&operation(&server, blank).await), (400, "EParams".into()));
    let demo = operation(&server, json!({"InstallRequest": {"ActivationCode": ""}})).await.json();
    let token = demo["Result"]["Request"].as_str().unwrap();
    assert_eq!(DemoRequest::verify(token).unwrap().0.key_id, series());
    let got = operation(&server, json!({"Demo": {"ITN": "007"}})).await.json();
    assert_eq!(got["Result"]["Licences"][0]["KeyType"], 5, "{got}");
    // A key that was paid for takes the place of the demonstration by the centre's word alone.
    let beside = operation(&server, json!({"PhoneAnswer": {"Answer": spoken}})).await;
    assert_ne!(beside.status, 200, "{beside:?}");
    let bare = start_with("", Some(&descriptor(None)), &[]);
    let lines = operation(&bare, json!({"PhoneRequest": {"ActivationCode": code(777)}})).await;
    let lines = lines.json()["Result"]["Request"].as_str().unwrap().to_owned();
    let (_, _, spoken) = over_the_telephone(&lines);
    let got = operation(&bare, json!({"PhoneAnswer": {"Answer": spoken}})).await.json();
    assert_eq!(got["Result"]["Licences"][0]["KeyNo"], 777, "{got}");
}

fn at(hours: u32) -> Now {
    let span = Duration::from_secs(3600) * hours;
    Now {
        mono: MonoTime::from_millis(1_000_000).after(span),
        utc: "2026-03-01T00:00:00Z".parse::<Utc>().unwrap().after(span),
    }
}

#[tokio::test]
async fn renewal_comes_by_itself_and_only_when_it_is_time() {
    let holder = start_with("", None, &[]).identity.public();
    let ends = |text: &str| Some(text.parse::<Utc>().unwrap());
    let old = claims(holder, 555, at(0).utc.plus_days(0), ends("2026-03-05T00:00:00Z"));
    let new = claims(holder, 555, at(1).utc, ends("2027-03-05T00:00:00Z"));
    let centre = listing(vec![signed(&new)], Vec::new());
    let conf = format!("[Common]\nLicenceCenterUrl={}\n", centre.url);
    let server = start_with(&conf, Some(&descriptor(None)), &[]);
    let mut renewal = Renewal::new([0x80, 0, 0, 0], at(0).mono);
    assert_eq!(renewal.look(&server.app, at(2)).await, Looked::Early, "there is no key");
    let take = json!({"Answer": signed(&old)}).to_string();
    assert_eq!(server.call("POST", "/api/licences/answer", &take).await.status, 201);
    assert_eq!(renewal.look(&server.app, at(0)).await, Looked::Early, "just begun");
    assert_eq!(renewal.look(&server.app, at(2)).await, Looked::Done);
    let key = server.call("GET", "/api/licences/555", "").await.json();
    assert!(key["ExpireDate"].as_str().unwrap().starts_with("2027"), "{key}");
    assert_eq!(renewal.look(&server.app, at(3)).await, Looked::Early);
    assert_eq!(renewal.look(&server.app, at(26)).await, Looked::Early, "its term is long now");
    assert_eq!(renewal.look(&server.app, at(28)).await, Looked::Done);
    assert_eq!(centre.tokens("/api/licences").len(), 2);
    let lines: Vec<_> =
        audited(&server).into_iter().map(|(action, key, _)| (action, key)).collect();
    let line = |action: &str| (action.to_owned(), "555".to_owned());
    assert_eq!(lines, [line("key_install"), line("key_update")]);
}

#[tokio::test]
async fn renewal_that_is_switched_off_or_has_nobody_to_ask_asks_nobody() {
    let centre = listing(Vec::new(), Vec::new());
    let off = format!("[Common]\nLicenceCenterUrl={}\nAutoUpdate=0\n", centre.url);
    let server = start_with(&off, Some(&descriptor(None)), &[(555, 5)]);
    let mut renewal = Renewal::new([0; 4], at(0).mono);
    assert_eq!(renewal.look(&server.app, at(30)).await, Looked::Early);
    let server = start_with("", Some(&descriptor(None)), &[(555, 5)]);
    assert_eq!(renewal.look(&server.app, at(30)).await, Looked::Idle);
    assert!(centre.tokens("/api/licences").is_empty());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let conf = format!("[Common]\nLicenceCenterUrl=http://{closed}\n");
    let server = start_with(&conf, Some(&descriptor(None)), &[(555, 5)]);
    assert_eq!(renewal.look(&server.app, at(30)).await, Looked::Failed);
    assert_eq!(renewal.look(&server.app, at(30)).await, Looked::Early, "not at once again");
}

#[tokio::test]
async fn renewal_waits_while_a_person_has_a_round_under_way() {
    let (asked, is_asked) = std::sync::mpsc::channel();
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let centre = Played::open(move |path, _| {
        if path == "/api/requests" {
            asked.send(()).unwrap();
            may_go.recv().unwrap();
        }
        Said::Cut
    });
    let conf = format!("[Common]\nLicenceCenterUrl={}\n", centre.url);
    let server = start_with(&conf, Some(&descriptor(None)), &[(555, 5)]);
    let mut renewal = Renewal::new([0; 4], at(0).mono);
    let person = server.call("POST", "/api/licences/555/spare", "");
    let task = async {
        tokio::task::spawn_blocking(move || is_asked.recv().unwrap()).await.unwrap();
        assert_eq!(renewal.look(&server.app, at(30)).await, Looked::Idle);
        go.send(()).unwrap();
    };
    let (answer, ()) = tokio::join!(person, task);
    assert_eq!(refused(&answer), (500, "ELicenceCentreUnavailable".into()));
    assert!(centre.tokens("/api/licences").is_empty());
}

#[tokio::test]
async fn return_that_waits_for_a_signature_is_repeated_and_not_updated() {
    let refusal = json!({
        "Code": 503, "Text": "Service Unavailable", "Exception": "ESignaturePending",
        "Message": "(ESignaturePending) Квитанция не подписана.",
    });
    let centre = Played::open(move |_, _| Said::Answer(503, refusal.to_string()));
    let conf = format!("[Common]\nLicenceCenterUrl={}\n", centre.url);
    let server = start_with(&conf, Some(&descriptor(None)), &[(555, 5)]);
    let path = "/api/licences/555/reservecode";
    for (language, advice) in [("ru", "повторите возврат, когда"), ("en", "repeat the return once")]
    {
        let mut request = support::request("POST", path, "{}");
        request.headers_mut().insert("Accept-Language", language.parse().unwrap());
        let answer = server.send(support::LOCAL, request).await;
        assert_eq!(refused(&answer), (503, "ESignaturePending".into()));
        assert!(answer.body.contains(advice), "{answer:?}");
        assert!(!answer.body.contains("заработает"), "{answer:?}");
        assert!(!answer.body.contains("in force again"), "{answer:?}");
        assert_eq!(numbers(&server).await, [0u64; 0], "aside until the receipt is here");
    }
    assert_eq!(centre.tokens("/api/returns").len(), 2);
}

#[tokio::test]
async fn silence_of_the_centre_is_told_when_a_term_ends_soon() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let conf = format!("[Common]\nLicenceCenterUrl=http://{closed}\n");
    let server = start_with(&conf, Some(&descriptor(None)), &[]);
    let now = "2026-03-01T00:00:00Z".parse::<Utc>().unwrap();
    let holder = server.identity.public();
    let with = |key_no, issued: &str, end: &str| {
        let end = Some(end.parse().unwrap());
        signed(&claims(holder, key_no, issued.parse().unwrap(), end))
    };
    for document in [
        with(1, "2026-02-01T00:00:00Z", "2026-03-10T00:00:00Z"),
        with(2, "2026-02-27T00:00:00Z", "2026-03-10T00:00:00Z"),
        with(3, "2026-02-01T00:00:00Z", "2026-04-10T00:00:00Z"),
    ] {
        let take = json!({ "Answer": document }).to_string();
        assert_eq!(server.call("POST", "/api/licences/answer", &take).await.status, 201);
    }
    let silent = licenceserver::activate::renewal::silent(&server.app, now).await.unwrap();
    assert_eq!(silent, [KeyNo(1)]);
}

/// A server that reaches its vendor through a proxy.
fn behind(proxy: &Proxy, vendor: &Vendor, pair: &str) -> Server {
    let conf = format!("[Common]\nLicenceCenterProxy=http://{pair}@{}\n", proxy.address);
    start_with(&conf, Some(&vendor.descriptor()), &[])
}

fn order(code: ActivationCode) -> String {
    json!({ "ActivationCodeString": code.to_string() }).to_string()
}

#[tokio::test]
async fn centre_is_reached_through_a_proxy_whose_password_is_shown_to_nobody() {
    let vendor = Vendor::open().await;
    let proxy = Proxy::open("worker", "hush-hush");
    let server = behind(&proxy, &vendor, "worker:hush-hush");
    let code = vendor.sell(json!({})).await;
    let answer = server.call("POST", "/api/licences", &order(code)).await;
    assert_eq!((answer.status, proxy.through()), (201, 1), "{answer:?}");
    let settings = server.call("GET", "/api/settings", "").await;
    assert!(settings.body.contains("LicenceCenterProxy"), "{settings:?}");
    assert!(!settings.body.contains("hush-hush"), "{settings:?}");
    let stranger = behind(&proxy, &vendor, "worker:wrong-one");
    let code = vendor.sell(json!({})).await;
    let refusal = stranger.call("POST", "/api/licences", &order(code)).await;
    assert_eq!(refused(&refusal), (500, "ELicenceCentreUnavailable".into()));
    assert!(!refusal.body.contains("wrong-one"), "{refusal:?}");
    assert_eq!(proxy.through(), 1);
}

#[test]
fn proxy_that_is_none_is_refused_without_its_password() {
    for text in ["socks5://a:hush@b:1", "ftp://hush", "http://", "hush hush"] {
        let conf = format!("[Common]\nLicenceCenterProxy={text}\n");
        let path = std::path::Path::new("x.conf");
        let source = licenceserver::config::IniSource::parse(path, conf.into()).unwrap();
        let error = licenceserver::config::Config::from_source(&source).unwrap_err().to_string();
        assert!(error.contains("LicenceCenterProxy") && !error.contains("hush"), "{error}");
    }
}

#[tokio::test]
async fn installation_and_return_and_update_are_the_same_after_a_lost_answer() {
    let vendor = Vendor::open().await;
    let proxy = Proxy::open("a", "b");
    let server = behind(&proxy, &vendor, "a:b");
    let code = vendor.sell(json!({})).await;
    proxy.lose(1);
    let lost = server.call("POST", "/api/licences", &order(code)).await;
    assert_eq!(refused(&lost), (500, "ELicenceCentreUnavailable".into()));
    assert_eq!((proxy.lost(), numbers(&server).await), (1, vec![]));
    let first = server.call("POST", "/api/licences", &order(code)).await;
    assert_eq!(first.status, 201, "{first:?}");
    let key_no = first.json()["KeyNo"].as_u64().unwrap();
    let again = server.call("POST", "/api/licences", &order(code)).await;
    assert_eq!(again.json(), first.json());
    // Lost on this side, the update brings it back; its lost answer changes nothing.
    let path = format!("/api/licences/{key_no}");
    assert_eq!(server.call("DELETE", &path, "").await.status, 202);
    proxy.lose(1);
    let lost = server.call("POST", "/api/licences/update", "").await;
    assert_eq!(refused(&lost), (500, "ELicenceCentreUnavailable".into()));
    assert_eq!(server.call("POST", "/api/licences/update", "").await.status, 202);
    assert_eq!(numbers(&server).await, [key_no]);
    proxy.lose(1);
    let path = format!("/api/licences/{key_no}/reservecode");
    let why = json!({"Reason": "hardware", "Comment": "плата"}).to_string();
    let lost = server.call("POST", &path, &why).await;
    assert_eq!(refused(&lost), (500, "ELicenceCentreUnavailable".into()));
    assert_eq!(numbers(&server).await, [0u64; 0], "aside until the centre has answered");
    let back = server.call("POST", &path, &why).await;
    assert_eq!(back.status, 201, "{back:?}");
    let reserve: ActivationCode = back.json()["ReserveCode"].as_str().unwrap().parse().unwrap();
    assert_eq!(proxy.lost(), 3);
    // The reserve code, too, and by itself the licence of one activation.
    proxy.lose(1);
    assert_eq!(server.call("POST", "/api/licences", &order(reserve)).await.status, 500);
    let moved = server.call("POST", "/api/licences", &order(reserve)).await;
    assert_eq!((moved.status, &moved.json()["KeyNo"]), (201, &json!(key_no)), "{moved:?}");
    assert_eq!(numbers(&server).await, [key_no]);
}
