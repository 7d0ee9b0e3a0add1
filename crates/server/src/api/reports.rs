//! REST: reports of use, as JSON and CSV.

use crate::api::errors::ApiError;
use crate::api::{Answer, Call};

/// `GET /api/reports/{Kind}`.
pub(crate) async fn answer(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let _ = (call, body);
    Err(ApiError::unfinished())
}
