//! REST: settings of `licenceserver.conf`.

use crate::api::errors::ApiError;
use crate::api::routes::Settings;
use crate::api::{Answer, Call};

/// Answers one of these addresses.
pub(crate) async fn answer(
    call: &Call<'_>,
    what: Settings,
    body: &[u8],
) -> Result<Answer, ApiError> {
    let _ = (call, what, body);
    Err(ApiError::unfinished())
}
