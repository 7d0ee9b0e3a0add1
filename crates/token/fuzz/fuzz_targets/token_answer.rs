//! Feeds any bytes to everything that speaks to a token, as its answers. The checks stand in `tests/corpus.rs` too.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/checks/mod.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| checks::token_answer(bytes));
