//! The component when its server refuses, falls silent, or its own process dies.
//!
//! Figures are printed, never asserted; bounds only catch a hang.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]
#![expect(clippy::print_stdout, reason = "figures are for the reader of the log")]

use std::time::Duration;

use xtask::clock;
use xtask::demo::server_session;
use xtask::stage::{HostProcess, Order, Server, Stage, Vendor, wait_until};

/// A call that takes longer than this hangs: the component promises 15 s at most.
const HANG: Duration = Duration::from_secs(25);

/// Bound of what takes a heartbeat (10 s) and a walk over the servers, with room.
const SETTLE_BOUND: Duration = Duration::from_secs(40);

const MAIN: Order = Order { kind: "main", seats: 5 };

struct Site {
    stage: Stage,
    vendor: Vendor,
    primary: Server,
    reserve: Server,
}

fn site() -> Site {
    let stage = Stage::temporary().unwrap();
    let vendor = Vendor::start(&stage).unwrap();
    let primary = Server::start(&stage, "primary", &vendor, 0).unwrap();
    let reserve = Server::start(&stage, "reserve", &vendor, 0).unwrap();
    primary.activate(&stage, &vendor, MAIN).unwrap();
    reserve.activate(&stage, &vendor, MAIN).unwrap();
    Site { stage, vendor, primary, reserve }
}

impl Site {
    fn host(&self, name: &str) -> HostProcess {
        let ports = [self.primary.port(), self.reserve.port()];
        let computer = self.stage.computer(name, &self.vendor, &ports).unwrap();
        HostProcess::started(&self.stage, name, &computer).unwrap()
    }

    fn check_carries_on(&self, host: &mut HostProcess, what: &str) {
        let (answer, took) = clock::timed(|| host.ask("ПолучитьСчетчики"));
        answer.unwrap().unwrap_or_else(|refused| panic!("{what}: {}", refused.text));
        println!("failover, primary {what}: {} ms", took.as_millis());
        assert!(took < HANG, "{what}: took {took:?}");
        wait_until(SETTLE_BOUND, "the session at the reserve server", || {
            Ok((self.reserve.rest().sessions()?.len() == 1).then_some(()))
        })
        .unwrap();
        let seat = host.must_take(&server_session(1)).unwrap();
        assert!(seat.confirmed && seat.server.ends_with(&format!(":{}", self.reserve.port())));
    }
}

#[test]
fn component_carries_on_at_the_reserve_server_when_the_primary_refuses() {
    let mut site = site();
    let mut host = site.host("computer");
    host.must_take(&server_session(1)).unwrap();
    site.primary.kill().unwrap();
    site.check_carries_on(&mut host, "refuses");
    host.quit().unwrap();
}

#[test]
fn component_carries_on_at_the_reserve_server_when_the_primary_is_silent() {
    let mut site = site();
    let mut host = site.host("computer");
    host.must_take(&server_session(1)).unwrap();
    site.primary.process().signal(libc::SIGSTOP).unwrap();
    // A call that was under way when the server fell silent may end without an answer; the next
    // one must not.
    let (first, took) = clock::timed(|| host.ask("ПолучитьСчетчики"));
    println!("first call at the silent primary: {} ms", took.as_millis());
    assert!(first.is_ok() && took < HANG, "took {took:?}");
    site.check_carries_on(&mut host, "is silent");
    host.quit().unwrap();
}

#[test]
fn start_walks_past_servers_that_are_not_there() {
    let mut site = site();
    site.primary.kill().unwrap();
    let (mut host, took) = clock::timed(|| site.host("computer"));
    println!("start with a dead primary, process and all: {} ms", took.as_millis());
    let seat = host.must_take(&server_session(1)).unwrap();
    assert!(seat.server.ends_with(&format!(":{}", site.reserve.port())), "{seat:?}");
    host.quit().unwrap();
}

#[test]
fn session_of_a_killed_process_is_found_again_by_another_without_a_second_seat() {
    let site = site();
    let mut first = site.host("first");
    let seat = first.must_take(&server_session(1)).unwrap();
    first.process().kill().unwrap();
    let sessions = site.primary.rest().sessions().unwrap();
    assert_eq!(sessions.len(), 1, "the session lives on at the server");

    let mut second = site.host("second");
    let again = second.must_take(&server_session(1)).unwrap();
    assert_eq!(again.id, seat.id, "infobase, number and start name the same session");
    assert_eq!(again.used_licence, seat.used_licence);
    assert_eq!(second.seats_held().unwrap(), 1, "no second seat");
    second.must_take(&server_session(2)).unwrap();
    assert_eq!(second.seats_held().unwrap(), 2, "another session takes another seat");
    second.quit().unwrap();
    wait_until(SETTLE_BOUND, "the release at the exit of the process", || {
        Ok(site.primary.rest().sessions()?.is_empty().then_some(()))
    })
    .unwrap();
}
