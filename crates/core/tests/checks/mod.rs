//! What must hold for any bytes, shared by the fuzz targets and the replay of their corpus.

// Each user of this module takes some of the checks.
#![allow(dead_code, reason = "each user of this module takes some of the checks")]

use licence_core::activation::ActivationCode;
use licence_core::activation_request::{ActivationRequest, REQUEST_TYP, RequestError};
use licence_core::binding::PartKind;
use licence_core::centre_request::{
    AnswerFile, CentreAnswer, DEMO_TYP, DemoRequest, LICENCES_TYP, LicencesRequest, RECEIPT_TYP,
    RETURN_TYP, RequestKind, ReturnReceipt, ReturnRequest, SPARE_TYP, SpareRequest,
};
use licence_core::datafile::{Datafile, ObjectEntry, check_name, open_object};
use licence_core::identity_seal::{Part, SealedIdentity};
use licence_core::jws;
use licence_core::key::KeySeries;
use licence_core::lease_token::LeaseClaims;
use licence_core::licence_file::{LICENCE_TYP, Licence};
use licence_core::parameters::ParameterFile;
use licence_core::rules::{RULES_MAX, RuleSet};
use licence_core::seal::{PublicKey, SigningKey};
use licence_core::series::parse_series_file;
use licence_core::short_text::{ShortAnswer, ShortRequest};
use licence_core::time::Utc;

/// The series key of the corpus: a licence is genuine only under it.
pub(crate) fn series_key() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

/// A document is genuine or refused; a genuine one is read back from what it keeps.
pub(crate) fn licence_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(licence) = Licence::verify(text, &series_key().public()) {
        let again = Licence::verify(&licence.document, &series_key().public());
        assert_eq!(again.as_ref(), Ok(&licence));
        assert_eq!(Licence::peek_series(text), Ok(licence.fields().key_id));
    }
    if let Ok((request, holder)) = ActivationRequest::verify(text) {
        assert_eq!(request.cnf.jwk.ed25519(), Ok(holder));
    }
}

/// A request or an answer is refused, or written again it is read as the same. Bytes are looked at as
/// a file, and as what a document says that is signed well: nobody finds a signature by trying.
pub(crate) fn activation_files(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    request(text);
    answer(text);
    for (typ, _) in SIGNED {
        let Some(token) = signed(typ, text) else { return };
        request(&token);
        licence_file(token.as_bytes());
        receipt(&token);
    }
}

/// Whether a document is read.
type Reads = fn(&str) -> bool;

/// Types of documents that are signed well for [`activation_files`], and whether one of them is read.
pub(crate) const SIGNED: [(&str, Reads); 7] = [
    (REQUEST_TYP, |token| ActivationRequest::verify(token).is_ok()),
    (DEMO_TYP, |token| DemoRequest::verify(token).is_ok()),
    (LICENCES_TYP, |token| LicencesRequest::verify(token).is_ok()),
    (RETURN_TYP, |token| ReturnRequest::verify(token).is_ok()),
    (SPARE_TYP, |token| SpareRequest::verify(token).is_ok()),
    (LICENCE_TYP, |token| Licence::verify(token, &series_key().public()).is_ok()),
    (RECEIPT_TYP, |token| ReturnReceipt::verify(token, &series_key().public()).is_ok()),
];

/// A document of this type that says what the JSON says.
pub(crate) fn signed(typ: &'static str, claims: &str) -> Option<String> {
    let claims = serde_json::from_str::<serde_json::Value>(claims).ok()?;
    jws::sign(typ, &claims, &series_key()).ok()
}

fn request(text: &str) {
    match RequestKind::of(text) {
        Some(RequestKind::Activation) => {
            same(text, ActivationRequest::verify, ActivationRequest::sign);
        }
        Some(RequestKind::Demo) => same(text, DemoRequest::verify, DemoRequest::sign),
        Some(RequestKind::Return) => same(text, ReturnRequest::verify, ReturnRequest::sign),
        Some(RequestKind::Spare) => same(text, SpareRequest::verify, SpareRequest::sign),
        Some(RequestKind::Update) => same(text, LicencesRequest::verify, LicencesRequest::sign),
        None => {
            assert!(ActivationRequest::verify(text).is_err());
            assert!(ReturnRequest::verify(text).is_err());
        }
    }
}

/// A request that is read is the same when its asker signs it again.
fn same<R: std::fmt::Debug + PartialEq>(
    text: &str,
    verify: fn(&str) -> Result<(R, PublicKey), RequestError>,
    sign: fn(&R, &SigningKey) -> Result<String, serde_json::Error>,
) {
    let Ok((request, holder)) = verify(text) else { return };
    if holder == series_key().public() {
        let again = sign(&request, &series_key()).map(|text| verify(&text).ok());
        assert_eq!(again.ok().flatten(), Some((request, holder)));
    }
}

fn answer(text: &str) {
    let Ok(file) = serde_json::from_str::<AnswerFile>(text) else { return };
    let again = serde_json::to_string(&file).and_then(|text| serde_json::from_str(&text));
    assert_eq!(again.ok().as_ref(), Some(&file));
    match &file.answer {
        CentreAnswer::Activation(given) => licence_file(given.licence.as_bytes()),
        CentreAnswer::Return(given) => receipt(&given.receipt),
        CentreAnswer::Spare(_) => {}
        CentreAnswer::Update(given) => {
            given.licences.iter().for_each(|document| licence_file(document.as_bytes()));
            given.ended.iter().for_each(|token| receipt(token));
        }
    }
}

fn receipt(text: &str) {
    if let Ok(receipt) = ReturnReceipt::verify(text, &series_key().public()) {
        assert_eq!(ReturnReceipt::peek_series(text), Ok(receipt.key_id));
        let again = receipt
            .sign(&series_key())
            .map(|text| ReturnReceipt::verify(&text, &series_key().public()).ok());
        assert_eq!(again.ok().flatten(), Some(receipt));
    }
}

/// A code is refused, or shown so that it is read back.
pub(crate) fn activation_code(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(code) = text.parse::<ActivationCode>() {
        assert_eq!(code.to_string().parse::<ActivationCode>(), Ok(code));
    }
}

/// A text is refused, or written again it is read as the same.
pub(crate) fn short_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(request) = ShortRequest::decode(text) {
        let again = request.encode().and_then(|text| ShortRequest::decode(&text));
        assert_eq!(again, Ok(request));
    }
    if let Ok(answer) = ShortAnswer::decode(text) {
        let again = answer.encode().and_then(|text| ShortAnswer::decode(&text));
        assert_eq!(again, Ok(answer));
    }
}

/// A file is refused, or every series in it has a key to verify with.
pub(crate) fn series_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(all) = parse_series_file(text) {
        for descriptor in all.values() {
            assert!(descriptor.signing_key().is_ok());
        }
    }
}

/// A lease is refused, or names its issuer and has not ended.
pub(crate) fn lease_token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let now = Utc::from_unix_millis(1_000);
    if let Ok(claims) = LeaseClaims::verify(text, &series_key().public(), now) {
        assert!(claims.exp > now.unix_seconds());
    }
}

/// Parts of the computer that the good seal of the corpus is sealed to.
pub(crate) fn computer() -> [Part; 4] {
    [
        (PartKind::System, "4c4c4544-0042-3510-8052-b4c04f4a3132"),
        (PartKind::MachineId, "3d1219c7c4c5404aaa1f6d2a48adfda4"),
        (PartKind::Disk, "naa.5002538f3140d07d"),
        (PartKind::Cpu, "model name=AMD EPYC"),
    ]
    .map(|(kind, value)| Part::new(kind, value))
}

/// A sealed identity is refused with a reason, or is written as it was read; whatever opens it gives
/// the seed of the identity that it names.
pub(crate) fn identity_seal(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match SealedIdentity::from_json(text) {
        Ok(sealed) => {
            assert_eq!(SealedIdentity::from_json(&sealed.to_json()).as_ref(), Ok(&sealed));
            let opened =
                sealed.open_with_parts(&computer()).or_else(|| sealed.open_with_secret(&[7; 32]));
            if let Some(opened) = opened {
                assert_eq!(SigningKey::from_seed(&opened.seed).public(), sealed.identity());
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Rules are refused with a reason, or hold when they are checked again.
pub(crate) fn rules_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match RuleSet::from_json(text).and_then(RuleSet::check) {
        Ok(rules) => {
            assert!(rules.set().rules.len() <= RULES_MAX);
            assert_eq!(rules.set().clone().check(), Ok(rules));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The series of the corpus of data files.
pub(crate) const SERIES: KeySeries = KeySeries::from_u16(0x672B);

/// The key of every object in the corpus of data files.
pub(crate) const OBJECT_KEY: [u8; 32] = [3; 32];

/// A data file is refused, or its objects lie within it one after the other under different names,
/// and each opens to what the list promises or not at all. Texts are read as parameters.
pub(crate) fn datafile(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(parameters) = ParameterFile::parse(text)
    {
        assert!(parameters.keys().count() <= text.len());
    }
    let file_bytes = bytes.len() as u64;
    let Ok(file) = Datafile::read(bytes, file_bytes, SERIES, &series_key().public()) else {
        return;
    };
    let mut end = file.body_offset;
    for object in &file.list.objects {
        assert_eq!(check_name(&object.name), Ok(()));
        assert_eq!(file.list.find(&object.name), Some(object));
        let range = file.range(object);
        assert_eq!(range.start, end);
        end = range.end;
        let plain = open(bytes, range, object);
        assert!(plain.is_none_or(|plain| plain.len() as u64 == object.size));
    }
    assert_eq!(end, file_bytes);
}

fn open(bytes: &[u8], range: std::ops::Range<u64>, object: &ObjectEntry) -> Option<Vec<u8>> {
    let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
    open_object(&OBJECT_KEY, SERIES, object, bytes.get(range)?).ok()
}
