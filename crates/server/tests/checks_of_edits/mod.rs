//! What must hold for any edit of any text, shared by the fuzz target and the replay of its corpus.

use std::collections::BTreeMap;
use std::path::Path;

use licenceserver::config::{IniSource, Source};
use licenceserver::settings::ini_edit;

/// The first three lines name a section, a key and a value, the rest is a conf file. When the key
/// is set, the value is read back and no other key changes; when it is removed, it is gone.
/// Returns whether it could be set.
pub(crate) fn edit(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.splitn(4, '\n');
    let [section, key, value, file] =
        std::array::from_fn(|_| parts.next().unwrap_or_default().to_owned());
    let Some(before) = read(&file) else {
        return false;
    };
    let name = (section.clone(), key.clone());
    let removed = read(&ini_edit::remove(&file, &section, &key)).expect("is read after a removal");
    let mut expected = before;
    expected.remove(&name);
    assert_eq!(removed, expected, "[{section}] {key} removed from {file:?}");
    let Ok(edited) = ini_edit::set(&file, &section, &key, &value) else { return false };
    expected.insert(name, value.clone());
    assert_eq!(read(&edited).expect("is read after an edit"), expected, "{file:?} {edited:?}");
    let line = ini_edit::line_of(&edited, &section, &key).expect("has a line");
    let found = edited.lines().nth(line - 1).expect("has that line");
    assert!(found.contains(&key) && found.contains(&value), "{found:?}");
    true
}

fn read(text: &str) -> Option<BTreeMap<(String, String), String>> {
    let source = IniSource::parse(Path::new("x"), text.as_bytes().to_vec()).ok()?;
    let mut values = BTreeMap::new();
    for section in source.sections() {
        for key in source.keys(&section) {
            let value = source.get(&section, &key).unwrap_or_default();
            values.insert((section.clone(), key), value);
        }
    }
    Some(values)
}
