//! REST: the server as a whole: backup, restore, restart, log.

use crate::api::errors::ApiError;
use crate::api::routes::Service;
use crate::api::{Answer, Call};

/// Answers one of these addresses.
pub(crate) async fn answer(
    call: &Call<'_>,
    what: Service,
    body: &[u8],
) -> Result<Answer, ApiError> {
    let _ = (call, what, body);
    Err(ApiError::unfinished())
}
