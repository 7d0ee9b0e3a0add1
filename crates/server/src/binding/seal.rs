//! What the watch asks of the seal over the identity.
//!
//! Says nothing of how a key is sealed: that is [`crate::identity`]'s business. Tests put a seal of
//! their own here.

use std::fmt;
use std::sync::Arc;

use licence_core::causes::with_causes;

use crate::identity::{Identity, SealState};

/// The seal over an identity.
pub trait Seal: fmt::Debug + Send + Sync {
    /// How it fits, as of the last look. Cheap.
    fn state(&self) -> Arc<SealState>;

    /// Looks at the computer again. Blocks on the disk.
    fn look_again(&self);

    /// Seals the key to the computer as it is. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// Why it could not be sealed, for the log; then the seal is as before.
    fn reseal(&self) -> Result<(), String>;
}

impl Seal for Identity {
    fn state(&self) -> Arc<SealState> {
        self.seal_state()
    }

    fn look_again(&self) {
        Self::look_again(self);
    }

    fn reseal(&self) -> Result<(), String> {
        Self::reseal(self).map_err(|error| with_causes(&error))
    }
}
