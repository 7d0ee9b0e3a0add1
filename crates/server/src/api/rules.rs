//! REST: rules of who gets a seat.

use crate::api::errors::ApiError;
use crate::api::routes::Rules;
use crate::api::{Answer, Call};

/// Answers one of these addresses.
pub(crate) async fn answer(call: &Call<'_>, what: Rules, body: &[u8]) -> Result<Answer, ApiError> {
    let _ = (call, what, body);
    Err(ApiError::unfinished())
}
