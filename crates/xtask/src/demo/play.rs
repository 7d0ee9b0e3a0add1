//! The acts of the demo. Each says what it does, shows what REST answered and checks it.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use licence_core::protocol::SessionInfo;
use serde_json::Value;

use crate::build::say;
use crate::clock;
use crate::stage::{
    Computer, HostProcess, Order, Refused, STOP_BOUND, Seat, Server, Stage, StageError, Vendor,
    wait_until,
};

/// Seats of the main and of the additional key.
const SEATS: [u32; 2] = [5, 2];

/// Sessions that ask for a seat: one more than there are.
const SESSIONS: u32 = 8;

/// Bound of what the component does by itself: a heartbeat (10 s), the walk over two servers
/// (3 s each) and room for a busy machine.
const SETTLE_BOUND: Duration = Duration::from_secs(40);

/// Where the acts take place.
struct Play<'a> {
    stage: &'a Stage,
    out: &'a mut dyn Write,
    act: String,
}

/// Plays all acts with the primary server on `port` (0: any free one). Calls `curtain` with the
/// console's address while everything is up, then ends all programs in order.
///
/// # Errors
///
/// When an act does not hold; the message names it.
pub fn play(
    stage: &Stage,
    port: u16,
    out: &mut dyn Write,
    curtain: impl FnOnce(&mut dyn Write, &str) -> Result<(), StageError>,
) -> Result<(), StageError> {
    let mut play = Play { stage, out, act: String::new() };
    let played = play.acts(port, curtain);
    let act = play.act;
    played.map_err(|why| StageError::failed(format!("step \"{act}\": {why}")))
}

impl Play<'_> {
    fn acts(
        &mut self,
        port: u16,
        curtain: impl FnOnce(&mut dyn Write, &str) -> Result<(), StageError>,
    ) -> Result<(), StageError> {
        self.act("The vendor makes series 672B «Тестовая серия» and starts the centre")?;
        let mut vendor = Vendor::start(self.stage)?;
        self.say(&format!("centre at {}", vendor.centre_url()))?;
        let (mut primary, mut reserve) = self.servers(&vendor, port)?;
        let computer =
            self.stage.computer("computer", &vendor, &[primary.port(), reserve.port()])?;
        self.file_mode_pair(&primary, &computer)?;
        let mut server_process = HostProcess::started(self.stage, "rphost", &computer)?;
        let seats = self.eight_sessions(&primary, &mut server_process)?;
        self.failover(&mut primary, &reserve, &mut server_process)?;
        self.primary_back(&mut primary, &seats)?;
        self.act("All of it held")?;
        curtain(self.out, &format!("http://127.0.0.1:{}/", primary.port()))?;
        self.act("The 1C process exits, and its seats are free at once")?;
        server_process.quit()?;
        wait_until(SETTLE_BOUND, "the release of all seats at the reserve server", || {
            Ok(reserve.rest().sessions()?.is_empty().then_some(()))
        })?;
        self.act("SIGTERM: both servers and the centre drain and end with exit code 0")?;
        primary.stop()?;
        reserve.stop()?;
        vendor.centre().stop(STOP_BOUND)
    }

    fn servers(&mut self, vendor: &Vendor, port: u16) -> Result<(Server, Server), StageError> {
        self.act("A customer starts two licence servers, a primary and a reserve one")?;
        let primary = Server::start(self.stage, "primary", vendor, port)?;
        let reserve = Server::start(self.stage, "reserve", vendor, 0)?;
        self.say(&format!(
            "primary on port {}, reserve on port {}",
            primary.port(),
            reserve.port()
        ))?;
        self.act(
            "Activation codes: a main key of 5 seats and an additional one of 2 on the primary",
        )?;
        for (kind, seats) in [("main", SEATS[0]), ("additional", SEATS[1])] {
            let code = vendor.order(self.stage, Order { kind, seats })?;
            self.say(&format!("POST /api/licences with {code}"))?;
            let licence = primary.rest().activate(&code)?;
            self.show(&licence)?;
            require(licence["LicenceCount"] == seats, "the licence has the seats ordered")?;
        }
        let licences = primary.rest().licences()?;
        require(licences.len() == 2, "the primary shows two licences")?;
        require(
            licences.iter().all(|l| l["Enabled"] == true && l["Workable"] == true),
            "both may be used",
        )?;
        self.act("A main key of 7 seats on the reserve server")?;
        let order = Order { kind: "main", seats: SEATS.iter().sum() };
        let licence = reserve.activate(self.stage, vendor, order)?;
        require(licence["Enabled"] == true, "the reserve key may be used")?;
        self.say(&format!("GET /api/licences on the primary: {} licences", licences.len()))?;
        Ok((primary, reserve))
    }

    fn file_mode_pair(&mut self, primary: &Server, computer: &Computer) -> Result<(), StageError> {
        self.act("File mode: two 1C processes on one computer share one seat")?;
        let mut first = HostProcess::started(self.stage, "1cv8c-1", computer)?;
        let mut second = HostProcess::started(self.stage, "1cv8c-2", computer)?;
        let sessions = [file_session(1, "WORKSTATION-1"), file_session(2, "WORKSTATION-1")];
        let before = first.seats_held()?;
        first.must_take(&sessions[0])?;
        let one = first.seats_held()?;
        second.must_take(&sessions[1])?;
        let two = second.seats_held()?;
        self.say(&format!("seats held: {before}, after the first {one}, after the second {two}"))?;
        require((one, two) == (before + 1, before + 1), "the second shares the seat of the first")?;
        let shown = primary.rest().sessions()?;
        self.say("GET /api/sessions")?;
        self.show(&Value::Array(shown.clone()))?;
        require(shown.len() == 2, "both sessions are shown")?;
        require(shown[0]["UsedLicence"] == shown[1]["UsedLicence"], "they name one key")?;
        first.release(&sessions[0])?;
        require(second.seats_held()? == one, "the seat stays while one of the two uses it")?;
        second.release(&sessions[1])?;
        require(second.seats_held()? == before, "the last one frees it")?;
        first.quit()?;
        second.quit()
    }

    fn eight_sessions(
        &mut self,
        primary: &Server,
        host: &mut HostProcess,
    ) -> Result<Vec<Seat>, StageError> {
        self.act("Eight sessions of an application server ask for the seven seats")?;
        let mut seats = Vec::new();
        for number in 1..SESSIONS {
            let seat = host.must_take(&server_session(number))?;
            let key = seat.used_licence.unwrap_or_default();
            self.say(&format!("session {number}: granted by key {key}, id {}", seat.id))?;
            require(seat.confirmed, "the server stands behind it")?;
            seats.push(seat);
        }
        let keys: BTreeSet<_> = seats.iter().map(|seat| seat.used_licence).collect();
        require(keys.len() == 2, "seats of both keys are used")?;
        match host.take(&server_session(SESSIONS))? {
            Ok(_) => return Err(StageError::failed("the eighth session was granted")),
            Err(Refused { class, text }) => {
                self.say(&format!("session {SESSIONS}: refused, {class}: {text}"))?;
                require(class.starts_with("EServerResult."), "the server refused it")?;
                require(text.chars().any(|c| ('а'..='я').contains(&c)), "the reason is readable")?;
            }
        }
        let shown = primary.rest().sessions()?;
        self.say("GET /api/sessions")?;
        self.show(&Value::Array(shown.clone()))?;
        require(ids(&shown) == granted(&seats), "REST shows the seven granted sessions")?;
        let connections = primary.rest().connections()?;
        self.say("GET /api/connections")?;
        self.show(&Value::Array(connections.clone()))?;
        require(connections.len() == 1, "they came over one connection")?;
        Ok(seats)
    }

    fn failover(
        &mut self,
        primary: &mut Server,
        reserve: &Server,
        host: &mut HostProcess,
    ) -> Result<(), StageError> {
        self.act("kill -9 of the primary: the component carries on at the reserve server")?;
        primary.kill()?;
        let (server, took) = clock::timed(|| host.ask("ПолучитьИнформациюОСервере"));
        let server = server?
            .map_err(|refused| StageError::failed(format!("no server: {}", refused.text)))?;
        self.say(&format!("the component's next call took {} ms", took.as_millis()))?;
        self.show(&server)?;
        let expected = usize::try_from(SESSIONS - 1).unwrap_or_default();
        wait_until(SETTLE_BOUND, "the seven sessions at the reserve server", || {
            Ok((reserve.rest().sessions()?.len() == expected).then_some(()))
        })?;
        for number in 1..SESSIONS {
            let seat = host.must_take(&server_session(number))?;
            let there = seat.server.ends_with(&format!(":{}", reserve.port()));
            require(seat.confirmed && there, "the reserve server stands behind every session")?;
        }
        self.say(&format!("the reserve server holds all {expected} sessions"))
    }

    fn primary_back(&mut self, primary: &mut Server, seats: &[Seat]) -> Result<(), StageError> {
        self.act("The primary comes back with its sessions")?;
        primary.restart(self.stage)?;
        let shown = primary.rest().sessions()?;
        self.say(&format!("GET /api/sessions on the primary: {} sessions", shown.len()))?;
        require(ids(&shown) == granted(seats), "the same sessions as before kill -9")?;
        let info = primary.rest().get("/api/serverinfo")?;
        self.say("GET /api/serverinfo")?;
        self.show(&info)
    }

    fn act(&mut self, name: &str) -> Result<(), StageError> {
        self.act = name.to_owned();
        say(self.out, &format!("\n==> {name}"))
    }

    fn say(&mut self, line: &str) -> Result<(), StageError> {
        say(self.out, &format!("    {line}"))
    }

    fn show(&mut self, json: &Value) -> Result<(), StageError> {
        for line in format!("{json:#}").lines() {
            self.say(line)?;
        }
        Ok(())
    }
}

/// A session on an application server.
pub fn server_session(number: u32) -> SessionInfo {
    SessionInfo {
        session_number: number.to_string(),
        is_server: true,
        info_base_connection_str: "Srvr=\"app\";Ref=\"trade\";".to_owned(),
        app_name: "1CV8C".to_owned(),
        computer_name: format!("PC-{number}"),
        user_name: Some(format!("Пользователь {number}")),
        session_started: "2026-01-31T09:00:00.000Z".parse().ok(),
        terminal_client: None,
    }
}

/// A session of a file infobase on this computer.
pub fn file_session(number: u32, computer: &str) -> SessionInfo {
    SessionInfo {
        is_server: false,
        info_base_connection_str: "File=\"C:\\Bases\\Trade\";".to_owned(),
        computer_name: computer.to_owned(),
        ..server_session(number)
    }
}

fn ids(sessions: &[Value]) -> BTreeSet<(String, u64)> {
    sessions
        .iter()
        .map(|session| {
            let id = session["ID"].as_str().unwrap_or_default().to_owned();
            (id, session["UsedLicence"].as_u64().unwrap_or_default())
        })
        .collect()
}

fn granted(seats: &[Seat]) -> BTreeSet<(String, u64)> {
    seats.iter().map(|seat| (seat.id.clone(), seat.used_licence.unwrap_or_default())).collect()
}

fn require(holds: bool, what: &str) -> Result<(), StageError> {
    if holds { Ok(()) } else { Err(StageError::failed(format!("it does not hold that {what}"))) }
}
