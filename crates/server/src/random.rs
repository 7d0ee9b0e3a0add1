//! The only place of this crate that draws random bytes.
//!
//! Bytes come from the operating system; there is no generator of our own and no seed.

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the operating system gives no random bytes: {0}")]
pub struct RandomError(getrandom::Error);

/// Fills `bytes` with random bytes.
///
/// # Errors
///
/// When the operating system's source fails.
pub fn fill(bytes: &mut [u8]) -> Result<(), RandomError> {
    getrandom::fill(bytes).map_err(RandomError)
}

/// Bytes of an id that nobody can guess: 128 bits.
///
/// # Errors
///
/// When the operating system's source fails.
pub fn id_bytes() -> Result<[u8; 16], RandomError> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ids_differ() {
        assert_ne!(id_bytes().unwrap(), id_bytes().unwrap());
    }
}
