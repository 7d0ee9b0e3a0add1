//! Rows of the books, read and written: orders, their parameters, codes and terms.
//!
//! Asks the database nothing; what is done with an order is decided elsewhere.

use std::collections::BTreeMap;

use licence_core::activation::ActivationCode;
use licence_core::binding::Binding;
use licence_core::cluster::ClusterId;
use licence_core::key::{Flags, KeyKind, KeyNo, KeySeries, Term};
use licence_core::time::Utc;
use licencekit::order::{CodeState, CodeView, OrderCall};

use super::sql::{Row, SqlError};

use super::StoreError;

/// The term of a key of this order that was first activated then.
pub(super) const fn term(order: &OrderCall, activated: Utc) -> Term {
    Term {
        activated,
        start: order.start_date,
        period_days: order.period,
        expire: order.expire_date,
    }
}

/// The code that installs a key again, where one was given for it.
pub(super) fn reserve_code(row: &Row) -> Result<Option<ActivationCode>, StoreError> {
    row.get::<Option<String>>("reserve_code")?
        .map(|text| text.parse().map_err(|_| StoreError::Damaged("a reserve code")))
        .transpose()
}

/// A moment of the books, if there is one.
pub(super) fn moment(row: &Row, column: &str) -> Result<Option<Utc>, SqlError> {
    Ok(row.get::<Option<i64>>(column)?.map(Utc::from_unix_millis))
}

/// Parameters as the books keep them; nothing for none.
pub(super) fn parameters_text(
    parameters: &BTreeMap<String, String>,
) -> Result<Option<String>, StoreError> {
    if parameters.is_empty() {
        return Ok(None);
    }
    let text = serde_json::to_string(parameters);
    text.map(Some).map_err(|_| StoreError::Damaged("parameters that cannot be written as JSON"))
}

fn parameters_of(row: &Row) -> Result<BTreeMap<String, String>, StoreError> {
    let text: Option<String> = row.get("parameters")?;
    text.map_or_else(|| Ok(BTreeMap::new()), |text| serde_json::from_str(&text))
        .map_err(|_| StoreError::Damaged("the parameters of an order"))
}

/// A binding as the books keep it.
pub(super) fn binding_text(binding: Option<Binding>) -> Result<Option<String>, StoreError> {
    binding
        .map(|binding| serde_json::to_string(&binding))
        .transpose()
        .map_err(|_| StoreError::Damaged("a binding that cannot be written as JSON"))
}

/// A binding of the books.
pub(super) fn binding_of(row: &Row) -> Result<Option<Binding>, StoreError> {
    row.get::<Option<String>>("binding")?
        .map(|text| serde_json::from_str(&text).map_err(|_| StoreError::Damaged("a binding")))
        .transpose()
}

/// An order of the books.
pub(super) fn order_of(row: &Row) -> Result<OrderCall, StoreError> {
    let series: KeySeries = row
        .get::<String>("series")?
        .parse()
        .map_err(|_| StoreError::Damaged("the series of an order"))?;
    let kind =
        KeyKind::from_code(row.get("kind")?).ok_or(StoreError::Damaged("the kind of an order"))?;
    Ok(OrderCall {
        series,
        kind: kind.into(),
        seats: row.get("seats")?,
        count: row.get("count")?,
        period: row.get("period")?,
        start_date: moment(row, "start_date")?,
        expire_date: moment(row, "expire_date")?,
        flags: Flags(row.get("flags")?),
        product_version: row.get("product_version")?,
        service_type: row.get("service_type")?,
        reg_no: row.get("reg_no")?,
        article: row.get("article")?,
        article_name: row.get("article_name")?,
        itn: row.get("itn")?,
        iec: row.get("iec")?,
        note: row.get("note")?,
        product_version_name: row.get("product_version_name")?,
        support_date: moment(row, "support_date")?,
        support_period: row.get("support_period")?,
        industry_support_date: moment(row, "industry_support_date")?,
        industry_support_period: row.get("industry_support_period")?,
        parameters: parameters_of(row)?,
        customer_id: row.get("customer_id")?,
        binding: binding_of(row)?,
        cluster_nodes: row.get("cluster_nodes")?,
    })
}

/// The cluster of an activation.
pub(super) fn cluster_of(row: &Row) -> Result<Option<ClusterId>, StoreError> {
    row.get::<Option<String>>("cluster")?
        .map(|text| text.parse().map_err(|_| StoreError::Damaged("a cluster")))
        .transpose()
}

/// A code of an order, with what has come of it.
pub(super) fn code_of(row: &Row) -> Result<CodeView, StoreError> {
    let code = row.get::<String>("code")?.parse().map_err(|_| StoreError::Damaged("a code"))?;
    let activated = moment(row, "activated")?;
    let reserve_code = reserve_code(row)?;
    let state = match (activated, moment(row, "returned")?) {
        (_, Some(_)) => CodeState::Returned,
        (Some(_), None) => CodeState::Activated,
        (None, None) => CodeState::Free,
    };
    Ok(CodeView {
        code,
        key_no: KeyNo(row.get("key_no")?),
        state,
        activated,
        computer_id: row.get("computer_id")?,
        reserve_code,
    })
}
