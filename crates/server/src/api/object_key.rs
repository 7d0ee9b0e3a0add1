//! `POST /client/v1/objectkey`: unwraps the key of a protected object for a session that holds a
//! seat.
//!
//! Who may have a key is the driver's word; the secret of the series never leaves the server. What is
//! asked for is bound to the wrapped key (name, kind, access, digest), so a request that says
//! something else of the object than its vendor did opens nothing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::StatusCode;
use licence_core::datafile::OBJECT_KEY_PURPOSE;
use licence_core::protocol::manager::{ObjectKeyAnswer, ObjectKeyQuery};
use licence_core::seal::KEY_BYTES;

use crate::api::Call;
use crate::api::errors::ApiError;
use crate::driver::ObjectKeyDenial;

/// Most characters of an object's name in a log line.
const NAME_CHARS_SHOWN: usize = 100;

pub(crate) async fn unwrap(
    call: &Call<'_>,
    query: ObjectKeyQuery,
) -> Result<ObjectKeyAnswer, ApiError> {
    let ObjectKeyQuery { connection, session, object } = query;
    let asked = call.app.handle.object_key(&connection, session.as_deref(), object.access).await?;
    let (series, own) = asked.map_err(denied)?;
    let name: String = object.name.chars().take(NAME_CHARS_SHOWN).collect();
    let key = own
        .unwrap(&object.key, OBJECT_KEY_PURPOSE, &object.context(series))
        .ok()
        .filter(|key| key.len() == KEY_BYTES);
    let Some(key) = key else {
        log::debug!("the key of object {name:?} of series {series} does not open");
        return Err(changed());
    };
    log::debug!("gave the key of object {name:?} of series {series}");
    Ok(ObjectKeyAnswer { key: URL_SAFE_NO_PAD.encode(&*key) })
}

/// 400: what was asked for is not what the vendor of this series has wrapped.
fn changed() -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "EObject",
        "The object was protected for another series, or it was changed.",
        "Объект защищён для другой серии или изменён.",
    )
}

fn denied(denial: ObjectKeyDenial) -> ApiError {
    match denial {
        ObjectKeyDenial::NoSeat => ApiError::new(
            StatusCode::FORBIDDEN,
            "ENoSeat",
            "The protected object needs a session that holds a licence.",
            "Для защищённого объекта нужен сеанс, занимающий лицензию.",
        ),
        // Not 503: the server serves, and another one would not know more.
        ObjectKeyDenial::NoObjectKey(series) => ApiError::new(
            StatusCode::CONFLICT,
            "EObjectKey",
            format!(
                "No licence of series {series} on the server has the key of its protected objects: \
                 update the licences."
            ),
            format!(
                "Ни в одной лицензии серии {series} на сервере нет ключа защищённых объектов: \
                 обновите лицензии."
            ),
        ),
    }
}
