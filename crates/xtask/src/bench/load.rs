//! The load: connections that ask one after the other, as fast as they are answered.
//!
//! Runs as a process of its own, so that what the server spends is told apart from what asking
//! costs. It connects and takes its seats, prints `ready`, waits for a line, asks for the given
//! time, prints one line of JSON, waits for another line and says goodbye. It judges nothing.

mod args;

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use licence_core::key::KeySeries;
use licence_core::protocol::{
    Connect, Connected, ConnectionInfo, Disconnect, HEARTBEAT_SECS, Heartbeat, HeartbeatAnswer,
    Hello, OpenSession, SessionInfo, SessionOpened, TouchSession, VERSIONS, Wish,
};
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) use args::{Kind, LoadArgs, LoadResult};

use super::baselines::{Claim, Claimed, Renew};
use super::channel::{Answer, Channel, any_certificate};
use super::histogram::Histogram;
use crate::clock;

/// Runs a load on standard input and output.
///
/// # Errors
///
/// When a connection cannot be made or the surroundings go away. Failed requests are counted, not
/// reported here.
pub(super) fn run(args: &LoadArgs) -> io::Result<()> {
    let tls = if args.tls { Some(any_certificate().map_err(io::Error::other)?) } else { None };
    let (ready, readied) = channel();
    let (done, results) = channel();
    let mut starts = Vec::new();
    let mut ends = Vec::new();
    let mut threads = Vec::new();
    for number in 0..args.connections {
        let (start, started) = channel();
        let (end, ended) = channel();
        starts.push(start);
        ends.push(end);
        let (args, tls, ready, done) = (args.clone(), tls.clone(), ready.clone(), done.clone());
        threads.push(std::thread::spawn(move || {
            match Worker::open_for(&args, number, tls.as_ref()) {
                Ok(worker) => worker.work(&ready, &started, &done, &ended),
                Err(why) => drop(ready.send(Err(why))),
            }
        }));
    }
    drop((ready, done));
    let mut held = 0;
    for _ in 0..args.connections {
        held += readied.recv().map_err(io::Error::other)??;
    }
    say("ready")?;
    wait_for_line()?;
    let begin = clock::now();
    let end = begin + Duration::from_secs(args.seconds.into());
    for start in &starts {
        start.send(end).map_err(io::Error::other)?;
    }
    let (mut histogram, mut failures, mut bytes) = (Histogram::new(), 0, 0);
    if args.kind != Kind::Idle {
        for _ in 0..args.connections {
            let tally = results.recv().map_err(io::Error::other)?;
            histogram.merge(&tally.histogram);
            failures += tally.failures;
            bytes += tally.bytes;
        }
    }
    let result = LoadResult {
        requests: histogram.count(),
        failures,
        held,
        seconds: clock::now().duration_since(begin).as_secs_f64(),
        p50_micros: histogram.per_mille_micros(500),
        p99_micros: histogram.per_mille_micros(990),
        max_micros: histogram.max_micros(),
        bytes,
    };
    say(&serde_json::to_string(&result)?)?;
    // The caller takes the server's figures now, before the goodbyes.
    wait_for_line()?;
    drop(ends);
    for thread in threads {
        thread.join().map_err(|_| io::Error::other("a connection's thread panicked"))?;
    }
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

/// Waits for a line or for the end of the input.
fn wait_for_line() -> io::Result<()> {
    io::stdin().lock().read_line(&mut String::new()).map(drop)
}

struct Tally {
    histogram: Histogram,
    failures: u64,
    bytes: u64,
}

/// One connection.
pub(super) struct Worker {
    channel: Channel,
    kind: Kind,
    number: u32,
    connection: String,
    sessions: Vec<String>,
    asked: u64,
    spread: Spread,
    /// From one request to the next, where not each answer is followed by the next request.
    interval: Option<Duration>,
    /// When the next request is due.
    due: Option<Instant>,
    /// When the present request was due, if it is late.
    late_since: Option<Instant>,
    /// How often to ask, where the time does not say.
    left: Option<u32>,
    paths: Vec<String>,
    /// Whole lines of the head with their ends.
    headers: String,
}

/// Over how many the sessions of a load are spread.
#[derive(Clone, Copy)]
struct Spread {
    infobases: u32,
    users: u32,
    /// Sessions of the connections before this one.
    first: u64,
}

impl Worker {
    /// Connects, and gets everything ready that is not measured.
    pub(super) fn open_for(
        args: &LoadArgs,
        number: u32,
        tls: Option<&Arc<ClientConfig>>,
    ) -> io::Result<Self> {
        let place = number as usize % args.ports.len().max(1);
        let port = args.ports.get(place).ok_or_else(|| io::Error::other("no port is named"))?;
        Self::prepare(Channel::open(*port, tls)?, args, number)
    }

    fn prepare(channel: Channel, args: &LoadArgs, number: u32) -> io::Result<Self> {
        let mut worker = Self {
            channel,
            kind: args.kind,
            number,
            connection: String::new(),
            sessions: Vec::new(),
            asked: 0,
            spread: Spread {
                infobases: args.infobases,
                users: args.users,
                first: u64::from(number) * u64::from(args.sessions),
            },
            interval: args.rate.map(|rate| Duration::from_secs(1) / rate),
            due: None,
            late_since: None,
            left: (args.kind == Kind::Take).then_some(args.sessions),
            paths: args.paths.clone(),
            headers: args
                .basic
                .as_ref()
                .map_or_else(String::new, |basic| format!("Authorization: Basic {basic}\r\n")),
        };
        match args.kind {
            Kind::Hello | Kind::LeaseCycle => {}
            // The first answer is slow: the password is checked, caches are filled.
            Kind::Page => {
                for path in &args.paths {
                    let answer = worker.channel.request("GET", path, &worker.headers, b"")?;
                    if !answer.is_ok() {
                        return Err(refused(&answer));
                    }
                }
            }
            Kind::LeaseHeartbeat => {
                for _ in 0..args.sessions.max(1) {
                    let lease = worker.claim()?.lease;
                    worker.sessions.push(lease);
                }
            }
            Kind::Take => worker.connect(args.series)?,
            Kind::Cycle | Kind::Denial | Kind::Heartbeat | Kind::Idle => {
                worker.connect(args.series)?;
                for _ in 0..args.sessions {
                    let opened: SessionOpened = worker.open()?;
                    worker.sessions.push(opened.id);
                }
            }
        }
        Ok(worker)
    }

    fn work(
        mut self,
        ready: &Sender<io::Result<u64>>,
        started: &Receiver<Instant>,
        done: &Sender<Tally>,
        ended: &Receiver<()>,
    ) {
        if ready.send(Ok(self.sessions.len() as u64)).is_err() {
            return;
        }
        let Some(end) = self.wait_for_start(started) else { return };
        if self.kind != Kind::Idle {
            let mut tally = Tally { histogram: Histogram::new(), failures: 0, bytes: 0 };
            while self.is_my_turn(end) {
                self.wait_for_turn(ended);
                // A connection that broke answers nothing any more.
                if self.ask(&mut tally).is_err() {
                    tally.failures += 1;
                    break;
                }
            }
            drop(done.send(tally));
        }
        // Ends when the sender is dropped, which is the goodbye.
        let _closed = ended.recv();
        if !self.connection.is_empty() {
            let goodbye = Disconnect { connection: self.connection.clone(), end_sessions: true };
            drop(self.post("/client/v1/disconnect", &goodbye));
        }
    }

    /// Waits for the start; whoever holds sessions renews them meanwhile. Nothing when there will
    /// be none.
    fn wait_for_start(&mut self, started: &Receiver<Instant>) -> Option<Instant> {
        let bound = Duration::from_secs(HEARTBEAT_SECS);
        loop {
            match started.recv_timeout(bound) {
                Ok(end) => return Some(end),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) if self.connection.is_empty() => {}
                Err(RecvTimeoutError::Timeout) => {
                    let heartbeat = self.heartbeat();
                    // The server may have been killed, which is the course's business.
                    if self.post("/client/v1/heartbeat", &heartbeat).is_err() {
                        self.connection.clear();
                    }
                }
            }
        }
    }

    fn is_my_turn(&mut self, end: Instant) -> bool {
        let Some(left) = &mut self.left else { return clock::now() < end };
        let is_one_left = *left > 0;
        *left = left.saturating_sub(1);
        is_one_left
    }

    /// Waits until the next request is due, where a rate is asked for. One that is late because its
    /// predecessor was slow is measured from when it was due: a server that stands still for a
    /// second must not look like one slow answer.
    fn wait_for_turn(&mut self, ended: &Receiver<()>) {
        let Some(interval) = self.interval else { return };
        let now = clock::now();
        let due = self.due.map_or(now, |last| last + interval);
        self.due = Some(due);
        self.late_since = (due < now).then_some(due);
        if let Some(wait) = due.checked_duration_since(now) {
            // Nobody ends a load while it asks: this only waits for the moment.
            let _moment = ended.recv_timeout(wait);
        }
    }

    fn heartbeat(&self) -> Heartbeat {
        Heartbeat { connection: self.connection.clone(), sessions: self.sessions.clone() }
    }

    /// Asks once: one request, or for a cycle two, each measured by itself.
    fn ask(&mut self, tally: &mut Tally) -> io::Result<()> {
        match self.kind {
            Kind::Denial => {
                let open = self.open_message();
                let answer = self.timed("/client/v1/open", &open, tally)?;
                if answer.is_ok() {
                    tally.failures += 1;
                }
                // A refusal is the right answer here.
                Ok(())
            }
            Kind::Hello => {
                let begin = clock::now();
                let answer = self.channel.request("GET", "/", "", b"")?;
                tally.histogram.record(clock::now().duration_since(begin));
                tally.failures += u64::from(!answer.is_ok());
                Ok(())
            }
            Kind::Heartbeat => {
                let heartbeat = self.heartbeat();
                let answer = self.timed("/client/v1/heartbeat", &heartbeat, tally)?;
                let renewed: HeartbeatAnswer = expect(&answer)?;
                // A heartbeat that names sessions as gone did not renew them.
                tally.failures += u64::from(!renewed.gone.is_empty());
                Ok(())
            }
            Kind::Take => {
                let open = self.open_message();
                let answer = self.timed("/client/v1/open", &open, tally)?;
                self.sessions.push(expect::<SessionOpened>(&answer)?.id);
                Ok(())
            }
            Kind::Cycle => {
                let open = self.open_message();
                let answer = self.timed("/client/v1/open", &open, tally)?;
                let opened: SessionOpened = expect(&answer)?;
                let close =
                    TouchSession { connection: self.connection.clone(), session: opened.id };
                let answer = self.timed("/client/v1/close", &close, tally)?;
                tally.failures += u64::from(!answer.is_ok());
                Ok(())
            }
            Kind::LeaseHeartbeat => {
                let renew = Renew { leases: self.sessions.clone() };
                let answer = self.timed("/heartbeat", &renew, tally)?;
                tally.failures += u64::from(!answer.is_ok());
                Ok(())
            }
            Kind::LeaseCycle => {
                let claim = self.claim_message();
                let answer = self.timed("/claim", &claim, tally)?;
                let claimed: Claimed = expect(&answer)?;
                let answer = self.timed("/release", &claimed, tally)?;
                tally.failures += u64::from(!answer.is_ok());
                Ok(())
            }
            Kind::Idle => Ok(()),
            Kind::Page => {
                let count = self.paths.len() as u64;
                // The connections begin with different pages.
                let at = (self.asked + u64::from(self.number)).checked_rem(count).unwrap_or(0);
                self.asked += 1;
                let path = self.paths.get(at as usize).map_or("/", String::as_str);
                let begin = clock::now();
                let answer = self.channel.request("GET", path, &self.headers, b"")?;
                tally.histogram.record(clock::now().duration_since(begin));
                tally.failures += u64::from(!answer.is_ok());
                tally.bytes += answer.body.len() as u64;
                Ok(())
            }
        }
    }

    fn timed<B: Serialize>(
        &mut self,
        path: &str,
        body: &B,
        tally: &mut Tally,
    ) -> io::Result<Answer> {
        let body = serde_json::to_vec(body)?;
        let begin = self.late_since.take().unwrap_or_else(clock::now);
        let answer = self.channel.request("POST", path, "", &body)?;
        tally.histogram.record(clock::now().duration_since(begin));
        Ok(answer)
    }

    fn post<B: Serialize>(&mut self, path: &str, body: &B) -> io::Result<Answer> {
        self.channel.request("POST", path, "", &serde_json::to_vec(body)?)
    }

    fn connect(&mut self, series: KeySeries) -> io::Result<()> {
        let hello = Hello {
            versions: VERSIONS.to_vec(),
            component: env!("CARGO_PKG_VERSION").to_owned(),
            key_id: series,
        };
        let answer = self.post("/client/hello", &hello)?;
        if !answer.is_ok() {
            return Err(refused(&answer));
        }
        let info = ConnectionInfo {
            os_version: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            computer_name: "app-server-01".to_owned(),
            local_ip: "10.0.0.7".to_owned(),
            process: "rphost".to_owned(),
            cpu: "x86_64".to_owned(),
            pid: self.number.to_string(),
            is_server: true,
            platform_version: "8.3.24.1467".to_owned(),
            module_name: "licenceaddin.so".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            terminal_client: None,
        };
        let answer = self.post("/client/v1/connect", &Connect { key_id: series, info })?;
        self.connection = expect::<Connected>(&answer)?.id;
        Ok(())
    }

    /// Takes a seat.
    pub(super) fn open(&mut self) -> io::Result<SessionOpened> {
        let open = self.open_message();
        let answer = self.post("/client/v1/open", &open)?;
        expect(&answer)
    }

    /// Gives a seat back.
    pub(super) fn close(&mut self, session: String) -> io::Result<()> {
        let close = TouchSession { connection: self.connection.clone(), session };
        let answer = self.post("/client/v1/close", &close)?;
        if answer.is_ok() { Ok(()) } else { Err(refused(&answer)) }
    }

    /// A session that nobody has opened yet.
    fn open_message(&mut self) -> OpenSession {
        self.asked += 1;
        let Spread { infobases, users, first } = self.spread;
        let (infobase, user) =
            ((first + self.asked) % u64::from(infobases), (first + self.asked) % u64::from(users));
        OpenSession {
            connection: self.connection.clone(),
            session: SessionInfo {
                // Unlike those of a load that runs beside this one: the same would be found again.
                // A number, as those of 1C are: lists order these by their value.
                session_number: format!(
                    "{}{:03}{:08}",
                    std::process::id(),
                    self.number,
                    self.asked
                ),
                is_server: true,
                info_base_connection_str: format!(
                    "Srvr=\"app-server-01\";Ref=\"accounting{infobase:02}\";"
                ),
                app_name: "1CV8C".to_owned(),
                computer_name: format!("workplace-{user:04}"),
                user_name: Some(format!("Иванов Иван Иванович {user:04}")),
                session_started: None,
                terminal_client: None,
            },
            wish: Wish::default(),
            lease: None,
            language: None,
        }
    }

    fn claim_message(&mut self) -> Claim {
        self.asked += 1;
        Claim { holder: format!("app-server-01/accounting/{}-{}", self.number, self.asked) }
    }

    fn claim(&mut self) -> io::Result<Claimed> {
        let claim = self.claim_message();
        let answer = self.post("/claim", &claim)?;
        expect(&answer)
    }
}

fn expect<A: DeserializeOwned>(answer: &Answer) -> io::Result<A> {
    if !answer.is_ok() {
        return Err(refused(answer));
    }
    Ok(serde_json::from_slice(&answer.body)?)
}

fn refused(answer: &Answer) -> io::Error {
    let text = String::from_utf8_lossy(&answer.body);
    io::Error::other(format!("the server answered {}: {text}", answer.status))
}
