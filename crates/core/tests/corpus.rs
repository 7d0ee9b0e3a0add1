//! Replays the committed corpus of the fuzz targets, and shows that it holds both what is accepted
//! and what is refused: a corpus of garbage alone would prove little.

#![expect(clippy::unwrap_used, reason = "a corpus that cannot be read fails the test")]

mod checks;

use std::fs;
use std::path::Path;

use licence_core::activation::ActivationCode;
use licence_core::activation_request::ActivationRequest;
use licence_core::centre_request::{AnswerFile, RequestKind, ReturnRequest};
use licence_core::datafile::Datafile;
use licence_core::licence_file::Licence;
use licence_core::rules::RuleSet;
use licence_core::series::parse_series_file;
use licence_core::short_text::{ShortAnswer, ShortRequest};

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

fn check(target: &str, run: fn(&[u8]), is_accepted: fn(&str) -> bool) {
    let inputs = corpus(target);
    for input in &inputs {
        run(input);
    }
    let accepted =
        inputs.iter().filter(|input| std::str::from_utf8(input).is_ok_and(is_accepted)).count();
    assert!(accepted > 0, "{target}: nothing in the corpus is accepted");
    assert!(accepted < inputs.len(), "{target}: nothing in the corpus is refused");
}

#[test]
fn corpus_of_licence_files_holds() {
    check("licence_file", checks::licence_file, |text| {
        Licence::verify(text, &checks::series_key().public()).is_ok()
    });
}

#[test]
fn corpus_of_requests_and_answers_holds() {
    let is_request = |text: &str| match RequestKind::of(text) {
        Some(RequestKind::Return) => ReturnRequest::verify(text).is_ok(),
        Some(RequestKind::Activation) => ActivationRequest::verify(text).is_ok(),
        _ => false,
    };
    check("activation_files", checks::activation_files, is_request);
    check("activation_files", checks::activation_files, |text| {
        serde_json::from_str::<AnswerFile>(text).is_ok()
    });
    // Claims are signed by the check itself: each kind of them is there once at least.
    for (typ, verifies) in checks::SIGNED {
        let accepted = corpus("activation_files").iter().any(|input| {
            std::str::from_utf8(input)
                .is_ok_and(|text| checks::signed(typ, text).is_some_and(|token| verifies(&token)))
        });
        assert!(accepted, "{typ}");
    }
}

#[test]
fn corpus_of_activation_codes_holds() {
    check("activation_code", checks::activation_code, |text| {
        text.parse::<ActivationCode>().is_ok()
    });
}

#[test]
fn corpus_of_short_texts_holds() {
    check("short_text", checks::short_text, |text| ShortRequest::decode(text).is_ok());
    check("short_text", checks::short_text, |text| ShortAnswer::decode(text).is_ok());
}

#[test]
fn corpus_of_series_files_holds() {
    check("series_file", checks::series_file, |text| parse_series_file(text).is_ok());
}

#[test]
fn corpus_of_rules_holds() {
    check("rules_file", checks::rules_file, |text| {
        RuleSet::from_json(text).and_then(RuleSet::check).is_ok()
    });
}

#[test]
fn corpus_of_lease_tokens_holds() {
    let now = licence_core::time::Utc::from_unix_millis(1_000);
    for input in corpus("lease_token") {
        checks::lease_token(&input);
    }
    assert!(corpus("lease_token").iter().any(|input| {
        std::str::from_utf8(input).is_ok_and(|text| {
            licence_core::lease_token::LeaseClaims::verify(
                text,
                &checks::series_key().public(),
                now,
            )
            .is_ok()
        })
    }));
}

#[test]
fn corpus_of_sealed_identities_holds() {
    let inputs = corpus("identity_seal");
    for input in &inputs {
        checks::identity_seal(input);
    }
    assert!(inputs.iter().any(|input| {
        std::str::from_utf8(input)
            .ok()
            .and_then(|text| licence_core::identity_seal::SealedIdentity::from_json(text).ok())
            .is_some_and(|sealed| sealed.open_with_parts(&checks::computer()).is_some())
    }));
}

#[test]
fn corpus_of_data_files_holds() {
    let inputs = corpus("datafile");
    let mut accepted = 0;
    for input in &inputs {
        checks::datafile(input);
        let key = checks::series_key().public();
        accepted +=
            usize::from(Datafile::read(input, input.len() as u64, checks::SERIES, &key).is_ok());
    }
    assert!(accepted > 1, "too little of the corpus is accepted");
    assert!(accepted < inputs.len(), "nothing in the corpus is refused");
}
