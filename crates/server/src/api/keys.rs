//! REST: keys are requested, installed, given back, reserved by an access code, removed.
//!
//! Reads parameters and shows what came of it. What happens to a key is the activator's and the
//! driver's work.

use hyper::StatusCode;
use licence_core::key::KeyNo;
use licence_core::protocol::CODE_BYTES_MAX;
use serde::Serialize;
use serde_json::Value;

use crate::activate::{Activator, Demo, Installed, Updated, Why, key_not_found};
use crate::api::cluster::refuse_broken;
use crate::api::errors::ApiError;
use crate::api::params::Params;
use crate::api::rest::{IEC_DIGITS_MAX, ITN_DIGITS_MAX, KEY_NO_DIGITS_MAX, order, series};
use crate::api::routes::Keys;
use crate::api::{Answer, App, Call, json};
use crate::settings::Edit;

/// A request file.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RequestView {
    request: String,
    file_name: String,
}

/// What an answer file brought.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct InstalledView {
    licences: Vec<licence_core::protocol::LicenceView>,
    reserve_code: Option<String>,
    removed: Option<KeyNo>,
    spare_code: Option<String>,
    ended: Vec<KeyNo>,
}

/// What the centres had.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct UpdatedView {
    licences: Vec<licence_core::protocol::LicenceView>,
    ended: Vec<KeyNo>,
}

/// A spare code.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SpareView {
    key_no: KeyNo,
    spare_code: String,
}

/// A reserve code.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ReserveView {
    reserve_code: String,
    key_no: KeyNo,
}

/// Answers one of these addresses.
pub(crate) async fn answer(call: &Call<'_>, what: Keys, body: &[u8]) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, body)?;
    match what {
        Keys::Answer => take_answer(call, body).await,
        Keys::Change => change(call, body).await,
        Keys::Demo => demo_key(call, &params).await,
        Keys::Remove => remove(call, &params).await,
        Keys::Request => request(call, &params).await,
        Keys::ReserveCode => reserve_code(call, &params).await,
        Keys::Spare => spare_code(call).await,
        Keys::Update => update(call).await,
    }
}

/// `POST /api/licences/request`: a request for a person to carry to the centre.
async fn request(call: &Call<'_>, params: &Params) -> Result<Answer, ApiError> {
    let activator = &call.app.activator;
    let (request, series) = match params.text("Kind")? {
        Some("activation") => {
            let order = order(params)?;
            let series = order.code.series();
            (activator.file_request(&call.app.handle, order).await?, Some(series))
        }
        Some("demo") => {
            let demo = demo(params)?;
            let series = demo.series;
            (activator.demo_request(&call.app.handle, demo).await?, Some(series))
        }
        Some("phone") => {
            let order = order(params)?;
            let series = order.code.series();
            (activator.short_request(&call.app.handle, order).await?, Some(series))
        }
        Some("update") => (activator.update_request(&call.app.handle).await?, None),
        Some("return") => {
            let digits = params.digits("KeyNo", KEY_NO_DIGITS_MAX)?;
            let key_no = digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| {
                ApiError::bad_request(
                    "KeyNo is required: the number of the key to give back.",
                    "Не указан номер возвращаемого ключа (KeyNo).",
                )
            })?;
            let (request, series) = activator
                .return_request(&call.app.handle, key_no, why(params)?, &call.actor)
                .await?;
            (request, Some(series))
        }
        _ => {
            return Err(ApiError::bad_request(
                "Kind must be activation, demo, phone, update or return.",
                "Параметр Kind должен быть activation, demo, phone, update или return.",
            ));
        }
    };
    let file_name = Activator::file_name(series);
    json(StatusCode::CREATED, &RequestView { request, file_name })
}

/// `POST /api/licences/answer`: the centre's answer to a request file. Either the text of the
/// file in `Answer`, or the file itself as the body.
async fn take_answer(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let text = match member(body, "Answer")? {
        Some(Value::String(text)) => text,
        Some(answer @ Value::Object(_)) => serde_json::json!({ "Answer": answer }).to_string(),
        _ => {
            return Err(ApiError::bad_request(
                "Answer is required: the text of the answer file.",
                "Не указан текст файла ответа (Answer).",
            ));
        }
    };
    let app = call.app;
    let Installed { mut licences, reserve_code, removed, spare_code, ended } =
        app.activator.file_answer(&app.handle, &text, &call.actor).await?;
    licences.iter_mut().for_each(|licence| licence.tell(call.language));
    let text =
        |code: Option<licence_core::activation::ActivationCode>| code.map(|code| code.to_string());
    let (reserve_code, spare_code) = (text(reserve_code), text(spare_code));
    let view = InstalledView { licences, reserve_code, removed, spare_code, ended };
    json(StatusCode::CREATED, &view)
}

/// `POST /api/licences/update`: what the centres have that is newer or missing here.
async fn update(call: &Call<'_>) -> Result<Answer, ApiError> {
    let app = call.app;
    let Updated { mut licences, ended } =
        app.activator.update(&app.handle, &call.actor, call.language).await?;
    licences.iter_mut().for_each(|licence| licence.tell(call.language));
    json(StatusCode::ACCEPTED, &UpdatedView { licences, ended })
}

/// `POST /api/licences/demo`: a demonstration key without a code.
async fn demo_key(call: &Call<'_>, params: &Params) -> Result<Answer, ApiError> {
    let (app, demo) = (call.app, demo(params)?);
    let installed = app.activator.demo(&app.handle, demo, &call.actor, call.language).await?;
    json(StatusCode::CREATED, &installed.told(call.language))
}

/// Series and owner of a demonstration key.
pub(crate) fn demo(params: &Params) -> Result<Demo, ApiError> {
    let series = series(params)?.ok_or_else(|| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "EParams",
            "KeyID is required: the series of the demonstration key.",
            "Не указана серия демонстрационного ключа (KeyID).",
        )
    })?;
    let itn = params.digits("ITN", ITN_DIGITS_MAX)?;
    let iec = params.digits("IEC", IEC_DIGITS_MAX)?;
    Ok(Demo { series, itn, iec })
}

/// `POST /api/licences/{KeyNo}/spare`: a code to be kept for the day when this server is no more.
async fn spare_code(call: &Call<'_>) -> Result<Answer, ApiError> {
    let (app, key_no) = (call.app, key_no(call)?);
    let code = app.activator.spare_code(&app.handle, key_no, &call.actor, call.language).await?;
    json(StatusCode::CREATED, &SpareView { key_no, spare_code: code.to_string() })
}

/// `POST /api/licences/{KeyNo}/reservecode`: gives the key back to its centre.
async fn reserve_code(call: &Call<'_>, params: &Params) -> Result<Answer, ApiError> {
    let key_no = key_no(call)?;
    let (app, why) = (call.app, why(params)?);
    let code =
        app.activator.reserve_code(&app.handle, key_no, why, &call.actor, call.language).await?;
    json(StatusCode::CREATED, &ReserveView { reserve_code: code.to_string(), key_no })
}

/// `DELETE /api/licences/{KeyNo}`: the key is no longer counted; its file is put aside.
async fn remove(call: &Call<'_>, params: &Params) -> Result<Answer, ApiError> {
    let key_no = key_no(call)?;
    let reason = why(params)?.audited();
    let removed = call.app.handle.remove_key(key_no, reason, &call.actor).await?;
    let removed = removed.ok_or_else(|| key_not_found(key_no))?;
    json(StatusCode::ACCEPTED, &removed.told(call.language))
}

/// `PUT /api/licences/{KeyNo}`: sets the access code of a key, or takes it away with `null`.
async fn change(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let key_no = key_no(call)?;
    let code = match member(body, "AccessCode")? {
        Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        _ => {
            return Err(ApiError::bad_request(
                "AccessCode is required: a string, or null to take the code away.",
                "Не указан код доступа (AccessCode): строка или null, чтобы убрать код.",
            ));
        }
    };
    let changed = set_access_code(call, key_no, code.as_deref()).await?;
    json(StatusCode::ACCEPTED, &changed.told(call.language))
}

/// Sets the access code of a key, in the settings or for all nodes of the cluster, and puts it in
/// force; without one, or with an empty one, takes the code away.
///
/// # Errors
///
/// `EAccessCodesDisabled` when codes are switched off; 400 for a code that cannot be one; 404 for a
/// key that is not here; those of the settings or of the cluster.
pub(crate) async fn set_access_code(
    call: &Call<'_>,
    key_no: KeyNo,
    code: Option<&str>,
) -> Result<licence_core::protocol::LicenceView, ApiError> {
    let app = call.app;
    if !app.settings.get().console.enable_access_codes {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "EAccessCodesDisabled",
            "Access codes are switched off in the settings ([Console] EnableAccessCodes).",
            "Коды доступа отключены в настройках ([Console] EnableAccessCodes).",
        ));
    }
    let code = code.map(access_code).transpose()?.filter(|code| !code.is_empty());
    if app.handle.held(key_no).await?.is_none() {
        return Err(key_not_found(key_no));
    }
    refuse_broken(call)?;
    if let Some(cluster) = &app.cluster {
        let (config, sharing) = (app.settings.get(), cluster.sharing());
        let (own, code) = (&config.access_codes, code.as_deref());
        sharing.set_access_code(key_no, code, own, &call.actor).await?;
        return app.handle.licence(key_no).await?.ok_or_else(|| key_not_found(key_no));
    }
    let name = key_no.to_string();
    let edit = match &code {
        Some(code) => Edit::set("AccessCodes", &name, code.as_str()),
        None => Edit::remove("AccessCodes", &name),
    };
    // On disk before it is in force: a code that a restart forgets would open the key to all.
    app.settings.change_off_thread(vec![edit], &call.actor).await?;
    let changed = app.handle.set_access_code(key_no, code, &call.actor).await?;
    changed.ok_or_else(|| key_not_found(key_no))
}

/// Whether a key has an access code, whether or not codes count.
pub(crate) fn has_access_code(app: &App, key_no: KeyNo) -> bool {
    let shared = app.cluster.as_ref().map(|cluster| cluster.sharing().shared().codes);
    match shared.as_ref().and_then(|latest| latest.counting()) {
        Some((value, _)) => value.codes.contains_key(&key_no),
        None => app.settings.get().access_codes.contains_key(&key_no),
    }
}

/// The key of the address. What is not a number is no key's number: not found, like any other
/// unknown key.
fn key_no(call: &Call<'_>) -> Result<KeyNo, ApiError> {
    call.argument.parse().map_err(|_| ApiError::not_found(call.path))
}

/// One member of a body that is a JSON object or nothing at all.
fn member(body: &[u8], name: &str) -> Result<Option<Value>, ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let mut members: serde_json::Map<String, Value> = crate::api::params::message(body)?;
    Ok(members.remove(name))
}

/// An access code as the conf file can hold it and a component can send it.
fn access_code(text: &str) -> Result<String, ApiError> {
    let text = text.trim();
    if text.len() > CODE_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(ApiError::bad_request(
            format!(
                "AccessCode must be at most {CODE_BYTES_MAX} bytes without control characters."
            ),
            format!(
                "Параметр AccessCode должен содержать не более {CODE_BYTES_MAX} байт без \
                 управляющих символов."
            ),
        ));
    }
    Ok(text.to_owned())
}

/// `Reason` and `Comment`.
fn why(params: &Params) -> Result<Why, ApiError> {
    let text = |name| Ok::<_, ApiError>(params.text(name)?.unwrap_or_default());
    Ok(Why::of(text("Reason")?, text("Comment")?))
}
