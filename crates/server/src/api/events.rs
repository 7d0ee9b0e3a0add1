//! REST: what happened, as a list and as server-sent events.

use crate::api::errors::ApiError;
use crate::api::routes::Events;
use crate::api::{Answer, Call};

/// Answers one of these addresses.
pub(crate) async fn answer(call: &Call<'_>, what: Events, body: &[u8]) -> Result<Answer, ApiError> {
    let _ = (call, what, body);
    Err(ApiError::unfinished())
}
