//! Feeds any edit and any text to the editor of `licenceserver.conf`. The checks stand in
//! `tests/corpus.rs` too.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/checks_of_edits/mod.rs"]
mod checks_of_edits;

fuzz_target!(|bytes: &[u8]| {
    let _is_set = checks_of_edits::edit(bytes);
});
