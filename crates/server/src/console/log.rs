//! The page of the log: its last lines, by level.
//!
//! Reads the current file and shows it. What may stand in a log is decided where it is written.

use askama::Template;
use hyper::StatusCode;
use licence_core::language::Language;
use log::LevelFilter;

use super::frame::Frame;
use super::parts::Choice;
use crate::api::errors::ApiError;
use crate::api::params::Params;
use crate::api::routes::Page;
use crate::api::{Answer, Call};
use crate::logfile;

/// Numbers of lines that are offered; the first one is shown when none is asked for.
const LINES: [usize; 3] = [200, 1000, 5000];

/// Levels, the least talkative first.
const LEVELS: [&str; 5] = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

/// `GET /log`.
pub(super) async fn answer(call: &Call<'_>) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, b"")?;
    let asked = params.text("lines")?.and_then(|text| text.parse::<usize>().ok());
    let count = LINES.into_iter().find(|lines| asked == Some(*lines)).unwrap_or(LINES[0]);
    let level = params
        .text("level")?
        .and_then(|text| LEVELS.iter().position(|level| level.eq_ignore_ascii_case(text)))
        .unwrap_or(LEVELS.len() - 1);
    let t = call.language;
    let folder = call.app.paths.logs();
    let least = LevelFilter::iter().nth(level + 1).unwrap_or(LevelFilter::Trace);
    let read = tokio::task::spawn_blocking(move || logfile::tail_at(&folder, count, least)).await;
    let (lines, error) = match read {
        Ok(Ok(text)) => (lines(&text), None),
        Ok(Err(error)) => (Vec::new(), Some(error.to_string())),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let page = LogPage {
        frame: Frame::new(call, Page::Log).await?,
        t,
        folder: call.app.paths.logs().display().to_string(),
        counts: LINES
            .into_iter()
            .map(|lines| Choice {
                value: lines.to_string(),
                text: lines.to_string(),
                is_chosen: lines == count,
            })
            .collect(),
        levels: LEVELS
            .iter()
            .enumerate()
            .map(|(at, name)| Choice {
                value: name.to_ascii_lowercase(),
                text: (*name).to_owned(),
                is_chosen: at == level,
            })
            .collect(),
        count,
        level: LEVELS[level].to_ascii_lowercase(),
        lines,
        error,
    };
    page.frame.answer(StatusCode::OK, &page)
}

#[derive(Template)]
#[template(path = "log.html")]
struct LogPage {
    frame: Frame,
    t: Language,
    folder: String,
    counts: Vec<Choice>,
    levels: Vec<Choice>,
    count: usize,
    level: String,
    lines: Vec<Line>,
    error: Option<String>,
}

#[derive(Debug, Eq, PartialEq)]
struct Line {
    /// The level in small letters: a class of the style sheet.
    level: &'static str,
    text: String,
}

/// Lines with their levels. A line without a level of its own goes on with the one before it.
fn lines(text: &str) -> Vec<Line> {
    const CLASSES: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
    let mut last = "info";
    let line = |line: &str| {
        let word = line.split_whitespace().nth(1).unwrap_or("");
        if let Some(own) = LEVELS.iter().position(|level| *level == word) {
            last = CLASSES[own];
        }
        Line { level: last, text: line.to_owned() }
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_without_a_level_goes_on_with_the_one_before() {
        let text = "2018-04-02T20:41:13.272Z INFO  a: one\n\
                    2018-04-02T20:41:13.273Z ERROR b: two\nand more of two\n";
        let levels: Vec<_> = lines(text).into_iter().map(|line| line.level).collect();
        assert_eq!(levels, ["info", "error", "error"]);
        assert!(lines("").is_empty());
    }

    #[test]
    fn levels_are_those_of_the_log_crate_in_its_order() {
        let names: Vec<_> = LevelFilter::iter().skip(1).map(|level| level.as_str()).collect();
        assert_eq!(names, LEVELS);
    }
}
