//! The component's side of the port: `/client/…` over TLS.
//!
//! Messages are the core's protocol types; this module reads them, asks the driver and writes the
//! answer. Who may hold a seat is decided by the core alone.

use hyper::StatusCode;
use hyper::header::HOST;
use licence_core::key::KeySeries;
use licence_core::language::Language;
use licence_core::pool::KeyStatus;
use licence_core::protocol::{
    self, Connect, ConnectionQuery, Disconnect, HEARTBEAT_SESSIONS_MAX, Heartbeat, Hello,
    HelloAnswer, LicenceView, LicencesQuery, LicencesView, OpenSession, ServerSummary,
    TouchSession, VERSIONS,
};
use licence_core::refusal::Refusal;
use serde::Serialize;

use crate::api::errors::ApiError;
use crate::api::params::message;
use crate::api::routes::Message;
use crate::api::{Answer, Call, VERSION, json, object_key, objects, operations};
use crate::clock::Stopwatch;
use crate::driver::Proof;

/// The answer where there is nothing to say.
#[derive(Serialize)]
struct Done {}

/// Refuses `/client/vN/…` of a version that this server does not speak.
pub(crate) fn check_version(path: &str) -> Result<(), ApiError> {
    let Some(rest) = path.strip_prefix("/client/v") else { return Ok(()) };
    let number = rest.split('/').next().unwrap_or("");
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let is_spoken = VERSIONS.iter().any(|version| version.to_string() == number);
    if is_number && !is_spoken { Err(version_mismatch(number)) } else { Ok(()) }
}

fn version_mismatch(client: &str) -> ApiError {
    let shown: String = client.chars().take(40).collect();
    ApiError::new(
        StatusCode::CONFLICT,
        "EVersionMismatch",
        format!(
            "The version of the server {VERSION} does not match the version of the client {shown}."
        ),
        format!("Версия сервера {VERSION} не соответствует версии клиента {shown}."),
    )
}

/// Answers one message of a component.
pub(crate) async fn answer(
    call: &Call<'_>,
    kind: Message,
    body: &[u8],
) -> Result<Answer, ApiError> {
    let handle = &call.app.handle;
    match kind {
        Message::Hello => hello(call, message(body)?).await,
        Message::Connect => {
            let connect: Connect = message(body)?;
            ok(&handle.connect(call.peer.ip.to_canonical(), connect).await?)
        }
        Message::Heartbeat => {
            let heartbeat: Heartbeat = message(body)?;
            if heartbeat.sessions.len() > HEARTBEAT_SESSIONS_MAX {
                return Err(ApiError::bad_request(
                    format!("Sessions has more than {HEARTBEAT_SESSIONS_MAX} elements."),
                    format!("В Sessions больше {HEARTBEAT_SESSIONS_MAX} элементов."),
                ));
            }
            let watch = Stopwatch::start();
            let beaten = handle.heartbeat(heartbeat).await;
            call.app.metrics.heartbeat.observe(watch.seconds());
            ok(&beaten?)
        }
        Message::Open => {
            let open: OpenSession = message(body)?;
            let language = open.language.as_deref().map(Language::from_tag);
            let watch = Stopwatch::start();
            let opened = handle.open(open).await;
            call.app.metrics.open.observe(watch.seconds());
            ok(&opened.map_err(|error| ApiError { language, ..error.into() })?)
        }
        Message::Touch => ok(&handle.touch(message::<TouchSession>(body)?).await?),
        Message::Close => {
            handle.close(message::<TouchSession>(body)?).await?;
            ok(&Done {})
        }
        Message::Disconnect => {
            handle.disconnect(message::<Disconnect>(body)?).await?;
            ok(&Done {})
        }
        Message::Licences => {
            let query: LicencesQuery = message(body)?;
            // Asked for all series too: only a component that is connected gets a list.
            let own = handle.series_of(query.connection).await?;
            let series = (!query.all_series).then_some(own);
            let mut licences = handle.licences(series, query.only_available).await?;
            for licence in &mut licences {
                conceal(licence, own);
                licence.tell(call.language);
            }
            ok(&LicencesView { licences })
        }
        Message::Counters => {
            let query: ConnectionQuery = message(body)?;
            ok(&handle.counters(query.connection).await?)
        }
        Message::ServerInfo => server_info(call, message(body)?).await,
        Message::Datafile => Box::pin(objects::datafile(call, message(body)?)).await,
        Message::Datapart => Box::pin(objects::datapart(call, message(body)?)).await,
        Message::ObjectKey => ok(&Box::pin(object_key::unwrap(call, message(body)?)).await?),
        Message::Operation => ok(&Box::pin(operations::answer(call, message(body)?)).await?),
    }
}

/// Takes out of a licence what only the administrator shall see: components need no password.
pub(crate) fn conceal(licence: &mut LicenceView, own: KeySeries) {
    licence.activation_code = None;
    let name = licence.file_name.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
    licence.file_name = name;
    if licence.key_id != Some(own) {
        licence.itn = None;
        licence.iec = None;
        licence.reg_no = None;
    }
}

fn ok<T: Serialize>(view: &T) -> Result<Answer, ApiError> {
    json(StatusCode::OK, view)
}

async fn hello(call: &Call<'_>, hello: Hello) -> Result<Answer, ApiError> {
    let Some(version) = protocol::negotiate(&hello.versions) else {
        return Err(version_mismatch(&hello.component));
    };
    let Proof { licences, delegations, missing } = call.app.handle.proof(hello.key_id).await?;
    if licences.is_empty() {
        let series = hello.key_id;
        return Err(match missing {
            Some((key_no, obstacle)) => {
                Refusal::KeyUnusable { series, key_no, status: KeyStatus::Kept(obstacle) }.into()
            }
            None => Refusal::NoKey { series }.into(),
        });
    }
    ok(&HelloAnswer { version, server_version: VERSION.to_owned(), licences, delegations })
}

async fn server_info(call: &Call<'_>, query: ConnectionQuery) -> Result<Answer, ApiError> {
    let app = call.app;
    let Some(state) = app.handle.connection(query.connection).await? else {
        return Err(Refusal::ConnectionNotFound.into());
    };
    // The address by which the component reached us is one that its computer can open.
    let host = call.headers.get(HOST).and_then(|value| value.to_str().ok());
    let host = host.map_or_else(
        || format!("{}:{}", app.host.computer_name, app.settings.get().server_port),
        str::to_owned,
    );
    let is_tls_required = app.settings.get().parts.tls.require_tls;
    let scheme = if is_tls_required { "https" } else { "http" };
    ok(&ServerSummary {
        version: VERSION.to_owned(),
        os_type: app.host.os_type.clone(),
        cpu: app.host.cpu.clone(),
        console_url: format!("{scheme}://{host}/"),
        version_outdated: protocol::is_newer(&state.connection.info.version, VERSION),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_of_another_protocol_version_is_a_version_mismatch() {
        for (path, matches) in [
            ("/client/v1/open", true),
            ("/client/v2/open", false),
            ("/client/v99999999999/open", false),
            ("/client/v01/open", false),
            ("/client/hello", true),
            ("/client/vx/open", true),
        ] {
            assert_eq!(check_version(path).is_ok(), matches, "{path}");
        }
        let error = check_version("/client/v2/open").unwrap_err();
        assert_eq!(error.class, "EVersionMismatch");
        assert!(error.russian.contains("не соответствует версии клиента"));
    }
}
