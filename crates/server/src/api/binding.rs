//! `GET /api/binding`: how the computer compares to the one that the licences are bound to, and where
//! each key stands with it; the console shows the same.
//!
//! Shows and changes nothing. Kinds of parts are named, never their values.

use hyper::StatusCode;
use licence_core::binding::{BindingLevel, Match, PartKind, Standing};
use licence_core::identity_seal::Protection;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::language::Language;
use licence_core::time::Utc;
use serde::Serialize;

use crate::api::errors::ApiError;
use crate::api::{Answer, Call, json};
use crate::binding::{Judged, KeyStanding, words};
use crate::identity::SealState;

/// `GET /api/binding`.
pub(crate) async fn answer(call: &Call<'_>) -> Result<Answer, ApiError> {
    let judged = call.app.handle.standings().await?;
    let state = call.app.binding.state();
    json(StatusCode::OK, &BindingView::new(&state, &judged, call.language))
}

/// The binding as a whole.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct BindingView {
    protection: Protection,
    sealed_at: Utc,
    pub(crate) parts: Vec<PartView>,
    parts_total: usize,
    parts_matching: usize,
    pub(crate) parts_changed: usize,
    parts_allowed: Option<usize>,
    changed_at: Option<Utc>,
    pub(crate) text: String,
    pub(crate) keys: Vec<KeyView>,
}

/// One part of the computer.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PartView {
    kind: PartKind,
    pub(crate) name: &'static str,
    pub(crate) matches: bool,
    pub(crate) is_readable: bool,
}

/// One key.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct KeyView {
    pub(crate) key_no: KeyNo,
    #[serde(rename = "KeyID")]
    key_id: KeySeries,
    level: BindingLevel,
    grace_days: u16,
    /// `fits`, `grace`, `over` or `needstpm`.
    pub(crate) state: &'static str,
    parts_allowed: Option<usize>,
    changed_at: Option<Utc>,
    grace_until: Option<Utc>,
    grace_days_left: Option<u64>,
    pub(crate) text: String,
    #[serde(skip)]
    pub(crate) level_name: &'static str,
}

impl BindingView {
    pub(crate) fn new(state: &SealState, judged: &Judged, language: Language) -> Self {
        let (parts_matching, parts_total) = match state.found {
            Match::Parts { matching, total } => (matching, total),
            Match::Secret | Match::Tpm => (0, 0),
        };
        let part = |part: &licence_core::binding::PartState| PartView {
            kind: part.kind,
            name: words::part(part.kind, language),
            matches: part.matches,
            is_readable: part.matches || !state.unreadable.contains(&part.kind),
        };
        Self {
            protection: state.protection,
            sealed_at: state.sealed_at,
            parts: state.parts.iter().map(part).collect(),
            parts_total,
            parts_matching,
            parts_changed: parts_total.saturating_sub(parts_matching),
            parts_allowed: judged.more(),
            changed_at: judged.changes.first(),
            text: words::computer(state, judged.more(), language),
            keys: judged.keys.iter().map(|key| KeyView::new(key, judged.utc, language)).collect(),
        }
    }

    /// Whether there is something to look at.
    pub(crate) fn is_noteworthy(&self) -> bool {
        self.parts_changed > 0 || self.keys.iter().any(|key| key.state != "fits")
    }
}

impl KeyView {
    fn new(key: &KeyStanding, utc: Utc, language: Language) -> Self {
        let (state, parts_allowed, grace_until) = match key.standing {
            Standing::Fits { more } => ("fits", more, None),
            Standing::Grace { until } => ("grace", Some(0), Some(until)),
            Standing::Over { since } => ("over", Some(0), Some(since)),
            Standing::NeedsTpm => ("needstpm", None, None),
        };
        Self {
            key_no: key.key_no,
            key_id: key.series,
            level: key.binding.level,
            grace_days: key.binding.grace_days,
            state,
            parts_allowed,
            changed_at: key.changed_at,
            grace_until,
            grace_days_left: grace_until.map(|until| words::days_left(until, utc)),
            text: words::key(key.standing, utc, language),
            level_name: words::level(key.binding.level, language),
        }
    }
}
