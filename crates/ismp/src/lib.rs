//! Shared session keys (ключи сессии, токены авторизации) of ИС МП «Честный ЗНАК».
//!
//! Decides whose key is valid and until when, who refreshes it while others wait, what is sent to the
//! service and what its answers mean, and whom to remind. Pure: no clock, socket, file or random source.
//! Moments and answers come in, records and words go out; what is stored where is the caller's.
//!
//! The functions are those of 1C's module «ИнтерфейсАвторизацииИСМПВызовСервера».

pub mod book;
pub mod directory;
pub mod exchange;
pub mod follow;
pub mod jwt;
pub mod key;
pub mod kind;
pub mod names;
pub mod record;
pub mod refresh;
pub mod reminder;
pub mod responsible;
pub mod saved;
pub mod secret;
#[cfg(feature = "signature")]
pub mod signature;
pub mod validity;

pub use book::Book;
pub use directory::Directory;
pub use key::{Contour, Inn, KeyError, ProductionObject, StoreKey, Wish};
pub use kind::TokenKind;
pub use record::{Source, State, TokenFormat, TokenRecord};
pub use secret::{Fingerprint, SessionKey};
