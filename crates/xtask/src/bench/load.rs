//! The load: connections that ask one after the other, as fast as they are answered.
//!
//! Runs as a process of its own, so that what the server spends is told apart from what asking
//! costs. It connects and takes its seats, prints `ready`, waits for a line, asks for the given
//! time, prints one line of JSON, waits for another line and says goodbye. It judges nothing.

use std::io::{self, BufRead, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use licence_core::key::KeySeries;
use licence_core::protocol::{
    Connect, Connected, ConnectionInfo, Disconnect, Heartbeat, HeartbeatAnswer, Hello, OpenSession,
    SessionInfo, SessionOpened, TouchSession, VERSIONS, Wish,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::baselines::{Claim, Claimed, Renew};
use super::channel::{Answer, Channel, any_certificate};
use super::histogram::Histogram;
use crate::clock;

/// Most connections: two files each on one machine stay far below the usual limit of 1024.
const CONNECTIONS_MAX: i64 = 256;

/// Longest load in seconds.
const SECONDS_MAX: i64 = 120;

/// Most sessions that a connection holds: a hundredth of what `hold` is asked for at most.
const SESSIONS_MAX: i64 = 100_000;

/// What is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(super) enum Kind {
    /// Take seats until none is free, then ask for one more again and again.
    Denial,
    /// `GET /` of the hello stand-in.
    Hello,
    /// Heartbeats of connections that hold sessions.
    Heartbeat,
    /// Take a seat and give it back.
    Cycle,
    /// Heartbeats of the lease-table stand-in.
    LeaseHeartbeat,
    /// Claim and release at the lease-table stand-in.
    LeaseCycle,
    /// Nothing: only hold the sessions.
    Idle,
}

/// Arguments of a load.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LoadArgs {
    /// What is asked.
    #[arg(long, value_enum)]
    pub(super) kind: Kind,
    /// Port on 127.0.0.1.
    #[arg(long)]
    pub(super) port: u16,
    /// Speak TLS.
    #[arg(long)]
    pub(super) tls: bool,
    /// Series to ask for.
    #[arg(long, default_value = crate::stage::SERIES)]
    pub(super) series: KeySeries,
    /// Connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    pub(super) connections: u32,
    /// Sessions that each connection holds.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=SESSIONS_MAX))]
    pub(super) sessions: u32,
    /// How long to ask.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=SECONDS_MAX))]
    pub(super) seconds: u32,
}

/// What a load came to.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct LoadResult {
    /// Requests that were answered as they should.
    pub(super) requests: u64,
    /// Requests that were not: any is a failed run.
    pub(super) failures: u64,
    /// Sessions held while asking.
    pub(super) held: u64,
    /// How long it asked.
    pub(super) seconds: f64,
    /// Half of the requests were faster.
    pub(super) p50_micros: u64,
    /// 99 of 100 requests were faster.
    pub(super) p99_micros: u64,
    /// The slowest.
    pub(super) max_micros: u64,
}

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
            let opened = Channel::open(args.port, tls.as_ref())
                .and_then(|channel| Worker::prepare(channel, &args, number));
            match opened {
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
    let (mut histogram, mut failures) = (Histogram::new(), 0);
    if args.kind != Kind::Idle {
        for _ in 0..args.connections {
            let tally = results.recv().map_err(io::Error::other)?;
            histogram.merge(&tally.histogram);
            failures += tally.failures;
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
}

/// One connection.
struct Worker {
    channel: Channel,
    kind: Kind,
    number: u32,
    connection: String,
    sessions: Vec<String>,
    asked: u64,
}

impl Worker {
    /// Gets everything ready that is not measured.
    fn prepare(channel: Channel, args: &LoadArgs, number: u32) -> io::Result<Self> {
        let mut worker = Self {
            channel,
            kind: args.kind,
            number,
            connection: String::new(),
            sessions: Vec::new(),
            asked: 0,
        };
        match args.kind {
            Kind::Hello | Kind::LeaseCycle => {}
            Kind::LeaseHeartbeat => {
                for _ in 0..args.sessions.max(1) {
                    let lease = worker.claim()?.lease;
                    worker.sessions.push(lease);
                }
            }
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
        let Ok(end) = started.recv() else { return };
        if self.kind != Kind::Idle {
            let mut tally = Tally { histogram: Histogram::new(), failures: 0 };
            while clock::now() < end {
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
                let heartbeat = Heartbeat {
                    connection: self.connection.clone(),
                    sessions: self.sessions.clone(),
                };
                let answer = self.timed("/client/v1/heartbeat", &heartbeat, tally)?;
                let renewed: HeartbeatAnswer = expect(&answer)?;
                // A heartbeat that names sessions as gone did not renew them.
                tally.failures += u64::from(!renewed.gone.is_empty());
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
        }
    }

    fn timed<B: Serialize>(
        &mut self,
        path: &str,
        body: &B,
        tally: &mut Tally,
    ) -> io::Result<Answer> {
        let body = serde_json::to_vec(body)?;
        let begin = clock::now();
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

    fn open(&mut self) -> io::Result<SessionOpened> {
        let open = self.open_message();
        let answer = self.post("/client/v1/open", &open)?;
        expect(&answer)
    }

    /// A session that nobody has opened yet.
    fn open_message(&mut self) -> OpenSession {
        self.asked += 1;
        OpenSession {
            connection: self.connection.clone(),
            session: SessionInfo {
                // Unlike those of a load that runs beside this one: the same would be found again.
                session_number: format!("{}-{}-{}", std::process::id(), self.number, self.asked),
                is_server: true,
                info_base_connection_str: "Srvr=\"app-server-01\";Ref=\"accounting\";".to_owned(),
                app_name: "1CV8C".to_owned(),
                computer_name: "workplace-17".to_owned(),
                user_name: Some("Иванов Иван Иванович".to_owned()),
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
