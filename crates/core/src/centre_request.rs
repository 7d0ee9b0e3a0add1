//! What a licence server asks of an activation centre beside an activation: which licences it
//! holds, and to take a key back. And what it gets for each request, on the wire and in a file.
//!
//! Requests are JWTs signed by the asking identity, as activation requests are; the centre's
//! promise about a returned key is signed by the key of its series. Nothing is decided here: what
//! a centre grants is its own matter, what a server does with an answer too.

use serde::{Deserialize, Serialize};

use crate::activation::ActivationCode;
use crate::activation_request::{
    ActivationAnswer, Protection, REQUEST_TYP, RequestError, TokenProof, proved,
};
use crate::jws::{self, JwsError};
use crate::key::{KeyNo, KeySeries};
use crate::licence_file::Confirmation;
use crate::seal::{Jwk, PublicKey, SigningKey};
use crate::series::SeriesDescriptor;
use crate::time::Utc;

mod spare;

pub use spare::{ReturnReason, SPARE_TYP, SpareAnswer, SpareRequest};

/// `typ` of a [`LicencesRequest`].
pub const LICENCES_TYP: &str = "licence-update+jwt";

/// `typ` of a [`ReturnRequest`].
pub const RETURN_TYP: &str = "licence-return+jwt";

/// `typ` of a [`DemoRequest`].
pub const DEMO_TYP: &str = "licence-demo+jwt";

/// `typ` of a [`ReturnReceipt`].
pub const RECEIPT_TYP: &str = "licence-receipt+jwt";

/// How old, in days, a [`LicencesRequest`] may be: a file is carried by hand, at worst by post.
pub const REQUEST_DAYS_MAX: u32 = 30;

/// How old, in days, a [`ReturnRequest`] may be. Whoever has the file can take the key, so one that
/// was forgotten in a drawer must be worth nothing soon.
pub const RETURN_DAYS_MAX: u32 = 7;

/// How far, in seconds, the clock of a server may be ahead of the centre's: a day covers every
/// mistaken time zone.
pub const CLOCK_AHEAD_SECS_MAX: i64 = 86_400;

/// Most characters of the note in a [`ReturnRequest`].
pub const NOTE_CHARS_MAX: usize = 500;

/// The kinds of requests, by the type that their header names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RequestKind {
    /// [`ActivationRequest`](crate::activation_request::ActivationRequest).
    Activation,
    /// [`DemoRequest`].
    Demo,
    /// [`ReturnRequest`].
    Return,
    /// [`SpareRequest`].
    Spare,
    /// [`LicencesRequest`].
    Update,
}

impl RequestKind {
    /// What a token says it is; nothing when it is no request. Its signature is not looked at.
    pub fn of(token: &str) -> Option<Self> {
        let token = token.trim_ascii();
        [
            (REQUEST_TYP, Self::Activation),
            (DEMO_TYP, Self::Demo),
            (RETURN_TYP, Self::Return),
            (SPARE_TYP, Self::Spare),
            (LICENCES_TYP, Self::Update),
        ]
        .into_iter()
        .find(|(typ, _)| jws::peek::<serde::de::IgnoredAny>(typ, token).is_ok())
        .map(|(_, kind)| kind)
    }
}

/// Claims of a question: which licences are bound to my key?
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LicencesRequest {
    /// Id of the request, drawn by the server: names it in both logs.
    pub jti: String,
    /// When it was made, in Unix seconds by the server's clock.
    pub iat: i64,
    /// The centre that it is for, when the server knows: see
    /// [`audience`](crate::activation_request::audience).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// The key that the licences are bound to; it also signs the request.
    pub cnf: Confirmation,
    /// The X25519 key for which the object key of a series shall be wrapped; nothing from servers
    /// that open no protected objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enc: Option<Jwk>,
    /// The last mark that this centre gave to this server.
    #[serde(rename = "Mark", default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// How the identity of the server is kept.
    #[serde(rename = "Protection", default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
    /// Tokens that are plugged in, each with its word: their licences are listed too.
    #[serde(rename = "Tokens", default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<TokenProof>,
    /// Hardware fingerprint of the server, 40 hex digits.
    #[serde(rename = "ComputerID")]
    pub computer_id: String,
    /// Version of the server.
    #[serde(rename = "ServerVersion")]
    pub server_version: String,
}

impl LicencesRequest {
    /// The question of whoever holds `key`.
    pub fn new(
        jti: String,
        now: Utc,
        key: &SigningKey,
        computer_id: String,
        server_version: String,
    ) -> Self {
        let cnf = Confirmation { jwk: key.public().jwk() };
        let iat = now.unix_seconds();
        Self {
            jti,
            iat,
            aud: None,
            cnf,
            enc: None,
            mark: None,
            protection: None,
            tokens: Vec::new(),
            computer_id,
            server_version,
        }
    }

    /// Signs the request with the key it names.
    ///
    /// # Errors
    ///
    /// When it cannot be written as JSON.
    pub fn sign(&self, key: &SigningKey) -> Result<String, serde_json::Error> {
        jws::sign(LICENCES_TYP, self, key)
    }

    /// Reads a request and checks that the key it names has signed it.
    ///
    /// # Errors
    ///
    /// See [`RequestError`].
    pub fn verify(token: &str) -> Result<(Self, PublicKey), RequestError> {
        proved(LICENCES_TYP, token, |request: &Self| &request.cnf)
    }
}

/// Claims of a request for a demonstration key without a code: once for a computer and a series,
/// where the vendor offers it. Answered as an activation.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DemoRequest {
    /// Id of the request, drawn by the server: names it in both logs.
    pub jti: String,
    /// When it was made, in Unix seconds by the server's clock.
    pub iat: i64,
    /// The centre that it is for, when the server knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// The key to bind the licence to; it also signs the request.
    pub cnf: Confirmation,
    /// The X25519 key for which the object key of the series shall be wrapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enc: Option<Jwk>,
    /// How the identity of the server is kept.
    #[serde(rename = "Protection", default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
    /// The last mark that this centre gave to this server.
    #[serde(rename = "Mark", default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// The series.
    #[serde(rename = "KeyID")]
    pub key_id: KeySeries,
    /// Owner's ИНН, digits.
    #[serde(rename = "ITN", default)]
    pub itn: Option<String>,
    /// Owner's КПП, digits.
    #[serde(rename = "IEC", default)]
    pub iec: Option<String>,
    /// Hardware fingerprint of the server, 40 hex digits.
    #[serde(rename = "ComputerID")]
    pub computer_id: String,
    /// Version of the server.
    #[serde(rename = "ServerVersion")]
    pub server_version: String,
}

impl DemoRequest {
    /// Signs the request with the key it names.
    ///
    /// # Errors
    ///
    /// When it cannot be written as JSON.
    pub fn sign(&self, key: &SigningKey) -> Result<String, serde_json::Error> {
        jws::sign(DEMO_TYP, self, key)
    }

    /// Reads a request and checks that the key it names has signed it.
    ///
    /// # Errors
    ///
    /// See [`RequestError`].
    pub fn verify(token: &str) -> Result<(Self, PublicKey), RequestError> {
        proved(DEMO_TYP, token, |request: &Self| &request.cnf)
    }
}

/// Claims of a request to take a key back. It names the activation, not the key alone: sent once
/// more after the key has come back to the same server by its reserve code, it must not give the
/// key away again.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ReturnRequest {
    /// Id of the request, drawn by the server: names it in both logs.
    pub jti: String,
    /// When it was made, in Unix seconds by the server's clock.
    pub iat: i64,
    /// The centre that it is for, when the server knows: see
    /// [`audience`](crate::activation_request::audience).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// The key of the asking server, which signs the request; the licence is bound to it or to the
    /// [token](Self::token).
    pub cnf: Confirmation,
    /// Serial number of the key.
    #[serde(rename = "KeyNo")]
    pub key_no: KeyNo,
    /// Its series.
    #[serde(rename = "KeyID")]
    pub key_id: KeySeries,
    /// Id of the activation: `jti` of the licence.
    #[serde(rename = "Activation")]
    pub activation: String,
    /// Why.
    #[serde(rename = "Reason", default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReturnReason>,
    /// Why, in a person's words; up to [`NOTE_CHARS_MAX`] characters.
    #[serde(rename = "Note", default)]
    pub note: Option<String>,
    /// The token that the licence is bound to, and its word that it is there; nothing for a licence
    /// that is bound to the asking server.
    #[serde(rename = "Token", default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenProof>,
    /// Hardware fingerprint of the server, 40 hex digits.
    #[serde(rename = "ComputerID")]
    pub computer_id: String,
    /// Version of the server.
    #[serde(rename = "ServerVersion")]
    pub server_version: String,
}

impl ReturnRequest {
    /// Signs the request with the key it names.
    ///
    /// # Errors
    ///
    /// When it cannot be written as JSON.
    pub fn sign(&self, key: &SigningKey) -> Result<String, serde_json::Error> {
        jws::sign(RETURN_TYP, self, key)
    }

    /// Reads a request and checks that the key it names has signed it.
    ///
    /// # Errors
    ///
    /// See [`RequestError`].
    pub fn verify(token: &str) -> Result<(Self, PublicKey), RequestError> {
        proved(RETURN_TYP, token, |request: &Self| &request.cnf)
    }
}

/// Whether a request made at `iat` (Unix seconds) is neither more than `days_max` days old at the
/// moment `now` nor from a future that no clock explains.
pub const fn is_fresh(iat: i64, days_max: u32, now: Utc) -> bool {
    let age_secs = now.unix_seconds().saturating_sub(iat);
    age_secs <= days_max as i64 * 86_400 && age_secs >= -CLOCK_AHEAD_SECS_MAX
}

/// Answer to a [`LicencesRequest`].
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LicencesAnswer {
    /// The licence documents.
    pub licences: Vec<String>,
    /// The series they belong to.
    pub series: Vec<SeriesDescriptor>,
    /// See [`ActivationAnswer::mark`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// Signed [`ReturnReceipt`]s of activations that this server has held and that ended without it:
    /// the key was moved by a spare code or by the vendor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<String>,
}

/// Answer to a [`ReturnRequest`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReturnAnswer {
    /// The key that was given back.
    pub key_no: KeyNo,
    /// The code that installs it again, once.
    pub reserve_code: ActivationCode,
    /// The signed [`ReturnReceipt`] that says so.
    pub receipt: String,
}

/// Claims of the centre's promise that a key may be installed elsewhere, signed by the key of the
/// series: a server gives a key up for nothing less.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ReturnReceipt {
    /// Issuer: `urn:licence-series:672B`.
    pub iss: String,
    /// Subject: `672B.7131766`.
    pub sub: String,
    /// Id of the activation that ended.
    pub jti: String,
    /// When the key was given back, in Unix seconds.
    pub iat: i64,
    /// Serial number of the key.
    #[serde(rename = "KeyNo")]
    pub key_no: KeyNo,
    /// Its series.
    #[serde(rename = "KeyID")]
    pub key_id: KeySeries,
    /// The code that installs it again, once. In receipts of [`LicencesAnswer::ended`] the code that
    /// is spent already, or [`Self::withheld`] where the code is not for the server that has lost
    /// the key, or there is none.
    #[serde(rename = "ReserveCode")]
    pub reserve_code: ActivationCode,
}

impl ReturnReceipt {
    /// What stands in a receipt for a code that its reader is not told: the reserve code with
    /// number 0, which no centre issues.
    pub const fn withheld(series: KeySeries) -> ActivationCode {
        ActivationCode::encode(crate::activation::CodeKind::Reserve, series, 0)
    }

    /// The promise about one activation.
    pub fn new(
        activation: String,
        returned: Utc,
        key_no: KeyNo,
        key_id: KeySeries,
        reserve_code: ActivationCode,
    ) -> Self {
        Self {
            iss: format!("urn:licence-series:{key_id}"),
            sub: format!("{key_id}.{key_no}"),
            jti: activation,
            iat: returned.unix_seconds(),
            key_no,
            key_id,
            reserve_code,
        }
    }

    /// Signs the promise with the key of the series.
    ///
    /// # Errors
    ///
    /// When it cannot be written as JSON.
    pub fn sign(&self, series_key: &SigningKey) -> Result<String, serde_json::Error> {
        jws::sign(RECEIPT_TYP, self, series_key)
    }

    /// Which series a receipt says it is of, before anything is verified: to find the key to
    /// verify it with, never to decide by.
    ///
    /// # Errors
    ///
    /// When it is no receipt at all.
    pub fn peek_series(token: &str) -> Result<KeySeries, JwsError> {
        #[derive(Deserialize)]
        struct Peek {
            #[serde(rename = "KeyID")]
            key_id: KeySeries,
        }
        jws::peek::<Peek>(RECEIPT_TYP, token.trim_ascii()).map(|peek| peek.key_id)
    }

    /// Reads a promise and checks that the series has signed it.
    ///
    /// # Errors
    ///
    /// See [`JwsError`].
    pub fn verify(token: &str, series_key: &PublicKey) -> Result<Self, JwsError> {
        let receipt: Self = jws::verify(RECEIPT_TYP, token.trim_ascii(), series_key)?;
        if receipt.iss != format!("urn:licence-series:{}", receipt.key_id)
            || receipt.sub != format!("{}.{}", receipt.key_id, receipt.key_no)
        {
            return Err(JwsError::Malformed("iss and sub name another key"));
        }
        Ok(receipt)
    }
}

/// The answer to a request of any kind. `Kind` tells which.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "Kind", rename_all = "lowercase")]
pub enum CentreAnswer {
    /// To an activation request.
    Activation(ActivationAnswer),
    /// To a [`ReturnRequest`].
    Return(ReturnAnswer),
    /// To a [`SpareRequest`].
    Spare(SpareAnswer),
    /// To a [`LicencesRequest`].
    Update(LicencesAnswer),
}

/// The answer file, and the body of `POST {centre}/api/requests`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AnswerFile {
    /// The answer.
    pub answer: CentreAnswer,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::activation::CodeKind;

    const SERIES: KeySeries = KeySeries::from_u16(0x672B);

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    fn now() -> Utc {
        Utc::from_unix_millis(1_800_000_000_000)
    }

    fn question(key: &SigningKey) -> LicencesRequest {
        LicencesRequest::new("r1".into(), now(), key, "D3".repeat(20), "4.0.0".into())
    }

    fn giving_back(key: &SigningKey) -> ReturnRequest {
        ReturnRequest {
            jti: "r2".into(),
            iat: now().unix_seconds(),
            aud: None,
            cnf: Confirmation { jwk: key.public().jwk() },
            key_no: KeyNo(7_131_766),
            key_id: SERIES,
            activation: "a1".into(),
            reason: Some(ReturnReason::Upgrade),
            note: Some("новый сервер".into()),
            token: None,
            computer_id: "D3".repeat(20),
            server_version: "4.0.0".into(),
        }
    }

    fn receipt() -> ReturnReceipt {
        let code = ActivationCode::encode(CodeKind::Reserve, SERIES, 5);
        ReturnReceipt::new("a1".into(), now(), KeyNo(7_131_766), SERIES, code)
    }

    #[test]
    fn every_request_proves_its_asker_and_is_of_one_kind_only() {
        let (own, other) = (key(5), key(6));
        let token = question(&own).sign(&own).unwrap();
        assert_eq!(LicencesRequest::verify(&token), Ok((question(&own), own.public())));
        assert_eq!(RequestKind::of(&token), Some(RequestKind::Update));
        assert!(ReturnRequest::verify(&token).is_err());
        assert!(LicencesRequest::verify(&question(&other).sign(&own).unwrap()).is_err());
        let token = giving_back(&own).sign(&own).unwrap();
        assert_eq!(ReturnRequest::verify(&token), Ok((giving_back(&own), own.public())));
        assert_eq!(RequestKind::of(&format!(" {token}\r\n")), Some(RequestKind::Return));
        assert!(LicencesRequest::verify(&token).is_err());
        assert!(ReturnRequest::verify(&giving_back(&other).sign(&own).unwrap()).is_err());
        assert_eq!(RequestKind::of(&receipt().sign(&own).unwrap()), None);
    }

    #[test]
    fn receipt_of_another_series_key_or_about_two_keys_is_refused() {
        let token = receipt().sign(&key(1)).unwrap();
        assert_eq!(ReturnReceipt::peek_series(&token), Ok(SERIES));
        assert_eq!(ReturnReceipt::verify(&token, &key(1).public()), Ok(receipt()));
        assert_eq!(ReturnReceipt::verify(&token, &key(2).public()), Err(JwsError::Signature));
        let two = ReturnReceipt { key_no: KeyNo(1), ..receipt() }.sign(&key(1)).unwrap();
        assert!(ReturnReceipt::verify(&two, &key(1).public()).is_err());
    }

    #[test]
    fn request_is_fresh_for_its_days_and_a_clock_may_be_a_day_ahead() {
        for days_max in [REQUEST_DAYS_MAX, RETURN_DAYS_MAX] {
            let end_secs = i64::from(days_max) * 86_400;
            for (age_secs, fresh) in [
                (0, true),
                (end_secs, true),
                (end_secs + 1, false),
                (-86_400, true),
                (-86_401, false),
            ] {
                let iat = now().unix_seconds() - age_secs;
                assert_eq!(is_fresh(iat, days_max, now()), fresh, "{age_secs}");
            }
            assert!(!is_fresh(i64::MIN, days_max, now()) && !is_fresh(i64::MAX, days_max, now()));
        }
    }

    #[test]
    fn answer_of_every_kind_is_read_back_from_its_file() {
        let reserve_code = receipt().reserve_code;
        let answer = CentreAnswer::Return(ReturnAnswer {
            key_no: KeyNo(1),
            reserve_code,
            receipt: "token".into(),
        });
        let text = serde_json::to_string(&AnswerFile { answer: answer.clone() }).unwrap();
        assert_eq!(
            text,
            format!(
                r#"{{"Answer":{{"Kind":"return","KeyNo":1,"ReserveCode":"{reserve_code}","Receipt":"token"}}}}"#
            )
        );
        assert_eq!(serde_json::from_str::<AnswerFile>(&text).unwrap().answer, answer);
        let text = r#"{"Answer":{"Kind":"update","Licences":["x"],"Series":[]}}"#;
        let read: AnswerFile = serde_json::from_str(text).unwrap();
        let update = LicencesAnswer { licences: vec!["x".into()], ..LicencesAnswer::default() };
        assert_eq!(read.answer, CentreAnswer::Update(update));
        for bad in [r#"{"Answer":{"Kind":"sale"}}"#, r#"{"Answer":{}}"#, "{}"] {
            assert!(serde_json::from_str::<AnswerFile>(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused(text in ".{0,200}") {
            prop_assert_eq!(RequestKind::of(&text), None);
            prop_assert!(ReturnRequest::verify(&text).is_err());
            prop_assert!(ReturnReceipt::peek_series(&text).is_err());
        }
    }
}
