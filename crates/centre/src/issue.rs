//! The licence that an activation yields: claims from the order and the request.
//!
//! Pure: the moment and the id are arguments. Whether a licence may be issued at all is decided
//! in `decide`.

use licence_core::activation::ActivationCode;
use licence_core::key::{KeyKind, KeyNo};
use licence_core::licence_file::{LICENCE_FORMAT, LicenceClaims, LicenceError, LicenceFields};
use licence_core::time::Utc;
use licencekit::order::OrderCall;

use crate::decide::Asked;
use crate::series::Series;

/// Makes and signs the licence for one code.
///
/// # Errors
///
/// [`LicenceError`] when the claims would contradict themselves; orders within their limits
/// cannot bring that about.
pub fn licence(
    series: &Series,
    order: &OrderCall,
    key_no: KeyNo,
    code: ActivationCode,
    asked: &Asked,
    activation_id: &str,
    now: Utc,
) -> Result<String, LicenceError> {
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
        activation_date: now,
        start_date: order.start_date,
        period: order.period,
        expire_date: order.expire_date,
        flags: order.flags,
        // The order's spelling wins: it has the leading zeros that a JSON number loses.
        itn: order.itn.clone().or_else(|| asked.itn.clone()),
        iec: order.iec.clone().or_else(|| asked.iec.clone()),
        product_name: series.descriptor.product_name.clone(),
        article: order.article.clone(),
        article_name: order.article_name.clone(),
    };
    LicenceClaims::new(activation_id.to_owned(), now, asked.holder, fields)
        .sign(&series.signing_key)
}
