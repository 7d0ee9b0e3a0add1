//! The table that a run of the cluster prints: what servers and etcd spend, and ratios to the server
//! without etcd. Measures nothing.

use std::time::Duration;

use crate::bench::load::{Kind, LoadResult};
use crate::bench::report::table;

/// Who is loaded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Setup {
    /// One server without etcd: what the others are compared with.
    Alone,
    /// Three servers without etcd, each with a key of its own: what it costs that less comes together at
    /// each, apart from etcd.
    Apart,
    /// The only node of a cluster.
    Only,
    /// Three nodes, the connections spread over them.
    Three,
}

impl Setup {
    pub(super) const ALL: [Self; 4] = [Self::Alone, Self::Only, Self::Apart, Self::Three];

    /// As many servers without etcd.
    const fn without_etcd(self) -> Self {
        match self {
            Self::Alone | Self::Only => Self::Alone,
            Self::Apart | Self::Three => Self::Apart,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Alone => "one server without etcd",
            Self::Apart => "three servers without etcd",
            Self::Only => "one node with etcd",
            Self::Three => "three nodes with etcd",
        }
    }
}

/// One load that was measured. A unit is a grant, opening and closing together, or a heartbeat.
#[derive(Clone, Debug)]
pub(super) struct Row {
    setup: Setup,
    what: &'static str,
    connections: u32,
    per_second: f64,
    /// Processor time of all loaded servers per unit, in microseconds.
    server_micros: f64,
    /// Processor time of etcd's members per unit, in microseconds.
    etcd_micros: f64,
    /// The same per second of the run, in milliseconds: what the members spend when nobody asks is told
    /// by the rows of the server without etcd.
    etcd_millis: f64,
    p50_millis: f64,
    p99_millis: f64,
    max_millis: f64,
}

impl Row {
    pub(super) fn new(
        setup: Setup,
        kind: Kind,
        connections: u32,
        result: &LoadResult,
        [server, etcd]: [Duration; 2],
    ) -> Self {
        let (what, requests) =
            if kind == Kind::Cycle { ("grant", 2.0) } else { ("heartbeat", 1.0) };
        let units = result.requests as f64 / requests;
        Self {
            setup,
            what,
            connections,
            per_second: units / result.seconds,
            server_micros: server.as_secs_f64() * 1e6 / units,
            etcd_micros: etcd.as_secs_f64() * 1e6 / units,
            etcd_millis: etcd.as_secs_f64() * 1e3 / result.seconds,
            p50_millis: result.p50_micros as f64 / 1e3,
            p99_millis: result.p99_micros as f64 / 1e3,
            max_millis: result.max_micros as f64 / 1e3,
        }
    }

    /// One line while the run goes on.
    pub(super) fn told(&self) -> String {
        let Self { what, connections, per_second, server_micros, etcd_micros, .. } = self;
        let setup = self.setup.name();
        format!(
            "{what}, {connections} connections, {setup}: {per_second:.0}/s, {server_micros:.1} µs CPU of \
             servers, {etcd_micros:.1} of etcd"
        )
    }
}

/// The loads as a table in Markdown. Ratios are those to the server without etcd, and to as many servers
/// without it, with the same load and as many connections.
pub(super) fn rows(rows: &[Row]) -> String {
    let mut lines = vec![
        [
            "load",
            "connections",
            "per second",
            "CPU µs, servers",
            "CPU µs, etcd",
            "etcd CPU ms/s",
            "p50 ms",
            "p99 ms",
            "max ms",
            "rate : alone",
            "CPU : alone",
            "CPU : no etcd",
            "at",
        ]
        .map(str::to_owned),
    ];
    for row in rows {
        let of_setup = |setup: Setup| {
            let same = (row.what, row.connections);
            rows.iter()
                .find(|other| other.setup == setup && (other.what, other.connections) == same)
        };
        let ratio = |to: Setup, of: fn(&Row) -> f64| {
            let floor = of_setup(to).map(of).filter(|floor| *floor > 0.0);
            floor.map_or_else(String::new, |floor| format!("{:.2}", of(row) / floor))
        };
        lines.push([
            row.what.to_owned(),
            row.connections.to_string(),
            format!("{:.0}", row.per_second),
            format!("{:.1}", row.server_micros),
            format!("{:.1}", row.etcd_micros),
            format!("{:.1}", row.etcd_millis),
            format!("{:.2}", row.p50_millis),
            format!("{:.2}", row.p99_millis),
            format!("{:.1}", row.max_millis),
            ratio(Setup::Alone, |row| row.per_second),
            ratio(Setup::Alone, |row| row.server_micros),
            ratio(row.setup.without_etcd(), |row| row.server_micros),
            row.setup.name().to_owned(),
        ]);
    }
    table(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(setup: Setup, kind: Kind, requests: u64, millis: u64) -> Row {
        let result = LoadResult {
            requests,
            failures: 0,
            held: 0,
            seconds: 2.0,
            p50_micros: 500,
            p99_micros: 2000,
            max_micros: 9000,
            bytes: 0,
        };
        Row::new(
            setup,
            kind,
            9,
            &result,
            [Duration::from_millis(millis), Duration::from_millis(40)],
        )
    }

    #[test]
    fn grant_is_two_requests_and_is_compared_with_the_server_without_etcd() {
        let text = rows(&[
            row(Setup::Alone, Kind::Cycle, 2000, 100),
            row(Setup::Alone, Kind::Heartbeat, 5000, 100),
            row(Setup::Apart, Kind::Cycle, 1000, 60),
            row(Setup::Three, Kind::Cycle, 1000, 75),
        ]);
        let last: Vec<_> = text.lines().last().unwrap().split('|').map(str::trim).collect();
        assert_eq!(last[1..=6], ["grant", "9", "250", "150.0", "80.0", "20.0"]);
        assert_eq!(last[10..=13], ["0.50", "1.50", "1.25", "three nodes with etcd"]);
    }
}
