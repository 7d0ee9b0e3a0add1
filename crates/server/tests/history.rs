//! What is kept and shown of the past: the list of events, the stream, reports, totals. Over the
//! whole server without a socket; what must be old is written into its database.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use licenceserver::api::{self, Answer};
use licenceserver::identity::Identity;
use licenceserver::{net, tls};
use serde_json::{Value, json};
use support::{LOCAL, Server, request, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Long enough for a slow machine, and the end of a test that would hang.
const BOUND: Duration = Duration::from_secs(30);

/// Five seats taken, the sixth refused, one given back.
async fn busy() -> Server {
    let server = start("");
    let connection = server.connect().await;
    let mut first = None;
    for number in 1..=5 {
        let opened = server.open(&connection, number).await;
        assert_eq!(opened.status, 200, "{opened:?}");
        first.get_or_insert_with(|| opened.json()["ID"].as_str().unwrap().to_owned());
    }
    assert_eq!(server.open(&connection, 6).await.status, 403);
    let path = format!("/api/sessions/{}", first.unwrap());
    assert_eq!(server.call("DELETE", &path, r#"{"Reason":"=уборка"}"#).await.status, 202);
    server
}

async fn get(server: &Server, path: &str) -> Value {
    let answer = server.call("GET", path, "").await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

/// Types in place of values that differ from run to run.
fn shape(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| match name.as_str() {
            "Time" | "Opened" | "From" | "To" | "Last" if value.is_string() => {
                *value = json!("<time>");
            }
            // Names the holders, in the order of their random ids.
            "Text" => *value = json!("<text>"),
            "Subject" if value.is_string() => *value = json!("<id>"),
            "Seconds" | "LongestSeconds" => *value = json!(0),
            "Holders" => {
                // They come in the order of random ids.
                let number = |holder: &Value| holder["SessionNumber"].to_string();
                value.as_array_mut().unwrap().sort_by_key(number);
            }
            _ => shape(value),
        }),
        Value::Array(items) => items.iter_mut().for_each(shape),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn check(name: &str, mut value: Value) {
    shape(&mut value);
    insta::assert_snapshot!(name, serde_json::to_string_pretty(&value).unwrap());
}

/// Writes to the server's database, as time would have.
fn put(server: &Server, sql: &str) {
    let db = rusqlite::Connection::open(server.app.paths.database()).unwrap();
    db.busy_timeout(BOUND).unwrap();
    db.execute_batch(sql).unwrap();
}

#[tokio::test]
async fn events_are_listed_the_newest_first_with_all_that_is_known() {
    let server = busy().await;
    check("events", get(&server, "/api/events").await);
}

#[tokio::test]
async fn events_are_paged_and_filtered() {
    let server = busy().await;
    let all = get(&server, "/api/events?Limit=1000").await;
    let all = all["Events"].as_array().unwrap();
    let mut paged = Vec::new();
    let mut next = Value::Null;
    loop {
        let before = next.as_i64().map(|no| format!("&Before={no}")).unwrap_or_default();
        let page = get(&server, &format!("/api/events?Limit=3{before}")).await;
        let events = page["Events"].as_array().unwrap();
        assert!(events.len() <= 3);
        paged.extend(events.clone());
        next = page["Next"].clone();
        if next.is_null() {
            break;
        }
    }
    assert_eq!(&paged, all);
    for (query, expected) in [
        ("Kind=denied", 1),
        ("Kind=denied,audit", 2),
        ("Kind=session_opened", 5),
        ("Kind=session_opened,denied", 6),
        ("KeyID=672b&Kind=session_opened", 5),
        ("KeyID=0001", 0),
        ("Text=%D0%A3%D0%91%D0%9E%D0%A0%D0%9A%D0%90", 1), // УБОРКА
        ("Text=Ref%3D%22DEMO%22&Kind=denied", 1),
        ("Text=nobody", 0),
        ("From=2020-01-01", all.len()),
        ("To=2020-01-01", 0),
        ("From=2999-01-01T00:00:00Z", 0),
    ] {
        let found = get(&server, &format!("/api/events?{query}")).await;
        assert_eq!(found["Events"].as_array().unwrap().len(), expected, "{query}");
    }
}

#[tokio::test]
async fn wrong_parameters_are_refused_by_name() {
    let server = start("");
    for (path, name) in [
        ("/api/events?Kind=denied,other", "Kind"),
        ("/api/events?Limit=0", "Limit"),
        ("/api/events?Limit=1001", "Limit"),
        ("/api/events?From=soon", "From"),
        ("/api/events?To=2026-13-01", "To"),
        ("/api/events?Before=x", "Before"),
        ("/api/events?KeyID=xyz", "KeyID"),
        ("/api/events?Format=xml", "Format"),
        ("/api/events?Format=csv&Separator=x", "Separator"),
        ("/api/events/stream?Kind=other", "Kind"),
        ("/api/reports/usage?Step=year", "Step"),
        ("/api/reports/usage?From=2020-01-01&Step=5m", "Step"),
        ("/api/reports/users?From=2026-02-01&To=2026-01-01", "From"),
        ("/api/series?KeyID=1", "KeyID"),
    ] {
        let answer = server.call("GET", path, "").await;
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        assert!(answer.json()["Message"].as_str().unwrap().contains(name), "{path}: {answer:?}");
    }
    assert_eq!(server.call("GET", "/api/reports/other", "").await.status, 404);
}

#[tokio::test]
async fn all_events_leave_as_csv_and_as_json_in_parts() {
    let server = busy().await;
    put(
        &server,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
         INSERT INTO history (at, event) SELECT i, 'key_arrived' FROM n",
    );
    let all = get(&server, "/api/events?All=1").await;
    let events = all["Events"].as_array().unwrap();
    assert!(events.len() > 2500 && all["Next"].is_null());
    assert!(events.windows(2).all(|pair| pair[0]["No"].as_i64() > pair[1]["No"].as_i64()));

    let csv = server.call("GET", "/api/events?Format=csv&Separator=semicolon", "").await;
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
    assert_eq!(csv.headers["content-disposition"], "attachment; filename=\"events.csv\"");
    let lines: Vec<&str> = csv.body.split("\r\n").collect();
    assert!(lines[0].starts_with("\u{feff}No;Time;Kind;Subject;KeyNo;KeyID;Reason;UserName;"));
    assert_eq!(lines.len(), events.len() + 2, "a heading, the events, and the end");
    let audit = lines.iter().find(|line| line.contains(";audit;")).unwrap();
    assert!(audit.contains(";'=уборка;"), "no formula: {audit}");
    let denied = lines.iter().find(|line| line.contains(";denied;")).unwrap();
    assert!(denied.contains(";MORA-HP;1CV8C;\"Srvr=\"\"s\"\";Ref=\"\"demo\"\";\";"), "{denied}");

    let some = server.call("GET", "/api/events?Format=csv&Limit=1000", "").await;
    assert_eq!(some.body.split("\r\n").count(), 1002);
    let exact = get(&server, "/api/events?All=1&Kind=denied").await;
    assert_eq!(exact["Events"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn totals_of_a_series_have_peak_and_refusals_of_the_day() {
    let server = busy().await;
    check("series", get(&server, "/api/series").await);
    assert_eq!(get(&server, "/api/series?KeyID=0001").await, json!({"Series": []}));
    // What was before midnight is not of the day.
    put(&server, "UPDATE peak SET at = at - 86400000; UPDATE history SET at = at - 86400000");
    let series = &get(&server, "/api/series").await["Series"][0];
    assert_eq!(series["PeakToday"], 4, "what is held at the moment is part of the day");
    assert_eq!(series["DenialsToday"], 0);
}

#[tokio::test]
async fn reports_have_their_published_shapes() {
    let server = busy().await;
    for kind in ["usage", "users", "infobases", "computers", "applications", "series", "denials"] {
        let step = if kind == "usage" { "?Step=day" } else { "" };
        let mut report = get(&server, &format!("/api/reports/{kind}{step}")).await;
        if kind == "usage" {
            // A run over midnight has two points.
            report["Series"][0]["Points"].as_array_mut().unwrap().truncate(1);
        }
        check(&format!("report_{kind}"), report);
    }
}

/// A day in the past with known use: peaks of three spans, three sessions that ended and a refusal.
const PAST: &str = r#"
INSERT INTO peak VALUES (26411, 1577872800000, 3, 5), (26411, 1577873100000, 4, 5),
  (26411, 1577880000000, 2, 6), (1, 1577872800000, 9, 9);
INSERT INTO history (at, event, series, reason, detail) VALUES
  (1577872800000, 'session_opened', 26411, NULL, '{}'),
  (1577876400000, 'session_closed', 26411, 'released',
    '{"opened":1577872800000,"info":{"UserName":"Анна","ComputerName":"A"}}'),
  (1577876400000, 'session_closed', 26411, 'expired',
    '{"opened":1577790000000,"info":{"UserName":"Борис","ComputerName":"B"}}'),
  (1577880000000, 'session_closed', 26411, 'released',
    '{"opened":1577879000000,"info":{"UserName":"Анна","ComputerName":"C"}}'),
  (1577880000000, 'session_closed', 26411, 'expired', NULL),
  (1578100000000, 'session_closed', 1, 'released',
    '{"opened":1577900000000,"info":{"ComputerName":"D"}}'),
  (1577880000000, 'denied', 26411, 'ENoFreeLicence', '{"text":"x","session":{"UserName":"Вера"}}'),
  (1577880000001, 'denied', 26411, 'ENoFreeLicence', '{"text":"x","session":{"UserName":"Анна"}}'),
  (1577880000002, 'denied', 1, 'EWish', '{"text":"x","session":{}}');
"#;

/// A server that looks back on that day.
async fn past() -> Server {
    let server = start("");
    // At its start a server removes what is too old. Once it has answered, that is done.
    server.connect().await;
    put(&server, PAST);
    server
}

#[tokio::test]
async fn use_is_summed_up_by_span() {
    let server = past().await;
    for (query, expected) in [
        (
            "Step=5m&KeyID=672B",
            json!([
                ["2020-01-01T10:00:00.000Z", 3, 5, 1, 0],
                ["2020-01-01T10:05:00.000Z", 4, 5, 0, 0],
                ["2020-01-01T12:00:00.000Z", 2, 6, 0, 2],
            ]),
        ),
        (
            "KeyID=672B",
            json!([
                ["2020-01-01T10:00:00.000Z", 4, 5, 1, 0],
                ["2020-01-01T12:00:00.000Z", 2, 6, 0, 2],
            ]),
        ),
        ("Step=day&KeyID=672B", json!([["2020-01-01T00:00:00.000Z", 4, 6, 1, 2]])),
        ("Step=day&KeyID=0002", json!([])),
    ] {
        let path = format!("/api/reports/usage?From=2020-01-01&To=2020-01-01&{query}");
        let report = get(&server, &path).await;
        let names = ["Time", "Peak", "Seats", "Opened", "Denied"];
        let points = report["Series"][0]["Points"].as_array().unwrap();
        let points: Vec<Value> = points
            .iter()
            .map(|point| names.iter().map(|name| point[name].clone()).collect())
            .collect();
        assert_eq!(Value::Array(points), expected, "{query}");
    }
    // A span of which only the second half is asked for belongs to it as a whole.
    let path = "/api/reports/usage?From=2020-01-01T10:07:00Z&To=2020-01-01T11:00:00Z";
    let report = get(&server, path).await;
    let series: Vec<&str> =
        report["Series"].as_array().unwrap().iter().filter_map(|s| s["KeyID"].as_str()).collect();
    assert_eq!(series, ["0001", "672B"], "also of a series whose keys are gone");
    assert_eq!(report["Series"][1]["Points"][0]["Peak"], 4);
}

#[tokio::test]
async fn sessions_are_summed_up_with_their_time_within_the_span() {
    let server = past().await;
    for (report, expected) in [
        // Борис was there since the day before: of his time only that of this day counts.
        (
            "users",
            json!([
                ["", 1, 9600, 9600, 1],
                ["Борис", 1, 39_600, 39_600, 0],
                ["Анна", 2, 4600, 3600, 1],
                ["Вера", 0, 0, 0, 1],
            ]),
        ),
        ("users?KeyID=0001", json!([["", 1, 9600, 9600, 1]])),
        ("users?Limit=1", json!([["Борис", 1, 39_600, 39_600, 0]])),
        ("series", json!([["672B", 3, 44_200, 39_600, 2], ["0001", 1, 9600, 9600, 1]])),
    ] {
        let joint = if report.contains('?') { '&' } else { '?' };
        // The last of the sessions ended days after the span.
        let path = format!("/api/reports/{report}{joint}From=2020-01-01&To=2020-01-01T20:13:20Z");
        let found = get(&server, &path).await;
        let names = ["Name", "Sessions", "Seconds", "LongestSeconds", "Denied"];
        let mut lines: Vec<Value> = found["Lines"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| names.iter().map(|name| line[name].clone()).collect())
            .collect();
        let mut expected = expected.as_array().unwrap().clone();
        let by_seconds = |line: &Value| std::cmp::Reverse(line[2].as_u64());
        assert!(lines.is_sorted_by_key(by_seconds), "{report}: the longest first: {lines:?}");
        expected.sort_by_key(by_seconds);
        lines.sort_by_key(by_seconds);
        assert_eq!(lines, expected, "{report}");
    }
    let denials = get(&server, "/api/reports/denials?From=2020-01-01&To=2020-01-01").await;
    let expected = json!([
        {"KeyID": "672B", "Reason": "ENoFreeLicence", "Count": 2, "Last": "2020-01-01T12:00:00.001Z"},
        {"KeyID": "0001", "Reason": "EWish", "Count": 1, "Last": "2020-01-01T12:00:00.002Z"},
    ]);
    assert_eq!(denials["Lines"], expected);
    let csv = server
        .call("GET", "/api/reports/users?From=2020-01-01&To=2020-01-01&KeyID=672B&Format=csv", "")
        .await;
    assert_eq!(
        csv.body,
        "\u{feff}Name,Sessions,Seconds,LongestSeconds,Denied\r\n\
         Борис,1,39600,39600,0\r\nАнна,2,4600,3600,1\r\nВера,0,0,0,1\r\n"
    );
}

#[tokio::test]
async fn sessions_still_open_are_part_of_a_report() {
    let server = busy().await;
    // They have been open for an hour.
    put(&server, "UPDATE session SET opened = opened - 3600000");
    let report = get(&server, "/api/reports/computers").await;
    let line = &report["Lines"][0];
    assert_eq!((&line["Name"], &line["Sessions"]), (&json!("MORA-HP"), &json!(5)));
    assert!(line["Seconds"].as_u64().unwrap() >= 4 * 3600, "{line}");
}

/// A stream of events as a browser reads it.
struct Listener {
    answer: Answer,
    text: String,
}

impl Listener {
    async fn new(server: &Server, path: &str, last: Option<&str>) -> Self {
        let mut request = request("GET", path, "");
        if let Some(last) = last {
            request.headers_mut().insert("Last-Event-ID", last.parse().unwrap());
        }
        let answer = api::serve(&server.app, LOCAL, request).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream; charset=utf-8");
        let mut listener = Self { answer, text: String::new() };
        assert_eq!(listener.block().await.unwrap(), "retry: 3000");
        listener
    }

    /// The next block; nothing when the stream has ended.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let frame = tokio::time::timeout(BOUND, self.answer.body_mut().frame()).await.unwrap();
            let part = frame?.unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&part).unwrap());
        }
    }

    /// The next event: id, kind, data.
    async fn event(&mut self) -> (String, String, Value) {
        let block = self.block().await.unwrap();
        let lines: Vec<&str> = block.lines().collect();
        let field = |index: usize, name: &str| {
            lines[index].strip_prefix(name).unwrap_or_else(|| panic!("{block}")).to_owned()
        };
        let data = serde_json::from_str(&field(2, "data: ")).unwrap();
        (field(0, "id: "), field(1, "event: "), data)
    }
}

#[tokio::test]
async fn stream_tells_what_happens_in_the_words_of_the_list() {
    let server = start("");
    let mut listener = Listener::new(&server, "/api/events/stream", None).await;
    let mut denials = Listener::new(&server, "/api/events/stream?Kind=denied", None).await;
    let mut others = Listener::new(&server, "/api/events/stream?KeyID=0001", None).await;
    let connection = server.connect().await;
    for number in 1..=6 {
        server.open(&connection, number).await;
    }
    let listed = get(&server, "/api/events?Limit=7").await;
    let listed: Vec<&Value> = listed["Events"].as_array().unwrap().iter().rev().collect();
    for expected in listed {
        let (id, kind, data) = listener.event().await;
        assert_eq!(&data, expected);
        assert_eq!(
            (json!(id.parse::<i64>().unwrap()), json!(kind)),
            (data["No"].clone(), data["Kind"].clone())
        );
    }
    let (_, kind, _) = denials.event().await;
    assert_eq!(kind, "denied");
    server.app.feed.close();
    for listener in [&mut listener, &mut denials, &mut others] {
        assert_eq!(listener.block().await, None, "the server stops, the stream ends");
    }
}

#[tokio::test]
async fn listener_that_comes_back_gets_what_it_missed_once() {
    let server = busy().await;
    let all = get(&server, "/api/events").await;
    let all: Vec<i64> =
        all["Events"].as_array().unwrap().iter().rev().map(|e| e["No"].as_i64().unwrap()).collect();
    let last = all[all.len() - 4].to_string();
    let mut listener = Listener::new(&server, "/api/events/stream", Some(&last)).await;
    for no in &all[all.len() - 3..] {
        assert_eq!(listener.event().await.0, no.to_string());
    }
    server.connect().await;
    assert_eq!(listener.event().await.1, "connection_opened");
    // Numbers of another database: it gets what there is.
    let mut stranger = Listener::new(&server, "/api/events/stream", Some("999999")).await;
    assert_eq!(stranger.event().await.0, all[0].to_string());
}

#[tokio::test]
async fn listener_that_missed_too_much_is_told_and_gets_the_latest() {
    let server = start("");
    server.connect().await;
    put(
        &server,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
         INSERT INTO history (no, at, event) SELECT 10000 + i, i, 'key_arrived' FROM n",
    );
    let mut listener = Listener::new(&server, "/api/events/stream", Some("10001")).await;
    assert_eq!(listener.block().await.unwrap(), "event: lagged\ndata: {\"Lost\":null}");
    assert_eq!(listener.event().await.0, "10501");
    let mut in_time = Listener::new(&server, "/api/events/stream", Some("10500")).await;
    assert_eq!(in_time.event().await.0, "10501");
}

#[tokio::test(start_paused = true)]
async fn silent_stream_says_that_it_lives() {
    let server = start("");
    let mut listener = Listener::new(&server, "/api/events/stream?KeyID=0001", None).await;
    for _ in 0..3 {
        assert_eq!(listener.block().await.unwrap(), ": ping");
    }
}

#[tokio::test]
async fn streams_beyond_the_bound_are_refused_until_one_ends() {
    let server = start("");
    let mut open = Vec::new();
    for _ in 0..licenceserver::history::STREAMS_MAX {
        open.push(Listener::new(&server, "/api/events/stream", None).await);
    }
    let refused = server.call("GET", "/api/events/stream", "").await;
    assert_eq!(refused.status, 503, "{refused:?}");
    open.pop();
    // The stream's own task notices that its reader has gone.
    let again = async {
        while server.app.feed.listeners() == licenceserver::history::STREAMS_MAX {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, again).await.unwrap();
    open.push(Listener::new(&server, "/api/events/stream", None).await);
}

#[tokio::test]
async fn history_that_cannot_be_read_leaves_the_totals() {
    let server = busy().await;
    put(&server, "DROP TABLE history; DROP TABLE peak");
    let series = &get(&server, "/api/series").await["Series"][0];
    assert_eq!((&series["UseLicenceCount"], &series["PeakToday"]), (&json!(4), &Value::Null));
    assert_eq!(server.call("GET", "/api/events", "").await.status, 500);
}

#[tokio::test]
async fn stream_over_a_socket_ends_in_good_order_when_the_server_stops() {
    let server = start("");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let identity = Identity::from_seed([1; 32]);
    let config = tls::server_config(&identity, &["test".to_owned()]).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async move { drop(stopped.await) };
    let served = tokio::spawn(net::serve(listener, config, Arc::clone(&server.app), stopped));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let auth = support::basic("admin:admin");
    let head = "GET /api/events/stream?Kind=connection_opened HTTP/1.1\r\nHost: localhost";
    let request = format!("{head}\r\nAuthorization: {auth}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut read = String::new();
    let mut read_until = async |wanted: &str| {
        while !read.contains(wanted) {
            let mut part = [0; 4096];
            let bytes = tokio::time::timeout(BOUND, stream.read(&mut part)).await.unwrap().unwrap();
            assert!(bytes > 0, "{wanted} did not come: {read}");
            read.push_str(std::str::from_utf8(&part[..bytes]).unwrap());
        }
    };
    read_until("retry: 3000\n\n").await;
    server.connect().await;
    read_until("event: connection_opened\n").await;
    stop.send(()).unwrap();
    // The last chunk: nobody takes the torso of a stream for the whole.
    read_until("\r\n0\r\n\r\n").await;
    tokio::time::timeout(BOUND, served).await.unwrap().unwrap();
}
