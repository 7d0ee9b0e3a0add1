//! Which files are packed and under which names.
//!
//! Expands `*` and `?` itself, because the shell of Windows does not; reads names and kinds off the
//! files' names. Contents are not looked at here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use licence_core::datafile::{ObjectKind, check_name};

use super::failure::DatafileFailure;
use crate::files::FileError;

/// A file to pack.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Source {
    /// Where it lies.
    pub path: PathBuf,
    /// Name of the object: that of the file without the extension.
    pub name: String,
    /// What it is, by the extension.
    pub kind: ObjectKind,
}

/// The files that patterns name, in the order of their objects' names, so that the order of
/// arguments and of folders makes no other file. A file that two patterns name is taken once.
///
/// # Errors
///
/// [`DatafileFailure`] for a pattern without a file, for a name that no object may have and for two
/// files of one name, whatever the case.
pub fn find(patterns: &[PathBuf]) -> Result<Vec<Source>, DatafileFailure> {
    let mut by_name: BTreeMap<String, Source> = BTreeMap::new();
    for pattern in patterns {
        for path in expand(pattern)? {
            let source = source(path)?;
            let key = source.name.to_lowercase();
            if let Some(other) = by_name.get(&key) {
                if is_same(&other.path, &source.path) {
                    continue;
                }
                return Err(DatafileFailure::NameTwice {
                    name: source.name,
                    paths: [other.path.clone(), source.path],
                });
            }
            by_name.insert(key, source);
        }
    }
    Ok(by_name.into_values().collect())
}

/// Whether two paths lead to one file.
pub fn is_same(one: &Path, other: &Path) -> bool {
    if one == other {
        return true;
    }
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn source(path: PathBuf) -> Result<Source, DatafileFailure> {
    let wrong = |reason| DatafileFailure::Name { path: path.clone(), reason };
    let name = path.file_stem().and_then(|stem| stem.to_str());
    let name = name.ok_or_else(|| wrong("a name is not Unicode"))?.to_owned();
    check_name(&name).map_err(wrong)?;
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let kind = match extension.to_ascii_lowercase().as_str() {
        "epf" => ObjectKind::Epf,
        "erf" => ObjectKind::Erf,
        _ => ObjectKind::Text,
    };
    Ok(Source { path, name, kind })
}

/// The files of a pattern, by name. A path that exists is itself, whatever signs it has.
fn expand(pattern: &Path) -> Result<Vec<PathBuf>, DatafileFailure> {
    let is_wild = |text: &str| text.contains(['*', '?']);
    let text = pattern.to_string_lossy();
    if !is_wild(&text) || pattern.symlink_metadata().is_ok() {
        return Ok(vec![pattern.to_owned()]);
    }
    let none = || DatafileFailure::NoMatch(pattern.to_owned());
    let wanted = pattern.file_name().and_then(|name| name.to_str()).ok_or_else(none)?;
    let folder = pattern.parent().unwrap_or_else(|| Path::new(""));
    if is_wild(&folder.to_string_lossy()) {
        return Err(DatafileFailure::WildFolder(pattern.to_owned()));
    }
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let failed = |source| FileError::Io { path: listed.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(listed).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        // Names that are not Unicode match no pattern; hidden files only one that says so.
        let Some(name) = name.to_str() else { continue };
        let is_hidden = name.starts_with('.') && !wanted.starts_with('.');
        if !is_hidden && matches(wanted, name) && entry.path().is_file() {
            found.push(folder.join(name));
        }
    }
    found.sort();
    if found.is_empty() { Err(none()) } else { Ok(found) }
}

/// Whether a name is of a pattern: `*` is any text, `?` one character. On Windows, where names have
/// no case, neither have patterns.
fn matches(pattern: &str, name: &str) -> bool {
    let fold = |text: &str| -> Vec<char> {
        if cfg!(windows) { text.to_lowercase().chars().collect() } else { text.chars().collect() }
    };
    let (pattern, name) = (fold(pattern), fold(name));
    let (mut p, mut n) = (0, 0);
    // The last star and where it was tried: a later star never needs an earlier one again.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&sign) if sign == '?' || sign == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, tried)) => {
                    star = Some((at, tried + 1));
                    (p, n) = (at + 1, tried + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&sign| sign == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(folder.path().join(name), b"x").unwrap();
        }
        folder
    }

    fn names(found: &[Source]) -> Vec<&str> {
        found.iter().map(|source| source.name.as_str()).collect()
    }

    #[test]
    fn star_is_any_text_and_question_mark_one_character() {
        for (pattern, name, wanted) in [
            ("*.epf", "Цены.epf", true),
            ("*.epf", ".epf", true),
            ("*.epf", "Цены.erf", false),
            ("Ц?ны.*", "Цены.epf", true),
            ("?", "я", true),
            ("?", "", false),
            ("*a*b*", "xaybz", true),
            ("*a*b*", "xbya", false),
            ("**", "", true),
            ("a*a", "a", false),
            ("*aab", "aaaab", true),
        ] {
            assert_eq!(matches(pattern, name), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_are_expanded_and_sorted_by_object_name() {
        let folder = folder(&["b.epf", "А.ERF", "Параметры.txt", "a.epf", ".hidden.epf"]);
        fs::create_dir(folder.path().join("c.epf")).unwrap();
        let at = |name: &str| folder.path().join(name);
        let found = find(&[at("*.epf"), at("А.ERF"), at("Пар*"), at("a.epf")]).unwrap();
        assert_eq!(names(&found), ["a", "b", "А", "Параметры"]);
        let kinds: Vec<_> = found.iter().map(|source| source.kind).collect();
        use ObjectKind::{Epf, Erf, Text};
        assert_eq!(kinds, [Epf, Epf, Erf, Text]);
    }

    #[test]
    fn two_files_of_one_name_are_refused_whatever_the_case() {
        let folder = folder(&["Цены.epf", "цены.txt"]);
        let result = find(&[folder.path().join("*")]);
        assert!(matches!(result, Err(DatafileFailure::NameTwice { .. })), "{result:?}");
    }

    #[test]
    fn pattern_without_a_file_and_name_that_no_object_may_have_are_refused() {
        let folder = folder(&["a.b.epf"]);
        let at = |name: &str| folder.path().join(name);
        assert!(matches!(find(&[at("*.erf")]), Err(DatafileFailure::NoMatch(_))));
        assert!(matches!(find(&[at("a.b.epf")]), Err(DatafileFailure::Name { .. })));
        let wild = folder.path().join("*").join("x.epf");
        assert!(matches!(find(&[wild]), Err(DatafileFailure::WildFolder(_))));
        assert!(matches!(find(&[at("none").join("*.epf")]), Err(DatafileFailure::File(_))));
    }

    #[cfg(unix)]
    #[test]
    fn file_whose_name_has_a_star_is_itself() {
        let folder = folder(&["a*", "ab"]);
        assert_eq!(names(&find(&[folder.path().join("a*")]).unwrap()), ["a*"]);
    }
}
