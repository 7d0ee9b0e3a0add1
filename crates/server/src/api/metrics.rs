//! `/metrics` in the text format of Prometheus.

use crate::api::errors::ApiError;
use crate::api::{Answer, Call};

/// `GET /metrics`.
pub(crate) async fn answer(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let _ = (call, body);
    Err(ApiError::unfinished())
}
