//! What cannot be brought about by the calls of a program alone: callers with less patience than
//! the bounds, a resolver that hangs, more sessions than one heartbeat carries.

#[path = "../tests/common/mod.rs"]
mod common;

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use common::bench::{Bench, CountingSpawn, TestClock};
use common::{BOUND, Server, Setup, session, wait_until};
use licence_core::protocol::{HEARTBEAT_SECS, HEARTBEAT_SESSIONS_MAX, SESSION_SECS, Wish};

use crate::client::{Client, DROP_BOUND, Link};
use crate::clock::{Clock, SystemClock, system_now};
use crate::jobs::{Question, Work};
use crate::queue::ask;
use crate::spawn::StdSpawn;
use crate::state::{Phase, SessionKey, Shared};

const COUNTERS: &str = "/client/v1/counters";
const HEARTBEAT: &str = "/client/v1/heartbeat";
const TOUCH: &str = "/client/v1/touch";

fn counters(link: &Link, within: Duration) -> Result<(), String> {
    let (shared, target) = link.inner();
    let work = Work::Ask { target, question: Question::Counters };
    ask(shared, work, system_now().after(within), within)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

#[test]
fn caller_with_little_patience_does_not_cost_a_healthy_server_its_connection() {
    let slow = Some((COUNTERS, Duration::from_millis(300)));
    let (bench, server) = (Bench::new(), Server::start(Setup { slow, ..Setup::default() }));
    let link = bench.start(&[server.address]);
    counters(&link, Duration::from_millis(100)).unwrap_err();
    counters(&link, BOUND).unwrap();
    let books = server.books();
    assert_eq!(books.count(COUNTERS), 2, "the first was asked too");
    assert_eq!((books.count("/client/hello"), books.count("/client/v1/connect")), (1, 1));
}

#[test]
fn session_lives_on_its_lease_when_the_server_does_not_answer_in_time() {
    let slow = Some((TOUCH, Duration::from_millis(400)));
    let (bench, server) = (Bench::new(), Server::start(Setup { slow, ..Setup::default() }));
    let link = bench.start(&[server.address]);
    link.take_seat(session(1), Wish::default()).unwrap();
    // So late that the server is asked about it.
    bench.advance(980);
    let within = Duration::from_millis(100);
    let ask =
        |number, wish| link.seat_until(&session(number), &wish, system_now().after(within), within);
    let seat = ask(1, Wish::default()).unwrap();
    assert!(!seat.confirmed && seat.expires_in <= Duration::from_secs(20), "{seat:?}");
    let other = Wish { presence_only: true, ..Wish::default() };
    ask(1, other).expect_err("it has no seat of that kind");
    assert!(link.take_seat(session(1), Wish::default()).unwrap().confirmed);
}

#[test]
fn resolver_that_hangs_holds_up_neither_a_stop_nor_the_next_server() {
    let (begun, is_begun) = channel();
    let (_keep, never) = channel::<()>();
    let held = std::sync::Mutex::new(never);
    let look_up = move |_: &str| {
        let _gone = begun.send(());
        let _over = held.lock().unwrap().recv();
        Ok(Vec::new())
    };
    let clock: Arc<dyn Clock> = Arc::new(TestClock::default());
    let spawn = CountingSpawn::default();
    let shared = Shared::looking_up(Box::new(spawn), clock, Arc::new(look_up));
    let client = Client::of(shared);
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let mut options = bench.options(&[server.address, server.address]);
    options.connection_string = Some("host=somewhere".to_owned());
    let caller = {
        let client = client.clone();
        std::thread::spawn(move || client.start(options))
    };
    is_begun.recv_timeout(BOUND).unwrap();
    let link = caller.join().unwrap().unwrap();
    assert_eq!(link.server_addr(), Some(server.address.to_string()));
    // The server is lost, and the walk comes to the name again.
    drop(server);
    let waiting = {
        let link = link.clone();
        std::thread::spawn(move || link.counters().map(|_| ()))
    };
    wait_until("the loss of the server", || link.server_addr().is_none());
    assert!(client.shutdown(Duration::from_secs(2), true));
    waiting.join().unwrap().unwrap_err();
    assert!(is_begun.try_recv().is_err(), "the look-up that hangs was not begun twice");
}

#[test]
fn heartbeat_in_many_parts_leaves_turns_to_callers() {
    let slow = Some((HEARTBEAT, Duration::from_millis(150)));
    let (bench, server) = (Bench::new(), Server::start(Setup { slow, ..Setup::default() }));
    let link = bench.start(&[server.address]);
    link.take_seat(session(1), Wish::default()).unwrap();
    let (shared, target) = link.inner();
    {
        let mut state = shared.lock();
        let target = state.targets.get_mut(&target).unwrap();
        let held = target.seats.values().next().unwrap().clone();
        for number in 0..u32::try_from(HEARTBEAT_SESSIONS_MAX * 3).unwrap() {
            let mut held = held.clone();
            held.session = session(number + 10);
            held.id = format!("x{number}");
            held.touched = true;
            target.seats.insert(SessionKey::of(&held.session), held);
        }
    }
    bench.advance(HEARTBEAT_SECS);
    server.wait_for("the first part", |books| books.count(HEARTBEAT) == 1);
    link.counters().unwrap();
    let beaten = server.books().count(HEARTBEAT);
    assert!(beaten < 3, "{beaten} parts went before the caller");
    server.wait_for("all parts", |books| books.count(HEARTBEAT) == 3);
    let parts: Vec<usize> = {
        let books = server.books();
        let beats = books.requests.iter().filter(|(path, _)| path == HEARTBEAT);
        beats.map(|(_, body)| body["Sessions"].as_array().unwrap().len()).collect()
    };
    assert_eq!(parts, [HEARTBEAT_SESSIONS_MAX; 3]);
    wait_until("every seat renewed", || {
        let now = shared.clock.now();
        let state = shared.lock();
        let mut seats = state.targets[&target].seats.values();
        seats.all(|held| held.id == "s2" || held.expires.since(now).as_secs() == 1000)
    });
}

#[test]
fn session_that_ended_at_the_server_is_not_renewed_by_the_heartbeat_that_tells_so() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    for number in 1..=2 {
        link.take_seat(session(number), Wish::default()).unwrap();
        link.hold(&session(number));
    }
    server.books().gone.push(("s2".to_owned(), "key_gone".to_owned()));
    bench.advance(HEARTBEAT_SECS);
    let (shared, target) = link.inner();
    let ends = |id: &str| {
        let state = shared.lock();
        let mut seats = state.targets[&target].seats.values();
        seats.find(|held| held.id == id).map(|held| held.expires.as_millis())
    };
    let renewed = (HEARTBEAT_SECS + SESSION_SECS) * 1000;
    wait_until("the renewal of the other", || ends("s3") == Some(renewed));
    assert_eq!(ends("s2"), Some(SESSION_SECS * 1000));
}

#[test]
fn client_whose_worker_did_not_stop_in_time_is_dropped_without_waiting_again() {
    let shared = Shared::new(Box::new(StdSpawn), Arc::new(SystemClock));
    // As a shutdown leaves it that waited in vain.
    shared.lock().phase = Phase::Stopping;
    let client = Client::of(shared);
    let begun_at = system_now();
    drop(client);
    assert!(system_now().since(begun_at) < DROP_BOUND);
}
