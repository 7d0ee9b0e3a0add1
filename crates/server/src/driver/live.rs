//! Settings that the driver takes up while it runs.

use std::collections::BTreeMap;

use licence_core::key::KeyNo;
use licence_core::service::Event;

use super::{DriverError, Handle};

impl Handle {
    /// Puts settings in force in one turn, so that no session opens between two of them: whether
    /// refusals name who holds the seats, whether access codes count (see
    /// [`licence_core::service::ServiceConfig`]), and the codes. Returns how many keys have another
    /// code than before. A session that holds a seat keeps it.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn configure(
        &self,
        name_holders: bool,
        access_codes: bool,
        codes: BTreeMap<KeyNo, String>,
    ) -> Result<usize, DriverError> {
        self.change(move |task, now, outcome| {
            task.feed_quietly(Event::Configure { name_holders, access_codes }, now, outcome);
            let changed = task.keyring.replace_access_codes(codes, access_codes);
            let count = changed.len();
            for key in changed {
                task.feed_quietly(Event::KeyChanged(key), now, outcome);
            }
            count
        })
        .await
    }
}
