//! `POST /client/v1/objectkey`: unwraps the key of a protected object for a session that holds a
//! seat.
//!
//! Who may have a key is decided here; the secret of the series never leaves the server.

use licence_core::protocol::manager::{ObjectKeyAnswer, ObjectKeyQuery};

use crate::api::Call;
use crate::api::errors::ApiError;

pub(crate) async fn unwrap(
    _call: &Call<'_>,
    _query: ObjectKeyQuery,
) -> Result<ObjectKeyAnswer, ApiError> {
    Err(ApiError::not_implemented(
        "This message is not answered yet.",
        "На это сообщение ответа ещё нет.",
    ))
}
