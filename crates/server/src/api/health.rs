//! How the server is: for supervisors, balancers and people.
//!
//! `/health/live` and `/health/ready` ask for no password and tell nothing that a port scan would
//! not; the report names settings and files and is for those who may read them.

use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};
use serde::Serialize;

use crate::api::errors::ApiError;
use crate::api::routes::Health;
use crate::api::{Answer, Call, json};
use crate::health::view::ReportView;
use crate::health::{self, State};

/// When whoever got 503 may ask again, in seconds.
const RETRY_SECS: &str = "5";

/// Answers one of these addresses.
pub(crate) async fn answer(
    call: &Call<'_>,
    what: Health,
    _body: &[u8],
) -> Result<Answer, ApiError> {
    match what {
        Health::Live => json(StatusCode::OK, &StateView { status: State::Ok.name(), reason: None }),
        Health::Ready => ready(call).await,
        Health::Report => {
            let report = health::report(call.app).await;
            json(StatusCode::OK, &ReportView::new(&report, call.language))
        }
    }
}

async fn ready(call: &Call<'_>) -> Result<Answer, ApiError> {
    let Err(error) = health::alive(&call.app.handle).await else {
        return json(StatusCode::OK, &StateView { status: State::Ok.name(), reason: None });
    };
    let reason = Some(licence_core::causes::with_causes(&error));
    let view = StateView { status: State::Failed.name(), reason };
    let mut answer = json(StatusCode::SERVICE_UNAVAILABLE, &view)?;
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECS));
    Ok(answer)
}

/// `{"Status":"ok"}`, with a reason when it is not.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct StateView {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}
