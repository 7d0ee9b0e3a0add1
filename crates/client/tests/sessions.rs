//! Seats over their life: taken, found again, kept by heartbeats, carried to another server,
//! living on their lease, released.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene fails")]

mod common;

use std::sync::atomic::Ordering;

use common::bench::Bench;
use common::{Server, Setup, nobody, session, wait_until};
use licence_client::Link;
use licence_core::protocol::{HEARTBEAT_SECS, SESSION_SECS, Wish};

const HEARTBEAT: &str = "/client/v1/heartbeat";
const OPEN: &str = "/client/v1/open";

/// Lets one heartbeat happen.
fn beat(bench: &Bench, server: &Server) {
    let before = server.books().count(HEARTBEAT);
    bench.advance(HEARTBEAT_SECS);
    server.wait_for("a heartbeat", |books| books.count(HEARTBEAT) > before);
}

/// Stops the server and lets the client notice at the next heartbeat.
fn lose(bench: &Bench, server: &mut Server, link: &Link) {
    server.stop();
    let address = server.address.to_string();
    bench.advance(HEARTBEAT_SECS);
    wait_until("the loss of the server", || link.server_addr().as_ref() != Some(&address));
}

#[test]
fn seat_is_taken_once_and_found_again_without_asking() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    let seat = link.take_seat(session(1), Wish::default()).unwrap();
    assert!(seat.confirmed);
    assert_eq!(seat.used_licence.unwrap().0, 7_131_766);
    assert_eq!(seat.expires_in.as_secs(), SESSION_SECS);
    assert_eq!(seat.server, server.address.to_string());
    bench.start(&[server.address]);
    for _ in 0..100 {
        assert_eq!(link.take_seat(session(1), Wish::default()).unwrap(), seat);
    }
    let books = server.books();
    assert_eq!(books.count(OPEN), 1);
    assert_eq!(books.count("/client/v1/connect"), 1, "the second start shares the connection");
    assert_eq!((&books.last(OPEN)["Language"], books.language.as_str()), (&"ru".into(), "ru"));
    assert_eq!(books.last("/client/v1/connect")["Info"]["ComputerName"], "SECRET-PC");
}

#[test]
fn another_wish_is_asked_of_the_server() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    link.take_seat(session(1), Wish::default()).unwrap();
    let wish = Wish { product_version: Some(3), ..Wish::default() };
    link.take_seat(session(1), wish).unwrap();
    assert_eq!(server.books().count(OPEN), 2);
    assert_eq!(server.books().last(OPEN)["Wish"]["ProductVersion"], 3);
}

#[test]
fn presence_only_start_asks_for_presence_only() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let mut options = bench.options(&[server.address]);
    options.presence_only = true;
    let link = bench.client.start(options).unwrap();
    link.take_seat(session(1), Wish::default()).unwrap();
    assert_eq!(server.books().last(OPEN)["Wish"]["PresenceOnly"], true);
}

#[test]
fn heartbeat_carries_sessions_that_are_held_or_were_touched_and_no_others() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    for number in 1..=3 {
        link.take_seat(session(number), Wish::default()).unwrap();
    }
    link.hold(&session(1));
    link.hold(&session(1));
    link.take_seat(session(2), Wish::default()).unwrap();
    beat(&bench, &server);
    assert_eq!(server.books().beaten(), ["1", "2"]);
    beat(&bench, &server);
    assert_eq!(server.books().beaten(), ["1"], "2 was not touched again");
    link.unhold(&session(1));
    beat(&bench, &server);
    assert_eq!(server.books().beaten(), ["1"], "held twice, let go once");
    link.unhold(&session(1));
    beat(&bench, &server);
    assert_eq!(server.books().beaten(), ["1"], "in use until it was let go");
    beat(&bench, &server);
    assert!(server.books().beaten().is_empty(), "the connection itself still beats");
}

#[test]
fn seat_close_to_its_end_is_renewed_at_the_server_before_it_is_handed_out() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    link.take_seat(session(1), Wish::default()).unwrap();
    bench.advance(SESSION_SECS - 20);
    let seat = link.take_seat(session(1), Wish::default()).unwrap();
    assert_eq!(seat.expires_in.as_secs(), SESSION_SECS);
    assert_eq!(server.books().count("/client/v1/touch"), 1);
}

#[test]
fn untouched_session_is_forgotten_when_its_time_is_over() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    link.take_seat(session(1), Wish::default()).unwrap();
    drop(link);
    assert!(!bench.client.is_idle(), "the session outlives its object");
    bench.advance(SESSION_SECS);
    wait_until("the end of the worker", || bench.threads.load(Ordering::SeqCst) == 0);
    assert!(bench.client.is_idle());
    assert_eq!(server.books().last("/client/v1/disconnect")["EndSessions"], false);
}

#[test]
fn dropping_the_last_link_without_sessions_ends_connection_and_thread() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    drop(link.clone());
    link.counters().unwrap();
    drop(link);
    server.wait_for("the end of the connection", |books| books.connections.is_empty());
    wait_until("the end of the worker", || bench.threads.load(Ordering::SeqCst) == 0);
    assert!(bench.client.shutdown(common::BOUND, true));
}

#[test]
fn released_seat_is_free_and_a_second_release_finds_nothing() {
    let setup = Setup { seats: 1, ..Setup::default() };
    let (bench, server) = (Bench::new(), Server::start(setup));
    let link = bench.start(&[server.address]);
    link.take_seat(session(1), Wish::default()).unwrap();
    let error = link.take_seat(session(2), Wish::default()).unwrap_err();
    assert_eq!(error.class(), "EServerResult.ENoFreeLicence");
    assert_eq!(
        error.text(licence_client::Language::Russian),
        "(EServerResult.ENoFreeLicence) Нет свободных лицензий"
    );
    assert_eq!(link.release(&session(1)), Ok(true));
    assert_eq!(link.release(&session(1)), Ok(false));
    assert_eq!(link.release(&session(9)), Ok(false));
    assert!(link.take_seat(session(2), Wish::default()).unwrap().confirmed);
}

#[test]
fn licences_counters_and_server_are_read() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    assert!(link.licences(true, true).unwrap().is_empty());
    let asked = server.books().last("/client/v1/licences").clone();
    assert_eq!((&asked["AllSeries"], &asked["OnlyAvailable"]), (&true.into(), &true.into()));
    assert_eq!(link.counters().unwrap().total_licence_count, 5);
    assert_eq!(link.server().unwrap().version, "9.9.9");
}

#[test]
fn session_lives_on_its_lease_until_that_ends_while_no_server_can_be_reached() {
    let (bench, mut server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    link.take_seat(session(1), Wish::default()).unwrap();
    lose(&bench, &mut server, &link);
    let seat = link.take_seat(session(1), Wish::default()).unwrap();
    assert!(!seat.confirmed);
    assert_eq!(seat.expires_in.as_secs(), SESSION_SECS - HEARTBEAT_SECS);
    let error = link.take_seat(session(2), Wish::default()).unwrap_err();
    assert_eq!(error.class(), "ELocalServerNotFound", "a session without a lease has nothing");
    bench.advance(SESSION_SECS - HEARTBEAT_SECS - 1);
    assert!(!link.take_seat(session(1), Wish::default()).unwrap().confirmed);
    bench.advance(1);
    let error = link.take_seat(session(1), Wish::default()).unwrap_err();
    assert_eq!(error.class(), "ELocalServerNotFound");
}

#[test]
fn series_starts_without_a_server_while_a_session_lives_on_its_lease() {
    let (bench, mut server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    link.take_seat(session(1), Wish::default()).unwrap();
    lose(&bench, &mut server, &link);
    drop(link);
    let link = bench.start(&[server.address]);
    assert!(!link.take_seat(session(1), Wish::default()).unwrap().confirmed);
    bench.advance(SESSION_SECS);
    let error = bench.client.start(bench.options(&[server.address])).unwrap_err();
    assert_eq!(error.class(), "ELocalServerNotFound", "the lease has run out");
}

#[test]
fn server_that_comes_back_is_found_and_shown_the_leases() {
    let (bench, mut server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    link.take_seat(session(1), Wish::default()).unwrap();
    link.hold(&session(1));
    lose(&bench, &mut server, &link);
    let again = Server::start(Setup { address: server.address, ..Setup::default() });
    again.wait_for("the session opened again", |books| books.count(OPEN) == 1);
    assert_eq!(again.books().last(OPEN)["Lease"], "lease of s2");
    wait_until("a confirmed seat", || {
        link.take_seat(session(1), Wish::default()).unwrap().confirmed
    });
    assert_eq!(again.books().count(OPEN), 1);
}

#[test]
fn server_that_forgot_the_connection_gets_another_and_the_held_sessions() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    for number in 1..=3 {
        link.take_seat(session(number), Wish::default()).unwrap();
    }
    link.hold(&session(1));
    link.take_seat(session(2), Wish::default()).unwrap();
    {
        let mut books = server.books();
        books.connections.clear();
        books.sessions.clear();
    }
    bench.advance(HEARTBEAT_SECS);
    server.wait_for("both sessions opened again", |books| books.count(OPEN) == 5);
    assert_eq!(server.books().count("/client/v1/connect"), 2);
    assert_eq!(server.books().count("/client/hello"), 1);
    // The one that nobody used is asked for when somebody does.
    assert!(link.take_seat(session(3), Wish::default()).unwrap().confirmed);
    assert_eq!(server.books().count(OPEN), 6);
}

#[test]
fn forgotten_connection_does_not_fail_a_call() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    server.books().connections.clear();
    assert!(link.take_seat(session(1), Wish::default()).unwrap().confirmed);
}

#[test]
fn held_sessions_move_to_the_reserve_server_with_their_leases() {
    let (mut first, second) = (Server::start(Setup::default()), Server::start(Setup::default()));
    let bench = Bench::new();
    let link = bench.start(&[first.address, second.address]);
    link.take_seat(session(1), Wish::default()).unwrap();
    link.hold(&session(1));
    lose(&bench, &mut first, &link);
    second.wait_for("the session opened again", |books| books.count(OPEN) == 1);
    assert_eq!(second.books().last(OPEN)["Lease"], "lease of s2");
    wait_until("a seat at the reserve server", || {
        let seat = link.take_seat(session(1), Wish::default()).unwrap();
        seat.confirmed && seat.server == second.address.to_string()
    });
}

#[test]
fn held_sessions_move_too_when_a_call_finds_the_server_lost() {
    let (mut first, second) = (Server::start(Setup::default()), Server::start(Setup::default()));
    let bench = Bench::new();
    let link = bench.start(&[first.address, second.address]);
    for number in 1..=2 {
        link.take_seat(session(number), Wish::default()).unwrap();
    }
    link.hold(&session(2));
    first.stop();
    link.counters().unwrap();
    second.wait_for("the held session opened again", |books| books.count(OPEN) == 1);
    assert_eq!(second.books().last(OPEN)["Session"]["SessionNumber"], "2");
}

#[test]
fn session_refused_by_the_reserve_server_lives_on_its_lease_and_asks_again() {
    let mut first = Server::start(Setup::default());
    let second = Server::start(Setup { seats: 0, ..Setup::default() });
    let bench = Bench::new();
    let link = bench.start(&[first.address, second.address]);
    link.take_seat(session(1), Wish::default()).unwrap();
    link.hold(&session(1));
    lose(&bench, &mut first, &link);
    second.wait_for("a refusal", |books| books.count(OPEN) == 1);
    assert!(!link.take_seat(session(1), Wish::default()).unwrap().confirmed);
    assert_eq!(
        link.take_seat(session(2), Wish::default()).unwrap_err().class(),
        "EServerResult.ENoFreeLicence"
    );
    second.books().seats = 1;
    let before = second.books().count(OPEN);
    beat(&bench, &second);
    second.wait_for("another try", |books| books.count(OPEN) > before);
    wait_until("a confirmed seat", || {
        link.take_seat(session(1), Wish::default()).unwrap().confirmed
    });
}

#[test]
fn call_that_finds_its_server_lost_is_answered_by_the_next() {
    let (mut first, second) = (Server::start(Setup::default()), Server::start(Setup::default()));
    let bench = Bench::new();
    let link = bench.start(&[nobody(), first.address, second.address]);
    assert_eq!(link.server_addr(), Some(first.address.to_string()));
    first.stop();
    let seat = link.take_seat(session(1), Wish::default()).unwrap();
    assert_eq!((seat.confirmed, seat.server), (true, second.address.to_string()));
}

#[test]
fn session_that_ended_at_the_server_is_opened_again_when_asked_for() {
    for (reason, lease) in [("expired", true), ("key_gone", true), ("revoked", false)] {
        let (bench, server) = (Bench::new(), Server::start(Setup::default()));
        let link = bench.start(&[server.address]);
        let id = link.take_seat(session(1), Wish::default()).unwrap().id;
        {
            let mut books = server.books();
            books.sessions.clear();
            books.gone.push((id.clone(), reason.to_owned()));
        }
        beat(&bench, &server);
        // The answer is taken in a moment after the server sent it.
        wait_until("the end of the session", || {
            link.take_seat(session(1), Wish::default()).unwrap().id != id
        });
        let books = server.books();
        assert_eq!(books.count(OPEN), 2, "{reason}");
        assert_eq!(books.last(OPEN).get("Lease").is_some(), lease, "{reason}");
    }
}

#[test]
fn used_session_that_the_server_lost_is_opened_again_with_its_lease_at_once() {
    for reason in ["expired", "isolated", "moved", "process_exit", "unknown"] {
        let (bench, server) = (Bench::new(), Server::start(Setup::default()));
        let link = bench.start(&[server.address]);
        let mut ids = Vec::new();
        for number in 1..=3 {
            ids.push(link.take_seat(session(number), Wish::default()).unwrap().id);
        }
        link.hold(&session(1));
        link.take_seat(session(2), Wish::default()).unwrap();
        {
            let mut books = server.books();
            books.gone = ids.iter().map(|id| (id.clone(), reason.to_owned())).collect();
            books.sessions.clear();
        }
        bench.advance(HEARTBEAT_SECS);
        server.wait_for("held and touched opened again", |books| books.count(OPEN) == 5);
        let books = server.books();
        let again: Vec<_> =
            books.requests.iter().filter(|(path, _)| path == OPEN).skip(3).collect();
        for ((_, body), id) in again.iter().zip(&ids) {
            assert_eq!(body["Lease"], format!("lease of {id}"), "{reason}");
        }
        drop(books);
        wait_until("confirmed seats", || {
            (1..=2).all(|n| link.take_seat(session(n), Wish::default()).unwrap().confirmed)
        });
        assert_eq!(server.books().count(OPEN), 5, "{reason}: the unused one is left alone");
    }
}

#[test]
fn session_that_was_ended_on_purpose_is_not_opened_again_unasked() {
    for reason in ["revoked", "key_gone"] {
        let (bench, server) = (Bench::new(), Server::start(Setup::default()));
        let link = bench.start(&[server.address]);
        let id = link.take_seat(session(1), Wish::default()).unwrap().id;
        link.hold(&session(1));
        {
            let mut books = server.books();
            books.gone.push((id.clone(), reason.to_owned()));
        }
        beat(&bench, &server);
        beat(&bench, &server);
        assert_eq!(server.books().count(OPEN), 1, "{reason}");
    }
}

#[test]
fn many_sessions_opened_again_leave_turns_to_callers() {
    let (bench, mut first) = (Bench::new(), Server::start(Setup { seats: 40, ..Setup::default() }));
    let slow = Some((OPEN, std::time::Duration::from_millis(40)));
    let second = Server::start(Setup { seats: 40, slow, ..Setup::default() });
    let link = bench.start(&[first.address, second.address]);
    for number in 1..=40 {
        link.take_seat(session(number), Wish::default()).unwrap();
        link.hold(&session(number));
    }
    lose(&bench, &mut first, &link);
    second.wait_for("the first session", |books| books.count(OPEN) == 1);
    link.counters().unwrap();
    // A turn is 100 ms, three sessions; 32 would have gone first if only their number counted.
    let opened = second.books().count(OPEN);
    assert!(opened < 20, "{opened} sessions were opened before the caller's turn");
    second.wait_for("all sessions", |books| books.count(OPEN) == 40);
}

#[test]
fn sessions_are_told_apart_by_infobase_number_start_and_computer() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    let base = session(1);
    let mut others = vec![base.clone(); 4];
    others[0].session_number = "2".into();
    others[1].info_base_connection_str = "File=\"/b\";".into();
    others[2].session_started = Some("2026-01-01T00:00:00.000Z".parse().unwrap());
    others[3].computer_name = "other".into();
    link.take_seat(base.clone(), Wish::default()).unwrap();
    for (index, other) in others.into_iter().enumerate() {
        link.take_seat(other, Wish::default()).unwrap();
        assert_eq!(server.books().count(OPEN), index + 2);
    }
    let renamed = licence_core::protocol::SessionInfo { user_name: Some("x".into()), ..base };
    link.take_seat(renamed, Wish::default()).unwrap();
    assert_eq!(server.books().count(OPEN), 5, "the user's name does not make another session");
}

#[test]
fn two_lists_of_servers_are_two_connections_of_one_worker() {
    let (first, second) = (Server::start(Setup::default()), Server::start(Setup::default()));
    let bench = Bench::new();
    let (one, two) = (bench.start(&[first.address]), bench.start(&[second.address]));
    one.take_seat(session(1), Wish::default()).unwrap();
    two.take_seat(session(1), Wish::default()).unwrap();
    assert_eq!(bench.threads.load(Ordering::SeqCst), 1);
    assert_eq!((first.books().count(OPEN), second.books().count(OPEN)), (1, 1));
}
