//! Who may have the key of a protected object, and the object key of the series that opens it.
//!
//! Looks only: asking for an object renews neither connection nor session, so that a program that
//! only opens objects does not hold a seat by it.

use std::sync::Arc;

use licence_core::datafile::ObjectAccess;
use licence_core::key::KeySeries;
use licence_core::refusal::Refusal;
use licence_core::service::LicenceService;
use licence_core::session::{ConnectionId, SessionId};
use licence_core::time::Now;
use licence_core::wrap::WrapKey;

use super::handle::{connection_id, session_id};
use super::{DriverError, Handle};
use crate::keyring::Keyring;

/// Why the key of an object is not given.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectKeyDenial {
    /// No licence of the series brought its object key.
    #[error("no licence of series {0} has the object key of the series")]
    NoObjectKey(KeySeries),
    /// The session holds no seat, or none was named.
    #[error("the object needs a session that holds a seat")]
    NoSeat,
}

impl Handle {
    /// The key by which objects of a series are opened, while a key of the series may be used.
    /// Nothing otherwise, and when no licence of the series brought it.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn series_key(&self, series: KeySeries) -> Result<Option<Arc<WrapKey>>, DriverError> {
        self.look(move |service, keyring, _| {
            let key = check_usable(service, series).ok().and_then(|()| keyring.object_key(series));
            key.map(Arc::clone)
        })
        .await
    }

    /// The series of a connection and the key that opens its objects, for one object of this access
    /// that the connection asks for on behalf of a session.
    ///
    /// The session must be the connection's own: known by its id through another one, it must be
    /// opened there first.
    ///
    /// # Errors
    ///
    /// [`DriverError::Refused`] for a connection or session that is not there or has ended, and
    /// while no key of the series may be used. Inside: why it is not given.
    pub async fn object_key(
        &self,
        connection: &str,
        session: Option<&str>,
        access: ObjectAccess,
    ) -> Result<Result<(KeySeries, Arc<WrapKey>), ObjectKeyDenial>, DriverError> {
        let connection = connection_id(connection)?;
        let session = match access {
            ObjectAccess::Key => None,
            ObjectAccess::Presence | ObjectAccess::Seat => session.map(session_id).transpose()?,
        };
        let asked = Asked { connection, session, access };
        let found = self.look(move |service, keyring, now| asked.find(service, keyring, now));
        found.await?.map_err(DriverError::Refused)
    }
}

/// What is asked for.
struct Asked {
    connection: ConnectionId,
    session: Option<SessionId>,
    access: ObjectAccess,
}

/// The key, or why it is not given.
type Found = Result<(KeySeries, Arc<WrapKey>), ObjectKeyDenial>;

impl Asked {
    fn find(
        &self,
        service: &LicenceService,
        keyring: &Keyring,
        now: Now,
    ) -> Result<Found, Refusal> {
        // Ends are compared here, because looking makes nothing expire.
        let series = service
            .connection(self.connection)
            .filter(|found| service.connection_ends(found.last_used_mono) > now.mono)
            .map(|found| found.series)
            .ok_or(Refusal::ConnectionNotFound)?;
        if self.access != ObjectAccess::Key {
            let Some(id) = self.session else {
                return Ok(Err(ObjectKeyDenial::NoSeat));
            };
            let session = service
                .session(id)
                .filter(|session| session.connection == self.connection)
                .filter(|session| session.series == series)
                .filter(|session| service.session_ends(session.touched) > now.mono)
                .ok_or(Refusal::SessionNotFound)?;
            let is_seated = session
                .key_no
                .and_then(|key_no| service.key(key_no))
                .is_some_and(|pooled| pooled.status.keeps_seats());
            if self.access == ObjectAccess::Seat && !is_seated {
                // Also where another key of the series may be used: the seat must be of one.
                return Ok(Err(ObjectKeyDenial::NoSeat));
            }
        }
        check_usable(service, series)?;
        let key = keyring.object_key(series);
        Ok(key.map(|key| (series, Arc::clone(key))).ok_or(ObjectKeyDenial::NoObjectKey(series)))
    }
}

/// Whether a key of the series may be used at present.
fn check_usable(service: &LicenceService, series: KeySeries) -> Result<(), Refusal> {
    let mut refusal = Refusal::NoKey { series };
    for pooled in service.keys().filter(|pooled| pooled.key.series == series) {
        if pooled.status.keeps_seats() {
            return Ok(());
        }
        refusal = Refusal::KeyUnusable { series, key_no: pooled.key.key_no, status: pooled.status };
    }
    Err(refusal)
}
