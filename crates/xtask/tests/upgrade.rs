//! A server that is upgraded, started again or closed for a while under 1C sessions that go on: the
//! real component takes the seats, and nobody is thrown out.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::time::Duration;

use xtask::demo::server_session;
use xtask::stage::{HostProcess, Order, Seat, Server, Stage, Vendor, wait_until};

/// Sessions of the host.
const SESSIONS: u32 = 3;

/// A start, and a heartbeat of the component (10 s) after it, with room.
const SETTLE_BOUND: Duration = Duration::from_secs(60);

struct Site {
    stage: Stage,
    server: Server,
    host: HostProcess,
    seats: Vec<Seat>,
    _vendor: Vendor,
}

fn site() -> Site {
    let stage = Stage::temporary().unwrap();
    let vendor = Vendor::start(&stage).unwrap();
    let server = Server::start(&stage, "server", &vendor, 0).unwrap();
    server.activate(&stage, &vendor, Order { kind: "main", seats: SESSIONS }).unwrap();
    let computer = stage.computer("computer", &vendor, &[server.port()]).unwrap();
    let mut host = HostProcess::started(&stage, "computer", &computer).unwrap();
    let take = |number| host.must_take(&server_session(number)).unwrap();
    let seats = (1..=SESSIONS).map(take).collect();
    Site { stage, server, host, seats, _vendor: vendor }
}

impl Site {
    fn wait_ready(&self) {
        wait_until(SETTLE_BOUND, "the server", || {
            let answer = self.server.rest().try_get("/health/ready");
            Ok(answer.is_ok_and(|answer| answer.status == 200).then_some(()))
        })
        .unwrap();
    }

    /// Every session goes on under its id, with its seat; the pool is exactly full as before.
    fn check_nobody_was_thrown_out(&mut self, when: &str) {
        let shown = self.server.rest().sessions().unwrap();
        let mut ids: Vec<_> = shown.iter().filter_map(|session| session["ID"].as_str()).collect();
        let mut expected: Vec<_> = self.seats.iter().map(|seat| &*seat.id).collect();
        ids.sort_unstable();
        expected.sort_unstable();
        assert_eq!(ids, expected, "{when}");
        for (number, before) in (1..).zip(&self.seats) {
            let seat = self.host.must_take(&server_session(number)).unwrap();
            assert_eq!(
                (&seat.id, seat.used_licence),
                (&before.id, before.used_licence),
                "{when}: session {number}"
            );
        }
        assert!(self.host.take(&server_session(SESSIONS + 1)).unwrap().is_err(), "{when}: full");
    }
}

#[test]
fn upgraded_server_throws_nobody_out() {
    let mut site = site();
    for round in 1..=3 {
        // What a package does: the old program ends in good order, the next one starts.
        site.server.stop().unwrap();
        site.server.restart(&site.stage).unwrap();
        site.wait_ready();
        site.check_nobody_was_thrown_out(&format!("upgrade {round}"));
    }
    site.host.quit().unwrap();
}

#[test]
fn server_started_again_within_its_process_throws_nobody_out() {
    let mut site = site();
    let pid = site.server.process().pid();
    for round in 1..=3 {
        let answer = site.server.rest().try_post("/api/restart", &serde_json::json!({})).unwrap();
        assert_eq!(
            (answer.status, answer.body["Port"].as_u64()),
            (202, Some(site.server.port().into()))
        );
        site.server.process().line_with("listens on", SETTLE_BOUND).unwrap();
        site.wait_ready();
        site.check_nobody_was_thrown_out(&format!("restart {round}"));
    }
    assert_eq!(site.server.process().pid(), pid, "the process is the same");
    site.host.quit().unwrap();
}

#[test]
fn server_closed_by_a_locked_database_throws_nobody_out() {
    let mut site = site();
    let database = site.server.data().join("3.0/licenceserver.db");
    let holder = rusqlite::Connection::open(database).unwrap();
    holder.busy_timeout(SETTLE_BOUND).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    // The wish must be written down, and cannot be.
    let refused = site.server.rest().try_post("/api/restart", &serde_json::json!({})).unwrap();
    assert_eq!(refused.status, 503, "{:?}", refused.body);
    wait_until(SETTLE_BOUND, "the closed server", || {
        let answer = site.server.rest().try_get("/health/ready");
        Ok(answer.is_ok_and(|answer| answer.status == 503).then_some(()))
    })
    .unwrap();
    drop(holder);
    site.server.process().line_with("listens on", SETTLE_BOUND).unwrap();
    site.wait_ready();
    site.check_nobody_was_thrown_out("after the database was locked");
    site.host.quit().unwrap();
}
