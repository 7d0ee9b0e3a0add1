//! REST: users, tokens, passwords.

use crate::api::errors::ApiError;
use crate::api::routes::Accounts;
use crate::api::{Answer, Call};

/// Answers one of these addresses.
pub(crate) async fn answer(
    call: &Call<'_>,
    what: Accounts,
    body: &[u8],
) -> Result<Answer, ApiError> {
    let _ = (call, what, body);
    Err(ApiError::unfinished())
}
