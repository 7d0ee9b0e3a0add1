//! `POST /client/v1/operation`: licence service, parameters and key memory for 1C's object manager.
//!
//! Reads what is asked and who may ask it; what is done is decided by the activator, the keyring
//! and the driver.

use licence_core::protocol::manager::{OperationAnswer, OperationQuery};

use crate::api::Call;
use crate::api::errors::ApiError;

pub(crate) async fn answer(
    _call: &Call<'_>,
    _query: OperationQuery,
) -> Result<OperationAnswer, ApiError> {
    Err(ApiError::not_implemented(
        "This message is not answered yet.",
        "На это сообщение ответа ещё нет.",
    ))
}
