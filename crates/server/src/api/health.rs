//! How the server is: for supervisors, balancers and people.

use crate::api::errors::ApiError;
use crate::api::routes::Health;
use crate::api::{Answer, Call};

/// Answers one of these addresses.
pub(crate) async fn answer(call: &Call<'_>, what: Health, body: &[u8]) -> Result<Answer, ApiError> {
    let _ = (call, what, body);
    Err(ApiError::unfinished())
}
