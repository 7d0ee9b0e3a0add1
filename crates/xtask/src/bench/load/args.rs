//! What a load is asked for and what it comes to: the words between the course and the process.

use licence_core::key::KeySeries;
use serde::{Deserialize, Serialize};

/// Most connections: two files each on one machine stay far below the usual limit of 1024.
const CONNECTIONS_MAX: i64 = 256;

/// Longest load in seconds.
const SECONDS_MAX: i64 = 120;

/// Most sessions that a connection holds: a hundredth of what `hold` is asked for at most.
const SESSIONS_MAX: i64 = 100_000;

/// Most infobases or users that the sessions are spread over.
const SPREAD_MAX: i64 = 100_000;

/// Most requests a second of one connection that are asked for: a millisecond apart, which is as
/// finely as a thread wakes.
const RATE_MAX: i64 = 1000;

/// What is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(in crate::bench) enum Kind {
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
    /// Nothing: only hold the sessions, with a heartbeat as often as the component sends one.
    Idle,
    /// Take the seats of all sessions, as a morning does, and hold them. Does not look at the time.
    Take,
    /// `GET` of the given addresses, in turn.
    Page,
}

/// Arguments of a load.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::bench) struct LoadArgs {
    /// What is asked.
    #[arg(long, value_enum)]
    pub(in crate::bench) kind: Kind,
    /// Ports on 127.0.0.1, over which the connections are spread.
    #[arg(long = "port", required = true)]
    pub(in crate::bench) ports: Vec<u16>,
    /// Speak TLS.
    #[arg(long)]
    pub(in crate::bench) tls: bool,
    /// Series to ask for.
    #[arg(long, default_value = crate::stage::SERIES)]
    pub(in crate::bench) series: KeySeries,
    /// Connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    pub(in crate::bench) connections: u32,
    /// Sessions that each connection holds.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=SESSIONS_MAX))]
    pub(in crate::bench) sessions: u32,
    /// How long to ask.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=SECONDS_MAX))]
    pub(in crate::bench) seconds: u32,
    /// Infobases that the sessions are spread over.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=SPREAD_MAX))]
    pub(in crate::bench) infobases: u32,
    /// Users that the sessions are spread over, each with a computer.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=SPREAD_MAX))]
    pub(in crate::bench) users: u32,
    /// Requests a second of each connection; as many as are answered unless given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=RATE_MAX))]
    pub(in crate::bench) rate: Option<u32>,
    /// Addresses of pages.
    #[arg(long = "path", required_if_eq("kind", "page"))]
    pub(in crate::bench) paths: Vec<String>,
    /// User and password for pages, as Basic authentication has them.
    #[arg(long)]
    pub(in crate::bench) basic: Option<String>,
}

impl LoadArgs {
    /// A connection at one server that takes and gives back as its owner says.
    pub(in crate::bench) fn by_hand(port: u16, series: KeySeries) -> Self {
        Self {
            kind: Kind::Cycle,
            ports: vec![port],
            tls: true,
            series,
            connections: 1,
            sessions: 0,
            seconds: 1,
            infobases: 1,
            users: 1,
            rate: None,
            paths: Vec::new(),
            basic: None,
        }
    }
}

/// What a load came to.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(in crate::bench) struct LoadResult {
    /// Requests that were answered as they should.
    pub(in crate::bench) requests: u64,
    /// Requests that were not: any is a failed run.
    pub(in crate::bench) failures: u64,
    /// Sessions held while asking.
    pub(in crate::bench) held: u64,
    /// How long it asked.
    pub(in crate::bench) seconds: f64,
    /// Half of the requests were faster.
    pub(in crate::bench) p50_micros: u64,
    /// 99 of 100 requests were faster.
    pub(in crate::bench) p99_micros: u64,
    /// The slowest.
    pub(in crate::bench) max_micros: u64,
    /// Bytes of the bodies of pages.
    pub(in crate::bench) bytes: u64,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        load: LoadArgs,
    }

    #[test]
    fn load_of_pages_needs_an_address_and_others_do_not() {
        for (arguments, is_good) in [
            (&["x", "--port", "1", "--kind", "page"][..], false),
            (&["x", "--port", "1", "--kind", "page", "--path", "/keys"], true),
            (&["x", "--port", "1", "--kind", "heartbeat"], true),
            (&["x", "--port", "1", "--port", "2", "--kind", "take"], true),
            (&["x", "--kind", "take"], false),
            (&["x", "--port", "1", "--kind", "heartbeat", "--rate", "0"], false),
            (&["x", "--port", "1", "--kind", "idle", "--users", "0"], false),
        ] {
            assert_eq!(Cli::try_parse_from(arguments).is_ok(), is_good, "{arguments:?}");
        }
    }
}
