//! The page of reports: how the seats were used over a span, and by whom.
//!
//! Reads the history and shows it. A report that cannot be had is told in its place; the others
//! are shown all the same.

use askama::Template;
use licence_core::key::KeySeries;
use licence_core::language::Language;

use super::frame::{Frame, encoded};
use super::parts::{Choice, asked_series, known_series, series_choices, told};
use super::plot;
use super::shown;
use super::span::Span;
use super::texts::Texts;
use crate::api::errors::ApiError;
use crate::api::params::Params;
use crate::api::routes::Page;
use crate::api::{Answer, Call};
use crate::clock;
use crate::history::{DenialLine, GroupBy, History, UseLine, UsePoint};

/// Series that are plotted on one page; more are asked for one by one.
const SERIES_MAX: usize = 12;

/// Lines of one table; the files have them all.
const LINES_MAX: usize = 50;

/// Points of a plot: about what a screen has columns for.
const POINTS_MAX: u64 = 750;

/// `GET /reports`.
pub(super) async fn answer(call: &Call<'_>) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, b"")?;
    let now = clock::utc();
    let span = Span::read(&params, now, "week")?;
    let chosen = asked_series(&params)?;
    let t = call.language;
    let history = &call.app.history;

    let mut known = known_series(call).await?;
    let series = series_choices(&known, chosen);
    known.retain(|(series, _)| chosen.is_none_or(|one| one == *series));
    let hidden = known.len().saturating_sub(SERIES_MAX);
    let mut plots = Vec::new();
    for (series, product) in known.into_iter().take(SERIES_MAX) {
        plots.push(series_plot(t, history, series, product, &span).await);
    }
    let mut tables = Vec::new();
    for (by, kind, russian, english) in [
        (GroupBy::User, "users", "Пользователи", "Users"),
        (GroupBy::Infobase, "infobases", "Информационные базы", "Infobases"),
        (GroupBy::Computer, "computers", "Компьютеры", "Computers"),
        (GroupBy::Application, "applications", "Приложения", "Applications"),
    ] {
        let lines = history.summary(by, chosen, span.from, span.to, LINES_MAX).await;
        tables.push(Table::new(t, kind, t.pick(russian, english), lines, span.seconds()));
    }
    let (denials, denials_error) = match denials(t, history, chosen, &span).await {
        Ok(denials) => (denials, None),
        Err(error) => (Denials::default(), Some(told(t, &error))),
    };
    let mut export =
        format!("From={}&To={}", encoded(&span.from.to_string()), encoded(&span.to.to_string()));
    if let Some(series) = chosen {
        export.push_str(&format!("&KeyID={series}"));
    }
    let page = ReportsPage {
        frame: Frame::new(call, Page::Reports).await?,
        t,
        series,
        step: if span.seconds() > 8 * 86_400 { "day" } else { "hour" },
        plots,
        hidden,
        tables,
        denials,
        denials_error,
        export,
        denials_link: format!("/events?{}&kind=denied", span.query()),
        span,
    };
    page.frame.answer(hyper::StatusCode::OK, &page)
}

#[derive(Template)]
#[template(path = "reports.html")]
struct ReportsPage {
    frame: Frame,
    t: Language,
    span: Span,
    series: Vec<Choice>,
    plots: Vec<SeriesPlot>,
    hidden: usize,
    tables: Vec<Table>,
    denials: Denials,
    denials_error: Option<String>,
    export: String,
    denials_link: String,
    step: &'static str,
}

/// Use of one series: the plot, and what it comes to.
struct SeriesPlot {
    series: KeySeries,
    product: String,
    /// A whole `svg` element, with all texts escaped.
    svg: String,
    facts: Vec<(&'static str, String)>,
    error: Option<String>,
}

async fn series_plot(
    t: Language,
    history: &History,
    series: KeySeries,
    product: String,
    span: &Span,
) -> SeriesPlot {
    let step = step_seconds(span.seconds());
    let (points, error) = match history.usage(series, span.from, span.to, step).await {
        Ok(points) => (points, None),
        Err(error) => (Vec::new(), Some(told(t, &error))),
    };
    SeriesPlot {
        series,
        product,
        facts: if points.is_empty() { Vec::new() } else { facts(t, &points) },
        svg: plot::use_plot(
            &format!("plot-{series}"),
            t.pick("Использование лицензий", "Use of licences"),
            &points,
            step,
            Texts(t),
        ),
        error,
    }
}

/// Spans of a plot: the shortest of these with which it has at most [`POINTS_MAX`] points.
fn step_seconds(seconds: u64) -> u32 {
    [300, 900, 3600, 4 * 3600, 86_400]
        .into_iter()
        .find(|step| seconds / u64::from(*step) <= POINTS_MAX)
        .unwrap_or(7 * 86_400)
}

fn facts(t: Language, points: &[UsePoint]) -> Vec<(&'static str, String)> {
    let peak = points.iter().rev().max_by_key(|point| point.peak);
    let seats = points.iter().map(|point| point.seats).max().unwrap_or(0);
    let count = u64::try_from(points.len()).unwrap_or(u64::MAX).max(1);
    let sum: u64 = points.iter().map(|point| point.peak).sum();
    let (whole, tenth) = (sum / count, sum % count * 10 / count);
    let mark = t.pick(",", ".");
    vec![
        (
            t.pick("Пик", "Peak"),
            peak.map(|point| {
                format!(
                    "{} {} {} — {}",
                    point.peak,
                    t.pick("из", "of"),
                    point.seats,
                    Texts(t).moment(&point.at)
                )
            })
            .unwrap_or_default(),
        ),
        (
            t.pick("В среднем занято (по пикам)", "Held on average (of the peaks)"),
            format!("{whole}{mark}{tenth}"),
        ),
        (t.pick("Лицензий, не более", "Licences at most"), seats.to_string()),
        (
            t.pick("Начато сеансов", "Sessions opened"),
            points.iter().map(|point| point.opened).sum::<u64>().to_string(),
        ),
        (
            t.pick("Отказов", "Denials"),
            points.iter().map(|point| point.denied).sum::<u64>().to_string(),
        ),
    ]
}

/// One table of use.
struct Table {
    /// The report's name in the API.
    kind: &'static str,
    title: &'static str,
    lines: Vec<Line>,
    is_cut: bool,
    error: Option<String>,
}

struct Line {
    name: String,
    sessions: u64,
    time: String,
    average: String,
    longest: String,
    denied: u64,
}

impl Table {
    fn new(
        t: Language,
        kind: &'static str,
        title: &'static str,
        lines: Result<Vec<UseLine>, ApiError>,
        seconds: u64,
    ) -> Self {
        let (lines, error) = match lines {
            Ok(lines) => (lines, None),
            Err(error) => (Vec::new(), Some(told(t, &error))),
        };
        Self {
            kind,
            title,
            is_cut: lines.len() >= LINES_MAX,
            lines: lines.into_iter().map(|line| Line::new(t, line, seconds)).collect(),
            error,
        }
    }
}

impl Line {
    fn new(t: Language, line: UseLine, seconds: u64) -> Self {
        // Hundredths of a session that was open all the time.
        let hundredths = line.seconds.saturating_mul(100) / seconds.max(1);
        let mark = t.pick(",", ".");
        Self {
            name: line.name,
            sessions: line.sessions,
            time: Texts(t).span(line.seconds),
            average: format!("{}{mark}{:02}", hundredths / 100, hundredths % 100),
            longest: Texts(t).span(line.longest_seconds),
            denied: line.denied,
        }
    }
}

/// Refusals by series and reason.
#[derive(Default)]
struct Denials {
    lines: Vec<Denial>,
    /// Whether there may be more.
    is_cut: bool,
}

struct Denial {
    series: String,
    code: String,
    reason: String,
    count: u64,
    last: String,
}

async fn denials(
    t: Language,
    history: &History,
    series: Option<KeySeries>,
    span: &Span,
) -> Result<Denials, ApiError> {
    let lines = history.denials(series, span.from, span.to, LINES_MAX).await?;
    let is_cut = lines.len() >= LINES_MAX;
    let line = |line: DenialLine| Denial {
        series: line.series.map(|series| series.to_string()).unwrap_or_default(),
        reason: shown::reason(t, &line.reason),
        code: line.reason,
        count: line.count,
        last: Texts(t).moment(&line.last),
    };
    Ok(Denials { lines: lines.into_iter().map(line).collect(), is_cut })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plot_has_no_more_points_than_a_screen_has_columns() {
        for (days, step) in [(1, 300), (2, 300), (7, 900), (30, 3600), (100, 14_400), (700, 86_400)]
        {
            assert_eq!(step_seconds(days * 86_400), step, "{days}");
        }
        assert_eq!(step_seconds(3660 * 86_400), 7 * 86_400);
    }

    #[test]
    fn facts_name_the_first_moment_of_the_peak_and_the_average() {
        let point = |at: i64, peak, denied| UsePoint {
            at: licence_core::time::Utc::from_unix_millis(at * 3_600_000),
            peak,
            seats: 5,
            opened: 1,
            denied,
        };
        let facts = facts(Language::English, &[point(1, 2, 0), point(2, 4, 3), point(3, 4, 1)]);
        let texts: Vec<_> = facts.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["4 of 5 — 1970-01-01 02:00:00", "3.3", "5", "3", "4"]);
    }

    #[test]
    fn line_tells_how_many_were_open_on_average() {
        let line = UseLine {
            name: "Иванов".into(),
            sessions: 3,
            seconds: 5400,
            longest_seconds: 3600,
            denied: 0,
        };
        let line = Line::new(Language::Russian, line, 3600);
        assert_eq!((line.average.as_str(), line.time.as_str()), ("1,50", "1 ч 30 мин"));
    }
}
