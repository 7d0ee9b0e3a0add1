//! Watches the conf file and reads it again when it has changed.
//!
//! Polls: a container's mounted folder and a network share tell nobody of changes.

use std::time::Duration;

use super::Settings;
use super::file::Stamp;

/// How often the file is looked at. It is read when two looks in a row see the same change, so that
/// an editor's half-written file is not taken for the whole: a change is in force within two of
/// these.
const LOOK_MILLIS: u64 = 900;

/// Runs until it is dropped.
pub async fn watch(settings: Settings) {
    let mut looks = tokio::time::interval(Duration::from_millis(LOOK_MILLIS));
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut read, mut seen): (Option<Stamp>, Option<Stamp>) = (None, None);
    loop {
        looks.tick().await;
        let path = settings.path().to_owned();
        let Ok(found) = tokio::task::spawn_blocking(move || Stamp::of(&path)).await else { return };
        let found = Some(found);
        if found == read {
            continue;
        }
        if found != seen {
            seen = found;
            continue;
        }
        read = found;
        let settings = settings.clone();
        let reload = tokio::task::spawn_blocking(move || {
            // An error is in the log and in the console already.
            drop(settings.reload());
        });
        if reload.await.is_err() {
            log::error!("reading the settings again broke down");
        }
    }
}
