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
    /// It was unplugged.
    #[error("the token is gone")]
    Gone,
    /// It has answered with what no token of its kind may answer.
    #[error("the token's answer cannot be used: {0}")]
    Malformed(&'static str),
    /// The system does not let this program reach it.
    #[error("the system does not give access to the token: {0}")]
    NotAllowed(String),
    /// It answered, and refused.
    #[error("the token refused with status {0:04X}")]
    Refused(u16),
    /// It did not answer in time.
    #[error("the token did not answer in time")]
    Slow,
    /// This kind of reader or token is not supported; what to use instead is said.
    #[error("the token is not supported: {0}")]
    Unsupported(&'static str),
    /// The smart card service or the USB of the system failed.
    #[error("the system's access to tokens failed: {0}")]
    System(String),
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
