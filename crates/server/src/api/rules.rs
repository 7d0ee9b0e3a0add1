//! REST: rules of who gets a seat. Reads and shows; what rules mean is the core's business.

use hyper::StatusCode;
use licence_core::rules::RuleSet;
use serde::Serialize;

use crate::api::errors::ApiError;
use crate::api::params;
use crate::api::routes::Rules;
use crate::api::views::SessionView;
use crate::api::{Answer, Call, json};
use crate::driver::DryRun;

/// What rules would do to the sessions of the moment.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DryRunView {
    /// Sessions of the moment.
    pub sessions: usize,
    /// How many would be refused.
    pub refused_count: usize,
    /// The first 500 of them, in the order in which they opened.
    pub refused: Vec<RefusedView>,
}

/// A session that rules would refuse.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RefusedView {
    /// The session.
    pub session: SessionView,
    /// Name of the rule.
    pub rule: String,
}

impl From<DryRun> for DryRunView {
    fn from(run: DryRun) -> Self {
        let refused = run.refused.into_iter();
        Self {
            sessions: run.sessions,
            refused_count: run.refused_count,
            refused: refused
                .map(|refused| RefusedView {
                    session: (&refused.session).into(),
                    rule: refused.rule,
                })
                .collect(),
        }
    }
}

/// Answers one of these addresses.
pub(crate) async fn answer(call: &Call<'_>, what: Rules, body: &[u8]) -> Result<Answer, ApiError> {
    let handle = &call.app.handle;
    match what {
        Rules::Check => {
            let rules = rules(body)?;
            let _permit = call.app.looks.permit().await?;
            let run = handle.check_rules(rules).await?;
            json(StatusCode::OK, &DryRunView::from(run))
        }
        Rules::List => json(StatusCode::OK, &handle.rules().await?),
        Rules::Put => {
            handle.set_rules(rules(body)?, &call.actor).await?;
            json(StatusCode::ACCEPTED, &handle.rules().await?)
        }
    }
}

fn rules(body: &[u8]) -> Result<RuleSet, ApiError> {
    Ok(RuleSet::from_json(params::text(body)?)?)
}
