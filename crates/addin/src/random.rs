//! The only place of the component that draws randomness: names of files that nobody can guess.

use std::io;

use licence_core::seal::hex_upper;

/// A fresh name of 32 hex digits.
///
/// # Errors
///
/// When the system gives no randomness.
pub(crate) fn name() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|why| io::Error::other(why.to_string()))?;
    Ok(hex_upper(&bytes))
}
