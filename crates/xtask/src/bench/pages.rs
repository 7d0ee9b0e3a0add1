//! The console, the metrics and the REST listings with many live sessions, and what heartbeats
//! notice of them.
//!
//! The pages are fetched over plain HTTP on kept connections by an administrator whose password the
//! server knows as an argon2 hash, sent with each request as scripts do. So the check of a password
//! that was right before is part of every figure but the floor's, which asks for none.

use std::time::Duration;

use serde_json::json;

use super::channel::Channel;
use super::course::{Asked, Course, PREPARE_BOUND, ended};
use super::load::{Kind, LoadResult};
use super::report::{Fetched, Figure};
use super::told;
use crate::build::say;
use crate::stage::StageError;

/// What the pages are compared with: an answer that looks at nothing and asks for no password.
pub(super) const FLOOR: &str = "/health/live";

/// What is fetched. The search finds the sessions of ten users, with the order of a column of
/// texts.
const PATHS: [&str; 9] = [
    "/",
    "/sessions",
    "/sessions?q=workplace-001&sort=user",
    "/keys",
    "/events",
    "/reports?span=month",
    "/metrics",
    "/api/series",
    "/api/sessions",
];

/// Connections that fetch pages: two people or programs, each after the other's wait.
const READERS: u32 = 2;

/// Connections of the heartbeats beside the pages.
const BESIDE_CONNECTIONS: u32 = 8;

/// Heartbeats a second of each: together 1,000 a second, what 10,000 components send that renew
/// every 10 s. A load without pauses would compete for the processors and measure that.
const BESIDE_RATE: u32 = 125;

/// `bench:bench only, 10000 sessions`, the administrator of the measured server.
const BASIC: &str = "YmVuY2g6YmVuY2ggb25seSwgMTAwMDAgc2Vzc2lvbnM=";

/// `admin:admin`, the manual's default, which holds on the computer itself.
const DEFAULT_HEADER: &str = "Authorization: Basic YWRtaW46YWRtaW4=\r\n";

impl Course<'_> {
    /// Fetches each page by itself and again beside heartbeats, then all in turn beside heartbeats;
    /// gives what these noticed of all.
    pub(super) fn pages(&mut self, port: u16, pid: u32) -> Result<Vec<Figure>, StageError> {
        make_administrator(port)?;
        let fetch = Asked {
            what: "pages",
            kind: Kind::Page,
            port,
            pid,
            tls: false,
            connections: READERS,
            sessions: 0,
            cpu_goal: None,
        };
        let of = |path: &str| ("--path", path.to_owned());
        let basic = || ("--basic", BASIC.to_owned());
        for path in std::iter::once(FLOOR).chain(PATHS) {
            let mut more = vec![of(path)];
            if path != FLOOR {
                more.push(basic());
            }
            let (result, spent) = self.measured(fetch, &more)?;
            let (heartbeats, _) = self.beside_heartbeats(fetch, &more)?;
            let page = fetched(path, &result, spent, &heartbeats);
            let text = format!(
                "GET {path}: {:.0}/s, {:.3} ms CPU, {:.1} KiB, heartbeats' p99 {:.1} ms",
                page.per_second, page.cpu_millis, page.body_kib, page.heartbeat_p99_millis
            );
            say(self.out, &text)?;
            self.fetched.push(page);
        }
        let (alone, _) = self.measured(heartbeats(fetch), &heartbeat_rate())?;
        let all: Vec<_> = PATHS.iter().map(|path| of(path)).chain([basic()]).collect();
        let (disturbed, pages) = self.beside_heartbeats(fetch, &all)?;
        let mut figures = Vec::new();
        for (result, when) in [(alone, "alone"), (disturbed, "beside all pages without a pause")] {
            for (name, micros) in
                [("p50", result.p50_micros), ("p99", result.p99_micros), ("max", result.max_micros)]
            {
                figures.push(Figure {
                    what: format!("heartbeats, 1,000 a second, {when}: {name}"),
                    value: micros as f64 / 1e3,
                    unit: "ms",
                    goal: None,
                });
            }
        }
        figures.push(Figure {
            what: format!("pages that {READERS} readers got meanwhile"),
            value: pages.requests as f64 / pages.seconds,
            unit: "/s",
            goal: None,
        });
        Ok(figures)
    }

    /// Fetches pages beside heartbeats; gives what the heartbeats came to, and the pages.
    fn beside_heartbeats(
        &self,
        fetch: Asked,
        more: &[(&str, String)],
    ) -> Result<(LoadResult, LoadResult), StageError> {
        let mut readers = self.load(fetch, more)?;
        readers.line_with("ready", PREPARE_BOUND)?;
        let beside = heartbeats(fetch);
        let load = self.load(beside, &heartbeat_rate())?;
        load.line_with("ready", PREPARE_BOUND)?;
        readers.write_line("go")?;
        let (heartbeats, _) = self.ran(load, beside)?;
        let line = self.result_line(&readers)?;
        Ok((heartbeats, ended(readers, fetch, &line)?))
    }
}

/// Heartbeats at the server that `fetch` asks.
const fn heartbeats(fetch: Asked) -> Asked {
    Asked {
        what: "heartbeats beside pages",
        kind: Kind::Heartbeat,
        tls: true,
        connections: BESIDE_CONNECTIONS,
        sessions: 1,
        ..fetch
    }
}

fn heartbeat_rate() -> [(&'static str, String); 1] {
    [("--rate", BESIDE_RATE.to_string())]
}

fn fetched(path: &str, result: &LoadResult, spent: Duration, heartbeats: &LoadResult) -> Fetched {
    let requests = result.requests as f64;
    Fetched {
        path: path.to_owned(),
        per_second: requests / result.seconds,
        cpu_millis: spent.as_secs_f64() * 1e3 / requests,
        p50_millis: result.p50_micros as f64 / 1e3,
        p99_millis: result.p99_micros as f64 / 1e3,
        max_millis: result.max_micros as f64 / 1e3,
        body_kib: result.bytes as f64 / requests / 1024.0,
        heartbeat_p99_millis: heartbeats.p99_micros as f64 / 1e3,
    }
}

/// Makes the administrator whose password is kept as a hash. The default one stays: the stage's own
/// questions use it.
fn make_administrator(port: u16) -> Result<(), StageError> {
    let body = json!({ "Role": "administrator", "Password": "bench only, 10000 sessions" });
    let asked = Channel::open(port, None).and_then(|mut channel| {
        channel.request("PUT", "/api/users/bench", DEFAULT_HEADER, body.to_string().as_bytes())
    });
    let answer = asked.map_err(|why| told("PUT /api/users/bench", &why))?;
    if answer.is_ok() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    Err(StageError::failed(format!("PUT /api/users/bench answered {}: {text}", answer.status)))
}
