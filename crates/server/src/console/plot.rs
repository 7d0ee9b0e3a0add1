//! Plots of use: a picture, a sentence that says the same, and a table of the figures.
//!
//! Draws what it is given. The picture has no colours of its own and no script; the style sheet
//! colours it in light and dark.

use std::fmt::Write as _;

use askama::Template;
use licence_core::language::Language;
use licence_core::time::Utc;

use crate::api::errors::ApiError;
use crate::api::params::Params;
use crate::console::texts::Texts;
use crate::history::UsePoint;

/// Where the lines are drawn.
const LEFT: u64 = 48;
const RIGHT: u64 = 630;
const TOP: u64 = 12;
const BOTTOM: u64 = 140;

/// Marks on the time axis.
const MARKS: u64 = 6;

/// What the plot of the first page shows.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Span {
    /// 24 hours.
    #[default]
    Day,
    /// 7 days.
    Week,
    /// 30 days.
    Month,
}

impl Span {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Day, Self::Week, Self::Month];

    /// Reads `?span=`.
    pub(crate) fn read(params: &Params) -> Result<Self, ApiError> {
        let Some(text) = params.text("span")? else { return Ok(Self::default()) };
        Self::ALL.into_iter().find(|span| span.name() == text).ok_or_else(|| {
            ApiError::bad_request(
                "span must be day, week or month.",
                "Параметр span должен быть day, week или month.",
            )
        })
    }

    /// The name in the address.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// The name for people, as it follows “за” and “over the last”.
    pub(crate) fn text(self, t: Texts) -> &'static str {
        match self {
            Self::Day => t.0.pick("сутки", "24 hours"),
            Self::Week => t.0.pick("неделю", "week"),
            Self::Month => t.0.pick("месяц", "month"),
        }
    }

    /// Its begin.
    pub(crate) const fn before(self, to: Utc) -> Utc {
        let days = match self {
            Self::Day => 1,
            Self::Week => 7,
            Self::Month => 30,
        };
        to.plus_millis(-days * 86_400_000)
    }

    /// Length of one step of the line: about a hundred steps make a legible picture.
    pub(crate) const fn step_seconds(self) -> u32 {
        match self {
            Self::Day => 900,
            Self::Week => 7200,
            Self::Month => 28_800,
        }
    }
}

/// Use of seats over time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plot<'a> {
    /// Id in the page: letters, digits, `-`.
    pub(crate) id: &'a str,
    /// What it shows, in one line.
    pub(crate) title: &'a str,
    /// The span, for the steps and the marks on the axis.
    pub(crate) span: Span,
    /// The steps, in order.
    pub(crate) points: &'a [UsePoint],
}

impl Plot<'_> {
    /// The picture and its table as HTML.
    pub(crate) fn render(&self, t: Texts) -> String {
        use_plot(self.id, self.title, self.points, self.span.step_seconds(), t)
    }
}

/// The picture of use and its table as HTML that may stand in a page as it is.
///
/// `step_seconds` is the length of a step; where a step is missing, the line is broken.
pub(crate) fn use_plot(
    id: &str,
    title: &str,
    points: &[UsePoint],
    step_seconds: u32,
    t: Texts,
) -> String {
    let step = i64::from(step_seconds.max(1)) * 1000;
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        let text =
            t.pick("Данных об использовании ещё нет.", "There is nothing about the use yet.");
        return format!("<p class=\"quiet\">{text}</p>");
    };
    let from = first.at.unix_millis();
    let to = last.at.unix_millis() + step;
    let top = points.iter().map(|point| point.peak.max(point.seats)).max().unwrap_or(0).max(1);
    let scale = Scale { from, to, top };
    let highest = points.iter().max_by_key(|point| (point.peak, std::cmp::Reverse(point.at)));
    let is_short = to - from <= 2 * 86_400_000;
    let marks = (0..=MARKS).map(|at| {
        let moment = from + (to - from) / MARKS as i64 * at as i64;
        let shown = Utc::from_unix_millis(moment);
        let text = if is_short {
            shown.to_string().get(11..16).unwrap_or("").to_owned()
        } else {
            // Without the year: `02.04` or `04-02`.
            let part = match t.0 {
                Language::English => 5..10,
                Language::Russian => 0..5,
            };
            t.day(&shown).get(part).unwrap_or("").to_owned()
        };
        let anchor = match at {
            0 => "start",
            MARKS => "end",
            _ => "middle",
        };
        Mark { x: scale.x(moment), text, anchor }
    });
    let view = PlotView {
        t,
        id,
        title,
        peak: highest.map_or(0, |point| point.peak),
        peak_at: highest.map(|point| t.moment(&point.at)).unwrap_or_default(),
        denied: points.iter().map(|point| point.denied).sum(),
        opened: points.iter().map(|point| point.opened).sum(),
        use_line: line(&scale, points, step, |point| point.peak),
        use_area: area(&scale, points, step),
        seats_line: line(&scale, points, step, |point| point.seats),
        top,
        marks: marks.collect(),
        points,
    };
    view.render().unwrap_or_else(|error| {
        log::error!("a plot cannot be made: {error}");
        String::new()
    })
}

/// From moments and seats to places in the picture.
struct Scale {
    from: i64,
    to: i64,
    top: u64,
}

impl Scale {
    fn x(&self, millis: i64) -> u64 {
        let whole = u64::try_from(self.to - self.from).unwrap_or(1).max(1);
        let part = u64::try_from(millis - self.from).unwrap_or(0).min(whole);
        LEFT + share(part, whole, RIGHT - LEFT)
    }

    fn y(&self, seats: u64) -> u64 {
        BOTTOM - share(seats.min(self.top), self.top, BOTTOM - TOP)
    }
}

/// `part / whole` of `length`, without overflow whatever the history holds.
fn share(part: u64, whole: u64, length: u64) -> u64 {
    let share = u128::from(part) * u128::from(length) / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(length)
}

/// A line of steps, broken where a step is missing.
fn line(scale: &Scale, points: &[UsePoint], step: i64, value: impl Fn(&UsePoint) -> u64) -> String {
    let mut path = String::new();
    let mut end_before = None;
    for point in points {
        let begin = point.at.unix_millis();
        let (x, y) = (scale.x(begin), scale.y(value(point)));
        // Writing to a String does not fail.
        let _ = match end_before {
            Some(end) if end >= begin => write!(path, "V{y}"),
            _ => write!(path, "M{x} {y}"),
        };
        let _ = write!(path, "H{}", scale.x(begin + step));
        end_before = Some(begin + step);
    }
    path
}

fn area(scale: &Scale, points: &[UsePoint], step: i64) -> String {
    let mut path = String::new();
    for point in points {
        let begin = point.at.unix_millis();
        let (left, right) = (scale.x(begin), scale.x(begin + step));
        let y = scale.y(point.peak);
        let _ = write!(path, "M{left} {BOTTOM}V{y}H{right}V{BOTTOM}Z");
    }
    path
}

struct Mark {
    x: u64,
    text: String,
    anchor: &'static str,
}

#[derive(Template)]
#[template(path = "plot.html")]
struct PlotView<'a> {
    t: Texts,
    id: &'a str,
    title: &'a str,
    peak: u64,
    peak_at: String,
    denied: u64,
    opened: u64,
    use_line: String,
    use_area: String,
    seats_line: String,
    top: u64,
    marks: Vec<Mark>,
    points: &'a [UsePoint],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: i64, peak: u64, seats: u64) -> UsePoint {
        UsePoint { at: Utc::from_unix_millis(at * 1000), peak, seats, opened: 1, denied: 0 }
    }

    #[test]
    fn line_steps_and_is_broken_where_nothing_is_known() {
        let points = [point(0, 0, 10), point(10, 10, 10), point(30, 5, 10)];
        let scale = Scale { from: 0, to: 40_000, top: 10 };
        assert_eq!(
            line(&scale, &points, 10_000, |point| point.peak),
            "M48 140H193V12H339M484 76H630"
        );
    }

    #[test]
    fn plot_says_its_peak_and_escapes_its_title() {
        let points = [point(0, 1, 5), point(900, 4, 5), point(1800, 4, 5)];
        let shown = use_plot("use", "<i>", &points, 900, Texts(Language::English));
        assert!(shown.contains("role=\"img\"") && !shown.contains("<i>"), "{shown}");
        assert!(shown.contains("1970-01-01 00:15:00"), "{shown}");
        assert_eq!(shown.matches("<tr>").count(), 4, "{shown}");
    }

    #[test]
    fn plot_of_strange_figures_is_drawn_within_its_frame() {
        let points = [point(0, u64::MAX, 0), point(1, 3, u64::MAX)];
        let shown = use_plot("use", "t", &points, 0, Texts(Language::Russian));
        assert!(shown.contains("<svg"), "{shown}");
        let nothing = use_plot("use", "t", &[], 900, Texts(Language::Russian));
        assert!(!nothing.contains("<svg"), "{nothing}");
    }
}
