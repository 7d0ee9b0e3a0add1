//! The REST API of the manual, address by address.
//!
//! Each handler asks the driver and shows the answer; nothing is counted or cached here.

use hyper::StatusCode;
use licence_core::activation::ActivationCode;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::protocol::LicenceView;

use crate::access::Role;
use crate::activate::Order;
use crate::api::errors::ApiError;
use crate::api::params::Params;
use crate::api::routes::URNS;
use crate::api::views::{
    ApiView, ConnectionView, ConnectionsView, LicencesView, SeriesListView, SeriesView,
    ServerInfoView, SessionView, SessionsView,
};
use crate::api::{Answer, Call, VERSION, json, spans};
use crate::clock;
use crate::host::{self, HostFacts};

/// Digits of an ИНН: 12 of a person, 10 of a company.
pub(crate) const ITN_DIGITS_MAX: usize = 12;
/// Digits of a КПП.
pub(crate) const IEC_DIGITS_MAX: usize = 9;
/// Digits of a serial number: those of the largest 32-bit number.
pub(crate) const KEY_NO_DIGITS_MAX: usize = 10;

/// `GET /api`.
pub(crate) fn api() -> Result<Answer, ApiError> {
    json(StatusCode::OK, &ApiView { version: VERSION, urns: URNS })
}

/// `GET /api/serverinfo`.
pub(crate) fn server_info(call: &Call<'_>) -> Result<Answer, ApiError> {
    json(StatusCode::OK, &server_view(&call.app.host, host::local_ipv4(), call.app.started))
}

/// This server and its computer, as the API shows them.
pub(crate) fn server_view(
    host: &HostFacts,
    local_ip: String,
    started: licence_core::time::Utc,
) -> ServerInfoView {
    ServerInfoView {
        computer_name: host.computer_name.clone(),
        local_ip,
        os_type: host.os_type.clone(),
        os_version: host.os_version.clone(),
        module_name: host.module_name.clone(),
        pid: host.pid,
        cpu: host.cpu.clone(),
        version: VERSION.to_owned(),
        started,
        computer_id: host.computer_id.clone(),
    }
}

/// `GET /api/licences`, optionally with `KeyID` and `OnlyAvailable`.
pub(crate) async fn licences(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, body)?;
    let series = series(&params)?;
    let only_available = params.flag("OnlyAvailable")?;
    let mut licences = call.app.handle.licences(series, only_available).await?;
    for licence in &mut licences {
        hide_code(call, licence);
        licence.tell(call.language);
    }
    json(StatusCode::OK, &LicencesView { licences })
}

/// `GET /api/licences/{KeyNo}`.
pub(crate) async fn licence(call: &Call<'_>, path: &str) -> Result<Answer, ApiError> {
    // What is not a number is no key's number: not found, like any other unknown key.
    let key_no: KeyNo = call.argument.parse().map_err(|_| ApiError::not_found(path))?;
    let found = call.app.handle.licence(key_no).await?;
    let mut found = found.ok_or_else(|| ApiError::not_found(path))?;
    hide_code(call, &mut found);
    found.tell(call.language);
    json(StatusCode::OK, &found)
}

/// Takes the activation code out of what is not shown to an administrator: whoever reads it could
/// ask the vendor about the order in the owner's name.
fn hide_code(call: &Call<'_>, licence: &mut LicenceView) {
    if call.actor.role < Role::Administrator {
        licence.activation_code = None;
    }
}

/// `POST /api/licences`: activates a code at the vendor's centre and installs the licence.
pub(crate) async fn install(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, body)?;
    let order = order(&params)?;
    let app = call.app;
    let installed = app.activator.install(&app.handle, order, &call.actor, call.language).await?;
    json(StatusCode::CREATED, &installed.told(call.language))
}

pub(crate) fn order(params: &Params) -> Result<Order, ApiError> {
    let Some(text) = params.text("ActivationCodeString")? else {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "EParams",
            "ActivationCodeString is required.",
            "Не указан код активации (ActivationCodeString).",
        ));
    };
    let code: ActivationCode = text.parse().map_err(|error| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "EParams",
            format!("ActivationCodeString is not an activation code: {error}."),
            format!(
                "Указанное значение не является кодом активации программного ключа: {}.",
                code_error_russian(error)
            ),
        )
    })?;
    let itn = params.digits("ITN", ITN_DIGITS_MAX)?;
    let iec = params.digits("IEC", IEC_DIGITS_MAX)?;
    let blank_key_no = match params.digits("BlankKeyNo", KEY_NO_DIGITS_MAX)? {
        Some(digits) => Some(digits.parse().map_err(|_| {
            ApiError::bad_request(
                "BlankKeyNo is the number of no token.",
                "BlankKeyNo: такого номера носителя не бывает.",
            )
        })?),
        None => None,
    };
    Ok(Order { code, itn, iec, blank_key_no })
}

pub(crate) fn code_error_russian(error: licence_core::activation::ParseCodeError) -> String {
    use licence_core::activation::ParseCodeError;
    match error {
        ParseCodeError::Character(found) => format!("символ {found:?} не встречается в кодах"),
        ParseCodeError::Check => "не сходится контрольный символ, в коде опечатка".to_owned(),
        ParseCodeError::Length => "код состоит из пяти групп по четыре символа".to_owned(),
        _ => "неверный формат".to_owned(),
    }
}

/// `GET /api/connections`, optionally with `KeyID`.
pub(crate) async fn connections(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let series = series(&Params::read(call.query, body)?)?;
    let looks = &call.app.looks;
    let permit = looks.permit().await?;
    let states = call.app.handle.connections().await?;
    let answer = looks.work(permit, states.len(), move || {
        let wanted =
            states.iter().filter(|state| series.is_none_or(|no| state.connection.series == no));
        let connections = wanted.map(ConnectionView::from).collect();
        json(StatusCode::OK, &ConnectionsView { connections })
    });
    answer.await?
}

/// `GET /api/connections/{ID}`.
pub(crate) async fn connection(call: &Call<'_>, path: &str) -> Result<Answer, ApiError> {
    let found = call.app.handle.connection(call.argument.clone()).await?;
    json(StatusCode::OK, &ConnectionView::from(&found.ok_or_else(|| ApiError::not_found(path))?))
}

/// `GET /api/sessions`, optionally with `KeyID`.
pub(crate) async fn sessions(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let series = series(&Params::read(call.query, body)?)?;
    let looks = &call.app.looks;
    let permit = looks.permit().await?;
    let states = call.app.handle.sessions().await?;
    let answer = looks.work(permit, states.len(), move || {
        let wanted =
            states.iter().filter(|state| series.is_none_or(|no| state.session.series == no));
        let sessions = wanted.map(SessionView::from).collect();
        json(StatusCode::OK, &SessionsView { sessions })
    });
    answer.await?
}

/// `GET /api/sessions/{ID}`.
pub(crate) async fn session(call: &Call<'_>, path: &str) -> Result<Answer, ApiError> {
    let found = call.app.handle.session(call.argument.clone()).await?;
    json(StatusCode::OK, &SessionView::from(&found.ok_or_else(|| ApiError::not_found(path))?))
}

/// `DELETE /api/sessions/{ID}`: an administrator takes the seat back; optionally with `Reason`.
pub(crate) async fn end_session(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, body)?;
    let note = params.text("Reason")?.unwrap_or_default().to_owned();
    let ended = call.app.handle.revoke(call.argument.clone(), note, &call.actor).await?;
    json(StatusCode::ACCEPTED, &SessionView::from(&ended))
}

/// `GET /api/series`: totals of every series.
pub(crate) async fn series_totals(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let wanted = series(&Params::read(call.query, body)?)?;
    let mut all = call.app.handle.overview().await?;
    all.retain(|totals| wanted.is_none_or(|wanted| totals.series == wanted));
    let today = spans::day_begin(clock::utc());
    let mut views = Vec::with_capacity(all.len());
    for totals in all {
        // Without the history the totals are still worth their while.
        let since = call.app.history.since(totals.series, today).await.ok();
        views.push(SeriesView::new(totals, since));
    }
    json(StatusCode::OK, &SeriesListView { series: views })
}

pub(crate) fn series(params: &Params) -> Result<Option<KeySeries>, ApiError> {
    let Some(text) = params.text("KeyID")? else { return Ok(None) };
    text.parse().map(Some).map_err(|error| {
        ApiError::bad_request(
            format!("KeyID: {error}."),
            "KeyID: серия ключей состоит из четырёх шестнадцатеричных цифр, например 672B.",
        )
    })
}
