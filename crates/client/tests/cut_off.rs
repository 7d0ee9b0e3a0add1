//! Servers that answer and grant nothing, because they are cut off from their cluster: new sessions
//! go on to the next server of the list, those that have begun stay where they are renewed.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene fails")]

mod common;

use common::bench::Bench;
use common::{
    BOUND, Raw, Server, Setup, datafile, http, nobody, refusal, series_key, session, wait_until,
};
use licence_client::{CALL_BOUND, Clock, Language, Link, SystemClock};
use licence_core::datafile::{ObjectAccess, ObjectKind};
use licence_core::protocol::manager::{Operation, OperationResult};
use licence_core::protocol::{HEARTBEAT_SECS, Wish};
use serde_json::json;

const CLOSE: &str = "/client/v1/close";
const CONNECT: &str = "/client/v1/connect";
const DISCONNECT: &str = "/client/v1/disconnect";
const HEARTBEAT: &str = "/client/v1/heartbeat";
const OPEN: &str = "/client/v1/open";

/// So many callers at one time.
const CALLERS: u32 = 40;

fn server() -> Server {
    Server::start(Setup { seats: 500, ..Setup::default() })
}

/// Another node of the same cluster: ids of sessions are never those of the first.
fn other() -> Server {
    let other = server();
    other.books().next = 1000;
    other
}

/// From here on a server grants nothing.
fn cut_off(server: &Server, words: &str) {
    server.books().instead.insert(OPEN, refusal(403, "EClusterUnavailable", words));
}

fn heal(server: &Server) {
    server.books().instead.clear();
}

/// Lets one heartbeat happen.
fn beat(bench: &Bench, server: &Server) {
    let before = server.books().count(HEARTBEAT);
    bench.advance(HEARTBEAT_SECS);
    server.wait_for("a heartbeat", |books| books.count(HEARTBEAT) > before);
}

fn place(link: &Link, number: u32) -> String {
    let seat = link.take_seat(session(number), Wish::default()).unwrap();
    assert!(seat.confirmed, "{seat:?}");
    seat.server
}

/// Class and Russian text of a refused seat.
fn refused(link: &Link, number: u32) -> (String, String) {
    let error = link.take_seat(session(number), Wish::default()).unwrap_err();
    (error.class().to_owned(), error.text(Language::Russian))
}

#[test]
fn new_session_is_granted_by_the_next_server_and_those_that_have_begun_stay_renewed_by_the_first() {
    let (bench, first, second) = (Bench::new(), server(), other());
    let link = bench.start(&[first.address, second.address]);
    for number in 1..=3 {
        assert_eq!(place(&link, number), first.address.to_string());
        link.hold(&session(number));
    }
    cut_off(&first, "нет связи с кластером");
    assert_eq!(place(&link, 4), second.address.to_string());
    link.hold(&session(4));
    assert_eq!(link.server_addr(), Some(second.address.to_string()));
    for _ in 0..5 {
        beat(&bench, &first);
        assert_eq!(first.books().beaten(), ["1", "2", "3"]);
        for number in 1..=3 {
            assert_eq!(place(&link, number), first.address.to_string());
        }
    }
    second.wait_for("a heartbeat", |books| books.count(HEARTBEAT) > 0);
    assert_eq!(second.books().beaten(), ["4"]);
    assert_eq!(second.books().count(OPEN), 1, "no seat was carried about");

    // It heals, and draws nobody back.
    heal(&first);
    let before = first.books().count(OPEN);
    assert_eq!(place(&link, 5), second.address.to_string());
    assert_eq!(first.books().count(OPEN), before);

    // When its sessions are over nothing holds on to it.
    for number in 1..=3 {
        assert_eq!(link.release(&session(number)), Ok(true));
    }
    assert_eq!(first.books().count(CLOSE), 3);
    bench.advance(HEARTBEAT_SECS);
    first.wait_for("the goodbye", |books| books.count(DISCONNECT) == 1);
    assert_eq!(first.books().last(DISCONNECT)["EndSessions"], false);
}

#[test]
fn process_that_starts_at_a_server_that_is_cut_off_has_its_first_seat_at_once() {
    let (bench, first, second) = (Bench::new(), server(), other());
    cut_off(&first, "нет связи с кластером");
    let link = bench.start(&[first.address, nobody(), second.address]);
    assert_eq!(place(&link, 1), second.address.to_string());
    assert_eq!(first.books().count(OPEN), 2, "once, and once more when another was found");
    bench.advance(HEARTBEAT_SECS);
    first.wait_for("the goodbye", |books| books.count(DISCONNECT) == 1);
}

#[test]
fn silent_server_in_between_costs_one_attempt() {
    let (bench, first, silent, third) = (Bench::new(), server(), Raw::silent(), other());
    cut_off(&first, "нет связи с кластером");
    let link = bench.start(&[first.address, silent.address, third.address]);
    let begun_at = SystemClock.now();
    assert_eq!(place(&link, 1), third.address.to_string());
    assert!(SystemClock.now().since(begun_at) < CALL_BOUND);
}

#[test]
fn when_nobody_grants_callers_hear_the_words_of_the_server_in_use_in_time_and_it_is_kept() {
    let silent: Vec<Raw> = (0..4).map(|_| Raw::silent()).collect();
    let (bench, first, second) = (Bench::new(), server(), other());
    let mut servers = vec![first.address, nobody(), second.address];
    servers.extend(silent.iter().map(|raw| raw.address));
    let link = bench.start(&servers);
    assert_eq!(place(&link, 1), first.address.to_string());
    cut_off(&first, "слова первого");
    cut_off(&second, "слова второго");
    let begun_at = SystemClock.now();
    let expected = (
        "EServerResult.EClusterUnavailable".to_owned(),
        "(EServerResult.EClusterUnavailable) слова первого".to_owned(),
    );
    assert_eq!(refused(&link, 2), expected);
    assert!(SystemClock.now().since(begun_at) < CALL_BOUND);
    assert_eq!(place(&link, 1), first.address.to_string());
    assert_eq!(link.server_addr(), Some(first.address.to_string()));
}

#[test]
fn many_callers_are_one_search_and_the_next_ones_are_told_at_once() {
    let (bench, first, second) = (Bench::new(), server(), other());
    let link = bench.start(&[first.address, second.address]);
    cut_off(&first, "нет связи");
    cut_off(&second, "нет связи");
    let ask = |numbers: std::ops::Range<u32>| {
        let callers: Vec<_> = numbers
            .map(|number| {
                let link = link.clone();
                std::thread::spawn(move || refused(&link, number).0)
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.join().unwrap(), "EServerResult.EClusterUnavailable");
        }
    };
    ask(0..CALLERS);
    // The first pause is a second, and a busy machine may need it for so many callers.
    let tried = second.books().count(CONNECT);
    assert!(tried <= 3, "{tried} attempts");
    assert_eq!(second.books().count(OPEN), tried, "one session asked for all");

    // The second one is in touch again: found when the pause is over, and then it is for everybody.
    heal(&second);
    wait_until("a seat", || link.take_seat(session(1), Wish::default()).is_ok());
    let before = second.books().count(CONNECT);
    let callers: Vec<_> = (100..100 + CALLERS)
        .map(|number| {
            let link = link.clone();
            std::thread::spawn(move || place(&link, number))
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.join().unwrap(), second.address.to_string());
    }
    assert_eq!(second.books().count(CONNECT), before);
}

#[test]
fn refusal_of_a_server_in_touch_is_told_without_leaving_the_one_in_use() {
    let (bench, first, second) = (Bench::new(), server(), other());
    let link = bench.start(&[first.address, second.address]);
    assert_eq!(place(&link, 1), first.address.to_string());
    cut_off(&first, "нет связи");
    second.books().seats = 0;
    for number in 2..CALLERS {
        assert_eq!(refused(&link, number).0, "EServerResult.ENoFreeLicence");
    }
    assert_eq!(second.books().count(CONNECT), 1, "one connection for all of them");
    assert_eq!(link.server_addr(), Some(first.address.to_string()));
    assert_eq!(place(&link, 1), first.address.to_string());
    // Nobody asks it any more.
    beat(&bench, &first);
    beat(&bench, &first);
    second.wait_for("the goodbye", |books| books.count(DISCONNECT) == 1);
    second.books().seats = 500;
    assert_eq!(place(&link, 2), second.address.to_string());
    assert_eq!(second.books().count(CONNECT), 2);
}

#[test]
fn both_servers_that_refused_a_session_hear_that_it_is_not_needed() {
    let (bench, first, second) = (Bench::new(), server(), other());
    let link = bench.start(&[first.address, second.address]);
    let ids = [1, 2].map(|number| {
        place(&link, number);
        first.books().sessions.keys().next_back().unwrap().clone()
    });
    first.books().sessions.clear();
    cut_off(&first, "нет связи");
    let settling = refusal(403, "EClusterSettling", "its seat is on its way");
    second.books().instead.insert(OPEN, settling);
    bench.advance(980);
    for number in 1..=2 {
        wait_until("both are asked", || {
            let seat = link.take_seat(session(number), Wish::default()).unwrap();
            assert!(!seat.confirmed, "on its lease");
            second.books().count(OPEN) > 0
        });
    }
    link.release(&session(1)).unwrap();
    for node in [&first, &second] {
        assert_eq!(node.books().last(CLOSE)["Session"], ids[0].as_str());
    }
    assert!(bench.client.shutdown(BOUND, true));
    for node in [&first, &second] {
        assert_eq!(node.books().last(CLOSE)["Session"], ids[1].as_str());
    }
}

#[test]
fn sessions_that_the_first_lets_go_of_are_opened_at_the_next_with_their_leases() {
    let (bench, first, second) = (Bench::new(), server(), other());
    let link = bench.start(&[first.address, second.address]);
    for number in 1..=CALLERS {
        link.take_seat(session(number), Wish::default()).unwrap();
        link.hold(&session(number));
    }
    cut_off(&first, "нет связи слишком давно");
    {
        // As a node does that was cut off for too long.
        let mut books = first.books();
        let ids: Vec<_> = books.sessions.keys().cloned().collect();
        books.gone = ids.into_iter().map(|id| (id, "unknown".to_owned())).collect();
    }
    bench.advance(HEARTBEAT_SECS);
    let all = usize::try_from(CALLERS).unwrap();
    second.wait_for("all sessions", |books| books.sessions.len() == all);
    let books = second.books();
    assert_eq!(books.count(CONNECT), 1);
    assert_eq!(books.count(OPEN), all);
    for (_, body) in books.requests.iter().filter(|(path, _)| path == OPEN) {
        assert!(body["Lease"].as_str().unwrap().starts_with("lease of s"), "{body}");
    }
    drop(books);
    for number in 1..=CALLERS {
        wait_until("a confirmed seat", || {
            link.take_seat(session(number), Wish::default()).unwrap().confirmed
        });
        assert_eq!(place(&link, number), second.address.to_string());
    }
}

#[test]
fn sessions_of_a_former_server_that_is_lost_are_opened_at_the_one_in_use() {
    let (bench, mut first, second) = (Bench::new(), server(), other());
    let link = bench.start(&[first.address, second.address]);
    for number in 1..=2 {
        link.take_seat(session(number), Wish::default()).unwrap();
        link.hold(&session(number));
    }
    cut_off(&first, "нет связи");
    place(&link, 3);
    first.stop();
    bench.advance(HEARTBEAT_SECS);
    second.wait_for("the others", |books| books.count(OPEN) == 3);
    assert_eq!(second.books().last(OPEN)["Lease"], "lease of s3");
    wait_until("confirmed seats", || {
        (1..=2).all(|number| {
            let seat = link.take_seat(session(number), Wish::default()).unwrap();
            seat.confirmed && seat.server == second.address.to_string()
        })
    });
}

#[test]
fn former_server_goes_on_renewing_when_the_one_in_use_is_lost() {
    let (bench, first, mut second) = (Bench::new(), server(), other());
    let link = bench.start(&[first.address, second.address]);
    link.take_seat(session(1), Wish::default()).unwrap();
    link.hold(&session(1));
    cut_off(&first, "нет связи");
    place(&link, 2);
    second.stop();
    beat(&bench, &first);
    beat(&bench, &first);
    assert_eq!(place(&link, 1), first.address.to_string());
    assert!(!link.take_seat(session(2), Wish::default()).unwrap().confirmed, "on its lease");
}

#[test]
fn shutdown_ends_sessions_at_both_servers() {
    let (bench, first, second) = (Bench::new(), server(), other());
    let link = bench.start(&[first.address, second.address]);
    link.take_seat(session(1), Wish::default()).unwrap();
    cut_off(&first, "нет связи");
    place(&link, 2);
    assert!(bench.client.shutdown(BOUND, true));
    assert!(first.books().sessions.is_empty() && second.books().sessions.is_empty());
}

#[test]
fn key_of_an_object_is_asked_where_the_session_has_its_seat() {
    let main = [("o", ObjectKind::Text, ObjectAccess::Seat, b"content".as_slice())];
    let (bench, first, second) = (Bench::new(), server(), other());
    for node in [&first, &second] {
        node.books().files.insert(String::new(), datafile(&series_key(), &main));
    }
    let link = bench.start(&[first.address, second.address]);
    link.take_seat(session(1), Wish::default()).unwrap();
    cut_off(&first, "нет связи");
    place(&link, 2);
    for number in 1..=2 {
        let wish = Wish::default();
        let object = link.object(Some((&session(number), &wish)), None, "o").unwrap();
        assert_eq!(object.as_slice(), b"content");
    }
    assert_eq!(first.books().count("/client/v1/objectkey"), 1);
    assert_eq!(second.books().count("/client/v1/objectkey"), 1);
    assert_eq!(second.books().count(OPEN), 1, "no seat was carried about");
}

#[test]
fn operation_of_a_session_is_asked_where_it_has_its_seat_also_by_its_ticket() {
    const OPERATION: &str = "/client/v1/operation";
    let (bench, first, second) = (Bench::new(), server(), other());
    let link = bench.start(&[first.address, second.address]);
    let id = link.take_seat(session(1), Wish::default()).unwrap().id;
    cut_off(&first, "нет связи");
    place(&link, 2);
    first.books().operations.extend([
        http(200, &json!({"Ticket": "t1"})),
        http(200, &json!({"Result": {"Parameter": "value"}})),
    ]);
    second.books().operations.extend([refusal(404, "ETicketNotFound", "чужой билет")]);
    let asked = Operation::Parameter {
        session: None,
        key_no: None,
        name: "p".to_owned(),
        use_main_key: false,
    };
    let result = link.operation(Some(&session(1)), asked).unwrap();
    assert_eq!(result, OperationResult::Parameter(Some("value".to_owned())));
    let books = first.books();
    let begun = books.requests.iter().find(|(path, _)| path == OPERATION).unwrap();
    assert_eq!(begun.1["Operation"]["Parameter"]["Session"], id, "{begun:?}");
    assert_eq!(books.last(OPERATION)["Ticket"], "t1");
    assert_eq!(second.books().count(OPERATION), 1);
}

#[test]
fn server_is_not_left_while_it_carries_out_a_change() {
    let (bench, first, second) = (Bench::new(), server(), other());
    let link = bench.start(&[first.address, second.address]);
    cut_off(&first, "нет связи");
    first.books().operations.extend([http(200, &json!({"Ticket": "t1"}))]);
    let caller = {
        let link = link.clone();
        std::thread::spawn(move || {
            link.operation(None, Operation::Update { itn: None, iec: None }).map(|_| ())
        })
    };
    first.wait_for("the ticket shown", |books| books.count("/client/v1/operation") >= 2);
    assert_eq!(refused(&link, 1).0, "EServerResult.EClusterUnavailable");
    assert_eq!(link.server_addr(), Some(first.address.to_string()));
    assert!(second.books().requests.is_empty());
    first.books().operations.push_back(http(200, &json!({"Result": "Done"})));
    caller.join().unwrap().unwrap();
}
