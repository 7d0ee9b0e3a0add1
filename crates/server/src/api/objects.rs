//! `POST /client/v1/datafile` and `/datapart`: what lies in the data files of the server, as it
//! lies there. Ciphertexts are no secret; their keys are given out elsewhere.

use licence_core::protocol::manager::{DatafileAnswer, DatafileQuery, Datapart, DatapartQuery};

use crate::api::Call;
use crate::api::errors::ApiError;

pub(crate) async fn datafile(
    _call: &Call<'_>,
    _query: DatafileQuery,
) -> Result<DatafileAnswer, ApiError> {
    Err(ApiError::not_implemented(
        "This message is not answered yet.",
        "На это сообщение ответа ещё нет.",
    ))
}

pub(crate) async fn datapart(
    _call: &Call<'_>,
    _query: DatapartQuery,
) -> Result<Datapart, ApiError> {
    Err(ApiError::not_implemented(
        "This message is not answered yet.",
        "На это сообщение ответа ещё нет.",
    ))
}
