//! Servers that answer and cannot serve: with a full disk, and just after their books were lost.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene fails")]

mod common;

use std::sync::Arc;

use common::bench::Bench;
use common::{BOUND, Server, Setup, http, refusal, refusal_for, session, wait_until};
use licence_client::{Language, Link, Seat};
use licence_core::protocol::{HEARTBEAT_SECS, Wish};
use serde_json::json;

const CLOSE: &str = "/client/v1/close";
const CONNECT: &str = "/client/v1/connect";
const HEARTBEAT: &str = "/client/v1/heartbeat";
const HELLO: &str = "/client/hello";
const OPEN: &str = "/client/v1/open";
const TOUCH: &str = "/client/v1/touch";

fn storage() -> Vec<u8> {
    refusal(503, "EStorage", "Запись данных невозможна")
}

#[test]
fn server_that_cannot_serve_while_it_is_asked_counts_as_lost() {
    let unexplained = http(503, &json!("overloaded"));
    for answer in [storage(), refusal(503, "ELater", "later"), unexplained] {
        let bench = Bench::new();
        let (failing, good) = (Server::start(Setup::default()), Server::start(Setup::default()));
        let link = bench.start(&[failing.address, good.address]);
        failing.books().instead.insert(OPEN, answer);
        let seat = link.take_seat(session(1), Wish::default()).unwrap();
        assert_eq!((seat.server, seat.confirmed), (good.address.to_string(), true));
        assert_eq!(link.server_addr(), Some(good.address.to_string()));
    }
}

#[test]
fn what_a_working_server_says_with_503_is_reported_and_it_is_kept() {
    for class in ["ELimit", "EHTTPServiceUnavailable"] {
        let bench = Bench::new();
        let (full, other) = (Server::start(Setup::default()), Server::start(Setup::default()));
        let link = bench.start(&[full.address, other.address]);
        full.books().instead.insert(OPEN, refusal(503, class, "full"));
        let error = link.take_seat(session(1), Wish::default()).unwrap_err();
        assert_eq!(error.class(), format!("EServerResult.{class}"));
        assert_eq!(link.server_addr(), Some(full.address.to_string()));
        assert!(other.books().requests.is_empty());
    }
}

#[test]
fn session_lives_on_its_lease_while_the_only_server_cannot_serve_and_is_confirmed_after() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    let seat = || link.take_seat(session(1), Wish::default()).unwrap();
    assert!(seat().confirmed);
    server.books().instead = [HEARTBEAT, HELLO, CONNECT, OPEN].map(|path| (path, storage())).into();
    bench.advance(HEARTBEAT_SECS);
    wait_until("the loss of the server", || !seat().confirmed);
    let error = link.take_seat(session(2), Wish::default()).unwrap_err();
    assert_eq!(error.class(), "EServerResult.EStorage");
    server.books().instead.clear();
    wait_until("the return of the server", || seat().confirmed);
    link.take_seat(session(2), Wish::default()).unwrap();
}

/// Asks for a seat on a thread, because the call waits for the server.
fn ask(link: &Arc<Link>) -> std::thread::JoinHandle<Result<Seat, licence_client::ClientError>> {
    let link = Arc::clone(link);
    std::thread::spawn(move || link.take_seat(session(1), Wish::default()))
}

#[test]
fn caller_waits_for_a_server_that_recovers_soon() {
    let unsaid = refusal(503, "ERecovering", "recovering");
    for answer in [refusal_for(1, "ERecovering", "recovering"), unsaid] {
        let (bench, server) = (Bench::new(), Server::start(Setup::default()));
        let link = Arc::new(bench.start(&[server.address]));
        server.books().instead.insert(OPEN, answer);
        let caller = ask(&link);
        server.wait_for("the first question", |books| books.count(OPEN) == 1);
        server.books().instead.clear();
        let seat = caller.join().unwrap().unwrap();
        assert!(seat.confirmed);
        assert_eq!(server.books().count(OPEN), 2);
    }
}

#[test]
fn caller_hears_at_once_of_a_server_that_recovers_for_longer_than_it_would_wait() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = Arc::new(bench.start(&[server.address]));
    let answer = refusal_for(27, "ERecovering", "повторите через 27 с");
    server.books().instead.insert(OPEN, answer);
    let error = ask(&link).join().unwrap().unwrap_err();
    let text = error.text(Language::Russian);
    assert_eq!(text, "(EServerResult.ERecovering) повторите через 27 с");
    assert_eq!(server.books().count(OPEN), 1);
    // A heartbeat goes on meanwhile: the server answers those whom it knows.
    bench.advance(HEARTBEAT_SECS);
    server.wait_for("a heartbeat", |books| books.count(HEARTBEAT) > 0);
    assert!(bench.client.shutdown(BOUND, true));
}

#[test]
fn session_that_a_node_of_a_cluster_let_go_lives_on_its_lease_until_its_seat_comes() {
    for (class, goes_on) in
        [("EClusterSettling", true), ("EClusterUnavailable", true), ("ENoFreeLicence", false)]
    {
        let (bench, server) = (Bench::new(), Server::start(Setup::default()));
        let link = bench.start(&[server.address]);
        link.take_seat(session(1), Wish::default()).unwrap();
        {
            let mut books = server.books();
            books.sessions.clear();
            books.instead.insert(OPEN, refusal(403, class, "its seat is on its way"));
        }
        // So late that the server is asked about it.
        bench.advance(980);
        let seat = link.take_seat(session(1), Wish::default());
        assert_eq!(seat.is_ok_and(|seat| !seat.confirmed), goes_on, "{class}");
        if goes_on {
            server.books().instead.clear();
            bench.advance(HEARTBEAT_SECS);
            wait_until("the seat", || {
                link.take_seat(session(1), Wish::default()).is_ok_and(|seat| seat.confirmed)
            });
        }
    }
}

#[test]
fn node_hears_that_a_seat_on_its_way_is_not_needed_any_longer() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    let ids = [1, 2].map(|number| {
        link.take_seat(session(number), Wish::default()).unwrap();
        server.books().sessions.keys().next_back().unwrap().clone()
    });
    {
        let mut books = server.books();
        books.sessions.clear();
        books.instead.insert(OPEN, refusal(403, "EClusterSettling", "its seat is on its way"));
    }
    bench.advance(980);
    for number in 1..=2 {
        assert!(!link.take_seat(session(number), Wish::default()).unwrap().confirmed);
    }
    let told = || server.books().last(CLOSE)["Session"].clone();
    // The server does not know it yet, which is no error of whoever lets go.
    link.release(&session(1)).unwrap();
    assert_eq!(told(), ids[0].as_str());
    assert!(bench.client.shutdown(BOUND, true));
    assert_eq!(told(), ids[1].as_str());
}

#[test]
fn session_lives_on_its_lease_while_the_node_that_holds_it_may_not_renew_it() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    link.take_seat(session(1), Wish::default()).unwrap();
    let unavailable = refusal(503, "EClusterUnavailable", "cut off from the cluster");
    server.books().instead = [TOUCH, OPEN].map(|path| (path, unavailable.clone())).into();
    bench.advance(980);
    let seat = || link.take_seat(session(1), Wish::default());
    assert!(!seat().unwrap().confirmed);
    server.books().instead.clear();
    bench.advance(HEARTBEAT_SECS);
    wait_until("the seat", || seat().is_ok_and(|seat| seat.confirmed));
}
