//! Keys inside USB tokens: how they are found, and how they sign.
//!
//! One trait carries APDUs (ISO 7816-4), two transports implement it (CCID over USB, PC/SC), and the
//! PIV layer (NIST SP 800-73-4) above knows no transport. Which licence is bound to which token is
//! the caller's matter; tokens that are not on the list of those meant for licences are never touched.

#![deny(unsafe_code)]

pub mod apdu;
