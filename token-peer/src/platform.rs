//! What the firmware's crypto service runs on here: entropy of the system, files or memory.
//!
//! The crate's own virtual platform draws from a fixed seed, so that every fresh card makes the same
//! first key; tests need tokens that differ.

use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use trussed::virt::{StorageConfig, Store, StoreConfig, UserInterface};

/// Bytes of each of the two files that are a card's memory; the crate fixes it.
const STORAGE_BYTES: u64 = 512 * 128;

/// The platform of one card.
pub(crate) struct Platform<'a> {
    rng: ChaCha8Rng,
    store: Store<'a>,
    ui: UserInterface,
}

impl<'a> trussed::platform::Platform for Platform<'a> {
    type R = ChaCha8Rng;
    type S = Store<'a>;
    type UI = UserInterface;

    fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.rng
    }

    fn store(&self) -> Store<'a> {
        self.store
    }

    fn user_interface(&mut self) -> &mut UserInterface {
        &mut self.ui
    }
}

/// Gives a platform whose memory is `STATE.internal` and `STATE.external`, or nothing but memory.
///
/// # Errors
///
/// When one of the files is there and is not a card's memory.
pub(crate) fn with_platform<R>(
    state: Option<&Path>,
    run: impl FnOnce(Platform<'_>) -> R,
) -> Result<R, String> {
    let storage = |ending: &str| match state {
        None => Ok(StorageConfig::ram()),
        Some(path) => {
            let file = path.with_extension(ending);
            match std::fs::metadata(&file) {
                Ok(found) if found.len() != STORAGE_BYTES => {
                    Err(format!("{} is not a card's memory", file.display()))
                }
                Ok(_) | Err(_) => Ok(StorageConfig::filesystem(file)),
            }
        }
    };
    let mut stores = StoreConfig {
        internal: storage("internal")?,
        external: storage("external")?,
        volatile: StorageConfig::ram(),
    };
    Ok(stores.with_store(|store| {
        run(Platform { rng: ChaCha8Rng::from_entropy(), store, ui: UserInterface::new() })
    }))
}
