//! The reserve for session keys: two real servers, one of them behind a wire that can be cut.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod ismp_service;
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use ismp_service::{Service, signature};
use licenceserver::ismp::replica::{Pace, Replica, Standing, pull};
use licenceserver::{clock, net, tls};
use serde_json::{Value, json};
use support::{Answered, LOCAL, Server, basic, start_as};
use tokio::net::{TcpListener, TcpStream};

const INN: &str = "7707083893";
const MAIN_SEED: [u8; 32] = [21; 32];
const RESERVE_SEED: [u8; 32] = [22; 32];

/// Nobody waits so long in a test.
const NEVER: Duration = Duration::from_secs(100_000);

fn conf(service: &Service, more: &str) -> String {
    format!(
        "[Console]\nPassword=other\n[ISMP]\nEnabled=1\n{more}\n[ISMPContours]\nproduction={}\n",
        service.url()
    )
}

async fn ask(server: &Server, method: &str, path: &str, body: &Value) -> Answered {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let builder = Request::builder().method(method).uri(path);
    let builder = builder.header("Authorization", basic("admin:other"));
    let request: Request<Full<Bytes>> = builder.body(Full::from(text)).unwrap();
    server.send(LOCAL, request).await
}

async fn post(server: &Server, path: &str, body: &Value) -> Value {
    let answer = ask(server, "POST", &format!("/api/ismp/{path}"), body).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

fn suz(object: &str) -> Value {
    json!({"TokenType": "SUZ", "Organization": INN, "ProductionObject": object})
}

async fn current(server: &Server, object: &str) -> Option<String> {
    let path = format!("/api/ismp/token?Type=SUZ&Organization={INN}&ProductionObject={object}");
    let answer = ask(server, "GET", &path, &Value::Null).await;
    (answer.status == 200).then(|| answer.json()["SessionKey"].as_str().unwrap().to_owned())
}

async fn challenge(server: &Server, object: &str) -> Value {
    let answer = post(server, "refresh/challenge", &suz(object)).await;
    assert_eq!(answer["ErrorText"], "", "{answer}");
    answer["AuthorizationParameters"].clone()
}

async fn complete(server: &Server, object: &str, challenge: &Value) -> String {
    let body = json!({
        "RequestParameters": suz(object),
        "AuthorizationParameters": challenge,
        "SignatureProperties": {"Signature": signature(challenge["Data"].as_str().unwrap())},
    });
    let done = post(server, "refresh/complete", &body).await;
    done["SessionKeyParameters"]["SessionKey"]
        .as_str()
        .unwrap_or_else(|| panic!("{done}"))
        .to_owned()
}

async fn sign_in(server: &Server, object: &str) -> String {
    let challenge = challenge(server, object).await;
    complete(server, object, &challenge).await
}

async fn put(server: &Server, object: &str, key: &str) -> Answered {
    let body = json!({
        "RequestParameters": suz(object),
        "SessionKeyParameters": {"SessionKey": key, "ValidUntil": "2099-01-01T00:00:00Z"},
    });
    ask(server, "PUT", "/api/ismp/token", &body).await
}

/// A wire to a server that can be cut: then every connection ends as soon as it has begun.
struct Wire {
    address: SocketAddr,
    is_whole: Arc<AtomicBool>,
}

impl Wire {
    async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let is_whole = Arc::new(AtomicBool::new(true));
        let own = Arc::clone(&is_whole);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                if !own.load(Ordering::SeqCst) {
                    continue;
                }
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    let _may_be_reset = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { address, is_whole }
    }

    fn set(&self, is_whole: bool) {
        self.is_whole.store(is_whole, Ordering::SeqCst);
    }
}

/// A token of this scope at a server.
async fn token(server: &Server, scope: &str) -> String {
    let made =
        ask(server, "POST", "/api/tokens", &json!({"Name": "reserve", "Scope": scope})).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.json()["Token"].as_str().unwrap().to_owned()
}

struct Pair {
    main: Server,
    reserve: Server,
    wire: Wire,
    service: Service,
}

impl Pair {
    /// A main server and its reserve, which acts on its own after this time.
    async fn start(take_over: Duration) -> Self {
        let service = Service::start();
        let main = start_as(MAIN_SEED, &conf(&service, ""), None, &[]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wire = Wire::to(listener.local_addr().unwrap()).await;
        let config = tls::server_config(&main.identity, &["test".to_owned()]).unwrap();
        tokio::spawn(net::serve(listener, config, Arc::clone(&main.app), std::future::pending()));
        let token = token(&main, "ismp").await;
        let pin = main.app.certificates.pin().unwrap();
        let reserve = reserve(&service, &wire, &pin, &token, take_over);
        Self { main, reserve, wire, service }
    }

    async fn cut(&self) {
        self.wire.set(false);
        pull(&self.reserve.app).await;
    }

    async fn mend(&self) {
        self.wire.set(true);
        pull(&self.reserve.app).await;
        assert_eq!(self.standing(), Standing::Following);
    }

    fn standing(&self) -> Standing {
        standing(&self.reserve)
    }

    fn alone_file(&self) -> bool {
        self.reserve.app.paths.ismp_alone().exists()
    }
}

fn reserve(service: &Service, wire: &Wire, pin: &str, token: &str, take_over: Duration) -> Server {
    let more = format!("Main=https://{}\nMainPin={pin}\nMainToken={token}", wire.address);
    let mut reserve = start_as(RESERVE_SEED, &conf(service, &more), None, &[]);
    set_pace(&mut reserve, take_over);
    reserve
}

/// Begins anew, as after a restart.
fn set_pace(server: &mut Server, take_over: Duration) {
    let pace = Pace { poll: NEVER, take_over };
    let file = server.app.paths.ismp_alone();
    let app = Arc::get_mut(&mut server.app).unwrap();
    app.ismp_replica = Replica::new(file, pace, clock::mono()).unwrap();
}

fn standing(server: &Server) -> Standing {
    server.app.ismp_replica.standing(&server.app.settings.get())
}

#[tokio::test(flavor = "multi_thread")]
async fn reserve_reads_from_its_copy_and_has_the_main_server_do_the_rest() {
    let pair = Pair::start(NEVER).await;
    assert_eq!(sign_in(&pair.main, "one").await, "key-1");
    assert_eq!(current(&pair.reserve, "one").await, None, "it has not looked yet");
    pull(&pair.reserve.app).await;
    assert_eq!(pair.standing(), Standing::Following);
    assert_eq!(current(&pair.reserve, "one").await.as_deref(), Some("key-1"));
    // Through the reserve, and both have it at once.
    assert_eq!(sign_in(&pair.reserve, "two").await, "key-2");
    for server in [&pair.main, &pair.reserve] {
        assert_eq!(current(server, "two").await.as_deref(), Some("key-2"));
    }
    assert_eq!(pair.service.sign_ins(), 2);
    assert_eq!(put(&pair.reserve, "three", "typed").await.status, 202);
    assert_eq!(current(&pair.main, "three").await.as_deref(), Some("typed"));
    let rejected = json!({"RequestParameters": suz("three"), "SessionKey": "typed"});
    assert_eq!(post(&pair.reserve, "token/reject", &rejected).await["Removed"], true);
    for server in [&pair.main, &pair.reserve] {
        assert_eq!(current(server, "three").await, None);
    }
    // Who asked the reserve is who is shown at the main server.
    let mut asked = suz("four");
    asked["User"] = "Анна".into();
    let first = post(&pair.reserve, "refresh/challenge", &asked).await;
    assert_eq!(first["ErrorText"], "", "{first}");
    let busy = post(&pair.main, "refresh/challenge", &suz("four")).await;
    assert!(busy["ErrorText"].as_str().unwrap().contains("Анна"), "{busy}");
    let id = first["AuthorizationParameters"]["Id"].as_str().unwrap();
    let cancel = format!("/api/ismp/refresh/{id}");
    assert_eq!(ask(&pair.reserve, "DELETE", &cancel, &Value::Null).await.status, 202);
    // A wrong request is refused by the main server, and passed on as it is.
    let wrong = ask(&pair.reserve, "POST", "/api/ismp/refresh/challenge", &json!({})).await;
    assert_eq!((wrong.status, &wrong.json()["Exception"]), (400, &json!("EParams")), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reserve_that_waits_reads_and_changes_nothing() {
    let pair = Pair::start(NEVER).await;
    sign_in(&pair.main, "one").await;
    pull(&pair.reserve.app).await;
    pair.cut().await;
    assert!(matches!(pair.standing(), Standing::Waiting(_)), "{:?}", pair.standing());
    assert_eq!(current(&pair.reserve, "one").await.as_deref(), Some("key-1"));
    let fresh = post(&pair.reserve, "refresh/required", &suz("one")).await;
    assert_eq!((&fresh["Required"], &fresh["Reason"]), (&json!(false), &json!("fresh")));
    for (method, path, body, status, class) in [
        ("POST", "refresh/required", suz("two"), 503, "EIsmpMainLost"),
        ("POST", "refresh/challenge", suz("two"), 503, "EIsmpMainLost"),
        ("PUT", "settings", json!({"Organizations": []}), 409, "EIsmpReserve"),
        ("POST", "responsible", json!({"People": [{"User": "a"}]}), 409, "EIsmpReserve"),
        ("DELETE", "responsible/1", Value::Null, 409, "EIsmpReserve"),
        ("GET", "replica", Value::Null, 409, "EIsmpReserve"),
    ] {
        let answer = ask(&pair.reserve, method, &format!("/api/ismp/{path}"), &body).await;
        assert_eq!((answer.status, &answer.json()["Exception"]), (status, &json!(class)), "{path}");
        let has_pause = answer.headers.contains_key("retry-after");
        assert_eq!(has_pause, status == 503, "{path}: {answer:?}");
    }
    assert_eq!(pair.service.sign_ins(), 1);
    assert!(!pair.alone_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_to_a_reserve_alone_goes_home_and_what_was_deleted_meanwhile_goes() {
    let mut pair = Pair::start(Duration::ZERO).await;
    sign_in(&pair.main, "one").await;
    put(&pair.main, "gone", "old").await;
    pull(&pair.reserve.app).await;
    pair.cut().await;
    assert_eq!(pair.standing(), Standing::Alone);
    assert_eq!(sign_in(&pair.reserve, "one").await, "key-2");
    assert_eq!(sign_in(&pair.reserve, "two").await, "key-3");
    assert!(pair.alone_file());
    // A restart of the reserve does not forget that these are its own.
    set_pace(&mut pair.reserve, Duration::ZERO);
    pull(&pair.reserve.app).await;
    let gone = format!("/api/ismp/token?Type=SUZ&Organization={INN}&ProductionObject=gone");
    assert_eq!(ask(&pair.main, "DELETE", &gone, &Value::Null).await.status, 202);
    pair.mend().await;
    for server in [&pair.main, &pair.reserve] {
        assert_eq!(current(server, "one").await.as_deref(), Some("key-2"));
        assert_eq!(current(server, "two").await.as_deref(), Some("key-3"));
        assert_eq!(current(server, "gone").await, None);
    }
    assert!(!pair.alone_file());
    let events = ask(&pair.main, "GET", "/api/events?Kind=audit", &Value::Null).await.body;
    assert!(events.contains("ismp_replica") && !events.contains("key-2"), "{events}");
    // From here on what the main server deletes goes here too.
    let one = gone.replace("gone", "one");
    assert_eq!(ask(&pair.main, "DELETE", &one, &Value::Null).await.status, 202);
    pull(&pair.reserve.app).await;
    assert_eq!(current(&pair.reserve, "one").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn challenge_of_a_reserve_alone_is_exchanged_there_after_the_main_server_is_back() {
    let pair = Pair::start(Duration::ZERO).await;
    pair.cut().await;
    let own = challenge(&pair.reserve, "one").await;
    pair.mend().await;
    assert!(pair.alone_file(), "its signature may still come");
    assert_eq!(complete(&pair.reserve, "one", &own).await, "key-1");
    assert_eq!(current(&pair.main, "one").await, None);
    pull(&pair.reserve.app).await;
    assert_eq!(current(&pair.main, "one").await.as_deref(), Some("key-1"));
    // And new ones are the main server's.
    challenge(&pair.reserve, "two").await;
    let busy = post(&pair.main, "refresh/challenge", &suz("two")).await;
    assert_ne!(busy["ErrorText"], "", "{busy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reserve_alone_looks_once_more_before_it_gives_out_a_challenge() {
    let pair = Pair::start(Duration::ZERO).await;
    pair.cut().await;
    assert_eq!(pair.standing(), Standing::Alone);
    pair.wire.set(true);
    challenge(&pair.reserve, "one").await;
    let busy = post(&pair.main, "refresh/challenge", &suz("one")).await;
    assert_ne!(busy["ErrorText"], "", "the main server has given it out: {busy}");
    assert!(!pair.alone_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_organisations_are_followed_and_reminders_come_from_the_copy() {
    let pair = Pair::start(NEVER).await;
    let organizations = json!({"Organizations": [{"INN": INN, "Name": "Ромашка"}]});
    let put = ask(&pair.main, "PUT", "/api/ismp/settings", &organizations).await;
    assert_eq!(put.status, 202, "{put:?}");
    let rule = json!({"TokenType": "ISMP", "People": [{"User": "Анна", "NotifySecs": 600}]});
    assert_eq!(ask(&pair.main, "POST", "/api/ismp/responsible", &rule).await.status, 201);
    pull(&pair.reserve.app).await;
    pair.cut().await;
    let path = "/api/ismp/responsible/settings?User=%D0%90%D0%BD%D0%BD%D0%B0";
    let settings = ask(&pair.reserve, "GET", path, &Value::Null).await.json();
    assert_eq!(
        (&settings[0]["Organization"], &settings[0]["NotifySecs"]),
        (&json!(INN), &json!(600))
    );
    let asked = json!({"User": "Анна", "Settings": settings});
    let reminders = post(&pair.reserve, "reminders", &asked).await;
    assert_eq!(reminders[0]["NeedsRefresh"], true, "{reminders}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reserve_gets_nothing_from_a_server_of_another_key_or_with_another_token() {
    let pair = Pair::start(NEVER).await;
    sign_in(&pair.main, "one").await;
    let (service, wire) = (&pair.service, &pair.wire);
    let pin = pair.main.app.certificates.pin().unwrap();
    let other_pin = pair.reserve.app.certificates.pin().unwrap();
    assert_ne!(pin, other_pin);
    let good = token(&pair.main, "ismp").await;
    let metrics = token(&pair.main, "metrics").await;
    for (what, pin, token, told) in [
        ("another key", &other_pin, &good, "TLS"),
        ("another scope", &pin, &metrics, "ERole"),
        ("no token of it", &pin, &"lic_none".to_owned(), "EHTTPUnauthorized"),
    ] {
        let reserve = reserve(service, wire, pin, token, NEVER);
        pull(&reserve.app).await;
        assert!(matches!(standing(&reserve), Standing::Waiting(_)), "{what}");
        let failure = reserve.app.ismp_replica.failure().unwrap();
        assert!(failure.contains(told), "{what}: {failure}");
        assert!(!failure.contains(token.as_str()), "{what}: {failure}");
        assert_eq!(current(&reserve, "one").await, None, "{what}");
        let scrape = ask(&reserve, "GET", "/metrics", &Value::Null).await.body;
        assert!(scrape.contains("licence_ismp_replica_age_seconds "), "{scrape}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn book_is_told_once_and_a_record_of_the_future_does_not_win_for_ever() {
    let service = Service::start();
    let main = start_as(MAIN_SEED, &conf(&service, ""), None, &[]);
    sign_in(&main, "one").await;
    let first = ask(&main, "GET", "/api/ismp/replica", &Value::Null).await.json();
    let record = &first["Book"]["Records"][0];
    assert_eq!(record["Sealed"], "key-1");
    let (instance, generation) = (first["Instance"].as_str().unwrap(), &first["Generation"]);
    let again = format!("/api/ismp/replica?Instance={instance}&Since={generation}");
    assert!(ask(&main, "GET", &again, &Value::Null).await.json()["Book"].is_null());
    for other in ["Instance=x&Since=1", "Since=1", "Instance=x"] {
        let other = format!("/api/ismp/replica?{other}");
        assert!(!ask(&main, "GET", &other, &Value::Null).await.json()["Book"].is_null(), "{other}");
    }
    let mut late = record.clone();
    late["Sealed"] = "from-the-future".into();
    late["Obtained"] = "2099-01-01T00:00:00Z".into();
    let given = ask(&main, "PUT", "/api/ismp/replica", &json!({"Records": [late]})).await;
    assert_eq!((given.status, &given.json()["Taken"]), (202, &json!(1)));
    assert_eq!(sign_in(&main, "one").await, "key-2");
    assert_eq!(current(&main, "one").await.as_deref(), Some("key-2"));
    let many = json!({"Records": vec![record.clone(); 13]});
    for body in [many, json!({}), json!({"Records": [{"Sealed": "x"}]})] {
        let answer = ask(&main, "PUT", "/api/ismp/replica", &body).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(!answer.body.contains("key-1"), "{answer:?}");
    }
    let unknown = json!({"Function": "Format"});
    let answer = ask(&main, "POST", "/api/ismp/replica", &unknown).await;
    assert_eq!(answer.status, 400, "{answer:?}");
}
