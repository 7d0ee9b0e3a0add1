//! `/api/cluster/kept`: seats that this node keeps for sessions that are about to move here; the console
//! shows the same. They count as held and stand in no list of sessions, for nothing is known of their
//! sessions but the ids.

use hyper::StatusCode;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::time::Utc;
use serde::Serialize;

use super::peers;
use crate::api::errors::ApiError;
use crate::api::params::Params;
use crate::api::{Answer, Call, json};
use crate::driver::KeptSeat;

/// Most seats that are named; there are seldom more than a few, and then those that become free first
/// are named.
const NAMED_MAX: usize = 1000;

/// The seats that this node keeps.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct KeptSeats {
    /// How many there are.
    pub(crate) total: usize,
    /// The first of them, in the order in which they become free.
    pub(crate) kept: Vec<Kept>,
}

/// A seat that is kept.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Kept {
    /// The session.
    #[serde(rename = "ID")]
    pub(crate) id: String,
    #[serde(rename = "KeyID")]
    pub(crate) key_id: Option<KeySeries>,
    pub(crate) key_no: KeyNo,
    /// When it becomes free unless the session has come.
    pub(crate) until: Utc,
}

impl From<KeptSeat> for Kept {
    fn from(seat: KeptSeat) -> Self {
        let KeptSeat { session, key_no, series, until } = seat;
        Self { id: session.to_string(), key_id: series, key_no, until }
    }
}

/// The first of the seats that are kept here.
///
/// # Errors
///
/// Where there is no cluster; what the driver answers when it is busy.
pub(crate) async fn seats(call: &Call<'_>, max: usize) -> Result<KeptSeats, ApiError> {
    peers(call)?;
    let (kept, total) = call.app.handle.kept_seats(max).await?;
    Ok(KeptSeats { total, kept: kept.into_iter().map(Kept::from).collect() })
}

/// `GET /api/cluster/kept`.
pub(super) async fn list(call: &Call<'_>) -> Result<Answer, ApiError> {
    json(StatusCode::OK, &seats(call, NAMED_MAX).await?)
}

/// `DELETE /api/cluster/kept/{ID}`, optionally with `Reason`.
pub(super) async fn free(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, body)?;
    let note = params.text("Reason")?.unwrap_or_default().to_owned();
    peers(call)?;
    let freed = call.app.handle.free_kept(call.argument.clone(), note, &call.actor).await?;
    json(StatusCode::ACCEPTED, &Kept::from(freed))
}
