//! Settings that the driver takes up while it runs.

use std::collections::BTreeMap;

use licence_core::key::KeyNo;
use licence_core::service::Event;

use super::{DriverError, Handle};

impl Handle {
    /// Puts access codes in force; returns how many keys have another code than before. A session
    /// that holds a seat keeps it.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn set_access_codes(
        &self,
        codes: BTreeMap<KeyNo, String>,
    ) -> Result<usize, DriverError> {
        self.change(move |task, now, outcome| {
            let changed = task.keyring.replace_access_codes(codes);
            let count = changed.len();
            for key in changed {
                task.feed_quietly(Event::KeyChanged(key), now, outcome);
            }
            count
        })
        .await
    }
}
