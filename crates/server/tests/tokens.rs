//! Keys on tokens: plugged in, installed on a blank, pulled, plugged in again, given back. The tokens
//! are soft and the centre knows nothing but them: stand-ins, see their modules.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

#[path = "tokens/soft.rs"]
mod soft;
mod support;
#[path = "tokens/vendor.rs"]
mod vendor;

use std::time::Duration;

use licence_core::delegation::Delegation;
use licence_token::apdu::TokenError;
use licenceserver::app::TokenAccess;
use licenceserver::tokens::Pace;
use serde_json::{Value, json};
use soft::{Bus, SoftToken};
use support::{Answered, Server, code, descriptor, licence, start_with_tokens};
use vendor::{KEY_NO, Vendor};

const ONE: [u8; 32] = [31; 32];
const TWO: [u8; 32] = [32; 32];
const LONG: Duration = Duration::from_secs(3600);

/// Nothing happens but when a test asks for a look; what fails is given up at once.
const AT_ONCE: Pace = Pace { poll: LONG, proof: LONG, retry: Duration::ZERO, read_again_max: LONG };

/// The same, and what has failed once waits for its second chance.
const PATIENT: Pace = Pace { retry: LONG, ..AT_ONCE };

fn start(seed: [u8; 32], pace: Pace, bus: &Bus, centre: Option<&Vendor>) -> Server {
    start_having(seed, pace, bus, centre, &[])
}

fn start_having(
    seed: [u8; 32],
    pace: Pace,
    bus: &Bus,
    centre: Option<&Vendor>,
    licences: &[(u32, String)],
) -> Server {
    let access = TokenAccess { port: Box::new(bus.clone()), pace };
    let series = descriptor(centre.map(|vendor| vendor.url.clone()));
    start_with_tokens(seed, "", Some(&series), licences, Some(access))
}

async fn look(server: &Server) {
    server.app.tokens.look().await.unwrap();
}

async fn licences(server: &Server) -> Vec<Value> {
    let all = server.call("GET", "/api/licences", "").await.json();
    all["Licences"].as_array().unwrap().clone()
}

async fn key(server: &Server, key_no: u32) -> Value {
    server.call("GET", &format!("/api/licences/{key_no}"), "").await.json()
}

async fn install(server: &Server, blank: u32) -> Answered {
    let body = json!({"ActivationCodeString": code(9).to_string(), "BlankKeyNo": blank});
    server.call("POST", "/api/licences", &body.to_string()).await
}

fn refused(answer: &Answered) -> (u16, String) {
    (answer.status, answer.json()["Exception"].as_str().unwrap().to_owned())
}

async fn hello(server: &Server) -> Answered {
    let body = json!({"Versions": [1], "Component": "4.0.0", "KeyID": "672B"});
    server.message("/client/hello", &body).await
}

/// Whether the server proves itself to a component by the word of this token, as `prove` of the
/// client does it.
async fn is_vouched_for(server: &Server, token: &SoftToken) -> bool {
    let answer = hello(server).await.json();
    let empty = Vec::new();
    let words = answer["Delegations"].as_array().unwrap_or(&empty);
    let own = server.identity.public();
    answer["Licences"].as_array().unwrap().iter().any(|document| {
        let document = document.as_str().unwrap();
        let key = support::series_key().public();
        let licence = licence_core::licence_file::Licence::verify(document, &key).unwrap();
        words.iter().any(|word| {
            let word = Delegation::verify(word.as_str().unwrap(), &token.key());
            word.is_ok_and(|word| {
                let now = licence_core::time::Utc::from_unix_millis(word.iat * 1000);
                word.allows(&licence.claims.jti, &own, now)
            })
        })
    })
}

/// Opens a session; its id.
async fn seated(server: &Server, connection: &str, number: u32) -> String {
    let opened = server.open(connection, number).await;
    assert_eq!(opened.status, 200, "{opened:?}");
    opened.json()["ID"].as_str().unwrap().to_owned()
}

/// Reasons for which these sessions are gone.
async fn gone(server: &Server, connection: &str, sessions: &[&String]) -> Vec<String> {
    let message = json!({"Connection": connection, "Sessions": sessions});
    let answer = server.message("/client/v1/heartbeat", &message).await.json();
    let gone = answer["Gone"].as_array().cloned().unwrap_or_default();
    gone.iter().map(|gone| gone["Reason"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn blank_is_shown_takes_a_licence_and_is_a_blank_no_more() {
    let (bus, token, vendor) = (Bus::default(), SoftToken::make(), Vendor::open().await);
    let server = start(ONE, AT_ONCE, &bus, Some(&vendor));
    let absent = install(&server, token.blank_no()).await;
    assert_eq!(refused(&absent), (404, "EBlankNotFound".into()));
    bus.plug(1, &token);
    look(&server).await;
    let all = licences(&server).await;
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0]["Type"], "USB");
    assert_eq!(all[0]["IsBlank"], true);
    assert_eq!(all[0]["BlankKeyNo"], token.blank_no());
    assert_eq!(all[0]["KeyNo"], Value::Null);
    let answer = install(&server, token.blank_no()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let view = answer.json();
    assert_eq!((&view["Type"], &view["Workable"]), (&json!("USB"), &json!(true)));
    // On the disk first, then on the token, and the same on both.
    let file = server.app.paths.keys().join(format!("672B.{KEY_NO}.licence"));
    let document = std::fs::read_to_string(file).unwrap();
    assert_eq!(token.document().as_deref(), Some(document.as_str()));
    assert!(Vendor::is_bound(&document, token.key()));
    assert!(is_vouched_for(&server, &token).await);
    let all = licences(&server).await;
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0]["IsBlank"], false);
    assert_eq!(all[0]["Enabled"], true);
    let again = install(&server, token.blank_no()).await;
    assert_eq!(refused(&again), (409, "EBlankInUse".into()));
    let connection = server.connect().await;
    assert_eq!(server.open(&connection, 1).await.status, 200);
}

#[tokio::test]
async fn licence_that_does_not_fit_on_its_token_lies_on_the_disk_and_counts() {
    let (bus, token, vendor) = (Bus::default(), SoftToken::make(), Vendor::open().await);
    token.fill();
    bus.plug(1, &token);
    let server = start(ONE, AT_ONCE, &bus, Some(&vendor));
    let answer = install(&server, token.blank_no()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(token.document(), None);
    assert_eq!(key(&server, KEY_NO).await["Enabled"], true);
    assert!(is_vouched_for(&server, &token).await);
}

#[tokio::test]
async fn blank_is_activated_by_files() {
    let (bus, token, vendor) = (Bus::default(), SoftToken::make(), Vendor::open().await);
    bus.plug(1, &token);
    let server = start(ONE, AT_ONCE, &bus, Some(&vendor));
    let order = json!({
        "Kind": "activation",
        "ActivationCodeString": code(9).to_string(),
        "BlankKeyNo": token.blank_no(),
    });
    let made = server.call("POST", "/api/licences/request", &order.to_string()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let answer = vendor.carry(made.json()["Request"].as_str().unwrap());
    let body = json!({ "Answer": answer }).to_string();
    let taken = server.call("POST", "/api/licences/answer", &body).await;
    assert_eq!(taken.status, 201, "{taken:?}");
    assert_eq!(key(&server, KEY_NO).await["Enabled"], true);
    assert!(token.document().is_some());
}

#[tokio::test]
async fn ready_key_works_where_it_is_plugged_in_and_nowhere_else() {
    let (bus, token) = (Bus::default(), SoftToken::make());
    token.put(&licence(token.key(), 5, 2));
    let (one, two) = (start(ONE, AT_ONCE, &bus, None), start(TWO, AT_ONCE, &Bus::default(), None));
    bus.plug(1, &token);
    look(&one).await;
    assert_eq!(key(&one, 5).await["Enabled"], true);
    assert!(is_vouched_for(&one, &token).await);
    assert_eq!(licences(&two).await, Vec::<Value>::new());
    // The copy on the disk is worth nothing where the token is not.
    let copy = std::fs::read_to_string(one.app.paths.keys().join("672B.5.licence")).unwrap();
    let body = json!({ "Answer": copy }).to_string();
    assert_eq!(two.call("POST", "/api/licences/answer", &body).await.status, 201);
    let shown = key(&two, 5).await;
    assert_eq!((&shown["Workable"], &shown["Enabled"]), (&json!(false), &json!(false)));
    assert_eq!(shown["OpenError"], "its token is not plugged in");
    let answer = hello(&two).await;
    assert_eq!(refused(&answer), (403, "ELicenceNotFound".into()));
    assert!(answer.body.contains("its token is not plugged in"), "{answer:?}");
}

#[tokio::test]
async fn pulled_token_stops_new_seats_then_ends_those_held_and_is_back_when_plugged_in() {
    let (bus, token) = (Bus::default(), SoftToken::make());
    token.put(&licence(token.key(), 5, 2));
    bus.plug(1, &token);
    let server = start(ONE, AT_ONCE, &bus, None);
    look(&server).await;
    let connection = server.connect().await;
    let session = seated(&server, &connection, 1).await;
    bus.pull(1);
    look(&server).await;
    assert_eq!(gone(&server, &connection, &[&session]).await, ["key_gone"]);
    let refusal = server.open(&connection, 2).await;
    assert_eq!(refused(&refusal), (403, "ELicenceNotFound".into()));
    assert!(refusal.body.contains("its token is not plugged in"), "{refusal:?}");
    assert!(is_vouched_for(&server, &token).await, "who connects is told by a server it believes");
    bus.plug(2, &token);
    look(&server).await;
    seated(&server, &connection, 1).await;
    seated(&server, &connection, 2).await;
}

#[tokio::test]
async fn token_in_doubt_keeps_the_seats_that_are_held_and_gives_no_others() {
    let (bus, token) = (Bus::default(), SoftToken::make());
    token.put(&licence(token.key(), 5, 2));
    bus.plug(1, &token);
    let server = start(ONE, PATIENT, &bus, None);
    look(&server).await;
    let connection = server.connect().await;
    let session = seated(&server, &connection, 1).await;
    for step in ["pulled", "failing"] {
        if step == "pulled" {
            bus.pull(1);
            look(&server).await;
        } else {
            token.fail(Some(TokenError::Slow));
            assert!(server.app.tokens.vouch(token.key()).await.is_err());
            look(&server).await;
        }
        assert!(gone(&server, &connection, &[&session]).await.is_empty(), "{step}");
        assert_eq!(seated(&server, &connection, 1).await, session, "{step}");
        let refusal = server.open(&connection, 2).await;
        assert_eq!(refusal.status, 403, "{step}: {refusal:?}");
        assert!(refusal.body.contains("is asked again"), "{step}: {refusal:?}");
        token.fail(None);
        bus.plug(1, &token);
        look(&server).await;
        server.app.tokens.vouch(token.key()).await.unwrap();
        let other = seated(&server, &connection, 2).await;
        let ended = server.call("DELETE", &format!("/api/sessions/{other}"), "").await;
        assert_eq!(ended.status, 202, "{ended:?}");
    }
}

#[tokio::test]
async fn two_tokens_stand_and_fall_each_by_itself() {
    let (bus, one, two) = (Bus::default(), SoftToken::make(), SoftToken::make());
    one.put(&licence(one.key(), 5, 1));
    two.put(&licence(two.key(), 6, 1));
    bus.plug(1, &one);
    bus.plug(2, &two);
    let server = start(ONE, AT_ONCE, &bus, None);
    look(&server).await;
    let answer = hello(&server).await.json();
    assert_eq!(answer["Delegations"].as_array().unwrap().len(), 2);
    let connection = server.connect().await;
    let first = seated(&server, &connection, 1).await;
    let second = seated(&server, &connection, 2).await;
    assert_eq!(server.open(&connection, 3).await.json()["Exception"], "ENoFreeLicence");
    bus.pull(1);
    look(&server).await;
    assert_eq!(key(&server, 5).await["Enabled"], false);
    assert_eq!(key(&server, 6).await["Enabled"], true);
    assert_eq!(gone(&server, &connection, &[&first, &second]).await, ["key_gone"]);
}

#[tokio::test]
async fn token_that_talks_nonsense_harms_nobody_and_is_not_asked_again_and_again() {
    let (bus, good, bad) = (Bus::default(), SoftToken::make(), SoftToken::make());
    good.put(&licence(good.key(), 5, 1));
    bad.put(&licence(bad.key(), 6, 1));
    bad.fail(Some(TokenError::Malformed("garbage")));
    bus.plug(1, &bad);
    bus.plug(2, &good);
    let server = start(ONE, PATIENT, &bus, None);
    for _ in 0..5 {
        look(&server).await;
    }
    assert_eq!(key(&server, 5).await["Enabled"], true);
    assert_eq!(bad.reads(), 1, "not at every look");
    let troubles = server.app.tokens.troubles();
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    assert_eq!(troubles[0].place, "soft token 1");
    bus.pull(1);
    look(&server).await;
    assert!(server.app.tokens.troubles().is_empty());
    // One that signs something else than it is asked to is nobody.
    bad.fail(None);
    bad.forge();
    bus.plug(1, &bad);
    look(&server).await;
    assert_eq!(server.call("GET", "/api/licences/6", "").await.status, 404);
    assert_eq!(licences(&server).await.len(), 1, "not even a blank");
    // Nonsense where a licence should lie.
    let strange = SoftToken::make();
    strange.put("nonsense\u{0}");
    bus.plug(3, &strange);
    let foreign = SoftToken::make();
    foreign.put(&licence(good.key(), 7, 1));
    bus.plug(4, &foreign);
    look(&server).await;
    assert_eq!(server.call("GET", "/api/licences/7", "").await.status, 404, "of another token");
    assert_eq!(server.app.tokens.troubles().len(), 3);
    assert_eq!(key(&server, 5).await["Enabled"], true);
}

#[tokio::test]
async fn licence_file_whose_token_is_absent_waits_for_it() {
    let (bus, token) = (Bus::default(), SoftToken::make());
    let files = [(5, licence(token.key(), 5, 1))];
    let server = start_having(ONE, PATIENT, &bus, None, &files);
    look(&server).await;
    let text = "its token has not answered and is asked again";
    assert_eq!(key(&server, 5).await["OpenError"], text, "before the first look is over");
    let server = start_having(ONE, AT_ONCE, &bus, None, &files);
    look(&server).await;
    assert_eq!(key(&server, 5).await["OpenError"], "its token is not plugged in");
    bus.plug(1, &token);
    look(&server).await;
    assert_eq!(key(&server, 5).await["Enabled"], true);
    assert!(token.document().is_none(), "a licence is put on its token when it is installed");
}

#[tokio::test]
async fn key_on_a_token_is_given_back_while_the_token_is_there_and_leaves_it() {
    let (bus, token, vendor) = (Bus::default(), SoftToken::make(), Vendor::open().await);
    bus.plug(1, &token);
    let server = start(ONE, AT_ONCE, &bus, Some(&vendor));
    assert_eq!(install(&server, token.blank_no()).await.status, 201);
    bus.pull(1);
    look(&server).await;
    let path = format!("/api/licences/{KEY_NO}/reservecode");
    let answer = server.call("POST", &path, "{}").await;
    assert_eq!(refused(&answer), (409, "ETokenAbsent".into()));
    assert_eq!(key(&server, KEY_NO).await["KeyNo"], KEY_NO, "nothing was put aside");
    bus.plug(1, &token);
    look(&server).await;
    let before = token.document().unwrap();
    let answer = server.call("POST", &path, "{}").await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(token.document(), None, "at another server it would come back");
    let all = licences(&server).await;
    assert_eq!((all.len(), &all[0]["IsBlank"]), (1, &json!(true)), "{all:?}");
    // A copy of the licence on the token is not taken in again, and taken off.
    bus.pull(1);
    look(&server).await;
    token.put(&before);
    bus.plug(1, &token);
    look(&server).await;
    assert_eq!(token.document(), None);
    assert_eq!(server.call("GET", &format!("/api/licences/{KEY_NO}"), "").await.status, 404);
}

#[tokio::test]
async fn question_for_licences_has_the_words_of_all_tokens_that_answer() {
    let (bus, vendor) = (Bus::default(), Vendor::open().await);
    let tokens = [SoftToken::make(), SoftToken::make(), SoftToken::make()];
    for (number, token) in (1..).zip(&tokens) {
        bus.plug(number, token);
    }
    let server = start(ONE, PATIENT, &bus, Some(&vendor));
    look(&server).await;
    tokens[1].fail(Some(TokenError::Slow));
    let answer = server.call("POST", "/api/licences/update", "").await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let mut wanted = [tokens[0].key(), tokens[2].key()];
    wanted.sort_unstable();
    let mut vouched = vendor.vouched.lock().unwrap().clone();
    vouched.sort_unstable();
    assert_eq!(vouched, wanted);
}

#[tokio::test]
async fn token_signs_once_for_each_licence_at_each_proof() {
    let (bus, token) = (Bus::default(), SoftToken::make());
    let files = [(5, licence(token.key(), 5, 1)), (6, licence(token.key(), 6, 1))];
    bus.plug(1, &token);
    let server = start_having(ONE, PATIENT, &bus, None, &files);
    look(&server).await;
    assert_eq!(token.signatures(), 2);
    look(&server).await;
    assert_eq!(token.signatures(), 2, "a look is no proof");
    server.app.tokens.vouch(token.key()).await.unwrap();
    assert_eq!(token.signatures(), 4);
}

#[tokio::test]
async fn pages_show_blanks_offer_them_and_say_what_is_wrong_with_tokens() {
    let (bus, token, bad) = (Bus::default(), SoftToken::make(), SoftToken::make());
    bad.fail(Some(TokenError::Busy));
    bus.plug(1, &token);
    bus.plug(2, &bad);
    let server = start(ONE, PATIENT, &bus, None);
    look(&server).await;
    let number = token.blank_no();
    let keys = server.call("GET", "/keys", "").await.body;
    for wanted in [
        format!("/keys/install?blank={number}"),
        "Not activated".to_owned(),
        "soft token 2".to_owned(),
        "another program holds the token".to_owned(),
    ] {
        assert!(keys.contains(&wanted), "{wanted}\n{keys}");
    }
    let form = server.call("GET", &format!("/keys/install?blank={number}"), "").await.body;
    assert!(form.contains(&format!("<option value=\"{number}\" selected>")), "{form}");
    let health = server.call("GET", "/api/health", "").await.json();
    let checks = health["Checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["Name"] == "tokens").unwrap();
    assert_eq!(check["Status"], "warning", "{check}");
    let metrics = server.call("GET", "/metrics", "").await.body;
    assert!(metrics.contains("licence_tokens{state=\"blank\"} 1\n"), "{metrics}");
    assert!(metrics.contains("licence_token_troubles 1\n"), "{metrics}");
}

#[tokio::test]
async fn object_key_in_a_licence_on_a_token_opens_where_it_was_made_for_and_is_asked_for_elsewhere()
{
    let (bus, token) = (Bus::default(), SoftToken::make());
    let made_for = |server: [u8; 32]| {
        let series = support::series_key();
        let document = licence(token.key(), 5, 1);
        let plain =
            licence_core::licence_file::Licence::verify(&document, &series.public()).unwrap();
        let context = licence_core::licence_file::LicenceClaims::object_key_context(
            plain.fields().key_id,
            &plain.claims.jti,
            &plain.holder,
        );
        let own = licenceserver::identity::Identity::from_seed(server);
        let mut claims = plain.claims;
        let wrapped = licence_core::wrap::wrap(
            own.wrap_key().public(),
            licence_core::licence_file::SERIES_KEY_PURPOSE,
            &context,
            &support::OBJECT_SECRET,
            [7; 32],
        );
        claims.object_key = Some(wrapped.unwrap());
        claims.sign(&series).unwrap()
    };
    token.put(&made_for(ONE));
    bus.plug(1, &token);
    let one = start(ONE, AT_ONCE, &bus, None);
    let two = start(TWO, AT_ONCE, &bus, None);
    let hint = "update the licences to open protected objects on this server";
    for (server, is_closed) in [(&one, false), (&two, true)] {
        look(server).await;
        let page = server.call("GET", "/keys/5", "").await.body;
        assert_eq!(page.contains(hint), is_closed, "{page}");
        assert_eq!(key(server, 5).await["Enabled"], true);
    }
    // The centre's licence for this server is no later, and taken all the same.
    let body = json!({ "Answer": made_for(TWO) }).to_string();
    assert_eq!(two.call("POST", "/api/licences/answer", &body).await.status, 201);
    let page = two.call("GET", "/keys/5", "").await.body;
    assert!(!page.contains(hint), "{page}");
}
