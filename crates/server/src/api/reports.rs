//! REST: reports of use, as JSON and CSV.
//!
//! Which report over which span; what is summed up and how is [`crate::history`]'s.

use hyper::StatusCode;
use licence_core::key::KeySeries;
use licence_core::time::Utc;
use serde::Serialize;

use crate::api::errors::ApiError;
use crate::api::events::{csv, file, limit};
use crate::api::params::Params;
use crate::api::rest;
use crate::api::spans::{self, Side};
use crate::api::{Answer, Call, json};
use crate::clock;
use crate::history::csv::{BYTE_ORDER_MARK, Csv};
use crate::history::{DenialLine, GroupBy, UseLine, UsePoint};

/// Days that a report looks back when no `From` is named.
const DAYS: i64 = 30;

/// Points of one series in one answer: a year by hours, or a month by five minutes.
const POINTS_MAX: i64 = 10_000;

/// Lines of a report when no limit is named.
const LINES: usize = 1000;

/// Lines of a report: some 2 MB.
const LINES_MAX: usize = 10_000;

/// A report over a span.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ReportView<'a, T> {
    report: &'a str,
    from: Utc,
    to: Utc,
    #[serde(flatten)]
    content: T,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct UsageView {
    step_seconds: u32,
    series: Vec<SeriesUsageView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct SeriesUsageView {
    #[serde(rename = "KeyID")]
    key_id: KeySeries,
    points: Vec<PointView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct PointView {
    time: Utc,
    peak: u64,
    seats: u64,
    opened: u64,
    denied: u64,
}

impl From<UsePoint> for PointView {
    fn from(point: UsePoint) -> Self {
        let UsePoint { at: time, peak, seats, opened, denied } = point;
        Self { time, peak, seats, opened, denied }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct LinesView<T> {
    lines: Vec<T>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct UseLineView {
    name: String,
    sessions: u64,
    seconds: u64,
    longest_seconds: u64,
    denied: u64,
}

impl From<UseLine> for UseLineView {
    fn from(line: UseLine) -> Self {
        let UseLine { name, sessions, seconds, longest_seconds, denied } = line;
        Self { name, sessions, seconds, longest_seconds, denied }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DenialLineView {
    #[serde(rename = "KeyID")]
    key_id: Option<KeySeries>,
    reason: String,
    count: u64,
    last: Utc,
}

impl From<DenialLine> for DenialLineView {
    fn from(line: DenialLine) -> Self {
        let DenialLine { series: key_id, reason, count, last } = line;
        Self { key_id, reason, count, last }
    }
}

/// What all reports are asked.
struct Asked {
    series: Option<KeySeries>,
    from: Utc,
    to: Utc,
    limit: usize,
    csv: Option<Csv>,
}

impl Asked {
    fn read(params: &Params, now: Utc) -> Result<Self, ApiError> {
        let to = spans::moment(params, "To", Side::End)?.unwrap_or(now);
        let from = spans::moment(params, "From", Side::Begin)?
            .unwrap_or_else(|| to.plus_millis(-DAYS * licence_core::time::DAY_MILLIS));
        if from >= to {
            return Err(ApiError::bad_request(
                "From must be before To.",
                "Параметр From должен быть раньше To.",
            ));
        }
        let series = rest::series(params)?;
        let limit = limit(params, LINES_MAX)?.unwrap_or(LINES);
        Ok(Self { series, from, to, limit, csv: csv(params)? })
    }

    /// The report as JSON, or as a file with these headings and cells.
    fn answer<T: Serialize, const N: usize>(
        &self,
        report: &str,
        content: T,
        headings: [&str; N],
        lines: impl FnOnce(&T) -> Vec<[String; N]>,
    ) -> Result<Answer, ApiError> {
        let Some(csv) = self.csv else {
            let view = ReportView { report, from: self.from, to: self.to, content };
            return json(StatusCode::OK, &view);
        };
        let mut text = BYTE_ORDER_MARK.to_owned();
        csv.line(&mut text, &headings);
        for cells in lines(&content) {
            csv.line(&mut text, &cells);
        }
        Ok(file(text.into(), "text/csv; charset=utf-8", &format!("{report}.csv")))
    }
}

/// `GET /api/reports/{Kind}`.
pub(crate) async fn answer(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let report = call.argument.as_str();
    let by = match report {
        "applications" => Some(GroupBy::Application),
        "computers" => Some(GroupBy::Computer),
        "infobases" => Some(GroupBy::Infobase),
        "series" => Some(GroupBy::Series),
        "users" => Some(GroupBy::User),
        "denials" | "usage" => None,
        _ => return Err(ApiError::not_found(call.path)),
    };
    let params = Params::read(call.query, body)?;
    let asked = Asked::read(&params, clock::utc())?;
    match (report, by) {
        (_, Some(by)) => summary(call, &asked, by).await,
        ("denials", None) => denials(call, &asked).await,
        (_, None) => usage(call, &asked, step(&params)?).await,
    }
}

async fn usage(call: &Call<'_>, asked: &Asked, step_seconds: u32) -> Result<Answer, ApiError> {
    let points = (asked.to.unix_seconds() - asked.from.unix_seconds()) / i64::from(step_seconds);
    if points > POINTS_MAX {
        return Err(ApiError::bad_request(
            format!("From, To and Step make more than {POINTS_MAX} points; take a larger Step."),
            format!(
                "Параметры From, To и Step дают больше {POINTS_MAX} точек; увеличьте шаг (Step)."
            ),
        ));
    }
    let history = &call.app.history;
    let all = match asked.series {
        Some(series) => vec![series],
        None => {
            let mut all = history.series().await?;
            all.extend(call.app.handle.overview().await?.into_iter().map(|totals| totals.series));
            all.sort_unstable();
            all.dedup();
            all
        }
    };
    let mut series = Vec::with_capacity(all.len());
    for key_id in all {
        let points = history.usage(key_id, asked.from, asked.to, step_seconds).await?;
        let points = points.into_iter().map(PointView::from).collect();
        series.push(SeriesUsageView { key_id, points });
    }
    let headings = ["KeyID", "Time", "Peak", "Seats", "Opened", "Denied"];
    asked.answer("usage", UsageView { step_seconds, series }, headings, |view| {
        let line = |key_id: KeySeries, point: &PointView| {
            [
                key_id.to_string(),
                point.time.to_string(),
                point.peak.to_string(),
                point.seats.to_string(),
                point.opened.to_string(),
                point.denied.to_string(),
            ]
        };
        let of_series = |series: &SeriesUsageView| {
            series.points.iter().map(|point| line(series.key_id, point)).collect::<Vec<_>>()
        };
        view.series.iter().flat_map(of_series).collect()
    })
}

async fn summary(call: &Call<'_>, asked: &Asked, by: GroupBy) -> Result<Answer, ApiError> {
    let history = &call.app.history;
    let lines = history.summary(by, asked.series, asked.from, asked.to, asked.limit).await?;
    let lines = lines.into_iter().map(UseLineView::from).collect();
    let headings = ["Name", "Sessions", "Seconds", "LongestSeconds", "Denied"];
    asked.answer(&call.argument, LinesView { lines }, headings, |view| {
        let line = |line: &UseLineView| {
            [
                line.name.clone(),
                line.sessions.to_string(),
                line.seconds.to_string(),
                line.longest_seconds.to_string(),
                line.denied.to_string(),
            ]
        };
        view.lines.iter().map(line).collect()
    })
}

async fn denials(call: &Call<'_>, asked: &Asked) -> Result<Answer, ApiError> {
    let history = &call.app.history;
    let lines = history.denials(asked.series, asked.from, asked.to, asked.limit).await?;
    let lines = lines.into_iter().map(DenialLineView::from).collect();
    asked.answer("denials", LinesView { lines }, ["KeyID", "Reason", "Count", "Last"], |view| {
        let line = |line: &DenialLineView| {
            [
                line.key_id.map(|series| series.to_string()).unwrap_or_default(),
                line.reason.clone(),
                line.count.to_string(),
                line.last.to_string(),
            ]
        };
        view.lines.iter().map(line).collect()
    })
}

/// `Step` in seconds: `5m`, `hour` (when none is named) or `day`.
fn step(params: &Params) -> Result<u32, ApiError> {
    match params.text("Step")?.unwrap_or("hour") {
        "5m" => Ok(300),
        "hour" => Ok(3600),
        "day" => Ok(86_400),
        _ => Err(ApiError::bad_request(
            "Step must be 5m, hour or day.",
            "Параметр Step должен быть 5m, hour или day.",
        )),
    }
}
