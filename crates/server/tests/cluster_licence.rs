//! Keys that the nodes of a cluster share: how each gets its licence, how one is replaced, how a key of
//! a single server comes to a cluster and back, and what a licence of another cluster is worth.
//!
//! Licences alone; etcd is not there. What a node gives out of them is tested elsewhere.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod centre;
mod support;

use centre::Vendor;
use licence_core::activation::ActivationCode;
use licence_core::licence_file::Licence;
use licence_core::short_text::looks_like_short_text;
use serde_json::{Value, json};
use support::{Answered, LOCAL, Server, request, series_key, start_with_tokens};

const ONE: &str = "0123456789ABCDEF0123456789ABCDEF";
const OTHER: &str = "FEDCBA9876543210FEDCBA9876543210";

/// Settings of a node of a cluster whose etcd nobody answers for.
fn of(cluster: &str) -> String {
    format!("[Cluster]\nId={cluster}\nEndpoints=http://127.0.0.1:9\n")
}

fn node(vendor: &Vendor, seed: u8, conf: &str) -> Server {
    start_with_tokens([seed; 32], conf, Some(&vendor.descriptor()), &[], None)
}

/// The same server with other settings and the licence that it has.
fn restarted(vendor: &Vendor, seed: u8, conf: &str, from: &Server, key_no: u64) -> Server {
    let name = format!("672B.{key_no}.licence");
    let document = std::fs::read_to_string(from.app.paths.keys().join(name)).unwrap();
    let licences = [(u32::try_from(key_no).unwrap(), document)];
    start_with_tokens([seed; 32], conf, Some(&vendor.descriptor()), &licences, None)
}

fn order(code: ActivationCode) -> String {
    json!({ "ActivationCodeString": code.to_string() }).to_string()
}

async fn install(server: &Server, code: ActivationCode) -> Value {
    let answer = server.call("POST", "/api/licences", &order(code)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

async fn refused(server: &Server, code: ActivationCode) -> (u16, String) {
    exception(&server.call("POST", "/api/licences", &order(code)).await)
}

fn exception(answer: &Answered) -> (u16, String) {
    (answer.status, answer.json()["Exception"].as_str().unwrap().to_owned())
}

fn is(status: u16, class: &str) -> (u16, String) {
    (status, class.to_owned())
}

async fn key(server: &Server, key_no: u64) -> Value {
    server.call("GET", &format!("/api/licences/{key_no}"), "").await.json()
}

/// The licence as it lies in the server's folder.
fn document(server: &Server, key_no: u64) -> Licence {
    let name = format!("672B.{key_no}.licence");
    let text = std::fs::read_to_string(server.app.paths.keys().join(name)).unwrap();
    Licence::verify(&text, &series_key().public()).unwrap()
}

async fn give_back(server: &Server, key_no: u64) -> ActivationCode {
    let path = format!("/api/licences/{key_no}/reservecode");
    let back = server.call("POST", &path, "{}").await;
    assert_eq!(back.status, 201, "{back:?}");
    back.json()["ReserveCode"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn nodes_of_one_cluster_install_one_code_up_to_the_limit_and_one_is_replaced() {
    let vendor = Vendor::open().await;
    let code = vendor.sell(json!({"ClusterNodes": 2})).await;
    let servers: Vec<_> = (1..=3).map(|seed| node(&vendor, seed, &of(ONE))).collect();
    let first = install(&servers[0], code).await;
    let key_no = first["KeyNo"].as_u64().unwrap();
    assert_eq!((&first["Cluster"], &first["Workable"]), (&json!(ONE), &json!(true)), "{first}");
    let second = install(&servers[1], code).await;
    assert_eq!(second["KeyNo"], first["KeyNo"]);
    let documents: Vec<_> = servers[..2].iter().map(|server| document(server, key_no)).collect();
    for (server, licence) in servers.iter().zip(&documents) {
        assert_eq!(licence.holder, server.identity.public().into());
        assert_eq!(licence.claims.cluster, ONE.parse().ok());
    }
    assert_ne!(documents[0].claims.jti, documents[1].claims.jti);
    assert_eq!(documents[0].fields(), documents[1].fields());
    // A lost answer, and the question of every day, bring the same.
    assert_eq!(install(&servers[1], code).await, second);
    let update = servers[0].call("POST", "/api/licences/update", "").await;
    assert_eq!((update.status, document(&servers[0], key_no)), (202, documents[0].clone()));

    assert_eq!(refused(&servers[2], code).await, is(400, "EClusterFull"));
    let stranger = node(&vendor, 4, &of(OTHER));
    assert_eq!(refused(&stranger, code).await, is(400, "EClusterOther"));
    let alone = node(&vendor, 5, "");
    assert_eq!(refused(&alone, code).await, is(400, "EClusterOther"));

    // One is replaced: it gives the key back, and the first code lets the next one in.
    let reserve = give_back(&servers[1], key_no).await;
    assert_eq!(refused(&alone, reserve).await, is(400, "EClusterOther"));
    assert_eq!(install(&servers[2], code).await["KeyNo"], first["KeyNo"]);
    assert_eq!(refused(&servers[1], reserve).await, is(400, "EClusterFull"));
    assert_eq!(key(&servers[0], key_no).await["Workable"], json!(true));
}

#[tokio::test]
async fn code_of_a_series_without_clusters_stays_on_one_server() {
    let vendor = Vendor::open().await;
    let code = vendor.sell(json!({})).await;
    let (first, second) = (node(&vendor, 1, &of(ONE)), node(&vendor, 2, &of(ONE)));
    let view = install(&first, code).await;
    assert_eq!((view.get("Cluster"), &view["Workable"]), (None, &json!(true)), "{view}");
    assert_eq!(refused(&second, code).await, is(400, "EClusterNone"));
}

#[tokio::test]
async fn key_of_a_single_server_comes_to_a_cluster_and_back() {
    let vendor = Vendor::open().await;
    let code = vendor.sell(json!({"ClusterNodes": 3})).await;
    let single = node(&vendor, 1, "");
    let view = install(&single, code).await;
    let key_no = view["KeyNo"].as_u64().unwrap();
    assert_eq!(view.get("Cluster"), None, "{view}");
    let second = node(&vendor, 2, &of(ONE));
    assert_eq!(refused(&second, code).await, is(400, "EClusterNone"));

    // The server becomes a node: its licence goes on as it is, until the code is activated once more.
    let first = restarted(&vendor, 1, &of(ONE), &single, key_no);
    assert_eq!(key(&first, key_no).await["Workable"], json!(true));
    let shared = install(&first, code).await;
    assert_eq!((&shared["Cluster"], &shared["KeyNo"]), (&json!(ONE), &view["KeyNo"]));
    let (before, after) = (document(&single, key_no), document(&first, key_no));
    assert_eq!(after.claims.jti, before.claims.jti);
    assert!(after.claims.iat > before.claims.iat);
    // An old copy does not take its place, and the next update would replace it.
    let old = json!({ "Answer": before.document }).to_string();
    let older = first.call("POST", "/api/licences/answer", &old).await;
    assert!(older.status >= 400, "{older:?}");
    assert_eq!(document(&first, key_no), after);
    install(&second, code).await;

    // Back: not while another node has the key, and by name of who has it.
    let alone = restarted(&vendor, 1, "", &first, key_no);
    let kept = key(&alone, key_no).await;
    assert_eq!((&kept["Workable"], &kept["Enabled"]), (&json!(false), &json!(false)), "{kept}");
    let answer = alone.call("POST", "/api/licences", &order(code)).await;
    assert_eq!(exception(&answer), is(400, "EClusterShared"));
    let computer = second.app.host.computer_id[..8].to_ascii_uppercase();
    assert!(answer.body.contains(&computer), "{answer:?}");
    give_back(&second, key_no).await;
    let back = install(&alone, code).await;
    assert_eq!((back.get("Cluster"), &back["Enabled"]), (None, &json!(true)), "{back}");
    assert_eq!(document(&alone, key_no).claims.jti, before.claims.jti);
    assert_eq!(refused(&second, code).await, is(400, "EKeyReturned"));
}

#[tokio::test]
async fn licence_of_a_cluster_on_a_server_of_another_one_is_kept_and_says_why() {
    let vendor = Vendor::open().await;
    let code = vendor.sell(json!({"ClusterNodes": 2})).await;
    let first = node(&vendor, 1, &of(ONE));
    let key_no = install(&first, code).await["KeyNo"].as_u64().unwrap();
    for conf in [of(OTHER), String::new()] {
        let stranger = restarted(&vendor, 1, &conf, &first, key_no);
        for (language, words) in [
            ("en", "it is a licence of a cluster, and this server is no member of that cluster"),
            ("ru", "Лицензия выдана кластеру, а этот сервер в него не входит"),
        ] {
            let mut asked = request("GET", &format!("/api/licences/{key_no}"), "");
            asked.headers_mut().insert("Accept-Language", language.parse().unwrap());
            let view = stranger.send(LOCAL, asked).await.json();
            assert_eq!(view["OpenError"], json!(words), "{view}");
            assert_eq!((&view["Enabled"], &view["Cluster"]), (&json!(false), &json!(ONE)));
        }
        let page = stranger.call("GET", &format!("/keys/{key_no}"), "").await;
        assert!(page.body.contains(ONE), "{page:?}");
        let connection = stranger.connect().await;
        let open = stranger.open(&connection, 1).await;
        assert!(open.status >= 400, "no seat: {open:?}");
    }
}

#[tokio::test]
async fn request_file_names_the_cluster_and_what_is_read_out_leads_into_none() {
    let vendor = Vendor::open().await;
    let code = vendor.sell(json!({"ClusterNodes": 2})).await;
    let first = node(&vendor, 1, &of(ONE));
    let call = json!({"Kind": "activation", "ActivationCodeString": code.to_string()}).to_string();
    let made = first.call("POST", "/api/licences/request", &call).await;
    assert_eq!(made.status, 201, "{made:?}");
    let token = made.json()["Request"].as_str().unwrap().to_owned();
    let answer = json!({ "Answer": vendor.carry(&token).await }).to_string();
    let taken = first.call("POST", "/api/licences/answer", &answer).await;
    assert_eq!(taken.status, 201, "{taken:?}");
    let key_no = taken.json()["Licences"][0]["KeyNo"].as_u64().unwrap();
    assert_eq!(document(&first, key_no).claims.cluster, ONE.parse().ok());

    // The lines of a telephone call know no clusters: the centre says so and gives nothing.
    let second = node(&vendor, 2, &of(ONE));
    let call = json!({"Kind": "phone", "ActivationCodeString": code.to_string()}).to_string();
    let made = second.call("POST", "/api/licences/request", &call).await;
    assert_eq!(made.status, 201, "{made:?}");
    let lines = made.json()["Request"].as_str().unwrap().to_owned();
    assert!(looks_like_short_text(&lines), "{lines}");
    let url = format!("{}/api/short", vendor.url);
    let said = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut said = agent.post(&url).send_json(json!({ "Request": lines })).unwrap();
        (said.status().as_u16(), said.body_mut().read_to_string().unwrap())
    });
    let (status, body) = said.await.unwrap();
    assert!(status == 409 && body.contains("EClusterUntold"), "{status} {body}");
}
