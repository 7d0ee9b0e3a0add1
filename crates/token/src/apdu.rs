//! What carries commands to a token, whatever lies between.
//!
//! Nothing is sent here.

use std::fmt;
use std::time::Duration;

/// Longest answer of one exchange, in bytes, after chained parts have been put together: an object of
/// 3 KiB and its frame. A token that sends more is not listened to.
pub const ANSWER_BYTES_MAX: usize = 8 * 1024;

/// How long all exchanges of one transaction may take.
pub const TRANSACTION_TIME_MAX: Duration = Duration::from_secs(10);

/// By what a token is reached.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Via {
    /// CCID over USB, by this program itself.
    Usb,
    /// The smart card service of the operating system.
    Pcsc,
}

/// A place where a token may be.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// How it is reached.
    pub via: Via,
    /// Names the place within its transport as long as the token stays plugged in: bus and device, or
    /// the reader's name.
    pub id: String,
    /// For people: maker and product, or the reader's name.
    pub name: String,
}

/// Why a token could not be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Another program holds it.
    #[error("another program holds the token")]
    Busy,
    /// The signature is not that of the expected key: another token is plugged in there.
    #[error("the token does not have the expected key")]
    Foreign,
    /// It was unplugged.
    #[error("the token is gone")]
    Gone,
    /// Its 9E slot has a key, which is never written over.
    #[error("the token has a key already, which is not replaced")]
    KeyPresent,
    /// It has answered with what no token of its kind may answer.
    #[error("the token's answer cannot be used: {0}")]
    Malformed(&'static str),
    /// The management key was not accepted, or has a length that the token's algorithm does not take.
    #[error("the token does not accept the management key")]
    ManagementKey,
    /// It has no key that can sign for a licence: it was never prepared.
    #[error("the token has no usable key: it must be prepared first")]
    NoKey,
    /// The system does not let this program reach it.
    #[error("the system does not give access to the token: {0}")]
    NotAllowed(String),
    /// Where licences are kept lies something else, which is not written over.
    #[error("the place for a licence on the token holds other data, which is not replaced")]
    Occupied,
    /// It answered, and refused.
    #[error("the token refused with status {0:04X}")]
    Refused(u16),
    /// It did not answer in time.
    #[error("the token did not answer in time")]
    Slow,
    /// The document does not fit: it has to be kept elsewhere.
    #[error("a document of {bytes} bytes does not fit on the token, which takes {bytes_max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// What fits.
        bytes_max: usize,
    },
    /// This kind of reader or token is not supported; what to use instead is said.
    #[error("the token is not supported: {0}")]
    Unsupported(&'static str),
    /// The smart card service or the USB of the system failed.
    #[error("the system's access to tokens failed: {0}")]
    System(String),
}

/// A command of short form as the protocol T=0 carries it (ISO 7816-3, section 12.2): a command without
/// data gets a zero length, one that sends data and expects some does not say how much.
pub(crate) fn t0_unit(command: &[u8]) -> Vec<u8> {
    let mut unit = command.to_vec();
    if unit.len() == 4 {
        unit.push(0);
    } else if unit.len() > 5 && unit.len() == usize::from(unit[4]) + 6 {
        unit.pop();
    }
    unit
}

/// The protocol that a card offers first, by its answer to reset (ISO 7816-3, section 8.2); nothing
/// when that is cut off.
pub(crate) fn first_protocol(atr: &[u8]) -> Option<u8> {
    let format = *atr.get(1)?;
    if format & 0x80 == 0 {
        return Some(0);
    }
    let in_front = (format & 0x70).count_ones() as usize;
    atr.get(2 + in_front).map(|td1| td1 & 0x0F)
}

/// A token as long as nobody else may speak to it.
pub trait Exchange {
    /// Sends one command APDU of at most 261 bytes (short form) and gives the answer with its status
    /// word. Chaining and further parts are the caller's matter.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>, TokenError>;
}

/// A way to tokens.
pub trait Transport: fmt::Debug + Send + Sync {
    /// The places where tokens for licences are, by the list of those; others are not spoken to.
    ///
    /// # Errors
    ///
    /// See [`TokenError`]. A system without the service has no places.
    fn places(&self) -> Result<Vec<Place>, TokenError>;

    /// Speaks to one token, for [`TRANSACTION_TIME_MAX`] at most, and lets it go again.
    ///
    /// # Errors
    ///
    /// See [`TokenError`]; the first error of `talk` too.
    fn transact(
        &self,
        place: &Place,
        talk: &mut dyn FnMut(&mut dyn Exchange) -> Result<(), TokenError>,
    ) -> Result<(), TokenError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_carried_by_t0_as_its_four_cases_have_it() {
        let check = |command: &[u8], unit: &[u8]| assert_eq!(t0_unit(command), unit);
        check(&[0, 0xA4, 0, 0], &[0, 0xA4, 0, 0, 0]);
        check(&[0, 0xC0, 0, 0, 9], &[0, 0xC0, 0, 0, 9]);
        check(&[0, 0xDB, 0, 0, 2, 1, 2], &[0, 0xDB, 0, 0, 2, 1, 2]);
        check(&[0, 0xCB, 0, 0, 2, 1, 2, 0], &[0, 0xCB, 0, 0, 2, 1, 2]);
        check(&[], &[]);
    }

    #[test]
    fn first_protocol_is_read_from_the_answer_to_reset() {
        assert_eq!(first_protocol(b"\x3B\x08Nitrokey"), Some(0));
        let t1 = [0x3B, 0x8F, 0x01, 0x80, 0x5D];
        assert_eq!(first_protocol(&t1), Some(1));
        assert_eq!(first_protocol(&[0x3B, 0xF0, 0x11, 0, 0, 0x00]), Some(0));
        assert_eq!(first_protocol(&[0x3B, 0xF0, 0x11]), None);
        assert_eq!(first_protocol(&[0x3B]), None);
    }
}
