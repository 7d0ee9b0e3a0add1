//! The licence that an activation yields: claims from the order and the request.
//!
//! Pure: the moment and the id are arguments. Whether a licence may be issued at all is decided
//! in `decide`.

use licence_core::activation::ActivationCode;
use licence_core::key::{KeyKind, KeyNo};
use licence_core::licence_file::{
    LICENCE_FORMAT, LicenceClaims, LicenceError, LicenceFields, SupportFields,
};
use licence_core::time::Utc;
use licencekit::order::OrderCall;

use crate::decide::Asked;
use crate::series::Series;

/// What the books grant.
#[derive(Clone, Copy, Debug)]
pub struct Granted<'a> {
    /// The order.
    pub order: &'a OrderCall,
    /// Serial number of the key.
    pub key_no: KeyNo,
    /// Id of the activation.
    pub activation_id: &'a str,
    /// The first activation of a key that is installed again.
    pub before: Option<&'a Before>,
}

/// The first activation of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Before {
    /// When it was. The term counts from here, so that a move does not prolong it.
    pub activated: Utc,
    /// Owner's ИНН as the buyer gave it then.
    pub itn: Option<String>,
    /// Owner's КПП as the buyer gave it then.
    pub iec: Option<String>,
}

/// Makes and signs the licence for one code.
///
/// # Errors
///
/// [`LicenceError`] when the claims would contradict themselves; orders within their limits
/// cannot bring that about.
pub fn licence(
    series: &Series,
    granted: Granted<'_>,
    code: ActivationCode,
    asked: &Asked,
    now: Utc,
) -> Result<String, LicenceError> {
    let Granted { order, key_no, activation_id, before } = granted;
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
        blank_key_no: None,
        activation_code: code,
        activation_date: before.map_or(now, |before| before.activated),
        start_date: order.start_date,
        period: order.period,
        expire_date: order.expire_date,
        flags: order.flags,
        itn: owner(&order.itn, before.and_then(|before| before.itn.as_ref()), &asked.itn),
        iec: owner(&order.iec, before.and_then(|before| before.iec.as_ref()), &asked.iec),
        product_name: series.descriptor.product_name.clone(),
        article: order.article.clone(),
        article_name: order.article_name.clone(),
        support: SupportFields {
            product_version_name: order.product_version_name.clone(),
            recovered: before.is_some(),
            support_date: order.support_date,
            support_period: order.support_period,
            industry_support_date: order.industry_support_date,
            industry_support_period: order.industry_support_period,
        },
    };
    LicenceClaims::new(activation_id.to_owned(), now, asked.holder, fields)
        .sign(&series.signing_key)
}
