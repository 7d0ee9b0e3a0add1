//! Licences as they are shown: the installed ones, blanks, and the files that cannot be used.
//!
//! Words and fields only; what counts is decided in the core.

use licence_core::key::Flags;
use licence_core::pool::KeyStatus;
use licence_core::protocol::LicenceView;
use licence_core::time::Utc;

use super::{Installed, Plugged, Unusable};

/// A text in both languages.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) russian: String,
    pub(super) english: String,
}

impl Said {
    pub(super) fn new(russian: impl Into<String>, english: impl Into<String>) -> Self {
        Self { russian: russian.into(), english: english.into() }
    }
}

/// As the members of a view are: English, then Russian.
fn both(said: Option<Said>) -> (Option<String>, Option<String>) {
    said.map_or((None, None), |said| (Some(said.english), Some(said.russian)))
}

pub(super) fn licence_view(
    installed: &Installed,
    status: Option<KeyStatus>,
    utc: Utc,
) -> LicenceView {
    let fields = installed.licence.fields();
    let (term, support) = (fields.term(), &fields.support);
    let number = |digits: &Option<String>| digits.as_deref().and_then(|text| text.parse().ok());
    let said = match status {
        Some(KeyStatus::Enabled | KeyStatus::Expired | KeyStatus::NotStarted) => None,
        Some(status) => Some(Said::new(status.russian(), status.english())),
        None => Some(Said::new("Не учитывается", "not counted")),
    };
    let (open_error, open_error_russian) = both(said);
    LicenceView {
        medium: medium(installed.licence.holder.token().is_some()),
        file_name: installed.file.display().to_string(),
        enabled: status == Some(KeyStatus::Enabled),
        is_blank: false,
        // A key that something keeps from working is not workable, whatever its term.
        workable: installed.is_workable && !matches!(status, Some(KeyStatus::Kept(_))),
        open_error,
        open_error_russian,
        version: fields.version.clone(),
        key_no: Some(fields.key_no),
        key_id: Some(fields.key_id),
        reg_no: fields.reg_no,
        key_type: Some(fields.key_type),
        service_type: fields.service_type,
        licence_count: fields.licence_count,
        product_version: fields.product_version,
        blank_key_no: fields.blank_key_no,
        activation_code: Some(fields.activation_code.to_string()),
        activation_date: Some(fields.activation_date),
        start_date: fields.start_date,
        period: fields.period,
        expire_date: term.end(),
        days_left: term.days_left(utc),
        expired: term.is_expired(utc),
        flags: fields.flags,
        itn: number(&fields.itn),
        iec: number(&fields.iec),
        product_name: Some(fields.product_name.clone()),
        article: fields.article.clone(),
        article_name: fields.article_name.clone(),
        product_version_name: support.product_version_name.clone(),
        recovered: support.recovered,
        support_date: support.support_date,
        support_period: support.support_period.unwrap_or(0),
        industry_support_date: support.industry_support_date,
        industry_support_period: support.industry_support_period.unwrap_or(0),
        update_date: installed.licence.updated(),
        cluster: installed.licence.claims.cluster,
    }
}

fn medium(is_on_token: bool) -> String {
    if is_on_token { "USB" } else { "Virtual" }.to_owned()
}

/// A token without a licence.
pub(super) fn blank_view(token: &Plugged) -> LicenceView {
    LicenceView {
        medium: medium(true),
        is_blank: true,
        workable: true,
        blank_key_no: Some(token.key.blank_no()),
        ..empty_view(token.name.clone(), None)
    }
}

pub(super) fn unusable_view(unusable: &Unusable) -> LicenceView {
    empty_view(unusable.file.display().to_string(), Some(unusable.reason.clone()))
}

fn empty_view(file_name: String, said: Option<Said>) -> LicenceView {
    let (open_error, open_error_russian) = both(said);
    LicenceView {
        medium: medium(false),
        file_name,
        enabled: false,
        is_blank: false,
        workable: false,
        open_error,
        open_error_russian,
        version: String::new(),
        key_no: None,
        key_id: None,
        reg_no: None,
        key_type: None,
        service_type: 0,
        licence_count: 0,
        product_version: 0,
        blank_key_no: None,
        activation_code: None,
        activation_date: None,
        start_date: None,
        period: 0,
        expire_date: None,
        days_left: None,
        expired: false,
        flags: Flags::default(),
        itn: None,
        iec: None,
        product_name: None,
        article: None,
        article_name: None,
        product_version_name: None,
        recovered: false,
        support_date: None,
        support_period: 0,
        industry_support_date: None,
        industry_support_period: 0,
        update_date: None,
        cluster: None,
    }
}
