//! Carries changed settings to those who do not look for themselves: the driver, the log and the
//! history.
//!
//! Everybody else reads [`Settings::get`] for each request.

use std::collections::BTreeMap;
use std::time::Duration;

use licence_core::key::KeyNo;
use tokio::task::JoinSet;

use super::{Settings, watch};
use crate::config::Config;
use crate::driver::{DriverError, Handle};
use crate::logfile;
use crate::store::Retention;

/// How long a busy driver is left alone before it is told again.
const BUSY_SECS: u64 = 1;

/// Watches the conf file and carries its changes, until the set is dropped.
pub fn start(settings: &Settings, handle: &Handle, keep: &Retention) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(watch::watch(settings.clone()));
    tasks.spawn(apply(settings.clone(), handle.clone(), keep.clone()));
    tasks
}

/// The access codes that count by these settings.
pub fn access_codes(config: &Config) -> BTreeMap<KeyNo, String> {
    if config.console.enable_access_codes { config.access_codes.clone() } else { BTreeMap::new() }
}

/// Carries each change until the driver stops.
pub async fn apply(settings: Settings, handle: Handle, keep: Retention) {
    let mut changes = settings.subscribe();
    loop {
        let config = changes.borrow_and_update().clone();
        logfile::configure(config.log_level, config.log_file_max_mb);
        keep.set_days(config.parts.keep_days);
        loop {
            match tell(&handle, &config).await {
                Ok(()) => break,
                Err(DriverError::Busy) => {
                    tokio::time::sleep(Duration::from_secs(BUSY_SECS)).await;
                }
                Err(DriverError::Stopped) => return,
                Err(error) => {
                    log::error!("changed settings do not reach the driver: {error}");
                    break;
                }
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn tell(handle: &Handle, config: &Config) -> Result<(), DriverError> {
    let console = &config.console;
    let (name_holders, codes) = (console.name_holders, access_codes(config));
    let changed = handle.configure(name_holders, console.enable_access_codes, codes).await?;
    if changed > 0 {
        log::info!("access codes of {changed} keys have changed");
    }
    Ok(())
}
