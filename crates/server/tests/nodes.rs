//! Sessions of all nodes, told by any of them: real servers that reach one another over real TLS, and what
//! lies in etcd put into their hands. A real etcd has its scene in `xtask/tests/cluster.rs`.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

#[expect(dead_code, reason = "some of its parts are for the document as a whole")]
mod checks_of_schemas;
mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use checks_of_schemas::Document;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use licence_core::cluster::pass::Pass;
use licence_core::cluster::record::Member;
use licence_core::cluster::{ClusterId, NodeId, Standing};
use licence_core::key::KeyNo;
use licence_core::licence_file::{Licence, LicenceClaims};
use licence_core::seal::SigningKey;
use licence_core::session::SessionId;
use licence_core::time::Utc;
use licenceserver::api::Peer;
use licenceserver::cluster::State;
use licenceserver::cluster::peers::Peers;
use licenceserver::cluster::picture::Contents;
use licenceserver::{clock, net, tls};
use serde_json::Value;
use support::{Answered, LOCAL, LOCAL_TLS, Server, basic, descriptor, start, start_as};
use tokio::net::TcpListener;
use tokio::sync::watch;

const CLUSTER: ClusterId = ClusterId::from_bytes([7; 16]);
const NAMES: [&str; 3] = ["east", "north", "west"];
const CONF: &str = "[Users]\nolga=operator;olga password\nivan=reader;ivan password\n";

/// Three servers that know one another.
struct Site {
    servers: Vec<Server>,
    seen: Vec<watch::Sender<Arc<State>>>,
    contents: Contents,
}

fn seed(at: usize) -> [u8; 32] {
    [u8::try_from(at).unwrap() + 40; 32]
}

fn key(at: usize) -> SigningKey {
    SigningKey::from_seed(&seed(at))
}

fn id(at: usize) -> NodeId {
    NodeId::of(&key(at).public())
}

fn state(me: NodeId, contents: &Contents) -> Arc<State> {
    Arc::new(State {
        cluster: CLUSTER,
        me,
        standing: Standing::Joined,
        contents: Arc::new(contents.clone()),
        answered: None,
        renewal_millis: None,
        problem: None,
    })
}

impl Site {
    async fn start() -> Self {
        let mut members = BTreeMap::new();
        let (mut servers, mut seen) = (Vec::new(), Vec::new());
        for (at, name) in NAMES.iter().enumerate() {
            let keys = [(7_131_766, 5)];
            let mut server = start_as(seed(at), CONF, Some(&descriptor(None)), &keys);
            let (sender, receiver) = watch::channel(state(id(at), &Contents::default()));
            let peers = Peers::new(Arc::clone(server.identity.key()), receiver);
            Arc::get_mut(&mut server.app).unwrap().peers = Some(peers);
            let address = listen(&server).await;
            members.insert(
                id(at),
                Member {
                    name: (*name).to_owned(),
                    key: key(at).public().jwk(),
                    addresses: vec![address.to_string()],
                    joined: clock::utc(),
                },
            );
            servers.push(server);
            seen.push(sender);
        }
        let mut site =
            Self { servers, seen, contents: Contents { members, ..Contents::default() } };
        site.tell(|_| {});
        site
    }

    /// Changes what lies in etcd; all see it.
    fn tell(&mut self, change: impl FnOnce(&mut BTreeMap<NodeId, Member>)) {
        change(&mut self.contents.members);
        for (at, seen) in self.seen.iter().enumerate() {
            seen.send_replace(state(id(at), &self.contents));
        }
    }

    /// Has the address of a node lead elsewhere.
    fn lead(&mut self, at: usize, addresses: &[SocketAddr]) {
        let addresses = addresses.iter().map(SocketAddr::to_string).collect();
        self.tell(|members| members.get_mut(&id(at)).unwrap().addresses = addresses);
    }

    async fn open(&self, at: usize, numbers: &[u32]) -> Vec<String> {
        let connection = self.servers[at].connect().await;
        let mut ids = Vec::new();
        for number in numbers {
            let opened = self.servers[at].open(&connection, *number).await;
            assert_eq!(opened.status, 200, "{opened:?}");
            ids.push(opened.json()["ID"].as_str().unwrap().to_owned());
        }
        ids
    }

    async fn view(&self, at: usize) -> Value {
        let answer = self.servers[at].call("GET", "/api/cluster/sessions", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }
}

async fn listen(server: &Server) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = tls::server_config(&server.identity, &["test".to_owned()]).unwrap();
    tokio::spawn(net::serve(listener, config, Arc::clone(&server.app), std::future::pending()));
    address
}

async fn as_user(server: &Server, pair: &str, method: &str, path: &str, body: &str) -> Answered {
    let builder = Request::builder().method(method).uri(path).header("Accept-Language", "en");
    let request = builder.header("Authorization", basic(pair)).body(Full::from(body.to_owned()));
    server.send(LOCAL, request.unwrap()).await
}

/// Node and number of each session.
fn shown(view: &Value) -> Vec<(String, String)> {
    let sessions = view["Sessions"].as_array().unwrap();
    let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    let mut shown: Vec<_> =
        sessions.iter().map(|one| (text(one, "Node"), text(one, "SessionNumber"))).collect();
    shown.sort();
    shown
}

fn pairs(wanted: &[(&str, &str)]) -> Vec<(String, String)> {
    wanted.iter().map(|(node, number)| ((*node).to_owned(), (*number).to_owned())).collect()
}

/// Holds an answer against the published document.
fn documented(method: &str, path: &str, answer: &Answered) {
    let document = Document::read();
    let answers = &document.operation(path, method)["responses"];
    let published = document.resolved(&answers[answer.status.to_string()]);
    let schema = &published["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{method} {path} {}: {published}", answer.status);
    let faults = document.faults(schema, &answer.json());
    assert!(faults.is_empty(), "{method} {path}: {faults:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_shows_the_sessions_of_all() {
    let site = Site::start().await;
    site.open(0, &[1, 2]).await;
    site.open(1, &[3]).await;
    let all = pairs(&[("east", "1"), ("east", "2"), ("north", "3")]);
    for (at, server) in site.servers.iter().enumerate() {
        let view = site.view(at).await;
        assert_eq!(shown(&view), all, "{view}");
        assert_eq!((&view["Missing"], &view["Cut"]), (&Value::from([0; 0]), &Value::from([0; 0])));
        // The members of the list of one server are all there.
        let own = server.call("GET", "/api/sessions", "").await.json();
        for session in own["Sessions"].as_array().unwrap() {
            let same = |one: &&Value| one["ID"] == session["ID"];
            let found = view["Sessions"].as_array().unwrap().iter().find(same).unwrap();
            assert_eq!(found["NodeId"], id(at).to_string());
            for (name, value) in session.as_object().unwrap() {
                let moves = name == "ExpireTime";
                assert!(moves || found[name] == *value, "{name}: {found}");
            }
        }
    }
    let of_another = site.servers[2].call("GET", "/api/cluster/sessions?KeyID=1234", "").await;
    assert_eq!(shown(&of_another.json()), pairs(&[]));
    documented("GET", "/api/cluster/sessions", &of_another);
    let wrong = site.servers[2].call("GET", "/api/cluster/sessions?KeyID=x", "").await;
    assert_eq!(wrong.status, 400);
    let nobody = Request::get("/api/cluster/sessions").body(Full::<Bytes>::default()).unwrap();
    assert_eq!(site.servers[2].send(LOCAL, nobody).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_does_not_answer_is_named_with_its_reason_and_holds_nobody_up() {
    let mut site = Site::start().await;
    site.open(0, &[1]).await;
    site.open(1, &[2]).await;
    // The system takes the connection, and then nobody says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let begun = clock::mono();
    site.lead(1, &[silent.local_addr().unwrap()]);
    let answer = site.servers[0].call("GET", "/api/cluster/sessions", "").await;
    let took = clock::mono().since(begun);
    assert!(took < Duration::from_secs(4), "{took:?}");
    documented("GET", "/api/cluster/sessions", &answer);
    let view = answer.json();
    assert_eq!(shown(&view), pairs(&[("east", "1")]), "{view}");
    let missing = &view["Missing"];
    assert_eq!((&missing[0]["Node"], missing.as_array().unwrap().len()), (&"north".into(), 1));
    assert_eq!(missing[0]["NodeId"], id(1).to_string());
    let why = |view: &Value| view["Missing"][0]["Why"].as_str().unwrap_or_default().to_owned();
    assert_eq!(why(&view), "it does not answer in time");
    let mut russian = support::request("GET", "/api/cluster/sessions", "");
    russian.headers_mut().insert("accept-language", "ru".parse().unwrap());
    assert_eq!(why(&site.servers[0].send(LOCAL, russian).await.json()), "не ответил вовремя");

    // Another licence server where the node should be: it proves another key and sees no pass.
    let impostor = start("");
    let there = listen(&impostor).await;
    site.lead(1, &[there]);
    let refused = why(&site.view(0).await);
    assert!(refused.contains("not the one in etcd"), "{refused}");
    let nobody_knows = [SocketAddr::from(([127, 0, 0, 1], 9))];
    site.lead(1, &nobody_knows);
    assert!(why(&site.view(0).await).contains("cannot be reached"));
    site.lead(1, &[]);
    assert!(why(&site.view(0).await).contains("etcd"));

    // Of several addresses the one that leads there is found.
    let real = listen(&site.servers[1]).await;
    site.lead(1, &[nobody_knows[0], there, real]);
    let view = site.view(0).await;
    assert_eq!(shown(&view), pairs(&[("east", "1"), ("north", "2")]), "{view}");

    // A member that the others do not know any more is asked by nobody and answered by nobody.
    site.tell(|members| drop(members.remove(&id(2))));
    let view = site.view(0).await;
    assert_eq!(view["Missing"], Value::from([0; 0]), "{view}");
    let view = site.view(2).await;
    assert_eq!(view["Missing"].as_array().unwrap().len(), 2, "{view}");
    assert!(why(&view).contains("EClusterPass"), "{view}");
}

#[tokio::test(flavor = "multi_thread")]
async fn session_is_ended_at_another_node_which_names_who_asked_and_by_which_node() {
    let site = Site::start().await;
    let ids = site.open(1, &[1, 2]).await;
    let (here, there) = (&site.servers[0], &site.servers[1]);
    let path = format!("/api/cluster/sessions/north/{}", ids[0]);
    let one = as_user(here, "ivan:ivan password", "GET", &path, "").await;
    assert_eq!((one.status, &one.json()["SessionNumber"]), (200, &"1".into()), "{one:?}");
    documented("GET", "/api/cluster/sessions/{Node}/{ID}", &one);
    let reader = as_user(here, "ivan:ivan password", "DELETE", &path, "").await;
    assert_eq!(reader.status, 403, "{reader:?}");
    assert_eq!(shown(&site.view(2).await).len(), 2);

    let body = r#"{"Reason":"left open"}"#;
    let ended = as_user(here, "olga:olga password", "DELETE", &path, body).await;
    assert_eq!(ended.status, 202, "{ended:?}");
    assert_eq!(
        (&ended.json()["Node"], &ended.json()["ID"]),
        (&"north".into(), &ids[0].as_str().into())
    );
    documented("DELETE", "/api/cluster/sessions/{Node}/{ID}", &ended);
    assert_eq!(shown(&site.view(2).await), pairs(&[("north", "2")]));
    let line = |server: &Value| {
        let events = server["Events"].as_array().unwrap().clone();
        let is_end = |one: &Value| one["Reason"].as_str().unwrap_or("").starts_with("session_end");
        events.into_iter().find(|one| is_end(one)).unwrap().to_string()
    };
    let at_there = line(&there.call("GET", "/api/events?Kind=audit", "").await.json());
    for part in ["olga@east", "left open", "127.0.0.1", &ids[0]] {
        assert!(at_there.contains(part), "{part}: {at_there}");
    }
    let at_here = line(&here.call("GET", "/api/events?Kind=audit", "").await.json());
    for part in ["session_end_at", "olga", "north: left open", &ids[0]] {
        assert!(at_here.contains(part), "{part}: {at_here}");
    }

    // Again: it is gone. By the id of the node, and at the node itself.
    for node in ["north", &id(1).to_string()] {
        let path = format!("/api/cluster/sessions/{node}/{}", ids[0]);
        for server in [here, there] {
            let gone = as_user(server, "olga:olga password", "DELETE", &path, "").await;
            assert_eq!(gone.status, 404, "{gone:?}");
            assert!(gone.body.contains("ESessionNotFound"), "{gone:?}");
        }
    }
    let nowhere = format!("/api/cluster/sessions/south/{}", ids[1]);
    let unknown = as_user(here, "olga:olga password", "DELETE", &nowhere, "").await;
    assert_eq!((unknown.status, &unknown.json()["Exception"]), (404, &"EClusterNode".into()));
    let own = format!("/api/cluster/sessions/north/{}", ids[1]);
    let own = as_user(there, "olga:olga password", "DELETE", &own, "").await;
    assert_eq!(own.status, 202, "{own:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_all_nodes_are_told_newest_first_with_their_nodes() {
    let mut site = Site::start().await;
    site.open(0, &[1]).await;
    site.open(1, &[2]).await;
    site.open(0, &[3]).await;
    let path = "/api/cluster/events?Kind=session_opened";
    for server in &site.servers {
        let answer = server.call("GET", path, "").await;
        documented("GET", "/api/cluster/events", &answer);
        let view = answer.json();
        let events = view["Events"].as_array().unwrap();
        let told: Vec<_> = events.iter().map(|one| one["Node"].as_str().unwrap()).collect();
        assert_eq!((told, &view["More"]), (vec!["east", "north", "east"], &false.into()), "{view}");
        let times: Vec<_> = events.iter().map(|one| one["Time"].as_str().unwrap()).collect();
        assert!(times.is_sorted_by(|later, earlier| later >= earlier), "{times:?}");
    }
    let some = site.servers[2].call("GET", &format!("{path}&Limit=2"), "").await.json();
    assert_eq!((some["Events"].as_array().unwrap().len(), &some["More"]), (2, &true.into()));
    let wrong = site.servers[2].call("GET", "/api/cluster/events?Kind=nothing", "").await;
    assert_eq!(wrong.status, 400);
    site.lead(1, &[]);
    let view = site.servers[2].call("GET", path, "").await.json();
    assert_eq!(
        (view["Events"].as_array().unwrap().len(), &view["Missing"][0]["Node"]),
        (2, &"north".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn end_at_a_node_that_does_not_answer_says_whether_anything_was_done() {
    let mut site = Site::start().await;
    let ids = site.open(1, &[1]).await;
    let path = format!("/api/cluster/sessions/north/{}", ids[0]);
    site.lead(1, &[SocketAddr::from(([127, 0, 0, 1], 9))]);
    let refused = as_user(&site.servers[0], "olga:olga password", "DELETE", &path, "").await;
    assert_eq!((refused.status, &refused.json()["Exception"]), (503, &"EClusterNode".into()));
    assert!(refused.body.contains("Nothing was done"), "{refused:?}");
    documented("DELETE", "/api/cluster/sessions/{Node}/{ID}", &refused);
    assert_eq!(
        site.servers[1].call("GET", "/api/sessions", "").await.json()["Sessions"][0]["ID"],
        *ids[0]
    );
}

fn passing(pass: &str, method: &str, path: &str) -> Request<Full<Bytes>> {
    let builder = Request::builder().method(method).uri(path).header("Accept-Language", "en");
    builder.header("Authorization", format!("Bearer {pass}")).body(Full::default()).unwrap()
}

#[tokio::test]
async fn only_a_pass_for_this_node_and_request_opens_an_address_of_nodes() {
    const PATH: &str = "/api/cluster/peer/sessions";
    let site = Site::start().await;
    let server = &site.servers[1];
    let pass = |from: usize, to: usize, by: usize, at: Utc| {
        Pass::new(id(from), id(to), CLUSTER, ("GET", PATH)).by("olga", at).sign(&key(by)).unwrap()
    };
    let now = clock::utc();
    let good = pass(0, 1, 0, now);
    let elsewhere = Peer { ip: [10, 0, 0, 7].into(), is_tls: true };
    for peer in [LOCAL_TLS, elsewhere] {
        let answer = server.send(peer, passing(&good, "GET", PATH)).await;
        assert_eq!((answer.status, &answer.json()["Total"]), (200, &Value::from(0)), "{answer:?}");
    }
    let strange = Pass::new(id(9), id(1), CLUSTER, ("GET", PATH)).by("", now);
    let strange = strange.sign(&key(9)).unwrap();
    let other = ClusterId::from_bytes([8; 16]);
    let other = Pass::new(id(0), id(1), other, ("GET", PATH)).by("", now).sign(&key(0)).unwrap();
    let over = pass(0, 1, 0, now.plus_millis(-200_000));
    let to_end = format!("{PATH}/00");
    for (pass, method, path, status, said) in [
        (&pass(0, 2, 0, now), "GET", PATH, 403, "for another node"),
        (&other, "GET", PATH, 403, "another cluster"),
        (&good, "DELETE", &*to_end, 403, "another request"),
        (&good, "GET", &*to_end, 403, "another request"),
        (&pass(0, 1, 2, now), "GET", PATH, 401, "not genuine"),
        (&strange, "GET", PATH, 401, "no member"),
        (&over, "GET", PATH, 401, "term"),
        (&"lic_made_up".to_owned(), "GET", PATH, 401, "not genuine"),
    ] {
        let answer = server.send(LOCAL_TLS, passing(pass, method, path)).await;
        let told = format!("{said}: {answer:?}");
        assert_eq!(
            (answer.status, &answer.json()["Exception"]),
            (status, &"EClusterPass".into()),
            "{told}"
        );
        assert!(answer.body.contains(said), "{told}");
    }
    // A password, also the administrator's, is no pass.
    let mut known = support::request("GET", PATH, "");
    assert_eq!(server.send(LOCAL_TLS, known.clone()).await.status, 401);
    known.headers_mut().remove("authorization");
    assert_eq!(server.send(LOCAL_TLS, known).await.status, 401);
    let plain = server.send(LOCAL, passing(&good, "GET", PATH)).await;
    assert_eq!(plain.status, 403, "{plain:?}");
    // And a pass is no password.
    for path in ["/api/sessions", "/api/cluster/sessions", "/metrics"] {
        let answer = server.send(LOCAL_TLS, passing(&good, "GET", path)).await;
        assert_eq!(answer.status, 401, "{path}: {answer:?}");
    }
    let alone = start("");
    let answer = alone.send(LOCAL_TLS, passing(&good, "GET", PATH)).await;
    assert_eq!((answer.status, &answer.json()["Exception"]), (404, &"EClusterAlone".into()));
}

#[tokio::test]
async fn sessions_that_do_not_fit_are_counted_and_not_told() {
    const PATH: &str = "/api/cluster/peer/sessions";
    let site = Site::start().await;
    site.open(1, &[1, 2, 3]).await;
    let pass = Pass::new(id(0), id(1), CLUSTER, ("GET", PATH)).by("", clock::utc());
    let pass = pass.sign(&key(0)).unwrap();
    for (bytes, told) in [(10_000, 3), (700, 1), (10, 0)] {
        let path = format!("{PATH}?Bytes={bytes}");
        let answer = site.servers[1].send(LOCAL_TLS, passing(&pass, "GET", &path)).await.json();
        let sessions = answer["Sessions"].as_array().unwrap().len();
        assert_eq!((sessions, &answer["Total"]), (told, &Value::from(3)), "{answer}");
    }
}

async fn page(server: &Server, path: &str, language: &str) -> Answered {
    let request = Request::get(path)
        .header("Accept-Language", language)
        .header("Accept", "text/html")
        .header("Authorization", basic("olga:olga password"))
        .body(Full::default())
        .unwrap();
    server.send(LOCAL, request).await
}

/// Sends the form of a page that gives a reason, as a browser that was shown the page.
async fn post_reason(server: &Server, shown: &Answered, path: &str, reason: &str) -> Answered {
    let cookie = shown.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap();
    let csrf = shown.body.split("name=\"csrf\" value=\"").nth(1).unwrap();
    let csrf = csrf.split('"').next().unwrap();
    let request = Request::post(path)
        .header("Accept-Language", "en")
        .header("Authorization", basic("olga:olga password"))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Cookie", cookie)
        .header("Sec-Fetch-Site", "same-origin")
        .body(Full::from(format!("csrf={csrf}&reason={reason}")))
        .unwrap();
    server.send(LOCAL, request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn console_lists_the_events_of_all_nodes_and_names_the_missing() {
    let mut site = Site::start().await;
    site.open(0, &[1]).await;
    let ids = site.open(1, &[2]).await;
    let here = &site.servers[0];
    let nobody = Request::get("/cluster/events").header("Accept", "text/html");
    let nobody = here.send(LOCAL, nobody.body(Full::default()).unwrap()).await;
    assert_eq!(nobody.status, 303, "others are asked for whoever has logged in");
    assert!(page(here, "/events", "en").await.body.contains("href=\"/cluster/events\""));

    for (language, node, missing) in
        [("ru", "Узел</th>", "Событий узла"), ("en", "Node</th>", "Events of a node")]
    {
        let list = page(here, "/cluster/events?kind=session_opened", language).await;
        assert_eq!(list.status, 200, "{list:?}");
        for part in ["<td data-label=", ">east</td>", ">north</td>", node, &ids[0]] {
            assert!(list.body.contains(part), "{part}: {}", list.body);
        }
        assert!(!list.body.contains(missing) && !list.body.contains("data-refresh"));
    }
    let link = format!("href=\"/cluster/events?span=month&#38;q={}\"", ids[0]);
    let found = page(here, &format!("/cluster/events?q={}", ids[0]), "en").await.body;
    assert!(found.contains(&link) && !found.contains(">east</td>"), "{found}");
    let earlier = page(here, "/cluster/events?until=2001-01-01T00:00:00Z", "en").await.body;
    assert!(earlier.contains("Nothing happened") && earlier.contains("rel=\"first\""), "{earlier}");

    site.lead(1, &[SocketAddr::from(([127, 0, 0, 1], 9))]);
    let found = page(&site.servers[0], "/cluster/events", "en").await.body;
    assert!(found.contains("Events of a node are not here – north:"), "{found}");
}

/// A node whose etcd does not answer, with a key of its cluster.
fn node_without_etcd() -> Server {
    let own = key(0).public();
    let series = support::series_key();
    let document = support::licence(own, 7_131_766, 5);
    let known = Licence::verify(&document, &series.public()).unwrap();
    let claims = LicenceClaims { cluster: Some(CLUSTER), ..known.claims };
    let conf = format!("{CONF}[Cluster]\nId={CLUSTER}\nEndpoints=http://127.0.0.1:9\n");
    let keys = [(7_131_766, claims.sign(&series).unwrap())];
    support::start_with_tokens(seed(0), &conf, Some(&descriptor(None)), &keys, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn seats_that_wait_for_sessions_are_shown_and_freed() {
    let server = node_without_etcd();
    let kept = |answer: &Answered| -> Vec<String> {
        let seats = answer.json()["Kept"].as_array().unwrap().clone();
        seats.iter().map(|seat| seat["ID"].as_str().unwrap().to_owned()).collect()
    };
    let list = async || {
        let answer = server.call("GET", "/api/cluster/kept", "").await;
        documented("GET", "/api/cluster/kept", &answer);
        answer
    };
    assert_eq!((list().await.json()["Total"].as_u64(), kept(&list().await).len()), (Some(0), 0));
    assert!(!page(&server, "/cluster", "en").await.body.contains("Seats that wait"));

    let sessions = [1, 2, 3].map(|n| SessionId::from_bytes([n; 16]));
    for session in sessions {
        server.app.handle.expect(session, KeyNo(7_131_766)).await.unwrap();
    }
    let answer = list().await;
    assert_eq!(answer.json()["Total"], 3);
    assert_eq!(kept(&answer), sessions.map(|session| session.to_string()));
    assert_eq!(answer.json()["Kept"][0]["KeyNo"], 7_131_766);

    // By a program.
    let path = |at: usize| format!("/api/cluster/kept/{}", sessions[at]);
    let freed = server.call("DELETE", &path(0), r#"{"Reason": "killed"}"#).await;
    assert_eq!((freed.status, &freed.json()["ID"]), (202, &answer.json()["Kept"][0]["ID"]));
    documented("DELETE", "/api/cluster/kept/{ID}", &freed);
    for wrong in [path(0), "/api/cluster/kept/AB".to_owned()] {
        let again = server.call("DELETE", &wrong, "").await;
        assert_eq!(
            (again.status, again.json()["Exception"].as_str()),
            (404, Some("ESessionNotFound"))
        );
        documented("DELETE", "/api/cluster/kept/{ID}", &again);
    }

    // By hand.
    let shown = page(&server, "/cluster", "ru").await;
    assert!(shown.body.contains("Места, которые ждут сеансов: 2"), "{}", shown.body);
    let shown = page(&server, "/cluster", "en").await;
    assert!(shown.body.contains(&sessions[1].to_string()), "{}", shown.body);
    let form = format!("/cluster/kept/{}/end", sessions[1]);
    let post = async |reason| post_reason(&server, &shown, &form, reason).await;
    let unsaid = post("").await;
    assert!(unsaid.status == 400 && unsaid.body.contains("Say why."), "{unsaid:?}");
    let freed = post("gone").await;
    assert_eq!(freed.status, 303, "{freed:?}");
    assert_eq!(kept(&list().await), [sessions[2].to_string()]);
    let again = post("gone").await;
    assert_eq!(again.status, 404, "{again:?}");

    let events = server.call("GET", "/api/events?Kind=audit", "").await.json().to_string();
    for part in ["kept_seat_free", "killed", "gone", "olga", &sessions[1].to_string()] {
        assert!(events.contains(part), "{part}: {events}");
    }
    let reader = Request::delete(path(2)).header("Authorization", basic("ivan:ivan password"));
    let refused = server.send(LOCAL, reader.body(Full::default()).unwrap()).await;
    assert_eq!(refused.status, 403, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn console_lists_all_nodes_names_the_missing_and_ends_a_session_of_another() {
    let mut site = Site::start().await;
    site.open(0, &[1]).await;
    let ids = site.open(1, &[2]).await;
    let here = &site.servers[0];
    let nobody = Request::get("/cluster/sessions").header("Accept", "text/html");
    let nobody = here.send(LOCAL, nobody.body(Full::default()).unwrap()).await;
    assert_eq!(nobody.status, 303, "others are asked for whoever has logged in");
    assert!(page(here, "/sessions", "en").await.body.contains("href=\"/cluster/sessions\""));

    let page_of = format!("/cluster/sessions/{}/{}", id(1), ids[0]);
    for (language, node, missing) in
        [("ru", "Узел", "Сеансов узла"), ("en", "Node", "Sessions of a node")]
    {
        let list = page(here, "/cluster/sessions?sort=node", language).await;
        assert_eq!(list.status, 200, "{list:?}");
        for part in ["east", "north", node, &format!("href=\"{page_of}\""), "href=\"/sessions/"] {
            assert!(list.body.contains(part), "{part}: {}", list.body);
        }
        assert!(!list.body.contains(missing) && !list.body.contains("data-refresh"));
    }
    let found = page(here, "/cluster/sessions?q=north", "en").await.body;
    assert!(found.contains(&page_of) && !found.contains("href=\"/sessions/"), "{found}");

    let shown = page(here, &page_of, "en").await;
    assert_eq!(shown.status, 200, "{shown:?}");
    let form = format!("{page_of}/end");
    let post = async |reason| post_reason(here, &shown, &form, reason).await;
    let wrong = post("+").await;
    assert!(wrong.status == 400 && wrong.body.contains("Say why."), "{wrong:?}");
    let done = post("left+open").await;
    assert_eq!(done.status, 303, "{done:?}");
    assert_eq!(done.headers["location"], "/cluster/sessions?done=session_ended");
    assert_eq!(page(here, &page_of, "en").await.status, 404);
    let own = page(here, &format!("/cluster/sessions/{}/AB", id(0)), "en").await;
    assert_eq!(own.headers["location"], "/sessions/AB");

    site.lead(1, &[]);
    for (language, line) in
        [("ru", "Сеансов узла здесь нет"), ("en", "Sessions of a node are not here")]
    {
        let list = page(&site.servers[0], "/cluster/sessions", language).await.body;
        assert!(list.contains(line) && list.contains("north: "), "{list}");
    }
}
