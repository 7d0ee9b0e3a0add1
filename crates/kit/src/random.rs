//! Random bytes from the operating system; the only module that asks for them.
//!
//! Nothing is decided here: what the bytes become is the callers' matter.

use zeroize::Zeroizing;

/// The operating system gave no random bytes: nothing secret may be made on such a machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct RandomError;

/// 32 random bytes, enough for any key; wiped when dropped.
///
/// # Errors
///
/// [`RandomError`] when the source fails.
pub fn key_bytes() -> Result<Zeroizing<[u8; 32]>, RandomError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut()).map_err(|_| RandomError)?;
    Ok(bytes)
}

/// 16 random bytes: for ids and for the numbers behind activation codes.
///
/// # Errors
///
/// [`RandomError`] when the source fails.
pub fn id_bytes() -> Result<[u8; 16], RandomError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| RandomError)?;
    Ok(bytes)
}
