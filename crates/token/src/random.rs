//! Random bytes from the operating system; the only module of this crate that asks for them.
//!
//! What they are for its callers decide.

use crate::apdu::TokenError;

/// 32 random bytes: a challenge that no token has seen before.
///
/// # Errors
///
/// [`TokenError::System`] when the source fails.
pub(crate) fn challenge() -> Result<[u8; 32], TokenError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|_| TokenError::System("the operating system gives no random bytes".to_owned()))?;
    Ok(bytes)
}
