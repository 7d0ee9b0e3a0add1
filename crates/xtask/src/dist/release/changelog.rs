//! What CHANGELOG.md says of a version, and whether a tag may be released.
//!
//! A heading is `## 4.0.0 – 2026-11-22`, or `## 4.0.0 – not released` while the version is being made.

use std::path::Path;

use time::Date;
use time::macros::format_description;

use crate::stage::StageError;

/// Name of the file.
pub const NAME: &str = "CHANGELOG.md";

/// Whether a version is out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// It is being made.
    NotReleased,
    /// It came out on this day.
    Released(Date),
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotReleased => f.write_str("not released"),
            Self::Released(day) => write!(f, "of {day}"),
        }
    }
}

/// A version's section.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Section {
    /// Whether the version is out.
    pub state: State,
    /// What stands below the heading.
    pub text: String,
}

/// What the file says of a version.
///
/// # Errors
///
/// When there is no section, more than one, an empty one, or its heading has neither a day nor
/// "not released".
pub fn section(text: &str, version: &str) -> Result<Section, StageError> {
    let failed = |why: String| Err(StageError::failed(format!("{NAME}: {why}")));
    let mut found = None;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(heading) = line.strip_prefix("## ") else { continue };
        let (name, state) = heading.split_once(' ').unwrap_or((heading, ""));
        if name != version {
            continue;
        }
        let mut below = Vec::new();
        while let Some(line) = lines.next_if(|next| !next.starts_with("## ")) {
            below.push(line);
        }
        if below.iter().all(|line| line.trim().is_empty() || line.starts_with('#')) {
            return failed(format!("the section of {version} is empty"));
        }
        let text = format!("{}\n", below.join("\n").trim());
        if found.replace((state.trim_start_matches(['–', '-', ' ']), text)).is_some() {
            return failed(format!("{version} has more than one section"));
        }
    }
    let Some((state, text)) = found else {
        return failed(format!("no section \"## {version} – …\""));
    };
    if state == "not released" {
        return Ok(Section { state: State::NotReleased, text });
    }
    match Date::parse(state, format_description!("[year]-[month]-[day]")) {
        Ok(day) => Ok(Section { state: State::Released(day), text }),
        Err(_) => failed(format!(
            "the heading of {version} says {state:?}, expected a day such as 2026-11-22 or \
             \"not released\""
        )),
    }
}

/// The section of a version in the file of a workspace.
///
/// # Errors
///
/// As [`section`], and when the file cannot be read.
pub fn of_workspace(root: &Path, version: &str) -> Result<Section, StageError> {
    let path = root.join(NAME);
    let text = std::fs::read_to_string(&path).map_err(|why| StageError::io(&path, why))?;
    section(&text, version)
}

/// The section of what a tag releases: it must name the workspace's version, and the changelog the day.
///
/// # Errors
///
/// When the tag may not be released.
pub fn tag(root: &Path, tag: &str) -> Result<Section, StageError> {
    let version = env!("CARGO_PKG_VERSION");
    if tag != format!("v{version}") {
        return Err(StageError::failed(format!(
            "the tag {tag} does not fit: the version in Cargo.toml is {version}"
        )));
    }
    let section = of_workspace(root, version)?;
    match section.state {
        State::Released(_) => Ok(section),
        State::NotReleased => Err(StageError::failed(format!(
            "{NAME} says that {version} is not released: put the day into the heading first"
        ))),
    }
}
