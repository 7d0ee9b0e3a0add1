//! Seats that this node of a cluster keeps for sessions that are about to move here, as people see them.
//!
//! Shows them and frees one of them. For whom a seat is kept, and until when, the core decides.

use licence_core::key::{KeyNo, KeySeries};
use licence_core::refusal::Refusal;
use licence_core::service::LicenceService;
use licence_core::session::SessionId;
use licence_core::time::{MonoTime, Now, Utc};

use super::administer::AuditNote;
use super::handle::session_id;
use super::{DriverError, Handle};
use crate::access::Actor;

/// A seat that is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeptSeat {
    /// For which session.
    pub session: SessionId,
    /// The key of the seat.
    pub key_no: KeyNo,
    /// Its series, if the key is still known.
    pub series: Option<KeySeries>,
    /// When it becomes free unless the session has come.
    pub until: Utc,
}

impl KeptSeat {
    fn new(
        service: &LicenceService,
        (session, key_no, until): (SessionId, KeyNo, MonoTime),
        now: Now,
    ) -> Self {
        let series = service.key(key_no).map(|pooled| pooled.key.series);
        Self { session, key_no, series, until: now.utc.after(until.since(now.mono)) }
    }
}

impl Handle {
    /// The first of the seats that are kept, in the order in which they become free, and how many there
    /// are.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn kept_seats(&self, max: usize) -> Result<(Vec<KeptSeat>, usize), DriverError> {
        self.look(move |service, _, now| {
            let kept = service.kept_seats().take(max).map(|kept| KeptSeat::new(service, kept, now));
            (kept.collect(), service.kept_len())
        })
        .await
    }

    /// Frees a seat that is kept: its session will not come. If it comes all the same it is granted a seat
    /// like any other, if there is one. Returns what it was.
    ///
    /// # Errors
    ///
    /// See [`DriverError`]; [`Refusal::SessionNotFound`] when none is kept for this session.
    pub async fn free_kept(
        &self,
        id: String,
        note: String,
        actor: &Actor,
    ) -> Result<KeptSeat, DriverError> {
        let session = session_id(&id)?;
        let actor = actor.clone();
        let freed = self.change(move |task, now, outcome| {
            let found = task.service.kept_seat(session)?;
            let seat = KeptSeat::new(&task.service, found, now);
            let line = AuditNote {
                action: "kept_seat_free",
                subject: id,
                key_no: Some(seat.key_no),
                series: seat.series,
                note,
            };
            task.revoke_noted(session, line.record(&actor, now.utc), now, outcome);
            Some(seat)
        });
        freed.await?.ok_or(DriverError::Refused(Refusal::SessionNotFound))
    }
}
