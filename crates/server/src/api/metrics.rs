//! `/metrics` in the text format of Prometheus.
//!
//! Asks the driver once, for totals and keys; what the metrics are called is
//! [`crate::metrics`]'s business.

use hyper::Response;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};

use crate::api::errors::ApiError;
use crate::api::{Answer, Call};
use crate::clock;
use crate::cluster::Cluster;
use crate::metrics::{Bound, IsmpFacts};

/// For scrapers that ask for it: the format that is written.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// For everybody else, who reads the same lines.
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`.
pub(crate) async fn answer(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let _a_scrape_takes_no_parameters = body;
    let app = call.app;
    let series = app.handle.overview().await?;
    let keys = app.handle.licences(None, false).await?;
    let judged = app.handle.standings().await?;
    let (_, doubt) = app.handle.believed_time().await?;
    let state = app.binding.state();
    app.metrics.note_tokens(&app.handle.tokens().await?, app.tokens.troubles().len());
    // Session keys that cannot be looked at hide nothing else.
    let look = app.ismp.look().await.ok();
    let ismp = look.as_ref().map(|look| IsmpFacts {
        look,
        counts: app.ismp.counts(),
        replica_age_secs: app.ismp_replica.age_secs(&app.settings.get()),
        utc: clock::utc(),
    });
    let cluster = app.cluster.as_ref().map(Cluster::state);
    let bound = Bound { state: &state, judged: &judged, doubt };
    let text = app
        .metrics
        .scrape(&series, &keys, &bound, ismp.as_ref(), cluster.as_deref())
        .map_err(|error| ApiError::broken(&error))?;
    let asked = call.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let shown = if asked.contains("application/openmetrics-text") { OPEN_METRICS } else { PLAIN };
    let mut answer = Response::new(text.into());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(shown));
    Ok(answer)
}
