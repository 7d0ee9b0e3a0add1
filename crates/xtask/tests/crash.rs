//! `kill -9` of the server under load, again and again: no seat that was granted is lost, none
//! is counted twice, and never are more seats held than there are.
//!
//! The load speaks the client protocol itself, because it must know exactly which answers it got.
//! An answer that a crash cut off leaves its session in doubt: the server may or may not hold it.
//! `LICENCE_SEED` repeats the choices of a run.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use xtask::random::{Random, seed};
use xtask::stage::{Order, SERIES, Server, Stage, Vendor, wait_until};

const ROUNDS: u64 = 100;
const CLIENTS: u64 = 4;
const SEATS: u32 = 12;

/// Sessions that each client juggles; all clients together want more than there are seats.
const SESSIONS_EACH: u64 = 4;

/// A crash comes after at most so many answers of a round.
const ANSWERS_MAX: u64 = 24;

const CALL_BOUND: Duration = Duration::from_secs(20);
const READY_BOUND: Duration = Duration::from_secs(30);

/// One client of the protocol. It verifies no certificate: trust is not the subject here.
struct Client {
    agent: ureq::Agent,
    base: String,
    connection: String,
}

/// The answer was cut off.
struct Cut;

impl Client {
    fn connect(port: u16) -> Result<Self, Cut> {
        let tls = ureq::tls::TlsConfig::builder().disable_verification(true).build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(CALL_BOUND))
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .new_agent();
        let mut client = Self {
            agent,
            base: format!("https://127.0.0.1:{port}/client/v1"),
            connection: String::new(),
        };
        let info = json!({ "ComputerName": "crash", "IsServer": true });
        let (status, body) = client.call("connect", &json!({ "KeyID": SERIES, "Info": info }))?;
        assert_eq!(status, 200, "{body}");
        client.connection = body["ID"].as_str().unwrap().to_owned();
        Ok(client)
    }

    fn call(&self, message: &str, body: &Value) -> Result<(u16, Value), Cut> {
        let url = format!("{}/{message}", self.base);
        let mut answer = self.agent.post(&url).send_json(body).map_err(|_| Cut)?;
        let text = answer.body_mut().read_to_string().map_err(|_| Cut)?;
        let body = serde_json::from_str(&text).map_err(|_| Cut)?;
        Ok((answer.status().as_u16(), body))
    }

    fn open(&self, number: u64) -> Result<(u16, Value), Cut> {
        let session = json!({
            "SessionNumber": number.to_string(),
            "IsServer": true,
            "InfoBaseConnectionStr": "Srvr=\"crash\";Ref=\"base\";",
            "ComputerName": "crash",
            "SessionStarted": "2026-01-31T09:00:00.000Z",
        });
        self.call("open", &json!({ "Connection": self.connection, "Session": session }))
    }

    fn close(&self, id: &str) -> Result<(u16, Value), Cut> {
        self.call("close", &json!({ "Connection": self.connection, "Session": id }))
    }
}

/// What the clients know: which numbers are granted under which id, and which are in doubt.
#[derive(Default)]
struct Known {
    granted: BTreeMap<u64, String>,
    in_doubt: BTreeSet<u64>,
    answers: u64,
}

struct Shared {
    known: Mutex<Known>,
    answered: Condvar,
}

fn work(shared: &Shared, port: u16, client: u64, mut random: Random) {
    let Ok(connection) = Client::connect(port) else { return };
    loop {
        let number = client * SESSIONS_EACH + random.below(SESSIONS_EACH);
        let held = shared.known.lock().unwrap().granted.get(&number).cloned();
        let done = match held {
            // Doubt comes before the request leaves and goes with its answer.
            Some(id) if random.below(3) == 0 => {
                shared.known.lock().unwrap().in_doubt.insert(number);
                connection.close(&id).map(|(status, body)| {
                    assert_eq!(status, 200, "close of a granted session: {body}");
                    shared.known.lock().unwrap().granted.remove(&number);
                })
            }
            // A session held already is found again under its id.
            Some(id) => connection.open(number).map(|(status, body)| {
                assert_eq!((status, body["ID"].as_str()), (200, Some(id.as_str())), "{body}");
            }),
            None => {
                shared.known.lock().unwrap().in_doubt.insert(number);
                connection.open(number).map(|(status, body)| {
                    if status == 200 {
                        let id = body["ID"].as_str().unwrap().to_owned();
                        shared.known.lock().unwrap().granted.insert(number, id);
                    } else {
                        let class = body["Exception"].as_str().unwrap_or_default();
                        assert!(class.contains("Licence"), "refused otherwise than full: {body}");
                    }
                })
            }
        };
        let mut known = shared.known.lock().unwrap();
        if done.is_err() {
            return;
        }
        known.in_doubt.remove(&number);
        known.answers += 1;
        drop(known);
        shared.answered.notify_all();
    }
}

fn check(server: &Server, known: &mut Known, context: &str) {
    let sessions = server.rest().sessions().unwrap();
    let mut shown = BTreeMap::new();
    for session in &sessions {
        let number: u64 = session["SessionNumber"].as_str().unwrap().parse().unwrap();
        let id = session["ID"].as_str().unwrap().to_owned();
        assert!(session["UsedLicence"].is_u64(), "{context}: a session without seat: {session}");
        assert!(shown.insert(number, id).is_none(), "{context}: session {number} counted twice");
    }
    assert!(shown.len() <= SEATS as usize, "{context}: {} seats held", shown.len());
    for (number, id) in &known.granted {
        if !known.in_doubt.contains(number) {
            assert_eq!(shown.get(number), Some(id), "{context}: session {number} was lost");
        }
    }
    for number in shown.keys() {
        let expected = known.granted.contains_key(number) || known.in_doubt.contains(number);
        assert!(expected, "{context}: session {number} was released and is back");
    }
    // The server's word settles what was in doubt.
    known.in_doubt.clear();
    known.granted = shown;
}

#[test]
fn no_granted_seat_is_lost_or_doubled_by_a_hundred_crashes_under_load() {
    let seed = seed().unwrap();
    println!("LICENCE_SEED={seed}");
    let mut random = Random::new(seed);
    let stage = Stage::temporary().unwrap();
    let vendor = Vendor::start(&stage).unwrap();
    let mut server = Server::start(&stage, "server", &vendor, 0).unwrap();
    server.activate(&stage, &vendor, Order { kind: "main", seats: SEATS }).unwrap();
    let shared = Arc::new(Shared { known: Mutex::new(Known::default()), answered: Condvar::new() });
    let mut answers = 0;
    let mut in_doubt = 0;
    for round in 0..ROUNDS {
        let crash_after = 1 + random.below(ANSWERS_MAX);
        shared.known.lock().unwrap().answers = 0;
        let port = server.port();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (shared, own) = (Arc::clone(&shared), Random::new(random.draw()));
                std::thread::spawn(move || work(&shared, port, client, own))
            })
            .collect();
        let known = shared.known.lock().unwrap();
        let (known, waited) = shared
            .answered
            .wait_timeout_while(known, CALL_BOUND, |known| known.answers < crash_after)
            .unwrap();
        drop(known);
        let context = format!("LICENCE_SEED={seed}, round {round}");
        assert!(!waited.timed_out(), "{context}: the load came to a stop");
        server.kill().unwrap();
        for client in clients {
            client.join().unwrap_or_else(|_| panic!("{context}: a client met a wrong answer"));
        }
        server.restart(&stage).unwrap();
        wait_until(READY_BOUND, "the server after a crash", || {
            Ok(server.rest().try_get("/api").is_ok().then_some(()))
        })
        .unwrap();
        let mut known = shared.known.lock().unwrap();
        answers += known.answers;
        in_doubt += known.in_doubt.len();
        check(&server, &mut known, &context);
    }
    println!("{ROUNDS} crashes, {answers} answers, {in_doubt} cut off by a crash");
    assert!(
        in_doubt > 0,
        "no crash ever cut a request off: the load is too light to mean anything"
    );
}
