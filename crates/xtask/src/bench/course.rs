//! The course of a run: what is started, loaded and looked at, in which order.
//!
//! Each server is alone with its load while it is measured; the baselines come right before what
//! is compared with them, so that a change of the machine's mood meets both.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::channel::Channel;
use super::component;
use super::load::{Kind, LoadResult};
use super::million::MillionResult;
use super::pages;
use super::proc;
use super::report::{
    self, COLD_START_MILLIS, CYCLE_MICROS, Fetched, Figure, HEARTBEAT_MICROS, Point, RESIDENT_MIB,
};
use super::{BenchArgs, told};
use crate::build::say;
use crate::clock;
use crate::stage::{Order, Process, START_BOUND, STOP_BOUND, Server, Stage, StageError, Vendor};

/// Bound of a load's preparation: 10,000 seats one after the other on a slow disk.
pub(super) const PREPARE_BOUND: Duration = Duration::from_secs(120);

/// Bound of the million: some 10 µs each, a hundredfold.
const MILLION_BOUND: Duration = Duration::from_secs(1000);

/// How much longer than asked a load may take to end: its slowest request.
const LATE_BOUND: Duration = Duration::from_secs(40);

/// Seats of the large pool: the most that an order takes.
const LARGE_POOL: u32 = 1_000_000;

/// Seats of the small pool.
const SMALL_POOL: u32 = 10;

/// Seats of the lease table: enough for every load, and none of them slow to find.
const TABLE_SEATS: u32 = 10_000;

/// Connections of the loads that compare pools.
pub(super) const POOL_CONNECTIONS: u32 = 8;

/// Live sessions of the goals for memory and cold start.
const LIVE_SESSIONS: u32 = 10_000;

/// Connections that hold them.
const LIVE_CONNECTIONS: u32 = 50;

/// Infobases that they are spread over.
const LIVE_INFOBASES: u32 = 20;

/// Users that they are spread over: five sessions each.
const LIVE_USERS: u32 = 2_000;

/// Sessions of a heavy heartbeat.
const MANY_SESSIONS: u32 = 10;

/// Memory of an idle process of ours is told in MiB.
const KIB_PER_MIB: f64 = 1024.0;

const HELLO_PLAIN: &str = "hello, plain";
const HELLO_TLS: &str = "hello, TLS";
const TABLE_HEARTBEAT: &str = "lease table: heartbeat";
const TABLE_CYCLE: &str = "lease table: claim+release";
const HEARTBEAT: &str = "licenceserver: heartbeat";
const HEARTBEAT_MANY: &str = "licenceserver: heartbeat of 10 sessions";
const CYCLE: &str = "licenceserver: claim+release, 1,000,000 seats";
const CYCLE_SMALL: &str = "licenceserver: claim+release, 10 seats";
const CYCLE_LIVE: &str = "licenceserver: claim+release, 10,000 seats held";
const DENIAL: &str = "licenceserver: refusal, no seat free";
const DENIAL_LIVE: &str = "licenceserver: refusal, 10,000 seats held";

/// Runs everything with the programs beside this one.
///
/// # Errors
///
/// When a program does not do its part or a load has failures.
pub(super) fn run(args: &BenchArgs, out: &mut dyn Write) -> Result<(), StageError> {
    let mut course = Course::start(args, out)?;
    course.baselines_and_server(args)?;
    course.pools()?;
    course.many_sessions(args)?;
    let component = course.component()?;
    let figures = course.live_sessions()?;
    let Course { points, fetched, out, .. } = course;
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    say(out, "")?;
    say(
        out,
        &format!("{cores} cores, shared by the load and the server; {} s a point", args.seconds()),
    )?;
    say(out, &report::points(&points, HELLO_TLS, peer_of))?;
    say(out, &report::pages(&fetched, pages::FLOOR))?;
    let mut figures = figures;
    figures.extend(component);
    if args.million {
        figures.extend(million(out)?);
    }
    say(out, &report::figures(&figures))
}

fn peer_of(what: &str) -> Option<&'static str> {
    match what {
        HEARTBEAT => Some(TABLE_HEARTBEAT),
        CYCLE | CYCLE_SMALL | CYCLE_LIVE => Some(TABLE_CYCLE),
        _ => None,
    }
}

pub(super) struct Course<'a> {
    pub(super) out: &'a mut dyn Write,
    stage: Stage,
    vendor: Vendor,
    /// With a main key of 1,000,000 seats.
    large: Server,
    /// With a main key of 10 seats.
    small: Server,
    pub(super) seconds: u32,
    points: Vec<Point>,
    pub(super) fetched: Vec<Fetched>,
}

/// One load that is asked for.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) what: &'static str,
    pub(super) kind: Kind,
    pub(super) port: u16,
    pub(super) pid: u32,
    pub(super) tls: bool,
    pub(super) connections: u32,
    pub(super) sessions: u32,
    pub(super) cpu_goal: Option<f64>,
}

impl<'a> Course<'a> {
    fn start(args: &BenchArgs, out: &'a mut dyn Write) -> Result<Self, StageError> {
        let stage = Stage::temporary()?;
        say(out, "starting: series, centre, two licence servers, two activations")?;
        let vendor = Vendor::start(&stage)?;
        let server = |name, seats| {
            let server = Server::start(&stage, name, &vendor, 0)?;
            server.activate(&stage, &vendor, Order { kind: "main", seats })?;
            Ok::<_, StageError>(server)
        };
        let large = server("large", LARGE_POOL)?;
        let small = server("small", SMALL_POOL)?;
        let (points, fetched) = (Vec::new(), Vec::new());
        Ok(Self { out, stage, vendor, large, small, seconds: args.seconds(), points, fetched })
    }

    fn baselines_and_server(&mut self, args: &BenchArgs) -> Result<(), StageError> {
        let plain = self.baseline("hello-plain", &["baseline-hello"])?;
        let tls = self.baseline("hello-tls", &["baseline-hello", "--tls"])?;
        let seats = TABLE_SEATS.to_string();
        let db = self.stage.root().join("leases.db");
        let db = db.to_string_lossy().into_owned();
        let table =
            self.baseline("lease-table", &["baseline-leases", "--db", &db, "--seats", &seats])?;
        let (large, pid) = (self.large.port(), self.large.process().pid());
        for &connections in &args.connections {
            let at = |what, kind, (process, port): &(Process, u16), tls| Asked {
                what,
                kind,
                port: *port,
                pid: process.pid(),
                tls,
                connections,
                sessions: 1,
                cpu_goal: None,
            };
            let own = |what, kind, sessions, goal| Asked {
                what,
                kind,
                port: large,
                pid,
                tls: true,
                connections,
                sessions,
                cpu_goal: Some(goal),
            };
            self.point(at(HELLO_PLAIN, Kind::Hello, &plain, false))?;
            self.point(at(HELLO_TLS, Kind::Hello, &tls, true))?;
            self.point(at(TABLE_HEARTBEAT, Kind::LeaseHeartbeat, &table, true))?;
            self.point(own(HEARTBEAT, Kind::Heartbeat, 1, HEARTBEAT_MICROS))?;
            self.point(at(TABLE_CYCLE, Kind::LeaseCycle, &table, true))?;
            self.point(own(CYCLE, Kind::Cycle, 0, CYCLE_MICROS))?;
        }
        Ok(())
    }

    /// The same claims and releases where there are 10 seats, and refusals.
    fn pools(&mut self) -> Result<(), StageError> {
        let (port, pid) = (self.small.port(), self.small.process().pid());
        let small = Asked {
            what: CYCLE_SMALL,
            kind: Kind::Cycle,
            port,
            pid,
            tls: true,
            connections: POOL_CONNECTIONS,
            sessions: 0,
            cpu_goal: Some(CYCLE_MICROS),
        };
        self.point(small)?;
        // Ten connections, each with one seat, leave none free.
        let denial = Asked {
            what: DENIAL,
            kind: Kind::Denial,
            connections: SMALL_POOL,
            sessions: 1,
            cpu_goal: None,
            ..small
        };
        self.point(denial)
    }

    fn many_sessions(&mut self, args: &BenchArgs) -> Result<(), StageError> {
        let (port, pid) = (self.large.port(), self.large.process().pid());
        for &connections in &args.connections {
            self.point(Asked {
                what: HEARTBEAT_MANY,
                kind: Kind::Heartbeat,
                port,
                pid,
                tls: true,
                connections,
                sessions: MANY_SESSIONS,
                cpu_goal: Some(HEARTBEAT_MICROS),
            })?;
        }
        Ok(())
    }

    /// What members of the component cost in a 1C process.
    fn component(&mut self) -> Result<Vec<Figure>, StageError> {
        say(self.out, "the component: properties and a protected object")?;
        component::run(&self.stage, &self.vendor, &self.large)
    }

    /// Memory, cycles and a cold start with 10,000 live sessions, on a server of their own.
    fn live_sessions(&mut self) -> Result<Vec<Figure>, StageError> {
        let mut server = Server::start(&self.stage, "live", &self.vendor, 0)?;
        server.activate(
            &self.stage,
            &self.vendor,
            Order { kind: "main", seats: LIVE_SESSIONS + POOL_CONNECTIONS },
        )?;
        let (port, pid) = (server.port(), server.process().pid());
        let before = proc::resident_kib(pid)?;
        let hold = Asked {
            what: "",
            kind: Kind::Idle,
            port,
            pid,
            tls: true,
            connections: LIVE_CONNECTIONS,
            sessions: LIVE_SESSIONS / LIVE_CONNECTIONS,
            cpu_goal: None,
        };
        say(self.out, &format!("holding {LIVE_SESSIONS} sessions"))?;
        let spread =
            [("--infobases", LIVE_INFOBASES.to_string()), ("--users", LIVE_USERS.to_string())];
        let holder = self.load(hold, &spread)?;
        holder.line_with("ready", PREPARE_BOUND)?;
        let after = proc::resident_kib(pid)?;
        self.point(Asked {
            what: CYCLE_LIVE,
            kind: Kind::Cycle,
            connections: POOL_CONNECTIONS,
            sessions: 0,
            cpu_goal: Some(CYCLE_MICROS),
            ..hold
        })?;
        self.point(Asked {
            what: DENIAL_LIVE,
            kind: Kind::Denial,
            connections: POOL_CONNECTIONS,
            sessions: 1,
            ..hold
        })?;
        let loaded = proc::resident_kib(pid)?;
        let parallel = self.pages(port, pid)?;
        let paged = proc::resident_kib(pid)?;
        server.kill()?;
        let (answered, cold) = clock::timed(|| {
            server.restart(&self.stage)?;
            answers_api(server.port())
        });
        answered?;
        let held = server.rest().sessions()?.len();
        if held < LIVE_SESSIONS as usize {
            return Err(StageError::failed(format!(
                "{held} of {LIVE_SESSIONS} sessions are there after the restart"
            )));
        }
        let restarted = proc::resident_kib(server.process().pid())?;
        drop(holder);
        server.stop()?;
        let mib = |what: &str, kib: u64, goal| Figure {
            what: what.to_owned(),
            value: kib as f64 / KIB_PER_MIB,
            unit: "MiB",
            goal,
        };
        let mut figures = vec![
            mib("memory with a key and no session", before, None),
            mib("memory with 10,000 live sessions on 50 connections", after, Some(RESIDENT_MIB)),
            mib("the same after claims, releases and refusals", loaded, None),
            mib("the same after all pages of the console and listings", paged, None),
            mib("the same after kill -9, start and a listing over REST", restarted, None),
            Figure {
                what: format!("kill -9, then start to first answer, {held} leases"),
                value: cold.as_secs_f64() * 1000.0,
                unit: "ms",
                goal: Some(COLD_START_MILLIS),
            },
        ];
        figures.extend(parallel);
        Ok(figures)
    }

    fn baseline(&self, name: &str, arguments: &[&str]) -> Result<(Process, u16), StageError> {
        let mut command = own_program(&self.stage)?;
        command.args(arguments);
        let process = self.stage.start(name, command)?;
        let line = process.line_with("listens on", START_BOUND)?;
        let port = line.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let port = port.ok_or_else(|| StageError::failed(format!("no port in {line:?}")))?;
        Ok((process, port))
    }

    /// Starts a load; see [`start_load`].
    pub(super) fn load(
        &self,
        asked: Asked,
        more: &[(&str, String)],
    ) -> Result<Process, StageError> {
        start_load(&self.stage, self.seconds, asked, more)
    }

    /// Starts a load and lets it run; see [`Self::ran`].
    pub(super) fn measured(
        &self,
        asked: Asked,
        more: &[(&str, String)],
    ) -> Result<(LoadResult, Duration), StageError> {
        let load = self.load(asked, more)?;
        load.line_with("ready", PREPARE_BOUND)?;
        self.ran(load, asked)
    }

    /// Lets a load run that is ready; gives what it came to and the processor time of the server
    /// meanwhile.
    pub(super) fn ran(
        &self,
        mut load: Process,
        asked: Asked,
    ) -> Result<(LoadResult, Duration), StageError> {
        let before = proc::cpu(asked.pid)?;
        load.write_line("go")?;
        let line = self.result_line(&load)?;
        let spent = proc::cpu(asked.pid)?.saturating_sub(before);
        Ok((ended(load, asked, &line)?, spent))
    }

    /// What a load prints when it has asked for its time.
    pub(super) fn result_line(&self, load: &Process) -> Result<String, StageError> {
        load.line(late_bound(self.seconds))
    }

    /// Measures one point.
    fn point(&mut self, asked: Asked) -> Result<(), StageError> {
        let (result, spent) = self.measured(asked, &[])?;
        let point = Point {
            what: asked.what,
            connections: asked.connections,
            per_second: result.requests as f64 / result.seconds,
            cpu_micros: spent.as_secs_f64() * 1e6 / result.requests as f64,
            p50_millis: result.p50_micros as f64 / 1e3,
            p99_millis: result.p99_micros as f64 / 1e3,
            max_millis: result.max_micros as f64 / 1e3,
            cpu_goal: asked.cpu_goal,
        };
        say(
            self.out,
            &format!(
                "{}, {} connections: {:.0}/s, {:.1} µs CPU",
                point.what, point.connections, point.per_second, point.cpu_micros
            ),
        )?;
        self.points.push(point);
        Ok(())
    }
}

/// Starts a load; `more` are arguments that only some loads have.
pub(super) fn start_load(
    stage: &Stage,
    seconds: u32,
    asked: Asked,
    more: &[(&str, String)],
) -> Result<Process, StageError> {
    let mut command = own_program(stage)?;
    let kind = clap::ValueEnum::to_possible_value(&asked.kind)
        .ok_or_else(|| StageError::failed("a load without a name"))?;
    command.args(["load", "--kind", kind.get_name()]);
    for (name, value) in [
        ("--port", u32::from(asked.port)),
        ("--connections", asked.connections),
        ("--sessions", asked.sessions),
        ("--seconds", seconds),
    ] {
        command.args([name, &value.to_string()]);
    }
    for (name, value) in more {
        command.args([*name, value]);
    }
    if asked.tls {
        command.arg("--tls");
    }
    stage.start("load", command)
}

/// By when a load has printed what it came to.
pub(super) fn late_bound(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into()) + LATE_BOUND
}

/// Ends a load that has printed this line, and reads it. Any failure fails the run.
pub(super) fn ended(mut load: Process, asked: Asked, line: &str) -> Result<LoadResult, StageError> {
    load.write_line("end")?;
    let status = load.wait(STOP_BOUND)?;
    let result: LoadResult =
        serde_json::from_str(line).map_err(|why| told("the load's result", &why))?;
    if !status.success() || result.failures > 0 || result.requests == 0 {
        return Err(StageError::failed(format!(
            "{} with {} connections failed: {status}, {line}",
            asked.what, asked.connections
        )));
    }
    Ok(result)
}

fn own_program(stage: &Stage) -> Result<Command, StageError> {
    let mut command = Command::new(stage.bins().file("xtask")?);
    command.arg("bench");
    Ok(command)
}

/// One answer of any status: the password is not what is measured.
fn answers_api(port: u16) -> Result<(), StageError> {
    let asked =
        Channel::open(port, None).and_then(|mut channel| channel.request("GET", "/api", "", b""));
    asked.map(drop).map_err(|why| told("GET /api", &why))
}

fn million(out: &mut dyn Write) -> Result<Vec<Figure>, StageError> {
    say(out, "a million sessions in one process")?;
    let own = std::env::current_exe().map_err(|why| StageError::io(Path::new("xtask"), why))?;
    let mut command = Command::new(own);
    command.args(["bench", "million"]);
    let folder = tempfile::tempdir().map_err(|why| StageError::io(&std::env::temp_dir(), why))?;
    let mut process = Process::start("million", command, folder.path())?;
    let line = process.line(MILLION_BOUND)?;
    process.wait(STOP_BOUND)?;
    let result: MillionResult =
        serde_json::from_str(&line).map_err(|why| told("the million's result", &why))?;
    let figure = |what: String, value: f64, unit| Figure { what, value, unit, goal: None };
    let (before, after) = result.resident_kib;
    Ok(vec![
        figure(
            format!("core alone: memory of {} sessions with a seat", result.held),
            after.saturating_sub(before) as f64 / KIB_PER_MIB,
            "MiB",
        ),
        figure("core alone: opening one".into(), result.open_nanos as f64 / 1e3, "µs"),
        figure(
            "core alone: a heartbeat of 100 of them".into(),
            result.heartbeat_nanos as f64 / 1e3,
            "µs",
        ),
        figure(
            "core alone: taking all of them up again".into(),
            result.restore_millis as f64,
            "ms",
        ),
    ])
}
