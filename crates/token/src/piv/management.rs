//! The management key of a PIV token (slot 9B): its form, and the answer to the token's challenge.
//!
//! Who may hold it is the vendor's matter; it is never shown, and wiped when dropped.

use std::fmt;

use aes::cipher::generic_array::GenericArray;
use aes::cipher::{BlockEncrypt, KeyInit};
use zeroize::Zeroizing;

/// An algorithm of the management key (NIST SP 800-78-4, table 6-2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    /// AES with 128 bits.
    Aes128,
    /// AES with 192 bits: YubiKeys from 5.7 on.
    Aes192,
    /// AES with 256 bits.
    Aes256,
    /// Triple DES with three keys: older tokens.
    TripleDes,
}

impl Algorithm {
    /// All, in the order in which they are tried.
    pub const ALL: [Self; 4] = [Self::TripleDes, Self::Aes192, Self::Aes128, Self::Aes256];

    /// The algorithm of this number.
    pub const fn of(number: u8) -> Option<Self> {
        match number {
            0x03 => Some(Self::TripleDes),
            0x08 => Some(Self::Aes128),
            0x0A => Some(Self::Aes192),
            0x0C => Some(Self::Aes256),
            _ => None,
        }
    }

    /// Its number in commands.
    pub const fn number(self) -> u8 {
        match self {
            Self::Aes128 => 0x08,
            Self::Aes192 => 0x0A,
            Self::Aes256 => 0x0C,
            Self::TripleDes => 0x03,
        }
    }

    /// Bytes of its key.
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes192 | Self::TripleDes => 24,
            Self::Aes256 => 32,
        }
    }

    /// The challenge of exactly one block, encrypted; nothing when key or challenge has another size.
    pub(crate) fn encrypt(self, key: &ManagementKey, challenge: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Aes128 => encrypt::<aes::Aes128>(key, challenge),
            Self::Aes192 => encrypt::<aes::Aes192>(key, challenge),
            Self::Aes256 => encrypt::<aes::Aes256>(key, challenge),
            Self::TripleDes => encrypt::<des::TdesEde3>(key, challenge),
        }
    }
}

fn encrypt<C: BlockEncrypt + KeyInit>(key: &ManagementKey, challenge: &[u8]) -> Option<Vec<u8>> {
    let cipher = C::new_from_slice(&key.0).ok()?;
    if challenge.len() != C::block_size() {
        return None;
    }
    let mut block = GenericArray::clone_from_slice(challenge);
    cipher.encrypt_block(&mut block);
    Some(block.to_vec())
}

/// Not a management key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a management key is 32, 48 or 64 hex digits")]
pub struct ManagementKeyError;

/// The management key of a token.
#[derive(Clone)]
pub struct ManagementKey(Zeroizing<Vec<u8>>);

impl ManagementKey {
    /// The key that tokens leave the factory with; it is no secret.
    pub fn factory() -> Self {
        Self(Zeroizing::new([1, 2, 3, 4, 5, 6, 7, 8].repeat(3)))
    }

    /// The key of these bytes.
    ///
    /// # Errors
    ///
    /// When they are neither 16 nor 24 nor 32.
    pub fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Result<Self, ManagementKeyError> {
        if matches!(bytes.len(), 16 | 24 | 32) { Ok(Self(bytes)) } else { Err(ManagementKeyError) }
    }

    /// The key written in hex, white space around it ignored.
    ///
    /// # Errors
    ///
    /// When it is not that.
    pub fn from_hex(text: &str) -> Result<Self, ManagementKeyError> {
        let text = text.trim_ascii().as_bytes();
        // Room for the largest key at once, so that growing leaves no copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(32));
        if text.len() > 64 || !text.len().is_multiple_of(2) {
            return Err(ManagementKeyError);
        }
        for pair in text.chunks_exact(2) {
            let digit =
                |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                return Err(ManagementKeyError);
            };
            bytes.push(high << 4 | low);
        }
        Self::from_bytes(bytes)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for ManagementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManagementKey({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(algorithm: Algorithm, key: &str, plain: &str, sealed: &str) {
        let bytes = |text: &str| {
            let pairs = text.as_bytes().chunks(2);
            let number = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            pairs.map(number).collect::<Vec<u8>>()
        };
        let key = ManagementKey::from_hex(key).unwrap();
        assert_eq!(key.len(), algorithm.key_bytes());
        assert_eq!(algorithm.encrypt(&key, &bytes(plain)), Some(bytes(sealed)), "{algorithm:?}");
        assert_eq!(algorithm.encrypt(&key, &bytes(plain)[1..]), None);
        assert_eq!(Algorithm::of(algorithm.number()), Some(algorithm));
    }

    /// FIPS 197, appendix C.
    #[test]
    fn published_vectors_of_aes_hold() {
        let plain = "00112233445566778899aabbccddeeff";
        let key = "000102030405060708090a0b0c0d0e0f1011121314151617";
        check(Algorithm::Aes128, &key[..32], plain, "69c4e0d86a7b0430d8cdb78070b4c55a");
        check(Algorithm::Aes192, key, plain, "dda97ca4864cdfe06eaf70a0ec0d7191");
        let key = format!("{key}18191a1b1c1d1e1f");
        check(Algorithm::Aes256, &key, plain, "8ea2b7ca516745bfeafc49904b496089");
    }

    /// NIST SP 800-67, appendix B.
    #[test]
    fn published_vector_of_triple_des_holds() {
        let key = "0123456789abcdef23456789abcdef01456789abcdef0123";
        check(Algorithm::TripleDes, key, "5468652071756663", "a826fd8ce53b855f");
    }

    #[test]
    fn key_is_hex_of_a_size_that_tokens_take_and_never_shown() {
        for bad in ["", "01", &"0".repeat(31), &"0".repeat(66), &"0g".repeat(12), &"é".repeat(12)]
        {
            assert!(ManagementKey::from_hex(bad).is_err(), "{bad:?}");
        }
        let key = ManagementKey::from_hex(&format!(" {}\n", "01".repeat(24))).unwrap();
        assert_eq!(format!("{key:?}"), "ManagementKey(24 bytes)");
    }
}
