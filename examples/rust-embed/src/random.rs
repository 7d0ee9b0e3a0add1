//! Where this program draws the ids that the core is told.

/// An id that nobody guesses.
///
/// # Errors
///
/// When the system has no randomness.
pub(crate) fn id() -> Result<[u8; 16], getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
