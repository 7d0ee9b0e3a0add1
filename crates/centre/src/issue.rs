//! The licence that an activation yields: claims from the order and the request. Signing them, and the
//! object key of the series in them, is [`licencekit::signing`]'s.
//!
//! Pure: the moment and the id are arguments. Whether a licence may be issued at all is decided
//! in `decide`.

use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::binding::Binding;
use licence_core::cluster::ClusterId;
use licence_core::holder::TokenKey;
use licence_core::key::{KeyKind, KeyNo};
use licence_core::licence_file::{
    LICENCE_FORMAT, Licence, LicenceClaims, LicenceFields, SupportFields,
};
use licence_core::seal::KEY_BYTES;
use licence_core::series::SeriesDescriptor;
use licence_core::time::Utc;
use licencekit::order::OrderCall;
use licencekit::signing::Signer;

use crate::decide::Asked;

/// What the books grant.
#[derive(Clone, Copy, Debug)]
pub struct Granted<'a> {
    /// The order.
    pub order: &'a OrderCall,
    /// Serial number of the key.
    pub key_no: KeyNo,
    /// Id of the activation.
    pub activation_id: &'a str,
    /// The first activation of a key that is installed again, or on a further node of a cluster.
    pub before: Option<&'a Before>,
    /// How strictly the licence is bound to its computer; nothing leaves it to the default.
    pub binding: Option<Binding>,
    /// The cluster that its holder is a node of, for a key that its nodes share.
    pub cluster: Option<ClusterId>,
}

/// The first activation of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Before {
    /// When it was. The term counts from here, so that neither a move nor a further node prolongs it.
    pub activated: Utc,
    /// Owner's ИНН as the buyer gave it then.
    pub itn: Option<String>,
    /// Owner's КПП as the buyer gave it then.
    pub iec: Option<String>,
}

/// Why a licence was not made.
pub use licencekit::signing::SigningError as IssueError;

/// Gives claims the term that their order has at this moment.
pub fn set_term(claims: &mut LicenceClaims, order: &OrderCall) {
    claims.fields.period = order.period;
    claims.fields.expire_date = order.expire_date;
    claims.exp = claims.fields.term().end().map(Utc::unix_seconds);
}

/// A licence that was issued before as it would be issued at this moment: with the term that its
/// order has, for the cluster that its holder is a node of, and the object key of its series wrapped
/// for `enc`, if the asker names one; nothing when it is so already. Everything else stays: the
/// activation, the fields, the binding. It is issued later than before by a second at least, so that
/// the server takes it for the later one.
///
/// # Errors
///
/// See [`IssueError`]; a document that the series has not signed gives [`IssueError::Licence`].
pub fn again(
    signer: &Signer,
    document: &str,
    order: &OrderCall,
    cluster: Option<ClusterId>,
    enc: Option<&[u8; KEY_BYTES]>,
    now: Utc,
) -> Result<Option<String>, IssueError> {
    let before = Licence::verify(document, &signer.public())?.claims;
    let mut claims = before.clone();
    set_term(&mut claims, order);
    claims.cluster = cluster;
    let mut claims = signer.with_object_key(&claims, enc)?;
    if claims == before {
        return Ok(None);
    }
    claims.iat = now.unix_seconds().max(claims.iat.saturating_add(1));
    Ok(Some(signer.licence(&claims, None)?))
}

/// The claims of the licence for one code, without the object key of the series.
pub fn claims(
    series: &SeriesDescriptor,
    granted: Granted<'_>,
    code: ActivationCode,
    asked: &Asked,
    now: Utc,
) -> LicenceClaims {
    let Granted { order, key_no, activation_id, before, binding, cluster } = granted;
    // The order's spelling wins: it has the leading zeros that a JSON number loses. Then the first
    // buyer's word: a key that moves keeps its owner.
    let owner = |ordered: &Option<String>, first: Option<&String>, asked: &Option<String>| {
        ordered.clone().or_else(|| first.cloned()).or_else(|| asked.clone())
    };
    let fields = LicenceFields {
        version: LICENCE_FORMAT.to_owned(),
        key_no,
        key_id: order.series,
        reg_no: order.reg_no,
        key_type: KeyKind::from(order.kind).code(),
        service_type: order.service_type,
        licence_count: order.seats,
        product_version: order.product_version,
        blank_key_no: asked.holder.token().map(TokenKey::blank_no),
        activation_code: code,
        activation_date: before.map_or(now, |before| before.activated),
        start_date: order.start_date,
        period: order.period,
        expire_date: order.expire_date,
        flags: order.flags,
        itn: owner(&order.itn, before.and_then(|before| before.itn.as_ref()), &asked.itn),
        iec: owner(&order.iec, before.and_then(|before| before.iec.as_ref()), &asked.iec),
        product_name: series.product_name.clone(),
        article: order.article.clone(),
        article_name: order.article_name.clone(),
        parameters: order.parameters.clone(),
        support: SupportFields {
            product_version_name: order.product_version_name.clone(),
            recovered: code.kind() == CodeKind::Reserve,
            support_date: order.support_date,
            support_period: order.support_period,
            industry_support_date: order.industry_support_date,
            industry_support_period: order.industry_support_period,
        },
    };
    let mut claims = LicenceClaims::new(activation_id.to_owned(), now, asked.holder, fields);
    claims.binding = binding;
    claims.cluster = cluster;
    claims
}

#[cfg(test)]
mod tests {
    use licence_core::key::KeySeries;
    use licence_core::licence_file::SERIES_KEY_PURPOSE;
    use licence_core::seal::SigningKey;
    use licence_core::wrap::{WrapError, WrapKey};
    use licencekit::secret::SeriesSecret;

    use super::*;
    use crate::decide::cluster::Membership;

    fn secret() -> SeriesSecret {
        SeriesSecret::from_bytes(KeySeries::from_u16(0x672B), [1; 32], [2; 32])
    }

    fn series() -> Signer {
        Signer::new(&secret())
    }

    fn now() -> Utc {
        Utc::from_unix_millis(1_800_000_000_000)
    }

    fn order() -> OrderCall {
        let text = r#"{"Series":"672B","Kind":"main","Seats":5,"Period":30,
            "Parameters":{"Регион":"77"}}"#;
        serde_json::from_str(text).unwrap()
    }

    fn issue(enc: Option<&WrapKey>) -> String {
        let order = order();
        let code = "6EAZ-FER0-5SZA-W8JC-3C1W".parse().unwrap();
        let server = SigningKey::from_seed(&[5; 32]).public();
        let asked = Asked {
            holder: server.into(),
            server,
            attested: false,
            protection: None,
            membership: Membership::Alone,
            enc: enc.map(|key| *key.public()),
            itn: None,
            iec: None,
        };
        let granted = Granted {
            order: &order,
            key_no: KeyNo(7),
            activation_id: "a1",
            before: None,
            binding: Some(Binding::default()),
            cluster: None,
        };
        let descriptor = secret().descriptor("Тестовая серия".into(), None);
        let claims = claims(&descriptor, granted, code, &asked, now());
        series().licence(&claims, asked.enc.as_ref()).unwrap()
    }

    fn read(document: &str) -> LicenceClaims {
        Licence::verify(document, &series().public()).unwrap().claims
    }

    fn opened(key: &WrapKey, claims: &LicenceClaims, activation: &str) -> Option<Vec<u8>> {
        let holder = claims.cnf.jwk.ed25519().unwrap().into();
        let context = LicenceClaims::object_key_context(claims.fields.key_id, activation, &holder);
        let wrapped = claims.object_key.as_ref()?;
        key.unwrap(wrapped, SERIES_KEY_PURPOSE, &context).ok().map(|secret| secret.to_vec())
    }

    #[test]
    fn object_key_opens_for_the_asker_and_its_activation_alone() {
        let (own, other) = (WrapKey::from_secret(&[7; 32]), WrapKey::from_secret(&[8; 32]));
        let claims = read(&issue(Some(&own)));
        assert_eq!(opened(&own, &claims, "a1"), Some(vec![2; 32]));
        assert_eq!(opened(&other, &claims, "a1"), None);
        assert_eq!(opened(&own, &claims, "a2"), None);
        let mut moved = claims;
        moved.cnf.jwk = SigningKey::from_seed(&[6; 32]).public().jwk();
        assert_eq!(opened(&own, &moved, "a1"), None);
        assert_eq!(read(&issue(None)).object_key, None, "nobody asked for it");
    }

    #[test]
    fn same_request_gives_the_same_document() {
        let own = WrapKey::from_secret(&[7; 32]);
        assert_eq!(issue(Some(&own)), issue(Some(&own)));
    }

    #[test]
    fn licence_without_an_object_key_is_issued_again_with_it_once_and_otherwise_unchanged() {
        let own = WrapKey::from_secret(&[7; 32]);
        let old = issue(None);
        let anew = |document: &str, key: &WrapKey, at| {
            again(&series(), document, &order(), None, Some(key.public()), at).unwrap()
        };
        for (at, issued) in [(now(), 1), (now().plus_days(2), 2 * 86_400)] {
            let new = anew(&old, &own, at).unwrap();
            let mut claims = read(&new);
            assert_eq!(opened(&own, &claims, "a1"), Some(vec![2; 32]));
            assert_eq!(claims.iat, now().unix_seconds() + issued);
            (claims.iat, claims.object_key) = (now().unix_seconds(), None);
            assert_eq!(claims, read(&old));
            assert_eq!(anew(&new, &own, at), None, "it has it");
        }
        // A server whose key for secrets has changed gets it for the one that it has.
        let (new, other) = (anew(&old, &own, now()).unwrap(), WrapKey::from_secret(&[8; 32]));
        let claims = read(&anew(&new, &other, now()).unwrap());
        assert_eq!(opened(&other, &claims, "a1"), Some(vec![2; 32]));
        assert_eq!(claims.fields.parameters["Регион"], "77");
    }

    #[test]
    fn key_of_small_order_and_a_document_of_another_series_are_refused() {
        let result = again(&series(), &issue(None), &order(), None, Some(&[0; 32]), now());
        assert_eq!(result, Err(IssueError::Wrap(WrapError::Key)));
        let other = SeriesSecret::from_bytes(KeySeries::from_u16(0x672B), [3; 32], [2; 32]);
        let other = Signer::new(&other);
        let result = again(&other, &issue(None), &order(), None, Some(&[9; 32]), now());
        assert!(matches!(result, Err(IssueError::Licence(_))), "{result:?}");
    }

    #[test]
    fn prolonged_order_brings_a_later_licence_with_its_end_and_only_once() {
        let old = issue(None);
        assert_eq!(again(&series(), &old, &order(), None, None, now()), Ok(None));
        let longer = OrderCall { period: 60, ..order() };
        let new = again(&series(), &old, &longer, None, None, now()).unwrap().unwrap();
        let claims = read(&new);
        assert_eq!(claims.exp, Some(now().plus_days(60).unix_seconds()));
        assert_eq!((claims.iat, claims.jti.as_str()), (now().unix_seconds() + 1, "a1"));
        assert_eq!(claims.binding, Some(Binding::default()));
        assert_eq!(again(&series(), &new, &longer, None, None, now()), Ok(None));
    }

    #[test]
    fn licence_comes_to_a_cluster_and_back_as_a_later_one_and_otherwise_unchanged() {
        let cluster: ClusterId = "0123456789ABCDEF0123456789ABCDEF".parse().unwrap();
        let old = issue(None);
        let anew = |document: &str, cluster| {
            again(&series(), document, &order(), cluster, None, now()).unwrap()
        };
        let shared = anew(&old, Some(cluster)).unwrap();
        let claims = read(&shared);
        assert_eq!((claims.cluster, claims.iat), (Some(cluster), now().unix_seconds() + 1));
        assert_eq!(anew(&shared, Some(cluster)), None);
        let mut back = read(&anew(&shared, None).unwrap());
        assert_eq!(back.iat, now().unix_seconds() + 2);
        back.iat = now().unix_seconds();
        assert_eq!(back, read(&old));
    }
}
