//! What several pages share: the choice of a series, the text of an error, roles.

use licence_core::key::KeySeries;
use licence_core::language::Language;

use super::texts::Texts;
use crate::access::Role;
use crate::api::Call;
use crate::api::errors::ApiError;
use crate::api::params::Params;
use crate::cluster::picture::WrittenView;

/// One option of a choice.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Choice {
    pub(super) value: String,
    pub(super) text: String,
    pub(super) is_chosen: bool,
}

/// The series of this server with the names of their products: those that it knows, and those
/// of which only the history tells.
pub(super) async fn known_series(call: &Call<'_>) -> Result<Vec<(KeySeries, String)>, ApiError> {
    let totals = call.app.handle.overview().await?;
    let mut known: Vec<_> =
        totals.into_iter().map(|total| (total.series, total.product_name)).collect();
    // Without its history the server still has its series.
    for series in call.app.history.series().await.unwrap_or_default() {
        if !known.iter().any(|(present, _)| *present == series) {
            known.push((series, String::new()));
        }
    }
    Ok(known)
}

/// Series as options.
pub(super) fn series_choices(
    known: &[(KeySeries, String)],
    chosen: Option<KeySeries>,
) -> Vec<Choice> {
    let choice = |(series, product): &(KeySeries, String)| Choice {
        value: series.to_string(),
        text: format!("{series} {product}").trim_end().to_owned(),
        is_chosen: chosen == Some(*series),
    };
    known.iter().map(choice).collect()
}

/// The roles, as options.
pub(super) fn role_choices(t: Language, chosen: &str) -> Vec<Choice> {
    let choice = |role: Role| Choice {
        value: role.name().to_owned(),
        text: Texts(t).role(&role).to_owned(),
        is_chosen: role.name() == chosen,
    };
    [Role::Reader, Role::Operator, Role::Administrator].into_iter().map(choice).collect()
}

/// The series that a page is asked for; one that is none is as good as none.
pub(super) fn asked_series(params: &Params) -> Result<Option<KeySeries>, ApiError> {
    Ok(params.text("series")?.and_then(|text| text.parse().ok()))
}

/// An error as a person is told it.
pub(super) fn told(t: Language, error: &ApiError) -> String {
    t.pick(&error.russian, &error.english).to_owned()
}

/// Who changed last what the nodes of a cluster share.
pub(super) fn last_change(t: Language, written: WrittenView) -> String {
    let WrittenView { node, user, at } = written;
    let at = Texts(t).moment(&at);
    match (t, user.is_empty()) {
        (Language::Russian, true) => format!("Последнее изменение: {at} UTC, узел {node}."),
        (Language::Russian, false) => {
            format!("Последнее изменение: {at} UTC, узел {node}, {user}.")
        }
        (Language::English, true) => format!("Last change: {at} UTC, node {node}."),
        (Language::English, false) => format!("Last change: {at} UTC, node {node}, {user}."),
    }
}
