//! Values as bytes and back: one form for each value, so that one text has one meaning.
//!
//! The bytes begin with what they are and their number, and end with four bytes of their SHA-256,
//! against mistakes and not against forgery.

use super::lines::{BYTES_MAX, lines_of};
use super::{ANSWER, OWNER_DIGITS_MAX, REQUEST, ShortTextError};
use crate::activation::ActivationCode;
use crate::seal::sha256;
use crate::time::Utc;

/// Bytes of the digest at the end.
const DIGEST_BYTES: usize = 4;
/// Bytes of the 95 bits of an activation code.
const CODE_BYTES: usize = 12;
/// Bytes of a moment: milliseconds since 1970, up to the year 9999.
const MOMENT_BYTES: usize = 6;
/// Bytes of a varint of 64 bits.
const NUMBER_BYTES_MAX: usize = 10;

pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new(kind: u8) -> Self {
        Self(vec![kind, 0])
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn code(&mut self, code: ActivationCode) {
        self.bytes(&code.to_bits().to_be_bytes()[16 - CODE_BYTES..]);
    }

    /// LEB128: seven bits a byte, the lowest first.
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    /// Nothing for a moment before 1970.
    pub(super) fn moment(&mut self, moment: Utc) -> Option<()> {
        let millis = u64::try_from(moment.unix_millis()).ok()?;
        self.bytes(&millis.to_be_bytes()[8 - MOMENT_BYTES..]);
        Some(())
    }

    /// Digits with their leading zeros: their number, then the number that they are.
    pub(super) fn digits(&mut self, digits: &str) -> Option<()> {
        if digits.is_empty()
            || digits.len() > OWNER_DIGITS_MAX
            || !digits.bytes().all(|byte| byte.is_ascii_digit())
        {
            return None;
        }
        self.byte(digits.len() as u8);
        self.number(digits.parse().ok()?);
        Some(())
    }

    /// Nothing when it has become longer than any text.
    pub(super) fn finish(mut self) -> Option<Vec<u8>> {
        let length = self.0.len() + DIGEST_BYTES;
        self.0[1] = u8::try_from(length).ok().filter(|_| length <= BYTES_MAX)?;
        let digest = sha256(&self.0);
        self.0.extend_from_slice(&digest[..DIGEST_BYTES]);
        Some(self.0)
    }
}

pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The values of bytes of this kind, once their number and digest have proved right.
    pub(super) fn open(bytes: &'a [u8], kind: u8) -> Result<Self, ShortTextError> {
        let (&found, &length) = bytes.first().zip(bytes.get(1)).ok_or(ShortTextError::Digest)?;
        let length = usize::from(length);
        let (wanted, lines) = (lines_of(length), lines_of(bytes.len()));
        if wanted != lines {
            return Err(ShortTextError::Lines { found: lines, wanted });
        }
        let (used, rest) = bytes.split_at_checked(length).ok_or(ShortTextError::Digest)?;
        let end = length.checked_sub(DIGEST_BYTES).filter(|end| *end >= 2);
        let (values, digest) = used.split_at(end.ok_or(ShortTextError::Digest)?);
        if sha256(values)[..DIGEST_BYTES] != *digest || rest.iter().any(|byte| *byte != 0) {
            return Err(ShortTextError::Digest);
        }
        if found != kind {
            return Err(match found {
                REQUEST => ShortTextError::Kind("a request, and an answer is expected"),
                ANSWER => ShortTextError::Kind("an answer, and a request is expected"),
                _ => ShortTextError::Version,
            });
        }
        Ok(Self(&values[2..]))
    }

    fn take(&mut self, count: usize, name: &'static str) -> Result<&'a [u8], ShortTextError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ShortTextError::Value(name))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        name: &'static str,
    ) -> Result<[u8; N], ShortTextError> {
        self.take(N, name)?.try_into().map_err(|_| ShortTextError::Value(name))
    }

    pub(super) fn byte(&mut self, name: &'static str) -> Result<u8, ShortTextError> {
        self.array::<1>(name).map(|[byte]| byte)
    }

    pub(super) fn code(&mut self) -> Result<ActivationCode, ShortTextError> {
        let mut bits = [0; 16];
        bits[16 - CODE_BYTES..].copy_from_slice(self.take(CODE_BYTES, "the code")?);
        let bits = u128::from_be_bytes(bits);
        if bits >> 95 != 0 {
            return Err(ShortTextError::Value("the code"));
        }
        Ok(ActivationCode::from_bits(bits))
    }

    pub(super) fn number(&mut self, name: &'static str) -> Result<u64, ShortTextError> {
        let mut number = 0u64;
        for at in 0..NUMBER_BYTES_MAX {
            let byte = self.byte(name)?;
            let bits = u64::from(byte & 0x7F);
            // The tenth byte has room for one bit; a last byte of nothing is another's form.
            let is_too_large = at == NUMBER_BYTES_MAX - 1 && bits > 1;
            if is_too_large || (byte == 0 && at > 0) {
                break;
            }
            number |= bits << (7 * at);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(ShortTextError::Value(name))
    }

    pub(super) fn number_32(&mut self, name: &'static str) -> Result<u32, ShortTextError> {
        u32::try_from(self.number(name)?).map_err(|_| ShortTextError::Value(name))
    }

    pub(super) fn moment(&mut self, name: &'static str) -> Result<Utc, ShortTextError> {
        let mut millis = [0; 8];
        millis[8 - MOMENT_BYTES..].copy_from_slice(self.take(MOMENT_BYTES, name)?);
        i64::try_from(u64::from_be_bytes(millis))
            .ok()
            .filter(|millis| *millis <= Utc::MAX.unix_millis())
            .map(Utc::from_unix_millis)
            .ok_or(ShortTextError::Value(name))
    }

    pub(super) fn digits(&mut self, name: &'static str) -> Result<String, ShortTextError> {
        let count = usize::from(self.byte(name)?);
        let number = self.number(name)?;
        if count == 0 || count > OWNER_DIGITS_MAX {
            return Err(ShortTextError::Value(name));
        }
        let digits = format!("{number:0count$}");
        if digits.len() == count { Ok(digits) } else { Err(ShortTextError::Value(name)) }
    }

    pub(super) fn end(self) -> Result<(), ShortTextError> {
        if self.0.is_empty() { Ok(()) } else { Err(ShortTextError::Version) }
    }
}
