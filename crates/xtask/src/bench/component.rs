//! What members of the component cost: the real library in the C++ host, which calls it as the
//! platform does, allocating and freeing what it answers.
//!
//! `СоздатьОбъект` of the object manager asks `ПодготовитьОбъект` each time and
//! `ПолучитьДанныеОбъекта` only for an object that 1C has not created in this session. Both are
//! measured for an object that the process has opened before; the first opening, which goes to the
//! server, is told beside them. The platform's own part, creating the processor, is not in here.

use std::io::Write;
use std::time::Duration;

use super::report::{self, CACHED_OBJECT_MICROS, Figure, PROPERTY_MICROS};
use crate::build::say;
use crate::clock;
use crate::demo::server_session;
use crate::stage::{HostProcess, Order, SERIES, Server, Stage, StageError, Vendor, word};

/// Calls of a row.
const CALLS: u32 = 10_000;

/// Size of the object, in bytes: a module of some two thousand lines.
const OBJECT_BYTES: u32 = 100 * 1024;

/// The object's name.
const NAME: &str = "ЗащищенныйМодуль";

/// Measures on a stage of its own, and prints the figures.
pub(super) fn alone(out: &mut dyn Write) -> Result<(), StageError> {
    let stage = Stage::temporary()?;
    let vendor = Vendor::start(&stage)?;
    let server = Server::start(&stage, "server", &vendor, 0)?;
    server.activate(&stage, &vendor, Order { kind: "main", seats: 1 })?;
    say(out, &report::figures(&run(&stage, &vendor, &server)?))
}

/// Measures with a server that has a key with a free seat.
pub(super) fn run(
    stage: &Stage,
    vendor: &Vendor,
    server: &Server,
) -> Result<Vec<Figure>, StageError> {
    let source = stage.root().join(format!("{NAME}.epf"));
    let bytes: Vec<u8> =
        (0..OBJECT_BYTES).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(&source, &bytes).map_err(|why| StageError::io(&source, why))?;
    server.put_datafile(None, &vendor.pack(stage, SERIES, &[&source], &[])?)?;

    let computer = stage.computer("measured", vendor, &[server.port()])?;
    let mut host = HostProcess::started(stage, "measured", &computer)?;
    let session = serde_json::to_string(&server_session(1))
        .map_err(|why| StageError::failed(format!("a session cannot be written: {why}")))?;
    must(host.call_truth("УстановитьСеанс", &[word(&session)])?)?;
    let seat = clock::timed(|| host.call_json("ЗанятьЛицензию", &[]));
    must(seat.0?)?;
    let scratch = stage.root().join("measured.object");
    let (opened, cold) = clock::timed(|| host.object_data(NAME, &scratch));
    if must(opened?)? != bytes {
        return Err(StageError::failed("the object is not the one that was packed"));
    }
    let object = word(NAME);
    let prepared = timed(&mut host, &format!("timecall {CALLS} L ПодготовитьОбъект {object}"))?;
    let data = timed(&mut host, &format!("timecall {CALLS} L ПолучитьДанныеОбъекта {object}"))?;
    let version = timed(&mut host, &format!("time L Версия {CALLS}"))?;
    let class = timed(&mut host, &format!("time L КлассОшибки {CALLS}"))?;
    host.quit()?;

    let micros = |what: String, value: f64, goal| Figure { what, value, unit: "µs", goal };
    let cached = Some(CACHED_OBJECT_MICROS);
    Ok(vec![
        micros(
            format!("component: property Версия, mean of {CALLS}"),
            version,
            Some(PROPERTY_MICROS),
        ),
        micros(
            format!("component: property КлассОшибки, mean of {CALLS}"),
            class,
            Some(PROPERTY_MICROS),
        ),
        micros(
            format!(
                "component: СоздатьОбъект of a cached object (ПодготовитьОбъект), mean of {CALLS}"
            ),
            prepared,
            cached,
        ),
        micros(
            format!(
                "component: ПолучитьДанныеОбъекта of a cached object of 100 KiB, mean of {CALLS}"
            ),
            data,
            cached,
        ),
        micros(
            "component: first opening of that object, with the server".into(),
            in_micros(cold),
            None,
        ),
        micros("component: taking a seat, with the server".into(), in_micros(seat.1), None),
    ])
}

fn must<T>(answer: Result<T, crate::stage::Refused>) -> Result<T, StageError> {
    answer.map_err(|refused| StageError::failed(format!("the component: {}", refused.text)))
}

fn in_micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}

/// Microseconds of one call, from the host's `ns 123.4`.
fn timed(host: &mut HostProcess, command: &str) -> Result<f64, StageError> {
    let answer = host.command(command)?;
    let nanos: Option<f64> = answer.strip_prefix("ns ").and_then(|nanos| nanos.parse().ok());
    nanos
        .map(|nanos| nanos / 1e3)
        .ok_or_else(|| StageError::failed(format!("the host answered {answer:?}")))
}
