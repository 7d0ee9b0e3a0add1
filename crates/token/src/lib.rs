//! Keys inside USB tokens: how they are found, and how they sign.
//!
//! One trait carries APDUs (ISO 7816-4), two transports implement it (CCID over USB, PC/SC), and the
//! PIV layer (NIST SP 800-73-4) above knows no transport. Which licence is bound to which token is
//! the caller's matter; tokens that are not on the list of those meant for licences are never touched.
//!
//! | module | subject |
//! | --- | --- |
//! | [`tokens`] | the way in: both transports as one |
//! | [`licence`] | what lies on a token, how it proves itself, how a blank is prepared |
//! | [`piv`], [`tlv`] | the card application and its encoding |
//! | [`apdu`] | what carries commands |
//! | [`ccid`], [`usb`] | CCID messages; over USB |
//! | [`pcsc`] | the smart card service of the operating system |
//! | [`list`] | which tokens are meant for licences |
//! | [`text`] | failures in Russian |
//! | [`watch`] | when something is plugged in or out |

#![deny(unsafe_code)]

pub mod apdu;
pub mod ccid;
mod clock;
pub mod licence;
pub mod list;
pub mod pcsc;
pub mod piv;
mod random;
#[cfg(test)]
mod soft_card;
pub mod text;
pub mod tlv;
pub mod tokens;
pub mod usb;
pub mod watch;
