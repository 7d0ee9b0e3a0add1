//! Counts seats inside a program, with `licence-core` alone: no server, no socket, no thread.
//!
//! The core decides who holds a seat; everything else is the program's: it reads the files, the
//! clock and the random source, hands events in and carries the effects out. Here the effects go to
//! standard output, and records are kept in memory, so a restart begins anew; a program that must
//! not forget writes each record before it believes the replies after it, and gives them back to
//! `LicenceService::restore`.
//!
//! ```text
//! example-embed 672B.series 672B.7131766.licence
//! take Anna          granted key=7131766
//! take Boris         refused No licence of series 672B is free: 1 of 1 are in use. …
//! release Anna       released
//! list               0 of 1 (key 7131766):
//! ```
//!
//! It checks the vendor's signature on the licence. It does not check that the licence is bound to
//! this computer: a program with a key pair of its own compares `Licence::holder` with it.

mod clock;
mod random;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;

use licence_core::journal::Snapshot;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::language::Language;
use licence_core::licence_file::Licence;
use licence_core::protocol::{ConnectionInfo, SessionInfo, Wish};
use licence_core::series::parse_series_file;
use licence_core::service::{
    Effect, Event, Grant, LeasedSeat, LicenceService, Reply, RequestId, ServiceConfig,
};
use licence_core::session::{ConnectionId, SessionId};

/// Longest file that is read: a series file holds a few keys, a licence a few fields.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [series, licence] = &arguments[..] else {
        complain("usage: example-embed SERIES-FILE LICENCE-FILE < COMMANDS");
        return ExitCode::from(2);
    };
    match run(Path::new(series), Path::new(licence)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            complain(&why.to_string());
            ExitCode::FAILURE
        }
    }
}

fn complain(text: &str) {
    // Nothing better can be done when standard error is gone.
    drop(writeln!(std::io::stderr(), "{text}"));
}

fn run(series_file: &Path, licence_file: &Path) -> Result<()> {
    let mut desk = Desk::open(&read(series_file)?, read(licence_file)?.trim())?;
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let line = line.trim();
        let (command, name) = line.split_once(' ').unwrap_or((line, ""));
        let answer = match command {
            "" => continue,
            "list" => desk.list(),
            "release" => desk.release(name.trim())?,
            "take" => desk.take(name.trim())?,
            _ => format!("unknown command {command}"),
        };
        writeln!(out, "{answer}")?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    let size = std::fs::metadata(path).map_err(|why| format!("{}: {why}", path.display()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{} is larger than {FILE_BYTES_MAX} bytes", path.display()).into());
    }
    std::fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()).into())
}

/// The seats of one licence and who sits on them.
struct Desk {
    service: LicenceService,
    key_no: KeyNo,
    seats: u32,
    /// The core counts sessions of connections; this program is its own only connection.
    connection: ConnectionId,
    held: BTreeMap<String, SessionId>,
}

impl Desk {
    fn open(series_file: &str, document: &str) -> Result<Self> {
        let known = parse_series_file(series_file)?;
        let series: KeySeries = Licence::peek_series(document)?;
        let descriptor =
            known.get(&series).ok_or_else(|| format!("series {series} is not in the file"))?;
        // From here on the document is believed: the vendor signed it.
        let licence = Licence::verify(document, &descriptor.signing_key()?)?;
        let key = licence.protection_key(None, None);
        let (key_no, seats) = (key.key_no, key.seats);
        let (service, effects) = LicenceService::restore(
            ServiceConfig::default(),
            vec![key],
            Snapshot::default(),
            clock::now(),
        );
        let connection = ConnectionId::from_bytes(random::id()?);
        let mut desk = Self { service, key_no, seats, connection, held: BTreeMap::new() };
        drop(carry_out(effects));
        let connect = Event::Connect {
            request: RequestId(0),
            id: connection,
            series,
            peer: String::new(),
            info: ConnectionInfo { process: "example-embed".to_owned(), ..Default::default() },
        };
        match desk.tell(connect) {
            Some(Reply::Connected(_)) => Ok(desk),
            other => Err(format!("the core answered {other:?}").into()),
        }
    }

    /// Hands an event in with the time, and gives the reply.
    fn tell(&mut self, event: Event) -> Option<Reply> {
        carry_out(self.service.handle(event, clock::now()))
    }

    /// A program that lives long beats at least every ten seconds; this one does so with every
    /// command, because nobody is served in between. Who has lost their seat meanwhile is forgotten.
    fn beat(&mut self) {
        let sessions = self.held.values().copied().collect();
        let beat =
            Event::Heartbeat { request: RequestId(0), connection: self.connection, sessions };
        if let Some(Reply::Heartbeat { gone, .. }) = self.tell(beat) {
            self.held.retain(|_, held| gone.iter().all(|(session, _)| session != held));
        }
    }

    fn take(&mut self, name: &str) -> Result<String> {
        if name.is_empty() {
            return Ok("take whom?".to_owned());
        }
        self.beat();
        let open = Event::Open {
            request: RequestId(1),
            id: SessionId::from_bytes(random::id()?),
            connection: self.connection,
            // A session is found again by its number, infobase, start and computer.
            session: SessionInfo {
                session_number: name.to_owned(),
                is_server: true,
                info_base_connection_str: "example".to_owned(),
                user_name: Some(name.to_owned()),
                ..SessionInfo::default()
            },
            wish: Wish::default(),
            lease: None,
            // One server alone: nobody else could have the seat.
            seat: LeasedSeat::Own,
            may_wait: false,
        };
        Ok(match self.tell(open) {
            Some(Reply::Opened(Grant { session, key_no: Some(key_no), .. })) => {
                self.held.insert(name.to_owned(), session);
                format!("granted key={key_no}")
            }
            Some(Reply::Refused(refusal)) => format!("refused {}", refusal.text(Language::English)),
            other => return Err(format!("the core answered {other:?}").into()),
        })
    }

    fn release(&mut self, name: &str) -> Result<String> {
        self.beat();
        let Some(session) = self.held.remove(name) else {
            return Ok(format!("{name} holds no seat"));
        };
        match self.tell(Event::Close { request: RequestId(2), session }) {
            Some(Reply::Done) => Ok("released".to_owned()),
            other => Err(format!("the core answered {other:?}").into()),
        }
    }

    fn list(&mut self) -> String {
        self.beat();
        let names: Vec<_> = self.held.keys().map(String::as_str).collect();
        format!("{} of {} (key {}): {}", names.len(), self.seats, self.key_no, names.join(", "))
    }
}

/// Carries effects out in their order. A reply rests on the records before it, so this is where a
/// durable program writes.
fn carry_out(effects: Vec<Effect>) -> Option<Reply> {
    let mut answer = None;
    for effect in effects {
        match effect {
            Effect::Persist(_record) => {}
            Effect::Reply(_, reply) => answer = Some(reply),
        }
    }
    answer
}
