//! REST: the server as a whole: backup, restore, restart, log.

use hyper::StatusCode;
use serde::Serialize;

use crate::api::errors::ApiError;
use crate::api::routes::Service;
use crate::api::{Answer, Call, backup, json, logs};
use crate::driver::AuditNote;

/// Answers one of these addresses.
pub(crate) async fn answer(
    call: &Call<'_>,
    what: Service,
    body: &[u8],
) -> Result<Answer, ApiError> {
    match what {
        Service::Backup => backup::download(call).await,
        Service::Log => logs::answer(call, body).await,
        Service::Restart => restart(call).await,
        // Taken before, because its body is no message.
        Service::Restore => Err(ApiError::internal()),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Restarting {
    restarting: bool,
    /// Where it will listen, as far as it can be known before.
    port: Option<u16>,
}

/// Starts the server again within the process, once this answer and the other requests under way
/// are out.
async fn restart(call: &Call<'_>) -> Result<Answer, ApiError> {
    let port = ask_for_restart(call).await?;
    json(StatusCode::ACCEPTED, &Restarting { restarting: true, port })
}

/// Writes the wish down and passes it on; gives the port that the server will listen on.
pub(crate) async fn ask_for_restart(call: &Call<'_>) -> Result<Option<u16>, ApiError> {
    let app = call.app;
    let (control, conf) = (app.control.clone(), app.paths.conf());
    let reading = tokio::task::spawn_blocking(move || control.port_after_restart(&conf));
    let port = reading.await.unwrap_or(None);
    let note = AuditNote {
        action: "restart",
        note: port.map(|port| format!("port {port}")).unwrap_or_default(),
        ..AuditNote::default()
    };
    app.handle.audit(note, &call.actor).await?;
    app.control.restart();
    Ok(port)
}
