//! How the keys stand with the computer, inside the driver's turn: a key whose days of grace are over
//! is kept from use as one whose term is over.
//!
//! Looks at no part of a computer and writes no file.

use licence_core::binding::Match;
use licence_core::service::Event;
use licence_core::time::Utc;
use licence_core::time::term_clock::Doubt;

use super::{DriverError, Handle};
use crate::binding::Judged;

impl Handle {
    /// Judges the keys by what was found of the computer; those that may no longer be used, or may be
    /// again, are counted so when this returns. Their sessions move to other keys or end.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn judge_binding(&self, found: Match) -> Result<Judged, DriverError> {
        self.change(move |task, now, outcome| {
            let utc = task.service.utc(now);
            for key in task.keyring.judge(found, utc) {
                task.feed_quietly(Event::KeyChanged(key), now, outcome);
            }
            task.keyring.standings(utc)
        })
        .await
    }

    /// How the keys stand with the computer, as of the last look.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn standings(&self) -> Result<Judged, DriverError> {
        self.look(|service, keyring, now| keyring.standings(service.utc(now))).await
    }

    /// Whether one of these documents is a genuine licence of a key that is here, bound to this
    /// server.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn lists_ours(&self, documents: Vec<String>) -> Result<bool, DriverError> {
        self.look(move |_, keyring, _| documents.iter().any(|document| keyring.is_ours(document)))
            .await
    }

    /// A centre that has just listed a licence of this server says that it is this moment. A doubt of
    /// a clock that shows about the same ends with it; a clock that is not doubted is not touched.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn time_told(&self, at: Utc) -> Result<(), DriverError> {
        self.change(move |task, now, outcome| {
            if task.service.clock_doubt(now).is_some() {
                task.feed_quietly(Event::TimeProved(at), now, outcome);
            }
        })
        .await
    }

    /// The moment by which terms are judged, and the jump of the clock that is not believed, if there
    /// is one.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn believed_time(&self) -> Result<(Utc, Option<Doubt>), DriverError> {
        self.look(|service, _, now| (service.utc(now), service.clock_doubt(now))).await
    }
}
