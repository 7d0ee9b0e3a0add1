//! Feeds any bytes to the readers of requests and answers. The checks stand in `tests/corpus.rs` too.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/checks/mod.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| checks::activation_files(bytes));
