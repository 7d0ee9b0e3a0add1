//! A process of 1C for the tests of a cluster: holds seats through `licence-client`, and tells what it
//! believes to hold and until when.
//!
//! Reads one command a line (`open 7`, `close 7`), tells one JSON value a line, stamped by the clock that
//! leases run on, which all processes of this computer share. Judges nothing: whether what it believes
//! may be true, the tests count.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use licence_client::{
    Client, ClientError, Clock, ConfPaths, Language, Link, StartOptions, StdSpawn, SystemClock,
};
use licence_core::protocol::{ConnectionInfo, SessionInfo, Wish};
use serde::{Deserialize, Serialize};

use crate::demo::server_session;
use crate::stage::{SERIES, StageError};

/// How often a session asks for its seat, as 1C does at each step of a user.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// A renewal is told when it adds this much, in milliseconds: well below the life of a lease.
const TOLD_EVERY_MILLIS: u64 = 2000;

/// Sessions of one process at most: each has a thread here.
const SESSIONS_MAX: usize = 200;

/// Arguments of the program.
#[derive(clap::Args, Clone, Debug)]
pub struct ComponentArgs {
    /// `licenceaddin.conf`.
    #[arg(long)]
    pub conf: PathBuf,
    /// The public series file.
    #[arg(long)]
    pub series: PathBuf,
}

/// What the process tells.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Told {
    /// When, in milliseconds of the clock that leases run on.
    pub at: u64,
    /// Number of the session; 0 for the process itself.
    pub session: u32,
    /// What.
    pub what: What,
}

/// What a session has come to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub enum What {
    /// It is about to let go of its seat.
    Closing,
    /// The server was asked to let go, or could not be.
    Closed {
        /// Class of the error.
        class: Option<String>,
    },
    /// The process cannot start the series.
    NotStarted {
        /// Why.
        text: String,
    },
    /// It has no seat.
    Refused {
        /// Class of the error.
        class: String,
        /// What the user is told.
        text: String,
    },
    /// It has a seat.
    Seat {
        /// Id at the server.
        id: String,
        /// End of the lease, in milliseconds of the same clock.
        until: u64,
        /// Whether a server stands behind it at this moment.
        confirmed: bool,
        /// The server that granted it.
        server: String,
    },
    /// The series is started.
    Started,
}

/// The session that has this number in all processes.
pub fn session(number: u32) -> SessionInfo {
    server_session(number)
}

/// Holds seats until standard input ends.
///
/// # Errors
///
/// When the series file cannot be read or the output is closed.
pub fn run(args: &ComponentArgs, out: &mut dyn Write) -> Result<(), StageError> {
    let descriptor =
        std::fs::read_to_string(&args.series).map_err(|why| StageError::io(&args.series, why))?;
    let (tell, told) = channel();
    let options = StartOptions {
        series: SERIES.parse().map_err(|_| StageError::failed("the series of the stage"))?,
        presence_only: false,
        connection_string: None,
        descriptor: Some(descriptor),
        info: ConnectionInfo { is_server: true, ..ConnectionInfo::default() },
        paths: ConfPaths { user: None, common: args.conf.clone() },
        language: Language::English,
    };
    std::thread::spawn(move || obey(&options, &tell));
    // Until nobody can tell anything any more.
    for told in told {
        let line = serde_json::to_string(&told)
            .map_err(|why| StageError::failed(format!("a line cannot be written: {why}")))?;
        writeln!(out, "{line}")
            .and_then(|()| out.flush())
            .map_err(|why| StageError::io(Path::new("standard output"), why))?;
    }
    Ok(())
}

fn obey(options: &StartOptions, tell: &Sender<Told>) {
    let client = Client::new(Box::new(StdSpawn));
    let Some(link) = started(&client, options, tell) else { return };
    let mut sessions: BTreeMap<u32, Sender<()>> = BTreeMap::new();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let Some((word, number)) = line.split_once(' ') else { continue };
        let Ok(number) = number.trim().parse() else { continue };
        match word {
            "open" if sessions.len() < SESSIONS_MAX => {
                let (close, closed) = channel();
                let (link, tell) = (link.clone(), tell.clone());
                sessions.insert(number, close);
                std::thread::spawn(move || hold(&link, number, &closed, &tell));
            }
            // Its thread hears that nobody holds the other end.
            "close" => drop(sessions.remove(&number)),
            _ => {}
        }
    }
    // The process of 1C ends without a word: what it held runs out.
    std::process::exit(0);
}

fn started(client: &Client, options: &StartOptions, tell: &Sender<Told>) -> Option<Link> {
    loop {
        match client.start(options.clone()) {
            Ok(link) => {
                say(tell, 0, What::Started)?;
                return Some(link);
            }
            Err(error) => say(tell, 0, What::NotStarted { text: words(&error) })?,
        }
        std::thread::park_timeout(ASK_EVERY);
    }
}

/// One session: asks for its seat as long as it is open.
fn hold(link: &Link, number: u32, closed: &Receiver<()>, tell: &Sender<Told>) {
    let info = session(number);
    let mut last: Option<What> = None;
    link.hold(&info);
    loop {
        let what = match link.take_seat(info.clone(), Wish::default()) {
            Ok(seat) => What::Seat {
                id: seat.id,
                until: now().saturating_add(millis(seat.expires_in)),
                confirmed: seat.confirmed,
                server: seat.server,
            },
            Err(error) => What::Refused { class: error.class().to_owned(), text: words(&error) },
        };
        if last.as_ref().is_none_or(|last| is_news(last, &what)) {
            if say(tell, number, what.clone()).is_none() {
                return;
            }
            last = Some(what);
        }
        match closed.recv_timeout(ASK_EVERY) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    // Told before the server can hear it: from here on nobody believes in the seat.
    if say(tell, number, What::Closing).is_some() {
        link.unhold(&info);
        let class = link.release(&info).err().map(|error| error.class().to_owned());
        let _ = say(tell, number, What::Closed { class });
    }
}

/// Whether this says more than what was told last.
fn is_news(last: &What, what: &What) -> bool {
    match (last, what) {
        (
            What::Seat { id, until, confirmed, server },
            What::Seat { id: same, until: later, confirmed: sure, server: there },
        ) => {
            (id, confirmed, server) != (same, sure, there)
                || later.abs_diff(*until) > TOLD_EVERY_MILLIS
        }
        (last, what) => last != what,
    }
}

fn say(tell: &Sender<Told>, session: u32, what: What) -> Option<()> {
    tell.send(Told { at: now(), session, what }).ok()
}

fn words(error: &ClientError) -> String {
    error.text(Language::English)
}

/// The moment by the clock that leases run on, in milliseconds.
pub fn now() -> u64 {
    SystemClock.now().as_millis()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(until: u64, confirmed: bool) -> What {
        What::Seat { id: "a".into(), until, confirmed, server: "s".into() }
    }

    #[test]
    fn renewal_is_told_when_it_adds_something() {
        for (last, what, is_told) in [
            (seat(10_000, true), seat(10_001, true), false),
            (seat(10_000, true), seat(13_000, true), true),
            (seat(10_000, true), seat(10_000, false), true),
            (What::Started, What::Started, false),
            (seat(10_000, true), What::Closing, true),
        ] {
            assert_eq!(is_news(&last, &what), is_told, "{last:?} {what:?}");
        }
    }

    #[test]
    fn line_is_read_as_it_was_written() {
        let told = Told { at: 7, session: 2, what: seat(9, true) };
        let line = serde_json::to_string(&told).unwrap();
        assert_eq!(serde_json::from_str::<Told>(&line).unwrap(), told);
    }
}
