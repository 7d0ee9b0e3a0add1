//! `docs/errors.md` against the sources: every class that a program of the workspace can answer is in
//! both halves of the page, with its status where the source names one, and no row is about a class
//! that nothing answers.
//!
//! Texts and advice are left to readers.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hyper::StatusCode;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::pool::KeyStatus;
use licence_core::refusal::{Refusal, UnmetWish};
use licenceserver::api::errors::refusal_status;

/// Folders whose files answer errors, below the workspace's. `licencekit` only shows those of a centre.
const SOURCES: [&str; 7] = [
    "crates/addin/manager",
    "crates/addin/src",
    "crates/centre/src",
    "crates/client/src",
    "crates/core/src",
    "crates/server/src",
    "examples/1c",
];

/// Texts of the sources that look like a class and are none, and why.
const NO_CLASSES: [(&str, &str); 3] = [
    ("EC", "a type of keys in a JWK"),
    ("EQUAL", "a comparison in etcd"),
    ("ERROR", "a level of the log"),
];

/// What the component puts before a class of the server.
const PREFIX: &str = "EServerResult.";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn every_class_of_the_sources_is_documented_in_both_languages_and_no_other_is() {
    let answered = answered();
    assert!(answered.len() > 80, "the sources were not read: {:?}", answered.keys());
    for (half, rows) in halves() {
        let documented: BTreeSet<_> = rows.keys().map(String::as_str).collect();
        let known: BTreeSet<_> = answered.keys().map(String::as_str).collect();
        let missing: Vec<_> = known.difference(&documented).collect();
        assert!(missing.is_empty(), "docs/errors.md ({half}) lacks {missing:?}");
        let invented: Vec<_> = documented.difference(&known).collect();
        assert!(
            invented.is_empty(),
            "docs/errors.md ({half}) has {invented:?}, which no source answers"
        );
    }
}

#[test]
fn every_status_that_a_source_gives_a_class_is_in_its_row() {
    let mut wanted = answered();
    let series = KeySeries::from_u16(0x672B);
    let (rule, holders) = (String::new(), Vec::new());
    for refusal in [
        Refusal::ClusterSettling { series, from: None },
        Refusal::ClusterUnavailable { series },
        Refusal::ConnectionNotFound,
        Refusal::DeniedByRule { series, rule: rule.clone() },
        Refusal::Invalid { field: "ID", bytes_max: 0 },
        Refusal::KeyUnusable { series, key_no: KeyNo(1), status: KeyStatus::Expired },
        Refusal::Limit { max: 1 },
        Refusal::LimitByRule { series, rule, max: 1, holders: holders.clone(), more: 0 },
        Refusal::NoKey { series },
        Refusal::NoSeatFree { series, total: 1, reserved: 0, elsewhere: 0, holders, more: 0 },
        Refusal::Recovering { secs: 1 },
        Refusal::SessionNotFound,
        Refusal::WishUnmet { series, wish: UnmetWish::Itn },
    ] {
        let statuses = wanted.get_mut(refusal.class()).unwrap();
        statuses.insert(refusal_status(&refusal).as_u16());
    }
    let named: usize = wanted.values().map(BTreeSet::len).sum();
    assert!(named > 40, "only {named} statuses were found in the sources");
    for (half, rows) in halves() {
        for (class, statuses) in &wanted {
            let Some(cell) = rows.get(class) else { continue };
            for status in statuses {
                let status = status.to_string();
                assert!(cell.contains(&status), "{class} ({half}): {cell:?} lacks {status}");
            }
        }
    }
}

#[test]
fn both_halves_say_the_same_of_every_status() {
    let [(_, russian), (_, english)] = halves();
    let digits = |cell: &str| cell.chars().filter(char::is_ascii_digit).collect::<String>();
    for (class, cell) in &russian {
        assert_eq!(digits(cell), digits(&english[class]), "{class}");
    }
}

#[test]
fn classes_and_statuses_are_found_in_text() {
    let text = concat!(
        "ApiError::new(StatusCode::NOT_FOUND, \"EOne\", x)\n",
        "  StatusCode::CONFLICT,\n   \"ETwo\",\n",
        "\"EServerResult.EThree\" => \"Either\" \"E2\" \"(EFour) text\" \"EFive and more\"\n",
        "#[cfg(test)]\nmod tests {\n \"ESix\"\n}\n",
    );
    let mut found = BTreeMap::new();
    collect(text, &mut found);
    let found: Vec<_> = found.iter().map(|(class, statuses)| (class.as_str(), statuses)).collect();
    let statuses = |codes: &[u16]| codes.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(
        found,
        [
            ("EFour", &statuses(&[])),
            ("EOne", &statuses(&[404])),
            ("EThree", &statuses(&[])),
            ("ETwo", &statuses(&[409])),
        ]
    );
}

/// Classes of the sources and the statuses that stand right before them.
fn answered() -> BTreeMap<String, BTreeSet<u16>> {
    let mut found: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    for folder in SOURCES {
        let mut here = BTreeMap::new();
        walk(&workspace().join(folder), &mut |text| collect(text, &mut here));
        assert!(!here.is_empty(), "no class in {folder}");
        for (class, statuses) in here {
            found.entry(class).or_default().extend(statuses);
        }
    }
    for (text, why) in NO_CLASSES {
        assert!(found.remove(text).is_some(), "no source says {text} any more ({why})");
    }
    found
}

fn walk(folder: &Path, read: &mut impl FnMut(&str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "tests" {
                walk(&path, read);
            }
        } else if is_source(&name) {
            read(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

fn is_source(name: &str) -> bool {
    let is_test = name == "tests.rs" || name.ends_with("_tests.rs");
    !is_test && (name.ends_with(".rs") || name.ends_with(".bsl"))
}

/// A class is a whole text, or stands in brackets at the beginning of one. Tests at the end of a file
/// do not count: they make up classes.
fn collect(text: &str, found: &mut BTreeMap<String, BTreeSet<u16>>) {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    for (at, _) in text.match_indices('"') {
        let rest = &text[at + 1..];
        let (rest, end) = rest.strip_prefix('(').map_or((rest, '"'), |rest| (rest, ')'));
        let rest = rest.strip_prefix(PREFIX).unwrap_or(rest);
        let length = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let class = &rest[..length];
        let is_class =
            class.starts_with('E') && class[1..].starts_with(|c: char| c.is_ascii_uppercase());
        if is_class && rest[length..].starts_with(end) {
            let statuses = found.entry(class.to_owned()).or_default();
            statuses.extend(status_before(&text[..at]));
        }
    }
}

/// The status of `StatusCode::NAME, ` at the end of a text.
fn status_before(text: &str) -> Option<u16> {
    let name = text.trim_end().strip_suffix(',')?.rsplit("StatusCode::").next()?;
    let is_name = |b: u8| b.is_ascii_uppercase() || b == b'_';
    if name.is_empty() || !name.bytes().all(is_name) {
        return None;
    }
    let reason = name.replace('_', " ");
    let codes = (400..600).filter_map(|code| StatusCode::from_u16(code).ok());
    let is_named = |status: &StatusCode| {
        status.canonical_reason().is_some_and(|text| text.eq_ignore_ascii_case(&reason))
    };
    Some(codes.into_iter().find(is_named)?.as_u16())
}

/// The two halves of the page: class and status of each row.
fn halves() -> [(&'static str, BTreeMap<String, String>); 2] {
    let page = std::fs::read_to_string(workspace().join("docs/errors.md")).unwrap();
    let (russian, english) = page.split_once("\n---\n\n# ").unwrap();
    [("Russian", rows(russian)), ("English", rows(english))]
}

fn rows(half: &str) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for line in half.lines() {
        let Some(rest) = line.strip_prefix("| `E") else { continue };
        let (class, rest) = rest.split_once("` | ").unwrap();
        let cells: Vec<_> = rest.trim_end_matches(" |").split(" | ").collect();
        assert_eq!(cells.len(), 3, "{line}");
        let again = rows.insert(format!("E{class}"), cells[0].to_owned());
        assert!(again.is_none(), "{line} comes twice");
    }
    rows
}
