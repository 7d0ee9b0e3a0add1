//! The licence document: a JWT (RFC 7519) that any JWT library can verify.
//!
//! Its claims carry every field that the manual's `GET /api/licences/{KeyNo}` shows and that is
//! not a matter of the moment; the `cnf` claim (RFC 7800) names the key it is bound to. This
//! module reads, verifies and signs; it does not know where files lie or what time it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::access_code::AccessCode;
use crate::activation::ActivationCode;
use crate::binding::{Binding, GRACE_DAYS_MAX};
use crate::cluster::ClusterId;
use crate::holder::Holder;
use crate::jws::{self, JwsError};
use crate::key::{Flags, KeyKind, KeyNo, KeySeries, Obstacle, ProtectionKey, Term};
use crate::parameter_claims::{self, ParametersError};
use crate::seal::{Jwk, PublicKey, SigningKey};
use crate::time::Utc;

/// `typ` of a licence token.
pub const LICENCE_TYP: &str = "licence+jwt";

/// Version of the file format, shown as `Version` of a licence.
pub const LICENCE_FORMAT: &str = "1";

/// Purpose under which the object key of a series is wrapped for a server (RFC 9180, `info`).
pub const SERIES_KEY_PURPOSE: &str = "licence series key 1";

/// Longest `ObjectKey` of a licence, in characters. A wrapped key of 32 bytes has 107; a longer text
/// is none, whatever a later wrapping adds.
pub const OBJECT_KEY_CHARS_MAX: usize = 512;

/// What a licence is bound to (RFC 7800).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Confirmation {
    /// Public key whose holder may use the licence.
    pub jwk: Jwk,
}

/// Claims of a licence document. Registered names are those of RFC 7519, the others those of the
/// manual's API.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LicenceClaims {
    /// Issuer: `urn:licence-series:672B`.
    pub iss: String,
    /// Subject: `672B.7131766`, also the name of the file without its extension.
    pub sub: String,
    /// Id of the activation at the centre.
    pub jti: String,
    /// Issued at, in Unix seconds.
    pub iat: i64,
    /// Not before, in Unix seconds; of the start date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// End, in Unix seconds; of the term.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// What it is bound to.
    pub cnf: Confirmation,
    /// How strictly it is bound to a computer; documents that say nothing have the default.
    #[serde(rename = "Binding", default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// The X25519 secret of the series, wrapped for the object key of the holder: by it a server
    /// opens protected objects. Nothing in documents for servers that named no such key. Whether it
    /// opens is not told by the signature: see [`Self::object_key_context`].
    #[serde(rename = "ObjectKey", default, skip_serializing_if = "Option::is_none")]
    pub object_key: Option<String>,
    /// The cluster for whose nodes the key was issued: each has a licence of its own, and all of them
    /// stand for one set of seats. Nothing in a licence of a single server.
    #[serde(rename = "Cluster", default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterId>,
    /// The fields of the manual.
    #[serde(flatten)]
    pub fields: LicenceFields,
}

/// The fields of a licence that do not depend on the moment (manual, «Получение информации о
/// конкретном ключе»).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LicenceFields {
    /// Version of the format, [`LICENCE_FORMAT`].
    pub version: String,
    /// Serial number of the key.
    pub key_no: KeyNo,
    /// Series.
    #[serde(rename = "KeyID")]
    pub key_id: KeySeries,
    /// Registration number.
    pub reg_no: Option<u32>,
    /// 3 main, 4 additional, 5 demo.
    pub key_type: u8,
    /// Special 1C services; 0 is the ordinary case.
    pub service_type: u8,
    /// Seats.
    pub licence_count: u32,
    /// Newest product version covered; 0 covers all.
    pub product_version: u32,
    /// Serial number of the token it was put on.
    pub blank_key_no: Option<u32>,
    /// The code it was activated with.
    pub activation_code: ActivationCode,
    /// When it was activated.
    pub activation_date: Utc,
    /// First moment of use.
    pub start_date: Option<Utc>,
    /// Term in days; 0 is no limit.
    pub period: u32,
    /// First moment at which it may no longer be used.
    pub expire_date: Option<Utc>,
    /// 32 feature flags.
    pub flags: Flags,
    /// Owner's ИНН, digits as text so that leading zeros survive.
    #[serde(rename = "ITN")]
    pub itn: Option<String>,
    /// Owner's КПП, digits as text.
    #[serde(rename = "IEC")]
    pub iec: Option<String>,
    /// Name of the product.
    pub product_name: String,
    /// Article.
    pub article: Option<String>,
    /// Name of the article.
    pub article_name: Option<String>,
    /// Licence parameters by name, within the limits of [`parameter_claims::check`]; absent from
    /// documents that have none.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "parameter_claims::each_once"
    )]
    pub parameters: BTreeMap<String, String>,
    /// Support and edition; absent from documents that say nothing of them.
    #[serde(flatten)]
    pub support: SupportFields,
}

/// The fields that the API of 2025 knows beyond the manual. Each may be missing in a document: the
/// format is the same with and without them.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SupportFields {
    /// Name of the edition that [`LicenceFields::product_version`] stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_version_name: Option<String>,
    /// Whether the key was installed again with a reserve code.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovered: bool,
    /// First day of support (1С:ИТС).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support_date: Option<Utc>,
    /// Days of support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support_period: Option<u32>,
    /// First day of industry support (ИТС Отраслевой).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub industry_support_date: Option<Utc>,
    /// Days of industry support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub industry_support_period: Option<u32>,
}

/// Why a licence document was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LicenceError {
    /// The claims contradict each other, or a value lies outside what the product knows.
    #[error("the licence contradicts itself: {0}")]
    Claims(&'static str),
    /// The confirmation key is neither an Ed25519 nor a P-256 key.
    #[error("the licence is bound to a key that is neither Ed25519 nor P-256")]
    Confirmation,
    /// A later format than this program knows.
    #[error("licence format {0} is not known; a newer program is needed")]
    Format(String),
    /// Not signed as it should be.
    #[error("the licence is not genuine")]
    Jws(#[source] JwsError),
    /// Its parameters lie outside their limits.
    #[error("the licence's parameters")]
    Parameters(#[source] ParametersError),
}

/// A licence document whose signature has proved genuine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Licence {
    /// The claims.
    pub claims: LicenceClaims,
    /// The kind behind `KeyType`.
    pub kind: KeyKind,
    /// What it is bound to.
    pub holder: Holder,
    /// The document itself.
    pub document: String,
}

impl LicenceClaims {
    /// The claims for `fields`, bound to `holder`.
    pub fn new(jti: String, issued: Utc, holder: impl Into<Holder>, fields: LicenceFields) -> Self {
        let term = fields.term();
        Self {
            iss: format!("urn:licence-series:{}", fields.key_id),
            sub: format!("{}.{}", fields.key_id, fields.key_no),
            jti,
            iat: issued.unix_seconds(),
            nbf: fields.start_date.map(Utc::unix_seconds),
            exp: term.end().map(Utc::unix_seconds),
            cnf: Confirmation { jwk: holder.into().jwk() },
            binding: None,
            object_key: None,
            cluster: None,
            fields,
        }
    }

    /// What the object key in a licence of this series, activation and holder is bound to
    /// (RFC 9180, `aad`): taken out of one licence and put into another, it opens nothing.
    pub fn object_key_context(series: KeySeries, jti: &str, holder: &Holder) -> Vec<u8> {
        format!("{series}|{jti}|{}", holder.thumbprint()).into_bytes()
    }

    /// Signs the claims with the series' key.
    ///
    /// # Errors
    ///
    /// [`LicenceError::Claims`] when they could not be read back.
    pub fn sign(&self, key: &SigningKey) -> Result<String, LicenceError> {
        let token = jws::sign(LICENCE_TYP, self, key)
            .map_err(|_| LicenceError::Claims("it cannot be written as JSON"))?;
        Licence::verify(&token, &key.public())?;
        Ok(token)
    }
}

impl LicenceFields {
    /// From when until when it may be used.
    pub const fn term(&self) -> Term {
        Term {
            activated: self.activation_date,
            start: self.start_date,
            period_days: self.period,
            expire: self.expire_date,
        }
    }
}

impl Licence {
    /// Reads a document and verifies it under the key of its series.
    ///
    /// # Errors
    ///
    /// See [`LicenceError`].
    pub fn verify(document: &str, series_key: &PublicKey) -> Result<Self, LicenceError> {
        let document = document.trim_ascii();
        let claims: LicenceClaims =
            jws::verify(LICENCE_TYP, document, series_key).map_err(LicenceError::Jws)?;
        let fields = &claims.fields;
        if fields.version != LICENCE_FORMAT {
            return Err(LicenceError::Format(fields.version.chars().take(20).collect()));
        }
        let kind = KeyKind::from_code(fields.key_type)
            .ok_or(LicenceError::Claims("KeyType is none of 3, 4 and 5"))?;
        if claims.sub != format!("{}.{}", fields.key_id, fields.key_no)
            || claims.iss != format!("urn:licence-series:{}", fields.key_id)
        {
            return Err(LicenceError::Claims("iss and sub name another key"));
        }
        let term = fields.term();
        if claims.exp != term.end().map(Utc::unix_seconds)
            || claims.nbf != fields.start_date.map(Utc::unix_seconds)
        {
            return Err(LicenceError::Claims("nbf and exp name another term"));
        }
        for digits in [&fields.itn, &fields.iec].into_iter().flatten() {
            if digits.is_empty() || digits.len() > 12 || !digits.bytes().all(|b| b.is_ascii_digit())
            {
                return Err(LicenceError::Claims("ITN and IEC are up to 12 digits"));
            }
        }
        if let Some(key) = &claims.object_key {
            let is_sound = !key.is_empty()
                && key.len() <= OBJECT_KEY_CHARS_MAX
                && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            if !is_sound {
                return Err(LicenceError::Claims("ObjectKey is no wrapped key in base64url"));
            }
        }
        parameter_claims::check(&fields.parameters).map_err(LicenceError::Parameters)?;
        if claims.binding.is_some_and(|binding| binding.grace_days > GRACE_DAYS_MAX) {
            return Err(LicenceError::Claims("Binding has more days of grace than there may be"));
        }
        let holder = Holder::from_jwk(&claims.cnf.jwk).map_err(|_| LicenceError::Confirmation)?;
        // A token is in one place at a time, and a demonstration is for one computer.
        if claims.cluster.is_some() && (holder.token().is_some() || kind == KeyKind::Demo) {
            return Err(LicenceError::Claims("Cluster is not for tokens and demonstrations"));
        }
        Ok(Self { kind, holder, document: document.to_owned(), claims })
    }

    /// How strictly it is bound to a computer.
    pub fn binding(&self) -> Binding {
        self.claims.binding.unwrap_or_default()
    }

    /// When the document was issued, if that was later than the key's activation: the key was
    /// installed again, or its licence renewed.
    pub fn updated(&self) -> Option<Utc> {
        let is_later = self.claims.iat > self.fields().activation_date.unix_seconds();
        (is_later || self.fields().support.recovered)
            .then(|| Utc::from_unix_millis(self.claims.iat.saturating_mul(1000)))
    }

    /// Which series a document says it belongs to, before anything is verified: to find the key
    /// to verify it with, never to decide by.
    ///
    /// # Errors
    ///
    /// [`LicenceError::Jws`] when it is no licence at all.
    pub fn peek_series(document: &str) -> Result<KeySeries, LicenceError> {
        #[derive(Deserialize)]
        struct Peek {
            #[serde(rename = "KeyID")]
            key_id: KeySeries,
        }
        jws::peek::<Peek>(LICENCE_TYP, document.trim_ascii())
            .map(|peek| peek.key_id)
            .map_err(LicenceError::Jws)
    }

    /// Which key a document is for and when it says it was issued (Unix seconds), before anything
    /// is verified: to see whether it is worth verifying, never to decide by.
    ///
    /// # Errors
    ///
    /// [`LicenceError::Jws`] when it is no licence at all.
    pub fn peek_issue(document: &str) -> Result<(KeyNo, i64), LicenceError> {
        #[derive(Deserialize)]
        struct Peek {
            #[serde(rename = "KeyNo")]
            key_no: KeyNo,
            iat: i64,
        }
        jws::peek::<Peek>(LICENCE_TYP, document.trim_ascii())
            .map(|peek| (peek.key_no, peek.iat))
            .map_err(LicenceError::Jws)
    }

    /// The fields.
    pub const fn fields(&self) -> &LicenceFields {
        &self.claims.fields
    }

    /// What counting needs of it.
    pub fn protection_key(
        &self,
        obstacle: Option<Obstacle>,
        access_code: Option<AccessCode>,
    ) -> ProtectionKey {
        let fields = self.fields();
        ProtectionKey {
            key_no: fields.key_no,
            series: fields.key_id,
            kind: self.kind,
            seats: fields.licence_count,
            term: fields.term(),
            product_version: fields.product_version,
            service_type: fields.service_type,
            reg_no: fields.reg_no,
            itn: fields.itn.clone(),
            iec: fields.iec.clone(),
            obstacle,
            access_code,
            cluster: self.claims.cluster,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn fields() -> LicenceFields {
        LicenceFields {
            version: LICENCE_FORMAT.into(),
            key_no: KeyNo(7_131_766),
            key_id: KeySeries::from_u16(0x672B),
            reg_no: Some(202),
            key_type: 3,
            service_type: 0,
            licence_count: 5,
            product_version: 0,
            blank_key_no: None,
            activation_code: ActivationCode::encode(
                crate::activation::CodeKind::Activation,
                KeySeries::from_u16(0x672B),
                77,
            ),
            activation_date: "2018-03-30T21:00:00.414Z".parse().unwrap(),
            start_date: None,
            period: 0,
            expire_date: None,
            flags: Flags(0),
            itn: Some("0123456789".into()),
            iec: None,
            product_name: "Тестовая серия".into(),
            article: Some("1111111111111".into()),
            article_name: None,
            parameters: BTreeMap::new(),
            support: SupportFields::default(),
        }
    }

    fn series_key() -> SigningKey {
        SigningKey::from_seed(&[1; 32])
    }

    fn holder() -> PublicKey {
        SigningKey::from_seed(&[2; 32]).public()
    }

    fn document(fields: LicenceFields) -> String {
        let issued = fields.activation_date;
        LicenceClaims::new("a1".into(), issued, holder(), fields).sign(&series_key()).unwrap()
    }

    #[test]
    fn every_field_is_read_back_and_the_holder_named() {
        let licence = Licence::verify(&document(fields()), &series_key().public()).unwrap();
        assert_eq!(licence.fields(), &fields());
        assert_eq!(licence.holder, Holder::Server(holder()));
        assert_eq!(licence.claims.sub, "672B.7131766");
        assert_eq!(Licence::peek_series(&licence.document).unwrap().to_string(), "672B");
    }

    #[test]
    fn fields_of_later_programs_are_left_out_when_nothing_is_known_and_read_back_when_it_is() {
        let plain = serde_json::to_value(fields()).unwrap();
        for name in ["ProductVersionName", "Recovered", "SupportDate", "IndustrySupportPeriod"] {
            assert!(plain.get(name).is_none(), "{name}");
        }
        let support = SupportFields {
            product_version_name: Some("ПРОФ".into()),
            recovered: true,
            support_date: Some("2026-01-01T00:00:00.000Z".parse().unwrap()),
            support_period: Some(365),
            industry_support_date: Some("2026-02-01T00:00:00.000Z".parse().unwrap()),
            industry_support_period: Some(180),
        };
        let fields = LicenceFields { support, ..fields() };
        let value = serde_json::to_value(&fields).unwrap();
        assert_eq!((&value["SupportPeriod"], &value["Recovered"]), (&365.into(), &true.into()));
        let licence = Licence::verify(&document(fields.clone()), &series_key().public()).unwrap();
        assert_eq!(licence.fields(), &fields);
    }

    #[test]
    fn cluster_is_named_by_licences_of_its_nodes_and_by_no_others() {
        let plain = LicenceClaims::new("a1".into(), fields().activation_date, holder(), fields());
        assert!(serde_json::to_value(&plain).unwrap().get("Cluster").is_none());
        let cluster: ClusterId = "0123456789ABCDEF0123456789ABCDEF".parse().unwrap();
        let shared = LicenceClaims { cluster: Some(cluster), ..plain };
        let document = shared.sign(&series_key()).unwrap();
        let licence = Licence::verify(&document, &series_key().public()).unwrap();
        assert_eq!(licence.protection_key(None, None).cluster, Some(cluster));
        assert_eq!(licence.claims, shared);
        let value = serde_json::to_value(&shared).unwrap();
        assert_eq!(value["Cluster"], "0123456789ABCDEF0123456789ABCDEF");
        let token = crate::holder::TokenKey::from_point(&[vec![4], vec![9; 64]].concat()).unwrap();
        let jwk = Holder::Token(token).jwk();
        let on_token = LicenceClaims { cnf: Confirmation { jwk }, ..shared.clone() };
        let demo = LicenceClaims { fields: LicenceFields { key_type: 5, ..fields() }, ..shared };
        for claims in [on_token, demo] {
            let refused = claims.sign(&series_key());
            assert!(matches!(refused, Err(LicenceError::Claims(_))), "{refused:?}");
        }
    }

    #[test]
    fn object_key_and_parameters_are_left_out_without_a_value_and_read_back_with_one() {
        let plain = LicenceClaims::new("a1".into(), fields().activation_date, holder(), fields());
        let value = serde_json::to_value(&plain).unwrap();
        assert!(value.get("ObjectKey").is_none() && value.get("Parameters").is_none(), "{value}");
        let parameters = BTreeMap::from([("Регион".to_owned(), "77 \"а\"\r\n".to_owned())]);
        let claims = LicenceClaims {
            object_key: Some("Ab-_9".into()),
            fields: LicenceFields { parameters, ..fields() },
            ..plain
        };
        let value = serde_json::to_value(&claims).unwrap();
        assert_eq!(value["ObjectKey"], "Ab-_9");
        assert_eq!(value["Parameters"]["Регион"], "77 \"а\"\r\n");
        let document = claims.sign(&series_key()).unwrap();
        let licence = Licence::verify(&document, &series_key().public()).unwrap();
        assert_eq!(licence.claims, claims);
    }

    #[test]
    fn object_key_of_another_form_and_parameters_beyond_their_limits_are_refused() {
        let good = LicenceClaims::new("a1".into(), fields().activation_date, holder(), fields());
        for text in ["", "a b", "a=", "ключ", &"A".repeat(OBJECT_KEY_CHARS_MAX + 1)] {
            let claims = LicenceClaims { object_key: Some(text.to_owned()), ..good.clone() };
            assert!(matches!(claims.sign(&series_key()), Err(LicenceError::Claims(_))), "{text}");
        }
        let parameters = BTreeMap::from([("A".into(), "1".into()), ("a".into(), "2".into())]);
        let fields = LicenceFields { parameters, ..fields() };
        let result = LicenceClaims { fields, ..good }.sign(&series_key());
        assert_eq!(result, Err(LicenceError::Parameters(ParametersError::Twice("a".into()))));
    }

    #[test]
    fn largest_parameters_and_texts_of_an_order_fit_into_a_document() {
        let mut parameters = BTreeMap::from([("A".to_owned(), "я".repeat(4000))]);
        let (written, more) = (serde_json::to_string(&parameters).unwrap().len(), ",'B':''".len());
        let rest = "x".repeat(parameter_claims::BYTES_MAX - written - more);
        parameters.insert("B".to_owned(), rest);
        assert_eq!(parameter_claims::check(&parameters), Ok(()));
        let mut longer = parameters.clone();
        longer.insert("C".to_owned(), String::new());
        let result = parameter_claims::check(&longer);
        assert!(matches!(result, Err(ParametersError::TooLong(_))), "{result:?}");
        let long = |chars: usize| Some("\"".repeat(chars));
        let fields = LicenceFields {
            parameters,
            product_name: "Щ".repeat(200),
            article: long(50),
            article_name: long(100),
            support: SupportFields {
                product_version_name: long(100),
                support_date: Some(fields().activation_date),
                industry_support_date: Some(fields().activation_date),
                ..SupportFields::default()
            },
            ..fields()
        };
        let issued = fields.activation_date;
        let claims = LicenceClaims::new("F".repeat(32), issued, holder(), fields);
        let claims = LicenceClaims { object_key: Some("A".repeat(107)), ..claims };
        assert!(claims.sign(&series_key()).is_ok());
    }

    #[test]
    fn context_of_an_object_key_names_series_activation_and_holder() {
        let series = KeySeries::from_u16(0x672B);
        let context = LicenceClaims::object_key_context(series, "a1", &holder().into());
        assert_eq!(context, format!("672B|a1|{}", holder().thumbprint()).into_bytes());
    }

    #[test]
    fn document_issued_after_the_activation_tells_when() {
        let fields = fields();
        let later = fields.activation_date.plus_days(3);
        let issue = |at| {
            let claims = LicenceClaims::new("a1".into(), at, holder(), fields.clone());
            Licence::verify(&claims.sign(&series_key()).unwrap(), &series_key().public()).unwrap()
        };
        assert_eq!(issue(fields.activation_date).updated(), None);
        assert_eq!(issue(later).updated().unwrap().unix_seconds(), later.unix_seconds());
    }

    #[test]
    fn term_is_told_to_jwt_libraries_too() {
        let fields = LicenceFields {
            start_date: Some("2026-01-01T00:00:00.000Z".parse().unwrap()),
            period: 30,
            ..fields()
        };
        let licence = Licence::verify(&document(fields), &series_key().public()).unwrap();
        assert_eq!(licence.claims.nbf, Some(1_767_225_600));
        assert_eq!(licence.claims.exp, Some(1_767_225_600 + 30 * 86_400));
    }

    #[test]
    fn licence_of_another_series_key_is_not_genuine() {
        let result = Licence::verify(&document(fields()), &holder());
        assert_eq!(result, Err(LicenceError::Jws(JwsError::Signature)));
    }

    #[test]
    fn contradictions_are_refused_even_when_signed() {
        let good = LicenceClaims::new("a1".into(), fields().activation_date, holder(), fields());
        let check = |claims: LicenceClaims| {
            let token = jws::sign(LICENCE_TYP, &claims, &series_key()).unwrap();
            Licence::verify(&token, &series_key().public())
        };
        assert!(check(good.clone()).is_ok());
        assert!(matches!(
            check(LicenceClaims { sub: "672B.1".into(), ..good.clone() }),
            Err(LicenceError::Claims(_))
        ));
        assert!(matches!(
            check(LicenceClaims { exp: Some(1), ..good.clone() }),
            Err(LicenceError::Claims(_))
        ));
        let fields = LicenceFields { key_type: 9, ..fields() };
        assert!(matches!(
            check(LicenceClaims { fields, ..good.clone() }),
            Err(LicenceError::Claims(_))
        ));
        let fields = LicenceFields { version: "2".into(), ..good.fields.clone() };
        assert_eq!(
            check(LicenceClaims { fields, ..good.clone() }),
            Err(LicenceError::Format("2".into()))
        );
        let fields = LicenceFields { itn: Some("12a".into()), ..good.fields.clone() };
        assert!(matches!(check(LicenceClaims { fields, ..good }), Err(LicenceError::Claims(_))));
    }

    proptest! {
        #[test]
        fn any_text_is_refused(text in ".{0,200}") {
            prop_assert!(Licence::verify(&text, &holder()).is_err());
        }

        #[test]
        fn any_fields_are_read_back(
            key_no: u32, series: u16, kind in 3u8..=5, seats: u32, period in 0u32..40_000,
            flags: u32, product_name in ".{0,40}", itn in proptest::option::of("[0-9]{1,12}"),
        ) {
            let fields = LicenceFields {
                key_no: KeyNo(key_no), key_id: KeySeries::from_u16(series), key_type: kind,
                licence_count: seats, period, flags: Flags(flags), product_name, itn, ..fields()
            };
            let licence =
                Licence::verify(&document(fields.clone()), &series_key().public()).unwrap();
            prop_assert_eq!(licence.fields(), &fields);
        }
    }
}
