//! Whom [`prove`] believes by the word of a token. The token is a soft key: a stand-in.

use ::ring::rand::SystemRandom;
use ::ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::delegation::{CLOCK_SKEW_SECS, DELEGATION_SECS};
use licence_core::key::{Flags, KeyNo};
use licence_core::licence_file::{LICENCE_FORMAT, LicenceClaims, LicenceFields};
use licence_core::seal::SigningKey;

use super::*;

const SERIES: KeySeries = KeySeries::from_u16(0x672B);
const NOW: i64 = 1_800_000_000;

/// A stand-in for a token: its key lies in memory.
struct SoftToken(EcdsaKeyPair);

impl SoftToken {
    fn make() -> Self {
        let (random, alg) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let der = EcdsaKeyPair::generate_pkcs8(alg, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(alg, der.as_ref(), &random).unwrap())
    }

    fn key(&self) -> TokenKey {
        TokenKey::from_point(self.0.public_key().as_ref()).unwrap()
    }

    /// Its word, signed as a token signs.
    fn word(&self, word: &Delegation) -> String {
        self.word_as(word, &self.key())
    }

    /// The same, with the name of another key in it.
    fn word_as(&self, word: &Delegation, named: &TokenKey) -> String {
        // A soft key hashes by itself, a real one is given the digest: the input is the same.
        let unsigned = word.unsigned(named).unwrap();
        let zeros = unsigned.clone().with_signature(&[0; 64]);
        let (input, _) = zeros.rsplit_once('.').unwrap();
        let signature = self.0.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        unsigned.with_signature(signature.as_ref().try_into().unwrap())
    }
}

fn at(seconds: i64) -> Utc {
    Utc::from_unix_millis(seconds * 1000)
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn licence(jti: &str, holder: impl Into<Holder>) -> String {
    let fields = LicenceFields {
        version: LICENCE_FORMAT.into(),
        key_no: KeyNo(7_131_766),
        key_id: SERIES,
        reg_no: None,
        key_type: 3,
        service_type: 0,
        licence_count: 5,
        product_version: 0,
        blank_key_no: None,
        activation_code: ActivationCode::encode(CodeKind::Activation, SERIES, 77),
        activation_date: at(0),
        start_date: None,
        period: 0,
        expire_date: None,
        flags: Flags(0),
        itn: None,
        iec: None,
        product_name: "Тестовая серия".into(),
        article: None,
        article_name: None,
        parameters: Default::default(),
        support: Default::default(),
    };
    LicenceClaims::new(jti.into(), at(0), holder, fields).sign(&key(1)).unwrap()
}

fn word(jti: &str, server: &SigningKey, made: i64) -> Delegation {
    Delegation::new(jti.into(), &server.public(), "00".repeat(16), at(made))
}

fn check(licences: &[String], delegations: &[String]) -> Result<(), ClientError> {
    let shown = Shown { licences, delegations };
    prove("server", SERIES, &key(1).public(), Some(key(2).public()), shown, at(NOW))
}

#[test]
fn server_is_believed_by_the_word_of_the_token_that_the_licence_is_bound_to() {
    let (token, other) = (SoftToken::make(), SoftToken::make());
    let licences = [licence("a1", token.key())];
    let end = DELEGATION_SECS + CLOCK_SKEW_SECS;
    let genuine = || word("a1", &key(2), NOW);
    for (what, text, is_believed) in [
        ("genuine", token.word(&genuine()), true),
        ("clock a little behind", token.word(&word("a1", &key(2), NOW + 3600)), true),
        ("clock a day behind and more", token.word(&word("a1", &key(2), NOW + 90_000)), false),
        ("within the skew", token.word(&word("a1", &key(2), NOW - end + 1)), true),
        ("expired beyond the skew", token.word(&word("a1", &key(2), NOW - end)), false),
        ("of another server", token.word(&word("a1", &key(3), NOW)), false),
        ("of another licence", token.word(&word("a2", &key(2), NOW)), false),
        ("of another token", other.word(&genuine()), false),
        ("forged: another's signature", other.word_as(&genuine(), &token.key()), false),
        ("no delegation", licences[0].clone(), false),
        ("empty", String::new(), false),
    ] {
        let result = check(&licences, &[text]);
        assert_eq!(result.is_ok(), is_believed, "{what}: {result:?}");
    }
    let error = check(&licences, &[]).unwrap_err();
    assert_eq!(error.class(), "EServerNotTrusted");
    assert!(error.text(licence_core::language::Language::Russian).contains("носитель"));
}

#[test]
fn changed_word_is_worth_nothing() {
    let token = SoftToken::make();
    let licences = [licence("a1", token.key())];
    let text = token.word(&word("a1", &key(2), NOW));
    for at in (0..text.len()).step_by(7) {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(check(&licences, &[changed]).is_err(), "{at}");
    }
}

#[test]
fn word_for_one_of_many_licences_is_enough_and_checks_are_bounded() {
    let token = SoftToken::make();
    let mut licences: Vec<_> = (0..20).map(|no| licence(&format!("x{no}"), token.key())).collect();
    licences.push(licence("a1", token.key()));
    let good = token.word(&word("a1", &key(2), NOW));
    let bad = token.word(&word("a1", &key(3), NOW));
    let mut words = vec![token.word(&word("zz", &key(2), NOW)); 100];
    words.push(good.clone());
    assert!(check(&licences, &words).is_ok(), "words about other licences cost nothing");
    let mut words = vec![bad; DELEGATIONS_MAX];
    words.push(good);
    assert!(check(&licences, &words).is_err(), "after {DELEGATIONS_MAX} wrong ones nobody goes on");
}

#[test]
fn licence_of_the_server_itself_needs_no_word() {
    let token = SoftToken::make();
    let licences = [licence("a1", token.key()), licence("a2", key(2).public())];
    assert!(check(&licences, &[]).is_ok());
    // The word of a token does not lend its server the licence of another server.
    let licences = [licence("a1", key(3).public())];
    assert!(check(&licences, &[token.word(&word("a1", &key(2), NOW))]).is_err());
}
