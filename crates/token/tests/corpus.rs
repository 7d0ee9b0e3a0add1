//! Replays the committed corpus of the fuzz targets, and shows that it holds both what is accepted
//! and what is refused: a corpus of garbage alone would prove little.

#![expect(clippy::unwrap_used, reason = "a corpus that cannot be read fails the test")]

mod checks;

use std::fs;
use std::path::Path;

use licence_token::tlv;

fn check(target: &str, run: fn(&[u8]), is_accepted: fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let inputs: Vec<_> = files.into_iter().map(|file| fs::read(file).unwrap()).collect();
    for input in &inputs {
        run(input);
    }
    let accepted = inputs.iter().filter(|input| is_accepted(input)).count();
    assert!(accepted > 0, "{target}: nothing in the corpus is accepted");
    assert!(accepted < inputs.len(), "{target}: nothing in the corpus is refused");
}

#[test]
fn corpus_of_readers_holds() {
    check("ccid", checks::ccid, checks::carries);
}

#[test]
fn corpus_of_tlv_holds() {
    check("tlv", checks::tlv, |bytes| matches!(tlv::find(bytes, 0x53), Ok(Some(_))));
}

#[test]
fn corpus_of_answers_holds() {
    check("token_answer", checks::token_answer, checks::has_object);
}
