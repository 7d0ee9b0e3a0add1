//! The only place of this crate that draws random numbers: seeds, a generator that repeats a run from
//! its seed, and bytes that nobody guesses.

use crate::stage::StageError;

/// Environment variable that repeats a run: the seed that a failed one printed.
pub const SEED_VARIABLE: &str = "LICENCE_SEED";

/// The seed to use: from [`SEED_VARIABLE`] or else fresh.
///
/// # Errors
///
/// When the variable is not a number, or the system gives no random bytes.
pub fn seed() -> Result<u64, StageError> {
    if let Some(text) = std::env::var_os(SEED_VARIABLE) {
        let read = text.to_str().and_then(|text| text.parse().ok());
        return read.ok_or_else(|| StageError::failed(format!("{SEED_VARIABLE} is no number")));
    }
    getrandom::u64().map_err(|why| StageError::failed(format!("no random bytes: {why}")))
}

/// Bytes that are the same in no other run.
///
/// # Errors
///
/// When the system gives none.
pub fn bytes<const N: usize>() -> Result<[u8; N], StageError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|why| StageError::failed(format!("no random bytes: {why}")))?;
    Ok(bytes)
}

/// SplitMix64: small, and good enough to choose moments and orders.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which must not be 0; 0 for 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.draw() % end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_draws_the_same_numbers_within_the_bound() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        for _ in 0..100 {
            let drawn = a.below(10);
            assert_eq!(drawn, b.below(10));
            assert!(drawn < 10);
        }
        assert_eq!(a.below(0), 0);
    }
}
