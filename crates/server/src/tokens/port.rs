//! What the server needs of tokens, whatever carries it.
//!
//! The one real port speaks to tokens over USB and the smart card service; tests have a soft one.

use std::fmt;

use licence_core::holder::TokenKey;
use licence_token::apdu::{Place, TokenError, Transport};
use licence_token::licence::Document;
use licence_token::list::TokenList;
use licence_token::piv::management::ManagementKey;
use licence_token::tokens::Tokens;

/// What lies on a token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// The key inside it; nothing when it was never prepared for licences.
    pub key: Option<TokenKey>,
    /// The licence document on it. Whether it is genuine, and whose, nobody has looked at.
    pub document: Option<String>,
    /// For people.
    pub name: String,
}

/// Tokens, one call at a time; each may take seconds.
pub trait TokenPort: fmt::Debug + Send {
    /// Where tokens for licences are.
    ///
    /// # Errors
    ///
    /// See [`TokenError`]; a system without tokens has no places.
    fn places(&self) -> Result<Vec<Place>, TokenError>;

    /// Reads a token.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    fn read(&self, place: &Place) -> Result<Found, TokenError>;

    /// Has the token sign messages with this key, within one transaction: r and s of each over its
    /// SHA-256.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    fn sign(
        &self,
        place: &Place,
        key: &TokenKey,
        messages: &[&[u8]],
    ) -> Result<Vec<[u8; 64]>, TokenError>;

    /// By what the token's maker attests that the key was made inside it: certificates in DER, the
    /// key's first. Empty for tokens that have none.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    fn attestation(&self, place: &Place) -> Result<Vec<Vec<u8>>, TokenError>;

    /// Puts a licence on the token in place of the one that is there; nothing takes it off.
    ///
    /// # Errors
    ///
    /// See [`TokenError`]; one that has no room, or lets nobody write, has the licence on disk only.
    fn store(&self, place: &Place, document: Option<&str>) -> Result<(), TokenError>;
}

/// The tokens of this computer.
#[derive(Debug)]
pub struct Device(Tokens);

impl Device {
    /// The tokens on this list; others are never spoken to.
    pub fn new(list: TokenList) -> Self {
        Self(Tokens::new(list))
    }
}

impl TokenPort for Device {
    fn places(&self) -> Result<Vec<Place>, TokenError> {
        self.0.places()
    }

    fn read(&self, place: &Place) -> Result<Found, TokenError> {
        let info = self.0.read(place)?;
        let document = match info.document {
            Document::Present(text) => Some(text),
            Document::Absent | Document::Damaged => None,
        };
        Ok(Found { key: info.key, document, name: info.name })
    }

    fn sign(
        &self,
        place: &Place,
        key: &TokenKey,
        messages: &[&[u8]],
    ) -> Result<Vec<[u8; 64]>, TokenError> {
        self.0.prove_each(place, key, messages)
    }

    fn attestation(&self, place: &Place) -> Result<Vec<Vec<u8>>, TokenError> {
        self.0.attestation(place)
    }

    fn store(&self, place: &Place, document: Option<&str>) -> Result<(), TokenError> {
        // A vendor who keeps a management key of their own keeps it to themselves: the licence then
        // lies on disk alone.
        self.0.store_licence(place, document.unwrap_or_default(), &ManagementKey::factory())
    }
}
