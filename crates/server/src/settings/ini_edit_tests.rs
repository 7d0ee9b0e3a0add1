//! Tests of [`super`]: what an edit changes, and that it changes nothing else.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::{IniSource, Source};

const FILE: &str = "; ours\r\n[Common]\r\n  ServerPort = 9099 \r\n;Lang=en\r\n\r\n; about the \
                    console\r\n[Console]\r\nUserName=a\r\nUserName=b\r\n";

fn check(text: &str, section: &str, key: &str, value: &str, expected: &str) {
    assert_eq!(set(text, section, key, value).unwrap(), expected, "[{section}] {key}={value}");
    assert_eq!(values(expected).get(&pair(section, key)), Some(&Some(value.to_owned())));
}

fn pair(section: &str, key: &str) -> (String, String) {
    (section.to_owned(), key.to_owned())
}

fn values(text: &str) -> BTreeMap<(String, String), Option<String>> {
    let source = IniSource::parse(Path::new("x"), text.as_bytes().to_vec()).unwrap();
    let mut values = BTreeMap::new();
    for section in source.sections() {
        for key in source.keys(&section) {
            values.insert(pair(&section, &key), source.get(&section, &key));
        }
    }
    values
}

#[test]
fn value_is_changed_on_its_line_and_the_rest_of_the_file_stays() {
    check(FILE, "Common", "ServerPort", "1", &FILE.replace("= 9099 ", "= 1"));
}

#[test]
fn of_a_key_that_stands_twice_the_one_that_counts_is_changed() {
    check(FILE, "Console", "UserName", "c", &FILE.replace("=b", "=c"));
    assert_eq!(line_of(FILE, "Console", "UserName"), Some(9));
}

#[test]
fn absent_key_goes_below_its_example() {
    let expected = FILE.replace(";Lang=en\r\n", ";Lang=en\r\nLang=ru\r\n");
    check(FILE, "Common", "Lang", "ru", &expected);
}

#[test]
fn absent_key_without_an_example_goes_to_the_end_of_its_section() {
    let expected = FILE.replace(";Lang=en\r\n", ";Lang=en\r\n  SeriesFile=s\r\n");
    // Below the comments that belong to the section, above the one of the next section.
    let expected = expected.replace("  SeriesFile", "SeriesFile");
    check(FILE, "Common", "SeriesFile", "s", &expected);
    check("[A]\n; about b\n[B]\n", "A", "a", "1", "[A]\na=1\n; about b\n[B]\n");
    check("[A]\n x = 1\n\n[B]\n", "A", "a", "1", "[A]\n x = 1\n a=1\n\n[B]\n");
}

#[test]
fn absent_section_goes_to_the_end_of_the_file() {
    check("", "API", "Enabled", "0", "[API]\nEnabled=0\n");
    check("\u{feff}", "API", "Enabled", "0", "\u{feff}[API]\nEnabled=0\n");
    check("[A]\na=1", "API", "Enabled", "0", "[A]\na=1\n\n[API]\nEnabled=0\n");
    check("[A]\r\na=1\r\n", "B", "b", "", "[A]\r\na=1\r\n\r\n[B]\r\nb=\r\n");
}

#[test]
fn section_that_stands_twice_is_edited_where_its_key_counts() {
    let text = "[A]\na=1\n[B]\n[A]\na=2\n[B]\nb=1";
    check(text, "A", "a", "3", "[A]\na=1\n[B]\n[A]\na=3\n[B]\nb=1");
    check(text, "B", "c", "3", "[A]\na=1\n[B]\n[A]\na=2\n[B]\nb=1\nc=3\n");
}

#[test]
fn removed_key_is_gone_however_often_it_stood_there() {
    let expected = FILE.replace("UserName=a\r\nUserName=b\r\n", "");
    assert_eq!(remove(FILE, "Console", "UserName"), expected);
    assert_eq!(remove(FILE, "Common", "UserName"), FILE);
}

#[test]
fn what_would_not_be_read_back_is_refused() {
    for (section, key, value, error) in [
        ("A", "a", "x\n[Console]", EditError::Value),
        ("A", "a", "x\ry", EditError::Value),
        ("A", "a", " x", EditError::Value),
        ("A", "a", "x\u{a0}", EditError::Value),
        ("A", "", "x", EditError::Key),
        ("A", "a=b", "x", EditError::Key),
        ("A", ";a", "x", EditError::Key),
        ("A", "#a", "x", EditError::Key),
        ("A", "[a", "x", EditError::Key),
        ("A", "a\nb", "x", EditError::Key),
        ("A ", "a", "x", EditError::Section),
        ("A]\n[B", "a", "x", EditError::Section),
    ] {
        assert_eq!(set("", section, key, value), Err(error), "[{section}] {key}={value}");
    }
    check("", "A", "a", "x;#=[]\"ж", "[A]\na=x;#=[]\"ж\n");
}

#[test]
fn line_that_no_reader_takes_is_found_by_its_number() {
    for (text, expected) in [
        ("[A]\na=1\n", None),
        ("[A]\n[B\n", Some((2, Fault::OpenBracket))),
        ("\u{feff}[A]\r\n\r\n = x\r\n", Some((3, Fault::NoKey))),
        ("; [A\n", None),
    ] {
        assert_eq!(fault(text), expected, "{text}");
        let read = IniSource::parse(Path::new("x"), text.as_bytes().to_vec());
        assert_eq!(read.is_err(), expected.is_some(), "{text}");
    }
}

/// Lines such as administrators write, and worse.
fn files() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just(String::new()),
        "[ \t]{0,2}",
        "\\[[ABC]\\]",
        "\\[default\\]",
        "[ ]{0,2}[;#] ?[abc] ?= ?[xy]{0,2}",
        "; [a-z ]{0,9}",
        "[ ]{0,2}[abcd] ?= ?[xyж;#=\\]]{0,3}[ ]?",
        "[abc]",
    ];
    let ending = prop_oneof![Just("\n"), Just("\r\n")];
    (any::<bool>(), prop::collection::vec((line, ending), 0..24), any::<bool>()).prop_map(
        |(has_mark, lines, ends)| {
            let mut text: String = if has_mark { MARK.to_string() } else { String::new() };
            for (line, ending) in lines {
                text.push_str(&line);
                text.push_str(ending);
            }
            if !ends {
                text.truncate(text.trim_end_matches(['\r', '\n']).len());
            }
            text
        },
    )
}

proptest! {
    #[test]
    fn edits_change_what_they_name_and_nothing_else(
        file in files(),
        edits in prop::collection::vec(
            ("[ABC]|default", "[abcd]", prop::option::of("[xyz;#=]{0,3}")),
            1..6,
        ),
    ) {
        let mut text = file.clone();
        let mut expected = values(&file);
        for (section, key, value) in &edits {
            let before = text.clone();
            match value {
                Some(value) => {
                    text = set(&text, section, key, value).unwrap();
                    expected.insert(pair(section, key), Some(value.clone()));
                }
                None => {
                    text = remove(&text, section, key);
                    expected.remove(&pair(section, key));
                }
            }
            prop_assert_eq!(values(&text), expected.clone());
            prop_assert_eq!(before.starts_with(MARK), text.starts_with(MARK));
            // Every line that was there is there still, in its order, but for the edited ones. The
            // last line may get the ending that it lacked.
            let bare = |text: &str| text.trim_start_matches(MARK).to_owned();
            let (before, after) = (bare(&before), bare(&text));
            let mut left = after.split_inclusive('\n');
            let mut current = DEFAULT_SECTION;
            for line in before.split_inclusive('\n') {
                if let Said::Header(name) = said(line) {
                    current = name;
                }
                if current == section && said(line) == Said::Key(key) {
                    continue;
                }
                let is_cut = !line.ends_with('\n');
                let is_same = |found: &str| {
                    found == line || (is_cut && found.trim_end_matches(['\r', '\n']) == line)
                };
                prop_assert!(left.any(is_same), "{:?} of {:?} in {:?}", line, before, after);
            }
            // A fresh key is one line, in a fresh section three; a changed one is none.
            let grown = after.lines().count().saturating_sub(before.lines().count());
            let was_there = line_of(&before, section, key).is_some();
            prop_assert!(grown <= if was_there { 0 } else { 3 }, "{:?} {:?}", before, after);
        }
        let line = edits.iter().find_map(|(section, key, _)| line_of(&text, section, key));
        if let Some(line) = line {
            prop_assert!(line <= text.lines().count());
        }
    }
}
