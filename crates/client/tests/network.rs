//! Servers that are not there, say nothing, or say something else: each costs a bounded time and
//! ends in the next server or in a clear error.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene fails")]

mod common;

use std::io::Write;
use std::sync::mpsc::channel;
use std::time::Duration;

use common::bench::Bench;
use common::{BOUND, Raw, Server, Setup, http, nobody, session, wait_until};
use licence_client::{Clock, Language, Seat, SystemClock};
use licence_core::protocol::Wish;
use serde_json::json;

#[test]
fn nobody_listening_is_named_with_host_and_port_in_both_languages() {
    let bench = Bench::new();
    let (first, second) = (nobody(), nobody());
    let error = bench.client.start(bench.options(&[first, second])).unwrap_err();
    assert_eq!(error.class(), "ELocalServerNotFound");
    let russian = error.text(Language::Russian);
    let found = format!("(ELocalServerNotFound) Не обнаружен установленный сервер на {first}");
    assert!(russian.starts_with(&found), "{russian}");
    assert!(russian.contains(&second.to_string()), "{russian}");
    let english = error.text(Language::English);
    assert!(english.contains(&format!("No licence server was found at {first}")), "{english}");
    wait_until("the end of the worker", || {
        bench.client.is_idle() && bench.threads.load(std::sync::atomic::Ordering::SeqCst) == 0
    });
}

#[test]
fn refusing_server_is_passed_over_and_the_next_kept() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[nobody(), server.address]);
    assert_eq!(link.server_addr(), Some(server.address.to_string()));
}

#[test]
fn silent_server_is_given_up_for_the_next() {
    let (bench, silent) = (Bench::new(), Raw::silent());
    let server = Server::start(Setup::default());
    let begun_at = SystemClock.now();
    let link = bench.start(&[silent.address, server.address]);
    silent.accepted.recv_timeout(BOUND).unwrap();
    assert_eq!(link.server_addr(), Some(server.address.to_string()));
    // One attempt may cost 3 s. The margin is for a busy machine.
    assert!(SystemClock.now().since(begun_at) < Duration::from_secs(6));
}

#[test]
fn series_without_a_server_does_not_hold_up_one_that_has_one() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    let silent: Vec<Raw> = (0..5).map(|_| Raw::silent()).collect();
    let callers: Vec<_> = silent
        .iter()
        .map(|silent| {
            let (client, options) = (bench.client.clone(), bench.options(&[silent.address]));
            std::thread::spawn(move || client.start(options).map(|_| ()))
        })
        .collect();
    wait_until("the first attempt", || silent.iter().any(|raw| raw.accepted.try_recv().is_ok()));
    // Fails after 10 s, and the silent servers together take longer than that.
    link.counters().unwrap();
    let waiting = callers.iter().filter(|caller| !caller.is_finished()).count();
    assert!(waiting >= 3, "only {waiting} walks are left to go after the healthy series");
    assert!(bench.client.shutdown(BOUND, true));
    for caller in callers {
        assert!(caller.join().unwrap().is_err());
    }
}

#[test]
fn all_who_wait_for_a_fruitless_walk_are_answered_by_it_and_so_is_who_asks_right_after() {
    let (bench, silent) = (Bench::new(), Raw::silent());
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (client, options) = (bench.client.clone(), bench.options(&[silent.address]));
            std::thread::spawn(move || client.start(options).map(|_| ()))
        })
        .collect();
    let mut errors: Vec<_> =
        callers.into_iter().map(|caller| caller.join().unwrap().unwrap_err()).collect();
    errors.push(bench.client.start(bench.options(&[silent.address])).unwrap_err());
    for error in &errors {
        assert_eq!((error.class(), error), ("ELocalServerNotFound", &errors[0]));
    }
    assert_eq!(silent.accepted.try_iter().count(), 1, "the server was tried once");
}

#[test]
fn server_that_drips_its_answer_is_given_up_for_the_next() {
    // A byte every 200 ms renews any limit on a single read; the answer would take minutes.
    let drip = Some(Duration::from_millis(200));
    let dripping = Server::start(Setup { drip, ..Setup::default() });
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[dripping.address, server.address]);
    assert_eq!(dripping.books().count("/client/hello"), 1);
    assert_eq!(link.server_addr(), Some(server.address.to_string()));
}

#[test]
fn server_that_drips_its_handshake_is_given_up_for_the_next() {
    let dripping = Raw::start(|mut socket| {
        let (_never, pause) = channel::<()>();
        std::thread::spawn(move || {
            // The head of a handshake record of 4000 bytes, and then its bytes.
            while socket.write_all(&[22, 3, 3, 15, 160]).is_ok() {
                let _timed_out = pause.recv_timeout(Duration::from_millis(200));
            }
        });
        None
    });
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[dripping.address, server.address]);
    assert_eq!(link.server_addr(), Some(server.address.to_string()));
}

#[test]
fn what_is_not_tls_is_not_a_licence_server() {
    for greeting in [
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2p1\r\n",
        "\0\0\0\0",
        "",
    ] {
        let other = Raw::start(move |mut socket| {
            drop(socket.write_all(greeting.as_bytes()));
            drop(socket.shutdown(std::net::Shutdown::Write));
            Some(socket)
        });
        let (class, text) = Bench::new().refused(&[other.address]);
        assert_eq!(class, "ELocalServerNotFound", "{greeting:?}");
        let named = format!("Не обнаружен установленный сервер на {}", other.address);
        assert!(text.contains(&named), "{greeting:?}: {text}");
    }
}

#[test]
fn answers_that_are_no_answers_are_refused_and_the_next_server_tried() {
    let huge = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_owned();
    let long_head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(64 * 1024));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}".to_owned();
    let no_json = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned();
    let more = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}{}".to_owned();
    for bytes in [huge, long_head, chunked.to_owned(), cut, no_json, more, "x\r\n\r\n".to_owned()] {
        let what: String = bytes.chars().take(60).collect();
        let instead = Some(("/client/hello", bytes.into_bytes()));
        let odd = Server::start(Setup { instead, ..Setup::default() });
        let (bench, server) = (Bench::new(), Server::start(Setup::default()));
        let link = bench.start(&[odd.address, server.address]);
        assert_eq!(link.server_addr(), Some(server.address.to_string()), "{what}");
    }
}

#[test]
fn server_that_talks_nonsense_later_on_is_left_for_the_next() {
    let instead = Some(("/client/v1/open", http(200, &json!({"nonsense": true}))));
    let odd = Server::start(Setup { instead, ..Setup::default() });
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[odd.address, server.address]);
    assert_eq!(link.server_addr(), Some(odd.address.to_string()));
    let seat = link.take_seat(session(1), Wish::default()).unwrap();
    assert_eq!(seat.server, server.address.to_string());
}

#[test]
fn channel_closed_while_idle_is_opened_again_without_leaving_the_server() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    link.take_seat(session(1), Wish::default()).unwrap();
    server.close_channels();
    link.take_seat(session(2), Wish::default()).unwrap();
    let books = server.books();
    assert_eq!(books.count("/client/hello"), 2);
    assert_eq!(books.count("/client/v1/connect"), 1, "the connection is still the same");
}

#[test]
fn shutdown_ends_a_hanging_call_at_once() {
    let (bench, silent) = (Bench::new(), Raw::silent());
    let (client, options) = (bench.client.clone(), bench.options(&[silent.address; 1]));
    let caller = std::thread::spawn(move || client.start(options).map(|_| ()));
    silent.accepted.recv_timeout(BOUND).unwrap();
    // Less than the attempt may take: the answer that never comes is not waited for.
    assert!(bench.client.shutdown(Duration::from_secs(2), true));
    assert_eq!(bench.threads.load(std::sync::atomic::Ordering::SeqCst), 0);
    let error = caller.join().unwrap().unwrap_err();
    // Either the attempt was cut short, or its turn did not come any more.
    assert!(matches!(error.class(), "EExecuteError" | "ELocalServerNotFound"), "{error}");
}

#[test]
fn shutdown_ends_sessions_when_told_to_and_the_client_can_be_started_again() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    link.take_seat(session(1), Wish::default()).unwrap();
    assert!(bench.client.shutdown(BOUND, true));
    assert_eq!(bench.threads.load(std::sync::atomic::Ordering::SeqCst), 0);
    assert_eq!(server.books().last("/client/v1/disconnect")["EndSessions"], true);
    assert!(server.books().sessions.is_empty());
    assert_eq!(link.counters().unwrap_err().class(), "EExecuteError");
    assert!(bench.client.is_idle());
    let link = bench.start(&[server.address]);
    let Seat { confirmed, .. } = link.take_seat(session(1), Wish::default()).unwrap();
    assert!(confirmed);
}

#[test]
fn shutdown_without_ending_sessions_leaves_them_at_the_server() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    link.take_seat(session(1), Wish::default()).unwrap();
    assert!(bench.client.shutdown(BOUND, false));
    assert_eq!(server.books().sessions.len(), 1);
    assert_eq!(server.books().count("/client/v1/disconnect"), 0);
}
