//! Replays the committed corpus of the fuzz target of `licenceaddin.conf`, and shows that it holds
//! both what is accepted and what is refused.

mod checks;

use std::fs;
use std::path::Path;

#[test]
fn corpus_of_conf_files_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/conf");
    let results: Vec<bool> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| checks::conf(&fs::read(entry.unwrap().path()).unwrap()))
        .collect();
    assert!(results.contains(&true) && results.contains(&false), "{results:?}");
}
