//! Activation codes: five groups of four characters that a person types.
//!
//! A code is 20 symbols of the Crockford alphabet (no I, L, O, U; read in any case, with or
//! without dashes, I and L as 1, O as 0). Nineteen symbols carry 95 bits: what the code is for,
//! the series and a number that the centre drew. The last one is a check symbol over GF(32)
//! that catches every single wrong symbol and every swap of two different symbols, neighbours or
//! not. Whether a code was ever issued, only the centre knows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::key::KeySeries;

pub(crate) const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const SYMBOLS: usize = 20;

/// Bits of the number that the centre draws: 95 less series and kind.
pub const SECRET_BITS: u32 = 78;

/// What a code does.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum CodeKind {
    /// First installation of an ordered key.
    Activation,
    /// Installs a deactivated key again (резервный код).
    Reserve,
}

/// An activation code that passed its check.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ActivationCode {
    kind: CodeKind,
    series: KeySeries,
    secret: u128,
}

/// Why a text is not an activation code.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseCodeError {
    /// A character that no code contains.
    #[error("{0:?} does not occur in activation codes")]
    Character(char),
    /// The check symbol does not fit: a typing mistake.
    #[error("the check symbol does not fit: one of the characters is mistyped")]
    Check,
    /// Not 20 characters, dashes and spaces left out.
    #[error("an activation code has five groups of four characters")]
    Length,
}

impl ActivationCode {
    /// The code for a number drawn by the centre; bits above [`SECRET_BITS`] are left out.
    pub const fn encode(kind: CodeKind, series: KeySeries, secret: u128) -> Self {
        Self { kind, series, secret: secret & ((1 << SECRET_BITS) - 1) }
    }

    /// What it does.
    pub const fn kind(&self) -> CodeKind {
        self.kind
    }

    /// The series it belongs to.
    pub const fn series(&self) -> KeySeries {
        self.series
    }

    /// Kind, series and number: 95 bits.
    pub(crate) fn to_bits(self) -> u128 {
        let kind = match self.kind {
            CodeKind::Activation => 0u128,
            CodeKind::Reserve => 1,
        };
        (kind << (16 + SECRET_BITS))
            | (u128::from(self.series.as_u16()) << SECRET_BITS)
            | self.secret
    }

    /// The code with these 95 bits.
    pub(crate) const fn from_bits(bits: u128) -> Self {
        let kind = if (bits >> (16 + SECRET_BITS)) & 1 == 0 {
            CodeKind::Activation
        } else {
            CodeKind::Reserve
        };
        let series = KeySeries::from_u16(((bits >> SECRET_BITS) & 0xFFFF) as u16);
        Self::encode(kind, series, bits)
    }

    fn symbols(self) -> [u8; SYMBOLS] {
        let mut bits = self.to_bits();
        let mut symbols = [0; SYMBOLS];
        for symbol in symbols[..SYMBOLS - 1].iter_mut().rev() {
            *symbol = (bits & 31) as u8;
            bits >>= 5;
        }
        symbols[SYMBOLS - 1] = check_symbol(&symbols[..SYMBOLS - 1]);
        symbols
    }
}

/// Doubles a symbol in GF(32) with the polynomial x⁵ + x² + 1.
const fn double(symbol: u8) -> u8 {
    let shifted = symbol << 1;
    if shifted & 32 == 0 { shifted } else { (shifted & 31) ^ 0b0_0101 }
}

/// The check symbol c for which Σ 2^(20-i)·sᵢ + c = 0 in GF(32). Two is primitive there, so the
/// weights of all 20 places differ and none is zero: a single wrong symbol and a swap of two
/// different ones always change the sum.
pub(crate) fn check_symbol(symbols: &[u8]) -> u8 {
    symbols.iter().fold(0, |sum, symbol| double(sum ^ symbol))
}

impl FromStr for ActivationCode {
    type Err = ParseCodeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut symbols = [0; SYMBOLS];
        let mut count = 0;
        for character in text.chars() {
            let value = match character.to_ascii_uppercase() {
                '-' | ' ' => continue,
                'O' => 0,
                'I' | 'L' => 1,
                upper => ALPHABET
                    .iter()
                    .position(|&known| char::from(known) == upper)
                    .ok_or(ParseCodeError::Character(character))?,
            };
            *symbols.get_mut(count).ok_or(ParseCodeError::Length)? = value as u8;
            count += 1;
        }
        if count != SYMBOLS {
            return Err(ParseCodeError::Length);
        }
        if check_symbol(&symbols[..SYMBOLS - 1]) != symbols[SYMBOLS - 1] {
            return Err(ParseCodeError::Check);
        }
        let bits = symbols[..SYMBOLS - 1]
            .iter()
            .fold(0u128, |bits, &symbol| (bits << 5) | u128::from(symbol));
        Ok(Self::from_bits(bits))
    }
}

impl fmt::Display for ActivationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, symbol) in self.symbols().into_iter().enumerate() {
            if at > 0 && at % 4 == 0 {
                f.write_str("-")?;
            }
            write!(f, "{}", char::from(ALPHABET[usize::from(symbol)]))?;
        }
        Ok(())
    }
}

impl Serialize for ActivationCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ActivationCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(secret: u128) -> ActivationCode {
        ActivationCode::encode(CodeKind::Activation, KeySeries::from_u16(0x672B), secret)
    }

    #[test]
    fn code_has_five_groups_of_four_and_names_its_series() {
        let code = code(0x1234_5678_9ABC_DEF0);
        let shown = code.to_string();
        assert_eq!(shown.split('-').map(str::len).collect::<Vec<_>>(), [4; 5]);
        assert_eq!(shown.parse::<ActivationCode>().unwrap(), code);
        assert_eq!(code.series().to_string(), "672B");
        let bare = shown.replace('-', "").to_lowercase();
        assert_eq!(bare.parse::<ActivationCode>().unwrap(), code);
    }

    #[test]
    fn letters_that_look_like_digits_are_read_as_digits() {
        let shown = code(0).to_string();
        assert!(shown.contains('0'), "{shown}");
        assert_eq!(shown.replace('0', "o").parse::<ActivationCode>().unwrap(), code(0));
    }

    #[test]
    fn text_that_is_no_code_is_refused_with_the_reason() {
        let shown = code(5).to_string();
        assert_eq!("".parse::<ActivationCode>(), Err(ParseCodeError::Length));
        assert_eq!(shown[1..].parse::<ActivationCode>(), Err(ParseCodeError::Length));
        assert_eq!(format!("{shown}0").parse::<ActivationCode>(), Err(ParseCodeError::Length));
        let cyrillic = shown.replacen(|c: char| c != '-', "Ж", 1);
        assert_eq!(cyrillic.parse::<ActivationCode>(), Err(ParseCodeError::Character('Ж')));
    }

    proptest! {
        #[test]
        fn shown_code_is_read_back(reserve: bool, series: u16, secret: u128) {
            let kind = if reserve { CodeKind::Reserve } else { CodeKind::Activation };
            let code = ActivationCode::encode(kind, KeySeries::from_u16(series), secret);
            prop_assert_eq!(code.to_string().parse::<ActivationCode>().unwrap(), code);
            prop_assert_eq!(code.kind(), kind);
        }

        #[test]
        fn every_single_character_error_is_caught(series: u16, secret: u128) {
            let code =
                ActivationCode::encode(CodeKind::Activation, KeySeries::from_u16(series), secret);
            let shown: Vec<char> = code.to_string().replace('-', "").chars().collect();
            for at in 0..shown.len() {
                for wrong in ALPHABET.iter().map(|&b| char::from(b)).filter(|&c| c != shown[at]) {
                    let mut changed = shown.clone();
                    changed[at] = wrong;
                    let text: String = changed.into_iter().collect();
                    prop_assert_eq!(text.parse::<ActivationCode>(), Err(ParseCodeError::Check));
                }
            }
        }

        #[test]
        fn every_swap_of_two_characters_is_caught(series: u16, secret: u128) {
            let code =
                ActivationCode::encode(CodeKind::Activation, KeySeries::from_u16(series), secret);
            let shown: Vec<char> = code.to_string().replace('-', "").chars().collect();
            for a in 0..shown.len() {
                for b in a + 1..shown.len() {
                    let mut changed = shown.clone();
                    changed.swap(a, b);
                    if changed != shown {
                        let text: String = changed.into_iter().collect();
                        prop_assert_eq!(text.parse::<ActivationCode>(), Err(ParseCodeError::Check));
                    }
                }
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            if let Ok(code) = text.parse::<ActivationCode>() {
                prop_assert_eq!(code.to_string().parse::<ActivationCode>(), Ok(code));
            }
        }
    }
}
