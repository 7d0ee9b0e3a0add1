//! Replays the committed corpora of the fuzz targets of `licenceserver.conf`, and shows that they
//! hold both what is accepted and what is refused.

mod checks;
mod checks_of_edits;

use std::fs;
use std::path::Path;

use licenceserver::config::{Config, IniSource};

#[test]
fn corpus_of_conf_files_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/conf");
    let (mut accepted, mut refused) = (0, 0);
    for entry in fs::read_dir(folder).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        checks::conf(&bytes);
        let ini = IniSource::parse(Path::new("licenceserver.conf"), bytes);
        match ini.and_then(|ini| Config::from_source(&ini)) {
            Ok(_) => accepted += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(accepted > 0 && refused > 0, "{accepted} accepted, {refused} refused");
}

#[test]
fn corpus_of_edits_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/edit");
    let (mut set, mut refused) = (0, 0);
    for entry in fs::read_dir(folder).unwrap() {
        if checks_of_edits::edit(&fs::read(entry.unwrap().path()).unwrap()) {
            set += 1
        } else {
            refused += 1
        }
    }
    assert!(set > 0 && refused > 0, "{set} set, {refused} refused");
}
