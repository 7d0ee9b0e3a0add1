//! REST: keys are requested, installed, changed, removed.

use crate::api::errors::ApiError;
use crate::api::routes::Keys;
use crate::api::{Answer, Call};

/// Answers one of these addresses.
pub(crate) async fn answer(call: &Call<'_>, what: Keys, body: &[u8]) -> Result<Answer, ApiError> {
    let _ = (call, what, body);
    Err(ApiError::unfinished())
}
