//! The vendor's side of a key series: its secret, its files, and the orders sent to the centre.
//!
//! The library is what the command line and the activation centre share: reading and writing
//! `XXXX.cryptkey` ([`secret`]), passphrases ([`passphrase`]), careful files ([`files`]) and the
//! messages about orders ([`order`]). Data files of protected objects are made in [`datafile`]. What the secret of a series does to a licence stands in [`signing`]. It never counts seats and
//! never decides on a licence; a clock is read only to date the list of blanks.

#![forbid(unsafe_code)]

pub mod blank;
pub mod calls;
pub mod cli;
mod clock;
pub mod commands;
pub mod datafile;
pub mod epf;
pub mod files;
pub mod order;
pub mod passphrase;
pub mod random;
pub mod secret;
pub mod sign;
pub mod signing;
pub mod template;
pub mod text;
pub mod vendor;
pub mod vendor_commands;
