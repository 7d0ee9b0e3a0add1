//! The table that a run prints: figures, ratios to the baselines, goals.
//!
//! Knows the goals of the project; measures nothing. A goal that was missed is printed as missed
//! and fails nothing: times on a shared machine are for people to judge.

/// Goal: processor time of the server per heartbeat, in microseconds.
pub(super) const HEARTBEAT_MICROS: f64 = 30.0;

/// Goal: processor time of the server per claim or release, in microseconds.
pub(super) const CYCLE_MICROS: f64 = 60.0;

/// Goal: 99 of 100 requests at 64 connections are answered within this, in milliseconds.
pub(super) const P99_MILLIS: f64 = 10.0;

/// Connections of the goal for the tail.
const P99_CONNECTIONS: u32 = 64;

/// Goal: resident memory with 10,000 live sessions, in MiB.
pub(super) const RESIDENT_MIB: f64 = 40.0;

/// Goal: from start to the first answer with 10,000 leases, in milliseconds.
pub(super) const COLD_START_MILLIS: f64 = 1000.0;

/// Goal: one `ПодготовитьОбъект` or `ПолучитьДанныеОбъекта` of an object that the process has
/// opened before, in microseconds.
pub(super) const CACHED_OBJECT_MICROS: f64 = 20.0;

/// Goal: one read of a property of the component, in microseconds.
pub(super) const PROPERTY_MICROS: f64 = 1.0;

/// One load that was measured.
#[derive(Clone, Debug)]
pub(super) struct Point {
    /// What was asked of whom.
    pub(super) what: &'static str,
    /// Connections.
    pub(super) connections: u32,
    /// Answers per second.
    pub(super) per_second: f64,
    /// Processor time of the server per request, in microseconds.
    pub(super) cpu_micros: f64,
    /// Median in milliseconds.
    pub(super) p50_millis: f64,
    /// 99 of 100 in milliseconds.
    pub(super) p99_millis: f64,
    /// The slowest in milliseconds.
    pub(super) max_millis: f64,
    /// Goal for the processor time, in microseconds.
    pub(super) cpu_goal: Option<f64>,
}

/// One page that was fetched.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    /// Its address.
    pub(super) path: String,
    /// Answers per second.
    pub(super) per_second: f64,
    /// Processor time of the server per answer, in milliseconds.
    pub(super) cpu_millis: f64,
    /// Median in milliseconds.
    pub(super) p50_millis: f64,
    /// 99 of 100 in milliseconds.
    pub(super) p99_millis: f64,
    /// The slowest in milliseconds.
    pub(super) max_millis: f64,
    /// Size of the body in KiB, the mean of all answers.
    pub(super) body_kib: f64,
    /// 99 of 100 heartbeats that came meanwhile, in milliseconds.
    pub(super) heartbeat_p99_millis: f64,
}

/// A figure beside its goal.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    /// What was measured.
    pub(super) what: String,
    /// The figure.
    pub(super) value: f64,
    /// Its unit.
    pub(super) unit: &'static str,
    /// At most this much.
    pub(super) goal: Option<f64>,
}

impl Point {
    fn verdict(&self) -> String {
        let Some(goal) = self.cpu_goal else { return String::new() };
        let mut text = format!("CPU ≤ {goal:.0} µs {}", hit_or_miss(self.cpu_micros, goal));
        if self.connections == P99_CONNECTIONS {
            let tail = hit_or_miss(self.p99_millis, P99_MILLIS);
            text.push_str(&format!(", p99 ≤ {P99_MILLIS:.0} ms {tail}"));
        }
        text
    }
}

fn hit_or_miss(value: f64, goal: f64) -> &'static str {
    if value <= goal { "hit" } else { "MISS" }
}

/// The loads as a table in Markdown. Ratios are CPU per request against the first point of the
/// same number of connections whose name is `floor`, or `peer_of` of its own name.
pub(super) fn points(
    points: &[Point],
    floor: &str,
    peer_of: impl Fn(&str) -> Option<&'static str>,
) -> String {
    let find = |what: &str, connections: u32| {
        points.iter().find(|point| point.what == what && point.connections == connections)
    };
    let mut rows = vec![
        [
            "load",
            "connections",
            "requests/s",
            "CPU µs/request",
            "p50 ms",
            "p99 ms",
            "max ms",
            "CPU : hello TLS",
            "CPU : lease table",
            "rate : lease table",
            "goal",
        ]
        .map(str::to_owned),
    ];
    for point in points {
        let ratio = |own: f64, other: Option<f64>| {
            other
                .filter(|other| *other > 0.0)
                .map_or_else(String::new, |other| format!("{:.2}", own / other))
        };
        let hello = find(floor, point.connections);
        let peer = peer_of(point.what).and_then(|peer| find(peer, point.connections));
        rows.push([
            point.what.to_owned(),
            point.connections.to_string(),
            format!("{:.0}", point.per_second),
            format!("{:.1}", point.cpu_micros),
            format!("{:.2}", point.p50_millis),
            format!("{:.2}", point.p99_millis),
            format!("{:.1}", point.max_millis),
            ratio(point.cpu_micros, hello.map(|hello| hello.cpu_micros)),
            ratio(point.cpu_micros, peer.map(|peer| peer.cpu_micros)),
            ratio(point.per_second, peer.map(|peer| peer.per_second)),
            point.verdict(),
        ]);
    }
    table(&rows)
}

/// The pages as a table in Markdown. The ratio is CPU per answer against the page at `floor`.
pub(super) fn pages(pages: &[Fetched], floor: &str) -> String {
    let floor = pages.iter().find(|page| page.path == floor).map(|page| page.cpu_millis);
    let mut rows = vec![
        [
            "GET",
            "requests/s",
            "CPU ms/request",
            "p50 ms",
            "p99 ms",
            "max ms",
            "KiB",
            "CPU : floor",
            "heartbeats' p99 ms",
        ]
        .map(str::to_owned),
    ];
    for page in pages {
        let ratio = floor.filter(|floor| *floor > 0.0).map(|floor| page.cpu_millis / floor);
        rows.push([
            page.path.clone(),
            format!("{:.0}", page.per_second),
            format!("{:.3}", page.cpu_millis),
            format!("{:.2}", page.p50_millis),
            format!("{:.2}", page.p99_millis),
            format!("{:.1}", page.max_millis),
            format!("{:.1}", page.body_kib),
            ratio.map_or_else(String::new, |ratio| format!("{ratio:.0}")),
            format!("{:.2}", page.heartbeat_p99_millis),
        ]);
    }
    table(&rows)
}

/// The figures as a table in Markdown.
pub(super) fn figures(figures: &[Figure]) -> String {
    let mut rows = vec![["measured", "figure", "goal"].map(str::to_owned)];
    for figure in figures {
        let goal = figure.goal.map_or_else(String::new, |goal| {
            format!("≤ {goal:.0} {} {}", figure.unit, hit_or_miss(figure.value, goal))
        });
        // Beside a goal of one unit a tenth says too little.
        let digits = if figure.value < 10.0 { 2 } else { 1 };
        rows.push([
            figure.what.clone(),
            format!("{:.digits$} {}", figure.value, figure.unit),
            goal,
        ]);
    }
    table(&rows)
}

/// Rows as a table in Markdown; the first one is the head.
pub(super) fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Names to the left, numbers to the right, verdicts to the left.
            let is_text = column == 0 || column + 1 == COLUMNS;
            let padded =
                if is_text { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
            text.push_str(&format!("| {padded} "));
        }
        text.push_str("|\n");
        if at == 0 {
            for width in widths {
                text.push_str(&format!("|{}", "-".repeat(width + 2)));
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(what: &'static str, cpu_micros: f64, cpu_goal: Option<f64>) -> Point {
        Point {
            what,
            connections: 64,
            per_second: 1000.0,
            cpu_micros,
            p50_millis: 1.0,
            p99_millis: 12.0,
            max_millis: 20.0,
            cpu_goal,
        }
    }

    #[test]
    fn ratios_are_those_to_the_baselines_of_the_same_width() {
        let text = points(
            &[
                point("hello", 10.0, None),
                point("leases", 80.0, None),
                point("own", 20.0, Some(30.0)),
            ],
            "hello",
            |what| (what == "own").then_some("leases"),
        );
        let own = text.lines().last().unwrap();
        let cells: Vec<_> = own.split('|').map(str::trim).collect();
        assert_eq!(cells[8..=10], ["2.00", "0.25", "1.00"]);
        assert_eq!(cells[11], "CPU ≤ 30 µs hit, p99 ≤ 10 ms MISS");
    }

    #[test]
    fn page_is_compared_with_the_floor_and_with_none_if_there_is_none() {
        let page = |path: &str, cpu_millis| Fetched {
            path: path.to_owned(),
            per_second: 100.0,
            cpu_millis,
            p50_millis: 1.0,
            p99_millis: 2.0,
            max_millis: 3.0,
            body_kib: 10.0,
            heartbeat_p99_millis: 1.0,
        };
        let of = [page("/health/live", 0.02), page("/sessions", 4.0)];
        for (floor, ratio) in [("/health/live", "200"), ("/other", "")] {
            let text = pages(&of, floor);
            let last: Vec<_> = text.lines().last().unwrap().split('|').map(str::trim).collect();
            assert_eq!((last[1], last[8]), ("/sessions", ratio), "{floor}");
        }
    }

    #[test]
    fn missed_goal_is_called_missed() {
        let figure = |value| Figure { what: "memory".into(), value, unit: "MiB", goal: Some(40.0) };
        let text = figures(&[figure(39.9), figure(40.1)]);
        assert!(text.contains("≤ 40 MiB hit"), "{text}");
        assert!(text.contains("≤ 40 MiB MISS"), "{text}");
    }
}
