//! REST: rules of who gets a seat. Reads, shows and hands on; what rules mean is the core's business.
//!
//! At a node of a cluster the rules are those of all nodes: what was changed from others is refused.

use hyper::StatusCode;
use hyper::header::{ETAG, HeaderValue, IF_MATCH};
use licence_core::rules::RuleSet;
use licence_core::seal::sha256;
use serde::Serialize;

use crate::api::cluster::{changed_meanwhile, refuse_broken};
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
        Rules::List => shown(StatusCode::OK, &in_force(call).await?.0),
        Rules::Put => {
            let wanted = rules(body)?;
            let (now, from) = in_force(call).await?;
            if let Some(named) = call.headers.get(IF_MATCH)
                && named != "*"
                && named.to_str().ok() != Some(tag(&now)?.as_str())
            {
                // What would be refused anyway is, whatever it was made from (RFC 9110, section 13.2.1).
                wanted.check()?;
                return Err(changed_meanwhile(StatusCode::PRECONDITION_FAILED));
            }
            set(call, wanted, from).await?;
            shown(StatusCode::ACCEPTED, &in_force(call).await?.0)
        }
    }
}

fn shown(status: StatusCode, rules: &RuleSet) -> Result<Answer, ApiError> {
    let mut answer = json(status, rules)?;
    let tag = HeaderValue::from_str(&tag(rules)?).map_err(|error| ApiError::broken(&error))?;
    answer.headers_mut().insert(ETAG, tag);
    Ok(answer)
}

/// A strong entity tag (RFC 9110) of a set of rules.
fn tag(rules: &RuleSet) -> Result<String, ApiError> {
    Ok(format!("\"{}\"", mark(rules)?))
}

/// A short mark of a set of rules: another set has another one.
pub(crate) fn mark(rules: &RuleSet) -> Result<String, ApiError> {
    let text = serde_json::to_string(rules).map_err(|error| ApiError::broken(&error))?;
    Ok(sha256(text.as_bytes()).iter().take(12).map(|byte| format!("{byte:02x}")).collect())
}

/// The rules in force, and the revision that a change of them is made from; 0 where no etcd has any.
pub(crate) async fn in_force(call: &Call<'_>) -> Result<(RuleSet, i64), ApiError> {
    let shared = call.app.cluster.as_ref().map(|cluster| cluster.sharing().shared().rules);
    let from = shared.as_ref().map_or(0, |latest| latest.revision());
    let counting = shared.as_ref().and_then(|latest| latest.counting());
    match counting {
        Some((value, _)) => Ok((value.rules.set().clone(), from)),
        None => Ok((call.app.handle.rules().await?, from)),
    }
}

/// Puts rules in force that were made from those of this revision: at all nodes of a cluster, or at
/// this server.
pub(crate) async fn set(call: &Call<'_>, rules: RuleSet, from: i64) -> Result<(), ApiError> {
    refuse_broken(call)?;
    match &call.app.cluster {
        Some(cluster) => Ok(cluster.sharing().set_rules(rules, from, &call.actor).await?),
        None => Ok(call.app.handle.set_rules(rules, &call.actor).await?),
    }
}

fn rules(body: &[u8]) -> Result<RuleSet, ApiError> {
    Ok(RuleSet::from_json(params::text(body)?)?)
}
