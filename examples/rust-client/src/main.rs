//! Takes a seat at a licence server, holds it, and gives it back: any program can, without 1C.
//!
//! ```text
//! example-client 672B.series srv:9099 7 Anna
//! granted id=… key=7131766 server=srv:9099
//!                    (holds the seat until its standard input ends)
//! released
//! ```
//!
//! The series file pins the vendor's key: a server that cannot prove a licence of that series gets
//! no session, whoever answers at the address. Reserve servers are those of `licenceaddin.conf`.

use std::error::Error;
use std::io::{BufRead, Write};
use std::process::ExitCode;

use licence_client::{Client, ConfPaths, Language, StartOptions, StdSpawn};
use licence_core::protocol::{ConnectionInfo, SessionInfo, Wish};
use licence_core::series::parse_series_file;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Where the settings of this computer lie; they need not be there.
const COMMON_CONF: &str = "/var/1C/licence/3.0/licenceaddin.conf";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [series_file, server, number, user] = &arguments[..] else {
        drop(writeln!(
            std::io::stderr(),
            "usage: example-client SERIES-FILE HOST:PORT SESSION-NUMBER USER"
        ));
        return ExitCode::from(2);
    };
    match run(series_file, server, number, user) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // Errors of the client begin with their class in brackets: `(ELocalServerNotFound) …`.
            drop(writeln!(std::io::stderr(), "{why}"));
            ExitCode::FAILURE
        }
    }
}

fn run(series_file: &str, server: &str, number: &str, user: &str) -> Result<()> {
    let descriptor = std::fs::read_to_string(series_file)?;
    let series =
        *parse_series_file(&descriptor)?.keys().next().ok_or("the series file names no series")?;
    let (host, port) = server.rsplit_once(':').ok_or("the server is HOST:PORT")?;

    let client = Client::new(Box::new(StdSpawn));
    let link = client
        .start(StartOptions {
            series,
            presence_only: false,
            connection_string: Some(format!("ServerAddr={host};ServerPort={port}")),
            descriptor: Some(descriptor),
            info: ConnectionInfo {
                process: "example-client".to_owned(),
                pid: std::process::id().to_string(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..ConnectionInfo::default()
            },
            paths: ConfPaths { user: None, common: COMMON_CONF.into() },
            language: Language::English,
        })
        .map_err(|why| why.text(Language::English))?;

    // A session is found again by its number, infobase, start and computer; here the "infobase" is
    // whatever names this program's installation.
    let session = SessionInfo {
        session_number: number.to_owned(),
        is_server: true,
        info_base_connection_str: "example-client".to_owned(),
        app_name: "example-client".to_owned(),
        user_name: Some(user.to_owned()),
        ..SessionInfo::default()
    };
    let seat = link
        .take_seat(session.clone(), Wish::default())
        .map_err(|why| why.text(Language::English))?;
    // In use from here on: the client's own thread beats for it every ten seconds.
    link.hold(&session);
    let key = seat.used_licence.map(|key| key.to_string()).unwrap_or_default();
    say(&format!("granted id={} key={key} server={}", seat.id, seat.server))?;

    // The work of the program. This one only waits.
    for line in std::io::stdin().lock().lines() {
        drop(line?);
    }

    link.unhold(&session);
    link.release(&session).map_err(|why| why.text(Language::English))?;
    say("released")
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}
